"""Replays: the recorded day comes out as it went in; with agents beside it, all is counted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import marketsim as ms
from marketsim.agent import Agent, Handle, OrderUpdate
from marketsim.agents.pov import POVAgent
from marketsim.codes import Cause, OrderKind, Reject
from marketsim.data.synthetic import synthetic_tape
from marketsim.errors import ConfigError, DataError
from marketsim.result import Run
from marketsim.simulation import Simulation
from marketsim.tape import Table, Tape

OPEN = 34_200_000_000_000
REAL = {
    "goog": "LOBSTER_SampleFile_GOOG_2012-06-21_10.zip",
    "aapl": "LOBSTER_SampleFile_AAPL_2012-06-21_1.zip",
    "aapl hour": "AAPL_2012-06-21_34200000_37800000_message_10.derived.csv.gz",
    "aapl first": "fixtures/AAPL_2012-06-21_first999_message_10.csv.gz",
    "msft first": "fixtures/MSFT_2012-06-21_first1950_message_50.csv.gz",
}
BOOK = ("time_ns", "bid_price_ticks", "bid_size_lots", "ask_price_ticks", "ask_size_lots")


def replayed(source: Tape, levels: int | None = None, agents: Any = (), seed: int = 0) -> Run:
    config = {
        "data": "given",
        "tape": {"levels": levels or source.meta["levels"]},
        "agents": {"history": {"type": "replay"}},
    }
    return Simulation(config, seed, agents=agents, data=source).run()


def assert_same_flow(source: Tape, replay: Tape) -> None:
    for column in source.orders:
        if column != "agent_id":
            assert (source.orders[column] == replay.orders[column]).all(), column
    assert (replay.orders["agent_id"] == 0).all()


def assert_same_book(source: Tape, replay: Tape, levels: int) -> None:
    for column in BOOK:
        first, second = getattr(source.book, column), getattr(replay.book, column)
        if column != "time_ns":
            first, second = first[:, :levels], second[:, :levels]
        assert (first == second).all(), column


def shorts(run: Run) -> dict[str, int]:
    history = run.summary["history"]
    return {name: value for name, value in history.items() if "short" in name and value}


def per_row(tape: Tape) -> dict[str, Any]:
    """What traded with each row of orders: lots, notional, side, and the first maker."""
    trades, n = tape.trades, len(tape)
    rows, first = np.unique(trades["sequence"], return_index=True)
    lots = np.bincount(trades["sequence"], trades["size_lots"], n)
    notional = np.bincount(trades["sequence"], trades["size_lots"] * trades["price_ticks"], n)
    side, maker = np.zeros(n, np.int64), trades["maker_order_id"][first]
    side[rows] = trades["side"][first]
    return {"lots": lots, "notional": notional, "side": side, "maker": maker}


@pytest.mark.parametrize("name", REAL)
def test_real_flow_comes_out_as_it_went_in(name: str, lobster: Path) -> None:
    """All rows, all levels; nothing falls short; who traded with whom is mostly as recorded."""
    source = ms.read_lobster(lobster / REAL[name])
    run = replayed(source)
    levels = source.meta["levels"]
    assert_same_flow(source, run.tape)
    assert_same_book(source, run.tape, levels)
    history = run.summary["history"]
    assert history["messages"] == len(source) and history["duplicates"] == 0
    assert history["reveals"] == source.reveals.size
    assert shorts(run) == {} and run.summary["rejects"] == {}
    first, second = per_row(source), per_row(run.tape)
    for column in ("lots", "notional", "side"):
        assert (first[column] == second[column]).all(), column
    # Orders from before the start, or from behind the last level, have no recorded id.
    entered = source.orders["order_id"][source.orders["kind"] == OrderKind.LIMIT]
    known = np.isin(first["maker"], entered)
    share = (first["maker"] == second["maker"])[known].mean()
    assert share > (0.6 if name == "msft first" else 0.9)  # MSFT's do not trade in turn
    for column in source.reveals:
        assert (source.reveals[column] == run.tape.reveals[column]).all(), column


@pytest.fixture(scope="module")
def day() -> Tape:
    return synthetic_tape(open="09:30", close="09:50")


def test_a_synthetic_day_comes_out_as_it_went_in_and_again(day: Tape) -> None:
    run = replayed(day)
    assert_same_flow(day, run.tape)
    assert_same_book(day, run.tape, day.meta["levels"])
    assert shorts(run) == {}
    again = replayed(run.tape)
    assert_same_flow(day, again.tape)
    assert_same_book(day, again.tape, day.meta["levels"])
    for column in run.tape.trades:
        assert (run.tape.trades[column] == again.tape.trades[column]).all()
    assert again.tape.reveals.size == day.reveals.size


def test_stopping_and_going_on_changes_nothing(day: Tape) -> None:
    config = {"data": "given", "agents": {"history": {"type": "replay"}}}
    whole = Simulation(config, data=day)
    steps = Simulation(config, data=day)
    end = whole.run()
    for until in ("09:30:10", "09:31", "09:40:00.123"):
        half = steps.run(until).tape
        assert (half.reveals["sequence"] < max(len(half), 1)).all()
    assert steps.run().tape.digest() == end.tape.digest()
    assert steps.digest() == whole.digest()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("low", [5, -50])
def test_a_simulated_tape_is_flow_too(noise_type: str, seed: int, low: int) -> None:
    """Market orders, replacements, icebergs, hidden orders, stops: the book is the same."""
    noise = {
        "type": noise_type, "count": 4, "low": low, "high": low + 30, "self_trade": False,
    }  # fmt: skip
    session = {"open": OPEN, "close": OPEN + 300_000}
    source = Simulation({"session": session, "agents": {"n": noise}}, seed).run().tape
    kinds = set(source.orders["kind"].tolist())
    assert kinds == {1, 2, 3, 8, 9, 10} and (source.orders["hidden_lots"] > 0).any()
    run = replayed(source)
    assert_same_flow(source, run.tape)
    assert_same_book(source, run.tape, 10)
    for column in source.trades:
        if not column.endswith("agent_id"):
            assert (source.trades[column] == run.tape.trades[column]).all(), column


def test_a_market_order_that_sweeps_a_deep_book_finds_room() -> None:
    """A recorded market order has no price; what it meets is counted without one."""

    class Sweep(Agent):
        def on_start(self, market: Handle) -> None:
            market.wake_at(OPEN)
            market.wake_at(OPEN + 5)

        def on_wakeup(self, market: Handle) -> None:
            if market.now_ns == OPEN:
                for i in range(4000):
                    market.sell(1, 100 + i // 3)
            else:
                market.buy(3990)

    source = Simulation({}, agents=[Sweep()]).run(OPEN + 10).tape
    run = replayed(source)
    assert run.tape.trades.size == 3990
    assert_same_book(source, run.tape, 10)


class Hungry(Agent):
    """Buys and sells through the touch all the time."""

    def __init__(self) -> None:
        self.rejects: list[Reject] = []

    def on_start(self, market: Handle) -> None:
        market.wake_at(market.open_ns)

    def on_wakeup(self, market: Handle) -> None:
        market.wake_after(500_000_000)
        market.order(int(market.rng.choice([-1, 1])), 150)
        market.buy(100, (market.best_bid or 1) + 1)

    def on_order(self, market: Handle, update: OrderUpdate) -> None:
        if isinstance(update.reason, Reject):
            self.rejects.append(update.reason)


def test_what_the_flow_can_no_longer_do_is_counted_and_accounts_balance(day: Tape) -> None:
    run = replayed(day, agents={"hungry": Hungry()})
    history = run.summary["history"]
    assert history["messages"] == len(day)
    assert history["executions_short"] > 0 and history["executions_short_lots"] > 0
    assert history["cancels_short"] > 0 and history["orders_traded_on_entry"] > 0
    accounts = run.accounts
    assert accounts.position_lots.sum() == 0 and accounts.cash_ticks.sum() == 0
    ours = run.tape.orders["agent_id"] == 1
    assert (~ours).sum() == len(day)
    for column in ("time_ns", "kind", "order_id", "side", "price_ticks", "size_lots"):
        assert (run.tape.orders[column][~ours] == day.orders[column]).all()
    # Reveals stand behind the rows that they followed in the source.
    assert run.tape.reveals.size == day.reveals.size
    sequence = run.tape.reveals["sequence"]
    theirs = np.flatnonzero(~ours)
    inside = day.reveals["sequence"] >= 0
    assert (sequence[inside] == theirs[day.reveals["sequence"][inside]]).all()
    book = run.tape.book
    both = (book.bid_size_lots[:, 0] > 0) & (book.ask_size_lots[:, 0] > 0)
    assert (book.bid_price_ticks[both, 0] < book.ask_price_ticks[both, 0]).all()
    # The mixed tape is flow as well.
    again = replayed(run.tape)
    assert_same_flow(run.tape, again.tape)


def test_a_real_day_with_a_buyer_at_ten_percent(lobster: Path) -> None:
    source = ms.read_lobster(lobster / REAL["goog"])
    agent = POVAgent(participation=0.1, quantity=1_000_000, start="09:45", end="15:45")
    run = ms.replay(source, agents={"pov": agent})
    said = run.summary["agents"]["pov"]
    assert said["participation"] == pytest.approx(0.1, abs=0.004)
    trades = run.tape.trades
    mine = trades["taker_agent_id"] == 1
    assert trades["size_lots"][mine].sum() == said["executed_lots"] > 30_000
    cost = (trades["price_ticks"] * trades["size_lots"])[mine].sum()
    assert said["average_price_ticks"] == cost / said["executed_lots"]
    history = run.summary["history"]
    assert history["executions_short"] > 0 and history["messages"] == len(source)
    assert run.accounts.position_lots.sum() == 0 and run.accounts.cash_ticks.sum() == 0
    assert (run.tape.orders["agent_id"] == 0).sum() == len(source)


ROWS: list[tuple[int, int, int, int, int, int]] = [  # ms, kind, id, side, price, size
    (0, 1, 1, 1, 100, 10), (0, 1, 2, -1, 102, 10), (10, 5, 0, 1, 101, 7), (20, 7, 0, -1, -1, 0),
    (30, 1, 3, 1, 99, 5), (40, 7, 0, -1, 0, 0), (50, 6, 0, -1, 101, 50), (60, 7, 0, -1, 1, 0),
    (70, 4, 1, 1, 100, 4), (80, 3, 3, 1, 99, 5),
]  # fmt: skip


NO_TRADES = {
    name: np.empty(0, np.int64)
    for name in ("time_ns", "sequence", "price_ticks", "size_lots", "side")
}


def hand_made(rows: list[tuple[int, int, int, int, int, int]] = ROWS) -> Tape:
    names = ("time_ns", "kind", "order_id", "side", "price_ticks", "size_lots")
    columns = {name: np.array([row[i] for row in rows]) for i, name in enumerate(names)}
    columns["time_ns"] = OPEN + columns["time_ns"] * 1_000_000
    meta = {"symbol": "H", "tick_size": 0.01, "levels": 2, "open_ns": OPEN,
            "close_ns": OPEN + 10**9}  # fmt: skip
    return Tape(columns, NO_TRADES, meta)


class Every(Agent):
    """Sends a small order each 10 ms, between the recorded rows."""

    def __init__(self) -> None:
        self.answers: list[str] = []

    def on_start(self, market: Handle) -> None:
        market.wake_at(OPEN + 5_000_000)

    def on_wakeup(self, market: Handle) -> None:
        market.wake_after(10_000_000)
        market.buy(1, 90)

    def on_order(self, market: Handle, update: OrderUpdate) -> None:
        if market.now_ns < OPEN + 90_000_000:
            self.answers.append(update.reason.name if update.reason else update.status)


def test_halts_hidden_executions_and_crosses() -> None:
    """Agents are refused from the halt until trading, not only quoting, resumes."""
    source = hand_made()
    agent = Every()
    run = replayed(source, agents=[agent])
    assert agent.answers == ["accepted"] * 2 + ["HALTED"] * 4 + ["accepted"] * 3
    assert run.summary["rejects"] == {"halted": 4}
    ours = run.tape.orders["agent_id"] == 1
    for column in source.orders:
        if column not in ("agent_id", "sequence"):
            assert (run.tape.orders[column][~ours] == source.orders[column]).all(), column
    trades = run.tape.trades
    assert trades["price_ticks"].tolist() == [101, 101, 100]
    assert trades["size_lots"].tolist() == [7, 50, 4]
    assert trades["side"].tolist() == [-1, 0, -1]
    assert trades["maker_agent_id"].tolist() == [-1, -1, 0]
    assert run.tape.book.bid_size_lots[-1].tolist()[0] == 6
    assert shorts(run) == {}


class Once(Agent):
    """Buys some lots in the middle of the recorded rows."""

    def on_start(self, market: Handle) -> None:
        market.wake_at(OPEN + 15_000_000)

    def on_wakeup(self, market: Handle) -> None:
        market.buy(10)


def test_nobody_else_leaves_for_an_order_that_an_agent_took() -> None:
    """Two orders rest, an agent takes the first; its recorded cancel must not hit the second."""
    rows = [
        (0, 1, 1, -1, 102, 10), (10, 1, 2, -1, 102, 10), (20, 3, 1, -1, 102, 10),
        (30, 3, 2, -1, 102, 10),
    ]  # fmt: skip
    run = replayed(hand_made(rows), agents=[Once()])
    assert run.tape.book.ask_size_lots[:, 0].tolist() == [10, 20, 10, 10, 0]
    history = run.summary["history"]
    assert (history["cancels_short"], history["cancels_short_lots"]) == (1, 10)
    assert history["substituted"] == 0


def test_an_order_that_matching_spared_stands_in_for_the_one_it_took() -> None:
    """The recording executes the second in line; ours the first, whose cancel the second bears."""
    rows = [
        (0, 1, 1, -1, 102, 10), (10, 1, 2, -1, 102, 10), (20, 4, 2, -1, 102, 10),
        (30, 3, 1, -1, 102, 10),
    ]  # fmt: skip
    run = replayed(hand_made(rows))
    assert run.tape.book.ask_size_lots[:, 0].tolist() == [10, 20, 10, 0]
    history = run.summary["history"]
    assert (history["substituted"], history["substituted_lots"]) == (1, 10)
    assert shorts(run) == {}


def test_a_tape_that_cannot_be_replayed_is_named() -> None:
    with pytest.raises(DataError, match="no rows of orders"):
        replayed(hand_made([]))
    with pytest.raises(DataError, match="time_ns must not fall, row 1"):
        replayed(hand_made([(5, 1, 1, 1, 100, 10), (4, 1, 2, 1, 100, 10)]))


def test_reveals_are_played_where_they_belong() -> None:
    source = hand_made(ROWS[:2])
    reveals = Table(
        "reveals",
        {
            "time_ns": np.array([OPEN, OPEN, OPEN]),
            "sequence": np.array([-1, 0, 1]),
            "side": np.array([-1, 1, 1]),
            "price_ticks": np.array([103, 98, 98]),
            "size_before_lots": np.array([0, 0, 9]),
            "size_lots": np.array([4, 9, 3]),
            "cause": np.array([Cause.OPEN, Cause.ADDED, Cause.RESIZED]),
        },
    )
    tape = Tape(source.orders, NO_TRADES, source.meta, reveals=reveals)
    run = replayed(tape)
    book = run.tape.book
    assert book.ask_price_ticks.tolist() == [[103, 0], [102, 103]]
    assert book.bid_price_ticks.tolist() == [[100, 98], [100, 98]]
    assert book.bid_size_lots.tolist() == [[10, 9], [10, 3]]
    assert run.summary["history"]["reveals"] == 3 and shorts(run) == {}
    assert [OrderKind(kind).name for kind in run.tape.orders["kind"]] == ["LIMIT", "LIMIT"]


class Waiting(Agent):
    """Rests an offer before the recorded buyers come."""

    def on_start(self, market: Handle) -> None:
        market.wake_at(OPEN + 5_000_000)

    def on_wakeup(self, market: Handle) -> None:
        market.sell(10, 100)


def test_what_an_agent_takes_of_an_order_as_it_enters_is_gone_too() -> None:
    rows = [(0, 1, 9, 1, 90, 1), (10, 1, 1, 1, 100, 10), (20, 1, 2, 1, 100, 7),
            (30, 3, 1, 1, 100, 10)]  # fmt: skip
    run = replayed(hand_made(rows), agents=[Waiting()])
    assert run.tape.book.bid_size_lots[-1, 0] == 7
    history = run.summary["history"]
    assert (history["cancels_short_lots"], history["substituted_lots"]) == (10, 0)


def test_two_replays_of_one_symbol_are_refused(day: Tape) -> None:
    config = {"data": "given", "agents": {"history": {"type": "replay", "count": 2}}}
    with pytest.raises(ConfigError, match="only one replay"):
        Simulation(config, data=day)
