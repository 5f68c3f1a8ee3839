"""TimeVAE: a variational autoencoder whose decoder adds a level, a trend, seasons and a rest.

As in the paper: an encoder of strided convolutions; a decoder that is the sum of a level, a
polynomial trend, seasons and a residual of transposed convolutions; the loss is three times the
squared error and the divergence from the prior; what is drawn is the decoder's mean, without noise.
Chosen by us: sizes, returns standardised by asset, losses by value instead of by window.

References
----------
Desai, Freeman, Wang & Beaver (2021), TimeVAE: a variational auto-encoder for multivariate time
series generation.
"""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marketsim.checks import integer
from marketsim.generators.return_network import NetworkReturns, ReturnNetwork

#: Weight of the squared error against the divergence.
RECONSTRUCTION = 3.0
#: Log variances are kept within this of 0: exp of more leads to losses that are no numbers.
MAX_LOG_VARIANCE = 10.0


class Encoder(nn.Module):
    """Strided convolutions: mean and log variance of the latents (batch, latent)."""

    def __init__(self, steps: int, assets: int, width: int, latent: int) -> None:
        super().__init__()
        widths = (assets, width, 2 * width, 4 * width)
        self.convolved = nn.ModuleList(
            nn.Conv1d(a, b, 3, stride=2, padding=1)
            for a, b in zip(widths, widths[1:], strict=False)
        )
        self.lengths = [steps]
        for _ in self.convolved:
            self.lengths.append((self.lengths[-1] + 1) // 2)
        self.moments = nn.Linear(widths[-1] * self.lengths[-1], 2 * latent)

    def forward(self, returns: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (batch, steps, assets)."""
        hidden = returns.transpose(1, 2)
        for layer in self.convolved:
            hidden = F.relu(layer(hidden))  # (batch, width, length)
        mean, log_variance = self.moments(hidden.flatten(1)).chunk(2, -1)
        return mean, log_variance.clamp(-MAX_LOG_VARIANCE, MAX_LOG_VARIANCE)


class Decoder(nn.Module):
    """Level + trend + seasons + residual: windows (batch, steps, assets) of latents.

    Parameters
    ----------
    lengths : of the encoder's layers, from ``steps`` down, that the residual grows back through
    powers : of the trend's polynomial
    seasons : how many there are, ``season_steps`` long each, before the first comes again
    """

    powers: Tensor
    season: Tensor

    def __init__(self, lengths: list[int], assets: int, width: int, latent: int, powers: int,
                 seasons: int, season_steps: int) -> None:  # fmt: skip
        super().__init__()
        steps = lengths[0]
        self.assets, self.lengths = assets, lengths[::-1]
        self.level = self._coefficients(latent, assets)
        self.trend = self._coefficients(latent, assets * powers)
        self.seasonal = nn.Linear(latent, assets * seasons)
        time = torch.arange(steps) / steps
        self.register_buffer("powers", torch.stack([time**power for power in range(1, powers + 1)]))
        self.register_buffer("season", torch.arange(steps) // season_steps % seasons)
        self.first = nn.Linear(latent, 4 * width * self.lengths[0])
        widths = (4 * width, 2 * width, width, assets)
        self.grown = nn.ModuleList(
            nn.ConvTranspose1d(a, b, 3, stride=2, padding=1)
            for a, b in zip(widths, widths[1:], strict=False)
        )
        self.rest = nn.Linear(steps * assets, steps * assets)

    @staticmethod
    def _coefficients(latent: int, count: int) -> nn.Module:
        return nn.Sequential(nn.Linear(latent, count), nn.ReLU(), nn.Linear(count, count))

    def forward(self, latents: Tensor) -> Tensor:
        count = len(latents)
        trend = self.trend(latents).view(count, self.assets, -1) @ self.powers
        by_season = self.seasonal(latents).view(count, self.assets, -1)
        seasons = by_season[:, :, self.season]  # (batch, assets, steps)
        level = self.level(latents)[:, None]  # (batch, 1, assets)
        formed: Tensor = level + (trend + seasons).transpose(1, 2)
        return formed + self._residual(latents)

    def _residual(self, latents: Tensor) -> Tensor:
        hidden = F.relu(self.first(latents)).view(len(latents), -1, self.lengths[0])
        for layer, length in zip(self.grown, self.lengths[1:], strict=True):
            # twice as long but one; one more where the encoder had an even length
            hidden = F.relu(layer(hidden, output_size=[length]))  # (batch, width, length)
        rest: Tensor = self.rest(hidden.transpose(1, 2).flatten(1))
        return rest.view(len(latents), -1, self.assets)


class TimeVaeNetwork(ReturnNetwork):
    """Encoder and decoder, with a standard normal prior of the latents."""

    def __init__(self, steps: int, assets: int, *, latent: int, width: int, powers: int,
                 seasons: int, season_steps: int) -> None:  # fmt: skip
        super().__init__()
        self.latent = latent
        self.encoder = Encoder(steps, assets, width, latent)
        self.decoder = Decoder(
            self.encoder.lengths, assets, width, latent, powers, seasons, season_steps
        )

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Squared error and divergence, by value."""
        real = batch["returns"]
        mean, log_variance = self.encoder(real)
        latents = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        error = (self.decoder(latents) - real).square().mean()
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        return {
            "reconstruction": RECONSTRUCTION * error,
            "divergence": divergence / real[0].numel(),
        }

    def draw(self, n: int, random: torch.Generator, condition: Tensor | None) -> Tensor:
        drawn: Tensor = self.decoder(torch.randn(n, self.latent, generator=random))
        return drawn


class TimeVAE(NetworkReturns):
    """Variational autoencoder that decodes a level, a trend, seasons and a rest.

    Parameters
    ----------
    latent : numbers that a window is told in.
    width : channels of the first convolution; the next have twice and four times as many.
    powers : of the trend's polynomial.
    seasons, season_steps : number of seasons, and steps of each.

    References
    ----------
    Desai, Freeman, Wang & Beaver (2021), TimeVAE.
    """

    name = "timevae"
    training_defaults: ClassVar[dict[str, Any]] = {
        "steps": 4500, "batch": 128, "learning_rate": 2e-3, "weight_decay": 0.0, "patience": 0,
    }  # fmt: skip

    def __init__(self, latent: int = 16, width: int = 24, powers: int = 2, seasons: int = 4,
                 season_steps: int = 6) -> None:  # fmt: skip
        self._sizes = {
            "latent": latent, "width": width, "powers": powers, "seasons": seasons,
            "season_steps": season_steps,
        }  # fmt: skip
        for name, size in self._sizes.items():
            integer(name, size, 1)

    def parameters(self) -> dict[str, Any]:
        return dict(self._sizes)

    def _build(self) -> ReturnNetwork:
        return TimeVaeNetwork(self.steps, len(self.symbols), **self._sizes)

    def _sampler(self) -> nn.Module:
        decoder: nn.Module = self.network.decoder
        return decoder
