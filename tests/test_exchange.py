"""The exchange end to end: what each kind of order and request leads to, and who is told."""

from collections.abc import Callable
from typing import Any

import pytest

from marketsim.agent import Agent, Fill, Handle, OrderUpdate
from marketsim.codes import OrderKind, Side
from marketsim.errors import ConfigError, OrderError
from marketsim.simulation import Simulation

SECOND = 1_000_000_000
OPEN = 34_200 * SECOND
Act = Callable[[Handle], Any]


class Script(Agent):
    """Does things at given times and keeps what it hears."""

    def __init__(self, steps: list[tuple[int, Act]]) -> None:
        self.steps = list(steps)
        self.heard: list[Fill | OrderUpdate] = []
        self.known: list[tuple[int, int, dict[int, int]]] = []

    def on_start(self, market: Handle) -> None:
        for time_ns, _ in self.steps:
            market.wake_at(time_ns)

    def on_wakeup(self, market: Handle) -> None:
        self.steps.pop(0)[1](market)

    def on_fill(self, market: Handle, fill: Fill) -> None:
        self._hear(market, fill)

    def on_order(self, market: Handle, update: OrderUpdate) -> None:
        self._hear(market, update)

    def _hear(self, market: Handle, what: Fill | OrderUpdate) -> None:
        self.heard.append(what)
        self.known.append((market.position, market.cash_ticks, market.open_orders))

    @property
    def said(self) -> list[str]:
        """What was heard, without the accepted orders, one short line each."""
        return [line(what) for what in self.heard if getattr(what, "status", "") != "accepted"]


def line(what: Fill | OrderUpdate) -> str:
    if isinstance(what, Fill):
        verb = "made" if what.is_maker else "took"
        return f"{verb} {what.order_id}: {what.size_lots}@{what.price_ticks} left {what.left_lots}"
    reason = f" {what.reason.name}" if what.reason is not None else ""
    size = f" {what.size_lots}, left {what.left_lots}" if what.size_lots else ""
    return f"{what.status} {what.order_id}:{size}{reason}"


def play(*steps: tuple[str, Act], **config: Any) -> Simulation:
    """One step a second; agents by their names. Order ids count from 1 in the order of sending."""
    names = sorted({name for name, _ in steps})
    times = [(name, OPEN + (i + 1) * SECOND, act) for i, (name, act) in enumerate(steps)]
    agents = {name: Script([(t, act) for who, t, act in times if who == name]) for name in names}
    simulation = Simulation(config, agents=agents)
    simulation.run(OPEN + (len(steps) + 1) * SECOND)
    return simulation


def said(simulation: Simulation, name: str) -> list[str]:
    return agent(simulation, name).said


def agent(simulation: Simulation, name: str) -> Script:
    found = simulation._python[simulation.agent_names.index(name)][0]
    assert isinstance(found, Script)
    return found


def buy(size: int, limit: int | None = None, **how: Any) -> Act:
    return lambda market: market.buy(size, limit, **how)


def sell(size: int, limit: int | None = None, **how: Any) -> Act:
    return lambda market: market.sell(size, limit, **how)


def test_both_sides_hear_of_a_trade_at_the_resting_price() -> None:
    s = play(("a", buy(10, 100)), ("b", sell(4, 99)))
    made, took = agent(s, "a").heard[-1], agent(s, "b").heard[-1]
    assert made == Fill(OPEN + 2 * SECOND, "SIM", 1, Side.BUY, 100, 4, 6, True, 0.0)
    assert took == Fill(OPEN + 2 * SECOND, "SIM", 2, Side.SELL, 100, 4, 0, False, 0.0)
    assert agent(s, "a").known[-1] == (4, -400, {1: 6})
    assert agent(s, "b").known[-1] == (-4, 400, {})
    trades = s.tape.trades
    assert trades["maker_order_id"].tolist() == [1] and trades["taker_agent_id"].tolist() == [1]
    assert trades["sequence"].tolist() == [1] and trades["side"].tolist() == [-1]


def test_every_answer_is_dated_and_accepts_come_first() -> None:
    s = play(("a", sell(5, 101)), ("b", buy(5, 101)))
    first, second = agent(s, "b").heard
    assert isinstance(first, OrderUpdate) and first.status == "accepted" and first.left_lots == 5
    assert isinstance(second, Fill) and second.time_ns == first.time_ns == OPEN + 2 * SECOND


@pytest.mark.parametrize(
    "how, expected",
    [
        ({"tif": "IOC"}, ["took 2: 4@100 left 6", "cancelled 2: 6, left 0 UNFILLED"]),
        ({"tif": "FOK"}, ["rejected 2: NOT_FILLABLE"]),
        ({"tif": "GTC"}, ["took 2: 4@100 left 6"]),
        ({"post_only": True}, ["rejected 2: WOULD_TAKE"]),
        ({"hidden": True}, ["took 2: 4@100 left 6"]),
    ],
)
def test_ways_of_taking(how: dict[str, Any], expected: list[str]) -> None:
    s = play(("a", sell(4, 100)), ("b", buy(10, 100, **how)))
    assert said(s, "b") == expected


def test_fill_or_kill_that_fills() -> None:
    s = play(("a", sell(4, 100)), ("a", sell(6, 101)), ("b", buy(10, 101, tif="FOK")))
    assert said(s, "b") == ["took 3: 4@100 left 6", "took 3: 6@101 left 0"]
    assert s.tape.orders["kind"].tolist() == [1, 1, 8]


def test_a_market_order_takes_what_there_is() -> None:
    s = play(("a", sell(4, 100)), ("b", buy(10)), ("b", buy(1)))
    assert said(s, "b") == [
        "took 2: 4@100 left 6", "cancelled 2: 6, left 0 UNFILLED",
        "cancelled 3: 1, left 0 UNFILLED",
    ]  # fmt: skip
    assert s.tape.orders["price_ticks"].tolist() == [100, 0, 0]


def test_an_iceberg_shows_a_part_and_loses_its_place_with_each_refill() -> None:
    s = play(
        ("a", sell(10, 100, display=3)), ("b", sell(2, 100)), ("c", buy(4, 100)),
        ("c", buy(4, 100)),
    )  # fmt: skip
    assert said(s, "a") == ["made 1: 3@100 left 7", "made 1: 3@100 left 4"]
    assert said(s, "b") == ["made 2: 1@100 left 1", "made 2: 1@100 left 0"]
    assert s.tape.orders["hidden_lots"].tolist() == [7, 0, 0, 0]
    book = s.tape.book
    assert book.ask_size_lots[:, 0].tolist() == [3, 5, 4, 3]


def test_hidden_orders_trade_last_and_are_not_shown() -> None:
    s = play(("a", sell(5, 100, hidden=True)), ("b", sell(5, 100)), ("c", buy(7, 100)))
    assert said(s, "c") == ["took 3: 5@100 left 2", "took 3: 2@100 left 0"]
    assert s.tape.trades["maker_order_id"].tolist() == [2, 1]
    assert s.tape.book.ask_size_lots[:, 0].tolist() == [0, 5, 0]
    assert s.tape.orders["hidden_lots"].tolist() == [5, 0, 0]


def test_stops_wait_for_a_trade_and_enter_as_market_or_limit_orders() -> None:
    s = play(
        ("a", sell(1, 100)), ("a", sell(5, 102)), ("a", sell(5, 103)),
        ("s", buy(2, stop=101)), ("t", buy(6, 102, stop=102)), ("b", buy(1, 100)),
        ("b", buy(1, 102)),
    )  # fmt: skip
    assert said(s, "s") == ["triggered 4: 2, left 2", "took 4: 2@102 left 0"]
    assert said(s, "t") == ["triggered 5: 6, left 6", "took 5: 2@102 left 4"]
    assert s.tape.orders["kind"].tolist() == [1, 1, 1, 10, 10, 1, 1, 8, 1]
    assert s.tape.orders["price_ticks"].tolist() == [100, 102, 103, 101, 102, 100, 102, 0, 102]
    assert s.tape.book.bid_price_ticks[-1, 0] == 102 and s.tape.book.bid_size_lots[-1, 0] == 4


def test_a_stop_beyond_the_last_trade_triggers_at_once() -> None:
    s = play(("a", sell(9, 100)), ("b", buy(1, 100)), ("c", buy(2, stop=99)))
    assert said(s, "c") == ["triggered 3: 2, left 2", "took 3: 2@100 left 0"]
    assert s.tape.orders["kind"].tolist() == [1, 1, 8]


def test_a_fill_or_kill_stop_that_triggers_at_once_is_refused_when_it_cannot_fill() -> None:
    s = play(("a", sell(3, 100)), ("b", buy(1, 100)), ("c", buy(9, 100, stop=99, tif="FOK")))
    assert said(s, "c") == ["rejected 3: NOT_FILLABLE"] and len(s.tape) == 2


def test_a_triggered_fill_or_kill_that_cannot_fill_is_cancelled() -> None:
    s = play(("a", sell(3, 100)), ("b", buy(9, 100, stop=100, tif="FOK")), ("c", buy(1, 100)))
    assert said(s, "b") == ["triggered 2: 9, left 9", "cancelled 2: 9, left 0 UNFILLED"]
    assert agent(s, "b").known[-1] == (0, 0, {})
    assert s.tape.orders["kind"].tolist() == [1, 10, 1, 3]


def test_cancel_reduce_and_replace() -> None:
    s = play(
        ("a", buy(10, 100)), ("a", lambda m: m.reduce(1, 4)),
        ("a", lambda m: m.replace(1, limit=100, size=5)),
        ("b", buy(1, 100)), ("a", lambda m: m.replace(1, limit=100, size=8)),
        ("c", sell(2, 100)), ("a", lambda m: m.cancel(1)),
    )  # fmt: skip
    assert said(s, "a") == [
        "cancelled 1: 4, left 6 REQUESTED", "replaced 1: 5, left 5", "replaced 1: 8, left 8",
        "made 1: 1@100 left 7", "cancelled 1: 7, left 0 REQUESTED",
    ]  # fmt: skip
    assert said(s, "b") == ["made 2: 1@100 left 0"]  # the larger size lost its place
    kinds = [OrderKind(kind).name for kind in s.tape.orders["kind"]]
    assert kinds == ["LIMIT", "REDUCE", "REPLACE", "LIMIT", "REPLACE", "LIMIT", "CANCEL"]


def test_a_replacement_can_take() -> None:
    s = play(
        ("a", sell(3, 101)), ("b", buy(5, 100)), ("b", lambda m: m.replace(2, limit=101, size=4))
    )
    assert said(s, "b") == ["replaced 2: 4, left 4", "took 2: 3@101 left 1"]
    assert s.tape.trades["sequence"].tolist() == [2]


FIVE = [{"name": "SIM", "price_increment_ticks": 5, "size_increment_lots": 10}]


def halt(m: Handle) -> None:
    m._simulation._market.view("books")["state"] = 1


CHANGES: list[tuple[Act, str]] = [
    (lambda m: m.cancel(77), "UNKNOWN_ORDER"),
    (lambda m: m.reduce(77, 10), "UNKNOWN_ORDER"),
    (lambda m: m.cancel(1), "NOT_OWNER"),
    (lambda m: m.reduce(1, 10), "NOT_OWNER"),
    (lambda m: m.replace(1, limit=100, size=10), "NOT_OWNER"),
    (lambda m: m.reduce(2, 0), "SIZE"),
    (lambda m: m.replace(2, limit=100, size=0), "SIZE"),
    (lambda m: m.replace(2, limit=101, size=10), "TICK"),
    (lambda m: m.replace(2, limit=100, size=11), "LOT"),
    (lambda m: m.reduce(2, 5), "LOT"),
    (lambda m: m.replace(2, limit=2**61 + 4, size=10), "PRICE"),
    (lambda m: m.replace(2, limit=110, size=10), "WOULD_TAKE"),
    (lambda m: m.replace(3, limit=110, size=10), "FLAGS"),
]


@pytest.mark.parametrize("change, reason", CHANGES)
def test_changes_that_are_refused(change: Act, reason: str) -> None:
    s = play(
        ("a", sell(10, 105)), ("b", buy(10, 100, post_only=True)), ("b", buy(10, stop=200)),
        ("b", change), symbols=FIVE,
    )  # fmt: skip
    assert len(said(s, "b")) == 1 and said(s, "b")[0].startswith("change_rejected")
    assert said(s, "b")[0].endswith(reason)
    assert s.run(s.now_ns).summary["rejects"] == {reason.lower(): 1}
    assert agent(s, "b").known[-1][2] == {2: 10, 3: 10}
    assert len(s.tape) == 3


ORDERS: list[tuple[Act, str]] = [
    (buy(10, 101), "TICK"),
    (buy(10, 100, stop=101), "TICK"),
    (buy(11, 100), "LOT"),
    (buy(20, 100, display=5), "LOT"),
    (buy(10, 100, display=20), "SIZE"),
    (buy(10, 100, display=-10), "SIZE"),
    (buy(10, 2**60 + 5), "PRICE"),
    (buy(10, -(2**60) - 5), "PRICE"),
    (buy(10, 100, stop=2**60 + 5), "PRICE"),
    (buy(10, 105, post_only=True), "WOULD_TAKE"),
    (buy(20, 105, tif="FOK"), "NOT_FILLABLE"),
    (buy(10, 100, post_only=True, tif="IOC"), "FLAGS"),
    (buy(20, 100, hidden=True, display=10), "FLAGS"),
    (buy(10, hidden=True), "FLAGS"),
]


@pytest.mark.parametrize("order, reason", ORDERS)
def test_orders_that_are_refused(order: Act, reason: str) -> None:
    s = play(("a", sell(10, 105)), ("b", order), symbols=FIVE)
    assert said(s, "b") == [f"rejected 2: {reason}"]
    assert agent(s, "b").known[-1] == (0, 0, {})
    assert len(s.tape) == 1 and s.run(s.now_ns).summary["rejects"] == {reason.lower(): 1}


def test_a_market_order_has_no_tick_and_a_cancel_works_in_a_halt() -> None:
    s = play(
        ("a", sell(10, 105)), ("b", buy(10, 100)), ("b", buy(10)), ("b", halt), ("b", buy(10, 100)),
        ("b", lambda m: m.replace(2, limit=100, size=20)), ("b", lambda m: m.cancel(2)),
        symbols=FIVE,
    )  # fmt: skip
    assert said(s, "b") == [
        "took 3: 10@105 left 0", "rejected 4: HALTED", "change_rejected 2: HALTED",
        "cancelled 2: 10, left 0 REQUESTED",
    ]  # fmt: skip


def test_nothing_enters_before_the_open_or_from_the_close_on() -> None:
    close = OPEN + 100
    early = Script([(OPEN, buy(1, 100))])
    late = Script([(close, buy(1, 100)), (close, lambda m: m.cancel(1)), (close + 5, buy(1, 100))])
    session = {"open": OPEN, "close": close}
    s = Simulation({"session": session}, agents={"early": early, "late": late})
    s.run(close + 10)
    assert early.said == ["cancelled 1: 1, left 0 EXPIRED"]
    assert late.said == [
        "rejected 2: SESSION", "change_rejected 1: SESSION", "rejected 3: SESSION",
    ]  # fmt: skip


def test_day_orders_and_stops_expire_at_the_close_and_the_others_stay() -> None:
    session = {"open": OPEN, "close": OPEN + SECOND}
    orders = [
        buy(1, 100), buy(2, 99, tif="GTC"), sell(9, 101, display=2), sell(3, stop=90),
        sell(3, stop=90, tif="GTC"), buy(5, 98, hidden=True),
    ]  # fmt: skip
    trader = Script([(OPEN, order) for order in orders])
    s = Simulation({"session": session}, agents={"a": trader})
    s.run()
    assert sorted(trader.said) == [
        "cancelled 1: 1, left 0 EXPIRED", "cancelled 3: 9, left 0 EXPIRED",
        "cancelled 4: 3, left 0 EXPIRED", "cancelled 6: 5, left 0 EXPIRED",
    ]  # fmt: skip
    assert trader.known[-1][2] == {2: 2, 5: 3}
    assert s.tape.book.bid_size_lots[-1, 0] == 2 and s.tape.book.ask_size_lots[-1, 0] == 0


@pytest.mark.parametrize(
    "mode, maker, taker, left",
    [
        ("allow", ["made 1: 5@100 left 0"], ["took 3: 5@100 left 3"], 0),
        ("cancel_taker", [], ["cancelled 3: 8, left 0 SELF_TRADE"], 9),
        ("cancel_maker", ["cancelled 1: 5, left 0 SELF_TRADE"], [], 0),
        ("cancel_both", ["cancelled 1: 5, left 0 SELF_TRADE"],
         ["cancelled 3: 8, left 0 SELF_TRADE"], 4),
        ("decrement", ["cancelled 1: 5, left 0 SELF_TRADE"],
         ["cancelled 3: 5, left 3 SELF_TRADE"], 0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("by_rule", [False, True])
def test_self_trade(
    mode: str, maker: list[str], taker: list[str], left: int, by_rule: bool
) -> None:
    """Own 5 lots, then 4 of somebody else's, meet an order of 8."""
    how = {} if by_rule else {"self_trade": mode}
    exchange = {"self_trade": mode} if by_rule else {}
    s = play(("a", sell(5, 100)), ("b", sell(4, 100)), ("a", buy(8, 100, **how)), exchange=exchange)
    heard = said(s, "a")
    mine = [text for text in heard if " 3:" not in text]
    assert mine == maker
    rest = [text for text in heard if " 3:" in text]
    assert rest[: len(taker)] == taker
    sold = {"allow": 3, "cancel_maker": 4, "decrement": 3}.get(mode, 0)
    assert said(s, "b") == ([f"made 2: {sold}@100 left {4 - sold}"] if sold else [])
    assert set(s.tape.trades["sequence"].tolist()) <= {2}  # not of the cancelled makers' rows
    asks = int(s.tape.book.ask_size_lots[-1, 0])
    assert asks == {"allow": 1, "decrement": 1}.get(mode, left)
    assert agent(s, "a").known[-1][2] == ({1: 5} if mode == "cancel_taker" else
                                          {3: 4} if mode == "cancel_maker" else {})  # fmt: skip


def test_fees_and_rebates_are_exact() -> None:
    exchange = {
        "maker_fee_bps": -0.2, "taker_fee_bps": 0.3, "maker_fee_ticks_per_lot": 0.001,
        "taker_fee_ticks_per_lot": 0.5,
    }  # fmt: skip
    s = play(("a", sell(7, 10_003)), ("b", buy(7, 10_003)), exchange=exchange)
    micro = s._market.view("accounts")["fees_micro"].tolist()
    assert micro == [-20 * 7 * 10_003 + 7 * 1000, 30 * 7 * 10_003 + 7 * 500_000]
    made, took = agent(s, "a").heard[-1], agent(s, "b").heard[-1]
    assert isinstance(made, Fill) and made.fee_ticks == micro[0] / 1e6
    assert isinstance(took, Fill) and took.fee_ticks == micro[1] / 1e6
    table = s.run(s.now_ns).accounts.set_index("agent")
    assert table.fees_ticks.tolist() == [micro[0] / 1e6, micro[1] / 1e6]
    assert table.pnl_ticks["a"] == -micro[0] / 1e6  # sold at the price that is the mark


def test_a_fee_that_the_accounts_cannot_hold_exactly_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"exchange.maker_fee_bps must be a multiple of 0.01"):
        Simulation({"exchange": {"maker_fee_bps": 0.125}})


def test_two_symbols_keep_apart() -> None:
    symbols = [{"name": "X", "tick_size": 0.01}, {"name": "Y", "tick_size": 5, "lot_size": 100}]
    s = play(
        ("a", sell(5, 100)), ("a", sell(5, 7, symbol="Y")), ("b", buy(2, 200)),
        ("b", buy(3, 200, symbol="Y")), ("a", lambda m: m.cancel(2)), ("b", lambda m: m.cancel(1)),
        symbols=symbols,
    )  # fmt: skip
    tapes = s.tapes
    assert tapes["X"].orders["order_id"].tolist() == [1, 3]
    assert tapes["Y"].orders["order_id"].tolist() == [2, 4, 2]
    assert tapes["Y"].orders["sequence"].tolist() == [0, 1, 2]
    assert tapes["X"].trades["price_ticks"].tolist() == [100]
    assert tapes["Y"].trades["price_ticks"].tolist() == [7]
    assert tapes["Y"].meta["tick_size"] == 5 and tapes["Y"].meta["lot_size"] == 100
    cancelled = agent(s, "a").heard[-1]
    assert isinstance(cancelled, OrderUpdate) and (cancelled.symbol, cancelled.size_lots) == (
        "Y",
        2,
    )
    assert said(s, "b")[-1] == "change_rejected 1: NOT_OWNER"
    table = s.run(s.now_ns).accounts.set_index(["agent", "symbol"])
    assert table.position_lots["b", "X"] == 2 and table.position_lots["b", "Y"] == 3
    assert table.cash_ticks["a", "X"] == 200 and table.cash_ticks["a", "Y"] == 21
    handle = s._python[1][1]
    assert handle.position_of("Y") == 3 and handle.cash_ticks == -221


@pytest.mark.parametrize(
    "wrong, message",
    [
        (buy(0, 100), "size_lots must be > 0, was 0"),
        (buy(1.5, 100), "size_lots must be an integer"),  # type: ignore[arg-type]
        (buy(1, 100.0), "limit must be an integer"),  # type: ignore[arg-type]
        (buy(1, 100, stop=1.0), "stop must be an integer"),
        (buy(9, 100, display=2.0), "display must be an integer"),
        (buy(1, 2**70), "limit must fit into 64 bits"),
        (buy(1, 100, tif="GTD"), "tif must be one of GTC, DAY, IOC, FOK, was 'GTD'"),
        (buy(1, 100, tif=3), "tif must be one of"),
        (buy(1, 100, self_trade="never"), "self_trade must be one of ALLOW"),
        (buy(1, 100, self_trade=7), "self_trade must be one of ALLOW"),
        (lambda m: m.wake_at(1e9), "time_ns must be an integer"),
        (lambda m: m.cancel(True), "order_id must be an integer"),
        (lambda m: m.replace(1.0, limit=1, size=1), "order_id must be an integer"),
        (
            lambda m: m.subscribe("L4"),
            "feed must be one of L1, L2, L3, TRADES, IMBALANCE, SESSION, was",
        ),
        (lambda m: m.subscribe("L2", levels=0), "levels must be > 0"),
    ],
)
def test_what_cannot_be_an_order_says_so_at_once(wrong: Act, message: str) -> None:
    with pytest.raises(OrderError, match=message):
        play(("a", wrong))


def test_an_unknown_symbol_is_named() -> None:
    with pytest.raises(ConfigError, match="symbol must be one of SIM, was 'SIN'"):
        play(("a", buy(1, 100, symbol="SIN")))


@pytest.mark.parametrize("side", [0, 3, 10**9, 1.5, "buy", True])
def test_a_side_is_buy_or_sell(side: Any) -> None:
    with pytest.raises(OrderError, match="side must be"):
        play(("a", lambda m: m.order(side, 10, 100)))


def test_the_exchanges_rule_for_own_orders_finds_room_for_all_that_vanish() -> None:
    """One lot meets thousands of own orders, of which none uses it up."""

    class Many(Agent):
        def on_start(self, market: Handle) -> None:
            market.wake_at(market.open_ns)
            market.wake_at(market.open_ns + 1)

        def on_wakeup(self, market: Handle) -> None:
            if market.now_ns > market.open_ns:
                market.buy(1, 100)
                return
            for _ in range(3000):
                market.sell(1, 100)

    config = {
        "session": {"open": "09:30", "close": "09:31"},
        "exchange": {"self_trade": "cancel_maker"},
    }
    orders = Simulation(config, agents=[Many()]).run().tape.orders
    assert (orders["kind"] == OrderKind.CANCEL).sum() == 3001  # the lot expires at the close
