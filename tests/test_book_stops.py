"""Stops and self-trade prevention by example, in both twins."""

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


# ---- stops --------------------------------------------------------------------------------------


def trade_at(book, price_ticks):
    """Make the last price ``price_ticks`` by a trade that leaves nothing behind."""
    assert book.limit(901, SELL, price_ticks, 1) == 0
    assert book.limit(902, BUY, price_ticks, 1) == 1
    book.outcomes()


def test_a_stop_waits_for_its_price(book):
    stop = {"stop_ticks": 105, "flags": Flag.STOP | Flag.MARKET, "agent_id": 3}
    assert book.submit(1, BUY, 5, **stop) == 0
    assert book.order_count == 1 and book.live_lots == 0 and book.best_bid is None
    trade_at(book, 104)
    assert book.order_count == 1
    book.limit(2, SELL, 105, 1)
    book.limit(3, SELL, 106, 9)
    assert book.market(4, BUY, 1) == 1
    assert book.outcomes() == [
        (Outcome.FILL, 2, 4, 105, 1, -1, -1),
        (Outcome.TRIGGERED, 1, 0, 105, 5, 3, -1),
        (Outcome.FILL, 3, 1, 106, 5, -1, 3),
    ]
    assert book.order_count == 1


def test_a_sell_stop_triggers_on_the_way_down(book):
    trade_at(book, 100)
    assert book.submit(1, SELL, 5, price_ticks=97, stop_ticks=98, flags=Flag.STOP) == 0
    trade_at(book, 99)
    assert book.order_count == 1
    book.limit(2, BUY, 98, 1)
    book.limit(3, BUY, 97, 2)
    assert book.market(4, SELL, 1) == 1
    assert fills(book) == [(2, 4, 98, 1), (3, 1, 97, 2)]
    assert levels(book, SELL) == [(97, 3)]  # a stop-limit order's rest rests


def test_a_stop_beyond_its_price_goes_on_at_once(book):
    trade_at(book, 100)
    assert book.submit(1, BUY, 5, price_ticks=99, stop_ticks=100, flags=Flag.STOP) == 0
    assert book.outcomes() == [(Outcome.TRIGGERED, 1, 0, 100, 5, -1, -1)]
    assert book.best_bid == 99
    assert book.submit(2, SELL, 3, stop_ticks=100, flags=Flag.STOP | Flag.MARKET) == 3


def test_a_stop_is_pending_before_the_first_trade(book):
    book.limit(1, SELL, 100, 5)
    assert book.submit(2, BUY, 5, stop_ticks=50, flags=Flag.STOP | Flag.MARKET) == 0
    assert book.order_count == 2


def test_stops_cascade_one_by_one_buys_first(book):
    for order_id, price in ((1, 101), (2, 102), (3, 103)):
        book.limit(order_id, SELL, price, 1)
    market_stop = Flag.STOP | Flag.MARKET
    book.submit(12, BUY, 1, stop_ticks=102, flags=market_stop)
    book.submit(11, BUY, 1, stop_ticks=101, flags=market_stop)
    book.submit(13, BUY, 1, stop_ticks=101, flags=market_stop)
    book.submit(14, SELL, 1, price_ticks=110, stop_ticks=103, flags=Flag.STOP)
    book.submit(15, SELL, 1, price_ticks=109, stop_ticks=104, flags=Flag.STOP)
    assert book.market(20, BUY, 1) == 1
    triggered = [row[1] for row in book.outcomes() if row[0] == Outcome.TRIGGERED]
    # 11 and 13 by price and time at 101; 12 at 102 finds nothing before the sell stops rest.
    assert triggered == [11, 13, 12, 15, 14]
    assert book.last_price == 103
    assert levels(book, SELL) == [(109, 1), (110, 1)]


def test_a_cascade_may_turn_around(book):
    book.limit(1, SELL, 101, 1)
    book.limit(2, BUY, 95, 1)
    book.limit(3, SELL, 102, 5)
    book.submit(11, SELL, 1, stop_ticks=101, flags=Flag.STOP | Flag.MARKET)
    book.submit(12, BUY, 1, stop_ticks=102, flags=Flag.STOP | Flag.MARKET)
    book.submit(13, SELL, 2, price_ticks=90, stop_ticks=95, flags=Flag.STOP)
    book.market(20, BUY, 1)
    assert fills(book) == [(1, 20, 101, 1), (2, 11, 95, 1)]
    assert book.best_ask == 90 and book.order_count == 3  # 3, 12 pending, 13 at rest
    book.limit(21, BUY, 90, 1)
    book.market(22, BUY, 2)
    assert fills(book) == [(13, 21, 90, 1), (13, 22, 90, 1), (3, 22, 102, 1), (3, 12, 102, 1)]


def test_a_triggered_fok_that_cannot_fill_is_dropped_whole(book):
    book.submit(1, BUY, 5, price_ticks=102, stop_ticks=100, flags=Flag.STOP | Flag.FOK)
    book.limit(2, SELL, 100, 3)
    assert book.market(3, BUY, 1) == 1
    assert book.outcomes()[1:] == [
        (Outcome.TRIGGERED, 1, 0, 100, 5, -1, -1),
        (Outcome.DROPPED, 1, 0, 102, 5, -1, -1),
    ]
    assert book.live_lots == 2


def test_a_triggered_ioc_drops_its_rest_and_an_iceberg_shows_its_tip(book):
    book.submit(1, BUY, 5, price_ticks=101, stop_ticks=100, flags=Flag.STOP | Flag.IOC)
    book.submit(2, BUY, 9, price_ticks=99, stop_ticks=100, display_lots=4, flags=Flag.STOP)
    book.limit(3, SELL, 100, 3)
    assert book.market(4, BUY, 1) == 1
    assert book.outcomes()[1:] == [
        (Outcome.TRIGGERED, 1, 0, 100, 5, -1, -1),
        (Outcome.FILL, 3, 1, 100, 2, -1, -1),
        (Outcome.DROPPED, 1, 0, 101, 3, -1, -1),
        (Outcome.TRIGGERED, 2, 0, 100, 9, -1, -1),
    ]
    assert levels(book, BUY) == [(99, 4)] and book.live_lots == 9


def test_pending_stops_can_be_cancelled_and_reduced_but_not_replaced(book):
    book.submit(1, BUY, 5, stop_ticks=100, flags=Flag.STOP | Flag.MARKET)
    assert book.replace(1, 100, 4) == -Reject.FLAGS
    assert book.reduce(1, 2) == 2
    assert book.cancel(1) == 3
    book.submit(1, BUY, 5, stop_ticks=100, flags=Flag.STOP | Flag.MARKET)
    assert book.reduce(1, 9) == 5
    assert book.order_count == 0
    trade_at(book, 100)


# ---- self-trade prevention ----------------------------------------------------------------------


@pytest.fixture
def own_between(book):
    """Asks at 100: foreign 2, own 3 (order 2), foreign 4."""
    book.submit(1, SELL, 2, price_ticks=100, agent_id=1)
    book.submit(2, SELL, 3, price_ticks=100, agent_id=9)
    book.submit(3, SELL, 4, price_ticks=100, agent_id=1)
    return book


def own_buy(book, size, mode, **order):
    flags = mode | order.pop("flags", 0)
    return book.submit(10, BUY, size, price_ticks=100, agent_id=9, flags=flags, **order)


def test_self_trade_allowed(own_between):
    assert own_buy(own_between, 6, SelfTrade.ALLOW) == 6
    assert [maker for maker, *_ in fills(own_between)] == [1, 2, 3]


def test_agents_without_an_id_always_trade(book):
    book.limit(1, SELL, 100, 5)
    assert book.submit(2, BUY, 5, price_ticks=100, flags=SelfTrade.CANCEL_BOTH) == 5


def test_self_trade_cancels_the_taker(own_between):
    assert own_buy(own_between, 6, SelfTrade.CANCEL_TAKER) == 2
    assert own_between.outcomes()[1:] == [(Outcome.TAKER_CANCELLED, 10, 2, 100, 4, 9, 9)]
    assert own_between.live_lots == 7 and own_between.best_bid is None


def test_self_trade_cancels_the_maker(own_between):
    assert own_buy(own_between, 6, SelfTrade.CANCEL_MAKER) == 6
    assert own_between.outcomes() == [
        (Outcome.FILL, 1, 10, 100, 2, 1, 9),
        (Outcome.MAKER_CANCELLED, 2, 10, 100, 3, 9, 9),
        (Outcome.FILL, 3, 10, 100, 4, 1, 9),
    ]
    assert own_between.order_count == 0


def test_self_trade_cancels_both(own_between):
    assert own_buy(own_between, 6, SelfTrade.CANCEL_BOTH) == 2
    assert own_between.outcomes()[1:] == [
        (Outcome.MAKER_CANCELLED, 2, 10, 100, 3, 9, 9),
        (Outcome.TAKER_CANCELLED, 10, 2, 100, 4, 9, 9),
    ]
    assert own_between.live_lots == 4


def test_self_trade_decrements_both(own_between):
    assert own_buy(own_between, 6, SelfTrade.DECREMENT) == 3
    assert own_between.outcomes() == [
        (Outcome.FILL, 1, 10, 100, 2, 1, 9),
        (Outcome.DECREMENTED, 2, 10, 100, 3, 9, 9),
        (Outcome.FILL, 3, 10, 100, 1, 1, 9),
    ]
    assert (own_between.volume, own_between.live_lots) == (3, 3)


def test_a_decrement_may_use_up_the_taker(own_between):
    assert own_buy(own_between, 4, SelfTrade.DECREMENT) == 2
    assert own_between.outcomes()[-1] == (Outcome.DECREMENTED, 2, 10, 100, 2, 9, 9)
    assert own_between.best_bid is None and own_between.live_lots == 5


def test_a_decrement_leaves_the_rest_of_an_ioc_to_be_dropped(book):
    book.submit(1, SELL, 2, price_ticks=100, agent_id=9)
    assert own_buy(book, 5, SelfTrade.DECREMENT, flags=Flag.IOC) == 0
    assert book.outcomes() == [
        (Outcome.DECREMENTED, 1, 10, 100, 2, 9, 9),
        (Outcome.DROPPED, 10, 0, 100, 3, 9, -1),
    ]


def test_self_trade_meets_icebergs_tip_by_tip_and_cancels_them_whole(book):
    book.submit(1, SELL, 9, price_ticks=100, display_lots=2, agent_id=9)
    book.submit(2, SELL, 1, price_ticks=100, agent_id=1)
    assert own_buy(book, 4, SelfTrade.DECREMENT) == 1
    assert [row[:5] for row in book.outcomes()] == [
        (Outcome.DECREMENTED, 1, 10, 100, 2),
        (Outcome.FILL, 2, 10, 100, 1),
        (Outcome.DECREMENTED, 1, 10, 100, 1),
    ]
    assert own_buy(book, 1, SelfTrade.CANCEL_MAKER) == 0
    assert book.outcomes() == [(Outcome.MAKER_CANCELLED, 1, 10, 100, 6, 9, 9)]
    assert book.best_bid == 100 and book.best_ask is None


def test_the_mode_of_the_incoming_order_counts(book):
    book.submit(1, SELL, 5, price_ticks=100, agent_id=9, flags=SelfTrade.CANCEL_BOTH)
    assert own_buy(book, 5, SelfTrade.ALLOW) == 5
