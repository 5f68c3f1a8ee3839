"""The realism report: its table, its files, the command, bad input."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import marketsim as ms
from marketsim import cli, evaluation
from marketsim.errors import ConfigError, DataError
from marketsim.metrics import forecaster, windows
from marketsim.tape import Tape

Make = Callable[..., Tape]
FILES = [
    "coverage.png", "lob_horizon.png", "lob_responses.png", "lob_scores.png", "predictive.png",
    "report.json", "report.md", "stylized_flow.png",
    "stylized_profiles.png", "stylized_returns.png",
]  # fmt: skip
HOUR = 3_600


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(forecaster, "MAX_EPOCHS", 1)
    monkeypatch.setattr(windows, "MOST", {"train": 200, "validation": 100, "test": 100})
    monkeypatch.setattr(windows, "MOST_SHUFFLED", {"train": 200, "validation": 100, "test": 100})


@pytest.fixture(scope="module")
def real(make_day: Make, bursts: Callable[[int, int], np.ndarray]) -> Tape:
    return make_day(bursts(3 * HOUR, 1), 1)


@pytest.fixture(scope="module")
def folder(real: Tape, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tapes") / "day"
    real.save(place)
    return place


def test_table_summary_and_files(real: Tape, tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    report = ms.evaluate(real, real, progress=lambda what, share: told.append((what, share)))
    assert isinstance(report, ms.Report)
    table = report.table
    assert list(table.columns) == [
        "section", "measure", "generated", "real", "distance", "floor", "ratio", "low", "high",
        "note",
    ]  # fmt: skip
    assert list(dict.fromkeys(table["section"])) == ["stylized", "lob", "predictive", "coverage"]
    assert not table["measure"].duplicated().any()
    pair = table[["generated", "real"]].isna().any(axis=1)  # LOB-Bench has distances only
    missing = table[["distance", "floor"]].isna().any(axis=1) | pair & (table["section"] != "lob")
    apart = table[(table["section"] == "lob") & table["distance"].notna()]
    distances = apart[~apart["measure"].str.startswith("discriminator")]["distance"]
    assert len(distances) > 40 and (distances == 0).all()
    bare = table[missing & (table["note"] == "")]
    assert list(bare["measure"]) == []
    assert report.summary["predictive"]["ratio_to_real_trained"] == 1
    assert report.summary["coverage"]["hull_coverage"] == pytest.approx(1)
    shares = [share for _, share in told]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1
    report.save(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    content = json.loads((tmp_path / "out/report.json").read_text())
    assert content["summary"] == report.summary
    assert [row["measure"] for row in content["rows"]] == list(table["measure"])
    assert set(content["data"]) == {"stylized", "lob", "predictive", "coverage"}
    page = (tmp_path / "out/report.md").read_text()
    assert all(f"![{name[:-4]}]({name})" in page for name in FILES if name.endswith(".png"))
    again = ms.evaluate(real, real)
    assert [section.data for section in again.sections] == [
        section.data for section in report.sections
    ]


def test_pictures_of_markets_that_lack_something(
    real: Tape, make_day: Make, tmp_path: Path
) -> None:
    lacking = make_day(np.full(60, 1_000))
    ms.evaluate(lacking, real, ["stylized"]).save(tmp_path / "one")
    ms.evaluate(lacking, lacking, ["coverage", "stylized"]).save(tmp_path / "two")
    assert len(list((tmp_path / "two").iterdir())) == 5  # no picture of what is not defined


def test_sections_as_asked_for(real: Tape) -> None:
    report = ms.evaluate(real, real, ["coverage", "stylized", "coverage"])
    assert [section.name for section in report.sections] == ["coverage", "stylized"]


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        (["stylised"], "metrics: unknown section 'stylised' (did you mean 'stylized'?)"),
        ([], "metrics must name one of stylized, lob, predictive, coverage, was empty"),
    ],
)
def test_unknown_sections(real: Tape, metrics: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        ms.evaluate(real, real, metrics)
    assert str(error.value) == words


def test_empty_tapes_are_refused(real: Tape, make_day: Make) -> None:
    empty = make_day(np.empty(0, np.int64))
    with pytest.raises(DataError, match=r"against: must have orders in its session, 09:30:00 to"):
        ms.evaluate(real, empty)
    with pytest.raises(DataError, match=r"^tape: must have orders"):
        ms.evaluate(empty, real)


def test_a_folder_that_cannot_be_written_is_said(real: Tape, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file: cannot be written"):
        ms.evaluate(real, real, ["stylized"]).save(tmp_path / "file")


def test_every_section_is_there() -> None:
    assert set(evaluation.SECTIONS) >= {"stylized", "predictive", "coverage"}


def run(*arguments: Any) -> int:
    return cli.main(["evaluate", *map(str, arguments)])


def test_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report"
    span = ("--from", "11:00", "--against-from", "09:30", "--against-to", "11:00")
    given = (folder, "--against", folder, *span, "--metrics", "stylized", "--out", out)
    assert run(*given) == 0
    shown = capsys.readouterr().out
    assert "MADE (?) 11:00:00 to 12:30:01" in shown.replace("\n", " ")
    assert "Stylized facts" in shown and f"Written to {out}: report.json" in shown
    facts = json.loads((out / "report.json").read_text())["summary"]
    assert (facts["generated"]["from"], facts["real"]["to"]) == ("11:00:00", "11:00:00")
    assert run(*given) == 2
    assert "holds a report already" in capsys.readouterr().err


def test_command_takes_runs_and_finds_a_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/tape").symlink_to(folder)
    for number in ("", "-2"):
        assert run("run", "--against", folder, "--metrics", "coverage", "--quiet") == 0
        assert capsys.readouterr().out == f"runs/run-against-day{number}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none", "--against", "DAY"], "none: no such file or folder"),
        (["DAY", "--against", "none"], "none: no such file or folder"),
        (["DAY", "--against", "DAY", "--metrics", "lobb"], "metrics: unknown section 'lobb'"),
        (["DAY", "--against", "DAY", "--from", "10:61"], "--from must be HH:MM[:SS"),
        (
            ["DAY", "--against", "DAY", "--against-from", "12:00", "--against-to", "11:00"],
            "--against-to must be after --against-from, was 11:00:00, --against-from was 12:00:00",
        ),
        (
            ["DAY", "--against", "DAY", "--from", "04:00", "--to", "05:00"],
            "tape: must have orders in its session",
        ),
        (["DAY", "--against", "DAY", "--seed", "-1"], "seed must be >= 0, was -1"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*(str(folder) if word == "DAY" else word for word in arguments)) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("marketsim: error: ") and shown.err.count("\n") == 1
    assert words in shown.err
    assert not Path("runs").exists() or not any(Path("runs").iterdir())


def test_interrupted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("marketsim.metrics.stylized.stylized", stop)
    assert run(folder, "--against", folder) == 130
    assert "interrupted; no report was written" in capsys.readouterr().err
    assert not any(Path("runs").iterdir())
