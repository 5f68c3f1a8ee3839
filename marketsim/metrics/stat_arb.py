"""Statistical arbitrage on what a generator does not explain of real returns.

What a generator knows of the market is a reconstruction of real returns; what is left of them, the
residual, is traded as if it returned to its mean. A generator that knows the common factors leaves
residuals that do; one that does not leaves the market itself, which does not.

References
----------
Avellaneda & Lee (2010), Statistical arbitrage in the US equities market, Quantitative Finance
10(7), sections 2 and 4 and the appendix.
CTBench (2025), a benchmark of time series generation for cryptocurrency markets: its statistical
arbitrage task.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marketsim.checks import at_least_zero, integer, positive
from marketsim.data.bars import Bars
from marketsim.data.return_windows import Windows
from marketsim.errors import ConfigError, DataError
from marketsim.metrics.rebalancing import rebalance
from marketsim.metrics.risk import course_figures

Floats = NDArray[np.float64]
#: Log returns [m, d] to what a generator makes of them, [m, d].
Reconstruction = Callable[[Floats], Floats]

#: Bars that each fit looks back on: five days of hours.
ESTIMATION_BARS = 120
THRESHOLD = 2.0
YEAR_S = 365.25 * 86_400


def factor_reconstruction(samples: Windows, factors: int = 3) -> Reconstruction:
    """Projection of returns on the linear factors of a generator's samples.

    Any generator can be given it, also one that can only be sampled: the factors are the first
    principal components of the sampled returns of all steps, each asset's by its sampled standard
    deviation. An autoencoder's own reconstruction can stand in its place.

    Parameters
    ----------
    samples : of the assets, in their order, that will be traded
    factors : how many, fewer than assets, as all would leave no residual; directions in which
        samples do not vary are left out

    Raises
    ------
    ConfigError
        For factors < 1, or as many as assets or more.
    """
    assets = len(samples.symbols)
    if integer("factors", factors, 1) >= assets:
        raise ConfigError(f"factors must be < the {assets} assets, was {factors}")
    values = samples.log_returns.reshape(-1, assets).astype(np.float64)
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    standard = (values - mean) / deviation
    variances, directions = np.linalg.eigh(standard.T @ standard / len(standard))
    kept = directions[:, -factors:][:, variances[-factors:] > 1e-12]  # (d, factors)
    projection = kept @ kept.T

    def reconstruct(returns: Floats) -> Floats:
        if returns.shape[1:] != (assets,):
            raise DataError(f"bars: must be of {assets} assets, as samples, was {returns.shape[1]}")
        found: Floats = (returns - mean) / deviation @ projection * deviation + mean
        return found

    return reconstruct


@dataclass(frozen=True, eq=False)
class OrnsteinUhlenbeck:
    """``dX = theta (mu - X) dt + sigma dW``, time in steps; arrays of one shape.

    Attributes
    ----------
    theta : speed of return to the mean [1 / step]
    mu : the mean
    sigma : volatility [per square root of a step]
    """

    theta: Floats
    mu: Floats
    sigma: Floats

    def score(self, values: Floats) -> Floats:
        """Distance from the mean in stationary deviations: ``(x - mu) / (sigma / sqrt(2 theta))``.

        Parameters
        ----------
        values : of the process's shape

        Returns
        -------
        float64, 0 where there is no process
        """
        spread = self.sigma / np.sqrt(2 * self.theta)
        found: Floats = np.zeros(np.shape(values))
        np.divide(values - self.mu, spread, out=found, where=spread > 0)  # NaN is not > 0
        return found


def fit_ou(values: Floats) -> OrnsteinUhlenbeck:
    """Processes of paths along the last axis, float64[..., n], n >= 3, by least squares.

    Sampled at equal times a process is an autoregression of order 1, ``X' = a + b X + e``, with
    ``theta = -log b``, ``mu = a / (1 - b)`` and ``sigma^2 = var(e) 2 theta / (1 - b^2)``. NaN where
    b is not between 0 and 1: such a path returns to no mean.

    Raises
    ------
    DataError
        For paths of less than three values.
    """
    if values.shape[-1] < 3:
        raise DataError(f"values: must be 3 at least for a fit, were {values.shape[-1]}")
    before, after = values[..., :-1], values[..., 1:]
    ours, theirs = (side - side.mean(axis=-1, keepdims=True) for side in (before, after))
    variance = (ours**2).sum(axis=-1)
    slope = np.full(variance.shape, np.nan)
    np.divide((ours * theirs).sum(axis=-1), variance, out=slope, where=variance > 0)
    slope = np.where((slope > 0) & (slope < 1), slope, np.nan)
    intercept = after.mean(axis=-1) - slope * before.mean(axis=-1)
    noise = ((theirs - slope[..., None] * ours) ** 2).mean(axis=-1)
    theta = -np.log(slope)
    sigma = np.sqrt(noise * 2 * theta / (1 - slope**2))
    return OrnsteinUhlenbeck(theta, intercept / (1 - slope), sigma)


def scores(residuals: Floats, estimation_bars: int = ESTIMATION_BARS) -> Floats:
    """s-score of each asset at each time, of a process fitted to the bars up to it.

    The process is that of summed residuals, as that of prices is of summed returns.

    Parameters
    ----------
    residuals : float64[m, d]

    Returns
    -------
    float64[m - estimation_bars + 1, d]
    """
    paths = np.cumsum(residuals, axis=0)
    seen = np.lib.stride_tricks.sliding_window_view(paths, estimation_bars, axis=0)
    return fit_ou(seen).score(seen[..., -1])


def statistical_arbitrage(
    real: Bars,
    reconstruct: Reconstruction,
    *,
    fee_bps: float = 0.0,
    estimation_bars: int = ESTIMATION_BARS,
    threshold: float = THRESHOLD,
    price: str = "close",
) -> dict[str, float]:
    """Trade each asset against its residual where that is far from its mean.

    At each bar an asset whose s-score is above the threshold is sold short, one below minus the
    threshold is bought, each for an equal share 1/d of wealth; the others are not held. Assets
    themselves are traded, without a hedge, as a reconstruction need not be a portfolio.

    Parameters
    ----------
    real : bars without a gap; the first ``estimation_bars`` returns are only learned from
    reconstruct : from log returns [m, d] to what the generator makes of them; of samples,
        :func:`factor_reconstruction`
    fee_bps : of money traded; 0.03 % is 3
    estimation_bars : returns that each fit looks back on

    Returns
    -------
    dict
        ``CAGR``, ``Sharpe`` (of a year; NaN if nothing was traded), ``MDD`` (by the highest
        wealth), ``VaR`` and ``ES`` (5 %, losses of a bar), ``profit``, and ``turnover``: money
        traded by wealth, a year.

    Raises
    ------
    DataError
        If there are too few bars, a bar is missing, the reconstruction is not finite or of another
        shape (of other assets, too), or wealth is lost.
    ConfigError
        For a fee below 0, a threshold not above 0, fewer than 3 bars to learn from, another price.
    """
    at_least_zero("fee_bps", fee_bps)
    positive("threshold", threshold)
    integer("estimation_bars", estimation_bars, 3)
    if len(real) < estimation_bars + 2:
        raise DataError(f"bars: must be {estimation_bars + 2} at least, were {len(real)}")
    returns = np.diff(np.log(real.whole_prices(price)), axis=0)
    residuals = returns - _reconstructed(reconstruct, returns)
    signals = scores(residuals, estimation_bars)[:-1]
    weights = -np.sign(signals) * (np.abs(signals) > threshold) / len(real.symbols)
    bars_a_year = YEAR_S / real.step_s
    values, traded = rebalance(weights, np.expm1(returns[estimation_bars:]), fee_bps)
    figures = course_figures(values, bars_a_year)
    return {
        "CAGR": figures["cagr"],
        "Sharpe": figures["sharpe"],
        "MDD": figures["max_drawdown"],
        "VaR": figures["var"],
        "ES": figures["es"],
        "profit": figures["profit"],
        "turnover": traded * bars_a_year / len(weights),
    }


def _reconstructed(reconstruct: Reconstruction, returns: Floats) -> Floats:
    found = np.asarray(reconstruct(returns), np.float64)
    if found.shape != returns.shape:
        raise DataError(
            f"reconstruction: must be of shape {list(returns.shape)}, was {list(found.shape)}"
        )
    if not np.isfinite(found).all():
        raise DataError(f"reconstruction: must be finite, {(~np.isfinite(found)).sum()} are not")
    return found
