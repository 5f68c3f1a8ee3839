"""``marketsim data`` of bars and of windows of returns: download, inspect, convert."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from exchange_stub import HOUR_S, START_S, serving

import marketsim as ms
from marketsim import cli
from marketsim.errors import DataError


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    """Folder with a file of 60 hours of each of two assets; three hours of one are missing."""
    folder = tmp_path / "bars"
    folder.mkdir()
    for name, missing in (("BTCUSDT", ()), ("ETHUSDT", (30, 31, 40))):
        close = 100.0 + np.arange(60) % 7
        frame = pd.DataFrame({"time": START_S + HOUR_S * np.arange(60), "symbol": name})
        for column in ("open", "high", "low", "close"):
            frame[column] = close
        frame["volume"] = 1.0
        frame.drop(index=list(missing)).to_csv(folder / f"{name}.csv.gz", index=False)
    return folder


def error_of(capsys: pytest.CaptureFixture[str], *line: str) -> str:
    assert cli.main(["data", *line]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("marketsim: error: ") and len(shown.strip().splitlines()) == 1
    return shown


def test_download(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ccxt", reason="needs ccxt: pip install 'marketsim-lob[crypto]'")
    out = tmp_path / "bars"
    with serving() as stub:
        stub.gaps = [(START_S + at * HOUR_S, START_S + (at + 2) * HOUR_S) for at in range(3, 30, 4)]
        line = [
            "download", "bybit", "--symbols", "BTC/USDT, eth/usdt", "--from", "2024-01-01",
            "--until", "2024-01-03", "--out", str(out), "--format", "parquet",
            "--base-url", stub.url,
        ]  # fmt: skip
        assert cli.main(["data", *line]) == 0
        shown = capsys.readouterr().out
        assert "34 bars of BTC/USDT, 34 new, 2024-01-01 00:00 to 2024-01-02 23:00 UTC" in shown
        assert "7 gaps in the exchange's data: 2024-01-01 03:00 to 2024-01-01 04:00; " in shown
        assert "; and 2 more\n" in shown and "bybit-spot-ETHUSDT-1h.parquet: 34 bars" in shown
        stub.gaps = []
        assert cli.main(["data", *line]) == 0
        assert "48 bars of BTC/USDT, 14 new, " in (shown := capsys.readouterr().out)
        assert shown.count(" UTC, no gaps\n") == 2
        assert cli.main(["data", *line, "--quiet"]) == 0
        assert capsys.readouterr().out.split() == [
            str(out / f"bybit-spot-{name}-1h.parquet") for name in ("BTCUSDT", "ETHUSDT")
        ]
        assert "did you mean 'BTC/USDT'?" in error_of(capsys, *line, "--symbols", "BTC/USTD")
        assert "symbols: must be a list" in error_of(capsys, *line, "--symbols", " , ")
        stub.faults = [(403, {})]
        assert "HTTP 403" in error_of(capsys, *line, "--until", "2024-01-09")
    assert ms.read_bars(out).symbols == ("BTCUSDT", "ETHUSDT")


def test_ctrl_c_says_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*values: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("marketsim.data.download.download_bars", interrupted)
    line = ["data", "download", "bybit", "--symbols", "A/B", "--from", "2024-01-01"]
    assert cli.main([*line, "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "marketsim: interrupted; nothing was written\n"
    (tmp_path / "bybit-spot-AB-1h.csv.gz.part").write_text("")
    assert cli.main([*line, "--out", str(tmp_path)]) == 130
    assert f"bars so far are kept in {tmp_path}; the same command" in capsys.readouterr().err


def test_inspect_bars(bars: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "inspect", str(bars)]) == 0
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "Bars of 3,600 s (UTC)" in shown
    assert "BTCUSDT 60 2024-01-01 00:00 2024-01-03 11:00 0 100 103" in shown
    assert "ETHUSDT 57 2024-01-01 00:00 2024-01-03 11:00 3 100 103" in shown
    assert [line for line in shown[shown.index("Gaps") :] if "ETHUSDT" in line] == [
        "ETHUSDT 2 2024-01-02 06:00 2024-01-02 07:00",
        "ETHUSDT 1 2024-01-02 16:00 2024-01-02 16:00",
    ]
    assert cli.main(["data", "inspect", str(bars / "BTCUSDT.csv.gz")]) == 0
    assert "Gaps" not in capsys.readouterr().out


def test_convert_to_windows(bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "windows.npz"
    line = ["data", "convert", str(bars), str(out), "--to", "windows"]
    assert cli.main([*line, "--window", "6", "--stride", "2", "--price", "mid"]) == 0
    windows = ms.read_windows(out)
    expected = ms.read_bars(bars).windows(6, 2, price="mid")
    np.testing.assert_array_equal(windows.log_returns, expected.log_returns)
    np.testing.assert_array_equal(windows.start_s, expected.start_s)
    assert "19 windows of 6 returns of BTCUSDT, ETHUSDT; 8 with gaps" in capsys.readouterr().out
    assert cli.main(["data", "inspect", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "2024-01-01 00:00" in shown and "2024-01-03 04:00" in shown and "BTCUSDT, ETH" in shown
    assert "exists already" in error_of(capsys, *line[1:])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--to", "windows", "--window", "0"], "steps must be >= 1, was 0"),
        (["--to", "windows", "--window", "59"], "too few for one window of 59 steps"),
        (
            ["--to", "windows", "--assets", "BTCUSD"],
            "no bars of 'BTCUSD' (did you mean 'BTCUSDT'?)",
        ),
        (["--to", "windows", "--price", "open"], "price must be one of close, mid, was 'open'"),
        (
            ["--to", "lobster", "--stride", "2"],
            "--stride: is of --to windows, was with --to lobster",
        ),
    ],
)
def test_conversions_that_cannot_be(
    more: list[str], message: str, bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "windows.npz"
    assert message in error_of(capsys, "convert", str(bars), str(out), *more)
    assert not out.exists()


def test_what_is_neither_is_named(
    bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "must end in .npz" in error_of(
        capsys, "convert", str(bars), str(tmp_path / "out"), "--to", "windows"
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.csv").write_text("")
    assert "empty" in error_of(capsys, "inspect", str(empty))
    archive = tmp_path / "some.npz"
    np.savez(archive, prices=np.ones(3))
    assert "has no array log_return" in error_of(capsys, "inspect", str(archive))
    (bars / "ETHUSDT.csv.gz").write_bytes(b"cut off")
    assert "ETHUSDT.csv.gz: cannot be read as a table" in error_of(capsys, "inspect", str(bars))


def test_an_archive_of_unknown_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = tmp_path / "some.npz"
    np.savez(archive, log_return=np.full((4, 3, 1), 0.01, np.float32))
    assert cli.main(["data", "inspect", str(archive)]) == 0
    shown = capsys.readouterr().out
    assert "unknown" in shown and "0.010000" in shown


def test_a_folder_of_nothing_holds_no_bars(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no files of bars \(.csv, .csv.gz, .parquet, .pq\)"):
        ms.read_bars(tmp_path)
