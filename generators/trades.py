"""TRADES: order flow by a diffusion transformer, as published and as we would rather have it.

``architecture``:

- ``causal``: the past is encoded once, event by event; a small head denoises the next order.
- ``tokens``: the same trunk, categorical heads; exact likelihood.
- ``encoder``: as in the paper (Berti, Prenkaj & Velardi 2025, arXiv:2502.07071): the noisy order
  is the last of 256 tokens, and each denoising step runs the whole transformer.
"""

import importlib
from typing import Any

from marketsim.checks import did_you_mean
from marketsim.errors import ConfigError
from marketsim.generators.base import make

ARCHITECTURES = {
    "causal": "marketsim.generators.diffusion_flow:DiffusionFlow",
    "encoder": "marketsim.generators.encoder:EncoderFlow",
    "tokens": "marketsim.generators.causal_flow:TokenFlow",
}


def trades(architecture: str = "tokens", **options: Any) -> Any:
    """Make a TRADES model that has learned nothing yet.

    Raises
    ------
    ConfigError
        If there is no such architecture, or it refuses an option.
    """
    if architecture not in ARCHITECTURES:
        hint = did_you_mean(str(architecture), ARCHITECTURES)
        raise ConfigError(f"architecture: unknown {architecture!r}{hint}")
    module, _, name = ARCHITECTURES[architecture].partition(":")
    return make(
        f"model trades, {architecture}", getattr(importlib.import_module(module), name), options
    )
