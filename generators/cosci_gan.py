"""COSCI-GAN: a pair of networks for each asset, on common noise, and a judge of them all.

As in the paper: each asset has a generator and a discriminator of its own; generators share their
noise; a central discriminator sees all assets of a window, and what it says counts ``gamma`` times
in the generators' loss; generators are LSTMs, the central discriminator is a perceptron. Chosen by
us: the assets' discriminators are perceptrons too, sizes, noise of every step and of the whole
window, a penalty of discriminators' slopes at real windows, and the running mean of the weights.

References
----------
Seyfi, Rajotte & Ng (2022), Generating multivariate time series with common source coordinated GAN.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from marketsim.checks import at_least_zero, integer
from marketsim.generators.adversary import AdversarialNetwork, slope_penalty, taken_for_real
from marketsim.generators.return_network import NetworkReturns, ReturnNetwork


class ChannelGenerator(nn.Module):
    """LSTM that writes the returns of one asset."""

    def __init__(self, noise: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(noise, hidden, batch_first=True)
        self.output = nn.Sequential(
            nn.Linear(hidden + noise, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1)
        )

    def forward(self, noise: Tensor) -> Tensor:
        """noise (batch, steps, noise) to (batch, steps, 1)."""
        states, _ = self.lstm(noise)
        written: Tensor = self.output(torch.cat([states, noise], -1))
        return written


class Channels(nn.Module):
    """Generators of all assets, on the same noise."""

    def __init__(self, assets: int, noise: int, hidden: int) -> None:
        super().__init__()
        self.channels = nn.ModuleList(ChannelGenerator(noise, hidden) for _ in range(assets))

    def forward(self, noise: Tensor) -> Tensor:
        """noise (batch, steps, noise) to (batch, steps, assets)."""
        return torch.cat([channel(noise) for channel in self.channels], -1)


class Discriminators(nn.Module):
    """A perceptron for each asset, and one for all: logits."""

    def __init__(self, steps: int, assets: int, hidden: int) -> None:
        super().__init__()
        self.own = nn.ModuleList(self._perceptron(steps, hidden) for _ in range(assets))
        self.central = self._perceptron(steps * assets, 2 * hidden)

    @staticmethod
    def _perceptron(inputs: int, hidden: int) -> nn.Module:
        return nn.Sequential(
            nn.Linear(inputs, hidden), nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1),
        )  # fmt: skip

    def forward(self, returns: Tensor) -> Tensor:
        """Logits (batch, assets + 1) of windows (batch, steps, assets), the central one last."""
        own = [judge(returns[..., asset]) for asset, judge in enumerate(self.own)]
        return torch.cat([*own, self.central(returns.flatten(1))], -1)


class CosciGanNetwork(AdversarialNetwork):
    """Generators and discriminators of all assets, and the central discriminator."""

    def __init__(self, steps: int, assets: int, *, gamma: float, noise: int, hidden: int,
                 penalty: float) -> None:  # fmt: skip
        super().__init__()
        self.steps, self.noise, self.gamma, self.penalty = steps, noise, gamma, penalty
        self.generator = Channels(assets, 2 * noise, hidden)
        self.critics = Discriminators(steps, assets, hidden)

    def _noise(self, n: int, random: torch.Generator | None = None) -> Tensor:
        """Of every step, and, the same at all steps, of the window."""
        own = torch.randn(n, self.steps, self.noise, generator=random)
        common = torch.randn(n, 1, self.noise, generator=random)
        return torch.cat([own, common.expand(-1, self.steps, -1)], -1)

    def critic_losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        real = batch["returns"]
        with torch.no_grad():
            drawn = self.generator(self._noise(len(real)).to(real.device))
        scores, slope = slope_penalty(self.critics, real)
        judged = self.critics(drawn)
        # means over assets times their number: the sum of the discriminators' own losses
        loss = (taken_for_real(scores) + taken_for_real(-judged)) * scores.shape[1]
        return {"critics": loss, "penalty": self.penalty * slope}

    def generator_losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        real = batch["returns"]
        judged = self.critics(self.generator(self._noise(len(real)).to(real.device)))
        own = taken_for_real(judged[:, :-1]) * (judged.shape[1] - 1)
        return {"generators": own, "central": self.gamma * taken_for_real(judged[:, -1])}

    def draw(self, n: int, random: torch.Generator, condition: Tensor | None) -> Tensor:
        drawn: Tensor = self.generator(self._noise(n, random))
        return drawn


class CosciGAN(NetworkReturns):
    """Generative adversarial networks of the assets, coordinated by a common source.

    Parameters
    ----------
    gamma : weight of the central discriminator.
    noise : numbers of noise a step, and as many of the window.
    hidden : width of the networks of an asset.
    penalty : weight of the discriminators' squared slopes at real windows.

    References
    ----------
    Seyfi, Rajotte & Ng (2022), COSCI-GAN.
    """

    name = "cosci-gan"
    training_defaults: ClassVar[dict[str, Any]] = {
        "steps": 3000, "batch": 64, "learning_rate": 5e-4, "weight_decay": 0.0, "momentum": 0.0,
        "patience": 0, "average": 0.998,
    }  # fmt: skip

    def __init__(self, gamma: float = 5.0, noise: int = 8, hidden: int = 64,
                 penalty: float = 0.05) -> None:  # fmt: skip
        self.gamma = at_least_zero("gamma", gamma)
        self.noise, self.hidden = integer("noise", noise, 1), integer("hidden", hidden, 1)
        self.penalty = at_least_zero("penalty", penalty)

    def parameters(self) -> dict[str, Any]:
        return {
            "gamma": self.gamma, "noise": self.noise, "hidden": self.hidden,
            "penalty": self.penalty,
        }  # fmt: skip

    def _build(self) -> ReturnNetwork:
        return CosciGanNetwork(self.steps, len(self.symbols), **self.parameters())

    def _sampler(self) -> nn.Module:
        generator: nn.Module = self.network.generator
        return generator
