"""Market making: what a plain agent does and sees; inventory bounds; rewards; both sides alike."""

from typing import Any

import numpy as np
import pytest
from busy_market import BUSY, LATENCIES, START, compare, most_exposed, settle
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_market_making import NaiveMarketMaking

from marketsim.envs.market_making import (
    ASK_THETA,
    BID_THETA,
    CLEAR,
    MarketMaking,
    MarketMakingEnv,
)
from marketsim.errors import ConfigError

SHORT: dict[str, Any] = {"interval": "1s", "window": "60s", "start": START}


@st.composite
def tasks(draw: Any) -> MarketMaking:
    def one(*values: Any) -> Any:
        return draw(st.sampled_from(values))

    actions = one("discrete", "continuous")
    return MarketMaking(
        interval=one("1s", "3s"), window=one("15s", "60s"),
        latency_ns=one(None, 0, 1, 30_000_000, 1_900_000_001), computation_delay_ns=0,
        quote_size=one(1, 30, 100, 700), max_inventory=one(1, 45, 100, 1_000),
        actions=actions, clear_action=actions == "discrete" and one(True, False),
        max_offset_ticks=one(1, 10), reward=one("pnl", "damped"), damping=one(0.0, 0.6, 1.0),
        running_penalty=one(0.0, 0.3), terminal_penalty=one(0.0, 2.0), average_steps=one(1, 7),
        price_scale_bps=one(0.1, 2.0),
    )  # fmt: skip


def random_actions(task: MarketMaking, seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    space = task.action_space
    if task.actions == "discrete":
        choices = rng.integers(0, space.n, task.steps)  # type: ignore[attr-defined]
        return [int(a) for a in choices]
    near = rng.uniform(-1, 1, (task.steps, 4)) * [1, 1, 2, 2] - [0.3, 0.3, 0, 0]
    return list(np.clip(near, -1, 1).astype(np.float32))


@settings(max_examples=40, deadline=None)
@given(
    tasks(), st.sampled_from(LATENCIES), st.sampled_from([1, 5]), st.sampled_from([1, 10]),
    st.integers(0, 2**31),
)  # fmt: skip
def test_the_environment_does_and_sees_what_a_plain_agent_does(
    task: MarketMaking, latency: dict[str, Any], tick: int, lot: int, seed: int
) -> None:
    symbol = {"name": "SIM", "price_increment_ticks": tick, "size_increment_lots": lot}
    background = {**BUSY, "latency": latency, "symbols": [symbol]}
    env = MarketMakingEnv(
        background, start=START, tape=True, overrides={"tape.levels": 1}, **vars(task)
    )
    given_actions = random_actions(task, seed)
    told = compare(env, NaiveMarketMaking(task, START, given_actions), given_actions, seed)
    for info in told:
        assert abs(info["inventory_lots"]) <= task.max_inventory
        assert info["pnl_ticks"] == info["spread_earned_ticks"] + info["inventory_pnl_ticks"]
    assert max(most_exposed(env)) <= task.max_inventory
    account = settle(env)
    assert account["known_position_lots"] == account["position_lots"]
    assert account["known_cash"] == account["cash"]


@pytest.mark.parametrize("seed", range(6))
def test_messages_that_overtake_each_other(seed: int) -> None:
    """Cancels come before their orders, fills while an order waits, quotes while it clears."""
    task = MarketMaking(
        interval="1s", window="120s", quote_size=30, max_inventory=90, clear_action=True
    )
    background = {**BUSY, "latency": LATENCIES[2]}
    env = MarketMakingEnv(
        background, start=START, tape=True, overrides={"tape.levels": 1}, **vars(task)
    )
    rng = np.random.default_rng(seed)
    near = rng.choice([0, 5, 6, CLEAR], task.steps).tolist()
    told = compare(env, NaiveMarketMaking(task, START, near), near, seed)
    assert max(most_exposed(env)) <= 90
    assert told[-1]["fills"] > 10


def episode(policy: Any, seed: int = 0, **parameters: Any) -> tuple[list[float], list[Any]]:
    env = MarketMakingEnv(BUSY, **{**SHORT, **parameters})
    observation, info = env.reset(seed=seed)
    rewards, told, over = [], [info], False
    while not over:
        observation, reward, over, _, info = env.step(policy(observation, info))
        rewards.append(reward)
        told.append(info)
    return rewards, told


@pytest.mark.parametrize("action", range(9))
def test_quotes_stand_at_the_published_distances(action: int) -> None:
    """In a market without latency, as soon as they are asked for; the half-spread is still."""
    env = MarketMakingEnv(
        {**BUSY, "latency": LATENCIES[0]}, interval="1ms", window="9ms", start=START
    )
    observation, info = env.reset(seed=4)
    half = np.arctanh(observation[3]) * 0.5 * info["mid_ticks"] / 1e4
    told = env.step(action)[4]
    offered = told["ask_quote_ticks"] - info["mid_ticks"]
    bid = info["mid_ticks"] - told["bid_quote_ticks"]
    assert abs(offered - ASK_THETA[action] * half) <= 0.5 + 1e-4
    assert abs(bid - BID_THETA[action] * half) <= 0.5 + 1e-4
    assert (offered > bid) == (ASK_THETA[action] > BID_THETA[action])


def test_rewards_add_up_to_the_profit() -> None:
    for seed in range(3):
        rewards, told = episode(lambda *_: 0, seed, quote_size=50)
        assert sum(rewards) == pytest.approx(told[-1]["pnl_ticks"] / 50, abs=1e-6)
        assert told[-1]["fills"] > 5


def test_damping_takes_gains_of_inventory_and_leaves_its_losses() -> None:
    plain, told = episode(lambda *_: 0, 1)
    damped, same = episode(lambda *_: 0, 1, reward="damped", damping=0.8)
    assert told == same
    gains = np.diff([info["inventory_pnl_ticks"] for info in told]) / 100
    assert (gains > 0).any() and (gains < 0).any()
    assert np.subtract(plain, damped) == pytest.approx(0.8 * np.maximum(gains, 0), abs=1e-6)


def test_penalties_are_on_the_squared_inventory() -> None:
    plain, told = episode(lambda *_: 0, 1)
    fined, _ = episode(lambda *_: 0, 1, running_penalty=0.25, terminal_penalty=3.0)
    quotes = np.array([info["inventory_lots"] for info in told[1:]]) / 100
    fines = 0.25 * quotes**2
    fines[-1] += 3.0 * quotes[-1] ** 2
    assert quotes[-1] != 0
    assert np.subtract(plain, fined) == pytest.approx(fines)


def test_the_clear_action_trades_the_inventory_away() -> None:
    def policy(observation: Any, info: dict[str, Any]) -> int:
        return CLEAR if info["inventory_lots"] else 0

    _, told = episode(policy, 2, clear_action=True, window="120s")
    held = np.array([info["inventory_lots"] for info in told])
    assert np.count_nonzero(held) > 5
    assert not held[1:][held[:-1] != 0].any()  # a step later it is gone
    assert told[-1]["fills"] > 10


def test_bids_and_asks_are_alike() -> None:
    """A maker that only bids becomes long, one that only asks short, by as much on average."""
    ends = []
    for only in ([-0.9, 1, 1, -1], [1, -0.9, -1, 1]):
        action = np.array(only, np.float32)
        told = [
            episode(lambda *_, a=action: a, seed, actions="continuous", quote_size=20)[1][-1]
            for seed in range(8)
        ]
        ends.append([info["inventory_lots"] for info in told])
        none = "ask_quote_ticks" if only[2] > 0 else "bid_quote_ticks"
        assert all(info[none] == 0 for info in told)
    assert min(ends[0]) > 0 > max(ends[1])
    assert 0.5 < np.mean(ends[0]) / -np.mean(ends[1]) < 2


def test_a_quote_that_is_asked_for_again_keeps_its_place() -> None:
    env = MarketMakingEnv(BUSY, **SHORT, tape=True, actions="continuous", max_offset_ticks=1000)
    env.reset(seed=3)
    action = np.array([0.5, 0.5, 1, 1], np.float32)
    for _ in range(60):
        env.step(action)
    orders = env.simulation.tape.orders
    own = orders["agent_id"] == env.simulation.agent_names.index("learner")
    mids = 60
    assert 2 <= own.sum() < 2 * 2 * mids  # not a cancel and an order a side in each step


def test_a_reset_leaves_nothing_of_the_episode_before() -> None:
    env = MarketMakingEnv(BUSY, **SHORT)
    runs = []
    for _ in range(2):
        steps = [env.reset(seed=5)]
        steps += [env.step(0) for _ in range(20)]
        runs.append(steps)
    assert all(np.array_equal(a[0], b[0]) and a[1:] == b[1:] for a, b in zip(*runs, strict=True))


def test_masks() -> None:
    env = MarketMakingEnv(BUSY, **SHORT, clear_action=True)
    env.reset(seed=1)
    assert env.action_masks().tolist() == [True] * 9 + [False]
    while env.step(0)[4]["inventory_lots"] == 0:
        pass
    assert env.action_masks().all()
    plain = MarketMakingEnv(BUSY, **SHORT)
    plain.reset(seed=1)
    assert plain.action_masks().tolist() == [True] * 9


def test_the_episode_ends_with_its_window() -> None:
    env = MarketMakingEnv(BUSY, interval="1s", window="5s", start=START)
    env.reset(seed=1)
    ends = [env.step(8)[2:4] for _ in range(5)]
    assert ends == [(False, False)] * 4 + [(True, False)]


@pytest.mark.parametrize(
    "parameters, rule",
    [
        ({"quote_size": 0}, "quote_size must be >= 1, was 0"),
        ({"max_inventory": 0}, "max_inventory must be >= 1, was 0"),
        ({"actions": "any"}, "actions must be one of discrete, continuous, was 'any'"),
        ({"clear_action": 1}, "clear_action must be true or false, was 1"),
        ({"clear_action": True, "actions": "continuous"}, "clear_action: only with discrete"),
        ({"max_offset_ticks": 0}, "max_offset_ticks must be >= 1"),
        ({"reward": "penalized"}, "reward must be one of pnl, damped, was 'penalized'"),
        ({"damping": -1.0}, "damping must be >= 0"),
        ({"running_penalty": float("inf")}, "running_penalty must be a finite number"),
        ({"terminal_penalty": -0.1}, "terminal_penalty must be >= 0"),
        ({"average_steps": 0}, "average_steps must be >= 1"),
        ({"price_scale_bps": 0}, "price_scale_bps must be > 0"),
        ({"max_inventry": 10}, "unknown key 'max_inventry' .did you mean 'max_inventory'"),
    ],
)
def test_bad_parameters_are_named(parameters: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        MarketMakingEnv(**parameters)
