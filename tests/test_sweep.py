"""Sweeps: the same table whoever did it; interrupted, killed, failing, resumed."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import marketsim as ms
from marketsim.errors import ConfigError, DataError, StateError
from marketsim.executor import Failure, SerialExecutor, create_executor
from marketsim.process_pool import ProcessExecutor
from marketsim.run_store import RunStore

GRID: dict[str, Any] = {"agents.maker.count": [1, 2], "symbols.0.price_increment_ticks": [1, 5]}
SHORT: dict[str, Any] = {"until": "09:45"}

AGENTS = """
import os, signal
from marketsim.agent import Agent

class Trouble(Agent):
    def __init__(self, mood="well"):
        self.mood = mood
    def on_start(self, market):
        market.wake_after(60_000_000_000)
    def on_wakeup(self, market):
        if self.mood == "raises":
            raise ZeroDivisionError("a bug\\nin an agent")
        if self.mood == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.mood == "exits":
            os._exit(3)
"""


def equal(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(one, other, check_exact=True)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return ms.sweep("rmsc04", GRID, 2, "serial", **SHORT)


def test_rows_are_runs_in_the_order_of_the_grid(table: pd.DataFrame) -> None:
    assert len(table) == 8
    assert table["agents.maker.count"].tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    assert table["symbols.0.price_increment_ticks"].tolist() == [1, 1, 5, 5] * 2
    assert table["seed"].tolist() == [0, 1] * 4
    assert (table["status"] == "ok").all() and (table["error"] == "").all()
    overrides = {"agents.maker.count": 2, "symbols.0.price_increment_ticks": 5}
    run = ms.run("rmsc04", seed=1, overrides=overrides, **SHORT)
    assert table["digest"].iloc[7] == run.summary["digest"]
    assert table["digest"].nunique() == 8
    wide = table.groupby("symbols.0.price_increment_ticks")["spread_ticks"].mean()
    assert wide[5] > wide[1]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_the_table_does_not_depend_on_processes(table: pd.DataFrame, workers: int) -> None:
    equal(ms.sweep("rmsc04", GRID, 2, workers=workers, **SHORT), table)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_the_table_does_not_depend_on_ray(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    folder = tmp_path / "out"
    code = f"ms.sweep('rmsc04', {GRID!r}, 2, 'ray', workers=2, until='09:45', out={str(folder)!r})"
    done = subprocess.run(
        [sys.executable, "-c", f"import marketsim as ms; {code}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    ms.sweep("rmsc04", GRID, 2, "serial", out=tmp_path / "here", **SHORT)
    assert (folder / "table.parquet").read_bytes() == (tmp_path / "here/table.parquet").read_bytes()
    written = pd.read_parquet(folder / "table.parquet")
    pd.testing.assert_frame_equal(written, table, check_dtype=False)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_a_cluster_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(StateError, match="ray_address 127.0.0.1:9: nobody answers"):
        ms.sweep("rmsc04", GRID, 1, "ray", ray_address="127.0.0.1:9", **SHORT)


def test_ray_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="'ray' is not installed"):
        ms.sweep("rmsc04", GRID, 1, "ray", **SHORT)


def test_a_sweep_resumes_and_grows(table: pd.DataFrame, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    part = {"agents.maker.count": [1], "symbols.0.price_increment_ticks": [1, 5]}
    ms.sweep("rmsc04", part, 2, "serial", out=folder, **SHORT)
    kept = {path: path.stat().st_mtime_ns for path in (folder / "runs").iterdir()}
    told: list[tuple[int, int]] = []
    grown = ms.sweep(
        "rmsc04", GRID, 2, "serial", out=folder, progress=lambda *n: told.append(n), **SHORT
    )
    assert told == [(n, 8) for n in range(4, 9)]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    equal(grown, table)
    written = pd.read_parquet(folder / "table.parquet")
    pd.testing.assert_frame_equal(written, table, check_dtype=False)


def test_what_is_damaged_is_lost_and_done_again(table: pd.DataFrame, tmp_path: Path) -> None:
    ms.sweep("rmsc04", GRID, 2, "serial", out=tmp_path / "out", **SHORT)
    runs = sorted((tmp_path / "out/runs").iterdir())
    runs[0].write_text(runs[0].read_text()[:100])
    runs[1].write_text(runs[2].read_text())  # another run's result in its place
    told: list[int] = []
    again = ms.sweep(
        "rmsc04", GRID, 2, "serial", out=tmp_path / "out",
        progress=lambda done, _: told.append(done), **SHORT,
    )  # fmt: skip
    assert told == [6, 7, 8]
    equal(again, table)


DIFFERENT: list[dict[str, Any]] = [
    {"config": "rmsc03"},
    {"overrides": {"oracle.volatility": 1e-4}},
    {"until": "09:46"},
    {"grid": {"agents.maker.count": [1, 2]}},
]


@pytest.mark.parametrize("changed", DIFFERENT, ids=lambda changed: next(iter(changed)))
def test_a_folder_of_another_sweep_is_refused(changed: dict[str, Any], tmp_path: Path) -> None:
    first: dict[str, Any] = {"config": "rmsc04", "grid": GRID, "seeds": 1, "until": "09:31"}
    ms.sweep(executor="serial", out=tmp_path / "out", **first)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    with pytest.raises(DataError, match="holds another experiment"):
        ms.sweep(executor="serial", out=tmp_path / "out", **(first | changed))
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")} == before


def test_another_file_of_the_same_name_is_other_data(tmp_path: Path) -> None:
    from marketsim.data.synthetic import synthetic_tape

    config = {"data": str(tmp_path / "day"), "agents": {"history": {"type": "replay"}}}
    grid = {"tape.levels": [1, 2]}
    synthetic_tape(open="09:30", close="09:32").save(tmp_path / "day")
    first = ms.sweep(config, grid, 1, "serial", out=tmp_path / "out")
    (tmp_path / "day").rename(tmp_path / "old")
    synthetic_tape(open="09:30", close="09:33").save(tmp_path / "day")
    second = ms.sweep(config, grid, 1, "serial", out=tmp_path / "out")
    assert (second["orders"] > first["orders"]).all()


@pytest.fixture
def trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A market with an agent that can be told to fail, in a module next to the user."""
    (tmp_path / "troubled_agents.py").write_text(AGENTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield {"agents": {"trouble": {"type": "troubled_agents:Trouble"}, "pov": {"type": "pov"}}}
    sys.modules.pop("troubled_agents", None)


def test_a_failed_run_is_a_row_and_the_others_go_on(
    trouble: dict[str, Any], tmp_path: Path
) -> None:
    given: dict[str, Any] = {
        "config": trouble, "grid": {"agents.trouble.mood": ["well", "raises"]}, "seeds": 2,
        "executor": "serial", "out": tmp_path / "out", **SHORT,
    }  # fmt: skip
    table = ms.sweep(**given)
    assert table["status"].tolist() == ["ok", "ok", "failed", "failed"]
    assert table["error"].tolist()[1:3] == ["", "ZeroDivisionError: a bug in an agent"]
    assert table["note"].str.contains("never has two sides")[:2].all()  # an empty market
    assert (table["note"][2:] == "failed: see error").all()
    told: list[int] = []
    equal(ms.sweep(progress=lambda done, _: told.append(done), **given), table)
    assert told == [4]  # what failed is not done again, unless it is asked for
    equal(ms.sweep(retry_failed=True, progress=lambda n, _: told.append(n), **given), table)
    assert told == [4, 2, 3, 4]


def test_a_parameter_that_the_run_refuses_is_a_row(tmp_path: Path) -> None:
    grid = {"agents.pov.participation": [0.1, 2]}
    table = ms.sweep("demo", grid, 1, "serial", **SHORT)
    assert table["status"].tolist() == ["ok", "failed"]
    assert "ConfigError: agents.pov: participation must be" in table["error"].iloc[1]


@pytest.mark.slow
def test_a_process_that_dies_is_a_row_and_the_others_go_on(trouble: dict[str, Any]) -> None:
    grid = {"agents.trouble.mood": ["well", "dies", "exits", "raises", "well "]}
    table = ms.sweep(trouble, grid, 1, workers=2, **SHORT)
    assert table["status"].tolist() == ["ok", "failed", "failed", "failed", "ok"]
    assert table["error"].tolist()[1:3] == [
        "WorkerDied: the process was ended by SIGKILL",
        "WorkerDied: the process ended with exit code 3",
    ]


def test_tables_hold_values_that_are_no_numbers() -> None:
    table = ms.sweep("rmsc04", {"latency": [{"model": "constant", "latency_ns": 5}, None]}, 1,
                     "serial", until="09:31")  # fmt: skip
    assert table["latency"].tolist() == ["{'model': 'constant', 'latency_ns': 5}", "null"]


def test_no_cell_is_empty_without_a_word() -> None:
    table = ms.sweep("demo", {"agents.pov": [None, {"type": "pov", "start": "09:40"}]}, 1,
                     "serial", until="09:35")  # fmt: skip
    for _, row in table.iterrows():
        for column in table.columns:
            assert pd.notna(row[column]) or column in row["note"], column
    assert "not in this market: agents.pov.side" in table["note"].iloc[0]
    assert "agents.pov.shortfall_bps: the agent tells of none" in table["note"].iloc[1]


def test_a_folder_that_was_killed_at_birth_is_ours(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/experiment.json.17.tmp").write_text('{"half"')
    RunStore(tmp_path / "out", {"a": 1})
    assert json.loads((tmp_path / "out/experiment.json").read_text()) == {"a": 1}


def test_a_result_that_is_no_json_is_not_committed(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "out", {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        store.commit("k", {"value": float("nan")})
    assert store.load("k") is None and not list((tmp_path / "out/runs").iterdir())
    store.commit("k", Failure("Error: words", True))
    assert store.load("k") == Failure("Error: words", True)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"grid": {}}, "grid must be at least one key"),
    ({"grid": {"agents.maker.count": []}}, "values must be at least one, were none"),
    ({"grid": {"agents.maker.count": "12"}}, "grid agents.maker.count must be a list"),
    ({"grid": {"agents.maker.count": [1, 1]}}, "values must be given once"),
    ({"grid": {"agents.maker.cuont": [1]}}, "unknown key 'cuont'"),
    ({"grid": {"agents.makre.count": [1]}}, "no agent 'makre'"),
    ({"grid": {"agents.maker.count": [1, 0]}}, "agents.maker.count must be >= 1, was 0"),
    ({"seeds": 0}, "seeds must be >= 1, was 0"),
    ({"seeds": []}, "at least one"),
    ({"seeds": [-1]}, "seeds must be integers from 0"),
    ({"seeds": True}, "seeds must be a number"),
    ({"until": "late"}, "until must be HH:MM"),
    ({"workers": 0}, "workers must be >= 1, was 0"),
    ({"executor": "thread"}, "executor must be one of processes, ray, serial"),
    ({"executor": "serial", "workers": 2}, "workers must be 1 with executor 'serial'"),
    ({"ray_address": "auto"}, "only executor 'ray' has one"),
]


@pytest.mark.parametrize(("given", "message"), BAD, ids=lambda value: str(value)[:40])
def test_bad_input_is_named(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"config": "rmsc04", "grid": GRID, "seeds": 1, **SHORT}
    with pytest.raises(ConfigError, match=message):
        ms.sweep(**(asked | given), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_executors_by_name() -> None:
    assert isinstance(create_executor("serial"), SerialExecutor)
    pool = create_executor("processes", 3)
    assert isinstance(pool, ProcessExecutor) and pool.workers == 3
    assert create_executor(pool) is pool
    assert list(
        SerialExecutor().run(lambda job: {"twice": 2 * job["n"]}, [{"n": 1}, {"n": 2}])
    ) == [
        (0, {"twice": 2}),
        (1, {"twice": 4}),
    ]


def test_a_script_without_its_guard_is_told_what_it_lacks(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import marketsim as ms\n"
        "try:\n    ms.sweep('rmsc04', {'tape.levels': [1]}, 1, until='09:31')\n"
        "except ms.errors.StateError as error:\n    print('told:', error)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert "told: a worker process could not start" in done.stdout
    assert "if __name__ == '__main__':" in done.stdout


def command(folder: Path) -> list[str]:
    return [
        sys.executable, "-m", "marketsim.cli", "sweep", "rmsc04",
        "--grid", "agents.maker.count=1,2", "--grid", "symbols.0.price_increment_ticks=1,5",
        "--seeds", "4", "--out", str(folder),
        "--workers", "2",
    ]  # fmt: skip


def started(folder: Path, runs: int) -> "subprocess.Popen[str]":
    """A sweep of 16 days that has done some of them."""
    process = subprocess.Popen(
        command(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    deadline_s = time.monotonic() + 120
    while len(list((folder / "runs").glob("*.json"))) < runs:
        assert process.poll() is None and time.monotonic() < deadline_s
        time.sleep(0.005)
    return process


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def whole_days() -> pd.DataFrame:
    return ms.sweep("rmsc04", GRID, 4, "serial")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_half_way_and_run_again(
    how: signal.Signals, whole_days: pd.DataFrame, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    process = started(folder, 3)
    if how == signal.SIGKILL:
        process.kill()  # the parent only: its workers must notice
    else:
        os.killpg(process.pid, how)  # as a terminal does
    _, said = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 130 and "Traceback" not in said
        assert f"the same command with --out {folder} goes on from there" in said
    deadline_s = time.monotonic() + 60
    while alive(process.pid) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert not alive(process.pid)  # no worker is left behind
    kept = {path: path.stat().st_mtime_ns for path in (folder / "runs").glob("*.json")}
    assert 3 <= len(kept) < 16 and not (folder / "table.parquet").exists()
    told: list[int] = []
    table = ms.sweep(
        "rmsc04", GRID, 4, "serial", out=folder, progress=lambda done, _: told.append(done)
    )
    assert told == list(range(len(kept), 17))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    equal(table, whole_days)


def test_identity_is_written_as_json(tmp_path: Path) -> None:
    ms.sweep("rmsc04", {"tape.levels": [1]}, 1, "serial", out=tmp_path / "out", until="09:31")
    manifest = json.loads((tmp_path / "out/experiment.json").read_text())
    assert manifest["experiment"] == "sweep" and manifest["keys"] == ["tape.levels"]
