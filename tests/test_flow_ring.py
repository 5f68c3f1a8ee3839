"""What is kept for world agents: read in pieces, it is what the tape tells when all is over."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import marketsim as ms
from marketsim.agent import Agent, Handle
from marketsim.agents.replay import ReplayAgent
from marketsim.data.synthetic import synthetic_tape
from marketsim.flow import BOOK_SHAPE, FLOW, Flow, flow_of
from marketsim.flow_ring import BOOK_WORDS, EVENT_WORDS, MOST_EVENTS, VIEW_WORDS, view_flow
from marketsim.simulation import Simulation
from marketsim.tape import Tape

OPEN = 34_200_000_000_000
BOOK_COLUMNS = ("bid_price_ticks", "bid_size_lots", "ask_price_ticks", "ask_size_lots")


class Reader:
    """Reads the flow of a simulation's symbols from its block."""

    def __init__(self, simulation: Simulation, most: int = 16, rows: int = 64) -> None:
        self.simulation, self.most = simulation, most
        self.words = np.zeros(most * EVENT_WORDS + VIEW_WORDS, np.int64)
        market = simulation._market
        market.resize("flow", rows * len(simulation.symbols))
        market.view("books")["unread"] = 0
        self.pieces: list[list[Flow]] = [[] for _ in simulation.symbols]

    def read(self) -> None:
        market = self.simulation._market
        for book, pieces in enumerate(self.pieces):
            more = True
            while more:
                market.view("books")["due"] = 1
                count = view_flow(market.address, book, 0, self.words.ctypes.data, self.most)
                pieces.append(self.words[: count * EVENT_WORDS].view(FLOW).copy())
                more = bool(market.mail[0])

    def flow(self, book: int = 0) -> Flow:
        return np.concatenate(self.pieces[book])

    def now(self) -> tuple[Any, Any]:
        """Book as it was read last, and agent 0's own lots in it."""
        view = self.words[self.most * EVENT_WORDS :]
        return view[:BOOK_WORDS].reshape(BOOK_SHAPE), view[BOOK_WORDS:].reshape(-1, 2)


def read_through(simulation: Simulation, instants: Sequence[int], **how: Any) -> Reader:
    reader = Reader(simulation, **how)
    for instant in sorted(instants):
        simulation.run(instant)
        reader.read()
    simulation.run()
    reader.read()
    return reader


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    instants=st.lists(st.integers(0, 59_999), max_size=8),
    most=st.integers(MOST_EVENTS, 20),
    rows=st.sampled_from([2, 8, 256]),
    low=st.sampled_from([-5, 5]),
)
def test_any_simulated_flow(
    noise_type: str, seed: int, instants: list[int], most: int, rows: int, low: int
) -> None:
    """Stops, icebergs, hidden orders, replacements, prevented self-trades, two symbols."""
    config = {
        "symbols": [{"name": "A"}, {"name": "B"}],
        "session": {"open": OPEN, "close": OPEN + 60_000},
        "agents": {"n": {"type": noise_type, "count": 3, "low": low, "high": low + 20}},
    }
    simulation = Simulation(config, seed)
    reader = read_through(simulation, [OPEN + at for at in instants], most=most, rows=rows)
    for book, tape in enumerate(simulation.tapes.values()):
        expected = flow_of(tape)
        assert len(expected) > 20 and reader.flow(book).tobytes() == expected.tobytes()


def test_it_does_not_need_the_tape(noise_type: str) -> None:
    flows = []
    for enabled in (True, False):
        config = {
            "tape": {"enabled": enabled},
            "session": {"open": OPEN, "close": OPEN + 60_000},
            "agents": {"n": {"type": noise_type, "count": 3}},
        }
        flows.append(read_through(Simulation(config, 3), [OPEN + 500]).flow().tobytes())
    assert flows[0] == flows[1]


def test_auctions_and_expiry_at_the_close(noise_type: str) -> None:
    config = {
        "session": {
            "open": "09:30", "close": "09:31", "opening_auction": "09:29:30",
            "closing_auction": "09:30:50",
        },
        "agents": {"n": {"type": noise_type, "count": 20, "mean_ns": 2_000_000_000}},
    }  # fmt: skip
    for seed in range(3):
        simulation = Simulation(config, seed)
        reader = read_through(simulation, [OPEN, OPEN + 50_000_000_000], rows=2)
        assert reader.flow().tobytes() == flow_of(simulation.tape).tobytes()


class Beside(Agent):
    """Trades and quotes beside recorded flow, at its instants and between them."""

    def on_start(self, market: Handle) -> None:
        market.subscribe("TRADES")
        market.wake_at(market.open_ns)

    def on_wakeup(self, market: Handle) -> None:
        market.wake_after(int(market.rng.integers(1, 400_000_000)))
        self._act(market)

    def on_data(self, market: Handle, data: Any) -> None:
        if market.rng.random() < 0.2:
            self._act(market)

    def _act(self, market: Handle) -> None:
        side = 1 if market.rng.random() < 0.5 else -1
        best = market.best_bid if side > 0 else market.best_ask
        if best is None or market.rng.random() < 0.1:
            market.order(side, int(market.rng.integers(1, 300)))
        else:
            market.order(side, int(market.rng.integers(1, 90)), best + side * 2)


def replayed(tape: Tape, seed: int, most: int = 16) -> None:
    close_ns = int(tape.orders["time_ns"][-1]) + 1
    agents = {"history": {"type": "replay"}}
    config = {"data": "given", "session": {"close": close_ns}, "agents": agents}
    simulation = Simulation(config, seed, agents=[Beside()], data=tape)
    times = tape.orders["time_ns"]
    instants = np.random.default_rng(seed).choice(times, 40)  # in the midst of runs, too
    reader = read_through(simulation, instants.tolist(), most=most, rows=64)
    result = simulation.tape
    assert reader.flow().tobytes() == flow_of(result).tobytes()
    book, own = reader.now()
    for column, name in enumerate(BOOK_COLUMNS):
        assert (book[:, column] == getattr(result.book, name)[-1]).all()
    assert (own <= book[:, (1, 3)]).all() and own.sum() > 0


@pytest.mark.parametrize("seed", range(3))
def test_recorded_flow_with_another_agent(seed: int) -> None:
    replayed(synthetic_tape(open="09:30", close="09:33"), seed, most=(3, 16, 100)[seed])


@pytest.mark.parametrize(
    "name",
    [
        "fixtures/AAPL_2012-06-21_first999_message_10.csv.gz",
        "fixtures/MSFT_2012-06-21_first1950_message_50.csv.gz",
        pytest.param("LOBSTER_SampleFile_GOOG_2012-06-21_10.zip", marks=pytest.mark.slow),
    ],
)
def test_real_flow_with_another_agent(name: str, lobster: Path) -> None:
    tape = ms.read_lobster(lobster / name).between("09:30", "09:40")
    replayed(tape, 1)


def test_replay_alone_tells_what_its_source_tells() -> None:
    tape = synthetic_tape(open="09:30", close="09:32")
    simulation = Simulation({"session": {"close": "09:32"}}, agents=[ReplayAgent(tape)])
    assert read_through(simulation, []).flow().tobytes() == flow_of(tape).tobytes()
