"""What every registered environment must do, single and in its native vector environment."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from env_cases import CASES, IN_MARKET, MARKET, WORLD, Case, drawn, episode, same, spend
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from marketsim.clock import parse_time
from marketsim.data.synthetic import synthetic_tape
from marketsim.envs.registration import ENVIRONMENTS
from marketsim.errors import ActionError, ConfigError, DataError, StateError
from marketsim.tape import Tape

HERE = Path(__file__).parent
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
every_market = pytest.mark.parametrize("case", IN_MARKET, ids=lambda case: case.label)
#: One case of each environment, for what its parameters do not change.
FIRST = {case.environment: case for case in reversed(IN_MARKET)}
each_market = pytest.mark.parametrize("case", FIRST.values(), ids=lambda case: case.label)


def test_there_are_cases_of_all() -> None:
    assert {case.environment for case in CASES} == set(ENVIRONMENTS)
    assert {"Execution-v0", "Execution-v0-continuous", "Execution-v0-sell"} <= {
        case.label for case in CASES
    }


# -- gymnasium's contract --------------------------------------------------------------------


@every_case
def test_gymnasiums_checker(case: Case) -> None:
    check_env(case.bare())


@every_case
def test_stable_baselines_checker(case: Case) -> None:
    from stable_baselines3.common.env_checker import check_env as check_for_sb3

    check_for_sb3(case.bare())


@every_case
def test_kinds_bounds_and_keys(case: Case) -> None:
    env, rng = case.bare(), np.random.default_rng(0)
    space = env.observation_space
    assert space.dtype == np.float32
    assert (space.low == -1).all() and (space.high == 1).all()
    observation, info = env.reset(seed=0)
    kinds = {name: type(value) for name, value in info.items()}
    assert set(kinds.values()) <= {int, float, bool, str}
    kept: list[Any] = [(observation, observation.copy(), info, dict(info))]
    ended = False
    while not ended:
        observation, reward, terminated, truncated, info = env.step(drawn(env.action_space, rng))
        assert space.contains(observation)
        assert (type(reward), type(terminated), type(truncated)) == (float, bool, bool)
        assert np.isfinite([reward, *(v for v in info.values() if not isinstance(v, str))]).all()
        assert {name: type(value) for name, value in info.items()} == kinds
        kept.append((observation, observation.copy(), info, dict(info)))
        ended = terminated or truncated
    for given, copied, told, told_then in kept:  # nobody wrote into what was given away
        same([given, told], [copied, told_then])
    assert len({id(given) for given, *_ in kept}) == len({id(told) for *_, told, _ in kept})
    with pytest.raises(ResetNeeded):
        env.step(drawn(env.action_space, rng))


@every_case
def test_closed_twice_and_used_again(case: Case) -> None:
    env = case.bare()
    env.close()
    first = env.reset(seed=3)
    env.close()
    env.close()
    with pytest.raises(ResetNeeded):
        env.step(env.action_space.sample())
    same(env.reset(seed=3), first)


@every_case
def test_pictures(case: Case) -> None:
    text, picture = case.bare(render_mode="ansi"), case.bare(render_mode="rgb_array")
    for env in (text, picture):
        with pytest.raises(ResetNeeded):
            env.render()
        env.reset(seed=0)
    shapes = set()
    for _ in range(2):
        said, shown = text.render(), picture.render()
        assert isinstance(said, str) and said.strip()
        assert shown.dtype == np.uint8 and shown.std() > 1
        shapes.add(shown.shape)
        action = drawn(text.action_space, np.random.default_rng(1))
        text.step(action)
        picture.step(action)
    (shape,) = shapes
    assert len(shape) == 3 and shape[2] == 3
    assert text.render() != said
    with pytest.raises(ConfigError, match="render_mode must be .*human"):
        case.kind(**{**case.parameters, "render_mode": "human"})


# -- seeds -----------------------------------------------------------------------------------


@every_case
def test_seed_0_is_a_seed(case: Case) -> None:
    env = case.bare()
    zero = episode(case, 0, env)
    assert episode(case, 1, env) != zero
    assert episode(case, 0, env) == zero  # after another episode, ended where it ended
    env.reset(seed=5)
    env.step(drawn(env.action_space, np.random.default_rng(3)))
    assert episode(case, 0, env) == zero
    assert episode(case, None, env) not in (zero, episode(case, None))


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


def half_way(case: Case) -> Any:
    """An environment two steps into an episode."""
    env, rng = case.bare(), np.random.default_rng(2)
    env.reset(seed=11)
    for _ in range(2):
        env.step(drawn(env.action_space, rng))
    return env


def rest(env: Any) -> str:
    """What follows, under the same actions."""
    return spend(env, np.random.default_rng(5)).hexdigest()


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


# -- vectors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.value)
@every_case
def test_the_native_vector_equals_sync(case: Case, mode: AutoresetMode) -> None:
    rows, rng = 3, np.random.default_rng(4)
    native = case.make_vec(rows, autoreset_mode=mode)
    assert native.unwrapped.metadata["autoreset_mode"] is mode
    sync = SyncVectorEnv([case.make] * rows, autoreset_mode=mode)
    for name in ("single_action_space", "single_observation_space", "action_space", "num_envs"):
        assert getattr(native, name) == getattr(sync, name)
    same(native.reset(seed=0), sync.reset(seed=0))
    assert native.np_random_seed == sync.np_random_seed == (0, 1, 2)
    ends = 0
    for number in range(17):
        actions = drawn(native.action_space, rng)
        ours, theirs = native.step(actions.copy()), sync.step(actions)
        same(ours, theirs)
        ended = ours[2] | ours[3]
        ends += int(ended.sum())
        if mode is AutoresetMode.DISABLED and ended.any():
            mask = ended | (rng.random(rows) < 0.3)
            options = [{"reset_mask": mask.copy()} for _ in range(2)]
            same(native.reset(options=options[0]), sync.reset(options=options[1]))
        elif number == 3 and case.in_market:  # rows at different places of their episodes
            seeds, mask = [5, None, 6], np.array([True, False, False])
            options = [{"reset_mask": mask.copy(), "start": "09:33"} for _ in range(2)]
            same(
                native.reset(seed=seeds, options=options[0]),
                sync.reset(seed=seeds, options=options[1]),
            )
    assert ends > 2 * rows - 2
    native.close()
    native.close()


@every_case
def test_a_vectors_states(case: Case) -> None:
    native, rng = case.make_vec(2), np.random.default_rng(6)
    native.reset(seed=0)
    native.step(drawn(native.action_space, rng))
    states = native.unwrapped.save_state()
    actions = [drawn(native.action_space, rng) for _ in range(3)]
    first = [native.step(action) for action in actions]
    native.unwrapped.load_state(states)
    same([native.step(action) for action in actions], first)
    native.unwrapped.load_state([states[1]] * 2)
    action = actions[0][[1, 1]]
    observations, rewards, *_ = native.step(action)
    same(observations[0], observations[1])
    assert rewards[0] == rewards[1] == first[0][1][1]


@each_market
@pytest.mark.parametrize("num_envs", [0, -1, 2.0, True, "2"])
def test_a_wrong_number_of_rows(case: Case, num_envs: Any) -> None:
    with pytest.raises(ConfigError, match="num_envs must be"):
        case.make_vec(num_envs)


# -- wrong calls -----------------------------------------------------------------------------


def wrong_actions(space: Any) -> dict[str, Any]:
    """Actions that are not in a space."""
    wrong = {
        "nan": np.nan, "above": 99, "below": -99, "shape": np.zeros((7, 1), np.int64),
        "bool": True, "text": "buy", "none": None, "infinite": np.inf, "ragged": [[1], [1, 1]],
        "complex": 1j,
    }  # fmt: skip
    if isinstance(space, gymnasium.spaces.Discrete):
        return {**wrong, "float": 1.0, "dtype": np.float32(1), "array": np.zeros(1, np.int64)}
    shape = space.shape
    for name in ("nan", "above", "below", "infinite"):
        wrong[name] = np.full(shape, wrong[name], np.float32)
    wrong["bool"] = np.ones(shape, np.bool_)
    wrong["text"] = np.full(shape, "buy")
    wrong["one"] = np.zeros(shape, np.float32)
    wrong["one"].flat[-1] = np.nextafter(np.float32(1), np.float32(2))
    wrong["number"] = 0.5
    return wrong


@every_case
def test_wrong_actions_of_one(case: Case) -> None:
    env = case.bare()
    env.reset(seed=0)
    before = rest_of_state(env)
    for name, action in wrong_actions(env.action_space).items():
        with pytest.raises(ActionError, match="^action must ") as error:
            env.step(action)
        assert "was" in str(error.value), name
    assert rest_of_state(env) == before  # nothing has moved


def rest_of_state(env: Any) -> str:
    """What follows from here, in a copy."""
    twin = type(env)(**env.spec.kwargs)
    twin.load_state(env.save_state())
    return rest(twin)


@every_case
def test_wrong_actions_of_many(case: Case) -> None:
    native = case.make_vec(2)
    native.reset(seed=0)
    right = drawn(native.action_space, np.random.default_rng(8))
    single = native.single_action_space
    wrong: list[Any] = [1.0, None, "buy", True, right[:1], np.zeros((2, 7)), right != 0]
    for name, action in wrong_actions(single).items():
        wrong.append([action, action])
        if name in ("nan", "above", "below", "infinite", "one"):  # in one row of two
            wrong.append(np.array([right[0], action]))
    for actions in wrong:
        with pytest.raises(ActionError, match="^actions? must "):
            native.step(actions)
    native.step(right)


@every_case
def test_before_the_first_reset(case: Case) -> None:
    env = case.bare()
    with pytest.raises(ResetNeeded):
        env.step(env.action_space.sample())
    with pytest.raises(ResetNeeded):
        case.make().step(env.action_space.sample())
    native = case.make_vec(2)
    with pytest.raises(ResetNeeded):
        native.step(native.action_space.sample())


@every_case
def test_unknown_parameters_and_options(case: Case) -> None:
    with pytest.raises((ConfigError, TypeError), match="windw|steps_"):
        case.kind(**{"windw" if case.in_market else "steps_": 3})
    with pytest.raises(ConfigError, match=r"startt.*did you mean 'start'"):
        case.bare().reset(options={"startt": "09:40"})


WRONG_PARAMETERS = {
    "background": ({"background": "rmsc05", "overrides": None}, "rmsc05.*did you mean 'rmsc0"),
    "file": ({"background": "/nowhere.yaml", "overrides": None}, "/nowhere.yaml"),
    "override": ({"overrides": {"agents.nose.count": 1}}, "nose.*did you mean 'noise'"),
    "interval": ({"interval": "0s"}, "interval must be > 0"),
    "window": ({"window": "25s"}, "window must be a multiple of interval"),
    "early": ({"start": "09:29"}, "start must be in the session"),
    "late": ({"start": "09:44:30"}, "after the session's close"),
    "span": ({"start": ("09:40", "09:39")}, "first must not be after the last"),
    "three": ({"start": ("09:40", "09:41", "09:42")}, "a time or two"),
    "no time": ({"start": None}, "start"),
    "word": ({"start": "noon"}, "start.*noon"),
    "tape": ({"tape": "yes"}, "tape must be true or false"),
    "unknown": ({"windw": "1min"}, "windw.*did you mean 'window'"),
    "latency": ({"latency_ns": -1}, "latency_ns must be >= 0"),
    "symbol": ({"symbol": "NONE"}, "NONE"),
}


@each_market
@pytest.mark.parametrize(
    ("change", "message"), WRONG_PARAMETERS.values(), ids=list(WRONG_PARAMETERS)
)
def test_wrong_parameters(case: Case, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        case.bare(**change)


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


def replaying(case: Case, tape: Tape, **more: Any) -> Any:
    """An environment on recorded flow."""
    background = {"data": "given", "agents": {"history": {"type": "replay"}}}
    return case.bare(background=background, overrides=None, data=tape, **more)


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


@each_market
def test_what_a_mask_leaves_out(case: Case) -> None:
    env = case.bare()
    env.reset(seed=0)
    masks = env.action_masks()
    assert masks.dtype == np.bool_ and masks.shape == (env.action_space.n,) and masks.any()
    native = case.make_vec(2)
    native.reset(seed=0)
    same(native.unwrapped.action_masks()[0], masks)
    with pytest.raises(ResetNeeded):
        case.bare().action_masks()


@each_market
def test_the_simulation_is_there_for_the_curious(case: Case) -> None:
    env = case.make(tape=True)
    with pytest.raises(ResetNeeded):
        _ = env.unwrapped.simulation
    env.reset(seed=0)
    assert len(env.unwrapped.simulation.tape.orders["time_ns"]) > 0
    assert env.unwrapped.simulation.now_ns == parse_time(str(MARKET["start"]))
