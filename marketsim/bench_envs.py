"""Benchmark of the environments: steps a second, and how much of the time is not the market's."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from marketsim.bench_timing import Row, Sizes, no_garbage
from marketsim.clock import NS_PER_SECOND
from marketsim.envs.execution import ExecutionEnv, ExecutionVectorEnv

ENVS = 64
#: A day of RMSC04 in steps of a second; the order is too large to be filled in it.
_PARAMETERS: dict[str, Any] = {
    "background": "rmsc04", "interval": "1s", "quantity": 10_000_000, "child": 10,
}  # fmt: skip
#: ABIDES-Gym's execution environment on a machine of two shared cores [steps/s].
ABIDES_STEPS_S = 26.9
_CHUNKS = 12


class _Null(gymnasium.Env[Any, Any]):
    """Does nothing at all: what is left is gymnasium's own time."""

    observation_space = spaces.Box(-1.0, 1.0, (11,), np.float32)
    action_space = spaces.Discrete(3)

    def __init__(self) -> None:
        self._seen = np.zeros(11, np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self._seen.copy(), {}

    def step(self, action: Any) -> Any:
        return self._seen.copy(), 0.0, False, False, {}


class _TimedVector(ExecutionVectorEnv):
    """Notes the time that it spends in compiled code."""

    compiled_s = 0.0

    def _run(self) -> None:
        started = time.process_time()
        super()._run()
        self.compiled_s += time.process_time() - started


def _made(env: Any) -> Any:
    """As ``gymnasium.make`` returns it, with its checks."""
    return gymnasium.make(EnvSpec("Bench-v0", entry_point=lambda **_: env))


def env(sizes: Sizes) -> Iterator[Row]:
    """Execution on RMSC04, a simulated second a step, random actions: one, and 64 in one call."""
    parameters = {**_PARAMETERS, "window": sizes.env_steps * NS_PER_SECOND}

    def single() -> ExecutionEnv:
        return ExecutionEnv(**parameters)

    timed = _TimedVector(ENVS, **parameters)
    envs: dict[str, Any] = {
        "null": _made(_Null()),
        "made": _made(single()),
        "plain": single(),
        "native": timed,
        "sync": gymnasium.vector.SyncVectorEnv([single] * ENVS),
    }
    seconds = dict.fromkeys(envs, float("inf"))
    outside = 1.0
    for seed in range(min(sizes.repeats, 2)):
        compiled_s = timed.compiled_s
        taken = _day(envs, sizes.env_steps, seed)
        if taken["native"] < seconds["native"]:
            outside = 1 - (timed.compiled_s - compiled_s) / taken["native"]
        seconds = {name: min(seconds[name], taken[name]) for name in envs}
    speed = {
        name: sizes.env_steps * (ENVS if name in ("native", "sync") else 1) / seconds[name]
        for name in envs
    }
    null, abides = "gymnasium's null environment", "ABIDES-Gym's 26.9 steps/s"
    yield Row("env", null, speed["null"], "steps/s")
    yield Row("env", "one, gymnasium.make", speed["made"], "steps/s", null,
              speed["made"] / speed["null"])  # fmt: skip
    yield Row("env", "one, without wrappers", speed["plain"], "steps/s", abides,
              speed["plain"] / ABIDES_STEPS_S)  # fmt: skip
    sync = f"{ENVS} through SyncVectorEnv"
    yield Row("env", sync, speed["sync"], "steps/s")
    yield Row("env", f"{ENVS} native", speed["native"], "steps/s", sync,
              speed["native"] / speed["sync"])  # fmt: skip
    yield Row("env", f"{ENVS} native: against ABIDES", speed["native"], "steps/s", abides,
              speed["native"] / ABIDES_STEPS_S)  # fmt: skip
    yield Row("env", f"{ENVS} native: outside compiled code", 100 * outside, "%")


def _day(envs: dict[str, Any], steps: int, seed: int) -> dict[str, float]:
    """CPU seconds of a whole episode of each, in turns: a market is not equally busy all day."""
    rng = np.random.default_rng(seed)
    each = {}
    for name, made in envs.items():
        made.reset(seed=seed)
        shape = (steps, ENVS) if name in ("native", "sync") else (steps,)
        each[name] = _stepper(made.step, rng.integers(0, 3, shape))
    taken = dict.fromkeys(envs, 0.0)
    for chunk in range(_CHUNKS):
        part = slice(steps * chunk // _CHUNKS, steps * (chunk + 1) // _CHUNKS)
        for name, step in each.items():
            with no_garbage():
                started = time.process_time()
                step(part)
                taken[name] += time.process_time() - started
    return taken


def _stepper(step: Callable[[Any], Any], actions: Any) -> Callable[[slice], None]:
    rows = list(actions) if actions.ndim > 1 else actions.tolist()

    def run(part: slice) -> None:
        for action in rows[part]:
            step(action)

    return run
