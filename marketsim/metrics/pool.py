"""Observations of one score from two tapes, on one scale, and the distances of their parts."""

from dataclasses import dataclass

import numpy as np

from marketsim.metrics.distances import Counts, Scale
from marketsim.metrics.flow import Floats, Ints
from marketsim.metrics.lob_scores import Condition, Observations, Score

#: Fewest observations of a sample that has a distance.
MIN_OBSERVATIONS = 10


@dataclass(frozen=True)
class Distances:
    """Both distances of one comparison; None where they are not defined."""

    l1: float | None
    wasserstein: float | None


UNDEFINED = Distances(None, None)


class Sample:
    """Observations of a tape, found on a scale, from which windows of messages are counted.

    Parameters
    ----------
    offset : place of the tape's first observation among those of the scale.
    """

    def __init__(self, scale: Scale, observed: Observations, offset: int) -> None:
        self.scale = scale
        self._observed = observed
        self._offset = offset
        self._reach = int((observed.last - observed.first).max(initial=0))
        self.counts = scale.count(slice(offset, offset + observed.size))
        self.size = observed.size

    def window(self, first: int, last: int) -> tuple[Counts, Counts]:
        """Counts inside and outside of messages ``first`` to ``last``, exclusive.

        Returns
        -------
        inside, outside : Counts
            An observation that depends on messages of both is in neither.
        """
        seen = self._observed
        low, high, far = np.searchsorted(seen.last, (first, last, last + self._reach + 1))
        within = np.arange(low, high)
        inside = within[seen.first[low:high] >= first]
        across = np.arange(high, far)[seen.first[high:far] < last]
        counts = self.scale.count(inside + self._offset)
        touched = np.concatenate([within, across]) + self._offset
        return counts, self.counts - self.scale.count(touched)


@dataclass(frozen=True)
class Pool:
    """Samples of a generated and a real tape on the scale of both."""

    scale: Scale
    generated: Sample
    real: Sample


def distances(scale: Scale, first: Counts, second: Counts) -> Distances:
    """Both distances; None of those whose samples are too small or share no group."""
    if min(int(first.bins.sum()), int(second.bins.sum())) < MIN_OBSERVATIONS:
        return UNDEFINED
    return Distances(scale.half_l1(first, second), scale.wasserstein(first, second))


def pool(score: Score, generated: Observations, real: Observations) -> Pool:
    """Put two tapes' observations of a score, at least one in all, on one scale."""
    scale = _scale(score, (generated, real), thin=False)
    return Pool(scale, Sample(scale, generated, 0), Sample(scale, real, generated.size))


def real_sample(score: Score, real: Observations) -> Sample | None:
    """A real tape's observations on a scale of their own; None where they are too few."""
    if real.size < MIN_OBSERVATIONS:
        return None
    return Sample(_scale(score, (real,), thin=True), real, 0)


def _scale(score: Score, tapes: tuple[Observations, ...], *, thin: bool) -> Scale:
    values = np.concatenate([seen.values for seen in tapes])
    groups = np.zeros(len(values), np.int64)
    if score.condition is not Condition.NONE:
        condition = np.concatenate(
            [seen.condition for seen in tapes if seen.condition is not None and seen.size]
        )
        groups = _groups(score.condition, condition)
    return Scale(values, groups, score.bins, thin=thin, lone=score.lone)


def _groups(rule: Condition, condition: Floats) -> Ints:
    """Group of each observation: its condition's value, or between which deciles that lies."""
    if rule is Condition.DECILES:
        edges = np.unique(np.quantile(condition, np.arange(1, 10) / 10))
        condition = np.searchsorted(edges, condition, side="right").astype(np.float64)
    return np.unique(condition, return_inverse=True)[1].astype(np.int64)
