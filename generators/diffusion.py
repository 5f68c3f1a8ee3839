"""Denoising diffusion: cosine schedule, noise and variance objectives, DDPM and DDIM samplers.

Steps are counted as in the papers, t = 1 to T; x_0 is data, x_T is noise. A model is any function
``model(x_t, t, condition)`` of float32[batch, ...] and int64[batch] that returns the noise in
``x_t``, of its shape, or the pair of that and ``v``, the weight of the log-variance between its
bounds: 1 is beta_t, 0 the variance of q(x_{t-1} | x_t, x_0).

References
----------
Ho, Jain & Abbeel (2020), Denoising diffusion probabilistic models; Nichol & Dhariwal (2021),
Improved denoising diffusion probabilistic models; Song, Meng & Ermon (2021), Denoising diffusion
implicit models; Lin et al. (2024), Common diffusion noise schedules and sample steps are flawed.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from marketsim.generators.schedule import Floats, cosine_alpha_bar, trailing_steps

#: ``(x_t, t, condition)`` to the noise, or to the noise and ``v``.
Model = Callable[[Tensor, Tensor, Any], Tensor | tuple[Tensor, Tensor]]


class Diffusion(nn.Module):
    """The forward process of ``steps`` steps, its objectives and its samplers.

    It has no parameters; its tables, float32[steps + 1] by t, move with ``to(device)``.
    """

    alpha_bar: Tensor
    log_beta: Tensor
    log_posterior: Tensor
    from_data: Tensor
    from_noised: Tensor

    def __init__(self, steps: int = 100) -> None:
        if steps < 2:
            raise ValueError(f"diffusion steps must be >= 2, was {steps}")
        super().__init__()
        self.steps = steps
        alpha_bar = cosine_alpha_bar(steps)
        now, before = alpha_bar[1:], alpha_bar[:-1]
        beta = 1 - now / before
        posterior = beta * (1 - before) / (1 - now)  # Ho et al. (2020), eq. 7
        posterior[0] = posterior[1]  # it is 0 at t = 1; as Nichol & Dhariwal do
        self._table("alpha_bar", alpha_bar)
        self._table("log_beta", np.log(beta), first=0.0)
        self._table("log_posterior", np.log(posterior), first=0.0)
        self._table("from_data", np.sqrt(before) * beta / (1 - now), first=0.0)
        self._table("from_noised", np.sqrt(1 - beta) * (1 - before) / (1 - now), first=0.0)

    def _table(self, name: str, values: Floats, first: float | None = None) -> None:
        rows = values if first is None else np.concatenate([[first], values])
        self.register_buffer(name, torch.tensor(rows, dtype=torch.float32), persistent=False)

    def noised(self, data: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t, given x_0 and the noise; all float32[batch, ...]. Ho et al. (2020), eq. 4."""
        share = _at(self.alpha_bar, t, data)
        return share.sqrt() * data + (1 - share).sqrt() * noise

    def data(self, noised: Tensor, t: Tensor, noise: Tensor, clip: float | None = None) -> Tensor:
        """x_0, given x_t and the noise, within ``clip`` of 0."""
        share = _at(self.alpha_bar, t, noised)
        data = (noised - (1 - share).sqrt() * noise) / share.sqrt()
        return data if clip is None else data.clamp(-clip, clip)

    def posterior_mean(self, data: Tensor, noised: Tensor, t: Tensor) -> Tensor:
        """Mean of q(x_{t-1} | x_t, x_0). Ho et al. (2020), eq. 7."""
        return _at(self.from_data, t, data) * data + _at(self.from_noised, t, data) * noised

    def log_variance(self, t: Tensor, v: Tensor) -> Tensor:
        """Log-variance of the step to t - 1. Nichol & Dhariwal (2021), eq. 15."""
        high, low = _at(self.log_beta, t, v), _at(self.log_posterior, t, v)
        return v * high + (1 - v) * low

    def losses(
        self,
        model: Model,
        data: Tensor,
        t: Tensor,
        noise: Tensor,
        condition: Any = None,
        *,
        clip: float | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Squared error of the noise, and the term of the variational bound, of each sample.

        The bound trains the variance only: the mean in it is detached, and estimates of x_0 in it
        are within ``clip`` of 0, as they are in the samplers. Without that, at the first steps back
        from noise, a small error of the noise is a large one of x_0. The last term, t = 1, is the
        density of the data, as the data is continuous.

        Returns
        -------
        error : float32[batch], mean over elements.
        bound : float32[batch] [nats an element], or None if the model gives no ``v``.
        """
        noised = self.noised(data, t, noise)
        found, v = _parts(model(noised, t, condition))
        error = _mean((noise - found) ** 2)
        if v is None:
            return error, None
        with torch.no_grad():
            mean = self.posterior_mean(self.data(noised, t, found, clip), noised, t)
            true_mean = self.posterior_mean(data, noised, t)
            true_log = _at(self.log_posterior, t, data)
        log = self.log_variance(t, v)
        first = _mean(0.5 * (math.log(2 * math.pi) + log + (data - mean) ** 2 * torch.exp(-log)))
        apart = (true_mean - mean) ** 2
        later = _mean(0.5 * (log - true_log - 1 + (true_log.exp() + apart) * torch.exp(-log)))
        return error, torch.where(t == 1, first, later)

    @torch.no_grad()
    def ddpm(
        self, model: Model, noise: Tensor, condition: Any = None, *, clip: float | None = None
    ) -> Tensor:
        """Sample in all T steps. Ho et al. (2020), algorithm 2.

        The variance is that of ``v``, or of q(x_{t-1} | x_t, x_0) if the model gives none.

        Parameters
        ----------
        noise : float32[T, batch, ...]
            Standard normal draws: x_T, then what the steps from T to 2 add. Given by the caller,
            so that a sample does not depend on what else is in the batch.
        clip : float, optional
            Bound of |x_0| as estimated on the way.

        Returns
        -------
        float32[batch, ...]
        """
        self._need(noise, self.steps)
        x = noise[0]
        for step in range(self.steps, 0, -1):
            t = self._everywhere(step, x)
            found, v = _parts(model(x, t, condition))
            mean = self.posterior_mean(self.data(x, t, found, clip), x, t)
            if step == 1:
                return mean
            log = self.log_variance(t, torch.zeros_like(x) if v is None else v)
            x = mean + torch.exp(0.5 * log) * noise[self.steps - step + 1]
        raise AssertionError("steps are 2 or more")

    @torch.no_grad()
    def ddim(
        self,
        model: Model,
        noise: Tensor,
        condition: Any = None,
        *,
        steps: int,
        eta: float = 0.0,
        clip: float | None = None,
    ) -> Tensor:
        """Sample in few steps, spaced from T down. Song et al. (2021), eq. 12 and 16.

        Each step rests on the mean of x_0 given x_t. Of normal data with mean m and deviation s
        the mean is recovered by any number of steps. The deviation is s times the product of
        cos(a - a') over the steps, a = atan2(sqrt(1 - alpha_bar), s sqrt(alpha_bar)) where a step
        begins and ends: 0 with one step, from below towards s with many.

        Parameters
        ----------
        noise : float32[1 or steps, batch, ...]
            x_T, then what all steps but the last add; with ``eta`` 0 they add nothing.
        steps : int
        eta : float
            0 adds no noise, 1 as much as DDPM does.

        Returns
        -------
        float32[batch, ...]
        """
        times = trailing_steps(self.steps, steps)
        self._need(noise, steps if eta > 0 else 1)
        x = noise[0]
        for place, (step, after) in enumerate(zip(times, [*times[1:], 0], strict=True)):
            t = self._everywhere(step, x)
            data = self.data(x, t, _parts(model(x, t, condition))[0], clip)
            if after == 0:
                return data
            share, left = self.alpha_bar[step], self.alpha_bar[after]
            found = (x - share.sqrt() * data) / (1 - share).sqrt()
            sigma = eta * ((1 - left) / (1 - share) * (1 - share / left)).sqrt()
            x = left.sqrt() * data + (1 - left - sigma**2).sqrt() * found
            if eta > 0:
                x = x + sigma * noise[place + 1]
        raise AssertionError("steps are 1 or more")

    def _everywhere(self, step: int, x: Tensor) -> Tensor:
        return torch.full((len(x),), step, dtype=torch.int64, device=x.device)

    @staticmethod
    def _need(noise: Tensor, count: int) -> None:
        if len(noise) < count:
            raise ValueError(f"noise: must hold {count} draws, had {len(noise)}")


def _at(table: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """Entries of a table for each sample, (batch, 1, ...)."""
    return table[t].view(-1, *[1] * (like.dim() - 1))


def _parts(output: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor | None]:
    return output if isinstance(output, tuple) else (output, None)


def _mean(values: Tensor) -> Tensor:
    """Mean over all but the batch, (batch,)."""
    return values.flatten(1).mean(1)


class ImportantTimes(nn.Module):
    """Draws steps in proportion to the root mean square of their last losses.

    Steps are drawn alike until each has its history. A small share of the draws stays uniform.
    What it remembers are buffers, so that a checkpoint of a network that holds it has them.

    References: Nichol & Dhariwal (2021), section 3.3, eq. 18.
    """

    history: Tensor
    seen: Tensor

    def __init__(self, steps: int, history: int = 10, uniform_share: float = 0.001) -> None:
        super().__init__()
        self.uniform_share = uniform_share
        self.register_buffer("history", torch.zeros(steps, history, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(steps, dtype=torch.int64))

    def shares(self) -> Tensor:
        """Probability of each step, float64[steps]."""
        steps, history = self.history.shape
        size = (self.history**2).mean(1).sqrt()
        if bool((self.seen < history).any()) or float(size.sum()) == 0:
            return torch.full_like(size, 1 / steps)
        return size / size.sum() * (1 - self.uniform_share) + self.uniform_share / steps

    def draw(self, count: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw steps, and what to weigh their losses by: the mean is then that of uniform steps.

        Returns
        -------
        t : int64[count], 1 to T.
        weight : float32[count].
        """
        share = self.shares()
        place = torch.multinomial(share, count, replacement=True, generator=generator)
        return place + 1, (1 / (len(share) * share[place])).float()

    def update(self, t: Tensor, losses: Tensor) -> None:
        """Keep the losses of steps; the oldest go."""
        steps, history = self.history.shape
        order = torch.argsort(t, stable=True)
        place = t[order] - 1
        count = torch.bincount(place, minlength=steps)
        rank = torch.arange(len(place), device=t.device) - (count.cumsum(0) - count)[place]
        kept = rank >= count[place] - history
        slot = (self.seen[place] + rank) % history
        self.history[place[kept], slot[kept]] = losses[order][kept].double()
        self.seen += count


def hybrid_losses(
    diffusion: Diffusion,
    model: Model,
    data: Tensor,
    times: ImportantTimes,
    condition: Any = None,
    *,
    clip: float | None = None,
    bound_weight: float = 0.01,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Losses of a batch: the error of the noise, and ``bound_weight`` times the variational bound.

    The same steps serve both, drawn by their share in the bound; both are what uniform steps give
    in the mean, and the bound is the sum over all steps.
    """
    t, weight = times.draw(len(data), generator)
    noise = torch.randn(data.shape, generator=generator, device=data.device)
    error, bound = diffusion.losses(model, data, t, noise, condition, clip=clip)
    if bound is None:
        return (weight * error).mean(), error.new_zeros(())
    times.update(t, bound.detach())
    return (weight * error).mean(), bound_weight * diffusion.steps * (weight * bound).mean()
