"""Naive twins of the populations: plain Python, short enough to believe by reading.

A twin lives the life of one agent over again, from the tape of a run: it draws the same random
numbers, looks at what the tape says was there one latency ago, hears of its fills one latency
late, and writes down what it would have sent and when that would have arrived.
"""

import heapq
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from marketsim.agents.market_maker import MarketMakerAgent
from marketsim.agents.momentum import MomentumAgent
from marketsim.agents.noise import NoiseAgent
from marketsim.agents.sizes import read_sizes
from marketsim.agents.value import ValueAgent
from marketsim.clock import parse_span, parse_time
from marketsim.codes import OrderKind
from marketsim.oracle import path_of
from marketsim.simulation import Simulation

LOW = (1 << 32) - 1
BUY, SELL = 1, -1


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Ten rounds of Philox4x32 (Salmon et al. 2011)."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p, q = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(q >> 32) ^ c[1] ^ k[0], q & LOW, (p >> 32) ^ c[3] ^ k[1], p & LOW]
        k = [(k[0] + 0x9E3779B9) & LOW, (k[1] + 0xBB67AE85) & LOW]
    return c


class Stream:
    """The random numbers of one compiled agent."""

    def __init__(self, seed: int, agent: int, purpose: int = 0) -> None:
        self.seed, self.agent, self.purpose, self.n = seed, agent, purpose, 0

    def units(self) -> tuple[float, float]:
        counter = [self.n & LOW, self.n >> 32, self.agent, self.purpose]
        w = philox(counter, [self.seed & LOW, self.seed >> 32])
        self.n += 1
        return ((w[0] << 21) | (w[1] >> 11)) / 2**53, ((w[2] << 21) | (w[3] >> 11)) / 2**53

    def uniform(self) -> float:
        return self.units()[0]

    def exponential(self, mean: float) -> float:
        return -mean * math.log1p(-self.uniform())

    def normal(self) -> float:
        u, v = self.units()
        return math.sqrt(-2 * math.log1p(-u)) * math.cos(2 * math.pi * v)

    def integer(self, low: int, high: int) -> int:
        return low + int(self.uniform() * (high - low + 1))

    def size(self, given: Any) -> int:
        """Lots from a mixture: first which component, then its draw."""
        parts = read_sizes(given)
        chosen = parts[0]
        if len(parts) > 1:
            u, total, up_to = self.uniform(), sum(part.weight for part in parts), 0.0
            for chosen in parts:
                up_to += chosen.weight
                if u < up_to / total:
                    break
        if chosen.kind == "uniform":
            return self.integer(int(chosen.a), int(chosen.b))
        x = chosen.a + chosen.b * self.normal()
        return round(math.exp(x) if chosen.kind == "lognormal" else x)


class Fill(NamedTuple):
    """What an agent is told of a trade; ``number`` counts its own orders from 0."""

    number: int
    lots: int


class Order(NamedTuple):
    """A limit order as it reaches the exchange."""

    time_ns: int
    side: int
    price: int
    lots: int


class World:
    """A run as its tape tells it."""

    def __init__(self, simulation: Simulation, symbol: int = 0) -> None:
        self.simulation, self.until_ns = simulation, simulation.now_ns
        tape = simulation.tapes[simulation.symbols[symbol]]
        self.orders, self.trades, self.book = tape.orders, tape.trades, tape.book
        self.tick = simulation.symbol_configs[symbol].price_increment_ticks
        self.lot = simulation.symbol_configs[symbol].size_increment_lots
        self.path = path_of(simulation._market, symbol)
        self.mean = getattr(simulation.config.oracle, "r_bar", None)
        side, size = self.trades["side"], self.trades["size_lots"]
        self.bought = np.concatenate([[0], np.cumsum(np.where(side > 0, size, 0))])
        self.sold = np.concatenate([[0], np.cumsum(np.where(side < 0, size, 0))])

    def touch(self, known_ns: int) -> tuple[int, int, int, int]:
        """Best bid, its lots, best ask, its lots after all that happened by then."""
        row = int(np.searchsorted(self.book.time_ns, known_ns, side="right")) - 1
        if row < 0:
            return 0, 0, 0, 0
        book = self.book
        columns = (
            book.bid_price_ticks, book.bid_size_lots, book.ask_price_ticks, book.ask_size_lots,
        )  # fmt: skip
        bid, bid_lots, ask, ask_lots = (int(column[row, 0]) for column in columns)
        return bid, bid_lots, ask, ask_lots

    def traded(self, known_ns: int, lookback_ns: int) -> tuple[int, int]:
        """Lots that aggressors bought and sold in the time before."""
        times = self.trades["time_ns"]
        since, end = np.searchsorted(times, [known_ns - lookback_ns, known_ns], side="right")
        bought, sold = self.bought[end] - self.bought[since], self.sold[end] - self.sold[since]
        return int(bought), int(sold)

    def fundamental(self, now_ns: int) -> float:
        """Fundamental value: linear between the points of its path."""
        assert self.path is not None
        return float(np.interp(now_ns, self.path.time_ns, self.path.price_ticks))

    def rows_of(self, agent: int, kind: OrderKind) -> dict[str, Any]:
        """Rows of the tape of one agent and kind, by order id."""
        rows = np.flatnonzero((self.orders["agent_id"] == agent) & (self.orders["kind"] == kind))
        rows = rows[np.argsort(self.orders["order_id"][rows], kind="stable")]
        names = ("time_ns", "order_id", "side", "price_ticks", "size_lots")
        return {name: self.orders[name][rows] for name in names}

    def orders_of(self, agent: int) -> list[Order]:
        """Limit orders of an agent, in the order in which it sent them."""
        rows = self.rows_of(agent, OrderKind.LIMIT)
        columns = [rows[name].tolist() for name in ("time_ns", "side", "price_ticks", "size_lots")]
        return [Order(*row) for row in zip(*columns, strict=True)]

    def fills_of(self, agent: int) -> Iterator[tuple[int, Fill]]:
        """Trades of an agent's orders, whether they rested or not."""
        ids = self.rows_of(agent, OrderKind.LIMIT)["order_id"]
        for role in ("maker", "taker"):
            mine = np.flatnonzero(self.trades[f"{role}_agent_id"] == agent)
            numbers = np.searchsorted(ids, self.trades[f"{role}_order_id"][mine])
            times, lots = self.trades["time_ns"][mine], self.trades["size_lots"][mine]
            for time_ns, number, size in zip(times, numbers, lots, strict=True):
                yield int(time_ns), Fill(int(number), int(size))


class Twin:
    """One agent: what it hears, and when, as in the kernel."""

    def __init__(self, world: World, agent: int, given: Any) -> None:
        record = world.simulation._market.view("agents")[agent]
        self.latency_ns, self.delay_ns = int(record["latency_ns"]), int(record["delay_ns"])
        self.world, self.agent, self.given = world, agent, given
        self.rng = Stream(world.simulation.seed, agent)
        self.now_ns = world.simulation.start_ns
        self.close_ns = world.simulation.close_ns
        self.queue: list[tuple[int, int, Any]] = []
        self.pushed = self.order_count = 0
        self.tied = False
        self.orders: list[Order] = []
        #: (time at the exchange, number of the order) of all that it asked to cancel.
        self.cancels: list[tuple[int, int]] = []

    def live(self) -> None:
        """From the start to the end of the tape; a message waits while its agent computes."""
        self.push(self.now_ns, 0)
        fills = self.world.fills_of(self.agent) if self.given.hears_fills else ()
        for time_ns, fill in sorted(fills, key=lambda item: item[0]):
            self.push(time_ns + self.latency_ns, fill)
        busy_ns = 0
        while self.queue:
            due_ns, _, what = heapq.heappop(self.queue)
            if self.queue and self.queue[0][0] == due_ns:
                # Which of a fill and a wake-up was sent first, the tape does not tell.
                self.tied |= isinstance(what, Fill) != isinstance(self.queue[0][2], Fill)
            self.now_ns = max(due_ns, busy_ns)
            if self.now_ns > self.world.until_ns:
                break
            busy_ns = self.now_ns + self.delay_ns
            if isinstance(what, Fill):
                self.on_fill(what)
            else:
                self.on_wake(what)

    def push(self, due_ns: int, what: Any) -> None:
        self.pushed += 1
        heapq.heappush(self.queue, (due_ns, self.pushed, what))

    def wake_after(self, delay_ns: float, tag: int = 0) -> None:
        if self.now_ns + int(delay_ns) < self.close_ns:
            self.push(self.now_ns + int(delay_ns), tag)

    def touch(self) -> tuple[int, int, int, int]:
        return self.world.touch(self.now_ns - self.latency_ns)

    def arrives_ns(self) -> int:
        return self.now_ns + self.delay_ns + self.latency_ns

    def limit(self, side: int, lots: int, price: int) -> int:
        tick = self.world.tick
        price = price // tick * tick if side == BUY else -(-price // tick) * tick
        if self.arrives_ns() <= self.world.until_ns:
            self.orders.append(Order(self.arrives_ns(), side, price, lots))
        self.order_count += 1
        return self.order_count - 1

    def cancel(self, number: int) -> None:
        if self.arrives_ns() <= self.world.until_ns:
            self.cancels.append((self.arrives_ns(), number))

    def whole(self, lots: int) -> int:
        return max(lots // self.world.lot, 1) * self.world.lot

    def on_wake(self, tag: int) -> None:
        raise NotImplementedError

    def on_fill(self, fill: Fill) -> None:
        """Nothing."""

    def cancelled(self) -> list[tuple[int, int, int]]:
        """Cancels that still find something: time, number, lots; as the tape has them."""
        open_lots = {number: order.lots for number, order in enumerate(self.orders)}
        events: list[tuple[int, int, int, int]] = []
        for time_ns, fill in self.world.fills_of(self.agent):
            events.append((time_ns, 0, fill.number, fill.lots))
        events += [(time_ns, 1, number, 0) for time_ns, number in self.cancels]
        found = []
        for time_ns, is_cancel, number, lots in sorted(events):
            if not is_cancel:
                open_lots[number] -= lots
            elif open_lots[number] > 0:
                found.append((time_ns, number, open_lots.pop(number)))
                open_lots[number] = 0
        return found


class NoiseTwin(Twin):
    """Trades once, at the touch, at a time with density 12 (t - middle)² / (end - start)³, or 1."""

    awake = False

    def on_wake(self, tag: int) -> None:
        if not self.awake:
            self.awake = True
            start, end = parse_time(self.given.start), parse_time(self.given.end)
            u = self.rng.uniform()  # of the distribution function 1/2 + 4 (t - middle)³ / width³
            away = 2 * u - 1 if self.given.even else np.cbrt(2 * u - 1)
            due_ns = start + int((end - start) / 2 * (1 + away))
            if due_ns > self.now_ns:
                self.wake_after(due_ns - self.now_ns)
                return
        side = BUY if self.rng.uniform() < 0.5 else SELL
        bid, bid_lots, ask, ask_lots = self.touch()
        if (ask_lots if side == BUY else bid_lots) == 0:
            self.wake_after(self.rng.exponential(1e9))
            return
        size = self.rng.size(self.given.size)
        if size > 0:
            self.limit(side, self.whole(size), ask if side == BUY else bid)


class ValueTwin(Twin):
    """Takes its order back, observes, updates its estimate, trades towards it."""

    started = waiting = False
    number, open_lots = -1, 0

    def on_fill(self, fill: Fill) -> None:
        if fill.number == self.number:
            self.open_lots -= fill.lots

    def on_wake(self, tag: int) -> None:
        if not self.started:
            self.started = True
            self.mean = self.given.r_bar or self.world.mean or self.world.path.price_ticks[0]
            self.estimate, self.variance, self.seen_ns = self.mean, 0.0, self.now_ns
            self.wake_after(self.rng.integer(0, 99))
        elif tag == 1:
            self.waiting = False
            self.trade()
        else:
            self.wake_after(self.rng.exponential(1 / self.given.arrival_rate))
            if self.waiting:
                return  # its order is on the way already
            if self.open_lots > 0:
                self.cancel(self.number)
                self.open_lots, self.waiting = 0, True
                self.wake_after(self.delay_ns + 2 * self.latency_ns, 1)
            else:
                self.trade()

    def observe(self) -> None:
        """r' = r̄ + (1-κ)^δ (r - r̄); σ' = (1-κ)^2δ σ + σ_s (1 - (1-κ)^2δ) / (1 - (1-κ)²)."""
        given, elapsed = self.given, self.now_ns - self.seen_ns
        noise = math.sqrt(given.observation_variance) * self.rng.normal()
        observed = self.world.fundamental(self.now_ns) + noise
        log_keep = math.log1p(-given.kappa)  # (1-κ)^δ = exp(δ log(1-κ)): κ is far below 1e-12
        prior = self.mean + math.exp(elapsed * log_keep) * (self.estimate - self.mean)
        kept = math.exp(2 * elapsed * log_keep)
        grown = (
            math.expm1(2 * elapsed * log_keep) / math.expm1(2 * log_keep)
            if given.kappa
            else elapsed
        )
        variance = kept * self.variance + given.shock_variance * grown
        gain = 1.0
        if given.observation_variance + variance > 0:
            gain = variance / (variance + given.observation_variance)
        self.estimate = prior + gain * (observed - prior)
        self.variance = given.observation_variance * gain  # = (1 - gain) variance
        self.seen_ns = self.now_ns

    def trade(self) -> None:
        self.observe()
        left_ns = self.close_ns - self.now_ns
        keep = math.exp(left_ns * math.log1p(-self.given.kappa))
        worth = self.mean + keep * (self.estimate - self.mean)
        bid, bid_lots, ask, ask_lots = self.touch()
        if bid_lots and ask_lots:
            depth = 0
            if self.rng.uniform() >= self.given.aggressive_share:
                depth = self.rng.integer(0, max(int(self.given.depth_spread * (ask - bid)) - 1, 0))
            side = BUY if worth >= (bid + ask) / 2 else SELL
            price = ask - depth if side == BUY else bid + depth
        else:
            side = BUY if self.rng.uniform() < 0.5 else SELL
            price = round(worth)
        size = self.rng.size(self.given.size)
        if size > 0:
            self.open_lots = self.whole(size)
            self.number = self.limit(side, self.open_lots, max(price, 1))


class MomentumTwin(Twin):
    """Buys while the mean of the last ``short`` mids is at least that of the last ``long``."""

    started = False

    def on_wake(self, tag: int) -> None:
        interval_ns = parse_span(self.given.interval)
        self.wake_after(self.rng.exponential(interval_ns) if self.given.poisson else interval_ns)
        if not self.started:
            self.started, self.mids = True, []
            return
        bid, bid_lots, ask, ask_lots = self.touch()
        if not (bid_lots and ask_lots):
            return
        self.mids.append((bid + ask) / 2)
        if len(self.mids) <= self.given.long:
            return
        size = self.rng.size(self.given.size)
        if size > 0:
            short, long = self.given.short, self.given.long  # sums of halves are exact
            rising = np.sum(self.mids[-short:]) * long >= np.sum(self.mids[-long:]) * short
            side = BUY if rising else SELL
            self.limit(side, self.whole(size), ask if rising else bid)


class Quote:
    """An order of a maker's ladder."""

    def __init__(self, number: int, side: int, price: int, open_lots: int) -> None:
        self.number, self.side, self.price, self.open_lots = number, side, price, open_lots


class MakerTwin(Twin):
    """Takes its ladder back but for the outermost orders, looks, quotes anew, takes those back."""

    started = quoting = False
    alarm, mid, held, quoted_ns = 0, None, 0, 0

    def __init__(self, world: World, agent: int, given: Any) -> None:
        super().__init__(world, agent, given)
        self.spread, self.ladder = given.first_spread, list[Quote]()
        self.sent: list[Quote] = []
        self.looks = self.alone = 0

    def on_fill(self, fill: Fill) -> None:
        quote = self.sent[fill.number]
        self.held += quote.side * fill.lots
        if quote not in self.ladder:
            return
        quote.open_lots -= fill.lots
        left = [other for other in self.ladder if other.side == quote.side and other.open_lots > 0]
        rested_ns = self.now_ns - self.quoted_ns
        if quote.open_lots <= 0 and not self.quoting and len(left) <= self.given.renew_at > 0:
            if rested_ns >= parse_span(self.given.renew_pause):
                self.renew()

    def on_wake(self, tag: int) -> None:
        if tag != self.alarm:
            return
        if not self.started:
            self.started = True
            self.sleep()
        elif not self.quoting:
            self.renew()
        else:
            self.quoting = False
            self.quote()
            self.sleep()

    def set_alarm(self, delay_ns: float) -> None:
        self.alarm += 1
        self.wake_after(delay_ns, self.alarm)

    def sleep(self) -> None:
        interval_ns = parse_span(self.given.interval)
        self.set_alarm(self.rng.exponential(interval_ns) if self.given.poisson else interval_ns)

    def take_back(self, quotes: list[Quote]) -> None:
        for quote in quotes:
            if quote.open_lots > 0:
                self.cancel(quote.number)
                quote.open_lots = 0

    def renew(self) -> None:
        self.take_back(self.ladder[:-2])
        self.quoting = True
        self.set_alarm(self.given.cancel_delay_ns + self.delay_ns + 2 * self.latency_ns)

    def own_lots(self, side: int, price: int) -> int:
        """Lots of its own that the tape has at a price, in what it sees."""
        known_ns, lots = self.now_ns - self.latency_ns, 0
        for order, quote in zip(self.orders, self.sent, strict=False):
            if order.side == side and order.price == price and order.time_ns <= known_ns:
                lots += self.lots_at(quote.number, known_ns)
        return lots

    def lots_at(self, number: int, known_ns: int) -> int:
        if not hasattr(self, "_left"):
            self._left: dict[int, list[tuple[int, int]]] = {}
            for time_ns, fill in self.world.fills_of(self.agent):
                self._left.setdefault(fill.number, []).append((time_ns, fill.lots))
            ids = self.world.rows_of(self.agent, OrderKind.LIMIT)["order_id"]
            gone = self.world.rows_of(self.agent, OrderKind.CANCEL)
            numbers = np.searchsorted(ids, gone["order_id"])
            for n, time_ns, lots in zip(numbers, gone["time_ns"], gone["size_lots"], strict=True):
                self._left.setdefault(int(n), []).append((int(time_ns), int(lots)))
        left = self._left.get(number, [])
        return self.orders[number].lots - sum(lots for t, lots in left if t <= known_ns)

    def look(self) -> None:
        """Mid and spread of what others quote at the touch."""
        bid, bid_lots, ask, ask_lots = self.touch()
        self.looks += 1
        if bid_lots and bid_lots == self.own_lots(BUY, bid):
            bid_lots, self.alone = 0, self.alone + 1
        if ask_lots and ask_lots == self.own_lots(SELL, ask):
            ask_lots, self.alone = 0, self.alone + 1
        if bid_lots and ask_lots:
            self.mid = (bid + ask) // 2
            alpha = self.given.spread_alpha
            self.spread = self.spread + alpha * ((ask - bid) - self.spread)
            self.spread = min(self.spread, 0.1 * self.mid)
        elif bid_lots:
            self.mid = bid + math.ceil(self.spread / 2)
        elif ask_lots:
            self.mid = max(ask - math.ceil(self.spread / 2), 1)

    def quote(self) -> None:
        given = self.given
        self.look()
        self.quoted_ns = self.now_ns
        if self.mid is None:
            return
        outermost = self.ladder[-2:]
        lookback_ns = parse_span(given.lookback)
        bought, sold = self.world.traded(self.now_ns - self.latency_ns, lookback_ns)
        size = round(given.participation * (bought + sold))
        buy_size = sell_size = size
        if given.skew_beta:
            tilt = min(-given.skew_beta * self.held, 700.0)  # where exp() ends
            sell_share = 1 / (1 + math.exp(tilt))
            buy_size, sell_size = (
                math.floor(2 * (1 - sell_share) * size),
                math.ceil(2 * sell_share * size),
            )
        buy_size, sell_size = max(buy_size, given.min_size), max(sell_size, given.min_size)
        middle = self.mid
        if bought + sold:
            middle += int(given.price_skew * (2 * bought / (bought + sold) - 1))
        spacing = max(round(given.level_spacing * self.spread), 1)
        self.ladder = []
        for level in range(given.levels):
            if level == given.levels - 1 and given.backstop:
                buy_size = sell_size = given.backstop
            bid = max(middle - math.floor(self.spread / 2) - level * spacing, 1)
            ask = max(middle + math.ceil(self.spread / 2) + level * spacing, 1)
            for side, lots, price in ((BUY, buy_size, bid), (SELL, sell_size, ask)):
                quote = Quote(
                    self.limit(side, self.whole(lots), price), side, price, self.whole(lots)
                )
                self.ladder.append(quote)
                self.sent.append(quote)
        self.take_back(outermost)


TWINS: dict[type, type[Twin]] = {
    NoiseAgent: NoiseTwin,
    ValueAgent: ValueTwin,
    MomentumAgent: MomentumTwin,
    MarketMakerAgent: MakerTwin,
}


def twins_of(simulation: Simulation) -> Iterator[tuple[World, Twin]]:
    """The twins of all agents of a run, having lived."""
    worlds = [World(simulation, symbol) for symbol in range(len(simulation.symbols))]
    for group in simulation.groups:
        if type(group.compiled) in TWINS:
            for agent in group.members:
                twin = TWINS[type(group.compiled)](worlds[group.symbol], agent, group.compiled)
                twin.live()
                yield worlds[group.symbol], twin
