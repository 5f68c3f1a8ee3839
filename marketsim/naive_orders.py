"""Orders and price levels of the naive book: what one order is, alone and in its queue."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from marketsim.codes import SelfTrade, Side

MAX_PRICE_TICKS = 2**60
MAX_SIZE_LOTS = 2**40
BUY, SELL = map(int, Side)
MARKET, IOC, FOK, POST_ONLY, HIDDEN, STOP, DAY = (1 << bit for bit in range(7))  # as in Flag
TAKING = MARKET | IOC | FOK
SELF_TRADE_BITS = 0x700
KNOWN_BITS = 0x77F


@dataclass(slots=True)
class Order:
    """One order. While it comes in or is pending, ``shown_lots`` holds all of its lots."""

    order_id: int
    side: int
    price_ticks: int
    shown_lots: int
    reserve_lots: int = 0
    display_lots: int = 0
    agent_id: int = -1
    flags: int = 0
    stop_ticks: int = 0
    arrival: int = 0

    @property
    def lots(self) -> int:
        """All lots that are left, shown and in reserve."""
        return self.shown_lots + self.reserve_lots

    @property
    def stop_key(self) -> tuple[int, int]:
        """Sorts the pending stops of a side: the first is triggered first."""
        return self.side * self.stop_ticks, self.arrival

    def crosses(self, price_ticks: int) -> bool:
        """Whether this order may trade at ``price_ticks``, seen from its side."""
        return bool(self.flags & MARKET) or self.side * (self.price_ticks - price_ticks) >= 0

    def prevents_trade_with(self, maker: "Order") -> bool:
        """Whether ``maker`` is of the same agent and this order's mode does not allow that."""
        return bool(self.flags & SELF_TRADE_BITS) and self.agent_id == maker.agent_id >= 0

    def refill(self) -> None:
        """Show the next part of an iceberg's reserve."""
        self.shown_lots = min(self.display_lots, self.reserve_lots)
        self.reserve_lots -= self.shown_lots


@dataclass(slots=True)
class Level:
    """All orders of one side at one price, in time order: first the visible, then the hidden."""

    price_ticks: int
    visible: OrderedDict[int, Order] = field(default_factory=OrderedDict)
    hidden: OrderedDict[int, Order] = field(default_factory=OrderedDict)

    def queue_of(self, order: Order) -> OrderedDict[int, Order]:
        """The queue in which ``order`` stands or would stand."""
        return self.hidden if order.flags & HIDDEN else self.visible

    def front(self) -> Order:
        """The order that is next in line."""
        return next(iter((self.visible or self.hidden).values()))

    @property
    def shown_lots(self) -> int:
        """Visible size of the level."""
        return sum(order.shown_lots for order in self.visible.values())


def combination_exists(flags: int, display_lots: int) -> bool:
    """Whether these flags may stand together."""
    post_only, hidden = flags & POST_ONLY, flags & HIDDEN
    takes = flags & TAKING
    return not (
        flags & ~KNOWN_BITS
        or flags & SELF_TRADE_BITS > SelfTrade.DECREMENT
        or (flags & (IOC | FOK | DAY)).bit_count() > 1
        or (post_only and (takes or flags & STOP))
        or (hidden and display_lots > 0)
        or (takes and (hidden or display_lots > 0))
    )


def broken_order(order: Order) -> Iterator[str]:
    """Say what a resting order may not be."""
    if order.shown_lots < 1 or order.reserve_lots < 0:
        yield f"sizes not positive: {order}"
    if order.shown_lots > (order.display_lots or order.shown_lots):
        yield f"iceberg shows more than its tip: {order}"
    if order.reserve_lots and (not order.display_lots or order.flags & HIDDEN):
        yield f"reserve without an iceberg: {order}"
    if order.flags & (TAKING | STOP):
        yield f"order rests that should have taken: {order}"
