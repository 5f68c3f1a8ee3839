"""The result of a simulation: tape, accounts, summary."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marketsim.account import account_table
from marketsim.clock import format_time
from marketsim.codes import PhaseReason, Reject
from marketsim.errors import DataError
from marketsim.history import Counter
from marketsim.tape import Tape

if TYPE_CHECKING:
    import pandas as pd

    from marketsim.simulation import Simulation


@dataclass(frozen=True)
class Run:
    """What a simulation gave.

    Attributes
    ----------
    tape : of the first symbol; ``tapes`` has them all by name.
    accounts : DataFrame with a row for each agent and symbol, see
        :func:`marketsim.account.account_table`.
    summary : JSON values: counts, rejects by reason, what recorded flow could no longer do
        (``history``), auctions and halts where there were any, what each agent says of itself
        (``agents``), the digest of the state.
    config : the configuration that was run.
    """

    tape: Tape
    accounts: "pd.DataFrame"
    summary: dict[str, Any]
    config: Any
    tapes: Mapping[str, Tape] = field(repr=False)

    def save(self, folder: str | Path) -> None:
        """Write ``tape/``, ``accounts.parquet``, ``summary.json`` and ``config.json``.

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
            self.accounts.to_parquet(beside, index=False)
            os.replace(beside, folder / "accounts.parquet")
            for name, content in (("config", self.config.to_dict()), ("summary", self.summary)):
                beside = folder / f"{name}.json.tmp"
                beside.write_text(json.dumps(content, indent=1) + "\n")
                os.replace(beside, folder / f"{name}.json")
        except OSError as error:
            raise DataError(f"{folder}: cannot be written: {error.strerror}") from error


def make_run(simulation: "Simulation") -> Run:
    """Collect the end state of a simulation."""
    market = simulation._market
    marks = [_mark(simulation, book) for book in range(len(simulation.symbols))]
    tapes = simulation.tapes
    accounts = account_table(market, simulation.agent_names, simulation.symbols, marks)
    return Run(
        tapes[simulation.symbols[0]], accounts, _summary(simulation), simulation.config, tapes
    )


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
    agents = {}
    for agent, name in enumerate(simulation.agent_names):
        if agent in simulation._compiled:
            said = simulation._compiled[agent].summary(market)
        else:
            python_agent, handle = simulation._python[agent]
            said = python_agent.summary(handle)
        agents[name] = {"agent_id": agent, "type": simulation.agent_types[agent], **said}
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
