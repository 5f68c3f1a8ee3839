"""Order flow as numbers for models: one encoding for training and for simulation.

An event becomes four symbols: class (kind and side), depth, size, offset. *Depth* is the distance
in ticks from the best price of the order's own side before it, negative inside the spread; *offset*
the time since the event before. Each has a vocabulary of bins fitted to training data: exact
where the data are (ticks near the touch, round sizes), coarse in the tails. A **token** is what a
model reads before an event: the event before it and the book as it is now, in prices relative to
the mid. Everything is compiled and works row by row, so that a day in one call and a running market
event by event give the same bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketsim.compile import entry, helper
from marketsim.errors import DataError
from marketsim.flow import LEVELS, Flow, check_flow
from marketsim.generators.bins import (
    DEPTHS,
    OFFSETS,
    SIZES,
    depth_edges,
    offset_edges,
    size_edges,
    values_within,
)
from marketsim.generators.flows import array_of
from marketsim.order_events import Event

LIMIT, CANCEL, MARKET = int(Event.LIMIT), int(Event.CANCEL), int(Event.MARKET)
KINDS = 3
CLASSES = 2 * KINDS  #: kind * 2 + (side is sell)
SYMBOLS = (CLASSES, DEPTHS, SIZES, OFFSETS)
RECENT = 4  #: events whose prices are marked among the depths
PROFILE = 3 + RECENT  #: numbers that describe a depth, see :func:`depth_profile`
FEATURES = 4 * LEVELS + 6  #: numbers of a token, see :func:`token_features`


@dataclass(frozen=True)
class Vocabulary:
    """Bins of depths, sizes and offsets, fitted to training data.

    Attributes
    ----------
    unit_ticks : ticks of one unit of depth: 1 unless spreads are many ticks wide.
    depth_edges : int64[DEPTHS + 1], first depth of each bin [units].
    size_edges : int64[SIZES + 1], first size of each bin [lots].
    size_values : int64[SIZES, 16], quantiles of the sizes within each bin.
    offset_edges : int64[OFFSETS + 1], first offset of each bin [ns].
    offset_values : int64[OFFSETS, 16], quantiles of the offsets within each bin.
    mean, deviation : float32[FEATURES], of the features of tokens.
    """

    unit_ticks: int
    depth_edges: NDArray[np.int64]
    size_edges: NDArray[np.int64]
    size_values: NDArray[np.int64]
    offset_edges: NDArray[np.int64]
    offset_values: NDArray[np.int64]
    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    @classmethod
    def fit(cls, flows: "list[Flow]") -> "Vocabulary":
        """Fit the bins and the features' statistics to training flows.

        Raises
        ------
        DataError
            If there are fewer than 256 events, or some that no market could have.
        """
        for flow in flows:
            check_flow(flow)
        count = sum(len(flow) for flow in flows)
        if count < 256:
            raise DataError(f"flow: must have at least 256 events to fit bins, had {count}")
        books = np.concatenate([flow["book"][:, 0] for flow in flows])
        both = (books[:, 1] > 0) & (books[:, 3] > 0)
        if not both.any():
            raise DataError("flow: no event has a book with both sides")
        spread = np.median(books[both, 2] - books[both, 0])
        sizes = np.concatenate([flow["size_lots"] for flow in flows])
        offsets = np.concatenate([np.diff(flow["time_ns"]) for flow in flows])
        of_size, of_offset = size_edges(sizes), offset_edges(offsets)
        fitted = cls(
            max(1, int(spread) // 64),
            depth_edges(),
            of_size,
            values_within(sizes, of_size),
            of_offset,
            values_within(offsets, of_offset),
            np.zeros(FEATURES, np.float32),
            np.ones(FEATURES, np.float32),
        )
        features = np.concatenate([encode(flow, fitted).features for flow in flows])
        features = features.astype(np.float64)
        mean = features.mean(0).astype(np.float32)
        deviation = np.maximum(features.std(0), 1e-3).astype(np.float32)
        return cls(**{**vars(fitted), "mean": mean, "deviation": deviation})

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Its arrays by name, as :meth:`of` reads them."""
        return {name: np.atleast_1d(value) for name, value in vars(self).items()}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> "Vocabulary":
        """The inverse of :meth:`arrays`.

        Raises
        ------
        KeyError, ValueError
            If an array is missing, or is not what :meth:`arrays` can give.
        """
        whole = {
            "depth_edges": (DEPTHS + 1,), "size_edges": (SIZES + 1,), "size_values": (SIZES, 16),
            "offset_edges": (OFFSETS + 1,), "offset_values": (OFFSETS, 16), "unit_ticks": (1,),
        }  # fmt: skip
        found: dict[str, Any] = {
            name: array_of(arrays, name, shape, np.int64) for name, shape in whole.items()
        }
        for name in ("mean", "deviation"):
            found[name] = array_of(arrays, name, (FEATURES,), np.float32)
        for name, array in found.items():
            if name.endswith("edges") and (np.diff(array) <= 0).any():
                raise ValueError(f"{name}: must rise, did not")
            if name in ("unit_ticks", "deviation") and (array <= 0).any():
                raise ValueError(f"{name}: must be > 0, was not")
            found[name] = np.ascontiguousarray(array)
        return cls(**{**found, "unit_ticks": int(found["unit_ticks"][0])})


# -- compiled: one event, one token ------------------------------------------------------------


@helper
def bin_of(edges, value):
    """Bin of a value: edges[bin] <= value < edges[bin + 1]; beyond them the first or last."""
    low, high = 0, len(edges) - 2
    while low < high:
        middle = (low + high + 1) >> 1
        if edges[middle] <= value:
            low = middle
        else:
            high = middle - 1
    return low


@helper
def best_of(book, side):
    """Best price of a side and its lots; of an empty side that of the other, and 0 lots."""
    own, other = (0, 2) if side > 0 else (2, 0)
    if book[0, own + 1] > 0:
        return book[0, own], book[0, own + 1]
    return book[0, other], 0


@helper
def depth_of(book, side, price, unit):
    """Distance from the best price of the own side [units]; away from the market is positive."""
    best, _ = best_of(book, side)
    return (best - price) * side // unit


@helper
def signed_log(x):
    """sign(x) log(1 + abs(x))."""
    return np.log1p(x) if x >= 0 else -np.log1p(-x)


@helper
def twice_mid(book):
    """Bid and ask together; of an empty side, the other one's price stands in."""
    bid, _ = best_of(book, 1)
    ask, _ = best_of(book, -1)
    return bid + ask


@helper
def event_symbols(event, offset_ns, unit, depth_edges, size_edges, offset_edges, out):
    """Class, depth bin, size bin and offset bin of an event that met ``event.book``."""
    out[0] = event.kind * 2 + (1 if event.side < 0 else 0)
    depth = 0
    if event.kind != MARKET:
        depth = depth_of(event.book, event.side, event.price_ticks, unit)
    out[1] = bin_of(depth_edges, depth)
    out[2] = bin_of(size_edges, event.size_lots)
    out[3] = bin_of(offset_edges, offset_ns)


@helper
def token_features(event, offset_ns, book, unit, mean, deviation, out):
    """What a model reads: the event before (and the book it met), its offset, and the book now.

    Of each level the distance from the mid [log units] and its size [log lots]: bids, then asks;
    then spread, change of the mid, imbalance at the touch, the event's offset, its price against
    the mid, its size.
    """
    mid2 = twice_mid(book)
    for i in range(LEVELS):
        for half in range(2):
            size = book[i, 2 * half + 1]
            away = (mid2 - 2 * book[i, 2 * half]) * (1 - 2 * half)
            at = 2 * LEVELS * half + i
            out[at] = np.log1p(max(away, 0) / (2 * unit)) if size > 0 else 6.0
            out[at + LEVELS] = np.log1p(size)
    bid, ask = book[0, 1], book[0, 3]
    at = 4 * LEVELS
    out[at] = np.log1p(max(book[0, 2] - book[0, 0], 0) / unit) if bid > 0 and ask > 0 else 6.0
    out[at + 1] = signed_log((mid2 - twice_mid(event.book)) / (2 * unit))
    out[at + 2] = (bid - ask) / max(bid + ask, 1)
    out[at + 3] = np.log(offset_ns + 1e3) - np.log(1e6)
    out[at + 4] = signed_log((2 * event.price_ticks - mid2) / (2 * unit))
    out[at + 5] = np.log1p(event.size_lots)
    for i in range(FEATURES):
        out[i] = (out[i] - mean[i]) / deviation[i]


@helper
def depth_profile(book, side, recent, unit, depth_edges, out):
    """What rests at each depth of a side: out is float32[DEPTHS, PROFILE].

    Columns: log lots; whether a level is there; distance from the other side's best [log units], 0
    where an order would trade; then for each of the ``recent`` events (int64[RECENT, 2]: kind,
    price; latest first), whether it was at this depth: 1 for a limit order, -1 for a cancel, 0.5
    for a market order.
    """
    out[:, :] = 0.0
    best, lots = best_of(book, side)
    own, other = (0, 2) if side > 0 else (2, 0)
    room = 1 << 40  # depth at which an order would meet the other side, as a distance inwards
    if book[0, other + 1] > 0 and lots > 0:
        room = (book[0, other] - best) * side // unit
    for i in range(LEVELS):
        if book[i, own + 1] > 0:
            at = bin_of(depth_edges, (best - book[i, own]) * side // unit)
            out[at, 0] += book[i, own + 1]
            out[at, 1] = 1.0
    for at in range(DEPTHS):
        out[at, 0] = np.log1p(out[at, 0]) * 0.2
        inside = depth_edges[at + 1] - 1 + room  # of the bin's outermost depth
        out[at, 2] = np.log1p(inside) * 0.2 if inside > 0 else 0.0
    for i in range(RECENT):
        kind = recent[i, 0]
        depth = (best - recent[i, 1]) * side // unit
        mark = 1.0 if kind == LIMIT else (-1.0 if kind == CANCEL else 0.5)
        if kind >= 0 and depth >= depth_edges[0] and depth < depth_edges[DEPTHS]:
            out[bin_of(depth_edges, depth), 3 + i] = mark


@helper
def level_bin(book, kind, side, depth_bin, unit, depth_edges, size_edges):
    """Bin of the lots at an order's depth; of a market order, of the level that it meets."""
    if kind == MARKET:
        _, lots = best_of(book, -side)
        return bin_of(size_edges, lots)
    own = 0 if side > 0 else 2
    best, _ = best_of(book, side)
    lots = 0
    for i in range(LEVELS):
        if book[i, own + 1] > 0:
            if bin_of(depth_edges, (best - book[i, own]) * side // unit) == depth_bin:
                lots += book[i, own + 1]
    return bin_of(size_edges, lots)


@helper
def depth_allowed(profile, kind, at):
    """Whether an order can have a depth: a cancel needs a level, a limit order must not trade."""
    if kind == CANCEL:
        return profile[at, 1] > 0
    return profile[at, 2] > 0


# -- compiled: a whole flow ----------------------------------------------------------------------


@entry
def _encode(flow, unit, depth_edges, size_edges, offset_edges, mean, deviation, symbols, features):
    """Symbols of every event, and the token that comes before each from the third on."""
    for i in range(len(flow)):
        before_ns = flow[i - 1].time_ns if i > 0 else flow[i].time_ns
        offset_ns = flow[i].time_ns - before_ns
        event_symbols(flow[i], offset_ns, unit, depth_edges, size_edges, offset_edges, symbols[i])
        if i > 1:
            offset_ns = flow[i - 1].time_ns - flow[i - 2].time_ns
            token_features(flow[i - 1], offset_ns, flow[i].book, unit, mean, deviation, features[i])


@entry
def _targets(flow, rows, symbols, unit, depth_edges, size_edges, profiles, level_bins):
    """Profile of the own side and bin of the level of the events in ``rows``."""
    recent = np.empty((RECENT, 2), np.int64)
    for k in range(len(rows)):
        i = rows[k]
        kind, side = flow[i].kind, flow[i].side
        for back in range(RECENT):
            j = i - 1 - back
            recent[back, 0] = flow[j].kind if j >= 0 else -1
            recent[back, 1] = flow[j].price_ticks if j >= 0 else 0
        depth_profile(flow[i].book, side, recent, unit, depth_edges, profiles[k])
        level_bins[k] = level_bin(
            flow[i].book, kind, side, symbols[i, 1], unit, depth_edges, size_edges
        )


@dataclass(frozen=True)
class Encoded:
    """A flow in numbers.

    Attributes
    ----------
    flow : FLOW[n].
    symbols : int64[n, 4], class, depth bin, size bin and offset bin of each event.
    features : float32[n, FEATURES], the token before each event; the first two are 0.
    """

    flow: Flow
    symbols: NDArray[np.int64]
    features: NDArray[np.float32]


def encode(flow: Flow, vocabulary: Vocabulary) -> Encoded:
    """Encode a flow, ``FLOW[n]``.

    Raises
    ------
    DataError
        If the flow could be no market's, see :func:`marketsim.flow.check_flow`.
    """
    check_flow(flow)
    symbols = np.zeros((len(flow), 4), np.int64)
    features = np.zeros((len(flow), FEATURES), np.float32)
    v = vocabulary
    _encode(
        flow, v.unit_ticks, v.depth_edges, v.size_edges, v.offset_edges, v.mean, v.deviation,
        symbols, features,
    )  # fmt: skip
    return Encoded(flow, symbols, features)


@entry
def _event_values(flow, unit, values):
    for i in range(len(flow)):
        if flow[i].kind != MARKET:
            values[i, 0] = depth_of(flow[i].book, flow[i].side, flow[i].price_ticks, unit)
        values[i, 1] = flow[i].size_lots
        values[i, 2] = flow[i].time_ns - flow[i - 1].time_ns if i > 0 else 0


def event_values(flow: Flow, unit_ticks: int) -> NDArray[np.int64]:
    """Depth [units; of market orders 0], size [lots], offset [ns] of each event; int64[n, 3]."""
    values = np.zeros((len(flow), 3), np.int64)
    _event_values(flow, unit_ticks, values)
    return values


def targets(
    encoded: Encoded, rows: NDArray[np.int64], vocabulary: Vocabulary
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """What the heads need of the events in ``rows``: profiles and level bins.

    Returns
    -------
    profiles : float32[len(rows), DEPTHS, PROFILE], see :func:`depth_profile`.
    level_bins : int64[len(rows)], see :func:`level_bin`.
    """
    profiles = np.empty((len(rows), DEPTHS, PROFILE), np.float32)
    bins = np.empty(len(rows), np.int64)
    v = vocabulary
    _targets(
        encoded.flow, rows, encoded.symbols, v.unit_ticks, v.depth_edges, v.size_edges,
        profiles, bins,
    )  # fmt: skip
    return profiles, bins


def mirror(flow: Flow) -> Flow:
    """The flow of the mirrored market: buyers sell, sellers buy, prices are negated."""
    mirrored = flow.copy()
    mirrored["side"] *= -1
    mirrored["price_ticks"] *= -1
    mirrored["book"] = flow["book"][..., [2, 3, 0, 1]]
    mirrored["book"][..., [0, 2]] *= -1
    return mirrored
