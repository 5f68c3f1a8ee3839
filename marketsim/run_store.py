"""A folder of results that are committed one by one, so that interrupted work goes on from there.

``experiment.json`` says whose results they are; ``runs/KEY.json`` holds one each, written beside
its place and renamed: what is there is whole, whenever the process was killed.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from marketsim.errors import ConfigError, DataError
from marketsim.executor import Executor, Failure, Job, Outcome, Work

#: Called with the number of jobs that are done and of all.
Tell = Callable[[int, int], None]
_MANIFEST = "experiment.json"


class RunStore:
    """Results of one experiment in a folder.

    Parameters
    ----------
    folder : made when it is not there.
    identity : JSON values that tell this experiment from others.

    Raises
    ------
    DataError
        If the folder holds another experiment, or anything else, or cannot be written.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self._runs = folder / "runs"
        wanted = json.loads(json.dumps(identity))
        try:
            found = self._read(folder / _MANIFEST)
            if found is None and folder.is_dir() and _foreign(folder):
                raise DataError(f"out {folder}: is not empty, and no experiment; choose another")
            if found is not None and found != wanted:
                raise DataError(
                    f"out {folder}: holds another experiment ({difference(found, wanted)});"
                    " choose another folder"
                )
            folder.mkdir(parents=True, exist_ok=True)
            if found is None:
                write_text(folder / _MANIFEST, json.dumps(wanted, indent=1) + "\n")
            self._runs.mkdir(exist_ok=True)
        except OSError as error:
            raise DataError(f"out {folder}: cannot be written: {error.strerror}") from error

    @staticmethod
    def _read(path: Path) -> Any:
        """Content of a JSON file; None when it is missing or damaged."""
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None

    def load(self, key: str) -> Outcome | None:
        """The result of a run, or None when it is still to be done."""
        row = self._read(self._runs / f"{key}.json")
        if not isinstance(row, dict) or row.get("key") != key:
            return None
        if "failure" in row:
            return Failure(**row["failure"])
        result: Outcome = row["result"]
        return result

    def commit(self, key: str, outcome: Outcome) -> None:
        """Keep the result of a run.

        Raises
        ------
        DataError
            If it cannot be written.
        """
        failed = isinstance(outcome, Failure)
        row = {"key": key, "failure" if failed else "result": vars(outcome) if failed else outcome}
        write_text(self._runs / f"{key}.json", json.dumps(row, allow_nan=False) + "\n")


def _foreign(folder: Path) -> bool:
    """Whether a folder holds more than what a kill can leave before the manifest is in place."""
    return any(not path.name.endswith(".tmp") for path in folder.iterdir())


def write_text(path: Path, content: str) -> None:
    """Write a file beside its place and rename it.

    Raises
    ------
    DataError
        If it cannot be written.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(content, encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)


def run_key(job: Mapping[str, Any]) -> str:
    """Name of a job's result: a hash of the whole job, 24 hex digits."""
    canonical = json.dumps(job, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:24]


def fingerprint(data: str | None) -> str | None:
    """SHA-256 of a data file, or of a saved tape's manifest; of other data their name.

    Results are kept by it: another file of the same name is other data.
    """
    if data is None:
        return None
    path = Path(data)
    path = path / "manifest.json" if path.is_dir() else path
    if not path.is_file():
        return data
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inputs(config: Any) -> Any:
    """Fingerprint of what a configuration reads: its data, and the models of its world agents."""
    from marketsim.generators.shared import model_digest

    data = fingerprint(config.data)
    folders = {agent.name: agent.parameters["model"]
               for agent in config.agents if agent.type == "world"}  # fmt: skip
    if not folders:
        return data
    return {"data": data, "models": {name: model_digest(f) for name, f in folders.items()}}


def run_jobs(
    work: Work,
    jobs: Sequence[Job],
    executor: Executor,
    store: RunStore | None = None,
    *,
    retry_failed: bool = False,
    progress: Tell | None = None,
) -> list[Outcome]:
    """Do what the store does not have yet, commit each result as it comes; in the jobs' order.

    Parameters
    ----------
    retry_failed : whether runs that failed before are done again.
    """
    keys = [run_key(job) for job in jobs] if store is not None else []
    outcomes: list[Outcome | None] = [None] * len(jobs)
    if store is not None:
        outcomes = [store.load(key) for key in keys]
    todo = [
        number
        for number, outcome in enumerate(outcomes)
        if outcome is None or (retry_failed and isinstance(outcome, Failure))
    ]
    done = len(jobs) - len(todo)
    if progress is not None:
        progress(done, len(jobs))
    with closing(executor.run(work, [jobs[number] for number in todo])) as coming:  # type: ignore[type-var]
        for place, outcome in coming:
            outcomes[todo[place]] = outcome
            if store is not None:
                store.commit(keys[todo[place]], outcome)
            done += 1
            if progress is not None:
                progress(done, len(jobs))
    return [outcome for outcome in outcomes if outcome is not None]


def seed_numbers(seeds: Any) -> list[int]:
    """Seeds as a list: a number stands for 0 to the number less one.

    Raises
    ------
    ConfigError
        If there is none, one is given twice, or one is not a seed.
    """
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        if seeds < 1:
            raise ConfigError(f"seeds must be >= 1, was {seeds}")
        return list(range(seeds))
    try:
        chosen = [seed.item() if hasattr(seed, "item") else seed for seed in seeds]
    except TypeError:
        raise ConfigError(f"seeds must be a number or a list of seeds, was {seeds!r}") from None
    for seed in chosen:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise ConfigError(f"seeds must be integers from 0 to 2**63 - 1, one was {seed!r}")
    if not chosen or len(set(chosen)) != len(chosen):
        raise ConfigError(f"seeds must be at least one, each once, were {chosen!r}")
    return chosen


def difference(found: Any, wanted: Mapping[str, Any]) -> str:
    """First place in which two experiments differ, in words."""
    if not isinstance(found, dict):
        return f"{found!r}"

    def first(old: Any, new: Any, path: str) -> str | None:
        if isinstance(old, dict) and isinstance(new, dict):
            for key in [*old, *(key for key in new if key not in old)]:
                deeper = first(old.get(key), new.get(key), f"{path}.{key}" if path else key)
                if deeper:
                    return deeper
            return None
        return None if old == new else f"{path} was {_short(old)}, is {_short(new)}"

    return first(found, wanted, "") or "the order of its keys"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
