"""Our environments in TorchRL (extra ``torchrl``), by its own ``GymWrapper``.

References: Bou et al. (2023), "TorchRL: a data-driven decision-making library for PyTorch".
"""

import importlib.util
from typing import TYPE_CHECKING, Any

import gymnasium
from gymnasium.vector import AutoresetMode

from marketsim import checks
from marketsim.errors import ConfigError

if TYPE_CHECKING:
    from torchrl.envs import GymWrapper


def make_torchrl(
    name: str,
    num_envs: int | None = None,
    *,
    device: str = "cpu",
    categorical_action_encoding: bool = False,
    **parameters: Any,
) -> "GymWrapper":
    """Make a registered environment of ours for TorchRL.

    TorchRL's ``GymEnv(name)`` cannot: it tries a parameter ``frameskip`` on every environment, and
    ours refuse what they do not know.

    Parameters
    ----------
    name : such as "marketsim/Execution-v0".
    num_envs : None is one environment, of batch size (); a number is a native vector environment of
        batch size (num_envs,), without autoreset: TorchRL resets by itself the rows that ended.
    device : of the tensors.
    categorical_action_encoding : whether discrete actions are numbers rather than one-hot.
    parameters : of the environment.

    Raises
    ------
    ConfigError, DataError
        As the environment; without TorchRL.
    gymnasium.error.Error
        For an unknown name.
    """
    if importlib.util.find_spec("torchrl") is None:
        raise ConfigError("torchrl: is not installed; pip install 'marketsim-lob[torchrl]'")
    from torchrl.envs import GymWrapper

    env: Any
    if num_envs is None:
        env = gymnasium.make(name, disable_env_checker=True, **parameters)
    else:
        env = gymnasium.make_vec(
            name,
            num_envs=checks.integer("num_envs", num_envs, 1),
            autoreset_mode=AutoresetMode.DISABLED,
            **parameters,
        )
    return GymWrapper(env, device=device, categorical_action_encoding=categorical_action_encoding)
