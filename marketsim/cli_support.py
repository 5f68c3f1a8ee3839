"""What commands share: overrides as text, folders for results, an end by Ctrl-C."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from marketsim.errors import ConfigError, DataError

_PLAIN_EVERY_S = 5.0


class Interrupted(Exception):
    """Ctrl-C, with a sentence on what was written."""


def parse_pairs(pairs: Sequence[str], flag: str) -> dict[str, Any]:
    """``KEY=VALUE`` of an option that can be repeated, as a mapping of text.

    Raises
    ------
    ConfigError
        For anything else.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{flag} must be KEY=VALUE, was {pair!r}")
        values[key.strip()] = value
    return values


def parse_values(pairs: dict[str, Any], flag: str) -> dict[str, Any]:
    """Values of :func:`parse_pairs` as in YAML.

    Raises
    ------
    ConfigError
        If one cannot be read.
    """
    from marketsim.configs.files import parse_yaml

    return {key: parse_yaml(text, f"{flag} {key}") for key, text in pairs.items()}


def parse_lists(pairs: Sequence[str], flag: str) -> dict[str, list[Any]]:
    """``KEY=A,B,C`` of an option that can be repeated; values as in YAML, a list or mapping too.

    Raises
    ------
    ConfigError
        For anything else, a key without values among them.
    """
    from marketsim.configs.files import parse_yaml

    lists: dict[str, list[Any]] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip() or not text.strip():
            raise ConfigError(f"{flag} must be KEY=VALUE,VALUE,..., was {pair!r}")
        if key.strip() in lists:
            raise ConfigError(f"{flag} {key.strip()}: is given twice; give its values in one")
        lists[key.strip()] = parse_yaml(f"[{text}]", f"{flag} {pair}")
    return lists


def fresh_folder(name: str) -> Path:
    """Make a folder below ``runs/`` that was not there: ``name``, numbered when it is taken."""
    number = 1
    while True:
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)  # fails when it exists, also if another run just made it
        except FileExistsError:
            if Path("runs").is_file():
                raise
            number += 1
        else:
            return folder


def remove_if_empty(folder: Path) -> None:
    """Take a folder away in which nothing was written."""
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def look_here() -> None:
    """Find ``type: module:Class`` next to the user."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


@contextlib.contextmanager
def counting(name: str, *, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Yield what tells how many of all are done: a bar in a terminal, else a line now and then."""
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield _plain_lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _plain_lines() -> Callable[[int, int], None]:
    said_s = time.perf_counter()

    def tell(done: int, total: int) -> None:
        nonlocal said_s
        now_s = time.perf_counter()
        if now_s - said_s >= _PLAIN_EVERY_S:
            said_s = now_s
            print(f"marketsim: {done} of {total}", file=sys.stderr, flush=True)

    return tell


def own_folder(out: Path | None, name: str) -> Path:
    """The folder of an experiment: the one asked for, or a fresh one below ``runs/``.

    Raises
    ------
    DataError
        When the place asked for is a file.
    """
    if out is None:
        return fresh_folder(name)
    if out.is_file():
        raise DataError(f"--out {out}: is a file; choose a folder")
    return out
