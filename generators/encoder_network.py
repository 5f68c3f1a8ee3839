"""The network of TRADES as in the paper: an encoder that reads the past and the noisy next order.

References
----------
Berti, Prenkaj & Velardi (2025), TRADES: generating realistic market simulations with diffusion
models, section 4.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marketsim.checks import boolean, choice, integer, number
from marketsim.errors import ConfigError
from marketsim.generators.diffusion import Diffusion, ImportantTimes, hybrid_losses
from marketsim.generators.order_vectors import BOOK, ORDER

#: Layers of the LSTM that takes the place of the transformer.
LSTM_LAYERS = 2

#: Past orders float32[batch, window - 1, ORDER], and the books before all, [batch, window, BOOK].
Condition = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class EncoderSize:
    """The network; the defaults are the paper's, the options its ablations.

    Attributes
    ----------
    layers, heads, dropout : of the transformer.
    width : that orders, and books, are augmented to.
    window : orders, the noisy one included.
    book : whether it is conditioned on the book.
    augment : whether orders and books are augmented.
    backbone : "transformer" or "lstm".
    attention : "self", all tokens mix; or "cross", the noisy order asks, the past answers.
    """

    layers: int = 8
    width: int = 64
    heads: int = 2
    window: int = 256
    dropout: float = 0.1
    book: bool = True
    augment: bool = True
    backbone: str = "transformer"
    attention: str = "self"

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads"):
            integer(name, getattr(self, name), 1)
        integer("window", self.window, 2)
        if not 0 <= number("dropout", self.dropout) < 1:
            raise ConfigError(f"dropout must be from 0 to below 1, was {self.dropout!r}")
        for name in ("book", "augment"):
            boolean(name, getattr(self, name))
        choice("backbone", self.backbone, ("transformer", "lstm"))
        choice("attention", self.attention, ("self", "cross"))
        if self.tokens % (2 * self.heads):
            raise ConfigError(f"heads must divide half of {self.tokens} evenly, was {self.heads}")

    @property
    def tokens(self) -> int:
        """Width of a token."""
        if self.augment:
            return 2 * self.width
        return ORDER + BOOK if self.book else ORDER


def sinusoids(at: Tensor, width: int) -> Tensor:
    """Sines and cosines of positions (...), (..., width). Vaswani et al. (2017), section 3.5."""
    half = width // 2
    rates = torch.exp(-math.log(10_000.0) * torch.arange(half, device=at.device) / half)
    angles = at[..., None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], -1)


def two_layers(inputs: int, outputs: int) -> nn.Sequential:
    """Two fully connected layers."""
    return nn.Sequential(nn.Linear(inputs, outputs), nn.SiLU(), nn.Linear(outputs, outputs))


class Layer(nn.Module):
    """Attention, then two fully connected layers, each behind a norm and beside a shortcut."""

    def __init__(self, size: EncoderSize) -> None:
        super().__init__()
        width = size.tokens
        self.heads, self.share = size.heads, size.dropout
        self.norm_attention, self.norm_network = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask, self.answer = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out, self.drop = nn.Linear(width, width), nn.Dropout(size.dropout)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, asked_of: Tensor) -> Tensor:
        """(batch, tokens, width) to the same; ``asked_of`` are the tokens that answer."""
        batch, asked, width = x.shape
        answers = self.norm_attention(asked_of)
        q = self.ask(self.norm_attention(x)).view(batch, asked, self.heads, -1).transpose(1, 2)
        k, v = (
            part.reshape(batch, answers.shape[1], self.heads, -1).transpose(1, 2)
            for part in self.answer(answers).chunk(2, -1)
        )  # (batch, heads, tokens, width / heads)
        share = self.share if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=share)
        x = x + self.drop(self.out(mixed.transpose(1, 2).reshape(batch, asked, width)))
        added: Tensor = x + self.drop(self.down(F.gelu(self.up(self.norm_network(x)))))
        return added


class Encoder(nn.Module):
    """The noise in an order, and v, given the past: a model for :class:`Diffusion`."""

    def __init__(self, size: EncoderSize) -> None:
        super().__init__()
        self.size, width = size, size.tokens
        orders = width - size.width if size.book else width
        self.order_in = two_layers(ORDER, orders) if size.augment else nn.Identity()
        if size.book:
            self.book_in = two_layers(BOOK, size.width) if size.augment else nn.Identity()
        if size.backbone == "lstm":
            self.lstm = nn.LSTM(width, width, LSTM_LAYERS, dropout=size.dropout, batch_first=True)
        else:
            self.layers = nn.ModuleList(Layer(size) for _ in range(size.layers))
        self.norm = nn.LayerNorm(width)
        self.noise_out = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, ORDER))
        self.weight_out = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, ORDER))

    def forward(self, noised: Tensor, t: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """Noise and v, float32[batch, ORDER] each, of the last order at step ``t``."""
        past, books = condition
        x = self.tokens(noised, past, books)  # (batch, window, width)
        places = torch.arange(x.shape[1], device=x.device)
        x = x + sinusoids(places, x.shape[2]) + sinusoids(t, x.shape[2])[:, None]
        last = self.norm(self.mix(x))  # (batch, width)
        return self.noise_out(last).float(), (self.weight_out(last).float() + 1) / 2

    def tokens(self, noised: Tensor, past: Tensor, books: Tensor) -> Tensor:
        """Augmented orders and books, (batch, window, width)."""
        orders = self.order_in(torch.cat([past, noised[:, None]], 1))
        if not self.size.book:
            joined: Tensor = orders
            return joined
        return torch.cat([orders, self.book_in(books)], -1)

    def mix(self, x: Tensor) -> Tensor:
        """The last token after all layers, (batch, width)."""
        if self.size.backbone == "lstm":
            return self.lstm(x)[0][:, -1]  # type: ignore[no-any-return]
        if self.size.attention == "cross":
            last, past = x[:, -1:], x[:, :-1]
            for layer in self.layers:
                last = layer(last, past)
            return last[:, 0]
        for layer in self.layers[:-1]:
            x = layer(x, x)
        return self.layers[-1](x[:, -1:], x)[:, 0]  # type: ignore[no-any-return]


class EncoderModel(nn.Module):
    """The network with its diffusion, and what training remembers of the steps' losses.

    ``clip`` is the bound of standardised orders.
    """

    def __init__(self, size: EncoderSize, steps: int, clip: float) -> None:
        super().__init__()
        self.encoder, self.diffusion, self.clip = Encoder(size), Diffusion(steps), clip
        self.times = ImportantTimes(steps)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch of windows: ``order`` (batch, ORDER), ``past`` and ``books``."""
        condition = batch["past"], batch["books"]
        error, bound = hybrid_losses(
            self.diffusion, self.encoder, batch["order"], self.times, condition, clip=self.clip
        )
        return {"noise": error, "bound": bound}
