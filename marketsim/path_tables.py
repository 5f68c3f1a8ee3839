"""Tables of drawn paths and of the strategies that traded on them."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from marketsim.path_report import Curve, FollowedPath, equity_curves, followed_paths
from marketsim.report_tables import Grid, clock

if TYPE_CHECKING:
    from marketsim.result import Run

#: Points of a path that have a row each; of more, only the report's JSON tells.
MAX_POINT_ROWS = 50
#: Rows of the table of paths: words, what they are of, how it is shown.
_FACTS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("path, open", "path_open", "{:,.2f}".format),
    ("path, close", "path_close", "{:,.2f}".format),
    ("path, return", "path_return", "{:+.2%}".format),
    ("return of the mid-price off the path's [ticks]", "return_off_median_ticks", "{:,.2f}".format),
    ("– at most", "return_off_largest_ticks", "{:,.2f}".format),
    ("return of the mid-price off the path's [bps]", "return_off_median_bps", "{:,.3f}".format),
    ("– at most", "return_off_largest_bps", "{:,.3f}".format),
    ("mid-price off the path, all day [bps]", "off_median_bps", "{:,.3f}".format),
    ("– at most", "off_largest_bps", "{:,.3f}".format),
    ("– at", "off_largest_at_ns", clock),
)


def path_grids(run: "Run") -> list[Grid]:
    """Paths, how far the mid-prices were off, and what strategies made of them; [] without any."""
    paths, curves = followed_paths(run), equity_curves(run)
    grids = [_paths_grid(paths), _points_grid(paths)] if paths else []
    if paths and len(paths[0].points_ns) > MAX_POINT_ROWS:
        del grids[1]
    return [*grids, _strategies_grid(curves)] if curves else grids


def path_values(run: "Run") -> dict[str, Any]:
    """What the tables are made of, as JSON values; {} without paths and strategies."""
    values: dict[str, Any] = {}
    paths, curves = followed_paths(run), equity_curves(run)
    if paths:
        values["paths"] = [
            {
                **path.statistics(),
                "points_ns": path.points_ns.tolist(),
                "path_ticks": path.path_ticks.tolist(),
                "mid_ticks": _plain(path.mid_ticks),
            }
            for path in paths
        ]
    if curves:
        values["equity"] = {
            "time_ns": curves[0].time_ns.tolist(),
            "value": {curve.agent: _plain(curve.value) for curve in curves},
        }
    return values


def _paths_grid(paths: Sequence[FollowedPath]) -> Grid:
    """A column for each symbol."""
    found = [path.statistics() for path in paths]
    rows = [
        (words, *(show(one[key]) if one[key] is not None else "–" for one in found))
        for words, key, show in _FACTS
    ]
    caption = (
        "a return is from one of the path's points to the next; of what is off, the size of the"
        " median and of the largest"
    )
    headings = ("", *(path.symbol for path in paths))
    return Grid("Return path", headings, tuple(rows), caption)


def _points_grid(paths: Sequence[FollowedPath]) -> Grid:
    columns: list[list[str]] = [[clock(int(at))[:8] for at in paths[0].points_ns]]
    headings = ["at"]
    for path in paths:
        columns.append([f"{price * path.tick_size:,.2f}" for price in path.path_ticks])
        columns.append([_signed(value) for value in path.mid_ticks - path.path_ticks])
        columns.append([_signed(value) for value in path.off_bps])
        headings += [f"{path.symbol} path", "off, ticks", "bps"]
    return Grid(
        "Mid-prices at the path's points",
        tuple(headings),
        tuple(zip(*columns, strict=True)),
        "off: mid-price less path",
    )


def _strategies_grid(curves: Sequence[Curve]) -> Grid:
    rows = []
    for curve in curves:
        value = curve.value[np.isfinite(curve.value)]
        fallen = float((np.maximum.accumulate(value) - value).max(initial=0.0))
        last = float(value[-1]) if len(value) else math.nan
        rows.append(
            (
                curve.agent,
                curve.strategy,
                f"{curve.capital:,.2f}",
                f"{curve.capital * (last - 1):+,.2f}",
                f"{last - 1:+.3%}",
                f"{value.min(initial=math.inf) - 1:+.3%}",
                f"{fallen:.3%}",
            )
        )
    headings = ("agent", "strategy", "capital", "PnL", "return", "lowest", "fell by at most")
    return Grid("Strategies", headings, tuple(rows), "positions at the mid-price, fees paid")


def _plain(values: Any) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]


def _signed(value: float) -> str:
    return f"{value:+,.2f}" if math.isfinite(value) else "–"
