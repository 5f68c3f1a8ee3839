"""What every learning agent does, in plain Python: an agent like any other, moved by a list."""

from dataclasses import dataclass
from typing import Any

from marketsim.agent import Agent, Fill, Handle, OrderUpdate
from marketsim.codes import Reject
from marketsim.envs.task import Task

AT_MARKET = None
Seen = tuple[list[float], float, bool, bool, dict[str, float]]


@dataclass
class Slot:
    """The order on one side, and the one that is wished for there."""

    order: int = -1
    lots: int = 0
    price: int | None = 0
    cancelling: bool = False
    wish_lots: int = 0
    wish_price: int | None = 0
    closing: bool = False


class NaiveLearner(Agent):
    """Takes these actions, and notes what it sees: of the reset, then of each step.

    A task says how to ``act``, what it ``sees`` – observation, reward, terminated, truncated,
    information – and its ``budget`` and largest position.
    """

    wants_acceptances = False  # each message draws from the latency's stream
    most = 1 << 60

    def __init__(self, task: Any, start_ns: int, actions: list[Any]) -> None:
        assert isinstance(task, Task)
        self.task: Any = task
        self.start_ns, self.actions = start_ns, actions
        self.latency_ns = task.latency_ns
        self.computation_delay_ns = task.computation_delay_ns
        self.seen: list[Seen] = []
        self.mids: list[float] = []
        self.slots = {1: Slot(), -1: Slot()}
        self.taker = self.taker_lots = self.taker_side = 0
        self.position = self.spread = self.step = self.fills = self.rejects = 0
        self.cash = self.fees = 0.0

    def act(self, market: Handle, action: Any) -> None:
        raise NotImplementedError

    def sees(self, market: Handle) -> Seen:
        raise NotImplementedError

    def budget(self) -> int:
        return 1 << 60

    # -- its life -------------------------------------------------------------------------------

    def on_start(self, market: Handle) -> None:
        symbol = market._simulation.symbol_configs[0]
        self.tick, self.lot = symbol.price_increment_ticks, symbol.size_increment_lots
        market.wake_at(self.start_ns)

    def on_wakeup(self, market: Handle) -> None:
        bid, bid_lots, ask, ask_lots = market.touch()
        if bid_lots and ask_lots:
            self.mids.append((bid + ask) / 2)
            self.spread = ask - bid
        else:
            self.mids.append(self.mids[-1])
        self.step = len(self.mids) - 1
        self.seen.append(self.sees(market))
        over = self.seen[-1][2] or self.seen[-1][3]
        if not over and self.step < len(self.actions):
            self.act(market, self.actions[self.step])
            market.wake_after(self.task.interval_ns)

    def on_fill(self, market: Handle, fill: Fill) -> None:
        self.fills += 1
        self.position += fill.side * fill.size_lots
        self.cash -= fill.side * fill.size_lots * fill.price_ticks
        self.fees += fill.fee_ticks
        self.gone(market, fill.order_id, fill.size_lots)

    def on_order(self, market: Handle, update: OrderUpdate) -> None:
        if update.status == "cancelled":
            self.gone(market, update.order_id, update.size_lots)
        elif update.status == "rejected":
            self.rejects += 1
            self.gone(market, update.order_id, 1 << 40)
        elif update.status == "change_rejected":
            for side, slot in self.slots.items():
                if slot.lots > 0 and slot.order == update.order_id:
                    slot.cancelling = False
                    if update.reason == Reject.UNKNOWN_ORDER:
                        self.cancel(market, side)

    def gone(self, market: Handle, order_id: int, lots: int) -> None:
        if self.taker_lots > 0 and order_id == self.taker:
            self.taker_lots = max(self.taker_lots - lots, 0)
        for slot in self.slots.values():
            if slot.lots > 0 and slot.order == order_id:
                slot.lots = max(slot.lots - lots, 0)
                slot.cancelling = slot.cancelling and slot.lots > 0
        self.send_wishes(market)

    # -- what it wants --------------------------------------------------------------------------

    def free(self, side: int) -> int:
        room = self.most - side * self.position
        if self.taker_side == side:
            room -= self.taker_lots
        return min(self.budget() - self.taker_lots, room)

    def whole(self, lots: int) -> int:
        return max(lots, 0) // self.lot * self.lot

    def want(self, market: Handle, side: int, lots: int, price: int | None) -> None:
        slot = self.slots[side]
        if 0 < lots == slot.lots and price == slot.price and not slot.cancelling:
            slot.wish_lots = 0
            return
        slot.wish_lots, slot.wish_price, slot.closing = lots, price, False
        self.cancel(market, side)
        self.send_wish(market, side)

    def close_position(self, market: Handle) -> None:
        side = -1 if self.position > 0 else 1
        self.take_back(market, -side)
        self.want(market, side, abs(self.position), AT_MARKET)
        self.slots[side].closing = True

    def take_back(self, market: Handle, side: int) -> None:
        self.slots[side].wish_lots = 0
        self.cancel(market, side)

    def cancel(self, market: Handle, side: int) -> None:
        slot = self.slots[side]
        if slot.lots > 0 and not slot.cancelling:
            slot.cancelling = True
            market.cancel(slot.order)

    def send_wishes(self, market: Handle) -> None:
        for side in (1, -1):
            self.send_wish(market, side)

    def send_wish(self, market: Handle, side: int) -> None:
        slot, other = self.slots[side], self.slots[-side]
        if slot.wish_lots == 0 or slot.lots > 0:
            return
        if slot.wish_price is AT_MARKET:
            if self.taker_lots > 0 or other.lots > 0:
                return
        else:
            if self.taker_lots > 0 and self.taker_side != side:
                return
            if other.lots > 0 and side * slot.wish_price >= side * other.price:
                return
        lots = -side * self.position if slot.closing else slot.wish_lots
        lots = self.whole(min(lots, self.free(side)))
        slot.wish_lots = 0
        if lots == 0:
            return
        if slot.wish_price is AT_MARKET:
            self.taker, self.taker_lots = market.order(side, lots), lots
            self.taker_side = side
        else:
            slot.order = market.order(side, lots, slot.wish_price)
            slot.lots, slot.price = lots, slot.wish_price

    # -- what it sees ---------------------------------------------------------------------------

    def past_mids(self) -> list[float]:
        """Now, then one to three steps ago; before the start, the first."""
        return [self.mids[max(self.step - back, 0)] for back in range(4)]

    def bps(self, ticks: float) -> float:
        return 1e4 * ticks / self.mids[0]


def tilts(market: Handle) -> list[float]:
    """(bids - asks) / (bids + asks) of visible lots: all levels, then five."""
    bids, asks = market.depth(4000)
    return [tilt(bids[:, 1], asks[:, 1]), tilt(bids[:5, 1], asks[:5, 1])]


def tilt(bids: Any, asks: Any) -> float:
    both = int(bids.sum() + asks.sum())
    return float(bids.sum() - asks.sum()) / both if both else 0.0
