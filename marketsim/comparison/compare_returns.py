"""A whole comparison of returns in one call: what ``marketsim compare returns`` does."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from marketsim.comparison.returns import ReturnsComparison, Tell
from marketsim.comparison.returns_content import content_of
from marketsim.comparison.returns_measures import MEASURES
from marketsim.comparison.returns_plan import ReturnsPlan
from marketsim.comparison.returns_report import write_returns_comparison
from marketsim.errors import ConfigError

Location = str | os.PathLike[str]


def compare_returns(
    data: Location | Sequence[Location],
    out: Location,
    *,
    bars: Location | Sequence[Location] = (),
    rows: Sequence[str] | None = None,
    measures: Sequence[str] = MEASURES,
    seeds: int = 3,
    splits: int = 2,
    folds: int = 1,
    workers: int | None = None,
    train_steps: Mapping[str, int] | None = None,
    window: int = 24,
    stride: int = 1,
    assets: Sequence[str] | None = None,
    price: str = "close",
    progress: Tell | None = None,
) -> dict[str, Any]:
    """Compare generators of returns on time-ordered splits; what was interrupted goes on.

    In a script, call it below ``if __name__ == "__main__":``, as it starts processes.

    Parameters
    ----------
    data : an archive of windows (.npz), or CSV or Parquet files of bars
    out : folder of results, trained models, tables and pictures
    bars : files of hourly bars of several assets for the tasks of forecasting and arbitrage
    rows : names of :data:`marketsim.comparison.returns_rows.ROWS`, or of groups; None is all
    measures : of :data:`marketsim.comparison.returns_measures.MEASURES`
    seeds : models of each row on each split
    splits : test parts of 15 % of the windows, the last one first; training is all before one
    folds : walks forward over ``bars``, the last one first
    workers : processes; None is one a core. What is found does not depend on it.
    train_steps : training budget by row or generator, where not its own
    window, stride, assets, price : of windows that are made of bars
    progress : called with what is done and the share of all work that is

    Returns
    -------
    dict of JSON values, as in ``comparison.json``

    Raises
    ------
    ConfigError
        For an unknown row or measure, or a number out of range.
    DataError
        If data cannot be read or are too few, a test window is known from training, or the folder
        holds something else.
    """
    if not measures:
        raise ConfigError(f"measures must be one at least of {', '.join(MEASURES)}, were none")
    plan = ReturnsPlan(
        _paths(data), window, stride, None if assets is None else tuple(assets), price, seeds,
        splits, _paths(bars), folds, tuple(measures), dict(train_steps or {}),
    )  # fmt: skip
    folder = Path(out)
    comparison = ReturnsComparison(plan, rows, folder, workers=workers, tell=progress)
    comparison.run()
    content = content_of(comparison)
    write_returns_comparison(content, folder)
    return content


def _paths(given: Location | Sequence[Location]) -> tuple[str, ...]:
    if isinstance(given, str | os.PathLike):
        return (os.fspath(given),)
    return tuple(os.fspath(path) for path in given)
