"""Trading strategies as signals over price windows, each written once for NumPy and torch.

A strategy looks at prices ``[n, T, d]`` and says for each step whether to buy (1), to sell (-1) or
to do nothing (0). Sums are taken term by term in one order, so that NumPy, torch and a plain loop
give the same numbers to the last bit, and hence the same signals.
"""

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from marketsim.checks import did_you_mean, integer, number, positive, refuse_unknown
from marketsim.errors import ConfigError, DataError

#: A NumPy array or a torch tensor of float64.
Array = Any

HOURS_A_YEAR = 252 * 24


def namespace(array: Array) -> Any:
    """The module, numpy or torch, whose array this is.

    Raises
    ------
    DataError
        If it is neither's.
    """
    if isinstance(array, np.ndarray):
        return np
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor):
        return torch
    raise DataError(f"prices: must be a NumPy array or a tensor, was {type(array).__name__}")


@dataclass(frozen=True)
class Strategy(ABC):
    """When to buy and to sell each asset, from the prices so far.

    Attributes
    ----------
    name : under which it is known.
    divides_capital : whether a purchase takes an equal share of all the capital, to the last coin.
    warm_up : prices that it must have seen before it trades.
    """

    name: ClassVar[str]
    divides_capital: ClassVar[bool] = False

    @property
    @abstractmethod
    def warm_up(self) -> int: ...

    @abstractmethod
    def decide(self, prices: Array) -> tuple[Array, Array]:
        """Whether to buy and to sell, bool[n, k, d] each, at the last k of the T steps."""

    def signals(self, prices: Array) -> Array:
        """Signals of prices float64[n, T, d]: 1 buy, -1 sell, 0 nothing; same shape, no gradient.

        Raises
        ------
        DataError
            If there are too few steps to say anything.
        """
        xp = namespace(prices)
        if prices.ndim != 3:
            raise DataError(f"prices: must be of shape [n, T, d], was {list(prices.shape)}")
        if prices.shape[1] < self.warm_up + 2:
            raise DataError(
                f"prices: {self.name} needs {self.warm_up + 2} steps, had {prices.shape[1]}"
            )
        prices = prices if xp is np else prices.detach()
        buy, sell = self.decide(prices)
        silent = prices.shape[1] - buy.shape[1]
        zero = xp.zeros_like(prices)
        one = zero[:, silent:] + 1
        said = xp.where(buy, one, xp.where(sell, -one, zero[:, silent:]))
        return xp.concatenate([zero[:, :silent], said], 1)


@dataclass(frozen=True)
class EqualWeight(Strategy):
    """EW: buys all assets for equal money at the first price, and holds them."""

    name = "EW"
    divides_capital = True

    @property
    def warm_up(self) -> int:
        return 0

    def decide(self, prices: Array) -> tuple[Array, Array]:
        xp = namespace(prices)
        first = xp.zeros_like(prices[:1, :, :1])
        first[:, 0] = 1
        buy = (prices > 0) & (first > 0)
        return buy, buy & ~buy


@dataclass(frozen=True)
class _Window(Strategy):
    """A strategy that looks at the last ``window`` prices."""

    window: int = 12

    def __post_init__(self) -> None:
        integer("window", self.window, 2)

    @property
    def warm_up(self) -> int:
        return self.window


@dataclass(frozen=True)
class MeanReversion(_Window):
    """MR: buys below, sells above the mean of the last prices, by more than ``threshold``."""

    name = "MR"
    threshold: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= number("threshold", self.threshold) < 1:
            raise ConfigError(f"threshold must be >= 0 and < 1, was {self.threshold!r}")

    def decide(self, prices: Array) -> tuple[Array, Array]:
        mean, now = _means(prices, self.window)[:, :-1], prices[:, self.window :]
        return now < (1 - self.threshold) * mean, now > (1 + self.threshold) * mean


@dataclass(frozen=True)
class TrendFollowing(Strategy):
    """TF: buys when the mean of few prices crosses above that of many, sells when below.

    Means are of the prices before a step, and the first that can cross is the second there is.
    """

    name = "TF"
    short: int = 5
    long: int = 12

    def __post_init__(self) -> None:
        integer("short", self.short, 1)
        integer("long", self.long, self.short + 1)

    @property
    def warm_up(self) -> int:
        return self.long

    def decide(self, prices: Array) -> tuple[Array, Array]:
        long = _means(prices, self.long)[:, :-1]
        short = _means(prices, self.short)[:, self.long - self.short : -1]
        return _crossings(short, long)


@dataclass(frozen=True)
class VolatilityTrading(_Window):
    """VT: buys when the last returns deviate much in a year's terms, sells when little.

    The return of the first price counts as 0, as in the contest's own reckoning.
    """

    name = "VT"
    upper: float = 0.4
    lower: float = 0.1
    bars_a_year: float = HOURS_A_YEAR

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("bars_a_year", self.bars_a_year)
        if not 0 <= number("lower", self.lower) < number("upper", self.upper):
            raise ConfigError(f"lower must be >= 0 and < upper {self.upper}, was {self.lower!r}")

    def decide(self, prices: Array) -> tuple[Array, Array]:
        xp = namespace(prices)
        simple = prices[:, 1:] / prices[:, :-1] - 1
        simple = xp.concatenate([xp.zeros_like(prices[:, :1]), simple], 1)[:, :-1]
        mean = _means(simple, self.window)
        steps = mean.shape[1]
        squares = mean * 0
        for lag in range(self.window):
            squares = squares + (simple[:, lag : lag + steps] - mean) ** 2
        deviation = xp.sqrt(squares / (self.window - 1)) * math.sqrt(self.bars_a_year)
        return deviation > self.upper, deviation < self.lower


@dataclass(frozen=True)
class RelativeStrength(_Window):
    """RSI: buys below ``low``, sells above ``high``: 100 x gains / (gains + losses), plain sums.

    Where no price moved the index is 50.

    References
    ----------
    Wilder (1978), New Concepts in Technical Trading Systems; the sums are Cutler's.
    """

    name = "RSI"
    low: float = 30.0
    high: float = 70.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= number("low", self.low) < number("high", self.high) <= 100:
            raise ConfigError(f"low must be >= 0 and < high, high <= 100, was {self.low!r}")

    def decide(self, prices: Array) -> tuple[Array, Array]:
        xp = namespace(prices)
        change = prices[:, 1:] - prices[:, :-1]
        gains = _sums(xp.where(change > 0, change, change * 0), self.window)
        moves = gains + _sums(xp.where(change < 0, -change, change * 0), self.window)
        moved = moves > 0
        index = xp.where(moved, 100 * gains / xp.where(moved, moves, moves + 1), moves + 50)
        return index < self.low, index > self.high


@dataclass(frozen=True)
class MeanCrossing(_Window):
    """SM: buys when the price crosses above the mean of the last prices, sells when below."""

    name = "SM"

    def decide(self, prices: Array) -> tuple[Array, Array]:
        return _crossings(prices[:, self.window :], _means(prices, self.window)[:, :-1])


@dataclass(frozen=True)
class Breakout(_Window):
    """BO: buys above the highest, sells below the lowest of the last prices."""

    name = "BO"

    def decide(self, prices: Array) -> tuple[Array, Array]:
        xp = namespace(prices)
        steps = prices.shape[1] - self.window
        high = low = prices[:, :steps]
        for lag in range(1, self.window):
            part = prices[:, lag : lag + steps]
            high, low = xp.maximum(high, part), xp.minimum(low, part)
        now = prices[:, self.window :]
        return now > high, now < low


#: The strategies by name; the first four are the contest's, the others are held out from training.
STRATEGIES: Mapping[str, Callable[..., Strategy]] = {
    cls.name: cls
    for cls in (
        EqualWeight, MeanReversion, TrendFollowing, VolatilityTrading,
        RelativeStrength, MeanCrossing, Breakout,
    )
}  # fmt: skip
TRAINING = ("EW", "MR", "TF", "VT")
HELD_OUT = ("RSI", "SM", "BO")


def strategy(name: "str | Strategy", **parameters: Any) -> Strategy:
    """Make a strategy by its name, in capitals or not; one that is made already is itself.

    Raises
    ------
    ConfigError
        For an unknown name or parameter, or a value out of range.
    """
    if isinstance(name, Strategy) and not parameters:
        return name
    if not isinstance(name, str) or name.upper() not in STRATEGIES:
        hint = did_you_mean(str(name).upper(), STRATEGIES)
        raise ConfigError(f"strategy: unknown strategy {name!r}{hint}")
    cls: Any = STRATEGIES[name.upper()]
    refuse_unknown(f"strategy {cls.name}", parameters, cls.__dataclass_fields__)
    made: Strategy = cls(**parameters)
    return made


def _sums(values: Array, window: int) -> Array:
    """Sums of ``window`` values from each step on: [n, T - window + 1, d], added oldest first."""
    steps = values.shape[1] - window + 1
    total = values[:, :steps]
    for lag in range(1, window):
        total = total + values[:, lag : lag + steps]
    return total


def _means(values: Array, window: int) -> Array:
    return _sums(values, window) / window


def _crossings(line: Array, other: Array) -> tuple[Array, Array]:
    """Whether a line is above another and was not the step before, and the same for below."""
    now, now_other = line[:, 1:], other[:, 1:]
    before, before_other = line[:, :-1], other[:, :-1]
    above = (now > now_other) & (before <= before_other)
    below = (now < now_other) & (before >= before_other)
    return above, below
