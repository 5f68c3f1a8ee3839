"""The tape: everything that happened in a market, read from a source or simulated."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marketsim.clock import parse_time
from marketsim.codes import Cause
from marketsim.errors import DataError
from marketsim.tape_io import TapeReader, TapeWriter
from marketsim.tape_stream import StreamTape
from marketsim.tape_tables import BookTable, Table, TapeDigest

if TYPE_CHECKING:
    import os

__all__ = ["BookTable", "MemoryTape", "StreamTape", "Table", "Tape"]

Columns = Mapping[str, ArrayLike] | NDArray[Any]

_ALWAYS = ["orders", "trades", "reveals"]
_META: dict[str, Any] = {
    "symbol": "",
    "tick_size": 0.01,
    "lot_size": 1,
    "open_ns": 34_200_000_000_000,
    "close_ns": 57_600_000_000_000,
    "source": "",
    "config": None,
    "seed": None,
    "complete": True,
}


def _as_table(name: str, columns: Columns | None) -> Table:
    return columns if isinstance(columns, Table) else Table(name, columns)


class Tape:
    """Orders, trades, book and reveals of one symbol, whatever their source.

    Parameters
    ----------
    orders, trades : Table, mapping of columns or structured array
        Columns as in :data:`marketsim.tape_tables.SCHEMAS`. Times in nanoseconds since midnight,
        prices in ticks, sizes in lots. ``orders`` has one row a message, in the order in which
        they took effect; ``trades["sequence"]`` names the row that caused the trade. ``side`` of
        a trade is its aggressor's, 0 in an auction.
    meta : mapping
        ``symbol``, ``tick_size`` (currency a tick), ``lot_size``, ``levels``, ``open_ns``,
        ``close_ns``, ``source``, ``config``, ``seed``, ``complete``, and whatever the source adds.
        All have defaults.
    reveals : Table, mapping or structured array, optional
        Levels that changed or came into view without a message; each applies after its row.
    book : BookTable, optional
        Snapshots as the source gives them, one a row of orders.
    deltas : Table, mapping or structured array, optional
        Changes of the visible book in full depth, by ``sequence``; the last of several changes of
        a level within a row counts. The book is rebuilt from them when it is asked for.

    Raises
    ------
    DataError
        A table is malformed, or its rows are not in order.
    """

    def __init__(
        self,
        orders: Columns,
        trades: Columns,
        meta: Mapping[str, Any],
        *,
        reveals: Columns | None = None,
        book: BookTable | None = None,
        deltas: Columns | None = None,
    ) -> None:
        if book is not None and deltas is not None:
            raise DataError("tape: book and deltas exclude each other")
        self._source: TapeReader | _Pieces | None = None
        self._tables = {
            "orders": _as_table("orders", orders),
            "trades": _as_table("trades", trades),
            "reveals": _as_table("reveals", reveals),
        }
        if deltas is not None:
            self._tables["deltas"] = _as_table("deltas", deltas)
        self._book = book
        #: Whether the book is given as snapshots, "book", or as changes, "deltas"; else "".
        self.book_form = "book" if book is not None else "deltas" if deltas is not None else ""
        levels = book.levels if book is not None else 10 if deltas is not None else 0
        self.meta: dict[str, Any] = {**_META, "levels": levels, **meta}
        self._check(levels if book is not None else None)

    def _check(self, book_levels: int | None) -> None:
        for name, table in self._tables.items():
            column = table["sequence"]
            falls = np.flatnonzero(np.diff(column) < (1 if name == "orders" else 0))
            if len(falls):
                raise DataError(f"{name}: sequence must rise, row {falls[0] + 1} does not")
        times, sequence = self.orders["time_ns"], self.orders["sequence"]
        falls = np.flatnonzero(np.diff(times) < 0)
        if len(falls):
            raise DataError(f"orders: time_ns must not fall, row {falls[0] + 1} does")
        if len(times) and (sequence[0] != 0 or sequence[-1] != len(times) - 1):
            raise DataError("orders: sequence must count the rows from 0")
        if self._book is not None and (self._book.size, book_levels) != (
            len(times),
            int(self.meta["levels"]),
        ):
            raise DataError(
                f"book: must have {len(times)} snapshots of {self.meta['levels']} levels,"
                f" had {self._book.size} of {book_levels}"
            )

    @classmethod
    def load(cls, folder: "str | os.PathLike[str]") -> "Tape":
        """Open a saved tape. Its columns are read when they are first asked for.

        A folder that a run left unfinished opens as well, with ``meta["complete"]`` False.

        Raises
        ------
        DataError
            The folder is missing, is not a tape, or lost some of its content.
        """
        return cls._from_reader(TapeReader(Path(folder)))

    @classmethod
    def _from_reader(cls, reader: "TapeReader | _Pieces") -> "Tape":
        tape = cls.__new__(cls)
        tape._source = reader
        tape._tables = {}
        tape._book = None
        tape.book_form = reader.book_form
        tape.meta = {**_META, "levels": 0, **reader.meta}
        return tape

    def _table(self, name: str) -> Table:
        if name not in self._tables:
            assert self._source is not None  # only loaded tapes lack a table
            self._tables[name] = Table.join(name, self._source.chunks(name))
        return self._tables[name]

    @property
    def orders(self) -> Table:
        """Messages in the order in which they took effect."""
        return self._table("orders")

    @property
    def trades(self) -> Table:
        """Trades, with maker and taker where they are known."""
        return self._table("trades")

    @property
    def reveals(self) -> Table:
        """Levels that changed, or came into view, without a message."""
        return self._table("reveals")

    @property
    def deltas(self) -> Table | None:
        """Changes of the visible book in full depth; None where the book is given as snapshots."""
        return self._table("deltas") if self.book_form == "deltas" else None

    @property
    def book(self) -> BookTable:
        """Book after each row of orders, ``meta["levels"]`` levels; computed once."""
        if self._book is None:
            if self.book_form == "book":
                assert isinstance(self._source, TapeReader)
                self._book = self._source.book()
            elif self.book_form == "deltas":
                from marketsim.tape_book import rebuild

                levels = int(self.meta["levels"])
                self._book = rebuild(self.orders["time_ns"], self._table("deltas"), levels)
            else:
                self._book = BookTable.empty(self.orders["time_ns"], self.orders["sequence"])
        return self._book

    def __len__(self) -> int:
        if self._source is not None:
            return self._source.rows
        return self.orders.size

    def __repr__(self) -> str:
        return f"Tape({self.meta['symbol']!r}, {len(self)} orders, source {self.meta['source']!r})"

    def between(self, start: int | str, end: int | str) -> "Tape":
        """Part of the tape with ``start <= time < end``.

        Parameters
        ----------
        start, end : int or str
            Nanoseconds since midnight, or ``"10:30"``, ``"10:30:00.5"``.

        Returns
        -------
        Tape
            Rows are counted from 0 anew. The levels known to rest at its start are reveals with
            cause ``OPEN`` and sequence -1, those out of sight included. ``meta["between"]``
            holds the two times; ``meta["reveals"]`` is left out.

        Raises
        ------
        ConfigError
            A time cannot be read.
        DataError
            ``end`` is before ``start``.
        """
        start_ns, end_ns = parse_time(start, "start"), parse_time(end, "end")
        if end_ns < start_ns:
            raise DataError(f"between: end must not be before start, was {start!r} to {end!r}")
        first, last = (int(i) for i in np.searchsorted(self.orders["time_ns"], (start_ns, end_ns)))
        if (first, last) == (0, self.orders.size):
            return self
        meta = {key: value for key, value in self.meta.items() if key != "reveals"}
        meta["between"] = [start_ns, end_ns]
        opening = self._levels_before(first) if first else None
        parts: dict[str, Table] = {}
        for name in (
            "orders",
            "trades",
            "reveals",
            *(["deltas"] if self.book_form == "deltas" else []),
        ):
            table = self._table(name)
            column = table["sequence"]
            low = first if first or name in ("orders", "trades") else -1
            rows = slice(*(int(i) for i in np.searchsorted(column, (low, last))))
            part = table.take(rows, sequence=column[rows] - first)
            if opening is not None and name in ("reveals", "deltas"):
                part = Table.join(name, [_opening(name, opening, start_ns), part])
            parts[name] = part
        book = None
        if self.book_form == "book":
            rows = slice(first, last)
            book = self.book.take(rows, sequence=self.book.sequence[rows] - first)
        return Tape(
            parts["orders"],
            parts["trades"],
            meta,
            reveals=parts["reveals"],
            book=book,
            deltas=parts.get("deltas"),
        )

    def _levels_before(self, row: int) -> NDArray[np.int64]:
        """Side, price and visible size of every level known to rest before ``row``; ``[n, 3]``."""
        if self.book_form == "deltas":
            from marketsim.tape_book import levels_of_deltas

            return levels_of_deltas(self._table("deltas"), row)
        from marketsim.data.reveals import levels_of_messages

        return levels_of_messages(self.orders, self.reveals, row)

    def digest(self) -> str:
        """SHA-256 of all columns of orders, trades, reveals and book, and of the symbol's units.

        The same for a tape in memory, saved, loaded or streamed; needs constant memory where the
        tape is not in memory.
        """
        digest = TapeDigest(self.meta)
        for name in _ALWAYS:
            digest.add(name, self._chunks(name))
        if self.book_form == "book":
            if self._book is None and isinstance(self._source, TapeReader):
                digest.add("book", (book.columns() for book in self._source.book_chunks()))
            else:
                digest.add("book", [self.book.columns()])
        elif self.book_form == "deltas":
            digest.add("deltas", self._chunks("deltas"))
        return digest.hexdigest()

    def _chunks(self, name: str) -> Iterator[Table]:
        if name not in self._tables and self._source is not None:
            yield from self._source.chunks(name)
        else:
            yield self._table(name)

    def save(self, folder: "str | os.PathLike[str]") -> None:
        """Write the tape as a manifest and Parquet parts; what else the folder holds stays.

        Raises
        ------
        DataError
            The folder cannot be written to, or the disk is full; complete parts stay readable.
        """
        tables = {name: self._table(name) for name in _ALWAYS}
        if self.book_form == "deltas":
            tables["deltas"] = self._table("deltas")
        book = self.book if self.book_form == "book" else None
        with TapeWriter(Path(folder), self.meta, self.book_form) as writer:
            writer.write_tape(tables, book)

    def to_lobster(self, folder: "str | os.PathLike[str]") -> tuple[Path, Path | None]:
        """Write a message and an order-book file as LOBSTER lays them out.

        See :func:`marketsim.data.lobster_writer.write_lobster`.
        """
        from marketsim.data.lobster_writer import write_lobster

        return write_lobster(self, folder)

    def to_trades_lob(self, path: "str | os.PathLike[str]") -> Path:
        """Write 50 columns of text; see :func:`marketsim.data.lobster_writer.write_trades_lob`."""
        from marketsim.data.lobster_writer import write_trades_lob

        return write_trades_lob(self, path)


def _opening(name: str, levels: NDArray[np.int64], time_ns: int) -> Table:
    """Levels at the start of a part of a tape, as rows of its reveals or deltas."""
    full = np.full(len(levels), -1)
    columns = {
        "time_ns": np.full(len(levels), time_ns),
        "sequence": full,
        "side": levels[:, 0],
        "price_ticks": levels[:, 1],
        "size_before_lots": np.zeros(len(levels), np.int64),
        "size_lots": levels[:, 2],
        "cause": np.full(len(levels), int(Cause.OPEN)),
    }
    return Table(name, columns)


class _Pieces:
    """Rows in memory as a simulation gave them; read like a tape on disk, so only when needed."""

    book_form = "deltas"

    def __init__(self, pieces: Mapping[str, list[Any]], meta: Mapping[str, Any]) -> None:
        self._pieces = {name: list(kept) for name, kept in pieces.items()}
        self.meta = dict(meta)

    @property
    def rows(self) -> int:
        """Rows of orders."""
        return sum(len(piece["sequence"]) for piece in self._pieces["orders"])

    def chunks(self, name: str) -> Iterator[Table]:
        """One table after the other."""
        for piece in self._pieces[name]:
            yield Table(name, piece)


class MemoryTape:
    """Takes a simulation's rows and keeps them in memory.

    :meth:`append` copies, so that the caller may use its buffers again.
    """

    def __init__(self) -> None:
        self._pieces: dict[str, list[Any]] = {"orders": [], "trades": [], "deltas": []}

    def append(self, orders: Columns, trades: Columns, deltas: Columns) -> None:
        """Add rows; further columns of the arrays are ignored."""
        for name, rows in (("orders", orders), ("trades", trades), ("deltas", deltas)):
            if isinstance(rows, np.ndarray):
                if len(rows):  # bytes: NumPy copies records field by field
                    self._pieces[name].append(np.frombuffer(rows.tobytes(), rows.dtype))
                continue
            table = Table(name, rows)
            if table.size:
                self._pieces[name].append(table.take(np.arange(table.size)))

    def finish(self, meta: Mapping[str, Any], reveals: Columns | None = None) -> Tape:
        """Tape of all rows so far; its columns are made when they are first asked for."""
        pieces = {**self._pieces, "reveals": [_as_table("reveals", reveals)]}
        return Tape._from_reader(_Pieces(pieces, {**_META, "levels": 10, **meta}))

    def fork(self) -> "MemoryTape":
        """A tape with the same rows that goes its own way; rows are shared, never changed."""
        twin = MemoryTape()
        twin._pieces = {name: list(pieces) for name, pieces in self._pieces.items()}
        return twin
