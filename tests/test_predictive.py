"""Predictive score: its windows, its test against a constant price, shifts and seeds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from marketsim.metrics import forecaster, windows
from marketsim.metrics.observations import observe
from marketsim.metrics.predictive import predictive
from marketsim.metrics.sample import take_sample
from marketsim.metrics.section import Row, Section
from marketsim.metrics.windows import AHEAD, MIN_ORDERS, PAST, cut_windows
from marketsim.tape import Tape

Make = Callable[..., Tape]
CHANGE = "error of the mid-price change [currency]"
NO_CHANGE = "error over that of the forecast 'no change'"
SKILL = "correlation of forecast and change"
LEVEL = "error of the mid-price level [currency]"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecaster, "MAX_EPOCHS", 3)
    monkeypatch.setattr(windows, "MOST", {"train": 300, "validation": 100, "test": 300})
    monkeypatch.setattr(windows, "MOST_SHUFFLED", {"train": 200, "validation": 100, "test": 300})


def path(rows: int, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Mid-prices that go on as they went for forty orders, and stay near 500 USD."""
    rng = np.random.default_rng(seed)
    level, blocks = 0, []
    for _ in range(rows // 40 + 1):
        drift = 2 if level < 0 else -2
        steps = (drift if rng.random() < 0.8 else -drift) + rng.integers(-2, 3, 40)
        blocks.append(level + np.cumsum(steps))
        level = int(blocks[-1][-1])
    return np.asarray(50_000 + np.concatenate(blocks)[:rows], np.int64)


@pytest.fixture(scope="module")
def real(make_day: Make) -> Tape:
    return make_day(path(4_000, 1), 1)


def judge(generated: Tape, real: Tape, seed: int = 0) -> Section:
    return predictive(take_sample(generated, "tape"), take_sample(real, "against"), seed)


def row(section: Section, measure: str) -> Row:
    (found,) = [row for row in section.rows if row.measure == measure]
    return found


def test_windows_are_cut_before_anything_is_shuffled(real: Tape) -> None:
    seen = observe(take_sample(real, "tape"), MIN_ORDERS)
    cut = cut_windows(seen)
    owners: dict[int, str] = {}
    for part, last in cut.last.items():
        assert len(last) and (np.diff(last) > 0).all()
        for end in last.tolist():
            for used in range(end - PAST + 1, end + AHEAD + 1):
                assert owners.setdefault(used, part) == part  # no order is in two parts
    last = cut.last["train"][:3]
    features, price = cut.inputs(last)
    assert features.shape == (3, PAST, 8) and price.shape == (3, PAST, 3)
    mid = (real.book.bid_price_ticks[:, 0] + real.book.ask_price_ticks[:, 0]) / 200
    for i, end in enumerate(last):
        np.testing.assert_allclose(price[i, -1, 1:].mean(), 0, atol=1e-9)
        np.testing.assert_allclose(price[i, 0, 1:].mean(), mid[end - PAST + 1] - mid[end])
        np.testing.assert_allclose(cut.targets(last)[i], mid[end + AHEAD] - mid[end])


def test_a_tape_against_itself_is_as_good_as_real(real: Tape) -> None:
    found = judge(real, real)
    for measure in (CHANGE, NO_CHANGE, LEVEL):
        assert row(found, measure).ratio == 1
    assert row(found, SKILL).distance == 0


def test_there_is_something_to_learn(
    real: Tape, make_day: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecaster, "MAX_EPOCHS", 12)
    monkeypatch.setattr(windows, "MOST", {"train": 600, "validation": 100, "test": 300})
    found = judge(make_day(path(4_000, 2), 2), real)
    error, skill = row(found, NO_CHANGE).generated, row(found, SKILL).generated
    assert error is not None and error < 0.95
    assert skill is not None and skill > 0.4


def test_a_constant_price_scores_as_no_change(real: Tape, make_day: Make) -> None:
    mean = int(path(4_000, 1).mean())
    found = judge(make_day(np.full(4_000, mean), 3), real)
    assert row(found, NO_CHANGE).generated == 1
    assert "not defined" in row(found, SKILL).note
    level, levels = row(found, LEVEL), judge(real, real)
    real_level = row(levels, LEVEL).generated
    assert level.generated is not None and real_level is not None
    assert level.generated == pytest.approx(real_level, rel=0.15)  # the paper's score is fooled


def test_a_shifted_price_changes_the_paper_score_only(real: Tape, make_day: Make) -> None:
    shifted = judge(make_day(path(4_000, 1) + 200, 1), real)  # the same day, 2 USD higher
    score, level = row(shifted, CHANGE), row(shifted, LEVEL)
    assert score.ratio == pytest.approx(1, rel=0.02)
    assert level.generated is not None and level.real is not None
    assert level.generated > 2 * level.real  # 2 USD are a lot there


def test_the_seed_decides(real: Tape, make_day: Make) -> None:
    other = make_day(path(3_000, 4), 4)
    one, again, third = (judge(other, real, seed) for seed in (0, 0, 1))
    assert one.rows == again.rows
    assert row(one, CHANGE).generated != row(third, CHANGE).generated


def test_it_can_be_interrupted(real: Tape) -> None:
    said = []

    def tell(what: str, share: float) -> None:
        said.append((what, share))
        if len(said) == 5:
            raise KeyboardInterrupt

    sample = take_sample(real, "tape")
    with pytest.raises(KeyboardInterrupt):
        predictive(sample, sample, 0, tell)
    assert [share for _, share in said] == sorted(share for _, share in said)


def test_too_short_a_tape_is_said(real: Tape, make_day: Make) -> None:
    found = judge(make_day(path(600, 1)), real)
    for fact in found.rows:
        assert fact.generated is None and fact.real is None
        assert (
            f"generated not defined: 600 orders with a two-sided book, needs {MIN_ORDERS}"
            in fact.note
        )


def test_a_real_price_that_never_changes_is_said(real: Tape, make_day: Make) -> None:
    found = judge(real, make_day(np.full(2_000, 900)))
    assert row(found, NO_CHANGE).generated is None
    assert row(found, NO_CHANGE).note == "not defined: the real mid-price never changes"
