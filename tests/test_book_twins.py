"""The fast and the naive book, driven by the same random operations, never differ."""

import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketsim.book import Book
from marketsim.codes import Flag, Outcome, Reject, SelfTrade
from marketsim.naive import NaiveBook

MARKET, STOP, HIDDEN = Flag.MARKET, Flag.STOP, Flag.HIDDEN
IOC, FOK, POST_ONLY, DAY = Flag.IOC, Flag.FOK, Flag.POST_ONLY, Flag.DAY
ORDER_TYPES = [
    *(0, 0, MARKET, IOC, FOK, MARKET | IOC, MARKET | FOK, MARKET | DAY, DAY),
    *(POST_ONLY, POST_ONLY | HIDDEN, POST_ONLY | DAY, HIDDEN, HIDDEN | DAY),
    *(STOP, STOP | MARKET, STOP | IOC, STOP | FOK, STOP | DAY, STOP | HIDDEN, STOP | MARKET | FOK),
]
MODES = list(SelfTrade)
PRICE_LIMIT = 2**60
#: Prices lie within ten ticks of one of these: around zero, negative, usual, at the limits.
CENTRES = [0, -40, 58_000, PRICE_LIMIT - 4, 4 - PRICE_LIMIT]
BOOK_REJECTS = {
    *(Reject.DUPLICATE_ID, Reject.SIZE, Reject.PRICE, Reject.UNKNOWN_ORDER),
    *(Reject.WOULD_TAKE, Reject.NOT_FILLABLE, Reject.FLAGS),
}
BULK_OPERATIONS = 200_000
OPERATIONS_PER_BOOK = 1_000


class Twins:
    """A fast and a naive book, and what was seen while they were driven."""

    def __init__(self, seen=None):
        self.fast, self.naive = Book(), NaiveBook()
        self.seen = Counter() if seen is None else seen

    def do(self, name, *args, **order):
        """One operation on both; everything it tells must be the same."""
        result = getattr(self.naive, name)(*args, **order)
        assert getattr(self.fast, name)(*args, **order) == result, (name, args, order)
        outcomes = self.naive.outcomes()
        assert self.fast.outcomes() == outcomes, (name, args, order)
        assert self.fast.digest() == self.naive.digest(), (name, args, order)
        self.seen[name] += 1
        self.seen.update(Outcome(row[0]) for row in outcomes)
        if result < 0:
            self.seen[Reject(-result)] += 1
        elif name == "submit":
            self.seen["type", order["flags"] & 0x7F, order["display_lots"] > 0] += 1
            self.seen["mode", order["flags"] & 0x700] += 1

    def compare_views(self):
        """What both books show, and their invariants."""
        fast, naive = self.fast, self.naive
        for name in ("best_bid", "best_ask", "last_price", "order_count", "live_lots"):
            assert getattr(fast, name) == getattr(naive, name), name
        assert (fast.trades, fast.volume) == (naive.trades, naive.volume)
        for ours, theirs in zip(fast.depth(5), naive.depth(5), strict=True):
            assert ours.tolist() == theirs.tolist()
        naive.validate()
        fast.validate()


def draw_price(rng, centre):
    if rng.random() < 0.005:
        return rng.choice([PRICE_LIMIT + 1, -PRICE_LIMIT - 1, PRICE_LIMIT, -PRICE_LIMIT])
    return max(-PRICE_LIMIT, min(PRICE_LIMIT, centre + rng.randint(-10, 10)))


def draw_submit(rng, centre, ids):
    """An order of any type: most are possible, some carry any bits at all."""
    size = rng.randint(1, 12) if rng.random() > 0.01 else rng.randint(-1, 0)
    flags = int(rng.choice(ORDER_TYPES) | rng.choice(MODES))
    if rng.random() < 0.03:
        flags = rng.randrange(2048)
    may_show_a_tip = not flags & (MARKET | IOC | FOK | HIDDEN)
    display = 0
    if may_show_a_tip and rng.random() < 0.3 or rng.random() < 0.01:
        display = rng.randint(1, 5) if rng.random() < 0.97 else -1
    order = {
        "price_ticks": draw_price(rng, centre),
        "stop_ticks": draw_price(rng, centre) if flags & STOP else 0,
        "display_lots": min(display, size) if rng.random() < 0.97 else display,
        "agent_id": rng.randint(-1, 3),
        "flags": flags,
    }
    side = rng.choice((1, -1)) if rng.random() > 0.003 else rng.choice((0, 2))
    return "submit", (rng.randint(1, ids), side, size), order


def draw_operation(rng, centre, ids):
    """(method, arguments, keyword arguments) of one operation; live and dead ids collide."""
    draw = rng.random()
    order_id, size = rng.randint(1, ids), rng.randint(0, 9)
    if draw < 0.55:
        return draw_submit(rng, centre, ids)
    if draw < 0.68:
        return "limit", (order_id, rng.choice((1, -1)), draw_price(rng, centre), size), {}
    if draw < 0.72:
        return "market", (order_id, rng.choice((1, -1)), size), {}
    if draw < 0.82:
        return "cancel", (order_id,), {}
    if draw < 0.90:
        return "reduce", (order_id, size), {}
    return "replace", (order_id, draw_price(rng, centre), size), {}


IDS = st.integers(1, 30)
PRICES = st.integers(95, 105) | st.sampled_from([-5, 0, PRICE_LIMIT, -PRICE_LIMIT, PRICE_LIMIT + 1])
SIZES = st.integers(0, 9)
SIDES = st.sampled_from([1, -1])
NO_KEYWORDS = st.just({})
SUBMIT = st.tuples(
    st.just("submit"),
    st.tuples(IDS, SIDES, SIZES),
    st.fixed_dictionaries(
        {
            "price_ticks": PRICES,
            "stop_ticks": PRICES,
            "display_lots": st.just(0) | st.integers(0, 4),
            "agent_id": st.integers(-1, 2),
            "flags": st.builds(
                lambda type_, mode: int(type_ | mode),
                st.sampled_from(ORDER_TYPES),
                st.sampled_from(MODES),
            ),
        }
    ),
)
OPERATIONS = st.one_of(
    SUBMIT,
    SUBMIT,
    SUBMIT,
    st.tuples(st.just("limit"), st.tuples(IDS, SIDES, PRICES, SIZES), NO_KEYWORDS),
    st.tuples(st.just("market"), st.tuples(IDS, SIDES, SIZES), NO_KEYWORDS),
    st.tuples(st.just("cancel"), st.tuples(IDS), NO_KEYWORDS),
    st.tuples(st.just("reduce"), st.tuples(IDS, SIZES), NO_KEYWORDS),
    st.tuples(st.just("replace"), st.tuples(IDS, PRICES, SIZES), NO_KEYWORDS),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 100).flatmap(lambda n: st.lists(OPERATIONS, min_size=n, max_size=n)))
def test_the_twins_agree_on_short_sequences(operations):
    twins = Twins()
    for name, args, order in operations:
        twins.do(name, *args, **order)
        twins.compare_views()


@pytest.fixture(scope="module")
def bulk():
    """What 200,000 seeded random operations reached; the twins agreed on all of them."""
    seen = Counter()
    for seed in range(BULK_OPERATIONS // OPERATIONS_PER_BOOK):
        rng = random.Random(seed)
        twins, centre = Twins(seen), CENTRES[seed % len(CENTRES)]
        ids = rng.choice((15, 40, 100))
        for count in range(OPERATIONS_PER_BOOK):
            name, args, order = draw_operation(rng, centre, ids)
            twins.do(name, *args, **order)
            if count % 50 == 0:
                twins.compare_views()
        twins.compare_views()
    return seen


@pytest.mark.slow
def test_the_twins_agree_on_200_000_operations(bulk):
    operations = ("limit", "market", "submit", "cancel", "reduce", "replace")
    assert sum(bulk[name] for name in operations) >= 200_000


@pytest.mark.slow
def test_the_operations_reach_every_order_type_outcome_and_reason(bulk):
    for flags in set(map(int, ORDER_TYPES)):
        assert bulk["type", flags, False], Flag(flags)
    for flags in map(int, (0, DAY, POST_ONLY, STOP)):
        assert bulk["type", flags, True], f"iceberg {Flag(flags)}"
    for mode in MODES:
        assert bulk["mode", int(mode)], mode
    for outcome in Outcome:
        assert bulk[outcome], outcome
    for reason in BOOK_REJECTS:
        assert bulk[reason], reason


@pytest.mark.slow
def test_the_twins_agree_on_a_book_that_grows():
    """Thousands of orders at thousands of prices, then all of them swept away."""
    rng, twins = random.Random(5), Twins()
    for order_id in range(20_000):
        side = rng.choice((1, -1))
        price = -side * int(rng.paretovariate(0.5))
        stop = STOP if rng.random() < 0.2 else 0
        for book in (twins.fast, twins.naive):
            book.submit(
                order_id,
                side,
                10,
                price_ticks=price,
                stop_ticks=-price,
                display_lots=order_id % 3,
                flags=int(stop),
            )
        if order_id % 4_000 == 0:
            assert twins.fast.digest() == twins.naive.digest()
    twins.compare_views()
    twins.do("market", 10**6, 1, 10**9)
    twins.do("market", 10**6, -1, 10**9)
    twins.compare_views()
    assert twins.seen[Outcome.FILL] > 10_000
