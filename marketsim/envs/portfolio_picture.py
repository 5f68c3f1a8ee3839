"""The portfolio environment as a table or a picture."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def table(wealth: Floats, weights: Floats, names: tuple[str, ...], steps: int) -> str:
    """Return the step, the wealth, and each weight with its worth, as text.

    wealth : float64[step + 1]; weights : float64[step + 1, assets + 1], cash last
    """
    step, now = len(wealth) - 1, float(wealth[-1])
    lines = [f"step {step} of {steps}   wealth {now:.4f}"]
    columns = [*names, "cash"]
    width = max(8, *(len(name) for name in columns))
    for label, cells in (
        ("", columns),
        ("weight", [f"{weight:.3f}" for weight in weights[-1]]),
        ("worth", [f"{weight * now:.4f}" for weight in weights[-1]]),
    ):
        lines.append(" ".join([f"{label:6}", *(f"{cell:>{width}}" for cell in cells)]))
    return "\n".join(lines)


def picture(
    wealth: Floats, weights: Floats, names: tuple[str, ...], steps: int
) -> NDArray[np.uint8]:
    """Draw wealth and weights over the episode so far: uint8[480, 640, 3]; shapes as above."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from marketsim.plot_style import AGENT_COLOURS, BARS, INK

    figure = Figure(figsize=(6.4, 4.8), dpi=100, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)  # matplotlib leaves it untyped
    above, below = figure.subplots(2, 1, sharex=True)
    time = np.arange(len(wealth))
    above.plot(time, wealth, color=INK, marker="o", markersize=3, markevery=[len(wealth) - 1])
    above.axhline(1.0, color=BARS, linewidth=0.8, zorder=0)
    above.set_ylabel("wealth (start = 1)")
    above.set_title(f"step {len(wealth) - 1} of {steps}: wealth {wealth[-1]:.4f}", fontsize=10)
    colours = [AGENT_COLOURS[asset % len(AGENT_COLOURS)] for asset in range(len(names))]
    parts: Any = weights.T
    below.stackplot(time, parts, labels=[*names, "cash"], colors=[*colours, BARS], step="post")
    below.set(xlim=(0, steps), ylim=(0, 1), xlabel="step", ylabel="weight")
    # The legend keeps beside the weights; beyond a dozen names it would cover the picture.
    if len(names) <= 12:
        below.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
