"""Diffusion: exact oracles and what theory says of them, schedule, bound, step sampler."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from marketsim.generators.diffusion import (
    Diffusion,
    ImportantTimes,
    cosine_alpha_bar,
    hybrid_losses,
    trailing_steps,
)

MEAN, DEVIATION, STEPS, SAMPLES = 2.0, 0.3, 100, 20_000


class Oracle:
    """The exact noise of normal data, E[noise | x_t], and if asked the exact variance."""

    def __init__(self, diffusion: Diffusion, variance: bool = False) -> None:
        self.alpha_bar = torch.from_numpy(cosine_alpha_bar(diffusion.steps))
        self.variance = variance

    def __call__(self, x: Tensor, t: Tensor, condition: object) -> Tensor | tuple[Tensor, Tensor]:
        share, before = (self.alpha_bar[at].view(-1, 1) for at in (t, t - 1))
        total = share * DEVIATION**2 + 1 - share
        noise = (1 - share).sqrt() * (x - share.sqrt() * MEAN) / total
        if not self.variance:
            return noise.float()
        beta = 1 - share / before
        posterior = beta * (1 - before) / (1 - share)
        exact = posterior + before * beta**2 / (1 - share) * DEVIATION**2 / total
        low = posterior.clamp(min=1e-12).log()
        v = (exact.log() - low) / (beta.log() - low)
        return noise.float(), v.float().expand_as(x)


def noise_of(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def theory(steps: int) -> float:
    """Deviation that DDIM gives with exact noise: s times a product of cosines."""
    alpha_bar = cosine_alpha_bar(STEPS)[[*trailing_steps(STEPS, steps), 0]]
    angle = np.arctan2(np.sqrt(1 - alpha_bar), DEVIATION * np.sqrt(alpha_bar))
    return float(DEVIATION * np.cos(np.diff(angle)).prod())


@pytest.mark.parametrize("variance", [False, True])
def test_ddpm_recovers_normal_data(variance: bool) -> None:
    diffusion = Diffusion(STEPS)
    sample = diffusion.ddpm(Oracle(diffusion, variance), noise_of(STEPS, SAMPLES, 1))
    assert float(sample.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(sample.std()) == pytest.approx(DEVIATION, abs=0.01 if variance else 0.02)


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 20, 50, 100])
def test_ddim_recovers_what_theory_allows(steps: int) -> None:
    """The mean with any number of steps; the deviation with 50 and 100 of them within 0.02."""
    diffusion = Diffusion(STEPS)
    sample = diffusion.ddim(Oracle(diffusion), noise_of(1, SAMPLES, 1), steps=steps)
    assert float(sample.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(sample.std()) == pytest.approx(theory(steps), abs=0.004)
    assert (abs(theory(steps) - DEVIATION) < 0.02) == (steps >= 50)
    if steps == 1:
        assert theory(steps) < 1e-3


def test_theory_approaches_the_data() -> None:
    found = [theory(steps) for steps in (1, 2, 5, 10, 20, 50, 100)]
    assert found == sorted(found)
    assert found[-1] == pytest.approx(0.293, abs=5e-4)


def test_ddim_with_noise_in_all_steps_is_ddpm() -> None:
    diffusion, noise = Diffusion(STEPS), noise_of(STEPS, 500, 1)
    oracle = Oracle(diffusion)
    ddim = diffusion.ddim(oracle, noise, steps=STEPS, eta=1.0)
    torch.testing.assert_close(ddim, diffusion.ddpm(oracle, noise), atol=2e-4, rtol=0)
    few = diffusion.ddim(oracle, noise_of(20, SAMPLES, 1), steps=20, eta=1.0)
    assert float(few.mean()) == pytest.approx(MEAN, abs=0.01)


def test_every_draw_of_noise_matters_and_only_its_own_sample() -> None:
    diffusion, noise = Diffusion(20), noise_of(20, 5, 3)
    oracle = Oracle(diffusion)
    sample = diffusion.ddpm(oracle, noise)
    for step in range(1, 20):  # what x_T had to say is gone by the end, in float32
        moved = noise.clone()
        moved[step, 2, 1] += 1.0
        changed = diffusion.ddpm(oracle, moved) != sample
        assert changed[2, 1] and changed.sum() == 1
    start = noise.clone()
    start[0, 2, 1] += 1.0
    for steps in (2, 5, 20):
        changed = diffusion.ddim(oracle, start, steps=steps) != diffusion.ddim(
            oracle, noise, steps=steps
        )
        assert changed[2, 1] and changed.sum() == 1
    for row in range(5):
        alone = noise[:, row : row + 1]
        assert torch.equal(diffusion.ddpm(oracle, alone)[0], sample[row])


def test_a_step_uses_the_current_sample() -> None:
    seen: list[Tensor] = []

    def model(x: Tensor, t: Tensor, condition: object) -> Tensor:
        seen.append(x.clone())
        assert condition == "past"
        return torch.zeros_like(x)

    Diffusion(20).ddim(model, noise_of(1, 4, 2), "past", steps=5)
    assert len(seen) == 5
    assert all(not torch.equal(a, b) for a, b in zip(seen[:-1], seen[1:], strict=True))


def test_estimates_are_clipped() -> None:
    diffusion = Diffusion(STEPS)
    for sample in (
        diffusion.ddim(Oracle(diffusion), noise_of(1, 100, 1), steps=10, clip=1.5),
        diffusion.ddpm(Oracle(diffusion), noise_of(STEPS, 100, 1), clip=1.5),
    ):
        assert float(sample.max()) <= 1.5


def test_schedule() -> None:
    alpha_bar = cosine_alpha_bar(1_000)
    assert alpha_bar[0] == 1
    assert (np.diff(alpha_bar) < 0).all()
    assert alpha_bar[500] == pytest.approx(
        (math.cos(0.508 / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)) ** 2
    )
    beta = 1 - alpha_bar[1:] / alpha_bar[:-1]
    assert beta[0] == pytest.approx(4.1e-5, rel=0.02)
    assert beta.max() == pytest.approx(0.999)
    assert alpha_bar[-1] < 1e-8
    assert trailing_steps(100, 1) == [100]
    assert trailing_steps(100, 5) == [100, 80, 60, 40, 20]
    assert trailing_steps(10, 10) == list(range(10, 0, -1))
    assert trailing_steps(10, 4) == [10, 8, 5, 2]


def test_the_reverse_of_noising() -> None:
    diffusion = Diffusion(STEPS)
    data, noise, t = noise_of(50, 4), noise_of(50, 4, seed=1), torch.arange(1, 51)
    found = diffusion.data(diffusion.noised(data, t, noise), t, noise)
    torch.testing.assert_close(found, data, atol=1e-4, rtol=1e-4)


def plain_bound(diffusion: Diffusion, x0: float, t: int, noise: float, v: float) -> float:
    """The term of the bound of one number, with a model that says the noise is 0.1."""
    alpha_bar = cosine_alpha_bar(diffusion.steps)
    now, before = alpha_bar[t], alpha_bar[t - 1]
    alpha, beta = now / before, 1 - now / before
    xt = math.sqrt(now) * x0 + math.sqrt(1 - now) * noise
    mean = (xt - beta / math.sqrt(1 - now) * 0.1) / math.sqrt(alpha)
    low = beta * (1 - before) / (1 - now)
    if t == 1:
        low = (1 - alpha_bar[2] / before * before / now) * (1 - now) / (1 - alpha_bar[2])
    variance = math.exp(v * math.log(beta) + (1 - v) * math.log(low))
    if t == 1:
        normal = torch.distributions.Normal(mean, math.sqrt(variance))
        return -float(normal.log_prob(torch.tensor(x0)))
    true = (
        math.sqrt(before) * beta / (1 - now) * x0 + math.sqrt(alpha) * (1 - before) / (1 - now) * xt
    )
    pair = [
        torch.distributions.Normal(true, math.sqrt(low)),
        torch.distributions.Normal(mean, math.sqrt(variance)),
    ]
    return float(torch.distributions.kl_divergence(*pair))


@pytest.mark.parametrize("t", [1, 2, 30, 99, 100])
@pytest.mark.parametrize("v", [0.0, 0.4, 1.0])
def test_bound_equals_a_plain_reading(t: int, v: float) -> None:
    diffusion = Diffusion(STEPS)

    def model(x: Tensor, t: Tensor, condition: object) -> tuple[Tensor, Tensor]:
        return torch.full_like(x, 0.1), torch.full_like(x, v)

    x0, noise = torch.tensor([[0.7]]), torch.tensor([[-0.4]])
    error, bound = diffusion.losses(model, x0, torch.tensor([t]), noise)
    assert bound is not None
    assert float(error) == pytest.approx(0.25)
    expected = plain_bound(diffusion, 0.7, t, -0.4, v)
    assert float(bound) == pytest.approx(expected, rel=2e-3, abs=2e-5)


def test_bound_trains_the_variance_only() -> None:
    diffusion = Diffusion(STEPS)
    noise, v = torch.zeros(8, 3, requires_grad=True), torch.zeros(8, 3, requires_grad=True)
    t = torch.tensor([1, 2, 5, 20, 50, 80, 99, 100])
    error, bound = diffusion.losses(lambda *_: (noise, v), noise_of(8, 3), t, noise_of(8, 3))
    assert bound is not None
    bound.sum().backward()
    assert noise.grad is None and v.grad is not None and (v.grad != 0).all()
    error.sum().backward()
    assert noise.grad is not None


def test_the_exact_variance_has_the_least_bound() -> None:
    diffusion, data = Diffusion(STEPS), MEAN + DEVIATION * noise_of(SAMPLES, 1)
    oracle = Oracle(diffusion, variance=True)
    t = torch.randint(2, STEPS + 1, (SAMPLES,), generator=torch.Generator().manual_seed(3))
    draws = noise_of(SAMPLES, 1, seed=4)

    def shifted(by: float) -> float:
        def model(x: Tensor, t: Tensor, condition: object) -> tuple[Tensor, Tensor]:
            noise, v = oracle(x, t, condition)
            return noise, v + by

        bound = diffusion.losses(model, data, t, draws)[1]
        assert bound is not None
        return float(bound.mean())

    assert shifted(0.0) < min(shifted(0.2), shifted(-0.2))


def test_important_steps_are_drawn_more_often_without_bias() -> None:
    times, generator = ImportantTimes(20), torch.Generator().manual_seed(0)
    truth = torch.linspace(0.1, 5.0, 20) ** 2
    assert times.shares().numpy() == pytest.approx(np.full(20, 0.05))
    for _ in range(9):
        times.update(torch.arange(1, 21), truth)
    assert times.shares().numpy() == pytest.approx(np.full(20, 0.05))  # until each has ten
    times.update(torch.arange(1, 21), truth)
    share = (truth / truth.sum()).numpy() * 0.999 + 0.001 / 20
    assert times.shares().numpy() == pytest.approx(share)
    t, weight = times.draw(200_000, generator)
    assert np.bincount(t.numpy(), minlength=21)[1:] / 200_000 == pytest.approx(share, abs=0.004)
    weighted = weight * truth[t - 1]
    assert float(weighted.mean()) == pytest.approx(float(truth.mean()), rel=0.01)
    assert float(weighted.std()) < 0.2 * float(truth.std())
    times.update(torch.full((37,), 3), torch.cat([torch.zeros(27), torch.full((10,), 100.0)]))
    assert times.history[2].tolist() == pytest.approx([100.0] * 10)


def test_hybrid_losses_is_that_of_uniform_steps() -> None:
    diffusion, oracle = Diffusion(20), Oracle(Diffusion(20), variance=True)
    data = MEAN + DEVIATION * noise_of(50_000, 1)
    generator = torch.Generator().manual_seed(0)
    times = ImportantTimes(20)
    early = sum(map(float, hybrid_losses(diffusion, oracle, data, times, generator=generator)))
    assert (times.seen > 10).all() and times.shares().std() > 0
    late = sum(map(float, hybrid_losses(diffusion, oracle, data, times, generator=generator)))
    assert late == pytest.approx(early, rel=0.05)
    fresh = noise_of(50_000, 1, seed=5)
    errors = [
        diffusion.losses(oracle, data, torch.full((50_000,), t), fresh)[0].mean()
        for t in range(1, 21)
    ]
    plain = ImportantTimes(20)
    error, bound = hybrid_losses(
        diffusion, lambda *a: oracle(*a)[0], data, plain, generator=generator
    )
    assert float(bound) == 0
    assert float(error) == pytest.approx(float(torch.stack(errors).mean()), rel=0.03)
    assert not plain.seen.any()


def test_mistakes_have_names() -> None:
    diffusion = Diffusion(10)
    oracle = Oracle(diffusion)
    with pytest.raises(ValueError, match="sampling steps must be 1 to 10, was 11"):
        diffusion.ddim(oracle, noise_of(1, 2, 1), steps=11)
    with pytest.raises(ValueError, match="noise: must hold 10 draws, had 1"):
        diffusion.ddpm(oracle, noise_of(1, 2, 1))
    with pytest.raises(ValueError, match="noise: must hold 5 draws, had 1"):
        diffusion.ddim(oracle, noise_of(1, 2, 1), steps=5, eta=0.5)
    with pytest.raises(ValueError, match="diffusion steps must be >= 2, was 1"):
        Diffusion(1)
