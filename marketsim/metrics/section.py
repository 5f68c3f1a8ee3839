"""Rows of a realism report, and what a section of it hands back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Called with what is being done and the share of the work that is done, 0 to 1.
Progress = Callable[[str, float], None]


class NotDefined(Exception):
    """A measure that a tape does not have; the message is the reason, a few words."""


@dataclass(frozen=True)
class Row:
    """One measure of a generated tape beside a real one.

    Attributes
    ----------
    section, measure : names; the measure's unit in brackets.
    generated, real : the measure of either tape; None where it is not defined, a note says why.
    distance : between the two, 0 where they are alike; a note says which, where it is not the
        absolute difference.
    floor : the same distance between real data and real data; None where there is none.
    ratio : distance over floor; 1 is as good as real.
    notes : what a reader must know.
    low, high : interval of the distance, as the section's caption says; None without one.
    """

    section: str
    measure: str
    generated: float | None
    real: float | None
    distance: float | None = None
    floor: float | None = None
    ratio: float | None = None
    notes: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None

    @property
    def note(self) -> str:
        """The notes in one line."""
        return "; ".join(self.notes)

    def to_dict(self) -> dict[str, Any]:
        """JSON values by the names of the table's columns."""
        values = {name: value for name, value in vars(self).items() if name != "notes"}
        return {**values, "note": self.note}


@dataclass(frozen=True)
class Section:
    """A part of a realism report.

    Attributes
    ----------
    name, title : as asked for in ``metrics``; the heading of its table.
    rows : in the order in which they are shown.
    summary : JSON values, a few figures.
    data : JSON values, all that the pictures show.
    pictures : file name without its ending -> function that draws it.
    caption : below the table.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    summary: Mapping[str, Any]
    data: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, Callable[[], "Figure"]] = field(default_factory=dict)
    caption: str = ""


def silent(what: str, share: float) -> None:
    """The progress that nobody wants to know."""


def over_floor(distance: float | None, floor: float | None) -> float | None:
    """Distance over floor; None without one of them, or with a floor of 0."""
    return distance / floor if distance is not None and floor else None
