"""What a book is made of: order slots, price levels with two queues, sorted ladders, the id index.

Nothing here knows a matching rule. A ladder is an array of (key, level) sorted so that its best
level is last: keys are prices for bids and sell stops, negated prices for asks and buy stops.
"""

from marketsim.codes import Flag
from marketsim.compile import helper, hot
from marketsim.market import HASH, header, index, ladders, levels, orders, rungs

BIDS, ASKS, BUY_STOPS, SELL_STOPS = 0, 1, 2, 3
HIDDEN, STOP = int(Flag.HIDDEN), int(Flag.STOP)
_LINEAR_STEPS = 8  # how far a guess is followed before bisecting
_GROUP = 7  # eight consecutive ids share two cache lines of the index


@hot
def key_of(ladder, price):
    """Sort key of a price on a ladder; the larger, the better."""
    if ladder == BIDS or ladder == SELL_STOPS:
        return price
    return -price


@hot
def new_order(m):
    """Slot for an order; the caller has checked that there is one."""
    h = header(m)
    slot = h.orders_free
    if slot >= 0:
        h.orders_free = orders(m, slot).next
    else:
        slot = h.orders_used
        h.orders_used = slot + 1
    h.orders_live += 1
    return slot


@hot
def free_order(m, slot):
    """Give an order's slot back."""
    h = header(m)
    orders(m, slot).next = h.orders_free
    orders(m, slot).level = -1
    h.orders_free = slot
    h.orders_live -= 1


@hot
def home_of(order_id, mask, shift):
    """Where an id would be if nothing else were there: groups of eight ids, scattered."""
    return (((((order_id >> 3) * HASH) >> shift) & mask) & ~_GROUP) | (order_id & _GROUP)


@hot
def index_find(m, order_id):
    """Slot of a live order, or -1."""
    h = header(m)
    mask = h.index_mask
    at = home_of(order_id, mask, h.index_shift)
    while True:
        entry = index(m, at)
        if entry.slot == 0:
            return -1
        if entry.key == order_id:
            return entry.slot - 1
        at = (at + 1) & mask


@hot
def index_put(m, order_id, slot):
    """Remember where a new order lives."""
    h = header(m)
    mask = h.index_mask
    at = home_of(order_id, mask, h.index_shift)
    while index(m, at).slot != 0:
        at = (at + 1) & mask
    entry = index(m, at)
    entry.key = order_id
    entry.slot = slot + 1


@hot
def index_drop(m, order_id):
    """Forget an order that is known to be there; entries behind it close up."""
    h = header(m)
    mask = h.index_mask
    shift = h.index_shift
    hole = home_of(order_id, mask, shift)
    while index(m, hole).key != order_id or index(m, hole).slot == 0:
        hole = (hole + 1) & mask
    at = hole
    while True:
        at = (at + 1) & mask
        entry = index(m, at)
        if entry.slot == 0:
            break
        home = home_of(entry.key, mask, shift)
        # Move the entry into the hole unless its home lies cyclically in (hole, at].
        if ((at - home) & mask) >= ((at - hole) & mask):
            gap = index(m, hole)
            gap.key = entry.key
            gap.slot = entry.slot
            hole = at
    index(m, hole).slot = 0


@hot
def rung_above(m, base, count, key):
    """Number of rungs with a key <= ``key``: the place where a new one goes.

    Keys are distinct integers, so a rung lies no lower than a gapless ladder would have it: look
    there first, which is right wherever prices are dense, then a few rungs up, then bisect.
    """
    if count == 0:
        return 0
    best = rungs(m, base + count - 1).key
    if key >= best:
        return count
    low = max(count - 1 - (best - key), 0)  # every rung below has a key < key
    steps = 0
    while steps < _LINEAR_STEPS:
        if rungs(m, base + low).key > key:
            return low
        low += 1
        steps += 1
    high = count
    while low < high:
        middle = (low + high) >> 1
        if rungs(m, base + middle).key <= key:
            low = middle + 1
        else:
            high = middle
    return low


@hot
def find_level(m, b, ladder, price):
    """Level at a price, or -1."""
    side = ladders(m, 4 * b + ladder)
    base = (4 * b + ladder) * header(m).ladder_levels
    key = key_of(ladder, price)
    at = rung_above(m, base, side.levels, key)
    if at > 0 and rungs(m, base + at - 1).key == key:
        return rungs(m, base + at - 1).level
    return -1


@hot
def level_for(m, b, ladder, price):
    """Level at a price, made when there is none; the caller has checked that there is room."""
    h = header(m)
    side = ladders(m, 4 * b + ladder)
    base = (4 * b + ladder) * h.ladder_levels
    key = key_of(ladder, price)
    count = side.levels
    at = rung_above(m, base, count, key)
    if at > 0 and rungs(m, base + at - 1).key == key:
        return rungs(m, base + at - 1).level
    slot = h.levels_free
    if slot >= 0:
        h.levels_free = levels(m, slot).next
    else:
        slot = h.levels_used
        h.levels_used = slot + 1
    h.levels_live += 1
    level = levels(m, slot)
    level.price_ticks = price
    level.ladder = ladder
    level.visible_lots = 0
    level.counted_for = 0
    level.head = -1
    level.tail = -1
    level.hidden_head = -1
    level.hidden_tail = -1
    i = count
    while i > at:
        above = rungs(m, base + i)
        below = rungs(m, base + i - 1)
        above.key = below.key
        above.level = below.level
        i -= 1
    rung = rungs(m, base + at)
    rung.key = key
    rung.level = slot
    side.levels = count + 1
    return slot


@hot
def drop_level(m, b, slot):
    """Take an empty level out of its ladder."""
    h = header(m)
    level = levels(m, slot)
    side = ladders(m, 4 * b + level.ladder)
    base = (4 * b + level.ladder) * h.ladder_levels
    count = side.levels
    at = rung_above(m, base, count, key_of(level.ladder, level.price_ticks))
    while at < count:
        below = rungs(m, base + at - 1)
        above = rungs(m, base + at)
        below.key = above.key
        below.level = above.level
        at += 1
    side.levels = count - 1
    level.next = h.levels_free
    h.levels_free = slot
    h.levels_live -= 1


@hot
def is_hidden(flags):
    """Whether an order queues behind the visible ones; pending stops have one queue for all."""
    return flags & (HIDDEN | STOP) == HIDDEN


@hot
def enqueue(m, level_slot, slot):
    """Put an order at the end of its level's visible or hidden queue; sizes are the caller's."""
    level = levels(m, level_slot)
    order = orders(m, slot)
    order.level = level_slot
    order.next = -1
    if is_hidden(order.flags):
        tail = level.hidden_tail
        level.hidden_tail = slot
        if tail < 0:
            level.hidden_head = slot
    else:
        tail = level.tail
        level.tail = slot
        if tail < 0:
            level.head = slot
    order.prev = tail
    if tail >= 0:
        orders(m, tail).next = slot


@hot
def dequeue(m, slot):
    """Take an order out of its level's queue; sizes are the caller's."""
    order = orders(m, slot)
    level = levels(m, order.level)
    before = order.prev
    after = order.next
    if before >= 0:
        orders(m, before).next = after
    elif is_hidden(order.flags):
        level.hidden_head = after
    else:
        level.head = after
    if after >= 0:
        orders(m, after).prev = before
    elif is_hidden(order.flags):
        level.hidden_tail = before
    else:
        level.tail = before


@hot
def mix(state, value):
    """One step of a digest: xor, multiply, fold the upper half down."""
    state = (state ^ value) * HASH
    return state ^ ((state >> 32) & 0xFFFFFFFF)


@helper
def touch(m, b, ladder):
    """Best visible level now: slot, or -1."""
    width = header(m).ladder_levels
    i = ladders(m, 4 * b + ladder).levels - 1
    while i >= 0:
        slot = rungs(m, (4 * b + ladder) * width + i).level
        if levels(m, slot).visible_lots > 0:
            return slot
        i -= 1
    return -1


@helper
def depth_of(m, b, ladder, out):
    """Write the best visible levels into ``out``: int64[n, 2] – price [ticks], size [lots]."""
    width = header(m).ladder_levels
    i = ladders(m, 4 * b + ladder).levels - 1
    row = 0
    while i >= 0 and row < len(out):
        level = levels(m, rungs(m, (4 * b + ladder) * width + i).level)
        if level.visible_lots > 0:
            out[row, 0] = level.price_ticks
            out[row, 1] = level.visible_lots
            row += 1
        i -= 1
    return row
