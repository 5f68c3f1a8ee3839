"""From plain values to a configuration; every error names the field, the rule and the value."""

import re
from dataclasses import fields, replace
from typing import Any

from marketsim import checks
from marketsim.codes import SelfTrade
from marketsim.configs.registry import check_parameters, resolve_agent
from marketsim.configs.rules import (
    MAX_TICKS,
    read_circuit_breaker,
    read_lot_table,
    read_price_limits,
    read_session,
    read_short_sale,
    read_tick_table,
)
from marketsim.configs.schema import (
    AgentConfig,
    ExchangeConfig,
    SimulationConfig,
    SymbolConfig,
    TapeConfig,
)
from marketsim.configs.tagged import read_tagged
from marketsim.errors import ConfigError
from marketsim.latency import MODELS, ConstantLatency
from marketsim.oracle import ORACLES

DEFAULT_OPEN = "09:30"
DEFAULT_CLOSE = "16:00"

#: A day; longer latencies and delays would never arrive.
MAX_DELAY_NS = 86_400_000_000_000
#: Basis points, or ticks a lot: all of the price is the most that a fee can take.
MAX_FEE = 10_000


def read_simulation(raw: dict[str, Any], default_name: str) -> SimulationConfig:
    checks.refuse_unknown("", raw, [field.name for field in fields(SimulationConfig)])
    data = raw.get("data")
    if data is not None:
        data = checks.text("data", data)
    symbols = _read_symbols(raw.get("symbols"), data)
    delay_ns = _delay("computation_delay_ns", raw.get("computation_delay_ns", 0))
    config = SimulationConfig(
        name=checks.text("name", raw.get("name", default_name)),
        description=str(raw.get("description") or ""),
        data=data,
        symbols=symbols,
        session=read_session(
            checks.mapping("session", raw.get("session")),
            (None, None) if data is not None else (DEFAULT_OPEN, DEFAULT_CLOSE),
        ),
        exchange=_read_exchange(checks.mapping("exchange", raw.get("exchange"))),
        tape=_read_tape(checks.mapping("tape", raw.get("tape"))),
        oracle=read_tagged("oracle", "type", ORACLES, raw.get("oracle")),
        oracles=_read_oracles(raw.get("oracles"), symbols),
        latency=read_tagged("latency", "model", MODELS, raw.get("latency")) or ConstantLatency(),
        computation_delay_ns=delay_ns,
        agents=tuple(
            _read_agent(name, entry, symbols, delay_ns)
            for name, entry in checks.mapping("agents", raw.get("agents")).items()
        ),
    )
    for agent in config.agents:
        if agent.type in ("replay", "world") and data is None:
            raise ConfigError(
                f"data must be given for agents.{agent.name} to replay: a LOBSTER zip or CSV, the"
                f" folder of a saved tape, or 'synthetic' (--set data=FILE)"
            )
    return config


def _read_symbols(raw: Any, data: str | None) -> tuple[SymbolConfig, ...]:
    if raw is None:
        return () if data is not None else (SymbolConfig(),)
    if not isinstance(raw, list) or not raw:
        raise ConfigError(f"symbols must be a list of at least one symbol, was {raw!r}")
    symbols: dict[str, SymbolConfig] = {}
    for index, entry in enumerate(raw):
        where = f"symbols.{index}"
        keys = checks.mapping(where, entry)
        checks.refuse_unknown(where, keys, [field.name for field in fields(SymbolConfig)])
        name = checks.text(f"{where}.name", keys.get("name", SymbolConfig.name))
        if name in symbols:
            raise ConfigError(f"{where}.name must be given once, was {name!r} again")
        tick_size = checks.positive(f"{where}.tick_size", keys.get("tick_size", 0.01))
        lot_size = keys.get("lot_size", 1)
        checks.positive(f"{where}.lot_size", lot_size)
        tick, lot = (
            checks.integer(f"{where}.{key}", 1 if keys.get(key) is None else keys[key], 1)
            for key in ("price_increment_ticks", "size_increment_lots")
        )
        reference = keys.get("reference_ticks")
        if reference is not None:
            checks.integer(f"{where}.reference_ticks", reference, -MAX_TICKS, MAX_TICKS)
        tables = read_tick_table(where, keys), read_lot_table(where, keys)
        symbols[name] = SymbolConfig(name, tick_size, lot_size, tick, lot, reference, *tables)
    return tuple(symbols.values())


def _read_exchange(raw: dict[str, Any]) -> ExchangeConfig:
    checks.refuse_unknown("exchange", raw, [field.name for field in fields(ExchangeConfig)])
    modes = {mode.name.lower(): mode for mode in SelfTrade}
    mode = checks.choice("exchange.self_trade", raw.pop("self_trade", "allow"), modes)
    limits = read_price_limits(raw.pop("price_limits", None))
    breaker = read_circuit_breaker(raw.pop("circuit_breaker", None))
    short = read_short_sale(raw.pop("short_sale", None))
    fees = {key: checks.number(f"exchange.{key}", value) for key, value in raw.items()}
    for key, value in fees.items():
        if abs(value) > MAX_FEE:
            raise ConfigError(f"exchange.{key} must be within ±{MAX_FEE:,}, was {value:g}")
    config = ExchangeConfig(**fees, self_trade=modes[mode])  # type: ignore[arg-type]
    return replace(config, price_limits=limits, circuit_breaker=breaker, short_sale=short)


def _read_tape(raw: dict[str, Any]) -> TapeConfig:
    checks.refuse_unknown("tape", raw, [field.name for field in fields(TapeConfig)])
    return TapeConfig(
        enabled=checks.boolean("tape.enabled", raw.get("enabled", TapeConfig.enabled)),
        levels=checks.integer("tape.levels", raw.get("levels", TapeConfig.levels), 1, 1000),
    )


def _read_oracles(raw: Any, symbols: tuple[SymbolConfig, ...]) -> dict[str, Any]:
    names = [entry.name for entry in symbols]
    oracles = {}
    for symbol, entry in checks.mapping("oracles", raw).items():
        if names and symbol not in names:
            hint = checks.did_you_mean(symbol, names)
            raise ConfigError(f"oracles: unknown symbol {symbol!r}{hint}")
        oracles[symbol] = read_tagged(f"oracles.{symbol}", "type", ORACLES, entry)
    return oracles


def _delay(field: str, value: Any) -> int:
    return checks.integer(field, value, 0, MAX_DELAY_NS)


#: How late an agent hears and acts.
_DELAYS = ("latency", "latency_ns", "computation_delay_ns")
_COMMON_KEYS = (
    "type", "symbol", "latency", "latency_ns", "site", "computation_delay_ns", "count",
    "inventory_lots",
)  # fmt: skip


def _read_agent(
    name: str, raw: Any, symbols: tuple[SymbolConfig, ...], delay_ns: int
) -> AgentConfig:
    where = f"agents.{name}"
    if not re.fullmatch(r"[A-Za-z_][\w-]*", name):
        raise ConfigError(f"agents: a name must be letters, digits, _ and -, was {name!r}")
    keys = checks.mapping(where, raw)
    if "type" not in keys:
        raise ConfigError(f"{where}: key 'type' is required")
    cls = resolve_agent(checks.text(f"{where}.type", keys["type"]), f"{where}.type")
    parameters = {key: value for key, value in keys.items() if key not in _COMMON_KEYS}
    check_parameters(cls, parameters, where, _COMMON_KEYS)
    plays_data = getattr(cls, "plays_data", False)
    for key in _DELAYS if plays_data else ():
        if keys.get(key):
            raise ConfigError(
                f"{where}: {key} must be left out of an agent that plays data: it acts at once;"
                f" was {keys[key]!r}"
            )
    symbol = keys.get("symbol")
    if symbol is not None:
        names = [entry.name for entry in symbols]
        checks.text(f"{where}.symbol", symbol)
        if names and symbol not in names:
            hint = checks.did_you_mean(symbol, names)
            raise ConfigError(f"{where}.symbol: unknown symbol {symbol!r}{hint}")
    return AgentConfig(
        name=name,
        type=keys["type"],
        symbol=symbol,
        latency=_read_latency(where, keys),
        site=None if keys.get("site") is None else checks.text(f"{where}.site", keys["site"]),
        computation_delay_ns=_delay(
            f"{where}.computation_delay_ns",
            keys.get("computation_delay_ns", 0 if plays_data else delay_ns),
        ),
        count=checks.integer(f"{where}.count", keys.get("count", 1), 1),
        inventory_lots=checks.integer(
            f"{where}.inventory_lots", keys.get("inventory_lots", 0), 0, MAX_TICKS
        ),
        parameters=parameters,
    )


def _read_latency(where: str, keys: dict[str, Any]) -> Any:
    """An agent's own latency: a model, or ``latency_ns`` for a constant one."""
    constant_ns = keys.get("latency_ns")
    if constant_ns is None:
        return read_tagged(f"{where}.latency", "model", MODELS, keys.get("latency"))
    if keys.get("latency") is not None:
        raise ConfigError(f"{where}: latency_ns and latency contradict each other: give one")
    return ConstantLatency(checks.integer(f"{where}.latency_ns", constant_ns, 0, MAX_DELAY_NS))
