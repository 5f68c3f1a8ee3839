"""Momentum agents: buy while a short moving average of the mid is above a long one, else sell.

References: Byrd, Hybinette & Balch (2020), "ABIDES".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from marketsim import checks
from marketsim.agents.sizes import draw_size, read_sizes, write_sizes
from marketsim.clock import parse_span
from marketsim.compile import helper
from marketsim.errors import ConfigError
from marketsim.market import agents, words
from marketsim.population import (
    BUY,
    SELL,
    WAKE,
    Population,
    callback,
    columns,
    exponential,
    limit_order,
    own,
    shared,
    touch_seen,
    wake_after,
    whole_lots,
)

if TYPE_CHECKING:
    from marketsim.market import Market

PARAMETERS = columns(interval_ns=int, short=int, long=int, sizes=int, poisson=int)
#: ``seen``: mids so far; the two sums are of the newest ``short`` and ``long`` mids, doubled.
STATE = columns(started=int, seen=int, short_sum=int, long_sum=int)
parameters, state = shared(PARAMETERS), own(STATE)
_WORDS = len(STATE.names or ())


@callback(WAKE)
def _wake(m, agent, message):
    """Note the mid; when there are enough of them, follow the trend with one order."""
    p = parameters(m, agent)
    me = state(m, agent)
    interval_ns = float(p.interval_ns)
    wake_after(m, agent, exponential(m, agent, interval_ns) if p.poisson else interval_ns)
    if me.started == 0:
        me.started = 1
        return 0
    bid, bid_lots, ask, ask_lots = touch_seen(m, agent)
    if bid_lots == 0 or ask_lots == 0:
        return 0
    note_mid(m, agent, bid + ask)
    if me.seen <= p.long:
        return 0
    size = draw_size(m, agent, p.sizes)
    if size > 0:
        rising = me.short_sum * p.long >= me.long_sum * p.short  # of means, as whole numbers
        side = BUY if rising else SELL
        limit_order(m, agent, side, whole_lots(m, agent, size), ask if rising else bid)
    return 0


@helper
def note_mid(m, agent, twice_mid):
    """Add a mid to the ring behind the agent's state; both moving sums follow."""
    p = parameters(m, agent)
    me = state(m, agent)
    ring = agents(m, agent).state + _WORDS
    newest = me.seen % p.long
    me.short_sum += twice_mid
    me.long_sum += twice_mid
    if me.seen >= p.short:
        me.short_sum -= words(m, ring + (me.seen - p.short) % p.long).value
    if me.seen >= p.long:
        me.long_sum -= words(m, ring + newest).value
    words(m, ring + newest).value = twice_mid
    me.seen += 1


@dataclass(frozen=True)
class MomentumAgent(Population):
    """Follows the trend that two moving averages of the mid-price show.

    Parameters
    ----------
    interval : mean time between two looks at the market.
    short, long : lengths of the moving averages [looks].
    size : lots, see :func:`marketsim.agents.sizes.read_sizes`.
    poisson : random times with that mean; otherwise at the interval exactly.
    """

    interval: str | int = "37s"
    short: int = 20
    long: int = 50
    size: Any = "mixture"
    poisson: bool = True
    wake, parameters, state = _wake, PARAMETERS, STATE

    def __post_init__(self) -> None:
        read_sizes(self.size)
        checks.boolean("poisson", self.poisson)
        checks.integer("short", self.short, 1)
        checks.integer("long", self.long, self.short + 1, 1_000_000)
        if parse_span(self.interval, "interval") < 1:
            raise ConfigError(f"interval must be > 0, was {self.interval!r}")

    @property
    def extra_words(self) -> int:
        """The newest mids."""
        return self.long

    def values(self, market: "Market") -> Mapping[str, float]:
        """The parameters as whole numbers."""
        return {
            "interval_ns": parse_span(self.interval),
            "short": self.short,
            "long": self.long,
            "sizes": write_sizes(market, self.size),
            "poisson": int(self.poisson),
        }
