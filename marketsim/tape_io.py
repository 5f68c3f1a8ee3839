"""A tape on disk: a manifest and folders of Parquet parts, readable at any moment.

A part is written beside its place and renamed, so that a run killed while it writes leaves all
parts before it. The manifest is there from the start, with ``complete`` false until the end.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from marketsim.errors import DataError
from marketsim.tape_tables import BOOK_COLUMNS, BookTable, Table

FORMAT = "marketsim-tape"
VERSION = 1
#: Rows of orders in a part; a thread packs one while a simulation fills the next.
PART_ROWS = 1 << 17
#: How columns are packed, as measured for time and size on real and simulated days. What rises is
#: kept as differences, a side in a dictionary; of all others the first bytes, the second bytes, ...
#: lie together.
DIFFERENCES = {"time_ns", "sequence"}
DICTIONARY = {"side"}
SPLIT = "BYTE_STREAM_SPLIT"


def _problem(path: Path, doing: str, error: Exception) -> DataError:
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return DataError(f"{path}: cannot be {doing} ({reason})")


def write_parquet(path: Path, columns: Mapping[str, NDArray[Any] | list[str]]) -> None:
    """Write columns of numbers and of words as one zstd-compressed Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {key: _arrow(column) for key, column in columns.items()}
    few = [key for key in columns if key in DICTIONARY or isinstance(columns[key], list)]
    fields = [
        pa.field(key, array.type, nullable=array.buffers()[0] is not None)
        for key, array in arrays.items()
    ]
    pq.write_table(
        pa.Table.from_arrays(list(arrays.values()), schema=pa.schema(fields)),
        path,
        compression="zstd",
        compression_level={key: 3 if key.endswith("order_id") else 1 for key in columns},
        use_dictionary=few,
        column_encoding={
            key: "DELTA_BINARY_PACKED" if key in DIFFERENCES else SPLIT
            for key in columns
            if key not in few
        },
        write_statistics=False,
        store_schema=False,
        row_group_size=1 << 20,
        max_rows_per_page=1 << 20,
    )


def _arrow(column: NDArray[Any] | list[str]) -> Any:
    """Arrow array of a column, NaN as null; Arrow's own way imports pandas."""
    import pyarrow as pa

    if isinstance(column, list):
        words = [word.encode() for word in column]
        ends = np.cumsum([0, *(len(word) for word in words)], dtype=np.int32)
        text = pa.py_buffer(b"".join(words))
        return pa.StringArray.from_buffers(len(words), pa.py_buffer(ends), text)
    known = None
    if column.dtype.kind == "f":
        known = pa.py_buffer(np.packbits(~np.isnan(column), bitorder="little"))
    values = pa.py_buffer(np.ascontiguousarray(column))
    return pa.Array.from_buffers(pa.from_numpy_dtype(column.dtype), len(column), [known, values])


def integers(column: Any) -> NDArray[Any]:
    """Arrow column of integers without nulls as an array; Arrow's own way imports pandas."""
    dtype = np.dtype(str(column.type))
    pieces = [
        np.frombuffer(chunk.buffers()[1], dtype)[chunk.offset : chunk.offset + len(chunk)]
        for chunk in column.chunks
        if len(chunk)
    ]
    return pieces[0] if len(pieces) == 1 else np.concatenate([np.empty(0, dtype), *pieces])


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(json.dumps(content, indent=1, default=_plain) + "\n")
    os.replace(beside, path)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise DataError(f"meta: values must be JSON, was {value!r}")


class TapeWriter:
    """Writes the parts of one tape and its manifest; a context that completes it on success."""

    def __init__(self, folder: Path, meta: Mapping[str, Any], book_form: str) -> None:
        self.folder = folder
        self.meta = dict(meta)
        self.book_form = book_form
        self._parts: list[dict[str, int]] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            old = sorted(folder.glob("part-*"))
            if old and not _is_tape(folder):
                raise DataError(f"{folder}: holds {old[0].name}, which is not a tape's")
            self._write_manifest(complete=False)
            for part in old:
                shutil.rmtree(part)
        except OSError as error:
            raise _problem(folder, "written", error) from error

    def _write_manifest(self, complete: bool) -> None:
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "book_form": self.book_form,
            "parts": self._parts,
            "meta": {**self.meta, "complete": complete},
        }
        try:
            _write_json(self.folder / "manifest.json", manifest)
        except OSError as error:
            raise _problem(self.folder, "written", error) from error

    def write_part(self, tables: Mapping[str, Mapping[str, NDArray[Any]]]) -> None:
        """Write one part: each table's columns, all of the same stretch of orders."""
        import pyarrow as pa

        name = f"part-{len(self._parts):05d}"
        beside = self.folder / f".{name}.tmp"
        try:
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir()
            for table, columns in tables.items():
                write_parquet(beside / f"{table}.parquet", columns)
            os.replace(beside, self.folder / name)
        except (OSError, pa.ArrowException) as error:
            shutil.rmtree(beside, ignore_errors=True)
            raise _problem(self.folder / name, "written", error) from error
        sizes = {table: len(columns["sequence"]) for table, columns in tables.items()}
        self._parts.append(sizes)

    def write_tape(self, tables: Mapping[str, Table], book: BookTable | None) -> None:
        """Write whole tables in parts of :data:`PART_ROWS` rows of orders."""
        rows = tables["orders"].size
        for start in range(0, max(rows, 1), PART_ROWS):
            stop = min(start + PART_ROWS, rows)
            ends = [start if start else np.iinfo(np.int64).min, stop]
            if stop == rows:
                ends[1] = np.iinfo(np.int64).max
            part: dict[str, Mapping[str, NDArray[Any]]] = {}
            for name, table in tables.items():
                low, high = np.searchsorted(table["sequence"], ends)
                part[name] = table.take(slice(int(low), int(high)))
            if book is not None:
                part["book"] = book.take(slice(start, stop)).flat()
            self.write_part(part)

    def complete(self) -> None:
        """Say in the manifest that the tape is whole, unless its meta says it is not."""
        self._write_manifest(complete=bool(self.meta.get("complete", True)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.complete()


def _is_tape(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / "manifest.json").read_text())["format"] == FORMAT)
    except (OSError, ValueError, KeyError, TypeError):
        return False


class TapeReader:
    """Reads a saved tape part by part.

    Raises
    ------
    DataError
        The folder is missing, is not a tape, has a newer version, or lost parts.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / "manifest.json"
        if not path.is_file():
            what = "is not a tape (no manifest.json)" if folder.exists() else "does not exist"
            raise DataError(f"{folder}: {what}")
        try:
            manifest = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise _problem(path, "read", error) from error
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise DataError(f"{path}: is not a tape's manifest")
        if manifest.get("version") != VERSION:
            raise DataError(f"{path}: version must be {VERSION}, was {manifest.get('version')!r}")
        self.meta: dict[str, Any] = manifest["meta"]
        self.book_form: str = manifest["book_form"]
        self._sizes = self._check_parts(manifest["parts"])
        self.rows = sum(size["orders"] for size in self._sizes)

    @property
    def names(self) -> tuple[str, ...]:
        """Tables that every part holds."""
        return ("orders", "trades", "reveals", *([self.book_form] if self.book_form else []))

    def _check_parts(self, stated: list[dict[str, int]]) -> list[dict[str, int]]:
        """Rows of each part as its files say, which must be as the manifest says."""
        found: list[dict[str, int]] = []
        while (self.folder / f"part-{len(found):05d}").is_dir():
            part = f"part-{len(found):05d}"
            sizes = {name: self._open(part, name).metadata.num_rows for name in self.names}
            if len(found) < len(stated) and sizes != stated[len(found)]:
                raise DataError(f"{self.folder / part}: rows must be {stated[len(found)]}")
            found.append(sizes)
        if len(found) < len(stated) or (self.meta.get("complete") and len(found) > len(stated)):
            raise DataError(f"{self.folder}: must have {len(stated)} parts, had {len(found)}")
        return found

    def _open(self, part: str, name: str) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / part / f"{name}.parquet"
        try:
            return pq.ParquetFile(path)
        except (OSError, pa.ArrowException) as error:
            raise _problem(path, "read", error) from error

    def _read(self, part: int, name: str) -> dict[str, NDArray[Any]]:
        import pyarrow as pa

        with self._open(f"part-{part:05d}", name) as file:
            try:
                table = file.read()
                nulls = sum(column.null_count for column in table.columns)
                if nulls:
                    raise pa.ArrowInvalid(f"{nulls} values are missing")
            except (OSError, pa.ArrowException) as error:
                path = self.folder / f"part-{part:05d}" / f"{name}.parquet"
                raise _problem(path, "read", error) from error
        return {key: integers(table.column(key)) for key in table.column_names}

    def chunks(self, name: str) -> Iterator[Table]:
        """Rows of one table, part by part; at least one piece."""
        for part in range(len(self._sizes)):
            yield Table(name, self._read(part, name))
        if not self._sizes:
            yield Table(name)

    def book_chunks(self) -> Iterator[BookTable]:
        """Book snapshots, part by part; at least one piece."""
        levels = int(self.meta["levels"])
        for part in range(len(self._sizes)):
            flat = self._read(part, "book")
            sides = {key: _stack(flat, key, levels) for key in BOOK_COLUMNS}
            yield BookTable(flat["time_ns"], flat["sequence"], **sides)
        if not self._sizes:
            none = np.zeros(0, np.int64)
            yield BookTable.empty(none, none, levels)

    def book(self) -> BookTable:
        """All snapshots."""
        pieces = [chunk.columns() for chunk in self.book_chunks()]
        return BookTable(**{key: np.concatenate([p[key] for p in pieces]) for key in pieces[0]})


def _stack(flat: Mapping[str, NDArray[Any]], name: str, levels: int) -> NDArray[Any]:
    out = np.empty((len(flat["sequence"]), levels), np.int64)
    for level in range(levels):
        out[:, level] = flat[f"{name}_{level + 1}"]
    return out
