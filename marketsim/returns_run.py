"""Training of a generator of returns into a folder, and samples of one in a file."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from marketsim.checks import integer
from marketsim.data.crypto import open_windows
from marketsim.data.return_windows import UNKNOWN_S, Windows, write_windows
from marketsim.errors import ConfigError, DataError
from marketsim.training_run import (
    CHECKPOINT,
    claim,
    finish,
    given_up,
    is_network,
    settings_facts,
    training_of,
)

if TYPE_CHECKING:
    from marketsim.generators.base import FitProgress
    from marketsim.generators.returns import ReturnGenerator

#: Kinds of files that samples are written to.
SUFFIXES = (".npz", ".parquet")


@dataclass(frozen=True)
class ReturnsJob:
    """What is trained, on what, and how.

    Attributes
    ----------
    model : name of a generator of returns; ``parameters``: of the generator.
    data : an archive of windows (.npz), or files of bars.
    window, stride, assets, price : of the windows that are made of bars.
    settings : of a network's training, that are not its defaults.
    regimes : whether windows are labelled bull, bear and crash, and the model is given the labels.
    seed : of what the generator draws while it learns.
    """

    model: str
    data: tuple[str, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    window: int = 24
    stride: int = 1
    assets: tuple[str, ...] | None = None
    price: str = "close"
    settings: Mapping[str, Any] = field(default_factory=dict)
    regimes: bool = False
    seed: int = 0


def train_returns(
    job: ReturnsJob, out: Path, *, force: bool = False, progress: "FitProgress | None" = None
) -> dict[str, Any]:
    """Train a generator of returns and save it, with ``training.json``: what was asked for.

    A network's training keeps a checkpoint, and goes on where it was interrupted.

    Returns
    -------
    dict of JSON values, as in ``training.json``.

    Raises
    ------
    ConfigError
        For an unknown model, parameter or setting, or settings of a model that takes none.
    DataError
        If data cannot be read, or there is too little of it.
    ModelError
        If the folder holds another model.
    """
    from marketsim import generators
    from marketsim.data.regimes import labels
    from marketsim.generators.base import RETURNS

    if job.model not in RETURNS:
        raise ConfigError(f"model: {job.model!r} is no generator of returns: {', '.join(RETURNS)}")
    generator = generators.create(job.model, **job.parameters)
    training = None
    if is_network(generator):
        training = training_of(generator, job.settings)
    elif job.settings:
        name = next(iter(job.settings))
        raise ConfigError(f"{name}: model {job.model!r} is no network, and takes no such setting")
    windows = open_windows(job.data, job.window, job.stride, job.assets, job.price)
    identity = {
        "model": job.model,
        "parameters": generator.parameters(),
        "seed": integer("seed", job.seed, 0),
        "settings": settings_facts(training),
        "regimes": job.regimes,
        "data": [{"path": path} for path in job.data],
        "windows": _facts(windows),
    }
    identity = json.loads(json.dumps(identity))  # as it is read again
    before = claim(out, identity, force)
    if before is not None:
        (out / CHECKPOINT).unlink(missing_ok=True)
        return before
    options: dict[str, Any] = {"seed": job.seed, "progress": progress}
    if training is not None:
        options |= {"training": training, "checkpoint": out / CHECKPOINT}
    with given_up(out):
        generator.fit(windows, labels(windows) if job.regimes else None, **options)
    result = {"windows": len(windows), **getattr(generator, "training", {})}
    return finish(generator, identity, result, out)


def sample_returns(
    model: str, out: Path, *, n: int = 1000, seed: int = 0, conditions: int | None = None,
    steps: int | None = None, expected_shortfall: float | None = None, strategy: str | None = None,
    sampling: Mapping[str, Any] | None = None,
) -> Windows:  # fmt: skip
    """Draw windows of a saved generator of returns, and write them.

    Either as the model draws them, or long paths of ``steps`` returns, or windows of which a
    strategy (EW, where none is named) has a given ``expected_shortfall``.

    Parameters
    ----------
    out : an archive (.npz) that :func:`marketsim.read_windows` reads, or a table (.parquet) of
        rows ``window``, ``step`` (from 1 on) and a column of log returns for each asset.
    conditions : label of all windows, where the model was taught some.

    Raises
    ------
    ConfigError, ModelError
        If the model cannot be read or sampled so.
    DataError
        For a file of another kind, one that exists, or one that cannot be written.
    """
    from marketsim.generators import load

    refuse_out(out)
    generator = load(model, **(sampling or {}))
    windows = _drawn(generator, n, seed, conditions, steps, expected_shortfall, strategy)
    if out.suffix == ".npz":
        write_windows(windows, out)
    else:
        _write_table(windows, out)
    return windows


def _drawn(
    generator: "ReturnGenerator", n: int, seed: int, conditions: int | None, steps: int | None,
    expected_shortfall: float | None, strategy: str | None,
) -> Windows:  # fmt: skip
    if steps is not None:
        given = {"regime": conditions, "expected_shortfall": expected_shortfall}
        for name, value in given.items():
            if value is not None:
                raise ConfigError(f"{name}: cannot be asked for together with steps")
    if expected_shortfall is not None:
        from marketsim.generators.scenarios import tail_windows

        return tail_windows(
            generator, n, expected_shortfall, strategy or "EW", conditions, seed=seed
        )
    if strategy is not None:
        raise ConfigError("strategy: only tells whose expected_shortfall it is; give that too")
    if steps is not None:
        return generator.as_windows(generator.sample_path(steps, n, seed=seed))
    return generator.sample_windows(n, conditions, seed=seed)


def refuse_out(out: Path) -> None:
    """Raise :class:`DataError` for a file of a kind that samples are not, or that is there."""
    if out.suffix not in SUFFIXES:
        raise DataError(f"--out {out}: must end in {' or '.join(SUFFIXES)}")
    if out.exists():
        raise DataError(f"--out {out}: exists already; give another place")


def _write_table(windows: Windows, out: Path) -> None:
    import pandas as pd

    n, steps, _ = windows.log_returns.shape
    table = {
        "window": np.repeat(np.arange(n, dtype=np.int32), steps),
        "step": np.tile(np.arange(1, steps + 1, dtype=np.int32), n),
    }
    flat = windows.log_returns.reshape(n * steps, -1)
    table |= {name: flat[:, asset] for asset, name in enumerate(windows.symbols)}
    beside = out.with_name(f"{out.name}.tmp")
    try:
        pd.DataFrame(table).to_parquet(beside, index=False)
        os.replace(beside, out)
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {error.strerror or error}") from error


def _facts(windows: Windows) -> dict[str, Any]:
    """What tells these windows from others, and what a reader wants to know of them."""
    known = windows.start_s[windows.start_s != UNKNOWN_S]
    digest = hashlib.sha256()
    for part in (windows.log_returns, windows.initial_prices, windows.start_s):
        digest.update(np.ascontiguousarray(part).tobytes())
    return {
        "symbols": list(windows.symbols),
        "windows": len(windows),
        "left_out": windows.left_out,
        "steps": windows.steps,
        "step_s": windows.step_s,
        "from": _date(known.min()) if len(known) else None,
        "to": _date(known.max()) if len(known) else None,
        "digest": digest.hexdigest(),
    }


def _date(seconds: int) -> str:
    return str(np.datetime64(int(seconds), "s"))
