"""What compiled agents may know: the market one latency ago, against the tape, and never more."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_populations import World

from marketsim.agents.momentum import MomentumAgent
from marketsim.clock import parse_span
from marketsim.compile import entry
from marketsim.market import Market, agents, header, words
from marketsim.market_data import first_unknown, notional_known, trades_known
from marketsim.population import (
    WAKE,
    Population,
    callback,
    columns,
    exponential,
    own,
    shared,
    touch_seen,
    traded_seen,
    wake_after,
)
from marketsim.simulation import Simulation

OPEN = 34_200_000_000_000
CLOSE = OPEN + 100_000
PARAMETERS, STATE = columns(mean_ns=float, lookback_ns=int, most=int), columns(looks=int)
parameters, state = shared(PARAMETERS), own(STATE)
#: A look: time, bid, its lots, ask, its lots, bought, sold, volume, last price, notional.
WIDTH = 10


@callback(WAKE)
def _look(m, agent, message):  # type: ignore[no-untyped-def]
    p, me = parameters(m, agent), state(m, agent)
    at = agents(m, agent).state + 1 + WIDTH * me.looks
    if me.looks < p.most:
        me.looks += 1
        now_ns = header(m).now_ns
        bid, bid_lots, ask, ask_lots = touch_seen(m, agent)
        bought, sold = traded_seen(m, agent, p.lookback_ns)
        known_ns = now_ns - agents(m, agent).latency_ns
        volume, _, last = trades_known(m, agents(m, agent).symbol, known_ns)
        words(m, at).value = now_ns
        words(m, at + 1).value, words(m, at + 2).value = bid, bid_lots
        words(m, at + 3).value, words(m, at + 4).value = ask, ask_lots
        words(m, at + 5).value, words(m, at + 6).value = bought, sold
        words(m, at + 7).value, words(m, at + 8).value = volume, last
        words(m, at + 9).value = notional_known(m, agents(m, agent).symbol, known_ns)
        wake_after(m, agent, exponential(m, agent, p.mean_ns))
    return 0


@dataclass(frozen=True)
class Observer(Population):
    """Looks at random times, and writes down what it sees behind its state."""

    mean_ns: float = 500.0
    lookback: str | int = 1000
    most: int = 400
    wake, parameters, state = _look, PARAMETERS, STATE

    @property
    def looks_back_ns(self) -> int:
        return parse_span(self.lookback)

    @property
    def extra_words(self) -> int:
        return WIDTH * self.most

    def values(self, market: Market) -> dict[str, float]:
        return {
            "mean_ns": self.mean_ns,
            "lookback_ns": parse_span(self.lookback),
            "most": self.most,
        }


def looks_of(simulation: Simulation, agent: int) -> Any:
    market = simulation._market
    at = int(market.view("agents")[agent]["state"])
    block = market.view("words")["value"]
    count = int(block[at])
    return block[at + 1 : at + 1 + WIDTH * count].reshape(count, WIDTH)


def check(simulation: Simulation, name: str, lookback_ns: int) -> int:
    """Compare all looks of a group with the tape; returns how many there were."""
    group = next(group for group in simulation.groups if group.name == name)
    world, compared = World(simulation, group.symbol), 0
    busy = set(world.orders["time_ns"].tolist())
    times, prices = world.trades["time_ns"], world.trades["price_ticks"]
    notionals = np.concatenate([[0], np.cumsum(prices * world.trades["size_lots"])])
    for agent in group.members:
        latency_ns = int(simulation._market.view("agents")[agent]["latency_ns"])
        for now_ns, *seen in looks_of(simulation, agent).tolist():
            known_ns = now_ns - latency_ns
            if latency_ns == 0 and now_ns in busy:
                continue  # events of this instant come before or after the look
            bid, bid_lots, ask, ask_lots = world.touch(known_ns)
            bought, sold = world.traded(known_ns, lookback_ns)
            trades = int(np.searchsorted(times, known_ns, side="right"))
            last = int(prices[trades - 1]) if trades else 0
            touch = [bid if bid_lots else 0, bid_lots, ask if ask_lots else 0, ask_lots]
            volume = int(world.bought[trades] + world.sold[trades])
            notional = int(notionals[trades])
            assert seen == [*touch, bought, sold, volume, last, notional], (agent, now_ns)
            compared += 1
    return compared


LATENCIES = [0, 1, 3, 40, 250, 3000, 20_000]


@pytest.mark.parametrize("seed", range(2))
def test_agents_of_many_latencies_see_the_past_exactly(noise_type: str, seed: int) -> None:
    """Hidden orders, icebergs, stops, replacements and self-trades in two symbols; then a burst."""
    noise = {"type": noise_type, "count": 5, "low": 1, "high": 30, "mean_ns": 150}
    burst = {**noise, "count": 12, "mean_ns": 60}
    kind = f"{__name__}:Observer"
    eyes = {
        f"eye{i}": {"type": kind, "count": 2, "latency_ns": latency_ns, "symbol": "AB"[i % 2],
                    "lookback": 700, "mean_ns": 300}
        for i, latency_ns in enumerate(LATENCIES)
    }  # fmt: skip
    config = {
        "session": {"open": OPEN, "close": CLOSE},
        "symbols": [{"name": "A"}, {"name": "B"}],
        "agents": {"noise": noise, "burst": burst, **eyes},
    }
    simulation = Simulation(config, seed)
    simulation.run(CLOSE - 1)
    compared = sum(check(simulation, name, 700) for name in eyes)
    assert compared > 0.8 * sum(len(looks_of(simulation, agent)) for agent in range(17, 31)) > 2000
    head = simulation._market.header
    assert head["history_count"] > head["history_capacity"]  # the ring has wrapped
    assert head["horizon_ns"] == 20_700


def test_long_lookbacks_and_other_populations_do_not_disturb_each_other() -> None:
    """The undo log holds what the longest memory needs, and the shorter ones read it too."""
    eyes = {
        "near": {"latency_ns": 1000, "lookback": "1s"},
        "far": {"latency": {"model": "geometry"}, "lookback": "30s", "count": 5},
        "now": {"latency_ns": 0, "lookback": 0},
        "all": {"latency_ns": 10, "lookback": "8h"},
    }
    common = {"type": f"{__name__}:Observer", "mean_ns": 1e9}
    overrides = {"tape.levels": 1, **{f"agents.momentum.{k}": v for k, v in
                                      (("interval", "2s"), ("short", 2), ("long", 3))}}  # fmt: skip
    config = {"base": "rmsc04", "agents": {name: {**common, **eye} for name, eye in eyes.items()}}
    simulation = Simulation(config, 5, overrides=overrides)
    simulation.run("09:36")
    assert MomentumAgent().looks_back_ns == 0
    for name, eye in eyes.items():
        assert check(simulation, name, parse_span(eye["lookback"])) > 200


def test_an_observer_with_a_random_latency_knows_what_its_least_latency_tells() -> None:
    eye = {
        "type": f"{__name__}:Observer", "mean_ns": 1e8, "lookback": "1s",
        "latency": {"model": "uniform", "low_ns": 5_000_000, "high_ns": 90_000_000},
    }  # fmt: skip
    simulation = Simulation({"base": "rmsc04", "agents": {"eye": eye}}, 5)
    simulation.run("09:32")
    assert check(simulation, "eye", parse_span("1s")) == 400


@entry
def _first_unknown(m, known_ns):  # type: ignore[no-untyped-def]
    return first_unknown(m, known_ns)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(0, 3), max_size=70),
    st.sampled_from([1, 2, 8, 64]),
    st.integers(-1, 200),
    st.booleans(),
)
def test_the_first_unknown_change_is_that_of_a_linear_scan(
    gaps: list[int], capacity: int, known_ns: int, looks_back: bool
) -> None:
    """Times that stand still as in bursts, rings that have wrapped, times before and after all."""
    times = np.cumsum(gaps)
    market = Market(history=capacity)
    market.header["history_count"] = len(times)
    market.header["horizon_ns"] = int(looks_back)
    for i in range(max(0, len(times) - capacity), len(times)):
        market.view("history")[i % capacity]["time_ns"] = times[i]
    kept = range(max(0, len(times) - capacity), len(times))
    linear = next((i for i in kept if times[i] > known_ns), len(times))
    expected = linear if looks_back else len(times)
    assert _first_unknown(market.address, known_ns) == expected
