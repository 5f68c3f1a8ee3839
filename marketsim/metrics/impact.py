"""Impact against size: the exponent of the square-root law."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketsim.metrics.paired import LEVEL, resampled_weights

Floats = NDArray[np.float64]
#: Resamples of the exponent, each of which is a fit.
RESAMPLES = 999
#: A sweep whose resamples fail more often than this has no interval.
_MOST_FAILED = 0.05


@dataclass(frozen=True)
class PowerLaw:
    """``impact = scale * size ** exponent``, with the exponent's bootstrap interval.

    What could not be fitted is None, and ``note`` says why.
    """

    exponent: float | None
    low: float | None
    high: float | None
    scale: float | None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return dict(vars(self))


def fit_power_law(size: Floats, impact: Floats, seed: int = 0) -> PowerLaw:
    """Fit mean impact against mean size by least squares of logarithms over the sizes.

    Seeds are resampled as a whole: a seed's impacts at all sizes stay together, as its markets do.

    Parameters
    ----------
    size : float64[n_seeds, n_sizes], such as the executed share of the day's volume.
    impact : float64[n_seeds, n_sizes], in the direction of the trade, any unit.

    References
    ----------
    Tóth et al. (2011), "Anomalous price impact and the critical nature of liquidity": exponents
    about 0.5.
    """
    if size.shape[1] < 2:
        return PowerLaw(None, None, None, None, "an exponent needs at least two sizes")
    sizes, impacts = size.mean(axis=0), impact.mean(axis=0)
    if (sizes <= 0).any() or (impacts <= 0).any():
        note = "mean size and impact must be positive at every size, as a power law is"
        return PowerLaw(None, None, None, None, note)
    if np.ptp(np.log(sizes)) < 1e-9:
        return PowerLaw(None, None, None, None, "all sizes that were executed are equal")
    slope, level = _fit(sizes[None], impacts[None])
    exponent, scale = float(slope[0]), float(np.exp(level[0]))
    if len(size) < 2:
        return PowerLaw(exponent, None, None, scale, "an interval needs at least two seeds")
    weights = resampled_weights(len(size), seed, RESAMPLES)
    many_sizes, many_impacts = weights @ size, weights @ impact  # (resamples, sizes)
    fine = (many_sizes > 0).all(axis=1) & (many_impacts > 0).all(axis=1)
    if fine.mean() < 1 - _MOST_FAILED:
        share = f"{1 - fine.mean():.0%} of resamples"
        note = f"no interval: impact is not positive at every size in {share}"
        return PowerLaw(exponent, None, None, scale, note)
    slopes, _ = _fit(many_sizes[fine], many_impacts[fine])
    low, high = np.quantile(slopes, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return PowerLaw(exponent, float(low), float(high), scale)


def _fit(sizes: Floats, impacts: Floats) -> tuple[Floats, Floats]:
    """Slopes and levels of log impact on log size, one for each row."""
    x, y = np.log(sizes), np.log(impacts)
    x_mean, y_mean = x.mean(axis=1, keepdims=True), y.mean(axis=1, keepdims=True)
    slope = ((x - x_mean) * (y - y_mean)).sum(axis=1) / ((x - x_mean) ** 2).sum(axis=1)
    return slope, y_mean[:, 0] - slope * x_mean[:, 0]
