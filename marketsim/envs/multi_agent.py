"""Several learning agents in one market: a parallel environment of PettingZoo.

References: Terry et al. (2021), "PettingZoo: gym for multi-agent reinforcement learning"
"""

import difflib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from numpy.typing import NDArray

from marketsim import checks
from marketsim.configs import SimulationConfig
from marketsim.envs.actions import checked_action
from marketsim.envs.background import Background, Start
from marketsim.envs.episodes import OPTIONS, RENDER_MODES, MarketEpisodes
from marketsim.envs.learner import REWARD, TERMINATED, TRUNCATED
from marketsim.envs.market_env import LEARNER_NAME
from marketsim.envs.registration import task_named
from marketsim.envs.seat import Seat
from marketsim.envs.stepping import ACTION_MESSAGES, TO_ACT, step_markets
from marketsim.envs.task import Task
from marketsim.errors import ActionError, ConfigError
from marketsim.kernel import BUDGET, advance_address
from marketsim.simulation import EVENTS_A_CALL
from marketsim.tape import Tape

try:
    from pettingzoo import ParallelEnv
except ImportError:  # said when one is asked for
    if not TYPE_CHECKING:
        ParallelEnv = None

if TYPE_CHECKING:
    from pettingzoo import AECEnv

#: Who there is when nobody is named.
DEFAULT_AGENTS: Mapping[str, Mapping[str, Any]] = {
    "buyer_0": {"task": "execution", "side": "buy"},
    "seller_0": {"task": "execution", "side": "sell"},
}
Dicts = tuple[
    dict[str, NDArray[np.float32]],
    dict[str, float],
    dict[str, bool],
    dict[str, bool],
    dict[str, dict[str, Any]],
]


class MultiAgentEnv(MarketEpisodes, ParallelEnv or object):  # type: ignore[misc]
    """Learning agents, each with a :class:`~marketsim.envs.task.Task`, in one market.

    Parameters
    ----------
    agents : by name, a task, or the name of one with its parameters:
        ``{"buyer": {"task": "execution", "side": "buy"}, "maker": {"task": "market_making"}}``;
        None is a buyer and a seller.
    background, start, overrides, data, tape, render_mode : as those of
        :class:`~marketsim.envs.market_env.MarketEnv`.
    interval : time between two actions, of the agents that do not give theirs; all must have the
        same. None is each task's own.

    At each step all agents act at the same instant, and their messages leave in the order of
    ``agents``; the market runs for ``interval``; then all of them look. An agent whose episode ends
    leaves ``agents``: its orders are taken back, and the others go on. ``infos`` hold, beside what
    the task tells, an ``action_mask`` int8[n] where actions are discrete.

    It needs the extra ``marl`` and is no environment of gymnasium's registry: make it by this
    class, by :func:`parallel_env`, or by :func:`aec_env`, one agent at a time.

    Raises
    ------
    ConfigError, DataError
        If pettingzoo is not installed; for no agents, an unknown task or parameter, intervals that
        differ; and as the environment of one agent.
    """

    metadata: dict[str, Any] = {
        "name": "marketsim_multi_agent_v0",
        "render_modes": list(RENDER_MODES),
        "render_fps": 4,
        "is_parallelizable": True,
    }

    def __init__(
        self,
        agents: Mapping[str, Task | Mapping[str, Any]] | None = None,
        *,
        background: str | Path | Mapping[str, Any] | SimulationConfig | Background = "rmsc04",
        start: Start = "09:35",
        overrides: Mapping[str, Any] | None = None,
        data: Tape | None = None,
        tape: bool = False,
        render_mode: str | None = None,
        interval: str | int | None = None,
    ) -> None:
        if ParallelEnv is None:
            raise ConfigError(
                "MultiAgentEnv: pettingzoo is not installed; pip install 'marketsim-lob[marl]'"
            )
        tasks = _tasks(DEFAULT_AGENTS if agents is None else agents, interval)
        MarketEpisodes.__init__(
            self,
            {f"{LEARNER_NAME}-{name}": task for name, task in tasks.items()},
            background, start, overrides, data, tape, render_mode,
        )  # fmt: skip
        self.tasks = tasks
        self.possible_agents = list(tasks)
        self.agents: list[str] = []
        self._places = dict(zip(tasks, self._seats, strict=True))
        self.observation_spaces = {name: task.observation_space for name, task in tasks.items()}
        self.action_spaces = {name: task.action_space for name, task in tasks.items()}
        width = sum(len(task.observed) for task in tasks.values())
        #: Of :meth:`state`.
        self.state_space = spaces.Box(-1.0, 1.0, (width,), np.float32)
        self._rng: np.random.Generator | None = None
        self._interval_ns = self._seats[0].task.interval_ns
        self._look_up()

    _looked_up = ("_advance", "_learners")

    def _look_up(self) -> None:
        self._advance = advance_address()
        self._learners = np.zeros((1, len(self._seats), 4), np.int64)
        for place, seat in zip(self._learners[0], self._seats, strict=True):
            place[:] = seat.agent, seat.task.act.address, seat.task.observe.address, seat.row_at

    # -- spaces -----------------------------------------------------------------------------

    def observation_space(self, agent: str) -> spaces.Box:
        """What an agent sees; the same object at each call."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """What an agent may be asked; the same object at each call."""
        return self.action_spaces[agent]

    # -- episodes ---------------------------------------------------------------------------

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, dict[str, Any]]]:
        """Begin an episode of all agents.

        Parameters
        ----------
        seed : of the random stream from which the markets' seeds are drawn; None goes on with it.
        options : ``start`` and ``state`` as of
            :meth:`MarketEnv.reset <marketsim.envs.market_env.MarketEnv.reset>`. Others are for
            wrappers and left alone, as PettingZoo has it, but not one that looks like a slip.

        Raises
        ------
        ConfigError
            For a start outside the session, markets without two sides then.
        """
        if seed is not None or self._rng is None:
            self._rng, _ = seeding.np_random(seed)
        self._begin(self._rng, options)
        return self._observations(self.agents), self._infos(self.agents)

    def _checked_options(self, options: Any) -> dict[str, Any]:
        given = checks.mapping("options", options)
        slips = [name for name in given if difflib.get_close_matches(name, OPTIONS)]
        checks.refuse_unknown("options", slips, OPTIONS)
        return given

    def _resume(self) -> None:
        block = self._address
        self.agents = [
            name
            for name, seat in self._places.items()
            if not seat.ended and not seat.is_away(block)
        ]

    def _stop(self) -> None:
        self.agents = []

    @property
    def _mid_seat(self) -> Seat:
        """The first agent still there in the symbol of the picture."""
        first = self._seats[0]
        for name in self.agents:
            if self._places[name].task.symbol == first.task.symbol:
                return self._places[name]
        return first

    def step(self, actions: Mapping[str, Any]) -> Dicts:
        """All agents act, and the market runs for ``interval``.

        Parameters
        ----------
        actions : one for each of ``agents``.

        Returns
        -------
        Observations, rewards, terminations, truncations and infos of the agents that acted.

        Raises
        ------
        ActionError
            If an action is missing, not in its space, or of nobody who is there; nothing has moved.
        gymnasium.error.ResetNeeded
            Before the first reset, and when all agents have left.
        """
        acting = self.agents
        if not acting:
            raise ResetNeeded("step: call reset() first; no agent is in an episode")
        self._check_actions(actions)
        self._run(acting)
        rows = {name: self._places[name].row for name in acting}
        terminated = {name: bool(row[TERMINATED]) for name, row in rows.items()}
        truncated = {name: bool(row[TRUNCATED]) for name, row in rows.items()}
        self._let_go([name for name in acting if terminated[name] or truncated[name]])
        if self.render_mode is not None:
            self._note_mid()
        rewards = {name: float(row[REWARD]) for name, row in rows.items()}
        return self._observations(acting), rewards, terminated, truncated, self._infos(acting)

    def _check_actions(self, actions: Mapping[str, Any]) -> None:
        """Write the actions into the rows."""
        if not isinstance(actions, Mapping):
            raise ActionError(f"actions must be a mapping of agents to actions, was {actions!r}")
        for name in actions:
            if name not in self._places:
                hint = checks.did_you_mean(str(name), self.agents)
                raise ActionError(f"actions: there is no agent {name!r}{hint}")
            if name not in self.agents:
                raise ActionError(f"actions: the episode of {name!r} is over; it takes none")
        for name in self.agents:
            if name not in actions:
                raise ActionError(f"actions must hold one of each agent, had none of {name!r}")
            try:
                checked_action(self.action_spaces[name], actions[name], self._places[name].row)
            except ActionError as error:
                raise ActionError(f"actions[{name!r}]: {error}") from None

    def _run(self, acting: list[str]) -> None:
        """Let these agents act, run the market, and let them look."""
        self._stop()  # should it be interrupted: nobody goes on in the middle of a step
        for place, (name, seat) in zip(self._learners[0], self._places.items(), strict=True):
            place[0] = seat.agent if name in acting else -1
        simulation = self.simulation
        blocks, until_ns, stages, codes = np.zeros((4, 1), np.int64)
        blocks[0], stages[0] = self._address, TO_ACT
        while step_markets(
            self._advance, blocks, self._learners, self._interval_ns, EVENTS_A_CALL,
            until_ns, stages, codes,
        ):  # fmt: skip
            if codes[0] != BUDGET:
                simulation._serve(int(codes[0]))
            blocks[0] = self._address
        self.agents = acting

    def _let_go(self, gone: list[str]) -> None:
        """These agents have come to their end; the market goes on if there are others."""
        if not gone:
            return
        self.agents = [name for name in self.agents if name not in gone]
        if not self.agents:
            return
        for name in gone:
            self.simulation._market.reserve_messages(ACTION_MESSAGES)
            self._places[name].leave(self._address)

    def _observations(self, names: list[str]) -> dict[str, NDArray[np.float32]]:
        return {name: self._places[name].observation() for name in names}

    def _infos(self, names: list[str]) -> dict[str, dict[str, Any]]:
        infos = {name: self._places[name].info() for name in names}
        for name, info in infos.items():
            if isinstance(self.action_spaces[name], spaces.Discrete):
                info["action_mask"] = self.tasks[name].action_masks(info).astype(np.int8)
        return infos

    # -- what there is ----------------------------------------------------------------------

    def state(self) -> NDArray[np.float32]:
        """What all agents see, one behind the other; zeros of those that have left.

        Raises
        ------
        gymnasium.error.ResetNeeded
            Before the first reset.
        """
        self.simulation  # noqa: B018 - there must be one
        parts = [
            seat.observation() * np.float32(name in self.agents)
            for name, seat in self._places.items()
        ]
        return np.concatenate(parts)

    def action_masks(self, agent: str) -> NDArray[np.bool_]:
        """Which discrete actions of an agent would do something now, bool[n].

        Raises
        ------
        ActionError
            If its actions are continuous.
        """
        self.simulation  # noqa: B018 - there must be one
        return self.tasks[agent].action_masks(self._places[agent].info())


def _tasks(
    agents: Mapping[str, Task | Mapping[str, Any]], interval: str | int | None
) -> dict[str, Task]:
    """The tasks by name, all with the same interval."""
    entries = checks.mapping("agents", agents)
    if not entries:
        raise ConfigError("agents must name at least one agent, was empty")
    tasks = {checks.text("agents", name): _task(name, entries[name], interval) for name in entries}
    first, *others = tasks
    for name in others:
        if tasks[name].interval_ns != tasks[first].interval_ns:
            raise ConfigError(
                f"agents.{name}: interval must be that of {first!r}, {tasks[first].interval!r},"
                f" was {tasks[name].interval!r}; give one to the environment: interval="
            )
    return tasks


def _task(name: str, entry: Any, interval: str | int | None) -> Task:
    """The task of one agent."""
    if isinstance(entry, Task):
        return entry
    parameters = checks.mapping(f"agents.{name}", entry)
    if "task" not in parameters:
        raise ConfigError(f"agents.{name}: needs a task, such as 'execution', had none")
    try:
        kind = task_named(parameters.pop("task"))
        checks.refuse_unknown("", parameters, [field.name for field in fields(kind)])
        if interval is not None:
            parameters.setdefault("interval", interval)
        return kind(**parameters)
    except ConfigError as error:
        raise ConfigError(f"agents.{name}: {error}") from None


def parallel_env(**parameters: Any) -> MultiAgentEnv:
    """A :class:`MultiAgentEnv`, by the name that PettingZoo's users look for."""
    return MultiAgentEnv(**parameters)


def aec_env(**parameters: Any) -> "AECEnv":
    """A :class:`MultiAgentEnv` whose agents are asked one after the other: PettingZoo's AEC form.

    The market moves when the last of them has said what it does.
    """
    env = MultiAgentEnv(**parameters)
    from pettingzoo.utils import parallel_to_aec

    return parallel_to_aec(env)
