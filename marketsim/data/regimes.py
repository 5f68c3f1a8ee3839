"""Regimes of windows of returns: bull, bear and crash."""

import numpy as np
from numpy.typing import NDArray

from marketsim.checks import did_you_mean
from marketsim.data.return_windows import Windows
from marketsim.errors import ConfigError

#: Names of the labels 0, 1 and 2.
REGIMES = ("bull", "bear", "crash")
#: Share of windows that are crashes: those in which the assets lose most.
CRASHES = 0.05


def labels(windows: Windows) -> NDArray[np.int64]:
    """Label windows by the mean log return of the assets over the whole window.

    Returns
    -------
    int64[n] – 0, bull: not below 0; 2, crash: of the lowest 5 % of all windows, and below 0; 1,
    bear: the others
    """
    total = windows.log_returns.sum(axis=1, dtype=np.float64).mean(axis=1)
    crash = (total <= np.quantile(total, CRASHES)) & (total < 0)
    return np.where(total >= 0, 0, np.where(crash, 2, 1)).astype(np.int64)


def label_of(regime: "str | int") -> int:
    """Label of a regime by its name; a number is a label already.

    Raises
    ------
    ConfigError
        For another name, or a number below 0.
    """
    if isinstance(regime, str) and regime.lower() in REGIMES:
        return REGIMES.index(regime.lower())
    try:
        label = int(regime)
    except ValueError:
        label = -1
    if label < 0:
        raise ConfigError(
            f"regime must be {', '.join(REGIMES)} or a label >= 0, was {regime!r}"
            f"{did_you_mean(str(regime), REGIMES)}"
        )
    return label
