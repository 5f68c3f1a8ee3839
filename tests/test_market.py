"""The block of memory: growth, copies, bytes, and checks of bounds."""

import os
import subprocess
import sys

import numpy as np
import pytest

from marketsim.errors import StateError
from marketsim.market import Market
from marketsim.records import HEADER, POOLS, RECYCLED


def fill(market: Market, seed: int) -> None:
    """Put recognisable bytes into every pool."""
    rng = np.random.default_rng(seed)
    for name in POOLS:
        if name != "index":
            view = market.view(name)
            view[:] = rng.integers(0, 256, view.nbytes, np.uint8).view(view.dtype)


#: Pools whose size follows from the number of symbols or of other records.
FOLLOWING = ("books", "ladders", "index", "history")


@pytest.mark.parametrize("name", [name for name in POOLS if name not in FOLLOWING])
def test_growing_one_pool_keeps_all_others(name: str) -> None:
    market = Market(2, 3)
    fill(market, 1)
    before = {pool: market.view(pool).copy() for pool in POOLS if pool != "history"}
    market.header["now_ns"] = 123
    wanted = 3 * market.capacities[name] + 1
    market.resize(name, wanted)
    assert market.capacities[name] >= wanted
    assert market.header["now_ns"] == 123
    assert market.scalars[0] == 123
    for pool, kept in before.items():
        grown = market.view(pool)
        if pool == "rungs":
            ladders = market.capacities["ladders"]
            width = len(kept) // ladders
            grown = grown.reshape(ladders, -1)[:, :width].reshape(-1)
        same = bool((grown[: len(kept)] == kept).all())
        assert same, pool


def test_growing_the_undo_log_keeps_its_newest_entries() -> None:
    market = Market(history=8)
    for count in range(13):
        market.view("history")["time_ns"][count % 8] = count
    market.header["history_count"] = 13
    market.resize("history", 16)
    ring = market.view("history")["time_ns"]
    assert [int(ring[i % 16]) for i in range(5, 13)] == list(range(5, 13))


def test_pools_do_not_overlap_and_are_aligned() -> None:
    market = Market(3, 7)
    spans = sorted(
        (int(market.header[f"{name}_offset"]), market.view(name).nbytes) for name in POOLS
    )
    end = HEADER.itemsize
    for offset, size in spans:
        assert offset >= end and offset % 64 == 0
        end = offset + size
    assert end <= len(market.block)
    assert market.address % 64 == 0


def test_copy_and_bytes_are_equal_and_independent() -> None:
    market = Market(1, 2)
    market.header["sequence"] = 9
    market.view("kinds")["address"] = 77
    twin = market.copy()
    saved = Market.from_bytes(market.to_bytes())
    market.header["sequence"] = 10
    assert twin.header["sequence"] == saved.header["sequence"] == 9
    assert (saved.view("kinds")["address"] == 0).all()
    assert all(saved.header[f"{name}_free"] == -1 for name in RECYCLED)


@pytest.mark.parametrize("length", [0, 10, HEADER.itemsize, HEADER.itemsize + 64])
def test_bytes_of_something_else_are_refused(length: int) -> None:
    with pytest.raises(StateError, match="saved market"):
        Market.from_bytes(np.zeros(length, np.uint8))


def test_truncated_bytes_are_refused() -> None:
    with pytest.raises(StateError, match="its header says"):
        Market.from_bytes(Market().to_bytes()[:-64])


def test_unknown_pool_is_refused() -> None:
    with pytest.raises(StateError, match="unknown pool 'order'"):
        Market(order=5)


def test_no_memory_is_an_error_and_the_market_lives_on() -> None:
    market = Market()
    market.header["now_ns"] = 5
    with pytest.raises(StateError, match="no memory"):
        market.resize("orders", 1 << 45)
    assert market.header["now_ns"] == 5
    assert market.capacities["orders"] == 256


def test_bounds_are_checked_when_asked_for(tmp_path: "os.PathLike[str]") -> None:
    code = """
from marketsim.compile import entry
from marketsim.market import Market, orders

@entry
def read(m, slot):
    return orders(m, slot).order_id

market = Market()
print(read(market.address, 255))
read(market.address, 256)
"""
    script = os.path.join(tmp_path, "script.py")
    with open(script, "w") as file:
        file.write(code)
    environment = {
        **os.environ, "NUMBA_BOUNDSCHECK": "1", "MARKETSIM_CACHE_DIR": str(tmp_path)
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "0"
    assert "IndexError: slot out of bounds in pool orders" in done.stderr


def test_a_block_moves_into_memory_that_it_is_given_and_out_again() -> None:
    market = Market(1, 4)
    cell = np.zeros(1, np.int64)
    market.bind(cell)
    before = market.block.copy()
    memory = np.empty(len(before) + 640, np.uint8)
    memory = memory[-memory.ctypes.data % 64 :]
    market.move(memory)
    assert market.address == memory.ctypes.data == cell[0]
    assert np.array_equal(market.block, before) and np.shares_memory(market.block, memory)
    market.header["now_ns"] = 7
    assert market.scalars[0] == 7 and market.copy().scalars[0] == 7
    market.move(memory[:64])  # too small: it stays
    assert market.address == memory.ctypes.data
    market.resize("orders", 100_000)  # too large for it now: memory of its own
    assert not np.shares_memory(market.block, memory) and cell[0] == market.address
    assert market.scalars[0] == 7
    market.move(memory)
    market.move(None)
    assert not np.shares_memory(market.block, memory) and cell[0] == market.address
