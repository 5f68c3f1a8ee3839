"""Names of the agent classes that a configuration can use, and checks of their parameters."""

import importlib
import inspect
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from marketsim.checks import did_you_mean, refuse_unknown
from marketsim.errors import ConfigError

if TYPE_CHECKING:
    pass

#: Registered name -> where its class is; imported when a configuration first uses it.
AGENTS = {
    "market_maker": "marketsim.agents.market_maker:MarketMakerAgent",
    "momentum": "marketsim.agents.momentum:MomentumAgent",
    "noise": "marketsim.agents.noise:NoiseAgent",
    "pov": "marketsim.agents.pov:POVAgent",
    "replay": "marketsim.agents.replay:ReplayAgent",
    "return_path": "marketsim.agents.return_path:ReturnPathAgent",
    "strategy": "marketsim.agents.strategies:StrategyAgent",
    "twap": "marketsim.agents.twap:TWAPAgent",
    "value": "marketsim.agents.value:ValueAgent",
    "world": "marketsim.agents.world:WorldAgent",
}

#: Parameters of an agent class that the simulation fills in; a configuration cannot.
PROVIDED = ("tape",)


def resolve_agent(type_name: str, field: str = "type") -> type[Any]:
    """Return the class of a registered name, or of the user's own ``package.module:Class``.

    Raises
    ------
    ConfigError
        When there is none, or it is no :class:`marketsim.agent.Agent`.
    """
    target = AGENTS.get(type_name, type_name)
    module_name, colon, class_name = target.partition(":")
    if not colon:
        raise ConfigError(
            f"{field}: unknown agent {type_name!r}{did_you_mean(type_name, AGENTS)};"
            " your own class is package.module:Class"
        )
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError, TypeError) as error:
        raise ConfigError(f"{field}: cannot import {module_name!r}: {error}") from error
    cls = getattr(module, class_name, None)
    if cls is None:
        classes = [name for name, value in vars(module).items() if inspect.isclass(value)]
        hint = did_you_mean(class_name, classes)
        raise ConfigError(f"{field}: no class {class_name!r} in {module_name!r}{hint}")
    agent = importlib.import_module("marketsim.agent")
    if not (inspect.isclass(cls) and issubclass(cls, agent.Agent | agent.CompiledAgent)):
        raise ConfigError(f"{field}: {target!r} must be a subclass of marketsim.Agent")
    return cls


def check_parameters(
    cls: type, parameters: Mapping[str, Any], where: str, common: Collection[str] = ()
) -> list[str]:
    """Compare keys with the parameters of a class, by its signature.

    Parameters
    ----------
    common
        Further keys that the agent's entry may have; they appear in hints.

    Returns
    -------
    list of str
        Those of ``PROVIDED`` that the class takes.

    Raises
    ------
    ConfigError
        For a key that the class does not take, or one that it needs and does not get.
    """
    signature = inspect.signature(cls)
    taken = {
        name: parameter
        for name, parameter in signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    provided = [name for name in PROVIDED if name in taken]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    if not takes_any:
        refuse_unknown(where, parameters, [*(set(taken) - set(provided)), *common])
    for name, parameter in taken.items():
        required = parameter.default is parameter.empty
        if required and name not in parameters and name not in provided:
            raise ConfigError(f"{where}: key {name!r} is required")
    return provided
