"""Panels of a picture that show agents: their share of the volume, positions and profits."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from marketsim.plot_style import AGENT_COLOURS, BARS, FAINT, INK, finish
from marketsim.report import Floats, Ints, trade_price_ticks
from marketsim.tape import Tape

#: Agents and populations that have a colour; of more, those that trade least share one.
MAX_GROUPS = len(AGENT_COLOURS)


@dataclass(frozen=True)
class Fills:
    """Trades of an agent, or of all agents of a population.

    Attributes
    ----------
    alone : whether this is a single agent.
    signed_lots : int64[k], what it bought net in the trade; 0 where it was on both sides.
    sides : int64[k], 2 where it was on both sides, else 1.
    """

    name: str
    colour: str
    alone: bool
    time_ns: Ints
    price_ticks: Floats
    lots: Ints
    signed_lots: Ints
    sides: Ints

    def held(self, changes: Floats | Ints, grid_ns: Floats) -> Floats:
        """Sum of its trades' changes up to each time of the grid, float64[len(grid)]."""
        total = np.append(0.0, np.cumsum(changes))
        return total[np.searchsorted(self.time_ns, grid_ns, side="right")]


def collect_fills(tape: Tape, names: Mapping[int, str] | None) -> tuple[Fills, ...]:
    """Trades by agent; agents of the same name are a population, drawn as one.

    Single agents come first, then populations, by volume; the last stands for those left over.

    Parameters
    ----------
    names : agent id -> name; None takes all agents that trade, each alone.
    """
    trades = tape.trades
    maker, taker = trades["maker_agent_id"], trades["taker_agent_id"]
    if names is None:
        found = np.unique(np.concatenate([maker, taker]))
        names = {int(agent): f"agent {agent}" for agent in found if agent >= 0}
    members: dict[str, list[int]] = {}
    for agent, name in names.items():
        members.setdefault(name, []).append(agent)
    makes, takes = (_numbers(side, members) for side in (maker, taker))
    price = trade_price_ticks(tape)
    fills = []
    for colour, (name, numbers) in zip(
        AGENT_COLOURS, _shown(members, makes, takes, trades["size_lots"]), strict=False
    ):
        takes_part, makes_part = np.isin(takes, numbers), np.isin(makes, numbers)
        rows = np.flatnonzero(takes_part | makes_part)
        lots = trades["size_lots"][rows]
        sign = takes_part[rows].astype(np.int64) - makes_part[rows]
        fills.append(
            Fills(
                name,
                colour,
                len(members.get(name, ())) == 1,
                trades["time_ns"][rows],
                price[rows],
                lots,
                sign * trades["side"][rows] * lots,
                takes_part[rows].astype(np.int64) + makes_part[rows],
            )
        )
    return tuple(fills)


def _numbers(agents: Ints, members: Mapping[str, list[int]]) -> Ints:
    """Number of the population of each agent, -1 of those in none."""
    known = max((max(ids) for ids in members.values()), default=-1)
    number_of = np.full(max(int(agents.max(initial=-1)), known) + 2, -1)
    for number, ids in enumerate(members.values()):
        number_of[ids] = number
    return number_of[agents]  # agent -1, which is nobody, finds the last cell


def _shown(
    members: Mapping[str, list[int]], makes: Ints, takes: Ints, lots: Ints
) -> list[tuple[str, list[int]]]:
    """Names in the order in which they are drawn, each with the numbers of its populations."""
    volume = np.zeros(len(members))
    for side in (makes, takes):
        volume += np.bincount(side[side >= 0], lots[side >= 0], minlength=len(members))
    names = list(members)
    order = sorted(
        range(len(names)), key=lambda number: (len(members[names[number]]) > 1, -volume[number])
    )
    if len(order) <= MAX_GROUPS:
        return [(names[number], [number]) for number in order]
    first, rest = order[: MAX_GROUPS - 1], order[MAX_GROUPS - 1 :]
    return [*((names[number], [number]) for number in first), (f"{len(rest)} others", rest)]


def draw_shares(axis: Axes, fills: tuple[Fills, ...], tape: Tape, edges_ns: Ints) -> None:
    """Stack each population's share of what was bought and sold in each bin."""
    trades = tape.trades
    edges = edges_ns.astype(np.float64)
    total, _ = np.histogram(trades["time_ns"], edges, weights=2.0 * trades["size_lots"])
    base = np.zeros(len(total))
    for group in fills:
        own, _ = np.histogram(group.time_ns, edges, weights=group.sides * group.lots)
        share = np.divide(own, total, out=np.zeros(len(total)), where=total > 0)
        axis.stairs(
            base + share, edges, baseline=base, fill=True, color=group.colour, label=group.name
        )
        base = base + share
    rest = np.where(total > 0, 1.0, 0.0)
    if (rest - base > 0.005).any():
        axis.stairs(rest, edges, baseline=base, fill=True, color=BARS, label="all others")
    finish(axis, "Share of volume, per half hour", "Share", legend=True)
    axis.set_ylim(0, 1)
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def draw_positions(axis: Axes, fills: tuple[Fills, ...], grid_ns: Floats) -> None:
    """What each agent or population holds."""
    for group in fills:
        position = group.held(group.signed_lots, grid_ns)
        axis.step(
            grid_ns, position, where="post", color=group.colour, linewidth=1.2, label=group.name
        )
    finish(axis, "Position", "Position\n[lots]", legend=len(fills) > 1)


def draw_profits(
    axis: Axes, fills: tuple[Fills, ...], grid_ns: Floats, mid_ticks: Floats, worth: float
) -> None:
    """Cash plus position at the mid-price, in currency: ``worth`` is that of a tick and lot."""
    for group in fills:
        position = group.held(group.signed_lots, grid_ns)
        cash = group.held(-group.signed_lots * group.price_ticks, grid_ns)
        held = np.where(position == 0, 0.0, position * mid_ticks)
        axis.step(
            grid_ns,
            (cash + held) * worth,
            where="post",
            color=group.colour,
            linewidth=1.2,
            label=group.name,
        )
    axis.axhline(0, color=FAINT, linewidth=0.7)


def mark_trades(axis: Axes, fills: tuple[Fills, ...], tick: float) -> None:
    """Mark the trades of agents that stand alone; a population's would hide the price."""
    for agent in fills:
        if not agent.alone:
            continue
        for sign, word, marker in ((1, "buys", "^"), (-1, "sells", "v")):
            chosen = agent.signed_lots * sign > 0
            if chosen.any():
                axis.plot(
                    agent.time_ns[chosen],
                    agent.price_ticks[chosen] * tick,
                    linestyle="none",
                    marker=marker,
                    markersize=3.6,
                    markeredgewidth=0,
                    color=agent.colour,
                    alpha=0.75,
                    zorder=3,
                    label=f"{agent.name} {word}",
                )


def dot_trades(axis: Axes, tape: Tape, tick: float) -> Floats:
    """Draw all trades as dots; returns their prices, in currency."""
    prices = trade_price_ticks(tape) * tick
    if len(prices):
        axis.plot(
            tape.trades["time_ns"],
            prices,
            linestyle="none",
            marker=".",
            markersize=1.8,
            markeredgewidth=0,
            color=INK,
            alpha=0.25,
            rasterized=True,
        )
        axis.plot([], [], ".", markersize=5, color=INK, alpha=0.6, label="trades")
    return prices
