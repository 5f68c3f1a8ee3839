"""What every generator of returns is: windows in, windows like them out."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from marketsim.checks import integer
from marketsim.data.return_windows import UNKNOWN_S, Windows, as_windows
from marketsim.errors import ConfigError, DataError, ModelError
from marketsim.generators.base import FitProgress, Generator
from marketsim.generators.flows import array_of

Returns = NDArray[np.float32]
#: What windows are given: a label, a whole number, or for some models the returns before them; for
#: each window, or the same for all that are drawn.
Conditions = NDArray[Any] | int


class ReturnGenerator(Generator):
    """A model of windows of log returns of several assets.

    Attributes
    ----------
    least : windows that it needs to learn anything.
    conditional : whether it takes labels of windows, such as a regime.
    symbols : names of the assets; ``steps``: returns in a window; ``step_s``: time between two
        prices [s]; ``initial_prices`` float64[d]: those of the latest window. Known once fitted.
    """

    least: ClassVar[int] = 1
    conditional: ClassVar[bool] = False
    symbols: tuple[str, ...] = ()
    steps: int = 0
    step_s: int = 0
    initial_prices: NDArray[np.float64]

    def fit(self, windows: "Windows | NDArray[Any]", conditions: NDArray[Any] | None = None, *,
            seed: int = 0, progress: FitProgress | None = None) -> Self:  # fmt: skip
        """Learn from windows, or log returns [n, T, d].

        Parameters
        ----------
        conditions : int64[n], a label >= 0 of each window, for a model that is conditional; some
            models take other things, such as the returns before each window

        Raises
        ------
        DataError
            If there are too few windows, values that are not finite, or an asset that never moves.
        ConfigError
            If labels are given to a model that takes none, or do not fit.
        """
        windows = as_windows(windows)
        if len(windows) < self.least:
            raise DataError(
                f"windows: model {self.name!r} needs {self.least} at least, had {len(windows)}"
            )
        windows.refuse_constant()
        given = None if conditions is None else self._given(conditions, len(windows))
        integer("seed", seed, 0)
        order = np.argsort(windows.start_s, kind="stable")  # unknown ones are taken as oldest
        windows = windows.take(order)
        self._about(windows.symbols, windows.steps, windows.step_s, windows.initial_prices[-1])
        try:
            self._learn(windows, None if given is None else given[order], seed, progress)
        except BaseException:  # an interrupt, too: what is half learned is not fitted
            self._about((), 0, 0, np.zeros(0))
            raise
        return self

    def sample(self, n: int, conditions: Conditions | None = None, *, seed: int = 0) -> Returns:
        """Draw windows: float32[n, T, d]; the same seed, the same windows.

        Parameters
        ----------
        conditions : label of each, int64[n], or of all

        Raises
        ------
        ModelError
            If it has not been fitted.
        ConfigError
            For n < 1, and labels that it does not know.
        """
        self._refuse_unfitted()
        integer("n", n, 1)
        given = None
        if conditions is not None:
            one = values_of(conditions)
            given = self._given(
                np.broadcast_to(one, (n, *one.shape)) if self._alone(one) else one, n
            )
        rng = np.random.default_rng(integer("seed", seed, 0))
        drawn = np.asarray(self._draw(n, given, rng), np.float32)
        assert drawn.shape == (n, self.steps, len(self.symbols))
        return drawn

    def sample_windows(
        self, n: int, conditions: Conditions | None = None, *, seed: int = 0
    ) -> Windows:
        """:meth:`sample` as windows from the latest prices on, of unknown time."""
        return self.as_windows(self.sample(n, conditions, seed=seed))

    def as_windows(self, drawn: Returns) -> Windows:
        """What it drew, float32[n, T, d], as windows from the latest prices on, of unknown time."""
        n = len(drawn)
        prices = np.tile(self.initial_prices, (n, 1))
        return Windows(drawn, prices, np.full(n, UNKNOWN_S), self.symbols, self.step_s)

    def sample_path(
        self, steps: int, n: int = 1, *, overlap: int | None = None,
        candidates: int | None = None,
        seed: int = 0,
    ) -> Returns:  # fmt: skip
        """Draw long paths of windows that follow on from each other: float32[n, steps, d].

        Parameters
        ----------
        overlap : returns by which windows are matched to the path (see
            :func:`marketsim.generators.stitching.joined`); None: a quarter of a window
        candidates : windows that are drawn at each seam, to choose from; None: 2048

        Raises
        ------
        ModelError
            If it has not been fitted.
        ConfigError
            If a number is out of range.
        """
        from marketsim.generators.stitching import joined

        self._refuse_unfitted()
        rng = np.random.default_rng(integer("seed", seed, 0))

        def draw(count: int) -> Returns:
            return self.sample(count, seed=int(rng.integers(2**62)))

        return joined(
            draw, n, steps,
            self.steps // 4 if overlap is None else overlap,
            2048 if candidates is None else candidates,
        )  # fmt: skip

    @abstractmethod
    def _learn(self, windows: Windows, labels: NDArray[Any] | None, seed: int,
               progress: FitProgress | None) -> None:  # fmt: skip
        """Learn from windows in order of time, and what each was given."""

    @abstractmethod
    def _draw(
        self, n: int, labels: NDArray[Any] | None, rng: np.random.Generator
    ) -> NDArray[np.floating[Any]]:
        """Windows [n, T, d], for what each is given."""

    @abstractmethod
    def _arrays(self) -> dict[str, NDArray[Any]]:
        """What it has learned, by name."""

    @abstractmethod
    def _set(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """The inverse of :meth:`_arrays`."""

    def learned(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        about = {"symbols": list(self.symbols), "steps": self.steps, "step_s": self.step_s}
        if not self.steps:
            raise ModelError(f"model {self.name}: has not been fitted yet, and cannot be saved")
        return {"initial_prices": self.initial_prices, **self._arrays()}, about

    def restore(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        symbols = tuple(str(name) for name in values["symbols"])
        steps, step_s = (integer(name, values[name], 1) for name in ("steps", "step_s"))
        prices = array_of(arrays, "initial_prices", (len(symbols),), np.float64)
        self._about(symbols, steps, step_s, prices)
        self._set(arrays)

    def _refuse_unfitted(self) -> None:
        if not self.steps:
            raise ModelError(f"model {self.name}: has not been fitted yet: fit it, or load one")

    def _about(
        self, symbols: tuple[str, ...], steps: int, step_s: int, prices: NDArray[np.float64]
    ) -> None:
        self.symbols, self.steps, self.step_s, self.initial_prices = symbols, steps, step_s, prices

    def _alone(self, condition: NDArray[Any]) -> bool:
        """Whether a condition is one window's, to be taken for all."""
        return condition.ndim == 0

    def _given(self, conditions: Any, n: int) -> NDArray[Any]:
        """Conditions of n windows, checked: labels, where a model says nothing else."""
        if not self.conditional:
            raise ConfigError(f"conditions: model {self.name!r} takes none")
        labels = values_of(conditions)
        if labels.shape != (n,) or labels.dtype.kind not in "iu" or labels.min() < 0:
            numbers = labels.size and labels.dtype.kind in "iuf"
            raise ConfigError(
                f"conditions: must be {n} whole numbers >= 0, was {labels.dtype}"
                f"{list(labels.shape)}" + (f" from {labels.min()}" if numbers else "")
            )
        return labels.astype(np.int64)


def values_of(conditions: Any) -> NDArray[Any]:
    """Conditions as an array of whatever kind.

    Raises
    ------
    ConfigError
        For lists of different lengths.
    """
    try:
        return np.asarray(conditions)
    except ValueError as error:
        raise ConfigError("conditions: must be as long in each row, and were not") from error
