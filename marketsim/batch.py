"""Many markets side by side: stepped together, on one or more threads, equal to single runs."""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from marketsim.agent import GivenAgents
from marketsim.errors import ConfigError
from marketsim.kernel import BUDGET, DONE, THINK, advance_address, advance_many
from marketsim.result import Run, make_run
from marketsim.simulation import EVENTS_A_CALL, Simulation
from marketsim.thinking import think

#: Called with (simulated time, its end, events so far of all markets).
Progress = Callable[[int, int, int], None]
#: Agents of the market with this seed, given as objects.
AgentsOf = Callable[[int], GivenAgents]
_TICK_S = 0.1


class Batch:
    """Markets that are stepped together.

    Compiled code advances all of them in one call; it comes back to Python only for markets that
    need it: whose Python agents have mail, whose block must grow, whose tape must be emptied. Each
    market goes its own way: what happens in it does not depend on the others or on the threads.

    Parameters
    ----------
    simulations : the markets, of any configurations.
    threads : among which they are divided. Python agents run on the calling thread.

    Raises
    ------
    ConfigError
        If there is no market, one is there twice, or ``threads`` is not positive.
    """

    def __init__(self, simulations: Iterable[Simulation], threads: int = 1) -> None:
        self.simulations = list(simulations)
        if not self.simulations:
            raise ConfigError("simulations must be at least one, were none")
        if len({id(simulation) for simulation in self.simulations}) != len(self.simulations):
            raise ConfigError("simulations must be different objects, one is there twice")
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise ConfigError(f"threads must be an integer > 0, was {threads!r}")
        n = len(self.simulations)
        threads = min(threads, n)
        self._parts = [slice(n * i // threads, n * (i + 1) // threads) for i in range(threads)]
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None
        self._advance = advance_address()
        self._blocks, self._codes = np.empty(n, np.int64), np.empty(n, np.int64)
        self._until_ns = 0

    def __len__(self) -> int:
        return len(self.simulations)

    def step(self, until_ns: int, progress: Progress | None = None) -> None:
        """Advance all markets to a time, this instant included; one that is later stays.

        Raises
        ------
        ConfigError
            If the time goes back.
        """
        if until_ns < self._until_ns:
            raise ConfigError(
                f"until_ns must be >= {self._until_ns}, that of the step before, was {until_ns}"
            )
        self._until_ns = until_ns
        blocks, codes, first = self._blocks, self._codes, self.simulations[0]
        blocks[:] = [simulation._market.address for simulation in self.simulations]
        codes[:] = BUDGET
        next_tick = time.perf_counter() + _TICK_S
        while self._advance_all(until_ns) or self._think():
            for i in np.flatnonzero((codes != DONE) & (codes != THINK)).tolist():
                simulation = self.simulations[i]
                simulation._serve(int(codes[i]))
                blocks[i] = simulation._market.address
            if first._interrupted:
                raise KeyboardInterrupt
            if progress is not None and time.perf_counter() >= next_tick:
                self._tell(progress, until_ns)
                next_tick = time.perf_counter() + _TICK_S
        if progress is not None:
            self._tell(progress, until_ns)

    def _think(self) -> bool:
        """Let the world agents decide, all markets at once; False if no market waits for it."""
        waiting = np.flatnonzero(self._codes == THINK).tolist()
        think(self.simulations[i] for i in waiting)
        for i in waiting:
            self._codes[i] = BUDGET
            self._blocks[i] = self.simulations[i]._market.address
        return bool(waiting)

    def _advance_all(self, until_ns: int) -> int:
        """One pass over all markets that can go on; returns how many still can."""
        address, blocks, codes = self._advance, self._blocks, self._codes
        if self._pool is None:
            left: int = advance_many(address, blocks, until_ns, EVENTS_A_CALL, codes)
            return left
        work = [
            self._pool.submit(
                advance_many, address, blocks[part], until_ns, EVENTS_A_CALL, codes[part]
            )
            for part in self._parts[1:]
        ]
        own = self._parts[0]
        mine: int = advance_many(address, blocks[own], until_ns, EVENTS_A_CALL, codes[own])
        for future in work:
            mine += future.result()
        return mine

    def _tell(self, progress: Progress, until_ns: int) -> None:
        slowest = min(simulation.now_ns for simulation in self.simulations)
        progress(slowest, until_ns, sum(simulation.events for simulation in self.simulations))

    def close(self) -> None:
        """Let the threads go; the markets stay."""
        if self._pool is not None:
            self._pool.shutdown()

    def __enter__(self) -> "Batch":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def run_batch(
    config: Any = "rmsc04",
    seeds: Iterable[int] = range(10),
    *,
    until: int | str | None = None,
    overrides: Mapping[str, Any] | None = None,
    agents: AgentsOf | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> list[Run]:
    """Run one configuration with many seeds; each result equals that of :func:`marketsim.run`.

    With a world agent on a GPU (``overrides={"agents.world.device": "cuda"}``) it is near to it
    only: there the model's sums depend on how many markets it is asked for at once. The same seeds
    give the same results again.

    All markets are in memory at the same time: an RMSC04 day takes some 1.5 MB, and its tape 5 MB.
    A causal model keeps 1 MB of a market, where it computes.

    Parameters
    ----------
    config, overrides, until, progress : as for :func:`marketsim.run`.
    seeds : one market each.
    agents : a function of the seed that makes the market's further agents.
    threads : that share the work; the results do not depend on it.

    Returns
    -------
    list of Run, in the order of the seeds.

    Raises
    ------
    ConfigError, DataError
        As :func:`marketsim.run`; if there are no seeds, or one is given twice.
    """
    from marketsim.configs import load_config

    chosen = list(seeds)
    if not chosen or len(set(chosen)) != len(chosen):
        raise ConfigError(f"seeds must be at least one, each once, were {chosen!r}")
    loaded = load_config(config, overrides)
    simulations = [
        Simulation(loaded, seed, agents=agents(seed) if agents else ()) for seed in chosen
    ]
    until_ns = simulations[0]._until_ns(until)
    with Batch(simulations, threads) as batch, simulations[0]._interruptible():
        batch.step(until_ns, progress)
    return [make_run(simulation) for simulation in simulations]
