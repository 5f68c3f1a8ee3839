"""Windows of past orders, and the mid-price that follows, cut before anything is shuffled."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marketsim.metrics.observations import Observations, every
from marketsim.report import Floats, Ints

#: Orders that a forecast sees, and orders ahead of which it is.
PAST, AHEAD = 100, 10
#: A tape is cut into so many blocks; of each five, windows of three are for training, then one for
#: validation, one for tests.
BLOCKS = 20
PARTS = ("train", "train", "validation", "train", "test")
#: Windows of each part at most, evenly spaced.
MOST = {"train": 4_000, "validation": 1_000, "test": 3_000}
#: Rows that are shuffled, of more a random part, and windows of them: there is little to learn.
MOST_SHUFFLED_ROWS = 100_000
MOST_SHUFFLED = {"train": 1_000, "validation": 400, "test": 1_500}
#: Orders of the shortest block that is cut, and of the shortest tape.
BLOCK_ORDERS = 300
MIN_ORDERS = BLOCK_ORDERS * len(PARTS)


@dataclass(frozen=True)
class Windows:
    """Windows of one tape; window ``i`` ends with the observation ``last[i]``.

    Attributes
    ----------
    features : float32[n, 8], columns that are the same wherever the window ends.
    price : float64[n, 3], prices [currency].
    mid : float64[n], mid-price [currency].
    last : part -> int64[m], ends of its windows.
    relative : whether prices are given relative to the mid-price at the window's end, and the
        target is the change from there; otherwise both are levels.
    """

    features: NDArray[np.float32]
    price: Floats
    mid: Floats
    last: dict[str, Ints]
    relative: bool

    def inputs(self, last: Ints) -> tuple[NDArray[np.float32], Floats]:
        """Features, float32[m, PAST, 8], and prices, float64[m, PAST, 3], of windows."""
        rows = last[:, None] + np.arange(1 - PAST, 1)
        price = self.price[rows]
        return self.features[rows], price - self.mid[last][
            :, None, None
        ] if self.relative else price

    def targets(self, last: Ints) -> Floats:
        """Mid-price ``AHEAD`` orders after each window, or its change until then [currency]."""
        after = self.mid[last + AHEAD]
        return after - self.mid[last] if self.relative else after


def cut_windows(seen: Observations) -> Windows:
    """Windows in blocks of a session: none reaches from one block into another.

    So no observation is in two parts, and each part has all times of the day.
    """
    count = len(seen)
    blocks = min(BLOCKS, count // BLOCK_ORDERS) // len(PARTS) * len(PARTS)
    edges = np.linspace(0, count, blocks + 1).astype(np.int64)
    last: dict[str, list[Ints]] = {part: [] for part in MOST}
    for block, (start, stop) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        ends = np.arange(start + PAST - 1, stop - AHEAD)
        last[PARTS[block % len(PARTS)]].append(ends)
    features = np.concatenate([seen.order, seen.touch_size], axis=1)
    return Windows(features, seen.price, seen.mid, _thin(last, MOST), relative=True)


def shuffled_windows(seen: Observations, rng: np.random.Generator) -> Windows:
    """Windows of shuffled rows and levels of the mid-price, as the paper's framework cuts them."""
    order = rng.permutation(len(seen))[:MOST_SHUFFLED_ROWS]
    ends = np.arange(PAST - 1, len(order) - AHEAD)
    train, validation = int(0.6 * len(ends)), int(0.8 * len(ends))
    parts = np.split(ends, [train, validation])
    last = {part: [found] for part, found in zip(MOST, parts, strict=True)}
    features = np.concatenate([seen.order[order], seen.touch_size[order]], axis=1)
    price = seen.price[order]
    thin = _thin(last, MOST_SHUFFLED)
    return Windows(features, price, price[:, 1:].mean(axis=1), thin, relative=False)


def _thin(last: dict[str, list[Ints]], most: dict[str, int]) -> dict[str, Ints]:
    joined = {part: np.concatenate(found) for part, found in last.items()}
    return {part: ends[every(len(ends), most[part])] for part, ends in joined.items()}
