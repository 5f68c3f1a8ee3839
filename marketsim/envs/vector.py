"""The vector environment of ours: many sub-environments, stepped in one call of compiled code.

It says the same as gymnasium's ``SyncVectorEnv`` of the same sub-environments, key by key and
dtype by dtype, in all three autoreset modes; it only gets there without a Python call per row.

References: gymnasium 1.4, ``SyncVectorEnv`` and https://farama.org/Vector-Autoreset-Mode
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import Env
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, create_empty_array
from numpy.typing import NDArray

from marketsim.errors import ConfigError, StateError

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: What a step returns: observations, rewards, terminated, truncated, infos.
Step = tuple[Array, NDArray[np.float64], Mask, Mask, dict[str, Any]]


@dataclass(frozen=True)
class RowState:
    """One sub-environment's state, and what the vector environment knows of it.

    state : what the sub-environment's ``save_state`` returned
    ended : whether its episode is over and the next step resets it (or asks for a reset)
    observation : its last observation, which a reset of other rows returns again
    """

    state: Any
    ended: bool
    observation: Any


class NativeVectorEnv(VectorEnv[Array, Array, Array], ABC):
    """Steps all its sub-environments at once.

    Parameters
    ----------
    envs : sub-environments, each of which works by itself too; of equal spaces, which are of
        one array (Box, Discrete, MultiDiscrete, MultiBinary) for observations
    autoreset_mode : ``AutoresetMode``, or its value ("NextStep", "SameStep", "Disabled")

    A subclass writes :meth:`_step_envs`, and :meth:`_reset_envs` where it can reset many rows
    faster than one by one.

    Raises
    ------
    ConfigError : no sub-environments, spaces that differ, or an unknown autoreset mode
    """

    def __init__(
        self,
        envs: Sequence[Env[Any, Any]],
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    ) -> None:
        super().__init__()
        if not envs:
            raise ConfigError("envs must hold at least one sub-environment, was empty")
        self.envs = list(envs)
        self.num_envs = len(self.envs)
        self.autoreset_mode = _autoreset_mode(autoreset_mode)
        first = self.envs[0]
        # A copy: the sub-environment's belongs to its class.
        self.metadata = dict(first.metadata)
        self.metadata["autoreset_mode"] = self.autoreset_mode
        self.render_mode = first.render_mode
        self.single_action_space = first.action_space
        self.single_observation_space = first.observation_space
        for row, env in enumerate(self.envs):
            for name in ("observation_space", "action_space"):
                if getattr(env, name) != getattr(first, name):
                    raise ConfigError(
                        f"envs[{row}].{name} must be that of envs[0], {getattr(first, name)}, "
                        f"was {getattr(env, name)}"
                    )
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        last: Any = create_empty_array(self.single_observation_space, self.num_envs, fn=np.zeros)
        if not isinstance(last, np.ndarray):
            raise ConfigError(
                "envs[0].observation_space must be of one array, "
                f"was {self.single_observation_space}"
            )
        self._last: Array = last
        self._all_rows: Mask = np.ones(self.num_envs, dtype=np.bool_)
        self._started = False
        #: Rows that the next step resets (next step) or that need a reset (disabled).
        self._ended: Mask = np.zeros(self.num_envs, dtype=np.bool_)
        self._any_ended = False

    # -- what a subclass writes ---------------------------------------------------------------

    @abstractmethod
    def _step_envs(self, actions: Any, active: Mask) -> Step:
        """Step the sub-environments in ``active``, and leave the others as they are.

        Parameters
        ----------
        actions : batch of actions, as the caller passed it: check it here, active rows only
        active : bool[n], not to be written to

        Returns
        -------
        Arrays that are fresh at every call, over all n rows; what rows that are not active hold
        is ignored: observations in the observation space's dtype, rewards float64[n], terminated
        and truncated bool[n], and infos: name -> array [n, ...] in the dtype that SyncVectorEnv
        gives (int64 for int, float64 for float, bool for bool, object for anything else).
        """

    def _reset_envs(
        self, rows: Sequence[int], seeds: Sequence[int | None], options: dict[str, Any] | None
    ) -> Iterable[tuple[Any, dict[str, Any]]]:
        """Reset some rows; return each row's observation and info, as its ``reset`` does."""
        return [
            self.envs[row].reset(seed=seed, options=None if options is None else dict(options))
            for row, seed in zip(rows, seeds, strict=True)
        ]

    # -- the contract -------------------------------------------------------------------------

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Array, dict[str, Any]]:
        """Start an episode in each sub-environment, or in those of ``options["reset_mask"]``.

        Parameters
        ----------
        seed : int, which seeds sub-environment i with ``seed + i``; one seed (or None) for each;
            or None: each goes on with its random stream
        options : passed on to each sub-environment, less ``reset_mask``: bool[n], rows to reset;
            the others keep their episode, and their last observation is returned again

        Raises
        ------
        ValueError, TypeError : a list of seeds or a mask of the wrong length or type
        ResetNeeded : a mask that leaves out rows that were never reset
        """
        seeds = self._seeds(seed)
        rows: Sequence[int] = range(self.num_envs)
        if options is not None and "reset_mask" in options:
            mask = self._reset_mask(options["reset_mask"])
            options = {key: value for key, value in options.items() if key != "reset_mask"}
            rows = np.flatnonzero(mask).tolist()
            if not self._started and len(rows) < self.num_envs:
                raise ResetNeeded(
                    "options['reset_mask'] must be true in all rows at the first reset: "
                    f"rows {np.flatnonzero(~mask).tolist()} have no episode to go on with"
                )
        return self._begin([(rows, [seeds[row] for row in rows], options)])

    def reset_each(
        self, seeds: Sequence[int | None], options: Sequence[dict[str, Any] | None]
    ) -> tuple[Array, dict[str, Any]]:
        """Start an episode in each sub-environment, with a seed and options of its own."""
        if not any(options):
            return self._begin([(range(self.num_envs), seeds, None)])
        rows = zip(range(self.num_envs), seeds, options, strict=True)
        return self._begin([([row], [seed], one) for row, seed, one in rows])

    def _begin(
        self,
        groups: Iterable[tuple[Sequence[int], Sequence[int | None], dict[str, Any] | None]],
    ) -> tuple[Array, dict[str, Any]]:
        """Reset groups of rows, each with its seeds and options."""
        infos: dict[str, Any] = {}
        self._started = False  # should a sub-environment refuse: no step on half a reset
        ended = self._ended.copy()
        for rows, seeds, options in groups:
            for row, (observation, info) in zip(
                rows, self._reset_envs(rows, seeds, options), strict=True
            ):
                self._last[row] = observation
                ended[row] = False
                infos = self._add_info(infos, info, row)
        self._started = True
        self._set_ended(ended)
        return self._last.copy(), infos

    def step(self, actions: Any) -> Step:
        """Step every sub-environment; the autoreset mode says what becomes of those that end.

        Raises
        ------
        ResetNeeded : before the first reset; or, autoreset disabled, after an episode's end
        marketsim.errors.ActionError : an action outside the space; no sub-environment has moved
        """
        if not self._started:
            raise ResetNeeded(f"rows 0 to {self.num_envs - 1} have no episode: call reset first")
        if self._any_ended:
            if self.autoreset_mode is AutoresetMode.DISABLED:
                raise ResetNeeded(
                    f"rows {np.flatnonzero(self._ended).tolist()} are at their episode's end: "
                    "call reset(options={'reset_mask': terminated | truncated}) before step"
                )
            return self._step_after_end(actions)
        observations, rewards, terminated, truncated, columns = self._step_envs(
            actions, self._all_rows
        )
        infos: dict[str, Any] = {}
        for name, column in columns.items():
            infos[name] = column
            infos[f"_{name}"] = self._all_rows.copy()
        ended = terminated | truncated
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            if np.count_nonzero(ended):
                self._reset_at_end(ended, observations, infos, columns)
        else:
            self._set_ended(ended)
        self._last[...] = observations
        return observations, rewards, terminated, truncated, infos

    def render(self) -> tuple[Any, ...]:
        """Return each sub-environment's frame."""
        return tuple(env.render() for env in self.envs)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Call a method of each sub-environment, or get an attribute of each."""
        found = [env.get_wrapper_attr(name) for env in self.envs]
        return tuple(item(*args, **kwargs) if callable(item) else item for item in found)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Return an attribute of each sub-environment."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of each sub-environment: one value each (list, tuple), or one for all.

        Raises
        ------
        ValueError : as many values as there are sub-environments were needed
        """
        each = values if isinstance(values, list | tuple) else [values] * self.num_envs
        if len(each) != self.num_envs:
            raise ValueError(
                f"values must hold {self.num_envs} values, one for each sub-environment, "
                f"held {len(each)}"
            )
        for env, value in zip(self.envs, each, strict=True):
            env.set_wrapper_attr(name, value)

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The random stream of each sub-environment (as SyncVectorEnv: a tuple)."""
        return self.get_attr("np_random")

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seed of each sub-environment."""
        return self.get_attr("np_random_seed")

    def close_extras(self, **kwargs: Any) -> None:
        """Close each sub-environment; ``kwargs`` are those of gymnasium's ``close``, unused."""
        # Older versions close what was collected, even where the constructor refused.
        for env in getattr(self, "envs", ()):
            env.close()

    # -- what gymnasium does not ask for ------------------------------------------------------

    def action_masks(self) -> Mask:
        """Return the actions that each row may take now: bool[n, k].

        Raises
        ------
        AttributeError : sub-environments without masks
        """
        return np.stack(self.call("action_masks"))

    def save_state(self) -> list[RowState]:
        """Return each row's state; ``[states[0]] * n`` loads one row's into all (to branch).

        Raises
        ------
        StateError : before the first reset
        """
        if not self._started:
            raise StateError("save_state needs an episode: call reset first")
        return [
            RowState(state, bool(self._ended[row]), self._last[row].copy())
            for row, state in enumerate(self.call("save_state"))
        ]

    def load_state(self, states: Sequence[RowState]) -> None:
        """Go on from states that ``save_state`` returned, row by row.

        Raises
        ------
        StateError : not one ``RowState`` for each row
        """
        if len(states) != self.num_envs:
            raise StateError(f"states must hold {self.num_envs} rows, held {len(states)}")
        for row, state in enumerate(states):
            if not isinstance(state, RowState):
                raise StateError(f"states[{row}] must be a RowState, was {type(state).__name__}")
        ended = np.zeros(self.num_envs, dtype=np.bool_)
        self._started = False  # should a sub-environment refuse: no step on half a load
        for row, (env, state) in enumerate(zip(self.envs, states, strict=True)):
            env.get_wrapper_attr("load_state")(state.state)
            self._last[row] = state.observation
            ended[row] = state.ended
        self._started = True
        self._set_ended(ended)

    # -- rows that end ------------------------------------------------------------------------

    def _set_ended(self, ended: Mask) -> None:
        self._ended = ended
        self._any_ended = bool(np.count_nonzero(ended))

    def _step_after_end(self, actions: Any) -> Step:
        """Next-step autoreset: rows that ended are reset, their actions ignored; others step."""
        active = ~self._ended
        if np.count_nonzero(active):
            observations, rewards, terminated, truncated, columns = self._step_envs(actions, active)
        else:
            observations, columns = self._last.copy(), {}
            rewards = np.zeros(self.num_envs)
            terminated, truncated = np.zeros((2, self.num_envs), dtype=np.bool_)
        infos: dict[str, Any] = {}
        for name, column in columns.items():
            column[self._ended] = _blank(column)
            infos[name] = column
            infos[f"_{name}"] = active.copy()
        rewards[self._ended] = 0.0
        terminated[self._ended] = False
        truncated[self._ended] = False
        self._reset_into(self._ended, observations, infos)
        self._set_ended(terminated | truncated)
        self._last[...] = observations
        return observations, rewards, terminated, truncated, infos

    def _reset_at_end(
        self, ended: Mask, observations: Array, infos: dict[str, Any], columns: dict[str, Any]
    ) -> None:
        """Same-step autoreset: keep the last observation and info of rows that ended; reset."""
        final_obs = np.full(self.num_envs, fill_value=None, dtype=object)
        for row in np.flatnonzero(ended).tolist():
            final_obs[row] = observations[row].copy()
        final_info: dict[str, Any] = {}
        for name, column in columns.items():
            kept = np.full_like(column, _blank(column))
            kept[ended] = column[ended]
            column[ended] = _blank(column)
            infos[f"_{name}"][ended] = False
            final_info[name] = kept
            final_info[f"_{name}"] = ended.copy()
        if ended.all():
            infos.clear()  # no row is left that says what a step says
        infos["final_obs"], infos["_final_obs"] = final_obs, ended.copy()
        infos["final_info"], infos["_final_info"] = final_info, ended.copy()
        self._reset_into(ended, observations, infos)

    def _reset_into(self, mask: Mask, observations: Array, infos: dict[str, Any]) -> None:
        """Reset the rows of ``mask``; write their observations and infos into the batch."""
        rows = np.flatnonzero(mask).tolist()
        for row, (observation, info) in zip(
            rows, self._reset_envs(rows, [None] * len(rows), None), strict=True
        ):
            observations[row] = observation
            self._add_info(infos, info, row)

    # -- checks -------------------------------------------------------------------------------

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, int | np.integer):
            return [int(seed) + row for row in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(
                f"seed must hold {self.num_envs} seeds, one for each sub-environment, "
                f"held {len(seed)}"
            )
        return list(seed)

    def _reset_mask(self, mask: Any) -> Mask:
        field = "options['reset_mask']"
        if not isinstance(mask, np.ndarray):
            raise TypeError(f"{field} must be a numpy array, was {type(mask).__name__}")
        if mask.shape != (self.num_envs,):
            raise ValueError(f"{field} must have shape ({self.num_envs},), had {mask.shape}")
        if mask.dtype != np.bool_:
            raise TypeError(f"{field} must be of dtype bool, was {mask.dtype}")
        if not mask.any():
            raise ValueError(f"{field} must be true in at least one row, was {mask}")
        return mask


def _blank(column: Array) -> Any:
    """Return what a row without an info holds: None among objects, 0 among numbers."""
    return None if column.dtype == object else 0


def _autoreset_mode(mode: str | AutoresetMode) -> AutoresetMode:
    try:
        return AutoresetMode(mode)
    except ValueError:
        known = ", ".join(repr(one.value) for one in AutoresetMode)
        raise ConfigError(f"autoreset_mode must be one of {known}, was {mode!r}") from None
