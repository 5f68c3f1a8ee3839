"""Nothing that a learner sees, is told or is paid depends on what it cannot know yet."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from busy_market import BUSY, OPEN, SECOND
from env_cases import drawn

import marketsim  # noqa: F401 - registers the environments

START, STEPS = OPEN + 40 * SECOND, 14
#: Looks are each second; somebody strikes shortly before the tenth of them.
LOOK = 10
EXECUTIONS: list[dict[str, Any]] = [
    {"benchmark": "arrival", "actions": "continuous"},
    {"benchmark": "twap", "side": "sell"},
    {"benchmark": "vwap"},
    {"benchmark": "vwap", "actions": "continuous"},
]
CASES: list[tuple[str, dict[str, Any]]] = [
    *(("Execution", {"quantity": 20_000, "child": 500, **parameters}) for parameters in EXECUTIONS),
    ("MarketMaking", {}),
    ("MarketMaking", {"actions": "continuous"}),
    ("Investor", {}),
]


def looks(name: str, parameters: dict[str, Any], latency_ns: int, hitter: dict[str, Any]) -> Any:
    """What there is to see at each look, with somebody in the market."""
    agents = {**BUSY["agents"], "hitter": {"type": "odd_agents:Hitter", **hitter}}
    env = gymnasium.make(
        f"marketsim/{name}-v0", background={**BUSY, "agents": agents}, start=START, interval="1s",
        window=f"{STEPS}s", latency_ns=latency_ns, **parameters,
    )  # fmt: skip
    rng = np.random.default_rng(3)
    observation, info = env.reset(seed=1)
    seen = [(observation.tolist(), 0.0, info)]
    for _ in range(STEPS):
        observation, reward, _, _, info = env.step(drawn(env.action_space, rng))
        seen.append((observation.tolist(), reward, info))
    return seen


@pytest.mark.parametrize("resting", [False, True], ids=["trades", "quotes"])
@pytest.mark.parametrize("latency_ns", [SECOND // 10, 3 * SECOND])
@pytest.mark.parametrize(("name", "parameters"), CASES, ids=str)
def test_what_happens_is_not_known_before_its_time(
    name: str, parameters: dict[str, Any], latency_ns: int, resting: bool
) -> None:
    at_ns = START + LOOK * SECOND - latency_ns // 2
    hitter = {"at_ns": at_ns, "resting": resting}
    without = looks(name, parameters, latency_ns, {**hitter, "size_lots": 0})
    with_it = looks(name, parameters, latency_ns, {**hitter, "size_lots": 3_000})
    assert with_it[: LOOK + 1] == without[: LOOK + 1]
    assert with_it != without  # in time it shows
