"""The portfolio environment: hand-computed, against a twin in plain Python, and by its contract."""

import math
from typing import Any

import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common import env_checker as stable_baselines

from marketsim.envs.portfolio import PortfolioEnv, PortfolioVectorEnv
from marketsim.errors import ActionError, ConfigError, DataError, StateError

INFOS = {"step": int, "wealth": float, "turnover": float, "cost": float, "growth": float}


def history(bars: int = 40, assets: int = 2, seed: int = 0, size: float = 0.05) -> Any:
    return np.random.default_rng(seed).normal(0, size, (bars, assets))


def test_an_episode_computed_by_hand() -> None:
    growth = np.array([[1.1, 0.9], [1.2, 1.0]])
    env = PortfolioEnv(np.log(growth), cost_bps=100, lookback=2, return_scale=1.0)
    observation, info = env.reset()
    assert info == {"step": 0, "wealth": 1.0, "turnover": 0.0, "cost": 0.0, "growth": 0.0}
    assert observation.tolist() == [0, 0, 0, 0, -1, -1, 1, -1]  # nothing known, all in cash

    # Half in each: 1 is spent, 0.99 becomes assets, which grow by (1.1 + 0.9) / 2.
    observation, reward, terminated, truncated, info = env.step(np.zeros(2, dtype=np.float32))
    assert info["wealth"] == pytest.approx(0.99, rel=1e-15)
    assert (info["turnover"], info["cost"]) == pytest.approx((1.0, 0.01))
    assert reward == info["growth"] == pytest.approx(math.log(0.99))
    assert (terminated, truncated) == (False, False)
    shown = [0, 0, math.tanh(math.log(1.1)), math.tanh(math.log(0.9)), 0.1, -0.1, -1, 0]
    np.testing.assert_allclose(observation, shown, atol=1e-7)

    # None in the first, half in the second. By wealth: 0.55 is sold for 0.5445 of cash; x is
    # spent so that 0.45 + 0.99 x = 0.5445 - x: x = 0.0945 / 1.99, and mu = 2 (0.5445 - x).
    spent = 0.0945 / 1.99
    mu = 2 * (0.5445 - spent)
    _, reward, terminated, truncated, info = env.step(np.array([-1, 0], dtype=np.float32))
    assert info["wealth"] == pytest.approx(0.99 * mu, rel=1e-14)
    assert info["turnover"] == pytest.approx(0.55 + spent, rel=1e-14)
    assert info["cost"] == pytest.approx(0.99 * (1 - mu), rel=1e-12)
    assert reward == pytest.approx(math.log(mu), rel=1e-12)
    assert (terminated, truncated) == (False, True)
    np.testing.assert_allclose(env.weights, [[0, 0, 1], [0.55, 0.45, 0], [0, 0.5, 0.5]])


class Twin:
    """The same market in plain Python; mu is found by bisection of what the trades leave."""

    def __init__(self, log_returns: Any, cost: float) -> None:
        self.log_returns, self.cost = log_returns.tolist(), cost
        assets = len(self.log_returns[0])
        self.holdings, self.cash, self.bar = [0.0] * assets, 1.0, 0

    def left(self, wished: list[float], wealth: float, mu: float) -> float:
        """Cash left after trading to ``wished`` of ``mu * wealth``, above what is wished."""
        cash = self.cash
        for held, weight in zip(self.holdings, wished, strict=True):
            change = mu * wealth * weight - held
            cash -= change / (1 - self.cost) if change > 0 else change * (1 - self.cost)
        return cash - mu * wealth * (1 - sum(wished))

    def step(self, action: list[float]) -> tuple[float, float, float]:
        """Return the log growth, the costs, and what was traded by wealth."""
        wished = [(a + 1) / 2 for a in action]
        wished = [w / max(1.0, sum(wished)) for w in wished]
        wealth = sum(self.holdings) + self.cash
        low, high = 0.0, 1.0
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if self.left(wished, wealth, middle) > 0 else (low, middle)
        traded = 0.0
        for held, weight in zip(self.holdings, wished, strict=True):
            change = low * wealth * weight - held
            traded += change / (1 - self.cost) if change > 0 else -change
        self.holdings = [low * wealth * weight for weight in wished]
        self.cash = low * wealth * (1 - sum(wished))
        bar = self.log_returns[self.bar]
        self.holdings = [h * math.exp(r) for h, r in zip(self.holdings, bar, strict=True)]
        self.bar += 1
        after = sum(self.holdings) + self.cash
        return math.log(after / wealth), self.cost * traded, traded / wealth


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    assets=st.integers(1, 5),
    cost_bps=st.sampled_from([0.0, 0.5, 10.0, 250.0, 9000.0]),
    extreme=st.booleans(),
)
def test_equals_the_twin(seed: int, assets: int, cost_bps: float, extreme: bool) -> None:
    draw = np.random.default_rng(seed)
    log_returns = draw.normal(0, 0.3, (12, assets))
    env = PortfolioEnv(log_returns, cost_bps=cost_bps, ruin=0.0)
    twin = Twin(log_returns, cost_bps / 10_000)
    env.reset()
    for _ in range(12):
        action = draw.uniform(-1, 1, assets)
        action = np.sign(action) if extreme else action
        _, reward, _, _, info = env.step(action)
        growth, paid, turnover = twin.step(action.tolist())
        assert reward == pytest.approx(growth, abs=1e-11)
        assert info["cost"] == pytest.approx(paid, abs=1e-11)
        assert info["turnover"] == pytest.approx(turnover, abs=1e-10)
        assert info["wealth"] == pytest.approx(sum(twin.holdings) + twin.cash, rel=1e-10)
        holdings = [*twin.holdings, twin.cash]
        np.testing.assert_allclose(env.weights[-1], np.array(holdings) / sum(holdings), atol=1e-10)


def test_the_weights_observed_are_the_action_that_trades_nothing() -> None:
    env = PortfolioEnv(history(), cost_bps=500)
    observation, _ = env.reset(seed=1)
    observation, *_ = env.step(np.array([-0.2, 0.4], dtype=np.float32))
    _, _, _, _, info = env.step(observation[-4:-2])
    assert info["turnover"] < 1e-6


def test_no_observation_knows_the_future() -> None:
    known, changed = history(), history()
    now = 13
    changed[now:] = 5.0
    pair = [PortfolioEnv(path, lookback=4) for path in (known, changed)]
    first = [env.reset(seed=1) for env in pair]
    np.testing.assert_array_equal(first[0][0], first[1][0])
    for bar in range(now):
        action = np.full(2, bar / now, dtype=np.float32)
        one, other = (env.step(action) for env in pair)
        np.testing.assert_array_equal(one[0], other[0])
        assert one[1:] == other[1:]
        np.testing.assert_array_equal(pair[0].known_returns(), pair[1].known_returns())
    one, other = (env.step(action) for env in pair)
    assert other[1] > one[1] + 1  # the weights chosen at 13 earn bar 13, which differs
    assert not np.array_equal(one[0], other[0])


def test_what_lies_before_the_start_is_known() -> None:
    path = history(30)
    env = PortfolioEnv(path, steps=10, lookback=4, return_scale=2.0)
    observation, _ = env.reset(options={"start": 3})
    shown = observation[:8].reshape(4, 2)
    np.testing.assert_array_equal(shown[0], 0)
    np.testing.assert_allclose(shown[1:], np.tanh(2 * path[:3]), atol=1e-7)
    np.testing.assert_array_equal(env.known_returns(), path[:3])
    env.step(np.zeros(2))
    np.testing.assert_array_equal(env.known_returns(), path[:4])
    env.step(np.zeros(2))
    np.testing.assert_array_equal(env.known_returns(), path[1:5])
    observation, _ = env.reset(options={"start": 20})
    np.testing.assert_allclose(observation[:8].reshape(4, 2), np.tanh(2 * path[16:20]), atol=1e-7)
    np.testing.assert_array_equal(env.known_returns(), path[16:20])


def test_starts_and_paths_are_drawn_or_chosen() -> None:
    paths = np.stack([history(30, seed=seed) for seed in range(3)])
    env = PortfolioEnv(paths, steps=10, lookback=1)
    seen = set()
    for _ in range(300):
        env.reset()
        env.step(np.zeros(2))
        where = np.argwhere(paths[:, :, 0] == env.known_returns()[0, 0])
        seen.add(tuple(where[0].tolist()))
    assert {path for path, _ in seen} == {0, 1, 2}
    assert {start for _, start in seen} == set(range(21))
    env.reset(options={"start": np.int64(20), "path": 2})
    env.step(np.zeros(2))
    np.testing.assert_array_equal(env.known_returns()[0], paths[2, 20])


def test_seeds() -> None:
    env = PortfolioEnv()

    def wealth(seed: int | None) -> float:
        env.reset(seed=seed)
        for _ in range(5):
            info = env.step(np.zeros(3, dtype=np.float32))[4]
        return float(info["wealth"])

    first = wealth(0)
    assert wealth(None) != first
    assert wealth(0) == first != wealth(1)


def test_ruin_terminates() -> None:
    env = PortfolioEnv(np.full((5, 1), -1.0), cost_bps=0, ruin=0.1)
    env.reset()
    ends = [env.step(np.ones(1, dtype=np.float32))[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (True, False)]  # e^-3 < 0.1 < e^-2
    with pytest.raises(ResetNeeded, match="row 0 has no episode"):
        env.step(np.ones(1, dtype=np.float32))


# -- the contract ---------------------------------------------------------------------------------


def test_gymnasiums_checks_pass() -> None:
    env = PortfolioEnv(render_mode="ansi")
    env.spec = EnvSpec(
        "marketsim/Portfolio-v0",
        entry_point="marketsim.envs.portfolio:PortfolioEnv",
        kwargs={"render_mode": "ansi"},
    )
    check_env(env)


def test_stable_baselines_checks_pass() -> None:
    stable_baselines.check_env(PortfolioEnv())


def test_what_is_returned_is_plain_fresh_and_within_bounds() -> None:
    env = PortfolioEnv(history(size=1.0), cost_bps=50)
    observation, info = env.reset(seed=3)
    draw = np.random.default_rng(0)
    ended = False
    while not ended:
        assert env.observation_space.contains(observation)
        assert {name: type(value) for name, value in info.items()} == INFOS
        kept, kept_info = observation.copy(), dict(info)
        new, reward, terminated, truncated, new_info = env.step(draw.uniform(-1, 1, 2))
        assert (type(reward), type(terminated), type(truncated)) == (float, bool, bool)
        np.testing.assert_array_equal(observation, kept)
        assert info == kept_info
        env.wealth[:] = env.weights[:] = env.known_returns()[:] = np.nan  # copies all
        observation, info, ended = new, new_info, terminated or truncated
    env.close()
    env.close()


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ([0.0, np.nan], "action must be from -1 to 1, was nan"),
        ([1.5, 0.0], "action must be from -1 to 1, was 1.5"),
        ([0.0], r"action must have shape \(2,\), was of shape \(1,\)"),
        (0.0, r"action must have shape \(2,\), was of shape \(\)"),
        (["buy", "sell"], "action must be an array of numbers"),
        (None, "action must be an array of numbers"),
    ],
)
def test_a_wrong_action_is_refused_and_moves_nothing(action: Any, message: str) -> None:
    env = PortfolioEnv(history())
    env.reset(seed=0)
    before = env.save_state()
    with pytest.raises(ActionError, match=message):
        env.step(action)
    for one, other in zip(before.rows, env.save_state().rows, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_step_before_reset_is_refused() -> None:
    env = PortfolioEnv(history(), render_mode="ansi")
    with pytest.raises(ResetNeeded):
        env.step(np.zeros(2))
    with pytest.raises(ResetNeeded, match="render needs an episode"):
        env.render()
    with pytest.raises(ResetNeeded, match="known_returns needs an episode"):
        env.known_returns()
    with pytest.raises(StateError, match="save_state needs an episode"):
        env.save_state()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"begin": 3}, r"options: unknown key 'begin' .known: path, start, state."),
        ({"start": 31}, "options.start must be <= 30, was 31"),
        ({"start": -1}, "options.start must be >= 0, was -1"),
        ({"start": 1.0}, "options.start must be a whole number, was 1.0"),
        ({"path": 1}, "options.path must be <= 0, was 1"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    env = PortfolioEnv(history(40), steps=10)
    with pytest.raises(ConfigError, match=message):
        env.reset(options=options)
    with pytest.raises(ConfigError, match="options.path must not be given for drawn paths"):
        PortfolioEnv().reset(options={"path": 0})


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"assets": 0}, "assets must be >= 1, was 0"),
        ({"assets": 3, "returns": history()}, "assets must be 2, as in returns, was 3"),
        ({"steps": 0}, "steps must be >= 1, was 0"),
        ({"steps": 41, "returns": history()}, "steps must be <= 40, the bars in returns, was 41"),
        ({"lookback": 0}, "lookback must be >= 1, was 0"),
        ({"cost_bps": -1}, "cost_bps must be >= 0 and < 10000, was -1"),
        ({"cost_bps": 10_000}, "cost_bps must be >= 0 and < 10000, was 10000"),
        ({"return_scale": 0}, "return_scale must be > 0, was 0"),
        ({"ruin": 1}, "ruin must be >= 0 and < 1, was 1"),
        ({"render_mode": "human"}, "render_mode must be one of ansi, rgb_array, was 'human'"),
    ],
)
def test_wrong_parameters_are_refused(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PortfolioEnv(**kwargs)


# -- pictures -------------------------------------------------------------------------------------


def test_the_table() -> None:
    env = PortfolioEnv(np.zeros((5, 2)), cost_bps=0, render_mode="ansi")
    env.reset()
    env.step(np.array([0.0, -0.5]))
    assert env.render() == (
        "step 1 of 5   wealth 1.0000\n"
        "        asset 1  asset 2     cash\n"
        "weight    0.500    0.250    0.250\n"
        "worth    0.5000   0.2500   0.2500"
    )


def test_the_picture() -> None:
    env = PortfolioEnv(render_mode="rgb_array", steps=30)
    env.reset(seed=0)
    first = env.render()
    for _ in range(20):
        env.step(env.np_random.uniform(-1, 1, 3))
    later = env.render()
    for picture in (first, later):
        assert picture.dtype == np.uint8
        assert picture.shape == (480, 640, 3)
    assert (first != later).mean() > 0.05
    assert PortfolioEnv().render() is None


# -- state ----------------------------------------------------------------------------------------


def test_a_loaded_state_goes_on_identically() -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (60, 3))
    env = PortfolioEnv(steps=25)

    def go_on(env: PortfolioEnv) -> list[Any]:
        seen = []
        for action in actions[10:]:
            observation, reward, terminated, truncated, info = env.step(action)
            seen.append((observation.tolist(), reward, info))
            if terminated or truncated:
                observation, info = env.reset()  # the random stream goes on identically too
                seen.append((observation.tolist(), 0.0, info))
        return seen

    env.reset(seed=5)
    for action in actions[:10]:
        env.step(action)
    state = env.save_state()
    first = go_on(env)
    other = PortfolioEnv(steps=25)
    for one in (env, other, other):  # loaded twice: the state was not used up
        one.load_state(state)
        assert go_on(one) == first


def test_a_wrong_state_is_refused() -> None:
    env = PortfolioEnv(history())
    env.reset()
    with pytest.raises(StateError, match="state must be a PortfolioState, was dict"):
        env.load_state({})  # type: ignore[arg-type]
    with pytest.raises(StateError, match="must be of shape .*other steps, lookback or assets"):
        PortfolioEnv(history(), lookback=3).load_state(env.save_state())


# -- the vector environment -----------------------------------------------------------------------


def same(ours: Any, theirs: Any) -> None:
    """Equal bit for bit, dtype by dtype, all the way down."""
    assert type(ours) is type(theirs)
    if isinstance(ours, dict):
        assert set(ours) == set(theirs)
        for key in ours:
            same(ours[key], theirs[key])
    elif isinstance(ours, tuple):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            same(one, other)
    elif isinstance(ours, np.ndarray) and ours.dtype == object:
        for one, other in zip(ours, theirs, strict=True):
            same(one, other)
    elif isinstance(ours, np.ndarray):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert ours.tobytes() == theirs.tobytes()
    else:
        assert ours == theirs


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize(
    "kwargs",
    [
        {"steps": 17, "assets": 5},
        {"returns": history(60, 3, size=0.4), "steps": 9, "ruin": 0.5, "cost_bps": 100},
    ],
    ids=["drawn", "history"],
)
def test_native_equals_sync_bit_for_bit(mode: AutoresetMode, kwargs: dict[str, Any]) -> None:
    native = PortfolioVectorEnv(6, mode, **kwargs)
    sync = SyncVectorEnv([lambda: PortfolioEnv(**kwargs)] * 6, autoreset_mode=mode)
    assert native.metadata == sync.metadata
    draw = np.random.default_rng(1)
    same(native.reset(seed=0), sync.reset(seed=0))
    for _ in range(80):
        actions = draw.uniform(-1, 1, native.action_space.shape).astype(np.float32)
        ours, theirs = native.step(actions), sync.step(actions)
        same(ours, theirs)
        mask = (ours[2] | ours[3]) if mode is AutoresetMode.DISABLED else draw.random(6) < 0.05
        ours[0][...] = 0.5  # the caller's arrays are the caller's
        ours[4]["wealth"][...] = 7
        if mask.any():
            options = {"reset_mask": mask.copy(), "start": 0}
            same(*(env.reset(options=dict(options)) for env in (native, sync)))


def test_sub_environments_share_the_rows() -> None:
    native = PortfolioVectorEnv(3, render_mode="ansi", steps=10)
    native.reset(seed=0)
    infos = native.step(np.zeros((3, 3), dtype=np.float32))[4]
    wealth = [env.wealth[-1] for env in native.envs]
    assert wealth == infos["wealth"].tolist()
    assert len(set(wealth)) == 3
    assert all("step 1 of 10" in shown for shown in native.render())
    states = native.save_state()
    after = native.step(np.ones((3, 3), dtype=np.float32))
    native.load_state(states)
    same(native.step(np.ones((3, 3), dtype=np.float32)), after)


def test_wrong_actions_of_a_batch_are_refused() -> None:
    native = PortfolioVectorEnv(2, returns=np.zeros((1, 2)))
    native.reset()
    before = native.save_state()
    with pytest.raises(ActionError, match="action must be from -1 to 1, was nan"):
        native.step([[0, 0], [np.nan, 0]])
    with pytest.raises(ActionError, match=r"actions must have shape \(2, 2\), was of shape \(2,\)"):
        native.step(np.zeros(2))
    for one, other in zip(before, native.save_state(), strict=True):
        assert one.state.rows.step == other.state.rows.step
    native.step(np.zeros((2, 2)))
    native.step(np.full((2, 2), np.nan))  # both rows are reset: their actions are not looked at
    with pytest.raises(ConfigError, match="num_envs must be >= 1, was 0"):
        PortfolioVectorEnv(0)


def test_what_it_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigError, match="PortfolioEnv: unknown key 'loockback'.*'lookback'"):
        PortfolioEnv(loockback=3)
    with pytest.raises(ConfigError, match="render_mode must be one of ansi, rgb_array, was"):
        PortfolioEnv(render_mode=np.zeros(3))  # type: ignore[arg-type]
    env = PortfolioEnv(steps=3)
    for options in (5, "start", [("start", 1)]):
        with pytest.raises(ConfigError, match="options must be a mapping of keys to values, was"):
            env.reset(options=options)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="returns must hold real numbers, was of complex128"):
        PortfolioEnv(np.zeros((4, 2), complex))


def test_a_reset_goes_on_from_a_state() -> None:
    env = PortfolioEnv(history())
    env.reset(seed=1)
    action = np.array([0.5, -1.0], np.float32)
    observation, *_, info = env.step(action)
    state = env.save_state()
    after = env.step(action)
    again, told = env.reset(options={"state": state})
    assert np.array_equal(again, observation)
    assert told == {**info, "turnover": 0.0, "cost": 0.0, "growth": 0.0}
    same(env.step(action), after)
    with pytest.raises(ConfigError, match="give state alone, were state, start"):
        env.reset(options={"state": state, "start": 0})
