"""Stylized facts: against other libraries and loops, planted defects, what is not defined."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from statsmodels.tsa.stattools import acf

from marketsim.metrics.autocorrelation import autocorrelation
from marketsim.metrics.sample import take_sample
from marketsim.metrics.section import NotDefined, Row, Section
from marketsim.metrics.stylized import stylized
from marketsim.order_events import Event
from marketsim.tape import Tape

Make = Callable[..., Tape]
ROWS = 12_000  # of a second each: 200 minutes


def judge(generated: Tape, real: Tape) -> Section:
    return stylized(take_sample(generated, "tape"), take_sample(real, "against"))


def row(section: Section, measure: str) -> Row:
    (found,) = [row for row in section.rows if row.measure == measure]
    return found


@pytest.fixture(scope="module")
def real(make_day: Make, bursts: Callable[[int, int], Any]) -> Tape:
    rng = np.random.default_rng(5)
    signs = np.repeat(rng.choice([-1, 1], ROWS), rng.integers(1, 9, ROWS))
    gaps_ns = (
        rng.exponential(1e9, ROWS) * np.repeat(rng.uniform(0.2, 1.8, ROWS // 100), 100)
    ).astype(np.int64) + 1
    return make_day(bursts(ROWS, 1), 2, signs=signs, gaps_ns=gaps_ns)


def columns(tape: Tape, **changed: Any) -> Tape:
    """The tape with other columns of orders or trades."""
    orders = {**tape.orders, **changed.get("orders", {})}
    trades = {**tape.trades, **changed.get("trades", {})}
    return Tape(orders, trades, tape.meta, book=changed.get("book", tape.book))


@pytest.mark.parametrize("lags", [1, 7, 40])
def test_autocorrelation_is_that_of_statsmodels(lags: int) -> None:
    values = np.random.default_rng(3).standard_t(3, 300).cumsum()
    curve = autocorrelation(values, lags)
    expected, interval = acf(
        values, nlags=lags, alpha=0.05, bartlett_confint=True, result_object=False
    )
    np.testing.assert_allclose(curve.y, expected[1:], atol=1e-12)
    assert curve.band is not None
    np.testing.assert_allclose(curve.band, (interval[1:, 1] - interval[1:, 0]) / 2, rtol=1e-6)


def test_autocorrelation_of_a_constant_is_not_defined() -> None:
    with pytest.raises(NotDefined, match="all values are equal"):
        autocorrelation(np.full(50, 0.1), 3)


def test_facts_against_plain_loops(real: Tape) -> None:
    found = judge(real, real)
    start_ns, end_ns = real.meta["open_ns"], real.meta["close_ns"]
    times = real.orders["time_ns"].tolist()
    book = real.book
    mids, spread, first_level = [], 0.0, 0.0
    at = -1
    for minute_ns in range(start_ns, end_ns + 1, 60 * 10**9):
        while at + 1 < len(times) and times[at + 1] <= minute_ns:
            at += 1
        if at >= 0:
            mids.append((book.bid_price_ticks[at, 0] + book.ask_price_ticks[at, 0]) / 2)
    for i, time_ns in enumerate(times):
        held_ns = (times[i + 1] if i + 1 < len(times) else end_ns) - time_ns
        wide = int(book.ask_price_ticks[i, 0] - book.bid_price_ticks[i, 0])
        spread += wide * held_ns
        first_level += held_ns * (book.bid_size_lots[i, 0] + book.ask_size_lots[i, 0]) / 2
    covered_ns = end_ns - times[0]
    moves = [1e4 * math.log(b / a) for a, b in zip(mids, mids[1:], strict=False)]
    mean = sum(moves) / len(moves)
    second = sum((x - mean) ** 2 for x in moves) / len(moves)
    fourth = sum((x - mean) ** 4 for x in moves) / len(moves)
    signs = [
        -int(s) for s, k in zip(real.orders["side"], real.orders["kind"], strict=True) if k == 4
    ]
    middle = sum(signs) / len(signs)
    centred = [sign - middle for sign in signs]
    lag_one = sum(a * b for a, b in zip(centred, centred[1:], strict=False)) / sum(
        a * a for a in centred
    )
    expected = {
        "minute log returns, distribution [bps]": math.sqrt(second),
        "excess kurtosis of log returns, 1 min": fourth / second**2 - 3,
        "spread [ticks]": spread / covered_ns,
        "first-level volume [lots]": first_level / covered_ns,
        "autocorrelation of order signs, next order": lag_one,
        "share of market orders": len(signs) / len(times),
        "time between orders, distribution [ms]": float(np.median(np.diff(times))) / 1e6,
    }
    for measure, value in expected.items():
        assert row(found, measure).generated == pytest.approx(value, rel=1e-9), measure


def test_a_tape_against_itself_has_no_distance(real: Tape) -> None:
    for fact in judge(real, real).rows:
        if fact.generated is None:
            assert fact.note
        else:
            assert fact.generated == fact.real
            assert fact.distance == 0


def test_floor_is_that_of_real_windows_of_the_same_length(real: Tape) -> None:
    start_ns = int(real.meta["open_ns"])
    part = real.between(start_ns, start_ns + 40 * 60 * 10**9)
    fact = row(judge(part, real), "share of limit orders")
    shares = []
    for number in range(int(real.meta["close_ns"] - start_ns) // (40 * 60 * 10**9)):
        from_ns = start_ns + number * 40 * 60 * 10**9
        events = take_sample(real.between(from_ns, from_ns + 40 * 60 * 10**9), "window").events
        shares.append(float(events.of(Event.LIMIT).mean()))
    assert len(shares) >= 4
    whole = float(take_sample(real, "against").events.of(Event.LIMIT).mean())
    times = (int(real.meta["close_ns"]) - start_ns) / (40 * 60 * 10**9)
    expected = float(np.median([abs(share - whole) for share in shares])) * times / (times - 1)
    assert fact.floor == pytest.approx(expected)
    day = row(judge(part, real), "spread through the day [bps]")
    assert day.floor is None and "no floor: each time of day is there once" in day.note
    assert fact.ratio == pytest.approx(fact.distance / fact.floor)


def test_no_floor_has_a_reason(real: Tape) -> None:
    for fact in judge(real, real).rows:
        assert fact.floor is None and fact.ratio is None
        if fact.distance is not None:
            assert "no floor: the reference is shorter than two windows" in fact.note


def test_independent_returns_of_the_same_distribution_are_caught(
    real: Tape, make_day: Make
) -> None:
    quotes = take_sample(real, "against")
    minutes = np.exp(quotes.log_mid)
    rng = np.random.default_rng(0)
    shuffled = minutes[0] * np.exp(
        np.append(0, np.cumsum(rng.permutation(np.diff(np.log(minutes)))))
    )
    planted = make_day(np.repeat(shuffled, 60).round().astype(np.int64), 9)
    found = judge(planted, real)
    same = row(found, "minute log returns, distribution [bps]")
    assert same.distance is not None and same.distance < 0.05
    caught = row(found, "autocorrelation of absolute minute returns")
    assert caught.real is not None and caught.generated is not None
    assert caught.real > 0.08 > 0.03 > abs(caught.generated)


def test_shuffled_trade_signs_are_caught(real: Tape) -> None:
    executed = np.flatnonzero(real.orders["kind"] == 4)
    side = real.orders["side"].copy()
    side[executed] = np.random.default_rng(0).permutation(side[executed])
    found = judge(columns(real, orders={"side": side}), real)
    caught = row(found, "autocorrelation of order signs, next order")
    assert caught.real is not None and caught.generated is not None
    assert caught.real > 0.5 > 0.1 > abs(caught.generated)
    assert row(found, "time between orders, distribution [ms]").distance == 0


def test_permuted_times_between_orders_are_caught(real: Tape) -> None:
    times = real.orders["time_ns"]
    gaps = np.random.default_rng(0).permutation(np.diff(times))
    moved = np.append(times[0], times[0] + np.cumsum(gaps))
    book = real.book
    levels = (book.bid_price_ticks, book.bid_size_lots, book.ask_price_ticks, book.ask_size_lots)
    planted = columns(
        real,
        orders={"time_ns": moved},
        trades={"time_ns": moved[real.trades["sequence"]]},
        book=type(book)(moved, book.sequence, *levels),
    )
    found = judge(planted, real)
    assert row(found, "time between orders, distribution [ms]").distance == pytest.approx(0)
    caught = row(found, "autocorrelation of log times between orders")
    assert caught.real is not None and caught.generated is not None
    assert caught.real > 0.05 > 0.02 > abs(caught.generated)


def test_other_ticks_and_sessions_are_said(real: Tape, make_day: Make) -> None:
    other = make_day(
        np.full(ROWS, 500), tick_size=0.05, open_ns=OPEN_LATER, close_ns=OPEN_LATER * 2
    )
    found = judge(real, other)
    ticks = row(found, "spread [ticks]")
    assert ticks.generated is not None and ticks.distance is None
    assert "no distance: tick size differs, 0.01 and 0.05" in ticks.note
    assert row(found, "spread [bps]").distance is not None


OPEN_LATER = 34_200_000_000_000 + 7_200_000_000_000


def test_no_common_time_of_day_is_said(make_day: Make, real: Tape) -> None:
    start_ns = int(real.meta["open_ns"])
    hour_ns = 3_600_000_000_000
    found = judge(
        real.between(start_ns, start_ns + hour_ns),
        real.between(start_ns + hour_ns, start_ns + 2 * hour_ns),
    )
    profile = row(found, "spread through the day [bps]")
    assert profile.distance is None
    assert "no distance: nothing in common" in profile.note


def one_sided(tape: Tape) -> Tape:
    book = tape.book
    nothing = np.zeros_like(book.ask_size_lots)
    levels = (book.bid_price_ticks, book.bid_size_lots, nothing, nothing)
    return columns(tape, book=type(book)(book.time_ns, book.sequence, *levels))


def test_what_a_market_does_not_have_is_said(real: Tape, make_day: Make) -> None:
    still = make_day(np.full(ROWS, 1_000))
    few = real.between(int(real.meta["open_ns"]), int(real.meta["open_ns"]) + 200 * 10**9)
    cases = [
        (one_sided(real), "spread [bps]", "the book never has two sides"),
        (one_sided(real), "autocorrelation of minute returns", "the book never has two sides"),
        (still, "excess kurtosis of log returns, 1 min", "all returns are 0"),
        (still, "correlation of volume and volatility", "all returns are 0"),
        (few, "autocorrelation of order signs", "market orders, needs 100"),
        (few, "volume through the day [lots/min]", "trades, needs 100"),
        (few, "minute log returns, distribution [bps]", "minute returns, needs 30"),
    ]
    for tape, measure, reason in cases:
        fact = row(judge(tape, real), measure)
        assert fact.generated is None and fact.distance is None
        assert fact.real is not None
        assert "generated not defined" in fact.note and reason in fact.note


def test_nothing_is_nan(real: Tape, make_day: Make) -> None:
    for tape in (real, one_sided(real), make_day(np.full(40, 1_000)), make_day(np.full(2_500, 7))):
        for fact in judge(tape, real).rows:
            for value in (fact.generated, fact.real, fact.distance, fact.floor, fact.ratio):
                assert value is None or math.isfinite(value), fact
            assert fact.note or None not in (fact.generated, fact.real, fact.distance, fact.floor)
