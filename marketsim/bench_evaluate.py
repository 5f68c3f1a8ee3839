"""Benchmark of the realism report: time and peak memory, in a process of its own."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from marketsim.bench_timing import Row, Sizes

_MEASURE = """
import json, sys, time
from marketsim.bench_timing import peak_mib
from marketsim.data.source import open_tape

tape, metrics = sys.argv[1], sys.argv[2].split()
real = open_tape(tape)
rows, before = len(real.book), peak_mib()
generated = open_tape(tape)
started = time.process_time(), time.perf_counter()
from marketsim.evaluation import evaluate
evaluate(generated, real, metrics).save(sys.argv[3])
spent = time.process_time() - started[0], time.perf_counter() - started[1]
print(json.dumps({"cpu_s": spent[0], "wall_s": spent[1], "peak_mib": peak_mib(), "rows": rows,
                  "read_mib": before}))
"""


def evaluate(sizes: Sizes) -> Iterator[Row]:
    """A day against itself, pictures included: each section alone, and all of them.

    The day is the synthetic one, or the real one of ``sizes.data``.
    """
    from marketsim.data.source import open_tape
    from marketsim.data.synthetic import synthetic_tape
    from marketsim.evaluation import SECTIONS

    with tempfile.TemporaryDirectory() as folder:
        tape = open_tape(sizes.data) if sizes.data else synthetic_tape(close=sizes.close)
        label = str(tape.meta["symbol"]) if sizes.data else "synthetic day"
        day, out = str(Path(folder) / "day"), str(Path(folder) / "out")
        tape.save(day)
        _measure(day, "stylized", out)  # compiles what is not compiled yet
        parts = {name: _measure(day, name, out) for name in SECTIONS}
        whole = _measure(day, " ".join(SECTIONS), out)
    yield Row("evaluate", f"{label}: rows of orders", whole["rows"], "rows")
    for name, part in parts.items():
        share = part["cpu_s"] / whole["cpu_s"]
        yield Row("evaluate", f"{label}: {name}", part["cpu_s"], "s", "all sections", share)
    yield Row("evaluate", f"{label}: all sections", whole["cpu_s"], "s")
    yield Row("evaluate", f"{label}: all sections, wall time", whole["wall_s"], "s")
    times = whole["peak_mib"] / whole["read_mib"]
    yield Row(
        "evaluate", f"{label}: peak memory", whole["peak_mib"], "MiB", "the tape once read", times
    )


def _measure(tape: str, metrics: str, out: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, tape, metrics, out],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found
