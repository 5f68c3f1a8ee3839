"""Stylized facts of the book and of activity, on average and through the day."""

from collections.abc import Callable

import numpy as np

from marketsim.clock import NS_PER_MINUTE
from marketsim.intraday import half_hour_edges
from marketsim.metrics.facts import Curve, Fact
from marketsim.metrics.sample import Sample
from marketsim.metrics.section import NotDefined
from marketsim.report import Floats, Ints, Touch

LEVELS = 10


def first_level_lots(quotes: Touch) -> Floats:
    """Mean of the sizes at the best bid and ask, while there are both."""
    lots = (quotes.bid_lots + quotes.ask_lots) / 2
    return np.where(np.isfinite(quotes.mid_ticks), lots, np.nan)


def spread_bps(quotes: Touch) -> Floats:
    """Spread over mid-price; NaN where a side is empty, or the mid-price not positive."""
    mid = quotes.mid_ticks
    unknown = np.full(len(mid), np.nan)
    fraction: Floats = np.divide(quotes.spread_ticks, mid, out=unknown, where=mid > 0)
    return 1e4 * fraction


def spread_ticks(quotes: Touch) -> Floats:
    """Spread; NaN where a side is empty."""
    return quotes.spread_ticks


def mean(values: Callable[[Touch], Floats]) -> Callable[[Sample], float]:
    """Function that takes the mean over the time for which quotes hold."""

    def compute(sample: Sample) -> float:
        sample.check_book()
        known = values(sample.quotes)
        weight = np.where(np.isfinite(known), sample.quotes.duration_ns, 0.0)
        if not weight.sum():
            raise NotDefined("no value holds for any time")
        return float(np.average(np.where(weight > 0, known, 0.0), weights=weight))

    return compute


def through_the_day(values: Callable[[Touch], Floats]) -> Callable[[Sample], Curve]:
    """Function that takes the mean by half hour, with the quartiles of its minutes' means."""

    def compute(sample: Sample) -> Curve:
        sample.check_book()
        quotes = sample.quotes
        known = values(quotes)
        return _by_half_hour(sample, lambda edges: quotes.mean_between(known, edges))

    return compute


def volume(sample: Sample) -> Curve:
    """Lots traded a minute, by half hour."""
    sample.check_trades()
    trades = sample.tape.trades
    return _by_half_hour(sample, _rate(trades["time_ns"], trades["size_lots"]))


def activity(sample: Sample) -> Curve:
    """Order events a minute, by half hour."""
    time_ns = sample.events.time_ns
    return _by_half_hour(sample, _rate(time_ns, np.ones(len(time_ns), np.int64)))


def depth(sample: Sample) -> Curve:
    """Mean size at each level over time, both sides' mean, while both are there.

    Raises
    ------
    NotDefined
        The book never has two sides.
    """
    sample.check_book()
    book, quotes = sample.tape.book, sample.quotes
    rows = len(quotes.time_ns)
    weight = np.where(np.isfinite(quotes.mid_ticks), quotes.duration_ns, 0.0)
    levels = min(book.bid_size_lots.shape[1], LEVELS)
    sums = [
        (weight @ book.bid_size_lots[:rows, level] + weight @ book.ask_size_lots[:rows, level]) / 2
        for level in range(levels)
    ]
    return Curve(np.arange(1.0, levels + 1), np.array(sums) / weight.sum())


def _rate(time_ns: Ints, weights: Ints) -> Callable[[Ints], Floats]:
    """Function that takes edges of time to the sum of weights a minute between them."""
    total = np.append(0, np.cumsum(weights))

    def rate(edges: Ints) -> Floats:
        sums = np.diff(total[np.searchsorted(time_ns, edges)])
        result: Floats = sums / (np.diff(edges) / NS_PER_MINUTE)
        return result

    return rate


def _by_half_hour(sample: Sample, between: Callable[[Ints], Floats]) -> Curve:
    """Curve over the middle of each half hour; one that is not whole has a middle of its own.

    So half hours of two tapes are compared only where both have the whole of them.
    """
    edges = half_hour_edges(sample.quotes.start_ns, sample.quotes.end_ns)
    if len(edges) < 2:
        raise NotDefined("the session has no length")
    quartiles = []
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        minutes = between(np.append(np.arange(start, end, NS_PER_MINUTE), end))
        minutes = minutes[np.isfinite(minutes)]
        quartiles.append(np.quantile(minutes, (0.25, 0.75)) if len(minutes) else (np.nan, np.nan))
    low, high = np.array(quartiles).T
    return Curve((edges[:-1] + edges[1:]) / 2, between(edges), None, low, high)


_DAY = "mean of its half hours, distance: mean absolute difference by half hour, relative"

FACTS = (
    Fact("spread [bps]", mean(spread_bps), "mean over time"),
    Fact("spread [ticks]", mean(spread_ticks), "mean over time", alike="tick_size"),
    Fact(
        "spread through the day [bps]", through_the_day(spread_bps), _DAY, relative=True,
        by_day=True,
    ),
    Fact("first-level volume [lots]", mean(first_level_lots), "mean over time", alike="lot_size"),
    Fact(
        "first-level volume through the day [lots]", through_the_day(first_level_lots), _DAY,
        alike="lot_size", relative=True, by_day=True,
    ),
    Fact(
        "depth by level [lots]", depth,
        "mean over levels and time, distance: mean absolute difference by level, relative",
        alike="lot_size", relative=True,
    ),
    Fact(
        "volume through the day [lots/min]", volume, _DAY, alike="lot_size", relative=True,
        by_day=True,
    ),
    Fact("orders through the day [1/min]", activity, _DAY, relative=True, by_day=True),
)  # fmt: skip
