"""Market statistics of a tape, and the touch through time that they and the plots are made of."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketsim.clock import NS_PER_MINUTE
from marketsim.codes import OrderKind
from marketsim.tape import Tape

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Touch:
    """Best quotes of a session through time, previous quote holding until the next.

    Attributes
    ----------
    time_ns : int64[n]
        Moved into the session; row ``i`` holds from ``time_ns[i]`` for ``duration_ns[i]``.
    bid_ticks, ask_ticks : float64[n]
        Best prices; NaN where the side is empty.
    bid_lots, ask_lots : float64[n]
        Sizes there; 0 where the side is empty.
    duration_ns : float64[n]
        Until the next row, the last one until ``end_ns``; 0 outside of the session.
    start_ns, end_ns : int
        The session, or the time that the tape spans where it does not tell.
    """

    time_ns: Ints
    bid_ticks: Floats
    ask_ticks: Floats
    bid_lots: Floats
    ask_lots: Floats
    duration_ns: Floats
    start_ns: int
    end_ns: int

    @property
    def mid_ticks(self) -> Floats:
        """Mid-price, float64[n]; NaN where a side is empty."""
        return (self.bid_ticks + self.ask_ticks) / 2

    @property
    def spread_ticks(self) -> Floats:
        """Spread, float64[n]; NaN where a side is empty."""
        return self.ask_ticks - self.bid_ticks

    def at(self, values: Floats, time_ns: Ints | Floats) -> Floats:
        """Return the value that holds at each time; NaN before the first, the last known after.

        Parameters
        ----------
        values : float64[n]
            One for each row of the touch. Rows with NaN are passed over.
        time_ns : [m]
            Times asked for.
        """
        known = np.flatnonzero(np.isfinite(values))
        if not len(known):
            return np.full(len(time_ns), np.nan)
        row = np.searchsorted(self.time_ns[known], time_ns, side="right") - 1
        return np.where(row >= 0, values[known[np.maximum(row, 0)]], np.nan)

    def mean_between(self, values: Floats, edges_ns: Ints | Floats) -> Floats:
        """Return the time-weighted mean of ``values`` in each bin, float64[len(edges) - 1].

        NaN where no finite value holds for any time in the bin.
        """
        weight = np.where(np.isfinite(values), self.duration_ns, 0.0)
        held = self._sum_between(weight, edges_ns)
        total = self._sum_between(np.where(weight > 0, values, 0.0) * weight, edges_ns)
        means: Floats = np.divide(total, held, out=np.full(len(held), np.nan), where=held > 0)
        return means

    def known_ns_between(self, values: Floats, edges_ns: Ints | Floats) -> Floats:
        """Return for how long finite ``values`` hold in each bin, float64[len(edges) - 1]."""
        return self._sum_between(np.where(np.isfinite(values), self.duration_ns, 0.0), edges_ns)

    def _sum_between(self, parts: Floats, edges_ns: Ints | Floats) -> Floats:
        """Sum in each bin of what each row spreads evenly over its time."""
        if not len(parts):
            return np.zeros(len(edges_ns) - 1)
        knots = np.append(self.time_ns, max(self.end_ns, int(self.time_ns[-1])))
        sums: Floats = np.diff(np.interp(edges_ns, knots, np.append(0.0, np.cumsum(parts))))
        return sums


def touch(tape: Tape) -> Touch:
    """Return the best quotes of a tape within its session.

    Rows from the close on are left out: there the orders of the day expire, one after the other.
    """
    book = tape.book
    close_ns = tape.meta.get("close_ns")
    rows = len(book) if close_ns is None else int(np.searchsorted(book.time_ns, int(close_ns)))
    time_ns = np.asarray(book.time_ns[:rows], np.int64)
    start_ns, end_ns = session(tape)
    sides = []
    for price, size in (
        (book.bid_price_ticks, book.bid_size_lots),
        (book.ask_price_ticks, book.ask_size_lots),
    ):
        if price.shape[1]:
            lots = size[:rows, 0].astype(np.float64)
            sides.append((np.where(lots > 0, price[:rows, 0], np.nan), lots))
        else:
            sides.append((np.full(rows, np.nan), np.zeros(rows)))
    clipped = np.clip(time_ns, start_ns, end_ns)
    duration_ns = np.diff(clipped, append=end_ns).astype(np.float64)
    (bid_ticks, bid_lots), (ask_ticks, ask_lots) = sides
    return Touch(clipped, bid_ticks, ask_ticks, bid_lots, ask_lots, duration_ns, start_ns, end_ns)


def session(tape: Tape) -> tuple[int, int]:
    """Return when a tape's session opens and closes, nanoseconds since midnight.

    Of a part of a tape, ``meta["between"]``, it is the part's. A tape that does not tell spans from
    its first order to its last; one that a run left unfinished ends with its last order.
    """
    times = tape.orders["time_ns"]
    first, last = (int(times[0]), int(times[-1])) if len(times) else (0, 0)
    open_ns, close_ns = tape.meta.get("open_ns"), tape.meta.get("close_ns")
    start_ns = first if open_ns is None else int(open_ns)
    end_ns = last if close_ns is None or not tape.meta.get("complete", True) else int(close_ns)
    if tape.meta.get("between"):
        from_ns, until_ns = tape.meta["between"]
        start_ns, end_ns = max(start_ns, int(from_ns)), min(end_ns, int(until_ns))
    return start_ns, max(start_ns, end_ns)


def trade_price_ticks(tape: Tape) -> Floats:
    """Return the price of each trade, float64[n], with the fraction of prints off the grid."""
    price = tape.trades["price_ticks"].astype(np.float64)
    units = tape.meta.get("units_per_tick")
    return price + tape.trades["price_subticks"] / float(units) if units else price


def market_statistics(tape: Tape, quotes: Touch | None = None) -> dict[str, Any]:
    """Describe a market in a flat dict of JSON values.

    Parameters
    ----------
    quotes : the tape's touch, where it is at hand.

    Returns
    -------
    dict
        Prices and spreads in ticks, sizes in lots. Means and medians are weighted by the time for
        which a quote holds. ``realised_volatility`` is the root of the sum of squared log returns
        of the mid-price from minute to minute: a fraction, not annualised. ``share_KIND`` are
        shares of the orders' rows. None stands for what an empty or one-sided market does not
        have; nothing is ever NaN.
    """
    quotes = touch(tape) if quotes is None else quotes
    mid, spread = quotes.mid_ticks, quotes.spread_ticks
    two_sided = np.isfinite(mid)
    lots = tape.trades["size_lots"]
    volume = int(lots.sum())
    value_ticks = float(np.dot(trade_price_ticks(tape), lots))
    span_ns = quotes.end_ns - quotes.start_ns
    return {
        "symbol": tape.meta.get("symbol"),
        "tick_size": tape.meta.get("tick_size"),
        "start_ns": quotes.start_ns,
        "end_ns": quotes.end_ns,
        "orders": len(tape),
        "trades": len(lots),
        "volume_lots": volume,
        "vwap_ticks": value_ticks / volume if volume else None,
        "mid_open_ticks": _number(mid[two_sided][:1]),
        "mid_close_ticks": _number(mid[two_sided][-1:]),
        "mid_high_ticks": _number(mid[two_sided].max(keepdims=True)) if two_sided.any() else None,
        "mid_low_ticks": _number(mid[two_sided].min(keepdims=True)) if two_sided.any() else None,
        "realised_volatility": realised_volatility(quotes),
        "spread_mean_ticks": _weighted_mean(spread, quotes.duration_ns),
        "spread_median_ticks": _weighted_median(spread, quotes.duration_ns),
        "bid_touch_mean_lots": _weighted_mean(quotes.bid_lots, quotes.duration_ns),
        "ask_touch_mean_lots": _weighted_mean(quotes.ask_lots, quotes.duration_ns),
        "two_sided_share": (
            float(quotes.duration_ns[two_sided].sum() / span_ns) if span_ns else None
        ),
        **_kind_shares(tape.orders["kind"]),
    }


def realised_volatility(quotes: Touch, step_ns: int = NS_PER_MINUTE) -> float | None:
    """Root of the sum of squared log returns of the mid-price, each over ``step_ns``.

    None with fewer than two known mid-prices on the grid, or one that is not positive.
    """
    grid = np.arange(quotes.start_ns, quotes.end_ns + 1, step_ns)
    mid = quotes.at(quotes.mid_ticks, grid)
    mid = mid[np.isfinite(mid)]
    if len(mid) < 2 or mid.min() <= 0:
        return None
    return float(np.sqrt(np.square(np.diff(np.log(mid))).sum()))


def _kind_shares(kinds: NDArray[Any]) -> dict[str, float]:
    counts = np.bincount(kinds, minlength=max(OrderKind) + 1)
    return {
        f"share_{kind.name.lower()}": float(counts[kind] / len(kinds))
        for kind in OrderKind
        if counts[kind]
    }


def _number(values: Floats) -> float | None:
    return float(values[0]) if len(values) else None


def _weighted_mean(values: Floats, weights: Floats) -> float | None:
    """Mean of the finite values; unweighted when none of them holds for any time."""
    known = np.isfinite(values)
    if not known.any():
        return None
    values, weights = values[known], weights[known]
    return float(np.average(values, weights=weights if weights.sum() > 0 else None))


def _weighted_median(values: Floats, weights: Floats) -> float | None:
    known = np.isfinite(values)
    if not known.any():
        return None
    order = np.argsort(values[known], kind="stable")
    values, weights = values[known][order], weights[known][order]
    if weights.sum() <= 0:
        weights = np.ones(len(values))
    below = np.cumsum(weights)
    return float(values[np.searchsorted(below, below[-1] / 2)])
