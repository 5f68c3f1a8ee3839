"""The causal trunk and its heads: the past is read once, token by token, and the next order drawn.

A token is the event before and the book now (:mod:`marketsim.generators.orders`). The trunk is a
pre-norm transformer with rotary positions (Su et al. 2021), so that a ring of keys and values
serves an endless stream. Two kinds of heads write the next order given the last hidden state:
categorical ones, each given the symbols before it, with an exact likelihood; or a class and a small
diffusion of the rest (compare Li et al. 2024, arXiv:2406.11838).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marketsim.generators.bins import DEPTHS, OFFSETS, SIZES
from marketsim.generators.orders import CLASSES, FEATURES, PROFILE
from marketsim.generators.size import Size

POINTER = 16  #: width of the vectors by which depths are told apart
BARRED = -12.0  #: logit of a depth that an order cannot have
SYMBOL_NAMES = ("class", "depth", "size", "offset")
MARKET_CLASS = 4  #: classes from here on have no depth


class Norm(nn.Module):
    """x / rms(x) times a learned scale (Zhang & Sennrich 2019)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Shape in, shape out."""
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.scale


class Drop(nn.Module):
    """Dropout of whole coordinates of a window, the same for all its events: cheap on a CPU."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """(batch, events, width) to the same."""
        if not self.training or self.share == 0:
            return x
        mask = torch.rand(x.shape[0], 1, x.shape[2], device=x.device) >= self.share
        return x * (mask.to(x.dtype) / (1 - self.share))


def frequencies(size: Size) -> Tensor:
    """Radians a position by which each pair of a head's coordinates turns; float64[pairs]."""
    pairs = size.width // size.heads // 2
    return 10_000.0 ** (-torch.arange(pairs, dtype=torch.float64) / pairs)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the first half of the last axis against the second."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class Block(nn.Module):
    """Attention over the past, then a squared-ReLU network (So et al. 2021)."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        width = size.width
        self.heads, self.drop = size.heads, Drop(size.dropout)
        self.norm_attention, self.norm_network = Norm(width), Norm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(batch, events, width) to the same; cos, sin: (events, pairs)."""
        batch, events, width = x.shape
        shape = (batch, events, 3, self.heads, width // self.heads)
        q, k, v = self.qkv(self.norm_attention(x)).view(shape).permute(2, 0, 3, 1, 4)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)  # (batch, heads, events, width / heads)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        mixed = mixed.transpose(1, 2).reshape(batch, events, width)
        x = x + self.drop(self.out(mixed))
        grown = F.relu(self.up(self.norm_network(x))).square()
        added: Tensor = x + self.drop(self.down(grown))
        return added


class Trunk(nn.Module):
    """Tokens to hidden states."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        width = size.width
        self.size = size
        self.embed_class = nn.Embedding(CLASSES, width)
        self.embed_depth = nn.Embedding(DEPTHS, width)
        self.embed_size = nn.Embedding(SIZES, width)
        self.embed_offset = nn.Embedding(OFFSETS, width)
        self.features_in = nn.Linear(FEATURES, width)
        self.features_out = nn.Linear(width, width)
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.layers))
        self.norm, self.drop = Norm(width), Drop(size.dropout)

    def forward(self, symbols: Tensor, features: Tensor) -> Tensor:
        """Hidden state of each token.

        symbols : int64 (batch, events, 4), of the event before each token
        features : float32 (batch, events, FEATURES)
        """
        noise = self.size.noise if self.training else 0.0
        if noise:
            features = features + noise * torch.randn_like(features)
        x = self.features_out(F.silu(self.features_in(features)))
        embeds = (self.embed_class, self.embed_depth, self.embed_size, self.embed_offset)
        event = sum(embed(symbols[..., i]) for i, embed in enumerate(embeds))
        if noise:
            event = event * (torch.rand_like(features[..., :1]) >= noise)
        x = x + event
        x = self.drop(x)  # (batch, events, width)
        angles = torch.arange(x.shape[1], dtype=torch.float64, device=x.device)[:, None]
        angles = angles * frequencies(self.size).to(x.device)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        for block in self.blocks:
            x = block(x, cos, sin)
        normed: Tensor = self.norm(x)
        return normed


class Head(nn.Module):
    """One hidden layer and logits."""

    def __init__(self, width: int, symbols: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, width)
        self.logits = nn.Linear(width, symbols)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden layer (…, width) and logits (…, symbols)."""
        hidden = F.relu(self.hidden(x)).square()
        return hidden, self.logits(hidden)


class TokenHeads(nn.Module):
    """Class, then depth, then size, then offset, each given the ones before.

    The depth's logits point at what rests at each depth, and the size's at the lots that rest where
    the order goes: what a flow copies from the book need not be learned by heart.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        width = size.width
        self.given_class = nn.Embedding(CLASSES, width)
        self.given_depth = nn.Embedding(DEPTHS, width)
        self.given_size = nn.Embedding(SIZES, width)
        self.given_level = nn.Embedding(SIZES, width)
        self.class_head = Head(width, CLASSES)
        self.depth_head = Head(width, DEPTHS)
        self.size_head = Head(width, SIZES)
        self.offset_head = Head(width, OFFSETS)
        self.query = nn.Linear(width, POINTER)
        self.places = nn.Linear(PROFILE, POINTER)
        self.copy_level = nn.Linear(width, 1)

    def depth_logits(self, hidden: Tensor, logits: Tensor, profile: Tensor) -> Tensor:
        """Logits plus how well each depth's profile (…, DEPTHS, PROFILE) answers the query."""
        places = F.relu(self.places(profile))  # (…, DEPTHS, POINTER)
        pointed: Tensor = logits + (places @ self.query(hidden)[..., None])[..., 0]
        return pointed

    def forward(
        self, h: Tensor, target: Tensor, profile: Tensor, level: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Negative log-likelihood of each symbol [nats], each (…).

        h : (…, width); target : int64 (…, 4); profile : (…, DEPTHS, PROFILE); level : int64 (…)
        """
        _, class_logits = self.class_head(h)
        h = h + self.given_class(target[..., 0])
        hidden, logits = self.depth_head(h)
        logits = self.depth_logits(hidden, logits, profile)
        cancels = (target[..., 0] // 2 == 1)[..., None]
        allowed = torch.where(cancels, profile[..., 1] > 0, profile[..., 2] > 0)
        depth_logits = torch.where(allowed, logits, logits.new_tensor(BARRED) + 0 * logits)
        h = h + self.given_depth(target[..., 1])
        hidden, size_logits = self.size_head(h + self.given_level(level))
        copied = torch.zeros_like(size_logits).scatter(
            -1, level[..., None], self.copy_level(hidden).to(size_logits.dtype)
        )
        _, offset_logits = self.offset_head(h + self.given_size(target[..., 2]))
        losses = [
            nats(logits, target[..., i])
            for i, logits in enumerate(
                (class_logits, depth_logits, size_logits + copied, offset_logits)
            )
        ]
        losses[1] = losses[1] * (target[..., 0] < MARKET_CLASS)
        return losses[0], losses[1], losses[2], losses[3]


def nats(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of each place, without a mean."""
    flat = F.cross_entropy(logits.flatten(0, -2).float(), target.flatten(), reduction="none")
    return flat.view(target.shape)


class TokenModel(nn.Module):
    """Causal trunk and categorical heads."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.trunk, self.heads = Trunk(size), TokenHeads(size)
        self.apply(initialise)

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Losses of all events of a batch of windows, each (batch, events) [nats]."""
        h = self.trunk(batch["past"], batch["features"])
        losses: tuple[Tensor, ...] = self.heads(
            h, batch["target"], batch["profile"], batch["level"]
        )
        return losses


def initialise(module: Any) -> None:
    """Small random weights, no biases."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.5 / math.sqrt(module.in_features))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.05)
