"""Market rules of a book, compiled: price limits, short sales, tick and lot tables, references.

A rule's shares are millionths of its reference price. ``books.state`` has the bit ``RULES`` where
any of these is on, so that a book without rules pays one test an order. Recorded flow is bound by
none of them, but its trades move the references.
"""

from enum import IntEnum

from marketsim.codes import Flag, Phase, Reject, State
from marketsim.compile import entry, helper
from marketsim.ladder import ASKS, BIDS, touch
from marketsim.market import (
    NO_PRICE,
    accounts,
    agents,
    ask_for,
    books,
    header,
    incidents,
    ladders,
    levels,
    orders,
    prints,
    rules,
    rungs,
    steps,
)
from marketsim.records import POOL_NAMES

IS_HALTED, CALL, SHUT = int(State.HALTED), int(State.CALL), int(State.SHUT)
RULES, STOPPED = int(State.RULES), int(State.STOPPED)
HALT = int(Phase.HALT)
MARKET, STOP = int(Flag.MARKET), int(Flag.STOP)
TICK, LOT = int(Reject.TICK), int(Reject.LOT)
PRICE_LIMIT, SHORT_SALE = int(Reject.PRICE_LIMIT), int(Reject.SHORT_SALE)
PRINTS, INCIDENTS = POOL_NAMES.index("prints"), POOL_NAMES.index("incidents")
MILLION = 1_000_000


class Reference(IntEnum):
    """From which price a rule measures; 0: the rule is off."""

    TICKS = 1
    OPEN = 2
    LAST_AUCTION = 3
    MEAN = 4


class ShortRule(IntEnum):
    """What becomes of short sales; 0: nothing."""

    FORBIDDEN = 1
    UPTICK = 2


FIXED, OPEN, LAST_AUCTION = (
    int(Reference.TICKS),
    int(Reference.OPEN),
    int(Reference.LAST_AUCTION),
)
MEAN = int(Reference.MEAN)
FORBIDDEN, UPTICK = int(ShortRule.FORBIDDEN), int(ShortRule.UPTICK)


@helper
def share_down(value, ppm):
    """``abs(value) * ppm // 1_000_000`` without overflow."""
    worth = abs(value)
    return worth // MILLION * ppm + worth % MILLION * ppm // MILLION


@helper
def share_up(value, ppm):
    """Like :func:`share_down`, rounded up."""
    worth = abs(value)
    return worth // MILLION * ppm - (-(worth % MILLION * ppm) // MILLION)


# -- references --------------------------------------------------------------------------------


@helper
def forget_prints(m, b, until_ns):
    """Take trades up to a time out of the mean's window."""
    rule = rules(m, b)
    h = header(m)
    while rule.prints_head >= 0 and prints(m, rule.prints_head).time_ns <= until_ns:
        slot = rule.prints_head
        record = prints(m, slot)
        rule.prints_sum -= record.sum_ticks
        rule.prints_count -= record.count
        rule.prints_head = record.next
        record.next = h.prints_free
        h.prints_free = slot
        h.prints_live -= 1
    if rule.prints_head < 0:
        rule.prints_tail = -1


@helper
def add_print(m, b, sum_ticks, count):
    """Put the trades of one event into the mean's window; room is the caller's."""
    rule = rules(m, b)
    h = header(m)
    slot = h.prints_free
    if slot >= 0:
        h.prints_free = prints(m, slot).next
    else:
        slot = h.prints_used
        h.prints_used = slot + 1
    h.prints_live += 1
    record = prints(m, slot)
    record.time_ns = h.now_ns
    record.sum_ticks = sum_ticks
    record.count = count
    record.next = -1
    if rule.prints_tail >= 0:
        prints(m, rule.prints_tail).next = slot
    else:
        rule.prints_head = slot
    rule.prints_tail = slot
    rule.prints_sum += sum_ticks
    rule.prints_count += count


@helper
def reference_price(m, b, kind, ticks):
    """Price that a rule measures from now, or NO_PRICE; before the first, the symbol's own.

    The mean is that of the prices of the trades in the last ``window``, rounded down; when there
    are none, the last trade's price.
    """
    rule = rules(m, b)
    price = NO_PRICE
    if kind == FIXED:
        price = ticks
    elif kind == OPEN:
        price = rule.open_ticks
    elif kind == LAST_AUCTION:
        price = rule.auction_ticks
    elif kind == MEAN:
        forget_prints(m, b, header(m).now_ns - rule.window_ns)
        if rule.prints_count > 0:
            price = rule.prints_sum // rule.prints_count
        elif books(m, b).traded:
            price = books(m, b).last_ticks
    return rule.base_ticks if price == NO_PRICE else price


@helper
def rules_room(m, b):
    """Whether what rules remember of one more event fits."""
    h = header(m)
    if h.incidents_count + 2 > h.incidents_capacity:
        ask_for(m, INCIDENTS, h.incidents_count + 2)
        return False
    if rules(m, b).window_ns > 0 and h.prints_live + 1 > h.prints_capacity:
        ask_for(m, PRINTS, h.prints_live + 1)
        return False
    return True


@helper
def add_incident(m, b, reason, price, size):
    """Note an auction (reason 0) or a halt for the run's summary; returns its row."""
    h = header(m)
    row = h.incidents_count
    h.incidents_count = row + 1
    incident = incidents(m, row)
    incident.time_ns = h.now_ns
    incident.end_ns = 0
    incident.price_ticks = price
    incident.size_lots = size
    incident.symbol = b
    incident.reason = reason
    return row


@helper
def note_trades(m, b, first, low, high, sum_ticks, count):
    """An event traded: open, window, and what the breaker and the short-sale rule look at."""
    rule = rules(m, b)
    if rule.open_ticks == NO_PRICE:
        rule.open_ticks = first
    if rule.window_ns > 0:
        add_print(m, b, sum_ticks, count)
    rule.low_ticks = min(rule.low_ticks, low) if rule.traded else low
    rule.high_ticks = max(rule.high_ticks, high) if rule.traded else high
    rule.traded = 1
    if rule.short_ppm > 0 and not rule.short_on:
        reference = reference_price(m, b, rule.short_reference, rule.short_ticks)
        if reference != NO_PRICE and low <= reference - share_up(reference, rule.short_ppm):
            rule.short_on = 1


# -- price limits ------------------------------------------------------------------------------


@helper
def band(m, b, side):
    """Upper (side 1) or lower (-1) price limit now; NO_PRICE when there is none."""
    rule = rules(m, b)
    if rule.limit_reference == 0:
        return NO_PRICE
    reference = reference_price(m, b, rule.limit_reference, rule.limit_ticks)
    if reference == NO_PRICE:
        return NO_PRICE
    return reference + side * share_down(reference, rule.limit_ppm)


@helper
def best_price(m, b, ladder):
    """Best price of a side, hidden orders included; NO_PRICE when it is empty."""
    count = ladders(m, 4 * b + ladder).levels
    if count == 0:
        return NO_PRICE
    return levels(m, rungs(m, (4 * b + ladder) * header(m).ladder_levels + count - 1).level
                  ).price_ticks  # fmt: skip


@helper
def beyond_limits(m, b, side, price):
    """Whether a limit price lies outside the band, or would meet an order that does."""
    upper = band(m, b, 1)
    if upper == NO_PRICE:
        return False
    lower = band(m, b, -1)
    if price > upper or price < lower:
        return True
    if books(m, b).state & CALL:
        return False
    best = best_price(m, b, ASKS if side > 0 else BIDS)
    outside = best < lower if side > 0 else best > upper
    return best != NO_PRICE and outside and (best - price) * side <= 0


@helper
def bound_market(m, b, side):
    """Worst price at which a market order may trade now, or NO_PRICE for any.

    Where the first that it would meet rests outside the band on the other side, it meets nobody.
    """
    limit = band(m, b, side)
    if limit == NO_PRICE:
        return NO_PRICE
    best = best_price(m, b, ASKS if side > 0 else BIDS)
    if best != NO_PRICE and (best - band(m, b, -side)) * side < 0:
        return best - side
    return limit


@helper
def at_limit(m, b):
    """Whether the best visible bid has reached the upper limit or the best ask the lower one."""
    upper = band(m, b, 1)
    if upper == NO_PRICE:
        return False
    bid, ask = touch(m, b, BIDS), touch(m, b, ASKS)
    if bid >= 0 and levels(m, bid).price_ticks >= upper:
        return True
    return ask >= 0 and levels(m, ask).price_ticks <= band(m, b, -1)


# -- short sales -------------------------------------------------------------------------------


@helper
def open_sells(m, b, agent, except_slot):
    """Lots of an agent's open sell orders and sell stops, one order left out."""
    lots = 0
    for slot in range(header(m).orders_used):
        order = orders(m, slot)
        if slot != except_slot and order.level >= 0 and order.agent == agent:
            if order.symbol == b and order.side < 0:
                lots += order.size_lots + order.reserve_lots
    return lots


@helper
def is_short(m, b, agent, size, except_slot):
    """Whether a sale is of more than the agent owns, less what it offers already."""
    owned = accounts(m, agent * header(m).books_count + b).position_lots
    if agents(m, agent).symbol == b:
        owned += agents(m, agent).inventory_lots
    return size > owned - open_sells(m, b, agent, except_slot)


@helper
def short_refused(m, b, agent, price, size, flags, except_slot):
    """Whether the short-sale rule refuses a sale that enters now."""
    rule = rules(m, b)
    if rule.short_rule == UPTICK:
        if rule.short_ppm > 0 and not rule.short_on:
            return False
        if not flags & MARKET:
            bid = touch(m, b, BIDS)
            if bid < 0 or price > levels(m, bid).price_ticks:
                return False
    return is_short(m, b, agent, size, except_slot)


# -- tables ------------------------------------------------------------------------------------


@helper
def increment_at(m, start, count, price):
    """Increment of the row of a table that a price falls into; below the first row, the first."""
    row = start
    while row + 1 < start + count and price >= steps(m, row + 1).threshold:
        row += 1
    return steps(m, row).value


@helper
def tick_at(m, b, price):
    """Increment of prices at a price."""
    rule = rules(m, b)
    if books(m, b).state and rule.tick_count > 0:
        return increment_at(m, rule.tick_start, rule.tick_count, price)
    return books(m, b).tick


@helper
def lot_now(m, b):
    """Increment of sizes at the last trade's price."""
    rule = rules(m, b)
    if books(m, b).state and rule.lot_count > 0:
        return increment_at(m, rule.lot_start, rule.lot_count, price_of_size(m, b, 0, 0, MARKET))
    return books(m, b).lot


@entry
def tick_of(m, b, price):
    """:func:`tick_at` for Python."""
    return tick_at(m, b, price)


@entry
def lot_of(m, b):
    """:func:`lot_now` for Python."""
    return lot_now(m, b)


@helper
def off_tick(m, b, price):
    """Whether a price is no multiple of its increment."""
    rule = rules(m, b)
    count = rule.tick_count
    return count > 0 and price % increment_at(m, rule.tick_start, count, price) != 0


@helper
def off_lot(m, b, price, size):
    """Whether a size is no multiple of the increment at a price."""
    rule = rules(m, b)
    count = rule.lot_count
    return count > 0 and size % increment_at(m, rule.lot_start, count, price) != 0


@helper
def price_of_size(m, b, price, stop, flags):
    """Price that says which lots an order must be in: its limit, stop, or the last trade's."""
    if not flags & MARKET:
        return price
    if flags & STOP:
        return stop
    book = books(m, b)
    if book.traded:
        return book.last_ticks
    return rules(m, b).base_ticks


@helper
def table_refusal(m, b, price, size, display, stop, flags):
    """0, TICK or LOT by the tables of the symbol."""
    if not flags & MARKET and off_tick(m, b, price):
        return TICK
    if flags & STOP and off_tick(m, b, stop):
        return TICK
    at = price_of_size(m, b, price, stop, flags)
    if off_lot(m, b, at, size) or off_lot(m, b, at, display):
        return LOT
    return 0


@helper
def limits_lifted(m, b):
    """Whether a halt's call phase may find a price that the limits will then be measured from."""
    rule = rules(m, b)
    return rule.phase == HALT and rule.pause_ns > 0 and rule.limit_reference >= LAST_AUCTION


@helper
def entry_refusal(m, b, agent, side, price, size, flags, except_slot):
    """0, PRICE_LIMIT or SHORT_SALE for an order that enters the book now."""
    rule = rules(m, b)
    if rule.limit_reference != 0 and not flags & MARKET and not limits_lifted(m, b):
        if beyond_limits(m, b, side, price):
            return PRICE_LIMIT
    if rule.short_rule != 0 and side < 0:
        if short_refused(m, b, agent, price, size, flags, except_slot):
            return SHORT_SALE
    return 0
