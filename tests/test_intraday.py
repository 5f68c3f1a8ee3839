"""The half-hour table, by hand and against a loop over every nanosecond that matters."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from marketsim.clock import NS_PER_MINUTE, parse_time
from marketsim.codes import OrderKind
from marketsim.intraday import half_hours
from marketsim.tape import Tape
from marketsim.tape_tables import BookTable

OPEN, CLOSE = parse_time("09:40"), parse_time("11:15")
MIN = NS_PER_MINUTE


def make_tape(seed: int, rows: int = 400, empty: float = 0.15, **meta: Any) -> Tape:
    rng = np.random.default_rng(seed)
    time_ns = rng.integers(OPEN - 5 * MIN, CLOSE + 2 * MIN, rows)
    time_ns[:3] = CLOSE
    time_ns.sort()
    bid = 1000 + np.cumsum(rng.integers(-2, 3, rows))
    ask = bid + rng.integers(1, 6, rows)
    lots = rng.integers(1, 9, (2, rows)) * (rng.random((2, rows)) >= empty)
    orders = {
        "time_ns": time_ns,
        "kind": rng.choice([int(kind) for kind in OrderKind], rows),
        "order_id": np.arange(rows) + 1,
        "side": rng.choice([-1, 1], rows),
        "price_ticks": bid,
        "size_lots": np.ones(rows, np.int64),
    }
    picked = np.flatnonzero(rng.random(rows) < 0.3)
    trades = {
        "time_ns": time_ns[picked],
        "sequence": picked,
        "price_ticks": bid[picked],
        "size_lots": rng.integers(1, 99, len(picked)),
        "side": np.ones(len(picked), np.int64),
    }
    columns = (bid * (lots[0] > 0), lots[0], ask * (lots[1] > 0), lots[1])
    book = BookTable(time_ns, np.arange(rows), *(column[:, None] for column in columns))
    return Tape(orders, trades, {"open_ns": OPEN, "close_ns": CLOSE, **meta}, book=book)


def naive_half_hours(tape: Tape) -> pd.DataFrame:
    """Everything anew for each half hour, quote by quote."""
    book = tape.book
    quotes = []
    for i in range(int((book.time_ns < CLOSE).sum())):
        bid_lots, ask_lots = int(book.bid_size_lots[i, 0]), int(book.ask_size_lots[i, 0])
        two = bid_lots > 0 and ask_lots > 0
        prices = (int(book.bid_price_ticks[i, 0]), int(book.ask_price_ticks[i, 0]))
        quotes.append((int(book.time_ns[i]), prices if two else None))

    def mid_at(time_ns: int) -> float | None:
        known = [prices for at, prices in quotes if max(at, OPEN) <= time_ns and prices]
        return sum(known[-1]) / 2 if known else None

    def total(table: Any, start: int, end: int, value: Any) -> int:
        last = end == CLOSE
        times = table["time_ns"].tolist()
        return sum(value(i) for i, t in enumerate(times) if start <= t < end or (last and t == end))

    bounds = [OPEN, *(parse_time(t) for t in ("10:00", "10:30", "11:00")), CLOSE]
    kinds = tape.orders["kind"]
    rows = []
    for start, end in zip(bounds[:-1], bounds[1:], strict=True):
        held = spread = relative = 0.0
        for (at, prices), after in zip(quotes, [*quotes[1:], (CLOSE, None)], strict=True):
            ns = max(min(after[0], end) - max(at, start), 0)
            if prices and ns:
                bid, ask = prices
                held += ns
                spread += ns * (ask - bid)
                relative += ns * 1e4 * (ask - bid) / ((ask + bid) / 2)
        squares = []
        for at in range(OPEN + MIN, CLOSE + 1, MIN):
            before, now = mid_at(at - MIN), mid_at(at)
            if start < at <= end and before and now:
                squares.append(math.log(now / before) ** 2)
        rows.append(
            {
                "start_ns": start,
                "end_ns": end,
                "spread_ticks": spread / held if held else math.nan,
                "spread_bps": relative / held if held else math.nan,
                "volatility_bps": (
                    1e4 * math.sqrt(sum(squares) / len(squares)) if squares else math.nan
                ),
                "volume_lots": total(
                    tape.trades, start, end, lambda i: int(tape.trades["size_lots"][i])
                ),
                "trades": total(tape.trades, start, end, lambda i: 1),
                "orders": total(tape.orders, start, end, lambda i: int(kinds[i] in (1, 8, 10))),
                "cancels": total(tape.orders, start, end, lambda i: int(kinds[i] in (2, 3))),
                "empty_share": 1 - held / (end - start),
            }
        )
    return pd.DataFrame(rows)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("rows", "empty"), [(400, 0.15), (5, 0.0), (30, 0.6), (60, 1.0)])
def test_the_table_equals_a_plain_loop(seed: int, rows: int, empty: float) -> None:
    tape = make_tape(seed, rows, empty)
    found, expected = half_hours(tape), naive_half_hours(tape)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-9, atol=1e-9)


def test_a_tape_without_rows_or_without_a_session() -> None:
    empty = half_hours(make_tape(0, rows=0))
    assert empty["empty_share"].tolist() == [1, 1, 1, 1] and empty["orders"].sum() == 0
    assert empty["spread_ticks"].isna().all() and empty["volatility_bps"].isna().all()
    assert len(half_hours(make_tape(0, rows=0, open_ns=None, close_ns=None))) == 0
