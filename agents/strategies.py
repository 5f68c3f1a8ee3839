"""A strategy that trades real orders on the exchange, in several symbols."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from marketsim.agent import Agent, Fill, Handle, OrderUpdate
from marketsim.checks import mapping, positive, sequence, text
from marketsim.clock import format_time, parse_span, parse_time
from marketsim.errors import ConfigError
from marketsim.ledger import PROTOCOL
from marketsim.strategies import Strategy, strategy

#: How long before the close everything is sold, and time between two attempts [ns].
LAST_NS = 60_000_000_000
AGAIN_NS = 1_000_000_000


def _plan(name: str, parameters: Mapping[str, Any]) -> Strategy:
    return strategy(name, **parameters)


class StrategyAgent(Agent):
    """Samples mid-prices at equal intervals and sends market orders as its strategy says.

    Sizes are those of the protocol (:func:`marketsim.ledger.trade`): a purchase takes ``max_buy``
    of the cash that is left, in whole lots but at least one; a sale, all that is held. Everything
    is sold at the end. While an order has not been answered the agent sends no other.

    Parameters
    ----------
    strategy : EW, MR, TF, VT, RSI, SM or BO; ``parameters``: of the strategy, such as its window
    symbols : that it trades; None: all of the exchange
    interval : time between two samples: "1h", "60s" or nanoseconds
    start, end : "HH:MM[:SS]" or nanoseconds; None is the session's open, a minute before its close
    capital, max_buy : money at the start, and most money of a purchase, in the symbols' currency
    """

    def __init__(
        self,
        strategy: str = "MR",
        symbols: Sequence[str] | None = None,
        interval: str | int = "60s",
        start: str | int | None = None,
        end: str | int | None = None,
        capital: float = PROTOCOL.capital,
        max_buy: float = PROTOCOL.max_buy,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self.strategy = text("strategy", strategy)
        self.parameters = mapping("parameters", parameters)
        self.plan = _plan(self.strategy, self.parameters)
        self.symbols = symbols
        if symbols is not None:
            self.symbols = [text("symbols", name) for name in sequence("symbols", symbols)]
            if not self.symbols or len(set(self.symbols)) < len(self.symbols):
                raise ConfigError(f"symbols must be different names, one or more, was {symbols}")
        self.interval_ns = parse_span(interval, "interval")
        if self.interval_ns < 1:
            raise ConfigError(f"interval must be > 0, was {interval!r}")
        self.start_ns = None if start is None else parse_time(start, "start")
        self.end_ns = None if end is None else parse_time(end, "end")
        self.capital = self.cash = positive("capital", capital)
        self.max_buy = positive("max_buy", max_buy)
        self.history: list[list[float]] = []
        self.fills = self.orders = self.rejected_orders = self.waited = 0
        self.fees = 0.0

    def on_start(self, market: Handle) -> None:
        """Wait for the first sample."""
        self.symbols = list(market.symbols) if self.symbols is None else self.symbols
        unknown = [name for name in self.symbols if name not in market.symbols]
        if unknown:
            raise ConfigError(
                f"agents.{market.name}: symbols must be of {list(market.symbols)},"
                f" was {unknown[0]!r}"
            )
        self.start_ns = market.open_ns if self.start_ns is None else self.start_ns
        self.end_ns = market.close_ns - LAST_NS if self.end_ns is None else self.end_ns
        if not self.start_ns < self.end_ns <= market.close_ns:
            raise ConfigError(
                f"agents.{market.name}: end must be later than start {format_time(self.start_ns)}"
                f" and not after the close, was {format_time(self.end_ns)}"
            )
        market.wake_at(self.start_ns)

    def on_wakeup(self, market: Handle) -> None:
        """Sample the prices and trade; at the end, sell."""
        assert self.symbols is not None and self.end_ns is not None
        if market.now_ns >= self.end_ns:
            self._close(market)
            return
        market.wake_at(min(market.now_ns + self.interval_ns, self.end_ns))
        prices = [self._price(market, number) for number in range(len(self.symbols))]
        if None in prices:
            return  # a symbol that was never quoted
        keep = self.plan.warm_up + 2
        self.history = [*self.history, [float(price or 0) for price in prices]][-keep:]
        if len(self.history) <= self.plan.warm_up:
            return
        if market.open_orders:
            self.waited += 1
            return
        seen = np.array([*self.history, self.history[-1]])  # a strategy is silent at the last price
        signals = self.plan.signals(seen[None])[0, -2]
        left = self.cash
        for name, signal in zip(self.symbols, signals.tolist(), strict=True):
            if signal > 0:
                left -= self._buy(market, name, left)
            elif signal < 0:
                self._sell(market, name)

    def _price(self, market: Handle, number: int) -> float | None:
        """Mid-price of a symbol [ticks], the sample before where a side is empty."""
        assert self.symbols is not None
        bid, bid_lots, ask, ask_lots = market.touch(self.symbols[number])
        if bid_lots and ask_lots:
            return (bid + ask) / 2
        return self.history[-1][number] if self.history else None

    def _buy(self, market: Handle, name: str, cash: float) -> float:
        """Send a purchase; return the money that it is to take."""
        assert self.symbols is not None
        _, _, ask, lots = market.touch(name)
        each = ask * market.money_of(name)
        if not lots or each <= 0:
            return 0.0
        if self.plan.divides_capital:
            budget = self.capital / len(self.symbols)
        else:
            budget = min(self.max_buy, cash)
        size = max(int(budget / each), 1)
        market.buy(size, symbol=name)
        self.orders += 1
        return size * each

    def _sell(self, market: Handle, name: str) -> None:
        held = market.position_of(name)
        if held > 0:
            market.sell(held, symbol=name)
            self.orders += 1

    def _close(self, market: Handle) -> None:
        """Sell everything, again and again until it is sold."""
        assert self.symbols is not None
        if not market.open_orders:
            for name in self.symbols:
                self._sell(market, name)
        if market.open_orders and market.now_ns + AGAIN_NS < market.close_ns:
            market.wake_after(AGAIN_NS)

    def on_fill(self, market: Handle, fill: Fill) -> None:
        """Keep the account in money."""
        money = market.money_of(fill.symbol)
        self.cash -= fill.side * fill.price_ticks * fill.size_lots * money
        self.cash -= fill.fee_ticks * money
        self.fees += fill.fee_ticks * money
        self.fills += 1

    def on_order(self, market: Handle, update: OrderUpdate) -> None:
        """Count what the exchange refused."""
        if update.status == "rejected":
            self.rejected_orders += 1

    def summary(self, market: Handle) -> dict[str, Any]:
        """What was traded, and wealth at the last prices known, in money and by capital."""
        held = {name: market.position_of(name) for name in self.symbols or ()}
        value = self.cash
        for number, (name, lots) in enumerate(held.items()):
            if lots:
                value += lots * (self._price(market, number) or 0) * market.money_of(name)
        return {
            "strategy": self.strategy.upper(),
            "value": value / self.capital,
            "capital": self.capital,
            "pnl": value - self.capital,
            "cash": self.cash,
            "fees": self.fees,
            "held_lots": held,
            "orders": self.orders,
            "fills": self.fills,
            "rejected_orders": self.rejected_orders,
            "waited": self.waited,
        }

    def state_dict(self) -> dict[str, Any]:
        """All attributes but the strategy, which follows from its name; they are JSON values."""
        return {key: value for key, value in vars(self).items() if key != "plan"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take all attributes over."""
        vars(self).update(state)
        self.plan = _plan(self.strategy, self.parameters)
