"""Sessions and call auctions end to end: when orders collect, where they meet, who hears of it."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketsim.agent import Agent, Data, Fill, Handle, OrderUpdate
from marketsim.clock import parse_time
from marketsim.codes import Feed, OrderKind, Phase, PhaseReason, Side
from marketsim.invariants import broken_invariant
from marketsim.naive_orders import Order
from marketsim.naive_rules import auction_price
from marketsim.simulation import Simulation

SECOND = 1_000_000_000
CALL, OPEN, CLOSING, CLOSE = map(parse_time, ("09:00", "09:30", "15:55", "16:00"))
SESSION = {"opening_auction": "09:00", "closing_auction": "15:55"}
Act = Callable[[Handle], Any]


class Trader(Agent):
    """Does things at given times, and keeps what it hears and sees."""

    def __init__(self, steps: list[tuple[int, Act]] = (), feeds: tuple[str, ...] = ()) -> None:  # type: ignore[assignment]
        self.steps = sorted(steps, key=lambda step: step[0])
        self.feeds = feeds
        self.heard: list[str] = []
        self.data: list[Data] = []
        self.phases: list[Phase] = []

    def on_start(self, market: Handle) -> None:
        for feed in self.feeds:
            market.subscribe(feed)
        for time_ns, _ in self.steps:
            market.wake_at(time_ns)

    def on_wakeup(self, market: Handle) -> None:
        self.phases.append(market.phase)
        self.steps.pop(0)[1](market)

    def on_fill(self, market: Handle, fill: Fill) -> None:
        assert not fill.is_maker or market.phase == Phase.CONTINUOUS
        self.heard.append(f"{fill.order_id}: {fill.size_lots}@{fill.price_ticks}")

    def on_order(self, market: Handle, update: OrderUpdate) -> None:
        if update.status != "accepted":
            why = f" {update.reason.name}" if update.reason else ""
            self.heard.append(f"{update.order_id}: {update.status}{why} {update.size_lots}")

    def on_data(self, market: Handle, data: Data) -> None:
        self.data.append(data)


def buy(size: int, limit: int | None = None, **how: Any) -> Act:
    return lambda market: market.buy(size, limit, **how)


def sell(size: int, limit: int | None = None, **how: Any) -> Act:
    return lambda market: market.sell(size, limit, **how)


def watch(market: Handle) -> None:
    """Wake up for nothing but a look at the phase."""


def play(steps: list[tuple[int, Act]], feeds: tuple[str, ...] = (), **config: Any) -> Simulation:
    """One agent does it all; run to the close."""
    config = {"session": SESSION, **config}
    simulation = Simulation(config, agents={"a": Trader(steps, feeds)})
    simulation.run(CLOSE + SECOND)
    assert broken_invariant(simulation._market, 0) is None
    return simulation


def trader(simulation: Simulation, name: str = "a") -> Trader:
    found = simulation.agent(name)
    assert isinstance(found, Trader)
    return found


def call(*orders: Act) -> list[tuple[int, Act]]:
    """Orders of the opening call, a second apart."""
    return [(CALL + i * SECOND, order) for i, order in enumerate(orders)]


def test_orders_collect_and_meet_at_one_price() -> None:
    s = play(call(buy(10, 101), sell(6, 99), sell(3), buy(5, 100)), ("TRADES",))
    assert s.start_ns == CALL and s.open_ns == OPEN
    assert trader(s).heard == [
        "1: 3@101", "3: 3@101", "1: 6@101", "2: 6@101",
        "1: cancelled EXPIRED 1", "4: cancelled EXPIRED 5",
    ]  # fmt: skip
    orders, trades = s.tape.orders, s.tape.trades
    kinds = orders["kind"].tolist()
    cross = kinds.index(OrderKind.CROSS)
    assert orders["time_ns"][cross] == OPEN and orders["agent_id"][cross] == -1
    assert (orders["size_lots"][cross], orders["price_ticks"][cross]) == (9, 101)
    assert trades["sequence"].tolist() == [cross, cross] and trades["side"].tolist() == [0, 0]
    assert trades["maker_order_id"].tolist() == [3, 2]
    assert trades["taker_order_id"].tolist() == [1, 1]
    row = orders["order_id"].tolist().index(3)
    assert (orders["price_ticks"][row], orders["hidden_lots"][row]) == (0, 3)
    seen = [(d.price_ticks, d.size_lots, d.side) for d in trader(s).data]
    assert seen == [(101, 3, None), (101, 6, None)]
    summary = s.run(s.now_ns).summary
    assert summary["auctions"] == [
        {"time": "09:30:00.000", "symbol": "SIM", "price_ticks": 101, "volume_lots": 9}
    ]
    assert "halts" not in summary


def test_without_rules_there_is_no_phase_but_trading() -> None:
    steps = [(OPEN - 5, buy(1, 100)), (OPEN, watch), (CLOSE, watch)]
    s = play(steps, ("SESSION", "IMBALANCE"), session={})
    assert s.start_ns == OPEN
    assert trader(s).phases == [Phase.CONTINUOUS, Phase.CONTINUOUS, Phase.CLOSED]
    assert [data.phase for data in trader(s).data] == [Phase.CLOSED]
    summary = s.run(s.now_ns).summary
    assert "auctions" not in summary and "halts" not in summary
    assert s._market.view("books")[0]["state"] == 0


def test_market_orders_trade_first_and_their_rest_is_cancelled() -> None:
    s = play(call(sell(5, 100), sell(4), buy(6), buy(2, 100)))
    assert trader(s).heard == [
        "3: 4@100", "2: 4@100", "3: 2@100", "1: 2@100", "4: 2@100", "1: 2@100",
        "1: cancelled EXPIRED 1",
    ]  # fmt: skip
    s = play(call(buy(3), sell(2)))
    assert trader(s).heard == ["1: cancelled UNFILLED 3", "2: cancelled UNFILLED 2"]
    assert s.tape.orders["price_ticks"].tolist() == [0, 0, 0, 0]
    s = play(call(buy(3), sell(2)), symbols=[{"name": "X", "reference_ticks": 70}])
    assert trader(s).heard == ["1: 2@70", "2: 2@70", "1: cancelled UNFILLED 1"]


def test_market_orders_of_a_call_are_unseen_and_can_be_taken_back() -> None:
    def look(market: Handle) -> None:
        assert market.best_bid == 100 and market.depth(3).bids.tolist()[1:] == [[0, 0]] * 2

    steps = call(
        buy(5), buy(2, 100), look, lambda m: m.reduce(1, 2),
        lambda m: m.replace(1, limit=3, size=2), lambda m: m.cancel(1),
    )  # fmt: skip
    assert trader(play(steps)).heard == [
        "1: cancelled REQUESTED 2", "1: change_rejected FLAGS 0", "1: cancelled REQUESTED 3",
        "2: cancelled EXPIRED 2",
    ]  # fmt: skip


@pytest.mark.parametrize("how", [{"tif": "IOC"}, {"tif": "FOK"}, {"post_only": True}])
def test_what_has_no_place_in_a_call_is_refused(how: dict[str, Any]) -> None:
    s = play(call(buy(1, 100, **how)))
    assert trader(s).heard == ["1: rejected AUCTION 0"]
    assert s.run(s.now_ns).summary["rejects"] == {"auction": 1}


def test_post_only_orders_of_before_may_not_be_moved_in_a_call() -> None:
    steps = [
        (OPEN, buy(5, 100, post_only=True)),
        (CLOSING, lambda m: m.replace(1, limit=101, size=5)),
        (CLOSING + 1, lambda m: m.replace(1, limit=100, size=4)),
    ]
    assert trader(play(steps)).heard == [
        "1: change_rejected AUCTION 0", "1: replaced 4", "1: cancelled EXPIRED 4",
    ]  # fmt: skip


def test_orders_can_be_changed_in_a_call_and_keep_their_place_when_they_shrink() -> None:
    steps = call(
        buy(5, 100), buy(5, 100), lambda m: m.replace(1, limit=100, size=3),
        lambda m: m.replace(2, limit=101, size=4), lambda m: m.replace(2, limit=100, size=4),
        lambda m: m.reduce(2, 1), sell(4, 100),
    )  # fmt: skip
    heard = trader(play(steps)).heard
    assert [text for text in heard if "@" in text] == [
        "1: 3@100", "3: 3@100", "2: 1@100", "3: 1@100",
    ]  # fmt: skip


def test_visible_orders_trade_before_hidden_ones_and_icebergs_queue_again() -> None:
    steps = call(
        sell(3, 100, hidden=True), sell(9, 100, display=2), sell(4, 100), buy(10, 100)
    )  # fmt: skip
    heard = [text for text in trader(play(steps)).heard if "@" in text and text[0] != "4"]
    assert heard == ["2: 2@100", "3: 4@100", "2: 2@100", "2: 2@100"]


def test_stops_wait_through_the_call_and_come_in_after_the_uncross() -> None:
    steps = call(
        sell(2, 100), sell(4, 103), buy(2, 100), buy(3, stop=100), buy(1, 99, stop=90),
        sell(1, 101, stop=90),
    )  # fmt: skip
    s = play(steps)
    assert [text for text in trader(s).heard if "EXPIRED" not in text] == [
        "3: 2@100", "1: 2@100", "5: triggered 1", "4: triggered 3", "2: 3@103", "4: 3@103",
    ]  # fmt: skip
    assert s.tape.orders["kind"].tolist()[3:6] == [OrderKind.STOP] * 3


def test_stops_that_the_close_would_trigger_expire() -> None:
    steps = [
        (OPEN, sell(5, 103)), (OPEN + 1, sell(1, 100)), (OPEN + 2, buy(1, 100)),
        (OPEN + 3, buy(5, stop=101)), (OPEN + 4, buy(5, stop=101, tif="GTC")),
        (CLOSING + 1, buy(1, 103)),
    ]  # fmt: skip
    s = play(steps)
    assert trader(s).heard[2:] == [
        "6: 1@103", "1: 1@103", "1: cancelled EXPIRED 4", "4: cancelled EXPIRED 5",
    ]  # fmt: skip


def test_periods_refuse_everything_between_them() -> None:
    session = {
        "periods": [{"open": "09:30", "close": "11:30"}, {"open": "13:00", "close": "15:00"}]
    }
    noon, close = parse_time("12:00"), parse_time("15:00")
    steps = [
        (OPEN, buy(1, 100)), (noon, buy(1, 100)), (noon, lambda m: m.cancel(1)),
        (noon, lambda m: m.replace(1, limit=1, size=1)), (noon, lambda m: m.cancel(9)),
        (parse_time("13:00"), sell(1, 100)), (close - 1, buy(3, 100)), (close, buy(1, 100)),
    ]  # fmt: skip
    s = play(steps, ("SESSION",), session=session)
    assert (s.open_ns, s.close_ns) == (OPEN, close)
    assert trader(s).heard == [
        "2: rejected SESSION 0", "1: change_rejected SESSION 0", "1: change_rejected SESSION 0",
        "9: change_rejected SESSION 0", "1: 1@100", "3: 1@100", "4: cancelled EXPIRED 3",
        "5: rejected SESSION 0",
    ]  # fmt: skip
    assert [(d.time_ns, d.phase, d.end_ns) for d in trader(s).data] == [
        (parse_time("11:30"), Phase.BREAK, parse_time("13:00")),
        (parse_time("13:00"), Phase.CONTINUOUS, close), (close, Phase.CLOSED, None),
    ]  # fmt: skip


def test_feeds_say_what_the_auction_would_do_and_when_phases_begin() -> None:
    s = play(call(buy(10, 101), sell(6, 99), sell(9, 105), sell(8)), ("IMBALANCE", "SESSION"))
    imbalance = [d for d in trader(s).data if d.feed == Feed.IMBALANCE]
    assert [(d.price_ticks, d.size_lots, d.side, d.imbalance_lots) for d in imbalance[:4]] == [
        (None, 0, None, 0), (99, 6, Side.BUY, 4), (99, 10, Side.SELL, 4), (None, 0, None, 0),
    ]  # fmt: skip
    phases = [
        (d.time_ns, d.phase, d.reason, d.end_ns) for d in trader(s).data if d.feed == Feed.SESSION
    ]
    assert phases == [
        (OPEN, Phase.CONTINUOUS, PhaseReason.SCHEDULE, CLOSING),
        (CLOSING, Phase.CLOSING_CALL, PhaseReason.SCHEDULE, CLOSE),
        (CLOSE, Phase.CLOSED, PhaseReason.SCHEDULE, None),
    ]


def test_the_phase_is_known_one_latency_late() -> None:
    late = SECOND
    agents = {"slow": {"type": f"{Slow.__module__}:Slow", "latency_ns": late}}
    s = Simulation({"session": SESSION, "agents": agents})
    s.run()
    slow = s.agent("slow")
    assert isinstance(slow, Slow)
    assert slow.phases == [
        Phase.OPENING_CALL, Phase.OPENING_CALL, Phase.CONTINUOUS, Phase.CONTINUOUS,
        Phase.CLOSING_CALL,
    ]  # fmt: skip


class Slow(Agent):
    """Looks at the phase before and after its changes reach it."""

    def __init__(self) -> None:
        self.phases: list[Phase] = []

    def on_start(self, market: Handle) -> None:
        for time in (CALL, OPEN + SECOND - 1, OPEN + SECOND, CLOSING, CLOSING + SECOND):
            market.wake_at(time)

    def on_wakeup(self, market: Handle) -> None:
        self.phases.append(market.phase)


def test_both_sides_pay_the_fee_of_auctions() -> None:
    exchange = {
        "auction_fee_bps": 0.3, "auction_fee_ticks_per_lot": 0.5, "taker_fee_bps": 1,
        "maker_fee_bps": -1,
    }  # fmt: skip
    steps = call(buy(4, 10_000), sell(4, 10_000))
    s = play(steps, exchange=exchange)
    assert s._market.view("accounts")["fees_micro"].tolist() == [
        2 * (30 * 4 * 10_000 + 4 * 500_000)
    ]


def test_own_orders_may_meet_in_an_auction() -> None:
    s = play(call(buy(4, 100), sell(4, 100)), exchange={"self_trade": "cancel_both"})
    assert trader(s).heard == ["1: 4@100", "2: 4@100"]


def test_two_symbols_have_their_own_auctions() -> None:
    symbols = [{"name": "X"}, {"name": "Y", "tick_size": 5}]
    steps = call(
        buy(1, 100), sell(1, 100), buy(2, 7, symbol="Y"), sell(2, 5, symbol="Y"),
    )  # fmt: skip
    s = play(steps, symbols=symbols)
    summary = s.run(s.now_ns).summary
    assert [(a["symbol"], a["price_ticks"], a["volume_lots"]) for a in summary["auctions"]] == [
        ("X", 100, 1), ("Y", 5, 2),
    ]  # fmt: skip
    assert s.tapes["Y"].trades["price_ticks"].tolist() == [5]


ORDERS = st.lists(
    st.tuples(st.sampled_from([1, -1]), st.integers(-8, 8), st.integers(1, 9), st.booleans()),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(ORDERS, st.one_of(st.none(), st.integers(-9, 9)))
def test_no_price_is_better_than_the_auctions(orders: list[Any], reference: int | None) -> None:
    """Over all prices, not only the candidates, none executes more; those named meet the rest."""
    steps = call(*[
        (buy if side > 0 else sell)(size, None if market else limit)
        for side, limit, size, market in orders
    ])  # fmt: skip
    s = Simulation(
        {"session": SESSION, "symbols": [{"name": "X", "reference_ticks": reference}]},
        agents={"a": Trader(steps)},
    )
    s.run(OPEN)
    far = 2**60
    book = [
        Order(i, side, side * far if market else limit, size)
        for i, (side, limit, size, market) in enumerate(orders)
    ]
    buys = [order for order in book if order.side > 0]
    sells = [order for order in book if order.side < 0]
    found = auction_price(buys, sells, reference)
    auctions = s.run(OPEN).summary.get("auctions", [])
    assert [(a["price_ticks"], a["volume_lots"]) for a in auctions] == ([found] if found else [])
    if found and any(abs(order.price_ticks) < far for order in book):
        for price in range(-10, 11):
            demand = sum(order.lots for order in buys if order.price_ticks >= price)
            supply = sum(order.lots for order in sells if order.price_ticks <= price)
            assert min(demand, supply) <= found[1]


def test_the_reference_settles_ties() -> None:
    orders = [buy(5, 104), sell(5, 100)]
    for reference, price in ((None, 100), (99, 100), (102, 102), (104, 104), (110, 104)):
        s = play(call(*orders), symbols=[{"name": "X", "reference_ticks": reference}])
        assert s.tape.trades["price_ticks"].tolist() == [price]


def busy(seed_shift: int = 0) -> list[tuple[int, Act]]:
    """Many orders in each call phase, and some between."""
    steps: list[tuple[int, Act]] = []
    for start in (CALL, OPEN, CLOSING):
        for i in range(40):
            act = buy if i % 2 else sell
            limit = None if i % 11 == 3 else 100 + (i * 7 + seed_shift) % 9 - 4
            how: dict[str, Any] = {"display": 2} if limit and i % 5 == 0 else {}
            steps.append((start + i * SECOND, act(3 + i % 4, limit, **how)))
    return steps


def early(noise: type[Agent]) -> dict[str, Agent]:
    """Three agents that send anything from the opening call on."""

    class Early(noise):  # type: ignore[valid-type, misc]
        def on_start(self, market: Handle) -> None:
            market.wake_at(market.now_ns)

    return {name: Early(95, 105, 10 * SECOND) for name in "abc"}


@pytest.mark.parametrize("at", [CALL + 900 * SECOND, CLOSING + 170 * SECOND])
def test_a_fork_and_a_saved_market_in_the_middle_of_a_call_go_on_alike(
    at: int, tmp_path: Path, noise: type[Agent]
) -> None:
    s = Simulation({"session": SESSION}, agents=early(noise))
    s.run(at)
    fork = s.fork()
    s.save(tmp_path / "call.npz")
    again = Simulation.load(tmp_path / "call.npz", agents=early(noise))
    assert s.digest() == fork.digest() == again.digest()
    assert s._market.view("ladders")["orders"][:2].min() > 2
    runs = [market.run(CLOSE + 1) for market in (s, fork, again)]
    assert len({run.tape.digest() for run in runs}) == 1
    assert len({run.summary["digest"] for run in runs}) == 1
    assert len(runs[0].summary["auctions"]) == 2


def test_pools_grow_in_the_middle_of_an_uncross() -> None:
    feeds = ("L1", "L2", "L3", "TRADES", "IMBALANCE", "SESSION")
    roomy = Simulation({"session": SESSION}, agents={"a": Trader(busy(), feeds)})
    tight = Simulation({"session": SESSION}, agents={"a": Trader(busy(), feeds)})
    roomy._market.resize("messages", 1 << 14)
    sizes = []
    tight._market.view("messages")  # as built: room for an ordinary start
    grow, empty = tight._market.grow, tight._empty_tape

    def counted_grow() -> None:
        sizes.append(int(tight._market.view("rules")[0]["crossing"]))
        grow()

    def counted_empty() -> None:
        sizes.append(int(tight._market.view("rules")[0]["crossing"]))
        empty()

    tight._market.grow, tight._empty_tape = counted_grow, counted_empty  # type: ignore[method-assign]
    small_tape(tight)
    ends = [market.run(CLOSE + 1) for market in (roomy, tight)]
    assert ends[0].tape.digest() == ends[1].tape.digest()
    assert trader(roomy).heard == trader(tight).heard
    assert any(sizes), "no pool was full during an uncross"
    assert [a["volume_lots"] > 40 for a in ends[0].summary["auctions"]] == [True, True]


def small_tape(simulation: Simulation) -> None:
    """Let a few rows fill the tape."""
    for name, capacity in (("order_rows", 4), ("trade_rows", 4), ("delta_rows", 4)):
        simulation._market.header[f"{name}_capacity"] = capacity


def test_cash_and_shares_are_conserved_and_every_instant_is_sound() -> None:
    agents = {"a": Trader(busy(0)), "b": Trader(busy(3)), "c": Trader(busy(5))}
    s = Simulation({"session": SESSION}, agents=agents)
    times = sorted({time for time, _ in busy()} | {OPEN, CLOSING, CLOSE})
    for time_ns, _ in pairwise(times):
        s._advance_to(time_ns, None)
        assert broken_invariant(s._market, 0) is None
    s.run(CLOSE + 1)
    table = s._market.view("accounts")
    assert table["position_lots"].sum() == 0 and table["cash"].sum() == 0
    assert (table["cash"] + table["cost"] == table["realised"]).all()
    assert table["trades"].sum() == 2 * s.tape.trades.size


class Rebuilder(Trader):
    """Keeps the visible book from the feed of single orders alone."""

    def __init__(self) -> None:
        super().__init__([], ("L3",))
        self.levels: dict[tuple[Side | None, int | None], int] = {}

    def on_data(self, market: Handle, data: Data) -> None:
        assert data.size_lots is not None
        lots = data.size_lots if data.kind == OrderKind.LIMIT else -data.size_lots
        key = data.side, data.price_ticks
        self.levels[key] = self.levels.get(key, 0) + lots
        assert self.levels[key] >= 0
        if not self.levels[key]:
            del self.levels[key]


def test_the_feed_of_single_orders_rebuilds_the_book_through_auctions() -> None:
    agents = {"a": Trader(busy(0)), "b": Trader(busy(4)), "listener": Rebuilder()}
    s = Simulation({"session": SESSION}, agents=agents)
    for at in (CALL + 30 * SECOND, OPEN, OPEN + 30 * SECOND, CLOSING + 30 * SECOND, CLOSE):
        s.run(at)
        listener = s.agent("listener")
        assert isinstance(listener, Rebuilder)
        bids, asks = s._python[2][1].depth(50)
        seen = {(Side.BUY, p): lots for p, lots in bids.tolist() if lots}
        seen |= {(Side.SELL, p): lots for p, lots in asks.tolist() if lots}
        assert listener.levels == seen
