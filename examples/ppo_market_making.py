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
from ppo_training import Problem, Settings, main

from marketsim.envs.baselines import AvellanedaStoikov, Policy, estimate, fixed_spread
from marketsim.envs.market_making import MarketMaking

MAX_OFFSET_TICKS = 5
IMBALANCE_5 = MarketMaking.observed.index("imbalance_5")


def quotes_where(bid: np.ndarray, ask: np.ndarray) -> np.ndarray:
    """Actions: quotes of full size half a tick from the mid, which is at the touch, where asked."""
    offset = np.full(len(bid), 2 * 0.5 / MAX_OFFSET_TICKS - 1)
    sizes = (np.where(side, 1.0, -1.0) for side in (bid, ask))
    return np.stack([offset, offset, *sizes], axis=1).astype(np.float32)


def nothing(env: Any) -> Policy:
    """Quote nothing: neither gains nor loses."""
    return lambda observations, infos: quotes_where(*np.zeros((2, len(observations)), np.bool_))


def imbalance_rule(env: Any) -> Policy:
    """Join the bid when the five best bids outweigh the asks, the ask in the opposite case."""

    def policy(observations: np.ndarray, infos: Mapping[str, np.ndarray]) -> np.ndarray:
        imbalance = observations[:, IMBALANCE_5]
        return quotes_where(imbalance > 0.3, imbalance < -0.3)

    return policy


def avellaneda_stoikov(env: Any) -> Policy:
    """Closed-form quotes, of what four recorded markets say of volatility and fills."""
    model = estimate(env)
    return AvellanedaStoikov(env, gamma=0.01, sigma=model.sigma, k=model.k)


PROBLEM = Problem(
    title="Making a market in RMSC04 for 20 minutes: PPO against a fixed spread",
    name="marketsim/MarketMaking-v0",
    parameters={
        "window": "20min",
        "interval": "5s",
        "actions": "continuous",
        "max_offset_ticks": MAX_OFFSET_TICKS,
        "max_inventory": 300,  # three quotes
    },
    unit="ticks",
    baselines={
        **{f"spread of {2 * d} ticks": partial(fixed_spread, distance=d) for d in (5, 3, 2, 1)},
        "Avellaneda-Stoikov": avellaneda_stoikov,
        "no quotes": nothing,
        "imbalance": imbalance_rule,
    },
)
SETTINGS = Settings(
    out=Path("runs/ppo-market-making"),
    total_steps=3_000_000,
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
