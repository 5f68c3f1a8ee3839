"""What a run looks like in a terminal: its progress and its tables."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from marketsim.clock import format_time
from marketsim.evaluation_report import section_grid, tapes_line
from marketsim.report import touch
from marketsim.report_tables import Grid, facts_grid, half_hours_grid, market_grid, run_grids

if TYPE_CHECKING:
    from marketsim.evaluation import Report
    from marketsim.simulation import Run
    from marketsim.tape import Tape

#: Called with the simulated time, its end, and the number of events so far.
Tell = Callable[[int, int, int], None]

#: Seconds between plain lines where stderr is no terminal.
PLAIN_EVERY_S = 5.0
#: Tables of agents that say something of themselves.
MAX_AGENT_TABLES = 10


@contextlib.contextmanager
def progress(name: str, *, quiet: bool) -> Iterator[Tell | None]:
    """Yield what a simulation calls to tell how far it is; None when nobody wants to know."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bar(name) as tell:
            yield tell
    else:
        yield _plain_lines()


@contextlib.contextmanager
def _bar(name: str) -> Iterator[Tell]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[clock]}  {task.fields[speed]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None, clock="", speed="")
        start_s = time.perf_counter()
        first_ns: int | None = None

        def tell(now_ns: int, end_ns: int, events: int) -> None:
            nonlocal first_ns
            first_ns = now_ns if first_ns is None else first_ns
            bar.update(
                task,
                total=max(end_ns - first_ns, 1),
                completed=now_ns - first_ns,
                clock=format_time(now_ns)[:8],
                speed=_speed(events, start_s),
            )

        yield tell


@contextlib.contextmanager
def steps(name: str, *, quiet: bool) -> Iterator[Callable[[str, float], None] | None]:
    """Yield what is called with what is being done and the share that is done; None if quiet."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}", markup=False), BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"), TimeRemainingColumn(),
            TextColumn("{task.fields[what]}", markup=False),
        )  # fmt: skip
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(name, total=1.0, what="")
            yield lambda what, share: bar.update(task, completed=share, what=what)
    else:
        said_s = time.perf_counter()

        def tell(what: str, share: float) -> None:
            nonlocal said_s
            if time.perf_counter() - said_s >= PLAIN_EVERY_S:
                said_s = time.perf_counter()
                print(f"marketsim: {share:.0%}, {what}", file=sys.stderr, flush=True)

        yield tell


def _plain_lines() -> Tell:
    start_s = said_s = time.perf_counter()

    def tell(now_ns: int, end_ns: int, events: int) -> None:
        nonlocal said_s
        now_s = time.perf_counter()
        if now_s - said_s >= PLAIN_EVERY_S:
            said_s = now_s
            print(
                f"marketsim: {format_time(now_ns)[:8]} of {format_time(end_ns)[:8]},"
                f" {events:,} events, {_speed(events, start_s)}",
                file=sys.stderr,
                flush=True,
            )

    return tell


def _speed(events: int, start_s: float) -> str:
    return f"{events / max(time.perf_counter() - start_s, 1e-9):,.0f} events/s"


def print_run(run: "Run") -> None:
    """Print the market, its half hours, the agents' accounts and how well they executed."""
    console = _console()
    for grid in run_grids(run):
        console.print(_table(grid))
    _print_agents(console, run.summary["agents"])
    history = run.summary.get("history") or {}
    if history:
        facts = {words: history[key] for key, words in _HISTORY.items()}
        console.print(_table(facts_grid("Recorded flow beside other agents", facts)))
    rejects = run.summary.get("rejects") or {}
    if rejects:
        words = ", ".join(f"{count:,} {reason}" for reason, count in rejects.items())
        console.print(f"Rejected: {words}")


def print_grids(grids: Iterable[Grid]) -> None:
    """Print tables."""
    console = _console()
    for grid in grids:
        console.print(_table(grid))


def print_report(report: "Report") -> None:
    """Print a realism report's tables."""
    console = _console()
    console.print(tapes_line(report))
    for section in report.sections:
        console.print(_table(section_grid(section)))


def print_tape(tape: "Tape") -> None:
    """Print what a tape says of itself, and its market's statistics."""
    console = _console()
    facts = {
        key: value
        for key, value in tape.meta.items()
        if value is not None and not isinstance(value, dict | list)
    }
    quotes = touch(tape)
    for grid in (
        facts_grid("Tape", {**facts, "reveals": tape.reveals.size}),
        market_grid(tape, quotes),
        half_hours_grid(tape, quotes),
    ):
        console.print(_table(grid))


def _print_agents(console: Console, agents: Mapping[str, Mapping[str, Any]]) -> None:
    """Print what agents say of themselves."""
    said = {}
    for name, entry in agents.items():
        facts = {key: value for key, value in entry.items() if not isinstance(value, dict | list)}
        said[name] = {key: value for key, value in facts.items() if key not in _ACCOUNT_KEYS}
    talking = [name for name in agents if said[name]]
    for name in talking[:MAX_AGENT_TABLES]:
        console.print(_table(facts_grid(f"Agent {name}", said[name])))
    if len(talking) > MAX_AGENT_TABLES:
        console.print(f"{len(talking) - MAX_AGENT_TABLES:,} more agents in summary.json")


#: Counts of what recorded messages could no longer do, and their words.
_HISTORY = {
    "messages": "messages",
    "executions_short": "executions that found less",
    "executions_short_lots": "less by [lots]",
    "cancels_short": "cancels that found less",
    "orders_traded_on_entry": "limit orders that traded on entry",
}

#: Entries of an agent's summary that the accounts' table shows already.
_ACCOUNT_KEYS = frozenset({"agent_id", "type", "symbol", "count"})


def _console() -> Console:
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 110  # a file or a pipe has no width of its own
    return console


def _table(grid: Grid) -> Table:
    named = bool(grid.headings)
    table = Table(title=grid.title, title_justify="left", show_header=named, caption=grid.caption)
    table.caption_justify = "left"
    if named:
        table.box = SIMPLE_HEAD
    for number in range(len(grid.rows[0]) if grid.rows else len(grid.headings)):
        heading = grid.headings[number] if named else ""
        table.add_column(heading, justify="right" if number else "left", no_wrap=named)
    for row in grid.rows:
        table.add_row(*row)
    return table
