"""Random streams: published answers, the distribution, and independence of each other."""

import numpy as np
import pytest

from marketsim.market import Market
from marketsim.rng import generator_for, known_answer, uniform_of

ONES = 0xFFFFFFFF
#: Random123's kat_vectors for philox4x32, 10 rounds: counter, key, answer.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES, ONES, ONES, ONES), (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize("counter, key, answer", KNOWN)
def test_philox_gives_the_published_answers(
    counter: tuple[int, ...], key: tuple[int, ...], answer: tuple[int, ...]
) -> None:
    assert tuple(known_answer(*counter, *key)) == answer


def draws(seed: int, agent: int, n: int) -> np.ndarray:
    market = Market(1, agent + 1)
    market.header["seed"] = seed
    return np.array([uniform_of(market.address, agent) for _ in range(n)])


@pytest.mark.parametrize("seed, agent", [(0, 0), (0, 1), (2**63 - 1, 0), (12345, 700)])
def test_draws_are_uniform(seed: int, agent: int) -> None:
    sample = draws(seed, agent, 20_000)
    assert sample.min() >= 0 and sample.max() < 1
    assert abs(sample.mean() - 0.5) < 4 * np.sqrt(1 / 12 / len(sample))
    steps = np.arange(len(sample) + 1) / len(sample)
    distance = max(np.abs(np.sort(sample) - steps[i : len(sample) + i]).max() for i in (0, 1))
    assert distance < 2.2 / np.sqrt(len(sample))  # Kolmogorov-Smirnov, p = 1e-4
    assert abs(np.corrcoef(sample[:-1], sample[1:])[0, 1]) < 4 / np.sqrt(len(sample))


def test_streams_differ_by_seed_and_by_agent_and_repeat_by_both() -> None:
    streams = {(s, a): draws(s, a, 2000) for s in (0, 1, 2**32, 2**40 + 1) for a in (0, 1, 2)}
    assert (draws(0, 1, 2000) == streams[0, 1]).all()
    keys = list(streams)
    for i, first in enumerate(keys):
        for second in keys[i + 1 :]:
            assert not np.isin(streams[first], streams[second]).any()
            assert abs(np.corrcoef(streams[first], streams[second])[0, 1]) < 0.12


def test_a_draw_does_not_depend_on_other_agents_draws() -> None:
    market = Market(1, 3)
    mixed = []
    for i in range(500):
        for _ in range(i % 3):
            uniform_of(market.address, 0)
        mixed.append(uniform_of(market.address, 2))
    assert (np.array(mixed) == draws(0, 2, 500)).all()


def test_generators_of_python_agents_are_streams_of_their_own() -> None:
    first = generator_for(0, 0).random(5).tolist()
    assert generator_for(0, 0).random(5).tolist() == first
    assert generator_for(0, 1).random(5).tolist() != first
    assert generator_for(1, 0).random(5).tolist() != first
    assert generator_for(2**63 - 1, 0).random(5).tolist() != first


def test_generators_of_symbols_and_of_neighbouring_seeds_differ() -> None:
    """Keys from 2**63 on, and seeds beyond 2**53, keep all their digits."""
    keys = [
        (seed, agent) for seed in (0, 1, 2**62, 2**62 + 1) for agent in (0, 1, 2**63, 2**63 + 1)
    ]
    assert len({generator_for(*key).random() for key in keys}) == len(keys)
