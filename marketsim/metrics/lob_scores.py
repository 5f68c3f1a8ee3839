"""The scores of LOB-Bench: what is observed of a tape, 21 without a condition and 3 with one.

Definitions are those of Nagy et al. (2025), arXiv:2502.09172, and, where the paper leaves them
open, of the code published with it. Sizes are in lots and prices in ticks: the distances do not
depend on the unit. Rows whose value needs both sides of the book are passed over while a side is
empty.

References
----------
Cont, Kukanov & Stoikov (2014), The price impact of order book events, Journal of Financial
Econometrics 12(1), eq. 4: the contribution of an event to order flow imbalance.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import numpy as np

from marketsim.clock import NS_PER_HOUR, NS_PER_SECOND
from marketsim.metrics.distances import Bins
from marketsim.metrics.flow import CANCELS, EXECUTION, LIMIT, Bools, Floats, Flow, Ints

#: Events over which order flow imbalance is averaged.
OFI_EVENTS = 100
#: Events of a block, of which the volatility that the spread is conditioned on is one number.
VOLATILITY_EVENTS = 500
NS_PER_TENTH = NS_PER_SECOND // 10
#: A time of 0 counts as this many units before its logarithm is taken.
LEAST_TIME = 1e-9
#: A second of which less lies in the session gives no volume.
LEAST_SHARE_OF_SECOND = 0.1


class Condition(StrEnum):
    """How observations are grouped by a conditional score's condition."""

    NONE = "none"
    VALUES = "values"
    DECILES = "deciles"


@dataclass(frozen=True)
class Observations:
    """Values of a score and the messages that each was made from.

    Attributes
    ----------
    values : float64[k]
    first, last : int64[k]
        First and last message, row of the :class:`Flow`, that the value depends on.
    condition : float64[k] or None
        What the value is conditioned on.
    """

    values: Floats
    first: Ints
    last: Ints
    condition: Floats | None = None

    @property
    def size(self) -> int:
        """Number of observations."""
        return len(self.values)


@dataclass(frozen=True)
class Score:
    """A score: how it is observed, and how its values are binned.

    Attributes
    ----------
    unit : of its values.
    needs : what a tape must have to be scored, in words.
    lone : whether a group that only one tape visits counts as an L1 distance of 1; else it is
        passed over.
    """

    name: str
    unit: str
    bins: Bins
    observe: Callable[[Flow], Observations]
    needs: str
    condition: Condition = Condition.NONE
    lone: bool = True

    @property
    def kind(self) -> str:
        """``"unconditional"`` or ``"conditional"``."""
        return "unconditional" if self.condition is Condition.NONE else "conditional"


def _at(rows: Ints, values: Floats | Ints, before: int = 0) -> Observations:
    """Observations at rows; each depends on the ``before`` rows before it too."""
    return Observations(values.astype(np.float64), rows - before, rows)


def _where(flow: Flow, chosen: Bools, values: Floats | Ints) -> Observations:
    rows = np.flatnonzero(chosen)
    return _at(rows, values[rows])


def spread(flow: Flow) -> Observations:
    """Best ask less best bid after each message [ticks]."""
    return _where(flow, flow.two_sided, flow.spread_ticks)


def imbalance(flow: Flow) -> Observations:
    """``(bid - ask) / (bid + ask)`` of the sizes at the touch after each message, -1 to 1."""
    bid, ask = flow.lots("bid"), flow.lots("ask")
    return _where(flow, flow.two_sided, (bid - ask) / np.maximum(bid + ask, 1))


def log_inter_arrival(flow: Flow) -> Observations:
    """Logarithm of the milliseconds since the message before."""
    gap_ms = np.diff(flow.time_ns) / 1e6
    return _at(np.arange(1, flow.size), _log_time(gap_ms), before=1)


def log_time_to_cancel(flow: Flow) -> Observations:
    """Logarithm of the seconds from an order's entry to its first reduction or cancellation.

    Orders that entered before the first message, and those never cancelled, are left out.
    """
    entered = np.flatnonzero((flow.kind == LIMIT) & (flow.order_id != 0))
    gone = np.flatnonzero(np.isin(flow.kind, CANCELS) & (flow.order_id != 0))
    ids, first = np.unique(flow.order_id[entered], return_index=True)
    place = np.searchsorted(ids, flow.order_id[gone])
    known = place < len(ids)
    known[known] = ids[place[known]] == flow.order_id[gone[known]]
    gone, start = gone[known], entered[first[place[known]]]
    gone, start = gone[gone > start], start[gone > start]
    _, once = np.unique(start, return_index=True)  # rows rise: the first cancel of each order
    gone, start = gone[once], start[once]
    in_order = np.argsort(gone)
    gone, start = gone[in_order], start[in_order]
    life_s = (flow.time_ns[gone] - flow.time_ns[start]) / 1e9
    return Observations(_log_time(life_s), start, gone)


def touch_volume(flow: Flow, side: str) -> Observations:
    """Size at the best price of a side after each message [lots]; 0 where it is empty."""
    return _where(flow, np.full(flow.size, flow.levels > 0), flow.lots(side))


def total_volume(flow: Flow, side: str) -> Observations:
    """Size on the first 10 levels of a side after each message [lots]."""
    total = np.zeros(flow.size, np.int64)
    for level in range(flow.levels):
        total += flow.lots(side, level)
    return _where(flow, np.full(flow.size, flow.levels > 0), total)


def depth(flow: Flow, kinds: Sequence[int], side: str) -> Observations:
    """Distance of a message's price from the mid-price after it [ticks]."""
    distance = np.abs(flow.price_ticks - flow.mid_ticks)
    return _where(flow, _chosen(flow, kinds, side) & flow.two_sided, distance)


def limit_level(flow: Flow, side: str) -> Observations:
    """Level, from 1, on which a new order rests in the book after it; up to 10."""
    rows = np.flatnonzero(_chosen(flow, (LIMIT,), side))
    level = _level(flow, rows, 0, side)
    return _at(rows[level > 0], level[level > 0])


def cancel_level(flow: Flow, side: str) -> Observations:
    """Level, from 1, of the order that a message reduces or cancels, in the book before it."""
    rows = np.flatnonzero(_chosen(flow, CANCELS, side))
    rows = rows[rows > 0]
    level = _level(flow, rows, 1, side)
    return _at(rows[level > 0], level[level > 0], before=1)


def volume_a_minute(flow: Flow) -> Observations:
    """Executed lots of each second with an execution, times 60.

    A second that is cut by the session's start or end is scaled up, and left out when less than a
    tenth of it lies inside.
    """
    rows = np.flatnonzero(flow.kind == EXECUTION)
    second, first = np.unique(flow.time_ns[rows] // NS_PER_SECOND, return_index=True)
    if not len(second):
        return _at(rows, rows)
    lots = np.add.reduceat(flow.size_lots[rows], first)
    last = np.append(first[1:], len(rows)) - 1
    from_ns = np.maximum(second * NS_PER_SECOND, flow.start_ns)
    until_ns = np.minimum((second + 1) * NS_PER_SECOND, flow.end_ns)
    share = (until_ns - from_ns) / NS_PER_SECOND
    kept = share >= LEAST_SHARE_OF_SECOND
    values = 60 * lots[kept] / share[kept]
    return Observations(values, rows[first[kept]], rows[last[kept]])


def order_flow_imbalance(flow: Flow) -> Observations:
    """Mean over 100 messages of what each adds to the touch in the bids' favour [lots]."""
    rows = np.arange(OFI_EVENTS, flow.size if flow.levels else 0)
    return _at(rows, _ofi(flow)[: len(rows)], before=OFI_EVENTS)


def imbalance_before_move(flow: Flow, direction: int) -> Observations:
    """Order flow imbalance before a message that moves the mid-price up, not at all or down."""
    rows = np.arange(OFI_EVENTS, flow.size - 1)
    move = flow.mid_change_ticks[rows + 1] if len(rows) else np.empty(0)
    chosen = np.sign(move) == direction
    rows, ofi = rows[chosen], _ofi(flow)[:-1][chosen]
    return Observations(ofi, rows - OFI_EVENTS, rows + 1)


def ask_volume_by_spread(flow: Flow) -> Observations:
    """Size at the best ask, by the spread [lots]."""
    rows = np.flatnonzero(flow.two_sided)
    values = flow.lots("ask")[rows].astype(np.float64)
    return Observations(values, rows, rows, flow.spread_ticks[rows])


def spread_by_hour(flow: Flow) -> Observations:
    """Spread, by the hour of the day [ticks]."""
    rows = np.flatnonzero(flow.two_sided)
    hour = (flow.time_ns[rows] // NS_PER_HOUR).astype(np.float64)
    return Observations(flow.spread_ticks[rows], rows, rows, hour)


def spread_by_volatility(flow: Flow) -> Observations:
    """Spread, by the volatility of the block of 500 messages that it lies in [ticks].

    A block's volatility is the standard deviation of the mid-price's log returns from one tenth of
    a second to the next, of those that follow each other and both have a message; 0 with fewer
    than two returns.
    """
    rows = np.flatnonzero(flow.two_sided & (np.nan_to_num(flow.mid_ticks) > 0))
    block = np.arange(flow.size) // VOLATILITY_EVENTS
    volatility = _block_volatility(flow, rows, block)[block[rows]]
    first = block[rows] * VOLATILITY_EVENTS
    last = np.minimum(first + VOLATILITY_EVENTS, flow.size) - 1
    return Observations(flow.spread_ticks[rows], first, last, volatility)


def _block_volatility(flow: Flow, rows: Ints, block: Ints) -> Floats:
    tenth, blocks = flow.time_ns[rows] // NS_PER_TENTH, int(block[-1]) + 1
    in_block = block[rows]
    ends = np.flatnonzero(
        (np.diff(tenth, append=-1) != 0) | (np.diff(in_block, append=-1) != 0)
    )  # the last row of each tenth of a second in each block
    tenth, in_block = tenth[ends], in_block[ends]
    follows = (np.diff(tenth) == 1) & (np.diff(in_block) == 0)
    returns = np.diff(np.log(flow.mid_ticks[rows[ends]]))[follows]
    of = in_block[1:][follows]
    number = np.bincount(of, minlength=blocks)
    mean = np.bincount(of, returns, blocks) / np.maximum(number, 1)
    squares = np.bincount(of, (returns - mean[of]) ** 2, blocks)
    return np.sqrt(squares / np.maximum(number - 1, 1))


def _log_time(time: Floats) -> Floats:
    return np.log(np.where(time > 0, time, LEAST_TIME))


def _chosen(flow: Flow, kinds: Sequence[int], side: str) -> Bools:
    sign = 1 if side == "bid" else -1
    chosen: Bools = np.isin(flow.kind, kinds) & (flow.side == sign)
    return chosen


def _level(flow: Flow, rows: Ints, before: int, side: str) -> Ints:
    """Level of each message's price in the book ``before`` messages earlier, 0 where on none."""
    level = np.zeros(len(rows), np.int64)
    price = flow.price_ticks[rows]
    for number in range(flow.levels):
        there = flow.lots(side, number)[rows - before] > 0
        level[there & (flow.price(side, number)[rows - before] == price)] = number + 1
    return level


def _ofi(flow: Flow) -> Floats:
    """Mean of ``OFI_EVENTS`` contributions up to each row from ``OFI_EVENTS`` on."""
    contribution = np.zeros(max(flow.size - 1, 0), np.int64)
    for side, sign, empty in (("bid", 1, -(2**62)), ("ask", -1, 2**62)):
        lots = flow.lots(side)
        key = sign * np.where(lots > 0, flow.price(side), empty)  # larger: better
        rises, falls = key[1:] >= key[:-1], key[1:] <= key[:-1]
        contribution += sign * (rises * lots[1:] - falls * lots[:-1])
    upto = np.append(0, np.cumsum(contribution))
    means: Floats = (upto[OFI_EVENTS:] - upto[:-OFI_EVENTS]) / OFI_EVENTS
    return means


_FD, _BOOK = Bins.FREEDMAN_DIACONIS, "a book with both sides"
_SIDES = ("ask", "bid")

#: The scores in the order of the tables.
SCORES: tuple[Score, ...] = (
    Score("spread", "ticks", Bins.VALUES, spread, _BOOK),
    Score("orderbook_imbalance", "share", _FD, imbalance, _BOOK),
    Score("log_inter_arrival_time", "log ms", _FD, log_inter_arrival, "messages"),
    Score("log_time_to_cancel", "log s", _FD, log_time_to_cancel, "orders entered and cancelled"),
    *(
        Score(f"{side}_volume_touch", "lots", _FD, partial(touch_volume, side=side), "a book")
        for side in _SIDES
    ),
    *(
        Score(f"{side}_volume", "lots", _FD, partial(total_volume, side=side), "a book")
        for side in _SIDES
    ),
    *(
        Score(
            f"limit_{side}_order_depth",
            "ticks",
            _FD,
            partial(depth, kinds=(LIMIT,), side=side),
            f"limit orders on the {side} side and {_BOOK}",
        )
        for side in _SIDES
    ),
    *(
        Score(
            f"{side}_cancellation_depth",
            "ticks",
            _FD,
            partial(depth, kinds=CANCELS, side=side),
            f"cancels on the {side} side and {_BOOK}",
        )
        for side in _SIDES
    ),
    *(
        Score(
            f"limit_{side}_order_levels",
            "level",
            Bins.VALUES,
            partial(limit_level, side=side),
            f"limit orders on visible levels of the {side} side",
        )
        for side in _SIDES
    ),
    *(
        Score(
            f"{side}_cancellation_levels",
            "level",
            Bins.VALUES,
            partial(cancel_level, side=side),
            f"cancels on visible levels of the {side} side",
        )
        for side in _SIDES
    ),
    Score("vol_per_min", "lots a minute", _FD, volume_a_minute, "executions of visible orders"),
    Score("ofi", "lots", _FD, order_flow_imbalance, f"more than {OFI_EVENTS} messages and a book"),
    *(
        Score(
            f"ofi_{word}",
            "lots",
            _FD,
            partial(imbalance_before_move, direction=direction),
            f"messages that move the mid {words}, after {OFI_EVENTS} others",
        )
        for word, direction, words in (
            ("up", 1, "up"),
            ("stay", 0, "not at all"),
            ("down", -1, "down"),
        )
    ),
    Score(
        "ask_volume | spread", "lots", Bins.DECILES, ask_volume_by_spread, _BOOK, Condition.VALUES
    ),
    Score(
        "spread | time",
        "ticks",
        Bins.DECILES,
        spread_by_hour,
        _BOOK,
        Condition.VALUES,
        lone=False,  # an hour that a tape does not span is no fault of it
    ),
    Score(
        "spread | volatility",
        "ticks",
        Bins.VALUES,
        spread_by_volatility,
        _BOOK,
        Condition.DECILES,
    ),
)
UNCONDITIONAL = tuple(score for score in SCORES if score.condition is Condition.NONE)
