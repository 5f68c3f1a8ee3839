"""Shared by the tests: an agent that sends anything at all, and where real data lies."""

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from marketsim.agent import Agent, Fill, Handle, OrderUpdate
from marketsim.codes import OrderKind, Side
from marketsim.tape import Tape
from marketsim.tape_tables import BookTable

DATA = Path(__file__).parents[1].parent / "shared/data/lobster"
# A test that runs away ends as a MemoryError that names it, before the machine ends everything.
if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
    resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30, resource.RLIM_INFINITY))
SELF_TRADE = ("allow", "cancel_taker", "cancel_maker", "cancel_both", "decrement")


class Noise(Agent):
    """Sends anything in all symbols at random times, and adds up what it is told.

    Parameters
    ----------
    low, high : prices of its orders [ticks], below zero too.
    mean_ns : mean time between two actions.
    self_trade : whether it asks for self-trade prevention, one mode or another.
    feed : a feed that it subscribes to in every symbol, or None.
    """

    def __init__(
        self,
        low: int = -5,
        high: int = 15,
        mean_ns: int = 500,
        self_trade: bool = True,
        feed: str | None = None,
    ) -> None:
        self.low, self.high, self.mean_ns = low, high, mean_ns
        self.self_trade, self.feed = self_trade, feed
        self.position: dict[str, int] = {}
        self.cash = self.heard = 0
        self.fees = 0.0

    def on_start(self, market: Handle) -> None:
        if self.feed is not None:
            for symbol in market._simulation.symbols:
                market.subscribe(self.feed, symbol=symbol)
        market.wake_at(market.open_ns)

    def on_wakeup(self, market: Handle) -> None:
        rng = market.rng
        market.wake_after(int(rng.integers(1, 2 * self.mean_ns)))
        live = list(market.open_orders)
        if live and rng.random() < 0.3:
            self._change(market, int(rng.choice(live)))
            return
        size = int(rng.integers(1, 40))
        market.order(
            Side.BUY if rng.random() < 0.5 else Side.SELL,
            size,
            int(rng.integers(self.low, self.high)) if rng.random() < 0.9 else None,
            tif=str(rng.choice(["GTC", "DAY", "DAY", "IOC", "FOK"])),
            stop=int(rng.integers(self.low, self.high)) if rng.random() < 0.1 else None,
            post_only=bool(rng.random() < 0.1),
            hidden=bool(rng.random() < 0.1),
            display=int(rng.integers(1, size + 1)) if rng.random() < 0.2 else 0,
            self_trade=str(rng.choice(SELF_TRADE)) if self.self_trade else None,
            symbol=str(rng.choice(market._simulation.symbols)),
        )

    def _change(self, market: Handle, order_id: int) -> None:
        rng = market.rng
        act = rng.integers(3)
        if act == 0:
            market.cancel(order_id)
        elif act == 1:
            market.reduce(order_id, int(rng.integers(1, 9)))
        else:
            price, size = int(rng.integers(self.low, self.high)), int(rng.integers(1, 30))
            market.replace(order_id, limit=price, size=size)

    def on_fill(self, market: Handle, fill: Fill) -> None:
        assert fill.left_lots >= 0
        self.heard += 1
        self.position[fill.symbol] = self.position.get(fill.symbol, 0) + fill.side * fill.size_lots
        self.cash -= fill.side * fill.size_lots * fill.price_ticks
        self.fees += fill.fee_ticks

    def on_order(self, market: Handle, update: OrderUpdate) -> None:
        self.heard += 1

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


@pytest.fixture(scope="session")
def noise() -> type[Noise]:
    """The agent that sends anything; in a configuration by ``noise_type``."""
    return Noise


@pytest.fixture(scope="session")
def noise_type() -> str:
    return f"{Noise.__module__}:Noise"


@pytest.fixture(scope="session")
def lobster() -> Path:
    """Folder of LOBSTER's sample files; they may not be shipped."""
    if not DATA.exists():
        pytest.skip("LOBSTER's sample files are not here")
    return DATA


OPEN, SECOND = 34_200_000_000_000, 1_000_000_000


def _make_day(
    mid_ticks: NDArray[np.int64],
    seed: int = 0,
    *,
    signs: NDArray[np.int64] | None = None,
    gaps_ns: NDArray[np.int64] | None = None,
    **meta: Any,
) -> Tape:
    """A tape of one order a row, with the book's mid-price after it given.

    Every fourth row is an execution, by aggressors of ``signs``; the others are limit orders and
    cancels. Rows come after ``gaps_ns``, by default a second each.
    """
    rng = np.random.default_rng(seed)
    rows = len(mid_ticks)
    gaps_ns = np.full(rows, SECOND) if gaps_ns is None else gaps_ns
    time_ns = OPEN + np.cumsum(gaps_ns)
    kind = np.where(rng.random(rows) < 0.5, int(OrderKind.LIMIT), int(OrderKind.CANCEL))
    side = rng.choice([-1, 1], rows)
    executed = np.arange(3, rows, 4)
    kind[executed] = int(OrderKind.EXECUTION)
    drawn = rng.choice([-1, 1], len(executed))
    side[executed] = -(drawn if signs is None else signs[: len(executed)])
    half, size = rng.integers(1, 4, rows), rng.integers(1, 200, rows)
    bid, ask = mid_ticks - half, mid_ticks + half
    price = np.where(side > 0, bid, ask)
    orders = {
        "time_ns": time_ns, "kind": kind, "order_id": np.arange(rows), "side": side,
        "price_ticks": price, "size_lots": size,
    }  # fmt: skip
    trades = {
        "time_ns": time_ns[executed], "sequence": executed, "price_ticks": price[executed],
        "size_lots": size[executed], "side": -side[executed],
    }  # fmt: skip
    lots = rng.integers(1, 300, (2, rows, 1))
    book = BookTable(time_ns, np.arange(rows), bid[:, None], lots[0], ask[:, None], lots[1])
    close_ns = int(time_ns[-1]) + SECOND if rows else OPEN + SECOND
    span = {"symbol": "MADE", "open_ns": OPEN, "close_ns": close_ns}
    return Tape(orders, trades, {**span, **meta}, book=book)


@pytest.fixture(scope="session")
def make_day() -> Callable[..., Tape]:
    """Function that makes a tape from a path of mid-prices."""
    return _make_day


@pytest.fixture(scope="session")
def bursts() -> Callable[[int, int], NDArray[np.int64]]:
    """Function that makes a path of mid-prices whose volatility comes in bursts of 600 rows."""

    def path(rows: int, seed: int) -> NDArray[np.int64]:
        rng = np.random.default_rng(seed)
        calm = np.repeat(rng.random(rows // 600 + 1) < 0.5, 600)[:rows]
        steps = rng.normal(0, np.where(calm, 1.0, 6.0))
        return (100_000 + np.cumsum(steps)).round().astype(np.int64)

    return path


@pytest.fixture(scope="session")
def day() -> Tape:
    """Six minutes of synthetic flow, for warm-ups."""
    from marketsim.data.synthetic import synthetic_tape

    return synthetic_tape(open="09:30", close="09:36")


@pytest.fixture
def saved(day: Tape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of a saved generator, a dummy; ``day`` is saved beside it."""
    from dummy_flow import DummyFlow

    from marketsim.generators import base

    monkeypatch.setitem(base.GENERATORS, "dummy", "dummy_flow:DummyFlow")
    DummyFlow(lots=30).save(tmp_path / "model")
    day.save(tmp_path / "day")
    return tmp_path / "model"
