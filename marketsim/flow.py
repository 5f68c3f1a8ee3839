"""Order flow as generators see it: events, each with the book that it met.

The same records for a tape, real or simulated, and for a running market that a world agent drives:
what a model was trained on and what it sees while it simulates are told apart by nothing.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marketsim.errors import DataError
from marketsim.order_events import Event, order_events
from marketsim.tape import Tape

LEVELS = 10

#: A book of 10 levels, best first: bid price, bid size, ask price, ask size; empty levels 0.
BOOK_SHAPE = (LEVELS, 4)
#: An event and the book before it. ``kind`` is an :class:`~marketsim.order_events.Event`; ``side``
#: that of the order, of a market order the aggressor's; the price of a market order is that of its
#: first trade, its size all that it traded.
FLOW = np.dtype(
    [
        ("time_ns", np.int64), ("kind", np.int64), ("side", np.int64),
        ("price_ticks", np.int64), ("size_lots", np.int64), ("book", np.int64, BOOK_SHAPE),
    ]
)  # fmt: skip
Flow = NDArray[Any]
#: As the book takes them: prices within these of 0 [ticks], sizes up to that [lots].
MAX_PRICE_TICKS, MAX_SIZE_LOTS = 1 << 55, 1 << 40


class View(NamedTuple):
    """What a generator is shown of a market when it is to write the next order.

    ``flow``: FLOW[n], the events since it was asked before, oldest first. ``book``: int64[10, 4],
    the book now. ``own_lots``: int64[10, 2], the lots of bid and ask levels that belong to the
    generated flow, which it can cancel. ``now_ns``: the time.
    """

    flow: Flow
    book: NDArray[np.int64]
    own_lots: NDArray[np.int64]
    now_ns: int


class Order(NamedTuple):
    """The next order of the flow, to be sent ``delay_ns`` after the event before it.

    ``kind`` is an :class:`~marketsim.order_events.Event`. The price of a market order does not
    count; a cancel takes up to ``size_lots`` of an order at its price. ``rejected``: draws that
    were thrown away before this one; ``fallback``: it is not drawn from the model.
    """

    kind: int
    side: int
    price_ticks: int
    size_lots: int
    delay_ns: int
    rejected: int = 0
    fallback: bool = False


def book_array(tape: Tape, levels: int = LEVELS) -> NDArray[np.int64]:
    """Book after each row of a tape's orders, int64[n, levels, 4]; see :data:`BOOK_SHAPE`."""
    book = tape.book
    have = min(levels, book.levels)
    array = np.zeros((book.size, levels, 4), np.int64)
    columns = (book.bid_price_ticks, book.bid_size_lots, book.ask_price_ticks, book.ask_size_lots)
    for place, column in enumerate(columns):
        array[:, :have, place] = column[:, :have]
    for price, size in ((0, 1), (2, 3)):
        array[..., price] *= array[..., size] > 0
    return array


def flow_of(tape: Tape, start_ns: int = 0, end_ns: int = 2**62) -> Flow:
    """Return the events of ``start_ns <= time < end_ns`` with the books before them, ``FLOW[n]``.

    The book before an event is the book after the row before its first one. Events of the tape's
    first row, before which no book is known, are left out, and events out of sight: beyond the
    best 10 levels.

    Raises
    ------
    DataError
        If the tape has no book.
    """
    if not len(tape):
        raise DataError("flow: the tape has no orders")
    if not tape.book_form:
        raise DataError("flow: the tape has no book")
    events = order_events(tape, start_ns, end_ns, LEVELS)
    known = events.first_row > 0
    flow = np.zeros(int(known.sum()), FLOW)
    for name in ("time_ns", "kind", "side", "price_ticks", "size_lots"):
        flow[name] = getattr(events, name)[known]
    flow["book"] = book_array(tape)[events.first_row[known] - 1]
    return flow


def check_flow(flow: Flow) -> None:
    """Whether a flow could be a market's.

    Raises
    ------
    DataError
        If it is no array of FLOW records, time falls, or an event or book is none that there can
        be.
    """
    if flow.dtype != FLOW:
        raise DataError(f"flow: must be an array of FLOW records, was {flow.dtype}")
    kind, size, book = flow["kind"], flow["size_lots"], flow["book"]
    kinds = [int(event) for event in Event]
    wrong = {
        "time_ns": np.diff(flow["time_ns"], prepend=flow["time_ns"][:1]) < 0,
        "kind": ~np.isin(kind, kinds),
        "side": ~np.isin(flow["side"], (1, -1)),
        "price_ticks": _absurd(flow["price_ticks"]),
        "size_lots": (size <= 0) | (size > MAX_SIZE_LOTS),
        "book": (_absurd(book[..., ::2]) | (book[..., 1::2] < 0)).any(axis=(1, 2)),
    }
    for name, rows in wrong.items():
        if rows.any():
            row = int(np.flatnonzero(rows)[0])
            found = np.array2string(flow[name][row], separator=", ").replace("\n", "")
            raise DataError(f"flow: {name} of event {row} cannot be {found}")


def _absurd(price_ticks: NDArray[np.int64]) -> NDArray[np.bool_]:
    beyond: NDArray[np.bool_] = (price_ticks < -MAX_PRICE_TICKS) | (price_ticks > MAX_PRICE_TICKS)
    return beyond
