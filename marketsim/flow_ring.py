"""The last rows of a book with the book before each, compiled: what a world agent reads.

Rows are kept in a ring of ``header.flow_width`` rows a book, 0 when there is no world agent. Read
from it, they are the events that :func:`marketsim.flow.flow_of` makes of the tape.
"""

from marketsim.codes import OrderKind
from marketsim.compile import entry, helper
from marketsim.ladder import ASKS, BIDS
from marketsim.market import (
    ask_for,
    books,
    flow,
    flow_levels,
    header,
    ladders,
    levels,
    orders,
    rungs,
    word_at,
)
from marketsim.order_events import Event
from marketsim.records import FLOW_LEVELS, POOL_NAMES

FLOW = POOL_NAMES.index("flow")
ROW_LIMIT, ROW_MARKET = int(OrderKind.LIMIT), int(OrderKind.MARKET)
ROW_REPLACE, ROW_EXECUTION = int(OrderKind.REPLACE), int(OrderKind.EXECUTION)
ROW_CANCEL, ROW_REDUCE = int(OrderKind.CANCEL), int(OrderKind.REDUCE)
LIMIT, CANCEL, MARKET = int(Event.LIMIT), int(Event.CANCEL), int(Event.MARKET)
#: Words of a book of ten levels and of an event with it: a record of :data:`marketsim.flow.FLOW`.
BOOK_WORDS = 4 * FLOW_LEVELS
EVENT_WORDS = 5 + BOOK_WORDS
#: Words behind the events: the book now, and the reader's own lots of its levels.
VIEW_WORDS = BOOK_WORDS + 2 * FLOW_LEVELS
MOST_EVENTS = 3  # of one row: a replacement that trades and rests
#: What :func:`view_flow` returns when nothing is due.
NOT_DUE = -1
# How a run of executions goes on behind a row.
_GOES_ON, _ENDS, _OPEN = 0, 1, 2


@helper
def flow_room(m, b, rows):
    """Whether so many more rows of a book can be kept without losing one that is unread."""
    h = header(m)
    if h.flow_width == 0:
        return True
    needed = rows + 1 + max(books(m, b).rows - books(m, b).unread, 0)
    if needed > h.flow_width:
        ask_for(m, FLOW, needed * h.books_count)
        return False
    return True


@helper
def row_at(m, b, row):
    """Place of a row in the ring."""
    width = header(m).flow_width
    return b * width + (row & (width - 1))


@helper
def keep_side(m, b, ladder, slot):
    """Keep the best visible levels of a side."""
    base = (4 * b + ladder) * header(m).ladder_levels
    i = ladders(m, 4 * b + ladder).levels - 1
    for at in range(FLOW_LEVELS * slot, FLOW_LEVELS * (slot + 1)):
        price = lots = 0
        while i >= 0 and lots == 0:
            level = levels(m, rungs(m, base + i).level)
            lots = level.visible_lots
            price = level.price_ticks if lots > 0 else 0
            i -= 1
        kept = flow_levels(m, at)
        if ladder == BIDS:
            kept.bid_ticks = price
            kept.bid_lots = lots
        else:
            kept.ask_ticks = price
            kept.ask_lots = lots


@helper
def keep_row(m, b, kind, side, price, size):
    """Keep the row that is being written, and the book before it; a draft is void by it."""
    h = header(m)
    book = books(m, b)
    slot = row_at(m, b, book.rows)
    row = flow(m, slot)
    row.time_ns = h.now_ns
    row.kind = kind
    row.side = side
    row.price_ticks = price
    row.size_lots = size
    row.traded_lots = 0
    keep_side(m, b, BIDS, slot)
    keep_side(m, b, ASKS, slot)
    if book.generates:
        book.draft = 0
        book.due = 1
        h.thinking = 1


@helper
def keep_trade(m, b, sequence, price, size):
    """Add a trade to the row that caused it."""
    row = flow(m, row_at(m, b, sequence))
    if row.traded_lots == 0:
        row.first_ticks = price
    row.traded_lots += size


@helper
def write_event(m, out, count, slot, kind, price, size, side):
    """Write an event of a row, with the book before it; returns the number of events."""
    at = out + 8 * EVENT_WORDS * count
    word_at(at, 0).value = flow(m, slot).time_ns
    word_at(at, 1).value = kind
    word_at(at, 2).value = side
    word_at(at, 3).value = price
    word_at(at, 4).value = size
    for i in range(FLOW_LEVELS):
        level = flow_levels(m, FLOW_LEVELS * slot + i)
        word_at(at, 4 * i + 5).value = level.bid_ticks
        word_at(at, 4 * i + 6).value = level.bid_lots
        word_at(at, 4 * i + 7).value = level.ask_ticks
        word_at(at, 4 * i + 8).value = level.ask_lots
    return count + 1


@helper
def in_sight(m, slot, side, price):
    """Whether a tape of ten levels shows an order at a price, by the book before its row."""
    last = flow_levels(m, FLOW_LEVELS * (slot + 1) - 1)
    if side > 0:
        return last.bid_lots == 0 or price >= last.bid_ticks
    return last.ask_lots == 0 or price <= last.ask_ticks


@helper
def row_events(m, slot, out, count):
    """Events in sight of one row that is no execution; returns the number of events so far."""
    row = flow(m, slot)
    kind, side, price, size, traded = (
        row.kind,
        row.side,
        row.price_ticks,
        row.size_lots,
        row.traded_lots,
    )
    seen = in_sight(m, slot, side, price)
    if seen and (kind == ROW_CANCEL or kind == ROW_REDUCE or kind == ROW_REPLACE):
        count = write_event(m, out, count, slot, CANCEL, price, size, side)
    if kind == ROW_LIMIT or kind == ROW_MARKET or kind == ROW_REPLACE:
        if traded > 0:
            count = write_event(m, out, count, slot, MARKET, row.first_ticks, traded, side)
        if seen and kind != ROW_MARKET and traded < size:
            count = write_event(m, out, count, slot, LIMIT, price, size - traded, side)
    return count


@helper
def run_behind(m, b, row):
    """Whether a run of executions ends with this row, goes on behind it, or may still go on."""
    here = flow(m, row_at(m, b, row))
    for later in range(row + 1, books(m, b).rows):
        other = flow(m, row_at(m, b, later))
        if other.time_ns != here.time_ns:
            return _ENDS
        if other.kind == ROW_EXECUTION:
            return _GOES_ON if other.side == here.side else _ENDS
    return _OPEN if here.time_ns == header(m).now_ns else _ENDS


@helper
def run_event(m, b, last, out, count):
    """The market order that a run of executions tells; returns the number of events so far."""
    here = flow(m, row_at(m, b, last))
    oldest = max(books(m, b).rows - header(m).flow_width, 0)
    first, lots = last, here.size_lots
    for row in range(last - 1, oldest - 1, -1):
        other = flow(m, row_at(m, b, row))
        if other.time_ns != here.time_ns:
            break
        if other.kind == ROW_EXECUTION:
            if other.side != here.side:
                break
            first = row
            lots += other.size_lots
    if first == oldest:
        return count  # the book before it is not known, or it began before what is kept
    slot = row_at(m, b, first)
    return write_event(m, out, count, slot, MARKET, flow(m, slot).price_ticks, lots, -here.side)


@helper
def own_lots(m, level_slot, agent):
    """Visible lots of an agent at a level; counted once after each change of the level."""
    level = levels(m, level_slot)
    if level.counted_for == agent + 1:
        return level.counted_lots
    lots = 0
    slot = level.head
    while slot >= 0:
        order = orders(m, slot)
        if order.agent == agent:
            lots += order.size_lots
        slot = order.next
    level.counted_for = agent + 1
    level.counted_lots = lots
    return lots


@helper
def write_now(m, b, agent, out):
    """Write the book as it is: 10 levels of 4 words; then an agent's own lots, 10 of 2."""
    for ladder in range(BIDS, ASKS + 1):
        base = (4 * b + ladder) * header(m).ladder_levels
        i = ladders(m, 4 * b + ladder).levels - 1
        for row in range(FLOW_LEVELS):
            price = lots = own = 0
            while i >= 0 and lots == 0:
                slot = rungs(m, base + i).level
                lots = levels(m, slot).visible_lots
                if lots > 0:
                    price = levels(m, slot).price_ticks
                    own = own_lots(m, slot, agent)
                i -= 1
            word_at(out, 4 * row + 2 * ladder).value = price
            word_at(out, 4 * row + 2 * ladder + 1).value = lots
            word_at(out, BOOK_WORDS + 2 * row + ladder).value = own


@entry
def view_flow(m, b, agent, out, most):
    """Events since the last call, the book now, and an agent's own lots in it.

    Parameters
    ----------
    out : address of ``most`` events (records of :data:`marketsim.flow.FLOW`) and ``VIEW_WORDS``.

    Returns
    -------
    Number of events, or NOT_DUE. In the header's mail: 1 if there may be more of them; how many
    drafts came to the exchange so far; the time; how many rows there were. An order whose
    executions may go on at this instant is told later.
    """
    h = header(m)
    book = books(m, b)
    if not book.due:
        return NOT_DUE
    count = 0
    row = book.unread
    h.mail0 = 0
    while row < book.rows:
        if count + MOST_EVENTS > most:
            h.mail0 = 1
            break
        slot = row_at(m, b, row)
        if flow(m, slot).kind == ROW_EXECUTION:
            behind = run_behind(m, b, row)
            if behind == _OPEN:
                break
            if behind == _ENDS:
                count = run_event(m, b, row, out, count)
        elif row > 0:
            count = row_events(m, slot, out, count)
        row += 1
    book.unread = row
    book.due = h.mail0
    h.mail1 = book.sent
    h.mail2 = h.now_ns
    h.mail3 = book.rows
    write_now(m, b, agent, out + 8 * EVENT_WORDS * most)
    return count
