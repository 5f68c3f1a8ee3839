"""Order events: by hand, against a loop, and the same for a tape and what LOBSTER makes of it."""

import numpy as np
import pytest

import marketsim as ms
from marketsim.codes import OrderKind
from marketsim.order_events import Event, Events, order_events
from marketsim.report import session
from marketsim.tape import Tape

K = OrderKind


def tape_of(rows: list[tuple[int, ...]], trades: list[tuple[int, ...]]) -> Tape:
    """Rows: time, kind, side, price, size; trades: row, price, size, aggressor's side."""
    time_ns, kind, side, price, size = (np.array(column) for column in zip(*rows, strict=True))
    orders = {
        "time_ns": time_ns, "kind": kind, "order_id": np.arange(len(rows)), "side": side,
        "price_ticks": price, "size_lots": size,
    }  # fmt: skip
    columns = [np.array(column) for column in zip(*trades, strict=True)]
    sold = {
        "time_ns": time_ns[columns[0]], "sequence": columns[0], "price_ticks": columns[1],
        "size_lots": columns[2], "side": columns[3],
    }  # fmt: skip
    return Tape(orders, sold, {"open_ns": 0, "close_ns": 1_000})


def listed(events: Events) -> list[tuple[int, ...]]:
    columns = (events.time_ns, events.kind, events.side, events.price_ticks, events.size_lots)
    return [tuple(int(value) for value in row) for row in zip(*columns, events.row, strict=True)]


def test_orders_by_hand() -> None:
    tape = tape_of(
        [
            (1, K.LIMIT, 1, 10, 5),  # rests
            (2, K.LIMIT, -1, 10, 8),  # trades 5, then rests with 3
            (3, K.MARKET, 1, 0, 3),  # trades at two prices
            (4, K.MARKET, 1, 0, 3),  # finds nobody
            (5, K.CANCEL, 1, 10, 1),
            (6, K.REDUCE, -1, 10, 1),
            (7, K.REPLACE, -1, 12, 4),
            (8, K.HALT, 0, 0, 0),
            (1_000, K.CANCEL, 1, 10, 1),  # at the close: the end of the session is not in it
        ],
        [(1, 10, 5, -1), (2, 10, 2, 1), (2, 11, 1, 1)],
    )
    limit, cancel, market = (int(kind) for kind in Event)
    assert listed(order_events(tape, 0, 1_000)) == [
        (1, limit, 1, 10, 5, 0),
        (2, market, -1, 10, 5, 1),
        (2, limit, -1, 10, 3, 1),
        (3, market, 1, 10, 3, 2),
        (5, cancel, 1, 10, 1, 4),
        (6, cancel, -1, 10, 1, 5),
        (7, cancel, -1, 12, 4, 6),
        (7, limit, -1, 12, 4, 6),
    ]


def test_executions_of_one_instant_and_side_are_one_market_order() -> None:
    tape = tape_of(
        [
            (1, K.EXECUTION, 1, 10, 2),
            (1, K.EXECUTION, 1, 9, 3),
            (1, K.EXECUTION, -1, 12, 1),
            (2, K.EXECUTION, -1, 12, 1),
            (2, K.HIDDEN_EXECUTION, -1, 11, 1),
        ],
        [(0, 10, 2, -1), (1, 9, 3, -1), (2, 12, 1, 1), (3, 12, 1, 1), (4, 11, 1, 1)],
    )
    market = int(Event.MARKET)
    assert listed(order_events(tape, 0, 1_000)) == [
        (1, market, -1, 10, 5, 1),
        (1, market, 1, 12, 1, 2),
        (2, market, 1, 12, 1, 3),
    ]


def test_trades_of_an_auction_are_nobodys_market_order() -> None:
    tape = tape_of([(1, K.LIMIT, 1, 10, 5)], [(0, 10, 5, 0)])
    assert [row[1] for row in listed(order_events(tape, 0, 9))] == [int(Event.LIMIT)]


@pytest.fixture(scope="module")
def morning() -> Tape:
    return ms.run("rmsc04", seed=1, until="09:45").tape


def test_simulated_orders_against_a_loop(morning: Tape) -> None:
    start_ns, end_ns = session(morning)
    traded: dict[int, list[tuple[int, int]]] = {}
    for sequence, price, size in zip(
        *(morning.trades[key].tolist() for key in ("sequence", "price_ticks", "size_lots")),
        strict=True,
    ):
        traded.setdefault(sequence, []).append((price, size))
    expected = []
    keys = ("time_ns", "kind", "side", "price_ticks", "size_lots")
    for row, order in enumerate(zip(*(morning.orders[key].tolist() for key in keys), strict=True)):
        time_ns, kind, side, price, size = order
        if not start_ns <= time_ns < end_ns:
            continue
        fills = traded.get(row, [])
        lots = sum(fill[1] for fill in fills)
        if kind in (K.CANCEL, K.REDUCE, K.REPLACE):
            expected.append((time_ns, int(Event.CANCEL), side, price, size, row))
        if kind in (K.LIMIT, K.MARKET, K.REPLACE) and lots:
            expected.append((time_ns, int(Event.MARKET), side, fills[0][0], lots, row))
        if kind in (K.LIMIT, K.REPLACE) and lots < size:
            expected.append((time_ns, int(Event.LIMIT), side, price, size - lots, row))
    events = order_events(morning, start_ns, end_ns)
    assert listed(events) == expected
    assert {kind for _, kind, *_ in expected} == {int(kind) for kind in Event}
