"""Order flow by a conditional GAN: the baseline of Coletta et al. (2022)."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from marketsim.checks import integer
from marketsim.errors import ConfigError, ModelError
from marketsim.flow import Flow, Order, View
from marketsim.generators.base import FitProgress
from marketsim.generators.flows import need_context, safe_order
from marketsim.generators.order_vectors import (
    DEPTH,
    KIND_ROWS,
    NUMBERS,
    OFFSET,
    SIDE,
    SIZE,
    OrderScale,
    PastOrders,
)
from marketsim.generators.torch_flow import TorchFlow
from marketsim.order_events import Event

if TYPE_CHECKING:
    from marketsim.generators.training import Training

Floats = NDArray[np.float32]

TRIES = 10  #: draws of an order before a safe one takes its place
#: What the generator writes: numbers of an order's vector, then its kind.
COLUMNS = (SIZE, SIDE, DEPTH, OFFSET)
#: Kinds along one axis, from -1 to 1; the rarest at its end, not on the way between the others.
ALONG = (Event.CANCEL, Event.LIMIT, Event.MARKET)
#: Orders that thresholds are fitted to.
FITTED, AT_ONCE = 20_480, 1_024


@dataclass(frozen=True)
class Written:
    """Order vectors as the generator writes them, from -1 to 1, and back.

    Attributes
    ----------
    scale : OrderScale
    side_threshold : float, at and above it an order buys.
    kind_thresholds : float, float, between cancels, limit and market orders.
    """

    scale: OrderScale
    side_threshold: float = 0.0
    kind_thresholds: tuple[float, float] = (-0.5, 0.5)

    def of(self, vectors: Floats) -> Floats:
        """float32[n, ORDER] to float32[n, WRITTEN]."""
        low, high = self.scale.bounds[:, COLUMNS]
        numbers = 2 * (vectors[:, COLUMNS] - low) / np.maximum(high - low, 1e-6) - 1
        kind = np.argmax(vectors[:, NUMBERS:], axis=1)
        place = np.argsort(np.array(ALONG))[kind] - 1
        written: Floats = np.column_stack([numbers, place]).astype(np.float32)
        return written

    def matched(self, drawn: Floats, real: Floats) -> "Written":
        """With thresholds by which drawn orders have the real shares of sides and kinds."""
        sells = float((real[:, 1] < 0).mean())
        below = [(real[:, 4] < 0).mean(), (real[:, 4] < 1).mean()]
        cancels, limits = np.quantile(drawn[:, 4], below)
        side = float(np.quantile(drawn[:, 1], sells))
        return replace(self, side_threshold=side, kind_thresholds=(float(cancels), float(limits)))

    def vector(self, written: Floats) -> Floats:
        """float32[WRITTEN] to a vector that :meth:`OrderScale.order` reads."""
        low, high = self.scale.bounds[:, COLUMNS]
        vector = np.zeros(self.scale.bounds.shape[1], np.float32)
        vector[list(COLUMNS)] = low + (written[:4] + 1) / 2 * (high - low)
        vector[SIDE] = 1.0 if written[1] >= self.side_threshold else -1.0
        place = int(np.searchsorted(self.kind_thresholds, written[4], side="right"))
        vector[NUMBERS:] = KIND_ROWS[int(ALONG[place])]
        return vector


class CGAN(TorchFlow):
    """Orders by a generator that learned to deceive a critic, given the last orders and books.

    On a CPU markets are sampled one by one, in one thread; see
    :class:`marketsim.generators.encoder.EncoderFlow`.

    Parameters
    ----------
    window : orders that it sees, and the one that it writes.
    hidden : width of the LSTM, a multiple of 4.
    noise : numbers drawn for an order.
    """

    name = "cgan"
    #: Steps and rate by which it settles on a day of GOOG, 4 minutes on one core.
    training_defaults: ClassVar[dict[str, Any]] = {
        "steps": 15_000, "batch": 64, "learning_rate": 2e-3, "weight_decay": 0.0, "average": 0.99,
    }  # fmt: skip

    def __init__(self, window: int = 31, hidden: int = 64, noise: int = 16) -> None:
        self.window = integer("window", window, 2)
        self.hidden, self.noise = integer("hidden", hidden, 4), integer("noise", noise, 1)
        if hidden % 4:
            raise ConfigError(f"hidden must be a multiple of 4, was {hidden}")
        self.untrained(self.window)
        self._written: Written | None = None

    @property
    def written(self) -> Written:
        """What was fitted to the training data; raises :class:`ModelError` if nothing was."""
        if self._written is None:
            raise ModelError(f"model {self.name}: has not been trained yet: fit it, or load one")
        return self._written

    @functools.cached_property
    def network(self) -> Any:
        """Generator and critic, made when they are first needed."""
        from marketsim.generators.cgan_network import CganModel

        return CganModel(self.hidden, self.noise).eval()

    def fit_flows(
        self,
        flows: Sequence[Flow],
        tick_size: float,
        held: Sequence[Flow] = (),
        *,
        seed: int = 0,
        progress: FitProgress | None = None,
        training: "Training | None" = None,
        checkpoint: Path | None = None,
    ) -> Self:
        """See :meth:`TorchFlow.fit_flows`; ``held`` plays no part, as no loss tells how good its
        orders are. One step in six is the generator's."""
        import torch

        from marketsim.generators.cgan_network import CganModel
        from marketsim.generators.cgan_training import CganTask, settle
        from marketsim.generators.encoder_training import WindowVectors
        from marketsim.generators.training import Training, train

        settings = training or Training(**self.training_defaults)
        written = Written(OrderScale.fit(flows, tails=True))
        windows = WindowVectors(flows, written.scale, self.window)
        torch.manual_seed(seed)
        network = CganModel(self.hidden, self.noise)
        self.training = train(
            network,
            CganTask(windows, written),
            replace(settings, bfloat16=False),
            seed=seed,
            progress=progress,
            checkpoint=checkpoint,
        )
        drawn, real = settle(network, windows, written, np.random.default_rng(seed))
        self._written, self.tick_size = written.matched(drawn, real), tick_size
        self.network = network.to(self.device)
        return self

    def start(self, flow: Flow) -> PastOrders:
        need_context(flow, self.context)
        return PastOrders.at_end_of(flow[-self.context :], self.written.scale)

    def next_orders(
        self, states: Sequence[Any], views: Sequence[View], rngs: Sequence[np.random.Generator]
    ) -> list[Order]:
        return [self._next(*asked) for asked in zip(states, views, rngs, strict=True)]

    def _next(self, state: PastOrders, view: View, rng: np.random.Generator) -> Order:
        scale = self.written.scale
        state.read(view.flow, scale)
        books = np.concatenate([state.books, scale.book(view.book)[None]])
        for rejected in range(TRIES):
            drawn = self._draw(state.orders, books, rng)
            order = scale.order(self.written.vector(drawn), view)
            if order is not None:
                return order._replace(rejected=rejected)
        return safe_order(view, TRIES)

    def _draw(self, orders: Floats, books: Floats, rng: np.random.Generator) -> Floats:
        """One order as the generator writes it, float32[WRITTEN]."""
        import torch

        noise = rng.standard_normal((1, self.noise), np.float32)
        inputs = [
            torch.from_numpy(part).to(self.device) for part in (noise, orders[None], books[None])
        ]
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                drawn: Floats = self.network.generator(*inputs)[0].cpu().numpy()
        finally:
            torch.set_num_threads(threads)
        return drawn

    def pack(self, state: PastOrders) -> dict[str, Any]:
        return dict(vars(state))

    def unpack(self, packed: dict[str, Any]) -> PastOrders:
        return PastOrders.of(packed, self.window - 1)

    def parameters(self) -> dict[str, Any]:
        return {"window": self.window, "hidden": self.hidden, "noise": self.noise}

    def learned(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        weights = self.network.generator.state_dict()
        arrays = {f"network.{name}": value.cpu().numpy() for name, value in weights.items()}
        values = {
            "tick_size": self.tick_size,
            "training": self.training,
            "side_threshold": self.written.side_threshold,
            "kind_thresholds": list(self.written.kind_thresholds),
        }
        return {**arrays, **self.written.scale.arrays()}, values

    def restore(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        import torch

        cancels, limits = (float(value) for value in values["kind_thresholds"])
        if not all(math.isfinite(value) for value in (cancels, limits)):
            raise ValueError(f"kind_thresholds: must be finite, was {cancels}, {limits}")
        side = float(values["side_threshold"])
        self._written = Written(OrderScale.of(arrays, tails=True), side, (cancels, limits))
        self.tick_size, self.training = float(values["tick_size"]), dict(values["training"])
        weights = {}
        for name, value in self.network.generator.state_dict().items():
            array = arrays[f"network.{name}"].reshape(value.shape)
            if not np.isfinite(array).all():
                raise ValueError(f"network.{name}: must be finite")
            weights[name] = torch.from_numpy(array.copy())
        self.network.generator.load_state_dict(weights)
