"""Quality of a market in a row of numbers: spread, depth, volatility, volume, efficiency."""

import numpy as np

from marketsim.clock import NS_PER_MINUTE
from marketsim.metrics.variance_ratio import variance_ratio
from marketsim.report import Floats, Touch, market_statistics, touch
from marketsim.tape import Tape

#: Minutes of the longer returns of variance ratios.
PERIODS = (2, 5, 10)

#: Measures and their units, as in tables and pictures. Depth is that of one side, mean of both.
MEASURES: dict[str, str] = {
    "spread_ticks": "spread [ticks]",
    "spread_bps": "spread [bps]",
    "touch_lots": "depth at the touch [lots]",
    "depth_lots": "depth, all levels [lots]",
    "volatility_bps": "volatility [bps/√min]",
    "volume_lots": "volume [lots]",
    "trades": "trades",
    "orders": "orders",
    "two_sided_share": "two-sided [share of time]",
    **{f"variance_ratio_{q}": f"variance ratio, {q} min" for q in PERIODS},
    **{f"inefficiency_{q}": f"|variance ratio − 1|, {q} min" for q in PERIODS},
}


def market_quality(tape: Tape) -> tuple[dict[str, float | None], dict[str, str]]:
    """Measure a market.

    Returns
    -------
    values : of :data:`MEASURES`
        Means are weighted by time. ``volatility_bps`` is the root mean square of log returns of
        the mid-price from minute to minute. Variance ratios are those of Lo & MacKinlay (1988) on
        these returns; the inefficiency is their distance from 1. None is not defined.
    reasons : why, for each that is None.
    """
    quotes = touch(tape)
    facts = market_statistics(tape, quotes)
    spread, mid = quotes.spread_ticks, quotes.mid_ticks
    relative = np.divide(spread, mid, out=np.full(len(mid), np.nan), where=mid > 0)
    values: dict[str, float | None] = {
        "spread_ticks": facts["spread_mean_ticks"],
        "spread_bps": _scaled(_mean(relative, quotes), 1e4),
        "touch_lots": _mean((quotes.bid_lots + quotes.ask_lots) / 2, quotes),
        "depth_lots": _mean(_depth(tape, len(mid)), quotes),
        "volume_lots": facts["volume_lots"],
        "trades": facts["trades"],
        "orders": facts["orders"],
        "two_sided_share": facts["two_sided_share"],
    }
    reasons = {key: "the book never has two sides" for key in values if values[key] is None}
    _add_moves(quotes, values, reasons)
    return {key: values[key] for key in MEASURES}, reasons


def _add_moves(quotes: Touch, values: dict[str, float | None], reasons: dict[str, str]) -> None:
    """Volatility and variance ratios of the mid-price by the minute."""
    grid = np.arange(quotes.start_ns, quotes.end_ns + 1, NS_PER_MINUTE)
    mid = quotes.at(quotes.mid_ticks, grid)
    mid = mid[np.isfinite(mid)]
    why = None
    if len(mid) < 2:
        why = "fewer than two minutes with a mid-price"
    elif mid.min() <= 0:
        why = "a mid-price is not positive"
    returns = np.diff(np.log(mid)) if why is None else np.empty(0)
    values["volatility_bps"] = 1e4 * float(np.sqrt(np.mean(returns**2))) if why is None else None
    if why is not None:
        reasons["volatility_bps"] = why
    for q in PERIODS:
        found = None if why is not None else variance_ratio(np.log(mid), q)
        values[f"variance_ratio_{q}"] = None if found is None else found.ratio
        values[f"inefficiency_{q}"] = None if found is None else abs(found.ratio - 1)
        if found is None:
            words = why or f"fewer than {2 * q} minutes, or the mid-price never moves"
            reasons[f"variance_ratio_{q}"] = reasons[f"inefficiency_{q}"] = words


def _depth(tape: Tape, rows: int) -> Floats:
    """Mean of both sides' lots on all levels that the tape shows, float64[rows]."""
    book = tape.book
    both = book.bid_size_lots[:rows].sum(axis=1) + book.ask_size_lots[:rows].sum(axis=1)
    depth: Floats = both.astype(np.float64) / 2
    return depth


def _mean(values: Floats, quotes: Touch) -> float | None:
    known = np.isfinite(values)
    held = float(quotes.duration_ns[known].sum())
    return float(values[known] @ quotes.duration_ns[known]) / held if held > 0 else None


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value
