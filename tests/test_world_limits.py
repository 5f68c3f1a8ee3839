"""World agents: orders that cannot be, empty books, bad input."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dummy_flow import DummyFlow, Recording, Script
from hypothesis import given, settings
from hypothesis import strategies as st
from world_market import (
    CANCEL,
    LIMIT,
    MARKET,
    MINUTE,
    OPEN,
    SECOND,
    SESSION,
    Quotes,
    configured,
    own_rows,
    said,
    simulate,
)

import marketsim as ms
from marketsim import generators
from marketsim.agent import Agent, Handle
from marketsim.agents.pov import POVAgent
from marketsim.agents.replay import ReplayAgent
from marketsim.agents.world import WorldAgent
from marketsim.codes import OrderKind
from marketsim.errors import ConfigError, DataError, ModelError
from marketsim.events import Message
from marketsim.flow import Order, View
from marketsim.market import Market
from marketsim.simulation import Simulation
from marketsim.tape import Tape


def scripted(day: Tape, orders: Sequence[Order], **how: Any) -> tuple[Simulation, Any]:
    simulation = simulate(day, generator=Script(orders), **how)
    return simulation, own_rows(simulation.run().tape)


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

    def __init__(self, start_ns: int = OPEN + 3 * MINUTE + 5 * SECOND) -> None:
        self.start_ns = start_ns

    def on_start(self, market: Handle) -> None:
        market.wake_at(self.start_ns)

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


@pytest.mark.parametrize(
    "garbage",
    [
        None,
        3,
        (LIMIT, 1, 100, 5, SECOND),
        Order(LIMIT, 1, 100, 5, None),  # type: ignore[arg-type]
        Order(LIMIT, 1, None, 5, SECOND),  # type: ignore[arg-type]
        Order(LIMIT, 1, 100, "5", SECOND),  # type: ignore[arg-type]
        Order(LIMIT, 1, 100, 5, SECOND, None),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_order_is_an_error_of_the_model(day: Tape, garbage: Any) -> None:
    with pytest.raises(ModelError, match=r"agents\.world: model 'dummy' must write Orders"):
        scripted(day, [garbage])


def test_numbers_of_any_kind_make_an_order(day: Tape) -> None:
    order = Order(LIMIT, 1, np.int64(100), np.float64(5.0), np.float32(1e9), np.int64(2))  # type: ignore[arg-type]
    simulation, rows = scripted(day, [order, Order(MARKET, 1, None, 5, SECOND)])  # type: ignore[arg-type]
    told = said(simulation)
    assert rows["price_ticks"][0] == 100 and rows["size_lots"][0] == 5
    assert rows["kind"][1] == OrderKind.MARKET
    json.dumps(told)
    assert told["rejects"] == 2


@pytest.mark.parametrize("answer", [None, 3, ()])
def test_what_is_no_list_of_orders_is_an_error_of_the_model(day: Tape, answer: Any) -> None:
    class Mute(DummyFlow):
        def next_orders(self, states: Any, views: Any, rngs: Any) -> Any:
            return answer

    with pytest.raises(ModelError, match="next_orders must give 1 orders"):
        simulate(day, generator=Mute()).run()


@pytest.mark.parametrize("delay_ns", [0, 1])
def test_a_model_that_lets_no_time_pass_is_an_error(day: Tape, delay_ns: int) -> None:
    class Hasty(Script):
        def _one(self, state: Any, view: View, rng: np.random.Generator) -> Order:
            return Order(LIMIT, 1, 1, 1, delay_ns)

    with pytest.raises(ModelError, match="it lets no time pass"):
        simulate(day, generator=Hasty()).run()


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
    with pytest.raises(
        DataError, match=r"ends at 09:32:59\.\d+, was 240 s"
    ):  # long before its close
        WorldAgent(DummyFlow(), day.between("09:30", "09:33"), "4min")
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


def test_the_symbol_has_the_tick_of_the_data(day: Tape) -> None:
    config = {"symbols": [{"name": "SYN", "tick_size": 0.05}]}
    for other in (WorldAgent(DummyFlow(), day, "1min"), ReplayAgent(day)):
        with pytest.raises(ConfigError, match=r"tick_size of symbol 'SYN' .* 0\.01, was 0\.05"):
            Simulation({"session": SESSION, **config}, 0, agents={"other": other})


@pytest.mark.parametrize("key", ["latency_ns", "computation_delay_ns"])
def test_no_delay_is_taken_and_ignored(saved: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"agents\.world: {key} must be left out"):
        ms.run(configured(saved, **{key: 5}))
    config = {**configured(saved, **{key: 0}), "computation_delay_ns": 5}
    assert ms.Simulation(config).config.agents[0].computation_delay_ns == 0


def test_an_error_of_the_model_names_the_agent(saved: Path) -> None:
    with pytest.raises(ModelError, match=r"agents\.world: .*nowhere: no such model folder"):
        ms.run(configured(saved.parent / "nowhere"))


@pytest.mark.parametrize("name", ["poisson", "bootstrap", "cgan", "trades"])
def test_a_model_that_has_learned_nothing_is_named(day: Tape, name: str) -> None:
    world = WorldAgent(generators.create(name), day, "3min")
    with pytest.raises(ModelError, match="has not been (fitted|trained) yet"):
        Simulation({"session": SESSION}, 0, agents={"world": world}).run()


def test_one_world_agent_a_symbol(day: Tape) -> None:
    for other in (WorldAgent(DummyFlow(), day, "1min"), ReplayAgent(day)):
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


def naive_cancel(block: Market, agent: int, draft: Any) -> tuple[int, int, int, bool] | None:
    """Order, message and lots of a cancel, and whether it moved: what the compiled search finds."""
    orders, levels = block.view("orders"), block.view("levels")
    live = orders[: int(block.header["orders_used"])]
    mine = (live["level"] >= 0) & (live["agent"] == agent) & (live["side"] == draft.side)
    queues: dict[int, list[tuple[int, int]]] = {}
    for level in set(live["level"][mine].tolist()):
        slot = int(levels["head"][level])
        while slot >= 0:
            if orders["agent"][slot] == agent:
                entry = (int(orders["order_id"][slot]), int(orders["size_lots"][slot]))
                queues.setdefault(int(levels["price_ticks"][level]), []).append(entry)
            slot = int(orders["next"][slot])
    if not queues:
        return None
    price = min(queues, key=lambda p: (abs(p - draft.price_ticks), -draft.side * p))
    order_id, lots = min(queues[price], key=lambda entry: abs(entry[1] - draft.size_lots))
    kind = Message.CANCEL if draft.size_lots >= lots else Message.REDUCE
    return order_id, int(kind), draft.size_lots, price != draft.price_ticks


class Checked(WorldAgent):
    """Compares each cancel with the naive search."""

    checked = 0

    def _send(self, market: Handle, draft: Any) -> bool:
        moved = self.counts["cancels_moved"]
        sent = super()._send(market, draft)
        if draft.kind == CANCEL:
            block = market._simulation._market
            expected = naive_cancel(block, market.agent_id, draft)
            assert sent == (expected is not None)
            if expected is not None:
                messages = block.view("messages")
                message = messages[messages["d"] == block.view("books")["draft"][0]]
                assert message[["order_id", "kind", "size_lots"]].tolist() == [expected[:3]]
                assert self.counts["cancels_moved"] - moved == expected[3]
                self.checked += 1
        return sent


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10_000), spread=st.integers(1, 30))
def test_cancels_against_a_naive_search(day: Tape, seed: int, spread: int) -> None:
    class Wild(DummyFlow):
        def _one(self, state: Any, view: View, rng: np.random.Generator) -> Order:
            order = super()._one(state, view, rng)
            away = int(rng.integers(-spread, spread + 1)) if order.kind == CANCEL else 0
            return order._replace(price_ticks=order.price_ticks + away)

    world = Checked(Wild(), day, "1min")
    session = {"open": "09:30", "close": "09:31:20"}
    agents = {"world": world, "quotes": Quotes(SECOND // 4), "sweep": Sweep(OPEN + 70 * SECOND)}
    Simulation({"session": session}, seed, agents=agents).run()
    assert world.checked > 40 and world.counts["cancels_moved"] > 0


def test_how_a_model_draws_is_a_key_of_the_configuration() -> None:
    def digest(sampling: object) -> str:
        keys = {} if sampling is None else {"agents.world.sampling": sampling}
        return ms.run("world", until="09:45:20", overrides=keys).tape.digest()

    plain, cold = digest(None), digest({"temperature": 0.5})
    assert cold != plain
    assert digest({"temperature": 1.0}) == plain and digest({"temperature": 0.5}) == cold
    for wrong, rule in (
        ({"heads": 2}, "unknown key 'heads'"),
        ({"temprature": 1}, "did you mean 'temperature'"),
        ({"temperature": -1}, "temperature must be > 0, was -1"),
        (3, "sampling must be keys and values, was 3"),
    ):
        with pytest.raises(ms.errors.ConfigError, match="agents.world: ") as error:
            digest(wrong)
        assert rule in str(error.value)
