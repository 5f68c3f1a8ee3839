"""The execution task in plain Python: an agent like any other, moved by a list of actions."""

import math
from typing import Any

import numpy as np
from naive_learner import AT_MARKET, NaiveLearner, Seen, tilts

from marketsim.agent import Handle
from marketsim.envs.execution import Execution


class NaiveExecution(NaiveLearner):
    """Does what :class:`Execution` does with these actions, and notes what it sees."""

    def __init__(self, task: Execution, start_ns: int, actions: list[Any]) -> None:
        super().__init__(task, start_ns, actions)
        self.side = 1 if task.side == "buy" else -1
        self.worth, self.first = 0.0, 0

    @property
    def filled(self) -> int:
        return self.side * self.position

    def budget(self) -> int:
        return int(self.task.quantity) - self.filled

    def act(self, market: Handle, action: Any) -> None:
        side, slot = self.side, self.slots[self.side]
        free = self.free(side)
        bid, bid_lots, ask, ask_lots = market.touch()
        near, far = (bid, ask) if self.side > 0 else (ask, bid)
        near_lots, far_lots = (bid_lots, ask_lots) if self.side > 0 else (ask_lots, bid_lots)
        if self.task.actions == "discrete":
            lots = min(self.task.child_lots, free)
            if action == 0:
                self.want(market, side, lots, AT_MARKET)
            elif action == 1 and near_lots:
                stands = slot.lots > 0 and not slot.cancelling and slot.price == near
                if not stands:
                    self.want(market, side, lots, near)
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
            self.take_back(market, side)
        else:
            self.want(market, side, lots, price)

    def sees(self, market: Handle) -> Seen:
        task, mids, quantity = self.task, self.mids, self.task.quantity
        left = quantity - self.filled
        over = self.step >= task.steps or left == 0
        price = self.benchmark(market)
        gain = self.cash - self.fees + price * self.side * self.filled
        if over and self.step > 0 and left:
            gain += self.side * price * left - self.side * self.cost_of(market, left)
            gain -= 1e-4 * task.unfilled_bps * mids[0] * left
        reward = self.bps(gain - self.worth) / quantity
        self.worth = gain
        past = self.past_mids()
        scale = task.price_scale_bps
        observation = [
            2 * left / quantity - 1,
            2 * self.step / task.steps - 1,
            left / quantity - (1 - self.step / task.steps),
            *tilts(market),
            math.tanh(self.bps(self.spread) / scale),
            *(math.tanh(self.bps(past[i] - past[i + 1]) / scale) for i in range(3)),
            math.tanh(self.bps(self.side * (mids[-1] - mids[0])) / scale),
            self.slots[self.side].lots / quantity,
        ]
        info = {
            "time_ns": market.now_ns, "filled_lots": self.filled, "remaining_lots": left,
            "mid_ticks": mids[-1], "arrival_ticks": mids[0], "benchmark_ticks": price,
            "average_price_ticks": (self.fees - self.cash) / self.position if self.filled else 0.0,
            "shortfall_bps": -self.bps(gain) / quantity, "rejects": self.rejects,
        }  # fmt: skip
        return observation, reward, over, False, info

    def benchmark(self, market: Handle) -> float:
        if self.task.benchmark == "twap" and self.step > 0:
            return float(np.mean(self.mids[1:]))
        if self.task.benchmark == "vwap":
            simulation = market._simulation
            record = simulation._market.view("agents")[market.agent_id]
            trades, known_ns = simulation.tape.trades, market.now_ns - record["latency_ns"]
            known = int(np.searchsorted(trades["time_ns"], known_ns, side="right"))
            self.first = known if self.step == 0 else self.first
            return volume_weighted(trades, self.first, known, self.mids[0])
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


def volume_weighted(trades: Any, first: int, end: int, otherwise: float) -> float:
    """Mean price of the trades from one to before another."""
    lots, prices = (trades[name][first:end] for name in ("size_lots", "price_ticks"))
    return float(lots.astype(float) @ prices / lots.sum()) if lots.sum() else otherwise
