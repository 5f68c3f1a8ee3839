"""Simulations: the same again, streamed, in steps, forked, saved; and wrong input."""

import gc
import json
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import marketsim as ms
from marketsim.agent import Agent, Handle
from marketsim.codes import Feed
from marketsim.data.synthetic import synthetic_tape
from marketsim.errors import ConfigError, DataError, StateError
from marketsim.simulation import Simulation
from marketsim.tape import Tape

OPEN = 34_200_000_000_000
CLOSE = OPEN + 60_000
ROOT = Path(__file__).parents[1]


def noisy(noise_type: str, **more: Any) -> dict[str, Any]:
    noise = {"type": noise_type, "mean_ns": 60, "low": -10, "high": 30}
    return {
        "session": {"open": OPEN, "close": CLOSE},
        "symbols": [{"name": "X"}, {"name": "Y"}],
        "exchange": {"maker_fee_bps": -0.25, "taker_fee_bps": 0.4, **more.pop("exchange", {})},
        "agents": {
            "fast": {**noise, "count": 3},
            "slow": {**noise, "latency_ns": 300, "computation_delay_ns": 70, "feed": "L2"},
            **more,
        },
    }


def prints(simulation: Simulation) -> tuple[Any, ...]:
    """Digests of the state and of the tapes, and what Python agents know."""
    known = [
        (vars(agent), handle.open_orders, str(handle.rng.bit_generator.state))
        for agent, handle in simulation._python.values()
    ]
    return simulation.digest(), [tape.digest() for tape in simulation.tapes.values()], known


REPEAT = """
import json, sys, numpy as np
garbage = [np.full(n, int(sys.argv[1]), np.uint8) for n in range(1, 3000)]
del garbage
sys.path.insert(0, "tests")
from conftest import Noise
from marketsim.simulation import Simulation
config = json.loads(sys.argv[2])
out = sys.argv[3] if len(sys.argv) > 3 else None
simulation = Simulation(config, 5, out=out)
run = simulation.run()
print(json.dumps([simulation.digest(), [tape.digest() for tape in run.tapes.values()]]))
"""


def in_process(*arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", REPEAT, *arguments],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_same_seed_gives_the_same_in_every_process_streamed_or_not(
    noise_type: str, tmp_path: Path
) -> None:
    here = Simulation(noisy(noise_type), 5)
    here.run()
    config = json.dumps(noisy("conftest:Noise"))
    one = in_process("7", config)
    two = in_process("255", config, str(tmp_path / "tape"))
    assert one == two
    assert one == [here.digest(), [tape.digest() for tape in here.tapes.values()]]
    assert Tape.load(tmp_path / "tape").digest() == one[1][0]
    assert Tape.load(tmp_path / "tape-Y").digest() == one[1][1]


def test_seeds_differ_and_zero_is_a_seed(noise_type: str) -> None:
    config = noisy(noise_type)
    digests = []
    for seed in (0, 0, 1, 2**63 - 1):
        simulation = Simulation(config, seed)
        run = simulation.run()
        assert run.summary["seed"] == seed == run.tape.meta["seed"]
        digests.append(run.tape.digest())
    assert digests[0] == digests[1] and len(set(digests)) == 3


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, True, "1", None])
def test_wrong_seeds_are_named(seed: Any) -> None:
    with pytest.raises(ConfigError, match=f"seed must be an integer .* was {seed!r}"):
        Simulation({}, seed)


def test_a_run_in_steps_is_the_run(noise_type: str) -> None:
    whole, steps = Simulation(noisy(noise_type), 1), Simulation(noisy(noise_type), 1)
    whole.run()
    for until in np.random.default_rng(0).integers(OPEN, CLOSE, 25).cumsum() % 60_000 + OPEN:
        if until >= steps.now_ns:
            run = steps.run(int(until))
            assert steps.now_ns == until
            assert len(run.tape) == run.summary["orders"] - len(run.tapes["Y"])
    steps.run(CLOSE)
    assert prints(steps) == prints(whole)
    with pytest.raises(ConfigError, match="until must not be before"):
        steps.run(OPEN)


def test_the_past_of_a_tape_is_the_tape_of_the_past(noise_type: str) -> None:
    simulation = Simulation(noisy(noise_type), 1)
    half = simulation.run(OPEN + 30_000).tape
    before = half.digest()
    whole = simulation.run().tape
    assert half.digest() == before and 0 < len(half) < len(whole)
    for name in half.orders:
        assert (half.orders[name] == whole.orders[name][: len(half)]).all()
    assert (half.book.bid_size_lots == whole.book.bid_size_lots[: len(half)]).all()


@pytest.mark.parametrize("instant", [0, 1, 7_777, 20_000, 45_001, 59_999])
def test_a_fork_continued_is_its_parent_and_disturbs_nobody(noise_type: str, instant: int) -> None:
    alone = Simulation(noisy(noise_type), 2)
    alone.run()
    parent = Simulation(noisy(noise_type), 2)
    parent.run(OPEN + instant)
    now = prints(parent)
    twin = parent.fork()
    assert prints(twin) == now
    twin.run(OPEN + min(instant + 5000, 60_000))
    second = twin.fork()
    second.run()
    assert prints(parent) == now
    parent.run()
    twin.run()
    assert prints(parent) == prints(twin) == prints(second) == prints(alone)


def test_a_changed_fork_goes_its_own_way(noise_type: str) -> None:
    parent = Simulation(noisy(noise_type), 2)
    parent.run(OPEN + 10_000)
    twin = parent.fork()
    agent, handle = twin._python[0]
    assert handle._simulation is twin and agent is not parent._python[0][0]
    handle.buy(1000)
    twin.run()
    parent.run()
    assert twin.digest() != parent.digest()
    alone = Simulation(noisy(noise_type), 2)
    alone.run()
    assert prints(alone) == prints(parent)


class Friends(Agent):
    """Holds its handle and another agent: a fork must not reach back through them."""

    def __init__(self) -> None:
        self.market: Handle | None = None
        self.friend: Friends | None = None

    def on_start(self, market: Handle) -> None:
        self.market = market
        market.wake_after(1000)

    def on_wakeup(self, market: Handle) -> None:
        assert self.market is market and self.friend is not None
        assert self.friend.friend is self
        market.wake_after(1000)


def test_a_fork_keeps_what_agents_share_together() -> None:
    one, two = Friends(), Friends()
    one.friend, two.friend = two, one
    parent = Simulation({"session": {"open": OPEN, "close": CLOSE}}, agents=[one, two])
    parent.run(OPEN + 5_500)
    twin = parent.fork()
    twin.run()
    parent.run()
    copied = twin._python[0][0]
    assert isinstance(copied, Friends) and copied is not one and copied.friend is not two


def test_a_fork_that_cannot_be_is_named(tmp_path: Path) -> None:
    class Holder(Agent):
        def __init__(self) -> None:
            self.file = (tmp_path / "x").open("w")

    holder = Holder()
    simulation = Simulation({}, agents={"holder": holder})
    with pytest.raises(StateError, match=r"agents.holder: cannot be copied"):
        simulation.fork()
    holder.file.close()
    streamed = Simulation({}, out=tmp_path / "tape")
    with pytest.raises(StateError, match="streamed to disk"):
        streamed.fork()
    streamed.run()


class Idle(Agent):
    """Watches everything and never trades."""

    def on_start(self, market: Handle) -> None:
        for feed in Feed:
            market.subscribe(feed)
        market.wake_after(10)

    def on_wakeup(self, market: Handle) -> None:
        market.wake_after(10)
        market.depth(3)
        market.rng.random()
        market.traded_lots()


@pytest.mark.parametrize("latency_ns, delay_ns", [(0, 0), (400, 0), (10, 90)])
def test_an_agent_that_never_trades_changes_nothing(
    noise_type: str, latency_ns: int, delay_ns: int
) -> None:
    config = noisy(noise_type)
    alone = Simulation(config, 3)
    alone.run()
    keys = {"latency_ns": latency_ns, "computation_delay_ns": delay_ns}
    watched = Simulation(noisy(noise_type, idle={"type": f"{__name__}:Idle", **keys}), 3)
    watched.run()
    assert prints(alone)[1] == prints(watched)[1]
    assert prints(alone)[2] == prints(watched)[2][:4]


def test_save_and_load_go_on_bit_for_bit(noise_type: str, tmp_path: Path) -> None:
    whole = Simulation(noisy(noise_type), 4)
    whole.run()
    for instant in (0, 12_345, 33_333, 60_000):
        simulation = Simulation(noisy(noise_type), 4)
        simulation.run(OPEN + instant)
        before = prints(simulation)
        simulation.save(tmp_path / "state.npz")
        assert prints(simulation) == before
        loaded = Simulation.load(tmp_path / "state.npz")
        assert prints(loaded) == before and loaded.now_ns == OPEN + instant
        loaded.save(tmp_path / "again.npz")
        loaded.fork().run()
        loaded.run()
        assert prints(loaded) == prints(whole)
        second = Simulation.load(tmp_path / "again.npz")
        second.run()
        assert prints(second) == prints(whole)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["again.npz", "state.npz"]


def test_save_and_load_in_a_replay_with_agents_given_as_objects(tmp_path: Path) -> None:
    def fresh() -> dict[str, Agent]:
        from marketsim.agents.pov import POVAgent

        return {"pov": POVAgent(quantity=500, participation=0.2, interval="10s", style="passive")}

    data = synthetic_tape(open="09:30", close="09:36")
    config = {"data": "given", "agents": {"history": {"type": "replay"}}}
    whole = Simulation(config, agents=fresh(), data=data)
    end = whole.run()
    half = Simulation(config, agents=fresh(), data=data)
    half.run("09:33:00.5")
    half.save(tmp_path / "half")
    loaded = Simulation.load(tmp_path / "half", agents=fresh(), data=data)
    run = loaded.run()
    assert run.tape.digest() == end.tape.digest() and loaded.digest() == whole.digest()
    assert run.summary["agents"] == end.summary["agents"]
    assert run.summary["history"] == end.summary["history"]
    with pytest.raises(StateError, match="must be given again"):
        Simulation.load(tmp_path / "half", data=data)
    with pytest.raises(StateError, match="must be given again"):
        Simulation.load(tmp_path / "half", agents=fresh())
    other = synthetic_tape(open="09:30", close="09:36", seed=9)
    with pytest.raises(StateError, match="data it replays has changed"):
        Simulation.load(tmp_path / "half", agents=fresh(), data=other)


def test_what_cannot_be_saved_or_loaded_is_named(noise_type: str, tmp_path: Path) -> None:
    class Stateful(Agent):
        def __init__(self) -> None:
            self.memory = 1

    simulation = Simulation({}, agents={"mine": Stateful()})
    with pytest.raises(StateError, match=r"agents.mine: Stateful: cannot be saved.*memory"):
        simulation.save(tmp_path / "x")
    assert not list(tmp_path.iterdir())
    simple = Simulation({})
    with pytest.raises(DataError, match="cannot be written"):
        simple.save(tmp_path / "missing" / "x")
    with pytest.raises(DataError, match="no such file"):
        Simulation.load(tmp_path / "x")
    simple.save(tmp_path / "good")
    good = (tmp_path / "good").read_bytes()
    for wrong in (b"", b"rubbish", good[: len(good) // 2]):
        (tmp_path / "bad").write_bytes(wrong)
        with pytest.raises(DataError, match="damaged"):
            Simulation.load(tmp_path / "bad")


def test_a_streamed_tape_is_there_when_the_run_ends(noise_type: str, tmp_path: Path) -> None:
    simulation = Simulation(noisy(noise_type), out=tmp_path / "tape")
    with pytest.raises(StateError, match="being streamed"):
        _ = simulation.tape
    assert simulation.run().tape.meta["complete"]
    assert len(simulation.tape) > 0


@pytest.mark.parametrize(
    "config, message",
    [
        ("dema", "dema"),
        ({"agents": {"a": {"type": "pov", "symbol": "Q"}}}, "unknown symbol 'Q'"),
        ({"agents": {"a": {"type": "pov", "participaton": 1}}}, "did you mean 'participation'"),
        ({"data": "given", "agents": {"h": {"type": "replay"}}}, "given: no such file"),
        ({"sesion": {}}, "unknown key 'sesion'"),
    ],
)  # fmt: skip
def test_wrong_configurations_are_named(config: Any, message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        Simulation(config)


def test_agents_given_as_objects_get_names_and_must_be_agents() -> None:
    simulation = Simulation({}, agents=[Idle(), Idle()])
    assert simulation.agent_names == ["Idle", "Idle-2"]
    with pytest.raises(ConfigError, match="must be a marketsim.Agent"):
        Simulation({}, agents=[3])  # type: ignore[list-item]
    config = {"agents": {"Idle": {"type": f"{__name__}:Idle"}}}
    assert Simulation(config, agents=[Idle()]).agent_names == ["Idle", "Idle-2"]
    with pytest.raises(ConfigError, match="name 'Idle' is taken"):
        Simulation(config, agents={"Idle": Idle()})


def test_run_writes_the_whole_run(noise_type: str, tmp_path: Path) -> None:
    told: list[tuple[int, int, int]] = []
    run = ms.run(noisy(noise_type), seed=8, out=tmp_path, progress=lambda *now: told.append(now))
    assert told[-1] == (CLOSE, CLOSE, run.summary["events"])
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "accounts.parquet", "config.json", "summary.json", "tape", "tape-Y",
    ]  # fmt: skip
    assert json.loads((tmp_path / "summary.json").read_text()) == run.summary
    again = ms.run(json.loads((tmp_path / "config.json").read_text()), seed=8)
    assert again.tape.digest() == run.tape.digest() == Tape.load(tmp_path / "tape").digest()
    assert again.summary["digest"] == run.summary["digest"]


def test_without_a_tape_the_market_is_the_same(noise_type: str) -> None:
    config = noisy(noise_type)
    with_tape = Simulation(config, 1)
    with_tape.run()
    without = Simulation({**config, "tape": {"enabled": False}}, 1)
    run = without.run()
    assert without.digest() == with_tape.digest() and len(run.tape) == 0


def test_a_run_never_overwrites_another_and_an_error_leaves_no_tape(tmp_path: Path) -> None:
    config = {"session": {"open": "09:30", "close": "09:31"}}
    with pytest.raises(ConfigError, match="until must not be before"):
        ms.run(config, until="08:00", out=tmp_path / "a")
    assert not (tmp_path / "a" / "tape").exists()
    ms.run(config, out=tmp_path / "a")
    with pytest.raises(DataError, match="holds a run already"):
        ms.run(config, out=tmp_path / "a")


def test_a_simulation_that_nobody_keeps_gives_its_memory_back_at_once() -> None:
    """Environments build one an episode, a megabyte each: that must not wait for the collector."""
    gc.disable()
    try:
        simulation = Simulation("rmsc04")
        simulation.run("09:31")
        fork = simulation.fork()
        left = [weakref.ref(simulation), weakref.ref(fork)]
        del simulation, fork
        assert [known() for known in left] == [None, None]
    finally:
        gc.enable()
