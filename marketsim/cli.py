"""The command line: running markets, experiments and sweeps, reports, data, benchmarks.

Exit codes: 0; 2 for what the user can mend, with one line that says what; 130 after Ctrl-C, with a
line that says what was written. Everything heavy is imported by the command that needs it.
"""

import gc
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

import marketsim
from marketsim.cli_support import (
    Interrupted,
    fresh_folder,
    look_here,
    parse_pairs,
    remove_if_empty,
)
from marketsim.clock import format_time, parse_time
from marketsim.compare_cli import compare
from marketsim.data_cli import data
from marketsim.errors import DataError, MarketSimError
from marketsim.experiment_cli import ab, sweep
from marketsim.sample_cli import sample
from marketsim.train_cli import train

if TYPE_CHECKING:
    from marketsim.tape import Tape

#: What ``marketsim run`` alone runs.
DEFAULT_CONFIG = "world"

DESCRIPTION = (
    "A limit-order-book market simulator. `marketsim run` alone simulates a market whose order flow"
    " a model writes, with an execution agent in it. `marketsim --version` prints the version."
)

#: A time of day as an option.
Clock = Annotated[str | None, tyro.conf.arg(metavar="HH:MM[:SS]", help_behavior_hint="")]


def run(
    config: tyro.conf.Positional[
        Annotated[str, tyro.conf.arg(metavar="[CONFIG]")]
    ] = DEFAULT_CONFIG,
    /,
    *,
    seed: int = 0,
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None,
    overrides: Annotated[
        tuple[str, ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(name="set", metavar="KEY=VALUE"),
    ] = (),
    until: Annotated[str | None, tyro.conf.arg(metavar="HH:MM[:SS]", help_behavior_hint="")] = None,
    quiet: bool = False,
    no_report: bool = False,
) -> None:
    """Simulate a market; write its tape, accounts, summary and report.

    Args:
        config: A name in configs/, or the path of a YAML file.
        seed: Seed of all random streams; the same seed gives the same tape.
        out: Folder for the results (default: runs/CONFIG-seedN, numbered when it is taken).
        overrides: Set a key of the configuration, such as agents.pov.participation=0.2.
        until: Stop at this time of day.
        quiet: Print the results' folder and nothing else.
        no_report: Write no picture and no tables of the report.
    """
    from marketsim import console
    from marketsim.configs import load_config
    from marketsim.simulation import run as simulate

    look_here()
    settings = load_config(config, overrides=parse_pairs(overrides, "--set"))
    until_ns = None if until is None else parse_time(until, "--until")
    name = re.sub(r"[^\w.-]+", "-", settings.name)
    folder = _claim_folder(out, f"{name}-seed{seed}")
    try:
        with console.progress(settings.name, quiet=quiet) as tell:
            result = simulate(settings, seed=seed, until=until_ns, out=folder, progress=tell)
        if not (folder / "summary.json").exists():
            result.save(folder)
        if not no_report:
            from marketsim.plot_paths import paths_figure
            from marketsim.plots import report_figure
            from marketsim.report_tables import write_report

            write_report(result, folder)
            report_figure(result).savefig(folder / "report.png")
            paths = paths_figure(result)
            if paths is not None:
                paths.savefig(folder / "paths.png")
    except KeyboardInterrupt:
        raise Interrupted(_what_was_written(folder)) from None
    finally:
        remove_if_empty(folder)
    if quiet:
        print(folder)
    else:
        console.print_run(result)
        written = ", ".join(sorted(path.name for path in folder.iterdir()))
        print(f"\nWritten to {folder}: {written}")


def evaluate(
    tape: tyro.conf.Positional[Path],
    /,
    *,
    against: Path,
    metrics: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = (),
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None,
    seed: int = 0,
    start: Annotated[Clock, tyro.conf.arg(name="from")] = None,
    end: Annotated[Clock, tyro.conf.arg(name="to")] = None,
    against_from: Clock = None,
    against_to: Clock = None,
    quiet: bool = False,
) -> None:
    """Judge a tape beside a real one: a report as Markdown, JSON and pictures.

    Args:
        tape: A saved tape or run, a LOBSTER zip or message file, or `synthetic`.
        against: The real tape, any of the same.
        metrics: Parts of the report: stylized, lob, predictive, coverage (default: all).
        out: Folder for the report (default: runs/NAME-against-NAME, numbered when it is taken).
        seed: Seed of what is random; the same tapes and seed give the same report.
        start: Take the tape from this time of day.
        end: Take the tape to this time of day.
        against_from: Take the real tape from this time of day.
        against_to: Take the real tape to this time of day.
        quiet: Print the report's folder and nothing else.
    """
    from marketsim import console
    from marketsim.evaluation import check_metrics
    from marketsim.evaluation import evaluate as judge

    names = check_metrics(metrics or None)
    tapes = [
        _part(_open_tape(path), first, last, flag)
        for path, first, last, flag in (
            (tape, start, end, "--"),
            (against, against_from, against_to, "--against-"),
        )
    ]
    label = re.sub(r"[^\w.-]+", "-", f"{tape.stem}-against-{against.stem}")
    folder = _claim_folder(out, label)
    try:
        with console.steps("evaluate", quiet=quiet) as tell:
            report = judge(tapes[0], tapes[1], names, seed, tell)
        report.save(folder)
    except KeyboardInterrupt:
        raise Interrupted("no report was written") from None
    finally:
        remove_if_empty(folder)
    if quiet:
        print(folder)
    else:
        console.print_report(report)
        written = ", ".join(sorted(path.name for path in folder.iterdir()))
        print(f"\nWritten to {folder}: {written}")


def bench(
    names: tyro.conf.Positional[
        Annotated[tuple[str, ...], tyro.conf.arg(metavar="[NAME ...]", help_behavior_hint="")]
    ] = (),
    /,
    *,
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None,
    data: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None,
    model: Annotated[str | None, tyro.conf.arg(metavar="NAME|DIR", help_behavior_hint="")] = None,
) -> None:
    """Measure speed and memory, each as a ratio to a reference of the same run.

    Args:
        names: book, replay, python-agent, tape, stream, day, rules, batch, evaluate, world,
                cold-start or memory (default: all).
        json: Write the rows to this file.
        data: A real day to replay beside the synthetic one (default: $MARKETSIM_DATA).
        model: The trained model whose market `world` times (default: the shipped one).
    """
    from marketsim import bench as benchmarks

    benchmarks.run(names, json, data, model)


def warmup() -> None:
    """Compile the engine now, so that the first run does not wait for it."""
    from marketsim.simulation import warmup as compile_engine

    start = time.perf_counter()
    compile_engine()
    print(f"The engine is compiled ({time.perf_counter() - start:.1f} s).")


def main(args: Sequence[str] | None = None) -> int:
    """Run a command line, by default this process's; return its exit code."""
    if args is not None:
        return _command(list(args))
    gc.set_threshold(50_000, 20, 20)  # imports make objects by the thousand, but no garbage
    try:
        return _command(sys.argv[1:])
    finally:
        gc.freeze()  # nothing to look for at the end, which takes 0.2 s of a second


def _command(given: list[str]) -> int:
    if given == ["--version"]:
        print(f"marketsim {marketsim.__version__}")
        return 0
    try:
        tyro.extras.subcommand_cli_from_dict(
            {
                "run": run,
                "ab": ab,
                "sweep": sweep,
                "train": train,
                "sample": sample,
                "evaluate": evaluate,
                "compare": compare,
                "data": data,
                "bench": bench,
                "warmup": warmup,
            },  # fmt: skip
            prog="marketsim",
            description=DESCRIPTION,
            args=given,
            config=(
                tyro.conf.FlagCreatePairsOff,
                tyro.conf.OmitArgPrefixes,
                tyro.conf.OmitSubcommandPrefixes,
            ),
        )
    except MarketSimError as error:
        return _fail(str(error))
    except MemoryError as error:
        return _fail(f"not enough memory for this: {error or 'ask for less'}")
    except BrokenPipeError:  # the reader of our output has left: `marketsim ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}")
    except Interrupted as interrupted:
        print(f"marketsim: interrupted; {interrupted}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("marketsim: interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


def _fail(message: str) -> int:
    print(f"marketsim: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _claim_folder(out: Path | None, name: str) -> Path:
    """Make the folder of a run or report: the one asked for, or a fresh one below ``runs/``.

    Raises
    ------
    DataError
        When the folder asked for holds one already: results are never overwritten.
    """
    if out is not None:
        for name, what in (("summary.json", "run"), ("tape", "run"), ("report.json", "report")):
            if (out / name).exists():
                raise DataError(f"--out {out}: holds a {what} already; choose another folder")
        out.mkdir(parents=True, exist_ok=True)
        return out
    return fresh_folder(name)


def _what_was_written(folder: Path) -> str:
    from marketsim.tape import Tape

    try:
        tape = Tape.load(folder / "tape")
        orders = tape.orders["time_ns"]
    except DataError:
        return "nothing was written"
    if not len(orders):
        return f"the tape in {folder / 'tape'} is readable and empty"
    return (
        f"the tape until {format_time(int(orders[-1]))} ({len(orders):,} orders) is in"
        f" {folder / 'tape'}"
    )


def _open_tape(path: Path) -> "Tape":
    from marketsim.data.source import open_tape

    return open_tape(str(path))  # as text: "synthetic" is no path


def _part(tape: "Tape", start: str | None, end: str | None, flag: str) -> "Tape":
    """The part of a tape between two times of day, either of which may be left out."""
    if start is None and end is None:
        return tape
    from marketsim.report import session

    first_ns, last_ns = session(tape)
    start_ns = first_ns if start is None else parse_time(start, f"{flag}from")
    end_ns = last_ns if end is None else parse_time(end, f"{flag}to")
    if end_ns <= start_ns:
        raise DataError(
            f"{flag}to must be after {flag}from, was {format_time(end_ns)[:8]},"
            f" {flag}from was {format_time(start_ns)[:8]}"
        )
    return tape.between(start_ns, end_ns)


if __name__ == "__main__":
    sys.exit(main())
