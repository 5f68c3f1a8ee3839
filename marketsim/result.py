"""The result of a simulation: tape, accounts, summary."""

import functools
import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from marketsim.account import account_columns
from marketsim.clock import format_time
from marketsim.codes import PhaseReason, Reject
from marketsim.errors import DataError
from marketsim.history import Counter
from marketsim.oracle import path_of
from marketsim.tape import Tape
from marketsim.tape_io import write_parquet

if TYPE_CHECKING:
    import pandas as pd

    from marketsim.simulation import Simulation


@dataclass(frozen=True)
class Run:
    """What a simulation gave.

    Attributes
    ----------
    tape : of the first symbol; ``tapes`` has them all by name.
    summary : JSON values: counts, rejects by reason, what recorded flow could no longer do
        (``history``), auctions and halts where there were any, what each agent says of itself
        (``agents``), the digest of the state.
    config : the configuration that was run.
    account_columns : columns of :attr:`accounts`.
    fundamental : by symbol, int64[n] times [ns] and float64[n] prices [ticks] of the fundamental
        value, linear in between; symbols without an oracle have none.
    """

    tape: Tape
    summary: dict[str, Any]
    config: Any
    tapes: Mapping[str, Tape] = field(repr=False)
    account_columns: Mapping[str, Any] = field(repr=False)
    fundamental: Mapping[str, tuple[Any, Any]] = field(repr=False, default_factory=dict)

    @functools.cached_property
    def accounts(self) -> "pd.DataFrame":
        """A row for each agent and symbol, see :func:`marketsim.account.account_columns`."""
        import pandas as pd  # takes as long to import as a day to simulate

        return pd.DataFrame(dict(self.account_columns))

    def save(self, folder: str | Path) -> None:
        """Write ``tape/``, ``accounts.parquet``, ``summary.json`` and ``config.json``.

        With fundamental values, ``fundamental.parquet`` has them: symbol, time_ns, price_ticks.

        Raises
        ------
        DataError
            If the folder cannot be written to; no file is left half-written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tapes = self.tapes if self.config.tape.enabled else {}
            for number, (symbol, tape) in enumerate(tapes.items()):
                target = folder / ("tape" if number == 0 else f"tape-{symbol}")
                if not (target / "manifest.json").exists():
                    tape.save(target)
            beside = folder / "accounts.parquet.tmp"
            write_parquet(beside, self.account_columns)
            os.replace(beside, folder / "accounts.parquet")
            if self.fundamental:
                beside = folder / "fundamental.parquet.tmp"
                write_parquet(beside, _long(self.fundamental))
                os.replace(beside, folder / "fundamental.parquet")
            for name, content in (("config", self.config.to_dict()), ("summary", self.summary)):
                beside = folder / f"{name}.json.tmp"
                beside.write_text(json.dumps(content, indent=1) + "\n")
                os.replace(beside, folder / f"{name}.json")
        except OSError as error:
            raise DataError(f"{folder}: cannot be written: {error.strerror}") from error


def _long(paths: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Paths by symbol as columns."""
    times, prices = zip(*paths.values(), strict=True)
    symbols = [[symbol] * len(path[0]) for symbol, path in paths.items()]
    return {
        "symbol": list(itertools.chain(*symbols)),
        "time_ns": np.concatenate(times),
        "price_ticks": np.concatenate(prices),
    }


def make_run(simulation: "Simulation") -> Run:
    """Collect the end state of a simulation."""
    market = simulation._market
    marks = [_mark(simulation, book) for book in range(len(simulation.symbols))]
    tapes = simulation.tapes
    return Run(
        tapes[simulation.symbols[0]],
        _summary(simulation),
        simulation.config,
        tapes,
        account_columns(market, simulation.agent_names, simulation.symbols, marks),
        _fundamental(simulation),
    )


def _fundamental(simulation: "Simulation") -> dict[str, tuple[Any, Any]]:
    paths = {
        symbol: path_of(simulation._market, number)
        for number, symbol in enumerate(simulation.symbols)
    }
    return {s: (path.time_ns, path.price_ticks) for s, path in paths.items() if path is not None}


def _mark(simulation: "Simulation", book: int) -> int | None:
    """Price at which open positions are valued: the last trade's."""
    record = simulation._market.view("books")[book]
    return int(record["last_ticks"]) if record["traded"] else None


def _incidents(simulation: "Simulation") -> dict[str, Any]:
    """Auctions that traded and halts by rules, in order; nothing when there were none."""
    market = simulation._market
    auctions, halts = [], []
    rows = market.view("incidents")[: int(market.header["incidents_count"])]
    for row in rows:
        what = {"time": format_time(row["time_ns"]), "symbol": simulation.symbols[row["symbol"]]}
        price = int(row["price_ticks"])
        if row["reason"] == 0:
            auctions.append({**what, "price_ticks": price, "volume_lots": int(row["size_lots"])})
            continue
        end = format_time(row["end_ns"]) if row["end_ns"] else None
        reason = PhaseReason(int(row["reason"])).name.lower()
        halts.append({**what, "end": end, "reason": reason, "last_price_ticks": price})
    return {key: rows for key, rows in (("auctions", auctions), ("halts", halts)) if rows}


def _summary(simulation: "Simulation") -> dict[str, Any]:
    market = simulation._market
    counters = market.view("counters")["value"].tolist()
    books = market.view("books")
    history = {which.name.lower(): counters[which] for which in Counter}
    agents: dict[str, Any] = {}
    for group in simulation.groups:
        first = group.members.start
        if group.compiled is not None:
            ids: dict[str, Any] = {"agent_id": first, "type": group.type}
            if len(group.members) > 1:
                ids["count"] = len(group.members)
            agents[group.name] = {**ids, **group.compiled.summary(market)}
            continue
        for agent in group.members:
            python_agent, handle = simulation._python[agent]
            said = python_agent.summary(handle)
            agents[handle.name] = {"agent_id": agent, "type": group.type, **said}
    return {
        "config": simulation.config.name,
        "seed": simulation.seed,
        "symbols": simulation.symbols,
        "start_ns": simulation.start_ns,
        "now_ns": simulation.now_ns,
        "simulated_ns": simulation.now_ns - simulation.start_ns,
        "events": simulation.events,
        "orders": int(books["rows"].sum()),
        "trades": int(books["trades"].sum()),
        "volume_lots": int(books["volume_lots"].sum()),
        "rejects": {
            reason.name.lower(): counters[reason - 100]
            for reason in Reject
            if counters[reason - 100]
        },
        "history": history if history["messages"] else {},
        **_incidents(simulation),
        "agents": agents,
        "wall_s": round(simulation._wall_s, 6),
        "digest": simulation.digest(),
    }
