"""Tail-GAN: windows on which strategies have the tail risk that they have on real ones.

As in the paper: what is compared is the profit of strategies; a generator of fully connected layers
writes windows; a discriminator reads the sorted profits of a batch and says their value at risk and
expected shortfall; both learn from a score that is least, in the mean over profits, for their own
two tail risks: the discriminator that of what it says of profits, for these profits, the generator
that of what it says of the generator's, for real ones. Chosen by us: the discriminator learns to
tell the risks of generated profits like those of real ones, and is not set to mistake them (with
which training did not settle); the strategies, sizes, profits in units of their deviation, sorted
profits averaged in groups (so that batches may be of any size), and the running mean of the
weights.

References
----------
Cont, Cucuringu, Xu & Zhang (2022), Tail-GAN: learning to simulate tail risk scenarios; Fissler &
Ziegel (2016), Higher order elicitability and Osband's principle.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marketsim.checks import integer
from marketsim.data.return_windows import Windows
from marketsim.errors import ConfigError, DataError
from marketsim.generators.adversary import AdversarialNetwork
from marketsim.generators.return_network import NetworkReturns, ReturnNetwork, WindowTask
from marketsim.generators.training import Task
from marketsim.ledger import trade
from marketsim.strategies import TRAINING, strategy
from marketsim.wealth import ALPHA

#: Numbers that a sorted sample of profits is told in.
SORTED = 64
#: Weight of the squares in the score; more than the shortfall is by the value at risk.
SQUARES = 10.0


def score(var: Tensor, shortfall: Tensor, profits: Tensor, alpha: float = ALPHA) -> Tensor:
    """Mean joint score of tail risks of strategies, for their profits; least for the true ones.

    Parameters
    ----------
    var, shortfall : (strategies), both below 0
    profits : (n, strategies)

    Returns
    -------
    (strategies)

    References
    ----------
    Cont et al. (2022): the score of Fissler & Ziegel (2016) with squares.
    """
    worse = (profits <= var).to(profits.dtype)
    scores = (
        0.5 * SQUARES * (worse - alpha) * (profits.square() - var.square())
        + worse * shortfall * (var - profits)
        + alpha * shortfall * (0.5 * shortfall - var)
    )
    return scores.mean(0)


class TailDiscriminator(nn.Module):
    """Value at risk and expected shortfall of a sorted sample of profits."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.read = nn.Sequential(
            nn.Linear(SORTED, hidden), nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 2),
        )  # fmt: skip

    def forward(self, profits: Tensor) -> tuple[Tensor, Tensor]:
        """profits (n, strategies) to two risks (strategies) each, below 0, the second the worse."""
        ranked = profits.sort(0).values.T
        var, beyond = self.read(F.adaptive_avg_pool1d(ranked, SORTED)).unbind(-1)
        var = -F.softplus(-var)
        return var, var - F.softplus(beyond)


class TailGanNetwork(AdversarialNetwork):
    """Generator of windows, and the discriminator of what strategies earn on them."""

    mean: Tensor
    scale: Tensor
    prices: Tensor
    units: Tensor

    def __init__(self, steps: int, assets: int, *, strategies: tuple[str, ...], noise: int,
                 hidden: int) -> None:  # fmt: skip
        super().__init__()
        self.steps, self.assets, self.noise = steps, assets, noise
        self.strategies = [strategy(name) for name in strategies]
        last = nn.Linear(2 * hidden, steps * assets)
        nn.init.zeros_(last.bias)
        self.generator = nn.Sequential(
            nn.Linear(noise, hidden), nn.LeakyReLU(0.2),
            nn.Linear(hidden, 2 * hidden), nn.LeakyReLU(0.2), last,
        )  # fmt: skip
        with torch.no_grad():
            # tails alone do not tell a drift from a deviation: begin with that of the returns
            last.weight /= self.generator(torch.randn(256, noise)).std()
        self.critics = TailDiscriminator(hidden)
        self.register_buffer("mean", torch.zeros(assets))
        self.register_buffer("scale", torch.ones(assets))
        self.register_buffer("prices", torch.ones(assets, dtype=torch.float64))
        self.register_buffer("units", torch.ones(len(self.strategies)))

    def written(self, n: int, random: torch.Generator | None = None) -> Tensor:
        """Scaled windows (n, steps, assets)."""
        noise = torch.randn(n, self.noise, generator=random).to(self.mean.device)
        drawn: Tensor = self.generator(noise)
        return drawn.view(n, self.steps, self.assets)

    def profits(self, prices: Tensor) -> Tensor:
        """What strategies earn on prices float64 (n, steps, assets), by their units."""
        earned = [trade(plan, prices).values[:, -1] - 1 for plan in self.strategies]
        return torch.stack(earned, 1).float() / self.units

    def drawn_profits(self, n: int) -> Tensor:
        """Profits (n, strategies) on windows of the generator, from the latest prices on."""
        returns = (self.written(n) * self.scale + self.mean).double()
        return self.profits(self.prices * returns.cumsum(1).exp())

    def critic_losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        real = batch["profits"]
        with torch.no_grad():
            drawn = self.drawn_profits(len(real))
        sides = {"real": real, "drawn": drawn}
        return {name: self._score(side, side) for name, side in sides.items()}

    def generator_losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        real = batch["profits"]
        drawn = self.drawn_profits(len(real))
        return {"generator": self._score(drawn, real)}

    def _score(self, read: Tensor, earned: Tensor) -> Tensor:
        """Score of the risks that the discriminator reads in some profits, for others."""
        var, shortfall = self.critics(read)
        return score(var, shortfall, earned).mean()

    def draw(self, n: int, random: torch.Generator, condition: Tensor | None) -> Tensor:
        return self.written(n, random)


class TailGAN(NetworkReturns):
    """Generative adversarial network of the tail risks of strategies.

    Parameters
    ----------
    strategies : names of those whose profits it learns from.
    noise : numbers that a window is written from.
    hidden : width of the first layer; the second is twice as wide.

    References
    ----------
    Cont, Cucuringu, Xu & Zhang (2022), Tail-GAN.
    """

    name = "tail-gan"
    training_defaults: ClassVar[dict[str, Any]] = {
        "steps": 1600, "batch": 512, "learning_rate": 1e-3, "weight_decay": 0.0, "patience": 0,
        "average": 0.98,
    }  # fmt: skip

    def __init__(self, strategies: Sequence[str] = TRAINING, noise: int = 64,
                 hidden: int = 128) -> None:  # fmt: skip
        if isinstance(strategies, str):
            strategies = (strategies,)
        self.strategies = tuple(strategy(name).name for name in strategies)
        if not self.strategies:
            raise ConfigError("strategies: must be one or more, was none")
        self.noise, self.hidden = integer("noise", noise, 1), integer("hidden", hidden, 1)

    def parameters(self) -> dict[str, Any]:
        return {"strategies": list(self.strategies), "noise": self.noise, "hidden": self.hidden}

    def _build(self) -> ReturnNetwork:
        return TailGanNetwork(
            self.steps, len(self.symbols), strategies=self.strategies, noise=self.noise,
            hidden=self.hidden,
        )  # fmt: skip

    def _sampler(self) -> nn.Module:
        generator: nn.Module = self.network.generator
        return generator

    def _task(self, windows: Windows, condition: Any) -> Task:
        """Profits of strategies on the windows; see the base."""
        network = self.network
        network.mean.copy_(torch.from_numpy(self._mean))
        network.scale.copy_(torch.from_numpy(self._scale))
        network.prices.copy_(torch.from_numpy(self.initial_prices))
        profits = network.profits(torch.from_numpy(windows.prices))
        network.units.copy_(profits.std(0))
        idle = (network.units == 0).nonzero()
        if len(idle):
            name = self.strategies[int(idle[0])]
            raise DataError(f"windows: {name} earns the same on all of them; give other strategies")
        return WindowTask(profits=profits / network.units)
