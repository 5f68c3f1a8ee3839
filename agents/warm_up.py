"""The part of a tape that a world agent plays back before its model takes over."""

from typing import Any

import numpy as np

from marketsim.clock import NS_PER_MINUTE, NS_PER_SECOND, format_time
from marketsim.errors import DataError
from marketsim.flow import LEVELS
from marketsim.order_events import order_events
from marketsim.tape import Tape


def warm_up_rows(tape: Tape, span_ns: int, generator: Any) -> tuple[int, int, int]:
    """When the warm-up ends, how many rows are in it, and how many of the last must be kept.

    Those that are kept hold as many events as the generator needs to start, and as many rows of
    other agents between them.

    Raises
    ------
    DataError
        If the span is longer than the tape, but for a quiet minute before its close, or has too few
        events, or the tape's tick is another than the generator's.
    """
    times = tape.orders["time_ns"]
    if not len(times):
        raise DataError("data: the tape of the warm-up has no rows of orders")
    begin_ns = int(times[0]) + span_ns
    span = f"{span_ns / NS_PER_SECOND:g} s"
    last_ns = int(times[-1])  # a quiet end counts up to the close, or for a minute
    if begin_ns > max(last_ns, min(int(tape.meta["close_ns"]), last_ns + NS_PER_MINUTE)):
        raise DataError(
            f"warm_up must not be longer than the tape, which ends at"
            f" {format_time(int(times[-1]))}, was {span} from {format_time(int(times[0]))}"
        )
    part, context = tape.between(0, begin_ns), max(generator.context, 1)
    first_row = order_events(part, 0, begin_ns, LEVELS).first_row
    first_row = first_row[first_row > 0]  # the book before it is not known
    if len(first_row) < context:
        raise DataError(
            f"warm_up of {span}: model {generator.name!r} needs {context} events,"
            f" the tape has {len(first_row)}"
        )
    tick = getattr(generator, "tick_size", None)
    if tick is not None and not np.isclose(tick, tape.meta["tick_size"], rtol=1e-9, atol=0):
        raise DataError(
            f"tick_size must be that of model {generator.name!r}, {tick:g},"
            f" the tape's was {tape.meta['tick_size']:g}"
        )
    return begin_ns, len(part), 2 * (len(part) - int(first_row[-context:].min()))
