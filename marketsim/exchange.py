"""The exchange, compiled: validates what agents send, matches, keeps accounts, tells everybody.

One message is one event. Before it is handled, :func:`event_room` makes sure that everything that
can follow from it fits into the block, so that nothing is ever dropped half-way.
"""

from marketsim.account import book_fill
from marketsim.codes import Cancelled, Feed, Flag, OrderKind, Outcome, Reject
from marketsim.compile import helper, hot
from marketsim.events import Message, ask, message_room, tell
from marketsim.ladder import index_find
from marketsim.market import (
    POOL_NAMES,
    agents,
    ask_for,
    books,
    counters,
    feed,
    header,
    history,
    messages,
    order_rows,
    orders,
    outcomes,
    subscriptions,
    trade_rows,
)
from marketsim.market_data import publish
from marketsim.matching import (
    MARKET,
    NEVER_RESTS,
    STOP,
    check,
    crosses,
    fillable,
    most_met,
    next_stop,
    place,
    reduce,
    remove_order,
    replace,
    room,
    submit,
)

ORDER, CANCEL, REDUCE = int(Message.ORDER), int(Message.CANCEL), int(Message.REDUCE)
REPLACE, CLOSE = int(Message.REPLACE), int(Message.CLOSE)
ACCEPTED, REJECTED, FILLED = int(Message.ACCEPTED), int(Message.REJECTED), int(Message.FILLED)
CANCELLED, REPLACED = int(Message.CANCELLED), int(Message.REPLACED)
CHANGE_REJECTED, TRIGGERED = int(Message.CHANGE_REJECTED), int(Message.TRIGGERED)
FILL, TRIGGER = int(Outcome.FILL), int(Outcome.TRIGGERED)
DROPPED, MAKER_CANCELLED = int(Outcome.DROPPED), int(Outcome.MAKER_CANCELLED)
DECREMENTED, TAKER_CANCELLED = int(Outcome.DECREMENTED), int(Outcome.TAKER_CANCELLED)
ROW_LIMIT, ROW_MARKET, ROW_STOP = int(OrderKind.LIMIT), int(OrderKind.MARKET), int(OrderKind.STOP)
ROW_CANCEL, ROW_REDUCE = int(OrderKind.CANCEL), int(OrderKind.REDUCE)
ROW_REPLACE, ROW_EXECUTION = int(OrderKind.REPLACE), int(OrderKind.EXECUTION)
HIDDEN, DAY, POST_ONLY = int(Flag.HIDDEN), int(Flag.DAY), int(Flag.POST_ONLY)
FOK = int(Flag.FOK)
REQUESTED, UNFILLED = int(Cancelled.REQUESTED), int(Cancelled.UNFILLED)
SELF_TRADE, EXPIRED = int(Cancelled.SELF_TRADE), int(Cancelled.EXPIRED)
L3, TRADES = int(Feed.L3), int(Feed.TRADES)
TELL_L3, TELL_TRADE = int(Message.L3), int(Message.TRADE)
TICK, LOT, SESSION = int(Reject.TICK), int(Reject.LOT), int(Reject.SESSION)
HALTED, NOT_OWNER = int(Reject.HALTED), int(Reject.NOT_OWNER)
UNKNOWN_ORDER, SIZE, FLAGS = int(Reject.UNKNOWN_ORDER), int(Reject.SIZE), int(Reject.FLAGS)
UNKNOWN_SYMBOL = int(Reject.UNKNOWN_SYMBOL)
WOULD_TAKE, NOT_FILLABLE = int(Reject.WOULD_TAKE), int(Reject.NOT_FILLABLE)
TAPE_FULL = -1  # in ``header.grow_pool``: take the tape's rows away instead of growing
REJECTS = 100  # counters hold the number of rejects of each reason from here: Reject - REJECTS
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
    each = 1 + h.subscriptions_count
    free = (h.messages_capacity - h.messages_live - 2 * each - 4) // each
    if h.tape_on:
        left = min(h.order_rows_capacity - h.order_rows_count,
                   h.trade_rows_capacity - h.trade_rows_count)  # fmt: skip
        free = min(free, left - 4, h.delta_rows_capacity - h.delta_rows_count - 4)
    met = most_met(m, b, side, price, size, flags, free)
    return (
        message_room(m, met * each + 2 * each + 4)
        and tape_room(m, met + 4)
        and history_room(m, 2 * met + 4)
    )


@helper
def add_row(m, b, kind, order_id, agent, side, price, size, hidden, subticks):
    """Write a row of the tape's orders."""
    book = books(m, b)
    sequence = book.rows
    book.rows = sequence + 1
    h = header(m)
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
    """Whether an agent is told of its orders and fills."""
    return agent >= 0 and agents(m, agent).wants != 0


@helper
def remember_trade(m, b, volume_before, last_before):
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
    if wants(m, maker):
        tell(m, FILLED, maker, b, maker_id, -side, price, size, left, 1, fee, 0)
    fee = book_fill(m, taker, b, side, price, size, 0)
    if wants(m, taker):
        tell(m, FILLED, taker, b, taker_id, side, price, size, -1, 0, fee, 0)
    if has_feeds(m):
        feed_event(m, TRADES, b, 0, 0, side, price, size)
        if not hidden:
            feed_event(m, L3, b, ROW_EXECUTION, maker_id, -side, price, size)
        if next_shown > 0:
            feed_event(m, L3, b, ROW_LIMIT, maker_id, -side, price, next_shown)


@helper
def settle_outcomes(m, b, side, volume_before, last_before):
    """Everything that follows from what matching did, in its order; then forgets it."""
    h = header(m)
    if books(m, b).volume_lots > volume_before:
        remember_trade(m, b, volume_before, last_before)
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
    """Market data of a book that may have changed, and the stops that are due now."""
    if next_stop(m, b) >= 0:
        header(m).stops_pending = b + 1
    if has_feeds(m):
        publish(m, b)


@helper
def reject(m, kind, agent, b, order_id, reason):
    """Refuse a request: count it and tell whoever sent it."""
    counters(m, reason - REJECTS).value += 1
    if wants(m, agent):
        tell(m, kind, agent, b, order_id, 0, 0, 0, reason, 0, 0, 0)


@helper
def closed(m, b):
    """0, or why nothing can be entered now."""
    h = header(m)
    if h.now_ns < h.open_ns or h.now_ns >= h.close_ns:
        return SESSION
    return HALTED if books(m, b).halted else 0


@helper
def refusal(m, b, agent, side, price, size, display, stop, flags):
    """0, or the reason why an order is not taken."""
    reason = closed(m, b)
    if reason:
        return reason
    bad = check(side, price, size, display, stop, flags)
    if bad:
        return -bad
    book = books(m, b)
    if not flags & MARKET and price % book.tick != 0:
        return TICK
    if flags & STOP and stop % book.tick != 0:
        return TICK
    if size % book.lot != 0 or display % book.lot != 0:
        return LOT
    if flags & STOP and (not book.traded or (book.last_ticks - stop) * side < 0):
        return 0  # it waits; what it stands for is looked at when it enters
    if flags & POST_ONLY and crosses(m, b, side, price):
        return WOULD_TAKE
    if flags & FOK and not fillable(m, b, agent, side, price, size, flags):
        return NOT_FILLABLE
    return 0


@helper
def shown_of(size, display, flags):
    """Lots of a resting order that the market sees."""
    if flags & HIDDEN:
        return 0
    return min(display, size) if display > 0 else size


@helper
def enter_order(m, b, order_id, agent, side, price, size, display, stop, flags):
    """A valid order: row, match, everything that follows; the row's kind says how it lives."""
    book = books(m, b)
    waits = flags & STOP and (not book.traded or (book.last_ticks - stop) * side < 0)
    kind = ROW_STOP if waits else (ROW_MARKET if flags & NEVER_RESTS else ROW_LIMIT)
    shown_price = stop if waits else (0 if flags & MARKET else price)
    hidden = size - shown_of(size, display, flags)
    add_row(m, b, kind, order_id, agent, side, shown_price, size, hidden, 0)
    volume, last = book.volume_lots, book.last_ticks
    result = submit(m, b, order_id, agent, side, price, size, display, stop, flags)
    if wants(m, agent):
        tell(m, ACCEPTED, agent, b, order_id, side, shown_price, size, flags, 0, 0, 0)
    settle_outcomes(m, b, side, volume, last)
    if has_feeds(m) and not waits and not flags & NEVER_RESTS:
        tell_resting(m, b, order_id)
    after_event(m, b)
    return result


@helper
def tell_resting(m, b, order_id):
    """Announce on the L3 feed what an order that just came in shows in the book, if anything."""
    slot = index_find(m, order_id)
    if slot >= 0:
        order = orders(m, slot)
        if not order.flags & HIDDEN:
            price, size = order.price_ticks, order.size_lots
            feed_event(m, L3, b, ROW_LIMIT, order_id, order.side, price, size)


@helper
def handle_order(m, slot):
    """A new order of an agent."""
    message = messages(m, slot)
    b, agent = message.symbol, message.sender
    side, price, size = message.side, message.price_ticks, message.size_lots
    flags, stop, display = message.a, message.b, message.c
    if not flags & (7 << 8):
        flags |= header(m).self_trade
    if flags & MARKET:
        price = 0
    reason = refusal(m, b, agent, side, price, size, display, stop, flags)
    if reason:
        reject(m, REJECTED, agent, b, message.order_id, reason)
    else:
        enter_order(m, b, message.order_id, agent, side, price, size, display, stop, flags)


@helper
def change_refusal(m, slot, order_slot):
    """0, or the reason why a cancel, reduce or replace is not taken."""
    message = messages(m, slot)
    h = header(m)
    if h.now_ns < h.open_ns or h.now_ns >= h.close_ns:
        return SESSION
    if order_slot < 0:
        return UNKNOWN_ORDER
    order = orders(m, order_slot)
    if order.agent != message.sender:
        return NOT_OWNER
    if message.kind == CANCEL:
        return 0
    book = books(m, order.symbol)
    if message.size_lots < 1:
        return SIZE
    if message.size_lots % book.lot != 0:
        return LOT
    if message.kind == REPLACE:
        if book.halted:
            return HALTED
        if order.flags & STOP:
            return FLAGS
        bad = check(order.side, message.price_ticks, message.size_lots, 0, 0, 0)
        if bad:
            return -bad
        if message.price_ticks % book.tick != 0:
            return TICK
        same = message.price_ticks == order.price_ticks
        stays = same and message.size_lots <= order.size_lots + order.reserve_lots
        takes = crosses(m, order.symbol, order.side, message.price_ticks)
        if order.flags & POST_ONLY and not stays and takes:
            return WOULD_TAKE
    return 0


@helper
def handle_change(m, slot):
    """Cancel, reduce or replace of an agent's own order."""
    message = messages(m, slot)
    order_id, agent = message.order_id, message.sender
    order_slot = index_find(m, order_id)
    reason = change_refusal(m, slot, order_slot)
    if reason:
        b = orders(m, order_slot).symbol if order_slot >= 0 else message.symbol
        reject(m, CHANGE_REJECTED, agent, b, order_id, reason)
        return
    b = orders(m, order_slot).symbol
    if message.kind == REPLACE:
        replace_order(m, b, order_slot, message.price_ticks, message.size_lots)
    else:
        size = message.size_lots if message.kind == REDUCE else 0
        take_out(m, b, order_slot, size, REQUESTED)
    after_event(m, b)


@helper
def take_out(m, b, order_slot, size, cause):
    """Cancel ``size`` lots of an order, or all of it (0); its owner and the feeds are told."""
    order = orders(m, order_slot)
    order_id, agent, side, flags = order.order_id, order.agent, order.side, order.flags
    total = order.size_lots + order.reserve_lots
    shown = order.size_lots
    price = order.stop_ticks if flags & STOP else order.price_ticks
    left = 0 if size == 0 or size >= total else total - size
    from_shown = shown if left == 0 else max(size - order.reserve_lots, 0)
    add_row(
        m, b, ROW_REDUCE if left else ROW_CANCEL, order_id, agent, side, price, total - left, 0, 0
    )
    if left:
        reduce(m, b, order_slot, size)
    else:
        remove_order(m, b, order_slot)
    if wants(m, agent):
        tell(m, CANCELLED, agent, b, order_id, side, price, total - left, cause, left, 0, 0)
    if has_feeds(m) and not flags & (HIDDEN | STOP) and from_shown > 0:
        kind = ROW_REDUCE if left else ROW_CANCEL
        feed_event(m, L3, b, kind, order_id, side, price, from_shown)


@helper
def replace_order(m, b, order_slot, price, size):
    """New price and size; a smaller size at the same price keeps the order's place."""
    order = orders(m, order_slot)
    order_id, agent, side, flags = order.order_id, order.agent, order.side, order.flags
    old_price = order.price_ticks
    hidden = size - shown_of(size, order.display_lots, flags)
    add_row(m, b, ROW_REPLACE, order_id, agent, side, price, size, hidden, 0)
    book = books(m, b)
    volume, last = book.volume_lots, book.last_ticks
    shown = order.size_lots
    replace(m, b, order_slot, price, size)
    if wants(m, agent):
        tell(m, REPLACED, agent, b, order_id, side, price, size, 0, 0, 0, 0)
    if has_feeds(m) and not flags & HIDDEN:
        feed_event(m, L3, b, ROW_REPLACE, order_id, side, old_price, shown)
    settle_outcomes(m, b, side, volume, last)
    if has_feeds(m):
        tell_resting(m, b, order_id)


@helper
def run_stop(m):
    """The stop that is due first; returns False when the block is too small for it."""
    h = header(m)
    b = h.stops_pending - 1
    order_slot = next_stop(m, b)
    if order_slot < 0:
        h.stops_pending = 0
        return True
    order = orders(m, order_slot)
    side, price, size, flags = order.side, order.price_ticks, order.size_lots, order.flags & ~STOP
    if not event_room(m, b, side, price, size, flags):
        return False
    h.stops_pending = 0
    order_id, agent, display, stop = (
        order.order_id,
        order.agent,
        order.display_lots,
        order.stop_ticks,
    )
    remove_order(m, b, order_slot)
    if wants(m, agent):
        tell(m, TRIGGERED, agent, b, order_id, side, stop, size, 0, 0, 0, 0)
    reason = HALTED if books(m, b).halted else 0
    if not reason and flags & FOK and not fillable(m, b, agent, side, price, size, flags):
        reason = NOT_FILLABLE
    if reason:
        add_row(m, b, ROW_CANCEL, order_id, agent, side, stop, size, 0, 0)
        if wants(m, agent):
            tell(m, CANCELLED, agent, b, order_id, side, price, size, UNFILLED, 0, 0, 0)
    else:
        enter_triggered(m, b, order_id, agent, side, price, size, display, flags)
    after_event(m, b)
    return True


@helper
def enter_triggered(m, b, order_id, agent, side, price, size, display, flags):
    """What a stop stood for: a market or limit order with its id."""
    kind = ROW_MARKET if flags & NEVER_RESTS else ROW_LIMIT
    hidden = size - shown_of(size, display, flags)
    add_row(m, b, kind, order_id, agent, side, price, size, hidden, 0)
    book = books(m, b)
    volume, last = book.volume_lots, book.last_ticks
    filled = place(m, b, order_id, agent, side, price, size, display, flags)
    settle_outcomes(m, b, side, volume, last)
    if has_feeds(m) and kind == ROW_LIMIT:
        tell_resting(m, b, order_id)
    return filled


@helper
def expire_day_orders(m, slot):
    """At the close: day orders leave the book. Goes on where it stopped when there is no room."""
    message = messages(m, slot)
    h = header(m)
    while message.a < h.orders_used:
        order = orders(m, message.a)
        if order.level >= 0 and order.flags & DAY:
            each = 2 + h.subscriptions_count
            if not (message_room(m, 2 * each) and tape_room(m, 2) and history_room(m, 2)):
                return False
            b = order.symbol
            take_out(m, b, message.a, 0, EXPIRED)
            if has_feeds(m):
                publish(m, b)
        message.a += 1
    return True


@helper
def enter_request(m, agent, symbol, side, price, size, display, stop, flags):
    """Send a new order on its way to the exchange; returns its id. For compiled agents."""
    h = header(m)
    order_id = h.next_order_id
    h.next_order_id = order_id + 1
    ask(m, ORDER, agent, symbol, order_id, side, price, size, flags, stop, display)
    return order_id
