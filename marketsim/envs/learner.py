"""The learning agent inside a market: compiled, moved from outside, its whole state in the block.

It works an order on each side, and a market order: a task says what it wants there, and the learner
gets there by the exchange's messages – it takes back what stands in the way, waits for the answer,
and only then sends the new order, so that it never has more in the market than it means to, and
never trades with itself.
"""

import math
from typing import Any

import numpy as np

from marketsim.account import account_of
from marketsim.codes import Reject
from marketsim.compile import helper
from marketsim.events import Message, ask
from marketsim.market import (
    NO_PRICE,
    accounts,
    agents,
    columns_at,
    header,
    messages,
    number_at,
)
from marketsim.market_data import notional_known, trades_known
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

CANCELLED, NOT_CHANGED = int(Message.CANCELLED), int(Message.CHANGE_REJECTED)
UNKNOWN_ORDER = int(Reject.UNKNOWN_ORDER)
#: Price of a wish for a market order.
AT_MARKET = NO_PRICE
#: Lots that nobody trades: no limit.
NO_LIMIT = 1 << 60

#: Of every task. ``step`` of ``steps`` since ``start_ns``; ``budget_lots``: what it may still
#: trade; ``most_lots``: its largest position; ``taker_*``: the market order on its way; mids
#: [ticks] now and at the last three steps; spread and last price that it saw; volume and notional
#: of its symbol as known at the start; ``away``: it has left; ``fees_micro``: told with its fills;
#: ``worth``: what its rewards were last measured from.
LEARNER = columns(
    start_ns=int, step=int, steps=int, budget_lots=int, most_lots=int, taker_id=int, taker_side=int,
    taker_left=int, rejects=int, fills=int, fees_micro=int, volume_lots=int, notional=int,
    spread=int, last_ticks=int, away=int, mid=float, mid_1=float, mid_2=float, mid_3=float,
    arrival=float, worth=float,
)  # fmt: skip
#: The order that it works on one side, and the one that it wants there instead (0 lots: none).
#: ``closing``: it wants a market order of whatever the position is when that can be sent.
SLOT = columns(order_id=int, left=int, price=int, cancelling=int, wanted_lots=int, wanted_price=int,
               closing=int)  # fmt: skip
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
    if kind == NOT_CHANGED:
        cancel_refused(m, agent, order_id, heard.a)
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
    else:
        for side in (1, -1):
            slot = slot_of(m, agent, side)
            if slot.left > 0 and order_id == slot.order_id:
                slot.left = 0 if kind == REFUSED else slot.left - heard.size_lots
                if slot.left <= 0:
                    slot.cancelling = 0
    send_wanted(m, agent, 1)
    send_wanted(m, agent, -1)
    return 0


@helper
def cancel_refused(m, agent, order_id, reason):
    """A cancel that overtook its order is sent again; any other one when a task next asks."""
    for side in (1, -1):
        slot = slot_of(m, agent, side)
        if slot.left > 0 and slot.order_id == order_id:
            slot.cancelling = 0
            if reason == UNKNOWN_ORDER:
                cancel_order(m, agent, side)


@helper
def position_lots(m, agent):
    """Position, as far as fills have come."""
    return accounts(m, account_of(m, agent, agents(m, agent).symbol)).known_position_lots


@helper
def free_lots(m, agent, side):
    """What an order on a side may trade, beside the market order that is on its way."""
    me = learner(m, agent)
    room = me.most_lots - side * position_lots(m, agent)
    if me.taker_side == side:
        room -= me.taker_left
    return min(me.budget_lots - me.taker_left, room)


@helper
def in_the_way(m, agent, side):
    """Whether the order wanted on a side has to wait for another of its own.

    For one on the same side; for one that it would trade with; a market order for all others.
    """
    me, slot, other = learner(m, agent), slot_of(m, agent, side), slot_of(m, agent, -side)
    if slot.left > 0:
        return True
    if slot.wanted_price == AT_MARKET:
        return me.taker_left > 0 or other.left > 0
    if me.taker_left > 0 and me.taker_side != side:
        return True
    return other.left > 0 and side * (slot.wanted_price - other.price) >= 0


@helper
def send_wanted(m, agent, side):
    """Send the order that is wanted on a side, if nothing stands in its way."""
    me, slot = learner(m, agent), slot_of(m, agent, side)
    if slot.wanted_lots == 0 or in_the_way(m, agent, side):
        return
    lots = -side * position_lots(m, agent) if slot.closing else slot.wanted_lots
    lots = whole(m, agent, min(lots, free_lots(m, agent, side)))
    slot.wanted_lots = 0
    if lots == 0:
        return
    if slot.wanted_price == AT_MARKET:
        me.taker_id = market_order(m, agent, side, lots)
        me.taker_side = side
        me.taker_left = lots
        return
    slot.price = slot.wanted_price
    slot.left = lots
    slot.order_id = limit_order(m, agent, side, lots, slot.price)


@helper
def cancel_order(m, agent, side):
    """Ask to cancel what stands on a side, unless that has been asked already."""
    slot = slot_of(m, agent, side)
    if slot.left > 0 and not slot.cancelling:
        slot.cancelling = 1
        ask(m, CANCEL, agent, agents(m, agent).symbol, slot.order_id, 0, 0, 0, 0, 0, 0)


@helper
def take_back(m, agent, side):
    """Want nothing on a side."""
    slot_of(m, agent, side).wanted_lots = 0
    cancel_order(m, agent, side)


@helper
def want(m, agent, side, lots, price):
    """Want an order of so many lots at a price, or :data:`AT_MARKET`; 0 lots: want none.

    One that rests at that price with that size stays where it is in the queue.
    """
    slot = slot_of(m, agent, side)
    if price != AT_MARKET:
        price = on_grid(m, agent, side, price)
    if slot.left == lots and slot.price == price and lots > 0 and not slot.cancelling:
        slot.wanted_lots = 0
        return
    slot.wanted_lots = lots
    slot.wanted_price = price
    slot.closing = 0
    cancel_order(m, agent, side)
    send_wanted(m, agent, side)


@helper
def close_position(m, agent):
    """Take everything back, then trade the position away at the market."""
    held = position_lots(m, agent)
    side = -1 if held > 0 else 1
    take_back(m, agent, -side)
    want(m, agent, side, abs(held), AT_MARKET)
    slot_of(m, agent, side).closing = 1


@callback(WAKE)
def leave(m, agent, row):
    """It acts no more: take everything back."""
    learner(m, agent).away = 1
    take_back(m, agent, 1)
    take_back(m, agent, -1)
    return 0


@callback(WAKE)
def is_away(m, agent, row):
    """Whether it has left."""
    return learner(m, agent).away


@helper
def whole(m, agent, lots):
    """Lots rounded down to what the symbol takes; 0 when that is less than its smallest."""
    return 0 if lots < whole_lots(m, agent, 1) else whole_lots(m, agent, lots)


# -- what it sees ----------------------------------------------------------------------------


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
def turnover_known(m, agent):
    """Lots traded in its symbol, and their price times lots, as the agent knows them now."""
    symbol = agents(m, agent).symbol
    known_ns = header(m).now_ns - agents(m, agent).latency_ns
    volume, _, _ = trades_known(m, symbol, known_ns)
    return volume, notional_known(m, symbol, known_ns)


@helper
def begin_episode(m, agent, steps, budget_lots, most_lots):
    """The first look of an episode; False if there is no mid yet."""
    me = learner(m, agent)
    me.start_ns = header(m).now_ns
    me.steps = steps
    me.budget_lots = budget_lots
    me.most_lots = most_lots
    me.volume_lots, me.notional = turnover_known(m, agent)
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
    """A price difference as a share of the arrival price, or of one tick where that is less."""
    return 1e4 * ticks / max(abs(learner(m, agent).arrival), 1.0)


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
