"""From a configuration to a block of memory with its agents in it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from marketsim.agent import Agent, CompiledAgent, GivenAgents
from marketsim.compile import Callback
from marketsim.errors import ConfigError
from marketsim.handle import Handle
from marketsim.latency import ConstantLatency
from marketsim.market import Market
from marketsim.oracle import draw_paths
from marketsim.rulebook import install_rules, schedule
from marketsim.settlement import (
    HEARS_ACCEPTANCES,
    HEARS_ANSWERS,
    HEARS_FILLS,
    HEARS_REFUSALS,
)
from marketsim.tape import Tape

if TYPE_CHECKING:
    from marketsim.simulation import Simulation

_MICRO = 1_000_000
#: Room for an ordinary day, so that growing is the exception.
_START = {
    "orders": 1024, "index": 2048, "levels": 512, "outcomes": 1024, "messages": 1024,
}  # fmt: skip
#: Rows of the tape that the block holds before they are taken away.
_TAPE_ROWS = {"order_rows": 16_384, "trade_rows": 8_192, "delta_rows": 32_768}


@dataclass(frozen=True)
class Group:
    """Agents of one entry of the configuration, or one that was given as an object.

    ``compiled`` is the population that they all are, or None for Python agents. ``reveals``: of the
    tape that it plays back, or None.
    """

    name: str
    type: str
    members: range
    symbol: int
    entry: Any
    compiled: CompiledAgent | None
    reveals: Any = None


def build(
    simulation: "Simulation",
    config: Any,
    overrides: Mapping[str, Any] | None,
    agents: GivenAgents,
    data: Tape | None,
    price_paths: Mapping[str, Any] | None,
) -> None:
    """Fill in a simulation: data, symbols, session, block, fundamental values, agents.

    Raises
    ------
    ConfigError, DataError
        If the configuration cannot be run or its data cannot be read.
    """
    from marketsim.configs import load_config

    loaded = load_config(config, overrides)
    simulation.config = loaded
    early = [_built_early(entry) for entry in loaded.agents]
    given = _given(loaded, agents)
    simulation.source = data if data is not None else _open(loaded)
    simulation.symbol_configs = _symbols(loaded, simulation.source)
    simulation.symbols = [symbol.name for symbol in simulation.symbol_configs]
    simulation.open_ns, simulation.close_ns = _session(loaded, simulation.source)
    simulation.schedule = schedule(loaded.session, simulation.open_ns, simulation.close_ns)
    first = simulation.schedule[0][0]
    if simulation.source is not None and len(simulation.source):
        first = min(first, int(simulation.source.orders["time_ns"][0]))
    simulation.start_ns = first
    simulation.groups = []
    simulation.agent_names = []
    simulation.given_agents = list(given)
    simulation._codes = []
    _make_block(simulation, sum(entry.count for entry in loaded.agents) + len(given))
    _draw_fundamentals(simulation, price_paths or {})
    for entry, built in zip(loaded.agents, early, strict=True):
        _add_entry(simulation, entry, built)
    for name, agent in given.items():
        _add_given(simulation, name, agent)


def _open(config: Any) -> Tape | None:
    if config.data is None:
        return None
    from marketsim.data.source import open_tape

    return open_tape(config.data)


def _symbols(config: Any, source: Tape | None) -> list[Any]:
    from marketsim.configs import SymbolConfig

    if config.symbols:
        return list(config.symbols)
    meta: Mapping[str, Any] = source.meta if source is not None else {}
    name = str(meta.get("symbol") or SymbolConfig.name)
    tick_size = float(meta.get("tick_size", SymbolConfig.tick_size))
    return [SymbolConfig(name, tick_size, meta.get("lot_size", SymbolConfig.lot_size))]


def _session(config: Any, source: Tape | None) -> tuple[int, int]:
    from marketsim.clock import parse_time
    from marketsim.configs import DEFAULT_CLOSE, DEFAULT_OPEN

    meta: Mapping[str, Any] = source.meta if source is not None else {}
    open_ns, close_ns = config.session.open_ns, config.session.close_ns
    if open_ns is None:
        open_ns = int(meta.get("open_ns", parse_time(DEFAULT_OPEN)))
    if close_ns is None:
        close_ns = int(meta.get("close_ns", parse_time(DEFAULT_CLOSE)))
    if close_ns <= open_ns:
        raise ConfigError(f"session.close must be later than session.open, was {close_ns}")
    return open_ns, close_ns


def _given(config: Any, agents: GivenAgents) -> dict[str, Agent | CompiledAgent]:
    """Agents that were given as objects, by name."""
    taken = {entry.name for entry in config.agents}
    named: dict[str, Any] = {}
    if isinstance(agents, Mapping):
        named.update(agents)
    else:
        for agent in agents:
            base = name = type(agent).__name__
            number = 2
            while name in taken or name in named:
                name, number = f"{base}-{number}", number + 1
            named[name] = agent
    for name, agent in named.items():
        if not isinstance(agent, Agent | CompiledAgent):
            raise ConfigError(f"agents: {name!r} must be a marketsim.Agent, was {agent!r}")
        if name in taken:
            raise ConfigError(f"agents: name {name!r} is taken by the configuration")
    return named


def _built_early(entry: Any) -> Any:
    """The agent, or None if it needs the data: a bad parameter is told before data are read."""
    from marketsim.configs.registry import check_parameters, resolve_agent

    needs = check_parameters(resolve_agent(entry.type), entry.parameters, f"agents.{entry.name}")
    return None if needs else entry.build()


def _make_block(simulation: "Simulation", n_agents: int) -> None:
    config, exchange = simulation.config, simulation.config.exchange
    capacities = dict(_TAPE_ROWS) if config.tape.enabled else {}
    n_books = len(simulation.symbols)
    start = {**_START, "messages": max(_START["messages"], 2 * n_agents)}
    market = Market(n_books, n_agents, **start, rungs=1024 * n_books, **capacities)
    head = market.header
    head["seed"] = simulation.seed
    head["now_ns"] = simulation.start_ns
    called = config.session.opening_auction_ns is not None
    head["open_ns"] = simulation.schedule[0][0] if called else simulation.start_ns
    head["close_ns"] = simulation.close_ns
    head["next_order_id"] = 1
    head["tape_on"] = int(config.tape.enabled)
    head["headroom"] = 8
    head["self_trade"] = int(exchange.self_trade)
    for who in ("maker", "taker", "auction"):
        rate, per_lot = f"{who}_fee_bps", f"{who}_fee_ticks_per_lot"
        head[f"{who}_fee_rate"] = _fee(rate, getattr(exchange, rate), _MICRO // 10_000)
        head[f"{who}_fee_per_lot"] = _fee(per_lot, getattr(exchange, per_lot), _MICRO)
    for book, symbol in zip(market.view("books"), simulation.symbol_configs, strict=True):
        book["tick"] = symbol.price_increment_ticks
        book["lot"] = symbol.size_increment_lots
    simulation._market = market
    install_rules(simulation)


def _fee(field: str, value: float, units: int) -> int:
    """A fee as a whole number of the exchange's units, so that accounts stay exact."""
    fee = round(value * units)
    if abs(fee - value * units) > 1e-6:
        raise ConfigError(f"exchange.{field} must be a multiple of {1 / units:g}, was {value}")
    return fee


def _draw_fundamentals(simulation: "Simulation", given: Mapping[str, Any]) -> None:
    """Fundamental values of the symbols that have one."""
    oracles = simulation.config.oracles
    for symbol in (*given, *oracles):
        simulation.symbol_id(symbol)
    default = simulation.config.oracle
    wanted = {symbol: oracles.get(symbol, default) for symbol in simulation.symbols}
    draw_paths(
        {symbol: oracle for symbol, oracle in wanted.items() if oracle is not None},
        given,
        simulation._market,
        simulation.symbols,
        simulation.seed,
        simulation.open_ns,
        simulation.close_ns,
    )


def _add_entry(simulation: "Simulation", entry: Any, built: Any) -> None:
    """All agents of one entry of the configuration."""
    first = len(simulation.agent_names)
    members = range(first, first + entry.count)
    symbol = simulation.symbol_id(entry.symbol) if entry.symbol else 0
    if entry.count == 1:
        simulation.agent_names.append(entry.name)
    else:
        simulation.agent_names.extend(f"{entry.name}-{i}" for i in range(entry.count))
    records = simulation._market.view("agents")[first : members.stop]
    records["delay_ns"] = entry.computation_delay_ns
    records["symbol"] = symbol
    records["inventory_lots"] = entry.inventory_lots
    if built is None:
        built = entry.build(tape=simulation.source)
    compiled = built if isinstance(built, CompiledAgent) else None
    reveals = getattr(built, "reveals", None)
    group = Group(entry.name, entry.type, members, symbol, entry, compiled, reveals)
    latency = entry.latency or simulation.config.latency
    _add_group(simulation, group, built, latency, entry.site)
    if compiled is None:
        for agent in members:
            _add_python(simulation, agent, built if agent == first else entry.build(), symbol)


def _add_given(simulation: "Simulation", name: str, agent: Any) -> None:
    """One agent that was given as an object."""
    number = len(simulation.agent_names)
    simulation.agent_names.append(name)
    config = simulation.config
    compiled = agent if isinstance(agent, CompiledAgent) else None
    latency, delay_ns = config.latency, config.computation_delay_ns
    if agent.latency_ns is not None:
        latency = ConstantLatency(agent.latency_ns)
    if agent.computation_delay_ns is not None:
        delay_ns = agent.computation_delay_ns
    symbol = 0 if agent.symbol is None else simulation.symbol_id(agent.symbol)
    record = simulation._market.view("agents")[number]
    record["delay_ns"], record["symbol"] = delay_ns, symbol
    members = range(number, number + 1)
    reveals = getattr(agent, "reveals", None)
    group = Group(name, type(agent).__name__, members, symbol, None, compiled, reveals)
    _add_group(simulation, group, agent, latency, agent.site)
    if compiled is None:
        _add_python(simulation, number, agent, symbol)


def _check_replay(simulation: "Simulation", group: Group, tape: Tape) -> None:
    others = [other for other in simulation.groups if other.reveals is not None]
    if len(group.members) > 1 or group.symbol in [other.symbol for other in others]:
        raise ConfigError(
            f"agents.{group.name}: only one replay or world agent can play a symbol's data"
        )
    symbol, tick_size = simulation.symbol_configs[group.symbol], float(tape.meta["tick_size"])
    if not math.isclose(symbol.tick_size, tick_size, rel_tol=1e-9):
        raise ConfigError(
            f"agents.{group.name}: tick_size of symbol {symbol.name!r} must be that of the data,"
            f" {tick_size:g}, was {symbol.tick_size:g}"
        )


def _add_group(
    simulation: "Simulation", group: Group, built: Any, latency: Any, site: str | None
) -> None:
    """What all agents of a group have: latency, what they hear, compiled code."""
    market, members, compiled = simulation._market, group.members, group.compiled
    if group.reveals is not None:
        _check_replay(simulation, group, built.tape)
    simulation.groups.append(group)
    try:
        latency.apply(market, members, site)
    except ConfigError as error:
        raise ConfigError(f"agents.{group.name}: {error}") from error
    kind = 0 if built.wake is None else _kind_of(simulation, built.wake)
    records = market.view("agents")[members.start : members.stop]
    records["kind"] = kind
    records["inbox_head"] = records["inbox_tail"] = -1
    answers = HEARS_ANSWERS | (HEARS_ACCEPTANCES if built.wants_acceptances else 0)
    records["wants"] = (answers if built.wants_answers else 0) | (
        HEARS_FILLS | HEARS_REFUSALS if built.hears_fills else 0
    )
    looks_back_ns = 0
    if compiled is not None:
        head = market.header
        head["headroom"] = max(int(head["headroom"]), compiled.headroom)
        looks_back_ns = compiled.looks_back_ns
    if looks_back_ns >= 0:
        horizon_ns = int(records["latency_ns"].max()) + looks_back_ns
        market.header["horizon_ns"] = max(int(market.header["horizon_ns"]), horizon_ns)
        if horizon_ns and market.capacities["history"] < 64:
            market.resize("history", 64)


def _add_python(simulation: "Simulation", number: int, agent: Agent, symbol: int) -> None:
    handle = Handle(simulation, number, simulation.agent_names[number], symbol)
    simulation._python[number] = (agent, handle)


def _kind_of(simulation: "Simulation", wake: Callback) -> int:
    """Number of an agent's compiled code in the block's table; 0 is for Python agents."""
    market, codes = simulation._market, simulation._codes
    if wake not in codes:
        codes.append(wake)
    number = codes.index(wake) + 1
    if number >= market.capacities["kinds"]:
        market.resize("kinds", 2 * market.capacities["kinds"])
    market.view("kinds")[number]["address"] = wake.address
    return number
