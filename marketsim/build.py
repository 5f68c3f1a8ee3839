"""From a configuration to a block of memory with its agents in it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from marketsim.agent import Agent, CompiledAgent
from marketsim.errors import ConfigError
from marketsim.handle import Handle
from marketsim.market import Market
from marketsim.rulebook import install_rules, schedule
from marketsim.tape import Tape

if TYPE_CHECKING:
    from marketsim.simulation import Simulation

_MICRO = 1_000_000
#: Room for an ordinary day, so that growing is the exception.
_START = {
    "orders": 1024, "index": 2048, "levels": 512, "outcomes": 1024, "messages": 1024,
    "events": 1024,
}  # fmt: skip
#: Rows of the tape that the block holds before they are taken away.
_TAPE_ROWS = {"order_rows": 16_384, "trade_rows": 8_192, "delta_rows": 32_768}


def build(
    simulation: "Simulation",
    config: Any,
    overrides: Mapping[str, Any] | None,
    agents: Mapping[str, Agent] | Sequence[Agent],
    data: Tape | None,
) -> None:
    """Fill in a simulation: data, symbols, session, block, agents.

    Raises
    ------
    ConfigError, DataError
        If the configuration cannot be run or its data cannot be read.
    """
    from marketsim.configs import load_config

    loaded = load_config(config, overrides)
    simulation.config = loaded
    entries = _entries(loaded, agents)
    simulation.source = data if data is not None else _open(loaded)
    simulation.symbol_configs = _symbols(loaded, simulation.source)
    simulation.symbols = [symbol.name for symbol in simulation.symbol_configs]
    simulation.open_ns, simulation.close_ns = _session(loaded, simulation.source)
    simulation.schedule = schedule(loaded.session, simulation.open_ns, simulation.close_ns)
    simulation.agent_names = [name for name, _, _ in entries]
    simulation.given_agents = [name for name, entry, _ in entries if entry is None]
    simulation.agent_types = [
        entry.type if entry is not None else type(given).__name__ for _, entry, given in entries
    ]
    first = simulation.schedule[0][0]
    if simulation.source is not None and len(simulation.source):
        first = min(first, int(simulation.source.orders["time_ns"][0]))
    simulation.start_ns = first
    replays = [(e.symbol, n) for n, e, _ in entries if e is not None and e.type == "replay"]
    for symbol, name in replays:
        if [other for other, _ in replays].count(symbol) > 1:
            raise ConfigError(f"agents.{name}: only one replay agent can play a symbol's data")
    _make_block(simulation, len(entries))
    for agent, (name, entry, given) in enumerate(entries):
        _add_agent(simulation, agent, name, entry, given)


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


def _entries(
    config: Any, agents: Mapping[str, Agent] | Sequence[Agent]
) -> list[tuple[str, Any, Any]]:
    """All agents in the order of their ids: (name, configuration or None, agent if it is there)."""
    entries: list[tuple[str, Any, Any]] = []
    for entry in config.agents:
        for number in range(entry.count):
            name = entry.name if entry.count == 1 else f"{entry.name}-{number}"
            entries.append((name, entry, _built_early(entry)))
    taken = {name for name, _, _ in entries}
    if isinstance(agents, Mapping):
        named = list(agents.items())
    else:
        named = []
        for agent in agents:
            base = name = type(agent).__name__
            number = 2
            while name in taken or name in dict(named):
                name, number = f"{base}-{number}", number + 1
            named.append((name, agent))
    for name, agent in named:
        if not isinstance(agent, Agent | CompiledAgent):
            raise ConfigError(f"agents: {name!r} must be a marketsim.Agent, was {agent!r}")
        if name in taken:
            raise ConfigError(f"agents: name {name!r} is taken by the configuration")
        entries.append((name, None, agent))
    return entries


def _built_early(entry: Any) -> Any:
    """The agent, or None if it needs the data: a bad parameter is told before data are read."""
    from marketsim.configs.registry import check_parameters, resolve_agent

    needs = check_parameters(resolve_agent(entry.type), entry.parameters, f"agents.{entry.name}")
    return None if needs else entry.build()


def _make_block(simulation: "Simulation", n_agents: int) -> None:
    config, exchange = simulation.config, simulation.config.exchange
    capacities = dict(_TAPE_ROWS) if config.tape.enabled else {}
    n_books = len(simulation.symbols)
    market = Market(n_books, n_agents, **_START, rungs=1024 * n_books, **capacities)
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


def _add_agent(simulation: "Simulation", agent: int, name: str, entry: Any, given: Any) -> None:
    market = simulation._market
    built = given if given is not None else entry.build(tape=simulation.source)
    record = market.view("agents")[agent]
    record["inbox_head"] = record["inbox_tail"] = -1
    record["wants"] = 1
    if entry is not None:
        record["latency_ns"] = entry.latency_ns
        record["delay_ns"] = entry.computation_delay_ns
        record["symbol"] = simulation.symbol_id(entry.symbol) if entry.symbol else 0
        record["inventory_lots"] = entry.inventory_lots
    if isinstance(built, CompiledAgent):
        record["wants"] = int(built.wants_answers)
        record["kind"] = _kind_of(simulation, built)
        head = market.header
        head["headroom"] = max(int(head["headroom"]), built.headroom)
        simulation._compiled[agent] = built
        return
    horizon = int(record["latency_ns"])
    if horizon > int(market.header["horizon_ns"]):
        market.header["horizon_ns"] = horizon
        if market.capacities["history"] < 64:
            market.resize("history", 64)
    handle = Handle(simulation, agent, name, int(record["symbol"]))
    simulation._python[agent] = (built, handle)


def _kind_of(simulation: "Simulation", agent: CompiledAgent) -> int:
    """Number of a compiled agent's code in the block's table; 0 is for Python agents."""
    market = simulation._market
    known = [type(other).wake for other in simulation._compiled.values()]
    kinds = list(dict.fromkeys(known))
    if type(agent).wake not in kinds:
        kinds.append(type(agent).wake)
    number = kinds.index(type(agent).wake) + 1
    if number >= market.capacities["kinds"]:
        market.resize("kinds", 2 * market.capacities["kinds"])
    market.view("kinds")[number]["address"] = type(agent).wake.address
    return number
