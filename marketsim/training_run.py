"""Training of a generator into a folder: kept as it goes, so that it can be gone on with."""

import contextlib
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marketsim.checks import integer
from marketsim.cli_support import remove_if_empty
from marketsim.clock import format_time
from marketsim.data.pieces import Piece, hold_out
from marketsim.errors import ConfigError, DataError, MarketSimError, ModelError
from marketsim.run_store import difference, write_text

if TYPE_CHECKING:
    from marketsim.generators.base import FitProgress
    from marketsim.generators.training import Training
    from marketsim.tape import Tape

#: Share of the time of each tape that is held out where nothing else is given.
HELD_OUT = 0.2
CHECKPOINT, REPORT, CURVE = "checkpoint.safetensors", "training.json", "learning_curve.png"


@dataclass(frozen=True)
class TrainingJob:
    """What is trained, on what, and how.

    Attributes
    ----------
    model : name of a generator; ``parameters``: of the generator.
    data, valid : tapes to learn from, and held out; without the latter the last 20 % of the time
        of each tape is.
    settings : those of :class:`marketsim.generators.training.Training` that are not the defaults;
        a generator's ``training_defaults`` come before these.
    seed : of first weights, batches and dropout.
    """

    model: str
    data: tuple[Piece, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    valid: tuple[Piece, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0


def train_model(
    job: TrainingJob,
    out: Path,
    *,
    force: bool = False,
    progress: "FitProgress | None" = None,
) -> dict[str, Any]:
    """Train a generator and save it, or go on with what was interrupted.

    The folder holds the model, ``training.json`` (what was asked for, digests of the data, what
    came of it), a learning curve and, until it is done, a checkpoint.

    Parameters
    ----------
    force : whether another model in the folder may be replaced.

    Returns
    -------
    dict of JSON values, as in ``training.json``.

    Raises
    ------
    ConfigError
        For an unknown model, parameter or setting, or a setting of a model that takes none.
    DataError
        If data cannot be read, or there is too little of it.
    ModelError
        If the folder holds another model or training.
    """
    from marketsim import generators
    from marketsim.generators.base import RETURNS

    if not job.data:
        raise ConfigError("data: must be at least one tape, was none")
    if job.model in RETURNS:
        raise ConfigError(f"model: {job.model!r} learns from windows of returns, not from tapes")
    integer("seed", job.seed, 0)
    generator = generators.create(job.model, **job.parameters)
    options: dict[str, Any] = {}
    network = is_network(generator)
    if network:
        training = training_of(generator, job.settings)
        options = {"training": training, "checkpoint": out / CHECKPOINT}
    elif job.settings or job.valid:
        name = next(iter(job.settings), "valid")
        raise ConfigError(f"{name}: model {job.model!r} is no network, and takes no such setting")
    learn, valid = _tapes(job, network)
    identity = _identity(job, generator, learn, valid, options.get("training"))
    before = claim(out, identity, force)
    if before is not None:
        (out / CHECKPOINT).unlink(missing_ok=True)
        return before
    if network:
        import torch

        torch.manual_seed(job.seed)  # the first weights are made before the training begins
    with given_up(out):
        generator.fit(learn, valid=valid, seed=job.seed, progress=progress, **options)
    return finish(generator, identity, dict(getattr(generator, "training", {})), out)


def is_network(generator: Any) -> bool:
    """Whether a generator's training has settings, and can be gone on with."""
    return "training" in inspect.signature(generator.fit).parameters


def training_of(generator: Any, settings: Mapping[str, Any]) -> "Training":
    """How to train: as was asked for, else as the generator would have it.

    Raises
    ------
    ConfigError
        For a setting that there is not, or out of range.
    """
    from marketsim.generators.base import make
    from marketsim.generators.training import Training

    own = getattr(generator, "training_defaults", {})
    training: Training = make("training", Training, {**own, **settings})
    return training


@contextlib.contextmanager
def given_up(out: Path) -> Iterator[None]:
    """Leave nothing of a training that failed with nothing to go on from."""
    try:
        yield
    except MarketSimError:
        if not (out / CHECKPOINT).exists():
            (out / REPORT).unlink(missing_ok=True)
            remove_if_empty(out)
        raise


def finish(
    generator: Any, identity: Mapping[str, Any], result: dict[str, Any], out: Path
) -> dict[str, Any]:
    """Save a trained generator and what came of it; the report."""
    generator.save(out)
    report = {**identity, "result": result}
    _draw(result, out)
    write_text(out / REPORT, json.dumps(report, indent=1) + "\n")
    (out / CHECKPOINT).unlink(missing_ok=True)
    return report


def settings_facts(training: "Training | None") -> dict[str, Any]:
    """Settings that tell one training from another; JSON values."""
    settings: dict[str, Any] = {} if training is None else dict(vars(training))
    for name in ("checkpoint_every_s", "tensorboard"):  # they change nothing of the model
        settings.pop(name, None)
    return settings


def _tapes(job: TrainingJob, network: bool) -> "tuple[list[Tape], list[Tape]]":
    """Tapes to learn from and held out; only networks have use for the latter."""
    tapes = [piece.open() for piece in job.data]
    if not network:
        return tapes, []
    if job.valid:
        return tapes, [piece.open() for piece in job.valid]
    parts = [hold_out(tape, HELD_OUT) for tape in tapes]
    return [learn for learn, _ in parts], [valid for _, valid in parts]


def _identity(
    job: TrainingJob, generator: Any, learn: "list[Tape]", valid: "list[Tape]",
    training: "Training | None",
) -> dict[str, Any]:  # fmt: skip
    """What tells this training from others, and what a reader wants to know of it."""
    identity = {
        "model": job.model,
        "parameters": generator.parameters(),
        "seed": job.seed,
        "settings": settings_facts(training),
        "data": _facts(job.data, learn),
        "held_out": _facts(job.valid or job.data, valid),
    }
    content: dict[str, Any] = json.loads(json.dumps(identity))
    return content


def _facts(pieces: Sequence[Piece], tapes: "list[Tape]") -> list[dict[str, Any]]:
    return [
        {
            "path": piece.path,
            "symbol": str(tape.meta["symbol"]),
            "from": format_time(int(tape.orders["time_ns"][0])),
            "to": format_time(int(tape.orders["time_ns"][-1])),
            "orders": len(tape),
            "digest": tape.digest(),
        }
        for piece, tape in zip(pieces, tapes, strict=False)
    ]


def claim(out: Path, identity: dict[str, Any], force: bool) -> dict[str, Any] | None:
    """Make the folder this training's; its report where it is done already.

    Raises
    ------
    ModelError
        If the folder holds something else.
    """
    if out.is_file():
        raise DataError(f"out {out}: is a file; choose a folder")
    found = _read(out / REPORT)
    result = None if found is None else found.pop("result")
    if found == identity:
        return None if result is None else {**identity, "result": result}
    finished = (out / "model.json").exists()
    if (found is not None or finished) and not force:
        what = "a model already" if finished else "a training that is not finished"
        how = f" ({difference(found, identity)})" if found is not None else ""
        raise ModelError(f"out {out}: holds {what}{how}; choose another folder, or give --force")
    for name in (CHECKPOINT, REPORT, "model.json", "model.safetensors", CURVE):
        (out / name).unlink(missing_ok=True)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"out {out}: cannot be written: {error.strerror}") from error
    write_text(out / REPORT, json.dumps({**identity, "result": None}, indent=1) + "\n")
    return None


def _read(path: Path) -> dict[str, Any] | None:
    """A training's report; None where there is none, or it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) and "result" in content else None


def _draw(result: Mapping[str, Any], out: Path) -> None:
    """The learning curve, where there is one."""
    curve = result.get("curve", [])
    if len(curve) < 2:
        return
    from matplotlib.figure import Figure

    from marketsim.experiment_plots import save_figure
    from marketsim.plot_style import AGENT_COLOURS, INK, finish

    steps, seen, held_out = zip(*curve, strict=True)
    figure = Figure(figsize=(7, 3.6), layout="constrained", dpi=150)
    axis = figure.subplots()
    axis.plot(steps, seen, color=AGENT_COLOURS[0], label="training data")
    if all(value is not None for value in held_out):
        axis.plot(steps, held_out, color=AGENT_COLOURS[1], label="held out")
        axis.axvline(result["best_step"], color="#8A8A8A", linewidth=0.8, linestyle=":")
    finish(axis, "Learning curve", "Loss", legend=True)
    axis.set_xlabel("Step", fontsize=8.5, color=INK)
    save_figure(figure, out / CURVE)


__all__ = [
    "CHECKPOINT", "HELD_OUT", "REPORT", "TrainingJob", "claim", "finish", "given_up", "is_network",
    "settings_facts", "train_model", "training_of",
]  # fmt: skip
