"""Autocorrelation with its confidence band."""

import numpy as np

from marketsim.metrics.facts import Curve
from marketsim.metrics.section import NotDefined
from marketsim.report import Floats

#: Width of a 95 % band in standard deviations.
BAND_SD = 1.959964


def autocorrelation(values: Floats, lags: int) -> Curve:
    """Sample autocorrelation at lags 1 to ``lags``, at most a quarter of the values.

    Returns
    -------
    Curve
        ``band`` holds, at each lag, 1.96 standard errors of the estimate if the correlation ended
        with the lag before (Bartlett 1946).

    Raises
    ------
    NotDefined
        All values are equal.

    References
    ----------
    Bartlett (1946), On the theoretical specification and sampling properties of autocorrelated
    time-series, eq. 7; Box, Jenkins, Reinsel & Ljung (2015), Time series analysis, section 2.1.
    """
    from scipy.signal import correlate

    number = len(values)
    centred = values - values.mean()
    if np.ptp(values) == 0:
        raise NotDefined("all values are equal")
    lags = min(lags, number // 4)
    covariance = correlate(centred, centred, method="fft")[number - 1 : number + lags]
    found = covariance[1:] / covariance[0]
    before = np.append(0.0, np.cumsum(np.square(found))[:-1])
    return Curve(np.arange(1.0, lags + 1), found, BAND_SD * np.sqrt((1 + 2 * before) / number))
