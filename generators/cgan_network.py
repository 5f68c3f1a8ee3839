"""The networks of the conditional GAN baseline, and what they learn from each other.

References
----------
Coletta, Moulin, Vyetrenko & Balch (2022), Learning to simulate realistic limit order book markets
from data as a world agent; Gulrajani et al. (2017), Improved training of Wasserstein GANs.
"""

import torch
from torch import Tensor, nn

from marketsim.generators.order_vectors import BOOK, ORDER

#: Numbers of an order as the generator writes it, all from -1 to 1.
WRITTEN = 5
#: Length that is convolved down to 1 by layers of kernel 4 and stride 2: 22, 10, 4, 1.
LENGTH, KERNEL, STRIDE = 22, 4, 2
#: Updates of the critic for one of the generator, and the weight of its gradient's penalty.
CRITIC_TURNS, PENALTY = 5, 10.0


class Past(nn.Module):
    """An LSTM over past orders, each with the book after it: float32 (batch, hidden)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(ORDER + BOOK, hidden, batch_first=True)

    def forward(self, past: Tensor, books: Tensor) -> Tensor:
        """past (batch, window - 1, ORDER), books before all (batch, window, BOOK)."""
        states, _ = self.lstm(torch.cat([past, books[:, 1:]], -1))
        last: Tensor = states[:, -1]
        return last


class Generator(nn.Module):
    """LSTM, fully connected, convolutions with batch norm and ReLU, tanh."""

    def __init__(self, hidden: int, noise: int) -> None:
        super().__init__()
        self.past = Past(hidden)
        self.channels = hidden // 4
        self.connected = nn.Linear(hidden + noise, self.channels * LENGTH)
        self.convolved = nn.Sequential(
            *self._layer(self.channels, 2 * self.channels),
            *self._layer(2 * self.channels, 4 * self.channels),
            nn.Conv1d(4 * self.channels, WRITTEN, KERNEL, STRIDE),
        )

    @staticmethod
    def _layer(channels: int, wider: int) -> tuple[nn.Module, ...]:
        return nn.Conv1d(channels, wider, KERNEL, STRIDE), nn.BatchNorm1d(wider), nn.ReLU()

    def forward(self, noise: Tensor, past: Tensor, books: Tensor) -> Tensor:
        """Orders, (batch, WRITTEN)."""
        joined = torch.cat([self.past(past, books), noise], -1)
        drawn = self.connected(joined).view(-1, self.channels, LENGTH)
        return torch.tanh(self.convolved(drawn)[..., 0])


class Critic(nn.Module):
    """How real an order looks after its past."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.past = Past(hidden)
        self.judged = nn.Sequential(
            nn.Linear(hidden + WRITTEN, 2 * hidden), nn.LeakyReLU(0.2),
            nn.Linear(2 * hidden, 2 * hidden), nn.LeakyReLU(0.2),
            nn.Linear(2 * hidden, 1),
        )  # fmt: skip

    def forward(self, orders: Tensor, state: Tensor) -> Tensor:
        """Scores (batch,) of orders (batch, WRITTEN), ``state`` being that of the past."""
        scores: Tensor = self.judged(torch.cat([orders, state], -1))[:, 0]
        return scores


class CganModel(nn.Module):
    """Generator and critic; each pass trains the one or the other."""

    turn: Tensor

    def __init__(self, hidden: int, noise: int) -> None:
        super().__init__()
        self.noise = noise
        self.generator, self.critic = Generator(hidden, noise), Critic(hidden)
        self.register_buffer("turn", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Loss of whose turn it is: ``order`` (batch, WRITTEN), ``past`` and ``books``."""
        real, past, books = batch["order"], batch["past"], batch["books"]
        noise = torch.randn(len(real), self.noise, device=real.device)
        self.turn += 1
        if int(self.turn) % (CRITIC_TURNS + 1) == 0:
            self.critic.requires_grad_(False)
            drawn = self.generator(noise, past, books)
            loss = -self.critic(drawn, self.critic.past(past, books)).mean()
            self.critic.requires_grad_(True)
            return {"generator": loss}
        with torch.no_grad():
            drawn = self.generator(noise, past, books)
        state = self.critic.past(past, books)
        apart = (self.critic(drawn, state) - self.critic(real, state)).mean()
        return {"critic": apart, "penalty": PENALTY * self.penalty(real, drawn, state)}

    def penalty(self, real: Tensor, drawn: Tensor, state: Tensor) -> Tensor:
        """How far the critic's slope between real and drawn orders is from 1, squared."""
        share = torch.rand(len(real), 1, device=real.device)
        between = (share * real + (1 - share) * drawn).requires_grad_(True)
        score = self.critic(between, state).sum()
        (slope,) = torch.autograd.grad(score, between, create_graph=True)
        return ((slope.square().sum(1) + 1e-12).sqrt() - 1).square().mean()
