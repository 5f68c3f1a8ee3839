"""What is measured of generated windows beside those of a test part, as flat names and numbers."""

from dataclasses import replace
from typing import Any

import numpy as np

from marketsim.data.return_windows import Windows
from marketsim.metrics import risk
from marketsim.metrics.returns import autocorrelation_gap
from marketsim.strategies import HELD_OUT, TRAINING

#: Strategies that generators may be trained on, and those that none has seen.
KINDS = {"training": TRAINING, "held-out": HELD_OUT}
#: Gaps by which rows are ranked: the contest's paired ones reward windows that never move.
RANKED = ("VaR", "ES", "W1 MDD", "W1 PnL")
#: Lags of autocorrelations [steps].
LAGS = 5
#: Quantiles of the fan of cumulative returns.
FAN = (0.05, 0.25, 0.5, 0.75, 0.95)

Figures = dict[str, float]


def priced_like(fake: Windows, test: Windows) -> Windows:
    """Generated windows from the test windows' initial prices on, as sizes are in whole lots."""
    return replace(fake, initial_prices=test.initial_prices)


def risk_figures(test: Windows, fake: Windows) -> Figures:
    """Gaps of each strategy, ``MR VaR``, and their means over a kind, ``training VaR``."""
    found: Figures = {}
    for kind, strategies in KINDS.items():
        table = risk.gaps(test, fake, strategies)
        for name, row in table.iterrows():
            label = kind if name == "mean" else str(name)
            found |= {f"{label} {gap}": float(row[gap]) for gap in risk.GAPS}
    return found


def return_figures(test: Windows, fake: Windows) -> Figures:
    """Gaps of the returns themselves."""
    lags = min(LAGS, test.steps - 1)
    return {
        "ACF": autocorrelation_gap(test, fake, lags),
        "ACF of absolute": autocorrelation_gap(test, fake, lags, absolute=True),
    }


def fan(windows: Windows) -> list[list[float]]:
    """Quantiles of the first asset's cumulative log return, a list for each of ``FAN``; step 0 too.

    Returns
    -------
    nested lists [len(FAN)][T + 1]
    """
    path = np.cumsum(windows.log_returns[:, :, 0], axis=1, dtype=np.float64)
    path = np.concatenate([np.zeros((len(path), 1)), path], axis=1)
    quantiles: list[list[float]] = np.quantile(path, FAN, axis=0).tolist()
    return quantiles


def plain(figures: Figures) -> dict[str, Any]:
    """As JSON values: None for what is not finite."""
    return {name: float(value) if np.isfinite(value) else None for name, value in figures.items()}
