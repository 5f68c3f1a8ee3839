"""What a learning agent knows of the book's depth: as it was one latency ago."""

from marketsim.compile import helper
from marketsim.envs.learner import learner, put
from marketsim.ladder import ASKS, BIDS, find_level
from marketsim.market import agents, header, history, ladders, levels, rungs
from marketsim.market_data import best_behind, best_known, changed_since, first_unknown


@helper
def depth_lots(m, agent, ladder, near):
    """Visible lots of a side as the agent knows it: of its best ``near`` levels, and of all."""
    b = agents(m, agent).symbol
    h = header(m)
    first = first_unknown(m, h.now_ns - agents(m, agent).latency_ns)
    total = ladders(m, 4 * b + ladder).visible_lots
    best = seen = 0
    if first == h.history_count:
        base = (4 * b + ladder) * h.ladder_levels
        i = ladders(m, 4 * b + ladder).levels - 1
        while i >= 0 and seen < near:
            lots = levels(m, rungs(m, base + i).level).visible_lots
            if lots > 0:
                best += lots
                seen += 1
            i -= 1
        return best, total
    side = 1 - 2 * ladder
    for i in range(first, h.history_count):  # of each changed level, the oldest size counts
        change = history(m, i & (h.history_capacity - 1))
        if change.symbol != b or change.side != side:
            continue
        if not changed_since(m, b, side, change.price_ticks, first, i):
            level = find_level(m, b, ladder, change.price_ticks)
            total += change.old_lots - (levels(m, level).visible_lots if level >= 0 else 0)
    price, lots = best_known(m, b, ladder, first)
    while lots > 0 and seen < near:
        best += lots
        seen += 1
        price, lots = best_behind(m, b, ladder, first, price)
    return best, total


@helper
def imbalance(bids, asks):
    """(bids - asks) / (bids + asks), from -1 to 1; 0 of an empty book."""
    return (bids - asks) / (bids + asks) if bids + asks > 0 else 0.0


@helper
def sweep_cost(m, agent, side, lots):
    """What taking so many lots at once would cost [tick·lots]: the sum of price times lots.

    Beyond the last visible level the book is taken to go on as steeply as it was between its best
    and its last. With no level at all the mid counts.
    """
    b = agents(m, agent).symbol
    ladder = ASKS if side > 0 else BIDS
    first = first_unknown(m, header(m).now_ns - agents(m, agent).latency_ns)
    price, shown = best_known(m, b, ladder, first)
    if shown == 0:
        return lots * learner(m, agent).mid
    best = worst = price
    cost = 0.0
    taken = 0
    while shown > 0 and taken < lots:
        step = min(shown, lots - taken)
        cost += float(step) * price
        taken += step
        worst = price
        price, shown = best_behind(m, b, ladder, first, price)
    left = float(lots - taken)
    if left > 0.0:
        cost += left * (worst + 0.5 * (worst - best) * left / taken)
    return cost


@helper
def put_imbalances(m, agent, row, at):
    """Imbalance of the book's visible lots: all levels, then the best five of each side."""
    near_bids, bids = depth_lots(m, agent, BIDS, 5)
    near_asks, asks = depth_lots(m, agent, ASKS, 5)
    at = put(row, at, imbalance(bids, asks))
    return put(row, at, imbalance(near_bids, near_asks))
