"""Windows of log returns of several assets, in time: what return generators learn from."""

import io
import math
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketsim.checks import at_least_zero, choice, integer, positive
from marketsim.errors import ConfigError, DataError

#: Start of a window of which nobody knows when it was.
UNKNOWN_S = -1


@dataclass(frozen=True, eq=False)
class Windows:
    """``n`` windows of ``T`` log returns of ``d`` assets.

    Attributes
    ----------
    log_returns : float32[n, T, d]
    initial_prices : float64[n, d] – before the first return
    start_s : int64[n] – time of the initial prices [seconds since 1970, UTC]; -1 is unknown
    symbols : names of the assets
    step_s : time between two prices [s]
    left_out : windows that were not made, as a bar in them is missing
    """

    log_returns: NDArray[np.float32]
    initial_prices: NDArray[np.float64]
    start_s: NDArray[np.int64]
    symbols: tuple[str, ...]
    step_s: int
    left_out: int = 0

    def __post_init__(self) -> None:
        check_log_returns(self.log_returns)
        n, _, d = self.log_returns.shape
        for name, shape in (("initial_prices", (n, d)), ("start_s", (n,)), ("symbols", (d,))):
            found = np.shape(getattr(self, name))
            if found != shape:
                raise DataError(
                    f"windows.{name}: must be of shape {list(shape)}, as log_returns has it, "
                    f"was of {list(found)}"
                )
        if len(set(self.symbols)) < d:
            raise DataError(f"windows.symbols: must differ, was {list(self.symbols)}")
        wrong = ~(np.isfinite(self.initial_prices) & (self.initial_prices > 0))
        if wrong.any():
            at = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise DataError(
                f"windows.initial_prices: must be > 0, window {at[0]} asset {at[1]} was "
                f"{self.initial_prices[at]}"
            )
        integer("windows.step_s", self.step_s, 1)

    def __len__(self) -> int:
        return len(self.log_returns)

    @property
    def steps(self) -> int:
        """Returns in each window."""
        return int(self.log_returns.shape[1])

    @property
    def prices(self) -> NDArray[np.float64]:
        """Prices after each return, float64[n, T, d]; the initial ones are not among them.

        Raises
        ------
        DataError : returns so large that a price is no number, or 0
        """
        with np.errstate(over="ignore", under="ignore"):
            grown = np.exp(np.cumsum(self.log_returns, axis=1, dtype=np.float64))
            prices = self.initial_prices[:, None] * grown
        wrong = ~(np.isfinite(prices) & (prices > 0))
        if wrong.any():
            window, step, asset = (int(i) for i in np.argwhere(wrong)[0])
            raise DataError(
                f"windows.log_returns: too large for prices, that of window {window} step {step} "
                f"asset {asset} becomes {prices[window, step, asset]}"
            )
        return prices

    def series(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """All returns once, in order of time, and where each one's successor is.

        Windows that overlap in time share returns. Those of unknown start are left out, as nobody
        knows what they share, unless all are: each is then taken to share nothing.

        Returns
        -------
        log_returns : float32[m, d]
        successor : int64[m] – row of the return that follows; -1 where it is not known
        """
        known = self.start_s != UNKNOWN_S
        if not known.any():
            rows = np.arange(len(self) * self.steps)
            ends = rows % self.steps == self.steps - 1
            return self.log_returns.reshape(len(rows), -1), np.where(ends, -1, rows + 1)
        time_s = self.start_s[known, None] + self.step_s * np.arange(1, self.steps + 1)
        found, rows = np.unique(time_s, return_index=True)
        successor = np.searchsorted(found, found + self.step_s)
        at = np.minimum(successor, len(found) - 1)
        successor = np.where(found[at] == found + self.step_s, at, -1)
        return self.log_returns[known].reshape(time_s.size, -1)[rows], successor

    def pasts(self, steps: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Returns before each window, as far as other windows hold them.

        Parameters
        ----------
        steps : how many

        Returns
        -------
        log_returns : float32[n, steps, d], oldest first; 0 where the past is not known
        known : bool[n]
        """
        integer("steps", steps, 1)
        log_returns, successor = self.series()
        back = np.full(len(log_returns) + 1, -1)  # the last row: there is none before it
        back[successor[successor >= 0]] = np.flatnonzero(successor >= 0)
        rows = np.empty((len(self), steps), np.int64)
        row = back[self._first_rows()]
        for step in range(steps - 1, -1, -1):
            rows[:, step] = row
            row = back[row]
        known: NDArray[np.bool_] = np.asarray((rows >= 0).all(axis=1))
        past = log_returns[rows]
        past[~known] = 0
        return past, known

    def _first_rows(self) -> NDArray[np.int64]:
        """Row of each window's first return in :meth:`series`; -1 where it is not there."""
        known = self.start_s != UNKNOWN_S
        if not known.any():
            return np.arange(len(self)) * self.steps
        times = np.unique(self.start_s[known, None] + self.step_s * np.arange(1, self.steps + 1))
        return np.where(known, np.searchsorted(times, self.start_s + self.step_s), -1)

    def take(self, rows: Any) -> "Windows":
        """Windows of these rows, indices or a mask."""
        return replace(
            self,
            log_returns=self.log_returns[rows],
            initial_prices=self.initial_prices[rows],
            start_s=self.start_s[rows],
        )

    def refuse_constant(self) -> None:
        """Raise :class:`DataError` if the price of an asset never moves."""
        still = ~self.log_returns.any(axis=(0, 1))
        if still.any():
            name = self.symbols[int(np.flatnonzero(still)[0])]
            raise DataError(f"windows: {name} is constant: all of its returns are 0")

    def split(
        self, *shares: float, purge_s: float = 0.0, unknown: str = "refuse"
    ) -> "tuple[Windows, ...]":
        """Divide by time into parts, earliest first, none of which shares a price with another.

        A part ends where the next one starts: windows that reach over are left out of both.

        Parameters
        ----------
        shares : of the windows, above 0 and 1 in all: ``split(0.7, 0.15, 0.15)``
        purge_s : further time [s] between the end of a part and the start of the next
        unknown : what is done with windows whose start nobody knows: ``refuse``, ``drop``, or
            ``first``, for those that are known to be older than all others: the first part

        Returns
        -------
        tuple of Windows, each sorted by time, unknown ones first

        Raises
        ------
        ConfigError : shares that are not above 0, or not 1 in all
        DataError : unknown starts without a word on them, or a part without a window
        """
        for number, share in enumerate(shares):
            positive(f"shares[{number}]", share)
        if len(shares) < 2 or not math.isclose(sum(shares), 1.0, abs_tol=1e-9):
            raise ConfigError(f"shares: must be two or more, 1 in all, was {shares}")
        at_least_zero("purge_s", purge_s)
        choice("unknown", unknown, ("refuse", "drop", "first"))
        known = np.flatnonzero(self.start_s != UNKNOWN_S)
        lost = np.flatnonzero(self.start_s == UNKNOWN_S)
        if len(lost) and unknown == "refuse":
            raise DataError(
                f"windows: {len(lost)} of {len(self)} have no known start (-1): "
                "say unknown='drop', or unknown='first' if they are older than all others"
            )
        if unknown == "drop":
            lost = lost[:0]
        order = np.concatenate([lost, known[np.argsort(self.start_s[known], kind="stable")]])
        return tuple(self._part(*part) for part in self._cut(order, len(lost), shares, purge_s))

    def _cut(
        self, order: NDArray[np.int64], lost: int, shares: Sequence[float], purge_s: float
    ) -> list[tuple[int, NDArray[np.int64]]]:
        """Rows of each part, with its number."""
        starts = self.start_s[order].astype(np.float64)
        starts[:lost] = -math.inf
        ends = starts + self.steps * self.step_s + purge_s
        bounds = np.round(np.cumsum((0.0, *shares)) * len(order)).astype(int)
        parts = []
        for number, (low, high) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
            # windows that start at once stay together, in the later part
            since = starts[low] if low < len(order) else math.inf
            since = since if number else -math.inf
            until = starts[high] if high < len(order) else math.inf
            parts.append((number, order[(starts >= since) & (starts < until) & (ends < until)]))
        return parts

    def _part(self, number: int, rows: NDArray[np.int64]) -> "Windows":
        if not len(rows):
            raise DataError(
                f"windows: too few to split, part {number} of {len(self)} windows has none"
            )
        return self.take(rows)


def as_windows(values: "Windows | NDArray[Any]") -> Windows:
    """Windows as they are; log returns [n, T, d] as windows of unknown time and price 1.

    Raises
    ------
    DataError : anything else
    """
    if isinstance(values, Windows):
        return values
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise DataError(f"windows: must be Windows or an array, was {type(values).__name__}")
    log_returns = values.astype(np.float32)
    check_log_returns(log_returns)
    n, _, d = log_returns.shape
    names = tuple(f"asset {number}" for number in range(1, d + 1))
    return Windows(log_returns, np.ones((n, d)), np.full(n, UNKNOWN_S), names, 3600)


def check_log_returns(values: NDArray[Any]) -> None:
    """Raise :class:`DataError` unless these are finite log returns float32[n >= 1, T >= 1, d]."""
    if values.ndim != 3 or 0 in values.shape:
        raise DataError(
            f"windows.log_returns: must be of shape [n, T, d], was {list(np.shape(values))}"
        )
    if values.dtype != np.float32:
        raise DataError(f"windows.log_returns: must be float32, was {values.dtype}")
    wrong = ~np.isfinite(values)
    if wrong.any():
        window, step, asset = (int(i) for i in np.argwhere(wrong)[0])
        raise DataError(
            f"windows.log_returns: must be finite, window {window} step {step} asset {asset} was "
            f"{values[window, step, asset]} ({int(wrong.sum())} such values)"
        )


def read_windows(path: "str | os.PathLike[str]", step_s: int = 3600) -> Windows:
    """Read an archive of windows (.npz), such as that of the ICAIF 2024 crypto contest.

    Its arrays: ``log_return`` float32[n, T, d]; ``init_price`` [n, 1, d] or [n, d], 1 where there
    is none; ``start_unix`` int64[n], -1 (all of them, where there is none) unknown; ``assets``.

    Parameters
    ----------
    step_s : time between two prices [s], where the archive does not say (``step_s``)

    Raises
    ------
    DataError : a file that cannot be read, or arrays that are missing, not finite or do not fit
    """
    file = Path(path)
    arrays = _arrays(file)
    if "log_return" not in arrays:
        raise DataError(f"{file}: has no array log_return, but {', '.join(arrays) or 'none'}")
    try:
        log_returns = _numbers(arrays, "log_return", "fiu")
        with np.errstate(over="ignore"):  # what is too large is no longer finite, which is named
            log_returns = log_returns.astype(np.float32)
        check_log_returns(log_returns)
        n, _, d = log_returns.shape
        arrays.setdefault("init_price", np.ones((n, d)))
        arrays.setdefault("start_unix", np.full(n, UNKNOWN_S))
        arrays.setdefault("step_s", np.asarray(step_s))
        prices = _numbers(arrays, "init_price", "fiu").astype(np.float64)
        starts = _numbers(arrays, "start_unix", "iu").astype(np.int64)
        names = arrays.get("assets", [f"asset {number}" for number in range(1, d + 1)])
        return Windows(
            log_returns,
            prices[:, 0] if prices.ndim == 3 and prices.shape[1] == 1 else prices,
            starts,
            tuple(str(name) for name in np.atleast_1d(names)),
            _numbers(arrays, "step_s", "iu").item(),
        )
    except (ValueError, TypeError) as error:  # ours are among these
        raise DataError(f"{file}: {error}") from error


def _numbers(arrays: dict[str, Any], name: str, kinds: str) -> NDArray[Any]:
    """An array of whole numbers, or of any real ones: what numpy would quietly cast is refused."""
    values: NDArray[Any] = np.asarray(arrays[name])
    if values.dtype.kind not in kinds:
        what = "numbers" if "f" in kinds else "whole numbers"
        raise DataError(f"array {name} must hold {what}, was {values.dtype}")
    return values


def write_windows(windows: Windows, path: "str | os.PathLike[str]") -> None:
    """Write an archive (.npz) that :func:`read_windows` reads.

    Raises
    ------
    DataError : a file that cannot be written
    """
    file = Path(path)
    content = io.BytesIO()
    np.savez_compressed(
        content,
        log_return=windows.log_returns,
        init_price=windows.initial_prices[:, None],
        start_unix=windows.start_s,
        assets=np.asarray(windows.symbols),
        step_s=np.asarray(windows.step_s),
    )
    beside = file.with_name(f"{file.name}.tmp")
    try:
        beside.write_bytes(content.getvalue())
        os.replace(beside, file)
    except OSError as error:
        raise DataError(f"{file}: cannot be written: {error.strerror}") from error


def _arrays(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise DataError(f"{file}: no such file")
    try:
        if not zipfile.is_zipfile(file):  # a single array, or a pickle
            raise ValueError("it is no .npz")
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{file}: cannot be read as an archive of arrays ({error})") from error
