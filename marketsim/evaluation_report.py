"""The realism report as text and files: Markdown, JSON and pictures."""

import json
import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marketsim.errors import DataError
from marketsim.metrics.section import Section
from marketsim.report_tables import Grid

if TYPE_CHECKING:
    from marketsim.evaluation import Report

#: Dots per inch of the pictures.
DPI = 130
_COLUMNS = (
    ("generated", "generated"), ("real", "real"), ("distance", "distance"), ("from", "low"),
    ("to", "high"), ("floor", "floor"), ("ratio", "ratio"),
)  # fmt: skip
_ALWAYS = ("distance", "floor", "ratio")


def section_grid(section: Section) -> Grid:
    """The table of a section, without columns that it has nothing for.

    What its notes say is told below it, each once, by number.
    """
    told: dict[str, int] = {}
    columns = [
        (heading, name)
        for heading, name in _COLUMNS
        if name in _ALWAYS or any(getattr(row, name) is not None for row in section.rows)
    ]
    rows = []
    for row in section.rows:
        numbers = [told.setdefault(note, len(told) + 1) for note in row.notes]
        figures = (_number(getattr(row, name)) for _, name in columns)
        rows.append((row.measure, *figures, ", ".join(str(number) for number in numbers)))
    headings = ("measure", *(heading for heading, _ in columns), "notes")
    notes = "; ".join(f"{number}: {part}" for part, number in told.items())
    caption = section.caption + (f"\n\nNotes: {notes}." if notes else "")
    return Grid(section.title, headings, tuple(rows), caption)


def tapes_line(report: "Report") -> str:
    """What was compared with what, in one line."""
    parts = [
        f"{facts['symbol'] or '?'} ({facts['source'] or '?'}) {facts['from']} to {facts['to']},"
        f" {facts['orders']:,} orders, {facts['trades']:,} trades"
        for facts in (report.generated, report.real)
    ]
    return f"{parts[0]}, against {parts[1]}; seed {report.seed}"


def write_report(report: "Report", folder: "str | os.PathLike[str]") -> None:
    """Write pictures, ``report.md`` and last ``report.json``, each renamed into its place.

    Raises
    ------
    DataError
        The folder cannot be written to.
    """
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        pictures = {}
        for section in report.sections:
            pictures[section.name] = [f"{name}.png" for name in section.pictures]
            for name, draw in section.pictures.items():
                _write(place / f"{name}.png", partial(draw().savefig, dpi=DPI, format="png"))
        page = _markdown(report, pictures)
        _write(place / "report.md", lambda path: path.write_text(page, encoding="utf-8"))
        content = json.dumps(_content(report), indent=1, allow_nan=False) + "\n"
        _write(place / "report.json", lambda path: path.write_text(content, encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror}") from error


def _write(path: Path, write: Callable[[Path], Any]) -> None:
    beside = path.with_name(f"{path.name}.tmp")
    try:
        write(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _markdown(report: "Report", pictures: dict[str, list[str]]) -> str:
    parts = [f"# Realism report\n\n{tapes_line(report)}\n"]
    for section in report.sections:
        parts.append(section_grid(section).markdown())
        parts += [f"![{name.removesuffix('.png')}]({name})\n" for name in pictures[section.name]]
    return "\n".join(parts)


def _content(report: "Report") -> dict[str, Any]:
    return {
        "summary": report.summary,
        "rows": [row.to_dict() for section in report.sections for row in section.rows],
        "data": {section.name: dict(section.data) for section in report.sections},
    }


def _number(value: float | None) -> str:
    """Four significant digits; a dash for what is not defined."""
    if value is None:
        return "\N{EN DASH}"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 8)}f}"
