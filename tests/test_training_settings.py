"""Every setting of a training is honoured or refused; what windows are drawn and held out."""

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from toy_market import toy_flow
from toy_models import TINY
from toy_training import FAST, FLOW, HELD, VOCABULARY, Watched, network

from marketsim.data.synthetic import synthetic_tape
from marketsim.errors import ConfigError, DataError, ModelError
from marketsim.generators import training
from marketsim.generators.trades import trades
from marketsim.generators.training import Training, train
from marketsim.generators.windows import TokenTask
from marketsim.tape import Tape


@pytest.fixture(scope="module")
def day() -> Tape:
    return synthetic_tape(open="09:30", close="09:36")


def test_steps_batch_looks_and_threads_are_honoured() -> None:
    task = Watched(held=True)
    train(network(), task, Training(steps=7, evaluate_every=3, **{**FAST, "batch": 3}))
    assert task.sizes == [3] * 7 and task.looks == [3, 6, 7]
    assert task.autocast == {False}
    task, before = Watched(), torch.get_num_threads()
    train(network(), task, Training(steps=1, threads=2, **{**FAST, "batch": 1, "bfloat16": True}))
    assert task.autocast == {True}
    assert task.threads == {2} and torch.get_num_threads() == before


def test_the_rate_rises_then_falls() -> None:
    settings = Training(steps=100, warm_up=10, learning_rate=2.0)
    rates = np.array([settings.rate(step) for step in range(100)])
    assert rates.argmax() in (9, 10) and 1.9 < rates.max() <= 2
    assert (np.diff(rates[:10]) > 0).all() and (np.diff(rates[10:]) < 0).all()
    assert 0 < rates[-1] < 0.01 and rates[0] == pytest.approx(0.2, rel=0.01)
    assert Training(steps=2, warm_up=0).rate(0) == Training().learning_rate


class Still(Watched):
    """Losses that depend on one bias alone, so that the rest only decays."""

    def losses(self, network: Any, batch: dict[str, torch.Tensor]) -> Any:
        return {"still": network.heads.copy_level.bias.square().sum()
                + 0 * sum(weight.sum() for weight in network.parameters())}  # fmt: skip


class Once(Watched):
    """A loss that moves a bias in the first step only; ``seen`` is the bias before each step."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def losses(self, network: Any, batch: dict[str, torch.Tensor]) -> Any:
        bias = network.heads.copy_level.bias
        self.seen.append(float(bias.detach().sum()))
        return {"once": bias.sum() * (len(self.seen) == 1)}


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_momentum_is_honoured(momentum: float) -> None:
    task = Once()
    train(network(), task, Training(steps=4, batch=1, warm_up=0, momentum=momentum))
    moved = np.diff(task.seen) != 0
    assert moved.tolist() == ([True] * 3 if momentum else [True, False, False])


def test_decay_and_average_are_honoured() -> None:
    start = network().state_dict()
    for decay in (0.0, 0.4):
        model = network()
        settings = Training(
            steps=1, batch=1, warm_up=0, weight_decay=decay, average=0.0, learning_rate=0.1
        )
        train(model, Still(), settings)
        for name, value in model.state_dict().items():
            if value.ndim > 1:
                np.testing.assert_allclose(value, start[name] * (1 - 0.1 * decay), rtol=1e-5)
            elif "copy_level" not in name:
                assert torch.equal(value, start[name])
    halves = []
    for average in (0.0, 0.15):
        model = network()
        train(model, Watched(), Training(steps=1, **FAST, average=average))
        halves.append(model.state_dict())
    for name, value in halves[1].items():
        mean = 0.15 * start[name] + 0.85 * halves[0][name]
        np.testing.assert_allclose(value, mean, rtol=1e-4, atol=1e-6)


def test_checkpoints_come_as_often_as_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(np.arange(0, 1e6, 0.5))
    monkeypatch.setattr(training.time, "monotonic", lambda: next(clock))
    saves: list[int] = []
    monkeypatch.setattr(training._Loop, "save", lambda loop: saves.append(loop.step))
    settings = Training(steps=10, evaluate_every=50, checkpoint_every_s=1.6, **FAST)
    train(network(), Watched(), settings, checkpoint=tmp_path / "c")
    assert saves == [4, 8, 10]


def test_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Training(steps=2, evaluate_every=1, tensorboard="board", **FAST)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match="tensorboard: needs the package"):
        train(network(), Watched(held=True), settings)
    rows: list[tuple[Any, ...]] = []

    class Writer:
        def __init__(self, folder: str) -> None:
            rows.append(("open", folder))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            assert np.isfinite(value)
            rows.append((name, step))

        def close(self) -> None:
            rows.append(("close",))

    fake = types.ModuleType("tensorboard")
    fake.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    train(network(), Watched(held=True), settings)
    assert rows[0] == ("open", "board") and rows[-1] == ("close",)
    assert sorted(rows[1:-1]) == sorted(
        (name, step) for name in ("train/loss", "valid/loss") for step in (1, 2)
    )


NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("steps", (0, -1, 2.0, True, NAN)), ("batch", (0, 1.5)), ("evaluate_every", (0, NAN)),
        ("threads", (0, None)), ("warm_up", (-1, 0.5, NAN)), ("patience", (-1, 1.5, NAN)),
        ("learning_rate", (0, -1e-3, NAN, float("inf"), "1e-3")),
        ("checkpoint_every_s", (0, NAN)), ("weight_decay", (-0.1, NAN, None)),
        ("average", (1.0, -0.1, NAN)), ("momentum", (1.0, -0.1, NAN)),
        ("device", (0, "")), ("bfloat16", (1, "yes")),
        ("tensorboard", (3, "")),
    ],
)  # fmt: skip
def test_settings_that_cannot_be(name: str, values: tuple[Any, ...]) -> None:
    for value in values:
        with pytest.raises(ConfigError, match=f"^{name} must be"):
            Training(**{name: value})


def test_devices_that_are_not_here() -> None:
    for device in ("cuda:77", "toaster"):
        with pytest.raises(ConfigError, match=f"device: '{device}' cannot be used") as raised:
            train(network(), Watched(), Training(steps=1, device=device))
        assert "\n" not in str(raised.value)


def test_tapes_that_nothing_can_be_learned_from(day: Tape) -> None:
    model = trades("tokens", **{**TINY, "window": 4_000})
    with pytest.raises(DataError, match="needs 4002 order events"):
        model.fit([day])
    model = trades("tokens", **TINY)
    other = synthetic_tape(open="09:30", close="09:36", tick_size=0.02)
    with pytest.raises(DataError, match="tick_size must be that of the others"):
        model.fit([day], valid=[other])
    with pytest.raises(DataError, match="must be one or more"):
        model.fit([], valid=[day])
    for tick in (0.0, NAN):
        odd = Tape(day.orders, day.trades, {**day.meta, "tick_size": tick}, book=day.book)
        with pytest.raises(DataError, match="tick_size must be"):
            model.fit([odd])
    with pytest.raises(ModelError, match="has not been trained"):
        model.start(FLOW)


@pytest.mark.parametrize("window", [1, 2, 5, 8])
def test_held_out_events_count_once(window: int) -> None:
    """Each from the first second half on, however long the windows are."""

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))
            self.seen: list[int] = []

        def forward(self, batch: dict[str, torch.Tensor]) -> Any:
            features = batch["features"][..., 0]
            self.seen += features[:, window // 2 :].flatten().long().tolist()
            return tuple(features for _ in range(4))

    task = TokenTask([FLOW], [HELD], VOCABULARY, window)
    task.valid[0].features[:, 0] = np.arange(len(HELD))
    model = Counting()
    score = task.score(model, task.valid)
    events = range(2 + window // 2, 2 + window // 2 + len(model.seen))
    assert model.seen == list(events) and len(HELD) - events[-1] <= window
    assert score["class"] == pytest.approx(np.mean(events))


def test_windows_are_drawn_from_anywhere_alike() -> None:
    """Each place of the flow and of its mirror image as likely as the others."""
    task = TokenTask([toy_flow(16)], [], VOCABULARY, 4)
    for number, encoded in enumerate(task.encoded):
        encoded.features[:, 0] = 100 * number + np.arange(len(encoded.features))
    firsts = len(task.encoded[0].symbols) - 5
    batch = task.batch(np.random.default_rng(0), 600 * firsts)
    place, counts = np.unique(batch["features"][:, 0, 0].numpy(), return_counts=True)
    assert place.tolist() == [100 * n + 2 + i for n in range(2) for i in range(firsts)]
    assert abs(counts - 300).max() < 5 * 300**0.5
    encoded = task.encoded[0]
    row = int(np.flatnonzero(batch["features"][:, 0, 0] == 5)[0])
    assert (batch["past"][row].numpy() == encoded.symbols[4:8]).all()
    assert (batch["target"][row].numpy() == encoded.symbols[5:9]).all()
