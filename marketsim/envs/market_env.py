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
from marketsim.clock import format_time
from marketsim.compile import direct
from marketsim.configs import SimulationConfig
from marketsim.envs.actions import checked_action
from marketsim.envs.background import Background, Start
from marketsim.envs.learner import OBSERVATION, REWARD, TERMINATED, TRUNCATED
from marketsim.envs.stepping import call_learner, step_market
from marketsim.envs.task import Task
from marketsim.errors import ConfigError, StateError
from marketsim.kernel import BUDGET, DONE, GROW, NO_ROOM, advance_address
from marketsim.simulation import EVENTS_A_CALL, Simulation
from marketsim.tape import Tape

LEARNER_NAME = "learner"
_OPTIONS = ("start", "state")


class MarketEnv(gymnasium.Env[NDArray[np.float32], Any]):
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
    equal episodes, in any process. The time before its start is simulated by :meth:`reset`.

    Raises
    ------
    ConfigError, DataError
        For an unknown background or parameter, a value out of range, an episode that does not lie
        within the session, data that cannot be read.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}
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
        known = [field.name for field in fields(self.task_type)]
        checks.refuse_unknown(type(self).__name__, parameters, known)
        self.task = self.task_type(**parameters)
        if render_mode is not None:
            checks.choice("render_mode", render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        if not isinstance(background, Background):
            background = Background(background, overrides, data, tape)
        self.background = background
        background.check_symbol(self.task.symbol)
        self._window_ns = self.task.window_ns
        self._start_ns = background.start_range(start, self._window_ns)
        self.observation_space: Any = self.task.observation_space
        self.action_space: Any = self.task.action_space
        self._simulation: Simulation | None = None
        self._ready = False
        self._interval_ns = self.task.interval_ns
        self._agent = background.agents_count
        self._mids: list[tuple[int, float]] = []
        self._seen = slice(OBSERVATION, OBSERVATION + len(self.task.observed))
        self._told = [(name, kind) for name, kind in self.task.told.items()]
        self._bind(np.zeros(self.row_width))
        self._step_market = direct(step_market, 8)
        self._call = direct(call_learner, 4)
        self._advance = advance_address()

    @property
    def row_width(self) -> int:
        """Numbers of a row: action, reward, ends, observation, information."""
        return self._seen.stop + len(self._told)

    def _bind(self, row: NDArray[np.float64]) -> None:
        """Keep what is seen in this row, which outlives the environment."""
        self._row, self._row_at = row, int(row.ctypes.data)

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
            For an unknown option, a start outside the session, a market without quotes then.
        """
        super().reset(seed=seed)
        options = checks.mapping("options", options)
        checks.refuse_unknown("options", options, _OPTIONS)
        self._ready = False
        if "state" in options:
            if "start" in options:
                raise ConfigError("options: give start or state, were both")
            self.load_state(options["state"])
            return self._observation(), self._info()
        first_ns, last_ns = self._start_ns
        if "start" in options:
            first_ns, last_ns = self.background.start_range(options["start"], self._window_ns)
        market_seed = int(self.np_random.integers(2**63))
        start_ns = first_ns
        if last_ns > first_ns:
            start_ns = int(self.np_random.integers(first_ns, last_ns + 1))
        simulation = self.background.market(market_seed, {LEARNER_NAME: self.task})
        simulation._advance_to(start_ns, None)
        self._enter(simulation)
        if not self._call(self.task.begin.address, self._address, self._agent, self._row_at):
            raise ConfigError(
                f"start: the market has not two sides yet at {format_time(start_ns)}; start later"
            )
        self._show()
        return self._observation(), self._info()

    def _enter(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._mids = []

    @property
    def _address(self) -> int:
        return self.simulation._market.address

    def _show(self) -> None:
        """Let the task write what there is to see."""
        self._call(self.task.show.address, self._address, self._agent, self._row_at)
        self._ready = not (self._row[TERMINATED] or self._row[TRUNCATED])
        self._note_mid()

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
        checked_action(self.action_space, action, self._row)
        simulation, task = self.simulation, self.task
        until_ns = simulation.now_ns + self._interval_ns
        act, advance, budget = task.act.address, self._advance, EVENTS_A_CALL
        while True:
            code = self._step_market(
                advance, simulation._market.address, until_ns, budget,
                self._agent, act, task.observe.address, self._row_at,
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
        numbers = self._row.tolist()
        terminated, truncated = numbers[TERMINATED] != 0.0, numbers[TRUNCATED] != 0.0
        self._ready = not (terminated or truncated)
        if self.render_mode is not None:
            self._note_mid()
        info = self._info(numbers)
        return self._observation(), numbers[REWARD], terminated, truncated, info

    def _observation(self) -> NDArray[np.float32]:
        return self._row[self._seen].astype(np.float32)

    def _info(self, numbers: list[float] | None = None) -> dict[str, Any]:
        told = (self._row.tolist() if numbers is None else numbers)[self._seen.stop :]
        pairs = zip(self._told, told, strict=True)
        return {name: int(value) if kind is int else value for (name, kind), value in pairs}

    # -- what there is ----------------------------------------------------------------------

    @property
    def simulation(self) -> Simulation:
        """The market of this episode.

        Raises
        ------
        gymnasium.error.ResetNeeded
            Before the first reset, and after :meth:`close`.
        """
        if self._simulation is None:
            raise ResetNeeded("simulation: call reset() first; there is no market yet")
        return self._simulation

    def action_masks(self) -> NDArray[np.bool_]:
        """Which discrete actions would do something now, bool[n].

        Raises
        ------
        ActionError
            If the actions are continuous.
        """
        self.simulation  # noqa: B018 - there must be one
        return self.task.action_masks(self._info())

    def save_state(self, path: str | Path | None = None) -> Simulation:
        """The whole state of the episode: a fork of its market, from which any number can go on.

        ``np_random`` is not in it: the seeds of later episodes are this environment's own.

        Parameters
        ----------
        path : file to write it to as well.

        Raises
        ------
        gymnasium.error.ResetNeeded
            Before the first reset.
        StateError, DataError
            If an agent of the background cannot be copied; if the file cannot be written.
        """
        state = self.simulation.fork()
        if path is not None:
            state.save(path)
        return state

    def load_state(self, state: Simulation | str | Path) -> None:
        """Go on from a state that :meth:`save_state` returned, or wrote to this file.

        Raises
        ------
        StateError
            If it is not a state of an environment with this task and background.
        DataError
            If the file is missing or damaged.
        """
        if isinstance(state, Simulation):
            simulation = state.fork()
        elif isinstance(state, str | Path):
            simulation = Simulation.load(state, {LEARNER_NAME: self.task}, self.background.data)
        else:
            raise StateError(f"state must be of save_state() or its file, was {state!r}")
        names = simulation.agent_names
        if LEARNER_NAME not in names or simulation.agent(LEARNER_NAME) != self.task:
            raise StateError(f"state: must be of an environment with the same task, {self.task}")
        self.background.check_state(simulation)
        self._enter(simulation)
        self._show()

    # -- pictures ---------------------------------------------------------------------------

    def _note_mid(self) -> None:
        if self.render_mode == "rgb_array" and "mid_ticks" in self.task.told:
            self._mids.append((self.simulation.now_ns, self._info()["mid_ticks"]))

    def render(self) -> Any:
        """The book and the episode so far: text, or a picture uint8[height, width, 3].

        Raises
        ------
        gymnasium.error.ResetNeeded
            Before the first reset.
        """
        if self.render_mode is None:
            return None
        from marketsim.envs.render import as_picture, as_text

        if self.render_mode == "ansi":
            return as_text(self)
        return as_picture(self, self._mids)

    def close(self) -> None:
        """Let the market go; calling it again does nothing."""
        self._simulation = None
        self._ready = False
