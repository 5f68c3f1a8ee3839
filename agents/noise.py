"""Noise agents: each buys or sells at the touch, once, for no reason.

References: Byrd, Hybinette & Balch (2020), "ABIDES"; the wake times are by default those of the
RMSC configurations, dense at the open and at the close.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from marketsim import checks
from marketsim.agents.sizes import draw_size, read_sizes, write_sizes
from marketsim.clock import parse_time
from marketsim.compile import helper
from marketsim.errors import ConfigError
from marketsim.population import (
    BUY,
    SELL,
    WAKE,
    Population,
    callback,
    columns,
    exponential,
    limit_order,
    now,
    own,
    shared,
    touch_seen,
    uniform,
    wake_after,
    whole_lots,
)

if TYPE_CHECKING:
    from marketsim.market import Market

PARAMETERS = columns(start_ns=int, end_ns=int, even=int, sizes=int)
STATE = columns(awake=int)
parameters, state = shared(PARAMETERS), own(STATE)
_RETRY_NS = 1e9  # mean wait for a quote, where there is none yet


@callback(WAKE)
def _wake(m, agent, message):
    """Sleep until a random time of the day; then trade at the touch, as soon as there is one."""
    me = state(m, agent)
    if me.awake == 0:
        me.awake = 1
        due_ns = wake_time(m, agent)
        if due_ns > now(m):
            wake_after(m, agent, due_ns - now(m))
            return 0
    side = BUY if uniform(m, agent) < 0.5 else SELL
    bid, bid_lots, ask, ask_lots = touch_seen(m, agent)
    if (ask_lots if side == BUY else bid_lots) == 0:
        wake_after(m, agent, exponential(m, agent, _RETRY_NS))
        return 0
    size = draw_size(m, agent, parameters(m, agent).sizes)
    if size > 0:
        limit_order(m, agent, side, whole_lots(m, agent, size), ask if side == BUY else bid)
    return 0


@helper
def wake_time(m, agent):
    """Uniform, or U-quadratic, density 12 (t - middle)² / (end - start)³, by inversion."""
    p = parameters(m, agent)
    half_ns = 0.5 * (p.end_ns - p.start_ns)
    u = 2.0 * uniform(m, agent) - 1.0
    return p.start_ns + int(half_ns * (1.0 + (u if p.even else np.cbrt(u))))


@dataclass(frozen=True)
class NoiseAgent(Population):
    """Trades once, at the touch, in a random direction, at a random time of the day.

    A time before the session is the session's start. Without a quote to trade at, it waits.

    Parameters
    ----------
    size : lots, see :func:`marketsim.agents.sizes.read_sizes`.
    start, end : "HH:MM" or nanoseconds: between which it wakes.
    even : at any time as likely; otherwise at either end most likely.
    """

    size: Any = "mixture"
    start: str | int = "09:00"
    end: str | int = "16:00"
    even: bool = False
    wake, parameters, state = _wake, PARAMETERS, STATE

    def __post_init__(self) -> None:
        read_sizes(self.size)
        checks.boolean("even", self.even)
        if parse_time(self.end, "end") <= parse_time(self.start, "start"):
            raise ConfigError(f"end must be later than start {self.start!r}, was {self.end!r}")

    def values(self, market: "Market") -> Mapping[str, float]:
        """Times and sizes."""
        start_ns, end_ns = parse_time(self.start), parse_time(self.end)
        sizes = write_sizes(market, self.size)
        return {"start_ns": start_ns, "end_ns": end_ns, "even": self.even, "sizes": sizes}
