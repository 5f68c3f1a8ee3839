"""Policies to compare a portfolio agent with: each made from an environment, then called.

``policy = equal_weight(env)``; ``env.step(policy(observation, info))``. The environment may be
wrapped; minimum variance reads the returns that it has shown so far, and nothing later.
"""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from marketsim.envs.portfolio import PortfolioEnv
from marketsim.errors import ConfigError

Floats = NDArray[np.float64]
Policy = Callable[[NDArray[np.float32], dict[str, Any]], NDArray[np.float32]]


def equal_weight(env: gymnasium.Env[Any, Any]) -> Policy:
    """Return to equal weights of all assets at each step; no cash (1/N).

    References: DeMiguel, Garlappi & Uppal (2009), Optimal Versus Naive Diversification
    """
    assets = len(_portfolio(env).source.names)
    return lambda observation, info: _action(np.full(assets, 1.0 / assets))


def buy_and_hold(env: gymnasium.Env[Any, Any]) -> Policy:
    """Buy equal weights at the first step, then trade nothing."""
    assets = len(_portfolio(env).source.names)

    def policy(observation: NDArray[np.float32], info: dict[str, Any]) -> NDArray[np.float32]:
        if info["step"] == 0:
            return _action(np.full(assets, 1.0 / assets))
        held = observation[-assets - 2 : -2]  # weights as the action that trades nothing
        return held.astype(np.float32)

    return policy


def minimum_variance(env: gymnasium.Env[Any, Any], shrinkage: float = 0.1) -> Policy:
    """Hold the long-only portfolio of least variance over the bars of the lookback window.

    Parameters
    ----------
    shrinkage : from 0 to 1, weight of the mean variance on the diagonal in the covariance matrix,
        which a short window would leave singular; equal weights until two bars are known

    Raises
    ------
    ConfigError : shrinkage out of range

    References: Markowitz (1952), Portfolio Selection; Ledoit & Wolf (2004), A Well-Conditioned
    Estimator for Large-Dimensional Covariance Matrices, eq. 7 (with a fixed intensity)
    """
    portfolio = _portfolio(env)
    if not 0 <= shrinkage <= 1:
        raise ConfigError(f"shrinkage must be from 0 to 1, was {shrinkage!r}")
    return lambda observation, info: _action(least_variance(portfolio.known_returns(), shrinkage))


def least_variance(log_returns: Floats, shrinkage: float) -> Floats:
    """Return the weights >= 0 of sum 1 with least variance: float64[assets].

    log_returns : float64[bars, assets]

    ``min v' C v / 2 - 1' v, v >= 0`` has the same solution but for its scale, and is non-negative
    least squares of ``C = L L'``: ``min |L' v - L^-1 1|``.
    """
    bars, assets = log_returns.shape
    equal = np.full(assets, 1.0 / assets)
    if bars < 2:
        return equal
    covariance = np.atleast_2d(np.cov(log_returns, rowvar=False))
    mean = np.trace(covariance) / assets
    if mean <= 0:
        return equal
    covariance = (1 - shrinkage) * covariance / mean + shrinkage * np.eye(assets)
    try:
        root = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:  # singular, with no shrinkage: the least that makes it regular
        root = np.linalg.cholesky(covariance + 1e-8 * np.eye(assets))
    v, _ = nnls(root.T, np.linalg.solve(root, np.ones(assets)))
    return np.asarray(v / v.sum(), dtype=np.float64)


def _action(weights: Floats) -> NDArray[np.float32]:
    return np.clip(2.0 * weights - 1.0, -1.0, 1.0).astype(np.float32)


def _portfolio(env: gymnasium.Env[Any, Any]) -> PortfolioEnv:
    inner = env.unwrapped
    if not isinstance(inner, PortfolioEnv):
        raise ConfigError(f"env must be a PortfolioEnv, was {type(inner).__name__}")
    return inner
