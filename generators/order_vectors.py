"""Orders as vectors to be diffused, and the books before them; the same in training and simulation.

A vector holds price against the mid, size, side, depth and offset, then the row of its kind in a
fixed embedding: the first five standardised, sizes and offsets as logarithms by choice. Books are
those of the tokens of :mod:`marketsim.generators.orders`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from marketsim.compile import entry
from marketsim.flow import FLOW, LEVELS, Flow, Order, View
from marketsim.generators.flows import array_of
from marketsim.generators.orders import (
    FEATURES,
    MARKET,
    Vocabulary,
    best_of,
    signed_log,
    token_features,
    twice_mid,
)
from marketsim.order_events import Event

Floats = NDArray[np.float32]

#: Numbers of an order that are standardised, of its kind, of both, and of a book.
NUMBERS, KINDS = 5, 3
ORDER, BOOK = NUMBERS + KINDS, 4 * LEVELS
PRICE, SIZE, SIDE, DEPTH, OFFSET = range(NUMBERS)

#: Rows of kinds: equally far from each other, of unit variance where kinds are equally frequent.
#: They are fixed: rows that are learned with the noise run away from each other.
KIND_ROWS = (3 / math.sqrt(2) * (np.eye(KINDS) - 1 / KINDS)).astype(np.float32)
#: Logarithm of offsets: of the time and a microsecond [ns].
SOON_NS = 1e3


@entry
def _vectors(flow, before_ns, tails, unit, mean, deviation, scale, kind_rows, orders, books):
    """Vectors of events, and of the books before them; ``before_ns`` is the time of the event
    before the first. ``scale``: float32[2, NUMBERS], means and deviations."""
    token = np.empty(FEATURES, np.float32)
    for i in range(len(flow)):
        event = flow[i]
        token_features(event, 0, event.book, unit, mean, deviation, token)
        books[i] = token[:BOOK]
        offset_ns = event.time_ns - before_ns
        before_ns = event.time_ns
        away = (2 * event.price_ticks - twice_mid(event.book)) / (2 * unit)
        best, _ = best_of(event.book, event.side)
        depth = 0.0 if event.kind == MARKET else (best - event.price_ticks) * event.side / unit
        row = orders[i]
        row[PRICE] = signed_log(away) if tails else away
        row[SIZE] = np.log(event.size_lots) if tails else event.size_lots
        row[SIDE] = event.side
        row[DEPTH] = signed_log(depth) if tails else depth
        row[OFFSET] = np.log(offset_ns + SOON_NS) if tails else offset_ns / 1e9
        for j in range(NUMBERS):
            row[j] = (row[j] - scale[0, j]) / scale[1, j]
        for j in range(KINDS):
            row[NUMBERS + j] = kind_rows[event.kind, j]


@dataclass(frozen=True)
class OrderScale:
    """How orders become vectors, fitted to training data.

    Attributes
    ----------
    bins : Vocabulary, whose unit and statistics of books are used.
    tails : whether price, size, depth and offset are taken as logarithms.
    scale : float32[2, NUMBERS], means and deviations; of the side 0 and 1.
    bounds : float32[2, ORDER], the least and the largest of standardised vectors; what is drawn
        is not larger.
    """

    bins: Vocabulary
    tails: bool
    scale: Floats
    bounds: Floats

    @classmethod
    def fit(cls, flows: Sequence[Flow], tails: bool) -> "OrderScale":
        """Fit to flows; raises :class:`DataError` if they are too short."""
        plain = np.array([[0.0] * NUMBERS, [1.0] * NUMBERS], np.float32)
        wide = np.zeros((2, ORDER), np.float32)
        raw = cls(Vocabulary.fit(list(flows)), tails, plain, wide)
        numbers = np.concatenate([raw.vectors(flow[1:], _time(flow))[0] for flow in flows])
        numbers = numbers[:, :NUMBERS].astype(np.float64)
        scale = np.stack([numbers.mean(0), np.maximum(numbers.std(0), 1e-3)]).astype(np.float32)
        scale[:, SIDE] = 0.0, 1.0
        fitted = cls(raw.bins, tails, scale, wide)
        vectors = np.concatenate([fitted.vectors(flow[1:], _time(flow))[0] for flow in flows])
        return cls(raw.bins, tails, scale, np.stack([vectors.min(0), vectors.max(0)]))

    @property
    def clip(self) -> float:
        """Bound of all numbers of standardised vectors."""
        return float(np.abs(self.bounds).max())

    def vectors(self, flow: Flow, before_ns: int) -> tuple[Floats, Floats]:
        """Vectors of events and of the books before them, float32[n, ORDER] and [n, BOOK].

        ``before_ns`` is the time of the event before the first.
        """
        orders = np.empty((len(flow), ORDER), np.float32)
        books = np.empty((len(flow), BOOK), np.float32)
        bins = self.bins
        _vectors(
            flow, before_ns, int(self.tails), bins.unit_ticks, bins.mean, bins.deviation,
            self.scale, KIND_ROWS, orders, books,
        )  # fmt: skip
        return orders, books

    def book(self, book: NDArray[np.int64]) -> Floats:
        """Vector of a book, float32[BOOK], as it will be with the event that meets it."""
        event = np.zeros(1, FLOW)
        event["book"], event["size_lots"], event["side"] = book, 1, 1
        vector: Floats = self.vectors(event, 0)[1][0]
        return vector

    def order(self, vector: Floats, view: View) -> Order | None:
        """The order that a vector tells, or None if there can be none.

        The kind is that of the nearest row, the side that of the sign; the price of a limit order
        is the best one less the depth. An order of no size, behind the tenth level or with nothing
        to take is none, and so is a limit order that would trade: it would be a market order.
        """
        if not np.isfinite(vector).all():
            return None
        vector = np.minimum(vector, self.bounds[1])
        numbers = (vector[:NUMBERS] * self.scale[1] + self.scale[0]).astype(float).tolist()
        apart = ((KIND_ROWS - vector[NUMBERS:]) ** 2).sum(axis=1)
        kind, side = Event(int(apart.argmin())), 1 if numbers[SIDE] > 0 else -1
        size, depth, offset = numbers[SIZE], numbers[DEPTH], numbers[OFFSET] * 1e9
        if self.tails:
            size, offset = math.exp(size), math.exp(numbers[OFFSET]) - SOON_NS
            depth = math.copysign(math.expm1(min(abs(depth), 30.0)), depth)
        lots, delay_ns = round(size), max(round(offset), 0)
        price = placed(kind, side, round(depth * self.bins.unit_ticks), view)
        if lots < 1 or price is None:
            return None
        return Order(int(kind), side, price, lots, delay_ns)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Its arrays by name, as :meth:`of` reads them."""
        bins = {f"bins.{name}": array for name, array in self.bins.arrays().items()}
        return {**bins, "scale": self.scale, "bounds": self.bounds}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], tails: bool) -> "OrderScale":
        """The inverse of :meth:`arrays`; raises KeyError or ValueError."""
        bins = {k.removeprefix("bins."): v for k, v in arrays.items() if k.startswith("bins.")}
        return cls(
            Vocabulary.of(bins),
            tails,
            array_of(arrays, "scale", (2, NUMBERS), np.float32),
            array_of(arrays, "bounds", (2, ORDER), np.float32),
        )


@dataclass
class PastOrders:
    """The last orders of a market, oldest first.

    Attributes
    ----------
    orders : float32[kept, ORDER].
    books : float32[kept, BOOK], the books before them.
    time_ns : of the last one.
    """

    orders: Floats
    books: Floats
    time_ns: int

    @classmethod
    def at_end_of(cls, flow: Flow, scale: OrderScale) -> Self:
        """All but the first order of a flow."""
        orders, books = scale.vectors(flow[1:], int(flow["time_ns"][0]))
        return cls(orders, books, int(flow["time_ns"][-1]))

    @classmethod
    def of(cls, packed: Mapping[str, Any], kept: int) -> Self:
        """From its own attributes, ``kept`` orders of them."""
        orders, books = (
            np.array(packed["orders"], np.float32),
            np.array(packed["books"], np.float32),
        )
        return cls(orders.reshape(kept, ORDER), books.reshape(kept, BOOK), int(packed["time_ns"]))

    def read(self, flow: Flow, scale: OrderScale) -> None:
        """Append new events; the oldest go."""
        if not len(flow):
            return
        orders, books = scale.vectors(flow, self.time_ns)
        kept = len(self.orders)
        self.orders = np.concatenate([self.orders, orders])[-kept:]
        self.books = np.concatenate([self.books, books])[-kept:]
        self.time_ns = int(flow["time_ns"][-1])


def placed(kind: Event, side: int, depth_ticks: int, view: View) -> int | None:
    """Price of an order at a depth, or None if it cannot be there."""
    own, other = (0, 2) if side > 0 else (2, 0)
    book = view.book
    if kind == Event.MARKET:
        return int(book[0, other]) if book[0, other + 1] > 0 else None
    if book[0, own + 1] == 0 and book[0, other + 1] == 0:
        return None
    if kind == Event.CANCEL and not view.own_lots[:, own // 2].any():
        return None
    best = int(book[0, own] if book[0, own + 1] > 0 else book[0, other])
    price = best - side * depth_ticks
    if book[-1, own + 1] > 0 and side * (int(book[-1, own]) - price) > 0:
        return None
    if kind == Event.LIMIT and book[0, other + 1] > 0 and side * (int(book[0, other]) - price) <= 0:
        return None
    return price


def _time(flow: Flow) -> int:
    return int(flow["time_ns"][0])
