"""The file of an asset's bars, and beside it the pages of a download that is not done."""

import json
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marketsim.data.bars import COLUMNS
from marketsim.data.crypto import read_assets
from marketsim.errors import DataError

Rows = NDArray[np.float64]
Span = tuple[int, int]

#: Kinds of files, and how their names end.
SUFFIXES = {"csv": ".csv.gz", "parquet": ".parquet"}


class BarFile:
    """Bars of one asset: those of a file, and those that were downloaded since.

    Pages are appended to ``FILE.part``, each a line that a kill loses or leaves as a whole;
    :meth:`finish` puts all bars into the file, which is written beside its place and renamed.

    Parameters
    ----------
    file : may not be there yet
    symbol, step_s : what it holds

    Raises
    ------
    DataError : a file of something else, or one that cannot be read
    """

    def __init__(self, file: Path, symbol: str, step_s: int) -> None:
        self.file, self.symbol, self.step_s = file, symbol, step_s
        self.part = file.with_name(f"{file.name}.part")
        self._in_file = self._read()
        self._pages, self._asked = self._read_part()

    @property
    def rows(self) -> Rows:
        """All bars, float64[n, 6]: start [s since 1970] and ``COLUMNS``; each once, rising."""
        rows = np.concatenate([self._in_file, *self._pages])
        return rows[np.unique(rows[:, 0], return_index=True)[1]]

    def missing(self, first_s: int, end_s: int) -> list[Span]:
        """What must be asked for, so that there is no hole from ``first_s`` to ``end_s``.

        Between bars that are there already and this span there will be none either.

        Returns
        -------
        Spans from (in) and to (out) the start of a bar [s since 1970]
        """
        time_s = self.rows[:, 0].astype(np.int64)
        if len(time_s):
            first_s = min(first_s, int(time_s[0]))
            end_s = max(end_s, int(time_s[-1]) + self.step_s)
        return holes(time_s, first_s, end_s, self.step_s, self._asked)

    def append(self, first_s: int, end_s: int, rows: Rows) -> None:
        """Keep a page: what there is from ``first_s`` to ``end_s``.

        Raises
        ------
        DataError : it cannot be written
        """
        line = json.dumps({"first_s": first_s, "end_s": end_s, "bars": rows.tolist()}) + "\n"
        try:
            with self.part.open("ab") as file:
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DataError(f"{self.part}: cannot be written: {error.strerror}") from error
        self._pages.append(rows)
        self._asked.append((first_s, end_s))

    def finish(self) -> None:
        """Write all bars to the file, if any are new, and take the pages away.

        Raises
        ------
        DataError : it cannot be written
        """
        self._in_file = self._read()  # another download may have added to it meanwhile
        rows = self.rows
        try:
            if len(rows) > len(self._in_file):
                self._write(rows)
            self.part.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(f"{self.file}: cannot be written: {error.strerror}") from error
        self._in_file, self._pages, self._asked = rows, [], []

    def discard(self) -> None:
        """Forget the pages."""
        self.part.unlink(missing_ok=True)
        self._pages, self._asked = [], []

    def _write(self, rows: Rows) -> None:
        import pandas as pd

        times = pd.to_datetime(rows[:, 0].astype(np.int64), unit="s", utc=True)
        frame = pd.DataFrame(rows[:, 1:], columns=list(COLUMNS))
        frame.insert(0, "symbol", self.symbol)
        beside = self.file.with_name(f"{self.file.name}.tmp")
        if self.file.suffix == ".parquet":
            frame.insert(0, "time", times)
            frame.to_parquet(beside, index=False)
        else:
            frame.insert(0, "time", times.strftime("%Y-%m-%dT%H:%M:%SZ"))
            # no time in the file: the same bars are the same bytes
            frame.to_csv(beside, index=False, compression={"method": "gzip", "mtime": 0})
        os.replace(beside, self.file)

    def _read(self) -> Rows:
        """Bars of the file, if it is there."""
        if not self.file.exists():
            return np.empty((0, 6))
        parts = list(read_assets(self.file, None))
        symbols = [symbol for symbol, _ in parts]
        rows = parts[0][1][["time", *COLUMNS]].to_numpy(np.float64)
        if symbols != [self.symbol] or np.any(rows[:, 0] % self.step_s):
            raise DataError(
                f"{self.file}: must hold bars of {self.symbol} {self.step_s} s apart, was of "
                f"{', '.join(symbols)}: choose another folder"
            )
        return rows

    def _read_part(self) -> tuple[list[Rows], list[Span]]:
        """Pages and their spans; a line that a kill cut off is taken away."""
        pages: list[Rows] = []
        asked: list[Span] = []
        if not self.part.exists():
            return pages, asked
        content = self.part.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self.part, len(whole))
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                page = json.loads(line)
                pages.append(np.array(page["bars"], np.float64).reshape(-1, 6))
                asked.append((int(page["first_s"]), int(page["end_s"])))
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{self.part}: line {number} is damaged; delete it, and it is downloaded anew"
                ) from error
        return pages, asked


def holes(
    time_s: NDArray[np.int64],
    first_s: int,
    end_s: int,
    step_s: int,
    known: "list[Span] | None" = None,
) -> list[Span]:
    """Runs of bars from ``first_s`` to ``end_s`` that are neither there nor within ``known``.

    All times are starts of bars [s since 1970]; spans end before their second one.
    """
    there = np.zeros((end_s - first_s) // step_s, bool)
    there[(time_s[(time_s >= first_s) & (time_s < end_s)] - first_s) // step_s] = True
    for known_first_s, known_end_s in known or ():
        low, high = (max(0, at - first_s) // step_s for at in (known_first_s, known_end_s))
        there[low:high] = True
    edges = np.flatnonzero(np.diff(np.concatenate([[True], there, [True]])))
    return [
        (first_s + low * step_s, first_s + high * step_s)
        for low, high in edges.reshape(-1, 2).tolist()
    ]
