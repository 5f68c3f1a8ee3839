"""Runs that end early: Ctrl-C, an error in an agent, a full disk. What happened stays readable."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from marketsim.agent import Agent, Handle
from marketsim.simulation import Simulation
from marketsim.tape import Tape

ROOT = Path(__file__).parents[1]

LONG = """
import sys
sys.path.insert(0, "tests")
from conftest import Noise
from marketsim.simulation import Simulation
session = {"open": "09:30", "close": "16:00"}
agents = {"n": {"type": "conftest:Noise", "count": 3, "mean_ns": 100_000}}
def told(now_ns, end_ns, events):
    print(events, flush=True)
simulation = Simulation({"session": session, "agents": agents}, out=sys.argv[1])
simulation.run(progress=told)
"""


def test_ctrl_c_stops_within_a_second_and_leaves_a_readable_tape(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", LONG, str(tmp_path / "tape")],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert run.stdout is not None and run.stderr is not None
    while int(run.stdout.readline()) < 1000:
        pass
    started = time.perf_counter()
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=30)
    assert time.perf_counter() - started < 10  # one second, on a machine with nothing else to do
    assert "KeyboardInterrupt" in errors and run.returncode in (-signal.SIGINT, 130)
    tape = Tape.load(tmp_path / "tape")
    assert not tape.meta["complete"] and len(tape) > 100
    assert len(tape.book.time_ns) == len(tape)


class Slow(Agent):
    """Interrupts the run from within a callback, as a user would."""

    def __init__(self) -> None:
        self.calls = 0

    def on_start(self, market: Handle) -> None:
        market.wake_after(10)

    def on_wakeup(self, market: Handle) -> None:
        self.calls += 1
        market.buy(1, limit=self.calls)
        market.wake_after(10)
        if self.calls == 5:
            os.kill(os.getpid(), signal.SIGINT)
        if self.calls == 100:
            raise ZeroDivisionError("a bug in an agent")


@pytest.mark.parametrize("stream", [False, True])
def test_ctrl_c_is_heard_after_the_callback_that_runs(stream: bool, tmp_path: Path) -> None:
    """However slow callbacks are, no further one is waited for."""
    agent = Slow()
    simulation = Simulation({}, agents=[agent], out=tmp_path / "tape" if stream else None)
    with pytest.raises(KeyboardInterrupt):
        simulation.run()
    assert agent.calls == 5
    if stream:
        tape = Tape.load(tmp_path / "tape")
        assert not tape.meta["complete"] and len(tape) == 4
        return
    assert len(simulation.tape) == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    simulation.run(simulation.now_ns + 20)  # an interrupted simulation can go on
    assert agent.calls == 7


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_in_an_agent_leaves_a_readable_tape(stream: bool, tmp_path: Path) -> None:
    agent = Slow()
    agent.calls = 10
    simulation = Simulation({}, agents=[agent], out=tmp_path / "tape" if stream else None)
    with pytest.raises(ZeroDivisionError, match="a bug in an agent"):
        simulation.run()
    tape = Tape.load(tmp_path / "tape") if stream else simulation.tape
    assert len(tape) == 89
    assert tape.orders["price_ticks"].tolist() == list(range(11, 100))


FULL = """
import functools, resource, signal, sys
sys.path.insert(0, "tests")
from conftest import Noise
import marketsim.tape_stream
from marketsim.agent import Agent
from marketsim.errors import DataError
from marketsim.simulation import Simulation

class Fill(Agent):
    def on_start(self, market):
        market.wake_after(10_000_000)
    def on_wakeup(self, market):
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
stream = marketsim.tape_stream
stream.StreamTape = functools.partial(stream.StreamTape, part_rows=2000)
agents = {"n": {"type": "conftest:Noise", "count": 3, "mean_ns": 1000}}
simulation = Simulation({"agents": agents}, out=sys.argv[1], agents=[Fill()])
try:
    simulation.run(simulation.now_ns + 20_000_000)
except DataError as error:
    print(error)
"""


def test_a_full_disk_is_named_and_what_was_written_stays_readable(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "tape")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "tape") in done.stdout and done.stdout.count("\n") == 1
    tape = Tape.load(tmp_path / "tape")
    assert not tape.meta["complete"] and len(tape) > 10_000
    assert len(tape.book.time_ns) == len(tape)
