"""Value agents: trade towards an estimate of what the asset is worth.

At each wake-up (a Poisson process) an agent takes its old order back, observes the fundamental
value with noise, updates a Bayesian estimate of it, projects the estimate to the close, and
sends one limit order: a buy if the asset is worth more than the mid, a sell if less, at the other
side's touch, inside the spread, or deeper in the book.

References: Wah, Wright & Wellman (2017), "Welfare effects of market making in continuous double
auctions"; Byrd (2019), "Explaining Agent-Based Financial Market Simulation".
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from marketsim import checks
from marketsim.agents.sizes import draw_size, read_sizes, write_sizes
from marketsim.compile import helper
from marketsim.errors import ConfigError
from marketsim.market import messages
from marketsim.population import (
    BUY,
    SELL,
    WAKE,
    Population,
    callback,
    cancel,
    close_time,
    columns,
    exponential,
    fundamental_level,
    fundamental_value,
    integer,
    is_fill,
    is_refusal,
    limit_order,
    normal,
    now,
    own,
    round_trip,
    shared,
    touch_seen,
    uniform,
    wake_after,
    wake_tagged,
    whole_lots,
)

if TYPE_CHECKING:
    from marketsim.market import Market

PARAMETERS = columns(
    r_bar=float, kappa=float, shock_variance=float, observation_variance=float, arrival_rate=float,
    aggressive_share=float, depth_spread=float, sizes=int,
)  # fmt: skip
STATE = columns(started=int, estimate=float, variance=float, seen_ns=int, order_id=int,
                open_lots=int, looking=int)  # fmt: skip
parameters, state = shared(PARAMETERS), own(STATE)
_FIRST_NS = 99  # agents are first woken within this time of the start
_LOOK = 1  # tag of the wake-up at which the old order's end can be seen


@callback(WAKE)
def _wake(m, agent, message):
    """Hear of a fill; or take the old order back; or, once that is done, observe and trade."""
    me = state(m, agent)
    heard = messages(m, message)
    if is_fill(m, message) or is_refusal(m, message):
        if heard.order_id == me.order_id:
            me.open_lots = max(me.open_lots - heard.size_lots, 0) if is_fill(m, message) else 0
        return 0
    if me.started == 0:
        start(m, agent)
        return 0
    if heard.a == _LOOK:
        me.looking = 0
        trade(m, agent)
        return 0
    wake_after(m, agent, exponential(m, agent, 1.0 / parameters(m, agent).arrival_rate))
    if me.looking:
        return 0  # it trades already, as soon as its order is gone
    if me.open_lots > 0:
        cancel(m, agent, me.order_id)
        me.open_lots = 0
        me.looking = 1
        wake_tagged(m, agent, round_trip(m, agent), _LOOK)
    else:
        trade(m, agent)
    return 0


@helper
def start(m, agent):
    """Believe in the long-run mean, for certain, at the start."""
    me = state(m, agent)
    me.started = 1
    me.estimate = long_run_mean(m, agent)
    me.variance = 0.0
    me.seen_ns = now(m)
    wake_after(m, agent, integer(m, agent, 0, _FIRST_NS))


@helper
def long_run_mean(m, agent):
    """r̄ [ticks]: given, or the fundamental value's own."""
    r_bar = parameters(m, agent).r_bar
    return r_bar if r_bar > 0.0 else fundamental_level(m, agent)


@helper
def observe(m, agent):
    """Update the estimate of the fundamental value by one noisy observation.

    Over ``δ`` nanoseconds the estimate reverts, ``r' = r̄ + (1-κ)^δ (r - r̄)``, and its variance
    grows, ``σ' = (1-κ)^2δ σ + σ_s (1 - (1-κ)^2δ) / (1 - (1-κ)²)``; then Bayes' rule weighs it
    against the observation.
    """
    p = parameters(m, agent)
    me = state(m, agent)
    noise = math.sqrt(p.observation_variance)
    observed = fundamental_value(m, agent) + noise * normal(m, agent)
    elapsed_ns = float(now(m) - me.seen_ns)
    mean = long_run_mean(m, agent)
    log_keep = math.log1p(-p.kappa)
    estimate = mean + math.exp(log_keep * elapsed_ns) * (me.estimate - mean)
    kept = math.exp(2.0 * log_keep * elapsed_ns)
    steps = elapsed_ns  # the sum's limit for κ = 0
    if p.kappa > 0.0:
        steps = math.expm1(2.0 * log_keep * elapsed_ns) / math.expm1(2.0 * log_keep)
    variance = kept * me.variance + steps * p.shock_variance
    total = p.observation_variance + variance
    weight = variance / total if total > 0.0 else 1.0
    me.estimate = estimate + weight * (observed - estimate)
    me.variance = p.observation_variance * weight
    me.seen_ns = now(m)


@helper
def final_value(m, agent):
    """Estimate of the fundamental value at the close [ticks]."""
    mean = long_run_mean(m, agent)
    left_ns = float(max(close_time(m) - now(m), 0))
    keep = math.exp(math.log1p(-parameters(m, agent).kappa) * left_ns)
    return mean + keep * (state(m, agent).estimate - mean)


@helper
def trade(m, agent):
    """One limit order towards the estimate."""
    p = parameters(m, agent)
    observe(m, agent)
    worth = final_value(m, agent)
    bid, bid_lots, ask, ask_lots = touch_seen(m, agent)
    if bid_lots > 0 and ask_lots > 0:
        depth = 0
        if uniform(m, agent) >= p.aggressive_share:
            most = int(p.depth_spread * abs(ask - bid))
            depth = integer(m, agent, 0, max(most - 1, 0))
        side = BUY if worth >= 0.5 * (bid + ask) else SELL
        price = ask - depth if side == BUY else bid + depth
    else:
        side = BUY if uniform(m, agent) < 0.5 else SELL
        price = int(round(worth))
    size = draw_size(m, agent, p.sizes)
    if size > 0:
        me = state(m, agent)
        me.open_lots = whole_lots(m, agent, size)
        me.order_id = limit_order(m, agent, side, me.open_lots, max(price, 1))


@dataclass(frozen=True)
class ValueAgent(Population):
    """Trades towards a Bayesian estimate of the fundamental value.

    Parameters
    ----------
    arrival_rate : of wake-ups [1/ns].
    observation_variance : of an observation's noise, σ_n [ticks²].
    kappa : rate at which it thinks that the value reverts, κ [1/ns].
    shock_variance : by which it thinks that the value spreads, σ_s [ticks²/ns].
    r_bar : mean to which it thinks that the value reverts [ticks]; None: the oracle's.
    aggressive_share : share of orders at the other side's touch.
    depth_spread : others are up to so many spreads away from it, towards the own side.
    size : lots, see :func:`marketsim.agents.sizes.read_sizes`.
    """

    arrival_rate: float = 5.7e-12
    observation_variance: float = 1_000.0
    kappa: float = 1.67e-15
    shock_variance: float = 100_000.0
    r_bar: float | None = None
    aggressive_share: float = 0.1
    depth_spread: float = 2.0
    size: Any = "mixture"
    wake, parameters, state = _wake, PARAMETERS, STATE
    hears_fills = True
    needs_oracle = True

    def __post_init__(self) -> None:
        read_sizes(self.size)
        if checks.positive("arrival_rate", self.arrival_rate) > 1:
            raise ConfigError(f"arrival_rate must be <= 1 a nanosecond, was {self.arrival_rate:g}")
        for field in ("observation_variance", "shock_variance", "depth_spread"):
            checks.at_least_zero(field, getattr(self, field))
        if not 0 <= checks.number("kappa", self.kappa) < 1:
            raise ConfigError(f"kappa must be >= 0 and < 1, was {self.kappa:g}")
        if not 0 <= checks.number("aggressive_share", self.aggressive_share) <= 1:
            raise ConfigError(f"aggressive_share must be from 0 to 1, was {self.aggressive_share}")
        if self.r_bar is not None:
            checks.positive("r_bar", self.r_bar)

    def values(self, market: "Market") -> Mapping[str, float]:
        """The parameters; a mean of 0 stands for the oracle's."""
        given = {name: getattr(self, name) for name in PARAMETERS.names or () if name != "sizes"}
        return {**given, "r_bar": self.r_bar or 0.0, "sizes": write_sizes(market, self.size)}
