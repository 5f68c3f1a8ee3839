"""The price of a call auction, compiled, and the feed that says what it would be now.

Candidates are the limit prices of the orders in the book and the reference price: the last trade's,
or before the first the symbol's own. Of these the auction takes the one with the most executable
lots, then with the least lots left over, then nearest to the reference, then the lower. Without a
reference the lower of equals. Market orders rest unseen at the ends of the price axis, and are no
candidates. Lots are all that rest: hidden orders and reserves count.
"""

from marketsim.codes import Feed
from marketsim.compile import helper
from marketsim.events import Message, tell
from marketsim.ladder import ASKS, BIDS, mix
from marketsim.market import (
    NO_PRICE,
    books,
    header,
    ladders,
    levels,
    orders,
    rules,
    rungs,
    subscriptions,
)
from marketsim.matching import MAX_PRICE

IMBALANCE = int(Feed.IMBALANCE)
TELL_IMBALANCE = int(Message.IMBALANCE)


@helper
def level_lots(m, slot):
    """All lots of a level: shown, hidden and in reserve."""
    level = levels(m, slot)
    lots = level.visible_lots
    order_slot = level.head
    while order_slot >= 0:
        lots += orders(m, order_slot).reserve_lots
        order_slot = orders(m, order_slot).next
    order_slot = level.hidden_head
    while order_slot >= 0:
        lots += orders(m, order_slot).size_lots
        order_slot = orders(m, order_slot).next
    return lots


@helper
def auction_reference(m, b):
    """Price that an auction's is to be near: the last trade's, the symbol's own, or NO_PRICE."""
    book = books(m, b)
    if book.traded:
        return book.last_ticks
    return rules(m, b).base_ticks


@helper
def try_price(m, b, price, demand, supply, reference):
    """Keep a candidate if it is better than the best so far."""
    rule = rules(m, b)
    paired = min(demand, supply)
    if paired == 0 or paired < rule.cross_lots:
        return
    surplus = demand - supply
    if paired == rule.cross_lots:
        if abs(surplus) > abs(rule.cross_surplus):
            return
        if abs(surplus) == abs(rule.cross_surplus):
            if reference == NO_PRICE:
                return  # prices come in rising order: the lower was first
            if abs(price - reference) >= abs(rule.cross_ticks - reference):
                return
    rule.cross_ticks = price
    rule.cross_lots = paired
    rule.cross_surplus = surplus


@helper
def find_price(m, b):
    """Where the book would cross now: ``cross_ticks``, ``cross_lots``, ``cross_surplus``.

    Without executable lots there is no price, and the surplus is that of the market orders.
    """
    rule = rules(m, b)
    rule.cross_ticks = NO_PRICE
    rule.cross_lots = 0
    width = header(m).ladder_levels
    bids, asks = 4 * b + BIDS, 4 * b + ASKS
    demand = 0
    for i in range(ladders(m, bids).levels):
        demand += level_lots(m, rungs(m, bids * width + i).level)
    supply = 0
    reference = auction_reference(m, b)
    waits = reference != NO_PRICE
    buy, sell = 0, ladders(m, asks).levels - 1  # the lowest prices of both sides
    while True:
        buy_price = sell_price = MAX_PRICE
        if buy < ladders(m, bids).levels:
            buy_price = levels(m, rungs(m, bids * width + buy).level).price_ticks
        if sell >= 0:
            sell_price = levels(m, rungs(m, asks * width + sell).level).price_ticks
        price = min(buy_price, sell_price)
        if waits and reference <= price:
            price = reference
            waits = False
        if price == MAX_PRICE:
            break
        if sell_price == price:
            supply += level_lots(m, rungs(m, asks * width + sell).level)
            sell -= 1
        if price > -MAX_PRICE:
            try_price(m, b, price, demand, supply, reference)
        if buy_price == price:
            demand -= level_lots(m, rungs(m, bids * width + buy).level)
            buy += 1
    if rule.cross_lots == 0:
        rule.cross_surplus = demand - market_sells(m, b)


@helper
def market_sells(m, b):
    """Lots of the market sell orders of a call phase."""
    count = ladders(m, 4 * b + ASKS).levels
    if count == 0:
        return 0
    slot = rungs(m, (4 * b + ASKS) * header(m).ladder_levels + count - 1).level
    return level_lots(m, slot) if levels(m, slot).price_ticks == -MAX_PRICE else 0


@helper
def publish_imbalance(m, b):
    """Tell subscribers what an auction would do now, when that has changed."""
    rule = rules(m, b)
    known = False
    for i in range(header(m).subscriptions_count):
        subscription = subscriptions(m, i)
        if subscription.feed != IMBALANCE or subscription.symbol != b:
            continue
        if not known:
            find_price(m, b)
            known = True
        price, lots, surplus = rule.cross_ticks, rule.cross_lots, rule.cross_surplus
        state = mix(mix(mix(rule.generation + 1, price), lots), surplus)
        if state == subscription.last:
            continue
        subscription.last = state
        side = 1 if surplus > 0 else (-1 if surplus < 0 else 0)
        agent = subscription.agent
        tell(m, TELL_IMBALANCE, agent, b, 0, side, price, lots, abs(surplus), 0, 0, 0)
