"""Adaptive market makers: quote a ladder of levels around the mid, sized by recent volume.

At each wake-up a maker takes its old quotes back, waits until it sees the market without them, and
quotes anew. The spread of its ladder follows the market's spread by an exponentially weighted
mean; the size at each level is a share of the volume of the last seconds.

The outermost order of each side stays until the new ladder stands, so that a maker that is alone
never empties the book, and a maker can renew its ladder early, when it hears that a side of it is
nearly used up. Where the others quote one side only, the mid is half a mean spread away from it.

References: Chakraborty & Kearns (2011), "Market making and mean reversion"; Byrd, Hybinette & Balch
(2020), "ABIDES".
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from marketsim import checks
from marketsim.account import account_of
from marketsim.clock import parse_span
from marketsim.compile import helper
from marketsim.errors import ConfigError
from marketsim.market import accounts, agents, messages, words
from marketsim.population import (
    BUY,
    SELL,
    WAKE,
    Population,
    callback,
    cancel,
    columns,
    exponential,
    is_fill,
    is_refusal,
    limit_order,
    now,
    on_grid,
    own,
    round_trip,
    shared,
    touch_seen,
    traded_seen,
    wake_tagged,
    whole_lots,
)

if TYPE_CHECKING:
    from marketsim.market import Market

PARAMETERS = columns(
    participation=float, min_size=int, levels=int, interval_ns=int, poisson=int, lookback_ns=int,
    level_spacing=float, spread_alpha=float, first_spread=float, price_skew=float, skew_beta=float,
    backstop=int, cancel_delay_ns=int, renew_at=int,
    renew_pause_ns=int,
)  # fmt: skip
#: ``mid``: the last one seen; ``spread``: its weighted mean; orders ``first_id`` and the
#: ``orders - 1`` after it are the ladder, their open lots lie behind the state. ``outer_bid`` and
#: ``outer_ask``: prices of its outermost orders. ``alarm``: number of the wake-up that counts.
STATE = columns(started=int, quoting=int, seen=int, mid=int, spread=float, first_id=int, orders=int,
                outer_bid=int, outer_ask=int, alarm=int, quoted_ns=int)  # fmt: skip
parameters, state = shared(PARAMETERS), own(STATE)
_WORDS = len(STATE.names or ())
MAX_LEVELS = 100
#: Least pause between early renewals [ns]: makers that are as fast as the exchange, and answer each
#: other's fills at once, would fill every nanosecond of a day.
MIN_RENEW_PAUSE_NS = 1_000_000
#: Largest mean spread, as a share of the mid: makers that are alone do not drive each other apart.
MAX_SPREAD = 0.1


@callback(WAKE)
def _wake(m, agent, message):
    """Hear of a fill; or take the ladder back; or, once that is done, quote a new one."""
    me = state(m, agent)
    heard = messages(m, message)
    if is_fill(m, message) or is_refusal(m, message):
        place = heard.order_id - me.first_id
        if 0 <= place < me.orders:
            left = open_lots(m, agent, place)
            if not is_fill(m, message):
                left.value = 0
                return 0
            left.value -= heard.size_lots
            if left.value <= 0 and me.quoting == 0 and nearly_used_up(m, agent, place & 1):
                start_renewal(m, agent)
    elif heard.a != me.alarm:
        return 0  # a wake-up that an early renewal has made void
    elif me.started == 0:
        me.started = 1
        me.spread = parameters(m, agent).first_spread
        sleep(m, agent)
    elif me.quoting == 0:
        start_renewal(m, agent)
    else:
        me.quoting = 0
        quote(m, agent)
        sleep(m, agent)
    return 0


@helper
def set_alarm(m, agent, delay_ns):
    """The next wake-up; those that were set before it count no more."""
    me = state(m, agent)
    me.alarm += 1
    wake_tagged(m, agent, delay_ns, me.alarm)


@helper
def sleep(m, agent):
    """Until the next renewal of the ladder."""
    p = parameters(m, agent)
    interval_ns = float(p.interval_ns)
    set_alarm(m, agent, exponential(m, agent, interval_ns) if p.poisson else interval_ns)


@helper
def start_renewal(m, agent):
    """Take the ladder back but for its outermost orders, and wait until that can be seen."""
    me = state(m, agent)
    take_back(m, agent, 0, me.orders - 2)
    me.quoting = 1
    set_alarm(m, agent, parameters(m, agent).cancel_delay_ns + round_trip(m, agent))


@helper
def nearly_used_up(m, agent, side):
    """Whether no more than ``renew_at`` orders of the ladder's bids (0) or asks (1) are open."""
    p = parameters(m, agent)
    most = p.renew_at
    if most == 0 or now(m) - state(m, agent).quoted_ns < p.renew_pause_ns:
        return False
    left = 0
    for place in range(side, state(m, agent).orders, 2):
        if open_lots(m, agent, place).value > 0:
            left += 1
    return left <= most


@helper
def open_lots(m, agent, place):
    """Word that holds what is open of the ladder's order at a place."""
    return words(m, agents(m, agent).state + _WORDS + place)


@helper
def take_back(m, agent, first, end):
    """Cancel what is open of the ladder, from one place to before another."""
    first_id = state(m, agent).first_id
    for place in range(first, end):
        left = open_lots(m, agent, place)
        if left.value > 0:
            cancel(m, agent, first_id + place)
            left.value = 0


@helper
def look(m, agent):
    """Mid and spread of the others' quotes: the own outermost orders do not count."""
    me = state(m, agent)
    bid, bid_lots, ask, ask_lots = touch_seen(m, agent)
    if me.orders > 0:
        if bid == me.outer_bid and bid_lots == open_lots(m, agent, me.orders - 2).value:
            bid_lots = 0
        if ask == me.outer_ask and ask_lots == open_lots(m, agent, me.orders - 1).value:
            ask_lots = 0
    if bid_lots > 0 and ask_lots > 0:
        me.seen = 1
        me.mid = (bid + ask) >> 1
        if ask > bid:  # it is not in a call phase
            me.spread += parameters(m, agent).spread_alpha * ((ask - bid) - me.spread)
            me.spread = min(me.spread, MAX_SPREAD * me.mid)
    elif bid_lots > 0 or ask_lots > 0:
        half = int(math.ceil(0.5 * me.spread))
        me.seen = 1
        me.mid = bid + half if bid_lots > 0 else max(ask - half, 1)


@helper
def quote(m, agent):
    """A new ladder around the mid, as wide as the market's spread has been."""
    p = parameters(m, agent)
    me = state(m, agent)
    look(m, agent)
    me.quoted_ns = now(m)
    if me.seen == 0:
        return  # no mid yet to quote around
    old_id, old_orders = me.first_id, me.orders
    old_bid_lots = old_ask_lots = 0
    if old_orders > 0:
        old_bid_lots = open_lots(m, agent, old_orders - 2).value
        old_ask_lots = open_lots(m, agent, old_orders - 1).value
    me.orders = 0
    bought, sold = traded_seen(m, agent, p.lookback_ns)
    size = int(round(p.participation * (bought + sold)))
    buy_size, sell_size = sizes(m, agent, size)
    middle = me.mid
    if p.price_skew != 0.0 and bought + sold > 0:
        middle += int(p.price_skew * (2.0 * bought / (bought + sold) - 1.0))
    spacing = max(int(round(p.level_spacing * me.spread)), 1)
    highest_bid = middle - int(math.floor(0.5 * me.spread))
    lowest_ask = middle + int(math.ceil(0.5 * me.spread))
    for level in range(p.levels):
        last = level == p.levels - 1 and p.backstop > 0
        me.outer_bid = on_grid(m, agent, BUY, max(highest_bid - level * spacing, 1))
        me.outer_ask = on_grid(m, agent, SELL, max(lowest_ask + level * spacing, 1))
        place_quote(m, agent, BUY, p.backstop if last else buy_size, me.outer_bid)
        place_quote(m, agent, SELL, p.backstop if last else sell_size, me.outer_ask)
    if old_bid_lots > 0:
        cancel(m, agent, old_id + old_orders - 2)
    if old_ask_lots > 0:
        cancel(m, agent, old_id + old_orders - 1)


@helper
def sizes(m, agent, size):
    """Lots to bid and to ask at each level; a maker that minds its inventory skews them."""
    p = parameters(m, agent)
    if p.skew_beta == 0.0:
        return max(size, p.min_size), max(size, p.min_size)
    held = accounts(m, account_of(m, agent, agents(m, agent).symbol)).known_position_lots
    sell_share = 1.0 / (1.0 + math.exp(-p.skew_beta * held))
    sell_size = int(math.ceil(2.0 * sell_share * size))
    buy_size = int(math.floor(2.0 * (1.0 - sell_share) * size))
    return max(buy_size, p.min_size), max(sell_size, p.min_size)


@helper
def place_quote(m, agent, side, size, price):
    """One order of the ladder."""
    me = state(m, agent)
    size = whole_lots(m, agent, size)
    order_id = limit_order(m, agent, side, size, price)
    if me.orders == 0:
        me.first_id = order_id
    open_lots(m, agent, me.orders).value = size
    me.orders += 1


@dataclass(frozen=True)
class MarketMakerAgent(Population):
    """Quotes ``levels`` bids and asks around the mid, renewed at each wake-up.

    Parameters
    ----------
    participation : lots at each level as a share of the volume of the last ``lookback``.
    min_size : least lots at a level.
    levels : on each side.
    interval : mean time between two renewals.
    poisson : random times with that mean; otherwise at the interval exactly.
    lookback : over which volume and its imbalance are measured.
    level_spacing : distance of two levels [mean spreads].
    spread_alpha : weight of the newest spread in its mean, 0 to 1.
    first_spread : the mean at the start [ticks].
    price_skew : ticks by which the ladder moves when all volume bought, or against when all sold.
    skew_beta : how much inventory [lots] tilts the sizes to its own reduction; 0: not at all.
    backstop : lots of the outermost order of each side; 0: as the others.
    cancel_delay_ns : time for its cancels, before it looks at the market.
    renew_at : it renews early when a side has no more than so many orders left; 0: never.
    renew_pause : but not so soon after it quoted last; at least a millisecond.
    """

    participation: float = 0.025
    min_size: int = 1
    levels: int = 10
    interval: str | int = "60s"
    poisson: bool = True
    lookback: str | int = "10s"
    level_spacing: float = 5.0
    spread_alpha: float = 0.75
    first_spread: float = 50.0
    price_skew: float = 0.0
    skew_beta: float = 0.0
    backstop: int = 0
    cancel_delay_ns: int = 50
    renew_at: int = 0
    renew_pause: str | int = "1s"
    wake, parameters, state = _wake, PARAMETERS, STATE
    hears_fills = True

    def __post_init__(self) -> None:
        checks.integer("levels", self.levels, 1, MAX_LEVELS)
        checks.integer("min_size", self.min_size, 1)
        checks.integer("backstop", self.backstop, 0)
        checks.integer("renew_at", self.renew_at, 0, self.levels - 1)
        checks.integer("cancel_delay_ns", self.cancel_delay_ns, 0)
        checks.boolean("poisson", self.poisson)
        for field in ("participation", "skew_beta"):
            checks.at_least_zero(field, getattr(self, field))
        for field in ("level_spacing", "first_spread"):
            checks.positive(field, getattr(self, field))
        checks.number("price_skew", self.price_skew)
        if not 0 <= checks.number("spread_alpha", self.spread_alpha) <= 1:
            raise ConfigError(f"spread_alpha must be from 0 to 1, was {self.spread_alpha:g}")
        if parse_span(self.renew_pause, "renew_pause") < MIN_RENEW_PAUSE_NS:
            raise ConfigError(f"renew_pause must be >= 1ms, was {self.renew_pause!r}")
        for field in ("interval", "lookback"):
            if parse_span(getattr(self, field), field) < 1:
                raise ConfigError(f"{field} must be > 0, was {getattr(self, field)!r}")

    @property
    def headroom(self) -> int:
        """A ladder to place, its predecessor's outermost orders to cancel, and a wake-up."""
        return 2 * self.levels + 4

    @property
    def looks_back_ns(self) -> int:
        """Of the volume."""
        return parse_span(self.lookback)

    @property
    def extra_words(self) -> int:
        """Open lots of the ladder."""
        return 2 * self.levels

    def values(self, market: "Market") -> Mapping[str, float]:
        """The parameters as numbers."""
        spans = {
            "interval_ns": parse_span(self.interval),
            "lookback_ns": parse_span(self.lookback),
            "renew_pause_ns": parse_span(self.renew_pause),
        }
        return {
            name: spans[name] if name in spans else getattr(self, name)
            for name in PARAMETERS.names or ()
        }
