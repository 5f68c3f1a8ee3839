"""One number for many scores: mean, median and interquartile mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from marketsim.metrics.distances import interval
from marketsim.metrics.floor import MEASURES, MIN_WINDOWS
from marketsim.metrics.flow import Floats
from marketsim.metrics.pool import Distances

#: Samples of an aggregate's interval; each takes one bootstrap sample of each score.
SAMPLES = 1_000


@dataclass(frozen=True)
class Scored:
    """What an aggregate takes from a score.

    Attributes
    ----------
    kind : ``"unconditional"`` or ``"conditional"``.
    drawn : bootstrap samples of each distance, float64[bootstraps] or None.
    floor : distances of the real windows, the same windows for all scores.
    """

    kind: str
    found: Distances
    drawn: dict[str, Any]
    floor: tuple[Distances, ...]


def interquartile_mean(values: Floats) -> Floats:
    """Mean of the values from the lower to the upper quartile, both included; last axis.

    Of two values, which both lie outside, their mean.
    """
    if values.shape[-1] <= 2:
        return np.asarray(values.mean(-1))
    low, high = np.quantile(values, (0.25, 0.75), axis=-1, keepdims=True)
    rounding = 1e-12 * np.abs(values)  # quantiles are interpolated, of equal values too
    inside = (values >= low - rounding) & (values <= high + rounding)
    mean: Floats = (values * inside).sum(-1) / inside.sum(-1)
    return mean


STATISTICS = {
    "mean": lambda values: values.mean(-1),
    "median": lambda values: np.median(values, axis=-1),
    "iqm": interquartile_mean,
}


def aggregate_rows(scored: Sequence[Scored], rng: np.random.Generator) -> list[dict[str, Any]]:
    """Rows of the table: each kind of scores, distance and statistic.

    Scores that are not defined are left out. The floor is the median over the windows of the same
    statistic of each window's distances, over the same scores.
    """
    rows = []
    for kind in ("unconditional", "conditional"):
        of_kind = [one for one in scored if one.kind == kind]
        for measure in MEASURES:
            kept = [one for one in of_kind if getattr(one.found, measure) is not None]
            values = np.array([getattr(one.found, measure) for one in kept])
            drawn = _drawn(kept, measure, rng)
            floors = _floors(kept, measure)
            for name, statistic in STATISTICS.items():
                row: dict[str, Any] = {"kind": kind, "distance": measure, "statistic": name}
                row |= dict.fromkeys(("value", "low", "high", "floor_median", "ratio"))
                notes = [] if len(kept) == len(of_kind) else ["scores not defined are left out"]
                if kept:
                    row["value"] = float(statistic(values))
                    row["low"], row["high"] = interval(row["value"], statistic(drawn))
                if len(floors):
                    row["floor_median"] = float(np.median(statistic(floors)))
                    row["ratio"] = row["value"] / row["floor_median"]
                else:
                    notes.append("no floor: some score has none")
                row |= {"scores": len(kept), "note": "; ".join(notes)}
                if not kept:
                    row["note"] = "not defined: no score is"
                rows.append(row)
    return rows


def _drawn(kept: Sequence[Scored], measure: str, rng: np.random.Generator) -> Floats:
    """One bootstrap sample of each score, independently, float64[SAMPLES, scores]."""
    columns = [rng.choice(one.drawn[measure], SAMPLES) for one in kept]
    return np.column_stack(columns) if columns else np.empty((SAMPLES, 0))


def _floors(kept: Sequence[Scored], measure: str) -> Floats:
    """Distances of the windows in which all of these scores have one, float64[windows, scores]."""
    if not kept:
        return np.empty((0, 0))
    columns = [[getattr(one, measure) for one in score.floor] for score in kept]
    whole = np.array([row for row in zip(*columns, strict=True) if None not in row])
    return whole if len(whole) >= MIN_WINDOWS else np.empty((0, 0))
