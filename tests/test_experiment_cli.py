"""``marketsim ab`` and ``sweep`` as a user meets them: folders, tables, one-line errors."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from marketsim import cli

AB = ["ab", "rmsc04", "--until", "10:00", "--seeds", "2"]
POV = ["--with", "pov", "--agent-set", "start=09:40", "--agent-set", "end=09:50"]
SWEEP = ["sweep", "rmsc04", "--until", "09:35", "--executor", "serial"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_ab_writes_and_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*AB, *POV, "--sizes", "participation=.1,.3"]) == 0
    shown = capsys.readouterr().out
    folder = Path("runs/ab-rmsc04-pov")
    assert f"Written to {folder}: " in shown and "95 % interval" in shown
    assert "pov, participation 0.3" in shown and "exponent" in shown and "…" not in shown
    assert json.loads((folder / "impact.json").read_text())["sizes"] == {
        "participation": [0.1, 0.3]
    }
    for picture in ("impact.png", "sizes.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    assert cli.main([*AB, *POV, "--fork-at", "09:40", "--quiet"]) == 0
    assert capsys.readouterr().out.strip() == "runs/ab-rmsc04-pov-2"  # never overwritten


def test_ab_with_a_treatment(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*AB, "--treat", "symbols.0.price_increment_ticks=5", "--out", "mine"]
    assert cli.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "Effect of symbols.0.price_increment_ticks = 5" in shown and "…" not in shown
    assert "spread [ticks]" in Path("mine/treatment.md").read_text()
    assert cli.main([*arguments, "--quiet"]) == 0  # all is there: nothing is run again
    assert cli.main([*AB, "--treat", "tape.levels=5", "--out", "mine"]) == 2


def test_sweep_writes_and_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    failing = [*SWEEP[:1], "demo", *SWEEP[2:], "--grid", "agents.pov.participation=.1,2"]
    assert cli.main(failing) == 0
    shown = capsys.readouterr().out
    assert "1 of 2 runs failed; the first: ConfigError: agents.pov: participation" in shown
    table = pd.read_parquet("runs/sweep-demo/table.parquet")
    assert table["status"].tolist() == ["ok", "failed"]
    assert "Written to runs/sweep-demo: experiment.json, runs, table.parquet" in shown


def test_own_agent_next_to_the_user() -> None:
    Path("neighbours_agents.py").write_text(
        "from marketsim.agent import Agent\nclass Quiet(Agent):\n    pass\n"
    )
    assert cli.main([*AB, "--with", "neighbours_agents:Quiet", "--quiet"]) == 0
    assert Path("runs/ab-rmsc04-neighbours_agents-Quiet/impact.md").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*AB, "--with", "pvo"], "unknown agent 'pvo' (did you mean 'pov'?)"),
        ([*AB], "give an agent (--with) or a treatment (--treat), was neither"),
        ([*AB, "--with", "pov", "--treat", "tape.levels=3"], "was both"),
        ([*AB, "--with", "pov", "--agent-set", "sise=3"], "unknown key 'sise'"),
        ([*AB, "--with", "pov", "--agent-set", "sise"], "--agent-set must be KEY=VALUE"),
        ([*AB, "--treat", "exchange.tick=3"], "unknown key 'tick'"),
        ([*AB, "--treat", "tick"], "--treat must be KEY=VALUE, was 'tick'"),
        ([*AB, *POV, "--set", "no.such=1"], "unknown key 'no'"),
        ([*AB, *POV, "--fork-at", "17:00"], "fork_at must be within the session"),
        ([*AB, *POV, "--sizes", "participation="], "--sizes must be KEY=VALUE,VALUE,..."),
        ([*AB[:-1], "0", *POV], "seeds must be >= 1, was 0"),
        ([*AB, *POV, "--workers", "0"], "workers must be >= 1, was 0"),
        (["ab", "replay", "--with", "pov"], "data must be given for agents.history"),
        (SWEEP, "grid must be at least one key"),
        ([*SWEEP, "--grid", "agents.maker.count"], "--grid must be KEY=VALUE,VALUE,..."),
        ([*SWEEP, "--grid", "agents.maker.count="], "--grid must be KEY=VALUE,VALUE,..."),
        ([*SWEEP, "--grid", "agents.maker.count=[1"], "not valid YAML"),
        ([*SWEEP, "--grid", "agents.maker.cuont=1"], "unknown key 'cuont'"),
        ([*SWEEP, "--grid", "tape.levels=1", "--grid", "tape.levels=2"], "is given twice"),
        ([*SWEEP, "--grid", "tape.levels=1", "--seeds", "0"], "seeds must be >= 1, was 0"),
        ([*SWEEP, "--grid", "tape.levels=1", "--out", "file"], "file: is a file"),
        ([*SWEEP, "--grid", "tape.levels=1", "--out", "full"], "is not empty"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("no folder")
    Path("full").mkdir()
    Path("full/letter").write_text("words")
    assert cli.main(arguments) == 2
    shown = capsys.readouterr()
    lines = [line for line in shown.err.splitlines() if "compiling" not in line]
    assert len(lines) == 1 and lines[0].startswith("marketsim: error: ")
    assert message in lines[0] and shown.out == ""
    assert not [path for path in Path("runs").glob("*") if path.is_dir()]  # no empty folders
