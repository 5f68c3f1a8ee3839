"""Risk of strategies' wealth: VaR, ES, drawdown, profit; gaps between real and generated windows.

The definitions are those of the ICAIF 2024 contest. Its gaps of drawdown and profit are taken
window by window, which rewards generators that do not vary: windows without any movement score
better than real ones drawn anew. Wasserstein-1 between their distributions does not, and is what to
judge by. What none of them sees is in :mod:`marketsim.metrics.returns`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from marketsim.backtest import Backtest
from marketsim.data.return_windows import Windows
from marketsim.errors import ConfigError, DataError
from marketsim.ledger import trade
from marketsim.strategies import TRAINING, Strategy, strategy
from marketsim.wealth import ALPHA, expected_shortfall, max_drawdown, profit, value_at_risk

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

#: Columns of a table of gaps: the contest's four, and the Wasserstein distances.
GAPS = ("VaR", "ES", "MDD", "PnL", "W1 MDD", "W1 PnL")


def wasserstein(first: Floats, second: Floats) -> float:
    """Wasserstein-1 distance of two samples, of whatever sizes."""
    pooled = np.sort(np.concatenate([first, second]))
    shares = [
        np.searchsorted(np.sort(sample), pooled[:-1], side="right") / len(sample)
        for sample in (first, second)
    ]
    return float(np.abs(shares[0] - shares[1]) @ np.diff(pooled))


def gaps(real: Windows, fake: Windows, strategies: Iterable[str | Strategy] = TRAINING,
         alpha: float = ALPHA) -> "pd.DataFrame":  # fmt: skip
    """How far generated windows are from real ones, for what strategies earn on them.

    Parameters
    ----------
    real, fake : windows of the same shape; generated ones have initial prices, too: as the sizes
        of trades are in whole lots, those of the real windows, or the like

    Returns
    -------
    DataFrame, a row a strategy and ``mean`` over them: ``VaR``, ``ES`` – mean over times of the
    absolute difference; ``MDD``, ``PnL`` – mean over windows of the absolute difference, paired by
    index (NaN where there is not the same number of both); ``W1 MDD``, ``W1 PnL`` – Wasserstein-1.
    All by capital.

    Raises
    ------
    ConfigError
        For an unknown strategy, none, or one kind of strategy twice.
    DataError
        If windows differ in steps or assets.
    """
    import pandas as pd

    if real.log_returns.shape[1:] != fake.log_returns.shape[1:]:
        raise DataError(
            f"fake: must be of shape [n, {real.steps}, {len(real.symbols)}], as the real windows, "
            f"was {list(fake.log_returns.shape)}"
        )
    plans = [strategy(name) for name in strategies]
    if not plans:
        raise ConfigError("strategies: must be one or more, was none")
    names = [plan.name for plan in plans]
    if len(set(names)) < len(names):  # rows are by name
        raise ConfigError(f"strategies: must be different, was {names}")
    sides = real.prices, fake.prices
    rows = {}
    for plan in plans:
        ours, theirs = (trade(plan, prices).trading_values for prices in sides)
        rows[plan.name] = value_gaps(ours, theirs, alpha)
    table = pd.DataFrame(rows, index=GAPS).T
    table.loc["mean"] = table.mean(axis=0, skipna=False)
    return table


def value_gaps(real: Floats, fake: Floats, alpha: float = ALPHA) -> list[float]:
    """Gaps of ``GAPS`` between wealth float64[n, k] and float64[m, k]."""
    tails = [
        float(np.abs(measure(real, alpha) - measure(fake, alpha)).mean())
        for measure in (value_at_risk, expected_shortfall)
    ]
    pairs = [(measure(real), measure(fake)) for measure in (max_drawdown, profit)]
    paired = [
        float(np.abs(ours - theirs).mean()) if len(ours) == len(theirs) else np.nan
        for ours, theirs in pairs
    ]
    return [*tails, *paired, *(wasserstein(*pair) for pair in pairs)]


@dataclass(frozen=True)
class Performance:
    """What a strategy made of its capital.

    Attributes
    ----------
    profit : wealth at the end by capital, less 1
    cagr : compound growth of a year
    sharpe : mean by standard deviation of simple returns, of a year; NaN where nothing varied
    max_drawdown : most that wealth fell below its highest, by that
    var, es : loss of a bar that a share of 5 % of bars exceeds, and the mean loss of these
    turnover : money traded in a year, by capital
    costs : fees and slippage, by capital
    """

    profit: float
    cagr: float
    sharpe: float
    max_drawdown: float
    var: float
    es: float
    turnover: float
    costs: float


def performance(result: Backtest, alpha: float = ALPHA) -> Performance:
    """Figures of a backtest; Sharpe's ratio is to an interest of 0.

    Raises
    ------
    DataError
        If wealth falls to 0 or below.

    References
    ----------
    Sharpe (1994), The Sharpe ratio, Journal of Portfolio Management 21(1).
    """
    values = np.concatenate([[1.0], result.values])
    years = len(result.values) / result.bars_a_year
    return Performance(
        **course_figures(values, result.bars_a_year, alpha),
        turnover=float(result.traded.sum()) / years,
        costs=float(result.costs.sum()),
    )


def course_figures(values: Floats, bars_a_year: float, alpha: float = ALPHA) -> dict[str, float]:
    """The figures of :class:`Performance` that wealth alone gives, by their names.

    Parameters
    ----------
    values : float64[n + 1] – wealth, from the capital on, over n bars

    Raises
    ------
    DataError
        If wealth falls to 0 or below, or there is no bar.
    """
    if len(values) < 2:
        raise DataError(f"values: must be of one bar at least, were {len(values)} in all")
    grown = float(values[-1] / values[0])
    returns = simple_returns(values)
    highest = np.maximum.accumulate(values)
    return {
        "profit": grown - 1,
        "cagr": grown ** (bars_a_year / len(returns)) - 1,
        "sharpe": sharpe(returns, bars_a_year),
        "max_drawdown": float(((highest - values) / highest).max()),
        "var": -float(value_at_risk(returns, alpha)),
        "es": -float(expected_shortfall(returns, alpha)),
    }


def simple_returns(values: Floats) -> Floats:
    """Simple returns float64[k - 1] of wealth float64[k].

    Raises
    ------
    DataError
        If wealth falls to 0 or below, after which there are none.
    """
    if values.min() <= 0:
        at = int(np.flatnonzero(values <= 0)[0])
        raise DataError(f"values: must be > 0 for returns, number {at} was {values[at]:g}")
    return np.asarray(values[1:] / values[:-1] - 1)


def sharpe(returns: Floats, bars_a_year: float) -> float:
    """Mean by standard deviation of returns, of a year; NaN where they do not vary."""
    mean, deviation = float(np.mean(returns)), 0.0
    if len(returns) > 1:
        deviation = float(np.std(returns, ddof=1))
    if deviation <= 1e-12 * abs(mean):  # rounding alone makes equal returns differ
        return float("nan")
    return mean / deviation * float(np.sqrt(bars_a_year))
