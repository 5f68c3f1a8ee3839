"""Optimal execution: buy or sell a parent order within a window, at little cost.

References: Amrouni et al. (2021), "ABIDES-Gym"; Perold (1988), "The implementation shortfall";
Almgren & Chriss (2001), "Optimal execution of portfolio transactions".
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from marketsim import checks
from marketsim.compile import helper
from marketsim.envs.depth import put_imbalances, sweep_cost
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
    slot_of,
    squash,
    take_back,
    task_state,
    turnover_known,
    want,
    whole,
)
from marketsim.envs.market_env import MarketEnv
from marketsim.envs.market_vector import MarketVectorEnv
from marketsim.envs.task import Task
from marketsim.market import header, number_at
from marketsim.population import WAKE, callback, columns, on_grid, shared, touch_seen

if TYPE_CHECKING:
    from marketsim.market import Market

ACTIONS = ("discrete", "continuous")
BENCHMARKS = ("arrival", "twap", "vwap")
MARKET, PASSIVE, HOLD = 0, 1, 2
PARAMETERS = columns(side=int, quantity=int, child=int, steps=int, continuous=int, benchmark=int,
                     max_depth=int, unfilled_bps=float, scale=float)  # fmt: skip
#: Mean of the mids at the ends of the steps, and the benchmark price now.
OWN = columns(mean_mid=float, benchmark=float)
parameters, own = shared(PARAMETERS), task_state(OWN)


@callback(WAKE)
def _begin(m, agent, row):
    """Start of an episode; returns whether there is a price."""
    p = parameters(m, agent)
    if not begin_episode(m, agent, p.steps, p.quantity, NO_LIMIT):
        return 0
    mid = learner(m, agent).mid
    own(m, agent).benchmark = mid
    return 1


@callback(WAKE)
def _show(m, agent, row):
    """What there is to see now, without a step."""
    me, p = learner(m, agent), parameters(m, agent)
    filled, _ = holdings(m, agent)
    tell(m, agent, row, 0.0, me.step >= me.steps or filled * p.side >= p.quantity)
    return 0


@callback(WAKE)
def _act(m, agent, row):
    p = parameters(m, agent)
    if p.continuous:
        share, depth = number_at(row, ACTION).value, number_at(row, ACTION + 1).value
        place_share(m, agent, 0.5 * (share + 1.0), depth)
        return 0
    choice = int(number_at(row, ACTION).value)
    side, slot = p.side, slot_of(m, agent, p.side)
    lots = whole(m, agent, min(p.child, free_lots(m, agent, side)))
    if choice == MARKET:
        want(m, agent, side, lots, AT_MARKET)
    elif choice == PASSIVE:
        bid, bid_lots, ask, ask_lots = touch_seen(m, agent)
        price = bid if side > 0 else ask
        if (bid_lots if side > 0 else ask_lots) == 0:
            return 0  # nobody to stand beside
        if slot.left > 0 and not slot.cancelling and slot.price == price:
            return 0  # it stands there already
        want(m, agent, side, lots, price)
    return 0


@helper
def place_share(m, agent, share, depth):
    """Want a share of what is left, at a depth: -1 the far touch, 0 the near one, 1 deep."""
    p = parameters(m, agent)
    lots = whole(m, agent, int(round(share * free_lots(m, agent, p.side))))
    bid, bid_lots, ask, ask_lots = touch_seen(m, agent)
    near, near_lots = (bid, bid_lots) if p.side > 0 else (ask, ask_lots)
    far, far_lots = (ask, ask_lots) if p.side > 0 else (bid, bid_lots)
    if depth < 0.0 and far_lots > 0:
        if near_lots == 0:
            near = far
        price = int(round(near + depth * (near - far)))
    elif near_lots > 0:
        price = near - p.side * int(round(max(depth, 0.0) * p.max_depth))
    else:
        lots = price = 0
    if lots == 0 or price < 1:
        take_back(m, agent, p.side)
    else:
        want(m, agent, p.side, lots, on_grid(m, agent, p.side, price))


@helper
def benchmark_price(m, agent):
    """Arrival price, time-weighted or volume-weighted mean price of the window, as known so far."""
    p, me, mine = parameters(m, agent), learner(m, agent), own(m, agent)
    if p.benchmark == 1:
        return mine.mean_mid
    if p.benchmark == 2:
        volume_lots, notional = turnover_known(m, agent)
        traded = volume_lots - me.volume_lots
        return (notional - me.notional) / traded if traded > 0 else me.arrival
    return me.arrival


@callback(WAKE)
def _observe(m, agent, row):
    p, me, mine = parameters(m, agent), learner(m, agent), own(m, agent)
    last = next_step(m, agent)
    mine.mean_mid += (me.mid - mine.mean_mid) / me.step
    mine.benchmark = benchmark_price(m, agent)
    filled, cash = holdings(m, agent)
    left = p.quantity - filled * p.side
    done = last or left == 0
    gain = cash + mine.benchmark * filled
    if done and left > 0:  # what it did not get is priced as if it were taken now
        cost = p.side * sweep_cost(m, agent, p.side, left)
        gain += p.side * mine.benchmark * left - cost
        gain -= 1e-4 * p.unfilled_bps * me.arrival * left
    reward = basis_points(m, agent, gain - me.worth) / p.quantity
    me.worth = gain
    tell(m, agent, row, reward, done)
    return 0


@helper
def tell(m, agent, row, reward, done):
    """Write what came of a step."""
    p, me = parameters(m, agent), learner(m, agent)
    filled, cash = holdings(m, agent)
    left = p.quantity - filled * p.side
    put(row, REWARD, reward)
    put(row, TERMINATED, 1.0 if done else 0.0)
    put(row, TRUNCATED, 0.0)
    held, passed = left / p.quantity, me.step / me.steps
    at = put(row, OBSERVATION, 2.0 * held - 1.0)
    at = put(row, at, 2.0 * passed - 1.0)
    at = put(row, at, held - (1.0 - passed))
    at = put_imbalances(m, agent, row, at)
    at = put(row, at, squash(basis_points(m, agent, me.spread) / p.scale))
    at = put_moves(m, agent, row, at, p.scale)
    at = put(row, at, squash(basis_points(m, agent, p.side * (me.mid - me.arrival)) / p.scale))
    slot = slot_of(m, agent, p.side)
    at = put(row, at, slot.left / p.quantity)
    at = put(row, at, header(m).now_ns)
    at = put(row, at, filled * p.side)
    at = put(row, at, left)
    at = put(row, at, me.mid)
    at = put(row, at, me.arrival)
    at = put(row, at, own(m, agent).benchmark)
    at = put(row, at, -cash / filled if filled != 0 else 0.0)
    at = put(row, at, 0.0 - basis_points(m, agent, me.worth) / p.quantity)
    put(row, at, me.rejects)


@dataclass(frozen=True)
class Execution(Task):
    """Buy or sell ``quantity`` lots within ``window``.

    Parameters
    ----------
    side : "buy" or "sell".
    quantity : lots of the parent order.
    child : most lots of one discrete action; None is twice an even share of the window.
    actions : "discrete" – 0 a market order, 1 a passive order at the near touch, 2 hold – or
        "continuous" – share of the remainder, -1 none of it to 1 all; and depth, -1 the far touch
        (it trades at once), 0 the near touch, 1 ``max_depth_ticks`` behind it. Either replaces the
        order that it has, but a passive one at the near touch keeps its place in the queue; so
        does any order that is asked for as it is.
    benchmark : price against which it is rewarded: "arrival" (the mid at the start: implementation
        shortfall), "twap" or "vwap" (mean mid, mean price of all trades, since the start, as far as
        it knows of them).
    max_depth_ticks : see ``actions``.
    unfilled_bps : penalty on each lot that is left at the end, beside the price of taking it then
        [basis points of the arrival price].
    price_scale_bps : what counts as a large price difference in the observation.

    The reward of a step is the change of what the fills are worth against the benchmark, less fees,
    in basis points of the parent order's value at arrival; their sum is minus the shortfall. At the
    end of the window the remainder is priced as if it were taken from the visible book at once.
    """

    side: str = "buy"
    quantity: int = 2_000
    child: int | None = None
    actions: str = "discrete"
    benchmark: str = "arrival"
    max_depth_ticks: int = 20
    unfilled_bps: float = 0.0
    price_scale_bps: float = 5.0
    parameters, own = PARAMETERS, OWN
    begin, act, observe, show = _begin, _act, _observe, _show
    observed = (
        "remaining", "time", "behind_schedule", "imbalance", "imbalance_5", "spread",
        "mid_change_1", "mid_change_2", "mid_change_3", "mid_against_arrival", "working",
    )  # fmt: skip
    told = {
        "time_ns": int, "filled_lots": int, "remaining_lots": int, "mid_ticks": float,
        "arrival_ticks": float, "benchmark_ticks": float, "average_price_ticks": float,
        "shortfall_bps": float, "rejects": int,
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice("side", self.side, ("buy", "sell"))
        checks.integer("quantity", self.quantity, 1, 2**40)
        if self.child is not None:
            checks.integer("child", self.child, 1, self.quantity)
        checks.choice("actions", self.actions, ACTIONS)
        checks.choice("benchmark", self.benchmark, BENCHMARKS)
        checks.integer("max_depth_ticks", self.max_depth_ticks, 0, 2**40)
        checks.at_least_zero("unfilled_bps", self.unfilled_bps)
        checks.positive("price_scale_bps", self.price_scale_bps)

    @property
    def child_lots(self) -> int:
        """Most lots of one discrete action."""
        if self.child is not None:
            return self.child
        return min(math.ceil(2 * self.quantity / self.steps), self.quantity)

    @property
    def action_space(self) -> spaces.Space[Any]:
        """As ``actions`` says."""
        if self.actions == "discrete":
            return spaces.Discrete(3)
        return spaces.Box(-1.0, 1.0, (2,), np.float32)

    def values(self, market: "Market") -> Mapping[str, float]:
        """The parameters as numbers."""
        return {
            "side": 1 if self.side == "buy" else -1,
            "quantity": self.quantity,
            "child": self.child_lots,
            "steps": self.steps,
            "continuous": self.actions == "continuous",
            "benchmark": BENCHMARKS.index(self.benchmark),
            "max_depth": self.max_depth_ticks,
            "unfilled_bps": self.unfilled_bps,
            "scale": self.price_scale_bps,
        }

    def action_masks(self, info: Mapping[str, Any]) -> NDArray[np.bool_]:
        """Nothing is left to trade: only hold."""
        masks = super().action_masks(info)
        masks[..., [MARKET, PASSIVE]] = np.expand_dims(np.asarray(info["remaining_lots"]) > 0, -1)
        return masks


class ExecutionEnv(MarketEnv):
    """Execute a parent order in a market: :class:`Execution`, in :class:`MarketEnv`."""

    task_type = Execution


class ExecutionVectorEnv(MarketVectorEnv):
    """Many markets with an :class:`Execution` each."""

    env_type = ExecutionEnv
