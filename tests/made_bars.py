"""Bars made of returns, for tests of what is judged on bars."""

import numpy as np

from marketsim.data.bars import Bars


def bars_of(log_returns: np.ndarray, step_s: int = 3600, start_s: int = 0) -> Bars:
    """Bars whose closes have these returns, [n, d] to n + 1 bars, from a price of 100 on."""
    path = np.concatenate([np.zeros((1, log_returns.shape[1])), np.cumsum(log_returns, axis=0)])
    close = 100 * np.exp(path)
    time_s = start_s + step_s * np.arange(len(close))
    names = tuple(f"A{number}" for number in range(close.shape[1]))
    return Bars(time_s, names, close, close, close, close, np.ones(close.shape), step_s)
