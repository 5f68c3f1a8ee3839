"""Order flow by the paper's TRADES: each order is diffused, given the last 255 and the books."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from marketsim.checks import boolean, choice, integer
from marketsim.errors import ModelError
from marketsim.flow import Flow, Order, View
from marketsim.generators.base import FitProgress
from marketsim.generators.flows import array_of, need_context, safe_order
from marketsim.generators.order_vectors import ORDER, OrderScale, PastOrders
from marketsim.generators.torch_flow import TorchFlow

if TYPE_CHECKING:
    from marketsim.generators.training import Training

Floats = NDArray[np.float32]

TRIES = 10  #: draws of an order before a safe one takes its place
DDPM, DDIM = "ddpm", "ddim"


class EncoderFlow(TorchFlow):
    """TRADES with the paper's encoder; each step of diffusion reads the whole past again.

    On a CPU markets are sampled one by one, in one thread: a product of matrices rounds differently
    in batches of different sizes. On a GPU they are sampled together.

    Parameters
    ----------
    sampler : "ddpm", all steps of diffusion, or "ddim".
    sampling_steps : of DDIM.
    diffusion_steps : T.
    tails : whether sizes, prices, depths and offsets are learned as logarithms.
    network : of the network and its ablations; see
        :class:`marketsim.generators.encoder_network.EncoderSize`.
    """

    name: ClassVar[str] = "trades"
    architecture: ClassVar[str] = "encoder"
    sampling: ClassVar[tuple[str, ...]] = ("sampler", "sampling_steps")
    tries = TRIES
    #: As in the paper.
    training_defaults: ClassVar[dict[str, Any]] = {
        "steps": 70_000, "batch": 256, "learning_rate": 1e-3, "weight_decay": 0.0,
    }  # fmt: skip

    def __init__(
        self,
        *,
        sampler: str = DDPM,
        sampling_steps: int = 1,
        diffusion_steps: int = 100,
        tails: bool = True,
        **network: Any,
    ) -> None:
        from marketsim.generators.encoder_network import EncoderSize

        self.size = EncoderSize(**network)
        self.untrained(self.size.window)
        self.sampler = choice("sampler", sampler, (DDPM, DDIM))
        self.diffusion_steps = integer("diffusion_steps", diffusion_steps, 2)
        self.sampling_steps = integer("sampling_steps", sampling_steps, 1, diffusion_steps)
        self.tails = boolean("tails", tails)
        self._scale: OrderScale | None = None

    @property
    def scale(self) -> OrderScale:
        """What was fitted to the training data; raises :class:`ModelError` if nothing was."""
        if self._scale is None:
            raise ModelError(f"model {self.name}: has not been trained yet: fit it, or load one")
        return self._scale

    @functools.cached_property
    def network(self) -> Any:
        """The network with its diffusion, made when it is first needed."""
        from marketsim.generators.encoder_network import EncoderModel

        return EncoderModel(self.size, self.diffusion_steps, self.scale.clip).eval()

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
        """See :meth:`TorchFlow.fit_flows`; by default as long as in the paper."""
        import torch

        from marketsim.generators.encoder_network import EncoderModel
        from marketsim.generators.encoder_training import EncoderTask
        from marketsim.generators.training import Training, train

        scale = OrderScale.fit(flows, self.tails)
        torch.manual_seed(seed)
        network = EncoderModel(self.size, self.diffusion_steps, scale.clip)
        self.training = train(
            network,
            EncoderTask(flows, held, scale, self.size.window),
            training or Training(**self.training_defaults),
            seed=seed,
            progress=progress,
            checkpoint=checkpoint,
        )
        self._scale, self.tick_size, self.network = scale, tick_size, network.to(self.device)
        return self

    def start(self, flow: Flow) -> PastOrders:
        need_context(flow, self.context)
        return PastOrders.at_end_of(flow[-self.context :], self.scale)

    def next_orders(
        self, states: Sequence[Any], views: Sequence[View], rngs: Sequence[np.random.Generator]
    ) -> list[Order]:
        for state, view in zip(states, views, strict=True):
            state.read(view.flow, self.scale)
        orders: list[Order | None] = [None] * len(states)
        for rejected in range(self.tries):
            open_ = [place for place, order in enumerate(orders) if order is None]
            groups = [open_] if self.device != "cpu" else [[place] for place in open_]
            for group in groups:
                vectors = self._sample([(states[i], views[i], rngs[i]) for i in group])
                for place, vector in zip(group, vectors, strict=True):
                    order = self.scale.order(vector, views[place])
                    orders[place] = order and order._replace(rejected=rejected)
            if all(orders):
                break
        return [
            order or safe_order(view, self.tries) for order, view in zip(orders, views, strict=True)
        ]

    def _sample(self, asked: Sequence[tuple[PastOrders, View, np.random.Generator]]) -> Floats:
        """One vector for each of some markets, float32[markets, ORDER]."""
        if not asked:
            return np.empty((0, ORDER), np.float32)
        import torch

        count = self.diffusion_steps if self.sampler == DDPM else 1
        seen = [np.concatenate([s.books, self.scale.book(v.book)[None]]) for s, v, _ in asked]
        draws = [rng.standard_normal((count, ORDER), np.float32) for _, _, rng in asked]
        past, books, noise = (
            torch.from_numpy(np.stack(parts, axis)).to(self.device)
            for parts, axis in (([s.orders for s, _, _ in asked], 0), (seen, 0), (draws, 1))
        )
        diffusion, encoder, clip = self.network.diffusion, self.network.encoder, self.scale.clip
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            if self.sampler == DDPM:
                drawn = diffusion.ddpm(encoder, noise, (past, books), clip=clip)
            else:
                steps = self.sampling_steps
                drawn = diffusion.ddim(encoder, noise, (past, books), steps=steps, clip=clip)
        finally:
            torch.set_num_threads(threads)
        vectors: Floats = drawn.cpu().numpy()
        return vectors

    def pack(self, state: PastOrders) -> dict[str, Any]:
        return dict(vars(state))

    def unpack(self, packed: dict[str, Any]) -> PastOrders:
        return PastOrders.of(packed, self.size.window - 1)

    def parameters(self) -> dict[str, Any]:
        return {
            "architecture": self.architecture, "sampler": self.sampler,
            "sampling_steps": self.sampling_steps, "diffusion_steps": self.diffusion_steps,
            "tails": self.tails, **asdict(self.size),
        }  # fmt: skip

    def learned(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        weights = self.network.encoder.state_dict()
        arrays = {f"network.{name}": value.cpu().numpy() for name, value in weights.items()}
        values = {"tick_size": self.tick_size, "training": self.training}
        return {**arrays, **self.scale.arrays()}, values

    def restore(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        import torch

        self._scale = OrderScale.of(arrays, self.tails)
        self.tick_size, self.training = float(values["tick_size"]), dict(values["training"])
        weights = {}
        for name, value in self.network.encoder.state_dict().items():
            array = array_of(arrays, f"network.{name}", tuple(value.shape), np.float32)
            weights[name] = torch.from_numpy(array.copy())
        self.network.encoder.load_state_dict(weights)
