"""The exchange, compiled: validates what agents send, matches it, and lets everybody know.

One message is one event.
"""

from marketsim.auction import close_books, replace_in_call, rest_in_call
from marketsim.codes import Cancelled, Flag, OrderKind, Reject
from marketsim.compile import helper
from marketsim.events import Message, ask, message_room, tell
from marketsim.flow_ring import flow_room
from marketsim.ladder import BUY_STOPS, SELL_STOPS, index_find
from marketsim.market import agents, books, counters, header, messages, orders
from marketsim.market_data import publish
from marketsim.matching import (
    MARKET,
    NEVER_RESTS,
    SELF_TRADE_MASK,
    STOP,
    fillable,
    next_stop,
    place,
    reduce,
    remove_order,
    replace,
    rest,
    submit,
)
from marketsim.refusal import (
    bound_flags,
    bound_price,
    change_refusal,
    refusal,
    stop_refusal,
    waits,
)
from marketsim.rules import CALL
from marketsim.settlement import (
    CANCELLED,
    HEARS_ACCEPTANCES,
    HEARS_ANSWERS,
    HEARS_REFUSALS,
    L3,
    ROW_CANCEL,
    ROW_LIMIT,
    ROW_REDUCE,
    TRIGGERED,
    UNFILLED,
    add_row,
    after_event,
    event_room,
    feed_event,
    has_feeds,
    history_room,
    settle_outcomes,
    tape_room,
    wants,
)

ORDER, CANCEL, REDUCE = int(Message.ORDER), int(Message.CANCEL), int(Message.REDUCE)
REPLACE = int(Message.REPLACE)
ACCEPTED, REJECTED = int(Message.ACCEPTED), int(Message.REJECTED)
REPLACED = int(Message.REPLACED)
CHANGE_REJECTED = int(Message.CHANGE_REJECTED)
ROW_MARKET, ROW_STOP = int(OrderKind.MARKET), int(OrderKind.STOP)
ROW_REPLACE = int(OrderKind.REPLACE)
HIDDEN, DAY = int(Flag.HIDDEN), int(Flag.DAY)
FOK = int(Flag.FOK)
REQUESTED = int(Cancelled.REQUESTED)
EXPIRED = int(Cancelled.EXPIRED)
NOT_FILLABLE = int(Reject.NOT_FILLABLE)
REJECTS = 100  # counters hold the number of rejects of each reason from here: Reject - REJECTS


@helper
def reject(m, kind, agent, b, order_id, reason):
    """Refuse a request: count it and tell whoever sent it."""
    counters(m, reason - REJECTS).value += 1
    heard = HEARS_ANSWERS | (HEARS_REFUSALS if kind == REJECTED else 0)
    if agents(m, agent).wants & heard:
        tell(m, kind, agent, b, order_id, 0, 0, 0, reason, 0, 0, 0)


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
    pending = waits(m, b, side, stop, flags)
    if book.state & CALL and flags & MARKET and not pending:
        flags |= HIDDEN
    kind = ROW_STOP if pending else (ROW_MARKET if flags & NEVER_RESTS else ROW_LIMIT)
    shown_price = stop if pending else (0 if flags & MARKET else price)
    hidden = size - shown_of(size, display, flags)
    add_row(m, b, kind, order_id, agent, side, shown_price, size, hidden, 0)
    volume, last = book.volume_lots, book.last_ticks
    if book.state & CALL:
        wait_in_call(m, b, order_id, agent, side, price, size, display, stop, flags, pending)
    else:
        if book.state and flags & MARKET and not pending:
            price, flags = bound_price(m, b, side, price), bound_flags(m, b, side, flags)
        submit(m, b, order_id, agent, side, price, size, display, stop, flags)
    if agents(m, agent).wants & HEARS_ACCEPTANCES:
        tell(m, ACCEPTED, agent, b, order_id, side, shown_price, size, flags, 0, 0, 0)
    settle_outcomes(m, b, side, volume, last)
    if has_feeds(m) and not pending and not flags & NEVER_RESTS:
        tell_resting(m, b, order_id)
    after_event(m, b)


@helper
def wait_in_call(m, b, order_id, agent, side, price, size, display, stop, flags, pending):
    """What :func:`submit` does, in a call phase: orders rest, and every stop is pending."""
    if display == size:
        display = 0
    if pending:
        ladder = BUY_STOPS if side > 0 else SELL_STOPS
        rest(m, b, ladder, order_id, agent, side, price, stop, size, display, flags)
    else:
        rest_in_call(m, b, order_id, agent, side, price, size, display, flags)


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
def order_flags(m, slot):
    """Flags of a new order, with the exchange's rule for meeting an own one where it has none.

    A world agent stands for many traders, who may meet.
    """
    message = messages(m, slot)
    if message.a & SELF_TRADE_MASK or message.d > 0:
        return message.a
    return message.a | header(m).self_trade


@helper
def handle_order(m, slot):
    """A new order of an agent."""
    message = messages(m, slot)
    b, agent = message.symbol, message.sender
    side, price, size = message.side, message.price_ticks, message.size_lots
    flags, stop, display = order_flags(m, slot), message.b, message.c
    if flags & MARKET:
        price = 0
    reason = refusal(m, b, agent, side, price, size, display, stop, flags)
    if reason:
        reject(m, REJECTED, agent, b, message.order_id, reason)
    else:
        enter_order(m, b, message.order_id, agent, side, price, size, display, stop, flags)


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
    if flags & MARKET and not flags & STOP:
        price = 0  # it waits for an auction
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
    grown = size - shown - order.reserve_lots
    if book.state & CALL:
        replace_in_call(m, b, order_slot, price, size)
    else:
        replace(m, b, order_slot, price, size)
    if wants(m, agent):
        tell(m, REPLACED, agent, b, order_id, side, price, size, grown, 0, 0, 0)
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
    reason = stop_refusal(m, b, agent, side, price, size, flags)
    if flags & MARKET and not reason and books(m, b).state:
        price, flags = bound_price(m, b, side, price), bound_flags(m, b, side, flags)
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
            b = order.symbol
            if not (
                message_room(m, 2 * each)
                and tape_room(m, 2)
                and history_room(m, 2)
                and flow_room(m, b, 1)
            ):
                return False
            take_out(m, b, message.a, 0, EXPIRED)
            if has_feeds(m):
                publish(m, b)
        message.a += 1
    return close_books(m)


@helper
def enter_request(m, agent, symbol, side, price, size, display, stop, flags):
    """Send a new order on its way to the exchange; returns its id. For compiled agents."""
    h = header(m)
    order_id = h.next_order_id
    h.next_order_id = order_id + 1
    ask(m, ORDER, agent, symbol, order_id, side, price, size, flags, stop, display)
    return order_id
