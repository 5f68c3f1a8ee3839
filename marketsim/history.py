"""Recorded flow at the exchange: what a day's messages do, and what they can no longer do.

A recorded order enters like any other. A recorded execution is an order at the recorded price,
immediate or cancel, so it meets whoever is first in line now. A recorded cancel takes its own
order's lots; where matching took another order than in the recording, it takes recorded lots at the
same price instead. What cannot be done because somebody else took the liquidity is counted.
"""

from enum import IntEnum

from marketsim.auction import rest_in_call
from marketsim.codes import Flag, OrderKind, Outcome
from marketsim.compile import helper
from marketsim.events import message_room
from marketsim.exchange import HIDDEN, ROW_MARKET, ROW_REPLACE, replace_order, tell_resting
from marketsim.ladder import find_level, index_find
from marketsim.market import (
    agents,
    books,
    counters,
    feed,
    header,
    levels,
    messages,
    orders,
    outcomes,
)
from marketsim.matching import MARKET, place, reduce
from marketsim.phases import recorded_halt
from marketsim.rules import CALL
from marketsim.settlement import (
    L3,
    ROW_CANCEL,
    ROW_EXECUTION,
    ROW_LIMIT,
    ROW_REDUCE,
    TRADES,
    add_row,
    add_trade,
    after_event,
    event_room,
    feed_event,
    has_feeds,
    history_room,
    settle_outcomes,
    tape_room,
)

ROW_HIDDEN, ROW_CROSS = int(OrderKind.HIDDEN_EXECUTION), int(OrderKind.CROSS)
ROW_HALT = int(OrderKind.HALT)
FILL = int(Outcome.FILL)
IOC = int(Flag.IOC)
REVEAL = 0  # kind of a feed row that changes a level without a message


class Counter(IntEnum):
    """Where the counters of a replay stand, from 32 on; rejects by reason stand before."""

    MESSAGES = 32
    EXECUTIONS_SHORT = 33
    EXECUTIONS_SHORT_LOTS = 34
    CANCELS_SHORT = 35
    CANCELS_SHORT_LOTS = 36
    SUBSTITUTED = 37
    SUBSTITUTED_LOTS = 38
    ORDERS_TRADED_ON_ENTRY = 39
    REVEALS = 40
    REVEALS_SHORT_LOTS = 41
    DUPLICATES = 42
    PRINTS = 43
    PRINTED_LOTS = 44


MESSAGES_COUNT, REVEALS = int(Counter.MESSAGES), int(Counter.REVEALS)
SHORT, SHORT_LOTS = int(Counter.EXECUTIONS_SHORT), int(Counter.EXECUTIONS_SHORT_LOTS)
LOST, LOST_LOTS = int(Counter.CANCELS_SHORT), int(Counter.CANCELS_SHORT_LOTS)
SUBSTITUTED, SUBSTITUTED_LOTS = int(Counter.SUBSTITUTED), int(Counter.SUBSTITUTED_LOTS)
ON_ENTRY, DUPLICATES = int(Counter.ORDERS_TRADED_ON_ENTRY), int(Counter.DUPLICATES)
REVEALS_SHORT = int(Counter.REVEALS_SHORT_LOTS)
PRINTS, PRINTED_LOTS = int(Counter.PRINTS), int(Counter.PRINTED_LOTS)


@helper
def count(m, which, amount):
    """Add to one of the counters."""
    counters(m, which).value += amount


@helper
def take_lots(m, b, slot, lots):
    """Take lots off a resting recorded order; all of them take it out."""
    order = orders(m, slot)
    order_id, side, price, flags = order.order_id, order.side, order.price_ticks, order.flags
    all_gone = lots >= order.size_lots + order.reserve_lots
    from_shown = order.size_lots if all_gone else max(lots - order.reserve_lots, 0)
    reduce(m, b, slot, lots)
    if has_feeds(m) and not flags & HIDDEN and from_shown > 0:
        kind = ROW_CANCEL if all_gone else ROW_REDUCE
        feed_event(m, L3, b, kind, order_id, side, price, from_shown)


@helper
def take_recorded(m, b, agent, side, price, lots):
    """Take lots off recorded orders at a price: revealed ones first, then the newest.

    Returns the lots that nobody had.
    """
    level_slot = find_level(m, b, (1 - side) >> 1, price)
    if level_slot < 0:
        return lots
    anonymous = agents(m, agent).mark  # ids from here on are the reveals'
    slot = levels(m, level_slot).head
    while slot >= 0 and lots > 0:
        order = orders(m, slot)
        after = order.next
        if order.agent == agent and order.order_id >= anonymous:
            taken = min(lots, order.size_lots)
            lots -= taken
            take_lots(m, b, slot, taken)
        slot = after
    if lots == 0:
        return 0
    level_slot = find_level(m, b, (1 - side) >> 1, price)
    if level_slot < 0:
        return lots
    slot = levels(m, level_slot).tail
    while slot >= 0 and lots > 0:
        order = orders(m, slot)
        before = order.prev
        if order.agent == agent:
            taken = min(lots, order.size_lots)
            lots -= taken
            take_lots(m, b, slot, taken)
        slot = before
    return lots


@helper
def lots_taken(m, agent, row, most):
    """What other agents took of a row's order, at most ``most``, each lot told once.

    Of an order that came in out of sight the shares cannot be told: what was taken of revealed
    liquidity counts for all of them together.
    """
    if row.origin > 0:
        lots = min(feed(m, row.origin - 1).taken_lots, most)
        feed(m, row.origin - 1).taken_lots -= lots
        return lots
    me = agents(m, agent)
    lots = min(me.taken_lots, most)
    me.taken_lots -= lots
    return lots


@helper
def cancel_recorded(m, b, agent, row):
    """A recorded cancel or reduction: its own order first, then others recorded at the price.

    Others stand in where matching took this order instead of another one.
    """
    add_row(m, b, row.kind, row.order_id, agent, row.side, row.price_ticks, row.size_lots, 0, 0)
    left = row.size_lots
    slot = index_find(m, row.order_id)
    if slot >= 0 and orders(m, slot).agent == agent:
        order = orders(m, slot)
        if order.price_ticks == row.price_ticks and order.side == row.side:
            taken = min(left, order.size_lots + order.reserve_lots)
            left -= taken
            take_lots(m, b, slot, taken)
    if left > 0:
        taken = lots_taken(m, agent, row, left)
        missing = take_recorded(m, b, agent, row.side, row.price_ticks, left - taken)
        if row.origin > 0 and missing < left - taken:
            count(m, SUBSTITUTED, 1)
            count(m, SUBSTITUTED_LOTS, left - taken - missing)
        if missing + taken > 0:
            count(m, LOST, 1)
            count(m, LOST_LOTS, missing + taken)


@helper
def enter_recorded(m, b, agent, order_id, side, price, size, hidden, flags, origin):
    """A recorded order, or liquidity that came into view; its row is written already."""
    book = books(m, b)
    volume, last = book.volume_lots, book.last_ticks
    display = 0
    if hidden == size:
        flags |= HIDDEN
    elif hidden > 0:
        display = size - hidden
    filled = 0
    if not book.state & CALL:
        filled = place(m, b, order_id, agent, side, price, size, display, flags)
    elif not flags & IOC:
        flags |= HIDDEN if flags & MARKET else 0
        rest_in_call(m, b, order_id, agent, side, price, size, display, flags)
    if origin > 0:  # what others took of it on entry is gone as well
        for i in range(header(m).outcomes_count):
            outcome = outcomes(m, i)
            if outcome.kind == FILL and outcome.agent != agent:
                feed(m, origin - 1).taken_lots += outcome.size_lots
    settle_outcomes(m, b, side, volume, last)
    slot = index_find(m, order_id)
    if slot >= 0 and orders(m, slot).agent == agent:
        orders(m, slot).origin = origin
    if has_feeds(m):
        tell_resting(m, b, order_id)
    return filled


@helper
def replace_recorded(m, b, agent, row):
    """A recorded replacement of an order that is still there; else it is counted as lost."""
    slot = index_find(m, row.order_id)
    if slot >= 0 and orders(m, slot).agent == agent:
        origin = orders(m, slot).origin
        replace_order(m, b, slot, row.price_ticks, row.size_lots)
        slot = index_find(m, row.order_id)
        if slot >= 0:
            orders(m, slot).origin = origin
        return
    side, price, size = row.side, row.price_ticks, row.size_lots
    add_row(m, b, ROW_REPLACE, row.order_id, agent, side, price, size, row.hidden_lots, 0)
    count(m, LOST, 1)
    count(m, LOST_LOTS, size)


@helper
def new_id(m):
    """An id that no recorded order has."""
    h = header(m)
    order_id = h.next_order_id
    h.next_order_id = order_id + 1
    return order_id


@helper
def play_message(m, b, agent, row):
    """One recorded message: exactly one row of the tape's orders."""
    count(m, MESSAGES_COUNT, 1)
    kind, side, price, size = row.kind, row.side, row.price_ticks, row.size_lots
    if kind == ROW_LIMIT:
        order_id = row.order_id
        if index_find(m, order_id) >= 0:
            order_id = new_id(m)
            count(m, DUPLICATES, 1)
        hidden = row.hidden_lots
        add_row(m, b, ROW_LIMIT, order_id, agent, side, price, size, hidden, 0)
        if enter_recorded(m, b, agent, order_id, side, price, size, hidden, 0, row.origin) > 0:
            count(m, ON_ENTRY, 1)
    elif kind == ROW_CANCEL or kind == ROW_REDUCE:
        cancel_recorded(m, b, agent, row)
    elif kind == ROW_EXECUTION:
        add_row(m, b, kind, row.order_id, agent, side, price, size, 0, 0)
        filled = enter_recorded(m, b, agent, 0, -side, price, size, 0, IOC, 0)
        if filled < size:
            count(m, SHORT, 1)
            count(m, SHORT_LOTS, size - filled)
    elif kind == ROW_MARKET:
        add_row(m, b, kind, row.order_id, agent, side, price, size, 0, 0)
        flags = IOC if price != 0 else MARKET
        order_id = row.order_id if index_find(m, row.order_id) < 0 else new_id(m)
        enter_recorded(m, b, agent, order_id, side, price, size, 0, flags, 0)
    elif kind == ROW_REPLACE:
        replace_recorded(m, b, agent, row)
    else:
        # A negative kind is a change of a stop that had not entered yet: no more than a row.
        kind_shown, hidden_lots, subticks = abs(kind), row.hidden_lots, row.price_subticks
        add_row(m, b, kind_shown, row.order_id, agent, side, price, size, hidden_lots, subticks)
        if kind == ROW_HIDDEN or kind == ROW_CROSS:
            aggressor = -side if kind == ROW_HIDDEN else 0
            hidden = 1 if kind == ROW_HIDDEN else 0
            maker_id = row.order_id
            sequence = books(m, b).rows - 1
            count(m, PRINTS, 1)
            count(m, PRINTED_LOTS, size)
            add_trade(m, b, sequence, aggressor, price, size, maker_id, 0, -1, -1, subticks, hidden)
            if has_feeds(m):
                feed_event(m, TRADES, b, 0, 0, aggressor, price, size)
        elif kind == ROW_HALT:
            if price != 0:  # -1 halts, 0 lets quotes in, 1 lets trading go on
                recorded_halt(m, b, price == -1)


@helper
def play_reveal(m, b, agent, row):
    """A level that changed out of sight: add, or take away, what the messages do not explain."""
    count(m, REVEALS, 1)
    if row.size_lots > 0:
        side, price, size = row.side, row.price_ticks, row.size_lots
        enter_recorded(m, b, agent, new_id(m), side, price, size, 0, 0, -1)
    else:
        missing = take_recorded(m, b, agent, row.side, row.price_ticks, -row.size_lots)
        count(m, REVEALS_SHORT, missing)


@helper
def handle_feed(m, slot):
    """A recorded row, then the reveals behind it, as one event.

    Returns False when the block is too small for the next of them; ``b`` of the message counts what
    is done, so that the same event goes on afterwards.
    """
    message = messages(m, slot)
    b, agent = message.symbol, message.sender
    last = message.a + feed(m, message.a).reveals
    while message.a + message.b <= last:
        row = feed(m, message.a + message.b)
        side = -row.side if row.kind == ROW_EXECUTION else row.side
        side = 1 if side >= 0 else -1
        # Cancels and negative reveals meet nobody, but leave a trace of every order they take out.
        size = row.size_lots if row.size_lots > 0 else 1
        flags = MARKET if row.kind == ROW_MARKET and row.price_ticks == 0 else 0
        if not event_room(m, b, side, row.price_ticks, size, flags):
            return False
        taken = 0 if row.kind == ROW_LIMIT else min(abs(row.size_lots), header(m).orders_live)
        feeds = header(m).subscriptions_count
        if not (
            message_room(m, (taken + 4) * feeds)
            and tape_room(m, taken + 4)
            and history_room(m, taken + 4)
        ):
            return False
        if row.kind == REVEAL:
            play_reveal(m, b, agent, row)
        else:
            play_message(m, b, agent, row)
        message.b += 1
    after_event(m, b)
    return True
