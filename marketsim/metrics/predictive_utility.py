"""Predictive utility: forecasts learned from generated returns, and traded on real bars.

References
----------
CTBench (2025), a benchmark of time series generation for cryptocurrency markets: its predictive
utility task.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketsim.checks import integer
from marketsim.data.bars import Bars
from marketsim.data.return_windows import Windows, as_windows
from marketsim.errors import DataError
from marketsim.metrics.alphas import LOOKBACK, alphas
from marketsim.metrics.rebalancing import rebalance

Floats = NDArray[np.float64]

#: Shares of assets that are bought by CSM, and sold short; and bought by LOTQ.
CSM, LOTQ = 0.1, 0.2
#: Rows that trees learn from at most; of more, as many are drawn.
MOST_ROWS = 120_000
TREES, LEAVES, LEARNING_RATE, LEAST_IN_LEAF = 60, 15, 0.05, 50


def predictive_utility(
    fake: "Windows | NDArray[Any]",
    test: Bars,
    *,
    fee_bps: float = 0.0,
    price: str = "close",
    seed: int = 0,
) -> dict[str, float]:
    """Learn to forecast the next return from generated returns, and forecast real ones.

    Gradient-boosted trees learn the next return of an asset from what
    :func:`~marketsim.metrics.alphas.alphas` sees, one forest for all assets.

    Parameters
    ----------
    fake : windows of more than 12 steps, or one long path of log returns [m, d]; those of real
        training bars give what to compare with
    test : bars without a gap; the first 12 returns are only looked back on
    fee_bps : of money traded, for the three strategies
    price : of the bars that is traded: ``close``, or ``mid``
    seed : of the rows that are drawn where there are more than the trees take

    Returns
    -------
    dict
        As :func:`forecast_quality`.

    Raises
    ------
    DataError
        If assets differ, there are too few bars or steps, bars have a gap, there is one asset only,
        or scikit-learn is missing.
    ConfigError
        For a fee or a seed below 0, or another price.
    """
    integer("seed", seed, 0)
    windows = as_windows(fake[None] if isinstance(fake, np.ndarray) and fake.ndim == 2 else fake)
    if len(windows.symbols) != len(test.symbols):
        raise DataError(f"fake: must have {len(test.symbols)} assets, had {len(windows.symbols)}")
    if windows.steps <= LOOKBACK:
        raise DataError(f"fake: must have more than {LOOKBACK} steps, had {windows.steps}")
    if len(test) < LOOKBACK + 2:
        raise DataError(f"bars: must be {LOOKBACK + 2} at least, were {len(test)}")
    real = np.diff(np.log(test.whole_prices(price)), axis=0)
    model = _learn(windows, np.random.default_rng(seed))
    seen = alphas(real[None])[0, :-1]  # (times, d, features)
    forecast = model.predict(seen.reshape(-1, seen.shape[-1])).reshape(seen.shape[:2])
    return forecast_quality(forecast, real[LOOKBACK:], fee_bps=fee_bps)


def forecast_quality(forecast: Floats, real: Floats, *, fee_bps: float = 0.0) -> dict[str, float]:
    """How good forecasts of log returns are, and what strategies make of them.

    Parameters
    ----------
    forecast, real : float64[m, d], d >= 2 – the return that was forecast, and the one that came

    Returns
    -------
    dict
        ``MSE``, ``MAE``: errors of log returns; ``IC``: mean over times of Spearman's correlation
        across assets; ``IR``: that mean by its standard deviation over times (NaN where it does not
        vary); profits by capital after fees of portfolios made anew at each step: ``CSM`` buys the
        best 10 % of assets and sells as much of the worst 10 % short, ``LOTQ`` buys the best 20 %,
        ``PW`` buys in proportion to forecasts above 0.

    Raises
    ------
    DataError
        For less than two assets, or shapes that differ.
    """
    if forecast.shape != real.shape or forecast.ndim != 2 or not len(forecast):
        raise DataError(
            f"forecast: must be of shape {list(real.shape)} as the returns, [times, assets], was "
            f"{list(forecast.shape)}"
        )
    if real.shape[1] < 2:
        raise DataError(f"forecast: must be of 2 assets at least, was of {real.shape[1]}")
    each = rank_correlation(forecast, real)
    spread = float(each.std(ddof=1)) if len(each) > 1 else 0.0
    found = {
        "MSE": float(((forecast - real) ** 2).mean()),
        "MAE": float(np.abs(forecast - real).mean()),
        "IC": float(each.mean()),
        "IR": float(each.mean()) / spread if spread > 1e-12 else float("nan"),
    }
    for name, weights in portfolios(forecast).items():
        values, _ = rebalance(weights, np.expm1(real), fee_bps)
        found[name] = float(values[-1]) - 1
    return found


def rank_correlation(first: Floats, second: Floats) -> Floats:
    """Spearman's correlation of each row, float64[m]; 0 in rows where one of the two is constant.

    Equal values share the mean of their ranks.
    """
    from scipy.stats import rankdata

    ranks = [rankdata(side, axis=1) for side in (first, second)]
    ours, theirs = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    size = np.sqrt((ours**2).sum(axis=1) * (theirs**2).sum(axis=1))
    found: Floats = np.zeros(len(first))
    np.divide((ours * theirs).sum(axis=1), size, out=found, where=size > 0)
    return found


def portfolios(forecast: Floats) -> dict[str, Floats]:
    """Weights float64[m, d] that the strategies CSM, LOTQ and PW take on forecasts.

    Of equal forecasts the first asset counts as worse.
    """
    assets = forecast.shape[1]
    order = forecast.argsort(axis=1, kind="stable")

    def equal(chosen: NDArray[np.int64]) -> Floats:
        weights = np.zeros(forecast.shape)
        np.put_along_axis(weights, chosen, 1 / chosen.shape[1], axis=1)
        return weights

    ends, top = (max(1, round(share * assets)) for share in (CSM, LOTQ))
    above = np.maximum(forecast, 0)
    total = above.sum(axis=1, keepdims=True)
    return {
        "CSM": equal(order[:, -ends:]) - equal(order[:, :ends]),
        "LOTQ": equal(order[:, -top:]),
        "PW": np.divide(above, total, out=np.zeros(forecast.shape), where=total > 0),
    }


def _learn(windows: Windows, rng: np.random.Generator) -> Any:
    """Trees that forecast the next return of an asset from its features."""
    try:
        from sklearn.ensemble import HistGradientBoostingRegressor
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise DataError(
            "predictive utility: needs scikit-learn: pip install 'marketsim-lob[stats]'"
        ) from error
    # windows are drawn before features are made: these are twelve times as large as returns
    a_window = (windows.steps - LOOKBACK) * len(windows.symbols)
    chosen = np.arange(len(windows))
    if len(windows) > MOST_ROWS // a_window + 1:
        chosen = rng.choice(chosen, MOST_ROWS // a_window + 1, replace=False)
    returns = windows.log_returns[chosen].astype(np.float64)
    features = alphas(returns)[:, :-1]
    rows = features.reshape(-1, features.shape[-1])
    targets = returns[:, LOOKBACK:].ravel()
    if len(rows) > MOST_ROWS:
        some = rng.choice(len(rows), MOST_ROWS, replace=False)
        rows, targets = rows[some], targets[some]
    model = HistGradientBoostingRegressor(
        max_iter=TREES, max_leaf_nodes=LEAVES, learning_rate=LEARNING_RATE,
        min_samples_leaf=LEAST_IN_LEAF, early_stopping=False, random_state=0,
    )  # fmt: skip
    with threadpool_limits(limits=1):
        return model.fit(rows, targets)
