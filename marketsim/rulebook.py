"""From a configuration to the rules of each book, and from the day's hours to its schedule."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from marketsim.codes import Phase, State
from marketsim.errors import ConfigError
from marketsim.kernel import send_phase
from marketsim.market import NO_PRICE, Market
from marketsim.rules import MILLION, Reference, ShortRule

if TYPE_CHECKING:
    from marketsim.configs.rules import SessionConfig
    from marketsim.simulation import Simulation

#: Times of phases: (when it begins, the phase, when it is to end).
Schedule = list[tuple[int, Phase, int]]


def schedule(session: "SessionConfig", open_ns: int, close_ns: int) -> Schedule:
    """Phases of a day in order, the first as it is at the start.

    Raises
    ------
    ConfigError
        If a call phase does not fit the hours, which may be the data's.
    """
    from marketsim.configs.rules import check_auctions

    known = replace(session, open_ns=open_ns, close_ns=close_ns)
    check_auctions(known)
    periods = [(p.open_ns, p.close_ns) for p in session.periods] or [(open_ns, close_ns)]
    starts: list[tuple[int, Phase]] = []
    if known.opening_auction_ns is not None:
        starts.append((known.opening_auction_ns, Phase.OPENING_CALL))
    for number, (start_ns, end_ns) in enumerate(periods):
        starts.append((start_ns, Phase.CONTINUOUS))
        if number < len(periods) - 1:
            starts.append((end_ns, Phase.BREAK))
    if known.closing_auction_ns is not None:
        starts.append((known.closing_auction_ns, Phase.CLOSING_CALL))
    starts.append((close_ns, Phase.CLOSED))
    ends = [time_ns for time_ns, _ in starts[1:]] + [0]
    return [(time_ns, phase, end) for (time_ns, phase), end in zip(starts, ends, strict=True)]


def has_rules(config: Any) -> bool:
    """Whether a configuration has a rule that makes phases."""
    session, exchange = config.session, config.exchange
    limits = exchange.price_limits
    return bool(
        session.periods
        or session.opening_auction_ns is not None
        or session.closing_auction_ns is not None
        or exchange.circuit_breaker
        or (limits is not None and limits.pause_ns is not None)
    )


def send_schedule(simulation: "Simulation") -> None:
    """Messages by which each book's phases begin, the first of the exchange's."""
    if not has_rules(simulation.config):
        return
    market = simulation._market
    phases = simulation.schedule[1:]
    books = range(len(simulation.symbols))
    market.reserve_messages(len(phases) * len(books))
    for time_ns, phase, end_ns in phases:
        for book in books:
            send_phase(market.address, time_ns, book, int(phase), end_ns)


def install_rules(simulation: "Simulation") -> None:
    """Write the rules of every symbol into the block.

    Raises
    ------
    ConfigError
        If a rule measures from a previous close that a symbol does not have.
    """
    market, exchange = simulation._market, simulation.config.exchange
    _, phase, end_ns = simulation.schedule[0]
    for book, symbol in enumerate(simulation.symbol_configs):
        rule = market.view("rules")[book]
        if symbol.reference_ticks is not None:
            rule["base_ticks"] = symbol.reference_ticks
        rule["phase"] = rule["shown"] = int(phase)
        rule["end_ns"] = rule["period_end_ns"] = end_ns
        _tables(market, book, symbol)
        _price_limits(market, book, exchange.price_limits, symbol)
        _circuit_breaker(market, book, exchange.circuit_breaker, symbol)
        _short_sale(market, book, exchange.short_sale, symbol)
        rule = market.view("rules")[book]
        bound = any(
            rule[name]
            for name in (
                "limit_reference",
                "breaker_reference",
                "short_rule",
                "tick_count",
                "lot_count",
            )
        )
        state = State.RULES if bound else State(0)
        if phase == Phase.OPENING_CALL:
            state |= State.CALL
        market.view("books")[book]["state"] = int(state)


def _add_steps(market: Market, rows: list[tuple[int, int]]) -> int:
    """Append rows to the block's tables; returns where they start."""
    table = market.view("steps")
    start = int(market.header["steps_count"])
    if start + len(rows) > len(table):
        market.resize("steps", start + len(rows))
    market.view("steps")[start : start + len(rows)] = np.array(rows, market.view("steps").dtype)
    market.header["steps_count"] = start + len(rows)
    return start


def _tables(market: Market, book: int, symbol: Any) -> None:
    for name, rows in (
        ("tick", [(row.from_ticks, row.increment_ticks) for row in symbol.tick_table]),
        ("lot", [(row.from_ticks, row.increment_lots) for row in symbol.lot_table]),
    ):
        start = _add_steps(market, rows)
        rule = market.view("rules")[book]
        rule[f"{name}_start"], rule[f"{name}_count"] = start, len(rows)


def _reference(field: str, reference: str | int, symbol: Any) -> tuple[int, int]:
    """Kind of a reference and its price, if it has a fixed one."""
    if reference == "previous_close":
        if symbol.reference_ticks is None:
            raise ConfigError(
                f"exchange.{field}.reference is previous_close, and symbol {symbol.name} has no"
                " reference_ticks"
            )
        return Reference.TICKS, symbol.reference_ticks
    if isinstance(reference, str):
        return Reference[reference.upper()], NO_PRICE
    return Reference.TICKS, reference


def _ppm(percent: float) -> int:
    return round(percent * MILLION / 100)


def _price_limits(market: Market, book: int, limits: Any, symbol: Any) -> None:
    if limits is None:
        return
    rule = market.view("rules")[book]
    kind, ticks = _reference("price_limits", limits.reference, symbol)
    rule["limit_reference"], rule["limit_ticks"] = kind, ticks
    rule["limit_ppm"] = _ppm(limits.percent)
    rule["window_ns"] = limits.window_ns or 0
    rule["pause_ns"] = limits.pause_ns or 0
    rule["limit_state_ns"] = limits.limit_state_ns or 0


def _circuit_breaker(market: Market, book: int, breaker: Any, symbol: Any) -> None:
    if breaker is None:
        return
    rows = [
        (_ppm(level.move_percent), -1 if level.halt_ns is None else level.halt_ns)
        for level in breaker.levels
    ]
    start = _add_steps(market, rows)
    rule = market.view("rules")[book]
    kind, ticks = _reference("circuit_breaker", breaker.reference, symbol)
    rule["breaker_reference"], rule["breaker_ticks"] = kind, ticks
    rule["breaker_start"], rule["breaker_count"] = start, len(rows)
    rule["breaker_down"] = breaker.direction in ("down", "both")
    rule["breaker_up"] = breaker.direction in ("up", "both")


def _short_sale(market: Market, book: int, short: Any, symbol: Any) -> None:
    if short is None:
        return
    rule = market.view("rules")[book]
    rule["short_rule"] = ShortRule[short.rule.upper()]
    if short.trigger_percent is not None:
        rule["short_ppm"] = _ppm(short.trigger_percent)
        kind, ticks = _reference("short_sale", short.reference, symbol)
        rule["short_reference"], rule["short_ticks"] = kind, ticks
