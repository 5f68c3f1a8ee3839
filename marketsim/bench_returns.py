"""Benchmark of strategies on windows of returns."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from marketsim.bench_timing import Row, Sizes, fastest
from marketsim.ledger import trade
from marketsim.strategies import STRATEGIES

#: Runs that are timed together, over all strategies in turn.
RUNS = 64
#: One in so many windows is traded by itself, for reference.
ALONE = 60


def strategies(sizes: Sizes) -> Iterator[Row]:
    """Runs of strategies over windows of 24 returns of three assets, all at once and one by one."""
    n = sizes.strategy_windows
    draw = np.random.default_rng(0)
    returns = draw.standard_t(4, (n, 24, 3)) * 0.005
    prices = np.array([60_000.0, 3_000.0, 600.0]) * np.exp(np.cumsum(returns, axis=1))
    names = [list(STRATEGIES)[run % len(STRATEGIES)] for run in range(RUNS)]
    some = prices[::ALONE]
    together_s, alone_s = fastest(
        lambda: _run(names, [prices]),
        lambda: _run(names, [some[i : i + 1] for i in range(len(some))]),
        repeats=sizes.repeats,
    )
    speed, one_by_one = RUNS * n / together_s, RUNS * len(some) / alone_s
    label = f"{RUNS} strategies over {n:,} windows"
    yield Row("strategies", label, together_s, "s")
    yield Row("strategies", f"{label}: speed", speed, "windows/s", "one by one", speed / one_by_one)


def _run(names: list[str], parts: list[NDArray[np.float64]]) -> None:
    for name in names:
        for prices in parts:
            trade(name, prices)
