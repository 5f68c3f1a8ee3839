"""Risk measures: worked by hand, against loops, against scipy, and on the contest's archive."""

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_strategies import course

import marketsim as ms
from marketsim.backtest import Backtest
from marketsim.data.return_windows import Windows
from marketsim.errors import ConfigError, DataError
from marketsim.ledger import PROTOCOL
from marketsim.metrics import risk
from marketsim.metrics.returns import autocorrelation, autocorrelation_gap
from marketsim.strategies import STRATEGIES, strategy

ARCHIVE = Path(__file__).parents[1].parent / "shared/data/crypto/icaif2024_crypto_24h_logret.npz"


def made(seed: int, n: int = 40, steps: int = 24, assets: int = 2) -> Windows:
    draw = np.random.default_rng(seed)
    returns = draw.standard_t(4, (n, steps, assets)).astype(np.float32) * np.float32(0.01)
    prices = draw.uniform(10, 1000, (n, assets))
    return Windows(returns, prices, np.full(n, -1), tuple("ABC"[:assets]), 3600)


def changed(windows: Windows, log_returns: np.ndarray) -> Windows:
    keys = {**vars(windows), "log_returns": log_returns.astype(np.float32)}
    return Windows(**keys)


def naive_gaps(real: Windows, fake: Windows, names: tuple[str, ...]) -> np.ndarray:
    """The contest's four gaps of each strategy, by loops over windows and times."""
    rows = []
    for name in names:
        first = strategy(name).warm_up
        sides = [
            [course(name, prices, PROTOCOL)["values"][first:].tolist() for prices in side.prices]
            for side in (real, fake)
        ]
        var = es = 0.0
        times = len(sides[0][0])
        for t in range(times):
            low = [sorted(values[t] for values in side) for side in sides]
            at = [math.floor(0.05 * len(each)) for each in low]
            var += abs(low[0][at[0]] - low[1][at[1]]) / times
            means = [sum(each[: k + 1]) / (k + 1) for each, k in zip(low, at, strict=True)]
            es += abs(means[0] - means[1]) / times
        falls = [
            [max(max(v[: t + 1]) - v[t] for t in range(times)) for v in side] for side in sides
        ]
        n = len(sides[0])
        mdd = sum(abs(a - b) for a, b in zip(*falls, strict=True)) / n
        pnl = sum(abs(a[-1] - b[-1]) for a, b in zip(*sides, strict=True)) / n
        rows.append([var, es, mdd, pnl])
    return np.array(rows)


@pytest.mark.parametrize("seed", [0, 1])
def test_gaps_equal_loops(seed: int) -> None:
    real, fake = made(seed), made(seed + 10)
    table = risk.gaps(real, fake, STRATEGIES)
    names = tuple(STRATEGIES)
    assert table.index.tolist() == [*names, "mean"] and tuple(table.columns) == risk.GAPS
    expected = naive_gaps(real, fake, names)
    assert (expected > 0).all()
    np.testing.assert_allclose(table.iloc[:-1, :4], expected, atol=1e-12)
    np.testing.assert_allclose(table.loc["mean"], table.iloc[:-1].mean(axis=0))


def test_measures_by_hand() -> None:
    values = np.array([[1.0, 1.2, 0.9, 1.1], [1.0, 0.8, 0.7, 1.3]])
    np.testing.assert_allclose(risk.max_drawdown(values), [0.3, 0.3])
    np.testing.assert_allclose(risk.profit(values), [1.1, 1.3])
    column = np.arange(40.0)[::-1, None]
    assert risk.value_at_risk(column) == 2  # number 2 from 0 on
    assert risk.expected_shortfall(column) == 1  # mean of 0, 1, 2
    assert risk.value_at_risk(column, alpha=0.0) == 0
    with pytest.raises(ConfigError, match="alpha must be >= 0 and < 1, was 1"):
        risk.value_at_risk(column, alpha=1)
    with pytest.raises(DataError, match="one window at least"):
        risk.expected_shortfall(np.zeros((0, 3)))


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 30), m=st.integers(1, 30))
def test_wasserstein_is_scipys(seed: int, n: int, m: int) -> None:
    draw = np.random.default_rng(seed)
    first, second = draw.normal(size=n).round(1), draw.normal(0.5, 2, size=m).round(1)
    expected = scipy.stats.wasserstein_distance(first, second)
    assert risk.wasserstein(first, second) == pytest.approx(expected, abs=1e-12)


def test_unequal_numbers_have_no_paired_gaps() -> None:
    table = risk.gaps(made(0), made(1, n=30))
    assert table[["MDD", "PnL"]].isna().all(axis=None)
    assert table[["VaR", "ES", "W1 MDD", "W1 PnL"]].notna().all(axis=None)


def test_gaps_that_cannot_be() -> None:
    with pytest.raises(DataError, match=r"fake: must be of shape \[n, 24, 2\], .* \[40, 24, 3\]"):
        risk.gaps(made(0), made(0, assets=3))
    with pytest.raises(ConfigError, match="strategies: must be one or more, was none"):
        risk.gaps(made(0), made(0), [])
    with pytest.raises(ConfigError, match="unknown strategy 'XX'"):
        risk.gaps(made(0), made(0), ["XX"])
    with pytest.raises(ConfigError, match=r"strategies: must be different, was \['MR', 'MR'\]"):
        risk.gaps(made(0), made(0), [strategy("MR"), strategy("MR", window=6)])
    wild = changed(made(0), np.full((40, 24, 2), 100.0))
    with pytest.raises(DataError, match="too large for prices, .* window 0 step 7 .* becomes inf"):
        risk.gaps(made(0), wild)


def test_performance_by_hand() -> None:
    values = np.array([1.0, 1.1, 0.99, 1.089])
    result = Backtest(
        strategy("MR"), PROTOCOL, ("A",), np.arange(4) * 86_400, values, np.zeros((4, 1)),
        np.array([0.2, 0.2, 0.0, 0.4]), np.full(4, 0.001), bars_a_year=8.0,
    )  # fmt: skip
    figures = risk.performance(result)
    returns = np.array([0, 0.1, -0.1, 0.1])
    assert figures.profit == pytest.approx(0.089)
    assert figures.cagr == pytest.approx(1.089**2 - 1)  # four bars are half a year
    assert figures.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1) * math.sqrt(8))
    assert figures.max_drawdown == pytest.approx(0.1)
    assert figures.var == pytest.approx(0.1) and figures.es == pytest.approx(0.1)
    assert figures.turnover == pytest.approx(1.6)
    assert figures.costs == pytest.approx(0.004)
    assert math.isnan(risk.sharpe(np.zeros(5), 8.0))
    assert math.isnan(risk.sharpe(np.diff(1.001 ** np.arange(50.0)) / 1.001 ** np.arange(49), 8.0))
    with pytest.raises(DataError, match="must be > 0 for returns, number 1 was -0.1"):
        risk.simple_returns(np.array([1.0, -0.1]))


# -- the contest's archive ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def archive() -> Windows:
    if not ARCHIVE.is_file():
        pytest.skip("the archive is not here")
    return ms.read_windows(ARCHIVE)


def drawn(windows: Windows, n: int, seed: int) -> Windows:
    return windows.take(np.random.default_rng(seed).integers(len(windows), size=n))


def mean_gaps(real: Windows, past: Windows) -> np.ndarray:
    """Mean over strategies and three draws."""
    return np.mean([risk.gaps(real, drawn(past, len(real), s)).loc["mean"] for s in range(3)], 0)


def test_gaps_published_for_zeros_and_a_bootstrap(archive: Windows) -> None:
    """On the archive's own order, of which the last fifth is held out."""
    train, valid = archive.take(slice(0, 7149)), archive.take(slice(7149, None))
    zeros = risk.gaps(valid, changed(valid, 0 * valid.log_returns)).loc["mean"]
    np.testing.assert_allclose(zeros[["MDD", "PnL"]], [0.0114, 0.0112], atol=2e-4)
    np.testing.assert_allclose(zeros[["W1 MDD", "W1 PnL"]], [0.0114, 0.0111], atol=2e-4)
    bootstrap = mean_gaps(valid, train)
    np.testing.assert_allclose(bootstrap[2:4], [0.0138, 0.0185], atol=4e-4)
    np.testing.assert_allclose(bootstrap[4:], [0.0008, 0.0010], atol=4e-4)
    # the paired gaps prefer zeros; VaR, ES and Wasserstein do not
    assert (zeros[["MDD", "PnL"]] < bootstrap[2:4]).all()
    assert (zeros[["VaR", "ES"]] > 8 * bootstrap[:2]).all()
    assert (zeros[["W1 MDD", "W1 PnL"]] > 8 * bootstrap[4:]).all()


def test_gaps_published_for_a_split_by_time(archive: Windows) -> None:
    train, test = archive.split(0.8, 0.2, unknown="first")
    past = mean_gaps(test, train)
    np.testing.assert_allclose(past[:4], [0.0110, 0.0189, 0.0120, 0.0162], atol=1.5e-3)
    recent = mean_gaps(test, train.take(slice(-len(train) // 5, None)))
    np.testing.assert_allclose(recent[:4], [0.0021, 0.0040, 0.0078, 0.0111], atol=1e-3)


def test_what_rejects_windows_shuffled_in_time(archive: Windows) -> None:
    """Each hour's returns stay together and as they are, but in another order."""
    valid, train = archive.take(slice(7149, None)), archive.take(slice(0, 7149))
    draw = np.random.default_rng(0)
    order = draw.permuted(np.tile(np.arange(24), (len(valid), 1)), axis=1)
    shuffled = changed(valid, np.take_along_axis(valid.log_returns, order[:, :, None], axis=1))
    bootstrap = drawn(train, len(valid), 0)
    found, fair = (risk.gaps(valid, each).loc["mean"] for each in (shuffled, bootstrap))
    # the sums of the returns are the same, and risk gaps see next to nothing of it ...
    assert (found < 2 * fair + 1e-3).all()
    # ... but averaged prices have autocorrelated returns, and these have none
    assert autocorrelation(valid).mean() == pytest.approx(0.46, abs=0.05)
    assert np.abs(autocorrelation(shuffled)).max() < 0.05
    assert autocorrelation_gap(valid, shuffled) > 10 * autocorrelation_gap(valid, bootstrap)
    clusters = [
        autocorrelation_gap(valid, each, 5, absolute=True) for each in (shuffled, bootstrap)
    ]
    assert clusters[0] > 2 * clusters[1]


def test_autocorrelation_of_a_known_process() -> None:
    draw = np.random.default_rng(0)
    noise = draw.normal(0, 0.01, (3000, 25, 2))
    averaged = made(0, n=3000)
    averaged = changed(averaged, noise[:, 1:] + noise[:, :-1])  # lag 1: a half, and no more
    np.testing.assert_allclose(autocorrelation(averaged, 2), [[0.5, 0.5], [0, 0]], atol=0.02)
    zeros = changed(averaged, np.zeros((3000, 24, 2)))
    assert autocorrelation_gap(averaged, zeros) == pytest.approx(0.5, abs=0.02)
    with pytest.raises(DataError, match="must have more than 24 steps, had 24"):
        autocorrelation(averaged, 24)
    with pytest.raises(DataError, match="fake: must have 2 assets, had 3"):
        autocorrelation_gap(averaged, made(0, assets=3))
