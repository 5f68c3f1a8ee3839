"""PCA coverage: hulls and their intersection against other ways, and whole tapes."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.decomposition import PCA

from marketsim.metrics.coverage import Basis, area, core, cover, coverage, hull, intersect
from marketsim.metrics.sample import take_sample
from marketsim.metrics.section import NotDefined, Section
from marketsim.tape import Tape

Make = Callable[..., Tape]
SQUARE = np.array([[0.0, 0], [2, 0], [2, 2], [0, 2]])


def judge(generated: Tape, real: Tape) -> Section:
    return coverage(take_sample(generated, "tape"), take_sample(real, "against"))


def test_squares_by_hand() -> None:
    assert area(SQUARE) == 4
    assert area(intersect(SQUARE, SQUARE + 1)) == 1
    assert len(intersect(SQUARE, SQUARE + 3)) == 0
    assert cover(SQUARE, SQUARE) == 1
    assert cover(SQUARE + 1, SQUARE) == 0.25
    assert cover(SQUARE * 10 - 5, SQUARE) == 1
    assert cover(SQUARE + 3, SQUARE) == 0
    assert cover(SQUARE + [2, 0], SQUARE) == 0  # they touch


@pytest.mark.parametrize("seed", range(5))
def test_intersection_against_random_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = hull(rng.normal(0, 1, (40, 2))), hull(rng.normal(0.6, 1, (40, 2)))
    darts = rng.uniform(-4, 4, (200_000, 2))

    def inside(corners: np.ndarray) -> np.ndarray:
        edges = np.roll(corners, -1, axis=0) - corners
        away = darts[:, None] - corners
        return (edges[:, 0] * away[..., 1] - edges[:, 1] * away[..., 0] >= 0).all(axis=1)

    expected = 64 * float((inside(one) & inside(other)).mean())
    assert area(intersect(one, other)) == pytest.approx(expected, rel=0.03)
    assert area(intersect(one, other)) == pytest.approx(area(intersect(other, one)), rel=1e-9)


def test_basis_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    columns = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + 5
    basis = Basis.of(columns)
    scaled = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    reference = PCA(2).fit(scaled)
    np.testing.assert_allclose(np.abs(basis.project(columns)), np.abs(reference.transform(scaled)))
    np.testing.assert_allclose(basis.explained, reference.explained_variance_ratio_)


def test_core_leaves_out_the_extremes() -> None:
    points = np.random.default_rng(0).normal(size=(1_000, 2))
    kept = core(np.concatenate([points, [[500.0, 500.0]]]))
    assert kept.max() < 10 and len(kept) in (990, 991)


def test_points_on_a_line_have_no_hull() -> None:
    line = np.column_stack([np.arange(9.0), np.arange(9.0)])
    for function in (hull, core):
        with pytest.raises(NotDefined, match="lie on a line"):
            function(line)


@pytest.fixture(scope="module")
def real(make_day: Make, bursts: Callable[[int, int], np.ndarray]) -> Tape:
    return make_day(bursts(6_000, 1), 1)


def test_a_tape_covers_itself(real: Tape) -> None:
    for fact in judge(real, real).rows:
        assert fact.generated == pytest.approx(1, abs=1e-12)
        assert fact.distance == pytest.approx(0, abs=1e-12)
        assert "no floor" in fact.note


def test_the_mean_price_has_no_part_in_it(
    real: Tape, make_day: Make, bursts: Callable[[int, int], np.ndarray]
) -> None:
    shifted = make_day(bursts(6_000, 1) + 20, 1)
    for fact in judge(shifted, real).rows:
        assert fact.generated == pytest.approx(1, abs=0.01)


def test_a_market_without_variety_covers_less(real: Tape, make_day: Make) -> None:
    part = real.between(int(real.meta["open_ns"]), int(real.meta["open_ns"]) + 1_000 * 10**9)
    orders = {**part.orders, "size_lots": np.full(len(part), 100)}
    poor = Tape(orders, part.trades, part.meta, book=part.book)
    whole, small = judge(part, real).rows[0], judge(poor, real).rows[0]
    assert whole.generated is not None and small.generated is not None
    assert small.generated < 0.95 * whole.generated < 1
    assert whole.floor is not None and whole.ratio == pytest.approx(whole.distance / whole.floor)


def test_too_few_orders_are_said(real: Tape, make_day: Make) -> None:
    for fact in judge(make_day(np.full(60, 1_000)), real).rows:
        assert fact.generated is None
        assert fact.note == "generated not defined: 60 orders with a two-sided book, needs 100"
