"""Markets of a row: seeds side by side until the window is over or time has run out."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from marketsim.agent import Agent
from marketsim.agents.world import WorldAgent
from marketsim.batch import Batch
from marketsim.clock import NS_PER_SECOND
from marketsim.comparison.plan import Plan
from marketsim.report import touch
from marketsim.result import Run, make_run
from marketsim.simulation import Simulation
from marketsim.tape import Tape

#: Called with the share of the work that is done.
Share = Callable[[float], None]
#: Makes the further agents of a market.
Guests = Callable[[], Mapping[str, Agent]]


@dataclass(frozen=True)
class Market:
    """A market that was run, and how.

    Attributes
    ----------
    end_ns : until when it got.
    timing : ``wall_s``, ``model_s``, ``orders``, ``simulated_s`` of what was timed, ``markets``
        that ran together. Of markets in a batch the first slice is not timed, in which code is
        compiled; seconds are each market's share.
    """

    run: Run
    simulation: Simulation
    end_ns: int
    timing: dict[str, float]


def world_markets(
    generator: Any,
    real: Tape,
    plan: Plan,
    seeds: Sequence[int],
    *,
    until_ns: int,
    guests: Guests = dict,
    share: Share,
) -> list[Market]:
    """Recorded flow until the window begins, then the generator's; all seeds in one batch."""
    start_ns = plan.test.start_ns - plan.warm_up_ns
    part = real.between(start_ns, plan.test.end_ns)
    warm_up_ns = plan.test.start_ns - int(part.orders["time_ns"][0])
    config = {"session": {"open": start_ns, "close": plan.test.end_ns}, "agents": {}}
    simulations = [
        Simulation(
            config, seed, data=part,
            agents={"world": WorldAgent(generator, part, warm_up=warm_up_ns), **guests()},
        )
        for seed in seeds
    ]  # fmt: skip
    with Batch(simulations) as batch:
        batch.step(plan.test.start_ns - 1)
        timer = _Timer(simulations)
        now_ns = _advance(batch, plan, until_ns, timer, share)
    return [
        Market(make_run(market), market, now_ns, timer.of(number, now_ns))
        for number, market in enumerate(simulations)
    ]


class _Timer:
    """Time and orders of markets of a batch since it was last started."""

    def __init__(self, simulations: Sequence[Simulation]) -> None:
        self.simulations = simulations
        self.start(0)

    def start(self, now_ns: int) -> None:
        """Count from now on."""
        self.now_ns, self.started_s = now_ns, time.perf_counter()
        self.before = [self._counts(number) for number in range(len(self.simulations))]

    def _counts(self, number: int) -> tuple[int, float]:
        agent: Any = self.simulations[number].agent("world")
        return sum(agent.orders), agent.model_s

    def of(self, number: int, now_ns: int) -> dict[str, float]:
        """What a market took."""
        together = len(self.simulations)
        orders, model_s = self._counts(number)
        return {
            "wall_s": (time.perf_counter() - self.started_s) / together,
            "model_s": model_s - self.before[number][1],
            "orders": orders - self.before[number][0],
            "simulated_s": (now_ns - self.now_ns) / NS_PER_SECOND,
            "markets": together,
        }


def _advance(batch: Batch, plan: Plan, until_ns: int, timer: _Timer, share: Share) -> int:
    """Step to the end in slices of about a second of work; stops early when time has run out."""
    started = time.perf_counter()
    now_ns, slice_ns = plan.test.start_ns, NS_PER_SECOND
    timer.start(now_ns)
    while now_ns < until_ns:
        before = time.perf_counter()
        first = now_ns == plan.test.start_ns
        if not first and before - started > plan.max_row_s:
            break
        now_ns = min(now_ns + slice_ns, until_ns)
        batch.step(now_ns)
        spent_s = time.perf_counter() - before
        if first and now_ns < until_ns and before + spent_s - started <= plan.max_row_s:
            timer.start(now_ns)
        else:
            slice_ns = slice_ns * 2 if spent_s < 0.5 else max(slice_ns // 2, NS_PER_SECOND // 10)
        share((now_ns - plan.test.start_ns) / (until_ns - plan.test.start_ns))
    return now_ns


def agent_market(
    config: str, overrides: Mapping[str, Any], seed: int, until_ns: int, guests: Guests = dict
) -> Market:
    """A day of a market of agents."""
    simulation = Simulation(config, seed, overrides=overrides, agents=guests())
    open_ns = simulation.open_ns
    simulation.run(open_ns)  # what is compiled is compiled now
    return _timed(simulation, open_ns, until_ns)


def replay_market(real: Tape, plan: Plan, until_ns: int, guests: Guests) -> Market:
    """Recorded flow with further agents."""
    start_ns = plan.test.start_ns - plan.warm_up_ns
    config = {
        "data": "given",
        "session": {"open": start_ns, "close": plan.test.end_ns},
        "agents": {"history": {"type": "replay"}},
    }
    part = real.between(start_ns, plan.test.end_ns)
    return _timed(Simulation(config, data=part, agents=guests()), start_ns, until_ns)


def _timed(simulation: Simulation, start_ns: int, until_ns: int) -> Market:
    started = time.perf_counter()
    run = simulation.run(until_ns)
    timing = {
        "wall_s": time.perf_counter() - started,
        "model_s": 0.0,
        "orders": len(run.tape),
        "simulated_s": (until_ns - start_ns) / NS_PER_SECOND,
        "markets": 1,
    }
    return Market(run, simulation, until_ns, timing)


def like_the_stock(config: str, real: Tape, start_ns: int) -> dict[str, Any]:
    """Overrides that put a market of agents at the price of the recorded one."""
    quotes = touch(real)
    mid = float(quotes.at(quotes.mid_ticks, np.array([start_ns]))[0])
    r_bar = round(mid)
    per = 10 if config == "rmsc_trades" else 100  # as in rmsc03.yaml, rmsc04.yaml
    return {"oracle.r_bar": r_bar, "agents.value.observation_variance": r_bar // per}


def facts_of(market: Market, window: Tape, real: Tape) -> dict[str, Any]:
    """Speed, rates and stability of a window; JSON values."""
    quotes, theirs = touch(window), touch(real)
    mid = quotes.mid_ticks
    known = mid[np.isfinite(mid)]
    held = quotes.duration_ns
    one_sided = held[~np.isfinite(mid)].sum() / max(held.sum(), 1.0)
    facts: dict[str, Any] = {
        "orders": len(window),
        **{f"timed_{name}": value for name, value in market.timing.items()},
        "empty_share": float(one_sided),
        "spread_ticks": _mean(quotes.spread_ticks, held),
        "real_spread_ticks": _mean(theirs.spread_ticks, theirs.duration_ns),
        "largest_spread_ticks": float(np.nanmax(quotes.spread_ticks)) if len(known) else None,
        "mid_low_percent": float(100 * (known.min() / known[0] - 1)) if len(known) else None,
        "mid_high_percent": float(100 * (known.max() / known[0] - 1)) if len(known) else None,
    }
    world = market.run.summary["agents"].get("world")
    if world is not None:
        written = sum(world["orders"].values())
        names = ("rejects", "fallbacks", "cancels_moved", "redrawn", "refused", "reject_rate")
        facts |= {name: world[name] for name in names}
        facts["written"] = written
        facts["fallback_rate"] = world["fallbacks"] / written if written else 0.0
    return facts


def _mean(values: Any, weight: Any) -> float | None:
    known = np.isfinite(values) & (weight > 0)
    return float(np.average(values[known], weights=weight[known])) if known.any() else None
