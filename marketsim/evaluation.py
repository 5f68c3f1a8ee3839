"""``ms.evaluate``: a realism report of one tape against another, a table of sections.

A section is a function ``(generated, real, *, tell) -> Section``, with ``seed`` where something in
it is random. To add one, add it to :data:`SECTIONS`.
"""

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from marketsim.checks import did_you_mean, integer
from marketsim.clock import format_time
from marketsim.errors import ConfigError
from marketsim.metrics.sample import Sample, take_sample
from marketsim.metrics.section import Progress, Section, silent
from marketsim.tape import Tape

if TYPE_CHECKING:
    import os

    import pandas as pd


class Entry(NamedTuple):
    """A section: where its function is, how long it takes beside others, if it needs a seed."""

    place: str
    weight: float
    random: bool


SECTIONS = {
    "stylized": Entry("marketsim.metrics.stylized:stylized", 2.0, False),
    "lob": Entry("marketsim.metrics.lob_section:lob_section", 8.0, True),
    "predictive": Entry("marketsim.metrics.predictive:predictive", 40.0, True),
    "coverage": Entry("marketsim.metrics.coverage:coverage", 3.0, False),
}

_NUMBERS = ("generated", "real", "distance", "floor", "ratio", "low", "high")


@dataclass(frozen=True)
class Report:
    """What :func:`evaluate` found.

    Attributes
    ----------
    generated, real : what the tapes are, JSON values.
    seed : of what is random.
    sections : in the order in which they were asked for.
    """

    generated: dict[str, Any]
    real: dict[str, Any]
    seed: int
    sections: tuple[Section, ...]

    @property
    def table(self) -> "pd.DataFrame":
        """One row a measure, columns as in :class:`marketsim.metrics.section.Row`.

        Numbers are of the nullable type ``Float64``; what is missing is ``<NA>``, and ``note``
        says why.
        """
        import pandas as pd

        rows = [row.to_dict() for section in self.sections for row in section.rows]
        columns = ("section", "measure", *_NUMBERS, "note")
        frame = pd.DataFrame({key: [row[key] for row in rows] for key in columns})
        return frame.astype({name: "Float64" for name in _NUMBERS})

    @property
    def summary(self) -> dict[str, Any]:
        """A few figures of each section, and of the tapes; JSON values."""
        return {
            "generated": self.generated,
            "real": self.real,
            "seed": self.seed,
            **{section.name: dict(section.summary) for section in self.sections},
        }

    def save(self, folder: "str | os.PathLike[str]") -> None:
        """Write ``report.json``, ``report.md`` and the pictures.

        Each file is written beside its place and renamed, ``report.json`` last: where it is, all
        of the report is.

        Raises
        ------
        DataError
            The folder cannot be written to.
        """
        from marketsim.evaluation_report import write_report

        write_report(self, folder)


def evaluate(
    tape: Tape,
    against: Tape,
    metrics: Iterable[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Measure how far a tape is from another one, usually a real one.

    Parameters
    ----------
    tape, against : the generated tape, and the real one; parts of tapes by ``Tape.between``.
    metrics : names of :data:`SECTIONS`; all by default.
    seed : of what is random: the same tapes and seed give the same report.
    progress : called with what is being done, and the share of the work that is done.

    Raises
    ------
    ConfigError
        A section is unknown, or none is asked for.
    DataError
        A tape has no orders in its session.
    """
    names = check_metrics(metrics)
    integer("seed", seed, 0)
    tell = progress or silent
    generated, real = take_sample(tape, "tape"), take_sample(against, "against")
    whole = sum(SECTIONS[name].weight for name in names)
    done = 0.0
    sections = []
    for name in names:
        entry = SECTIONS[name]
        module, _, function = entry.place.partition(":")

        def part(what: str, share: float, at: float = done, weight: float = entry.weight) -> None:
            tell(what, (at + share * weight) / whole)

        measure = getattr(importlib.import_module(module), function)
        options = {"seed": seed} if entry.random else {}
        sections.append(measure(generated, real, tell=part, **options))
        done += entry.weight
    tell("done", 1.0)
    return Report(_facts(generated), _facts(real), seed, tuple(sections))


def check_metrics(metrics: Iterable[str] | None) -> list[str]:
    """Names of sections, each once, in the order asked for; all of them for None.

    Raises
    ------
    ConfigError
        One is unknown, or there is none.
    """
    names = list(dict.fromkeys(SECTIONS if metrics is None else metrics))
    if not names:
        raise ConfigError(f"metrics must name one of {', '.join(SECTIONS)}, was empty")
    for name in names:
        if name not in SECTIONS:
            raise ConfigError(f"metrics: unknown section {name!r}{did_you_mean(name, SECTIONS)}")
    return names


def _facts(sample: Sample) -> dict[str, Any]:
    meta = sample.tape.meta
    return {
        "symbol": str(meta.get("symbol") or ""),
        "source": str(meta.get("source") or ""),
        "from": format_time(sample.quotes.start_ns)[:8],
        "to": format_time(sample.quotes.end_ns)[:8],
        "tick_size": meta.get("tick_size"),
        "lot_size": meta.get("lot_size"),
        "orders": len(sample.events),
        "trades": sample.trades,
    }
