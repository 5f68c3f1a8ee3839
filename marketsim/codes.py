"""The words of the exchange as small integers: sides, order kinds, flags, reasons.

Every enumeration starts at a different place where two of them could be confused in one column.
"""

from enum import IntEnum, IntFlag


class Side(IntEnum):
    """Side of an order; of a trade, the side of its aggressor. ``+1`` buys, ``-1`` sells."""

    BUY = 1
    SELL = -1


class OrderKind(IntEnum):
    """What a row of a tape's ``orders`` table is. 1 to 7 are LOBSTER's event types.

    ``EXECUTION`` rows come from data sources that tell which *resting* order was executed; their
    side is the resting order's. An order that never rests (a market order, or a limit order
    immediate-or-cancel or fill-or-kill) is a ``MARKET`` row; its price is its limit, or 0.
    """

    LIMIT = 1
    REDUCE = 2
    CANCEL = 3
    EXECUTION = 4
    HIDDEN_EXECUTION = 5
    CROSS = 6
    HALT = 7
    MARKET = 8
    REPLACE = 9
    STOP = 10


class Flag(IntFlag):
    """How an order behaves. Bits 8 to 10 hold its :class:`SelfTrade` mode."""

    NONE = 0
    MARKET = 1
    IOC = 2
    FOK = 4
    POST_ONLY = 8
    HIDDEN = 16
    STOP = 32
    DAY = 64


class SelfTrade(IntEnum):
    """What happens when an order meets a resting order of the same agent.

    ``ALLOW`` trades. ``CANCEL_TAKER`` cancels what is left of the incoming order, ``CANCEL_MAKER``
    the resting order, ``CANCEL_BOTH`` both. ``DECREMENT`` takes the smaller size off both.
    """

    ALLOW = 0
    CANCEL_TAKER = 256
    CANCEL_MAKER = 512
    CANCEL_BOTH = 768
    DECREMENT = 1024


class TimeInForce(IntEnum):
    """How long an order lives: until cancelled, until the close, now, or now and whole."""

    GTC = 0
    DAY = 64
    IOC = 2
    FOK = 4


class Reject(IntEnum):
    """Why the exchange refused an order or a request.

    ``AUCTION``: immediate and post-only orders have no place in a call phase.
    """

    DUPLICATE_ID = 101
    SIZE = 102
    PRICE = 103
    TICK = 104
    LOT = 105
    UNKNOWN_ORDER = 106
    NOT_OWNER = 107
    WOULD_TAKE = 108
    NOT_FILLABLE = 109
    SESSION = 110
    HALTED = 111
    FLAGS = 112
    AUCTION = 113
    PRICE_LIMIT = 114
    SHORT_SALE = 115


class Cause(IntEnum):
    """Why a level of the book differs from what the messages explain: the ``reveals`` table.

    ``OPEN`` rested before the first message. ``ADDED``, ``GONE`` and ``RESIZED`` changed while they
    were behind the last visible level. ``UNEXPLAINED`` changed in sight: the data contradict
    themselves.
    """

    OPEN = 201
    ADDED = 202
    GONE = 203
    RESIZED = 204
    UNEXPLAINED = 205


class Outcome(IntEnum):
    """What matching did to an order, in the order in which it happened."""

    FILL = 301
    MAKER_CANCELLED = 302
    TAKER_CANCELLED = 303
    DECREMENTED = 304
    DROPPED = 305
    TRIGGERED = 306


class Cancelled(IntEnum):
    """Why an order, or a part of it, left the market unfilled."""

    REQUESTED = 501
    UNFILLED = 502
    SELF_TRADE = 503
    EXPIRED = 504


class Feed(IntEnum):
    """Market data that agents subscribe to: touch, depth, single orders, trades, auctions, phases.

    ``IMBALANCE`` says in call phases what an auction would do now, ``SESSION`` when a phase begins.
    """

    L1 = 601
    L2 = 602
    L3 = 603
    TRADES = 604
    IMBALANCE = 605
    SESSION = 606


class Phase(IntEnum):
    """What the market does now. In both calls and in a halt orders collect for an auction."""

    OPENING_CALL = 811
    CONTINUOUS = 812
    HALT = 813
    CLOSING_CALL = 814
    BREAK = 815
    CLOSED = 816


class PhaseReason(IntEnum):
    """Why a phase began: its time has come, by a rule, or by a halt in recorded flow."""

    SCHEDULE = 821
    CIRCUIT_BREAKER = 822
    PRICE_LIMIT = 823
    RECORDED = 824


class State(IntFlag):
    """What a book's fast path has to look at before it takes an order; 0 in plain trading.

    ``HALTED`` by recorded flow; ``CALL``: orders rest without matching; ``SHUT``: between periods
    and after the close; ``RULES``: prices or sizes are bound by rules; ``STOPPED`` for the day.
    """

    HALTED = 1
    CALL = 2
    SHUT = 4
    RULES = 8
    STOPPED = 16
