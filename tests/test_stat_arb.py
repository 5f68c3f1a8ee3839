"""Statistical arbitrage: fits of known processes, loops beside it, and where there is money."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_bars import bars_of

import marketsim as ms
from marketsim.data.return_windows import Windows, as_windows
from marketsim.errors import ConfigError, DataError
from marketsim.metrics.risk import course_figures
from marketsim.metrics.stat_arb import (
    ESTIMATION_BARS,
    Floats,
    factor_reconstruction,
    fit_ou,
    scores,
    statistical_arbitrage,
)
from marketsim.metrics.walk_forward import walk_forward

BARS = (
    Path(__file__).parents[1].parent / "shared/data/crypto/binance_spot_1h_2021-12_2024-12.csv.gz"
)


def process(seed: int, n: int, theta: float, mu: float, sigma: float, paths: int = 1) -> Floats:
    """Exact steps of an Ornstein-Uhlenbeck process, [paths, n]."""
    draw = np.random.default_rng(seed).standard_normal((paths, n))
    slope = math.exp(-theta)
    noise = sigma * math.sqrt((1 - slope**2) / (2 * theta))
    found = np.empty((paths, n))
    found[:, 0] = mu + sigma / math.sqrt(2 * theta) * draw[:, 0]
    for step in range(1, n):
        found[:, step] = mu + slope * (found[:, step - 1] - mu) + noise * draw[:, step]
    return found


def market(seed: int, steps: int = 1500, assets: int = 5) -> Floats:
    """Log returns of a common factor that wanders, and of own parts that return to their means."""
    draw = np.random.default_rng(seed)
    own = process(seed, steps + 1, 0.2, 0.0, 0.006, assets).T
    return draw.normal(0, 0.01, (steps, 1)) * np.linspace(0.8, 1.2, assets) + np.diff(own, axis=0)


def sampled(seed: int) -> Windows:
    return as_windows(market(seed, 24 * 200).reshape(200, 24, 5))


def nothing(returns: Floats) -> Floats:
    return np.zeros(returns.shape)


def naive_fit(path: list[float]) -> tuple[float, float, float] | None:
    """The process of one path, by the sums of a regression."""
    x, y = path[:-1], path[1:]
    n = len(x)
    mean_x, mean_y = sum(x) / n, sum(y) / n
    below = sum((a - mean_x) ** 2 for a in x)
    if below == 0:
        return None
    b = sum((a - mean_x) * (c - mean_y) for a, c in zip(x, y, strict=True)) / below
    if not 0 < b < 1:
        return None
    a = mean_y - b * mean_x
    noise = sum((c - a - b * d) ** 2 for c, d in zip(y, x, strict=True)) / n
    theta = -math.log(b)
    return theta, a / (1 - b), math.sqrt(noise * 2 * theta / (1 - b * b))


def naive_arbitrage(returns: Floats, residuals: Floats, fee: float, bars: int) -> list[float]:
    """Wealth bar by bar, each asset's process fitted to the last bars of its own path."""
    assets = returns.shape[1]
    values, money, cash = [1.0], [0.0] * assets, 1.0
    for now in range(bars, len(returns)):  # holds over return number now
        wanted = []
        for asset in range(assets):
            path, total = [], 0.0
            for k in range(now - bars, now):
                total += residuals[k, asset]
                path.append(total)
            fitted, score = naive_fit(path), 0.0
            if fitted:
                theta, mu, sigma = fitted
                score = (path[-1] - mu) / (sigma / math.sqrt(2 * theta))
            wanted.append(-1 / assets if score > 2 else 1 / assets if score < -2 else 0.0)
        wealth = cash + sum(money)
        wealth -= fee * sum(abs(w * wealth - m) for w, m in zip(wanted, money, strict=True))
        money = [w * wealth for w in wanted]
        cash = wealth - sum(money)
        money = [m * math.exp(r) for m, r in zip(money, returns[now], strict=True)]
        values.append(cash + sum(money))
    values[-1] -= fee * sum(abs(m) for m in money)
    return values


# -- processes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("theta", "mu", "sigma"), [(0.1, 2.0, 0.5), (0.7, -1.0, 0.02)])
def test_a_known_process_is_recovered(theta: float, mu: float, sigma: float) -> None:
    paths = process(0, 20_000, theta, mu, sigma, paths=3)
    found = fit_ou(paths)
    np.testing.assert_allclose(found.theta, theta, rtol=0.1)
    np.testing.assert_allclose(found.mu, mu, atol=4 * sigma / theta / math.sqrt(20_000))
    np.testing.assert_allclose(found.sigma, sigma, rtol=0.03)
    deviation = sigma / math.sqrt(2 * theta)
    np.testing.assert_allclose(found.score(np.full(3, mu + 2 * deviation)), 2, atol=0.15)


def test_paths_without_a_mean_have_no_score() -> None:
    draw = np.random.default_rng(0)
    trend = 1.1 ** np.arange(30)  # b above 1
    zigzag = np.tile([1.0, -1.0], 15) + 0.01 * draw.standard_normal(30)  # b below 0
    found = fit_ou(np.stack([trend, zigzag, np.zeros(30)]))
    assert np.isnan(found.theta).all()
    np.testing.assert_array_equal(found.score(np.ones(3)), 0)
    with pytest.raises(DataError, match="values: must be 3 at least for a fit, were 2"):
        fit_ou(np.zeros((4, 2)))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(3, 40))
def test_fits_equal_sums(seed: int, n: int) -> None:
    path = np.cumsum(np.random.default_rng(seed).standard_normal(n)).round(2)
    found, expected = fit_ou(path), naive_fit(path.tolist())
    if expected is None:
        assert np.isnan(found.theta)
    else:
        values = [float(value) for value in (found.theta, found.mu, found.sigma)]
        np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-9)


def test_scores_see_no_future() -> None:
    residuals = market(0, 300)
    before = scores(residuals, 50)
    assert before.shape == (251, 5)
    residuals[200:] = 1.0
    np.testing.assert_array_equal(scores(residuals, 50)[:151], before[:151])


# -- reconstruction -------------------------------------------------------------------------------


def test_reconstruction_takes_out_the_common_factor() -> None:
    returns = market(0)
    left = returns - factor_reconstruction(sampled(7), 1)(returns)
    factor = returns.mean(axis=1)
    before, after = (
        np.abs([np.corrcoef(column, factor)[0, 1] for column in side.T]) for side in (returns, left)
    )
    assert before.min() > 0.7 and after.max() < 0.25
    # a projection: what is reconstructed is so again; of samples that never move nothing is
    rebuilt = factor_reconstruction(sampled(7), 2)
    np.testing.assert_allclose(rebuilt(rebuilt(returns)), rebuilt(returns), atol=1e-12)
    still = factor_reconstruction(as_windows(0 * sampled(7).log_returns), 2)
    np.testing.assert_array_equal(still(returns), 0)
    for factors in (0, 5):
        with pytest.raises(ConfigError, match="factors must be"):
            factor_reconstruction(sampled(7), factors)


# -- trading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fee_bps", [0.0, 3.0])
def test_arbitrage_equals_loops(fee_bps: float) -> None:
    returns = market(1, 220, 5)
    rebuilt = factor_reconstruction(sampled(7), 1)
    found = statistical_arbitrage(bars_of(returns), rebuilt, fee_bps=fee_bps, estimation_bars=60)
    residuals = returns - rebuilt(returns)
    values = np.array(naive_arbitrage(returns, residuals, fee_bps * 1e-4, 60))
    expected = course_figures(values, 365.25 * 24)
    assert np.ptp(values) > 0.001
    names = {"CAGR": "cagr", "Sharpe": "sharpe", "MDD": "max_drawdown", "VaR": "var", "ES": "es"}
    for ours, theirs in names.items():
        assert found[ours] == pytest.approx(expected[theirs], rel=1e-6, abs=1e-9)


def test_figures_by_hand() -> None:
    """Two assets; one is sold at a score above 2 and falls by 10 %, at a weight of a half."""
    wave = np.tile([0.01, -0.01], 10)  # returns to its mean, but with b below 0: no process
    swing = 0.01 * np.cos(np.arange(20) * 0.6)
    swing[-1] = 0.08
    returns = np.column_stack([swing, wave])
    score = scores(returns, 20)[-1]
    assert score[0] > 2 and score[1] == 0
    after = np.log([[0.9, 1.3]])
    found = statistical_arbitrage(bars_of(np.concatenate([returns, after])), nothing,
                                  estimation_bars=20)  # fmt: skip
    assert found["profit"] == pytest.approx(0.05)  # half of what it fell
    assert found["CAGR"] == pytest.approx(1.05 ** (365.25 * 24) - 1)
    assert found["MDD"] == 0 and found["VaR"] == found["ES"] == pytest.approx(-0.05)
    assert found["turnover"] == pytest.approx((0.5 + 0.45 / 1.05) * 365.25 * 24)


def test_money_is_where_residuals_return() -> None:
    real = bars_of(market(3, 2000))
    rebuilt = factor_reconstruction(sampled(7), 1)
    free, paid = (statistical_arbitrage(real, rebuilt, fee_bps=fee) for fee in (0.0, 3.0))
    assert free["Sharpe"] > 3 and free["CAGR"] > 0.1
    assert 0 < paid["profit"] < free["profit"] and paid["turnover"] > 0
    wandering = np.random.default_rng(0).normal(0, 0.01, (2000, 5))
    assert statistical_arbitrage(bars_of(wandering), rebuilt)["Sharpe"] < free["Sharpe"] / 2
    everything = statistical_arbitrage(real, lambda returns: returns)  # leaves no residual
    assert everything["profit"] == everything["turnover"] == 0 and np.isnan(everything["Sharpe"])


def test_arbitrage_that_cannot_be() -> None:
    real = bars_of(market(0, 200))
    with pytest.raises(ConfigError, match="fee_bps must be >= 0, was -1"):
        statistical_arbitrage(real, nothing, fee_bps=-1)
    with pytest.raises(ConfigError, match="threshold must be > 0, was 0"):
        statistical_arbitrage(real, nothing, threshold=0)
    with pytest.raises(ConfigError, match="estimation_bars must be >= 3, was 2"):
        statistical_arbitrage(real, nothing, estimation_bars=2)
    with pytest.raises(DataError, match="bars: must be 122 at least, were 121"):
        statistical_arbitrage(bars_of(market(0, 120)), nothing)
    with pytest.raises(DataError, match="bars: must be of 5 assets, as samples, was 4"):
        statistical_arbitrage(bars_of(market(0, 200, 4)), factor_reconstruction(sampled(0)))
    with pytest.raises(DataError, match=r"reconstruction: must be of shape \[200, 5\], was \[200"):
        statistical_arbitrage(real, lambda returns: returns[:, :1])
    with pytest.raises(DataError, match="reconstruction: must be finite, 1000 are not"):
        statistical_arbitrage(real, lambda returns: returns * np.nan)
    real.close[77, 3] = np.nan
    with pytest.raises(DataError, match=r"bars: A3 has none at 1970-01-04 05:00:00"):
        statistical_arbitrage(real, nothing)


def test_ten_coins() -> None:
    """Fees take more than half a month of it earns, whatever the generator."""
    if not BARS.is_file():
        pytest.skip("the bars are not here")
    bars = ms.read_bars(BARS)
    train, test = next(walk_forward(bars, 500, 15, warm_up_bars=ESTIMATION_BARS + 1))
    model = ms.generators.create("gaussian").fit(train.windows(24, 4))
    rebuilt = factor_reconstruction(model.sample_windows(500))
    free, paid = (statistical_arbitrage(test, rebuilt, fee_bps=fee) for fee in (0.0, 3.0))
    assert paid["profit"] < free["profit"] < 0.02 and paid["CAGR"] < 0
    assert all(np.isfinite(value) for value in free.values())
