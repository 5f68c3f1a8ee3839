"""Paired experiments: what an agent, or a rule, does to a market, on common random numbers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, overload

from marketsim import arms, checks
from marketsim.clock import format_time, parse_span, parse_time
from marketsim.configs import SimulationConfig, load_config
from marketsim.errors import ConfigError, StateError
from marketsim.executor import Executor, Failure, Outcome, create_executor
from marketsim.impact import ImpactResult, impact_result
from marketsim.run_store import RunStore, Tell, inputs, run_jobs, seed_numbers
from marketsim.simulation import Simulation
from marketsim.treatment import TreatmentResult, run_treatment, treatment_result

#: Keys of an agent's entry that are not parameters of its class.
_PLACE_KEYS = frozenset(
    {"symbol", "latency", "latency_ns", "site", "computation_delay_ns", "count", "inventory_lots"}
)


@overload
def ab(
    config: Any,
    agent: str | Mapping[str, Any],
    *,
    seeds: int | Sequence[int] = ...,
    treat: None = ...,
    fork_at: str | int | None = ...,
    sizes: Mapping[str, Sequence[Any]] | None = ...,
    agent_set: Mapping[str, Any] | None = ...,
    overrides: Mapping[str, Any] | None = ...,
    until: str | int | None = ...,
    step: str | int | None = ...,
    settle: str | int | None = ...,
    executor: str | Executor = ...,
    workers: int | None = ...,
    ray_address: str | None = ...,
    out: str | Path | None = ...,
    progress: Tell | None = ...,
) -> ImpactResult: ...
@overload
def ab(
    config: Any,
    *,
    treat: Mapping[str, Any],
    seeds: int | Sequence[int] = ...,
    overrides: Mapping[str, Any] | None = ...,
    until: str | int | None = ...,
    executor: str | Executor = ...,
    workers: int | None = ...,
    ray_address: str | None = ...,
    out: str | Path | None = ...,
    progress: Tell | None = ...,
) -> TreatmentResult: ...
def ab(
    config: Any,
    agent: str | Mapping[str, Any] | None = None,
    *,
    seeds: int | Sequence[int] = 20,
    treat: Mapping[str, Any] | None = None,
    fork_at: str | int | None = None,
    sizes: Mapping[str, Sequence[Any]] | None = None,
    agent_set: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    until: str | int | None = None,
    step: str | int | None = None,
    settle: str | int | None = None,
    executor: str | Executor = "serial",
    workers: int | None = None,
    ray_address: str | None = None,
    out: str | Path | None = None,
    progress: Tell | None = None,
) -> ImpactResult | TreatmentResult:
    """Run each seed twice, with and without an agent or a rule, and compare the pairs.

    Parameters
    ----------
    config : name, path, mapping or ``SimulationConfig`` of the market.
    agent : the agent that one arm has and the other has not: a registered name, "module:Class", an
        entry as in a configuration (``{"type": "pov", "participation": 0.1}``), or the name of one
        that the configuration has, which the control then lacks. It is the last of all agents.
    seeds : how many (0, 1, ...), or which.
    treat : overrides of the configuration instead of an agent: tick size, price limits, fees, ...
    fork_at : both arms go on from one state at this time. Before it the agent is in the market and
        does nothing; it starts then, in one arm. An agent that takes ``start`` and is not given
        any starts then too. Python agents only.
    sizes : one parameter of the agent and its values: ``{"participation": [0.01, 0.05]}``.
    agent_set : parameters of the agent, above those that it has.
    overrides : of the configuration, in both arms.
    until : end of both arms; None is the close.
    step : grid of the path, by default "60s".
    settle : permanent impact begins so long after the last trade, by default "30min" (Almgren et
        al. 2005, "Direct estimation of equity market impact").
    executor, workers, ray_address : see :func:`marketsim.executor.create_executor`. "serial" runs
        in this process.
    out : folder; each seed's result is committed there as it comes, and work that was interrupted
        goes on from there. The report is written to it too.
    progress : called with (seeds done, all).

    Returns
    -------
    ImpactResult with an agent, TreatmentResult with a treatment.

    Raises
    ------
    ConfigError
        For an unknown agent or key, a value out of range, agent and treatment both or neither.
    DataError
        If data cannot be read, a book never has two sides, or ``out`` holds something else.
    """
    if (agent is None) == (treat is None):
        which = "both" if agent is not None else "neither"
        raise ConfigError(f"ab: give an agent (--with) or a treatment (--treat), was {which}")
    control = load_config(config, overrides)
    control = replace(control, tape=replace(control.tape, enabled=True))
    numbers = seed_numbers(seeds)
    who = create_executor(executor, workers, ray_address)
    finish = partial(_run, executor=who, out=out, progress=progress)
    if agent is None:
        assert treat is not None
        for name, given in (("fork_at", fork_at), ("sizes", sizes), ("agent_set", agent_set),
                            ("step", step), ("settle", settle)):  # fmt: skip
            if given is not None:
                raise ConfigError(f"{name}: only with an agent; a rule holds from the start")
        return _treat(control, treat, numbers, until, finish)
    without, variants, name, labels = _variants(control, agent, agent_set, sizes)
    step_ns, settle_ns = (
        parse_span(step or "60s", "step"),
        parse_span(settle or "30min", "settle"),
    )
    if step_ns < 1:
        raise ConfigError(f"step must be > 0, was {step!r}")
    fork_at_ns = None if fork_at is None else parse_time(fork_at, "fork_at")
    until_ns = _check(without, variants, name, numbers[0], until, fork_at_ns)
    if fork_at_ns is not None:
        variants = [_starting_at(variant, name, fork_at_ns) for variant in variants]
    shared = {
        "config": without.to_dict(),
        "variants": [variant.to_dict() for variant in variants],
        "agent": name,
        "until_ns": until_ns,
        "fork_at_ns": fork_at_ns,
        "step_ns": step_ns,
        "settle_ns": settle_ns,
        "data": inputs(without),
    }
    outcomes = finish(arms.run_pair, shared, numbers)
    result = impact_result(shared, numbers, outcomes, labels, _notes(control, without, name))
    if out is not None:
        result.save(out)
    return result


def _run(
    work: Any,
    shared: Mapping[str, Any],
    seeds: Sequence[int],
    *,
    executor: Executor,
    out: str | Path | None,
    progress: Tell | None,
) -> list[dict[str, Any]]:
    """Results of all seeds; one that failed ends the experiment: pairs must be complete."""
    from marketsim import __version__

    store = None
    if out is not None:
        store = RunStore(Path(out), {"experiment": "ab", "version": __version__, **shared})
    jobs = [{**shared, "seed": seed} for seed in seeds]
    outcomes: list[Outcome] = run_jobs(
        work, jobs, executor, store, retry_failed=True, progress=progress
    )
    results = []
    for seed, outcome in zip(seeds, outcomes, strict=True):
        if isinstance(outcome, Failure) and outcome.mendable:
            raise StateError(f"seed {seed}: {outcome.error}")
        if isinstance(outcome, Failure):
            raise RuntimeError(f"seed {seed}: {outcome.error}\n{outcome.details}")
        results.append(outcome)
    return results


def _treat(
    control: SimulationConfig,
    treat: Mapping[str, Any],
    seeds: list[int],
    until: str | int | None,
    finish: Any,
) -> TreatmentResult:
    if not treat:
        raise ConfigError("treat must be at least one key and its value, was nothing")
    treated = load_config(control, treat)
    if treated == control and treated.to_dict() == control.to_dict():
        raise ConfigError(f"treat changes nothing: {dict(treat)} is so already")
    shared = {
        "config": control.to_dict(),
        "treated": treated.to_dict(),
        "until_ns": _until(arms.simulation_of(treated, seeds[0]), until),
        "data": [inputs(control), inputs(treated)],
    }
    _until(arms.simulation_of(control, seeds[0]), until)
    outcomes = finish(run_treatment, shared, seeds)
    result = treatment_result(shared, dict(treat), seeds, outcomes, _notes(control, treated, None))
    out = finish.keywords["out"]
    if out is not None:
        result.save(out)
    return result


def _variants(
    control: SimulationConfig,
    agent: str | Mapping[str, Any],
    agent_set: Mapping[str, Any] | None,
    sizes: Mapping[str, Sequence[Any]] | None,
) -> tuple[SimulationConfig, list[SimulationConfig], str, list[dict[str, Any]]]:
    """The control, the markets with the agent, its name, and what is swept of it."""
    name, entry = _entry(control, agent)
    entry |= dict(agent_set or {})
    raw = control.to_dict()
    raw["agents"].pop(name, None)
    if not raw["agents"]:
        raise ConfigError(f"ab: without {name!r} the market has no agents")
    labels: list[dict[str, Any]] = [{}]
    if sizes is not None:
        if len(sizes) != 1:
            raise ConfigError(f"sizes must be one parameter and its values, was {dict(sizes)!r}")
        key, values = next(iter(sizes.items()))
        values = checks.sequence(f"sizes.{key}", values)
        if not values or len({str(value) for value in values}) != len(values):
            raise ConfigError(f"sizes.{key} must be values, each once, were {values!r}")
        labels = [{key: value} for value in values]
    # An override reads text as YAML, as --set does.
    without = load_config(raw)
    variants = []
    for label in labels:
        base = {**raw, "agents": {**raw["agents"], name: {"type": entry["type"]}}}
        given = {key: value for key, value in (entry | label).items() if key != "type"}
        variants.append(
            load_config(base, {f"agents.{name}.{key}": value for key, value in given.items()})
        )
    for label, variant in zip(labels, variants, strict=True):
        label |= {key: variant.to_dict()["agents"][name].get(key) for key in label}
    return without, variants, name, labels


def _entry(control: SimulationConfig, agent: Any) -> tuple[str, dict[str, Any]]:
    """Name and entry of the agent: one of the configuration's own, or a new one."""
    if isinstance(agent, Mapping):
        entry = dict(agent)
        if "type" not in entry:
            raise ConfigError(f"agent: key 'type' is required, was {entry!r}")
    elif isinstance(agent, str):
        entries = control.to_dict()["agents"]
        if agent in entries:
            return agent, dict(entries[agent])
        entry = {"type": agent}
    else:
        raise ConfigError(f"agent must be a name, 'module:Class' or an entry, was {agent!r}")
    name = str(entry.pop("name", re.sub(r"\W", "", str(entry["type"]).rpartition(":")[2])))
    if name in {own.name for own in control.agents}:
        name = f"{name}-ab"  # an entry beside the configuration's own of the same kind
    return name, entry


def _check(
    without: SimulationConfig,
    variants: Sequence[SimulationConfig],
    name: str,
    seed: int,
    until: str | int | None,
    fork_at_ns: int | None,
) -> int:
    """Build every market once, so that what is wrong is told before any runs; the end."""
    market = arms.simulation_of(without, seed)
    until_ns = _until(market, until)
    for variant in variants:
        with_it = arms.simulation_of(variant, seed)
        if fork_at_ns is not None:
            _check_fork(with_it, variant, variants[0], name, fork_at_ns, until_ns)
    return until_ns


def _check_fork(
    market: Simulation,
    variant: SimulationConfig,
    first: SimulationConfig,
    name: str,
    fork_at_ns: int,
    until_ns: int,
) -> None:
    if not market.open_ns <= fork_at_ns < until_ns:
        raise ConfigError(
            f"fork_at must be within the session, from {format_time(market.open_ns)} to before"
            f" {format_time(until_ns)}, was {format_time(fork_at_ns)}"
        )
    if arms.members_of(market, name)[0] not in market._python:
        raise ConfigError(f"fork_at: agents.{name} is compiled, and can only start at the open")
    entry, other = (next(a for a in c.agents if a.name == name) for c in (variant, first))
    if replace(entry, parameters={}) != replace(other, parameters={}):
        raise ConfigError("fork_at: sizes must be of a parameter of the agent, not of its place")
    start = entry.parameters.get("start")
    if start is not None and parse_time(start, "start") < fork_at_ns:
        raise ConfigError(
            f"agents.{name}.start must not be before fork_at {format_time(fork_at_ns)},"
            f" was {start!r}"
        )


def _starting_at(config: SimulationConfig, name: str, start_ns: int) -> SimulationConfig:
    """The agent's ``start`` at the fork, where its class takes one and none is given."""
    import inspect

    from marketsim.configs.registry import resolve_agent

    entry = next(agent for agent in config.agents if agent.name == name)
    takes = inspect.signature(resolve_agent(entry.type)).parameters
    if "start" not in takes or entry.parameters.get("start") is not None:
        return config
    parameters = {**entry.parameters, "start": start_ns}
    others = [agent for agent in config.agents if agent.name != name]
    return replace(config, agents=(*others, replace(entry, parameters=parameters)))


def _until(market: Simulation, until: str | int | None) -> int:
    end_ns = market.close_ns if until is None else parse_time(until, "until")
    if not market.open_ns < end_ns <= market.close_ns:
        raise ConfigError(
            f"until must be within the session, after {format_time(market.open_ns)} and up to"
            f" {format_time(market.close_ns)}, was {format_time(end_ns)}"
        )
    return end_ns


def _notes(control: SimulationConfig, other: SimulationConfig, name: str | None) -> list[str]:
    """What a reader of the result must know of its background."""
    notes = []
    if any(agent.type == "replay" for agent in other.agents):
        notes.append(
            "The background is recorded flow, which does not react: this shows instantaneous impact"
            " only. The book fills up again with what was recorded; lasting impact, and what other"
            " traders would have done, cannot be measured on a replay."
        )
    if name is not None and any(agent.name == name for agent in control.agents):
        notes.append(f"The configuration has {name!r} itself; the control is without it.")
    return notes


__all__ = ["ImpactResult", "TreatmentResult", "ab"]
