"""Pictures of the predictive score and of the PCA coverage."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from marketsim.metrics.plot_parts import LOOKS, dress, legend
from marketsim.plot_style import FAINT


def draw_predictive(data: Mapping[str, Any], currency: str) -> Figure:
    """Errors less that of no change with 95 % intervals, learning curves, calibration."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    errors, curves, calibration = figure.subplots(1, 3)
    figure.suptitle("Predictive score", x=0.01, ha="left", fontsize=12, weight="bold")
    truth = np.array(data["truth"])
    for at, (name, (colour, line)) in enumerate(LOOKS.items()):
        forecast = np.array(data[name]["forecast"])
        excess = 100 * (np.abs(forecast - truth) - np.abs(truth)) / (np.abs(truth).mean() or 1.0)
        half = 1.96 * excess.std() / np.sqrt(len(excess))
        errors.errorbar(at, excess.mean(), half, color=colour, fmt="os"[at], capsize=4)
        losses = np.array(data[name]["losses"])
        epochs = np.arange(1, len(losses) + 1)
        curves.plot(epochs, losses[:, 1], line, color=colour, label=f"{name}, validation")
        curves.plot(epochs, losses[:, 0], line, color=colour, alpha=0.45, label=f"{name}, training")
        order = np.argsort(forecast, kind="stable")
        groups = [part for part in np.array_split(order, 10) if len(part)]
        calibration.plot(
            [forecast[part].mean() for part in groups], [truth[part].mean() for part in groups],
            line, color=colour, marker="o", markersize=3, label=f"trained on {name}",
        )  # fmt: skip
    errors.axhline(0, color=FAINT, linestyle=":", label="forecast 'no change'")
    errors.set_xlim(-0.6, len(LOOKS) - 0.4)
    errors.set_xticks(range(len(LOOKS)), [f"trained on\n{name}" for name in LOOKS])
    unit = currency or "currency"
    dress(errors, "Error on the real tape", "Above that of 'no change' [%]", "")
    legend(errors, "best")
    dress(curves, "Learning", "Loss [deviations of the change]", "Epoch")
    legend(curves, "best")
    dress(
        calibration, "Mean change by tenth of the forecasts", f"Change that came [{unit}]",
        f"Forecast [{unit}]",
    )  # fmt: skip
    calibration.axline((0, 0), slope=1, color=FAINT, linestyle=":", linewidth=1)
    legend(calibration, "best")
    return figure


def draw_coverage(data: Mapping[str, Any], shares: tuple[float, ...]) -> Figure:
    """Points of both tapes in the plane, with the hulls of all points and of the cores."""
    figure = Figure(figsize=(9, 4.3), layout="constrained")
    whole, inner = figure.subplots(1, 2)
    figure.suptitle("PCA coverage", x=0.01, ha="left", fontsize=12, weight="bold")
    explained = data["explained"]
    panels = (("hull", whole, "All orders", shares[0]), ("core", inner, "Core, 99 %", shares[1]))
    for key, axis, title, share in panels:
        corners = []
        for name, (colour, line) in LOOKS.items():
            points, hull = np.array(data[name]["points"]), np.array(data[name][key])
            axis.plot(
                *points.T, ".", color=colour, markersize=1.6, alpha=0.35, rasterized=True, zorder=1
            )
            axis.add_patch(
                Polygon(
                    hull, closed=True, fill=True, facecolor=(colour, 0.08), edgecolor=colour,
                    linestyle=line, linewidth=1.4, label=f"{name}: hull", zorder=2,
                )
            )  # fmt: skip
            corners.append(hull)
        dress(
            axis, f"{title}: {share:.1%} of the real hull covered",
            f"Component 2 ({explained[1]:.0%} of variance)",
            f"Component 1 ({explained[0]:.0%} of variance)",
        )  # fmt: skip
        every = np.concatenate(corners)
        low, high = every.min(axis=0), every.max(axis=0)
        margin = 0.06 * (high - low)
        axis.set_xlim(low[0] - margin[0], high[0] + margin[0])
        axis.set_ylim(low[1] - margin[1], high[1] + margin[1])
        legend(axis, "best")
    return figure
