"""Several learning agents in one market: PettingZoo's contract, and what they do to each other."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from env_cases import CASES, MARKET, WORLD, drawn, same
from gymnasium.error import ResetNeeded
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo import ParallelEnv
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, seed_test

import marketsim.envs
from marketsim.agent import Agent, Handle
from marketsim.clock import parse_time
from marketsim.envs import MultiAgentEnv, aec_env, parallel_env
from marketsim.envs.background import Background
from marketsim.envs.execution import HOLD, Execution, ExecutionEnv
from marketsim.envs.execution import MARKET as AT_ONCE
from marketsim.envs.registration import TASKS
from marketsim.envs.seat import Seat
from marketsim.errors import ActionError, ConfigError, DataError, StateError

PLACE: dict[str, Any] = {key: MARKET[key] for key in ("start", "overrides")}
SHORT = {"interval": "10s", "window": "1min"}
TRIO: dict[str, Any] = {
    "buyer": {"task": "execution", "window": "30s"},
    "maker": {"task": "market_making", "actions": "continuous", "window": "1min"},
    "seller": {"task": "execution", "side": "sell", "actions": "continuous", "window": "50s"},
}


class Far(Agent):
    """One large order far away on each side, for as long as the market lasts."""

    def on_start(self, market: Handle) -> None:
        market.buy(100_000, limit=9_900)
        market.sell(100_000, limit=10_100)


#: A market in which nobody trades but those who learn.
QUIET: dict[str, Any] = {
    "session": {"open": "09:30", "close": "09:40"},
    "latency": {"model": "constant", "latency_ns": 1_000},
    "exchange": {"maker_fee_bps": -0.2, "taker_fee_bps": 0.3},
    "agents": {"far": {"type": f"{__name__}:Far"}},
}
#: All that is left, half-way to the other touch (10,000); then at the own touch, which is that.
HALF_WAY, STAY = np.array([[1.0, -0.5], [1.0, 0.0]], np.float32)


def make(agents: Any = None, **more: Any) -> MultiAgentEnv:
    return MultiAgentEnv(TRIO if agents is None else agents, **{**PLACE, "interval": "10s", **more})


def draw(env: MultiAgentEnv, rng: np.random.Generator) -> dict[str, Any]:
    return {name: drawn(env.action_space(name), rng) for name in env.agents}


def rest(env: MultiAgentEnv, seed: int = 5) -> list[Any]:
    """What follows until all have left, under the same actions."""
    rng, told = np.random.default_rng(seed), []
    while env.agents:
        told.append((env.step(draw(env, rng)), env.state(), list(env.agents)))
    return [*told, env.simulation.digest()]


# -- PettingZoo's contract -------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Agents have different .* space sizes")  # tasks differ
@pytest.mark.filterwarnings("ignore:Observations are different shapes")
@pytest.mark.parametrize("agents", [None, TRIO], ids=["default", "trio"])
def test_pettingzoos_own_tests(agents: Any, capsys: pytest.CaptureFixture[str]) -> None:
    named = None if agents is None else {f"{name}_0": entry for name, entry in agents.items()}
    how: dict[str, Any] = {"agents": named, **PLACE, "start": "09:31", "interval": "10s"}
    parallel_api_test(parallel_env(**how), num_cycles=30)
    parallel_seed_test(lambda: parallel_env(**how), num_cycles=30)
    api_test(aec_env(**how), num_cycles=30)
    seed_test(lambda: aec_env(**how), num_cycles=30)
    assert "Passed" in capsys.readouterr().out


def test_the_default_is_a_buyer_and_a_seller() -> None:
    env = parallel_env()
    assert isinstance(env, ParallelEnv)
    assert env.possible_agents == ["buyer_0", "seller_0"]
    assert [env.tasks[name].side for name in env.possible_agents] == ["buy", "sell"]  # type: ignore[attr-defined]
    assert str(env) == env.metadata["name"] == "marketsim_multi_agent_v0"
    assert env.unwrapped is env and env.max_num_agents == 2 and env.num_agents == 0


def test_spaces_kinds_and_keys() -> None:
    env, rng = make(), np.random.default_rng(0)
    observations, infos = env.reset(seed=0)
    assert list(observations) == list(infos) == env.agents == env.possible_agents == list(TRIO)
    keys = {name: list(info) for name, info in infos.items()}
    assert {name: "action_mask" in info for name, info in infos.items()} == {
        "buyer": True, "maker": False, "seller": False,
    }  # fmt: skip
    kept: list[Any] = []
    while env.agents:
        acted, before = list(env.agents), env.state()
        assert env.state_space.contains(before)
        observations, rewards, terminated, truncated, infos = results = env.step(draw(env, rng))
        for told in results:
            assert list(told) == acted
        for name in acted:
            assert env.observation_space(name) is env.observation_space(name)
            assert env.action_space(name) is env.action_space(name)
            assert env.observation_space(name).contains(observations[name])
            kinds = (type(rewards[name]), type(terminated[name]), type(truncated[name]))
            assert kinds == (float, bool, bool)
            assert list(infos[name]) == keys[name]
        if "buyer" in infos:
            assert infos["buyer"]["action_mask"].dtype == np.int8
        kept.append((observations, {name: seen.copy() for name, seen in observations.items()}))
    for given_away, copied in kept:
        same(given_away, copied)
    with pytest.raises(ResetNeeded, match="no agent is in an episode"):
        env.step({})


def test_masks() -> None:
    env = make({"one": {"task": "execution", **SHORT}, "two": TRIO["maker"]})
    with pytest.raises(ResetNeeded):
        env.action_masks("one")
    _, infos = env.reset(seed=0)
    same(env.action_masks("one").astype(np.int8), infos["one"]["action_mask"])
    with pytest.raises(ActionError, match="only with discrete actions"):
        env.action_masks("two")


def test_closed_twice_and_used_again() -> None:
    env = make()
    for method in (env.state, env.save_state, lambda: env.simulation):
        with pytest.raises(ResetNeeded):
            method()
    env.close()
    first = env.reset(seed=0)
    env.close()
    env.close()
    assert env.agents == []
    with pytest.raises(ResetNeeded):
        env.step({})
    same(env.reset(seed=0), first)


def test_seeds() -> None:
    env = make()
    first = env.reset(seed=0)
    assert not np.array_equal(env.reset(seed=1)[0]["maker"], first[0]["maker"])
    second = [env.reset(seed=0), env.reset()]
    same(second[0], first)
    assert not np.array_equal(second[1][0]["maker"], first[0]["maker"])
    other = make()
    same([other.reset(seed=0), other.reset()], second)
    assert not np.array_equal(make().reset()[0]["maker"], make().reset()[0]["maker"])


def test_pictures() -> None:
    text, picture = make(render_mode="ansi"), make(render_mode="rgb_array")
    shown = []
    for env in (text, picture):
        env.reset(seed=0)
        rest_of = np.random.default_rng(1)
        while env.agents:
            env.step(draw(env, rest_of))
            shown.append(env.render())
    said = shown[: len(shown) // 2]
    assert all(f"learner-{name}: " in said[-1] for name in TRIO)
    assert len(set(said)) == len(said) == 6
    assert {frame.shape for frame in shown[6:]} == {(360, 800, 3)}
    assert shown[-1].dtype == np.uint8 and shown[-1].std() > 1
    assert make().render() is None


# -- one market ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [case for case in CASES if case.in_market], ids=str)
def test_one_agent_is_the_environment_of_one(case: Any) -> None:
    single = case.bare()
    many = MultiAgentEnv({"me": single.task}, **PLACE)
    rng = np.random.default_rng(3)
    for seed in (0, None):
        observation, info = single.reset(seed=seed)
        observations, infos = many.reset(seed=seed)
        ended = False
        while True:
            infos["me"].pop("action_mask", None)
            same((observations["me"], infos["me"]), (observation, info))
            assert many.simulation.digest() == single.simulation.digest()
            same(many.state(), observation * np.float32(not ended))
            if ended:
                break
            action = drawn(single.action_space, rng)
            observation, reward, terminated, truncated, info = single.step(action)
            observations, rewards, terminations, truncations, infos = many.step({"me": action})
            same((rewards, terminations), ({"me": reward}, {"me": terminated}))
            same(truncations, {"me": truncated})
            ended = terminated or truncated
        assert many.agents == []


def test_a_passive_order_of_one_is_hit_by_the_market_order_of_another() -> None:
    agents = {
        "buyer": Execution(**SHORT, actions="continuous", quantity=50),
        "seller": Execution(**SHORT, side="sell", quantity=50, child=20),
    }
    env = MultiAgentEnv(agents, background=QUIET, start="09:31")
    env.reset(seed=0)
    *_, infos = env.step({"buyer": HALF_WAY, "seller": HOLD})
    assert infos["buyer"]["filled_lots"] == infos["seller"]["filled_lots"] == 0
    *_, infos = env.step({"buyer": STAY, "seller": AT_ONCE})
    for name in agents:
        assert infos[name]["filled_lots"] == 20
    # the maker's rebate is 0.2 basis points, the taker's fee is 0.3
    assert infos["buyer"]["average_price_ticks"] == pytest.approx(10_000 * (1 - 0.2e-4))
    assert infos["seller"]["average_price_ticks"] == pytest.approx(10_000 * (1 - 0.3e-4))
    for _ in range(2):
        _, _, terminated, *_ = env.step({"buyer": STAY, "seller": AT_ONCE})
    assert terminated == {"buyer": True, "seller": True} and env.agents == []
    accounts = env.simulation._market.view("accounts")
    assert accounts["position_lots"].tolist()[-2:] == [50, -50]
    assert accounts["position_lots"].sum() == accounts["cash"].sum() == 0


def test_agents_act_in_the_order_of_their_names() -> None:
    """Both want the same 20 lots: the one who is named first gets them."""
    for names in (("first", "second"), ("second", "first")):
        takers = {name: Execution(**SHORT, quantity=20, child=20) for name in names}
        giver = Execution(**SHORT, side="sell", actions="continuous", quantity=20)
        env = MultiAgentEnv({**takers, "giver": giver}, background=QUIET, start="09:31")
        env.reset(seed=0)
        env.step({**dict.fromkeys(takers, HOLD), "giver": HALF_WAY})
        *_, infos = env.step({**dict.fromkeys(takers, AT_ONCE), "giver": STAY})
        paid = [round(infos[name]["average_price_ticks"]) for name in names]
        assert paid == [10_000, 10_100]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.permutations(list(TRIO)))
def test_nothing_is_made_or_lost(seed: int, order: list[str]) -> None:
    env = MultiAgentEnv(
        {name: TRIO[name] for name in order}, background=QUIET, start="09:31", interval="10s"
    )
    env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    known: dict[str, Any] = {}
    while env.agents:
        *_, infos = env.step(draw(env, rng))
        known.update(infos)
    accounts = env.simulation._market.view("accounts")
    assert accounts["position_lots"].sum() == accounts["cash"].sum() == 0
    held = dict(zip(order, accounts["position_lots"].tolist()[-3:], strict=True))
    assert held["maker"] == known["maker"]["inventory_lots"]
    assert held["buyer"] >= known["buyer"]["filled_lots"] >= 0  # it may hear of the last one later
    assert -held["seller"] >= known["seller"]["filled_lots"] >= 0


def test_two_in_a_market_that_the_world_agent_writes() -> None:
    place = {key: WORLD[key] for key in ("background", "start", "interval")}
    agents = {"buyer": {"task": "execution", "window": "5s"}, "maker": {"task": "market_making",
              "window": "15s"}}  # fmt: skip
    env, other = (MultiAgentEnv(agents, **place) for _ in range(2))
    env.reset(seed=0)
    other.load_state(env.save_state())
    same(rest(other), rest(env))


# -- leaving ---------------------------------------------------------------------------------


def test_they_leave_when_their_own_time_is_over() -> None:
    env, rng = make(), np.random.default_rng(2)
    env.reset(seed=4)
    left = {}
    for step in range(1, 7):
        *_, terminated, _, _ = env.step(draw(env, rng))
        left.update({name: step for name, over in terminated.items() if over})
    assert left["buyer"] <= 3 and left["seller"] <= 5 and left["maker"] == 6
    assert env.simulation.now_ns == parse_time("09:33")


def test_who_has_left_has_no_orders_and_gets_no_fills() -> None:
    """The buyer's quote would be hit after its window; it is gone by then."""
    agents = {
        "buyer": Execution(interval="10s", window="20s", actions="continuous", quantity=50),
        "seller": Execution(**SHORT, side="sell", quantity=50, child=20),
    }
    env = MultiAgentEnv(agents, background=QUIET, start="09:31", tape=True)
    env.reset(seed=0)
    env.step({"buyer": HALF_WAY, "seller": HOLD})
    *_, terminated, truncated, _ = env.step({"buyer": STAY, "seller": HOLD})
    assert terminated == {"buyer": True, "seller": False} and not any(truncated.values())
    assert env.agents == ["seller"]
    assert not env.state()[: len(Execution.observed)].any() and env.state().any()
    *_, infos = env.step({"seller": AT_ONCE})
    assert list(infos) == ["seller"]
    assert round(infos["seller"]["average_price_ticks"]) == 9_900
    simulation = env.simulation
    buyer = simulation.agent_names.index("learner-buyer")
    assert simulation._market.view("accounts")["position_lots"][buyer] == 0
    orders = simulation.tape.orders
    kinds = orders["kind"][orders["agent_id"] == buyer].tolist()
    assert len(kinds) == 2  # one order, and its cancel


# -- states ----------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 2, 4, 5])
def test_a_state_goes_on_identically(steps: int, tmp_path: Path) -> None:
    env, rng = make(), np.random.default_rng(7)
    env.reset(seed=1)
    for _ in range(steps):
        env.step(draw(env, rng))
    agents, seen = list(env.agents), env.state()
    state = env.save_state(tmp_path / "state.npz")
    first = rest(env)
    for saved in (state, tmp_path / "state.npz"):
        other = make()
        observations, _ = other.reset(seed=9, options={"state": saved})
        assert other.agents == agents == list(observations)
        same(other.state(), seen)
        same(rest(other), first)
        env.load_state(saved)
        same(rest(env), first)


def test_who_has_left_stays_away_whatever_its_task_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """An investor's ruin is over when the mid comes back; it does not come back itself."""
    env, rng = make(), np.random.default_rng(7)
    env.reset(seed=1)
    while "buyer" in env.agents:
        env.step(draw(env, rng))
    others = list(env.agents)
    state = env.save_state()
    monkeypatch.setattr(Seat, "ended", False)
    env.load_state(state)
    assert env.agents == others
    env.reset()
    assert env.agents == list(TRIO)


def test_a_wrong_state_is_refused(tmp_path: Path) -> None:
    env = make()
    env.reset(seed=0)
    state = env.save_state(tmp_path / "state.npz")
    single = ExecutionEnv(**MARKET)
    single.reset(seed=0)
    fewer = {name: TRIO[name] for name in ("buyer", "maker")}
    swapped = {name: TRIO[name] for name in ("maker", "buyer", "seller")}
    changed = {**TRIO, "seller": {**TRIO["seller"], "quantity": 3}}
    for saved in (state, tmp_path / "state.npz"):
        for agents in (fewer, changed):
            with pytest.raises(StateError, match="same task|must be given again"):
                make(agents).load_state(saved)
        with pytest.raises(StateError, match="same background"):
            make(overrides={"agents.noise.count": 5}).load_state(saved)
    with pytest.raises(StateError, match="same task"):
        make(swapped).load_state(state)
    with pytest.raises(StateError, match="same task"):
        env.load_state(single.save_state())
    with pytest.raises(StateError, match="same task"):
        single.load_state(state)
    with pytest.raises(DataError, match="no such file"):
        env.load_state(tmp_path / "nothing")
    rest(env)  # its own episode goes on


# -- wrong calls -----------------------------------------------------------------------------


def test_wrong_actions() -> None:
    env = make()
    env.reset(seed=0)
    right = draw(env, np.random.default_rng(0))
    before = env.simulation.digest()
    quote = right["maker"]
    for actions, message in [
        ({"buyer": 0, "maker": quote}, "actions must hold one of each agent, had none of 'seller'"),
        ({}, "had none of 'buyer'"),
        ({**right, "bayer": 0}, r"there is no agent 'bayer' \(did you mean 'buyer'\?\)"),
        ({**right, 3: 0}, "there is no agent 3"),
        ({**right, "buyer": 3}, r"actions\['buyer'\]: action must be from 0 to 2, was 3"),
        ({**right, "buyer": None}, r"actions\['buyer'\]: action must be a whole number"),
        ({**right, "maker": quote * np.nan}, r"actions\['maker'\]: action must be from -1 to 1"),
        ({**right, "maker": quote[:2]}, r"actions\['maker'\]: action must have shape \(4,\)"),
        (None, "actions must be a mapping of agents to actions, was None"),
        ([0, 0, 0], "actions must be a mapping"),
    ]:
        with pytest.raises(ActionError, match=message):
            env.step(actions)  # type: ignore[arg-type]
    assert env.simulation.digest() == before
    env.step(right)
    while "buyer" in env.agents:
        env.step(draw(env, np.random.default_rng(1)))
    with pytest.raises(ActionError, match="the episode of 'buyer' is over; it takes none"):
        env.step({**draw(env, np.random.default_rng(1)), "buyer": 0})


@pytest.mark.parametrize(
    ("agents", "message"),
    [
        ({}, "agents must name at least one agent"),
        ([1], "agents must be a mapping"),
        ({"": TRIO["buyer"]}, "agents must be text"),
        ({"a": 3}, "agents.a must be a mapping"),
        ({"a": {"side": "buy"}}, "agents.a: needs a task"),
        ({"a": {"task": "exection"}}, "agents.a: task: there is no 'exection'.*'execution'"),
        ({"a": {"task": "portfolio"}}, "agents.a: task: there is no 'portfolio'"),
        ({"a": {"task": None}}, "agents.a: task: there is no None"),
        ({"a": {"task": "execution", "sid": 1}}, r"agents.a: unknown key 'sid'.*'side'"),
        ({"a": {"task": "execution", "side": "up"}}, "agents.a: side must be one of buy, sell"),
        ({"a": {"task": "execution", "symbol": "X"}}, "symbol must be one of SIM, was 'X'"),
        (
            {"a": {"task": "execution"}, "b": {"task": "execution", "interval": "5s"}},
            "agents.b: interval must be that of 'a', '10s', was '5s'",
        ),
    ],
)
def test_wrong_agents(agents: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(agents)


def test_wrong_parameters_and_options() -> None:
    with pytest.raises(ConfigError, match="the window ends at"):
        make(start="09:44:30")  # the longest window counts
    with pytest.raises(ConfigError, match="render_mode must be one of"):
        make(render_mode="human")
    with pytest.raises(ConfigError, match="no configuration|rmsc05"):
        make(background="rmsc05", overrides=None)
    ready = Background("rmsc04")
    with pytest.raises(ConfigError, match="overrides, data and tape belong to it"):
        MultiAgentEnv(background=ready, tape=True)
    env = make()
    with pytest.raises(ConfigError, match="startt.*did you mean 'start'"):
        env.reset(options={"startt": "09:33"})
    with pytest.raises(ConfigError, match="start must be in the session"):
        env.reset(options={"start": "08:00"})
    assert env.agents == []
    _, infos = env.reset(options={"start": "09:33", "for a wrapper": 1})
    assert infos["buyer"]["time_ns"] == parse_time("09:33")


def test_all_tasks_can_be_named() -> None:
    places = {f"marketsim/{place.rpartition(':')[2]}-v0" for place in TASKS.values()}
    assert places == {case.environment for case in CASES if case.in_market}


def test_it_is_imported_when_it_is_asked_for() -> None:
    code = "import sys, marketsim.envs; print({'pettingzoo', 'numba'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    with pytest.raises(AttributeError, match="no attribute 'MultiEnv'"):
        _ = marketsim.envs.MultiEnv


def test_without_pettingzoo_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['pettingzoo'] = None\n"
        "from marketsim.envs import parallel_env\n"
        "try:\n    parallel_env()\nexcept ValueError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "MultiAgentEnv: pettingzoo is not installed; pip install 'marketsim-lob[marl]'"
    )
