"""What every registered environment must do, single and in its native vector environment."""

from typing import Any

import numpy as np
import pytest
from env_cases import CASES, MARKET, Case, drawn, each_market, episode, every_case, same
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from marketsim.clock import parse_time
from marketsim.envs.registration import ENVIRONMENTS
from marketsim.errors import ConfigError


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
