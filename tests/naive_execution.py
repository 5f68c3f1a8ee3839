"""The execution task in plain Python: an agent like any other, moved by a list of actions."""

import math
from typing import Any

import numpy as np

from marketsim.agent import Agent, Fill, Handle, OrderUpdate
from marketsim.envs.execution import Execution

AT_MARKET = None


class NaiveExecution(Agent):
    """Does what :class:`Execution` does with these actions, and notes what it sees.

    ``seen``: observation, reward, whether it is over, and information after each step; the first
    entry is that of the reset.
    """

    def __init__(self, task: Execution, start_ns: int, actions: list[Any]) -> None:
        self.task, self.start_ns, self.actions = task, start_ns, actions
        self.latency_ns = task.latency_ns
        self.computation_delay_ns = task.computation_delay_ns
        self.side = 1 if task.side == "buy" else -1
        self.seen: list[tuple[list[float], float, bool, dict[str, float]]] = []
        self.filled = self.rejects = self.step = 0
        self.cash = self.worth = 0.0
        self.mids: list[float] = []
        self.order = self.order_lots = self.order_price = 0
        self.cancelling = False
        self.wish: tuple[int, int | None] = (0, 0)
        self.taker = self.taker_lots = 0
        self.spread = 0
        self.over, self.first = False, 0

    # -- what it does ---------------------------------------------------------------------------

    def on_start(self, market: Handle) -> None:
        market.wake_at(self.start_ns)

    def on_wakeup(self, market: Handle) -> None:
        self.look(market)
        if len(self.mids) > 1:
            self.step += 1
        self.note(market)
        if self.over or self.step == len(self.actions):
            self.over = True
            return
        self.act(market, self.actions[self.step])
        market.wake_after(self.task.interval_ns)

    def act(self, market: Handle, action: Any) -> None:
        free = self.task.quantity - self.filled - self.taker_lots
        bid, bid_lots, ask, ask_lots = market.touch()
        near, far = (bid, ask) if self.side > 0 else (ask, bid)
        near_lots, far_lots = (bid_lots, ask_lots) if self.side > 0 else (ask_lots, bid_lots)
        if self.task.actions == "discrete":
            lots = min(self.task.child_lots, free)
            if action == 0:
                self.want(market, lots, AT_MARKET)
            elif action == 1 and near_lots:
                stands = self.order_lots > 0 and not self.cancelling and self.order_price == near
                if not stands:
                    self.want(market, lots, near)
            return
        share, depth = (float(np.float32(value)) for value in action)
        lots = round(0.5 * (share + 1.0) * free)
        if depth < 0 and far_lots:
            near = near if near_lots else far
            price = round(near + depth * (near - far))
        elif near_lots:
            price = near - self.side * round(max(depth, 0.0) * self.task.max_depth_ticks)
        else:
            lots, price = 0, 1
        if lots == 0 or price < 1:
            self.take_back(market)
        else:
            self.want(market, lots, price)

    def want(self, market: Handle, lots: int, price: int | None) -> None:
        stands = self.order_lots > 0 and not self.cancelling
        if stands and lots == self.order_lots and price == self.order_price:
            self.wish = (0, 0)
            return
        self.cancel(market)
        self.wish = (lots, price)
        self.send_wish(market)

    def take_back(self, market: Handle) -> None:
        self.wish = (0, 0)
        self.cancel(market)

    def cancel(self, market: Handle) -> None:
        if self.order_lots > 0 and not self.cancelling:
            self.cancelling = True
            market.cancel(self.order)

    def send_wish(self, market: Handle) -> None:
        lots, price = self.wish
        if not lots or self.order_lots > 0 or (price is AT_MARKET and self.taker_lots > 0):
            return
        self.wish = (0, 0)
        lots = min(lots, self.task.quantity - self.filled - self.taker_lots)
        if lots <= 0:
            return
        if price is AT_MARKET:
            self.taker, self.taker_lots = market.order(self.side, lots), lots
        else:
            self.order = market.order(self.side, lots, price)
            self.order_lots, self.order_price = lots, price

    def on_fill(self, market: Handle, fill: Fill) -> None:
        assert fill.side == self.side
        self.filled += fill.size_lots
        self.cash -= fill.side * fill.size_lots * fill.price_ticks + fill.fee_ticks
        self.gone(market, fill.order_id, fill.size_lots)

    def on_order(self, market: Handle, update: OrderUpdate) -> None:
        if update.status == "cancelled":
            self.gone(market, update.order_id, update.size_lots)
        elif update.status == "rejected":
            self.rejects += 1
            self.gone(market, update.order_id, 1 << 40)

    def gone(self, market: Handle, order_id: int, lots: int) -> None:
        if self.taker_lots > 0 and order_id == self.taker:
            self.taker_lots = max(self.taker_lots - lots, 0)
        elif self.order_lots > 0 and order_id == self.order:
            self.order_lots = max(self.order_lots - lots, 0)
            self.cancelling = self.cancelling and self.order_lots > 0
        self.send_wish(market)

    # -- what it sees ---------------------------------------------------------------------------

    def look(self, market: Handle) -> None:
        bid, bid_lots, ask, ask_lots = market.touch()
        if bid_lots and ask_lots:
            self.mids.append((bid + ask) / 2)
            self.spread = ask - bid
        else:
            self.mids.append(self.mids[-1])

    def note(self, market: Handle) -> None:
        task, mids, quantity = self.task, self.mids, self.task.quantity
        left = quantity - self.filled
        over = self.step >= task.steps or left == 0
        price = self.benchmark(market)
        gain = self.cash + price * self.side * self.filled
        if over and self.step > 0 and left:
            gain += self.side * price * left - self.side * self.cost_of(market, left)
            gain -= 1e-4 * task.unfilled_bps * mids[0] * left
        reward = self.bps(gain - self.worth) / quantity
        self.worth = gain
        bids, asks = market.depth(4000)
        past = [mids[max(len(mids) - 1 - back, 0)] for back in range(4)]
        scale = task.price_scale_bps
        observation = [
            2 * left / quantity - 1,
            2 * self.step / task.steps - 1,
            left / quantity - (1 - self.step / task.steps),
            tilt(bids[:, 1], asks[:, 1]),
            tilt(bids[:5, 1], asks[:5, 1]),
            math.tanh(self.bps(self.spread) / scale),
            *(math.tanh(self.bps(past[i] - past[i + 1]) / scale) for i in range(3)),
            math.tanh(self.bps(self.side * (mids[-1] - mids[0])) / scale),
            self.order_lots / quantity,
        ]
        info = {
            "time_ns": market.now_ns, "filled_lots": self.filled, "remaining_lots": left,
            "mid_ticks": mids[-1], "arrival_ticks": mids[0], "benchmark_ticks": price,
            "average_price_ticks": -self.cash / (self.side * self.filled) if self.filled else 0.0,
            "shortfall_bps": -self.bps(gain) / quantity, "rejects": self.rejects,
        }  # fmt: skip
        self.over = over
        self.seen.append((observation, reward, over, info))

    def benchmark(self, market: Handle) -> float:
        if self.task.benchmark == "twap" and self.step > 0:
            return float(np.mean(self.mids[1:]))
        if self.task.benchmark == "vwap":
            trades = market._simulation.tape.trades
            self.first = len(trades["time_ns"]) if self.step == 0 else self.first
            return volume_weighted(trades, self.first, self.mids[0])
        return self.mids[0]

    def cost_of(self, market: Handle, lots: int) -> float:
        levels = market.depth(4000)[1 if self.side > 0 else 0]
        levels = levels[levels[:, 1] > 0].tolist()
        if not levels:
            return lots * self.mids[-1]
        cost, left = 0.0, lots
        for price, size in levels:
            taken = min(size, left)
            cost, left, worst = cost + taken * price, left - taken, price
            if left == 0:
                return cost
        slope = (worst - levels[0][0]) / (lots - left)
        return cost + left * (worst + slope * left / 2)

    def bps(self, ticks: float) -> float:
        return 1e4 * ticks / self.mids[0]


def volume_weighted(trades: Any, first: int, otherwise: float) -> float:
    """Mean price of all trades from one on."""
    lots = trades["size_lots"][first:].astype(float)
    return float(lots @ trades["price_ticks"][first:] / lots.sum()) if lots.sum() else otherwise


def tilt(bids: Any, asks: Any) -> float:
    """(bids - asks) / (bids + asks) of visible lots."""
    both = int(bids.sum() + asks.sum())
    return float(bids.sum() - asks.sum()) / both if both else 0.0
