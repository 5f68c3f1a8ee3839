"""The investor: what a plain agent does and sees; limits; ruin; a buyer mirrors a seller."""

from typing import Any

import numpy as np
import pytest
from busy_market import BUSY, LATENCIES, START, compare, most_exposed, settle
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_investor import NaiveInvestor

from marketsim.envs.investor import BUY, HOLD, SELL, Investor, InvestorEnv
from marketsim.errors import ConfigError

SHORT: dict[str, Any] = {"interval": "2s", "window": "60s", "start": START}


@st.composite
def tasks(draw: Any) -> Investor:
    def one(*values: Any) -> Any:
        return draw(st.sampled_from(values))

    return Investor(
        interval=one("1s", "3s"), window=one("15s", "60s"),
        latency_ns=one(None, 0, 1, 30_000_000, 1_900_000_001), computation_delay_ns=0,
        order_size=one(1, 30, 100, 5_000), max_position=one(1, 45, 300, 20_000),
        starting_cash_ticks=one(1_000, 100_000_000), done_ratio=one(0.0, 0.5, 0.999),
        price_scale_bps=one(0.1, 2.0),
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(tasks(), st.sampled_from(LATENCIES), st.sampled_from([1, 10]), st.integers(0, 2**31))
def test_the_environment_does_and_sees_what_a_plain_agent_does(
    task: Investor, latency: dict[str, Any], lot: int, seed: int
) -> None:
    symbol = {"name": "SIM", "size_increment_lots": lot}
    background = {**BUSY, "latency": latency, "symbols": [symbol]}
    env = InvestorEnv(
        background, start=START, tape=True, overrides={"tape.levels": 1}, **vars(task)
    )
    actions = np.random.default_rng(seed).integers(0, 3, task.steps).tolist()
    told = compare(env, NaiveInvestor(task, START, actions), actions, seed)
    assert all(abs(info["position_lots"]) <= task.max_position for info in told)
    assert max(most_exposed(env)) <= task.max_position
    account = settle(env)
    assert account["known_position_lots"] == account["position_lots"]
    assert account["known_cash"] == account["cash"]


def episode(policy: Any, seed: int = 0, **parameters: Any) -> tuple[list[float], list[Any]]:
    env = InvestorEnv(BUSY, **{**SHORT, **parameters})
    _, info = env.reset(seed=seed)
    rewards, told, over = [], [info], False
    while not over:
        _, reward, terminated, truncated, info = env.step(policy(env))
        over = terminated or truncated
        rewards.append(reward)
        told.append({**info, "terminated": terminated, "truncated": truncated})
    return rewards, told


def test_rewards_add_up_to_the_change_of_wealth() -> None:
    rng = np.random.default_rng(1)
    for seed in range(3):
        rewards, told = episode(lambda _: int(rng.integers(3)), seed, order_size=40)
        change = told[-1]["wealth_ticks"] - 100_000_000
        assert change != 0
        assert sum(rewards) == pytest.approx(1e4 * change / (40 * told[0]["mid_ticks"]))
        assert [info["truncated"] for info in told[1:]] == [False] * 29 + [True]
        assert not any(info["terminated"] for info in told[1:])


def test_a_seller_mirrors_a_buyer() -> None:
    """In the same market: what the mid does cancels, and each pays spread and fees."""
    sums = [
        [sum(episode(lambda _, a=action: a, seed, order_size=10)[0]) for seed in range(8)]
        for action in (BUY, SELL)
    ]
    together = np.add(*sums)
    assert (together < 0).all() and (np.abs(sums[0]) + np.abs(sums[1]) > -together).any()
    assert sum(episode(lambda _: HOLD)[0]) == 0.0


def test_orders_are_cut_at_the_limit_and_masked_there() -> None:
    env = InvestorEnv(BUSY, **SHORT, order_size=100, max_position=250)
    env.reset(seed=1)
    assert env.action_masks().tolist() == [True, True, True]
    for action, at_limit, masks in (
        (BUY, 250, [False, True, True]),
        (SELL, -250, [True, True, False]),
    ):
        for _ in range(6):
            held = env.step(action)[4]["position_lots"]
        assert held == at_limit
        assert env.action_masks().tolist() == masks


def test_ruin_ends_the_episode() -> None:
    """Of one that owns little and trades much: spread and fees eat it up."""
    _, told = episode(lambda _: BUY, starting_cash_ticks=2_000, done_ratio=0.9)
    assert told[-1]["terminated"] and not told[-1]["truncated"]
    assert told[-1]["wealth_ticks"] < 1_800 <= told[-2]["wealth_ticks"]
    _, told = episode(lambda _: HOLD, starting_cash_ticks=2_000, done_ratio=0.9)
    assert told[-1]["truncated"] and told[-1]["wealth_ticks"] == 2_000


def test_a_reset_leaves_nothing_of_the_episode_before() -> None:
    env = InvestorEnv(BUSY, **SHORT)
    runs = []
    for _ in range(2):
        steps = [env.reset(seed=5)]
        steps += [env.step(BUY) for _ in range(12)]
        runs.append(steps)
    assert all(np.array_equal(a[0], b[0]) and a[1:] == b[1:] for a, b in zip(*runs, strict=True))


def test_a_state_at_the_end_of_the_window_is_at_its_end() -> None:
    from gymnasium.error import ResetNeeded

    env = InvestorEnv(BUSY, start=START, interval="1s", window="2s")
    env.reset(seed=1)
    env.step(HOLD)
    assert env.step(HOLD)[2:4] == (False, True)
    env.load_state(env.save_state())
    with pytest.raises(ResetNeeded):
        env.step(HOLD)


def test_a_day_fits_the_defaults() -> None:
    env = InvestorEnv()
    _, info = env.reset(seed=0)
    assert env.task.steps == 360 and info["wealth_ticks"] == 100_000_000


@pytest.mark.parametrize(
    "parameters, rule",
    [
        ({"order_size": 0}, "order_size must be >= 1, was 0"),
        ({"max_position": 0}, "max_position must be >= 1, was 0"),
        ({"starting_cash_ticks": 0}, "starting_cash_ticks must be >= 1"),
        ({"done_ratio": 1.0}, "done_ratio must be >= 0 and < 1, was 1.0"),
        ({"done_ratio": -0.1}, "done_ratio must be >= 0 and < 1"),
        ({"price_scale_bps": 0}, "price_scale_bps must be > 0"),
        ({"window": "90s"}, "window must be a multiple of interval"),
        ({"start": "10:30"}, "start: the window ends at 16:30"),
        ({"order_sizes": 10}, "unknown key 'order_sizes' .did you mean 'order_size'"),
    ],
)
def test_bad_parameters_are_named(parameters: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        InvestorEnv(**parameters)
