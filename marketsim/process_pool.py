"""Jobs in a pool of processes: spawned, warmed up once, replaced when one dies.

Each worker is at the end of a pipe of its own, so that it is known whose job a dead worker had, and
a worker whose parent was killed reads the end of its pipe and leaves.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from marketsim.errors import StateError
from marketsim.executor import Executor, Failure, Job, Outcome, Work, attempt

_READY = "ready"


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    #: Number of its job; None while it warms up or waits.
    job: int | None = None
    ready: bool = False


class ProcessExecutor(Executor):
    """A pool of ``workers`` processes.

    A process that dies in a job, by a signal or out of memory, makes that job a failure; another
    process takes its place.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, work: Work, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """Yield outcomes as they come.

        Raises
        ------
        StateError
            If a process cannot start.
        """
        if not jobs:
            return
        from marketsim.simulation import warmup

        warmup()  # compiles, if it must, in one process and not in all
        waiting = deque(range(len(jobs)))
        crew: list[_Worker] = []
        try:
            crew.extend(_start(work) for _ in range(min(self.workers, len(jobs))))
            while crew:
                for worker in _heard(crew):
                    number, outcome = _receive(worker)
                    if isinstance(outcome, Failure) and worker.process.exitcode is not None:
                        crew.remove(worker)
                        if waiting:
                            crew.append(_start(work))
                    elif waiting:
                        worker.job = waiting.popleft()
                        with contextlib.suppress(BrokenPipeError):  # its end is heard next
                            worker.pipe.send(jobs[worker.job])
                    else:
                        crew.remove(worker)
                        _stop([worker])
                    if number is not None and outcome is not None:
                        yield number, outcome
        finally:
            _stop(crew)


def _heard(crew: Sequence[_Worker]) -> list[_Worker]:
    """Workers that have something to say; waits for the first."""
    pipes: Any = [worker.pipe for worker in crew]
    ready = multiprocessing.connection.wait(pipes)
    return [worker for worker in crew if worker.pipe in ready]


def _receive(worker: _Worker) -> tuple[int | None, Outcome | None]:
    """The job that is done and its outcome; neither when the worker says that it is ready."""
    number, worker.job = worker.job, None
    try:
        said = worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join()
        code = worker.process.exitcode
        if not worker.ready:
            raise StateError(
                f"a worker process could not start (exit code {code}); a script that uses processes"
                " must do so below `if __name__ == '__main__':`"
            ) from None
        return number, Failure(f"WorkerDied: {_death(code)}", False)
    if said == _READY:
        worker.ready = True
        return None, None
    return number, said


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        return f"the process was ended by {signal.Signals(-code).name}"
    return f"the process ended with exit code {code}"


def _start(work: Work) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work), daemon=True)
    with _ctrl_c_is_ours():
        process.start()
    theirs.close()
    return _Worker(process, ours)


@contextlib.contextmanager
def _ctrl_c_is_ours() -> Iterator[None]:
    """Processes started here never hear of Ctrl-C: the parent stops them itself."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # when it first starts, it unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop(crew: Sequence[_Worker]) -> None:
    for worker in crew:
        worker.pipe.close()
        worker.process.terminate()
    for worker in crew:
        worker.process.join()


def _serve(pipe: Connection, work: Work) -> None:
    """What a worker process does: job after job until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from marketsim.simulation import warmup

    warmup()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        pipe.send(_READY)
        while True:
            pipe.send(attempt(work, pipe.recv()))
