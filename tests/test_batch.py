"""Batches of markets equal single runs: bit for bit, however they are stepped and by whom."""

import threading
from typing import Any

import pytest

import marketsim as ms
import marketsim.batch
from marketsim.batch import Batch, run_batch
from marketsim.clock import NS_PER_SECOND
from marketsim.errors import ConfigError
from marketsim.market import Market
from marketsim.simulation import Simulation

OPEN = 34_200 * NS_PER_SECOND
UNTIL = OPEN + 300 * NS_PER_SECOND
SEEDS = (5, 0, 3, 11, 2)


class Counter(ms.Agent):
    """Trades a little on every change of the touch, and counts what it hears."""

    def __init__(self) -> None:
        self.heard = 0

    def on_start(self, market: Any) -> None:
        market.subscribe("L1")
        market.wake_at(market.open_ns + 60 * NS_PER_SECOND)

    def on_wakeup(self, market: Any) -> None:
        market.buy(int(market.rng.integers(1, 50)))
        market.wake_after(7 * NS_PER_SECOND)

    def on_data(self, market: Any, data: Any) -> None:
        self.heard += 1

    def summary(self, market: Any) -> dict[str, Any]:
        return {"heard": self.heard}


def facts(run: ms.Run) -> tuple[Any, ...]:
    summary = {key: value for key, value in run.summary.items() if key != "wall_s"}
    return summary, run.tape.digest(), run.accounts.to_csv()


def singles(config: Any, agents: Any = None) -> list[Any]:
    return [
        facts(ms.run(config, seed=seed, until=UNTIL, agents=agents(seed) if agents else ()))
        for seed in SEEDS
    ]


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_a_batch_equals_single_runs(threads: int) -> None:
    runs = run_batch("rmsc04", SEEDS, until=UNTIL, threads=threads)
    assert [facts(run) for run in runs] == singles("rmsc04")
    assert len({run.tape.digest() for run in runs}) == len(SEEDS)
    assert all(run.summary["trades"] > 100 for run in runs)


@pytest.mark.parametrize("threads", [1, 2])
def test_python_agents_run_in_a_batch(threads: int) -> None:
    def agents(seed: int) -> dict[str, ms.Agent]:
        return {"counter": Counter()}

    runs = run_batch("rmsc04", SEEDS, until=UNTIL, threads=threads, agents=agents)
    assert [facts(run) for run in runs] == singles("rmsc04", agents)
    assert all(run.summary["agents"]["counter"]["heard"] > 100 for run in runs)
    assert all(run.summary["agents"]["counter"] for run in runs)


@pytest.mark.parametrize("threads", [1, 2])
def test_steps_of_any_length_are_one_run(threads: int) -> None:
    whole = [Simulation("rmsc04", seed) for seed in SEEDS]
    stepped = [Simulation("rmsc04", seed) for seed in SEEDS]
    with Batch(stepped, threads) as batch:
        assert len(batch) == len(SEEDS)
        for after_ns in (1, 999_999_999, NS_PER_SECOND, 61 * NS_PER_SECOND, UNTIL - OPEN):
            batch.step(OPEN + after_ns)
            assert all(simulation.now_ns == OPEN + after_ns for simulation in stepped)
    for one, other in zip(whole, stepped, strict=True):
        assert facts(one.run(UNTIL))[1:] == facts(other.run(UNTIL))[1:]
        assert one.digest() == other.digest()


def test_different_markets_in_one_batch_grow_each_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configs = ["rmsc04", "rmsc03", {"base": "rmsc04", "agents": {"maker": {"count": 5}}}]
    expected = [facts(ms.run(config, seed=1, until=UNTIL)) for config in configs]

    def tiny(n_books: int, n_agents: int, **given: int) -> Market:
        small = {"orders": 1, "levels": 1, "index": 8, "outcomes": 1, "messages": 1, "rungs": 8,
                 "events": 1, "history": 1, "words": 1, "kinds": 1}  # fmt: skip
        rows = {"order_rows": 3, "trade_rows": 4, "delta_rows": 50}
        return Market(n_books, n_agents, **{**given, **small, **rows})

    monkeypatch.setattr("marketsim.build.Market", tiny)
    simulations = [Simulation(config, 1) for config in configs]
    with Batch(simulations, threads=2) as batch:
        batch.step(UNTIL)
    assert [facts(simulation.run(UNTIL)) for simulation in simulations] == expected


def test_the_length_of_a_turn_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = singles("rmsc04")
    monkeypatch.setattr(marketsim.batch, "EVENTS_A_CALL", 7)
    assert [facts(run) for run in run_batch("rmsc04", SEEDS, until=UNTIL)] == expected


def test_a_market_that_is_ahead_stays_where_it_is() -> None:
    ahead, behind = Simulation("rmsc04", 1), Simulation("rmsc04", 2)
    ahead.run(OPEN + 90 * NS_PER_SECOND)
    before = ahead.digest()
    batch = Batch([ahead, behind])
    batch.step(OPEN + 60 * NS_PER_SECOND)
    assert ahead.digest() == before and ahead.now_ns == OPEN + 90 * NS_PER_SECOND
    assert behind.now_ns == OPEN + 60 * NS_PER_SECOND


def test_a_market_of_a_batch_can_be_forked() -> None:
    simulations = [Simulation("rmsc04", seed) for seed in (1, 2)]
    batch = Batch(simulations)
    batch.step(OPEN + 100 * NS_PER_SECOND)
    fork = simulations[1].fork()
    batch.step(UNTIL)
    fork.run(UNTIL)
    assert fork.digest() == simulations[1].digest()


def test_progress_is_told_and_reaches_the_end() -> None:
    told: list[tuple[int, int, int]] = []
    runs = run_batch("rmsc04", (1, 2), until=UNTIL, progress=lambda *now: told.append(now))
    assert told[-1] == (UNTIL, UNTIL, sum(run.summary["events"] for run in runs))


def test_a_batch_runs_in_any_thread() -> None:
    found: list[Any] = []
    worker = threading.Thread(
        target=lambda: found.extend(run_batch("rmsc04", SEEDS, until=UNTIL, threads=2))
    )
    worker.start()
    worker.join()
    assert [facts(run) for run in found] == singles("rmsc04")


def test_ctrl_c_ends_a_batch_between_two_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    simulations = [Simulation("rmsc04", seed) for seed in (1, 2)]
    monkeypatch.setattr(marketsim.batch, "EVENTS_A_CALL", 100)
    batch = Batch(simulations)
    simulations[0]._interrupted = True
    with pytest.raises(KeyboardInterrupt):
        batch.step(UNTIL)
    simulations[0]._interrupted = False
    batch.step(UNTIL)
    assert simulations[0].digest() == ms.run("rmsc04", seed=1, until=UNTIL).summary["digest"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run_batch("rmsc04", []), "seeds must be at least one, each once, were []"),
        (lambda: run_batch("rmsc04", [1, 1]), "seeds must be at least one, each once, were [1, 1]"),
        (lambda: run_batch("rmsc04", [-1]), "seed must be an integer from 0 to 2**63 - 1, was -1"),
        (lambda: run_batch("rmsc4", [1]), "unknown config 'rmsc4' (did you mean 'rmsc04'?)"),
        (lambda: run_batch("rmsc04", [1], threads=0), "threads must be an integer > 0, was 0"),
        (lambda: run_batch("rmsc04", [1], until="09:00"), "until must not be before 09:30:00.000"),
        (lambda: Batch([]), "simulations must be at least one, were none"),
        (lambda: Batch([one_market] * 2), "simulations must be different objects"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        call()
    assert message in str(error.value)


one_market = Simulation("rmsc04")


def test_time_does_not_go_back() -> None:
    batch = Batch([Simulation("rmsc04")])
    batch.step(OPEN + 5)
    with pytest.raises(ConfigError, match="until_ns must be >= 34200000000005"):
        batch.step(OPEN + 4)
