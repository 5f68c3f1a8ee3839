"""Strategies: equal to plain loops, alike in NumPy and torch, and their course worked by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_strategies import RULES, course

from marketsim.backtest import backtest
from marketsim.data.bars import Bars
from marketsim.errors import ConfigError, DataError
from marketsim.ledger import Terms, trade
from marketsim.strategies import HELD_OUT, STRATEGIES, TRAINING, Breakout, strategy


def paths(seed: int, n: int, steps: int, assets: int, volatility: float) -> np.ndarray:
    """Prices that stand still now and then, and that are round numbers now and then: ties."""
    draw = np.random.default_rng(seed)
    returns = draw.normal(0, volatility, (n, steps, assets))
    returns[draw.random((n, steps, assets)) < 0.2] = 0.0
    prices = draw.uniform(0.5, 60_000, (n, 1, assets)) * np.exp(np.cumsum(returns, axis=1))
    return np.where(draw.random((n, 1, assets)) < 0.3, np.ceil(prices), prices)


drawn = {
    "name": st.sampled_from(list(STRATEGIES)),
    "seed": st.integers(0, 2**31),
    "steps": st.integers(14, 40),
    "assets": st.integers(1, 4),
    "volatility": st.sampled_from([0.0, 1e-4, 0.005, 0.03, 0.3]),
}


@settings(max_examples=250, deadline=None)
@given(
    **drawn,
    terms=st.builds(
        Terms,
        capital=st.sampled_from([10_000.0, 3000.0, 5.0]),
        fee_bps=st.sampled_from([0.0, 10.0]),
        slippage_bps=st.sampled_from([0.0, 5.0]),
    ),
)
def test_the_vectorised_course_equals_a_loop(
    name: str, seed: int, steps: int, assets: int, volatility: float, terms: Terms
) -> None:
    prices = paths(seed, 3, steps, assets, volatility)
    ledger = trade(name, prices, terms)
    for window in range(3):
        naive = course(name, prices[window], terms)
        np.testing.assert_array_equal(ledger.units[window], naive["units"])
        for part in ("values", "traded", "costs"):
            np.testing.assert_allclose(
                getattr(ledger, part)[window], naive[part], rtol=1e-11, atol=1e-11
            )


@settings(max_examples=60, deadline=None)
@given(**drawn)
def test_torch_takes_the_same_positions(
    name: str, seed: int, steps: int, assets: int, volatility: float
) -> None:
    prices = paths(seed, 4, steps, assets, volatility)
    ledger = trade(name, prices)
    tensor = torch.from_numpy(prices).requires_grad_()
    theirs = trade(name, tensor)
    np.testing.assert_array_equal(theirs.units.numpy(), ledger.units)
    np.testing.assert_allclose(theirs.values.detach().numpy(), ledger.values, atol=1e-12)


@pytest.mark.parametrize("name", STRATEGIES)
def test_gradients_are_those_of_fixed_positions(name: str) -> None:
    prices = paths(5, 6, 24, 3, 0.01)
    tensor = torch.from_numpy(prices).requires_grad_()
    (gradient,) = torch.autograd.grad(trade(name, tensor).values[:, -1].sum(), tensor)
    units = np.concatenate([np.zeros((6, 1, 3)), trade(name, prices).units], axis=1)
    np.testing.assert_allclose(gradient.numpy(), -np.diff(units, axis=1) / 10_000, atol=1e-15)


def test_mean_reversion_by_hand() -> None:
    prices = np.full((1, 16, 1), 100.0)
    prices[0, 12, 0] = 90.0  # 10 % below the mean of twelve: buys 22.2222 for 1999.998
    prices[0, 13, 0] = 110.0  # mean (11 x 100 + 90) / 12 = 99.1667: sells
    prices[0, 14, 0] = 98.0  # mean 100: buys 20.4081 for 1999.9938
    prices[0, 15, 0] = 99.0  # closes
    ledger = trade("mr", prices)
    np.testing.assert_allclose(ledger.units[0, 11:, 0], [0, 22.2222, 0, 20.4081, 0])
    gain = 22.2222 * 20
    np.testing.assert_allclose(
        ledger.trading_values[0] * 10_000,
        [10_000, 10_000, 10_000 + gain, 10_000 + gain, 10_000 + gain + 20.4081],
    )
    np.testing.assert_allclose(
        ledger.traded[0, 12:] * 10_000, [1999.998, 2444.442, 1999.9938, 2020.4019]
    )


def test_a_purchase_is_one_lot_at_least() -> None:
    prices = np.full((1, 15, 1), 1e9)
    prices[0, 12:14] = 0.9e9  # 2,000 buy less than a lot: it takes one, which costs 90,000
    prices[0, 14] = 1e9
    ledger = trade("MR", prices)
    np.testing.assert_allclose(ledger.units[0, 12:14, 0], [1e-4, 2e-4])
    assert ledger.values[0, -1] * 10_000 == pytest.approx(10_000 + 2e-4 * 1e8)


def test_equal_weight_has_25_points() -> None:
    prices = paths(1, 5, 24, 3, 0.01)
    expected = np.concatenate([np.ones((5, 1)), (prices / prices[:, :1]).mean(axis=2)], axis=1)
    np.testing.assert_allclose(trade("EW", prices).trading_values, expected, rtol=1e-12)
    assert trade("TF", prices).trading_values.shape == (5, 13)


def test_costs_are_what_wealth_lacks() -> None:
    prices = paths(2, 50, 24, 2, 0.02)
    free, dear = trade("VT", prices), trade("VT", prices, Terms(fee_bps=100))
    assert free.costs.max() == 0 and dear.costs.min() >= 0
    held = np.abs(free.units[:, :-1] - dear.units[:, :-1]).max(axis=(1, 2))
    assert held.max() > 0  # a fee leaves less to buy with
    np.testing.assert_allclose(dear.costs, 0.01 * dear.traded, rtol=1e-9, atol=1e-15)


def test_names() -> None:
    assert set(TRAINING) | set(HELD_OUT) == set(STRATEGIES)
    assert strategy("bo", window=6) == Breakout(6)
    assert strategy(Breakout(6)) == Breakout(6)
    with pytest.raises(ConfigError, match="unknown strategy None"):
        strategy(None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"unknown strategy 'mre' \(did you mean 'MR'\?\)"):
        strategy("mre")
    with pytest.raises(ConfigError, match="strategy MR: unknown key 'windw'.*'window'"):
        strategy("MR", windw=3)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("MR", {"window": 1}, "window must be >= 2, was 1"),
        ("MR", {"threshold": 1.0}, "threshold must be >= 0 and < 1, was 1.0"),
        ("TF", {"short": 12}, "long must be >= 13, was 12"),
        ("VT", {"lower": 0.5}, "lower must be >= 0 and < upper 0.4, was 0.5"),
        ("VT", {"bars_a_year": 0}, "bars_a_year must be > 0, was 0"),
        ("RSI", {"low": 80}, "low must be >= 0 and < high"),
    ],
)
def test_parameters_out_of_range(name: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        strategy(name, **parameters)


def test_prices_that_are_none() -> None:
    with pytest.raises(DataError, match="MR needs 14 steps, had 13"):
        trade("MR", np.ones((2, 13, 1)))
    with pytest.raises(DataError, match=r"must be of shape \[n, T, d\], was \[20, 1\]"):
        trade("MR", np.ones((20, 1)))
    with pytest.raises(DataError, match="must be a NumPy array or a tensor, was list"):
        trade("MR", [[[1.0]]])
    for field in ("capital", "max_buy", "lot"):
        with pytest.raises(ConfigError, match=f"{field} must be > 0, was 0"):
            Terms(**{field: 0})
    with pytest.raises(ConfigError, match="fee_bps must be >= 0, was -1"):
        Terms(fee_bps=-1)


# -- over bars ------------------------------------------------------------------------------------


def bars(close: np.ndarray) -> Bars:
    times = 1704067200 + 3600 * np.arange(len(close))
    return Bars(times, ("A", "B"), close, close, close, close, np.ones_like(close), 3600)


@pytest.mark.parametrize("name", [*RULES, "EW"])
def test_a_backtest_equals_the_loop(name: str) -> None:
    close, terms = paths(7, 1, 150, 2, 0.01)[0], Terms(fee_bps=8, slippage_bps=2)
    result, naive = backtest(bars(close), name, terms=terms), course(name, close, terms)
    np.testing.assert_allclose(result.values, naive["values"][1:])
    np.testing.assert_array_equal(result.units, naive["units"])
    assert result.table.shape == (150, 5)
    assert result.table["costs"].sum() == pytest.approx(naive["costs"].sum())
    assert result.bars_a_year == pytest.approx(8766)


def test_a_backtest_over_a_gap_is_refused() -> None:
    close = paths(7, 1, 30, 2, 0.01)[0]
    close[4, 1] = np.nan
    message = "B has none at 2024-01-01 04:00:00 .1 are missing.: choose a part without gaps"
    with pytest.raises(DataError, match=message):
        backtest(bars(close), "MR")
    assert backtest(bars(close), "MR", assets=["A"]).symbols == ("A",)
