"""The LSTM of the predictive score, and its training."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from marketsim.metrics.windows import Windows
from marketsim.report import Floats, Ints

HIDDEN, LAYERS = 16, 2
BATCH, LEARNING_RATE = 128, 5e-3
MAX_EPOCHS, PATIENCE = 20, 5
#: Scaled prices beyond these bounds are clipped.
CLIP = 5.0


class Forecaster(nn.Module):
    """Two layers of LSTM; the last state makes the forecast."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(columns, HIDDEN, LAYERS, batch_first=True)
        self.head = nn.Linear(HIDDEN, 1)

    def forward(self, windows: Tensor) -> Tensor:  # (batch, PAST, columns)
        states, _ = self.lstm(windows)  # (batch, PAST, HIDDEN)
        forecast: Tensor = self.head(states[:, -1]).squeeze(-1)  # (batch,)
        return forecast


@dataclass(frozen=True)
class Scaling:
    """Means and deviations of a training tape; what never varies there is scaled by 1.

    Attributes
    ----------
    mean, sd : float32[8] of the features.
    price_middle, price_spread : float [currency], median of all prices in the windows, and the
        distance from it that nine in ten do not exceed: some orders are far from any market.
    target_mean, target_sd : float [currency]; of a target that never varies ``target_sd`` is 0,
        and so the forecast is that value.
    """

    mean: NDArray[np.float32]
    sd: NDArray[np.float32]
    price_middle: float
    price_spread: float
    target_mean: float
    target_sd: float

    @classmethod
    def of(cls, windows: Windows) -> "Scaling":
        last = windows.last["train"]
        features, price = windows.inputs(last[:: max(1, len(last) // 1_000)])
        flat = features.reshape(-1, features.shape[-1]).astype(np.float64)
        sd = flat.std(axis=0)
        middle = float(np.median(price))
        spread = float(np.quantile(np.abs(price - middle), 0.9))
        targets = windows.targets(last)
        return cls(
            flat.mean(axis=0).astype(np.float32),
            np.where(sd > 0, sd, 1.0).astype(np.float32),
            middle,
            spread if spread > 0 else 1.0,
            float(targets.mean()),
            float(targets.std()),
        )

    def inputs(self, windows: Windows, last: Ints) -> Tensor:
        """Scaled windows, float32[m, PAST, 11]."""
        features, price = windows.inputs(last)
        scaled = np.clip((price - self.price_middle) / self.price_spread, -CLIP, CLIP)
        parts = [(features - self.mean) / self.sd, scaled.astype(np.float32)]
        return torch.from_numpy(np.concatenate(parts, axis=2))

    def targets(self, windows: Windows, last: Ints) -> Tensor:
        """Scaled targets, float32[m]."""
        scaled = (windows.targets(last) - self.target_mean) / (self.target_sd or 1.0)
        return torch.from_numpy(scaled.astype(np.float32))


@dataclass(frozen=True)
class Trained:
    """A forecaster with the scaling of the tape it was trained on, and its learning curve."""

    model: Forecaster
    scaling: Scaling
    losses: tuple[tuple[float, float], ...]  # training and validation, by epoch, scaled

    def forecast(self, windows: Windows, last: Ints) -> Floats:
        """Forecasts of windows of any tape, float64[m] [currency]."""
        self.model.eval()
        with torch.no_grad(), one_thread():
            outputs = [
                self.model(self.scaling.inputs(windows, last[at : at + 1_000])).double().numpy()
                for at in range(0, len(last), 1_000)
            ]
        result: Floats = self.scaling.target_mean + self.scaling.target_sd * np.concatenate(outputs)
        return result


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread: results do not depend on how many there are.

    It is faster too, on a busy machine: threads that wait for each other spin.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train(windows: Windows, seed: int, tell: Callable[[float], None]) -> Trained:
    """Train a forecaster on a tape's windows; the same seed gives the same weights.

    Adam on the mean absolute error, which is what the score measures; training stops
    :data:`PATIENCE` epochs after the best validation loss, and the best weights are kept.
    """
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _train(windows, np.random.default_rng(seed), tell)


def _train(windows: Windows, rng: np.random.Generator, tell: Callable[[float], None]) -> Trained:
    scaling = Scaling.of(windows)
    last, held = windows.last["train"], windows.last["validation"]
    model = Forecaster(windows.features.shape[1] + windows.price.shape[1])
    optimiser = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    measure = nn.L1Loss()
    held_inputs, held_targets = scaling.inputs(windows, held), scaling.targets(windows, held)
    best, best_epoch, losses = float("inf"), 0, []
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    for epoch in range(MAX_EPOCHS):
        model.train()
        order, total = rng.permutation(len(last)), 0.0
        for at in range(0, len(order), BATCH):
            tell((epoch + at / len(order)) / MAX_EPOCHS)
            chosen = last[order[at : at + BATCH]]
            loss = measure(model(scaling.inputs(windows, chosen)), scaling.targets(windows, chosen))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(chosen)
        model.eval()
        with torch.no_grad():
            validation = float(measure(model(held_inputs), held_targets))
        losses.append((total / len(last), validation))
        if validation < best:
            best, best_epoch = validation, epoch
            weights = {name: value.clone() for name, value in model.state_dict().items()}
        elif epoch - best_epoch >= PATIENCE:
            break
    model.load_state_dict(weights)
    return Trained(model, scaling, tuple(losses))
