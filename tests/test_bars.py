"""Bars: what is read, what is aligned, what is refused, and the windows that are made of them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import marketsim as ms
from marketsim.data.bars import Bars
from marketsim.data.crypto import open_windows, read_bars
from marketsim.errors import ConfigError, DataError

CRYPTO = Path(__file__).parents[1].parent / "shared/data/crypto"


def table(hours: list[int], first: float = 100.0) -> pd.DataFrame:
    """Hourly bars of one asset at these hours of 2024, the price rising by 1 an hour."""
    close = first + np.asarray(hours, dtype=float)
    return pd.DataFrame(
        {
            "time": pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(hours, unit="h"),
            "open": close - 0.5,
            "high": close + 1,
            "low": close - 1,
            "close": close,
            "volume": 2.0,
        }
    )


def write(frame: pd.DataFrame, file: Path) -> Path:
    if file.suffix == ".parquet":
        frame.to_parquet(file)
    else:
        frame.to_csv(file, index=False)
    return file


def long(**hours: list[int]) -> pd.DataFrame:
    parts = [table(each).assign(symbol=name) for name, each in hours.items()]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet"])
def test_long_files_are_aligned_and_nothing_is_filled(tmp_path: Path, suffix: str) -> None:
    frame = long(A=[0, 1, 2, 5, 6], B=[2, 3, 4, 5])
    bars = ms.read_bars(write(frame, tmp_path / f"bars.{suffix}"))
    assert bars.symbols == ("A", "B")
    assert (bars.step_s, len(bars), bars.time_s[0]) == (3600, 7, 1704067200)
    nan = np.nan
    np.testing.assert_array_equal(bars.close[:, 0], [100, 101, 102, nan, nan, 105, 106])
    np.testing.assert_array_equal(bars.open[:, 1], [nan, nan, 101.5, 102.5, 103.5, 104.5, nan])
    assert np.isnan(bars.volume[3, 0]) and bars.volume[2, 0] == 2
    gaps = [(r.symbol, r.first.hour, r.last.hour, r.bars, r.where) for r in bars.gaps.itertuples()]
    assert gaps == [
        ("A", 3, 4, 2, "inside"), ("B", 0, 1, 2, "before"), ("B", 6, 6, 1, "after"),
    ]  # fmt: skip


def test_one_file_an_asset(tmp_path: Path) -> None:
    first, second = (
        write(table([0, 1, 2]), tmp_path / "BTC.csv"),
        write(table([1, 2], 50.0), tmp_path / "eth.parquet"),
    )
    assert read_bars([first, second]).symbols == ("BTC", "eth")
    named = read_bars({"Ether": second, "Bitcoin": first})
    assert named.symbols == ("Ether", "Bitcoin")
    np.testing.assert_array_equal(named.close, [[np.nan, 100], [51, 101], [52, 102]])


def test_an_asset_goes_on_in_another_file(tmp_path: Path) -> None:
    files = [write(long(A=hours), tmp_path / f"{hours[0]}.csv") for hours in ([0, 1], [4, 5])]
    bars = read_bars(files)
    assert len(bars) == 6 and bars.gaps["bars"].tolist() == [2]
    with pytest.raises(DataError, match="A must go on after the file before, which ends at 2024"):
        read_bars(files[::-1])


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
def test_numeric_times(tmp_path: Path, unit: int) -> None:
    frame = table([0, 1, 2]).drop(columns="time")
    frame.insert(0, "Open_time", (1704067200 + 3600 * np.arange(3)) * unit)
    bars = read_bars(write(frame, tmp_path / "A.csv"))
    np.testing.assert_array_equal(bars.time_s, 1704067200 + 3600 * np.arange(3))


def spoilt(column: str, row: int, value: object) -> pd.DataFrame:
    frame = table(list(range(5))).astype({column: object})
    frame.loc[row, column] = value
    return frame


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (table([0, 2, 1, 3]), "times must rise from row to row, row 2 is 2024-01-01 01"),
        (table([0, 1, 1, 2]), "times must rise from row to row, row 2"),
        (long(A=[0, 1], B=[1, 0]), "times must rise from row to row of B, row 3 is"),
        (spoilt("close", 3, 0.0), "'close' must hold prices > 0 in each row, row 3 was 0"),
        (spoilt("open", 1, None), "'open' must hold prices > 0 in each row, row 1 was missing"),
        (spoilt("low", 1, -3.0), "'low' must hold prices > 0"),
        (spoilt("high", 2, 101.9), "high must not lie between open and close, row 2 has 101.9"),
        (spoilt("low", 2, 101.9), "low must not lie between open and close, row 2"),
        (spoilt("volume", 4, -1.0), "'volume' must be >= 0 in each row, row 4 was -1"),
        (spoilt("volume", 4, "many"), "'volume' must be >= 0 in each row, row 4 was 'many'"),
        (spoilt("time", 2, "noon"), "'time' must hold times"),
        (spoilt("time", 2, None), "column 'time' has no time in row 2"),
        (table([0, 1, 2]).drop(columns="volume"), "column 'volume' is missing, has time, open"),
        (table([0, 1]).drop(columns="time"), "column 'time' is missing"),
        (table([0, 1, 2]).iloc[:0], "has no bars"),
        (table([0]), "needs two bars"),
        (long(A=[0, 1]).assign(symbol=["A", None]), "'symbol' has no name in row 1"),
        (long(A=[0, 1]).assign(symbol=["A", "  "]), "'symbol' has no name in row 1"),
        (spoilt("time", 0, "02/01/2024"), "must hold times such as 2024-01-31 23:00, was '02/01"),
        (table([0, 1, 2]).assign(time=np.inf), "column 'time' has no time in row 0"),
        (table([0, 1, 2]).assign(time=True), "column 'time' must hold times, was True"),
        (table([0, 1, 2]).assign(Close=1.0), "column 'close' is there more than once"),
        (
            pd.concat([long(A=[0, 2, 4, 6]), long(B=[0, 1, 2, 3, 4, 5])]),
            "A: bars must be 3600 s apart, as those of the other assets, were 7200 s and more",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_bars(write(frame, tmp_path / "bars.csv"))


def test_times_of_other_zones_are_in_utc(tmp_path: Path) -> None:
    for words in (
        ["2024-01-01 01:00:00+01:00", "2024-01-01T01:00:00Z", "2024-01-01 02:00"],
        ["2024-01-01 00:00:00 UTC", "2024-01-01 01:00:00 UTC", "2024-01-01 02:00:00 UTC"],
    ):
        bars = read_bars(write(table([0, 1, 2]).assign(time=words), tmp_path / "bars.csv"))
        np.testing.assert_array_equal(bars.time_s, 1704067200 + 3600 * np.arange(3))


def test_times_off_the_grid_are_refused(tmp_path: Path) -> None:
    frame = table([0, 1, 2, 3])
    frame.loc[3, "time"] += pd.Timedelta("7min")
    message = "bars: bars must be 3600 s apart, .* one is at 2024-01-01 03:07:00"
    with pytest.raises(DataError, match=message):
        read_bars(write(frame, tmp_path / "bars.csv"))
    frame.loc[3, "time"] += pd.Timedelta("7ms")
    with pytest.raises(DataError, match="times must be whole seconds, row 3"):
        read_bars(write(frame, tmp_path / "bars.csv"))


def test_a_time_of_another_century_is_a_mistake(tmp_path: Path) -> None:
    frame = table([0, 1, 2, 3])
    frame.loc[3, "time"] += pd.Timedelta("73000D")
    with pytest.raises(DataError, match="100 times the 4 that there are: is a time wrong"):
        read_bars(write(frame, tmp_path / "bars.csv"))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="paths: must be at least one file"):
        read_bars([])
    with pytest.raises(DataError, match="no such file"):
        read_bars(tmp_path / "none.csv")
    with pytest.raises(DataError, match="paths: must be a file or a list of files, was 5"):
        read_bars(5)  # type: ignore[arg-type]
    for name in ("text.csv.gz", "text.parquet", "text.csv.zip", "text.csv.xz", "text.csv.zst"):
        (tmp_path / name).write_bytes(b"\x1f\x8bno")
        with pytest.raises(DataError, match="cannot be read as a table"):
            read_bars(tmp_path / name)
    (tmp_path / "ragged.csv").write_text("a,b\n1,2\n3,4,5\n")
    with pytest.raises(DataError, match="cannot be read as a table") as ragged:
        read_bars(tmp_path / "ragged.csv")
    assert "\n" not in str(ragged.value)
    file = write(long(A=[0, 1]), tmp_path / "long.csv")
    with pytest.raises(DataError, match="has a column 'symbol', and cannot be named 'B'"):
        read_bars({"B": file})


# -- a choice of bars, and windows ----------------------------------------------------------------


def grid(close: np.ndarray) -> Bars:
    """Hourly bars from 2024 on; the open is the close of the bar before."""
    close = np.asarray(close, dtype=float)
    opens = np.concatenate([close[:1], close[:-1]])
    high, low = np.maximum(opens, close), np.minimum(opens, close)
    times = 1704067200 + 3600 * np.arange(len(close))
    names = tuple("ABCDEF"[: close.shape[1]])
    return Bars(times, names, opens, high, low, close, np.ones_like(close), 3600)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**31), rows=st.integers(3, 30), steps=st.integers(1, 6),
    stride=st.integers(1, 5), price=st.sampled_from(["close", "mid"]),
)  # fmt: skip
def test_windows_equal_a_loop(seed: int, rows: int, steps: int, stride: int, price: str) -> None:
    draw = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(draw.normal(0, 0.01, (rows, 2)), axis=0))
    close[draw.random((rows, 2)) < 0.05] = np.nan
    bars = grid(close)
    prices = close if price == "close" else (bars.open + close) / 2
    kept, left_out = [], 0
    for start in range(0, rows - steps, stride):
        part = prices[start : start + steps + 1]
        if np.isnan(part).any():
            left_out += 1
        else:
            kept.append((start, part))
    if not kept:
        with pytest.raises(DataError, match="too few for one window"):
            bars.windows(steps, stride, price=price)
        return
    windows = bars.windows(steps, stride, price=price)
    assert windows.left_out == left_out
    assert windows.log_returns.dtype == np.float32
    assert windows.start_s.tolist() == [int(bars.time_s[start]) for start, _ in kept]
    for row, (_, part) in enumerate(kept):
        returns = np.log(part[1:] / part[:-1])
        np.testing.assert_allclose(windows.log_returns[row], returns, rtol=1e-5, atol=1e-8)
        np.testing.assert_array_equal(windows.initial_prices[row], part[0])
        np.testing.assert_allclose(windows.prices[row], part[1:], rtol=1e-5)


def test_selection() -> None:
    bars = grid(np.arange(1.0, 49.0).reshape(24, 2))
    part = bars.select(["B"], "2024-01-01 02:00", "2024-01-01T05:00Z")
    assert (part.symbols, part.close[:, 0].tolist()) == (("B",), [6.0, 8.0, 10.0])
    assert bars.windows(3, assets=["B", "A"]).symbols == ("B", "A")
    with pytest.raises(DataError, match="assets: no bars of 'C'"):
        bars.select(["C"])
    with pytest.raises(DataError, match="assets: each must be named once"):
        bars.windows(3, assets=["A", "A"])
    with pytest.raises(DataError, match="assets: must be a list of names, was 'A'"):
        bars.windows(3, assets="A")
    with pytest.raises(DataError, match="start: must be a date, was 'noonish'"):
        bars.select(start="noonish")
    with pytest.raises(DataError, match="at least one from 2025 to None"):
        bars.select(start="2025")


def test_windows_that_cannot_be() -> None:
    bars = grid(np.arange(1.0, 11.0)[:, None])
    with pytest.raises(ConfigError, match="steps must be >= 1, was 0"):
        bars.windows(0)
    with pytest.raises(ConfigError, match="stride must be >= 1, was -1"):
        bars.windows(2, -1)
    with pytest.raises(ConfigError, match="price must be one of close, mid, was 'open'"):
        bars.windows(2, price="open")
    with pytest.raises(DataError, match="too few for one window of 10 steps"):
        bars.windows(10)
    with pytest.raises(DataError, match="B is constant: all of its returns are 0"):
        grid(np.stack([np.arange(1.0, 9.0), np.full(8, 3.0)], axis=1)).windows(2)


def test_open_windows(tmp_path: Path) -> None:
    file = write(long(A=list(range(9)), B=list(range(9))), tmp_path / "bars.csv")
    windows = open_windows([file], 4, 2, ["B"])
    assert (len(windows), windows.symbols) == (3, ("B",))
    from marketsim.data.return_windows import write_windows

    write_windows(windows, tmp_path / "w.npz")
    again = open_windows([tmp_path / "w.npz"], assets=["B"])
    np.testing.assert_array_equal(again.log_returns, windows.log_returns)
    with pytest.raises(DataError, match="an archive of windows must be alone"):
        open_windows([tmp_path / "w.npz", file])
    with pytest.raises(DataError, match=r"assets: must be \['B'\], as in the archive"):
        open_windows([tmp_path / "w.npz"], assets=["A"])


# -- real data ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hours() -> Bars:
    file = CRYPTO / "binance_spot_1h_2018-01_2020-11.csv.gz"
    if not file.is_file():
        pytest.skip("the crypto bars are not here")
    return read_bars(file)


def test_hours_of_binance(hours: Bars) -> None:
    assert len(hours.symbols) == 10
    inside = hours.gaps[hours.gaps["where"] == "inside"].groupby("symbol")["bars"]
    assert inside.sum()["BTCUSDT"] == 103  # Binance's outages
    assert inside.max()["BTCUSDT"] == 33  # in February 2018
    assert len(hours) - 103 == 25_457


def test_the_archive_is_made_of_averaged_bars(hours: Bars) -> None:
    archive = ms.read_windows(CRYPTO / "icaif2024_crypto_24h_logret.npz")
    assert archive.log_returns.shape == (8937, 24, 3)
    windows = hours.windows(24, 1, ["BTCUSDT", "ETHUSDT", "BNBUSDT"], price="mid")
    shared, mine, theirs = np.intersect1d(windows.start_s, archive.start_s, return_indices=True)
    assert len(shared) > 1000
    np.testing.assert_allclose(
        windows.log_returns[mine], archive.log_returns[theirs], atol=4e-9, rtol=0
    )
    np.testing.assert_allclose(
        windows.initial_prices[mine], archive.initial_prices[theirs], rtol=1e-6
    )
