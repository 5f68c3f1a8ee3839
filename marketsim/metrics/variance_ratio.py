"""Variance ratio: whether prices move like a random walk."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class VarianceRatio:
    """1 for a random walk, below 1 where returns revert, above 1 where they go on.

    Attributes
    ----------
    ratio : variance of returns over ``periods`` to ``periods`` times that of one.
    z : standard normal under a random walk with heteroscedastic returns.
    """

    ratio: float
    z: float
    periods: int


def variance_ratio(log_prices: ArrayLike, periods: int) -> VarianceRatio | None:
    """Variance ratio of overlapping returns, unbiased, with its heteroscedasticity-robust z.

    Parameters
    ----------
    log_prices : float64[n], at equal intervals.
    periods : >= 2, intervals of the longer returns.

    Returns
    -------
    VarianceRatio, or None with fewer than ``2 * periods`` returns, or when the price never moves.

    References
    ----------
    Lo & MacKinlay (1988), "Stock market prices do not follow random walks", eqs. 12 to 15 and 18
    to 19.
    """
    prices = np.asarray(log_prices, np.float64)
    n = len(prices) - 1
    if n < 2 * periods:
        return None
    drift = (prices[-1] - prices[0]) / n
    centred = np.diff(prices) - drift
    squares = centred**2
    total = squares.sum()
    if total <= 1e-24 * n:
        return None
    one = total / (n - 1)
    longer = prices[periods:] - prices[:-periods] - periods * drift
    many = (longer**2).sum() / (periods * (n - periods + 1) * (1 - periods / n))
    theta = sum(
        (2 * (periods - lag) / periods) ** 2 * (squares[lag:] @ squares[:-lag]) / total**2
        for lag in range(1, periods)
    )
    ratio = many / one
    return VarianceRatio(float(ratio), float((ratio - 1) / np.sqrt(theta)), periods)
