"""Policies to beat: their formulas, and what they do in a market; of one and of many."""

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
from busy_market import BUSY, START
from hypothesis import given
from hypothesis import strategies as st

from marketsim.envs import baselines
from marketsim.envs.baselines import AvellanedaStoikov, estimate, fit_rates, optimal_quotes
from marketsim.envs.execution import ExecutionEnv, ExecutionVectorEnv
from marketsim.envs.investor import InvestorEnv
from marketsim.envs.market_making import MarketMakingEnv, MarketMakingVectorEnv
from marketsim.errors import ConfigError, DataError
from marketsim.simulation import Simulation

QUICK: dict[str, Any] = {"background": BUSY, "start": START, "interval": "1s", "window": "60s"}


def test_quotes_of_avellaneda_and_stoikov() -> None:
    """Their simulation: gamma 0.1, sigma 2, k 1.5, a session of length 1, a mid of 100."""
    bid, ask = optimal_quotes(100.0, 0, 1.0, 0.1, 2.0, 1.5)
    assert (bid, ask) == (pytest.approx(99.15461, abs=1e-5), pytest.approx(100.84539, abs=1e-5))
    bid, ask = optimal_quotes(100.0, 3, 1.0, 0.1, 2.0, 1.5)  # 3 · 0.1 · 2² lower
    assert (bid, ask) == (pytest.approx(97.95461, abs=1e-5), pytest.approx(99.64539, abs=1e-5))
    left = np.linspace(0.0, 1.0, 201)
    for gamma, mean_spread in ((0.1, 1.49), (0.01, 1.35)):
        bids, asks = optimal_quotes(100.0, 0, left, gamma, 2.0, 1.5)
        assert np.mean(asks - bids) == pytest.approx(mean_spread, abs=0.005)


@given(
    st.floats(-50, 50), st.floats(0, 1000), st.floats(1e-4, 1), st.floats(0.1, 5),
    st.floats(0.05, 5),
)  # fmt: skip
def test_a_long_maker_quotes_lower_and_a_short_one_as_much_higher(
    inventory: float, left: float, gamma: float, sigma: float, k: float
) -> None:
    bid, ask = optimal_quotes(0.0, inventory, left, gamma, sigma, k)
    mirrored_bid, mirrored_ask = optimal_quotes(0.0, -inventory, left, gamma, sigma, k)
    assert (bid, ask) == (pytest.approx(-mirrored_ask), pytest.approx(-mirrored_bid))
    assert ask - bid >= 2 / gamma * math.log1p(gamma / k) * (1 - 1e-9)
    assert 0.5 * (bid + ask) == pytest.approx(-inventory * gamma * sigma**2 * left, abs=1e-6)


def test_the_fit_finds_planted_rates() -> None:
    """Hits come as a Poisson process, their distances are exponential: rates fall as exp(-k d)."""
    rng = np.random.default_rng(0)
    for k, rate, interval_s in ((0.4, 0.7, 1.0), (2.0, 0.2, 5.0)):
        hits = rng.poisson(rate * interval_s, 40_000)
        reach = [rng.exponential(1 / k, n).max() if n else -np.inf for n in hits]
        found = fit_rates(np.round(reach, 1), interval_s)
        assert found == (pytest.approx(k, rel=0.1), pytest.approx(rate, rel=0.1))


def test_the_estimate_is_what_a_loop_over_the_tape_finds() -> None:
    env = MarketMakingEnv(**QUICK)
    found = estimate(env, seeds=[5, 6])
    moves, reach = [], []
    for seed in (5, 6):
        market = Simulation(BUSY, seed)
        run = market.run(START + 60 * 10**9)
        book, trades = run.tape.book, run.tape.trades
        mids = []
        for step in range(61):
            row = np.flatnonzero(book.time_ns <= START + step * 10**9)[-1]
            mids.append((book.bid_price_ticks[row, 0] + book.ask_price_ticks[row, 0]) / 2)
        moves += list(np.diff(mids))
        for step in range(60):
            inside = trades["time_ns"] > START + step * 10**9
            inside &= trades["time_ns"] <= START + (step + 1) * 10**9
            prices = trades["price_ticks"][inside].tolist()
            reach.append(max([price - mids[step] for price in prices], default=-math.inf))
            reach.append(max([mids[step] - price for price in prices], default=-math.inf))
    assert found.sigma == pytest.approx(np.std(moves))
    assert (found.k, found.rate) == pytest.approx(fit_rates(reach, 1.0))
    assert found.k > 0 and found.sigma > 0


def test_too_few_trades_for_an_estimate_are_an_error() -> None:
    with pytest.raises(DataError, match="two distances must be hit 20 times"):
        estimate(MarketMakingEnv(**{**QUICK, "window": "2s"}), seeds=[1])


def episode(env: Any, policy: Any, seed: int = 1) -> list[dict[str, Any]]:
    observation, info = env.reset(seed=seed)
    told, over = [info], False
    while not over:
        action = policy(observation, info)
        assert env.action_space.contains(action)
        observation, _, over, _, info = env.step(action)
        told.append(info)
    return told


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize("child", [10, 20, 300])
def test_twap_keeps_to_an_even_schedule_and_gets_all(side: str, child: int) -> None:
    env = ExecutionEnv(**QUICK, side=side, quantity=600, child=child)
    told = episode(env, baselines.twap(env))
    filled = np.array([info["filled_lots"] for info in told])
    even = 10 * np.arange(61)
    assert (filled >= even[: len(filled)]).all() and (filled < even[: len(filled)] + child).all()
    assert filled[-1] == 600


def test_twap_with_shares_trades_evenly() -> None:
    env = ExecutionEnv(**QUICK, quantity=600, actions="continuous")
    filled = np.array([info["filled_lots"] for info in episode(env, baselines.twap(env))])
    assert np.abs(filled - 10 * np.arange(len(filled))).max() < 60
    assert filled[-1] > 540


@pytest.mark.parametrize("actions", ["discrete", "continuous"])
def test_immediate_and_passive(actions: str) -> None:
    env = ExecutionEnv(**QUICK, quantity=200, child=100, actions=actions, tape=True)
    assert len(episode(env, baselines.immediate(env))) < 10
    told = episode(env, baselines.passive(env))
    assert 0 < told[-1]["filled_lots"] <= 200
    trades = env.simulation.tape.trades
    me = env.simulation.agent_names.index("learner")
    assert (trades["maker_agent_id"] == me).any()
    assert (trades["taker_agent_id"] == me).sum() <= 2  # when the touch came to meet it


def test_a_fixed_spread_quotes_both_sides_alike() -> None:
    discrete = MarketMakingEnv(**QUICK)
    observation, info = discrete.reset(seed=0)
    actions = [baselines.fixed_spread(discrete, d)(observation, info) for d in range(1, 6)]
    assert actions == [0, 1, 2, 3, 4]
    env = MarketMakingEnv(**QUICK, actions="continuous", max_offset_ticks=40)
    told = episode(env, baselines.fixed_spread(env, 30))
    both = [info for info in told if info["bid_quote_ticks"] and info["ask_quote_ticks"]]
    assert len(both) > 30
    widths = [info["ask_quote_ticks"] - info["bid_quote_ticks"] for info in both]
    assert np.median(widths) in (60, 61)


def test_avellaneda_and_stoikov_in_a_market() -> None:
    env = MarketMakingEnv(**QUICK, actions="continuous", max_offset_ticks=50)
    policy = AvellanedaStoikov(env, gamma=0.01, sigma=2.0, k=0.3)
    observation, info = env.reset(seed=0)
    for inventory in (0, 300, -300, 100_000):
        told = {**info, "inventory_lots": inventory}
        bid, ask = optimal_quotes(0.0, inventory / 100, 60.0, 0.01, 2.0, 0.3)
        offsets = np.clip([-bid, ask], 0, 50)
        action = policy(observation, told)
        assert 25 * (action[:2] + 1) == pytest.approx(offsets, abs=1e-4)
        assert action[2:].tolist() == [1, 1]
    told = episode(env, policy)
    loose = AvellanedaStoikov(env, gamma=1e-6, sigma=2.0, k=0.3)
    held = [np.mean([abs(i["inventory_lots"]) for i in t]) for t in (told, episode(env, loose))]
    assert 0 < held[0] < held[1]


def test_policies_of_vectors_are_those_of_their_rows() -> None:
    cases: list[tuple[Any, Any, dict[str, Any]]] = [
        (ExecutionVectorEnv, baselines.twap, {}),
        (ExecutionVectorEnv, baselines.twap, {"actions": "continuous"}),
        (ExecutionVectorEnv, baselines.passive, {}),
        (MarketMakingVectorEnv, lambda e: baselines.fixed_spread(e, 2), {}),
        (
            MarketMakingVectorEnv,
            lambda e: AvellanedaStoikov(e, 0.01, 1.0, 0.3),
            {"actions": "continuous"},
        ),
    ]
    for vector_type, make, more in cases:
        vector = vector_type(3, **QUICK, **more)
        single = gymnasium.wrappers.OrderEnforcing(vector_type.env_type(**QUICK, **more))
        policy, of_one = make(vector), make(single)
        observations, infos = vector.reset(seed=2)
        for _ in range(10):
            actions = policy(observations, infos)
            assert vector.action_space.contains(actions)
            for row in range(3):
                info = {name: column[row] for name, column in infos.items()}
                assert np.array_equal(of_one(observations[row], info), actions[row])
            observations, _, _, _, infos = vector.step(actions)


def test_what_a_policy_cannot_do_is_named() -> None:
    making = MarketMakingEnv(**QUICK)
    with pytest.raises(ConfigError, match="env must be of Execution, was of MarketMaking"):
        baselines.twap(making)
    with pytest.raises(ConfigError, match="env must be of MarketMaking, was of Investor"):
        baselines.fixed_spread(InvestorEnv(**QUICK))
    with pytest.raises(ConfigError, match="distance must be 1, 2, 3, 4 or 5 half-spreads, was 6"):
        baselines.fixed_spread(making, 6)
    far = MarketMakingEnv(**QUICK, actions="continuous")
    with pytest.raises(ConfigError, match="distance must be from 0 to max_offset_ticks 10, was 11"):
        baselines.fixed_spread(far, 11)
    with pytest.raises(ConfigError, match="needs actions=.continuous., was .discrete."):
        AvellanedaStoikov(making, 0.1, 1.0, 1.0)
    with pytest.raises(ConfigError, match="gamma must be > 0, was 0"):
        AvellanedaStoikov(far, 0, 1.0, 1.0)
    with pytest.raises(ConfigError, match="env must be of a task in a market"):
        baselines.twap(gymnasium.make("CartPole-v1"))
