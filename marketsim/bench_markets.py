"""Benchmarks of simulated markets: whole days of the RMSC populations, and many at a time."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from marketsim.agent import Agent
from marketsim.batch import Batch
from marketsim.bench_engine import Listener, Looker, simulating
from marketsim.bench_timing import Row, Sizes, no_garbage
from marketsim.clock import NS_PER_SECOND
from marketsim.configs import load_config
from marketsim.simulation import Simulation

_NO_TAPE: dict[str, Any] = {"tape.enabled": False}
#: How many times the agents of RMSC04 the large market has.
CROWD = 40
MARKETS = 64
_ROUNDS = 20  # of a batch's steps; the fastest counts


def _market(
    config: str, overrides: Mapping[str, Any], *agents: Callable[[], Agent]
) -> Callable[[], Simulation]:
    loaded = load_config(config, overrides)
    return lambda: Simulation(loaded, agents=[make() for make in agents])


def _crowd(times: int) -> dict[str, Any]:
    """Overrides that multiply every population of RMSC04."""
    return {
        f"agents.{agent.name}.count": times * agent.count for agent in load_config("rmsc04").agents
    }


def day(sizes: Sizes) -> Iterator[Row]:
    """A day of RMSC04 and of RMSC03: alone, taped, with Python agents, with many more agents."""
    each_second = partial(Looker, NS_PER_SECOND)
    builds = {
        "RMSC04 without a tape": _market("rmsc04", _NO_TAPE),
        "RMSC04 with the tape in memory": _market("rmsc04", {}),
        "RMSC04, a Python agent each second": _market("rmsc04", _NO_TAPE, each_second),
        "RMSC04, a Python agent on each change of the touch": _market("rmsc04", _NO_TAPE, Listener),
        "RMSC03 without a tape": _market("rmsc03", _NO_TAPE),
        f"RMSC04 with {CROWD} times the agents": _market("rmsc04", _NO_TAPE | _crowd(CROWD)),
    }
    _market("rmsc04", {}, each_second, Listener)().run("09:31")  # compile
    times, simulations = simulating(sizes.repeats, sizes.day_until, *builds.values())
    first_s, first_event_s = times[0], times[0] / simulations[0].events
    for metric, seconds, simulation in zip(builds, times, simulations, strict=True):
        alone = metric == "RMSC04 without a tape"
        ratio = None if alone else seconds / first_s
        yield Row("day", metric, 1e3 * seconds, "ms", None if alone else "no tape", ratio)
        if not simulation._python:
            each_s = seconds / simulation.events
            ratio = None if alone else each_s / first_event_s
            yield Row("day", f"{metric}: an event", 1e9 * each_s, "ns",
                      None if alone else "no tape", ratio)  # fmt: skip
    yield Row("day", "RMSC04: events of the kernel", simulations[0].events, "events")


#: Rules of the exchange, one at a time, as overrides of a configuration.
_RULES: dict[str, dict[str, Any]] = {
    "no rule": {},
    "tick table": {
        "symbols.0.tick_table": [
            {"from_ticks": 0, "increment_ticks": 1},
            {"from_ticks": 100_000, "increment_ticks": 2},
        ]
    },
    "opening and closing auction": {
        "session.opening_auction": "09:15",
        "session.closing_auction": "15:55",
    },
    "price limits around a fixed price": {
        "exchange.price_limits": {"percent": 5, "reference": 100_000}
    },
    "price limits around a moving mean": {
        "exchange.price_limits": {"percent": 5, "reference": "mean", "window": "5min"}
    },
    "circuit breaker": {
        "exchange.circuit_breaker": {
            "levels": [{"move_percent": 7, "halt": "15min"}],
            "reference": "open",
        }
    },
    "short-sale rule (uptick)": {
        "exchange.short_sale": {"rule": "uptick", "trigger_percent": 5, "reference": 100_000}
    },
    "short sales forbidden": {
        "exchange.short_sale": {"rule": "forbidden"},
        **{
            f"agents.{name}.inventory_lots": 10_000_000
            for name in ("noise", "value", "maker", "momentum")
        },
    },
}


def rules(sizes: Sizes) -> Iterator[Row]:
    """What each rule of the exchange costs in a day of RMSC04, an event."""
    builds = [_market("rmsc04", {**_NO_TAPE, **overrides}) for overrides in _RULES.values()]
    builds[0]().run("09:31")  # compile
    times, simulations = simulating(sizes.repeats, sizes.day_until, *builds)
    each = [s / simulation.events for s, simulation in zip(times, simulations, strict=True)]
    for metric, seconds in zip(_RULES, each, strict=True):
        alone = metric == "no rule"
        ratio = None if alone else seconds / each[0]
        yield Row("rules", metric, 1e9 * seconds, "ns/event", None if alone else "no rule", ratio)


def batch(sizes: Sizes) -> Iterator[Row]:
    """Many RMSC04 markets, one simulated second a step, on one thread and on two."""
    loaded = load_config("rmsc04", _NO_TAPE)
    speeds = {}
    for n, threads in ((1, 1), (MARKETS, 1), (MARKETS, 2)):
        simulations = [Simulation(loaded, seed) for seed in range(n)]
        with Batch(simulations, threads) as markets:
            clock = time.process_time if threads == 1 else time.perf_counter
            speeds[n, threads] = max(_steps(markets, sizes.batch_steps, clock))
        if n == MARKETS and threads == 1:
            largest = max(len(simulation._market.block) for simulation in simulations)
            yield Row("batch", f"{n} markets: largest", largest / 1e6, "MB")
    one = speeds[1, 1]
    yield Row("batch", "one market", one, "steps/s")
    for (n, threads), speed in list(speeds.items())[1:]:
        metric = f"{n} markets, {threads} threads (wall time)" if threads > 1 else f"{n} markets"
        yield Row("batch", metric, speed, "steps/s", "one market", speed / one)


def _steps(markets: Batch, steps: int, clock: Callable[[], float]) -> Iterator[float]:
    """Steps a second of all markets together, round by round, after ten minutes of warm-up."""
    now_ns = markets.simulations[0].open_ns + 600 * NS_PER_SECOND
    markets.step(now_ns)
    for _ in range(_ROUNDS):
        with no_garbage():
            started = clock()
            for _ in range(steps):
                now_ns += NS_PER_SECOND
                markets.step(now_ns)
            seconds = clock() - started
        yield steps * len(markets) / seconds
