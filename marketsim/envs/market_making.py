"""Market making: quote both sides of the book, earn the spread, mind the inventory.

References: Spooner, Fearnley, Savani & Koukorinis (2018), "Market making via reinforcement
learning"; Avellaneda & Stoikov (2008), "High-frequency trading in a limit order book"; Cartea,
Jaimungal & Penalva (2015), "Algorithmic and high-frequency trading", for the running penalty.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from marketsim import checks
from marketsim.account import account_of
from marketsim.compile import helper
from marketsim.envs.depth import put_imbalances
from marketsim.envs.learner import (
    ACTION,
    NO_LIMIT,
    OBSERVATION,
    REWARD,
    TERMINATED,
    TRUNCATED,
    basis_points,
    begin_episode,
    close_position,
    free_lots,
    learner,
    next_step,
    position_lots,
    put,
    put_moves,
    slot_of,
    squash,
    task_state,
    want,
    whole,
)
from marketsim.envs.market_env import MarketEnv
from marketsim.envs.market_vector import MarketVectorEnv
from marketsim.envs.task import Task
from marketsim.errors import ConfigError
from marketsim.market import accounts, agents, header, number_at
from marketsim.market_data import trades_known
from marketsim.population import BUY, SELL, WAKE, callback, columns, on_grid, shared

if TYPE_CHECKING:
    from marketsim.market import Market

ACTIONS = ("discrete", "continuous")
REWARDS = ("pnl", "damped")
#: Distance of the quotes from the mid in mean half-spreads, by action, of Spooner et al.
ASK_THETA = (1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 3.0, 2.0, 5.0)
BID_THETA = (1.0, 2.0, 3.0, 4.0, 5.0, 3.0, 1.0, 5.0, 2.0)
#: Their tenth action.
CLEAR = 9
PARAMETERS = columns(
    quote=int, most=int, steps=int, continuous=int, max_offset=float, damping=float, running=float,
    terminal=float, weight=float, scale=float,
)  # fmt: skip
#: Mean half-spread, mean absolute change of the mid [ticks]; traded lots and those bought, as known
#: at the last step, and the difference of bought and sold since the step before; what the rewards
#: were last measured from: position, cash, fees; gains so far [tick·lots]: ``matched`` of trades
#: against the mid, ``carried`` of the inventory.
OWN = columns(
    half_spread=float, volatility=float, volume_lots=int, bought_lots=int, signed_lots=int,
    position_lots=int, cash=int, fees_micro=int, matched=float, carried=float,
)  # fmt: skip
parameters, own = shared(PARAMETERS), task_state(OWN)


@callback(WAKE)
def _begin(m, agent, row):
    """Start of an episode; returns whether there is a price."""
    p, mine = parameters(m, agent), own(m, agent)
    if not begin_episode(m, agent, p.steps, NO_LIMIT, p.most):
        return 0
    mine.half_spread = max(0.5 * learner(m, agent).spread, 0.5)
    note_volume(m, agent)
    mine.signed_lots = 0
    return 1


@callback(WAKE)
def _show(m, agent, row):
    """What there is to see now, without a step."""
    me = learner(m, agent)
    tell(m, agent, row, 0.0, me.step >= me.steps)
    return 0


@helper
def note_volume(m, agent):
    """Lots that aggressors bought less those that they sold, since the last time."""
    mine = own(m, agent)
    known_ns = header(m).now_ns - agents(m, agent).latency_ns
    volume, bought, _ = trades_known(m, agents(m, agent).symbol, known_ns)
    mine.signed_lots = 2 * (bought - mine.bought_lots) - (volume - mine.volume_lots)
    mine.volume_lots = volume
    mine.bought_lots = bought


@callback(WAKE)
def _act(m, agent, row):
    p, mine = parameters(m, agent), own(m, agent)
    if p.continuous:
        far = 0.5 * p.max_offset
        size = 0.5 * p.quote
        quote(
            m, agent, far * (number_at(row, ACTION).value + 1.0),
            far * (number_at(row, ACTION + 1).value + 1.0),
            int(round(size * (number_at(row, ACTION + 2).value + 1.0))),
            int(round(size * (number_at(row, ACTION + 3).value + 1.0))),
        )  # fmt: skip
        return 0
    choice = int(number_at(row, ACTION).value)
    if choice == CLEAR:
        close_position(m, agent)
        return 0
    h = mine.half_spread
    quote(m, agent, BID_THETA[choice] * h, ASK_THETA[choice] * h, p.quote, p.quote)
    return 0


@helper
def nearest(m, agent, side, price):
    """The nearest price on the symbol's tick; of two as near, the one further from the mid."""
    below = on_grid(m, agent, BUY, int(math.floor(price)))
    above = on_grid(m, agent, SELL, int(math.ceil(price)))
    if price - below == above - price:
        return below if side > 0 else above
    return below if price - below < above - price else above


@helper
def quote(m, agent, bid_offset, ask_offset, bid_lots, ask_lots):
    """Want a bid and an ask, so far from the mid [ticks], and no more than the inventory allows."""
    mid = learner(m, agent).mid
    bid_lots = whole(m, agent, min(bid_lots, free_lots(m, agent, BUY)))
    ask_lots = whole(m, agent, min(ask_lots, free_lots(m, agent, SELL)))
    bid = nearest(m, agent, BUY, mid - bid_offset)
    ask = nearest(m, agent, SELL, mid + ask_offset)
    if bid == ask and bid_lots > 0 and ask_lots > 0:  # they would trade with each other
        bid = on_grid(m, agent, BUY, bid - 1)
        ask = on_grid(m, agent, SELL, ask + 1)
    want(m, agent, BUY, bid_lots if bid > 0 else 0, bid)
    want(m, agent, SELL, ask_lots if ask > 0 else 0, ask)


@callback(WAKE)
def _observe(m, agent, row):
    p, me, mine = parameters(m, agent), learner(m, agent), own(m, agent)
    last = next_step(m, agent)
    note_volume(m, agent)
    moved = me.mid - me.mid_1
    mine.half_spread += p.weight * (max(0.5 * me.spread, 0.5) - mine.half_spread)
    mine.volatility += p.weight * (abs(moved) - mine.volatility)
    account = accounts(m, account_of(m, agent, agents(m, agent).symbol))
    held, cash = account.known_position_lots, account.known_cash
    matched = (cash - mine.cash) + (held - mine.position_lots) * me.mid
    carried = mine.position_lots * moved
    fees = (me.fees_micro - mine.fees_micro) / 1e6
    mine.matched += matched
    mine.carried += carried
    mine.position_lots = held
    mine.cash = cash
    mine.fees_micro = me.fees_micro
    quotes = held / p.quote
    reward = (matched - fees + carried - max(0.0, p.damping * carried)) / p.quote
    reward -= (p.running + (p.terminal if last else 0.0)) * quotes * quotes
    tell(m, agent, row, reward, last)
    return 0


@helper
def tell(m, agent, row, reward, done):
    """Write what came of a step."""
    p, me, mine = parameters(m, agent), learner(m, agent), own(m, agent)
    held = position_lots(m, agent)
    put(row, REWARD, reward)
    put(row, TERMINATED, 1.0 if done else 0.0)
    put(row, TRUNCATED, 0.0)
    at = put(row, OBSERVATION, held / p.most)
    at = put(row, at, 2.0 * me.step / me.steps - 1.0)
    at = put(row, at, squash(basis_points(m, agent, me.spread) / p.scale))
    at = put(row, at, squash(basis_points(m, agent, mine.half_spread) / p.scale))
    at = put_imbalances(m, agent, row, at)
    at = put_moves(m, agent, row, at, p.scale)
    at = put(row, at, squash(mine.signed_lots / p.quote))
    at = put(row, at, squash(basis_points(m, agent, mine.volatility) / p.scale))
    at = put_quotes(m, agent, row, at)
    at = put(row, at, header(m).now_ns)
    at = put(row, at, held)
    at = put(row, at, me.mid)
    earned = mine.matched - me.fees_micro / 1e6
    at = put(row, at, earned + mine.carried)
    at = put(row, at, earned)
    at = put(row, at, mine.carried)
    at = put(row, at, me.fills)
    at = put(row, at, me.rejects)
    for side in (BUY, SELL):
        slot = slot_of(m, agent, side)
        at = put(row, at, slot.price if slot.left > 0 else 0)


@helper
def put_quotes(m, agent, row, at):
    """Distance of its bid and ask from the mid, then their lots."""
    p, mid = parameters(m, agent), learner(m, agent).mid
    for side in (BUY, SELL):
        slot = slot_of(m, agent, side)
        distance = side * (mid - slot.price) if slot.left > 0 else 0.0
        at = put(row, at, squash(basis_points(m, agent, distance) / p.scale))
    for side in (BUY, SELL):
        at = put(row, at, slot_of(m, agent, side).left / p.quote)
    return at


@dataclass(frozen=True)
class MarketMaking(Task):
    """Quote a bid and an ask around the mid, for ``window``.

    Parameters
    ----------
    quote_size : lots of a quote.
    max_inventory : largest position on either side [lots]: quotes are cut, or left out, so that it
        is never exceeded, whatever of them is filled.
    actions : "discrete" – 0 to 8, the nine pairs of quotes of Spooner et al., at a number of mean
        half-spreads from the mid: asks at 1 2 3 4 5 1 3 2 5, bids at 1 2 3 4 5 3 1 5 2 – or
        "continuous" – bid offset, ask offset, from -1 at the mid to 1 ``max_offset_ticks`` away;
        bid size, ask size, from -1 nothing to 1 ``quote_size``. Prices are rounded away from the
        mid. A quote that stands already as it is asked for keeps its place in the queue; any other
        one is taken back first.
    clear_action : a tenth discrete action: takes the quotes back and trades the inventory away by
        a market order.
    max_offset_ticks : see ``actions``.
    reward : "pnl" – change of cash and of the inventory's value at the mid, less fees – or "damped"
        – less ``damping`` times what the inventory gained from a change of the mid: it takes away
        gains of speculation and keeps the losses.
    damping : of "damped"; eta of Spooner et al.
    running_penalty : taken off the reward at each step, times the squared inventory [quotes].
    terminal_penalty : the same, once, at the end.
    average_steps : of the exponentially weighted means of half-spread and volatility: the weight of
        a step is 2 / (``average_steps`` + 1).
    price_scale_bps : what counts as a large price difference in the observation.

    Rewards are in ticks for each lot of ``quote_size``: a round trip of a whole quote earns the
    spread. The gain of a step has two parts, and so has ``pnl_ticks`` [tick·lots]: what trades were
    better than the mid at the end of their step, less fees (``spread_earned_ticks``), and what the
    mid's change meant for the inventory that it had (``inventory_pnl_ticks``).
    """

    interval: str | int = "1s"
    quote_size: int = 100
    max_inventory: int = 1_000
    actions: str = "discrete"
    clear_action: bool = False
    max_offset_ticks: int = 10
    reward: str = "pnl"
    damping: float = 0.6
    running_penalty: float = 0.0
    terminal_penalty: float = 0.0
    average_steps: int = 10
    price_scale_bps: float = 0.5
    parameters, own = PARAMETERS, OWN
    begin, act, observe, show = _begin, _act, _observe, _show
    observed = (
        "inventory", "time", "spread", "half_spread", "imbalance", "imbalance_5", "mid_change_1",
        "mid_change_2", "mid_change_3", "signed_volume", "volatility", "bid_distance",
        "ask_distance", "bid_lots", "ask_lots",
    )  # fmt: skip
    told = {
        "time_ns": int, "inventory_lots": int, "mid_ticks": float, "pnl_ticks": float,
        "spread_earned_ticks": float, "inventory_pnl_ticks": float, "fills": int, "rejects": int,
        "bid_quote_ticks": int, "ask_quote_ticks": int,
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("quote_size", self.quote_size, 1, 2**40)
        checks.integer("max_inventory", self.max_inventory, 1, 2**40)
        checks.choice("actions", self.actions, ACTIONS)
        if checks.boolean("clear_action", self.clear_action) and self.actions != "discrete":
            raise ConfigError(f"clear_action: only with discrete actions, was {self.actions!r}")
        checks.integer("max_offset_ticks", self.max_offset_ticks, 1, 2**40)
        checks.choice("reward", self.reward, REWARDS)
        for field in ("damping", "running_penalty", "terminal_penalty"):
            checks.at_least_zero(field, getattr(self, field))
        checks.integer("average_steps", self.average_steps, 1)
        checks.positive("price_scale_bps", self.price_scale_bps)

    @property
    def action_space(self) -> spaces.Space[Any]:
        """As ``actions`` says."""
        if self.actions == "discrete":
            return spaces.Discrete(len(ASK_THETA) + self.clear_action)
        return spaces.Box(-1.0, 1.0, (4,), np.float32)

    def values(self, market: "Market") -> Mapping[str, float]:
        """The parameters as numbers."""
        return {
            "quote": self.quote_size,
            "most": self.max_inventory,
            "steps": self.steps,
            "continuous": self.actions == "continuous",
            "max_offset": self.max_offset_ticks,
            "damping": self.damping if self.reward == "damped" else 0.0,
            "running": self.running_penalty,
            "terminal": self.terminal_penalty,
            "weight": 2.0 / (self.average_steps + 1.0),
            "scale": self.price_scale_bps,
        }

    def action_masks(self, info: Mapping[str, Any]) -> NDArray[np.bool_]:
        """Without inventory there is nothing to clear."""
        masks = super().action_masks(info)
        if self.clear_action:
            masks[..., CLEAR] = np.asarray(info["inventory_lots"]) != 0
        return masks


class MarketMakingEnv(MarketEnv):
    """Quote in a market: :class:`MarketMaking`, in :class:`MarketEnv`."""

    task_type = MarketMaking


class MarketMakingVectorEnv(MarketVectorEnv):
    """Many markets with a :class:`MarketMaking` each."""

    env_type = MarketMakingEnv
