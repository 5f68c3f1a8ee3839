"""World agents: forked, saved, in batches, by configuration, in experiments."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dummy_flow import DummyFlow
from hypothesis import given, settings
from hypothesis import strategies as st
from world_market import MINUTE, OPEN, SECOND, Quotes, configured, said, simulate

import marketsim as ms
from marketsim.agents.world import WorldAgent
from marketsim.batch import Batch
from marketsim.errors import StateError
from marketsim.generators import create
from marketsim.simulation import Simulation
from marketsim.tape import Tape


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
        assert sum(told["orders"].values()) > 150
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
