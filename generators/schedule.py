"""How much noise a diffusion adds by which step, and which steps a sampler takes."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Offset of the cosine schedule, and the largest beta: Nichol & Dhariwal (2021), section 3.2.
COSINE_OFFSET, MAX_BETA = 0.008, 0.999


def cosine_alpha_bar(steps: int) -> Floats:
    """Share of the data's variance left after each step, float64[steps + 1], from 1 to nearly 0.

    References: Nichol & Dhariwal (2021), eq. 17, beta clipped.
    """
    at = np.arange(steps + 1) / steps
    f = np.cos((at + COSINE_OFFSET) / (1 + COSINE_OFFSET) * np.pi / 2) ** 2
    beta = np.minimum(1 - f[1:] / f[:-1], MAX_BETA)
    return np.concatenate([[1.0], np.cumprod(1 - beta)])


def trailing_steps(steps: int, count: int) -> list[int]:
    """``count`` of the steps T to 1 at equal distances, T always among them.

    References: Lin et al. (2024), section 3.3: to start at t < T leaves signal in the noise.
    """
    if not 1 <= count <= steps:
        raise ValueError(f"sampling steps must be 1 to {steps}, was {count}")
    return [round(steps - place * steps / count) for place in range(count)]
