"""Market rules in plain Python, to be believed by reading: phases, auctions, limits and halts.

:class:`NaiveExchange` is one book with one schedule. Tests send it and a simulation the same orders
and compare trades, refusals, phases and the book itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from marketsim.codes import Outcome, Phase, Reject
from marketsim.naive import NaiveBook
from marketsim.naive_orders import (
    BUY,
    DAY,
    FOK,
    HIDDEN,
    IOC,
    MARKET,
    MAX_PRICE_TICKS,
    POST_ONLY,
    SELL,
    STOP,
    Order,
)

CALLS = (Phase.OPENING_CALL, Phase.CLOSING_CALL, Phase.HALT)
SHUT = (Phase.BREAK, Phase.CLOSED)


@dataclass
class NaiveRules:
    """Rules of a book; percents as in a configuration, None where a rule is off."""

    schedule: list[tuple[int, Phase]]
    reference: int | None = None  # the symbol's own
    limit_percent: float | None = None
    limit_reference: str | int = "open"
    window_ns: int = 0
    pause_ns: int | None = None
    limit_state_ns: int = 0
    breaker_levels: tuple[tuple[float, int | None], ...] = ()
    breaker_reference: str | int = "open"
    breaker_direction: str = "down"
    short_rule: str | None = None
    short_percent: float | None = None
    short_reference: str | int = "open"


def auction_price(
    buys: Iterable[Order], sells: Iterable[Order], reference: int | None
) -> tuple[int, int] | None:
    """Price and lots of an auction, or None; market orders are those at the ends of the axis."""
    buys, sells = list(buys), list(sells)
    candidates = {o.price_ticks for o in buys + sells if abs(o.price_ticks) < MAX_PRICE_TICKS}
    candidates |= set() if reference is None else {reference}
    best = None
    for price in candidates:
        demand = sum(order.lots for order in buys if order.price_ticks >= price)
        supply = sum(order.lots for order in sells if order.price_ticks <= price)
        distance = 0 if reference is None else abs(price - reference)
        rank = (-min(demand, supply), abs(demand - supply), distance, price)
        if best is None or rank < best:
            best = rank
    return (best[3], -best[0]) if best and best[0] else None


class NaiveExchange(NaiveBook):
    """A book that opens, halts and closes, and refuses what its rules forbid.

    Attributes
    ----------
    fills : (time, price, lots, seller's or maker's order, buyer's or taker's order) of each trade.
    refused : (time, order, reason).
    phases : (time, phase) as they begin.
    """

    def __init__(self, rules: NaiveRules) -> None:
        super().__init__()
        self.rules = rules
        self.now_ns, self.phase = rules.schedule[0]
        self.stopped = False
        self.fills: list[tuple[int, int, int, int, int]] = []
        self.refused: list[tuple[int, int, Reject]] = []
        self.phases: list[tuple[int, Phase]] = []
        self._ahead = list(rules.schedule[1:])
        self._halt_end: int | None = None
        self._limit_since: int | None = None
        self._open: int | None = None
        self._auction: int | None = None
        self._prints: list[tuple[int, int]] = []
        self._fired = 0
        self._restricted = False
        self._fresh: list[int] = []  # prices of this event's trades
        self._position: dict[int, int] = {}

    # -- time ------------------------------------------------------------------------------

    def run_to(self, now_ns: int) -> None:
        """Everything that the clock brings up to a time."""
        while True:
            limit = self._limit_since
            due = [(time, 0) for time, _ in self._ahead[:1]]
            due += [] if self._halt_end is None else [(self._halt_end, 1)]
            due += [] if limit is None else [(limit + self.rules.limit_state_ns, 2)]
            if not due or min(due)[0] > now_ns:
                break
            self.now_ns, what = min(due)
            if what == 0:
                self._scheduled(self._ahead.pop(0)[1])
            elif what == 1:
                self._halt_end = None
                self._uncross()
                self._begin(Phase.CONTINUOUS)
                self._after_event()
            else:
                self._limit_since = None
                if self._at_limit():
                    self._halt(self.rules.pause_ns)
                self._after_event()
        self.now_ns = now_ns

    def _scheduled(self, phase: Phase) -> None:
        if self.phase in CALLS and not self.stopped and phase != Phase.CLOSING_CALL:
            self._uncross()
        self._halt_end = None
        self._begin(Phase.HALT if self.stopped and phase not in SHUT else phase)
        self._after_event()
        if phase == Phase.CLOSED:
            for order in [*self._resting.values(), *self._pending.values()]:
                if order.flags & DAY:
                    self.cancel(order.order_id)

    def _begin(self, phase: Phase) -> None:
        self._limit_since = None
        if phase != self.phase:
            self.phases.append((self.now_ns, phase))
        self.phase = phase

    def _halt(self, length_ns: int | None) -> None:
        self.stopped = length_ns is None
        self._begin(Phase.HALT)
        self._halt_end = None if length_ns is None else self.now_ns + length_ns

    # -- orders ----------------------------------------------------------------------------

    def enter(self, order: Order) -> None:
        """A new order, or a stop."""
        reason = self._refusal(order)
        if reason:
            self.refused.append((self.now_ns, order.order_id, reason))
            return
        if self.phase in CALLS and not order.flags & STOP:
            self._collect(order)
        elif order.flags & STOP and (self.phase in CALLS or not self._triggered(order)):
            self._wait(order)
        else:
            order.flags &= ~STOP
            self._trade(order)
        self._after_event()

    def change(self, kind: str, order_id: int, price: int, size: int) -> None:
        """Cancel, reduce or replace."""
        order = self._resting.get(order_id) or self._pending.get(order_id)
        reason = self._change_refusal(kind, order, price, size)
        if reason:
            self.refused.append((self.now_ns, order_id, reason))
            return
        assert order is not None
        if kind == "cancel":
            self.cancel(order_id)
        elif kind == "reduce":
            self.reduce(order_id, size)
        elif price == order.price_ticks and size <= order.lots:
            self.replace(order_id, price, size)
        else:
            self._remove(order)
            order.price_ticks, order.shown_lots, order.reserve_lots = price, size, 0
            order.display_lots = min(order.display_lots, size)
            if self.phase in CALLS:
                self._collect(order)
            else:
                self._trade(order)
        self._after_event()

    def _refusal(self, order: Order) -> Reject | None:
        if self.phase in SHUT:
            return Reject.SESSION
        if self.stopped:
            return Reject.HALTED
        stop = order.flags & STOP
        if self.phase in CALLS and not stop and order.flags & (IOC | FOK | POST_ONLY):
            return Reject.AUCTION
        if stop and (self.phase in CALLS or not self._triggered(order)):
            forbidden = self.rules.short_rule == "forbidden" and self._is_short(order)
            return Reject.SHORT_SALE if forbidden else None
        reason = self._forbidden(order)
        if reason or self.phase in CALLS:
            return reason
        if order.flags & POST_ONLY and self._maker(order):
            return Reject.WOULD_TAKE
        if order.flags & FOK and not self._fillable(self._bound(order)):
            return Reject.NOT_FILLABLE
        return None

    def _change_refusal(
        self, kind: str, order: Order | None, price: int, size: int
    ) -> Reject | None:
        if self.phase in SHUT:
            return Reject.SESSION
        if order is None:
            return Reject.UNKNOWN_ORDER
        if kind != "replace":
            return None
        if self.stopped:
            return Reject.HALTED
        if order.flags & (STOP | MARKET):
            return Reject.FLAGS
        if price == order.price_ticks and size <= order.lots:
            return None
        new = Order(
            order.order_id, order.side, price, size, agent_id=order.agent_id, flags=order.flags
        )
        reason = self._forbidden(new)
        if reason:
            return reason
        if order.flags & POST_ONLY and self.phase in CALLS:
            return Reject.AUCTION
        return Reject.WOULD_TAKE if order.flags & POST_ONLY and self._maker(new) else None

    def _collect(self, order: Order) -> None:
        """An order that waits for the uncross; a market order unseen, before all others."""
        if order.flags & MARKET:
            order.flags |= HIDDEN
            order.price_ticks = order.side * MAX_PRICE_TICKS
        self._rest(order)

    def _trade(self, order: Order) -> None:
        bound = self._bound(order)
        order.flags, order.price_ticks = bound.flags, bound.price_ticks
        self._enter(order)

    def _trigger_stops(self) -> None:
        """Stops are let in by :meth:`_after_event`."""

    def _after_event(self) -> None:
        """Trades are noted, rules look at them, then the next stop comes in."""
        while True:
            self._note_trades()
            if self.phase == Phase.CONTINUOUS:
                self._watch()
            self._fresh = []
            if self.phase != Phase.CONTINUOUS or not (stop := self._next_triggered()):
                return
            self._unwait(stop.order_id)
            stop.flags &= ~STOP
            refused = self._forbidden(stop)
            if not refused and not (stop.flags & FOK and not self._fillable(self._bound(stop))):
                self._trade(stop)

    # -- auctions --------------------------------------------------------------------------

    def _uncross(self) -> None:
        reference = self.rules.reference if self.last_price is None else self.last_price
        found = auction_price(
            (order for order in self._resting.values() if order.side == BUY),
            (order for order in self._resting.values() if order.side == SELL),
            reference,
        )
        if found:
            price, lots = found
            self._auction, self._prints = price, []
            self._fresh.append(price)
            while lots:
                buy = self._levels[BUY].peekitem(0)[1].front()
                sell = self._levels[SELL].peekitem(0)[1].front()
                met = min(lots, buy.shown_lots, sell.shown_lots)
                self._settle(price, met, sell, buy)
                lots -= met
        for order in list(self._resting.values()):
            if order.flags & MARKET:
                self._remove(order)

    def _settle(self, price: int, lots: int, sell: Order, buy: Order) -> None:
        self.last_price = price
        self.trades += 1
        self.volume += lots
        self.notional += price * lots
        self.fills.append((self.now_ns, price, lots, sell.order_id, buy.order_id))
        for order in (buy, sell):
            held = self._position.get(order.agent_id, 0)
            self._position[order.agent_id] = held + order.side * lots
            self._use_up(order, lots)

    def _match(self, taker: Order) -> int:
        """Matching of the book; every trade is noted."""
        filled = super()._match(taker)
        for what, maker_id, _, price, lots, maker_agent, _ in self.outcomes():
            if what == Outcome.FILL:
                self.fills.append((self.now_ns, price, lots, maker_id, taker.order_id))
                self._fresh.append(price)
                for agent, side in ((maker_agent, -taker.side), (taker.agent_id, taker.side)):
                    self._position[agent] = self._position.get(agent, 0) + side * lots
        return filled

    # -- rules -----------------------------------------------------------------------------

    def _price(self, reference: str | int) -> int | None:
        """What a rule measures from now."""
        found: int | None
        if isinstance(reference, int):
            return reference
        if reference == "open":
            found = self._open
        elif reference == "last_auction":
            found = self._auction
        else:
            first = self.now_ns - self.rules.window_ns
            window = [price for time, price in self._prints if time > first]
            found = sum(window) // len(window) if window else self.last_price
        return self.rules.reference if found is None else found

    def _band(self) -> tuple[int, int] | None:
        """Lowest and highest price at which trades may be."""
        if self.rules.limit_percent is None:
            return None
        reference = self._price(self.rules.limit_reference)
        if reference is None:
            return None
        width = int(abs(reference) * Fraction(str(self.rules.limit_percent)) / 100)
        return reference - width, reference + width

    def _forbidden(self, order: Order) -> Reject | None:
        """What price limits and the short-sale rule say of an order that enters now."""
        band = self._band()
        lifted = (
            self.phase == Phase.HALT
            and self.rules.pause_ns is not None
            and self.rules.limit_reference in ("last_auction", "mean")
        )
        if band and not order.flags & MARKET and not lifted:
            if not band[0] <= order.price_ticks <= band[1]:
                return Reject.PRICE_LIMIT
            if self.phase == Phase.CONTINUOUS and self._meets_outside(order, band):
                return Reject.PRICE_LIMIT
        rule = self.rules.short_rule
        if rule == "uptick":
            bid = self.best_bid
            above = not order.flags & MARKET and (bid is None or order.price_ticks > bid)
            off = self.rules.short_percent is not None and not self._restricted
            if above or off:
                return None
        return Reject.SHORT_SALE if rule and self._is_short(order) else None

    def _meets_outside(self, order: Order, band: tuple[int, int]) -> bool:
        """Whether the first order that this one would meet rests outside the band."""
        maker = self._maker(order)
        return maker is not None and not band[0] <= maker.price_ticks <= band[1]

    def _bound(self, order: Order) -> Order:
        """The order, or what a market order is within the limits: immediate up to the band."""
        band = self._band()
        if not order.flags & MARKET or band is None:
            return order
        price = band[1] if order.side == BUY else band[0]
        levels = self._levels[-order.side]
        if levels:
            best = levels.peekitem(0)[1].price_ticks
            if not band[0] <= best <= band[1]:  # it meets nobody
                price = best - order.side
        flags = order.flags & ~MARKET | (0 if order.flags & FOK else IOC)
        return Order(
            order.order_id, order.side, price, order.lots, agent_id=order.agent_id, flags=flags
        )

    def _is_short(self, order: Order) -> bool:
        """Whether a sale is of more than what its agent has and does not offer already."""
        offered = sum(
            other.lots
            for other in [*self._resting.values(), *self._pending.values()]
            if other.agent_id == order.agent_id
            and other.side == SELL
            and other.order_id != order.order_id
        )
        owned = self._position.get(order.agent_id, 0) - offered
        return order.side == SELL and order.lots > owned

    def _note_trades(self) -> None:
        for price in self._fresh:
            self._open = price if self._open is None else self._open
            self._prints.append((self.now_ns, price))
        if self._fresh and self.rules.short_percent is not None:
            reference = self._price(self.rules.short_reference)
            if self._moved(reference, min(self._fresh), self.rules.short_percent, -1):
                self._restricted = True

    def _watch(self) -> None:
        fired = self._fired
        for number, (percent, _) in enumerate(self.rules.breaker_levels):
            if number >= fired and self._breaks(percent):
                self._fired = number + 1
        if self._fired > fired:
            self._halt(self.rules.breaker_levels[self._fired - 1][1])
        elif self.rules.pause_ns is not None:
            if not self._at_limit():
                self._limit_since = None
            elif self._limit_since is None:
                self._limit_since = self.now_ns

    def _breaks(self, percent: float) -> bool:
        """Whether a trade of this event was so far from the reference."""
        if not self._fresh:
            return False
        reference, way = self._price(self.rules.breaker_reference), self.rules.breaker_direction
        down = self._moved(reference, min(self._fresh), percent, -1)
        up = self._moved(reference, max(self._fresh), percent, 1)
        return (down and way in ("down", "both")) or (up and way in ("up", "both"))

    @staticmethod
    def _moved(reference: int | None, price: int, percent: float, side: int) -> bool:
        if reference is None:
            return False
        return side * (price - reference) >= abs(reference) * Fraction(str(percent)) / 100

    def _at_limit(self) -> bool:
        band = self._band()
        if band is None:
            return False
        bid, ask = self.best_bid, self.best_ask
        return (bid is not None and bid >= band[1]) or (ask is not None and ask <= band[0])
