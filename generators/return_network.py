"""Base of generators of returns whose network torch trains and samples."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from marketsim.data.return_windows import Windows
from marketsim.errors import DataError
from marketsim.generators.base import FitProgress, make
from marketsim.generators.flows import array_of
from marketsim.generators.returns import ReturnGenerator
from marketsim.generators.training import Task, Training, cpu_threads, train

Floats = NDArray[np.float32]

#: Windows that are drawn at once.
AT_ONCE = 4096


class ReturnNetwork(nn.Module, ABC):
    """A network that learns windows of scaled returns, and draws them."""

    @abstractmethod
    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mean losses by name, of a batch with ``returns`` (batch, steps, assets).

        Networks that play against each other take turns: the losses of one of them at a time.
        """

    @abstractmethod
    def draw(self, n: int, random: torch.Generator, condition: Tensor | None) -> Tensor:
        """Draw scaled windows (n, steps, assets); all chance is from ``random``."""


class WindowTask:
    """Batches of windows drawn at random; see :class:`marketsim.generators.training.Task`.

    Parameters
    ----------
    **tensors : by name, a row for each window
    """

    def __init__(self, **tensors: Tensor) -> None:
        self.tensors = tensors
        self.count = len(next(iter(tensors.values())))

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        rows = torch.from_numpy(rng.integers(self.count, size=size))
        return {name: tensor[rows] for name, tensor in self.tensors.items()}

    def losses(self, network: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = network(batch)
        return losses

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Nothing is held out: the latest windows are those that tell most of what comes."""
        return {}


class NetworkReturns(ReturnGenerator):
    """Generator with a network of scaled returns.

    Returns are standardised by asset, ``(returns - mean) / scale``, before the network sees them.

    Attributes
    ----------
    training_defaults : settings of its training, where nothing else is asked for.
    training : what came of the training, JSON values.
    """

    least = 16
    training_defaults: ClassVar[dict[str, Any]]
    network: Any = None

    def fit(self, windows: "Windows | NDArray[Any]", conditions: "NDArray[Any] | None" = None, *,
            seed: int = 0, progress: FitProgress | None = None,
            training: Training | None = None, checkpoint: Path | None = None) -> Self:  # fmt: skip
        """See :meth:`ReturnGenerator.fit`.

        Parameters
        ----------
        training : how it is trained; None: ``training_defaults``
        checkpoint : file to keep an interrupted training in, and to go on from

        Raises
        ------
        ModelError
            If the checkpoint is another training's.
        KeyboardInterrupt
            After a checkpoint was written.
        """
        self._settings = training or make("training", Training, self.training_defaults)
        self._checkpoint = checkpoint
        return super().fit(windows, conditions, seed=seed, progress=progress)

    # -- what a model is made of ------------------------------------------------------------------

    @abstractmethod
    def _build(self) -> ReturnNetwork:
        """The network, untrained, for ``steps`` returns of ``symbols``."""

    def _task(self, windows: Windows, condition: "NDArray[Any] | None") -> Task:
        """What it learns from."""
        return WindowTask(returns=torch.from_numpy(self._scaled(windows.log_returns)))

    def _sampler(self) -> nn.Module:
        """The part of the network that draws: all that is saved."""
        module: nn.Module = self.network
        return module

    def _fit_scale(self, returns: Floats) -> None:
        """Set how returns float32[n, T, d] are scaled."""
        self._mean = returns.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
        self._scale = returns.std(axis=(0, 1), dtype=np.float64).astype(np.float32)
        if not (self._scale > 0).all():
            at = int(np.flatnonzero(~(self._scale > 0))[0])
            raise DataError(f"windows: {self.symbols[at]} is constant: its returns do not vary")

    def _scaled(self, returns: Floats) -> Floats:
        return np.asarray((returns - self._mean) / self._scale, np.float32)

    def _unscaled(self, scaled: Floats) -> Floats:
        return np.asarray(scaled * self._scale + self._mean, np.float32)

    # -- learning and drawing ---------------------------------------------------------------------

    def _learn(self, windows: Windows, condition: "NDArray[Any] | None", seed: int,
               progress: FitProgress | None) -> None:  # fmt: skip
        self._fit_scale(windows.log_returns)
        torch.manual_seed(seed)  # first weights
        self.network = self._build()
        self.training = train(
            self.network, self._task(windows, condition), replace(self._settings, bfloat16=False),
            seed=seed, progress=progress, checkpoint=self._checkpoint,
        )  # fmt: skip

    def _draw(self, n: int, condition: "NDArray[Any] | None", rng: np.random.Generator) -> Floats:
        random = torch.Generator().manual_seed(int(rng.integers(2**62)))
        parts = []
        self.network.eval()
        # one thread: sums of several are not the same on every machine
        with cpu_threads(1), torch.inference_mode():
            for first in range(0, n, AT_ONCE):
                count = min(AT_ONCE, n - first)
                given = None
                if condition is not None:
                    given = torch.from_numpy(condition[first : first + count])
                parts.append(self.network.draw(count, random, given).numpy())
        return self._unscaled(np.concatenate(parts))

    # -- saving -----------------------------------------------------------------------------------

    def learned(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        arrays, values = super().learned()
        return arrays, {**values, "training": self.training}

    def restore(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        super().restore(arrays, values)
        self.training = dict(values["training"])

    def _arrays(self) -> dict[str, NDArray[Any]]:
        weights = self._sampler().state_dict()
        arrays = {f"network.{name}": value.numpy() for name, value in weights.items()}
        return {"mean": self._mean, "scale": self._scale, **arrays}

    def _set(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        assets = (len(self.symbols),)
        self._mean = array_of(arrays, "mean", assets, np.float32)
        self._scale = array_of(arrays, "scale", assets, np.float32)
        self.network = self._build().eval()
        weights = {}
        for name, value in self._sampler().state_dict().items():
            shape, kind = tuple(value.shape), value.numpy().dtype.type
            array = arrays[f"network.{name}"].reshape(shape)
            weights[name] = torch.tensor(array_of({name: array}, name, shape, kind))
        self._sampler().load_state_dict(weights)
