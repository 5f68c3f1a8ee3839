"""Pictures of experiments: impact through the day, impact against size, effects of a treatment."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from marketsim.errors import DataError
from marketsim.market_quality import MEASURES
from marketsim.plot_style import AGENT_COLOURS, FAINT, INK, finish, say, set_time_axis

if TYPE_CHECKING:
    from marketsim.impact import ImpactResult
    from marketsim.treatment import TreatmentResult

#: Sizes that have a panel of their own.
_MOST_PANELS = 8


def impact_figure(result: "ImpactResult") -> Figure:
    """Mean difference of mid-prices through the day with bands.

    Of one size in ticks and in basis points; of several sizes in basis points, a panel each.
    """
    path = result.path
    sizes = list(dict.fromkeys(path["size"]))[:_MOST_PANELS]
    alone = len(sizes) == 1
    wanted = [(sizes[0], "ticks"), (sizes[0], "bps")] if alone else [(s, "bps") for s in sizes]
    height = 3.1 if len(wanted) < 3 else 1.9
    figure = Figure(figsize=(8, 0.4 + height * len(wanted)), dpi=150, layout="constrained")
    panels = figure.subplots(len(wanted), 1, sharex=True)
    for colour, axis, (size, unit) in zip(_colours(len(wanted)), panels, wanted, strict=True):
        _draw_path(axis, path[path["size"] == size], unit, AGENT_COLOURS[0] if alone else colour)
        _trading_time(axis, result.pairs[result.pairs["size"] == size])
        label = {"ticks": "Mid-price, with less without [ticks]", "bps": "[bps of the mid-price]"}
        finish(axis, "" if alone else size, label[unit])
    seeds = len(result.summary["seeds"])
    title = f"{result.summary['agent']} in {result.summary['config']}, {_plural(seeds)}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.5, weight="bold")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="upper right", ncols=4, frameon=False,
        fontsize=8,
    )  # fmt: skip
    times = path["time_ns"]
    set_time_axis(panels[-1], int(times.min()), int(times.max()))
    return figure


def _draw_path(axis: Axes, own: Any, unit: str, colour: str) -> None:
    """Mean, median and bands of one size."""
    times = own["time_ns"].to_numpy(np.float64)
    if f"low_{unit}" in own:
        for low, high, alpha, words in (
            ("all_low", "all_high", 0.12, "95 %, all instants at once"),
            ("low", "high", 0.28, "95 %, each instant"),
        ):
            ends = own[f"{low}_{unit}"], own[f"{high}_{unit}"]
            axis.fill_between(times, *ends, color=colour, alpha=alpha, linewidth=0, label=words)
        axis.plot(
            times, own[f"median_{unit}"], color=INK, linewidth=1, linestyle=(0, (2, 1.5)),
            label="median",
        )  # fmt: skip
    axis.plot(times, own[f"difference_{unit}"], color=colour, linewidth=1.3, label="mean")
    axis.axhline(0, color=INK, linewidth=0.7)


def _trading_time(axis: Axes, pairs: Any) -> None:
    """Shade from the agent's decision to its last trade, the latest of all seeds."""
    traded = pairs.dropna(subset=["end_ns"])
    if not len(traded):
        return
    start_ns, end_ns = float(traded["start_ns"].min()), float(traded["end_ns"].max())
    axis.axvspan(start_ns, end_ns, color=FAINT, alpha=0.08, linewidth=0)
    axis.annotate(
        "the agent trades", (start_ns, 1), xycoords=("data", "axes fraction"), xytext=(4, -11),
        textcoords="offset points", fontsize=7.5, color="#555555",
    )  # fmt: skip


def size_figure(result: "ImpactResult") -> Figure:
    """Impact against size on logarithmic axes, with intervals and the fitted power laws."""
    figure = Figure(figsize=(6.4, 4.6), dpi=150, layout="constrained")
    axis = figure.subplots()
    against = next(iter(result.exponents.values()))["against"]
    x = result.pairs.groupby("size", sort=False)[against].mean()
    shown = False
    words = {
        "while_trading_bps": "mean while it trades",
        "at_end_bps": "just after its last trade",
        "paired_shortfall_bps": "shortfall against the control",
    }
    for number, (measure, law) in enumerate(result.exponents.items()):
        shown |= _draw_law(axis, result, x, measure, law, number, words[measure])
    if not shown:
        say(axis, "no size has a positive impact")
        return figure
    label = {
        "participation": "Participation reached",
        "volume_share": "Executed over the day's volume",
    }
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel(label[against], fontsize=8.5, color=INK)
    axis.set_ylabel("Impact [bps]", fontsize=8.5, color=INK)
    axis.set_title(
        f"{result.summary['agent']} in {result.summary['config']}: impact against size",
        loc="left", fontsize=9.5, weight="bold",
    )  # fmt: skip
    axis.tick_params(labelsize=8.5, colors="#555555")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(True, which="major", color="#E6E8EA", linewidth=0.6)
    axis.legend(frameon=False, fontsize=8)
    return figure


def _draw_law(
    axis: Axes,
    result: "ImpactResult",
    x: Any,
    measure: str,
    law: Mapping[str, Any],
    number: int,
    words: str,
) -> bool:
    """One measure's points, intervals and line; whether there is any that logarithms can show."""
    own = result.table[(result.table["measure"] == measure)].set_index("size")
    sizes = [s for s in x.index if x[s] > 0 and own.loc[s, "mean"] is not None
             and own.loc[s, "mean"] > 0]  # fmt: skip
    if not sizes:
        return False
    at, colour = np.array([x[size] for size in sizes]), AGENT_COLOURS[number]
    mean = np.array([own.loc[size, "mean"] for size in sizes], np.float64)
    low, high = (
        np.array([own.loc[size, end] for size in sizes], np.float64) for end in ("low", "high")
    )
    floor = mean / 20  # an interval that reaches 0 has no end on this axis
    below = np.where(np.isfinite(low), mean - np.maximum(low, floor), 0.0)
    above = np.where(np.isfinite(high), high - mean, 0.0)
    label = words
    if law["exponent"] is not None:
        label = f"{words}: exponent {law['exponent']:.2f}"
        if law["low"] is not None:
            label += f" ({law['low']:.2f} to {law['high']:.2f})"
        ends = np.array([at.min(), at.max()])
        axis.plot(ends, law["scale"] * ends ** law["exponent"], color=colour, linewidth=1)
    beside = at * (0.96 + 0.04 * number)  # intervals do not hide one another
    axis.errorbar(
        beside, mean, yerr=(below, above), fmt="o", color=colour, markersize=4, capsize=2.5,
        linewidth=1, label=label,
    )  # fmt: skip
    return True


def treatment_figure(result: "TreatmentResult") -> Figure:
    """Paired effects in percent of the control, with intervals."""
    rows = [row for row in result.summary["effects"] if row["effect_percent"] is not None]
    figure = Figure(figsize=(7.4, 1.3 + 0.33 * max(len(rows), 4)), dpi=150, layout="constrained")
    axis = figure.subplots()
    treat = ", ".join(f"{key} = {value}" for key, value in result.summary["treat"].items())
    if not rows:
        say(axis, "no measure is defined in both arms")
        return figure
    places = np.arange(len(rows))[::-1]
    scale = np.array([100 / row["control"] for row in rows])
    mean = np.array([row["effect_percent"] for row in rows])
    ends = [
        np.array([np.nan if row[key] is None else row[key] for row in rows], np.float64) * scale
        for key in ("effect_low", "effect_high")
    ]
    low, high = np.minimum(*ends), np.maximum(*ends)
    spread = np.nan_to_num(np.array([mean - low, high - mean]))
    sure = (low > 0) | (high < 0)
    for which, colour, label in (
        (sure, AGENT_COLOURS[0], "interval excludes 0"),
        (~sure, AGENT_COLOURS[1], "interval holds 0, or there is none"),
    ):
        if which.any():
            axis.errorbar(
                mean[which], places[which], xerr=spread[:, which], fmt="o", color=colour,
                markersize=4.5, capsize=2.5, linewidth=1.2, label=label,
            )  # fmt: skip
    axis.axvline(0, color=INK, linewidth=0.8)
    axis.set_yticks(places, [MEASURES[row["measure"]] for row in rows])
    axis.tick_params(labelsize=8.5, colors="#555555")
    axis.set_xlabel("Treated less control [% of the control], 95 % interval", fontsize=8.5)
    seeds = _plural(len(result.summary["seeds"]))
    axis.set_title(
        f"{treat} in {result.summary['config']}, {seeds}",
        loc="left", fontsize=9.5, weight="bold",
    )  # fmt: skip
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.grid(True, axis="x", color="#E6E8EA", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.legend(frameon=False, fontsize=8, loc="best")
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a picture beside its place, then rename it.

    Raises
    ------
    DataError
        If it cannot be written.
    """
    beside = path.with_name(f"{path.stem}.tmp{path.suffix}")
    try:
        figure.savefig(beside)
        os.replace(beside, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from error


def _plural(seeds: int) -> str:
    return f"{seeds} seed{'s' if seeds > 1 else ''}"


def _colours(n: int) -> list[str]:
    return [AGENT_COLOURS[number % len(AGENT_COLOURS)] for number in range(n)]
