"""Measures of returns: by hand, against scipy, and what each of them rejects."""

import numpy as np
import pytest
import scipy.stats

from marketsim.data.return_windows import Windows, as_windows
from marketsim.errors import DataError
from marketsim.metrics.returns import (
    correlation_gap,
    cross_correlation,
    kl_divergence,
    moment_gaps,
)


def made(seed: int, n: int = 300, assets: int = 3, shared: float = 0.8) -> Windows:
    """Returns with fat tails that hang together across assets."""
    draw = np.random.default_rng(seed)
    common, own = draw.standard_t(5, (n, 24, 1)), draw.standard_t(5, (n, 24, assets))
    return as_windows((0.01 * (shared * common + np.sqrt(1 - shared**2) * own)).astype(np.float32))


def test_moments_are_scipys() -> None:
    real, fake = made(0), as_windows(np.exp(made(1).log_returns * 30) * 0.01)
    found = moment_gaps(real, fake)
    ours, theirs = (side.log_returns.reshape(-1, 3).astype(np.float64) for side in (real, fake))
    assert found["std ratio"] == pytest.approx((theirs.std(0) / ours.std(0)).mean())
    for name, measure in (("skew", scipy.stats.skew), ("kurtosis", scipy.stats.kurtosis)):
        assert found[name] == pytest.approx(np.abs(measure(ours) - measure(theirs)).mean())


def test_of_windows_with_themselves_nothing_differs() -> None:
    real = made(0)
    assert moment_gaps(real, real) == {"std ratio": 1.0, "skew": 0.0, "kurtosis": 0.0}
    assert correlation_gap(real, real) == 0
    assert kl_divergence(real, real) == 0


def test_no_movement_is_seen() -> None:
    real = made(0)
    still = as_windows(0 * real.log_returns)
    tails = np.abs(scipy.stats.kurtosis(real.log_returns.reshape(-1, 3))).mean()
    found = moment_gaps(real, still)
    assert found["std ratio"] == 0 and found["kurtosis"] == pytest.approx(tails, rel=1e-3)
    pairs = cross_correlation(real)[np.triu_indices(3, 1)]
    assert correlation_gap(real, still) == pytest.approx(np.abs(pairs).mean())
    assert kl_divergence(real, still) > 100 * kl_divergence(real, made(1))


def test_correlation_across_assets() -> None:
    real = made(0, shared=0.8)
    expected = np.corrcoef(real.log_returns.reshape(-1, 3).T.astype(np.float64))
    np.testing.assert_allclose(cross_correlation(real), expected, atol=1e-12)
    assert correlation_gap(real, made(1, shared=0.8)) < 0.03
    # assets drawn one by one: the correlation of 0.64 is lost
    assert correlation_gap(real, made(1, shared=0.0)) == pytest.approx(0.64, abs=0.04)
    assert correlation_gap(made(0, assets=1), made(1, assets=1)) == 0


def test_divergence_of_known_distributions() -> None:
    """Of a normal from one of twice the spread, in bins of as much of the first."""
    draw = np.random.default_rng(0)
    first, second = (
        as_windows(draw.normal(0, scale, (4000, 24, 1)).astype(np.float32)) for scale in (1, 2)
    )
    edges = scipy.stats.norm.ppf(np.arange(51) / 50)
    expected = -np.log(np.diff(scipy.stats.norm.cdf(edges / 2)) * 50).mean()
    assert 0.28 < expected < np.log(2) + 1 / 8 - 1 / 2  # what bins lose
    assert kl_divergence(first, second) == pytest.approx(expected, abs=0.01)


def test_measures_that_cannot_be() -> None:
    for measure in (moment_gaps, correlation_gap, kl_divergence):
        with pytest.raises(DataError, match="fake: must have 3 assets, had 2"):
            measure(made(0), made(0, assets=2))
        still = made(0).log_returns.copy()
        still[:, :, 1] = 0.01
        with pytest.raises(DataError, match="real: returns of asset 2 must vary"):
            measure(as_windows(still), made(1))
