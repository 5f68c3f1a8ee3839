"""Drawing the next orders of many markets with heads on a device of torch.

The same draws from the same uniforms as :mod:`marketsim.generators.token_sampling` and
:mod:`marketsim.generators.diffusion_sampling`, whose code makes orders of them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marketsim.generators.bins import DEPTHS
from marketsim.generators.device import DeviceModel, DeviceState
from marketsim.generators.diffusion_sampling import CLIP, LATENTS, decode_latents
from marketsim.generators.orders import PROFILE, Vocabulary
from marketsim.generators.token_sampling import (
    draw_classes,
    draw_depths,
    draw_offsets,
    draw_sizes,
    write_profiles,
)

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]


def _here(logits: Tensor) -> NDArray[np.float32]:
    return logits.contiguous().cpu().numpy()


@torch.inference_mode()
def write_orders(
    model: DeviceModel,
    states: Sequence[DeviceState],
    ints: Ints,
    books: Ints,
    own_lots: Ints,
    uniforms: Doubles,
    v: Vocabulary,
    temperature: float,
    out: Ints,
) -> None:
    """Draw the next order of each market from categorical heads.

    The arguments are those of :func:`marketsim.generators.token_sampling.write_orders`; ``ints``
    are its ``states``.
    """
    heads, there, rows = model.network.heads, model.there, len(states)
    classes, depths, levels, sizes = np.empty((4, rows), np.int64)
    profiles = np.empty((rows, DEPTHS, PROFILE), np.float32)
    h = model.hidden(states)  # (rows, width)
    draw_classes(_here(heads.class_head(h)[1]), temperature, uniforms, out, classes)
    write_profiles(ints, books, v.unit_ticks, v.depth_edges, out, profiles)
    h = h + heads.given_class(there(classes))
    logits = heads.depth_logits(*heads.depth_head(h), there(profiles))
    draw_depths(
        _here(logits), profiles, books, own_lots, uniforms, v.unit_ticks, v.depth_edges,
        v.size_edges, temperature, out, depths, levels,
    )  # fmt: skip
    h, level = h + heads.given_depth(there(depths)), there(levels)
    hidden, logits = heads.size_head(h + heads.given_level(level))
    logits = logits.scatter_add(-1, level[:, None], heads.copy_level(hidden))
    draw_sizes(_here(logits), v.size_values, uniforms, temperature, out, sizes)
    logits = heads.offset_head(h + heads.given_size(there(sizes)))[1]
    draw_offsets(_here(logits), v.offset_values, uniforms, temperature, out)


@torch.inference_mode()
def denoise_orders(
    model: DeviceModel,
    states: Sequence[DeviceState],
    books: Ints,
    own_lots: Ints,
    uniforms: Doubles,
    normals: Doubles,
    steps: int,
    eta: float,
    v: Vocabulary,
    table: Any,
    temperature: float,
    out: Ints,
) -> None:
    """Draw the next order of each market by its class and a diffusion of the rest.

    The arguments are those of :func:`marketsim.generators.diffusion_sampling.denoise_orders`, with
    ``steps`` in place of a schedule.
    """
    network, rows = model.network, len(states)
    classes = np.empty(rows, np.int64)
    h = model.hidden(states)  # (rows, width)
    draw_classes(_here(network.class_head(h)[1]), temperature, uniforms, out, classes)
    noise = model.there(normals.astype(np.float32)).view(rows, -1, LATENTS).transpose(0, 1)
    x = network.diffusion.ddim(
        network.denoiser, noise, (h, model.there(classes)), steps=steps, eta=eta, clip=CLIP
    )  # (rows, LATENTS)
    decode_latents(_here(x), table, books, own_lots, uniforms, v.unit_ticks, out)
