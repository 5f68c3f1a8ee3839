"""Fourier flow: an invertible network between the spectra of windows and normal deviates.

As in the paper: windows become spectra by the discrete Fourier transform, affine couplings turn
the real parts given the imaginary ones and the other way round, in turn, and the exact likelihood
is maximised. Chosen by us: the transform is orthonormal and leaves out what is 0 or said twice, so
that it is a rotation; assets are made uncorrelated before it, and spectra of unit scale after it;
couplings are perceptrons, whose scale is bounded.

References
----------
Alaa, Chan & van der Schaar (2021), Generative time-series modeling with Fourier flows; Dinh,
Sohl-Dickstein & Bengio (2017), Density estimation using Real NVP.
"""

import math
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from marketsim.checks import integer, positive
from marketsim.data.return_windows import Windows
from marketsim.errors import DataError
from marketsim.generators.return_network import NetworkReturns, ReturnNetwork
from marketsim.generators.training import Task

#: Steps of a window below which there is no imaginary part.
LEAST_STEPS = 3


def rotation(steps: int) -> Tensor:
    """Real Fourier transform as an orthonormal matrix float32[steps, steps].

    The first ``steps // 2 + 1`` rows give the real, the others the imaginary parts of the half
    spectrum, those left out that are always 0.
    """
    spectrum = torch.fft.rfft(torch.eye(steps, dtype=torch.float64), dim=0, norm="ortho")
    weight = torch.full((len(spectrum), 1), math.sqrt(2), dtype=torch.float64)
    weight[0] = 1
    if steps % 2 == 0:
        weight[-1] = 1
    imaginary = (weight * spectrum.imag)[1 : (steps + 1) // 2]
    return torch.cat([weight * spectrum.real, imaginary]).float()


class Coupling(nn.Module):
    """Scales and shifts one part of a vector by what a perceptron makes of the other.

    Parameters
    ----------
    changed, given : numbers in the two parts
    bound : of the logarithm of the scale
    """

    def __init__(self, changed: int, given: int, hidden: int, bound: float) -> None:
        super().__init__()
        self.bound = bound
        last = nn.Linear(hidden, 2 * changed)
        nn.init.zeros_(last.weight)  # the identity at first
        nn.init.zeros_(last.bias)
        self.said = nn.Sequential(
            nn.Linear(given, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last
        )

    def forward(self, given: Tensor) -> tuple[Tensor, Tensor]:
        """Log scale and shift, (batch, changed) each."""
        log_scale, shift = self.said(given).chunk(2, -1)
        return self.bound * torch.tanh(log_scale / self.bound), shift


class FourierFlowNetwork(ReturnNetwork):
    """Couplings of the parts of a spectrum, in turn; the first part is the real one."""

    spectrum: Tensor
    factor: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, steps: int, assets: int, *, flows: int, hidden: int, bound: float) -> None:
        super().__init__()
        self.steps, self.assets = steps, assets
        self.real = (steps // 2 + 1) * assets
        parts = self.real, steps * assets - self.real
        self.couplings = nn.ModuleList(
            Coupling(parts[number % 2], parts[1 - number % 2], hidden, bound)
            for number in range(flows)
        )
        self.register_buffer("spectrum", rotation(steps), persistent=False)
        self.register_buffer("factor", torch.eye(assets))
        self.register_buffer("mean", torch.zeros(steps * assets))
        self.register_buffer("scale", torch.ones(steps * assets))

    @torch.no_grad()
    def standardise(self, returns: Tensor) -> None:
        """Set the factor of assets, mean and scale of spectra from returns (n, steps, assets)."""
        covariance = torch.cov(returns.flatten(0, 1).T).view(self.assets, self.assets)
        # assets that are copies of each other have no inverse without it
        ridge = 1e-4 * torch.eye(self.assets)
        self.factor.copy_(torch.linalg.cholesky(covariance + ridge))
        spectra = self.transform(returns)
        self.mean.copy_(spectra.mean(0))
        self.scale.copy_(spectra.std(0).clamp_min(1e-6))

    def transform(self, returns: Tensor) -> Tensor:
        """Spectra (batch, steps x assets), real parts first."""
        apart: Tensor = torch.linalg.solve_triangular(
            self.factor, returns.transpose(1, 2), upper=False
        )
        return (self.spectrum @ apart.transpose(1, 2)).flatten(1)

    def encode(self, returns: Tensor) -> tuple[Tensor, Tensor]:
        """Deviates (batch, steps x assets) and log |det| (batch) of the way to them."""
        deviates = (self.transform(returns) - self.mean) / self.scale
        constant = self.scale.log().sum() + self.steps * self.factor.diagonal().log().sum()
        volume = -constant.expand(len(returns))
        for number, coupling in enumerate(self.couplings):
            changed, given = self._parts(deviates, number)
            log_scale, shift = coupling(given)
            deviates = self._joined(changed * log_scale.exp() + shift, given, number)
            volume = volume + log_scale.sum(1)
        return deviates, volume

    def decode(self, deviates: Tensor) -> Tensor:
        """The inverse of :meth:`encode`: (batch, steps, assets)."""
        for number, coupling in reversed(list(enumerate(self.couplings))):
            changed, given = self._parts(deviates, number)
            log_scale, shift = coupling(given)
            deviates = self._joined((changed - shift) * (-log_scale).exp(), given, number)
        spectra = (deviates * self.scale + self.mean).view(-1, self.steps, self.assets)
        return self.spectrum.T @ spectra @ self.factor.T

    def _parts(self, values: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """What a coupling changes, and what it is given."""
        real, imaginary = values[:, : self.real], values[:, self.real :]
        return (real, imaginary) if number % 2 == 0 else (imaginary, real)

    @staticmethod
    def _joined(changed: Tensor, given: Tensor, number: int) -> Tensor:
        return torch.cat([changed, given] if number % 2 == 0 else [given, changed], -1)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Negative log likelihood, by value [nats]."""
        real = batch["returns"]
        deviates, volume = self.encode(real)
        normal = 0.5 * (deviates.square() + math.log(2 * math.pi)).sum(1)
        return {"likelihood": (normal - volume).mean() / real[0].numel()}

    def draw(self, n: int, random: torch.Generator, condition: Tensor | None) -> Tensor:
        return self.decode(torch.randn(n, self.steps * self.assets, generator=random))


class FourierFlow(NetworkReturns):
    """Normalising flow on the spectra of windows, of exact likelihood.

    Parameters
    ----------
    flows : couplings, of real and imaginary parts in turn.
    hidden : width of their perceptrons.
    bound : of the logarithm of the scale of each coupling.

    References
    ----------
    Alaa, Chan & van der Schaar (2021), Generative time-series modeling with Fourier flows.
    """

    name = "fourier-flow"
    training_defaults: ClassVar[dict[str, Any]] = {
        "steps": 3500, "batch": 128, "learning_rate": 1e-3, "weight_decay": 0.01, "patience": 0,
    }  # fmt: skip

    def __init__(self, flows: int = 8, hidden: int = 128, bound: float = 1.0) -> None:
        self.flows, self.hidden = integer("flows", flows, 2), integer("hidden", hidden, 1)
        self.bound = positive("bound", bound)

    def parameters(self) -> dict[str, Any]:
        return {"flows": self.flows, "hidden": self.hidden, "bound": self.bound}

    def _build(self) -> ReturnNetwork:
        return FourierFlowNetwork(self.steps, len(self.symbols), **self.parameters())

    def _task(self, windows: Windows, condition: "NDArray[Any] | None") -> Task:
        self.network.standardise(torch.from_numpy(self._scaled(windows.log_returns)))
        return super()._task(windows, condition)

    def _fit_scale(self, returns: NDArray[np.float32]) -> None:
        if returns.shape[1] < LEAST_STEPS:
            raise DataError(
                f"windows: model {self.name!r} needs {LEAST_STEPS} steps at least, "
                f"had {returns.shape[1]}"
            )
        super()._fit_scale(returns)
