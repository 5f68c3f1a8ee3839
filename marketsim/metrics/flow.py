"""A tape as a stream of messages with the book after each: what LOB-Bench scores are made from."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from marketsim.codes import OrderKind
from marketsim.data.lobster_expand import expand
from marketsim.data.lobster_quick import expand_plain
from marketsim.errors import DataError
from marketsim.report import session
from marketsim.tape import Tape
from marketsim.tape_tables import BookTable, Table

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Levels of each side that LOB-Bench looks at.
LEVELS = 10
#: Fewest messages of a tape that anything can be said of.
MIN_EVENTS = 2

LIMIT, EXECUTION = int(OrderKind.LIMIT), int(OrderKind.EXECUTION)
CANCELS = (int(OrderKind.REDUCE), int(OrderKind.CANCEL))


@dataclass(frozen=True)
class Flow:
    """Messages of kinds ``LIMIT``, ``REDUCE``, ``CANCEL`` and ``EXECUTION``, in their order.

    Attributes
    ----------
    time_ns, kind, order_id, side, price_ticks, size_lots : int64[n]
        As in a tape's orders; the side of an execution is that of the resting order.
    book : BookTable
        Snapshots, of which ``book_row`` int64[n] says the one after each message: books are large,
        and are not copied.
    start_ns, end_ns : int
        The session.
    """

    time_ns: Ints
    kind: Ints
    order_id: Ints
    side: Ints
    price_ticks: Ints
    size_lots: Ints
    book: BookTable
    book_row: Ints
    start_ns: int
    end_ns: int

    @property
    def size(self) -> int:
        """Number of messages."""
        return len(self.time_ns)

    @property
    def span_ns(self) -> int:
        """Time from the first message to the last."""
        return int(self.time_ns[-1] - self.time_ns[0])

    @property
    def levels(self) -> int:
        """Levels of each side, at most :data:`LEVELS`."""
        return min(LEVELS, self.book.levels)

    def lots(self, side: str, level: int = 0) -> Ints:
        """Size on a level of the ``"bid"`` or ``"ask"`` side, int64[n]; 0 where it is empty."""
        if level >= self.levels:
            return np.zeros(self.size, np.int64)
        sizes: Ints = getattr(self.book, f"{side}_size_lots")[self.book_row, level]
        return sizes

    def price(self, side: str, level: int = 0) -> Ints:
        """Price of a level [ticks], int64[n]; meaningless where it is empty."""
        if level >= self.levels:
            return np.zeros(self.size, np.int64)
        prices: Ints = getattr(self.book, f"{side}_price_ticks")[self.book_row, level]
        return prices

    @cached_property
    def two_sided(self) -> Bools:
        """Where both sides of the book hold something, bool[n]."""
        return (self.lots("bid") > 0) & (self.lots("ask") > 0)

    @cached_property
    def mid_ticks(self) -> Floats:
        """Mid-price, float64[n]; NaN where a side is empty."""
        mid = (self.price("bid") + self.price("ask")) / 2
        return np.where(self.two_sided, mid, np.nan)

    @cached_property
    def spread_ticks(self) -> Floats:
        """Spread, float64[n]; NaN where a side is empty."""
        spread = self.price("ask") - self.price("bid")
        return np.where(self.two_sided, spread, np.nan)

    @cached_property
    def mid_change_ticks(self) -> Floats:
        """Change of the mid-price by each message, float64[n]; NaN where it is not known."""
        return np.diff(self.mid_ticks, prepend=np.nan)

    def part(self, first: int, last: int) -> "Flow":
        """Messages ``first`` to ``last``, exclusive, of the same session."""
        rows = slice(first, last)
        return Flow(
            self.time_ns[rows],
            self.kind[rows],
            self.order_id[rows],
            self.side[rows],
            self.price_ticks[rows],
            self.size_lots[rows],
            self.book,
            self.book_row[rows],
            self.start_ns,
            self.end_ns,
        )


def flow_of(tape: Tape, name: str = "tape") -> Flow:
    """Return a tape's messages within its session, in LOBSTER's words.

    A simulated order that trades on entry becomes one execution for each resting order that it
    met and a limit order for what is left of it; see :func:`marketsim.data.lobster_expand.expand`.
    Executions of hidden orders, crosses and halts are left out, as in the data sets of LOB-Bench;
    so is what happens from the close on.

    Parameters
    ----------
    name : what errors call the tape.

    Raises
    ------
    DataError
        Fewer than two messages are left.
    """
    orders, book = (tape.orders, tape.book) if in_lobster_words(tape) else _expanded(tape)
    start_ns, end_ns = session(tape)
    times = orders["time_ns"]
    inside = (times >= start_ns) & (times < max(end_ns, start_ns + 1))
    if end_ns == int(times[-1] if len(times) else 0) and tape.meta.get("close_ns") is None:
        inside |= times == end_ns  # the session was read off the last message: it belongs to it
    kept = inside & (orders["kind"] >= LIMIT) & (orders["kind"] <= EXECUTION)
    if kept.sum() < MIN_EVENTS:
        raise DataError(
            f"{name}: must have at least {MIN_EVENTS} messages between its open and close,"
            f" had {int(kept.sum())} of {len(times)} rows"
        )
    rows = np.flatnonzero(kept)
    columns = {
        key: orders[key][rows].astype(np.int64, copy=False)
        for key in ("time_ns", "kind", "order_id", "side", "price_ticks", "size_lots")
    }
    return Flow(**columns, book=book, book_row=rows, start_ns=start_ns, end_ns=end_ns)


def _expanded(tape: Tape) -> tuple[Table, BookTable]:
    quick = expand_plain(tape)
    return expand(tape) if quick is None else quick


def in_lobster_words(tape: Tape) -> bool:
    """Whether each row of orders is one change of the visible book already."""
    orders: Table = tape.orders
    if (orders["kind"] > OrderKind.HALT).any() or (orders["hidden_lots"] > 0).any():
        return False
    traded = np.unique(tape.trades["sequence"])
    kinds = orders["kind"][traded[(traded >= 0) & (traded < orders.size)]]
    return not (kinds == LIMIT).any()
