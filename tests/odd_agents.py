"""Agents that the tests of environments put beside a learner."""

from marketsim.agent import Agent, Handle


class Hitter(Agent):
    """At one instant, and at once: buys and sells, or undercuts both sides of the touch."""

    latency_ns = 0
    computation_delay_ns = 0

    def __init__(self, at_ns: int, size_lots: int, resting: bool = False) -> None:
        self.at_ns, self.size_lots, self.resting = at_ns, size_lots, resting

    def on_start(self, market: Handle) -> None:
        market.wake_at(self.at_ns)

    def on_wakeup(self, market: Handle) -> None:
        if self.size_lots == 0:
            return
        bid, _, ask, _ = market.touch()
        market.buy(self.size_lots, bid + 1 if self.resting else None)
        market.sell(self.size_lots, ask - 1 if self.resting else None)


class Interrupter(Agent):
    """Ctrl-C at one instant."""

    latency_ns = 0

    def __init__(self, at_ns: int) -> None:
        self.at_ns = at_ns

    def on_start(self, market: Handle) -> None:
        market.wake_at(self.at_ns)

    def on_wakeup(self, market: Handle) -> None:
        raise KeyboardInterrupt


class Quoter(Agent):
    """Rests a lot on each side from the start."""

    def __init__(self, bid_ticks: int, ask_ticks: int) -> None:
        self.bid_ticks, self.ask_ticks = bid_ticks, ask_ticks

    def on_start(self, market: Handle) -> None:
        market.wake_at(market.open_ns)

    def on_wakeup(self, market: Handle) -> None:
        market.buy(1, self.bid_ticks)
        market.sell(1, self.ask_ticks)
