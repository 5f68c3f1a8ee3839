"""Benchmarks by name: ``marketsim bench`` and its table."""

import importlib
import json
import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from marketsim.bench_timing import Row, Sizes
from marketsim.checks import did_you_mean
from marketsim.errors import ConfigError, DataError

#: Name -> where its function is: ``Sizes`` in, an iterator of rows out.
BENCHMARKS = {
    "book": "marketsim.bench_engine:book",
    "replay": "marketsim.bench_engine:replay",
    "python-agent": "marketsim.bench_engine:python_agent",
    "tape": "marketsim.bench_engine:tape",
    "stream": "marketsim.bench_stream:stream",
    "day": "marketsim.bench_markets:day",
    "rules": "marketsim.bench_markets:rules",
    "batch": "marketsim.bench_markets:batch",
    "evaluate": "marketsim.bench_evaluate:evaluate",
    "world": "marketsim.bench_world:world",
    "env": "marketsim.bench_envs:env",
    "strategies": "marketsim.bench_returns:strategies",
    "cold-start": "marketsim.bench_process:cold_start",
    "memory": "marketsim.bench_process:memory",
}


def run(
    names: Sequence[str] = (),
    json_path: Path | None = None,
    data: Path | None = None,
    model: str | None = None,
    sizes: Sizes | None = None,
) -> list[dict[str, Any]]:
    """Run benchmarks and print a table.

    Parameters
    ----------
    names : of ``BENCHMARKS``; none means all.
    json_path : file for the rows.
    data : a LOBSTER file or saved tape to replay beside the synthetic day; by default what the
        environment's ``MARKETSIM_DATA`` names.
    model : name or folder of the trained model whose market ``world`` times.

    Returns
    -------
    list of dict
        Rows ``{"name", "metric", "value", "unit", "reference", "ratio"}``.

    Raises
    ------
    ConfigError
        For a name that is none of the benchmarks'.
    DataError
        If the file cannot be written or the data cannot be read.
    """
    for name in names:
        if name not in BENCHMARKS:
            raise ConfigError(
                f"bench: unknown benchmark {name!r}{did_you_mean(name, BENCHMARKS)};"
                f" known: {', '.join(BENCHMARKS)}"
            )
    if json_path is not None:
        _write(json_path, [])  # an unwritable place is said before the minutes of work
    if data is None and os.environ.get("MARKETSIM_DATA"):
        data = Path(os.environ["MARKETSIM_DATA"])
    if data is not None and not data.exists():
        raise DataError(f"{data}: no such file or folder")
    asked = sizes or Sizes()
    if data is not None:
        asked = replace(asked, data=data)
    if model is not None:
        asked = replace(asked, model=model)
    console, status = _console(), Console(stderr=True)
    rows: list[Row] = []
    for name in dict.fromkeys(names or BENCHMARKS):
        with status.status(f"bench {name}") if status.is_terminal else nullcontext():
            rows += _benchmark(name)(asked)
    console.print(_table(rows))
    dicts = [row.to_dict() for row in rows]
    if json_path is not None:
        _write(json_path, dicts)
    return dicts


def _console() -> Console:
    plain = Console(markup=False, highlight=False)
    if not plain.is_terminal:
        plain.width = 110  # a file or a pipe has no width of its own
    return plain


def _benchmark(name: str) -> Any:
    module, _, function = BENCHMARKS[name].partition(":")
    return getattr(importlib.import_module(module), function)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    beside = path.with_name(path.name + ".tmp")
    try:
        beside.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from error


def _table(rows: Sequence[Row]) -> Table:
    table = Table(
        title="Benchmarks: CPU time (cold start: wall time), fastest of several runs",
        title_justify="left",
    )
    table.add_column("benchmark", no_wrap=True)
    table.add_column("metric")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("of")
    before = None
    for row in rows:
        if before not in (None, row.name):
            table.add_section()
        table.add_row(
            "" if row.name == before else row.name,
            row.metric,
            f"{_number(row.value)} {row.unit}",
            "" if row.ratio is None else f"{_number(row.ratio)}×",
            row.reference or "",
        )
        before = row.name
    return table


def _number(value: float) -> str:
    """Three significant digits, thousands grouped."""
    if abs(value) >= 1000:
        digits = len(str(int(abs(value)))) - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:.3g}"


__all__ = ["BENCHMARKS", "Row", "Sizes", "run"]
