"""The command line as a user meets it: outputs, exit codes, one-line errors, Ctrl-C."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import marketsim
from marketsim import cli
from marketsim.clock import parse_time
from marketsim.data.synthetic import synthetic_tape
from marketsim.tape import Tape

OUTPUTS = [
    "accounts.parquet", "config.json", "report.json", "report.md", "report.png", "summary.json",
    "tape",
]  # fmt: skip


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of ten minutes of synthetic market."""
    folder = tmp_path_factory.mktemp("data") / "day"
    synthetic_tape(open="09:30", close="09:40").save(folder)
    return folder


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


def run_arguments(day: Path, *more: str) -> list[str]:
    pov = "{type: pov, side: buy, participation: 0.1, quantity: 200, start: '09:31', end: '09:39'}"
    return ["run", "replay", "--set", f"data={day}", "--set", f"agents.pov={pov}", *more]


def the_error(capsys: pytest.CaptureFixture[str]) -> str:
    shown = capsys.readouterr()
    lines = [line for line in shown.err.splitlines() if not line.startswith("marketsim: compiling")]
    assert len(lines) == 1
    assert lines[0].startswith("marketsim: error: ")
    assert shown.out == ""
    return lines[0].removeprefix("marketsim: error: ")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"marketsim {marketsim.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        *(["data", *more, "--help"] for more in ([], ["convert"], ["download"])),
    ],
)
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert left.value.code == 0
    assert "usage: marketsim" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["rnu"],
        ["run", "--sed", "3"],
        ["run", "--seed", "many"],
        ["data"],
        ["data", "convert", "a", "b", "--to", "word"],
        ["data", "download", "binance", "--symbols", "BTC/USDT"],
    ],
)
def test_usage_errors_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert left.value.code == 2
    assert capsys.readouterr().err


def test_run_writes_everything_and_says_where(
    day: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(run_arguments(day)) == 0
    folder = Path("runs/replay-seed0")
    assert sorted(path.name for path in folder.iterdir()) == OUTPUTS
    shown = capsys.readouterr().out
    assert f"Written to {folder}: {', '.join(OUTPUTS)}" in shown
    assert "pov" in shown
    assert "volume [lots]" in shown
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["seed"] == 0
    assert len(summary["digest"]) == 64
    assert len(Tape.load(folder / "tape")) == summary["orders"]
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")
    report = json.loads((folder / "report.json").read_text())
    assert report["accounts"]["name"] == ["history", "pov"]
    assert sum(row["orders"] for row in report["half_hours"]) > 0
    assert "Half hours" in shown
    assert "| pov |" in (folder / "report.md").read_text()


def test_a_run_is_run_again_from_its_own_config(
    day: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(run_arguments(day, "--quiet", "--no-report", "--seed", "7")) == 0
    first = Path(capsys.readouterr().out.strip())
    assert first == Path("runs/replay-seed7")
    assert not list(first.glob("report.*"))
    again = ["run", str(first / "config.json"), "--seed", "7", "--quiet", "--no-report"]
    assert cli.main(again) == 0
    second = Path(capsys.readouterr().out.strip())
    assert second == Path("runs/replay-seed7-2")  # results are never overwritten
    digests = [json.loads((f / "summary.json").read_text())["digest"] for f in (first, second)]
    assert digests[0] == digests[1]


def test_out_refuses_a_folder_that_holds_a_run(
    day: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = run_arguments(day, "--quiet", "--no-report", "--out", "mine")
    assert cli.main(arguments) == 0
    before = (Path("mine") / "summary.json").read_bytes()
    capsys.readouterr()
    assert cli.main(arguments) == 2
    assert the_error(capsys) == "--out mine: holds a run already; choose another folder"
    assert (Path("mine") / "summary.json").read_bytes() == before


def test_until_ends_early(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(run_arguments(day, "--quiet", "--no-report", "--until", "09:33")) == 0
    tape = Tape.load(Path(capsys.readouterr().out.strip()) / "tape")
    assert len(tape) > 0
    assert tape.orders["time_ns"][-1] <= parse_time("09:33")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "dmo"], "unknown config 'dmo' (did you mean 'demo'?)"),
        (["run", "none.yaml"], "none.yaml: cannot read the configuration"),
        (["run", "replay"], "data must be given for agents.history to replay"),
        (["run", "--set", "data"], "--set must be KEY=VALUE, was 'data'"),
        (
            ["run", "--set", "agents.pov.participaton=0.2"],
            "agents.pov: unknown key 'participaton' (did you mean 'participation'?)",
        ),
        (["run", "--set", "agents.pov.participation=-1"], "agents.pov: participation"),
        (["run", "--set", "tape.levels=0"], "tape.levels must be >= 1, was 0"),
        (["run", "--until", "25:00"], "--until must be HH:MM"),
        (["run", "--set", "data=nothing.zip"], "nothing.zip"),
        (["data", "inspect", "nothing.zip"], "nothing.zip: no such file or folder"),
        (["data", "inspect", "."], "."),
        (["run", "--set", "agents.pov.quantity=-5"], "agents.pov: quantity must be an integer > 0"),
        (["run", "--set", "session.open=25:00"], "session.open must be HH:MM"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    assert message in the_error(capsys)
    assert not [path for path in Path("runs").glob("*") if path.is_dir()]  # no empty folders


def test_unwritable_output(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("no folder")
    assert cli.main(run_arguments(day, "--quiet", "--out", "file/run")) == 2
    assert "file" in the_error(capsys)
    Path("runs").write_text("no folder either")
    assert cli.main(run_arguments(day, "--quiet")) == 2
    assert "runs" in the_error(capsys)


def test_names_that_are_no_folders_stay_below_runs(
    day: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = run_arguments(day, "--quiet", "--no-report", "--set", "name=../a b")
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.strip() == str(Path("runs/..-a-b-seed0"))


def test_data_inspect_and_convert(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "inspect", "synthetic"]) == 0
    assert cli.main(["data", "inspect", str(day)]) == 0
    assert "average price of trades" in capsys.readouterr().out
    assert cli.main(["data", "convert", str(day), "copy"]) == 0
    assert Tape.load("copy").digest() == Tape.load(day).digest()
    assert cli.main(["data", "convert", str(day), "csv", "--to", "lobster"]) == 0
    assert len(list(Path("csv").glob("*_message_*.csv"))) == 1
    assert cli.main(["data", "convert", str(day), "training", "--to", "trades-lob"]) == 0
    assert any(path.name.startswith("training") for path in Path(".").iterdir())
    capsys.readouterr()
    assert cli.main(["data", "convert", str(day), "copy"]) == 2
    assert the_error(capsys) == "copy: exists already; give another place"


def test_own_agent_next_to_the_user(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("neighbours_agents.py").write_text(
        "from marketsim.agent import Agent\nclass Quiet(Agent):\n    pass\n"
    )
    mine = "agents.mine={type: 'neighbours_agents:Quiet'}"
    assert cli.main(run_arguments(day, "--quiet", "--no-report", "--set", mine)) == 0
    accounts = json.loads((Path("runs/replay-seed0") / "summary.json").read_text())["agents"]
    assert "mine" in accounts


INTERRUPTED = """
import sys, _thread
from marketsim import cli, simulation

real = simulation.run

def interrupted(config, **given):
    given["progress"] = lambda *so_far: None
    _thread.interrupt_main()
    return real(config, **given)

simulation.run = interrupted
sys.exit(cli.main(sys.argv[1:]))
"""


def test_ctrl_c_exits_with_130_and_says_what_was_written(day: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *run_arguments(day)], capture_output=True, text=True
    )
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert "marketsim: interrupted; " in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_ctrl_c_from_the_keyboard_while_a_day_runs() -> None:
    command = [sys.executable, "-m", "marketsim.cli", "run"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    tape = Path("runs/world-seed0/tape")
    started = tape / "manifest.json"
    deadline_s = time.monotonic() + 120
    while not started.exists() and running.poll() is None and time.monotonic() < deadline_s:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert "Traceback" not in said
    if running.returncode == 130:
        assert "marketsim: interrupted; " in said.splitlines()[-1]
        Tape.load(tape)  # readable
    else:
        assert running.returncode == 0  # it was done before the signal came
