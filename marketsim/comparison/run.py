"""The comparison of order flow: every part of every row, each kept as soon as it is done."""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from marketsim.comparison import likelihood, response, simulate
from marketsim.comparison.models import load_for, needed, train_missing
from marketsim.comparison.plan import SHORTEST_NS, Plan, Span, replay_spans
from marketsim.comparison.rows import REPLAY, ROWS, Row
from marketsim.errors import DataError, MarketSimError
from marketsim.run_store import RunStore, fingerprint
from marketsim.tape import Tape

#: Called with what is being done and the share of all work that is done.
Tell = Callable[[str, float], None]
#: How long parts take beside each other, roughly; "simulate" and "impact" for all seeds of a row.
WEIGHTS = {
    "train": 600.0, "simulate": 200.0, "impact": 120.0, "nats": 20.0,
    "lob": 6.0, "stylized": 2.0, "predictive": 40.0, "coverage": 1.0,
}  # fmt: skip


class FloorWindows(NamedTuple):
    """Name under which recorded windows of one length are kept, and their numbers."""

    name: str
    numbers: range


class Comparison:
    """Rows of markets beside a recorded window, in a folder from which interrupted work goes on.

    Parameters
    ----------
    plan, rows : what is compared; rows as of :func:`marketsim.comparison.rows.check_rows`.
    out : folder of the results.
    models : folder of trained models; what is missing there is trained.
    tell : called with what is being done.

    Raises
    ------
    DataError
        If the data cannot be read or do not cover the windows, or the folder holds something else.
    """

    def __init__(
        self, plan: Plan, rows: Sequence[str], out: Path, models: Path, tell: Tell | None = None
    ) -> None:
        from marketsim.data.source import open_tape

        self.plan, self.rows, self.out, self.models = plan, list(rows), out, models
        self.real = open_tape(plan.data)
        plan.check(self.real)
        identity = {"experiment": "compare", "data": fingerprint(plan.data), **plan.identity}
        self.store = RunStore(out, identity)
        self.failures: dict[str, str] = {}
        self.lengths: dict[str, int] = {}
        self._tell = tell or (lambda what, share: None)
        each = sum(WEIGHTS[name] for name in plan.metrics) * plan.seeds
        whole = sum(
            each + WEIGHTS["impact"] + (WEIGHTS["simulate"] if name != REPLAY else 0)
            for name in rows
        )
        self._whole = whole + WEIGHTS["train"] * len(needed(rows))
        self._done = 0.0

    def run(self) -> None:
        """Do all that is not done yet.

        Rows that cannot be made are passed over and named in ``failures``; the others go on.
        """
        for name in needed(self.rows):
            part = self._part("train")
            try:
                train_missing(name, self.plan, self.models / name, part)
            except (MarketSimError, ImportError) as error:
                for row in self.rows:
                    if ROWS[row].model == name:
                        self.failures[row] = _line(error)
        for name in self.rows:
            if name not in self.failures:
                try:
                    self._row(name)
                except (MarketSimError, ImportError) as error:
                    self.failures[name] = _line(error)
        for length_ns in sorted(set(self.lengths.values()) - {self.plan.test.length_ns}):
            self._floor(length_ns)

    def windows_of(self, length_ns: int) -> "FloorWindows":
        """Recorded windows of a length, as they are kept."""
        return FloorWindows(floor_name(length_ns, self.plan), range(len(self._spans(length_ns))))

    def seeds_of(self, name: str) -> range:
        """Seeds of a row, or numbers of recorded windows."""
        if name != REPLAY:
            return range(self.plan.seeds)
        return range(len(self._spans(self.plan.test.length_ns)))

    def load(self, name: str, seed: int | str, part: str) -> Any:
        """A part's result, whatever it was made from; None if it is not there."""
        row = self.store.load(f"{name}.{seed}.{part}")
        return row["value"] if isinstance(row, dict) else None

    # -- a row ------------------------------------------------------------------------------

    def _row(self, name: str) -> None:
        if name == REPLAY:
            self.lengths[name] = self.plan.test.length_ns
            self._floor(self.plan.test.length_ns)
            self._impact(name, ROWS[name], None, "recorded")
            return
        row = ROWS[name]
        if row.config is not None:
            stock = simulate.like_the_stock(row.config, self.real, self.plan.test.start_ns)
            row = Row(row.about, row.config, stock)
        generator, token = None, row.spec
        if row.model is not None:
            from marketsim.generators.shared import model_digest

            generator = load_for(row, self.models)
            token = {**token, "model": model_digest(self.models / row.model)}
        self._simulate(name, row, generator, token)
        ends = [self.load(name, seed, "simulate")["end_ns"] for seed in self.seeds_of(name)]
        length_ns = self.plan.rounded(min(ends) - self.plan.test.start_ns)
        if length_ns < SHORTEST_NS:  # nothing can be said of so little but how long it took
            return
        self.lengths[name] = length_ns
        for seed in self.seeds_of(name):
            window = Span(self.plan.test.start_ns, self.plan.test.start_ns + length_ns)
            self._measure(name, seed, window.of(self._tape(name, seed)), length_ns)
        if generator is not None and likelihood.has_likelihood(generator):
            self._nats(name, generator, token)
        self._impact(name, row, generator, token)

    def _simulate(self, name: str, row: Row, generator: Any, token: Any) -> None:
        """Tapes of all seeds, and what is to be said of how they were made."""
        share, missing = self._part("simulate"), []
        for seed in self.seeds_of(name):
            kept = self.store.load(f"{name}.{seed}.simulate")
            if not isinstance(kept, dict) or not self._still_holds(kept, token):
                missing.append(seed)
        if generator is not None and missing:
            markets = simulate.world_markets(
                generator, self.real, self.plan, missing, until_ns=self.plan.test.end_ns,
                share=lambda done: share(f"{name}: {len(missing)} markets", done),
            )  # fmt: skip
            for seed, market in zip(missing, markets, strict=True):
                self._keep(name, seed, market, token)
            return
        for number, seed in enumerate(missing):
            share(f"{name}: seed {seed}", number / len(missing))
            assert row.config is not None
            end_ns = self.plan.test.end_ns
            market = simulate.agent_market(row.config, row.overrides, seed, end_ns)
            self._keep(name, seed, market, token)

    def _still_holds(self, kept: Mapping[str, Any], token: Any) -> bool:
        """Whether markets are those of this row; cut short ones only with the same limit."""
        found = kept["value"]
        capped = found["end_ns"] < self.plan.test.end_ns
        return kept["of"] == _plain(token) and (
            not capped or found["max_row_s"] == self.plan.max_row_s
        )

    def _keep(self, name: str, seed: int, market: simulate.Market, token: Any) -> None:
        """Save a market's window, then what is said of it: where that is, the tape is whole."""
        span = Span(self.plan.test.start_ns, market.end_ns)
        window = span.of(market.run.tape)
        if not len(window):
            raise DataError(f"{name}, seed {seed}: there are no orders in the window")
        place = self._place(name, seed)
        beside = place.with_name(f"{place.name}.{os.getpid()}.tmp")
        shutil.rmtree(beside, ignore_errors=True)
        window.save(beside)
        shutil.rmtree(place, ignore_errors=True)
        os.replace(beside, place)
        facts = simulate.facts_of(market, window, span.of(self.real))
        value = {
            "end_ns": market.end_ns, "digest": window.digest(), "max_row_s": self.plan.max_row_s,
            "facts": facts,
        }  # fmt: skip
        self._commit(name, seed, "simulate", token, value)

    def _place(self, name: str, seed: int) -> Path:
        place = self.out / "tapes" / name / str(seed)
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def _tape(self, name: str, seed: int) -> Tape:
        return Tape.load(self._place(name, seed))

    # -- measures ---------------------------------------------------------------------------

    def _measure(self, name: str, seed: int, window: Tape, length_ns: int) -> None:
        """All sections of the realism report against the recorded window of the same length."""
        from marketsim.evaluation import evaluate

        start_ns = self.plan.test.start_ns
        against, digest = Span(start_ns, start_ns + length_ns).of(self.real), window.digest()
        for metric in self.plan.metrics:
            share = self._part(metric)
            if self._has(name, seed, metric, digest):
                continue
            tell = _labelled(share, f"{name}, seed {seed}")
            section = evaluate(window, against, [metric], seed, tell).sections[0]
            value = {
                "rows": [row.to_dict() for row in section.rows],
                "summary": dict(section.summary),
            }
            self._commit(name, seed, metric, digest, value)

    def _floor(self, length_ns: int) -> None:
        """Other recorded windows of a length, measured like generated ones."""
        name = floor_name(length_ns, self.plan)
        for number, span in enumerate(self._spans(length_ns)):
            window = span.of(self.real)
            if len(window):
                self._measure(name, number, window, length_ns)

    def _spans(self, length_ns: int) -> list[Span]:
        first_ns = int(self.real.orders["time_ns"][0])
        return replay_spans(first_ns, self.plan.test.start_ns, length_ns, self.plan.seeds)

    def _nats(self, name: str, generator: Any, token: Any) -> None:
        self._part("nats")(f"{name}: likelihood", 0.0)
        if self._has(name, "all", "nats", token):
            return
        plan = self.plan
        value = {
            "model": likelihood.model_nats(generator, self.real, plan.test),
            "marginals": likelihood.marginal_nats(generator, self.real, plan.train, plan.test),
        }
        self._commit(name, "all", "nats", token, value)

    def _impact(self, name: str, row: Row, generator: Any, token: Any) -> None:
        """The POV buyer in each market."""
        plan, share = self.plan, self._part("impact")
        if self.lengths[name] < plan.impact_end_ns - plan.test.start_ns:
            return  # the row was cut short
        seeds = range(1) if name == REPLAY else self.seeds_of(name)
        missing = [seed for seed in seeds if not self._has(name, seed, "impact", token)]
        if not missing:
            return
        say = f"{name}: POV buyer"
        if generator is not None:
            treated = simulate.world_markets(
                generator, self.real, plan, missing, until_ns=plan.impact_end_ns,
                guests=lambda: response.buyer(plan), share=lambda done: share(say, done),
            )  # fmt: skip
            if treated[0].end_ns < plan.impact_end_ns:
                return
        for number, seed in enumerate(missing):
            share(say, number / len(missing))
            market = treated[number] if generator is not None else self._with_buyer(row, seed)
            control = plan.test.of(self.real) if name == REPLAY else self._tape(name, seed)
            self._commit(name, seed, "impact", token, response.pair(control, market, plan, seed))

    def _with_buyer(self, row: Row, seed: int) -> simulate.Market:
        plan = self.plan
        if row.config is None:
            return simulate.replay_market(
                self.real, plan, plan.impact_end_ns, lambda: response.buyer(plan)
            )
        return simulate.agent_market(
            row.config, row.overrides, seed, plan.impact_end_ns, lambda: response.buyer(plan)
        )

    # -- keeping ----------------------------------------------------------------------------

    def _has(self, name: str, seed: int | str, part: str, of: Any) -> bool:
        kept = self.store.load(f"{name}.{seed}.{part}")
        return isinstance(kept, dict) and bool(kept["of"] == _plain(of))

    def _commit(self, name: str, seed: int | str, part: str, of: Any, value: Any) -> None:
        self.store.commit(f"{name}.{seed}.{part}", {"of": _plain(of), "value": _plain(value)})

    def _part(self, kind: str) -> Tell:
        """Tell of a part of the work that begins now."""
        at, weight = self._done, WEIGHTS[kind]
        self._done += weight
        return lambda what, share: self._tell(what, min((at + share * weight) / self._whole, 1.0))


def floor_name(length_ns: int, plan: Plan) -> str:
    """Name under which recorded windows of a length are kept."""
    if length_ns == plan.test.length_ns:
        return REPLAY
    return f"{REPLAY}-{length_ns / 60e9:g}min"


def _labelled(tell: Tell, label: str) -> Tell:
    return lambda what, share: tell(f"{label}: {what}", share)


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(value))


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
