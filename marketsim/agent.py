"""What an agent is, and the handle through which it sees the market and trades.

The life of an agent: ``on_start`` once; then, each at its own time and after its own latency,
``on_wakeup`` when it asked to be woken, ``on_fill`` for each of its trades, ``on_order`` for each
answer of the exchange, ``on_data`` for each message of a feed it subscribed to; ``summary`` at the
end. Callbacks of one agent never overlap: a message that arrives while the agent still computes
(``computation_delay_ns``) waits in its inbox.
"""

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marketsim.codes import Cancelled, Feed, Flag, OrderKind, Reject, SelfTrade, Side, TimeInForce
from marketsim.errors import OrderError, StateError
from marketsim.events import Message
from marketsim.kernel import NO_ROOM
from marketsim.ladder import ASKS, BIDS
from marketsim.market_data import view_depth
from marketsim.rng import generator_for

if TYPE_CHECKING:
    from marketsim.compile import Callback
    from marketsim.market import Market
    from marketsim.simulation import Simulation


class Fill(NamedTuple):
    """A trade of the agent's. Both sides of a trade hear of it.

    ``time_ns`` is when it happened at the exchange; ``left_lots`` what is open of the order after
    it; ``fee_ticks`` in tick·lots, negative for a rebate.
    """

    time_ns: int
    symbol: str
    order_id: int
    side: Side
    price_ticks: int
    size_lots: int
    left_lots: int
    is_maker: bool
    fee_ticks: float


class OrderUpdate(NamedTuple):
    """An answer of the exchange.

    ``status``: accepted, rejected, cancelled (``size_lots`` of it, ``left_lots`` stay), replaced,
    change_rejected (a cancel, reduce or replace that was refused), triggered (a stop).
    ``reason``: a :class:`~marketsim.codes.Reject` or :class:`~marketsim.codes.Cancelled`, or None.
    """

    time_ns: int
    symbol: str
    order_id: int
    status: str
    side: Side | None
    price_ticks: int
    size_lots: int
    left_lots: int
    reason: Reject | Cancelled | None


class Data(NamedTuple):
    """A message of a subscribed feed; fields that its feed does not have are None.

    L1 has ``bid``, ``ask`` as (price [ticks], size [lots]) or None for an empty side. L2 has
    ``bids``, ``asks``: int64[levels, 2] – price, size; empty rows 0. L3 has ``kind`` (LIMIT,
    EXECUTION, CANCEL, REDUCE: visible lots that join or leave; REPLACE: visible lots that leave,
    the new order follows as LIMIT), ``order_id``, ``side``, ``price_ticks``, ``size_lots``. TRADES
    has ``side`` (the aggressor's; None for a cross), ``price_ticks``, ``size_lots``.
    """

    feed: Feed
    time_ns: int
    symbol: str
    bid: tuple[int, int] | None = None
    ask: tuple[int, int] | None = None
    bids: NDArray[np.int64] | None = None
    asks: NDArray[np.int64] | None = None
    kind: OrderKind | None = None
    order_id: int | None = None
    side: Side | None = None
    price_ticks: int | None = None
    size_lots: int | None = None


class Depth(NamedTuple):
    """Best levels: int64[levels, 2] – price [ticks], size [lots]; empty rows are 0."""

    bids: NDArray[np.int64]
    asks: NDArray[np.int64]


class Agent:
    """Base class of agents written in Python: override what you need.

    Everything an agent learns arrives one latency late, everything it sends takes its computation
    delay and its latency; an agent with zero latency is allowed. To be saved with a simulation, an
    agent with state of its own overrides :meth:`state_dict` and :meth:`load_state_dict`.
    """

    def on_start(self, market: "Handle") -> None:
        """The simulation begins; ask for wake-ups and feeds here."""

    def on_wakeup(self, market: "Handle") -> None:
        """A time that was asked for with ``wake_at`` or ``wake_after`` has come."""

    def on_fill(self, market: "Handle", fill: Fill) -> None:
        """One of the agent's orders traded."""

    def on_order(self, market: "Handle", update: OrderUpdate) -> None:
        """The exchange accepted, refused, cancelled, replaced or triggered an order."""

    def on_data(self, market: "Handle", data: Data) -> None:
        """A subscribed feed has something new."""

    def summary(self, market: "Handle") -> dict[str, Any]:
        """JSON values about this agent for the run's summary."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """State as JSON values and NumPy arrays.

        Raises
        ------
        StateError
            If the agent holds state (instance attributes) and does not say how to save it.
        """
        if vars(self):
            name = type(self).__name__
            raise StateError(
                f"{name}: cannot be saved, it has state {sorted(vars(self))} and no state_dict()"
            )
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        if state:
            raise StateError(f"{type(self).__name__}: has no load_state_dict() for {sorted(state)}")


class CompiledAgent:
    """Base class of agents whose ``wake`` is compiled and called by the kernel.

    A subclass sets ``wake`` to a :class:`~marketsim.compile.Callback` of signature
    :data:`~marketsim.market.WAKE` and ``headroom`` to the most messages that one wake-up sends.
    """

    wake: "Callback"
    headroom: int = 8
    wants_answers: bool = True

    def install(self, market: "Market", agent: int, symbol: int) -> None:
        """Write the agent's own records into the block and ask for the first wake-up."""

    def summary(self, market: "Market") -> dict[str, Any]:
        """JSON values about this agent for the run's summary."""
        return {}


class Handle:
    """An agent's view of the market, and its hands.

    Prices are ticks, sizes lots, times nanoseconds since midnight. ``symbol`` arguments default to
    the agent's own symbol. Everything is as the agent can know it: one latency old.
    """

    def __init__(self, simulation: "Simulation", agent: int, name: str, symbol: int) -> None:
        self._simulation = simulation
        self._agent = agent
        self._symbol = symbol
        self._open: dict[int, int] = {}
        self.name = name
        #: NumPy generator of this agent's own stream of the simulation's seed.
        self.rng = generator_for(simulation.seed, agent)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Handle":
        raise StateError("a market handle is copied with its simulation: use Simulation.fork()")

    def _forked(self, simulation: "Simulation") -> "Handle":
        twin = object.__new__(Handle)
        twin._simulation = simulation
        twin._agent, twin._symbol, twin.name = self._agent, self._symbol, self.name
        twin._open = dict(self._open)
        twin.rng = copy.deepcopy(self.rng)
        return twin

    # -- what the agent sees ---------------------------------------------------------------

    @property
    def agent_id(self) -> int:
        """The agent's number, as on the tape."""
        return self._agent

    @property
    def symbol(self) -> str:
        """Name of the agent's own symbol."""
        return self._simulation.symbols[self._symbol]

    @property
    def now_ns(self) -> int:
        """The time."""
        return int(self._simulation._market.scalars[0])

    @property
    def open_ns(self) -> int:
        """Start of the session."""
        return self._simulation.open_ns

    @property
    def close_ns(self) -> int:
        """End of the session."""
        return self._simulation.close_ns

    def _book(self, symbol: str | None) -> int:
        if symbol is None:
            return self._symbol
        return self._simulation.symbol_id(symbol)

    def touch(self, symbol: str | None = None) -> tuple[int, int, int, int]:
        """Best bid, its lots, best ask, its lots; a side without orders has 0 lots."""
        market = self._simulation._market
        book = self._book(symbol)
        while self._simulation._calls.view_touch(market.address, self._agent, book) == NO_ROOM:
            market.grow()
        bid, bid_lots, ask, ask_lots = market.mail[:4].tolist()
        return bid, bid_lots, ask, ask_lots

    @property
    def best_bid(self) -> int | None:
        """Best visible bid, or None."""
        bid, lots, _, _ = self.touch()
        return bid if lots else None

    @property
    def best_ask(self) -> int | None:
        """Best visible ask, or None."""
        _, _, ask, lots = self.touch()
        return ask if lots else None

    @property
    def mid_ticks(self) -> float | None:
        """Mean of best bid and ask, or None when a side is empty."""
        bid, bid_lots, ask, ask_lots = self.touch()
        return (bid + ask) / 2 if bid_lots and ask_lots else None

    @property
    def spread_ticks(self) -> int | None:
        """Best ask less best bid, or None when a side is empty."""
        bid, bid_lots, ask, ask_lots = self.touch()
        return ask - bid if bid_lots and ask_lots else None

    def depth(self, levels: int = 10, symbol: str | None = None) -> Depth:
        """The best ``levels`` levels of both sides."""
        market, book = self._simulation._market, self._book(symbol)
        bids, asks = np.zeros((levels, 2), np.int64), np.zeros((levels, 2), np.int64)
        for ladder, out in ((BIDS, bids), (ASKS, asks)):
            while view_depth(market.address, self._agent, book, ladder, out) == NO_ROOM:
                market.grow()
        return Depth(bids, asks)

    def traded_lots(self, symbol: str | None = None) -> int:
        """Lots that have traded since the start, hidden prints of recorded flow not included."""
        market = self._simulation._market
        self._simulation._calls.view_trades(market.address, self._agent, self._book(symbol))
        return int(market.mail[0])

    @property
    def last_price(self) -> int | None:
        """Price of the last trade, or None before the first."""
        market = self._simulation._market
        self._simulation._calls.view_trades(market.address, self._agent, self._symbol)
        volume, price = market.mail[:2].tolist()
        return price if volume else None

    def position_of(self, symbol: str | None = None) -> int:
        """Lots held, as far as the agent has heard of its fills; negative when short."""
        return self._simulation._known(self._agent, self._book(symbol))[0]

    @property
    def position(self) -> int:
        """Lots held of the agent's own symbol."""
        return self.position_of()

    @property
    def cash_ticks(self) -> int:
        """Cash from trades in all symbols [tick·lots], fees not included."""
        books = range(len(self._simulation.symbols))
        return sum(self._simulation._known(self._agent, book)[1] for book in books)

    @property
    def open_orders(self) -> dict[int, int]:
        """Lots that are open of each live order, as far as the agent has heard."""
        return dict(self._open)

    # -- what the agent does ---------------------------------------------------------------

    def wake_at(self, time_ns: int) -> None:
        """Ask to be woken at a time; a time that has passed means now."""
        market, time_ns = self._simulation._market, _integer("time_ns", time_ns)
        while self._simulation._calls.send_wake(market.address, self._agent, time_ns) == NO_ROOM:
            self._simulation._grow()

    def wake_after(self, delay_ns: int) -> None:
        """Ask to be woken after a delay."""
        self.wake_at(self.now_ns + delay_ns)

    def subscribe(self, feed: Feed | str, *, levels: int = 10, symbol: str | None = None) -> None:
        """Ask for a feed: ``"L1"``, ``"L2"`` (best ``levels`` levels), ``"L3"`` or ``"TRADES"``.

        Raises
        ------
        OrderError
            If there is no such feed or ``levels`` is not positive.
        """
        if isinstance(feed, str):
            if feed.upper() not in Feed.__members__:
                raise OrderError(f"feed must be one of {', '.join(Feed.__members__)}, was {feed!r}")
            feed = Feed[feed.upper()]
        if levels < 1:
            raise OrderError(f"levels must be > 0, was {levels}")
        depth = 1 if feed == Feed.L1 else levels
        self._simulation._subscribe(self._agent, self._book(symbol), int(feed), depth)

    def unsubscribe(self, feed: Feed | str, *, symbol: str | None = None) -> None:
        """Take a subscription back; messages on their way still arrive."""
        feed = Feed[feed.upper()] if isinstance(feed, str) else feed
        self._simulation._unsubscribe(self._agent, self._book(symbol), int(feed))

    def buy(self, size: int, limit: int | None = None, **how: Any) -> int:
        """Send a buy order; without ``limit`` a market order. See :meth:`order`."""
        return self.order(Side.BUY, size, limit, **how)

    def sell(self, size: int, limit: int | None = None, **how: Any) -> int:
        """Send a sell order; without ``limit`` a market order. See :meth:`order`."""
        return self.order(Side.SELL, size, limit, **how)

    def order(
        self,
        side: int,
        size: int,
        limit: int | None = None,
        *,
        tif: TimeInForce | str = TimeInForce.DAY,
        stop: int | None = None,
        post_only: bool = False,
        hidden: bool = False,
        display: int = 0,
        self_trade: SelfTrade | str | None = None,
        symbol: str | None = None,
    ) -> int:
        """Send an order; returns its id at once, the exchange's answer comes to ``on_order``.

        Parameters
        ----------
        side : ``Side.BUY`` or ``Side.SELL``.
        size : lots.
        limit : limit price [ticks]; None for a market order, whose unfilled rest is dropped.
        tif : GTC, DAY, IOC or FOK. A market order is immediate anyway.
        stop : stop price [ticks]: the order enters when a trade reaches it.
        post_only : refuse rather than take liquidity.
        hidden : rest unseen, behind visible orders at its price.
        display : visible part of an iceberg [lots]; 0 shows all.
        self_trade : what to do on meeting an own order; None: the exchange's rule.

        Raises
        ------
        OrderError
            If size or prices are not integers, the size is not positive or a word is unknown. What
            the exchange's rules forbid is rejected by the exchange instead.
        """
        flags = _flags(limit, tif, stop, post_only, hidden, self_trade)
        size = _integer("size_lots", size)
        if size < 1:
            raise OrderError(f"size_lots must be > 0, was {size}")
        price = 0 if limit is None else _integer("limit", limit)
        trigger = 0 if stop is None else _integer("stop", stop)
        display = _integer("display", display)
        simulation, book = self._simulation, self._book(symbol)
        call = (self._agent, book, int(side), price, size, display, trigger, flags)
        order_id: int = simulation._calls.send_order(simulation._market.address, *call)
        while order_id == NO_ROOM:
            simulation._grow()
            order_id = simulation._calls.send_order(simulation._market.address, *call)
        self._open[order_id] = size
        return order_id

    def _change(self, kind: Message, order_id: int, price: int, size: int) -> None:
        simulation = self._simulation
        call = (int(kind), self._agent, self._symbol, order_id, price, size)
        while simulation._calls.send_change(simulation._market.address, *call) == NO_ROOM:
            simulation._grow()

    def cancel(self, order_id: int) -> None:
        """Ask to cancel an order."""
        self._change(Message.CANCEL, _integer("order_id", order_id), 0, 0)

    def reduce(self, order_id: int, size: int) -> None:
        """Ask to take ``size`` lots off an order, which keeps its place."""
        order_id, size = _integer("order_id", order_id), _integer("size_lots", size)
        self._change(Message.REDUCE, order_id, 0, size)

    def replace(self, order_id: int, *, limit: int, size: int) -> None:
        """Ask for a new price and a new open size.

        The order keeps its place only if the price stays and the size does not grow.
        """
        order_id, limit = _integer("order_id", order_id), _integer("limit", limit)
        self._change(Message.REPLACE, order_id, limit, _integer("size_lots", size))


def _integer(field: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise OrderError(f"{field} must be an integer, was {value!r}")
    if not -(2**63) <= value < 2**63:
        raise OrderError(f"{field} must fit into 64 bits, was {value}")
    return int(value)


def _flags(
    limit: int | None,
    tif: TimeInForce | str,
    stop: int | None,
    post_only: bool,
    hidden: bool,
    self_trade: SelfTrade | str | None,
) -> int:
    if isinstance(tif, str):
        if tif.upper() not in TimeInForce.__members__:
            raise OrderError(f"tif must be one of GTC, DAY, IOC, FOK, was {tif!r}")
        tif = TimeInForce[tif.upper()]
    elif tif not in list(TimeInForce):
        raise OrderError(f"tif must be one of GTC, DAY, IOC, FOK, was {tif!r}")
    if isinstance(self_trade, str):
        self_trade = SelfTrade.__members__.get(self_trade.upper(), self_trade)
    if self_trade is not None and self_trade not in list(SelfTrade):
        names = ", ".join(SelfTrade.__members__)
        raise OrderError(f"self_trade must be one of {names}, was {self_trade!r}")
    flags = int(tif) | int(self_trade or 0)
    flags |= Flag.MARKET if limit is None else 0
    flags |= Flag.STOP if stop is not None else 0
    flags |= Flag.POST_ONLY if post_only else 0
    return flags | (Flag.HIDDEN if hidden else 0)


class Mailman:
    """Turns the kernel's mail into callbacks of Python agents."""

    def __init__(self, simulation: "Simulation") -> None:
        self._simulation = simulation
        self._handlers = {
            int(Message.WAKE): self._wake,
            int(Message.FILLED): self._fill,
            int(Message.ACCEPTED): self._update("accepted", None),
            int(Message.REJECTED): self._update("rejected", Reject),
            int(Message.CANCELLED): self._update("cancelled", Cancelled),
            int(Message.REPLACED): self._update("replaced", None),
            int(Message.CHANGE_REJECTED): self._update("change_rejected", Reject),
            int(Message.TRIGGERED): self._update("triggered", None),
            int(Message.L1): self._l1,
            int(Message.L2): self._l2,
            int(Message.L3): self._l3,
            int(Message.TRADE): self._trade,
        }

    def deliver(self) -> None:
        """Hand the message that is in the mail to its agent."""
        mail = self._simulation._market.mail.tolist()
        agent, handle = self._simulation._python[mail[1]]
        self._handlers[mail[0]](agent, handle, mail)

    def _wake(self, agent: Agent, handle: Handle, mail: list[int]) -> None:
        agent.on_wakeup(handle)

    def _fill(self, agent: Agent, handle: Handle, mail: list[int]) -> None:
        order_id, size = mail[3], mail[6]
        left = handle._open.get(order_id, size) - size
        if left > 0:
            handle._open[order_id] = left
        else:
            handle._open.pop(order_id, None)
        symbol = self._simulation.symbols[mail[2]]
        side = Side.BUY if mail[4] > 0 else Side.SELL
        maker, fee = bool(mail[8]), mail[9] / 1e6
        fill = Fill(mail[11], symbol, order_id, side, mail[5], size, left, maker, fee)
        agent.on_fill(handle, fill)

    def _update(self, status: str, reasons: Any) -> Any:
        def handler(agent: Agent, handle: Handle, mail: list[int]) -> None:
            order_id, size, left = mail[3], mail[6], handle._open.get(mail[3], 0)
            if status == "rejected":
                handle._open.pop(order_id, None)
                left = 0
            elif status == "cancelled":
                left = max(left - size, 0)
                if left:
                    handle._open[order_id] = left
                else:
                    handle._open.pop(order_id, None)
            elif status == "replaced":
                handle._open[order_id] = left = size
            side = Side(mail[4]) if mail[4] else None
            reason = reasons(mail[7]) if reasons else None
            symbol = self._simulation.symbols[mail[2]]
            update = OrderUpdate(
                mail[11], symbol, order_id, status, side, mail[5], size, left, reason
            )
            agent.on_order(handle, update)

        return handler

    def _l1(self, agent: Agent, handle: Handle, mail: list[int]) -> None:
        symbol = self._simulation.symbols[mail[2]]
        bid = (mail[7], mail[8]) if mail[8] else None
        ask = (mail[9], mail[10]) if mail[10] else None
        agent.on_data(handle, Data(Feed.L1, mail[11], symbol, bid=bid, ask=ask))

    def _l2(self, agent: Agent, handle: Handle, mail: list[int]) -> None:
        symbol = self._simulation.symbols[mail[2]]
        bids, asks = handle.depth(mail[8], symbol)
        agent.on_data(handle, Data(Feed.L2, mail[11], symbol, bids=bids, asks=asks))

    def _l3(self, agent: Agent, handle: Handle, mail: list[int]) -> None:
        data = Data(
            Feed.L3,
            mail[11],
            self._simulation.symbols[mail[2]],
            kind=OrderKind(mail[7]),
            order_id=mail[3],
            side=Side(mail[4]),
            price_ticks=mail[5],
            size_lots=mail[6],
        )
        agent.on_data(handle, data)

    def _trade(self, agent: Agent, handle: Handle, mail: list[int]) -> None:
        data = Data(
            Feed.TRADES,
            mail[11],
            self._simulation.symbols[mail[2]],
            side=Side(mail[4]) if mail[4] else None,
            price_ticks=mail[5],
            size_lots=mail[6],
        )
        agent.on_data(handle, data)
