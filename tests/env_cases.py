"""Short forms of all registered environments, for the tests that every one of them must pass.

As a script it prints what becomes of each case in a process of its own, as JSON::

    python env_cases.py FOLDER    # FOLDER: states to go on from, CASE.npz
"""

import hashlib
import importlib
import json
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import marketsim  # noqa: F401 - registers the environments
from marketsim.envs.market_env import MarketEnv
from marketsim.envs.registration import ENVIRONMENTS
from marketsim.tape import Tape

#: An episode of six steps in a small RMSC04 market, two minutes after its open.
MARKET = {
    "start": "09:32",
    "interval": "10s",
    "window": "1min",
    "overrides": {"agents.noise.count": 300, "agents.value.count": 40, "session.close": "09:45"},
}
#: A market that the shipped model writes, from the end of its quarter of an hour on.
WORLD = {"background": "world", "start": "09:45:05", "interval": "5s", "window": "15s"}
#: Environments without a market.
OTHERS: dict[str, dict[str, Any]] = {"marketsim/Portfolio-v0": {"steps": 6}}
#: Parameters that change what the spaces or the rewards are, where a task has them.
VARIANTS = ({"actions": "continuous"}, {"side": "sell"})


@dataclass(frozen=True)
class Case:
    """A registered environment and parameters that keep its episodes short."""

    environment: str
    label: str
    parameters: dict[str, Any] = field(hash=False)

    @property
    def kind(self) -> Any:
        """Class of the single environment."""
        module, _, name = ENVIRONMENTS[self.environment].partition(":")
        return getattr(importlib.import_module(module), f"{name}Env")

    @property
    def in_market(self) -> bool:
        """Whether it trades in a simulated market."""
        return issubclass(self.kind, MarketEnv)

    def make(self, **more: Any) -> Any:
        """One environment, as its users make it."""
        return gymnasium.make(f"marketsim:{self.environment}", **{**self.parameters, **more})

    def bare(self, **more: Any) -> Any:
        """One environment without gymnasium's wrappers."""
        return self.make(**more).unwrapped

    def make_vec(self, num_envs: int, **more: Any) -> Any:
        """The native vector environment."""
        return gymnasium.make_vec(
            f"marketsim:{self.environment}", num_envs=num_envs, **{**self.parameters, **more}
        )


def _cases(environment: str) -> list[Case]:
    label = environment.removeprefix("marketsim/")
    plain = Case(environment, label, OTHERS.get(environment, MARKET))
    cases = [plain]
    if plain.in_market:
        known = {parameter.name for parameter in fields(plain.kind.task_type)}
        for variant in VARIANTS:
            if set(variant) <= known:
                (value,) = variant.values()
                cases.append(Case(environment, f"{label}-{value}", {**MARKET, **variant}))
    return cases


CASES = [case for environment in ENVIRONMENTS for case in _cases(environment)]
IN_MARKET = [case for case in CASES if case.in_market]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
every_market = pytest.mark.parametrize("case", IN_MARKET, ids=lambda case: case.label)
#: One case of each environment, for what its parameters do not change.
FIRST = {case.environment: case for case in reversed(IN_MARKET)}
each_market = pytest.mark.parametrize("case", FIRST.values(), ids=lambda case: case.label)


def spend(env: Any, rng: np.random.Generator, seen: Any = None) -> "hashlib._Hash":
    """Act at random to the episode's end; returns a digest of all that was seen."""
    digest = hashlib.sha256(b"" if seen is None else seen.tobytes())
    ended = False
    while not ended:
        observation, reward, terminated, truncated, info = env.step(drawn(env.action_space, rng))
        digest.update(observation.tobytes())
        digest.update(repr((reward, terminated, truncated, info)).encode())
        ended = terminated or truncated
    return digest


def drawn(space: Any, rng: np.random.Generator) -> Any:
    """A random action of a space, or of a batch of them."""
    if isinstance(space, gymnasium.spaces.Box):
        return rng.uniform(-1, 1, space.shape).astype(space.dtype)
    if isinstance(space, gymnasium.spaces.MultiDiscrete):
        return rng.integers(space.nvec)
    return rng.integers(space.n)


def episode(case: Case, seed: int | None, env: Any = None) -> str:
    """Digest of an episode of random actions."""
    env = case.bare() if env is None else env
    return spend(env, np.random.default_rng(0), env.reset(seed=seed)[0]).hexdigest()


def half_way(case: Case) -> Any:
    """An environment two steps into an episode."""
    env, rng = case.bare(), np.random.default_rng(2)
    env.reset(seed=11)
    for _ in range(2):
        env.step(drawn(env.action_space, rng))
    return env


def rest(env: Any) -> str:
    """What follows, under the same actions."""
    return spend(env, np.random.default_rng(5)).hexdigest()


def rest_of_state(env: Any) -> str:
    """What follows from here, in a copy."""
    twin = type(env)(**env.spec.kwargs)
    twin.load_state(env.save_state())
    return rest(twin)


def replaying(case: Case, tape: Tape, **more: Any) -> Any:
    """An environment on recorded flow."""
    background = {"data": "given", "agents": {"history": {"type": "replay"}}}
    return case.bare(background=background, overrides=None, data=tape, **more)


def same(ours: Any, theirs: Any) -> None:
    """Equal values, types, dtypes, shapes and keys, all the way down."""
    assert type(ours) is type(theirs)
    if isinstance(ours, dict):
        assert set(ours) == set(theirs)
        for key in ours:
            same(ours[key], theirs[key])
    elif isinstance(ours, tuple | list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            same(one, other)
    elif isinstance(ours, np.ndarray):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        if ours.dtype == object:
            same(list(ours), list(theirs))
        else:
            np.testing.assert_array_equal(ours, theirs, strict=True)
    else:
        assert ours == theirs


def main(folder: Path) -> None:
    """Print digests of an episode of each case, and of what follows each saved state."""
    said: dict[str, dict[str, str]] = {"episode": {}, "state": {}}
    for case in CASES:
        said["episode"][case.label] = episode(case, 7)
        state = folder / f"{case.label}.npz"
        if state.exists():
            env = case.bare()
            env.reset(seed=1, options={"state": state})
            said["state"][case.label] = spend(env, np.random.default_rng(5)).hexdigest()
    print(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
