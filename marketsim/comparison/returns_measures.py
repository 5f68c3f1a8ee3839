"""What is measured of generated windows beside those of a test part, as flat names and numbers."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from marketsim.data.return_windows import Windows
from marketsim.errors import MarketSimError
from marketsim.metrics import risk
from marketsim.metrics.returns import (
    autocorrelation_gap,
    correlation_gap,
    kl_divergence,
    moment_gaps,
)
from marketsim.strategies import HELD_OUT, TRAINING

#: Strategies that generators may be trained on, and those that none has seen.
KINDS = {"training": TRAINING, "held-out": HELD_OUT}
#: Gaps by which rows are ranked: the contest's paired ones reward windows that never move.
RANKED = ("VaR", "ES", "W1 MDD", "W1 PnL")
#: What can be measured, in the order in which it is; ``scores`` train networks and take longest.
MEASURES = ("risk", "returns", "scores", "memory")
#: Lags of autocorrelations [steps].
LAGS = 5
#: Quantiles of the fan of cumulative returns.
FAN = (0.05, 0.25, 0.5, 0.75, 0.95)

Figures = dict[str, float]


def priced_like(fake: Windows, test: Windows) -> Windows:
    """Generated windows from the test windows' initial prices on, as sizes are in whole lots."""
    return replace(fake, initial_prices=test.initial_prices)


def figures(
    names: Iterable[str], train: Windows, test: Windows, fake: Windows, seed: int
) -> tuple[Figures, dict[str, str]]:
    """What the named ``MEASURES`` say of generated windows, by figure; and why some say nothing.

    Parameters
    ----------
    train : what the generator has learned from
    test, fake : real windows, and as many generated ones from the same prices on
    seed : of the networks that score
    """
    found: Figures = {}
    failed: dict[str, str] = {}
    for name in names:
        try:
            found |= _TAKEN[name](train, test, fake, seed)
        except MarketSimError as error:  # such as too few windows for this one
            failed[name] = str(error)
    return found, failed


def _risk(train: Windows, test: Windows, fake: Windows, seed: int) -> Figures:
    """Gaps of each strategy, ``MR VaR``, and their means over a kind, ``training VaR``."""
    found: Figures = {}
    for kind, strategies in KINDS.items():
        table = risk.gaps(test, fake, strategies)
        for name, row in table.iterrows():
            label = kind if name == "mean" else str(name)
            found |= {f"{label} {gap}": float(row[gap]) for gap in risk.GAPS}
    return found


def _returns(train: Windows, test: Windows, fake: Windows, seed: int) -> Figures:
    """Gaps of the returns themselves."""
    lags = min(LAGS, test.steps - 1)
    return {
        **moment_gaps(test, fake),
        "correlation": correlation_gap(test, fake),
        "KL": kl_divergence(test, fake),
        "ACF": autocorrelation_gap(test, fake, lags),
        "ACF of absolute": autocorrelation_gap(test, fake, lags, absolute=True),
    }


def _scores(train: Windows, test: Windows, fake: Windows, seed: int) -> Figures:
    """What networks tell apart, and what they learn from generated windows."""
    from marketsim.metrics.return_scores import discriminative_score, predictive_score, tstr

    taught = tstr(train, test, fake, seed=seed)
    return {
        "discriminative": discriminative_score(test, fake, seed=seed),
        "predictive": predictive_score(test, fake, seed=seed),
        "TSTR": taught["ratio"],
        "TSTR accuracy": taught["fake"],
    }


def _memory(train: Windows, test: Windows, fake: Windows, seed: int) -> Figures:
    """How near generated windows are to those that were learned from."""
    from marketsim.metrics.memorisation import memorisation

    found = memorisation(train, fake, test)
    return {
        "NN distance": found.median / found.held_out_median,
        "nearer": found.nearer,
        "copies": float(found.copies),
        "runs": float(found.runs),
    }


_TAKEN: Mapping[str, Callable[[Windows, Windows, Windows, int], Figures]] = dict(
    zip(MEASURES, (_risk, _returns, _scores, _memory), strict=True)
)


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


def plain(found: Figures) -> dict[str, Any]:
    """As JSON values: None for what is not finite."""
    return {name: float(value) if np.isfinite(value) else None for name, value in found.items()}


def by_split(found: Mapping[str, Any]) -> dict[str, float]:
    """A figure's mean over seeds on each split."""
    splits: dict[str, list[float]] = {}
    for place, value in found["values"].items():
        splits.setdefault(place.partition(",")[0], []).append(value)
    return {name: float(np.mean(values)) for name, values in splits.items()}
