"""Stylized facts of the mid-price's log returns from minute to minute (Cont 2001)."""

from collections.abc import Callable

import numpy as np

from marketsim.metrics.autocorrelation import autocorrelation
from marketsim.metrics.facts import Curve, Fact
from marketsim.metrics.sample import Sample
from marketsim.metrics.section import NotDefined
from marketsim.report import Floats

#: Spans of which the kurtosis is taken [minutes]; so many of them must fit, one after the other.
HORIZONS_MINUTES = (1, 5, 10, 30)
MIN_SPANS = 10
LAGS = 20


def returns_bps(sample: Sample, minutes: int = 1) -> Floats:
    """Log returns of the mid-price over so many minutes, one from each minute on [bps]."""
    log_mid = sample.log_mid
    return 1e4 * (log_mid[minutes:] - log_mid[:-minutes])


def kurtosis(minutes: int) -> Callable[[Sample], float]:
    """Function that takes the excess kurtosis of overlapping returns of so many minutes."""

    def compute(sample: Sample) -> float:
        from scipy.stats import kurtosis as excess

        spans = (len(sample.log_mid) - 1) // minutes
        if spans < MIN_SPANS:
            raise NotDefined(f"{spans} returns of {minutes} min, needs {MIN_SPANS}")
        return float(excess(_moving(returns_bps(sample, minutes))))

    return compute


def returns_acf(change: Callable[[Floats], Floats]) -> Callable[[Sample], Curve]:
    """Function that takes the autocorrelation of changed minute returns."""

    def compute(sample: Sample) -> Curve:
        return autocorrelation(change(_moving(returns_bps(sample))), LAGS)

    return compute


def volume_volatility(sample: Sample) -> float:
    """Rank correlation of each minute's volume and absolute return."""
    sample.check_trades()
    return _rank_correlation(sample.minute_volume, np.abs(returns_bps(sample)))


def return_volatility(sample: Sample) -> float:
    """Rank correlation of each minute's return and the next one's absolute return.

    Negative where falls are followed by larger moves, the leverage effect.
    """
    moves = returns_bps(sample)
    return _rank_correlation(moves[:-1], np.abs(moves[1:]))


def _rank_correlation(one: Floats, other: Floats) -> float:
    from scipy.stats import spearmanr

    _moving(one, "volumes")
    _moving(other)
    return float(spearmanr(one, other).statistic)


def _moving(values: Floats, what: str = "returns") -> Floats:
    if np.ptp(values) == 0:
        raise NotDefined(f"all {what} are {values[0]:g}")
    return values


def _same(values: Floats) -> Floats:
    return values


_MEAN = f"mean over lags 1 to {LAGS} min, distance: mean absolute difference"

FACTS = (
    Fact(
        "minute log returns, distribution [bps]",
        returns_bps,
        "standard deviation, distance: Kolmogorov-Smirnov",
        middle=np.std,
    ),
    *(
        Fact(f"excess kurtosis of log returns, {minutes} min", kurtosis(minutes))
        for minutes in HORIZONS_MINUTES
    ),
    Fact("autocorrelation of minute returns", returns_acf(_same), _MEAN),
    Fact("autocorrelation of absolute minute returns", returns_acf(np.abs), _MEAN),
    Fact("autocorrelation of squared minute returns", returns_acf(np.square), _MEAN),
    Fact(
        "correlation of volume and volatility", volume_volatility, "ranks, minute by minute"
    ),
    Fact(
        "correlation of return and volatility", return_volatility,
        "ranks, absolute return of the next minute",
    ),
)  # fmt: skip
