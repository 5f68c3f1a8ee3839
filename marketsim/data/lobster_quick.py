"""Plain simulated tapes in LOBSTER's words, column by column.

Does what :func:`marketsim.data.lobster_expand.expand` does, some twenty times as fast, for tapes
of limit and market orders, cancellations and reductions only. Whether the messages explain the
tape is not assumed but checked: level by level they must change the book as the tape says.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketsim.codes import OrderKind
from marketsim.tape import Tape
from marketsim.tape_book import rebuild
from marketsim.tape_tables import BookTable, Table

Int = NDArray[np.int64]

LIMIT, MARKET = int(OrderKind.LIMIT), int(OrderKind.MARKET)
EXECUTION = int(OrderKind.EXECUTION)
REDUCE, CANCEL = int(OrderKind.REDUCE), int(OrderKind.CANCEL)
_PLAIN = (LIMIT, MARKET, CANCEL, REDUCE)


def expand_plain(tape: Tape) -> tuple[Table, BookTable] | None:
    """Messages and the book after each, equal to those of ``expand``; None where it must do it.

    None where the tape has orders of another kind, hidden size, trades of other orders than the
    row's, changes that no message explains, or no changes of its book.
    """
    messages = _messages(tape)
    if messages is None or tape.deltas is None:
        return None
    deltas = tape.deltas
    opening = deltas.take(slice(0, int(np.searchsorted(deltas["sequence"], 0))))
    rows = np.concatenate([np.full(opening.size, -1), messages["row"]])
    sides, prices = (
        np.concatenate([opening[name], messages[name], deltas[name]]).astype(np.int64)
        for name in ("side", "price_ticks")
    )
    level = np.unique(2 * prices + (sides > 0), return_inverse=True)[1]
    of_message, of_delta = level[: len(rows)], level[len(rows) :]
    opened = _changes(of_message[: opening.size], opening["size_lots"].astype(np.int64))
    sign = np.where(messages["kind"] == LIMIT, 1, -1)
    after = _running(of_message, np.concatenate([opened, sign * messages["size_lots"]]))
    if (after < 0).any():
        return None
    said = _row_ends(of_message, rows, after)
    given = _row_ends(of_delta, deltas["sequence"], deltas["size_lots"])
    if not all(np.array_equal(a, b) for a, b in zip(said, given, strict=True)):
        return None
    messages["kind"] = _whole_reductions(messages)
    orders = Table("orders", {name: messages[name] for name in messages if name != "row"})
    changes = {
        "sequence": np.arange(-opening.size, orders.size).clip(-1),
        "side": sides[: len(rows)],
        "price_ticks": prices[: len(rows)],
        "size_lots": after,
    }
    book = rebuild(orders["time_ns"], Table("deltas", changes), int(tape.meta["levels"]))
    return orders, book


def _messages(tape: Tape) -> dict[str, Any] | None:
    """Executions of each row's trades, then what is left of it; with the row of each."""
    orders, trades = tape.orders, tape.trades
    kind, row = orders["kind"], trades["sequence"]
    if not np.isin(kind, _PLAIN).all() or orders["hidden_lots"].any():
        return None
    if (tape.reveals["sequence"] >= 0).any() or (trades["side"] == 0).any() or (row < 0).any():
        return None
    if (trades["taker_order_id"] != orders["order_id"][row]).any():
        return None
    if not np.isin(kind[row], (LIMIT, MARKET)).all():
        return None
    filled = np.bincount(row, trades["size_lots"], len(kind)).astype(np.int64)
    left = np.where(kind == MARKET, 0, orders["size_lots"] - filled)
    own = np.flatnonzero(left > 0)
    rows = np.concatenate([row, own])
    order = np.argsort(2 * rows + (np.arange(len(rows)) >= len(row)), kind="stable")
    columns = {
        "row": (row, own),
        "time_ns": (trades["time_ns"], orders["time_ns"][own]),
        "kind": (np.full(len(row), EXECUTION), kind[own]),
        "order_id": (trades["maker_order_id"], orders["order_id"][own]),
        "side": (-trades["side"], orders["side"][own]),
        "price_ticks": (trades["price_ticks"], orders["price_ticks"][own]),
        "size_lots": (trades["size_lots"], left[own]),
        "price_subticks": (trades["price_subticks"], np.zeros(len(own), np.int64)),
    }
    return {name: np.concatenate(parts)[order] for name, parts in columns.items()}


def _whole_reductions(messages: dict[str, Any]) -> Int:
    """Kinds, in which a reduction that leaves nothing of an order is a cancellation."""
    kind: Int = messages["kind"]
    order = np.unique(messages["order_id"], return_inverse=True)[1]
    size = messages["size_lots"].astype(np.int64)
    left = _running(order, np.where(kind == LIMIT, size, -size))
    return np.where((kind == REDUCE) & (left == 0), CANCEL, kind)


def _changes(level: Int, size: Int) -> Int:
    """What each size adds to the one before it of the same level."""
    order = np.argsort(level, kind="stable")
    change = np.diff(size[order], prepend=0)
    new = np.diff(level[order], prepend=-1) != 0
    change[new] = size[order][new]
    changes = np.empty_like(change)
    changes[order] = change
    return changes


def _running(level: Int, change: Int) -> Int:
    """Size of each entry's level after it."""
    order = np.argsort(level, kind="stable")
    total = np.cumsum(change[order])
    first = np.flatnonzero(np.diff(level[order], prepend=-1))
    before = np.append(0, total)[first]
    number = np.diff(first, append=len(level))
    after = np.empty_like(total)
    after[order] = total - np.repeat(before, number)
    return after


def _row_ends(level: Int, row: Int, size: Int) -> tuple[Int, Int, Int]:
    """Level, row and size wherever a level is not, after a row, what it was before it."""
    order = np.lexsort((np.arange(len(level)), row, level))
    level, row, size = level[order], row[order], size[order].astype(np.int64)
    last = np.ones(len(level), bool)
    last[:-1] = (level[1:] != level[:-1]) | (row[1:] != row[:-1])
    level, row, size = level[last], row[last].astype(np.int64), size[last]
    changed = _changes(level, size) != 0
    return level[changed], row[changed], size[changed]
