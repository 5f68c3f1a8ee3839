"""Market rules in a configuration: hours and auctions, price limits, breakers, short sales, tables.

Every rule is off unless its key is there; what contradicts itself is refused by name.

**Phases.** In a call phase – before the open, before the close, in a halt – orders collect and
rest without matching, then all trade at one price (:mod:`marketsim.crossing`). Limit, market,
hidden and iceberg orders may come, be cancelled, reduced and replaced; immediate and post-only
ones are refused (AUCTION); stops wait until trading goes on. Between periods everything is
refused (SESSION), cancels too. A call phase or halt never outlives its period: it is uncrossed
when that ends. A halt until the close has no auction: new orders are refused (HALTED), cancels go
through.

**References.** A rule's ``reference`` is looked up when it is needed; while there is none yet –
no trade for ``open``, no auction for ``last_auction`` – the symbol's ``reference_ticks`` stands
in, and without that the rule waits. The mean of a window without trades is the last trade's
price; each auction starts the window anew, and counts as one trade in it.

**Recorded flow** (a replay) is bound by phases alone: in call phases and halts its orders rest
and its executions find nobody, which the summary counts under ``history``. Limits, tables and the
short-sale rule do not refuse it, but its trades move references and set off halts. Between
periods and after the close it plays on. Its own halts work as ever.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from marketsim import checks
from marketsim.clock import format_time, parse_span, parse_time
from marketsim.errors import ConfigError

#: Shares are counted in millionths.
PPM_PER_PERCENT = 10_000
#: Prices that the exchange takes at all.
MAX_TICKS = 1 << 56
DEFAULT_LIMIT_STATE = "15s"
DEFAULT_REFERENCE = "open"


@dataclass(frozen=True)
class PeriodConfig:
    """A stretch of the day between two breaks, nanoseconds since midnight."""

    open_ns: int
    close_ns: int


@dataclass(frozen=True)
class SessionConfig:
    """Hours of trading, nanoseconds since midnight; None is the data's own.

    ``periods`` tell the hours where there are breaks; the open is then the first one's, the close
    the last one's. A call phase lasts from ``opening_auction_ns`` to the open, another one from
    ``closing_auction_ns`` to the close.
    """

    open_ns: int | None = None
    close_ns: int | None = None
    periods: tuple[PeriodConfig, ...] = ()
    opening_auction_ns: int | None = None
    closing_auction_ns: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values from which :func:`read_session` makes an equal object."""
        raw: dict[str, Any] = {"open": self.open_ns, "close": self.close_ns}
        if self.periods:
            raw = {"periods": [{"open": p.open_ns, "close": p.close_ns} for p in self.periods]}
        for key in ("opening_auction", "closing_auction"):
            time_ns = getattr(self, f"{key}_ns")
            if time_ns is not None:
                raw[key] = time_ns
        return raw


@dataclass(frozen=True)
class PriceLimitsConfig:
    """Limit up, limit down: no trade further than ``percent`` from ``reference``.

    Limit orders outside the band are refused (PRICE_LIMIT), on either side of it; market orders
    trade up to it and drop the rest. An order that the band has left behind stays; nobody trades
    with it, and what would meet it first is refused, or dropped. In call phases the band bounds
    limit prices, not the auction's. It is lifted in the halt of its own pause, or any other, where
    the next auction sets the reference: ``last_auction`` and ``mean``.

    ``reference``: ``open`` (the day's first trade), ``previous_close`` (the symbol's
    ``reference_ticks``), ``last_auction``, ``mean`` (of the trade prices of the last ``window_ns``)
    or a price [ticks]. With ``pause_ns``, trading halts for so long, and reopens with an auction,
    when the touch has stayed at a limit for ``limit_state_ns``.
    """

    key: ClassVar[str] = "price_limits"
    percent: float
    reference: str | int = DEFAULT_REFERENCE
    window_ns: int | None = None
    pause_ns: int | None = None
    limit_state_ns: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values from which :func:`read_price_limits` makes an equal object."""
        raw = {
            "percent": self.percent, "reference": self.reference, "window": self.window_ns,
            "pause": self.pause_ns, "limit_state": self.limit_state_ns,
        }  # fmt: skip
        return {key: value for key, value in raw.items() if value is not None}


@dataclass(frozen=True)
class BreakerLevelConfig:
    """A move that halts trading for ``halt_ns``, or, None, until the close."""

    move_percent: float
    halt_ns: int | None


@dataclass(frozen=True)
class CircuitBreakerConfig:
    """Halts when a trade is so far from ``reference``, from the next event on, each symbol alone.

    Each level fires once a day; one that is passed over is spent with the higher one.
    """

    key: ClassVar[str] = "circuit_breaker"
    levels: tuple[BreakerLevelConfig, ...]
    reference: str | int = DEFAULT_REFERENCE
    direction: str = "down"

    def to_dict(self) -> dict[str, Any]:
        """JSON values from which :func:`read_circuit_breaker` makes an equal object."""
        levels = [
            {
                "move_percent": level.move_percent,
                "halt": "close" if level.halt_ns is None else level.halt_ns,
            }
            for level in self.levels
        ]
        return {"levels": levels, "reference": self.reference, "direction": self.direction}


@dataclass(frozen=True)
class ShortSaleConfig:
    """Short sales are ``forbidden``, or bound to the ``uptick`` rule (SEC Rule 201).

    That rule holds from the start, or from a trade ``trigger_percent`` below ``reference`` on: a
    short sale is then to be a limit order above the best bid. A sale is short when it is of more
    than the agent's ``inventory_lots`` and position, less what its other sell orders offer. Stops
    are looked at when they come in; a forbidden sale is refused as a stop already.
    """

    key: ClassVar[str] = "short_sale"
    rule: str
    trigger_percent: float | None = None
    reference: str | int | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values from which :func:`read_short_sale` makes an equal object."""
        raw = {
            "rule": self.rule, "trigger_percent": self.trigger_percent,
            "reference": self.reference,
        }  # fmt: skip
        return {key: value for key, value in raw.items() if value is not None}


@dataclass(frozen=True)
class TickStepConfig:
    """From a price on, limits and stops are multiples of this."""

    from_ticks: int
    increment_ticks: int


@dataclass(frozen=True)
class LotStepConfig:
    """From a price on, sizes are multiples of this."""

    from_ticks: int
    increment_lots: int


# -- sessions ----------------------------------------------------------------------------------


def read_session(raw: dict[str, Any], fallback: tuple[str | None, str | None]) -> SessionConfig:
    """Read ``session``; ``fallback`` is the open and close where none are given."""
    known = ("open", "close", "periods", "opening_auction", "closing_auction")
    checks.refuse_unknown("session", raw, known)
    opening, closing = (
        None if raw.get(key) is None else parse_time(raw[key], f"session.{key}")
        for key in ("opening_auction", "closing_auction")
    )
    periods: tuple[PeriodConfig, ...] = ()
    if raw.get("periods") is not None:
        for key in ("open", "close"):
            if raw.get(key) is not None:
                raise ConfigError(
                    f"session.{key} must not be given beside session.periods, was {raw[key]!r}"
                )
        periods = _read_periods(raw["periods"])
        session = SessionConfig(
            periods[0].open_ns, periods[-1].close_ns, periods if len(periods) > 1 else (),
            opening, closing,
        )  # fmt: skip
    else:
        open_ns, close_ns = _hours(raw, fallback)
        session = SessionConfig(open_ns, close_ns, (), opening, closing)
    check_auctions(session)
    return session


def _hours(raw: dict[str, Any], fallback: tuple[str | None, str | None]) -> list[int | None]:
    times: list[int | None] = []
    for key, other in zip(("open", "close"), fallback, strict=True):
        value = raw.get(key) if raw.get(key) is not None else other
        times.append(None if value is None else parse_time(value, f"session.{key}"))
    open_ns, close_ns = times
    if open_ns is not None and close_ns is not None and open_ns >= close_ns:
        raise ConfigError(
            f"session.close must be later than session.open {raw.get('open')},"
            f" was {raw.get('close')}"
        )
    return times


def _read_periods(raw: Any) -> tuple[PeriodConfig, ...]:
    periods: list[PeriodConfig] = []
    for where, keys in _rows("session.periods", raw, ("open", "close")):
        open_ns = parse_time(_required(where, keys, "open"), f"{where}.open")
        close_ns = parse_time(_required(where, keys, "close"), f"{where}.close")
        if close_ns <= open_ns:
            raise ConfigError(
                f"{where}.close must be later than its open {keys['open']}, was {keys['close']}"
            )
        if periods and open_ns < periods[-1].close_ns:
            raise ConfigError(
                f"{where}.open must not be before the period before it has closed"
                f" ({format_time(periods[-1].close_ns)}), was {keys['open']}"
            )
        periods.append(PeriodConfig(open_ns, close_ns))
    return tuple(periods)


def check_auctions(session: SessionConfig) -> None:
    """Refuse call phases that do not fit the hours, as far as those are known.

    Raises
    ------
    ConfigError
        If a call phase starts where it cannot.
    """
    opening, closing = session.opening_auction_ns, session.closing_auction_ns
    if opening is not None and session.open_ns is not None and opening >= session.open_ns:
        raise ConfigError(
            f"session.opening_auction must start before the open"
            f" {format_time(session.open_ns)}, was {format_time(opening)}"
        )
    if closing is None:
        return
    last_open = session.periods[-1].open_ns if session.periods else session.open_ns
    if last_open is not None and closing <= last_open:
        raise ConfigError(
            f"session.closing_auction must start after the last period's open"
            f" {format_time(last_open)}, was {format_time(closing)}"
        )
    if session.close_ns is not None and closing >= session.close_ns:
        raise ConfigError(
            f"session.closing_auction must start before the close"
            f" {format_time(session.close_ns)}, was {format_time(closing)}"
        )


# -- rules of the exchange ---------------------------------------------------------------------


def read_price_limits(raw: Any) -> PriceLimitsConfig | None:
    """Read ``exchange.price_limits``."""
    if raw is None:
        return None
    where = "exchange.price_limits"
    keys = checks.mapping(where, raw)
    checks.refuse_unknown(where, keys, ("percent", "reference", "window", "pause", "limit_state"))
    reference = _reference(
        f"{where}.reference", keys.get("reference", DEFAULT_REFERENCE), "last_auction", "mean"
    )
    window, pause, state = (_span(where, keys, key) for key in ("window", "pause", "limit_state"))
    if (window is None) != (reference != "mean"):
        need = "must be given with" if window is None else "is only for"
        raise ConfigError(f"{where}.window {need} reference 'mean', was {keys.get('window')!r}")
    for key, value in (("window", window), ("pause", pause)):
        if value is not None and value < 1:
            raise ConfigError(f"{where}.{key} must be > 0, was {keys[key]!r}")
    if state is not None and pause is None:
        raise ConfigError(f"{where}.limit_state needs a pause to lead to, was {state!r} alone")
    if pause is not None and state is None:
        state = parse_span(DEFAULT_LIMIT_STATE)
    percent = _percent(f"{where}.percent", _required(where, keys, "percent"))
    return PriceLimitsConfig(percent, reference, window, pause, state)


def read_circuit_breaker(raw: Any) -> CircuitBreakerConfig | None:
    """Read ``exchange.circuit_breaker``."""
    if raw is None:
        return None
    where = "exchange.circuit_breaker"
    keys = checks.mapping(where, raw)
    checks.refuse_unknown(where, keys, ("levels", "reference", "direction"))
    levels: list[BreakerLevelConfig] = []
    rows = _rows(f"{where}.levels", _required(where, keys, "levels"), ("move_percent", "halt"))
    for place, row in rows:
        if levels and levels[-1].halt_ns is None:
            raise ConfigError(f"{place}: no level can follow one that halts until the close")
        move = _percent(f"{place}.move_percent", _required(place, row, "move_percent"))
        if levels and move <= levels[-1].move_percent:
            raise ConfigError(
                f"{place}.move_percent must be more than the level before it,"
                f" {levels[-1].move_percent:g}, was {move:g}"
            )
        halt = _required(place, row, "halt")
        halt_ns = None if halt == "close" else parse_span(halt, f"{place}.halt")
        if halt_ns is not None and halt_ns < 1:
            raise ConfigError(f"{place}.halt must be > 0 or 'close', was {halt!r}")
        levels.append(BreakerLevelConfig(move, halt_ns))
    direction = keys.get("direction", "down")
    checks.choice(f"{where}.direction", direction, ("down", "up", "both"))
    reference = _reference(f"{where}.reference", keys.get("reference", DEFAULT_REFERENCE))
    return CircuitBreakerConfig(tuple(levels), reference, direction)


def read_short_sale(raw: Any) -> ShortSaleConfig | None:
    """Read ``exchange.short_sale``."""
    if raw is None:
        return None
    where = "exchange.short_sale"
    keys = checks.mapping(where, raw)
    checks.refuse_unknown(where, keys, ("rule", "trigger_percent", "reference"))
    rule = checks.choice(f"{where}.rule", _required(where, keys, "rule"), ("forbidden", "uptick"))
    trigger, reference = keys.get("trigger_percent"), keys.get("reference")
    if trigger is not None and rule != "uptick":
        raise ConfigError(f"{where}.trigger_percent is only for rule 'uptick', was {trigger!r}")
    if trigger is None:
        if reference is not None:
            raise ConfigError(f"{where}.reference needs a trigger_percent, was {reference!r} alone")
        return ShortSaleConfig(rule)
    return ShortSaleConfig(
        rule,
        _percent(f"{where}.trigger_percent", trigger),
        _reference(f"{where}.reference", DEFAULT_REFERENCE if reference is None else reference),
    )


# -- symbols -----------------------------------------------------------------------------------


def read_tick_table(where: str, keys: Mapping[str, Any]) -> tuple[TickStepConfig, ...]:
    """Read a symbol's ``tick_table``."""
    rows = _read_table(where, keys, "tick_table", "increment_ticks", "price_increment_ticks")
    return tuple(TickStepConfig(*row) for row in rows)


def read_lot_table(where: str, keys: Mapping[str, Any]) -> tuple[LotStepConfig, ...]:
    """Read a symbol's ``lot_table``."""
    rows = _read_table(where, keys, "lot_table", "increment_lots", "size_increment_lots")
    return tuple(LotStepConfig(*row) for row in rows)


def _read_table(
    where: str, keys: Mapping[str, Any], name: str, increment: str, single: str
) -> list[tuple[int, int]]:
    if keys.get(name) is None:
        return []
    if keys.get(single) is not None:
        raise ConfigError(
            f"{where}.{single} must not be given beside {where}.{name}, was {keys[single]!r}"
        )
    rows: list[tuple[int, int]] = []
    for place, row in _rows(f"{where}.{name}", keys[name], ("from_ticks", increment)):
        start = checks.integer(
            f"{place}.from_ticks", _required(place, row, "from_ticks"), -MAX_TICKS, MAX_TICKS
        )
        if not rows and start > 0:
            raise ConfigError(
                f"{place}.from_ticks must be <= 0, so that the table holds for any price,"
                f" was {start}"
            )
        if rows and start <= rows[-1][0]:
            raise ConfigError(
                f"{place}.from_ticks must be more than the row before it, {rows[-1][0]},"
                f" was {start}"
            )
        step = checks.integer(f"{place}.{increment}", _required(place, row, increment), 1)
        rows.append((start, step))
    return rows


# -- checks ------------------------------------------------------------------------------------


def _rows(where: str, raw: Any, known: tuple[str, ...]) -> list[tuple[str, dict[str, Any]]]:
    if not isinstance(raw, list | tuple) or not raw:
        raise ConfigError(f"{where} must be a list of at least one row, was {raw!r}")
    rows = []
    for number, row in enumerate(raw):
        place = f"{where}.{number}"
        keys = checks.mapping(place, row)
        checks.refuse_unknown(place, keys, known)
        rows.append((place, keys))
    return rows


def _required(where: str, keys: Mapping[str, Any], key: str) -> Any:
    if keys.get(key) is None:
        raise ConfigError(f"{where}: key {key!r} is required")
    return keys[key]


def _span(where: str, keys: Mapping[str, Any], key: str) -> int | None:
    return None if keys.get(key) is None else parse_span(keys[key], f"{where}.{key}")


def _percent(field: str, value: Any) -> float:
    percent = checks.number(field, value)
    if not 0 < percent <= 100:
        raise ConfigError(f"{field} must be > 0 and <= 100, was {value!r}")
    if abs(percent * PPM_PER_PERCENT - round(percent * PPM_PER_PERCENT)) > 1e-6:
        raise ConfigError(f"{field} must be a multiple of 0.0001, was {value!r}")
    return percent


def _reference(field: str, value: Any, *more: str) -> str | int:
    words = ("open", "previous_close", *more)
    if isinstance(value, str):
        return checks.choice(field, value, words)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(
            f"{field} must be a price in ticks or one of {', '.join(words)}, was {value!r}"
        )
    return checks.integer(field, value, -MAX_TICKS, MAX_TICKS)
