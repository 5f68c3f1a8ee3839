"""Tables of a tape: typed, read-only columns, book snapshots and the digest."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marketsim.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]

#: Columns of each table and their types, in the order in which they are saved and digested.
SCHEMAS: dict[str, dict[str, str]] = {
    "orders": {
        "time_ns": "<i8",
        "sequence": "<i8",
        "kind": "|i1",
        "order_id": "<i8",
        "agent_id": "<i4",
        "side": "|i1",
        "price_ticks": "<i8",
        "size_lots": "<i8",
        "hidden_lots": "<i8",
        "price_subticks": "<i4",
    },
    "trades": {
        "time_ns": "<i8",
        "sequence": "<i8",
        "price_ticks": "<i8",
        "price_subticks": "<i4",
        "size_lots": "<i8",
        "side": "|i1",
        "maker_order_id": "<i8",
        "taker_order_id": "<i8",
        "maker_agent_id": "<i4",
        "taker_agent_id": "<i4",
    },
    "reveals": {
        "time_ns": "<i8",
        "sequence": "<i8",
        "side": "|i1",
        "price_ticks": "<i8",
        "size_before_lots": "<i8",
        "size_lots": "<i8",
        "cause": "<i2",
    },
    "deltas": {"sequence": "<i8", "side": "|i1", "price_ticks": "<i8", "size_lots": "<i8"},
}
#: Columns that may be left out, and what they hold then.
DEFAULTS = {
    "agent_id": -1,
    "hidden_lots": 0,
    "price_subticks": 0,
    "maker_order_id": 0,
    "taker_order_id": 0,
    "maker_agent_id": -1,
    "taker_agent_id": -1,
}
#: Two-dimensional columns of the book, one row a snapshot, one column a level.
BOOK_COLUMNS = ("bid_price_ticks", "bid_size_lots", "ask_price_ticks", "ask_size_lots")


def _frozen(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view


def _cast(table: str, name: str, values: ArrayLike, dtype: str) -> Array:
    """``values`` as a contiguous column of ``dtype``; whatever does not fit is an error."""
    array = np.asarray(values)
    if array.ndim != 1 or (array.dtype.kind not in "iub" and array.size):
        raise DataError(f"{table}: {name} must be a column of integers, was {array.dtype}")
    target = np.dtype(dtype)
    if array.size and array.dtype.itemsize >= target.itemsize and array.dtype != target:
        limits = np.iinfo(target)
        for value in (int(array.min()), int(array.max())):
            if not limits.min <= value <= limits.max:
                raise DataError(f"{table}: {name} must fit {target.name}, was {value}")
    return _frozen(np.ascontiguousarray(array, dtype=target))


class Table(Mapping[str, Array]):
    """Columns of equal length by name: NumPy arrays that cannot be written to.

    Parameters
    ----------
    name : {"orders", "trades", "reveals", "deltas"}
        Which columns the table has, see :data:`SCHEMAS`.
    columns : mapping or structured array, optional
        Integers; further columns are ignored. ``sequence`` of orders and the columns in
        :data:`DEFAULTS` may be missing. Without it the table is empty.

    Raises
    ------
    DataError
        A column is missing, is not of integers, does not fit its type or has another length.
    """

    def __init__(self, name: str, columns: Mapping[str, ArrayLike] | Array | None = None) -> None:
        self.name = name
        schema = SCHEMAS[name]
        given: Any = columns if columns is not None else {key: [] for key in schema}
        present = given.dtype.names or () if isinstance(given, np.ndarray) else given.keys()
        self._columns: dict[str, Array] = {}
        size = -1
        for key, dtype in schema.items():
            if key in present:
                values = given[key]
            elif size >= 0 and key in DEFAULTS:
                values = np.full(size, DEFAULTS[key], dtype)
            elif size >= 0 and (name, key) == ("orders", "sequence"):
                values = np.arange(size)
            else:
                raise DataError(f"{name}: column {key!r} is missing")
            self._columns[key] = _cast(name, key, values, dtype)
            if size not in (-1, len(self._columns[key])):
                raise DataError(f"{name}: {key} must have {size} rows, had {len(values)}")
            size = len(self._columns[key])
        self.size = size

    @classmethod
    def join(cls, name: str, pieces: Iterable[Mapping[str, Array]]) -> "Table":
        """Rows of all pieces, one after the other."""
        kept = list(pieces)
        if len(kept) == 1:
            return cls(name, kept[0])
        if not kept:
            return cls(name)
        return cls(name, {key: np.concatenate([p[key] for p in kept]) for key in SCHEMAS[name]})

    @property
    def rows(self) -> range:
        """Row numbers."""
        return range(self.size)

    def __getitem__(self, column: str) -> Array:
        return self._columns[column]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"Table({self.name!r}, {self.size} rows: {', '.join(self)})"

    def take(self, rows: slice | Array, **changed: Array) -> "Table":
        """Chosen rows; ``changed`` columns replace theirs."""
        return Table(self.name, {key: changed.get(key, self[key][rows]) for key in self})

    def to_pandas(self) -> "pd.DataFrame":
        """Copy as a data frame."""
        import pandas as pd

        return pd.DataFrame({key: column.copy() for key, column in self.items()})


class BookTable:
    """Book snapshots, one after each row of orders; levels from the best outwards.

    Attributes
    ----------
    time_ns, sequence : int64[n]
        Of the orders row after which the book was so.
    bid_price_ticks, bid_size_lots, ask_price_ticks, ask_size_lots : int64[n, L]
        Visible size; an empty level has size 0 and price 0.

    Raises
    ------
    DataError
        The arrays' shapes do not fit each other.
    """

    def __init__(
        self,
        time_ns: Array,
        sequence: Array,
        bid_price_ticks: Array,
        bid_size_lots: Array,
        ask_price_ticks: Array,
        ask_size_lots: Array,
    ) -> None:
        def frozen(values: Array) -> Array:
            return _frozen(np.ascontiguousarray(values, dtype="<i8"))

        self.time_ns = frozen(time_ns)
        self.sequence = frozen(sequence)
        self.bid_price_ticks = frozen(bid_price_ticks)
        self.bid_size_lots = frozen(bid_size_lots)
        self.ask_price_ticks = frozen(ask_price_ticks)
        self.ask_size_lots = frozen(ask_size_lots)
        shape = self.bid_price_ticks.shape
        for name in BOOK_COLUMNS:
            found = getattr(self, name).shape
            if found != shape or len(shape) != 2 or shape[0] != len(self.time_ns):
                raise DataError(f"book: {name} must be [{len(self.time_ns)}, L], was {found}")
        if len(self.sequence) != len(self.time_ns):
            raise DataError(f"book: sequence must have {len(self.time_ns)} rows")

    @classmethod
    def empty(cls, time_ns: Array, sequence: Array, levels: int = 0) -> "BookTable":
        """Snapshots of a book without orders."""
        none = np.zeros((len(time_ns), levels), "<i8")
        return cls(time_ns, sequence, none, none, none, none)

    @property
    def size(self) -> int:
        """Number of snapshots."""
        return len(self.time_ns)

    def __len__(self) -> int:
        return self.size

    @property
    def levels(self) -> int:
        """Levels of each side in a snapshot."""
        return int(self.bid_price_ticks.shape[1])

    def columns(self) -> dict[str, Array]:
        """Arrays by name, two-dimensional ones included."""
        return {key: getattr(self, key) for key in ("time_ns", "sequence", *BOOK_COLUMNS)}

    def take(self, rows: slice | Array, **changed: Array) -> "BookTable":
        """Chosen snapshots; ``changed`` columns replace theirs."""
        return BookTable(
            **{key: changed.get(key, column[rows]) for key, column in self.columns().items()}
        )

    def flat(self) -> dict[str, Array]:
        """One-dimensional columns: those of level ``i`` end in ``_i``, counted from 1."""
        flat = {"time_ns": self.time_ns, "sequence": self.sequence}
        for name in BOOK_COLUMNS:
            for level in range(self.levels):
                flat[f"{name}_{level + 1}"] = getattr(self, name)[:, level]
        return flat

    def to_pandas(self) -> "pd.DataFrame":
        """Copy as a data frame with the columns of :meth:`flat`."""
        import pandas as pd

        return pd.DataFrame({key: column.copy() for key, column in self.flat().items()})

    def __repr__(self) -> str:
        return f"BookTable({self.size} snapshots, {self.levels} levels)"


class TapeDigest:
    """SHA-256 of a tape, fed chunk by chunk: the same in memory and from the disk.

    Each column is hashed on its own, so that chunks of rows may come in any size.
    """

    def __init__(self, meta: Mapping[str, Any]) -> None:
        identity = [
            str(meta["symbol"]),
            float(meta["tick_size"]),
            float(meta["lot_size"]),
            int(meta["levels"]),
        ]
        self._whole = hashlib.sha256(json.dumps(identity).encode())

    def add(self, name: str, chunks: Iterable[Mapping[str, Array]]) -> None:
        """Add the table ``name``, given as one or more pieces with the same columns."""
        columns: dict[str, Any] = {}
        for chunk in chunks:
            for key, column in chunk.items():
                hasher = columns.setdefault(key, hashlib.sha256(f"{column.dtype.str}".encode()))
                hasher.update(np.ascontiguousarray(column).reshape(-1))
        for key, hasher in columns.items():
            self._whole.update(f"{name}.{key}:{hasher.hexdigest()};".encode())

    def hexdigest(self) -> str:
        """The digest as 64 hexadecimal digits."""
        return self._whole.hexdigest()
