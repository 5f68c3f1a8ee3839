"""Whether an order fits into the block, whatever it meets; if not, what has to grow."""

from marketsim.compile import helper
from marketsim.ladder import (
    ASKS,
    BIDS,
    BUY_STOPS,
    SELL_STOPS,
)
from marketsim.market import ask_for, header, ladders, levels, orders, rungs
from marketsim.matching import MARKET, SELF_TRADE_MASK
from marketsim.records import POOL_NAMES

OUTCOMES, ORDERS = POOL_NAMES.index("outcomes"), POOL_NAMES.index("orders")
LEVELS, RUNGS = POOL_NAMES.index("levels"), POOL_NAMES.index("rungs")


@helper
def room(m, b, side, price, size, flags):
    """Whether one more order fits whatever it meets; if not, the header says what must grow."""
    h = header(m)
    if h.orders_live + 1 > h.orders_capacity:
        ask_for(m, ORDERS, h.orders_live + 1)
        return False
    if h.levels_live + 1 > h.levels_capacity:
        ask_for(m, LEVELS, h.levels_live + 1)
        return False
    most = max(ladders(m, 4 * b + BIDS).levels, ladders(m, 4 * b + ASKS).levels)
    most = max(most, ladders(m, 4 * b + BUY_STOPS).levels, ladders(m, 4 * b + SELL_STOPS).levels)
    if most + 1 > h.ladder_levels:
        ask_for(m, RUNGS, (most + 1) * 2 * h.ladders_capacity)
        return False
    met = most_met(m, b, side, price, size, flags, h.outcomes_capacity - h.outcomes_count)
    if h.outcomes_count + met > h.outcomes_capacity:
        ask_for(m, OUTCOMES, h.outcomes_count + met)
        return False
    return True


@helper
def most_met(m, b, side, price, size, flags, enough):
    """Upper bound of the outcomes of one order; counted only where the cheap bound fails."""
    if side != 1 and side != -1:
        return 4  # it will be refused
    ladder = (1 + side) >> 1
    opposite = ladders(m, 4 * b + ladder)
    own_orders_vanish = flags & SELF_TRADE_MASK  # without using up any of the size
    cheap = size if opposite.icebergs > 0 else min(size, opposite.orders)
    if own_orders_vanish:
        cheap = opposite.orders if opposite.icebergs == 0 else max(enough, 0)
    if cheap <= (enough - 4) >> 1:
        return 2 * cheap + 4
    met = 0
    left = size
    base = (4 * b + ladder) * header(m).ladder_levels
    i = opposite.levels - 1
    while i >= 0 and left > 0:
        level = levels(m, rungs(m, base + i).level)
        if not flags & MARKET and (level.price_ticks - price) * side > 0:
            break
        for queue in range(2):
            slot = level.head if queue == 0 else level.hidden_head
            while slot >= 0 and left > 0:
                order = orders(m, slot)
                met += 1
                if order.display_lots > 0:
                    met += order.reserve_lots // order.display_lots + 1
                if not own_orders_vanish:
                    left -= order.size_lots
                slot = order.next
        i -= 1
    return 2 * met + 4
