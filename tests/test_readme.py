"""The README does what it says: every block of Python and every command in it is run."""

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from exchange_stub import serving

from marketsim import bench, cli
from marketsim.bench_timing import Sizes
from marketsim.data import download
from marketsim.data.crypto_exchange import CryptoExchange
from marketsim.data.synthetic import synthetic_tape
from marketsim.tape import Tape

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
PYTHON = [code for language, code in BLOCKS if language == "python"]
SHELL = [
    line
    for language, code in BLOCKS
    if language == "shell"
    for line in code.splitlines()
    if not line.startswith("#")
]
INSTALLS = [line for line in SHELL if "pip install" in line]


def test_the_blocks_are_of_known_languages() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "shell"}
    assert PYTHON and SHELL


def test_python_blocks_print_what_their_comments_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "readme"}
    for code in PYTHON:
        exec(compile(code, "README.md", "exec"), namespace)
        expected = re.search(r"((?:^# .*\n)+)\Z", code, re.MULTILINE)
        assert expected, f"a block of Python shows its output at its end: {code}"
        assert capsys.readouterr().out == re.sub("^# ", "", expected[1], flags=re.MULTILINE)


def _write_hours(file: Path) -> None:
    """Bars of two assets over 20 days."""
    draw = np.random.default_rng(0)
    parts = []
    for name in ("BTCUSDT", "ETHUSDT"):
        close = 100 * np.exp(np.cumsum(draw.standard_t(5, 480) * 0.01))
        times = pd.date_range("2024-01-01", periods=480, freq="h", tz="UTC")
        prices = dict.fromkeys(("open", "high", "low", "close"), close)
        parts.append(pd.DataFrame({"time": times, "symbol": name, **prices, "volume": 1.0}))
    pd.concat(parts).to_csv(file, index=False)


def test_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A synthetic tape and a local server stand in for the user's; benchmarks are tiny."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    synthetic_tape(close="10:00").save(tmp_path / "GOOG.zip")
    _write_hours(tmp_path / "hours.csv.gz")
    monkeypatch.setattr(bench, "Sizes", lambda: Sizes(stream_rows=3_000, naive_rows=500, repeats=1))
    with serving() as stub:

        def local(name: str, market: str, base_url: None, *rest: Any) -> CryptoExchange:
            return CryptoExchange(name, market, stub.url, *rest)

        monkeypatch.setattr(download, "CryptoExchange", local)
        for line in SHELL:
            if line not in INSTALLS:
                program, *arguments = shlex.split(line)
                assert program == "marketsim"
                assert cli.main(arguments) == 0, capsys.readouterr().err
    assert Tape.load(tmp_path / "goog" / "tape").meta["symbol"] == "SYNTH"
    assert list((tmp_path / "csv").glob("*_message_*.csv"))


def test_both_install_commands_are_those_that_ci_runs() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert len(INSTALLS) == 2
    for line in INSTALLS:
        assert line in ci.splitlines()


def test_links_and_pictures_are_there() -> None:
    targets = re.findall(r'\]\(([^)]+)\)|src="([^"]+)"', README)
    for target in filter(None, (name for pair in targets for name in pair)):
        assert target.startswith("https://") or (ROOT / target).exists(), target
    assert (ROOT / "docs" / "day.png").stat().st_size < 400_000
