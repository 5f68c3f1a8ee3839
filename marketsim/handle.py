"""The handle through which an agent sees the market and trades."""

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marketsim.codes import Feed, Flag, Phase, SelfTrade, Side, TimeInForce
from marketsim.errors import OrderError, StateError
from marketsim.events import Message
from marketsim.kernel import NO_ROOM
from marketsim.ladder import ASKS, BIDS
from marketsim.market_data import view_depth, view_phase
from marketsim.rng import generator_for
from marketsim.rules import lot_of, tick_of

if TYPE_CHECKING:
    from marketsim.simulation import Simulation


class Depth(NamedTuple):
    """Best levels: int64[levels, 2] – price [ticks], size [lots]; empty rows are 0."""

    bids: NDArray[np.int64]
    asks: NDArray[np.int64]


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
    def symbols(self) -> tuple[str, ...]:
        """Names of all symbols of the exchange."""
        return tuple(self._simulation.symbols)

    def money_of(self, symbol: str | None = None) -> float:
        """Currency for a tick·lot of a symbol: its tick size times its lot size."""
        config = self._simulation.symbol_configs[self._book(symbol)]
        return float(config.tick_size * config.lot_size)

    def price_increment(self, price: int, symbol: str | None = None) -> int:
        """What an order's price must be a multiple of, at a price [ticks]."""
        address = self._simulation._market.address
        return int(tick_of(address, self._book(symbol), _integer("price_ticks", price)))

    def size_increment(self, symbol: str | None = None) -> int:
        """What an order's size must be a multiple of, at the last trade's price [lots]."""
        return int(lot_of(self._simulation._market.address, self._book(symbol)))

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
        simulation = self._simulation
        market, book = simulation._market, self._symbol
        if symbol is not None:
            book = simulation.symbol_id(symbol)
        simulation._calls.view_touch(market.address, self._agent, book)
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
        levels = _integer("levels", levels)
        if levels < 1:
            raise OrderError(f"levels must be > 0, was {levels}")
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

    def phase_of(self, symbol: str | None = None) -> Phase:
        """What the market does with orders now: trade them, collect them, or refuse them."""
        address = self._simulation._market.address
        return Phase(view_phase(address, self._agent, self._book(symbol)))

    @property
    def phase(self) -> Phase:
        """Phase of the agent's own symbol."""
        return self.phase_of()

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
        return {order_id: lots for order_id, lots in self._open.items() if lots > 0}

    def _changed(self, order_id: int, by: int) -> int:
        """Open lots of an order after a change. Below zero until what it overtook has come too."""
        left = self._open.get(order_id, 0) + by
        if left:
            self._open[order_id] = left
        else:
            self._open.pop(order_id, None)
        return max(left, 0)

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
        """Ask for a feed: ``"L1"``, ``"L2"`` (best ``levels`` levels), ``"L3"``, ``"TRADES"``,
        ``"IMBALANCE"`` or ``"SESSION"``.

        Raises
        ------
        OrderError
            If there is no such feed or ``levels`` is not positive.
        """
        feed, levels = _feed(feed), _integer("levels", levels)
        if levels < 1:
            raise OrderError(f"levels must be > 0, was {levels}")
        depth = 1 if feed == Feed.L1 else levels
        self._simulation._subscribe(self._agent, self._book(symbol), int(feed), depth)

    def unsubscribe(self, feed: Feed | str, *, symbol: str | None = None) -> None:
        """Take a subscription back; messages on their way still arrive."""
        feed = _feed(feed)
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
        if isinstance(side, bool) or side not in (Side.BUY, Side.SELL):
            raise OrderError(f"side must be Side.BUY (1) or Side.SELL (-1), was {side!r}")
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


def _feed(feed: Feed | str) -> Feed:
    if isinstance(feed, str) and feed.upper() in Feed.__members__:
        return Feed[feed.upper()]
    if not isinstance(feed, Feed):
        raise OrderError(f"feed must be one of {', '.join(Feed.__members__)}, was {feed!r}")
    return feed


def _integer(field: str, value: Any) -> int:
    if type(value) is not int and (
        isinstance(value, bool) or not isinstance(value, int | np.integer)
    ):
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
