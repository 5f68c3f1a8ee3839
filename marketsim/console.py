"""What a run looks like in a terminal: its progress and its tables."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from marketsim.clock import format_time
from marketsim.report import market_statistics

if TYPE_CHECKING:
    from marketsim.simulation import Run
    from marketsim.tape import Tape

#: Called with the simulated time, its end, and the number of events so far.
Tell = Callable[[int, int, int], None]

#: Seconds between plain lines where stderr is no terminal.
PLAIN_EVERY_S = 5.0
MAX_AGENT_ROWS = 20


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
    """Print the market, the agents' accounts and how well they executed."""
    console = Console(markup=False, highlight=False)
    console.print(_market_table(market_statistics(run.tape), run.tape.meta))
    if len(run.accounts):
        console.print(_accounts_table(run))
    for name, entry in run.summary["agents"].items():
        facts = {key: value for key, value in entry.items() if not isinstance(value, dict | list)}
        quality = {key: value for key, value in facts.items() if key not in _ACCOUNT_KEYS}
        if quality:
            console.print(_facts_table(f"Agent {name}", quality))
    history = run.summary.get("history") or {}
    if history:
        facts = {words: history[key] for key, words in _HISTORY.items()}
        console.print(_facts_table("Recorded flow beside other agents", facts))
    rejects = run.summary.get("rejects") or {}
    if rejects:
        words = ", ".join(f"{count:,} {reason}" for reason, count in rejects.items())
        console.print(f"Rejected: {words}")


def print_tape(tape: "Tape") -> None:
    """Print what a tape says of itself, and its market's statistics."""
    console = Console(markup=False, highlight=False)
    facts = {
        key: value
        for key, value in tape.meta.items()
        if value is not None and not isinstance(value, dict | list)
    }
    console.print(_facts_table("Tape", {**facts, "reveals": tape.reveals.size}))
    console.print(_market_table(market_statistics(tape), tape.meta))


#: Counts of what recorded messages could no longer do, and their words.
_HISTORY = {
    "messages": "messages",
    "executions_short": "executions that found less",
    "executions_short_lots": "less by [lots]",
    "cancels_short": "cancels that found less",
    "orders_traded_on_entry": "limit orders that traded on entry",
}

#: Entries of an agent's summary that the accounts' table shows already.
_ACCOUNT_KEYS = frozenset({"agent_id", "type", "symbol"})


def _market_table(statistics: Mapping[str, Any], meta: Mapping[str, Any]) -> Table:
    tick = float(meta.get("tick_size") or 1.0)
    volatility = statistics["realised_volatility"]
    price = {
        key: None if statistics[key] is None else statistics[key] * tick
        for key in statistics
        if key.endswith("_ticks")
    }
    rows = {
        "session": f"{_clock(statistics['start_ns'])} to {_clock(statistics['end_ns'])}",
        "orders": _text(statistics["orders"]),
        "trades": _text(statistics["trades"]),
        "volume [lots]": _text(statistics["volume_lots"]),
        "spread, mean": _text(price["spread_mean_ticks"]),
        "spread, median": _text(price["spread_median_ticks"]),
        "mid-price, open": _text(price["mid_open_ticks"]),
        "mid-price, close": _text(price["mid_close_ticks"]),
        "mid-price, low to high": (
            f"{_text(price['mid_low_ticks'])} to {_text(price['mid_high_ticks'])}"
        ),
        "average price of trades": _text(price["vwap_ticks"]),
        "volatility, realised by minute": "–" if volatility is None else f"{volatility:.2%}",
    }
    return _facts_table(f"Market {statistics['symbol'] or ''}".strip(), rows)


def _facts_table(title: str, facts: Mapping[str, Any]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for key, value in facts.items():
        table.add_row(key.removesuffix("_ns").replace("_", " "), _named(key, value))
    return table


def _accounts_table(run: "Run") -> Table:
    """Money in currency; the first rows where there are many agents."""
    worth = float(run.tape.meta.get("tick_size") or 1.0) * float(run.tape.meta.get("lot_size") or 1)
    table = Table(title="Accounts", title_justify="left")
    for heading in ("agent", "position [lots]", "trades", "cash", "PnL", "fees"):
        table.add_column(heading, justify="left" if heading == "agent" else "right")
    for row in run.accounts.head(MAX_AGENT_ROWS).to_dict("records"):
        table.add_row(
            str(row["agent"]),
            _text(row["position_lots"]),
            _text(row["trades"]),
            *(f"{row[key] * worth:,.2f}" for key in ("cash_ticks", "pnl_ticks", "fees_ticks")),
        )
    if len(run.accounts) > MAX_AGENT_ROWS:
        table.caption = f"{len(run.accounts) - MAX_AGENT_ROWS:,} more in accounts.parquet"
    return table


def _named(key: str, value: Any) -> str:
    """Format a value by the unit in its name."""
    if key.endswith("_ns") and isinstance(value, int):
        return _clock(value)
    return _text(value)


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def _clock(time_ns: int) -> str:
    return format_time(time_ns)[:8]
