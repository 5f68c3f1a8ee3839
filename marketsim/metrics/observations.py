"""What a model of the market sees at each order: the order, and the book after it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marketsim.clock import NS_PER_SECOND
from marketsim.metrics.sample import Sample
from marketsim.metrics.section import NotDefined
from marketsim.order_events import Event
from marketsim.report import Floats, Ints

#: Columns of ``Observations.order``.
ORDER_COLUMNS = ("limit", "cancel", "market", "side", "log size", "log seconds")


@dataclass(frozen=True)
class Observations:
    """Order events after which the book has two sides, in order.

    Attributes
    ----------
    order : float32[n, 6], see :data:`ORDER_COLUMNS`; sizes in units of the asset.
    touch_size : float32[n, 2], log sizes of best bid and ask.
    price : float64[n, 3], of the order, best bid and best ask [currency].
    row : int64[n], row of the tape's book.
    """

    order: NDArray[np.float32]
    touch_size: NDArray[np.float32]
    price: Floats
    row: Ints

    def __len__(self) -> int:
        return len(self.row)

    @property
    def mid(self) -> Floats:
        """Mid-price, float64[n] [currency]."""
        mid: Floats = (self.price[:, 1] + self.price[:, 2]) / 2
        return mid


def observe(sample: Sample, minimum: int) -> Observations:
    """Return what is seen at the orders of a tape.

    Raises
    ------
    NotDefined
        Fewer than ``minimum`` of its orders leave a book of two sides.
    """
    sample.check_book()
    events, book = sample.events, sample.tape.book
    bid_lots, ask_lots = book.bid_size_lots[events.row, 0], book.ask_size_lots[events.row, 0]
    seen = np.flatnonzero((bid_lots > 0) & (ask_lots > 0))
    if len(seen) < minimum:
        raise NotDefined(f"{len(seen)} orders with a two-sided book, needs {minimum}")
    lot = float(sample.tape.meta.get("lot_size") or 1)
    tick = float(sample.tape.meta.get("tick_size") or 1)
    row, kind = events.row[seen], events.kind[seen]
    gaps_ns = np.diff(events.time_ns, prepend=events.time_ns[0])[seen]
    order = np.column_stack(
        [
            *(kind == int(one) for one in Event),
            events.side[seen],
            np.log1p(lot * events.size_lots[seen]),
            np.log10(np.maximum(gaps_ns, 1) / NS_PER_SECOND),
        ]
    )
    sizes = np.log(lot * np.column_stack([bid_lots[seen], ask_lots[seen]]))
    price = np.column_stack(
        [events.price_ticks[seen], book.bid_price_ticks[row, 0], book.ask_price_ticks[row, 0]]
    )
    return Observations(order.astype(np.float32), sizes.astype(np.float32), tick * price, row)


def every(count: int, wanted: int) -> Ints:
    """At most ``wanted`` of the numbers 0 to ``count - 1``, evenly spaced."""
    if count <= wanted:
        return np.arange(count)
    return np.linspace(0, count - 1, wanted).round().astype(np.int64)
