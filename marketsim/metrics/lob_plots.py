"""Pictures of LOB-Bench: scores beside their floor, responses of the mid-price, divergence."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from marketsim.metrics.flow import Floats
from marketsim.metrics.lob_bench import LobBench
from marketsim.metrics.response import KINDS
from marketsim.plot_style import AGENT_COLOURS, BAND, BARS, FAINT, INK, finish, grouped, note, say

GENERATED, REAL = AGENT_COLOURS[0], AGENT_COLOURS[1]
_MEASURES = {"l1": "Half-L1 distance of histograms", "wasserstein": "Wasserstein-1 distance"}
_LEGEND = [
    "real windows against the rest: range",
    "and median",
    "generated against real, 99 % interval",
]
_TITLES = {
    "MO_0": "Market order, price stays",
    "MO_1": "Market order, price moves",
    "LO_0": "Limit order, price stays",
    "LO_1": "Limit order, price moves",
    "CA_0": "Cancellation, price stays",
    "CA_1": "Cancellation, price moves",
}


def plot_scores(bench: LobBench) -> Figure:
    """Draw each score's distances with their intervals beside the floor's range and median.

    Lower is better; a dot within the grey band is as close to the real tape as its own windows
    are. A Wasserstein distance beyond three times the others' upper quartile leaves the axis, and
    its value is written there; a band that reaches the axis' end goes on beyond it.
    """
    figure = Figure(figsize=(10, 8.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    scores = bench.scores
    for axis, (measure, title) in zip(axes, _MEASURES.items(), strict=True):
        _draw_distances(axis, scores, measure)
        finish(axis, title, "")
        axis.set_xlabel("Distance, 0 is equal", fontsize=8.5, color=INK)
    names = [str(name).replace("_", " ") for name in scores["name"]]
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    conditional = int((scores["kind"] == "unconditional").sum())
    for axis in axes:
        axis.axhline(conditional - 0.5, color=FAINT, linewidth=0.7)
    handles, labels = axes[0].get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: _LEGEND.index(labels[i]))
    figure.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=8,
    )
    return figure


def _draw_distances(axis: Axes, scores: pd.DataFrame, measure: str) -> None:
    value, low, high, least, median, most = (
        _numbers(scores[name])
        for name in (
            measure,
            f"{measure}_low",
            f"{measure}_high",
            f"floor_{measure}_min",
            f"floor_{measure}_median",
            f"floor_{measure}_max",
        )
    )
    place = np.arange(len(scores))
    known = np.isfinite(value)
    right = 1.0 if measure == "l1" else _axis_end(np.concatenate([high, median]))
    floor = np.isfinite(median)
    if floor.any():
        axis.barh(
            place[floor],
            (np.minimum(most, right) - least)[floor],
            left=least[floor],
            height=0.62,
            color=BARS,
            label=_LEGEND[0],
        )
        axis.plot(median[floor], place[floor], "|", color=INK, markersize=9, label=_LEGEND[1])
    shown = known & (value <= right)
    axis.hlines(place[shown], low[shown], np.minimum(high, right)[shown], color=GENERATED)
    axis.plot(
        value[shown],
        place[shown],
        "o",
        color=GENERATED,
        markersize=4.5,
        label=_LEGEND[2],
    )
    for row in np.flatnonzero(known & ~shown).tolist():
        axis.text(
            right, row, f"{value[row]:.2f} \N{RIGHTWARDS ARROW}",
            ha="right", va="center", fontsize=7.5, color=GENERATED,
        )  # fmt: skip
    for row in np.flatnonzero(~known).tolist():
        axis.text(right, row, "not defined", ha="right", va="center", fontsize=7.5, color="#777777")
    axis.set_xlim(0, right * 1.01)


def _axis_end(values: Floats) -> float:
    known = values[np.isfinite(values)]
    if not len(known):
        return 1.0
    return float(min(known.max(), 3 * np.quantile(known, 0.75)) * 1.05) or 1.0


def plot_responses(bench: LobBench) -> Figure:
    """Draw the mid-price's response to each kind of order, both tapes with 99 % bands."""
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots(2, 3, sharex=True)
    for axis, kind in zip(axes.T.flat, KINDS, strict=True):
        rows = bench.responses[bench.responses["event"] == kind]
        drawn = False
        for name, colour in (("real", REAL), ("generated", GENERATED)):
            mean, low, high = (_numbers(rows[f"{name}_{x}"]) for x in ("ticks", "low", "high"))
            if np.isfinite(mean).any():
                drawn = True
                axis.fill_between(rows["lag"], low, high, color=colour, alpha=0.18, linewidth=0)
                axis.plot(rows["lag"], mean, color=colour, linewidth=1.4, label=name)
        axis.axhline(0, color=FAINT, linewidth=0.7)
        axis.set_xscale("log")
        first = kind == KINDS[0]
        finish(axis, _TITLES[kind], "Response [ticks]" if kind[:2] == "MO" else "")
        if not drawn:
            say(axis, "too few such events")
        elif first:
            axis.legend(frameon=False, fontsize=8)
    for axis in axes[1]:
        axis.set_xlabel("Lag [events at the touch]", fontsize=8.5, color=INK)
    return figure


def plot_horizon(bench: LobBench) -> Figure:
    """Draw the scores' distances by block of the generated tape: quartiles, mean and floor."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    horizon = bench.horizon
    blocks = sorted(horizon["block"].unique())
    ends = [int(horizon.loc[horizon["block"] == k, "last_event"].iloc[0]) + 1 for k in blocks]
    for axis, (measure, title) in zip(axes, _MEASURES.items(), strict=True):
        values = [_known(horizon, k, measure) for k in blocks]
        if all(len(one) for one in values):
            low, middle, high = np.array([np.quantile(one, (0.25, 0.5, 0.75)) for one in values]).T
            axis.fill_between(
                ends, low, high, color=BAND, alpha=0.4, linewidth=0, label="quartiles"
            )
            axis.plot(ends, middle, color=INK, linewidth=1, linestyle=":", label="median")
            means = [float(one.mean()) for one in values]
            axis.plot(ends, means, "o-", color=GENERATED, markersize=3.5, label="mean")
        else:
            say(axis, "not defined in some block")
        floors = _known(horizon, blocks[0], f"floor_{measure}")
        if len(floors):
            axis.axhline(floors.mean(), color=REAL, linestyle="--", linewidth=1.2, label="floor")
        finish(axis, f"{title}, over scores", "Distance")
        axis.set_ylim(0, 1.12 * axis.get_ylim()[1])
        axis.xaxis.set_major_formatter(FuncFormatter(grouped))
        axis.set_xlabel("Messages since the generated tape began", fontsize=8.5, color=INK)
    axes[0].legend(frameon=False, fontsize=8, ncols=2)
    note(axes[1], f"blocks of {ends[0]:,} messages")
    return figure


def _known(horizon: pd.DataFrame, block: int, name: str) -> Floats:
    values = _numbers(horizon.loc[horizon["block"] == block, name])
    return values[np.isfinite(values)]


def _numbers(column: "pd.Series[float]") -> Floats:
    """Column as floats, NaN for None."""
    return np.array([np.nan if value is None else value for value in column], np.float64)
