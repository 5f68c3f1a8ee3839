"""What a stylized fact can be - a number, a distribution, a curve - and how two are compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from marketsim.metrics.sample import Sample
from marketsim.metrics.section import NotDefined, Row, over_floor
from marketsim.report import Floats


@dataclass(frozen=True)
class Curve:
    """Values over something: lags, levels, times of day.

    Attributes
    ----------
    x, y : float64[n]
    band : float64[n], half width of the 95 % band around 0 of a market without this fact; or None.
    low, high : float64[n], quartiles of what ``y`` is the mean of; or None.
    """

    x: Floats
    y: Floats
    band: Floats | None = None
    low: Floats | None = None
    high: Floats | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values; what is not finite is None."""
        return {
            name: [float(value) if np.isfinite(value) else None for value in values]
            for name, values in vars(self).items()
            if values is not None
        }


@dataclass(frozen=True)
class Fact:
    """A measure of one tape.

    Attributes
    ----------
    measure : its name, unit in brackets.
    compute : sample -> a number, a distribution (float64[n]) or a :class:`Curve`.

        Raises :class:`NotDefined` where the sample does not have it.
    note : what must be said beside it.
    alike : key of ``tape.meta`` that both tapes must have the same, for their distance to mean
        something.
    middle : what stands for a distribution in the table: the median unless another is given.
    relative : a curve's distance is relative to the size of the real one.
    by_day : a curve over the time of day; real windows have none to compare with.
    """

    measure: str
    compute: Callable[[Sample], Any]
    note: str = ""
    alike: str = ""
    middle: Callable[[Floats], Any] = np.median
    relative: bool = False
    by_day: bool = False

    def number(self, value: Any) -> float:
        """The number in the table: the value, the middle of a distribution, the mean of a curve."""
        if isinstance(value, Curve):
            return float(np.nanmean(value.y))
        return float(self.middle(value)) if isinstance(value, np.ndarray) else float(value)

    def distance(self, one: Any, other: Any) -> float:
        """Absolute difference, Kolmogorov-Smirnov distance, or mean distance of two curves."""
        if isinstance(one, Curve):
            return _between_curves(one, other, self.relative)
        if isinstance(one, np.ndarray):
            from scipy.stats import ks_2samp

            return float(ks_2samp(one, other, method="asymp").statistic)
        return float(abs(one - other))


def compare(
    section: str,
    fact: Fact,
    generated: Sample,
    real: Sample,
    windows: Sequence[Sample] | str,
) -> tuple[Row, dict[str, Any]]:
    """Put a fact of two tapes in a row.

    Parameters
    ----------
    windows : real windows of the generated tape's length, or the reason why there are none.

    Returns
    -------
    Row, and the fact of each tape that has it, under ``generated`` and ``real``.
    """
    found: dict[str, Any] = {}
    notes = [fact.note] if fact.note else []
    for name, sample in (("generated", generated), ("real", real)):
        try:
            found[name] = fact.compute(sample)
        except NotDefined as reason:
            notes.append(f"{name} not defined: {reason}")
    distance = floor = None
    if len(found) == 2:
        try:
            _check_alike(fact, generated, real)
            distance = fact.distance(found["generated"], found["real"])
            floor = _floor(fact, found["real"], real, windows)
        except NotDefined as reason:
            notes.append(str(reason))
    numbers = {name: fact.number(value) for name, value in found.items()}
    row = Row(
        section,
        fact.measure,
        numbers.get("generated"),
        numbers.get("real"),
        distance,
        floor,
        over_floor(distance, floor),
        tuple(notes),
    )
    return row, found


def _floor(fact: Fact, target: Any, real: Sample, windows: Sequence[Sample] | str) -> float:
    """Median distance of the real windows from the real tape, as if it were without the window.

    A mean without a window is as far from the window's as the whole mean, times ``k / (k - 1)``
    where the window is one of ``k``: so all distances are scaled.

    Raises
    ------
    NotDefined
        Fewer than two windows have the fact, or they cannot be compared.
    """
    if isinstance(windows, str):
        raise NotDefined(windows)
    if fact.by_day:
        raise NotDefined("no floor: each time of day is there once in the reference")
    distances = []
    for window in windows:
        try:
            distances.append(fact.distance(fact.compute(window), target))
        except NotDefined:
            continue
    if len(distances) < 2:
        raise NotDefined("no floor: not defined in windows of this length")
    times = real.span_ns / windows[0].span_ns
    return float(np.median(distances)) * times / (times - 1)


def _check_alike(fact: Fact, generated: Sample, real: Sample) -> None:
    if fact.alike:
        one, other = generated.tape.meta.get(fact.alike), real.tape.meta.get(fact.alike)
        if one != other:
            what = fact.alike.replace("_", " ")
            raise NotDefined(f"no distance: {what} differs, {one!r} and {other!r}")


def _between_curves(one: Curve, other: Curve, relative: bool) -> float:
    """Mean absolute difference where both are known, over the mean size of the other's if asked."""
    _, here, there = np.intersect1d(one.x, other.x, return_indices=True)
    y, z = one.y[here], other.y[there]
    known = np.isfinite(y) & np.isfinite(z)
    if not known.any():
        raise NotDefined("no distance: nothing in common, such as a time of day")
    difference = float(np.abs(y - z)[known].mean())
    if not relative:
        return difference
    size = float(np.abs(z)[known].mean())
    if size == 0:
        raise NotDefined("no distance: the real one is 0 throughout")
    return difference / size
