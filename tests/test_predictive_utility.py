"""Forecasts from generated returns on real bars: folds, features, measures and portfolios."""

import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from made_bars import bars_of

import marketsim as ms
from marketsim.data.return_windows import as_windows
from marketsim.errors import ConfigError, DataError
from marketsim.metrics.alphas import FEATURES, LOOKBACK, alphas
from marketsim.metrics.predictive_utility import (
    forecast_quality,
    portfolios,
    predictive_utility,
    rank_correlation,
)
from marketsim.metrics.rebalancing import rebalance
from marketsim.metrics.walk_forward import walk_forward

BARS = (
    Path(__file__).parents[1].parent / "shared/data/crypto/binance_spot_1h_2021-12_2024-12.csv.gz"
)


def returns(seed: int, steps: int = 600, assets: int = 5, follows: float = 0.0) -> np.ndarray:
    """Log returns [steps, assets], each in part that of the step before."""
    found = np.random.default_rng(seed).normal(0, 0.01, (steps, assets))
    for step in range(1, steps):
        found[step] += follows * found[step - 1]
    return found


# -- folds ----------------------------------------------------------------------------------------


def test_folds_follow_each_other_in_time() -> None:
    bars = bars_of(returns(0, 24 * 10))
    folds = list(walk_forward(bars, 4, 2, warm_up_bars=5))
    assert len(folds) == 3
    for number, (train, test) in enumerate(folds):
        first = 48 * number
        np.testing.assert_array_equal(train.time_s, bars.time_s[first : first + 96])
        np.testing.assert_array_equal(test.time_s, bars.time_s[first + 91 : first + 144])
        np.testing.assert_array_equal(test.close, bars.close[first + 91 : first + 144])


def test_folds_with_gaps_and_folds_that_cannot_be() -> None:
    bars = bars_of(returns(0, 24 * 10))
    bars.close[150, 2] = np.nan  # in the test of the second fold, and the training of the third
    with pytest.raises(DataError, match="bars: A2 has none at 1970-01-07 06:00:00"):
        list(walk_forward(bars, 4, 2))
    starts = [int(test.time_s[0]) // 3600 for _, test in walk_forward(bars, 4, 2, gaps="skip")]
    assert starts == [96, 192]
    with pytest.raises(DataError, match="too few for a fold of 9 days to learn and 2 to test"):
        walk_forward(bars, 9, 2)
    with pytest.raises(ConfigError, match="train_days must be > 0, was 0"):
        walk_forward(bars, 0, 2)
    with pytest.raises(DataError, match="warm_up_bars: must be <= the 96 bars of training, 97"):
        walk_forward(bars, 4, 2, warm_up_bars=97)
    with pytest.raises(ConfigError, match="gaps must be one of refuse, skip"):
        walk_forward(bars, 4, 2, gaps="fill")


# -- features -------------------------------------------------------------------------------------


def naive_alphas(path: list[list[float]]) -> list[list[float]]:
    """Features after the last of these returns, by asset, from their definitions."""
    found = []
    count = len(path[0])
    for asset in range(count):
        r = [row[asset] for row in path][-12:]
        prices = [sum(r[: k + 1]) for k in range(12)]
        mean, short = sum(prices) / 12, sum(prices[-3:]) / 3
        band = (sum((p - mean) ** 2 for p in prices) / 12) ** 0.5
        gains, moves = sum(x for x in r if x > 0), sum(abs(x) for x in r)
        centre = sum(r) / 12
        totals = [sum(row[other] for row in path[-12:]) for other in range(count)]
        found.append([
            r[-1], sum(r[-3:]), sum(r[-6:]), sum(r), mean - prices[-1],
            (prices[-1] - mean) / band if band else 0.0, band, gains / moves if moves else 0.5,
            short - mean, (sum((x - centre) ** 2 for x in r) / 12) ** 0.5,
            r[-1] - sum(path[-1]) / count, totals[asset] - sum(totals) / count,
        ])  # fmt: skip
    return found


def test_features_equal_loops_and_see_no_future() -> None:
    windows = np.stack([returns(seed, 20, 3) for seed in range(4)])
    windows[3] = 0.0
    found = alphas(windows)
    assert found.shape == (4, 20 - LOOKBACK + 1, 3, len(FEATURES))
    for window in range(4):
        for time in range(found.shape[1]):
            seen = windows[window, : time + LOOKBACK].tolist()
            np.testing.assert_allclose(found[window, time], naive_alphas(seen), atol=1e-13)
    changed = windows.copy()
    changed[:, 15:] = 1.0
    np.testing.assert_array_equal(alphas(changed)[:, :4], found[:, :4])  # up to 15 returns


# -- portfolios and fees --------------------------------------------------------------------------


def naive_rebalance(
    weights: np.ndarray, moves: np.ndarray, fee: float
) -> tuple[list[float], float]:
    """Money by asset and cash, bar by bar."""
    values, money, cash, turnover = [1.0], [0.0] * weights.shape[1], 1.0, 0.0
    for row, move in zip(weights.tolist(), moves.tolist(), strict=True):
        wealth = cash + sum(money)
        traded = sum(abs(w * wealth - m) for w, m in zip(row, money, strict=True))
        wealth_after = wealth - fee * traded  # the fee is paid before holdings are sized
        turnover += traded / wealth
        money = [w * wealth_after for w in row]
        cash = wealth_after - sum(money)
        money = [m * (1 + r) for m, r in zip(money, move, strict=True)]
        values.append(cash + sum(money))
    closing = sum(abs(m) for m in money)
    values[-1] -= fee * closing
    return values, turnover + closing / (cash + sum(money))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    m=st.integers(1, 12),
    d=st.integers(1, 4),
    fee=st.sampled_from([0, 3, 50]),
)
def test_rebalancing_equals_loops(seed: int, m: int, d: int, fee: int) -> None:
    draw = np.random.default_rng(seed)
    weights = draw.uniform(-0.6, 0.6, (m, d)) * draw.integers(0, 2, (m, d))
    moves = draw.uniform(-0.1, 0.1, (m, d))
    values, turnover = rebalance(weights, moves, fee)
    expected, traded = naive_rebalance(weights, moves, fee * 1e-4)
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    assert turnover == pytest.approx(traded, rel=1e-12)
    free, _ = rebalance(weights, moves, 0)
    assert (values <= free).all() and (fee == 0 or not weights.any() or values[-1] < free[-1])


def test_rebalancing_by_hand() -> None:
    # all into an asset that gains 10 %, with 1 %: pays .01, and .01 of 1.089 to sell it
    values, turnover = rebalance(np.ones((1, 1)), np.array([[0.1]]), 100)
    np.testing.assert_allclose(values, [1, 0.99 * 1.1 * 0.99])
    assert turnover == 2
    with pytest.raises(ConfigError, match="fee_bps must be >= 0, was -1"):
        rebalance(np.ones((1, 1)), np.zeros((1, 1)), -1)
    with pytest.raises(DataError, match="all of it is lost at bar 1"):
        rebalance(-np.ones((2, 1)), np.array([[0.0], [1.0]]))


def test_portfolios_by_hand() -> None:
    forecast = np.array([[3.0, -1.0, 2.0, 0.0, -4.0, 1.0, -2.0, -3.0, 5.0, 4.0]])
    found = portfolios(forecast)
    csm, lotq = np.zeros(10), np.zeros(10)
    csm[8], csm[4] = 1, -1
    lotq[[8, 9]] = 0.5
    np.testing.assert_array_equal(found["CSM"], [csm])
    np.testing.assert_array_equal(found["LOTQ"], [lotq])
    np.testing.assert_allclose(found["PW"], np.maximum(forecast, 0) / 15)
    assert not portfolios(-np.ones((2, 3)))["PW"].any()


# -- forecasts ------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), d=st.integers(2, 8))
def test_rank_correlation_is_scipys(seed: int, d: int) -> None:
    draw = np.random.default_rng(seed)
    first, second = draw.integers(0, 4, (2, 5, d)).astype(float)  # many are equal
    for ours, theirs, found in zip(first, second, rank_correlation(first, second), strict=True):
        if np.ptp(ours) == 0 or np.ptp(theirs) == 0:
            assert found == 0
        else:
            assert found == pytest.approx(scipy.stats.spearmanr(ours, theirs).statistic, abs=1e-12)


def test_perfect_and_worthless_forecasts() -> None:
    real = returns(0)
    perfect = forecast_quality(real, real)
    assert perfect["MSE"] == perfect["MAE"] == 0 and perfect["IC"] == pytest.approx(1)
    assert np.isnan(perfect["IR"])  # it is 1 at each time
    wrong = forecast_quality(-real, real)
    assert wrong["IC"] == pytest.approx(-1) and wrong["MAE"] == pytest.approx(
        2 * np.abs(real).mean()
    )
    best, worst = np.expm1(real).max(axis=1), np.expm1(real).min(axis=1)
    assert perfect["CSM"] == pytest.approx(np.prod(1 + best - worst) - 1)
    assert perfect["LOTQ"] == pytest.approx(np.prod(1 + best) - 1)
    noise = forecast_quality(returns(1), real)
    assert abs(noise["IC"]) < 4 / np.sqrt(600 * 4)  # Spearman's variance is 1 / (d - 1)
    each = rank_correlation(returns(1), real)
    assert noise["IR"] == pytest.approx(each.mean() / each.std(ddof=1))
    paid = forecast_quality(returns(1), real, fee_bps=3)
    assert all(paid[name] < noise[name] for name in ("CSM", "LOTQ", "PW"))
    assert all(paid[name] == noise[name] for name in ("MSE", "MAE", "IC", "IR"))
    still = forecast_quality(0 * real, real)
    assert still["IC"] == still["PW"] == 0 and np.isnan(still["IR"])


def test_what_is_learned_from_generated_returns_holds_on_bars() -> None:
    test = bars_of(returns(0, 400, follows=-0.5))
    alike = as_windows(np.stack([returns(9 + i, 24, follows=-0.5) for i in range(200)]))
    other = as_windows(np.stack([returns(9 + i, 24, follows=0.5) for i in range(200)]))
    good, bad = (predictive_utility(fake, test) for fake in (alike, other))
    best = forecast_quality(-0.5 * np.diff(np.log(test.close), axis=0)[11:-1], 
                            np.diff(np.log(test.close), axis=0)[12:])  # fmt: skip
    assert best["IC"] > good["IC"] > 0.75 * best["IC"] and bad["IC"] < -0.75 * best["IC"]
    assert good["MSE"] < bad["MSE"] and good["CSM"] > 0 > bad["CSM"]
    path = predictive_utility(returns(5, 3000, follows=-0.5), test)  # one long path
    assert path["IC"] > 0.75 * best["IC"]
    assert predictive_utility(alike, test) == good
    still = predictive_utility(as_windows(0 * alike.log_returns), test)
    assert still["IC"] == 0


def test_the_rows_that_trees_take_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from marketsim.metrics import predictive_utility as module

    test = bars_of(returns(0, 60, follows=-0.5))
    fake = as_windows(np.stack([returns(9 + i, 24, follows=-0.5) for i in range(80)]))
    monkeypatch.setattr(module, "MOST_ROWS", 1_000)
    first, again, other = (predictive_utility(fake, test, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_utility_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    test, fake = bars_of(returns(0, 100)), as_windows(returns(1, 24)[None])
    with pytest.raises(DataError, match="fake: must have 5 assets, had 4"):
        predictive_utility(as_windows(returns(1, 24, 4)[None]), test)
    with pytest.raises(DataError, match="fake: must have more than 12 steps, had 12"):
        predictive_utility(as_windows(returns(1, 12)[None]), test)
    with pytest.raises(DataError, match="bars: must be 14 at least, were 13"):
        predictive_utility(fake, bars_of(returns(0, 12)))
    with pytest.raises(ConfigError, match="fee_bps must be >= 0, was -3"):
        predictive_utility(fake, test, fee_bps=-3)
    with pytest.raises(DataError, match="of 2 assets at least, was of 1"):
        predictive_utility(as_windows(returns(1, 24, 1)[None]), bars_of(returns(0, 100, 1)))
    with pytest.raises(DataError, match=r"forecast: must be of shape \[4, 5\]"):
        forecast_quality(np.zeros((3, 5)), np.zeros((4, 5)))
    gap = bars_of(returns(0, 100))
    gap.close[7, 1] = np.nan
    with pytest.raises(DataError, match=r"bars: A1 has none at 1970-01-01 07:00:00 \(1 are"):
        predictive_utility(fake, gap)
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(DataError, match=r"pip install 'marketsim-lob\[stats\]'"):
        predictive_utility(fake, test)


def test_ten_coins() -> None:
    """Hours reverse a little, relative to other coins; what was learned earlier sees it later."""
    if not BARS.is_file():
        pytest.skip("the bars are not here")
    bars = ms.read_bars(BARS)
    train, test = next(walk_forward(bars, 500, 30, warm_up_bars=LOOKBACK))
    found = predictive_utility(train.windows(24, 4), test)
    assert found["IC"] > 0.02 and found["IR"] > 0.05
    truth = np.diff(np.log(test.close), axis=0)[LOOKBACK:]
    assert len(truth) == 30 * 24 - 1
    assert found["MAE"] == pytest.approx(np.abs(truth).mean(), rel=0.05)
