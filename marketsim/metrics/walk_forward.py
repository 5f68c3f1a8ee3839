"""Folds of a history in order of time: learn from one part, be tested on the next."""

from collections.abc import Iterator

import numpy as np

from marketsim.checks import choice, integer, positive
from marketsim.data.bars import Bars
from marketsim.errors import DataError

DAY_S = 86_400


def walk_forward(
    bars: Bars,
    train_days: float = 500,
    test_days: float = 30,
    *,
    warm_up_bars: int = 0,
    gaps: str = "refuse",
) -> Iterator[tuple[Bars, Bars]]:
    """Pairs of training and test bars, each test right after its training, each fold a test later.

    Parameters
    ----------
    bars : a history; training parts may have gaps, as their windows pass over them
    train_days, test_days : lengths of the two parts; 15 days for statistical arbitrage
    warm_up_bars : bars before the test, the last ones of training, that test bars start with: what
        forecasts and estimates look back on
    gaps : what is done with a fold whose test bars, or those before it, have a gap: ``refuse``, or
        ``skip``, which leaves the fold out

    Yields
    ------
    (train, test) : Bars, of which the first ``warm_up_bars`` of ``test`` are in ``train``, too

    Raises
    ------
    ConfigError
        For lengths that are not above 0.
    DataError
        If there are too few bars for one fold, or a test has a gap.
    """
    positive("train_days", train_days)
    positive("test_days", test_days)
    integer("warm_up_bars", warm_up_bars, 0)
    choice("gaps", gaps, ("refuse", "skip"))
    train, test = (int(days * DAY_S / bars.step_s) for days in (train_days, test_days))
    if not train or not test or train + test > len(bars):
        raise DataError(
            f"bars: too few for a fold of {train_days:g} days to learn and {test_days:g} to test, "
            f"{train} and {test} bars, there are {len(bars)}"
        )
    if warm_up_bars > train:
        raise DataError(f"warm_up_bars: must be <= the {train} bars of training, {warm_up_bars}")
    return _folds(bars, train, test, warm_up_bars, gaps == "skip")


def _folds(
    bars: Bars, train: int, test: int, warm_up: int, skip: bool
) -> Iterator[tuple[Bars, Bars]]:
    for first in range(0, len(bars) - train - test + 1, test):
        middle = first + train
        tested = _rows(bars, middle - warm_up, middle + test)
        if skip and np.isnan(tested.close).any():
            continue
        tested.whole_prices()
        yield _rows(bars, first, middle), tested


def _rows(bars: Bars, first: int, end: int) -> Bars:
    start_s, last_s = int(bars.time_s[first]), int(bars.time_s[end - 1])
    until_s = last_s + bars.step_s
    return bars.select(start=str(np.datetime64(start_s, "s")), end=str(np.datetime64(until_s, "s")))
