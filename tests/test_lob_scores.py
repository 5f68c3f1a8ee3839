"""Each score against a loop over messages that says what it is."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from marketsim.codes import OrderKind
from marketsim.metrics.flow import Flow, flow_of
from marketsim.metrics.lob_scores import OFI_EVENTS, SCORES, UNCONDITIONAL, VOLATILITY_EVENTS
from marketsim.tape import Tape
from marketsim.tape_tables import BookTable

OPEN, SECOND = 34_200_000_000_000, 1_000_000_000
LIMIT, EXECUTION = int(OrderKind.LIMIT), int(OrderKind.EXECUTION)
CANCELS = (int(OrderKind.REDUCE), int(OrderKind.CANCEL))


def random_tape(seed: int, rows: int = 1200, levels: int = 4, empty: float = 0.05) -> Tape:
    """Messages at random, on levels of a random book or beside them; some times are equal."""
    rng = np.random.default_rng(seed)
    gaps = np.where(rng.random(rows) < 0.2, 0, rng.exponential(0.05 * SECOND, rows)).astype(
        np.int64
    )
    time_ns = OPEN + 300_000_000 + np.cumsum(gaps)
    mid = 1000 + np.cumsum(rng.choice([-1, 0, 0, 0, 1], rows))
    steps = rng.integers(1, 3, (2, rows, levels)).cumsum(-1)
    lots = rng.integers(1, 9, (2, rows, levels)) * (rng.random((2, rows, 1)) >= empty)
    bid, ask = (np.where(lots[i] > 0, mid[:, None] + s * steps[i], 0) for i, s in ((0, -1), (1, 1)))
    side = rng.choice([-1, 1], rows)
    chosen = rng.integers(0, levels, rows)
    row = np.arange(rows)
    price = np.where(side > 0, bid[row, chosen], ask[row, chosen]) + (rng.random(rows) < 0.2)
    orders = {
        "time_ns": time_ns,
        "kind": rng.choice([LIMIT, *CANCELS, EXECUTION, 5], rows, p=[0.45, 0.05, 0.35, 0.1, 0.05]),
        "order_id": rng.integers(0, rows // 4, rows),
        "side": side,
        "price_ticks": price,
        "size_lots": rng.integers(1, 50, rows),
    }
    book = BookTable(time_ns, row, bid, lots[0], ask, lots[1])
    meta = {"open_ns": OPEN + 300_000_000, "close_ns": int(time_ns[-1]) + 450_000_000}
    return Tape(orders, {k: [] for k in _TRADE}, meta, book=book)


_TRADE = ("time_ns", "sequence", "price_ticks", "size_lots", "side")


class Naive:
    """Messages and books as lists, and each score as a loop."""

    def __init__(self, tape: Tape) -> None:
        orders, book = tape.orders, tape.book
        self.rows = [i for i in range(len(tape)) if 1 <= orders["kind"][i] <= 4]
        names = ("time_ns", "kind", "order_id", "side", "price_ticks", "size_lots")
        self.messages = [tuple(int(orders[name][i]) for name in names) for i in self.rows]
        self.bids, self.asks = (
            [
                [(int(price[i, j]), int(size[i, j])) for j in range(book.levels) if size[i, j] > 0]
                for i in self.rows
            ]
            for price, size in (
                (book.bid_price_ticks, book.bid_size_lots),
                (book.ask_price_ticks, book.ask_size_lots),
            )
        )
        self.meta = tape.meta

    def mid(self, i: int) -> float | None:
        if not self.bids[i] or not self.asks[i]:
            return None
        return (self.bids[i][0][0] + self.asks[i][0][0]) / 2

    def two_sided(self) -> list[int]:
        return [i for i in range(len(self.rows)) if self.mid(i) is not None]

    def spread(self) -> list[float]:
        return [self.asks[i][0][0] - self.bids[i][0][0] for i in self.two_sided()]

    def orderbook_imbalance(self) -> list[float]:
        touches = [(self.bids[i][0][1], self.asks[i][0][1]) for i in self.two_sided()]
        return [(bid - ask) / (bid + ask) for bid, ask in touches]

    def log_inter_arrival_time(self) -> list[float]:
        times = [m[0] for m in self.messages]
        gaps = [b - a for a, b in zip(times[:-1], times[1:], strict=True)]
        return [math.log(gap / 1e6 if gap else 1e-9) for gap in gaps]

    def log_time_to_cancel(self) -> list[float]:
        entered: dict[int, int] = {}
        gone: set[int] = set()
        lives = []
        for time_ns, kind, order_id, *_ in self.messages:
            if kind == LIMIT and order_id:
                entered.setdefault(order_id, time_ns)
            elif kind in CANCELS and order_id in entered and order_id not in gone:
                gone.add(order_id)
                life = time_ns - entered[order_id]
                lives.append(math.log(life / 1e9 if life else 1e-9))
        return lives

    def volume(self, side: str, levels: int) -> list[float]:
        books = self.bids if side == "bid" else self.asks
        return [sum(size for _, size in book[:levels]) for book in books]

    def depth(self, kinds: tuple[int, ...], side: int) -> list[float]:
        return [
            abs(self.messages[i][4] - (self.mid(i) or 0))
            for i in self.two_sided()
            if self.messages[i][1] in kinds and self.messages[i][3] == side
        ]

    def levels(self, kinds: tuple[int, ...], side: int, before: int) -> list[float]:
        books = self.bids if side > 0 else self.asks
        found = []
        for i in range(before, len(self.messages)):
            prices = [price for price, _ in books[i - before]]
            message = self.messages[i]
            if message[1] in kinds and message[3] == side and message[4] in prices:
                found.append(prices.index(message[4]) + 1)
        return found

    def vol_per_min(self) -> list[float]:
        start, end = self.meta["open_ns"], self.meta["close_ns"]
        lots: dict[int, int] = {}
        for time_ns, kind, _, _, _, size in self.messages:
            if kind == EXECUTION:
                lots[time_ns // SECOND] = lots.get(time_ns // SECOND, 0) + size
        volumes = []
        for second, total in lots.items():
            inside = min(end, (second + 1) * SECOND) - max(start, second * SECOND)
            if inside >= SECOND / 10:
                volumes.append(60 * total / (inside / SECOND))
        return volumes

    def contributions(self) -> list[float]:
        """Cont et al.: what each message adds to the bid queue less what it adds to the ask's."""
        found = [0.0]
        for i in range(1, len(self.messages)):
            total = 0.0
            for books, sign in ((self.bids, 1), (self.asks, -1)):
                (new, size), (old, was) = (
                    (sign * book[0][0], book[0][1]) if book else (-math.inf, 0)
                    for book in (books[i], books[i - 1])
                )
                total += sign * (size if new >= old else 0)
                total -= sign * (was if new <= old else 0)
            found.append(total)
        return found

    def ofi(self) -> list[float]:
        parts = self.contributions()
        ends = range(OFI_EVENTS, len(parts))
        return [sum(parts[i - OFI_EVENTS + 1 : i + 1]) / OFI_EVENTS for i in ends]

    def ofi_before(self, direction: int) -> list[float]:
        found = []
        for i, value in enumerate(self.ofi()[:-1], OFI_EVENTS):
            now, then = self.mid(i), self.mid(i + 1)
            if now is not None and then is not None and np.sign(then - now) == direction:
                found.append(value)
        return found

    def volatility(self) -> list[float]:
        """Of the block of 500 messages of each message with both sides."""
        blocks: dict[int, float] = {}
        for block in range(len(self.messages) // VOLATILITY_EVENTS + 1):
            first = block * VOLATILITY_EVENTS
            last: dict[int, float] = {}
            for i in range(first, min(first + VOLATILITY_EVENTS, len(self.messages))):
                mid = self.mid(i)
                if mid is not None:
                    last[self.messages[i][0] // (SECOND // 10)] = mid
            returns = [math.log(last[t] / last[t - 1]) for t in last if t - 1 in last]
            blocks[block] = float(np.std(returns, ddof=1)) if len(returns) > 1 else 0.0
        return [blocks[i // VOLATILITY_EVENTS] for i in self.two_sided()]


NAIVE: dict[str, Callable[[Naive], list[float]]] = {
    "spread": Naive.spread,
    "orderbook_imbalance": Naive.orderbook_imbalance,
    "log_inter_arrival_time": Naive.log_inter_arrival_time,
    "log_time_to_cancel": Naive.log_time_to_cancel,
    "ask_volume_touch": lambda n: n.volume("ask", 1),
    "bid_volume_touch": lambda n: n.volume("bid", 1),
    "ask_volume": lambda n: n.volume("ask", 10),
    "bid_volume": lambda n: n.volume("bid", 10),
    "limit_ask_order_depth": lambda n: n.depth((LIMIT,), -1),
    "limit_bid_order_depth": lambda n: n.depth((LIMIT,), 1),
    "ask_cancellation_depth": lambda n: n.depth(CANCELS, -1),
    "bid_cancellation_depth": lambda n: n.depth(CANCELS, 1),
    "limit_ask_order_levels": lambda n: n.levels((LIMIT,), -1, 0),
    "limit_bid_order_levels": lambda n: n.levels((LIMIT,), 1, 0),
    "ask_cancellation_levels": lambda n: n.levels(CANCELS, -1, 1),
    "bid_cancellation_levels": lambda n: n.levels(CANCELS, 1, 1),
    "vol_per_min": Naive.vol_per_min,
    "ofi": Naive.ofi,
    "ofi_up": lambda n: n.ofi_before(1),
    "ofi_stay": lambda n: n.ofi_before(0),
    "ofi_down": lambda n: n.ofi_before(-1),
}


@pytest.fixture(scope="module", params=[(0, 0.05), (1, 0.0), (2, 0.4)], ids=str)
def tape(request: pytest.FixtureRequest) -> Tape:
    seed, empty = request.param
    return random_tape(seed, empty=empty)


def test_there_are_as_many_scores_as_in_the_paper() -> None:
    assert len(UNCONDITIONAL) == 21
    assert len(SCORES) == 24
    assert {score.name for score in UNCONDITIONAL} == set(NAIVE)


@pytest.mark.parametrize("score", UNCONDITIONAL, ids=lambda score: score.name)
def test_score_is_what_the_loop_says(score: Any, tape: Tape) -> None:
    seen = score.observe(flow_of(tape))
    expected = NAIVE[score.name](Naive(tape))
    assert len(expected) > 5
    assert np.allclose(np.sort(seen.values), np.sort(expected), rtol=1e-12)
    assert np.allclose(seen.values, expected, rtol=1e-12)  # and in the order of the messages


def test_conditional_scores(tape: Tape) -> None:
    naive, flow = Naive(tape), flow_of(tape)
    by_name = {score.name: score.observe(flow) for score in SCORES[21:]}
    two, spread = naive.two_sided(), naive.spread()
    ask, hours = by_name["ask_volume | spread"], by_name["spread | time"]
    assert ask.values.tolist() == [naive.asks[i][0][1] for i in two]
    assert ask.condition is not None and ask.condition.tolist() == spread
    assert hours.values.tolist() == spread
    assert hours.condition is not None
    assert hours.condition.tolist() == [naive.messages[i][0] // (3600 * SECOND) for i in two]
    volatile = by_name["spread | volatility"]
    assert volatile.values.tolist() == spread
    assert np.allclose(volatile.condition, naive.volatility(), rtol=1e-9)  # type: ignore[arg-type]


@pytest.mark.parametrize("score", SCORES, ids=lambda score: score.name)
def test_a_value_depends_on_no_message_but_its_own(score: Any, tape: Tape) -> None:
    """Windows rest on this: what is cut out by first and last is what the cut part itself gives."""
    flow = flow_of(tape)
    first, last = VOLATILITY_EVENTS, flow.size
    whole, part = score.observe(flow), score.observe(flow.part(first, last))
    assert (whole.first <= whole.last).all()
    assert (np.diff(whole.last) >= 0).all()
    inside = (whole.first >= first) & (whole.last < last)
    kept = sorted(whole.values[inside].tolist())
    assert len(kept) > 0
    if score.name == "log_time_to_cancel":  # an id that entered before the cut may enter again
        assert set(kept) <= set(part.values.tolist())
    elif score.name == "vol_per_min":  # the second of the cut has lost some executions
        assert len(kept) >= len(part.values) - 1
    else:
        assert np.allclose(kept, np.sort(part.values), rtol=1e-9, atol=1e-12)


def test_a_tape_shorter_than_the_windows_has_no_such_score() -> None:
    flow = flow_of(random_tape(5, rows=60))
    sizes = {score.name: score.observe(flow).size for score in SCORES}
    assert {name for name, size in sizes.items() if not size} == {
        "ofi",
        "ofi_up",
        "ofi_stay",
        "ofi_down",
    }


def test_a_tape_without_a_book_has_scores_of_its_times_only() -> None:
    tape = random_tape(6)
    bare = Tape(tape.orders, tape.trades, {**tape.meta, "levels": 0})
    flow = flow_of(bare)
    sizes = {score.name: score.observe(flow).size for score in SCORES}
    assert {name for name, size in sizes.items() if size} == {
        "log_inter_arrival_time",
        "log_time_to_cancel",
        "vol_per_min",
    }


def test_flow_keeps_the_four_kinds_within_the_session() -> None:
    tape = random_tape(7)
    half = int(tape.orders["time_ns"][600])
    cut = Tape(tape.orders, tape.trades, {**tape.meta, "close_ns": half}, book=tape.book)
    flow = flow_of(cut)
    kept = (tape.orders["time_ns"] < half) & (tape.orders["kind"] <= EXECUTION)
    assert flow.size == kept.sum()
    assert np.array_equal(flow.time_ns, tape.orders["time_ns"][kept])
    assert np.array_equal(flow.lots("ask", 2), tape.book.ask_size_lots[kept, 2])
    assert isinstance(flow, Flow) and flow.levels == 4
