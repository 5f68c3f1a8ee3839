"""Order flow of tapes against a naive loop, and what no flow can be."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_flow import book_after, naive_flow
from toy_market import toy_flow

import marketsim as ms
from marketsim.codes import OrderKind
from marketsim.errors import DataError
from marketsim.flow import book_array, check_flow, flow_of
from marketsim.order_events import Event
from marketsim.tape import Tape
from marketsim.tape_tables import BookTable

ENTERS = (OrderKind.LIMIT, OrderKind.MARKET, OrderKind.REPLACE, OrderKind.STOP)


@st.composite
def tapes(draw: st.DrawFn) -> Tape:
    """Rows of any kind and side, many at the same instant; entering ones trade in parts or none."""
    count, levels = draw(st.integers(1, 40)), draw(st.sampled_from([1, 3, 10, 12]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    executions = draw(st.sampled_from([0.1, 0.6]))
    kind = rng.choice(np.array(OrderKind), count)
    kind[rng.random(count) < executions] = OrderKind.EXECUTION
    time_ns = np.cumsum(rng.choice([0, 0, 0, 1, 7], count))
    size = rng.integers(1, 30, count)
    orders = {
        "time_ns": time_ns, "kind": kind, "order_id": np.arange(count),
        "side": rng.choice([-1, 1], count), "price_ticks": rng.integers(-20, 20, count),
        "size_lots": size,
    }  # fmt: skip
    sold = []
    for row in np.flatnonzero(np.isin(kind, ENTERS) & (rng.random(count) < 0.5)):
        side, parts = rng.choice([-1, 1, 1, 0]), sorted(rng.integers(0, size[row] + 1, 2))
        for lots in (parts[0], parts[1] - parts[0]):
            if lots:
                sold.append((time_ns[row], row, rng.integers(-20, 20), lots, side))
    columns = np.array(sold, np.int64).reshape(-1, 5).T
    names = ("time_ns", "sequence", "price_ticks", "size_lots", "side")
    book = [rng.integers(low, 9, (count, levels)) for low in (-9, 0, -9, 0)]
    meta = {"open_ns": 0, "close_ns": int(time_ns[-1]) + 1}
    return Tape(
        orders, dict(zip(names, columns, strict=True)), meta,
        book=BookTable(time_ns, np.arange(count), *book),
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(tape=tapes(), start=st.integers(0, 20), length=st.integers(0, 60))
def test_any_tape(tape: Tape, start: int, length: int) -> None:
    assert flow_of(tape).tobytes() == naive_flow(tape).tobytes()
    part = flow_of(tape, start, start + length)
    assert part.tobytes() == naive_flow(tape, start, start + length).tobytes()
    whole = flow_of(tape)
    inside = (whole["time_ns"] >= start) & (whole["time_ns"] < start + length)
    assert part.tobytes() == whole[inside].tobytes()
    last = len(tape) - 1
    assert (book_array(tape)[last] == book_after(tape.book, last)).all()


@pytest.mark.parametrize(
    "name",
    [
        "AAPL_2012-06-21_first999_message_10.csv.gz",
        "MSFT_2012-06-21_first1950_message_50.csv.gz",
    ],
)
def test_recorded_tapes(name: str, lobster: Path) -> None:
    tape = ms.read_lobster(lobster / "fixtures" / name)
    flow = flow_of(tape)
    assert flow.tobytes() == naive_flow(tape).tobytes()
    assert {int(kind) for kind in flow["kind"]} == {int(event) for event in Event}
    check_flow(flow)


def test_orders_that_trade_and_rest() -> None:
    tape = ms.run("rmsc04", seed=1, until="09:31").tape
    flow, naive = flow_of(tape), naive_flow(tape)
    assert len(flow) > 300 and flow.tobytes() == naive.tobytes()
    both = (np.diff(flow["time_ns"]) == 0) & (flow["kind"][:-1] == Event.MARKET)
    assert (flow["kind"][1:][both] == Event.LIMIT).any()


def test_what_has_no_flow() -> None:
    orders: dict[str, Any] = {
        "time_ns": [1], "kind": [1], "order_id": [0], "side": [1], "price_ticks": [1],
        "size_lots": [1],
    }  # fmt: skip
    none: dict[str, Any] = {name: [] for name in orders}
    trades = {"time_ns": [], "sequence": [], "price_ticks": [], "size_lots": [], "side": []}
    with pytest.raises(DataError, match="has no book"):
        flow_of(Tape(orders, trades, {}))
    with pytest.raises(DataError, match="has no orders"):
        flow_of(Tape(none, trades, {}, book=BookTable.empty([], [])))


ABSURD = [
    ("kind", 3, "kind of event 4 cannot be 3"),
    ("kind", -1, "kind of event 4 cannot be -1"),
    ("side", 0, "side of event 4 cannot be 0"),
    ("size_lots", 0, "size_lots of event 4 cannot be 0"),
    ("size_lots", 2**41, "size_lots of event 4 cannot be"),
    ("price_ticks", 2**60, "price_ticks of event 4 cannot be"),
    ("price_ticks", -(2**63), "price_ticks of event 4 cannot be"),
    ("time_ns", -5, "time_ns of event 4 cannot be -5"),
    ("book", -3, "book of event 4 cannot be"),
    ("book", 2**60, "book of event 4 cannot be"),
]


@pytest.mark.parametrize(("field", "value", "told"), ABSURD)
def test_flows_that_no_market_has(field: str, value: int, told: str) -> None:
    flow = toy_flow(20)
    flow[field][4] = value
    with pytest.raises(DataError, match=told) as raised:
        check_flow(flow)
    assert "\n" not in str(raised.value)


def test_flows_of_another_kind() -> None:
    with pytest.raises(DataError, match="array of FLOW records, was float64"):
        check_flow(np.zeros(3))
