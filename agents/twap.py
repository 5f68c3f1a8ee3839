"""TWAP: execute a parent order evenly in time."""

from marketsim.agent import Handle
from marketsim.agents.execution import ExecutionAgent
from marketsim.errors import ConfigError


class TWAPAgent(ExecutionAgent):
    """Time-weighted average price: equal child orders at equal intervals from start to end.

    Parameters
    ----------
    max_participation : most lots as a share of everything traded since the start, 0 < p <= 1; a
        schedule that the market's volume does not carry falls behind. None has no limit.

    The others are those of :class:`~marketsim.agents.execution.ExecutionAgent`.
    """

    def __init__(
        self,
        side: str = "buy",
        quantity: int = 10_000,
        start: str | int | None = None,
        end: str | int | None = None,
        interval: str | int = "60s",
        limit_ticks: int | None = None,
        style: str = "aggressive",
        max_participation: float | None = None,
    ) -> None:
        super().__init__(side, quantity, start, end, interval, limit_ticks, style)
        if max_participation is not None and (
            isinstance(max_participation, bool)
            or not isinstance(max_participation, int | float)
            or not 0 < max_participation <= 1
        ):
            raise ConfigError(
                f"max_participation must be > 0 and <= 1, or null, was {max_participation!r}"
            )
        self.max_participation = max_participation

    def target_lots(self, market: Handle) -> int:
        """The schedule's lots by the end of the interval that begins now, rounded down.

        The last child order, one interval before the end, completes the quantity.
        """
        assert self.start_ns is not None and self.end_ns is not None
        slices = -(-(self.end_ns - self.start_ns) // self.interval_ns)
        number = (market.now_ns - self.start_ns) // self.interval_ns + 1
        target = self.quantity * min(number, slices) // slices
        if self.max_participation is not None and self.max_participation < 1:
            others = market.traded_lots() - self.market_lots_at_start - self.executed_lots
            share = self.max_participation
            target = min(target, int(max(others, 0) * share / (1 - share)))
        return target
