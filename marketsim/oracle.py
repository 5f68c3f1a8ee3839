"""Fundamental values: what an asset is worth, which value agents observe with noise.

A path is drawn once, on a fixed grid, from a stream that belongs to the symbol alone: no agent can
change it, by trading or by looking. Between grid points it is linear. Prices are ticks.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marketsim import checks
from marketsim.clock import NS_PER_SECOND, format_time, parse_span
from marketsim.compile import entry, helper
from marketsim.errors import ConfigError, DataError
from marketsim.market import books, columns_at, header, words
from marketsim.rng import generator_for

if TYPE_CHECKING:
    from marketsim.market import Market

#: Head of a path in the pool of words; ``points`` values follow, then their times if ``step_ns`` is
#: 0. ``mean`` is the level that the path reverts to, or its first value.
PATH = np.dtype(
    [("points", np.int64), ("start_ns", np.int64), ("step_ns", np.int64), ("mean", np.float64)]
)
_HEAD = len(PATH.names or ())
_VALUE = np.dtype([("value", np.float64)])
paths, values = columns_at(PATH), columns_at(_VALUE)
#: Longest grid: a day of milliseconds.
MAX_POINTS = 86_400_001
#: Most shocks that a session may be expected to have.
MAX_SHOCKS = 1_000_000
_STREAM = 1 << 63


@helper
def path_place(m, at, time_ns):
    """Grid point at or before a time, and the share of the way to the next one."""
    path = paths(m, at)
    last = path.points - 1
    if path.step_ns > 0:
        since = max(time_ns - path.start_ns, 0)
        i = min(since // path.step_ns, last)
        return i, (since - i * path.step_ns) / path.step_ns if i < last else 0.0
    times = at + _HEAD + path.points
    low, high = 0, last
    while low < high:
        middle = (low + high + 1) >> 1
        if words(m, times + middle).value <= time_ns:
            low = middle
        else:
            high = middle - 1
    if low == last or time_ns <= words(m, times + low).value:
        return low, 0.0
    start = words(m, times + low).value
    return low, (time_ns - start) / (words(m, times + low + 1).value - start)


@helper
def fundamental(m, b):
    """Fundamental value of a symbol now [ticks]; the symbol has an oracle."""
    at = books(m, b).oracle
    i, share = path_place(m, at, header(m).now_ns)
    value = values(m, at + _HEAD + i).value
    if share > 0.0:
        value += share * (values(m, at + _HEAD + i + 1).value - value)
    return value


@helper
def fundamental_mean(m, b):
    """Level that the fundamental value reverts to [ticks]."""
    return paths(m, books(m, b).oracle).mean


@entry
def fundamental_of(m, b):
    """:func:`fundamental` for Python."""
    return fundamental(m, b)


@entry
def mean_reverting(out, first, mean, keep, shocks, jumps):
    """``out[i + 1] = max(0, mean + keep · (out[i] - mean) + shocks[i] + jumps[i])``."""
    value = first
    out[0] = value
    for i in range(len(out) - 1):
        value = max(0.0, mean + keep * (value - mean) + shocks[i] + jumps[i])
        out[i + 1] = value


@dataclass(frozen=True)
class PricePath:
    """A fundamental value that is given: by a file, a return generator, anyone.

    Parameters
    ----------
    time_ns : int64[n], nanoseconds since midnight, increasing.
    price_ticks : float64[n] >= 0, finite.

    Raises
    ------
    DataError
        If they do not fit together.
    """

    time_ns: NDArray[np.int64]
    price_ticks: NDArray[np.float64]

    def __post_init__(self) -> None:
        times = np.asarray(self.time_ns)
        prices = np.asarray(self.price_ticks, np.float64)
        if times.ndim != 1 or prices.shape != times.shape or not len(times):
            raise DataError(
                "price path: time_ns and price_ticks must be arrays of one length > 0, had shapes"
                f" {times.shape} and {prices.shape}"
            )
        if times.dtype.kind not in "iu":
            raise DataError(f"price path: time_ns must be integers, was {times.dtype}")
        times = times.astype(np.int64)
        backwards = np.flatnonzero(np.diff(times) <= 0)
        if len(backwards):
            row = int(backwards[0]) + 1
            raise DataError(f"price path: times must increase, row {row} does not")
        bad = np.flatnonzero(~np.isfinite(prices) | (prices < 0))
        if len(bad):
            row = int(bad[0])
            raise DataError(f"price path: prices must be >= 0, row {row} is {prices[row]}")
        object.__setattr__(self, "time_ns", times)
        object.__setattr__(self, "price_ticks", prices)

    def covers(self, open_ns: int, close_ns: int, max_gap_ns: int | None = None) -> None:
        """Check that a session lies inside the path, without gaps.

        Raises
        ------
        DataError
            If it begins later, ends earlier, or has a gap longer than ``max_gap_ns``.
        """
        first_ns, last_ns = int(self.time_ns[0]), int(self.time_ns[-1])
        if first_ns > open_ns or last_ns < close_ns:
            wanted = f"{format_time(open_ns)} to {format_time(close_ns)}"
            covered = f"{format_time(first_ns)} to {format_time(last_ns)}"
            raise DataError(f"price path: must cover the session from {wanted}, covers {covered}")
        gaps_ns = np.diff(self.time_ns)
        if max_gap_ns is not None and len(gaps_ns) and int(gaps_ns.max()) > max_gap_ns:
            row = int(gaps_ns.argmax())
            raise DataError(
                f"price path: gap of {gaps_ns[row] / NS_PER_SECOND:g} s after row {row}"
                f" ({format_time(int(self.time_ns[row]))}), longer than max_gap"
                f" {max_gap_ns / NS_PER_SECOND:g} s"
            )

    def write(self, market: "Market", symbol: int, mean: float | None = None) -> None:
        """Put the path into a market's block as a symbol's fundamental value."""
        n = len(self.time_ns)
        steps = np.diff(self.time_ns)
        regular = n > 1 and bool((steps == steps[0]).all())
        at = market.take_words(_HEAD + n * (1 if regular else 2))
        block = market.view("words")["value"]
        head = (n, self.time_ns[0], steps[0] if regular else 0,
                self.price_ticks[0] if mean is None else mean)  # fmt: skip
        block[at : at + _HEAD] = np.array([head], PATH).view(np.int64)
        block[at + _HEAD : at + _HEAD + n] = self.price_ticks.view(np.int64)
        if not regular:
            block[at + _HEAD + n : at + _HEAD + 2 * n] = self.time_ns
        market.view("books")[symbol]["oracle"] = at


def path_of(market: "Market", symbol: int) -> PricePath | None:
    """The fundamental value in a market's block, or None."""
    at = int(market.view("books")[symbol]["oracle"])
    if at == 0:
        return None
    block = market.view("words")["value"]
    head = block[at : at + _HEAD].view(PATH)[0]
    n, start_ns, step_ns = int(head["points"]), int(head["start_ns"]), int(head["step_ns"])
    prices = block[at + _HEAD : at + _HEAD + n].view(np.float64).copy()
    if step_ns:
        return PricePath(start_ns + step_ns * np.arange(n), prices)
    return PricePath(block[at + _HEAD + n : at + _HEAD + 2 * n].copy(), prices)


@dataclass(frozen=True)
class SparseMeanReverting:
    """Ornstein-Uhlenbeck process with rare large shocks, sampled exactly on the grid.

    ``dr = κ (r̄ - r) dt + σ dW``; over ``d`` nanoseconds the mean moves by ``exp(-κ d)`` and the
    variance is ``σ² (1 - exp(-2 κ d)) / (2 κ)``. It never goes below zero.

    Parameters
    ----------
    r_bar : mean r̄ and first value [ticks].
    kappa : rate of reversion κ [1/ns].
    volatility : σ [ticks per √ns].
    megashock_rate : Poisson rate [1/ns].
    megashock_mean, megashock_variance : size of a shock [ticks, ticks²]; its sign is a coin's.
    step : of the grid.

    References: Byrd (2019), "Explaining Agent-Based Financial Market Simulation".
    """

    r_bar: float = 100_000.0
    kappa: float = 1.67e-16
    volatility: float = 5e-5
    megashock_rate: float = 2.77778e-18
    megashock_mean: float = 1_000.0
    megashock_variance: float = 50_000.0
    step: int | str = "1s"

    def __post_init__(self) -> None:
        checks.positive("r_bar", self.r_bar)
        for field in ("kappa", "volatility", "megashock_rate", "megashock_variance"):
            checks.at_least_zero(field, getattr(self, field))
        checks.number("megashock_mean", self.megashock_mean)
        _step_ns(self.step)

    def draw(self, rng: np.random.Generator, open_ns: int, close_ns: int) -> PricePath:
        """A path over a session."""
        step_ns, times = _grid(self.step, open_ns, close_ns)
        n = len(times)
        deviation = self.volatility * math.sqrt(_grown(step_ns, 2 * self.kappa))
        shocks = rng.standard_normal(n - 1) * deviation
        jumps = np.zeros(n - 1)
        expected = self.megashock_rate * (close_ns - open_ns)
        if expected > MAX_SHOCKS:
            raise ConfigError(
                f"megashock_rate must give at most {MAX_SHOCKS:,} shocks, {self.megashock_rate:g}"
                f" gives {expected:.3g}"
            )
        count = int(rng.poisson(expected))
        places = rng.integers(0, n - 1, count)
        sizes = rng.normal(self.megashock_mean, math.sqrt(self.megashock_variance), count)
        np.add.at(jumps, places, sizes * rng.choice([-1.0, 1.0], count))
        prices = np.empty(n)
        keep = math.exp(-self.kappa * step_ns)
        mean_reverting(prices, float(self.r_bar), float(self.r_bar), keep, shocks, jumps)
        return PricePath(times, prices)


@dataclass(frozen=True)
class MeanReverting:
    """Dense discrete mean reversion: ``r[t+1] = r[t] + κ (r̄ - r[t]) + u``, u ~ N(0, σ_s).

    Parameters
    ----------
    r_bar : mean r̄ and first value [ticks].
    kappa : share of the way back to the mean at each step, 0 to 1.
    shock_variance : σ_s, variance of a step's shock [ticks²].
    step : time of a step.

    References: Wah & Wellman (2017), "Latency arbitrage in fragmented markets".
    """

    r_bar: float = 100_000.0
    kappa: float = 1e-5
    shock_variance: float = 2.5
    step: int | str = "1s"

    def __post_init__(self) -> None:
        checks.positive("r_bar", self.r_bar)
        if not 0 <= checks.number("kappa", self.kappa) <= 1:
            raise ConfigError(f"kappa must be from 0 to 1, was {self.kappa:g}")
        checks.at_least_zero("shock_variance", self.shock_variance)
        _step_ns(self.step)

    def draw(self, rng: np.random.Generator, open_ns: int, close_ns: int) -> PricePath:
        """A path over a session."""
        _, times = _grid(self.step, open_ns, close_ns)
        n = len(times)
        shocks = rng.standard_normal(n - 1) * math.sqrt(self.shock_variance)
        prices = np.empty(n)
        mean = float(self.r_bar)
        mean_reverting(prices, mean, mean, 1.0 - self.kappa, shocks, np.zeros(n - 1))
        return PricePath(times, prices)


@dataclass(frozen=True)
class FileOracle:
    """A path from a CSV or Parquet file with columns ``time_ns`` and ``price_ticks``.

    Parameters
    ----------
    path : the file. Times are nanoseconds since midnight, or HH:MM:SS text.
    max_gap : longest time between two rows.
    """

    path: str
    max_gap: int | str = "1min"

    def __post_init__(self) -> None:
        checks.text("path", self.path)
        if parse_span(self.max_gap, "max_gap") < 1:
            raise ConfigError(f"max_gap must be > 0, was {self.max_gap!r}")

    def draw(self, rng: np.random.Generator, open_ns: int, close_ns: int) -> PricePath:
        """The file's path; it must cover the session without gaps."""
        path = read_price_path(self.path)
        try:
            path.covers(open_ns, close_ns, parse_span(self.max_gap))
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from error
        return path


#: Type of an oracle in a configuration -> its class.
ORACLES: dict[str, type[Any]] = {
    "sparse_mean_reverting": SparseMeanReverting,
    "mean_reverting": MeanReverting,
    "file": FileOracle,
}


def read_price_path(file: str | Path) -> PricePath:
    """Read ``time_ns`` and ``price_ticks`` from a CSV or Parquet file.

    Raises
    ------
    DataError
        If the file cannot be read, lacks a column, has missing values, or is no price path.
    """
    import pandas as pd

    from marketsim.clock import parse_time

    file = Path(file)
    try:
        table = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)
    except FileNotFoundError:
        raise DataError(f"{file}: no such file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: not a table: {error}") from error
    for column in ("time_ns", "price_ticks"):
        if column not in table:
            raise DataError(
                f"{file}: column {column!r} is missing, has {', '.join(map(str, table))}"
            )
        missing = np.flatnonzero(table[column].isna())
        if len(missing):
            raise DataError(f"{file}: {column} is missing in row {int(missing[0])}")
    try:
        times = np.asarray(table["time_ns"])
        if times.dtype.kind not in "iu":
            times = np.array([parse_time(value, "time_ns") for value in times], np.int64)
        return PricePath(times, np.asarray(table["price_ticks"], np.float64))
    except (ConfigError, DataError, ValueError) as error:
        raise DataError(f"{file}: {error}") from error


def draw_paths(
    oracles: Mapping[str, Any],
    given: Mapping[str, PricePath],
    market: "Market",
    symbols: list[str],
    seed: int,
    open_ns: int,
    close_ns: int,
) -> None:
    """Put the fundamental value of every symbol that has one into a market's block."""
    for number, symbol in enumerate(symbols):
        if symbol in given:
            if not isinstance(given[symbol], PricePath):
                raise ConfigError(
                    f"price_paths.{symbol} must be a PricePath, was {given[symbol]!r}"
                )
            given[symbol].covers(open_ns, close_ns)
            given[symbol].write(market, number)
        elif symbol in oracles:
            oracle = oracles[symbol]
            rng = generator_for(seed, _STREAM + number)
            path = oracle.draw(rng, open_ns, close_ns)
            path.write(market, number, getattr(oracle, "r_bar", None))


def _step_ns(step: int | str) -> int:
    step_ns = parse_span(step, "step")
    if step_ns < 1:
        raise ConfigError(f"step must be > 0, was {step!r}")
    return step_ns


def _grid(step: int | str, open_ns: int, close_ns: int) -> tuple[int, NDArray[np.int64]]:
    """Step and times of a grid from the open to the first point at or after the close."""
    step_ns = _step_ns(step)
    points = -(-(close_ns - open_ns) // step_ns) + 1
    if points > MAX_POINTS:
        raise ConfigError(
            f"step must give at most {MAX_POINTS:,} points, {step!r} gives {points:,}"
        )
    return step_ns, open_ns + step_ns * np.arange(points)


def _grown(span_ns: float, rate: float) -> float:
    """``(1 - exp(-rate · span)) / rate``, and its limit for a rate of 0."""
    return -math.expm1(-rate * span_ns) / rate if rate > 0 else span_ns
