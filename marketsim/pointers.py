"""Pointers into a market's block, compiled: the only file with pointer code.

An accessor ``(m, slot) -> record`` reaches a record of a pool from the block's address.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic as _intrinsic

from marketsim.compile import BOUNDSCHECK, helper
from marketsim.records import HEADER, POOLS, WORD

intrinsic: Any = _intrinsic


def fetch(dtype: np.dtype[Any], header_field: str | None, itemsize: int = 0) -> Any:
    """Intrinsic ``(m, slot) -> record`` of a pool, or ``(m,) -> record`` of the header.

    ``itemsize`` is the distance of two slots, where that is not the size of a record.
    """
    record = numba.from_dtype(dtype)
    itemsize = itemsize or dtype.itemsize
    field = 0 if header_field is None else HEADER.fields[header_field][1]  # type: ignore[index]

    def build(context: Any, builder: Any, m: Any, slot: Any) -> Any:
        i64 = ir.IntType(64)
        place = builder.inttoptr(builder.add(m, ir.Constant(i64, field)), i64.as_pointer())
        offset = builder.load(place)
        # Offsets change only between calls: the load may be hoisted out of loops.
        offset.set_metadata("invariant.load", builder.module.add_metadata([]))
        base = builder.add(m, offset)
        address = builder.add(base, builder.mul(slot, ir.Constant(i64, itemsize)))
        return builder.inttoptr(address, context.get_value_type(record))

    if header_field is None:

        @intrinsic
        def header_at(typingctx: Any, m: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                return builder.inttoptr(args[0], context.get_value_type(record))

            return record(types.int64), codegen

        return header_at

    @intrinsic
    def record_at(typingctx: Any, m: Any, slot: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return build(context, builder, args[0], args[1])

        return record(types.int64, types.int64), codegen

    return record_at


def accessor(name: str) -> Any:
    """Accessor ``(m, slot) -> record`` of a pool; with bounds checks, it checks the slot."""
    record_at = fetch(POOLS[name], f"{name}_offset")
    if not BOUNDSCHECK:
        return record_at
    capacity = fetch_capacity(name)
    message = f"slot out of bounds in pool {name}"

    @helper
    def checked(m, slot):
        if slot < 0 or slot >= capacity(m):
            raise IndexError(message)
        return record_at(m, slot)

    return checked


def fetch_capacity(name: str) -> Any:
    field = HEADER.fields[f"{name}_capacity"][1]  # type: ignore[index]

    @intrinsic
    def capacity(typingctx: Any, m: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            i64 = ir.IntType(64)
            place = builder.add(args[0], ir.Constant(i64, field))
            return builder.load(builder.inttoptr(place, i64.as_pointer()))

        return types.int64(types.int64), codegen

    return capacity


@intrinsic
def prefetch_line(typingctx: Any, address: Any) -> Any:
    """Ask for the cache line at an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i32, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, i32, i32, i32])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        read, everywhere, data = ir.Constant(i32, 0), ir.Constant(i32, 3), ir.Constant(i32, 1)
        builder.call(fetch, [builder.inttoptr(args[0], pointer), read, everywhere, data])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@helper
def prefetch(address, size):
    """Ask for all cache lines of a stretch of memory."""
    for at in range(0, size, 64):
        prefetch_line(address + at)


@intrinsic
def call_native(typingctx: Any, address: Any, m: Any, until_ns: Any, budget: Any) -> Any:
    """Call an entry point ``(m, until_ns, budget) -> code`` by its address; it never raises."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i64, pointer = ir.IntType(64), ir.IntType(8).as_pointer()
        # numba's own convention: result and exception by reference, status returned.
        kind = ir.FunctionType(
            ir.IntType(32), [i64.as_pointer(), pointer.as_pointer(), i64, i64, i64]
        )
        with builder.goto_entry_block():
            result, exception = builder.alloca(i64), builder.alloca(pointer)
        function = builder.inttoptr(args[0], kind.as_pointer())
        builder.call(function, [result, exception, *args[1:]])
        return builder.load(result)

    return types.int64(types.int64, types.int64, types.int64, types.int64), codegen


def columns_at(dtype: np.dtype[Any]) -> Any:
    """Accessor ``(m, word) -> record`` of named columns that lie in the pool of words."""
    columns = fetch(dtype, "words_offset", WORD.itemsize)
    if not BOUNDSCHECK:
        return columns
    capacity, size = fetch_capacity("words"), dtype.itemsize // WORD.itemsize

    @helper
    def checked(m, word):
        if word < 1 or word + size > capacity(m):
            raise IndexError("columns out of bounds in pool words")
        return columns(m, word)

    return checked


def _value_at(dtype: np.dtype[Any]) -> Any:
    record = numba.from_dtype(dtype)

    @intrinsic
    def value_at(typingctx: Any, address: Any, index: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            place = builder.add(args[0], builder.mul(args[1], ir.Constant(ir.IntType(64), 8)))
            return builder.inttoptr(place, context.get_value_type(record))

        return record(types.int64, types.int64), codegen

    return value_at


#: Word of an array of the caller's: ``(address, index) -> record``.
word_at = _value_at(WORD)
#: Number of an array of float64 of the caller's: ``(address, index) -> record``.
number_at = _value_at(np.dtype([("value", np.float64)]))


@intrinsic
def call_agent(typingctx: Any, address: Any, m: Any, agent: Any, message: Any) -> Any:
    """Call a compiled agent's ``wake(m, agent, message)`` by its address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i64 = ir.IntType(64)
        kind = ir.FunctionType(i64, [i64, i64, i64])
        function = builder.inttoptr(args[0], kind.as_pointer())
        return builder.call(function, args[1:])

    return types.int64(types.int64, types.int64, types.int64, types.int64), codegen
