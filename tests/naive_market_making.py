"""The market-making task in plain Python: an agent like any other, moved by a list of actions."""

import math
from typing import Any

import numpy as np
from naive_learner import NaiveLearner, Seen, tilts

from marketsim.agent import Handle
from marketsim.envs.market_making import MarketMaking
from marketsim.tape import Tape

#: Ask and bid of the nine actions, in mean half-spreads.
THETA = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (1, 3), (3, 1), (2, 5), (5, 2)]
SIGNED_VOLUME = 9


class NaiveMarketMaking(NaiveLearner):
    """Does what :class:`MarketMaking` does with these actions, and notes what it sees.

    Of the volume it does not know who bought: :meth:`complete` says it afterwards.
    """

    def __init__(self, task: MarketMaking, start_ns: int, actions: list[Any]) -> None:
        super().__init__(task, start_ns, actions)
        self.most = task.max_inventory
        self.half_spread = self.volatility = self.carried = self.worth = 0.0
        self.held = 0
        self.known_ns: list[int] = []
        self.trades: list[int] = []

    def act(self, market: Handle, action: Any) -> None:
        if self.task.actions == "discrete":
            if action == len(THETA):
                self.close_position(market)
                return
            ask_theta, bid_theta = THETA[action]
            offsets = bid_theta * self.half_spread, ask_theta * self.half_spread
            sizes = [self.task.quote_size] * 2
        else:
            shares = [0.5 * (float(np.float32(value)) + 1.0) for value in action]
            offsets = shares[0] * self.task.max_offset_ticks, shares[1] * self.task.max_offset_ticks
            sizes = [round(share * self.task.quote_size) for share in shares[2:]]
        bid = self.nearest(self.mids[-1] - offsets[0], "bid")
        ask = self.nearest(self.mids[-1] + offsets[1], "ask")
        bid_lots, ask_lots = (
            self.whole(min(lots, self.free(side)))
            for lots, side in zip(sizes, (1, -1), strict=True)
        )
        if bid == ask and bid_lots and ask_lots:
            bid, ask = bid - self.tick, ask + self.tick
        self.want(market, 1, bid_lots if bid > 0 else 0, bid)
        self.want(market, -1, ask_lots if ask > 0 else 0, ask)

    def nearest(self, price: float, side: str) -> int:
        steps = price / self.tick
        away = math.floor(steps + 0.5) if side == "ask" else math.ceil(steps - 0.5)
        return away * self.tick

    def sees(self, market: Handle) -> Seen:
        task, scale = self.task, self.task.price_scale_bps
        past = self.past_mids()
        weight = 2 / (task.average_steps + 1)
        half_spread = max(self.spread / 2, 0.5)
        change = past[0] - past[1]
        if self.step == 0:
            self.half_spread = half_spread
        else:
            self.half_spread += weight * (half_spread - self.half_spread)
            self.volatility += weight * (abs(change) - self.volatility)
        over = self.step >= task.steps
        carried = self.held * change
        self.carried += carried
        worth = self.cash - self.fees + self.position * past[0]
        gain = worth - self.worth
        if task.reward == "damped":
            gain -= max(0.0, task.damping * carried)
        penalty = task.running_penalty + over * task.terminal_penalty
        reward = gain / task.quote_size - penalty * (self.position / task.quote_size) ** 2
        self.held, self.worth = self.position, worth
        latency_ns = market._simulation._market.view("agents")[market.agent_id]["latency_ns"]
        self.known_ns.append(market.now_ns - int(latency_ns))
        self.trades.append(int(market._simulation._market.view("books")[0]["trades"]))
        bid, ask = self.slots[1], self.slots[-1]
        observation = [
            self.position / task.max_inventory,
            2 * self.step / task.steps - 1,
            math.tanh(self.bps(self.spread) / scale),
            math.tanh(self.bps(self.half_spread) / scale),
            *tilts(market),
            *(math.tanh(self.bps(past[i] - past[i + 1]) / scale) for i in range(3)),
            0.0,
            math.tanh(self.bps(self.volatility) / scale),
            math.tanh(self.bps(past[0] - bid.price) / scale) if bid.lots else 0.0,
            math.tanh(self.bps(ask.price - past[0]) / scale) if ask.lots else 0.0,
            bid.lots / task.quote_size,
            ask.lots / task.quote_size,
        ]
        info = {
            "time_ns": market.now_ns, "inventory_lots": self.position, "mid_ticks": past[0],
            "pnl_ticks": worth, "spread_earned_ticks": worth - self.carried,
            "inventory_pnl_ticks": self.carried, "fills": self.fills, "rejects": self.rejects,
            "bid_quote_ticks": bid.price if bid.lots else 0,
            "ask_quote_ticks": ask.price if ask.lots else 0,
        }  # fmt: skip
        return observation, reward if self.step else 0.0, over, False, info

    def complete(self, tape: Tape) -> None:
        """Write what aggressors bought less what they sold into the observations."""
        lots = np.concatenate([[0], np.cumsum(tape.trades["side"] * tape.trades["size_lots"])])
        rows = np.searchsorted(tape.trades["time_ns"], self.known_ns, side="right")
        rows = np.minimum(rows, self.trades)  # without latency, what follows in the same instant
        for step in range(1, len(self.seen)):
            signed = int(lots[rows[step]] - lots[rows[step - 1]])
            self.seen[step][0][SIGNED_VOLUME] = math.tanh(signed / self.task.quote_size)
