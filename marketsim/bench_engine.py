"""Benchmarks of the engine: the book, replay, Python agents, the tape."""

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketsim.agent import Agent, Data, Handle
from marketsim.bench_timing import Row, Sizes, fastest
from marketsim.book import Book
from marketsim.codes import OrderKind, Side
from marketsim.naive import NaiveBook
from marketsim.simulation import Simulation
from marketsim.tape import Tape

BATCH_ROWS = 1_000
_LIMIT, _CANCEL = int(OrderKind.LIMIT), int(OrderKind.CANCEL)


def stream(rows: int) -> list[NDArray[np.int64]]:
    """Columns of :meth:`Book.apply` from the shipped stream of a million events."""
    with files("marketsim.data").joinpath("stream_1m.npz").open("rb") as file, np.load(file) as npz:
        columns = {name: npz[name][:rows].astype(np.int64) for name in npz.files}
    kinds = np.array([OrderKind.LIMIT, OrderKind.CANCEL, OrderKind.MARKET])
    sides = np.array([Side.BUY, Side.SELL])
    return [
        kinds[columns["kind"]],
        columns["order_id"],
        sides[columns["side"]],
        columns["price_ticks"],
        columns["size_lots"],
    ]


def _one_by_one(book: Any, rows: list[tuple[int, ...]]) -> None:
    limit, cancel, market = book.limit, book.cancel, book.market
    for kind, order_id, side, price, size in rows:
        if kind == _LIMIT:
            limit(order_id, side, price, size)
        elif kind == _CANCEL:
            cancel(order_id)
        else:
            market(order_id, side, size)


def _in_batches(columns: list[NDArray[np.int64]]) -> None:
    book = Book()
    for start in range(0, len(columns[0]), BATCH_ROWS):
        book.apply(*(column[start : start + BATCH_ROWS] for column in columns))


def _loop(rows: list[tuple[int, ...]]) -> None:
    for _kind, _order_id, _side, _price, _size in rows:
        pass


def book(sizes: Sizes) -> Iterator[Row]:
    """The order book alone, compiled and naive, on one stream."""
    columns = stream(sizes.stream_rows)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    few, some = rows[: sizes.naive_rows], rows[: 3 * sizes.naive_rows]
    Book().apply(*(column[:10] for column in columns))  # compile
    _one_by_one(Book(), rows[:10])
    works: dict[str, tuple[int, Callable[[], Any]]] = {
        "naive twin, one by one": (len(few), lambda: _one_by_one(NaiveBook(), few)),
        "compiled loop": (len(rows), lambda: Book().apply(*columns, keep_outcomes=False)),
        "compiled loop, outcomes kept": (len(rows), lambda: Book().apply(*columns)),
        f"batches of {BATCH_ROWS:,} from Python": (len(rows), lambda: _in_batches(columns)),
        "one by one from Python": (len(some), lambda: _one_by_one(Book(), some)),
        "empty Python loop over the rows": (len(rows), lambda: _loop(rows)),
    }
    times = fastest(*(work for _, work in works.values()), repeats=sizes.repeats)
    naive_speed = len(few) / times[0]
    for (metric, (count, _)), seconds in zip(works.items(), times, strict=True):
        speed = count / seconds
        if metric.startswith("naive"):
            yield Row("book", metric, speed, "events/s")
        else:
            yield Row("book", metric, speed, "events/s", "naive twin", speed / naive_speed)


@lru_cache(maxsize=1)
def _synthetic(close: str) -> Tape:
    from marketsim.data.synthetic import synthetic_tape

    return synthetic_tape(close=close)


def _days(sizes: Sizes) -> Iterator[tuple[str, Tape]]:
    """The synthetic day and, where there is one, the user's."""
    yield "synthetic day", _synthetic(sizes.close)
    if sizes.data is not None:
        from marketsim.data.source import open_tape

        day = open_tape(sizes.data)
        yield str(day.meta["symbol"]), day


def _replay(
    tape: Tape, *agents: Agent, out: Path | None = None, with_tape: bool = True
) -> Simulation:
    return Simulation(
        {
            "data": "given",
            "tape": {"enabled": with_tape},
            "agents": {"history": {"type": "replay"}},
        },
        agents=agents,
        data=tape,
        out=out,
    )


def simulating(
    repeats: int, until: str | None, *builds: Callable[[], Simulation]
) -> tuple[list[float], list[Simulation]]:
    """CPU seconds of running what each ``build`` makes, fastest of interleaved rounds."""
    best, last = [float("inf")] * len(builds), []
    for _ in range(repeats):
        last = [build() for build in builds]
        for i, simulation in enumerate(last):
            end_ns = simulation.close_ns if until is None else until
            seconds = fastest(partial(simulation.run, end_ns), repeats=1)[0]
            best[i] = min(best[i], seconds)
    return best, last


def replay(sizes: Sizes) -> Iterator[Row]:
    """A day of recorded flow: read, and played through the exchange, tape and accounts included."""
    for label, tape in _days(sizes):
        yield from _replay_rows(label, tape, sizes)


def _replay_rows(label: str, tape: Tape, sizes: Sizes) -> Iterator[Row]:
    import pandas as pd

    from marketsim.data.lobster import read_lobster

    flow = list(zip(*(column.tolist() for column in stream(sizes.naive_rows)), strict=True))
    repeats = min(sizes.repeats, 3)
    with tempfile.TemporaryDirectory() as folder:
        tape.to_lobster(Path(folder) / "day")
        csvs = sorted((Path(folder) / "day").glob("*.csv"))
        message = next(path for path in csvs if "_message_" in path.name)
        read_s, pandas_s = fastest(
            lambda: read_lobster(message),
            lambda: [pd.read_csv(path, header=None) for path in csvs],
            repeats=repeats,
        )
    _replay(tape).run()  # compile
    (replay_s,), (simulation,) = simulating(repeats, None, lambda: _replay(tape))
    (naive_s,) = fastest(lambda: _one_by_one(NaiveBook(), flow), repeats=1)
    speed, naive_speed = len(tape) / replay_s, len(flow) / naive_s
    yield Row("replay", f"{label}: messages", len(tape), "rows")
    yield Row(
        "replay", f"{label}: read LOBSTER files", read_s, "s", "pandas.read_csv", read_s / pandas_s
    )
    yield Row("replay", f"{label}: replay", replay_s, "s")
    reference = "naive book alone"
    yield Row(
        "replay", f"{label}: messages replayed", speed, "rows/s", reference, speed / naive_speed
    )
    yield Row("replay", f"{label}: events of the kernel", simulation.events / replay_s, "events/s")


class Sleeper(Agent):
    """Asks to be woken again and again, and does nothing else."""

    def __init__(self, every_ns: int) -> None:
        self.every_ns = every_ns
        self.calls = 0

    def on_start(self, market: Handle) -> None:
        market.wake_at(market.open_ns)

    def on_wakeup(self, market: Handle) -> None:
        self.calls += 1
        market.wake_after(self.every_ns)


class Looker(Sleeper):
    """A sleeper that looks at the best quotes."""

    def on_wakeup(self, market: Handle) -> None:
        super().on_wakeup(market)
        _ = market.best_bid, market.best_ask


class Listener(Agent):
    """Hears of each change of the best quotes."""

    def __init__(self) -> None:
        self.calls = 0

    def on_start(self, market: Handle) -> None:
        market.subscribe("L1")

    def on_data(self, market: Handle, data: Data) -> None:
        self.calls += 1


def _callbacks(agent: Agent, count: int) -> float:
    """CPU seconds of ``count`` plain Python calls of an empty callback."""
    started = time.process_time()
    for _ in range(count):
        agent.on_wakeup(None)  # type: ignore[arg-type]
    return time.process_time() - started


def python_agent(sizes: Sizes) -> Iterator[Row]:
    """What it costs to leave compiled code for an agent in Python and to come back."""
    day = _synthetic(sizes.close)
    made: list[list[Any]] = []

    def building(*make: Callable[[], Any]) -> Callable[[], Simulation]:
        slot: list[Any] = []
        made.append(slot)

        def build() -> Simulation:
            slot[:] = [agent() for agent in make]
            return _replay(day, *slot)

        return build

    builds = [
        building(),
        building(partial(Sleeper, sizes.wake_ns)),
        building(partial(Looker, sizes.wake_ns)),
        building(Listener),
    ]
    _replay(day, Looker(sizes.wake_ns)).run("09:31")  # compile
    (without, *times), _ = simulating(sizes.repeats, sizes.wake_until, *builds)
    call_s = min(_callbacks(Agent(), 100_000) for _ in range(5)) / 100_000
    for metric, seconds, slot in zip(
        (
            "wake-up that asks for the next one",
            "the same, looking at best bid and ask",
            "change of the best quotes (L1)",
        ),
        times,
        made[1:],
        strict=True,
    ):
        each_s = (seconds - without) / max(slot[0].calls, 1)
        yield Row("python-agent", metric, 1e6 * each_s, "µs", "empty method call", each_s / call_s)


def tape(sizes: Sizes) -> Iterator[Row]:
    """What the tape costs: time, and bytes on disk for each row of orders."""
    for label, day in _days(sizes):
        yield from _tape_rows(label, day, sizes)


def _tape_rows(label: str, day: Tape, sizes: Sizes) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        fresh = (Path(folder) / str(i) for i in range(10**9))
        streamed = Path(folder) / "0"
        _replay(day, out=next(fresh)).run()
        (without, memory, disk), _ = simulating(
            sizes.repeats,
            None,
            lambda: _replay(day, with_tape=False),
            lambda: _replay(day),
            lambda: _replay(day, out=next(fresh)),
        )
        rows = len(Tape.load(streamed))
        size = {
            name: sum(path.stat().st_size for path in streamed.rglob(f"{name}.parquet"))
            for name in ("orders", "trades", "deltas")
        }
    yield Row("tape", f"{label}: replay without a tape", without, "s")
    for where, seconds in (("in memory", memory), ("streamed to Parquet", disk)):
        yield Row("tape", f"{label}: {where}", seconds, "s", "no tape", seconds / without)
    lean = (size["orders"] + size["trades"]) / rows
    for what, width in (
        ("orders and trades", lean),
        ("orders, trades, book changes", lean + size["deltas"] / rows),
    ):
        of, plain = "orders row in memory", sum(day.orders[name].itemsize for name in day.orders)
        yield Row("tape", f"{label}: disk, {what}", width, "bytes/row", of, width / plain)
