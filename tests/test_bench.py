"""The benchmarks: their names, the shape of their rows, errors. Nothing here looks at a clock."""

import json
import math
from pathlib import Path

import pytest

from marketsim import bench, cli
from marketsim.bench_timing import Sizes, fastest

TINY = Sizes(
    stream_rows=3_000,
    naive_rows=500,
    close="09:35",
    stream_orders=20_000,
    wake_until="09:31",
    wake_ns=1_000_000_000,
    day_until="09:31",
    batch_steps=1,
    world={"layers": 1, "width": 16, "heads": 2},
    world_calls=2,
    world_s=5,
    env_steps=24,
    strategy_windows=60,
    repeats=1,
)
KEYS = ["name", "metric", "value", "unit", "reference", "ratio"]


def test_names() -> None:
    assert list(bench.BENCHMARKS) == [
        "book",
        "replay",
        "python-agent",
        "tape",
        "stream",
        "day",
        "rules",
        "batch",
        "evaluate",
        "world",
        "env",
        "strategies",
        "cold-start",
        "memory",
    ]


@pytest.mark.parametrize("name", ["book", "replay", "python-agent", "tape", "strategies"])
def test_rows(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = bench.run([name, name], tmp_path / "rows.json", sizes=TINY)
    assert json.loads((tmp_path / "rows.json").read_text()) == rows
    metrics = [row["metric"] for row in rows]
    assert len(set(metrics)) == len(metrics) > 0  # a name given twice is run once
    for row in rows:
        assert list(row) == KEYS
        assert row["name"] == name
        assert math.isfinite(row["value"])
        assert (row["reference"] is None) == (row["ratio"] is None)
    assert metrics[0].split()[0] in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["stream", "day", "rules", "batch", "evaluate", "world", "env", "cold-start", "memory"]
)
def test_rows_of_processes(name: str) -> None:
    rows = bench.run([name], sizes=TINY)
    assert rows and all(row["value"] > 0 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bok"], "bench: unknown benchmark 'bok' (did you mean 'book'?); known: book, replay,"),
        (["book", "--json", "none/rows.json"], "none/rows.json: cannot be written"),
        (["book", "--data", "none.zip"], "none.zip: no such file or folder"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert message in shown.err
    assert shown.out == ""


def test_fastest_takes_turns() -> None:
    turns: list[str] = []
    times = fastest(lambda: turns.append("a"), lambda: turns.append("b"), repeats=3)
    assert turns == list("ababab")
    assert len(times) == 2
