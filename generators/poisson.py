"""Zero intelligence: limit orders, market orders and cancels as independent Poisson processes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from marketsim.checks import boolean, integer
from marketsim.clock import NS_PER_SECOND
from marketsim.errors import DataError, ModelError
from marketsim.flow import LEVELS, Flow, Order, View
from marketsim.generators.base import FitProgress, OrderFlowGenerator
from marketsim.generators.flows import (
    OTHER_PRICE,
    OTHER_SIZE,
    OWN_PRICE,
    OWN_SIZE,
    SIDES,
    Quotes,
    Sizes,
    array_of,
    need_context,
    training_flows,
)
from marketsim.order_events import Event
from marketsim.tape import Tape

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Limit orders that a bin of distances should hold, in the mean, where its width is fitted.
BIN_ORDERS = 200
#: Widths to choose from [ticks], and the share of limit orders that the bins reach.
WIDTHS, COVERED = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000), 0.999


@dataclass(frozen=True)
class Tally:
    """Events and exposures of a flow by side (buys first) and bin of distances; they add up.

    Attributes
    ----------
    limits, cancels : float64[2, bins], events.
    markets : float64[2], events.
    open_s : float64[2, bins], time that the bin was in view [s].
    lot_s : float64[2, bins], lots that rested there, times time [lot s].
    quoted_s : float64[2], time that there was something to trade with [s].
    """

    limits: Floats
    cancels: Floats
    markets: Floats
    open_s: Floats
    lot_s: Floats
    quoted_s: Floats

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            *(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True))
        )


def tally(flow: Flow, width_ticks: int, bins: int) -> Tally:
    """Count a flow's events from the second on, and what each could have come from.

    Distance is counted from the other side's best price, as in the paper. Bin ``j`` holds the
    distances ``j * width + 1`` to ``(j + 1) * width``. What lies behind the tenth level is not in
    view, in recorded data as in a running market: there neither orders nor time are counted.
    """
    book, events = flow["book"][1:], flow[1:]
    elapsed_s = np.diff(flow["time_ns"]) / NS_PER_SECOND
    parts: list[tuple[Any, ...]] = []
    for place, side in enumerate(SIDES):
        other = book[:, 0, OTHER_PRICE[place]]
        quoted = book[:, 0, OTHER_SIZE[place]] > 0
        prices, lots = book[..., OWN_PRICE[place]], book[..., OWN_SIZE[place]]
        resting = _bin(side * (other[:, None] - prices), width_ticks)
        last = np.where(lots[:, -1] > 0, np.minimum(resting[:, -1], bins - 1), bins - 1)
        seconds = elapsed_s * quoted
        reached_s = np.bincount(last, seconds, minlength=bins)
        counted = (lots > 0) & (resting < bins)
        weight = (lots * seconds[:, None])[counted]
        mine = quoted & (events["side"] == side)
        bin_of = _bin(side * (other - events["price_ticks"]), width_ticks)
        seen = mine & (bin_of <= last)
        parts.append(
            (
                np.bincount(bin_of[seen & (events["kind"] == int(Event.LIMIT))], minlength=bins),
                np.bincount(bin_of[seen & (events["kind"] == int(Event.CANCEL))], minlength=bins),
                np.count_nonzero(mine & (events["kind"] == int(Event.MARKET))),
                reached_s[::-1].cumsum()[::-1],
                np.bincount(resting[counted], weight, minlength=bins),
                seconds.sum(),
            )
        )
    return Tally(*(np.stack(pair).astype(np.float64) for pair in zip(*parts, strict=True)))


def _bin(distance_ticks: Ints, width_ticks: int) -> Ints:
    """Bin of a distance; what crosses counts as the nearest that does not."""
    bins: Ints = (np.maximum(distance_ticks, 1) - 1) // width_ticks
    return bins


class PoissonFlow(OrderFlowGenerator):
    """Limit orders at a rate for each distance, cancels at a rate for each lot that rests there.

    Rates are those of maximum likelihood: events over exposure. Sizes, which the paper takes as
    one unit, are drawn from those seen, by kind of event, but a market order takes no more than is
    shown. The next event is the first of all exponential clocks given the book now; only lots of
    the generated flow can be cancelled.

    Parameters
    ----------
    bin_ticks : int, optional
        Distances that share a rate. By default the narrowest that leaves 200 limit orders a bin.
    symmetric : bool
        Whether both sides have the same rates.

    References
    ----------
    Cont, Stoikov & Talreja (2010), A stochastic model for order book dynamics, Operations Research
    58(3), sections 2.2 and 3.
    """

    name = "poisson"

    def __init__(self, bin_ticks: int | None = None, symmetric: bool = True) -> None:
        self._given_ticks = None if bin_ticks is None else integer("bin_ticks", bin_ticks, 1)
        self.symmetric = boolean("symmetric", symmetric)
        self.tick_size: float | None = None

    def fit(self, tapes: Sequence[Tape], *, valid: Sequence[Tape] = (), seed: int = 0,
            progress: FitProgress | None = None) -> Self:  # fmt: skip
        """Count events and exposures; ``valid`` and ``seed`` play no part."""
        flows, tick_size = training_flows(tapes, 2)
        self.fit_flows(flows, tick_size)
        if progress is not None:
            progress(1.0, f"{sum(len(flow) for flow in flows):,} events")
        return self

    def fit_flows(self, flows: Sequence[Flow], tick_size: float) -> Self:
        """Fit to flows; see :meth:`fit`."""
        distance = np.concatenate([_limit_distances(flow) for flow in flows])
        if not len(distance):
            raise DataError("tapes: need limit orders with a quote on the other side, have none")
        reach = int(np.quantile(distance, COVERED))
        width = self._given_ticks or next(
            (w for w in WIDTHS if len(distance) * w >= BIN_ORDERS * np.quantile(distance, 0.99)),
            WIDTHS[-1],
        )
        bins = (max(reach, 1) - 1) // width + 1
        tallies = [tally(flow, width, bins) for flow in flows]
        total = sum(tallies[1:], tallies[0])
        if self.symmetric:
            total = Tally(*(value[::-1] for value in vars(total).values())) + total
        self._set(
            width,
            tick_size,
            _rate(total.limits, total.open_s),
            _rate(total.cancels, total.lot_s),
            _rate(total.markets, total.quoted_s),
            Sizes.of(flows),
        )
        return self

    def _set(
        self,
        width_ticks: int,
        tick_size: float,
        limit_rate: Floats,
        cancel_rate: Floats,
        market_rate: Floats,
        sizes: Sizes,
    ) -> None:
        """Take over what was learned; rates float64[2, bins], of market orders float64[2]."""
        if not (limit_rate.sum(axis=1) > 0).all():
            raise DataError("limit orders: must be some on each side, or symmetric true")
        self.width_ticks, self.tick_size = width_ticks, tick_size
        self.limit_rate, self.cancel_rate, self.market_rate = limit_rate, cancel_rate, market_rate
        self.sizes = sizes
        self._limits_within = limit_rate.cumsum(axis=1)
        self._nearest_bin = (limit_rate > 0).argmax(axis=1)

    def start(self, flow: Flow) -> Quotes:
        need_context(flow, self.context)
        if self.tick_size is None:
            raise ModelError(f"model {self.name}: has not been fitted yet: fit it, or load one")
        return Quotes.at_end_of(flow)

    def next_orders(
        self, states: Sequence[Any], views: Sequence[View], rngs: Sequence[np.random.Generator]
    ) -> list[Order]:
        return [self._next(*asked) for asked in zip(states, views, rngs, strict=True)]

    def _next(self, quotes: Quotes, view: View, rng: np.random.Generator) -> Order:
        quotes.follow(view.book)
        others = (quotes.ask_ticks, quotes.bid_ticks)
        last = [self._last_bin(place, others[place], view.book) for place in range(2)]
        rates = np.zeros(4 + 2 * LEVELS)  # [1/s]: limit and market orders by side, then cancels
        rates[:2] = self._limits_within[0, last[0]], self._limits_within[1, last[1]]
        rates[2:4] = self.market_rate * (view.book[0, OTHER_SIZE] > 0)
        distance = np.array(SIDES) * (np.array(others) - view.book[:, OWN_PRICE])
        bins = np.minimum(_bin(distance, self.width_ticks), self.cancel_rate.shape[1] - 1)
        rates[4:] = (view.own_lots * self.cancel_rate[(0, 1), bins]).ravel()
        clock = rates.cumsum()
        delay_ns = int(rng.exponential(NS_PER_SECOND / clock[-1]))
        first = int(clock.searchsorted(rng.random() * clock[-1], side="right"))
        if first >= 4:
            level, place = divmod(first - 4, 2)
            lots = min(self.sizes.draw(Event.CANCEL, rng), int(view.own_lots[level, place]))
            price = int(view.book[level, OWN_PRICE[place]])
            return Order(int(Event.CANCEL), SIDES[place], price, lots, delay_ns)
        place = first % 2
        if first >= 2:
            shown = int(view.book[:, OTHER_SIZE[place]].sum())
            lots = min(self.sizes.draw(Event.MARKET, rng), shown)
            return Order(int(Event.MARKET), SIDES[place], others[place], lots, delay_ns)
        within = self._limits_within[place]
        drawn = int(within.searchsorted(rng.random() * within[last[place]], side="right"))
        ticks = drawn * self.width_ticks + 1
        if self.width_ticks > 1:
            ticks += int(rng.integers(self.width_ticks))
        lots = self.sizes.draw(Event.LIMIT, rng)
        price = others[place] - SIDES[place] * ticks
        return Order(int(Event.LIMIT), SIDES[place], price, lots, delay_ns)

    def _last_bin(self, place: int, other_ticks: int, book: Ints) -> int:
        """The last bin in view where limit orders can arrive; never short of all of them."""
        last = int(self.limit_rate.shape[1]) - 1
        if book[-1, OWN_SIZE[place]] > 0:
            reach = SIDES[place] * (other_ticks - int(book[-1, OWN_PRICE[place]]))
            last = min(last, (max(reach, 1) - 1) // self.width_ticks)
        return max(last, int(self._nearest_bin[place]))

    def pack(self, state: Quotes) -> dict[str, Any]:
        return dict(vars(state))

    def unpack(self, packed: dict[str, Any]) -> Quotes:
        return Quotes(**packed)

    def parameters(self) -> dict[str, Any]:
        return {"bin_ticks": self._given_ticks, "symmetric": self.symmetric}

    def learned(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        arrays = {
            "limit_rate": self.limit_rate,
            "cancel_rate": self.cancel_rate,
            "market_rate": self.market_rate,
            "sizes": self.sizes.table,
        }
        return arrays, {"width_ticks": self.width_ticks, "tick_size": self.tick_size}

    def restore(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        limit_rate = array_of(arrays, "limit_rate", (2, None), np.float64)
        self._set(
            integer("width_ticks", values["width_ticks"], 1),
            float(values["tick_size"]),
            limit_rate,
            array_of(arrays, "cancel_rate", limit_rate.shape, np.float64),
            array_of(arrays, "market_rate", (2,), np.float64),
            Sizes(array_of(arrays, "sizes", (None, 3), np.int64)),
        )


def _limit_distances(flow: Flow) -> Ints:
    """Distances of limit orders from the other side's best price [ticks], int64[n]."""
    limits = flow[flow["kind"] == int(Event.LIMIT)]
    buys = limits["side"] > 0
    other = np.where(buys, limits["book"][:, 0, 2], limits["book"][:, 0, 0])
    quoted = np.where(buys, limits["book"][:, 0, 3], limits["book"][:, 0, 1]) > 0
    distance: Ints = np.maximum(limits["side"] * (other - limits["price_ticks"]), 1)[quoted]
    return distance


def _rate(events: Floats, exposure: Floats) -> Floats:
    """Events over exposure, 0 where there was none."""
    return np.divide(events, exposure, out=np.zeros_like(events), where=exposure > 0)
