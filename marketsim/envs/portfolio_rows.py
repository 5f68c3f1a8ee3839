"""The market of the portfolio environment: wealth and weights of many rows, in columns, compiled.

References: Jiang, Xu & Liang (2017), A Deep Reinforcement Learning Framework for the Financial
Portfolio Management Problem, arXiv:1706.10059, eqs. 7 to 14
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marketsim.compile import entry, helper


class PortfolioRows(NamedTuple):
    """Episodes in progress, one a row. The last asset of ``weights`` is cash.

    returns : float64[n, lookback + steps, assets], log returns; index k holds bar
        ``k - lookback``, so that the bars before bar k are at k to ``k + lookback - 1``; 0 where
        they are not known
    known : int64[n], bars known before the first one of the episode
    seen : float32[n, lookback + steps, assets], returns as the observation shows them
    growth : float64[n, steps, assets], price at a bar's end by that at its start
    wealth : float64[n, steps + 1], after each step; 1 at the start
    weights : float64[n, steps + 1, assets + 1], after each step, drifted with the prices
    step : int64[n], steps taken
    over : bool[n], whether the episode is over, or never began
    """

    returns: NDArray[np.float64]
    known: NDArray[np.int64]
    seen: NDArray[np.float32]
    growth: NDArray[np.float64]
    wealth: NDArray[np.float64]
    weights: NDArray[np.float64]
    step: NDArray[np.int64]
    over: NDArray[np.bool_]

    @classmethod
    def empty(cls, n: int, steps: int, lookback: int, assets: int) -> "PortfolioRows":
        """Return ``n`` rows without an episode."""
        return cls(
            returns=np.zeros((n, lookback + steps, assets)),
            known=np.zeros(n, dtype=np.int64),
            seen=np.zeros((n, lookback + steps, assets), dtype=np.float32),
            growth=np.ones((n, steps, assets)),
            wealth=np.ones((n, steps + 1)),
            weights=np.zeros((n, steps + 1, assets + 1)),
            step=np.zeros(n, dtype=np.int64),
            over=np.ones(n, dtype=np.bool_),
        )

    def row(self, row: int) -> "PortfolioRows":
        """Return one row: the same memory."""
        return PortfolioRows(*[column[row : row + 1] for column in self])  # type: ignore[arg-type]

    def copies(self) -> "PortfolioRows":
        """Return the same values in memory of their own."""
        return PortfolioRows(*[column.copy() for column in self])  # type: ignore[arg-type]

    def start(self, path: NDArray[np.float64], start: int, return_scale: float) -> None:
        """Begin an episode in the only row: ``path[start:]``, and what is known before it.

        path : float64[bars, assets], log returns
        """
        steps = self.growth.shape[1]
        lookback = self.returns.shape[1] - steps
        known = min(start, lookback)
        self.returns[0, : lookback - known] = 0.0
        self.returns[0, lookback - known :] = path[start - known : start + steps]
        self.known[0] = known
        self.seen[0] = np.tanh(return_scale * self.returns[0])
        self.growth[0] = np.exp(self.returns[0, lookback:])
        self.wealth[0, 0] = 1.0
        self.weights[0, 0] = 0.0
        self.weights[0, 0, -1] = 1.0  # all cash
        self.step[0] = 0
        self.over[0] = False


@helper
def _shrink(held, wished, cost):
    """Return mu: wealth after a rebalancing by wealth before it, from weights [assets + 1].

    Jiang et al., eq. 14, with one rate for purchases and sales:
    ``mu (1 - c w0) = 1 - c w0' - (2c - c^2) sum_i (wi' - mu wi)^+``, w' before and w after. The
    right side is piecewise linear and convex in mu, so Newton's steps from 1 come down on the
    solution and reach it as soon as the assets that are sold no longer change: it is exact.
    """
    cash = held.size - 1
    both = cost * (2.0 - cost)
    mu = 1.0
    sold = -1
    for _ in range(held.size + 1):
        top = 1.0 - cost * held[cash]
        bottom = 1.0 - cost * wished[cash]
        now = 0
        for asset in range(cash):
            if held[asset] > mu * wished[asset]:
                top -= both * held[asset]
                bottom -= both * wished[asset]
                now += 1
        if now == sold:  # the assets sold only grow in number: as many are the same
            break
        sold = now
        mu = min(1.0, top / bottom)
    return mu


@helper
def _observe(rows, row, observation):
    """Write what is known after ``rows.step[row]`` steps: float32[lookback * d + d + 2]."""
    steps, assets = rows.growth.shape[1], rows.growth.shape[2]
    lookback = rows.seen.shape[1] - steps
    step = rows.step[row]
    at = 0
    for bar in range(step, step + lookback):
        for asset in range(assets):
            observation[at] = rows.seen[row, bar, asset]
            at += 1
    for asset in range(assets + 1):
        observation[at] = 2.0 * rows.weights[row, step, asset] - 1.0
        at += 1
    observation[at] = 2.0 * step / steps - 1.0


@helper
def _trade(held, action, cost, wished):
    """Write the weights that an action wishes for; return mu and what is traded by wealth."""
    assets = action.size
    total = 0.0
    for asset in range(assets):
        wished[asset] = 0.5 * (action[asset] + 1.0)
        total += wished[asset]
    if total > 1.0:
        for asset in range(assets):
            wished[asset] /= total
    wished[assets] = max(0.0, 1.0 - total)
    mu = _shrink(held, wished, cost)
    traded = 0.0
    for asset in range(assets):
        change = mu * wished[asset] - held[asset]
        # Of what is spent on a purchase, 1 - cost becomes the asset.
        traded += change / (1.0 - cost) if change > 0.0 else -change
    return mu, traded


@entry
def step_rows(
    returns, known, seen, growth, wealth, weights, step, over, actions, active, cost, ruin
):
    """Rebalance the active rows, then let one bar pass; all checks come first.

    Plain Python: ``wealth *= mu * sum(wished * growth)`` for each row; see the twin in
    tests/test_portfolio.py.

    The first arguments are the columns of ``PortfolioRows``, one by one: numba takes ten times
    as long to unpack a tuple of them as the step takes.

    actions : float64[n, assets]; cost : share of what is traded; ruin : wealth that ends it

    Returns ``(wrong, observations, rewards, terminated, truncated, steps, wealth, turnover,
    cost_paid, growth)``, fresh arrays [n, ...]; ``wrong`` is an active row without an episode,
    or -1: then nothing has moved; rows that are not active hold zeros.
    """
    rows = PortfolioRows(returns, known, seen, growth, wealth, weights, step, over)
    n, bars, assets = rows.growth.shape
    width = (rows.seen.shape[1] - bars) * assets + assets + 2
    observations = np.zeros((n, width), dtype=np.float32)
    rewards, worth, turnover = np.zeros(n), np.zeros(n), np.zeros(n)
    paid, grew = np.zeros(n), np.zeros(n)
    terminated, truncated = np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
    steps = np.zeros(n, dtype=np.int64)
    wrong = -1
    for row in range(n):
        if active[row] and wrong < 0:
            if rows.over[row]:
                wrong = row
    wished = np.empty(assets + 1)
    for row in range(n):
        if wrong >= 0 or not active[row]:
            continue
        now = rows.step[row]
        before = rows.wealth[row, now]
        mu, traded = _trade(rows.weights[row, now], actions[row], cost, wished)
        grown = wished[assets]
        for asset in range(assets):
            grown += wished[asset] * rows.growth[row, now, asset]
        for asset in range(assets):
            weight = wished[asset] * rows.growth[row, now, asset] / grown
            rows.weights[row, now + 1, asset] = weight
        rows.weights[row, now + 1, assets] = wished[assets] / grown
        after = before * mu * grown
        now += 1
        rows.wealth[row, now] = after
        rows.step[row] = now
        steps[row] = now
        worth[row] = after
        turnover[row] = traded
        paid[row] = cost * traded * before
        rewards[row] = math.log(mu * grown)
        grew[row] = rewards[row]
        terminated[row] = after < ruin
        truncated[row] = now == bars
        rows.over[row] = terminated[row] or truncated[row]
        _observe(rows, row, observations[row])
    return (
        wrong,
        observations,
        rewards,
        terminated,
        truncated,
        steps,
        worth,
        turnover,
        paid,
        grew,
    )


@entry
def observe(returns, known, seen, growth, wealth, weights, step, over):
    """Return what is known in each row: float32[n, lookback * assets + assets + 2]."""
    rows = PortfolioRows(returns, known, seen, growth, wealth, weights, step, over)
    n, bars, assets = rows.growth.shape
    width = (rows.seen.shape[1] - bars) * assets + assets + 2
    observations = np.zeros((n, width), dtype=np.float32)
    for row in range(n):
        _observe(rows, row, observations[row])
    return observations
