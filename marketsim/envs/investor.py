"""A daily investor: buys, holds or sells at the market, minute by minute.

References: Amrouni et al. (2021), "ABIDES-Gym: Gym environments for multi-agent discrete event
simulation and application to financial markets".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from marketsim import checks
from marketsim.compile import helper
from marketsim.envs.depth import put_imbalances
from marketsim.envs.learner import (
    ACTION,
    AT_MARKET,
    NO_LIMIT,
    OBSERVATION,
    REWARD,
    TERMINATED,
    TRUNCATED,
    basis_points,
    begin_episode,
    free_lots,
    holdings,
    learner,
    next_step,
    put,
    put_moves,
    squash,
    take_back,
    want,
    whole,
)
from marketsim.envs.market_env import MarketEnv
from marketsim.envs.market_vector import MarketVectorEnv
from marketsim.envs.task import Task
from marketsim.errors import ConfigError
from marketsim.market import header, number_at
from marketsim.population import WAKE, callback, columns, shared

if TYPE_CHECKING:
    from marketsim.market import Market

BUY, HOLD, SELL = 0, 1, 2
PARAMETERS = columns(size=int, most=int, steps=int, cash=float, least=float, scale=float)
parameters = shared(PARAMETERS)


@callback(WAKE)
def _begin(m, agent, row):
    """Start of an episode; returns whether there is a price."""
    p = parameters(m, agent)
    return 1 if begin_episode(m, agent, p.steps, NO_LIMIT, p.most) else 0


@callback(WAKE)
def _show(m, agent, row):
    """What there is to see now, without a step."""
    tell(m, agent, row)
    return 0


@callback(WAKE)
def _act(m, agent, row):
    p, choice = parameters(m, agent), int(number_at(row, ACTION).value)
    if choice != HOLD:
        side = 1 if choice == BUY else -1
        take_back(m, agent, -side)  # what waits for an answer is not sent any more
        lots = whole(m, agent, min(p.size, free_lots(m, agent, side)))
        want(m, agent, side, lots, AT_MARKET)
    return 0


@callback(WAKE)
def _observe(m, agent, row):
    p, me = parameters(m, agent), learner(m, agent)
    next_step(m, agent)
    held, cash = holdings(m, agent)
    gain = cash + held * me.mid
    tell(m, agent, row)
    put(row, REWARD, basis_points(m, agent, gain - me.worth) / p.size)
    me.worth = gain
    return 0


@helper
def tell(m, agent, row):
    """Write what there is to see and to tell, and whether the episode is over."""
    p, me = parameters(m, agent), learner(m, agent)
    held, cash = holdings(m, agent)
    wealth = p.cash + cash + held * me.mid
    ruined = wealth < p.least
    put(row, REWARD, 0.0)
    put(row, TERMINATED, 1.0 if ruined else 0.0)
    put(row, TRUNCATED, 1.0 if me.step >= me.steps and not ruined else 0.0)
    at = put(row, OBSERVATION, held / p.most)
    at = put(row, at, 2.0 * me.step / me.steps - 1.0)
    at = put_imbalances(m, agent, row, at)
    at = put(row, at, squash(basis_points(m, agent, me.spread) / p.scale))
    direction = me.last_ticks - me.mid if me.last_ticks > 0 else 0.0
    at = put(row, at, squash(basis_points(m, agent, direction) / p.scale))
    at = put_moves(m, agent, row, at, p.scale)
    at = put(row, at, header(m).now_ns)
    at = put(row, at, held)
    at = put(row, at, wealth)
    at = put(row, at, me.mid)
    at = put(row, at, me.fills)
    put(row, at, me.rejects)


@dataclass(frozen=True)
class Investor(Task):
    """Buy, hold or sell at intervals of a day.

    Parameters
    ----------
    order_size : lots of a market order: action 0 buys, 1 holds, 2 sells.
    max_position : largest position on either side [lots]; an order is cut to what is left of it.
    starting_cash_ticks : wealth at the start [tick·lots]; nothing is bought with it that could not
        be bought without: ``max_position`` is the limit.
    done_ratio : the episode is terminated when wealth – cash and the position's value at the mid,
        less fees – falls below this share of ``starting_cash_ticks``.
    price_scale_bps : what counts as a large price difference in the observation.

    The reward of a step is the change of wealth in basis points of the value at arrival of
    ``order_size`` lots. At the end of the window nothing is sold: the episode is truncated.
    """

    interval: str | int = "1min"
    window: str | int = "6h"
    order_size: int = 100
    max_position: int = 1_000
    starting_cash_ticks: int = 100_000_000
    done_ratio: float = 0.5
    price_scale_bps: float = 1.0
    parameters = PARAMETERS
    begin, act, observe, show = _begin, _act, _observe, _show
    observed = (
        "position", "time", "imbalance", "imbalance_5", "spread", "direction", "mid_change_1",
        "mid_change_2", "mid_change_3",
    )  # fmt: skip
    told = {
        "time_ns": int, "position_lots": int, "wealth_ticks": float, "mid_ticks": float,
        "trades": int, "rejects": int,
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("order_size", self.order_size, 1, 2**40)
        checks.integer("max_position", self.max_position, 1, 2**40)
        checks.integer("starting_cash_ticks", self.starting_cash_ticks, 1, 2**50)
        if not 0 <= checks.number("done_ratio", self.done_ratio) < 1:
            raise ConfigError(f"done_ratio must be >= 0 and < 1, was {self.done_ratio!r}")
        checks.positive("price_scale_bps", self.price_scale_bps)

    @property
    def action_space(self) -> spaces.Discrete:
        """Buy, hold, sell."""
        return spaces.Discrete(3)

    def values(self, market: "Market") -> Mapping[str, float]:
        """The parameters as numbers."""
        return {
            "size": self.order_size,
            "most": self.max_position,
            "steps": self.steps,
            "cash": self.starting_cash_ticks,
            "least": self.done_ratio * self.starting_cash_ticks,
            "scale": self.price_scale_bps,
        }

    def action_masks(self, info: Mapping[str, Any]) -> NDArray[np.bool_]:
        """At a limit of the position there is only one way to go."""
        masks = super().action_masks(info)
        held = np.asarray(info["position_lots"])
        masks[..., BUY] = held < self.max_position
        masks[..., SELL] = held > -self.max_position
        return masks


class InvestorEnv(MarketEnv):
    """Invest in a market: :class:`Investor`, in :class:`MarketEnv`."""

    task_type = Investor


class InvestorVectorEnv(MarketVectorEnv):
    """Many markets with an :class:`Investor` each."""

    env_type = InvestorEnv
