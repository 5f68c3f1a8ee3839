"""Windows of order flow for training: a token and the event to predict at every position."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from marketsim.errors import DataError
from marketsim.flow import Flow
from marketsim.generators.causal import SYMBOL_NAMES
from marketsim.generators.orders import Encoded, Vocabulary, encode, mirror, targets


class TokenTask:
    """Every event of a window is predicted from the tokens up to it.

    Parameters
    ----------
    flows, valid : to learn from, and held out.
    vocabulary : their bins.
    window : events a window.
    mirrored : whether to learn from the mirrored market as well.
    """

    names: tuple[str, ...] = SYMBOL_NAMES

    def __init__(
        self,
        flows: Sequence[Flow],
        valid: Sequence[Flow],
        vocabulary: Vocabulary,
        window: int,
        mirrored: bool = True,
    ) -> None:
        flows = [*flows, *(mirror(flow) for flow in flows)] if mirrored else list(flows)
        self.vocabulary, self.window = vocabulary, window
        self.encoded = [encode(flow, vocabulary) for flow in flows]
        self.valid = [encode(flow, vocabulary) for flow in valid]
        starts = np.array([len(flow) - window - 1 for flow in flows])  # tokens from the third on
        self.share = np.cumsum(starts)

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """Windows from anywhere, each place as likely as the others."""
        picks = rng.integers(0, self.share[-1], size)
        which = np.searchsorted(self.share, picks, side="right")
        before = np.concatenate([[0], self.share])
        places = [
            (self.encoded[i], 2 + int(pick - before[i]))
            for i, pick in zip(which.tolist(), picks.tolist(), strict=True)
        ]
        return _tensors(self.columns(places, rng))

    def columns(
        self, places: Sequence[tuple[Encoded, int]], rng: np.random.Generator
    ) -> Mapping[str, NDArray[Any]]:
        """Windows that start at these places.

        Returns
        -------
        ``past`` int64[b, n, 4], the symbols of the event before each token; ``features``
        float32[b, n, FEATURES]; ``target`` int64[b, n, 4]; ``profile``, ``level`` as
        :func:`marketsim.generators.orders.targets` gives them.
        """
        columns: dict[str, list[NDArray[Any]]] = {
            "past": [], "features": [], "target": [], "profile": [], "level": []
        }  # fmt: skip
        for encoded, start in places:
            rows = np.arange(start, start + self.window)
            profiles, levels = targets(encoded, rows, self.vocabulary)
            columns["past"].append(encoded.symbols[rows - 1])
            columns["features"].append(encoded.features[rows])
            columns["target"].append(encoded.symbols[rows])
            columns["profile"].append(profiles)
            columns["level"].append(levels)
        return {name: np.stack(parts) for name, parts in columns.items()}

    def losses(self, network: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Means of what the network says of each event, such as nats of each symbol."""
        return dict(zip(self.names, (loss.mean() for loss in network(batch)), strict=True))

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Mean nats an order of the held-out flows."""
        return self.score(network, self.valid) if self.valid else {}

    def score(self, network: nn.Module, encoded: Sequence[Encoded]) -> dict[str, float]:
        """Losses an order by name, such as nats of each symbol.

        Windows overlap by half, and only their second halves count.
        """
        half = self.window // 2  # of windows with a middle event, the second half has it
        places = [
            (part, start)
            for part in encoded
            for start in range(2, len(part.symbols) - self.window + 1, self.window - half)
        ]
        totals, count = np.zeros(len(self.names)), 0
        rng = np.random.default_rng(0)
        network.eval()
        with torch.no_grad():
            device = next(network.parameters()).device
            for at in range(0, len(places), 16):
                batch = _tensors(self.columns(places[at : at + 16], rng))
                losses = network({name: value.to(device) for name, value in batch.items()})
                totals += [float(loss[:, half:].sum()) for loss in losses]
                count += losses[0][:, half:].numel()
        if count == 0:
            raise DataError(f"held-out data: must have at least {self.window + 2} events")
        return dict(zip(self.names, (totals / count).tolist(), strict=True))


def _tensors(columns: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(column) for name, column in columns.items()}
