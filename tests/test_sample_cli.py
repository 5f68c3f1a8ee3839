"""``marketsim sample``: synthetic order flow in three formats."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from marketsim import cli
from marketsim.data.lobster import read_lobster
from marketsim.data.synthetic import synthetic_tape
from marketsim.generators import create
from marketsim.generators.poisson import PoissonFlow
from marketsim.tape import Tape


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with five minutes of market and a model that was fitted to it."""
    folder = tmp_path_factory.mktemp("data")
    tape = synthetic_tape(open="09:30", close="09:35")
    tape.save(folder / "day")
    create("poisson").fit([tape]).save(folder / "model")
    return folder


def line(place: Path, out: Path, *more: str) -> list[str]:
    model, day = str(place / "model"), f"{place / 'day'}@09:30-09:33"
    return ["sample", model, "--warm-up", day, "--out", str(out), *more]


def test_three_formats_of_the_same_orders(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(line(place, tmp_path / "a", "--n", "200")) == 0
    assert "Rejected draws 0.00 %" in capsys.readouterr().out
    tape = Tape.load(tmp_path / "a/tape")
    assert len(tape) >= 200 and tape.orders["time_ns"][0] >= 34_380_000_000_000
    table = pd.read_csv(tmp_path / "a/trades_lob.csv")
    assert table.shape[1] == 50 and len(table) >= len(tape)
    message = next((tmp_path / "a/lobster").glob("*message_10.csv"))
    back = read_lobster(message)
    assert np.isin(back.orders["time_ns"], tape.orders["time_ns"]).all()
    about = json.loads((tmp_path / "a/sample.json").read_text())
    assert about["orders"] == len(tape) and about["world"]["model"] == "poisson"
    assert cli.main(line(place, tmp_path / "a", "--n", "200")) == 2
    assert "exists already" in capsys.readouterr().err


def test_seeds_ends_and_warm_up(place: Path, tmp_path: Path) -> None:
    def made(name: str, *more: str) -> Tape:
        assert cli.main(line(place, tmp_path / name, "--until", "09:34", "--quiet", *more)) == 0
        return Tape.load(tmp_path / name / "tape")

    tape = made("a")
    assert tape.digest() == made("b").digest() != made("c", "--seed", "1").digest()
    assert tape.orders["time_ns"][0] >= 34_380_000_000_000
    assert tape.orders["time_ns"][-1] <= 34_440_000_000_000
    both, day = made("d", "--with-warm-up"), Tape.load(place / "day").between("09:30", "09:33")
    assert len(both) == len(day) + len(tape)
    assert np.array_equal(both.orders["time_ns"][: len(day)], day.orders["time_ns"])


def test_ctrl_c_keeps_what_there_is(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw, calls = PoissonFlow.next_orders, 0

    def press(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 20:
            os.kill(os.getpid(), signal.SIGINT)
        return draw(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(PoissonFlow, "next_orders", press)
    assert cli.main(line(place, tmp_path / "a")) == 130
    assert "orders until 09:33:" in capsys.readouterr().err
    assert 0 < len(Tape.load(tmp_path / "a/tape")) < 100


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--n", "5", "--until", "09:40"], "n and until exclude each other"),
        (["--n", "0"], "n must be >= 1, was 0"),
        (["--until", "09:32"], "until must be after the warm-up, which ends at 09:33"),
        (["--set", "steps=4"], "unknown key 'steps'"),
        (["--device", "cuda"], "device must be 'cpu' for model 'poisson', was 'cuda'"),
    ],
)
def test_what_is_refused(
    more: list[str], said: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(line(place, tmp_path / "a", *more)) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
