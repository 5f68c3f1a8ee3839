"""How long a message takes between an agent and the exchange, by function: never a table N².

A model gives every agent the least that its messages take, and maybe a random part on top of it,
drawn for each message from a stream that the agent's latencies have for themselves. With a random
part, two messages of one agent can overtake each other. What an agent sees of the market when it
looks is as old as its least latency.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from marketsim import checks
from marketsim.clock import NS_PER_DAY, parse_span
from marketsim.compile import helper
from marketsim.errors import ConfigError
from marketsim.market import agents, columns_at
from marketsim.rng import fill_places, jitter_uniform

if TYPE_CHECKING:
    from marketsim.market import Market

#: Speed of light in vacuum.
LIGHT_M_PER_S = 299_792_458.0
#: Length of the line between New York and Seattle on which the RMSC agents sit.
SEATTLE_NEW_YORK_M = 3_866_660.0

UNIFORM, CUBIC = 1, 2
JITTER = np.dtype([("kind", np.int64), ("width_ns", np.float64), ("clip", np.float64)])
jitters = columns_at(JITTER)


@helper
def jitter_ns(m, agent):
    """Random part of one message's latency."""
    record = agents(m, agent)
    jitter = jitters(m, record.jitter)
    u = jitter_uniform(m, agent)
    if jitter.kind == UNIFORM:
        return int(u * (jitter.width_ns + 1.0))
    x = jitter.clip + u * (1.0 - jitter.clip)
    extra_ns = jitter.width_ns * record.latency_ns / (x * x * x)
    return int(extra_ns) if extra_ns < NS_PER_DAY else NS_PER_DAY  # later, nothing arrives


@helper
def latency_ns(m, agent):
    """Latency of one message between an agent and the exchange."""
    record = agents(m, agent)
    if record.jitter == 0:
        return record.latency_ns
    return record.latency_ns + jitter_ns(m, agent)


@dataclass(frozen=True)
class ConstantLatency:
    """Every message takes ``latency_ns``."""

    latency_ns: int = 0

    def __post_init__(self) -> None:
        _set_span(self, "latency_ns")

    def apply(self, market: "Market", members: range, site: str | None = None) -> None:
        """Give these agents the latency."""
        _refuse_site(site)
        _give(market, members, self.latency_ns)


@dataclass(frozen=True)
class UniformLatency:
    """Each message takes a whole number of nanoseconds from ``low_ns`` to ``high_ns``."""

    low_ns: int
    high_ns: int

    def __post_init__(self) -> None:
        _set_span(self, "low_ns")
        _set_span(self, "high_ns")
        if self.high_ns < self.low_ns:
            raise ConfigError(f"high_ns must be >= low_ns {self.low_ns}, was {self.high_ns}")

    def apply(self, market: "Market", members: range, site: str | None = None) -> None:
        """Give these agents the latency."""
        _refuse_site(site)
        width_ns = self.high_ns - self.low_ns
        _give(market, members, self.low_ns, UNIFORM if width_ns else 0, float(width_ns))


@dataclass(frozen=True)
class CubicLatency:
    """ABIDES' cubic model: ``latency = min · (1 + jitter / unit / x³)``, x uniform on [clip, 1].

    Parameters
    ----------
    min_latency_ns : the least.
    jitter : 0 <= jitter <= 1, share of the least latency that is random.
    jitter_clip : from 0.0001 to 1; the smaller, the longer the tail.
    jitter_unit : > 0.

    References: Byrd, Hybinette & Balch (2020), "ABIDES: Towards High-Fidelity Multi-Agent Market
    Simulation".
    """

    min_latency_ns: int
    jitter: float = 0.5
    jitter_clip: float = 0.1
    jitter_unit: float = 10.0

    def __post_init__(self) -> None:
        _set_span(self, "min_latency_ns")
        _check_jitter(self)

    def apply(self, market: "Market", members: range, site: str | None = None) -> None:
        """Give these agents the latency."""
        _refuse_site(site)
        _give(market, members, self.min_latency_ns, *_cubic(self))


@dataclass(frozen=True)
class MatrixLatency:
    """Sites with a matrix of latencies between them; an agent is at its key ``site``.

    Parameters
    ----------
    sites : names.
    latency_ns : one row a site, one column a site; need not be symmetric: the row of the agent's
        site counts, in both directions.
    exchange : the site of the exchange.
    jitter, jitter_clip, jitter_unit : a random part as in :class:`CubicLatency`; 0 has none.
    """

    sites: tuple[str, ...]
    latency_ns: tuple[tuple[int, ...], ...]
    exchange: str
    jitter: float = 0.0
    jitter_clip: float = 0.1
    jitter_unit: float = 10.0

    def __post_init__(self) -> None:
        sites = [checks.text("sites", site) for site in checks.sequence("sites", self.sites)]
        if not sites or len(set(sites)) != len(sites):
            raise ConfigError(f"sites must be different names, at least one, were {sites!r}")
        rows = checks.sequence("latency_ns", self.latency_ns)
        table = tuple(
            tuple(_span(f"latency_ns.{i}.{j}", value) for j, value in enumerate(row))
            for i, row in enumerate(
                checks.sequence(f"latency_ns.{i}", r) for i, r in enumerate(rows)
            )
        )
        if len(table) != len(sites) or any(len(row) != len(sites) for row in table):
            shape = [len(row) for row in table]
            raise ConfigError(
                f"latency_ns must have {len(sites)} rows of {len(sites)}, one a site, had {shape}"
            )
        object.__setattr__(self, "sites", tuple(sites))
        object.__setattr__(self, "latency_ns", table)
        checks.choice("exchange", self.exchange, self.sites)
        _check_jitter(self)

    def apply(self, market: "Market", members: range, site: str | None = None) -> None:
        """Give these agents the latency from their site."""
        if site is None:
            raise ConfigError(f"key 'site' is required: latency.sites are {', '.join(self.sites)}")
        row = self.sites.index(checks.choice("site", site, self.sites))
        base = self.latency_ns[row][self.sites.index(self.exchange)]
        _give(market, members, base, *_cubic(self))


@dataclass(frozen=True)
class GeometryLatency:
    """Agents on a line, each at a place of its own; messages travel at the speed of light.

    An agent's place is drawn once, uniformly, from a stream of its own: another agent more or less
    moves nobody. The RMSC markets sit between Seattle and New York.

    Parameters
    ----------
    length_m : of the line.
    exchange_m : where on it the exchange is; 0 is New York.
    speed_m_per_s : of messages: light in vacuum; about two thirds of it in a fibre.
    jitter, jitter_clip, jitter_unit : a random part as in :class:`CubicLatency`; 0 has none.
    """

    length_m: float = SEATTLE_NEW_YORK_M
    exchange_m: float = 0.0
    speed_m_per_s: float = LIGHT_M_PER_S
    jitter: float = 0.0
    jitter_clip: float = 0.1
    jitter_unit: float = 10.0

    def __post_init__(self) -> None:
        checks.positive("length_m", self.length_m)
        checks.positive("speed_m_per_s", self.speed_m_per_s)
        if not 0 <= checks.number("exchange_m", self.exchange_m) <= self.length_m:
            raise ConfigError(
                f"exchange_m must be from 0 to length_m {self.length_m:g}, was {self.exchange_m:g}"
            )
        if self.length_m / self.speed_m_per_s * 1e9 > NS_PER_DAY:
            raise ConfigError(
                f"speed_m_per_s must cross the line in a day, was {self.speed_m_per_s}"
            )
        _check_jitter(self)

    def apply(self, market: "Market", members: range, site: str | None = None) -> None:
        """Give these agents the latency of their places."""
        _refuse_site(site)
        places = np.empty(len(members))
        fill_places(market.address, members.start, places)
        distance_m = np.abs(places * self.length_m - self.exchange_m)
        base = np.rint(distance_m / self.speed_m_per_s * 1e9).astype(np.int64)
        _give(market, members, base, *_cubic(self))


#: Name of a model in a configuration -> its class.
MODELS: dict[str, type[Any]] = {
    "constant": ConstantLatency,
    "uniform": UniformLatency,
    "cubic": CubicLatency,
    "matrix": MatrixLatency,
    "geometry": GeometryLatency,
}


def _give(
    market: "Market",
    members: range,
    least: Any,
    kind: int = 0,
    width: float = 0.0,
    clip: float = 0.0,
) -> None:
    records = market.view("agents")[members.start : members.stop]
    records["latency_ns"] = least
    records["jitter"] = 0
    if kind:
        at = market.take_words(len(JITTER.names or ()))
        market.view("words")["value"][at : at + 3] = _words(JITTER, kind, width, clip)
        market.view("agents")["jitter"][members.start : members.stop] = at


def _words(dtype: np.dtype[Any], *values: float) -> Any:
    return np.array([tuple(values)], dtype).view(np.int64)


def _cubic(model: Any) -> tuple[int, float, float]:
    if model.jitter == 0:
        return 0, 0.0, 0.0
    return CUBIC, model.jitter / model.jitter_unit, model.jitter_clip


def _check_jitter(model: Any) -> None:
    if not 0 <= checks.number("jitter", model.jitter) <= 1:
        raise ConfigError(f"jitter must be from 0 to 1, was {model.jitter:g}")
    if not 1e-4 <= checks.number("jitter_clip", model.jitter_clip) <= 1:
        raise ConfigError(f"jitter_clip must be from 0.0001 to 1, was {model.jitter_clip:g}")
    checks.positive("jitter_unit", model.jitter_unit)


def _set_span(model: Any, field: str) -> None:
    object.__setattr__(model, field, _span(field, getattr(model, field)))


def _span(field: str, value: Any) -> int:
    span_ns = parse_span(value, field)
    if span_ns > NS_PER_DAY:
        raise ConfigError(f"{field} must be <= a day, {NS_PER_DAY} ns, was {value!r}")
    return span_ns


def _refuse_site(site: str | None) -> None:
    if site is not None:
        raise ConfigError(f"site is for latency model 'matrix', was {site!r}")
