"""What latency costs a passive order: the same quotes at the touch, one latency after another.

An agent keeps a bid of 50 lots at the best bid and moves it whenever the best bid moves. The later
its messages arrive, the further back in the queue it stands, and the more often it is left behind
at a price that has moved. Run with ``python examples/latency.py``.
"""

import marketsim as ms
from marketsim.data.synthetic import synthetic_tape


class Joiner(ms.Agent):
    """Rests at the best bid."""

    def __init__(self):
        self.order_id = self.price = None
        self.orders = self.lots = self.edge_ticks = 0

    def on_start(self, market):
        market.subscribe("L1")

    def on_data(self, market, data):
        if data.bid is None or data.ask is None or data.bid[0] == self.price:
            return
        if self.order_id is not None:
            market.cancel(self.order_id)
        self.price = data.bid[0]
        self.order_id = market.buy(50, limit=self.price, post_only=True)
        self.orders += 1

    def on_fill(self, market, fill):
        self.lots += fill.size_lots
        if market.mid_ticks is not None:
            self.edge_ticks += fill.size_lots * (market.mid_ticks - fill.price_ticks)
        if fill.left_lots == 0 and fill.order_id == self.order_id:
            self.order_id = self.price = None


def main():
    day = synthetic_tape(close="11:00")
    print("latency     orders   lots bought   mid less price [ticks a lot]")
    for label, latency_ns in (("none", 0), ("1 ms", 10**6), ("100 ms", 10**8), ("1 s", 10**9)):
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
