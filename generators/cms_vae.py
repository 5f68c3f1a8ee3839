"""CMS-VAE: return windows by a convolutional VAE that learns what strategies would earn on them."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from marketsim.checks import at_least_zero, choice, integer, number, positive, sequence, text
from marketsim.data.return_windows import Windows
from marketsim.errors import ConfigError, DataError
from marketsim.generators.cms_vae_network import DILATIONS, CmsVaeNetwork, Condition, Shape
from marketsim.generators.efpl import Target, Weights, targets
from marketsim.generators.flows import array_of
from marketsim.generators.return_network import (
    Floats,
    NetworkReturns,
    ReturnNetwork,
    WindowTask,
)
from marketsim.generators.returns import values_of
from marketsim.strategies import TRAINING, strategy

#: Pasts that are kept, to draw windows for where none is given.
KEPT = 512


class CmsVae(NetworkReturns):
    """Windows decoded from a normal latent, with noise of full covariance between assets.

    A dilated convolutional encoder and a mirrored decoder; the decoder gives each step's mean and
    covariance, and the noise is drawn when windows are. What a step's noise was carries over to the
    next in part. It learns by the likelihood, the divergence from the prior, and the EFPL of
    windows drawn from the prior (:mod:`marketsim.generators.efpl`).

    Parameters
    ----------
    width, latent : channels of the convolutions; length of the latent
    convolution : ``dilated`` (1, 2, 4, 8) or ``plain``
    strategies : whose performance is learned; none: the plain ELBO
    kl : weight of the divergence
    var, es, mdd, pnl : weights of the terms of the EFPL
    condition : what windows are given. ``none``; ``label``: a whole number, such as a regime
        (:func:`marketsim.data.regimes.labels`); ``past``: the returns before them
    past : returns of the past, for ``condition`` ``past``
    recent : share of the learned windows, the latest, to whose pasts windows are drawn where no
        condition is given
    latent_scale : standard deviation of the latent when windows are drawn: above 1 for stress

    References
    ----------
    The CMS-VAE paper: dilated CNN VAE with EFPL. The carrying over of noise, the condition on the
    past, and sizes are ours.
    """

    name = "cms-vae"
    conditional = True
    sampling: ClassVar[tuple[str, ...]] = ("latent_scale",)
    training_defaults: ClassVar[dict[str, Any]] = {
        "steps": 600, "batch": 384, "learning_rate": 2e-3, "weight_decay": 0.0, "average": 0.99,
        "warm_up": 50,
    }  # fmt: skip

    def __init__(
        self, width: int = 32, latent: int = 24, convolution: str = "dilated",
        strategies: Sequence[str] = TRAINING, kl: float = 1.0, var: float = 1.0, es: float = 1.0,
        mdd: float = 1.0, pnl: float = 1.0, condition: str = "none", past: int = 72,
        recent: float = 0.2, latent_scale: float = 1.0,
    ) -> None:  # fmt: skip
        self.width, self.latent = integer("width", width, 1), integer("latent", latent, 1)
        self.convolution = choice("convolution", convolution, ("dilated", "plain"))
        names = sequence("strategies", strategies)
        self.strategies = tuple(strategy(text("strategies", name)) for name in names)
        if len({plan.name for plan in self.strategies}) < len(self.strategies):
            raise ConfigError(f"strategies must be different, was {list(strategies)}")
        self.kl = at_least_zero("kl", kl)
        self.weights = Weights(var, es, mdd, pnl)
        self.condition = choice("condition", condition, ("none", "label", "past"))
        self.past = integer("past", past, 1)
        if not 0 < number("recent", recent) <= 1:
            raise ConfigError(f"recent must be > 0 and <= 1, was {recent!r}")
        self.recent = float(recent)
        self.latent_scale = positive("latent_scale", latent_scale)
        self._labels_seen = np.zeros(0, np.int64)
        self._pasts = np.zeros((0, 0, 0), np.float32)

    # -- conditions -------------------------------------------------------------------------------

    def _alone(self, condition: NDArray[Any]) -> bool:
        return condition.ndim == (2 if self.condition == "past" else 0)

    def _given(self, conditions: Any, n: int) -> NDArray[Any]:
        if self.condition == "none":
            raise ConfigError(
                "conditions: this model takes none; one made with condition='label' or 'past' does"
            )
        if self.condition == "label":
            return super()._given(conditions, n)
        pasts = values_of(conditions)
        if pasts.ndim != 3 or pasts.shape[:2] != (n, self.past) or pasts.dtype.kind != "f":
            raise ConfigError(
                f"conditions: must be returns [{n}, {self.past}, d] before the windows, was "
                f"{pasts.dtype}{list(pasts.shape)}"
            )
        if not np.isfinite(pasts).all():
            raise DataError("conditions: returns must be finite")
        return pasts.astype(np.float32)

    def _refuse_assets(self, pasts: NDArray[Any]) -> None:
        if pasts.shape[2] != len(self.symbols):
            raise ConfigError(
                f"conditions: must be returns of {len(self.symbols)} assets, as the windows, were"
                f" of {pasts.shape[2]}"
            )

    def _refuse_unknown(self, labels: NDArray[Any]) -> None:
        known = np.unique(self._labels_seen)
        unknown = labels[~np.isin(labels, known)]
        if len(unknown):
            raise ConfigError(
                f"conditions: no window of regime {unknown[0]} was learned"
                f" (known: {', '.join(str(one) for one in known)})"
            )

    def _learn(self, windows: Windows, condition: "NDArray[Any] | None", seed: int,
               progress: Any) -> None:  # fmt: skip
        self.network = None
        if self.condition == "label":
            if condition is None:
                raise ConfigError("conditions: a model with condition='label' needs labels")
            self._labels_seen = condition
        elif self.condition == "past":
            if condition is None:
                condition, known = windows.pasts(self.past)
                if known.sum() < self.least:
                    raise DataError(
                        f"windows: the {self.past} returns before them must be known of"
                        f" {self.least} at least, were of {int(known.sum())} of {len(windows)}"
                    )
                windows, condition = windows.take(known), condition[known]
            self._refuse_assets(condition)
            first = len(windows) - int(np.ceil(self.recent * len(windows)))
            rows = np.linspace(first, len(windows) - 1, min(KEPT, len(windows) - first))
            self._pasts = condition[rows.round().astype(int)]
        super()._learn(windows, condition, seed, progress)

    def sample_path(
        self, steps: int, n: int = 1, *, overlap: int | None = None,
        candidates: int | None = None,
        seed: int = 0,
    ) -> Floats:  # fmt: skip
        """See :meth:`ReturnGenerator.sample_path`.

        A model of the past draws each window for the returns before it: there is nothing to choose,
        and ``overlap`` and ``candidates`` are refused.
        """
        if self.condition != "past":
            return super().sample_path(steps, n, overlap=overlap, candidates=candidates, seed=seed)
        for name, value in (("overlap", overlap), ("candidates", candidates)):
            if value is not None:
                raise ConfigError(f"{name}: a model of the past needs none, was {value!r}")
        self._refuse_unfitted()
        integer("steps", steps, 1)
        rng = np.random.default_rng(integer("seed", seed, 0))
        path = self._pasts[rng.integers(len(self._pasts), size=integer("n", n, 1))]
        while path.shape[1] < self.past + steps:
            before = path[:, -self.past :]
            drawn = self.sample(n, before, seed=int(rng.integers(2**62)))
            path = np.concatenate([path, drawn], axis=1)
        return path[:, self.past : self.past + steps]

    def forget_pasts(self, *, seed: int = 0) -> None:
        """Put what the model draws after each past that it keeps in that past's place.

        A model that is given away then holds no recorded returns.

        Raises
        ------
        ModelError
            If it has not been fitted.
        ConfigError
            If it is no model of the past.
        """
        self._refuse_unfitted()
        if self.condition != "past":
            raise ConfigError(f"condition: must be 'past' to forget any, was {self.condition!r}")
        path, rng = self._pasts, np.random.default_rng(integer("seed", seed, 0))
        for _ in range(0, self.past, self.steps):
            before = path[:, -self.past :]
            drawn = self.sample(len(path), before, seed=int(rng.integers(2**62)))
            path = np.concatenate([path, drawn], axis=1)
        self._pasts = path[:, -self.past :]

    # -- the network ------------------------------------------------------------------------------

    def _build(self) -> ReturnNetwork:
        return self._network([])

    def _network(self, ensemble: Sequence[Target]) -> CmsVaeNetwork:
        assets = len(self.symbols)
        labels = int(self._labels_seen.max()) + 1 if len(self._labels_seen) else 1
        condition = Condition(self.condition, assets, labels)
        dilations = DILATIONS if self.convolution == "dilated" else (1,) * len(DILATIONS)
        shape = Shape(self.steps, assets, self.width, self.latent, condition.size, dilations)
        scale, centre = torch.from_numpy(self._scale), torch.from_numpy(self._mean)
        return CmsVaeNetwork(
            shape,
            condition,
            self.kl,
            ensemble,
            self.weights,
            scale,
            centre,
            torch.zeros(assets, assets),
        )

    def _task(self, windows: Windows, condition: "NDArray[Any] | None") -> Any:
        scaled = self._scaled(windows.log_returns)
        self.network.carry.data.copy_(torch.from_numpy(_carried(scaled)))
        tensors = {"returns": torch.from_numpy(scaled)}
        if condition is not None:
            given = condition if self.condition == "label" else self._scaled(condition)
            tensors["given"] = torch.from_numpy(given)
        if self.strategies:
            self.network.ensemble = targets(windows, self.strategies, self._settings.batch)
            tensors["initial_prices"] = torch.from_numpy(windows.initial_prices)
        return WindowTask(**tensors)

    def _draw(self, n: int, condition: "NDArray[Any] | None", rng: np.random.Generator) -> Floats:
        if self.condition == "label":
            if condition is None:
                condition = self._labels_seen[rng.integers(len(self._labels_seen), size=n)]
            self._refuse_unknown(condition)
        elif self.condition == "past":
            if condition is None:
                condition = self._pasts[rng.integers(len(self._pasts), size=n)]
            self._refuse_assets(condition)
            condition = self._scaled(condition)
        self.network.latent_scale = self.latent_scale
        return super()._draw(n, condition, rng)

    # -- saving -----------------------------------------------------------------------------------

    def parameters(self) -> dict[str, Any]:
        names = ("width", "latent", "convolution", "kl", "condition", "past", "recent")
        return {
            **{name: getattr(self, name) for name in names}, **vars(self.weights),
            "strategies": [plan.name for plan in self.strategies],
            "latent_scale": self.latent_scale,
        }  # fmt: skip

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {"labels": self._labels_seen, "pasts": self._pasts, **super()._arrays()}

    def _set(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._labels_seen = array_of(arrays, "labels", (None,), np.int64)
        self._pasts = array_of(arrays, "pasts", (None, None, None), np.float32)
        shape = (self.past, len(self.symbols))
        if self.condition == "past" and self._pasts.shape[1:] != shape:
            raise ValueError(f"pasts: must be of shape [n, {shape[0]}, {shape[1]}]")
        super()._set(arrays)


def _carried(returns: Floats) -> Floats:
    """Coefficients [d, d] of a step's scaled returns, of windows [n, T, d], on those before it."""
    assets = returns.shape[2]
    before, after = (part.reshape(-1, assets) for part in (returns[:, :-1], returns[:, 1:]))
    if not len(before):
        return np.zeros((assets, assets), np.float32)
    ridge = 1e-3 * len(before) * np.eye(assets)
    found = np.linalg.solve(before.T @ before + ridge, before.T @ after).T
    return np.asarray(found, np.float32)
