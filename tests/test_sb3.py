"""The Stable-Baselines3 adaptor against SB3's own DummyVecEnv of the same single environments."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize
from test_native_vector import Walk, Walks, same

from marketsim.envs.sb3 import SB3VecEnv, make_sb3, row_infos
from marketsim.errors import ActionError, ConfigError

NAME = "marketsim/Execution-v0"
TIMES: dict[str, Any] = {"start": "09:31", "window": "40s", "interval": "10s"}
SHORT = {**TIMES, "quantity": 400}
ROWS = 4


def walks(rows: int = ROWS) -> SB3VecEnv:
    return SB3VecEnv(Walks([Walk() for _ in range(rows)], "SameStep"))


def pair(name: str = NAME, **parameters: Any) -> tuple[SB3VecEnv, DummyVecEnv]:
    parameters = {**(SHORT if name == NAME else TIMES), **parameters}
    dummy = DummyVecEnv([lambda: gymnasium.make(name, **parameters).unwrapped] * ROWS)
    return make_sb3(name, ROWS, **parameters), dummy


def pairs() -> list[tuple[SB3VecEnv, DummyVecEnv]]:
    """Walks of all kinds of infos and both ends; markets with both kinds of actions."""
    making = pair("marketsim/MarketMaking-v0", clear_action=True)
    return [(walks(), DummyVecEnv([Walk] * ROWS)), pair(), pair(actions="continuous"), making]


@pytest.mark.parametrize("kind", range(4), ids=["walk", "discrete", "continuous", "making"])
def test_equals_dummy_step_by_step(kind: int) -> None:
    ours, theirs = pairs()[kind]
    assert ours.seed(0) == theirs.seed(0)
    same(ours.reset(), theirs.reset())
    same(ours.reset_infos, theirs.reset_infos)
    ours.action_space.seed(1)
    ended = 0
    for _ in range(13 if kind else 60):
        actions = np.array([ours.action_space.sample() for _ in range(ROWS)])
        one, two = ours.step(actions), theirs.step(actions)
        same(one, two)
        same(ours.reset_infos, theirs.reset_infos)
        ended += sum("terminal_observation" in info for info in one[3])
    assert ended >= 8
    same(ours.reset(), theirs.reset())


def test_a_truncated_episode_is_told_from_a_terminated_one() -> None:
    env = walks(40)
    env.seed(3)
    env.reset()
    seen = set()
    for _ in range(20):
        *_, dones, infos = env.step(np.full(40, 2))
        seen |= {info["TimeLimit.truncated"] for info in np.array(infos)[dones]}
        assert not any(info["TimeLimit.truncated"] for info in np.array(infos)[~dones])
    assert seen == {True, False}


def test_options_are_for_one_reset_of_each_row() -> None:
    ours, theirs = pair()
    each = [{"start": "09:32"}, {}, {"start": "09:33"}, {}]
    for env in (ours, theirs):
        env.seed(5)
        env.set_options(each)
    same(ours.reset(), theirs.reset())
    same(ours.reset_infos, theirs.reset_infos)
    same(ours.reset(), theirs.reset())  # neither seeds nor options again
    same(ours.reset_infos, theirs.reset_infos)
    for env in (ours, theirs):
        env.set_options({"start": "09:32"})
    same(ours.reset(), theirs.reset())
    with pytest.raises(ConfigError, match="must hold 4 dictionaries, held 1"):
        ours.set_options([{}])


def test_a_saved_state_is_an_option() -> None:
    env, _ = pair()
    env.seed(0)
    env.reset()
    env.step(np.zeros(ROWS, dtype=np.int64))
    state = env.env_method("save_state", indices=2)[0]
    env.set_options({"state": state})
    observations = env.reset()
    assert (observations == observations[0]).all()
    first = env.step(np.zeros(ROWS, dtype=np.int64))
    assert len({info["filled_lots"] for info in first[3]}) == 1 and first[3][0]["filled_lots"] > 0


def test_attributes_and_methods_of_rows() -> None:
    env = walks()
    env.set_attr("longest", 30)
    env.set_attr("longest", 50, indices=[1, 2])
    assert env.get_attr("longest") == [30, 50, 50, 30]
    assert env.get_attr("longest", indices=1) == [50]
    assert env.has_attr("longest") and not env.has_attr("shortest")
    env.seed(0)
    env.reset()
    assert [mask.tolist() for mask in env.env_method("action_masks")] == [[True, True, False]] * 4
    assert env.env_is_wrapped(Monitor) == [False] * ROWS
    wrapped = SB3VecEnv(Walks([Monitor(Walk()), Walk()], "SameStep"))  # type: ignore[list-item]
    assert wrapped.env_is_wrapped(Monitor) == [True, False]
    assert env.render_mode == "ansi" and env.get_images() == [None] * ROWS
    env.close()
    env.close()
    assert env.get_attr("closed") == [1] * ROWS


def test_pictures_are_tiled() -> None:
    env = make_sb3(NAME, 2, **SHORT, render_mode="rgb_array")
    env.reset()
    single = env.get_images()[0]
    picture = env.render()
    assert single is not None and picture is not None
    assert picture.shape == (2 * single.shape[0], single.shape[1], 3)
    assert picture.dtype == np.uint8


def test_masks_say_what_may_be_done() -> None:
    env, _ = pair()
    env.seed(0)
    env.reset()
    assert np.stack(env.env_method("action_masks")).tolist() == [[True] * 3] * ROWS


def test_vec_monitor_counts_episodes() -> None:
    env = VecMonitor(pair()[0])
    env.seed(0)
    env.reset()
    episodes, total = [], np.zeros(ROWS)
    for _ in range(4):
        _, rewards, _, infos = env.step(np.full(ROWS, 2))
        total += rewards
        episodes += [info["episode"] for info in infos if "episode" in info]
    assert [episode["l"] for episode in episodes] == [4] * ROWS
    np.testing.assert_allclose([one["r"] for one in episodes], total, atol=1e-5)


def test_ppo_learns_on_it_with_normalised_rewards() -> None:
    env = VecNormalize(VecMonitor(make_sb3(NAME, 2, **SHORT)), norm_obs=False)
    model = PPO("MlpPolicy", env, n_steps=8, batch_size=8, n_epochs=1, seed=0, device="cpu")
    before = [weights.detach().clone() for weights in model.policy.parameters()]
    model.learn(32)
    assert model.num_timesteps == 32
    assert any((a != b).any() for a, b in zip(before, model.policy.parameters(), strict=True))


@pytest.mark.parametrize("actions", ["discrete", "continuous"])
def test_stable_baselines_accepts_the_single_environment(actions: str) -> None:
    check_env(gymnasium.make(NAME, **SHORT, actions=actions).unwrapped)


def test_wrong_actions_are_refused() -> None:
    env = pair()[0]
    env.reset()
    with pytest.raises(ActionError, match="from 0 to 2, one was 3"):
        env.step(np.full(ROWS, 3))


def test_what_cannot_be_adapted_is_refused() -> None:
    with pytest.raises(ConfigError, match="autoreset_mode must be 'SameStep', was 'NextStep'"):
        SB3VecEnv(Walks([Walk()]))
    with pytest.raises(ConfigError, match="must be a native vector environment, was Walk"):
        SB3VecEnv(Walk())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="name: must be of an environment with a native vector"):
        make_sb3("MountainCar-v0")
    with pytest.raises(ConfigError, match="unknown"):
        make_sb3(NAME, 2, quantity_lots=3)


def test_without_stable_baselines_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marketsim.envs.sb3.VecEnv", None)
    with pytest.raises(ConfigError, match=r"pip install 'marketsim-lob\[sb3\]'"):
        make_sb3(NAME, 2, **SHORT)


def test_infos_of_some_rows_only() -> None:
    columns: dict[str, Any] = {
        "a": np.array([1, 2]), "_a": np.array([True, True]),
        "b": np.array([0.0, 2.5]), "_b": np.array([False, True]),
    }  # fmt: skip
    assert row_infos(columns, 2) == [{"a": 1}, {"a": 2, "b": 2.5}]
    assert row_infos({}, 2) == [{}, {}]
