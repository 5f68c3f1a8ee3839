"""The models that come with the package: whole, small, described, as good as their card says."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA

import marketsim as ms
from marketsim.comparison.likelihood import model_nats
from marketsim.comparison.plan import Span
from marketsim.data.source import open_tape
from marketsim.generators import name_of
from marketsim.generators.base import RETURNS

MODELS = Path(__file__).parents[1] / "generators" / "models"
GOOG = DATA / "LOBSTER_SampleFile_GOOG_2012-06-21_10.zip"


RETURN_MODELS = [name for name in ms.generators.shipped() if name_of(name) in RETURNS]
FLOW_MODELS = [name for name in ms.generators.shipped() if name not in RETURN_MODELS]


@pytest.mark.parametrize("name", RETURN_MODELS)
def test_a_shipped_model_of_returns_is_whole_and_described(name: str) -> None:
    model = ms.generators.load(name)
    weights = sum(parameter.numel() for parameter in model.network.parameters())
    card = (MODELS / name / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"{weights:,} weights" in card
    assert re.search(rf"marketsim train {model.name} .*--data", card)
    drawn = model.sample(2000, seed=1)
    hourly = drawn.reshape(-1, len(model.symbols)).std(axis=0)
    assert np.isfinite(drawn).all() and (hourly > 0.002).all() and (hourly < 0.02).all()
    assert (np.corrcoef(drawn.reshape(-1, 3).T)[np.triu_indices(3, 1)] > 0.4).all()


@pytest.mark.parametrize("name", FLOW_MODELS)
def test_a_shipped_model_is_whole_and_described(name: str) -> None:
    model = ms.generators.load(name)
    weights = sum(array.size for array in model.weights.values())
    card = (MODELS / name / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"{weights / 1e6:.2f} million weights" in card
    assert re.search(r"marketsim train trades .*--data", card)
    tape = open_tape(f"{name}-warm-up")
    assert tape.meta["source"] == "simulation"  # nothing recorded is shipped
    assert tape.meta["tick_size"] == model.tick_size


def test_shipped_models_are_small() -> None:
    assert sum(file.stat().st_size for file in MODELS.rglob("*") if file.is_file()) < 20e6


def test_the_default_market_is_written_by_the_model() -> None:
    run = ms.run(until="09:48", overrides={"agents.pov.start": "09:46"})
    world = run.summary["agents"]["world"]
    assert sum(world["orders"].values()) > 200
    assert world["reject_rate"] < 0.05 and world["fallbacks"] == 0
    book = run.tape.between("09:45", "09:48").book
    assert (book.bid_size_lots[:, 0] > 0).all() and (book.ask_size_lots[:, 0] > 0).all()


def test_the_same_seed_writes_the_same_market_in_another_process() -> None:
    code = "import marketsim as ms; print(ms.run(seed=5, until='09:46').tape.digest())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == ms.run(seed=5, until="09:46").tape.digest()


@pytest.mark.slow
@pytest.mark.skipif(not GOOG.exists(), reason=f"real data not at hand: {GOOG.name}")
def test_the_held_out_likelihood_of_the_card() -> None:
    """Ten minutes of the afternoon that the model never saw."""
    span = Span.parse("14:30-14:40", "test")
    nats = model_nats(ms.generators.load("goog"), ms.read_lobster(GOOG), span)
    assert set(nats) == {"class", "depth", "size", "offset"}
    assert np.isfinite(list(nats.values())).all() and sum(nats.values()) < 8.6
