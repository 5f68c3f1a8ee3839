"""A strategy over the bars of a history, with fees and slippage."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from marketsim.data.bars import Bars
from marketsim.ledger import PROTOCOL, Terms, trade
from marketsim.strategies import Strategy, strategy

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Backtest:
    """A strategy's course over ``n`` bars of ``d`` assets.

    Attributes
    ----------
    strategy : what traded; ``terms``: on which terms
    symbols : names of the assets
    time_s : int64[n] – start of each bar [seconds since 1970, UTC]
    values : float64[n] – wealth by capital at each bar's price, after its trades
    units : float64[n, d] – held then
    traded : float64[n] – money traded, by capital
    costs : float64[n] – fees and slippage, by capital
    bars_a_year : of a calendar year
    """

    strategy: Strategy
    terms: Terms
    symbols: tuple[str, ...]
    time_s: NDArray[np.int64]
    values: Floats
    units: Floats
    traded: Floats
    costs: Floats
    bars_a_year: float

    @property
    def table(self) -> "pd.DataFrame":
        """Rows by time: ``value``, ``traded``, ``costs`` and the units held of each asset."""
        import pandas as pd

        columns = {"value": self.values, "traded": self.traded, "costs": self.costs}
        columns |= {name: self.units[:, i] for i, name in enumerate(self.symbols)}
        return pd.DataFrame(columns, index=pd.to_datetime(self.time_s, unit="s", utc=True))


def backtest(
    bars: Bars,
    which: str | Strategy,
    *,
    assets: Sequence[str] | None = None,
    price: str = "close",
    terms: Terms = PROTOCOL,
) -> Backtest:
    """Let a strategy trade at the price of each bar, and close at the last.

    Parameters
    ----------
    which : a strategy, or its name: EW, MR, TF, VT, RSI, SM or BO
    price : at which it trades: ``close``, or ``mid`` of open and close
    terms : capital, sizes, fees and slippage

    Raises
    ------
    ConfigError
        For an unknown strategy or price.
    DataError
        If a bar is missing, or there are too few.
    """
    bars = bars.select(assets)
    prices = bars.whole_prices(price)
    plan = strategy(which)
    ledger = trade(plan, prices[None], terms)
    return Backtest(
        plan,
        terms,
        bars.symbols,
        bars.time_s,
        ledger.values[0, 1:],
        ledger.units[0],
        ledger.traded[0],
        ledger.costs[0],
        365.25 * 86_400 / bars.step_s,
    )
