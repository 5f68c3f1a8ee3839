"""Tasks on bars of many assets: forecasts and arbitrage by what a generator knows of the past."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marketsim.comparison.returns_measures import Figures
from marketsim.comparison.returns_plan import digest
from marketsim.data.bars import Bars
from marketsim.data.crypto import read_bars
from marketsim.data.return_windows import Windows
from marketsim.errors import DataError
from marketsim.metrics.alphas import LOOKBACK
from marketsim.metrics.predictive_utility import predictive_utility
from marketsim.metrics.stat_arb import ESTIMATION_BARS, factor_reconstruction, statistical_arbitrage
from marketsim.metrics.walk_forward import DAY_S, walk_forward

#: Lengths of a fold's parts [days].
TRAIN_DAYS, FORECAST_DAYS, ARBITRAGE_DAYS = 500, 30, 15
#: Windows of a fold's training part: their returns, and bars from one to the next.
STEPS, STRIDE = 24, 2
#: Windows that are drawn for the tasks.
DRAWN = 1024
#: Factors of a reconstruction, and the fee of its arbitrage beside none [bps].
FACTORS, FEE_BPS = 3, 3.0
#: What arbitrage is judged by.
ARBITRAGE = ("CAGR", "Sharpe", "MDD", "VaR", "ES")


@dataclass(frozen=True)
class Fold:
    """One walk forward.

    Attributes
    ----------
    train : windows to learn from
    forecast, arbitrage : bars of the two tests, with what they look back on before them
    """

    train: Windows
    forecast: Bars
    arbitrage: Bars


def open_bars(paths: "tuple[str | Path, ...]") -> Bars:
    """Bars for the tasks.

    Raises
    ------
    DataError
        If they cannot be read, or are of too few assets.
    """
    bars = read_bars(paths)
    if len(bars.symbols) <= FACTORS:
        raise DataError(
            f"bars: must be of more than {FACTORS} assets, as a reconstruction has so many factors,"
            f" were of {len(bars.symbols)}"
        )
    return bars


def fold_digest(fold: Fold) -> str:
    """What tells a fold's windows and bars from others, 32 hex digits."""
    found = hashlib.sha256(digest(fold.train).encode())
    for bars in (fold.forecast, fold.arbitrage):
        for part in (bars.time_s, bars.close):
            found.update(np.ascontiguousarray(part).tobytes())
    return found.hexdigest()[:32]


def folds(bars: Bars, number: int) -> list[Fold]:
    """The last walks forward over bars, the last one first; those with a gap are passed over.

    Raises
    ------
    DataError
        If there are fewer.
    """
    pairs = list(
        walk_forward(bars, TRAIN_DAYS, FORECAST_DAYS, warm_up_bars=ESTIMATION_BARS + 1, gaps="skip")
    )
    if len(pairs) < number:
        raise DataError(
            f"bars: must be enough for {number} folds of {TRAIN_DAYS} + {FORECAST_DAYS} days"
            f" without a gap in the test, were for {len(pairs)}"
        )
    return [_fold(*pair) for pair in pairs[::-1][:number]]


def _fold(train: Bars, test: Bars) -> Fold:
    before = ESTIMATION_BARS + 1
    first = before - LOOKBACK - 1
    end = before + ARBITRAGE_DAYS * DAY_S // test.step_s
    return Fold(
        train.windows(STEPS, STRIDE),
        test.select(start=_date(test, first)),
        test.select(end=_date(test, end)) if end < len(test) else test,
    )


def _date(bars: Bars, row: int) -> str:
    return str(np.datetime64(int(bars.time_s[row]), "s"))


def task_figures(fold: Fold, fake: Windows, seed: int) -> Figures:
    """How well what generated windows teach does on a fold's test bars."""
    found = dict(predictive_utility(fake, fold.forecast, seed=seed))
    reconstruct = factor_reconstruction(fake, FACTORS)
    for label, fee_bps in (("", 0.0), (", fee", FEE_BPS)):
        made = statistical_arbitrage(fold.arbitrage, reconstruct, fee_bps=fee_bps)
        found |= {f"arbitrage {name}{label}": made[name] for name in ARBITRAGE}
    return found


def span(fold: Fold) -> dict[str, Any]:
    """Dates of a fold: start of training, and first and last test bar."""
    last = str(np.datetime64(int(fold.forecast.time_s[-1]), "s"))[:10]
    first = _date(fold.forecast, LOOKBACK + 1)[:10]
    start = str(np.datetime64(int(fold.train.start_s[0]), "s"))[:10]
    return {"train from": start, "test from": first, "test to": last,
            "windows": len(fold.train), "symbols": list(fold.train.symbols)}  # fmt: skip
