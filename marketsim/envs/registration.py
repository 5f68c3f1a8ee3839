"""Names of the environments, as gymnasium knows them."""

import importlib
from typing import TYPE_CHECKING

from gymnasium.envs.registration import register, registry

from marketsim.checks import did_you_mean
from marketsim.errors import ConfigError

if TYPE_CHECKING:
    from marketsim.envs.task import Task

#: Name -> module and class of the environment; its native vector environment is beside it.
ENVIRONMENTS = {
    "marketsim/Execution-v0": "marketsim.envs.execution:Execution",
    "marketsim/Investor-v0": "marketsim.envs.investor:Investor",
    "marketsim/MarketMaking-v0": "marketsim.envs.market_making:MarketMaking",
    "marketsim/Portfolio-v0": "marketsim.envs.portfolio:Portfolio",
}
#: Of those, the ones without a simulated market.
_WITHOUT_MARKET = ("marketsim/Portfolio-v0",)
#: What an agent of several in a market can be there for: name of a module -> task.
TASKS = {
    place.partition(":")[0].rpartition(".")[2]: place
    for name, place in ENVIRONMENTS.items()
    if name not in _WITHOUT_MARKET
}


def task_named(name: object) -> "type[Task]":
    """The class of a task, imported now: one of :data:`TASKS`.

    Raises
    ------
    ConfigError
        If there is no such task.
    """
    if not isinstance(name, str) or name not in TASKS:
        raise ConfigError(f"task: there is no {name!r}{did_you_mean(str(name), TASKS)}")
    module, _, task = TASKS[name].partition(":")
    kind: type[Task] = getattr(importlib.import_module(module), task)
    return kind


def register_environments() -> None:
    """Tell gymnasium; importing ``marketsim`` does it."""
    for name, place in ENVIRONMENTS.items():
        if name not in registry:
            register(id=name, entry_point=f"{place}Env", vector_entry_point=f"{place}VectorEnv")
