"""The investor's task in plain Python: an agent like any other, moved by a list of actions."""

import math
from typing import Any

from naive_learner import AT_MARKET, NaiveLearner, Seen, tilts

from marketsim.agent import Handle
from marketsim.envs.investor import Investor


class NaiveInvestor(NaiveLearner):
    """Does what :class:`Investor` does with these actions, and notes what it sees."""

    def __init__(self, task: Investor, start_ns: int, actions: list[Any]) -> None:
        super().__init__(task, start_ns, actions)
        self.most = task.max_position
        self.worth = 0.0

    def act(self, market: Handle, action: Any) -> None:
        side = 1 - action
        if side != 0:
            self.take_back(market, -side)
            lots = self.whole(min(self.task.order_size, self.free(side)))
            self.want(market, side, lots, AT_MARKET)

    def sees(self, market: Handle) -> Seen:
        task, scale, past = self.task, self.task.price_scale_bps, self.past_mids()
        gain = self.cash - self.fees + self.position * past[0]
        reward = self.bps(gain - self.worth) / task.order_size
        self.worth = gain
        wealth = task.starting_cash_ticks + gain
        ruined = wealth < task.done_ratio * task.starting_cash_ticks
        last = market.last_price
        observation = [
            self.position / task.max_position,
            2 * self.step / task.steps - 1,
            *tilts(market),
            math.tanh(self.bps(self.spread) / scale),
            math.tanh(self.bps(last - past[0]) / scale) if last else 0.0,
            *(math.tanh(self.bps(past[i] - past[i + 1]) / scale) for i in range(3)),
        ]
        info = {
            "time_ns": market.now_ns, "position_lots": self.position, "wealth_ticks": wealth,
            "mid_ticks": past[0], "trades": self.fills, "rejects": self.rejects,
        }  # fmt: skip
        over = self.step >= task.steps and not ruined
        return observation, reward, ruined, over, info
