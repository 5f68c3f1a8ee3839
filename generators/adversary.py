"""Networks that learn from each other: whose turn it is, and what keeps critics smooth."""

from abc import abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marketsim.generators.return_network import ReturnNetwork


class AdversarialNetwork(ReturnNetwork):
    """A generator and critics; each pass trains the one or the others, in turn.

    Attributes
    ----------
    generator, critics : modules that are trained against each other.
    critic_turns : updates of the critics for one of the generator.
    """

    turn: Tensor
    generator: nn.Module
    critics: nn.Module
    critic_turns: int = 1

    def __init__(self) -> None:
        super().__init__()
        # a part of the state, for an interrupted training to go on with whose turn it is
        self.register_buffer("turn", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of whose turn it is, by name."""
        self.turn += 1
        if int(self.turn) % (self.critic_turns + 1):
            return self.critic_losses(batch)
        self.critics.requires_grad_(False)
        losses = self.generator_losses(batch)
        self.critics.requires_grad_(True)
        return losses

    @abstractmethod
    def critic_losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of the critics, by name."""

    @abstractmethod
    def generator_losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of the generator, by name."""


def taken_for_real(scores: Tensor) -> Tensor:
    """Cross entropy of scores (logits) that should say "real", a mean.

    Of a generator's windows it is its non-saturating loss, of their negative the critic's.

    References
    ----------
    Goodfellow et al. (2014), Generative adversarial networks, section 3.
    """
    return F.softplus(-scores).mean()


def slope_penalty(critic: Callable[[Tensor], Tensor], real: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of real windows (batch, …), and half the squared slope of the critic there, a mean.

    References
    ----------
    Mescheder, Geiger & Nowozin (2018), Which training methods for GANs do actually converge?,
    the R1 regulariser.
    """
    real = real.detach().requires_grad_(True)
    scores = critic(real)
    (slope,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
    return scores, 0.5 * slope.square().flatten(1).sum(1).mean()
