"""What traders look at before the next bar: momentum, reversion, Bollinger, RSI, averages."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Returns that the features of one time look back on.
LOOKBACK = 12
FEATURES = (
    "momentum 1",
    "momentum 3",
    "momentum 6",
    "momentum 12",
    "reversion 12",
    "Bollinger 12",
    "bandwidth 12",
    "RSI 12",
    "averages 3/12",
    "volatility 12",
    "relative momentum 1",
    "relative momentum 12",
)


def alphas(log_returns: Floats) -> Floats:
    """Features of each asset at each time, from the last 12 returns up to it.

    All are of logarithms of prices, so that the price's level does not matter: momentum, the
    return over the last k steps; reversion, the price below its mean; Bollinger, the price from its
    mean in standard deviations; bandwidth, that deviation; RSI, gains by all movement; averages,
    the short mean above the long one; volatility of returns; momentum above that of all assets.

    Parameters
    ----------
    log_returns : float64[n, T, d], T >= 12

    Returns
    -------
    float64[n, T - 11, d, 12] – the first after 12 returns, the last after all of them
    """
    windows = np.lib.stride_tricks.sliding_window_view(log_returns, LOOKBACK, axis=1)
    prices = np.cumsum(windows, axis=-1)  # (n, times, d, 12), of the price before the first
    last = prices[..., -1]
    mean, band = prices.mean(axis=-1), prices.std(axis=-1)
    away = last - mean
    movement = np.abs(windows).sum(axis=-1)
    gains = np.maximum(windows, 0).sum(axis=-1)
    one = windows[..., -1]
    columns = (
        one,
        windows[..., -3:].sum(axis=-1),
        windows[..., -6:].sum(axis=-1),
        last,
        -away,
        np.divide(away, band, out=np.zeros_like(away), where=band > 0),
        band,
        np.divide(gains, movement, out=np.full_like(gains, 0.5), where=movement > 0),
        prices[..., -3:].mean(axis=-1) - mean,
        windows.std(axis=-1),
        one - one.mean(axis=-1, keepdims=True),
        last - last.mean(axis=-1, keepdims=True),
    )
    return np.stack(columns, axis=-1)
