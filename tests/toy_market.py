"""A market in a few lines for tests of generators: price levels, no agents, no engine."""

from typing import Any

import numpy as np

from marketsim.flow import FLOW, LEVELS, Flow, Order, View
from marketsim.generators.base import OrderFlowGenerator
from marketsim.order_events import Event


class ToyMarket:
    """Two books of price -> lots; all of it belongs to the generated flow.

    Attributes
    ----------
    now_ns : int
    refused : int, orders that could not be carried out.
    """

    def __init__(self, bids: dict[int, int], asks: dict[int, int], now_ns: int = 0) -> None:
        self.lots = {1: dict(bids), -1: dict(asks)}
        self.now_ns, self.refused = now_ns, 0

    def best_first(self, side: int) -> list[int]:
        return sorted(self.lots[side], reverse=side > 0)

    def book(self) -> Any:
        book = np.zeros((LEVELS, 4), np.int64)
        for place, side in ((0, 1), (2, -1)):
            for level, price in enumerate(self.best_first(side)[:LEVELS]):
                book[level, place : place + 2] = price, self.lots[side][price]
        return book

    def view(self, flow: Flow) -> View:
        book = self.book()
        return View(flow, book, np.ascontiguousarray(book[:, (1, 3)]), self.now_ns)

    def apply(self, order: Order) -> Flow:
        """Carry an order out at once; return what it was, FLOW[0], [1] or, if it crosses, [2].

        A cancel where nothing rests goes to the nearest level of its side.
        """
        self.now_ns += order.delay_ns
        before = self.book()
        done: list[tuple[Any, ...]] = []
        side, price, lots = order.side, order.price_ticks, order.size_lots
        if order.kind == Event.CANCEL:
            own = self.lots[side]
            price = min(own, key=lambda level: (abs(level - price), level), default=price)
            lots = self._take(side, price, lots)
            if lots:
                done.append((self.now_ns, order.kind, side, price, lots, before))
        else:
            traded, first = 0, 0
            for other in self.best_first(-side):
                if lots and (order.kind == Event.MARKET or side * (price - other) >= 0):
                    first = first or other
                    taken = self._take(-side, other, lots)
                    traded, lots = traded + taken, lots - taken
            if traded:
                done.append((self.now_ns, int(Event.MARKET), side, first, traded, before))
            if lots and order.kind == Event.LIMIT:
                self.lots[side][price] = self.lots[side].get(price, 0) + lots
                done.append((self.now_ns, order.kind, side, price, lots, before))
        self.refused += not done
        return np.array(done, FLOW)

    def _take(self, side: int, price: int, lots: int) -> int:
        taken = min(lots, self.lots[side].get(price, 0))
        if taken:
            self.lots[side][price] -= taken
            if not self.lots[side][price]:
                del self.lots[side][price]
        return taken


def play(
    generator: OrderFlowGenerator, market: ToyMarket, state: Any, orders: int, seed: int = 0
) -> Flow:
    """Let a generator write a market's next orders; the flow that they make."""
    rng = np.random.default_rng(seed)
    parts = [np.empty(0, FLOW)]
    for _ in range(orders):
        order = generator.next_order(state, market.view(parts[-1]), rng)
        parts.append(market.apply(order))
    return np.concatenate(parts)


def toy_start(levels: int = 10, lots: int = 100, mid: int = 1_000) -> ToyMarket:
    """A market with a level on each of the ticks around ``mid``."""
    steps = range(1, levels + 1)
    return ToyMarket({mid - k: lots for k in steps}, {mid + k: lots for k in steps})


def toy_flow(count: int, seed: int = 0) -> Flow:
    """A made-up flow from a toy market: each kind, on both sides, crossing now and then."""
    rng = np.random.default_rng(seed)
    market = toy_start()
    parts = []
    while sum(len(part) for part in parts) < count:
        kind = Event(int(rng.choice(3, p=[0.55, 0.35, 0.1])))
        side = int(rng.choice([1, -1]))
        own, other = market.best_first(side), market.best_first(-side)
        if kind == Event.LIMIT or len(own) < 3 or len(other) < 3:
            kind, price = Event.LIMIT, (other[0] if other else 1_000) - side * int(rng.integers(20))
        else:
            price = int(rng.choice(own[:12]))
        delay_ns = int(rng.exponential(1e8)) if rng.random() < 0.9 else 0
        lots = int(rng.choice([1, 10, 50, 100], p=[0.1, 0.2, 0.2, 0.5]))
        parts.append(market.apply(Order(int(kind), side, price, lots, delay_ns)))
    return np.concatenate(parts)[:count]
