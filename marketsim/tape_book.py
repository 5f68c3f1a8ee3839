"""Book rows of a tape rebuilt from changes of levels (compiled).

A side of the book is a *ladder*: keys ``side * price`` and sizes in rising order, the best level
last, so that changes near the touch move little. Row 0 of each array is the bids', row 1 the asks'.
Copies are loops: a slice assigned to a slice costs a second of compilation, for its error message.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marketsim.compile import entry, helper
from marketsim.tape_tables import BookTable, Table

Int = NDArray[np.int64]


class Ladders(NamedTuple):
    """Both sides of a book, by level."""

    keys: Int  # [2, capacity]
    sizes: Int  # [2, capacity]
    counts: Int  # [2]


@helper
def new_ladders(capacity: int) -> Any:
    """An empty book."""
    counts = np.empty(2, np.int64)
    counts[0] = 0
    counts[1] = 0
    return Ladders(np.empty((2, capacity), np.int64), np.empty((2, capacity), np.int64), counts)


@helper
def with_room(book: Any) -> Any:
    """The book, or a copy with twice the room when a side is full."""
    capacity = book.keys.shape[1]
    if max(book.counts[0], book.counts[1]) < capacity:
        return book
    larger = new_ladders(2 * capacity)
    for line in range(2):
        larger.counts[line] = book.counts[line]
        for i in range(book.counts[line]):
            larger.keys[line, i] = book.keys[line, i]
            larger.sizes[line, i] = book.sizes[line, i]
    return larger


@helper
def find(book: Any, line: int, key: int) -> Any:
    """Index of a side's first key that is not below ``key``, sought from the best level on."""
    keys = book.keys
    low = book.counts[line]
    high = low
    step = 1
    while low > 0 and keys[line, low - 1] >= key:
        high = low - 1
        low = max(0, low - step)
        step *= 2
    while low < high:
        middle = (low + high) >> 1
        if keys[line, middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@helper
def level_size(book: Any, line: int, key: int) -> Any:
    """Size of a level, 0 where there is none."""
    at = find(book, line, key)
    return book.sizes[line, at] if at < book.counts[line] and book.keys[line, at] == key else 0


@helper
def put(book: Any, line: int, key: int, size: int) -> Any:
    """Give a level this size, 0 takes it out; the side must have room."""
    keys, sizes, count = book.keys, book.sizes, book.counts[line]
    at = find(book, line, key)
    there = at < count and keys[line, at] == key
    if size > 0:
        if not there:
            for i in range(count, at, -1):
                keys[line, i] = keys[line, i - 1]
                sizes[line, i] = sizes[line, i - 1]
            keys[line, at] = key
            book.counts[line] = count + 1
        sizes[line, at] = size
    elif there:
        for i in range(at, count - 1):
            keys[line, i] = keys[line, i + 1]
            sizes[line, i] = sizes[line, i + 1]
        book.counts[line] = count - 1


@entry
def _snapshots(rows: int, sequence: Int, side: Int, price: Int, size: Int, out: Any) -> int:
    """Book after each of ``rows`` rows into ``out``, ``int64[4, rows, L]``."""
    book = new_ladders(256)
    at = 0
    levels = out.shape[2]
    for row in range(rows):
        while at < len(sequence) and sequence[at] <= row:
            book = with_room(book)
            put(book, 0 if side[at] > 0 else 1, side[at] * price[at], size[at])
            at += 1
        for line in range(2):
            count = book.counts[line]
            for i in range(min(count, levels)):
                key = book.keys[line, count - 1 - i]
                out[2 * line, row, i] = key if line == 0 else -key
                out[2 * line + 1, row, i] = book.sizes[line, count - 1 - i]
            for i in range(count, levels):
                out[2 * line, row, i] = 0
                out[2 * line + 1, row, i] = 0
    return at


def _wide(table: Table, name: str) -> Int:
    """Column as contiguous int64, the one type that compiled code takes, and writable by type."""
    return np.array(table[name], np.int64)


def rebuild(time_ns: Int, deltas: Table, levels: int) -> BookTable:
    """Book snapshots after each row of orders, from changes of levels.

    Parameters
    ----------
    time_ns : int64[n]
        Times of the rows.
    deltas : Table
        Changes in order of ``sequence``; -1 applies before the first row.
    levels : int
        Levels of each side to give.
    """
    rows = len(time_ns)
    out = np.empty((4, rows, levels), np.int64)
    _snapshots(
        rows,
        _wide(deltas, "sequence"),
        _wide(deltas, "side"),
        _wide(deltas, "price_ticks"),
        _wide(deltas, "size_lots"),
        out,
    )
    return BookTable(time_ns, np.arange(rows), out[0], out[1], out[2], out[3])


def levels_of_deltas(deltas: Table, row: int) -> Int:
    """Side, price and size of each level before ``row``, best bid first; ``[n, 3]``."""
    stop = int(np.searchsorted(deltas["sequence"], row))
    side = deltas["side"][:stop].astype(np.int64)
    price, size = deltas["price_ticks"][:stop], deltas["size_lots"][:stop]
    order = np.lexsort((np.arange(stop), -side * price, -side))
    side, price, size = side[order], price[order], size[order]
    last = np.ones(stop, bool)
    last[:-1] = (side[1:] != side[:-1]) | (price[1:] != price[:-1])
    keep = last & (size > 0)
    return np.column_stack((side[keep], price[keep], size[keep]))
