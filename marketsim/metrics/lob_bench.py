"""LOB-Bench of a generated tape against a real one: scores, floors, horizon, responses.

Where the paper leaves something open, this was chosen:

- Bins are Freedman-Diaconis on the pooled observations; single values for spread and levels; the
  deciles of each group for the conditional scores, whose groups are single spreads, hours of the
  day, and deciles of the volatility. Bins and z-scores stay the same in bootstraps.
- The paper scores many short sequences; here each tape is one long one. What the paper computes a
  sequence, the volatility, is computed a block of 500 messages. Divergence by horizon is by block
  of the one generated tape, so that time of day and horizon cannot be told apart.
- Depths are distances from the mid-price after the message, levels of cancels are those before it.
  A side is the order's own. Executions of hidden orders, crosses and halts are left out.
- In conditional scores a group that one tape never visits counts as an L1 distance of 1, except
  hours of the day; the Wasserstein distance passes over it.
- Percentile intervals of a positive distance lie above it where it is small; they are widened to
  hold it.

References
----------
Nagy, Frey, Li, Sarkar, Vyetrenko, Zohren, Calinescu & Foerster (2025), LOB-Bench: Benchmarking
Generative AI for Finance, arXiv:2502.09172.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from marketsim.errors import ConfigError, DataError
from marketsim.metrics.aggregates import Scored, aggregate_rows
from marketsim.metrics.discriminator import discriminate
from marketsim.metrics.distances import interval
from marketsim.metrics.floor import (
    MEASURES,
    summary,
    table,
    window_distances,
    windows_of_messages,
    windows_of_time,
)
from marketsim.metrics.flow import LEVELS, Flow, flow_of
from marketsim.metrics.horizon import blocks_of, horizon_rows
from marketsim.metrics.lob_scores import SCORES, Condition, Observations, Score
from marketsim.metrics.pool import (
    MIN_OBSERVATIONS,
    UNDEFINED,
    Distances,
    Pool,
    distances,
    pool,
    real_sample,
)
from marketsim.metrics.response import KINDS, response_rows
from marketsim.tape import Tape

if TYPE_CHECKING:
    import pandas as pd

#: Called with what is being done, the number of steps done and the number of all steps.
Progress = Callable[[str, int, int], None]

#: With fewer observations than these in a sample, a row says so.
FEW_OBSERVATIONS = 100


@dataclass(frozen=True)
class LobBench:
    """Result of :func:`lob_bench`. In all tables None is what the row's note says is not defined.

    Attributes
    ----------
    scores : DataFrame
        One row a score: ``name``, ``kind``, ``unit``; ``l1`` and ``wasserstein``, each with
        ``_low`` and ``_high`` of its 99 % interval; ``floor_l1`` and ``floor_wasserstein``, each
        with ``_median``, ``_min`` and ``_max``; ``ratio_l1`` and ``ratio_wasserstein``, distance
        over median floor; ``n_generated``, ``n_real`` observations; ``note``.
    aggregates : DataFrame
        ``kind`` of scores, ``distance``, ``statistic`` (mean, median, iqm), ``value`` with ``low``
        and ``high``, ``floor_median``, ``ratio``, ``scores`` (how many are in it), ``note``.
    horizon : DataFrame
        Each unconditional score by block of the generated tape's messages.
    responses : DataFrame
        Mid-price response functions [ticks] by ``event`` and ``lag``, both tapes.
    discriminator : dict
        See :func:`marketsim.metrics.discriminator.discriminate`.
    about : dict
        Seed, bootstraps, numbers of messages, length and number of the floor's windows.
    """

    scores: "pd.DataFrame"
    aggregates: "pd.DataFrame"
    horizon: "pd.DataFrame"
    responses: "pd.DataFrame"
    discriminator: dict[str, Any]
    about: dict[str, Any]

    @property
    def response_gaps_ticks(self) -> dict[str, float | None]:
        """Mean over the lags of the distance of both tapes' responses, by event kind [ticks]."""
        gaps: dict[str, float | None] = {}
        for kind in KINDS:
            rows = self.responses[self.responses["event"] == kind]
            pairs = zip(rows["generated_ticks"], rows["real_ticks"], strict=True)
            known = [abs(a - b) for a, b in pairs if a is not None and b is not None]
            gaps[kind] = float(np.mean(known)) if known else None
        return gaps

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        content: dict[str, Any] = {
            name: json.loads(json.dumps(getattr(self, name).to_dict("records")))
            for name in ("scores", "aggregates", "horizon", "responses")
        }
        return {
            "about": dict(self.about),
            **content,
            "response_gaps_ticks": self.response_gaps_ticks,
            "discriminator": dict(self.discriminator),
        }


def lob_bench(
    generated: Tape,
    real: Tape,
    *,
    seed: int = 0,
    bootstraps: int = 100,
    progress: Progress | None = None,
) -> LobBench:
    """Score a tape against a real one.

    Parameters
    ----------
    seed : int
        Of the bootstraps and the discriminator; the same seed gives the same result.
    bootstraps : int
        Samples of each interval, at least 2. As in the paper observations are drawn one by one,
        so that intervals are too narrow where neighbours resemble each other.
    progress : callable, optional
        Told what is being done, how many steps are done and how many there are.

    Raises
    ------
    ConfigError
        ``bootstraps`` is below 2, or ``seed`` is negative.
    DataError
        A tape has fewer than two messages in its session, or the tapes have different ticks or
        lots.
    """
    for name, value, least in (("bootstraps", bootstraps, 2), ("seed", seed, 0)):
        if value < least:
            raise ConfigError(f"{name} must be >= {least}, was {value}")
    for key in ("tick_size", "lot_size"):
        if float(generated.meta[key]) != float(real.meta[key]):
            raise DataError(
                f"{key} must be the same in both tapes, was {generated.meta[key]} in the generated"
                f" and {real.meta[key]} in the real one"
            )
    tell = progress or _silent
    tell("messages", 0, len(SCORES) + 2)
    flows = flow_of(generated, "generated tape"), flow_of(real, "real tape")
    bench = _Bench(*flows, seed, bootstraps)
    for number, score in enumerate(SCORES):
        tell(score.name, number, len(SCORES) + 2)
        bench.add(score, number)
    tell("responses", len(SCORES), len(SCORES) + 2)
    responses = response_rows(*flows, np.random.default_rng([seed, 2]), bootstraps)
    tell("discriminator", len(SCORES) + 1, len(SCORES) + 2)
    verdict = discriminate(*flows, bench.windows, seed, bootstraps)
    tell("done", len(SCORES) + 2, len(SCORES) + 2)
    aggregates = aggregate_rows(bench.scored, np.random.default_rng([seed, 3]))
    return LobBench(
        table(bench.rows),
        table(aggregates),
        table(bench.horizon),
        table(responses),
        verdict,
        bench.about(),
    )


def _silent(step: str, done: int, total: int) -> None:
    """Tell nobody."""


class _Bench:
    """Rows so far."""

    def __init__(self, generated: Flow, real: Flow, seed: int, bootstraps: int) -> None:
        self.generated, self.real = generated, real
        self.seed, self.bootstraps = seed, bootstraps
        self.windows = windows_of_time(real, generated.span_ns, int(real.time_ns[0]))
        self._blocks = blocks_of(generated)
        length = self._blocks.rows[0][1]
        self._block_windows = windows_of_messages(real, length)
        self.rows: list[dict[str, Any]] = []
        self.horizon: list[dict[str, Any]] = []
        self.scored: list[Scored] = []

    def about(self) -> dict[str, Any]:
        """What the figures rest on, as JSON values."""
        return {
            "seed": self.seed,
            "bootstraps": self.bootstraps,
            "confidence": 0.99,
            "events_generated": self.generated.size,
            "events_real": self.real.size,
            "levels": min(self.generated.levels, self.real.levels),
            "floor_window_s": self.windows.length_ns / 1e9,
            "floor_windows": len(self.windows.rows),
            "floor_note": self.windows.reason,
        }

    def add(self, score: Score, number: int) -> None:
        """Score both tapes."""
        seen = score.observe(self.generated), score.observe(self.real)
        enough = min(one.size for one in seen) >= MIN_OBSERVATIONS
        pooled = pool(score, *seen) if enough else None
        sample = real_sample(score, seen[1])
        floor = window_distances(sample, self.windows.rows)
        rng = np.random.default_rng([self.seed, 0, number])
        found, drawn = _measure(pooled, rng, self.bootstraps)
        row: dict[str, Any] = {"name": score.name, "kind": score.kind, "unit": score.unit}
        for measure in MEASURES:
            row |= _columns(measure, getattr(found, measure), drawn[measure], floor)
        row |= {"n_generated": seen[0].size, "n_real": seen[1].size}
        row["note"] = "; ".join(self._notes(score, seen, pooled, row))
        self.rows.append(row)
        self.scored.append(Scored(score.kind, found, drawn, tuple(floor)))
        if score.condition is Condition.NONE:
            self.horizon += horizon_rows(
                score, pooled, self.generated, self._blocks.rows, sample, self._block_windows
            )

    def _notes(
        self,
        score: Score,
        seen: tuple[Observations, Observations],
        pooled: Pool | None,
        row: dict[str, Any],
    ) -> list[str]:
        notes = []
        for name, one in zip(("generated", "real"), seen, strict=True):
            if one.size < MIN_OBSERVATIONS:
                notes.append(
                    f"not defined: the {name} tape has {one.size} observations of"
                    f" {MIN_OBSERVATIONS}, needs {score.needs}"
                )
            elif one.size < FEW_OBSERVATIONS:
                notes.append(f"few observations: the {name} tape has {one.size}")
        if pooled is not None:
            notes += _group_notes(score, pooled, row)
        if score.name in ("ask_volume", "bid_volume"):
            for name, flow in (("generated", self.generated), ("real", self.real)):
                if flow.levels < LEVELS:
                    notes.append(f"the {name} tape has {flow.levels} of {LEVELS} levels")
        if row["floor_l1_median"] is None:
            notes.append(f"no floor: {self.windows.reason or 'too few observations in a window'}")
        elif row["l1"] is not None and row["ratio_l1"] is None:
            notes.append("no ratio: the floor is 0")
        return notes


def _group_notes(score: Score, pooled: Pool, row: dict[str, Any]) -> list[str]:
    """What a reader of a conditional score must know of its groups."""
    shared = pooled.scale.shared(pooled.generated.counts, pooled.real.counts)
    if shared == 1 or score.condition is Condition.NONE:
        return []
    if row["wasserstein"] is None:
        words = "the tapes share no group"
        return [f"Wasserstein not defined: {words}" if score.lone else f"not defined: {words}"]
    rest = "count as 1 in l1 and are left out of wasserstein" if score.lone else "are left out"
    return [f"{1 - shared:.1%} of the observations lie in groups of one tape only: these {rest}"]


def _measure(
    pooled: Pool | None, rng: np.random.Generator, bootstraps: int
) -> tuple[Distances, dict[str, Any]]:
    if pooled is None:
        return UNDEFINED, dict.fromkeys(MEASURES)
    counts = pooled.generated.counts, pooled.real.counts
    drawn = pooled.scale.bootstrap(*counts, rng, bootstraps)
    return distances(pooled.scale, *counts), dict(zip(MEASURES, drawn, strict=True))


def _columns(
    measure: str, distance: float | None, drawn: Any, floor: list[Distances]
) -> dict[str, float | None]:
    """One distance with its interval, floor and ratio."""
    low, high = (None, None) if distance is None else interval(distance, drawn)
    floors = summary(floor, measure)
    median = floors["median"]
    return {
        measure: distance,
        f"{measure}_low": low,
        f"{measure}_high": high,
        **{f"floor_{measure}_{key}": value for key, value in floors.items()},
        f"ratio_{measure}": distance / median if distance is not None and median else None,
    }
