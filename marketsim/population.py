"""Compiled populations: many agents of one kind that never leave compiled code.

A population is a frozen dataclass of parameters and one compiled ``wake`` function. The parameters
lie in the market's block once, named columns of state once for each agent; ``wake`` runs for every
message to one of the agents: it looks at the market, and sends orders, with the functions of this
module. Nothing of the kernel is compiled again for a new population.

Examples
--------
>>> PARAMETERS, STATE = columns(mean_interval_ns=float), columns(orders=int)
>>> parameters, state = shared(PARAMETERS), own(STATE)
>>> @callback(WAKE)
... def _wake(m, agent, message):
...     bid, bid_lots, ask, ask_lots = touch_seen(m, agent)
...     if ask_lots > 0:
...         limit_order(m, agent, BUY, 100, ask)
...         state(m, agent).orders += 1
...     wake_after(m, agent, exponential(m, agent, parameters(m, agent).mean_interval_ns))
...     return 0
>>> @dataclass(frozen=True)
... class Buyer(Population):
...     mean_interval_ns: float = 1e9
...     wake, parameters, state = _wake, PARAMETERS, STATE
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from marketsim.agent import CompiledAgent
from marketsim.codes import Side
from marketsim.compile import callback, entry, helper, hot
from marketsim.errors import ConfigError
from marketsim.events import Message, ask, send, wake_at
from marketsim.exchange import enter_request
from marketsim.market import WAKE, agents, columns_at, header, messages
from marketsim.market_data import touch_known, trades_known
from marketsim.matching import MARKET
from marketsim.oracle import fundamental, fundamental_mean
from marketsim.records import WORD
from marketsim.rng import exponential, integer, normal, uniform
from marketsim.rules import lot_now, tick_at

if TYPE_CHECKING:
    from marketsim.market import Market

BUY, SELL = int(Side.BUY), int(Side.SELL)
WOKEN, FILLED, REFUSED = int(Message.WAKE), int(Message.FILLED), int(Message.REJECTED)
CANCEL = int(Message.CANCEL)


def columns(**fields: type) -> np.dtype[Any]:
    """Named columns of whole numbers (``int``) and floating-point ones (``float``), 8 bytes each.

    Raises
    ------
    TypeError
        For any other type.
    """
    kinds = {int: np.int64, float: np.float64}
    wrong = [name for name, kind in fields.items() if kind not in kinds]
    if wrong:
        raise TypeError(f"column {wrong[0]!r} must be int or float, was {fields[wrong[0]]!r}")
    return np.dtype([(name, kinds[kind]) for name, kind in fields.items()])


def shared(dtype: np.dtype[Any]) -> Any:
    """Accessor ``(m, agent) -> record`` of a population's parameters."""
    fetch = columns_at(dtype)

    @hot
    def parameters(m, agent):
        return fetch(m, agents(m, agent).shared)

    return parameters


def own(dtype: np.dtype[Any]) -> Any:
    """Accessor ``(m, agent) -> record`` of an agent's own state."""
    fetch = columns_at(dtype)

    @hot
    def state(m, agent):
        return fetch(m, agents(m, agent).state)

    return state


@hot
def is_fill(m, message):
    """Whether a message tells of a fill: its order_id, side, price_ticks and size_lots."""
    return messages(m, message).kind == FILLED


@hot
def is_refusal(m, message):
    """Whether a message tells that the exchange refused the order ``order_id``."""
    return messages(m, message).kind == REFUSED


@hot
def now(m):
    """The time [ns since midnight]."""
    return header(m).now_ns


@hot
def close_time(m):
    """End of the session [ns since midnight]."""
    return header(m).close_ns


@helper
def touch_seen(m, agent):
    """Touch of the agent's symbol, one latency ago: bid, its lots, ask, its lots (0: no orders)."""
    return touch_known(m, agent, agents(m, agent).symbol)


@helper
def traded_seen(m, agent, lookback_ns):
    """Lots that the aggressors bought and sold in the time before what the agent sees now."""
    me = agents(m, agent)
    seen_ns = header(m).now_ns - me.latency_ns
    volume, bought, _ = trades_known(m, me.symbol, seen_ns)
    before, bought_before, _ = trades_known(m, me.symbol, seen_ns - lookback_ns)
    bought -= bought_before
    return bought, volume - before - bought


@helper
def fundamental_value(m, agent):
    """Fundamental value of the agent's symbol now [ticks], exactly."""
    return fundamental(m, agents(m, agent).symbol)


@helper
def fundamental_level(m, agent):
    """Level that the fundamental value of the agent's symbol reverts to [ticks]."""
    return fundamental_mean(m, agents(m, agent).symbol)


@helper
def on_grid(m, agent, side, price):
    """A price on the symbol's tick: a buyer's rounded down, a seller's up."""
    tick = tick_at(m, agents(m, agent).symbol, price)
    if tick == 1:
        return price
    return price // tick * tick if side > 0 else -(-price // tick) * tick


@helper
def whole_lots(m, agent, size):
    """A size as the symbol takes it: a multiple of its smallest, and at least that."""
    lot = lot_now(m, agents(m, agent).symbol)
    return max(size // lot, 1) * lot


@helper
def limit_order(m, agent, side, size, price):
    """Send a limit order, its price put :func:`on_grid`; returns its id."""
    symbol = agents(m, agent).symbol
    return enter_request(m, agent, symbol, side, on_grid(m, agent, side, price), size, 0, 0, 0)


@helper
def market_order(m, agent, side, size):
    """Send a market order; returns its id."""
    return enter_request(m, agent, agents(m, agent).symbol, side, 0, size, 0, 0, MARKET)


@helper
def cancel(m, agent, order_id):
    """Ask to cancel an order."""
    ask(m, CANCEL, agent, agents(m, agent).symbol, order_id, 0, 0, 0, 0, 0, 0)


@helper
def wake_after(m, agent, delay_ns):
    """Ask to be woken after a delay; nothing that would come after the close."""
    wake_tagged(m, agent, delay_ns, 0)


@helper
def wake_tagged(m, agent, delay_ns, tag):
    """:func:`wake_after` whose message carries a number, ``messages(m, message).a``."""
    h = header(m)
    if delay_ns < h.close_ns - h.now_ns:  # before it becomes a whole number, which has its limits
        due_ns = h.now_ns + max(int(delay_ns), 0)
        send(m, due_ns, WOKEN, agent, agent, 0, 0, 0, 0, 0, tag, 0, 0, 0)


@helper
def round_trip(m, agent):
    """Time until an agent sees what a request of its own has done."""
    me = agents(m, agent)
    return me.delay_ns + 2 * me.latency_ns


@entry
def _wake_all(m, first, count):
    """Wake agents now: the first of what they hear."""
    now_ns = header(m).now_ns
    for agent in range(first, first + count):
        wake_at(m, agent, now_ns)


class Population(CompiledAgent):
    """Base class of compiled populations: a frozen dataclass with a compiled ``wake``.

    Every agent is woken once at the start of the simulation. A subclass sets

    - ``wake``: a function ``(m, agent, message) -> 0`` decorated with ``@callback(WAKE)``;
    - ``parameters``: :func:`columns`, filled from the dataclass's fields of the same names, or from
      :meth:`values`;
    - ``state``: :func:`columns` of each agent, 0 at the start;
    - ``headroom``: the most messages that one wake-up sends;
    - ``hears_fills``: whether it hears of its fills, and of orders that were refused.
    """

    parameters: ClassVar[np.dtype[Any]] = columns()
    state: ClassVar[np.dtype[Any]] = columns()
    hears_fills: ClassVar[bool] = False
    wants_answers = False

    @property
    def looks_back_ns(self) -> int:
        """How much of the past it looks at, beyond what its latency hides."""
        return 0

    @property
    def extra_words(self) -> int:
        """Words behind an agent's state, for arrays whose length is a parameter."""
        return 0

    @property
    def needs_oracle(self) -> bool:
        """Whether its symbol must have a fundamental value."""
        return False

    def values(self, market: "Market") -> Mapping[str, float]:
        """The parameters as numbers, by column; what is longer goes into the market's words."""
        return {name: getattr(self, name) for name in self.parameters.names or ()}

    def install(self, market: "Market", members: range, symbol: int) -> None:
        """Write parameters and state into the block, and wake everybody at the start.

        Raises
        ------
        ConfigError
            If the population needs a fundamental value and its symbol has none.
        """
        if self.needs_oracle and not market.view("books")[symbol]["oracle"]:
            raise ConfigError("needs a fundamental value: give `oracle:` in the configuration")
        given = self.values(market)
        names = self.parameters.names or ()
        record = np.array([tuple(given[name] for name in names)], self.parameters)
        width = self.state.itemsize // WORD.itemsize + self.extra_words
        shared_at = market.take_words(len(names))
        state_at = market.take_words(width * len(members))
        market.view("words")["value"][shared_at : shared_at + len(names)] = record.view(np.int64)
        records = market.view("agents")[members.start : members.stop]
        records["shared"] = shared_at
        records["state"] = state_at + width * np.arange(len(members))
        records["state_size"] = width
        market.reserve_messages(len(members))
        _wake_all(market.address, members.start, len(members))


__all__ = [
    "BUY",
    "FILLED",
    "SELL",
    "WAKE",
    "Population",
    "callback",
    "cancel",
    "close_time",
    "columns",
    "exponential",
    "fundamental_level",
    "fundamental_value",
    "integer",
    "is_fill",
    "is_refusal",
    "limit_order",
    "market_order",
    "normal",
    "now",
    "on_grid",
    "own",
    "round_trip",
    "shared",
    "touch_seen",
    "traded_seen",
    "uniform",
    "wake_after",
    "wake_tagged",
    "whole_lots",
]
