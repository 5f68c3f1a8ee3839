"""Base of order-flow generators whose network torch trains and samples."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from marketsim.flow import Flow
from marketsim.generators.base import FitProgress, OrderFlowGenerator
from marketsim.generators.flows import training_flows
from marketsim.tape import Tape

if TYPE_CHECKING:
    from marketsim.generators.training import Training


class TorchFlow(OrderFlowGenerator):
    """Generator with a ``network``, which is where it computes.

    A subclass calls :meth:`untrained` when it is made, and writes :meth:`fit_flows`.

    Attributes
    ----------
    training_defaults : settings of its training, where nothing else is asked for.
    """

    training_defaults: ClassVar[dict[str, Any]]
    network: Any

    def untrained(self, window: int) -> None:
        """Nothing is learned yet; ``window``: orders that it reads at once."""
        self.context = window  # type: ignore[misc]  # no other generator's varies
        self.tick_size: float | None = None
        self.training: dict[str, Any] = {}
        self.device = "cpu"

    def to(self, device: str) -> Self:
        """Sample on a device.

        Raises
        ------
        ConfigError
            If torch cannot compute there.
        """
        from marketsim.generators.device import usable_device

        self.network.to(usable_device(device))
        self.device = device
        return self

    def fit(
        self,
        tapes: Sequence[Tape],
        *,
        valid: Sequence[Tape] = (),
        seed: int = 0,
        progress: FitProgress | None = None,
        training: "Training | None" = None,
        checkpoint: Path | None = None,
    ) -> Self:
        """See :meth:`OrderFlowGenerator.fit` and :meth:`fit_flows`."""
        flows, tick_size = training_flows(tapes, max(self.context + 1, 256))
        held = training_flows(valid, self.context + 1)[0] if valid else []
        self.fit_flows(
            flows, tick_size, held, seed=seed, progress=progress, training=training,
            checkpoint=checkpoint,
        )  # fmt: skip
        self.training["symbols"] = [tape.meta["symbol"] for tape in tapes]
        return self

    @abstractmethod
    def fit_flows(
        self,
        flows: Sequence[Flow],
        tick_size: float,
        held: Sequence[Flow] = (),
        *,
        seed: int = 0,
        progress: FitProgress | None = None,
        training: "Training | None" = None,
        checkpoint: Path | None = None,
    ) -> Self:
        """Train on flows; ``held`` are flows that say how good it is."""
