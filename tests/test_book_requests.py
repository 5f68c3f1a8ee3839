"""Cancel, reduce, replace and refusals by example, in both twins."""

import numpy as np
import pytest

from marketsim.book import Book
from marketsim.codes import Flag, OrderKind, Outcome, Reject, SelfTrade, Side
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


# ---- cancel, reduce, replace --------------------------------------------------------------------


def test_cancel_returns_all_lots(book):
    book.submit(1, BUY, 9, price_ticks=100, display_lots=2)
    book.submit(2, BUY, 4, price_ticks=100, flags=Flag.HIDDEN)
    assert book.cancel(1) == 9 and book.cancel(2) == 4
    assert book.cancel(1) == -Reject.UNKNOWN_ORDER
    assert book.order_count == 0 and book.best_bid is None


def test_reduce_keeps_the_place(book):
    book.limit(1, BUY, 100, 5)
    book.limit(2, BUY, 100, 5)
    assert book.reduce(1, 3) == 3
    assert levels(book, BUY) == [(100, 7)]
    assert book.market(3, SELL, 3) == 3
    assert fills(book) == [(1, 3, 100, 2), (2, 3, 100, 1)]
    assert book.reduce(2, 4) == 4 and book.order_count == 0
    assert book.reduce(2, 1) == -Reject.UNKNOWN_ORDER
    assert book.reduce(2, 0) == -Reject.SIZE


def test_reduce_takes_the_reserve_first(book):
    book.submit(1, BUY, 9, price_ticks=100, display_lots=4)
    assert book.reduce(1, 3) == 3
    assert levels(book, BUY) == [(100, 4)] and book.live_lots == 6
    assert book.reduce(1, 3) == 3
    assert levels(book, BUY) == [(100, 3)] and book.live_lots == 3


def test_replace_keeps_the_place_only_for_less_at_the_same_price(book):
    for order_id in (1, 2, 3):
        book.limit(order_id, BUY, 100, 5)
    assert book.replace(1, 100, 4) == 0
    assert book.replace(2, 100, 6) == 0
    assert book.replace(3, 100, 5) == 0
    assert book.market(4, SELL, 15) == 15
    assert [(m, size) for m, _, _, size in fills(book)] == [(1, 4), (3, 5), (2, 6)]


def test_replace_at_another_price_goes_to_the_end_and_may_trade(book):
    book.submit(1, BUY, 5, price_ticks=98, agent_id=3)
    book.limit(2, BUY, 99, 5)
    assert book.replace(1, 99, 5) == 0
    book.limit(3, SELL, 100, 2)
    assert book.replace(1, 101, 7) == 2
    assert book.outcomes() == [(Outcome.FILL, 3, 1, 100, 2, -1, 3)]
    assert levels(book, BUY) == [(101, 5), (99, 5)]


def test_replace_keeps_what_the_order_is(book):
    book.submit(1, BUY, 9, price_ticks=98, display_lots=4)
    book.submit(2, BUY, 9, price_ticks=98, flags=Flag.HIDDEN)
    assert book.replace(1, 99, 8) == 0 and book.replace(2, 99, 8) == 0
    assert levels(book, BUY) == [(99, 4)] and book.live_lots == 16
    assert book.replace(1, 97, 3) == 0
    assert levels(book, BUY) == [(97, 3)]


def test_replace_of_a_post_only_order_that_would_take_leaves_it_alone(book):
    book.limit(1, SELL, 100, 5)
    book.submit(2, BUY, 5, price_ticks=99, flags=Flag.POST_ONLY)
    book.limit(3, BUY, 99, 5)
    before = book.digest()
    assert book.replace(2, 100, 5) == -Reject.WOULD_TAKE
    assert book.digest() == before


def test_replace_can_trigger_stops(book):
    book.limit(1, SELL, 100, 5)
    book.limit(2, BUY, 99, 1)
    book.submit(3, BUY, 2, stop_ticks=100, flags=Flag.STOP | Flag.MARKET)
    assert book.replace(2, 100, 1) == 1
    assert fills(book) == [(1, 2, 100, 1), (1, 3, 100, 2)]


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "order"),
    [
        (Reject.SIZE, {"size_lots": 0}),
        (Reject.SIZE, {"size_lots": -3}),
        (Reject.SIZE, {"display_lots": -1}),
        (Reject.SIZE, {"display_lots": 6}),
        (Reject.FLAGS, {"side": 0}),
        (Reject.FLAGS, {"side": 2}),
        (Reject.FLAGS, {"flags": Flag.IOC | Flag.FOK}),
        (Reject.FLAGS, {"flags": Flag.IOC | Flag.DAY}),
        (Reject.FLAGS, {"flags": Flag.FOK | Flag.DAY}),
        (Reject.FLAGS, {"flags": Flag.POST_ONLY | Flag.MARKET}),
        (Reject.FLAGS, {"flags": Flag.POST_ONLY | Flag.IOC}),
        (Reject.FLAGS, {"flags": Flag.POST_ONLY | Flag.FOK}),
        (Reject.FLAGS, {"flags": Flag.POST_ONLY | Flag.STOP}),
        (Reject.FLAGS, {"flags": Flag.HIDDEN, "display_lots": 2}),
        (Reject.FLAGS, {"flags": Flag.HIDDEN | Flag.MARKET}),
        (Reject.FLAGS, {"flags": Flag.HIDDEN | Flag.IOC}),
        (Reject.FLAGS, {"flags": Flag.HIDDEN | Flag.FOK}),
        (Reject.FLAGS, {"flags": Flag.MARKET, "display_lots": 2}),
        (Reject.FLAGS, {"flags": Flag.IOC, "display_lots": 2}),
        (Reject.FLAGS, {"flags": Flag.FOK, "display_lots": 2}),
        (Reject.FLAGS, {"flags": SelfTrade.DECREMENT + 256}),
        (Reject.PRICE, {"price_ticks": 2**60 + 1}),
        (Reject.PRICE, {"price_ticks": -(2**60) - 1}),
        (Reject.PRICE, {"flags": Flag.STOP, "stop_ticks": 2**60 + 1}),
        (Reject.PRICE, {"stop_ticks": -(2**60) - 1}),
        (Reject.DUPLICATE_ID, {"order_id": 1}),
        (Reject.DUPLICATE_ID, {"order_id": 2}),
        # of several reasons the first in the order SIZE, FLAGS, PRICE, DUPLICATE_ID is given
        (Reject.SIZE, {"size_lots": 0, "side": 0, "price_ticks": 2**61, "order_id": 1}),
        (Reject.FLAGS, {"side": 0, "price_ticks": 2**61, "order_id": 1}),
        (Reject.PRICE, {"price_ticks": 2**61, "order_id": 1}),
    ],
)
def test_an_order_is_refused_with_a_reason_and_changes_nothing(book, reason, order):
    book.limit(1, BUY, 90, 5)
    book.submit(2, BUY, 5, price_ticks=110, stop_ticks=110, flags=Flag.STOP)
    before = book.digest()
    order = {"order_id": 3, "side": BUY, "size_lots": 5, "price_ticks": 100} | order
    assert book.submit(**order) == -reason
    assert book.digest() == before and book.outcomes() == []


def test_a_request_is_refused_with_a_reason(book):
    book.limit(1, BUY, 90, 5)
    before = book.digest()
    assert book.replace(1, 90, 0) == -Reject.SIZE
    assert book.replace(1, 2**60 + 1, 1) == -Reject.PRICE
    assert book.replace(2, 90, 1) == -Reject.UNKNOWN_ORDER
    assert book.replace(2, 2**60 + 1, 0) == -Reject.SIZE
    assert book.cancel(2) == -Reject.UNKNOWN_ORDER
    assert book.reduce(1, -1) == -Reject.SIZE
    assert book.limit(1, BUY, 90, 5) == -Reject.DUPLICATE_ID
    assert book.market(1, SELL, 5) == -Reject.DUPLICATE_ID
    assert book.digest() == before


def test_an_id_is_free_again_when_its_order_is_gone(book):
    book.limit(1, BUY, 90, 5)
    book.cancel(1)
    assert book.limit(1, SELL, 90, 5) == 0
    assert book.market(2, BUY, 5) == 5
    assert book.limit(1, BUY, 90, 5) == 0


@pytest.mark.parametrize("order_id", [0, -5, 2**40, 2**62])
def test_ids_may_be_any_integer(book, order_id):
    assert book.limit(order_id, BUY, 90, 5) == 0
    assert book.cancel(order_id) == 5


# ---- many rows in one call ----------------------------------------------------------------------


def test_apply_is_one_call_per_row(book):
    rows = [
        (OrderKind.LIMIT, 1, SELL, 100, 5),
        (OrderKind.LIMIT, 2, SELL, 101, 5),
        (OrderKind.REDUCE, 1, 0, 0, 2),
        (OrderKind.MARKET, 3, BUY, 0, 4),
        (OrderKind.REPLACE, 2, 0, 102, 5),
        (OrderKind.CANCEL, 2, 0, 0, 0),
        (OrderKind.CANCEL, 2, 0, 0, 0),
    ]
    results = book.apply(*np.array(rows, dtype=np.int64).T)
    assert results.dtype == np.int64
    assert results.tolist() == [0, 0, 2, 4, 0, 5, -Reject.UNKNOWN_ORDER]
    assert fills(book) == [(1, 3, 100, 3), (2, 3, 101, 1)]


def test_extreme_sizes_and_sides_are_refused_and_harm_nothing(book):
    book.submit(1, SELL, 200_000, price_ticks=10, display_lots=1)
    assert book.market(2, BUY, 2**62) == -Reject.SIZE
    assert book.limit(3, BUY, 10, 2**40 + 1) == -Reject.SIZE
    for side in (0, 2, 5, 10**12, -(10**12)):
        assert book.limit(4, side, 10, 5) == -Reject.FLAGS
        assert book.market(5, side, 5) == -Reject.FLAGS
    assert book.market(6, BUY, 10**6) == 200_000
