"""Tapes as text: LOBSTER's message and order-book files, and the 50 columns of TRADES-LOB."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketsim.clock import NS_PER_SECOND
from marketsim.codes import OrderKind
from marketsim.data.lobster import MISSING, UNITS
from marketsim.errors import DataError
from marketsim.tape import Tape
from marketsim.tape_tables import BookTable, Table

Int = NDArray[np.int64]

TRADES_LOB_LEVELS = 10


def write_lobster(tape: Tape, folder: str | os.PathLike[str]) -> tuple[Path, Path | None]:
    """Write ``SYMBOL_DATE_OPEN_CLOSE_message_L.csv`` and ``..._orderbook_L.csv`` into a folder.

    A tape that was read from LOBSTER files becomes the same rows again. A simulated one is
    expanded, see :func:`marketsim.data.lobster_expand.expand`. Open and close in the names are
    milliseconds; a tape without a date gets 1970-01-01.

    Returns
    -------
    message, orderbook : Path
        The second is None if the tape has no book.

    Raises
    ------
    DataError
        Prices or sizes cannot be written in LOBSTER's units, or the folder cannot be written to.
    """
    orders, book = _messages(tape)
    meta = tape.meta
    times = "_".join(str(int(meta[key]) // 1_000_000) for key in ("open_ns", "close_ns"))
    head = f"{meta['symbol'] or 'SIM'}_{meta.get('date') or '1970-01-01'}_{times}"
    levels = book.levels if book is not None else 0
    message_path = Path(folder) / f"{head}_message_{levels}.csv"
    _write_csv(message_path, _message_columns(orders, meta), header=False)
    if book is None:
        return message_path, None
    book_path = Path(folder) / f"{head}_orderbook_{levels}.csv"
    _write_csv(book_path, _book_columns(book, meta, levels), header=False)
    return message_path, book_path


def write_trades_lob(tape: Tape, path: str | os.PathLike[str]) -> Path:
    """Write one row a message with the book after it, as the TRADES-LOB data set has it.

    50 columns with a header: time [s], type, order id, size, price, direction; ask price, ask
    size, bid price, bid size of 10 levels; mid-price, spread, order volume imbalance, VWAP. Prices
    are in LOBSTER's unit, the currency x 10,000. The imbalance is ``(bids - asks) / (bids + asks)``
    of the sizes on the 10 levels; the VWAP is that of all executions so far. Types, and the
    messages of a simulated tape, are those of :func:`write_lobster`. What is undefined, as the
    mid-price of an empty side or a VWAP before the first execution, is an empty field.
    """
    orders, book = _messages(tape)
    if book is None:
        book = BookTable.empty(orders["time_ns"], orders["sequence"])
    columns = _message_columns(orders, tape.meta)
    columns |= _book_columns(book, tape.meta, TRADES_LOB_LEVELS)
    there = (columns["ask_size_1"] > 0) & (columns["bid_size_1"] > 0)
    bid, ask = columns["bid_price_1"], columns["ask_price_1"]
    columns["mid_price"] = _where(there, (bid + ask) / 2)
    columns["spread"] = _where(there, (ask - bid).astype(float))
    bids, asks = (
        sum(columns[f"{side}_size_{i + 1}"] for i in range(TRADES_LOB_LEVELS))
        for side in ("bid", "ask")
    )
    total = np.asarray(bids + asks)
    columns["order_volume_imbalance"] = _where(total > 0, (bids - asks) / np.maximum(total, 1))
    traded = np.isin(columns["type"], (4, 5, 6)) * columns["size"]
    volume = np.cumsum(traded)
    notional = np.cumsum(traded * columns["price"].astype(float))
    columns["vwap"] = _where(volume > 0, notional / np.maximum(volume, 1))
    _write_csv(Path(path), columns, header=True)
    return Path(path)


def _messages(tape: Tape) -> tuple[Table, BookTable | None]:
    """Rows in LOBSTER's words and the book after each, None if there is none."""
    orders = tape.orders
    if tape.book_form != "deltas" and not (orders["kind"] > OrderKind.HALT).any():
        return orders, tape.book if tape.book_form == "book" else None
    from marketsim.data.lobster_expand import expand

    expanded, book = expand(tape)
    return expanded, book if book.levels else None


def _units(meta: Mapping[str, Any]) -> int:
    exact = float(meta["tick_size"]) * UNITS
    if round(exact) < 1 or abs(exact - round(exact)) > 1e-6:
        raise DataError(
            f"tick_size must be a multiple of {1 / UNITS} for LOBSTER, was {meta['tick_size']}"
        )
    return round(exact)


def _sizes(lots: Int, meta: Mapping[str, Any]) -> Int:
    lot_size = float(meta["lot_size"])
    if lot_size != int(lot_size):
        raise DataError(f"lot_size must be whole for LOBSTER, was {meta['lot_size']}")
    return lots * int(lot_size)


def _message_columns(orders: Table, meta: Mapping[str, Any]) -> dict[str, Any]:
    units = _units(meta)
    per_tick = int(meta.get("units_per_tick") or units)
    subticks = orders["price_subticks"].astype(np.int64) * units // per_tick
    ticks = orders["price_ticks"]
    halt = orders["kind"] == OrderKind.HALT
    return {
        "time": [_seconds(time_ns) for time_ns in orders["time_ns"].tolist()],
        "type": orders["kind"].astype(np.int64),
        "order_id": orders["order_id"],
        "size": _sizes(orders["size_lots"], meta),
        "price": np.where(halt, ticks, ticks * units + subticks),
        "direction": orders["side"].astype(np.int64),
    }


def _seconds(time_ns: int) -> str:
    """Seconds as LOBSTER writes them: exact, without trailing zeros."""
    whole, fraction = divmod(time_ns, NS_PER_SECOND)
    return f"{whole}.{fraction:09d}".rstrip("0").rstrip(".")


def _book_columns(book: BookTable, meta: Mapping[str, Any], levels: int) -> dict[str, Any]:
    units = _units(meta)
    columns: dict[str, Any] = {}
    for level in range(levels):
        for side, missing in (("ask", MISSING), ("bid", -MISSING)):
            if level < book.levels:
                price = getattr(book, f"{side}_price_ticks")[:, level] * units
                size = _sizes(getattr(book, f"{side}_size_lots")[:, level], meta)
            else:
                price = size = np.zeros(book.size, np.int64)
            columns[f"{side}_price_{level + 1}"] = np.where(size > 0, price, missing)
            columns[f"{side}_size_{level + 1}"] = size
    return columns


def _where(defined: NDArray[np.bool_], values: NDArray[Any]) -> Any:
    import pyarrow as pa

    return pa.array(values, mask=~defined)


def _write_csv(path: Path, columns: Mapping[str, Any], header: bool) -> None:
    """Write beside the place, then rename."""
    import pyarrow as pa
    from pyarrow import csv

    beside = path.with_name(f".{path.name}.tmp")
    options = csv.WriteOptions(include_header=header, quoting_style="none", quoting_header="none")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            csv.write_csv(pa.table(dict(columns)), beside, options)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise DataError(f"{path}: cannot be written ({reason})") from error
