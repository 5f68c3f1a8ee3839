"""Stationary block bootstrap of recorded order flow, told relative to the book that it meets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from marketsim.checks import boolean, number
from marketsim.errors import ConfigError, DataError, ModelError
from marketsim.flow import Flow, Order, View
from marketsim.generators.base import FitProgress, OrderFlowGenerator
from marketsim.generators.flows import Quotes, array_of, need_context, training_flows
from marketsim.order_events import Event
from marketsim.tape import Tape

Ints = NDArray[np.int64]

#: Columns of the recorded events; see :func:`recorded`.
KIND, SIDE, DEPTH, SIZE, GAP, SPREAD = range(6)
#: Buckets of the spread, of equal numbers of events, for jumps to books that look alike.
BUCKETS = 10
#: Recorded events that are passed over at a time because the market cannot carry them out.
MAX_REJECTS = 10


def recorded(flow: Flow) -> Ints:
    """A flow's events from the second on, relative to their books; int64[n, 6].

    Kind, side, depth from the best price of the own side before [ticks, less than 0 is inside the
    spread], size [lots], time since the event before [ns], spread before [ticks, 0 if there is
    none]. Where the own side was empty the depth counts as 0.
    """
    book, side = flow["book"][:, 0], flow["side"]
    own = np.where(side > 0, book[:, 0], book[:, 2])
    there = np.where(side > 0, book[:, 1], book[:, 3]) > 0
    depth = np.where(there, side * (own - flow["price_ticks"]), 0)
    quoted = (book[:, 1] > 0) & (book[:, 3] > 0)
    spread = np.where(quoted, book[:, 2] - book[:, 0], 0)
    gap_ns = np.diff(flow["time_ns"])
    columns = [flow["kind"], side, depth, flow["size_lots"]]
    return np.column_stack([*(column[1:] for column in columns), gap_ns, spread[1:]])


@dataclass
class Place:
    """Where a market is in the recorded flow.

    Attributes
    ----------
    at : int, the recorded event that was written last, or -1.
    due_ns : int, when it is due.
    quotes : Quotes
    """

    at: int
    due_ns: int
    quotes: Quotes


class BlockBootstrap(OrderFlowGenerator):
    """Recorded orders again, in runs of geometric length from random places.

    An order that another agent's order overtakes stays due at its time. What the market cannot
    carry out is passed over, and so is a limit order that would cross, as the recorded one rested:
    held back from crossing instead, orders pile up and the spread stays at one tick.

    Parameters
    ----------
    mean_block : float
        Mean length of a run [events].
    match_spread : bool
        Whether runs begin at events that met a spread like the present one, in ten buckets.

    References
    ----------
    Politis & Romano (1994), The stationary bootstrap, Journal of the American Statistical
    Association 89(428).
    """

    name = "bootstrap"

    def __init__(self, mean_block: float = 200.0, match_spread: bool = False) -> None:
        self.mean_block = number("mean_block", mean_block)
        if self.mean_block < 1:
            raise ConfigError(f"mean_block must be >= 1, was {mean_block!r}")
        self.match_spread = boolean("match_spread", match_spread)
        self.tick_size: float | None = None

    def fit(self, tapes: Sequence[Tape], *, valid: Sequence[Tape] = (), seed: int = 0,
            progress: FitProgress | None = None) -> Self:  # fmt: skip
        """Keep the events; ``valid`` and ``seed`` play no part."""
        flows, tick_size = training_flows(tapes, 2)
        self.fit_flows(flows, tick_size)
        if progress is not None:
            progress(1.0, f"{len(self.events):,} events")
        return self

    def fit_flows(self, flows: Sequence[Flow], tick_size: float) -> Self:
        """Keep the events of flows; see :meth:`fit`."""
        parts = [recorded(flow) for flow in flows]
        ends = np.cumsum([len(part) for part in parts])
        if not ends[-1]:
            raise DataError("tapes: need two order events, have one")
        self._set(np.concatenate(parts), ends, tick_size)
        return self

    def _set(self, events: Ints, ends: Ints, tick_size: float) -> None:
        """Take over recorded events, and the row after the last one of each tape."""
        self.events, self.ends, self.tick_size = events, ends, tick_size
        self._after_last = {int(end) for end in ends}
        spread = events[:, SPREAD]
        self._edges = np.unique(np.quantile(spread, np.arange(1, BUCKETS) / BUCKETS))
        bucket = self._edges.searchsorted(spread, side="right")
        self._by_bucket = np.argsort(bucket, kind="stable")
        self._bucket_starts = np.searchsorted(
            bucket[self._by_bucket], np.arange(len(self._edges) + 2)
        )

    def start(self, flow: Flow) -> Place:
        need_context(flow, self.context)
        if self.tick_size is None:
            raise ModelError(f"model {self.name}: has not been fitted yet: fit it, or load one")
        return Place(-1, int(flow["time_ns"][-1]), Quotes.at_end_of(flow))

    def next_orders(
        self, states: Sequence[Any], views: Sequence[View], rngs: Sequence[np.random.Generator]
    ) -> list[Order]:
        return [self._next(*asked) for asked in zip(states, views, rngs, strict=True)]

    def _next(self, place: Place, view: View, rng: np.random.Generator) -> Order:
        place.quotes.follow(view.book)
        overtaken = place.at >= 0 and len(view.flow) > 0 and view.now_ns < place.due_ns
        for rejected in range(MAX_REJECTS):
            if not overtaken or rejected:
                self._move(place, view.now_ns, rng)
            kind, side, depth, size, _, _ = (int(value) for value in self.events[place.at])
            if _possible(kind, side, depth, place.quotes, view):
                best = place.quotes.bid_ticks if side > 0 else place.quotes.ask_ticks
                delay_ns = max(place.due_ns - view.now_ns, 0)
                return Order(kind, side, best - side * depth, size, delay_ns, rejected)
        side = 1 if view.book[:, 1].sum() < view.book[:, 3].sum() else -1
        best = place.quotes.bid_ticks if side > 0 else place.quotes.ask_ticks
        delay_ns = max(place.due_ns - view.now_ns, 0)
        return Order(int(Event.LIMIT), side, best, size, delay_ns, MAX_REJECTS, fallback=True)

    def _move(self, place: Place, now_ns: int, rng: np.random.Generator) -> None:
        """Go on to the next recorded event, or jump to another place."""
        follows = place.at >= 0 and place.at + 1 not in self._after_last
        if follows and rng.random() * self.mean_block >= 1.0:
            place.at += 1
        else:
            place.at = self._jump(place.quotes, rng)
        place.due_ns = max(place.due_ns, now_ns) + int(self.events[place.at, GAP])

    def _jump(self, quotes: Quotes, rng: np.random.Generator) -> int:
        if not self.match_spread:
            return int(rng.integers(len(self.events)))
        spread = quotes.ask_ticks - quotes.bid_ticks
        bucket = int(self._edges.searchsorted(spread, side="right"))
        first, last = (int(at) for at in self._bucket_starts[bucket : bucket + 2])
        if first == last:
            return int(rng.integers(len(self.events)))
        return int(self._by_bucket[rng.integers(first, last)])

    def pack(self, state: Place) -> dict[str, Any]:
        return {"at": state.at, "due_ns": state.due_ns, "quotes": dict(vars(state.quotes))}

    def unpack(self, packed: dict[str, Any]) -> Place:
        return Place(packed["at"], packed["due_ns"], Quotes(**packed["quotes"]))

    def parameters(self) -> dict[str, Any]:
        return {"mean_block": self.mean_block, "match_spread": self.match_spread}

    def learned(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        return {"events": self.events, "ends": self.ends}, {"tick_size": self.tick_size}

    def restore(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        events = array_of(arrays, "events", (None, 6), np.int64)
        ends = array_of(arrays, "ends", (None,), np.int64)
        if not len(events) or not len(ends) or ends[-1] != len(events):
            raise ValueError(f"ends: must end with the events, {len(events)}, was {ends.tolist()}")
        self._set(events, ends, float(values["tick_size"]))


def _possible(kind: int, side: int, depth_ticks: int, quotes: Quotes, view: View) -> bool:
    """Whether there is something to trade with or to cancel, or room for an order to rest."""
    if kind == int(Event.MARKET):
        return bool(view.book[0, 3 if side > 0 else 1] > 0)
    if kind == int(Event.CANCEL):
        return bool(view.own_lots[:, 0 if side > 0 else 1].any())
    return depth_ticks > quotes.bid_ticks - quotes.ask_ticks
