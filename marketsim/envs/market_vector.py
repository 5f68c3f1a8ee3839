"""Many markets with a learning agent each, stepped by one call of compiled code."""

from typing import Any, ClassVar

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from marketsim import checks
from marketsim.envs.actions import checked_actions
from marketsim.envs.market_env import MarketEnv
from marketsim.envs.neighbours import Neighbours, Place
from marketsim.envs.stepping import THROUGH, TO_ACT, collect, step_markets
from marketsim.envs.vector import NativeVectorEnv, Step
from marketsim.kernel import BUDGET, THINK, advance_address
from marketsim.simulation import EVENTS_A_CALL
from marketsim.thinking import think

#: Attributes that are of one process, or share memory: copies and pickles need their own.
_LOOKED_UP = ("_rows", "_advance", "_blocks", "_until_ns", "_stages", "_codes", "_learners")


class MarketVectorEnv(NativeVectorEnv):
    """Native vector environment over :class:`~marketsim.envs.market_env.MarketEnv`.

    Equal, step by step and bit for bit, to gymnasium's ``SyncVectorEnv`` of the same environments.

    Parameters
    ----------
    num_envs : how many markets.
    autoreset_mode : "NextStep", "SameStep" or "Disabled".
    parameters : of each environment; data are read once for all of them.

    Raises
    ------
    ConfigError, DataError
        As the single environment.
    """

    env_type: ClassVar[type[MarketEnv]]

    def __init__(
        self,
        num_envs: int = 1,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        **parameters: Any,
    ) -> None:
        checks.integer("num_envs", num_envs, 1)
        first = self.env_type(**parameters)
        shared = {**parameters, "background": first.background}
        for used in ("overrides", "data", "tape"):
            shared.pop(used, None)
        envs = [first, *(self.env_type(**shared) for _ in range(num_envs - 1))]
        super().__init__(envs, autoreset_mode)
        self._markets = envs
        self._told, self._seen = first._seat.told, first._seat.seen
        self._interval_ns = first.task.interval_ns
        self._look_up()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in _LOOKED_UP}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._look_up()

    def _look_up(self) -> None:
        """Put the sub-environments' rows into one table; find the machine code of a step."""
        envs, seat = self._markets, self._markets[0]._seat
        self._rows = np.array([env._seat.row for env in envs])
        neighbours = Neighbours(len(envs))
        for i, env in enumerate(envs):
            env._seat.bind(self._rows[i])
            env._settle(Place(neighbours, i))
        self._blocks = neighbours.blocks
        self._until_ns, self._stages, self._codes = np.zeros((3, len(envs)), np.int64)
        self._advance = advance_address()
        self._learners = np.zeros((len(envs), 1, 4), np.int64)
        self._learners[:, 0, :3] = seat.agent, seat.task.act.address, seat.task.observe.address
        self._learners[:, 0, 3] = [env._seat.row_at for env in envs]

    def _step_envs(self, actions: Any, active: NDArray[np.bool_]) -> Step:
        envs, rows = self._markets, self._rows
        checked_actions(self.single_action_space, actions, rows, active)
        self._stages[:] = np.where(active, TO_ACT, THROUGH)
        self._started = False  # should it be interrupted: nobody goes on in the middle of a step
        self._run()
        self._started = True
        n, told = len(envs), self._told
        observations = np.empty((n, self._seen.stop - self._seen.start), np.float32)
        rewards, ends = np.empty(n), np.empty((2, n), np.bool_)
        numbers, whole = np.empty((len(told), n)), np.empty((len(told), n), np.int64)
        if collect(rows, active, observations, rewards, ends, numbers, whole):
            for i in np.flatnonzero(ends.any(0) & active).tolist():
                envs[i]._ready = False
        if self.render_mode is not None:
            for i in np.flatnonzero(active).tolist():
                envs[i]._note_mid()
        infos: dict[str, NDArray[Any]] = {
            name: whole[at] if kind is int else numbers[at] for at, (name, kind) in enumerate(told)
        }
        return observations, rewards, ends[0], ends[1], infos

    def _run(self) -> None:
        """Advance all markets to the ends of their steps, and serve those that ask for it."""
        stages, codes, blocks, envs = self._stages, self._codes, self._blocks, self._markets
        until_ns, learners, interval_ns = self._until_ns, self._learners, self._interval_ns
        while left := step_markets(
            self._advance, blocks, learners, interval_ns, EVENTS_A_CALL, until_ns, stages, codes
        ):
            if left < 0:
                rows = np.flatnonzero(blocks == 0).tolist()
                raise ResetNeeded(f"rows {rows} have been closed: call reset first")
            waiting = np.flatnonzero(stages != THROUGH).tolist()
            thinking = [i for i in waiting if codes[i] == THINK]
            if thinking:
                think(envs[i].simulation for i in thinking)
            for i in waiting:
                if codes[i] not in (THINK, BUDGET):
                    envs[i].simulation._serve(int(codes[i]))
