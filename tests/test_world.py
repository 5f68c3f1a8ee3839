"""World agents: a tape's start, then a generator's flow, with others beside it."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
from dummy_flow import DummyFlow, Recording, Script
from hypothesis import given, settings
from hypothesis import strategies as st
from world_market import (
    CANCEL,
    LIMIT,
    MINUTE,
    OPEN,
    SECOND,
    SESSION,
    Quotes,
    own_rows,
    said,
    simulate,
)

import marketsim as ms
from marketsim.agent import Agent, Handle
from marketsim.agents.world import WorldAgent
from marketsim.codes import OrderKind
from marketsim.flow import Order, flow_of
from marketsim.order_events import Event
from marketsim.simulation import Simulation
from marketsim.tape import Tape


def test_the_warm_up_is_a_replay(day: Tape) -> None:
    simulation = simulate(day)
    begin_ns = int(day.orders["time_ns"][0]) + 3 * MINUTE
    tape = simulation.run(begin_ns - 1).tape
    source = day.between(0, begin_ns)
    replay = ms.replay(source).tape
    assert len(tape) == len(source) == simulation.agent("world")._rows  # type: ignore[union-attr]
    for table in ("orders", "trades", "reveals"):
        ours, theirs = getattr(tape, table), getattr(replay, table)
        for column in theirs:
            assert (ours[column] == theirs[column]).all(), column
    for column in ("bid_price_ticks", "bid_size_lots", "ask_price_ticks", "ask_size_lots"):
        assert (getattr(tape.book, column) == getattr(replay.book, column)).all()
    assert (simulation.run().tape.orders["time_ns"][len(tape) :] >= begin_ns).all()


def test_each_delay_is_waited_once(day: Tape) -> None:
    generator = Recording()
    simulation = simulate(day, generator=generator)
    tape = simulation.run().tape
    rows = own_rows(tape)
    count = len(rows["time_ns"])
    written = generator.written[:count]
    assert count > 500 and len(generator.written) == count + 1  # the last is due after the close
    delays = np.array([order.delay_ns for order in written])
    assert (np.diff(rows["time_ns"]) == delays[1:]).all()
    before = generator.start_flow["time_ns"][-1]
    begin_ns = int(tape.orders["time_ns"][0]) + 3 * MINUTE
    assert rows["time_ns"][0] == max(before + delays[0], begin_ns)
    kinds = np.array([order.kind for order in written])
    assert (np.isin(rows["kind"], (OrderKind.LIMIT,)) == (kinds == Event.LIMIT)).all()
    assert (np.isin(rows["kind"], (OrderKind.MARKET,)) == (kinds == Event.MARKET)).all()
    limits = kinds == Event.LIMIT
    for column, field in (("price_ticks", 2), ("size_lots", 3), ("side", 1)):
        assert (rows[column][limits] == np.array([o[field] for o in written])[limits]).all()
    counted = said(simulation)["orders"]
    assert counted == {e.name.lower(): int((kinds == e).sum()) for e in Event}


def test_it_sees_all_that_happens(day: Tape) -> None:
    generator = Recording()
    tape = simulate(day, 1, generator, {"quotes": Quotes()}).run().tape
    seen = np.concatenate([generator.start_flow, *(view.flow for view in generator.views)])
    expected = flow_of(tape)
    warm_up = int(np.searchsorted(expected["time_ns"], generator.views[0].now_ns))
    expected = expected[warm_up - len(generator.start_flow) :]  # the last 1,024 rows of it
    assert len(generator.start_flow) > 300 and len(seen) > 1500
    # What comes at the close is nobody's to decide on.
    assert seen.tobytes() == expected[: len(seen)].tobytes() and len(expected) - len(seen) < 30
    views = generator.views[1:]  # at the first one's instant its order may come already
    last = np.searchsorted(tape.orders["time_ns"], [v.now_ns for v in views], "right") - 1
    book = tape.book
    for column, name in enumerate(
        ("bid_price_ticks", "bid_size_lots", "ask_price_ticks", "ask_size_lots")
    ):
        shown = np.stack([view.book[:, column] for view in views])
        assert (shown == getattr(book, name)[last]).all()


def foreign_lots(tape: Tape, agent: int, end_ns: int) -> dict[tuple[int, int], int]:
    """Lots at (side, price) of an agent's plain orders, from the tape: the naive twin."""
    live: dict[int, list[int]] = {}
    orders, trades = tape.orders, tape.trades
    ours = np.flatnonzero((orders["agent_id"] == agent) & (orders["time_ns"] <= end_ns))
    for row in ours.tolist():
        order_id, kind = int(orders["order_id"][row]), orders["kind"][row]
        if kind == OrderKind.LIMIT:
            side, price, lots = (
                int(orders[key][row]) for key in ("side", "price_ticks", "size_lots")
            )
            live[order_id] = [side, price, lots]
        elif kind == OrderKind.CANCEL:
            live[order_id][2] = 0
    for who in ("maker", "taker"):
        told = trades[f"{who}_agent_id"] == agent
        for row in np.flatnonzero(told & (trades["time_ns"] <= end_ns)).tolist():
            order_id = int(trades[f"{who}_order_id"][row])
            if order_id in live and live[order_id][2]:
                live[order_id][2] -= int(trades["size_lots"][row])
    book: dict[tuple[int, int], int] = {}
    for side, price, lots in live.values():
        book[side, price] = book.get((side, price), 0) + lots
    return book


def test_it_knows_which_lots_are_its_own(day: Tape) -> None:
    generator = Recording()
    tape = simulate(day, 2, generator, {"quotes": Quotes(200_000_000)}).run().tape
    foreign = 0
    for view in generator.views[:: len(generator.views) // 40]:
        theirs = foreign_lots(tape, 1, view.now_ns)
        for column, side in ((0, 1), (2, -1)):
            for price, lots, own in zip(
                view.book[:, column], view.book[:, column + 1], view.own_lots[:, column // 2],
                strict=True,
            ):  # fmt: skip
                others = theirs.get((side, int(price)), 0) if lots else 0
                assert own == lots - others
                foreign += others
    assert foreign > 0


def test_another_agents_event_makes_it_decide_anew(day: Tape) -> None:
    generator = Recording()
    simulation = simulate(day, 3, generator, {"quotes": Quotes(50_000_000)})
    tape = simulation.run().tape
    time_ns = tape.orders["time_ns"]
    decided = np.array([view.now_ns for view in generator.views])
    delays = np.array([order.delay_ns for order in generator.written])
    own = time_ns[(time_ns > decided[0]) & (tape.orders["agent_id"] == 0)]
    last = np.searchsorted(decided, own) - 1
    assert (own == decided[last] + delays[last]).all()
    happened = flow_of(tape, int(decided[0]), simulation.close_ns)["time_ns"]
    assert np.isin(happened, decided).all() and np.isin(decided[1:], time_ns).all()
    told = said(simulation)
    assert told["redrawn"] > 300
    drawn = sum(told["orders"].values()) + told["redrawn"]
    assert drawn - len(generator.written) in (-1, 0) and told["rejects"] == 0


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), lots=st.integers(2, 200))
def test_it_cancels_its_own_orders_only_and_nothing_is_lost(
    day: Tape, seed: int, lots: int
) -> None:
    begin_ns = int(day.orders["time_ns"][0]) + MINUTE
    generator = DummyFlow(mean_ns=50_000_000, lots=lots)
    quotes = Quotes(100_000_000, begin_ns)
    session = {"open": "09:30", "close": "09:31:30"}
    simulation = simulate(day, seed, generator, {"quotes": quotes}, {"session": session}, "1min")
    run = simulation.run()
    orders = run.tape.orders
    owner = {}
    for kind, order_id, agent in zip(
        *(orders[key].tolist() for key in ("kind", "order_id", "agent_id")), strict=True
    ):
        if kind == OrderKind.LIMIT:
            owner[order_id] = agent
        elif kind in (OrderKind.CANCEL, OrderKind.REDUCE):
            assert owner.get(order_id, 0) == agent
    assert run.summary["rejects"].get("not_owner", 0) == 0
    assert run.accounts["position_lots"].sum() == 0 and run.accounts["cash_ticks"].sum() == 0
    assert (
        run.summary["volume_lots"]
        == run.tape.trades["size_lots"][run.tape.trades["taker_agent_id"] >= 0].sum()
    )


def scripted(day: Tape, orders: Sequence[Order], **how: Any) -> tuple[Simulation, Any]:
    simulation = simulate(day, generator=Script(orders), **how)
    return simulation, own_rows(simulation.run().tape)


def test_a_cancel_takes_the_order_of_the_nearest_size_or_a_part_of_it(day: Tape) -> None:
    low = 100
    simulation, rows = scripted(
        day,
        [
            Order(LIMIT, 1, low, 30, SECOND),
            Order(LIMIT, 1, low, 50, SECOND),
            Order(LIMIT, 1, low, 50, SECOND),
            Order(LIMIT, 1, low + 5, 9, SECOND),
            Order(CANCEL, 1, low, 44, SECOND),  # a part of the first one of 50
            Order(CANCEL, 1, low, 50, SECOND),  # all of the second one of 50
            Order(CANCEL, 1, low, 99, SECOND),  # nearest is the one of 30
            Order(CANCEL, 1, low + 4, 4, SECOND),  # no level: the nearest is low + 5
        ],
    )
    ids = rows["order_id"][:4]
    kinds = (OrderKind.REDUCE, OrderKind.CANCEL, OrderKind.CANCEL, OrderKind.REDUCE)
    assert rows["kind"][4:8].tolist() == list(kinds)
    assert rows["order_id"][4:8].tolist() == [ids[1], ids[2], ids[0], ids[3]]
    assert rows["size_lots"][4:8].tolist() == [44, 50, 30, 4]
    assert said(simulation)["cancels_moved"] == 1


def test_a_limit_order_may_cross(day: Tape) -> None:
    simulation, rows = scripted(day, [Order(LIMIT, 1, 1 << 40, 3, SECOND)])
    tape = simulation.tape
    row = len(tape) - len(rows["time_ns"])
    assert tape.trades["sequence"].tolist().count(row) > 0 and rows["kind"][0] == OrderKind.LIMIT


def test_orders_come_on_the_grid(day: Tape) -> None:
    config = {
        "symbols": [{"price_increment_ticks": 5, "size_increment_lots": 10}],
    }
    simulation = simulate(day, 4, agents={"quotes": Quotes(500_000_000)}, config=config)
    run = simulation.run()
    rows = own_rows(run.tape)
    limits = rows["kind"] == OrderKind.LIMIT
    assert (rows["price_ticks"][limits] % 5 == 0).all() and limits.sum() > 300
    reduced = limits | (rows["kind"] == OrderKind.REDUCE) | (rows["kind"] == OrderKind.MARKET)
    assert (rows["size_lots"][reduced] % 10 == 0).all()
    assert said(simulation)["refused"] == 0


def generated(simulation: Simulation) -> list[tuple[int, ...]]:
    """What the model wrote: time, kind, side, price, size of its rows."""
    rows = own_rows(simulation.run().tape)
    columns = ("time_ns", "kind", "side", "price_ticks", "size_lots")
    return list(zip(*(rows[name].tolist() for name in columns), strict=True))


class Stops(Agent):
    """Puts stops far away into the market: rows of which the flow knows nothing."""

    def on_start(self, market: Handle) -> None:
        market.wake_at(OPEN + 3 * MINUTE + SECOND)

    def on_wakeup(self, market: Handle) -> None:
        market.wake_after(20_000_000)
        market.buy(1, stop=1 << 40)


def test_what_is_no_part_of_the_flow_changes_nothing(day: Tape) -> None:
    quiet, stops = simulate(day, 6), simulate(day, 6, agents={"stops": Stops()})
    assert generated(stops) == generated(quiet)
    told = said(stops)
    assert told["redrawn"] == 0 and len(stops.tape) > len(quiet.tape) + 8_000


def test_its_orders_may_meet_whatever_the_exchange_says(day: Tape) -> None:
    plain = generated(simulate(day, 7))
    for mode in ("cancel_taker", "cancel_both"):
        assert generated(simulate(day, 7, config={"exchange": {"self_trade": mode}})) == plain


class Named(WorldAgent):
    """Its generator by name: a configuration has plain values only."""

    generators: ClassVar[dict[str, Recording]] = {}

    def __init__(self, model: str, tape: Tape, warm_up: str) -> None:
        super().__init__(self.generators[model], tape, warm_up)


def test_two_symbols_have_a_world_each(day: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    generators = {"a": Recording(), "b": Recording(lots=15)}
    monkeypatch.setattr(Named, "generators", generators)
    entry = {"type": f"{__name__}:Named", "warm_up": "2min"}
    config = {
        "data": "given", "session": SESSION, "symbols": [{"name": "A"}, {"name": "B"}],
        "agents": {name: {**entry, "symbol": name.upper(), "model": name} for name in generators},
    }  # fmt: skip
    run = Simulation(config, 1, data=day).run()
    for generator, tape in zip(generators.values(), run.tapes.values(), strict=True):
        flow = np.concatenate([generator.start_flow, *(view.flow for view in generator.views)])
        begin = len(flow_of(tape, 0, generator.views[0].now_ns)) - len(generator.start_flow)
        assert flow.tobytes() == flow_of(tape)[begin : begin + len(flow)].tobytes()
        assert len(generator.views) > 1000
    assert (run.accounts.groupby("symbol")["position_lots"].sum() == 0).all()


def test_orders_out_of_sight_are_sent_all_the_same(day: Tape) -> None:
    """Below ten full levels the flow does not tell of an order: the next decision follows."""
    orders = [Order(LIMIT, 1, 1000 + 7 * i, 5, SECOND // 10) for i in range(40)]
    simulation, rows = scripted(day, [*orders, *(Order(CANCEL, 1, 1000, 5, SECOND),) * 3])
    tape = simulation.tape
    full = (tape.book.bid_size_lots[:, 9] > 0)[tape.orders["time_ns"] >= rows["time_ns"][0]]
    assert full.all()
    assert (np.diff(rows["time_ns"][:40]) == SECOND // 10).all()
    assert rows["price_ticks"][:40].tolist() == [order.price_ticks for order in orders]
    told = said(simulation)
    assert (told["refused"], told["orders"]["cancel"]) == (0, 3)
    last = rows["time_ns"][-1] - rows["time_ns"][0]
    assert last == 39 * (SECOND // 10) + SECOND * (len(rows["time_ns"]) - 40)
