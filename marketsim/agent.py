"""What an agent is, and the handle through which it sees the market and trades.

The life of an agent: ``on_start`` once; then, each at its own time and after its own latency,
``on_wakeup`` when it asked to be woken, ``on_fill`` for each of its trades, ``on_order`` for each
answer of the exchange, ``on_data`` for each message of a feed it subscribed to; ``summary`` at the
end. Callbacks of one agent never overlap: a message that arrives while the agent still computes
(``computation_delay_ns``) waits in its inbox.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marketsim.codes import Cancelled, Feed, OrderKind, Phase, PhaseReason, Reject, Side
from marketsim.errors import StateError
from marketsim.handle import Depth as Depth
from marketsim.handle import Handle as Handle

if TYPE_CHECKING:
    from marketsim.compile import Callback
    from marketsim.market import Market


class Fill(NamedTuple):
    """A trade of the agent's. Both sides of a trade hear of it.

    ``time_ns`` is when it happened at the exchange; ``left_lots`` what is open of the order after
    it; ``fee_ticks`` in tick·lots, negative for a rebate. In an auction nobody is the maker.
    """

    time_ns: int
    symbol: str
    order_id: int
    side: Side
    price_ticks: int
    size_lots: int
    left_lots: int
    is_maker: bool
    fee_ticks: float


class OrderUpdate(NamedTuple):
    """An answer of the exchange.

    ``status``: accepted, rejected, cancelled (``size_lots`` of it, ``left_lots`` stay), replaced,
    change_rejected (a cancel, reduce or replace that was refused), triggered (a stop).
    ``reason``: a :class:`~marketsim.codes.Reject` or :class:`~marketsim.codes.Cancelled`, or None.
    """

    time_ns: int
    symbol: str
    order_id: int
    status: str
    side: Side | None
    price_ticks: int
    size_lots: int
    left_lots: int
    reason: Reject | Cancelled | None


class Data(NamedTuple):
    """A message of a subscribed feed; fields that its feed does not have are None.

    L1 has ``bid``, ``ask`` as (price [ticks], size [lots]) or None for an empty side. L2 has
    ``bids``, ``asks``: int64[levels, 2] – price, size; empty rows 0, as they are known when the
    message is delivered: the last change of an instant is in them. L3 has ``kind`` (LIMIT,
    EXECUTION, CANCEL, REDUCE: visible lots that join or leave; REPLACE: visible lots that leave,
    the new order follows as LIMIT), ``order_id``, ``side``, ``price_ticks``, ``size_lots``. TRADES
    has ``side`` (the aggressor's; None for a cross), ``price_ticks``, ``size_lots``. IMBALANCE, in
    call phases: what an auction would do now, ``price_ticks`` (None: nothing) and ``size_lots``
    paired there, and the ``side`` and ``imbalance_lots`` left over. SESSION has ``phase``,
    ``reason`` and ``end_ns``, when the phase is to end (None: nobody knows).
    """

    feed: Feed
    time_ns: int
    symbol: str
    bid: tuple[int, int] | None = None
    ask: tuple[int, int] | None = None
    bids: NDArray[np.int64] | None = None
    asks: NDArray[np.int64] | None = None
    kind: OrderKind | None = None
    order_id: int | None = None
    side: Side | None = None
    price_ticks: int | None = None
    size_lots: int | None = None
    imbalance_lots: int | None = None
    phase: Phase | None = None
    reason: PhaseReason | None = None
    end_ns: int | None = None


class Agent:
    """Base class of agents written in Python: override what you need.

    Everything an agent learns arrives one latency late, everything it sends takes its computation
    delay and its latency; an agent with zero latency is allowed. To be saved with a simulation, an
    agent with state of its own overrides :meth:`state_dict` and :meth:`load_state_dict`. One that
    is given as an object sets its latency, or its site, and its symbol as attributes of its class;
    None is the market's own, and its first symbol.
    """

    latency_ns: int | None = None
    site: str | None = None
    computation_delay_ns: int | None = None
    symbol: str | None = None
    #: Compiled code that gets its messages until Python does, or none.
    wake: ClassVar["Callback | None"] = None
    wants_answers: ClassVar[bool] = True
    #: Whether the answers include that an order was accepted.
    wants_acceptances: ClassVar[bool] = True
    hears_fills: ClassVar[bool] = True

    def on_start(self, market: "Handle") -> None:
        """The simulation begins; ask for wake-ups and feeds here."""

    def on_wakeup(self, market: "Handle") -> None:
        """A time that was asked for with ``wake_at`` or ``wake_after`` has come."""

    def on_fill(self, market: "Handle", fill: Fill) -> None:
        """One of the agent's orders traded."""

    def on_order(self, market: "Handle", update: OrderUpdate) -> None:
        """The exchange accepted, refused, cancelled, replaced or triggered an order."""

    def on_data(self, market: "Handle", data: Data) -> None:
        """A subscribed feed has something new."""

    def summary(self, market: "Handle") -> dict[str, Any]:
        """JSON values about this agent for the run's summary."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """State as JSON values and NumPy arrays.

        Raises
        ------
        StateError
            If the agent holds state (instance attributes) and does not say how to save it.
        """
        if vars(self):
            name = type(self).__name__
            raise StateError(
                f"{name}: cannot be saved, it has state {sorted(vars(self))} and no state_dict()"
            )
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        if state:
            raise StateError(f"{type(self).__name__}: has no load_state_dict() for {sorted(state)}")


class CompiledAgent:
    """Base class of agents whose ``wake`` is compiled and called by the kernel.

    A subclass sets ``wake`` to a :class:`~marketsim.compile.Callback` of signature
    :data:`~marketsim.market.WAKE`, and overrides :attr:`headroom` if 8 messages are too few. Most
    are a :class:`~marketsim.population.Population`.
    """

    wake: ClassVar["Callback"]
    wants_answers: ClassVar[bool] = True
    #: Whether the answers include that an order was accepted.
    wants_acceptances: ClassVar[bool] = True
    hears_fills: ClassVar[bool] = True
    #: Of one that is given as an object; None is the market's own, and its first symbol.
    latency_ns: int | None = None
    site: str | None = None
    computation_delay_ns: int | None = None
    symbol: str | None = None

    @property
    def headroom(self) -> int:
        """The most messages that one wake-up sends."""
        return 8

    @property
    def looks_back_ns(self) -> int:
        """How far back it looks at the market beyond its latency; -1: it never looks."""
        return -1

    def install(self, market: "Market", members: range, symbol: int) -> None:
        """Write the records of all agents of the population and ask for their first wake-ups."""

    def summary(self, market: "Market") -> dict[str, Any]:
        """JSON values about these agents for the run's summary."""
        return {}


#: Agents that are given as objects: by name, or as a list (named after their classes).
GivenAgents = Mapping[str, Agent | CompiledAgent] | Sequence[Agent | CompiledAgent]
