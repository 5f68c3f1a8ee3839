"""Names and shapes of a causal model's weights: what compiled code reads must be all there."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketsim.generators.bins import DEPTHS, OFFSETS, SIZES
from marketsim.generators.diffusion_sampling import BLOCKS, LATENTS
from marketsim.generators.orders import CLASSES, FEATURES, PROFILE
from marketsim.generators.size import Size
from marketsim.generators.token_sampling import POINTER

Shapes = dict[str, tuple[int, ...]]


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _head(name: str, width: int, symbols: int) -> Shapes:
    return _linear(f"{name}.hidden", width, width) | _linear(f"{name}.logits", width, symbols)


def trunk_shapes(size: Size) -> Shapes:
    """Of :class:`marketsim.generators.causal.Trunk`, as part of a model."""
    width = size.width
    shapes: Shapes = {}
    for i in range(size.layers):
        block = f"trunk.blocks.{i}"
        shapes |= {f"{block}.norm_{part}.scale": (width,) for part in ("attention", "network")}
        shapes |= {
            f"{block}.qkv.weight": (3 * width, width), f"{block}.out.weight": (width, width),
            f"{block}.up.weight": (4 * width, width), f"{block}.down.weight": (width, 4 * width),
        }  # fmt: skip
    symbols = {"class": CLASSES, "depth": DEPTHS, "size": SIZES, "offset": OFFSETS}
    shapes |= {f"trunk.embed_{name}.weight": (count, width) for name, count in symbols.items()}
    shapes |= _linear("trunk.features_in", FEATURES, width)
    return shapes | _linear("trunk.features_out", width, width) | {"trunk.norm.scale": (width,)}


def token_shapes(size: Size) -> Shapes:
    """Of :class:`marketsim.generators.causal.TokenModel`."""
    width = size.width
    shapes = trunk_shapes(size)
    symbols = {"class": CLASSES, "depth": DEPTHS, "size": SIZES, "offset": OFFSETS}
    for name, count in symbols.items():
        shapes |= _head(f"heads.{name}_head", width, count)
    given = {"class": CLASSES, "depth": DEPTHS, "size": SIZES, "level": SIZES}
    shapes |= {f"heads.given_{name}.weight": (count, width) for name, count in given.items()}
    shapes |= _linear("heads.query", width, POINTER) | _linear("heads.places", PROFILE, POINTER)
    return shapes | _linear("heads.copy_level", width, 1)


def diffusion_shapes(size: Size, steps: int) -> Shapes:
    """Of :class:`marketsim.generators.diffusion_head.DiffusionModel`."""
    width = size.width
    shapes = trunk_shapes(size) | _head("class_head", width, CLASSES)
    shapes |= _linear("denoiser.latents", LATENTS, width)
    shapes |= _linear("denoiser.condition", width, width)
    shapes |= _linear("denoiser.noise", width, LATENTS)
    shapes["denoiser.given_class.weight"] = (CLASSES, width)
    shapes["denoiser.given_step.weight"] = (steps + 1, width)
    shapes |= {f"denoiser.norms.{i}.scale": (width,) for i in range(BLOCKS + 1)}
    for i in range(BLOCKS):
        shapes |= _linear(f"denoiser.up.{i}", width, 2 * width)
        shapes |= _linear(f"denoiser.down.{i}", 2 * width, width)
    return shapes


def check_weights(weights: Mapping[str, NDArray[Any]], shapes: Shapes) -> None:
    """Whether weights are all there and no others, of their shapes and finite.

    Raises
    ------
    KeyError, ValueError
        If not.
    """
    for name, shape in shapes.items():
        if weights[name].shape != shape:
            raise ValueError(f"{name} must have shape {shape}, had {weights[name].shape}")
        if not np.isfinite(weights[name]).all():
            raise ValueError(f"{name} must be finite, was not")
    others = sorted(set(weights) - set(shapes))
    if others:
        raise ValueError(f"{others[0]} is no weight of a model of this size")
