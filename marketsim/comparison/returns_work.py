"""One part of a comparison of returns, as a worker does it: fit, draw, measure."""

import functools
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from marketsim.comparison import returns_measures as measures
from marketsim.comparison.returns_models import Fitted, fitted
from marketsim.comparison.returns_plan import ReturnsPlan, split
from marketsim.data.return_windows import UNKNOWN_S, Windows


def measure_windows(plan: ReturnsPlan, models: Path, job: Mapping[str, Any]) -> dict[str, Any]:
    """Draw as many windows as a split's test part has, and measure them.

    Parameters
    ----------
    models : folder in which trained models are kept.
    job : ``row``, ``generator``, ``parameters``, ``steps``, ``data``, ``part``, ``split``,
        ``seed``, ``measures``

    Returns
    -------
    dict of JSON values: ``fit`` (None without a model), ``sample``, ``figures``, ``failed``
        (why, by measure), ``fan``

    Raises
    ------
    ConfigError, DataError, ModelError
        As the generator does.
    """
    from marketsim.generators.training import cpu_threads

    train, test = _parts(plan, job["split"])
    with cpu_threads(1):  # sums are the same then, whoever works beside
        fit, fake, drawing_s = _draw(train, len(test), models, job)
        return _measured(train, test, fake, drawing_s, fit, job)


def measure_bars(plan: ReturnsPlan, models: Path, job: Mapping[str, Any]) -> dict[str, Any]:
    """Fit a generator to a fold's bars, and try what it draws at the tasks on them.

    Parameters and errors are those of :func:`measure_windows`, with ``fold`` in place of ``split``.

    Returns
    -------
    dict of JSON values: ``fit``, ``sample``, ``figures``
    """
    from marketsim.comparison import returns_tasks as tasks
    from marketsim.generators.training import cpu_threads

    fold = _folds(plan.bars, plan.folds)[job["fold"]]
    with cpu_threads(1):  # sums are the same then, whoever works beside
        fit, fake, drawing_s = _draw(fold.train, tasks.DRAWN, models, job)
        found = tasks.task_figures(fold, fake, job["seed"])
    return {
        "fit": fit,
        "sample": {"windows": len(fake), "wall_s": drawing_s},
        "figures": measures.plain(found),
    }


def measure_forecast(plan: ReturnsPlan, models: Path, job: Mapping[str, Any]) -> dict[str, Any]:
    """Draw a window for each test window from what was known when it began, and measure them.

    Parameters, results and errors are those of :func:`measure_windows`.
    """
    from marketsim.comparison import returns_forecast as forecast
    from marketsim.generators.training import cpu_threads

    windows = _all_windows(plan)
    train, test = _parts(plan, job["split"])
    with cpu_threads(1):  # sums are the same then, whoever works beside
        model = None if job["generator"] is None else _model(train, models, job)
        past = windows.steps if model is None else model.generator.past
        test, pasts = forecast.known_before(windows, test, past)
        start_s = time.perf_counter()
        if model is None:
            fake = forecast.recent_before(windows, test, np.random.default_rng(job["seed"]))
        else:
            fake = model.generator.sample_windows(len(test), pasts, seed=job["seed"])
        drawing_s = time.perf_counter() - start_s
        return _measured(train, test, fake, drawing_s, None, job)


def work_on(plan: ReturnsPlan, models: Path, job: Mapping[str, Any]) -> dict[str, Any]:
    """Do a job of any kind."""
    return _KINDS[job["kind"]](plan, models, job)


_KINDS = {"windows": measure_windows, "bars": measure_bars, "forecast": measure_forecast}


def _measured(
    train: Windows, test: Windows, fake: Windows, drawing_s: float, fit: dict[str, Any] | None,
    job: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """What is said of generated windows beside a test part."""
    fake = measures.priced_like(fake, test)
    found, failed = measures.figures(job["measures"], train, test, fake, job["seed"])
    return {
        "fit": fit,
        "sample": {"windows": len(fake), "wall_s": drawing_s},
        "figures": measures.plain(found),
        "failed": failed,
        "fan": measures.fan(fake),
    }


def _draw(
    train: Windows, n: int, models: Path, job: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, Windows, float]:
    """What the fit took, windows, and the seconds that drawing them took."""
    if job["generator"] is None:
        return None, _zeros(train, n), 0.0
    model = _model(train, models, job)
    start_s = time.perf_counter()
    fake = model.generator.sample_windows(n, seed=job["seed"])
    took_s = time.perf_counter() - start_s
    fit = {"wall_s": model.wall_s, "cpu_s": model.cpu_s, "resumed": model.resumed}
    return fit, fake, took_s


def _model(train: Windows, models: Path, job: Mapping[str, Any]) -> Fitted:
    """A job's model, found or fitted."""
    place = models / job.get("model", job["row"]) / f"{job['part']}-seed-{job['seed']}"
    token = {key: job[key] for key in ("generator", "parameters", "steps", "data", "part", "seed")}
    return fitted(
        place, train, job["generator"], job["parameters"], job["steps"], job["seed"],
        json.loads(json.dumps(token)),
    )  # fmt: skip


def _zeros(like: Windows, n: int) -> Windows:
    """Windows without any movement."""
    prices = np.tile(like.initial_prices[-1], (n, 1))
    still = np.zeros((n, *like.log_returns.shape[1:]), np.float32)
    return Windows(still, prices, np.full(n, UNKNOWN_S), like.symbols, like.step_s)


@functools.lru_cache(maxsize=4)
def _opened(data: tuple[str, ...], window: int, stride: int, assets: Any, price: str) -> Windows:
    """A plan's windows; one process reads them once."""
    from marketsim.data.crypto import open_windows

    return open_windows(data, window, stride, assets, price)


@functools.lru_cache(maxsize=2)
def _folds(bars: tuple[str, ...], number: int) -> Any:
    from marketsim.comparison import returns_tasks as tasks

    return tasks.folds(tasks.open_bars(bars), number)


def _parts(plan: ReturnsPlan, number: int) -> tuple[Windows, Windows]:
    return split(_all_windows(plan), number)


def _all_windows(plan: ReturnsPlan) -> Windows:
    return _opened(plan.data, plan.window, plan.stride, plan.assets, plan.price)
