"""Closing prices from a CSV or Parquet file: a column of times, then one column for each asset."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marketsim.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def read_log_returns(path: str | Path) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Read closing prices; return log returns float64[bars, assets], and the assets' names.

    Row r of the returns leads from row r of the prices to row r + 1.

    Raises
    ------
    DataError : a file that cannot be read, times that do not rise, and prices that are missing,
        no numbers, or not > 0; the message names file, column and row (0 is the first of prices)
    """
    file = Path(path)
    frame = _read(file)
    if frame.shape[1] < 2:
        raise DataError(
            f"{file}: needs a column of times and one for each asset, "
            f"has {', '.join(map(str, frame.columns)) or 'none'}"
        )
    if len(frame) < 2:
        raise DataError(f"{file}: needs at least two rows of prices, has {len(frame)}")
    _check_times(file, frame.iloc[:, 0])
    columns = [_prices(file, frame.iloc[:, column]) for column in range(1, frame.shape[1])]
    log_returns = np.diff(np.log(np.stack(columns, axis=1)), axis=0)
    return log_returns, tuple(str(name) for name in frame.columns[1:])


def _read(file: Path) -> "pd.DataFrame":
    import pandas as pd

    if not file.is_file():
        raise DataError(f"{file}: no such file")
    try:
        if file.suffix.lower() in (".parquet", ".pq"):
            frame = pd.read_parquet(file)
            # Times are often kept as the index; one that only counts is none.
            return frame if isinstance(frame.index, pd.RangeIndex) else frame.reset_index()
        return pd.read_csv(file)
    except (ValueError, OSError) as error:  # pandas' and pyarrow's own are among these
        raise DataError(f"{file}: cannot be read as a table ({error})") from error


def _check_times(file: Path, times: "pd.Series[Any]") -> None:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(times):
        order = times
    else:
        try:
            order = pd.to_datetime(times)
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{file}: column {times.name!r} must hold times, was {times.iloc[0]!r} ({error})"
            ) from error
    missing = np.flatnonzero(order.isna().to_numpy())
    if len(missing):
        raise DataError(f"{file}: column {times.name!r} has no time in row {missing[0]}")
    values = order.to_numpy()
    back = np.flatnonzero(values[1:] <= values[:-1])
    if len(back):
        row = int(back[0]) + 1
        raise DataError(
            f"{file}: times must rise from row to row, "
            f"row {row} is {times.iloc[row]} after {times.iloc[row - 1]}"
        )


def _prices(file: Path, column: "pd.Series[Any]") -> NDArray[np.float64]:
    import pandas as pd

    prices = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = np.flatnonzero(~(np.isfinite(prices) & (prices > 0)))
    if len(wrong):
        row = int(wrong[0])
        value = column.iloc[row]
        was = "missing" if pd.isna(value) else repr(value)
        raise DataError(
            f"{file}: column {column.name!r} must hold prices > 0 in each row, "
            f"row {row} was {was} ({len(wrong)} such rows)"
        )
    return prices
