"""Synthetic order-flow data: a market that a generator writes, as a tape and as other formats."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marketsim.agents.world import WorldAgent
from marketsim.batch import Batch
from marketsim.checks import integer
from marketsim.clock import NS_PER_DAY, NS_PER_MINUTE, NS_PER_SECOND, format_time
from marketsim.data.pieces import Piece
from marketsim.errors import ConfigError, DataError
from marketsim.interrupts import held_back
from marketsim.result import make_run
from marketsim.run_store import write_text
from marketsim.simulation import Simulation
from marketsim.tape import Tape

#: Recorded flow that a market goes on from where no end of it is given.
WARM_UP_NS = 15 * NS_PER_MINUTE
#: Orders where neither a number nor an end is given.
ORDERS = 10_000


@dataclass(frozen=True)
class SyntheticFlow:
    """A generated tape and where it came from.

    Attributes
    ----------
    tape : what was generated, after the recorded flow or together with it.
    about : JSON values: model, digest, seed, what was played back, what the world agent tells.
    whole : False after Ctrl-C.
    """

    tape: Tape
    about: dict[str, Any]
    whole: bool

    def save(self, folder: Path) -> None:
        """Write ``tape/``, ``trades_lob.csv``, ``lobster/`` and last ``sample.json``.

        Raises
        ------
        DataError
            If the folder cannot be written to.
        """
        try:
            (folder / "lobster").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{folder}: cannot be written: {error.strerror}") from error
        self.tape.save(folder / "tape")
        self.tape.to_trades_lob(folder / "trades_lob.csv")
        self.tape.to_lobster(folder / "lobster")
        write_text(folder / "sample.json", json.dumps(self.about, indent=1) + "\n")


def sample_flow(
    model: str,
    warm_up: Piece,
    *,
    n: int | None = None,
    until_ns: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    sampling: Mapping[str, Any] | None = None,
    with_warm_up: bool = False,
    progress: Callable[[str, float], None] | None = None,
) -> SyntheticFlow:
    """Let a generator go on from recorded flow.

    Parameters
    ----------
    model : name of a shipped generator, or folder.
    warm_up : recorded flow; all of it where its end is given, else its first 15 minutes.
    n, until_ns : how many orders, or until when; 10,000 orders where neither is given.
    sampling : parameters of the model in place of its own, such as how many steps it takes.
    with_warm_up : whether the tape holds the recorded flow too.

    Raises
    ------
    ConfigError
        If both an end and a number are given, or either cannot be.
    DataError, ModelError
        If data or model cannot be read or do not fit each other.
    """
    from marketsim.generators import load
    from marketsim.generators.shared import model_digest, on_device

    if n is not None and until_ns is not None:
        raise ConfigError("n and until exclude each other, both were given")
    wanted = None if until_ns is not None else integer("n", ORDERS if n is None else n, 1)
    recorded = warm_up.open()
    start_ns, last_ns = (int(recorded.orders["time_ns"][at]) for at in (0, -1))
    span_ns = WARM_UP_NS if warm_up.end_ns is None else warm_up.end_ns - start_ns
    begin_ns = start_ns + span_ns
    if begin_ns - NS_PER_MINUTE > last_ns:
        raise DataError(
            f"warm-up: the recorded flow must last until {format_time(begin_ns)[:8]}, ends at"
            f" {format_time(last_ns)[:8]}"
        )
    close_ns = NS_PER_DAY if until_ns is None else until_ns
    if close_ns <= begin_ns:
        raise ConfigError(
            f"until must be after the warm-up, which ends at {format_time(begin_ns)[:8]}, was"
            f" {format_time(close_ns)[:8]}"
        )
    generator = on_device(load(model, **(sampling or {})), device)
    config = {"session": {"open": start_ns, "close": close_ns}, "agents": {}}
    world = WorldAgent(generator, recorded, warm_up=span_ns)
    simulation = Simulation(config, seed, data=recorded, agents={"world": world})
    whole = _run(simulation, begin_ns, close_ns, wanted, progress)
    run = make_run(simulation)
    end_ns = _end(run.tape, begin_ns, wanted, simulation.now_ns)
    tape = run.tape.between(start_ns if with_warm_up else begin_ns, end_ns)
    tape.meta["close_ns"] = min(end_ns, NS_PER_DAY)
    about = {
        "model": model, "model_digest": model_digest(model),
        "sampling": dict(sampling or {}),
        "seed": seed, "warm_up": warm_up.path, "warm_up_from": format_time(start_ns),
        "generated_from": format_time(begin_ns), "generated_to": format_time(end_ns),
        "with_warm_up": with_warm_up, "orders": len(tape),
        "world": run.summary["agents"]["world"],
    }  # fmt: skip
    return SyntheticFlow(tape, about, whole)


def _run(
    simulation: Simulation,
    begin_ns: int,
    close_ns: int,
    wanted: int | None,
    progress: Callable[[str, float], None] | None,
) -> bool:
    """Run to the close or to so many orders; False if Ctrl-C came first."""
    now_ns = begin_ns
    with Batch([simulation]) as batch, held_back() as interrupted:
        batch.step(begin_ns - 1)
        while now_ns < close_ns:
            now_ns = min(now_ns + NS_PER_SECOND, close_ns)
            batch.step(now_ns)
            agent: Any = simulation.agent("world")
            orders = sum(agent.orders)
            if progress is not None:
                share = (now_ns - begin_ns) / (close_ns - begin_ns)
                share = share if wanted is None else orders / wanted
                progress(f"{format_time(now_ns)[:8]}, {orders:,} orders", min(share, 1.0))
            if wanted is not None and orders >= wanted:
                break
            if interrupted():
                return False
    return True


def _end(tape: Tape, begin_ns: int, wanted: int | None, now_ns: int) -> int:
    """Until when the tape goes: just after the last order that was asked for."""
    times = tape.orders["time_ns"]
    first = int(times.searchsorted(begin_ns))
    if wanted is not None and len(times) >= first + wanted:
        return int(times[first + wanted - 1]) + 1
    return now_ns + 1
