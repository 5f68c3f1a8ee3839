"""What a learning agent is there to do: its spaces, rewards and compiled code."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from marketsim import checks
from marketsim.clock import NS_PER_DAY, parse_span
from marketsim.compile import Callback
from marketsim.envs.learner import COMMON_WORDS, LEARNER, _wake
from marketsim.errors import ActionError, ConfigError
from marketsim.population import Population, columns
from marketsim.records import WORD


@dataclass(frozen=True)
class Task(Population):
    """Base class of tasks: a population of one, moved from outside.

    Parameters
    ----------
    interval : time between two actions.
    window : length of an episode, a multiple of ``interval``.
    latency_ns : of its messages; None is the market's own model.
    computation_delay_ns : before each of its messages; None is the market's own.
    symbol : that it trades; None is the market's first.

    A subclass sets callbacks ``(m, agent, row) -> int`` over a row of numbers (its places are in
    :mod:`marketsim.envs.learner`): ``begin`` (returns 0 if the market has no price yet), ``act``,
    ``observe`` after a step, ``show`` at any other time; ``own`` (columns of its state),
    ``observed`` (names of what it sees, each from -1 to 1) and ``told`` (names and types of
    ``info``, which follow the observation in the row).
    """

    interval: str | int = "10s"
    window: str | int = "10min"
    latency_ns: int | None = None
    computation_delay_ns: int | None = None
    symbol: str | None = None
    wake, state = _wake, LEARNER
    hears_fills: ClassVar[bool] = True
    wants_answers: ClassVar[bool] = True
    wants_acceptances: ClassVar[bool] = False
    begin: ClassVar[Callback]
    act: ClassVar[Callback]
    observe: ClassVar[Callback]
    show: ClassVar[Callback]
    own: ClassVar[np.dtype[Any]] = columns()
    observed: ClassVar[tuple[str, ...]]
    told: ClassVar[Mapping[str, type]]

    def __post_init__(self) -> None:
        interval_ns, window_ns = self.interval_ns, self.window_ns
        if interval_ns < 1:
            raise ConfigError(f"interval must be > 0, was {self.interval!r}")
        if window_ns < interval_ns or window_ns % interval_ns:
            raise ConfigError(
                f"window must be a multiple of interval {self.interval!r}, was {self.window!r}"
            )
        for field in ("latency_ns", "computation_delay_ns"):
            if getattr(self, field) is not None:
                checks.integer(field, getattr(self, field), 0, NS_PER_DAY)
        if self.symbol is not None:
            checks.text("symbol", self.symbol)

    @property
    def interval_ns(self) -> int:
        """Time between two actions."""
        return parse_span(self.interval, "interval")

    @property
    def window_ns(self) -> int:
        """Length of an episode."""
        return parse_span(self.window, "window")

    @property
    def steps(self) -> int:
        """Actions in an episode, at most."""
        return self.window_ns // self.interval_ns

    @property
    def extra_words(self) -> int:
        """Behind the learner's own state: its two orders, and what the task keeps."""
        return COMMON_WORDS + (self.own.itemsize - self.state.itemsize) // WORD.itemsize

    @property
    def observation_space(self) -> spaces.Box:
        """Every number from -1 to 1."""
        return spaces.Box(-1.0, 1.0, (len(self.observed),), np.float32)

    @property
    @abstractmethod
    def action_space(self) -> spaces.Space[Any]:
        """What may be asked of it."""

    def action_masks(self, info: Mapping[str, Any]) -> NDArray[np.bool_]:
        """Which of its discrete actions would do something, bool[..., n].

        ``info``: of the last step, of one environment or columns of many.
        """
        space = self.action_space
        if not isinstance(space, spaces.Discrete):
            raise ActionError(f"action_masks: only with discrete actions, was {space}")
        return np.ones((*np.shape(next(iter(info.values()))), int(space.n)), np.bool_)
