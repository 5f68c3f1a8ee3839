"""Takes the tape's rows out of a running market: into memory, or to disk at constant memory."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from marketsim.errors import DataError, StateError
from marketsim.tape import MemoryTape, Tape


class Recorder:
    """One tape a symbol.

    Parameters
    ----------
    metas : what is known of each symbol's tape from the start.
    out : folder to stream to (``out-SYMBOL`` beyond the first symbol), or None for memory.
    """

    def __init__(self, metas: Sequence[Mapping[str, Any]], out: str | Path | None) -> None:
        self._metas = [dict(meta) for meta in metas]
        self._streams = out is not None
        self._writers: list[Any] = []
        for symbol, meta in enumerate(self._metas):
            if out is None:
                self._writers.append(MemoryTape())
                continue
            from marketsim.tape_stream import StreamTape

            folder = Path(out) if symbol == 0 else Path(f"{out}-{meta['symbol']}")
            self._writers.append(StreamTape(folder, meta))
        self._rows_of_agent: dict[int, list[Any]] = {}
        self._finished: list[Tape] | None = None

    def watch(self, agent: int) -> None:
        """Remember which rows of orders are this agent's."""
        self._rows_of_agent[agent] = []

    def take(self, orders: Any, trades: Any, deltas: Any) -> None:
        """Add the block's rows; they are copied."""
        if not (len(orders) or len(trades) or len(deltas)):
            return
        if self._finished is not None:
            raise StateError("tape: it was streamed to disk and is finished; it takes no more rows")
        for agent, kept in self._rows_of_agent.items():
            kept.append(orders["sequence"][orders["agent_id"] == agent])
        if len(self._writers) == 1:
            self._writers[0].append(orders, trades, deltas)
            return
        for symbol, writer in enumerate(self._writers):
            writer.append(*(rows[rows["symbol"] == symbol] for rows in (orders, trades, deltas)))

    def placed(self, reveals: Any, agent: int, symbol: int) -> Any:
        """Reveals of a source, at the rows that this run's tape has for the source's rows."""
        rows = self.rows_of_agents()[agent]
        source = np.asarray(reveals["sequence"])
        played = np.flatnonzero(source < len(rows))
        sequence = source[played].copy()
        inside = sequence >= 0
        sequence[inside] = rows[sequence[inside]]
        return reveals.take(played, sequence=sequence)

    def tapes(self, reveals: list[Any], now_ns: int) -> list[Tape]:
        """Tapes of what has happened so far; a streamed tape is there when it is finished."""
        if self._finished is not None:
            return self._finished
        if self._streams:
            raise StateError("tape: it is being streamed to disk; it is there when the run ends")
        return self._close(reveals, now_ns, complete=True)

    def _close(self, reveals: list[Any], now_ns: int, complete: bool) -> list[Tape]:
        metas = [self._ended(meta, now_ns, complete) for meta in self._metas]
        finishing = zip(self._writers, metas, reveals, strict=True)
        return [writer.finish(meta, rows) for writer, meta, rows in finishing]

    @staticmethod
    def _ended(meta: Mapping[str, Any], now_ns: int, complete: bool) -> dict[str, Any]:
        ended = {**meta, "complete": complete}
        if now_ns < meta["close_ns"]:
            ended["between"] = [meta["open_ns"], now_ns]
        return ended

    def finish(self, reveals: list[Any], now_ns: int) -> None:
        """The run is over: write what is left of streamed tapes."""
        if self._streams and self._finished is None:
            self._finished = self._close(reveals, now_ns, complete=True)

    def abandon(self, reveals: list[Any], now_ns: int) -> None:
        """Something went wrong: what was streamed stays readable, marked as incomplete."""
        if not self._streams or self._finished is not None:
            return
        tapes = []
        for writer, meta, rows in zip(self._writers, self._metas, reveals, strict=True):
            # A full disk fails here once more; the first error is on its way already.
            with suppress(DataError):
                tapes.append(writer.finish(self._ended(meta, now_ns, complete=False), rows))
        if len(tapes) == len(self._writers):
            self._finished = tapes

    def rows_of_agents(self) -> dict[int, Any]:
        """Rows of orders so far of each watched agent."""
        return {
            agent: np.concatenate([*kept, np.empty(0, np.int64)]).astype(np.int64)
            for agent, kept in self._rows_of_agent.items()
        }

    def restore(self, writers: list[MemoryTape], rows_of_agents: Mapping[int, Any]) -> None:
        """Go on from the rows of a saved simulation."""
        self._writers = list(writers)
        self._rows_of_agent = {agent: [rows] for agent, rows in rows_of_agents.items()}

    def fork(self) -> "Recorder":
        """A recorder with the same rows that goes its own way."""
        if self._streams:
            raise StateError("fork: the tape is streamed to disk; run without `out` to fork")
        twin = object.__new__(Recorder)
        twin._metas, twin._streams = self._metas, False
        twin._writers = [writer.fork() for writer in self._writers]
        twin._rows_of_agent = {agent: list(rows) for agent, rows in self._rows_of_agent.items()}
        twin._finished = None
        return twin
