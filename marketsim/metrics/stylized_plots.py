"""Pictures of the stylized facts: returns, the flow of orders, the day."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from marketsim.metrics.minute_returns import HORIZONS_MINUTES, MIN_SPANS
from marketsim.metrics.plot_parts import LOOKS, Found, draw_acf, draw_day, dress, legend
from marketsim.plot_style import FAINT, INK, say

Facts = Mapping[str, Found]


def draw_returns(facts: Facts) -> Figure:
    """Distribution of minute returns, kurtosis by horizon, three autocorrelations."""
    figure, axes = _sheet("Returns of the mid-price", 2, 3)
    _density(axes[0], facts["minute log returns, distribution [bps]"])
    _kurtosis(axes[1], facts)
    _correlations(axes[2], facts)
    for axis, what in zip(axes[3:], ("minute", "absolute minute", "squared minute"), strict=True):
        found = facts[f"autocorrelation of {what} returns"]
        draw_acf(
            axis,
            found,
            f"{what.removesuffix('minute').strip()} returns".strip().capitalize(),
            "Lag [min]",
        )
    return figure


def draw_flow(facts: Facts) -> Figure:
    """Order signs, times between orders, kinds of orders."""
    figure, axes = _sheet("Flow of orders", 2, 2)
    draw_acf(axes[0], facts["autocorrelation of order signs"], "Signs of market orders",
             "Lag [market orders]")  # fmt: skip
    _gaps(axes[1], facts["time between orders, distribution [ms]"])
    draw_acf(axes[2], facts["autocorrelation of log times between orders"],
             "Log times between orders", "Lag [orders]")  # fmt: skip
    _shares(axes[3], facts)
    return figure


def draw_profiles(facts: Facts) -> Figure:
    """Spread, first-level volume, traded volume and orders through the day; depth by level."""
    figure, axes = _sheet("The book and activity", 2, 3)
    panels = (
        ("spread through the day [bps]", "Spread", "Spread [bps of mid]"),
        ("first-level volume through the day [lots]", "First-level volume", "Size [lots]"),
        ("volume through the day [lots/min]", "Traded volume", "Volume [lots/min]"),
        ("orders through the day [1/min]", "Orders", "Order events [1/min]"),
    )
    for axis, (measure, title, label) in zip(axes, panels, strict=False):
        draw_day(axis, facts[measure], title, label)
    _depth(axes[4], facts["depth by level [lots]"])
    axes[5].axis("off")
    axes[5].text(
        0, 0.9, "Lines: means by half hour (over time for\nspread and sizes). Fans: quartiles of"
        " the\nmeans of the half hour's minutes.", va="top", fontsize=8.5, color=INK,
        transform=axes[5].transAxes,
    )  # fmt: skip
    return figure


def _sheet(title: str, rows: int, columns: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(10.8, 2.9 * rows + 0.4), layout="constrained")
    axes: list[Axes] = np.ravel(figure.subplots(rows, columns)).tolist()
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold")
    return figure, axes


def _density(axis: Axes, found: Found) -> None:
    """Densities of standardised returns on a log scale, beside the normal one."""
    dress(axis, "Minute returns, standardised", "Density", "Return [standard deviations]")
    scaled = {
        name: (values - values.mean()) / values.std()
        for name, values in found.items()
        if values.std() > 0
    }
    if not scaled:
        say(axis, "not defined here")
        return
    edges = np.linspace(-6, 6, 41)
    for name, (colour, line) in LOOKS.items():
        if name in scaled:
            values = np.clip(scaled[name], edges[0], edges[-1])
            density = np.histogram(values, edges)[0] / (len(values) * np.diff(edges))
            axis.stairs(
                np.where(density > 0, density, np.nan), edges, color=colour, linestyle=line,
                linewidth=1.3, baseline=None, label=f"{name}, sd {found[name].std():.3g} bps",
            )  # fmt: skip
    x = np.linspace(-6, 6, 200)
    axis.plot(x, np.exp(-x * x / 2) / np.sqrt(2 * np.pi), ":", color=FAINT, label="normal")
    axis.set_yscale("log")
    axis.set_ylim(1e-3, 3)
    legend(axis, "upper left")


def _kurtosis(axis: Axes, facts: Facts) -> None:
    dress(axis, "Excess kurtosis", "Excess kurtosis", "Horizon [min]")
    axis.axhline(0, color=FAINT, linewidth=0.8, linestyle=":")
    drawn = False
    for name, (colour, line) in LOOKS.items():
        known = [
            (minutes, found[name])
            for minutes in HORIZONS_MINUTES
            if name in (found := facts[f"excess kurtosis of log returns, {minutes} min"])
        ]
        if known:
            drawn = True
            axis.plot(*zip(*known, strict=True), line, color=colour, marker="o", label=name)
    axis.set_xscale("log")
    axis.set_xticks(HORIZONS_MINUTES, [str(minutes) for minutes in HORIZONS_MINUTES])
    axis.minorticks_off()
    legend(axis)
    if not drawn:
        say(axis, f"fewer than {MIN_SPANS} returns")


def _correlations(axis: Axes, facts: Facts) -> None:
    names = {
        "correlation of volume and volatility": "volume,\n|return|",
        "correlation of return and volatility": "return, next\n|return|",
    }
    _bars(axis, [facts[measure] for measure in names], list(names.values()))
    dress(axis, "Correlations", "Rank correlation", "")
    axis.axhline(0, color=FAINT, linewidth=0.8)
    legend(axis)


def _shares(axis: Axes, facts: Facts) -> None:
    kinds = ("limit", "cancel", "market")
    _bars(axis, [facts[f"share of {kind} orders"] for kind in kinds], list(kinds))
    dress(axis, "Kinds of orders", "Share of order events", "")
    legend(axis)


def _bars(axis: Axes, values: list[Found], names: list[str]) -> None:
    """Bars of both tapes side by side; what is not defined has none."""
    for at, (tape, (colour, _)) in enumerate(LOOKS.items()):
        known = [(i, value[tape]) for i, value in enumerate(values) if tape in value]
        if known:
            place, height = zip(*known, strict=True)
            axis.bar(
                np.array(place) + 0.38 * (at - 0.5), height, 0.36, color=colour, label=tape,
                hatch="" if at == 0 else "///", edgecolor="white", linewidth=0,
            )  # fmt: skip
    axis.set_xticks(range(len(names)), names)
    if not any(values):
        say(axis, "not defined here")


def _gaps(axis: Axes, found: Found) -> None:
    dress(axis, "Times between orders", "Share at least as long", "Time [s]")
    for name, (colour, line) in LOOKS.items():
        if name in found:
            seconds = np.sort(found[name]) / 1e3
            chosen = np.linspace(0, len(seconds) - 1, min(len(seconds), 2_000)).astype(int)
            above = 1 - chosen / len(seconds)
            axis.plot(
                np.maximum(seconds[chosen], 1e-7), above, line, color=colour, linewidth=1.3,
                label=name,
            )  # fmt: skip
    if not found:
        say(axis, "not defined here")
        return
    axis.set_xscale("log")
    axis.set_ylim(0, 1.02)
    legend(axis)


def _depth(axis: Axes, found: Found) -> None:
    for name, (colour, line) in LOOKS.items():
        if name in found:
            curve = found[name]
            axis.plot(
                curve.x, curve.y, line, color=colour, marker="o", markersize=3, linewidth=1.3,
                label=name,
            )  # fmt: skip
    dress(axis, "Depth", "Mean size [lots]", "Level")
    if not found:
        say(axis, "not defined here")
        return
    axis.set_ylim(bottom=0)
    legend(axis)
