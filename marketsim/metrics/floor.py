"""How far real data are from themselves: distances of windows of a tape to the rest of it.

A distance depends on how long the samples are, so it says little alone. The floor is the same
distance between windows of the real tape, as long as the generated one, and what remains of the
real tape: generated over floor is 1 when generated data are as good as real ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from marketsim.clock import NS_PER_SECOND, parse_span
from marketsim.errors import ConfigError
from marketsim.metrics.flow import Flow, flow_of
from marketsim.metrics.lob_scores import SCORES
from marketsim.metrics.pool import UNDEFINED, Distances, Sample, distances, real_sample
from marketsim.tape import Tape

if TYPE_CHECKING:
    import pandas as pd

#: Windows that a median and a range are made of, at least and at most.
MIN_WINDOWS, MAX_WINDOWS = 3, 40
#: Share of a window that the last one may reach beyond the last message.
SLACK = 0.01
MEASURES = ("l1", "wasserstein")


@dataclass(frozen=True)
class Windows:
    """Windows of equal length in a real tape.

    Attributes
    ----------
    rows : first and last message, exclusive, of each.
    reason : why there are none, in words; "" where there are some.
    length_ns : their length; 0 where it is a number of messages.
    """

    rows: tuple[tuple[int, int], ...]
    reason: str = ""
    length_ns: int = 0


def windows_of_time(flow: Flow, length_ns: int, start_ns: int) -> Windows:
    """Windows of ``length_ns`` side by side from ``start_ns``; at most 40, spread evenly.

    There are none when the messages span less than three times their length.
    """
    span_ns = int(flow.time_ns[-1]) + 1 - start_ns
    number = int(span_ns / max(length_ns, 1) + SLACK)
    if number < MIN_WINDOWS:
        reason = (
            f"the real tape spans {span_ns / NS_PER_SECOND:,.0f} s, less than {MIN_WINDOWS} windows"
            f" of {length_ns / NS_PER_SECOND:,.0f} s"
        )
        return Windows((), reason, length_ns)
    chosen = _spread(number)
    edges = start_ns + np.stack([chosen, chosen + 1]) * length_ns
    first, last = np.searchsorted(flow.time_ns, edges)
    rows = tuple((int(a), int(b)) for a, b in zip(first, last, strict=True))
    return Windows(rows, "", length_ns)


def windows_of_messages(flow: Flow, length: int) -> Windows:
    """Windows of ``length`` messages side by side; at most 40, spread evenly."""
    number = flow.size // max(length, 1)
    if number < MIN_WINDOWS:
        return Windows(
            (),
            f"the real tape has {flow.size:,} messages, less than {MIN_WINDOWS} windows of"
            f" {length:,}",
        )
    return Windows(tuple((int(i) * length, (int(i) + 1) * length) for i in _spread(number)))


def _spread(number: int) -> Any:
    return np.unique(np.linspace(0, number - 1, min(number, MAX_WINDOWS)).round().astype(np.int64))


def window_distances(sample: Sample | None, windows: Sequence[tuple[int, int]]) -> list[Distances]:
    """Distances of each window of a real tape to what lies outside of it."""
    if sample is None:
        return [UNDEFINED] * len(windows)
    found = []
    for first, last in windows:
        inside, outside = sample.window(first, last)
        found.append(distances(sample.scale, inside, outside))
    return found


def summary(found: Sequence[Distances], measure: str) -> dict[str, float | None]:
    """Median, least and largest of a distance over windows; None with fewer than three."""
    known = [value for value in (getattr(one, measure) for one in found) if value is not None]
    if len(known) < MIN_WINDOWS:
        return {"median": None, "min": None, "max": None}
    return {"median": float(np.median(known)), "min": min(known), "max": max(known)}


def floor_table(tape: Tape, window: str | int) -> "pd.DataFrame":
    """Distances of windows of a real tape to the rest of its day.

    Parameters
    ----------
    window : str or int
        Length of a window, such as ``"10min"``, or nanoseconds. The first starts with the session.

    Returns
    -------
    DataFrame
        One row a score: ``name``, ``kind``, ``windows`` (those in which it is defined),
        ``l1_median``, ``l1_min``, ``l1_max``, the same of ``wasserstein``, and ``note``, which
        says why a cell is None.

    Raises
    ------
    ConfigError
        The window cannot be read, or the tape is too short for three of them.
    DataError
        The tape has fewer than two messages.
    """
    length_ns = parse_span(window, "window")
    flow = flow_of(tape)
    windows = windows_of_time(flow, length_ns, flow.start_ns)
    if not windows.rows:
        raise ConfigError(f"window must be shorter, was {window!r}: {windows.reason}")
    rows = []
    for score in SCORES:
        found = window_distances(real_sample(score, score.observe(flow)), windows.rows)
        row: dict[str, Any] = {"name": score.name, "kind": score.kind}
        row["windows"] = sum(one.l1 is not None for one in found)
        for measure in MEASURES:
            row |= {f"{measure}_{key}": value for key, value in summary(found, measure).items()}
        row["note"] = "" if row["windows"] >= MIN_WINDOWS else f"not defined: needs {score.needs}"
        if not row["note"] and row["wasserstein_median"] is None:
            row["note"] = "Wasserstein not defined: a window and the rest share no group"
        rows.append(row)
    return table(rows)


def table(rows: Sequence[dict[str, Any]]) -> "pd.DataFrame":
    """Rows as a data frame in which None stays None."""
    import pandas as pd

    frame = pd.DataFrame(list(rows), dtype=object)
    for name in frame.columns:
        if not frame[name].isna().any():
            frame[name] = frame[name].infer_objects()
    return frame
