"""Stylized facts of a tape beside those of a real one.

References
----------
Cont (2001), Empirical properties of asset returns: stylized facts and statistical issues,
Quantitative Finance 1. Vyetrenko et al. (2020), Get real: realism metrics for robust limit order
book market simulations, ICAIF.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from marketsim.metrics import day_profile, minute_returns, order_flow
from marketsim.metrics.facts import Curve, compare
from marketsim.metrics.sample import Sample, real_windows
from marketsim.metrics.section import NotDefined, Progress, Section, silent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FACTS = (*minute_returns.FACTS, *order_flow.FACTS, *day_profile.FACTS)

_CAPTION = (
    "distance: absolute difference unless the note says another; floor: median of the same"
    " distance between real windows of the generated tape's length and the rest of the real tape;"
    " ratio: distance over floor"
)


def stylized(generated: Sample, real: Sample, tell: Progress = silent) -> Section:
    """Compare all stylized facts.

    Returns
    -------
    Section
        One row a fact. ``data`` holds the facts of both tapes by name: numbers, quantiles of
        distributions, curves.
    """
    windows: Sequence[Sample] | str
    tell("windows of the reference", 0.0)
    try:
        windows = real_windows(real, generated.span_ns)
    except NotDefined as reason:
        windows = str(reason)
    rows, facts = [], {}
    for number, fact in enumerate(FACTS):
        tell(fact.measure, number / len(FACTS))
        row, facts[fact.measure] = compare("stylized", fact, generated, real, windows)
        rows.append(row)
    ratios = [row.ratio for row in rows if row.ratio is not None]
    summary = {
        "facts": len(rows),
        "facts_compared": sum(row.distance is not None for row in rows),
        "facts_with_floor": len(ratios),
        "median_ratio_to_floor": float(np.median(ratios)) if ratios else None,
    }
    return Section(
        "stylized",
        "Stylized facts",
        tuple(rows),
        summary,
        {
            measure: {tape: _json(value) for tape, value in found.items()}
            for measure, found in facts.items()
        },
        _pictures(facts),
        _CAPTION,
    )


def _pictures(facts: dict[str, dict[str, Any]]) -> dict[str, Callable[[], "Figure"]]:
    def picture(name: str) -> Callable[[], "Figure"]:
        def draw() -> "Figure":
            from marketsim.metrics import stylized_plots

            figure: Figure = getattr(stylized_plots, f"draw_{name}")(facts)
            return figure

        return draw

    return {f"stylized_{name}": picture(name) for name in ("returns", "flow", "profiles")}


def _json(value: Any) -> Any:
    if isinstance(value, Curve):
        return value.to_dict()
    if isinstance(value, np.ndarray):
        levels = np.linspace(0, 1, 101)
        return {"quantile": levels.tolist(), "value": np.quantile(value, levels).tolist()}
    return value
