"""Executors: who does many independent jobs, in this process, in a pool of processes, on Ray.

A job is plain data, its result a mapping of JSON values. What comes out does not depend on who did
it, on how many did, or on the order in which they were done: results carry their jobs' numbers.
"""

import os
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marketsim import checks
from marketsim.errors import ConfigError, MarketSimError

Job = Mapping[str, Any]
Result = dict[str, Any]
#: A function that can be imported by its name in another process.
Work = Callable[[Job], Result]

NAMES = ("processes", "ray", "serial")


@dataclass(frozen=True)
class Failure:
    """A job that ended with an error.

    Attributes
    ----------
    error : kind and message, one line.
    mendable : whether a user can mend it: one of marketsim's own errors.
    details : traceback, or "".
    """

    error: str
    mendable: bool
    details: str = ""


Outcome = Result | Failure


def attempt(work: Work, job: Job) -> Outcome:
    """Do a job; an error becomes a :class:`Failure`, Ctrl-C does not."""
    try:
        return work(job)
    except Exception as error:
        mendable = isinstance(error, MarketSimError)
        message = " ".join(str(error).split())
        kind = type(error).__name__
        return Failure(f"{kind}: {message}" if message else kind, mendable, traceback.format_exc())


class Executor(ABC):
    """Does jobs and tells their outcomes as they come, each with the job's number."""

    @abstractmethod
    def run(self, work: Work, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """Yield ``(number of the job, outcome)``; closing the iterator stops the workers."""


class SerialExecutor(Executor):
    """One job after the other, in this process."""

    def run(self, work: Work, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        for number, job in enumerate(jobs):
            yield number, attempt(work, job)


def create_executor(
    name: str | Executor, workers: int | None = None, ray_address: str | None = None
) -> Executor:
    """Return the executor of a name.

    Parameters
    ----------
    name : "processes", "ray", "serial", or an executor, which is returned as it is.
    workers : processes; None is one for each core that this process may use.
    ray_address : of a running Ray cluster; None starts Ray on this machine.

    Raises
    ------
    ConfigError
        For an unknown name, no workers, or a parameter that this executor does not have.
    """
    if workers is not None:
        checks.integer("workers", workers, 1)
    if isinstance(name, Executor):
        return name
    checks.choice("executor", name, NAMES)
    if ray_address is not None and name != "ray":
        raise ConfigError(f"ray_address: only executor 'ray' has one, executor was {name!r}")
    if name == "ray":
        from marketsim.ray_executor import RayExecutor

        return RayExecutor(ray_address, workers)
    if name == "serial":
        if workers not in (None, 1):
            raise ConfigError(f"workers must be 1 with executor 'serial', was {workers}")
        return SerialExecutor()
    from marketsim.process_pool import ProcessExecutor

    return ProcessExecutor(workers or len(_usable_cores()))


def _usable_cores() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))
