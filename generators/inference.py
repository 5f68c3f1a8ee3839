"""The causal model on a CPU, compiled: one pass of the trunk a new event, for many markets.

Equal to :class:`marketsim.generators.causal.TokenModel` but for rounding. Every sum runs in the
same order however many markets share a pass, so that a market's flow does not depend on the others,
bit for bit; and the weights pass through the cache once for all of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types as _types
from numba.extending import intrinsic as _intrinsic
from numpy.typing import NDArray

from marketsim.compile import arithmetic, entry, helper
from marketsim.generators.orders import FEATURES, RECENT, event_symbols, token_features

intrinsic: Any = _intrinsic
types: Any = _types

_WIDE = 8  # inputs a matrix product takes at a time; all inner widths are multiples of it
INPUTS = -(-FEATURES // _WIDE) * _WIDE  # features, padded
#: Parts of a trunk in the flat array of its weights: first those of each layer, then the others.
LAYER = ("norm_attention", "qkv", "out", "norm_network", "up", "down")
TRUNK = (
    "embed_class", "embed_depth", "embed_size", "embed_offset", "features_in", "features_in_bias",
    "features_out", "features_out_bias", "norm",
)  # fmt: skip
EMBED, IN, IN_BIAS, OUT, OUT_BIAS, NORM = 0, 4, 5, 6, 7, 8

#: Whole numbers of a market's state.
POSITION, TIME, OFFSET, RECENT_AT = 0, 1, 2, 3
STATE_INTS = RECENT_AT + 2 * RECENT


def state_floats(layers: int, width: int, window: int) -> int:
    """How many floats a market's state has: keys and values of each layer, the last hidden."""
    return layers * 2 * window * width + width


def lay_out(parts: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Put arrays one behind the other, each on a cache line of its own.

    Returns
    -------
    flat : float32[n]; at : int64[len(parts)], where each begins.
    """
    sizes = np.array([part.size for part in parts])
    starts = np.concatenate([[0], np.cumsum(-(-sizes // 16) * 16)]).astype(np.int64)
    raw = np.zeros(int(starts[-1]) + 16, np.float32)
    shift = (-raw.ctypes.data % 64) // 4
    flat = raw[shift : shift + int(starts[-1])]
    for start, part in zip(starts.tolist(), parts, strict=False):
        flat[start : start + part.size] = np.ascontiguousarray(part, np.float32).ravel()
    return flat, starts[:-1]


def trunk_parts(weights: Mapping[str, NDArray[Any]], layers: int) -> list[NDArray[Any]]:
    """A trunk's weights (names as in its state dict) in the order of ``LAYER`` and ``TRUNK``.

    Matrices are turned to (inputs, outputs).
    """
    parts = []
    for i in range(layers):
        for name in LAYER:
            kind = "scale" if name.startswith("norm") else "weight"
            parts.append(np.asarray(weights[f"trunk.blocks.{i}.{name}.{kind}"]).T)
    for name in TRUNK:
        if name.startswith("embed"):
            parts.append(np.asarray(weights[f"trunk.{name}.weight"]))
        elif name == "norm":
            parts.append(np.asarray(weights["trunk.norm.scale"]))
        else:
            kind = "bias" if name.endswith("_bias") else "weight"
            part = np.asarray(weights[f"trunk.{name.removesuffix('_bias')}.{kind}"]).T
            if name == "features_in":
                part = np.concatenate([part, np.zeros((INPUTS - FEATURES, part.shape[1]))])
            parts.append(part)
    return parts


# -- arithmetic ----------------------------------------------------------------------------------


@intrinsic
def _floats(typingctx: Any, address: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ir.FloatType().as_pointer())

    return types.CPointer(types.float32)(types.int64), codegen


@helper
def floats_at(address, size):
    """float32[size] at an address."""
    return numba.carray(_floats(address), (size,))


@arithmetic
def multiply(x, rows, inputs, w, at, outputs, y):
    """y[:rows, :outputs] += x[:rows, :inputs] @ w, a matrix (inputs, outputs) from ``w[at]`` on."""
    for k in range(0, inputs, 8):
        start = at + k * outputs
        w0, w1 = w[start : start + outputs], w[start + outputs : start + 2 * outputs]
        start += 2 * outputs
        w2, w3 = w[start : start + outputs], w[start + outputs : start + 2 * outputs]
        start += 2 * outputs
        w4, w5 = w[start : start + outputs], w[start + outputs : start + 2 * outputs]
        start += 2 * outputs
        w6, w7 = w[start : start + outputs], w[start + outputs : start + 2 * outputs]
        for b in range(rows):
            x0, x1, x2, x3 = x[b, k], x[b, k + 1], x[b, k + 2], x[b, k + 3]
            x4, x5, x6, x7 = x[b, k + 4], x[b, k + 5], x[b, k + 6], x[b, k + 7]
            row = y[b]
            for j in range(outputs):
                row[j] = (
                    row[j] + x0 * w0[j] + x1 * w1[j] + x2 * w2[j] + x3 * w3[j]
                    + x4 * w4[j] + x5 * w5[j] + x6 * w6[j] + x7 * w7[j]
                )  # fmt: skip


@arithmetic
def add_row_of(w, at, row, rows_b, y):
    """y[rows_b] += row ``row`` of a table from ``w[at]`` on."""
    width = y.shape[1]
    start = at + row * width
    table = w[start : start + width]
    target = y[rows_b]
    for j in range(width):
        target[j] += table[j]


@arithmetic
def normalise(x, rows, width, w, at, y):
    """y = x / rms(x) times the scale at ``w[at]``."""
    scale = w[at : at + width]
    for b in range(rows):
        total = np.float32(0.0)
        for j in range(width):
            total += x[b, j] * x[b, j]
        factor = np.float32(1.0) / np.sqrt(total / np.float32(width) + np.float32(1e-6))
        for j in range(width):
            y[b, j] = x[b, j] * factor * scale[j]


@arithmetic
def square_relu(x, rows, width):
    """x = max(x, 0) squared."""
    for b in range(rows):
        row = x[b]
        for j in range(width):
            value = max(row[j], np.float32(0.0))
            row[j] = value * value


@arithmetic
def turn(x, start, pairs, cos, sin):
    """Rotate the coordinates of one head, from ``start`` on."""
    for j in range(pairs):
        a, b = x[start + j], x[start + pairs + j]
        x[start + j] = a * cos[j] - b * sin[j]
        x[start + pairs + j] = a * sin[j] + b * cos[j]


@arithmetic
def attend(qkv, cache, position, window, width, heads, scores, out):
    """Put one token's key and value into the ring, and mix the values of what it sees."""
    size = width // heads
    slot = position % window
    seen = min(position + 1, window)
    keys, values = cache[: window * width], cache[window * width :]
    for j in range(width):
        keys[j * window + slot] = qkv[width + j]
        values[slot * width + j] = qkv[2 * width + j]
        out[j] = np.float32(0.0)
    scale = np.float32(1.0 / np.sqrt(size))
    for head in range(heads):
        first = head * size
        for i in range(seen):
            scores[i] = np.float32(0.0)
        for d in range(first, first + size, 4):
            q0, q1, q2, q3 = qkv[d], qkv[d + 1], qkv[d + 2], qkv[d + 3]
            start = d * window
            k0, k1 = keys[start : start + seen], keys[start + window : start + window + seen]
            start += 2 * window
            k2, k3 = keys[start : start + seen], keys[start + window : start + window + seen]
            for i in range(seen):
                scores[i] = scores[i] + q0 * k0[i] + q1 * k1[i] + q2 * k2[i] + q3 * k3[i]
        top = scores[0]
        for i in range(1, seen):
            top = max(top, scores[i])
        total = np.float32(0.0)
        for i in range(seen):
            weight = np.exp((scores[i] - top) * scale)
            scores[i] = weight
            total += weight
        mixed = out[first : first + size]
        for i in range(seen):
            share = scores[i] / total
            row = values[i * width + first : i * width + first + size]
            for j in range(size):
                mixed[j] += share * row[j]


# -- the trunk -----------------------------------------------------------------------------------


@arithmetic
def read_tokens(w, at, layers, heads, window, symbols, features, caches, positions, rows, hidden):
    """Hidden states of one new token of each of ``rows`` markets.

    symbols : int64[rows, 4]; features : float32[rows, INPUTS]; caches : int64[rows], addresses;
    positions : int64[rows], how many tokens each has read; hidden : float32[rows, width], out.
    """
    width = hidden.shape[1]
    pairs = width // heads // 2
    tail = layers * len(LAYER)
    x, normed = np.empty((rows, width), np.float32), np.empty((rows, width), np.float32)
    wide = np.empty((rows, 4 * width), np.float32)
    scores, mixed = np.empty(window, np.float32), np.empty((rows, width), np.float32)
    cos, sin = np.empty((rows, pairs), np.float32), np.empty((rows, pairs), np.float32)
    for b in range(rows):
        for j in range(width):
            normed[b, j] = w[at[tail + IN_BIAS] + j]
            x[b, j] = w[at[tail + OUT_BIAS] + j]
        for j in range(pairs):
            angle = positions[b] * 10_000.0 ** (-j / pairs)
            cos[b, j], sin[b, j] = np.cos(angle), np.sin(angle)
    multiply(features, rows, INPUTS, w, at[tail + IN], width, normed)
    for b in range(rows):
        for j in range(width):
            normed[b, j] = normed[b, j] / (np.float32(1.0) + np.exp(-normed[b, j]))
    multiply(normed, rows, width, w, at[tail + OUT], width, x)
    for b in range(rows):
        for i in range(4):
            add_row_of(w, at[tail + EMBED + i], symbols[b, i], b, x)
    for layer in range(layers):
        part = layer * len(LAYER)
        normalise(x, rows, width, w, at[part], normed)
        wide[:, : 3 * width] = np.float32(0.0)
        multiply(normed, rows, width, w, at[part + 1], 3 * width, wide)
        for b in range(rows):
            for head in range(heads):
                turn(wide[b], head * 2 * pairs, pairs, cos[b], sin[b])
                turn(wide[b], width + head * 2 * pairs, pairs, cos[b], sin[b])
            ring = 2 * window * width
            cache = floats_at(caches[b] + 4 * layer * ring, ring)
            attend(wide[b], cache, positions[b], window, width, heads, scores, mixed[b])
        multiply(mixed, rows, width, w, at[part + 2], width, x)
        normalise(x, rows, width, w, at[part + 3], normed)
        wide[:, :] = np.float32(0.0)
        multiply(normed, rows, width, w, at[part + 4], 4 * width, wide)
        square_relu(wide, rows, 4 * width)
        multiply(wide, rows, 4 * width, w, at[part + 5], width, x)
    normalise(x, rows, width, w, at[tail + NORM], hidden)


@helper
def last_hidden(cache, layers, width, window):
    """Hidden state of the last token that a market has read; float32[width]."""
    return floats_at(cache + 8 * layers * window * width, width)


@helper
def next_token(state, event, book, unit, bins, mean, deviation, symbols, features):
    """The token of an event that has just happened; moves a state's whole numbers on."""
    depth_edges, size_edges, offset_edges = bins
    offset_ns = event.time_ns - state[TIME] if state[TIME] >= 0 else 0
    state[TIME], state[OFFSET] = event.time_ns, offset_ns
    for i in range(RECENT - 1, 0, -1):
        state[RECENT_AT + 2 * i] = state[RECENT_AT + 2 * i - 2]
        state[RECENT_AT + 2 * i + 1] = state[RECENT_AT + 2 * i - 1]
    state[RECENT_AT], state[RECENT_AT + 1] = event.kind, event.price_ticks
    event_symbols(event, offset_ns, unit, depth_edges, size_edges, offset_edges, symbols)
    token_features(event, offset_ns, book, unit, mean, deviation, features)


@helper
def book_after(flow, event, end, book, after):
    """The book after an event: before the next one, or after the last the book now."""
    if event + 1 < end:
        after[:, :] = flow[event + 1].book
    else:
        after[:, :] = book


@entry
def encode_tokens(
    flow, starts, books, states, unit, depth_edges, size_edges, offset_edges, mean, deviation,
    symbols, features,
):  # fmt: skip
    """Tokens of the events that are new to markets; their states move on.

    flow, starts, books, states : as for :func:`observe`.
    symbols : int64[n, 4]; features : float32[n, FEATURES], both out.
    """
    bins = (depth_edges, size_edges, offset_edges)
    after = np.empty(books.shape[1:], np.int64)
    for i in range(len(states)):
        for event in range(starts[i], starts[i + 1]):
            book_after(flow, event, starts[i + 1], books[i], after)
            next_token(
                states[i], flow[event], after, unit, bins, mean, deviation,
                symbols[event], features[event],
            )  # fmt: skip
        states[i, POSITION] += starts[i + 1] - starts[i]


@entry
def observe(
    w, at, shape, flow, starts, books, states, caches, unit, depth_edges, size_edges, offset_edges,
    mean, deviation,
):  # fmt: skip
    """Let markets' states read the events that are new to them.

    shape : (layers, width, heads, window).
    flow : FLOW[n], the new events of all markets, those of market i from ``starts[i]`` to before
        ``starts[i + 1]``; books : int64[rows, 10, 4], now; states : int64[rows, STATE_INTS];
        caches : int64[rows], addresses of their floats.
    """
    layers, width, heads, window = shape
    rows = len(states)
    bins = (depth_edges, size_edges, offset_edges)
    symbols, features = np.zeros((rows, 4), np.int64), np.zeros((rows, INPUTS), np.float32)
    active, positions = np.empty(rows, np.int64), np.empty(rows, np.int64)
    addresses, hidden = np.empty(rows, np.int64), np.empty((rows, width), np.float32)
    after = np.empty(books.shape[1:], np.int64)
    most = 0
    for i in range(rows):
        most = max(most, starts[i + 1] - starts[i])
    for turn_number in range(most):
        count = 0
        for i in range(rows):
            event = starts[i] + turn_number
            if event >= starts[i + 1]:
                continue
            book_after(flow, event, starts[i + 1], books[i], after)
            next_token(
                states[i], flow[event], after, unit, bins, mean, deviation,
                symbols[count], features[count],
            )  # fmt: skip
            active[count], addresses[count] = i, caches[i]
            positions[count] = states[i, POSITION]
            states[i, POSITION] += 1
            count += 1
        read_tokens(
            w, at, layers, heads, window, symbols, features, addresses, positions, count, hidden
        )
        for j in range(count):
            last = last_hidden(addresses[j], layers, width, window)
            for d in range(width):
                last[d] = hidden[j, d]
