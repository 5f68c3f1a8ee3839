"""What bars and windows of returns hold, as tables of text."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from marketsim.data.crypto import are_bars, read_bars
from marketsim.data.return_windows import UNKNOWN_S, Windows, read_windows
from marketsim.data.tables import date_of
from marketsim.report_tables import Grid

if TYPE_CHECKING:
    from marketsim.data.bars import Bars

#: Gaps that are named; the others are counted.
GAPS_SHOWN = 20


def return_grids(path: Path) -> list[Grid] | None:
    """Tables of bars, or of an archive of windows; None where the path is of neither.

    Raises
    ------
    DataError : bars or windows that cannot be read
    """
    if path.suffix == ".npz":
        return [_windows_grid(read_windows(path))]
    if not are_bars(path):
        return None
    bars = read_bars(path)
    return [_bars_grid(bars), *_gap_grids(bars)]


def _bars_grid(bars: "Bars") -> Grid:
    """A row for each asset."""
    rows = []
    for column, symbol in enumerate(bars.symbols):
        there = np.flatnonzero(~np.isnan(bars.close[:, column]))
        first, last = there[0], there[-1]
        rows.append(
            (
                symbol,
                f"{len(there):,}",
                _minute(bars.time_s[first]),
                _minute(bars.time_s[last]),
                f"{last - first + 1 - len(there):,}",
                f"{bars.close[first, column]:g}",
                f"{bars.close[last, column]:g}",
            )
        )
    heads = ("asset", "bars", "from", "to", "missing", "first close", "last close")
    return Grid(f"Bars of {bars.step_s:,} s (UTC)", heads, tuple(rows))


def _gap_grids(bars: "Bars") -> list[Grid]:
    """Runs of missing bars inside assets, the longest first; no table where there are none."""
    gaps = bars.gaps
    inside = gaps[gaps["where"] == "inside"].sort_values("bars", ascending=False, kind="stable")
    if inside.empty:
        return []
    shown = inside.head(GAPS_SHOWN)
    more = len(inside) - len(shown)
    rows = tuple(
        (
            str(gap.symbol),
            f"{gap.bars:,}",
            f"{gap.first:%Y-%m-%d %H:%M}",
            f"{gap.last:%Y-%m-%d %H:%M}",
        )
        for gap in shown.itertuples()
    )
    heads = ("asset", "bars", "first missing", "last missing")
    return [Grid("Gaps", heads, rows, f"{more:,} shorter ones" if more else "")]


def _windows_grid(windows: Windows) -> Grid:
    known = windows.start_s[windows.start_s != UNKNOWN_S]
    returns = windows.log_returns.astype(np.float64)
    facts = {
        "windows": f"{len(windows):,}",
        "returns in each": f"{windows.steps:,}",
        "assets": ", ".join(windows.symbols),
        "step [s]": f"{windows.step_s:,}",
        "first start": _minute(known.min()) if len(known) else "unknown",
        "last start": _minute(known.max()) if len(known) else "unknown",
        "of unknown start": f"{len(windows) - len(known):,}",
        "mean return": ", ".join(f"{value:.6f}" for value in returns.mean(axis=(0, 1))),
        "deviation": ", ".join(f"{value:.6f}" for value in returns.std(axis=(0, 1))),
        "smallest": f"{returns.min():.4f}",
        "largest": f"{returns.max():.4f}",
    }
    return Grid("Windows of log returns (UTC)", (), tuple(facts.items()))


def _minute(time_s: float) -> str:
    return date_of(time_s)[:16]
