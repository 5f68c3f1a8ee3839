"""Responses of the mid-price against a loop, and on a market whose responses are known."""

from dataclasses import replace

import numpy as np
import pytest

from marketsim.codes import OrderKind
from marketsim.data.synthetic import synthetic_tape
from marketsim.metrics.flow import Flow, flow_of
from marketsim.metrics.response import KINDS, LAGS, response, response_rows, touch_events
from marketsim.tape import Tape
from marketsim.tape_tables import BookTable


@pytest.fixture(scope="module")
def flow() -> Flow:
    return flow_of(synthetic_tape(close="09:38"))


def naive_events(flow: Flow) -> list[tuple[str, int, float, float]]:
    """Kind, sign and mid-price before and after each message at the touch."""
    found = []
    quotes = [tuple(int(flow.price(side)[i]) for side in ("bid", "ask")) for i in range(flow.size)]
    for i in range(1, flow.size):
        if not (flow.two_sided[i] and flow.two_sided[i - 1]):
            continue
        kind, side = int(flow.kind[i]), int(flow.side[i])
        own = 0 if side > 0 else 1
        if int(flow.price_ticks[i]) not in (quotes[i - 1][own], quotes[i][own]):
            continue
        name = {OrderKind.EXECUTION: "MO", OrderKind.LIMIT: "LO"}.get(OrderKind(kind), "CA")
        moved = quotes[i] != quotes[i - 1]
        sign = side if name == "LO" else -side
        found.append((f"{name}_{int(moved)}", sign, sum(quotes[i - 1]) / 2, sum(quotes[i]) / 2))
    return found


def test_lags_are_those_of_the_paper() -> None:
    assert (LAGS[0], LAGS[-1]) == (2, 200)
    assert {round(10 ** (x / 10)) for x in range(3, 24)} == set(LAGS.tolist())


def test_response_is_what_the_loop_says(flow: Flow) -> None:
    events = naive_events(flow)
    mean, ends, number = response(touch_events(flow), np.random.default_rng(0), 50)
    assert len(events) > 300
    for i, kind in enumerate(KINDS):
        for j, lag in enumerate(LAGS.tolist()):
            changes = [
                sign * (events[k + lag - 1][3] - before)
                for k, (name, sign, before, _) in enumerate(events)
                if name == kind and k + lag - 1 < len(events)
            ]
            assert number[i, j] == len(changes)
            assert mean[i, j] == pytest.approx(np.mean(changes))
            assert ends[0, i, j] <= ends[1, i, j]


def test_signs_and_kinds_of_six_messages() -> None:
    """Each kind once for a buyer: what should raise the price has the sign +1."""
    limit, cancel, execution = (int(OrderKind[x]) for x in ("LIMIT", "CANCEL", "EXECUTION"))
    rows = [  # kind, side, price, then bid price, bid size, ask price, ask size after it
        (limit, 1, 90, 100, 5, 104, 5),  # behind the touch
        (limit, 1, 100, 100, 9, 104, 5),  # LO_0
        (limit, 1, 101, 101, 5, 104, 5),  # LO_1
        (execution, -1, 104, 101, 5, 104, 3),  # MO_0: a buyer takes from the ask
        (execution, -1, 104, 101, 5, 105, 3),  # MO_1
        (cancel, -1, 105, 101, 5, 105, 2),  # CA_0
        (cancel, -1, 105, 101, 5, 106, 2),  # CA_1
        (cancel, 1, 101, 100, 9, 106, 2),  # CA_1 of a buyer: -1
    ]
    kind, side, price, *book = (np.array(x) for x in zip(*rows, strict=True))
    times = np.arange(len(rows))
    orders = {"time_ns": times, "kind": kind, "order_id": times + 1, "side": side}
    orders |= {"price_ticks": price, "size_lots": np.ones(len(rows), np.int64)}
    snapshots = BookTable(times, times, *(column[:, None] for column in book))
    trades = dict.fromkeys(("time_ns", "sequence", "price_ticks", "size_lots", "side"), [])
    tape = Tape(orders, trades, {"open_ns": 0, "close_ns": 100}, book=snapshots)
    events = touch_events(flow_of(tape))
    assert [KINDS[k] for k in events.kind] == [
        "LO_0", "LO_1", "MO_0", "MO_1", "CA_0", "CA_1", "CA_1",
    ]  # fmt: skip
    assert events.sign.tolist() == [1, 1, 1, 1, 1, 1, -1]
    assert events.before_ticks[1] == 102 and events.after_ticks[1] == 102.5


def test_a_kind_that_does_not_occur_has_a_reason(flow: Flow) -> None:
    kind = np.where(flow.kind == OrderKind.CANCEL, OrderKind.LIMIT, flow.kind).astype(np.int64)
    rows = response_rows(replace(flow, kind=kind), flow, np.random.default_rng(0), 10)
    cancels = [row for row in rows if row["event"] == "CA_1"]
    assert len(rows) == len(KINDS) * len(LAGS)
    assert all(row["generated_ticks"] is None for row in cancels)
    assert all("not defined: generated has" in row["note"] for row in cancels)
