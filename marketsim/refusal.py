"""Whether the exchange takes an order or a request, compiled; if not, the reason."""

from marketsim.codes import Flag, Reject
from marketsim.compile import helper
from marketsim.events import Message
from marketsim.market import NO_PRICE, books, header, messages, orders, rules
from marketsim.matching import MARKET, STOP, check, crosses, fillable
from marketsim.rules import (
    CALL,
    FORBIDDEN,
    IS_HALTED,
    SHORT_SALE,
    SHUT,
    STOPPED,
    bound_market,
    entry_refusal,
    off_lot,
    short_refused,
    table_refusal,
)

CANCEL, REPLACE = int(Message.CANCEL), int(Message.REPLACE)
POST_ONLY, FOK, IOC = int(Flag.POST_ONLY), int(Flag.FOK), int(Flag.IOC)
DAY = int(Flag.DAY)
TICK, LOT, SESSION = int(Reject.TICK), int(Reject.LOT), int(Reject.SESSION)
HALTED, NOT_OWNER = int(Reject.HALTED), int(Reject.NOT_OWNER)
UNKNOWN_ORDER, SIZE, FLAGS = int(Reject.UNKNOWN_ORDER), int(Reject.SIZE), int(Reject.FLAGS)
WOULD_TAKE, NOT_FILLABLE = int(Reject.WOULD_TAKE), int(Reject.NOT_FILLABLE)
AUCTION = int(Reject.AUCTION)
MAX_NOTIONAL = 1 << 56  # tick·lots of one order: sums of many still fit into 64 bits


@helper
def closed(m, b):
    """0, or why nothing can be entered now."""
    h = header(m)
    if h.now_ns < h.open_ns or h.now_ns >= h.close_ns:
        return SESSION
    state = books(m, b).state
    if state & SHUT:
        return SESSION
    return HALTED if state & (IS_HALTED | STOPPED) else 0


@helper
def waits(m, b, side, stop, flags):
    """Whether a stop is pending: in a call phase every one is."""
    book = books(m, b)
    if not flags & STOP:
        return False
    if book.state & CALL or not book.traded:
        return True
    return (book.last_ticks - stop) * side < 0


@helper
def ruled(m, b, agent, side, price, size, display, stop, flags):
    """0, or the rule of the phase or of the market that an order breaks."""
    reason = table_refusal(m, b, price, size, display, stop, flags)
    if reason:
        return reason
    if books(m, b).state & CALL and not flags & STOP and flags & (IOC | FOK | POST_ONLY):
        return AUCTION
    if not waits(m, b, side, stop, flags):
        return entry_refusal(m, b, agent, side, price, size, flags, -1)
    if rules(m, b).short_rule == FORBIDDEN and side < 0:
        if short_refused(m, b, agent, price, size, flags, -1):
            return SHORT_SALE
    return 0


@helper
def refusal(m, b, agent, side, price, size, display, stop, flags):
    """0, or the reason why an order is not taken."""
    reason = closed(m, b)
    if reason:
        return reason
    bad = check(side, price, size, display, stop, flags)
    if bad:
        return -bad
    book = books(m, b)
    if not flags & MARKET and abs(price) > MAX_NOTIONAL // size:
        return SIZE
    if not flags & MARKET and price % book.tick != 0:
        return TICK
    if flags & STOP and stop % book.tick != 0:
        return TICK
    if size % book.lot != 0 or display % book.lot != 0:
        return LOT
    if book.state:
        reason = ruled(m, b, agent, side, price, size, display, stop, flags)
        if reason or book.state & CALL:
            return reason
    if waits(m, b, side, stop, flags):
        return 0  # what it stands for is looked at when it enters
    if flags & POST_ONLY and crosses(m, b, side, price):
        return WOULD_TAKE
    if flags & FOK:
        if flags & MARKET and book.state:
            price, flags = bound_price(m, b, side, price), bound_flags(m, b, side, flags)
        if not fillable(m, b, agent, side, price, size, flags):
            return NOT_FILLABLE
    return 0


@helper
def bound_price(m, b, side, price):
    """Price up to which a market order trades within the limits, if there are any."""
    limit = bound_market(m, b, side)
    return price if limit == NO_PRICE else limit


@helper
def bound_flags(m, b, side, flags):
    """Flags of a market order that trades up to :func:`bound_price` and never rests."""
    if bound_market(m, b, side) == NO_PRICE:
        return flags
    return flags & ~(MARKET | DAY) | (0 if flags & FOK else IOC)


@helper
def change_refusal(m, slot, order_slot):
    """0, or the reason why a cancel, reduce or replace is not taken."""
    message = messages(m, slot)
    h = header(m)
    if h.now_ns < h.open_ns or h.now_ns >= h.close_ns:
        return SESSION
    if order_slot < 0 and books(m, message.symbol).state & SHUT:
        return SESSION
    if order_slot < 0:
        return UNKNOWN_ORDER
    order = orders(m, order_slot)
    if order.agent != message.sender:
        return NOT_OWNER
    book = books(m, order.symbol)
    if book.state & SHUT:
        return SESSION
    if message.kind == CANCEL:
        return 0
    size = message.size_lots
    if size < 1:
        return SIZE
    if size % book.lot != 0:
        return LOT
    if message.kind == REPLACE:
        return replace_refusal(m, order_slot, message.price_ticks, size)
    if book.state and off_lot(m, order.symbol, order.price_ticks, size):
        return LOT
    return 0


@helper
def replace_refusal(m, order_slot, price, size):
    """0, or the reason why an order cannot be replaced by one of this price and size."""
    order = orders(m, order_slot)
    b, side, flags = order.symbol, order.side, order.flags
    book = books(m, b)
    if book.state & (IS_HALTED | STOPPED):
        return HALTED
    if flags & (STOP | MARKET):
        return FLAGS
    bad = check(side, price, size, 0, 0, 0)
    if bad:
        return -bad
    if price % book.tick != 0:
        return TICK
    stays = price == order.price_ticks and size <= order.size_lots + order.reserve_lots
    if book.state:
        reason = table_refusal(m, b, price, size, 0, 0, flags)
        if not reason and not stays:
            reason = entry_refusal(m, b, order.agent, side, price, size, flags, order_slot)
        if reason or stays:
            return reason
        if book.state & CALL:
            return AUCTION if flags & POST_ONLY else 0
    if flags & POST_ONLY and not stays and crosses(m, b, side, price):
        return WOULD_TAKE
    return 0


@helper
def stop_refusal(m, b, agent, side, price, size, flags):
    """0, or the reason why what a stop stood for cannot enter now; the stop is out already."""
    state = books(m, b).state
    if state & (IS_HALTED | STOPPED):
        return HALTED
    return entry_refusal(m, b, agent, side, price, size, flags, -1) if state else 0
