"""A synthetic trading day of LOBSTER-like messages, from random order flow through a real book.

The flow is the zero-intelligence Poisson model of Cont, Stoikov & Talreja (2010): limit orders
arrive at a random distance from the opposite best quote, market orders take from the touch, and
each resting order is cancelled at the same rate, so that cancels are proportional to what rests.
Three things are added, so that a picture of the day looks like a market: activity is U-shaped over
the day, sizes cluster on round lots, and the side of an order leans towards a slowly mean-reverting
fair value.

References
----------
Cont, Stoikov & Talreja (2010), A stochastic model for order book dynamics, Operations Research
58(3), sections 2 and 3.
"""

from dataclasses import dataclass
from math import tanh
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketsim.book import Book
from marketsim.clock import parse_time
from marketsim.codes import Cause, Flag, OrderKind, Outcome, Side
from marketsim.errors import ConfigError
from marketsim.tape import Tape

BUY, SELL = int(Side.BUY), int(Side.SELL)
NS_PER_MINUTE = 60_000_000_000


@dataclass(frozen=True)
class Flow:
    """Constants of the flow; those without a source were set so that the day resembles
    LOBSTER's sample of GOOG, 21 June 2012.

    Attributes
    ----------
    limit_share, market_share, hidden_share : float
        Shares of limit orders, market orders and executions of hidden orders among the events while
        ``resting_orders`` rest; the other events are cancels.
    resting_orders : float
        Resting orders, both sides, at which arrivals and departures balance.
    reduce_share : float
        Share of the cancels that take only part of an order.
    join_share : float
        Share of the limit orders that join the best quote of their own side.
    distance_ticks, distance_sigma : float
        Median and spread of the lognormal distance of the others from the opposite best quote.
    round_lots : tuple of (lots, share)
        Sizes that orders cluster on; all others are lognormal with ``size_lots``, ``size_sigma``.
    opening_rush : float
        Activity at the open and the close over the day's mean, less one; falls as a parabola.
    sweep_levels : int
        A market order takes from no more levels than these: it is a marketable limit order.
    fair_sigma_ticks, fair_memory_minutes : float
        Volatility per square root of a minute and time of reversion of the fair value, an
        Ornstein-Uhlenbeck process around the first mid-price.
    lean, lean_ticks : float
        The side leans towards the fair value by at most ``lean``; by 76 % of it when the mid-price
        is ``lean_ticks`` away.
    warm_up_events : int
        Events before the open, which leave the book from which the day starts.
    """

    limit_share: float = 0.49
    market_share: float = 0.045
    hidden_share: float = 0.025
    resting_orders: float = 140.0
    reduce_share: float = 0.01
    join_share: float = 0.08
    distance_ticks: float = 85.0
    distance_sigma: float = 0.65
    round_lots: tuple[tuple[int, float], ...] = ((100, 0.47), (200, 0.03), (300, 0.01), (500, 0.01))
    size_lots: float = 14.0
    size_sigma: float = 0.9
    opening_rush: float = 0.6
    sweep_levels: int = 3
    fair_sigma_ticks: float = 40.0
    fair_memory_minutes: float = 90.0
    lean: float = 0.3
    lean_ticks: float = 40.0
    warm_up_events: int = 3_000


def synthetic_tape(
    seed: int = 0,
    open: str | int = "09:30",
    close: str | int = "16:00",
    orders_per_second: float = 6.0,
    levels: int = 10,
    mid_ticks: int = 58_000,
    tick_size: float = 0.01,
) -> Tape:
    """Generate a trading day; the same arguments give the same tape.

    Parameters
    ----------
    seed : int
        Seed of the one random stream, ``PCG64``.
    open, close : str or int
        Times of day, such as ``"09:30"``, or nanoseconds since midnight.
    orders_per_second : float
        Mean number of events a second. A market order is one event, and one row for each resting
        order that it executes.
    levels : int
        Levels of the tape's book; at least twice as many orders rest on each side.
    mid_ticks : int
        Mid-price around which the day starts, at least 2,000 [ticks].
    tick_size : float
        Currency a tick.

    Returns
    -------
    Tape
        ``LIMIT``, ``REDUCE``, ``CANCEL``, ``EXECUTION`` and ``HIDDEN_EXECUTION`` rows, with changes
        of the whole visible book. What rests at the open is in ``reveals``, one row a level.

    Raises
    ------
    ConfigError
        An argument is out of range.
    """
    open_ns, close_ns = parse_time(open, "open"), parse_time(close, "close")
    for name, holds, rule, value in (
        ("close", close_ns > open_ns, "be after open", close),
        ("orders_per_second", orders_per_second > 0, "be > 0", orders_per_second),
        ("levels", levels >= 1, "be >= 1", levels),
        ("mid_ticks", mid_ticks >= 2_000, "be >= 2000", mid_ticks),
        ("tick_size", tick_size > 0, "be > 0", tick_size),
    ):
        if not holds:
            raise ConfigError(f"{name} must {rule}, was {value!r}")
    rng = np.random.Generator(np.random.PCG64(seed))
    flow = Flow()
    times = _arrival_times(rng, flow, open_ns, close_ns, orders_per_second)
    market = _Market(flow, 2 * levels)
    market.open_around(mid_ticks, _draw(rng, flow, flow.warm_up_events), open_ns)
    fair = _fair_value(rng, flow, times, open_ns, mid_ticks)
    for time_ns, fair_ticks, draws in zip(
        times.tolist(), fair.tolist(), _draw(rng, flow, len(times)), strict=True
    ):
        market.step(time_ns, fair_ticks, *draws)
    meta = {
        "symbol": "SYNTH",
        "tick_size": tick_size,
        "levels": levels,
        "open_ns": open_ns,
        "close_ns": close_ns,
        "source": "synthetic",
        "seed": seed,
        "units_per_tick": round(tick_size * 10_000),
    }
    return market.tape(meta)


def _arrival_times(
    rng: np.random.Generator, flow: Flow, open_ns: int, close_ns: int, per_second: float
) -> NDArray[np.int64]:
    """Times of a Poisson process with U-shaped intensity, by inverting its integral."""
    length_ns = close_ns - open_ns
    count = rng.poisson(per_second * length_ns / 1e9)
    day = np.linspace(-1.0, 1.0, 1_001)  # from open to close
    parabola = 1.5 * flow.opening_rush * (day**2 - 1 / 3)  # +rush at both ends, mean 0
    intensity = np.maximum(1 + parabola, 0.0)
    integral = np.concatenate(([0.0], np.cumsum((intensity[1:] + intensity[:-1]) / 2)))
    share = np.interp(np.sort(rng.random(count)) * integral[-1], integral, (day + 1) / 2)
    elapsed_ns: NDArray[np.int64] = np.minimum(share * length_ns, length_ns - 1).astype(np.int64)
    return open_ns + elapsed_ns


def _fair_value(
    rng: np.random.Generator, flow: Flow, times: NDArray[np.int64], open_ns: int, mid_ticks: int
) -> NDArray[np.float64]:
    """Ornstein-Uhlenbeck path, exact on a grid of minutes, read off at ``times``."""
    minutes = (times - open_ns) / NS_PER_MINUTE
    steps = int(minutes[-1]) + 2 if len(times) else 1
    decay = np.exp(-1.0 / flow.fair_memory_minutes)
    sigma = flow.fair_sigma_ticks * np.sqrt((1 - decay**2) * flow.fair_memory_minutes / 2)
    path = np.zeros(steps + 1)
    for i, shock in enumerate(rng.standard_normal(steps) * sigma):
        path[i + 1] = path[i] * decay + shock
    return mid_ticks + np.interp(minutes, np.arange(steps + 1), path)


def _draw(rng: np.random.Generator, flow: Flow, count: int) -> list[list[Any]]:
    """Randomness of ``count`` events: kind, side and choice in [0, 1), distance, size."""
    uniform = rng.random((4, count))
    distance = rng.lognormal(np.log(flow.distance_ticks), flow.distance_sigma, count)
    size = rng.lognormal(np.log(flow.size_lots), flow.size_sigma, count).astype(np.int64) + 1
    edge = 0.0
    for lots, share in flow.round_lots:
        size[(uniform[3] >= edge) & (uniform[3] < edge + share)] = lots
        edge += share
    columns = (*uniform[:3].tolist(), (distance.astype(np.int64) + 1).tolist(), size.tolist())
    return [list(row) for row in zip(*columns, strict=True)]


class _Market:
    """A book, the orders that rest in it, and the rows of what happens."""

    def __init__(self, flow: Flow, least_orders: int) -> None:
        self._flow = flow
        self._least_orders = least_orders
        self._book = Book()
        self._last_id = 0
        self._live: list[int] = []  # ids, in any order, for drawing one
        self._orders: dict[int, list[int]] = {}  # id -> [place in _live, side, price, lots]
        self._counts = {BUY: 0, SELL: 0}
        self._levels: dict[tuple[int, int], int] = {}  # (side, price) -> lots
        self._rows: list[tuple[int, ...]] = []
        self._trades: list[tuple[int, ...]] = []
        self._deltas: list[tuple[int, ...]] = []
        self._opening: list[tuple[int, ...]] = []

    def open_around(self, mid_ticks: int, draws: list[list[Any]], open_ns: int) -> None:
        """Fill the book, let it settle, and forget all rows but what rests then."""
        for side in (BUY, SELL):
            self._limit(0, side, mid_ticks - 10 * side, 100)
        for draw in draws:
            self.step(0, float(mid_ticks), *draw)
        best_first = sorted(self._levels, key=lambda level: (-level[0], -level[0] * level[1]))
        self._opening = [
            (open_ns, -1, side, price, 0, self._levels[side, price], int(Cause.OPEN))
            for side, price in best_first
        ]
        self._rows, self._trades = [], []
        self._deltas = [(row[1], row[2], row[3], row[5]) for row in self._opening]

    def step(
        self, time_ns: int, fair: float, kind: float, side_draw: float, choice: float, *draw: int
    ) -> None:
        """One event."""
        flow = self._flow
        bid, ask = self._book.best_bid, self._book.best_ask
        assert bid is not None and ask is not None  # no event may empty a side
        lean = flow.lean * tanh((fair - (bid + ask) / 2) / flow.lean_ticks)
        side = BUY if side_draw < 0.5 + lean else SELL
        distance, size = draw
        arrivals = flow.limit_share + flow.market_share + flow.hidden_share
        cancels = (1 - arrivals) * len(self._live) / flow.resting_orders
        kind *= arrivals + cancels
        needy = next((s for s in (BUY, SELL) if self._counts[s] <= self._least_orders), 0)
        if needy or kind < flow.limit_share:
            side = needy or side
            price = ask - distance if side == BUY else bid + distance
            if choice < flow.join_share:
                price = bid if side == BUY else ask
            self._limit(time_ns, side, max(price, 1), size)
        elif kind < flow.limit_share + flow.market_share:
            self._market(time_ns, side, size)
        elif kind < arrivals:
            self._hidden(time_ns, -side, (bid + ask) // 2, size)
        else:
            order_id = self._live[int(choice * len(self._live))]
            self._cancel(time_ns, order_id, (kind - arrivals) / cancels < flow.reduce_share)

    def _limit(self, time_ns: int, side: int, price: int, size: int) -> None:
        self._last_id += 1
        self._book.limit(self._last_id, side, price, size)
        self._orders[self._last_id] = [len(self._live), side, price, 0]
        self._live.append(self._last_id)
        self._counts[side] += 1
        self._row(time_ns, OrderKind.LIMIT, self._last_id, size, size)

    def _market(self, time_ns: int, side: int, size: int) -> None:
        """Take from the touch, and leave a level standing whatever the size."""
        flow = self._flow
        opposite = self._book.depth(flow.sweep_levels + 1)[1 if side == BUY else 0].tolist()
        standing = [price for price, lots in opposite if lots][:-1]
        if not standing:
            return
        self._last_id += 1
        limit = standing[-1]
        self._book.submit(self._last_id, side, size, price_ticks=limit, flags=int(Flag.IOC))
        for outcome, maker_id, taker_id, price, lots, *_ in self._book.outcomes():
            if outcome == Outcome.FILL:
                sequence = len(self._rows)
                self._trades.append((time_ns, sequence, price, lots, side, maker_id, taker_id))
                self._row(time_ns, OrderKind.EXECUTION, maker_id, lots, -lots)

    def _hidden(self, time_ns: int, side: int, price: int, size: int) -> None:
        """Print inside the spread against an order that nobody saw."""
        sequence = len(self._rows)
        self._trades.append((time_ns, sequence, price, size, -side, 0, 0))
        self._rows.append((time_ns, int(OrderKind.HIDDEN_EXECUTION), 0, side, price, size))

    def _cancel(self, time_ns: int, order_id: int, in_part: bool) -> None:
        lots = self._orders[order_id][3]
        if in_part and lots > 1:
            self._book.reduce(order_id, lots // 2)
            self._row(time_ns, OrderKind.REDUCE, order_id, lots // 2, -(lots // 2))
        else:
            self._book.cancel(order_id)
            self._row(time_ns, OrderKind.CANCEL, order_id, lots, -lots)

    def _row(self, time_ns: int, kind: OrderKind, order_id: int, size: int, change: int) -> None:
        """Note a message and the change of its level, and forget the order when it is gone."""
        place, side, price, _ = order = self._orders[order_id]
        level = self._levels.get((side, price), 0) + change
        self._deltas.append((len(self._rows), side, price, level))
        self._rows.append((time_ns, int(kind), order_id, side, price, size))
        order[3] += change
        if level:
            self._levels[side, price] = level
        else:
            del self._levels[side, price]
        if order[3] == 0:
            del self._orders[order_id]
            last = self._live.pop()
            if last != order_id:
                self._live[place] = last
                self._orders[last][0] = place
            self._counts[side] -= 1

    def tape(self, meta: dict[str, Any]) -> Tape:
        """All rows since the open as a tape."""
        orders = ("time_ns", "kind", "order_id", "side", "price_ticks", "size_lots")
        trade = ("time_ns", "sequence", "price_ticks", "size_lots", "side")
        reveals = ("time_ns", "sequence", "side", "price_ticks", "size_before_lots", "size_lots")
        return Tape(
            _columns(orders, self._rows),
            _columns((*trade, "maker_order_id", "taker_order_id"), self._trades),
            meta,
            reveals=_columns((*reveals, "cause"), self._opening),
            deltas=_columns(("sequence", "side", "price_ticks", "size_lots"), self._deltas),
        )


def _columns(names: tuple[str, ...], rows: list[tuple[int, ...]]) -> dict[str, NDArray[np.int64]]:
    table = np.array(rows, dtype=np.int64).reshape(-1, len(names))
    return dict(zip(names, table.T, strict=True))
