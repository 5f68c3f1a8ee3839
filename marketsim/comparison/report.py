"""A comparison as files: tables in Markdown, all figures in JSON, pictures."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from marketsim.comparison.rows import REPLAY
from marketsim.comparison.tables import AGGREGATES, grids
from marketsim.experiment_plots import save_figure
from marketsim.plot_style import AGENT_COLOURS, BARS, FAINT, INK, finish, set_time_axis
from marketsim.run_store import write_text

PICTURES = ("distances", "responsiveness")


def write_comparison(content: Mapping[str, Any], folder: Path) -> None:
    """Write pictures, ``compare.md`` and last ``compare.json``.

    Raises
    ------
    DataError
        If the folder cannot be written to.
    """
    drawn = []
    for name, figure in (("distances", distances(content)), ("responsiveness", responses(content))):
        if figure is not None:
            save_figure(figure, folder / f"{name}.png")
            drawn.append(name)
    page = [f"# Comparison of order flow\n\n{headline(content)}\n"]
    page += [grid.markdown() for grid in grids(content)]
    page += [f"![{name}]({name}.png)\n" for name in drawn]
    write_text(folder / "compare.md", "\n".join(page))
    write_text(folder / "compare.json", json.dumps(content, indent=1, allow_nan=False) + "\n")


def headline(content: Mapping[str, Any]) -> str:
    """What was compared with what, in one line."""
    plan, data = content["plan"], content["data"]
    return (
        f"{data['symbol']}, test window {plan['test']} ({data['orders']:,} orders); trained on"
        f" {plan['train']}, validated on {plan['valid']}; warm-up {plan['warm_up_s'] / 60:g} min,"
        f" {plan['seeds']} seeds"
    )


def distances(content: Mapping[str, Any]) -> Any:
    """Mean LOB-Bench distances by row, each with its floor; None where none is known."""
    from matplotlib.figure import Figure

    rows = {
        name: row["measures"]["lob"]
        for name, row in content["rows"].items()
        if "failure" not in row and name != REPLAY and "lob" in row["measures"]
    }
    if not rows:
        return None
    figure = Figure(figsize=(9, 1.4 + 0.34 * len(rows)), dpi=150, layout="constrained")
    at = np.arange(len(rows))[::-1]
    for axis, (kind, measure) in zip(figure.subplots(1, 2, sharey=True), AGGREGATES.items(),
                                     strict=True):  # fmt: skip
        found = [row[measure] for row in rows.values()]
        mean = np.array([one["distance"] for one in found], float)
        spans = np.array([[min(v, default=np.nan), max(v, default=np.nan)]
                          for v in (one["distances"] for one in found)])  # fmt: skip
        axis.barh(at, mean, height=0.62, color=BARS)
        axis.hlines(at, spans[:, 0], spans[:, 1], color=INK, linewidth=1)
        floors = np.array([one["floor"] for one in found], float)
        axis.vlines(floors, at - 0.42, at + 0.42, color=AGENT_COLOURS[0], linewidth=1.8,
                    label="real against real")  # fmt: skip
        title = {"l1": "Mean L1", "wasserstein": "Mean Wasserstein"}[kind]
        axis.set_title(f"LOB-Bench: {title}", loc="left", fontsize=9.5, weight="bold")
        axis.set_yticks(at, rows)
        axis.tick_params(labelsize=8.5, colors="#555555")
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(FAINT)
        axis.set_axisbelow(True)
        axis.grid(True, axis="x", color="#E6E8EA", linewidth=0.6)
    axis.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def responses(content: Mapping[str, Any]) -> Any:
    """Normalised price differences with and without the buyer; None where none is known."""
    from matplotlib.figure import Figure

    known = {n: row["impact"] for n, row in content["rows"].items() if row.get("impact")}
    if not known:
        return None
    columns = min(len(known), 3)
    lines = -(-len(known) // columns)
    figure = Figure(figsize=(3.5 * columns + 0.5, 2.4 * lines), dpi=150, layout="constrained")
    axes = figure.subplots(lines, columns, sharex=True, squeeze=False).ravel()
    for number, (name, path) in enumerate(known.items()):
        axis, colour = axes[number], AGENT_COLOURS[0 if name == REPLAY else 1]
        time_ns = np.array(path["time_ns"], float)
        if "low_bps" in path:
            axis.fill_between(time_ns, path["low_bps"], path["high_bps"], color=colour, alpha=0.2,
                              linewidth=0)  # fmt: skip
        axis.plot(time_ns, path["difference_bps"], color=colour, linewidth=1.2)
        axis.axhline(0, color=INK, linewidth=0.6)
        finish(axis, name, "bps" if number % columns == 0 else "")
        set_time_axis(axis, int(time_ns[0]), int(time_ns[-1]))
        axis.xaxis.set_major_locator(axis.xaxis.get_major_locator())
        axis.set_xlabel("")
        axis.tick_params(axis="x", labelrotation=45)
    for axis in axes[len(known) :]:
        axis.set_visible(False)
    figure.suptitle("Mid-price with a buyer of 10 % of the volume less that without it",
                    fontsize=9.5)  # fmt: skip
    return figure
