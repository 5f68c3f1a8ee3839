"""The training loop: it learns, goes on exactly, stops, and names what is wrong."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from toy_models import TINY
from toy_training import FAST, Watched, network, weights

from marketsim.data.synthetic import synthetic_tape
from marketsim.errors import DataError, ModelError
from marketsim.generators import training
from marketsim.generators.trades import trades
from marketsim.generators.training import Training, train
from marketsim.tape import Tape


def test_the_loss_falls_on_what_is_held_out() -> None:
    model, task = network(), Watched(held=True)
    before = task.score(model, task.valid)
    told = train(model, task, Training(steps=60, evaluate_every=20, average=0.9, **FAST))
    after = task.score(model, task.valid)
    assert sum(after.values()) < sum(before.values()) - 2
    assert after == pytest.approx(told["held_out"], rel=1e-5)
    assert told["steps"] == 60 and told["best_step"] in (20, 40, 60)
    assert [row[0] for row in told["curve"]] == [20, 40, 60]
    assert not model.training


@pytest.fixture(scope="module")
def day() -> Tape:
    return synthetic_tape(open="09:30", close="09:36")


@pytest.mark.parametrize("architecture", ["tokens", "causal"])
def test_a_seed_says_it_all(architecture: str, day: Tape) -> None:
    """Whatever was drawn before from torch's global stream."""
    found = []
    for seed, drawn in ((3, 0), (3, 50), (4, 0)):
        torch.manual_seed(9)
        torch.rand(drawn)
        model = trades(architecture, **TINY)
        model.fit([day], valid=[day], seed=seed, training=Training(steps=3, **FAST))
        found.append({name: value.tobytes() for name, value in model.weights.items()})
    assert found[0] == found[1] != found[2]
    assert all(found[0][name] != found[2][name] for name in found[0] if "embed" in name)


# -- checkpoints ---------------------------------------------------------------------------------

LONG = Training(steps=24, evaluate_every=5, checkpoint_every_s=1e-9, **FAST)


def killed() -> None:
    raise RuntimeError("killed")


def pressed() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("moments", [[1], [2], [11], [6, 15, 24]])
@pytest.mark.parametrize("how", ["killed", "pressed"])
def test_it_goes_on_exactly(how: str, moments: list[int], tmp_path: Path) -> None:
    """Weights, losses and the curve are those of a training that nothing stopped, bit for bit."""
    whole, file = network(), tmp_path / "made" / "here.safetensors"
    expected = train(whole, Watched(held=True), LONG, seed=2)
    done = 0
    for moment in moments:
        task = Watched(held=True)
        task.fails_at = {moment - done: killed if how == "killed" else pressed}
        stopped: Any = RuntimeError if how == "killed" else KeyboardInterrupt
        with pytest.raises(stopped):  # the weights that a checkpoint replaces may be any
            train(network(seed=77 if done else 0), task, LONG, seed=2, checkpoint=file)
        done = moment - (how == "killed")
        assert file.exists() == (done > 0)
    model, task = network(seed=5 if done else 0), Watched(held=True)
    found = train(model, task, LONG, seed=2, checkpoint=file)
    assert len(task.sizes) == 24 - done
    assert weights(model) == weights(whole)
    for name in ("held_out", "best_step", "curve", "steps"):
        assert found[name] == expected[name], name
    again = network()  # finished: nothing is left to do
    assert train(again, Watched(held=True), LONG, seed=2, checkpoint=file)["steps"] == 24
    assert weights(again) == weights(whole)


def test_an_interrupted_progress_leaves_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "c.safetensors"
    clock = iter(range(10**6))
    monkeypatch.setattr(training.time, "monotonic", lambda: next(clock))
    lines: list[tuple[float, str]] = []

    def stop(done: float, line: str) -> None:
        lines.append((done, line))
        if len(lines) == 4:
            raise KeyboardInterrupt

    settings = Training(steps=8, evaluate_every=2, checkpoint_every_s=1e9, **FAST)
    whole, model = network(), network()
    train(whole, Watched(held=True), settings)
    with pytest.raises(KeyboardInterrupt):
        train(model, Watched(held=True), settings, progress=stop, checkpoint=file)
    assert lines[-1][0] == 0.5 and "held out" in lines[-1][1] and "left" in lines[-1][1]
    assert weights(model) == weights(network())  # what was given is changed at the end only
    train(model, Watched(held=True), settings, checkpoint=file)
    assert weights(model) == weights(whole)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("saved") / "c.safetensors"
    train(network(), Watched(), LONG, seed=2, checkpoint=file)
    return file


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 25), ("batch", 5), ("learning_rate", 1e-3), ("warm_up", 5),
        ("weight_decay", 0.2), ("momentum", 0.5), ("average", 0.5),
    ],
)  # fmt: skip
def test_another_trainings_checkpoint_is_refused_by_name(
    name: str, value: Any, saved: Path
) -> None:
    settings = Training(**{**vars(LONG), name: value})
    with pytest.raises(ModelError, match=f"{name} was .* when it began, is {value} now"):
        train(network(), Watched(), settings, seed=2, checkpoint=saved)


def test_another_seed_or_size_is_refused(saved: Path) -> None:
    with pytest.raises(ModelError, match="seed was 2 when it began, is 3 now"):
        train(network(), Watched(), LONG, seed=3, checkpoint=saved)
    with pytest.raises(ModelError, match="not a checkpoint of this training") as raised:
        train(network(width=24, heads=3), Watched(), LONG, seed=2, checkpoint=saved)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "no head", "less", "folder"])
def test_damaged_checkpoints_are_named(damage: str, saved: Path, tmp_path: Path) -> None:
    from safetensors.torch import load, save

    file, content = tmp_path / "c.safetensors", saved.read_bytes()
    damaged = {
        "cut": content[:-100], "text": b"hello " * 50, "empty": b"",
        "no head": save({"x": torch.zeros(2)}),
        "less": save({k: v for k, v in load(content).items() if "torch_rng" not in k},
                     {"head": '{"settings": {}}'}),
    }  # fmt: skip
    if damage == "folder":
        file.mkdir()
    else:
        file.write_bytes(damaged[damage])
    with pytest.raises(ModelError, match="c.safetensors: not a checkpoint of this training"):
        train(network(), Watched(), LONG, seed=2, checkpoint=file)


def test_a_checkpoint_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        train(network(), Watched(), LONG, checkpoint=tmp_path / "file" / "c.safetensors")


# -- when it stops -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patience", "losses", "steps", "best"),
    [
        (2, [5, 4, 4, 4.5, 1, 1, 1, 1], 8, 4),
        (3, [5, 4, 4, 4.5, 1, 1, 1, 1], 16, 10),
        (1, [5, 6, 1, 1, 1, 1, 1, 1], 4, 2),
        (0, [5, 6, 7, 8, 9, 9, 9, 9], 16, 2),
    ],
)
def test_it_stops_early_and_keeps_the_best(
    patience: int, losses: list[float], steps: int, best: int
) -> None:
    settings = Training(steps=16, evaluate_every=2, patience=patience, average=0.5, **FAST)
    model, task = network(), Watched(losses=losses)
    told = train(model, task, settings)
    assert (told["steps"], told["best_step"]) == (steps, best)
    assert told["held_out"] == {"told": min(losses[: steps // 2])}
    shorter = Watched(losses=[9.0] * 8)
    shorter.fails_at = {best + 1: pressed}
    kept: dict[str, bytes] = {}

    def keep(network: nn.Module) -> dict[str, float]:
        if len(shorter.sizes) == best:
            kept.update(weights(network))
        return {"told": 1.0}

    shorter.validate = keep  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        train(network(), shorter, Training(**{**vars(settings), "patience": 0}))
    assert weights(model) == kept


def test_without_anything_held_out_the_last_weights_are_kept() -> None:
    model = network()
    told = train(model, Watched(), Training(steps=7, evaluate_every=3, average=0.0, **FAST))
    assert (told["steps"], told["best_step"], told["held_out"]) == (7, 7, {})
    assert [row[2] for row in told["curve"]] == [None] * 3
    assert all(np.isfinite(value.numpy()).all() for value in model.state_dict().values())


def test_losses_that_are_no_numbers() -> None:
    task = Watched()
    task.encoded[0].features[:] = np.nan
    with pytest.raises(DataError, match="training: the loss of step [01] is nan"):
        train(network(), task, Training(steps=3, **FAST))
    settings = Training(steps=3, evaluate_every=2, **FAST)
    with pytest.raises(DataError, match="the held-out loss of step 2 is nan"):
        train(network(), Watched(losses=[np.nan] * 3), settings)
