"""Scores by networks: what they must tell, what they must not, and that nothing leaks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketsim.data.return_windows import UNKNOWN_S, Windows, as_windows
from marketsim.errors import ConfigError, DataError
from marketsim.metrics import return_network
from marketsim.metrics.return_scores import (
    discriminative_score,
    held_out,
    predictive_score,
    tstr,
)


def made(seed: int, n: int = 400, follows: float = 0.6) -> Windows:
    """Returns of two assets, each in part that of the step before."""
    draw = np.random.default_rng(seed).normal(0, 0.01, (n, 13, 2))
    for step in range(1, 13):
        draw[:, step] = follows * draw[:, step - 1] + np.sqrt(1 - follows**2) * draw[:, step]
    return as_windows(draw[:, 1:].astype(np.float32))


def at(starts_h: list[int], steps: int) -> Windows:
    n = len(starts_h)
    start_s = np.where(np.array(starts_h) < 0, UNKNOWN_S, np.array(starts_h) * 3600)
    draw = np.random.default_rng(0).normal(size=(n, steps, 1)).astype(np.float32)
    return Windows(draw, np.ones((n, 1)), start_s, ("A",), 3600)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(return_network, "STEPS", 60)


@settings(max_examples=100, deadline=None)
@given(starts_h=st.lists(st.integers(-1, 300), min_size=1, max_size=80), steps=st.integers(1, 24))
def test_no_hour_of_a_test_window_is_trained_on(starts_h: list[int], steps: int) -> None:
    windows = at(starts_h, steps)
    train, test = held_out(windows)
    assert not set(train) & set(test)
    if max(starts_h) < 0:
        assert len(train) + len(test) == len(windows)
        return
    hours = [
        {hour for row in rows for hour in range(starts_h[row], starts_h[row] + steps)}
        for rows in (train, test)
    ]
    assert not hours[0] & hours[1] and -1 not in hours[0] | hours[1]


def test_three_tenths_are_held_out_and_little_is_lost() -> None:
    train, test = held_out(at([4 * i for i in range(1000)], 24))
    assert len(test) == 300
    assert len(train) == 700 - 6 * 5  # five windows reach over each of six bounds


def test_what_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    real = made(0)
    assert discriminative_score(real, made(1)) < 0.1
    assert discriminative_score(real, as_windows(0 * real.log_returns)) == 0.5
    assert discriminative_score(real, as_windows(3 * made(1).log_returns)) > 0.35
    # the same returns in another order: no moment differs, but they do not follow each other
    monkeypatch.setattr(return_network, "STEPS", 200)
    order = np.random.default_rng(0).permuted(np.tile(np.arange(12), (400, 1)), axis=1)
    fake = made(1, follows=0.9).log_returns
    shuffled = as_windows(np.take_along_axis(fake, order[:, :, None], axis=1))
    assert discriminative_score(made(0, follows=0.9), shuffled) > 0.25


def test_what_can_be_learned() -> None:
    real = made(0)
    noise = np.sqrt(1 - 0.6**2) * np.sqrt(2 / np.pi)  # mean absolute part that is not foreseen
    good, bad = (predictive_score(real, made(1, follows=follows)) for follows in (0.6, 0.0))
    assert noise - 0.02 < good < noise + 0.05 < bad
    in_percent = as_windows(100 * made(0).log_returns)  # the unit of returns does not matter
    lesson = as_windows(100 * made(1).log_returns)
    assert predictive_score(in_percent, lesson) == pytest.approx(good, abs=1e-3)


def test_learned_from_generated_windows_and_tested_on_real_ones() -> None:
    train, test = made(0), made(1)
    alike = tstr(train, test, made(2))
    best = 0.5 + np.arcsin(0.6) / np.pi  # share of a normal's signs that its past tells
    assert alike["real"] == pytest.approx(best, abs=0.03)
    assert alike["ratio"] == pytest.approx(1, abs=0.03)
    assert alike["ratio"] == alike["fake"] / alike["real"]
    assert tstr(train, test, made(2, follows=-0.6))["fake"] < 0.35  # learned the wrong way round
    still = tstr(train, test, as_windows(0 * made(2).log_returns))
    assert still["fake"] == 0.5 and still["real"] == alike["real"]
    assert 0.5 <= still["majority"] < 0.55


def test_returns_of_0_are_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(return_network, "STEPS", 15)
    train, found = made(0, 100), {}
    for last in (-0.01, 0.0, 0.01):
        test = made(1).log_returns.copy()
        test[:, -1] = last
        found[last] = tstr(train, as_windows(test), train)["real"]
    # what is told of the last step is right of a rise or of a fall: one of eleven steps
    told = (found[-0.01] + found[0.01]) * 11 / 2 - 1 / 2
    assert found[0.0] == pytest.approx(told / 10)
    assert found[0.0] != found[-0.01]


def test_the_seed_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(return_network, "STEPS", 15)
    real, fake = made(0, 60), made(1, 60, follows=0.0)
    first, again, other = (predictive_score(real, fake, seed=seed) for seed in (3, 3, 4))
    assert first == again != other
    assert tstr(real, real, fake, seed=3) == tstr(real, real, fake, seed=3)
    with pytest.raises(ConfigError, match="seed must be >= 0, was -1"):
        discriminative_score(real, fake, seed=-1)


def test_scores_that_cannot_be() -> None:
    real = made(0, 40)
    for score in (discriminative_score, predictive_score):
        with pytest.raises(DataError, match="fake: must be 30 windows at least, were 29"):
            score(real, made(1, 29))
        with pytest.raises(DataError, match=r"fake: must be of shape \[n, 12, 2\].* \[40, 6, 2\]"):
            score(real, as_windows(real.log_returns[:, :6].copy()))
        with pytest.raises(DataError, match="real: returns of asset 1 must vary"):
            score(as_windows(0 * real.log_returns), real)
    crowded = at(list(range(40)), 24)  # each shares hours with those of the next stretches
    with pytest.raises(DataError, match="8 of each kind at least to learn from .* were 0"):
        discriminative_score(crowded, crowded)
    short = as_windows(real.log_returns[:, :1].copy())
    with pytest.raises(DataError, match="real: must have 2 steps at least, had 1"):
        predictive_score(short, short)
    with pytest.raises(DataError, match="test: returns must vary"):
        tstr(real, as_windows(0 * real.log_returns), real)
