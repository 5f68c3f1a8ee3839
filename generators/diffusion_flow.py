"""Order flow by a causal trunk and a diffusion of the next order."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from marketsim.checks import at_least_zero, integer
from marketsim.errors import ConfigError
from marketsim.flow import Flow, Order
from marketsim.generators.causal_flow import TokenFlow, orders_of
from marketsim.generators.diffusion_sampling import LATENTS, denoise_orders, head_parts
from marketsim.generators.flows import array_of
from marketsim.generators.orders import KINDS, Vocabulary
from marketsim.generators.schedule import cosine_alpha_bar, trailing_steps
from marketsim.generators.weights import Shapes, diffusion_shapes


class DiffusionFlow(TokenFlow):
    """A transformer that reads the past once, and a small head that denoises the next order.

    Parameters
    ----------
    steps : that are taken, 1 to ``diffusion_steps``.
    diffusion_steps : of the diffusion that it learns to invert.
    eta : noise that each step adds, 0 to 1; 0 is DDIM, whose few steps make the flow too even; 1
        with all steps is DDPM.
    **size : see :class:`marketsim.generators.causal_flow.TokenFlow`; ``temperature`` is that of
        the class.
    """

    architecture: ClassVar[str] = "causal"
    sampling: ClassVar[tuple[str, ...]] = ("temperature", "steps", "eta")

    def __init__(
        self, steps: int = 8, diffusion_steps: int = 100, eta: float = 1.0, **size: Any
    ) -> None:
        super().__init__(**size)
        self.diffusion_steps = integer("diffusion_steps", diffusion_steps, 2)
        self.steps = integer("steps", steps, 1, diffusion_steps)
        self.eta = at_least_zero("eta", eta)
        if eta > 1:
            raise ConfigError(f"eta must be from 0 to 1, was {eta!r}")
        self.table: NDArray[np.int64] | None = None

    def network(self) -> Any:
        """A network of its size, as it is before training."""
        from marketsim.generators.diffusion_head import DiffusionModel

        return DiffusionModel(self.size, self.diffusion_steps)

    def task(self, flows: Sequence[Flow], valid: Sequence[Flow], vocabulary: Vocabulary) -> Any:
        """What the network is trained on."""
        from marketsim.generators.diffusion_head import DiffusionTask, Latents

        latents = Latents.fit(flows, vocabulary)
        self.table = latents.table
        return DiffusionTask(latents, self.diffusion_steps, flows, valid, vocabulary, self.shape[3])

    def head_parts(self, weights: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The heads' weights, as compiled code reads them."""
        return head_parts(weights)

    def shapes(self) -> Shapes:
        """Names and shapes of its weights."""
        return diffusion_shapes(self.size, self.diffusion_steps)

    def _draw(
        self,
        states: Sequence[Any],
        books: NDArray[np.int64],
        own_lots: NDArray[np.int64],
        rngs: Sequence[np.random.Generator],
    ) -> list[Order | None]:
        times, alpha_bar = self._schedule()
        v, (flat, _, at) = self.fitted, self._arrays
        out = np.empty((len(states), 6), np.int64)
        uniforms = np.stack([rng.random(2) for rng in rngs])
        count = LATENTS * (1 + (len(times) if self.eta else 0))
        normals = np.zeros((len(states), LATENTS * (1 + len(times))))
        for row, rng in zip(normals, rngs, strict=True):
            row[:count] = rng.standard_normal(count)
        if self._placed is not None:
            from marketsim.generators import device_heads

            device_heads.denoise_orders(
                self._placed, states, books, own_lots, uniforms, normals, self.steps, self.eta, v,
                self.table, self.temperature, out,
            )  # fmt: skip
            return orders_of(out, books)
        denoise_orders(
            flat, at, self.shape, self._addresses(states), books, own_lots, uniforms, normals,
            times, alpha_bar, self.eta, v.unit_ticks, self.table, self.temperature, out,
        )  # fmt: skip
        return orders_of(out, books)

    def _schedule(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Steps that are taken, falling, and the share of signal by step."""
        if self._taken != self.steps:
            self._times = np.array(trailing_steps(self.diffusion_steps, self.steps), np.int64)
            self._alpha_bar = cosine_alpha_bar(self.diffusion_steps)
            self._taken = self.steps
        return self._times, self._alpha_bar

    _taken = 0
    _times: NDArray[np.int64]
    _alpha_bar: NDArray[np.float64]

    def parameters(self) -> dict[str, Any]:
        """What makes another one like it."""
        own = {"steps": self.steps, "diffusion_steps": self.diffusion_steps, "eta": self.eta}
        return super().parameters() | own

    def learned(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Weights, bins, quantiles of the latents."""
        arrays, values = super().learned()
        assert self.table is not None  # what is fitted has quantiles
        return {**arrays, "bins.table": self.table}, values

    def restore(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """The inverse of :meth:`learned`."""
        super().restore(arrays, values)
        table = array_of(arrays, "bins.table", (KINDS, LATENTS, None), np.int64)
        if table.shape[2] < 2 or (np.diff(table) < 0).any():
            raise ValueError("bins.table: must hold 2 quantiles or more that do not fall")
        self.table = np.ascontiguousarray(table)
