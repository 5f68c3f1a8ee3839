"""LOBSTER files that are refused, each with one line that says why."""

import gzip
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from marketsim.data.lobster import MISSING, read_lobster
from marketsim.errors import DataError
from marketsim.tape import Table, Tape

NAME = "XYZ_2020-02-03_34200000_57600000_{}_{}.csv"
Row = tuple[Any, ...]


def text(rows: Iterable[Iterable[Any]]) -> str:
    return "".join(",".join(map(str, row)) + "\n" for row in rows)


def write(folder: Path, messages: list[Row], books: list[Any] | None, levels: int) -> Path:
    path = folder / NAME.format("message", levels)
    path.write_text(text(messages))
    if books is not None:
        (folder / NAME.format("orderbook", levels)).write_text(text(books))
    return path


BAD = [
    ("time", 2, 0, "x", "row 2: time must be seconds with up to 19 decimals, was 'x'"),
    ("size", 1, 3, -5, "row 1: size must be no less than 0, was -5"),
    ("zero", 1, 3, 0, "row 1: size must be more than 0, was 0"),
    ("type", 3, 1, 8, "row 3: type must be 1 to 7, was 8"),
    ("side", 2, 5, 0, "row 2: direction must be 1 or -1, was 0"),
    ("nan", 3, 4, "NaN", "row 3: price must be an integer, was 'NaN'"),
    ("empty", 3, 4, "", "row 3: price must be an integer, was ''"),
    ("float", 2, 3, "1.5", "row 2: size must be an integer, was '1.5'"),
    ("unsorted", 3, 0, "34199", "row 3: time must be no less than the row before, was 34199.0"),
    ("late", 3, 0, "86401", "row 3: time must be within the day, was 86401.0"),
]


@pytest.mark.parametrize(("row", "column", "value", "message"), [b[1:] for b in BAD])
def test_bad_messages(tmp_path: Path, row: int, column: int, value: Any, message: str) -> None:
    rows = [[f"3420{i}.5", 1, i, 10, 10_000 + 100 * i, 1] for i in range(3)]
    rows[row - 1][column] = value
    path = write(tmp_path, [tuple(r) for r in rows], None, 0)
    with pytest.raises(DataError) as caught:
        read_lobster(path)
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("book", "message"),
    [
        ([[101, 5, 100, 5], [101, 5, 100]], "row 2 must have 4 columns, had 3, the last: is the"),
        ([[101, 5, 100, 5]], "must have as many rows as the message file, 2, had 1"),
        ([[101, 5, 100, 5], [101, -5, 100, 5]], "row 2: ask levels must be"),
        ([[101, 5, 100, 5], [101, 5, 100, 0]], "row 2: bid levels must be"),
        ([[101, 5, 100, 5], [101, "NaN", 100, 5]], "row 2: ask size 1 must be an integer, was"),
        ([[101, 5, 100]] * 2, "row 1 must have 4 columns a level, 1 to 50 levels, had 3"),
        ([[101, 5, 100, 5] * 2] * 2, "row 1 must have 4 columns by its name, had 8"),
    ],
)
def test_bad_books(tmp_path: Path, book: list[Any], message: str) -> None:
    rows: list[Row] = [("1", 1, 1, 5, 100, 1), ("2", 5, 0, 5, 100, 1)]
    with pytest.raises(DataError, match=message) as caught:
        read_lobster(write(tmp_path, rows, book, 1))
    assert str(caught.value).startswith(str(tmp_path / NAME.format("orderbook", 1)))


def test_levels_out_of_order(tmp_path: Path) -> None:
    rows: list[Row] = [("1", 1, 1, 5, 100, 1)]
    for book in ([[101, 5, 100, 5, 101, 5, 99, 5]], [[101, 5, -MISSING, 0, 102, 5, 99, 5]]):
        with pytest.raises(DataError, match="at level 2"):
            read_lobster(write(tmp_path, rows, book, 2))


def test_missing_damaged_and_foreign_files(tmp_path: Path) -> None:
    def refused(path: Path, message: str, book: Path | None = None) -> None:
        with pytest.raises(DataError, match=message):
            read_lobster(path, book)

    refused(tmp_path / "none.csv", "none.csv: does not exist")
    refused(tmp_path, "holds no LOBSTER message file")
    messages: list[Row] = [(34_200 + i, 1, i, 10 + i, 10_000, 1) for i in range(300)]
    books = [[MISSING, 0, 10_000, 10] + [MISSING, 0, -MISSING, 0] * 2] * 300
    path = write(tmp_path, messages, books, 3)
    refused(path, "nothing.csv: does not exist", tmp_path / "nothing.csv")
    book = tmp_path / NAME.format("orderbook", 3)
    refused(book, "row 1 must have 6 columns, had 12")
    whole = path.read_bytes()
    cut = tmp_path / "cut_message_3.csv"
    cut.write_bytes(whole[: whole.rfind(b",")])
    refused(cut, "row 300 must have 6 columns, had 5, the last: is the file truncated?")
    packed = tmp_path / "a_message_3.csv.gz"
    packed.write_bytes(gzip.compress(whole)[:-500])
    refused(packed, "is not a whole gzip file")
    with zipfile.ZipFile(tmp_path / "day.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, path.name)
        archive.write(path, "B" + path.name)
    refused(tmp_path / "day.zip", "must hold one message file, had 2")
    content = (tmp_path / "day.zip").read_bytes()
    (tmp_path / "day.zip").write_bytes(content[:-50])
    refused(tmp_path / "day.zip", "is not a whole zip file")
    (tmp_path / "day.zip").unlink()
    empty = tmp_path / "empty.csv"
    empty.write_text("\n")
    refused(empty, "holds no rows")
    empty.write_bytes(bytes(range(256)))
    refused(empty, "must have 6 columns, had 1")
    alone = tmp_path / "alone.csv"
    alone.write_text("1,1,1,5,100,1\n")
    with pytest.raises(DataError, match="levels=3 needs an order-book file"):
        read_lobster(alone, levels=3)


def test_units_that_lobster_cannot_say(tmp_path: Path) -> None:
    one = {"time_ns": [5], "kind": [1], "order_id": [9], "side": [1], "price_ticks": [2]}
    orders = {**one, "size_lots": [3]}
    with pytest.raises(DataError, match="tick_size must be a multiple of 0.0001 for LOBSTER"):
        Tape(orders, Table("trades"), {"tick_size": 1e-5}).to_lobster(tmp_path)
    with pytest.raises(DataError, match="lot_size must be whole for LOBSTER, was 0.1"):
        Tape(orders, Table("trades"), {"lot_size": 0.1}).to_lobster(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        Tape(orders, Table("trades"), {}).to_lobster(tmp_path / "file")
