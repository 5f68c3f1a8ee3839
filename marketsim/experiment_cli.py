"""The commands ``marketsim ab`` and ``marketsim sweep``."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from marketsim.cli_support import (
    Interrupted,
    counting,
    look_here,
    own_folder,
    parse_lists,
    parse_pairs,
    remove_if_empty,
)

Pairs = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="KEY=VALUE")]
Lists = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="KEY=A,B,…")]
Sets = Annotated[
    tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(name="set", metavar="KEY=VALUE")
]
With = Annotated[str | None, tyro.conf.arg(name="with", metavar="AGENT", help_behavior_hint="")]
Time = Annotated[str | None, tyro.conf.arg(metavar="HH:MM[:SS]", help_behavior_hint="")]
Folder = Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]
Count = Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")]
Address = Annotated[str | None, tyro.conf.arg(metavar="ADDRESS", help_behavior_hint="")]
Config = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="CONFIG")]]


def ab(
    config: Config,
    /,
    *,
    agent: With = None,
    treat: Pairs = (),
    agent_set: Pairs = (),
    sizes: Lists = (),
    overrides: Sets = (),
    seeds: int = 20,
    fork_at: Time = None,
    until: Time = None,
    step: str | None = None,
    settle: str | None = None,
    executor: Literal["serial", "processes", "ray"] | None = None,
    workers: Count = None,
    ray_address: Address = None,
    out: Folder = None,
    quiet: bool = False,
) -> None:
    """Measure what an agent, or a rule, does to a market: each seed with it and without it.

    Args:
        config: A name in configs/, or the path of a YAML file.
        agent: The agent of one arm: a registered name, module:Class, or one of the configuration.
        treat: A key of the configuration instead of an agent, such as
                symbols.0.price_increment_ticks=10.
        agent_set: A parameter of the agent, such as participation=0.2.
        sizes: One parameter of the agent and its values, such as participation=.01,.05,.1,.25.
        overrides: Set a key of the configuration in both arms.
        seeds: How many pairs.
        fork_at: Both arms go on from one state at this time, when the agent starts.
        until: End of both arms.
        step: Grid of the path (default 60s).
        settle: Permanent impact begins so long after the last trade (default 30min).
        executor: Who runs the seeds (default: this process; processes with --workers above 1).
        workers: Processes.
        ray_address: A running Ray cluster.
        out: Folder for the results; what was interrupted goes on there.
        quiet: Print the results' folder and nothing else.
    """
    from marketsim import experiment
    from marketsim.configs import load_config
    from marketsim.impact import ImpactResult

    look_here()
    what: dict[str, Any] = dict(
        treat=parse_pairs(treat, "--treat") or None,
        agent_set=parse_pairs(agent_set, "--agent-set") or None,
        sizes=parse_lists(sizes, "--sizes") or None,
        fork_at=fork_at,
        step=step,
        settle=settle,
    )
    loaded = load_config(config, parse_pairs(overrides, "--set"))
    chosen = executor or ("serial" if workers in (None, 1) else "processes")
    name = f"ab-{loaded.name}-{agent or '-'.join(what['treat'] or ['nothing'])}"
    with _folder(out, name) as folder, counting("seeds", quiet=quiet) as tell:
        run: Any = experiment.ab  # which of its two forms this is depends on the arguments
        result = run(
            loaded, agent, seeds=seeds, until=until, executor=chosen, workers=workers,
            ray_address=ray_address, out=folder, progress=tell, **what,
        )  # fmt: skip
    if quiet:
        print(folder)
        return
    from marketsim.console import print_grids
    from marketsim.experiment_tables import impact_grids, treatment_grid

    impact = isinstance(result, ImpactResult)
    print_grids(impact_grids(result) if impact else [treatment_grid(result)])
    for note in result.summary["notes"]:
        print(note)
    print(f"\nWritten to {folder}: {_written(folder)}")


def sweep(
    config: Config,
    /,
    *,
    grid: Lists = (),
    seeds: int = 1,
    overrides: Sets = (),
    until: Time = None,
    executor: Literal["processes", "ray", "serial"] = "processes",
    workers: Count = None,
    ray_address: Address = None,
    out: Folder = None,
    retry_failed: bool = False,
    quiet: bool = False,
) -> None:
    """Run a grid of configurations times seeds; one table of results.

    Args:
        config: A name in configs/, or the path of a YAML file.
        grid: A key of the configuration and its values, such as agents.maker.count=1,2,4.
        seeds: How many runs of each combination.
        overrides: Set a key of the configuration in all runs.
        until: End of each run.
        executor: Who runs them; ray is an extra.
        workers: Processes (default: one for each core).
        ray_address: A running Ray cluster.
        out: Folder for the results; what was interrupted goes on there.
        retry_failed: Do again what failed before.
        quiet: Print the results' folder and nothing else.
    """
    from marketsim import sweeps
    from marketsim.configs import load_config

    look_here()
    lists = parse_lists(grid, "--grid")
    loaded = load_config(config, parse_pairs(overrides, "--set"))
    with _folder(out, f"sweep-{loaded.name}") as folder, counting("runs", quiet=quiet) as tell:
        table = sweeps.sweep(
            loaded, lists, seeds, executor, until=until, workers=workers, ray_address=ray_address,
            out=folder, retry_failed=retry_failed, progress=tell,
        )  # fmt: skip
    if quiet:
        print(folder)
        return
    from marketsim.console import print_grids
    from marketsim.experiment_tables import sweep_grid

    print_grids([sweep_grid(table, list(lists))])
    failed = table[table["status"] == "failed"]
    if len(failed):
        print(f"{len(failed)} of {len(table)} runs failed; the first: {failed['error'].iloc[0]}")
    print(f"\nWritten to {folder}: {_written(folder)}")


@contextmanager
def _folder(out: Path | None, name: str) -> Iterator[Path]:
    """Where results go; says after Ctrl-C what is there, and takes an empty folder away."""
    folder = own_folder(out, re.sub(r"[^\w.-]+", "-", name))
    try:
        yield folder
    except KeyboardInterrupt:
        done = len(list((folder / "runs").glob("*.json")))
        raise Interrupted(
            f"{done} runs are in {folder}; the same command with --out {folder} goes on from there"
        ) from None
    finally:
        remove_if_empty(folder)


def _written(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.iterdir()))
