"""PPO learns to make a market in RMSC04, against quotes at a fixed spread.

Every 5 seconds it chooses one of the nine pairs of quotes of Spooner et al. (2018), or trades its
inventory away; its reward is its gain in ticks for each lot of a quote. RMSC04 is no easy market
for a maker: the touch is a tick wide, the book foretells some of the next minute's price, and who
trades against a quote is right more often than not, so that every fixed spread loses. The baseline
is the one of five symmetric spreads that loses least.

Run with ``python examples/ppo_market_making.py``: some 15 minutes on two cores; ``--quick`` takes
seconds, ``--resume`` goes on after an interruption.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from ppo_training import Policy, Problem, Settings, main


def fixed(action: int, env: Any) -> Policy:
    """The same pair of quotes always: action a is a + 1 mean half-spreads on both sides."""

    def policy(observations: np.ndarray, infos: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.full(len(observations), action)

    return policy


PROBLEM = Problem(
    title="Making a market in RMSC04 for 20 minutes: PPO against a fixed spread",
    name="marketsim/MarketMaking-v0",
    parameters={"window": "20min", "interval": "5s", "clear_action": True},
    unit="ticks",
    baselines={f"{a + 1} half-spreads": partial(fixed, a) for a in (4, 3, 2, 1, 0)},
)
SETTINGS = Settings(
    out=Path("runs/ppo-market-making"),
    total_steps=4_000_000,
    n_steps=240,
    batch_size=3_840,
    gamma=0.99,
    ent_coef=0.005,
)

if __name__ == "__main__":
    main(PROBLEM, tyro.cli(Settings, default=SETTINGS))
