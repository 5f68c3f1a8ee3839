"""Denoising the next orders of many markets, compiled; equal to ``DiffusionModel`` with DDIM."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketsim.compile import arithmetic, entry, helper
from marketsim.flow import LEVELS
from marketsim.generators.bins import DEPTHS
from marketsim.generators.inference import add_row_of, last_hidden, multiply, normalise, square_relu
from marketsim.generators.orders import CANCEL, CLASSES, MARKET, best_of
from marketsim.generators.token_sampling import (
    DELAY,
    KIND,
    LOTS,
    POSSIBLE,
    PRICE,
    SIDE,
    draw,
    farthest,
    run_head,
)

LATENTS, BLOCKS = 3, 2
#: Parts of the heads in the flat array of weights, behind those of the trunk.
PARTS = (
    *(f"class_head.{part}" for part in
      ("hidden.weight", "hidden.bias", "logits.weight", "logits.bias")),
    *(f"denoiser.{part}" for part in (
        "latents.weight", "latents.bias", "condition.weight", "condition.bias",
        "given_class.weight", "given_step.weight", "noise.weight", "noise.bias")),
    *(f"denoiser.norms.{i}.scale" for i in range(BLOCKS + 1)),
    *(f"denoiser.{way}.{i}.{part}" for i in range(BLOCKS) for way in ("up", "down")
      for part in ("weight", "bias")),
)  # fmt: skip
CLASS_HEAD, LATENT_IN, CONDITION, GIVEN_CLASS, GIVEN_STEP, NOISE = 0, 4, 6, 8, 9, 10
NORMS = 12
UP = NORMS + BLOCKS + 1  # then bias, down, bias; the next block's
CLIP = 4.0  # the latents' estimates stay within this of 0


def head_parts(weights: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """The heads' weights in the order of ``PARTS``; matrices are turned to (inputs, outputs)."""
    return [
        np.asarray(weights[name]) if ".given" in name else np.asarray(weights[name]).T
        for name in PARTS
    ]


@arithmetic
def fill(w, at, rows, width, y):
    """y[:rows] = the row at ``w[at]``."""
    for b in range(rows):
        for j in range(width):
            y[b, j] = w[at + j]


@arithmetic
def find_noise(w, at, rows, step, x, condition, u, normed, wide, noise):
    """The noise in ``x``, float32[rows, LATENTS], at a step; see ``Denoiser``."""
    width = condition.shape[1]
    for b in range(rows):
        for j in range(width):
            total = condition[b, j]
            for i in range(LATENTS):
                total += x[b, i] * w[at[LATENT_IN] + i * width + j]
            u[b, j] = total + w[at[GIVEN_STEP] + step * width + j]
    for block in range(BLOCKS):
        part = UP + 4 * block
        normalise(u, rows, width, w, at[NORMS + block], normed)
        fill(w, at[part + 1], rows, 2 * width, wide)
        multiply(normed, rows, width, w, at[part], 2 * width, wide)
        square_relu(wide, rows, 2 * width)
        for b in range(rows):
            for j in range(width):
                u[b, j] += w[at[part + 3] + j]
        multiply(wide, rows, 2 * width, w, at[part + 2], width, u)
    normalise(u, rows, width, w, at[NORMS + BLOCKS], normed)
    for b in range(rows):
        for i in range(LATENTS):
            total = w[at[NOISE + 1] + i]
            for j in range(width):
                total += normed[b, j] * w[at[NOISE] + j * LATENTS + i]
            noise[b, i] = total


@helper
def denoise(w, at, rows, times, alpha_bar, eta, normals, condition, x):
    """DDIM from pure noise over the steps ``times``, falling; ``eta`` 1 over all steps is DDPM.

    normals : float64[rows, (len(times) + 1) * LATENTS].
    References: Song, Meng & Ermon (2021), eq. 12 and 16.
    """
    width = condition.shape[1]
    u, normed = np.empty((rows, width), np.float32), np.empty((rows, width), np.float32)
    wide, noise = np.empty((rows, 2 * width), np.float32), np.empty((rows, LATENTS), np.float32)
    for b in range(rows):
        for i in range(LATENTS):
            x[b, i] = normals[b, i]
    for k in range(len(times)):
        now = alpha_bar[times[k]]
        then = alpha_bar[times[k + 1]] if k + 1 < len(times) else 1.0
        find_noise(w, at, rows, times[k], x, condition, u, normed, wide, noise)
        sigma = eta * math.sqrt((1 - then) / (1 - now) * (1 - now / then)) if then < 1.0 else 0.0
        for b in range(rows):
            for i in range(LATENTS):
                data = (x[b, i] - math.sqrt(1 - now) * noise[b, i]) / math.sqrt(now)
                data = min(max(data, -CLIP), CLIP)
                found = (x[b, i] - math.sqrt(now) * data) / math.sqrt(1 - now)
                left = math.sqrt(max(1 - then - sigma * sigma, 0.0))
                x[b, i] = (
                    math.sqrt(then) * data + left * found
                    + sigma * normals[b, (k + 1) * LATENTS + i]
                )  # fmt: skip


@helper
def value_of(table, latent):
    """The value at a normal latent's rank; table: int64[GRID], quantiles."""
    last = len(table) - 1
    place = 0.5 * (1.0 + math.erf(latent / math.sqrt(2.0))) * last
    i = min(int(place), last - 1)
    return table[i] + int((place - i) * (table[i + 1] - table[i]) + 0.5)


@helper
def nearest_own(book, side, own_lots, depth, unit):
    """Price of the own level nearest to a depth; False if there is none."""
    own = 0 if side > 0 else 2
    best, _ = best_of(book, side)
    found, price, away = False, best, 0
    for i in range(LEVELS):
        if book[i, own + 1] > 0 and own_lots[i, own >> 1] > 0:
            distance = abs((best - book[i, own]) * side - depth * unit)
            if not found or distance < away:
                found, price, away = True, book[i, own], distance
    return found, price


@entry
def denoise_orders(
    w, at, shape, caches, books, own_lots, uniforms, normals, times, alpha_bar, eta, unit, table,
    temperature, out,
):  # fmt: skip
    """Draw the next order of each market.

    w, at : weights, and where the heads' ``PARTS`` begin; shape : (layers, width, heads, window).
    caches, books : as for ``observe``; own_lots : int64[rows, 10, 2].
    uniforms : float64[rows, 2]; normals : as for :func:`denoise`, with times, alpha_bar and eta.
    table : int64[kinds, LATENTS, GRID]; temperature : of the class.
    out : int64[rows, 6], columns from ``POSSIBLE`` on.
    """
    layers, width, _, window = shape
    rows = len(caches)
    h, condition = np.empty((rows, width), np.float32), np.empty((rows, width), np.float32)
    logits, x = np.empty((rows, DEPTHS), np.float32), np.empty((rows, LATENTS), np.float32)
    for b in range(rows):
        h[b] = last_hidden(caches[b], layers, width, window)
    run_head(h, rows, w, at, CLASS_HEAD, CLASSES, condition, logits)
    for b in range(rows):
        for j in range(width):
            condition[b, j] = w[at[CONDITION + 1] + j] + w[at[LATENT_IN + 1] + j]
        symbol = draw(logits[b], CLASSES, temperature, uniforms[b, 0])
        out[b, POSSIBLE], out[b, KIND] = 1, symbol >> 1
        out[b, SIDE] = 1 - 2 * (symbol & 1)
        add_row_of(w, at[GIVEN_CLASS], symbol, b, condition)
    multiply(h, rows, width, w, at[CONDITION], width, condition)
    denoise(w, at, rows, times, alpha_bar, eta, normals, condition, x)
    for b in range(rows):
        kind, side, book = out[b, KIND], out[b, SIDE], books[b]
        out[b, LOTS] = max(value_of(table[kind, 1], x[b, 1]), 1)
        out[b, DELAY] = max(value_of(table[kind, 2], x[b, 2]), 0)
        depth = value_of(table[kind, 0], x[b, 0])
        best, _ = best_of(book, side)
        meets, lots = best_of(book, -side)
        price = 0
        if kind == MARKET:
            out[b, POSSIBLE] = 1 if lots > 0 else 0
        elif kind == CANCEL:
            found, price = nearest_own(book, side, own_lots[b], depth, unit)
            out[b, POSSIBLE] = 1 if found else 0
        elif book[0, 1] <= 0 and book[0, 3] <= 0:
            out[b, POSSIBLE] = 0  # depths are from nowhere
        else:
            depth = depth * unit + min(int(uniforms[b, 1] * unit), unit - 1)
            price = best - side * min(depth, farthest(book, side))
            if lots > 0 and (price - meets) * side >= 0:
                price = meets - side
        out[b, PRICE] = price
