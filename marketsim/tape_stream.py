"""A tape written to disk while a simulation runs, in constant memory."""

import functools
import importlib
import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marketsim.tape_io import PART_ROWS, TapeWriter
from marketsim.tape_tables import SCHEMAS, Table

if TYPE_CHECKING:
    from marketsim.tape import Columns, Tape

#: Rows of each table for a row of orders, beyond which a part is written; room for them is made.
_LIMITS = {"orders": 1, "trades": 4, "deltas": 4}
_FIRST_ROWS = 1 << 12


@functools.cache
def _fits(name: str, dtype: np.dtype[Any]) -> bool:
    """Whether the records of a structured array have all columns of a table, in their types."""
    fields: Mapping[str, Any] = dtype.fields or {}
    return all(key in fields and fields[key][0] == want for key, want in SCHEMAS[name].items())


class _Rows:
    """Columns of one table that fill up; their room stays when they are emptied."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0
        self._columns = {key: np.empty(_FIRST_ROWS, kind) for key, kind in SCHEMAS[name].items()}

    def append(self, rows: "Columns") -> None:
        """Copy rows behind those that are there."""
        fits = isinstance(rows, np.ndarray) and _fits(self.name, rows.dtype)
        given: Any = rows if fits else Table(self.name, rows)
        start, stop = self.count, self.count + (len(given) if fits else given.size)
        if stop > len(self._columns["sequence"]):
            self._grow(stop)
        for key, column in self._columns.items():
            column[start:stop] = given[key]
        self.count = stop

    def _grow(self, wanted: int) -> None:
        for key, column in self._columns.items():
            larger = np.empty(max(wanted, 2 * len(column)), column.dtype)
            larger[: self.count] = column[: self.count]
            self._columns[key] = larger

    def columns(self) -> dict[str, NDArray[Any]]:
        """Views of what is filled."""
        return {key: column[: self.count] for key, column in self._columns.items()}


def _room() -> dict[str, _Rows]:
    return {name: _Rows(name) for name in _LIMITS}


class StreamTape:
    """Takes a simulation's rows and writes them to disk in constant memory.

    Parameters
    ----------
    folder : path
        Where the tape goes, as :meth:`marketsim.tape.Tape.save` writes it.
    meta : mapping, optional
        What is known from the start, for whoever reads the tape of an interrupted run.
    part_rows : int
        Rows of orders (a fourth of the rows of trades and of deltas) gathered before a part is
        written. At most two parts are in memory: one is written by a thread while the next fills.

    Raises
    ------
    DataError
        The folder cannot be written to, or the disk is full: from any method, soon after it
        happened. What was written before stays readable.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        meta: Mapping[str, Any] | None = None,
        part_rows: int = PART_ROWS,
    ) -> None:
        self._writer = TapeWriter(Path(folder), {"levels": 10, **(meta or {})}, "deltas")
        self._part_rows = part_rows
        self._filling, self._written = _room(), _room()
        self._parts = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="marketsim-tape")
        self._writing: Future[None] | None = None
        self._thread.submit(
            importlib.import_module, "pyarrow.parquet"
        )  # while the first part fills
        self._failure: Exception | None = None

    def append(self, orders: "Columns", trades: "Columns", deltas: "Columns") -> None:
        """Add rows of one stretch of time; their columns are copied.

        An error of the writing thread is raised once, and once more by :meth:`finish`; the rows
        after it are dropped.
        """
        if self._writing is not None and self._writing.done():
            self._wait()
        if self._failure is not None:
            return
        for name, rows in (("orders", orders), ("trades", trades), ("deltas", deltas)):
            self._filling[name].append(rows)
        limits = {name: times * self._part_rows for name, times in _LIMITS.items()}
        if any(rows.count >= limits[name] for name, rows in self._filling.items()):
            self._flush(Table("reveals"))

    def _flush(self, reveals: Table) -> None:
        self._wait()
        self._filling, self._written = self._written, self._filling
        for rows in self._filling.values():
            rows.count = 0
        self._parts += 1
        tables = {name: rows.columns() for name, rows in self._written.items()}
        self._writing = self._thread.submit(self._writer.write_part, {**tables, "reveals": reveals})

    def _wait(self) -> None:
        writing = self._writing
        if writing is None:
            return
        try:
            writing.result()
        except Exception as error:
            self._failure = error
            raise
        finally:
            if writing.done():  # else Ctrl-C ended the wait
                self._writing = None

    def finish(self, meta: Mapping[str, Any], reveals: "Columns | None" = None) -> "Tape":
        """Write what is left and the manifest; returns the tape, opened but not read.

        ``meta["complete"]`` may be False, for a run that was interrupted.

        Raises
        ------
        DataError
            A part cannot be written, now or before. None comes behind one that is lost: the tape
            on disk has no gaps, and says that it is not complete.
        """
        from marketsim.tape import Tape

        table = reveals if isinstance(reveals, Table) else Table("reveals", reveals)
        self._writer.meta = {**self._writer.meta, **meta}
        try:
            self._write_rest(table)
        except BaseException:
            self._writer.meta["complete"] = False
            raise
        finally:
            self._thread.shutdown()
            self._writer.complete()
        return Tape.load(self._writer.folder)

    def _write_rest(self, reveals: Table) -> None:
        self._wait()
        if self._failure is not None:
            raise self._failure
        left = any(rows.count for rows in self._filling.values())
        if left or reveals.size or not self._parts:
            self._flush(reveals)
            self._wait()
