"""The cache of compiled code: never stale, used when fresh, and no obstacle when damaged."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import marketsim.compile

PACKAGE = Path(marketsim.compile.__file__).parent
SCRIPT = """
from marketsim.book import Book
book = Book()
book.limit(1, -1, 100, 5)
book.limit(2, 1, 101, 3)
print(book.volume, book.notional, book.best_bid)
"""


def run(
    folder: Path, cache: Path, code: str = SCRIPT, check: bool = True, **env: Any
) -> "subprocess.CompletedProcess[str]":
    variables = {**os.environ, "PYTHONPATH": str(folder), "MARKETSIM_CACHE_DIR": str(cache), **env}
    variables["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=variables, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0 or not check, done.stderr
    return done


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A copy of the package and its cache, in which the book has been compiled."""
    folder = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__", "*.npz")
    shutil.copytree(PACKAGE, folder / "marketsim", ignore=ignored)
    first = run(folder, folder / "cache")
    assert first.stdout == "3 300 None\n"
    assert first.stderr.count("compiling the engine") == 1
    return folder, folder / "cache"


def files_of(cache: Path) -> dict[str, float]:
    return {str(file): file.stat().st_mtime for file in cache.rglob("*") if file.is_file()}


def test_a_second_process_compiles_nothing(warm: tuple[Path, Path]) -> None:
    folder, cache = warm
    before = files_of(cache)
    again = run(folder, cache)
    assert again.stdout == "3 300 None\n" and again.stderr == ""
    assert before and files_of(cache) == before
    assert not list((folder / "marketsim").rglob("__pycache__"))


def test_an_edited_helper_of_another_file_is_never_served_from_the_cache(
    warm: tuple[Path, Path],
) -> None:
    """Without its own stamp, numba would run the old rule: it looks at one file only."""
    folder, cache = warm
    helper = folder / "marketsim" / "matching.py"
    before = helper.read_text()
    rule = "book.notional += at_level * level_price"
    assert before.count(rule) == 1
    stat = helper.stat()
    try:
        helper.write_text(before.replace(rule, "book.notional += at_level * level_price + 7"))
        os.utime(helper, (stat.st_atime, stat.st_mtime))  # an edit that the clock does not show
        edited = run(folder, cache)
        assert edited.stdout == "3 307 None\n"
        assert "compiling the engine" in edited.stderr
    finally:
        helper.write_text(before)
    back = run(folder, cache)
    assert back.stdout == "3 300 None\n" and back.stderr == ""


STAMP = "from marketsim.compile import source_stamp; print(source_stamp())"


def stamp(folder: Path, **env: Any) -> str:
    return run(folder, folder / "cache", STAMP, **env).stdout


def test_the_stamp_knows_every_compiled_source_and_the_checks(warm: tuple[Path, Path]) -> None:
    folder, _ = warm
    plain = stamp(folder)
    assert plain == stamp(folder)
    assert stamp(folder, NUMBA_BOUNDSCHECK="1") != plain
    compiled = [
        file
        for file in sorted((folder / "marketsim").rglob("*.py"))
        if "from marketsim.compile import" in file.read_text() or file.name == "codes.py"
    ]
    assert {"matching.py", "ladder.py", "market.py", "kernel.py", "replay.py", "codes.py"} <= {
        file.name for file in compiled
    }
    code = [
        "import marketsim.compile as c, pathlib, sys",
        "seen = {c.source_stamp()}",
        "for name in sys.stdin.read().split():",
        "    file = pathlib.Path(name); text = file.read_text()",
        "    file.write_text(text + chr(10) + '# edited')",
        "    c.source_stamp.cache_clear(); seen.add(c.source_stamp()); file.write_text(text)",
        "c.source_stamp.cache_clear(); print(len(seen), c.source_stamp() in seen)",
    ]
    variables: dict[str, Any] = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)], input="\n".join(map(str, compiled)),
        cwd=folder, env=variables, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"{len(compiled) + 1} True\n"


def test_a_cache_folder_that_cannot_be_written_only_warns(warm: tuple[Path, Path]) -> None:
    folder, _ = warm
    (folder / "file").write_text("not a folder")
    done = run(folder, folder / "file" / "cache")
    assert done.stdout == "3 300 None\n"
    assert done.stderr.count("cannot be kept") == 1 and "MARKETSIM_CACHE_DIR" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_cache_is_compiled_anew(warm: tuple[Path, Path], tmp_path: Path) -> None:
    folder, cache = warm
    damaged = tmp_path / "cache"
    shutil.copytree(cache, damaged)
    for file in damaged.rglob("*.nb?"):
        file.write_bytes(file.read_bytes()[:40])
    done = run(folder, damaged, check=False)
    assert done.stdout == "3 300 None\n", done.stderr
