"""The compiled causal model equals the network in torch, past the ring's end too."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from toy_market import toy_flow
from toy_models import hidden_of, random_model, view_at

from marketsim.errors import ConfigError, DataError, ModelError
from marketsim.flow import Flow
from marketsim.generators.causal import TokenModel
from marketsim.generators.causal_flow import CausalState, TokenFlow
from marketsim.generators.diffusion_head import DiffusionModel
from marketsim.generators.inference import POSITION, RECENT_AT, STATE_INTS, TIME, state_floats
from marketsim.generators.orders import encode
from marketsim.generators.size import Size
from marketsim.generators.trades import trades
from marketsim.generators.weights import diffusion_shapes, token_shapes

FLOW = toy_flow(420)
SIZES = [
    {"layers": 1, "width": 8, "heads": 1, "window": 1},
    {"layers": 1, "width": 16, "heads": 2, "window": 32},
    {"layers": 2, "width": 16, "heads": 4, "window": 8},
    {"layers": 2, "width": 24, "heads": 3, "window": 7},
    {"layers": 3, "width": 40, "heads": 5, "window": 16},
]


def fresh(generator: TokenFlow) -> CausalState:
    layers, width, _, window = generator.shape
    return CausalState(
        np.zeros(STATE_INTS, np.int64),
        np.zeros(state_floats(layers, width, window), np.float32),
        FLOW[:0].copy(),
    )


def read_one_by_one(generator: TokenFlow, flow: Flow) -> Any:
    """Hidden state of each token of a flow whose first event comes before it; [tokens, width]."""
    state = fresh(generator)
    state.ints[TIME] = flow["time_ns"][0]
    found = []
    for i in range(1, len(flow) - 1):
        generator._observe([state], [flow[i : i + 1]], flow["book"][i + 1 : i + 2])
        found.append(hidden_of(generator, state).copy())
    return np.array(found)


def tokens(generator: TokenFlow, flow: Flow) -> tuple[torch.Tensor, torch.Tensor]:
    """Symbols and features of the same tokens as the network reads them, a batch of one."""
    encoded = encode(flow, generator.fitted)
    symbols = torch.from_numpy(encoded.symbols[1:-1])[None]
    return symbols, torch.from_numpy(encoded.features[2:])[None]


def banded(window: int) -> Any:
    """Attention in which a token sees itself and the ``window - 1`` before it."""
    attention = F.scaled_dot_product_attention

    def mixed(q: Any, k: Any, v: Any, is_causal: bool) -> Any:
        assert is_causal
        at = torch.arange(q.shape[2])
        back = at[:, None] - at
        return attention(q, k, v, attn_mask=(back >= 0) & (back < window))

    return mixed


@pytest.mark.parametrize("size", SIZES)
def test_an_endless_stream_equals_a_banded_mask(
    size: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ring keeps keys of tokens that saw further back: with several layers a band it is.

    The first ``window`` tokens, and with one layer any window by itself, equal the plain network.
    """
    generator, network = random_model("tokens", FLOW, **size)
    window, flow = size["window"], FLOW[: 4 * size["window"] + 20]
    found = read_one_by_one(generator, flow)
    symbols, features = tokens(generator, flow)
    with torch.no_grad():
        plain = network.trunk(symbols[:, :window], features[:, :window])[0].numpy()
        last = network.trunk(symbols[:, -window:], features[:, -window:])[0, -1].numpy()
        monkeypatch.setattr(F, "scaled_dot_product_attention", banded(window))
        expected = network.trunk(symbols, features)[0].numpy()
    scale = abs(expected).max()
    assert scale > 0.5 and found.std(0).max() > 0.2
    assert abs(found - expected).max() < 2e-5 * scale
    assert abs(found[:window] - plain).max() < 2e-5 * scale
    if size["layers"] == 1:
        assert abs(found[-1] - last).max() < 2e-5 * scale
    elif window < 16:
        assert abs(found[-1] - last).max() > 1e-3  # a truncated window it is not


def test_the_start_reads_the_last_window() -> None:
    """And leaves the last event for the book after it, which the first view has."""
    generator, network = random_model("tokens", FLOW, window=32)
    state = generator.start(FLOW[:300])
    assert state.ints[POSITION] == 31 and len(state.pending) == 1
    generator.next_order(state, view_at(FLOW, 300, 300), np.random.default_rng(0))
    assert state.ints[POSITION] == 32 and len(state.pending) == 0
    symbols, features = tokens(generator, FLOW[:301])
    with torch.no_grad():
        expected = network.trunk(symbols[:, -32:], features[:, -32:])[0, -1].numpy()
    assert abs(hidden_of(generator, state) - expected).max() < 2e-5 * abs(expected).max()


@pytest.mark.parametrize("window", [1, 3, 8])
def test_the_last_events_are_known_however_short_the_window(window: int) -> None:
    generator, _ = random_model("tokens", FLOW, window=window)
    state = generator.start(FLOW[:300])
    generator.next_order(state, view_at(FLOW, 300, 300), np.random.default_rng(0))
    assert state.ints[RECENT_AT::2].tolist() == FLOW["kind"][299:295:-1].tolist()
    assert state.ints[RECENT_AT + 1 :: 2].tolist() == FLOW["price_ticks"][299:295:-1].tolist()
    assert state.ints[TIME] == FLOW["time_ns"][299]


def test_a_window_longer_than_the_past() -> None:
    generator, network = random_model("tokens", FLOW, window=512, layers=1)
    state = generator.start(FLOW[:256])
    generator.next_order(state, view_at(FLOW, 256, 256), np.random.default_rng(0))
    symbols, features = tokens(generator, FLOW[:257])
    with torch.no_grad():
        expected = network.trunk(symbols, features)[0, -1].numpy()
    assert abs(hidden_of(generator, state) - expected).max() < 2e-5 * abs(expected).max()


def test_attention_mixes_tokens() -> None:
    """A token that is another moves all later hidden states, and no earlier one."""
    _, network = random_model("tokens", FLOW, window=32, scale=1.0)
    generator, _ = random_model("tokens", FLOW, window=32, scale=1.0)
    symbols, features = tokens(generator, FLOW[:34])
    with torch.no_grad():
        before = network.trunk(symbols, features)[0]
        features[0, 10] += 1
        after = network.trunk(symbols, features)[0]
    moved = (after - before).abs().amax(-1)
    assert (moved[:10] == 0).all() and (moved[10:] > 1e-5).all()
    twin = FLOW[:34].copy()
    twin["size_lots"][11] += 30  # the event of token 10
    one, two = read_one_by_one(generator, FLOW[:34]), read_one_by_one(generator, twin)
    moved = abs(one - two).max(-1)
    assert (moved[:10] == 0).all() and (moved[10:] > 1e-5).all()


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(1, 60), max_size=6))
def test_events_in_any_pieces_leave_the_same_state(cuts: list[int]) -> None:
    generator = GENERATOR
    whole, parts = fresh(generator), fresh(generator)
    generator._observe([whole], [FLOW[:60]], FLOW["book"][60:61])
    bounds = sorted({0, 60, *cuts})
    for a, b in zip(bounds[:-1], bounds[1:], strict=True):
        generator._observe([parts], [FLOW[a:b]], FLOW["book"][b : b + 1])
    assert whole.floats.tobytes() == parts.floats.tobytes()
    assert whole.ints.tobytes() == parts.ints.tobytes()


GENERATOR, _ = random_model("tokens", FLOW)
DIFFUSION, _ = random_model("causal", FLOW, steps=4, eta=1.0)


# -- states --------------------------------------------------------------------------------------


def orders_of(generator: TokenFlow, state: CausalState, first: int, count: int, rng: Any) -> Any:
    """Orders that a state writes while it is shown the recorded flow."""
    return [
        generator.next_order(state, view_at(FLOW, i, i - 1 if i > 300 else i), rng)
        for i in range(first, first + count)
    ]


@pytest.mark.parametrize("generator", [GENERATOR, DIFFUSION])
@pytest.mark.parametrize("seen", [0, 12])
def test_copies_and_packed_states_go_on_alike(generator: TokenFlow, seen: int) -> None:
    state, rng = generator.start(FLOW[:300]), np.random.default_rng(1)
    orders_of(generator, state, 300, seen, rng)
    packed = generator.pack(state)
    kept = {name: array.tobytes() for name, array in packed.items()}
    others = [copy.deepcopy(state), generator.unpack(packed), generator.unpack(packed)]
    rngs = [copy.deepcopy(rng) for _ in others]
    expected = orders_of(generator, state, 300 + seen, 15, rng)
    for other, own in zip(others, rngs, strict=True):
        assert orders_of(generator, other, 300 + seen, 15, own) == expected
        assert other.floats.tobytes() == state.floats.tobytes()
        assert other.ints.tobytes() == state.ints.tobytes()
        assert other.address != state.address
    assert {name: array.tobytes() for name, array in packed.items()} == kept
    assert len(set(expected)) > 5


def test_a_state_of_another_model_is_refused() -> None:
    other, _ = random_model("tokens", FLOW, width=24)
    packed = other.pack(other.start(FLOW[:300]))
    with pytest.raises(ModelError, match="model of another size"):
        GENERATOR.unpack(packed)


def test_a_short_past_is_refused() -> None:
    with pytest.raises(DataError, match="at least 256 events, had 255"):
        GENERATOR.start(FLOW[:255])


# -- sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"width": 20}, "width must be a multiple of 8"),
        ({"width": 16, "heads": 8}, "of 4 \\* heads, was 16 with 8 heads"),
        ({"width": 16, "heads": 3}, "of 4 \\* heads"),
        ({"layers": 0}, "layers must be >= 1, was 0"),
        ({"window": 2.5}, "window must be a whole number, was 2.5"),
        ({"heads": True}, "heads must be a whole number"),
        ({"dropout": 1.0}, "dropout must be from 0 to below 1"),
        ({"dropout": float("nan")}, "dropout must be a finite number"),
        ({"noise": -0.1}, "noise must be from 0 to below 1"),
        ({"temperature": 0.0}, "temperature must be > 0"),
        ({"temperature": float("nan")}, "temperature must be a finite number"),
        ({"architecture": "causal", "steps": 0}, "steps must be >= 1"),
        ({"architecture": "causal", "steps": 101}, "steps must be <= 100"),
        ({"architecture": "causal", "diffusion_steps": 1}, "diffusion_steps must be >= 2"),
        ({"architecture": "causal", "eta": 1.5}, "eta must be from 0 to 1"),
        ({"architecture": "causal", "eta": float("nan")}, "eta must be a finite number"),
        ({"architecture": "cuasal"}, "did you mean 'causal'"),
    ],
)
def test_models_that_cannot_be(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        trades(**options)


def test_names_and_shapes_of_weights_are_those_of_the_networks() -> None:
    size = Size(3, 24, 3, 16)
    for network, shapes in (
        (TokenModel(size), token_shapes(size)),
        (DiffusionModel(size, 30), diffusion_shapes(size, 30)),
    ):
        assert {k: tuple(v.shape) for k, v in network.state_dict().items()} == shapes
