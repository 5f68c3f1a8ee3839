"""A day ahead: windows drawn for each test window from what was known when it began."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketsim.data.return_windows import UNKNOWN_S, Windows
from marketsim.errors import DataError

#: Days before a window from which the bootstrap draws.
DAYS = 30
#: Windows in them that it needs.
LEAST = 20
_DAY_S = 86_400


def known_before(windows: Windows, test: Windows, past: int) -> tuple[Windows, NDArray[Any]]:
    """Test windows of which the ``past`` returns before and enough recent windows are known.

    Parameters
    ----------
    windows : all there are, those of training and of the test among them

    Returns
    -------
    test : those windows
    pasts : float32[n, past, d], the returns before each

    Raises
    ------
    DataError
        If there are none.
    """
    returns, known = windows.pasts(past)
    before = {int(start): row for row, start in enumerate(windows.start_s) if known[row]}
    low, high = _recent(windows, test)
    rows = [
        row
        for row, start in enumerate(test.start_s)
        if int(start) in before and high[row] - low[row] >= LEAST
    ]
    if not rows:
        raise DataError(
            f"windows: of no test window are the {past} returns before it known, and {LEAST}"
            f" windows of the {DAYS} days before it"
        )
    chosen = test.take(rows)
    return chosen, returns[[before[int(start)] for start in chosen.start_s]]


def recent_before(windows: Windows, test: Windows, rng: np.random.Generator) -> Windows:
    """For each test window one of those that ended in the ``DAYS`` days before it began."""
    low, high = _recent(windows, test)
    order = np.argsort(windows.start_s, kind="stable")
    return windows.take(order[low + (rng.random(len(test)) * (high - low)).astype(np.int64)])


def _recent(windows: Windows, test: Windows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last but one of the windows before each test window, in order of time.

    A step lies between them: where prices are means of bars, neighbours share a bar.
    """
    starts = np.sort(windows.start_s, kind="stable")
    unknown = int((starts == UNKNOWN_S).sum())
    length_s = (windows.steps + 1) * windows.step_s
    high = np.searchsorted(starts, test.start_s - length_s, side="right")
    low = np.searchsorted(starts, test.start_s - DAYS * _DAY_S, side="left")
    return np.maximum(low, unknown), np.maximum(high, unknown)
