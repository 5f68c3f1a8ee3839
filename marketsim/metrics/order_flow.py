"""Stylized facts of the flow of orders: signs, times between them, kinds."""

from collections.abc import Callable

import numpy as np

from marketsim.clock import NS_PER_SECOND
from marketsim.metrics.autocorrelation import autocorrelation
from marketsim.metrics.facts import Curve, Fact
from marketsim.metrics.sample import MIN_TRADES, Sample
from marketsim.metrics.section import NotDefined
from marketsim.order_events import Event
from marketsim.report import Floats

LAGS = 50
#: Times between orders, where none are counted [s]: they have no logarithm.
SHORTEST_S = 1e-9


def sign_acf(lags: int) -> Callable[[Sample], Curve]:
    """Function that takes the autocorrelation of the signs of market orders, one after the other.

    Long memory of them is the mark of orders that are split (Lillo & Farmer 2004).
    """

    def compute(sample: Sample) -> Curve:
        signs = sample.events.side[sample.events.of(Event.MARKET)].astype(np.float64)
        if len(signs) < MIN_TRADES:
            raise NotDefined(f"{len(signs)} market orders, needs {MIN_TRADES}")
        return autocorrelation(signs, lags)

    return compute


def gaps_s(sample: Sample) -> Floats:
    """Times from order event to order event [s].

    Raises
    ------
    NotDefined
        Fewer than :data:`MIN_TRADES` events.
    """
    if len(sample.events) <= MIN_TRADES:
        raise NotDefined(f"{len(sample.events)} orders, needs {MIN_TRADES + 1}")
    return np.diff(sample.events.time_ns) / NS_PER_SECOND


def gaps_ms(sample: Sample) -> Floats:
    """Times from order event to order event [ms]."""
    return 1e3 * gaps_s(sample)


def gaps_acf(sample: Sample) -> Curve:
    """Autocorrelation of the logarithm of times between orders: activity comes in bursts."""
    return autocorrelation(np.log10(np.maximum(gaps_s(sample), SHORTEST_S)), LAGS)


def share(kind: Event) -> Callable[[Sample], float]:
    """Function that takes the share of a kind among the order events."""

    def compute(sample: Sample) -> float:
        if len(sample.events) < MIN_TRADES:
            raise NotDefined(f"{len(sample.events)} orders, needs {MIN_TRADES}")
        return float(sample.events.of(kind).mean())

    return compute


_MEAN = f"mean over lags 1 to {LAGS}, distance: mean absolute difference"

FACTS = (
    Fact("autocorrelation of order signs, next order", sign_acf(1)),
    Fact("autocorrelation of order signs", sign_acf(LAGS), _MEAN),
    Fact(
        "time between orders, distribution [ms]", gaps_ms, "median, distance: Kolmogorov-Smirnov"
    ),
    Fact("autocorrelation of log times between orders", gaps_acf, _MEAN),
    *(Fact(f"share of {kind.name.lower()} orders", share(kind)) for kind in Event),
)  # fmt: skip
