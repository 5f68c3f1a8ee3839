"""How the distances grow with the time since a generated tape began."""

from collections.abc import Sequence
from typing import Any

from marketsim.metrics.floor import Windows, summary, window_distances
from marketsim.metrics.flow import Flow
from marketsim.metrics.lob_scores import Score
from marketsim.metrics.pool import UNDEFINED, Pool, Sample, distances

#: Blocks of messages that a generated tape is cut into, and the fewest messages of one.
BLOCKS, MIN_BLOCK_EVENTS = 10, 50


def blocks_of(flow: Flow) -> Windows:
    """Blocks of equal numbers of messages; fewer than 10 where the tape is short."""
    blocks = max(1, min(BLOCKS, flow.size // MIN_BLOCK_EVENTS))
    length = flow.size // blocks
    return Windows(tuple((i * length, (i + 1) * length) for i in range(blocks)))


def horizon_rows(
    score: Score,
    pooled: Pool | None,
    generated: Flow,
    blocks: Sequence[tuple[int, int]],
    real: Sample | None,
    windows: Windows,
) -> list[dict[str, Any]]:
    """Rows of the table of one score: each block's distances to the whole real tape.

    All blocks share the bins and z-scores of the whole comparison, so that they can be compared
    with each other. The floor is that of real windows with as many messages, the same for all.
    """
    floor = window_distances(real, windows.rows)
    floors = {
        f"floor_{measure}": summary(floor, measure)["median"] for measure in ("l1", "wasserstein")
    }
    rows = []
    for number, (first, last) in enumerate(blocks):
        found = UNDEFINED
        if pooled is not None:
            inside, _ = pooled.generated.window(first, last)
            found = distances(pooled.scale, inside, pooled.real.counts)
        start_ns = generated.time_ns[0]
        rows.append(
            {
                "name": score.name,
                "block": number,
                "first_event": first,
                "last_event": last - 1,
                "start_s": float(generated.time_ns[first] - start_ns) / 1e9,
                "end_s": float(generated.time_ns[last - 1] - start_ns) / 1e9,
                "l1": found.l1,
                "wasserstein": found.wasserstein,
                **floors,
                "note": _note(score, found.l1 is None, windows, floors["floor_l1"] is None),
            }
        )
    return rows


def _note(score: Score, undefined: bool, windows: Windows, no_floor: bool) -> str:
    words = [f"not defined: needs {score.needs}"] if undefined else []
    if no_floor:
        words.append(f"no floor: {windows.reason or 'too few observations in a window'}")
    return "; ".join(words)
