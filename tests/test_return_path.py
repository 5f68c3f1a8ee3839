"""The return-path agent: mid-prices are the path it drew, but for what others' orders do."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import marketsim as ms
from marketsim.agent import Agent, Handle
from marketsim.agents.drawn_path import bridge
from marketsim.agents.return_path import ReturnPathAgent
from marketsim.agents.twap import TWAPAgent
from marketsim.configs import load_config
from marketsim.data.return_windows import Windows
from marketsim.errors import ConfigError, ModelError, StateError
from marketsim.report import touch
from marketsim.result import Run
from marketsim.simulation import Simulation

HOUR, MINUTE = 3_600_000_000_000, 60_000_000_000
ASSETS = ("BTC", "ETH", "BNB")
TICK, LOT = 0.01, 0.001


def windows(n: int = 60) -> Windows:
    """Windows of a day whose assets move together."""
    rng = np.random.default_rng(0)
    moves = rng.normal(0, 0.005, (n, 24, 1)) + rng.normal(0, 0.003, (n, 24, 3))
    first = np.tile([54_000.0, 2_300.0, 500.0], (n, 1))
    return Windows(moves.astype(np.float32), first, 3600 * np.arange(n), ASSETS, 3600)


@pytest.fixture(scope="module")
def model() -> Any:
    return ms.generators.create("gaussian").fit(windows())


@pytest.fixture(scope="module")
def folder(model: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("model") / "gaussian"
    model.save(place)
    return str(place)


def config(
    model: Any, session: tuple[str, str] = ("00:00", "24:00"), **keys: Any
) -> dict[str, Any]:
    """A market whose only agent is the path's."""
    path = {"type": "return_path", "model": model, "interval": "60s", **keys}
    return {
        "session": dict(zip(("open", "close"), session, strict=True)),
        "symbols": [{"name": name, "tick_size": TICK, "lot_size": LOT} for name in ASSETS],
        "agents": {"path": path},
    }


def hourly(run: Run, symbol: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Path and mid-price [ticks] at each hour of the day so far."""
    hours = HOUR * np.arange(int(run.summary["now_ns"]) // HOUR + 1)
    quotes = touch(run.tapes[symbol])
    return np.interp(hours, *run.fundamental[symbol]), quotes.at(quotes.mid_ticks, hours)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_alone_the_mid_follows_the_drawn_path(model: Any, folder: str, seed: int) -> None:
    run = ms.run(config(folder), seed=seed)
    said = run.summary["agents"]["path"]
    drawn = model.sample(1, seed=said["draw_seed"])[0].astype(np.float64)
    for asset, name in enumerate(ASSETS):
        first = model.initial_prices[asset] / TICK
        path = first * np.exp(np.append(0.0, np.cumsum(drawn[:, asset])))
        written, mid = hourly(run, name)
        assert written == pytest.approx(path, rel=1e-12)
        assert np.abs(np.diff(mid) - np.diff(path)).max() < 1.0, name
        assert np.abs(mid - path).max() < 0.5
        quotes = touch(run.tapes[name])
        assert np.isfinite(quotes.mid_ticks[quotes.duration_ns > 0]).all()
    assert (said["fills"], said["rejected_orders"]) == (0, 0)
    assert set(said["displacement_bps"].values()) == {0.0}


def test_seeds_draw_different_paths(folder: str) -> None:
    runs = [ms.run(config(folder), seed=seed, until="01:00") for seed in (0, 1)]
    seeds = {run.summary["agents"]["path"]["draw_seed"] for run in runs}
    assert len(seeds) == 2
    ends = {run.fundamental["BTC"][1][-1] for run in runs}
    assert len(ends) == 2


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_large_trader_moves_it_and_it_comes_back(folder: str, side: str) -> None:
    market = config(folder, half_life="3min", depth=10_000, impact=2)
    lots = 2 * 60 * 4_000  # of some 2.30 each, for two hours
    large = TWAPAgent(side, lots, "06:00", "08:00")
    large.symbol = "ETH"
    run = ms.run(market, seed=3, agents={"large": large})
    assert run.summary["agents"]["large"]["executed_lots"] == lots
    path, mid = hourly(run, "ETH")
    off = (mid - path) * (1 if side == "buy" else -1)
    assert (off[7:9] > 100).all()  # ticks: some 8 bps
    assert np.abs(off[:7]).max() < 1 and np.abs(off[10:]).max() < 1
    # a level is some 10,000 / 2.30 lots, each minute adds 2 bps a level to what is left of it
    level = round(10_000 / (path[0] * TICK * LOT))
    expected = 2 * 4_000 / level / (1 - 0.5 ** (1 / 3)) * 0.5 ** (1 / 60)
    said = run.summary["agents"]["path"]
    assert abs(said["largest_displacement_bps"]["ETH"]) == pytest.approx(expected, rel=0.03)
    for name in ("BTC", "BNB"):
        path, mid = hourly(run, name)
        assert np.abs(mid - path).max() < 0.5


def test_without_impact_it_stays(folder: str) -> None:
    large = TWAPAgent("buy", 300_000, "00:10", "00:50")
    run = ms.run(config(folder, impact=0), until="01:00", agents={"large": large})
    path, mid = hourly(run, "BTC")
    assert run.summary["agents"]["path"]["fills"] >= 40
    assert np.abs(mid - path).max() < 0.5


class Stubborn(Agent):
    """Bids once, and leaves it there."""

    symbol = "BNB"

    def __init__(self, above: float) -> None:
        self.above = above

    def on_start(self, market: Handle) -> None:
        market.wake_at(10 * MINUTE + 1)

    def on_wakeup(self, market: Handle) -> None:
        mid = market.mid_ticks
        assert mid is not None
        market.buy(50_000, int(mid * self.above))


def test_it_takes_out_what_the_path_leaves_behind(folder: str) -> None:
    """A bid far below the mid is met when the path falls through it, and not before."""
    run = ms.run(config(folder, impact=0), seed=5, agents={"bid": Stubborn(0.99)})
    tape = run.tapes["BNB"]
    accounts = run.accounts.set_index(["agent", "symbol"]).loc[("bid", "BNB")]
    times, values = run.fundamental["BNB"]
    price = int(tape.trades["price_ticks"][0])
    below = times[(values < price) & (times > 10 * MINUTE)]
    assert accounts["bought_lots"] == 50_000
    assert run.summary["agents"]["path"]["taken_out_lots"] > 0
    first = int(tape.trades["time_ns"][0])
    assert below[0] - MINUTE <= first <= below[0]
    path, mid = hourly(run, "BNB")
    assert np.abs(mid - path)[first // HOUR + 1 :].max() < 0.5


def test_it_buys_back_to_the_path_from_a_bid_inside(folder: str) -> None:
    """A bid that crosses the book eats quotes; its rest, above the path, is sold to at once."""
    enough = config(folder, impact=0, depth=5_000)
    run = ms.run(enough, agents={"bid": Stubborn(1.01)}, until="01:00")
    said = run.summary["agents"]["path"]
    assert said["fills"] >= 5 and said["taken_out_lots"] == 0  # it was filled by the ladder
    thin = config(folder, impact=0, depth=100)
    run = ms.run(thin, agents={"bid": Stubborn(1.01)}, until="01:00")
    assert run.summary["agents"]["path"]["taken_out_lots"] > 40_000
    path, mid = hourly(run, "BNB")
    assert np.abs(mid - path).max() < 0.5


NOISE = {"type": "noise", "symbol": "ETH", "count": 300, "start": 0, "end": "03:00"}
STRATEGY = {"type": "strategy", "strategy": "EW", "interval": "10min", "start": "00:01"}


def busy(folder: str) -> dict[str, Any]:
    """Three hours with noise, and a strategy."""
    market = config(folder, ("00:00", "03:00"))
    market["agents"] |= {"noise": NOISE, "ew": STRATEGY}
    return market


def test_it_goes_on_after_a_fork_a_save_and_a_load(folder: str, tmp_path: Path) -> None:
    whole = ms.run(busy(folder), seed=5)
    simulation = Simulation(busy(folder), seed=5)
    simulation.run("01:30:30")
    simulation.save(tmp_path / "half")
    again = Simulation.load(tmp_path / "half")
    fork = simulation.fork()
    simulation.agent("path").displacement[0] = 0.1  # type: ignore[union-attr]
    for other in (fork, again):
        run = other.run()
        assert run.summary["agents"]["path"] == whole.summary["agents"]["path"]
        assert run.summary["digest"] == whole.summary["digest"]
        for name in ASSETS:
            assert run.tapes[name].digest() == whole.tapes[name].digest()
            assert (run.fundamental[name][1] == whole.fundamental[name][1]).all()
    assert whole.summary["agents"]["path"]["fills"] > 200


def test_other_processes_run_the_same(folder: str) -> None:
    code = (
        "import sys, marketsim as ms; from marketsim.configs.files import parse_yaml\n"
        "run = ms.run(parse_yaml(sys.argv[1], 'x'), seed=6, until='01:00')\n"
        "print(run.summary['digest'], *(tape.digest() for tape in run.tapes.values()))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code, repr(busy(folder))],
            capture_output=True, text=True, check=True,
        ).stdout
        for _ in range(2)
    }  # fmt: skip
    run = ms.run(busy(folder), seed=6, until="01:00")
    assert found == {
        " ".join([run.summary["digest"], *(t.digest() for t in run.tapes.values())]) + "\n"
    }


def test_value_agents_know_the_path(folder: str) -> None:
    """It is the fundamental value: they trade towards it, and find no oracle missing."""
    market = config(folder, ("00:00", "03:00"))
    market["agents"]["value"] = {"type": "value", "symbol": "ETH", "count": 5,
                                 "arrival_rate": 1e-11, "size": 10}  # fmt: skip
    run = ms.run(market, seed=1)
    path, mid = hourly(run, "ETH")
    assert run.summary["agents"]["path"]["fills"] > 10
    assert np.abs(mid / path - 1).max() < 1e-3


def test_looking_at_it_in_between_changes_nothing(folder: str) -> None:
    simulation = Simulation(busy(folder), seed=2)
    for minute in range(1, 175, 3):
        simulation.run(minute * MINUTE + 17)
    whole = ms.run(busy(folder), seed=2)
    run = simulation.run()
    del run.summary["wall_s"], whole.summary["wall_s"]
    assert run.summary == whole.summary


def test_further_agents_leave_the_path_as_it_is(folder: str) -> None:
    alone, beside = (ms.run(c, seed=7, until="00:10") for c in (config(folder), busy(folder)))
    for name in ASSETS:
        most = len(beside.fundamental[name][1])
        assert (alone.fundamental[name][1][:most] == beside.fundamental[name][1]).all()


def test_a_load_with_another_model_is_refused(folder: str, tmp_path: Path) -> None:
    agent = ReturnPathAgent(folder)
    ms.generators.create("bootstrap-returns").fit(windows()).save(tmp_path / "other")
    with pytest.raises(StateError, match="model must be the one it was saved with"):
        ReturnPathAgent(str(tmp_path / "other")).load_state_dict(agent.state_dict())


def test_parameters_of_the_draw(tmp_path: Path) -> None:
    """Regimes, prices and steps of one's own, symbols by place, a model as an object."""
    past = windows()
    labels = (past.log_returns[:, 0, 0] > 0).astype(np.int64)
    model = ms.generators.create("bootstrap-returns").fit(past, labels)
    for label in (0, 1):
        agent = ReturnPathAgent(model, step="5min", conditions=label, prices={"ETH": 1000.0})
        market = config("")
        market["agents"] = {}
        market["session"] = {"open": "09:30", "close": "11:30"}
        run = ms.run(market, agents={"path": agent})
        times, prices = run.fundamental["BTC"]
        start = 9.5 * HOUR
        assert (np.interp(start + 5 * MINUTE, times, prices) > prices[0]) == (label == 1)
        assert run.fundamental["ETH"][1][0] == pytest.approx(1000 / TICK)
        assert times[-1] == start + 24 * 5 * MINUTE


def test_prices_are_on_the_symbols_grid(folder: str) -> None:
    market = config(folder)
    market["symbols"][0]["price_increment_ticks"] = 7
    market["symbols"][0]["size_increment_lots"] = 10
    market["symbols"][1]["tick_table"] = [
        {"from_ticks": 0, "increment_ticks": 1},
        {"from_ticks": 230_000, "increment_ticks": 5},
    ]
    run = ms.run(market, seed=8)
    assert run.summary["agents"]["path"]["rejected_orders"] == 0
    for name, most in (("BTC", 7 / 2), ("ETH", 5 / 2)):
        path, mid = hourly(run, name)
        assert np.abs(mid - path).max() < most


def test_the_bridge_keeps_points_and_covariance() -> None:
    rng = np.random.default_rng(1)
    hours = rng.normal(0, 0.01, (24, 1)) + rng.normal(0, 0.005, (24, 3))
    fine = bridge(hours, 360, 1.0, rng)
    assert fine.shape == (24 * 360 + 1, 3)
    assert np.diff(fine[::360], axis=0) == pytest.approx(hours, abs=1e-12)
    moves = np.diff(fine, axis=0)
    inside = moves.T @ moves
    of_hours = hours.T @ hours
    assert np.diag(inside) == pytest.approx(np.diag(of_hours), rel=0.2)
    correlation = inside[0, 1] / np.sqrt(inside[0, 0] * inside[1, 1])
    expected = of_hours[0, 1] / np.sqrt(of_hours[0, 0] * of_hours[1, 1])
    assert correlation == pytest.approx(expected, abs=0.1)
    straight = np.diff(bridge(hours, 10, 0.0, rng), axis=0).reshape(24, 10, 3)
    assert straight == pytest.approx(np.repeat(hours[:, None] / 10, 10, axis=1))


def test_wild_hours_are_wild_inside() -> None:
    hours = np.full((24, 1), 0.001)
    hours[12:] = 0.01
    moves = np.diff(bridge(hours, 100, 1.0, np.random.default_rng(0)), axis=0)[:, 0]
    assert moves[1800:].std() > 5 * moves[:600].std()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"model": "nowhere"}, "agents.path: nowhere: no such model folder"),
        ({"model": "goog"}, "model must draw windows of returns, 'trades' does not"),
        ({"model": 3}, "model must draw windows of returns, 3 does not"),
        ({"symbols": ["BTC"]}, "symbols must be one for each asset of model 'gaussian', BTC, ETH"),
        ({"symbols": ["BTC", "ETH", "XRP"]}, "symbols must be of the exchange's, .*, was 'XRP'"),
        ({"symbols": ["BTC", "ETH", "BTC"]}, "symbols must be different names"),
        ({"symbols": ["ETH", "BTC", "BNB"]}, "ETH has the place of the model's asset BTC"),
        ({"depth": 1e16}, "depth must be of 1,000,000,000,000 lots at most"),
        ({"symbols": "BTC"}, "symbols must be a list"),
        ({"symbols": []}, "symbols must be different names, one or more"),
        ({"count": 2}, "agents.path-1: symbols: BTC has a fundamental value already"),
        ({"step": "1min"}, "the session, 00:00:00.000 to 24:00:00.000, must not be longer than"),
        ({"interval": "7s"}, "interval must divide the step of the path, 3600 s, was '7s'"),
        ({"interval": 0}, "interval must be > 0, was 0"),
        ({"refill": "1us"}, "refill must be >= 1ms, was '1us'"),
        ({"half_life": 0}, "half_life must be > 0, was 0"),
        ({"levels": 0}, "levels must be"),
        ({"spread": -1}, "spread must be"),
        ({"spread": 20_000}, "spread must be < 10,000 bps, was 20000"),
        ({"spacing": 0}, "spacing must be > 0"),
        ({"depth": 0}, "depth must be > 0"),
        ({"impact": -1}, "impact must be"),
        ({"bridge": -1}, "bridge must be"),
        ({"bridge": 1e9}, "bridge must be <= 100, was"),
        ({"conditions": 1}, "agents.path: conditions: model 'gaussian' takes none"),
        ({"conditions": "bull"}, "conditions must be a number or a table of numbers, was 'bull'"),
        ({"conditions": [[1], [1, 2]]}, "conditions must be a number or a table of numbers"),
        ({"sampling": {"x": 1}}, "unknown key 'x'"),
        ({"prices": {"BTC": 0}}, "prices.BTC must be > 0"),
        ({"prices": {"BTX": 5}}, r"prices: unknown symbol 'BTX' \(did you mean 'BTC'\?\)"),
        ({"prices": {"BNB": 5}}, "prices: those of BNB must be 1,000 increments and more"),
        ({"latency_ns": 5}, "latency_ns must be left out of an agent that plays data"),
        ({"halflife": 5}, r"unknown key 'halflife' \(did you mean 'half_life'\?\)"),
    ],
)
def test_what_is_refused(folder: str, keys: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, ModelError), match=message):
        Simulation(config(**{"model": folder, **keys}))


def test_a_model_that_draws_nonsense_is_named(model: Any) -> None:
    class Broken:
        name, steps, step_s, symbols = "broken", 24, 3600, ASSETS
        initial_prices = model.initial_prices

        def sample(self, n: int, conditions: Any, *, seed: int) -> NDArray[np.float32]:
            return np.full((n, 24, 3), np.nan, np.float32)

    market = config("")
    market["agents"] = {}
    with pytest.raises(ModelError, match="agents.path: model 'broken' drew returns that are not"):
        Simulation(market, agents={"path": ReturnPathAgent(Broken())})
    with pytest.raises(ConfigError, match="sampling is of a model that is given by its folder"):
        ReturnPathAgent(Broken(), sampling={"x": 1})


def test_the_shipped_configuration(folder: str) -> None:
    """It loads, and three hours of it run; what each agent says is there."""
    loaded = load_config("crypto", {"agents.path.model": folder})
    assert [symbol.name for symbol in loaded.symbols] == list(ASSETS)
    run = ms.run(loaded, until="03:00")
    said = run.summary["agents"]
    assert said["ew"]["orders"] == 3 and said["path"]["fills"] > 300
    assert {name for name, entry in said.items() if entry["type"] == "strategy"} == {
        "ew", "mr", "tf", "vt",
    }  # fmt: skip
    for name in ASSETS:
        path, mid = hourly(run, name)
        assert np.abs(mid / path - 1).max() < 2e-4
