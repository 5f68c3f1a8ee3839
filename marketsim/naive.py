"""The order book in plain Python: the readable specification of :class:`marketsim.book.Book`.

Both books have the same interface and, after every operation, the same ``digest``. This one is
written to be believed by reading; the tests drive both with the same operations.
"""

from collections import deque
from collections.abc import Callable, Iterator
from copy import copy
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sortedcontainers import SortedDict

from marketsim.codes import OrderKind, Outcome, Reject, SelfTrade
from marketsim.errors import StateError
from marketsim.naive_orders import (
    BUY,
    FOK,
    MARKET,
    MAX_PRICE_TICKS,
    MAX_SIZE_LOTS,
    POST_ONLY,
    SELF_TRADE_BITS,
    SELL,
    STOP,
    TAKING,
    Level,
    Order,
    broken_order,
    combination_exists,
)


class NaiveBook:
    """Limit order book with price-time priority: market by order, integer ticks and lots.

    Every method returns the lots filled (``limit``, ``market``, ``submit``, ``replace``), the lots
    removed (``cancel``, ``reduce``), or minus a :class:`~marketsim.codes.Reject`.
    """

    def __init__(self) -> None:
        # Keys of levels are -side * price, of stops (side * stop, arrival): the first comes first.
        self._levels: dict[int, Any] = {BUY: SortedDict(), SELL: SortedDict()}
        self._stops: dict[int, Any] = {BUY: SortedDict(), SELL: SortedDict()}
        self._resting: dict[int, Order] = {}
        self._pending: dict[int, Order] = {}
        self._arrivals = 0
        self._outcomes: list[tuple[int, ...]] = []
        self.last_price: int | None = None
        self.trades = 0
        self.volume = 0
        self.notional = 0

    def limit(self, order_id: int, side: int, price_ticks: int, size_lots: int) -> int:
        """Plain limit order that rests until cancelled."""
        return self.submit(order_id, side, size_lots, price_ticks=price_ticks)

    def market(self, order_id: int, side: int, size_lots: int) -> int:
        """Plain market order; what finds no counterpart is dropped."""
        return self.submit(order_id, side, size_lots, flags=MARKET)

    def submit(
        self,
        order_id: int,
        side: int,
        size_lots: int,
        *,
        price_ticks: int = 0,
        stop_ticks: int = 0,
        display_lots: int = 0,
        agent_id: int = -1,
        flags: int = 0,
    ) -> int:
        """Any order; ``flags`` is a ``Flag`` combined with a ``SelfTrade`` mode."""
        flags = int(flags)
        price_ticks = 0 if flags & MARKET else price_ticks
        if not 1 <= size_lots <= MAX_SIZE_LOTS or not 0 <= display_lots <= size_lots:
            return -Reject.SIZE
        if side not in (BUY, SELL) or not combination_exists(flags, display_lots):
            return -Reject.FLAGS
        if max(abs(price_ticks), abs(stop_ticks)) > MAX_PRICE_TICKS:
            return -Reject.PRICE
        if order_id in self._resting or order_id in self._pending:
            return -Reject.DUPLICATE_ID
        display = 0 if display_lots == size_lots else display_lots
        order = Order(
            order_id, side, price_ticks, size_lots, 0, display, agent_id, flags, stop_ticks
        )
        if flags & STOP:
            if not self._triggered(order):
                self._wait(order)
                return 0
            self._trigger(order)
        result = self._enter(order)
        self._trigger_stops()
        return result

    def cancel(self, order_id: int) -> int:
        """Take a resting order or pending stop out."""
        if order_id in self._pending:
            return self._unwait(order_id).lots
        if order_id not in self._resting:
            return -Reject.UNKNOWN_ORDER
        return self._remove(self._resting[order_id])

    def reduce(self, order_id: int, size_lots: int) -> int:
        """Take lots off an order, from the reserve first; it keeps its place."""
        if not 1 <= size_lots <= MAX_SIZE_LOTS:
            return -Reject.SIZE
        order = self._pending.get(order_id) or self._resting.get(order_id)
        if order is None:
            return -Reject.UNKNOWN_ORDER
        if size_lots >= order.lots:
            return self.cancel(order_id)
        from_reserve = min(size_lots, order.reserve_lots)
        order.reserve_lots -= from_reserve
        order.shown_lots -= size_lots - from_reserve
        return size_lots

    def replace(self, order_id: int, price_ticks: int, size_lots: int) -> int:
        """Change price and size; the place is kept only if the price stays and the size falls."""
        if not 1 <= size_lots <= MAX_SIZE_LOTS:
            return -Reject.SIZE
        if abs(price_ticks) > MAX_PRICE_TICKS:
            return -Reject.PRICE
        if order_id in self._pending:
            return -Reject.FLAGS
        if order_id not in self._resting:
            return -Reject.UNKNOWN_ORDER
        old = self._resting[order_id]
        if price_ticks == old.price_ticks and size_lots <= old.lots:
            if size_lots < old.lots:
                self.reduce(order_id, old.lots - size_lots)
            return 0
        new = copy(old)
        new.price_ticks, new.shown_lots, new.reserve_lots = price_ticks, size_lots, 0
        new.display_lots = min(old.display_lots, size_lots)
        if new.flags & POST_ONLY and self._maker(new):
            return -Reject.WOULD_TAKE
        self._remove(old)
        result = self._enter(new)
        self._trigger_stops()
        return result

    def apply(
        self,
        kind: ArrayLike,
        order_id: ArrayLike,
        side: ArrayLike,
        price_ticks: ArrayLike,
        size_lots: ArrayLike,
    ) -> NDArray[np.int64]:
        """One operation per row (``OrderKind``); result : int64[n], one per row."""
        operations: dict[int, Callable[[int, int, int, int], int]] = {
            OrderKind.LIMIT: self.limit,
            OrderKind.MARKET: lambda order, side, price, size: self.market(order, side, size),
            OrderKind.CANCEL: lambda order, side, price, size: self.cancel(order),
            OrderKind.REDUCE: lambda order, side, price, size: self.reduce(order, size),
            OrderKind.REPLACE: lambda order, side, price, size: self.replace(order, price, size),
        }
        columns = (np.asarray(c).tolist() for c in (kind, order_id, side, price_ticks, size_lots))
        rows = zip(*columns, strict=True)
        return np.array([operations[kind](*rest) for kind, *rest in rows], dtype=np.int64)

    def _enter(self, order: Order) -> int:
        """Match an accepted order and let the rest of it rest."""
        if order.flags & POST_ONLY and self._maker(order):
            return -Reject.WOULD_TAKE
        if order.flags & FOK and not self._fillable(order):
            return -Reject.NOT_FILLABLE
        filled = self._match(order)
        if order.shown_lots and order.flags & TAKING:
            self._drop(order)
        elif order.shown_lots:
            self._rest(order)
        return filled

    def _maker(self, taker: Order) -> Order | None:
        """The resting order that ``taker`` meets next, if their prices cross."""
        levels = self._levels[-taker.side]
        if not levels or not taker.crosses(levels.peekitem(0)[1].price_ticks):
            return None
        front: Order = levels.peekitem(0)[1].front()
        return front

    def _match(self, taker: Order) -> int:
        filled = 0
        while taker.shown_lots and (maker := self._maker(taker)):
            if taker.prevents_trade_with(maker):
                self._prevent_self_trade(taker, maker)
                continue
            lots = min(taker.shown_lots, maker.shown_lots)
            taker.shown_lots -= lots
            filled += lots
            self.last_price = maker.price_ticks
            self.trades += 1
            self.volume += lots
            self.notional += maker.price_ticks * lots
            self._note(Outcome.FILL, maker, taker, maker.price_ticks, lots)
            self._use_up(maker, lots)
        return filled

    def _use_up(self, maker: Order, lots: int) -> None:
        """Take lots off the shown part; an iceberg shows more, at the end of the queue."""
        maker.shown_lots -= lots
        if maker.shown_lots == 0 and maker.reserve_lots:
            maker.refill()
            self._level(maker).visible.move_to_end(maker.order_id)
        elif maker.shown_lots == 0:
            self._remove(maker)

    def _prevent_self_trade(self, taker: Order, maker: Order) -> None:
        mode, price = taker.flags & SELF_TRADE_BITS, maker.price_ticks
        if mode == SelfTrade.DECREMENT:
            lots = min(taker.shown_lots, maker.shown_lots)
            taker.shown_lots -= lots
            self._note(Outcome.DECREMENTED, maker, taker, price, lots)
            self._use_up(maker, lots)
        if mode in (SelfTrade.CANCEL_MAKER, SelfTrade.CANCEL_BOTH):
            self._note(Outcome.MAKER_CANCELLED, maker, taker, price, self._remove(maker))
        if mode in (SelfTrade.CANCEL_TAKER, SelfTrade.CANCEL_BOTH):
            self._note(Outcome.TAKER_CANCELLED, taker, maker, price, taker.shown_lots)
            taker.shown_lots = 0

    def _fillable(self, taker: Order) -> bool:
        """Whether matching would fill all of ``taker``: the same walk, on copies."""
        wanted = taker.shown_lots
        for level in self._levels[-taker.side].values():
            if not taker.crosses(level.price_ticks):
                break
            for queue in (level.visible, level.hidden):
                waiting = deque(copy(maker) for maker in queue.values())
                while waiting:
                    maker = waiting.popleft()
                    if taker.prevents_trade_with(maker):
                        if taker.flags & SELF_TRADE_BITS == SelfTrade.CANCEL_MAKER:
                            continue
                        return False
                    wanted -= maker.shown_lots
                    if wanted <= 0:
                        return True
                    if maker.reserve_lots:
                        maker.refill()
                        waiting.append(maker)
        return False

    def _level(self, order: Order) -> Level:
        level: Level = self._levels[order.side][-order.side * order.price_ticks]
        return level

    def _rest(self, order: Order) -> None:
        if order.display_lots:
            order.reserve_lots = order.shown_lots
            order.refill()
        key = -order.side * order.price_ticks
        if key not in self._levels[order.side]:
            self._levels[order.side][key] = Level(order.price_ticks)
        level = self._level(order)
        level.queue_of(order)[order.order_id] = order
        self._resting[order.order_id] = order

    def _remove(self, order: Order) -> int:
        """Take a resting order out of its queue; its lots."""
        level = self._level(order)
        del level.queue_of(order)[order.order_id]
        if not level.visible and not level.hidden:
            del self._levels[order.side][-order.side * order.price_ticks]
        del self._resting[order.order_id]
        return order.lots

    def _wait(self, stop: Order) -> None:
        self._arrivals += 1
        stop.arrival = self._arrivals
        self._stops[stop.side][stop.stop_key] = stop
        self._pending[stop.order_id] = stop

    def _unwait(self, order_id: int) -> Order:
        stop = self._pending.pop(order_id)
        del self._stops[stop.side][stop.stop_key]
        return stop

    def _triggered(self, stop: Order) -> bool:
        last = self.last_price
        return last is not None and stop.side * (last - stop.stop_ticks) >= 0

    def _trigger(self, stop: Order) -> None:
        stop.flags ^= STOP
        self._note(Outcome.TRIGGERED, stop, None, stop.stop_ticks, stop.lots)

    def _trigger_stops(self) -> None:
        """After each order: let stops in one by one, buys first, as long as one is triggered."""
        while stop := self._next_triggered():
            self._trigger(self._unwait(stop.order_id))
            if self._enter(stop) < 0:
                self._drop(stop)

    def _next_triggered(self) -> Order | None:
        firsts = (stops.peekitem(0)[1] for stops in self._stops.values() if stops)
        return next(filter(self._triggered, firsts), None)

    def _drop(self, order: Order) -> None:
        self._note(Outcome.DROPPED, order, None, order.price_ticks, order.shown_lots)

    def _note(
        self, outcome: Outcome, order: Order, other: Order | None, price: int, lots: int
    ) -> None:
        other_id, other_agent = (other.order_id, other.agent_id) if other else (0, -1)
        row = (outcome, order.order_id, other_id, price, lots, order.agent_id, other_agent)
        self._outcomes.append(tuple(map(int, row)))

    def outcomes(self) -> list[tuple[int, ...]]:
        """What happened since the last call, in order; it is then forgotten.

        Rows are (outcome, order id, other id, price [ticks], size [lots], agent, other agent).
        """
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def _visible(self, side: int) -> Iterator[Level]:
        return (level for level in self._levels[side].values() if level.visible)

    @property
    def best_bid(self) -> int | None:
        """Highest visible buy price [ticks]."""
        return next((level.price_ticks for level in self._visible(BUY)), None)

    @property
    def best_ask(self) -> int | None:
        """Lowest visible sell price [ticks]."""
        return next((level.price_ticks for level in self._visible(SELL)), None)

    def depth(self, levels: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Bids and asks, each int64[levels, 2]: price [ticks], visible lots; empty: 0, 0."""
        bids, asks = np.zeros((2, levels, 2), dtype=np.int64)
        for side, rows in ((BUY, bids), (SELL, asks)):
            for row, level in zip(rows, self._visible(side), strict=False):
                row[:] = level.price_ticks, level.shown_lots
        return bids, asks

    @property
    def order_count(self) -> int:
        """Live orders, pending stops among them."""
        return len(self._resting) + len(self._pending)

    @property
    def live_lots(self) -> int:
        """Lots resting in the ladder, hidden ones and reserves among them."""
        return sum(order.lots for order in self._resting.values())

    def digest(self) -> int:
        """64-bit fingerprint of the whole state."""
        value = 0
        for word in self._words():
            value = ((value ^ (word % 2**64)) * 0x9E3779B97F4A7C15) % 2**64
            value ^= value >> 32
        return value

    def _words(self) -> Iterator[int]:
        """The state as a sequence of integers."""
        for side, end in ((BUY, -3), (SELL, -4)):
            for level in self._levels[side].values():
                yield level.price_ticks
                for queue, queue_end in ((level.visible, -1), (level.hidden, -2)):
                    for o in queue.values():
                        yield from (o.order_id, o.shown_lots, o.reserve_lots, o.display_lots)
                        yield from (o.agent_id, o.flags)
                    yield queue_end
            yield end
        for side, end in ((BUY, -5), (SELL, -6)):
            for o in self._stops[side].values():
                yield from (o.order_id, o.stop_ticks, o.price_ticks, o.shown_lots)
                yield from (o.display_lots, o.agent_id, o.flags)
            yield end
        yield from (int(self.last_price is not None), self.last_price or 0)
        yield from (self.trades, self.volume, self.notional)

    def validate(self) -> None:
        """Raise :class:`StateError` naming an invariant that does not hold."""
        for broken in chain(_broken_levels(self), _broken_stops(self)):
            raise StateError(f"book: {broken}")
        bids, asks = self._levels[BUY], self._levels[SELL]
        if bids and asks and -bids.keys()[0] >= asks.keys()[0]:
            raise StateError(f"book: crossed: {-bids.keys()[0]} is bid, {asks.keys()[0]} asked")
        if (self.last_price is None) != (self.trades == 0) or self.trades > self.volume:
            raise StateError(f"book: {self.trades} trades of {self.volume} lots")


def _broken_levels(book: NaiveBook) -> Iterator[str]:
    queued = 0
    for side, levels in book._levels.items():
        for key, level in levels.items():
            if key != -side * level.price_ticks or not (level.visible or level.hidden):
                yield f"level empty or not at its price: {level}"
            for order in chain(level.visible.values(), level.hidden.values()):
                queued += 1
                if (order.side, order.price_ticks) != (side, level.price_ticks):
                    yield f"order not at its side and price: {order}"
                if book._resting.get(order.order_id) is not order:
                    yield f"queued order not known by its id: {order}"
                if order.order_id not in level.queue_of(order):
                    yield f"hidden among visible orders, or the reverse: {order}"
                yield from broken_order(order)
    if queued != len(book._resting):
        yield f"{len(book._resting)} known orders, {queued} in queues"


def _broken_stops(book: NaiveBook) -> Iterator[str]:
    if len(book._pending) != sum(map(len, book._stops.values())):
        yield f"{len(book._pending)} known stops, but not as many waiting"
    for stop in book._pending.values():
        if book._stops[stop.side].get(stop.stop_key) is not stop:
            yield f"stop not at its stop price: {stop}"
        if not stop.flags & STOP or stop.shown_lots < 1 or stop.reserve_lots:
            yield f"stop not whole: {stop}"
        if stop.order_id in book._resting:
            yield f"stop also rests: {stop}"
        if book._triggered(stop):
            yield f"stop waits although triggered: {stop}"
