"""The picture of a run: prices and trades, the book's depth, spread, volume, agents' results.

Figures are objects of their own, styled one by one: no screen and no global state of matplotlib.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from marketsim.clock import NS_PER_SECOND
from marketsim.groups import populations
from marketsim.intraday import half_hour_edges
from marketsim.plot_agents import (
    Fills,
    collect_fills,
    dot_trades,
    draw_positions,
    draw_profits,
    draw_shares,
    mark_trades,
)
from marketsim.plot_style import (
    BAND,
    BARS,
    FUNDAMENTAL,
    INK,
    bin_edges,
    finish,
    grouped,
    note,
    say,
    set_time_axis,
    span,
    usual_range,
)
from marketsim.report import Floats, Ints, Touch, touch
from marketsim.tape import Tape

if TYPE_CHECKING:
    from marketsim.simulation import Run

#: Times [ns] and prices [ticks] of a fundamental value, linear in between.
Path = tuple[NDArray[Any], NDArray[Any]]

GRID_COLUMNS = 1200
#: The book is sampled so often within each column of the heat map, and averaged.
HEAT_COLUMNS, HEAT_ROWS, HEAT_SAMPLES = 260, 36, 12


@dataclass(frozen=True)
class _Scene:
    """What every panel draws from: the tape, its touch, the agents and a grid of times."""

    tape: Tape
    touch: Touch
    agents: tuple[Fills, ...]
    fundamental: Path | None
    grid_ns: Floats
    half_hours_ns: Ints
    tick: float  # currency
    currency: str  # its name, or ""

    def money(self, label: str) -> str:
        return f"{label}\n[{self.currency}]" if self.currency else label

    def mid_on_grid(self) -> Floats:
        return self.touch.at(self.touch.mid_ticks, self.grid_ns)


def report_figure(run: "Run") -> Figure:
    """Draw a run: its tape, with the agents that trade beside the data, and its fundamental value.

    Equivalent to :func:`plot_tape` with the names of the run's agents and populations.
    """
    symbol = run.tape.meta.get("symbol") or ""
    title = f"{symbol}  ·  {run.config.name}, seed {run.summary['seed']}"
    fundamental = run.fundamental.get(symbol)
    return plot_tape(run.tape, agents=agent_names(run), title=title, fundamental=fundamental)


def plot_tape(
    tape: Tape,
    *,
    agents: Mapping[int, str] | None = None,
    title: str | None = None,
    fundamental: Path | None = None,
) -> Figure:
    """Draw a tape in one picture.

    Parameters
    ----------
    tape
        Any tape: empty, short and one-sided ones have emptier panels.
    agents
        Agent id -> name, of those whose trades and results are drawn; by default all that trade
        under an id. Agents of the same name are a population and drawn as one; where there are
        many, those that trade least share a colour.
    title
        Above the picture; by default symbol and source.
    fundamental
        Times [ns] and prices [ticks] of the fundamental value, if there is one.

    Returns
    -------
    matplotlib.figure.Figure
        Panels share the time axis: prices with trades, depth around the mid-price, spread, traded
        volume and, with agents, positions and profits before fees; with populations their shares
        of the volume too. Rare prices far from all others do not stretch the axis, a note tells
        of them.
    """
    quotes = touch(tape)
    end_ns = quotes.end_ns if quotes.end_ns > quotes.start_ns else quotes.start_ns + NS_PER_SECOND
    scene = _Scene(
        tape,
        quotes,
        collect_fills(tape, agents),
        fundamental,
        np.linspace(quotes.start_ns, end_ns, GRID_COLUMNS),
        half_hour_edges(quotes.start_ns, end_ns),
        float(tape.meta.get("tick_size") or 1.0),
        str(tape.meta.get("currency") or ""),
    )
    panels: list[tuple[Callable[[Axes, _Scene], None], float]] = [
        (_draw_prices, 3.2),
        (_draw_depth, 2.2),
        (_draw_spread, 1.1),
        (_draw_volume, 1.1),
    ]
    if any(not group.alone for group in scene.agents):
        panels.append((_draw_shares, 1.1))
    if scene.agents:
        panels += [(_draw_positions, 1.1), (_draw_profits, 1.1)]
    heights = [height for _, height in panels]
    figure = Figure(figsize=(10, 1.05 * sum(heights) + 0.8), dpi=130, layout="constrained")
    axes: Sequence[Axes] = np.ravel(
        figure.subplots(len(panels), 1, sharex=True, height_ratios=heights)
    ).tolist()
    for (draw, _), axis in zip(panels, axes, strict=True):
        draw(axis, scene)
    set_time_axis(axes[-1], quotes.start_ns, end_ns)
    figure.suptitle(title or _default_title(tape), x=0.01, ha="left", fontsize=12, weight="bold")
    return figure


def agent_names(run: "Run") -> dict[int, str]:
    """Agent id -> name of its population, of the agents that trade beside the data or the path.

    On an exchange with several symbols, only of populations that traded the first.
    """
    trades = run.tape.trades
    traded = {int(agent) for role in ("maker", "taker") for agent in trades[f"{role}_agent_id"]}
    return {
        agent: name
        for name, ids in populations(run).items()
        if run.summary["agents"][name].get("type") not in ("replay", "return_path", "world")
        and (len(run.tapes) == 1 or not traded.isdisjoint(ids))
        for agent in ids
    }


def _default_title(tape: Tape) -> str:
    return "  ·  ".join(str(part) for key in ("symbol", "source") if (part := tape.meta.get(key)))


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
    shown = [bid, ask, mid]
    if scene.fundamental is not None:
        times, prices = scene.fundamental
        value = np.interp(grid, times, prices, left=np.nan, right=np.nan) * scene.tick
        axis.plot(grid, value, "--", color=FUNDAMENTAL, linewidth=1.0, label="fundamental")
        shown.append(value)
    traded = dot_trades(axis, scene.tape, scene.tick)
    mark_trades(axis, scene.agents, scene.tick)
    limits = usual_range(np.concatenate([*shown, traded]))
    if limits is not None:
        axis.set_ylim(*limits)
        beyond = traded[(traded < limits[0]) | (traded > limits[1])]
        if len(beyond):
            ends = f"{grouped(beyond.min(), None)} to {grouped(beyond.max(), None)}"
            note(axis, f"trades beyond this axis: {len(beyond):,}, {ends}")
    finish(axis, "Price", scene.money("Price"), legend=True)
    if not (np.isfinite(bid).any() or np.isfinite(ask).any()):
        say(axis, "no quotes")


def _draw_depth(axis: Axes, scene: _Scene) -> None:
    """Mean visible size by distance from the mid-price, through time."""
    title, label = "Depth around the mid-price", scene.money("Distance from mid")
    heat, height_ticks = _depth(scene)
    if not heat.any():
        finish(axis, title, label)
        say(axis, "no two-sided book")
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
    _draw_trades_on_heat(axis, scene, half * height_ticks)
    bar = axis.figure.colorbar(mesh, ax=axis, pad=0.01, fraction=0.03, aspect=14)
    bar.set_label(f"Mean size [lots per {height_ticks * scene.tick:g}]", fontsize=8.5)
    bar.ax.tick_params(labelsize=8.5, colors="#555555")
    bar.ax.yaxis.set_major_formatter(FuncFormatter(grouped))
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    finish(axis, title, label, legend=True)
    axis.grid(False)


def _draw_trades_on_heat(axis: Axes, scene: _Scene, reach_ticks: float) -> None:
    """Trades of each column by the aggressor's side: mean distance from the mid, area by volume."""
    trades = scene.tape.trades
    times, lots = trades["time_ns"], trades["size_lots"].astype(float)
    away = trades["price_ticks"] - scene.touch.at(scene.touch.mid_ticks, times - 1)
    edges = np.linspace(scene.grid_ns[0], scene.grid_ns[-1], HEAT_COLUMNS + 1)
    column = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, HEAT_COLUMNS - 1)
    largest = 0.0
    drawn = []
    for side, marker, colour, label in ((1, "^", "white", "bought"), (-1, "v", "black", "sold")):
        mine = (trades["side"] == side) & np.isfinite(away)
        volume = np.bincount(column[mine], lots[mine], HEAT_COLUMNS)
        total = np.bincount(column[mine], (lots * away)[mine], HEAT_COLUMNS)
        there = np.flatnonzero(volume)
        mean = total[there] / volume[there]
        inside = np.abs(mean) <= reach_ticks
        drawn.append((there[inside], mean[inside], volume[there[inside]], marker, colour, label))
        largest = max(largest, volume.max(initial=0.0))
    middle = (edges[:-1] + edges[1:]) / 2
    for there, mean, volume, marker, colour, label in drawn:
        axis.scatter(
            middle[there], mean * scene.tick, s=2 + 22 * volume / largest if len(there) else 2,
            marker=marker, color=colour, edgecolors="#555555", linewidths=0.3,
            label=f"{label} by aggressors", zorder=3,
        )  # fmt: skip


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
    edges = bin_edges(scene.grid_ns, wanted=390)
    spread = scene.touch.mean_between(scene.touch.spread_ticks, edges) * scene.tick
    halves = scene.half_hours_ns
    slow = scene.touch.mean_between(scene.touch.spread_ticks, halves) * scene.tick
    axis.stairs(spread, edges, color=BAND, linewidth=0.9, baseline=None, label=f"per {span(edges)}")
    axis.stairs(slow, halves, color=INK, linewidth=1.4, baseline=None, label="per half hour")
    title = "Spread, mean over time"
    if np.isfinite(spread).any():
        top, limits = float(np.nanmax(spread)), usual_range(spread)
        if limits is not None and limits[1] < top:
            note(axis, f"up to {top:,.4g}")
            top = max(limits[1], float(np.nanmax(slow)))
        finish(axis, title, scene.money("Spread"), legend=True)
        axis.set_ylim(min(0.0, np.nanmin(spread)), max(1.08 * top, scene.tick))
    else:
        finish(axis, title, scene.money("Spread"))
        say(axis, "no two-sided book")


def _draw_volume(axis: Axes, scene: _Scene) -> None:
    edges = bin_edges(scene.grid_ns, wanted=78)
    trades, halves = scene.tape.trades, scene.half_hours_ns.astype(np.float64)
    total, _ = np.histogram(trades["time_ns"], edges, weights=trades["size_lots"])
    axis.stairs(total, edges, fill=True, color=BARS, label="market")
    slow, _ = np.histogram(trades["time_ns"], halves, weights=trades["size_lots"])
    each = slow * (edges[1] - edges[0]) / np.diff(halves)
    axis.stairs(each, halves, color=INK, linewidth=1.2, baseline=None, label="mean of half hour")
    base = np.zeros(len(total))
    for agent in scene.agents:
        if agent.alone:
            own, _ = np.histogram(agent.time_ns, edges, weights=agent.lots)
            axis.stairs(
                base + own, edges, baseline=base, fill=True, color=agent.colour, label=agent.name
            )
            base = base + own
    finish(axis, f"Traded volume per {span(edges)}", "Volume\n[lots]", legend=True)
    if not total.any():
        say(axis, "no trades")


def _draw_shares(axis: Axes, scene: _Scene) -> None:
    draw_shares(axis, scene.agents, scene.tape, scene.half_hours_ns)


def _draw_positions(axis: Axes, scene: _Scene) -> None:
    draw_positions(axis, scene.agents, scene.grid_ns)


def _draw_profits(axis: Axes, scene: _Scene) -> None:
    worth = scene.tick * float(scene.tape.meta.get("lot_size") or 1)
    draw_profits(axis, scene.agents, scene.grid_ns, scene.mid_on_grid(), worth)
    finish(axis, "Profit and loss at the mid-price, before fees", scene.money("PnL"))
