"""Orders that a world agent has drawn, on their way to the exchange, compiled.

A draft is a message to the exchange that is due when the order is. Any row that the book gets
before makes it void: the agent decides anew, when all that happens at that instant has happened.
"""

from marketsim.codes import Flag
from marketsim.compile import entry, helper
from marketsim.events import EXCHANGE, Message, message_room, send
from marketsim.flow_ring import CANCEL, MARKET, own_lots
from marketsim.ladder import find_level, touch
from marketsim.market import books, header, ladders, levels, messages, orders, rungs
from marketsim.rules import lot_now, tick_at

ORDER, GENERATE = int(Message.ORDER), int(Message.GENERATE)
TAKE_BACK, REDUCE = int(Message.CANCEL), int(Message.REDUCE)
MARKET_FLAG = int(Flag.MARKET)
#: What :func:`send_draft` returns: on its way; a cancel, at another price than asked for; there is
#: nothing to cancel, or nobody to trade with; the block must grow first.
SENT, MOVED, IMPOSSIBLE, NO_ROOM = 0, 1, 2, -1


@helper
def on_grid(value, increment):
    """The nearest multiple of an increment, the lower of two."""
    rest = value % increment
    return value - rest if 2 * rest <= increment else value - rest + increment


@helper
def nearest_own_level(m, b, agent, ladder, price):
    """Visible level nearest to a price with an order of the agent's, the better of two; or -1."""
    base = (4 * b + ladder) * header(m).ladder_levels
    found, distance = -1, 0
    for i in range(ladders(m, 4 * b + ladder).levels - 1, -1, -1):
        slot = rungs(m, base + i).level
        away = abs(levels(m, slot).price_ticks - price)
        if found >= 0 and away >= distance:
            continue
        if own_lots(m, slot, agent) > 0:
            found, distance = slot, away
    return found


@helper
def own_order(m, level_slot, agent, size):
    """The agent's order at a level whose size is nearest, of equals the oldest; slot."""
    found, distance = -1, 0
    slot = levels(m, level_slot).head
    while slot >= 0:
        order = orders(m, slot)
        if order.agent == agent:
            away = abs(order.size_lots + order.reserve_lots - size)
            if found < 0 or away < distance:
                found, distance = slot, away
        slot = order.next
    return found


@helper
def draft_cancel(m, b, agent, side, price, size, due_ns):
    """Draft a cancel of an own order at a price, or at the nearest price where there is one."""
    ladder = (1 - side) >> 1
    level_slot = find_level(m, b, ladder, price)
    result = SENT
    if level_slot < 0 or own_lots(m, level_slot, agent) == 0:
        level_slot = nearest_own_level(m, b, agent, ladder, price)
        result = MOVED
    if level_slot < 0:
        return IMPOSSIBLE
    order = orders(m, own_order(m, level_slot, agent, size))
    increment = lot_now(m, b)
    size = max(on_grid(size, increment), increment)
    kind = TAKE_BACK if size >= order.size_lots + order.reserve_lots else REDUCE
    number = number_draft(m, b)
    send(m, due_ns, kind, agent, EXCHANGE, b, order.order_id, 0, 0, size, 0, 0, 0, number)
    return result


@helper
def number_draft(m, b):
    """A number that no draft had, for the one that counts from now on."""
    number = header(m).sequence + 1
    books(m, b).draft = number
    return number


@entry
def send_draft(m, b, agent, kind, side, price, size, due_ns):
    """Send an order of the flow, an :class:`~marketsim.order_events.Event`, to arrive at a time."""
    if not message_room(m, 1):
        return NO_ROOM
    if kind == CANCEL:
        return draft_cancel(m, b, agent, side, price, size, due_ns)
    flags = 0
    if kind == MARKET:
        if touch(m, b, (1 + side) >> 1) < 0:
            return IMPOSSIBLE
        flags, price = MARKET_FLAG, 0
    else:
        price = on_grid(price, tick_at(m, b, price))
    increment = lot_now(m, b)
    size = max(on_grid(size, increment), increment)
    h = header(m)
    order_id = h.next_order_id
    h.next_order_id = order_id + 1
    number = number_draft(m, b)
    send(m, due_ns, ORDER, agent, EXCHANGE, b, order_id, side, price, size, flags, 0, 0, number)
    return SENT


@helper
def is_void(m, slot):
    """Whether a message to the exchange is a draft that does not count any more."""
    message = messages(m, slot)
    return message.d > 0 and message.d != books(m, message.symbol).draft


@helper
def note_sent(m, slot):
    """A draft that counts arrives: the agent decides again, whatever becomes of it."""
    message = messages(m, slot)
    if message.d > 0:
        book = books(m, message.symbol)
        book.draft = 0
        book.sent += 1
        book.due = 1
        header(m).thinking = 1


@helper
def begin_flow(m, slot):
    """The warm-up is over: the agent reads what there is, and decides."""
    book = books(m, messages(m, slot).symbol)
    book.unread = max(book.rows - header(m).flow_width, 0)
    book.generates = 1
    book.due = 1
    header(m).thinking = 1


@entry
def send_begin(m, b, agent, time_ns):
    """Let an agent write a book's flow from a time on. Room is a fresh block's."""
    send(m, time_ns, GENERATE, agent, EXCHANGE, b, 0, 0, 0, 0, 0, 0, 0, 0)
