"""Environments for learning agents in any market that the simulator can run.

Those of one agent are made by gymnasium, ``gymnasium.make("marketsim:marketsim/Execution-v0")``;
several agents share a market in :class:`~marketsim.envs.multi_agent.MultiAgentEnv`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marketsim.envs.multi_agent import MultiAgentEnv as MultiAgentEnv
    from marketsim.envs.multi_agent import aec_env as aec_env
    from marketsim.envs.multi_agent import parallel_env as parallel_env

#: Public name -> module that defines it, imported when the name is first used.
_HOMES = {
    "MultiAgentEnv": "marketsim.envs.multi_agent",
    "aec_env": "marketsim.envs.multi_agent",
    "parallel_env": "marketsim.envs.multi_agent",
}

__all__ = ["MultiAgentEnv", "aec_env", "parallel_env"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'marketsim.envs' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
