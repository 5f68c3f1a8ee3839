"""``marketsim train``: what it writes, refuses, and goes on with after Ctrl-C and kill -9."""

import inspect
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from marketsim import cli
from marketsim.data.pieces import Piece, hold_out
from marketsim.data.synthetic import synthetic_tape
from marketsim.errors import ConfigError, DataError
from marketsim.generators import load
from marketsim.generators.training import Training
from marketsim.train_cli import train
from marketsim.training_run import CHECKPOINT

ROOT = Path(__file__).parents[1]
TINY = ["architecture=tokens", "layers=1", "width=16", "heads=2", "window=32"]
STEPS = ["--steps", "40", "--batch", "2", "--evaluate-every", "10", "--warm-up", "5"]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of five minutes of synthetic market."""
    folder = tmp_path_factory.mktemp("data") / "day"
    synthetic_tape(open="09:30", close="09:35").save(folder)
    return folder


def arguments(day: Path, out: Path, *more: str) -> list[str]:
    sets = [word for pair in TINY for word in ("--set", pair)]
    return ["train", "trades", *sets, "--data", str(day), "--out", str(out), *STEPS, *more]


def same_weights(first: Path, second: Path) -> bool:
    a, b = (load_file(folder / "model.safetensors") for folder in (first, second))
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def whole(day: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nobody interrupted."""
    out = tmp_path_factory.mktemp("whole") / "model"
    assert cli.main(arguments(day, out, "--quiet")) == 0
    return out


def test_what_is_written(whole: Path, day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {path.name for path in whole.iterdir()} == {
        "model.json", "model.safetensors", "training.json", "learning_curve.png",
    }  # fmt: skip
    report = json.loads((whole / "training.json").read_text())
    assert report["settings"]["steps"] == 40 and report["parameters"]["layers"] == 1
    learned, held_out = report["data"][0], report["held_out"][0]
    assert learned["to"] < held_out["from"] and learned["digest"] != held_out["digest"]
    assert held_out["orders"] < learned["orders"]
    assert [step for step, _, _ in report["result"]["curve"]] == [10, 20, 30, 40]
    assert load(whole).training["best_step"] == 40
    before = (whole / "model.safetensors").stat().st_mtime_ns
    assert cli.main(arguments(day, whole)) == 0  # done already
    assert (whole / "model.safetensors").stat().st_mtime_ns == before
    assert "held-out loss at step 40" in capsys.readouterr().out


def test_another_seed_is_another_model(whole: Path, day: Path, tmp_path: Path) -> None:
    assert cli.main(arguments(day, tmp_path / "m", "--seed", "1", "--quiet")) == 0
    assert not same_weights(whole, tmp_path / "m")


def test_ctrl_c_keeps_a_checkpoint_and_says_how_to_go_on(
    whole: Path, day: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out, rate = tmp_path / "model", Training.rate

    def press(settings: Training, step: int) -> float:
        if step in (7, 23):
            monkeypatch.setattr(Training, "rate", rate)
            os.kill(os.getpid(), signal.SIGINT)
        return rate(settings, step)

    for _ in range(2):
        monkeypatch.setattr(Training, "rate", press)
        assert cli.main(arguments(day, out)) == 130
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("marketsim: interrupted; the training is kept in")
        assert "the same command goes on" in line and (out / CHECKPOINT).exists()
    monkeypatch.setattr(Training, "rate", rate)
    assert cli.main(arguments(day, out, "--quiet")) == 0
    assert not (out / CHECKPOINT).exists()
    assert same_weights(whole, out)


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_nothing(whole: Path, day: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    command = [
        sys.executable, "-m", "marketsim.cli",
        *arguments(day, out, "--quiet", "--checkpoint-every-s", "0.0001"),
    ]  # fmt: skip
    for wait_s in (0.0, 0.05, 0.11):
        before = _changed(out / CHECKPOINT)
        run = subprocess.Popen(command, cwd=ROOT)
        while run.poll() is None and _changed(out / CHECKPOINT) == before:
            time.sleep(0.002)
        time.sleep(wait_s)
        run.kill()
        run.wait()
    assert (out / CHECKPOINT).exists() and not (out / "model.json").exists()
    assert cli.main(arguments(day, out, "--quiet", "--checkpoint-every-s", "60")) == 0
    assert same_weights(whole, out)


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def error_of(capsys: pytest.CaptureFixture[str], line: list[str]) -> str:
    assert cli.main(line) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_another_model_is_not_overwritten(
    whole: Path, day: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = error_of(capsys, arguments(day, whole, "--seed", "5"))
    assert "holds a model already (seed was 0, is 5)" in said and "--force" in said
    poisson = ["train", "poisson", "--data", str(day), "--out", str(whole)]
    assert "holds a model already" in error_of(capsys, poisson)


def test_force_replaces(whole: Path, day: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    line = ["train", "poisson", "--data", str(day), "--out", str(out), "--quiet"]
    assert cli.main(line) == 0
    assert cli.main([*line, "--set", "symmetric=false"]) == 2
    assert cli.main([*line, "--set", "symmetric=false", "--force"]) == 0
    assert load(out).symmetric is False


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["trade"], "unknown generator 'trade' (did you mean 'trades'?)"),
        (["trades", "--set", "architecture=token"], "did you mean 'tokens'?"),
        (["trades", "--set", "layer=4"], "unknown key 'layer' (did you mean 'layers'?)"),
        (["trades", "--steps", "0"], "steps must be >= 1, was 0"),
        (["trades", "--set", "window=16", "--device", "gpu"], "device: 'gpu' cannot be used"),
        (["trades", "--from", "09:34:55"], "needs 258 order events"),
        (["poisson", "--steps", "4"], "steps: model 'poisson' is no network"),
        (["poisson", "--valid", "synthetic"], "valid: model 'poisson' is no network"),
        (["poisson", "--set", "bin_tick=4"], "did you mean 'bin_ticks'?"),
    ],
)
def test_what_is_refused(
    line: list[str], said: str, day: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = error_of(capsys, ["train", *line, "--data", str(day), "--out", str(tmp_path / "m")])
    assert said in shown
    assert not (tmp_path / "m").exists()


def test_flags_are_the_settings() -> None:
    flags = set(inspect.signature(train).parameters)
    assert {field.name for field in fields(Training)} <= flags
    shown = inspect.getdoc(train) or ""
    for name in ("steps", "batch", "learning_rate", "patience", "warm_up", "evaluate_every"):
        assert f"(default {getattr(Training(), name):g}" in shown or f"default {name}" in shown


def test_pieces(day: Path) -> None:
    assert Piece.parse("a@b.zip") == Piece("a@b.zip")
    hour = 3_600_000_000_000
    assert Piece.parse("x@10:00-11:00") == Piece("x", 10 * hour, 11 * hour)
    assert Piece.parse("x@-11:00", start="09:00") == Piece("x", 9 * hour, 11 * hour)
    assert Piece.parse("x", "09:00", "10:00") == Piece("x", 9 * hour, 10 * hour)
    with pytest.raises(ConfigError, match="must end after 11:00, ends at 10:00"):
        Piece.parse("x@11:00-10:00")
    with pytest.raises(DataError, match="no orders from 08:00:00 to 09:00:00"):
        Piece.parse(f"{day}@08:00-09:00").open()


def test_the_last_of_the_time_is_held_out() -> None:
    tape = synthetic_tape(open="09:30", close="09:40")
    learn, valid = hold_out(tape, 0.2)
    assert len(learn) + len(valid) == len(tape)
    cut = valid.orders["time_ns"][0] - tape.orders["time_ns"][0]
    assert cut / np.ptp(tape.orders["time_ns"]) == pytest.approx(0.8, abs=0.01)
