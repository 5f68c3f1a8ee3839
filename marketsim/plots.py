"""The picture of a run: prices and trades, the book's depth, spread, volume, agents' results.

Figures are objects of their own, styled one by one: no screen and no global state of matplotlib.
Colours are those of Okabe and Ito (2008), told apart by colour-blind readers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from marketsim.clock import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_SECOND, format_time
from marketsim.report import Floats, Ints, Touch, touch, trade_price_ticks
from marketsim.tape import Tape

if TYPE_CHECKING:
    from marketsim.simulation import Run

INK, BAND, BARS, FAINT = "#222222", "#9AA5AE", "#B8C2CA", "#8A8A8A"
AGENT_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
#: Agents that are drawn one by one; more of them are summed up in one curve.
MAX_AGENTS = len(AGENT_COLOURS)
GRID_COLUMNS = 1200
#: The book is sampled so often within each column of the heat map, and averaged.
HEAT_COLUMNS, HEAT_ROWS, HEAT_SAMPLES = 260, 36, 12

_TICK_STEPS_NS = tuple(
    step * NS_PER_SECOND for step in (0.001, 0.01, 0.1, 0.5, 1, 5, 10, 15, 30)
) + tuple(step * NS_PER_MINUTE for step in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440))


@dataclass(frozen=True)
class _Fills:
    """An agent's trades: signed size (bought > 0) at a price, int64[k] and float64[k]."""

    name: str
    colour: str
    time_ns: Ints
    signed_lots: Ints
    price_ticks: Floats


@dataclass(frozen=True)
class _Scene:
    """What every panel draws from: the tape, its touch, the agents and a grid of times."""

    tape: Tape
    touch: Touch
    agents: tuple[_Fills, ...]
    grid_ns: Floats
    tick: float  # currency
    currency: str  # its name, or ""

    def money(self, label: str) -> str:
        return f"{label}\n[{self.currency}]" if self.currency else label

    def mid_on_grid(self) -> Floats:
        return self.touch.at(self.touch.mid_ticks, self.grid_ns)


def report_figure(run: "Run") -> Figure:
    """Draw a run: its tape, with the trades and results of the agents that trade beside the data.

    Equivalent to :func:`plot_tape` with the names of the run's agents.
    """
    title = f"{run.tape.meta.get('symbol') or ''}  ·  {run.config.name}, seed {run.summary['seed']}"
    return plot_tape(run.tape, agents=agent_names(run), title=title)


def plot_tape(
    tape: Tape, *, agents: Mapping[int, str] | None = None, title: str | None = None
) -> Figure:
    """Draw a tape in one picture.

    Parameters
    ----------
    tape
        Any tape: empty, short and one-sided ones have emptier panels.
    agents
        Agent id -> name, of those whose trades and results are drawn; by default all that trade
        under an id. Many agents are drawn as one.
    title
        Above the picture; by default symbol and source.

    Returns
    -------
    matplotlib.figure.Figure
        Panels share the time axis: prices with the agents' trades, depth around the mid-price,
        spread, traded volume and, with agents, their positions and profits before fees.
    """
    quotes = touch(tape)
    end_ns = quotes.end_ns if quotes.end_ns > quotes.start_ns else quotes.start_ns + NS_PER_SECOND
    scene = _Scene(
        tape,
        quotes,
        _agents(tape, agents),
        np.linspace(quotes.start_ns, end_ns, GRID_COLUMNS),
        float(tape.meta.get("tick_size") or 1.0),
        str(tape.meta.get("currency") or ""),
    )
    panels: list[tuple[Callable[[Axes, _Scene], None], float]] = [
        (_draw_prices, 3.2),
        (_draw_depth, 2.2),
        (_draw_spread, 1.1),
        (_draw_volume, 1.1),
    ]
    if scene.agents:
        panels += [(_draw_positions, 1.1), (_draw_profits, 1.1)]
    heights = [height for _, height in panels]
    figure = Figure(figsize=(10, 1.05 * sum(heights) + 0.8), dpi=130, layout="constrained")
    axes: Sequence[Axes] = np.ravel(
        figure.subplots(len(panels), 1, sharex=True, height_ratios=heights)
    ).tolist()
    for (draw, _), axis in zip(panels, axes, strict=True):
        draw(axis, scene)
    _set_time_axis(axes[-1], quotes.start_ns, end_ns)
    figure.align_ylabels(axes)
    figure.suptitle(title or _default_title(tape), x=0.01, ha="left", fontsize=12, weight="bold")
    return figure


def agent_names(run: "Run") -> dict[int, str]:
    """Agent id -> name of the agents that trade beside the data."""
    return {
        int(entry["agent_id"]): name
        for name, entry in run.summary["agents"].items()
        if entry.get("type") != "replay"
    }


def _default_title(tape: Tape) -> str:
    return "  ·  ".join(str(part) for key in ("symbol", "source") if (part := tape.meta.get(key)))


def _agents(tape: Tape, names: Mapping[int, str] | None) -> tuple[_Fills, ...]:
    """Collect the trades of each agent that is drawn; of many, all in one."""
    trades = tape.trades
    maker, taker = trades["maker_agent_id"], trades["taker_agent_id"]
    if names is None:
        found = np.unique(np.concatenate([maker, taker]))
        names = {int(agent): f"agent {agent}" for agent in found if agent >= 0}
    groups = {name: [agent] for agent, name in names.items()}
    for agent, name in names.items():
        if agent not in groups[name]:
            groups[name].append(agent)
    if len(groups) > MAX_AGENTS:
        groups = {f"{len(names)} agents": list(names)}
    price = trade_price_ticks(tape)
    fills = []
    for (name, ids), colour in zip(groups.items(), AGENT_COLOURS, strict=False):
        sign = np.isin(taker, ids).astype(np.int64) - np.isin(maker, ids).astype(np.int64)
        rows = np.flatnonzero(sign)
        signed = sign[rows] * trades["side"][rows] * trades["size_lots"][rows]
        fills.append(_Fills(name, colour, trades["time_ns"][rows], signed, price[rows]))
    return tuple(fills)


def _draw_prices(axis: Axes, scene: _Scene) -> None:
    quotes, grid = scene.touch, scene.grid_ns
    bid = quotes.at(quotes.bid_ticks, grid) * scene.tick
    ask = quotes.at(quotes.ask_ticks, grid) * scene.tick
    axis.fill_between(
        grid, bid, ask, step="post", color=BAND, alpha=0.55, linewidth=0, label="bid to ask"
    )
    for side in (bid, ask):  # all that there is to see while the other side is empty
        axis.step(grid, side, where="post", color=BAND, linewidth=0.5)
    mid = scene.mid_on_grid() * scene.tick
    axis.step(grid, mid, where="post", color=INK, linewidth=0.9, label="mid-price")
    for fills in scene.agents:
        for sign, word, marker in ((1, "buys", "^"), (-1, "sells", "v")):
            chosen = fills.signed_lots * sign > 0
            if chosen.any():
                axis.scatter(
                    fills.time_ns[chosen],
                    fills.price_ticks[chosen] * scene.tick,
                    s=13,
                    marker=marker,
                    color=fills.colour,
                    alpha=0.75,
                    linewidths=0,
                    zorder=3,
                    label=f"{fills.name} {word}",
                )
    _finish(axis, "Price", scene.money("Price"), legend=True)
    if not (np.isfinite(bid).any() or np.isfinite(ask).any()):
        _say(axis, "no quotes")


def _draw_depth(axis: Axes, scene: _Scene) -> None:
    """Mean visible size by distance from the mid-price, through time."""
    title, label = "Depth around the mid-price", scene.money("Distance from mid")
    heat, height_ticks = _depth(scene)
    if not heat.any():
        _finish(axis, title, label)
        _say(axis, "no two-sided book")
        return
    half = len(heat) // 2
    shown = np.ma.masked_equal(heat, 0)
    low, high = np.quantile(shown.compressed(), (0.05, 0.995))
    mesh = axis.pcolormesh(
        np.linspace(scene.grid_ns[0], scene.grid_ns[-1], HEAT_COLUMNS + 1),
        np.arange(-half, half + 1) * height_ticks * scene.tick,
        shown,
        norm=LogNorm(low, max(high, low * 1.01)),
        cmap="viridis_r",
        rasterized=True,
    )
    axis.axhline(0, color=INK, linewidth=0.6)
    bar = axis.figure.colorbar(mesh, ax=axis, pad=0.01, fraction=0.03, aspect=14)
    bar.set_label(f"Mean size [lots per {height_ticks * scene.tick:g}]", fontsize=8.5)
    bar.ax.tick_params(labelsize=8.5, colors="#555555")
    bar.ax.yaxis.set_major_formatter(FuncFormatter(_grouped))
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    _finish(axis, title, label)
    axis.grid(False)


def _depth(scene: _Scene) -> tuple[Floats, float]:
    """Return mean size [lots], float64[rows, HEAT_COLUMNS], and the height of a row [ticks].

    The upper half of the rows is above the mid-price. Without a two-sided book there are no rows.
    """
    book, quotes = scene.tape.book, scene.touch
    samples = HEAT_COLUMNS * HEAT_SAMPLES
    edges = np.linspace(scene.grid_ns[0], scene.grid_ns[-1], samples + 1)
    sampled = np.searchsorted(quotes.time_ns, (edges[:-1] + edges[1:]) / 2, side="right") - 1
    seen = np.flatnonzero(sampled >= 0)
    seen = seen[np.isfinite(quotes.mid_ticks[sampled[seen]])]
    rows = sampled[seen]
    lots = np.hstack([book.bid_size_lots[rows], book.ask_size_lots[rows]])
    if not lots.any():
        return np.zeros((0, HEAT_COLUMNS)), 1.0
    price = np.hstack([book.bid_price_ticks[rows], book.ask_price_ticks[rows]])
    offset = price - quotes.mid_ticks[rows][:, None]
    reach = max(float(np.quantile(np.abs(offset[lots > 0]), 0.95)), 1.0)
    height = max(1.0, np.ceil(2 * reach / HEAT_ROWS)) if reach >= 4 else 0.5
    half = int(np.ceil(reach / height))
    slot = np.floor(offset / height).astype(np.int64) + half
    column = np.broadcast_to(seen[:, None] // HEAT_SAMPLES, slot.shape)
    inside = (lots > 0) & (slot >= 0) & (slot < 2 * half)
    cell = slot[inside] * HEAT_COLUMNS + column[inside]
    total = np.bincount(cell, lots[inside], minlength=2 * half * HEAT_COLUMNS)
    times = np.bincount(seen // HEAT_SAMPLES, minlength=HEAT_COLUMNS)
    return total.reshape(2 * half, HEAT_COLUMNS) / np.maximum(times, 1), height


def _draw_spread(axis: Axes, scene: _Scene) -> None:
    edges = _bin_edges(scene, wanted=390)
    spread = scene.touch.mean_between(scene.touch.spread_ticks, edges) * scene.tick
    axis.stairs(spread, edges, color=INK, linewidth=0.9, baseline=None)
    _finish(axis, f"Spread, mean per {_span(edges)}", scene.money("Spread"))
    if np.isfinite(spread).any():
        axis.set_ylim(min(0.0, np.nanmin(spread)), max(1.08 * np.nanmax(spread), scene.tick))
    else:
        _say(axis, "no two-sided book")


def _draw_volume(axis: Axes, scene: _Scene) -> None:
    edges = _bin_edges(scene, wanted=78)
    trades = scene.tape.trades
    total, _ = np.histogram(trades["time_ns"], edges, weights=trades["size_lots"])
    axis.stairs(total, edges, fill=True, color=BARS, label="market")
    base = np.zeros(len(total))
    for fills in scene.agents:
        own, _ = np.histogram(fills.time_ns, edges, weights=np.abs(fills.signed_lots))
        axis.stairs(
            base + own, edges, baseline=base, fill=True, color=fills.colour, label=fills.name
        )
        base = base + own
    _finish(axis, f"Traded volume per {_span(edges)}", "Volume\n[lots]", legend=bool(scene.agents))
    if not total.any():
        _say(axis, "no trades")


def _draw_positions(axis: Axes, scene: _Scene) -> None:
    for fills in scene.agents:
        position = _held(fills.signed_lots, fills.time_ns, scene.grid_ns)
        axis.step(
            scene.grid_ns,
            position,
            where="post",
            color=fills.colour,
            linewidth=1.2,
            label=fills.name,
        )
    _finish(axis, "Position", "Position\n[lots]", legend=len(scene.agents) > 1)


def _draw_profits(axis: Axes, scene: _Scene) -> None:
    """Cash plus position at the mid-price, in currency."""
    mid = scene.mid_on_grid()
    worth = scene.tick * float(scene.tape.meta.get("lot_size") or 1)
    for fills in scene.agents:
        position = _held(fills.signed_lots, fills.time_ns, scene.grid_ns)
        cash = _held(-fills.signed_lots * fills.price_ticks, fills.time_ns, scene.grid_ns)
        held = np.where(position == 0, 0.0, position * mid)
        axis.step(
            scene.grid_ns,
            (cash + held) * worth,
            where="post",
            color=fills.colour,
            linewidth=1.2,
            label=fills.name,
        )
    axis.axhline(0, color=FAINT, linewidth=0.7)
    _finish(axis, "Profit and loss at the mid-price, before fees", scene.money("PnL"))


def _held(changes: Any, time_ns: Ints, grid_ns: Floats) -> Floats:
    """Sum of the changes up to each time of the grid, float64[len(grid)]."""
    total = np.append(0.0, np.cumsum(changes))
    return total[np.searchsorted(time_ns, grid_ns, side="right")]


def _bin_edges(scene: _Scene, wanted: int) -> Floats:
    """Edges of round bins over the session: the finest of 1 s to 6 h with <= ``wanted`` bins."""
    start_ns, end_ns = int(scene.grid_ns[0]), int(scene.grid_ns[-1])
    step = next(
        (int(step) for step in _TICK_STEPS_NS if (end_ns - start_ns) <= step * wanted),
        24 * NS_PER_HOUR,
    )
    first = start_ns // step * step
    return np.arange(first, end_ns + step, step, dtype=np.float64)


def _span(edges: Floats) -> str:
    """Width of the bins in words: ``5 min``."""
    width_ns = float(edges[1] - edges[0])
    for unit_ns, unit in ((NS_PER_HOUR, "h"), (NS_PER_MINUTE, "min"), (NS_PER_SECOND, "s")):
        if width_ns >= unit_ns:
            return f"{width_ns / unit_ns:g} {unit}"
    return f"{width_ns / 1e6:g} ms"


def _set_time_axis(axis: Axes, start_ns: int, end_ns: int) -> None:
    step = next((s for s in _TICK_STEPS_NS if (end_ns - start_ns) / s <= 9), 24 * NS_PER_HOUR)
    first = np.ceil(start_ns / step) * step
    axis.xaxis.set_major_locator(FixedLocator(np.arange(first, end_ns + 1, step).tolist()))
    digits = 5 if step >= NS_PER_MINUTE else 8 if step >= NS_PER_SECOND else 12
    axis.xaxis.set_major_formatter(FuncFormatter(lambda at, _: format_time(int(at))[:digits]))
    axis.set_xlim(start_ns, end_ns)
    axis.set_xlabel("Time of day", fontsize=8.5, color=INK)


def _finish(axis: Axes, title: str, label: str, legend: bool = False) -> None:
    axis.set_title(title, loc="left", fontsize=9.5, weight="bold")
    axis.set_ylabel(label, fontsize=8.5, color=INK)
    axis.tick_params(labelsize=8.5, colors="#555555")
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(FAINT)
    axis.set_axisbelow(True)
    axis.grid(True, color="#E6E8EA", linewidth=0.6)
    axis.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axis.yaxis.set_major_formatter(FuncFormatter(_grouped))
    if legend and axis.get_legend_handles_labels()[0]:
        axis.legend(
            loc="lower right",
            bbox_to_anchor=(1, 1.0),
            ncols=6,
            borderaxespad=0,
            frameon=False,
            fontsize=8,
        )


def _grouped(value: float, _: int | None) -> str:
    """Format ``12345.5`` as ``12,345.5``; rounding takes off what floats add."""
    return f"{round(value, 10):,.10g}".replace("-", "\N{MINUS SIGN}")


def _say(axis: Axes, words: str) -> None:
    axis.set_yticks([])
    axis.text(0.5, 0.5, words, transform=axis.transAxes, ha="center", va="center", color="#777777")
