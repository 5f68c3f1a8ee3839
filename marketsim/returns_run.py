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
from marketsim.run_store import write_text
from marketsim.training_run import REPORT, claim

if TYPE_CHECKING:
    from marketsim.generators.base import FitProgress

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
    seed : of what the generator draws while it learns.
    """

    model: str
    data: tuple[str, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    window: int = 24
    stride: int = 1
    assets: tuple[str, ...] | None = None
    price: str = "close"
    seed: int = 0


def train_returns(
    job: ReturnsJob, out: Path, *, force: bool = False, progress: "FitProgress | None" = None
) -> dict[str, Any]:
    """Train a generator of returns and save it, with ``training.json``: what was asked for.

    Returns
    -------
    dict of JSON values, as in ``training.json``.

    Raises
    ------
    ConfigError
        For an unknown model or parameter.
    DataError
        If data cannot be read, or there is too little of it.
    ModelError
        If the folder holds another model.
    """
    from marketsim import generators
    from marketsim.generators.base import RETURNS

    if job.model not in RETURNS:
        raise ConfigError(f"model: {job.model!r} is no generator of returns: {', '.join(RETURNS)}")
    generator = generators.create(job.model, **job.parameters)
    windows = open_windows(job.data, job.window, job.stride, job.assets, job.price)
    identity = {
        "model": job.model,
        "parameters": generator.parameters(),
        "seed": integer("seed", job.seed, 0),
        "data": [{"path": path} for path in job.data],
        "windows": _facts(windows),
    }
    generator.fit(windows, seed=job.seed, progress=progress)
    before = claim(out, identity, force)
    if before is not None:
        return before
    generator.save(out)
    report = {**identity, "result": {"windows": len(windows)}}
    write_text(out / REPORT, json.dumps(report, indent=1) + "\n")
    return report


def sample_returns(
    model: str, out: Path, *, n: int = 1000, seed: int = 0, conditions: int | None = None,
    sampling: Mapping[str, Any] | None = None,
) -> Windows:  # fmt: skip
    """Draw windows of a saved generator of returns, and write them.

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
    windows: Windows = generator.sample_windows(n, conditions, seed=seed)
    if out.suffix == ".npz":
        write_windows(windows, out)
    else:
        _write_table(windows, out)
    return windows


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
