"""Sizes of the orders that populations send: a mixture of distributions, drawn in compiled code."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from marketsim import checks
from marketsim.compile import helper
from marketsim.errors import ConfigError
from marketsim.market import columns_at
from marketsim.population import columns
from marketsim.rng import normal, uniform

if TYPE_CHECKING:
    from marketsim.market import Market

#: Kinds of a component.
UNIFORM, NORMAL, LOGNORMAL = 0, 1, 2
_KINDS = {"uniform": UNIFORM, "normal": NORMAL, "lognormal": LOGNORMAL}
COMPONENT = columns(up_to=float, kind=int, a=float, b=float)
_WIDTH = len(COMPONENT.names or ())
components = columns_at(COMPONENT)


@helper
def draw_size(m, agent, at):
    """Lots of one order from the mixture at a word; at least 0. Up to three draws."""
    word = at
    if components(m, at).up_to < 1.0:
        u = uniform(m, agent)
        while u >= components(m, word).up_to:
            word += _WIDTH
    chosen = components(m, word)
    if chosen.kind == UNIFORM:
        return int(chosen.a) + int(uniform(m, agent) * (chosen.b - chosen.a + 1.0))
    size = chosen.a + chosen.b * normal(m, agent)
    if chosen.kind == LOGNORMAL:
        size = np.exp(size)
    return max(int(np.rint(size)), 0)


@dataclass(frozen=True)
class Component:
    """One part of a mixture: ``uniform`` (low, high), ``normal`` (mean, standard deviation) or
    ``lognormal`` (mean and standard deviation of the logarithm)."""

    weight: float
    kind: str
    a: float
    b: float


#: Sizes of RMSC04: a lognormal body and round lots of 100 to 1,000.
MIXTURE = (
    Component(0.2, "lognormal", 2.9, 1.2),
    *(
        Component(weight, "normal", 100.0 * (i + 1), 0.15)
        for i, weight in enumerate(
            (0.7, 0.06, 0.004, 0.0329, 0.001, 0.0006, 0.0004, 0.0005, 0.0003, 0.0003)
        )
    ),
)


def read_sizes(size: Any) -> tuple[Component, ...]:
    """The mixture that a configuration asks for.

    Parameters
    ----------
    size : lots; ``[low, high]`` for whole numbers from low to high; ``"mixture"`` for RMSC04's; or
        a list of ``{weight: w, normal: [mean, sd]}`` (or ``lognormal``, ``uniform``), whose weights
        are shares of their sum.

    Raises
    ------
    ConfigError
        If it is none of these.
    """
    if size == "mixture":
        return MIXTURE
    if isinstance(size, int) and not isinstance(size, bool):
        lots = checks.integer("size", size, 1)
        return (Component(1.0, "uniform", lots, lots),)
    if not isinstance(size, list | tuple) or not size:
        raise ConfigError(
            "size must be lots, [low, high], 'mixture' or a list of weighted distributions, was"
            f" {size!r}"
        )
    if all(not isinstance(item, dict) for item in size):
        return (_uniform("size", size, 1.0),)
    return tuple(_component(f"size.{i}", item) for i, item in enumerate(size))


def _uniform(field: str, bounds: Any, weight: float) -> Component:
    if len(bounds) != 2:
        raise ConfigError(f"{field} must be [low, high], was {bounds!r}")
    low = checks.integer(f"{field}.0", bounds[0], 1)
    high = checks.integer(f"{field}.1", bounds[1], low)
    return Component(weight, "uniform", low, high)


def _component(field: str, item: Any) -> Component:
    keys = checks.mapping(field, item)
    checks.refuse_unknown(field, keys, ["weight", *_KINDS])
    weight = checks.positive(f"{field}.weight", keys.pop("weight", 1.0))
    if len(keys) != 1:
        raise ConfigError(f"{field} must have one of {', '.join(_KINDS)}, has {sorted(keys)}")
    kind, bounds = next(iter(keys.items()))
    bounds = checks.sequence(f"{field}.{kind}", bounds)
    if kind == "uniform":
        return _uniform(f"{field}.{kind}", bounds, weight)
    if len(bounds) != 2:
        raise ConfigError(f"{field}.{kind} must be [mean, standard deviation], was {bounds!r}")
    mean = checks.number(f"{field}.{kind}.0", bounds[0])
    return Component(weight, kind, mean, checks.at_least_zero(f"{field}.{kind}.1", bounds[1]))


def write_sizes(market: "Market", size: Any) -> int:
    """Put a mixture into a market's block; returns the word where it is."""
    mixture = read_sizes(size)
    shares = np.cumsum([part.weight for part in mixture])
    up_to = shares / shares[-1]
    up_to[-1] = 1.0
    rows = [
        (share, _KINDS[part.kind], part.a, part.b)
        for share, part in zip(up_to, mixture, strict=True)
    ]
    at = market.take_words(_WIDTH * len(rows))
    block = market.view("words")["value"]
    block[at : at + _WIDTH * len(rows)] = np.array(rows, COMPONENT).view(np.int64)
    return at
