"""Latency by function: models, no table, nobody disturbs anybody, messages that overtake."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from marketsim.agent import Agent, Fill, Handle, OrderUpdate
from marketsim.agents.momentum import MomentumAgent
from marketsim.codes import OrderKind, Side
from marketsim.errors import ConfigError
from marketsim.population import WAKE, Population, callback
from marketsim.simulation import Simulation

OPEN = 34_200_000_000_000
CLOSE = OPEN + 100_000


@callback(WAKE)
def _sleep(m, agent, message):  # type: ignore[no-untyped-def]
    return 0


@dataclass(frozen=True)
class Idle(Population):
    """Does nothing."""

    wake = _sleep


class Waker(Agent):
    """Does nothing, often, and draws random numbers for it."""

    def on_start(self, market: Handle) -> None:
        market.wake_at(market.open_ns)
        market.subscribe("L1")

    def on_wakeup(self, market: Handle) -> None:
        market.wake_after(1 + int(market.rng.exponential(5e9)))
        market.depth(3)


def agents_of(simulation: Simulation) -> Any:
    return simulation._market.view("agents")


def same_tape(one: Simulation, two: Simulation) -> bool:
    return all(one.tapes[name].digest() == two.tapes[name].digest() for name in one.symbols)


LATENCIES: dict[str, dict[str, Any]] = {
    "geometry": {"model": "geometry"},
    "cubic": {"model": "cubic", "min_latency_ns": "5ms"},
    "uniform": {"model": "uniform", "low_ns": "1ms", "high_ns": "60ms"},
}


@pytest.mark.parametrize("latency", LATENCIES)
def test_an_idle_agent_changes_nobodys_draws_latencies_or_places(latency: str) -> None:
    """Python or compiled, one or many, given or configured: half an hour of RMSC04 is the same."""
    base = {"base": "rmsc04", "latency": LATENCIES[latency], "session": {"close": "10:00"}}

    def run(agents: Any = (), **entries: Any) -> Simulation:
        simulation = Simulation({**base, "agents": entries}, 7, agents=agents)
        simulation.run()
        return simulation

    alone = run()
    n = len(agents_of(alone))
    names = ["latency_ns", "counter", "jitter_draws"]
    others = [run(agents=[Agent()]), run(agents=[Waker()]), run(agents=[Idle()]),
              run(idle={"type": f"{__name__}:Idle", "count": 3000})]  # fmt: skip
    for other in others:
        assert len(agents_of(other)) > n
        for name in names:
            assert (agents_of(other)[name][:n] == agents_of(alone)[name]).all(), name
        for table in ("orders", "trades"):
            mine, theirs = getattr(alone.tape, table), getattr(other.tape, table)
            for column in mine:
                assert np.array_equal(mine[column], theirs[column]), (table, column)
        ours, theirs = alone._market.view("accounts"), other._market.view("accounts")
        assert (ours == theirs[: len(ours)]).all()
    assert len(alone.tape.orders["time_ns"]) > 2000


@pytest.mark.parametrize("latency", ["geometry", "cubic"])
def test_memory_grows_with_the_number_of_agents_not_its_square(latency: str) -> None:
    def size(count: int) -> int:
        idle = {"type": f"{__name__}:Idle", "count": count}
        config = {"latency": LATENCIES[latency], "tape": {"enabled": False}, "agents": {"i": idle}}
        return len(Simulation(config)._market.block)

    sizes = [size(count) for count in (2_000, 4_000, 8_000, 16_000)]
    each = np.diff(sizes) / [2_000, 4_000, 8_000]
    assert each.max() < 1_000 and each.max() < 1.3 * each.min()


class Clock(Agent):
    """Sends a small order at each wake-up and keeps when it sent it, and when it heard back."""

    def __init__(self, side: int = 1, orders: int = 200, every_ns: int = 100) -> None:
        self.side, self.left, self.every_ns = side, orders, every_ns
        self.sent: dict[int, int] = {}
        self.heard: dict[int, tuple[int, int]] = {}
        self.at_once: list[int] = []

    def on_start(self, market: Handle) -> None:
        market.wake_at(market.open_ns)

    def on_wakeup(self, market: Handle) -> None:
        self.at_once.append(market.now_ns)
        if self.left:
            self.left -= 1
            market.wake_after(self.every_ns)
            self.sent[market.order(self.side, 1, 100)] = market.now_ns

    def on_order(self, market: Handle, update: OrderUpdate) -> None:
        if update.status == "accepted":
            self.heard[update.order_id] = (update.time_ns, market.now_ns)

    def on_fill(self, market: Handle, fill: Fill) -> None:
        self.at_once.append(market.now_ns)


def clocks(latency: dict[str, Any], delay_ns: int = 0, **entry: Any) -> tuple[Clock, Simulation]:
    config = {
        "session": {"open": OPEN, "close": CLOSE},
        "agents": {"clock": {"type": f"{__name__}:Clock", "latency": latency,
                             "computation_delay_ns": delay_ns, **entry}},
    }  # fmt: skip
    simulation = Simulation(config, 11)
    simulation.run()
    clock = simulation.agent("clock")
    assert isinstance(clock, Clock) and len(clock.heard) == 200
    return clock, simulation


def spans(clock: Clock) -> tuple[Any, Any]:
    """Times of all messages to the exchange, and back."""
    there = [clock.heard[order][0] - sent for order, sent in clock.sent.items()]
    back = [heard - at for at, heard in clock.heard.values()]
    return np.array(there), np.array(back)


def test_messages_take_what_their_model_says() -> None:
    there, back = spans(clocks({"model": "constant", "latency_ns": 70})[0])
    assert set(there) == set(back) == {70}
    there, back = spans(clocks({"model": "uniform", "low_ns": 100, "high_ns": 900})[0])
    assert 100 <= min(there.min(), back.min()) < 130 and 870 < max(there.max(), back.max()) <= 900
    assert not np.array_equal(there, back)
    there, back = spans(clocks({"model": "cubic", "min_latency_ns": 400, "jitter_clip": 0.2})[0])
    most = 400 * (1 + 0.05 / 0.2**3)
    assert min(there.min(), back.min()) >= 420 and max(there.max(), back.max()) <= most
    there, _ = spans(clocks({"model": "constant", "latency_ns": 70}, delay_ns=30)[0])
    assert set(there) == {100}


def test_a_matrix_has_a_row_for_the_agents_site_even_when_it_is_not_symmetric() -> None:
    matrix = {"model": "matrix", "sites": ["NY", "CHI", "LON"], "exchange": "CHI",
              "latency_ns": [[1, 20, 3], [40, 5, 60], ["70ns", "0.08us", 9]]}  # fmt: skip
    for site, expected in (("NY", 20), ("CHI", 5), ("LON", 80)):
        there, back = spans(clocks(matrix, site=site)[0])
        assert set(there) == set(back) == {expected}
    there, back = spans(clocks({**matrix, "jitter": 1.0, "jitter_clip": 1.0}, site="NY")[0])
    assert set(there) == set(back) == {22}  # 20 (1 + 1 / 10)


def test_latency_of_the_market_and_of_an_entry() -> None:
    config = {
        "session": {"open": OPEN, "close": CLOSE},
        "latency": {"model": "constant", "latency_ns": 7},
        "computation_delay_ns": 3,
        "agents": {
            "a": {"type": "momentum"},
            "b": {"type": "momentum", "latency_ns": 0, "computation_delay_ns": 0},
            "c": {"type": "momentum", "latency": {"model": "uniform", "low_ns": 5, "high_ns": 6}},
        },
    }
    Own = type("Own", (Agent,), {"latency_ns": 11, "computation_delay_ns": 12})
    simulation = Simulation(config, agents=[MomentumAgent(), Agent(), Own()])
    records = agents_of(simulation)
    assert records["latency_ns"].tolist() == [7, 0, 5, 7, 7, 11]
    assert records["delay_ns"].tolist() == [3, 0, 3, 3, 3, 12]
    assert (records["jitter"] > 0).tolist() == [False, False, True, False, False, False]


JITTER = {"model": "uniform", "low_ns": 10, "high_ns": 5000}


@pytest.mark.parametrize("delay_ns", [0, 60])
def test_messages_overtake_each_other_and_nothing_breaks(noise_type: str, delay_ns: int) -> None:
    """Orders, changes and answers out of order; accounts and forks hold."""
    noise = {"type": noise_type, "count": 4, "low": 1, "high": 20, "mean_ns": 700,
             "latency": JITTER, "computation_delay_ns": delay_ns}  # fmt: skip
    config = {
        "session": {"open": OPEN, "close": CLOSE},
        "exchange": {"self_trade": "decrement"},
        "agents": {"noise": noise, "idle": {"type": f"{__name__}:Idle", "latency": JITTER}},
    }
    simulation = Simulation(config, 2)
    simulation.run(OPEN + 60_000)
    twin = simulation.fork()
    for one in (simulation, twin):
        one.run(CLOSE)
    first_late = int(simulation._market.header["next_order_id"])
    for one in (simulation, twin):
        one.run(CLOSE + 50_000)
    assert simulation.digest() == twin.digest() and same_tape(simulation, twin)
    orders = simulation.tape.orders
    overtakes = 0
    for agent in range(4):
        mine = np.isin(orders["kind"], [OrderKind.LIMIT, OrderKind.MARKET])
        ids = orders["order_id"][mine & (orders["agent_id"] == agent)]
        overtakes += int((np.diff(ids) < 0).sum())
    assert overtakes > 20
    accounts = simulation._market.view("accounts")
    assert accounts["position_lots"].sum() == 0 and accounts["cash"].sum() == 0
    assert accounts["trades"].sum() > 200
    assert (accounts["known_position_lots"] == accounts["position_lots"]).all()
    assert (accounts["known_cash"] == accounts["cash"]).all()
    live = simulation._market.view("orders")[: int(simulation._market.header["orders_used"])]
    live = live[live["level"] >= 0]
    for agent in range(4):  # what it thinks is open is open, whatever overtook what
        mine = live[live["agent"] == agent]
        mine = mine[mine["order_id"] < first_late]
        lots = dict(zip(mine["order_id"], mine["size_lots"] + mine["reserve_lots"], strict=True))
        thought = simulation._python[agent][1].open_orders
        assert {key: value for key, value in thought.items() if key < first_late} == lots


def test_an_agent_that_computes_hears_one_thing_after_the_other_whatever_overtakes() -> None:
    """Between two callbacks of one agent there is a computation delay, and none is lost."""
    clock, _ = clocks(JITTER, delay_ns=130, every_ns=40)
    heard = sorted([*(now for _, now in clock.heard.values()), *clock.at_once])
    assert len(heard) == 401 and min(np.diff(heard)) >= 130
    there, back = spans(clock)
    assert there.min() >= 140 and back.min() >= 10


def test_populations_run_with_jitter_and_computation_delay() -> None:
    """RMSC04 where cancels can overtake and arrive late: conserved, alive, and forks agree."""
    config = {"base": "rmsc04", "latency": LATENCIES["uniform"], "computation_delay_ns": 1_000_000}
    simulation = Simulation(config, 4)
    simulation.run("09:50")
    twin = simulation.fork()
    for one in (simulation, twin):
        one.run("10:10")
    assert simulation.digest() == twin.digest() and same_tape(simulation, twin)
    accounts = simulation._market.view("accounts")
    assert accounts["position_lots"].sum() == 0 == accounts["cash"].sum()
    assert set(np.unique(simulation.tape.trades["side"])) == {int(Side.BUY), int(Side.SELL)}


def test_the_state_of_the_latencies_streams_is_in_the_digest() -> None:
    simulation = Simulation({"latency": LATENCIES["cubic"], "agents": {"m": {"type": "momentum"}}})
    before = simulation.digest()
    agents_of(simulation)["jitter_draws"] += 1
    assert simulation.digest() != before


def test_an_agent_given_as_an_object_says_where_it_is() -> None:
    matrix = {"model": "matrix", "sites": ["a", "b"], "latency_ns": [[1, 2], [3, 4]],
              "exchange": "b"}  # fmt: skip

    class Here(Agent):
        site = "a"

    class Near(Agent):
        latency_ns = 7

    simulation = Simulation({"latency": matrix}, agents=[Here(), Near()])
    assert simulation._market.view("agents")["latency_ns"][:2].tolist() == [2, 7]
    with pytest.raises(ConfigError, match="agents.Agent: key 'site' is required"):
        Simulation({"latency": matrix}, agents=[Agent()])
