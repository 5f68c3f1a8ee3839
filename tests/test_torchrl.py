"""Our environments in TorchRL say what they say in gymnasium."""

import importlib.util
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torchrl.envs.utils import check_env_specs

from marketsim.envs.torchrl import make_torchrl
from marketsim.errors import ConfigError

NAME = "marketsim/Execution-v0"
SHORT: dict[str, Any] = {"start": "09:31", "window": "40s", "interval": "10s", "quantity": 400}
ROWS = 3


@pytest.mark.parametrize("actions", ["discrete", "continuous"])
@pytest.mark.parametrize("num_envs", [None, ROWS])
def test_torchrl_accepts_the_specs(num_envs: int | None, actions: str) -> None:
    env = make_torchrl(NAME, num_envs, actions=actions, **SHORT)
    check_env_specs(env, seed=0)
    assert env.batch_size == torch.Size([] if num_envs is None else [num_envs])
    env.close()


def test_a_rollout_of_one_environment_equals_gymnasium() -> None:
    env = make_torchrl(NAME, categorical_action_encoding=True, **SHORT)
    single = gymnasium.make(NAME, **SHORT)
    env.set_seed(0)
    single.reset(seed=0)
    path = env.rollout(10)  # a reset of its own, with the stream that the seed began
    observation, _ = single.reset()
    for step in path:
        np.testing.assert_array_equal(step["observation"].numpy(), observation)
        observation, reward, terminated, truncated, _ = single.step(int(step["action"]))
        np.testing.assert_array_equal(step["next", "observation"].numpy(), observation)
        assert step["next", "reward"].item() == np.float32(reward)
        assert step["next", "terminated"].item() is terminated
        assert step["next", "truncated"].item() is truncated
    assert terminated and len(path) <= 4


def test_a_rollout_of_many_equals_the_singles() -> None:
    env = make_torchrl(NAME, ROWS, categorical_action_encoding=True, **SHORT)
    env.set_seed(0)
    paths = env.rollout(12, break_when_any_done=False)  # (rows, steps)
    assert paths.batch_size == torch.Size([ROWS, 12])
    ends = 0
    for row, path in enumerate(paths):
        single = gymnasium.make(NAME, **SHORT)
        single.reset(seed=int(seeds(env)[row]))
        observation, _ = single.reset()
        for step in path:
            np.testing.assert_array_equal(step["observation"].numpy(), observation)
            observation, reward, terminated, _, _ = single.step(int(step["action"]))
            np.testing.assert_array_equal(step["next", "observation"].numpy(), observation)
            assert step["next", "reward"].item() == np.float32(reward)
            assert step["next", "terminated"].item() is terminated
            if terminated:
                ends += 1
                observation, _ = single.reset()
    assert ends >= 2 * ROWS


def seeds(env: Any) -> tuple[int, ...]:
    found: tuple[int, ...] = env._env.np_random_seed
    return found


def test_actions_are_one_hot_unless_asked_otherwise() -> None:
    assert make_torchrl(NAME, **SHORT).action_spec.shape == torch.Size([3])
    spec = make_torchrl(NAME, ROWS, categorical_action_encoding=True, **SHORT).action_spec
    assert spec.shape == torch.Size([ROWS])


def test_what_cannot_be_made_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="unknown key 'lots'"):
        make_torchrl(NAME, lots=3)
    with pytest.raises(ConfigError, match="num_envs must be"):
        make_torchrl(NAME, 0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'marketsim-lob\[torchrl\]'"):
        make_torchrl(NAME)
