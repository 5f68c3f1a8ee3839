"""GARCH with Student's t for each asset, a copula between them."""

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.special
import scipy.stats
from numpy.typing import NDArray

from marketsim.checks import choice, integer
from marketsim.data.return_windows import Windows
from marketsim.errors import DataError, ModelError
from marketsim.generators.base import FitProgress
from marketsim.generators.flows import array_of
from marketsim.generators.returns import ReturnGenerator

Floats = NDArray[np.float64]

#: States of the past, from which windows start, that are kept.
STATES = 4096
#: Degrees of freedom among which the t copula's is the likeliest.
_FREEDOMS = (2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 14.0, 20.0, 30.0, 60.0)


class GarchCopula(ReturnGenerator):
    """Autoregression with GARCH(1, 1) and t innovations by asset, joined by a copula.

    A window starts from the volatilities and last returns of a past moment, the same for all
    assets, so that calm and wild windows are as frequent as they were.

    Parameters
    ----------
    copula : ``t`` (with tails that crash together) or ``gaussian``
    lags : of the autoregression; 0: none

    References
    ----------
    Bollerslev (1987), A conditionally heteroskedastic time series model for speculative prices and
    rates of return, Review of Economics and Statistics 69(3).
    Demarta & McNeil (2005), The t copula and related copulas, International Statistical Review
    73(1).
    """

    name = "garch-copula"

    def __init__(self, copula: str = "t", lags: int = 1) -> None:
        self.copula = choice("copula", copula, ("t", "gaussian"))
        self.lags = integer("lags", lags, 0)

    def _learn(self, windows: Windows, labels: NDArray[np.int64] | None, seed: int,
               progress: FitProgress | None) -> None:  # fmt: skip
        """Fit each asset on the returns in order of time, gaps closed up, then the copula."""
        returns = windows.series()[0].astype(np.float64)
        self._scale = returns.std(axis=0)
        still = np.flatnonzero(np.ptp(returns, axis=0) == 0)
        if len(still):
            raise DataError(
                f"windows: {windows.symbols[still[0]]} is constant: its returns do not vary"
            )
        fits = []
        for asset, symbol in enumerate(windows.symbols):
            fits.append(self._fit_asset(symbol, returns[:, asset] / self._scale[asset]))
            if progress is not None:
                progress((asset + 1) / len(windows.symbols), symbol)
        self._mean = np.array([fit[0] for fit in fits])  # (d, 1 + lags)
        self._garch = np.array([fit[1] for fit in fits])  # (d, 4): omega, alpha, beta, nu
        residual, variance = (np.column_stack([fit[i] for fit in fits]) for i in (2, 3))
        self._set_states(returns / self._scale, residual, variance, np.random.default_rng(seed))
        deviates = residual / np.sqrt(variance)  # (m, d)
        nu = self._garch[:, 3]
        uniform = scipy.stats.t.cdf(deviates * np.sqrt(nu / (nu - 2)), nu)
        self._set_copula(np.clip(uniform, 1e-9, 1 - 1e-9))

    def _fit_asset(self, symbol: str, returns: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Autoregression [1 + lags], GARCH [4], residuals and variances [m - lags]."""
        try:
            arch = importlib.import_module("arch")
        except ImportError as error:
            raise ModelError(
                f"model {self.name!r}: needs the package arch to be fitted: "
                "pip install 'marketsim-lob[stats]'"
            ) from error
        if len(returns) < 50 + self.lags:
            raise ModelError(f"{symbol}: GARCH needs 50 returns at least, had {len(returns)}")
        mean = {"mean": "AR", "lags": self.lags} if self.lags else {"mean": "Constant"}
        for unit in (1.0, 10.0):  # its optimiser fails on one scale where it does not on another
            model = arch.arch_model(returns * unit, **mean, vol="GARCH", dist="t", rescale=False)
            result = model.fit(disp="off", show_warning=False)
            found = np.array(result.params)
            if not result.convergence_flag and np.isfinite(found).all():
                break
        else:
            raise ModelError(f"{symbol}: GARCH did not converge on {len(returns)} returns")
        first = 1 + self.lags
        found[0] /= unit  # the mean's constant, and then omega
        found[first] /= unit**2
        variance = (np.asarray(result.conditional_volatility)[self.lags :] / unit) ** 2
        residual = np.asarray(result.resid)[self.lags :] / unit
        return found[:first], found[first:], residual, variance

    def _set_states(
        self, returns: Floats, residual: Floats, variance: Floats, rng: np.random.Generator
    ) -> None:
        """Keep moments of the past: last returns, newest first, residual and variance of each."""
        rows = np.arange(len(residual))
        if len(rows) > STATES:
            rows = np.sort(rng.choice(len(rows), STATES, replace=False))
        last = [returns[rows + self.lags - lag] for lag in range(self.lags)]
        self._states = np.stack([residual[rows], variance[rows], *last], axis=1)

    def _set_copula(self, uniform: Floats) -> None:
        """Correlation, by Kendall's tau, and the likeliest degrees of freedom."""
        assets = uniform.shape[1]
        correlation = np.eye(assets)
        for i in range(assets):
            for j in range(i):
                tau = scipy.stats.kendalltau(uniform[:, i], uniform[:, j]).statistic
                correlation[i, j] = correlation[j, i] = np.sin(np.pi / 2 * tau)
        variances, directions = np.linalg.eigh(correlation)
        correlation = (directions * np.maximum(variances, 1e-6)) @ directions.T
        deviation = np.sqrt(np.diag(correlation))
        self._factor = np.linalg.cholesky(correlation / np.outer(deviation, deviation))
        self._freedom = np.zeros(1)  # 0: normal
        if self.copula == "t":
            likely = [_t_likelihood(uniform, self._factor, nu) for nu in _FREEDOMS]
            self._freedom[0] = _FREEDOMS[int(np.argmax(likely))]

    def _draw(self, n: int, labels: NDArray[np.int64] | None, rng: np.random.Generator) -> Floats:
        omega, alpha, beta, nu = self._garch.T
        state = self._states[rng.integers(len(self._states), size=n)]  # (n, 2 + lags, d)
        residual, variance, last = state[:, 0], state[:, 1], state[:, 2:]
        returns = np.empty((n, self.steps, len(self.symbols)))
        for step in range(self.steps):
            variance = omega + alpha * residual**2 + beta * variance
            deviate = scipy.special.stdtrit(nu, self._uniform(n, rng)) * np.sqrt((nu - 2) / nu)
            residual = np.sqrt(variance) * deviate
            mean = self._mean[:, 0] + (last * self._mean[:, 1:].T).sum(axis=1)
            returns[:, step] = mean + residual
            last = np.concatenate([returns[:, step, None], last], axis=1)[:, : self.lags]
        scaled: Floats = returns * self._scale
        return scaled

    def _uniform(self, n: int, rng: np.random.Generator) -> Floats:
        """Draws of the copula, float64[n, d]."""
        normal = rng.standard_normal((n, len(self._factor))) @ self._factor.T
        freedom = float(self._freedom[0])
        if not freedom:
            uniform = scipy.special.ndtr(normal)
        else:
            mixed = normal * np.sqrt(freedom / rng.chisquare(freedom, (n, 1)))
            uniform = scipy.special.stdtr(freedom, mixed)
        return np.asarray(np.clip(uniform, 1e-12, 1 - 1e-12))

    def parameters(self) -> dict[str, Any]:
        return {"copula": self.copula, "lags": self.lags}

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "scale": self._scale, "mean": self._mean, "garch": self._garch,
            "states": self._states, "factor": self._factor, "freedom": self._freedom,
        }  # fmt: skip

    def _set(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        d = len(self.symbols)
        self._scale = array_of(arrays, "scale", (d,), np.float64)
        self._mean = array_of(arrays, "mean", (d, 1 + self.lags), np.float64)
        self._garch = array_of(arrays, "garch", (d, 4), np.float64)
        self._states = array_of(arrays, "states", (None, 2 + self.lags, d), np.float64)
        self._factor = array_of(arrays, "factor", (d, d), np.float64)
        self._freedom = array_of(arrays, "freedom", (1,), np.float64)


def _t_likelihood(uniform: Floats, factor: Floats, freedom: float) -> float:
    """Log-likelihood of a t copula on uniform draws float64[m, d]."""
    d = uniform.shape[1]
    quantiles = scipy.special.stdtrit(freedom, uniform)
    white = np.linalg.solve(factor, quantiles.T)  # (d, m)
    joint = -(freedom + d) / 2 * np.log1p((white**2).sum(axis=0) / freedom)
    alone = -(freedom + 1) / 2 * np.log1p(quantiles**2 / freedom).sum(axis=1)
    gamma = scipy.special.gammaln
    constant = (
        gamma((freedom + d) / 2) + (d - 1) * gamma(freedom / 2) - d * gamma((freedom + 1) / 2)
    )
    return float((joint - alone).mean() + constant - np.log(np.diag(factor)).sum())
