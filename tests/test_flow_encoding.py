"""Encoding against plain Python; the same bytes in training and in a market; odd vocabularies."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_flow import naive_bin, naive_features, naive_level, naive_profile, naive_symbols
from toy_market import toy_flow
from toy_models import random_model

import marketsim as ms
from marketsim.agent import Agent, Handle
from marketsim.agents.world import WorldAgent
from marketsim.compile import entry
from marketsim.data.synthetic import synthetic_tape
from marketsim.errors import DataError
from marketsim.flow import FLOW, Flow, flow_of
from marketsim.generators.bins import (
    DEPTHS,
    OFFSETS,
    SIZES,
    offset_edges,
    size_edges,
    values_within,
)
from marketsim.generators.inference import RECENT_AT, STATE_INTS, TIME, next_token
from marketsim.generators.orders import (
    FEATURES,
    RECENT,
    Vocabulary,
    bin_of,
    encode,
    mirror,
    targets,
)
from marketsim.generators.token_sampling import within
from marketsim.simulation import Simulation

FITTED = Vocabulary.fit([toy_flow(400)])
SCALED = replace(
    FITTED, unit_ticks=3,
    mean=np.linspace(-2, 2, FEATURES, dtype=np.float32),
    deviation=np.linspace(0.1, 3, FEATURES, dtype=np.float32),
)  # fmt: skip


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """A toy flow whose books have lost levels or whole sides, or are far away or crossed."""
    seed = draw(st.integers(0, 10**6))
    flow = toy_flow(draw(st.integers(3, 40)), seed)
    rng = np.random.default_rng(seed)
    stretch = draw(st.sampled_from([1, 1, 7, 50]))
    flow["price_ticks"] *= stretch
    flow["book"][..., ::2] *= stretch
    shift = draw(st.sampled_from([0, -1_000 * stretch, 10**9]))
    flow["price_ticks"] += shift
    flow["book"][..., ::2] += shift
    if draw(st.booleans()):
        flow["price_ticks"] += rng.integers(-300, 300, len(flow))
        flow["book"][..., 2] -= draw(st.sampled_from([0, 3, 9])) * stretch
    flow["size_lots"] *= rng.choice([1, 1, 10_000], len(flow))
    for place in (1, 3):
        for level in (slice(0, None), slice(draw(st.integers(1, 9)), None)):
            rows = np.flatnonzero(rng.random(len(flow)) < draw(st.sampled_from([0, 0.2])))
            for row in rows:
                flow["book"][row, level, place - 1 : place + 1] = 0
    return flow


@settings(max_examples=40, deadline=None)
@given(flow=flows(), vocabulary=st.sampled_from([FITTED, SCALED]))
def test_every_number_by_hand(flow: Flow, vocabulary: Vocabulary) -> None:
    encoded = encode(flow, vocabulary)
    rows = np.arange(len(flow))
    assert encoded.symbols.tolist() == [naive_symbols(flow, i, vocabulary) for i in rows]
    assert not encoded.features[:2].any()
    for i in rows[2:]:
        expected = naive_features(flow, i, vocabulary)
        np.testing.assert_allclose(encoded.features[i], expected, rtol=2e-5, atol=2e-5)
    profiles, levels = targets(encoded, rows, vocabulary)
    for i in rows:
        expected = naive_profile(flow, i, vocabulary, RECENT)
        np.testing.assert_allclose(profiles[i], expected, rtol=1e-5, atol=1e-6)
    assert levels.tolist() == [naive_level(flow, i, vocabulary) for i in rows]


@settings(max_examples=25, deadline=None)
@given(flow=flows(), vocabulary=st.sampled_from([FITTED, replace(SCALED, mean=FITTED.mean)]))
def test_the_mirrored_market_is_the_same_to_the_other_side(
    flow: Flow, vocabulary: Vocabulary
) -> None:
    other = mirror(flow)
    assert mirror(other).tobytes() == flow.tobytes() and not np.shares_memory(other, flow)
    raw = replace(
        vocabulary, mean=np.zeros(FEATURES, np.float32), deviation=np.ones(FEATURES, np.float32)
    )
    one, two = encode(flow, raw), encode(other, raw)
    assert (one.symbols[:, 0] // 2 == two.symbols[:, 0] // 2).all()
    assert (one.symbols[:, 0] % 2 != two.symbols[:, 0] % 2).all()
    assert (one.symbols[:, 1:] == two.symbols[:, 1:]).all()
    swapped = np.r_[20:40, 0:20, 40:46]
    sign = np.ones(FEATURES)
    sign[[41, 42, 44]] = -1  # change of the mid, imbalance, price against the mid
    assert (one.features == two.features[:, swapped] * sign).all()
    rows = np.arange(len(flow))
    for mine, theirs in zip(targets(one, rows, raw), targets(two, rows, raw), strict=True):
        assert (mine == theirs).all()


def test_profiles_do_not_depend_on_which_rows_are_asked_for() -> None:
    flow = toy_flow(60)
    encoded = encode(flow, FITTED)
    profiles, levels = targets(encoded, np.arange(60), FITTED)
    some = np.array([59, 0, 3, 3, 20])
    again = targets(encoded, some, FITTED)
    assert (again[0] == profiles[some]).all() and (again[1] == levels[some]).all()


# -- training and simulation ---------------------------------------------------------------------


@entry
def read_piece(
    state, flow, after, unit, depth_edges, size_edges, offset_edges, mean, deviation, symbols,
    features,
):  # fmt: skip
    """Tokens of new events as a world agent's model reads them; ``after`` is the book now."""
    book = np.empty(after.shape, np.int64)
    bins = (depth_edges, size_edges, offset_edges)
    for i in range(len(flow)):
        if i + 1 < len(flow):
            book[:, :] = flow[i + 1].book
        else:
            book[:, :] = after
        next_token(
            state, flow[i], book, unit, bins, mean, deviation, symbols[i], features[i]
        )  # fmt: skip


def read_in_pieces(pieces: Any, v: Vocabulary) -> tuple[bytes, bytes]:
    """Symbols and features of events that come in pieces, each with the book after it."""
    state = np.zeros(STATE_INTS, np.int64)
    state[TIME] = -1
    found = []
    for flow, book in pieces:
        symbols = np.zeros((len(flow), 4), np.int64)
        features = np.zeros((len(flow), FEATURES), np.float32)
        read_piece(
            state, flow, book, v.unit_ticks, v.depth_edges, v.size_edges, v.offset_edges, v.mean,
            v.deviation, symbols, features,
        )  # fmt: skip
        found.append((symbols, features))
    symbols, features = (np.concatenate(parts) for parts in zip(*found, strict=True))
    kinds, prices = state[RECENT_AT::2], state[RECENT_AT + 1 :: 2]
    whole = np.concatenate([flow for flow, _ in pieces])
    assert kinds.tolist() == whole["kind"][: -RECENT - 1 : -1].tolist()
    assert prices.tolist() == whole["price_ticks"][: -RECENT - 1 : -1].tolist()
    return symbols.tobytes(), features[1:-1].tobytes()


class Beside(Agent):
    """Another agent, which the model has to see."""

    def on_start(self, market: Handle) -> None:
        market.wake_at(market.now_ns)

    def on_wakeup(self, market: Handle) -> None:
        market.wake_after(int(market.rng.integers(1, 900_000_000)))
        side = 1 if market.rng.random() < 0.5 else -1
        best = market.best_bid if side > 0 else market.best_ask
        limit = None if best is None or market.rng.random() < 0.3 else best + side
        market.order(side, int(market.rng.integers(1, 90)), limit)


def test_a_market_shows_its_model_what_its_tape_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """The training features of a simulated tape are those that the model had, byte for byte."""
    warm_up = synthetic_tape(open="09:30", close="09:34")
    model, _ = random_model("tokens", flow_of(warm_up), window=1000)
    pieces: list[Any] = []
    start, write = model.start, model.next_orders

    def seen_first(flow: Flow) -> Any:
        pieces.append(flow.copy())
        return start(flow)

    def seen(states: Any, views: Any, rngs: Any) -> Any:
        pieces[-1] = (pieces[-1], views[0].book) if len(pieces) == 1 else pieces[-1]
        pieces.append((views[0].flow.copy(), views[0].book.copy()))
        return write(states, views, rngs)

    monkeypatch.setattr(model, "start", seen_first)
    monkeypatch.setattr(model, "next_orders", seen)
    agents = {"world": WorldAgent(model, warm_up, "239s"), "other": Beside()}
    config = {"session": {"open": "09:30", "close": "09:34:40"}}
    simulation = Simulation(config, 1, agents=agents)
    simulation.run()
    flow = np.concatenate([piece for piece, _ in pieces])
    tape = flow_of(simulation.tape)
    begin = next(i for i in range(len(tape)) if tape[i : i + 9].tobytes() == flow[:9].tobytes())
    tape = tape[begin : begin + len(flow) + 1]
    assert tape[: len(flow)].tobytes() == flow.tobytes() and len(flow) > len(pieces[0][0]) + 100
    encoded = encode(tape[: len(flow)], model.fitted)
    expected = (encoded.symbols.tobytes(), encoded.features[2:].tobytes())
    assert read_in_pieces(pieces, model.fitted) == expected
    if len(tape) > len(flow):
        assert (pieces[-1][1] == tape["book"][len(flow)]).all()


@settings(max_examples=15, deadline=None)
@given(flow=flows(), cuts=st.lists(st.integers(0, 40), max_size=6))
def test_any_pieces_give_the_same_bytes(flow: Flow, cuts: list[int]) -> None:
    flow = np.concatenate([toy_flow(6), flow])
    flow["time_ns"] = np.cumsum(np.random.default_rng(0).integers(0, 10**9, len(flow)))
    bounds = sorted({0, len(flow), *(cut for cut in cuts if cut < len(flow))})
    pieces = [
        (flow[a:b], flow["book"][min(b, len(flow) - 1)])
        for a, b in zip(bounds[:-1], bounds[1:], strict=True)
    ]
    encoded = encode(flow, SCALED)
    expected = (encoded.symbols.tobytes(), encoded.features[2:].tobytes())
    assert read_in_pieces(pieces, SCALED) == expected


# -- vocabularies --------------------------------------------------------------------------------


@entry
def bins_of(edges, values, out):
    for i in range(len(values)):
        out[i] = bin_of(edges, values[i])


@entry
def values_of(table, rows, uniforms, out):
    for i in range(len(rows)):
        out[i] = within(table, rows[i], uniforms[i])


def check_bins(edges: Any, values: Any, count: int) -> None:
    """Edges rise, each value has the one bin that a naive search finds, draws stay in their bin."""
    assert len(edges) == count + 1 and (np.diff(edges) > 0).all()
    assert edges[0] <= values.min() and values.max() < edges[-1]
    found = np.empty(len(values), np.int64)
    bins_of(edges, values, found)
    unique = np.unique(values, return_index=True)[1][:300]
    assert found[unique].tolist() == [naive_bin(edges, int(values[i])) for i in unique]
    assert ((edges[found] <= values) & (values < edges[found + 1])).all()
    table = values_within(values, edges)
    rows = np.repeat(np.arange(count), 40)
    uniforms = np.tile(np.r_[0, np.random.default_rng(0).random(38), 1 - 2**-53], count)
    drawn = np.empty(len(rows), np.int64)
    values_of(table, rows, uniforms, drawn)
    assert ((edges[rows] <= drawn) & (drawn < edges[rows + 1])).all()


SIZE_DATA = st.one_of(
    st.integers(1, 2**40).map(lambda size: [size]),
    st.lists(st.integers(1, 200), min_size=1, max_size=300),
    st.lists(st.integers(1, 2**40), min_size=1, max_size=300),
    st.lists(st.sampled_from([1, 2, 100, 101, 2**40]), min_size=1, max_size=300),
)


@settings(max_examples=60, deadline=None)
@given(values=SIZE_DATA)
def test_any_sizes_have_bins(values: list[int]) -> None:
    sizes = np.array(values)
    edges = size_edges(sizes)
    check_bins(edges, sizes, SIZES)
    frequent, counts = np.unique(sizes, return_counts=True)
    for size in frequent[np.argsort(-counts, kind="stable")][:30]:
        at = naive_bin(edges, int(size))
        assert edges[at] == size  # the most frequent are told exactly
        if len(frequent) < 30:
            assert edges[at + 1] == size + 1


@settings(max_examples=60, deadline=None)
@given(
    values=st.one_of(
        st.lists(st.just(0), min_size=1, max_size=5),
        st.lists(st.integers(0, 9), min_size=1, max_size=300),
        st.lists(st.integers(0, 10**14), min_size=1, max_size=300),
    )
)
def test_any_offsets_have_bins(values: list[int]) -> None:
    check_bins(offset_edges(np.array(values)), np.array(values), OFFSETS)


def test_depths_have_bins() -> None:
    edges = FITTED.depth_edges
    check_bins(edges, np.arange(edges[0], edges[-1]), DEPTHS)
    near = np.arange(-20, 60)
    found = np.empty(len(near), np.int64)
    bins_of(edges, near, found)
    assert (edges[found] == near).all() and (edges[found + 1] == near + 1).all()
    bins_of(edges, np.array([-(10**9), 10**9]), found)
    assert found[:2].tolist() == [0, DEPTHS - 1]


def odd(name: str) -> Flow:
    flow = toy_flow(300)
    if name == "one size":
        flow["size_lots"] = 100
    elif name == "one instant":
        flow["time_ns"] = 7
    elif name == "far":
        flow["price_ticks"] += 1 << 54
        flow["book"][..., ::2] += 1 << 54
    elif name == "wide":
        flow["book"][..., 2] += 10**6
    elif name == "one side in most":
        flow["book"][5:, :, :2] = 0
    elif name == "large sizes":
        flow["size_lots"] = 1 << 40
    return flow


@pytest.mark.parametrize(
    "name", ["one size", "one instant", "far", "wide", "one side in most", "large sizes"]
)
def test_odd_data_are_learned(name: str) -> None:
    flow = odd(name)
    vocabulary = Vocabulary.fit([flow, mirror(flow)])
    check_bins(vocabulary.size_edges, flow["size_lots"], SIZES)
    check_bins(vocabulary.offset_edges, np.diff(flow["time_ns"]), OFFSETS)
    encoded = encode(flow, vocabulary)
    assert np.isfinite(encoded.features).all() and abs(encoded.features).max() < 1e3
    assert vocabulary.unit_ticks == (15625 if name == "wide" else 1)
    assert (encoded.symbols >= 0).all() and (encoded.symbols < [6, DEPTHS, SIZES, OFFSETS]).all()


@pytest.mark.parametrize(
    ("name", "inside", "depths"),
    [
        ("AAPL_2012-06-21_first999_message_10.csv.gz", (0.2, 0.9), 20),
        ("MSFT_2012-06-21_first1950_message_50.csv.gz", (0.0, 0.1), 5),
    ],
)
def test_small_and_large_ticks(
    name: str, inside: tuple[float, float], depths: int, lobster: Any
) -> None:
    """A spread of many ticks has orders inside it; a spread of one has hardly any."""
    flow = flow_of(ms.read_lobster(lobster / "fixtures" / name))
    vocabulary = Vocabulary.fit([flow])
    encoded = encode(flow, vocabulary)
    depth = vocabulary.depth_edges[encoded.symbols[:, 1]]
    limits, cancels = flow["kind"] == 0, flow["kind"] == 1
    assert inside[0] <= (depth[limits] < 0).mean() <= inside[1]
    assert (depth[cancels] >= 0).mean() > 0.99
    assert len(np.unique(depth[limits])) >= depths
    assert abs(encoded.features.mean(0)).max() < 0.1 and encoded.features.std() < 1.1


def test_vocabularies_that_cannot_be() -> None:
    with pytest.raises(DataError, match="at least 256 events"):
        Vocabulary.fit([toy_flow(255)])
    with pytest.raises(DataError, match="at least 256 events"):
        Vocabulary.fit([])
    empty = toy_flow(300)
    empty["book"][..., 1] = 0
    with pytest.raises(DataError, match="both sides"):
        Vocabulary.fit([empty])
    for field, value in (("size_lots", 0), ("side", 2), ("kind", 7), ("price_ticks", 2**62)):
        flow = toy_flow(300)
        flow[field][7] = value
        with pytest.raises(DataError, match=f"{field} of event 7"):
            Vocabulary.fit([flow])
    with pytest.raises(DataError, match="FLOW records"):
        encode(np.zeros(3), FITTED)


def test_a_vocabulary_comes_back() -> None:
    again = Vocabulary.of(SCALED.arrays())
    for name, value in vars(SCALED).items():
        assert np.array_equal(getattr(again, name), value)
    assert encode(np.zeros(0, FLOW), again).symbols.shape == (0, 4)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("size_edges", lambda a: a[:-1], "size_edges: must be int64"),
        ("size_edges", lambda a: a[::-1], "size_edges: must rise"),
        ("size_edges", lambda a: a.astype(float), "size_edges: must be int64"),
        ("mean", lambda a: a * np.nan, "mean: must be finite"),
        ("deviation", lambda a: 0 * a, "deviation: must be > 0"),
        ("unit_ticks", lambda a: 0 * a, "unit_ticks: must be > 0"),
    ],
)
def test_damaged_vocabularies(name: str, change: Any, told: str) -> None:
    arrays = FITTED.arrays()
    with pytest.raises(ValueError, match=told):
        Vocabulary.of({**arrays, name: change(arrays[name])})
    with pytest.raises(KeyError, match=name):
        Vocabulary.of({key: value for key, value in arrays.items() if key != name})
