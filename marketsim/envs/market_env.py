"""An environment in which one learning agent trades in a simulated market."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from marketsim import checks
from marketsim.compile import direct
from marketsim.configs import SimulationConfig
from marketsim.envs.actions import checked_action
from marketsim.envs.background import Background, Start
from marketsim.envs.episodes import RENDER_MODES, MarketEpisodes
from marketsim.envs.learner import REWARD, TERMINATED, TRUNCATED
from marketsim.envs.seat import Seat
from marketsim.envs.stepping import step_market
from marketsim.envs.task import Task
from marketsim.kernel import BUDGET, DONE, GROW, NO_ROOM, advance_address
from marketsim.simulation import EVENTS_A_CALL
from marketsim.tape import Tape

LEARNER_NAME = "learner"
#: Of an environment, beside those of its task.
OWN_PARAMETERS = {"background", "start", "overrides", "data", "tape", "render_mode"}


class MarketEnv(MarketEpisodes, gymnasium.Env[NDArray[np.float32], Any]):
    """One agent with a :class:`~marketsim.envs.task.Task` in a market.

    Parameters
    ----------
    background : configuration of the market: name, path, mapping or ``SimulationConfig``.
    start : when episodes begin, "10:00" or nanoseconds since midnight; of a pair of times, a
        moment between them is drawn for each episode.
    overrides, data, tape : see :class:`~marketsim.envs.background.Background`.
    render_mode : None, "ansi" or "rgb_array".
    parameters : of the task.

    Each episode is a market of its own, whose seed is drawn from ``np_random``: equal seeds give
    equal episodes, in any process. The time before its start is simulated by :meth:`reset`; a
    market that then lacks a side of its book is left, and another one drawn. Environments can be
    copied and pickled, in the middle of an episode too.

    Raises
    ------
    ConfigError, DataError
        For an unknown background or parameter, a value out of range, an episode that does not lie
        within the session, data that cannot be read.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 4}
    task_type: ClassVar[type[Task]]

    def __init__(
        self,
        background: str | Path | Mapping[str, Any] | SimulationConfig | Background = "rmsc04",
        *,
        start: Start = "09:35",
        overrides: Mapping[str, Any] | None = None,
        data: Tape | None = None,
        tape: bool = False,
        render_mode: str | None = None,
        **parameters: Any,
    ) -> None:
        known = {field.name for field in fields(self.task_type)}
        checks.refuse_unknown(type(self).__name__, parameters, known | OWN_PARAMETERS)
        self.task = self.task_type(**parameters)
        MarketEpisodes.__init__(
            self, {LEARNER_NAME: self.task}, background, start, overrides, data, tape, render_mode
        )
        (self._seat,) = self._seats
        self.observation_space: Any = self.task.observation_space
        self.action_space: Any = self.task.action_space
        self._ready = False
        self._interval_ns = self.task.interval_ns
        self._look_up()

    _looked_up = ("_step_market", "_advance")

    def _look_up(self) -> None:
        self._step_market = direct(step_market, 8)
        self._advance = advance_address()

    # -- episodes ---------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode.

        Parameters
        ----------
        seed : of ``np_random``, from which the markets' seeds are drawn.
        options : ``{"start": "10:30"}`` – a time, or a pair of them, for this episode; or
            ``{"state": state}`` – go on from what :meth:`save_state` returned or wrote.

        Raises
        ------
        ConfigError
            For an unknown option, a start outside the session, markets without two sides then.
        """
        super().reset(seed=seed)
        self._begin(self.np_random, options)
        return self._seat.observation(), self._seat.info()

    def _resume(self) -> None:
        self._ready = not self._seat.ended

    def _stop(self) -> None:
        self._ready = False

    @property
    def _mid_seat(self) -> Seat:
        return self._seat

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Act, and run the market for ``interval``.

        Raises
        ------
        ActionError
            If the action is not in the action space.
        gymnasium.error.ResetNeeded
            Before the first reset and after an episode's end.
        """
        if not self._ready:
            raise ResetNeeded("step: call reset() first; no episode is under way")
        seat = self._seat
        checked_action(self.action_space, action, seat.row)
        simulation, task = self.simulation, self.task
        until_ns = simulation.now_ns + self._interval_ns
        act, advance, budget = task.act.address, self._advance, EVENTS_A_CALL
        self._ready = False  # should it be interrupted: nobody goes on in the middle of a step
        while True:
            code = self._step_market(
                advance, simulation._market.address, until_ns, budget,
                seat.agent, act, task.observe.address, seat.row_at,
            )  # fmt: skip
            if code == DONE:
                break
            if code == NO_ROOM:
                simulation._serve(GROW)
            else:
                act = 0
                if code != BUDGET:
                    simulation._serve(code)
        return self._result()

    def _result(self) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        seat = self._seat
        numbers = seat.row.tolist()
        terminated, truncated = numbers[TERMINATED] != 0.0, numbers[TRUNCATED] != 0.0
        self._ready = not (terminated or truncated)
        if self.render_mode is not None:
            self._note_mid()
        return seat.observation(), numbers[REWARD], terminated, truncated, seat.info(numbers)

    # -- what there is ----------------------------------------------------------------------

    def action_masks(self) -> NDArray[np.bool_]:
        """Which discrete actions would do something now, bool[n].

        Raises
        ------
        ActionError
            If the actions are continuous.
        """
        self.simulation  # noqa: B018 - there must be one
        return self.task.action_masks(self._seat.info())
