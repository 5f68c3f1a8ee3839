"""LOBSTER's message and order-book files (https://lobsterdata.com) as tapes.

A message row is: seconds since midnight, type, order id, size, price [currency x 10,000] and
direction. An order-book row is the state after it: ask price, ask size, bid price, bid size of
each level.
"""

import os
import re
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from marketsim.clock import NS_PER_DAY
from marketsim.codes import OrderKind
from marketsim.data.lobster_files import Source, file_meta, find_sources
from marketsim.errors import DataError
from marketsim.tape import Tape
from marketsim.tape_io import integers
from marketsim.tape_tables import BookTable, Table

Int = NDArray[np.int64]

#: LOBSTER's price unit: a ten-thousandth of the currency.
UNITS = 10_000
#: Price of a level that is not there; bids have the negative one.
MISSING = 9_999_999_999
MAX_LEVELS = 50
MESSAGE_COLUMNS = ("time", "type", "order id", "size", "price", "direction")
_TIME = re.compile(rb"\d{1,9}(\.\d{1,19})?")
_INTEGER = re.compile(rb"-?\d{1,18}")


def read_lobster(
    path: str | os.PathLike[str],
    orderbook: str | os.PathLike[str] | None = None,
    *,
    tick_size: float | None = None,
    levels: int | None = None,
) -> Tape:
    """Read a day of LOBSTER data.

    Parameters
    ----------
    path : path
        A zip as LOBSTER delivers it, a message file (``.csv`` or ``.csv.gz``), or a folder that
        holds one. The order-book file is found by its name, ``..._orderbook_N.csv`` for
        ``..._message_N.csv``.
    orderbook : path, optional
        The order-book file, where its name is another.
    tick_size : float, optional
        Currency a tick. By default the greatest common divisor of the visible prices.
    levels : int, optional
        Levels to keep of those that the file has (all).

    Returns
    -------
    Tape
        One row of orders and one of the book a message. Times are exact; only where a file has
        more than 9 decimals, as after a detour through floating point, they are rounded to the
        nanosecond. ``side`` of an execution is the resting
        order's; ``price_ticks`` of a hidden execution or a cross off the grid is rounded down, the
        rest is in ``price_subticks`` [ten-thousandths of the currency]. ``price_ticks`` of a
        ``HALT`` is LOBSTER's code: -1 halt, 0 quoting resumes, 1 trading resumes. Trades come from
        executions, hidden executions and crosses; a cross has side 0, the taker's id is 0.

        ``meta["reveals"]`` holds the figures of :func:`marketsim.data.reveals.find_reveals`.
        Without an order-book file ``meta["orderbook"]`` is None, ``meta["levels"]`` is 0, the book
        has no levels and there are no reveals: what rested before the open is unknown then.

    Raises
    ------
    DataError
        A file is missing, truncated, not LOBSTER's, unsorted or contradicts itself. A last line
        that ends inside its last number cannot be told from a whole one.
    """
    from marketsim.data.reveals import find_reveals

    message, book_file = find_sources(Path(path), None if orderbook is None else Path(orderbook))
    columns = _read_messages(message)
    rows = len(columns["time_ns"])
    book_columns = None if book_file is None else _read_book(book_file, rows, levels)
    if book_columns is None and levels:
        raise DataError(f"{message.place}: levels={levels} needs an order-book file, found none")
    units = _tick_units(message.place, columns, book_columns, tick_size)
    orders = _orders(columns, units)
    book = None if book_columns is None else _book(orders, book_columns, units)
    meta: dict[str, Any] = {
        "symbol": "",
        "date": None,
        **file_meta(message.file),
        "tick_size": units / UNITS,
        "units_per_tick": units,
        "lot_size": 1,
        "levels": book.levels if book is not None else 0,
        "source": "lobster",
        "file": Path(path).name,
        "orderbook": None if book_file is None else book_file.file,
    }
    reveals = None
    if book is not None:
        reveals, meta["reveals"] = find_reveals(orders, book)
    return Tape(orders, _trades(orders), meta, reveals=reveals, book=book)


def _csv(
    source: Source, labels: tuple[str, ...], time: bool, decimals: int = 9
) -> list[NDArray[Any]]:
    """Columns of a CSV file without a header; ``time`` says that the first one holds seconds.

    They are read as decimal numbers, so that they become nanoseconds without rounding. Only where
    there are more than 9 decimals, 19 are read and rounded.
    """
    import pyarrow as pa
    from pyarrow import csv

    if not source.text.strip():
        raise DataError(f"{source.place}: holds no rows")
    types = {f"f{i}": pa.int64() for i in range(len(labels))}
    if time:
        types["f0"] = pa.decimal128(9 + decimals, decimals)
    try:
        table = csv.read_csv(
            pa.py_buffer(source.text),
            read_options=csv.ReadOptions(autogenerate_column_names=True),
            parse_options=csv.ParseOptions(quote_char=False),
            convert_options=csv.ConvertOptions(column_types=types, null_values=[]),
        )
    except pa.ArrowInvalid as error:
        if decimals == 9 and time and "Rescaling" in str(error):
            return _csv(source, labels, time, decimals=19)
        _explain(source, labels, time, error)
    if table.num_columns != len(labels):
        _explain(source, labels, time, None)
    columns = [integers(table.column(i)) for i in range(1 if time else 0, len(labels))]
    if time:
        seconds = table.column(0)
        if decimals > 9:
            from pyarrow import compute

            seconds = compute.round(seconds, ndigits=9)
        exact = seconds.cast(pa.decimal128(18, 9)).combine_chunks()
        words = np.frombuffer(exact.buffers()[1], "<i8")  # 128-bit integers, low word first
        columns.insert(0, words[2 * exact.offset :: 2][: len(exact)])
    return columns


def _explain(
    source: Source, labels: tuple[str, ...], time: bool, error: Exception | None
) -> NoReturn:
    """Find the first row that is not as it must be and say so."""
    lines = source.text.splitlines()
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        fields = line.split(b",")
        if len(fields) != len(labels):
            end = ", the last: is the file truncated?" if number == len(lines) > 1 else ""
            raise DataError(
                f"{source.place}: row {number} must have {len(labels)} columns,"
                f" had {len(fields)}{end}"
            )
        for i, (label, field) in enumerate(zip(labels, fields, strict=True)):
            seconds = time and i == 0
            if not (_TIME if seconds else _INTEGER).fullmatch(field):
                rule = "seconds with up to 19 decimals" if seconds else "an integer"
                shown = field[:40].decode(errors="replace")
                raise DataError(
                    f"{source.place}: row {number}: {label} must be {rule}, was {shown!r}"
                )
    raise DataError(f"{source.place}: is not a LOBSTER file ({error})")


def _require(
    name: str, good: NDArray[np.bool_], what: str, rule: str, values: NDArray[Any]
) -> None:
    if not good.all():
        row = int(np.argmin(good))
        raise DataError(f"{name}: row {row + 1}: {what} must be {rule}, was {values[row]}")


def _read_messages(source: Source) -> dict[str, Int]:
    """Columns of a message file, checked; prices in LOBSTER's unit."""
    time_ns, kind, order_id, size, price, side = _csv(source, MESSAGE_COLUMNS, time=True)
    seconds = time_ns / 1e9
    name = source.place
    _require(name, (time_ns >= 0) & (time_ns <= NS_PER_DAY), "time", "within the day", seconds)
    rises = np.ones(len(time_ns), bool)
    np.greater_equal(time_ns[1:], time_ns[:-1], out=rises[1:])
    _require(name, rises, "time", "no less than the row before", seconds)
    _require(name, (kind >= 1) & (kind <= 7), "type", "1 to 7", kind)
    _require(name, size >= 0, "size", "no less than 0", size)
    needs_size = kind <= OrderKind.HIDDEN_EXECUTION
    _require(name, (size > 0) | ~needs_size, "size", "more than 0", size)
    _require(name, (side == 1) | (side == -1), "direction", "1 or -1", side)
    code = (kind != OrderKind.HALT) | ((price >= -1) & (price <= 1))
    _require(name, code, "price of a halt", "-1, 0 or 1", price)
    names = ("time_ns", "kind", "order_id", "size", "price", "side")
    return dict(zip(names, (time_ns, kind, order_id, size, price, side), strict=True))


def _read_book(source: Source, rows: int, levels: int | None) -> list[Int]:
    """Bid price, bid size, ask price, ask size, each ``[rows, L]``; empty levels hold 0."""
    first = source.text.split(b"\n", 1)[0]
    width = first.count(b",") + 1
    if width % 4 or not 4 <= width <= 4 * MAX_LEVELS:
        raise DataError(
            f"{source.place}: row 1 must have 4 columns a level, 1 to {MAX_LEVELS} levels,"
            f" had {width} columns"
        )
    named = re.search(r"_orderbook_(\d+)\.", source.file)
    if named and int(named[1]) != width // 4:
        raise DataError(
            f"{source.place}: row 1 must have {4 * int(named[1])} columns by its name, had {width}"
        )
    kept = width // 4 if levels is None else levels
    if not 1 <= kept <= width // 4:
        raise DataError(f"{source.place}: levels must be 1 to {width // 4}, was {levels}")
    words = ("ask price", "ask size", "bid price", "bid size")
    labels = tuple(f"{words[i % 4]} {i // 4 + 1}" for i in range(width))
    columns = _csv(source, labels, time=False)
    if len(columns[0]) != rows:
        raise DataError(
            f"{source.place}: must have as many rows as the message file, {rows},"
            f" had {len(columns[0])}"
        )
    sides: list[Int] = []
    for offset, sign in ((2, -1), (0, 1)):
        price, size = (
            np.stack(columns[offset + i : 4 * kept : 4], axis=1) for i in (0, 1)
        )  # (rows, levels)
        _check_levels(source.place, words[offset][:3], sign, price, size)
        price[size == 0] = 0
        sides += [price, size]
    return sides


def _check_levels(name: str, side: str, sign: int, price: Int, size: Int) -> None:
    """Levels must be in order, best first, and empty ones at the end."""
    gone = (price == MISSING) | (price == -MISSING)
    away = np.where(gone, MISSING, sign * price)  # rises away from the touch
    bad = (size < 0) | ((size == 0) != gone)
    bad[:, 1:] |= (away[:, 1:] <= away[:, :-1]) & ~gone[:, 1:]
    if bad.any():
        row, level = (int(i) for i in np.argwhere(bad)[0])
        rule = "better levels first, each with a size > 0, and empty levels last"
        found = f"{price[row, level]} x {size[row, level]}"
        raise DataError(
            f"{name}: row {row + 1}: {side} levels must be {rule}, was {found} at level {level + 1}"
        )


def _tick_units(
    name: str, columns: dict[str, Int], book: list[Int] | None, tick_size: float | None
) -> int:
    """Ten-thousandths of the currency in a tick; visible prices must be multiples of it."""
    visible = columns["kind"] <= OrderKind.EXECUTION
    prices = np.where(visible, columns["price"], 0)
    if tick_size is None:
        pieces = [prices] if book is None else [prices, book[0].ravel(), book[2].ravel()]
        return int(np.gcd.reduce([np.gcd.reduce(piece) for piece in pieces])) or UNITS // 100
    units = round(tick_size * UNITS)
    if units < 1 or abs(units - tick_size * UNITS) > 1e-6:
        raise DataError(f"tick_size must be a multiple of {1 / UNITS} and > 0, was {tick_size}")
    rule = f"a multiple of the tick {tick_size}"
    _require(name, np.equal(prices % units, 0), "price", rule, prices)
    for side in (book[0], book[2]) if book is not None else ():
        _require(name, np.all(side % units == 0, axis=1), "order-book prices", rule, side)
    return units


def _orders(columns: dict[str, Int], units: int) -> Table:
    price = columns["price"]
    halt = columns["kind"] == OrderKind.HALT
    return Table(
        "orders",
        {
            "time_ns": columns["time_ns"],
            "kind": columns["kind"],
            "order_id": columns["order_id"],
            "side": columns["side"],
            "price_ticks": np.where(halt, price, price // units),
            "size_lots": columns["size"],
            "price_subticks": np.where(halt, 0, price % units),
        },
    )


def _book(orders: Table, book: list[Int], units: int) -> BookTable:
    bid_price, bid_size, ask_price, ask_size = book
    return BookTable(
        orders["time_ns"],
        orders["sequence"],
        bid_price // units,
        bid_size,
        ask_price // units,
        ask_size,
    )


def _trades(orders: Table) -> Table:
    """Executions as trades; the aggressor is on the other side of the resting order."""
    kind = orders["kind"]
    rows = np.flatnonzero((kind >= OrderKind.EXECUTION) & (kind <= OrderKind.CROSS))
    chosen = {name: orders[name][rows] for name in orders}
    cross = chosen["kind"] == OrderKind.CROSS
    columns = {name: chosen[name] for name in ("time_ns", "sequence", "price_ticks", "size_lots")}
    columns["price_subticks"] = chosen["price_subticks"]
    columns["side"] = np.where(cross, 0, -chosen["side"])
    columns["maker_order_id"] = np.where(
        chosen["kind"] == OrderKind.EXECUTION, chosen["order_id"], 0
    )
    return Table("trades", columns)
