"""TRADES with the paper's encoder: vectors, attention, decoding, sampling, training, ablations."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_market import ToyMarket, play, toy_flow, toy_start

from marketsim import generators
from marketsim.errors import ConfigError, DataError, ModelError
from marketsim.flow import FLOW, Flow, Order, View
from marketsim.generators.encoder import TRIES, EncoderFlow
from marketsim.generators.encoder_network import Encoder, EncoderSize, sinusoids
from marketsim.generators.encoder_training import WindowVectors
from marketsim.generators.order_vectors import BOOK, KIND_ROWS, NUMBERS, ORDER, SIZE, OrderScale
from marketsim.generators.training import Training
from marketsim.order_events import Event

SMALL: dict[str, Any] = {
    "layers": 2, "width": 8, "window": 12, "diffusion_steps": 10, "dropout": 0.0,
}  # fmt: skip
QUICK = Training(
    steps=30, batch=32, evaluate_every=15, learning_rate=3e-3, warm_up=10, bfloat16=False
)
ABLATIONS = [{"book": False}, {"augment": False}, {"backbone": "lstm"}, {"attention": "cross"}]


@pytest.fixture(scope="module")
def flow() -> Flow:
    return toy_flow(600)


@pytest.fixture(scope="module")
def model(flow: Flow) -> EncoderFlow:
    return trained(flow)


def trained(flow: Flow, **options: Any) -> EncoderFlow:
    made: EncoderFlow = generators.create("trades", architecture="encoder", **SMALL, **options)
    return made.fit_flows([flow], 0.01, [toy_flow(100, 5)], training=QUICK)


def market_at_end_of(flow: Flow) -> ToyMarket:
    book = flow["book"][-1]
    bids = {int(row[0]): int(row[1]) for row in book if row[1]}
    return ToyMarket(bids, {int(r[2]): int(r[3]) for r in book if r[3]}, int(flow["time_ns"][-1]))


@pytest.mark.parametrize("options", [{}, *ABLATIONS])
def test_every_part_of_the_past_moves_the_noise(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    size = EncoderSize(layers=2, width=8, window=6, **options)
    network = Encoder(size).eval()
    noised, t = torch.randn(1, ORDER), torch.tensor([3])
    past, books = torch.randn(1, 5, ORDER), torch.randn(1, 6, BOOK)
    found = torch.cat(network(noised, t, (past, books)))
    assert found.shape == (2, ORDER)
    for place in range(5):
        moved = past.clone()
        moved[0, place, 2] += 1.0
        assert not torch.equal(torch.cat(network(noised, t, (moved, books))), found)
    for place in range(6):
        moved = books.clone()
        moved[0, place, 7] += 1.0
        changed = torch.cat(network(noised, t, (past, moved)))
        assert torch.equal(changed, found) == (options == {"book": False})
    for other in (network(noised + 1, t, (past, books)), network(noised, t + 1, (past, books))):
        assert not torch.equal(torch.cat(other), found)


def test_attention_mixes_all_tokens() -> None:
    """Perturb one token: the outputs of all others move."""
    torch.manual_seed(0)
    network = Encoder(EncoderSize(layers=1, width=8, window=6)).eval()
    x = torch.randn(1, 6, 16)
    layer = network.layers[0]
    for place in range(6):
        moved = x.clone()
        moved[0, place, 3] += 1.0
        assert (layer(moved, moved) != layer(x, x)).any(-1).all()


def test_positions_are_told_apart() -> None:
    rows = sinusoids(torch.arange(256), 128)
    assert rows.shape == (256, 128)
    apart = torch.cdist(rows, rows) + 10 * torch.eye(256)
    assert float(apart.min()) > 0.1
    torch.manual_seed(0)
    network = Encoder(EncoderSize(layers=1, width=8, window=6)).eval()
    past, books = torch.randn(1, 5, ORDER), torch.randn(1, 6, BOOK)
    swapped = past[:, [1, 0, 2, 3, 4]], books[:, [1, 0, 2, 3, 4, 5]]
    noised, t = torch.randn(1, ORDER), torch.tensor([3])
    assert not torch.equal(network(noised, t, swapped)[0], network(noised, t, (past, books))[0])


def test_size_of_the_papers_network() -> None:
    weights = sum(value.numel() for value in Encoder(EncoderSize()).parameters())
    assert 1.5e6 < weights < 1.8e6


def test_vectors_in_training_and_simulation_are_the_same_bytes(
    model: EncoderFlow, flow: Flow
) -> None:
    window = SMALL["window"]
    vectors = WindowVectors([flow], model.scale, window)
    batch = vectors.batch(vectors.ends)
    state = model.start(flow[: window + 5])
    at = window + 5
    for count in (1, 3, 0, 2, 30, 1):
        state.read(flow[at : at + count], model.scale)
        at += count
        row = at - window  # of the window whose last order is flow[at]
        assert np.array_equal(batch["past"][row], state.orders)
        seen = np.concatenate([state.books, model.scale.book(flow["book"][at])[None]])
        assert np.array_equal(batch["books"][row], seen)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), tails=st.booleans())
def test_an_order_survives_its_vector(seed: int, tails: bool) -> None:
    flow = toy_flow(300, 1)
    scale = OrderScale.fit([flow], tails)
    row = 1 + seed % (len(flow) - 1)
    event = flow[row]
    vector = scale.vectors(flow[row : row + 1], int(flow["time_ns"][row - 1]))[0][0]
    book = event["book"]
    view = View(flow[:0], book, np.ascontiguousarray(book[:, (1, 3)]), 0)
    order = scale.order(vector, view)
    own, other = (0, 2) if event["side"] > 0 else (2, 0)
    behind = book[-1, own + 1] > 0 and event["side"] * (book[-1, own] - event["price_ticks"]) > 0
    crosses = event["side"] * (book[0, other] - event["price_ticks"]) <= 0
    if event["kind"] != Event.MARKET and (behind or (event["kind"] == Event.LIMIT and crosses)):
        assert order is None
        return
    assert order is not None
    assert order[:4] == tuple(event[["kind", "side", "price_ticks", "size_lots"]].tolist())
    offset_ns = int(event["time_ns"] - flow["time_ns"][row - 1])
    assert order.delay_ns == pytest.approx(offset_ns, rel=2e-5, abs=500)


def test_what_is_no_order_is_rejected(model: EncoderFlow, flow: Flow) -> None:
    view = market_at_end_of(flow).view(flow[:0])
    vector = np.concatenate([np.zeros(NUMBERS, np.float32), KIND_ROWS[int(Event.MARKET)]])
    assert model.scale.order(vector, view) is not None
    assert model.scale.order(np.full(ORDER, np.nan, np.float32), view) is None
    small = vector.copy()
    small[SIZE] = -50.0
    assert model.scale.order(small, view) is None
    empty = view._replace(book=np.zeros_like(view.book))
    cancel = np.concatenate([np.zeros(NUMBERS, np.float32), KIND_ROWS[int(Event.CANCEL)]])
    assert model.scale.order(vector, empty) is None
    assert model.scale.order(cancel, view) is not None
    assert model.scale.order(cancel, view._replace(own_lots=0 * view.own_lots)) is None


def test_rejection_is_bounded(model: EncoderFlow, flow: Flow) -> None:
    view = market_at_end_of(flow).view(flow[:0])
    empty = view._replace(book=np.zeros_like(view.book), own_lots=0 * view.own_lots)
    order = model.next_order(model.start(flow), empty, np.random.default_rng(0))
    assert order.fallback and order.rejected == TRIES


def test_markets_do_not_disturb_each_other(model: EncoderFlow, flow: Flow) -> None:
    views = [market_at_end_of(flow[:at]).view(flow[:0]) for at in (400, 500, 600)]
    states = [model.start(flow[:at]) for at in (400, 500, 600)]
    together = model.next_orders(
        copy.deepcopy(states), views, [np.random.default_rng(seed) for seed in range(3)]
    )
    alone = [
        model.next_order(state, view, np.random.default_rng(seed))
        for seed, (state, view) in enumerate(zip(states, views, strict=True))
    ]
    assert together == alone


@pytest.mark.parametrize("options", [{}, {"sampler": "ddim"}, {"tails": False}, *ABLATIONS])
def test_it_learns_writes_and_survives_saving(
    options: dict[str, Any], flow: Flow, tmp_path: Path
) -> None:
    model = trained(flow, **options)
    assert model.training["held_out"]["noise"] < 1.05
    model.save(tmp_path)
    again = generators.load(tmp_path)
    assert again.parameters() == model.parameters()
    assert (again.tick_size, again.context) == (0.01, SMALL["window"])
    market, state = market_at_end_of(flow), model.start(flow)
    other, kept = copy.deepcopy(market), again.unpack(model.pack(state))
    written = play(model, market, state, 30)
    assert np.array_equal(written, play(again, other, kept, 30))
    assert len(written) > 20


def test_training_brings_the_noise_down(flow: Flow) -> None:
    longer = replace(QUICK, steps=200, batch=64, evaluate_every=50, learning_rate=1e-2)
    model = EncoderFlow(**SMALL).fit_flows([flow], 0.01, [toy_flow(200, 5)], training=longer)
    assert model.training["held_out"]["noise"] < 0.7  # 1 is that of no knowledge


def test_training_goes_on_from_a_checkpoint(flow: Flow, tmp_path: Path) -> None:
    whole = EncoderFlow(**SMALL).fit_flows([flow], 0.01, training=QUICK)

    def stop(done: float, line: str) -> None:
        raise KeyboardInterrupt

    parted, file = EncoderFlow(**SMALL), tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        parted.fit_flows([flow], 0.01, training=QUICK, checkpoint=file, progress=stop)
    parted.fit_flows([flow], 0.01, training=QUICK, checkpoint=file)
    for name, value in whole.network.encoder.state_dict().items():
        assert torch.equal(value, parted.network.encoder.state_dict()[name]), name


def test_mistakes_have_names(make_day: Any, tmp_path: Path, model: EncoderFlow) -> None:
    with pytest.raises(ConfigError, match="sampler must be one of ddpm, ddim, was 'euler'"):
        EncoderFlow(sampler="euler")
    with pytest.raises(ConfigError, match="sampling_steps must be <= 10, was 11"):
        EncoderFlow(diffusion_steps=10, sampling_steps=11)
    with pytest.raises(ConfigError, match="heads must divide half of 16 evenly, was 3"):
        EncoderFlow(width=8, heads=3)
    with pytest.raises(ConfigError, match="backbone must be one of"):
        EncoderFlow(backbone="mamba")
    with pytest.raises(ConfigError, match="unexpected keyword"):
        generators.create("trades", architecture="encoder", depth=3)
    with pytest.raises(ModelError, match="has not been trained"):
        EncoderFlow(window=2).start(np.zeros(5, FLOW))
    with pytest.raises(ModelError, match="at least 12 events"):
        model.start(toy_flow(5))
    with pytest.raises(DataError, match="needs 257 order events, has 49"):
        EncoderFlow().fit([make_day(np.full(50, 100))])
    model.save(tmp_path)
    damaged = (tmp_path / "model.json").read_text().replace('"width": 8', '"width": 6')
    (tmp_path / "model.json").write_text(damaged)
    with pytest.raises(ModelError, match="not a model, or damaged: network"):
        generators.load(tmp_path)


def test_a_market_with_an_empty_side(model: EncoderFlow) -> None:
    market = toy_start()
    market.now_ns = 10**12
    market.lots[1].clear()
    flow = toy_flow(20)
    state = model.start(flow)
    alone = Order(int(Event.LIMIT), -1, 1_003, 10, 5)
    state.read(market.apply(alone), model.scale)
    order = model.next_order(state, market.view(flow[:0]), np.random.default_rng(0))
    assert np.isfinite(state.orders).all() and np.isfinite(state.books).all()
    assert order.size_lots > 0
