"""Bins of depths, sizes and offsets: exact where the data are, coarse in the tails."""

import numpy as np
from numpy.typing import NDArray

DEPTHS, SIZES, OFFSETS = 103, 76, 64
_EXACT_LOW, _EXACT_HIGH = -32, 60
_INNER = (8, 32)  # how far the bins below the exact ones reach
_OUTER = (4, 12, 24, 40, 68, 132)


def depth_edges() -> NDArray[np.int64]:
    """First depth of each bin [units], and the end of the last one; int64[DEPTHS + 1]."""
    low = [_EXACT_LOW - reach for reach in _INNER[::-1]]
    exact = range(_EXACT_LOW, _EXACT_HIGH + 1)
    high = [_EXACT_HIGH + 1 + reach for reach in (0, *_OUTER)]
    edges = np.array([2 * low[0], *low, *exact, *high, 4 * high[-1]], np.int64)
    assert len(edges) == DEPTHS + 1
    return edges


def size_edges(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """First size of each bin, int64[SIZES + 1] [lots], and the end of the last one.

    The most frequent sizes are alone, those between have equal shares of the rest.
    """
    values, counts = np.unique(sizes, return_counts=True)
    alone = values[np.argsort(-counts, kind="stable")[: SIZES // 2]]
    edges = {1, *alone.tolist(), *(alone + 1).tolist()}
    rest = np.sort(sizes[~np.isin(sizes, alone)])
    wanted = SIZES
    while len(edges) < SIZES and wanted < 64 * SIZES and len(rest):
        at = np.linspace(0, len(rest) - 1, wanted).astype(int)
        for cut in rest[at[np.argsort(_bit_reversed(len(at)))]].tolist():
            if len(edges) == SIZES:
                break
            edges.add(cut)
        wanted *= 2
    largest = max(int(sizes.max()), *edges) + 1
    while len(edges) < SIZES:  # few different sizes: bins that nothing falls into
        edges.add(largest)
        largest += 1
    first = sorted(edges)[:SIZES]
    return np.array([*first, max(largest, first[-1] + 1)], np.int64)


def _bit_reversed(n: int) -> NDArray[np.int64]:
    """An order of n places in which every beginning is spread evenly."""
    bits = max(1, (n - 1).bit_length())
    return np.array([int(f"{i:0{bits}b}"[::-1], 2) for i in range(n)], np.int64)


def offset_edges(offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """First offset of each bin, int64[OFFSETS + 1] [ns], and the end of the last one.

    0 is alone, then bins of equal logarithms, drawn a little to equal shares.
    """
    positive = np.sort(offsets[offsets > 0])
    if not len(positive):
        positive = np.array([1, 2], np.int64)
    at = np.linspace(0, 1, OFFSETS)
    logs = np.log(positive.astype(np.float64))
    mixed = 0.1 * np.quantile(logs, at) + 0.9 * (logs[0] + (logs[-1] - logs[0]) * at)
    cuts = np.exp(mixed).astype(np.int64)
    cuts[0] = 1
    for i in range(1, OFFSETS):
        cuts[i] = max(cuts[i], cuts[i - 1] + 1)
    return np.array([0, *cuts[:-1], max(int(cuts[-1]), int(positive[-1])) + 1], np.int64)


def values_within(values: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """16 quantiles of the values in each bin, int64[bins, 16]; of an empty one, its ends."""
    within = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    order = np.argsort(within, kind="stable")
    bounds = np.searchsorted(within[order], np.arange(len(edges)))
    table = np.empty((len(edges) - 1, 16), np.int64)
    shares = (np.arange(16) + 0.5) / 16
    for i in range(len(table)):
        inside = np.sort(values[order[bounds[i] : bounds[i + 1]]])
        if not len(inside):
            inside = np.array([edges[i], edges[i + 1] - 1])
        table[i] = np.quantile(inside, shares, method="nearest")
    return table
