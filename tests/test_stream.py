"""The million-event stream on which six independent engines agree (C++, Rust, Cython, Python)."""

from importlib.resources import files

import numpy as np
import pytest

from marketsim.book import Book
from marketsim.codes import OrderKind, Side
from marketsim.naive import NaiveBook

EXPECTED = {
    "trades": 294_353,
    "volume": 9_981_885,
    "notional": 998_048_718_069,
    "best_bid": 99_989,
    "best_ask": 99_990,
    "order_count": 2_962,
    "live_lots": 151_050,
    "last_price": 99_990,
}
CHECKPOINT_ROWS = 1_000


@pytest.fixture(scope="module")
def columns():
    """Arguments of ``apply``; the file counts kinds and sides from 0."""
    with files("marketsim.data").joinpath("stream_1m.npz").open("rb") as file, np.load(file) as npz:
        stream = {name: npz[name].astype(np.int64) for name in npz.files}
    kinds = np.array([OrderKind.LIMIT, OrderKind.CANCEL, OrderKind.MARKET])
    sides = np.array([Side.BUY, Side.SELL])
    return (
        kinds[stream["kind"]],
        stream["order_id"],
        sides[stream["side"]],
        stream["price_ticks"],
        stream["size_lots"],
    )


def state(book):
    return {name: getattr(book, name) for name in EXPECTED}


def test_the_fast_book_agrees_with_six_engines(columns):
    book = Book()
    results = book.apply(*columns)
    assert state(book) == EXPECTED
    assert results.shape == (1_000_000,) and results.min() >= 0
    book.validate()


@pytest.mark.slow
def test_the_naive_book_agrees_with_six_engines(columns):
    book = NaiveBook()
    for start in range(0, 1_000_000, 10_000):
        book.apply(*(column[start : start + 10_000] for column in columns))
        book.outcomes()
    assert state(book) == EXPECTED
    book.validate()


@pytest.mark.slow
def test_the_twins_agree_along_the_stream(columns):
    fast, naive = Book(), NaiveBook()
    for start in range(0, 100_000, CHECKPOINT_ROWS):
        rows = [column[start : start + CHECKPOINT_ROWS] for column in columns]
        np.testing.assert_array_equal(fast.apply(*rows), naive.apply(*rows))
        assert fast.outcomes() == naive.outcomes()
        assert fast.digest() == naive.digest()
        fast.validate()
        naive.validate()
