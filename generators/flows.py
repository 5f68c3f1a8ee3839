"""What all generators learn from, and the quotes they count prices from if a side is empty."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from marketsim.errors import DataError, ModelError
from marketsim.flow import Flow, Order, View, flow_of
from marketsim.order_events import Event
from marketsim.tape import Tape

#: Columns of a book by side of the order, buys first: price and size of its own and the other side.
OWN_PRICE, OWN_SIZE, OTHER_PRICE, OTHER_SIZE = (0, 2), (1, 3), (2, 0), (3, 1)
SIDES = (1, -1)


def training_flows(tapes: Sequence[Tape], at_least: int) -> tuple[list[Flow], float]:
    """Return the flow of each tape, and the tick size that they share.

    Raises
    ------
    DataError
        If there is no tape, or one has no book, too few events, another tick size, or none.
    """
    if not tapes:
        raise DataError("tapes: must be one or more, was none")
    tick_size = float(tapes[0].meta["tick_size"])
    if not 0 < tick_size < math.inf:
        raise DataError(f"tape 0: tick_size must be > 0, was {tick_size}")
    flows = []
    for number, tape in enumerate(tapes):
        found = float(tape.meta["tick_size"])
        if found != tick_size:
            raise DataError(
                f"tape {number}: tick_size must be that of the others, {tick_size}, was {found}"
            )
        flow = flow_of(tape)
        if len(flow) < at_least:
            raise DataError(f"tape {number}: needs {at_least} order events, has {len(flow)}")
        flows.append(flow)
    return flows, tick_size


def need_context(flow: Flow, context: int) -> None:
    """Raise :class:`ModelError` if there are too few events to start from."""
    if len(flow) < context:
        raise ModelError(
            f"flow: must have at least {context} events to start from, had {len(flow)}"
        )


@dataclass
class Quotes:
    """Best prices; of a side that is empty the last ones known, kept apart from the other side.

    Attributes
    ----------
    bid_ticks, ask_ticks : int
    """

    bid_ticks: int
    ask_ticks: int

    @classmethod
    def at_end_of(cls, flow: Flow) -> Self:
        """Quotes of the last books of a flow that have them, else next to its last price."""
        book, last = flow["book"][:, 0], int(flow["price_ticks"][-1])
        bids = np.flatnonzero(book[:, 1] > 0)
        asks = np.flatnonzero(book[:, 3] > 0)
        bid = int(book[bids[-1], 0]) if len(bids) else min(last, *book[asks[-1:], 2]) - 1
        ask = int(book[asks[-1], 2]) if len(asks) else max(last, bid) + 1
        return cls(bid, max(ask, bid + 1))

    def follow(self, book: NDArray[np.int64]) -> None:
        """Take over the quotes of a book, int64[levels, 4]."""
        bid, bid_lots, ask, ask_lots = (int(value) for value in book[0])
        if bid_lots:
            self.bid_ticks = bid
        if ask_lots:
            self.ask_ticks = ask
        if self.ask_ticks <= self.bid_ticks:  # the last known of the empty side was overtaken
            if bid_lots:
                self.ask_ticks = self.bid_ticks + 1
            else:
                self.bid_ticks = self.ask_ticks - 1


class Sizes:
    """Empirical distribution of sizes, by kind of event.

    Parameters
    ----------
    table : int64[n, 3]
        Kind, size [lots], how often; rows sorted by kind and size.
    """

    def __init__(self, table: NDArray[np.int64]) -> None:
        self.table = table
        self._lots, self._share = [], []
        for kind in Event:
            rows = table[table[:, 0] == int(kind)]
            lots, count = (rows[:, 1], rows[:, 2]) if len(rows) else (np.ones(1), np.ones(1))
            self._lots.append(lots.astype(np.int64))
            self._share.append(np.cumsum(count) / count.sum())

    @classmethod
    def of(cls, flows: Sequence[Flow]) -> Self:
        """Count the sizes of flows."""
        pairs = np.concatenate([np.column_stack([f["kind"], f["size_lots"]]) for f in flows])
        values, count = np.unique(pairs, axis=0, return_counts=True)
        return cls(np.column_stack([values, count]).astype(np.int64))

    def draw(self, kind: Event, rng: np.random.Generator) -> int:
        """A size of a kind of event [lots]."""
        at = self._share[kind].searchsorted(rng.random(), side="right")
        return int(self._lots[kind][at])


def safe_order(view: View, rejected: int, last_ticks: int = 1) -> Order:
    """An order that is always possible: 100 lots at the best price of the thinner side.

    ``last_ticks``, the price of the last event that was seen, stands in for an empty book's.
    """
    book = view.book
    side = 1 if book[0, 1] <= book[0, 3] else -1
    own, other = (0, 2) if side > 0 else (2, 0)
    price = last_ticks
    if book[0, own + 1] > 0:
        price = int(book[0, own])
    elif book[0, other + 1] > 0:
        price = int(book[0, other]) - side
    elif len(view.flow):
        price = int(view.flow["price_ticks"][-1])
    return Order(int(Event.LIMIT), side, price, 100, 10_000_000, rejected, fallback=True)


def array_of(
    arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int | None, ...], dtype: type
) -> NDArray[Any]:
    """Array ``name`` of a saved model, checked; a length of None is any.

    Raises
    ------
    KeyError, ValueError
        If it is missing, or has another shape or type, or a value that is not finite.
    """
    array = arrays[name]
    fits = array.ndim == len(shape) and all(
        want in (None, have) for want, have in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype != dtype:
        raise ValueError(
            f"{name}: must be {np.dtype(dtype)}{list(shape)}, was {array.dtype}{list(array.shape)}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: must be finite")
    return array
