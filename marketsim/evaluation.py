"""``ms.evaluate``: a realism report of one tape against another, a table of sections.

A section is a function ``(generated, real, seed, tell) -> Section``. To add one, add its name
here: where it is, and what share of the time it takes.
"""

import importlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from marketsim.checks import did_you_mean, integer
from marketsim.clock import format_time
from marketsim.errors import ConfigError
from marketsim.metrics.sample import Sample, take_sample
from marketsim.metrics.section import Progress, Section, silent
from marketsim.tape import Tape

if TYPE_CHECKING:
    import os

    import pandas as pd

#: Name -> where its function is, and how long it takes beside the others.
SECTIONS = {
    "stylized": ("marketsim.metrics.stylized:stylized", 2.0),
    "predictive": ("marketsim.metrics.predictive:predictive", 40.0),
    "coverage": ("marketsim.metrics.coverage:coverage", 3.0),
}

_NUMBERS = ("generated", "real", "distance", "floor", "ratio")


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

        rows = [asdict(row) for section in self.sections for row in section.rows]
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
    whole = sum(SECTIONS[name][1] for name in names)
    done = 0.0
    sections = []
    for name in names:
        place, weight = SECTIONS[name]
        module, _, function = place.partition(":")

        def part(what: str, share: float, at: float = done, weight: float = weight) -> None:
            tell(what, (at + share * weight) / whole)

        measure = getattr(importlib.import_module(module), function)
        sections.append(measure(generated, real, seed, part))
        done += weight
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
