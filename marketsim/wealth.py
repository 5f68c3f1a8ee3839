"""Measures of wealth over many windows: value at risk, expected shortfall, drawdown, profit.

The definitions are those of the ICAIF 2024 contest.
"""

import numpy as np
from numpy.typing import NDArray

from marketsim.errors import ConfigError, DataError

Floats = NDArray[np.float64]

#: Share of the worst windows.
ALPHA = 0.05


def value_at_risk(values: Floats, alpha: float = ALPHA) -> Floats:
    """Wealth below which a share ``alpha`` of windows lies, at each time.

    Parameters
    ----------
    values : float64[n, k]

    Returns
    -------
    float64[k] – value number floor(alpha n), from 0 on, of the n in rising order
    """
    return np.asarray(np.sort(values, axis=0)[_tail(values, alpha)])


def expected_shortfall(values: Floats, alpha: float = ALPHA) -> Floats:
    """Mean wealth of the worst windows up to that of :func:`value_at_risk`, float64[k]."""
    worst = np.sort(values, axis=0)[: _tail(values, alpha) + 1]
    return np.asarray(worst.mean(axis=0))


def max_drawdown(values: Floats) -> Floats:
    """Most that wealth fell below its highest so far, float64[n], of values float64[n, k]."""
    return np.asarray((np.maximum.accumulate(values, axis=1) - values).max(axis=1))


def profit(values: Floats) -> Floats:
    """Wealth at the end, float64[n], of values float64[n, k]."""
    return values[:, -1]


def _tail(values: Floats, alpha: float) -> int:
    """Index of the value at risk among ``n`` in rising order."""
    if not 0 <= alpha < 1:
        raise ConfigError(f"alpha must be >= 0 and < 1, was {alpha!r}")
    if not len(values):
        raise DataError("values: must be one window at least, were none")
    return int(alpha * len(values))
