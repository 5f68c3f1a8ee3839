"""How long orders live that have fallen out of sight, beyond the last level that a tape shows.

A tape of 10 levels says nothing of an order once 10 better levels stand before it. When the market
comes back, some of what was there is gone. A generated flow knows no cancels out of sight, so its
far levels would only ever grow: the world agent lets them die at the rate measured here.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from marketsim.flow import LEVELS, book_array
from marketsim.tape import Tape

_LEAST = 50  #: returns into sight that are needed to tell
_SHORTEST_S, _LONGEST_S = 1.0, 1e5


def life_out_of_sight_s(tape: Tape, rows: int | None = None) -> float:
    """Mean life [s] of a lot that is out of sight; infinite if too few came back to tell.

    The maximum of the likelihood of what was left of the lots of each level that went out of sight
    and came back after a known time, were every lot to die at the same rate.
    """
    book = book_array(tape, LEVELS)[:rows]
    times_s = tape.book.time_ns[:rows] / 1e9
    away_s, kept, gone = (
        np.concatenate(parts)
        for parts in zip(
            *(_returns(book[:, :, half : half + 2], times_s, sign)
              for half, sign in ((0, 1), (2, -1))),
            strict=True,
        )
    )  # fmt: skip
    if len(away_s) < _LEAST or not gone.any():
        return math.inf

    def minus_log_likelihood(log_life: float) -> float:
        share = away_s / math.exp(log_life)
        return float((kept * share - gone * np.log(-np.expm1(-share))).sum())

    bounds = (math.log(_SHORTEST_S), math.log(_LONGEST_S))
    found = minimize_scalar(minus_log_likelihood, bounds=bounds, method="bounded")
    return float(math.exp(found.x))


def _returns(
    side_book: NDArray[np.int64], times_s: NDArray[np.float64], sign: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Levels that went out of sight and came back: seconds away, lots kept, lots gone.

    side_book : int64[n, LEVELS, 2], price and size, best first; sign: 1 for bids.
    """
    price, size = side_book[..., 0] * sign, side_book[..., 1]
    full = size[:, -1] > 0
    last = np.where(full, price[:, -1], np.iinfo(np.int64).min)  # all is in sight from here up
    falls_out = (price[:-1] < last[1:, None]) & (size[:-1] > 0)
    rows, levels = np.nonzero(falls_out)
    away, kept, gone = [], [], []
    for row, level in zip(rows.tolist(), levels.tolist(), strict=True):
        at, lots = price[row, level], size[row, level]
        back = _first_not_above(last, row + 1, int(at))
        if back < 0 or times_s[back] <= times_s[row + 1]:
            continue
        there = int(size[back][(price[back] == at) & (size[back] > 0)].sum())
        away.append(times_s[back] - times_s[row + 1])
        kept.append(min(there, int(lots)))
        gone.append(max(int(lots) - there, 0))
    return np.array(away, float), np.array(kept, np.int64), np.array(gone, np.int64)


def _first_not_above(last: NDArray[np.int64], start: int, price: int) -> int:
    """First row from ``start`` on that shows a price again; -1 if none does."""
    step = 256
    while start < len(last):
        shown = np.flatnonzero(last[start : start + step] <= price)
        if len(shown):
            return start + int(shown[0])
        start += step
        step *= 4
    return -1
