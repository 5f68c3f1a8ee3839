"""Accounts: cash, position, cost of the position, realised profit and fees, per agent and symbol.

All in integers, so that cash and shares are conserved to the unit: ``cash + cost == realised`` at
every instant, whatever the rounding of a partly closed position's cost.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from marketsim.compile import helper
from marketsim.market import accounts, header

if TYPE_CHECKING:
    from marketsim.market import Market

MICRO = 1_000_000


@helper
def account_of(m, agent, symbol):
    """Index of an account."""
    return agent * header(m).books_count + symbol


@helper
def book_fill(m, agent, symbol, side, price, lots, maker):
    """Enter a fill; returns the fee in millionths of tick·lots (negative: a rebate).

    ``maker`` is 1 of the resting order, 0 of the incoming one, 2 of both sides in an auction.
    """
    h = header(m)
    account = accounts(m, account_of(m, agent, symbol))
    notional = price * lots
    worth = abs(notional)
    if maker == 1:
        fee = worth * h.maker_fee_rate + lots * h.maker_fee_per_lot
    elif maker == 2:
        fee = worth * h.auction_fee_rate + lots * h.auction_fee_per_lot
    else:
        fee = worth * h.taker_fee_rate + lots * h.taker_fee_per_lot
    account.fees_micro += fee
    account.trades += 1
    account.cash -= side * notional
    if side > 0:
        account.bought_lots += lots
    else:
        account.sold_lots += lots
    held = account.position_lots
    closing = 0
    if held * side < 0:
        closing = min(lots, abs(held))
        # The part of the cost that leaves with the closed lots; exact when all of them go.
        released = account.cost * closing // abs(held)
        account.cost -= released
        account.realised += -side * price * closing - released
    account.cost += side * price * (lots - closing)
    account.position_lots = held + side * lots
    return fee


@helper
def fill_reached(m, agent, symbol, side, price, lots):
    """An agent hears of its fill: what it knows of its account catches up."""
    account = accounts(m, account_of(m, agent, symbol))
    account.known_position_lots += side * lots
    account.known_cash -= side * price * lots


def account_columns(
    market: "Market", agents: list[str], symbols: list[str], marks: list[int | None]
) -> dict[str, Any]:
    """Accounts of all agents in all symbols, marked to market.

    Parameters
    ----------
    agents, symbols : names by id.
    marks : price [ticks] at which each symbol's positions are valued; None leaves open profit at 0.

    Returns
    -------
    Columns with a row for each agent and symbol, as lists of words and arrays of numbers: agent,
    symbol, position_lots, cash_ticks, pnl_ticks (realised + unrealised - fees), realised_ticks,
    unrealised_ticks, average_price_ticks (NaN when flat), fees_ticks, bought_lots, sold_lots,
    trades.
    """
    table = market.view("accounts")[: len(agents) * len(symbols)].copy()
    position, cost = table["position_lots"], table["cost"]
    marked = np.tile([mark is not None for mark in marks], len(agents))
    mark = np.tile([0 if mark is None else mark for mark in marks], len(agents))
    unrealised = np.where(marked, position * mark - cost, 0)
    fees = table["fees_micro"] / MICRO
    flat = np.full(len(table), np.nan)
    return {
        "agent": [name for name in agents for _ in symbols],
        "symbol": list(symbols) * len(agents),
        "position_lots": position,
        "cash_ticks": table["cash"],
        "pnl_ticks": table["realised"] + unrealised - fees,
        "realised_ticks": table["realised"],
        "unrealised_ticks": unrealised,
        "average_price_ticks": np.divide(cost, position, out=flat, where=position != 0),
        "fees_ticks": fees,
        "bought_lots": table["bought_lots"],
        "sold_lots": table["sold_lots"],
        "trades": table["trades"],
    }
