"""Every registered environment: other processes, states, starts and backgrounds."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from env_cases import (
    FIRST,
    IN_MARKET,
    WORLD,
    Case,
    drawn,
    each_market,
    episode,
    every_case,
    every_market,
    half_way,
    replaying,
    rest,
    same,
)
from gymnasium.error import ResetNeeded

from marketsim.clock import parse_time
from marketsim.data.synthetic import synthetic_tape
from marketsim.errors import ConfigError, DataError, StateError

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What a process of its own makes of each case, and of a state of each market."""
    folder = tmp_path_factory.mktemp("states")
    for case in IN_MARKET:
        half_way(case).save_state(folder / f"{case.label}.npz")
    done = subprocess.run(
        [sys.executable, str(HERE / "env_cases.py"), str(folder)],
        capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said: dict[str, dict[str, str]] = json.loads(done.stdout)
    return said


@every_case
def test_the_same_episode_in_another_process(case: Case, elsewhere: Any) -> None:
    assert episode(case, 7) == elsewhere["episode"][case.label]


# -- states ----------------------------------------------------------------------------------


@every_case
def test_states_branch(case: Case) -> None:
    env = half_way(case)
    state = env.save_state()
    first = rest(env)
    env.load_state(state)
    assert rest(env) == first
    other = case.bare()
    other.load_state(state)
    assert rest(other) == first
    env.load_state(state)
    env.step(drawn(env.action_space, np.random.default_rng(9)))
    other.load_state(state)  # what followed elsewhere is not in it
    assert rest(other) == first


@every_market
def test_a_state_goes_on_in_another_process(case: Case, elsewhere: Any) -> None:
    assert rest(half_way(case)) == elsewhere["state"][case.label]


@every_market
def test_a_state_as_an_option(case: Case, tmp_path: Path) -> None:
    env = half_way(case)
    state = env.save_state(tmp_path / "state")
    observation, info = case.bare().reset(seed=1, options={"state": state})
    same(case.bare().reset(options={"state": tmp_path / "state"}), (observation, info))
    masks = env.action_masks() if "continuous" not in case.label else None
    if masks is not None:
        assert masks.dtype == np.bool_ and masks.shape == (env.action_space.n,)
    with pytest.raises(ConfigError, match="give start or state, were both"):
        env.reset(options={"state": state, "start": "09:40"})


@each_market
def test_a_wrong_state_is_refused(case: Case, tmp_path: Path) -> None:
    state = half_way(case).save_state(tmp_path / "state")
    for saved in (state, tmp_path / "state"):
        with pytest.raises(StateError, match="must be .* the same task|given again as it was"):
            case.bare(window="2min").load_state(saved)
        with pytest.raises(StateError, match="state: must be of .* the same background"):
            case.bare(overrides={"agents.noise.count": 301}).load_state(saved)
    for other in FIRST.values():
        if other is not case:
            with pytest.raises(StateError, match="same task|as it was|learner"):
                other.bare().load_state(tmp_path / "state")
    with pytest.raises(StateError, match=r"state must be of save_state\(\) or its file, was 3"):
        case.bare().load_state(3)
    with pytest.raises(DataError, match="no such file"):
        case.bare().load_state(tmp_path / "nothing")
    with pytest.raises(ResetNeeded):
        case.bare().save_state()


def test_a_state_of_other_data_is_refused(tmp_path: Path) -> None:
    days = [synthetic_tape(seed, close="09:35") for seed in (0, 1)]
    one, other = (replaying(FIRST["marketsim/Execution-v0"], day) for day in days)
    one.reset(seed=0)
    state = one.save_state(tmp_path / "state")
    for saved in (state, tmp_path / "state"):
        with pytest.raises(StateError, match="data"):
            other.load_state(saved)


# -- times and backgrounds -------------------------------------------------------------------


@each_market
def test_starts(case: Case) -> None:
    env = case.bare(start=("09:32", "09:34"))
    first, last = parse_time("09:32"), parse_time("09:34")
    times = [env.reset(seed=seed)[1]["time_ns"] for seed in range(8)]
    assert len(set(times)) == 8 and first <= min(times) and max(times) <= last
    assert env.reset(seed=0)[1]["time_ns"] == times[0]
    for start in ("09:36", parse_time("09:36"), ["09:36", "09:36"]):
        assert env.reset(options={"start": start})[1]["time_ns"] == parse_time("09:36")
    env.reset(seed=0)
    assert env.reset()[1]["time_ns"] in range(first, last + 1)  # for that episode only
    for start in ("09:29", "09:44:01", "noon", None, 1.5, ("09:36",)):
        with pytest.raises(ConfigError, match="start"):
            env.reset(options={"start": start})
        with pytest.raises(ResetNeeded):
            env.step(env.action_space.sample())
    with pytest.raises(ConfigError, match="options must be a mapping"):
        env.reset(options=["start"])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="none of 10 markets has two sides at 09:30:00"):
        case.bare(start="09:30").reset()


@each_market
def test_an_episode_of_a_replay(case: Case) -> None:
    day = synthetic_tape(close="09:35")
    env = replaying(case, day)
    first = episode(case, 0, env)
    assert env.simulation.now_ns > parse_time("09:32")
    assert episode(case, 0, env) == first
    env.reset(seed=0)
    state = env.save_state()
    other = replaying(case, day)
    other.load_state(state)
    assert rest(other) == rest(env)


@each_market
def test_an_episode_of_goog(case: Case, lobster: Path) -> None:
    (file,) = lobster.glob("*GOOG*10*.zip")
    env = case.bare(background="replay", overrides={"data": str(file)})
    assert episode(case, 0, env) == episode(case, 0, env)
    assert env.simulation.symbols == ["GOOG"]


@each_market
def test_an_episode_of_the_world_agent(case: Case) -> None:
    env = case.kind(**{**case.parameters, **WORLD, "overrides": None})
    env.reset(seed=0)
    state = env.save_state()
    first = rest(env)
    env.load_state(state)
    assert rest(env) == first


@each_market
def test_vectors_of_world_agents(case: Case) -> None:
    parameters = {**case.parameters, **WORLD, "overrides": None}
    native = gymnasium.make_vec(f"marketsim:{case.environment}", num_envs=2, **parameters)
    single = case.kind(**parameters)
    actions = native.action_space.sample()
    native.reset(seed=3)
    single.reset(seed=4)
    ours, theirs = native.step(actions), single.step(actions[1])
    same(ours[0][1], theirs[0])
    assert ours[1][1] == theirs[1]


def test_a_market_that_is_kept_stays_as_it_is_when_its_row_goes_on() -> None:
    native = IN_MARKET[0].make_vec(2)
    native.reset(seed=0)
    kept = native.envs[0].unwrapped.simulation
    before = kept.digest()
    native.reset()
    native.step(native.action_space.sample())
    assert kept.digest() == before and kept is not native.envs[0].unwrapped.simulation
    kept.run(kept.now_ns + 10**9)
    native.step(native.action_space.sample())
