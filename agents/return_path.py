"""The return-path agent: a path that a generator of returns draws becomes the market's prices.

At the start it draws one joint path of several assets, and writes it down as the symbols'
fundamental values. Through the day it quotes a ladder around ``path · exp(displacement)`` in each
symbol. Each lot that the others buy from it pushes the displacement up, each that they sell to it
down, and the displacement decays by half in each half-life: orders have impact, which is linear in
their size and transient, and with nobody else there the mid-price is the path.

References: Obizhaeva & Wang (2013), "Optimal trading strategy and supply/demand dynamics".
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketsim import checks
from marketsim.agent import Agent, Fill, Handle, OrderUpdate
from marketsim.agents.drawn_path import (
    bridge,
    matched_symbols,
    plain_conditions,
    returns_model,
)
from marketsim.clock import NS_PER_SECOND, format_time, parse_span
from marketsim.codes import Phase, Side
from marketsim.errors import ConfigError, ModelError, StateError
from marketsim.oracle import PricePath, fundamental_of

MAX_LEVELS = 100
#: Prices of a path are at least so many increments: of fewer, a tick would be a large return.
LEAST_INCREMENTS = 1_000
#: A bid this far below an ask is half of the reference; wider ones soon have no price at all.
MAX_SPREAD_BPS = 10_000
#: The displacement stays within this: a factor of e.
MAX_DISPLACEMENT = 1.0
#: Most volatility between points, by that of the returns around them.
MAX_BRIDGE = 100.0
#: Most lots of a quote: sums of them are counted in 64 bits.
MAX_LOTS = 10**12
#: Least pause before it quotes anew: two such agents in a symbol would fill every nanosecond.
MIN_REFILL_NS = 1_000_000
#: How long before the close it quotes for the last time [ns].
LAST_NS = 1_000_000
#: Levels in which it looks for orders that the path has left behind.
_DEEPEST = 50
_BPS = 1e-4


class ReturnPathAgent(Agent):
    """Draws a joint path from a generator of returns, and makes it the market.

    It acts without latency, and takes out orders of others that stand on the wrong side of its
    reference price, as far as it sees them. The path of each symbol is its fundamental value, which
    agents that come after it in the configuration can observe.

    Parameters
    ----------
    model : folder or shipped name of a saved generator of returns, or one that has been fitted.
    symbols : those that the model's assets drive, in the order of the assets; None: those of the
        assets' names.
    step : time from one point of the path to the next; None: the model's own.
    conditions : what the window is to be like, as the model's ``sample`` takes it, such as the
        label of a regime.
    sampling : how a model that is given by its folder draws, in place of how it was saved to.
    prices : price of a symbol at the open [currency], instead of the last that the model knows.
    bridge : volatility of the path between its points, as a multiple of that of the returns around
        them; 0: straight lines.
    interval : time between two renewals of the quotes; ``step`` must be a multiple of it.
    refill : how soon after a fill the quotes are renewed; at least a millisecond.
    levels : on each side.
    spread : of its best quotes [bps]; at least one increment of the symbol's prices.
    spacing : between the levels behind them [bps].
    depth : money at each level, in the symbol's currency.
    impact : by which the reference moves when the lots of one level are bought or sold [bps].
    half_life : in which half of what is left of the impact goes away.

    Raises
    ------
    ConfigError, ModelError
        For a bad parameter; if the model cannot be read or draws no returns.
    """

    plays_data = True
    wants_acceptances = False

    def __init__(
        self,
        model: Any,
        symbols: Sequence[str] | None = None,
        step: str | int | None = None,
        conditions: Any = None,
        sampling: Mapping[str, Any] | None = None,
        prices: Mapping[str, float] | None = None,
        bridge: float = 1.0,
        interval: str | int = "10s",
        refill: str | int = "100ms",
        levels: int = 5,
        spread: float = 2.0,
        spacing: float = 2.0,
        depth: float = 100_000.0,
        impact: float = 2.0,
        half_life: str | int = "20min",
    ) -> None:
        self.symbols = [] if symbols is None else checks.sequence("symbols", symbols)
        names = set(map(str, self.symbols))
        if symbols is not None and not 0 < len(names) == len(self.symbols):
            raise ConfigError(f"symbols must be different names, one or more, was {symbols!r}")
        self.prices = {
            name: checks.positive(f"prices.{name}", price)
            for name, price in checks.mapping("prices", prices).items()
        }
        self.conditions = plain_conditions(conditions)
        self.bridge = checks.at_least_zero("bridge", bridge)
        if self.bridge > MAX_BRIDGE:
            raise ConfigError(f"bridge must be <= {MAX_BRIDGE:g}, was {bridge!r}")
        self.interval_ns = _span("interval", interval, 1)
        self.refill_ns = _span("refill", refill, MIN_REFILL_NS)
        self.half_life_ns = _span("half_life", half_life, 1)
        self.levels = checks.integer("levels", levels, 1, MAX_LEVELS)
        if checks.at_least_zero("spread", spread) >= MAX_SPREAD_BPS:
            raise ConfigError(f"spread must be < {MAX_SPREAD_BPS:,} bps, was {spread!r}")
        self.spread = spread * _BPS
        self.spacing = checks.positive("spacing", spacing) * _BPS
        self.depth = checks.positive("depth", depth)
        self.impact = checks.at_least_zero("impact", impact) * _BPS
        self.generator, self.model_digest = returns_model(model, sampling)
        self.step_ns = self.generator.step_s * NS_PER_SECOND
        if step is not None:
            self.step_ns = _span("step", step, 1)
        if self.step_ns % self.interval_ns:
            raise ConfigError(
                f"interval must divide the step of the path,"
                f" {self.step_ns / NS_PER_SECOND:g} s, was {interval!r}"
            )
        self.seed = 0
        self.next_ns = 0
        self.fills = self.orders = self.rejected_orders = self.taken_out_lots = 0
        self._reset(len(self.generator.symbols))

    def _reset(self, symbols: int) -> None:
        """What it knows of each symbol, before the market begins."""
        self.displacement = [0.0] * symbols
        self.largest = [0.0] * symbols
        self._moved_ns = [0] * symbols
        self._due_ns = [0] * symbols
        self._lots = [0] * symbols
        self._spacing_ticks = [0] * symbols
        self._traded_lots = [0] * symbols
        self._quotes: list[list[list[int]]] = [[] for _ in range(symbols)]

    # -- the path ---------------------------------------------------------------------------

    def on_start(self, market: Handle) -> None:
        """Draw the path, and begin to quote it."""
        try:
            self.symbols = matched_symbols(self.symbols, self.generator, market.symbols)
            for name in self.prices:
                if name not in self.symbols:
                    hint = checks.did_you_mean(name, self.symbols)
                    raise ConfigError(f"prices: unknown symbol {name!r}{hint}")
            paths = self._draw(market)
        except (ConfigError, ModelError) as error:
            raise type(error)(f"agents.{market.name}: {error}") from error
        simulation = market._simulation
        record = simulation._market.view("agents")[market._agent]
        for name in ("latency_ns", "jitter", "delay_ns"):
            record[name] = 0
        times_ns = market.open_ns + self.interval_ns * np.arange(len(paths))
        for number, name in enumerate(self.symbols):
            if simulation._market.view("books")[market._book(name)]["oracle"]:
                raise ConfigError(
                    f"agents.{market.name}: symbols: {name} has a fundamental value already, of an"
                    " oracle or another path"
                )
            path = PricePath(times_ns, np.ascontiguousarray(paths[:, number]))
            path.write(simulation._market, market._book(name))
            first = float(paths[0, number])
            lots = max(round(self.depth / (first * market.money_of(name))), 1)
            if lots > MAX_LOTS:
                raise ConfigError(
                    f"agents.{market.name}: depth must be of {MAX_LOTS:,} lots at most, was"
                    f" {self.depth:g}, {lots:,} lots of {name}"
                )
            self._lots[number] = lots
            self._spacing_ticks[number] = max(round(self.spacing * first), 1)
        self.next_ns = market.open_ns
        market.wake_at(market.open_ns)

    def _draw(self, market: Handle) -> NDArray[np.float64]:
        """The path of each symbol [ticks] at each renewal of the quotes, float64[n, d]."""
        span_ns = self.generator.steps * self.step_ns
        if market.close_ns - market.open_ns > span_ns:
            raise ConfigError(
                f"step: the session, {format_time(market.open_ns)} to"
                f" {format_time(market.close_ns)}, must not be longer than the path,"
                f" {self.generator.steps} steps of {self.step_ns / NS_PER_SECOND:g} s"
            )
        self.seed = int(market.rng.integers(1 << 63))
        drawn = self.generator.sample(1, self.conditions, seed=self.seed)[0].astype(np.float64)
        if not np.isfinite(drawn).all():
            raise ModelError(f"model {self.generator.name!r} drew returns that are not finite")
        fine = bridge(drawn, self.step_ns // self.interval_ns, self.bridge, market.rng)
        first = []
        for asset, name in enumerate(self.symbols):
            price = self.prices.get(name, float(self.generator.initial_prices[asset]))
            first.append(price / market._simulation.symbol_configs[market._book(name)].tick_size)
        paths = np.array(first) * np.exp(fine)
        for number, name in enumerate(self.symbols):
            lowest = float(paths[:, number].min())
            increment = market.price_increment(max(int(lowest), 1), name)
            if not LEAST_INCREMENTS * increment <= lowest <= paths[:, number].max() < 2**53:
                raise ConfigError(
                    f"prices: those of {name} must be {LEAST_INCREMENTS:,} increments and more,"
                    f" from {lowest / increment:.6g} on the path on:"
                    " choose another tick_size, or prices"
                )
        return paths

    # -- quoting ----------------------------------------------------------------------------

    def on_wakeup(self, market: Handle) -> None:
        """Renew the quotes: all in each interval, those of one symbol soon after a fill."""
        now_ns = market.now_ns
        last_ns = market.close_ns - LAST_NS
        everywhere = now_ns >= self.next_ns
        for number, due_ns in enumerate(self._due_ns):
            if everywhere or 0 < due_ns <= now_ns:
                self._due_ns[number] = 0
                self._quote(market, number)
        if everywhere and now_ns < last_ns:
            self.next_ns = min(self.next_ns + self.interval_ns, last_ns)
            market.wake_at(self.next_ns)

    def on_fill(self, market: Handle, fill: Fill) -> None:
        """Let the reference move with what the others want, and quote anew soon."""
        number = self.symbols.index(fill.symbol)
        moved = self._left(number, market.now_ns)
        moved -= fill.side * self.impact * fill.size_lots / self._lots[number]
        moved = min(max(moved, -MAX_DISPLACEMENT), MAX_DISPLACEMENT)
        self.displacement[number], self._moved_ns[number] = moved, market.now_ns
        self.largest[number] = max(self.largest[number], moved, key=abs)
        self._traded_lots[number] += fill.size_lots
        self.fills += 1
        if not fill.is_maker:
            self.taken_out_lots += fill.size_lots
        if self._due_ns[number] == 0:
            self._due_ns[number] = market.now_ns + self.refill_ns
            market.wake_at(self._due_ns[number])

    def on_order(self, market: Handle, update: OrderUpdate) -> None:
        """Count what the exchange refused."""
        if update.status == "rejected":
            self.rejected_orders += 1

    def _left(self, number: int, now_ns: int) -> float:
        """What is left of the displacement of a symbol since it last moved [log price]."""
        passed = (now_ns - self._moved_ns[number]) / self.half_life_ns
        return float(self.displacement[number] * 0.5**passed)

    def _quote(self, market: Handle, number: int) -> None:
        """Move the quotes of a symbol to where the path is; those that may stay keep their place.

        Cancels go first, then what takes stale orders out, then new quotes: nothing meets an own
        order.
        """
        name, simulation = self.symbols[number], market._simulation
        value = float(fundamental_of(simulation._market.address, market._book(name)))
        reference = value * math.exp(self._left(number, market.now_ns))
        wanted = self._ladder(market, number, reference)
        increment = market.size_increment(name)
        size = max(self._lots[number] // increment, 1) * increment
        live, before = market.open_orders, self._quotes[number]
        kept = []
        for order_id, side, price in before:
            left = live.get(order_id, 0)
            if left == size and (side, price) in wanted:
                kept.append([order_id, side, price])
                wanted.remove((side, price))
            elif left:
                market.cancel(order_id)
        for side in (Side.BUY, Side.SELL):
            own = sum(
                live.get(order_id, 0)
                for order_id, sent, price in before
                if sent == side and side * (price - reference) > 0
            )
            self._take_out(market, name, side, reference, own)
        for sent, price in wanted:
            kept.append([market.order(sent, size, price, symbol=name), sent, price])
        self.orders += len(wanted)
        self._quotes[number] = kept

    def _ladder(self, market: Handle, number: int, reference: float) -> list[tuple[int, int]]:
        """Sides and prices of the quotes around a reference price [ticks].

        The mid-price of the best two is within a quarter of an increment of the reference. Those
        behind lie on a grid of their own, where they stay as long as the reference is near.
        """
        name, spacing = self.symbols[number], self._spacing_ticks[number]
        increment = market.price_increment(int(reference), name)
        middle = round(2 * reference / increment)  # in half increments, as mid-prices are
        spread = max(round(self.spread * reference / increment), 1)
        bid = (middle - spread) // 2
        best = {Side.BUY: bid * increment, Side.SELL: (middle - bid) * increment}
        quotes: list[tuple[int, int]] = []
        for side, price in best.items():
            first = (side * price) // spacing
            prices = [price, *(side * spacing * (first - i) for i in range(1, self.levels))]
            on_grid = [_on_grid(market, name, side, one) for one in prices if one > 0]
            quotes += [(int(side), one) for one in dict.fromkeys(on_grid)]
        return quotes

    def _take_out(
        self, market: Handle, name: str, side: Side, reference: float, own_lots: int
    ) -> None:
        """Trade with others' bids above the reference, or their asks below it."""
        bid, bid_lots, ask, ask_lots = market.touch(name)
        best, lots = (bid, bid_lots) if side == Side.BUY else (ask, ask_lots)
        if not lots or side * (best - reference) <= 0:
            return
        if market.phase_of(name) != Phase.CONTINUOUS:
            return
        depth = market.depth(_DEEPEST, name)
        rows = depth.bids if side == Side.BUY else depth.asks
        stale = int(rows[side * (rows[:, 0] - reference) > 0, 1].sum()) - own_lots
        if stale > 0:
            limit = _on_grid(market, name, -side, math.ceil(side * reference) * side)
            market.order(-side, stale, limit, tif="IOC", symbol=name)

    # -- what is left of it -----------------------------------------------------------------

    def summary(self, market: Handle) -> dict[str, Any]:
        """What was drawn, and what trading did to it.

        ``displacement_bps``: by which the reference is off the path now, and was at most.
        """
        left = [self._left(number, market.now_ns) for number in range(len(self.symbols))]
        return {
            "model": self.generator.name,
            "model_digest": self.model_digest,
            "draw_seed": self.seed,
            "symbols": self.symbols,
            "path_step_ns": self.step_ns,
            "displacement_bps": self._by_symbol(left),
            "largest_displacement_bps": self._by_symbol(self.largest),
            "traded_lots": dict(zip(self.symbols, self._traded_lots, strict=True)),
            "fills": self.fills,
            "quotes": self.orders,
            "taken_out_lots": self.taken_out_lots,
            "rejected_orders": self.rejected_orders,
        }

    def _by_symbol(self, logs: list[float]) -> dict[str, float]:
        numbers = (round(value / _BPS, 4) for value in logs)
        return dict(zip(self.symbols, numbers, strict=True))

    def __deepcopy__(self, memo: dict[int, Any]) -> "ReturnPathAgent":
        """Its own state of the market; the model is shared."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.load_state_dict(self.state_dict())
        return twin

    def state_dict(self) -> dict[str, Any]:
        """All attributes but the model; they are JSON values."""
        state = {key: value for key, value in vars(self).items() if key != "generator"}
        return {key: _copied(value) for key, value in state.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state.

        Raises
        ------
        StateError
            If it was saved with another model.
        """
        if state["model_digest"] != self.model_digest:
            raise StateError(
                f"model must be the one it was saved with, {state['model_digest']!r},"
                f" was {self.model_digest!r}"
            )
        vars(self).update(state)


def _on_grid(market: Handle, name: str, side: int, price: int) -> int:
    """A price on the symbol's grid: a buyer's rounded down, a seller's up."""
    increment = market.price_increment(price, name)
    return side * (side * price // increment) * increment


def _copied(value: Any) -> Any:
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _span(field: str, value: str | int, least_ns: int) -> int:
    span_ns = parse_span(value, field)
    if span_ns < least_ns:
        least = "> 0" if least_ns == 1 else f">= {least_ns / 1e6:g}ms"
        raise ConfigError(f"{field} must be {least}, was {value!r}")
    return span_ns
