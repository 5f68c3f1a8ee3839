"""The exchange's rules and the naive reading of them, driven by the same random orders."""

import random
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketsim.agent import Agent, Data, Fill, Handle, OrderUpdate
from marketsim.book import _digest
from marketsim.codes import Feed, Flag, Phase, Reject, TimeInForce
from marketsim.invariants import broken_invariant
from marketsim.naive_orders import Order
from marketsim.naive_rules import NaiveExchange, NaiveRules
from marketsim.simulation import Simulation

SECOND = 1_000_000_000
START = 36_000 * SECOND
STEP_NS = 100_000_007
#: Seconds after START: call, open, break, second open, closing call, close.
CALL, OPEN, BREAK, AGAIN, CLOSING, CLOSE = (START + s * SECOND for s in (0, 2, 6, 7, 13, 15))
SESSION = {
    "opening_auction": CALL,
    "periods": [{"open": OPEN, "close": BREAK}, {"open": AGAIN, "close": CLOSE}],
    "closing_auction": CLOSING,
}
SCHEDULE = [
    (CALL, Phase.OPENING_CALL), (OPEN, Phase.CONTINUOUS), (BREAK, Phase.BREAK),
    (AGAIN, Phase.CONTINUOUS), (CLOSING, Phase.CLOSING_CALL), (CLOSE, Phase.CLOSED),
]  # fmt: skip
PAUSE, LIMIT_STATE, HALT = SECOND + 11, SECOND // 2 + 13, SECOND + 17
LIMITS: list[dict[str, Any] | None] = [
    None,
    {"percent": 5, "reference": 100},
    {"percent": 4, "reference": "open"},
    {"percent": 3, "reference": "last_auction", "pause": PAUSE, "limit_state": LIMIT_STATE},
    {"percent": 3, "reference": "mean", "window": 3 * SECOND // 2},
    {"percent": 2.5, "reference": "mean", "window": SECOND, "pause": PAUSE,
     "limit_state": LIMIT_STATE},
]  # fmt: skip
BREAKERS: list[dict[str, Any] | None] = [
    None,
    {"levels": [{"move_percent": 3, "halt": HALT}, {"move_percent": 6, "halt": HALT}]},
    {"levels": [{"move_percent": 2, "halt": HALT}, {"move_percent": 5.5, "halt": "close"}],
     "reference": 100, "direction": "both"},
    {"levels": [{"move_percent": 4, "halt": 8 * SECOND}], "direction": "up", "reference": 99},
]  # fmt: skip
SHORTS: list[dict[str, Any] | None] = [
    None,
    {"rule": "forbidden"},
    {"rule": "uptick"},
    {"rule": "uptick", "trigger_percent": 3, "reference": 100},
]
IOC, FOK, POST_ONLY = Flag.IOC, Flag.FOK, Flag.POST_ONLY
KINDS = ["limit"] * 6 + ["market", "market", "hidden", "iceberg", "ioc", "fok", "market_fok"] + [
    "post_only", "stop", "stop_limit", "cancel", "reduce", "replace", "replace"
]  # fmt: skip
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.integers(0, 1),  # agent
        st.sampled_from([1, -1]),
        st.integers(92, 108),
        st.integers(1, 9),
        st.integers(0, 30),  # which order is changed, stop price, parts of icebergs
        st.sampled_from([TimeInForce.GTC, TimeInForce.DAY]),
    ),
    min_size=20,
    max_size=150,
)


class Listener(Agent):
    """Keeps refusals, phases and fills."""

    def __init__(self) -> None:
        self.refused: list[tuple[int, int, Any]] = []
        self.phases: list[tuple[int, Phase | None]] = []
        self.position = 0
        self.cash = 0

    def on_start(self, market: Handle) -> None:
        market.subscribe(Feed.SESSION)

    def on_order(self, market: Handle, update: OrderUpdate) -> None:
        if update.status in ("rejected", "change_rejected"):
            self.refused.append((update.time_ns, update.order_id, update.reason))

    def on_fill(self, market: Handle, fill: Fill) -> None:
        self.position += fill.side * fill.size_lots
        self.cash -= fill.side * fill.size_lots * fill.price_ticks

    def on_data(self, market: Handle, data: Data) -> None:
        self.phases.append((data.time_ns, data.phase))


class RuleTwins:
    """A simulation and a naive exchange of the same rules."""

    def __init__(
        self, limits: Any, breaker: Any, short: Any, reference: int | None, tiny: bool
    ) -> None:
        rules = {"price_limits": limits, "circuit_breaker": breaker, "short_sale": short}
        self.agents = [Listener(), Listener()]
        config = {
            "session": SESSION,
            "exchange": rules,
            "symbols": [{"name": "X", "reference_ticks": reference}],
        }
        names = {"a": self.agents[0], "b": self.agents[1]}
        self.fast = Simulation(config, agents=names)
        if tiny:
            shrink(self.fast)
        self.naive = NaiveExchange(naive_rules(limits, breaker, short, reference))
        self.now_ns = START
        self.orders = 0

    def do(self, operation: tuple[Any, ...]) -> None:
        """One operation of one agent, a step later than the last."""
        kind, agent, side, price, size, choice, tif = operation
        self.now_ns += STEP_NS
        self.run_to(self.now_ns)
        handle = self.fast._python[agent][1]
        if kind in ("cancel", "reduce", "replace"):
            own = [i for i, owner in self.owners.items() if owner == agent]
            order_id = own[choice % len(own)] if own else 999
            if kind == "cancel":
                handle.cancel(order_id)
            elif kind == "reduce":
                handle.reduce(order_id, size)
            else:
                handle.replace(order_id, limit=price, size=size)
            self.naive.change(kind, order_id, price, size)
        else:
            order = self.order(kind, agent, side, price, size, choice, int(tif))
            self.fast._calls.send_order(
                self.fast._market.address, agent, 0, side, size and order.price_ticks, size,
                order.display_lots, order.stop_ticks, order.flags,
            )  # fmt: skip
            self.owners[order.order_id] = agent
            self.naive.enter(order)
        self.run_to(self.now_ns)

    owners: dict[int, int]

    def order(
        self, kind: str, agent: int, side: int, price: int, size: int, choice: int, tif: int
    ) -> Order:
        self.orders += 1
        flags = {
            "market": tif | Flag.MARKET, "market_fok": Flag.MARKET | FOK,
            "hidden": tif | Flag.HIDDEN, "ioc": int(IOC), "fok": int(FOK),
            "post_only": tif | POST_ONLY, "stop": tif | Flag.STOP | Flag.MARKET,
            "stop_limit": tif | Flag.STOP,
        }.get(kind, tif)  # fmt: skip
        display = 1 + choice % size if kind == "iceberg" else 0
        stop = 92 + choice % 17 if flags & Flag.STOP else 0
        limit = 0 if flags & Flag.MARKET else price
        display = 0 if display == size else display
        return Order(self.orders, side, limit, size, 0, display, agent, int(flags), stop)

    def run_to(self, now_ns: int) -> None:
        """Let time pass on both sides, then compare."""
        self.fast._advance_to(now_ns, None)
        self.naive.run_to(now_ns)
        market = self.fast._market
        assert broken_invariant(market, 0) is None
        assert int(_digest(market.address, 0)) % 2**64 == self.naive.digest()
        assert Phase(market.view("rules")[0]["shown"]) == self.naive.phase

    def finish(self) -> None:
        """Run to the end, then compare everything that was told and written."""
        self.run_to(CLOSE + SECOND)
        trades = self.fast.tape.trades
        columns = ("time_ns", "price_ticks", "size_lots", "maker_order_id", "taker_order_id")
        rows = list(zip(*(trades[name].tolist() for name in columns), strict=True))
        assert rows == self.naive.fills
        refused = sorted(self.agents[0].refused + self.agents[1].refused)
        assert refused == sorted(self.naive.refused)
        for agent in self.agents:
            assert agent.phases == self.naive.phases
        assert sum(agent.position for agent in self.agents) == 0
        assert sum(agent.cash for agent in self.agents) == 0
        accounts = self.fast._market.view("accounts")
        assert accounts["position_lots"].sum() == accounts["cash"].sum() == 0


def shrink(simulation: Simulation) -> None:
    """Give the pools the least room, so that they grow in the middle of everything."""
    market = simulation._market
    for name, capacity in (
        ("order_rows", 2), ("trade_rows", 2), ("delta_rows", 3), ("orders", 1), ("levels", 1),
        ("outcomes", 4), ("incidents", 1), ("prints", 1), ("messages", 16), ("events", 16),
    ):  # fmt: skip
        fresh = {**market.capacities, name: capacity}
        head = {field: market.header[field] for field in market.header.dtype.names}
        old = {pool: market.view(pool)[: fresh[pool]].copy() for pool in fresh}
        market._allocate(fresh)
        for field, value in head.items():
            if not field.endswith(("_offset", "_capacity")):
                market.header[field] = value
        for pool, rows in old.items():
            market.view(pool)[: len(rows)] = rows


def naive_rules(limits: Any, breaker: Any, short: Any, reference: int | None) -> NaiveRules:
    rules = NaiveRules(list(SCHEDULE), reference)
    if limits:
        rules.limit_percent, rules.limit_reference = limits["percent"], limits["reference"]
        rules.window_ns = limits.get("window", 0)
        rules.pause_ns = limits.get("pause")
        rules.limit_state_ns = limits.get("limit_state", 0)
    if breaker:
        rules.breaker_levels = tuple(
            (level["move_percent"], None if level["halt"] == "close" else level["halt"])
            for level in breaker["levels"]
        )
        rules.breaker_reference = breaker.get("reference", "open")
        rules.breaker_direction = breaker.get("direction", "down")
    if short:
        rules.short_rule, rules.short_percent = short["rule"], short.get("trigger_percent")
        rules.short_reference = short.get("reference", "open")
    return rules


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(
    OPERATIONS, st.sampled_from(LIMITS), st.sampled_from(BREAKERS), st.sampled_from(SHORTS),
    st.sampled_from([None, 100]), st.booleans(),
)  # fmt: skip
def test_the_exchange_and_the_naive_reading_never_differ(
    operations: Any, limits: Any, breaker: Any, short: Any, reference: Any, tiny: bool
) -> None:
    drive(operations, limits, breaker, short, reference, tiny)


def drive(
    operations: Any, limits: Any, breaker: Any, short: Any, reference: Any, tiny: bool
) -> RuleTwins:
    twins = RuleTwins(limits, breaker, short, reference, tiny)
    twins.owners = {}
    for operation in operations:
        twins.do(operation)
    twins.finish()
    return twins


def random_operations(rng: random.Random, count: int) -> list[tuple[Any, ...]]:
    """Orders round a price that wanders, so that rules bite."""
    centre = 100.0
    operations = []
    for _ in range(count):
        centre = min(max(centre + rng.gauss(0, 0.6), 95), 105)
        price = round(centre + rng.gauss(0, 2))
        tif = rng.choice([TimeInForce.GTC, TimeInForce.DAY])
        operations.append((
            rng.choice(KINDS), rng.randrange(2), rng.choice([1, -1]), price, rng.randint(1, 9),
            rng.randrange(31), tif,
        ))  # fmt: skip
    return operations


def test_in_many_random_days_every_rule_bites_and_both_agree() -> None:
    rng = random.Random(7)
    seen: Counter[Any] = Counter()
    for day in range(96):
        limits, breaker = LIMITS[day % 6], BREAKERS[day // 6 % 4]
        short, reference = SHORTS[day % 4], rng.choice([None, 100])
        twins = drive(random_operations(rng, 150), limits, breaker, short, reference, day % 3 == 0)
        summary = twins.fast.run(twins.fast.now_ns).summary
        seen.update(reason for _, _, reason in twins.naive.refused)
        seen.update(phase for _, phase in twins.naive.phases)
        seen.update(halt["reason"] for halt in summary.get("halts", []))
        seen["auctions"] += len(summary.get("auctions", []))
        seen["stopped"] += twins.naive.stopped
        seen["trades"] += len(twins.naive.fills)
    for what in (
        Reject.AUCTION, Reject.PRICE_LIMIT, Reject.SHORT_SALE, Reject.SESSION, Reject.HALTED,
        Phase.HALT, "circuit_breaker", "price_limit", "stopped",
    ):  # fmt: skip
        assert seen[what] > 3, (what, seen)
    assert seen["auctions"] > 96 and seen["trades"] > 2_000
