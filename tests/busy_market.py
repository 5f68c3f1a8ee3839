"""RMSC04 in a hurry: an hour's orders in a few minutes, fees, and any kind of latency."""

from typing import Any

import numpy as np
import pytest

from marketsim.codes import OrderKind
from marketsim.envs.market_env import MarketEnv
from marketsim.simulation import Simulation

SECOND = 1_000_000_000
OPEN = 34_200 * SECOND
START = OPEN + 20 * SECOND
BUSY: dict[str, Any] = {
    "base": "rmsc04",
    "session": {"open": OPEN, "close": OPEN + 300 * SECOND},
    "latency": {"model": "constant", "latency_ns": 1_000_000},
    "exchange": {"maker_fee_bps": -0.2, "taker_fee_bps": 0.3},
    "agents": {
        "noise": {"count": 300, "start": "09:29:30", "end": OPEN + 300 * SECOND},
        "value": {"arrival_rate": 5e-10},
        "maker": {"interval": "5s"},
        "momentum": {"interval": "2s"},
    },
}
#: Odd ones: no answer comes at the very instant of a step.
LATENCIES: list[dict[str, Any]] = [
    {"model": "constant", "latency_ns": 0},
    {"model": "constant", "latency_ns": 700_000_001},
    {"model": "uniform", "low_ns": 0, "high_ns": 1_500_000_000},
    {"model": "cubic", "min_latency_ns": 1_000_000, "jitter": 1.0, "jitter_clip": 0.1},
    {"model": "geometry"},
]


def compare(env: MarketEnv, twin: Any, actions: list[Any], seed: int) -> list[dict[str, Any]]:
    """An episode of the environment is that of its plain twin; returns the information it told."""
    observation, info = env.reset(seed=seed)
    rows: list[Any] = [(observation, 0.0, False, False, info)]
    for action in actions:
        rows.append(env.step(action))
        if rows[-1][2] or rows[-1][3]:
            break
    market = Simulation(env.background.config, env.simulation.seed, agents={"learner": twin})
    market.run(env.simulation.now_ns)
    if hasattr(twin, "complete"):
        twin.complete(market.tape)
    assert len(twin.seen) == len(rows)
    for row, naive in zip(rows, twin.seen, strict=True):
        assert np.allclose(row[0], naive[0], atol=1e-6), (row[0].tolist(), naive[0])
        assert row[1] == pytest.approx(naive[1], rel=1e-6, abs=1e-6)
        assert row[2:4] == naive[2:4]
        assert row[4] == pytest.approx(naive[4], rel=1e-9, abs=1e-6)
        assert env.observation_space.contains(row[0])
    mine, its = env.simulation.tape, market.tape
    for column in ("time_ns", "kind", "order_id", "agent_id", "side", "price_ticks", "size_lots"):
        assert np.array_equal(mine.orders[column], its.orders[column]), column
    return [row[4] for row in rows]


def most_exposed(env: MarketEnv) -> tuple[int, int]:
    """Most that the learner could have come to hold, long and short, by the tape [lots].

    Position and open orders of a side, at every instant of the exchange. It never trades with
    itself.
    """
    simulation = env.simulation
    me, orders, trades = simulation.agent_names.index("learner"), *tables(simulation)
    traded: dict[int, list[tuple[int, int]]] = {}
    for trade in trades:
        assert not trade["maker_agent_id"] == trade["taker_agent_id"] == me
        for role in ("maker", "taker"):
            if trade[f"{role}_agent_id"] == me:
                fill = (trade[f"{role}_order_id"], trade["size_lots"])
                traded.setdefault(trade["sequence"], []).append(fill)
    side_of: dict[int, int] = {}
    left: dict[int, int] = {}
    position, most = 0, {1: 0, -1: 0}
    for row, order in enumerate(orders):
        order_id, mine = order["order_id"], order["agent_id"] == me
        if mine and order["kind"] in (OrderKind.LIMIT, OrderKind.MARKET):
            side_of[order_id], left[order_id] = order["side"], order["size_lots"]
        elif mine:
            assert order["kind"] == OrderKind.CANCEL
            left[order_id] = 0
        for side in (1, -1):
            waiting = sum(lots for i, lots in left.items() if side_of[i] == side)
            most[side] = max(most[side], side * position + waiting)
        for traded_id, lots in traded.get(row, ()):
            position += side_of[traded_id] * lots
            left[traded_id] -= lots
        if mine and order["kind"] == OrderKind.MARKET:
            left[order_id] = 0
    assert position == simulation._market.view("accounts")[me]["position_lots"]
    return most[1], most[-1]


def tables(simulation: Simulation) -> tuple[list[dict[str, int]], list[dict[str, int]]]:
    """Rows of the tape's orders and trades."""
    both = []
    for table in (simulation.tape.orders, simulation.tape.trades):
        columns = {name: table[name].tolist() for name in table}
        both.append(
            [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        )
    return both[0], both[1]


def settle(env: MarketEnv) -> Any:
    """Run on until all mail has come; returns the learner's account."""
    simulation = env.simulation
    simulation._advance_to(min(simulation.now_ns + 20 * SECOND, simulation.close_ns - 1), None)
    return simulation._market.view("accounts")[simulation.agent_names.index("learner")]
