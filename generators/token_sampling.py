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


# -- what a symbol means for an order -----------------------------------------------------------


@helper
def take_class(symbol, out):
    """Write kind and side of a class; the order can be."""
    out[POSSIBLE], out[KIND] = 1, symbol >> 1
    out[SIDE] = 1 - 2 * (symbol & 1)


@helper
def profile_of(state, book, side, unit, depth_edges, recent, profile):
    """``depth_profile``, with the recent events that a market's state has."""
    for i in range(RECENT):
        recent[i, 0], recent[i, 1] = state[RECENT_AT + 2 * i], state[RECENT_AT + 2 * i + 1]
    depth_profile(book, side, recent, unit, depth_edges, profile)


@helper
def take_depth(
    logits, profile, book, own_lots, uniforms, unit, depth_edges, temperature, can_cancel, out
):
    """Draw an order's depth among those that it can have, write its price; returns the bin.

    Of a market order, logits and profile do not count.
    """
    kind, side = out[KIND], out[SIDE]
    depth = bin_of(depth_edges, 0)
    out[PRICE] = 0
    if kind == MARKET:
        _, lots = best_of(book, -side)
        out[POSSIBLE] = 1 if lots > 0 else 0
    elif bar_depths(logits, profile, kind, side, book, own_lots, unit, depth_edges, can_cancel):
        depth = draw(logits, DEPTHS, temperature, uniforms[1])
        if kind == LIMIT:
            out[PRICE] = limit_price(book, side, depth, unit, depth_edges, uniforms[2])
        else:
            out[PRICE] = cancel_price(book, side, own_lots, depth, unit, depth_edges, uniforms[2])
    else:
        out[POSSIBLE] = 0
    return depth


@helper
def take_size(logits, size_values, uniforms, temperature, out):
    """Draw an order's size; returns its bin."""
    size = draw(logits, SIZES, temperature, uniforms[3])
    out[LOTS] = max(within(size_values, size, uniforms[4]), 1)
    return size


@helper
def take_offset(logits, offset_values, uniforms, temperature, out):
    """Draw an order's delay."""
    offset = draw(logits, OFFSETS, temperature, uniforms[5])
    out[DELAY] = max(within(offset_values, offset, uniforms[6]), 0)


# -- all of an order -----------------------------------------------------------------------------


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
    levels = np.empty(rows, np.int64)
    for b in range(rows):
        h[b] = last_hidden(caches[b], layers, width, window)
    run_head(h, rows, w, at, CLASS_HEAD, CLASSES, hidden, logits)
    for b in range(rows):
        symbol = draw(logits[b], CLASSES, temperature, uniforms[b, 0])
        take_class(symbol, out[b])
        add_row_of(w, at[GIVEN_CLASS], symbol, b, h)
    run_head(h, rows, w, at, DEPTH_HEAD, DEPTHS, hidden, logits)
    for b in range(rows):
        kind, side, book = out[b, KIND], out[b, SIDE], books[b]
        if kind != MARKET:
            profile_of(states[b], book, side, unit, depth_edges, recent, profile)
            point(hidden[b], w, at, profile, logits[b])
        depth = take_depth(
            logits[b], profile, book, own_lots[b], uniforms[b], unit, depth_edges, temperature,
            can_cancel, out[b],
        )  # fmt: skip
        levels[b] = level_bin(book, kind, side, depth, unit, depth_edges, size_edges)
        add_row_of(w, at[GIVEN_DEPTH], depth, b, h)
        add_row_of(w, at[GIVEN_LEVEL], levels[b], b, h)
    run_head(h, rows, w, at, SIZE_HEAD, SIZES, hidden, logits)
    for b in range(rows):
        logits[b, levels[b]] += copy_logit(hidden[b], w, at)
        size = take_size(logits[b], size_values, uniforms[b], temperature, out[b])
        for j in range(width):  # the offset does not see the level
            h[b, j] -= w[at[GIVEN_LEVEL] + levels[b] * width + j]
        add_row_of(w, at[GIVEN_SIZE], size, b, h)
    run_head(h, rows, w, at, OFFSET_HEAD, OFFSETS, hidden, logits)
    for b in range(rows):
        take_offset(logits[b], offset_values, uniforms[b], temperature, out[b])


# -- a symbol at a time, from logits that were computed elsewhere ---------------------------------


@entry
def draw_classes(logits, temperature, uniforms, out, classes):
    """Draw each order's class; logits : float32[rows, CLASSES]; classes : int64[rows], out."""
    for b in range(len(logits)):
        classes[b] = draw(logits[b], CLASSES, temperature, uniforms[b, 0])
        take_class(classes[b], out[b])


@entry
def write_profiles(states, books, unit, depth_edges, out, profiles):
    """What rests at each depth of the orders' sides; profiles : float32[rows, DEPTHS, PROFILE]."""
    recent = np.empty((RECENT, 2), np.int64)
    for b in range(len(states)):
        profile_of(states[b], books[b], out[b, SIDE], unit, depth_edges, recent, profiles[b])


@entry
def draw_depths(
    logits, profiles, books, own_lots, uniforms, unit, depth_edges, size_edges, temperature, out,
    depths, levels,
):  # fmt: skip
    """Draw each order's depth, and find the bin of the lots there; both int64[rows]."""
    can_cancel = np.empty(DEPTHS, np.bool_)
    for b in range(len(logits)):
        depths[b] = take_depth(
            logits[b], profiles[b], books[b], own_lots[b], uniforms[b], unit, depth_edges,
            temperature, can_cancel, out[b],
        )  # fmt: skip
        levels[b] = level_bin(
            books[b], out[b, KIND], out[b, SIDE], depths[b], unit, depth_edges, size_edges
        )


@entry
def draw_sizes(logits, size_values, uniforms, temperature, out, sizes):
    """Draw each order's size; logits : float32[rows, SIZES]; sizes : int64[rows], out."""
    for b in range(len(logits)):
        sizes[b] = take_size(logits[b], size_values, uniforms[b], temperature, out[b])


@entry
def draw_offsets(logits, offset_values, uniforms, temperature, out):
    """Draw each order's delay; logits : float32[rows, OFFSETS]."""
    for b in range(len(logits)):
        take_offset(logits[b], offset_values, uniforms[b], temperature, out[b])
