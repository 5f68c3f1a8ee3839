"""What a configuration is: frozen dataclasses, and the plain values that they were read from."""

import copy
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from marketsim.codes import SelfTrade
from marketsim.configs.registry import check_parameters, resolve_agent
from marketsim.configs.rules import (
    CircuitBreakerConfig,
    LotStepConfig,
    PriceLimitsConfig,
    SessionConfig,
    ShortSaleConfig,
    TickStepConfig,
)
from marketsim.configs.tagged import tagged_to_dict
from marketsim.errors import MarketSimError
from marketsim.latency import MODELS, ConstantLatency
from marketsim.oracle import ORACLES

if TYPE_CHECKING:
    from marketsim.agent import Agent


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
        MarketSimError
            When the class refuses a parameter's value, or what it reads.
        """
        cls = resolve_agent(self.type, f"agents.{self.name}.type")
        taken = check_parameters(cls, self.parameters, f"agents.{self.name}")
        offered = {key: value for key, value in provided.items() if key in taken}
        try:
            agent: Agent = cls(**copy.deepcopy(dict(self.parameters)), **offered)
        except MarketSimError as error:
            raise type(error)(f"agents.{self.name}: {error}") from error
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
