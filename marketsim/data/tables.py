"""Tables of prices in CSV or Parquet files, and what their times and numbers must be."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marketsim.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def read_table(file: Path) -> "pd.DataFrame":
    """Read a CSV (compressed, such as .csv.gz, too) or Parquet file; an index becomes a column.

    Raises
    ------
    DataError : a file that is missing, or that cannot be read
    """
    import pandas as pd

    if not file.is_file():
        raise DataError(f"{file}: no such file")
    try:
        if file.suffix.lower() in (".parquet", ".pq"):
            frame = pd.read_parquet(file)
            # Times are often kept as the index; one that only counts is none.
            return frame if isinstance(frame.index, pd.RangeIndex) else frame.reset_index()
        return pd.read_csv(file)
    except (ValueError, OSError, EOFError) as error:  # pandas' and pyarrow's own are among these
        raise DataError(f"{file}: cannot be read as a table ({error})") from error


def check_times(file: Path, times: "pd.Series[Any]") -> NDArray[Any]:
    """Times of the rows, as numbers or dates: there, and rising.

    Raises
    ------
    DataError : a time that is missing or no time, or that does not come after the one before it
    """
    values = time_values(file, times)
    check_rising(file, times, values)
    return values


def time_values(file: Path, times: "pd.Series[Any]") -> NDArray[Any]:
    """Times of the rows, as numbers or dates, in whatever order.

    Raises
    ------
    DataError : a time that is missing, or no time
    """
    import pandas as pd

    order = times
    if not pd.api.types.is_numeric_dtype(times):
        try:
            order = pd.to_datetime(times)
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{file}: column {times.name!r} must hold times, was {times.iloc[0]!r} ({error})"
            ) from error
    missing = np.flatnonzero(order.isna().to_numpy())
    if len(missing):
        raise DataError(f"{file}: column {times.name!r} has no time in row {missing[0]}")
    return order.to_numpy()


def check_rising(file: Path, times: "pd.Series[Any]", values: NDArray[Any], of: str = "") -> None:
    """Raise :class:`DataError` for the first time that is not after the one before it.

    Parameters
    ----------
    times : as they were written, for the message; its index is the number of the row
    values : the same, to compare
    of : whose rows they are, for the message
    """
    back = np.flatnonzero(values[1:] <= values[:-1])
    if len(back):
        at = int(back[0]) + 1
        raise DataError(
            f"{file}: times must rise from row to row{of}, "
            f"row {times.index[at]} is {times.iloc[at]} after {times.iloc[at - 1]}"
        )


def positive_prices(file: Path, column: "pd.Series[Any]") -> NDArray[np.float64]:
    """Prices of a column: float64[rows].

    Raises
    ------
    DataError : a price that is missing, no number, or not > 0
    """
    import pandas as pd

    prices = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = np.flatnonzero(~(np.isfinite(prices) & (prices > 0)))
    if len(wrong):
        row = int(wrong[0])
        value = column.iloc[row]
        was = "missing" if pd.isna(value) else shown(value)
        raise DataError(
            f"{file}: column {column.name!r} must hold prices > 0 in each row, "
            f"row {row} was {was} ({len(wrong)} such rows)"
        )
    return prices


def shown(value: Any) -> str:
    """A table's value as a message shows it: numbers plain, text in quotes."""
    return str(float(value)) if isinstance(value, int | float | np.number) else repr(value)


def date_of(seconds: float) -> str:
    """A time [s since 1970] as a date, in UTC."""
    import pandas as pd

    return pd.Timestamp(int(seconds), unit="s").strftime("%Y-%m-%d %H:%M:%S")


def seconds_of(field: str, date: str) -> int:
    """Seconds since 1970 of a date, which is in UTC where it does not say.

    Raises
    ------
    DataError : no date
    """
    import pandas as pd

    try:
        stamp = pd.Timestamp(date)
    except (ValueError, TypeError) as error:
        raise DataError(f"{field}: must be a date, was {date!r}") from error
    if pd.isna(stamp):
        raise DataError(f"{field}: must be a date, was {date!r}")
    stamp = stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp
    return int(stamp.timestamp())
