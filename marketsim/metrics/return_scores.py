"""Scores of generated windows by networks: told from real ones, and learned from in their place.

Each trains one or two small GRUs for a fixed number of steps; the same seed gives the same score.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from marketsim.checks import integer
from marketsim.data.return_windows import UNKNOWN_S, Windows
from marketsim.errors import DataError
from marketsim.metrics.returns import spread

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Stretches of time that windows are divided into, and which of each three are held out.
BLOCKS, HELD_OUT = 10, 1
#: Windows that a score needs, and that the discriminative one needs for training and for its test.
LEAST, LEAST_HELD_OUT = 30, 8


def discriminative_score(real: Windows, fake: Windows, *, seed: int = 0) -> float:
    """How well a GRU tells generated windows from real ones: ``|accuracy - 0.5|``, 0 to 0.5.

    It learns from as many windows of either kind and is tested on as many held-out ones. Held out
    are whole stretches of time (:func:`held_out`), so that no hour of a test window is trained on.
    0 is a coin's guess: nothing that the network can see tells them apart. Between real windows of
    different times it is not 0, as regimes differ.

    Raises
    ------
    DataError
        If shapes differ, real returns do not vary, there are fewer than 30 windows of a kind, or
        fewer than 8 that share no hour with held-out ones.
    ConfigError
        For a seed < 0.

    References
    ----------
    Yoon, Jarrett & van der Schaar (2019), Time-series generative adversarial networks, NeurIPS.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    from marketsim.metrics.return_network import scaled, train

    _refuse(seed, real=real, fake=fake)
    parts = [held_out(side) for side in (real, fake)]
    rows = []
    for part, name in enumerate(("learn from", "test on")):
        number = min(len(side[part]) for side in parts)
        if number < LEAST_HELD_OUT:
            raise DataError(
                f"windows: must be {LEAST_HELD_OUT} of each kind at least to {name} that share no "
                f"hour with others, were {number}"
            )
        rows.append([_evenly(side[part], number) for side in parts])
    deviation = spread(real.take(rows[0][0]), "real")
    windows, labels = [], []
    for ours, theirs in rows:
        both = np.concatenate([real.log_returns[ours], fake.log_returns[theirs]])
        windows.append(scaled(both, deviation))
        labels.append(torch.arange(len(both)) < len(ours))

    def loss(outputs: "Tensor", chosen: "Tensor") -> "Tensor":
        return binary_cross_entropy_with_logits(outputs.mean(dim=(1, 2)), labels[0][chosen].float())

    reader = train(windows[0], 1, loss, seed)
    called_real = reader.read(windows[1]).mean(dim=(1, 2)) > 0
    accuracy = float((called_real == labels[1]).double().mean())
    return abs(accuracy - 0.5)


def predictive_score(real: Windows, fake: Windows, *, seed: int = 0) -> float:
    """Error on real windows of a GRU that learned from generated ones to predict the next step.

    Mean absolute error over windows, steps and assets, each asset's in units of the standard
    deviation of its real returns: 0.8 is what a forecast of 0 makes of normal returns, less of
    returns with fat tails. As returns hardly depend on the past, windows without any movement score
    near that too: compare with the score of real training windows, given as ``fake``.

    Raises
    ------
    DataError, ConfigError
        If shapes differ, there are fewer than 30 windows of a kind or less than two steps, or real
        returns do not vary; for a seed < 0.
    """
    from torch.nn.functional import l1_loss

    from marketsim.metrics.return_network import scaled, train

    _refuse(seed, 2, real=real, fake=fake)
    deviation = spread(real, "real")
    lessons = scaled(fake.log_returns, deviation)

    def loss(outputs: "Tensor", chosen: "Tensor") -> "Tensor":
        return l1_loss(outputs, lessons[chosen, 1:])

    reader = train(lessons[:, :-1], len(real.symbols), loss, seed)
    forecast = reader.read(scaled(real.log_returns[:, :-1], deviation)).double().numpy()
    return float(np.abs(forecast - real.log_returns[:, 1:] / deviation).mean())


def tstr(train: Windows, test: Windows, fake: Windows, *, seed: int = 0) -> dict[str, float]:
    """Train on synthetic windows, test on real ones, beside training on real ones.

    A GRU says at each step from the returns so far whether the next one is up or down, for each
    asset. What it is to tell is thus no function of what it sees. Returns of 0 count for neither.

    Parameters
    ----------
    train, test : real windows; neither network sees those of the test
    fake : generated windows

    Returns
    -------
    dict
        ``real``, ``fake``: accuracy on the test windows of what learned from real training windows
        and from generated ones, 0.5 of what learned from windows that never move; ``ratio``: the
        second by the first; ``majority``: share of the more frequent direction, which asks for no
        learning.

    Raises
    ------
    DataError, ConfigError
        If shapes differ, there are fewer than 30 windows of a kind or less than two steps, or real
        returns do not vary; for a seed < 0.

    References
    ----------
    Esteban, Hyland & Rätsch (2017), Real-valued (medical) time series generation with recurrent
    conditional GANs, arXiv:1706.02633, algorithm 1.
    """
    _refuse(seed, 2, train=train, test=test, fake=fake)
    deviation = spread(train, "train")
    ups = test.log_returns[:, 1:][test.log_returns[:, 1:] != 0] > 0
    if not len(ups):
        raise DataError("test: returns must vary, all but the first of each window are 0")
    found = {name: _accuracy(side, test, deviation, seed) for name, side in
             (("real", train), ("fake", fake))}  # fmt: skip
    share = float(ups.mean())
    return found | {"ratio": found["fake"] / found["real"], "majority": max(share, 1 - share)}


def held_out(windows: Windows) -> tuple[Ints, Ints]:
    """Rows to train on and rows to test on, which share no hour.

    Windows are divided by time into ten stretches, three of which are held out; training windows
    that reach into one are left out. So are windows of unknown start, as they might share hours
    with others, unless all are unknown: their order then stands for time.
    """
    known = np.flatnonzero(windows.start_s != UNKNOWN_S)
    if not len(known):
        rows = np.arange(len(windows))
        held = rows * BLOCKS // len(rows) % 3 == HELD_OUT
        return rows[~held], rows[held]
    rows = known[np.argsort(windows.start_s[known], kind="stable")]
    held = np.arange(len(rows)) * BLOCKS // len(rows) % 3 == HELD_OUT
    start_s = windows.start_s[rows]
    length_s = windows.steps * windows.step_s
    tests = np.concatenate([[-np.inf], start_s[held], [np.inf]])
    after = np.searchsorted(tests, start_s)  # the first test window that starts no earlier
    apart = (tests[after] - start_s >= length_s) & (start_s - tests[after - 1] >= length_s)
    return rows[~held & apart], rows[held]


def _accuracy(lessons: Windows, test: Windows, deviation: Floats, seed: int) -> float:
    """Share of the next returns' directions that are told right; 0.5 if there is none to learn."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    from marketsim.metrics.return_network import scaled, train

    seen = scaled(lessons.log_returns, deviation)
    follow = seen[:, 1:]
    if not follow.any():
        return 0.5

    def loss(outputs: "Tensor", chosen: "Tensor") -> "Tensor":
        up, moves = (follow[chosen] > 0).float(), (follow[chosen] != 0).float()
        return binary_cross_entropy_with_logits(outputs, up, weight=moves)

    reader = train(seen[:, :-1], len(lessons.symbols), loss, seed)
    truth = test.log_returns[:, 1:]
    told = reader.read(scaled(test.log_returns[:, :-1], deviation)).numpy() > 0
    right: Floats = (told == (truth > 0))[truth != 0].astype(np.float64)
    return float(right.mean())


def _evenly(rows: Ints, number: int) -> Ints:
    """As many of these rows, evenly spread."""
    return rows[np.arange(number) * len(rows) // number]


def _refuse(seed: int, least_steps: int = 1, **sides: Windows) -> None:
    """Raise for a seed that is none, and for windows that are too few, too short or unlike."""
    integer("seed", seed, 0)
    first = next(iter(sides.values()))
    for name, side in sides.items():
        if side.log_returns.shape[1:] != first.log_returns.shape[1:]:
            raise DataError(
                f"{name}: must be of shape [n, {first.steps}, {len(first.symbols)}], as the real "
                f"windows, was {list(side.log_returns.shape)}"
            )
        if len(side) < LEAST:
            raise DataError(f"{name}: must be {LEAST} windows at least, were {len(side)}")
        if side.steps < least_steps:
            raise DataError(f"{name}: must have {least_steps} steps at least, had {side.steps}")
