"""Strategies that trade real orders: what they earn on a path is what the protocol says."""

from typing import Any

import numpy as np
import pytest

from marketsim.agent import Agent, Handle
from marketsim.agents.strategies import StrategyAgent
from marketsim.errors import ConfigError
from marketsim.ledger import trade
from marketsim.simulation import Simulation
from marketsim.strategies import STRATEGIES

SECOND = 1_000_000_000
OPEN = 34_200 * SECOND
STEPS = 24
SYMBOLS = [{"name": name, "tick_size": 0.01, "lot_size": 1e-4} for name in ("BTC", "ETH", "BNB")]
CONFIG = {
    "symbols": SYMBOLS, "session": {"open": "09:30", "close": "10:00"}, "oracle": None,
    "latency": {"model": "constant", "latency_ns": 0}, "agents": {},
}  # fmt: skip
END = OPEN + (STEPS - 1) * 60 * SECOND


class Quoter(Agent):
    """Quotes a lot, a tick each side of a path of mid-prices, half a minute before each minute."""

    def __init__(self, symbol: str, path_ticks: list[int]) -> None:
        self.symbol, self.path_ticks, self.at = symbol, path_ticks, 0

    def on_start(self, market: Handle) -> None:
        market.wake_at(OPEN)

    def on_wakeup(self, market: Handle) -> None:
        for order_id in market.open_orders:
            market.cancel(order_id)
        mid = self.path_ticks[min(self.at, len(self.path_ticks) - 1)]
        market.buy(10**9, mid - 1)
        market.sell(10**9, mid + 1)
        self.at += 1
        market.wake_at(OPEN + self.at * 60 * SECOND - 30 * SECOND)

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def path(seed: int) -> np.ndarray:
    """Mid-prices int64[24, 3] [ticks]."""
    draw = np.random.default_rng(seed)
    grown = np.cumsum(draw.normal(0, 0.012, (STEPS, 3)), axis=0)
    return np.round(np.array([6_000_000, 300_000, 60_000]) * np.exp(grown)).astype(np.int64)


def market(name: str, ticks: np.ndarray, seconds: int = 1, **keys: Any) -> Simulation:
    """The market of a path; the strategy starts ``seconds`` after the open."""
    start = OPEN + seconds * SECOND
    quoters = {
        symbol["name"]: Quoter(str(symbol["name"]), ticks[:, number].tolist())
        for number, symbol in enumerate(SYMBOLS)
    }
    agent = StrategyAgent(name, start=start, end=END + seconds * SECOND, **keys)
    return Simulation(CONFIG, agents={**quoters, "mine": agent})


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("seed", [0, 1])
def test_on_a_path_it_earns_what_the_protocol_says(name: str, seed: int) -> None:
    ticks = path(seed)
    run = market(name, ticks).run()
    ledger = trade(name, ticks[None] * 0.01)
    said = run.summary["agents"]["mine"]
    assert said["held_lots"] == {"BTC": 0, "ETH": 0, "BNB": 0}
    # it pays a tick more and earns a tick less than the mid, and an asset costs 600 and more
    half_spread = float((ledger.traded[0].sum()) * 1 / ticks.min())
    assert said["value"] == pytest.approx(ledger.values[0, -1], abs=half_spread + 1e-5)
    assert said["value"] == pytest.approx(said["cash"] / 10_000)
    assert (said["orders"], said["rejected_orders"], said["waited"]) == (
        int((np.diff(ledger.units[0], axis=0, prepend=np.zeros((1, 3))) != 0).sum()), 0, 0,
    )  # fmt: skip
    accounts = run.accounts.set_index(["agent", "symbol"]).loc["mine"]
    assert said["cash"] == pytest.approx(10_000 + accounts["cash_ticks"].sum() * 1e-6)


def test_both_seeds_trade() -> None:
    for name in ("MR", "TF", "VT", "RSI", "SM", "BO"):
        assert sum(trade(name, path(seed)[None] * 0.01).traded.sum() for seed in (0, 1)) > 0, name


def test_symbols_and_parameters_of_its_choice() -> None:
    ticks = path(2)
    run = market("VT", ticks, symbols=["BNB"], parameters={"upper": 0.01, "lower": 0.0}).run()
    said = run.summary["agents"]["mine"]
    assert list(said["held_lots"]) == ["BNB"] and said["orders"] == STEPS - 12
    assert said["fills"] == said["orders"]


def test_it_goes_on_after_a_fork_and_a_load() -> None:
    whole = market("MR", path(0)).run().summary["agents"]["mine"]
    simulation = market("MR", path(0))
    simulation.run(OPEN + 900 * SECOND)
    fork = simulation.fork()
    agent = simulation.agent("mine")
    again = StrategyAgent("EW")
    again.load_state_dict(agent.state_dict())
    assert vars(again) == vars(agent)
    assert simulation.run().summary["agents"]["mine"] == whole
    assert fork.run().summary["agents"]["mine"] == whole


def test_fees_are_paid() -> None:
    config = {**CONFIG, "exchange": {"taker_fee_bps": 10}}
    ticks = path(0)
    quoters = {name: Quoter(name, ticks[:, i].tolist()) for i, name in enumerate(["BTC", "ETH"])}
    agent = StrategyAgent("EW", ["BTC", "ETH"], end=END)
    said = Simulation(config, agents={**quoters, "mine": agent}).run().summary["agents"]["mine"]
    assert said["fees"] == pytest.approx(20, rel=0.2)
    assert said["value"] == pytest.approx(said["cash"] / 10_000)


def test_a_symbol_without_quotes_is_waited_for() -> None:
    agent = StrategyAgent("EW", end=END)
    said = Simulation(CONFIG, agents={"mine": agent}).run().summary["agents"]["mine"]
    assert (said["orders"], said["value"]) == (0, 1.0)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"strategy": "mre"}, "unknown strategy 'mre'"),
        ({"parameters": {"windw": 3}}, "strategy MR: unknown key 'windw'"),
        ({"interval": 0}, "interval must be > 0, was 0"),
        ({"capital": 0}, "capital must be > 0, was 0"),
        ({"max_buy": -1}, "max_buy must be > 0, was -1"),
        ({"symbols": "BTC"}, "symbols must be a list, was 'BTC'"),
        ({"symbols": []}, "symbols must be different names, one or more"),
        ({"symbols": ["BTC", "BTC"]}, "symbols must be different names"),
        ({"symbols": ["XRP"]}, "agents.mine: symbols must be of .*, was 'XRP'"),
        ({"start": "09:50", "end": "09:40"}, "end must be later than start 09:50:00"),
        ({"end": "10:30"}, "not after the close, was 10:30:00"),
    ],
)
def test_what_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Simulation({**CONFIG, "agents": {"mine": {"type": "strategy", **keys}}})
