"""Causal models on devices of torch against compiled code, and what is kept of markets there."""

import copy
import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_market import toy_flow
from toy_models import random_model, view_at
from world_market import configured

import marketsim as ms
from marketsim.errors import ConfigError, ModelError
from marketsim.flow import flow_of
from marketsim.generators import shared
from marketsim.generators.causal_flow import TokenFlow
from marketsim.simulation import Simulation
from marketsim.tape import Tape

FLOW = toy_flow(560)
START = 270
WARM = {"warm_up": "150s"}  #: has 256 events in the synthetic day
#: What compiled code on the CPU and torch on it can be told apart by: rounding.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def pair(architecture: str = "tokens", **options: Any) -> tuple[TokenFlow, TokenFlow]:
    """The same model twice: compiled, and by torch on the CPU."""
    compiled, _ = random_model(architecture, FLOW, **options)
    placed, _ = random_model(architecture, FLOW, **options)
    return compiled, placed.to("cpu", compiled=False)


def views_of(step: int, markets: int) -> list[Any]:
    """What markets are shown at a step: the event before it, each at a place of its own."""
    return [view_at(FLOW, START + m + step, START + m + step - 1) for m in range(markets)]


def write(generator: TokenFlow, states: list[Any], rngs: list[Any], steps: range) -> list[Any]:
    """Orders of some steps, the flow and the books those of ``FLOW`` whatever is written."""
    return [generator.next_orders(states, views_of(k, len(states)), rngs) for k in steps]


def begun(generator: TokenFlow, markets: int) -> tuple[list[Any], list[Any]]:
    states = [generator.start(FLOW[: START + m]) for m in range(markets)]
    return states, [np.random.default_rng(m) for m in range(markets)]


# -- equal to compiled code ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size",
    [{}, {"window": 1}, {"window": 300}, {"layers": 3, "width": 24, "heads": 3, "window": 20}],
)
def test_what_is_read_equals_compiled_code(size: dict[str, int]) -> None:
    """Markets with none, one and several new events, before and after their rings are full."""
    compiled, placed = pair(scale=1.0, **size)
    twins = [[g.start(FLOW[: START + 3 * m]) for m in range(4)] for g in (compiled, placed)]
    at = [START + 3 * m for m in range(4)]
    rng = np.random.default_rng(0)
    for _ in range(12):
        news = rng.integers(0, 4, 4)
        flows = [FLOW[i : i + n] for i, n in zip(at, news, strict=True)]
        at = [i + int(n) for i, n in zip(at, news, strict=True)]
        for generator, states in zip((compiled, placed), twins, strict=True):
            generator._observe(states, flows, FLOW["book"][at])
        for one, other in zip(*twins, strict=True):
            assert (one.ints == other.ints).all()
            np.testing.assert_allclose(other.floats, one.floats, **CLOSE)


def test_orders_equal_those_of_compiled_code() -> None:
    compiled, placed = pair(scale=1.0, width=32, window=32)
    found, expected = (
        write(generator, *begun(generator, 50), range(1, 201)) for generator in (placed, compiled)
    )
    assert found == expected
    kinds = [order.kind for orders in found for order in orders]
    assert min(kinds.count(kind) for kind in range(3)) > 500


@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_diffused_orders_are_those_of_compiled_code_but_for_rounding(eta: float) -> None:
    """Size, depth and delay are read off quantiles: rounding moves a few by one, or a little."""
    compiled, placed = pair("causal", scale=1.0, width=32, window=32, steps=4, eta=eta)
    found, expected = (
        np.array(write(generator, *begun(generator, 50), range(1, 41)))
        for generator in (placed, compiled)
    )
    assert (found[..., :2] == expected[..., :2]).all()  # kind and side
    assert (found[..., 2:4] == expected[..., 2:4]).all(-1).mean() > 0.999  # price and size
    np.testing.assert_allclose(found[..., 4], expected[..., 4], rtol=1e-3, atol=10)


def test_the_cpu_without_torch_again() -> None:
    compiled, placed = pair()
    assert placed.to("cpu")._placed is None
    assert (begun(placed, 1)[0][0].floats == begun(compiled, 1)[0][0].floats).all()


# -- what is kept of markets -----------------------------------------------------------------------


def test_a_copy_goes_its_own_way_and_slots_are_free_again() -> None:
    _, placed = pair()
    (state,), (rng,) = begun(placed, 1)
    write(placed, [state], [rng], range(1, 20))
    twin, twin_rng = copy.deepcopy(state), copy.deepcopy(rng)
    assert twin.slot != state.slot
    before = twin.floats
    expected = write(placed, [state], [rng], range(20, 40))
    assert (twin.floats == before).all()
    assert write(placed, [twin], [twin_rng], range(20, 40)) == expected
    caches, slot = state.caches, state.slot
    del state
    gc.collect()
    assert slot in caches._free
    assert caches.take() == slot
    assert not caches.rings[:, :, slot].any()


def test_room_grows_and_what_is_there_stays() -> None:
    _, placed = pair()
    states, _ = begun(placed, 3)
    before = [state.floats for state in states]
    more = [placed.start(FLOW[:START]) for _ in range(20)]
    assert sorted(state.slot for state in (*states, *more)) == list(range(23))
    assert len(states[0].caches.hidden) == 32
    assert all((state.floats == floats).all() for state, floats in zip(states, before, strict=True))


def test_markets_in_any_order_of_slots_and_alone_are_the_same() -> None:
    _, placed = pair(scale=1.0)
    states, rngs = begun(placed, 5)
    others, other_rngs = begun(placed, 5)
    views, turned = views_of(1, 5), [3, 0, 4, 1, 2]
    expected = placed.next_orders(states, views, rngs)
    found = placed.next_orders(
        [others[i] for i in turned], [views[i] for i in turned], [other_rngs[i] for i in turned]
    )
    assert [found[turned.index(i)] for i in range(5)] == expected
    for one, other in zip(states, others, strict=True):
        np.testing.assert_allclose(one.floats, other.floats, **CLOSE)


@pytest.mark.parametrize("back", [False, True])
def test_a_packed_state_goes_on_in_the_other_place(back: bool) -> None:
    here, there = pair(scale=1.0)[:: -1 if back else 1]
    states, rngs = begun(here, 4)
    write(here, states, rngs, range(1, 30))
    moved = [there.unpack(here.pack(state)) for state in states]
    assert [(m.floats == s.floats).all() for m, s in zip(moved, states, strict=True)] == [True] * 4
    found = write(there, moved, copy.deepcopy(rngs), range(30, 60))
    assert found == write(here, states, rngs, range(30, 60))


def test_states_of_another_place_are_refused() -> None:
    compiled, placed = pair()
    (mine,), rngs = begun(compiled, 1)
    (theirs,), _ = begun(placed, 1)
    with pytest.raises(ModelError, match="state must be one of the CPU, was of a device"):
        write(compiled, [theirs], rngs, range(1, 2))
    with pytest.raises(ModelError, match="state must be one of this model on device 'cpu'"):
        write(placed, [mine], rngs, range(1, 2))
    placed.set_weights(placed.weights)
    with pytest.raises(ModelError, match="pack it there and unpack it here"):
        write(placed, [theirs], rngs, range(1, 2))


def test_placing_a_model_draws_nothing_from_the_global_stream() -> None:
    _, placed = pair()
    before = torch.get_rng_state()
    begun(placed, 1)
    assert (torch.get_rng_state() == before).all()


# -- devices ---------------------------------------------------------------------------------------


@pytest.fixture
def tiny(day: Tape, tmp_path: Path) -> Path:
    """Folder of a tiny model for ``day``, which is beside it."""
    generator, _ = random_model("tokens", flow_of(day), scale=0.7)
    generator.tick_size = day.meta["tick_size"]
    generator.save(tmp_path / "model")
    day.save(tmp_path / "day")
    return tmp_path / "model"


@pytest.mark.parametrize("device", ["meta", "nonsense", "cuda:99"])
@pytest.mark.parametrize("architecture", ["tokens", "causal", "encoder"])
def test_a_device_that_cannot_be_is_refused(device: str, architecture: str) -> None:
    from marketsim.generators.trades import trades

    generator = trades(architecture)
    if architecture == "encoder":
        generator.network = torch.nn.Linear(1, 1)
    with pytest.raises(ConfigError, match=f"torch can compute on here, was '{device}': "):
        generator.to(device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_without_cuda_a_batch_is_refused(tiny: Path) -> None:
    with pytest.raises(ConfigError, match="device must be one that torch can compute on here"):
        ms.run_batch(configured(tiny), [0], overrides={"agents.world.device": "cuda"})


def batch(model: Path, device: str) -> list[Any]:
    overrides = {"agents.world.device": device, "session.close": "09:33"}
    return ms.run_batch(configured(model, **WARM), range(4), overrides=overrides)


@pytest.fixture
def by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let device "torch" be torch on the CPU."""

    def to(generator: TokenFlow, device: str, **how: Any) -> TokenFlow:
        return placed(generator, "cpu", compiled=device != "torch", **how)

    placed = TokenFlow.to
    monkeypatch.setattr(TokenFlow, "to", to)
    shared._loaded.cache_clear()


def test_a_batch_of_markets_by_torch(tiny: Path, by_torch: None) -> None:
    """The same again, slots freed in between; near to compiled code, of which it is a rounding."""
    runs = batch(tiny, "torch")
    generator, _ = shared.shared_model(tiny, "torch")
    caches = generator._placed.caches
    del generator
    gc.collect()
    assert [run.tape.digest() for run in runs] == [r.tape.digest() for r in batch(tiny, "torch")]
    orders = [sum(run.summary["agents"]["world"]["orders"].values()) for run in runs]
    expected = [
        sum(run.summary["agents"]["world"]["orders"].values()) for run in batch(tiny, "cpu")
    ]
    assert min(orders) > 30
    assert np.allclose(orders, expected, rtol=0.5)
    assert len(caches.hidden) <= 16


def test_a_market_by_torch_forks_and_is_saved(tiny: Path, tmp_path: Path, by_torch: None) -> None:
    config = configured(tiny, device="torch", **WARM)
    market = Simulation(config, seed=3)
    market.run("09:32:40")
    fork = market.fork()
    market.save(tmp_path / "saved")
    loaded = Simulation.load(tmp_path / "saved")
    digests = {m.run("09:32:50").tape.digest() for m in (market, fork, loaded)}
    assert len(digests) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA, which is not here")
@pytest.mark.parametrize("architecture", ["tokens", "causal"])
def test_on_cuda_orders_are_near_those_of_the_cpu(architecture: str) -> None:
    compiled, placed = pair(architecture, scale=1.0, width=32, window=32)
    placed.to("cuda")
    found, again, expected = (
        np.array(write(generator, *begun(generator, 50), range(1, 101)))
        for generator in (placed, placed, compiled)
    )
    assert (found == again).all()
    assert (found[..., :2] == expected[..., :2]).mean() > 0.999
    np.testing.assert_allclose(found[..., 4], expected[..., 4], rtol=1e-2, atol=100)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA, which is not here")
def test_a_batch_of_markets_on_cuda(tiny: Path) -> None:
    first, again = batch(tiny, "cuda"), batch(tiny, "cuda")
    assert [run.tape.digest() for run in first] == [run.tape.digest() for run in again]
