"""What the conditional GAN learns from, and what is settled when it has learned."""

import numpy as np
import torch
from torch import Tensor, nn

from marketsim.generators.cgan import AT_ONCE, FITTED, Floats, Written
from marketsim.generators.cgan_network import CganModel
from marketsim.generators.encoder_training import WindowVectors


class CganTask:
    """Last orders of windows, as the generator writes them; see
    :class:`marketsim.generators.training.Task`."""

    def __init__(self, windows: WindowVectors, written: Written) -> None:
        self.windows, self.written = windows, written

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """Windows from anywhere."""
        batch = self.windows.batch(rng.choice(self.windows.ends, size))
        return {**batch, "order": torch.from_numpy(self.written.of(batch["order"].numpy()))}

    def losses(self, network: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of the critic or of the generator, in turn."""
        losses: dict[str, Tensor] = network(batch)
        return losses

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Nothing: the losses of the two do not tell how good orders are."""
        return {}


def settle(
    network: CganModel, windows: WindowVectors, written: Written, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Take the statistics of batch norms anew, for the averaged weights, then draw orders.

    Returns
    -------
    drawn, real : float32[n, WRITTEN], orders for the same pasts.
    """
    generator, task = network.generator, CganTask(windows, written)
    norms = [module for module in generator.modules() if isinstance(module, nn.BatchNorm1d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all batches
    drawn, real = [], []
    with torch.no_grad():
        for turn in range(2 * FITTED // AT_ONCE):
            generator.train(turn < FITTED // AT_ONCE)
            batch = task.batch(rng, AT_ONCE)
            noise = rng.standard_normal((AT_ONCE, network.noise), np.float32)
            found = generator(torch.from_numpy(noise), batch["past"], batch["books"])
            if not generator.training:
                drawn.append(found.numpy())
                real.append(batch["order"].numpy())
    return np.concatenate(drawn), np.concatenate(real)
