"""How panels look: colours, axes, bins of time, words.

Colours are those of Okabe and Ito (2008), told apart by colour-blind readers.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from marketsim.clock import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_SECOND, format_time
from marketsim.report import Floats

INK, BAND, BARS, FAINT = "#222222", "#9AA5AE", "#B8C2CA", "#8A8A8A"
AGENT_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
FUNDAMENTAL = "#8B1A8B"

TICK_STEPS_NS = tuple(
    step * NS_PER_SECOND for step in (0.001, 0.01, 0.1, 0.5, 1, 5, 10, 15, 30)
) + tuple(step * NS_PER_MINUTE for step in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440))


def usual_range(values: Floats) -> tuple[float, float] | None:
    """Range of an axis that rare values would stretch out of use; None where none does.

    It holds 99 % of the values, and is used where all of them take four times as much.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    low, high = (float(bound) for bound in np.quantile(known, (0.005, 0.995)))
    if high <= low or known.max() - known.min() <= 4 * (high - low):
        return None
    margin = 0.15 * (high - low)
    return low - margin, high + margin


def bin_edges(grid_ns: Floats, wanted: int) -> Floats:
    """Edges of round bins over the session: the finest of 1 s to 6 h with <= ``wanted`` bins."""
    start_ns, end_ns = int(grid_ns[0]), int(grid_ns[-1])
    step = next(
        (int(step) for step in TICK_STEPS_NS if (end_ns - start_ns) <= step * wanted),
        24 * NS_PER_HOUR,
    )
    first = start_ns // step * step
    return np.arange(first, end_ns + step, step, dtype=np.float64)


def span(edges: Floats) -> str:
    """Width of the bins in words: ``5 min``."""
    width_ns = float(edges[1] - edges[0])
    for unit_ns, unit in ((NS_PER_HOUR, "h"), (NS_PER_MINUTE, "min"), (NS_PER_SECOND, "s")):
        if width_ns >= unit_ns:
            return f"{width_ns / unit_ns:g} {unit}"
    return f"{width_ns / 1e6:g} ms"


def set_time_axis(axis: Axes, start_ns: int, end_ns: int) -> None:
    step = next((s for s in TICK_STEPS_NS if (end_ns - start_ns) / s <= 9), 24 * NS_PER_HOUR)
    first = np.ceil(start_ns / step) * step
    axis.xaxis.set_major_locator(FixedLocator(np.arange(first, end_ns + 1, step).tolist()))
    digits = 5 if step >= NS_PER_MINUTE else 8 if step >= NS_PER_SECOND else 12
    axis.xaxis.set_major_formatter(FuncFormatter(lambda at, _: format_time(int(at))[:digits]))
    axis.set_xlim(start_ns, end_ns)
    axis.set_xlabel("Time of day", fontsize=8.5, color=INK)


def finish(axis: Axes, title: str, label: str, legend: bool = False) -> None:
    axis.set_title(title, loc="left", fontsize=9.5, weight="bold")
    axis.set_ylabel(label, fontsize=8.5, color=INK)
    axis.yaxis.set_label_coords(-0.11, 0.5)  # one below the other; to align them takes 0.3 s
    axis.tick_params(labelsize=8.5, colors="#555555")
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(FAINT)
    axis.set_axisbelow(True)
    axis.grid(True, color="#E6E8EA", linewidth=0.6)
    axis.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axis.yaxis.set_major_formatter(FuncFormatter(grouped))
    if legend and axis.get_legend_handles_labels()[0]:
        axis.legend(
            loc="lower right",
            bbox_to_anchor=(1, 1.0),
            ncols=6,
            borderaxespad=0,
            frameon=False,
            fontsize=8,
        )


def grouped(value: float, _: int | None) -> str:
    """Format ``12345.5`` as ``12,345.5``; rounding takes off what floats add."""
    return f"{round(value, 10):,.10g}".replace("-", "\N{MINUS SIGN}")


def say(axis: Axes, words: str) -> None:
    axis.set_yticks([])
    axis.text(0.5, 0.5, words, transform=axis.transAxes, ha="center", va="center", color="#777777")


def note(axis: Axes, words: str) -> None:
    """Small print in the upper right corner of a panel."""
    axis.text(
        0.995, 0.96, words, transform=axis.transAxes, ha="right", va="top", fontsize=8, color=INK,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
    )  # fmt: skip
