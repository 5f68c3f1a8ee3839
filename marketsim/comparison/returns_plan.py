"""What is compared in a comparison of returns: windows, time-ordered splits of them, seeds."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from marketsim.checks import choice, integer
from marketsim.comparison.returns_measures import MEASURES
from marketsim.data.crypto import open_windows
from marketsim.data.return_windows import UNKNOWN_S, Windows
from marketsim.errors import DataError

#: Share of the windows in each test part.
TEST_SHARE = 0.15
#: Test parts that leave something to learn from before the first of them.
MOST_SPLITS = int((1 - 1e-9) / TEST_SHARE) - 1
#: Windows that a part needs: with fewer a tail of 5 % is less than one window.
LEAST_WINDOWS = 20


@dataclass(frozen=True)
class ReturnsPlan:
    """A comparison of generators of returns.

    Attributes
    ----------
    data : an archive of windows (.npz), or files of bars.
    window, stride, assets, price : of the windows that are made of bars.
    seeds : models of each row on each split.
    splits : test parts, the last one first; training is all that lies before one.
    bars : files of hourly bars for the tasks of forecasting and arbitrage; none leaves them out.
    folds : walks forward over those bars, the last one first.
    measures : what is measured, of :data:`marketsim.comparison.returns_measures.MEASURES`.
    train_steps : training budget by row or generator, where not its own.
    """

    data: tuple[str, ...]
    window: int = 24
    stride: int = 1
    assets: tuple[str, ...] | None = None
    price: str = "close"
    seeds: int = 3
    splits: int = 2
    bars: tuple[str, ...] = ()
    folds: int = 1
    measures: tuple[str, ...] = MEASURES
    train_steps: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        integer("seeds", self.seeds, 1)
        integer("splits", self.splits, 1, MOST_SPLITS)
        integer("folds", self.folds, 1)
        for name in self.measures:
            choice("measures", name, MEASURES)

    def open(self) -> Windows:
        """The windows.

        Raises
        ------
        ConfigError, DataError
            As :func:`marketsim.data.crypto.open_windows`.
        """
        return open_windows(self.data, self.window, self.stride, self.assets, self.price)


def split(windows: Windows, number: int) -> tuple[Windows, Windows]:
    """Windows to learn from and the test part after them; part 0 is the last in time.

    An hour lies between them: where prices are means of bars, neighbours share a bar. Windows of
    unknown start are taken to be the oldest.

    Raises
    ------
    DataError
        If a part has too few windows.
    """
    shares = [1 - TEST_SHARE * (number + 1), TEST_SHARE]
    if number:
        shares.append(TEST_SHARE * number)
    train, test = windows.split(*shares, purge_s=windows.step_s, unknown="first")[:2]
    for name, part in (("training", train), ("test", test)):
        if len(part) < LEAST_WINDOWS:
            raise DataError(
                f"windows: too few to compare on split {number}: its {name} part has {len(part)}"
                f" of {len(windows)}, needs {LEAST_WINDOWS}"
            )
    return train, test


def digest(windows: Windows) -> str:
    """What tells these windows from others, 32 hex digits."""
    found = hashlib.sha256(repr((windows.symbols, windows.step_s)).encode())
    for part in (windows.log_returns, windows.initial_prices, windows.start_s):
        found.update(np.ascontiguousarray(part).tobytes())
    return found.hexdigest()[:32]


def dates(windows: Windows) -> dict[str, Any]:
    """How many windows, and from when to when the known ones start."""
    known = windows.start_s[windows.start_s != UNKNOWN_S]
    ends = (
        [str(np.datetime64(int(end), "s"))[:10] for end in (known.min(), known.max())]
        if len(known)
        else [None, None]
    )
    return {"windows": len(windows), "from": ends[0], "to": ends[1]}
