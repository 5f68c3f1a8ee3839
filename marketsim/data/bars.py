"""Bars of several assets on one grid of times; what is missing is reported, never filled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from marketsim.checks import choice, did_you_mean, integer
from marketsim.data.return_windows import Windows
from marketsim.data.tables import seconds_of
from marketsim.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PRICES = ("open", "high", "low", "close")
COLUMNS = (*PRICES, "volume")


@dataclass(frozen=True, eq=False)
class Bars:
    """Open, high, low, close and volume of assets, in rows that are ``step_s`` apart.

    Attributes
    ----------
    time_s : int64[n] – start of each bar [seconds since 1970, UTC], without holes
    symbols : names of the d assets
    open, high, low, close : float64[n, d] – NaN where an asset has no bar
    volume : float64[n, d] – in the asset's own unit; NaN where it has no bar
    step_s : length of a bar [s]
    """

    time_s: Ints
    symbols: tuple[str, ...]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    step_s: int

    def __len__(self) -> int:
        return len(self.time_s)

    @property
    def gaps(self) -> "pd.DataFrame":
        """Runs of missing bars, a row each.

        Columns: ``symbol``; ``first`` and ``last`` missing bar (UTC); ``bars``, how many;
        ``where``: ``inside``, or ``before`` an asset's first bar, or ``after`` its last.
        """
        import pandas as pd

        rows = []
        for column, symbol in enumerate(self.symbols):
            missing = np.isnan(self.close[:, column])
            edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]])))
            for first, end in edges.reshape(-1, 2):
                where = "before" if first == 0 else "after" if end == len(self) else "inside"
                rows.append((symbol, self.time_s[first], self.time_s[end - 1], end - first, where))
        frame = pd.DataFrame(rows, columns=["symbol", "first", "last", "bars", "where"])
        for name in ("first", "last"):
            frame[name] = pd.to_datetime(frame[name], unit="s", utc=True)
        return frame

    def select(
        self,
        assets: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
    ) -> "Bars":
        """Bars of some assets, from ``start`` (in) to ``end`` (out), dates in UTC.

        Raises
        ------
        DataError : an asset that is not there, a date that is none, or no bar between the two
        """
        columns = self._columns(assets)
        first = 0 if start is None else int(self.time_s.searchsorted(seconds_of("start", start)))
        last = len(self) if end is None else int(self.time_s.searchsorted(seconds_of("end", end)))
        if first >= last:
            raise DataError(f"bars: must be at least one from {start} to {end}, were none")
        parts = {name: getattr(self, name)[first:last, columns] for name in COLUMNS}
        names = tuple(self.symbols[column] for column in columns)
        return replace(self, time_s=self.time_s[first:last], symbols=names, **parts)

    def prices(self, price: str = "close") -> Floats:
        """One price of each bar, float64[n, d]: ``close``, or ``mid`` of open and close.

        Means of neighbouring prices have returns with a lag-1 autocorrelation near a half (Working
        1960), which is no property of the market; ``mid`` is what the ICAIF archive is made of.

        Raises
        ------
        ConfigError : another price
        """
        if choice("price", price, ("close", "mid")) == "close":
            return self.close
        return (self.open + self.close) / 2

    def whole_prices(self, price: str = "close") -> Floats:
        """:meth:`prices` of bars without a gap, float64[n, d].

        Raises
        ------
        ConfigError : another price
        DataError : a bar that is missing
        """
        prices = self.prices(price)
        missing = np.argwhere(np.isnan(prices))
        if len(missing):
            row, asset = (int(i) for i in missing[0])
            raise DataError(
                f"bars: {self.symbols[asset]} has none at "
                f"{str(np.datetime64(int(self.time_s[row]), 's')).replace('T', ' ')} "
                f"({len(missing)} are missing): "
                "choose a part without gaps by bars.select(assets, start, end)"
            )
        return prices

    def windows(
        self,
        steps: int = 24,
        stride: int = 1,
        assets: Sequence[str] | None = None,
        price: str = "close",
    ) -> Windows:
        """Windows of log returns: those that start every ``stride`` bars and have no gap.

        Window w starts at a bar's price and holds the returns that lead to the next ``steps`` ones.

        Raises
        ------
        ConfigError : ``steps`` or ``stride`` < 1, another price
        DataError : an asset that is not there, a price that never moves, or not one whole window
        """
        integer("steps", steps, 1)
        integer("stride", stride, 1)
        columns = self._columns(assets)
        prices = self.prices(price)[:, columns]
        starts = np.arange(0, len(self) - steps, stride)
        whole = np.isfinite(prices).all(axis=1)
        bars_before = np.concatenate([[0], np.cumsum(whole)])
        fine = bars_before[starts + steps + 1] - bars_before[starts] == steps + 1
        kept = starts[fine]
        if not len(kept):
            raise DataError(
                f"bars: too few for one window of {steps} steps without a gap in "
                f"{', '.join(self.symbols[column] for column in columns)}, has {len(self)} rows"
            )
        log_returns = np.diff(np.log(prices), axis=0)
        rows = kept[:, None] + np.arange(steps)
        windows = Windows(
            log_returns[rows].astype(np.float32),
            prices[kept],
            self.time_s[kept],
            tuple(self.symbols[column] for column in columns),
            self.step_s,
            int(len(starts) - len(kept)),
        )
        windows.refuse_constant()
        return windows

    def _columns(self, assets: Sequence[str] | None) -> list[int]:
        if assets is None:
            return list(range(len(self.symbols)))
        if isinstance(assets, str) or not assets:
            raise DataError(f"assets: must be a list of names, was {assets!r}")
        for name in assets:
            if name not in self.symbols:
                raise DataError(f"assets: no bars of {name!r}{did_you_mean(name, self.symbols)}")
        if len(set(assets)) < len(assets):
            raise DataError(f"assets: each must be named once, was {list(assets)}")
        return [self.symbols.index(name) for name in assets]
