"""World agents: a tape's start, then a generator's flow, with others beside it."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from dummy_flow import DummyFlow
from hypothesis import given, settings
from hypothesis import strategies as st

import marketsim as ms
from marketsim.agent import Agent, Handle
from marketsim.agents.pov import POVAgent
from marketsim.agents.world import WorldAgent
from marketsim.batch import Batch
from marketsim.codes import OrderKind
from marketsim.data.synthetic import synthetic_tape
from marketsim.errors import ConfigError, DataError, ModelError, StateError
from marketsim.flow import Order, View, flow_of
from marketsim.generators import base, create
from marketsim.order_events import Event
from marketsim.simulation import Simulation
from marketsim.tape import Tape

MINUTE = 60_000_000_000
OPEN = 34_200_000_000_000
SESSION = {"open": "09:30", "close": "09:36"}


@pytest.fixture(scope="module")
def day() -> Tape:
    return synthetic_tape(open="09:30", close="09:36")


class Recording(DummyFlow):
    """Keeps all that it was shown and all that it wrote."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self.start_flow: Any = None
        self.views: list[View] = []
        self.written: list[Order] = []

    def start(self, flow: Any) -> Any:
        self.start_flow = flow
        return super().start(flow)

    def next_orders(
        self, states: Sequence[Any], views: Sequence[View], rngs: Sequence[np.random.Generator]
    ) -> list[Order]:
        orders = super().next_orders(states, views, rngs)
        self.views.extend(views)
        self.written.extend(orders)
        return orders


class Quotes(Agent):
    """Rests plain orders at the touch and near it, trades, and takes its orders back."""

    def __init__(self, mean_ns: int = 1_000_000_000, start_ns: int = OPEN) -> None:
        self.mean_ns, self.start_ns = mean_ns, start_ns

    def on_start(self, market: Handle) -> None:
        market.wake_at(self.start_ns)

    def on_wakeup(self, market: Handle) -> None:
        rng = market.rng
        market.wake_after(int(rng.integers(1, 2 * self.mean_ns)))
        side = 1 if rng.random() < 0.5 else -1
        best = market.best_bid if side > 0 else market.best_ask
        live = list(market.open_orders)
        draw = rng.random()
        if best is None or draw < 0.1:
            market.order(side, int(rng.integers(1, 30)))
        elif live and draw < 0.4:
            market.cancel(int(rng.choice(live)))
        else:
            market.order(side, int(rng.integers(1, 60)), best - side * int(rng.integers(0, 4)))

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def simulate(
    day: Tape,
    seed: int = 0,
    generator: Any = None,
    agents: dict[str, Agent] | None = None,
    config: dict[str, Any] | None = None,
    warm_up: str | int = "3min",
    **how: Any,
) -> Simulation:
    world = WorldAgent(generator or DummyFlow(), day, warm_up, **how)
    given = {"world": world, **(agents or {})}
    return Simulation({"session": SESSION, **(config or {})}, seed, agents=given)


def own_rows(tape: Tape, world: int = 0) -> Any:
    """Rows of a tape's orders that the model wrote."""
    begin_ns = int(tape.orders["time_ns"][0]) + 3 * MINUTE
    at = (tape.orders["time_ns"] >= begin_ns) & (tape.orders["agent_id"] == world)
    return {name: tape.orders[name][at] for name in tape.orders}


def said(simulation: Simulation, name: str = "world") -> dict[str, Any]:
    summary: dict[str, Any] = simulation.run().summary["agents"][name]
    return summary


# -- what it does --------------------------------------------------------------------------------


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
    before = tape.orders["time_ns"][len(tape) - count - 1]
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
    assert len(generator.start_flow) > 900 and len(seen) > 2000
    # What comes at the close is nobody's to decide on.
    assert seen.tobytes() == expected[: len(seen)].tobytes() and len(expected) - len(seen) < 30
    last = np.searchsorted(tape.orders["time_ns"], [v.now_ns for v in generator.views], "right") - 1
    book = tape.book
    for column, name in enumerate(
        ("bid_price_ticks", "bid_size_lots", "ask_price_ticks", "ask_size_lots")
    ):
        shown = np.stack([view.book[:, column] for view in generator.views])
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
    begin_ns = int(time_ns[0]) + 3 * MINUTE
    orders_at = {}  # what was written when
    for view, order in zip(generator.views, generator.written, strict=True):
        orders_at[view.now_ns] = order
    after = np.flatnonzero((time_ns > begin_ns) & (tape.orders["agent_id"] == 0))
    for row in after[1:].tolist():
        assert time_ns[row] - time_ns[row - 1] == orders_at[int(time_ns[row - 1])].delay_ns
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


class Script(DummyFlow):
    """Writes what it is told, then limit orders of 7 lots far away, a second apart each."""

    context = 1

    def __init__(self, orders: Sequence[Order] = ()) -> None:
        super().__init__()
        self.orders = list(orders)
        self.at = 0

    def _one(self, state: Any, view: View, rng: np.random.Generator) -> Order:
        self.at += 1
        if self.at <= len(self.orders):
            return self.orders[self.at - 1]
        return Order(int(Event.LIMIT), 1, 1, 7, 1_000_000_000)


LIMIT, CANCEL, MARKET = (int(event) for event in Event)
SECOND = 1_000_000_000


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


# -- orders that cannot be -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "impossible",
    [
        Order(LIMIT, 1, 100, 0, SECOND),
        Order(LIMIT, 1, 100, -5, SECOND),
        Order(LIMIT, 0, 100, 5, SECOND),
        Order(7, 1, 100, 5, SECOND),
        Order(LIMIT, 1, 1 << 60, 5, SECOND),
        Order(MARKET, 1, 0, 1 << 50, SECOND),
        Order(MARKET, -1, 0, 5, -1),
        Order(LIMIT, -1, 0, 5, 1 << 60),
    ],
)
def test_an_impossible_order_is_asked_for_anew_some_times(day: Tape, impossible: Order) -> None:
    simulation, rows = scripted(day, [impossible] * 3 + [Order(LIMIT, 1, 100, 5, SECOND)])
    told = said(simulation)
    assert (told["rejects"], told["fallbacks"]) == (3, 0)
    assert rows["price_ticks"][0] == 100 and rows["size_lots"][0] == 5
    simulation, rows = scripted(day, [impossible] * 4, max_rejects=3)
    told = said(simulation)
    assert (told["rejects"], told["fallbacks"]) == (4, 1)
    assert rows["kind"][0] == OrderKind.LIMIT and rows["size_lots"][0] > 0
    assert told["reject_rate"] == pytest.approx(4 / (4 + len(rows["time_ns"])), abs=1e-6)


class Sweep(Agent):
    """Takes a side of the book away, again and again."""

    def on_start(self, market: Handle) -> None:
        market.wake_at(OPEN + 3 * MINUTE + 5 * SECOND)

    def on_wakeup(self, market: Handle) -> None:
        market.wake_after(3 * SECOND)
        market.order(1 if market.rng.random() < 0.5 else -1, 10_000_000)


@pytest.mark.parametrize("seed", range(2))
def test_an_empty_side_stops_nothing(day: Tape, seed: int) -> None:
    generator = Recording()
    simulation = simulate(day, seed, generator, {"sweep": Sweep()})
    run = simulation.run()
    sides = np.array([[v.book[0, 1] == 0, v.book[0, 3] == 0] for v in generator.views])
    assert sides.any(axis=0).all()
    assert len(own_rows(run.tape)["time_ns"]) > 300
    told = said(simulation)
    assert told["rejects"] > 0 and told["refused"] == 0


def test_with_nothing_to_cancel_it_falls_back_to_a_limit_order(day: Tape) -> None:
    class Cancels(Script):
        def _one(self, state: Any, view: View, rng: np.random.Generator) -> Order:
            return Order(CANCEL, 1, 100, 10**9, SECOND // 100)

    simulation = simulate(day, generator=Cancels(), max_rejects=2)
    rows = own_rows(simulation.run().tape)
    told = said(simulation)
    assert set(rows["kind"].tolist()) == {OrderKind.CANCEL, OrderKind.LIMIT}
    assert told["fallbacks"] == told["orders"]["limit"] + 1 > 100  # one is due after the close
    assert told["rejects"] == 3 * told["fallbacks"]


def test_orders_that_the_exchange_refuses_let_time_pass(day: Tape) -> None:
    periods = [{"open": "09:30", "close": "09:34"}, {"open": "09:35", "close": "09:36"}]
    config = {"session": {"periods": periods}}
    simulation = simulate(day, config=config)
    run = simulation.run()
    rows = own_rows(run.tape)
    told = said(simulation)
    assert 300 < told["refused"] < 1500
    quiet = (rows["time_ns"] > OPEN + 4 * MINUTE) & (rows["time_ns"] < OPEN + 5 * MINUTE)
    assert quiet.sum() == 0 and (rows["time_ns"] > OPEN + 5 * MINUTE).any()


def test_a_model_that_lets_no_time_pass_is_an_error(day: Tape) -> None:
    class Hasty(Script):
        def _one(self, state: Any, view: View, rng: np.random.Generator) -> Order:
            return Order(LIMIT, 1, 1, 1, 0)

    with pytest.raises(ModelError, match="it lets no time pass"):
        simulate(day, generator=Hasty()).run()


# -- the same again --------------------------------------------------------------------------------


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 1000), instants=st.lists(st.integers(0, 6 * MINUTE - 1), max_size=3))
def test_fork_and_stopping_change_nothing(day: Tape, seed: int, instants: list[int]) -> None:
    def fresh() -> Simulation:
        return simulate(day, seed, DummyFlow(400_000_000), {"quotes": Quotes(2 * SECOND)})

    whole = fresh()
    end = whole.run()
    parent = fresh()
    for at in sorted(instants):
        parent.run(OPEN + at)
        twin = parent.fork()
        assert twin.run().tape.digest() == end.tape.digest()
        assert twin.digest() == whole.digest()
        world = twin.agent("world")
        assert isinstance(world, WorldAgent) and world.generator is parent.agent("world").generator  # type: ignore[union-attr]
    assert parent.run().tape.digest() == end.tape.digest()
    ours, theirs = said(parent), said(whole)
    assert {**ours, "model_s": 0} == {**theirs, "model_s": 0}


def test_save_and_load(day: Tape, tmp_path: Path) -> None:
    end = simulate(day, 5, agents={"quotes": Quotes()}).run()
    for number, at in enumerate((MINUTE, 3 * MINUTE + 7 * SECOND, 5 * MINUTE)):
        first = simulate(day, 5, agents={"quotes": Quotes()})
        first.run(OPEN + at)
        path = tmp_path / f"{number}.npz"
        first.save(path)
        agents = {"world": WorldAgent(DummyFlow(), day, "3min"), "quotes": Quotes()}
        loaded = Simulation.load(path, agents)
        assert loaded.run().tape.digest() == end.tape.digest()
        ours = said(loaded)
        assert {**ours, "model_s": 0} == {**end.summary["agents"]["world"], "model_s": 0}


def test_a_batch_equals_single_runs_and_asks_once_for_all(day: Tape) -> None:
    singles = [simulate(day, seed, agents={"quotes": Quotes()}).run() for seed in range(4)]
    for threads in (1, 2):
        generator = DummyFlow()
        simulations = [simulate(day, seed, generator, {"quotes": Quotes()}) for seed in range(4)]
        with Batch(simulations, threads) as batch:
            batch.step(OPEN + 4 * MINUTE)
            batch.step(OPEN + 6 * MINUTE)
        for single, simulation in zip(singles, simulations, strict=True):
            assert simulation.tape.digest() == single.tape.digest()
            assert simulation.digest() == single.summary["digest"]
        assert np.mean(generator.asked) > 3.5  # of four, some are done earlier


@pytest.fixture
def saved(day: Tape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(base.GENERATORS, "dummy", "dummy_flow:DummyFlow")
    DummyFlow(lots=30).save(tmp_path / "model")
    day.save(tmp_path / "day")
    return tmp_path / "model"


def configured(model: Path, **world: Any) -> dict[str, Any]:
    return {
        "data": str(model.parent / "day"),
        "session": {"open": "09:30", "close": "09:33"},
        "agents": {
            "world": {"type": "world", "model": str(model), "warm_up": "2min", **world},
            "buyer": {"type": "pov", "participation": 0.1, "quantity": 100, "interval": "10s"},
        },
    }


SCRIPT = """
import json, sys
from marketsim.generators import base, create
base.GENERATORS["dummy"] = "dummy_flow:DummyFlow"
import marketsim as ms
print(json.dumps(ms.run(json.loads(sys.argv[1]), seed=3).tape.digest()))
assert "torch" not in sys.modules
"""


def test_by_configuration_and_again_in_another_process(saved: Path) -> None:
    config = configured(saved)
    run = ms.run(config, seed=3)
    world = run.summary["agents"]["world"]
    assert world["model"] == "dummy" and len(world["model_digest"]) == 64
    assert run.summary["agents"]["buyer"]["executed_lots"] == 100
    other = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(config)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parent,
    )  # fmt: skip
    assert json.loads(other.stdout) == run.tape.digest()
    batch = ms.run_batch(config, seeds=(3, 4))
    assert batch[0].tape.digest() == run.tape.digest() != batch[1].tape.digest()
    again = Simulation(config, 3).agent("world")
    assert again.generator is Simulation(config, 4).agent("world").generator  # type: ignore[union-attr]


def test_saved_by_configuration_with_another_model_is_told(saved: Path, tmp_path: Path) -> None:
    simulation = Simulation(configured(saved))
    simulation.run("09:32:30")
    simulation.save(tmp_path / "state.npz")
    assert Simulation.load(tmp_path / "state.npz").run().tape.digest() == (
        simulation.run().tape.digest()
    )
    DummyFlow(lots=31).save(saved)
    with pytest.raises(StateError, match="model must be the one it was saved with"):
        Simulation.load(tmp_path / "state.npz")


# -- bad input -------------------------------------------------------------------------------------


def test_bad_parameters(day: Tape, saved: Path, tmp_path: Path) -> None:
    world = DummyFlow()
    with pytest.raises(ConfigError, match="warm_up must be"):
        WorldAgent(world, day, "soon")
    with pytest.raises(ConfigError, match="max_rejects must be >= 0"):
        WorldAgent(world, day, max_rejects=-1)
    with pytest.raises(ConfigError, match="model must be a folder or an OrderFlowGenerator"):
        WorldAgent(3, day, "1min")
    with pytest.raises(ModelError, match="nowhere"):
        WorldAgent(tmp_path / "nowhere", day, "1min")
    with pytest.raises(ConfigError, match="device must be 'cpu'"):
        WorldAgent(saved, day, "1min", device="cuda")
    (saved / "model.json").write_text("{")
    with pytest.raises(ModelError, match=r"model\.json"):
        WorldAgent(saved, day, "1min")


def test_bad_data(day: Tape) -> None:
    with pytest.raises(DataError, match="warm_up must not be longer than the tape"):
        WorldAgent(DummyFlow(), day, "15min")
    with pytest.raises(DataError, match="needs 5 events"):
        WorldAgent(DummyFlow(), day, "1ms")
    with pytest.raises(DataError, match="no rows"):
        WorldAgent(DummyFlow(), day.between(1, 2), "1ms")
    generator = DummyFlow()
    generator.tick_size = 0.05  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"tick_size must be that of model 'dummy', 0\.05"):
        WorldAgent(generator, day, "1min")
    with pytest.raises(DataError, match="must not open after the tape's first row"):
        simulate(day, config={"session": {"open": "09:31", "close": "09:36"}})
    with pytest.raises(ConfigError, match="warm_up must end before the session's close"):
        simulate(day, config={"session": {"open": "09:30", "close": "09:32"}})


def test_one_world_agent_a_symbol(day: Tape) -> None:
    for other in (WorldAgent(DummyFlow(), day, "1min"), ms.agents.replay.ReplayAgent(day)):
        with pytest.raises(ConfigError, match="only one replay or world agent"):
            simulate(day, agents={"other": other})


def test_a_configuration_needs_data(saved: Path) -> None:
    config = {**configured(saved), "data": None}
    with pytest.raises(ConfigError, match=r"data must be given for agents\.world"):
        ms.run(config)


def test_a_buyer_finds_liquidity(day: Tape) -> None:
    buyer = POVAgent(side="buy", participation=0.2, quantity=200, start="09:33", interval="5s")
    simulation = simulate(day, agents={"buyer": buyer})
    assert said(simulation, "buyer")["executed_lots"] == 200
    assert said(simulation)["redrawn"] > 0


# -- experiments -----------------------------------------------------------------------------------


def background(saved: Path, **world: Any) -> dict[str, Any]:
    config = configured(saved, **world)
    del config["agents"]["buyer"]
    return config


BUYER = {"type": "pov", "participation": 0.2, "quantity": 300, "start": "09:32", "interval": "10s"}


def test_an_experiment_asks_the_model_for_both_arms_at_once(saved: Path) -> None:
    config = background(saved)
    apart = []
    for agents in ({}, {"buyer": BUYER}):
        run = ms.run({**config, "agents": {**config["agents"], **agents}}, seed=2)
        book = run.tape.book
        apart.append((book.bid_price_ticks[-1, 0] + book.ask_price_ticks[-1, 0]) / 2)
    generator = Simulation(config).agent("world").generator  # type: ignore[union-attr]
    generator.asked.clear()
    result = ms.ab(config, BUYER, seeds=[2], step="10s", settle="5s", executor="serial")
    assert result.path["difference_ticks"].iloc[-1] == apart[1] - apart[0]
    assert result.pairs["executed_lots"].iloc[0] > 0 and max(generator.asked) == 2
    forked = ms.ab(
        config, BUYER, seeds=[2], step="10s", settle="5s", fork_at="09:32", executor="serial"
    )
    same = ["executed_lots", "average_price_ticks", "at_end_ticks"]
    assert (forked.pairs[same] == result.pairs[same]).all(axis=None)


def test_a_kept_experiment_knows_its_model(saved: Path, tmp_path: Path) -> None:
    config, out = background(saved), tmp_path / "sweep"
    grid = {"agents.world.max_rejects": [3, 5]}
    first = ms.sweep(config, grid, seeds=[1], out=out, executor="serial")
    again = ms.sweep(config, grid, seeds=[1], out=out, executor="serial")
    assert (first["volume_lots"] == again["volume_lots"]).all()
    DummyFlow(lots=500).save(saved)
    other = ms.sweep(config, grid, seeds=[1], out=out, executor="serial")
    assert (first["volume_lots"] != other["volume_lots"]).all()


def test_a_streamed_tape_is_the_same(saved: Path, tmp_path: Path) -> None:
    run = ms.run(configured(saved), seed=1)
    streamed = ms.run(configured(saved), seed=1, out=tmp_path / "run")
    assert Tape.load(tmp_path / "run" / "tape").digest() == streamed.tape.digest()
    assert streamed.tape.digest() == run.tape.digest()


@pytest.fixture(scope="module", params=["poisson", "bootstrap"])
def fitted(request: pytest.FixtureRequest, day: Tape) -> Any:
    return create(request.param).fit([day])


def test_generators_without_a_network(day: Tape, fitted: Any, tmp_path: Path) -> None:
    def fresh(seed: int) -> Simulation:
        return simulate(day, seed, fitted, {"quotes": Quotes()})

    singles = [fresh(seed).run() for seed in range(3)]
    simulations = [fresh(seed) for seed in range(3)]
    with Batch(simulations) as batch:
        batch.step(OPEN + 6 * MINUTE)
    for single, simulation in zip(singles, simulations, strict=True):
        assert simulation.tape.digest() == single.tape.digest()
        told = single.summary["agents"]["world"]
        assert sum(told["orders"].values()) > 400
        assert told["reject_rate"] < 0.05 and told["refused"] == 0
    half = fresh(0)
    half.run(OPEN + 4 * MINUTE)
    half.save(tmp_path / "half.npz")
    agents = {"world": WorldAgent(fitted, day, "3min"), "quotes": Quotes()}
    for other in (half.fork(), Simulation.load(tmp_path / "half.npz", agents)):
        assert other.run().tape.digest() == singles[0].tape.digest()


@pytest.mark.slow
def test_an_experiment_in_processes(saved: Path, day: Tape) -> None:
    create("poisson").fit([day]).save(saved)
    results = [
        ms.ab(background(saved), BUYER, seeds=2, step="10s", settle="5s", executor=executor)
        for executor in ("serial", "processes")
    ]
    assert results[0].pairs.equals(results[1].pairs)
    assert results[0].path.equals(results[1].path)
