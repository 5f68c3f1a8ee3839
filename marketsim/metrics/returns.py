"""How returns of windows hang together in time: what a shuffle of their hours destroys."""

import numpy as np
from numpy.typing import NDArray

from marketsim.checks import integer
from marketsim.data.return_windows import Windows
from marketsim.errors import DataError

Floats = NDArray[np.float64]


def autocorrelation(windows: Windows, lags: int = 1, *, absolute: bool = False) -> Floats:
    """Autocorrelation of each asset's returns within windows, at lags 1 to ``lags``.

    Covariance and variance are those of all windows together, about one mean: single windows are
    too short for their own. 0 where an asset's returns do not vary.

    Parameters
    ----------
    absolute : of absolute returns instead, which shows whether volatility clusters

    Returns
    -------
    float64[lags, d]

    Raises
    ------
    ConfigError
        For lags < 1.
    DataError
        If windows are not longer than the lags.
    """
    integer("lags", lags, 1)
    if windows.steps <= lags:
        raise DataError(f"windows: must have more than {lags} steps, had {windows.steps}")
    values = windows.log_returns.astype(np.float64)
    values = np.abs(values) if absolute else values
    values -= values.mean(axis=(0, 1))
    variance = (values**2).mean(axis=(0, 1))
    shared = [(values[:, lag:] * values[:, :-lag]).mean(axis=(0, 1)) for lag in range(1, lags + 1)]
    found = np.zeros((lags, len(variance)))
    np.divide(shared, variance, out=found, where=variance > 0)
    return found


def autocorrelation_gap(
    real: Windows, fake: Windows, lags: int = 1, *, absolute: bool = False
) -> float:
    """Mean absolute difference of :func:`autocorrelation` over lags and assets.

    Raises
    ------
    ConfigError, DataError
        As there, and if the number of assets differs.
    """
    ours, theirs = (autocorrelation(side, lags, absolute=absolute) for side in (real, fake))
    if ours.shape != theirs.shape:
        raise DataError(f"fake: must have {ours.shape[1]} assets, had {theirs.shape[1]}")
    return float(np.abs(ours - theirs).mean())
