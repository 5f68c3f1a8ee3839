"""Configurations: frozen dataclasses, and :func:`load_config` which refuses what it does not know.

A configuration is a YAML file by name (``demo``) or path, or a mapping of the same shape. All keys
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

import copy
import functools
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marketsim import checks
from marketsim.codes import SelfTrade
from marketsim.configs.files import config_names, read_config
from marketsim.configs.raw import override, plain, with_base
from marketsim.configs.registry import check_parameters, resolve_agent
from marketsim.configs.rules import (
    MAX_TICKS,
    BreakerLevelConfig,
    CircuitBreakerConfig,
    LotStepConfig,
    PeriodConfig,
    PriceLimitsConfig,
    SessionConfig,
    ShortSaleConfig,
    TickStepConfig,
    read_circuit_breaker,
    read_lot_table,
    read_price_limits,
    read_session,
    read_short_sale,
    read_tick_table,
)
from marketsim.configs.tagged import read_tagged, tagged_to_dict
from marketsim.errors import ConfigError
from marketsim.latency import MODELS, ConstantLatency
from marketsim.oracle import ORACLES

if TYPE_CHECKING:
    from marketsim.agent import Agent

__all__ = [
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

DEFAULT_OPEN = "09:30"
DEFAULT_CLOSE = "16:00"

#: A day; longer latencies and delays would never arrive.
MAX_DELAY_NS = 86_400_000_000_000
#: Basis points, or ticks a lot: all of the price is the most that a fee can take.
MAX_FEE = 10_000


@dataclass(frozen=True)
class SymbolConfig:
    """An instrument: currency per tick and shares (or coins) per lot.

    Agents' prices must be multiples of ``price_increment_ticks``, their sizes of
    ``size_increment_lots``, or what ``tick_table`` and ``lot_table`` say at a price; recorded flow
    is not bound by them. ``reference_ticks``: the previous close, for auctions and rules.
    """

    name: str = "SIM"
    tick_size: float = 0.01
    lot_size: float = 1
    price_increment_ticks: int = 1
    size_increment_lots: int = 1
    reference_ticks: int | None = None
    tick_table: tuple[TickStepConfig, ...] = ()
    lot_table: tuple[LotStepConfig, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON values; what is not given, or stands in a table, is left out."""
        raw = asdict(self)
        if self.reference_ticks is None:
            del raw["reference_ticks"]
        for table, single in (
            ("tick_table", "price_increment_ticks"),
            ("lot_table", "size_increment_lots"),
        ):
            del raw[single if raw[table] else table]
        return {key: list(value) if isinstance(value, tuple) else value
                for key, value in raw.items()}  # fmt: skip


@dataclass(frozen=True)
class ExchangeConfig:
    """Fees (negative: a rebate), what happens on meeting an own order, and the market's rules."""

    maker_fee_bps: float = 0.0
    taker_fee_bps: float = 0.0
    maker_fee_ticks_per_lot: float = 0.0
    taker_fee_ticks_per_lot: float = 0.0
    self_trade: SelfTrade = SelfTrade.ALLOW
    auction_fee_bps: float = 0.0
    auction_fee_ticks_per_lot: float = 0.0
    price_limits: PriceLimitsConfig | None = None
    circuit_breaker: CircuitBreakerConfig | None = None
    short_sale: ShortSaleConfig | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values; rules that are off are left out."""
        raw = {key: value for key, value in vars(self).items() if value is not None}
        raw["self_trade"] = self.self_trade.name.lower()
        for rule in (self.price_limits, self.circuit_breaker, self.short_sale):
            if rule is not None:
                raw[rule.key] = rule.to_dict()
        return raw


@dataclass(frozen=True)
class TapeConfig:
    """Whether a tape is written, and how many price levels its book shows."""

    enabled: bool = True
    levels: int = 10


@dataclass(frozen=True)
class AgentConfig:
    """``count`` agents of one class with the same parameters.

    ``symbol`` None is the first symbol, ``latency`` None the market's, ``site`` a place of latency
    model ``matrix``. ``parameters`` are keywords of the class. Of
    ``inventory_lots``, owned before the day, only the short-sale rule knows.
    """

    name: str
    type: str
    symbol: str | None = None
    latency: Any = None
    site: str | None = None
    computation_delay_ns: int = 0
    count: int = 1
    inventory_lots: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def build(self, **provided: Any) -> "Agent":
        """Make one agent.

        Parameters
        ----------
        **provided
            What the simulation has to offer (see ``registry.PROVIDED``); a class takes from it
            the parameters that it names.

        Raises
        ------
        ConfigError
            When the class refuses a parameter's value.
        """
        cls = resolve_agent(self.type, f"agents.{self.name}.type")
        taken = check_parameters(cls, self.parameters, f"agents.{self.name}")
        offered = {key: value for key, value in provided.items() if key in taken}
        try:
            agent: Agent = cls(**copy.deepcopy(dict(self.parameters)), **offered)
        except ConfigError as error:
            raise ConfigError(f"agents.{self.name}: {error}") from error
        return agent


@dataclass(frozen=True)
class SimulationConfig:
    """A whole market. ``symbols`` is empty when they are the data's.

    ``oracle`` is the fundamental value of every symbol that has none in ``oracles``, each drawn for
    itself; ``latency`` and ``computation_delay_ns`` are those of agents that have none of their
    own.
    """

    name: str = "custom"
    description: str = ""
    data: str | None = None
    symbols: tuple[SymbolConfig, ...] = ()
    session: SessionConfig = SessionConfig()
    exchange: ExchangeConfig = ExchangeConfig()
    tape: TapeConfig = TapeConfig()
    oracle: Any = None
    oracles: Mapping[str, Any] = field(default_factory=dict, hash=False)
    latency: Any = ConstantLatency()
    computation_delay_ns: int = 0
    agents: tuple[AgentConfig, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values that :func:`load_config` reads back to an equal object."""
        raw: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "data": self.data,
            "session": self.session.to_dict(),
            "exchange": self.exchange.to_dict(),
            "tape": asdict(self.tape),
            "oracle": tagged_to_dict("type", ORACLES, self.oracle),
            "oracles": {
                symbol: tagged_to_dict("type", ORACLES, oracle)
                for symbol, oracle in self.oracles.items()
            },
            "latency": tagged_to_dict("model", MODELS, self.latency),
            "computation_delay_ns": self.computation_delay_ns,
            "agents": {agent.name: _agent_to_dict(agent) for agent in self.agents},
        }
        if self.symbols:
            raw["symbols"] = [symbol.to_dict() for symbol in self.symbols]
        return raw

    @functools.cached_property
    def config_hash(self) -> str:
        """SHA-256 as hex digits. The order of agents counts, that of other keys does not."""
        raw = self.to_dict()
        raw["agents"] = list(raw["agents"].items())
        canonical = json.dumps(raw, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


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
    else:
        name, raw = read_config(config)
    raw, changes = plain("config", raw), dict(overrides or {})
    if "base" in changes:  # the others build on it
        override(raw, "base", changes.pop("base"))
    raw = with_base(raw)
    for key, value in changes.items():
        override(raw, key, value)
    return _read_simulation(raw, name)


def _read_simulation(raw: dict[str, Any], default_name: str) -> SimulationConfig:
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
        if agent.type == "replay" and data is None:
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
            f"{where}.computation_delay_ns", keys.get("computation_delay_ns", delay_ns)
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


def _agent_to_dict(agent: AgentConfig) -> dict[str, Any]:
    raw = {key: getattr(agent, key) for key in ("type", "computation_delay_ns", "count")}
    for key in ("symbol", "site"):
        if getattr(agent, key) is not None:
            raw[key] = getattr(agent, key)
    if agent.inventory_lots:
        raw["inventory_lots"] = agent.inventory_lots
    if agent.latency is not None:
        raw["latency"] = tagged_to_dict("model", MODELS, agent.latency)
    return raw | copy.deepcopy(dict(agent.parameters))
