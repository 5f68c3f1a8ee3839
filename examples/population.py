"""A compiled population of one's own: contrarians who sell what has risen and buy what has fallen.

It is the same two things as the populations that come with marketsim: a frozen dataclass of
parameters, and a compiled function. The engine is not compiled again for it.
Run with ``python examples/population.py``.
"""

from dataclasses import dataclass

import marketsim as ms
from marketsim.population import (
    BUY,
    SELL,
    WAKE,
    Population,
    callback,
    columns,
    exponential,
    limit_order,
    own,
    shared,
    touch_seen,
    wake_after,
)

PARAMETERS = columns(mean_interval_ns=float, threshold_ticks=int, size=int)
STATE = columns(anchor=int, trades=int)
parameters, state = shared(PARAMETERS), own(STATE)


@callback(WAKE)
def wake(m, agent, message):
    """Compare the mid with the one of the last look; trade against a move beyond the threshold."""
    p, me = parameters(m, agent), state(m, agent)
    wake_after(m, agent, exponential(m, agent, p.mean_interval_ns))
    bid, bid_lots, ask, ask_lots = touch_seen(m, agent)
    if bid_lots == 0 or ask_lots == 0:
        return 0
    mid = (bid + ask) >> 1
    if me.anchor > 0 and abs(mid - me.anchor) >= p.threshold_ticks:
        side = SELL if mid > me.anchor else BUY
        limit_order(m, agent, side, p.size, bid if side == SELL else ask)
        me.trades += 1
    me.anchor = mid
    return 0


@dataclass(frozen=True)
class Contrarian(Population):
    """Trades ``size`` lots against moves of ``threshold_ticks`` between two looks."""

    mean_interval_ns: float = 60e9
    threshold_ticks: int = 5
    size: int = 100
    wake, parameters, state = wake, PARAMETERS, STATE


def main():
    many = {"type": f"{__name__}:Contrarian", "count": 200, "threshold_ticks": 3}
    with_them = {"base": "rmsc04", "agents": {"contrarian": many}}
    for name, config in (("RMSC04", "rmsc04"), ("with 200 contrarians", with_them)):
        run = ms.run(config, until="12:00")
        prices = run.tape.between("10:00", "12:00").trades["price_ticks"]
        low, high = prices.min() / 100, prices.max() / 100
        print(f"{name:<21} {run.summary['trades']:>6,} trades, at {low:.2f} to {high:.2f}")
    mine = run.accounts[run.accounts["agent"].str.startswith("contrarian-")]
    print(f"contrarians: {mine['trades'].sum():,} trades, PnL {mine['pnl_ticks'].sum() / 100:,.2f}")


if __name__ == "__main__":
    main()
