"""Bootstrap intervals, bands, variance ratios, power laws: against formulas and known processes."""

import numpy as np
import pytest

from marketsim.metrics.impact import fit_power_law
from marketsim.metrics.paired import ALL_EQUAL, TOO_FEW, band, estimate_mean
from marketsim.metrics.variance_ratio import variance_ratio

RNG = np.random.default_rng


def test_interval_is_about_that_of_student() -> None:
    values = RNG(1).normal(3, 2, 400)
    found = estimate_mean(values.tolist())
    assert found.mean == pytest.approx(values.mean())
    half = 1.96 * values.std(ddof=1) / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert found.excludes_zero and found.note == ""
    assert estimate_mean((values - 3).tolist()).excludes_zero is False


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = RNG(2)
    covered = 0
    for _ in range(60):
        found = estimate_mean(rng.exponential(1.0, 25).tolist())
        assert found.low is not None and found.high is not None
        covered += found.low <= 1 <= found.high
    assert 49 <= covered <= 60  # 95 % of 60, skewed and few: a little less


@pytest.mark.parametrize(
    ("values", "mean", "n", "note"),
    [
        ([2.0], 2.0, 1, TOO_FEW),
        ([2.0, 2.0, 2.0], 2.0, 3, ALL_EQUAL),
        ([None, None], None, 0, "never traded"),
    ],
)
def test_what_has_no_interval_says_why(
    values: list[float | None], mean: float | None, n: int, note: str
) -> None:
    found = estimate_mean(values, "never traded")
    assert (found.mean, found.low, found.high, found.n) == (mean, None, None, n)
    assert found.note == note and found.excludes_zero is None


def test_seeds_without_a_value_are_left_out_and_told() -> None:
    found = estimate_mean([1.0, None, 2.0, 3.0], "never traded")
    assert (found.mean, found.n) == (2.0, 3)
    assert found.note == "1 of 4 seeds have none: never traded"
    assert found.low is not None and found.low > 0.9


def test_band_at_all_times_holds_whole_paths_and_contains_that_of_each_time() -> None:
    rng = RNG(3)
    inside_all = inside_each = 0
    for _ in range(60):
        paths = np.cumsum(rng.normal(0, 1, (30, 50)), axis=1)
        found = band(paths)
        assert found.low is not None and found.high is not None
        assert found.all_low is not None and found.all_high is not None
        assert np.all(found.all_low <= found.low + 1e-9)
        assert np.all(found.high - 1e-9 <= found.all_high)
        inside_all += bool(np.all((found.all_low <= 0) & (found.all_high >= 0)))
        inside_each += bool(np.all((found.low <= 0) & (found.high >= 0)))
    assert inside_all >= 50
    assert inside_each < inside_all  # planted: the narrower band is no band of the path


def test_band_of_equal_or_single_paths() -> None:
    path = np.arange(4.0)
    same = band(np.array([path, path]))
    assert same.all_low is not None and same.all_low.tolist() == path.tolist()
    assert band(path[None]).low is None


def naive_variance_ratio(prices: np.ndarray, q: int) -> tuple[float, float]:
    """Lo & MacKinlay (1988), sums written out."""
    n = len(prices) - 1
    mu = (prices[n] - prices[0]) / n
    sigma_a = sum((prices[k] - prices[k - 1] - mu) ** 2 for k in range(1, n + 1)) / (n - 1)
    m = q * (n - q + 1) * (1 - q / n)
    sigma_c = sum((prices[k] - prices[k - q] - q * mu) ** 2 for k in range(q, n + 1)) / m
    below = sum((prices[k] - prices[k - 1] - mu) ** 2 for k in range(1, n + 1)) ** 2
    theta = 0.0
    for j in range(1, q):
        above = sum(
            (prices[k] - prices[k - 1] - mu) ** 2 * (prices[k - j] - prices[k - j - 1] - mu) ** 2
            for k in range(j + 1, n + 1)
        )
        theta += (2 * (q - j) / q) ** 2 * above / below
    ratio = sigma_c / sigma_a
    return ratio, (ratio - 1) / theta**0.5


@pytest.mark.parametrize("q", [2, 3, 10])
def test_variance_ratio_equals_the_sums_of_the_paper(q: int) -> None:
    prices = np.cumsum(RNG(4).standard_t(4, 200))
    found = variance_ratio(prices, q)
    assert found is not None
    assert (found.ratio, found.z) == pytest.approx(naive_variance_ratio(prices, q))


def test_variance_ratio_of_known_processes() -> None:
    noise = RNG(5).normal(0, 1, 20_000)
    walk = variance_ratio(np.cumsum(noise), 5)
    assert walk is not None and abs(walk.ratio - 1) < 0.05 and abs(walk.z) < 3
    trend = variance_ratio(np.cumsum(noise[1:] + 0.5 * noise[:-1]), 5)
    assert trend is not None and trend.ratio == pytest.approx(1 + 1.6 * 0.4, abs=0.05)
    bounce = variance_ratio(noise, 5)  # its differences undo one another
    assert bounce is not None and bounce.ratio == pytest.approx(0.2, abs=0.02) and bounce.z < -20


def test_variance_ratio_is_not_defined_for_a_constant_or_short_price() -> None:
    assert variance_ratio(np.zeros(100), 2) is None
    assert variance_ratio(np.arange(4.0), 2) is None


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.4])
def test_power_law_is_found_again(exponent: float) -> None:
    rng = RNG(6)
    size = np.array([0.01, 0.05, 0.1, 0.25]) * rng.uniform(0.98, 1.02, (30, 4))
    impact = 20 * size**exponent * rng.lognormal(0, 0.2, (30, 4))
    law = fit_power_law(size, impact)
    assert law.exponent == pytest.approx(exponent, abs=0.06)
    assert law.low is not None and law.high is not None and law.low < exponent < law.high
    assert law.high - law.low < 0.2


def test_power_laws_that_are_none() -> None:
    size = np.array([[0.1, 0.2], [0.1, 0.2]])
    assert "two sizes" in fit_power_law(size[:, :1], size[:, :1]).note
    assert "must be positive" in fit_power_law(size, -size).note
    assert "equal" in fit_power_law(np.full((2, 2), 0.1), size).note
    one = fit_power_law(size[:1], size[:1])
    assert one.exponent == pytest.approx(1) and one.low is None and "two seeds" in one.note
    shaky = np.array([[1.0, 2.0], [-0.9, 2.0], [1.0, 2.0]])
    law = fit_power_law(np.array([[0.1, 0.2]] * 3), shaky)
    assert law.exponent is not None and law.low is None and "not positive" in law.note
