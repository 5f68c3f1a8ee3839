"""A strategy of twenty lines in the RMSC04 market: trade towards the side with less at the touch.

Run with ``python examples/strategy.py``.
"""

import marketsim as ms


class Imbalance(ms.Agent):
    """Holds 100 lots when bids outweigh asks two to one, -100 in the opposite case."""

    def on_start(self, market):
        market.wake_at(market.open_ns)

    def on_wakeup(self, market):
        market.wake_after(60_000_000_000)
        bid, bid_lots, ask, ask_lots = market.touch()
        if bid_lots > 2 * ask_lots:
            target = 100
        elif ask_lots > 2 * bid_lots:
            target = -100
        else:
            return
        difference = target - market.position
        if difference > 0:
            market.buy(difference)
        elif difference < 0:
            market.sell(-difference)


def main():
    run = ms.run("rmsc04", agents={"imbalance": Imbalance()})
    account = run.accounts.set_index("agent").loc["imbalance"]
    tick = run.tape.meta["tick_size"]
    print(f"trades          {account['trades']:>10,}")
    print(f"lots traded     {account['bought_lots'] + account['sold_lots']:>10,}")
    print(f"position, lots  {account['position_lots']:>10,}")
    print(f"PnL             {account['pnl_ticks'] * tick:>10,.2f}")


if __name__ == "__main__":
    main()
