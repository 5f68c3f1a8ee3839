"""Execution: step by step what a plain Python agent does and sees; sells as buys; a fresh start."""

from typing import Any

import numpy as np
import pytest
from busy_market import BUSY, LATENCIES, START, compare
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_execution import NaiveExecution

from marketsim.envs.execution import HOLD, MARKET, PASSIVE, Execution, ExecutionEnv
from marketsim.errors import ConfigError

actions = st.lists(st.integers(0, 2), min_size=25, max_size=25)
parts = st.tuples(st.floats(-1, 1, width=32), st.floats(-1, 1, width=32))


@st.composite
def tasks(draw: Any) -> Execution:
    def one(*values: Any) -> Any:
        return draw(st.sampled_from(values))

    parameters: dict[str, Any] = {
        "side": one("buy", "sell"), "quantity": one(1, 30, 400, 20_000),
        "latency_ns": one(None, 0, 1, 30_000_000, 1_900_000_001), "computation_delay_ns": 0,
        "benchmark": one("arrival", "twap", "vwap"), "interval": one("1s", "3s"),
        "window": one("15s", "60s"),
        "unfilled_bps": one(0.0, 5.0), "actions": one("discrete", "continuous"),
        "max_depth_ticks": one(0, 20),
    }  # fmt: skip
    return Execution(**parameters)


@settings(max_examples=40, deadline=None)
@given(
    tasks(), st.sampled_from(LATENCIES), actions, st.lists(parts, min_size=25, max_size=25),
    st.integers(0, 2**31),
)  # fmt: skip
def test_the_environment_does_and_sees_what_a_plain_agent_does(
    task: Execution, latency: dict[str, Any], whole: list[int], pairs: list[Any], seed: int
) -> None:
    given_actions: list[Any] = whole
    if task.actions == "continuous":
        given_actions = [np.array(pair, np.float32) for pair in pairs]
    given_actions = (given_actions * 4)[: task.steps]
    background = {**BUSY, "latency": latency}
    env = ExecutionEnv(
        background, start=START, tape=True, overrides={"tape.levels": 1}, **vars(task)
    )
    told = compare(env, NaiveExecution(task, START, given_actions), given_actions, seed)
    assert told[-1]["filled_lots"] <= task.quantity


def episode(policy: Any, seed: int = 0, **parameters: Any) -> tuple[float, dict[str, Any]]:
    parameters = {"interval": "1s", "window": "60s", "quantity": 300, **parameters}
    env = ExecutionEnv(BUSY, start=START, **parameters)
    observation, info = env.reset(seed=seed)
    total, over = 0.0, False
    while not over:
        observation, reward, over, _, info = env.step(policy(observation))
        total += reward
    return total, info


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize("benchmark", ["arrival", "twap", "vwap"])
def test_rewards_add_up_to_minus_the_shortfall(side: str, benchmark: str) -> None:
    rng = np.random.default_rng(1)
    for seed in range(5):
        total, info = episode(
            lambda _: int(rng.integers(3)), seed, side=side, benchmark=benchmark, quantity=3000
        )
        assert total == pytest.approx(-info["shortfall_bps"], abs=1e-9)


def test_crossing_the_spread_costs_on_either_side() -> None:
    """A buyer and a seller in the same market: its own moves cancel, spread and fees stay."""
    sides = ("buy", "sell")
    costs = [
        [episode(lambda _: MARKET, seed, side=side)[1]["shortfall_bps"] for side in sides]
        for seed in range(20)
    ]
    assert 0.3 < np.mean(costs) < 2  # the taker's fee alone is 0.3
    moves = np.subtract(*np.transpose(costs))
    assert (moves > 0).any() and (moves < 0).any()


def test_a_passive_order_keeps_its_place_and_pays_no_more_than_the_touch() -> None:
    env = ExecutionEnv(BUSY, start=START, tape=True, interval="1s", window="60s", quantity=200)
    env.reset(seed=3)
    over = False
    while not over:
        _, _, over, _, info = env.step(PASSIVE)
    orders = env.simulation.tape.orders
    own = orders["agent_id"] == env.simulation.agent_names.index("learner")
    assert 0 < own.sum() < 120  # not a cancel and an order in each step
    assert info["filled_lots"] > 0 and info["rejects"] == 0


def test_holding_to_the_end_prices_the_remainder_as_if_it_were_taken() -> None:
    total, info = episode(lambda _: HOLD)
    assert info["filled_lots"] == 0 and info["remaining_lots"] == 300
    _, punished = episode(lambda _: HOLD, unfilled_bps=7.0)
    assert punished["shortfall_bps"] == pytest.approx(info["shortfall_bps"] + 7.0)
    _, larger = episode(lambda _: HOLD, quantity=10**6)
    assert larger["shortfall_bps"] > info["shortfall_bps"] + 10  # it goes deep into the book
    assert total == pytest.approx(-info["shortfall_bps"])


def test_a_reset_leaves_nothing_of_the_episode_before() -> None:
    env = ExecutionEnv(BUSY, start=START, interval="1s", window="20s", quantity=300)
    first = env.reset(seed=5)
    for _ in range(9):
        env.step(MARKET)
    again = env.reset(seed=5)
    assert np.array_equal(first[0], again[0]) and first[1] == again[1]


@pytest.mark.parametrize(
    "parameter, value, rule",
    [
        ("side", "long", "side must be one of buy, sell, was 'long'"),
        ("quantity", 0, "quantity must be >= 1, was 0"),
        ("child", 3000, "child must be <= 2000, was 3000"),
        ("actions", "any", "actions must be one of discrete, continuous"),
        ("benchmark", "close", "benchmark must be one of arrival, twap, vwap"),
        ("interval", "0s", "interval must be > 0"),
        ("window", "15s", "window must be a multiple of interval"),
        ("unfilled_bps", float("nan"), "unfilled_bps must be a finite number"),
        ("price_scale_bps", 0, "price_scale_bps must be > 0"),
        ("latency_ns", -1, "latency_ns must be >= 0"),
        ("symbol", "XYZ", "symbol must be one of SIM, was 'XYZ'"),
    ],
)
def test_bad_parameters_are_named(parameter: str, value: Any, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule.replace("'", ".")):
        ExecutionEnv(**{parameter: value}).reset()
