"""Sweeps: a grid of configurations times seeds, each run a row of one table."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marketsim import checks
from marketsim.clock import format_time, parse_time
from marketsim.configs import SimulationConfig, load_config
from marketsim.errors import ConfigError
from marketsim.executor import Executor, Failure, Outcome, create_executor
from marketsim.run_store import RunStore, Tell, inputs, run_jobs, seed_numbers

if TYPE_CHECKING:
    import pandas as pd

TABLE = "table.parquet"
#: What summaries say of agents that is no result.
_NO_RESULTS = frozenset({"agent_id", "type"})


def sweep(
    config: Any,
    grid: Mapping[str, Sequence[Any]],
    seeds: int | Sequence[int] = 1,
    executor: str | Executor = "processes",
    *,
    overrides: Mapping[str, Any] | None = None,
    until: str | int | None = None,
    workers: int | None = None,
    ray_address: str | None = None,
    out: str | Path | None = None,
    retry_failed: bool = False,
    progress: Tell | None = None,
) -> "pd.DataFrame":
    """Run every combination of the grid's values with every seed.

    Parameters
    ----------
    config : name, path, mapping or ``SimulationConfig``.
    grid : dotted key of the configuration -> its values.
    seeds : how many (0, 1, ...), or which.
    executor, workers, ray_address : see :func:`marketsim.executor.create_executor`. A script that
        uses "processes" does so below ``if __name__ == "__main__":``.
    overrides : of the configuration in all runs.
    until : end of each run; None is its close.
    out : folder. Each run is committed there as it is done; the same sweep, or one with more values
        or seeds, goes on from there. ``table.parquet`` has the table when all are done.
    retry_failed : whether runs that failed before are done again.
    progress : called with (runs done, all).

    Returns
    -------
    DataFrame
        A row for each run in the order of the grid, then of the seeds, whoever did it and when: the
        grid's keys, ``seed``, ``status`` ("ok" or "failed"), ``error``, ``digest`` of the end
        state, the measures of :data:`marketsim.market_quality.MEASURES` of the first symbol,
        what agents say of themselves as ``agents.NAME.KEY``, and ``note``: why a measure is
        missing.

    Raises
    ------
    ConfigError
        For an unknown key, a grid without values, a configuration that cannot be read.
    DataError
        If ``out`` holds another sweep, or cannot be written.
    """
    from marketsim import __version__

    base = load_config(config, overrides)
    points = grid_points(base, grid)
    numbers = seed_numbers(seeds)
    until_ns = None if until is None else parse_time(until, "until")
    who = create_executor(executor, workers, ray_address)
    jobs = [
        {
            "config": loaded.to_dict(),
            "seed": seed,
            "until_ns": until_ns,
            "data": inputs(loaded),
        }
        for _, loaded in points
        for seed in numbers
    ]
    store = None
    if out is not None:
        identity = {
            "experiment": "sweep",
            "version": __version__,
            "config": base.to_dict(),
            "keys": sorted(grid),
            "until_ns": until_ns,
        }
        store = RunStore(Path(out), identity)
    outcomes = run_jobs(run_row, jobs, who, store, retry_failed=retry_failed, progress=progress)
    labels = [(values, seed) for values, _ in points for seed in numbers]
    table = _table(labels, outcomes)
    if out is not None:
        from marketsim.experiment_tables import save_frame

        save_frame(table, Path(out) / TABLE)
    return table


def grid_points(
    base: SimulationConfig, grid: Mapping[str, Sequence[Any]]
) -> list[tuple[dict[str, Any], SimulationConfig]]:
    """Every combination of the grid's values, and the configuration that it makes.

    Raises
    ------
    ConfigError
        For a grid without keys or values, and for what :func:`marketsim.load_config` refuses.
    """
    if not grid:
        raise ConfigError("grid must be at least one key and its values, was nothing")
    lists = {}
    for key, values in grid.items():
        listed = values if isinstance(values, list | tuple) else _listed(key, values)
        if not listed:
            raise ConfigError(f"grid {key}: values must be at least one, were none")
        if len({repr(value) for value in listed}) != len(listed):
            raise ConfigError(f"grid {key}: values must be given once, were {list(listed)!r}")
        lists[key] = [value.item() if hasattr(value, "item") else value for value in listed]
    points = []
    for values in itertools.product(*lists.values()):
        point = dict(zip(lists, values, strict=True))
        points.append((point, load_config(base, point)))
    return points


def _listed(key: str, values: Any) -> list[Any]:
    """A range or an array as a list; text is not a list of letters."""
    if isinstance(values, str | Mapping) or not hasattr(values, "__iter__"):
        return checks.sequence(f"grid {key}", values)
    return list(values)


def run_row(job: Mapping[str, Any]) -> dict[str, Any]:
    """Run one market; what its row says of it."""
    from marketsim.arms import simulation_of
    from marketsim.market_quality import MEASURES, market_quality

    simulation = simulation_of(job["config"], job["seed"])
    until_ns = job["until_ns"]
    if until_ns is not None and not simulation.open_ns < until_ns <= simulation.close_ns:
        raise ConfigError(
            f"until must be within the session, after {format_time(simulation.open_ns)} and up to"
            f" {format_time(simulation.close_ns)}, was {format_time(until_ns)}"
        )
    run = simulation.run(until_ns)
    row: dict[str, Any] = {"digest": run.summary["digest"], "events": run.summary["events"]}
    if simulation.config.tape.enabled:
        end_ns = simulation.close_ns if until_ns is None else until_ns
        values, reasons = market_quality(run.tape.between(simulation.open_ns, end_ns))
    else:
        values, reasons = {}, dict.fromkeys(MEASURES, "tape.enabled is false")
    row |= values
    for name, said in run.summary["agents"].items():
        for key, value in said.items():
            column = f"agents.{name}.{key}"
            if key not in _NO_RESULTS and (value is None or isinstance(value, int | float | str)):
                row[column] = value
            if value is None:
                reasons[column] = "the agent tells of none"
    row["note"] = "; ".join(f"{key}: {why}" for key, why in reasons.items())
    return row


def _table(
    labels: Sequence[tuple[Mapping[str, Any], int]], outcomes: Sequence[Outcome]
) -> "pd.DataFrame":
    """All rows; columns in the order in which runs first have them, ``note`` the last."""
    import pandas as pd

    rows = []
    for (point, seed), outcome in zip(labels, outcomes, strict=True):
        failed = isinstance(outcome, Failure)
        row = {key: _cell(value) for key, value in point.items()}
        row |= {
            "seed": seed,
            "status": "failed" if failed else "ok",
            "error": outcome.error if isinstance(outcome, Failure) else "",
        }
        note = "failed: see error"
        if not isinstance(outcome, Failure):
            row |= {key: value for key, value in outcome.items() if key != "note"}
            note = outcome["note"]
        rows.append(row | {"note": note})
    columns = list(dict.fromkeys(key for row in rows for key in row if key != "note"))
    for row in rows:
        missing = [key for key in columns if key not in row and key not in row["note"]]
        if missing and row["status"] == "ok":
            row["note"] = "; ".join(
                filter(None, (row["note"], f"not in this market: {', '.join(missing)}"))
            )
    return pd.DataFrame(rows, columns=[*columns, "note"])


def _cell(value: Any) -> Any:
    """A grid's value as a table holds it: nothing, lists and mappings as text."""
    if value is None:
        return "null"
    return value if isinstance(value, bool | int | float | str) else repr(value)
