"""Agent-based limit-order-book market simulator.

``import marketsim as ms`` is quick: names are imported when they are first used. It tells gymnasium
of the environments: ``gymnasium.make("marketsim:marketsim/Execution-v0")``.
"""

import importlib
from typing import TYPE_CHECKING, Any

from marketsim.envs.registration import register_environments

if TYPE_CHECKING:
    from marketsim import errors as errors
    from marketsim import generators as generators
    from marketsim.agent import Agent as Agent
    from marketsim.batch import Batch as Batch
    from marketsim.batch import run_batch as run_batch
    from marketsim.codes import Side as Side
    from marketsim.comparison.compare_returns import compare_returns as compare_returns
    from marketsim.configs import SimulationConfig as SimulationConfig
    from marketsim.configs import load_config as load_config
    from marketsim.data.bars import Bars as Bars
    from marketsim.data.crypto import read_bars as read_bars
    from marketsim.data.lobster import read_lobster as read_lobster
    from marketsim.data.return_windows import Windows as Windows
    from marketsim.data.return_windows import read_windows as read_windows
    from marketsim.evaluation import Report as Report
    from marketsim.evaluation import evaluate as evaluate
    from marketsim.experiment import ab as ab
    from marketsim.oracle import PricePath as PricePath
    from marketsim.simulation import Run as Run
    from marketsim.simulation import Simulation as Simulation
    from marketsim.simulation import replay as replay
    from marketsim.simulation import run as run
    from marketsim.sweeps import sweep as sweep
    from marketsim.tape import Tape as Tape

__version__ = "0.1.0"

#: Public name -> module that defines it; a module itself stands for its own name.
_HOMES = {
    "Agent": "marketsim.agent",
    "Bars": "marketsim.data.bars",
    "Batch": "marketsim.batch",
    "PricePath": "marketsim.oracle",
    "Report": "marketsim.evaluation",
    "Run": "marketsim.simulation",
    "Side": "marketsim.codes",
    "Simulation": "marketsim.simulation",
    "SimulationConfig": "marketsim.configs",
    "Tape": "marketsim.tape",
    "Windows": "marketsim.data.return_windows",
    "ab": "marketsim.experiment",
    "compare_returns": "marketsim.comparison.compare_returns",
    "errors": "marketsim.errors",
    "evaluate": "marketsim.evaluation",
    "generators": "marketsim.generators",
    "load_config": "marketsim.configs",
    "read_bars": "marketsim.data.crypto",
    "read_lobster": "marketsim.data.lobster",
    "read_windows": "marketsim.data.return_windows",
    "replay": "marketsim.simulation",
    "run": "marketsim.simulation",
    "run_batch": "marketsim.batch",
    "sweep": "marketsim.sweeps",
}

__all__ = [
    "Agent",
    "Bars",
    "Batch",
    "PricePath",
    "Report",
    "Run",
    "Side",
    "Simulation",
    "SimulationConfig",
    "Tape",
    "Windows",
    "ab",
    "compare_returns",
    "errors",
    "evaluate",
    "generators",
    "load_config",
    "read_bars",
    "read_lobster",
    "read_windows",
    "replay",
    "run",
    "run_batch",
    "sweep",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'marketsim' has no attribute {name!r}")
    module = importlib.import_module(home)
    value = module if home == f"marketsim.{name}" else getattr(module, name)
    globals()[name] = value
    return value


register_environments()


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
