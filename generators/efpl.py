"""Ensemble Financial Performance Loss: how differently strategies fare on generated windows.

For each strategy the wealth on a batch of generated windows is compared with that on real ones: its
value at risk and expected shortfall at each time, and the distributions of its drawdown and profit.
The real side is of all windows, not of a batch, whose tails are mostly chance.
Signals have no gradient, wealth has. All terms are differentiable almost everywhere.

References
----------
The CMS-VAE paper's loss, w_VaR L_VaR + w_ES L_ES + w_MDD L_MDD + w_PnL L_PnL, each a weighted sum
over strategies. As it leaves the distances open: drawdowns and profits are compared as sorted
samples (Wasserstein-1), since a distance paired by index is least where nothing varies; and each
term is by the standard deviation of the strategy's real profit, so that all strategies count alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from marketsim.checks import at_least_zero
from marketsim.data.return_windows import Windows
from marketsim.errors import DataError
from marketsim.ledger import trade
from marketsim.strategies import Strategy
from marketsim.wealth import (
    ALPHA,
    expected_shortfall,
    max_drawdown,
    profit,
    value_at_risk,
)


@dataclass(frozen=True)
class Weights:
    """Weights of the terms: value at risk, expected shortfall, drawdown, profit."""

    var: float = 1.0
    es: float = 1.0
    mdd: float = 1.0
    pnl: float = 1.0

    def __post_init__(self) -> None:
        for name in ("var", "es", "mdd", "pnl"):
            at_least_zero(name, getattr(self, name))


class Target(NamedTuple):
    """How a strategy fares on the real windows.

    Attributes
    ----------
    plan : the strategy
    unit : standard deviation of its profit
    var, es : at each time, from just before its first possible trade on (k)
    mdd, pnl : quantiles of drawdown and profit, as many as windows are generated (n), rising
    """

    plan: Strategy
    unit: float
    var: Tensor
    es: Tensor
    mdd: Tensor
    pnl: Tensor


def targets(windows: Windows, strategies: Sequence[Strategy], n: int) -> list[Target]:
    """Let strategies trade all real windows; ``n``: of generated ones that will be compared.

    Raises
    ------
    DataError
        If windows are too short for a strategy, or it earns the same on all of them.
    """
    ranks = (np.arange(n) + 0.5) / n
    found = []
    for plan in strategies:
        wealth = trade(plan, windows.prices).trading_values
        unit = float(wealth[:, -1].std())
        if unit < 1e-9:
            raise DataError(
                f"windows: strategy {plan.name} earns the same on all {len(windows)} of them: "
                "there is nothing to learn of it, leave it out of strategies"
            )
        tails = value_at_risk(wealth), expected_shortfall(wealth)
        spreads = [np.quantile(measure(wealth), ranks) for measure in (max_drawdown, profit)]
        found.append(Target(plan, unit, *(torch.from_numpy(part) for part in (*tails, *spreads))))
    return found


def efpl(ensemble: Sequence[Target], prices: Tensor, weights: Weights) -> dict[str, Tensor]:
    """The loss's four terms, means over strategies, each by the strategy's ``unit``.

    Parameters
    ----------
    prices : (n, steps, assets) of generated windows, float64, with gradients
    """
    terms: dict[str, list[Tensor]] = {"VaR": [], "ES": [], "MDD": [], "PnL": []}
    for target in ensemble:
        for name, distance in distances(target, trade(target.plan, prices).trading_values).items():
            terms[name].append(distance / target.unit)
    return {
        name: weight * torch.stack(terms[name]).mean()
        for name, weight in zip(terms, vars(weights).values(), strict=True)
    }


def distances(target: Target, wealth: Tensor) -> dict[str, Tensor]:
    """Distances of a strategy's wealth (n, k) on generated windows, by term."""
    worst = int(ALPHA * len(wealth)) + 1
    lowest = torch.topk(wealth, worst, dim=0, largest=False)[0]  # (worst, k), rising
    falls = (wealth.cummax(dim=1)[0] - wealth).max(dim=1)[0]
    return {
        "VaR": (lowest[-1] - target.var).abs().mean(),
        "ES": (lowest.mean(dim=0) - target.es).abs().mean(),
        "MDD": (falls.sort()[0] - target.mdd).abs().mean(),
        "PnL": (wealth[:, -1].sort()[0] - target.pnl).abs().mean(),
    }
