"""A simulated tape in LOBSTER's words: one message for each change of the visible book.

A simulation's order may trade, rest and trigger stops, all in one row. LOBSTER knows only what
happens to resting orders: an execution of each maker, then a limit order for what rests.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from marketsim.codes import OrderKind
from marketsim.tape import Tape
from marketsim.tape_book import rebuild
from marketsim.tape_tables import BookTable, Table

Level = tuple[int, int]  # side, price

_LIMIT, _REDUCE, _CANCEL = int(OrderKind.LIMIT), int(OrderKind.REDUCE), int(OrderKind.CANCEL)
_EXECUTION, _HIDDEN = int(OrderKind.EXECUTION), int(OrderKind.HIDDEN_EXECUTION)
_MARKET, _REPLACE, _STOP = int(OrderKind.MARKET), int(OrderKind.REPLACE), int(OrderKind.STOP)
_CROSS, _HALT = int(OrderKind.CROSS), int(OrderKind.HALT)
_COLUMNS = ("time_ns", "kind", "order_id", "side", "price_ticks", "size_lots", "price_subticks")


@dataclass(slots=True)
class _Resting:
    """What is known of an order in the book."""

    level: Level
    shown: int
    reserve: int
    display: int  # 0: not an iceberg
    hidden: bool
    agent_id: int


@dataclass(slots=True)
class _Row:
    """A row of orders with what it caused."""

    time_ns: int
    kind: int
    order_id: int
    agent_id: int
    side: int
    price: int
    size: int
    hidden: int
    subticks: int
    trades: list[tuple[int, ...]]  # price, size, aggressor side, maker, taker, subticks
    targets: dict[Level, int]  # visible sizes after the row
    revealed: dict[Level, int]  # the part of their change that no message explains


def expand(tape: Tape) -> tuple[Table, BookTable]:
    """Messages of kinds ``LIMIT`` to ``HALT`` that say what the tape says, and the book after each.

    Trades become executions of their makers (hidden executions where the maker was hidden), then
    comes a limit order for what visibly rests; when an iceberg shows more, that is a limit order
    of the same id. A replacement that keeps its place is a reduction, another a cancellation and
    a limit order. What never shows – a pending stop, a market order that met nothing, the
    cancellation of a hidden order – gives no row. A level that changed otherwise, as when an agent
    meets its own order, gets a reduction, a cancellation or a limit order, with id 0 where the
    order cannot be told. The book shows the states in between.
    """
    state = _Expansion(tape.deltas is not None)
    for row in _rows(tape):
        state.take(row)
    columns = np.array(state.messages, np.int64).reshape(-1, len(_COLUMNS))
    orders = Table("orders", {name: columns[:, i] for i, name in enumerate(_COLUMNS)})
    changes = np.array(state.changes, np.int64).reshape(-1, 4)
    names = ("sequence", "side", "price_ticks", "size_lots")
    deltas = Table("deltas", {name: changes[:, i] for i, name in enumerate(names)})
    return orders, rebuild(orders["time_ns"], deltas, int(tape.meta["levels"]))


def _rows(tape: Tape) -> Iterator[_Row]:
    """Each row of orders with its trades, changes of levels and reveals; first the opening."""
    trades = _by_sequence(
        tape.trades,
        ("price_ticks", "size_lots", "side", "maker_order_id", "taker_order_id", "price_subticks"),
    )
    reveals = _by_sequence(tape.reveals, ("side", "price_ticks", "size_before_lots", "size_lots"))
    deltas = _by_sequence(
        Table("deltas") if tape.deltas is None else tape.deltas,
        ("side", "price_ticks", "size_lots"),
    )
    names = ("time_ns", "kind", "order_id", "agent_id", "side", "price_ticks", "size_lots")
    columns = [tape.orders[name].tolist() for name in (*names, "hidden_lots", "price_subticks")]
    opening = (0, 0, 0, -1, 0, 0, 0, 0, 0)
    rows: list[Any] = [opening, *zip(*columns, strict=True)]
    for sequence, fields in enumerate(rows, -1):
        targets = {(side, price): size for side, price, size in deltas.get(sequence, ())}
        revealed = {(row[0], row[1]): row[3] - row[2] for row in reveals.get(sequence, ())}
        values: list[Any] = [*fields, trades.get(sequence, []), targets, revealed]
        yield _Row(*values)


def _by_sequence(table: Table, names: tuple[str, ...]) -> dict[int, list[tuple[int, ...]]]:
    rows: dict[int, list[tuple[int, ...]]] = {}
    columns = [table[name].tolist() for name in names]
    for sequence, values in zip(
        table["sequence"].tolist(), zip(*columns, strict=True), strict=True
    ):
        rows.setdefault(sequence, []).append(values)
    return rows


class _Expansion:
    """Messages so far, the book they make, and what is known of the orders in it."""

    def __init__(self, deltas_given: bool) -> None:
        self.messages: list[tuple[int, ...]] = []
        self.changes: list[tuple[int, ...]] = []
        self._deltas_given = deltas_given
        self._levels: dict[Level, int] = {}
        self._before: dict[Level, int] = {}  # sizes before this row, of levels it changed
        self._resting: dict[int, _Resting] = {}
        self._stops: dict[int, _Row] = {}
        self._handlers = {
            _LIMIT: self._incoming,
            _MARKET: self._incoming,
            _REPLACE: self._replace,
            _STOP: self._stop,
            _REDUCE: self._reduce,
            _CANCEL: self._cancel,
            _EXECUTION: self._fills,
            _HIDDEN: self._prints,
            _CROSS: self._prints,
            _HALT: self._verbatim,
        }

    def take(self, row: _Row) -> None:
        """Add the messages of one row, then what they leave unexplained."""
        self._before.clear()
        if row.kind:
            self._handlers[row.kind](row)
        if self._deltas_given:
            for level in [*row.targets, *(x for x in self._before if x not in row.targets)]:
                if row.kind:
                    self._settle(row, level, self._unexplained(row, level))
                self._set(level, self._target(row, level))
        else:
            for level, change in row.revealed.items():
                self._set(level, self._levels.get(level, 0) + change)

    def _emit(
        self, row: _Row, kind: int, order_id: int, level: Level, size: int, subticks: int = 0
    ) -> None:
        if size < 1 and kind != _HALT:
            return
        self.messages.append((row.time_ns, kind, order_id, *level, size, subticks))
        if kind <= _EXECUTION:
            change = size if kind == _LIMIT else -size
            self._set(level, max(0, self._levels.get(level, 0) + change))

    def _set(self, level: Level, size: int) -> None:
        before = self._levels.get(level, 0)
        if before != size:
            self._before.setdefault(level, before)
            self._levels[level] = size
            self.changes.append((len(self.messages) - 1, *level, size))

    def _target(self, row: _Row, level: Level) -> int:
        """Size of a level after this row; as before it where nothing is said."""
        now = self._levels.get(level, 0)
        return row.targets.get(level, self._before.get(level, now))

    def _unexplained(self, row: _Row, level: Level) -> int:
        """Change of a level that messages of this row are still to make."""
        explained = max(0, self._target(row, level) - row.revealed.get(level, 0))
        return explained - self._levels.get(level, 0)

    def _verbatim(self, row: _Row) -> None:
        self._emit(row, row.kind, row.order_id, (row.side, row.price), row.size, row.subticks)

    def _prints(self, row: _Row) -> None:
        """Hidden executions and crosses: as traded, or as the source says."""
        for price, size, _, maker, _, subticks in row.trades:
            order_id = maker or row.order_id
            self._emit(row, row.kind, order_id, (row.side, price), size, subticks)
        if not row.trades:
            self._verbatim(row)

    def _fills(self, row: _Row) -> None:
        for trade in row.trades:
            self._execute(row, trade)

    def _execute(self, row: _Row, trade: tuple[int, ...]) -> None:
        price, size, aggressor, maker_id, _, subticks = trade
        level = (-aggressor, price)
        maker = self._resting.get(maker_id)
        hidden = maker is not None and maker.hidden
        self._emit(row, _HIDDEN if hidden else _EXECUTION, maker_id, level, size, subticks)
        if maker is None:
            return
        maker.shown -= size
        if maker.shown <= 0 and maker.reserve > 0:
            maker.shown = min(maker.display, maker.reserve)
            maker.reserve -= maker.shown
            self._emit(row, _LIMIT, maker_id, level, maker.shown)
        if maker.shown <= 0:
            del self._resting[maker_id]

    def _incoming(self, row: _Row) -> None:
        """An order: its own trades, then what rests of it, then trades of stops it triggered."""
        own = [trade for trade in row.trades if trade[4] == row.order_id]
        for trade in own:
            self._execute(row, trade)
        later = [trade for trade in row.trades if trade[4] != row.order_id]
        left = row.size - sum(trade[1] for trade in own)
        if row.kind != _MARKET and left > 0:
            self._rest(row, left, later)
        for trade in later:
            self._execute(row, trade)

    def _rest(self, row: _Row, left: int, later: list[tuple[int, ...]]) -> None:
        level = (row.side, row.price)
        hidden = row.hidden >= row.size
        display = row.size - row.hidden if 0 < row.hidden < row.size else 0
        shown = min(display or left, left)
        if self._deltas_given and not hidden:
            ahead = sum(t[1] for t in later if (-t[2], t[0]) == level)
            shown = max(0, min(shown, self._unexplained(row, level) + ahead))
        if shown < 1:
            return
        reserve = left - shown if display else 0
        self._resting[row.order_id] = _Resting(level, shown, reserve, display, hidden, row.agent_id)
        if not hidden:
            self._emit(row, _LIMIT, row.order_id, level, shown)

    def _stop(self, row: _Row) -> None:
        """A stop order does not show; if it is triggered at once, it trades in this row."""
        self._stops[row.order_id] = row
        self._fills(row)

    def _take_off(self, row: _Row, order_id: int, level: Level, size: int, kind: int) -> None:
        """Cancel or reduce a visible order, by no more than its level lost."""
        if self._deltas_given:
            size = min(size, -self._unexplained(row, level))
        self._emit(row, kind, order_id, level, size)

    def _cancel(self, row: _Row) -> None:
        if self._stops.pop(row.order_id, None) is not None and row.order_id not in self._resting:
            return
        order = self._resting.pop(row.order_id, None)
        if order is None:
            self._take_off(row, row.order_id, (row.side, row.price), row.size, _CANCEL)
        elif not order.hidden:
            # A source may have taken some off while the order was out of sight: it knows better.
            size = min(order.shown, row.size or order.shown)
            self._take_off(row, row.order_id, order.level, size, _CANCEL)

    def _reduce(self, row: _Row) -> None:
        order = self._resting.get(row.order_id)
        if order is None:
            if row.order_id not in self._stops:
                self._take_off(row, row.order_id, (row.side, row.price), row.size, _REDUCE)
            return
        if row.size >= order.shown + order.reserve:
            self._cancel(row)
            return
        from_reserve = min(row.size, order.reserve)
        order.reserve -= from_reserve
        order.shown -= row.size - from_reserve
        if not order.hidden:
            self._take_off(row, row.order_id, order.level, row.size - from_reserve, _REDUCE)

    def _replace(self, row: _Row) -> None:
        order = self._resting.get(row.order_id)
        if order is None:
            self._incoming(row)
            return
        left = order.shown + order.reserve
        if order.level[1] == row.price and row.size <= left:
            if row.size < left:
                row.size = left - row.size
                self._reduce(row)
            return
        del self._resting[row.order_id]
        row.side = order.level[0]
        if order.hidden:
            row.hidden = row.size
        else:
            # The new order may rest on the old one's level: its target is not the old one's loss.
            self._emit(row, _CANCEL, row.order_id, order.level, order.shown)
            row.hidden = max(0, row.size - order.display) if order.display else 0
        self._incoming(row)

    def _settle(self, row: _Row, level: Level, change: int) -> None:
        """Say with messages what else changed on a level."""
        if change > 0:
            order_id = self._who_rests(row, level)
            self._emit(row, _LIMIT, order_id, level, change)
            if order_id in self._resting:
                self._resting[order_id].shown += change
            elif order_id:
                self._resting[order_id] = _Resting(level, change, 0, 0, False, row.agent_id)
        elif change < 0:
            for order_id, order in list(self._resting.items()):
                own = order.agent_id == row.agent_id and not order.hidden
                if change < 0 and own and order.level == level and row.agent_id >= 0:
                    size = min(order.shown, -change)
                    change += size
                    order.shown -= size
                    self._emit(row, _REDUCE if order.shown else _CANCEL, order_id, level, size)
                    if not order.shown:
                        del self._resting[order_id]
            self._emit(row, _REDUCE, 0, level, -change)

    def _who_rests(self, row: _Row, level: Level) -> int:
        """Order that a level grew by: a triggered stop, an iceberg that traded, or unknown, 0."""
        for order_id, stop in self._stops.items():
            if (stop.side, stop.price) == level and order_id not in self._resting:
                del self._stops[order_id]
                return order_id
        for _, _, aggressor, maker_id, _, _ in reversed(row.trades):
            maker = self._resting.get(maker_id)
            if maker and maker.display and maker.level == level == (-aggressor, level[1]):
                return maker_id
        return row.order_id if level == (row.side, row.price) else 0
