"""The RMSC markets: the reference's counts, conservation, the same run in whatever way."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marketsim import build
from marketsim.codes import OrderKind
from marketsim.simulation import Simulation

pytestmark = pytest.mark.slow
MINUTE = 60_000_000_000
#: Counts of the reference, jpmc's ABIDES at commit f9cbe51, one seed.
REFERENCE = {
    "rmsc04": {"sent": 40_415, "executions": 19_770, "cancels": 19_805},
    "rmsc03": {"sent": 87_480, "executions": 39_964, "cancels": 46_704},
}


def counts(simulation: Simulation, run: Any) -> dict[str, int]:
    kind = simulation.tape.orders["kind"]
    rejected = {"unknown_order": 0, **run.summary["rejects"]}
    late_cancels = rejected.pop("unknown_order")
    return {
        "sent": int((kind == OrderKind.LIMIT).sum()) + sum(rejected.values()),
        "executions": len(simulation.tape.trades["time_ns"]),
        "cancels": int((kind == OrderKind.CANCEL).sum()) + late_cancels,
    }


def conserved(simulation: Simulation) -> bool:
    """No share and no cent was made or lost, fees are nobody's here, and costs add up."""
    accounts = simulation._market.view("accounts")
    return (
        int(accounts["position_lots"].sum()) == 0
        and int(accounts["cash"].sum()) == 0
        and int(accounts["fees_micro"].sum()) == 0
        and bool((accounts["cash"] + accounts["cost"] == accounts["realised"]).all())
        and int(accounts["bought_lots"].sum()) == int(simulation.tape.trades["size_lots"].sum())
    )


@pytest.mark.parametrize("name, until, seeds", [("rmsc04", None, 20), ("rmsc03", "11:30", 6)])
def test_counts_are_those_of_the_reference(name: str, until: str | None, seeds: int) -> None:
    """Each seed within 25 %; a book with two sides after five minutes; everything conserved."""
    for seed in range(seeds):
        simulation = Simulation(name, seed, overrides={"tape.levels": 1})
        run = simulation.run(until)
        for what, count in counts(simulation, run).items():
            assert count / REFERENCE[name][what] == pytest.approx(1, abs=0.25), (seed, what, count)
        book = simulation.tape.book
        late = book.time_ns >= simulation.open_ns + 5 * MINUTE
        for side in (book.bid_size_lots, book.ask_size_lots):
            assert (side[late, 0] > 0).all(), seed
        assert (book.bid_price_ticks[late, 0] < book.ask_price_ticks[late, 0]).all()
        assert conserved(simulation)


def test_fees_are_paid_to_the_exchange_to_the_millionth() -> None:
    fees = {"exchange.maker_fee_bps": -0.2, "exchange.taker_fee_bps": 0.3,
            "exchange.maker_fee_ticks_per_lot": 0.01,
            "exchange.taker_fee_ticks_per_lot": -0.02}  # fmt: skip
    simulation = Simulation("rmsc04", 1, overrides=fees)
    simulation.run("10:30")
    trades = simulation.tape.trades
    worth = int((trades["price_ticks"] * trades["size_lots"]).sum())
    lots = int(trades["size_lots"].sum())
    accounts = simulation._market.view("accounts")
    assert int(accounts["fees_micro"].sum()) == worth * (-20 + 30) + lots * (10_000 - 20_000) != 0
    assert int(accounts["cash"].sum()) == int(accounts["position_lots"].sum()) == 0


def test_two_processes_and_no_tape_give_the_same_market() -> None:
    program = (
        "from marketsim.simulation import Simulation; import sys;"
        "s = Simulation(sys.argv[1], 9, overrides={'tape.enabled': sys.argv[2] == 'tape'});"
        "s.run('10:15'); print(s.digest())"
    )
    for name in ("rmsc04", "rmsc03"):
        digests = set()
        for how in ("tape", "none"):
            command = [sys.executable, "-c", program, name, how]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            digests.add(done.stdout)
            simulation = Simulation(name, 9, overrides={"tape.enabled": how == "tape"})
            simulation.run("10:15")
            digests.add(simulation.digest() + "\n")
        assert len(digests) == 1
        other = Simulation(name, 10)
        other.run("10:15")
        assert other.digest() + "\n" not in digests


SHORT = {"base": "rmsc04", "session": {"close": "09:45"}}


def same(one: Simulation, two: Simulation) -> bool:
    tapes = zip(one.tapes.values(), two.tapes.values(), strict=True)
    return one.digest() == two.digest() and all(a.digest() == b.digest() for a, b in tapes)


@pytest.mark.parametrize("jitter", [0.0, 0.5])
def test_a_fork_at_any_instant_goes_on_as_its_parent(jitter: float) -> None:
    """50 random instants; what the fork did before its parent went on does not matter."""
    config = {**SHORT, "latency": {"model": "geometry", "jitter": jitter}}
    parent = Simulation(config, 2)
    rng = np.random.default_rng(4)
    instants = np.sort(rng.integers(parent.open_ns, parent.close_ns, 50)).tolist()
    forks = []
    for number, instant in enumerate(instants):
        parent.run(instant)
        fork = parent.fork()
        assert same(parent, fork)
        if number % 2:
            fork.run()
        forks.append(fork)
    parent.run()
    whole = Simulation(config, 2)
    whole.run()
    assert same(whole, parent)  # stops change nothing either
    for fork in forks:
        fork.run()
        assert same(parent, fork)


def test_a_market_saved_and_loaded_goes_on(tmp_path: Path) -> None:
    parent = Simulation(SHORT, 6)
    parent.run("09:37:11.123456789")
    parent.save(tmp_path / "market.npz")
    parent.run()
    loaded = Simulation.load(tmp_path / "market.npz")
    assert loaded.now_ns < parent.now_ns
    loaded.run()
    assert same(parent, loaded)


@pytest.mark.parametrize("name", ["rmsc04", "rmsc03"])
def test_growing_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools of one or two records, a tape that is taken away after a few rows."""
    plain = Simulation(name, 3)
    plain.run("09:40")
    monkeypatch.setattr(build, "_START", {"orders": 1, "index": 8, "levels": 1, "outcomes": 1,
                                          "messages": 1})  # fmt: skip
    rows = {"order_rows": 20, "trade_rows": 20, "delta_rows": 20}
    monkeypatch.setattr(build, "_TAPE_ROWS", rows)
    tiny = Simulation(name, 3)
    assert tiny._market.capacities["orders"] == 1
    tiny.run("09:40")
    assert same(plain, tiny)
    assert tiny._market.capacities["orders"] > 100


def test_the_number_of_makers_is_a_parameter() -> None:
    for name, makers in (("rmsc04", 2), ("rmsc03", 2), ("rmsc_trades", 1)):
        assert makers_of(Simulation(name)) == makers
    for count in (1, 5):
        simulation = Simulation("rmsc_trades", 1, overrides={"agents.maker.count": count})
        assert makers_of(simulation) == count
        simulation.run("09:40")
        quoted = simulation.tape.orders["agent_id"]
        group = next(group for group in simulation.groups if group.name == "maker")
        assert set(group.members) <= set(quoted.tolist())


def makers_of(simulation: Simulation) -> int:
    return sum(len(group.members) for group in simulation.groups if group.type == "market_maker")


def test_populations_of_two_symbols_do_not_touch_each_other() -> None:
    """The same populations in a second symbol: the first one's tape is as if it were alone."""
    alone = Simulation(SHORT, 5)
    alone.run()
    entries = {
        f"{agent.name}2": {"type": agent.type, "count": agent.count, "symbol": "TWO",
                           **agent.parameters}
        for agent in alone.config.agents
    }  # fmt: skip
    both = Simulation(
        {**SHORT, "symbols": [{"name": "SIM"}, {"name": "TWO"}], "agents": entries}, 5
    )
    both.run()
    one, two = both.tapes["SIM"], both.tapes["TWO"]
    for column in ("time_ns", "price_ticks", "size_lots", "side", "agent_id"):
        assert np.array_equal(one.orders[column], alone.tape.orders[column])
    assert len(two.trades["time_ns"]) > 300
    first = len(alone.agent_names)
    assert two.orders["agent_id"].min() >= first > one.orders["agent_id"].max()
    accounts = both._market.view("accounts").reshape(-1, 2)
    assert not accounts["trades"][:first, 1].any() and not accounts["trades"][first:, 0].any()
    assert (accounts["position_lots"].sum(axis=0) == 0).all()
    assert not np.array_equal(one.trades["price_ticks"][:300], two.trades["price_ticks"][:300])
