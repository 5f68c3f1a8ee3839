"""Order flow and what models read of it, event by event in plain Python: what is compared with."""

import math
from typing import Any, NamedTuple

import numpy as np

from marketsim.codes import OrderKind
from marketsim.flow import FLOW, LEVELS, Flow
from marketsim.generators.orders import Vocabulary
from marketsim.order_events import Event
from marketsim.tape import Tape
from marketsim.tape_tables import BookTable

LIMIT, CANCEL, MARKET = (int(event) for event in Event)


def naive_flow(tape: Tape, start_ns: int = 0, end_ns: int = 2**62) -> Flow:
    """What :func:`marketsim.flow.flow_of` returns, row by row."""
    names = ("time_ns", "kind", "side", "price_ticks", "size_lots")
    rows = list(zip(*(tape.orders[name].tolist() for name in names), strict=True))
    fills: dict[int, list[tuple[int, int]]] = {}
    names = ("sequence", "price_ticks", "size_lots", "side")
    for row, price, size, side in zip(*(tape.trades[n].tolist() for n in names), strict=True):
        if side:
            fills.setdefault(row, []).append((price, size))
    following: list[Any] = [None] * len(rows)  # time and side of the next execution
    for row in range(len(rows) - 1, 0, -1):
        executed = rows[row][1] == OrderKind.EXECUTION
        following[row - 1] = (rows[row][0], rows[row][2]) if executed else following[row]
    book = tape.book
    events: list[tuple[Any, ...]] = []
    run: list[int] = []  # rows of executions that may be one order
    for row, (time_ns, kind, side, price, size) in enumerate(rows):
        if not start_ns <= time_ns < end_ns:
            continue
        lots = sum(fill[1] for fill in fills.get(row, []))
        done = []
        if kind == OrderKind.EXECUTION:
            run.append(row)
            if following[row] != (time_ns, side):
                total = sum(rows[r][4] for r in run)
                done.append((run[0], MARKET, -side, rows[run[0]][3], total))
                run = []
        if kind in (OrderKind.CANCEL, OrderKind.REDUCE, OrderKind.REPLACE):
            done.append((row, CANCEL, side, price, size))
        if kind in (OrderKind.LIMIT, OrderKind.MARKET, OrderKind.REPLACE) and lots:
            done.append((row, MARKET, side, fills[row][0][0], lots))
        if kind in (OrderKind.LIMIT, OrderKind.REPLACE) and lots < size:
            done.append((row, LIMIT, side, price, size - lots))
        for first, event, order_side, order_price, order_size in done:
            met = book_after(book, first - 1) if first else None
            if met is not None and (event == MARKET or in_sight(met, order_side, order_price)):
                events.append((time_ns, event, order_side, order_price, order_size, met))
    return np.array(events, FLOW)


def in_sight(book: Any, side: int, price: int) -> bool:
    """Whether a price is not beyond the last of ten levels."""
    own = 0 if side > 0 else 2
    last = book[LEVELS - 1]
    return bool(last[own + 1] == 0 or (price - last[own]) * side >= 0)


def book_after(table: BookTable, row: int) -> Any:
    """Book after a row, int64[LEVELS, 4]; the price of an empty level is 0."""
    book = np.zeros((LEVELS, 4), np.int64)
    for level in range(min(LEVELS, table.levels)):
        for place, side in ((0, "bid"), (2, "ask")):
            size = getattr(table, f"{side}_size_lots")[row, level]
            if size > 0:
                book[level, place] = getattr(table, f"{side}_price_ticks")[row, level]
                book[level, place + 1] = size
    return book


class Best(NamedTuple):
    """Best bid and ask [ticks] – an empty side has the other's – and their lots."""

    bid: int
    bid_lots: int
    ask: int
    ask_lots: int

    @classmethod
    def of(cls, book: Any) -> "Best":
        bid, bid_lots, ask, ask_lots = (int(x) for x in book[0])
        return cls(bid if bid_lots else ask, bid_lots, ask if ask_lots else bid, ask_lots)

    def own(self, side: int) -> int:
        return self.bid if side > 0 else self.ask


def naive_bin(edges: Any, value: int) -> int:
    """The bin of a value; beyond the first or last edge that bin."""
    for i in range(len(edges) - 2, 0, -1):
        if value >= edges[i]:
            return i
    return 0


def naive_depth(book: Any, side: int, price: int, unit: int) -> int:
    """Units from the best price of the side, away from the market positive."""
    return math.floor((Best.of(book).own(side) - price) * side / unit)


def naive_symbols(flow: Flow, i: int, v: Vocabulary) -> list[int]:
    """Class, depth bin, size bin, offset bin of an event."""
    event = flow[i]
    side = int(event["side"])
    depth = 0
    if event["kind"] != MARKET:
        depth = naive_depth(event["book"], side, int(event["price_ticks"]), v.unit_ticks)
    return [
        2 * int(event["kind"]) + (side < 0),
        naive_bin(v.depth_edges, depth),
        naive_bin(v.size_edges, int(event["size_lots"])),
        naive_bin(v.offset_edges, gap(flow, i)),
    ]


def gap(flow: Flow, i: int) -> int:
    """Time between an event and the one before it [ns]; 0 of the first."""
    return int(flow["time_ns"][i] - flow["time_ns"][i - 1]) if i else 0


def naive_features(flow: Flow, i: int, v: Vocabulary) -> list[float]:
    """The token before event ``i``: the event before it, and the book that it meets."""
    event, book, unit = flow[i - 1], flow["book"][i], v.unit_ticks
    best, before = Best.of(book), Best.of(event["book"])
    mid = (best.bid + best.ask) / 2
    mid_before = (before.bid + before.ask) / 2
    out = []
    for place, away in ((0, 1), (2, -1)):
        levels = [(int(level[place]), int(level[place + 1])) for level in book]
        out += [math.log1p(max((mid - p) * away / unit, 0)) if n else 6.0 for p, n in levels]
        out += [math.log1p(n) for _, n in levels]
    both = best.bid_lots and best.ask_lots
    out.append(math.log1p(max(best.ask - best.bid, 0) / unit) if both else 6.0)
    out.append(signed_log((mid - mid_before) / unit))
    out.append((best.bid_lots - best.ask_lots) / max(best.bid_lots + best.ask_lots, 1))
    out.append(math.log(gap(flow, i - 1) + 1e3) - math.log(1e6))
    out.append(signed_log((int(event["price_ticks"]) - mid) / unit))
    out.append(math.log1p(int(event["size_lots"])))
    return [(x - m) / d for x, m, d in zip(out, v.mean, v.deviation, strict=True)]


def signed_log(x: float) -> float:
    return math.copysign(math.log1p(abs(x)), x)


def naive_profile(flow: Flow, i: int, v: Vocabulary, recent: int) -> Any:
    """What rests at each depth of the side of event ``i``, float[depths, 3 + recent]."""
    book, side, unit, edges = flow["book"][i], int(flow["side"][i]), v.unit_ticks, v.depth_edges
    best = Best.of(book)
    own, depths = (0 if side > 0 else 2), len(edges) - 1
    out = np.zeros((depths, 3 + recent))
    for level in book:
        if level[own + 1]:
            at = naive_bin(edges, naive_depth(book, side, int(level[own]), unit))
            out[at, 0] += level[own + 1]
            out[at, 1] = 1
    out[:, 0] = np.log1p(out[:, 0]) * 0.2
    room = (best.ask - best.bid) // unit if best.bid_lots and best.ask_lots else 2**40
    for at in range(depths):
        inside = int(edges[at + 1]) - 1 + room
        out[at, 2] = math.log1p(inside) * 0.2 if inside > 0 else 0
    for back in range(recent):
        j = i - 1 - back
        if j < 0:
            continue
        depth = naive_depth(book, side, int(flow["price_ticks"][j]), unit)
        if edges[0] <= depth < edges[-1]:
            mark = {LIMIT: 1, CANCEL: -1, MARKET: 0.5}[int(flow["kind"][j])]
            out[naive_bin(edges, depth), 3 + back] = mark
    return out


def naive_level(flow: Flow, i: int, v: Vocabulary) -> int:
    """Size bin of the lots at an event's depth; of a market order, of what it meets."""
    event, book = flow[i], flow["book"][i]
    side, best = int(event["side"]), Best.of(book)
    if event["kind"] == MARKET:
        return naive_bin(v.size_edges, best.ask_lots if side > 0 else best.bid_lots)
    wanted = naive_symbols(flow, i, v)[1]
    own = 0 if side > 0 else 2
    lots = sum(
        int(level[own + 1])
        for level in book
        if level[own + 1]
        and naive_bin(v.depth_edges, naive_depth(book, side, int(level[own]), v.unit_ticks))
        == wanted
    )
    return naive_bin(v.size_edges, lots)
