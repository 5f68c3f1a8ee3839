"""The one loop: take the next event by (time, sequence), hand it to whom it is for, go on.

Everything compiled stays inside :func:`advance`; it returns when a Python agent has to act, when
the block must grow or the tape be emptied, and now and then so that Python can look up.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

from marketsim.account import fill_reached
from marketsim.auction import handle_limit, handle_phase
from marketsim.compile import direct, entry, helper, native_address
from marketsim.drafts import begin_flow, is_void, note_sent, send_draft
from marketsim.events import (
    EXCHANGE,
    INBOX,
    SLOT_BITS,
    Message,
    ask,
    free_message,
    message_room,
    pop,
    put_in_inbox,
    queued,
    send,
    take_from_inbox,
    wake_at,
)
from marketsim.exchange import (
    ORDER,
    enter_request,
    expire_day_orders,
    handle_change,
    handle_order,
    order_flags,
    run_stop,
)
from marketsim.flow_ring import view_flow
from marketsim.history import handle_feed
from marketsim.ladder import index_find
from marketsim.market import (
    agents,
    call_agent,
    call_native,
    header,
    kinds,
    ladders,
    messages,
    orders,
    prefetch,
    rungs,
)
from marketsim.market_data import view_touch, view_trades
from marketsim.records import AGENT, BOOK, HEADER, LADDER, LEVEL, MESSAGE, QUEUE_START, RUNG
from marketsim.settlement import FILLED, TAPE_FULL, event_room

#: What :func:`advance` returns.
DONE, PYTHON, GROW, EMPTY_TAPE, BUDGET, THINK = 701, 702, 703, 704, 705, 706
FEED, REPLACE = int(Message.FEED), int(Message.REPLACE)
CLOSE = int(Message.CLOSE)
PHASE, LIMIT = int(Message.PHASE), int(Message.LIMIT)
GENERATE = int(Message.GENERATE)
#: :func:`send_order` and :func:`send_change` return this when the block must grow first.
NO_ROOM = -1
SLOT_MASK = (1 << SLOT_BITS) - 1
HEADER_SIZE, MESSAGE_SIZE, AGENT_SIZE = HEADER.itemsize, MESSAGE.itemsize, AGENT.itemsize
BOOK_SIZE, LADDER_SIZE = BOOK.itemsize, LADDER.itemsize
RUNG_SIZE, LEVEL_SIZE = RUNG.itemsize, LEVEL.itemsize
_QUEUE_HEAD = 16 * (QUEUE_START + 21)  # bytes of the first three levels of the heap


@helper
def request_room(m, slot):
    """Whether all that can follow from a message to the exchange fits."""
    message = messages(m, slot)
    b = message.symbol
    if message.kind == ORDER:
        flags = order_flags(m, slot)
        return event_room(m, b, message.side, message.price_ticks, message.size_lots, flags)
    side, size, flags = 1, 1, 0
    if message.kind == REPLACE:
        order_slot = index_find(m, message.order_id)
        if order_slot >= 0:
            order = orders(m, order_slot)
            b, side, size, flags = order.symbol, order.side, message.size_lots, order.flags
    return event_room(m, b, side, message.price_ticks, size, flags)


@helper
def to_exchange(m, slot):
    """Handle a message at the exchange; False when there is no room for what follows."""
    kind = messages(m, slot).kind
    if kind == FEED:
        return handle_feed(m, slot)
    if kind == CLOSE:
        return expire_day_orders(m, slot)
    if kind == PHASE:
        return handle_phase(m, slot)
    if kind == LIMIT:
        return handle_limit(m, slot)
    if kind == GENERATE:
        begin_flow(m, slot)
        return True
    if is_void(m, slot):
        return True
    if not request_room(m, slot):
        return False
    note_sent(m, slot)
    if kind == ORDER:
        handle_order(m, slot)
    else:
        handle_change(m, slot)
    return True


@helper
def hand_over(m, slot):
    """Copy a message into the header's mail, where Python reads it in one go."""
    h = header(m)
    message = messages(m, slot)
    h.mail0 = message.kind
    h.mail1 = message.receiver
    h.mail2 = message.symbol
    h.mail3 = message.order_id
    h.mail4 = message.side
    h.mail5 = message.price_ticks
    h.mail6 = message.size_lots
    h.mail7 = message.a
    h.mail8 = message.b
    h.mail9 = message.c
    h.mail10 = message.d
    h.mail11 = message.time_ns
    h.mail12 = message.sender


@helper
def to_agent(m, slot):
    """Let an agent have its message; True when it is a Python agent's to act on."""
    message = messages(m, slot)
    agent = message.receiver
    receiver = agents(m, agent)
    receiver.busy_ns = max(receiver.busy_ns, header(m).now_ns + receiver.delay_ns)
    if message.kind == FILLED:
        side, price, lots = message.side, message.price_ticks, message.size_lots
        fill_reached(m, agent, message.symbol, side, price, lots)
    if receiver.kind == 0:
        hand_over(m, slot)
        free_message(m, slot)
        return True
    call_agent(kinds(m, receiver.kind).address, m, agent, slot)
    free_message(m, slot)
    return False


@entry
def advance(m, until_ns, budget):
    """Handle events up to and including ``until_ns``, at most ``budget`` of them.

    Returns DONE, PYTHON (the message is in the header's mail), GROW, EMPTY_TAPE, BUDGET or THINK: a
    world agent is to decide, all that happens at this instant has happened.
    """
    h = header(m)
    while True:
        if budget <= 0:
            return BUDGET
        budget -= 1
        if h.stops_pending > 0:
            if not run_stop(m):
                return EMPTY_TAPE if h.grow_pool == TAPE_FULL else GROW
            continue
        if h.thinking and (h.events_count == 0 or queued(m, 0).time_ns > h.now_ns):
            h.thinking = 0
            return THINK
        if h.events_count == 0 or queued(m, 0).time_ns > until_ns:
            h.now_ns = max(h.now_ns, until_ns)
            return DONE
        if not message_room(m, h.headroom):
            return GROW
        slot = queued(m, 0).key & SLOT_MASK
        now_ns = queued(m, 0).time_ns
        h.now_ns = now_ns
        message = messages(m, slot)
        if message.receiver == EXCHANGE:
            if not to_exchange(m, slot):
                return EMPTY_TAPE if h.grow_pool == TAPE_FULL else GROW
            pop(m)  # still the first: whatever it caused comes later
            free_message(m, slot)
            h.processed += 1
            continue
        agent = message.receiver
        pop(m)
        if message.kind == INBOX:
            free_message(m, slot)
            slot = take_from_inbox(m, agent)
        elif agents(m, agent).delay_ns > 0 and (
            agents(m, agent).inbox_head >= 0 or agents(m, agent).busy_ns > now_ns
        ):
            put_in_inbox(m, agent, slot)
            continue
        h.processed += 1
        if to_agent(m, slot):
            return PYTHON


@helper
def fetch_ahead(blocks, i):
    """Bring what the next markets will need into the cache while this one is advanced.

    A market's header comes four turns ahead, then what the header leads to: the first entries of
    its queue and its first book's totals, the first message and the best prices, the receiver and
    the best levels.
    """
    n = len(blocks)
    if i + 4 < n:
        prefetch(blocks[i + 4], HEADER_SIZE)
    if i + 3 < n:
        m = blocks[i + 3]
        h = header(m)
        prefetch(m + h.events_offset, _QUEUE_HEAD)
        prefetch(m + h.books_offset, BOOK_SIZE)
        prefetch(m + h.ladders_offset, 4 * LADDER_SIZE)
    if i + 2 < n:
        m = blocks[i + 2]
        h = header(m)
        slot = queued(m, 0).key & SLOT_MASK
        prefetch(m + h.messages_offset + slot * MESSAGE_SIZE, MESSAGE_SIZE)
        for ladder in range(2):
            best = ladder * h.ladder_levels + max(ladders(m, ladder).levels - 1, 0)
            prefetch(m + h.rungs_offset + best * RUNG_SIZE, RUNG_SIZE)
    if i + 1 < n:
        m = blocks[i + 1]
        h = header(m)
        agent = max(messages(m, queued(m, 0).key & SLOT_MASK).receiver, 0)
        prefetch(m + h.agents_offset + agent * AGENT_SIZE, AGENT_SIZE)
        for ladder in range(2):
            best = ladder * h.ladder_levels + max(ladders(m, ladder).levels - 1, 0)
            level = rungs(m, best).level
            prefetch(m + h.levels_offset + level * LEVEL_SIZE, LEVEL_SIZE)


@entry
def advance_many(address, blocks, until_ns, budget, codes):
    """:func:`advance`, by its address, for every market whose code is neither DONE nor THINK.

    ``blocks``: int64[n], addresses of the markets; ``codes``: int64[n], what each returned last.
    Returns how many are neither of both.
    """
    left = 0
    for i in range(len(blocks)):
        fetch_ahead(blocks, i)
        if codes[i] != DONE and codes[i] != THINK:
            codes[i] = call_native(address, blocks[i], until_ns, budget)
            if codes[i] != DONE and codes[i] != THINK:
                left += 1
    return left


@entry
def send_order(m, agent, symbol, side, price, size, display, stop, flags):
    """A Python agent's new order; returns its id, or NO_ROOM."""
    if not message_room(m, 1):
        return NO_ROOM
    return enter_request(m, agent, symbol, side, price, size, display, stop, flags)


@entry
def send_change(m, kind, agent, symbol, order_id, price, size):
    """A Python agent's cancel, reduce or replace; returns 0, or NO_ROOM."""
    if not message_room(m, 1):
        return NO_ROOM
    ask(m, kind, agent, symbol, order_id, 0, price, size, 0, 0, 0)
    return 0


@entry
def send_wake(m, agent, time_ns):
    """Wake an agent at a time; returns 0, or NO_ROOM."""
    if not message_room(m, 1):
        return NO_ROOM
    wake_at(m, agent, time_ns)
    return 0


@entry
def send_close(m, time_ns):
    """Let the exchange close at a time: day orders expire. Room is a fresh block's."""
    send(m, time_ns, CLOSE, EXCHANGE, EXCHANGE, 0, 0, 0, 0, 0, 0, 0, 0, 0)


@entry
def send_phase(m, time_ns, b, phase, end_ns):
    """Let a phase of a book begin at a time; it is to end at another. Room is the caller's."""
    send(m, time_ns, PHASE, EXCHANGE, EXCHANGE, b, 0, 0, 0, 0, phase, 0, end_ns, 0)


class Calls(NamedTuple):
    """The kernel's entry points, called without dispatch: all arguments are integers."""

    advance: Callable[..., int]
    send_order: Callable[..., int]
    send_change: Callable[..., int]
    send_wake: Callable[..., int]
    view_touch: Callable[..., int]
    view_trades: Callable[..., int]
    view_flow: Callable[..., int]
    send_draft: Callable[..., int]


@functools.cache
def calls() -> Calls:
    """Compile the entry points, or load them from the cache."""
    return Calls(
        direct(advance, 3),
        direct(send_order, 9),
        direct(send_change, 7),
        direct(send_wake, 3),
        direct(view_touch, 3),
        direct(view_trades, 3),
        direct(view_flow, 5),
        direct(send_draft, 8),
    )


@functools.cache
def advance_address() -> int:
    """Where :func:`advance` is, for :func:`advance_many`."""
    return native_address(advance, 3)
