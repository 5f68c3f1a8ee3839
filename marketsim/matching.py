"""The rules of the book, compiled: price-time priority and every order type.

:class:`marketsim.naive.NaiveBook` is the same rules for reading; both must agree after every event.
Functions return lots (filled, or removed) or minus a :class:`marketsim.codes.Reject`. What happened
to which order is left as rows of the pool ``outcomes``.
"""

from marketsim.codes import Flag, Outcome, Reject, SelfTrade
from marketsim.compile import helper, hot
from marketsim.ladder import (
    ASKS,
    BUY_STOPS,
    HIDDEN,
    SELL_STOPS,
    dequeue,
    drop_level,
    enqueue,
    free_order,
    index_drop,
    index_find,
    index_put,
    is_hidden,
    level_for,
    new_order,
)
from marketsim.market import (
    books,
    delta_rows,
    header,
    history,
    ladders,
    levels,
    orders,
    outcomes,
    rungs,
)

MARKET, IOC, FOK = int(Flag.MARKET), int(Flag.IOC), int(Flag.FOK)
POST_ONLY, STOP, DAY = int(Flag.POST_ONLY), int(Flag.STOP), int(Flag.DAY)
NEVER_RESTS = MARKET | IOC | FOK
SELF_TRADE_MASK = 7 << 8
CANCEL_TAKER, CANCEL_MAKER = int(SelfTrade.CANCEL_TAKER), int(SelfTrade.CANCEL_MAKER)
CANCEL_BOTH, DECREMENT = int(SelfTrade.CANCEL_BOTH), int(SelfTrade.DECREMENT)
ALL_FLAGS = MARKET | IOC | FOK | POST_ONLY | HIDDEN | STOP | DAY | SELF_TRADE_MASK
FILL, DROPPED, TRIGGERED = int(Outcome.FILL), int(Outcome.DROPPED), int(Outcome.TRIGGERED)
MAKER_CANCELLED, TAKER_CANCELLED = int(Outcome.MAKER_CANCELLED), int(Outcome.TAKER_CANCELLED)
DECREMENTED = int(Outcome.DECREMENTED)
DUPLICATE_ID, SIZE, PRICE = -int(Reject.DUPLICATE_ID), -int(Reject.SIZE), -int(Reject.PRICE)
UNKNOWN_ORDER, BAD_FLAGS = -int(Reject.UNKNOWN_ORDER), -int(Reject.FLAGS)
WOULD_TAKE, NOT_FILLABLE = -int(Reject.WOULD_TAKE), -int(Reject.NOT_FILLABLE)
MAX_PRICE, MAX_SIZE = 1 << 60, 1 << 40


@hot
def emit(m, kind, order_id, other_id, price, size, agent, other_agent, left, hidden):
    """Append a row to the outcomes."""
    h = header(m)
    row = outcomes(m, h.outcomes_count)
    h.outcomes_count += 1
    row.kind = kind
    row.order_id = order_id
    row.other_id = other_id
    row.price_ticks = price
    row.size_lots = size
    row.agent = agent
    row.other_agent = other_agent
    row.left_lots = left
    row.next_shown_lots = 0
    row.origin = 0
    row.hidden = hidden


@hot
def level_changed(m, b, level_slot, old_lots):
    """Tell the tape and the undo log that a level shows another size than before."""
    level = levels(m, level_slot)
    level.counted_for = 0
    if level.visible_lots == old_lots:
        return
    ladders(m, 4 * b + level.ladder).visible_lots += level.visible_lots - old_lots
    h = header(m)
    side = 1 - 2 * level.ladder
    if h.tape_on:
        row = delta_rows(m, h.delta_rows_count)
        h.delta_rows_count += 1
        row.sequence = books(m, b).rows - 1
        row.price_ticks = level.price_ticks
        row.size_lots = level.visible_lots
        row.symbol = b
        row.side = side
    if h.horizon_ns > 0:
        entry = history(m, h.history_count & (h.history_capacity - 1))
        h.history_count += 1
        entry.time_ns = h.now_ns
        entry.symbol = b
        entry.side = side
        entry.price_ticks = level.price_ticks
        entry.old_lots = old_lots


@helper
def remove_order(m, b, slot):
    """Take a resting or pending order out, with its level if that becomes empty."""
    order = orders(m, slot)
    level_slot = order.level
    level = levels(m, level_slot)
    ladder = ladders(m, 4 * b + level.ladder)
    old_lots = level.visible_lots
    dequeue(m, slot)
    if not is_hidden(order.flags):
        level.visible_lots -= order.size_lots
    ladder.orders -= 1
    if order.display_lots > 0:
        ladder.icebergs -= 1
    if level.ladder <= ASKS:
        books(m, b).resting_lots -= order.size_lots + order.reserve_lots
        level_changed(m, b, level_slot, old_lots)
    index_drop(m, order.order_id)
    if level.head < 0 and level.hidden_head < 0:
        drop_level(m, b, level_slot)
    free_order(m, slot)


@hot
def maker_reduced(m, b, level_slot, slot):
    """After a maker's shown part shrank: show the next part of an iceberg, or take it out."""
    order = orders(m, slot)
    if order.size_lots > 0:
        return
    level = levels(m, level_slot)
    dequeue(m, slot)
    if order.reserve_lots > 0:
        order.size_lots = min(order.display_lots, order.reserve_lots)
        order.reserve_lots -= order.size_lots
        outcomes(m, header(m).outcomes_count - 1).next_shown_lots = order.size_lots
        level.visible_lots += order.size_lots
        enqueue(m, level_slot, slot)
        return
    ladder = ladders(m, 4 * b + level.ladder)
    ladder.orders -= 1
    if order.display_lots > 0:
        ladder.icebergs -= 1
    index_drop(m, order.order_id)
    free_order(m, slot)


@helper
def meet_own(m, b, level_slot, slot, order_id, agent, size, mode):
    """An order met a resting order of its own agent; returns what is left of the incoming one."""
    maker = orders(m, slot)
    level = levels(m, level_slot)
    book = books(m, b)
    price = level.price_ticks
    hidden = 1 if is_hidden(maker.flags) else 0
    if mode == DECREMENT:
        lots = min(size, maker.size_lots)
        maker.size_lots -= lots
        book.resting_lots -= lots
        if not is_hidden(maker.flags):
            level.visible_lots -= lots
        left = maker.size_lots + maker.reserve_lots
        emit(m, DECREMENTED, maker.order_id, order_id, price, lots, agent, agent, left, hidden)
        maker_reduced(m, b, level_slot, slot)
        return size - lots
    if mode == CANCEL_MAKER or mode == CANCEL_BOTH:
        lots = maker.size_lots + maker.reserve_lots
        emit(m, MAKER_CANCELLED, maker.order_id, order_id, price, lots, agent, agent, 0, hidden)
        outcomes(m, header(m).outcomes_count - 1).next_shown_lots = maker.size_lots
        book.resting_lots -= lots
        if not is_hidden(maker.flags):
            level.visible_lots -= maker.size_lots
        maker_id = maker.order_id
        maker.size_lots = 0
        maker.reserve_lots = 0
        maker_reduced(m, b, level_slot, slot)
        if mode == CANCEL_MAKER:
            return size
        emit(m, TAKER_CANCELLED, order_id, maker_id, price, size, agent, agent, 0, 0)
        return 0
    emit(m, TAKER_CANCELLED, order_id, maker.order_id, price, size, agent, agent, 0, 0)
    return 0


@hot
def match(m, b, order_id, agent, side, price, size, flags):
    """Trade with the other side while prices cross; returns the lots left.

    Trades happen at the resting price. Filled lots are in ``header.filled_lots``.
    """
    h = header(m)
    book = books(m, b)
    ladder_kind = (1 + side) >> 1  # a buy meets asks (1), a sell meets bids (0)
    ladder = ladders(m, 4 * b + ladder_kind)
    base = (4 * b + ladder_kind) * h.ladder_levels
    mode = flags & SELF_TRADE_MASK
    filled = 0
    while size > 0 and ladder.levels > 0:
        level_slot = rungs(m, base + ladder.levels - 1).level
        level = levels(m, level_slot)
        level_price = level.price_ticks
        if not flags & MARKET and (level_price - price) * side > 0:
            break
        old_lots = level.visible_lots
        at_level = 0
        while size > 0:
            slot = level.head
            hidden = 0
            if slot < 0:
                slot = level.hidden_head
                hidden = 1
                if slot < 0:
                    break
            maker = orders(m, slot)
            if mode and agent >= 0 and maker.agent == agent:
                size = meet_own(m, b, level_slot, slot, order_id, agent, size, mode)
                continue
            lots = min(size, maker.size_lots)
            size -= lots
            at_level += lots
            maker.size_lots -= lots
            if not hidden:
                level.visible_lots -= lots
            left = maker.size_lots + maker.reserve_lots
            emit(
                m,
                FILL,
                maker.order_id,
                order_id,
                level_price,
                lots,
                maker.agent,
                agent,
                left,
                hidden,
            )
            outcomes(m, h.outcomes_count - 1).origin = maker.origin
            book.trades += 1
            if maker.size_lots == 0:
                maker_reduced(m, b, level_slot, slot)
        if at_level > 0:
            filled += at_level
            book.resting_lots -= at_level
            book.volume_lots += at_level
            if side > 0:
                book.bought_lots += at_level
            book.notional += at_level * level_price
            book.last_ticks = level_price
            book.traded = 1
        level_changed(m, b, level_slot, old_lots)
        if level.head < 0 and level.hidden_head < 0:
            drop_level(m, b, level_slot)
    h.filled_lots = filled
    return size


@helper
def fillable(m, b, agent, side, price, size, flags):
    """Whether matching would fill all of an order, self-trade prevention included."""
    ladder_kind = (1 + side) >> 1
    base = (4 * b + ladder_kind) * header(m).ladder_levels
    mode = flags & SELF_TRADE_MASK
    i = ladders(m, 4 * b + ladder_kind).levels - 1
    while i >= 0:
        level = levels(m, rungs(m, base + i).level)
        if not flags & MARKET and (level.price_ticks - price) * side > 0:
            return False
        # Shown parts in time order, then the reserves behind them, then hidden orders.
        for part in range(3):
            slot = level.hidden_head if part == 2 else level.head
            while slot >= 0:
                order = orders(m, slot)
                lots = order.reserve_lots if part == 1 else order.size_lots
                if mode and agent >= 0 and order.agent == agent and lots > 0:
                    if mode != CANCEL_MAKER:
                        return False
                else:
                    size -= lots
                    if size <= 0:
                        return True
                slot = order.next
        i -= 1
    return False


@hot
def crosses(m, b, side, price):
    """Whether a limit order at ``price`` would meet any order, visible or hidden."""
    ladder_kind = (1 + side) >> 1
    count = ladders(m, 4 * b + ladder_kind).levels
    if count == 0:
        return False
    best = levels(m, rungs(m, (4 * b + ladder_kind) * header(m).ladder_levels + count - 1).level)
    return (best.price_ticks - price) * side <= 0


@hot
def rest(m, b, ladder_kind, order_id, agent, side, price, at_price, size, display, flags):
    """Queue an order at ``at_price`` of a ladder: its limit, or its stop while pending."""
    level_slot = level_for(m, b, ladder_kind, at_price)
    level = levels(m, level_slot)
    old_lots = level.visible_lots
    slot = new_order(m)
    order = orders(m, slot)
    order.order_id = order_id
    order.agent = agent
    order.side = side
    order.price_ticks = price
    order.flags = flags
    order.display_lots = display
    order.stop_ticks = at_price
    order.symbol = b
    order.origin = 0
    shown = size
    if display > 0 and ladder_kind <= ASKS:
        shown = min(display, size)
    order.size_lots = shown
    order.reserve_lots = size - shown
    enqueue(m, level_slot, slot)
    ladder = ladders(m, 4 * b + ladder_kind)
    ladder.orders += 1
    if display > 0:
        ladder.icebergs += 1
    if not is_hidden(flags):
        level.visible_lots += shown
    index_put(m, order_id, slot)
    if ladder_kind <= ASKS:
        books(m, b).resting_lots += size
        level_changed(m, b, level_slot, old_lots)


@helper
def place(m, b, order_id, agent, side, price, size, display, flags):
    """After validation: post-only, fill-or-kill, match, rest or drop; lots filled or reject."""
    if flags & POST_ONLY and crosses(m, b, side, price):
        return WOULD_TAKE
    if flags & FOK and not fillable(m, b, agent, side, price, size, flags):
        return NOT_FILLABLE
    left = match(m, b, order_id, agent, side, price, size, flags)
    filled = header(m).filled_lots
    if left > 0:
        if flags & NEVER_RESTS:
            shown_price = 0 if flags & MARKET else price
            emit(m, DROPPED, order_id, 0, shown_price, left, agent, -1, 0, 0)
        else:
            ladder_kind = (1 - side) >> 1
            rest(m, b, ladder_kind, order_id, agent, side, price, price, left, display, flags)
    return filled


@hot
def check(side, price, size, display, stop, flags):
    """0, or why such an order cannot be expressed."""
    if size < 1 or size > MAX_SIZE or display < 0 or display > size:
        return SIZE
    if (side != 1 and side != -1) or flags & ~ALL_FLAGS:
        return BAD_FLAGS
    lives = (1 if flags & IOC else 0) + (1 if flags & FOK else 0) + (1 if flags & DAY else 0)
    if lives > 1 or flags & SELF_TRADE_MASK > DECREMENT:
        return BAD_FLAGS
    if flags & POST_ONLY and flags & (NEVER_RESTS | STOP):
        return BAD_FLAGS
    if flags & HIDDEN and display > 0:
        return BAD_FLAGS
    if (flags & HIDDEN or display > 0) and flags & NEVER_RESTS:
        return BAD_FLAGS
    if not flags & MARKET and (price > MAX_PRICE or price < -MAX_PRICE):
        return PRICE
    if stop > MAX_PRICE or stop < -MAX_PRICE:
        return PRICE
    return 0


@hot
def submit(m, b, order_id, agent, side, price, size, display, stop, flags):
    """Enter an order; the caller has made room. Stops that it triggers are the caller's to run."""
    bad = check(side, price, size, display, stop, flags)
    if bad:
        return bad
    if index_find(m, order_id) >= 0:
        return DUPLICATE_ID
    if display == size:
        display = 0
    if flags & MARKET:
        price = 0
    if flags & STOP:
        book = books(m, b)
        if not book.traded or (book.last_ticks - stop) * side < 0:
            ladder_kind = BUY_STOPS if side == 1 else SELL_STOPS
            rest(m, b, ladder_kind, order_id, agent, side, price, stop, size, display, flags)
            return 0
        flags &= ~STOP
        emit(m, TRIGGERED, order_id, 0, stop, size, agent, -1, size, 0)
    return place(m, b, order_id, agent, side, price, size, display, flags)


@helper
def next_stop(m, b):
    """Slot of the pending stop that the last trade triggers first, or -1."""
    book = books(m, b)
    if not book.traded:
        return -1
    width = header(m).ladder_levels
    for ladder_kind in range(BUY_STOPS, SELL_STOPS + 1):
        count = ladders(m, 4 * b + ladder_kind).levels
        if count > 0:
            level = levels(m, rungs(m, (4 * b + ladder_kind) * width + count - 1).level)
            side = 1 if ladder_kind == BUY_STOPS else -1
            if (book.last_ticks - level.price_ticks) * side >= 0:
                return level.head
    return -1


@helper
def trigger(m, b, slot):
    """Turn a pending stop into the order it stands for; room is the caller's."""
    order = orders(m, slot)
    order_id, agent, side, price = order.order_id, order.agent, order.side, order.price_ticks
    size, display, flags = order.size_lots, order.display_lots, order.flags & ~STOP
    emit(m, TRIGGERED, order_id, 0, order.stop_ticks, size, agent, -1, size, 0)
    remove_order(m, b, slot)
    result = place(m, b, order_id, agent, side, price, size, display, flags)
    if result < 0:
        emit(m, DROPPED, order_id, 0, 0 if flags & MARKET else price, size, agent, -1, 0, 0)
    return result


@helper
def reduce(m, b, slot, size):
    """Take lots off an order, which keeps its place: reserve first; all of it is a cancel."""
    order = orders(m, slot)
    total = order.size_lots + order.reserve_lots
    if size >= total:
        remove_order(m, b, slot)
        return total
    from_reserve = min(size, order.reserve_lots)
    order.reserve_lots -= from_reserve
    from_shown = size - from_reserve
    order.size_lots -= from_shown
    level = levels(m, order.level)
    old_lots = level.visible_lots
    if not is_hidden(order.flags):
        level.visible_lots -= from_shown
    if level.ladder <= ASKS:
        books(m, b).resting_lots -= size
        level_changed(m, b, order.level, old_lots)
    return size


@helper
def replace(m, b, slot, price, size):
    """New price and size for a resting order; keeps its place when it only shrinks."""
    order = orders(m, slot)
    if order.flags & STOP:
        return BAD_FLAGS
    total = order.size_lots + order.reserve_lots
    if price == order.price_ticks and size <= total:
        if size < total:
            reduce(m, b, slot, total - size)
        return 0
    if order.flags & POST_ONLY and crosses(m, b, order.side, price):
        return WOULD_TAKE
    order_id, agent, side, flags = order.order_id, order.agent, order.side, order.flags
    display = min(order.display_lots, size)
    remove_order(m, b, slot)
    return place(m, b, order_id, agent, side, price, size, display, flags)
