"""Neural reference generators of returns: what all have in common, and what each is built on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from marketsim import generators
from marketsim.data.return_windows import as_windows
from marketsim.errors import ConfigError, DataError, ModelError
from marketsim.generators.adversary import slope_penalty
from marketsim.generators.diffusion_ts import DiffusionTsNetwork, noise_levels, strongest_terms
from marketsim.generators.fourier_flow import FourierFlowNetwork, rotation
from marketsim.generators.lambert import fit_delta, gaussianised, heavier
from marketsim.generators.quant_gan import Temporal
from marketsim.generators.return_network import WindowTask
from marketsim.generators.tail_gan import TailDiscriminator, score
from marketsim.generators.training import Training
from marketsim.metrics.risk import expected_shortfall, value_at_risk

#: Small ones of all, by name.
TINY: dict[str, dict[str, Any]] = {
    "cosci-gan": {"noise": 2, "hidden": 8},
    "diffusion-ts": {"levels": 10, "drawn_levels": 5, "width": 8, "heads": 2, "layers": 1},
    "fourier-flow": {"flows": 3, "hidden": 8},
    "quant-gan": {"width": 4},
    "tail-gan": {"noise": 4, "hidden": 8},
    "timevae": {"latent": 3, "width": 2},
}
ADVERSARIAL = ("cosci-gan", "quant-gan", "tail-gan")
BRIEF = Training(steps=7, batch=8, warm_up=0, patience=0, momentum=0.0, checkpoint_every_s=1e-9)


def returns(n: int, steps: int, assets: int, seed: int = 0) -> NDArray[np.float32]:
    """Windows [n, steps, assets] with t tails, correlations of 0.8, and deviations from 1 % up."""
    draw = np.random.default_rng(seed)
    own, common = draw.standard_normal((n, steps, assets)), draw.standard_normal((n, steps, 1))
    normal = np.sqrt(0.2) * own + np.sqrt(0.8) * common
    heavy = normal * np.sqrt(3 / draw.chisquare(5, (n, steps, 1)))
    return (heavy * 0.01 * np.arange(1, assets + 1)).astype(np.float32)


def brief(name: str, windows: Any, **options: Any) -> Any:
    """A small generator of windows, trained for a few steps."""
    return generators.create(name, **TINY[name]).fit(windows, **{"training": BRIEF, **options})


@pytest.fixture(scope="module", params=sorted(TINY))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# -- the contract, for all ------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "assets"), [(19, 1), (18, 10), (100, 2)])
def test_windows_of_any_length_and_assets(name: str, steps: int, assets: int) -> None:
    drawn = brief(name, returns(60, steps, assets)).sample(3)
    assert drawn.shape == (3, steps, assets) and drawn.dtype == np.float32
    assert np.isfinite(drawn).all() and drawn.std() > 0


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 8])
def test_short_windows(name: str, steps: int) -> None:
    windows = returns(20, steps, 2)
    least = {"fourier-flow": 3, "tail-gan": 14}.get(name, 1)
    if steps >= least:
        assert brief(name, windows).sample(2).shape == (2, steps, 2)
    else:
        with pytest.raises(DataError, match=rf"needs \d+ steps.*, had {steps}"):
            brief(name, windows)


def test_seeds(name: str) -> None:
    windows = returns(60, 18, 2)
    model, again, other = (brief(name, windows, seed=seed) for seed in (0, 0, 1))
    first = model.sample(6, seed=0)
    np.testing.assert_array_equal(first, again.sample(6))
    assert not np.array_equal(first, other.sample(6))
    assert not np.array_equal(first, model.sample(6, seed=1))
    assert model.sample(1).shape == (1, 18, 2)


def test_saved_and_loaded(name: str, tmp_path: Path) -> None:
    model = brief(name, returns(60, 18, 2))
    model.save(tmp_path)
    again = generators.load(tmp_path)
    assert again.parameters() == model.parameters()
    assert again.training["steps"] == 7 and again.training["settings"]["momentum"] == 0.0
    np.testing.assert_array_equal(again.sample(9, seed=4), model.sample(9, seed=4))
    again.save(tmp_path / "again")
    for file in ("model.json", "model.safetensors"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / file).read_bytes()


@pytest.mark.parametrize("stopped", [3, 4])  # with one or the other's turn to come
def test_an_interrupted_training_goes_on_exactly(
    name: str, stopped: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows, checkpoint = returns(60, 18, 2), tmp_path / "checkpoint"
    whole = brief(name, windows).sample(5)
    batch, calls = WindowTask.batch, []

    def interrupted(self: WindowTask, rng: Any, size: int) -> Any:
        calls.append(size)
        if len(calls) > stopped:
            raise KeyboardInterrupt
        return batch(self, rng, size)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(WindowTask, "batch", interrupted)
        brief(name, windows, checkpoint=checkpoint)
    torch.manual_seed(99)  # what is drawn meanwhile does not matter
    resumed = brief(name, windows, checkpoint=checkpoint)
    assert resumed.training["steps"] == 7
    np.testing.assert_array_equal(resumed.sample(5), whole)
    with pytest.raises(ModelError, match="momentum was 0.0 when it began, is 0.5 now"):
        other = Training(steps=7, batch=8, warm_up=0, patience=0, momentum=0.5)
        brief(name, windows, checkpoint=checkpoint, training=other)


def test_defaults_are_settings_of_a_training(name: str) -> None:
    model = generators.create(name)
    assert Training(**model.training_defaults).patience == 0
    assert generators.create(name, **model.parameters()).parameters() == model.parameters()


def test_what_all_refuse(name: str) -> None:
    model = generators.create(name)
    with pytest.raises(DataError, match=f"model '{name}' needs 16 at least, had 15"):
        model.fit(returns(15, 14, 2))
    with pytest.raises(ModelError, match=f"model {name}: has not been fitted yet"):
        model.sample(1)
    with pytest.raises(ConfigError, match=f"conditions: model '{name}' takes none"):
        model.fit(returns(20, 14, 2), np.zeros(20, np.int64))
    still = returns(20, 14, 2)
    still[..., 1] = 0.5
    with pytest.raises(DataError, match="asset 2 is constant"):
        model.fit(still)
    with pytest.raises(ConfigError, match=f"model {name}: unknown key 'depth'"):
        generators.create(name, depth=3)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("timevae", {"latent": 0}, "latent must be >= 1, was 0"),
        ("timevae", {"seasons": 1.5}, "seasons must be a whole number, was 1.5"),
        ("fourier-flow", {"flows": 1}, "flows must be >= 2, was 1"),
        ("fourier-flow", {"bound": 0}, "bound must be > 0, was 0"),
        ("quant-gan", {"penalty": -1}, "penalty must be >= 0, was -1"),
        ("cosci-gan", {"gamma": -0.5}, "gamma must be >= 0, was -0.5"),
        ("tail-gan", {"strategies": ["EW", "XY"]}, "strategy: unknown strategy 'XY'"),
        ("tail-gan", {"strategies": []}, "strategies: must be one or more, was none"),
        ("diffusion-ts", {"drawn_levels": 500}, "drawn_levels must be <= 200, was 500"),
        ("diffusion-ts", {"width": 50}, r"width must be a multiple of 2 heads \(8\), was 50"),
        ("diffusion-ts", {"chance": 2}, "chance must be from 0 to 1, was 2"),
    ],
)
def test_parameters_out_of_range(name: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        generators.create(name, **parameters)


@pytest.mark.parametrize(
    ("name", "parameters", "training"),
    [
        ("timevae", {"latent": 6, "width": 8}, {"steps": 300, "learning_rate": 1e-2}),
        ("fourier-flow", {"flows": 4, "hidden": 16}, {"steps": 150, "learning_rate": 5e-3}),
        ("quant-gan", {"width": 12}, {"steps": 300, "learning_rate": 2e-3}),
        ("cosci-gan", {"noise": 3, "hidden": 12}, {"steps": 300, "learning_rate": 4e-3}),
        ("diffusion-ts", {"levels": 20, "drawn_levels": 10, "width": 16, "layers": 1},
         {"steps": 250, "learning_rate": 5e-3}),
    ],
)  # fmt: skip
def test_deviations_and_correlations_are_learned(
    name: str, parameters: dict[str, Any], training: dict[str, Any]
) -> None:
    each = returns(1000, 6, 2)
    real = (each[:, :-2] + each[:, 1:-1] + each[:, 2:]) / 3  # one goes on from the other
    model = generators.create(name, **parameters)
    brief = {**model.training_defaults, **training, "batch": 64, "average": 0.98, "warm_up": 20}
    drawn = model.fit(real, training=Training(**brief)).sample(2000).reshape(-1, 2)
    ratio = drawn.std(axis=0) / real.reshape(-1, 2).std(axis=0)
    assert (ratio > 0.6).all() and (ratio < 1.5).all(), ratio
    assert 0.5 < np.corrcoef(drawn.T)[0, 1] < 0.995
    assert (np.abs(drawn.mean(axis=0)) < 0.4 * drawn.std(axis=0)).all()


def test_tail_risks_are_learned() -> None:
    real = returns(1000, 3, 2)
    model = generators.create("tail-gan", strategies=["EW"], noise=8, hidden=32)
    brief = {**model.training_defaults, "steps": 200, "batch": 256, "learning_rate": 3e-3}
    drawn = model.fit(real, training=Training(**brief)).sample(2000)
    ours, theirs = (np.exp(x.sum(axis=1)).mean(axis=1) - 1 for x in (real, drawn))
    for measure in (value_at_risk, expected_shortfall):
        assert measure(theirs) == pytest.approx(measure(ours), rel=0.35)


# -- networks that learn from each other ----------------------------------------------------------


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_each_learns_in_its_turn(name: str) -> None:
    network = brief(name, returns(60, 18, 2))._build()
    task = {"returns": torch.randn(8, 18, 2), "profits": torch.randn(8, 4)}
    for turn in range(4):
        network.zero_grad()
        torch.stack(list(network(task).values())).sum().backward()
        trained = [
            any(p.grad is not None and bool(p.grad.any()) for p in part.parameters())
            for part in (network.critics, network.generator)
        ]
        assert trained == [turn % 2 == 0, turn % 2 == 1]
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_slope_penalty_of_a_known_critic() -> None:
    real = torch.tensor([[1.0, 2.0], [0.0, -3.0]])
    scores, penalty = slope_penalty(lambda x: x.square().sum(1), real)
    assert scores.tolist() == [5.0, 9.0]
    assert penalty.item() == pytest.approx(0.5 * (4 * 5 + 4 * 9) / 2)


@pytest.mark.parametrize("steps", [1, 3, 4, 8, 24, 100])
def test_the_receptive_field_spans_the_window(steps: int) -> None:
    network = Temporal(2, 1, 3, steps)
    assert network.field >= steps
    values = torch.randn(1, network.field + 4, 2, requires_grad=True)
    out = network(values)
    assert out.shape == (1, 5, 1)
    (slope,) = torch.autograd.grad(out[0, 2, 0], values)
    seen = slope[0].abs().sum(1) > 0
    assert not seen[:2].any() and not seen[network.field + 2 :].any()  # neither older nor later
    assert bool(seen[2]) and bool(seen[network.field + 1])


def test_the_score_is_least_for_the_true_risks() -> None:
    profits = torch.from_numpy(np.random.default_rng(0).standard_normal((100_000, 1)))
    var = float(np.quantile(profits, 0.05))
    shortfall = float(profits[profits <= var].mean())
    least = float(score(torch.tensor([var]), torch.tensor([shortfall]), profits)[0])
    for worse in (0.8, 0.95, 1.05, 1.2):
        for wrong in ((worse * var, shortfall), (var, worse * shortfall)):
            told = score(*(torch.tensor([value]) for value in wrong), profits)
            assert float(told[0]) > least + 1e-5


@pytest.mark.parametrize("n", [1, 5, 64, 500])
def test_a_discriminator_reads_samples_of_any_size_in_any_order(n: int) -> None:
    read = TailDiscriminator(8)
    profits = torch.randn(n, 3)
    var, shortfall = read(profits)
    assert var.shape == shortfall.shape == (3,)
    assert (shortfall < var).all() and (var < 0).all()
    torch.testing.assert_close(read(profits.flip(0))[0], var)


def test_a_strategy_that_earns_the_same_on_all_windows_has_no_risk() -> None:
    calm = returns(20, 14, 1) * 1e-7
    with pytest.raises(DataError, match="windows: MR earns the same on all of them"):
        generators.create("tail-gan", strategies="MR").fit(as_windows(calm), training=BRIEF)


# -- what each is built on ------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(-50, 50), min_size=1, max_size=20), delta=st.floats(0, 0.45)
)  # fmt: skip
@example(values=[0.5], delta=5e-324)
def test_the_lambert_transform_has_an_inverse(values: list[float], delta: float) -> None:
    heavy = np.array(values)
    normal = gaussianised(heavy, delta)
    np.testing.assert_allclose(heavier(normal, delta), heavy, rtol=1e-6, atol=1e-9)
    assert (np.abs(normal) <= np.abs(heavy) + 1e-12).all()


@pytest.mark.parametrize("delta", [0.05, 0.2])
def test_the_lambert_transform_is_found(delta: float) -> None:
    normal = np.random.default_rng(1).standard_normal(100_000)
    found, scale = fit_delta(0.02 * heavier(normal, delta))
    assert found == pytest.approx(delta, rel=0.1) and scale == pytest.approx(0.02, rel=0.02)
    light = np.random.default_rng(1).uniform(-1, 1, 1000)
    assert fit_delta(light) == (0.0, pytest.approx(light.std()))


def test_normal_values_of_a_quant_gan_are_normal_once_trained() -> None:
    real = returns(300, 10, 2)
    model = brief("quant-gan", real)
    drawn = model.sample(4000, seed=7)
    normal = gaussianised((drawn - model._mean) / model._scale, model._delta)
    np.testing.assert_allclose(normal.mean(axis=(0, 1)), 0, atol=0.05)
    # the few beyond the largest return are brought back to it
    np.testing.assert_allclose(normal.std(axis=(0, 1)), 1, atol=0.05)
    most = np.abs(real - model._mean).max(axis=(0, 1))
    assert (np.abs(drawn - model._mean) <= most * 1.001).all()


@pytest.mark.parametrize("steps", [3, 4, 7, 24])
def test_the_fourier_transform_is_a_rotation(steps: int) -> None:
    matrix = rotation(steps).double()
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(steps).double(), atol=1e-6, rtol=0)
    wave = torch.cos(2 * np.pi * torch.arange(steps) / steps).double()
    spectrum = matrix @ wave
    assert spectrum.square().sum() == pytest.approx(float(spectrum[1] ** 2))


@pytest.mark.parametrize(("steps", "assets"), [(5, 2), (4, 1)])
def test_a_flow_has_an_inverse_and_its_volume(steps: int, assets: int) -> None:
    torch.manual_seed(0)
    network = FourierFlowNetwork(steps, assets, flows=4, hidden=8, bound=2.0).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    real = torch.randn(50, steps, assets, dtype=torch.float64) * 3 + 1
    network.standardise(real)
    deviates, volume = network.encode(real)
    torch.testing.assert_close(network.decode(deviates), real, atol=1e-5, rtol=1e-5)
    slope = torch.autograd.functional.jacobian(
        lambda flat: network.encode(flat.view(1, steps, assets))[0][0], real[0].flatten()
    )
    assert torch.linalg.slogdet(slope)[1].item() == pytest.approx(volume[0].item(), abs=1e-6)


def test_noise_grows_to_the_end() -> None:
    remaining = noise_levels(100)
    assert (remaining.diff() < 0).all() and remaining[0] > 0.99 and remaining[-1] < 1e-3


@pytest.mark.parametrize(("drawn_levels", "chance"), [(50, 0.0), (100, 1.0)])
def test_a_denoiser_that_is_right_leads_to_the_right_deviation(
    drawn_levels: int, chance: float
) -> None:
    network = DiffusionTsNetwork(
        3, 2, levels=100, drawn_levels=drawn_levels, chance=chance, fourier=0.0, width=8, heads=2,
        layers=1,
    )  # fmt: skip
    mean, scale = 1.5, 0.5  # of independent normal values

    class Exact(torch.nn.Module):
        def forward(self, noisy: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            share = network.remaining[level, None, None]
            gain = share.sqrt() * scale**2 / (share * scale**2 + 1 - share)
            return mean + gain * (noisy - share.sqrt() * mean)

    network.denoiser = Exact()  # type: ignore[assignment]
    drawn = network.draw(20_000, torch.Generator().manual_seed(0), None)
    torch.testing.assert_close(drawn.mean((0, 1)), torch.full((2,), mean), atol=0.02, rtol=0)
    torch.testing.assert_close(drawn.std((0, 1)), torch.full((2,), scale), atol=0, rtol=0.05)


def test_only_the_strongest_waves_remain() -> None:
    time = torch.arange(24.0) / 24
    strong = 3 * torch.sin(2 * torch.pi * 2 * time) + 2 * torch.cos(2 * torch.pi * 5 * time)
    weak = 0.5 * torch.cos(2 * torch.pi * 9 * time)
    found = strongest_terms((strong + weak)[None, :, None], 2)[0, :, 0]
    torch.testing.assert_close(found, strong, atol=1e-5, rtol=0)
    short = torch.randn(2, 3, 1)
    torch.testing.assert_close(strongest_terms(short, 9), short)
