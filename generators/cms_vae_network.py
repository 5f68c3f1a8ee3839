"""The network of CMS-VAE: dilated convolutions, a likelihood with covariances, the loss of both."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from marketsim.generators.efpl import Target, Weights, efpl
from marketsim.generators.return_network import ReturnNetwork

#: Bounds of log standard deviations: without them some trainings end in NaN.
LOG_LOW, LOG_HIGH = -3.0, 3.0
#: Dilations of the residual blocks: together they see 31 steps.
DILATIONS = (1, 2, 4, 8)
#: Pieces that a window is cut into on its way to the latent and back.
SEGMENTS = 24
#: Standard deviations beyond which what was drawn counts as far from the mean.
FAR = 5.0
#: Windows of a batch that the likelihood is of; quantiles need more of them than it does.
LIKELY = 128


@dataclass(frozen=True)
class Shape:
    """Sizes of the network: steps and assets of windows, numbers of its own."""

    steps: int
    assets: int
    width: int
    latent: int
    condition: int
    dilations: tuple[int, ...]


class Block(nn.Module):
    """Two convolutions over time, added to what came in."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.first = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.second = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.silu(self.norm(x))  # (batch, width, steps)
        added: Tensor = self.second(functional.silu(self.first(h)))
        return x + added


class Encoder(nn.Module):
    """Mean and log standard deviation of the latent."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.segments = min(shape.steps, SEGMENTS)
        self.into = nn.Conv1d(shape.assets, shape.width, 3, padding=1)
        self.blocks = nn.Sequential(*(Block(shape.width, d) for d in shape.dilations))
        self.out = nn.Linear(shape.width * self.segments + shape.condition, 2 * shape.latent)

    def forward(self, returns: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        h = self.blocks(self.into(returns.transpose(1, 2)))  # (batch, width, steps)
        h = functional.adaptive_avg_pool1d(h, self.segments).flatten(1)
        mean, log_deviation = self.out(torch.cat([h, condition], 1)).chunk(2, 1)
        return mean, log_deviation.clamp(-5.0, LOG_HIGH)  # (batch, latent) each


class Decoder(nn.Module):
    """Mean of the returns and Cholesky factor of their covariance, at each step."""

    row: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape, self.segments = shape, min(shape.steps, SEGMENTS)
        below = shape.assets * (shape.assets - 1) // 2
        self.into = nn.Linear(shape.latent + shape.condition, shape.width * self.segments)
        self.blocks = nn.Sequential(*(Block(shape.width, d) for d in reversed(shape.dilations)))
        self.out = nn.Conv1d(shape.width, 2 * shape.assets + below, 1)
        self.register_buffer("row", torch.tril_indices(shape.assets, shape.assets, -1), False)

    def forward(self, latent: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        n, assets, steps = len(latent), self.shape.assets, self.shape.steps
        h = self.into(torch.cat([latent, condition], 1)).view(n, -1, self.segments)
        if steps != self.segments:
            h = functional.interpolate(h, steps, mode="linear", align_corners=True)
        found = self.out(self.blocks(h)).transpose(1, 2)  # (batch, steps, 2 assets + below)
        mean, log_deviation = found[..., :assets], found[..., assets : 2 * assets]
        factor = torch.diag_embed(log_deviation.clamp(LOG_LOW, LOG_HIGH).exp())
        rows, columns = self.row
        factor[..., rows, columns] = found[..., 2 * assets :]
        return mean, factor  # (batch, steps, assets), (batch, steps, assets, assets)


class Condition(nn.Module):
    """What windows are given, as numbers for the network."""

    def __init__(self, kind: str, assets: int, labels: int) -> None:
        super().__init__()
        self.kind, self.size = kind, 0
        if kind == "label":
            self.size = 8
            self.embed = nn.Embedding(labels, self.size)
        elif kind == "past":
            self.size = 5 * assets

    def forward(self, given: Tensor | None, n: int) -> Tensor:
        """Conditions (n, size), and for the past its last returns are among them."""
        if given is None or self.kind == "none":
            return torch.zeros(n, 0)
        if self.kind == "label":
            embedded: Tensor = self.embed(given)
            return embedded
        steps = given.shape[1]  # of scaled returns (n, past, assets)
        spans = (steps, max(steps // 4, 1), max(steps // 12, 1))
        levels = [0.5 * ((given[:, -k:] ** 2).mean(1) + 1e-4).log() for k in spans]
        return torch.cat([*levels, given.mean(1) * math.sqrt(steps), given[:, -1].clamp(-5, 5)], 1)


class CmsVaeNetwork(ReturnNetwork):
    """Encoder, decoder, and noise that carries over from step to step.

    What the mean leaves of a step's returns is ``carry`` times what it left of the step before,
    and normal noise of the step's covariance.

    Parameters
    ----------
    kl : weight of the divergence from the prior
    ensemble, weights : of the loss of strategies' performance; none: plain ELBO
    scale, centre : of the returns, by asset, so that prices can be had of scaled ones
    carry : (assets, assets), to begin with
    """

    scale: Tensor
    centre: Tensor

    def __init__(
        self, shape: Shape, condition: Condition, kl: float, ensemble: Sequence[Target],
        weights: Weights, scale: Tensor, centre: Tensor, carry: Tensor,
    ) -> None:  # fmt: skip
        super().__init__()
        self.shape, self.kl = shape, kl
        self.ensemble, self.weights = ensemble, weights
        self.condition, self.latent_scale = condition, 1.0
        self.encoder, self.decoder = Encoder(shape), Decoder(shape)
        self.carry = nn.Parameter(carry)
        self.register_buffer("scale", scale, False)
        self.register_buffer("centre", centre, False)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        given, n = batch.get("given"), len(batch["returns"])
        condition, before = self.condition(given, n), self._before(given, n)
        losses = self._elbo(batch["returns"][:LIKELY], condition[:LIKELY], before[:LIKELY])
        if self.ensemble:
            losses |= self._performance(batch, condition, before)
        return losses

    def _elbo(self, returns: Tensor, condition: Tensor, before: Tensor) -> dict[str, Tensor]:
        """Negative log-likelihood and divergence from the prior, a number of the windows [nats]."""
        mean, log_deviation = self.encoder(returns, condition)
        latent = mean + log_deviation.exp() * torch.randn_like(mean)
        divergence = 0.5 * (mean**2 + (2 * log_deviation).exp() - 1) - log_deviation
        size = self.shape.steps * self.shape.assets
        return {
            "likelihood": self._surprise(returns, before, latent, condition) / size,
            "KL": self.kl * divergence.sum(1).mean() / size,
        }

    def _surprise(
        self, returns: Tensor, before: Tensor, latent: Tensor, condition: Tensor
    ) -> Tensor:
        """Mean negative log-likelihood of windows [nats]."""
        mean, factor = self.decoder(latent, condition)
        left = returns - mean  # (batch, steps, assets)
        carried = torch.cat([before[:, None], left[:, :-1]], 1) @ self.carry.T
        white = torch.linalg.solve_triangular(factor, (left - carried)[..., None], upper=False)
        log_volume = factor.diagonal(dim1=-2, dim2=-1).log().sum((1, 2))
        constant = 0.5 * math.log(2 * math.pi) * self.shape.steps * self.shape.assets
        # beyond FAR the loss is linear: a few hours of a crash would be all of the gradient
        missed = functional.huber_loss(white, torch.zeros_like(white), reduction="none", delta=FAR)
        surprise: Tensor = (missed.sum((1, 2, 3)) + log_volume).mean() + constant
        return surprise

    def _performance(
        self, batch: dict[str, Tensor], condition: Tensor, before: Tensor
    ) -> dict[str, Tensor]:
        """EFPL of windows drawn for the batch's conditions."""
        n = len(condition)
        latent = torch.randn(n, self.shape.latent)
        noise = torch.randn(n, self.shape.steps, self.shape.assets)
        drawn = self._decode(latent, noise, condition, before)
        path = (drawn * self.scale + self.centre).double().cumsum(1).clamp(-5, 5)
        prices = batch["initial_prices"][:, None] * path.exp()
        return efpl(self.ensemble, prices, self.weights)

    def _before(self, given: Tensor | None, n: int) -> Tensor:
        """Last scaled returns before windows (n, assets); 0 where they are not known."""
        if given is None or self.condition.kind != "past":
            return torch.zeros(n, self.shape.assets)
        return given[:, -1]

    def _decode(self, latent: Tensor, noise: Tensor, condition: Tensor, before: Tensor) -> Tensor:
        """Scaled windows (n, steps, assets) of latents and standard normal noise."""
        mean, factor = self.decoder(latent, condition)
        shocks = (factor @ noise[..., None])[..., 0]
        left, carried = before, []
        for step in range(self.shape.steps):
            left = left @ self.carry.T + shocks[:, step]
            carried.append(left)
        drawn: Tensor = mean + torch.stack(carried, 1)
        return drawn

    def draw(self, n: int, random: torch.Generator, condition: Tensor | None) -> Tensor:
        latent = self.latent_scale * torch.randn(n, self.shape.latent, generator=random)
        noise = torch.randn(n, self.shape.steps, self.shape.assets, generator=random)
        before = self._before(condition, n)
        return self._decode(latent, noise, self.condition(condition, n), before)
