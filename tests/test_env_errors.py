"""Every registered environment: wrong actions, parameters and calls are errors that name them."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from env_cases import Case, drawn, each_market, every_case, rest_of_state
from gymnasium.error import ResetNeeded

from marketsim.errors import ActionError, ConfigError

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
