"""Parts of market data by name and time of day: ``PATH@FROM-TO``."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from marketsim.clock import format_time, parse_time
from marketsim.errors import ConfigError, DataError

if TYPE_CHECKING:
    from marketsim.tape import Tape

_CLOCK = r"\d{1,2}:\d\d(?::\d\d(?:\.\d{1,9})?)?"
_SUFFIX = re.compile(rf"(?P<path>.+)@(?P<start>{_CLOCK})?-(?P<end>{_CLOCK})?")


@dataclass(frozen=True)
class Piece:
    """Market data from ``start_ns`` to before ``end_ns``; None is where the tape begins or ends."""

    path: str
    start_ns: int | None = None
    end_ns: int | None = None

    @classmethod
    def parse(cls, text: str, start: str | None = None, end: str | None = None) -> "Piece":
        """Read ``PATH``, ``PATH@FROM-TO``, ``PATH@FROM-`` or ``PATH@-TO``.

        Parameters
        ----------
        start, end : what holds where the text says nothing.

        Raises
        ------
        ConfigError
            If a time cannot be read, or the end is not after the start.
        """
        found = _SUFFIX.fullmatch(text)
        if found is not None and found["start"] is None and found["end"] is None:
            found = None  # a path that ends in "@-"
        path = text if found is None else found["path"]
        first = (found and found["start"]) or start
        last = (found and found["end"]) or end
        start_ns = None if first is None else parse_time(first, f"{text}: from")
        end_ns = None if last is None else parse_time(last, f"{text}: to")
        if start_ns is not None and end_ns is not None and end_ns <= start_ns:
            raise ConfigError(f"{text}: must end after {first}, ends at {last}")
        return cls(path, start_ns, end_ns)

    def open(self) -> "Tape":
        """Read it.

        Raises
        ------
        DataError
            If it cannot be read, or there are no orders in it.
        """
        from marketsim.data.source import open_tape

        tape = open_tape(self.path)
        times = tape.orders["time_ns"]
        if not len(times):
            raise DataError(f"{self.path}: has no orders")
        if self.start_ns is None and self.end_ns is None:
            return tape
        first = int(times[0]) if self.start_ns is None else self.start_ns
        last = int(times[-1]) + 1 if self.end_ns is None else self.end_ns
        part = tape.between(first, max(first, last))
        if not len(part):
            raise DataError(
                f"{self.path}: has no orders from {format_time(first)[:8]} to"
                f" {format_time(last)[:8]}"
            )
        return part


def hold_out(tape: "Tape", share: float) -> "tuple[Tape, Tape]":
    """Cut off the last ``share`` of a tape's time."""
    times = tape.orders["time_ns"]
    first, last = int(times[0]), int(times[-1])
    cut = last - round((last - first) * share)
    return tape.between(first, cut), tape.between(cut, last + 1)
