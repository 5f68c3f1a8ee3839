"""The learning agent inside a market: compiled, moved from outside, its whole state in the block.

It works an order on each side, and a market order: a task says what it wants there, and the learner
gets there by the exchange's messages – it takes back what stands in the way, waits for the answer,
and only then sends the new order, so that it never has more in the market than it means to.
"""

import math
from typing import Any

import numpy as np

from marketsim.account import account_of
from marketsim.compile import helper
from marketsim.events import Message, ask
from marketsim.ladder import ASKS, BIDS, find_level
from marketsim.market import (
    NO_PRICE,
    accounts,
    agents,
    books,
    columns_at,
    header,
    history,
    ladders,
    levels,
    messages,
    number_at,
    rungs,
)
from marketsim.market_data import best_known, changed_since, first_unknown, trades_known
from marketsim.population import (
    CANCEL,
    FILLED,
    REFUSED,
    WAKE,
    callback,
    columns,
    limit_order,
    market_order,
    on_grid,
    touch_seen,
    whole_lots,
)
from marketsim.records import WORD

CANCELLED = int(Message.CANCELLED)
#: Price of a wish for a market order.
AT_MARKET = NO_PRICE
#: Lots that nobody trades: no limit.
NO_LIMIT = 1 << 60

#: Of every task. ``step`` of ``steps`` since ``start_ns``; ``budget_lots``: what it may still
#: trade; mids [ticks] now and at the last three steps; the spread and the last price that it saw;
#: volume and notional of its symbol at the start; ``fees_micro``: told with its fills; ``worth``:
#: what its rewards were last measured from.
LEARNER = columns(
    start_ns=int, step=int, steps=int, budget_lots=int, taker_id=int, taker_left=int, rejects=int,
    fills=int, fees_micro=int, volume_lots=int, notional=int, spread=int, last_ticks=int,
    mid=float, mid_1=float, mid_2=float, mid_3=float, arrival=float, worth=float,
)  # fmt: skip
#: The order that it works on one side, and the one that it wants there instead (0 lots: none).
SLOT = columns(order_id=int, left=int, price=int, cancelling=int, wanted_lots=int, wanted_price=int)
_LEARNER_WORDS = LEARNER.itemsize // WORD.itemsize
_SLOT_WORDS = SLOT.itemsize // WORD.itemsize
#: Words in front of a task's own.
COMMON_WORDS = _LEARNER_WORDS + 2 * _SLOT_WORDS

#: A row of numbers between Python and a task: its action, then what came of it.
ACTION, REWARD, TERMINATED, TRUNCATED, OBSERVATION = 0, 4, 5, 6, 8
_learner, _slot = columns_at(LEARNER), columns_at(SLOT)


@helper
def learner(m, agent):
    """The state that all tasks have."""
    return _learner(m, agents(m, agent).state)


@helper
def slot_of(m, agent, side):
    """The order that is worked on a side."""
    ladder = (1 - side) >> 1
    return _slot(m, agents(m, agent).state + _LEARNER_WORDS + ladder * _SLOT_WORDS)


def task_state(dtype: np.dtype[Any]) -> Any:
    """Accessor ``(m, agent) -> record`` of what a task keeps beside the learner's state."""
    fetch = columns_at(dtype)

    @helper
    def state(m, agent):
        return fetch(m, agents(m, agent).state + COMMON_WORDS)

    return state


@callback(WAKE)
def _wake(m, agent, message):
    """An answer of the exchange: keep count, and send what waited for it."""
    me, heard = learner(m, agent), messages(m, message)
    kind, order_id = heard.kind, heard.order_id
    if kind != FILLED and kind != CANCELLED and kind != REFUSED:
        return 0
    if kind == FILLED:
        me.budget_lots -= heard.size_lots
        me.fees_micro += heard.c
        me.fills += 1
    elif kind == REFUSED:
        me.rejects += 1
    if me.taker_left > 0 and order_id == me.taker_id:
        me.taker_left = 0 if kind == REFUSED else me.taker_left - heard.size_lots
        return 0
    for side in (1, -1):
        slot = slot_of(m, agent, side)
        if slot.left > 0 and order_id == slot.order_id:
            slot.left = 0 if kind == REFUSED else slot.left - heard.size_lots
            if slot.left <= 0:
                send_wanted(m, agent, side)
    return 0


@helper
def free_lots(m, agent):
    """What may be traded beyond the market order that is on its way."""
    me = learner(m, agent)
    return me.budget_lots - me.taker_left


@helper
def send_wanted(m, agent, side):
    """Nothing stands in the way any more: send the order that is wanted on a side."""
    me, slot = learner(m, agent), slot_of(m, agent, side)
    slot.left = 0
    slot.cancelling = 0
    lots = min(slot.wanted_lots, free_lots(m, agent))
    slot.wanted_lots = 0
    if lots <= 0:
        return
    if slot.wanted_price == AT_MARKET:
        me.taker_id = market_order(m, agent, side, lots)
        me.taker_left = lots
        return
    slot.price = on_grid(m, agent, side, slot.wanted_price)
    slot.left = lots
    slot.order_id = limit_order(m, agent, side, lots, slot.price)


@helper
def take_back(m, agent, side):
    """Want nothing on a side."""
    slot = slot_of(m, agent, side)
    slot.wanted_lots = 0
    if slot.left > 0 and not slot.cancelling:
        slot.cancelling = 1
        ask(m, CANCEL, agent, agents(m, agent).symbol, slot.order_id, 0, 0, 0, 0, 0, 0)


@helper
def want(m, agent, side, lots, price):
    """Want an order of so many lots at a price, or :data:`AT_MARKET`; 0 lots: want none.

    One that rests at that price with that size stays where it is in the queue.
    """
    slot = slot_of(m, agent, side)
    if slot.left > 0:
        same = slot.left == lots and price != AT_MARKET
        if same and not slot.cancelling and slot.price == on_grid(m, agent, side, price):
            slot.wanted_lots = 0
            return
        take_back(m, agent, side)
    slot.wanted_lots = lots
    slot.wanted_price = price
    if slot.left <= 0:
        send_wanted(m, agent, side)


@helper
def whole(m, agent, lots):
    """Lots rounded down to what the symbol takes; 0 when that is less than its smallest."""
    return 0 if lots < whole_lots(m, agent, 1) else whole_lots(m, agent, lots)


# -- what it sees ----------------------------------------------------------------------------


@helper
def next_known(m, b, ladder, first, beyond):
    """Best level worse than the price ``beyond``, before change ``first``: price, lots (0: none).

    Equivalent to :func:`marketsim.market_data.best_known` of a book without the better levels.
    """
    h = header(m)
    mask = h.history_capacity - 1
    side = 1 - 2 * ladder
    price = lots = 0
    for i in range(first, h.history_count):
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
def depth_lots(m, agent, ladder, near):
    """Visible lots of a side as the agent knows it: of its best ``near`` levels, and of all."""
    b = agents(m, agent).symbol
    h = header(m)
    first = first_unknown(m, h.now_ns - agents(m, agent).latency_ns)
    base = (4 * b + ladder) * h.ladder_levels
    total = best = seen = 0
    for i in range(ladders(m, 4 * b + ladder).levels - 1, -1, -1):
        lots = levels(m, rungs(m, base + i).level).visible_lots
        total += lots
        if lots > 0 and seen < near:
            best += lots
            seen += 1
    if first == h.history_count:
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
    best = seen = 0
    while lots > 0 and seen < near:
        best += lots
        seen += 1
        price, lots = next_known(m, b, ladder, first, price)
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
        price, shown = next_known(m, b, ladder, first, price)
    left = float(lots - taken)
    if left > 0.0:
        cost += left * (worst + 0.5 * (worst - best) * left / taken)
    return cost


@helper
def look(m, agent):
    """Note the touch and the last price, as the agent knows them now; whether it has a mid.

    When a side is empty the mid and the spread stay as they were.
    """
    me = learner(m, agent)
    bid, bid_lots, ask_, ask_lots = touch_seen(m, agent)
    known_ns = header(m).now_ns - agents(m, agent).latency_ns
    _, _, last_ticks = trades_known(m, agents(m, agent).symbol, known_ns)
    me.last_ticks = last_ticks
    if bid_lots > 0 and ask_lots > 0:
        me.mid = 0.5 * (bid + ask_)
        me.spread = ask_ - bid
        return True
    return False


@helper
def begin_episode(m, agent, steps, budget_lots):
    """The first look of an episode; False if there is no mid yet."""
    me = learner(m, agent)
    book = books(m, agents(m, agent).symbol)
    me.start_ns = header(m).now_ns
    me.steps = steps
    me.budget_lots = budget_lots
    me.volume_lots = book.volume_lots
    me.notional = book.notional
    if not look(m, agent):
        return False
    me.mid_1 = me.mid_2 = me.mid_3 = me.arrival = me.mid
    return True


@helper
def next_step(m, agent):
    """Look again, one step later; returns whether it was the last."""
    me = learner(m, agent)
    me.mid_3 = me.mid_2
    me.mid_2 = me.mid_1
    me.mid_1 = me.mid
    me.step += 1
    look(m, agent)
    return me.step >= me.steps


@helper
def holdings(m, agent):
    """Lots held, and cash from trades less fees [tick·lots], as far as fills have come."""
    account = accounts(m, account_of(m, agent, agents(m, agent).symbol))
    cash = account.known_cash - learner(m, agent).fees_micro / 1e6
    return account.known_position_lots, cash


# -- what it tells ---------------------------------------------------------------------------


@helper
def squash(x):
    """Anything into (-1, 1); small values stay about what they are."""
    return math.tanh(x)


@helper
def basis_points(m, agent, ticks):
    """A price difference as a share of the arrival price."""
    return 1e4 * ticks / learner(m, agent).arrival


@helper
def put(row, at, value):
    """Write one number of a row; returns the next place."""
    number_at(row, at).value = value
    return at + 1


@helper
def put_moves(m, agent, row, at, scale):
    """The last three changes of the mid, the newest first [``scale`` basis points, squashed]."""
    me = learner(m, agent)
    at = put(row, at, squash(basis_points(m, agent, me.mid - me.mid_1) / scale))
    at = put(row, at, squash(basis_points(m, agent, me.mid_1 - me.mid_2) / scale))
    return put(row, at, squash(basis_points(m, agent, me.mid_2 - me.mid_3) / scale))


@helper
def put_imbalances(m, agent, row, at):
    """Imbalance of the book's visible lots: all levels, then the best five of each side."""
    near_bids, bids = depth_lots(m, agent, BIDS, 5)
    near_asks, asks = depth_lots(m, agent, ASKS, 5)
    at = put(row, at, imbalance(bids, asks))
    return put(row, at, imbalance(near_bids, near_asks))
