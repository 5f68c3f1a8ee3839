"""A market through the day: spread, volatility, volume and orders of each half hour."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marketsim.clock import NS_PER_MINUTE
from marketsim.codes import OrderKind
from marketsim.report import Floats, Ints, Touch, touch
from marketsim.tape import Tape

if TYPE_CHECKING:
    import pandas as pd

NS_PER_HALF_HOUR = 30 * NS_PER_MINUTE
_ENTRIES = (OrderKind.LIMIT, OrderKind.MARKET, OrderKind.STOP)
_CANCELS = (OrderKind.CANCEL, OrderKind.REDUCE)


def half_hours(tape: Tape) -> "pd.DataFrame":
    """Describe each half hour of a tape's session.

    Returns
    -------
    DataFrame
        One row a half hour by the clock; the first and the last may be shorter.

        - ``start_ns``, ``end_ns`` : nanoseconds since midnight, the end belongs to the next row;
        - ``spread_ticks``, ``spread_bps`` : means over the time that the book has two sides, the
          latter of spread over mid-price; NaN where it never has;
        - ``volatility_bps`` : root mean square of the log returns of the mid-price from minute to
          minute, counted from the open, that end in the half hour; NaN where there is none;
        - ``volume_lots``, ``trades`` : what traded;
        - ``orders``, ``cancels`` : rows that enter an order, rows that take one back or reduce it;
        - ``empty_share`` : share of the time in which a side of the book is empty.
    """
    import pandas as pd

    return pd.DataFrame(half_hour_columns(tape))


def half_hour_columns(tape: Tape, quotes: Touch | None = None) -> dict[str, NDArray[Any]]:
    """Columns of :func:`half_hours`; ``quotes`` is the tape's touch where it is at hand."""
    quotes = touch(tape) if quotes is None else quotes
    edges = half_hour_edges(quotes.start_ns, quotes.end_ns)
    spread, mid = quotes.spread_ticks, quotes.mid_ticks
    relative = np.divide(spread, mid, out=np.full(len(mid), np.nan), where=mid > 0)
    kinds, times = tape.orders["kind"], tape.orders["time_ns"]
    lots, traded_ns = tape.trades["size_lots"], tape.trades["time_ns"]
    return {
        "start_ns": edges[:-1],
        "end_ns": edges[1:],
        "spread_ticks": quotes.mean_between(spread, edges),
        "spread_bps": 1e4 * quotes.mean_between(relative, edges),
        "volatility_bps": 1e4 * _volatility(quotes, edges),
        "volume_lots": _count(traded_ns, edges, lots),
        "trades": _count(traded_ns, edges),
        "orders": _count(times[np.isin(kinds, _ENTRIES)], edges),
        "cancels": _count(times[np.isin(kinds, _CANCELS)], edges),
        "empty_share": 1 - quotes.known_ns_between(mid, edges) / np.diff(edges),
    }


def half_hour_edges(start_ns: int, end_ns: int) -> Ints:
    """Bounds of the half hours, the session's own first and last; one of no session."""
    first = start_ns // NS_PER_HALF_HOUR + 1
    inside = np.arange(first * NS_PER_HALF_HOUR, end_ns, NS_PER_HALF_HOUR, dtype=np.int64)
    ends = [end_ns] if end_ns > start_ns else []
    return np.concatenate([[start_ns], inside, ends]).astype(np.int64)


def _volatility(quotes: Touch, edges: Ints) -> Floats:
    grid = np.arange(quotes.start_ns, quotes.end_ns + 1, NS_PER_MINUTE)
    mid = quotes.at(quotes.mid_ticks, grid)
    known = np.isfinite(mid) & (mid > 0)
    log_mid = np.log(np.where(known, mid, 1.0))
    squares = np.where(known[1:] & known[:-1], np.diff(log_mid) ** 2, np.nan)
    counted = np.isfinite(squares)
    place = np.searchsorted(edges, grid[1:][counted]) - 1  # a return belongs to where it ends
    bins = len(edges) - 1
    number = np.bincount(place, minlength=bins)
    total = np.bincount(place, squares[counted], minlength=bins)
    mean: Floats = np.divide(total, number, out=np.full(bins, np.nan), where=number > 0)
    return np.sqrt(mean)


def _count(time_ns: Ints, edges: Ints, weights: NDArray[Any] | None = None) -> Ints:
    """Rows, or the sum of their weights, of each bin; the session's end belongs to the last."""
    totals = np.append(
        0, np.cumsum(np.ones(len(time_ns), np.int64) if weights is None else weights)
    )
    at = np.searchsorted(time_ns, edges)
    if len(edges) > 1:
        at[-1] = np.searchsorted(time_ns, edges[-1], side="right")
    counts: Ints = np.diff(totals[at])
    return counts
