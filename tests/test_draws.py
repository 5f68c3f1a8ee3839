"""Random draws have the distributions that they claim: Kolmogorov-Smirnov and chi-square tests."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from naive_populations import Stream

from marketsim.agents.noise import NoiseAgent, wake_time
from marketsim.agents.sizes import MIXTURE, draw_size, read_sizes, write_sizes
from marketsim.compile import entry
from marketsim.latency import CubicLatency, GeometryLatency, UniformLatency, latency_ns
from marketsim.market import Market
from marketsim.rng import LATENCY, PLACE, exponential, integer, normal, uniform

N = 40_000
UNIFORM, EXPONENTIAL, NORMAL, INTEGER, SIZE, WAKE, DELAY = range(7)


@entry
def _draw(m, kind, a, b, out):  # type: ignore[no-untyped-def]
    for i in range(len(out)):
        if kind == UNIFORM:
            out[i] = uniform(m, 0)
        elif kind == EXPONENTIAL:
            out[i] = exponential(m, 0, float(a))
        elif kind == NORMAL:
            out[i] = normal(m, 0)
        elif kind == INTEGER:
            out[i] = integer(m, 0, a, b)
        elif kind == SIZE:
            out[i] = draw_size(m, 0, a)
        elif kind == WAKE:
            out[i] = wake_time(m, 0)
        else:
            out[i] = latency_ns(m, 0)


def draws(market: Market, kind: int, a: int = 0, b: int = 0, n: int = N) -> Any:
    out = np.empty(n)
    _draw(market.address, kind, a, b, out)
    return out


@pytest.fixture
def market() -> Market:
    market = Market(n_agents=1)
    market.header["seed"] = 20_120_621
    return market


def same_law(sample: Any, law: Callable[[Any], Any]) -> bool:
    """Kolmogorov & Smirnov at 0.1 %: the largest distance of the distribution functions."""
    x = np.sort(sample)
    there = law(x)
    above = np.arange(1, len(x) + 1) / len(x) - there
    return float(max(above.max(), (1 / len(x) - above).max()) * math.sqrt(len(x))) < 1.95


def same_shares(counts: Any, shares: Any) -> bool:
    """Pearson's chi-square, by Wilson & Hilferty's normal approximation, at 0.1 %."""
    expected = np.asarray(shares) * np.sum(counts)
    assert expected.min() > 5 and np.sum(shares) == pytest.approx(1)
    k = len(expected) - 1
    chi = float(((counts - expected) ** 2 / expected).sum())
    return ((chi / k) ** (1 / 3) - (1 - 2 / (9 * k))) / math.sqrt(2 / (9 * k)) < 3.1


NORMAL_LAW = np.vectorize(lambda x: 0.5 * (1 + math.erf(x / math.sqrt(2))))


def test_the_tests_of_laws_can_fail() -> None:
    rng = np.random.default_rng(0)
    assert same_law(rng.random(N), lambda x: x)
    assert not same_law(rng.random(N) * 0.98, lambda x: x)
    assert not same_law(rng.normal(0, 1.1, N), NORMAL_LAW)
    assert same_shares(np.bincount(rng.integers(0, 7, N)), np.full(7, 1 / 7))
    assert not same_shares(np.bincount(rng.integers(0, 7, N)), [0.16, 0.14, *[0.14] * 5])


def test_uniform_exponential_and_normal(market: Market) -> None:
    u = draws(market, UNIFORM)
    assert same_law(u, lambda x: x) and u.min() >= 0 and u.max() < 1
    assert same_law(draws(market, EXPONENTIAL, 700), lambda x: 1 - np.exp(-x / 700))
    z = draws(market, NORMAL)
    assert same_law(z, NORMAL_LAW)
    assert abs(np.corrcoef(z[1:], z[:-1])[0, 1]) < 4 / math.sqrt(N)


@pytest.mark.parametrize("low, high", [(0, 0), (0, 1), (-3, 3), (20, 49)])
def test_whole_numbers_are_all_equally_likely(market: Market, low: int, high: int) -> None:
    found = draws(market, INTEGER, low, high).astype(int)
    values, counts = np.unique(found, return_counts=True)
    assert values.tolist() == list(range(low, high + 1))
    assert low == high or same_shares(counts, np.full(len(counts), 1 / len(counts)))


def test_draws_are_those_of_plain_python(market: Market) -> None:
    stream = Stream(20_120_621, 0)
    assert draws(market, UNIFORM, n=50).tolist() == [stream.uniform() for _ in range(50)]
    plain = [stream.exponential(3) for _ in range(50)] + [stream.normal() for _ in range(50)]
    ours = [*draws(market, EXPONENTIAL, 3, n=50), *draws(market, NORMAL, n=50)]
    assert ours == pytest.approx(plain, rel=1e-12)
    at = write_sizes(market, "mixture")
    assert draws(market, SIZE, at, n=500).tolist() == [stream.size("mixture") for _ in range(500)]


def test_the_mixture_of_sizes_has_the_weights_and_components_of_rmsc04(market: Market) -> None:
    sizes = draws(market, SIZE, write_sizes(market, "mixture"), n=20 * N).astype(int)
    share = {part.a: part.weight for part in MIXTURE if part.kind == "normal"}
    assert sum(part.weight for part in MIXTURE) == pytest.approx(1.0, abs=1e-3)

    def body(size: Any) -> Any:  # lognormal sizes up to and with this one
        return NORMAL_LAW((np.log(np.asarray(size) + 0.5) - 2.9) / 1.2)

    edges = [5, 10, 18, 30, 50, 80, 98]
    body_shares = 0.2 * np.diff([0.0, *body(edges)])
    counts = [
        np.sum((sizes > low) & (sizes <= high))
        for low, high in zip([-1, *edges], edges, strict=False)
    ]
    hundreds = [int(mean) for mean in share]
    counts += [np.sum(abs(sizes - mean) <= 1) for mean in hundreds]
    near = [0.2 * (body(mean + 1) - body(mean - 2)) for mean in hundreds]
    total = sum(part.weight for part in MIXTURE)
    shares = [
        *body_shares,
        *(share[mean] + extra for mean, extra in zip(hundreds, near, strict=True)),
    ]
    rest = 1 - sum(shares) / total
    counts.append(len(sizes) - sum(counts))
    assert same_shares(np.array(counts), np.array([*np.array(shares) / total, rest]))


def test_other_sizes(market: Market) -> None:
    assert set(draws(market, SIZE, write_sizes(market, 7), n=100)) == {7}
    at = write_sizes(market, [20, 49])
    values, counts = np.unique(draws(market, SIZE, at), return_counts=True)
    assert values.tolist() == list(range(20, 50)) and same_shares(counts, np.full(30, 1 / 30))
    given = [{"weight": 3, "uniform": [1, 2]}, {"uniform": [11, 11]}, {"normal": [40, 0]}]
    values, counts = np.unique(draws(market, SIZE, write_sizes(market, given)), return_counts=True)
    assert values.tolist() == [1, 2, 11, 40] and same_shares(counts, [0.3, 0.3, 0.2, 0.2])
    lognormal = [{"lognormal": [3, 0.5]}]
    assert len(read_sizes(lognormal)) == 1
    sizes = draws(market, SIZE, write_sizes(market, lognormal))
    assert same_law(np.log(sizes + np.random.default_rng(1).random(N) - 0.5),
                    lambda x: NORMAL_LAW((x - 3) / 0.5))  # fmt: skip
    low = draws(market, SIZE, write_sizes(market, [{"normal": [0, 5]}]))
    assert low.min() == 0  # never below


def test_noise_agents_wake_u_quadratically(market: Market) -> None:
    """F(t) = 1/2 + 4 (t - middle)³ / width³."""
    noise = NoiseAgent(start="09:00", end="16:00")
    noise.install(market, range(1), 0)
    times = draws(market, WAKE)
    start, end = 9 * 3600e9, 16 * 3600e9
    assert times.min() >= start and times.max() <= end
    middle, width = (start + end) / 2, end - start
    assert same_law(times, lambda t: 0.5 + 4 * (t - middle) ** 3 / width**3)


def test_uniform_latency(market: Market) -> None:
    UniformLatency(100, 109).apply(market, range(1))
    values, counts = np.unique(draws(market, DELAY), return_counts=True)
    assert values.tolist() == list(range(100, 110)) and same_shares(counts, np.full(10, 0.1))
    UniformLatency(100, 100).apply(market, range(1))
    before = int(market.view("agents")[0]["jitter_draws"])
    assert set(draws(market, DELAY, n=10)) == {100}
    assert market.view("agents")[0]["jitter_draws"] == before == N


@pytest.mark.parametrize("jitter, clip, unit", [(0.5, 0.1, 10.0), (1.0, 0.5, 2.0), (0.2, 1, 1)])
def test_cubic_latency_is_that_of_its_formula(
    market: Market, jitter: float, clip: float, unit: float
) -> None:
    least = 10**9
    CubicLatency(least, jitter, clip, unit).apply(market, range(1))
    found = draws(market, DELAY)
    stream = Stream(20_120_621, 0, LATENCY)
    x = np.array([clip + (1 - clip) * stream.uniform() for _ in range(2000)])
    assert abs(found[:2000] - least * (1 + jitter / unit / x**3)).max() <= 1
    assert market.view("agents")[0]["counter"] == 0  # a stream of its own
    if clip < 1:
        share = jitter / unit  # P(latency <= l) = P(x >= (share / (l / least - 1))^(1/3))

        def law(value: Any) -> Any:
            return (1 - np.cbrt(share / np.maximum(value / least - 1, 1e-9))) / (1 - clip)

        assert same_law(found, law)


def test_places_on_the_line_are_uniform_and_each_agent_has_its_own() -> None:
    market = Market(n_agents=N)
    market.header["seed"] = 3
    GeometryLatency(length_m=3e8, speed_m_per_s=3e8).apply(market, range(N))
    times = market.view("agents")["latency_ns"] / 1e9
    assert same_law(times, lambda x: x)
    assert times[:20].tolist() == [round(Stream(3, i, PLACE).uniform(), 9) for i in range(20)]
    GeometryLatency(length_m=3e8, speed_m_per_s=1.5e8, exchange_m=3e8).apply(market, range(N))
    assert abs(market.view("agents")["latency_ns"] / 2e9 - (1 - times)).max() < 2e-9


def test_the_longest_tail_of_a_latency_is_a_day(market: Market) -> None:
    """However small the unit: a message's time never overflows."""
    CubicLatency("1h", 1.0, 1e-4, 1e-300).apply(market, range(1))
    found = draws(market, DELAY, n=100)
    assert found.min() > 0 and found.max() <= 25 * 3600e9
