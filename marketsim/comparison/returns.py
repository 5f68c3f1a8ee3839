"""The comparison of returns: every row on every split with every seed, each kept when done."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import marketsim
from marketsim.comparison.returns_measures import MEASURES
from marketsim.comparison.returns_plan import ReturnsPlan, dates, digest, split
from marketsim.comparison.returns_rows import ROWS, check_budgets, check_rows, steps_of
from marketsim.comparison.returns_work import work_on
from marketsim.data.return_windows import Windows
from marketsim.executor import (
    Executor,
    Failure,
    Job,
    Outcome,
    SerialExecutor,
    Work,
    create_executor,
)
from marketsim.metrics.memorisation import refuse_leaks
from marketsim.run_store import RunStore, run_jobs

#: Called with what is done and the share of all work that is.
Tell = Callable[[str, float], None]
#: How long jobs take beside each other, roughly: fit and measures by a row's group; scores.
_WEIGHTS = {"reference": 2, "bootstrap": 2, "classical": 5, "neural": 60, "ablation": 60,
            "forecast": 2}  # fmt: skip
_SCORES_WEIGHT = 20


class Part(NamedTuple):
    """What became of one job."""

    job: Job
    outcome: Outcome


class ReturnsComparison:
    """Generators of returns beside each other, in a folder from which interrupted work goes on.

    Parameters
    ----------
    plan : what is compared with what.
    rows : names of :data:`marketsim.comparison.returns_rows.ROWS`, or of groups; None is all.
    out : folder of results; models are kept in ``models`` in it.
    workers : processes; 1 works in this one. What is found does not depend on it.
    tell : called with what is done.

    Raises
    ------
    ConfigError
        For an unknown row, or a budget of one that has none.
    DataError
        If data cannot be read or are too few, a window of a test part is known from training, or
        the folder holds something else.
    """

    def __init__(
        self,
        plan: ReturnsPlan,
        rows: Sequence[str] | None,
        out: Path,
        *,
        workers: int | None = None,
        tell: Tell | None = None,
    ) -> None:
        self.plan, self.rows, self.out = plan, check_rows(rows), out
        check_budgets(plan.train_steps)
        self._executor: Executor = create_executor("processes", workers)
        if workers == 1:
            self._executor = SerialExecutor()
        self._tell = tell or (lambda what, share: None)
        self.windows = plan.open()
        self.parts = [split(self.windows, number) for number in range(plan.splits)]
        for train, test in self.parts:
            refuse_leaks(train, test)
        self.data = digest(self.windows)
        identity = {
            "experiment": "compare returns", "version": marketsim.__version__, "data": self.data,
        }  # fmt: skip
        self.folds, self.bars = self._open_bars()
        self.store = RunStore(out, identity)
        self.failures: dict[str, str] = {}
        self.found: list[Part] = []

    def run(self) -> None:
        """Do all that is not done yet; rows that fail are named in ``failures``."""
        from marketsim.generators.base import RETURNS

        known = [name for name in self.rows if ROWS[name].generator in (None, *RETURNS)]
        for name in self.rows:
            if name not in known:
                self.failures[name] = f"there is no generator {ROWS[name].generator!r}"
        jobs = self._window_jobs(known) + self._bar_jobs(known)
        jobs.sort(key=_weight, reverse=True)
        work = partial(work_on, self.plan, self.out / "models")
        own = [job for job in jobs if "model" not in job]
        # models that others draw from come first: two jobs do not fit the same one
        self.found = self._do(work, own) + self._do(work, [job for job in jobs if "model" in job])
        for job, outcome in self.found:
            where = f"{job['part']}, seed {job['seed']}"
            if isinstance(outcome, Failure):
                self.failures.setdefault(job["row"], f"{where}: {outcome.error}")
            else:
                for measure, why in outcome.get("failed", {}).items():
                    self.failures.setdefault(job["row"], f"{where}, {measure}: {why}")

    def real(self, number: int) -> Windows:
        """The test part of a split."""
        return self.parts[number][1]

    def spans(self) -> list[dict[str, Any]]:
        """Dates of each split's parts."""
        return [{"train": dates(train), "test": dates(test)} for train, test in self.parts]

    def _open_bars(self) -> tuple[list[dict[str, Any]], str | None]:
        """Dates of the folds over the bars, and what tells these bars from others."""
        if not self.plan.bars:
            return [], None
        from marketsim.comparison.returns_tasks import fold_digest, folds, open_bars, span

        found = folds(open_bars(self.plan.bars), self.plan.folds)
        return [span(fold) for fold in found], ",".join(map(fold_digest, found))

    def _window_jobs(self, rows: Sequence[str]) -> list[dict[str, Any]]:
        """A job for each row, split and seed."""
        return [
            {
                **self._job(_kind(name), name, f"split-{number}", seed, self.data),
                "split": number,
                "measures": self._measures(name),
            }
            for seed in range(self.plan.seeds)
            for number in range(self.plan.splits)
            for name in rows
        ]

    def _bar_jobs(self, rows: Sequence[str]) -> list[dict[str, Any]]:
        """A job for each generator, without the ablation's, and each fold over the bars."""
        without = ("reference", "ablation", "forecast")
        among = [name for name in rows if ROWS[name].group not in without]
        return [
            {**self._job("bars", name, f"fold-{number}", 0, self.bars), "fold": number}
            for number in range(len(self.folds))
            for name in among
        ]

    def _job(self, kind: str, name: str, part: str, seed: int, data: str | None) -> dict[str, Any]:
        row = ROWS[name]
        return {
            "kind": kind,
            "row": name,
            "generator": row.generator,
            "parameters": dict(row.parameters),
            "steps": steps_of(name, self.plan.train_steps),
            "data": data,
            "part": part,
            "seed": seed,
            **({} if row.model is None else {"model": row.model}),
        }

    def _measures(self, name: str) -> list[str]:
        """What is measured of a row: of some, the gaps alone that their tables show."""
        few = ROWS[name].group in ("ablation", "forecast")
        return [
            measure
            for measure in MEASURES
            if measure in self.plan.measures and not (few and measure in ("scores", "memory"))
        ]

    def _do(self, work: Work, jobs: list[dict[str, Any]]) -> list[Part]:
        """Outcomes of jobs, those of before among them; what failed before is tried again."""
        watched = _Watched(self._executor, jobs, self._tell)
        outcomes = run_jobs(work, jobs, watched, self.store, retry_failed=True)
        return [Part(job, outcome) for job, outcome in zip(jobs, outcomes, strict=True)]


def _kind(row: str) -> str:
    return "forecast" if ROWS[row].forecast else "windows"


class _Watched(Executor):
    """An executor that tells how far it is."""

    def __init__(self, executor: Executor, all_jobs: Sequence[Job], tell: Tell) -> None:
        self._executor, self._all, self._tell = executor, all_jobs, tell

    def run(self, work: Work, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        whole = max(sum(map(_weight, self._all)), 1)
        left, done = sum(map(_weight, jobs)), len(self._all) - len(jobs)
        self._tell(f"{done} of {len(self._all)} parts are there", 1 - left / whole)
        with closing(self._executor.run(work, jobs)) as coming:  # type: ignore[type-var]
            for number, outcome in coming:
                job = jobs[number]
                left, done = left - _weight(job), done + 1
                said = (
                    f"{done} of {len(self._all)}: {job['row']}, {job['part']}, seed {job['seed']}"
                )
                self._tell(said, 1 - left / whole)
                yield number, outcome


def _weight(job: Job) -> int:
    row = ROWS[job["row"]]
    return _WEIGHTS[row.group] + (_SCORES_WEIGHT if "scores" in job.get("measures", ()) else 0)
