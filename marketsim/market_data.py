"""What agents see of the market: feeds, and the book as it was one latency ago.

The past is the present with the newest changes undone: the pool ``history`` keeps the old size of
every level that changed, for as long as any agent may not know of the change.
"""

import numpy as np

from marketsim.codes import Feed
from marketsim.compile import entry, helper
from marketsim.events import Message, tell
from marketsim.ladder import ASKS, BIDS, depth_of, mix
from marketsim.market import (
    agents,
    books,
    header,
    history,
    ladders,
    levels,
    rungs,
    subscriptions,
)

L1, L2 = int(Feed.L1), int(Feed.L2)
TELL_L1, TELL_L2 = int(Message.L1), int(Message.L2)


@helper
def touch(m, b, ladder):  # type: ignore[no-untyped-def]
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
def depth_state(m, b, count):  # type: ignore[no-untyped-def]
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
def publish(m, b):  # type: ignore[no-untyped-def]
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
def first_unknown(m, known_ns):  # type: ignore[no-untyped-def]
    """Index of the first change after ``known_ns``; the number of changes if there is none."""
    h = header(m)
    i = h.history_count
    if h.horizon_ns == 0:
        return i
    mask = h.history_capacity - 1
    oldest = max(0, i - h.history_capacity)
    while i > oldest and history(m, (i - 1) & mask).time_ns > known_ns:
        i -= 1
    return i


@helper
def old_levels(m, b, ladder, first, prices, lots):  # type: ignore[no-untyped-def]
    """Levels that changed since change ``first`` with their sizes before it, best price first."""
    h = header(m)
    mask = h.history_capacity - 1
    side = 1 - 2 * ladder
    count = 0
    for i in range(first, h.history_count):
        entry_ = history(m, i & mask)
        if entry_.symbol != b or entry_.side != side:
            continue
        price = entry_.price_ticks
        at = 0
        while at < count and (prices[at] - price) * side > 0:
            at += 1
        if at < count and prices[at] == price:
            continue  # an older change of this level was found first
        for j in range(count, at, -1):
            prices[j] = prices[j - 1]
            lots[j] = lots[j - 1]
        prices[at] = price
        lots[at] = entry_.old_lots
        count += 1
    return count


@helper
def depth_at(m, b, ladder, known_ns, out):  # type: ignore[no-untyped-def]
    """Best visible levels as of ``known_ns`` into ``out`` (int64[n, 2]); returns how many."""
    first = first_unknown(m, known_ns)
    newer = header(m).history_count - first
    if newer == 0:
        return depth_of(m, b, ladder, out)
    prices = np.empty(newer, np.int64)
    lots = np.empty(newer, np.int64)
    changed = old_levels(m, b, ladder, first, prices, lots)
    width = header(m).ladder_levels
    side = 1 - 2 * ladder
    i = ladders(m, 4 * b + ladder).levels - 1
    j = 0
    row = 0
    while row < len(out) and (i >= 0 or j < changed):
        take_old = i < 0
        if i >= 0 and j < changed:
            level_price = levels(m, rungs(m, (4 * b + ladder) * width + i).level).price_ticks
            take_old = (prices[j] - level_price) * side >= 0
            if prices[j] == level_price:
                i -= 1
        if take_old:
            price, size = prices[j], lots[j]
            j += 1
        else:
            level = levels(m, rungs(m, (4 * b + ladder) * width + i).level)
            price, size = level.price_ticks, level.visible_lots
            i -= 1
        if size > 0:
            out[row, 0] = price
            out[row, 1] = size
            row += 1
    return row


@entry
def view_depth(m, agent, b, ladder, out):  # type: ignore[no-untyped-def]
    """Depth of one side as an agent knows it."""
    return depth_at(m, b, ladder, header(m).now_ns - agents(m, agent).latency_ns, out)


@entry
def view_touch(m, agent, b):  # type: ignore[no-untyped-def]
    """Touch as an agent knows it, into the header's mail: bid, its lots, ask, its lots."""
    h = header(m)
    known_ns = h.now_ns - agents(m, agent).latency_ns
    out = np.zeros((1, 2), np.int64)
    depth_at(m, b, BIDS, known_ns, out)
    h.mail0 = out[0, 0]
    h.mail1 = out[0, 1]
    out[0, 0] = 0
    out[0, 1] = 0
    depth_at(m, b, ASKS, known_ns, out)
    h.mail2 = out[0, 0]
    h.mail3 = out[0, 1]


@entry
def view_trades(m, agent, b):  # type: ignore[no-untyped-def]
    """Traded lots and last price as an agent knows them, into the header's mail."""
    h = header(m)
    book = books(m, b)
    h.mail0 = book.volume_lots
    h.mail1 = book.last_ticks
    first = first_unknown(m, h.now_ns - agents(m, agent).latency_ns)
    for i in range(first, h.history_count):
        change = history(m, i & (h.history_capacity - 1))
        if change.symbol == b and change.side == 0:
            h.mail0 = change.old_lots
            h.mail1 = change.price_ticks
            break
