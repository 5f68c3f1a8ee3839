"""Tiny causal models with random weights, and flows for them to read."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from marketsim.flow import Flow, View
from marketsim.generators.causal_flow import CausalState, TokenFlow
from marketsim.generators.orders import Vocabulary
from marketsim.generators.trades import trades

torch.set_num_threads(1)  # of tiny products, more threads mostly wait for each other
TINY = {"layers": 2, "width": 16, "heads": 2, "window": 8}


def random_model(
    architecture: str, flow: Flow, seed: int = 0, scale: float = 2.0, **options: Any
) -> tuple[TokenFlow, Any]:
    """A generator and the same network in torch; large weights, so that a mistake shows."""
    generator: TokenFlow = trades(architecture, **{**TINY, **options})
    vocabulary = Vocabulary.fit([flow])
    generator.task([flow], [], vocabulary)  # a diffusion learns its quantiles from it
    torch.manual_seed(seed)
    network = generator.network().eval()
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim == 1:
                weight.add_(0.3 * torch.randn(weight.shape))
            else:
                weight.mul_(scale)
    generator.vocabulary, generator.tick_size = vocabulary, 0.01
    generator.set_weights({name: value.numpy() for name, value in network.state_dict().items()})
    return generator, network


def view_at(flow: Flow, i: int, since: int) -> View:
    """What is shown before event ``i``, after all was seen before ``since``; all lots are own."""
    book = flow["book"][i]
    own = np.ascontiguousarray(book[:, (1, 3)])
    return View(flow[since:i], book, own, int(flow["time_ns"][i - 1]))


def ready(generator: TokenFlow, flow: Flow, at: int) -> CausalState:
    """A state that has read all that came before event ``at``."""
    state = generator.start(flow[:at])
    generator._observe([state], [state.pending], flow["book"][at : at + 1])
    state.pending = state.pending[:0]
    return state


def hidden_of(generator: TokenFlow, state: CausalState) -> NDArray[np.float32]:
    """Hidden state of the last token that a state has read, float32[width]."""
    layers, width, _, window = generator.shape
    return state.floats[2 * layers * window * width :]
