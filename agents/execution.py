"""What execution agents share: a parent order worked by a schedule, within price and time limits.

A subclass says how much should be done by now; this class sends the difference, at the touch or
through it, and keeps the figures of execution quality.
"""

from typing import Any

from marketsim.agent import Agent, Fill, Handle, OrderUpdate
from marketsim.clock import format_time, parse_span, parse_time
from marketsim.codes import Side
from marketsim.errors import ConfigError

STYLES = ("aggressive", "touch", "passive")


class ExecutionAgent(Agent):
    """Works a parent order.

    Parameters
    ----------
    side : "buy" or "sell".
    quantity : lots of the parent order.
    start, end : "HH:MM[:SS]" or nanoseconds; None is the session's open, its close.
    interval : time between two child orders: "60s", "5min" or nanoseconds.
    limit_ticks : worst price at which to trade [ticks]; None has no limit.
    style : "aggressive" takes all the liquidity that it needs, however deep; "touch" takes no more
        than the other side's best price, and the rest later; both immediate or cancel. "passive"
        rests at the own side's best price and is moved there at each wake-up.
    """

    def __init__(
        self,
        side: str,
        quantity: int,
        start: str | int | None = None,
        end: str | int | None = None,
        interval: str | int = "60s",
        limit_ticks: int | None = None,
        style: str = "aggressive",
    ) -> None:
        if side not in ("buy", "sell"):
            raise ConfigError(f"side must be 'buy' or 'sell', was {side!r}")
        if isinstance(quantity, bool) or not isinstance(quantity, int) or quantity < 1:
            raise ConfigError(f"quantity must be an integer > 0 [lots], was {quantity!r}")
        if style not in STYLES:
            raise ConfigError(f"style must be one of {', '.join(STYLES)}, was {style!r}")
        if limit_ticks is not None and (
            isinstance(limit_ticks, bool) or not isinstance(limit_ticks, int)
        ):
            raise ConfigError(f"limit_ticks must be an integer or null, was {limit_ticks!r}")
        self.side = Side.BUY if side == "buy" else Side.SELL
        self.quantity = quantity
        self.start_ns = None if start is None else parse_time(start, "start")
        self.end_ns = None if end is None else parse_time(end, "end")
        self.interval_ns = parse_span(interval, "interval")
        self.limit_ticks = limit_ticks
        self.style = style
        if self.interval_ns < 1:
            raise ConfigError(f"interval must be > 0, was {interval!r}")
        if None not in (self.start_ns, self.end_ns) and self.end_ns <= self.start_ns:  # type: ignore[operator]
            raise ConfigError(f"end must be later than start {start!r}, was {end!r}")
        self.executed_lots = 0
        self.spent_ticks = 0  # sum of price times lots
        self.fees_ticks = 0.0
        self.child_orders = 0
        self.rejected_orders = 0
        self.market_lots_at_start = 0
        self.arrival_mid_ticks: float | None = None
        self.done_ns: int | None = None
        self.market_lots_at_end: int | None = None
        self._resting_price: int | None = None
        self._moving = False

    def target_lots(self, market: Handle) -> int:
        """Lots that should be executed by now; a subclass's schedule."""
        raise TypeError(f"{type(self).__name__} has no schedule: override target_lots()")

    def on_start(self, market: Handle) -> None:
        """Wait for the start of the schedule."""
        if self.start_ns is None:
            self.start_ns = market.open_ns
        if self.end_ns is None:
            self.end_ns = market.close_ns
        if self.end_ns <= self.start_ns:
            raise ConfigError(
                f"agents.{market.name}: end must be later than start"
                f" {format_time(self.start_ns)}, was {format_time(self.end_ns)}"
            )
        if self.start_ns >= market.close_ns:
            raise ConfigError(
                f"agents.{market.name}: start must be before the session's close"
                f" {format_time(market.close_ns)}, was {format_time(self.start_ns)}"
            )
        market.wake_at(self.start_ns)

    def on_wakeup(self, market: Handle) -> None:
        """Send what the schedule asks for, and sleep for an interval."""
        assert self.end_ns is not None
        if self.arrival_mid_ticks is None:  # a book that is empty, or not seen yet, has none
            self.arrival_mid_ticks = market.mid_ticks
            if self.child_orders == 0:
                self.market_lots_at_start = market.traded_lots()
        if market.now_ns >= self.end_ns or self.executed_lots >= self.quantity:
            self._finish(market)
            return
        market.wake_at(min(market.now_ns + self.interval_ns, self.end_ns))
        if self.style == "passive":
            self._move_passive(market)
        else:
            self._take(market, self._wanted(market) - sum(market.open_orders.values()))

    def _wanted(self, market: Handle) -> int:
        target = min(self.quantity, self.target_lots(market))
        return max(target - self.executed_lots, 0)

    def _take(self, market: Handle, lots: int) -> None:
        limit = self.limit_ticks
        if self.style == "touch":
            best = market.best_ask if self.side == Side.BUY else market.best_bid
            if best is None:
                return
            limit = self._limited(best)
        if lots > 0:
            if limit is None:
                market.order(self.side, lots)
            else:
                market.order(self.side, lots, limit, tif="IOC")
            self.child_orders += 1

    def _limited(self, price: int) -> int:
        """A price, or the limit where that is worse than the price for the other side."""
        if self.limit_ticks is None:
            return price
        return self.side * min(self.side * price, self.side * self.limit_ticks)

    def _move_passive(self, market: Handle) -> None:
        """Keep one resting order of the wanted size at the own side's best price."""
        best = market.best_bid if self.side == Side.BUY else market.best_ask
        wanted = self._wanted(market)
        if best is None:
            return
        price = self._limited(best)
        live = market.open_orders
        if len(live) == 1 and self._resting_price == price and sum(live.values()) == wanted:
            return
        # An order that is to be cancelled can still trade: the next one waits for the answer.
        self._moving = bool(live)
        for order_id in live:
            market.cancel(order_id)
        if wanted > 0 and not live:
            market.order(self.side, wanted, price)
            self._resting_price = price
            self.child_orders += 1

    def _moved(self, market: Handle) -> None:
        """Go on moving the resting order once the old one is gone."""
        if self._moving and self.done_ns is None and not market.open_orders:
            self._move_passive(market)

    def _finish(self, market: Handle) -> None:
        for order_id in market.open_orders:
            market.cancel(order_id)
        if self.done_ns is None:
            self.done_ns = market.now_ns
            self.market_lots_at_end = market.traded_lots()

    def on_fill(self, market: Handle, fill: Fill) -> None:
        """Count what was executed."""
        self.executed_lots += fill.size_lots
        self.spent_ticks += fill.price_ticks * fill.size_lots
        self.fees_ticks += fill.fee_ticks
        if self.executed_lots >= self.quantity:
            self._finish(market)
        self._moved(market)

    def on_order(self, market: Handle, update: OrderUpdate) -> None:
        """Count what the exchange refused."""
        if update.status == "rejected":
            self.rejected_orders += 1
        elif update.status == "cancelled":
            self._moved(market)

    def summary(self, market: Handle) -> dict[str, Any]:
        """Quantity reached and its cost.

        ``shortfall_bps``: average price against the mid at the start of the schedule, or the first
        one known after it; positive when it cost (Perold 1988, "The implementation shortfall"),
        fees not included.
        """
        ended = self.market_lots_at_end
        traded = (market.traded_lots() if ended is None else ended) - self.market_lots_at_start
        average = self.spent_ticks / self.executed_lots if self.executed_lots else None
        arrival = self.arrival_mid_ticks
        shortfall = None
        if average is not None and arrival:
            shortfall = round(self.side * (average - arrival) / arrival * 1e4, 4)
        return {
            "side": self.side.name.lower(),
            "quantity_lots": self.quantity,
            "executed_lots": self.executed_lots,
            "filled_share": self.executed_lots / self.quantity,
            "market_lots": traded,
            "participation": round(self.executed_lots / traded, 6) if traded > 0 else None,
            "arrival_mid_ticks": arrival,
            "average_price_ticks": average,
            "shortfall_bps": shortfall,
            "fees_ticks": self.fees_ticks,
            "child_orders": self.child_orders,
            "rejected_orders": self.rejected_orders,
            "done": None if self.done_ns is None else format_time(self.done_ns),
        }

    def state_dict(self) -> dict[str, Any]:
        """All attributes; they are JSON values."""
        return {**vars(self), "side": int(self.side)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take all attributes over."""
        vars(self).update(state)
        self.side = Side(state["side"])
