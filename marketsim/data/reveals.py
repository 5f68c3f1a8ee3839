"""Levels of a recorded book that its messages do not explain (compiled).

A source of L levels sends the messages that touch these levels only. When the touch moves away, a
level comes into view that rested before the first message, or changed while out of sight. Each such
difference is a *reveal* after the row whose snapshot shows it: messages and reveals together
explain every snapshot.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketsim.codes import Cause, OrderKind
from marketsim.compile import entry, helper
from marketsim.tape_book import level_size, new_ladders, put, with_room
from marketsim.tape_tables import BookTable, Table

Int = NDArray[np.int64]

LIMIT = int(OrderKind.LIMIT)
CANCEL = int(OrderKind.CANCEL)
EXECUTION = int(OrderKind.EXECUTION)
OPEN = int(Cause.OPEN)
ADDED = int(Cause.ADDED)
GONE = int(Cause.GONE)
RESIZED = int(Cause.RESIZED)
UNEXPLAINED = int(Cause.UNEXPLAINED)
NO_HORIZON = -(2**62)  # below any key: every level is in sight
REVEAL_COLUMNS = ("sequence", "side", "price_ticks", "size_before_lots", "size_lots", "cause")


@helper
def apply_message(book: Any, kind: int, side: int, price: int, size: int) -> Any:
    """Add a limit order to its level, or take off what a cancel or an execution takes off.

    Levels, not orders, are kept: the message may be about an order that nobody ever saw. A level
    has at least nothing.
    """
    if LIMIT <= kind <= EXECUTION:
        line = 0 if side > 0 else 1
        there = level_size(book, line, side * price)
        change = size if kind == LIMIT else -size
        put(book, line, side * price, max(0, there + change))


@helper
def note(out: Int, used: int, row: int, line: int, key: int, before: int, after: int) -> Any:
    """Append a reveal, without its cause; returns the array, larger if it was full."""
    if used == len(out):
        larger = np.empty((2 * used, 6), np.int64)
        for i in range(used):
            for column in range(6):
                larger[i, column] = out[i, column]
        out = larger
    side = 1 - 2 * line
    out[used, 0] = row
    out[used, 1] = side
    out[used, 2] = side * key
    out[used, 3] = before
    out[used, 4] = after
    out[used, 5] = ADDED if before == 0 else GONE if after == 0 else RESIZED
    return out


@helper
def compare(book: Any, shown: Int, row: int, line: int, seen: int, out: Int, used: int) -> Any:
    """Note where a side differs from a snapshot inside its horizon, from the best level on.

    Parameters
    ----------
    seen : int
        Horizon of the snapshot before: a level inside it was equal then, so that only a message
        could have changed it.

    Returns
    -------
    out : int64[:, 6]
    used : int
    touch : int
        1 if a level as good as the snapshot's best, or better, differs.
    horizon : int
        Key of the snapshot's last level; below all keys where it has room for more.
    """
    side = 1 - 2 * line
    price, size, levels = 2 * line, 2 * line + 1, shown.shape[2]
    full = shown[size, row, levels - 1] > 0
    horizon = side * shown[price, row, levels - 1] if full else NO_HORIZON
    best = side * shown[price, row, 0] if shown[size, row, 0] > 0 else NO_HORIZON
    touch = 0
    ours = book.counts[line] - 1
    level = 0
    while True:
        visible = level < levels and shown[size, row, level] > 0
        theirs = side * shown[price, row, level] if visible else NO_HORIZON
        mine = NO_HORIZON
        if ours >= 0 and book.keys[line, ours] >= horizon:
            mine = book.keys[line, ours]
        key = max(theirs, mine)
        if key == NO_HORIZON:
            return out, used, touch, horizon
        before = book.sizes[line, ours] if mine == key else 0
        after = shown[size, row, level] if theirs == key else 0
        if before != after:
            out = note(out, used, row, line, key, before, after)
            if key >= seen:
                out[used, 5] = UNEXPLAINED
            used += 1
            touch = 1 if key >= best else touch
        if mine == key:
            ours -= 1
        if theirs == key:
            level += 1


@entry
def _reveals(messages: Int, shown: Int) -> Any:
    """Compare all rows; ``messages`` is ``int64[n, 4]``, ``shown`` is ``int64[4, n, L]``.

    Equal to keeping one ``dict`` of level sizes a side: update it by each message, list where it
    differs from the snapshot inside the horizon, set it so.
    """
    out = np.empty((1024, 6), np.int64)
    used = 0
    same_best = 0
    same_levels = 0
    book = new_ladders(256)
    seen = np.empty(2, np.int64)
    seen[0] = NO_HORIZON
    seen[1] = NO_HORIZON
    for row in range(-1, len(messages)):
        first = used
        touch = 0
        book = with_room(book)
        if row >= 0:
            apply_message(
                book, messages[row, 0], messages[row, 1], messages[row, 2], messages[row, 3]
            )
        for line in range(2):
            out, used, differs, horizon = compare(
                book, shown, max(row, 0), line, seen[line], out, used
            )
            touch += differs
            seen[line] = horizon
        if row < 0:
            # The book before the first message: the first snapshot, with the message undone.
            undone = CANCEL if messages[0, 0] == LIMIT else messages[0, 0]
            undone = LIMIT if LIMIT < messages[0, 0] <= EXECUTION else undone
            book = settle(book, out, 0, used)
            apply_message(book, undone, messages[0, 1], messages[0, 2], messages[0, 3])
            out, used = openings(book, out)
        else:
            same_levels += used == first
            same_best += touch == 0
            book = settle(book, out, first, used)
    return out[:used], same_best, same_levels


@helper
def settle(book: Any, changes: Int, start: int, stop: int) -> Any:
    """Set levels as reveals ``start`` to ``stop`` say; returns the book, which may have grown."""
    for i in range(start, stop):
        book = with_room(book)
        side = changes[i, 1]
        put(book, 0 if side > 0 else 1, side * changes[i, 2], changes[i, 4])
    return book


@helper
def openings(book: Any, out: Int) -> Any:
    """All levels as reveals before the first row, best bid first."""
    used = 0
    for line in range(2):
        for i in range(book.counts[line] - 1, -1, -1):
            out = note(out, used, -1, line, book.keys[line, i], 0, book.sizes[line, i])
            out[used, 5] = OPEN
            used += 1
    return out, used


@entry
def _levels(messages: Int, changes: Int, stop: int) -> Any:
    """All levels after the first ``stop`` messages and their reveals, as :func:`openings` does."""
    book = new_ladders(256)
    at = 0
    for row in range(-1, stop):
        book = with_room(book)
        if row >= 0:
            apply_message(
                book, messages[row, 0], messages[row, 1], messages[row, 2], messages[row, 3]
            )
        first = at
        while at < len(changes) and changes[at, 0] <= row:
            at += 1
        book = settle(book, changes, first, at)
    out, used = openings(book, np.empty((64, 6), np.int64))
    return out[:used]


def _messages(orders: Table) -> Int:
    columns = [orders[name] for name in ("kind", "side", "price_ticks", "size_lots")]
    return np.column_stack([column.astype(np.int64) for column in columns])


def find_reveals(orders: Table, book: BookTable) -> tuple[Table, dict[str, Any]]:
    """Reveals of a recorded book, and how well its messages alone explain it.

    Parameters
    ----------
    orders : Table
        Messages of kinds ``LIMIT`` to ``HALT``.
    book : BookTable
        Snapshot after each of them.

    Returns
    -------
    reveals : Table
        Cause ``OPEN`` with sequence -1; then, after each row, bids and asks from the best outwards.
        ``UNEXPLAINED`` where a level in sight changed otherwise than its message says.
    figures : dict
        ``rows``; ``best_equal_before`` and ``levels_equal_before``: shares of rows whose best
        levels, or all visible levels, are equal before the row's own reveals; and the number of
        reveals of each cause, by its name in small letters.
    """
    rows = orders.size
    found: Int = np.empty((0, 6), np.int64)
    same_best = same_levels = 0
    if rows and book.levels:
        stacked = np.stack(
            (book.bid_price_ticks, book.bid_size_lots, book.ask_price_ticks, book.ask_size_lots)
        )
        found, same_best, same_levels = _reveals(_messages(orders), stacked)
    columns = {name: found[:, i] for i, name in enumerate(REVEAL_COLUMNS)}
    times = orders["time_ns"]
    columns["time_ns"] = times[np.maximum(found[:, 0], 0)] if rows else times
    figures: dict[str, Any] = {
        "rows": rows,
        "best_equal_before": same_best / rows if rows else 1.0,
        "levels_equal_before": same_levels / rows if rows else 1.0,
    }
    for cause in Cause:
        figures[cause.name.lower()] = int(np.count_nonzero(found[:, 5] == cause))
    return Table("reveals", columns), figures


def levels_of_messages(orders: Table, reveals: Table, row: int) -> Int:
    """Levels before ``row``, as messages and reveals explain them.

    Returns
    -------
    int64[n, 3]
        Side, price and size; bids first, each side from the best outwards.
    """
    changes = np.column_stack([reveals[name].astype(np.int64) for name in REVEAL_COLUMNS])
    levels: Int = _levels(_messages(orders), changes, row)
    return levels[:, [1, 2, 4]]
