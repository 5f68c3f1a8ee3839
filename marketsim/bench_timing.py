"""What the benchmarks share: rows of results, their sizes, and a clock fair to both sides."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One figure, beside a reference of the same run.

    Attributes
    ----------
    reference : what ``ratio`` compares with; None where the figure stands by itself.
    ratio : how many times the reference: of its speed for speeds, of its time for times.
    """

    name: str
    metric: str
    value: float
    unit: str
    reference: str | None = None
    ratio: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values under the names of the attributes."""
        return asdict(self)


@dataclass(frozen=True)
class Sizes:
    """How much work the benchmarks do; the defaults take two to three minutes in all.

    Attributes
    ----------
    data : a LOBSTER file or saved tape to replay beside the synthetic day.
    stream_rows, naive_rows : events of the stream for the compiled book, for the naive one.
    close : end of the synthetic day.
    stream_orders, stream_config : rows of orders of the long run that is streamed; a configuration
        to run instead of the one of that length: a name, a path or a mapping.
    wake_until, wake_ns : how long, and how often, a Python agent is woken.
    day_until : end of the simulated RMSC days; None is their close.
    batch_steps : steps of a batch of markets that are timed together.
    model : name or folder of the trained model whose market is timed.
    world : parameters of the untrained models that are timed on a recorded flow; ``world_calls`` of
        each are, and ``world_s`` seconds of the market around a model.
    env_steps : of an episode of each environment, a simulated second each.
    strategy_windows : windows of returns that strategies trade on.
    repeats : of everything that is timed; the fastest counts.
    """

    data: Path | None = None
    stream_rows: int = 1_000_000
    naive_rows: int = 100_000
    close: str = "16:00"
    stream_orders: int = 10_000_000
    stream_config: Any = None
    wake_until: str = "10:30"
    wake_ns: int = 10_000_000
    day_until: str | None = None
    batch_steps: int = 100
    model: str = "goog"
    world: Mapping[str, Any] = field(default_factory=dict)
    world_calls: int = 100
    world_s: int = 300
    env_steps: int = 22_800
    strategy_windows: int = 1800
    repeats: int = 5


def peak_mib() -> float:
    """Most memory that this process has had so far, resident [MiB]."""
    try:
        with open("/proc/self/status") as status:
            lines = [line.split() for line in status]
        return next(int(words[1]) for words in lines if words[0] == "VmHWM:") / 1024
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fastest(*works: Callable[[], Any], repeats: int) -> list[float]:
    """CPU seconds of each piece of work: its fastest of ``repeats`` interleaved rounds.

    Interleaved, because a machine is not equally fast all the time; CPU time, because it is shared.
    """
    best = [float("inf")] * len(works)
    for _ in range(repeats):
        for i, work in enumerate(works):
            with no_garbage():
                started = time.process_time()
                work()
                best[i] = min(best[i], time.process_time() - started)
    return best


@contextmanager
def no_garbage() -> Iterator[None]:
    """Collect garbage before, and not while, something is timed."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
