"""Records that a market's block is made of, its pools, and its header."""

from typing import Any

import numpy as np


def _record(*fields: str, small: tuple[str, ...] = ()) -> np.dtype[Any]:
    """Record of int64 fields followed by int32 ones: slots, agents, codes."""
    names = [(field, np.int64) for field in fields] + [(field, np.int32) for field in small]
    return np.dtype(names, align=True)


#: A live order. ``origin`` is the feed's row + 1 of a recorded one, -1 of
#: one that came into view, 0 of all others.
#: ``size_lots`` is what can be hit now: an iceberg's shown part, all of a hidden one.
ORDER = _record(
    "order_id", "price_ticks", "size_lots", "reserve_lots", "display_lots", "stop_ticks",
    small=("prev", "next", "level", "agent", "flags", "side", "symbol", "origin"),
)  # fmt: skip
#: A price level, or the pending stops at one stop price. Hidden orders queue behind the visible.
#: ``counted_lots``: visible lots of the agent ``counted_for`` - 1, as long as nothing changes.
LEVEL = _record(
    "price_ticks", "visible_lots", "counted_lots",
    small=("ladder", "head", "tail", "hidden_head", "hidden_tail", "next", "counted_for"),
)  # fmt: skip
#: A ladder of a book: bids, asks, pending buy stops, pending sell stops. ``visible_lots``: of all
#: levels of bids or asks.
LADDER = _record("levels", "orders", "icebergs", "visible_lots")
#: An entry of a ladder, sorted by ``key`` with the best level last.
RUNG = _record("key", "level")
#: Totals of one book; ``bought_lots``: the part of the volume whose aggressor bought.
#: ``state``: bits of :class:`marketsim.codes.State`, 0 in plain trading. ``rows``: rows of the
#: tape's orders so far; ``oracle``: where its fundamental value is, 0 for none. For a world agent:
#: ``generates``: whether it writes the flow; ``due``: whether it is to decide; ``unread``: first
#: row that it has not seen; ``draft``: number of its order on the way, 0 for none; ``sent``: how
#: many came to the exchange.
BOOK = _record(
    "last_ticks", "traded", "trades", "volume_lots", "notional", "resting_lots", "state",
    "tick", "lot", "rows", "bought_lots", "oracle", "generates", "due", "unread", "draft", "sent",
)  # fmt: skip
#: Market rules of one book and where they stand; see :mod:`marketsim.rules`. Missing prices are
#: ``NO_PRICE``, shares in millionths. ``cross_*``: of the auction that is found, or under way.
RULE = _record(
    "phase", "shown", "end_ns", "period_end_ns", "generation", "halt_row",
    "base_ticks", "open_ticks", "auction_ticks",
    "limit_reference", "limit_ticks", "limit_ppm", "window_ns", "pause_ns", "limit_state_ns",
    "limit_since_ns", "limit_timer", "prints_head", "prints_tail", "prints_sum", "prints_count",
    "breaker_reference", "breaker_ticks", "breaker_start", "breaker_count", "breaker_done",
    "breaker_down", "breaker_up", "traded", "low_ticks", "high_ticks",
    "short_rule", "short_reference", "short_ticks", "short_ppm", "short_on",
    "tick_start", "tick_count", "lot_start", "lot_count",
    "crossing", "cross_ticks", "cross_lots", "cross_surplus",
)  # fmt: skip
#: A row of a table of rules: an increment from a price on; a breaker's share and its halt.
STEP = _record("threshold", "value")
#: Trades of one event, for the mean price of a window.
PRINT = _record("time_ns", "sum_ticks", "count", small=("next",))
#: An auction that traded, or a halt (``end_ns`` 0 while it lasts), for the run's summary.
INCIDENT = _record("time_ns", "end_ns", "price_ticks", "size_lots", small=("symbol", "reason"))
#: Hash table from order id to slot + 1 (0: empty), linear probing.
INDEX = _record("key", "slot")
#: What matching did; see :class:`marketsim.codes.Outcome`. ``left_lots``: what the order has left;
#: ``next_shown_lots``: what an iceberg shows next, when its shown part was used up; of a cancelled
#: maker, what it showed.
OUTCOME = _record(
    "order_id", "other_id", "price_ticks", "size_lots", "left_lots", "next_shown_lots",
    small=("kind", "agent", "other_agent", "hidden", "origin"),
)  # fmt: skip
#: A message on its way, or waiting in an agent's inbox. ``a`` to ``h`` mean what its kind says.
MESSAGE = _record(
    "time_ns", "order_id", "price_ticks", "size_lots", "a", "b", "c", "d",
    small=("kind", "sender", "receiver", "symbol", "side", "next"),
)  # fmt: skip
#: An entry of the event queue: time, then ``sequence << SLOT_BITS | message slot``.
EVENT = _record("time_ns", "key")
#: An agent. ``kind`` 0 is Python, others index ``kinds``. ``latency_ns`` is the least that its
#: messages take; ``jitter`` is where its latency's random part is described, 0 for none.
#: ``counter`` and ``jitter_draws`` are its random streams'. A compiled agent's records start at
#: ``state``, its population's at ``shared``; ``cursor``, ``mark``, ``taken_lots`` are its own.
#: ``inventory_lots``: what it owned of its symbol before the day, for the short-sale rule.
AGENT = _record(
    "latency_ns", "delay_ns", "busy_ns", "counter", "state", "state_size", "cursor", "mark",
    "taken_lots", "inventory_lots", "shared", "jitter", "jitter_draws",
    small=("kind", "inbox_head", "inbox_tail", "wants", "symbol"),
)  # fmt: skip
#: Compiled agents' code: address of ``wake(m, agent, message)``.
KIND = _record("address")
#: Money and shares of one agent in one symbol. ``known_*``: as far as fills have reached the agent.
ACCOUNT = _record(
    "position_lots", "cash", "cost", "realised", "fees_micro", "bought_lots", "sold_lots",
    "trades", "known_position_lots", "known_cash",
)  # fmt: skip
#: A subscription to market data of one symbol.
SUBSCRIPTION = _record("agent", "symbol", "feed", "levels", "last")
#: Undo log of what a delayed agent may not know yet: old sizes of levels, old trade totals.
#: ``side`` 0 is a trade: volume, bought volume, notional and last price before it; 2 a phase: the
#: one before.
HISTORY = _record(
    "time_ns", "price_ticks", "old_lots", "bought_lots", "notional", small=("symbol", "side")
)
#: A row of recorded flow that a replay agent plays back; ``kind`` 0 is a reveal of signed size.
#: ``origin``: row + 1 in which its order came in, 0 if that was out of sight; ``taken_lots``: what
#: other agents took of the order that came in with this row.
FEED = _record(
    "time_ns", "order_id", "price_ticks", "size_lots", "hidden_lots", "taken_lots",
    small=("price_subticks", "kind", "side", "reveals", "origin"),
)  # fmt: skip
#: A row of the tape's orders, kept for a world agent; the book before it is in the pool
#: ``flow_levels``, ten levels a row, the best first, empty ones 0.
FLOW_ROW = _record(
    "time_ns", "price_ticks", "size_lots", "traded_lots", "first_ticks", small=("kind", "side")
)
FLOW_LEVEL = _record("bid_ticks", "bid_lots", "ask_ticks", "ask_lots")
FLOW_LEVELS = 10
#: A level, while a past view of the book is put together.
SCRATCH = _record("price_ticks", "size_lots")
#: A word of a compiled agent's own state, or a counter.
WORD = np.dtype([("value", np.int64)], align=True)
#: Rows of the tape since it was last taken away. ``sequence`` counts a symbol's rows from 0.
ORDER_ROW = np.dtype(
    [
        ("time_ns", np.int64), ("sequence", np.int64), ("order_id", np.int64),
        ("price_ticks", np.int64), ("size_lots", np.int64), ("hidden_lots", np.int64),
        ("agent_id", np.int32), ("price_subticks", np.int32), ("symbol", np.int16),
        ("kind", np.int8), ("side", np.int8),
    ],
    align=True,
)  # fmt: skip
TRADE_ROW = np.dtype(
    [
        ("time_ns", np.int64), ("sequence", np.int64), ("price_ticks", np.int64),
        ("size_lots", np.int64), ("maker_order_id", np.int64), ("taker_order_id", np.int64),
        ("maker_agent_id", np.int32), ("taker_agent_id", np.int32), ("price_subticks", np.int32),
        ("symbol", np.int16), ("side", np.int8), ("hidden", np.int8),
    ],
    align=True,
)  # fmt: skip
DELTA_ROW = np.dtype(
    [
        ("sequence", np.int64), ("price_ticks", np.int64), ("size_lots", np.int64),
        ("symbol", np.int16), ("side", np.int8),
    ],
    align=True,
)  # fmt: skip

#: Pools in the order of the block. Capacities are run-time values.
POOLS: dict[str, np.dtype[Any]] = {
    "books": BOOK, "rules": RULE, "steps": STEP, "prints": PRINT, "incidents": INCIDENT,
    "ladders": LADDER, "rungs": RUNG, "orders": ORDER, "levels": LEVEL,
    "index": INDEX, "outcomes": OUTCOME, "agents": AGENT, "kinds": KIND, "accounts": ACCOUNT,
    "subscriptions": SUBSCRIPTION, "messages": MESSAGE, "events": EVENT, "history": HISTORY,
    "flow": FLOW_ROW, "flow_levels": FLOW_LEVEL,
    "scratch": SCRATCH, "feed": FEED, "words": WORD, "counters": WORD,
    "order_rows": ORDER_ROW, "trade_rows": TRADE_ROW, "delta_rows": DELTA_ROW,
}  # fmt: skip
POOL_NAMES = tuple(POOLS)
#: Where the queue begins in its pool, so that four siblings of its heap share a cache line.
QUEUE_START = 3
#: Pools whose records come and go: free list through ``next``, high-water mark, live count.
RECYCLED = ("orders", "levels", "messages", "prints")

_SCALARS = (
    "now_ns", "sequence", "next_order_id", "seed", "open_ns", "close_ns", "grow_pool",
    "grow_needed", "agents_count", "books_count", "ladder_levels", "index_mask", "index_shift",
    "outcomes_count", "events_count", "subscriptions_count", "history_count", "horizon_ns",
    "words_count", "feed_count", "order_rows_count", "trade_rows_count", "delta_rows_count",
    "tape_on", "processed", "filled_lots", "resume_result", "stops_pending", "maker_fee_rate",
    "taker_fee_rate", "maker_fee_per_lot", "taker_fee_per_lot", "self_trade", "headroom",
    "auction_fee_rate", "auction_fee_per_lot", "incidents_count", "steps_count", "flow_width",
    "thinking",
)  # fmt: skip
MAIL = tuple(f"mail{i}" for i in range(16))  # where entry points leave several results
HEADER = _record(
    *_SCALARS,
    *(f"{name}_offset" for name in POOLS),
    *(f"{name}_capacity" for name in POOLS),
    *(f"{name}_{what}" for name in RECYCLED for what in ("free", "used", "live")),
    *MAIL,
)
PLACE = ("grow_pool", "grow_needed", "index_mask", "index_shift", "ladder_levels", "flow_width")
