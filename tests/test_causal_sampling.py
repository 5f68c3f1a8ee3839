"""What compiled causal models draw, each symbol as often as torch says."""

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from naive_flow import CANCEL, LIMIT, MARKET, naive_level
from scipy.stats import chi2
from toy_market import toy_flow
from toy_models import hidden_of, random_model, ready, view_at

from marketsim.compile import entry
from marketsim.flow import LEVELS
from marketsim.generators import diffusion_sampling as sampling
from marketsim.generators.bins import DEPTHS, OFFSETS, SIZES, depth_edges
from marketsim.generators.causal_flow import TokenFlow
from marketsim.generators.inference import add_row_of, multiply
from marketsim.generators.orders import CLASSES, encode, targets
from marketsim.generators.schedule import cosine_alpha_bar, trailing_steps

FLOW = toy_flow(420)
#: The event that the orders stand for; ten levels are full before it.
HERE = next(i for i in range(300, len(FLOW)) if FLOW["book"][i, -1].all())
BOOK, DEPTH = FLOW["book"][HERE], depth_edges()[:-1]
LAST = {1: (BOOK[0, 0], BOOK[-1, 0]), -1: (BOOK[0, 2], BOOK[-1, 2])}  #: first and tenth price
FIELDS = (CLASSES, DEPTHS, SIZES, OFFSETS)


def last_hidden(generator: TokenFlow, state: Any) -> torch.Tensor:
    return torch.from_numpy(hidden_of(generator, state).copy())


def draw_many(generator: TokenFlow, state: Any, count: int, seed: int = 0) -> Any:
    """Many draws of the same order, int64[count, 5]: kind, side, price, size, delay."""
    view, rng = view_at(FLOW, HERE, HERE), np.random.default_rng(seed)
    books = np.broadcast_to(view.book, (count, *view.book.shape)).copy()
    own = np.broadcast_to(view.own_lots, (count, LEVELS, 2)).copy()
    orders = generator._draw([state] * count, books, own, [rng] * count)
    assert all(order is not None for order in orders)
    return np.array([order[:5] for order in orders if order is not None])


@dataclass
class Drawn:
    """Symbols of many draws, int64[n, 4], and what the heads are given of each."""

    symbols: Any
    levels: Any
    profiles: dict[int, Any]

    @classmethod
    def of(cls, generator: TokenFlow, orders: Any) -> "Drawn":
        v, flow = generator.fitted, FLOW[: HERE + 1].copy()
        profiles = {}
        for side in (1, -1):
            flow["side"][HERE] = side
            profiles[side] = targets(encode(flow, v), np.array([HERE]), v)[0][0]
        pairs = np.tile(flow[HERE - 1 :], (len(orders), 1))  # each order after what was before
        for column, name in enumerate(("kind", "side", "price_ticks", "size_lots")):
            pairs[name][:, 1] = orders[:, column]
        gaps = np.column_stack([np.ones(len(orders), np.int64), orders[:, 4]])
        pairs["time_ns"] = gaps.cumsum().reshape(gaps.shape)
        symbols = encode(pairs.ravel(), v).symbols[1::2]
        _, first, which = np.unique(orders[:, :3], axis=0, return_index=True, return_inverse=True)
        levels = np.array([naive_level(pairs[row], 1, v) for row in first])[which]
        return cls(symbols, levels, profiles)


def chances(network: Any, h: Any, drawn: Drawn, rows: Any, field: int) -> Any:
    """What the network in torch says of each symbol of a field, given the others; [rows, n]."""
    target = torch.from_numpy(drawn.symbols[rows])
    level = torch.from_numpy(drawn.levels[rows])
    sides = 1 - 2 * (drawn.symbols[rows, 0] % 2)
    profile = torch.from_numpy(np.stack([drawn.profiles[side] for side in sides]))
    heads, nats = copy.copy(network.heads), np.empty((len(rows), FIELDS[field]))
    if field != 1:
        heads.depth_logits = lambda hidden, logits, profile: logits  # not asked for, and slow
    for symbol in range(FIELDS[field]):
        target[:, field] = symbol
        with torch.no_grad():
            nats[:, symbol] = heads(h.expand(len(rows), -1), target, profile, level)[field]
    found = np.exp(-nats)
    if field == 1:  # what is barred in training is out of reach here, and what is out of sight
        cancels = drawn.symbols[rows, 0] // 2 == CANCEL
        seen = np.array([abs(LAST[side][0] - LAST[side][1]) >= DEPTH for side in sides])
        limits = (profile[..., 2] > 0).numpy() & seen
        found *= np.where(cancels[:, None], profile[..., 1] > 0, limits)
    return found / found.sum(1, keepdims=True)


def agree(counts: Any, expected: Any) -> None:
    """Pearson's test at one in ten thousand; places that expect few are taken together."""
    assert counts[expected == 0].sum() == 0
    few = expected < 8
    counts = np.append(counts[~few], counts[few].sum())
    expected = np.append(expected[~few], expected[few].sum())
    some = expected > 0
    statistic = ((counts - expected)[some] ** 2 / expected[some]).sum()
    assert statistic < chi2.ppf(1 - 1e-4, max(some.sum() - 1, 1)), (statistic, some.sum())


@pytest.fixture(scope="module")
def drawn() -> tuple[Any, Any, Drawn]:
    generator, network = random_model("tokens", FLOW, scale=1.5, window=16)
    state = ready(generator, FLOW, HERE)
    return network, last_hidden(generator, state), Drawn.of(
        generator, draw_many(generator, state, 20_000)
    )  # fmt: skip


def test_classes_are_drawn_as_often_as_torch_says(drawn: tuple[Any, Any, Drawn]) -> None:
    network, h, found = drawn
    share = chances(network, h, found, np.array([0]), 0)[0]
    counts = np.bincount(found.symbols[:, 0], minlength=CLASSES)
    assert counts.min() > 100
    agree(counts, share * len(found.symbols))


@pytest.mark.parametrize("field", [1, 2, 3])
@pytest.mark.parametrize("kind", [LIMIT, CANCEL, MARKET])
def test_symbols_are_drawn_as_often_as_torch_says(
    drawn: tuple[Any, Any, Drawn], field: int, kind: int
) -> None:
    """Counts of a symbol against the sum of its chances, given the symbols before it."""
    network, h, found = drawn
    for symbol in (2 * kind, 2 * kind + 1):
        rows = np.flatnonzero(found.symbols[:, 0] == symbol)[: 1_500 if field > 1 else 20_000]
        if field == 1 and kind == MARKET:
            assert (found.symbols[rows, 1] == found.symbols[rows[0], 1]).all()
            continue
        _, first, counts = np.unique(
            np.column_stack([found.symbols[rows, :field], found.levels[rows]]) if field < 3
            else found.symbols[rows, :3], axis=0, return_index=True, return_counts=True,
        )  # fmt: skip
        given_rows, times = rows[first], counts
        if field == 1:
            given_rows, times = rows[:1], np.array([len(rows)])
        expected = times @ chances(network, h, found, given_rows, field)
        agree(np.bincount(found.symbols[rows, field], minlength=FIELDS[field]), expected)


def greedy(network: Any, h: Any, found: Drawn) -> list[int]:
    """The likeliest class, and the likeliest of each symbol given those before."""
    row = np.array([0])
    return [int(chances(network, h, found, row, field)[0].argmax()) for field in range(4)]


def test_near_no_temperature_the_likeliest_is_taken(drawn: tuple[Any, Any, Drawn]) -> None:
    network, h, _ = drawn
    generator, _ = random_model("tokens", FLOW, scale=1.5, window=16, temperature=1e-6)
    found = Drawn.of(generator, draw_many(generator, ready(generator, FLOW, HERE), 200))
    assert (found.symbols == found.symbols[0]).all()
    kind = found.symbols[0, 0] // 2
    likely = greedy(network, h, found)
    assert [s for i, s in enumerate(likely) if i != 1 or kind != MARKET] == [
        s for i, s in enumerate(found.symbols[0].tolist()) if i != 1 or kind != MARKET
    ]


def test_at_a_high_temperature_all_are_alike() -> None:
    generator, _ = random_model("tokens", FLOW, temperature=1e9)
    orders = draw_many(generator, ready(generator, FLOW, HERE), 6_000)
    classes = 2 * orders[:, 0] + (orders[:, 1] < 0)
    agree(np.bincount(classes, minlength=CLASSES), np.full(CLASSES, 1_000.0))


# -- diffusion -----------------------------------------------------------------------------------


@entry
def denoise_all(w, at, h, classes, normals, times, alpha_bar, eta, x):
    """What ``denoise_orders`` does with hidden states and classes; x : float32[rows, LATENTS]."""
    rows, width = h.shape
    condition = np.empty((rows, width), np.float32)
    for b in range(rows):
        for j in range(width):
            condition[b, j] = (
                w[at[sampling.CONDITION + 1] + j] + w[at[sampling.LATENT_IN + 1] + j]
            )  # fmt: skip
        add_row_of(w, at[sampling.GIVEN_CLASS], classes[b], b, condition)
    multiply(h, rows, width, w, at[sampling.CONDITION], width, condition)
    sampling.denoise(w, at, rows, times, alpha_bar, eta, normals, condition, x)


def compiled(generator: Any, h: Any, classes: Any, normals: Any, steps: int, eta: float) -> Any:
    flat, _, at = generator._arrays
    times = np.array(trailing_steps(100, steps))
    x = np.empty((len(h), 3), np.float32)
    denoise_all(flat, at, h, classes, normals, times, cosine_alpha_bar(100), eta, x)
    return x


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 8, 20, 100])
def test_denoising_equals_the_sampler_in_torch(steps: int, eta: float) -> None:
    generator, network = random_model("causal", FLOW, scale=1.0, width=24, heads=3)
    rng = np.random.default_rng(steps)
    h = rng.standard_normal((40, 24)).astype(np.float32)
    classes, normals = rng.integers(0, 6, 40), rng.standard_normal((40, 3 * (steps + 1)))
    found = compiled(generator, h, classes, normals, steps, eta)
    noise = torch.from_numpy(normals.astype(np.float32)).view(40, steps + 1, 3).transpose(0, 1)
    condition = (torch.from_numpy(h), torch.from_numpy(classes))
    expected = network.diffusion.double().ddim(
        lambda x, t, c: network.denoiser(x.float(), t, c), noise.double(), condition,
        steps=steps, eta=eta, clip=4.0,
    )  # fmt: skip
    assert expected.std() > 0.3
    assert abs(found - expected.numpy()).max() < (1e-5 if steps > 1 else 1e-3)


@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_diffused_orders_are_what_torch_makes_of_the_same_draws(eta: float) -> None:
    generator, network = random_model("causal", FLOW, scale=1.5, steps=6, eta=eta)
    state = ready(generator, FLOW, HERE)
    h, view = last_hidden(generator, state), view_at(FLOW, HERE, HERE)
    with torch.no_grad():
        share = torch.softmax(network.class_head(h)[1].double(), -1).numpy()
    same = 0
    for seed in range(150):
        order = generator._draw(
            [state], view.book[None], view.own_lots[None], [np.random.default_rng(seed)]
        )[0]
        assert order is not None
        rng = np.random.default_rng(seed)
        uniform = rng.random(2)
        symbol = int(np.searchsorted(np.cumsum(share), uniform[0], side="right"))
        normals = np.zeros((1, 21))
        count = 21 if eta else 3
        normals[0, :count] = rng.standard_normal(count)
        noise = torch.from_numpy(normals).float().view(7, 1, 3)
        x = network.diffusion.ddim(
            network.denoiser, noise, (h[None], torch.tensor([symbol])), steps=6, eta=eta, clip=4.0
        )[0]
        assert (order.kind, order.side) == (symbol // 2, 1 - 2 * (symbol % 2))
        table = generator.table[symbol // 2]
        ranks = [0.5 * (1 + math.erf(float(value) / math.sqrt(2))) * 1024 for value in x]
        values = [np.interp(rank, np.arange(1025), table[i]) for i, rank in enumerate(ranks)]
        close = abs(order.size_lots - max(values[1], 1)) <= 1 + 1e-3 * values[1]
        same += close and abs(order.delay_ns - values[2]) <= 10 + 1e-3 * values[2]
        if order.kind == LIMIT:
            meets = int(view.book[0, 2 if order.side > 0 else 0])
            best, last = LAST[order.side]
            price = best - order.side * min(round(values[0]), abs(best - last))
            price = price if (price - meets) * order.side < 0 else meets - order.side
            assert abs(price - order.price_ticks) <= 1
    assert same > 147  # rounding, where a quantile is steep


def test_the_likeliest_class_is_diffused_near_no_temperature() -> None:
    generator, network = random_model("causal", FLOW, scale=0.3, steps=2, temperature=1e-6)
    state = ready(generator, FLOW, HERE)
    with torch.no_grad():
        symbol = int(network.class_head(last_hidden(generator, state))[1].argmax())
    orders = draw_many(generator, state, 100)
    assert (2 * orders[:, 0] + (orders[:, 1] < 0) == symbol).all()
    assert len(np.unique(orders[:, 4])) > 1  # the rest is drawn still
