"""The conditional GAN: its networks, thresholds that match the data, training, saving."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_market import ToyMarket, play, toy_flow

from marketsim import generators
from marketsim.errors import ConfigError, ModelError
from marketsim.flow import FLOW, Flow
from marketsim.generators.cgan import CGAN, Written
from marketsim.generators.cgan_network import CRITIC_TURNS, WRITTEN, CganModel, Generator
from marketsim.generators.cgan_training import CganTask
from marketsim.generators.encoder_training import WindowVectors
from marketsim.generators.order_vectors import BOOK, ORDER, OrderScale
from marketsim.generators.training import Training
from marketsim.order_events import Event

SMALL = {"window": 8, "hidden": 16, "noise": 8}
QUICK = Training(steps=60, batch=32, learning_rate=1e-3, weight_decay=0.0, warm_up=5)


@pytest.fixture(scope="module")
def flow() -> Flow:
    return toy_flow(800)


@pytest.fixture(scope="module")
def model(flow: Flow) -> CGAN:
    return CGAN(**SMALL).fit_flows([flow], 0.01, training=QUICK)


def market_at_end_of(flow: Flow) -> ToyMarket:
    book = flow["book"][-1]
    bids = {int(row[0]): int(row[1]) for row in book if row[1]}
    return ToyMarket(bids, {int(r[2]): int(r[3]) for r in book if r[3]}, int(flow["time_ns"][-1]))


def test_past_and_noise_move_the_order() -> None:
    torch.manual_seed(0)
    network = Generator(16, 8).eval()
    inputs = [torch.randn(2, 8), torch.randn(2, 7, ORDER), torch.randn(2, 8, BOOK)]
    drawn = network(*inputs)
    assert drawn.shape == (2, WRITTEN) and (drawn.abs() < 1).all()
    for place in range(3):
        moved = [value.clone() for value in inputs]
        moved[place][0] += 1.0
        changed = network(*moved) != drawn
        assert changed[0].all() and not changed[1].any()


def test_generator_and_critic_learn_in_turn(flow: Flow) -> None:
    torch.manual_seed(0)
    written = Written(OrderScale.fit([flow], tails=True))
    task = CganTask(WindowVectors([flow], written.scale, 8), written)
    network, rng = CganModel(16, 8).train(), np.random.default_rng(0)
    for turn in range(1, 2 * (CRITIC_TURNS + 1) + 1):
        network.zero_grad()
        losses = task.losses(network, task.batch(rng, 32))
        torch.stack(list(losses.values())).sum().backward()
        moved = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None}
        assert moved == ({"generator"} if turn % (CRITIC_TURNS + 1) == 0 else {"critic"})


def test_penalty_is_that_of_the_slope() -> None:
    torch.manual_seed(0)
    network = CganModel(16, 8)
    weight = torch.randn(WRITTEN)
    network.critic.forward = lambda orders, state: orders @ weight  # type: ignore[assignment]
    real, drawn = torch.randn(4, WRITTEN), torch.randn(4, WRITTEN)
    found = network.penalty(real, drawn, torch.zeros(4, 16))
    assert float(found) == pytest.approx((float(weight.norm()) - 1) ** 2, rel=1e-4)


def test_thresholds_match_sides_and_kinds(flow: Flow) -> None:
    rng = np.random.default_rng(0)
    written = Written(OrderScale.fit([flow], tails=True))
    vectors = written.scale.vectors(flow[1:], int(flow["time_ns"][0]))[0]
    real = written.of(vectors)
    drawn = np.tanh(rng.normal(0.4, 0.3, real.shape)).astype(np.float32)
    matched = written.matched(drawn, real)
    again = written.of(np.array([matched.vector(row) for row in drawn]))
    for column, values in ((1, (-1, 1)), (4, (-1, 0, 1))):
        for value in values:
            share = (real[:, column] == value).mean()
            assert (again[:, column] == value).mean() == pytest.approx(share, abs=0.01)


def test_what_is_written_can_be_read(flow: Flow) -> None:
    written = Written(OrderScale.fit([flow], tails=True))
    vectors = written.scale.vectors(flow[1:], int(flow["time_ns"][0]))[0]
    real = written.of(vectors)
    assert real.min() >= -1 and real.max() <= 1
    again = np.array([written.vector(row) for row in real])
    np.testing.assert_allclose(again[:, 1:], vectors[:, 1:], atol=1e-5)  # all but the price


def test_it_learns_the_shares_and_survives_saving(model: CGAN, flow: Flow, tmp_path: Path) -> None:
    model.save(tmp_path)
    again = generators.load(tmp_path)
    assert (again.parameters(), again.tick_size, again.context) == (SMALL, 0.01, 8)
    market, state = market_at_end_of(flow), model.start(flow)
    other, kept = copy.deepcopy(market), again.unpack(model.pack(state))
    made = play(model, market, state, 200)
    assert np.array_equal(made, play(again, other, kept, 200))
    assert {int(kind) for kind in np.unique(made["kind"])} == {0, 1, 2}
    assert set(np.unique(made["side"])) == {-1, 1}


def test_markets_do_not_disturb_each_other(model: CGAN, flow: Flow) -> None:
    views = [market_at_end_of(flow[:at]).view(flow[:0]) for at in (400, 500, 600)]
    states = [model.start(flow[:at]) for at in (400, 500, 600)]
    rngs = [np.random.default_rng(seed) for seed in range(3)]
    together = model.next_orders(copy.deepcopy(states), views, rngs)
    alone = [
        model.next_order(state, view, np.random.default_rng(seed))
        for seed, (state, view) in enumerate(zip(states, views, strict=True))
    ]
    assert together == alone


def test_rejection_is_bounded(model: CGAN, flow: Flow) -> None:
    view = market_at_end_of(flow).view(flow[:0])
    empty = view._replace(book=np.zeros_like(view.book), own_lots=0 * view.own_lots)
    order = model.next_order(model.start(flow), empty, np.random.default_rng(0))
    assert order.fallback and order.kind == Event.LIMIT


@pytest.mark.slow
def test_training_moves_distributions_towards_the_data(flow: Flow) -> None:
    training = Training(steps=2_000, batch=64, learning_rate=2e-3, weight_decay=0.0, average=0.98)
    model = CGAN(**SMALL).fit_flows([flow], 0.01, training=training)
    windows = WindowVectors([flow], model.written.scale, 8)
    task, rng = CganTask(windows, model.written), np.random.default_rng(0)
    batch = task.batch(rng, 2_000)
    noise = torch.from_numpy(rng.standard_normal((2_000, 8), np.float32))
    with torch.no_grad():
        drawn = model.network.generator(noise, batch["past"], batch["books"]).numpy()
    real = batch["order"].numpy()
    assert np.abs(drawn.mean(axis=0) - real.mean(axis=0)).max() < 0.35
    deviations = drawn.std(axis=0) / real.std(axis=0)
    assert deviations.min() > 0.5 and deviations.max() < 1.6


def test_mistakes_have_names(model: CGAN, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hidden must be a multiple of 4, was 6"):
        CGAN(hidden=6)
    with pytest.raises(ConfigError, match="window must be >= 2, was 1"):
        CGAN(window=1)
    with pytest.raises(ModelError, match="has not been trained"):
        CGAN(window=2).start(np.zeros(5, FLOW))
    model.save(tmp_path)
    text = (tmp_path / "model.json").read_text()
    (tmp_path / "model.json").write_text(text.replace('"hidden": 16', '"hidden": 20'))
    with pytest.raises(ModelError, match="not a model, or damaged"):
        generators.load(tmp_path)


def test_no_network_is_loaded_before_it_is_needed() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from marketsim import generators; generators.create('cgan');"
        " print('torch' in sys.modules)"
    )
    shown: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.stdout.strip() == "False"
