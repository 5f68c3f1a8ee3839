"""The arms of a paired experiment: one seed's market with and without an agent, and what differs.

The agent is the last of all, and idle streams change nobody's draws: until its first order both
markets are the same to the bit.
"""

import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketsim.agent import CompiledAgent
from marketsim.batch import Batch
from marketsim.configs import SimulationConfig, load_config
from marketsim.errors import ConfigError, DataError
from marketsim.report import Floats, Ints, Touch, touch, trade_price_ticks
from marketsim.result import Run
from marketsim.run_store import fingerprint
from marketsim.simulation import Simulation
from marketsim.tape import Tape
from marketsim.thinking import Thinker

#: The agent that does nothing: it keeps the other's place until the fork.
IDLE = "marketsim.agent:Agent"
NEVER_TRADED = "the agent never traded"
BOTH_SIDES = "the agent bought and sold"


def run_pair(job: Mapping[str, Any]) -> dict[str, Any]:
    """Run one seed without the agent and with each of its variants.

    Parameters
    ----------
    job : ``config`` without the agent, ``variants`` with it, ``agent`` (its name), ``seed``,
        ``until_ns``, ``fork_at_ns`` or None, ``step_ns`` of the grid, ``settle_ns``.

    Returns
    -------
    dict of JSON values: ``grid_ns``, the control's ``mid_ticks``, ``volume_lots``, ``volatility``
        and ``variants``, one mapping each (see :func:`compare`).
    """
    arms = _arms(job)
    control, simulation = next(arms)
    symbol = _symbol_of(simulation, load_config(job["variants"][0]), job["agent"])
    base = control.tapes[symbol]
    quotes = touch(base)
    start_ns = simulation.open_ns if job["fork_at_ns"] is None else job["fork_at_ns"]
    grid = time_grid(start_ns, job["until_ns"], job["step_ns"])
    mid = quotes.at(quotes.mid_ticks, grid)
    if not np.isfinite(mid).any():
        raise DataError(f"seed {job['seed']}: the book of {symbol} never has two sides")
    result: dict[str, Any] = {
        "seed": job["seed"],
        "grid_ns": grid.tolist(),
        "mid_ticks": numbers(mid),
        "volume_lots": int(base.trades["size_lots"].sum()),
        "volatility": volatility(mid),
        "variants": [],
    }
    for run, market in arms:
        result["variants"].append(compare(run, market, quotes, job, symbol, grid))
    return result


def time_grid(start_ns: int, end_ns: int, step_ns: int) -> Ints:
    """Instants from start to end, both of them included."""
    inside = np.arange(start_ns, end_ns, step_ns, dtype=np.int64)
    return np.append(inside, end_ns)


def numbers(values: Floats) -> list[float | None]:
    """JSON values: what is not known is None."""
    return [None if np.isnan(value) else float(value) for value in values]


def simulation_of(config: Any, seed: int) -> Simulation:
    """A simulation whose data are read once in a process."""
    loaded = load_config(config)
    if loaded.data is None:
        return Simulation(loaded, seed)
    return Simulation(loaded, seed, data=_data(loaded.data, fingerprint(loaded.data)))


@functools.lru_cache(maxsize=2)
def _data(path: str, print_of_it: str | None) -> Tape:
    from marketsim.data.source import open_tape

    return open_tape(path)


def _arms(job: Mapping[str, Any]) -> Iterator[tuple[Run, Simulation]]:
    """The control, then each variant; from one forked state where a fork is asked for."""
    markets = _forked(job) if job["fork_at_ns"] is not None else _fresh(job)
    control = next(markets)
    if control._thinkers:  # a model writes the next orders of all arms at once
        together = list(markets)
        markets = iter(together)
        with Batch([control, *together]) as batch:
            batch.step(job["until_ns"])
    for simulation in itertools.chain((control,), markets):
        yield simulation.run(job["until_ns"]), simulation


def _fresh(job: Mapping[str, Any]) -> Iterator[Simulation]:
    """The control and each variant, from the start."""
    for config in (job["config"], *job["variants"]):
        yield simulation_of(config, job["seed"])


def _forked(job: Mapping[str, Any]) -> Iterator[Simulation]:
    """The control and each variant, from one state."""
    parent = simulation_of(idle_config(job["variants"][0], job["agent"]), job["seed"])
    parent.run(job["fork_at_ns"])
    yield parent.fork()
    for config in job["variants"]:
        twin = parent.fork()
        take_seat(twin, load_config(config), job["agent"])
        yield twin


def idle_config(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The configuration with an agent that does nothing in the place of this one."""
    entry = next(agent for agent in load_config(config).agents if agent.name == name)
    common = {key: value for key, value in config["agents"][name].items()
              if key not in entry.parameters}  # fmt: skip
    return {**config, "agents": {**config["agents"], name: {**common, "type": IDLE}}}


def take_seat(simulation: Simulation, config: SimulationConfig, name: str) -> None:
    """Let the agent start now, in the place that an idle one kept: account, latency, stream."""
    entry = next(agent for agent in config.agents if agent.name == name)
    for number in members_of(simulation, name):
        agent = entry.build(tape=simulation.source)
        if isinstance(agent, CompiledAgent | Thinker):
            what = "compiled" if isinstance(agent, CompiledAgent) else "the market's flow"
            raise ConfigError(f"fork_at: agents.{name} is {what}, and can only start at the open")
        _, handle = simulation._python[number]
        simulation._python[number] = agent, handle
        agent.on_start(handle)


def members_of(simulation: Simulation, name: str) -> range:
    """Ids of the agents of an entry."""
    return next(group.members for group in simulation.groups if group.name == name)


def _symbol_of(simulation: Simulation, config: SimulationConfig, name: str) -> str:
    entry = next(agent for agent in config.agents if agent.name == name)
    return entry.symbol or simulation.symbols[0]


def volatility(mid: Floats) -> float | None:
    """Root of the sum of squared log returns from grid instant to grid instant."""
    known = mid[np.isfinite(mid)]
    if len(known) < 2 or known.min() <= 0:
        return None
    return float(np.sqrt(np.square(np.diff(np.log(known))).sum()))


def compare(
    run: Run,
    simulation: Simulation,
    control: Touch,
    job: Mapping[str, Any],
    symbol: str,
    grid: Ints,
) -> dict[str, Any]:
    """What differs between a market with the agent and the control.

    Returns
    -------
    dict
        ``mid_ticks`` on the grid; ``largest_difference_ticks`` over every instant at which either
        book changes; ``executed_lots``, ``net_lots``, ``start_ns``, ``end_ns`` (decision and last
        own trade), ``participation``, ``filled_share``; ``arrival_mid_ticks``,
        ``average_price_ticks``, ``shortfall_bps`` (against the mid at the decision, Perold 1988;
        fees not included), ``paired_shortfall_bps`` (against the control's mid at each fill);
        ``while_trading_ticks``, ``at_end_ticks``, ``permanent_ticks``, ``temporary_ticks``
        (differences of mid-prices, with minus without: mean from decision to last trade; just after
        the last trade; mean from ``settle_ns`` after it to the end; the second less the third);
        ``reasons`` for what is None.
    """
    tape = run.tapes[symbol]
    quotes = touch(tape)
    mid = quotes.at(quotes.mid_ticks, grid)
    if not np.isfinite(mid).any():
        raise DataError(f"seed {job['seed']}: with the agent the book never has two sides")
    instants = np.union1d(quotes.time_ns, control.time_ns)
    difference = _difference(quotes, control, instants)
    row: dict[str, Any] = {
        "mid_ticks": numbers(mid),
        "largest_difference_ticks": float(np.nanmax(np.abs(difference), initial=0.0)),
        "reasons": {},
        **_execution(tape, quotes, control, simulation, job["agent"]),
    }
    return row | _lasting(quotes, control, row, grid, job["settle_ns"])


def _difference(quotes: Touch, control: Touch, times: NDArray[Any]) -> Floats:
    return quotes.at(quotes.mid_ticks, times) - control.at(control.mid_ticks, times)


def _execution(
    tape: Tape, quotes: Touch, control: Touch, simulation: Simulation, name: str
) -> dict[str, Any]:
    """What the agent traded, and what it cost."""
    ids = np.array(members_of(simulation, name))
    trades = tape.trades
    takes, makes = (np.isin(trades[f"{who}_agent_id"], ids) for who in ("taker", "maker"))
    rows = np.flatnonzero(takes != makes)  # a trade with itself moves nothing
    lots = trades["size_lots"][rows]
    signed = np.where(takes[rows], 1, -1) * trades["side"][rows] * lots
    executed, net = int(lots.sum()), int(signed.sum())
    first = next(iter(members_of(simulation, name)))
    agent = simulation._python[first][0] if first in simulation._python else None
    fills_ns = trades["time_ns"][rows]
    start_ns = _decision_ns(agent, tape, ids)
    facts: dict[str, Any] = {
        "executed_lots": executed,
        "net_lots": net,
        "start_ns": start_ns,
        "end_ns": int(fills_ns[-1]) if executed else None,
        "arrival_mid_ticks": _mid_from(quotes, start_ns),
    }
    quantity = getattr(agent, "quantity", None)
    if isinstance(quantity, int):
        facts["filled_share"] = executed / (quantity * len(ids))
    why = NEVER_TRADED if not executed else BOTH_SIDES if abs(net) != executed else None
    facts["participation"] = None
    if executed:
        since = (trades["time_ns"] >= start_ns) & (trades["time_ns"] <= fills_ns[-1])
        facts["participation"] = executed / int(trades["size_lots"][since].sum())
    costs = ("average_price_ticks", "shortfall_bps", "paired_shortfall_bps")
    if why is not None:
        reasons = dict.fromkeys(costs, why) | ({} if executed else {"participation": why})
        return facts | dict.fromkeys(costs) | {"reasons": reasons}
    price = trade_price_ticks(tape)[rows]
    side, arrival = np.sign(net), facts["arrival_mid_ticks"]
    average = float(price @ lots) / executed
    unpushed = float(control.at(control.mid_ticks, fills_ns) @ lots) / executed
    scale = 1e4 * side / arrival
    facts |= {
        "average_price_ticks": average,
        "shortfall_bps": float((average - arrival) * scale),
        "paired_shortfall_bps": float((average - unpushed) * scale),
    }
    return facts


def _decision_ns(agent: Any, tape: Tape, ids: NDArray[Any]) -> int | None:
    """When the agent set out: what it says itself, else just before its first order."""
    start_ns = getattr(agent, "start_ns", None)
    if isinstance(start_ns, int):
        return start_ns
    own = np.flatnonzero(np.isin(tape.orders["agent_id"], ids))
    return int(tape.orders["time_ns"][own[0]]) - 1 if len(own) else None


def _mid_from(quotes: Touch, time_ns: int | None) -> float | None:
    """Mid-price at a time, or the first one known after it."""
    if time_ns is None:
        return None
    mid = quotes.mid_ticks
    at = quotes.at(mid, np.array([time_ns]))[0]
    return float(at if np.isfinite(at) else mid[np.isfinite(mid)][0])


def _lasting(
    quotes: Touch, control: Touch, row: Mapping[str, Any], grid: Ints, settle_ns: int
) -> dict[str, Any]:
    """Impact while the agent trades, at its end, and what is left of it."""
    parts: dict[str, Any] = dict.fromkeys(
        ("while_trading_ticks", "at_end_ticks", "permanent_ticks", "temporary_ticks")
    )
    reasons = dict(row["reasons"])
    end_ns = row["end_ns"]
    if end_ns is None:
        return parts | {"reasons": reasons | dict.fromkeys(parts, NEVER_TRADED)}
    changes = np.union1d(quotes.time_ns, control.time_ns)
    last_ns = int(grid[-1])
    parts["while_trading_ticks"] = _mean_difference(
        quotes, control, changes, max(row["start_ns"], int(grid[0])), end_ns
    )
    parts["at_end_ticks"] = float(_difference(quotes, control, np.array([end_ns]))[0])
    settled_ns = end_ns + settle_ns
    if settled_ns < last_ns:
        parts["permanent_ticks"] = _mean_difference(quotes, control, changes, settled_ns, last_ns)
        parts["temporary_ticks"] = parts["at_end_ticks"] - parts["permanent_ticks"]
    else:
        why = f"the agent traded until less than {settle_ns / 60e9:g} min before the end"
        reasons |= {"permanent_ticks": why, "temporary_ticks": why}
    return parts | {"reasons": reasons}


def _mean_difference(
    quotes: Touch, control: Touch, changes: Ints, start_ns: int, end_ns: int
) -> float:
    """Mean over time of the difference of mid-prices; over the instant when they are the same."""
    inside = changes[(changes > start_ns) & (changes < end_ns)]
    knots = np.concatenate([[start_ns], inside, [max(end_ns, start_ns)]])
    difference = _difference(quotes, control, knots[:-1])
    held = np.diff(knots).astype(np.float64)
    known = np.isfinite(difference) & (held > 0)
    if not known.any():
        return float(_difference(quotes, control, np.array([end_ns]))[0])
    return float(np.average(difference[known], weights=held[known]))
