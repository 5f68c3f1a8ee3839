"""Distances between two samples of a score: half-L1 of histograms and Wasserstein-1.

Both are made of counts on a *scale* that is fixed by all observations together, so that windows
and bootstrap samples of them need no sorting and no binning of their own. A scale may be divided
into groups (conditional scores); a distance is then the mean over the groups, weighted by their
numbers of observations. A score without a condition is the case of one group.

References
----------
Nagy, Frey, Li, Sarkar, Vyetrenko, Zohren, Calinescu & Foerster (2025), LOB-Bench: Benchmarking
Generative AI for Finance, arXiv:2502.09172.
Freedman & Diaconis (1981), On the histogram as a density estimator: L2 theory.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Points on which bootstrap samples of the Wasserstein distance are computed, over all groups.
COARSE_POINTS = 4096
#: Confidence of all intervals.
CONFIDENCE = 0.99


class Bins(StrEnum):
    """How a histogram's bins follow from the pooled observations.

    ``VALUES``: one bin a value. ``FREEDMAN_DIACONIS``: equal bins of width at most
    ``2 IQR n**(-1/3)``; one bin a value where the interquartile range is 0. ``DECILES``: bounded
    by the deciles of each group.
    """

    VALUES = "values"
    FREEDMAN_DIACONIS = "freedman-diaconis"
    DECILES = "deciles"


@dataclass(frozen=True)
class Counts:
    """How many observations of a sample lie in each bin and on each point of a scale.

    Attributes
    ----------
    bins : int64[..., B]
    points : int64[..., P]
    """

    bins: Ints
    points: Ints

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(self.bins - other.bins, self.points - other.points)


@dataclass(frozen=True)
class Partition:
    """Cells in order, those of a group together.

    Attributes
    ----------
    starts : int64[G]
        First cell of each group.
    group : int64[cells]
        Group of each cell.
    """

    starts: Ints
    group: Ints

    def sums(self, values: NDArray[np.generic]) -> Floats:
        """Sum of each group, float64[..., G]."""
        total: Floats = np.add.reduceat(values, self.starts, axis=-1).astype(np.float64)
        return total


class Scale:
    """Bins and points of pooled observations.

    Parameters
    ----------
    values : float64[n]
        All observations, finite, n >= 1.
    groups : int64[n]
        Group of each, from 0; every group up to the last must occur.
    rule : Bins
    thin : bool
        Compute Wasserstein distances on some :data:`COARSE_POINTS` points only, as bootstraps do:
        within a thousandth, and quicker by far where many distances are wanted of many values.
    lone : bool
        Whether a group in which one of two samples has no observation counts as an L1 distance of
        1; else it is passed over, as it is by the Wasserstein distance.

    Attributes
    ----------
    bin_of, point_of : int64[n]
        Bin and point of each observation.
    """

    def __init__(
        self,
        values: Floats,
        groups: Ints,
        rule: Bins,
        *,
        thin: bool = False,
        lone: bool = True,
    ) -> None:
        import pandas as pd

        self._lone = lone
        rank, unique = pd.factorize(values, sort=True)  # quicker than sorting: values repeat
        if groups.any():
            keys, self.point_of = np.unique(groups * len(unique) + rank, return_inverse=True)
            group, position = keys // len(unique), unique[keys % len(unique)]
        else:
            self.point_of, group, position = rank, np.zeros(len(unique), np.int64), unique
        self._points = Partition(_starts(group), group)
        self._pooled = np.bincount(self.point_of, minlength=len(group))
        self._position = self._standardised(position)
        self._width = _gaps(self._position, group)
        bin_of_point = _BIN_RULES[rule](position, self._pooled, self._points)
        self.bin_of: Ints = bin_of_point[self.point_of]
        first_point = np.flatnonzero(np.diff(bin_of_point, prepend=-1))
        self._bins = Partition(_starts(group[first_point]), group[first_point])
        if thin:
            first_point, self._points, self._width = self._thinned()
            cell = np.zeros(len(group), np.int64)
            cell[first_point[1:]] = 1
            self.point_of = np.cumsum(cell)[self.point_of]

    def _standardised(self, position: Floats) -> Floats:
        """Points as z-scores of their group's pooled observations; 0 where all are equal."""
        points, weight = self._points, self._pooled
        number = points.sums(weight)
        mean = points.sums(position * weight) / number
        centred = position - mean[points.group]
        deviation = np.sqrt(points.sums(centred**2 * weight) / np.maximum(number - 1, 1))
        scale = deviation[points.group]
        z: Floats = np.divide(centred, scale, out=np.zeros(len(position)), where=scale > 0)
        return z

    def count(self, rows: slice | NDArray[np.generic]) -> Counts:
        """Counts of some of the observations."""
        return Counts(
            np.bincount(self.bin_of[rows], minlength=len(self._bins.group)),
            np.bincount(self.point_of[rows], minlength=len(self._points.group)),
        )

    def half_l1(self, first: Counts, second: Counts) -> float | None:
        """Half the L1 distance of the histograms, 0 to 1; None where no group counts."""
        a, b = first.bins, second.bins
        weight = self._weights(self._bins, a, b, self._lone)
        return float(_half_l1(self._bins, a[None], b[None], weight)[0]) if weight.any() else None

    def wasserstein(self, first: Counts, second: Counts) -> float | None:
        """Wasserstein-1 distance of the z-scored samples; None where they share no group.

        Groups in which one of the samples has no observation are passed over.
        """
        a, b = first.points, second.points
        weight = self._weights(self._points, a, b, lone=False)
        if not weight.any():
            return None
        return float(_wasserstein(self._points, a[None], b[None], weight, self._width)[0])

    @staticmethod
    def _weights(cells: Partition, a: Ints, b: Ints, lone: bool) -> Floats:
        """Observations of each group; 0 of those that do not count."""
        first, second = cells.sums(a), cells.sums(b)
        return np.where(lone | ((first > 0) & (second > 0)), first + second, 0.0)

    def shared(self, first: Counts, second: Counts) -> float:
        """Share of the observations that lie in groups which both samples visit, 0 to 1."""
        a, b = self._bins.sums(first.bins), self._bins.sums(second.bins)
        return float((a + b)[(a > 0) & (b > 0)].sum() / (a + b).sum())

    def bootstrap(
        self, first: Counts, second: Counts, rng: np.random.Generator, samples: int
    ) -> tuple[Floats | None, Floats | None]:
        """Distances of resampled observations, float64[samples] each; None if not defined.

        Both samples are drawn with replacement, independently within each group; bins, z-scores
        and the groups' weights stay. The Wasserstein distances are computed on at most some
        :data:`COARSE_POINTS` points: cumulative shares are exact there and the area between
        two of them is a trapezium.
        """
        l1 = wasserstein = None
        weight = self._weights(self._bins, first.bins, second.bins, self._lone)
        if weight.any():
            drawn = [_resample(self._bins, c.bins, rng, samples) for c in (first, second)]
            l1 = _half_l1(self._bins, drawn[0], drawn[1], weight)
        weight = self._weights(self._points, first.points, second.points, lone=False)
        if weight.any():
            first_point, coarse, width = self._thinned()
            drawn = [
                _resample(coarse, np.add.reduceat(c.points, first_point), rng, samples)
                for c in (first, second)
            ]
            wasserstein = _wasserstein(coarse, drawn[0], drawn[1], weight, width)
        return l1, wasserstein

    def _thinned(self) -> tuple[Ints, Partition, Floats]:
        """First point of each coarse cell, the cells, and the width that each stands for."""
        points, position = self._points, self._position
        number = np.diff(points.starts, append=len(position))
        most = max(64, COARSE_POINTS // len(points.starts)) // 2
        low = position[points.starts][points.group]
        ends = np.append(points.starts[1:], len(position)) - 1
        span = position[ends][points.group] - low
        upto = np.cumsum(self._pooled)
        before = (upto[points.starts] - self._pooled[points.starts])[points.group]
        share = (upto - before) / points.sums(self._pooled)[points.group]
        height = np.divide(position - low, span, out=np.zeros(len(span)), where=span > 0)
        new = number[points.group] <= 2 * most
        for level in (share, height):  # points at equal shares, and points at equal heights
            new |= np.diff(np.floor(level * most), prepend=-1) != 0
        new[points.starts] = True
        first_point = np.flatnonzero(new)
        last_point = np.append(first_point[1:], len(position)) - 1
        cells = Partition(_starts(points.group[first_point]), points.group[first_point])
        inside = position[last_point] - position[first_point]
        after = np.append(inside[1:], 0.0)
        same = np.append(cells.group[1:] == cells.group[:-1], False)
        width = self._width[last_point] + inside / 2 + np.where(same, after / 2, 0.0)
        return first_point, cells, width


def interval(distance: float, samples: Floats) -> tuple[float, float]:
    """Percentile interval of a bootstrap; never excludes the distance itself."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.append(samples, distance), (tail, 1 - tail))
    return min(float(low), distance), max(float(high), distance)


def _starts(group: Ints) -> Ints:
    return np.flatnonzero(np.diff(group, prepend=-1))


def _gaps(position: Floats, group: Ints) -> Floats:
    """Distance of each point to the next of its group, 0 at the last."""
    gap = np.diff(position, append=position[-1])
    return np.where(np.append(group[1:] == group[:-1], False), gap, 0.0)


def _value_bins(position: Floats, pooled: Ints, points: Partition) -> Ints:
    return np.arange(len(position))


def _freedman_diaconis_bins(position: Floats, pooled: Ints, points: Partition) -> Ints:
    number = int(pooled.sum())
    upto = np.cumsum(pooled)
    low, high = (_quantile(position, upto, share) for share in (0.25, 0.75))
    width = 2 * (high - low) / number ** (1 / 3)
    span = position[-1] - position[0]
    if width <= 0:
        return _value_bins(position, pooled, points)
    bins = int(np.ceil(span / width))
    cell = np.minimum((position - position[0]) / span * bins, bins - 1).astype(np.int64)
    return np.cumsum(np.diff(cell, prepend=cell[0]) != 0)


def _decile_bins(position: Floats, pooled: Ints, points: Partition) -> Ints:
    """Bins closed on the left, as the deciles are: a value equal to one belongs above it."""
    ends = np.append(points.starts[1:], len(position))
    bins = np.empty(len(position), np.int64)
    used = 0
    for start, end in zip(points.starts, ends, strict=True):
        upto = np.cumsum(pooled[start:end])
        edges = [_quantile(position[start:end], upto, share / 10) for share in range(1, 10)]
        cell = np.searchsorted(np.unique(edges), position[start:end], side="right")
        bins[start:end] = used + np.cumsum(np.diff(cell, prepend=cell[0]) != 0)
        used = int(bins[end - 1]) + 1
    return bins


def _quantile(position: Floats, upto: Ints, share: float) -> float:
    """Quantile of a sample given by its points and cumulative counts, as NumPy's by default."""
    place = share * (int(upto[-1]) - 1)
    below = int(np.floor(place))
    first, second = position[
        np.searchsorted(upto, (below, min(below + 1, int(upto[-1]) - 1)), side="right")
    ]
    return float(first + (second - first) * (place - below))


_BIN_RULES = {
    Bins.VALUES: _value_bins,
    Bins.FREEDMAN_DIACONIS: _freedman_diaconis_bins,
    Bins.DECILES: _decile_bins,
}


def _half_l1(cells: Partition, a: Ints, b: Ints, weight: Floats) -> Floats:
    """Distances of counts int64[R, cells], float64[R]."""
    shares = [_shares(cells, counts, cells.sums(counts)) for counts in (a, b)]
    halves = cells.sums(np.abs(shares[0] - shares[1])) / 2
    lone = (cells.sums(a) == 0) | (cells.sums(b) == 0)
    distance: Floats = (np.where(lone, 1.0, halves) * weight).sum(-1) / weight.sum()
    return distance


def _wasserstein(points: Partition, a: Ints, b: Ints, weight: Floats, width: Floats) -> Floats:
    """Distances of counts int64[R, points], float64[R]; groups of weight 0 are passed over."""
    difference = np.zeros(a.shape)
    for sign, counts in ((1, a), (-1, b)):
        upto = np.cumsum(counts, axis=-1)
        before = upto[:, points.starts] - counts[:, points.starts]
        difference += sign * _shares(points, upto - before[:, points.group], points.sums(counts))
    areas = points.sums(np.abs(difference) * width)
    distance: Floats = (areas * weight).sum(-1) / weight.sum()
    return distance


def _shares(cells: Partition, counts: Ints, total: Floats) -> Floats:
    """Counts over their group's total, 0 where it is 0."""
    whole = total[..., cells.group]
    shares: Floats = np.divide(counts, whole, out=np.zeros(counts.shape), where=whole > 0)
    return shares


def _resample(cells: Partition, counts: Ints, rng: np.random.Generator, samples: int) -> Ints:
    """Counts of samples drawn with replacement, int64[samples, cells]."""
    drawn = np.zeros((samples, len(counts)), np.int64)
    ends = np.append(cells.starts[1:], len(counts))
    for start, end in zip(cells.starts, ends, strict=True):
        number = int(counts[start:end].sum())
        if number:
            drawn[:, start:end] = rng.multinomial(number, counts[start:end] / number, samples)
    return drawn
