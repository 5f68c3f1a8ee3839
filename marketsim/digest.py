"""The state of a market as bytes that do not depend on where things lie in its block."""

from collections.abc import Iterator

import numpy as np

from marketsim.events import SLOT_BITS
from marketsim.market import Market
from marketsim.records import QUEUE_START, RULE

_SCALARS = (
    "now_ns", "sequence", "next_order_id", "seed", "open_ns", "close_ns", "processed",
    "stops_pending", "self_trade", "maker_fee_rate", "taker_fee_rate", "maker_fee_per_lot",
    "taker_fee_per_lot", "auction_fee_rate", "auction_fee_per_lot",
)  # fmt: skip
#: All but where a book's window lies in the pool of prints.
_RULE = tuple(name for name in RULE.names or () if name not in ("prints_head", "prints_tail"))
_AGENT = (
    "latency_ns",
    "delay_ns",
    "busy_ns",
    "counter",
    "jitter_draws",
    "cursor",
    "mark",
    "taken_lots",
    "inventory_lots",
    "kind",
    "symbol",
)
_MESSAGE = (
    "kind", "sender", "receiver", "symbol", "order_id", "side", "price_ticks", "size_lots",
    "a", "b", "c", "d", "time_ns",
)  # fmt: skip


def state_bytes(market: Market) -> Iterator[bytes]:
    """Everything but the books: header, agents, accounts, subscriptions, messages on their way."""
    head = market.header
    yield np.array([head[name] for name in _SCALARS], np.int64).tobytes()
    agents = market.view("agents")[: int(head["agents_count"])]
    yield _columns(agents, _AGENT)
    yield market.view("accounts").tobytes()
    yield market.view("counters").tobytes()
    yield market.view("words")[: int(head["words_count"])].tobytes()
    yield _columns(market.view("books"), ("rows", "state"))
    if head["flow_width"]:
        yield _columns(market.view("books"), ("generates", "due", "unread", "draft", "sent"))
    yield _columns(market.view("rules"), _RULE)
    yield from _windows(market)
    yield market.view("incidents")[: int(head["incidents_count"])].tobytes()
    yield market.view("subscriptions")[: int(head["subscriptions_count"])].tobytes()
    yield market.view("feed")["taken_lots"][: int(head["feed_count"])].tobytes()
    messages = market.view("messages")
    queue = market.view("events")[QUEUE_START:][: int(head["events_count"])]
    queue = queue[np.lexsort((queue["key"], queue["time_ns"]))]
    yield np.stack([queue["time_ns"], queue["key"] >> SLOT_BITS]).tobytes()
    yield _columns(messages[queue["key"] & ((1 << SLOT_BITS) - 1)], _MESSAGE)
    for first in agents["inbox_head"][agents["inbox_head"] >= 0].tolist():
        slot = first
        while slot >= 0:
            yield _columns(messages[slot : slot + 1], _MESSAGE)
            slot = int(messages[slot]["next"])


def _windows(market: Market) -> Iterator[bytes]:
    """Trades in the window of each book's mean price, oldest first."""
    prints = market.view("prints")
    for slot in market.view("rules")["prints_head"].tolist():
        while slot >= 0:
            yield _columns(prints[slot : slot + 1], ("time_ns", "sum_ticks", "count"))
            slot = int(prints[slot]["next"])


def _columns(rows: np.ndarray, names: tuple[str, ...]) -> bytes:
    return b"".join(rows[name].astype(np.int64).tobytes() for name in names)
