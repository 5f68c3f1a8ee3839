"""Closing prices from a CSV or Parquet file: a column of times, then one column for each asset."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marketsim.data.tables import check_times, positive_prices, read_table
from marketsim.errors import DataError


def read_log_returns(path: str | Path) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Read closing prices; return log returns float64[bars, assets], and the assets' names.

    Row r of the returns leads from row r of the prices to row r + 1.

    Raises
    ------
    DataError : a file that cannot be read, times that do not rise, and prices that are missing,
        no numbers, or not > 0; the message names file, column and row (0 is the first of prices)
    """
    file = Path(path)
    frame = read_table(file)
    if frame.shape[1] < 2:
        raise DataError(
            f"{file}: needs a column of times and one for each asset, "
            f"has {', '.join(map(str, frame.columns)) or 'none'}"
        )
    if len(frame) < 2:
        raise DataError(f"{file}: needs at least two rows of prices, has {len(frame)}")
    check_times(file, frame.iloc[:, 0])
    columns = [positive_prices(file, frame.iloc[:, column]) for column in range(1, frame.shape[1])]
    log_returns = np.diff(np.log(np.stack(columns, axis=1)), axis=0)
    return log_returns, tuple(str(name) for name in frame.columns[1:])
