"""Windows a day ahead: what is told of each test window was known when it began."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from marketsim.comparison.returns import ReturnsComparison
from marketsim.comparison.returns_content import content_of
from marketsim.comparison.returns_forecast import DAYS, known_before, recent_before
from marketsim.comparison.returns_plan import ReturnsPlan, split
from marketsim.comparison.returns_tables import grids
from marketsim.data.return_windows import UNKNOWN_S, Windows, write_windows
from marketsim.errors import DataError

HOUR = 3600
START_S = 1_600_000_000


def made(n: int = 400, seed: int = 0) -> Windows:
    """Windows of 24 hours that start every four; the deviation doubles in the last tenth."""
    draw = np.random.default_rng(seed)
    hours = 4 * n + 24
    level = np.where(np.arange(hours) < 0.9 * hours, 0.005, 0.01)[:, None]
    series = (level * draw.standard_normal((hours, 2))).astype(np.float32)
    starts = 4 * np.arange(n)
    rows = np.stack([series[start : start + 24] for start in starts])
    prices = np.full((n, 2), 100.0)
    return Windows(rows, prices, START_S + starts * HOUR, ("BTC", "ETH"), HOUR)


WINDOWS = made()


def test_what_is_drawn_ended_before() -> None:
    _, test = split(WINDOWS, 0)
    starts = {row.tobytes(): start for row, start in zip(
        WINDOWS.log_returns, WINDOWS.start_s, strict=True)}  # fmt: skip
    for seed in range(5):
        drawn = recent_before(WINDOWS, test, np.random.default_rng(seed))
        for window, start_s in zip(drawn.log_returns, test.start_s, strict=True):
            found = starts[window.tobytes()]
            assert start_s - DAYS * 24 * HOUR <= found <= start_s - 25 * HOUR


def test_pasts_are_those_before_each_window() -> None:
    _, test = split(WINDOWS, 0)
    chosen, pasts = known_before(WINDOWS, test, 72)
    assert len(chosen) == len(test) and pasts.shape == (len(test), 72, 2)
    by_start = dict(zip(WINDOWS.start_s.tolist(), WINDOWS.log_returns, strict=True))
    for row in (0, 7, len(chosen) - 1):
        for day in (1, 2, 3):
            before = by_start[int(chosen.start_s[row]) - 24 * day * HOUR]
            end = 72 - 24 * (day - 1)
            np.testing.assert_array_equal(pasts[row, end - 24 : end], before)


def test_the_future_changes_nothing() -> None:
    _, test = split(WINDOWS, 0)
    cut_s = int(test.start_s[20])
    changed = WINDOWS.log_returns.copy()
    later = WINDOWS.start_s[:, None] + HOUR * np.arange(24) >= cut_s
    changed[later] = 9.0
    other = replace(WINDOWS, log_returns=changed)
    before = test.take(slice(0, 21))  # the last of them starts at the cut
    for first, second in (
        (known_before(WINDOWS, before, 72)[1], known_before(other, before, 72)[1]),
        *[tuple(recent_before(w, before, np.random.default_rng(3)).log_returns
                for w in (WINDOWS, other))],
    ):  # fmt: skip
        np.testing.assert_array_equal(first, second)


def test_windows_without_a_past_are_left_out() -> None:
    gap = WINDOWS.take(np.r_[0:345, 360:400])  # two and a half days are missing
    _, test = split(gap, 0)
    chosen, _ = known_before(gap, test, 72)
    assert 0 < len(chosen) < len(test)
    lost = replace(WINDOWS, start_s=np.full(len(WINDOWS), UNKNOWN_S))
    with pytest.raises(DataError, match="of no test window are the 72 returns before it known"):
        known_before(lost, test, 72)


def test_rows_a_day_ahead(tmp_path: Path) -> None:
    write_windows(WINDOWS, tmp_path / "windows.npz")
    plan = ReturnsPlan(
        (str(tmp_path / "windows.npz"),), seeds=1, splits=1, measures=("risk", "returns"),
        train_steps={"cms-vae": 2},
    )  # fmt: skip
    rows = ["recent", "cms-vae", "forecast"]
    comparison = ReturnsComparison(plan, rows, tmp_path / "out", workers=1)
    comparison.run()
    assert not comparison.failures
    models = {path.name for path in (tmp_path / "out" / "models").iterdir()}
    assert "cms-vae" in models and "cms-vae-day-ahead" not in models
    content = content_of(comparison)
    ahead, recent = (content["rows"][name] for name in ("recent-day-ahead", "recent"))
    # the test part became wild within it: who is told of the days before knows of that
    assert ahead["figures"]["training VaR"]["mean"] < recent["figures"]["training VaR"]["mean"]
    assert not ahead["ranks"] and ahead["var_change_percent"] == {
        "training": None,
        "held-out": None,
    }
    assert content["rows"]["cms-vae-day-ahead"]["parts"] == 1
    titles = [grid.title for grid in grids(content)]
    assert "A day ahead, training strategies" in titles
    assert any("A day ahead on the training strategies" in line for line in content["statements"])
