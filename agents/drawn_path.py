"""Where a drawn path of prices comes from, and how it gets from one of its points to the next."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketsim import checks
from marketsim.errors import ConfigError

#: How fast the weight of other returns falls with their distance in time [returns].
MEMORY = 2.0


def bridge(
    log_returns: NDArray[np.float64], pieces: int, scale: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Log prices of several assets on a finer grid, from 0 on: Brownian bridges between points.

    Between two points a path has the covariance of the returns around them, each weighing less the
    further it is away, so that assets stay correlated and wild hours are wild inside too.

    Parameters
    ----------
    log_returns : float64[T, d], from point to point; the path goes through all points.
    pieces : steps of the finer grid for each return.
    scale : of the bridges' volatility; 0: straight lines.

    Returns
    -------
    float64[T * pieces + 1, d]
    """
    steps, assets = log_returns.shape
    share = np.arange(1, pieces + 1) / pieces
    points = np.vstack([np.zeros(assets), np.cumsum(log_returns, axis=0)])
    fine = points[:-1, None] + share[:, None] * log_returns[:, None]  # (T, pieces, d)
    distance = np.abs(np.subtract.outer(np.arange(steps), np.arange(steps)))
    weights = np.exp(-distance / MEMORY)
    weights /= weights.sum(axis=1, keepdims=True)
    draws = rng.standard_normal((steps, pieces, steps)) * np.sqrt(weights / pieces)[:, None]
    walk = np.cumsum(draws @ log_returns, axis=1)  # its covariance: Σ_j w_kj r_j r_jᵀ an hour
    fine += scale * (walk - share[:, None] * walk[:, -1:])
    fine[:, -1] = points[1:]  # to the last bit
    return np.vstack([points[:1], fine.reshape(-1, assets)])


def returns_model(model: Any, sampling: Mapping[str, Any] | None) -> tuple[Any, str]:
    """A generator of returns and its digest; an object that was given has none.

    Parameters
    ----------
    model : folder or shipped name of a saved generator, or a generator.
    sampling : how one that is given by its folder draws, in place of how it was saved to.

    Raises
    ------
    ConfigError, ModelError
        If it cannot be read, draws no returns, or takes no such sampling.
    """
    digest = ""
    if isinstance(model, str | Path):
        from marketsim.generators.shared import shared_model

        given = None if sampling is None else checks.mapping("sampling", sampling)
        found, digest = shared_model(model, sampling=given)
    else:
        found = model
        if sampling:
            raise ConfigError(
                "sampling is of a model that is given by its folder; set it on the object"
            )
    if not (hasattr(found, "sample") and hasattr(found, "initial_prices")):
        what = getattr(found, "name", found)
        raise ConfigError(f"model must draw windows of returns, {what!r} does not")
    return found, digest


def plain_conditions(conditions: Any) -> Any:
    """Conditions of a window, a number or lists of lists of them, as plain values; None is none.

    Raises
    ------
    ConfigError
        If they are anything else.
    """
    if conditions is None:
        return None
    try:
        found = np.asarray(conditions)
    except ValueError:  # lists of different lengths
        found = np.asarray(None)
    if found.dtype.kind not in "iuf":
        raise ConfigError(f"conditions must be a number or a table of numbers, was {conditions!r}")
    return found.tolist()


def matched_symbols(given: Sequence[str], model: Any, listed: Sequence[str]) -> list[str]:
    """The exchange's symbols of a model's assets, in their order.

    Parameters
    ----------
    given : symbols in the order of the assets; none: those of the assets' names.
    listed : on the exchange.

    Raises
    ------
    ConfigError
        If they are not one for each asset, one is not listed, or one has another asset's name.
    """
    assets = model.symbols
    symbols = list(given) or list(assets)
    if len(symbols) != len(assets):
        raise ConfigError(
            f"symbols must be one for each asset of model {model.name!r},"
            f" {', '.join(assets)}, was {symbols}"
        )
    for name, asset in zip(symbols, assets, strict=True):
        if name not in listed:
            raise ConfigError(
                f"symbols must be of the exchange's, {', '.join(listed)}, was {name!r};"
                f" the model's assets are {', '.join(assets)}"
            )
        others = [other for other in assets if other.upper().startswith(name.upper())]
        if others and asset not in others:
            raise ConfigError(
                f"symbols: {name} has the place of the model's asset {asset}, and the name of"
                f" {others[0]}; the assets are {', '.join(assets)}"
            )
    return symbols
