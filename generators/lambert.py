"""Lambert W transform: heavy-tailed values to normal ones and back.

A heavy-tailed value is ``z exp(delta z^2 / 2)`` of a standard normal z; the inverse is by Lambert's
function W, the solution of ``W exp(W) = x``.

References
----------
Goerg (2015), The Lambert way to Gaussianize heavy-tailed data with the inverse of Tukey's h.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Largest delta that is found: from 1/4 on the fourth moment is infinite, and what is drawn in
#: place of the normal values must be right to a few per cent for its variance to be.
MAX_DELTA = 0.25
#: Most values that a delta is found from.
MOST_VALUES = 20_000


def heavier(normal: NDArray[Any], delta: NDArray[Any] | float) -> Floats:
    """Heavy-tailed values of normal ones; with a delta of 0 they are the same."""
    normal = np.asarray(normal, np.float64)
    return np.asarray(normal * np.exp(0.5 * delta * normal**2))


def gaussianised(heavy: NDArray[Any], delta: NDArray[Any] | float) -> Floats:
    """The inverse of :func:`heavier`."""
    from scipy.special import lambertw

    heavy = np.asarray(heavy, np.float64)
    delta = np.broadcast_to(np.asarray(delta, np.float64), heavy.shape)
    is_some = delta > 1e-12  # products with less underflow
    some = np.where(is_some, delta, 1.0)
    root = np.sqrt(lambertw(some * heavy**2).real / some)
    return np.where(is_some, np.sign(heavy) * root, heavy)


def fit_delta(values: NDArray[Any]) -> tuple[float, float]:
    """Delta and scale with which values of mean 0 become standard normal.

    Values are ``scale x heavier(z, delta)``. Delta is found by bisection as that with which the
    kurtosis of the gaussianised values is 3; 0 where their own is less. Of many values some are
    looked at, at even distances.

    Returns
    -------
    delta, scale
    """
    values = np.asarray(values, np.float64)
    scale = float(values.std())
    values = values[:: -(-len(values) // MOST_VALUES)]
    if _kurtosis(values) <= 3:
        return 0.0, scale
    low, high = 0.0, MAX_DELTA
    for _ in range(20):
        delta = 0.5 * (low + high)
        # the scale that goes with it: gaussianised values have a deviation of 1
        scale = _scale(values, delta, scale)
        if _kurtosis(gaussianised(values / scale, delta)) > 3:
            low = delta
        else:
            high = delta
    return delta, scale


def _scale(values: Floats, delta: float, guess: float) -> float:
    """Scale by which values divided are of deviation 1 once gaussianised."""
    for _ in range(10):
        found = float(gaussianised(values / guess, delta).std())
        guess *= found
        if abs(found - 1) < 1e-5:
            break
    return guess


def _kurtosis(values: Floats) -> float:
    """Fourth central moment by the squared variance."""
    centred = values - values.mean()
    return float((centred**4).mean() / (centred**2).mean() ** 2)
