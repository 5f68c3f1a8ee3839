"""Diffusion-TS: a diffusion model whose transformer writes a trend, seasons and a rest.

As in the paper: the network is given a noisy window and says the clean one, as the sum of a
polynomial trend, of a few strongest Fourier terms and of a rest that each layer of a transformer's
decoder adds to; the loss is the error of the window and of its Fourier transform, weighted by how
noisy it was; the noise follows a cosine; what is drawn may take fewer steps than were learned
(DDIM). Chosen by us: returns standardised by asset, sizes, the trend's coefficients from
the mean of a layer's states, the square root of the paper's weights of noise levels, and the
running mean of the network's weights.

References
----------
Yuan & Qiao (2024), Diffusion-TS: interpretable diffusion for general time series generation; Song,
Meng & Ermon (2021), Denoising diffusion implicit models; Nichol & Dhariwal (2021), eq. 17.
"""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from marketsim.checks import at_least_zero, integer
from marketsim.errors import ConfigError
from marketsim.generators.return_network import NetworkReturns, ReturnNetwork

#: Powers of the trend, its mean among them.
POWERS = 4
#: Fourier terms that each layer takes; the paper's top K.
TERMS = 3


def noise_levels(count: int) -> Tensor:
    """Shares of the window's variance that remain after each of ``count`` steps of noise."""
    steps = torch.arange(count + 1, dtype=torch.float64) / count
    remaining = torch.cos((steps + 0.008) / 1.008 * math.pi / 2).square()
    kept = (remaining[1:] / remaining[:-1]).clamp(min=0.001)
    return kept.cumprod(0).float()


def strongest_terms(values: Tensor, terms: int) -> Tensor:
    """The part of values (batch, steps, width) that the strongest Fourier terms make up."""
    spectrum = torch.fft.rfft(values, dim=1)
    power = spectrum.abs()
    count = min(terms, power.shape[1])
    least = power.detach().topk(count, dim=1).values[:, -1:]  # (batch, 1, width)
    kept = torch.where(power >= least, spectrum, torch.zeros_like(spectrum))
    part: Tensor = torch.fft.irfft(kept, n=values.shape[1], dim=1)
    return part


class Layer(nn.Module):
    """A decoder's layer: attends to itself and to the encoded window, then writes its parts."""

    powers: Tensor

    def __init__(self, steps: int, assets: int, width: int, heads: int) -> None:
        super().__init__()
        self.attending = nn.TransformerDecoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True,
            norm_first=True,
        )  # fmt: skip
        self.noise = nn.Linear(width, width)
        self.trend = nn.Linear(width, POWERS * assets)
        self.season = nn.Linear(width, assets)
        self.rest = nn.Linear(width, assets)
        time = torch.arange(1, steps + 1) / steps
        self.register_buffer("powers", torch.stack([time**power for power in range(POWERS)], 1))

    def forward(self, hidden: Tensor, encoded: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """States (batch, steps, width), and what they add to the window (batch, steps, assets)."""
        hidden = self.attending(hidden + self.noise(noise)[:, None], encoded)
        coefficients = self.trend(hidden.mean(1)).view(len(hidden), POWERS, -1)
        trend = self.powers @ coefficients  # (batch, steps, assets)
        season = strongest_terms(self.season(hidden), TERMS)
        return hidden, trend + season + self.rest(hidden)


class Denoiser(nn.Module):
    """Transformer that says the clean window of a noisy one."""

    def __init__(self, steps: int, assets: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.width = width
        self.entered = nn.Conv1d(assets, width, 3, padding=1)
        self.place = nn.Parameter(0.5 * torch.randn(steps, width))
        self.noise = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.encoder = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True,
            norm_first=True,
        )  # fmt: skip
        self.layers = nn.ModuleList(Layer(steps, assets, width, heads) for _ in range(layers))

    def forward(self, noisy: Tensor, level: Tensor) -> Tensor:
        """noisy (batch, steps, assets), the number of its noise level (batch)."""
        noise = self.noise(self._waves(level))  # (batch, width)
        hidden = self.entered(noisy.transpose(1, 2)).transpose(1, 2) + self.place
        encoded = self.encoder(hidden + noise[:, None])
        clean = torch.zeros_like(noisy)
        for layer in self.layers:
            hidden, added = layer(hidden, encoded, noise)
            clean = clean + added
        return clean

    def _waves(self, level: Tensor) -> Tensor:
        """Sines and cosines of a level, (batch, width)."""
        half = self.width // 2
        rates = torch.exp(-math.log(10_000) * torch.arange(half, device=level.device) / half)
        angles = level[:, None].float() * rates
        return torch.cat([angles.sin(), angles.cos()], -1)


class DiffusionTsNetwork(ReturnNetwork):
    """The denoiser, what it learns from, and the way from noise to windows."""

    remaining: Tensor
    weights: Tensor

    def __init__(self, steps: int, assets: int, *, levels: int, drawn_levels: int, chance: float,
                 fourier: float, width: int, heads: int, layers: int) -> None:  # fmt: skip
        super().__init__()
        self.shape = (steps, assets)
        self.drawn_levels, self.chance, self.fourier = drawn_levels, chance, fourier
        self.denoiser = Denoiser(steps, assets, width, heads, layers)
        remaining = noise_levels(levels)
        self.register_buffer("remaining", remaining, persistent=False)
        kept = remaining / torch.cat([torch.ones(1), remaining[:-1]])
        weights = (kept * (1 - remaining)).sqrt() / (1 - kept)
        self.register_buffer("weights", weights / weights.mean(), persistent=False)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Squared errors of windows, absolute ones of their Fourier transforms, by value.

        Squared ones would be the same for both: the transform is a rotation.
        """
        real = batch["returns"]
        level = torch.randint(len(self.remaining), (len(real),), device=real.device)
        share = self.remaining[level, None, None]
        noisy = share.sqrt() * real + (1 - share).sqrt() * torch.randn_like(real)
        error = self.denoiser(noisy, level) - real
        spectrum = torch.fft.fft(error, dim=1, norm="ortho")
        each = error.square().mean((1, 2)), spectrum.abs().mean((1, 2))
        weight = self.weights[level]
        return {
            "time": (weight * each[0]).mean(),
            "frequency": self.fourier * (weight * each[1]).mean(),
        }

    def draw(self, n: int, random: torch.Generator, condition: Tensor | None) -> Tensor:
        """From noise to windows over ``drawn_levels`` of the levels."""
        levels = torch.linspace(len(self.remaining) - 1, 0, self.drawn_levels).round().long()
        window = torch.randn(n, *self.shape, generator=random)
        for number, level in enumerate(levels):
            share = self.remaining[level]
            clean: Tensor = self.denoiser(window, level.expand(n))
            if number == len(levels) - 1:
                break
            after = self.remaining[levels[number + 1]]
            noise = (window - share.sqrt() * clean) / (1 - share).sqrt()
            fresh = self.chance * ((1 - after) / (1 - share) * (1 - share / after)).sqrt()
            window = after.sqrt() * clean + (1 - after - fresh**2).sqrt() * noise
            window = window + fresh * torch.randn(window.shape, generator=random)
        return clean


class DiffusionTS(NetworkReturns):
    """Diffusion model that decodes trend, seasons and a rest.

    Parameters
    ----------
    levels : of noise that it learns.
    drawn_levels : of these that drawing goes through.
    chance : share of fresh noise in drawing: 0 none (DDIM), 1 all (DDPM); over few levels, windows
        that are drawn with it vary too little.
    fourier : weight of the error of the Fourier transform.
    width, heads, layers : of the transformer; ``layers`` of its decoder.

    References
    ----------
    Yuan & Qiao (2024), Diffusion-TS.
    """

    name = "diffusion-ts"
    sampling = ("drawn_levels", "chance")
    training_defaults: ClassVar[dict[str, Any]] = {
        "steps": 1200, "batch": 64, "learning_rate": 2e-3, "weight_decay": 0.0, "patience": 0,
        "average": 0.995,
    }  # fmt: skip

    def __init__(self, levels: int = 200, drawn_levels: int = 20, chance: float = 0.0,
                 fourier: float = 0.03, width: int = 48, heads: int = 4,
                 layers: int = 2) -> None:  # fmt: skip
        self._sizes = {
            "levels": integer("levels", levels, 2),
            "drawn_levels": integer("drawn_levels", drawn_levels, 1, levels),
            "width": integer("width", width, 2), "heads": integer("heads", heads, 1),
            "layers": integer("layers", layers, 1),
        }  # fmt: skip
        self.chance = at_least_zero("chance", chance)
        if chance > 1:
            raise ConfigError(f"chance must be from 0 to 1, was {chance!r}")
        self.fourier = at_least_zero("fourier", fourier)
        if width % (2 * heads):
            raise ConfigError(f"width must be a multiple of 2 heads ({2 * heads}), was {width}")

    def parameters(self) -> dict[str, Any]:
        return {**self._sizes, "chance": self.chance, "fourier": self.fourier}

    def _build(self) -> ReturnNetwork:
        return DiffusionTsNetwork(self.steps, len(self.symbols), **self.parameters())
