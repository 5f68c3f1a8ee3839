"""Models of a comparison: found in a folder, or trained into it."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from marketsim.comparison.plan import Plan
from marketsim.comparison.rows import MODELS, ROWS, Model, Row
from marketsim.data.pieces import Piece
from marketsim.training_run import TrainingJob, train_model

#: Called with what is being done and the share of it that is done.
Tell = Callable[[str, float], None]


def needed(rows: Iterable[str]) -> list[str]:
    """Models that rows use, each once, in their order."""
    return list(dict.fromkeys(m for m in (ROWS[name].model for name in rows) if m is not None))


def is_there(folder: Path) -> bool:
    """Whether a folder holds a finished model, ours or anybody's."""
    return (folder / "model.json").is_file() and not (folder / "checkpoint.safetensors").exists()


def train_missing(name: str, plan: Plan, folder: Path, tell: Tell) -> None:
    """Train a model unless it is there; an interrupted training goes on.

    Raises
    ------
    ConfigError, DataError, ModelError
        As :func:`marketsim.training_run.train_model`.
    """
    if not is_there(folder):
        train_model(
            job_of(MODELS[name], name, plan),
            folder,
            progress=lambda share, line: tell(f"{name}: {line}", share),
        )


def job_of(model: Model, name: str, plan: Plan) -> TrainingJob:
    """How a model is trained on the plan's windows."""
    span, valid = plan.train, plan.valid
    data = (Piece(plan.data, span.start_ns, span.end_ns),)
    job = TrainingJob(model.generator, data, dict(model.parameters))
    if not model.network:
        return job
    settings: dict[str, Any] = {
        **model.settings, "threads": plan.threads, "device": plan.device,
    }  # fmt: skip
    if name in plan.train_steps:
        settings["steps"] = plan.train_steps[name]
    held_out = (Piece(plan.data, valid.start_ns, valid.end_ns),)
    return replace(job, valid=held_out, settings=settings)


def load_for(row: Row, models: Path) -> Any:
    """A row's generator, with the sampling that the row asks for."""
    from marketsim.generators import load

    assert row.model is not None
    return load(models / row.model, **row.sampling)
