"""Where an environment's return paths come from: an array, a file, or a generator."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from marketsim.envs.geometric import GeometricBrownianReturns
from marketsim.envs.price_files import read_log_returns
from marketsim.errors import ConfigError, DataError

Floats = NDArray[np.float64]

#: The largest log return of a bar that is believed; prices handed over by mistake are above it.
MAX_LOG_RETURN = 10.0


class ReturnSampler(Protocol):
    """Any generator of return paths."""

    def sample(self, n: int, *, seed: int) -> NDArray[np.float32]:
        """Draw ``n`` paths of log returns: float32[n, bars, assets]."""


class ReturnSource(Protocol):
    """Paths of log returns, all of the same shape.

    names : of the assets
    bars : in each path
    stored : paths that can be chosen by number; 0 where each is drawn anew
    """

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def bars(self) -> int: ...
    @property
    def stored(self) -> int: ...

    def path(self, rng: np.random.Generator, index: int | None) -> Floats:
        """Return a path float64[bars, assets]: number ``index``, or one chosen by ``rng``."""


@dataclass(frozen=True, eq=False)
class StoredReturns:
    """Paths that are known: float64[paths, bars, assets]; one path is a history."""

    log_returns: Floats
    names: tuple[str, ...]

    @property
    def bars(self) -> int:
        return int(self.log_returns.shape[1])

    @property
    def stored(self) -> int:
        return int(self.log_returns.shape[0])

    def path(self, rng: np.random.Generator, index: int | None) -> Floats:
        if index is None:
            index = int(rng.integers(self.stored)) if self.stored > 1 else 0
        path: Floats = self.log_returns[index]
        return path


@dataclass(frozen=True, eq=False)
class SampledReturns:
    """Paths of a generator: each one drawn anew, with a seed from the caller's stream."""

    sampler: ReturnSampler
    bars: int
    names: tuple[str, ...]

    @property
    def stored(self) -> int:
        return 0

    def path(self, rng: np.random.Generator, index: int | None) -> Floats:
        if index is not None:
            raise ConfigError(f"options.path must not be given for drawn paths, was {index}")
        drawn = self.sampler.sample(1, seed=int(rng.integers(2**31)))
        paths = _checked(drawn, f"{type(self.sampler).__name__}.sample(1)")
        if paths.shape != (1, self.bars, len(self.names)):
            raise DataError(
                f"{type(self.sampler).__name__}.sample(1) must be of shape "
                f"{(1, self.bars, len(self.names))} as before, was {paths.shape}"
            )
        path: Floats = paths[0]
        return path


def return_source(returns: Any, assets: int | None, bars: int) -> ReturnSource:
    """Make a source of what the user passed as ``returns``.

    Parameters
    ----------
    returns : None (correlated geometric Brownian motions), an array or a data frame of log
        returns, a path to a file of prices or to the folder of a saved generator, an object with
        ``.sample``, or a source
    assets : how many there must be; None: as many as there are, 3 where ``returns`` is None
    bars : of a path where ``returns`` is None

    Raises
    ------
    ConfigError, DataError : something else, another number of assets, or values out of range
    """
    source = _source(returns, 3 if assets is None else assets, bars)
    if assets is not None and len(source.names) != assets:
        raise ConfigError(f"assets must be {len(source.names)}, as in returns, was {assets!r}")
    return source


def _source(returns: Any, assets: int, bars: int) -> ReturnSource:
    if isinstance(returns, StoredReturns | SampledReturns):
        return returns
    if returns is None:
        returns = GeometricBrownianReturns.of(assets, bars)
    if isinstance(returns, str | Path) and Path(returns).is_dir():
        returns = _saved_sampler(returns)
    if isinstance(returns, str | Path):
        log_returns, names = read_log_returns(returns)
        return StoredReturns(_checked(log_returns[None], str(returns)), names)
    if hasattr(returns, "to_numpy"):  # a data frame: it has a method `sample` of another kind
        names = tuple(str(name) for name in returns.columns)
        return StoredReturns(_checked(returns.to_numpy()[None], "returns"), names)
    if isinstance(returns, np.ndarray):
        paths = _checked(returns[None] if returns.ndim == 2 else returns, "returns")
        return StoredReturns(paths, _numbered(paths.shape[2]))
    if callable(getattr(returns, "sample", None)):
        field = f"{type(returns).__name__}.sample(1)"
        shape = _checked(returns.sample(1, seed=0), field).shape
        names = tuple(getattr(returns, "symbols", ())) or _numbered(shape[2])
        return SampledReturns(returns, shape[1], names)
    raise ConfigError(
        "returns must be an array of log returns, a file of prices, or an object with "
        f".sample(n, seed=...), was {returns!r}"
    )


def _saved_sampler(folder: str | Path) -> ReturnSampler:
    from marketsim.generators import ReturnGenerator, load

    generator = load(folder)
    if not isinstance(generator, ReturnGenerator):
        raise ConfigError(f"returns {folder}: {generator.name!r} is no generator of returns")
    return generator


def _numbered(assets: int) -> tuple[str, ...]:
    return tuple(f"asset {number}" for number in range(1, assets + 1))


def _checked(values: Any, field: str) -> Floats:
    """Return a copy float64[paths, bars, assets] of log returns that wealth can be made of."""
    if np.iscomplexobj(values):
        raise DataError(f"{field} must hold real numbers, was of {np.asarray(values).dtype}")
    try:
        paths = np.array(values, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise DataError(f"{field} must hold numbers ({error})") from error
    if paths.ndim != 3 or 0 in paths.shape:
        raise DataError(
            f"{field} must be of shape [bars, assets] or [paths, bars, assets], was of "
            f"{np.shape(values)}"
        )
    fine = np.abs(paths) <= MAX_LOG_RETURN
    if not fine.all():
        path, bar, asset = (int(index) for index in np.argwhere(~fine)[0])
        raise DataError(
            f"{field}: log returns must be finite and at most {MAX_LOG_RETURN:g} in size, "
            f"path {path} bar {bar} asset {asset} was {paths[path, bar, asset]:g} (are these "
            "prices? take np.diff(np.log(prices), axis=0))"
        )
    return paths
