"""The picture of a run on drawn paths: mid-prices beside them, and what strategies made of them."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from marketsim.path_report import Curve, FollowedPath, equity_curves, followed_paths
from marketsim.plot_style import (
    AGENT_COLOURS,
    BAND,
    FAINT,
    FUNDAMENTAL,
    INK,
    finish,
    note,
    set_time_axis,
    usual_range,
)
from marketsim.report import Ints

if TYPE_CHECKING:
    from marketsim.result import Run
    from marketsim.tape import Tape

#: Colours of strategies, the first of the agents' and then others that differ from them.
COLOURS = (*AGENT_COLOURS, "#7A5C00", "#444444")
#: Agents of more trades than so many in a symbol are not marked one by one.
MOST_MARKS = 60


def paths_figure(run: "Run") -> Figure | None:
    """Draw the paths that were drawn, beside the mid-prices, and the strategies' wealth.

    Returns
    -------
    matplotlib.figure.Figure
        Of each symbol the path, its points and the mid-price, with the strategies' trades, and
        below it by how much they differ; at the bottom the strategies' wealth. None for a run
        without a return-path agent.
    """
    paths, curves = followed_paths(run), equity_curves(run)
    if not paths:
        return None
    heights = [2.4, 0.9] * len(paths) + ([2.2] if curves else [])
    figure = Figure(figsize=(10, sum(heights) + 0.9), dpi=130, layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    for number, path in enumerate(paths):
        above, below = axes[2 * number : 2 * number + 2]
        _draw_path(above, path)
        _mark(above, run.tapes[path.symbol], curves, path.tick_size)
        finish(above, path.symbol, "Price", legend=True)
        _draw_off(below, path)
    if curves:
        _draw_wealth(axes[-1], curves)
    start_ns = int(paths[0].points_ns[0])
    set_time_axis(axes[-1], start_ns, max(paths[0].quotes.end_ns, start_ns + 1))
    title = f"{run.config.name}, seed {run.summary['seed']}  ·  drawn paths and mid-prices"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold")
    return figure


def _draw_path(axis: Axes, path: FollowedPath) -> None:
    tick = path.tick_size
    axis.plot(
        path.fine_ns, path.fine_mid_ticks * tick, color=BAND, linewidth=2.4, label="mid-price"
    )
    axis.plot(
        path.fine_ns, path.fine_path_ticks * tick, color=FUNDAMENTAL, linewidth=0.8, label="path"
    )
    axis.plot(
        path.points_ns, path.path_ticks * tick, ".", color=FUNDAMENTAL, markersize=5,
        label="its points",
    )  # fmt: skip


def _mark(axis: Axes, tape: "Tape", curves: list[Curve], tick: float) -> None:
    """Mark where strategies bought and sold."""
    trades = tape.trades
    for curve, colour in zip(curves, COLOURS, strict=False):
        signed = _signs(trades, curve.agent_id)
        if not 0 < np.count_nonzero(signed) <= MOST_MARKS:
            continue
        for sign, marker in ((1, "^"), (-1, "v")):
            rows = np.flatnonzero(signed == sign)
            axis.plot(
                trades["time_ns"][rows], trades["price_ticks"][rows] * tick, linestyle="none",
                marker=marker, markersize=7, markeredgewidth=0.5, markeredgecolor=INK,
                color=colour, zorder=5,
            )  # fmt: skip


def _signs(trades: Any, agent: int) -> Ints:
    """1 for each trade in which an agent bought, -1 in which it sold, 0 for those of others."""
    taker = trades["taker_agent_id"] == agent
    maker = trades["maker_agent_id"] == agent
    signs: Ints = trades["side"] * (taker.astype(np.int64) - maker)
    return signs


def _draw_off(axis: Axes, path: FollowedPath) -> None:
    """Mid-price less path; rare peaks do not stretch the axis."""
    off = path.fine_off_bps
    axis.axhline(0, color=FAINT, linewidth=0.7)
    axis.plot(path.fine_ns, off, color=INK, linewidth=0.7)
    axis.plot(path.points_ns, path.off_bps, "o", color=FUNDAMENTAL, markersize=2.6)
    finish(axis, "", "Mid less path\n[bps]")
    limits = usual_range(off)
    if limits is not None:
        axis.set_ylim(*limits)
        note(axis, f"up to {np.nanmax(np.abs(off)):,.3g} bps")


def _draw_wealth(axis: Axes, curves: list[Curve]) -> None:
    axis.axhline(0, color=FAINT, linewidth=0.7)
    for curve, colour in zip(curves, COLOURS, strict=False):
        label = curve.strategy if curve.strategy.lower() == curve.agent else (
            f"{curve.agent} ({curve.strategy})"
        )  # fmt: skip
        axis.plot(
            curve.time_ns, (curve.value - 1) * 100, color=colour, linewidth=1.3, label=label
        )  # fmt: skip
    finish(axis, "Wealth of the strategies", "Gain\n[% of capital]", legend=True)
