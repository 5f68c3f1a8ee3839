"""Long paths without seams, windows of a chosen shortfall, regimes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketsim import generators
from marketsim.cli import main
from marketsim.data.regimes import REGIMES, label_of, labels
from marketsim.data.return_windows import Windows, as_windows, read_windows, write_windows
from marketsim.errors import ConfigError, DataError, ModelError
from marketsim.generators.scenarios import tail_windows, tilted, weighted_shortfall
from marketsim.ledger import trade


def history(n: int = 1500, seed: int = 0) -> np.ndarray:
    """Windows float32[n, 24, 2] with a lag-1 autocorrelation of 0.6; every other one is calm."""
    draw = np.random.default_rng(seed)
    returns = np.zeros((n, 25, 2))
    for step in range(1, 25):
        shock = draw.standard_normal((n, 2)) * np.where(np.arange(n) % 2, 0.02, 0.005)[:, None]
        returns[:, step] = 0.6 * returns[:, step - 1] + shock
    return returns[:, 1:].astype(np.float32)


PAST = history()


@pytest.fixture(scope="module")
def bootstrap() -> Any:
    return generators.create("bootstrap-returns").fit(PAST)


def lag_one(path: np.ndarray, at: np.ndarray) -> float:
    """Correlation of the returns at some steps with those before."""
    return float(np.corrcoef(path[:, at].ravel(), path[:, at - 1].ravel())[0, 1])


def test_seams_do_not_show(bootstrap: Any) -> None:
    path = bootstrap.sample_path(24 + 18 * 10, 150, overlap=6, seed=1)
    assert path.shape == (150, 204, 2) and path.dtype == np.float32
    seams = np.arange(24, 204, 18)
    inside = np.setdiff1d(np.arange(1, 204), seams)
    assert lag_one(path, seams) == pytest.approx(lag_one(path, inside), abs=0.15)
    side_by_side = bootstrap.sample_path(240, 150, overlap=0, seed=1)
    assert abs(lag_one(side_by_side, np.arange(24, 240, 24))) < 0.1 < lag_one(path, seams)
    level = np.abs(path)  # calm paths go on calm
    across = np.corrcoef(level[:, 12:24].mean((1, 2)), level[:, 24:42].mean((1, 2)))[0, 1]
    assert across > 0.8


def test_paths_are_of_windows(bootstrap: Any) -> None:
    path = bootstrap.sample_path(60, 3, seed=4)
    np.testing.assert_array_equal(path, bootstrap.sample_path(60, 3, seed=4))
    first = {row.tobytes() for row in PAST}
    assert all(part.tobytes() in first for part in path[:, :24])
    after = {row[6:].tobytes() for row in PAST}
    assert all(part.tobytes() in after for part in path[:, 24:42])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"steps": 0}, "steps must be >= 1, was 0"),
        ({"steps": 9, "n": 0}, "n must be >= 1, was 0"),
        ({"steps": 9, "overlap": 24}, "overlap must be >= 0 and < 24, a window's steps, was 24"),
        ({"steps": 9, "candidates": 0}, "candidates must be >= 1, was 0"),
        ({"steps": 9, "seed": -1}, "seed must be >= 0, was -1"),
    ],
)
def test_paths_that_are_refused(bootstrap: Any, asked: dict[str, int], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        bootstrap.sample_path(**asked)


def test_a_path_of_nothing() -> None:
    with pytest.raises(ModelError, match="has not been fitted"):
        generators.create("bootstrap-returns").sample_path(9)


# -- a chosen shortfall ---------------------------------------------------------------------------


def shortfall(windows: Windows, strategy: str) -> float:
    losses = 1 - trade(strategy, windows.prices).values[:, -1]
    worst = int(np.ceil(0.05 * len(losses)))
    return float(np.sort(losses)[::-1][:worst].mean())


@pytest.mark.parametrize("strategy", ["EW", "MR"])
@pytest.mark.parametrize("factor", [0.7, 1.0, 1.4])
def test_shortfall_is_what_was_asked(bootstrap: Any, strategy: str, factor: float) -> None:
    plain = shortfall(bootstrap.sample_windows(4000, seed=9), strategy)
    drawn = tail_windows(bootstrap, 4000, factor * plain, strategy, seed=2)
    assert shortfall(drawn, strategy) == pytest.approx(factor * plain, rel=0.03)
    again = tail_windows(bootstrap, 4000, factor * plain, strategy, seed=2)
    np.testing.assert_array_equal(drawn.log_returns, again.log_returns)


@given(
    losses=st.lists(st.floats(-1, 1), min_size=40, max_size=80, unique=True),
    share=st.floats(0.2, 0.8),
)
@settings(deadline=None, max_examples=50)
def test_tilted_weights(losses: list[float], share: float) -> None:
    values = np.array(losses)
    if values.std() < 1e-3:
        return
    equal = np.full(len(values), 1 / len(values))
    plain = weighted_shortfall(np.sort(values)[::-1], equal, 0.2)
    target = plain - share * (plain - values.mean())  # less than it is: always within reach
    weights = tilted(values, target, 0.2)
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
    order = np.argsort(-values)
    assert weighted_shortfall(values[order], weights[order], 0.2) == pytest.approx(target, abs=1e-6)
    assert (np.diff(weights[order]) >= -1e-12).all()  # greater losses, less weight


def test_shortfall_by_hand() -> None:
    falling, weights = np.array([4.0, 2.0, 1.0]), np.array([0.1, 0.3, 0.6])
    assert weighted_shortfall(falling, weights, 0.1) == pytest.approx(4.0)
    assert weighted_shortfall(falling, weights, 0.25) == pytest.approx((0.1 * 4 + 0.15 * 2) / 0.25)


def test_shortfalls_that_are_refused(bootstrap: Any) -> None:
    with pytest.raises(DataError, match=r"must be between .* for what is drawn, was 0.9"):
        tail_windows(bootstrap, 50, 0.9)
    with pytest.raises(ConfigError, match="expected_shortfall must be"):
        tail_windows(bootstrap, 50, float("nan"))
    with pytest.raises(ConfigError, match="unknown strategy 'XX'"):
        tail_windows(bootstrap, 50, 0.1, "XX")
    with pytest.raises(ConfigError, match="alpha must be > 0 and < 1, was 1"):
        tail_windows(bootstrap, 50, 0.1, alpha=1)
    with pytest.raises(DataError, match="all windows lose the same"):
        tilted(np.ones(9), 1.0)


# -- regimes --------------------------------------------------------------------------------------


def test_regimes_by_hand() -> None:
    totals = np.concatenate([[-0.5, -0.1], np.full(38, 0.1)])
    returns = np.repeat(totals[:, None, None] / 4, 4, axis=1).astype(np.float32)
    found = labels(as_windows(np.concatenate([returns, returns], axis=2)))
    assert found.tolist() == [2, 2] + [0] * 38
    some = labels(as_windows(PAST))
    assert set(some) == {0, 1, 2} and (some == 2).mean() == pytest.approx(0.05, abs=0.002)
    rising = labels(as_windows(np.full((20, 3, 1), 0.1, np.float32)))
    assert not rising.any()  # no crash where nothing falls


def test_regime_names() -> None:
    assert [label_of(name) for name in (*REGIMES, "Crash", "5", 1)] == [0, 1, 2, 2, 5, 1]
    with pytest.raises(ConfigError, match=r"was 'bul' \(did you mean 'bull'\?\)"):
        label_of("bul")
    with pytest.raises(ConfigError, match="or a label >= 0, was -1"):
        label_of(-1)


# -- the commands ---------------------------------------------------------------------------------


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_windows(as_windows(PAST), tmp_path / "past.npz")
    model, place = str(tmp_path / "model"), str(tmp_path / "past.npz")
    main(["train", "bootstrap-returns", "--regimes", "--data", place, "--out", model])
    main(["sample", model, "--regime", "crash", "--n", "50", "--out", str(tmp_path / "crash.npz")])
    crash = read_windows(tmp_path / "crash.npz")
    assert (crash.log_returns.sum(axis=1).mean(axis=1) < 0).all()
    main(["sample", model, "--steps", "100", "--n", "3", "--out", str(tmp_path / "long.npz")])
    assert read_windows(tmp_path / "long.npz").log_returns.shape == (3, 100, 2)
    main(["sample", model, "--expected-shortfall", "0.2", "--n", "500", "--out",
          str(tmp_path / "tail.npz")])  # fmt: skip
    assert shortfall(read_windows(tmp_path / "tail.npz"), "EW") == pytest.approx(0.2, rel=0.1)
    capsys.readouterr()
    for line, said in (
        (["--regime", "calm"], "regime must be bull, bear, crash or a label"),
        (["--regime", "7"], "no window of regime 7 was learned (known: 0, 1, 2)"),
        (["--steps", "9", "--regime", "bear"], "regime: cannot be asked for together with steps"),
        (["--strategy", "EW"], "strategy: only tells whose expected_shortfall it is"),
    ):
        assert main(["sample", model, *line, "--out", str(tmp_path / "no.npz")]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "no.npz").exists()
