"""Episodes in simulated markets: what environments of one learning agent and of many share."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from gymnasium.error import ResetNeeded

from marketsim import checks
from marketsim.clock import format_time
from marketsim.configs import SimulationConfig
from marketsim.envs.background import Background, Start
from marketsim.envs.neighbours import Place
from marketsim.envs.seat import Seat
from marketsim.envs.task import Task
from marketsim.errors import ConfigError, StateError
from marketsim.simulation import Simulation
from marketsim.tape import Tape

RENDER_MODES = ("ansi", "rgb_array")
OPTIONS = ("start", "state")
#: Markets that a reset tries before it says that there are never two sides at the start.
DRAWS = 10


class MarketEpisodes:
    """Base class: one market an episode, with a learning agent in each seat.

    Parameters
    ----------
    tasks : by the agents' names in the market.
    background, start, overrides, data, tape, render_mode : as those of
        :class:`~marketsim.envs.market_env.MarketEnv`.

    Raises
    ------
    ConfigError, DataError
        See there.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task],
        background: str | Path | Mapping[str, Any] | SimulationConfig | Background,
        start: Start,
        overrides: Mapping[str, Any] | None,
        data: Tape | None,
        tape: bool,
        render_mode: str | None,
    ) -> None:
        if render_mode is not None:
            checks.choice("render_mode", render_mode, RENDER_MODES)
        self.render_mode = render_mode
        if not isinstance(background, Background):
            background = Background(background, overrides, data, tape)
        elif overrides or data is not None or tape:
            raise ConfigError("background: overrides, data and tape belong to it, were given too")
        self.background = background
        for task in tasks.values():
            background.check_symbol(task.symbol)
        self._seats = [
            Seat(name, task, background.agents_count + number)
            for number, (name, task) in enumerate(tasks.items())
        ]
        self._window_ns = max(task.window_ns for task in tasks.values())
        self._start_ns = background.start_range(start, self._window_ns)
        self._simulation: Simulation | None = None
        #: Where a vector environment wants the market's block.
        self._place: Place | None = None
        self._mids: list[tuple[int, float]] = []

    def __getstate__(self) -> dict[str, Any]:
        # Machine code and its addresses are of this process.
        kept = {name: value for name, value in vars(self).items() if name not in self._looked_up}
        return {**kept, "_place": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._look_up()

    # -- what a subclass writes -------------------------------------------------------------

    #: Attributes that :meth:`_look_up` sets, of which copies and pickles need their own.
    _looked_up: ClassVar[tuple[str, ...]]

    @abstractmethod
    def _look_up(self) -> None:
        """Find the machine code of a step, and its addresses."""

    @abstractmethod
    def _resume(self) -> None:
        """Go on from what the rows show, of a new episode or of a state."""

    @abstractmethod
    def _stop(self) -> None:
        """There is no episode under way."""

    @property
    @abstractmethod
    def _mid_seat(self) -> Seat:
        """Whose mid-price is in the picture."""

    # -- episodes ---------------------------------------------------------------------------

    def _checked_options(self, options: Any) -> dict[str, Any]:
        """Options of a reset; those that nobody knows are refused."""
        known = checks.mapping("options", options)
        checks.refuse_unknown("options", known, OPTIONS)
        return known

    def _begin(self, rng: np.random.Generator, options: Any) -> None:
        """Begin an episode: a new market, or a state.

        Raises
        ------
        ConfigError
            For an unknown option, a start outside the session; if none of :data:`DRAWS` markets
            has two sides then.
        """
        self._stop()
        options = self._checked_options(options)
        if "state" in options:
            if "start" in options:
                raise ConfigError("options: give start or state, were both")
            self.load_state(options["state"])
            return
        first_ns, last_ns = self._start_ns
        if "start" in options:
            first_ns, last_ns = self.background.start_range(options["start"], self._window_ns)
        for _ in range(DRAWS):
            market_seed = int(rng.integers(2**63))
            start_ns = first_ns
            if last_ns > first_ns:
                start_ns = int(rng.integers(first_ns, last_ns + 1))
            simulation = self.background.market(market_seed, self._tasks)
            simulation._advance_to(start_ns, None)
            self._enter(simulation)
            if all(seat.begin(self._address) for seat in self._seats):
                self._show()
                return
        raise ConfigError(
            f"start: none of {DRAWS} markets has two sides at {format_time(start_ns)}, or when"
            " else they were to start; start later"
        )

    @property
    def _tasks(self) -> dict[str, Task]:
        return {seat.name: seat.task for seat in self._seats}

    def _enter(self, simulation: Simulation | None) -> None:
        """Let the market go that there is, if any, and take another, or none."""
        if self._place is not None and self._simulation is not None:
            self._place.let_go(self._simulation)
        self._simulation = simulation
        self._mids = []
        if self._place is not None and simulation is not None:
            self._place.take(simulation)

    def _settle(self, place: Place) -> None:
        """Keep the market's block in a place from now on."""
        self._place = place
        if self._simulation is not None:
            place.take(self._simulation)

    @property
    def _address(self) -> int:
        return self.simulation._market.address

    def _show(self) -> None:
        """Let the tasks write what there is to see."""
        for seat in self._seats:
            seat.show(self._address)
        self._resume()
        self._note_mid()

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

    def save_state(self, path: str | Path | None = None) -> Simulation:
        """The whole state of the episode: a fork of its market, from which any number can go on.

        The environment's own random stream is not in it, from which later episodes' seeds come.

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
            If it is not a state of an environment with these tasks and this background.
        DataError
            If the file is missing or damaged.
        """
        tasks = self._tasks
        if isinstance(state, Simulation):
            simulation = state.fork()
        elif isinstance(state, str | Path):
            simulation = Simulation.load(state, tasks, self.background.data)
        else:
            raise StateError(f"state must be of save_state() or its file, was {state!r}")
        theirs = {name: simulation.agent(name) for name in simulation.given_agents}
        if list(theirs.items()) != list(tasks.items()):
            wanted = ", ".join(str(task) for task in tasks.values())
            raise StateError(f"state: must be of an environment with the same tasks, {wanted}")
        self.background.check_state(simulation)
        self._enter(simulation)
        self._show()

    # -- pictures ---------------------------------------------------------------------------

    def _note_mid(self) -> None:
        seat = self._mid_seat
        if self.render_mode == "rgb_array" and "mid_ticks" in seat.task.told:
            self._mids.append((self.simulation.now_ns, seat.info()["mid_ticks"]))

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
            return as_text(self.simulation, self._seats)
        return as_picture(self.simulation, self._seats, self._mids)

    def close(self) -> None:
        """Let the market go; calling it again does nothing."""
        self._enter(None)
        self._stop()
