"""The tables of a run's report, as text: printed in the terminal, written as Markdown and JSON."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marketsim.clock import format_time
from marketsim.errors import DataError
from marketsim.groups import account_sums, populations
from marketsim.intraday import half_hour_columns
from marketsim.report import Touch, market_statistics, touch

if TYPE_CHECKING:
    from marketsim.result import Run
    from marketsim.tape import Tape

#: Rows of the accounts' table at most.
MAX_ACCOUNT_ROWS = 30
#: Stands for what is not known.
DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class Grid:
    """A table of text; its first column is aligned to the left, all others to the right.

    ``headings`` is empty where the rows are names and values.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""

    def markdown(self) -> str:
        """The table in Markdown, under its title."""
        width = len(self.rows[0]) if self.rows else len(self.headings)
        headings = self.headings or ("",) * width
        lines = [headings, ("---", *("---:",) * (width - 1)), *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"## {self.title}\n\n{table}\n" + (f"\n{self.caption}\n" if self.caption else "")


def facts_grid(title: str, facts: Mapping[str, Any]) -> Grid:
    """Names and values; the names tell the units."""
    names = (key.removesuffix("_ns").replace("_", " ") for key in facts)
    return Grid(title, (), tuple(zip(names, map(named, facts, facts.values()), strict=True)))


def market_grid(tape: "Tape", quotes: Touch) -> Grid:
    """The market in a dozen lines; prices in currency."""
    statistics = market_statistics(tape, quotes)
    tick = float(tape.meta.get("tick_size") or 1.0)
    volatility = statistics["realised_volatility"]
    price = {
        key: None if statistics[key] is None else statistics[key] * tick
        for key in statistics
        if key.endswith("_ticks")
    }
    rows = {
        "session": f"{clock(statistics['start_ns'])} to {clock(statistics['end_ns'])}",
        "orders": text(statistics["orders"]),
        "trades": text(statistics["trades"]),
        "volume [lots]": text(statistics["volume_lots"]),
        "spread, mean": text(price["spread_mean_ticks"]),
        "spread, median": text(price["spread_median_ticks"]),
        "mid-price, open": text(price["mid_open_ticks"]),
        "mid-price, close": text(price["mid_close_ticks"]),
        "mid-price, low to high": (
            f"{text(price['mid_low_ticks'])} to {text(price['mid_high_ticks'])}"
        ),
        "average price of trades": text(price["vwap_ticks"]),
        "volatility, realised by minute": DASH if volatility is None else f"{volatility:.2%}",
    }
    return facts_grid(f"Market {statistics['symbol'] or ''}".strip(), rows)


def half_hours_grid(tape: "Tape", quotes: Touch) -> Grid:
    """The half hours of the session; spreads in currency and basis points."""
    columns = half_hour_columns(tape, quotes)
    tick = float(tape.meta.get("tick_size") or 1.0)
    rows = []
    for values in zip(*(column.tolist() for column in columns.values()), strict=True):
        row = dict(zip(columns, values, strict=True))
        rows.append(
            (
                clock(row["start_ns"])[:5],
                _fixed(row["spread_ticks"] * tick, 4),
                _fixed(row["spread_bps"], 2),
                _fixed(row["volatility_bps"], 2),
                *(text(row[key]) for key in ("volume_lots", "trades", "orders", "cancels")),
                f"{row['empty_share']:.1%}",
            )
        )
    headings = (
        "from", "spread", "bps", "volatility", "volume", "trades", "orders", "cancels", "empty",
    )  # fmt: skip
    caption = (
        "spread: mean over time; volatility: of the mid-price by minute, root mean square [bps];"
        " empty: share of the time without orders on one side"
    )
    return Grid("Half hours", headings, tuple(rows), caption)


def accounts_grid(run: "Run") -> Grid:
    """Accounts in currency, a population in one row; of many rows those that traded most.

    On an exchange with several symbols, only those that an agent traded.
    """
    sums = account_sums(run.account_columns, populations(run))
    worths = {name: _worth(tape) for name, tape in run.tapes.items()}
    worth = [worths[name] for name in sums["symbol"]]
    shown = {
        "agent": sums["name"],
        "symbol": sums["symbol"],
        "agents": [text(count) for count in sums["agents"]],
        "position": [text(lots) for lots in sums["position_lots"]],
        "volume": [text(lots) for lots in sums["volume_lots"]],
        "trades": [text(count) for count in sums["trades"]],
        "cash": _money(sums["cash_ticks"], worth),
        "PnL": _money(sums["pnl_ticks"], worth),
        "PnL each": [
            amount if count > 1 else ""
            for amount, count in zip(
                _money(sums["pnl_mean_ticks"], worth), sums["agents"], strict=True
            )
        ],
        "fees": _money(sums["fees_ticks"], worth),
    }
    unwanted = {"cash"} if max(sums["agents"], default=1) > 1 else {"agents", "PnL each"}
    several = len(worths) > 1
    if not several:
        unwanted.add("symbol")
    kept = {heading: column for heading, column in shown.items() if heading not in unwanted}
    by_volume = sorted(range(len(sums["name"])), key=lambda row: -sums["volume_lots"][row])
    if several:
        by_volume = [row for row in by_volume if sums["volume_lots"][row]]
    chosen = sorted(by_volume[:MAX_ACCOUNT_ROWS])
    left_out = len(by_volume) - len(chosen)
    return Grid(
        "Accounts",
        tuple(kept),
        tuple(tuple(column[row] for column in kept.values()) for row in chosen),
        f"{left_out:,} more, which traded less, in accounts.parquet" if left_out else "",
    )


def run_grids(run: "Run") -> list[Grid]:
    """The tables of a run: its market, its half hours, drawn paths, strategies, its accounts."""
    from marketsim.path_tables import path_grids

    quotes = touch(run.tape)
    grids = [market_grid(run.tape, quotes), half_hours_grid(run.tape, quotes), *path_grids(run)]
    return [*grids, accounts_grid(run)] if run.account_columns["agent"] else grids


def write_report(run: "Run", folder: Path) -> None:
    """Write the tables to ``report.md``, and what is in them as numbers to ``report.json``.

    Raises
    ------
    DataError
        If the folder cannot be written to.
    """
    from marketsim.path_tables import path_values

    quotes = touch(run.tape)
    columns = half_hour_columns(run.tape, quotes)
    content = {
        "market": market_statistics(run.tape, quotes),
        "half_hours": [
            {key: _json(value) for key, value in zip(columns, row, strict=True)}
            for row in zip(*(column.tolist() for column in columns.values()), strict=True)
        ],
        "accounts": account_sums(run.account_columns, populations(run)),
        **path_values(run),
    }
    title = f"# {run.summary['config']}, seed {run.summary['seed']}\n\n"
    pages = {
        "report.md": title + "\n".join(grid.markdown() for grid in run_grids(run)),
        "report.json": json.dumps(content, indent=1, allow_nan=False) + "\n",
    }
    try:
        for name, page in pages.items():
            beside = folder / f"{name}.tmp"
            beside.write_text(page, encoding="utf-8")
            os.replace(beside, folder / name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror}") from error


def named(key: str, value: Any) -> str:
    """Format a value by the unit in its name."""
    if key.endswith("_ns") and isinstance(value, int):
        return clock(value)
    return text(value)


def text(value: Any) -> str:
    """Format a value: thousands grouped, six digits, a dash for None."""
    if value is None:
        return DASH
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def number(value: float | None, digits: int = 3) -> str:
    """A value with so many decimals, fewer where it is large; a dash for None."""
    if value is None:
        return DASH
    if abs(value) >= 100:
        digits = min(digits, 1 if abs(value) < 1000 else 0)
    return f"{value:,.{digits}f}"


def clock(time_ns: int) -> str:
    """Time of day, to the second."""
    return format_time(time_ns)[:8]


def _fixed(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}" if math.isfinite(value) else DASH


def _worth(tape: "Tape") -> float:
    """Currency for a tick·lot."""
    return float(tape.meta.get("tick_size") or 1.0) * float(tape.meta.get("lot_size") or 1)


def _money(ticks: list[float], worth: list[float]) -> list[str]:
    return [f"{amount * each:,.2f}" for amount, each in zip(ticks, worth, strict=True)]


def _json(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
