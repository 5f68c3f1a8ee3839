"""The RMSC markets over twenty seeds, beside one run of the reference implementation (ABIDES).

Counts of orders, executions and cancels with their ranges over seeds; then spread, volatility and
volume by half hour. The reference tells an agent that its order was accepted only if a part of it
rests, so "rested" is what its count of accepted orders is compared with.
Run with ``python examples/rmsc.py``.
"""

import numpy as np

import marketsim as ms
from marketsim.clock import format_time
from marketsim.codes import OrderKind
from marketsim.intraday import half_hours

SEEDS = range(20)
#: One run of the reference: orders sent, those that rested, executions, cancels.
REFERENCE = {"rmsc04": (40_415, 31_932, 19_770, 19_805), "rmsc03": (87_480, 64_667, 39_964, 46_704)}
WHAT = ("orders sent", "orders rested", "executions", "cancels")


def counts(run):
    """Orders sent, those of which a part rested, executions, cancels."""
    orders, trades = run.tape.orders, run.tape.trades
    limit = orders["kind"] == OrderKind.LIMIT
    size = np.zeros(orders["order_id"].max() + 1, np.int64)
    size[orders["order_id"][limit]] = orders["size_lots"][limit]
    np.subtract.at(size, trades["taker_order_id"], trades["size_lots"])
    rested = np.count_nonzero(size > 0)
    cancels = np.count_nonzero(orders["kind"] == OrderKind.CANCEL)
    return np.count_nonzero(limit), rested, len(trades["size_lots"]), cancels


def print_counts(config, until=None):
    runs = ms.run_batch(config, SEEDS, until=until)
    table = np.array([counts(run) for run in runs])
    print(f"{config}, {len(runs)} seeds{f', to {until}' if until else ''}")
    print(f"{'':14}   mean       range over seeds   reference   ratio")
    for what, column, reference in zip(WHAT, table.T, REFERENCE[config], strict=True):
        ratio = column.mean() / reference
        between = f"{column.min():,} to {column.max():,}"
        print(f"{what:14} {column.mean():>6,.0f} {between:>22} {reference:>11,} {ratio:>7.2f}")
    return runs


def print_half_hours(runs):
    tables = [half_hours(run.tape) for run in runs]
    columns = {
        "spread [ticks]": "spread_ticks",
        "volatility [bps/min]": "volatility_bps",
        "volume [lots]": "volume_lots",
    }
    print("from   " + "".join(f"{title:>32}" for title in columns))
    for row, start_ns in enumerate(tables[0]["start_ns"]):
        cells = []
        for column in columns.values():
            values = np.array([table[column][row] for table in tables])
            form = (
                "{:,.0f} ({:,.0f} to {:,.0f})"
                if values.mean() > 1_000
                else "{:.2f} ({:.2f} to {:.2f})"
            )
            cells.append(form.format(values.mean(), values.min(), values.max()))
        print(f"{format_time(start_ns)[:5]}  " + "".join(f"{cell:>32}" for cell in cells))


def main():
    print_half_hours(print_counts("rmsc04"))
    print()
    print_half_hours(print_counts("rmsc03", until="11:30"))


if __name__ == "__main__":
    main()
