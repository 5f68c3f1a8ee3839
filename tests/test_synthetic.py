"""The synthetic day is deterministic, consistent and looks like a market."""

import numpy as np
import pytest

from marketsim.codes import Cause, OrderKind
from marketsim.data.synthetic import synthetic_tape
from marketsim.errors import ConfigError
from marketsim.naive import NaiveBook

BOOK_COLUMNS = ("bid_price_ticks", "bid_size_lots", "ask_price_ticks", "ask_size_lots")


@pytest.fixture(scope="module")
def day():
    return synthetic_tape(seed=0)


@pytest.fixture(scope="module")
def hour():
    return synthetic_tape(seed=3, open="10:00", close="11:00", levels=5)


def test_the_seed_decides_everything(hour):
    again = synthetic_tape(seed=3, open="10:00", close="11:00", levels=5)
    other = synthetic_tape(seed=4, open="10:00", close="11:00", levels=5)
    assert again.digest() == hour.digest() != other.digest()


def test_the_book_is_never_crossed_nor_empty(day):
    bid, ask = day.book.bid_price_ticks[:, 0], day.book.ask_price_ticks[:, 0]
    assert (day.book.bid_size_lots[:, 0] > 0).all() and (day.book.ask_size_lots[:, 0] > 0).all()
    assert (bid < ask).all()


def test_the_book_follows_from_the_opening_levels_and_the_rows(hour):
    """Rows in a naive book; what rests at the open is one order a level, shrunk by its rows."""
    book, opening, known = NaiveBook(), {}, set()
    for i, (side, price, size) in enumerate(_rows(hour.reveals, "side price_ticks size_lots"), 1):
        opening[side, price] = -i
        assert book.limit(-i, side, price, size) == 0
    columns = "kind order_id side price_ticks size_lots"
    for row, (kind, order_id, side, price, size) in enumerate(_rows(hour.orders, columns)):
        target = order_id if order_id in known else opening.get((side, price))
        if kind == OrderKind.LIMIT:
            known.add(order_id)
            assert book.limit(order_id, side, price, size) == 0
        elif kind == OrderKind.EXECUTION:
            front = book._levels[side].peekitem(0)[1].front()
            assert front.order_id == target and front.price_ticks == price
            assert book.market(-10_000 - row, -side, size) == size
        elif kind != OrderKind.HIDDEN_EXECUTION:
            assert book.reduce(target, size) == size
        bids, asks = book.depth(5)
        expected = (*bids.T, *asks.T)
        for name, column in zip(BOOK_COLUMNS, expected, strict=True):
            assert getattr(hour.book, name)[row].tolist() == column.tolist(), (row, name)
    assert book.trades > 100


def _rows(table, names):
    return zip(*(table[name].tolist() for name in names.split()), strict=True)


def test_orders_from_before_the_open_keep_their_ids(hour):
    kind, order_id = hour.orders["kind"], hour.orders["order_id"]
    placed = set(order_id[kind == OrderKind.LIMIT].tolist())
    old = set(order_id[kind == OrderKind.CANCEL].tolist()) - placed
    assert old and max(old) < min(placed)
    assert (hour.reveals["cause"] == Cause.OPEN).all()
    assert (hour.reveals["sequence"] == -1).all()
    levels = list(_rows(hour.reveals, "side price_ticks"))
    assert len(levels) == len(set(levels))


def test_every_execution_has_its_trade(day):
    executed = np.isin(day.orders["kind"], [OrderKind.EXECUTION, OrderKind.HIDDEN_EXECUTION])
    np.testing.assert_array_equal(np.flatnonzero(executed), day.trades["sequence"])
    for name in ("time_ns", "price_ticks", "size_lots"):
        np.testing.assert_array_equal(day.orders[name][executed], day.trades[name])
    np.testing.assert_array_equal(day.orders["order_id"][executed], day.trades["maker_order_id"])
    np.testing.assert_array_equal(day.orders["side"][executed], -day.trades["side"])


def test_hidden_executions_lie_inside_the_spread(day):
    hidden = np.flatnonzero(day.orders["kind"] == OrderKind.HIDDEN_EXECUTION)
    price = day.orders["price_ticks"][hidden]
    assert (price >= day.book.bid_price_ticks[hidden, 0]).all()
    assert (price < day.book.ask_price_ticks[hidden, 0]).all()


def test_the_day_looks_like_a_market(day):
    assert 130_000 < len(day) < 155_000
    kinds = np.bincount(day.orders["kind"], minlength=6) / len(day)
    assert 0.44 < kinds[OrderKind.LIMIT] < 0.52
    assert 0.38 < kinds[OrderKind.CANCEL] < 0.48
    assert 0.04 < kinds[OrderKind.EXECUTION] < 0.10
    assert 0.01 < kinds[OrderKind.HIDDEN_EXECUTION] < 0.04
    assert 0.001 < kinds[OrderKind.REDUCE] < 0.01
    spread = day.book.ask_price_ticks[:, 0] - day.book.bid_price_ticks[:, 0]
    assert 10 <= np.median(spread) <= 30
    assert 80 <= np.median(day.book.bid_size_lots[:, 0]) <= 300
    assert (day.orders["size_lots"] % 100 == 0).mean() > 0.35
    mid = (day.book.ask_price_ticks[:, 0] + day.book.bid_price_ticks[:, 0]) / 2
    assert 100 < np.ptp(mid) < 4_000
    hours = np.bincount((day.orders["time_ns"] - day.meta["open_ns"]) // (30 * 60 * 10**9))
    assert len(hours) == 13 and min(hours[0], hours[-1]) > 1.5 * hours[6]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("close", "09:30"),
        ("orders_per_second", 0.0),
        ("levels", 0),
        ("mid_ticks", 1_999),
        ("tick_size", 0.0),
    ],
)
def test_an_argument_out_of_range_is_named(argument, value):
    with pytest.raises(ConfigError, match=rf"^{argument} must .* was {value!r}"):
        synthetic_tape(**{argument: value})
