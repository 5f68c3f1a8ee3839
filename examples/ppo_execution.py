"""PPO learns to buy 2,000 lots in half an hour of the RMSC04 market, against TWAP.

Every 30 seconds it buys up to 67 lots at the market, joins the best bid, or waits; its reward is
minus the implementation shortfall (Perold 1988) in basis points. TWAP buys 67 lots a minute. What
can be gained is in the timing: the book's imbalance says a good deal about the price of the next
minutes (Cartea, Jaimungal & Penalva 2015), and orders of this size move it little.

Run with ``python examples/ppo_execution.py``: some 15 minutes on two cores; ``--quick`` takes
seconds, ``--resume`` goes on after an interruption.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from ppo_training import Problem, Settings, main

from marketsim.envs.baselines import Policy, twap
from marketsim.envs.execution import HOLD, MARKET, PASSIVE, Execution

BEHIND, IMBALANCE_5 = map(Execution.observed.index, ("behind_schedule", "imbalance_5"))


def passive_first(env: Any) -> Policy:
    """Stand at the best bid; buy at the market when a tenth behind an even schedule."""

    def policy(observations: np.ndarray, infos: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.where(observations[:, BEHIND] > 0.1, MARKET, PASSIVE)

    return policy


def imbalance_rule(env: Any) -> Policy:
    """Buy when bids outweigh asks, at most 30 % ahead of an even schedule or behind it."""

    def policy(observations: np.ndarray, infos: Mapping[str, np.ndarray]) -> np.ndarray:
        behind = observations[:, BEHIND]
        rising = observations[:, IMBALANCE_5] > 0
        return np.where((behind > 0.3) | (rising & (behind > -0.3)), MARKET, HOLD)

    return policy


PROBLEM = Problem(
    title="Buying 2,000 lots in 30 minutes of RMSC04: PPO against TWAP",
    name="marketsim/Execution-v0",
    parameters={"quantity": 2_000, "window": "30min", "interval": "30s"},
    unit="bps",
    baselines={"TWAP": twap, "passive, then market": passive_first, "imbalance": imbalance_rule},
)

if __name__ == "__main__":
    main(PROBLEM, tyro.cli(Settings, default=Settings(out=Path("runs/ppo-execution"))))
