"""The agents of a run, by population: what thousands of agents are called and did in few rows."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from marketsim.result import Run

#: Columns of accounts that are summed over a population.
_SUMMED = (
    "position_lots", "cash_ticks", "pnl_ticks", "fees_ticks", "bought_lots", "sold_lots", "trades",
)  # fmt: skip


def populations(run: "Run") -> dict[str, range]:
    """Agent ids of each population, and of each agent that stands alone, by name."""
    members = {}
    for name, entry in run.summary["agents"].items():
        first = int(entry["agent_id"])
        members[name] = range(first, first + int(entry.get("count", 1)))
    return members


def account_sums(accounts: Mapping[str, Any], members: Mapping[str, range]) -> dict[str, list[Any]]:
    """Accounts summed by population and symbol.

    Parameters
    ----------
    accounts : columns of :func:`marketsim.account.account_columns`.
    members : agent ids by name, such as :func:`populations` gives.

    Returns
    -------
    Columns: name, symbol, agents (how many), position_lots, cash_ticks, pnl_ticks, fees_ticks,
    bought_lots, sold_lots, trades, volume_lots (bought and sold), pnl_mean_ticks (per agent).
    """
    symbols = list(dict.fromkeys(accounts["symbol"]))
    sums: dict[str, list[Any]] = {
        "name": [name for name in members for _ in symbols],
        "symbol": symbols * len(members),
        "agents": [len(ids) for ids in members.values() for _ in symbols],
    }
    for column in _SUMMED:
        table = np.asarray(accounts[column]).reshape(-1, max(len(symbols), 1))
        sums[column] = [
            value
            for ids in members.values()
            for value in table[ids.start : ids.stop].sum(axis=0).tolist()
        ]
    pairs = zip(sums["bought_lots"], sums["sold_lots"], strict=True)
    sums["volume_lots"] = [bought + sold for bought, sold in pairs]
    each = zip(sums["pnl_ticks"], sums["agents"], strict=True)
    sums["pnl_mean_ticks"] = [total / count for total, count in each]
    return sums
