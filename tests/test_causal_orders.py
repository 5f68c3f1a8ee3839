"""Orders of causal models: possible ones, after few tries, whoever else is in the batch."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_flow import CANCEL, LIMIT, MARKET, in_sight
from toy_market import toy_flow
from toy_models import random_model, ready, view_at

from marketsim.flow import LEVELS, View
from marketsim.generators.causal_flow import TRIES, TokenFlow

FLOW = toy_flow(420)
HERE = 300  # the event that the orders stand for


def markets(generator: TokenFlow, count: int) -> Iterator[tuple[Any, list[View], Any]]:
    """States at different places, what they are shown twice, and their streams."""
    for i in range(count):
        at, new = 260 + 3 * i, i % 5
        views = []
        for first, last in ((at, at), (at, at + new)):
            view = view_at(FLOW, last, first)
            if i % 4 == 1:
                view = view._replace(own_lots=0 * view.own_lots)
            if i % 7 == 3:
                view.book[:, 2:] = 0
            views.append(view)
        yield generator.start(FLOW[:at]), views, np.random.default_rng(i)


BATCHES = [
    ("tokens", {"width": 24, "heads": 3, "window": 11}),
    ("tokens", {"width": 128, "heads": 4, "window": 37, "layers": 1}),
    ("causal", {"width": 16, "window": 9, "scale": 0.3, "steps": 3, "eta": 1.0}),
    ("causal", {"width": 72, "heads": 3, "window": 9, "scale": 0.3, "layers": 1}),
]


@pytest.mark.parametrize(("architecture", "options"), BATCHES)
def test_a_market_does_not_know_its_batch(architecture: str, options: dict[str, Any]) -> None:
    """Orders, states and streams are those of a market alone, bit for bit, in any order of rows."""
    generator, _ = random_model(architecture, FLOW, **options)
    made = list(markets(generator, 33))
    alone = copy.deepcopy(made)
    expected = [
        [generator.next_order(state, view, rng) for view in views] for state, views, rng in alone
    ]
    assert len({order for orders in expected for order in orders}) > 40
    for count in (2, 3, 7, 33):
        for rows in (np.arange(count), np.random.default_rng(count).permutation(33)[:count]):
            some = copy.deepcopy([made[row] for row in rows])
            states, views, rngs = ([one[k] for one in some] for k in range(3))
            for turn in range(2):
                found = generator.next_orders(states, [view[turn] for view in views], rngs)
                assert found == [expected[row][turn] for row in rows]
            for row, state, rng in zip(rows, states, rngs, strict=True):
                assert state.floats.tobytes() == alone[row][0].floats.tobytes()
                assert state.ints.tobytes() == alone[row][0].ints.tobytes()
                assert rng.bit_generator.state == alone[row][2].bit_generator.state


# -- orders that can be --------------------------------------------------------------------------

MODELS = [
    random_model("tokens", FLOW, scale=1.0, window=8)[0],
    random_model("tokens", FLOW, scale=6.0, window=8)[0],
    random_model("causal", FLOW, scale=1.0, window=8, steps=2)[0],
]
STATES = [ready(generator, FLOW, HERE) for generator in MODELS]


@st.composite
def views(draw: st.DrawFn) -> View:
    """Books with gaps, empty sides, both sides at one price or crossed; some lots are own."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    mid, spread = draw(st.sampled_from([5, 1_000, 10**7])), draw(st.sampled_from([-2, 0, 1, 2, 90]))
    book, own = np.zeros((LEVELS, 4), np.int64), np.zeros((LEVELS, 2), np.int64)
    for half, side in ((0, 1), (1, -1)):
        count = draw(st.sampled_from([0, 1, 3, 10, 10]))
        steps = rng.integers(1, draw(st.sampled_from([2, 9, 500])), count).cumsum()
        book[:count, 2 * half] = mid - side * (steps - steps[:1] + spread // 2)
        book[:count, 2 * half + 1] = rng.integers(1, 500, count)
        mine = rng.random(count) < draw(st.sampled_from([0, 0.3, 1]))
        own[:count, half] = mine * rng.integers(1, book[:count, 2 * half + 1] + 1)
    return View(FLOW[:0], book, own, 0)


@settings(max_examples=150, deadline=None)
@given(view=views(), which=st.integers(0, 2), seed=st.integers(0, 2**32))
def test_drawn_orders_are_possible(view: View, which: int, seed: int) -> None:
    generator, state = MODELS[which], STATES[which]
    rngs = [np.random.default_rng([seed, i]) for i in range(12)]
    for order in generator.next_orders([state] * 12, [view] * 12, rngs):
        kind, side, price, size, delay, rejected, fallback = order
        own, other = (0, 2) if side > 0 else (2, 0)
        assert side in (1, -1) and size >= 1 and delay >= 0 and 0 <= rejected <= TRIES
        assert fallback == (rejected == TRIES)
        meets, lots = view.book[0, other : other + 2]
        if kind == LIMIT:
            if not fallback or view.book[0, own + 1] == 0:
                assert lots == 0 or (price - meets) * side < 0
            assert view.book[0, (1, 3)].any() or fallback
            assert in_sight(view.book, side, price)
        elif kind == CANCEL:
            levels = view.book[view.own_lots[:, own >> 1] > 0, own]
            assert price in levels.tolist()
        else:
            assert kind == MARKET and lots > 0
        if fallback:
            assert kind == LIMIT and size == 100


def only(architecture: str, kind: int) -> TokenFlow:
    """A model that wants orders of one kind alone."""
    generator, _ = random_model(architecture, FLOW, scale=1.0)
    prefix = "heads." if architecture == "tokens" else ""
    weights = {name: value.copy() for name, value in generator.weights.items()}
    weights[f"{prefix}class_head.logits.bias"][2 * kind : 2 * kind + 2] += 1e4
    generator.set_weights(weights)
    return generator


@pytest.mark.parametrize("architecture", ["tokens", "causal"])
@pytest.mark.parametrize("kind", [LIMIT, CANCEL, MARKET])
def test_tries_are_bounded(architecture: str, kind: int) -> None:
    """Nothing own to cancel, nobody to trade with, no book at all: a sure order, near the last."""
    generator = only(architecture, kind)
    state, rng = ready(generator, FLOW, HERE), np.random.default_rng(0)
    book = FLOW["book"][HERE].copy()
    nothing_own = np.zeros((LEVELS, 2), np.int64)
    order = generator.next_order(state, View(FLOW[:0], book, nothing_own, 0), rng)
    assert (order.fallback, order.rejected) == ((True, TRIES) if kind == CANCEL else (False, 0))
    if kind == CANCEL:
        side = 1 if book[0, 1] <= book[0, 3] else -1
        assert order[:4] == (LIMIT, side, book[0, 0 if side > 0 else 2], 100)
    order = generator.next_order(state, View(FLOW[:0], 0 * book, nothing_own, 0), rng)
    assert order.fallback and order.rejected == TRIES and order.kind == LIMIT
    assert order.price_ticks == FLOW["price_ticks"][HERE - 1]
    book[:, :2] = 0  # only asks
    found = {generator.next_order(state, View(FLOW[:0], book, nothing_own, 0), rng)
             for _ in range(30)}  # fmt: skip
    for order in found:
        assert order.kind == (LIMIT if kind == CANCEL else kind)
        assert order.kind == MARKET or order.side < 0 or order.price_ticks < book[0, 2]


def test_a_stream_gives_so_many_numbers_a_try() -> None:
    generator = only("tokens", CANCEL)
    rng, twin = np.random.default_rng(5), np.random.default_rng(5)
    view = View(FLOW[:0], FLOW["book"][HERE], np.zeros((LEVELS, 2), np.int64), 0)
    generator.next_order(ready(generator, FLOW, HERE), view, rng)
    twin.random((TRIES, 7))
    assert rng.bit_generator.state == twin.bit_generator.state
