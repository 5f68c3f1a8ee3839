"""What strategies hold and earn on price windows, for NumPy and torch alike.

The protocol is that of the ICAIF 2024 contest on crypto market simulation for risk estimation; fees
and slippage, of which it knows nothing, are 0 by default.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from marketsim.checks import at_least_zero, positive
from marketsim.strategies import Array, Strategy, namespace, strategy


@dataclass(frozen=True)
class Terms:
    """How a strategy's signals become trades.

    Parameters
    ----------
    capital : money at the start
    max_buy : most money that one purchase of one asset takes
    lot : least amount of an asset, and what amounts are multiples of
    fee_bps : of the money of each trade [basis points]
    slippage_bps : by how much a purchase pays more, a sale earns less than the price [basis points]
    """

    capital: float = 10_000.0
    max_buy: float = 2_000.0
    lot: float = 1e-4
    fee_bps: float = 0.0
    slippage_bps: float = 0.0

    def __post_init__(self) -> None:
        for name in ("capital", "max_buy", "lot"):
            positive(name, getattr(self, name))
        for name in ("fee_bps", "slippage_bps"):
            at_least_zero(name, getattr(self, name))

    @property
    def buying(self) -> float:
        """What a purchase costs, in units of the price."""
        return (1 + self.slippage_bps / 1e4) * (1 + self.fee_bps / 1e4)

    @property
    def selling(self) -> float:
        """What a sale earns, in units of the price."""
        return (1 - self.slippage_bps / 1e4) * (1 - self.fee_bps / 1e4)


#: Those of the contest.
PROTOCOL = Terms()


class Ledger(NamedTuple):
    """A strategy's course over ``n`` windows of ``T`` prices of ``d`` assets.

    Attributes
    ----------
    values : float64[n, T + 1] – wealth by capital; 1, and then at each price after its trades
    units : float64[n, T, d] – held after the trades at each price
    traded : float64[n, T] – money traded, bought and sold, by capital
    costs : float64[n, T] – fees and slippage, by capital
    warm_up : prices before the first trade
    """

    values: Array
    units: Array
    traded: Array
    costs: Array
    warm_up: int

    @property
    def trading_values(self) -> Array:
        """Values from just before the first possible trade on: what the protocol looks at."""
        return self.values[:, self.warm_up :]


def trade(which: str | Strategy, prices: Array, terms: Terms = PROTOCOL) -> Ledger:
    """Let a strategy trade at each price from its warm-up to the last but one; close at the last.

    A purchase takes ``max_buy``, or the cash that is left of it, in whole lots, but one lot at
    least, for which cash may go below 0. A sale takes all that is held. Assets take their turns in
    order. With torch, wealth has gradients to prices; what is decided has none.

    Parameters
    ----------
    prices : float64[n, T, d], a NumPy array or a tensor

    Raises
    ------
    ConfigError
        For an unknown strategy.
    DataError
        If prices are no windows, or have too few steps.

    References
    ----------
    ICAIF 2024, Crypto Market Simulation for Risk Estimation; the contest's starting kit.
    """
    xp, plan = namespace(prices), strategy(which)
    signals = plan.signals(prices)
    n, steps, assets = prices.shape
    zero = xp.zeros_like(prices[:, 0, 0])
    cash, held = zero + terms.capital, [zero] * assets
    cashes, units = [cash] * plan.warm_up, [xp.stack(held, 1)] * plan.warm_up
    traded, costs = [zero] * plan.warm_up, [zero] * plan.warm_up
    for step in range(plan.warm_up, steps):
        money, cost = zero, zero
        for asset in range(assets):
            price = prices[:, step, asset]
            if step == steps - 1:
                change = -held[asset]
            else:
                signal = signals[:, step, asset]
                if not bool((signal != 0).any()):
                    continue
                bought = _bought(plan, terms, assets, price, cash)
                change = xp.where(signal > 0, bought, xp.where(signal < 0, -held[asset], zero))
            paid = change * price * xp.where(change > 0, zero + terms.buying, zero + terms.selling)
            cash, cost = cash - paid, cost + paid - change * price
            money = money + abs(change * price)
            held[asset] = held[asset] + change
        cashes.append(cash)
        units.append(xp.stack(held, 1))
        traded.append(money)
        costs.append(cost)
    holdings = xp.stack(units, 1)
    wealth = xp.stack(cashes, 1) + (holdings * prices).sum(2)  # (n, T)
    values = xp.concatenate([wealth[:, :1] * 0 + terms.capital, wealth], 1) / terms.capital
    return Ledger(
        values,
        holdings,
        xp.stack(traded, 1) / terms.capital,
        xp.stack(costs, 1) / terms.capital,
        plan.warm_up,
    )


def _bought(plan: Strategy, terms: Terms, assets: int, price: Array, cash: Array) -> Any:
    """Amounts that a purchase at a price buys, float64[n], without gradient."""
    xp = namespace(price)
    if hasattr(price, "detach"):
        price, cash = price.detach(), cash.detach()
    cost = price * terms.buying
    if plan.divides_capital:
        return (cost * 0 + terms.capital / assets) / cost
    most = xp.where(cash < terms.max_buy, cash, cash * 0 + terms.max_buy)
    lots = xp.trunc(most / cost / terms.lot)
    return xp.where(lots < 1, lots * 0 + 1, lots) * terms.lot
