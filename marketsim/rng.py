"""Random streams: counter-based, one per (seed, agent), so that no agent disturbs another's draws.

Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"):
draw ``n`` of an agent is a function of (seed, agent, n) alone.
"""

import math
from typing import TYPE_CHECKING

from marketsim.compile import entry, helper, hot
from marketsim.market import agents, header

if TYPE_CHECKING:
    import numpy as np

_LOW = 0xFFFFFFFF
_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_TO_UNIT = 1.0 / (1 << 53)
#: What a compiled agent's streams are for: its actions, its latencies, its place.
ACTIONS, LATENCY, PLACE = 0, 1, 2


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


@hot
def unit(high, low):
    """Uniform on [0, 1) from two 32-bit words, with 53 bits."""
    return float((high << 21) | (low >> 11)) * _TO_UNIT


@helper
def block(m, agent, n, purpose):
    """Four 32-bit words: the ``n``-th of an agent's stream for this purpose."""
    seed = header(m).seed
    return philox(n & _LOW, upper(n), agent & _LOW, purpose, seed & _LOW, upper(seed))


@hot
def next_block(m, agent):
    """Next four words of an agent's own stream."""
    record = agents(m, agent)
    n = record.counter
    record.counter = n + 1
    return block(m, agent, n, ACTIONS)


@helper
def uniform(m, agent):
    """Uniform on [0, 1) with 53 bits."""
    words = next_block(m, agent)
    return unit(words[0], words[1])


@helper
def exponential(m, agent, mean):
    """Exponential with this mean, by inversion."""
    return -mean * math.log1p(-uniform(m, agent))


@helper
def normal(m, agent):
    """Standard normal (Box & Muller 1958) from one draw of four words."""
    words = next_block(m, agent)
    radius = math.sqrt(-2.0 * math.log1p(-unit(words[0], words[1])))
    return radius * math.cos(2.0 * math.pi * unit(words[2], words[3]))


@helper
def integer(m, agent, low, high):
    """Uniform whole number from ``low`` to ``high``, both included."""
    return low + int(uniform(m, agent) * (high - low + 1))


@helper
def jitter_uniform(m, agent):
    """Uniform on [0, 1) of the stream that an agent's latencies have for themselves."""
    record = agents(m, agent)
    n = record.jitter_draws
    record.jitter_draws = n + 1
    words = block(m, agent, n, LATENCY)
    return unit(words[0], words[1])


@entry
def known_answer(c0, c1, c2, c3, k0, k1):
    """:func:`philox` for Python, so that published test vectors can be checked."""
    return philox(c0, c1, c2, c3, k0, k1)


@entry
def uniform_of(m, agent):
    """:func:`uniform` for Python."""
    return uniform(m, agent)


@entry
def fill_places(m, first, out):
    """Uniforms on [0, 1) into ``out``: where agents ``first``, ``first + 1``, ... are."""
    for i in range(len(out)):
        words = block(m, first + i, 0, PLACE)
        out[i] = unit(words[0], words[1])


def generator_for(seed: int, agent: int) -> "np.random.Generator":
    """NumPy generator of a Python agent: its own stream of (seed, agent), as for compiled ones.

    Symbols' fundamental values have theirs from ``agent`` 2**63 on.
    """
    import numpy as np

    # As unsigned integers: of a list with one beyond 2**63, NumPy would make floats.
    key = np.array([seed & (1 << 64) - 1, agent], np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
