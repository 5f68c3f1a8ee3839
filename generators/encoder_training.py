"""What the paper's encoder learns from: windows of order vectors, drawn at random."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from marketsim.flow import Flow
from marketsim.generators.encoder_network import EncoderModel
from marketsim.generators.order_vectors import ORDER, OrderScale

Ints = NDArray[np.int64]

#: Held-out windows that are looked at, and how many a time.
HELD_WINDOWS, HELD_BATCH = 2_048, 256


class WindowVectors:
    """Vectors of flows, one after the other, and the rows where windows end.

    No window runs from one flow into the next.

    Attributes
    ----------
    vectors : float32[rows, ORDER + BOOK], of each order and of the book before it.
    ends : int64[windows].
    """

    def __init__(self, flows: Sequence[Flow], scale: OrderScale, window: int) -> None:
        parts, ends, at = [], [], 0
        for flow in flows:
            part = np.concatenate(scale.vectors(flow[1:], int(flow["time_ns"][0])), axis=1)
            parts.append(part)
            ends.append(np.arange(at + window - 1, at + len(part)))
            at += len(part)
        self.vectors = np.concatenate(parts)
        self.ends, self._span = np.concatenate(ends), np.arange(1 - window, 1)

    def batch(self, ends: Ints) -> dict[str, Tensor]:
        """``order`` [batch, ORDER], ``past`` [batch, window - 1, ORDER], ``books`` [batch, window,
        BOOK] of the windows that end at these rows."""
        found = torch.from_numpy(self.vectors[ends[:, None] + self._span])
        orders, books = found[..., :ORDER], found[..., ORDER:]
        return {"order": orders[:, -1], "past": orders[:, :-1], "books": books}


class EncoderTask:
    """The noise in the last order of windows; see :class:`marketsim.generators.training.Task`."""

    def __init__(
        self, flows: Sequence[Flow], held: Sequence[Flow], scale: OrderScale, window: int
    ) -> None:
        self.windows = WindowVectors(flows, scale, window)
        self.held = WindowVectors(held, scale, window) if held else None

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """Windows from anywhere."""
        return self.windows.batch(rng.choice(self.windows.ends, size))

    def losses(self, network: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Error of the noise and weighted bound."""
        losses: dict[str, Tensor] = network(batch)
        return losses

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Mean error of the noise in held-out orders; the same steps and noise each time."""
        if self.held is None:
            return {}
        assert isinstance(network, EncoderModel)
        network.eval()
        device = next(network.parameters()).device
        generator, total, diffusion = torch.Generator().manual_seed(0), 0.0, network.diffusion
        some = np.linspace(0, len(self.held.ends) - 1, min(HELD_WINDOWS, len(self.held.ends)))
        ends = self.held.ends[some.astype(np.int64)]
        with torch.no_grad():
            for at in range(0, len(ends), HELD_BATCH):
                batch = self.held.batch(ends[at : at + HELD_BATCH])
                count = len(batch["order"])
                t = torch.randint(1, diffusion.steps + 1, (count,), generator=generator).to(device)
                noise = torch.randn(batch["order"].shape, generator=generator).to(device)
                batch = {name: value.to(device) for name, value in batch.items()}
                condition = batch["past"], batch["books"]
                error, _ = diffusion.losses(network.encoder, batch["order"], t, noise, condition)
                total += float(error.sum())
        return {"noise": total / len(ends)}
