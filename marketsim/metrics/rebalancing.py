"""Wealth of weights that are set anew at each bar, after fees."""

import numpy as np
from numpy.typing import NDArray

from marketsim.checks import at_least_zero
from marketsim.errors import DataError

Floats = NDArray[np.float64]

BASIS_POINT = 1e-4


def rebalance(weights: Floats, returns: Floats, fee_bps: float = 0.0) -> tuple[Floats, float]:
    """Course of wealth, from 1 on, and how much of it was traded in all.

    Before each bar holdings are set to ``weights`` of the wealth then, below 0: sold short; the
    rest is cash, without interest. The fee is on what must be traded to get there from what
    holdings have become, and on closing all in the end.

    Parameters
    ----------
    weights : float64[m, d] – before each bar
    returns : float64[m, d] – simple returns over each bar
    fee_bps : of money traded [hundredths of a per cent]

    Returns
    -------
    values : float64[m + 1]
    turnover : sum of money traded by the wealth then

    Raises
    ------
    ConfigError
        For a fee below 0.
    DataError
        If all wealth is lost.
    """
    fee = at_least_zero("fee_bps", fee_bps) * BASIS_POINT
    growth = 1 + (weights * returns).sum(axis=1)
    _refuse_loss(growth)
    become = weights * (1 + returns) / growth[:, None]
    nothing = np.zeros((1, weights.shape[1]))
    before, after = np.concatenate([nothing, become]), np.concatenate([weights, nothing])
    traded = np.abs(after - before).sum(axis=1)  # [m + 1], the last one closes
    kept = 1 - fee * traded
    _refuse_loss(kept)
    values = np.cumprod(np.concatenate([[1.0], growth * kept[:-1]]))
    values[-1] *= kept[-1]
    return values, float(traded.sum())


def _refuse_loss(factors: Floats) -> None:
    if factors.min() <= 0:
        at = int(np.flatnonzero(factors <= 0)[0])
        raise DataError(f"weights: must leave some wealth, all of it is lost at bar {at}")
