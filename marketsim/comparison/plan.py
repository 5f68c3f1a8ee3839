"""What is compared with what: windows of a recorded day, seeds, limits."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from marketsim.clock import NS_PER_MINUTE, NS_PER_SECOND, format_time, parse_time
from marketsim.errors import ConfigError, DataError

if TYPE_CHECKING:
    from marketsim.tape import Tape

#: Lengths to which a window that ran out of time is cut, so that few floors are needed [min].
LADDER_MINUTES = (0.5, 1, 2, 3, 5, 8, 10, 15, 20, 30, 45, 60, 90, 120)
#: The shortest window that is compared.
SHORTEST_NS = round(LADDER_MINUTES[0] * NS_PER_MINUTE)
#: Recorded windows of one length that make a floor, where there is room for more.
MOST_FLOORS = 9
METRICS = ("lob", "stylized", "predictive", "coverage")


@dataclass(frozen=True)
class Span:
    """Times of day [ns], the end not included."""

    start_ns: int
    end_ns: int

    @classmethod
    def parse(cls, text: str, field: str) -> "Span":
        """Read ``FROM-TO``.

        Raises
        ------
        ConfigError
            If it cannot be read, or is empty.
        """
        start, dash, end = text.partition("-")
        if not dash:
            raise ConfigError(f"{field} must be FROM-TO, such as 14:30-16:00, was {text!r}")
        span = cls(parse_time(start, field), parse_time(end, field))
        if span.length_ns <= 0:
            raise ConfigError(f"{field} must end after it begins, was {text!r}")
        return span

    @property
    def length_ns(self) -> int:
        return self.end_ns - self.start_ns

    def of(self, tape: "Tape") -> "Tape":
        """This part of a tape."""
        return tape.between(self.start_ns, self.end_ns)

    def first(self, minutes: float) -> "Span":
        """Its first minutes.

        Raises
        ------
        ConfigError
            If it has fewer.
        """
        most = self.length_ns / NS_PER_MINUTE
        if not 0 < minutes <= most:  # nor is NaN
            raise ConfigError(f"minutes must be > 0 and <= {most:g}, was {minutes!r}")
        return Span(self.start_ns, self.start_ns + round(minutes * NS_PER_MINUTE))

    def __str__(self) -> str:
        return f"{format_time(self.start_ns)[:8]}-{format_time(self.end_ns)[:8]}"


@dataclass(frozen=True)
class Plan:
    """A comparison of order flow.

    Attributes
    ----------
    data : recorded day, as text for :func:`marketsim.data.source.open_tape`.
    train, valid, test : parts of it to learn from, for early stopping, and to be compared with.
    warm_up_ns : recorded flow before the test window, from which generated markets go on.
    seeds : markets of each row.
    max_row_s : seconds of simulation a row at most; markets that are not done by then are compared
        over what there is of them.
    train_steps : by model; ``threads``, ``device``: of training.
    """

    data: str
    train: Span
    valid: Span
    test: Span
    warm_up_ns: int
    seeds: int = 5
    metrics: tuple[str, ...] = METRICS
    max_row_s: float = 3600.0
    train_steps: dict[str, int] = field(default_factory=dict)
    threads: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        if isinstance(self.seeds, bool) or not isinstance(self.seeds, int) or self.seeds < 1:
            raise ConfigError(f"seeds must be a whole number > 0, was {self.seeds!r}")
        if not self.max_row_s > 0:
            raise ConfigError(f"max-seconds-a-row must be > 0, was {self.max_row_s!r}")
        if self.valid.end_ns > self.test.start_ns or self.train.end_ns > self.valid.start_ns:
            raise ConfigError(
                f"train, valid and test must follow each other, were {self.train}, {self.valid},"
                f" {self.test}"
            )

    def check(self, tape: "Tape") -> None:
        """Raise :class:`DataError` unless the tape has orders in all windows and the warm-up."""
        if not len(tape):
            raise DataError(f"{self.data}: has no orders")
        warm_up = Span(self.test.start_ns - self.warm_up_ns, self.test.start_ns)
        for name in ("train", "valid", "test"):
            if not len(getattr(self, name).of(tape)):
                raise DataError(f"{name} {getattr(self, name)}: the data have no orders in it")
        if not len(warm_up.of(tape)):
            raise DataError(f"warm-up {warm_up}: the data have no orders in it")

    @property
    def impact(self) -> Span:
        """When the POV agent buys: 45 minutes, or half of a shorter window."""
        return Span(
            self.test.start_ns,
            self.test.start_ns + min(45 * NS_PER_MINUTE, self.test.length_ns // 2),
        )

    @property
    def impact_end_ns(self) -> int:
        """Until when it is watched: half an hour longer, or to the end of the window."""
        return min(self.test.end_ns, self.impact.end_ns + 30 * NS_PER_MINUTE)

    @property
    def identity(self) -> dict[str, Any]:
        """JSON values that all results depend on."""
        return {
            "train": str(self.train),
            "valid": str(self.valid),
            "test": str(self.test),
            "warm_up_s": self.warm_up_ns / NS_PER_SECOND,
        }

    def rounded(self, length_ns: int) -> int:
        """The longest length of the ladder within a length, the whole window if that is done."""
        if length_ns >= self.test.length_ns:
            return self.test.length_ns
        steps = [round(minutes * NS_PER_MINUTE) for minutes in LADDER_MINUTES]
        return max((step for step in steps if step <= length_ns), default=length_ns)


def replay_spans(first_ns: int, before_ns: int, length_ns: int, least: int) -> list[Span]:
    """Windows of a length from ``first_ns`` to before ``before_ns``, evenly spread.

    As many as fit side by side, at most :data:`MOST_FLOORS`; where fewer than ``least`` do,
    that many, which overlap.

    Raises
    ------
    DataError
        If there is no room for one.
    """
    room = before_ns - first_ns - length_ns
    if room < 0:
        raise DataError(
            f"no recorded window of {length_ns / NS_PER_MINUTE:g} min fits before"
            f" {format_time(before_ns)[:8]}"
        )
    count = max(least, min(room // length_ns + 1, MOST_FLOORS))
    step = room / max(count - 1, 1)
    starts = dict.fromkeys(before_ns - length_ns - round(i * step) for i in range(count))
    return [Span(start, start + length_ns) for start in starts]
