"""From the kernel's mail to callbacks of Python agents."""

from typing import TYPE_CHECKING, Any

from marketsim.agent import Agent, Data, Fill, OrderUpdate
from marketsim.codes import Cancelled, Feed, OrderKind, Phase, PhaseReason, Reject, Side
from marketsim.events import Message
from marketsim.handle import Handle

if TYPE_CHECKING:
    from marketsim.simulation import Simulation


_L1, _new_tuple = Feed.L1, tuple.__new__
_REST = (None,) * (len(Data._fields) - 5)


class Mailman:
    """Turns the kernel's mail into callbacks of Python agents."""

    def __init__(self, simulation: "Simulation") -> None:
        self._simulation = simulation
        self._handlers = {
            int(Message.WAKE): self._wake,
            int(Message.FILLED): self._fill,
            int(Message.ACCEPTED): self._update("accepted", None),
            int(Message.REJECTED): self._update("rejected", Reject),
            int(Message.CANCELLED): self._update("cancelled", Cancelled),
            int(Message.REPLACED): self._update("replaced", None),
            int(Message.CHANGE_REJECTED): self._update("change_rejected", Reject),
            int(Message.TRIGGERED): self._update("triggered", None),
            int(Message.L1): self._l1,
            int(Message.L2): self._l2,
            int(Message.L3): self._l3,
            int(Message.TRADE): self._trade,
            int(Message.IMBALANCE): self._imbalance,
            int(Message.SESSION): self._session,
        }

    def deliver(self) -> None:
        """Hand the message that is in the mail to its agent."""
        mail = self._simulation._market.mail.tolist()
        agent, handle = self._simulation._python[mail[1]]
        self._handlers[mail[0]](agent, handle, mail)

    def _wake(self, agent: Agent, handle: Handle, mail: list[int]) -> None:
        agent.on_wakeup(handle)

    def _fill(self, agent: Agent, handle: Handle, mail: list[int]) -> None:
        order_id, size = mail[3], mail[6]
        left = handle._changed(order_id, -size)
        symbol = self._simulation.symbols[mail[2]]
        side = Side.BUY if mail[4] > 0 else Side.SELL
        maker, fee = bool(mail[8]), mail[9] / 1e6
        fill = Fill(mail[11], symbol, order_id, side, mail[5], size, left, maker, fee)
        agent.on_fill(handle, fill)

    def _update(self, status: str, reasons: Any) -> Any:
        def handler(agent: Agent, handle: Handle, mail: list[int]) -> None:
            order_id, size, by = mail[3], mail[6], 0
            if status == "rejected":
                handle._open.pop(order_id, None)
            elif status == "cancelled":
                by = -size
            elif status == "replaced":
                by = mail[7]
            left = handle._changed(order_id, by)
            side = Side(mail[4]) if mail[4] else None
            reason = reasons(mail[7]) if reasons else None
            symbol = self._simulation.symbols[mail[2]]
            update = OrderUpdate(
                mail[11], symbol, order_id, status, side, mail[5], size, left, reason
            )
            agent.on_order(handle, update)

        return handler

    def _l1(self, agent: Agent, handle: Handle, mail: list[int]) -> None:
        symbol = self._simulation.symbols[mail[2]]
        bid = (mail[7], mail[8]) if mail[8] else None
        ask = (mail[9], mail[10]) if mail[10] else None
        # Made as a plain tuple is made: the most frequent of all messages.
        agent.on_data(handle, _new_tuple(Data, (_L1, mail[11], symbol, bid, ask, *_REST)))

    def _l2(self, agent: Agent, handle: Handle, mail: list[int]) -> None:
        symbol = self._simulation.symbols[mail[2]]
        bids, asks = handle.depth(mail[8], symbol)
        agent.on_data(handle, Data(Feed.L2, mail[11], symbol, bids=bids, asks=asks))

    def _l3(self, agent: Agent, handle: Handle, mail: list[int]) -> None:
        data = Data(
            Feed.L3,
            mail[11],
            self._simulation.symbols[mail[2]],
            kind=OrderKind(mail[7]),
            order_id=mail[3],
            side=Side(mail[4]),
            price_ticks=mail[5],
            size_lots=mail[6],
        )
        agent.on_data(handle, data)

    def _trade(self, agent: Agent, handle: Handle, mail: list[int]) -> None:
        data = Data(
            Feed.TRADES,
            mail[11],
            self._simulation.symbols[mail[2]],
            side=Side(mail[4]) if mail[4] else None,
            price_ticks=mail[5],
            size_lots=mail[6],
        )
        agent.on_data(handle, data)

    def _imbalance(self, agent: Agent, handle: Handle, mail: list[int]) -> None:
        data = Data(
            Feed.IMBALANCE,
            mail[11],
            self._simulation.symbols[mail[2]],
            side=Side(mail[4]) if mail[4] else None,
            price_ticks=mail[5] if mail[6] else None,
            size_lots=mail[6],
            imbalance_lots=mail[7],
        )
        agent.on_data(handle, data)

    def _session(self, agent: Agent, handle: Handle, mail: list[int]) -> None:
        data = Data(
            Feed.SESSION,
            mail[11],
            self._simulation.symbols[mail[2]],
            phase=Phase(mail[7]),
            reason=PhaseReason(mail[8]),
            end_ns=mail[9] or None,
        )
        agent.on_data(handle, data)
