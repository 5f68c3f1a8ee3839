"""Accounts: nothing is made and nothing is lost, and every agent knows what is its own."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from marketsim.account import MICRO, account_columns
from marketsim.agent import Agent
from marketsim.market import Market
from marketsim.simulation import Simulation

OPEN = 34_200_000_000_000


@pytest.mark.parametrize("seed", range(4))
def test_cash_and_shares_are_conserved_to_the_unit(seed: int, noise: type[Any]) -> None:
    """Five agents that send anything, prices below zero too; all that they hear adds up."""
    config = {
        "symbols": [{"name": "X"}, {"name": "Y"}],
        "session": {"open": OPEN, "close": OPEN + 200_000},
        "exchange": {"maker_fee_bps": -0.25, "taker_fee_bps": 0.4},
    }
    agents = [noise() for _ in range(5)]
    s = Simulation(config, seed, agents=agents)
    run = s.run(OPEN + 210_000)
    accounts = s._market.view("accounts").reshape(5, 2)
    assert accounts["position_lots"].sum(axis=0).tolist() == [0, 0]
    assert accounts["cash"].sum() == 0
    assert (accounts["cash"] + accounts["cost"] == accounts["realised"]).all()
    assert (accounts["position_lots"] == accounts["bought_lots"] - accounts["sold_lots"]).all()
    notional = sum(
        int((abs(tape.trades["price_ticks"]) * tape.trades["size_lots"]).sum())
        for tape in run.tapes.values()
    )
    assert accounts["fees_micro"].sum() == (40 - 25) * notional
    assert accounts["bought_lots"].sum() == run.summary["volume_lots"] > 500
    live = np.zeros(5, int)
    orders = s._market.view("orders")
    for i, trader in enumerate(agents):
        account = accounts[i]
        assert trader.position == {
            "X": account[0]["position_lots"],
            "Y": account[1]["position_lots"],
        }
        assert trader.cash == account["cash"].sum()
        assert trader.fees == pytest.approx(account["fees_micro"].sum() / 1e6)
        # What the agent believes to be open is what is open: only GTC orders are, by now.
        mine = orders[(orders["level"] >= 0) & (orders["agent"] == i) & (orders["size_lots"] > 0)]
        known = s._python[i][1].open_orders
        open_now = {
            int(order["order_id"]): int(order["size_lots"] + order["reserve_lots"])
            for order in mine
        }
        assert known == open_now
        live[i] = len(known)
    assert live.sum() > 0


def naive_accounts(
    market: Market, agents: list[str], symbols: list[str], marks: list[int | None]
) -> pd.DataFrame:
    """One account after the other, in Python's integers."""
    rows = []
    for number, account in enumerate(market.view("accounts")):
        agent, symbol = divmod(number, len(symbols))
        position, cost = int(account["position_lots"]), int(account["cost"])
        mark = marks[symbol]
        unrealised = position * mark - cost if mark is not None else 0
        fees = int(account["fees_micro"]) / MICRO
        rows.append(
            {
                "agent": agents[agent],
                "symbol": symbols[symbol],
                "position_lots": position,
                "cash_ticks": int(account["cash"]),
                "pnl_ticks": int(account["realised"]) + unrealised - fees,
                "realised_ticks": int(account["realised"]),
                "unrealised_ticks": unrealised,
                "average_price_ticks": cost / position if position else float("nan"),
                "fees_ticks": fees,
                "bought_lots": int(account["bought_lots"]),
                "sold_lots": int(account["sold_lots"]),
                "trades": int(account["trades"]),
            }
        )
    return pd.DataFrame(rows)


@pytest.mark.parametrize("marks", [[10_017, None, -3], [None, None, None]])
def test_the_table_equals_a_plain_loop(marks: list[int | None]) -> None:
    symbols, agents = ["X", "Y", "Z"], [f"noise-{i}" for i in range(500)]
    market = Market(len(symbols), len(agents))
    accounts = market.view("accounts")
    rng = np.random.default_rng(3)
    for field in accounts.dtype.names or ():
        high = 1 << 20 if field == "position_lots" else 1 << 52
        accounts[field] = rng.integers(-high, high, len(accounts))
    accounts["position_lots"][::5] = 0
    found = pd.DataFrame(account_columns(market, agents, symbols, marks))
    expected = naive_accounts(market, agents, symbols, marks)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_accounts_on_disk_are_those_of_the_run(noise: type[Any], tmp_path: Path) -> None:
    run = Simulation({}, agents={"naïve": noise(), "idle": Agent()}).run(OPEN + 20_000)
    run.save(tmp_path)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "accounts.parquet"), run.accounts)
    assert run.accounts["agent"].tolist() == ["naïve", "idle"]
    assert run.accounts["average_price_ticks"].isna()[1]
