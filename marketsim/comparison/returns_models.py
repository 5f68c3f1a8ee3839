"""Models of a comparison of returns: found in a folder, or fitted into it and timed."""

import inspect
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marketsim.data.return_windows import Windows
from marketsim.errors import DataError
from marketsim.run_store import write_text

_DONE, _CHECKPOINT = "fit.json", "checkpoint.safetensors"


@dataclass(frozen=True)
class Fitted:
    """A generator that has learned, and what that took.

    Attributes
    ----------
    wall_s, cpu_s : of the fit [s]; of what was left of it where an interrupted one went on.
    resumed : whether one did.
    """

    generator: Any
    wall_s: float
    cpu_s: float
    resumed: bool


def fitted(
    folder: Path,
    train: Windows,
    generator: str,
    parameters: Mapping[str, Any],
    steps: int | None,
    seed: int,
    token: Mapping[str, Any],
) -> Fitted:
    """A generator that was fitted as the token says: the folder's, or it is fitted into it now.

    Parameters
    ----------
    steps : training steps of a network; None is its own number.
    token : JSON values on which the model depends; a folder of another token is written over.

    Raises
    ------
    ConfigError, DataError, ModelError
        As its ``fit`` and ``save`` do, or if the folder cannot be written.
    """
    from marketsim import generators

    done = _read(folder / _DONE)
    if done is None or done["of"] != token:
        done = {"of": token, **_fit(folder, train, generator, parameters, steps, seed, token)}
        write_text(folder / _DONE, json.dumps(done) + "\n")
        (folder / _CHECKPOINT).unlink(missing_ok=True)
    times = {name: done[name] for name in ("wall_s", "cpu_s", "resumed")}
    return Fitted(generators.load(folder), **times)


def _fit(
    folder: Path,
    train: Windows,
    name: str,
    parameters: Mapping[str, Any],
    steps: int | None,
    seed: int,
    token: Mapping[str, Any],
) -> dict[str, Any]:
    """Fit and save a generator; seconds that it took."""
    from marketsim import generators

    model = generators.create(name, **parameters)
    options: dict[str, Any] = {}
    resumed = False
    if "training" in inspect.signature(model.fit).parameters:
        from marketsim.generators.base import make
        from marketsim.generators.training import Training

        given = {} if steps is None else {"steps": steps}
        training = make("training", Training, {**getattr(model, "training_defaults", {}), **given})
        resumed = _begin(folder, token)
        options = {"training": training, "checkpoint": folder / _CHECKPOINT}
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    model.fit(train, seed=seed, **options)
    took = {"wall_s": time.perf_counter() - wall_s, "cpu_s": time.process_time() - cpu_s}
    model.save(folder)
    return {**took, "resumed": resumed}


def _begin(folder: Path, token: Mapping[str, Any]) -> bool:
    """Make the folder this training's; whether it began before."""
    begun = folder / "begun.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if _read(begun) == token:
            return (folder / _CHECKPOINT).exists()
        (folder / _CHECKPOINT).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror}") from error
    write_text(begun, json.dumps(token) + "\n")
    return False


def _read(path: Path) -> Any:
    """Content of a JSON file; None where it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
