"""Order flow by a causal model: what its past was is read once, event by event, and kept."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from marketsim.checks import positive
from marketsim.errors import DataError, ModelError
from marketsim.flow import FLOW, Flow, Order, View
from marketsim.generators.base import FitProgress, OrderFlowGenerator
from marketsim.generators.flows import safe_order, training_flows
from marketsim.generators.inference import (
    RECENT_AT,
    STATE_INTS,
    TIME,
    lay_out,
    observe,
    state_floats,
    trunk_parts,
)
from marketsim.generators.orders import CANCEL, MARKET, RECENT, Vocabulary, mirror
from marketsim.generators.size import Size
from marketsim.generators.token_sampling import DRAWS, POSSIBLE, head_parts, write_orders
from marketsim.generators.weights import Shapes, check_weights, token_shapes
from marketsim.tape import Tape

if TYPE_CHECKING:
    from marketsim.generators.device import DeviceModel, DeviceState
    from marketsim.generators.training import Training

TRIES = 10  #: draws of an order before one that is surely possible takes its place


class CausalState:
    """What a causal model keeps of a market: keys and values of its window, the last events."""

    __slots__ = ("address", "floats", "ints", "pending")

    def __init__(self, ints: NDArray[np.int64], floats: NDArray[np.float32], pending: Flow) -> None:
        self.ints, self.floats, self.pending = ints, floats, pending
        self.address = int(floats.ctypes.data)

    def __deepcopy__(self, memo: dict[int, Any]) -> "CausalState":
        return CausalState(self.ints.copy(), self.floats.copy(), self.pending.copy())


class TokenFlow(OrderFlowGenerator):
    """A transformer that reads the past once and draws the next order symbol by symbol.

    Parameters
    ----------
    layers, width, heads, window, dropout, noise : see :class:`marketsim.generators.causal.Size`.
    temperature : of all draws; below 1 the likely becomes likelier.
    """

    name: ClassVar[str] = "trades"
    architecture: ClassVar[str] = "tokens"
    context: ClassVar[int] = 256
    sampling: ClassVar[tuple[str, ...]] = ("temperature",)
    tries = TRIES

    def __init__(
        self,
        layers: int = 4,
        width: int = 128,
        heads: int = 4,
        window: int = 256,
        dropout: float = 0.3,
        noise: float = 0.15,
        temperature: float = 1.0,
    ) -> None:
        self.size = Size(layers, width, heads, window, dropout, noise)
        self.shape = (layers, width, heads, window)
        self.temperature = positive("temperature", temperature)
        self.vocabulary: Vocabulary | None = None
        self.tick_size: float | None = None
        self.weights: dict[str, NDArray[np.float32]] = {}
        self.training: dict[str, Any] = {}
        self.device = "cpu"
        self._compiled = True

    def to(self, device: str, *, compiled: bool = True) -> Self:
        """Compute on a device of torch such as "cuda"; on "cpu" by compiled code.

        On a device the same markets get the same flow again, but not, bit for bit, what they get on
        the CPU or among others. States stay where they were started: pack them before, unpack them
        after.

        Parameters
        ----------
        compiled : False lets torch compute on the CPU too.

        Raises
        ------
        ConfigError
            If torch cannot compute there.
        """
        from marketsim.generators.device import usable_device

        usable_device(device)
        self.device, self._compiled = device, compiled and device == "cpu"
        self.__dict__.pop("_placed", None)
        return self

    # -- markets ---------------------------------------------------------------------------

    def start(self, flow: Flow) -> "CausalState | DeviceState":
        """Read the last events of a market's past.

        Raises
        ------
        DataError
            If there are fewer than 256.
        """
        if len(flow) < self.context:
            raise DataError(f"flow: must have at least {self.context} events, had {len(flow)}")
        # the first event that it reads; of those before it keeps the last few
        first = max(len(flow) - self.shape[3], 1)
        # the last token waits for the book after it, which the first view has
        state = self._state(np.zeros(STATE_INTS, np.int64), None, flow[-1:].copy())
        before = flow[max(first - RECENT, 0) : first][::-1]
        recent = state.ints[RECENT_AT:].reshape(RECENT, 2)
        recent[:, 0] = -1
        recent[: len(before), 0] = before["kind"]
        recent[: len(before), 1] = before["price_ticks"]
        state.ints[TIME] = before["time_ns"][0]
        self._observe([state], [np.ascontiguousarray(flow[first:-1])], flow["book"][-1:])
        return state

    def _state(
        self, ints: NDArray[np.int64], floats: NDArray[np.float32] | None, pending: Flow
    ) -> "CausalState | DeviceState":
        """A state where the model computes; without ``floats``, of a market that is unread."""
        if self._placed is not None:
            return self._placed.state(ints, floats, pending)
        if floats is None:
            layers, width, _, window = self.shape
            floats = np.zeros(state_floats(layers, width, window), np.float32)
        return CausalState(ints, floats, pending)

    def next_orders(
        self, states: Sequence[Any], views: Sequence[View], rngs: Sequence[np.random.Generator]
    ) -> list[Order]:
        """See :meth:`OrderFlowGenerator.next_orders`."""
        flows = [
            np.concatenate([state.pending, view.flow]) if len(state.pending) else view.flow
            for state, view in zip(states, views, strict=True)
        ]
        books = np.stack([view.book for view in views])
        if any(len(flow) for flow in flows):
            self._observe(states, flows, books)
            for state in states:
                state.pending = state.pending[:0]
        orders = self._draw(states, books, np.stack([view.own_lots for view in views]), rngs)
        tries = 1
        again = [i for i, order in enumerate(orders) if order is None]
        while again and tries < self.tries:
            some = self._draw(
                [states[i] for i in again],
                books[again],
                np.stack([views[i].own_lots for i in again]),
                [rngs[i] for i in again],
            )
            for i, order in zip(again, some, strict=True):
                orders[i] = order and order._replace(rejected=tries)
            again = [i for i in again if orders[i] is None]
            tries += 1
        return [
            order or safe_order(view, self.tries, int(state.ints[RECENT_AT + 1]))
            for order, view, state in zip(orders, views, states, strict=True)
        ]

    def _draw(
        self,
        states: Sequence[Any],
        books: NDArray[np.int64],
        own_lots: NDArray[np.int64],
        rngs: Sequence[np.random.Generator],
    ) -> list[Order | None]:
        """One draw for each market; None where it is no order that can be."""
        v, ints = self.fitted, self._ints(states)
        out = np.empty((len(states), 6), np.int64)
        uniforms = np.stack([rng.random(DRAWS) for rng in rngs])
        if self._placed is not None:
            from marketsim.generators import device_heads

            device_heads.write_orders(
                self._placed, states, ints, books, own_lots, uniforms, v, self.temperature, out
            )
            return orders_of(out, books)
        flat, _, at = self._arrays
        write_orders(
            flat, at, self.shape, self._addresses(states), ints, books, own_lots,
            uniforms, v.unit_ticks, v.depth_edges, v.size_edges, v.size_values, v.offset_values,
            self.temperature, out,
        )  # fmt: skip
        return orders_of(out, books)

    @staticmethod
    def _addresses(states: Sequence[CausalState]) -> NDArray[np.int64]:
        for state in states:
            if not isinstance(state, CausalState):
                raise ModelError("state must be one of the CPU, was of a device: pack it there")
        return np.array([state.address for state in states], np.int64)

    @staticmethod
    def _ints(states: Sequence[Any]) -> NDArray[np.int64]:
        return np.stack([state.ints for state in states])

    def _observe(
        self, states: Sequence[Any], flows: Sequence[Flow], books: NDArray[np.int64]
    ) -> None:
        """Let the states read new events; ``books`` are those after the last of each."""
        v, ints = self.fitted, self._ints(states)
        starts = np.zeros(len(states) + 1, np.int64)
        np.cumsum([len(flow) for flow in flows], out=starts[1:])
        flow = flows[0] if len(flows) == 1 else np.concatenate(flows)
        if self._placed is not None:
            self._placed.observe(states, flow, starts, books, ints, v)
        else:
            flat, at, _ = self._arrays
            observe(
                flat, at, self.shape, flow, starts, books, ints, self._addresses(states),
                v.unit_ticks, v.depth_edges, v.size_edges, v.offset_edges, v.mean, v.deviation,
            )  # fmt: skip
        for state, row in zip(states, ints, strict=True):
            state.ints[:] = row

    def pack(self, state: "CausalState | DeviceState") -> dict[str, Any]:
        """A state as arrays, copies; the same wherever the model computes."""
        words = FLOW.itemsize // 8
        pending = state.pending.copy().view(np.int64).reshape(len(state.pending), words)
        return {"ints": state.ints.copy(), "floats": state.floats.copy(), "pending": pending}

    def unpack(self, packed: dict[str, Any]) -> "CausalState | DeviceState":
        """The inverse of :meth:`pack`.

        Raises
        ------
        ModelError
            If it is the state of a model of another size.
        """
        pending = np.array(packed["pending"], np.int64).reshape(-1, FLOW.itemsize // 8)
        ints = np.array(packed["ints"], np.int64)
        floats = np.array(packed["floats"], np.float32)
        wanted = (STATE_INTS, state_floats(self.shape[0], self.shape[1], self.shape[3]))
        if (ints.size, floats.size) != wanted:
            raise ModelError(
                f"state: must have {wanted[0]} integers and {wanted[1]} floats, had"
                f" {ints.size} and {floats.size}: it is of a model of another size"
            )
        return self._state(ints, floats, pending.view(FLOW).reshape(len(pending)))

    # -- learning --------------------------------------------------------------------------

    def network(self) -> Any:
        """A network of its size, as it is before training."""
        from marketsim.generators.causal import TokenModel

        return TokenModel(self.size)

    def task(self, flows: Sequence[Flow], valid: Sequence[Flow], vocabulary: Vocabulary) -> Any:
        """What the network is trained on."""
        from marketsim.generators.windows import TokenTask

        return TokenTask(flows, valid, vocabulary, self.shape[3])

    def head_parts(self, weights: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The heads' weights, as compiled code reads them."""
        return head_parts(weights)

    def shapes(self) -> Shapes:
        """Names and shapes of its weights."""
        return token_shapes(self.size)

    def fit(
        self,
        tapes: Sequence[Tape],
        *,
        valid: Sequence[Tape] = (),
        seed: int = 0,
        progress: FitProgress | None = None,
        training: "Training | None" = None,
        checkpoint: Path | None = None,
    ) -> Self:
        """See :meth:`OrderFlowGenerator.fit`.

        Raises
        ------
        DataError
            If a tape has fewer events than a window and two, or another tick than the others.
        ModelError
            If the checkpoint is another training's.
        """
        import torch

        from marketsim.generators.training import Training, train

        least = self.shape[3] + 2
        flows, tick_size = training_flows([*tapes, *valid] if tapes else [], least)
        flows, held_out = flows[: len(tapes)], flows[len(tapes) :]
        vocabulary = Vocabulary.fit([*flows, *(mirror(flow) for flow in flows)])
        task = self.task(flows, held_out, vocabulary)
        torch.manual_seed(seed)
        network = self.network()
        told = train(
            network, task, training or Training(), seed=seed, progress=progress,
            checkpoint=checkpoint,
        )  # fmt: skip
        self.vocabulary, self.tick_size = vocabulary, tick_size
        self.training = {"symbols": [tape.meta["symbol"] for tape in tapes], **told}
        self.set_weights({name: value.numpy() for name, value in network.state_dict().items()})
        return self

    # -- what it has learned ---------------------------------------------------------------

    @property
    def fitted(self) -> Vocabulary:
        """The bins that it was trained with.

        Raises
        ------
        ModelError
            If it has not been trained.
        """
        if self.vocabulary is None:
            raise ModelError("model trades: it has not been trained yet: fit it, or load one")
        return self.vocabulary

    @functools.cached_property
    def _arrays(self) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
        """Weights in one array, where the trunk's parts begin, and where the heads' do."""
        trunk = trunk_parts(self.weights, self.shape[0])
        flat, at = lay_out([*trunk, *self.head_parts(self.weights)])
        return flat, at[: len(trunk)], at[len(trunk) :]

    @functools.cached_property
    def _placed(self) -> "DeviceModel | None":
        """The network where torch is to compute; None where compiled code does."""
        if self._compiled:
            return None
        import torch

        from marketsim.generators.device import DeviceModel

        with torch.random.fork_rng(devices=[]):  # the weights that it begins with are not kept
            network = self.network()
        network.load_state_dict({k: torch.tensor(v) for k, v in self.weights.items()})
        return DeviceModel(network, self.shape, torch.device(self.device))

    def set_weights(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Take weights, by the names of the network's state dict."""
        self.weights = {name: np.asarray(value, np.float32) for name, value in weights.items()}
        for kept in ("_arrays", "_placed"):
            self.__dict__.pop(kept, None)

    def parameters(self) -> dict[str, Any]:
        """What makes another one like it."""
        own = {"architecture": self.architecture, "temperature": self.temperature}
        return own | asdict(self.size)

    def learned(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Weights, bins and the tick size of the training data."""
        bins = {f"bins.{name}": array for name, array in self.fitted.arrays().items()}
        return {**self.weights, **bins}, {"tick_size": self.tick_size, "training": self.training}

    def restore(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """The inverse of :meth:`learned`."""
        bins = {k.removeprefix("bins."): v for k, v in arrays.items() if k.startswith("bins.")}
        self.vocabulary = Vocabulary.of(bins)
        self.tick_size = positive("tick_size", values["tick_size"])
        self.training = dict(values["training"])
        weights = {k: v for k, v in arrays.items() if not k.startswith("bins.")}
        check_weights(weights, self.shapes())
        self.set_weights(weights)


def orders_of(out: NDArray[np.int64], books: NDArray[np.int64]) -> list[Order | None]:
    """Orders that compiled code has written, None for those that cannot be.

    Nor can one be that leaves a side of its book, int64[rows, 10, 4], without any order: no event
    that a model learned from does.
    """
    return [
        Order._make([*row[1:], 0, False]) if row[POSSIBLE] and not _empties(book, *row) else None
        for row, book in zip(out.tolist(), books, strict=True)
    ]


def _empties(
    book: NDArray[np.int64], _: int, kind: int, side: int, price_ticks: int, lots: int, delay: int
) -> bool:
    if kind == MARKET:
        return bool(lots >= book[:, 3 if side > 0 else 1].sum())
    own = 1 if side > 0 else 3
    return bool(kind == CANCEL and book[1, own] == 0 and lots >= book[0, own])
