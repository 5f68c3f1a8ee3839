"""What follows from an event at the exchange: tape, accounts, messages to owners, feeds.

Before an event is handled, :func:`event_room` makes sure that everything that can follow from it
fits into the block, so that nothing is ever dropped half-way.
"""

from marketsim.account import book_fill
from marketsim.codes import Cancelled, Feed, OrderKind, Outcome
from marketsim.compile import helper, hot
from marketsim.events import Message, message_room, tell
from marketsim.flow_ring import flow_room, keep_row, keep_trade
from marketsim.market import (
    agents,
    ask_for,
    books,
    feed,
    header,
    history,
    order_rows,
    outcomes,
    subscriptions,
    trade_rows,
)
from marketsim.market_data import publish
from marketsim.matching import SELF_TRADE_MASK, next_stop
from marketsim.phases import after_rules
from marketsim.records import POOL_NAMES
from marketsim.room import most_met, room
from marketsim.rules import CALL, SHUT, note_trades, rules_room

FILLED = int(Message.FILLED)
CANCELLED = int(Message.CANCELLED)
TRIGGERED = int(Message.TRIGGERED)
FILL, TRIGGER = int(Outcome.FILL), int(Outcome.TRIGGERED)
DROPPED, MAKER_CANCELLED = int(Outcome.DROPPED), int(Outcome.MAKER_CANCELLED)
DECREMENTED, TAKER_CANCELLED = int(Outcome.DECREMENTED), int(Outcome.TAKER_CANCELLED)
ROW_LIMIT = int(OrderKind.LIMIT)
ROW_CANCEL, ROW_REDUCE = int(OrderKind.CANCEL), int(OrderKind.REDUCE)
ROW_EXECUTION = int(OrderKind.EXECUTION)
UNFILLED = int(Cancelled.UNFILLED)
SELF_TRADE = int(Cancelled.SELF_TRADE)
L3, TRADES = int(Feed.L3), int(Feed.TRADES)
TELL_L3, TELL_TRADE = int(Message.L3), int(Message.TRADE)
#: What an agent hears of its orders: bits of ``agents.wants``.
HEARS_FILLS, HEARS_ANSWERS, HEARS_REFUSALS, HEARS_ACCEPTANCES = 1, 2, 4, 8
TAPE_FULL = -1  # in ``header.grow_pool``: take the tape's rows away instead of growing
ORDER_ROWS, HISTORY = POOL_NAMES.index("order_rows"), POOL_NAMES.index("history")
TRADE_ROWS, DELTA_ROWS = POOL_NAMES.index("trade_rows"), POOL_NAMES.index("delta_rows")


@helper
def tape_room(m, rows):
    """Whether the tape takes so many more rows of each table; else it is to be emptied first."""
    h = header(m)
    if not h.tape_on:
        return True
    if (
        h.order_rows_count + rows <= h.order_rows_capacity
        and h.trade_rows_count + rows <= h.trade_rows_capacity
        and h.delta_rows_count + rows <= h.delta_rows_capacity
    ):
        return True
    if h.order_rows_count + h.trade_rows_count + h.delta_rows_count > 0:
        ask_for(m, TAPE_FULL, 0)
    elif rows > h.order_rows_capacity:
        ask_for(m, ORDER_ROWS, rows)
    elif rows > h.trade_rows_capacity:
        ask_for(m, TRADE_ROWS, rows)
    else:
        ask_for(m, DELTA_ROWS, rows)
    return False


@helper
def history_room(m, entries):
    """Whether the undo log can take more without losing what a delayed agent still needs."""
    h = header(m)
    if h.horizon_ns == 0:
        return True
    lost = h.history_count + entries - h.history_capacity  # entries before this one go
    if entries > h.history_capacity or (
        lost > 0
        and history(m, (lost - 1) & (h.history_capacity - 1)).time_ns >= h.now_ns - h.horizon_ns
    ):
        ask_for(m, HISTORY, h.history_capacity + entries)
        return False
    return True


@helper
def event_room(m, b, side, price, size, flags):
    """Whether everything that can follow from an order fits: book, messages, tape, undo log."""
    h = header(m)
    if not room(m, b, side, price, size, flags):
        return False
    if books(m, b).state and not rules_room(m, b):
        return False
    each = 1 + h.subscriptions_count
    free = (h.messages_capacity - h.messages_live - 2 * each - 4) // each
    if h.tape_on:
        left = min(h.order_rows_capacity - h.order_rows_count,
                   h.trade_rows_capacity - h.trade_rows_count)  # fmt: skip
        free = min(free, left - 4, h.delta_rows_capacity - h.delta_rows_count - 4)
    met = most_met(m, b, side, price, size, flags, free)
    return (
        flow_room(m, b, met + 4 if flags & SELF_TRADE_MASK else 4)
        and message_room(m, met * each + 2 * each + 4)
        and tape_room(m, met + 4)
        and history_room(m, 2 * met + 4)
    )


@helper
def add_row(m, b, kind, order_id, agent, side, price, size, hidden, subticks):
    """Write a row of the tape's orders."""
    book = books(m, b)
    sequence = book.rows
    h = header(m)
    if h.flow_width > 0:
        keep_row(m, b, kind, side, price, size)
    book.rows = sequence + 1
    if h.tape_on:
        row = order_rows(m, h.order_rows_count)
        h.order_rows_count += 1
        row.time_ns = h.now_ns
        row.sequence = sequence
        row.order_id = order_id
        row.price_ticks = price
        row.size_lots = size
        row.hidden_lots = hidden
        row.agent_id = agent
        row.price_subticks = subticks
        row.symbol = b
        row.kind = kind
        row.side = side


@helper
def add_trade(
    m, b, sequence, side, price, size, maker_id, taker_id, maker, taker, subticks, hidden
):
    """Write a row of the tape's trades; ``sequence`` is the row of orders that caused it."""
    h = header(m)
    if h.flow_width > 0:
        keep_trade(m, b, sequence, price, size)
    if h.tape_on:
        row = trade_rows(m, h.trade_rows_count)
        h.trade_rows_count += 1
        row.time_ns = h.now_ns
        row.sequence = sequence
        row.price_ticks = price
        row.size_lots = size
        row.maker_order_id = maker_id
        row.taker_order_id = taker_id
        row.maker_agent_id = maker
        row.taker_agent_id = taker
        row.price_subticks = subticks
        row.symbol = b
        row.side = side
        row.hidden = hidden


@helper
def feed_event(m, feed, b, kind, order_id, side, price, size):
    """Tell the subscribers of trades (Feed.TRADES) or of single orders (Feed.L3)."""
    what = TELL_TRADE if feed == TRADES else TELL_L3
    for i in range(header(m).subscriptions_count):
        subscription = subscriptions(m, i)
        if subscription.feed == feed and subscription.symbol == b:
            tell(m, what, subscription.agent, b, order_id, side, price, size, kind, 0, 0, 0)


@hot
def has_feeds(m):
    """Whether anybody subscribed to anything."""
    return header(m).subscriptions_count > 0


@hot
def wants(m, agent):
    """Whether an agent is told what becomes of its orders."""
    return agent >= 0 and agents(m, agent).wants & HEARS_ANSWERS


@hot
def wants_fills(m, agent):
    """Whether an agent is told of its fills."""
    return agent >= 0 and agents(m, agent).wants & HEARS_FILLS


@helper
def remember_trade(m, b, side, volume_before, last_before):
    """Keep a book's trade totals for those who may not know the trade yet."""
    h = header(m)
    if h.horizon_ns > 0:
        entry = history(m, h.history_count & (h.history_capacity - 1))
        h.history_count += 1
        entry.time_ns = h.now_ns
        entry.symbol = b
        entry.side = 0
        entry.price_ticks = last_before
        entry.old_lots = volume_before
        book = books(m, b)
        entry.bought_lots = book.bought_lots
        if side > 0:
            entry.bought_lots -= book.volume_lots - volume_before
        entry.notional = book.notional
        for row in range(h.outcomes_count):
            outcome = outcomes(m, row)
            if outcome.kind == FILL:
                entry.notional -= outcome.price_ticks * outcome.size_lots


@helper
def settle_fill(m, b, side, row, sequence):
    """One trade: tape, both accounts, both owners, feeds. ``side`` is the aggressor's."""
    outcome = outcomes(m, row)
    price = outcome.price_ticks
    size = outcome.size_lots
    maker, taker = outcome.agent, outcome.other_agent
    maker_id, taker_id = outcome.order_id, outcome.other_id
    left, hidden, next_shown = outcome.left_lots, outcome.hidden, outcome.next_shown_lots
    origin = outcome.origin
    add_trade(m, b, sequence, side, price, size, maker_id, taker_id, maker, taker, 0, hidden)
    if origin > 0 and maker != taker:
        feed(m, origin - 1).taken_lots += size
    elif origin < 0 and maker != taker:
        agents(m, maker).taken_lots += size
    fee = book_fill(m, maker, b, -side, price, size, 1)
    if wants_fills(m, maker):
        tell(m, FILLED, maker, b, maker_id, -side, price, size, left, 1, fee, 0)
    fee = book_fill(m, taker, b, side, price, size, 0)
    if wants_fills(m, taker):
        tell(m, FILLED, taker, b, taker_id, side, price, size, -1, 0, fee, 0)
    if has_feeds(m):
        feed_event(m, TRADES, b, 0, 0, side, price, size)
        if not hidden:
            feed_event(m, L3, b, ROW_EXECUTION, maker_id, -side, price, size)
        if next_shown > 0:
            feed_event(m, L3, b, ROW_LIMIT, maker_id, -side, price, next_shown)


@helper
def note_fills(m, b):
    """Let the rules know of an event's trades."""
    count = total = first = low = high = 0
    for row in range(header(m).outcomes_count):
        outcome = outcomes(m, row)
        if outcome.kind == FILL:
            price = outcome.price_ticks
            first = first if count else price
            low = min(low, price) if count else price
            high = max(high, price) if count else price
            total += price
            count += 1
    note_trades(m, b, first, low, high, total, count)


@helper
def settle_outcomes(m, b, side, volume_before, last_before):
    """Everything that follows from what matching did, in its order; then forgets it."""
    h = header(m)
    if books(m, b).volume_lots > volume_before:
        remember_trade(m, b, side, volume_before, last_before)
        if books(m, b).state:
            note_fills(m, b)
    sequence = books(m, b).rows - 1  # of the incoming order; cancelled makers add rows behind it
    for row in range(h.outcomes_count):
        outcome = outcomes(m, row)
        kind = outcome.kind
        order_id, agent = outcome.order_id, outcome.agent
        price, size = outcome.price_ticks, outcome.size_lots
        if kind == FILL:
            settle_fill(m, b, side, row, sequence)
        elif kind == MAKER_CANCELLED:
            add_row(m, b, ROW_CANCEL, order_id, agent, -side, price, size, 0, 0)
            if wants(m, agent):
                tell(m, CANCELLED, agent, b, order_id, -side, price, size, SELF_TRADE, 0, 0, 0)
            if has_feeds(m) and not outcome.hidden:
                shown = outcome.next_shown_lots
                feed_event(m, L3, b, ROW_CANCEL, order_id, -side, price, shown)
        elif kind == DECREMENTED:
            add_row(m, b, ROW_REDUCE, order_id, agent, -side, price, size, 0, 0)
            left = outcome.left_lots
            if wants(m, agent):
                tell(m, CANCELLED, agent, b, order_id, -side, price, size, SELF_TRADE, left, 0, 0)
                other = outcome.other_id
                tell(m, CANCELLED, agent, b, other, side, price, size, SELF_TRADE, -1, 0, 0)
            if has_feeds(m) and not outcome.hidden:
                feed_event(m, L3, b, ROW_REDUCE, order_id, -side, price, size)
                if outcome.next_shown_lots > 0:
                    next_shown = outcome.next_shown_lots
                    feed_event(m, L3, b, ROW_LIMIT, order_id, -side, price, next_shown)
        elif kind == TAKER_CANCELLED or kind == DROPPED:
            cause = SELF_TRADE if kind == TAKER_CANCELLED else UNFILLED
            if wants(m, agent):
                tell(m, CANCELLED, agent, b, order_id, side, price, size, cause, 0, 0, 0)
        elif kind == TRIGGER and wants(m, agent):
            tell(m, TRIGGERED, agent, b, order_id, side, price, size, 0, 0, 0, 0)
    h.outcomes_count = 0


@helper
def after_event(m, b):
    """What rules make of an event, market data that may have changed, stops that are due now."""
    if books(m, b).state:
        after_rules(m, b)
    if next_stop(m, b) >= 0 and not books(m, b).state & (CALL | SHUT):
        header(m).stops_pending = b + 1
    if has_feeds(m):
        publish(m, b)
