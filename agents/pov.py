"""POV: execute a parent order at a share of the market's volume."""

from marketsim.agent import Handle
from marketsim.agents.execution import ExecutionAgent
from marketsim.errors import ConfigError


class POVAgent(ExecutionAgent):
    """Percentage of volume: keeps its share of all lots traded since the start at a target.

    With ``others`` lots traded by everybody else, it wants ``others * p / (1 - p)`` of its own, so
    that its share of the total is ``p``.

    Parameters
    ----------
    participation : target share ``p`` of the volume, 0 <= p < 1; with 0 it never trades.
    max_order_lots : most lots of one child order; None has no limit.

    The others are those of :class:`~marketsim.agents.execution.ExecutionAgent`.
    """

    def __init__(
        self,
        side: str = "buy",
        participation: float = 0.1,
        quantity: int = 10_000,
        start: str | int | None = None,
        end: str | int | None = None,
        interval: str | int = "60s",
        limit_ticks: int | None = None,
        style: str = "aggressive",
        max_order_lots: int | None = None,
    ) -> None:
        super().__init__(side, quantity, start, end, interval, limit_ticks, style)
        if isinstance(participation, bool) or not isinstance(participation, int | float):
            raise ConfigError(f"participation must be a number, was {participation!r}")
        if not 0 <= participation < 1:
            raise ConfigError(f"participation must be >= 0 and < 1, was {participation}")
        if max_order_lots is not None and (
            isinstance(max_order_lots, bool)
            or not isinstance(max_order_lots, int)
            or max_order_lots < 1
        ):
            raise ConfigError(f"max_order_lots must be an integer > 0, was {max_order_lots!r}")
        self.participation = float(participation)
        self.max_order_lots = max_order_lots

    def target_lots(self, market: Handle) -> int:
        """Own lots that make the share right, given what the others traded."""
        others = market.traded_lots() - self.market_lots_at_start - self.executed_lots
        target = int(max(others, 0) * self.participation / (1 - self.participation))
        if self.max_order_lots is not None:
            target = min(target, self.executed_lots + self.max_order_lots)
        return target
