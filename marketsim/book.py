"""Limit order book with price-time priority: market by order, compiled.

:class:`Book` is the book by itself, one call an event or an array of events a call; the exchange
runs the same compiled rules (:mod:`marketsim.matching`) inside a market.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marketsim.codes import OrderKind
from marketsim.compile import direct, entry, helper, hot
from marketsim.errors import OrderError, StateError
from marketsim.ladder import ASKS, BIDS, BUY_STOPS, SELL_STOPS, depth_of, index_find, mix, touch
from marketsim.market import Market, books, header, ladders, levels, orders, rungs
from marketsim.matching import (
    BAD_FLAGS,
    MARKET,
    MAX_PRICE,
    MAX_SIZE,
    PRICE,
    SIZE,
    UNKNOWN_ORDER,
    next_stop,
    reduce,
    remove_order,
    replace,
    submit,
    trigger,
)
from marketsim.records import POOL_NAMES
from marketsim.room import room

GROW, RESUME = -(1 << 62), -(1 << 62) + 1  # results that ask for a larger block
_LIMIT, _MARKET, _CANCEL = int(OrderKind.LIMIT), int(OrderKind.MARKET), int(OrderKind.CANCEL)
_REDUCE, _REPLACE = int(OrderKind.REDUCE), int(OrderKind.REPLACE)


@helper
def run_stops(m, b, result):
    """Run all triggered stops; ``result``, or RESUME when the block is too small to go on."""
    while True:
        slot = next_stop(m, b)
        if slot < 0:
            return result
        stop = orders(m, slot)
        if not room(m, b, stop.side, stop.price_ticks, stop.size_lots, stop.flags):
            header(m).resume_result = result
            return RESUME
        trigger(m, b, slot)


@hot
def settle(m, b, result):
    """What follows an order that may have traded."""
    if ladders(m, 4 * b + BUY_STOPS).levels + ladders(m, 4 * b + SELL_STOPS).levels == 0:
        return result
    return run_stops(m, b, result)


@hot
def enter(m, order_id, agent, side, price, size, display, stop, flags):
    """One order of any type into book 0."""
    if not room(m, 0, side, price, size, flags):
        return GROW
    return settle(m, 0, submit(m, 0, order_id, agent, side, price, size, display, stop, flags))


@helper
def change(m, kind, order_id, price, size):
    """Cancel, reduce or replace."""
    if kind != _CANCEL and (size < 1 or size > MAX_SIZE):
        return SIZE
    if kind == _REPLACE and (price > MAX_PRICE or price < -MAX_PRICE):
        return PRICE
    slot = index_find(m, order_id)
    if slot < 0:
        return UNKNOWN_ORDER
    order = orders(m, slot)
    if kind == _REPLACE:
        if not room(m, 0, order.side, price, size, order.flags):
            return GROW
        return settle(m, 0, replace(m, 0, slot, price, size))
    if kind == _REDUCE:
        return reduce(m, 0, slot, size)
    total = order.size_lots + order.reserve_lots
    remove_order(m, 0, slot)
    return total


@entry
def _plain(m, order_id, side, price, size, flags):
    return enter(m, order_id, -1, side, price, size, 0, 0, flags)


@entry
def _cancel(m, order_id):
    slot = index_find(m, order_id)
    if slot < 0:
        return UNKNOWN_ORDER
    order = orders(m, slot)
    total = order.size_lots + order.reserve_lots
    remove_order(m, 0, slot)
    return total


@entry
def _submit(m, order_id, agent, side, price, size, display, stop, flags):
    return enter(m, order_id, agent, side, price, size, display, stop, flags)


@entry
def _change(m, kind, order_id, price, size):
    return change(m, kind, order_id, price, size)


@entry
def _resume(m):
    return run_stops(m, 0, header(m).resume_result)


@entry
def _apply(m, kind, order_id, side, price, size, first, keep, results):
    """Events ``first`` and on, until done or the block is too small; returns how far it came."""
    for i in range(first, len(kind)):
        if not keep:
            header(m).outcomes_count = 0
        if kind[i] == _LIMIT or kind[i] == _MARKET:
            flags = MARKET if kind[i] == _MARKET else 0
            result = enter(m, order_id[i], -1, side[i], price[i], size[i], 0, 0, flags)
        elif kind[i] == _CANCEL or kind[i] == _REDUCE or kind[i] == _REPLACE:
            result = change(m, kind[i], order_id[i], price[i], size[i])
        else:
            result = BAD_FLAGS
        results[i] = result
        if result == GROW or result == RESUME:
            return i
    return len(kind)


@helper
def digest_order(m, state, slot, pending):
    """An order's share of the digest."""
    order = orders(m, slot)
    state = mix(state, order.order_id)
    if pending:
        state = mix(mix(state, order.stop_ticks), order.price_ticks)
        state = mix(state, order.size_lots)
    else:
        state = mix(mix(state, order.size_lots), order.reserve_lots)
    state = mix(mix(state, order.display_lots), order.agent)
    return mix(state, order.flags)


@helper
def book_digest(m, b):
    """Digest of one book: all queues in order, pending stops, last trade and totals."""
    state = 0
    width = header(m).ladder_levels
    for ladder in range(4):
        i = ladders(m, 4 * b + ladder).levels - 1
        while i >= 0:
            level = levels(m, rungs(m, (4 * b + ladder) * width + i).level)
            if ladder <= ASKS:
                state = mix(state, level.price_ticks)
            slot = level.head
            while slot >= 0:
                state = digest_order(m, state, slot, ladder > ASKS)
                slot = orders(m, slot).next
            if ladder <= ASKS:
                state = mix(state, -1)
                slot = level.hidden_head
                while slot >= 0:
                    state = digest_order(m, state, slot, False)
                    slot = orders(m, slot).next
                state = mix(state, -2)
            i -= 1
        state = mix(state, -3 - ladder)
    book = books(m, b)
    state = mix(state, book.traded)
    state = mix(state, book.last_ticks)
    state = mix(mix(state, book.trades), book.volume_lots)
    return mix(state, book.notional)


@entry
def _digest(m, b):
    return book_digest(m, b)


@entry
def _best(m, ladder):
    """Price of the best visible level, or GROW, which is no price."""
    slot = touch(m, 0, ladder)
    return levels(m, slot).price_ticks if slot >= 0 else GROW


@entry
def _depth(m, b, ladder, out):
    return depth_of(m, b, ladder, out)


def _fits(value: Any) -> bool:
    """Whether a value is an integer of 64 bits."""
    return isinstance(value, int | np.integer) and -(1 << 63) <= int(value) < 1 << 63


def _not_integers(order_id: Any, side: Any, price: Any, size: Any) -> OrderError:
    return OrderError(
        f"order id, side, price and size must be 64-bit integers,"
        f" were {order_id!r}, {side!r}, {price!r}, {size!r}"
    )


class Book:
    """Limit order book with price-time priority.

    Orders carry the caller's own ids. Every method returns the lots filled (``limit``, ``market``,
    ``submit``, ``replace``) or removed (``cancel``, ``reduce``), or minus a
    :class:`~marketsim.codes.Reject`. Prices are integer ticks within ±2**60, sizes integer lots.

    Examples
    --------
    >>> book = Book()
    >>> book.limit(1, Side.SELL, 101, 50)
    0
    >>> book.limit(2, Side.BUY, 102, 30)
    30
    """

    def __init__(self) -> None:
        self._market = Market(outcomes=4096)
        self._m = self._market.address
        self._taken: list[NDArray[Any]] = []
        self._plain, self._cancel = direct(_plain, 6), direct(_cancel, 2)
        self._best = direct(_best, 2)

    def limit(self, order_id: int, side: int, price_ticks: int, size_lots: int) -> int:
        """Plain limit order that rests until cancelled."""
        try:  # "| 0" refuses floats, which the machine code would truncate
            result: int = self._plain(
                self._m, order_id | 0, side | 0, price_ticks | 0, size_lots | 0, 0
            )
        except (TypeError, OverflowError):
            raise _not_integers(order_id, side, price_ticks, size_lots) from None
        if result <= RESUME:
            result = self._grown(result, _plain, order_id, side, price_ticks, size_lots, 0)
        return result

    def market(self, order_id: int, side: int, size_lots: int) -> int:
        """Plain market order; what finds no counterpart is dropped."""
        try:
            result: int = self._plain(self._m, order_id | 0, side | 0, 0, size_lots | 0, MARKET)
        except (TypeError, OverflowError):
            raise _not_integers(order_id, side, 0, size_lots) from None
        if result <= RESUME:
            result = self._grown(result, _plain, order_id, side, 0, size_lots, MARKET)
        return result

    def submit(
        self,
        order_id: int,
        side: int,
        size_lots: int,
        *,
        price_ticks: int = 0,
        stop_ticks: int = 0,
        display_lots: int = 0,
        agent_id: int = -1,
        flags: int = 0,
    ) -> int:
        """Any order; ``flags`` is a ``Flag`` combined with a ``SelfTrade`` mode.

        Parameters
        ----------
        price_ticks : limit; ignored for market orders.
        stop_ticks : with ``Flag.STOP``: enters when a trade reaches this price.
        display_lots : an iceberg's visible part; 0 shows all.
        agent_id : owner, for self-trade prevention; -1 owns nothing.
        """
        order = (order_id, agent_id, side, price_ticks, size_lots, display_lots, stop_ticks)
        if not all(_fits(value) for value in order) or not -1 <= agent_id < 1 << 31:
            raise OrderError(f"submit: ids, prices and sizes must be 64-bit integers, were {order}")
        if not 0 <= int(flags) < 1 << 31:
            raise OrderError(f"flags must be a Flag and a SelfTrade mode, were {flags!r}")
        result: int = _submit(self._m, *order, int(flags))
        if result <= RESUME:
            result = self._grown(result, _submit, *order, int(flags))
        return result

    def cancel(self, order_id: int) -> int:
        """Take a resting order or pending stop out."""
        try:
            result: int = self._cancel(self._m, order_id | 0)
        except (TypeError, OverflowError):
            raise _not_integers(order_id, 1, 0, 0) from None
        return result

    def reduce(self, order_id: int, size_lots: int) -> int:
        """Take lots off an order, which keeps its place; all of them is a cancel."""
        if not (_fits(order_id) and _fits(size_lots)):
            raise _not_integers(order_id, 1, 0, size_lots)
        result: int = _change(self._m, _REDUCE, order_id, 0, size_lots)
        return result

    def replace(self, order_id: int, price_ticks: int, size_lots: int) -> int:
        """New price and size; keeps its place only at the same price with no larger size."""
        if not all(_fits(value) for value in (order_id, price_ticks, size_lots)):
            raise _not_integers(order_id, 1, price_ticks, size_lots)
        result: int = _change(self._m, _REPLACE, order_id, price_ticks, size_lots)
        if result <= RESUME:
            result = self._grown(result, _change, _REPLACE, order_id, price_ticks, size_lots)
        return result

    def apply(
        self,
        kind: ArrayLike,
        order_id: ArrayLike,
        side: ArrayLike,
        price_ticks: ArrayLike,
        size_lots: ArrayLike,
        *,
        keep_outcomes: bool = True,
    ) -> NDArray[np.int64]:
        """An ordered array of events in one call.

        Parameters
        ----------
        kind : int[n] – ``OrderKind`` LIMIT, MARKET, CANCEL, REDUCE or REPLACE.
        order_id, side, price_ticks, size_lots : int[n] – what the event's method would get.
        keep_outcomes : whether :meth:`outcomes` will be asked; without, they are not collected.

        Returns
        -------
        int64[n] – each event's result.

        Raises
        ------
        OrderError
            If the arrays differ in length or are not integers.
        """
        columns = [np.asarray(c) for c in (kind, order_id, side, price_ticks, size_lots)]
        if len({column.shape for column in columns}) != 1 or columns[0].ndim != 1:
            shapes = [column.shape for column in columns]
            raise OrderError(f"apply: columns must be arrays of one length, were {shapes}")
        if not all(np.issubdtype(column.dtype, np.integer) for column in columns):
            raise OrderError(f"apply: columns must be integers, were {[c.dtype for c in columns]}")
        if any(len(column) and column.max() >= 1 << 63 for column in columns):
            raise OrderError("apply: columns must be 64-bit integers, a value was 2**63 or more")
        rows = [np.ascontiguousarray(column, np.int64) for column in columns]
        results = np.empty(len(rows[0]), np.int64)
        at = 0
        while at < len(results):
            at = _apply(self._m, *rows, at, keep_outcomes, results)
            if at < len(results):
                self._grow()
                if results[at] == RESUME:
                    results[at] = self._resumed()
                    at += 1
        return results

    def _grow(self) -> None:
        """Make room: take the outcomes away while there are any, else a larger block."""
        head = self._market.header
        if POOL_NAMES[head["grow_pool"]] == "outcomes" and head["outcomes_count"]:
            self._taken.append(self._outcomes_so_far())
            return
        self._market.grow()
        self._m = self._market.address

    def _resumed(self) -> int:
        while (result := int(_resume(self._m))) == RESUME:
            self._grow()
        return result

    def _grown(self, result: int, call: Any, *arguments: int) -> int:
        """Give a call that found the block too small a larger one, as often as it takes."""
        while result == GROW:
            self._grow()
            result = call(self._m, *arguments)
        if result == RESUME:
            self._grow()
            result = self._resumed()
        return result

    def outcomes(self) -> list[tuple[int, ...]]:
        """What happened since the last call, in order; then forgotten.

        Returns
        -------
        Tuples (``Outcome``, order id, other id, price [ticks], size [lots], agent, other agent):
        of a ``FILL`` the maker's id comes first.
        """
        fields = [
            "kind",
            "order_id",
            "other_id",
            "price_ticks",
            "size_lots",
            "agent",
            "other_agent",
        ]
        rows = self.outcome_rows()
        return list(zip(*(rows[field].tolist() for field in fields), strict=True))

    def outcome_rows(self) -> NDArray[Any]:
        """Like :meth:`outcomes`, as a structured array (fast for large batches)."""
        taken, self._taken = [*self._taken, self._outcomes_so_far()], []
        return np.concatenate(taken) if len(taken) > 1 else taken[0]

    def _outcomes_so_far(self) -> NDArray[Any]:
        count = int(self._market.header["outcomes_count"])
        rows: NDArray[Any] = self._market.view("outcomes")[:count].copy()
        self._market.header["outcomes_count"] = 0
        return rows

    @property
    def best_bid(self) -> int | None:
        """Price of the best visible bid [ticks]."""
        price: int = self._best(self._m, BIDS)
        return None if price == GROW else price

    @property
    def best_ask(self) -> int | None:
        """Price of the best visible ask [ticks]."""
        price: int = self._best(self._m, ASKS)
        return None if price == GROW else price

    def depth(self, levels: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Bids, asks: int64[levels, 2] – price [ticks], visible size [lots]; empty rows are 0."""
        if not isinstance(levels, int | np.integer) or levels < 0:
            raise OrderError(f"levels must be an integer >= 0, was {levels!r}")
        bids, asks = np.zeros((levels, 2), np.int64), np.zeros((levels, 2), np.int64)
        _depth(self._m, 0, BIDS, bids)
        _depth(self._m, 0, ASKS, asks)
        return bids, asks

    @property
    def last_price(self) -> int | None:
        """Price of the last trade [ticks]."""
        book = self._market.view("books")[0]
        return int(book["last_ticks"]) if book["traded"] else None

    @property
    def trades(self) -> int:
        """Number of trades so far."""
        return int(self._market.view("books")[0]["trades"])

    @property
    def volume(self) -> int:
        """Lots traded so far."""
        return int(self._market.view("books")[0]["volume_lots"])

    @property
    def notional(self) -> int:
        """Sum of price times size over all trades [ticks·lots]."""
        return int(self._market.view("books")[0]["notional"])

    @property
    def order_count(self) -> int:
        """Live orders, pending stops included."""
        return int(self._market.header["orders_live"])

    @property
    def live_lots(self) -> int:
        """Lots resting on both sides, hidden ones included."""
        return int(self._market.view("books")[0]["resting_lots"])

    def digest(self) -> int:
        """64-bit digest of the whole state; equal to the naive twin's."""
        return int(_digest(self._m, 0)) & (1 << 64) - 1

    def validate(self) -> None:
        """Check every invariant of the book.

        Raises
        ------
        StateError
            Naming the first invariant that does not hold.
        """
        from marketsim.invariants import broken_invariant

        fault = broken_invariant(self._market, 0)
        if fault:
            raise StateError(f"book: {fault}")
