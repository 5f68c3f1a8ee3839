"""Predictive score: train a forecast on the generated tape, test it on the real one.

The paper's score forecasts the *level* of the mid-price from rows that were shuffled before windows
were cut, and so measures the mean price: a constant price of the right mean scores as well as real
data. The corrected score forecasts the *change*, from windows that are cut first.

References
----------
Berti, Prenkaj & Velardi (2025), TRADES: generating realistic market simulations with diffusion
models, ECAI.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from marketsim.metrics.observations import observe
from marketsim.metrics.sample import Sample
from marketsim.metrics.section import NotDefined, Progress, Row, Section, over_floor, silent
from marketsim.metrics.windows import (
    AHEAD,
    MIN_ORDERS,
    MOST,
    PAST,
    Windows,
    cut_windows,
    shuffled_windows,
)
from marketsim.report import Floats

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from marketsim.metrics.forecaster import Trained

_NAMES = (
    "error of the mid-price change",
    "error over that of the forecast 'no change'",
    "correlation of forecast and change",
    "error of the mid-price level",
)
_STILL = "not defined: the real mid-price never changes"
_PAPER = "as in the paper; measures the mean price"
_CAPTION = (
    f"mean absolute error of the mid-price {AHEAD} orders on, or of its change until then;"
    " generated, real: by a two-layer LSTM trained on the generated tape, on the real tape; both"
    " are tested on the same windows of the real tape, which neither was trained on. distance: the"
    " generated error, floor: the real one, ratio: one over the other; 1 is as good as real."
    f" A forecast sees {PAST} orders. At most {MOST['train']:,} windows train,"
    f" {MOST['validation']:,} validate, {MOST['test']:,} test, evenly spaced over 20 blocks of the"
    " session, of each five of which three train, one validates and one tests."
)


def predictive(generated: Sample, real: Sample, seed: int = 0, tell: Progress = silent) -> Section:
    """Compare what a forecast learns from either tape.

    Parameters
    ----------
    seed : of weights, batches and shuffles.
    tell : called several times a second; raising an exception in it, or Ctrl-C, stops the work.

    Returns
    -------
    Section
        Errors in currency. ``data`` holds learning curves and forecasts.
    """
    seen = {}
    reasons = []
    for name, sample in (("generated", generated), ("real", real)):
        try:
            seen[name] = observe(sample, MIN_ORDERS)
        except NotDefined as reason:
            reasons.append(f"{name} not defined: {reason}")
    currency = str(real.tape.meta.get("currency") or "currency")
    measures = [
        f"{_NAMES[0]} [{currency}]", _NAMES[1], _NAMES[2], f"{_NAMES[3]} [{currency}]",
    ]  # fmt: skip
    if reasons:
        notes = tuple(reasons)
        rows = tuple(Row("predictive", measure, None, None, notes=notes) for measure in measures)
        return Section("predictive", "Predictive score", rows, {"notes": reasons}, caption=_CAPTION)
    change = _score(
        {name: cut_windows(one) for name, one in seen.items()},
        seed,
        lambda what, share: tell(what, share * 0.6),
    )
    mixed = {name: shuffled_windows(one, np.random.default_rng(seed)) for name, one in seen.items()}
    level = _score(mixed, seed, lambda what, share: tell(f"level: {what}", 0.6 + share * 0.4))
    return _section(measures, currency, change, level)


def _score(
    windows: dict[str, Windows], seed: int, tell: Progress
) -> dict[str, Any]:  # errors, forecasts and learning curves
    """Train on each tape, test both on the real one."""
    from marketsim.metrics.forecaster import train

    test = windows["real"].last["test"]
    truth = windows["real"].targets(test)
    found: dict[str, Any] = {"truth": truth, "no_change": float(np.abs(truth).mean())}
    for part, name in enumerate(windows):

        def step(share: float, part: int = part, name: str = name) -> None:
            tell(f"forecast trained on the {name} tape", (part + share) / len(windows))

        trained: Trained = train(windows[name], seed, step)
        forecast: Floats = trained.forecast(windows["real"], test)
        error = float(np.abs(forecast - truth).mean())
        found[name] = {"error": error, "forecast": forecast, "losses": trained.losses}
    return found


def _errors(measure: str, errors: list[float], *notes: str) -> Row:
    """Errors of both forecasts; the real one is the floor."""
    generated, real = errors
    ratio = over_floor(generated, real)
    return Row("predictive", measure, generated, real, generated, real, ratio, notes)


def _skill(measure: str, change: dict[str, Any]) -> Row:
    """Correlation of the forecasts with what came: the absolute error hardly shows small skill."""
    truth, found, notes = change["truth"], {}, ["no floor: of one real tape"]
    for name in ("generated", "real"):
        forecast = change[name]["forecast"]
        if np.ptp(forecast) == 0 or np.ptp(truth) == 0:
            notes.append(f"{name} not defined: the forecast or the price never changes")
        else:
            found[name] = float(np.corrcoef(forecast, truth)[0, 1])
    both = len(found) == 2
    distance = abs(found["generated"] - found["real"]) if both else None
    numbers = (found.get("generated"), found.get("real"))
    return Row("predictive", measure, *numbers, distance, notes=tuple(notes))


def _section(
    measures: list[str], currency: str, change: dict[str, Any], level: dict[str, Any]
) -> Section:
    errors = [change[name]["error"] for name in ("generated", "real")]
    still = change["no_change"]
    rows = (
        _errors(measures[0], errors),
        _errors(measures[1], [error / still for error in errors], f"no change: {still:.6g}")
        if still > 0
        else Row("predictive", measures[1], None, None, notes=(_STILL,)),
        _skill(measures[2], change),
        _errors(measures[3], [level[name]["error"] for name in ("generated", "real")], _PAPER),
    )
    summary = {
        "error_trained_on_generated": errors[0],
        "error_trained_on_real": errors[1],
        "error_no_change": still,
        "ratio_to_real_trained": over_floor(*errors),
        "ratio_to_no_change": rows[1].generated,
        "level_error_as_in_the_paper": rows[3].generated,
    }
    data = {
        "no_change": still,
        "truth": change["truth"].tolist(),
        **{
            name: {
                "forecast": change[name]["forecast"].tolist(),
                "losses": [list(pair) for pair in change[name]["losses"]],
                "level_losses": [list(pair) for pair in level[name]["losses"]],
            }
            for name in ("generated", "real")
        },
    }

    def draw() -> "Figure":
        from marketsim.metrics.score_plots import draw_predictive

        return draw_predictive(data, currency)

    pictures = {"predictive": draw}
    return Section("predictive", "Predictive score", rows, summary, data, pictures, _CAPTION)
