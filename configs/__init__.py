"""Configurations: frozen dataclasses, and :func:`load_config` which refuses what it does not know.

A configuration is a YAML file by name (``world``) or path, or a mapping of the same shape. All keys
are optional::

    base: rmsc04              # a configuration that this one builds on: name or path
    name: my-market
    description: one line
    data: FILE                # 'synthetic', a LOBSTER zip or CSV, or the folder of a saved tape
    symbols: [{name: SIM, tick_size: 0.01, lot_size: 1}]
    session: {open: "09:30", close: "16:00"}
    exchange: {maker_fee_bps: -0.2, taker_fee_bps: 0.3, self_trade: cancel_taker}
    tape: {enabled: true, levels: 10}
    oracle: {type: sparse_mean_reverting, r_bar: 100000, volatility: 5.0e-5}   # marketsim.oracle
    latency: {model: geometry}                                                 # marketsim.latency
    computation_delay_ns: 50
    agents:
      noise: {type: noise, count: 1000, size: mixture}
      history: {type: replay}
      mine: {type: "package.module:Class", symbol: SIM, latency_ns: 1000, any_parameter: 1}

Market rules, all of them off unless they are written (:mod:`marketsim.configs.rules`)::

    session:
      periods: [{open: "09:30", close: "11:30"}, {open: "13:00", close: "15:00"}]
      opening_auction: "09:15"         # a call phase from here, uncrossed at the open
      closing_auction: "14:57"         # a call phase from here, uncrossed at the close
    exchange:
      auction_fee_bps: 0.1             # of both sides; auction_fee_ticks_per_lot too
      price_limits: {percent: 5, reference: mean, window: 5min, pause: 5min, limit_state: 15s}
      circuit_breaker:
        levels: [{move_percent: 7, halt: 15min}, {move_percent: 20, halt: close}]
        reference: previous_close      # or open, or a price in ticks
        direction: down                # or up, or both
      short_sale: {rule: uptick, trigger_percent: 10}   # or forbidden
    symbols:
      - name: SIM
        reference_ticks: 10000         # the previous close
        tick_table: [{from_ticks: 0, increment_ticks: 1}, {from_ticks: 10000, increment_ticks: 5}]
        lot_table: [{from_ticks: 0, increment_lots: 100}, {from_ticks: 50000, increment_lots: 1}]
    agents:
      mine: {type: "package.module:Class", inventory_lots: 500}   # owned before, for short_sale
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marketsim import checks
from marketsim.configs.files import config_names, read_config
from marketsim.configs.raw import override, plain, with_base
from marketsim.configs.reading import DEFAULT_CLOSE, DEFAULT_OPEN, read_simulation
from marketsim.configs.registry import resolve_agent
from marketsim.configs.rules import (
    BreakerLevelConfig,
    CircuitBreakerConfig,
    LotStepConfig,
    PeriodConfig,
    PriceLimitsConfig,
    SessionConfig,
    ShortSaleConfig,
    TickStepConfig,
)
from marketsim.configs.schema import (
    AgentConfig,
    ExchangeConfig,
    SimulationConfig,
    SymbolConfig,
    TapeConfig,
)
from marketsim.errors import ConfigError

__all__ = [
    "DEFAULT_CLOSE",
    "DEFAULT_OPEN",
    "AgentConfig",
    "BreakerLevelConfig",
    "CircuitBreakerConfig",
    "ExchangeConfig",
    "LotStepConfig",
    "PeriodConfig",
    "PriceLimitsConfig",
    "SessionConfig",
    "ShortSaleConfig",
    "SimulationConfig",
    "SymbolConfig",
    "TapeConfig",
    "TickStepConfig",
    "config_names",
    "load_config",
    "resolve_agent",
]


def load_config(
    config: str | Path | Mapping[str, Any] | SimulationConfig,
    overrides: Mapping[str, Any] | None = None,
) -> SimulationConfig:
    """Read, override and check a configuration.

    Parameters
    ----------
    config
        A name in ``configs/``, the path of a YAML or JSON file, a mapping, or a configuration.
    overrides
        Dotted keys and their values: ``{"agents.pov.participation": 0.2, "data": "FILE"}``. Text
        values are read as YAML. ``{"agents.pov": None}`` removes an agent.

    Raises
    ------
    ConfigError
        For an unknown configuration or key, a wrong type, a value out of range.
    """
    name = "custom"
    raw: dict[str, Any]
    if isinstance(config, SimulationConfig):
        raw = config.to_dict()
    elif isinstance(config, Mapping):
        raw = checks.mapping("config", config)
    elif isinstance(config, str | Path):
        name, raw = read_config(config)
    else:
        raise ConfigError(f"config must be a name, a path or a mapping, was {config!r}")
    raw, changes = plain("config", raw), checks.mapping("overrides", overrides)
    if "base" in changes:  # the others build on it
        override(raw, "base", changes.pop("base"))
    raw = with_base(raw)
    for key, value in changes.items():
        override(raw, key, value)
    return read_simulation(raw, name)
