"""How near the mid-prices stayed to the paths that a return-path agent drew, and what others made.

The path of a symbol is its fundamental value; its points are where the drawn returns begin and end.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from marketsim.clock import NS_PER_MINUTE, NS_PER_SECOND
from marketsim.report import Floats, Ints, Touch, session, touch, trade_price_ticks

if TYPE_CHECKING:
    from marketsim.result import Run
    from marketsim.tape import Tape

#: Times of a curve over the run.
CURVE_POINTS = 721


@dataclass(frozen=True)
class FollowedPath:
    """A drawn path of one symbol, and the mid-price beside it.

    Attributes
    ----------
    points_ns : int64[k] – the path's points up to the run's end; ``path_ticks`` and ``mid_ticks``
        float64[k]: its price and the mid-price there, NaN where there was none yet.
    fine_ns, fine_path_ticks, fine_mid_ticks : the same by minute, or, of a path whose points are
        nearer to each other, sixty times from one to the next.
    """

    symbol: str
    tick_size: float
    quotes: Touch
    points_ns: Ints
    path_ticks: Floats
    mid_ticks: Floats
    fine_ns: Ints
    fine_path_ticks: Floats
    fine_mid_ticks: Floats

    @property
    def off_bps(self) -> Floats:
        """Mid-price less path at the points [bps of the path]."""
        return (self.mid_ticks / self.path_ticks - 1) * 1e4

    @property
    def fine_off_bps(self) -> Floats:
        """The same on the finer grid."""
        return (self.fine_mid_ticks / self.fine_path_ticks - 1) * 1e4

    @property
    def return_off_ticks(self) -> Floats:
        """Change of the mid-price less that of the path, from point to point, float64[k - 1]."""
        return np.diff(self.mid_ticks - self.path_ticks)

    @property
    def return_off_bps(self) -> Floats:
        """Log return of the mid-price less that of the path [bps], float64[k - 1]."""
        return np.diff(np.log(self.mid_ticks) - np.log(self.path_ticks)) * 1e4

    def statistics(self) -> dict[str, Any]:
        """JSON values; None where there was no mid-price."""
        off, tick = np.abs(self.fine_off_bps), self.tick_size
        known = np.isfinite(off).any()
        path = self.path_ticks
        return {
            "symbol": self.symbol,
            "path_open": float(path[0] * tick),
            "path_close": float(path[-1] * tick),
            "path_return": float(path[-1] / path[0] - 1),
            "return_off_median_ticks": _of(np.median, self.return_off_ticks),
            "return_off_largest_ticks": _of(np.max, self.return_off_ticks),
            "return_off_median_bps": _of(np.median, self.return_off_bps),
            "return_off_largest_bps": _of(np.max, self.return_off_bps),
            "off_median_bps": _of(np.median, off),
            "off_largest_bps": _of(np.max, off),
            "off_largest_at_ns": int(self.fine_ns[np.nanargmax(off)]) if known else None,
        }


def followed_paths(run: "Run") -> list[FollowedPath]:
    """The paths of the run's return-path agents, symbol by symbol; none if it has no such agent."""
    paths = []
    for entry in run.summary["agents"].values():
        if "path_step_ns" not in entry:
            continue
        for symbol in entry["symbols"]:
            paths.append(_followed(run, symbol, int(entry["path_step_ns"])))
    return paths


def _followed(run: "Run", symbol: str, step_ns: int) -> FollowedPath:
    tape, (times, prices) = run.tapes[symbol], run.fundamental[symbol]
    quotes = touch(tape)
    end_ns = min(quotes.end_ns, int(run.summary["now_ns"]))
    fine_step_ns = min(NS_PER_MINUTE, max(step_ns // 60, 1))
    grids = [np.arange(quotes.start_ns, end_ns + 1, step) for step in (step_ns, fine_step_ns)]
    values = []
    for grid in grids:
        values += [grid, np.interp(grid, times, prices), quotes.at(quotes.mid_ticks, grid)]
    return FollowedPath(symbol, float(tape.meta.get("tick_size") or 1.0), quotes, *values)


def _of(function: Any, values: Floats) -> float | None:
    known = np.abs(values[np.isfinite(values)])
    return float(function(known)) if len(known) else None


@dataclass(frozen=True)
class Curve:
    """Wealth of a strategy agent through time, fees paid, positions at the mid-price.

    Attributes
    ----------
    time_ns : int64[k]; ``value`` float64[k] – wealth as a multiple of the capital
    """

    agent: str
    agent_id: int
    strategy: str
    capital: float
    time_ns: Ints
    value: Floats


def equity_curves(run: "Run", points: int = CURVE_POINTS) -> list[Curve]:
    """A curve of each agent that trades a strategy."""
    start_ns, end_ns = session(run.tape)
    end_ns = max(min(end_ns, int(run.summary["now_ns"])), start_ns + NS_PER_SECOND)
    grid = np.linspace(start_ns, end_ns, points).astype(np.int64)
    mids: dict[str, Floats] = {}
    curves = []
    for name, entry in run.summary["agents"].items():
        if "strategy" not in entry or "capital" not in entry:
            continue
        wealth = np.full(points, float(entry["capital"]))
        for symbol in entry["held_lots"]:
            tape = run.tapes[symbol]
            if symbol not in mids:
                quotes = touch(tape)
                mids[symbol] = quotes.at(quotes.mid_ticks, grid)
            wealth += _earned(run, tape, int(entry["agent_id"]), grid, mids[symbol])
        value = wealth / float(entry["capital"])
        identity = name, int(entry["agent_id"]), str(entry["strategy"]), float(entry["capital"])
        curves.append(Curve(*identity, grid, value))
    return curves


def _earned(run: "Run", tape: "Tape", agent: int, grid: Ints, mid_ticks: Floats) -> Floats:
    """Money that an agent's trades of one symbol are worth at each time, fees paid."""
    trades, exchange = tape.trades, run.config.exchange
    price = trade_price_ticks(tape)
    change = np.zeros((2, len(grid)))  # cash [tick·lots], position [lots]
    for role, sign in (("taker", 1), ("maker", -1)):
        mine = np.flatnonzero(trades[f"{role}_agent_id"] == agent)
        lots = sign * trades["side"][mine] * trades["size_lots"][mine]
        worth = np.abs(price[mine] * lots)
        fees = worth * getattr(exchange, f"{role}_fee_bps") * 1e-4
        fees += np.abs(lots) * getattr(exchange, f"{role}_fee_ticks_per_lot")
        upto = np.searchsorted(trades["time_ns"][mine], grid, side="right")
        for row, amounts in enumerate((-price[mine] * lots - fees, lots)):
            change[row] += np.append(0.0, np.cumsum(amounts))[upto]
    cash, held = change
    unit = float(tape.meta.get("tick_size") or 1.0) * float(tape.meta.get("lot_size") or 1.0)
    earned: Floats = unit * (cash + np.where(held == 0, 0.0, held * mid_ticks))
    return earned
