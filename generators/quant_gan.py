"""Quant-GAN: temporal convolutions write windows of noise, and judge them.

As in the paper: returns are standardised and gaussianised by the inverse Lambert W transform, which
drawn windows go back through; generator and discriminator are temporal convolutional networks with
skip connections, whose receptive field spans the window; the loss is the non-saturating one.
Chosen by us: several assets are channels, sizes, a penalty of the discriminator's slope at real
windows, the running mean of the generator's weights, and that the normal values that it draws are
given a mean of 0 and a deviation of 1 by asset, once it is trained: the way back is exponential,
and makes two of a fifth too much.

References
----------
Wiese, Knobloch, Korn & Kretschmer (2020), Quant GANs: deep generation of financial time series.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from marketsim.checks import at_least_zero, integer
from marketsim.data.return_windows import Windows
from marketsim.generators.adversary import AdversarialNetwork, slope_penalty, taken_for_real
from marketsim.generators.base import FitProgress
from marketsim.generators.flows import array_of
from marketsim.generators.lambert import fit_delta, gaussianised, heavier
from marketsim.generators.return_network import AT_ONCE, NetworkReturns, ReturnNetwork
from marketsim.generators.training import cpu_threads

Floats = NDArray[np.float32]

#: By asset: delta of the transform, largest return by scale, mean and deviation of what is drawn.
NORMAL = ("delta", "most", "drawn_mean", "drawn_scale")


class Causal(nn.Module):
    """Convolution of kernel 2, ``dilation`` steps apart, as a product of matrices.

    The slope penalty differentiates twice, which torch's own convolutions are slow at on a CPU.
    """

    def __init__(self, inputs: int, width: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.mixed = nn.Linear(2 * inputs, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden (batch, length, inputs) to (batch, length - dilation, width)."""
        before, now = hidden[:, : -self.dilation], hidden[:, self.dilation :]
        mixed: Tensor = self.mixed(torch.cat([before, now], -1))
        return mixed


class Block(nn.Module):
    """Two dilated causal convolutions: as many steps shorter as they look back."""

    def __init__(self, inputs: int, width: int, dilation: int) -> None:
        super().__init__()
        self.looking = nn.Sequential(
            Causal(inputs, width, dilation), nn.PReLU(),
            Causal(width, width, dilation), nn.PReLU(),
        )  # fmt: skip
        self.short = nn.Linear(inputs, width)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """What goes on (with a short cut), and what is skipped to the end; (batch, …, width)."""
        looked = self.looking(hidden)
        return looked + self.short(hidden)[:, -looked.shape[1] :], looked


class Temporal(nn.Module):
    """Temporal convolutional network; dilations double until the field spans ``steps``.

    Attributes
    ----------
    field : steps that an output depends on.
    """

    def __init__(self, inputs: int, outputs: int, width: int, steps: int) -> None:
        super().__init__()
        blocks, dilation, self.field = [Block(inputs, width, 1)], 1, 3
        while self.field < steps:
            dilation *= 2
            blocks.append(Block(width, width, dilation))
            self.field += 2 * dilation
        self.blocks = nn.ModuleList(blocks)
        self.output = nn.Linear(width, outputs)

    def forward(self, values: Tensor) -> Tensor:
        """values (batch, field - 1 + k, inputs) to (batch, k, outputs)."""
        count = values.shape[1] - self.field + 1
        skipped = []
        for block in self.blocks:
            values, looked = block(values)
            skipped.append(looked[:, -count:])
        out: Tensor = self.output(values + torch.stack(skipped).sum(0))
        return out


class QuantGanNetwork(AdversarialNetwork):
    """Generator and discriminator of gaussianised windows."""

    def __init__(self, steps: int, assets: int, *, noise: int, width: int, penalty: float) -> None:
        super().__init__()
        self.steps, self.noise, self.penalty = steps, noise, penalty
        self.generator = Temporal(noise, assets, width, steps)
        self.field = self.generator.field
        self.critics = Temporal(assets, 1, width, steps)

    def score(self, returns: Tensor) -> Tensor:
        """Logits (batch,) of windows (batch, steps, assets)."""
        early = self.field - self.steps
        scores: Tensor = self.critics(nn.functional.pad(returns, (0, 0, early, 0)))[:, 0, 0]
        return scores

    def _noise(self, n: int, random: torch.Generator | None = None) -> Tensor:
        length = self.steps + self.field - 1
        return torch.randn(n, length, self.noise, generator=random)

    def critic_losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        real = batch["returns"]
        with torch.no_grad():
            drawn = self.generator(self._noise(len(real)).to(real.device))
        scores, slope = slope_penalty(self.score, real)
        loss = taken_for_real(scores) + taken_for_real(-self.score(drawn))
        return {"critic": loss, "penalty": self.penalty * slope}

    def generator_losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        real = batch["returns"]
        drawn = self.generator(self._noise(len(real)).to(real.device))
        return {"generator": taken_for_real(self.score(drawn))}

    def draw(self, n: int, random: torch.Generator, condition: Tensor | None) -> Tensor:
        drawn: Tensor = self.generator(self._noise(n, random))
        return drawn


class QuantGAN(NetworkReturns):
    """Generative adversarial network of temporal convolutions.

    Parameters
    ----------
    noise : numbers of noise a step.
    width : channels of the convolutions.
    penalty : weight of the discriminator's squared slope at real windows.

    References
    ----------
    Wiese, Knobloch, Korn & Kretschmer (2020), Quant GANs.
    """

    name = "quant-gan"
    training_defaults: ClassVar[dict[str, Any]] = {
        "steps": 2200, "batch": 64, "learning_rate": 5e-4, "weight_decay": 0.0, "momentum": 0.0,
        "patience": 0, "average": 0.998,
    }  # fmt: skip

    def __init__(self, noise: int = 3, width: int = 32, penalty: float = 0.03) -> None:
        self.noise, self.width = integer("noise", noise, 1), integer("width", width, 1)
        self.penalty = at_least_zero("penalty", penalty)

    def parameters(self) -> dict[str, Any]:
        return {"noise": self.noise, "width": self.width, "penalty": self.penalty}

    def _build(self) -> ReturnNetwork:
        return QuantGanNetwork(self.steps, len(self.symbols), **self.parameters())

    def _sampler(self) -> nn.Module:
        generator: nn.Module = self.network.generator
        return generator

    def _learn(self, windows: Windows, condition: "NDArray[Any] | None", seed: int,
               progress: FitProgress | None) -> None:  # fmt: skip
        super()._learn(windows, condition, seed, progress)
        with cpu_threads(1), torch.inference_mode():
            drawn = self.network.draw(AT_ONCE, torch.Generator().manual_seed(seed), None).numpy()
        self._drawn_mean = drawn.mean(axis=(0, 1))
        self._drawn_scale = np.maximum(drawn.std(axis=(0, 1)), np.float32(1e-6))

    # -- to normal values and back ----------------------------------------------------------------

    def _fit_scale(self, returns: Floats) -> None:
        super()._fit_scale(returns)
        flat = (returns - self._mean).reshape(-1, returns.shape[-1])
        found = np.array([fit_delta(asset) for asset in flat.T], np.float32)
        self._delta, self._scale = found[:, 0].copy(), found[:, 1].copy()
        self._most = np.abs(super()._scaled(returns)).max(axis=(0, 1))

    def _scaled(self, returns: Floats) -> Floats:
        return np.asarray(gaussianised(super()._scaled(returns), self._delta), np.float32)

    def _unscaled(self, scaled: Floats) -> Floats:
        scaled = (scaled - self._drawn_mean) / self._drawn_scale
        # a normal value of 6 would be a return of 50 deviations: none is larger than those learned
        heavy = np.clip(heavier(scaled, self._delta), -self._most, self._most)
        return super()._unscaled(heavy.astype(np.float32))

    def _arrays(self) -> dict[str, NDArray[Any]]:
        own = {f"normal.{name}": getattr(self, f"_{name}") for name in NORMAL}
        return {**super()._arrays(), **own}

    def _set(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        for name in NORMAL:
            array = array_of(arrays, f"normal.{name}", (len(self.symbols),), np.float32)
            setattr(self, f"_{name}", array)
        super()._set(arrays)
