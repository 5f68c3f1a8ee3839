"""Execution agents: schedules, limits on price, share and quantity, and their figures."""

from typing import Any

import numpy as np
import pytest

from marketsim.agents.execution import STYLES, ExecutionAgent
from marketsim.agents.pov import POVAgent
from marketsim.agents.twap import TWAPAgent
from marketsim.data.synthetic import synthetic_tape
from marketsim.errors import ConfigError
from marketsim.result import Run
from marketsim.simulation import Simulation
from marketsim.tape import Tape

SECOND = 1_000_000_000
OPEN = 34_200 * SECOND
HALF_HOUR = OPEN + 1800 * SECOND


@pytest.fixture(scope="module")
def day() -> Tape:
    return synthetic_tape(open="09:30", close="10:00")


def worked(day: Tape, kind: str, latency_ns: int = 0, delay_ns: int = 0, **keys: Any) -> Run:
    agent = {"type": kind, "latency_ns": latency_ns, "computation_delay_ns": delay_ns, **keys}
    config = {"data": "given", "agents": {"history": {"type": "replay"}, "mine": agent}}
    simulation = Simulation(config, data=day)
    return simulation.run(HALF_HOUR + 2 * (latency_ns + delay_ns) + SECOND)


def mine(run: Run) -> dict[str, np.ndarray]:
    """Own trades: time, price, size, and whether they took."""
    trades = run.tape.trades
    own = (trades["taker_agent_id"] == 1) | (trades["maker_agent_id"] == 1)
    names = ("time_ns", "sequence", "price_ticks", "size_lots", "side")
    columns = {name: trades[name][own] for name in names}
    return {**columns, "took": trades["taker_agent_id"][own] == 1}


def said(run: Run) -> dict[str, Any]:
    summary = run.summary["agents"]["mine"]
    assert isinstance(summary, dict)
    return summary


def test_twap_trades_equal_parts_at_equal_times(day: Tape) -> None:
    run = worked(day, "twap", quantity=100, start="09:35", end="09:45", interval="2min")
    trades = mine(run)
    times = np.unique(trades["time_ns"])
    assert (times - OPEN).tolist() == [n * SECOND for n in (300, 420, 540, 660, 780)]
    assert [trades["size_lots"][trades["time_ns"] == t].sum() for t in times] == [20] * 5
    assert trades["took"].all() and (trades["side"] == 1).all()
    assert said(run)["executed_lots"] == 100 and said(run)["filled_share"] == 1.0
    assert said(run)["done"] == "09:43:00.000"


@pytest.mark.parametrize(
    "interval, parts", [("7min", [33, 33, 34]), ("30min", [100]), ("9min", [33, 33, 34])]
)
def test_twap_completes_an_uneven_schedule(day: Tape, interval: str, parts: list[int]) -> None:
    run = worked(day, "twap", quantity=100, start="09:31", end="09:51", interval=interval)
    trades = mine(run)
    sizes = [
        int(trades["size_lots"][trades["time_ns"] == t].sum()) for t in np.unique(trades["time_ns"])
    ]
    assert sizes == parts


def test_twap_with_a_cap_on_participation_falls_behind(day: Tape) -> None:
    run = worked(day, "twap", quantity=10**6, interval="20s", max_participation=0.05)
    assert 0.04 < said(run)["participation"] <= 0.05
    assert said(run)["executed_lots"] < 10**6


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize("participation", [0.05, 0.3])
def test_pov_keeps_its_share(day: Tape, side: str, participation: float) -> None:
    keys: dict[str, Any] = {
        "side": side,
        "participation": participation,
        "interval": "5s",
        "quantity": 10**7,
    }
    run = worked(day, "pov", **keys)
    assert said(run)["participation"] == pytest.approx(participation, abs=0.02)
    trades = mine(run)
    assert (trades["side"] == (1 if side == "buy" else -1)).all()
    position = run.accounts.set_index("agent").position_lots["mine"]
    assert position == said(run)["executed_lots"] * (1 if side == "buy" else -1)
    # Never above its share: what it wants follows what the others have traded already.
    table = run.tape.trades
    total = np.cumsum(np.where(table["side"] == 0, 0, table["size_lots"]))
    own = np.cumsum(np.where(table["taker_agent_id"] == 1, table["size_lots"], 0))
    assert (own <= participation * total + 1).all()


def test_participation_zero_never_trades(day: Tape) -> None:
    run = worked(day, "pov", participation=0, interval="1s")
    assert said(run)["child_orders"] == 0 and len(mine(run)["size_lots"]) == 0
    assert said(run)["average_price_ticks"] is None and said(run)["shortfall_bps"] is None
    assert (run.tape.orders["agent_id"] == 0).all() and len(run.tape) == len(day)


def test_child_orders_are_no_larger_than_asked(day: Tape) -> None:
    run = worked(day, "pov", participation=0.3, interval="5s", max_order_lots=7)
    own = run.tape.orders["agent_id"] == 1
    assert run.tape.orders["size_lots"][own].max() == 7


@pytest.mark.parametrize("latency_ns, delay_ns", [(0, 0), (40 * 10**6, 0), (3 * SECOND, 10**7)])
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("kind", ["pov", "twap"])
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_the_quantity_is_reached_and_never_exceeded(
    day: Tape, kind: str, style: str, side: str, latency_ns: int, delay_ns: int
) -> None:
    """Whatever is on its way in either direction; and the figures are the tape's."""
    keys: dict[str, Any] = {"participation": 0.25} if kind == "pov" else {}
    run = worked(
        day, kind, latency_ns, delay_ns, style=style, side=side, quantity=900, interval="1s",
        end="09:50", **keys,
    )  # fmt: skip
    trades = mine(run)
    done = int(trades["size_lots"].sum())
    assert done <= 900 and said(run)["executed_lots"] == done
    assert done == 900 if style == "aggressive" else done > 100
    figures = said(run)
    average = (trades["price_ticks"] * trades["size_lots"]).sum() / done
    assert figures["average_price_ticks"] == average
    sign = 1 if side == "buy" else -1
    arrival = figures["arrival_mid_ticks"]
    assert figures["shortfall_bps"] == round(sign * (average - arrival) / arrival * 1e4, 4)
    assert (trades["side"] == np.where(trades["took"], sign, -sign)).all()
    if style == "passive":
        assert trades["took"].mean() < 0.5
    assert figures["rejected_orders"] == 0 and "session" not in run.summary["rejects"]
    ended = trades["time_ns"].max()
    assert ended <= OPEN + 1200 * SECOND + 2 * (latency_ns + delay_ns)


def test_the_arrival_price_is_the_mid_at_the_start(day: Tape) -> None:
    run = worked(day, "twap", quantity=10, start="09:40:00.5", interval="5min")
    row = (
        int(np.searchsorted(day.book.time_ns, OPEN + 600 * SECOND + SECOND // 2, side="right")) - 1
    )
    mid = (int(day.book.bid_price_ticks[row, 0]) + int(day.book.ask_price_ticks[row, 0])) / 2
    assert said(run)["arrival_mid_ticks"] == mid


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_no_fill_is_worse_than_the_limit(day: Tape, side: str, style: str) -> None:
    first = int(day.book.bid_price_ticks[0, 0] + day.book.ask_price_ticks[0, 0]) // 2
    run = worked(
        day, "pov", side=side, participation=0.3, interval="2s", style=style, limit_ticks=first,
        quantity=5000, latency_ns=10**7,
    )  # fmt: skip
    prices = mine(run)["price_ticks"]
    assert len(prices) > 0
    assert (prices <= first).all() if side == "buy" else (prices >= first).all()


def test_a_passive_order_follows_the_touch(day: Tape) -> None:
    run = worked(day, "twap", quantity=4000, interval="1s", style="passive")
    orders, book = run.tape.orders, run.tape.book
    rows = np.flatnonzero((orders["agent_id"] == 1) & (orders["kind"] == 1))
    assert len(rows) > 20 and not mine(run)["took"].any()
    assert (orders["price_ticks"][rows] == book.bid_price_ticks[rows - 1, 0]).mean() > 0.95
    # One order at a time: what rests never adds up to more than what is wanted.
    assert orders["size_lots"][rows].max() <= 4000


BAD: list[tuple[type[ExecutionAgent], dict[str, Any], str]] = [
    (POVAgent, {"side": "long"}, "side must be 'buy' or 'sell', was 'long'"),
    (POVAgent, {"participation": 1}, "participation must be >= 0 and < 1, was 1"),
    (POVAgent, {"participation": -0.1}, "participation must be >= 0"),
    (POVAgent, {"participation": float("nan")}, "participation must be >= 0"),
    (POVAgent, {"participation": "10%"}, "participation must be a number"),
    (POVAgent, {"quantity": 0}, "quantity must be an integer > 0"),
    (POVAgent, {"quantity": 1.5}, "quantity must be an integer > 0"),
    (POVAgent, {"max_order_lots": 0}, "max_order_lots must be an integer > 0"),
    (POVAgent, {"max_order_lots": True}, "max_order_lots must be an integer > 0"),
    (POVAgent, {"interval": "0s"}, "interval must be > 0"),
    (POVAgent, {"interval": "soon"}, "interval must be a number with"),
    (POVAgent, {"start": "25:00"}, "start must be HH:MM"),
    (POVAgent, {"start": "10:00", "end": "10:00"}, "end must be later than start"),
    (POVAgent, {"style": "sly"}, "style must be one of aggressive, touch, passive"),
    (POVAgent, {"limit_ticks": 1.5}, "limit_ticks must be an integer"),
    (TWAPAgent, {"max_participation": 0}, "max_participation must be > 0"),
    (TWAPAgent, {"max_participation": 1.1}, "max_participation must be > 0"),
]


@pytest.mark.parametrize("agent, keys, message", BAD)
def test_bad_parameters_are_named(
    agent: type[ExecutionAgent], keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        agent(**keys)


def test_bad_times_are_named_when_the_session_is_known(day: Tape) -> None:
    with pytest.raises(ConfigError, match="agents.mine: end must be later than start 10:00"):
        worked(day, "pov", start="10:00")
    with pytest.raises(ConfigError, match="agents.mine: start must be before the session's close"):
        worked(day, "pov", start="11:00", end="11:30")
    with pytest.raises(ConfigError, match=r"agents.mine: side must be 'buy' or 'sell'"):
        worked(day, "pov", side="up")


def test_an_agent_without_a_schedule_says_so() -> None:
    with pytest.raises(TypeError, match="has no schedule"):
        ExecutionAgent("buy", 1).target_lots(None)  # type: ignore[arg-type]


def test_a_taker_at_the_touch_takes_one_price_at_a_time(day: Tape) -> None:
    run = worked(day, "pov", participation=0.5, interval="1s", style="touch", quantity=5000)
    trades = mine(run)
    for sequence in np.unique(trades["sequence"]):
        assert len(set(trades["price_ticks"][trades["sequence"] == sequence].tolist())) == 1
    deep = mine(worked(day, "pov", participation=0.5, interval="1s", quantity=5000))
    prices = [
        len(set(deep["price_ticks"][deep["sequence"] == sequence].tolist()))
        for sequence in np.unique(deep["sequence"])
    ]
    assert max(prices) > 1  # an aggressive one does not stop there
