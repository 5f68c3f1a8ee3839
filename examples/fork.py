"""Two futures of one market: at noon it is forked, and in one of them somebody buys.

Both forks are equal to the last bit until then, and everybody draws the same random numbers after
it, so the difference is what the order did, and what the others made of it, and nothing else.
Run with ``python examples/fork.py``.
"""

import marketsim as ms


class Buyer(ms.Agent):
    """Buys when told to, at noon; ``lots`` is set once the futures have parted."""

    latency_ns = 0

    def __init__(self):
        self.lots = 0

    def on_start(self, market):
        market.wake_at(12 * 3600 * 1_000_000_000 + 1)

    def on_wakeup(self, market):
        if self.lots:
            market.buy(self.lots)


def mid_price(tape, time):
    book = tape.between("09:30", time).book
    return (book.bid_price_ticks[-1, 0] + book.ask_price_ticks[-1, 0]) / 2 * tape.meta["tick_size"]


def main():
    simulation = ms.Simulation("rmsc04", agents={"buyer": Buyer()})
    simulation.run(until="12:00")
    other = simulation.fork()
    print("equal at noon:", simulation.digest() == other.digest())
    other.agent("buyer").lots = 1_500
    without, bought = simulation.run(until="12:30").tape, other.run(until="12:30").tape
    print("time       without   1,500 bought   difference")
    for time in ("11:59:59", "12:00:01", "12:00:10", "12:01", "12:05", "12:15", "12:30"):
        one, two = mid_price(without, time), mid_price(bought, time)
        print(f"{time:<10} {one:>7.3f} {two:>14.3f} {two - one:>+12.3f}")


if __name__ == "__main__":
    main()
