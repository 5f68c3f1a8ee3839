"""PPO learns to make a market in RMSC04, against quotes at a fixed spread.

Every 5 seconds it says how far from the mid-price its bid and its ask are to stand, and of how many
lots; its reward is its gain in ticks for each lot of a quote. RMSC04 is no easy market for a maker:
the touch is a tick wide, the book foretells some of the next minute's price, and who trades against
a quote is right more often than not, so that a maker who always quotes both sides loses at any
spread. What can be gained is in quoting the side that the book is about to move to.

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

MAX_OFFSET_TICKS = 5
IMBALANCE_5 = 5  # place in the observation


def quotes(offset_ticks: float, bid: np.ndarray, ask: np.ndarray) -> np.ndarray:
    """Actions: both quotes so far from the mid, of full size where there is one."""
    offset = np.full(len(bid), 2 * offset_ticks / MAX_OFFSET_TICKS - 1)
    sizes = (np.where(side, 1.0, -1.0) for side in (bid, ask))
    return np.stack([offset, offset, *sizes], axis=1).astype(np.float32)


def fixed(offset_ticks: float, env: Any) -> Policy:
    """Quote both sides, always so far from the mid."""

    def policy(observations: np.ndarray, infos: Mapping[str, np.ndarray]) -> np.ndarray:
        both = np.ones(len(observations), np.bool_)
        return quotes(offset_ticks, both, both)

    return policy


def nothing(env: Any) -> Policy:
    """Quote nothing: neither gains nor loses."""
    return lambda observations, infos: quotes(1, *np.zeros((2, len(observations)), np.bool_))


def imbalance_rule(env: Any) -> Policy:
    """Join the bid when the five best bids outweigh the asks, the ask in the opposite case."""

    def policy(observations: np.ndarray, infos: Mapping[str, np.ndarray]) -> np.ndarray:
        imbalance = observations[:, IMBALANCE_5]
        return quotes(0.5, imbalance > 0.3, imbalance < -0.3)

    return policy


PROBLEM = Problem(
    title="Making a market in RMSC04 for 20 minutes: PPO against a fixed spread",
    name="marketsim/MarketMaking-v0",
    parameters={
        "window": "20min",
        "interval": "5s",
        "actions": "continuous",
        "max_offset_ticks": MAX_OFFSET_TICKS,
    },
    unit="ticks",
    baselines={
        **{f"{2 * offset} ticks' spread": partial(fixed, offset) for offset in (5, 3, 2, 1)},
        "no quotes": nothing,
        "imbalance": imbalance_rule,
    },
)
SETTINGS = Settings(
    out=Path("runs/ppo-market-making"),
    total_steps=4_000_000,
    n_steps=240,
    batch_size=3_840,
    learning_rate=5e-4,
    gamma=0.95,
    gae_lambda=0.9,
    ent_coef=0.0,
    log_std_init=-0.5,
)

if __name__ == "__main__":
    main(PROBLEM, tyro.cli(Settings, default=SETTINGS))
