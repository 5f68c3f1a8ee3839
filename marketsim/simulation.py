"""Simulation and Run: a market built from a configuration and a seed, run, forked, saved.

The compiled kernel does the work; what is here builds the block, hands mail to Python agents, takes
the tape away, and turns the end state into tables.
"""

import copy
import hashlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from marketsim.agent import Agent, CompiledAgent, GivenAgents
from marketsim.book import _digest
from marketsim.build import Group, build
from marketsim.checks import did_you_mean
from marketsim.clock import format_time, parse_time
from marketsim.compile import Callback
from marketsim.errors import ConfigError, DataError, StateError
from marketsim.handle import Handle
from marketsim.kernel import BUDGET, DONE, EMPTY_TAPE, GROW, PYTHON, THINK, calls, send_close
from marketsim.mail import deliver
from marketsim.market import Market
from marketsim.oracle import PricePath
from marketsim.recorder import Recorder
from marketsim.result import Run, make_run
from marketsim.rulebook import Schedule, send_schedule
from marketsim.tape import Tape
from marketsim.thinking import Thinker, think

Progress = Callable[[int, int, int], None]
EVENTS_A_CALL = 50_000  # some 50 ms: how long Ctrl-C and the progress bar wait at most
_TICK_S = 0.1


class Simulation:
    """A market that can be run, stepped, forked and saved.

    Parameters
    ----------
    config : name, path, mapping or ``SimulationConfig``.
    seed : of all random streams; equal configurations and seeds give equal tapes, bit for bit.
    overrides : dotted keys, as for :func:`marketsim.load_config`.
    agents : further agents, by name or as a list (named after their classes).
    data : tape that replay agents play back, instead of the configuration's ``data``.
    price_paths : fundamental values by symbol, instead of the configuration's oracles.
    out : folder to which the tape is streamed while the simulation runs; None keeps it in memory.

    Raises
    ------
    ConfigError, DataError
        If the configuration cannot be run or its data cannot be read.
    """

    def __init__(
        self,
        config: Any = "world",
        seed: int = 0,
        *,
        overrides: Mapping[str, Any] | None = None,
        agents: GivenAgents = (),
        data: Tape | None = None,
        price_paths: Mapping[str, PricePath] | None = None,
        out: str | Path | None = None,
    ) -> None:
        self._prepare(config, seed, overrides, agents, data, price_paths)
        self._start()
        self._record(out)

    def _prepare(
        self,
        config: Any,
        seed: int,
        overrides: Mapping[str, Any] | None,
        agents: GivenAgents,
        data: Tape | None,
        price_paths: Mapping[str, PricePath] | None = None,
    ) -> None:
        """Everything but the agents' first messages and the tape."""
        if (
            isinstance(seed, bool)
            or not isinstance(seed, int | np.integer)
            or not 0 <= seed < 2**63
        ):
            raise ConfigError(f"seed must be an integer from 0 to 2**63 - 1, was {seed!r}")
        self.seed = int(seed)
        self._market: Market
        self._python: dict[int, tuple[Agent, Handle]] = {}
        self._interrupted = False
        self._wall_s = 0.0
        self.source_digest: str | None = None
        self._recorder: Recorder
        build(self, config, overrides, agents, data, price_paths)
        self._thinkers = self._find_thinkers()
        self._calls = calls()

    def _record(self, out: str | Path | None) -> None:
        """Begin the tape, in memory or on disk: last, so that no error leaves an empty one."""
        self._recorder = Recorder(self._tape_metas(), out if self.config.tape.enabled else None)
        for group in self.groups:
            if group.reveals is not None:
                self._recorder.watch(group.members.start)

    # -- set up by marketsim.build ----------------------------------------------------------

    config: Any
    symbols: list[str]
    open_ns: int
    close_ns: int
    start_ns: int
    schedule: Schedule
    agent_names: list[str]
    groups: list[Group]
    symbol_configs: list[Any]
    given_agents: list[str]
    source: Tape | None
    _codes: list[Callback]

    def _find_thinkers(self) -> list[tuple[Thinker, Handle]]:
        """Agents that the kernel stops for when their book has changed."""
        pairs = self._python.values()
        return [(agent, handle) for agent, handle in pairs if isinstance(agent, Thinker)]

    def _tape_metas(self) -> list[dict[str, Any]]:
        source = dict(self.source.meta) if self.source is not None else {}
        return [
            {
                "symbol": symbol.name,
                "tick_size": symbol.tick_size,
                "lot_size": symbol.lot_size,
                "units_per_tick": source.get("units_per_tick", 1),
                "levels": self.config.tape.levels,
                "open_ns": self.open_ns,
                "close_ns": self.close_ns,
                "source": "simulation",
                "config": self.config.to_dict(),
                "config_hash": self.config.config_hash,
                "seed": self.seed,
            }
            for symbol in self.symbol_configs
        ]

    def _start(self) -> None:
        """First messages of everybody, in the order of their ids."""
        send_schedule(self)
        send_close(self._market.address, self.close_ns)
        for group in self.groups:
            if group.compiled is not None:
                try:
                    group.compiled.install(self._market, group.members, group.symbol)
                except ConfigError as error:
                    raise ConfigError(f"agents.{group.name}: {error}") from error
            else:
                for agent in group.members:
                    python_agent, handle = self._python[agent]
                    python_agent.on_start(handle)

    # -- running ----------------------------------------------------------------------------

    @property
    def now_ns(self) -> int:
        """The time: nanoseconds since midnight."""
        return int(self._market.scalars[0])

    def run(self, until: int | str | None = None, progress: Progress | None = None) -> Run:
        """Run to a time, by default to the close, and return what there is by then.

        Ctrl-C stops between two events: the tape up to there is kept and readable, and
        ``KeyboardInterrupt`` is raised.

        Parameters
        ----------
        until : "10:30", "10:30:00.5" or nanoseconds since midnight, this instant included.
        progress : called some ten times a second with (now_ns, end_ns, events so far).
        """
        until_ns = self._until_ns(until)
        started = time.perf_counter()
        try:
            with self._interruptible():
                self._advance_to(until_ns, progress)
            self._empty_tape()
        except BaseException:
            self._rescue_tape()
            raise
        finally:
            self._wall_s += time.perf_counter() - started
        self._recorder.finish(self._reveals(), self.now_ns)
        return make_run(self)

    def _until_ns(self, until: int | str | None) -> int:
        until_ns = self.close_ns if until is None else parse_time(until, "until")
        if until_ns < self.now_ns:
            raise ConfigError(
                f"until must not be before {format_time(self.now_ns)}, was {format_time(until_ns)}"
            )
        return until_ns

    def _advance_to(self, until_ns: int, progress: Progress | None) -> None:
        market, advance, serve = self._market, self._calls.advance, self._serve
        next_tick = time.perf_counter() + _TICK_S
        while True:
            code = advance(market.address, until_ns, EVENTS_A_CALL)
            if code == DONE:
                break
            serve(code)
            if self._interrupted:
                raise KeyboardInterrupt
            if progress is not None and time.perf_counter() >= next_tick:
                progress(self.now_ns, until_ns, self.events)
                next_tick = time.perf_counter() + _TICK_S
        if progress is not None:
            progress(self.now_ns, until_ns, self.events)

    def _serve(self, code: int) -> None:
        """Do what the kernel asked for when it returned before it was done."""
        if code == PYTHON:
            deliver(self)
        elif code == THINK:
            think((self,))
        elif code == GROW:
            self._market.grow()
        elif code == EMPTY_TAPE:
            self._empty_tape()
        elif code != BUDGET:
            raise StateError(f"kernel returned {code}")

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Turn a first Ctrl-C into a stop between two events; a second one stops at once."""
        self._interrupted = False
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)
        if before is not signal.default_int_handler:  # somebody else's handler knows better
            yield
            return

        def stop(number: int, frame: Any) -> None:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True

        signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _grow(self) -> None:
        self._market.grow()

    def _empty_tape(self) -> None:
        head = self._market.header
        tables = []
        for name in ("order_rows", "trade_rows", "delta_rows"):
            count = int(head[f"{name}_count"])
            tables.append(self._market.view(name)[:count])
            head[f"{name}_count"] = 0
        self._recorder.take(*tables)

    def _rescue_tape(self) -> None:
        """After an error or Ctrl-C: keep what happened, marked as incomplete."""
        self._empty_tape()
        self._recorder.abandon(self._reveals(), self.now_ns)

    # -- what agents ask for ----------------------------------------------------------------

    def symbol_id(self, name: str) -> int:
        """Number of a symbol.

        Raises
        ------
        ConfigError
            If there is no such symbol.
        """
        if name not in self.symbols:
            raise ConfigError(f"symbol must be one of {', '.join(self.symbols)}, was {name!r}")
        return self.symbols.index(name)

    def _known(self, agent: int, book: int) -> tuple[int, int]:
        account = self._market.view("accounts")[agent * len(self.symbols) + book]
        return int(account["known_position_lots"]), int(account["known_cash"])

    def _subscribe(self, agent: int, book: int, feed: int, levels: int) -> None:
        market = self._market
        count = int(market.header["subscriptions_count"])
        wanted = (agent, book, feed)
        table = market.view("subscriptions")
        for i in range(count):
            if (table[i]["agent"], table[i]["symbol"], table[i]["feed"]) == wanted:
                table[i]["levels"] = levels
                return
        if count == len(table):
            market.resize("subscriptions", 2 * count)
            table = market.view("subscriptions")
        table[count] = (*wanted, levels, 0)
        market.header["subscriptions_count"] = count + 1

    def _unsubscribe(self, agent: int, book: int, feed: int) -> None:
        market = self._market
        count = int(market.header["subscriptions_count"])
        table = market.view("subscriptions")
        kept = [row for row in table[:count].tolist() if tuple(row[:3]) != (agent, book, feed)]
        for i, row in enumerate(kept):
            table[i] = row
        market.header["subscriptions_count"] = len(kept)

    # -- what there is ----------------------------------------------------------------------

    @property
    def events(self) -> int:
        """Events handled so far."""
        return int(self._market.header["processed"])

    def agent(self, name: str) -> Agent | CompiledAgent:
        """The agent of this name as it is now; in a fork, the fork's own copy.

        Raises
        ------
        ConfigError
            If there is no such agent.
        """
        if name not in self.agent_names:
            hint = did_you_mean(name, [group.name for group in self.groups])
            raise ConfigError(f"agent: there is no {name!r}{hint}")
        number = self.agent_names.index(name)
        if number in self._python:
            return self._python[number][0]
        return next(g.compiled for g in self.groups if number in g.members)  # type: ignore[return-value]

    @property
    def tape(self) -> Tape:
        """Everything that has happened so far in the first symbol."""
        return self.tapes[self.symbols[0]]

    @property
    def tapes(self) -> dict[str, Tape]:
        """The tapes of all symbols, by name."""
        self._empty_tape()
        tapes = self._recorder.tapes(self._reveals(), self.now_ns)
        return dict(zip(self.symbols, tapes, strict=True))

    def _reveals(self) -> list[Any]:
        """Reveals that have been played back so far, by symbol."""
        rows: list[Any] = [None] * len(self.symbols)
        for group in self.groups:
            if group.reveals is not None:
                first, symbol = group.members.start, group.symbol
                rows[symbol] = self._recorder.placed(group.reveals, first, symbol)
        return rows

    def digest(self) -> str:
        """SHA-256 of the market's whole state: books, orders, queue, accounts, streams, time.

        Python agents' own attributes are not part of it; what they sent is.
        """
        from marketsim.digest import state_bytes

        digest = hashlib.sha256()
        for book in range(len(self.symbols)):
            digest.update(
                int(_digest(self._market.address, book)).to_bytes(8, "little", signed=True)
            )
        for piece in state_bytes(self._market):
            digest.update(piece)
        return digest.hexdigest()

    # -- fork and save ----------------------------------------------------------------------

    def fork(self) -> "Simulation":
        """A simulation of its own in exactly the same state: an exact counterfactual.

        Raises
        ------
        StateError
            If the tape is streamed to disk, or an agent cannot be copied.
        """
        twin = object.__new__(Simulation)
        twin.__dict__.update(self.__dict__)
        twin._market = self._market.copy()
        twin._recorder = self._recorder.fork()
        twin.source = self.source
        twin._python = {}
        handles = {key: handle._forked(twin) for key, (_, handle) in self._python.items()}
        memo: dict[int, Any] = {id(self): twin}
        for key, (_, handle) in self._python.items():
            memo[id(handle)] = handles[key]
        for key, (agent, _) in self._python.items():
            try:
                twin._python[key] = (copy.deepcopy(agent, memo), handles[key])
            except TypeError as error:
                raise StateError(
                    f"agents.{self.agent_names[key]}: cannot be copied: {error}"
                ) from error
        twin._thinkers = twin._find_thinkers()
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> "Simulation":
        memo[id(self)] = twin = self.fork()
        return twin

    def __reduce__(self) -> tuple[Callable[..., "Simulation"], tuple[Any, ...]]:
        from marketsim.saved import from_bytes, to_bytes

        given = {name: self.agent(name) for name in self.given_agents}
        return from_bytes, (to_bytes(self), given, self.source)

    def save(self, path: str | Path) -> None:
        """Write the whole state to one file, from which :meth:`load` goes on bit for bit.

        Raises
        ------
        StateError
            If an agent has state and no ``state_dict``, or the tape is streamed to disk.
        DataError
            If the file cannot be written.
        """
        from marketsim.saved import save

        save(self, Path(path))

    @classmethod
    def load(
        cls,
        path: str | Path,
        agents: GivenAgents = (),
        data: Tape | None = None,
    ) -> "Simulation":
        """Read what :meth:`save` wrote. Agents and data given as objects are given again.

        Raises
        ------
        DataError
            If the file is missing, damaged or of another version.
        """
        from marketsim.saved import load

        return load(Path(path), agents, data)


def run(
    config: Any = "world",
    *,
    seed: int = 0,
    until: int | str | None = None,
    out: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    agents: GivenAgents = (),
    data: Tape | None = None,
    price_paths: Mapping[str, PricePath] | None = None,
    progress: Progress | None = None,
) -> Run:
    """Build a simulation, run it and, with ``out``, write the run to a folder.

    Parameters are those of :class:`Simulation` and of :meth:`Simulation.run`. With ``out`` the
    tape is streamed to ``out/tape`` while the simulation runs, in constant memory.
    """
    folder = None if out is None else Path(out)
    if folder is not None and (folder / "tape").exists():
        raise DataError(f"out {folder}: holds a run already; choose another folder")
    simulation = Simulation(
        config, seed, overrides=overrides, agents=agents, data=data, price_paths=price_paths
    )
    until_ns = simulation._until_ns(until)
    if folder is not None:
        simulation._record(folder / "tape")
    result = simulation.run(until_ns, progress)
    if folder is not None:
        result.save(folder)
    return result


def replay(
    tape: Tape,
    agents: GivenAgents = (),
    seed: int = 0,
    *,
    progress: Progress | None = None,
) -> Run:
    """Replay recorded flow through the exchange, with agents beside it.

    Examples
    --------
    >>> tape = ms.read_lobster("GOOG_2012-06-21.zip")
    >>> ms.replay(tape, agents=[POVAgent(side="buy", participation=0.1, quantity=20_000)])
    """
    config = {"name": "replay", "data": "given", "agents": {"history": {"type": "replay"}}}
    return run(config, seed=seed, agents=agents, data=tape, progress=progress)


def warmup() -> float:
    """Compile everything that a simulation needs, or load it from the cache; returns seconds."""
    from marketsim.agents.pov import POVAgent
    from marketsim.data.synthetic import synthetic_tape

    started = time.perf_counter()
    tape = synthetic_tape(open="09:30", close="09:32")
    agent = POVAgent(side="buy", participation=0.1, quantity=100, interval="20s")
    simulation = Simulation(
        {"data": "given", "agents": {"history": {"type": "replay"}}}, agents=[agent], data=tape
    )
    simulation.run()
    return time.perf_counter() - started


__all__ = ["Run", "Simulation", "replay", "run", "warmup"]
