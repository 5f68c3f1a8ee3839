"""A causal trunk whose head draws the class of the next order and denoises the rest of it.

Depth, size and offset of an order become three standard normal *latents*: the normal quantile of
the value's rank among the training orders of its kind, the ranks of equal values drawn at random
between theirs. Whatever their tails and their round numbers, the diffusion starts at the right
marginal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor, nn
from torch.nn import functional as F

from marketsim.flow import Flow
from marketsim.generators.causal import Head, Norm, Trunk, initialise, nats
from marketsim.generators.diffusion import Diffusion
from marketsim.generators.orders import CLASSES, KINDS, Vocabulary, event_values
from marketsim.generators.size import Size
from marketsim.generators.windows import TokenTask

LATENTS = 3
GRID = 1025  #: quantiles of each field that are kept
DRAWS = 2  #: noisy copies of an order that it is learned from at a time
BLOCKS = 2
_EDGE = 1e-4  # ranks stay this far from 0 and 1


@dataclass(frozen=True)
class Latents:
    """Quantiles of depth [units], size [lots] and offset [ns] of each kind of order.

    Attributes
    ----------
    table : int64[KINDS, LATENTS, GRID], rising.
    """

    table: NDArray[np.int64]

    @classmethod
    def fit(cls, flows: Sequence[Flow], vocabulary: Vocabulary) -> "Latents":
        """Take the quantiles of flows; a kind that they lack has those of all kinds."""
        values = np.concatenate([event_values(flow, vocabulary.unit_ticks) for flow in flows])
        kinds = np.concatenate([flow["kind"] for flow in flows])
        table = np.empty((KINDS, LATENTS, GRID), np.int64)
        shares = np.linspace(0, 1, GRID)
        for kind in range(KINDS):
            of_kind = values[kinds == kind] if (kinds == kind).any() else values
            table[kind] = np.quantile(of_kind, shares, axis=0, method="nearest").T
        return cls(table)

    def ranks(self, kinds: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.float32]:
        """Between which ranks a value lies, float32[n, LATENTS, 2]; values: int64[n, LATENTS]."""
        bounds = np.empty((len(kinds), LATENTS, 2), np.float32)
        for kind in range(KINDS):
            rows = np.flatnonzero(kinds == kind)
            for field in range(LATENTS):
                quantiles, value = self.table[kind, field], values[rows, field]
                for side, end in ((0, "left"), (1, "right")):
                    place = np.searchsorted(quantiles, value, end)  # type: ignore[call-overload]
                    bounds[rows, field, side] = (place - side) / (GRID - 1)
        bounds[..., 1] = np.maximum(bounds[..., 0], bounds[..., 1])
        return np.clip(bounds, 0, 1)


class Denoiser(nn.Module):
    """The noise in the latents of an order, given the hidden state, its class and the step.

    A residual network of ``BLOCKS`` squared-ReLU blocks.
    """

    def __init__(self, width: int, steps: int) -> None:
        super().__init__()
        self.latents = nn.Linear(LATENTS, width)
        self.condition = nn.Linear(width, width)
        self.given_class = nn.Embedding(CLASSES, width)
        self.given_step = nn.Embedding(steps + 1, width)
        self.norms = nn.ModuleList(Norm(width) for _ in range(BLOCKS + 1))
        self.up = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(BLOCKS))
        self.down = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(BLOCKS))
        self.noise = nn.Linear(width, LATENTS)

    def forward(self, x: Tensor, t: Tensor, condition: tuple[Tensor, Tensor]) -> Tensor:
        """x : float32 (batch, LATENTS); t : int64 (batch,); condition : hidden states (batch,
        width) and classes (batch,)."""
        h, classes = condition
        u = self.condition(h) + self.given_class(classes)
        u = u + self.latents(x) + self.given_step(t)  # (batch, width)
        for norm, up, down in zip(self.norms, self.up, self.down, strict=False):
            u = u + down(F.relu(up(norm(u))).square())
        noise: Tensor = self.noise(self.norms[BLOCKS](u))
        return noise


class DiffusionModel(nn.Module):
    """Causal trunk, categorical class, denoised depth, size and offset."""

    def __init__(self, size: Size, steps: int) -> None:
        super().__init__()
        self.trunk = Trunk(size)
        self.class_head = Head(size.width, CLASSES)
        self.denoiser = Denoiser(size.width, steps)
        self.diffusion = Diffusion(steps)
        self.apply(initialise)

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Nats of the class and squared error of the noise, of each event of a batch of windows.

        The depth of market orders has no meaning and does not count.
        """
        h = self.trunk(batch["past"], batch["features"])
        _, logits = self.class_head(h)
        classes = batch["target"][..., 0]
        h, flat = h.flatten(0, 1), classes.flatten()
        latents = batch["latents"].flatten(0, 1)  # (events, draws, LATENTS)
        t, noise = batch["t"].flatten(0, 1), batch["noise"].flatten(0, 1)
        errors = []
        for draw in range(latents.shape[1]):
            noised = self.diffusion.noised(latents[:, draw], t[:, draw], noise[:, draw])
            found = self.denoiser(noised, t[:, draw], (h, flat))
            error = (found.float() - noise[:, draw]).square()
            weight = torch.ones_like(error)
            weight[:, 0] = flat < 2 * (KINDS - 1)
            errors.append((error * weight).sum(-1) / LATENTS)
        return nats(logits, classes), torch.stack(errors).mean(0).view(classes.shape)


class DiffusionTask(TokenTask):
    """:class:`TokenTask` with latents to denoise."""

    names = ("class", "noise")

    def __init__(self, latents: Latents, steps: int, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.steps = steps
        self.ranks = {
            id(part): latents.ranks(
                part.flow["kind"], event_values(part.flow, self.vocabulary.unit_ticks)
            )
            for part in [*self.encoded, *self.valid]
        }

    def columns(self, places: Any, rng: np.random.Generator) -> Mapping[str, NDArray[Any]]:
        """Latents and noise beside the columns of :class:`TokenTask`, ``(b, n, draws, …)``."""
        columns = dict(super().columns(places, rng))
        ranks = np.stack([self.ranks[id(p)][s : s + self.window] for p, s in places])[:, :, None]
        shape = (*ranks.shape[:2], DRAWS, LATENTS)
        uniform = rng.random(shape, np.float32)
        rank = ranks[..., 0] + uniform * (ranks[..., 1] - ranks[..., 0])
        columns["latents"] = ndtri(np.clip(rank, _EDGE, 1 - _EDGE)).astype(np.float32)
        columns["t"] = rng.integers(1, self.steps + 1, shape[:3])
        columns["noise"] = rng.standard_normal(shape, np.float32)
        return columns
