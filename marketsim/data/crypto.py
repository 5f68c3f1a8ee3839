"""Bars of crypto-currencies, or of any other assets, from CSV and Parquet files."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marketsim.data.bars import COLUMNS, PRICES, Bars
from marketsim.data.return_windows import Windows, read_windows
from marketsim.data.tables import (
    check_rising,
    date_of,
    positive_prices,
    read_table,
    shown,
    time_values,
)
from marketsim.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

Location = str | os.PathLike[str]

#: Returns in a window, where nobody says how many.
STEPS = 24
#: Numeric times above these are milli-, micro- and nanoseconds since 1970.
_UNITS = ((1e17, 1_000_000_000), (1e14, 1_000_000), (1e11, 1_000))
#: A grid of more times than so many for each bar is taken for a mistake.
MOST_MISSING = 100
#: How the names of files of bars end.
_SUFFIXES = (".csv", ".csv.gz", ".parquet", ".pq")
#: Names of the column of times.
_TIMES = ("time", "timestamp", "date", "datetime", "open_time")


def read_bars(paths: Location | Sequence[Location] | Mapping[str, Location]) -> Bars:
    """Read open, high, low, close and volume of one or many assets; aligned, and nothing filled.

    Parameters
    ----------
    paths : CSV (also compressed: .csv.gz) or Parquet files; long ones with a column ``symbol``, or
        one an asset, which is then called as the file is, or as the mapping says. An asset may go
        on in a further file. A folder stands for all such files in it.

    Columns: ``time`` (a date, UTC where it does not say; or seconds, milli-, micro- or nanoseconds
    since 1970), ``open``, ``high``, ``low``, ``close``, ``volume``.

    Returns
    -------
    Bars on a grid from the first to the last time; ``bars.gaps`` says what is missing.

    Raises
    ------
    DataError : a file that cannot be read; a column that is missing; times that do not rise, appear
        twice or are not on the grid; prices not > 0, contradicting each other (a high below the
        close); a volume < 0

    Examples
    --------
    >>> bars = ms.read_bars("binance_spot_1h_2021-12_2024-12.csv.gz")
    >>> windows = bars.windows(24, stride=4, assets=["BTCUSDT", "ETHUSDT", "BNBUSDT"])
    """
    named = _named(paths)
    parts: dict[str, list[pd.DataFrame]] = {}
    for name, file in named:
        for symbol, part in read_assets(file, name):
            before = parts.setdefault(symbol, [])
            if before and part["time"].iloc[0] <= before[-1]["time"].iloc[-1]:
                raise DataError(
                    f"{file}: {symbol} must go on after the file before, which ends at "
                    f"{date_of(before[-1]['time'].iloc[-1])}, was {date_of(part['time'].iloc[0])}"
                )
            before.append(part)
    return _aligned(parts, str(named[0][1]))


def open_windows(
    paths: Sequence[Location],
    steps: int = STEPS,
    stride: int = 1,
    assets: Sequence[str] | None = None,
    price: str = "close",
) -> Windows:
    """Windows of an archive (.npz), or of files of bars; see :meth:`Bars.windows`.

    Raises
    ------
    ConfigError, DataError : as those two do; bars and archives together, or several archives;
        steps, a stride or a price other than the default with an archive that is not made so
    """
    archives = [path for path in paths if Path(path).suffix == ".npz"]
    if not archives:
        return read_bars(paths).windows(steps, stride, assets, price)
    if len(paths) > 1:
        raise DataError(f"data: an archive of windows must be alone, was with {len(paths) - 1}")
    windows = read_windows(archives[0])
    for name, value, usual in (
        ("window", steps, (STEPS, windows.steps)), ("stride", stride, (1,)),
        ("price", price, ("close",)),
    ):  # fmt: skip
        if value not in usual:
            raise DataError(
                f"{name}: windows of an archive are made already, of {windows.steps} returns, and"
                f" take no such setting, was {value!r}"
            )
    if assets is not None and tuple(assets) != windows.symbols:
        raise DataError(f"assets: must be {list(windows.symbols)}, as in the archive")
    windows.refuse_constant()
    return windows


def are_bars(path: Path) -> bool:
    """Whether this is a table with closing prices, or a folder with one: it may be read as bars."""
    import pandas as pd
    import pyarrow.parquet as pq

    if path.is_dir():
        return any(are_bars(file) for file in path.iterdir() if file.is_file())
    if not path.is_file() or not path.name.lower().endswith(_SUFFIXES):
        return False
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            columns = pq.read_schema(path).names
        else:
            columns = list(pd.read_csv(path, nrows=0).columns)
    except (ValueError, OSError, EOFError):  # it is no table at all
        return False
    return "close" in {str(column).strip().lower() for column in columns}


def _named(
    paths: Location | Sequence[Location] | Mapping[str, Location],
) -> list[tuple[str | None, Path]]:
    """Files, with the name of the asset that is in each where it was given."""
    named: list[tuple[str | None, Path]]
    if isinstance(paths, Mapping):
        named = [(str(name), Path(path)) for name, path in paths.items()]
    elif isinstance(paths, str | os.PathLike):
        named = [(None, Path(paths))]
    elif not isinstance(paths, Sequence):
        raise DataError(f"paths: must be a file or a list of files, was {paths!r}")
    else:
        named = [(None, Path(path)) for path in paths]
    named = [(name, file) for name, path in named for file in _files(path)]
    if not named:
        raise DataError("paths: must be at least one file, was none")
    return named


def _files(path: Path) -> list[Path]:
    """The file, or those of a folder."""
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.name.lower().endswith(_SUFFIXES))
    if not files:
        raise DataError(f"{path}: has no files of bars ({', '.join(_SUFFIXES)})")
    return files


def read_assets(file: Path, name: str | None) -> "Iterator[tuple[str, pd.DataFrame]]":
    """Checked bars of each asset in a file: columns ``time`` [s] and those of ``COLUMNS``.

    Parameters
    ----------
    name : of the asset, where the file has no column ``symbol``; None: as the file is called

    Raises
    ------
    DataError : as :func:`read_bars`
    """
    frame = read_table(file)
    frame.columns = [str(column).strip().lower() for column in frame.columns]
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise DataError(f"{file}: column {twice!r} is there more than once")
    times = next((column for column in _TIMES if column in frame), None)
    lacking = [column for column in COLUMNS if column not in frame]
    if times is None or lacking:
        raise DataError(
            f"{file}: column {'time' if times is None else lacking[0]!r} is missing, "
            f"has {', '.join(frame.columns) or 'none'}"
        )
    if not len(frame):
        raise DataError(f"{file}: has no bars")
    checked = frame[list(COLUMNS)].copy()
    checked["time"] = _whole_seconds(file, time_values(file, frame[times]))
    for column in PRICES:
        checked[column] = positive_prices(file, frame[column])
    checked["volume"] = _volumes(file, frame["volume"])
    _check_range(file, checked)
    if "symbol" not in frame:
        whole = name or file.name.split(".")[0]
        check_rising(file, frame[times], checked["time"].to_numpy())
        yield whole, checked
        return
    if name is not None:
        raise DataError(f"{file}: has a column 'symbol', and cannot be named {name!r}")
    unnamed = frame["symbol"].isna() | (frame["symbol"].astype(str).str.strip() == "")
    if unnamed.any():
        row = int(np.flatnonzero(unnamed)[0])
        raise DataError(f"{file}: column 'symbol' has no name in row {row}")
    for symbol, part in checked.groupby(frame["symbol"].astype(str), sort=False):
        stamps = frame.loc[part.index, times]
        check_rising(file, stamps, part["time"].to_numpy(), f" of {symbol}")
        yield str(symbol), part


def _whole_seconds(file: Path, times: NDArray[Any]) -> NDArray[np.int64]:
    """Times as seconds since 1970."""
    import pandas as pd

    if np.issubdtype(times.dtype, np.number):
        largest = float(np.abs(times.astype(np.float64)).max())
        unit = next((unit for above, unit in _UNITS if largest > above), 1)
        seconds, left = np.divmod(times, unit)
    else:
        stamps = pd.DatetimeIndex(pd.to_datetime(times, utc=True)).as_unit("us")
        seconds, left = np.divmod(stamps.asi8, 1_000_000)
    if np.any(left):
        row = int(np.flatnonzero(left)[0])
        raise DataError(f"{file}: times must be whole seconds, row {row} is {times[row]}")
    return np.asarray(seconds, np.int64)


def _volumes(file: Path, column: "pd.Series[float]") -> NDArray[np.float64]:
    import pandas as pd

    volume = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = np.flatnonzero(~(np.isfinite(volume) & (volume >= 0)))
    if len(wrong):
        raise DataError(
            f"{file}: column 'volume' must be >= 0 in each row, "
            f"row {wrong[0]} was {shown(column.iloc[wrong[0]])}"
        )
    return volume


def _check_range(file: Path, bars: "pd.DataFrame") -> None:
    """Whether open and close lie between low and high."""
    body = bars[["open", "close"]]
    for side, wrong in (
        ("high", bars["high"] < body.max(axis=1)),
        ("low", bars["low"] > body.min(axis=1)),
    ):
        rows = np.flatnonzero(wrong.to_numpy())
        if len(rows):
            bar = bars.iloc[rows[0]]
            raise DataError(
                f"{file}: {side} must not lie between open and close, row {rows[0]} has "
                f"{bar[side]:g} with open {bar['open']:g} and close {bar['close']:g}"
            )


def _aligned(parts: "Mapping[str, Sequence[pd.DataFrame]]", file: str) -> Bars:
    import pandas as pd

    whole = {symbol: pd.concat(frames, ignore_index=True) for symbol, frames in parts.items()}
    apart = np.concatenate([np.diff(frame["time"].to_numpy()) for frame in whole.values()])
    if not len(apart):
        raise DataError(f"{file}: needs two bars of an asset at least")
    first = min(int(frame["time"].iloc[0]) for frame in whole.values())
    last = max(int(frame["time"].iloc[-1]) for frame in whole.values())
    steps, often = np.unique(apart, return_counts=True)
    step_s = int(steps[often.argmax()])
    bars = max(len(frame) for frame in whole.values())
    if last - first > MOST_MISSING * bars * step_s:
        raise DataError(
            f"{file}: bars of {step_s} s from {date_of(first)} to {date_of(last)} would be more "
            f"than {MOST_MISSING} times the {bars} that there are: is a time wrong?"
        )
    time_s = np.arange(first, last + 1, step_s, dtype=np.int64)
    _check_steps(whole, step_s)
    columns = {name: np.full((len(time_s), len(whole)), np.nan) for name in COLUMNS}
    for number, (symbol, frame) in enumerate(whole.items()):
        row, off = np.divmod(frame["time"].to_numpy() - first, step_s)
        if off.any():
            at = date_of(frame["time"].to_numpy()[np.flatnonzero(off)[0]])
            raise DataError(
                f"{symbol}: bars must be {step_s} s apart, as most are, from {date_of(first)} on; "
                f"one is at {at}"
            )
        for name in COLUMNS:
            columns[name][row, number] = frame[name].to_numpy()
    return Bars(time_s=time_s, symbols=tuple(whole), step_s=step_s, **columns)


def _check_steps(parts: "Mapping[str, pd.DataFrame]", step_s: int) -> None:
    """Refuse an asset with longer bars than the others: each second one would be a gap."""
    for symbol, frame in parts.items():
        apart = np.diff(frame["time"].to_numpy())
        if len(apart) > 1 and apart.min() > step_s:
            raise DataError(
                f"{symbol}: bars must be {step_s} s apart, as those of the other assets, "
                f"were {int(apart.min())} s and more"
            )
