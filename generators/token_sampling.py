"""Drawing the next orders from the categorical heads, compiled; equal to ``TokenHeads``."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketsim.compile import arithmetic, entry, helper
from marketsim.flow import LEVELS
from marketsim.generators.bins import DEPTHS, OFFSETS, SIZES
from marketsim.generators.inference import (
    RECENT_AT,
    add_row_of,
    last_hidden,
    multiply,
    square_relu,
)
from marketsim.generators.orders import (
    CANCEL,
    CLASSES,
    LIMIT,
    MARKET,
    PROFILE,
    RECENT,
    best_of,
    bin_of,
    depth_profile,
    level_bin,
)

POINTER = 16
#: Parts of the heads in the flat array of weights, behind those of the trunk.
HEADS = ("class_head", "depth_head", "size_head", "offset_head")
PARTS = (
    *(f"{head}.{part}" for head in HEADS for part in
      ("hidden.weight", "hidden.bias", "logits.weight", "logits.bias")),
    "given_class.weight", "given_depth.weight", "given_size.weight", "given_level.weight",
    "query.weight", "query.bias", "places.weight", "places.bias",
    "copy_level.weight", "copy_level.bias",
)  # fmt: skip
CLASS_HEAD, DEPTH_HEAD, SIZE_HEAD, OFFSET_HEAD = 0, 4, 8, 12
GIVEN_CLASS, GIVEN_DEPTH, GIVEN_SIZE, GIVEN_LEVEL = 16, 17, 18, 19
QUERY, PLACES, COPY = 20, 22, 24
#: Uniform draws that an order takes.
DRAWS = 7
#: What is written of an order: possible, kind, side, price, size, delay [ns].
POSSIBLE, KIND, SIDE, PRICE, LOTS, DELAY = range(6)


def head_parts(weights: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """The heads' weights in the order of ``PARTS``; matrices are turned to (inputs, outputs)."""
    parts = []
    for name in PARTS:
        part = np.asarray(weights[f"heads.{name}"])
        parts.append(part if name.startswith("given") else part.T)
    return parts


@helper
def draw(logits, count, temperature, uniform):
    """Index drawn from softmax(logits / temperature) by inverting its distribution function."""
    top = logits[0]
    for i in range(1, count):
        top = max(top, logits[i])
    total = 0.0
    for i in range(count):
        total += np.exp((np.float64(logits[i]) - top) / temperature)
    reached, last = 0.0, 0
    for i in range(count):
        share = np.exp((np.float64(logits[i]) - top) / temperature)
        if share > 0.0:
            last = i
            reached += share
            if reached > uniform * total:
                return i
    return last


@helper
def within(values, row, uniform):
    """A value between the quantiles that a bin's values have."""
    place = uniform * 15.0
    i = min(int(place), 14)
    low, high = values[row, i], values[row, i + 1]
    return low + int((place - i) * (high - low) + 0.5)


@arithmetic
def run_head(h, rows, w, at, head, outputs, hidden, logits):
    """One hidden layer and logits of each row of h; see ``Head``."""
    width = h.shape[1]
    for b in range(rows):
        for j in range(width):
            hidden[b, j] = w[at[head + 1] + j]
        for j in range(outputs):
            logits[b, j] = w[at[head + 3] + j]
    multiply(h, rows, width, w, at[head], width, hidden)
    square_relu(hidden, rows, width)
    multiply(hidden, rows, width, w, at[head + 2], outputs, logits)


@arithmetic
def point(hidden, w, at, profile, logits):
    """Add to the logits how well each depth's profile answers the query."""
    width = len(hidden)
    query = np.empty(POINTER, np.float32)
    for p in range(POINTER):
        query[p] = w[at[QUERY + 1] + p]
    for k in range(width):
        for p in range(POINTER):
            query[p] += hidden[k] * w[at[QUERY] + k * POINTER + p]
    for depth in range(DEPTHS):
        total = np.float32(0.0)
        for p in range(POINTER):
            place = w[at[PLACES + 1] + p]
            for k in range(PROFILE):
                place += profile[depth, k] * w[at[PLACES] + k * POINTER + p]
            total += max(place, np.float32(0.0)) * query[p]
        logits[depth] += total


@arithmetic
def copy_logit(hidden, w, at):
    """What is added to the logit of the size that rests where the order goes."""
    total = w[at[COPY + 1]]
    for k in range(len(hidden)):
        total += hidden[k] * w[at[COPY] + k]
    return total


@helper
def farthest(book, side):
    """Depth [ticks] of the last of ten levels; beyond it the model has seen no order."""
    own = 0 if side > 0 else 2
    if book[LEVELS - 1, own + 1] == 0:
        return 1 << 40
    return (book[0, own] - book[LEVELS - 1, own]) * side


@helper
def bar_depths(logits, profile, kind, side, book, own_lots, unit, depth_edges, can_cancel):
    """Put out of reach the depths that an order cannot have; False if none is left.

    In an empty book depths are from nowhere: there is no limit order either.
    """
    if book[0, 1] <= 0 and book[0, 3] <= 0:
        return False
    if kind == CANCEL:
        can_cancel[:] = False
        own = 0 if side > 0 else 2
        best, _ = best_of(book, side)
        for i in range(len(book)):
            if book[i, own + 1] > 0 and own_lots[i, own >> 1] > 0:
                at = bin_of(depth_edges, (best - book[i, own]) * side // unit)
                can_cancel[at] = True
    left = False
    last = farthest(book, side)
    for at in range(DEPTHS):
        if kind == CANCEL:
            allowed = can_cancel[at]
        else:
            allowed = profile[at, 2] > 0 and depth_edges[at] * unit <= last
        if allowed:
            left = True
        else:
            logits[at] = -np.inf
    return left


@helper
def limit_price(book, side, at, unit, depth_edges, uniform):
    """Price of a limit order in a bin of depths; it neither trades nor is out of sight."""
    first, end = depth_edges[at] * unit, depth_edges[at + 1] * unit
    width = max(min(end, farthest(book, side) + 1) - first, 1)
    best, _ = best_of(book, side)
    price = best - side * (first + min(int(uniform * width), width - 1))
    meets, lots = best_of(book, -side)
    if lots > 0 and (price - meets) * side >= 0:
        price = meets - side
    return price


@helper
def cancel_price(book, side, own_lots, at, unit, depth_edges, uniform):
    """Price of one of the own levels in a bin of depths, each as likely as the others."""
    own = 0 if side > 0 else 2
    best, _ = best_of(book, side)
    count = 0
    for i in range(len(book)):
        if book[i, own + 1] > 0 and own_lots[i, own >> 1] > 0:
            if bin_of(depth_edges, (best - book[i, own]) * side // unit) == at:
                count += 1
    wanted = min(int(uniform * count), count - 1)
    for i in range(len(book)):
        if book[i, own + 1] > 0 and own_lots[i, own >> 1] > 0:
            if bin_of(depth_edges, (best - book[i, own]) * side // unit) == at:
                if wanted == 0:
                    return book[i, own]
                wanted -= 1
    return best


@entry
def write_orders(
    w, at, shape, caches, states, books, own_lots, uniforms, unit, depth_edges, size_edges,
    size_values, offset_values, temperature, out,
):  # fmt: skip
    """Draw the next order of each market.

    w, at : weights, and where the heads' ``PARTS`` begin; shape : (layers, width, heads, window).
    caches, states, books : as for ``observe``; own_lots : int64[rows, 10, 2].
    uniforms : float64[rows, DRAWS]; temperature : of all heads.
    out : int64[rows, 6], columns from ``POSSIBLE`` on.
    """
    layers, width, _, window = shape
    rows = len(caches)
    h, hidden = np.empty((rows, width), np.float32), np.empty((rows, width), np.float32)
    logits = np.empty((rows, DEPTHS), np.float32)
    profile = np.empty((DEPTHS, PROFILE), np.float32)
    recent, can_cancel = np.empty((RECENT, 2), np.int64), np.empty(DEPTHS, np.bool_)
    depths, levels = np.zeros(rows, np.int64), np.empty(rows, np.int64)
    for b in range(rows):
        h[b] = last_hidden(caches[b], layers, width, window)
    run_head(h, rows, w, at, CLASS_HEAD, CLASSES, hidden, logits)
    for b in range(rows):
        symbol = draw(logits[b], CLASSES, temperature, uniforms[b, 0])
        out[b, POSSIBLE], out[b, KIND] = 1, symbol >> 1
        out[b, SIDE] = 1 - 2 * (symbol & 1)
        add_row_of(w, at[GIVEN_CLASS], symbol, b, h)
    run_head(h, rows, w, at, DEPTH_HEAD, DEPTHS, hidden, logits)
    for b in range(rows):
        kind, side, book = out[b, KIND], out[b, SIDE], books[b]
        depth = bin_of(depth_edges, 0)
        price = 0
        if kind == MARKET:
            _, lots = best_of(book, -side)
            out[b, POSSIBLE] = 1 if lots > 0 else 0
        else:
            for i in range(RECENT):
                recent[i, 0] = states[b, RECENT_AT + 2 * i]
                recent[i, 1] = states[b, RECENT_AT + 2 * i + 1]
            depth_profile(book, side, recent, unit, depth_edges, profile)
            point(hidden[b], w, at, profile, logits[b])
            if bar_depths(logits[b], profile, kind, side, book, own_lots[b], unit, depth_edges,
                          can_cancel):  # fmt: skip
                depth = draw(logits[b], DEPTHS, temperature, uniforms[b, 1])
                if kind == LIMIT:
                    price = limit_price(book, side, depth, unit, depth_edges, uniforms[b, 2])
                else:
                    price = cancel_price(
                        book, side, own_lots[b], depth, unit, depth_edges, uniforms[b, 2]
                    )
            else:
                out[b, POSSIBLE] = 0
        out[b, PRICE], depths[b] = price, depth
        levels[b] = level_bin(book, kind, side, depth, unit, depth_edges, size_edges)
        add_row_of(w, at[GIVEN_DEPTH], depth, b, h)
        add_row_of(w, at[GIVEN_LEVEL], levels[b], b, h)
    run_head(h, rows, w, at, SIZE_HEAD, SIZES, hidden, logits)
    for b in range(rows):
        logits[b, levels[b]] += copy_logit(hidden[b], w, at)
        size = draw(logits[b], SIZES, temperature, uniforms[b, 3])
        out[b, LOTS] = max(within(size_values, size, uniforms[b, 4]), 1)
        for j in range(width):  # the offset does not see the level
            h[b, j] -= w[at[GIVEN_LEVEL] + levels[b] * width + j]
        add_row_of(w, at[GIVEN_SIZE], size, b, h)
    run_head(h, rows, w, at, OFFSET_HEAD, OFFSETS, hidden, logits)
    for b in range(rows):
        offset = draw(logits[b], OFFSETS, temperature, uniforms[b, 5])
        out[b, DELAY] = max(within(offset_values, offset, uniforms[b, 6]), 0)
