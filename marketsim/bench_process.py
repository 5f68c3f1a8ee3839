"""Benchmarks that need processes of their own: how fast a start is, how much memory a run takes."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from marketsim.bench_timing import Row, Sizes

_FIRST_EVENT = """
import sys, time
import marketsim as ms

class First(ms.Agent):
    def on_start(self, market):
        market.wake_at(market.open_ns + 60 * 10**9)
    def on_wakeup(self, market):
        print(time.time())

config = {"data": sys.argv[1], "agents": {"history": {"type": "replay"}}}
ms.Simulation(config, agents=[First()]).run("09:32")
"""

_PEAK = """
import sys
import marketsim as ms
from marketsim.bench_timing import peak_mib

data, out, until = sys.argv[1], sys.argv[2] or None, sys.argv[3] or None
config = {"data": data, "agents": {"history": {"type": "replay"}}}
simulation = ms.Simulation(config, out=out)
run = simulation.run(until and int(until))
print(peak_mib(), len(simulation._market.to_bytes()) / 2**20)
"""


def _python(code: str, *arguments: str, cache: Path | None = None) -> list[float]:
    """Run code in a fresh interpreter; the numbers that it printed, after its start (time.time)."""
    environment = dict(os.environ)
    if cache is not None:
        environment["MARKETSIM_CACHE_DIR"] = str(cache)
    started = time.time()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return [started, *(float(word) for word in done.stdout.split())]


def _started(code: str, *arguments: str, cache: Path | None = None) -> float:
    """Seconds from the start of a process to the time that it printed."""
    started, said, *_ = _python(code, *arguments, cache=cache)
    return said - started


def _command_line(cache: Path, *options: str) -> float:
    """Seconds that a whole ``marketsim run rmsc04`` takes, from start to exit."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.time()
        subprocess.run(
            [sys.executable, "-m", "marketsim.cli", "run", "rmsc04", "--quiet", *options],
            capture_output=True,
            check=True,
            cwd=folder,
            env={**os.environ, "MARKETSIM_CACHE_DIR": str(cache)},
        )
        return time.time() - started


def cold_start(sizes: Sizes) -> Iterator[Row]:
    """Wall time from the start of a process to the first event of a simulation."""
    from marketsim.data.synthetic import synthetic_tape

    now = "import time; print(time.time())"
    with tempfile.TemporaryDirectory() as folder:
        day, cache = str(Path(folder) / "day"), Path(folder) / "cache"
        synthetic_tape(close="09:40").save(day)
        uncached = _started(_FIRST_EVENT, day, cache=cache)
        codes = (now, f"import marketsim; {now}", f"import numpy, numba; {now}")
        first_run = _command_line(cache, "--no-report")  # compiles the populations
        rounds = [
            [
                *(_started(code) for code in codes),
                _started(_FIRST_EVENT, day, cache=cache),
                _command_line(cache, "--no-report"),
                _command_line(cache),
            ]
            for _ in range(min(sizes.repeats, 3))
        ]
    best = [min(times) for times in zip(*rounds, strict=True)]
    bare, imported, numba_imported, cached, plain_run, drawn_run = best
    reference = "import numpy, numba"
    yield Row("cold-start", "import marketsim", imported, "s", "bare Python", imported / bare)
    yield Row("cold-start", reference, numba_imported, "s")
    for metric, seconds in (
        ("to the first event, cached", cached),
        ("to the first event, first start after an install", uncached),
        ("marketsim run rmsc04 --no-report, cached", plain_run),
        ("marketsim run rmsc04, cached", drawn_run),
        ("marketsim run rmsc04 --no-report, engine cached, populations not", first_run),
    ):
        yield Row("cold-start", metric, seconds, "s", reference, seconds / numba_imported)


def memory(sizes: Sizes) -> Iterator[Row]:
    """Memory of a replay: the market's block, and the peak of a whole process."""
    from marketsim.data.source import open_tape
    from marketsim.data.synthetic import synthetic_tape

    with tempfile.TemporaryDirectory() as folder:
        days = [("synthetic day", synthetic_tape(close=sizes.close))]
        if sizes.data is not None:
            tape = open_tape(sizes.data)
            days.append((str(tape.meta["symbol"]), tape))
        for number, (label, tape) in enumerate(days):
            source, out = str(Path(folder) / f"day{number}"), str(Path(folder) / f"out{number}")
            tape.save(source)
            _python(_PEAK, source, "", "")  # compile: it takes memory of its own
            _, idle, _ = _python(_PEAK, source, "", str(tape.meta["open_ns"]))
            _, kept, block = _python(_PEAK, source, "", "")
            _, streamed, _ = _python(_PEAK, source, out, "")
            yield Row("memory", f"{label}: block of the market", block, "MiB")
            yield Row("memory", f"{label}: peak at the open", idle, "MiB")
            for where, peak in (("in memory", kept), ("streamed", streamed)):
                metric = f"{label}: peak, tape {where}"
                yield Row("memory", metric, peak, "MiB", "at the open", peak / idle)
