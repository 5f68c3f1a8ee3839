"""Windows of the past drawn anew, and windows of blocks of the past."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketsim.checks import number
from marketsim.data.return_windows import Windows
from marketsim.errors import ConfigError
from marketsim.generators.base import FitProgress
from marketsim.generators.flows import array_of
from marketsim.generators.returns import ReturnGenerator, Returns

#: Label of windows that were learned without one.
_NONE = -1


class BootstrapReturns(ReturnGenerator):
    """Windows of the past as they were, each as likely as any other.

    With labels, a window of that label; without, of any.

    Parameters
    ----------
    recent : share of the windows to draw from, the latest ones; 1: all of them. Regimes last, so
        that recent windows are a better forecast than all.
    """

    name = "bootstrap-returns"
    conditional = True

    def __init__(self, recent: float = 1.0) -> None:
        if not 0 < number("recent", recent) <= 1:
            raise ConfigError(f"recent must be > 0 and <= 1, was {recent!r}")
        self.recent = float(recent)

    def _learn(self, windows: Windows, labels: NDArray[np.int64] | None, seed: int,
               progress: FitProgress | None) -> None:  # fmt: skip
        first = len(windows) - int(np.ceil(self.recent * len(windows)))
        self._returns = windows.log_returns[first:]
        self._label = np.full(len(windows), _NONE) if labels is None else labels
        self._label = self._label[first:]
        if progress is not None:
            progress(1.0, f"{len(self._returns):,} windows")

    def _draw(self, n: int, labels: NDArray[np.int64] | None, rng: np.random.Generator) -> Returns:
        if labels is None:
            return self._returns[rng.integers(len(self._returns), size=n)]
        rows = np.empty(n, np.int64)
        for label in np.unique(labels):
            among, wanted = np.flatnonzero(self._label == label), labels == label
            if not len(among):
                known = ", ".join(str(one) for one in np.unique(self._label) if one != _NONE)
                raise ConfigError(
                    f"conditions: no window of regime {label} was learned"
                    f" (known: {known or 'none'})"
                )
            rows[wanted] = among[rng.integers(len(among), size=int(wanted.sum()))]
        return self._returns[rows]

    def parameters(self) -> dict[str, Any]:
        return {"recent": self.recent}

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {"log_returns": self._returns, "labels": self._label}

    def _set(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        shape = (None, self.steps, len(self.symbols))
        self._returns = array_of(arrays, "log_returns", shape, np.float32)
        self._label = array_of(arrays, "labels", (len(self._returns),), np.int64)


class BlockBootstrapReturns(ReturnGenerator):
    """Runs of the past of geometric length, one after the other: the stationary bootstrap.

    The windows' returns are put in order of time first. A run that comes to the end of what is
    known, such as a gap in the bars, ends there.

    Parameters
    ----------
    mean_block : mean length of a run [returns]

    References
    ----------
    Politis & Romano (1994), The stationary bootstrap, Journal of the American Statistical
    Association 89(428).
    """

    name = "block-bootstrap"

    def __init__(self, mean_block: float = 12.0) -> None:
        if number("mean_block", mean_block) < 1:
            raise ConfigError(f"mean_block must be >= 1, was {mean_block!r}")
        self.mean_block = float(mean_block)

    def _learn(self, windows: Windows, labels: NDArray[np.int64] | None, seed: int,
               progress: FitProgress | None) -> None:  # fmt: skip
        self._returns, self._successor = windows.series()
        if progress is not None:
            progress(1.0, f"{len(self._returns):,} returns")

    def _draw(self, n: int, labels: NDArray[np.int64] | None, rng: np.random.Generator) -> Returns:
        rows = np.empty((n, self.steps), np.int64)
        row = np.full(n, -1)
        for step in range(self.steps):
            follows = np.where(row >= 0, self._successor[row], -1)
            jumps = (follows < 0) | (rng.random(n) * self.mean_block < 1)
            row = np.where(jumps, rng.integers(len(self._returns), size=n), follows)
            rows[:, step] = row
        return self._returns[rows]

    def parameters(self) -> dict[str, Any]:
        return {"mean_block": self.mean_block}

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {"log_returns": self._returns, "successor": self._successor}

    def _set(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._returns = array_of(arrays, "log_returns", (None, len(self.symbols)), np.float32)
        self._successor = array_of(arrays, "successor", (len(self._returns),), np.int64)
        if not len(self._returns) or not -1 <= self._successor.min() <= self._successor.max() < len(
            self._returns
        ):
            raise ValueError(f"successor: must be rows of log_returns, {len(self._returns)}, or -1")
