"""Whether generated windows are copies of training windows, and test windows lie in training.

Two questions of one kind. :func:`memorisation` measures how near generated windows come to training
windows, beside how near real windows of another time come. :func:`leaks` finds test windows whose
hours are in training: by their times, and by runs of equal returns, as times may be unknown or
wrong.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from marketsim.checks import integer
from marketsim.data.return_windows import UNKNOWN_S, Windows
from marketsim.errors import DataError
from marketsim.metrics.returns import spread

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Nearer than this share of its own size to a training window, a window is a copy of it.
COPY = 0.01
#: Quantile of the distances of held-out windows that few generated ones should fall below, and how
#: many times as many as it says may do so before they count as too near.
LOW, TIMES = 0.01, 5.0
#: Steps in a row that are the same hours if returns of all assets are equal to within this.
RUN_STEPS, SAME_RETURN = 6, 1e-7
#: Windows compared with all training windows at a time.
_CHUNK = 512


@dataclass(frozen=True)
class Memorisation:
    """How near generated windows come to training windows.

    A distance is that of a window to the nearest training window by the window's own size, both as
    root mean square of returns by their asset's standard deviation: 0 is a copy, 1 is nothing
    alike, in calm times and in wild ones.

    Attributes
    ----------
    median, low : of the generated windows' distances: median, and quantile of 1 %
    held_out_median, held_out_low : of those of held-out windows
    nearer : share of generated windows that are nearer than ``held_out_low``; 0.01 is as real
    copies : generated windows that are the same as a training window to within 1 % of their size
    runs : generated windows in which six steps in a row are those of a training window, wherever
        in it they are, as in windows of pieces of the past
    verdict : ``copies`` if any is one; else ``pieces`` if one in a hundred has such a run; else
        ``near`` if ``nearer`` is above 5 %; else ``new``
    """

    median: float
    low: float
    held_out_median: float
    held_out_low: float
    nearer: float
    copies: int
    runs: int
    verdict: str


def memorisation(train: Windows, fake: Windows, held_out: Windows) -> Memorisation:
    """Compare generated windows' distances to training windows with those of real other ones.

    Parameters
    ----------
    train : what the generator learned from
    fake : what it drew
    held_out : real windows that share no hour with ``train``

    Raises
    ------
    DataError
        If shapes differ, or training returns do not vary.

    References
    ----------
    Meehan, Chaudhuri & Dasgupta (2020), A non-parametric test to detect data-copying in generative
    models, AISTATS.
    """
    for name, side in (("fake", fake), ("held_out", held_out)):
        if side.log_returns.shape[1:] != train.log_returns.shape[1:]:
            raise DataError(
                f"{name}: must be of shape [n, {train.steps}, {len(train.symbols)}], as training "
                f"windows are, was {list(side.log_returns.shape)}"
            )
    deviation = spread(train, "train")
    base, drawn, other = (_flat(side, deviation) for side in (train, fake, held_out))
    ours, theirs = _nearest(drawn, base), _nearest(other, base)
    held_out_low = float(np.quantile(theirs, LOW, method="lower"))
    copies = int((ours <= COPY).sum())
    runs = len(np.unique(_equal_runs(train, fake)[0]))
    nearer = float((ours < held_out_low).mean())
    if copies:
        verdict = "copies"
    elif runs >= LOW * len(fake):
        verdict = "pieces"
    else:
        verdict = "near" if nearer > TIMES * LOW else "new"
    return Memorisation(
        median=float(np.median(ours)),
        low=float(np.quantile(ours, LOW, method="lower")),
        held_out_median=float(np.median(theirs)),
        held_out_low=held_out_low,
        nearer=nearer,
        copies=copies,
        runs=runs,
        verdict=verdict,
    )


def leaks(train: Windows, test: Windows, run_steps: int = RUN_STEPS) -> "pd.DataFrame":
    """Test windows that share hours with training windows.

    By time, where both starts are known; and by equal returns: runs of ``run_steps`` (of all
    steps, where windows are shorter) in which the returns of all assets are equal to within 1e-7.
    Runs in which an asset stands still all the time prove nothing, and are passed over.

    Returns
    -------
    DataFrame, a row a test window: ``window``, its row; ``start`` (UTC; NaT: unknown);
    ``train_window``, ``train_start`` of a training window that has some of its steps; ``steps``,
    how many of its steps are known to be in training; ``by``: ``time``, ``returns`` or ``both``.

    Raises
    ------
    DataError
        If the number of assets or the time between prices differs.
    ConfigError
        For ``run_steps`` < 1.
    """
    import pandas as pd

    integer("run_steps", run_steps, 1)
    if len(test.symbols) != len(train.symbols):
        raise DataError(f"test: must have {len(train.symbols)} assets, had {len(test.symbols)}")
    if test.step_s != train.step_s:
        raise DataError(f"test: must have step_s {train.step_s}, as training, had {test.step_s}")
    parts = []
    for by, found in (
        ("time", _shared_hours(train, test)),
        ("returns", _equal_runs(train, test, run_steps)),
    ):
        parts.append(
            pd.DataFrame(dict(zip(("window", "train_window", "steps"), found, strict=True)))
        )
        parts[-1]["by"] = by
    table = pd.concat(parts).sort_values("steps", kind="stable", ascending=False)
    ways = table.groupby("window")["by"].nunique()
    table = table.drop_duplicates("window").sort_values("window", ignore_index=True)
    table.loc[table["window"].map(ways) == 2, "by"] = "both"
    for name, side, row in (("start", test, "window"), ("train_start", train, "train_window")):
        start_s = side.start_s[table[row].to_numpy()]
        dates = pd.Series(pd.to_datetime(start_s, unit="s", utc=True))
        table[name] = dates.where(start_s != UNKNOWN_S)
    return table[["window", "start", "train_window", "train_start", "steps", "by"]]


def refuse_leaks(train: Windows, test: Windows) -> None:
    """Raise :class:`DataError` if :func:`leaks` finds test windows in training."""
    found = leaks(train, test)
    if found.empty:
        return
    first = found.iloc[0]

    def when(start: object) -> str:
        return "of unknown time" if str(start) == "NaT" else f"of {start:%Y-%m-%d %H:%M}"

    what = {"time": "hours", "returns": "equal returns", "both": "hours and equal returns"}
    raise DataError(
        f"test: must share nothing with training, {len(found)} of {len(test)} windows do: window "
        f"{first['window']} ({when(first['start'])}) has {first['steps']} steps of training window "
        f"{first['train_window']} ({when(first['train_start'])}), by {what[first['by']]}"
    )


def _flat(windows: Windows, deviation: Floats) -> Floats:
    """Returns by their assets' deviations, float64[n, T d]."""
    return (windows.log_returns / deviation).reshape(len(windows), -1)


def _nearest(points: Floats, base: Floats) -> Floats:
    """Distance of each point to the nearest of the base, by the point's own size; 1 of one at 0.

    The nearest is found by |a|^2 - 2 a b, one matrix product; its distance is then computed anew,
    as the difference of large numbers loses that of copies.
    """
    squares = (base**2).sum(axis=1)
    found = np.ones(len(points))
    for at in range(0, len(points), _CHUNK):
        part = points[at : at + _CHUNK]
        row = (squares - 2 * part @ base.T).argmin(axis=1)
        size = np.linalg.norm(part, axis=1)
        distance = np.linalg.norm(part - base[row], axis=1)
        np.divide(distance, size, out=found[at : at + _CHUNK], where=size > 0)
    return found


def _shared_hours(train: Windows, test: Windows) -> tuple[Ints, Ints, Ints]:
    """Test rows whose hours are in training by time, the nearest training rows, shared steps."""
    known = np.flatnonzero(train.start_s != UNKNOWN_S)
    rows = np.flatnonzero(test.start_s != UNKNOWN_S)
    if not len(known) or not len(rows):
        return (np.empty(0, np.int64),) * 3
    order = known[np.argsort(train.start_s[known], kind="stable")]
    starts = train.start_s[order]
    after = np.searchsorted(starts, test.start_s[rows])
    found = []
    for beside in (np.maximum(after - 1, 0), np.minimum(after, len(order) - 1)):
        first = np.maximum(starts[beside], test.start_s[rows])
        ends = starts[beside] + train.steps * train.step_s
        last = np.minimum(ends, test.start_s[rows] + test.steps * test.step_s)
        found.append(np.maximum(np.ceil((last - first) / test.step_s), 0).astype(np.int64))
    later = found[1] > found[0]
    steps = np.where(later, found[1], found[0])
    beside = np.where(later, np.minimum(after, len(order) - 1), np.maximum(after - 1, 0))
    share = steps > 0
    return rows[share], order[beside[share]], steps[share]


def _equal_runs(
    train: Windows, test: Windows, run_steps: int = RUN_STEPS
) -> tuple[Ints, Ints, Ints]:
    """Test rows with a run of equal returns in training, training rows with it, shared steps."""
    from scipy.spatial import KDTree

    run_steps = min(run_steps, train.steps, test.steps)
    (base, base_row, _), (runs, row, first) = (_runs(side, run_steps) for side in (train, test))
    if not len(base) or not len(runs):
        return (np.empty(0, np.int64),) * 3
    tree = KDTree(base, balanced_tree=False, compact_nodes=False)
    distance, at = tree.query(runs, p=np.inf, distance_upper_bound=SAME_RETURN)
    same = np.isfinite(distance)
    shared = np.zeros((len(test), test.steps), np.bool_)
    for step in range(run_steps):
        shared[row[same], first[same] + step] = True
    rows, one = np.unique(row[same], return_index=True)
    return rows, base_row[at[same][one]], shared[rows].sum(axis=1)


def _runs(windows: Windows, run_steps: int) -> tuple[Floats, Ints, Ints]:
    """Runs of returns float64[m, run_steps d], the window each is of, and its first step."""
    runs = np.lib.stride_tricks.sliding_window_view(windows.log_returns, run_steps, axis=1)
    moving = (runs != 0).any(axis=3).all(axis=2)  # (n, starts)
    row, first = np.nonzero(moving)
    size = run_steps * len(windows.symbols)
    return runs[moving].reshape(len(row), size).astype(np.float64), row, first
