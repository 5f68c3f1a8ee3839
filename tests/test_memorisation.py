"""Copies of training windows and leaks into training are caught; what is new is not."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import marketsim as ms
from marketsim.data.return_windows import UNKNOWN_S, Windows, as_windows
from marketsim.errors import ConfigError, DataError
from marketsim.metrics.memorisation import leaks, memorisation, refuse_leaks

ARCHIVE = Path(__file__).parents[1].parent / "shared/data/crypto/icaif2024_crypto_24h_logret.npz"
HOURS = 4000


def cut(starts_h: np.ndarray, steps: int = 24, seed: int = 0) -> Windows:
    """Windows of one history of two assets that start at these hours."""
    draw = np.random.default_rng(seed)
    history = 0.01 * draw.standard_t(4, (HOURS, 2)).astype(np.float32)
    rows = starts_h[:, None] + np.arange(steps)
    n = len(starts_h)
    return Windows(history[rows], np.ones((n, 2)), starts_h * 3600, ("A", "B"), 3600)


def joined(first: Windows, second: Windows) -> Windows:
    parts = ("log_returns", "initial_prices", "start_s")
    both = {name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in parts}
    return replace(first, **both)


@pytest.fixture(scope="module")
def parts() -> tuple[Windows, Windows]:
    train, test = cut(np.arange(0, HOURS - 24, 4)).split(0.8, 0.2)
    return train, test


def test_a_clean_split_leaks_nothing(parts: tuple[Windows, Windows]) -> None:
    train, test = parts
    assert leaks(train, test).empty
    refuse_leaks(train, test)
    assert leaks(replace(train, start_s=np.full(len(train), -1)), test).empty


@pytest.mark.parametrize("start", ["unknown", "lying", "true"])
def test_a_planted_window_of_the_test_period_is_caught(
    parts: tuple[Windows, Windows], start: str
) -> None:
    train, test = parts
    true_h = int(test.start_s[50] // 3600) + 3  # between two test windows
    planted = cut(np.array([true_h]))
    told_s = {"unknown": UNKNOWN_S, "lying": 40 * 3600, "true": true_h * 3600}[start]
    planted = replace(planted, start_s=np.array([told_s]))
    found = leaks(joined(train, planted), test)
    # hours true_h to true_h + 24; six in a row prove it by returns, one does by time
    shared = np.minimum(test.start_s // 3600 + 24, true_h + 24) - np.maximum(
        test.start_s // 3600, true_h
    )
    least = 1 if start == "true" else 6
    np.testing.assert_array_equal(found["window"], np.flatnonzero(shared >= least))
    np.testing.assert_array_equal(found["steps"], shared[shared >= least])
    assert (found["train_window"] == len(train)).all()
    assert set(found["by"]) == ({"time", "both"} if start == "true" else {"returns"})
    assert found["train_start"].isna().all() == (start == "unknown")
    with pytest.raises(DataError) as caught:
        refuse_leaks(joined(train, planted), test)
    text = str(caught.value)
    first, date = found["window"][0], f"{found['start'][0]:%Y-%m-%d %H:%M}"
    assert f"{len(found)} of {len(test)} windows do" in text
    assert f"window {first} (of {date}) has {found['steps'][0]} steps of training window" in text
    assert ("unknown time" in text) == (start == "unknown")


def test_a_random_split_leaks_nearly_everything() -> None:
    whole = cut(np.arange(0, HOURS - 24, 4))
    order = np.random.default_rng(0).permutation(len(whole))
    found = leaks(whole.take(order[:800]), whole.take(order[800:]))
    assert len(found) > 0.95 * (len(whole) - 800)
    # hours by time are exact, and returns agree where they can
    assert set(found["by"]) <= {"time", "both"}


@settings(max_examples=60, deadline=None)
@given(
    train_h=st.lists(st.integers(0, 200), min_size=1, max_size=12),
    test_h=st.lists(st.integers(0, 200), min_size=1, max_size=12),
    steps=st.integers(1, 10),
)
def test_leaks_by_time_equal_sets_of_hours(
    train_h: list[int], test_h: list[int], steps: int
) -> None:
    train, test = cut(np.array(train_h), steps), cut(np.array(test_h), steps, seed=1)
    hours = {hour for start in train_h for hour in range(start, start + steps)}
    expected = [row for row, start in enumerate(test_h) if hours & set(range(start, start + steps))]
    assert leaks(train, test)["window"].tolist() == expected
    same = leaks(train, cut(np.array(test_h), steps))  # of the same history: by returns as well
    assert same["window"].tolist() == expected
    for row, by in zip(same["window"], same["by"], strict=True):
        runs = [set(range(start, start + steps)) & set(range(test_h[row], test_h[row] + steps))
                for start in train_h]  # fmt: skip
        assert by == ("both" if max(map(len, runs)) >= min(6, steps) else "time")


def test_hours_without_movement_prove_nothing(parts: tuple[Windows, Windows]) -> None:
    train, test = parts
    halted = [side.log_returns.copy() for side in (train, test)]
    for values in halted:
        values[:, 8:, 0] = 0.0
        values[:, 4:14] = 0.0
    assert leaks(*(as_windows(values) for values in halted)).empty
    noisy = train.log_returns[:3] + np.float32(1e-6)
    assert leaks(train, as_windows(noisy)).empty
    assert len(leaks(train, as_windows(train.log_returns[:3] + np.float32(3e-8)))) == 3


def test_copies_are_told_from_what_is_new(parts: tuple[Windows, Windows]) -> None:
    train, test = parts
    draw = np.random.default_rng(0)
    past = ms.generators.create("bootstrap-returns").fit(train).sample_windows(300)
    found = memorisation(train, past, test)
    assert (found.copies, found.median, found.nearer, found.verdict) == (300, 0, 1, "copies")
    gaussian = ms.generators.create("gaussian").fit(train).sample_windows(300)
    found = memorisation(train, gaussian, test)
    assert (found.copies, found.runs, found.verdict) == (0, 0, "new") and found.nearer < 0.05
    size = np.exp(0.1 * draw.standard_normal(past.log_returns.shape)).astype(np.float32)
    near = memorisation(train, as_windows(past.log_returns * size), test)
    assert (near.copies, near.verdict) == (0, "near") and near.nearer > 0.95
    assert 0 < near.low < near.median < found.held_out_low < found.held_out_median
    blocks = ms.generators.create("block-bootstrap", mean_block=12).fit(train).sample_windows(300)
    pieces = memorisation(train, blocks, test)
    assert pieces.runs > 250
    whole = as_windows(blocks.log_returns[_distance(blocks, train) > 0.01])
    assert memorisation(train, whole, test).verdict == "pieces"


def _distance(fake: Windows, train: Windows) -> np.ndarray:
    """Distances by loops."""
    deviation = train.log_returns.reshape(-1, 2).astype(np.float64).std(axis=0)
    base = train.log_returns / deviation
    found = []
    for window in fake.log_returns / deviation:
        nearest = min(np.sqrt(((window - other) ** 2).sum()) for other in base)
        found.append(nearest / np.sqrt((window**2).sum()))
    return np.array(found)


def test_distances_equal_loops(parts: tuple[Windows, Windows]) -> None:
    train, test = parts[0].take(slice(0, 60)), parts[1].take(slice(0, 40))
    fake = as_windows((train.log_returns[:30] * 0.9 + 0.001).astype(np.float32))
    found = memorisation(train, fake, test)
    ours, theirs = _distance(fake, train), _distance(test, train)
    expected = {
        "median": np.median(ours), "low": np.sort(ours)[0],
        "held_out_median": np.median(theirs), "held_out_low": np.sort(theirs)[0],
        "nearer": np.mean(ours < theirs.min()),
    }  # fmt: skip
    assert {name: asdict(found)[name] for name in expected} == pytest.approx(expected)
    zeros = memorisation(train, as_windows(0 * fake.log_returns), test)
    assert (zeros.median, zeros.copies, zeros.runs, zeros.verdict) == (1.0, 0, 0, "new")


def test_checks_that_cannot_be(parts: tuple[Windows, Windows]) -> None:
    train, test = parts
    one = as_windows(test.log_returns[:, :, :1].copy())
    with pytest.raises(DataError, match=r"fake: must be of shape \[n, 24, 2\].*was \[\d+, 24, 1\]"):
        memorisation(train, one, test)
    with pytest.raises(DataError, match="held_out: must be of shape"):
        memorisation(train, test, one)
    with pytest.raises(DataError, match="train: returns of asset 1 must vary"):
        memorisation(as_windows(0 * test.log_returns), test, test)
    with pytest.raises(DataError, match="test: must have 2 assets, had 1"):
        leaks(train, one)
    with pytest.raises(DataError, match="must have step_s 3600, as training, had 60"):
        leaks(train, replace(test, step_s=60))
    with pytest.raises(ConfigError, match="run_steps must be >= 1, was 0"):
        leaks(train, test, 0)


def test_the_archive() -> None:
    """A split by time shares nothing; the archive's own order does in nearly every window."""
    if not ARCHIVE.is_file():
        pytest.skip("the archive is not here")
    windows = ms.read_windows(ARCHIVE)
    train, test = windows.split(0.85, 0.15, unknown="first")
    refuse_leaks(train, test)
    with pytest.raises(DataError, match="of 1788 windows do"):
        refuse_leaks(windows.take(slice(0, 7149)), windows.take(slice(7149, None)))
    found = memorisation(train, train.take(slice(0, 500)), test)
    assert found.verdict == "copies" and found.held_out_low > 0.5
