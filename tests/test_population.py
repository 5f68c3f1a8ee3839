"""Compiled populations decide as their naive twins do, order by order and cancel by cancel."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_populations import BUY, SELL, MakerTwin, Order, Twin, World, twins_of

from marketsim.agent import Agent, Handle
from marketsim.agents.market_maker import STATE as MAKER_STATE
from marketsim.agents.value import STATE as VALUE_STATE
from marketsim.codes import OrderKind
from marketsim.market import messages
from marketsim.population import (
    WAKE,
    Population,
    callback,
    columns,
    is_fill,
    market_order,
    own,
    wake_tagged,
)
from marketsim.rules import IS_HALTED
from marketsim.simulation import Simulation

SECOND = 1_000_000_000
OPEN, CLOSE = 34_200 * SECOND, 34_220 * SECOND


def agree(simulation: Simulation) -> list[Twin]:
    """Assert that all agents sent what their twins send; returns the twins."""
    twins = []
    for world, twin in twins_of(simulation):
        if twin.tied:
            continue
        name = f"{type(twin).__name__} of agent {twin.agent}"
        assert world.orders_of(twin.agent) == twin.orders, name
        assert cancels_of(world, twin.agent) == twin.cancelled(), name
        twins.append(twin)
    return twins


def cancels_of(world: World, agent: int) -> list[tuple[int, int, int]]:
    rows = world.rows_of(agent, OrderKind.CANCEL)
    ids = world.rows_of(agent, OrderKind.LIMIT)["order_id"]
    numbers = np.searchsorted(ids, rows["order_id"])
    columns = rows["time_ns"].tolist(), numbers.tolist(), rows["size_lots"].tolist()
    return sorted(zip(*columns, strict=True))


SIZES = st.sampled_from(
    [3, 25, [1, 9], [20, 49], "mixture", [{"weight": 1, "normal": [40, 30]},
     {"weight": 3, "lognormal": [2, 1]}, {"weight": 0.5, "uniform": [5, 6]}]]
)  # fmt: skip


@st.composite
def markets(draw: Any) -> dict[str, Any]:
    """A busy market of 20 seconds: everybody acts often, whatever the parameters."""

    def one(*values: Any) -> Any:
        return draw(st.sampled_from(values))

    tick, lot = one((1, 1), (5, 1), (1, 10), (7, 3))
    short, levels = draw(st.integers(1, 6)), draw(st.integers(1, 8))
    skew, renew_at = one(0, 4, -30), one(0, (levels - 1) // 2, levels - 1)
    latency = one(
        {"model": "geometry"}, {"model": "geometry", "length_m": 1000},
        {"model": "constant", "latency_ns": 1}, {"model": "constant", "latency_ns": "30ms"},
    )  # fmt: skip
    makers, poisson = one((2, True), (1, False))
    return {
        "session": {"open": OPEN, "close": CLOSE},
        "symbols": [{"name": "A", "price_increment_ticks": tick, "size_increment_lots": lot}],
        "tape": {"levels": 1},
        "oracle": {
            "type": "sparse_mean_reverting", "r_bar": one(1000, 100_000), "kappa": one(0, 1e-10),
            "volatility": one(0, 1e-4, 1e-2), "megashock_rate": one(0, 1e-10), "step": "1s",
        },
        "latency": latency,
        "computation_delay_ns": one(0, 50, 100_000),
        "agents": {
            "noise": {"type": "noise", "count": 60, "size": draw(SIZES), "start": OPEN - 3 * SECOND,
                      "end": CLOSE, "even": one(True, False)},
            "value": {"type": "value", "count": 6, "size": draw(SIZES),
                      "arrival_rate": one(1e-9, 4e-9, 3e-8), "kappa": one(0, 1e-15, 1e-9),
                      "observation_variance": one(0, 1000), "shock_variance": one(0, 1e-6, 1e5),
                      "aggressive_share": one(0, 0.1, 1), "depth_spread": one(0, 2, 3.5)},
            "maker": {"type": "market_maker", "count": makers, "interval": one("500ms", "2s"),
                      "participation": one(0, 0.025, 0.3), "min_size": one(1, 7), "levels": levels,
                      "poisson": poisson, "lookback": one("100ms", "5s", "1min"),
                      "level_spacing": one(0.1, 1, 5), "spread_alpha": one(0, 0.3, 0.75, 1),
                      "price_skew": skew, "skew_beta": one(0, 0.001, 0.5),
                      "backstop": one(0, 50), "renew_at": renew_at,
                      "renew_pause": one("1ms", "1s") if skew == 0 else "200ms",
                      "first_spread": one(1, 50), "cancel_delay_ns": one(0, 50)},
            "momentum": {"type": "momentum", "count": 3, "size": draw(SIZES), "interval": "250ms",
                         "poisson": one(True, False), "short": short,
                         "long": short + draw(st.integers(1, 6))},
        },
    }  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(markets(), st.integers(0, 2**63 - 1))
def test_every_population_decides_as_its_naive_twin(config: dict[str, Any], seed: int) -> None:
    simulation = Simulation(config, seed)
    simulation.run(CLOSE - 1)
    assert sum(len(twin.orders) for twin in agree(simulation)) > 50


def quoted(simulation: Simulation, agent: int = 0) -> list[Order]:
    """The last ladder of a maker with two levels, as the exchange got it."""
    return World(simulation).orders_of(agent)[-4:]


class Scripted(Agent):
    """Sends given orders: (time after the open [ns], side, lots, price)."""

    def __init__(self, *orders: tuple[int, int, int, int]) -> None:
        self.todo = list(orders)

    def on_start(self, market: Handle) -> None:
        for time_ns, *_ in self.todo:
            market.wake_at(market.open_ns + time_ns)

    def on_wakeup(self, market: Handle) -> None:
        while self.todo and market.open_ns + self.todo[0][0] <= market.now_ns:
            _, side, lots, price = self.todo.pop(0)
            market.order(side, lots, price)


def lone_maker(*orders: tuple[int, int, int, int], **maker: Any) -> Simulation:
    """A market of one maker, which wakes each second, and given orders."""
    parameters = {"interval": "1s", "poisson": False, "levels": 2, "level_spacing": 1, **maker}
    config = {
        "session": {"open": OPEN, "close": CLOSE},
        "latency": {"model": "constant", "latency_ns": 1000},
        "symbols": [{"price_increment_ticks": parameters.pop("tick", 1)}],
        "agents": {"maker": {"type": "market_maker", **parameters}},
    }
    return Simulation(config, agents=[Scripted(*orders)])


QUOTES = (100, BUY, 5, 990), (100, SELL, 5, 1010)


@pytest.mark.parametrize("tick", [1, 7])
def test_a_maker_that_is_alone_keeps_its_mid(tick: int) -> None:
    """Once the others have gone its own outermost orders are all there is: they teach nothing."""
    gone = [(1_100_000_000, SELL, 5, 990), (1_100_000_000, BUY, 5, 1010)]
    quotes = [(t, side, lots, price // tick * tick) for t, side, lots, price in (*QUOTES, *gone)]
    simulation = lone_maker(*quotes, tick=tick, spread_alpha=1.0, first_spread=3.0)
    simulation.run(OPEN + 2 * SECOND - 1)
    first = quoted(simulation)
    ladders = set()
    for second in range(3, 12):
        simulation.run(OPEN + second * SECOND)
        ladders.add(tuple(order._replace(time_ns=0) for order in quoted(simulation)))
        touch = World(simulation).touch(simulation.now_ns)
        assert touch[1] and touch[3]  # the book is never empty
    assert len(ladders) == 1 and len(World(simulation).orders_of(0)) == 4 * 10
    assert [order.price for order in first] == [order.price for order in ladders.pop()]


def test_a_maker_counts_others_at_the_price_of_its_outermost_order() -> None:
    simulation = lone_maker(*QUOTES, (1_500_000_000, SELL, 5, 990), (1_500_000_000, BUY, 5, 1010),
                            (1_600_000_000, BUY, 4, 980))  # fmt: skip
    simulation.run(OPEN + 1_900_000_000)
    state = simulation._market.view("words")["value"][
        int(simulation._market.view("agents")[0]["state"]) :
    ][: len(MAKER_STATE.names or ())].view(MAKER_STATE)[0]
    spread, outer = float(state["spread"]), int(state["outer_bid"])
    assert spread == 50 + 0.75 * (20 - 50)
    assert outer == 1000 - int(spread / 2) - round(spread)
    beside = lone_maker(*QUOTES, (1_500_000_000, SELL, 5, 990), (1_500_000_000, BUY, 5, 1010),
                        (1_600_000_000, BUY, 4, outer))  # fmt: skip
    beside.run(OPEN + 2_900_000_000)
    middle = outer + int(np.ceil(spread / 2))  # one side is others': half a spread from it
    assert quoted(beside)[0].price == middle - int(spread / 2)


@pytest.mark.parametrize("renew_at", [0, 1])
def test_a_maker_renews_early_only_when_a_fill_uses_a_side_up(renew_at: int) -> None:
    """Also where nothing is left to hear but refusals: it must not answer them by more orders."""
    simulation = lone_maker(*QUOTES, (1_500_000_000, SELL, 6, 970), renew_at=renew_at,
                            levels=2, level_spacing=0.1, renew_pause="100ms")  # fmt: skip
    simulation.run(OPEN + 1_900_000_000)
    assert len(World(simulation).orders_of(0)) == 4 * (1 + renew_at)
    simulation._market.view("books")[0]["state"] |= IS_HALTED
    before = int(simulation._market.header["next_order_id"])
    simulation.run(OPEN + 6_900_000_000)
    # Woken a second after its last renewal: 5 times while halted, a ladder each.
    assert int(simulation._market.header["next_order_id"]) - before == 4 * 5


def test_sizes_and_backstop_of_a_maker() -> None:
    """A share of what was bought and sold, at least the minimum; the outermost are the backstop."""
    trades = [(500_000_000 + i, BUY, 40, 1010) for i in range(5)]
    simulation = lone_maker((0, BUY, 999, 990), (0, SELL, 999, 1010), *trades, levels=3,
                            participation=0.25, backstop=777, price_skew=8, min_size=3)  # fmt: skip
    simulation.run(OPEN + 1_500_000_000)
    ladder = World(simulation).orders_of(0)[-6:]
    assert [order.lots for order in ladder] == [50, 50, 50, 50, 777, 777]
    spread = 50 + 0.75 * (20 - 50)
    assert ladder[0].price == 1000 + 8 - int(spread / 2)  # all volume bought: up by the skew
    quiet = lone_maker(*QUOTES, min_size=3)
    quiet.run(OPEN + 1_500_000_000)
    assert {order.lots for order in World(quiet).orders_of(0)} == {3}


def test_inventory_tilts_a_maker_to_its_own_reduction() -> None:
    """Long 30 lots with β = 0.1: most of twice the size is asked, little bid."""
    trades = [(1_500_000_000 + i, SELL, 30, 900) for i in range(1)]
    simulation = lone_maker((0, BUY, 1, 990), (0, SELL, 1, 1010), *trades, min_size=20, levels=2,
                            participation=1.0, skew_beta=0.1)  # fmt: skip
    simulation.run(OPEN + 2_500_000_000)
    held = int(simulation._market.view("accounts")[0]["position_lots"])
    assert held == 29  # one lot went to the other bid
    volume, share = 30, 1 / (1 + np.exp(-0.1 * held))
    ladder = quoted(simulation)
    assert ladder[0].lots == max(int(2 * (1 - share) * volume), 20) == 20
    assert ladder[1].lots == int(np.ceil(2 * share * volume))


def test_a_value_agent_woken_while_it_takes_its_order_back_sends_one_order() -> None:
    """With wake-ups far closer than a round trip, no order is sent before the last is gone."""
    config = {
        "session": {"open": OPEN, "close": CLOSE},
        "oracle": {"type": "sparse_mean_reverting"},
        "latency": {"model": "constant", "latency_ns": "10ms"},
        "agents": {"value": {"type": "value", "arrival_rate": 1e-6, "size": 5}},
    }
    simulation = Simulation(config, 3)
    simulation.run(CLOSE - 1)
    world = World(simulation)
    sent, gone = world.orders_of(0), cancels_of(world, 0)
    assert len(sent) > 500 and abs(len(sent) - len(gone)) <= 1
    for (gone_ns, number, lots), after in zip(gone, sent[1:], strict=False):
        assert lots == 5 and sent[number].time_ns < gone_ns < after.time_ns


def test_a_value_agent_that_sees_exactly_believes_what_it_sees() -> None:
    """Without noise of observation the estimate is the fundamental value and its variance 0."""
    config = {
        "session": {"open": OPEN, "close": CLOSE},
        "oracle": {"type": "sparse_mean_reverting", "volatility": 1e-2},
        "agents": {"value": {"type": "value", "count": 5, "arrival_rate": 1e-9,
                             "observation_variance": 0}},
    }  # fmt: skip
    simulation = Simulation(config, 1)
    simulation.run(OPEN + 10 * SECOND)
    world, market = World(simulation), simulation._market
    for record in market.view("agents")[:5]:
        state = market.view("words")["value"][int(record["state"]) :][
            : len(VALUE_STATE.names or ())
        ]
        me = state.view(VALUE_STATE)[0]
        assert me["seen_ns"] > OPEN and me["variance"] == 0
        assert me["estimate"] == pytest.approx(world.fundamental(int(me["seen_ns"])), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name, until", [("rmsc04", "11:00"), ("rmsc03", "09:45")])
def test_the_rmsc_populations_decide_as_their_twins(name: str, until: str) -> None:
    simulation = Simulation(name, 1, overrides={"tape.levels": 1})
    simulation.run(until)
    makers = [twin for twin in agree(simulation) if isinstance(twin, MakerTwin)]
    assert sum(maker.looks for maker in makers) > 20


def test_a_maker_does_not_renew_again_within_its_pause() -> None:
    gone = (1_100_000_000, SELL, 5, 990)
    sells = [(1_200_000_000 + 50_000_000 * i, SELL, 1, 1) for i in range(10)]  # the best bid each
    ladders = []
    for pause in ("1ms", "190ms", "1s"):
        simulation = lone_maker(*QUOTES, gone, *sells, levels=8, renew_at=7, renew_pause=pause)
        simulation.run(OPEN + 1_900_000_000)
        ladders.append(len(World(simulation).orders_of(0)) // 16)
    # At once after each of the ten; at 1.2, 1.4 and 1.6 s; not before the second is over.
    assert ladders == [11, 4, 1]


def test_makers_that_hear_of_fills_at_once_do_not_chase_each_other_without_end() -> None:
    """Each renews early, at the other's quotes, whenever it may: that ends with its pause."""
    config = {
        "session": {"open": OPEN, "close": CLOSE},
        "symbols": [{"price_increment_ticks": 7, "size_increment_lots": 3}],
        "oracle": {"type": "sparse_mean_reverting", "r_bar": 1000, "kappa": 0, "volatility": 0,
                   "megashock_rate": 0, "step": "1s"},
        "latency": {"model": "constant", "latency_ns": 1},
        "computation_delay_ns": 0,
        "agents": {
            "noise": {"type": "noise", "count": 60, "size": [20, 49], "start": OPEN - 3 * SECOND,
                      "end": CLOSE},
            "value": {"type": "value", "count": 6, "size": "mixture", "arrival_rate": 4e-9,
                      "kappa": 0, "observation_variance": 0, "shock_variance": 0,
                      "aggressive_share": 1, "depth_spread": 0},
            "maker": {"type": "market_maker", "count": 2, "interval": "500ms", "levels": 3,
                      "participation": 0.3, "lookback": "5s", "skew_beta": 0.5, "renew_at": 2,
                      "renew_pause": "1ms", "cancel_delay_ns": 0},
            "momentum": {"type": "momentum", "count": 3, "size": [20, 49], "interval": "250ms",
                         "short": 6, "long": 7, "poisson": True},
        },
    }  # fmt: skip
    simulation = Simulation(config, 6)
    simulation.run()
    assert simulation.events < 100_000  # with no pause: each few nanoseconds from 9:30:06 on


def test_makers_that_are_alone_do_not_drive_each_other_apart() -> None:
    """Each sees the other's outermost quotes; the mean spread stays a tenth of the mid at most."""
    config = {
        "base": "rmsc04",
        "session": {"open": OPEN, "close": OPEN + 900 * SECOND},
        "latency": {"model": "constant", "latency_ns": 1000},
        "agents": {"noise": None, "value": None, "momentum": None,
                   "maker": {"interval": "1s", "poisson": False, "count": 2}},
    }  # fmt: skip
    simulation = Simulation(config, agents=[Scripted(*QUOTES)])
    simulation.run()
    prices = simulation.tape.orders["price_ticks"]
    assert prices.min() > 0 and prices.max() < 20_000


TAKER_STATE = columns(woken=int, heard=int)
taker_state = own(TAKER_STATE)


@callback(WAKE)
def _take(m, agent, message):  # type: ignore[no-untyped-def]
    me = taker_state(m, agent)
    if is_fill(m, message):
        me.heard += messages(m, message).size_lots
    elif messages(m, message).a == 5:
        me.woken += 1
        market_order(m, agent, BUY, 3)
    else:
        wake_tagged(m, agent, 1_000_000_000, 5)
    return 0


@dataclass(frozen=True)
class Taker(Population):
    """Sends one market order, a second after the start."""

    wake, state, hears_fills = _take, TAKER_STATE, True


def test_a_users_population_sends_market_orders_and_hears_of_its_fills() -> None:
    config = {"session": {"open": OPEN, "close": CLOSE}}
    agents = {"maker": Scripted((0, SELL, 2, 50), (0, SELL, 5, 51)), "taker": Taker()}
    simulation = Simulation(config, agents=agents)
    simulation.run()
    at = int(simulation._market.view("agents")[1]["state"])
    assert simulation._market.view("words")["value"][at : at + 2].tolist() == [1, 3]
    trades = simulation.tape.trades
    assert list(zip(trades["price_ticks"], trades["size_lots"], strict=True)) == [(50, 2), (51, 1)]
    assert trades["time_ns"].tolist() == [OPEN + SECOND] * 2
