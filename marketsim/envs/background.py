"""The market around a learning agent: a configuration whose data are read once."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from marketsim import checks
from marketsim.agent import GivenAgents
from marketsim.build import _open, _session, _symbols
from marketsim.clock import format_time, parse_time
from marketsim.configs import SimulationConfig, load_config
from marketsim.errors import ConfigError, StateError
from marketsim.simulation import Simulation
from marketsim.tape import Tape

#: A time, or the earliest and the latest of which one is drawn.
Start = str | int | tuple[str | int, str | int] | list[str | int]


class Background:
    """Makes the markets of an environment.

    Parameters
    ----------
    config : name, path, mapping or ``SimulationConfig``: populations, a replay, a world agent, with
        any other agents.
    overrides : dotted keys, as for :func:`marketsim.load_config`.
    data : tape to replay, instead of the configuration's.
    tape : whether the markets write one; it takes time and memory.

    Raises
    ------
    ConfigError, DataError
        If there is no such configuration, it cannot be run, or its data cannot be read.
    """

    def __init__(
        self,
        config: str | Path | Mapping[str, Any] | SimulationConfig = "rmsc04",
        overrides: Mapping[str, Any] | None = None,
        data: Tape | None = None,
        tape: bool = False,
    ) -> None:
        loaded = load_config(config, overrides)
        if data is not None and not isinstance(data, Tape):
            raise ConfigError(f"data must be a tape or None, was {data!r}")
        enabled = checks.boolean("tape", tape)
        self.config = replace(loaded, tape=replace(loaded.tape, enabled=enabled))
        self.data = data if data is not None else _open(self.config)
        self.open_ns, self.close_ns = _session(self.config, self.data)
        self.symbols = [symbol.name for symbol in _symbols(self.config, self.data)]
        #: Agents of the configuration: the number of the first that is added to them.
        self.agents_count = sum(entry.count for entry in self.config.agents)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Background":
        return self  # nothing in it changes: copies of an environment share the data

    def market(self, seed: int, agents: GivenAgents) -> Simulation:
        """A market of this seed, at its beginning, with further agents."""
        return Simulation(self.config, seed, agents=agents, data=self.data)

    def check_symbol(self, symbol: str | None) -> None:
        """See that there is such a symbol; None is the first.

        Raises
        ------
        ConfigError
            If there is not.
        """
        if symbol is not None:
            checks.choice("symbol", symbol, self.symbols)

    def check_state(self, state: Simulation) -> None:
        """See that a market is one of this background.

        Raises
        ------
        StateError
            If its configuration or its data are others.
        """
        if state.config.config_hash != self.config.config_hash:
            raise StateError("state: must be of an environment with the same background")
        theirs, ours = state.source, self.data
        if theirs is not ours:
            if theirs is None or ours is None or theirs.digest() != ours.digest():
                raise StateError("state: must be of an environment with the same data")

    def start_range(self, start: Start, window_ns: int) -> tuple[int, int]:
        """First and last start of an episode of this length [ns], from a time or a pair of times.

        Raises
        ------
        ConfigError
            If the episode would not lie within the session.
        """
        pair = start if isinstance(start, tuple | list) else (start, start)
        if len(pair) != 2:
            raise ConfigError(f"start must be a time or two, was {start!r}")
        first_ns, last_ns = (parse_time(time, "start") for time in pair)
        if first_ns > last_ns:
            raise ConfigError(f"start: the first must not be after the last, was {start!r}")
        if first_ns < self.open_ns:
            raise ConfigError(
                f"start must be in the session, from {format_time(self.open_ns)},"
                f" was {format_time(first_ns)}"
            )
        if last_ns + window_ns > self.close_ns:
            raise ConfigError(
                f"start: the window ends at {format_time(last_ns + window_ns)}, after the session's"
                f" close at {format_time(self.close_ns)}, was {start!r}"
            )
        return first_ns, last_ns
