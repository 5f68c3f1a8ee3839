"""A tiny network to train, and a task that keeps what it was asked for."""

from typing import Any

import numpy as np
import torch
from torch import nn
from toy_market import toy_flow
from toy_models import TINY

from marketsim.generators.causal import TokenModel
from marketsim.generators.orders import Vocabulary
from marketsim.generators.size import Size
from marketsim.generators.windows import TokenTask

FLOW, HELD = toy_flow(600), toy_flow(120, 1)
VOCABULARY = Vocabulary.fit([FLOW])
FAST = {"batch": 4, "warm_up": 4, "bfloat16": False, "learning_rate": 5e-3}


class Watched(TokenTask):
    """Keeps what it was asked for; held-out losses can be given instead of measured."""

    def __init__(self, held: Any = (), losses: Any = None) -> None:
        super().__init__([FLOW], [HELD] if held else [], VOCABULARY, 8)
        self.sizes: list[int] = []
        self.looks: list[int] = []
        self.threads: set[int] = set()
        self.autocast: set[bool] = set()
        self.told, self.fails_at = losses, {}

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, torch.Tensor]:
        self.sizes.append(size)
        self.threads.add(torch.get_num_threads())
        batch = super().batch(rng, size)
        self.fails_at.get(len(self.sizes), lambda: None)()
        return batch

    def losses(self, network: nn.Module, batch: dict[str, torch.Tensor]) -> Any:
        self.autocast.add(torch.is_autocast_enabled("cpu"))
        return super().losses(network, batch)

    def validate(self, network: nn.Module) -> dict[str, float]:
        assert not network.training
        self.looks.append(len(self.sizes))
        if self.told is not None:
            return {"told": float(self.told[len(self.looks) - 1])}
        return super().validate(network)


def network(seed: int = 0, **size: Any) -> TokenModel:
    torch.manual_seed(seed)
    return TokenModel(Size(**{**TINY, **size}))


def weights(module: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in module.state_dict().items()}
