"""CMS-VAE: what it learns, what it is given, how it is kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from marketsim import generators
from marketsim.data.return_windows import UNKNOWN_S, Windows
from marketsim.errors import ConfigError, DataError, ModelError
from marketsim.generators.cms_vae_network import CmsVaeNetwork
from marketsim.generators.training import Training
from marketsim.strategies import strategy

HOUR = 3600
SMALL: dict[str, Any] = {"width": 8, "latent": 4}
BRIEF = Training(steps=3, batch=24, learning_rate=1e-2, warm_up=1, weight_decay=0.0, average=0.5)
LONGER = Training(
    steps=150, batch=128, learning_rate=5e-3, warm_up=10, weight_decay=0.0, average=0.9
)


def moody(hours: int, assets: int = 2, seed: int = 0) -> np.ndarray:
    """Returns float32[hours, assets]: correlated, lag 1 of 0.4, calm and wild weeks in turn."""
    draw = np.random.default_rng(seed)
    common = draw.standard_normal((hours, 1))
    shocks = 0.8 * common + 0.6 * draw.standard_normal((hours, assets))
    level = np.where(np.arange(hours) // 168 % 2, 0.02, 0.004)
    returns = np.zeros((hours, assets))
    for hour in range(1, hours):
        returns[hour] = 0.4 * returns[hour - 1] + level[hour] * shocks[hour]
    return returns.astype(np.float32)


def cut(series: np.ndarray, steps: int = 24, stride: int = 4) -> Windows:
    starts = np.arange(0, len(series) - steps + 1, stride)
    rows = np.stack([series[start : start + steps] for start in starts])
    names = tuple("ABCDEFGHIJ"[: series.shape[1]])
    return Windows(rows, np.full((len(rows), series.shape[1]), 100.0), starts * HOUR, names, HOUR)


SERIES = moody(4000)
PAST = cut(SERIES)


def fit(windows: Any = PAST, training: Training = BRIEF, **parameters: Any) -> Any:
    conditions = parameters.pop("conditions", None)
    made = generators.create("cms-vae", **SMALL, **parameters)
    return made.fit(windows, conditions, training=training)


# -- what it learns -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learned() -> Any:
    return fit(training=LONGER, strategies=["EW", "MR"])


def test_windows_are_like_those_it_learned(learned: Any) -> None:
    drawn = learned.sample(2000, seed=3)
    assert (drawn.dtype, drawn.shape) == (np.float32, (2000, 24, 2))
    flat = drawn.reshape(-1, 2)
    np.testing.assert_allclose(flat.std(axis=0), SERIES.std(axis=0), rtol=0.25)
    # of a short training; without covariances it is below 0.3
    assert np.corrcoef(flat.T)[0, 1] == pytest.approx(np.corrcoef(SERIES.T)[0, 1], abs=0.15)
    lag = np.corrcoef(drawn[:, :-1].ravel(), drawn[:, 1:].ravel())[0, 1]
    assert lag == pytest.approx(0.4, abs=0.15)


def test_the_past_tells_calm_from_wild() -> None:
    model = fit(training=LONGER, condition="past", past=24, strategies=[])
    calm, wild = (np.full((300, 24, 2), 0.0, np.float32) for _ in range(2))
    draw = np.random.default_rng(0)
    calm += draw.normal(0, 0.004, calm.shape).astype(np.float32)
    wild += draw.normal(0, 0.02, wild.shape).astype(np.float32)
    deviations = [float(model.sample(300, past, seed=1).std()) for past in (calm, wild)]
    assert deviations[1] > 2 * deviations[0]


def test_labels_tell_up_from_down() -> None:
    labels = (PAST.log_returns.sum(axis=(1, 2)) < 0).astype(np.int64)
    model = fit(training=LONGER, condition="label", conditions=labels, strategies=[])
    up, down = (model.sample(400, label, seed=1).sum(axis=(1, 2)).mean() for label in (0, 1))
    assert up > 0 > down
    both = model.sample(400, np.arange(400) % 2, seed=1).sum(axis=(1, 2))
    assert both[::2].mean() > 0 > both[1::2].mean()
    with pytest.raises(ConfigError, match=r"no window of regime 7 was learned \(known: 0, 1\)"):
        model.sample(3, 7)


def test_stress_is_wilder(learned: Any, tmp_path: Path) -> None:
    learned.save(tmp_path)
    stressed = generators.load(tmp_path, latent_scale=3.0)
    assert stressed.sample(500).std() > 1.2 * learned.sample(500).std()
    with pytest.raises(ConfigError, match="latent_scale must be > 0"):
        generators.load(tmp_path, latent_scale=0.0)
    with pytest.raises(ConfigError, match="unknown key 'kl'"):
        generators.load(tmp_path, kl=2.0)


def test_likelihood_equals_that_of_the_normal_distribution() -> None:
    """A chain of normal steps with a carried mean is one normal distribution of the window."""
    network: CmsVaeNetwork = fit(PAST).network
    with torch.no_grad():
        network.carry.copy_(torch.tensor([[0.4, 0.1], [-0.2, 0.3]]))
        latent, empty = torch.randn(5, 4), torch.zeros(5, 0)
        mean, factor = network.decoder(latent, empty)
        returns = mean + (factor @ torch.randn(5, 24, 2, 1))[..., 0]
        found = network._surprise(returns, torch.zeros(5, 2), latent, empty)
    carry = network.carry.detach().double()
    expected = []
    for row in range(5):
        lower = torch.zeros(48, 48, dtype=torch.float64)  # shocks to what is left of the mean
        for to in range(24):
            power = torch.eye(2, dtype=torch.float64)
            for since in range(to, -1, -1):
                at = slice(2 * to, 2 * to + 2), slice(2 * since, 2 * since + 2)
                lower[at] = power @ factor[row, since].double()
                power = power @ carry
        whole = torch.distributions.MultivariateNormal(
            mean[row].double().flatten(), covariance_matrix=lower @ lower.T
        )
        expected.append(-whole.log_prob(returns[row].double().flatten()))  # type: ignore[no-untyped-call]
    assert float(found) == pytest.approx(float(torch.stack(expected).mean()), rel=1e-4)


@pytest.mark.parametrize(("steps", "assets"), [(1, 1), (7, 3), (30, 1), (25, 10), (100, 2)])
def test_any_steps_and_assets(steps: int, assets: int) -> None:
    model = fit(cut(moody(600, assets), steps), strategies=["EW"] if steps > 1 else [])
    assert model.sample(5).shape == (5, steps, assets)


@pytest.mark.parametrize("convolution", ["plain", "dilated"])
@pytest.mark.parametrize("strategies", [[], ["MR"], ["EW", "MR", "TF", "VT"]])
def test_ablations_differ(convolution: str, strategies: list[str]) -> None:
    model = fit(convolution=convolution, strategies=strategies)
    assert model.parameters()["strategies"] == strategies
    dilations = [block.first.dilation[0] for block in model.network.encoder.blocks]
    assert dilations == ([1, 2, 4, 8] if convolution == "dilated" else [1, 1, 1, 1])
    losses = set(model.network(model._task(PAST, None).batch(np.random.default_rng(0), 24)))
    terms = {"VaR", "ES", "MDD", "PnL"} if strategies else set()
    assert losses == {"likelihood", "KL"} | terms


# -- pasts ----------------------------------------------------------------------------------------


def test_pasts_are_the_returns_before() -> None:
    past, known = PAST.pasts(10)
    assert known.sum() == len(PAST) - 3  # the first starts at hours 0, 4 and 8 have none
    for row in np.flatnonzero(known)[[0, 5, -1]]:
        start = int(PAST.start_s[row]) // HOUR
        np.testing.assert_array_equal(past[row], SERIES[start - 10 : start])
    assert not past[~known].any()
    gap = PAST.take(np.r_[0:100, 120 : len(PAST)])
    past, known = gap.pasts(10)
    assert not known[100] and known[104]  # 10 hours after the gap they are all there again


def test_pasts_of_windows_of_unknown_time() -> None:
    lost = PAST.take([0, 1, 2])
    object.__setattr__(lost, "start_s", np.full(3, UNKNOWN_S))
    assert not lost.pasts(1)[1].any()
    with pytest.raises(DataError, match="the 5 returns before them must be known of 16 at least"):
        fit(PAST.take(np.arange(0, len(PAST), 40)), condition="past", past=5)


def test_paths_go_on_from_the_past() -> None:
    model = fit(condition="past", past=30)
    path = model.sample_path(100, 4, seed=2)
    assert path.shape == (4, 100, 2)
    np.testing.assert_array_equal(path, model.sample_path(100, 4, seed=2))
    np.testing.assert_array_equal(path[:, :60], model.sample_path(60, 4, seed=2))
    with pytest.raises(ConfigError, match="overlap: a model of the past needs none"):
        model.sample_path(10, overlap=3)
    with pytest.raises(ConfigError, match="candidates: a model of the past needs none"):
        model.sample_path(10, candidates=9)


def test_pasts_can_be_forgotten() -> None:
    model = fit(condition="past", past=30)
    kept = model._pasts.copy()
    model.forget_pasts(seed=3)
    assert model._pasts.shape == kept.shape
    recorded = {row.tobytes() for row in SERIES}
    assert not any(row.tobytes() in recorded for row in model._pasts.reshape(-1, 2))
    assert np.isfinite(model.sample(5)).all()
    with pytest.raises(ConfigError, match="condition: must be 'past' to forget any, was 'none'"):
        fit().forget_pasts()
    with pytest.raises(ModelError, match="has not been fitted"):
        generators.create("cms-vae", condition="past").forget_pasts()


# -- how it is kept -------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", ["none", "label", "past"])
def test_saved_and_loaded(condition: str, tmp_path: Path) -> None:
    labels = np.arange(len(PAST)) % 3 if condition == "label" else None
    model = fit(condition=condition, conditions=labels, past=12)
    model.save(tmp_path)
    again = generators.load(tmp_path)
    np.testing.assert_array_equal(again.sample(40, seed=5), model.sample(40, seed=5))
    assert again.parameters() == model.parameters()


def test_seeds_and_parts() -> None:
    model = fit()
    np.testing.assert_array_equal(model.sample(20, seed=0), fit().sample(20))
    assert not np.array_equal(model.sample(20, seed=1), model.sample(20, seed=0))
    assert not np.array_equal(
        model.sample(5),
        generators.create("cms-vae", **SMALL).fit(PAST, training=BRIEF, seed=1).sample(5),
    )


def test_an_interrupted_training_goes_on_exactly(tmp_path: Path) -> None:
    place = tmp_path / "checkpoint.safetensors"

    def stop(share: float, line: str) -> None:
        raise KeyboardInterrupt

    made = generators.create("cms-vae", **SMALL)
    brief = Training(**{**vars(BRIEF), "steps": 4, "checkpoint_every_s": 1e-6})
    with pytest.raises(KeyboardInterrupt):
        made.fit(PAST, training=brief, checkpoint=place, progress=stop)
    assert place.exists()
    resumed = generators.create("cms-vae", **SMALL).fit(PAST, training=brief, checkpoint=place)
    whole = generators.create("cms-vae", **SMALL).fit(PAST, training=brief)
    np.testing.assert_array_equal(resumed.sample(9), whole.sample(9))


def test_it_can_be_fitted_anew() -> None:
    model = fit(condition="label", conditions=np.zeros(len(PAST), np.int64))
    other = cut(moody(400, 1))
    model.fit(other, np.full(len(other), 4), training=BRIEF)
    assert model.sample(3, 4).shape == (3, 24, 1)
    with pytest.raises(ConfigError, match=r"no window of regime 0 was learned \(known: 4\)"):
        model.sample(3, 0)


# -- what it refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"convolution": "wide"}, "convolution must be"),
        ({"strategies": ["EW", "XX"]}, "unknown strategy 'XX'"),
        ({"strategies": ["EW", "EW"]}, "strategies must be different"),
        ({"strategies": [strategy("MR", window=5)]}, "strategies must be text"),  # not saved whole
        ({"condition": "regime"}, "condition must be"),
        ({"recent": 0}, "recent must be > 0 and <= 1, was 0"),
        ({"kl": -1}, "kl must be >= 0"),
        ({"latent": 0}, "latent must be >= 1"),
        ({"widht": 3}, "unknown key 'widht'"),
    ],
)
def test_parameters_that_are_refused(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        generators.create("cms-vae", **parameters)


def test_conditions_that_are_refused() -> None:
    with pytest.raises(ConfigError, match="conditions: this model takes none"):
        fit(conditions=np.zeros(len(PAST), np.int64))
    with pytest.raises(ConfigError, match="condition='label' needs labels"):
        fit(condition="label")
    past = fit(condition="past", past=12)
    with pytest.raises(ConfigError, match=r"must be returns \[3, 12, d\] before the windows"):
        past.sample(3, np.zeros((3, 11, 2), np.float32))
    with pytest.raises(ConfigError, match="must be returns of 2 assets, as the windows, were of 1"):
        past.sample(3, np.zeros((12, 1), np.float32))
    with pytest.raises(DataError, match="returns must be finite"):
        past.sample(3, np.full((12, 2), np.nan, np.float32))
    with pytest.raises(ModelError, match="has not been fitted"):
        generators.create("cms-vae", condition="past").sample_path(5)
    with pytest.raises(DataError, match="needs 16 at least, had 9"):
        fit(PAST.take(slice(0, 9)))


def test_an_earlier_fit_does_not_matter_to_the_next() -> None:
    labels = np.arange(len(PAST)) % 2
    told = fit(condition="label", conditions=labels)
    told.fit(PAST, labels + 1, training=BRIEF)
    assert np.array_equal(
        told.sample(3, 2), fit(condition="label", conditions=labels + 1).sample(3, 2)
    )
    wider = cut(moody(400, assets=3))
    past = fit(condition="past", past=12).fit(wider, training=BRIEF)
    before, known = wider.pasts(12)
    past.fit(wider.take(known), before[known], training=BRIEF)
    assert past.sample(2, np.zeros((12, 3), np.float32)).shape == (2, 24, 3)


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        (5, r"must be returns \[\d+, 12, d\] before the windows, was int64"),
        (np.zeros(len(PAST), np.int64), "must be returns"),
        ([[1], [1, 2]], "must be as long in each row"),
        (np.zeros((len(PAST), 12, 3)), "must be returns of 2 assets, .* of 3"),
    ],
)
def test_pasts_that_are_none(conditions: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=f"conditions: {said}"):
        fit(condition="past", past=12, conditions=conditions)


def test_a_fit_that_failed_leaves_nothing_to_draw_from() -> None:
    model = generators.create("cms-vae", **SMALL, strategies=["MR"])
    with pytest.raises(DataError, match="MR needs 14 steps"):
        model.fit(cut(SERIES, 5), training=BRIEF)
    with pytest.raises(ModelError, match="has not been fitted yet"):
        model.sample(2)
