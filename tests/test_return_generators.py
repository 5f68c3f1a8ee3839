"""Generators of returns: one contract for all, and what each takes over from its data."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from marketsim import generators
from marketsim.data.return_windows import Windows, as_windows
from marketsim.errors import ConfigError, DataError, ModelError
from marketsim.generators.base import RETURNS
from marketsim.metrics.returns import autocorrelation
from marketsim.training_run import is_network

HOUR = 3600


def history(hours: int, seed: int = 0) -> np.ndarray:
    """Returns float32[hours, 2] of GARCH(1, 1) with t innovations, correlated, lag 1: 0.3."""
    draw = np.random.default_rng(seed)
    normal = draw.multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]], hours)
    deviates = normal * np.sqrt(5 / draw.chisquare(5, (hours, 1))) * np.sqrt(3 / 5)
    returns = np.zeros((hours, 2))
    variance, residual = np.ones(2), np.zeros(2)
    for hour in range(hours):
        variance = 0.1 + 0.1 * residual**2 + 0.8 * variance
        residual = np.sqrt(variance) * deviates[hour]
        returns[hour] = 0.3 * returns[hour - 1] + residual
    return (returns * [0.01, 0.02]).astype(np.float32)


def cut(series: np.ndarray, stride: int = 6, steps: int = 24, first: int = 0) -> Windows:
    """Windows of a series, whose first return ends in hour ``first`` + 1."""
    starts = np.arange(0, len(series) - steps + 1, stride)
    windows = np.stack([series[start : start + steps] for start in starts])
    prices = 100.0 * np.exp(starts / len(series))[:, None] * [1, 2]
    return Windows(windows, prices, (first + starts) * HOUR, ("BTC", "ETH"), HOUR)


SERIES = history(4000)
PAST = cut(SERIES)


def known(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Whether rows [n, k] are among the rows of another array, bit for bit."""
    rows = {row.tobytes() for row in np.ascontiguousarray(among)}
    return np.array([row.tobytes() in rows for row in np.ascontiguousarray(values)])


# -- the contract, for all ------------------------------------------------------------------------


#: Those whose fit is quick; networks have tests of their own.
QUICK = [name for name in sorted(RETURNS) if not is_network(generators.create(name))]


@pytest.fixture(scope="module", params=QUICK)
def fitted(request: pytest.FixtureRequest) -> Any:
    return generators.create(request.param).fit(PAST)


def test_samples_are_like_the_windows(fitted: Any) -> None:
    drawn = fitted.sample(3000, seed=3)
    assert (drawn.dtype, drawn.shape) == (np.float32, (3000, 24, 2))
    assert np.isfinite(drawn).all()
    assert fitted.symbols == ("BTC", "ETH")
    flat, real = drawn.reshape(-1, 2), SERIES
    np.testing.assert_allclose(flat.std(axis=0), real.std(axis=0), rtol=0.1)
    assert np.corrcoef(flat.T)[0, 1] == pytest.approx(np.corrcoef(real.T)[0, 1], abs=0.06)


def test_seeds(fitted: Any) -> None:
    first = fitted.sample(5, seed=0)
    np.testing.assert_array_equal(first, fitted.sample(5, seed=0))
    assert not np.array_equal(first, fitted.sample(5, seed=1))
    np.testing.assert_array_equal(fitted.sample(5), first)  # seed 0 is the default


def test_saved_and_loaded(fitted: Any, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "model.json", "model.safetensors",
    }  # fmt: skip
    again = generators.load(tmp_path / "model")
    assert type(again) is type(fitted) and generators.name_of(tmp_path / "model") == fitted.name
    np.testing.assert_array_equal(again.sample(9, seed=4), fitted.sample(9, seed=4))
    windows = again.sample_windows(2)
    assert (windows.symbols, windows.step_s) == (("BTC", "ETH"), HOUR)
    np.testing.assert_array_equal(windows.initial_prices, PAST.initial_prices[[-1, -1]])


def test_damaged_models_are_refused(fitted: Any, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    head = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**head, "symbols": ["A", "B", "C"]}))
    with pytest.raises(ModelError, match=r"not a model, or damaged: .* must be float64\[3\]"):
        generators.load(tmp_path)


def test_what_all_refuse(fitted: Any) -> None:
    name = fitted.name
    new = generators.create(name)
    with pytest.raises(ModelError, match=f"model {name}: has not been fitted yet: fit it"):
        new.sample(1)
    with pytest.raises(ModelError, match="has not been fitted yet, and cannot be saved"):
        new.save("nowhere")
    with pytest.raises(ConfigError, match="n must be >= 1, was 0"):
        fitted.sample(0)
    with pytest.raises(ConfigError, match="seed must be >= 0, was -1"):
        fitted.sample(1, seed=-1)
    with pytest.raises(DataError, match="window 0 step 0 asset 0 was nan"):
        new.fit(np.full((3, 4, 2), np.nan))
    still = PAST.log_returns.copy()
    still[:, :, 1] = 0
    with pytest.raises(DataError, match="asset 2 is constant: all of its returns are 0"):
        new.fit(still)
    with pytest.raises(DataError, match=r"must be of shape \[n, T, d\], was \[4, 2\]"):
        new.fit(np.ones((4, 2)))
    with pytest.raises(DataError, match="windows: must be Windows or an array, was list"):
        new.fit([[1.0]])
    if not fitted.conditional:
        with pytest.raises(ConfigError, match=f"conditions: model '{name}' takes none"):
            new.fit(PAST, np.zeros(len(PAST), np.int64))
        with pytest.raises(ConfigError, match=f"conditions: model '{name}' takes none"):
            fitted.sample(2, 0)


def test_names() -> None:
    assert set(RETURNS) < set(generators.names())
    with pytest.raises(ConfigError, match=r"unknown generator 'garch' .*garch-copula"):
        generators.create("garch")
    with pytest.raises(ConfigError, match="model gaussian: unknown key 'lags'"):
        generators.create("gaussian", lags=1)


# -- bootstraps -----------------------------------------------------------------------------------


def test_windows_of_the_past_as_they_were() -> None:
    flat = PAST.log_returns.reshape(len(PAST), -1)
    drawn = generators.create("bootstrap-returns").fit(PAST).sample(5000).reshape(5000, -1)
    assert known(drawn, flat).all()
    found = len(np.unique(drawn, axis=0)) / len(flat)
    assert found > 0.99  # 5,000 draws of 663: all but exp(-7.5) of them


@pytest.mark.parametrize("shuffled", [False, True])
def test_recent_windows_are_the_latest(shuffled: bool) -> None:
    order = np.random.default_rng(0).permutation(len(PAST)) if shuffled else slice(None)
    model = generators.create("bootstrap-returns", recent=0.2).fit(PAST.take(order))
    last = PAST.log_returns[-int(np.ceil(0.2 * len(PAST))) :]
    drawn = model.sample(2000).reshape(2000, -1)
    assert known(drawn, last.reshape(len(last), -1)).all()
    assert len(np.unique(drawn, axis=0)) > 0.95 * len(last)
    np.testing.assert_array_equal(model.initial_prices, PAST.initial_prices[-1])


def test_regimes() -> None:
    order = np.random.default_rng(1).permutation(len(PAST))
    wild = (np.abs(PAST.log_returns).mean(axis=(1, 2)) > 0.012).astype(np.int64)
    model = generators.create("bootstrap-returns").fit(PAST.take(order), wild[order])
    flat = PAST.log_returns.reshape(len(PAST), -1)
    for label in (0, 1):
        drawn = model.sample(400, label).reshape(400, -1)
        assert known(drawn, flat[wild == label]).all()
    each = np.arange(60) % 2
    mixed = model.sample(60, each).reshape(60, -1)
    assert (known(mixed, flat[wild == 1]) == (each == 1)).all()
    with pytest.raises(ConfigError, match=r"no window of regime 7 was learned \(known: 0, 1\)"):
        model.sample(3, 7)
    with pytest.raises(ConfigError, match=r"regime 0 was learned \(known: none\)"):
        generators.create("bootstrap-returns").fit(PAST).sample(3, 0)
    for wrong in (np.zeros(3, np.int64), np.full(len(PAST), -1), np.zeros(len(PAST))):
        with pytest.raises(ConfigError, match="conditions: must be .* whole numbers >= 0, was"):
            generators.create("bootstrap-returns").fit(PAST, wrong)


@pytest.mark.parametrize("mean_block", [1.0, 6.0, 50.0])
def test_blocks_have_geometric_lengths(mean_block: float) -> None:
    series = np.arange(1, 5001, dtype=np.float32)[:, None] * np.float32(1e-6)
    windows = cut(np.tile(series, 2))
    drawn = generators.create("block-bootstrap", mean_block=mean_block).fit(windows).sample(4000)
    number = np.round(drawn[:, :, 0].astype(np.float64) * 1e6).astype(int)
    assert set(np.unique(number)) <= set(range(1, 5001))
    goes_on = (np.diff(number, axis=1) == 1).mean()
    assert goes_on == pytest.approx(1 - 1 / mean_block, abs=0.01)
    assert number.mean() == pytest.approx(2500, rel=0.03)  # no hour is likelier than another


def test_blocks_end_at_gaps() -> None:
    series = np.arange(1, 201, dtype=np.float32)[:, None] * np.float32(1e-4)
    first, second = cut(np.tile(series[:100], 2)), cut(np.tile(series[100:], 2), first=150)
    joined = {
        name: np.concatenate([getattr(first, name), getattr(second, name)])
        for name in ("log_returns", "initial_prices", "start_s")
    }
    windows = Windows(**joined, symbols=("A", "B"), step_s=HOUR)
    drawn = generators.create("block-bootstrap", mean_block=1e9).fit(windows).sample(500)
    number = np.round(drawn[:, :, 0].astype(np.float64) * 1e4).astype(int)
    last = int(number[number <= 100].max())  # the last whole window ends there
    after = number[:, 1:][number[:, :-1] == last]
    assert len(after) > 20 and len(np.unique(after)) > 15  # from anywhere
    inside = (number[:, :-1] != last) & (number[:, :-1] != number.max())
    assert (np.diff(number, axis=1)[inside] == 1).all()


@settings(max_examples=100, deadline=None)
@given(
    starts=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    unknown=st.booleans(),
    steps=st.integers(1, 5),
)
def test_series_of_windows_equals_a_loop(starts: list[int], unknown: bool, steps: int) -> None:
    values = np.random.default_rng(0).normal(size=60).astype(np.float32)
    hours = [*starts, -1] if unknown else starts
    returns = np.stack([values[start + 1 : start + 1 + steps] for start in hours])[:, :, None]
    start_s = np.where(np.array(hours) < 0, -1, np.array(hours) * HOUR)
    windows = Windows(returns, np.ones((len(hours), 1)), start_s, ("A",), HOUR)
    series, successor = windows.series()
    covered = sorted({start + step for start in starts for step in range(1, steps + 1)})
    np.testing.assert_array_equal(series[:, 0], values[covered])
    for row, hour in enumerate(covered):
        expected = covered.index(hour + 1) if hour + 1 in covered else -1
        assert successor[row] == expected


def test_series_of_windows_of_unknown_time() -> None:
    returns = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    series, successor = as_windows(returns).series()
    np.testing.assert_array_equal(series, returns.reshape(6, 2))
    assert successor.tolist() == [1, 2, -1, 4, 5, -1]


# -- parametric ones ------------------------------------------------------------------------------


def test_gaussian_windows_have_the_covariances_of_the_data_and_no_tails() -> None:
    drawn = generators.create("gaussian").fit(PAST).sample(20_000).reshape(20_000, -1)
    flat = PAST.log_returns.reshape(len(PAST), -1)
    scale = flat.std(axis=0)
    np.testing.assert_allclose(drawn.mean(axis=0) / scale, flat.mean(axis=0) / scale, atol=0.04)
    np.testing.assert_allclose(
        np.cov(drawn.T) / np.outer(scale, scale), np.cov(flat.T) / np.outer(scale, scale), atol=0.06
    )
    assert abs(scipy.stats.kurtosis(drawn[:, 0])) < 0.15
    with pytest.raises(DataError, match="model 'gaussian' needs 2 at least, had 1"):
        generators.create("gaussian").fit(PAST.take([0]))


def test_garch_finds_what_the_data_was_made_of() -> None:
    model = generators.create("garch-copula").fit(cut(history(20_000, seed=1)))
    drawn = model.sample_windows(8000, seed=2)
    arrays, _ = model.learned()
    np.testing.assert_allclose(arrays["mean"][:, 1], 0.3, atol=0.03)
    np.testing.assert_allclose(arrays["garch"][:, 1], 0.1, atol=0.03)
    np.testing.assert_allclose(arrays["garch"][:, 2], 0.8, atol=0.05)
    np.testing.assert_allclose(arrays["garch"][:, 3], 5.0, atol=0.8)
    np.testing.assert_allclose((arrays["factor"] @ arrays["factor"].T)[0, 1], 0.7, atol=0.02)
    assert 4 <= arrays["freedom"][0] <= 6
    np.testing.assert_allclose(autocorrelation(drawn), 0.3, atol=0.03)
    assert (autocorrelation(drawn, 4, absolute=True)[1:] > 0.08).all()  # volatility clusters
    assert (scipy.stats.kurtosis(drawn.log_returns.reshape(-1, 2)) > 2).all()


@pytest.mark.parametrize(("copula", "least", "most"), [("t", 0.3, 1.0), ("gaussian", 0.0, 0.3)])
def test_only_the_t_copula_crashes_together(copula: str, least: float, most: float) -> None:
    """Share of one asset's worst half percent in which the other's returns are there too."""
    model = generators.create("garch-copula", copula=copula, lags=0).fit(PAST)
    assert model.learned()[0]["mean"].shape == (2, 1)
    uniform = model._uniform(200_000, np.random.default_rng(0))
    np.testing.assert_allclose(uniform.mean(axis=0), 0.5, atol=0.01)
    worst = uniform < 0.001
    assert least < (worst[:, 0] & worst[:, 1]).mean() / 0.001 < most


def test_garch_of_a_price_that_grows_evenly() -> None:
    with pytest.raises(DataError, match="asset 1 is constant: its returns do not vary"):
        generators.create("garch-copula").fit(np.full((60, 24, 2), 0.01, np.float32))


def test_labels_that_are_words() -> None:
    model = generators.create("bootstrap-returns").fit(np.ones((4, 3, 1), np.float32))
    with pytest.raises(ConfigError, match="conditions: must be 3 whole numbers >= 0, was <U4"):
        model.sample(3, "bear")


def test_garch_that_cannot_be_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="BTC: GARCH needs 50 returns at least, had 24"):
        generators.create("garch-copula").fit(PAST.take([0]))
    monkeypatch.setitem(sys.modules, "arch", None)
    with pytest.raises(ModelError, match="needs the package arch .*marketsim-lob.stats"):
        generators.create("garch-copula").fit(PAST)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("bootstrap-returns", {"recent": 0}, "recent must be > 0 and <= 1, was 0"),
        ("bootstrap-returns", {"recent": 1.5}, "recent must be > 0 and <= 1, was 1.5"),
        ("block-bootstrap", {"mean_block": 0.5}, "mean_block must be >= 1, was 0.5"),
        ("garch-copula", {"copula": "vine"}, "copula must be one of t, gaussian, was 'vine'"),
        ("garch-copula", {"lags": -1}, "lags must be >= 0, was -1"),
    ],
)
def test_parameters_out_of_range(name: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        generators.create(name, **parameters)
