"""A network of returns that is trained in a moment, in place of real ones."""

from typing import Any

import torch
from torch import Tensor, nn

from marketsim.generators.return_network import NetworkReturns, ReturnNetwork


class TinyNetwork(ReturnNetwork):
    """Normal returns, each step like any other: a mean and a deviation of each asset."""

    def __init__(self, steps: int, assets: int) -> None:
        super().__init__()
        self.steps = steps
        self.mean = nn.Parameter(torch.randn(assets))
        self.log_scale = nn.Parameter(torch.zeros(assets))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        deviate = (batch["returns"] - self.mean) / self.log_scale.exp()
        return {"likelihood": (deviate**2 / 2 + self.log_scale).mean()}

    def draw(self, n: int, random: torch.Generator, condition: Tensor | None) -> Tensor:
        deviate = torch.randn(n, self.steps, len(self.mean), generator=random)
        return self.mean + self.log_scale.exp() * deviate


class TinyReturns(NetworkReturns):
    """Independent normal returns, trained step by step."""

    name = "tiny-returns"
    training_defaults = {"steps": 40, "batch": 16, "warm_up": 1, "learning_rate": 0.05}

    def _build(self) -> ReturnNetwork:
        return TinyNetwork(self.steps, len(self.symbols))

    def parameters(self) -> dict[str, Any]:
        return {}
