"""How returns are distributed, and how they hang together in time and across assets."""

import numpy as np
from numpy.typing import NDArray

from marketsim.checks import integer
from marketsim.data.return_windows import Windows
from marketsim.errors import DataError

Floats = NDArray[np.float64]

#: Bins of a histogram, each of which holds as many of the real returns.
BINS = 50


def autocorrelation(windows: Windows, lags: int = 1, *, absolute: bool = False) -> Floats:
    """Autocorrelation of each asset's returns within windows, at lags 1 to ``lags``.

    Covariance and variance are those of all windows together, about one mean: single windows are
    too short for their own. 0 where an asset's returns do not vary.

    Parameters
    ----------
    absolute : of absolute returns instead, which shows whether volatility clusters

    Returns
    -------
    float64[lags, d]

    Raises
    ------
    ConfigError
        For lags < 1.
    DataError
        If windows are not longer than the lags.
    """
    integer("lags", lags, 1)
    if windows.steps <= lags:
        raise DataError(f"windows: must have more than {lags} steps, had {windows.steps}")
    values = windows.log_returns.astype(np.float64)
    values = np.abs(values) if absolute else values
    values -= values.mean(axis=(0, 1))
    variance = (values**2).mean(axis=(0, 1))
    shared = [(values[:, lag:] * values[:, :-lag]).mean(axis=(0, 1)) for lag in range(1, lags + 1)]
    found = np.zeros((lags, len(variance)))
    np.divide(shared, variance, out=found, where=variance > 0)
    return found


def autocorrelation_gap(
    real: Windows, fake: Windows, lags: int = 1, *, absolute: bool = False
) -> float:
    """Mean absolute difference of :func:`autocorrelation` over lags and assets.

    Raises
    ------
    ConfigError, DataError
        As there, and if the number of assets differs.
    """
    ours, theirs = (autocorrelation(side, lags, absolute=absolute) for side in (real, fake))
    if ours.shape != theirs.shape:
        raise DataError(f"fake: must have {ours.shape[1]} assets, had {theirs.shape[1]}")
    return float(np.abs(ours - theirs).mean())


def moment_gaps(real: Windows, fake: Windows) -> dict[str, float]:
    """How the marginal distributions of returns differ in spread, lean and tails.

    Returns of all windows and steps are taken together, by asset.

    Returns
    -------
    dict
        ``std ratio``: mean over assets of the generated standard deviation by the real one, 1 is
        as real; ``skew``, ``kurtosis``: mean over assets of the absolute difference of skewness and
        of excess kurtosis, which are taken as 0 where generated returns do not vary.

    Raises
    ------
    DataError
        If the number of assets differs, or real returns do not vary.
    """
    _refuse_unlike(real, fake)
    (skew, kurtosis, deviation), (other_skew, other_kurtosis, other_deviation) = (
        _moments(side) for side in (real, fake)
    )
    return {
        "std ratio": float((other_deviation / deviation).mean()),
        "skew": float(np.abs(skew - other_skew).mean()),
        "kurtosis": float(np.abs(kurtosis - other_kurtosis).mean()),
    }


def cross_correlation(windows: Windows) -> Floats:
    """Correlation of assets' returns at the same step, float64[d, d]; 0 with one that is still."""
    values, deviation = _standardised(windows)
    found: Floats = values.T @ values / len(values)
    np.fill_diagonal(found, (deviation > 0).astype(np.float64))
    return found


def correlation_gap(real: Windows, fake: Windows) -> float:
    """Mean absolute difference of :func:`cross_correlation` over pairs of assets; 0 for one asset.

    Raises
    ------
    DataError
        If the number of assets differs, or real returns do not vary.
    """
    _refuse_unlike(real, fake)
    pairs = np.triu_indices(len(real.symbols), k=1)
    if not len(pairs[0]):
        return 0.0
    return float(np.abs(cross_correlation(real) - cross_correlation(fake))[pairs].mean())


def kl_divergence(real: Windows, fake: Windows) -> float:
    """Kullback-Leibler divergence of generated returns from real ones, mean over assets [nats].

    Of histograms by asset whose :data:`BINS` bins are bounded by the quantiles of the real
    returns, with half a return added to each bin, so that an empty one costs much and not all.
    0 where both are alike.

    Raises
    ------
    DataError
        If the number of assets differs, or real returns do not vary.
    """
    _refuse_unlike(real, fake)
    total, assets = 0.0, len(real.symbols)
    for asset in range(assets):
        ours, theirs = (side.log_returns[:, :, asset].ravel() for side in (real, fake))
        edges = np.unique(np.quantile(ours, np.arange(1, BINS) / BINS))
        shares = []
        for values in (ours, theirs):
            cells = np.searchsorted(edges, values, side="right")
            counts = np.bincount(cells, minlength=len(edges) + 1) + 0.5
            shares.append(counts / counts.sum())
        total += float((shares[0] * np.log(shares[0] / shares[1])).sum())
    return total / assets


def spread(windows: Windows, name: str) -> Floats:
    """Standard deviation of each asset's returns, float64[d], all above 0.

    Raises
    ------
    DataError
        If an asset's returns are all the same; ``name`` is what the windows are called there.
    """
    still = np.ptp(windows.log_returns, axis=(0, 1)) == 0
    if still.any():
        asset = windows.symbols[int(np.flatnonzero(still)[0])]
        raise DataError(f"{name}: returns of {asset} must vary, all are the same")
    return np.asarray(windows.log_returns.std(axis=(0, 1), dtype=np.float64))


def _moments(windows: Windows) -> tuple[Floats, Floats, Floats]:
    """Skewness, excess kurtosis and standard deviation of each asset's returns, float64[d]."""
    values, deviation = _standardised(windows)
    normal = np.where(deviation > 0, 3.0, 0.0)
    return (values**3).mean(axis=0), (values**4).mean(axis=0) - normal, deviation


def _standardised(windows: Windows) -> tuple[Floats, Floats]:
    """Returns [n T, d] less their mean by their deviation [d]; 0 where they do not vary."""
    values = windows.log_returns.reshape(-1, len(windows.symbols)).astype(np.float64)
    deviation = np.where(np.ptp(values, axis=0) > 0, values.std(axis=0), 0.0)
    scaled = np.zeros(values.shape)
    np.divide(values - values.mean(axis=0), deviation, out=scaled, where=deviation > 0)
    return scaled, deviation


def _refuse_unlike(real: Windows, fake: Windows) -> None:
    if len(fake.symbols) != len(real.symbols):
        raise DataError(f"fake: must have {len(real.symbols)} assets, had {len(fake.symbols)}")
    spread(real, "real")
