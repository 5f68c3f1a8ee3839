"""Order flow without a network: Poisson processes fitted by level, and the block bootstrap."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_market import ToyMarket, play, toy_flow, toy_start

import marketsim as ms
from marketsim import generators
from marketsim.errors import ConfigError, DataError, ModelError
from marketsim.flow import FLOW, Flow, View, flow_of
from marketsim.generators.bootstrap import DEPTH, GAP, BlockBootstrap, recorded
from marketsim.generators.flows import Quotes, Sizes
from marketsim.generators.poisson import PoissonFlow, tally
from marketsim.order_events import Event

START: Any = np.array([(0, 0, 1, 995, 10, toy_start().book())], FLOW)


def naive_tally(flow: Flow, width: int, bins: int) -> dict[str, Any]:
    """What :func:`tally` counts, event by event and level by level."""
    out = {name: np.zeros((2, bins)) for name in ("limits", "cancels", "open_s", "lot_s")}
    out |= {"markets": np.zeros(2), "quoted_s": np.zeros(2)}
    for before, event in zip(flow[:-1], flow[1:], strict=True):
        seconds = (event["time_ns"] - before["time_ns"]) / 1e9
        for place, side in enumerate((1, -1)):
            own = [(row[0], row[1]) if side > 0 else (row[2], row[3]) for row in event["book"]]
            best = event["book"][0]
            other, other_lots = (best[2], best[3]) if side > 0 else (best[0], best[1])
            if not other_lots:
                continue
            last = bins - 1
            if own[-1][1]:
                last = min(last, (max(side * (other - own[-1][0]), 1) - 1) // width)
            out["quoted_s"][place] += seconds
            out["open_s"][place, : last + 1] += seconds
            for price, lots in own:
                at = (max(side * (other - price), 1) - 1) // width
                if lots and at < bins:
                    out["lot_s"][place, at] += lots * seconds
            at = (max(side * (other - event["price_ticks"]), 1) - 1) // width
            if event["side"] == side and event["kind"] == Event.MARKET:
                out["markets"][place] += 1
            elif event["side"] == side and at <= last:
                name = "limits" if event["kind"] == Event.LIMIT else "cancels"
                out[name][place, at] += 1
    return out


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), width=st.integers(1, 7), bins=st.integers(1, 30))
def test_tally_equals_a_naive_count(seed: int, width: int, bins: int) -> None:
    flow = toy_flow(150, seed)
    flow["book"][5, :, 3] = 0  # an empty side
    found = tally(flow, width, bins)
    for name, expected in naive_tally(flow, width, bins).items():
        np.testing.assert_allclose(getattr(found, name), expected, atol=1e-9, err_msg=name)


def test_poisson_recovers_the_rates_that_made_a_flow() -> None:
    model = PoissonFlow(bin_ticks=1, symmetric=False)
    limits = np.array([[3.0, 2.0, 1.0, 0.5, 0.2], [1.0, 3.0, 1.0, 0.5, 0.2]])
    cancels = np.array([[0.02, 0.02, 0.05, 0.05, 0.05], [0.02, 0.02, 0.02, 0.05, 0.05]])
    sizes = Sizes(np.array([[0, 1, 1], [0, 5, 1], [1, 10, 1], [2, 1, 1]]))
    model._set(1, 0.01, limits, cancels, np.array([0.7, 1.2]), sizes)
    market = toy_start(5, 10)
    flow = play(model, market, model.start(START), 20_000)
    found = PoissonFlow(1, symmetric=False).fit_flows([flow], 0.01)
    total = tally(flow, 1, 5)
    for name, truth, count in (
        ("limit_rate", limits, total.limits),
        ("cancel_rate", cancels, total.cancels),
        ("market_rate", np.array([0.7, 1.2]), total.markets),
    ):
        error = (getattr(found, name) - truth) / (truth / np.sqrt(count))
        assert np.abs(error).max() < 4, name  # standard errors
    pooled = PoissonFlow(1).fit_flows([flow], 0.01)
    assert (pooled.limit_rate[0] == pooled.limit_rate[1]).all()
    assert pooled.market_rate[0] == pytest.approx(0.95, rel=0.05)


def test_poisson_cancels_only_lots_of_its_own() -> None:
    model = PoissonFlow().fit_flows([toy_flow(3_000)], 0.01)
    market = toy_start()
    view = market.view(START)
    foreign = view._replace(own_lots=np.zeros_like(view.own_lots))
    state, rng = model.start(START), np.random.default_rng(0)
    kinds = [model.next_order(state, foreign, rng).kind for _ in range(300)]
    assert set(kinds) == {int(Event.LIMIT), int(Event.MARKET)}
    one = np.zeros_like(view.own_lots)
    one[3, 1] = 7
    orders = [model.next_order(state, view._replace(own_lots=one), rng) for _ in range(3_000)]
    cancelled = {(o.side, o.price_ticks) for o in orders if o.kind == Event.CANCEL}
    assert cancelled == {(-1, int(view.book[3, 2]))}
    assert max(o.size_lots for o in orders if o.kind == Event.CANCEL) <= 7


def test_poisson_width_is_fitted() -> None:
    flow = toy_flow(2_000)
    narrow = PoissonFlow().fit_flows([flow[:400]], 0.01)
    wide = PoissonFlow().fit_flows([flow], 0.01)
    assert narrow.width_ticks > wide.width_ticks
    assert PoissonFlow(bin_ticks=3).fit_flows([flow], 0.01).width_ticks == 3


def test_blocks_are_geometric_and_start_anywhere() -> None:
    model = BlockBootstrap(mean_block=20).fit_flows([toy_flow(4_000), toy_flow(1_000, 3)], 0.01)
    state, rng = model.start(START), np.random.default_rng(0)
    visited = []
    for _ in range(20_000):
        model._move(state, 0, rng)
        visited.append(state.at)
    jumps = np.flatnonzero(np.diff(visited) != 1)
    assert len(visited) / (len(jumps) + 1) == pytest.approx(20, rel=0.1)
    starts = np.array(visited)[jumps + 1]
    counts = np.histogram(starts, 5, (0, len(model.events)))[0]
    assert counts.min() > 0.75 * counts.mean()
    after_last = np.flatnonzero(np.array(visited[:-1]) == model.ends[0] - 1)
    assert all(visited[at + 1] != model.ends[0] for at in after_last)


def test_a_block_repeats_the_record_to_the_nanosecond() -> None:
    flow = toy_flow(2_000)
    model = BlockBootstrap(mean_block=1e9).fit_flows([flow], 0.01)
    state, rng = model.start(flow[:1]), np.random.default_rng(0)
    state.at = 0  # the second event was written
    bids = {int(row[0]): int(row[1]) for row in flow[2]["book"] if row[1]}
    asks = {int(row[2]): int(row[3]) for row in flow[2]["book"] if row[3]}
    market = ToyMarket(bids, asks, int(flow[1]["time_ns"]))
    part = np.empty(0, FLOW)
    state.due_ns = market.now_ns
    passed = 0
    for _ in range(200):
        order = model.next_order(state, market.view(part), rng)
        part = market.apply(order)
        event = flow[state.at + 1]
        passed += order.rejected
        assert (order.kind, order.side) == (event["kind"], event["side"])
        assert market.now_ns == event["time_ns"]
        if (part[0]["book"][0] == event["book"][0]).all():
            assert part[0]["price_ticks"] == event["price_ticks"]
    assert state.at == 200 + passed


def test_an_order_overtaken_by_another_agent_stays_due() -> None:
    model = BlockBootstrap(mean_block=1e9).fit_flows([toy_flow(500)], 0.01)
    model.events[:, GAP] = 1_000
    state, market, rng = model.start(START), toy_start(), np.random.default_rng(0)
    model.next_order(state, market.view(START), rng)
    at = state.at
    foreign = START.copy()
    view = View(foreign, market.book(), market.view(START).own_lots, 400)
    order = model.next_order(state, view, rng)
    assert (state.at, order.delay_ns, state.due_ns) == (at, 600, 1_000)
    refused = model.next_order(state, view._replace(flow=foreign[:0]), rng)  # nothing happened
    assert (state.at, refused.delay_ns) == (at + 1, 1_600)


def test_jumps_go_to_books_with_a_like_spread() -> None:
    rng = np.random.default_rng(0)
    flow = toy_flow(4_000)
    flow["book"][:, :, 2] += np.repeat(rng.integers(0, 60, 40), 100)[:, None]
    model = BlockBootstrap(mean_block=1, match_spread=True).fit_flows([flow], 0.01)
    for spread in (1, 5, 30, 200):
        drawn = [model._jump(Quotes(1_000, 1_000 + spread), rng) for _ in range(200)]
        found = model.events[drawn, -1]
        bucket = model._edges.searchsorted(spread, side="right")
        assert (model._edges.searchsorted(found, side="right") == bucket).all()


def test_what_cannot_be_is_passed_over() -> None:
    model = BlockBootstrap().fit_flows([toy_flow(500)], 0.01)
    empty = View(START[:0], np.zeros((10, 4), np.int64), np.zeros((10, 2), np.int64), 0)
    state, rng = model.start(START), np.random.default_rng(0)
    orders = [model.next_order(state, empty, rng) for _ in range(100)]
    assert {order.kind for order in orders} == {int(Event.LIMIT)}
    assert sum(order.rejected for order in orders) > 20
    model.events[:, 0] = int(Event.MARKET)
    assert model.next_order(state, empty, rng).fallback


def test_recorded_depth_is_from_the_own_best() -> None:
    flow = toy_flow(300)
    events = recorded(flow)
    for event, row in zip(flow[1:], events, strict=True):
        best = event["book"][0, 0 if event["side"] > 0 else 2]
        assert row[DEPTH] == event["side"] * (best - event["price_ticks"])


@pytest.mark.parametrize("name", ["poisson", "bootstrap"])
def test_states_and_models_survive_saving(name: str, tmp_path: Path) -> None:
    model = generators.create(name).fit_flows([toy_flow(3_000)], 0.01)
    model.save(tmp_path / "model")
    again = generators.load(tmp_path / "model")
    assert (again.tick_size, again.parameters()) == (0.01, model.parameters())
    state, market = model.start(START), toy_start()
    played = play(model, market, state, 300)
    kept = again.unpack(model.pack(state))
    assert kept == copy.deepcopy(state) == state
    other = copy.deepcopy(market)
    assert (play(model, market, state, 200, 7) == play(again, other, kept, 200, 7)).all()
    assert len(played) > 250


@pytest.mark.parametrize("name", ["poisson", "bootstrap"])
def test_an_empty_book_is_no_end(name: str) -> None:
    model = generators.create(name).fit_flows([toy_flow(3_000)], 0.01)
    market = ToyMarket({}, {})
    flow = play(model, market, model.start(START), 500)
    assert market.best_first(1)[0] < market.best_first(-1)[0]
    assert len(flow) > 300


@pytest.mark.parametrize("name", ["poisson", "bootstrap"])
def test_mistakes_have_names(name: str, tmp_path: Path, make_day: Any) -> None:
    model = generators.create(name)
    day = make_day(np.full(50, 100))
    with pytest.raises(DataError, match="tapes: must be one or more"):
        model.fit([])
    with pytest.raises(DataError, match="no book"):
        model.fit([ms.Tape(day.orders, day.trades, {})])
    with pytest.raises(DataError, match="tick_size must be that of the others, 0.01, was 0.5"):
        model.fit([day, make_day(np.full(50, 100), tick_size=0.5)])
    with pytest.raises(ConfigError, match="unknown key .bins."):
        generators.create(name, bins=3)
    model.fit([day]).save(tmp_path)
    with pytest.raises(ModelError, match="at least 1 events"):
        model.start(START[:0])
    damaged = (tmp_path / "model.json").read_text().replace('"tick_size"', '"tock_size"')
    (tmp_path / "model.json").write_text(damaged)
    with pytest.raises(ModelError, match="lacks 'tick_size'"):
        generators.load(tmp_path)


def test_parameters_out_of_range() -> None:
    with pytest.raises(ConfigError, match="mean_block must be >= 1, was 0.5"):
        BlockBootstrap(mean_block=0.5)
    with pytest.raises(ConfigError, match="bin_ticks must be >= 1, was 0"):
        PoissonFlow(bin_ticks=0)


@pytest.fixture(scope="module")
def goog(lobster: Path) -> Flow:
    tape = ms.read_lobster(lobster / "LOBSTER_SampleFile_GOOG_2012-06-21_10.zip")
    return flow_of(tape.between("10:00", "11:00"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["poisson", "bootstrap"])
def test_a_day_of_data_makes_a_market(name: str, goog: Flow) -> None:
    model = generators.create(name).fit_flows([goog], 0.01)
    book = goog["book"][-1]
    market = ToyMarket(
        {int(row[0]): int(row[1]) for row in book},
        {int(row[2]): int(row[3]) for row in book},
        int(goog["time_ns"][-1]),
    )
    flow = play(model, market, model.start(goog[-1:]), 5_000)
    share = np.bincount(flow["kind"], minlength=3) / len(flow)
    real = np.bincount(goog["kind"], minlength=3) / len(goog)
    assert np.abs(share - real).max() < 0.1
    rate = len(flow) / np.ptp(flow["time_ns"]) / (len(goog) / np.ptp(goog["time_ns"]))
    assert 0.5 < rate < 1.7  # Poisson: a denser book, of which ten levels show less
    assert min(len(market.best_first(1)), len(market.best_first(-1))) > 5
    spreads = [np.median(f["book"][:, 0, 2] - f["book"][:, 0, 0]) for f in (flow, goog)]
    assert 0.3 < spreads[0] / spreads[1] < 2.0
