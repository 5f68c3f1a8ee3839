"""Every rule of the book by example, in both twins."""

import numpy as np
import pytest

from marketsim.book import Book
from marketsim.codes import Flag, Outcome, Reject, SelfTrade, Side
from marketsim.naive import NaiveBook

BUY, SELL = Side.BUY, Side.SELL


@pytest.fixture(params=[Book, NaiveBook], ids=["fast", "naive"])
def book(request):
    book = request.param()
    yield book
    book.validate()


def fills(book):
    """(maker, taker, price, size) of the fills since the last call."""
    return [tuple(row[1:5]) for row in book.outcomes() if row[0] == Outcome.FILL]


def levels(book, side, n=3):
    """Visible (price, size) of the occupied levels of a side."""
    rows = book.depth(n)[0 if side == BUY else 1]
    return [tuple(row) for row in rows.tolist() if row[1]]


# ---- the ladder ---------------------------------------------------------------------------------


def test_an_empty_book_has_no_quotes(book):
    assert book.best_bid is None and book.best_ask is None and book.last_price is None
    assert (book.trades, book.volume, book.notional) == (0, 0, 0)
    assert (book.order_count, book.live_lots) == (0, 0)
    bids, asks = book.depth(2)
    assert bids.dtype == asks.dtype == np.int64
    assert bids.tolist() == asks.tolist() == [[0, 0], [0, 0]]
    assert book.outcomes() == []


def test_the_digest_of_an_empty_book_is_the_formula(book):
    value = 0
    for word in (-3, -4, -5, -6, 0, 0, 0, 0, 0):
        value = ((value ^ (word % 2**64)) * 0x9E3779B97F4A7C15) % 2**64
        value ^= value >> 32
    assert book.digest() == value


def test_limit_orders_rest_sorted_by_price(book):
    for order_id, price in enumerate((10, 12, 11), start=1):
        assert book.limit(order_id, BUY, price, order_id) == 0
        assert book.limit(order_id + 10, SELL, price + 10, order_id) == 0
    assert (book.best_bid, book.best_ask) == (12, 20)
    assert levels(book, BUY) == [(12, 2), (11, 3), (10, 1)]
    assert levels(book, SELL) == [(20, 1), (21, 3), (22, 2)]
    assert levels(book, BUY, 2) == [(12, 2), (11, 3)]
    assert (book.order_count, book.live_lots) == (6, 12)


def test_a_better_price_trades_first_then_the_earlier_order(book):
    book.limit(1, SELL, 101, 5)
    book.limit(2, SELL, 100, 5)
    book.limit(3, SELL, 100, 5)
    assert book.limit(4, BUY, 101, 12) == 12
    assert fills(book) == [(2, 4, 100, 5), (3, 4, 100, 5), (1, 4, 101, 2)]
    assert (book.trades, book.volume, book.notional) == (3, 12, 1202)
    assert book.last_price == 101
    assert levels(book, SELL) == [(101, 3)]


def test_a_limit_order_trades_at_the_resting_price_and_its_rest_rests(book):
    book.limit(1, SELL, 100, 5)
    assert book.limit(2, BUY, 105, 8) == 5
    assert fills(book) == [(1, 2, 100, 5)]
    assert levels(book, BUY) == [(105, 3)] and book.best_ask is None


def test_a_partial_fill_keeps_its_place(book):
    book.limit(1, BUY, 100, 5)
    book.limit(2, BUY, 100, 5)
    assert book.limit(3, SELL, 100, 2) == 2
    assert book.limit(4, SELL, 100, 4) == 4
    assert fills(book) == [(1, 3, 100, 2), (1, 4, 100, 3), (2, 4, 100, 1)]


def test_prices_may_be_negative_and_zero(book):
    book.limit(1, SELL, 0, 2)
    book.limit(2, BUY, -7, 3)
    assert (book.best_bid, book.best_ask) == (-7, 0)
    assert book.market(3, SELL, 1) == 1 and book.last_price == -7
    assert book.market(4, BUY, 1) == 1 and book.last_price == 0
    assert book.notional == -7
    assert levels(book, BUY) == [(-7, 2)] and levels(book, SELL) == [(0, 1)]


def test_prices_may_lie_far_apart(book):
    book.limit(1, BUY, -(2**60), 1)
    book.limit(2, SELL, 2**60, 1)
    book.limit(3, BUY, 58_000, 1)
    assert (book.best_bid, book.best_ask) == (58_000, 2**60)
    assert book.market(4, SELL, 2) == 2 and book.last_price == -(2**60)


def test_outcomes_are_told_once_and_carry_agents(book):
    book.submit(1, SELL, 5, price_ticks=100, agent_id=7)
    book.submit(2, BUY, 5, price_ticks=100, agent_id=8)
    assert book.outcomes() == [(Outcome.FILL, 1, 2, 100, 5, 7, 8)]
    assert book.outcomes() == []


# ---- orders that take ---------------------------------------------------------------------------


def test_a_market_order_without_liquidity_is_dropped(book):
    assert book.market(1, BUY, 5) == 0
    assert book.outcomes() == [(Outcome.DROPPED, 1, 0, 0, 5, -1, -1)]
    assert book.order_count == 0
    assert book.cancel(1) == -Reject.UNKNOWN_ORDER


def test_the_rest_of_a_market_order_is_dropped(book):
    book.limit(1, SELL, 100, 5)
    assert book.submit(2, BUY, 9, price_ticks=3, agent_id=4, flags=Flag.MARKET) == 5
    assert book.outcomes() == [
        (Outcome.FILL, 1, 2, 100, 5, -1, 4),
        (Outcome.DROPPED, 2, 0, 0, 4, 4, -1),
    ]


def test_ioc_takes_what_crosses_and_drops_the_rest(book):
    book.limit(1, SELL, 100, 5)
    book.limit(2, SELL, 101, 5)
    assert book.submit(3, BUY, 8, price_ticks=100, flags=Flag.IOC) == 5
    assert book.outcomes()[-1] == (Outcome.DROPPED, 3, 0, 100, 3, -1, -1)
    assert book.best_bid is None and book.best_ask == 101


def test_fok_fills_whole_or_not_at_all(book):
    book.limit(1, SELL, 100, 5)
    book.limit(2, SELL, 101, 5)
    before = book.digest()
    assert book.submit(3, BUY, 6, price_ticks=100, flags=Flag.FOK) == -Reject.NOT_FILLABLE
    assert book.submit(3, BUY, 11, flags=Flag.FOK | Flag.MARKET) == -Reject.NOT_FILLABLE
    assert book.digest() == before and book.outcomes() == []
    assert book.submit(3, BUY, 10, price_ticks=101, flags=Flag.FOK) == 10
    assert book.order_count == 0


def test_fok_counts_hidden_orders_and_reserves(book):
    book.submit(1, SELL, 9, price_ticks=100, display_lots=2)
    book.submit(2, SELL, 4, price_ticks=100, flags=Flag.HIDDEN)
    assert book.submit(3, BUY, 14, price_ticks=100, flags=Flag.FOK) == -Reject.NOT_FILLABLE
    assert book.submit(3, BUY, 13, price_ticks=100, flags=Flag.FOK) == 13


@pytest.mark.parametrize(
    ("mode", "result"),
    [
        (SelfTrade.ALLOW, 9),
        (SelfTrade.CANCEL_TAKER, -Reject.NOT_FILLABLE),
        (SelfTrade.CANCEL_MAKER, -Reject.NOT_FILLABLE),
        (SelfTrade.CANCEL_BOTH, -Reject.NOT_FILLABLE),
        (SelfTrade.DECREMENT, -Reject.NOT_FILLABLE),
    ],
)
def test_fok_looks_ahead_for_its_own_orders(book, mode, result):
    book.submit(1, SELL, 8, price_ticks=100, display_lots=3, agent_id=1)
    book.submit(2, SELL, 5, price_ticks=100, agent_id=2)
    order = {"price_ticks": 100, "agent_id": 2, "flags": Flag.FOK | mode}
    assert book.submit(3, BUY, 9, **order) == result
    if result < 0:  # order 2 is met after the first tip of the iceberg, and only then
        assert book.submit(3, BUY, 3, **order) == 3
        expected = 4 if mode == SelfTrade.CANCEL_MAKER else -Reject.NOT_FILLABLE
        assert book.submit(4, BUY, 4, **order) == expected


def test_post_only_never_takes(book):
    post = {"flags": Flag.POST_ONLY}
    assert book.submit(1, SELL, 5, price_ticks=100, **post) == 0
    assert book.submit(2, BUY, 5, price_ticks=100, **post) == -Reject.WOULD_TAKE
    assert book.submit(2, BUY, 5, price_ticks=99, **post) == 0
    book.submit(3, SELL, 1, price_ticks=100, flags=Flag.POST_ONLY | Flag.HIDDEN)
    assert book.outcomes() == [] and book.order_count == 3


def test_post_only_does_not_take_hidden_orders_either(book):
    book.submit(1, SELL, 5, price_ticks=100, flags=Flag.HIDDEN)
    assert book.best_ask is None
    assert book.submit(2, BUY, 5, price_ticks=100, flags=Flag.POST_ONLY) == -Reject.WOULD_TAKE


# ---- hidden orders and icebergs -----------------------------------------------------------------


def test_hidden_orders_trade_after_the_visible_ones_of_their_level(book):
    book.submit(1, SELL, 5, price_ticks=100, flags=Flag.HIDDEN)
    book.submit(2, SELL, 5, price_ticks=100, flags=Flag.HIDDEN)
    book.limit(3, SELL, 100, 5)
    book.limit(4, SELL, 101, 5)
    assert levels(book, SELL) == [(100, 5), (101, 5)] and book.live_lots == 20
    assert book.market(5, BUY, 16) == 16
    assert [maker for maker, *_ in fills(book)] == [3, 1, 2, 4]


def test_a_level_of_hidden_orders_only_is_not_a_quote_but_matches(book):
    book.submit(1, BUY, 5, price_ticks=100, flags=Flag.HIDDEN)
    book.limit(2, BUY, 98, 5)
    assert book.best_bid == 98 and levels(book, BUY) == [(98, 5)]
    assert book.limit(3, SELL, 99, 6) == 5
    assert book.best_ask == 99 and book.last_price == 100


def test_an_iceberg_shows_its_tip_and_refills_at_the_end_of_the_queue(book):
    book.submit(1, SELL, 8, price_ticks=100, display_lots=3)
    book.limit(2, SELL, 100, 4)
    assert levels(book, SELL) == [(100, 7)] and book.live_lots == 12
    assert book.market(3, BUY, 8) == 8
    assert fills(book) == [(1, 3, 100, 3), (2, 3, 100, 4), (1, 3, 100, 1)]
    assert levels(book, SELL) == [(100, 2)]
    assert book.market(4, BUY, 4) == 4
    assert fills(book) == [(1, 4, 100, 2), (1, 4, 100, 2)]
    assert book.order_count == 0


def test_icebergs_are_met_again_before_hidden_orders(book):
    book.submit(1, SELL, 4, price_ticks=100, display_lots=2)
    book.submit(2, SELL, 4, price_ticks=100, display_lots=3)
    book.submit(3, SELL, 4, price_ticks=100, flags=Flag.HIDDEN)
    assert book.market(4, BUY, 9) == 9
    assert [(m, size) for m, _, _, size in fills(book)] == [(1, 2), (2, 3), (1, 2), (2, 1), (3, 1)]


def test_an_arriving_iceberg_takes_first_and_shows_the_tip_of_its_rest(book):
    book.limit(1, SELL, 100, 4)
    assert book.submit(2, BUY, 10, price_ticks=100, display_lots=5) == 4
    assert levels(book, BUY) == [(100, 5)] and book.live_lots == 6
    assert book.submit(3, BUY, 4, price_ticks=99, display_lots=4) == 0  # no iceberg at all
    assert levels(book, BUY) == [(100, 5), (99, 4)]
