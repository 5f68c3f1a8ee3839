"""Price limits, circuit breakers, short sales, tick and lot tables: each bites, and is off else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marketsim.agent import Agent, Data, Fill, Handle, OrderUpdate
from marketsim.clock import parse_time
from marketsim.codes import OrderKind, Phase, PhaseReason, State
from marketsim.configs import (
    CircuitBreakerConfig,
    PriceLimitsConfig,
    ShortSaleConfig,
    TickStepConfig,
    load_config,
)
from marketsim.data.synthetic import synthetic_tape
from marketsim.errors import ConfigError
from marketsim.invariants import broken_invariant
from marketsim.simulation import Simulation
from marketsim.tape import Tape

SECOND = 1_000_000_000
OPEN, CLOSE = parse_time("09:30"), parse_time("16:00")
Act = Callable[[Handle], Any]


class Trader(Agent):
    """Does things at given times, and keeps what it hears."""

    def __init__(self, steps: Any = ()) -> None:
        self.steps = sorted(steps, key=lambda step: step[0])
        self.heard: list[str] = []
        self.phases: list[tuple[float, Phase | None, PhaseReason | None]] = []

    def on_start(self, market: Handle) -> None:
        market.subscribe("SESSION")
        for time_ns, _ in self.steps:
            market.wake_at(time_ns)

    def on_wakeup(self, market: Handle) -> None:
        self.steps.pop(0)[1](market)

    def on_fill(self, market: Handle, fill: Fill) -> None:
        self.heard.append(f"{fill.order_id}: {fill.size_lots}@{fill.price_ticks}")

    def on_order(self, market: Handle, update: OrderUpdate) -> None:
        if update.status != "accepted":
            why = f" {update.reason.name}" if update.reason else ""
            self.heard.append(f"{update.order_id}: {update.status}{why}")

    def on_data(self, market: Handle, data: Data) -> None:
        self.phases.append(((data.time_ns - OPEN) / SECOND, data.phase, data.reason))


class Scripted(Trader):
    """The script of :data:`SCRIPT`, for agents that a configuration makes."""

    def __init__(self) -> None:
        super().__init__([(OPEN + i * SECOND, act) for i, act in enumerate(SCRIPT)])


SCRIPT: list[Act] = []


def buy(size: int, limit: int | None = None, **how: Any) -> Act:
    return lambda market: market.buy(size, limit, **how)


def sell(size: int, limit: int | None = None, **how: Any) -> Act:
    return lambda market: market.sell(size, limit, **how)


def wait(market: Handle) -> None:
    """Let a second pass."""


def play(*acts: Act, until: int | None = None, **config: Any) -> tuple[Simulation, Trader]:
    """One act a second from the open on, by one agent."""
    trader = Trader([(OPEN + i * SECOND, act) for i, act in enumerate(acts)])
    simulation = Simulation(config, agents={"a": trader})
    simulation.run(OPEN + len(acts) * SECOND if until is None else until)
    assert broken_invariant(simulation._market, 0) is None
    return simulation, trader


# -- price limits ------------------------------------------------------------------------------


def limits(**keys: Any) -> dict[str, Any]:
    return {"price_limits": {"percent": 5, "reference": 100, **keys}}


def test_limit_orders_beyond_the_band_are_refused() -> None:
    acts = buy(1, 106), sell(1, 94), buy(1, 94), buy(1, 105), sell(1, 95), buy(1, 95)
    _, trader = play(*acts, exchange=limits())
    assert trader.heard == [
        "1: rejected PRICE_LIMIT", "2: rejected PRICE_LIMIT", "3: rejected PRICE_LIMIT",
        "4: 1@105", "5: 1@105",
    ]  # fmt: skip
    _, trader = play(*acts)
    assert trader.heard == ["1: 1@106", "2: 1@106", "4: 1@105", "5: 1@105"]


def test_market_orders_trade_up_to_the_band_and_drop_the_rest() -> None:
    acts = sell(2, 110), sell(3, 100), buy(1), buy(9), sell(1, 99), buy(9, tif="FOK")
    s, trader = play(*acts, exchange=limits(reference="open"))
    assert trader.heard == [
        "2: 1@100", "3: 1@100", "2: 2@100", "4: 2@100", "4: cancelled UNFILLED",
        "6: rejected NOT_FILLABLE",
    ]  # fmt: skip
    assert s.tape.orders["price_ticks"].tolist() == [110, 100, 0, 0, 99]
    assert "4: 2@110" in play(*acts)[1].heard


def test_the_open_is_the_first_trade() -> None:
    acts = sell(5, 100), buy(1, 100), buy(1, 106), buy(1, 105), sell(1, 94)
    _, trader = play(*acts, exchange=limits(reference="open"))
    assert [text for text in trader.heard if "rejected" in text] == [
        "3: rejected PRICE_LIMIT", "5: rejected PRICE_LIMIT",
    ]  # fmt: skip


def test_the_band_moves_with_the_mean_of_the_window() -> None:
    window = {"reference": "mean", "window": "3s"}
    acts = (
        sell(9, 100), buy(1, 100), buy(1, 106), sell(9, 105), buy(9, 105), wait, wait, wait,
        buy(1, 110),
    )  # fmt: skip
    _, trader = play(*acts, exchange=limits(**window))
    assert [text for text in trader.heard if "rejected" in text] == ["3: rejected PRICE_LIMIT"]


def test_what_the_band_left_behind_cannot_trade() -> None:
    """A bid, then the mean falls below it: nobody may sell to it, not even at the market."""
    exchange = limits(percent=2, reference="mean", window="4s")
    acts = (
        sell(1, 102), buy(1, 102), sell(1, 100), buy(1, 100), buy(5, 103), sell(1, 102), sell(1),
        lambda m: m.cancel(5), sell(1, 102),
    )  # fmt: skip
    s, trader = play(*acts, exchange=exchange)
    assert trader.heard[4:] == [
        "6: rejected PRICE_LIMIT", "7: cancelled UNFILLED", "5: cancelled REQUESTED",
    ]  # fmt: skip
    assert s.tape.book.ask_price_ticks[-1, 0] == 102


def test_a_limit_state_pauses_trading_and_an_auction_ends_the_pause() -> None:
    exchange = limits(reference="last_auction", pause="10s", limit_state="3s")
    symbols = [{"name": "X", "reference_ticks": 100}]
    acts = (
        buy(5, 105), wait, lambda m: m.cancel(1), buy(5, 105), wait, wait, wait, wait,
        sell(2, 107), buy(4, 109), buy(1, 101, tif="IOC"), wait, wait, wait, wait, wait, wait, wait,
        buy(1, 112),
    )  # fmt: skip
    s, trader = play(*acts, exchange=exchange, symbols=symbols)
    assert trader.phases == [
        (6, Phase.HALT, PhaseReason.PRICE_LIMIT), (16, Phase.CONTINUOUS, PhaseReason.SCHEDULE),
    ]  # fmt: skip
    assert trader.heard == [
        "1: cancelled REQUESTED", "5: rejected AUCTION", "4: 2@107", "3: 2@107",
    ]  # fmt: skip
    summary = s.run(s.now_ns).summary
    assert summary["halts"] == [
        {"time": "09:30:06.000", "symbol": "X", "end": "09:30:16.000", "reason": "price_limit",
         "last_price_ticks": 0},
    ]  # fmt: skip
    assert [a["price_ticks"] for a in summary["auctions"]] == [107]


# -- circuit breaker ---------------------------------------------------------------------------


def breaker(*levels: tuple[float, Any], **keys: Any) -> dict[str, Any]:
    rows = [{"move_percent": move, "halt": halt} for move, halt in levels]
    return {"circuit_breaker": {"levels": rows, "reference": 100, **keys}}


def test_a_breaker_halts_from_the_next_event_on_and_reopens_with_an_auction() -> None:
    acts = (
        buy(1, 93), buy(1, 92), sell(2, 90), sell(1, 91), buy(1, 95), lambda m: m.cancel(4), wait,
        sell(3, 92),
    )  # fmt: skip
    exchange = breaker((7, "5s"), (13, "5s"), (20, "close"))
    s, trader = play(*acts, exchange=exchange)
    assert trader.phases == [
        (2, Phase.HALT, PhaseReason.CIRCUIT_BREAKER), (7, Phase.CONTINUOUS, PhaseReason.SCHEDULE),
    ]  # fmt: skip
    assert trader.heard == [
        "1: 1@93", "3: 1@93", "2: 1@92", "3: 1@92", "4: cancelled REQUESTED", "5: 1@95", "6: 1@95",
    ]  # fmt: skip
    s, trader = play(*acts)
    assert trader.phases == [] and "halts" not in s.run(s.now_ns).summary


def test_each_level_fires_once_and_the_last_one_ends_the_day() -> None:
    acts = (
        buy(1, 93), sell(1, 93), wait, wait, buy(1, 93), sell(1, 93), buy(1, 80), sell(1, 80),
        buy(1, 80), lambda m: m.cancel(5), buy(1, 80, tif="GTC"),
    )  # fmt: skip
    s, trader = play(*acts, exchange=breaker((7, "1s"), (20, "close")), until=CLOSE)
    assert [when for when, phase, _ in trader.phases if phase == Phase.HALT] == [1, 7]
    assert trader.heard[-3:] == [
        "7: rejected HALTED", "5: change_rejected UNKNOWN_ORDER", "8: rejected HALTED",
    ]  # fmt: skip
    halts = s.run().summary["halts"]
    assert [halt["end"] for halt in halts] == ["09:30:02.000", "16:00:00.000"]
    assert trader.phases[-1][1] == Phase.CLOSED


@pytest.mark.parametrize("direction, prices", [("up", [107]), ("down", [93]), ("both", [107])])
def test_directions(direction: str, prices: list[int]) -> None:
    acts = [act for price in (107, 93) for act in (buy(1, price), sell(1, price))]
    s, _ = play(*acts, exchange=breaker((7, "1h"), direction=direction))
    assert [halt["last_price_ticks"] for halt in s.run(s.now_ns).summary["halts"]] == prices


def test_a_halt_never_outlives_its_period() -> None:
    session = {
        "periods": [{"open": "09:30", "close": "09:31"}, {"open": "09:32", "close": "16:00"}]
    }
    acts = buy(1, 93), sell(1, 93), buy(2, 99), sell(2, 98)
    s, trader = play(*acts, exchange=breaker((7, "1h")), session=session, until=OPEN + 200 * SECOND)
    assert [(when, phase) for when, phase, _ in trader.phases] == [
        (1, Phase.HALT), (60, Phase.BREAK), (120, Phase.CONTINUOUS),
    ]  # fmt: skip
    assert trader.heard[2:] == ["3: 2@98", "4: 2@98"]


def test_stops_wait_while_trading_is_halted() -> None:
    acts = buy(1, 93), buy(9, 90), sell(2, stop=93), sell(1, 93), wait, wait
    _, trader = play(*acts, exchange=breaker((7, "2s")), until=OPEN + 10 * SECOND)
    assert trader.heard == [
        "1: 1@93", "4: 1@93", "3: triggered", "2: 2@90", "3: 2@90",
    ]  # fmt: skip
    assert trader.phases[-1][0] == 5


def test_a_fork_and_a_saved_market_in_the_middle_of_a_halt_go_on_alike(
    tmp_path: Path, noise: type[Agent]
) -> None:
    exchange = breaker((2, "2min"), (3, "2min"), direction="both") | limits(
        percent=4, reference="mean", window="1min", pause="30s", limit_state="5s"
    )
    agents = {name: noise(94, 107, SECOND) for name in "abc"}  # type: ignore[call-arg]
    s = Simulation({"exchange": exchange}, agents=agents)
    while not s._market.view("books")[0]["state"] & State.CALL:
        s.run(s.now_ns + SECOND)
    assert s.now_ns < CLOSE
    fork = s.fork()
    s.save(tmp_path / "halt.npz")
    fresh = {name: noise(94, 107, SECOND) for name in "abc"}  # type: ignore[call-arg]
    again = Simulation.load(tmp_path / "halt.npz", agents=fresh)
    runs = [market.run("10:30") for market in (s, fork, again)]
    assert len({run.tape.digest() for run in runs}) == 1
    assert len({run.summary["digest"] for run in runs}) == 1
    reasons = {halt["reason"] for halt in runs[0].summary["halts"]}
    assert reasons == {"circuit_breaker", "price_limit"}


# -- short sales -------------------------------------------------------------------------------


def scripted(*acts: Act, inventory: int = 0, **config: Any) -> Trader:
    """One act a second, by an agent of a configuration."""
    SCRIPT[:] = acts
    kind = {"type": f"{Scripted.__module__}:Scripted", "inventory_lots": inventory}
    simulation = Simulation({"agents": {"a": kind}, **config})
    simulation.run(OPEN + len(acts) * SECOND)
    trader = simulation.agent("a")
    assert isinstance(trader, Trader)
    return trader


def test_short_sales_can_be_forbidden() -> None:
    acts = (
        sell(6, 100), sell(4, 100), sell(2, stop=90), lambda m: m.replace(2, limit=100, size=6),
        lambda m: m.replace(2, limit=101, size=5), lambda m: m.cancel(2), sell(5, 100),
        buy(5, 100), sell(5, 100),
    )  # fmt: skip
    trader = scripted(*acts, inventory=5, exchange={"short_sale": {"rule": "forbidden"}})
    assert trader.heard == [
        "1: rejected SHORT_SALE", "3: rejected SHORT_SALE", "2: change_rejected SHORT_SALE",
        "2: replaced", "2: cancelled REQUESTED", "4: 5@100", "5: 5@100",
    ]  # fmt: skip
    assert not [text for text in scripted(*acts).heard if "SHORT" in text]


def test_the_uptick_rule_wants_a_limit_above_the_best_bid() -> None:
    acts = (
        buy(5, 100),
        sell(1),
        sell(1, 100),
        sell(1, 101),
        lambda m: m.replace(4, limit=100, size=2),
    )
    trader = scripted(*acts, exchange={"short_sale": {"rule": "uptick"}})
    assert trader.heard == [
        "2: rejected SHORT_SALE", "3: rejected SHORT_SALE", "4: change_rejected SHORT_SALE",
    ]  # fmt: skip
    trader = scripted(*acts, exchange={"short_sale": {"rule": "uptick"}}, inventory=9)
    assert trader.heard[:2] == ["1: 1@100", "2: 1@100"]


def test_the_uptick_rule_begins_with_its_trigger() -> None:
    rule = {"rule": "uptick", "trigger_percent": 10, "reference": 100}
    acts = buy(2, 100), sell(1), buy(1, 90), sell(2, 90), buy(2, 95), sell(1, 95)
    trader = scripted(*acts, exchange={"short_sale": rule})
    assert trader.heard[-1] == "6: rejected SHORT_SALE"
    assert "4: 1@90" in trader.heard and "2: 1@100" in trader.heard


# -- tables ------------------------------------------------------------------------------------


def test_prices_and_sizes_follow_their_tables() -> None:
    symbol = {
        "name": "X", "reference_ticks": 200,
        "tick_table": [
            {"from_ticks": 0, "increment_ticks": 1}, {"from_ticks": 100, "increment_ticks": 5},
        ],
        "lot_table": [
            {"from_ticks": 0, "increment_lots": 10}, {"from_ticks": 100, "increment_lots": 1},
        ],
    }  # fmt: skip
    acts = (
        buy(10, 99), buy(10, 101), buy(1, 105), buy(1, 99), buy(5, -3), buy(10, -3),
        lambda m: m.replace(3, limit=102, size=1), lambda m: m.replace(3, limit=98, size=3),
        lambda m: m.reduce(1, 5), sell(1, 200, stop=101), sell(3), buy(20, 99, display=5),
    )  # fmt: skip
    s, trader = play(*acts, symbols=[symbol])
    assert trader.heard == [
        "2: rejected TICK", "4: rejected LOT", "5: rejected LOT", "3: change_rejected TICK",
        "3: change_rejected LOT", "1: change_rejected LOT", "7: rejected TICK", "3: 1@105",
        "8: 1@105", "1: 2@99", "8: 2@99", "9: rejected LOT",
    ]  # fmt: skip
    assert s.run(s.now_ns).summary["rejects"] == {"tick": 3, "lot": 5}


# -- recorded flow -----------------------------------------------------------------------------


def matched(of: Any) -> Any:
    """Times of the trades that the book made; a source's hidden prints are not."""
    trades = of.tape.trades
    return trades["time_ns"][trades["taker_agent_id"] >= 0]


def test_recorded_flow_collects_in_a_call_and_trades_in_its_auction() -> None:
    tape = synthetic_tape(close="10:00")
    config = {
        "data": "given", "agents": {"history": {"type": "replay"}},
        "session": {"opening_auction": "09:20", "closing_auction": "09:50"},
    }  # fmt: skip
    s = Simulation(config, data=tape)
    s.run("09:55")
    assert broken_invariant(s._market, 0) is None
    trades = matched(s)
    assert not (trades > parse_time("09:50")).any() and (trades > parse_time("09:49")).any()
    run = s.run()
    auctions = run.summary["auctions"]
    assert auctions[-1]["time"] == "10:00:00.000" and auctions[-1]["volume_lots"] > 0
    assert run.summary["history"]["executions_short"] > 0
    assert broken_invariant(s._market, 0) is None
    assert s._market.view("accounts")["position_lots"].sum() == 0


def test_a_breaker_halts_recorded_flow_and_recorded_halts_go_on_working() -> None:
    tape = synthetic_tape(close="10:00")
    first = int(tape.trades["price_ticks"][0])
    config = {
        "data": "given", "agents": {"history": {"type": "replay"}},
        "exchange": {"circuit_breaker": {
            "levels": [{"move_percent": 0.01, "halt": "5min"}], "direction": "both",
            "reference": first}},
    }  # fmt: skip
    run = Simulation(config, data=tape).run()
    halt = run.summary["halts"][0]
    start, end = parse_time(halt["time"]), parse_time(halt["end"])
    assert end - start == 300 * SECOND
    times = matched(run)
    assert not ((times > start + SECOND) & (times < end)).any()
    assert (run.tape.orders["kind"] == OrderKind.CROSS).sum() == len(run.summary["auctions"])


def test_recorded_halts_are_phases_too() -> None:
    tape = synthetic_tape(close="09:40")
    kinds = np.array(tape.orders["kind"])
    prices = np.array(tape.orders["price_ticks"])
    kinds[[50, 90]], prices[[50, 90]] = OrderKind.HALT, [-1, 1]  # halts, lets trading go on
    orders = tape.orders.take(np.arange(len(kinds)), kind=kinds, price_ticks=prices)
    halted = Tape(orders, tape.trades, tape.meta, reveals=tape.reveals)
    trader = Trader()
    config = {"data": "given", "agents": {"history": {"type": "replay"}}}
    s = Simulation(config, data=halted, agents={"a": trader})
    s.run()
    assert [(phase, reason) for _, phase, reason in trader.phases] == [
        (Phase.HALT, PhaseReason.RECORDED), (Phase.CONTINUOUS, PhaseReason.RECORDED),
        (Phase.CLOSED, PhaseReason.SCHEDULE),
    ]  # fmt: skip


# -- configuration -----------------------------------------------------------------------------

EXAMPLE = """
session:
  periods: [{open: "09:30", close: "11:30"}, {open: "13:00", close: "15:00"}]
  opening_auction: "09:15"
  closing_auction: "14:57"
exchange:
  auction_fee_bps: 0.1
  price_limits: {percent: 5, reference: mean, window: 5min, pause: 5min}
  circuit_breaker:
    levels: [{move_percent: 7, halt: 15min}, {move_percent: 20, halt: close}]
    reference: previous_close
  short_sale: {rule: uptick, trigger_percent: 10}
symbols:
  - name: SIM
    reference_ticks: 10000
    tick_table: [{from_ticks: 0, increment_ticks: 1}, {from_ticks: 10000, increment_ticks: 5}]
    lot_table: [{from_ticks: 0, increment_lots: 100}, {from_ticks: 50000, increment_lots: 1}]
"""


def test_a_configuration_of_every_rule_is_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(EXAMPLE)
    config = load_config(path)
    limits = config.exchange.price_limits
    assert limits == PriceLimitsConfig(5, "mean", 300 * SECOND, 300 * SECOND, 15 * SECOND)
    assert isinstance(config.exchange.circuit_breaker, CircuitBreakerConfig)
    assert config.exchange.circuit_breaker.levels[1].halt_ns is None
    assert config.exchange.short_sale == ShortSaleConfig("uptick", 10, "open")
    assert config.symbols[0].tick_table[1] == TickStepConfig(10000, 5)
    again = load_config(json.loads(json.dumps(config.to_dict())))
    assert again == config and again.config_hash == config.config_hash
    changed = load_config(
        path,
        {
            "exchange.circuit_breaker.levels.0.halt": "5min",
            "exchange.price_limits": None,
            "exchange.short_sale.trigger_percent": 5,
        },
    )
    assert changed.exchange.price_limits is None
    assert changed.exchange.circuit_breaker is not None
    assert changed.exchange.circuit_breaker.levels[0].halt_ns == 300 * SECOND
    s = Simulation(config)
    s.run()
    assert s.start_ns == parse_time("09:15") and s.close_ns == parse_time("15:00")


PERIODS = [{"open": "09:30", "close": "11:30"}, {"open": "13:00", "close": "15:00"}]
LEVEL = {"move_percent": 7, "halt": "15min"}
ROW = {"from_ticks": 0, "increment_ticks": 1}


@pytest.mark.parametrize(
    "section, value, message",
    [
        ("session", {"periods": PERIODS, "open": "09:00"},
         "session.open must not be given beside session.periods, was '09:00'"),
        ("session", {"periods": PERIODS[::-1]},
         "session.periods.1.open must not be before the period before it has closed"),
        ("session", {"periods": [PERIODS[0], {"open": "11:00", "close": "12:00"}]},
         "session.periods.1.open must not be before the period before it has closed"),
        ("session", {"periods": [{"open": "11:00", "close": "10:00"}]},
         "session.periods.0.close must be later than its open 11:00, was 10:00"),
        ("session", {"periods": []}, "session.periods must be a list of at least one row"),
        ("session", {"periods": [{"open": "11:00"}]}, "session.periods.0: key 'close' is required"),
        ("session", {"periods": [{"opens": "11:00"}]}, "did you mean 'open'?"),
        ("session", {"opening_auktion": "09:00"}, "did you mean 'opening_auction'?"),
        ("session", {"opening_auction": "09:30"},
         "session.opening_auction must start before the open 09:30:00.000, was 09:30:00.000"),
        ("session", {"closing_auction": "09:00"},
         "session.closing_auction must start after the last period's open 09:30:00.000"),
        ("session", {"periods": PERIODS, "closing_auction": "11:00"},
         "session.closing_auction must start after the last period's open 13:00:00.000"),
        ("session", {"closing_auction": "16:00"},
         "session.closing_auction must start before the close 16:00:00.000"),
        ("exchange", {"price_limits": {}}, "exchange.price_limits: key 'percent' is required"),
        ("exchange", {"price_limits": {"percent": 0}},
         "exchange.price_limits.percent must be > 0 and <= 100, was 0"),
        ("exchange", {"price_limits": {"percent": 101}}, "must be > 0 and <= 100, was 101"),
        ("exchange", {"price_limits": {"percent": 1.00001}}, "must be a multiple of 0.0001"),
        ("exchange", {"price_limits": {"percent": 5, "reference": "mean"}},
         "exchange.price_limits.window must be given with reference 'mean', was None"),
        ("exchange", {"price_limits": {"percent": 5, "window": "5min"}},
         "exchange.price_limits.window is only for reference 'mean', was '5min'"),
        ("exchange", {"price_limits": {"percent": 5, "reference": "mena"}},
         "exchange.price_limits.reference must be one of open, previous_close, last_auction, mean"),
        ("exchange", {"price_limits": {"percent": 5, "reference": 1.5}},
         "must be a price in ticks or one of"),
        ("exchange", {"price_limits": {"percent": 5, "pause": 0}},
         "exchange.price_limits.pause must be > 0, was 0"),
        ("exchange", {"price_limits": {"percent": 5, "limit_state": "15s"}},
         "exchange.price_limits.limit_state needs a pause"),
        ("exchange", {"price_limits": {"percent": 5, "windows": 1}}, "did you mean 'window'?"),
        ("exchange", {"circuit_breaker": {"levels": []}}, "list of at least one row, was []"),
        ("exchange", {"circuit_breaker": {"levels": [LEVEL, LEVEL]}},
         "exchange.circuit_breaker.levels.1.move_percent must be more than the level before it, 7"),
        ("exchange", {"circuit_breaker": {"levels": [{**LEVEL, "halt": 0}]}},
         "exchange.circuit_breaker.levels.0.halt must be > 0 or 'close', was 0"),
        ("exchange", {"circuit_breaker": {"levels": [
            {**LEVEL, "halt": "close"}, {**LEVEL, "move_percent": 9}]}},
         "exchange.circuit_breaker.levels.1: no level can follow one that halts until the close"),
        ("exchange", {"circuit_breaker": {"levels": [LEVEL], "reference": "mean"}},
         "exchange.circuit_breaker.reference must be one of open, previous_close, was 'mean'"),
        ("exchange", {"circuit_breaker": {"levels": [LEVEL], "direction": "left"}},
         "exchange.circuit_breaker.direction must be one of down, up, both, was 'left'"),
        ("exchange", {"circuit_breaker": {"levels": [{"move_percen": 7}]}},
         "did you mean 'move_percent'?"),
        ("exchange", {"short_sale": {}}, "exchange.short_sale: key 'rule' is required"),
        ("exchange", {"short_sale": {"rule": "never"}}, "must be one of forbidden, uptick"),
        ("exchange", {"short_sale": {"rule": "forbidden", "trigger_percent": 5}},
         "exchange.short_sale.trigger_percent is only for rule 'uptick', was 5"),
        ("exchange", {"short_sale": {"rule": "uptick", "reference": "open"}},
         "exchange.short_sale.reference needs a trigger_percent"),
        ("symbols", [{"tick_table": [ROW], "price_increment_ticks": 5}],
         "symbols.0.price_increment_ticks must not be given beside symbols.0.tick_table, was 5"),
        ("symbols", [{"tick_table": [{**ROW, "from_ticks": 5}]}],
         "symbols.0.tick_table.0.from_ticks must be <= 0, so that the table holds for any price"),
        ("symbols", [{"tick_table": [ROW, ROW]}],
         "symbols.0.tick_table.1.from_ticks must be more than the row before it, 0, was 0"),
        ("symbols", [{"tick_table": [{**ROW, "increment_ticks": 0}]}], "must be >= 1, was 0"),
        ("symbols", [{"lot_table": [{"from_ticks": 0, "increment_lots": 1}],
                      "size_increment_lots": 5}],
         "symbols.0.size_increment_lots must not be given beside symbols.0.lot_table, was 5"),
        ("symbols", [{"reference_ticks": 1.5}],
         "symbols.0.reference_ticks must be a whole number, was 1.5"),
    ],
)  # fmt: skip
def test_contradictions_are_named(section: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config({section: value})
    assert message in str(error.value)


@pytest.mark.parametrize("rule", ["price_limits", "circuit_breaker", "short_sale"])
def test_a_previous_close_must_be_known(rule: str) -> None:
    values: dict[str, dict[str, Any]] = {
        "price_limits": {"percent": 5}, "circuit_breaker": {"levels": [LEVEL]},
        "short_sale": {"rule": "uptick", "trigger_percent": 5},
    }  # fmt: skip
    exchange = {rule: {**values[rule], "reference": "previous_close"}}
    with pytest.raises(ConfigError, match=f"exchange.{rule}.reference is previous_close, and"):
        Simulation({"exchange": exchange})


def test_a_call_phase_must_fit_the_hours_of_the_data() -> None:
    tape = synthetic_tape(close="10:00")
    config = {"data": "given", "session": {"closing_auction": "10:30"}}
    with pytest.raises(ConfigError, match="closing_auction must start before the close 10:00"):
        Simulation(config, data=tape)


def test_everything_at_once_beside_recorded_flow(noise: type[Agent]) -> None:
    """All rules, agents that send anything and a recorded day: sound at every look."""
    tape = synthetic_tape(close="10:00")
    price = int(tape.trades["price_ticks"][0])
    config = {
        "data": "given", "agents": {"history": {"type": "replay"}},
        "session": {
            "periods": [{"open": "09:30", "close": "09:40"}, {"open": "09:41", "close": "10:00"}],
            "opening_auction": "09:20", "closing_auction": "09:55",
        },
        "exchange": {
            **breaker((0.05, "30s"), (0.1, "30s"), (0.3, "1min"), reference=price),
            **limits(percent=0.1, reference="mean", window="1min", pause="20s", limit_state="2s"),
            "short_sale": {"rule": "uptick"},
        },
    }  # fmt: skip
    width = max(price // 500, 5)
    agents = {
        name: noise(price - width, price + width, SECOND)  # type: ignore[call-arg]
        for name in "ab"
    }
    s = Simulation(config, data=tape, agents=agents)
    for i in range(60):
        s._advance_to(OPEN + i * 29 * SECOND, None)
        assert broken_invariant(s._market, 0) is None
    run = s.run()
    table = s._market.view("accounts")
    assert table["position_lots"].sum() == 0 and table["cash"].sum() == 0
    assert {"auction", "price_limit", "short_sale", "session"} <= set(run.summary["rejects"])
    assert run.summary["halts"] and len(run.summary["auctions"]) >= 2
