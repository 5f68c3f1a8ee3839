"""Pictures of a comparison of returns."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from marketsim.comparison.returns_measures import FAN, KINDS, RANKED
from marketsim.comparison.returns_rows import ABLATION, APART, GROUPS, PAPER_VAR_CHANGE, VAR_BASE
from marketsim.plot_style import AGENT_COLOURS, FAINT, INK, grouped

_BPS = 1e4
#: Most panels in the picture of cumulative returns.
_MOST_FANS = 8
_COLOURS = dict(zip(GROUPS, (FAINT, *AGENT_COLOURS), strict=False))


def gaps_figure(content: Mapping[str, Any]) -> Figure | None:
    """The ranked gaps by row: dots for means, lines for their range; None where none is known."""
    rows = {name: row for name, row in _main(content).items() if "training VaR" in row["figures"]}
    if not rows:
        return None
    figure = Figure(figsize=(11, 1.6 + 0.34 * len(rows)), dpi=150, layout="constrained")
    at = np.arange(len(rows))[::-1]
    axes = figure.subplots(1, len(RANKED), sharey=True)
    for axis, gap in zip(axes, RANKED, strict=True):
        for shift, kind in zip((0.15, -0.15), KINDS, strict=True):
            for place, row in zip(at + shift, rows.values(), strict=True):
                _dot(axis, place, row, f"{kind} {gap}", hollow=kind != "training")
        _finish(axis, gap)
        axis.set_xscale("log")
        low, high = axis.get_xlim()
        subs = (1.0, 2.0, 5.0) if high < 200 * low else (1.0,)  # as many as do not overlap
        axis.xaxis.set_major_locator(LogLocator(subs=subs))
        axis.xaxis.set_major_formatter(FuncFormatter(grouped))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xlabel("bps of capital", fontsize=8, color=INK)
        axis.set_yticks(at, list(rows))
    handles = [
        axes[0].plot([], [], "o", color=INK, markerfacecolor=face, markersize=5)[0]
        for face in (INK, "white")
    ]
    handles += [
        axes[0].plot([], [], "o", color=_COLOURS[g], markersize=5)[0] for g in _groups(rows)
    ]
    words = [f"{kind} strategies" for kind in KINDS] + _groups(rows)
    figure.legend(handles, words, loc="outside lower center", ncols=7, frameon=False, fontsize=8)
    figure.suptitle("Risk gaps to the test windows; lines: least to largest over splits and seeds",
                    fontsize=9.5)  # fmt: skip
    return figure


def _dot(axis: Axes, at: float, row: Mapping[str, Any], figure: str, *, hollow: bool) -> None:
    found = row["figures"].get(figure)
    if found is None:
        return
    colour = _COLOURS[row["group"]]
    values = [_BPS * value for value in found["values"].values()]
    axis.hlines(at, min(values), max(values), color=colour, linewidth=1.2, alpha=0.6)
    axis.plot(_BPS * found["mean"], at, "o", color=colour, markersize=5,
              markerfacecolor="white" if hollow else colour)  # fmt: skip


def var_figure(content: Mapping[str, Any]) -> Figure | None:
    """VaR gaps against the base row's [%], and how far the paper came; None without that row."""
    rows = {name: row for name, row in _main(content).items()
            if name != VAR_BASE and row["var_change_percent"]["training"] is not None}  # fmt: skip
    if not rows:
        return None
    figure = Figure(figsize=(8, 1.4 + 0.34 * len(rows)), dpi=150, layout="constrained")
    at = np.arange(len(rows))[::-1]
    for axis, kind in zip(figure.subplots(1, 2, sharey=True), KINDS, strict=True):
        change = [row["var_change_percent"][kind] for row in rows.values()]
        shown = np.minimum(change, 150)
        colours = [_COLOURS[row["group"]] for row in rows.values()]
        axis.barh(at, shown, height=0.62, color=colours, alpha=0.75)
        for place, end, value in zip(at, shown, change, strict=True):
            said = f"{value:+.0f} %".replace("-", "\N{MINUS SIGN}")
            axis.annotate(said, (max(end, 0), place), (4, 0), fontsize=8, va="center",
                          textcoords="offset points", color=INK)  # fmt: skip
        axis.axvline(0, color=INK, linewidth=0.8)
        axis.axvline(PAPER_VAR_CHANGE, color=AGENT_COLOURS[0], linewidth=1.2, linestyle=(0, (4, 2)))
        axis.annotate(f"paper {grouped(PAPER_VAR_CHANGE, None)} %", (PAPER_VAR_CHANGE, 1), (3, -8),
                      fontsize=7.5, xycoords=("data", "axes fraction"), textcoords="offset points",
                      color=AGENT_COLOURS[0])  # fmt: skip
        _finish(axis, f"{kind} strategies")
        axis.set_xlim(-105, max(30.0, 1.25 * float(shown.max()) + 25))
        axis.set_yticks(at, list(rows))
        axis.set_ylim(-0.7, len(rows) - 0.1)
        axis.set_xlabel("%", fontsize=8, color=INK)
    figure.suptitle(f"VaR gap against that of {VAR_BASE}", fontsize=9.5)
    return figure


def ablation_figure(content: Mapping[str, Any]) -> Figure | None:
    """Ranked gaps by loss, a line for each convolution; None where not two rows are known."""
    rows = {key: content["rows"][name] for key, name in ABLATION.items()
            if content["rows"].get(name, {}).get("figures")}  # fmt: skip
    if len(rows) < 2:
        return None
    figure = Figure(figsize=(10, 4.6), dpi=150, layout="constrained")
    losses = {"elbo": "ELBO", "one": "EFPL, one", "all": "EFPL, all"}
    axes = figure.subplots(len(KINDS), len(RANKED), sharex=True)
    for line, kind in zip(axes, KINDS, strict=True):
        for axis, gap in zip(line, RANKED, strict=True):
            for shift, convolution in ((-0.06, "plain"), (0.06, "dilated")):
                own = {loss: rows[convolution, loss]["figures"].get(f"{kind} {gap}")
                       for loss in losses if (convolution, loss) in rows}  # fmt: skip
                _line(axis, {n: found for n, found in own.items() if found}, list(losses), shift,
                      convolution)  # fmt: skip
            _finish(axis, f"{gap}, {kind}")
            axis.set_xticks(range(len(losses)), list(losses.values()))
            axis.set_xlim(-0.4, len(losses) - 0.6)
            axis.set_ylim(0, 1.1 * axis.get_ylim()[1])  # so that no point is cut
        line[0].set_ylabel("bps of capital", fontsize=8, color=INK)
    handles, words = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, words, loc="outside lower center", ncols=2, frameon=False, fontsize=8.5)
    return figure


def _line(axis: Axes, found: Mapping[str, Any], losses: list[str], shift: float,
          convolution: str) -> None:  # fmt: skip
    """Means by loss, with the values of splits and seeds as small dots."""
    colour = AGENT_COLOURS[1 if convolution == "dilated" else 0]
    at = [losses.index(loss) + shift for loss in found]
    axis.plot(at, [_BPS * one["mean"] for one in found.values()], "o-", color=colour, markersize=5,
              linewidth=1.3, label=f"{convolution} convolutions")  # fmt: skip
    for place, one in zip(at, found.values(), strict=True):
        values = [_BPS * value for value in one["values"].values()]
        axis.plot([place] * len(values), values, "o", color=colour, markersize=2.5, alpha=0.45)


def fans_figure(content: Mapping[str, Any]) -> Figure | None:
    """Quantiles of generated and real cumulative returns of the first asset, on the last split."""
    rows = {name: row for name, row in _main(content).items()
            if row["group"] != "reference" and "split-0" in row["fans"]}  # fmt: skip
    chosen = _chosen(rows)
    if not chosen:
        return None
    columns = len(chosen) if len(chosen) <= 3 else -(-len(chosen) // 2)
    lines = -(-len(chosen) // columns)
    figure = Figure(figsize=(2.9 * columns + 0.4, 2.3 * lines + 0.5), dpi=150,
                    layout="constrained")  # fmt: skip
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    real = 100 * np.array(content["real_fans"][0])
    for axis, name in zip(axes, chosen, strict=False):
        made = 100 * np.array(rows[name]["fans"]["split-0"])
        colour, steps = _COLOURS[rows[name]["group"]], np.arange(made.shape[1])
        for pair, alpha in ((slice(0, 5, 4), 0.18), (slice(1, 4, 2), 0.35)):
            axis.fill_between(steps, *made[pair], color=colour, alpha=alpha, linewidth=0)
        axis.plot(steps, made[2], color=colour, linewidth=1.2)
        for number, quantile in enumerate(real):
            axis.plot(steps, quantile, color=INK, linewidth=0.9,
                      linestyle=("-" if number == 2 else (0, (3, 2))))  # fmt: skip
        _finish(axis, name)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 3, 6, 10]))
    most = 2.2 * float(np.abs(real).max())  # what explodes is cut
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(max(low, -most), min(high, most))
    for number, axis in enumerate(axes):
        axis.set_visible(number < len(chosen))
        axis.tick_params(labelbottom=number + columns >= len(chosen))
    symbol, shares = content["data"]["symbols"][0], ", ".join(f"{100 * q:g}" for q in FAN)
    figure.supxlabel("step of the window", fontsize=8.5, color=INK)
    figure.supylabel(f"cumulative log return of {symbol} [%]", fontsize=8.5, color=INK)
    figure.suptitle(f"Quantiles {shares} %: generated (filled) and real (lines)", fontsize=9.5)
    return figure


def tasks_figure(content: Mapping[str, Any]) -> Figure | None:
    """Information coefficients, and Sharpe's ratios of arbitrage; None without bars."""
    rows = {name: row for name, row in content["rows"].items() if row["tasks"]}
    if not rows:
        return None
    figure = Figure(figsize=(8, 1.3 + 0.34 * len(rows)), dpi=150, layout="constrained")
    at = np.arange(len(rows))[::-1]
    left, right = figure.subplots(1, 2, sharey=True)
    colours = [_COLOURS[row["group"]] for row in rows.values()]

    def means(task: str) -> list[float]:
        return [row["tasks"].get(task, {"mean": np.nan})["mean"] for row in rows.values()]

    left.barh(at, [100 * mean for mean in means("IC")], height=0.62, color=colours, alpha=0.75)
    right.barh(at + 0.17, means("arbitrage Sharpe"), height=0.32, color=colours, alpha=0.75)
    right.barh(at - 0.17, means("arbitrage Sharpe, fee"), height=0.32, color=colours, alpha=0.35)
    _finish(left, "Forecasts: IC [%]")
    _finish(right, "Arbitrage: Sharpe's ratio")
    right.set_xlabel("dark: without fees, light: 0.03 %", fontsize=8, color=INK)
    for axis in (left, right):
        axis.axvline(0, color=INK, linewidth=0.8)
        axis.set_yticks(at, list(rows))
    return figure


def _chosen(rows: Mapping[str, Any]) -> list[str]:
    """Rows that get a panel: with the conditioned ones first among equals, at most so many."""
    first = [name for name in ("past", "recent", "gaussian", "garch-copula", VAR_BASE, "tail-gan",
                               "cms-vae", "cms-vae-unconditional") if name in rows]  # fmt: skip
    chosen = {*first, *[name for name in rows if name not in first][: _MOST_FANS - len(first)]}
    return [name for name in rows if name in chosen]


def _main(content: Mapping[str, Any]) -> dict[str, Any]:
    """Rows that are ranked, and have figures."""
    return {name: row for name, row in content["rows"].items()
            if row["group"] not in APART and row["figures"]}  # fmt: skip


def _groups(rows: Mapping[str, Any]) -> list[str]:
    return [group for group in GROUPS if any(row["group"] == group for row in rows.values())]


def _finish(axis: Axes, title: str) -> None:
    axis.set_title(title, loc="left", fontsize=9.5, weight="bold")
    axis.tick_params(labelsize=8, colors="#555555", which="both")
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(FAINT)
    axis.set_axisbelow(True)
    axis.grid(True, color="#E6E8EA", linewidth=0.6)
