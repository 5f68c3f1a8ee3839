"""Means of paired differences with bootstrap intervals, of numbers and of whole paths."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Resamples of the seeds.
RESAMPLES = 4999
#: Confidence of intervals and bands.
LEVEL = 0.95
TOO_FEW = "an interval needs at least two seeds"
ALL_EQUAL = "all seeds give the same value: nothing to resample"


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and its interval.

    Attributes
    ----------
    mean, low, high : float or None
        What is not defined is None.
    n : seeds that it is the mean of.
    note : why something is None; empty where nothing is.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return dict(vars(self))

    @property
    def excludes_zero(self) -> bool | None:
        """Whether the interval does; None without an interval."""
        if self.low is None or self.high is None:
            return None
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Band:
    """A mean path and what surrounds it, each float64[n_times].

    ``low``, ``high`` hold 95 % of resampled means at each time by itself, ``all_low``,
    ``all_high`` 95 % of the resampled paths at all times at once (sup-t). None without two seeds.
    """

    mean: Floats
    low: Floats | None
    high: Floats | None
    all_low: Floats | None
    all_high: Floats | None


def estimate_mean(values: list[float | None], missing: str = "", seed: int = 0) -> Estimate:
    """Mean and bootstrap interval of one number a seed.

    The interval is SciPy's bias-corrected and accelerated one (Efron 1987), 4,999 resamples.

    Parameters
    ----------
    values : a number for each seed; None where a seed has none, which is left out and said.
    missing : why a seed may have none.
    seed : of the resampling.
    """
    from scipy import stats

    known = np.array([value for value in values if value is not None], np.float64)
    left_out = len(values) - len(known)
    note = f"{left_out} of {len(values)} seeds have none: {missing}" if left_out else ""
    if not len(known):
        return Estimate(None, None, None, 0, missing or "no seed has a value")
    mean = float(known.mean())
    if len(known) == 1 or np.ptp(known) == 0:
        why = TOO_FEW if len(known) == 1 else ALL_EQUAL
        return Estimate(mean, None, None, len(known), "; ".join(filter(None, (note, why))))
    rng = np.random.default_rng(seed)
    # Two seeds have no acceleration: theirs is the percentile interval.
    method = "BCa" if len(known) > 2 else "percentile"
    with np.errstate(all="ignore"):
        found = stats.bootstrap(
            (known,), np.mean, n_resamples=RESAMPLES, confidence_level=LEVEL, method=method, rng=rng
        ).confidence_interval
    if not np.isfinite([found.low, found.high]).all():
        why = "the bootstrap distribution has no spread"
        return Estimate(mean, None, None, len(known), "; ".join(filter(None, (note, why))))
    return Estimate(mean, float(found.low), float(found.high), len(known), note)


def resampled_weights(n: int, seed: int = 0, resamples: int = RESAMPLES) -> Floats:
    """How much each of ``n`` seeds counts in each resample, float64[resamples, n]."""
    rng = np.random.default_rng(seed)
    weights: Floats = rng.multinomial(n, np.full(n, 1 / n), size=resamples) / n
    return weights


def band(paths: Floats, seed: int = 0) -> Band:
    """Mean path and its bootstrap bands; whole paths are resampled, so time stays together.

    The band at all times is ``mean ± c * s``, where ``s`` is the resampled means' standard
    deviation at each time, and ``c`` the 95 % quantile of their largest ``|path - mean| / s``
    (Montiel Olea & Plagborg-Møller 2019, "Simultaneous confidence bands").

    Parameters
    ----------
    paths : float64[n_seeds, n_times], finite.
    """
    mean = paths.mean(axis=0)
    if len(paths) < 2:
        return Band(mean, None, None, None, None)
    means = resampled_weights(len(paths), seed) @ paths  # (resamples, times)
    low, high = np.quantile(means, ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=0)
    deviation = means.std(axis=0)
    moving = deviation > 1e-12 * (1 + np.abs(mean))  # what floats add is no spread
    if not moving.any():
        return Band(mean, mean, mean, mean, mean)
    largest = (np.abs(means - mean)[:, moving] / deviation[moving]).max(axis=1)
    half = np.where(moving, np.quantile(largest, LEVEL) * deviation, 0.0)
    return Band(mean, low, high, mean - half, mean + half)
