"""What must hold of a book at every instant, checked record by record in plain Python."""

from marketsim.codes import Flag, State
from marketsim.market import Market

_NAMES = ("bids", "asks", "buy stops", "sell stops")


def broken_invariant(market: Market, book: int) -> str | None:
    """Name of the first invariant that does not hold, or None."""
    try:
        _check(market, book)
    except _Broken as fault:
        return str(fault)
    return None


class _Broken(Exception):
    """An invariant that does not hold."""


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise _Broken(what)


def _check(market: Market, book: int) -> None:
    ladders, rungs = market.view("ladders"), market.view("rungs")
    width = int(market.header["ladder_levels"])
    seen: list[int] = []
    lots = 0
    best: list[int | None] = []
    for ladder in range(4):
        count = int(ladders[4 * book + ladder]["levels"])
        start = (4 * book + ladder) * width
        entries = rungs[start : start + count]
        keys = entries["key"].tolist()
        name = _NAMES[ladder]
        _require(all(a < b for a, b in zip(keys, keys[1:], strict=False)), f"{name}: not sorted")
        slots: list[int] = []
        for key, level in entries.tolist():
            slots += _check_level(market, book, ladder, key, level)
        _require(len(slots) == int(ladders[4 * book + ladder]["orders"]), f"{name}: order count")
        orders = market.view("orders")[slots]
        icebergs = int((orders["display_lots"] > 0).sum())
        _require(icebergs == int(ladders[4 * book + ladder]["icebergs"]), f"{name}: iceberg count")
        if ladder < 2:
            numbers = entries["level"]
            visible = int(market.view("levels")[numbers]["visible_lots"].sum())
            total = int(ladders[4 * book + ladder]["visible_lots"])
            _require(visible == total, f"{name}: visible lots of all levels")
            lots += int(orders["size_lots"].sum() + orders["reserve_lots"].sum())
        best.append(keys[-1] if keys else None)
        seen += slots
    record = market.view("books")[book]
    state = int(record["state"])
    if best[0] is not None and best[1] is not None and not state & State.CALL:
        _require(best[0] < -best[1], "best bid must be below best ask")
    _require(lots == int(record["resting_lots"]), "resting lots must be the sum over orders")
    if record["traded"] and not state & (State.CALL | State.SHUT):
        last = int(record["last_ticks"])
        _require(best[2] is None or -best[2] > last, "a buy stop is triggered and still pending")
        _require(best[3] is None or best[3] < last, "a sell stop is triggered and still pending")
    _check_index(market, seen)


def _check_level(market: Market, book: int, ladder: int, key: int, number: int) -> list[int]:
    level = market.view("levels")[number]
    name = f"{_NAMES[ladder]} at {int(level['price_ticks'])}"
    price = key if ladder in (0, 3) else -key
    _require(int(level["price_ticks"]) == price, f"{name}: key and price differ")
    _require(int(level["ladder"]) == ladder, f"{name}: in the wrong ladder")
    shown = _queue(market, level["head"], level["tail"], number, f"{name}, visible")
    hidden = _queue(market, level["hidden_head"], level["hidden_tail"], number, f"{name}, hidden")
    _require(bool(shown or hidden), f"{name}: empty")
    orders = market.view("orders")
    visible = int(orders[shown]["size_lots"].sum()) if shown else 0
    _require(visible == int(level["visible_lots"]), f"{name}: visible lots")
    for slot in shown + hidden:
        order = orders[slot]
        order_id = int(order["order_id"])
        side = 1 if ladder in (0, 2) else -1
        _require(int(order["side"]) == side, f"order {order_id}: side")
        _require(int(order["symbol"]) == book, f"order {order_id}: symbol")
        _require(int(order["size_lots"]) > 0, f"order {order_id}: size must be > 0")
        _require(int(order["reserve_lots"]) >= 0, f"order {order_id}: reserve must be >= 0")
        pending = bool(int(order["flags"]) & Flag.STOP)
        _require(pending == (ladder > 1), f"order {order_id}: pending and resting differ")
        if not pending:
            _require(int(order["price_ticks"]) == price, f"order {order_id}: price")
            display = int(order["display_lots"])
            fits = display == 0 or int(order["size_lots"]) <= display
            _require(fits, f"order {order_id}: shows more than its display")
            is_hidden = bool(int(order["flags"]) & Flag.HIDDEN)
            _require(is_hidden == (slot in hidden), f"order {order_id}: in the wrong queue")
    return shown + hidden


def _queue(market: Market, head: int, tail: int, level: int, name: str) -> list[int]:
    orders = market.view("orders")
    slots: list[int] = []
    before, slot = -1, int(head)
    while slot >= 0:
        order = orders[slot]
        _require(int(order["prev"]) == before, f"{name}: links are broken")
        _require(int(order["level"]) == level, f"{name}: order of another level")
        slots.append(slot)
        _require(len(slots) <= len(orders), f"{name}: queue is a circle")
        before, slot = slot, int(order["next"])
    _require(before == int(tail), f"{name}: tail is not the last order")
    return slots


def _check_index(market: Market, slots: list[int]) -> None:
    """Every live order is in the id index once; with one book, nothing else is."""
    index = market.view("index")
    used = index[index["slot"] > 0]
    known = dict(zip(used["key"].tolist(), (used["slot"] - 1).tolist(), strict=True))
    _require(len(known) == len(used), "index: an id stands twice")
    ids = market.view("orders")[slots]["order_id"].tolist()
    for order_id, slot in zip(ids, slots, strict=True):
        _require(known.get(order_id) == slot, f"index: order {order_id} is not found")
    if market.capacities["books"] == 1:
        _require(len(known) == len(slots), "index: holds ids of dead orders")
        live = int(market.header["orders_live"])
        _require(live == len(slots), "pool of orders: live count")
