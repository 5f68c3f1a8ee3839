"""Where LOBSTER's files are found: zips, folders, CSV files, their names and their text."""

import gzip
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marketsim.errors import DataError

_NAME = re.compile(r"(?P<head>.+)_message_(?P<levels>\d+)\.")
_MS = 1_000_000


@dataclass(frozen=True)
class Source:
    """A CSV file's text; its place, for errors; its own name, which tells what is in it."""

    place: str
    file: str
    text: bytes


def file_meta(file: str) -> dict[str, Any]:
    """What a name ``SYMBOL_DATE_OPEN_CLOSE_message_L.csv`` says; times in it are milliseconds.

    Parts that are missing or are something else are left out.
    """
    match = _NAME.match(file)
    if not match:
        return {}
    words = match["head"].split("_")
    meta: dict[str, Any] = {"symbol": words[0]}
    if len(words) > 1 and re.fullmatch(r"\d{4}-\d\d-\d\d", words[1]):
        meta["date"] = words[1]
    if len(words) == 4 and words[2].isdigit() and words[3].isdigit():
        meta["open_ns"], meta["close_ns"] = int(words[2]) * _MS, int(words[3]) * _MS
    return meta


def find_sources(path: Path, orderbook: Path | None) -> tuple[Source, Source | None]:
    """Message file and, where there is one, order-book file.

    Raises
    ------
    DataError
        Nothing there, nothing that looks like LOBSTER's files, several, or damaged compression.
    """
    if not path.exists():
        raise DataError(f"{path}: does not exist")
    if path.is_dir():
        path = path / _only_message(str(path), [p.name for p in path.iterdir() if p.is_file()])
    if path.suffix.lower() == ".zip":
        message, book = _from_zip(path)
    else:
        message, book = _from_file(path), None
        beside = _beside(path) if orderbook is None else None
        if beside is not None:
            book = _from_file(beside)
    if orderbook is not None:
        book = _from_file(orderbook)
    return message, book


def _only_message(where: str, names: list[str]) -> str:
    messages = sorted(name for name in names if _NAME.match(Path(name).name))
    if not messages:
        raise DataError(f"{where}: holds no LOBSTER message file (..._message_N.csv)")
    if len(messages) > 1:
        found = ", ".join(messages[:3])
        raise DataError(f"{where}: must hold one message file, had {len(messages)} ({found})")
    return messages[0]


def _from_zip(path: Path) -> tuple[Source, Source | None]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            message = _only_message(str(path), names)
            book = message.replace("_message_", "_orderbook_")
            return (
                Source(f"{path}:{message}", Path(message).name, archive.read(message)),
                Source(f"{path}:{book}", Path(book).name, archive.read(book))
                if book in names
                else None,
            )
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise DataError(f"{path}: is not a whole zip file ({error})") from error


def _from_file(path: Path) -> Source:
    if not path.is_file():
        raise DataError(f"{path}: does not exist")
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: is not a whole gzip file ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    return Source(str(path), path.name, content)


def _beside(path: Path) -> Path | None:
    """Order-book file next to a message file; compressed or not."""
    if "_message_" not in path.name:
        return None
    name = path.name.replace("_message_", "_orderbook_")
    other = name.removesuffix(".gz") if name.endswith(".gz") else f"{name}.gz"
    for candidate in (path.with_name(name), path.with_name(other)):
        if candidate.is_file():
            return candidate
    return None
