"""Return paths of correlated geometric Brownian motions, for a start without data."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marketsim.checks import integer, number, positive
from marketsim.errors import ConfigError


@dataclass(frozen=True)
class GeometricBrownianReturns:
    """Log returns of assets whose prices are correlated geometric Brownian motions.

    ``r = (drift - volatility^2 / 2) dt + volatility sqrt(dt) z``, ``dt = 1 / bars_a_year``, z
    normal with correlation ``correlation`` between any two assets.

    Parameters
    ----------
    drift : a year's expected simple growth of each asset's price, continuously compounded
    volatility : standard deviation of a year's log return of each asset, >= 0
    correlation : between any two assets, from ``-1 / (assets - 1)`` to 1
    bars : bars in a path
    bars_a_year : 252 for daily bars

    Raises
    ------
    ConfigError : a value out of range

    References: Glasserman (2003), Monte Carlo Methods in Financial Engineering, section 3.2.3
    """

    drift: tuple[float, ...] = (0.05, 0.07, 0.09)
    volatility: tuple[float, ...] = (0.10, 0.20, 0.30)
    correlation: float = 0.3
    bars: int = 252
    bars_a_year: float = 252.0

    def __post_init__(self) -> None:
        if not self.drift:
            raise ConfigError("drift must name at least one asset, was empty")
        if len(self.volatility) != len(self.drift):
            raise ConfigError(
                f"volatility must have as many assets as drift, {len(self.drift)}, "
                f"had {len(self.volatility)}"
            )
        for asset, (drift, volatility) in enumerate(zip(self.drift, self.volatility, strict=True)):
            number(f"drift[{asset}]", drift)
            if number(f"volatility[{asset}]", volatility) < 0:
                raise ConfigError(f"volatility[{asset}] must be >= 0, was {volatility!r}")
        lowest = -1.0 / max(1, len(self.drift) - 1)
        if not lowest <= number("correlation", self.correlation) <= 1:
            raise ConfigError(
                f"correlation must be from {lowest:g} to 1 between {len(self.drift)} assets, "
                f"was {self.correlation!r}"
            )
        integer("bars", self.bars, 1)
        positive("bars_a_year", self.bars_a_year)

    @classmethod
    def of(cls, assets: int, bars: int = 252) -> "GeometricBrownianReturns":
        """Return ``assets`` assets, from calm and slow to wild and fast growing."""
        integer("assets", assets, 1)
        return cls(
            drift=tuple(np.linspace(0.05, 0.09, assets).tolist()),
            volatility=tuple(np.linspace(0.10, 0.30, assets).tolist()),
            bars=bars,
        )

    def sample(self, n: int, seed: int | None = None) -> NDArray[np.float32]:
        """Draw ``n`` paths of log returns: float32[n, bars, assets]; the same seed, the same paths.

        One-factor form: with correlation rho, ``z = a e + b mean(e)`` of independent normals e,
        which has the wished correlation for negative rho too.
        """
        assets = len(self.drift)
        noise = np.random.default_rng(seed).standard_normal((n, self.bars, assets))
        own = math.sqrt(max(0.0, 1.0 - self.correlation))
        shared = math.sqrt(max(0.0, 1.0 + (assets - 1) * self.correlation)) - own
        z = own * noise + shared * noise.mean(axis=2, keepdims=True)  # (n, bars, assets)
        dt = 1.0 / self.bars_a_year
        volatility = np.asarray(self.volatility)
        mean = (np.asarray(self.drift) - 0.5 * volatility**2) * dt
        log_returns = mean + volatility * math.sqrt(dt) * z
        return np.asarray(log_returns, dtype=np.float32)
