"""Environments that are copied, pickled, interrupted, or that find no market to begin in."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from busy_market import BUSY, OPEN, SECOND, START
from env_cases import CASES, Case, drawn, same
from gymnasium.error import ResetNeeded

from marketsim.data.synthetic import synthetic_tape
from marketsim.envs.background import Background
from marketsim.envs.execution import ExecutionEnv, ExecutionVectorEnv
from marketsim.envs.investor import InvestorEnv
from marketsim.envs.multi_agent import MultiAgentEnv
from marketsim.errors import ConfigError, DataError
from marketsim.simulation import Simulation

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
COPIES: dict[str, Any] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda env: pickle.loads(pickle.dumps(env)),
}
#: A buyer and a seller, for a minute.
PAIR = {side: {"task": "execution", "side": side, "window": "1min"} for side in ("buy", "sell")}
every_copy = pytest.mark.parametrize("make_copy", COPIES.values(), ids=list(COPIES))


@every_copy
@every_case
def test_a_copy_goes_on_by_itself(case: Case, make_copy: Any) -> None:
    env, rng = case.make(), np.random.default_rng(0)
    fresh = make_copy(env)
    env.reset(seed=3)
    env.step(drawn(env.action_space, rng))
    twin = make_copy(env)
    before = env.render(), twin.unwrapped.action_space
    actions = [drawn(env.action_space, rng) for _ in range(3)]
    steps = [twin.step(action) for action in actions]
    assert (env.render(), twin.unwrapped.action_space) == before
    same([env.step(action) for action in actions], steps)
    same(twin.reset(), env.reset())  # the random stream is its own too
    same(fresh.reset(seed=3), env.reset(seed=3))


@every_copy
@every_case
def test_a_copy_of_a_vector_goes_on_by_itself(case: Case, make_copy: Any) -> None:
    env, rng = case.make_vec(2), np.random.default_rng(0)
    env.reset(seed=3)
    for _ in range(2):
        env.step(drawn(env.action_space, rng))
    twin = make_copy(env)
    actions = [drawn(env.action_space, rng) for _ in range(8)]
    steps = [twin.step(action) for action in actions]  # over the end of an episode
    assert any((step[2] | step[3]).any() for step in steps)
    same([env.step(action) for action in actions], steps)


@every_copy
def test_a_copy_of_several_agents_goes_on_by_itself(make_copy: Any) -> None:
    env = MultiAgentEnv(PAIR, background=BUSY, start=START, interval="5s")
    env.reset(seed=3)
    env.step({name: 0 for name in env.agents})
    twin = make_copy(env)
    for actions in ({name: 0 for name in env.agents}, {name: 1 for name in env.agents}):
        same(twin.step(actions), env.step(actions))
    assert twin.simulation is not env.simulation


@every_copy
def test_a_copy_of_an_environment_with_data(make_copy: Any) -> None:
    day = synthetic_tape(0, close="09:35")
    background = {"data": "given", "agents": {"history": {"type": "replay"}}}
    env = ExecutionEnv(background, data=day, start="09:31", interval="10s", window="1min")
    env.reset(seed=0)
    twin = make_copy(env)
    for action in (0, 1, 2):
        same(twin.step(action), env.step(action))


@every_copy
def test_a_copy_of_a_simulation_goes_on_by_itself(make_copy: Any) -> None:
    market = Simulation(BUSY, seed=4)
    market.run(START)
    twin = make_copy(market)
    assert twin.digest() == market.digest()
    twin.run(START + SECOND)
    assert twin.digest() != market.digest()
    market.run(START + SECOND)
    assert twin.digest() == market.digest()
    for table in ("orders", "trades"):
        mine, its = getattr(twin.tape, table), getattr(market.tape, table)
        assert all(np.array_equal(mine[column], its[column]) for column in its)


# -- in the middle of a step -----------------------------------------------------------------


def interrupted(**more: Any) -> dict[str, Any]:
    """Parameters of an environment whose second step is interrupted half-way."""
    entry = {"type": "odd_agents:Interrupter", "at_ns": START + 3 * SECOND // 2}
    background = {**BUSY, "agents": {**BUSY["agents"], "interrupter": entry}}
    return {"background": background, "start": START, **more}


def test_nobody_goes_on_in_the_middle_of_a_step() -> None:
    env = ExecutionEnv(**interrupted(interval="1s", window="10s"))
    env.reset(seed=0)
    env.step(2)
    with pytest.raises(KeyboardInterrupt):
        env.step(2)
    with pytest.raises(ResetNeeded):
        env.step(2)
    env.reset(seed=0)
    env.step(2)


def test_no_row_goes_on_in_the_middle_of_a_step() -> None:
    env = ExecutionVectorEnv(2, **interrupted(interval="1s", window="10s"))
    env.reset(seed=0)
    hold = np.full(2, 2)
    env.step(hold)
    with pytest.raises(KeyboardInterrupt):
        env.step(hold)
    with pytest.raises(ResetNeeded):
        env.step(hold)
    env.reset(seed=0)
    env.step(hold)


def test_no_agent_goes_on_in_the_middle_of_a_step() -> None:
    env = MultiAgentEnv(PAIR, **interrupted(interval="1s"))
    env.reset(seed=0)
    hold = {name: 2 for name in env.agents}
    env.step(hold)
    with pytest.raises(KeyboardInterrupt):
        env.step(hold)
    with pytest.raises(ResetNeeded):
        env.step(hold)


# -- markets to begin in ---------------------------------------------------------------------


def test_a_market_without_two_sides_is_left_for_another() -> None:
    few = {
        **BUSY["agents"], "maker": {"count": 1}, "noise": {"count": 30},
        "value": {"count": 20, "arrival_rate": 5e-11},
    }  # fmt: skip
    start_ns = OPEN + 2 * SECOND
    env = InvestorEnv({**BUSY, "agents": few}, start=start_ns, window="2min")
    left = 0
    for seed in range(20):
        env.reset(seed=seed)
        first = int(np.random.default_rng(seed).integers(2**63))
        market = Simulation(env.background.config, first, agents={"learner": env.task})
        market.run(start_ns)
        two_sides = bool(market._market.view("ladders")["levels"][:2].all())
        assert (env.simulation.seed == first) == two_sides
        left += not two_sides
    assert 0 < left < 20


def test_no_market_with_two_sides_is_an_error() -> None:
    env = InvestorEnv({}, start="10:00", window="2min")
    with pytest.raises(ConfigError, match="none of 10 markets has two sides at 10:00:00"):
        env.reset(seed=0)
    with pytest.raises(ResetNeeded):
        env.step(1)


def test_a_price_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", raised.append)
    quotes = {"type": "odd_agents:Quoter", "bid_ticks": -1, "ask_ticks": 1}
    env = InvestorEnv({"agents": {"quotes": quotes}}, start="09:31", window="5min")
    _, info = env.reset(seed=0)
    assert info["mid_ticks"] == 0
    assert np.isfinite(env.step(0)[1])
    assert not raised


def test_what_is_no_background_is_refused() -> None:
    for wrong in (None, 3, True, ["rmsc04"], b"rmsc04"):
        with pytest.raises(ConfigError, match="config must be a name, a path or a mapping, was"):
            Background(wrong)  # type: ignore[arg-type]
    for wrong in (3, "noise=3", [("agents.noise.count", 3)], {1: 2}):
        with pytest.raises(ConfigError, match="overrides"):
            Background("rmsc04", wrong)  # type: ignore[arg-type]
    for wrong in (3, "day.zip", {}):
        with pytest.raises(ConfigError, match="data must be a tape or None, was"):
            Background("rmsc04", data=wrong)  # type: ignore[arg-type]


def test_what_cannot_be_a_delay_is_refused() -> None:
    for field in ("latency_ns", "computation_delay_ns"):
        with pytest.raises(ConfigError, match=f"{field} must be <= 86400000000000, was"):
            InvestorEnv(BUSY, **{field: 2**63 - 1})


def test_a_state_needs_the_name_of_a_file() -> None:
    env = InvestorEnv(BUSY, start=START, window="2min")
    env.reset(seed=0)
    with pytest.raises(DataError, match="path must name a file, was '.'"):
        env.save_state("")
