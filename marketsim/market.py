"""The block of memory that is a market: a header and pools of records, copied as bytes.

Compiled code gets the block's address ``m`` and reaches records through the accessors below, so
``orders(m, slot).size_lots -= 100`` reads like Python and costs one store. A block never moves
while compiled code runs: a pool that is full makes the code return, and :meth:`Market.grow` copies
everything into a larger block.
"""

from typing import Any

import numpy as np
from numba.core import types

from marketsim.codes import Phase
from marketsim.compile import helper
from marketsim.errors import StateError
from marketsim.pointers import accessor, fetch
from marketsim.pointers import call_agent as call_agent
from marketsim.pointers import call_native as call_native
from marketsim.pointers import columns_at as columns_at
from marketsim.pointers import number_at as number_at
from marketsim.pointers import prefetch as prefetch
from marketsim.pointers import word_at as word_at
from marketsim.records import (
    FLOW_LEVELS,
    HEADER,
    MAIL,
    PLACE,
    POOL_NAMES,
    POOLS,
    QUEUE_START,
    RECYCLED,
)

header = fetch(HEADER, None)
books = accessor("books")
rules = accessor("rules")
steps = accessor("steps")
prints = accessor("prints")
incidents = accessor("incidents")
ladders = accessor("ladders")
rungs = accessor("rungs")
orders = accessor("orders")
levels = accessor("levels")
index = accessor("index")
outcomes = accessor("outcomes")
agents = accessor("agents")
kinds = accessor("kinds")
accounts = accessor("accounts")
subscriptions = accessor("subscriptions")
messages = accessor("messages")
events = accessor("events")
history = accessor("history")
flow = accessor("flow")
flow_levels = accessor("flow_levels")
scratch = accessor("scratch")
feed = accessor("feed")
words = accessor("words")
counters = accessor("counters")
order_rows = accessor("order_rows")
trade_rows = accessor("trade_rows")
delta_rows = accessor("delta_rows")

#: Signature of a compiled agent: ``wake(m, agent, message slot) -> 0``.
WAKE = types.int64(types.int64, types.int64, types.int64)


class Market:
    """A market's block of memory.

    Parameters
    ----------
    n_books : number of symbols.
    n_agents : number of agents.
    capacities : initial capacity of pools that differ from the default.
    """

    def __init__(self, n_books: int = 1, n_agents: int = 0, **capacities: int) -> None:
        size = {
            "books": n_books, "rules": n_books, "steps": 1, "prints": 1, "incidents": 1,
            "ladders": 4 * n_books, "rungs": 4 * n_books * 64, "orders": 256,
            "levels": 128, "index": 512, "outcomes": 128, "agents": max(n_agents, 1),
            "kinds": 16, "accounts": max(n_agents * n_books, 1), "subscriptions": 8,
            "messages": 256, "events": 256, "history": 1, "flow": 1, "flow_levels": 1,
            "scratch": 64, "feed": 1, "words": 64, "counters": 64,
            "order_rows": 1, "trade_rows": 1, "delta_rows": 1,
        }  # fmt: skip
        unknown = set(capacities) - set(size)
        if unknown:
            raise StateError(f"capacities: unknown pool {sorted(unknown)[0]!r}")
        self._allocate({**size, **capacities})
        head = self.header
        head["agents_count"] = n_agents
        head["books_count"] = n_books
        head["words_count"] = 1  # an offset of 0 means that there is nothing
        for name in RECYCLED:
            head[f"{name}_free"] = -1
        self.view("books")["tick"] = 1
        self.view("books")["lot"] = 1
        self.view("books")["unread"] = NEVER
        plain_rules(self.view("rules"))

    #: A cell of somebody's, int64[1], that holds the block's address too.
    _cell: Any = None

    def bind(self, cell: Any) -> None:
        """Write the block's address into a cell, int64[1], now and whenever the block moves."""
        self._cell = cell
        if cell is not None:
            cell[0] = self.address

    def move(self, memory: Any) -> None:
        """Move the block into memory of the caller's, uint8[n] from a multiple of 64 on.

        There it stays until it grows, and where it is if it does not fit. None: into memory of its
        own. Views that were taken before are invalid, as after growth.
        """
        size = len(self.block)
        if memory is None:
            memory = _zeros(size)
        if len(memory) >= size:
            memory[:size] = self.block
            self._lie_in(memory[:size])

    def _lie_in(self, block: Any) -> None:
        """The block is these bytes from now on."""
        self.block = block
        self.address: int = block.ctypes.data
        self.bind(self._cell)
        self.header: Any = block[: HEADER.itemsize].view(HEADER)[0]
        self.scalars: Any = block[: HEADER.itemsize].view(np.int64)
        self.mail: Any = self.scalars[-len(MAIL) :]

    def _allocate(self, capacities: dict[str, int]) -> None:
        """A zeroed block with these capacities; sets offsets and whatever follows from them."""
        # Every message can be in the queue.
        capacities["events"] = max(capacities["events"], capacities["messages"] + QUEUE_START)
        at = _aligned(HEADER.itemsize)
        offsets = {}
        for name, dtype in POOLS.items():
            offsets[name] = at
            at = _aligned(at + capacities[name] * dtype.itemsize)
        self._lie_in(_zeros(at))
        for name in POOLS:
            self.header[f"{name}_offset"] = offsets[name]
            self.header[f"{name}_capacity"] = capacities[name]
        self.header["ladder_levels"] = capacities["rungs"] // capacities["ladders"]
        self.header["flow_width"] = capacities["flow"] // capacities["books"] & ~1  # 0 is off
        self.header["index_mask"] = capacities["index"] - 1
        self.header["index_shift"] = 64 - int(capacities["index"]).bit_length() + 1

    @property
    def capacities(self) -> dict[str, int]:
        return {name: int(self.header[f"{name}_capacity"]) for name in POOLS}

    def view(self, name: str) -> Any:
        """Structured array over a pool; invalid after the next growth."""
        header = self.header
        offset, count = int(header[f"{name}_offset"]), int(header[f"{name}_capacity"])
        return self.block[offset : offset + count * POOLS[name].itemsize].view(POOLS[name])

    def grow(self) -> None:
        """Make room in the pool that compiled code asked for, and say so to nobody.

        Raises
        ------
        StateError
            If the machine has no memory left.
        """
        name = POOL_NAMES[int(self.header["grow_pool"])]
        self.resize(name, max(int(self.header["grow_needed"]), 2 * self.capacities[name]))

    def resize(self, name: str, capacity: int) -> None:
        """Copy everything into a block in which pool ``name`` has at least ``capacity`` records."""
        capacities = self.capacities
        if name == "rungs":
            capacity = -(-capacity // capacities["ladders"]) * capacities["ladders"]
        if name in ("index", "history"):
            capacity = 1 << (capacity - 1).bit_length()
        if name == "flow":
            width = 1 << (-(-capacity // capacities["books"]) - 1).bit_length()
            capacity = width * capacities["books"]
            capacities["flow_levels"] = capacity * FLOW_LEVELS
        if name == "orders":
            wanted = 1 << (2 * capacity - 1).bit_length()
            capacities["index"] = max(capacities["index"], wanted)
        capacities[name] = capacity
        old_block, old_header = self.block, self.header
        old = {pool: self.view(pool) for pool in POOLS}
        kept = {field: old_header[field] for field in (HEADER.names or ())}
        try:
            self._allocate(capacities)
        except MemoryError:
            self.block, self.header = old_block, old_header
            raise StateError(f"no memory for {capacity} records in pool {name!r}") from None
        for field, value in kept.items():
            if not field.endswith(("_offset", "_capacity")) and field not in PLACE:
                self.header[field] = value
        for pool, source in old.items():
            target = self.view(pool)
            if pool == "rungs":
                ladders_count = capacities["ladders"]
                rows = source.reshape(ladders_count, -1)
                target.reshape(ladders_count, -1)[:, : rows.shape[1]] = rows
            elif pool == "history":
                _move_ring(source, target, int(self.header["history_count"]))
            elif pool in ("flow", "flow_levels") and len(source) not in (1, len(target)):
                self._move_flow(source, target, 1 if pool == "flow" else FLOW_LEVELS)
            elif pool != "index" or len(source) == len(target):
                # As bytes: NumPy copies records field by field.
                target.view(np.uint8)[: source.nbytes] = source.view(np.uint8)
            else:
                self._reindex(source, target)

    def _move_flow(self, source: Any, target: Any, each: int) -> None:
        books = len(self.view("books"))
        rings = zip(source.reshape(books, -1, each), target.reshape(books, -1, each), strict=True)
        for (old, new), rows in zip(rings, self.view("books")["rows"].tolist(), strict=True):
            _move_ring(old, new, rows)

    def _reindex(self, source: Any, target: Any) -> None:
        mask, shift = int(self.header["index_mask"]), int(self.header["index_shift"])
        used = source[source["slot"] > 0]
        with np.errstate(over="ignore"):  # as in ladder.home_of
            groups = (((used["key"] >> 3) * np.int64(HASH)) >> shift) & mask
        homes = (groups & ~7) | (used["key"] & 7)
        for home, entry in zip(homes.tolist(), used, strict=True):
            while target[home]["slot"]:
                home = (home + 1) & mask
            target[home] = entry

    def take_words(self, count: int) -> int:
        """Reserve so many zeroed words; returns the index of the first."""
        first = int(self.header["words_count"])
        if first + count > self.capacities["words"]:
            self.resize("words", max(first + count, 2 * self.capacities["words"]))
        self.header["words_count"] = first + count
        return first

    def reserve_messages(self, count: int) -> None:
        """Make room for so many more messages."""
        needed = int(self.header["messages_live"]) + count
        if needed > self.capacities["messages"]:
            self.resize("messages", needed)

    def copy(self) -> "Market":
        """A market of its own with the same bytes."""
        twin = object.__new__(Market)
        twin._allocate(self.capacities)
        twin.block[:] = self.block
        return twin

    def to_bytes(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The block without what belongs to one process (addresses of compiled agents)."""
        twin = self.copy()
        twin.view("kinds")["address"] = 0
        return twin.block  # type: ignore[no-any-return]

    @classmethod
    def from_bytes(cls, block: np.ndarray[Any, np.dtype[np.uint8]]) -> "Market":
        """The inverse of :meth:`to_bytes`; addresses of compiled agents are the caller's to set.

        Raises
        ------
        StateError
            If the bytes are not a market's of this version.
        """
        if block.dtype != np.uint8 or block.ndim != 1 or len(block) < HEADER.itemsize:
            raise StateError("saved market: too short to hold a header")
        head = block[: HEADER.itemsize].copy().view(HEADER)[0]
        market = object.__new__(cls)
        capacities = {name: int(head[f"{name}_capacity"]) for name in POOLS}
        if min(capacities.values()) < 1 or max(capacities.values()) > 1 << 40:
            raise StateError("saved market: capacities out of range, not a market of this version")
        expected = _aligned(HEADER.itemsize)
        for name, dtype in POOLS.items():
            expected = _aligned(expected + capacities[name] * dtype.itemsize)
        if expected != len(block):
            raise StateError(f"saved market: {len(block)} bytes, its header says {expected}")
        market._allocate(capacities)
        market.block[:] = block
        return market


#: Multiplier of the index's hash, 2**64 / golden ratio, as a signed integer.
HASH = 0x9E3779B97F4A7C15 - (1 << 64)


#: Where a rule has no price.
NO_PRICE = -(1 << 62)
#: First unread row of a book whose rows nobody reads.
NEVER = 1 << 62


def plain_rules(table: Any) -> None:
    """Let books start without a rule, in continuous trading."""
    for name in ("base_ticks", "open_ticks", "auction_ticks", "limit_ticks"):
        table[name] = NO_PRICE
    table["phase"] = table["shown"] = int(Phase.CONTINUOUS)
    table["limit_since_ns"] = table["prints_head"] = table["prints_tail"] = -1


def _zeros(size: int) -> Any:
    """Zeroed bytes from a multiple of 64 on."""
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]


def _aligned(at: int) -> int:
    return (at + 63) // 64 * 64


def _move_ring(source: Any, target: Any, count: int) -> None:
    """Copy the newest entries of a ring of powers of two into a larger one."""
    kept = np.arange(max(0, count - len(source)), count)
    target[kept % len(target)] = source[kept % len(source)]


@helper
def ask_for(m, pool, needed):
    """Note in the header which pool has to grow, and to what."""
    header(m).grow_pool = pool
    header(m).grow_needed = needed
    return 0
