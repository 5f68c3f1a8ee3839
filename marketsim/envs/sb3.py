"""Our vector environments as Stable-Baselines3 wants them (extra ``sb3``).

References: Raffin et al. (2021), "Stable-Baselines3: reliable reinforcement learning
implementations"; https://stable-baselines3.readthedocs.io, "Vectorized Environments".
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from marketsim.envs.vector import NativeVectorEnv
from marketsim.errors import ConfigError

try:
    from stable_baselines3.common.vec_env import VecEnv
except ImportError:  # said when it is asked for
    if not TYPE_CHECKING:
        VecEnv = None

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

Info = dict[str, Any]
_FINAL = ("final_obs", "final_info")


class SB3VecEnv(VecEnv or object):  # type: ignore[misc]
    """A native vector environment as a ``VecEnv``.

    It says what a ``DummyVecEnv`` of the single environments says: observations, rewards float32,
    dones, and for each row a dictionary with the episode's last observation
    (``terminal_observation``) and ``TimeLimit.truncated``; it only steps all rows at once.

    Parameters
    ----------
    venv : built with ``autoreset_mode="SameStep"``.

    ``env_method("action_masks")`` gives the masks that sb3-contrib's ``MaskablePPO`` asks for.

    Raises
    ------
    ConfigError
        For a vector environment of another kind, or another autoreset mode; without SB3.
    """

    def __init__(self, venv: NativeVectorEnv) -> None:
        if VecEnv is None:
            raise ConfigError(
                "sb3: stable-baselines3 is not installed; pip install 'marketsim-lob[sb3]'"
            )
        if not isinstance(venv, NativeVectorEnv):
            raise ConfigError(
                f"venv must be a native vector environment, was {type(venv).__name__}"
            )
        if venv.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise ConfigError(
                f"venv: autoreset_mode must be 'SameStep', was {venv.autoreset_mode.value!r}"
            )
        self.venv = venv  # before the base class asks for its attributes
        super().__init__(venv.num_envs, venv.single_observation_space, venv.single_action_space)
        self.metadata = dict(venv.envs[0].metadata)
        self._actions: NDArray[Any] | None = None

    # -- episodes ---------------------------------------------------------------------------

    def set_options(self, options: list[Info] | Info | None = None) -> None:
        """Options of the next reset: one dictionary for all rows, or one for each.

        What they hold is not copied: a state may be large, and loading one leaves it as it is.

        Raises
        ------
        ConfigError
            If there is not one dictionary for each row.
        """
        if isinstance(options, list):
            if len(options) != self.num_envs:
                raise ConfigError(
                    f"options must hold {self.num_envs} dictionaries, held {len(options)}"
                )
            self._options = [dict(one) for one in options]
        else:
            self._options = [dict(options or {}) for _ in range(self.num_envs)]

    def reset(self) -> NDArray[Any]:
        """Start an episode in each row, with the seeds and options set before, once."""
        options = [one or None for one in self._options]
        observations, infos = self.venv.reset_each(self._seeds, options)
        self.reset_infos = row_infos(infos, self.num_envs)
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(self) -> "VecEnvStepReturn":
        """Step all rows; those that end are reset, and what they began with is returned.

        Raises
        ------
        ActionError
            If an action is not in the action space.
        """
        observations, rewards, terminated, truncated, columns = self.venv.step(self._actions)
        dones = terminated | truncated
        infos = row_infos(columns, self.num_envs)
        for info in infos:
            info["TimeLimit.truncated"] = False
        if np.count_nonzero(dones):
            final = row_infos(columns["final_info"], self.num_envs)
            for row in np.flatnonzero(dones).tolist():
                del infos[row]["TimeLimit.truncated"]
                self.reset_infos[row] = infos[row]
                infos[row] = final[row]
                infos[row]["TimeLimit.truncated"] = bool(truncated[row] and not terminated[row])
                infos[row]["terminal_observation"] = columns["final_obs"][row]
        return observations, rewards.astype(np.float32), dones, infos

    def close(self) -> None:
        """Let the markets go."""
        self.venv.close()

    # -- rows -------------------------------------------------------------------------------

    def _rows(self, indices: "VecEnvIndices") -> list[gymnasium.Env[Any, Any]]:
        return [self.venv.envs[row] for row in self._get_indices(indices)]

    def get_attr(self, attr_name: str, indices: "VecEnvIndices" = None) -> list[Any]:
        """Return an attribute of each row."""
        return [env.get_wrapper_attr(attr_name) for env in self._rows(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: "VecEnvIndices" = None) -> None:
        """Set an attribute of each row to this value."""
        for env in self._rows(indices):
            env.set_wrapper_attr(attr_name, value)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: "VecEnvIndices" = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Call a method of each row."""
        return [
            env.get_wrapper_attr(method_name)(*method_args, **method_kwargs)
            for env in self._rows(indices)
        ]

    def env_is_wrapped(
        self,
        wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]],
        indices: "VecEnvIndices" = None,
    ) -> list[bool]:
        """Whether each row is in such a wrapper."""
        from stable_baselines3.common.env_util import is_wrapped

        return [is_wrapped(env, wrapper_class) for env in self._rows(indices)]

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Return each row's picture, None unless ``render_mode`` is "rgb_array"."""
        if self.render_mode != "rgb_array":
            return [None] * self.num_envs
        return self.venv.render()


def make_sb3(name: str, num_envs: int = 1, **parameters: Any) -> SB3VecEnv:
    """Make a registered environment of ours for Stable-Baselines3.

    Parameters
    ----------
    name : such as "marketsim/Execution-v0".
    num_envs : markets that are stepped together.
    parameters : of the environment.

    Raises
    ------
    ConfigError, DataError
        As the environment; for an environment that is not ours.
    gymnasium.error.Error
        For an unknown name.
    """
    if gymnasium.spec(name).vector_entry_point is None:
        raise ConfigError(f"name: must be of an environment with a native vector, was {name!r}")
    venv: Any = gymnasium.make_vec(
        name,
        num_envs=num_envs,
        vectorization_mode="vector_entry_point",
        autoreset_mode=AutoresetMode.SAME_STEP,
        **parameters,
    )
    return SB3VecEnv(venv)


def row_infos(columns: Mapping[str, Any], num_envs: int) -> list[Info]:
    """Turn a vector environment's infos into a dictionary for each row, of Python's numbers."""
    names: list[str] = []
    full: list[Sequence[Any]] = []
    partial: list[tuple[str, NDArray[Any], NDArray[np.bool_]]] = []
    for name, column in columns.items():
        if name.startswith("_") or name in _FINAL:
            continue
        present = columns[f"_{name}"]
        if np.count_nonzero(present) == num_envs:
            names.append(name)
            full.append(column.tolist() if column.ndim == 1 else list(column))
        else:
            partial.append((name, column, present))
    rows = [dict(zip(names, row, strict=True)) for row in zip(*full, strict=True)]
    rows = rows or [{} for _ in range(num_envs)]
    for name, column, present in partial:
        for row in np.flatnonzero(present).tolist():
            value = column[row]
            rows[row][name] = value.item() if isinstance(value, np.generic) else value
    return rows
