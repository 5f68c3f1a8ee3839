"""Simulated tapes in LOBSTER's words."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from marketsim.codes import Flag, OrderKind, Outcome, SelfTrade
from marketsim.data.lobster_expand import expand
from marketsim.data.lobster_quick import expand_plain
from marketsim.data.reveals import find_reveals
from marketsim.naive import NaiveBook
from marketsim.tape import BookTable, Table, Tape
from marketsim.tape_tables import SCHEMAS

Row = tuple[Any, ...]
Sizes = dict[tuple[int, int], int]


class Recorder:
    """Runs requests through the naive book and writes the tape that a simulation would."""

    def __init__(self) -> None:
        self.book = NaiveBook()
        self.orders: list[tuple[int, ...]] = []
        self.trades: list[tuple[int, ...]] = []
        self.deltas: list[tuple[int, ...]] = []
        self._shown: Sizes = {}

    def add(
        self, kind: OrderKind, order_id: int, side: int, price: int, size: int, hidden: int = 0,
        flags: int = 0, stop: int = 0, agent: int = -1,
    ) -> None:  # fmt: skip
        book = self.book
        if kind == OrderKind.CANCEL:
            result = book.cancel(order_id)
            size = max(result, 0)
        elif kind == OrderKind.REDUCE:
            result = book.reduce(order_id, size)
        elif kind == OrderKind.REPLACE:
            result = book.replace(order_id, price, size)
        else:
            display = size - hidden if 0 < hidden < size else 0
            result = book.submit(
                order_id, side, size, price_ticks=price, stop_ticks=stop, display_lots=display,
                agent_id=agent, flags=flags,
            )  # fmt: skip
        outcomes = book.outcomes()
        if result < 0:
            return
        row = len(self.orders)
        self.orders.append((row * 10, row, kind, order_id, agent, side, price, size, hidden, 0))
        sides = {}
        for bid in (True, False):
            levels = book.depth(1000)[0 if bid else 1].tolist()
            sides.update({(1 if bid else -1, p): s for p, s in levels if s})
        for code, maker, taker, at, lots, *_ in outcomes:
            if code == Outcome.FILL:
                aggressor = self._side_of(taker)
                self.trades.append((row * 10, row, at, 0, lots, aggressor, maker, taker, -1, -1))
        for level in sorted({*sides, *self._shown}):
            if sides.get(level, 0) != self._shown.get(level, 0):
                self.deltas.append((row, *level, sides.get(level, 0)))
        self._shown = sides

    def _side_of(self, order_id: int) -> int:
        return next(o[5] for o in self.orders if o[3] == order_id and o[5])

    def tape(self) -> Tape:
        def table(name: str, rows: list[tuple[int, ...]]) -> Table:
            columns = np.array(rows, np.int64).reshape(-1, len(SCHEMAS[name]))
            return Table(name, {key: columns[:, i] for i, key in enumerate(SCHEMAS[name])})

        return Tape(
            table("orders", self.orders),
            table("trades", self.trades),
            {"symbol": "SIM", "tick_size": 0.01, "levels": 5},
            deltas=table("deltas", self.deltas),
        )


def words(tape: Tape) -> list[tuple[int, ...]]:
    orders, _ = expand(tape)
    names = ("kind", "order_id", "side", "price_ticks", "size_lots")
    return [*zip(*(orders[name].tolist() for name in names), strict=True)]


def test_an_order_that_trades_and_rests() -> None:
    run = Recorder()
    run.add(OrderKind.LIMIT, 1, -1, 101, 10)
    run.add(OrderKind.LIMIT, 2, -1, 102, 10, hidden=10, flags=Flag.HIDDEN)
    run.add(OrderKind.LIMIT, 3, 1, 102, 50)
    run.add(OrderKind.MARKET, 4, -1, 0, 5, flags=Flag.MARKET)
    run.add(OrderKind.MARKET, 5, 1, 0, 5, flags=Flag.MARKET)
    assert words(run.tape()) == [
        (1, 1, -1, 101, 10),
        (4, 1, -1, 101, 10),
        (5, 2, -1, 102, 10),
        (1, 3, 1, 102, 30),
        (4, 3, 1, 102, 5),
    ]
    _, book = expand(run.tape())
    assert book.bid_size_lots[:, 0].tolist() == [0, 0, 0, 30, 25]
    assert book.ask_size_lots[:, 0].tolist() == [10, 0, 0, 0, 0]


def test_icebergs_replacements_stops_and_self_trades() -> None:
    run = Recorder()
    run.add(OrderKind.LIMIT, 1, -1, 101, 30, hidden=20)
    run.add(OrderKind.MARKET, 2, 1, 0, 15, flags=Flag.MARKET)
    run.add(OrderKind.REDUCE, 1, -1, 101, 12)
    run.add(OrderKind.LIMIT, 3, 1, 99, 10, agent=7)
    run.add(OrderKind.REPLACE, 3, 0, 99, 4)
    run.add(OrderKind.REPLACE, 3, 0, 98, 6)
    run.add(OrderKind.STOP, 4, 1, 100, 9, flags=Flag.STOP, stop=101)
    run.add(OrderKind.LIMIT, 5, -1, 98, 20, flags=SelfTrade.CANCEL_MAKER, agent=7)
    run.add(OrderKind.CANCEL, 5, -1, 98, 0)
    assert (
        words(run.tape())
        == [
            (1, 1, -1, 101, 10),
            (4, 1, -1, 101, 10),
            (1, 1, -1, 101, 10),
            (4, 1, -1, 101, 5),
            (2, 1, -1, 101, 2),
            (1, 3, 1, 99, 10),
            (2, 3, 1, 99, 6),
            (3, 3, 1, 99, 4),
            (1, 3, 1, 98, 6),
        ]
        + words(run.tape())[9:]
    )
    assert_expansion(run)


def assert_expansion(run: Recorder) -> None:
    """Messages explain the book, row by row and at the end; executions are the trades."""
    tape = run.tape()
    orders, book = expand(tape)
    if not orders.size:
        return
    reveals, figures = find_reveals(orders, book)
    assert reveals.size == 0 and figures["levels_equal_before"] == 1
    last: BookTable = tape.book
    for name in ("bid_price_ticks", "bid_size_lots", "ask_price_ticks", "ask_size_lots"):
        assert np.array_equal(getattr(book, name)[-1], getattr(last, name)[-1])
    executions = np.isin(orders["kind"], (4, 5))
    assert orders["size_lots"][executions].tolist() == tape.trades["size_lots"].tolist()
    assert orders["order_id"][executions].tolist() == tape.trades["maker_order_id"].tolist()


KINDS = st.sampled_from(["limit", "iceberg", "hidden", "market", "ioc", "stop", "cancel", "reduce"])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(KINDS, st.just("replace")),
            st.sampled_from([-1, 1]),
            st.integers(-4, 4),
            st.integers(1, 20),
            st.integers(0, 2),
            st.sampled_from([0, 0, *SelfTrade]),
            st.integers(1, 40),
        ),
        max_size=40,
    )
)
def test_random_simulations_expand_to_messages_that_explain_the_book(requests: list[Row]) -> None:
    run = Recorder()
    for order_id, (what, side, away, size, agent, mode, target) in enumerate(requests, 1):
        price = 1000 - side + away
        if what in ("cancel", "reduce", "replace"):
            run.add(OrderKind[what.upper()], target, 0, price, size)
        elif what == "stop":
            run.add(
                OrderKind.STOP, order_id, side, price, size, flags=Flag.STOP | mode,
                stop=1000 + side, agent=agent,
            )  # fmt: skip
        elif what in ("market", "ioc"):
            flag = Flag.MARKET if what == "market" else Flag.IOC
            run.add(OrderKind.MARKET, order_id, side, price, size, flags=flag | mode, agent=agent)
        else:
            hidden = {"limit": 0, "iceberg": size // 2, "hidden": size}[what]
            flag = Flag.HIDDEN if what == "hidden" else Flag.NONE
            run.add(
                OrderKind.LIMIT, order_id, side, price, size, hidden, flags=flag | mode, agent=agent
            )
    assert_expansion(run)
    assert_quick_is_equal(run.tape())


def assert_quick_is_equal(tape: Tape) -> bool:
    """Whether the tape was plain enough; if so, every column must be that of ``expand``."""
    found = expand_plain(tape)
    if found is None:
        return False
    for quick, slow in zip(found, expand(tape), strict=True):
        columns = [x if isinstance(x, Table) else x.columns() for x in (quick, slow)]
        for name in columns[1]:
            assert np.array_equal(columns[0][name], columns[1][name]), name
    return True


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["limit", "limit", "market", "ioc", "cancel", "reduce"]),
            st.sampled_from([-1, 1]),
            st.integers(-4, 4),
            st.integers(1, 20),
            st.integers(1, 40),
        ),
        min_size=1,
        max_size=60,
    ),
    st.integers(0, 60),
)
def test_plain_simulations_are_expanded_quickly(requests: list[Row], cut: int) -> None:
    run = Recorder()
    for order_id, (what, side, away, size, target) in enumerate(requests, 1):
        price = 1000 - side + away
        if what in ("cancel", "reduce"):
            entry = [row for row in run.orders if row[3] == target and row[2] == OrderKind.LIMIT]
            if entry:
                run.add(OrderKind[what.upper()], target, entry[0][5], entry[0][6], 1)
        elif what in ("market", "ioc"):
            flag = Flag.MARKET if what == "market" else Flag.IOC
            run.add(OrderKind.MARKET, order_id, side, price, size, flags=flag)
        else:
            run.add(OrderKind.LIMIT, order_id, side, price, size)
    tape = run.tape()
    assert assert_quick_is_equal(tape)
    part = tape.between(10 * cut, 10_000)
    if len(part):
        assert_quick_is_equal(part)


def test_a_tape_that_its_messages_do_not_explain_is_left_to_the_slow_way() -> None:
    run = Recorder()
    run.add(OrderKind.LIMIT, 1, 1, 999, 5)
    run.add(OrderKind.LIMIT, 2, -1, 1001, 5)
    run.add(OrderKind.LIMIT, 3, 1, 1001, 8)
    tape = run.tape()
    assert assert_quick_is_equal(tape)
    assert tape.deltas is not None
    wrong = {name: np.array(column) for name, column in tape.deltas.items()}
    wrong["size_lots"][0] = 4
    assert expand_plain(Tape(tape.orders, tape.trades, tape.meta, deltas=wrong)) is None
    missing = {name: column[1:] for name, column in tape.deltas.items()}
    assert expand_plain(Tape(tape.orders, tape.trades, tape.meta, deltas=missing)) is None
    assert expand_plain(Tape(tape.orders, tape.trades, tape.meta)) is None
