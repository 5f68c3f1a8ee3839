"""Long paths of returns, of windows that follow on from each other."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from marketsim.checks import integer
from marketsim.errors import ConfigError

Floats = NDArray[np.float32]

#: By how much less each step further back counts when ends are compared.
FADING = 0.7


def joined(
    draw: Callable[[int], Floats], n: int, steps: int, overlap: int, candidates: int
) -> Floats:
    """Paths of windows, each of which goes on from one that begins as the path ends.

    At each seam windows are drawn anew; each path takes the one whose first ``overlap`` returns are
    most like its own last ones, and goes on with what follows them. The latest returns count most,
    and how much the ends move in all counts as much as any of them: a calm path goes on calm.

    Parameters
    ----------
    draw : draws windows float32[m, T, d], of any number m
    n, steps : of the paths
    overlap : returns that are compared, below T; 0 puts windows side by side as they come
    candidates : windows that are drawn at each seam, and from which the paths choose

    Returns
    -------
    float32[n, steps, d]

    Raises
    ------
    ConfigError
        If a number is out of range.
    """
    integer("n", n, 1)
    integer("steps", steps, 1)
    integer("candidates", candidates, 1)
    path = draw(n)
    length = path.shape[1]
    if not 0 <= integer("overlap", overlap, 0) < length:
        raise ConfigError(f"overlap must be >= 0 and < {length}, a window's steps, was {overlap}")
    scale = path.std(axis=(0, 1)) + np.float32(1e-12)
    while path.shape[1] < steps:
        if not overlap:
            path = np.concatenate([path, draw(n)], axis=1)
            continue
        found = draw(candidates)
        ends, begins = (_seen(part / scale) for part in (path[:, -overlap:], found[:, :overlap]))
        distance = (ends**2).sum(1)[:, None] + (begins**2).sum(1) - 2 * ends @ begins.T
        path = np.concatenate([path, found[distance.argmin(axis=1), overlap:]], axis=1)
    return path[:, :steps]


def _seen(ends: Floats) -> Floats:
    """What is compared of scaled ends float32[m, k, d]: float32[m, k d + d]."""
    weights = FADING ** np.arange(ends.shape[1])[::-1] / 2
    level = np.log(np.sqrt((ends**2).mean(axis=1)) + 0.05)
    flat = (ends * weights[:, None]).reshape(len(ends), -1)
    return np.concatenate([flat, level], axis=1).astype(np.float32)
