"""Jobs as tasks of a Ray cluster (extra ``ray``): one that runs already, or one started here."""

import importlib.util
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from marketsim.errors import ConfigError, StateError
from marketsim.executor import Executor, Failure, Job, Outcome, Work, attempt

#: Jobs that are handed to Ray ahead, for each worker.
_AHEAD = 2
_PATIENCE_S = 5.0


class RayExecutor(Executor):
    """Tasks of one core each.

    A cluster that asks for a token is given the one of the environment (``RAY_AUTH_TOKEN``), by Ray
    itself.

    Parameters
    ----------
    address : of a running cluster, "auto" for the one that runs here; None starts one.
    workers : tasks at a time; None is as many as the cluster has cores.

    Raises
    ------
    ConfigError
        If Ray is not installed.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        if importlib.util.find_spec("ray") is None:
            raise ConfigError(
                "executor: 'ray' is not installed; pip install 'marketsim-lob[ray]', or use"
                " 'processes'"
            )
        self.address = address
        self.workers = workers

    def run(self, work: Work, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """Yield outcomes as they come.

        Raises
        ------
        StateError
            If there is no cluster at the address.
        """
        import ray

        if not jobs:
            return
        started = self._connect(ray)
        try:
            yield from self._tasks(ray, work, jobs)
        finally:
            if started:
                ray.shutdown()

    def _connect(self, ray: Any) -> bool:
        """Join or start a cluster; whether it is ours to leave."""
        if ray.is_initialized():
            return False
        _check_reachable(self.address)
        cores = self.workers if self.address is None else None
        try:
            ray.init(
                address=self.address or "local",
                num_cpus=cores,
                include_dashboard=None if self.address else False,
                log_to_driver=False,
                logging_level="error",
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise StateError(f"ray_address {self.address}: {reason}") from error
        return True

    def _tasks(self, ray: Any, work: Work, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        task = ray.remote(num_cpus=1, max_retries=0)(_do)
        limit = self.workers or max(int(ray.cluster_resources().get("CPU", 1)), 1)
        ahead = limit if self.workers else _AHEAD * limit
        running: dict[Any, int] = {}
        path = list(sys.path)
        waiting = iter(enumerate(jobs))
        try:
            while True:
                for number, job in waiting:
                    running[task.remote(work, job, path)] = number
                    if len(running) >= ahead:
                        break
                if not running:
                    return
                done, _ = ray.wait(list(running))
                for reference in done:
                    yield running.pop(reference), _outcome(ray, reference)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)


def _check_reachable(address: str | None) -> None:
    """Tell at once of an address where nobody answers; Ray itself tries for minutes.

    Raises
    ------
    StateError
        If nobody listens at ``HOST:PORT`` or ``ray://HOST:PORT``.
    """
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return  # "auto", "local" and the like are for Ray to find
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE_S).close()
    except (OSError, OverflowError) as error:
        raise StateError(f"ray_address {address}: nobody answers there ({error})") from error


def _outcome(ray: Any, reference: Any) -> Outcome:
    try:
        outcome: Outcome = ray.get(reference)
    except ray.exceptions.RayError as error:  # the worker died: an error of the job is a Failure
        return Failure(f"WorkerDied: {str(error).strip().splitlines()[0]}", False)
    return outcome


def _do(work: Work, job: Job, path: list[str]) -> Outcome:
    """One task; the user's own modules are found where they were found at home."""
    sys.path.extend(folder for folder in path if folder not in sys.path)
    return attempt(work, job)
