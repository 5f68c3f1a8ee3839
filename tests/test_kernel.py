"""The kernel: order of events, busy agents, latency, and growth that nobody notices."""

import heapq
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import marketsim.build
import marketsim.simulation
from marketsim.agent import Agent, Data, Fill, Handle, OrderUpdate
from marketsim.market import Market
from marketsim.simulation import Simulation

OPEN = 34_200_000_000_000
CLOSE = OPEN + 1_000_000
SESSION = {"session": {"open": OPEN, "close": CLOSE}}
QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Waker(Agent):
    """Wakes as planned; each wake-up plans further ones, perhaps in the past."""

    def __init__(self, first: list[int], plans: list[list[int]], log: list[Any]) -> None:
        self.first, self.plans, self.log = first, plans, log

    def on_start(self, market: Handle) -> None:
        for delta in self.first:
            market.wake_at(OPEN + delta)

    def on_wakeup(self, market: Handle) -> None:
        self.log.append((market.now_ns - OPEN, market.agent_id))
        if self.plans:
            for delta in self.plans.pop():
                market.wake_after(delta)


deltas = st.lists(st.integers(0, 5), max_size=4)
plans = st.lists(st.lists(st.integers(-3, 4), max_size=3), max_size=12)


@QUICK
@given(st.lists(st.tuples(deltas, plans), min_size=1, max_size=5))
def test_events_come_by_time_and_then_by_the_order_in_which_they_were_caused(
    agents: list[tuple[list[int], list[list[int]]]],
) -> None:
    log: list[tuple[int, int]] = []
    wakers = [Waker(first, [list(p) for p in plan], log) for first, plan in agents]
    Simulation(SESSION, agents=wakers).run(OPEN + 1000)

    expected, queue, sequence = [], [], 0
    left = [[list(p) for p in plan] for _, plan in agents]
    for agent, (first, _) in enumerate(agents):
        for delta in first:
            queue.append((delta, sequence, agent))
            sequence += 1
    heapq.heapify(queue)
    while queue:
        now, _, agent = heapq.heappop(queue)
        expected.append((now, agent))
        for delta in left[agent].pop() if left[agent] else []:
            heapq.heappush(queue, (max(now + delta, now), sequence, agent))
            sequence += 1
    assert log == expected


def test_the_heap_sorts_a_great_many_events() -> None:
    log: list[tuple[int, int]] = []
    rng = np.random.default_rng(5)
    times = rng.integers(0, 2000, (4, 3000))
    Simulation(SESSION, agents=[Waker(row.tolist(), [], log) for row in times]).run()
    expected = sorted(
        (time, i, agent) for agent, row in enumerate(times.tolist()) for i, time in enumerate(row)
    )
    assert [time for time, _ in log] == [time for time, _, _ in expected]
    assert [agent for time, agent in log] == [
        agent for time, agent in sorted((t, a) for t, _, a in expected)
    ]


class Busy(Agent):
    """Notes when it hears what; sends an order at each wake-up."""

    def __init__(self, times: list[int], trades: bool = False) -> None:
        self.times, self.trades = times, trades
        self.log: list[tuple[int, str, int]] = []

    def on_start(self, market: Handle) -> None:
        if self.trades:
            market.subscribe("TRADES")
        for time_ns in self.times:
            market.wake_at(OPEN + time_ns)

    def on_wakeup(self, market: Handle) -> None:
        self.log.append((market.now_ns - OPEN, "wake", market.now_ns - OPEN))
        market.buy(1, limit=100)

    def on_order(self, market: Handle, update: OrderUpdate) -> None:
        self.log.append((market.now_ns - OPEN, update.status, update.time_ns - OPEN))

    def on_data(self, market: Handle, data: Data) -> None:
        self.log.append((market.now_ns - OPEN, "data", data.time_ns - OPEN))


def busy_config(*agents: dict[str, Any]) -> dict[str, Any]:
    entries = {f"a{i}": {"type": f"{__name__}:Busy", **agent} for i, agent in enumerate(agents)}
    return {**SESSION, "agents": entries}


def log_of(simulation: Simulation, agent: int = 0) -> list[tuple[int, str, int]]:
    found = simulation._python[agent][0]
    assert isinstance(found, Busy)
    return found.log


def naive_busy(times: list[int], latency: int, delay: int) -> list[tuple[int, str, int]]:
    """One message at a time: what arrives waits in line until the agent is free."""
    queue = [(time, i, "wake", time) for i, time in enumerate(times)]
    heapq.heapify(queue)
    sequence, free_at, log = len(times), 0, []
    while queue:
        # A first-in first-out line with one server serves in the order of arrival.
        arrival, _, what, stamp = heapq.heappop(queue)
        now = max(arrival, free_at)
        free_at = now + delay
        log.append((now, what, now if what == "wake" else stamp))
        if what == "wake":
            at_exchange = now + delay + latency
            heapq.heappush(queue, (at_exchange + latency, sequence, "accepted", at_exchange))
            sequence += 1
    return log


@QUICK
@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=15),
    st.integers(0, 20),
    st.integers(0, 20),
)
def test_a_busy_agent_hears_one_thing_at_a_time_in_order(
    times: list[int], latency: int, delay: int
) -> None:
    """An answer arrives after a wake-up that was planned earlier for the same instant."""
    config = busy_config(
        {"times": times, "latency_ns": latency, "computation_delay_ns": delay},
        {"times": [7], "computation_delay_ns": 3},
    )
    simulation = Simulation(config)
    simulation.run(OPEN + 10_000)
    assert log_of(simulation) == naive_busy(times, latency, delay)
    assert log_of(simulation, 1) == [(7, "wake", 7), (10, "accepted", 10)]


@pytest.mark.parametrize("latency, delay", [(0, 0), (1, 0), (0, 1), (123_457, 89), (5, 7)])
def test_latency_and_delay_are_exact_to_the_nanosecond(latency: int, delay: int) -> None:
    config = busy_config({"times": [11], "latency_ns": latency, "computation_delay_ns": delay})
    simulation = Simulation(config)
    simulation.run(CLOSE - 1)
    arrives = 11 + delay + latency
    assert log_of(simulation) == [(11, "wake", 11), (arrives + latency, "accepted", arrives)]
    assert simulation.tape.orders["time_ns"].tolist() == [OPEN + arrives]


def test_both_sides_and_the_feed_hear_after_their_own_latency() -> None:
    class Taker(Agent):
        def on_start(self, market: Handle) -> None:
            market.wake_at(OPEN + 500)
            self.fills: list[tuple[int, int]] = []

        def on_wakeup(self, market: Handle) -> None:
            market.sell(1, limit=100)

        def on_fill(self, market: Handle, fill: Fill) -> None:
            self.fills.append((market.now_ns - OPEN, fill.time_ns - OPEN))

    config = busy_config({"times": [0], "latency_ns": 30}, {"times": [], "trades": True,
                         "latency_ns": 77})  # fmt: skip
    taker = Taker()
    simulation = Simulation(config, agents=[taker])
    simulation.run(OPEN + 5000)
    assert taker.fills == [(500, 500)]
    assert log_of(simulation, 1) == [(577, "data", 500)]
    account = simulation._python[0][1]
    assert (account.position, account.cash_ticks) == (1, -100)


def test_a_fill_is_known_when_it_has_been_heard_of() -> None:
    class Peek(Agent):
        def on_start(self, market: Handle) -> None:
            self.seen: list[tuple[int, int, int]] = []
            for time_ns in (0, 100, 109, 110, 111):
                market.wake_at(OPEN + time_ns)

        def on_wakeup(self, market: Handle) -> None:
            if not self.seen:
                market.buy(3, limit=50)
            self.seen.append((market.now_ns - OPEN, market.position, market.cash_ticks))

    globals()["Peek"] = Peek
    config = {**SESSION, "agents": {"p": {"type": f"{__name__}:Peek", "latency_ns": 10}}}

    class Seller(Agent):
        def on_start(self, market: Handle) -> None:
            market.wake_at(OPEN + 100)

        def on_wakeup(self, market: Handle) -> None:
            market.sell(2, limit=50)

    simulation = Simulation(config, agents=[Seller()])
    simulation.run(OPEN + 200)
    peek = simulation._python[0][0]
    assert isinstance(peek, Peek)
    # At 110 the wake-up was asked for first; the fill follows at the same instant.
    assert peek.seen == [(0, 0, 0), (100, 0, 0), (109, 0, 0), (110, 0, 0), (111, 2, -100)]


TINY = {
    "rungs": 8, "orders": 1, "levels": 1, "index": 8, "outcomes": 1, "subscriptions": 1,
    "messages": 1, "events": 1, "history": 1, "order_rows": 1, "trade_rows": 1, "delta_rows": 1,
    "kinds": 1, "feed": 1, "words": 1,
}  # fmt: skip


def noisy_config(noise_type: str) -> dict[str, Any]:
    def entry(**keys: Any) -> dict[str, Any]:
        return {"type": noise_type, "mean_ns": 100, **keys}

    return {
        "session": {"open": OPEN, "close": OPEN + 30_000},
        "symbols": [{"name": "X"}, {"name": "Y"}],
        "agents": {
            "plain": entry(),
            "many": entry(count=3, latency_ns=50, low=-30, high=60),
            "slow": entry(latency_ns=700, computation_delay_ns=130, feed="L2"),
            "one": entry(feed="L3", latency_ns=3),
            "two": entry(feed="L1", computation_delay_ns=20),
            "three": entry(feed="TRADES"),
        },
    }


def outcome_of(config: dict[str, Any], seed: int) -> tuple[str, list[str], list[Any]]:
    simulation = Simulation(config, seed)
    run = simulation.run(OPEN + 40_000)
    heard = [vars(agent) for agent, _ in simulation._python.values()]
    return run.summary["digest"], [tape.digest() for tape in run.tapes.values()], heard


@pytest.mark.parametrize("seed", [0, 1])
def test_pools_grow_without_a_trace(
    noise_type: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same run from capacities of one record, from odd ones and from large ones."""
    config = noisy_config(noise_type)
    expected = outcome_of(config, seed)
    assert sum(agent["heard"] for agent in expected[2]) > 1000
    for capacities in (
        TINY,
        {name: 1 << 15 for name in TINY},
        *({"order_rows": n, "trade_rows": n + 1, "delta_rows": 2 * n} for n in (2, 5, 9)),
        *({"outcomes": n, "messages": 3 * n, "events": 3 * n} for n in (7, 13)),
    ):

        def made(n_books: int, n_agents: int, capacities: Any = capacities, **given: int) -> Market:
            return Market(n_books, n_agents, **{**given, **capacities})

        monkeypatch.setattr(marketsim.build, "Market", made)
        assert outcome_of(config, seed) == expected, capacities


def test_the_size_of_the_kernels_turns_does_not_matter(
    noise_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = noisy_config(noise_type)
    expected = outcome_of(config, 3)
    monkeypatch.setattr(marketsim.simulation, "EVENTS_A_CALL", 1)
    assert outcome_of(config, 3) == expected


def test_the_book_is_sound_after_every_kind_of_request(noise_type: str) -> None:
    from marketsim.invariants import broken_invariant

    simulation = Simulation(noisy_config(noise_type), 7)
    for until in range(OPEN, OPEN + 30_001, 1500):
        simulation.run(until)
        for book in range(2):
            assert broken_invariant(simulation._market, book) is None
