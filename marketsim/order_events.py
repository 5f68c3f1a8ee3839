"""Orders of a tape as events that mean the same whatever their source: limit, cancel, market."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from marketsim.codes import OrderKind
from marketsim.tape import Tape

Ints = NDArray[np.int64]

_ENTERS = (OrderKind.LIMIT, OrderKind.MARKET, OrderKind.REPLACE)
_LEAVES = (OrderKind.CANCEL, OrderKind.REDUCE, OrderKind.REPLACE)


class Event(IntEnum):
    """What an order does to the book: adds to it, takes back, or trades with it."""

    LIMIT = 0
    CANCEL = 1
    MARKET = 2


@dataclass(frozen=True)
class Events:
    """Order events of a session, in order.

    Attributes
    ----------
    time_ns : int64[n]
    kind : int64[n], :class:`Event`
    side : int64[n], +1 buys, -1 sells; of a market order the aggressor's.
    price_ticks, size_lots : int64[n]; of a market order the price of its first trade, and all that
        it traded.
    row : int64[n], row of ``tape.orders`` and ``tape.book`` that shows the book after the event.
    first_row : int64[n], its first row, the same but for a market order told in several rows.
    """

    time_ns: Ints
    kind: Ints
    side: Ints
    price_ticks: Ints
    size_lots: Ints
    row: Ints
    first_row: Ints

    def __len__(self) -> int:
        return len(self.time_ns)

    def of(self, kind: Event) -> NDArray[np.bool_]:
        """Which of the events are of a kind."""
        which: NDArray[np.bool_] = self.kind == int(kind)
        return which


def order_events(tape: Tape, start_ns: int, end_ns: int, levels: int | None = None) -> Events:
    """Return the events of ``start_ns <= time < end_ns``.

    With ``levels``, those are left out that a tape of so many levels would not show: limit orders
    and cancels farther out than the last of that many levels on their side.

    A recorded market order is a run of ``EXECUTION`` rows of one time and side: one event. An
    order that trades as it enters is a market order for what it trades, and a limit order for what
    of it rests. A replaced order is cancelled and entered anew. Hidden executions, crosses and
    halts carry no order of ours, nor do stop orders: their trades have no order that enters.
    """
    orders = tape.orders
    first, last = (int(at) for at in np.searchsorted(orders["time_ns"], (start_ns, end_ns)))
    kind = orders["kind"][first:last]
    side = orders["side"][first:last].astype(np.int64)
    price, size = orders["price_ticks"][first:last], orders["size_lots"][first:last]
    time_ns = orders["time_ns"][first:last]
    traded, traded_price = _traded(tape, first, last)
    row = np.arange(first, last)
    enters, leaves = np.isin(kind, _ENTERS), np.isin(kind, _LEAVES)
    takes = enters & (traded > 0)
    rests = enters & (kind != int(OrderKind.MARKET)) & (traded < size)
    parts = [
        _part(0, Event.CANCEL, leaves, time_ns, side, price, size, row),
        _part(1, Event.MARKET, takes, time_ns, side, traded_price, traded, row),
        _runs(kind, time_ns, side, price, size, row),
        _part(2, Event.LIMIT, rests, time_ns, side, price, size - traded, row),
    ]
    table = np.concatenate(parts)
    order = np.lexsort((table[:, 7], table[:, 5]))
    columns = np.ascontiguousarray(table[order].T)
    events = Events(*columns[:7])
    if levels is None or not tape.book_form:
        return events
    seen = _in_sight(tape, events, levels)
    return events if seen.all() else Events(*columns[:7, seen])


def _in_sight(tape: Tape, events: Events, levels: int) -> NDArray[np.bool_]:
    """Which events a tape of so many levels shows, by the book before them."""
    seen: NDArray[np.bool_] = events.of(Event.MARKET) | (events.first_row == 0)
    book, at = tape.book, levels - 1
    if book.levels < levels:
        return np.ones(len(events), np.bool_)
    before = np.maximum(events.first_row - 1, 0)
    for side, price, size in (
        (1, book.bid_price_ticks, book.bid_size_lots),
        (-1, book.ask_price_ticks, book.ask_size_lots),
    ):
        last, full = price[before, at], size[before, at] > 0
        near = ~full | ((events.price_ticks - last) * side >= 0)
        seen |= near & (events.side == side)
    return seen


def _traded(tape: Tape, first: int, last: int) -> tuple[Ints, Ints]:
    """Lots that each row of orders traded, and at which price first; both ``int64[last - first]``.

    An auction's trades, of no side, are nobody's market order.
    """
    trades = tape.trades
    sequence = trades["sequence"]
    low, high = (int(at) for at in np.searchsorted(sequence, (first, last)))
    seen = np.flatnonzero(trades["side"][low:high] != 0) + low
    row = sequence[seen] - first
    lots = np.bincount(row, trades["size_lots"][seen], minlength=last - first).astype(np.int64)
    price = np.zeros(last - first, np.int64)
    price[row[::-1]] = trades["price_ticks"][seen[::-1]]  # of equal rows the first one stays
    return lots, price


def _part(
    rank: int,
    event: Event,
    which: NDArray[np.bool_],
    time_ns: Ints,
    side: Ints,
    price: Ints,
    size: Ints,
    row: Ints,
) -> Ints:
    """Events of one kind; ``rank`` orders those of the same row."""
    columns = [column[which] for column in (time_ns, side, price, size, row, row)]
    count = len(columns[0])
    kinds, ranks = np.full(count, int(event)), np.full(count, rank)
    return np.column_stack([columns[0], kinds, *columns[1:], ranks])


def _runs(
    kind: NDArray[np.int8], time_ns: Ints, side: Ints, price: Ints, size: Ints, row: Ints
) -> Ints:
    """Market orders that a source tells by the resting orders that they executed."""
    at = np.flatnonzero(kind == int(OrderKind.EXECUTION))
    if not len(at):
        return np.empty((0, 8), np.int64)
    new = np.append(True, (np.diff(time_ns[at]) != 0) | (np.diff(side[at]) != 0))
    starts = np.flatnonzero(new)
    ends = np.append(starts[1:], len(at)) - 1
    count = len(starts)
    return np.column_stack(
        [
            time_ns[at[starts]],
            np.full(count, int(Event.MARKET)),
            -side[at[starts]],
            price[at[starts]],
            np.add.reduceat(size[at], starts),
            row[at[ends]],
            row[at[starts]],
            np.full(count, 1),
        ]
    )
