"""Distances of samples, against NumPy's histograms and SciPy's Wasserstein distance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from marketsim.metrics.distances import Bins, Counts, Scale, interval

VALUES = st.lists(st.integers(-20, 20), min_size=1, max_size=60)


def scale_of(
    a: list[float], b: list[float], rule: Bins, groups: list[int] | None = None, **how: bool
) -> tuple[Scale, Counts, Counts]:
    pooled = np.array([*a, *b], np.float64)
    of = np.zeros(len(pooled), np.int64) if groups is None else np.array(groups)
    scale = Scale(pooled, of, rule, **how)
    return scale, scale.count(slice(0, len(a))), scale.count(slice(len(a), None))


def naive_l1(a: list[float], b: list[float], edges: np.ndarray) -> float:
    shares = [np.histogram(x, edges)[0] / len(x) for x in (a, b)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def naive_wasserstein(a: list[float], b: list[float]) -> float:
    pooled = np.array([*a, *b])
    deviation = pooled.std(ddof=1) if len(set(pooled)) > 1 else 1.0
    return float(wasserstein_distance(np.array(a) / deviation, np.array(b) / deviation))


@given(VALUES, VALUES)
@settings(max_examples=150, deadline=None)
def test_values_have_a_bin_each(a: list[float], b: list[float]) -> None:
    scale, first, second = scale_of(a, b, Bins.VALUES)
    expected = sum(abs(a.count(v) / len(a) - b.count(v) / len(b)) for v in {*a, *b}) / 2
    assert scale.half_l1(first, second) == pytest.approx(expected)
    assert scale.wasserstein(first, second) == pytest.approx(naive_wasserstein(a, b))


@pytest.mark.parametrize("seed", range(6))
def test_freedman_diaconis_bins_are_numpys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.standard_t(3, 300 + 50 * seed).tolist()
    b = (rng.standard_t(3, 170) * 1.3 + 0.2).tolist()
    scale, first, second = scale_of(a, b, Bins.FREEDMAN_DIACONIS)
    edges = np.histogram_bin_edges([*a, *b], "fd")
    assert scale.half_l1(first, second) == pytest.approx(naive_l1(a, b, edges))
    assert scale.wasserstein(first, second) == pytest.approx(naive_wasserstein(a, b))


def test_where_most_values_are_equal_each_value_has_a_bin() -> None:
    scale, first, second = scale_of(
        [1.0] * 90 + [5.0] * 10, [1.0] * 80 + [7.0] * 20, Bins.FREEDMAN_DIACONIS
    )
    assert scale.half_l1(first, second) == pytest.approx(0.2)


@pytest.mark.parametrize("rule", list(Bins))
def test_equal_samples_and_samples_apart(rule: Bins) -> None:
    values = [float(x) for x in range(30)]
    scale, first, second = scale_of(values, values, rule)
    assert scale.half_l1(first, second) == 0
    assert scale.wasserstein(first, second) == 0
    apart = [x + 1000.0 for x in values]
    scale, first, second = scale_of(values, apart, rule)
    assert scale.half_l1(first, second) == 1


def test_all_values_equal() -> None:
    scale, first, second = scale_of([3.0] * 5, [3.0] * 8, Bins.FREEDMAN_DIACONIS)
    assert (scale.half_l1(first, second), scale.wasserstein(first, second)) == (0, 0)


def test_groups_are_weighted_by_their_observations() -> None:
    """Group 0 as if alone, group 1 as if alone, then their mean with weights 5 and 4."""
    a, b = [1.0, 2.0, 9.0, 8.0], [1.0, 1.0, 2.0, 9.0, 9.0]
    groups = [0, 0, 1, 1, 0, 0, 0, 1, 1]
    scale, first, second = scale_of(a, b, Bins.VALUES, groups)
    assert scale.half_l1(first, second) == pytest.approx((5 * (1 / 6) + 4 * (1 / 2)) / 9)
    parts = [naive_wasserstein([1, 2], [1, 1, 2]), naive_wasserstein([9, 8], [9, 9])]
    assert scale.wasserstein(first, second) == pytest.approx((5 * parts[0] + 4 * parts[1]) / 9)
    assert scale.shared(first, second) == 1


def test_deciles_bound_the_bins_of_each_group() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=400), rng.normal(0.3, 1, 300)
    groups = np.concatenate([np.arange(400) % 2, np.arange(300) % 2])
    scale, first, second = scale_of(a.tolist(), b.tolist(), Bins.DECILES, groups.tolist())
    parts = []
    for group in (0, 1):
        one, two = a[group::2], b[group::2]
        edges = np.quantile(np.concatenate([one, two]), np.arange(1, 10) / 10)
        cells = [np.searchsorted(edges, x, side="right") for x in (one, two)]
        shares = [np.bincount(c, minlength=10) / len(c) for c in cells]
        parts.append(np.abs(shares[0] - shares[1]).sum() / 2)
    assert scale.half_l1(first, second) == pytest.approx(np.mean(parts))


def test_a_lone_group_counts_in_full_or_not_at_all() -> None:
    a, b, groups = [1.0, 2.0, 1.0], [1.0, 2.0], [0, 0, 1, 0, 0]
    scale, first, second = scale_of(a, b, Bins.VALUES, groups)
    assert scale.half_l1(first, second) == pytest.approx(1 / 5)
    assert scale.wasserstein(first, second) == 0
    assert scale.shared(first, second) == pytest.approx(4 / 5)
    scale, first, second = scale_of(a, b, Bins.VALUES, groups, lone=False)
    assert scale.half_l1(first, second) == 0
    scale, first, second = scale_of([1.0], [1.0], Bins.VALUES, [0, 1], lone=False)
    assert (scale.half_l1(first, second), scale.wasserstein(first, second)) == (None, None)
    assert scale.bootstrap(first, second, np.random.default_rng(0), 5) == (None, None)


@pytest.mark.parametrize("groups", [1, 7])
def test_thin_points_give_the_same_distance_within_a_thousandth(groups: int) -> None:
    rng = np.random.default_rng(2)
    a, b = rng.standard_t(2, 40_000).tolist(), (1.1 * rng.standard_t(2, 30_000)).tolist()
    of = (np.arange(70_000) % groups).tolist()
    exact, thin = (
        scale.wasserstein(first, second) or 0.0
        for scale, first, second in (
            scale_of(a, b, Bins.VALUES, of, thin=how) for how in (False, True)
        )
    )
    assert exact > 0.01
    assert thin == pytest.approx(exact, rel=5e-3, abs=1e-4)


def test_bootstrap_is_that_of_resampled_observations() -> None:
    """Means and spreads of both distances against drawing the observations themselves."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=200), rng.normal(0.5, 1.2, 150)
    scale, first, second = scale_of(a.tolist(), b.tolist(), Bins.FREEDMAN_DIACONIS)
    l1, wasserstein = scale.bootstrap(first, second, np.random.default_rng(0), 400)
    pooled = np.concatenate([a, b])
    edges, deviation = np.histogram_bin_edges(pooled, "fd"), pooled.std(ddof=1)
    naive = []
    for _ in range(400):
        one, two = rng.choice(a, 200), rng.choice(b, 150)
        distance = wasserstein_distance(one / deviation, two / deviation)
        naive.append((naive_l1(one.tolist(), two.tolist(), edges), distance))
    assert l1 is not None and wasserstein is not None
    for drawn, expected in zip((l1, wasserstein), np.array(naive).T, strict=True):
        assert drawn.mean() == pytest.approx(expected.mean(), rel=0.03)
        assert drawn.std() == pytest.approx(expected.std(), rel=0.15)
    again = scale.bootstrap(first, second, np.random.default_rng(0), 400)
    assert np.array_equal(l1, again[0]) and np.array_equal(wasserstein, again[1])


def test_counts_subtract() -> None:
    scale, first, second = scale_of([1.0, 2.0], [2.0, 3.0], Bins.VALUES)
    rest = scale.count(slice(None)) - first
    assert np.array_equal(rest.bins, second.bins)
    assert np.array_equal(rest.points, second.points)


def test_interval_holds_the_distance() -> None:
    samples = np.linspace(0.2, 0.3, 100)
    assert interval(0.1, samples)[0] == 0.1
    low, high = interval(0.25, samples)
    assert 0.2 < low < 0.202 and 0.298 < high < 0.3
