"""A tape made ready to be measured: its session, touch, events and mid-price by minute."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from marketsim.clock import NS_PER_MINUTE, format_time
from marketsim.errors import DataError
from marketsim.metrics.section import NotDefined
from marketsim.order_events import Events, order_events
from marketsim.report import Floats, Ints, Touch, touch
from marketsim.tape import Tape

#: Fewer trades than these say nothing of order signs, shares and volume.
MIN_TRADES = 100
#: Fewer minutes than these say nothing of returns.
MIN_MINUTES = 30
#: Real windows that make the floor at most; spread evenly over the reference tape.
MAX_WINDOWS = 20


@dataclass(frozen=True)
class Sample:
    """One tape, within its session.

    Attributes
    ----------
    tape : the tape.
    quotes : its touch.
    events : its order events.
    """

    tape: Tape
    quotes: Touch
    events: Events

    @property
    def span_ns(self) -> int:
        return self.quotes.end_ns - self.quotes.start_ns

    @cached_property
    def minutes_ns(self) -> Ints:
        """Whole minutes counted from the open, the last within the session."""
        return np.arange(self.quotes.start_ns, self.quotes.end_ns + 1, NS_PER_MINUTE)

    @cached_property
    def log_mid(self) -> Floats:
        """Logarithm of the mid-price at each minute, from the first that is known on.

        Raises
        ------
        NotDefined
            Fewer than :data:`MIN_MINUTES` are known, or one is not positive.
        """
        self.check_book()
        mid = self.quotes.at(self.quotes.mid_ticks, self.minutes_ns)
        mid = mid[np.isfinite(mid)]
        if len(mid) <= MIN_MINUTES:
            raise NotDefined(f"{max(len(mid) - 1, 0)} minute returns, needs {MIN_MINUTES}")
        if mid.min() <= 0:
            raise NotDefined(f"mid-price must be > 0, was {mid.min():g} ticks")
        return np.log(mid)

    @cached_property
    def minute_volume(self) -> Floats:
        """Lots traded in each of the minutes that ``log_mid`` has returns of."""
        trades = self.tape.trades
        total = np.append(0, np.cumsum(trades["size_lots"]))
        at = np.searchsorted(trades["time_ns"], self.minutes_ns[-len(self.log_mid) :], side="right")
        return np.diff(total[at]).astype(np.float64)

    @cached_property
    def trades(self) -> int:
        return self.tape.trades.size

    def check_book(self) -> None:
        """Raise :class:`NotDefined` unless the book has two sides for some time."""
        if not self.tape.book.bid_price_ticks.shape[1]:
            raise NotDefined("the tape has no order book")
        if not (np.isfinite(self.quotes.mid_ticks) & (self.quotes.duration_ns > 0)).any():
            raise NotDefined("the book never has two sides")

    def check_trades(self) -> None:
        """Raise :class:`NotDefined` with fewer than :data:`MIN_TRADES` trades."""
        if self.trades < MIN_TRADES:
            raise NotDefined(f"{self.trades} trades, needs {MIN_TRADES}")


def take_sample(tape: Tape, name: str) -> Sample:
    """Make a tape ready.

    Raises
    ------
    DataError
        It has no orders within its session; ``name`` says which tape it is.
    """
    quotes = touch(tape)
    # A simulated tape tells of orders far from the touch, which a recorded one of so many levels
    # leaves out.
    levels = int(tape.meta["levels"]) if tape.book_form == "deltas" else None
    events = order_events(tape, quotes.start_ns, quotes.end_ns, levels)
    if not len(events):
        span = f"{format_time(quotes.start_ns)[:8]} to {format_time(quotes.end_ns)[:8]}"
        raise DataError(f"{name}: must have orders in its session, {span}, had none")
    return Sample(tape, quotes, events)


def real_windows(real: Sample, length_ns: int) -> list[Sample]:
    """Cut a tape into disjoint windows of equal length, for real-against-real distances.

    Returns
    -------
    list of Sample
        At most :data:`MAX_WINDOWS`, evenly chosen; windows without orders are left out.

    Raises
    ------
    NotDefined
        There is no room for two.
    """
    count = real.span_ns // length_ns if length_ns > 0 else 0
    if count < 2:
        raise NotDefined("no floor: the reference is shorter than two windows of this length")
    chosen = np.unique(np.linspace(0, count - 1, min(count, MAX_WINDOWS)).round().astype(np.int64))
    windows = []
    for number in chosen.tolist():
        start_ns = real.quotes.start_ns + number * length_ns
        part = real.tape.between(start_ns, start_ns + length_ns)
        try:
            windows.append(take_sample(part, "window"))
        except DataError:  # no order in this part of the day
            continue
    if len(windows) < 2:
        raise NotDefined("no floor: fewer than two windows of the reference have orders")
    return windows
