"""Market data: feeds tell everything that is visible, and delayed eyes see exactly the past."""

from typing import Any

import numpy as np
import pytest

from marketsim.agent import Agent, Data, Handle
from marketsim.codes import Feed, OrderKind, Side
from marketsim.data.synthetic import synthetic_tape
from marketsim.simulation import Simulation
from marketsim.tape import Tape

OPEN = 34_200_000_000_000
CLOSE = OPEN + 100_000
LEVELS = 500  # more than there ever are


class Feeds(Agent):
    """Subscribes to everything and keeps it."""

    def __init__(self, feeds: list[str], levels: int = 5) -> None:
        self.feeds, self.levels = feeds, levels
        self.data: list[tuple[int, Data]] = []

    def on_start(self, market: Handle) -> None:
        for feed in self.feeds:
            market.subscribe(feed, levels=self.levels)

    def on_data(self, market: Handle, data: Data) -> None:
        self.data.append((market.now_ns, data))


class Rebuild(Agent):
    """Keeps the visible book from the L3 feed alone, and compares it when it is woken."""

    def __init__(self, every_ns: int = 97) -> None:
        self.every_ns = every_ns
        self.orders: dict[int, list[int]] = {}
        self.compared = 0
        self.differed: list[int] = []

    def on_start(self, market: Handle) -> None:
        market.subscribe("L3")
        market.wake_after(self.every_ns)

    def on_data(self, market: Handle, data: Data) -> None:
        assert data.order_id is not None and data.side is not None
        assert data.price_ticks is not None and data.size_lots is not None
        assert data.size_lots > 0 and data.feed == Feed.L3
        if data.kind == OrderKind.LIMIT:
            entry = self.orders.setdefault(data.order_id, [data.side, data.price_ticks, 0])
            entry[2] += data.size_lots
        else:
            entry = self.orders[data.order_id]
            entry[2] -= data.size_lots
            assert entry[2] >= 0
            if data.kind in (OrderKind.CANCEL, OrderKind.REPLACE):
                assert entry[2] == 0
        assert entry[:2] == [data.side, data.price_ticks]
        if entry[2] == 0:
            del self.orders[data.order_id]

    def on_wakeup(self, market: Handle) -> None:
        market.wake_after(self.every_ns)
        depth = market.depth(LEVELS)
        same = self.side(Side.BUY) == shown(depth.bids)
        if not (same and self.side(Side.SELL) == shown(depth.asks)):
            self.differed.append(market.now_ns)
        self.compared += 1

    def agreed(self, market: Simulation, latency_ns: int = 0) -> bool:
        """Whether the books differed only between two events of one instant."""
        busy = set(market.tape.orders["time_ns"].tolist())
        return {time_ns - latency_ns for time_ns in self.differed} <= busy

    def side(self, side: Side) -> list[tuple[int, int]]:
        levels: dict[int, int] = {}
        for order_side, price, lots in self.orders.values():
            if order_side == side:
                levels[price] = levels.get(price, 0) + lots
        return sorted(levels.items(), reverse=side == Side.BUY)


def shown(levels: Any) -> list[tuple[int, int]]:
    return [(price, lots) for price, lots in levels[levels[:, 1] > 0].tolist()]


def noisy(noise_type: str, count: int = 4, **agents: Any) -> dict[str, Any]:
    noise = {"type": noise_type, "count": count, "low": -10, "high": 30, "mean_ns": 150}
    return {
        "session": {"open": OPEN, "close": CLOSE},
        "exchange": {"self_trade": "decrement"},
        "agents": {"noise": noise, **agents},
    }


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("latency_ns", [0, 41])
def test_the_book_rebuilt_from_single_orders_is_the_book(
    noise_type: str, seed: int, latency_ns: int
) -> None:
    """Icebergs, hidden orders, stops, replacements, self-trade prevention, expiry at the close."""
    rebuild = {"type": f"{__name__}:Rebuild", "latency_ns": latency_ns}
    simulation = Simulation(noisy(noise_type, rebuild=rebuild), seed)
    simulation.run(CLOSE + 1000)
    agent = simulation._python[4][0]
    assert isinstance(agent, Rebuild) and agent.compared > 1000
    assert agent.agreed(simulation, latency_ns)


@pytest.fixture(scope="module")
def day() -> Tape:
    return synthetic_tape(open="09:30", close="09:40")


class Taker(Agent):
    """Takes liquidity away from recorded flow, so that substitutes must be found."""

    def on_start(self, market: Handle) -> None:
        market.wake_at(market.open_ns + 1_000_000_000)

    def on_wakeup(self, market: Handle) -> None:
        market.wake_after(2_000_000_000)
        market.order(int(market.rng.choice([-1, 1])), int(market.rng.integers(1, 300)))


def test_the_book_rebuilt_from_a_replay_is_the_book(day: Tape) -> None:
    """Reveals and substituted cancels are on the feed as well."""
    rebuild = Rebuild(every_ns=250_000_001)
    config = {"data": "given", "agents": {"history": {"type": "replay"}}}
    simulation = Simulation(config, agents=[rebuild, Taker()], data=day)
    run = simulation.run()
    assert rebuild.compared > 1000 and rebuild.agreed(simulation)
    assert run.summary["history"]["reveals"] == len(day.reveals.to_pandas()) > 0
    assert run.summary["history"]["substituted"] + run.summary["history"]["cancels_short"] > 0


def feeds_of(simulation: Simulation, agent: int) -> list[tuple[int, Data]]:
    found = simulation._python[agent][0]
    assert isinstance(found, Feeds)
    return found.data


def test_the_touch_and_the_trades_are_told_after_the_latency_and_match_the_tape(
    noise_type: str,
) -> None:
    latency_ns = 30
    feeds = {"type": f"{__name__}:Feeds", "feeds": ["L1", "TRADES"], "latency_ns": latency_ns}
    simulation = Simulation(noisy(noise_type, feeds=feeds), 4)
    simulation.run(CLOSE + 100)
    data = feeds_of(simulation, 4)
    assert all(now_ns == told.time_ns + latency_ns for now_ns, told in data)
    tape = simulation.tape
    trades = [told for _, told in data if told.feed == Feed.TRADES]
    assert [told.price_ticks for told in trades] == tape.trades["price_ticks"].tolist()
    assert [told.size_lots for told in trades] == tape.trades["size_lots"].tolist()
    assert [told.side for told in trades] == tape.trades["side"].tolist()
    assert [told.time_ns for told in trades] == tape.trades["time_ns"].tolist()
    touches = [told for _, told in data if told.feed == Feed.L1]
    book = tape.book
    for told in touches[::7]:
        assert told.bid != told.ask or told.bid is None
    # The last touch of each instant is the book after the last event of that instant.
    last = {told.time_ns: told for told in touches}
    row_of = {int(time_ns): row for row, time_ns in enumerate(book.time_ns)}
    for time_ns, told in last.items():
        row = row_of[time_ns]
        bid = (int(book.bid_price_ticks[row, 0]), int(book.bid_size_lots[row, 0]))
        ask = (int(book.ask_price_ticks[row, 0]), int(book.ask_size_lots[row, 0]))
        assert told.bid == (bid if bid[1] else None)
        assert told.ask == (ask if ask[1] else None)
    for before, after in zip(touches, touches[1:], strict=False):
        assert (before.bid, before.ask) != (after.bid, after.ask)  # told when it changes only


def test_depth_is_told_when_a_watched_level_changes(noise_type: str) -> None:
    latency_ns = 30
    feeds = {"type": f"{__name__}:Feeds", "feeds": ["L2"], "levels": 2, "latency_ns": latency_ns}
    simulation = Simulation(noisy(noise_type, feeds=feeds), 5)
    simulation.run(CLOSE - 1)
    data, book = feeds_of(simulation, 4), simulation.tape.book
    row_of = {int(time_ns): row for row, time_ns in enumerate(book.time_ns)}
    for side in ("bid", "ask"):
        price, lots = getattr(book, f"{side}_price_ticks"), getattr(book, f"{side}_size_lots")
        for _, told in data:
            row = row_of[told.time_ns]
            seen = told.bids if side == "bid" else told.asks
            assert seen is not None and seen.shape == (2, 2)
            assert seen[:, 0].tolist() == price[row, :2].tolist()
            assert seen[:, 1].tolist() == lots[row, :2].tolist()
    names = [f"{side}_{what}" for side in ("bid", "ask") for what in ("price_ticks", "size_lots")]
    state = np.concatenate([getattr(book, name)[:, :2] for name in names], axis=1)
    changes = 1 + int((state[1:] != state[:-1]).any(axis=1).sum())
    assert abs(len(data) - changes) <= changes // 50  # rows of one event are one change


class Look(Agent):
    """Writes down all that it sees, at given times."""

    def __init__(self, start_ns: int, every_ns: int) -> None:
        self.start_ns, self.every_ns = start_ns, every_ns
        self.seen: dict[int, Any] = {}

    def on_start(self, market: Handle) -> None:
        market.wake_at(self.start_ns)

    def on_wakeup(self, market: Handle) -> None:
        if market.now_ns < CLOSE - 1000:
            market.wake_after(self.every_ns)
        depth = market.depth(LEVELS)
        self.seen[market.now_ns] = (
            shown(depth.bids), shown(depth.asks), market.touch(), market.traded_lots(),
            market.last_price, market.mid_ticks, market.spread_ticks,
        )  # fmt: skip


@pytest.mark.parametrize("latency_ns", [1, 50, 799, 20_000])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_delayed_view_is_what_was_seen_one_latency_ago(
    noise_type: str, latency_ns: int, seed: int
) -> None:
    """Against an agent without latency, that looks at each instant after everybody has acted."""

    def look(start: int) -> dict[str, Any]:
        return {"type": f"{__name__}:Look", "start_ns": start, "every_ns": 37}

    config = noisy(
        noise_type, now=look(OPEN), late={**look(OPEN + latency_ns), "latency_ns": latency_ns}
    )
    simulation = Simulation(config, seed)
    simulation.run(CLOSE - 500)
    now, late = simulation._python[4][0], simulation._python[5][0]
    assert isinstance(now, Look) and isinstance(late, Look)
    book, trades = simulation.tape.book, simulation.tape.trades
    busy = set(simulation.tape.orders["time_ns"].tolist())
    compared = 0
    for time_ns, seen in late.seen.items():
        past_ns = time_ns - latency_ns
        if past_ns in busy or past_ns not in now.seen:
            continue  # events of the same instant may come before or after a look
        assert seen == now.seen[past_ns], time_ns
        compared += 1
        row = int(np.searchsorted(book.time_ns, past_ns, side="right")) - 1
        best = int(book.bid_price_ticks[row, 0]) if row >= 0 else 0
        assert (seen[0][0][0] if seen[0] else 0) == best
        assert seen[3] == trades["size_lots"][trades["time_ns"] <= past_ns].sum()
    assert compared > 0.9 * (CLOSE - OPEN - latency_ns) / 37 - 50
    history = simulation._market.capacities["history"]
    assert history & (history - 1) == 0
    assert latency_ns < 20_000 or history > 64  # the undo log has grown


def test_what_happened_exactly_one_latency_ago_is_known() -> None:
    """Events at ``now - latency`` are seen, those a nanosecond later are not."""

    class Maker(Agent):
        def on_start(self, market: Handle) -> None:
            market.wake_at(OPEN + 1000)

        def on_wakeup(self, market: Handle) -> None:
            market.buy(5, limit=100)

    def look(start: int) -> dict[str, Any]:
        return {"type": f"{__name__}:Look", "start_ns": start, "every_ns": 1, "latency_ns": 40}

    config = {"session": {"open": OPEN, "close": CLOSE}, "agents": {"late": look(OPEN + 1038)}}
    simulation = Simulation(config, agents=[Maker()])
    simulation.run(OPEN + 1042)
    late = simulation._python[0][0]
    assert isinstance(late, Look)
    bids = [seen[0] for _, seen in sorted(late.seen.items())]
    assert bids == [[], [], [(100, 5)], [(100, 5)], [(100, 5)]]


def test_unsubscribe_and_subscribe_again() -> None:
    class Trader(Agent):
        def on_start(self, market: Handle) -> None:
            for i in range(6):
                market.wake_at(OPEN + 10 * i)

        def on_wakeup(self, market: Handle) -> None:
            market.order(1, 1, market.now_ns - OPEN + 1)

    class Fickle(Agent):
        def on_start(self, market: Handle) -> None:
            self.bids: list[Any] = []
            market.subscribe(Feed.L1)
            market.subscribe("trades")
            market.wake_at(OPEN + 15)
            market.wake_at(OPEN + 35)

        def on_wakeup(self, market: Handle) -> None:
            if market.now_ns == OPEN + 15:
                market.unsubscribe("L1")
            else:
                market.subscribe("L1")

        def on_data(self, market: Handle, data: Data) -> None:
            self.bids.append(data.bid)

    fickle = Fickle()
    Simulation({"session": {"open": OPEN, "close": CLOSE}}, agents=[Trader(), fickle]).run(
        OPEN + 100
    )
    assert fickle.bids == [(1, 1), (11, 1), (41, 1), (51, 1)]
