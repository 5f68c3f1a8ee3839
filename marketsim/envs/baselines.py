"""Policies to beat: fixed spreads and Avellaneda-Stoikov for market making; TWAP for execution.

A policy is a function ``(observation, info) -> action``, of one environment or of a vector of them:
then rows and columns go in, and an action for each row comes out.

References: Avellaneda & Stoikov (2008), "High-frequency trading in a limit order book".
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marketsim import checks
from marketsim.envs.background import Background
from marketsim.envs.execution import HOLD, MARKET, PASSIVE, Execution
from marketsim.envs.market_env import MarketEnv
from marketsim.envs.market_making import ASK_THETA, BID_THETA, MarketMaking
from marketsim.envs.task import Task
from marketsim.errors import ConfigError, DataError

Policy = Callable[[NDArray[np.float32], Mapping[str, Any]], Any]
Array = NDArray[np.float64]
AnyTask = TypeVar("AnyTask", bound=Task)
#: Quotes at a distance are looked at if so many of them were hit.
MIN_HITS = 20


def twap(env: Any) -> Policy:
    """Even slices of the parent order at the market: as much as an even schedule asks for."""
    task = _task_of(env, Execution)

    def policy(observation: NDArray[np.float32], info: Mapping[str, Any]) -> Any:
        left = np.asarray(info["remaining_lots"]) / task.quantity
        goal = np.round(_time_left(task, observation) * task.steps - 1.0) / task.steps
        ahead = np.maximum(left - goal, 0.0)
        if task.actions == "discrete":
            return _whole(np.where(ahead > 1e-9, MARKET, HOLD))
        return _row(2.0 * ahead / np.maximum(left, 1e-9) - 1.0, -1.0)

    return policy


def immediate(env: Any) -> Policy:
    """Market orders until all is traded."""
    return _always(_task_of(env, Execution), MARKET, (1.0, -1.0))


def passive(env: Any) -> Policy:
    """Wait at the near touch, for all that is left (discrete: for one ``child`` after another)."""
    return _always(_task_of(env, Execution), PASSIVE, (1.0, 0.0))


def fixed_spread(env: Any, distance: float = 1) -> Policy:
    """The same quotes on both sides at all times.

    Parameters
    ----------
    env : of ``MarketMaking``.
    distance : of both quotes from the mid: with discrete actions 1 to 5 mean half-spreads, with
        continuous ones ticks.

    Raises
    ------
    ConfigError
        If there is no such action.
    """
    task = _task_of(env, MarketMaking)
    if task.actions == "discrete":
        pairs = list(zip(BID_THETA, ASK_THETA, strict=True))
        if (distance, distance) not in pairs:
            raise ConfigError(f"distance must be 1, 2, 3, 4 or 5 half-spreads, was {distance!r}")
        return _always(task, pairs.index((distance, distance)), ())
    most = task.max_offset_ticks
    if not 0 <= checks.number("distance", distance) <= most:
        raise ConfigError(f"distance must be from 0 to max_offset_ticks {most}, was {distance!r}")
    offset = 2.0 * distance / most - 1.0
    return _always(task, 0, (offset, offset, 1.0, 1.0))


def optimal_quotes(
    mid: ArrayLike, inventory: ArrayLike, time_left: ArrayLike, gamma: float, sigma: float, k: float
) -> tuple[Array, Array]:
    """Bid and ask of Avellaneda & Stoikov (2008): around the reservation price, half a spread away.

    The reservation price is ``mid - inventory·gamma·sigma²·time_left``, the spread
    ``gamma·sigma²·time_left + 2/gamma·ln(1 + gamma/k)``.

    Parameters
    ----------
    mid : price of the asset [ticks].
    inventory : in units of one quote.
    time_left : until the end [s].
    gamma : risk aversion [1 / (tick · quote)].
    sigma : volatility of the mid [ticks / sqrt(s)].
    k : decay of the rate of fills with the distance from the mid [1 / tick].
    """
    risk = gamma * sigma**2 * np.asarray(time_left, np.float64)
    reservation = np.asarray(mid) - np.asarray(inventory) * risk
    half = 0.5 * risk + math.log1p(gamma / k) / gamma
    return reservation - half, reservation + half


class AvellanedaStoikov:
    """Closed-form quotes of Avellaneda & Stoikov, whole ones, for continuous actions.

    Quotes beyond the mid, which a large inventory asks for, are put at the mid; those beyond
    ``max_offset_ticks`` there.

    Parameters
    ----------
    env : of ``MarketMaking``.
    gamma, sigma, k : as in :func:`optimal_quotes`; of the last two, :func:`estimate` gives values.

    Raises
    ------
    ConfigError
        If the actions are discrete, or a parameter is not positive.
    """

    def __init__(self, env: Any, gamma: float, sigma: float, k: float) -> None:
        self.task = _task_of(env, MarketMaking)
        if self.task.actions != "continuous":
            raise ConfigError(
                f"AvellanedaStoikov: needs actions='continuous', was {self.task.actions!r}"
            )
        self.gamma = checks.positive("gamma", gamma)
        self.sigma = checks.positive("sigma", sigma)
        self.k = checks.positive("k", k)

    def __call__(self, observation: NDArray[np.float32], info: Mapping[str, Any]) -> Any:
        """Actions for these rows, or for one."""
        task = self.task
        left_s = _time_left(task, observation) * task.window_ns / 1e9
        inventory = np.asarray(info["inventory_lots"]) / task.quote_size
        bid, ask = optimal_quotes(0.0, inventory, left_s, self.gamma, self.sigma, self.k)
        most = task.max_offset_ticks
        bid_offset, ask_offset = np.clip(-bid, 0.0, most), np.clip(ask, 0.0, most)
        return _row(2.0 * bid_offset / most - 1.0, 2.0 * ask_offset / most - 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class FillModel:
    """What :func:`estimate` found.

    Parameters
    ----------
    sigma : volatility of the mid [ticks / sqrt(s)].
    k : decay of the rate of fills with the distance from the mid [1 / tick].
    rate : of fills at the mid [1 / s]: quotes at a distance are hit ``rate * exp(-k * distance)``
        times a second.
    """

    sigma: float
    k: float
    rate: float


def estimate(env: Any, seeds: Iterable[int] = range(4)) -> FillModel:
    """Volatility and rates of fills in the background of an environment, without its agent.

    Each market is recorded from the environment's first start for the length of its window. A quote
    of the task's interval at a distance from the mid counts as hit if anything traded there or
    beyond before the interval's end; ``k`` and ``rate`` are a least-squares fit of the logarithm of
    the rates, weighted by hits.

    Raises
    ------
    DataError
        If too little is traded for a fit.
    """
    single = _single(env)
    background = Background(
        single.background.config, {"tape.levels": 1}, single.background.data, tape=True
    )
    starts = np.arange(single.task.steps + 1) * single.task.interval_ns + single._start_ns[0]
    rows = [_recorded(background, seed, starts) for seed in seeds]
    moves = np.concatenate([np.diff(mids) for mids, _ in rows])
    reach = np.concatenate([one.ravel() for _, one in rows])
    interval_s = single.task.interval_ns / 1e9
    k, rate = fit_rates(reach, interval_s)
    return FillModel(float(np.std(moves)) / math.sqrt(interval_s), k, rate)


def _recorded(background: Background, seed: int, starts: NDArray[np.int64]) -> tuple[Array, Array]:
    """Mids at these times, and how far trades went beyond each until the next, above and below."""
    market = background.market(seed, ())
    market.run(int(starts[-1]))
    book, trades = market.tape.book, market.tape.trades
    rows = np.flatnonzero((book.bid_size_lots[:, 0] > 0) & (book.ask_size_lots[:, 0] > 0))
    at = np.searchsorted(book.time_ns[rows], starts, side="right") - 1
    if at[0] < 0:
        raise DataError("estimate: the market has not two sides yet at the start")
    touch = book.bid_price_ticks[rows[at], 0] + book.ask_price_ticks[rows[at], 0]
    mids = 0.5 * touch.astype(np.float64)
    reach = np.full((2, len(starts) - 1), -np.inf)
    interval = np.searchsorted(starts, trades["time_ns"], side="left") - 1
    inside = (interval >= 0) & (interval < len(starts) - 1)
    interval, price = interval[inside], trades["price_ticks"][inside]
    np.maximum.at(reach[0], interval, price - mids[interval])
    np.maximum.at(reach[1], interval, mids[interval] - price)
    return mids, reach


def fit_rates(reach: ArrayLike, interval_s: float) -> tuple[float, float]:
    """Fit ``rate * exp(-k * distance)`` to how often quotes are hit.

    Parameters
    ----------
    reach : how far trades went beyond the mid in each interval and on each side [ticks]; -inf if
        there was none.
    interval_s : length of an interval.

    Returns
    -------
    k [1 / tick], rate [1 / s].

    Raises
    ------
    DataError
        If fewer than two distances were hit :data:`MIN_HITS` times.
    """
    far = np.asarray(reach, np.float64)
    distances = np.unique(far[np.isfinite(far) & (far > 0.0)])
    hits = np.array([np.count_nonzero(far >= distance) for distance in distances])
    enough = (hits >= MIN_HITS) & (hits < len(far))
    if np.count_nonzero(enough) < 2:
        raise DataError(
            f"estimate: two distances must be hit {MIN_HITS} times, of"
            f" {len(distances)} were {np.count_nonzero(enough)}; record more seeds"
        )
    distances, hits = distances[enough], hits[enough]
    rates = -np.log1p(-hits / len(far)) / interval_s
    slope, level = np.polyfit(distances, np.log(rates), 1, w=np.sqrt(hits))
    return -float(slope), float(np.exp(level))


def _single(env: Any) -> MarketEnv:
    """The environment, or the first of a vector of them, without wrappers."""
    base = env.unwrapped
    for single in (base, *getattr(base, "envs", ())[:1]):
        if isinstance(single.unwrapped, MarketEnv):
            return single.unwrapped
    raise ConfigError(f"env must be of a task in a market, was {base}")


def _task_of(env: Any, kind: type[AnyTask]) -> AnyTask:
    task = _single(env).task
    if not isinstance(task, kind):
        raise ConfigError(f"env must be of {kind.__name__}, was of {type(task).__name__}")
    return task


def _always(task: Any, choice: int, row: tuple[float, ...]) -> Policy:
    def policy(observation: NDArray[np.float32], info: Mapping[str, Any]) -> Any:
        shape = np.shape(observation)[:-1]
        if task.actions == "discrete":
            return _whole(np.full(shape, choice))
        return _row(*(np.full(shape, value) for value in row))

    return policy


def _time_left(task: Task, observation: NDArray[np.float32]) -> Array:
    """Share of the window that is left, exactly: the observation's is rounded."""
    passed = 0.5 * (observation[..., task.observed.index("time")].astype(np.float64) + 1.0)
    left: Array = 1.0 - np.round(passed * task.steps) / task.steps
    return left


def _whole(choices: NDArray[Any]) -> Any:
    return int(choices) if choices.ndim == 0 else choices.astype(np.int64)


def _row(*numbers: Any) -> NDArray[np.float32]:
    """Numbers, or columns of them, as rows of actions."""
    return np.stack(np.broadcast_arrays(*numbers), axis=-1).astype(np.float32)
