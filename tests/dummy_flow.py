"""Tiny generators of order flow: enough to drive a world agent."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from marketsim.flow import Flow, Order, View
from marketsim.generators.base import FitProgress, OrderFlowGenerator
from marketsim.order_events import Event
from marketsim.tape import Tape


class DummyFlow(OrderFlowGenerator):
    """Limit orders near the touch, cancels at their prices, a market order now and then.

    The state counts the events that were seen, and is part of what is drawn, so that a state that
    is lost or shared shows.
    """

    name = "dummy"
    context = 5

    def __init__(self, mean_ns: int = 100_000_000, lots: int = 40) -> None:
        self.mean_ns, self.lots = mean_ns, lots
        self.asked: list[int] = []

    def fit(self, tapes: Sequence[Tape], *, valid: Sequence[Tape] = (), seed: int = 0,
            progress: FitProgress | None = None) -> Self:  # fmt: skip
        return self

    def start(self, flow: Flow) -> Any:
        return {"seen": len(flow), "last": int(flow["price_ticks"][-1])}

    def next_orders(
        self, states: Sequence[Any], views: Sequence[View], rngs: Sequence[np.random.Generator]
    ) -> list[Order]:
        self.asked.append(len(states))
        return [self._one(*one) for one in zip(states, views, rngs, strict=True)]

    def _one(self, state: Any, view: View, rng: np.random.Generator) -> Order:
        state["seen"] += len(view.flow)
        if len(view.flow):
            state["last"] = int(view.flow["price_ticks"][-1])
        draw = rng.random()
        kind = Event.LIMIT if draw < 0.52 else Event.CANCEL if draw < 0.95 else Event.MARKET
        side = 1 if rng.random() < 0.5 else -1
        column = 0 if side > 0 else 2
        levels = view.book[view.book[:, column + 1] > 0, column]
        depth = int(rng.geometric(0.4)) - 2
        best = int(levels[0]) if len(levels) else state["last"]
        price = best - side * depth
        if kind == Event.CANCEL and len(levels):
            price = int(levels[min(max(depth, 0), len(levels) - 1)])
        size = int(rng.integers(1, self.lots)) + state["seen"] % 3
        return Order(int(kind), side, price, size, int(rng.exponential(self.mean_ns)))

    def pack(self, state: Any) -> dict[str, Any]:
        return {"numbers": np.array([state["seen"], state["last"]])}

    def unpack(self, packed: dict[str, Any]) -> Any:
        seen, last = packed["numbers"].tolist()
        return {"seen": seen, "last": last}

    def parameters(self) -> dict[str, Any]:
        return {"mean_ns": self.mean_ns, "lots": self.lots}

    def learned(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        return {"nothing": np.zeros(1)}, {}

    def restore(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        return None


class Recording(DummyFlow):
    """Keeps all that it was shown and all that it wrote."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self.start_flow: Any = None
        self.views: list[View] = []
        self.written: list[Order] = []

    def start(self, flow: Any) -> Any:
        self.start_flow = flow
        return super().start(flow)

    def next_orders(
        self, states: Sequence[Any], views: Sequence[View], rngs: Sequence[np.random.Generator]
    ) -> list[Order]:
        orders = super().next_orders(states, views, rngs)
        self.views.extend(views)
        self.written.extend(orders)
        return orders


class Script(DummyFlow):
    """Writes what it is told, then limit orders of 7 lots far away, a second apart each."""

    context = 1

    def __init__(self, orders: Sequence[Order] = ()) -> None:
        super().__init__()
        self.orders = list(orders)
        self.at = 0

    def _one(self, state: Any, view: View, rng: np.random.Generator) -> Order:
        self.at += 1
        if self.at <= len(self.orders):
            return self.orders[self.at - 1]
        return Order(int(Event.LIMIT), 1, 1, 7, 1_000_000_000)
