"""Tables of experiments as text and as files."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marketsim.errors import DataError
from marketsim.report_tables import Grid

if TYPE_CHECKING:
    import pandas as pd

    from marketsim.impact import ImpactResult
    from marketsim.treatment import TreatmentResult

#: Measures of impact as tables call them.
WORDS = {
    "while_trading_ticks": "impact, mean while it trades [ticks]",
    "at_end_ticks": "impact just after its last trade [ticks]",
    "temporary_ticks": "temporary part of it [ticks]",
    "permanent_ticks": "permanent part of it [ticks]",
    "while_trading_bps": "impact, mean while it trades [bps]",
    "at_end_bps": "impact just after its last trade [bps]",
    "temporary_bps": "temporary part of it [bps]",
    "permanent_bps": "permanent part of it [bps]",
    "executed_lots": "executed [lots]",
    "filled_share": "share of the parent order",
    "participation": "participation reached",
    "volume_share": "executed over the control's volume",
    "shortfall_bps": "implementation shortfall [bps]",
    "paired_shortfall_bps": "shortfall against the control's mid [bps]",
    "largest_difference_ticks": "largest difference at any instant [ticks]",
    "prefactor": "impact / (volatility √volume share)",
}


def impact_grids(result: "ImpactResult") -> list[Grid]:
    """Each size's measures with intervals, and the exponents."""
    summary, grids = result.summary, []
    rows = summary["measures"]
    for size in dict.fromkeys(row["size"] for row in rows):
        own = [row for row in rows if row["size"] == size]
        lines = tuple(
            (WORDS[row["measure"]], number(row["mean"]), interval(row["low"], row["high"]),
             str(row["n"]))
            for row in own
        )  # fmt: skip
        title = summary["agent"] if size == summary["agent"] else f"{summary['agent']}, {size}"
        headings: tuple[str, ...] = ("measure", "mean", "95 % interval", "seeds")
        said = _notes([(WORDS[row["measure"]], row["note"]) for row in own])
        grids.append(Grid(title, headings, lines, said))
    if result.exponents:
        lines = tuple(
            (WORDS[measure], WORDS[law["against"]], number(law["exponent"]),
             interval(law["low"], law["high"]))
            for measure, law in result.exponents.items()
        )  # fmt: skip
        headings = ("impact", "against", "exponent", "95 % interval")
        said = _notes([(WORDS[measure], law["note"]) for measure, law in result.exponents.items()])
        grids.append(Grid("Impact = scale × size^exponent", headings, lines, said))
    return grids


def impact_markdown(result: "ImpactResult") -> str:
    """The report of an experiment with an agent."""
    summary = result.summary
    trade = {"buy": "buys", "sell": "sells", None: "trades"}[summary["side"]]
    fork = f" Both arms go on from one state at {summary['fork_at']}." if summary["fork_at"] else ""
    lines = [
        f"# Impact of {summary['agent']} in {summary['config']}",
        f"{_seeds(summary)}, each with and without the agent, which {trade}, on common random"
        f" numbers, until {summary['until']}.{fork} Impact is the mid-price with the agent less"
        " that without, in the direction of its trade; its permanent part is the mean from"
        f" {summary['settle_s'] / 60:g} min after the agent's last trade to the end. Shortfalls do"
        " not include fees.",
        *summary["notes"],
        *(grid.markdown() for grid in impact_grids(result)),
        "![Impact through the day](impact.png)",
    ]
    if result.exponents:
        lines.append("![Impact against size](sizes.png)")
    return "\n\n".join(lines) + "\n"


def treatment_grid(result: "TreatmentResult") -> Grid:
    """Each measure under both rules, and the paired effect."""
    effects = result.summary["effects"]
    lines = tuple(
        (row["unit"], number(row["control"]), number(row["treated"]), number(row["effect"]),
         interval(row["effect_low"], row["effect_high"]), percent(row["effect_percent"]))
        for row in effects
    )  # fmt: skip
    headings = ("measure", "control", "treated", "effect", "95 % interval", "effect %")
    said = _notes([(row["unit"], row["note"]) for row in effects])
    return Grid(f"Effect of {assignments(result.summary['treat'])}", headings, lines, said)


def treatment_markdown(result: "TreatmentResult") -> str:
    """The report of an experiment with a rule."""
    summary = result.summary
    lines = [
        f"# {assignments(summary['treat'])} in {summary['config']}",
        f"{_seeds(summary)}, each with and without the treatment, on common"
        f" random numbers, until {summary['until']}. An effect is the mean of treated less control,"
        " seed by seed; intervals are 95 % bootstrap intervals of it.",
        *summary["notes"],
        treatment_grid(result).markdown(),
        "![Effects](treatment.png)",
    ]
    return "\n\n".join(lines) + "\n"


def _seeds(summary: Mapping[str, Any]) -> str:
    count = len(summary["seeds"])
    return f"{count} seed{'s' if count > 1 else ''}"


def _notes(rows: Sequence[tuple[str, str]]) -> str:
    """What is to be said of rows, each note once with the rows that it is of."""
    if len({note for _, note in rows}) == 1:
        return rows[0][1] and f"all measures: {rows[0][1]}"
    said: dict[str, list[str]] = {}
    for name, note in rows:
        if note:
            said.setdefault(note, []).append(name.partition(" [")[0])
    return "\n".join(f"{', '.join(names)}: {note}" for note, names in said.items())


def sweep_grid(table: "pd.DataFrame", keys: Sequence[str]) -> Grid:
    """Means over seeds of the main measures of each point of a grid."""
    shown = {
        "spread_ticks": "spread",
        "touch_lots": "touch",
        "volatility_bps": "volatility",
        "volume_lots": "volume",
        "inefficiency_5": "|VR − 1|",
    }
    lines = []
    for _, part in table.groupby(list(keys), sort=False, dropna=False):
        fine = part[part["status"] == "ok"]
        means = [
            number(float(fine[name].mean())) if name in fine and fine[name].notna().any() else "–"
            for name in shown
        ]
        point = [str(part[key].iloc[0]) for key in keys]
        failed = int((part["status"] == "failed").sum())
        lines.append((*point, str(len(part)), str(failed), *means))
    caption = (
        "means over the seeds that did not fail; spread [ticks], touch [lots], volatility"
        " [bps/√min], volume [lots], |variance ratio − 1| at 5 min"
    )
    headings = (*keys, "runs", "failed", *shown.values())
    return Grid("Sweep", headings, tuple(lines), caption)


def assignments(values: Mapping[str, Any]) -> str:
    """``key = value`` of each."""
    return ", ".join(f"{key} = {value}" for key, value in values.items())


def number(value: float | None) -> str:
    """Four significant digits; – for nothing."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def interval(low: float | None, high: float | None) -> str:
    """Both ends; – for nothing."""
    return "–" if low is None or high is None else f"{number(low)} to {number(high)}"


def percent(value: float | None) -> str:
    """A signed percentage; – for nothing."""
    return "–" if value is None else f"{value:+.1f}"


def save_frame(frame: "pd.DataFrame", path: Path) -> None:
    """Write a table as Parquet, beside its place, then rename it.

    Raises
    ------
    DataError
        If it cannot be written.
    """
    beside = path.with_name(path.name + ".tmp")
    try:
        plain(frame).to_parquet(beside, index=False, compression="zstd")
        os.replace(beside, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from error


def plain(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Columns of one type each: of mixed ones, values become text."""
    import pandas as pd

    columns: dict[str, Any] = {}
    for name in frame.columns:
        column = frame[name]
        mixed = column.dtype == object and len({type(v) for v in column.dropna()}) > 1
        columns[name] = [None if v is None else str(v) for v in column] if mixed else column
    return pd.DataFrame(columns)
