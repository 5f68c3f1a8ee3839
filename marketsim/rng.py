"""Random streams: counter-based, one per (seed, agent), so that no agent disturbs another's draws.

Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"):
draw ``n`` of an agent is a function of (seed, agent, n) alone.
"""

from typing import TYPE_CHECKING

from marketsim.compile import entry, helper
from marketsim.market import agents, header

if TYPE_CHECKING:
    import numpy as np

_LOW = 0xFFFFFFFF
_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_TO_UNIT = 1.0 / (1 << 53)


@helper
def upper(product):
    """Upper 32 bits of a 64-bit product held in a signed integer."""
    return (product >> 32) & _LOW


@helper
def philox(c0, c1, c2, c3, k0, k1):
    """Ten rounds on a 128-bit counter with a 64-bit key, all as 32-bit words in int64."""
    for _ in range(10):
        p0 = c0 * _M0
        p1 = c2 * _M1
        c0, c1, c2, c3 = (
            upper(p1) ^ c1 ^ k0,
            p1 & _LOW,
            upper(p0) ^ c3 ^ k1,
            p0 & _LOW,
        )
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@helper
def draw(m, agent):
    """Next 64 random bits of an agent's stream, as a signed integer."""
    h = header(m)
    record = agents(m, agent)
    n = record.counter
    record.counter = n + 1
    words = philox(n & _LOW, upper(n), agent & _LOW, 0, h.seed & _LOW, upper(h.seed))
    return (words[0] << 32) | words[1]


@helper
def uniform(m, agent):
    """Uniform on [0, 1) with 53 bits."""
    return float((draw(m, agent) >> 11) & ((1 << 53) - 1)) * _TO_UNIT


@entry
def known_answer(c0, c1, c2, c3, k0, k1):
    """:func:`philox` for Python, so that published test vectors can be checked."""
    return philox(c0, c1, c2, c3, k0, k1)


@entry
def uniform_of(m, agent):
    """:func:`uniform` for Python."""
    return uniform(m, agent)


def generator_for(seed: int, agent: int) -> "np.random.Generator":
    """NumPy generator of a Python agent: its own stream of (seed, agent), as for compiled ones."""
    import numpy as np

    return np.random.Generator(np.random.Philox(key=[seed & (1 << 64) - 1, agent]))
