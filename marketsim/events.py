"""Messages and the event queue: everything that happens is a message due at (time_ns, sequence).

The queue is a 4-ary heap of 16-byte entries. Messages to a busy agent wait in its inbox and are
never queued again.
"""

from enum import IntEnum

from marketsim.compile import helper, hot
from marketsim.latency import latency_ns
from marketsim.market import agents, ask_for, events, header, messages
from marketsim.records import POOL_NAMES, QUEUE_START

SLOT_BITS = 24
_SLOT_MASK = (1 << SLOT_BITS) - 1
#: The exchange as sender or receiver.
EXCHANGE = -1
MESSAGES = POOL_NAMES.index("messages")


class Message(IntEnum):
    """What a message says. Fields beyond the named ones are ``a`` to ``d``.

    To the exchange: ``ORDER`` (a flags, b stop, c display), ``CANCEL``, ``REDUCE``, ``REPLACE``,
    ``FEED`` (a index of the recorded row), ``CLOSE``, ``PHASE`` (a phase that begins, b number of
    the halt that it ends, or 0; c when it is to end), ``LIMIT`` (b number of the limit state),
    ``GENERATE`` (its sender writes the flow from now on). With ``d``, an order or a cancel is a
    draft of this number, dropped unless it is its book's.
    To an agent: ``WAKE``; ``ACCEPTED``; ``REJECTED`` (a reason); ``FILLED`` (a lots left, b 1 if
    maker, c fee in millionths); ``CANCELLED`` (a cause, b lots left); ``REPLACED`` (a how many
    more lots are open than were); ``CHANGE_REJECTED`` (a reason); ``TRIGGERED``; ``L1`` (a, b best
    bid and its lots; c, d ask); ``L2`` (a sequence, b levels); ``L3`` (a order kind); ``TRADE``;
    ``IMBALANCE`` (a lots left over); ``SESSION`` (a phase, b reason, c its end).
    To the kernel: ``INBOX``, the next message in an agent's inbox is due.
    """

    ORDER = 401
    CANCEL = 402
    REDUCE = 403
    REPLACE = 404
    FEED = 405
    CLOSE = 406
    PHASE = 407
    LIMIT = 408
    GENERATE = 409
    WAKE = 410
    ACCEPTED = 411
    REJECTED = 412
    FILLED = 413
    CANCELLED = 414
    REPLACED = 415
    CHANGE_REJECTED = 416
    TRIGGERED = 417
    L1 = 421
    L2 = 422
    L3 = 423
    TRADE = 424
    IMBALANCE = 425
    SESSION = 426
    INBOX = 430


INBOX, WAKE = int(Message.INBOX), int(Message.WAKE)


@hot
def queued(m, at):
    """Entry of the queue at a place; the first is 0. Four siblings share a cache line."""
    return events(m, at + QUEUE_START)


@hot
def earlier(m, left, right):
    """Whether queue entry ``left`` comes before ``right``."""
    first = queued(m, left)
    second = queued(m, right)
    return first.time_ns < second.time_ns or (
        first.time_ns == second.time_ns and first.key < second.key
    )


@helper
def push(m, time_ns, slot):
    """Queue a message: behind all that are already due at the same time."""
    h = header(m)
    key = (h.sequence << SLOT_BITS) | slot
    h.sequence += 1
    at = h.events_count
    h.events_count = at + 1
    while at > 0:
        parent = (at - 1) >> 2
        above = queued(m, parent)
        if above.time_ns <= time_ns:  # the newest sequence never overtakes its own time
            break
        here = queued(m, at)
        here.time_ns = above.time_ns
        here.key = above.key
        at = parent
    here = queued(m, at)
    here.time_ns = time_ns
    here.key = key


@helper
def pop(m):
    """Take the first message out of the queue; returns its slot."""
    h = header(m)
    slot = queued(m, 0).key & _SLOT_MASK
    count = h.events_count - 1
    h.events_count = count
    last = queued(m, count)
    time_ns = last.time_ns
    key = last.key
    at = 0
    while True:
        child = 4 * at + 1
        if child >= count:
            break
        best = child
        for other in range(child + 1, min(child + 4, count)):
            if earlier(m, other, best):
                best = other
        winner = queued(m, best)
        if winner.time_ns > time_ns or (winner.time_ns == time_ns and winner.key > key):
            break
        here = queued(m, at)
        here.time_ns = winner.time_ns
        here.key = winner.key
        at = best
    here = queued(m, at)
    here.time_ns = time_ns
    here.key = key
    return slot


@hot
def new_message(m):
    """Slot of a message; the caller has checked that there is one."""
    h = header(m)
    slot = h.messages_free
    if slot >= 0:
        h.messages_free = messages(m, slot).next
    else:
        slot = h.messages_used
        h.messages_used = slot + 1
    h.messages_live += 1
    return slot


@hot
def free_message(m, slot):
    """Give a message's slot back."""
    h = header(m)
    messages(m, slot).next = h.messages_free
    h.messages_free = slot
    h.messages_live -= 1


@hot
def message_room(m, wanted):
    """Whether so many more messages fit; if not, the header says what must grow."""
    h = header(m)
    needed = h.messages_live + wanted
    if needed > h.messages_capacity:
        ask_for(m, MESSAGES, needed)
        return False
    return True


@helper
def send(m, time_ns, kind, sender, receiver, symbol, order_id, side, price, size, a, b, c, d):
    """Queue a message; room is the caller's."""
    slot = new_message(m)
    message = messages(m, slot)
    message.kind = kind
    message.sender = sender
    message.receiver = receiver
    message.symbol = symbol
    message.order_id = order_id
    message.side = side
    message.price_ticks = price
    message.size_lots = size
    message.a = a
    message.b = b
    message.c = c
    message.d = d
    message.time_ns = header(m).now_ns
    message.next = -1
    push(m, time_ns, slot)


@helper
def tell(m, kind, agent, symbol, order_id, side, price, size, a, b, c, d):
    """A message of the exchange to an agent, on its way for the agent's latency."""
    due = header(m).now_ns + latency_ns(m, agent)
    send(m, due, kind, EXCHANGE, agent, symbol, order_id, side, price, size, a, b, c, d)


@helper
def ask(m, kind, agent, symbol, order_id, side, price, size, a, b, c):
    """A message of an agent to the exchange: computation delay, then latency."""
    due = header(m).now_ns + agents(m, agent).delay_ns + latency_ns(m, agent)
    send(m, due, kind, agent, EXCHANGE, symbol, order_id, side, price, size, a, b, c, 0)


@helper
def wake_at(m, agent, time_ns):
    """Wake an agent at a time, or now if that has passed."""
    due = max(time_ns, header(m).now_ns)
    send(m, due, WAKE, agent, agent, 0, 0, 0, 0, 0, 0, 0, 0, 0)


@helper
def put_in_inbox(m, agent, slot):
    """Let a message wait until its busy agent is free; room for one message is the caller's."""
    receiver = agents(m, agent)
    messages(m, slot).next = -1
    if receiver.inbox_head < 0:
        receiver.inbox_head = slot
        send(m, receiver.busy_ns, INBOX, agent, agent, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    else:
        messages(m, receiver.inbox_tail).next = slot
    receiver.inbox_tail = slot


@helper
def take_from_inbox(m, agent):
    """First waiting message of an agent; when others wait, they are due when it is free again."""
    receiver = agents(m, agent)
    slot = receiver.inbox_head
    receiver.inbox_head = messages(m, slot).next
    if receiver.inbox_head >= 0:
        due = header(m).now_ns + receiver.delay_ns
        send(m, due, INBOX, agent, agent, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    return slot
