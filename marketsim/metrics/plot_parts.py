"""How two tapes look beside each other in pictures: colours, axes, words."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from marketsim.clock import NS_PER_MINUTE, format_time
from marketsim.plot_style import FAINT, INK, grouped, say

#: Name -> colour (Okabe and Ito 2008) and line; told apart in grey too.
LOOKS = {"real": ("#0072B2", "-"), "generated": ("#D55E00", "--")}

Found = Mapping[str, Any]
Place = Literal["best", "upper left"]


def dress(axis: Axes, title: str, label: str, below: str) -> None:
    """Title, labels, light grid."""
    axis.set_title(title, loc="left", fontsize=9.5, weight="bold")
    axis.set_ylabel(label, fontsize=8.5, color=INK)
    axis.set_xlabel(below, fontsize=8.5, color=INK)
    axis.tick_params(labelsize=8, colors="#555555")
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(FAINT)
    axis.set_axisbelow(True)
    axis.grid(True, color="#E6E8EA", linewidth=0.6)


def legend(axis: Axes, place: Place | None = None) -> None:
    """A legend without a frame, where there is anything to tell; over the panel by default."""
    if not axis.get_legend_handles_labels()[0]:
        return
    if place is not None:
        axis.legend(loc=place, frameon=False, fontsize=8)
    else:
        axis.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0, frameon=False,
            fontsize=8, handlelength=1.6, columnspacing=1,
        )  # fmt: skip


def draw_acf(axis: Axes, found: Found, title: str, below: str) -> None:
    """Autocorrelation of both tapes, with the band of no correlation round 0."""
    for name, (colour, line) in LOOKS.items():
        if name in found:
            curve = found[name]
            axis.fill_between(
                curve.x, -curve.band, curve.band, color=colour, alpha=0.13, linewidth=0
            )
            axis.plot(
                curve.x, curve.y, line, color=colour, marker="o", markersize=2.6, linewidth=1.1,
                label=name,
            )  # fmt: skip
    dress(axis, title, "Autocorrelation", below)
    axis.axhline(0, color=FAINT, linewidth=0.8)
    if not found:
        say(axis, "not defined here")
    legend(axis)


def draw_day(axis: Axes, found: Found, title: str, label: str) -> None:
    """Half hours of both tapes, means with the quartiles of their minutes as a fan."""
    for name, (colour, line) in LOOKS.items():
        if name in found:
            curve = found[name]
            axis.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
            axis.plot(
                curve.x, curve.y, line, color=colour, marker="o", markersize=3, linewidth=1.3,
                label=name,
            )  # fmt: skip
    dress(axis, title, label, "Time of day")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda at, _: format_time(max(int(at), 0))[:5]))
    times = np.concatenate([curve.x for curve in found.values()]) if found else np.array([])
    if len(times):
        step = NS_PER_MINUTE * (60 if np.ptp(times) > 180 * NS_PER_MINUTE else 30)
        axis.set_xticks(np.arange(times.min() // step * step, times.max() + step, step))
        axis.set_xlim(times.min() - step / 2, times.max() + step / 2)
    axis.yaxis.set_major_formatter(FuncFormatter(grouped))
    axis.set_ylim(bottom=0)
    if not found:
        say(axis, "not defined here")
    legend(axis)
