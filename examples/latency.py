"""What latency costs a passive order: the same rule in the same flow, one latency after another.

Every five seconds an agent moves its bid of 50 lots to the best bid that it sees. The later its
messages arrive, the further back in the queue it stands: it is filled less, and more often because
the price moves through it. Run with ``python examples/latency.py``.
"""

import marketsim as ms
from marketsim.data.synthetic import synthetic_tape

SECOND_NS = 1_000_000_000


class Joiner(ms.Agent):
    """Rests at the best bid."""

    def __init__(self):
        self.orders = self.lots = self.edge_ticks = 0

    def on_start(self, market):
        self.price = None
        market.wake_at(market.open_ns)

    def on_wakeup(self, market):
        market.wake_after(5 * SECOND_NS)
        if market.best_bid is None or (market.open_orders and market.best_bid == self.price):
            return
        for order_id in market.open_orders:
            market.cancel(order_id)
        self.price = market.best_bid
        market.buy(50, limit=self.price, post_only=True)
        self.orders += 1

    def on_fill(self, market, fill):
        self.lots += fill.size_lots
        self.edge_ticks += fill.size_lots * (market.mid_ticks - fill.price_ticks)


def main():
    day = synthetic_tape(close="11:00")
    print("latency     orders   lots bought   mid less price [ticks a lot]")
    for label, latency_ns in (("none", 0), ("10 ms", 10**7), ("100 ms", 10**8), ("1 s", SECOND_NS)):
        config = {
            "data": "given",
            "agents": {
                "history": {"type": "replay"},
                "joiner": {"type": f"{__name__}:Joiner", "latency_ns": latency_ns},
            },
        }
        simulation = ms.Simulation(config, data=day)
        simulation.run()
        joiner = simulation.agent("joiner")
        edge = joiner.edge_ticks / max(joiner.lots, 1)
        print(f"{label:<10} {joiner.orders:>7,} {joiner.lots:>13,} {edge:>12.2f}")


if __name__ == "__main__":
    main()
