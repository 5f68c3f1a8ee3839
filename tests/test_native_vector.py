"""The native vector environment against gymnasium's SyncVectorEnv of the same singles."""

import copy
from typing import Any

import gymnasium
import numpy as np
import pytest
from env_cases import same
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from marketsim.envs.vector import NativeVectorEnv, RowState
from marketsim.errors import ConfigError, StateError

MODES = list(AutoresetMode)
ROWS = 5


class Walk(gymnasium.Env):
    """A walk of random length, 1 to ``longest`` steps; infos of each kind, some now and then."""

    metadata = {"render_modes": ["ansi"], "render_fps": 3}

    def __init__(self, longest: int = 6, actions: int = 3) -> None:
        self.observation_space = Box(-1, 1, (2,), np.float32)
        self.action_space = Discrete(actions)
        self.render_mode = "ansi"
        self.longest = longest
        self.closed = 0
        self.options: Any = "never reset"

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.options = options
        self.length = int(self.np_random.integers(1, self.longest + 1))
        self.step_number = 0
        self.place = float(self.np_random.uniform(-1, 1))
        return self.observation(), {**self.info(), "begins": self.length}

    def observation(self) -> Any:
        return np.array([np.tanh(self.place), self.step_number / self.longest], dtype=np.float32)

    def info(self) -> dict[str, Any]:
        return {
            "step": self.step_number,
            "place": self.place,
            "left": self.place < 0,
            "name": f"at {self.step_number}",
            "pair": np.array([self.place, 1.0]),
        }

    def step(self, action: Any) -> Any:
        self.step_number += 1
        self.place += (int(action) - 1) * 0.5
        terminated = self.place > 2
        truncated = self.step_number >= self.length
        return (
            self.observation(),
            self.place * 2,
            terminated,
            truncated,
            {**self.info(), "moved": 0.5},
        )

    def render(self) -> str:
        return f"{self.place:.2f}"

    def action_masks(self) -> Any:
        return np.arange(self.action_space.n) < 2 + (self.step_number % 2)

    def save_state(self) -> Any:
        kept = ("length", "step_number", "place")
        return copy.deepcopy(({k: getattr(self, k) for k in kept}, self.np_random))

    def load_state(self, state: Any) -> None:
        numbers, self.np_random = copy.deepcopy(state)
        self.__dict__.update(numbers)

    def close(self) -> None:
        self.closed += 1


class Walks(NativeVectorEnv):
    """Walks in columns: rows that are not active are filled with rubbish, to be ignored."""

    def _step_envs(self, actions: Any, active: Any) -> Any:
        n = self.num_envs
        observations = np.full((n, 2), 0.77, dtype=np.float32)
        rewards = np.full(n, 7e7)
        terminated, truncated = np.ones((2, n), dtype=bool)
        infos = {
            "step": np.full(n, -77),
            "place": np.full(n, np.nan),
            "left": np.ones(n, dtype=bool),
            "name": np.full(n, "rubbish", dtype=object),
            "pair": np.full((n, 2), 77.0),
            "moved": np.full(n, 77.0),
        }
        for row in np.flatnonzero(active):
            (observations[row], rewards[row], terminated[row], truncated[row], info) = self.envs[
                row
            ].step(actions[row])
            for key, value in info.items():
                infos[key][row] = value
        return observations, rewards, terminated, truncated, infos


def pair(mode: AutoresetMode, longest: int = 6) -> tuple[Walks, SyncVectorEnv]:
    return (
        Walks([Walk(longest) for _ in range(ROWS)], mode),
        SyncVectorEnv([lambda: Walk(longest)] * ROWS, autoreset_mode=mode),
    )


def spoil(result: Any) -> None:
    """Write into every array that a caller was given."""
    for part in result:
        if isinstance(part, dict):
            spoil(part.values())
        elif isinstance(part, np.ndarray):
            part[...] = None if part.dtype == object else part == 0


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), longest=st.integers(1, 9), whole=st.booleans())
def test_equals_sync_step_by_step(
    mode: AutoresetMode, seed: int, longest: int, whole: bool
) -> None:
    native, sync = pair(mode, longest)
    draw = np.random.default_rng(seed)
    same(native.reset(seed=seed), sync.reset(seed=seed))
    for _ in range(60):
        actions = draw.integers(0, 3, ROWS)
        ours, theirs = native.step(actions), sync.step(actions)
        same(ours, theirs)
        ended = ours[2] | ours[3]
        spoil(ours)
        if mode is AutoresetMode.DISABLED and ended.any():
            mask = ended | (draw.random(ROWS) < 0.2)
            ours, theirs = (
                (native.reset(), sync.reset())
                if whole
                else [env.reset(options={"reset_mask": mask.copy()}) for env in (native, sync)]
            )
            same(ours, theirs)
            spoil(ours)
        elif draw.random() < 0.1:
            mask = draw.random(ROWS) < 0.5
            mask[0] = True
            seeds = [None, 0, 5, None, 7]
            same(
                native.reset(seed=seeds, options={"reset_mask": mask.copy(), "more": 1}),
                sync.reset(seed=seeds, options={"reset_mask": mask.copy(), "more": 1}),
            )


@pytest.mark.parametrize("mode", MODES)
def test_attributes_equal_those_of_sync(mode: AutoresetMode) -> None:
    native, sync = pair(mode)
    for name in (
        "num_envs",
        "metadata",
        "render_mode",
        "closed",
        "spec",
        "action_space",
        "observation_space",
        "single_action_space",
        "single_observation_space",
        "autoreset_mode",
    ):
        assert getattr(native, name) == getattr(sync, name), name
    assert repr(native) == "Walks(num_envs=5)"
    native.reset(seed=3)
    sync.reset(seed=3)
    assert native.np_random_seed == sync.np_random_seed == (3, 4, 5, 6, 7)
    draws = [[stream.random() for stream in env.np_random] for env in (native, sync)]
    assert draws[0] == draws[1]
    assert native.render() == sync.render()
    assert native.call("observation")[1].tolist() == sync.call("observation")[1].tolist()
    for env in (native, sync):
        env.set_attr("longest", [1, 2, 3, 4, 5])
        assert env.get_attr("longest") == (1, 2, 3, 4, 5)
        env.set_attr("longest", 9)
        assert env.get_attr("longest") == (9,) * ROWS
        with pytest.raises(ValueError, match="2"):
            env.set_attr("longest", [1, 2])
        env.close()
        env.close()
        assert env.closed
        assert env.get_attr("closed") == (1,) * ROWS


def test_metadata_is_a_copy() -> None:
    before = dict(Walk.metadata)
    env = Walks([Walk()], AutoresetMode.DISABLED)
    assert env.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    assert Walk.metadata == before


def test_seeds() -> None:
    native, _ = pair(AutoresetMode.NEXT_STEP)
    first = native.reset(seed=0)[0]
    assert native.np_random_seed == (0, 1, 2, 3, 4)
    native.reset()
    np.testing.assert_array_equal(native.reset(seed=np.int64(0))[0], first)
    np.testing.assert_array_equal(native.reset(seed=[4, 3, 2, 1, 0])[0], first[::-1])
    with pytest.raises(ValueError, match="seed must hold 5 seeds.*held 2"):
        native.reset(seed=[1, 2])


def test_options_stay_the_callers() -> None:
    native, _ = pair(AutoresetMode.DISABLED)
    native.reset()
    options = {"reset_mask": np.arange(ROWS) == 2, "start": 3}
    before = dict(options)
    native.reset(options=options)
    assert options == before
    assert native.get_attr("options") == (None, None, {"start": 3}, None, None)


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        ([True] * ROWS, TypeError, "must be a numpy array, was list"),
        (np.ones(3, dtype=bool), ValueError, r"must have shape \(5,\), had \(3,\)"),
        (np.ones(ROWS), TypeError, "must be of dtype bool, was float64"),
        (np.zeros(ROWS, dtype=bool), ValueError, "must be true in at least one row"),
    ],
)
def test_a_wrong_mask_is_refused(mask: Any, error: type[Exception], message: str) -> None:
    native, sync = pair(AutoresetMode.DISABLED)
    native.reset()
    with pytest.raises(error, match=message):
        native.reset(options={"reset_mask": mask})
    with pytest.raises((error, AssertionError)):  # gymnasium 1.2 asserts
        sync.reset(options={"reset_mask": mask})


def test_a_step_without_an_episode_is_refused() -> None:
    native, _ = pair(AutoresetMode.DISABLED, longest=1)
    actions = np.zeros(ROWS, dtype=np.int64)
    with pytest.raises(ResetNeeded, match="rows 0 to 4 have no episode"):
        native.step(actions)
    with pytest.raises(ResetNeeded, match=r"rows \[1, 2, 3, 4\] have no episode"):
        native.reset(options={"reset_mask": np.arange(ROWS) == 0})
    native.reset()
    native.step(actions)
    native.reset(options={"reset_mask": np.array([True, False, True, False, True])})
    with pytest.raises(ResetNeeded, match=r"rows \[1, 3\] are at their episode's end"):
        native.step(actions)


def test_half_a_reset_is_no_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    native, _ = pair(AutoresetMode.NEXT_STEP)
    native.reset()

    def refuse(**_: Any) -> Any:
        raise ConfigError("no")

    monkeypatch.setattr(native.envs[3], "reset", refuse)
    with pytest.raises(ConfigError):
        native.reset()
    with pytest.raises(ResetNeeded):
        native.step(np.zeros(ROWS, dtype=np.int64))


def test_wrong_sub_environments_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        Walks([])
    with pytest.raises(ConfigError, match=r"envs\[1\]\.action_space must be that of envs\[0\]"):
        Walks([Walk(), Walk(actions=4)])
    with pytest.raises(ConfigError, match="autoreset_mode must be one of 'NextStep'.*'Never'"):
        Walks([Walk()], "Never")
    odd = Walk()
    odd.observation_space = Dict({"place": odd.observation_space})
    with pytest.raises(ConfigError, match="must be of one array"):
        Walks([odd])
    assert Walks([Walk()], "SameStep").autoreset_mode is AutoresetMode.SAME_STEP


def test_action_masks() -> None:
    native, _ = pair(AutoresetMode.NEXT_STEP, longest=30)
    native.reset(seed=0)
    assert native.action_masks().tolist() == [[True, True, False]] * ROWS
    native.step(np.ones(ROWS, dtype=np.int64))
    masks = native.action_masks()
    assert masks.dtype == np.bool_
    assert masks.tolist() == [[True, True, True]] * ROWS


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_a_loaded_state_goes_on_identically(mode: AutoresetMode) -> None:
    draw = np.random.default_rng(1)
    actions = draw.integers(0, 3, (40, ROWS))
    native, _ = pair(mode)
    native.reset(seed=1)
    for row in actions[:20]:
        ended = np.logical_or(*native.step(row)[2:4])
        if ended.any():  # a state in which rows wait for their reset
            break
    assert ended.any()
    states = native.save_state()
    first = [native.step(row) for row in actions[20:]]
    other, _ = pair(mode)
    other.load_state(states)
    same([other.step(row) for row in actions[20:]], first)
    native.load_state(states)
    mask = np.arange(ROWS) == 1
    kept = native.reset(seed=[0] * ROWS, options={"reset_mask": mask})[0]
    np.testing.assert_array_equal(kept[~mask], np.stack([s.observation for s in states])[~mask])


def test_states_branch() -> None:
    native, _ = pair(AutoresetMode.NEXT_STEP, longest=50)
    native.reset(seed=2)
    native.load_state([native.save_state()[3]] * ROWS)
    places = native.step(np.array([0, 1, 2, 2, 0]))[4]["place"]
    assert places[0] == places[4] < places[1] < places[2] == places[3]


def test_a_wrong_state_is_refused() -> None:
    native, _ = pair(AutoresetMode.NEXT_STEP)
    with pytest.raises(StateError, match="needs an episode"):
        native.save_state()
    native.reset()
    states = native.save_state()
    with pytest.raises(StateError, match="must hold 5 rows, held 4"):
        native.load_state(states[1:])
    with pytest.raises(StateError, match=r"states\[2\] must be a RowState, was dict"):
        native.load_state([*states[:2], {}, *states[3:]])  # type: ignore[list-item]
    assert isinstance(states[0], RowState)
    native.step(np.zeros(ROWS, dtype=np.int64))  # the episode in progress was not touched
