"""Call auctions, compiled: orders collect without matching, then trade at one price.

The price is :mod:`marketsim.crossing`'s. At it, orders trade in price-time priority, market orders
before all others and visible before hidden ones at a price; an iceberg trades its shown part and
queues again with the next. Orders of one agent may meet: self-trade prevention has no incoming
order to go by. The tape gets one CROSS row, and a trade row with side 0 for each match, the seller
in the columns of the maker, the buyer in those of the taker.

Recorded flow collects as well: its executions and immediate orders find nobody in a call phase.
"""

from marketsim.account import book_fill
from marketsim.codes import OrderKind
from marketsim.compile import helper
from marketsim.crossing import find_price
from marketsim.events import message_room, tell
from marketsim.flow_ring import flow_room
from marketsim.ladder import ASKS, BIDS, drop_level, is_hidden
from marketsim.market import (
    agents,
    books,
    feed,
    header,
    ladders,
    levels,
    messages,
    orders,
    outcomes,
    rules,
    rungs,
)
from marketsim.matching import (
    FILL,
    MARKET,
    MAX_PRICE,
    emit,
    level_changed,
    maker_reduced,
    reduce,
    remove_order,
    rest,
)
from marketsim.phases import (
    CLOSED,
    CLOSING_CALL,
    LIMIT_STATE,
    SCHEDULE,
    announce,
    begin_halt,
    begin_phase,
)
from marketsim.rules import (
    CALL,
    STOPPED,
    add_incident,
    at_limit,
    forget_prints,
    note_trades,
    rules_room,
)
from marketsim.settlement import (
    CANCELLED,
    FILLED,
    L3,
    ROW_CANCEL,
    ROW_EXECUTION,
    ROW_LIMIT,
    TRADES,
    UNFILLED,
    add_row,
    add_trade,
    after_event,
    event_room,
    feed_event,
    has_feeds,
    history_room,
    remember_trade,
    tape_room,
    wants,
    wants_fills,
)

ROW_CROSS = int(OrderKind.CROSS)
BOTH_SIDES = 2  # of an auction: neither maker nor taker, for fees


@helper
def rest_in_call(m, b, order_id, agent, side, price, size, display, flags):
    """Let an order wait for the uncross; a market order unseen at the end of the price axis."""
    if flags & MARKET:
        price, display = side * MAX_PRICE, 0
    rest(m, b, (1 - side) >> 1, order_id, agent, side, price, price, size, display, flags)


@helper
def replace_in_call(m, b, slot, price, size):
    """New price and size without matching; keeps its place when it only shrinks."""
    order = orders(m, slot)
    total = order.size_lots + order.reserve_lots
    if price == order.price_ticks and size <= total:
        if size < total:
            reduce(m, b, slot, total - size)
        return
    order_id, agent, side, flags = order.order_id, order.agent, order.side, order.flags
    display = min(order.display_lots, size)
    remove_order(m, b, slot)
    rest_in_call(m, b, order_id, agent, side, price, size, display, flags)


# -- the uncross -------------------------------------------------------------------------------


@helper
def best_level(m, b, ladder):
    """Best level of a side that has one, hidden ones included."""
    count = ladders(m, 4 * b + ladder).levels
    return rungs(m, (4 * b + ladder) * header(m).ladder_levels + count - 1).level


@helper
def first_order(m, level_slot):
    """The order of a level that is next: visible ones first."""
    level = levels(m, level_slot)
    return level.head if level.head >= 0 else level.hidden_head


@helper
def trade_side(m, b, ladder, other_agent, price, lots):
    """The first order of a side trades ``lots``: book, account, owner and single-order feed."""
    level_slot = best_level(m, b, ladder)
    slot = first_order(m, level_slot)
    level = levels(m, level_slot)
    order = orders(m, slot)
    order_id, agent, side, at_price = order.order_id, order.agent, order.side, order.price_ticks
    hidden, origin, old_lots = is_hidden(order.flags), order.origin, level.visible_lots
    order.size_lots -= lots
    left = order.size_lots + order.reserve_lots
    if not hidden:
        level.visible_lots -= lots
    books(m, b).resting_lots -= lots
    # An iceberg's next part is left in the outcome of the fill.
    emit(m, FILL, order_id, 0, price, lots, agent, other_agent, left, 0)
    maker_reduced(m, b, level_slot, slot)
    next_shown = outcomes(m, 0).next_shown_lots
    header(m).outcomes_count = 0
    level_changed(m, b, level_slot, old_lots)
    if level.head < 0 and level.hidden_head < 0:
        drop_level(m, b, level_slot)
    if origin > 0 and agent != other_agent:
        feed(m, origin - 1).taken_lots += lots
    elif origin < 0 and agent != other_agent:
        agents(m, agent).taken_lots += lots
    fee = book_fill(m, agent, b, side, price, lots, BOTH_SIDES)
    if wants_fills(m, agent):
        tell(m, FILLED, agent, b, order_id, side, price, lots, left, 0, fee, 0)
    if has_feeds(m) and not hidden:
        feed_event(m, L3, b, ROW_EXECUTION, order_id, side, at_price, lots)
        if next_shown > 0:
            feed_event(m, L3, b, ROW_LIMIT, order_id, side, at_price, next_shown)


@helper
def cross_pair(m, b):
    """The first buy order meets the first sell order at the auction's price."""
    rule = rules(m, b)
    book = books(m, b)
    price = rule.cross_ticks
    buy = orders(m, first_order(m, best_level(m, b, BIDS)))
    sell = orders(m, first_order(m, best_level(m, b, ASKS)))
    lots = min(rule.cross_lots, buy.size_lots, sell.size_lots)
    buyer, seller, buy_id, sell_id = buy.agent, sell.agent, buy.order_id, sell.order_id
    add_trade(m, b, rule.crossing - 2, 0, price, lots, sell_id, buy_id, seller, buyer, 0, 0)
    trade_side(m, b, BIDS, seller, price, lots)
    trade_side(m, b, ASKS, buyer, price, lots)
    book.trades += 1
    book.volume_lots += lots
    book.bought_lots += lots // 2  # an auction has no aggressor: half of it on either side
    book.notional += lots * price
    rule.cross_lots -= lots
    if has_feeds(m):
        feed_event(m, TRADES, b, 0, 0, 0, price, lots)


@helper
def start_uncross(m, b):
    """The auction's price and its row; False when the block is too small for what is written."""
    if not (tape_room(m, 2) and history_room(m, 2) and rules_room(m, b) and flow_room(m, b, 1)):
        return False
    book = books(m, b)
    rule = rules(m, b)
    find_price(m, b)
    price, lots = rule.cross_ticks, rule.cross_lots
    if lots > 0:
        add_row(m, b, ROW_CROSS, 0, -1, 0, price, lots, 0, 0)
        remember_trade(m, b, 0, book.volume_lots, book.last_ticks)
        add_incident(m, b, 0, price, lots)
        forget_prints(m, b, header(m).now_ns)  # the window starts anew with an auction
        book.last_ticks = price
        book.traded = 1
        rule.auction_ticks = price
        note_trades(m, b, price, price, price, price, 1)
    rule.crossing = book.rows + 1  # the auction's row + 2
    return True


@helper
def uncross(m, b):
    """End a call phase; goes on where it stopped when the block was too small."""
    rule = rules(m, b)
    if rule.crossing == 0 and not start_uncross(m, b):
        return False
    each = 2 + 4 * header(m).subscriptions_count
    while rule.cross_lots > 0:
        if not (message_room(m, each) and tape_room(m, 2) and history_room(m, 2)):
            return False
        cross_pair(m, b)
    return drop_market_orders(m, b, BIDS) and drop_market_orders(m, b, ASKS)


@helper
def drop_market_orders(m, b, ladder):
    """Cancel what an auction left of market orders; False when the block is too small."""
    while ladders(m, 4 * b + ladder).levels > 0:
        level_slot = best_level(m, b, ladder)
        if abs(levels(m, level_slot).price_ticks) < MAX_PRICE:
            return True
        if not (
            message_room(m, 2) and tape_room(m, 2) and history_room(m, 2) and flow_room(m, b, 1)
        ):
            return False
        slot = first_order(m, level_slot)
        order = orders(m, slot)
        order_id, agent, side, lots = order.order_id, order.agent, order.side, order.size_lots
        add_row(m, b, ROW_CANCEL, order_id, agent, side, 0, lots, 0, 0)
        remove_order(m, b, slot)
        if wants(m, agent):
            tell(m, CANCELLED, agent, b, order_id, side, 0, lots, UNFILLED, 0, 0, 0)
    return True


# -- messages of the schedule ------------------------------------------------------------------


@helper
def handle_phase(m, slot):
    """A phase is to begin; False when the block is too small for the auction before it."""
    message = messages(m, slot)
    b, phase, number, end_ns = message.symbol, message.a, message.b, message.c
    book = books(m, b)
    rule = rules(m, b)
    if number > 0 and number != rule.generation:
        return True
    stopped = book.state & STOPPED
    collected = book.state & CALL and not stopped and phase != CLOSING_CALL
    if collected and not uncross(m, b):
        return False
    if not event_room(m, b, 0, 0, 1, 0):
        return False
    rule.crossing = 0
    if number == 0:
        rule.period_end_ns = end_ns
    begin_phase(m, b, phase, SCHEDULE, rule.period_end_ns)
    after_event(m, b)
    return True


@helper
def handle_limit(m, slot):
    """A limit state has lasted: trading pauses, unless the touch has left the limit."""
    message = messages(m, slot)
    b = message.symbol
    rule = rules(m, b)
    if message.b != rule.limit_timer or rule.limit_since_ns < 0:
        return True
    if not event_room(m, b, 0, 0, 1, 0):
        return False
    rule.limit_since_ns = -1
    if at_limit(m, b):
        begin_halt(m, b, LIMIT_STATE, rule.pause_ns)
    after_event(m, b)
    return True


@helper
def close_books(m):
    """The day is over: everybody sees it."""
    h = header(m)
    for b in range(h.books_count):
        if rules(m, b).shown != CLOSED:
            if not (message_room(m, h.subscriptions_count) and history_room(m, 1)):
                return False
            rules(m, b).phase = CLOSED
            announce(m, b, CLOSED, SCHEDULE, 0)
    return True
