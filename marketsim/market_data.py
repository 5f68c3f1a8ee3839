"""What agents see of the market: feeds, and the book as it was one latency ago.

The past is the present with the newest changes undone: the pool ``history`` keeps the old size of
every level that changed, for as long as any agent may not know of the change.
"""

from marketsim.codes import Feed
from marketsim.compile import entry, helper
from marketsim.events import Message, tell
from marketsim.ladder import ASKS, BIDS, mix, touch
from marketsim.market import (
    agents,
    ask_for,
    books,
    header,
    history,
    ladders,
    levels,
    rules,
    rungs,
    scratch,
    subscriptions,
)
from marketsim.records import POOL_NAMES

L1, L2 = int(Feed.L1), int(Feed.L2)
SCRATCH_POOL = POOL_NAMES.index("scratch")
ANY_PRICE = 1 << 61  # no price is as far from 0
PHASE_SIDE = 2  # of an entry of the undo log that is a phase's
TELL_L1, TELL_L2 = int(Message.L1), int(Message.L2)


@helper
def depth_state(m, b, count):
    """Digest of the best ``count`` visible levels of both sides."""
    width = header(m).ladder_levels
    state = 0
    for ladder in range(BIDS, ASKS + 1):
        i = ladders(m, 4 * b + ladder).levels - 1
        seen = 0
        while i >= 0 and seen < count:
            level = levels(m, rungs(m, (4 * b + ladder) * width + i).level)
            if level.visible_lots > 0:
                state = mix(mix(state, level.price_ticks), level.visible_lots)
                seen += 1
            i -= 1
        state = mix(state, -1)
    return state


@helper
def publish(m, b):
    """Tell subscribers of the touch (L1) or of depth (L2) when what they watch has changed."""
    for i in range(header(m).subscriptions_count):
        subscription = subscriptions(m, i)
        if subscription.symbol != b or (subscription.feed != L1 and subscription.feed != L2):
            continue
        state = depth_state(m, b, subscription.levels)
        if state == subscription.last:
            continue
        subscription.last = state
        if subscription.feed == L2:
            count = subscription.levels
            tell(m, TELL_L2, subscription.agent, b, 0, 0, 0, 0, 0, count, 0, 0)
            continue
        bid, ask = touch(m, b, BIDS), touch(m, b, ASKS)
        bid_price = bid_lots = ask_price = ask_lots = 0
        if bid >= 0:
            bid_price, bid_lots = levels(m, bid).price_ticks, levels(m, bid).visible_lots
        if ask >= 0:
            ask_price, ask_lots = levels(m, ask).price_ticks, levels(m, ask).visible_lots
        agent = subscription.agent
        tell(m, TELL_L1, agent, b, 0, 0, 0, 0, bid_price, bid_lots, ask_price, ask_lots)


@helper
def first_unknown(m, known_ns):
    """Index of the first change after ``known_ns``; the number of changes if there is none."""
    h = header(m)
    i = h.history_count
    if h.horizon_ns == 0:
        return i
    mask = h.history_capacity - 1
    low = max(0, i - h.history_capacity)
    step = 1
    while i - step >= low and history(m, (i - step) & mask).time_ns > known_ns:
        i -= step
        step *= 2
    low = max(low, i - step)  # what lies below is known
    while low < i:
        middle = (low + i) >> 1
        if history(m, middle & mask).time_ns > known_ns:
            i = middle
        else:
            low = middle + 1
    return i


@helper
def changed_since(m, b, side, price, first, end):
    """Whether the level at a price changed, by changes ``first`` to before ``end``."""
    mask = header(m).history_capacity - 1
    for i in range(first, end):
        change = history(m, i & mask)
        if change.price_ticks == price and change.side == side and change.symbol == b:
            return True
    return False


@helper
def best_behind(m, b, ladder, first, beyond):
    """Best visible level worse than the price ``beyond``, before change ``first``.

    Returns its price and lots; 0 lots: there is none.
    """
    h = header(m)
    mask = h.history_capacity - 1
    side = 1 - 2 * ladder
    price = 0
    lots = 0
    for i in range(first, h.history_count):  # of each changed level, the oldest size counts
        change = history(m, i & mask)
        if change.symbol != b or change.side != side or change.old_lots == 0:
            continue
        if (change.price_ticks - beyond) * side >= 0:
            continue
        if lots > 0 and (change.price_ticks - price) * side <= 0:
            continue
        if not changed_since(m, b, side, change.price_ticks, first, i):
            price, lots = change.price_ticks, change.old_lots
    base = (4 * b + ladder) * h.ladder_levels
    i = ladders(m, 4 * b + ladder).levels - 1
    while i >= 0:
        level = levels(m, rungs(m, base + i).level)
        if lots > 0 and (level.price_ticks - price) * side <= 0:
            break
        if level.visible_lots > 0 and (level.price_ticks - beyond) * side < 0:
            if not changed_since(m, b, side, level.price_ticks, first, h.history_count):
                return level.price_ticks, level.visible_lots
        i -= 1
    return price, lots


@helper
def best_known(m, b, ladder, first):
    """Price and lots of the best visible level before change ``first``; 0 lots: there is none."""
    return best_behind(m, b, ladder, first, (1 - 2 * ladder) * ANY_PRICE)


@helper
def touch_known(m, agent, b):
    """Touch as an agent knows it: bid, its lots, ask, its lots; a side without orders has 0."""
    first = first_unknown(m, header(m).now_ns - agents(m, agent).latency_ns)
    bid, bid_lots = best_known(m, b, BIDS, first)
    ask, ask_lots = best_known(m, b, ASKS, first)
    return bid, bid_lots, ask, ask_lots


@helper
def trades_known(m, b, known_ns):
    """Traded lots, those bought by their aggressors, and the last price, as of ``known_ns``."""
    h = header(m)
    book = books(m, b)
    for i in range(first_unknown(m, known_ns), h.history_count):
        change = history(m, i & (h.history_capacity - 1))
        if change.symbol == b and change.side == 0:
            return change.old_lots, change.bought_lots, change.price_ticks
    return book.volume_lots, book.bought_lots, book.last_ticks


@helper
def notional_known(m, b, known_ns):
    """Sum of price times lots of all trades [tick·lots], as of ``known_ns``."""
    h = header(m)
    for i in range(first_unknown(m, known_ns), h.history_count):
        change = history(m, i & (h.history_capacity - 1))
        if change.symbol == b and change.side == 0:
            return change.notional
    return books(m, b).notional


@helper
def old_levels(m, b, ladder, first, base):
    """Levels that changed since change ``first``, with their sizes before it, best price first.

    They go into the scratch pool from ``base`` on; returns how many.
    """
    h = header(m)
    mask = h.history_capacity - 1
    side = 1 - 2 * ladder
    count = 0
    for i in range(first, h.history_count):
        change = history(m, i & mask)
        if change.symbol != b or change.side != side:
            continue
        price = change.price_ticks
        at = 0
        while at < count and (scratch(m, base + at).price_ticks - price) * side > 0:
            at += 1
        if at < count and scratch(m, base + at).price_ticks == price:
            continue  # an older change of this level was found first
        for j in range(count, at, -1):
            scratch(m, base + j).price_ticks = scratch(m, base + j - 1).price_ticks
            scratch(m, base + j).size_lots = scratch(m, base + j - 1).size_lots
        scratch(m, base + at).price_ticks = price
        scratch(m, base + at).size_lots = change.old_lots
        count += 1
    return count


@helper
def depth_at(m, b, ladder, known_ns, wanted):
    """Best visible levels as of ``known_ns``, into the scratch pool from 0 on.

    Returns how many there are, at most ``wanted``; or -1 when the scratch pool must grow first.
    """
    h = header(m)
    first = first_unknown(m, known_ns)
    if wanted + h.history_count - first > h.scratch_capacity:
        ask_for(m, SCRATCH_POOL, wanted + h.history_count - first)
        return -1
    changed = old_levels(m, b, ladder, first, wanted)
    side = 1 - 2 * ladder
    base = (4 * b + ladder) * h.ladder_levels
    i = ladders(m, 4 * b + ladder).levels - 1
    j = 0
    row = 0
    while row < wanted and (i >= 0 or j < changed):
        take_old = i < 0
        if i >= 0 and j < changed:
            level_price = levels(m, rungs(m, base + i).level).price_ticks
            old_price = scratch(m, wanted + j).price_ticks
            take_old = (old_price - level_price) * side >= 0
            if old_price == level_price:
                i -= 1
        if take_old:
            price, size = scratch(m, wanted + j).price_ticks, scratch(m, wanted + j).size_lots
            j += 1
        else:
            level = levels(m, rungs(m, base + i).level)
            price, size = level.price_ticks, level.visible_lots
            i -= 1
        if size > 0:
            scratch(m, row).price_ticks = price
            scratch(m, row).size_lots = size
            row += 1
    return row


@entry
def view_depth(m, agent, b, ladder, out):
    """Depth of one side as an agent knows it into ``out``: int64[n, 2]; -1 if there is no room."""
    known_ns = header(m).now_ns - agents(m, agent).latency_ns
    rows = depth_at(m, b, ladder, known_ns, len(out))
    for row in range(rows):
        out[row, 0] = scratch(m, row).price_ticks
        out[row, 1] = scratch(m, row).size_lots
    return rows


@entry
def view_touch(m, agent, b):
    """Touch as an agent knows it, into the header's mail: bid, its lots, ask, its lots."""
    h = header(m)
    h.mail0, h.mail1, h.mail2, h.mail3 = touch_known(m, agent, b)
    return 0


@entry
def view_trades(m, agent, b):
    """Traded lots and last price as an agent knows them, into the header's mail."""
    h = header(m)
    volume, _, last = trades_known(m, b, h.now_ns - agents(m, agent).latency_ns)
    h.mail0, h.mail1 = volume, last
    return 0


@entry
def view_phase(m, agent, b):
    """Phase of a book as an agent knows it."""
    h = header(m)
    first = first_unknown(m, h.now_ns - agents(m, agent).latency_ns)
    for i in range(first, h.history_count):
        change = history(m, i & (h.history_capacity - 1))
        if change.symbol == b and change.side == PHASE_SIDE:
            return change.price_ticks
    return rules(m, b).shown
