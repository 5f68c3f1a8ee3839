"""The GRU that reads windows of returns for the scores, and its training."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from marketsim.metrics.forecaster import one_thread

HIDDEN = 24
#: Steps of training, the same for few windows and for many, and windows in each.
STEPS, BATCH = 400, 128
LEARNING_RATE, WEIGHT_DECAY = 1e-2, 1e-3
#: Returns beyond this many real standard deviations are clipped: one crash must not rule a batch.
CLIP = 10.0

#: Loss of a network's outputs (batch, T, outputs) for the windows of these rows.
Loss = Callable[[Tensor, Tensor], Tensor]


class Reader(nn.Module):
    """One layer of GRU over returns and their absolute values, with outputs at each step.

    Absolute values stand beside the returns as volatility is what most of the structure is in.
    """

    def __init__(self, assets: int, outputs: int) -> None:
        super().__init__()
        self.gru = nn.GRU(2 * assets, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, outputs)

    def forward(self, windows: Tensor) -> Tensor:  # (batch, T, assets)
        states, _ = self.gru(torch.cat([windows, windows.abs()], dim=2))  # (batch, T, HIDDEN)
        outputs: Tensor = self.head(states)  # (batch, T, outputs)
        return outputs

    def read(self, windows: Tensor) -> Tensor:
        """Outputs of many windows, without gradient."""
        self.eval()
        with torch.no_grad(), one_thread():
            return torch.cat([self(part) for part in torch.split(windows, 1_000)])


def scaled(log_returns: NDArray[Any], deviation: NDArray[np.float64]) -> Tensor:
    """Returns by their assets' real deviations, clipped: float32[n, T, d]."""
    values = np.clip(log_returns / deviation, -CLIP, CLIP)
    return torch.from_numpy(values.astype(np.float32))


def train(windows: Tensor, outputs: int, loss: Loss, seed: int) -> Reader:
    """Train a reader of windows (n, T, d); the same seed gives the same weights.

    Adam with a learning rate that rises and falls (Smith & Topin 2019), for a fixed number of
    steps: time does not depend on the number of windows, and no window is kept from training to
    decide when to stop.
    """
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        reader = Reader(windows.shape[2], outputs)
        optimiser = torch.optim.AdamW(reader.parameters(), weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, STEPS)
        order = np.empty(0, np.int64)
        for _ in range(STEPS):
            if not len(order):
                order = rng.permutation(len(windows))
            rows, order = torch.from_numpy(order[:BATCH]), order[BATCH:]
            cost = loss(reader(windows[rows]), rows)
            optimiser.zero_grad()
            torch.autograd.backward(cost)
            nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    return reader
