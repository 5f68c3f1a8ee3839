"""Windows of normal returns: what means and covariances alone can say."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketsim.data.return_windows import Windows
from marketsim.generators.base import FitProgress
from marketsim.generators.flows import array_of
from marketsim.generators.returns import ReturnGenerator


class GaussianReturns(ReturnGenerator):
    """A normal distribution of whole windows, with their mean and covariance over time and assets.

    It has every linear dependence of the data and no other: no fat tails, no volatility clusters.
    """

    name = "gaussian"
    least = 2

    def _learn(self, windows: Windows, labels: NDArray[np.int64] | None, seed: int,
               progress: FitProgress | None) -> None:  # fmt: skip
        flat = windows.log_returns.reshape(len(windows), -1).astype(np.float64)
        self._mean = flat.mean(axis=0)
        variances, directions = np.linalg.eigh(np.atleast_2d(np.cov(flat, rowvar=False)))
        self._factor = directions * np.sqrt(np.maximum(variances, 0.0))  # (T d, T d)
        if progress is not None:
            progress(1.0, f"{len(windows):,} windows")

    def _draw(
        self, n: int, labels: NDArray[np.int64] | None, rng: np.random.Generator
    ) -> NDArray[np.floating[Any]]:
        flat = self._mean + rng.standard_normal((n, len(self._mean))) @ self._factor.T
        drawn: NDArray[np.floating[Any]] = flat.reshape(n, self.steps, -1)
        return drawn

    def parameters(self) -> dict[str, Any]:
        return {}

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {"mean": self._mean, "factor": np.ascontiguousarray(self._factor)}

    def _set(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        size = self.steps * len(self.symbols)
        self._mean = array_of(arrays, "mean", (size,), np.float64)
        self._factor = array_of(arrays, "factor", (size, size), np.float64)
