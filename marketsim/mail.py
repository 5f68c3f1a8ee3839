"""From the kernel's mail to callbacks of Python agents."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from marketsim.agent import Agent, Data, Fill, OrderUpdate
from marketsim.codes import Cancelled, Feed, OrderKind, Phase, PhaseReason, Reject, Side
from marketsim.events import Message
from marketsim.handle import Handle

if TYPE_CHECKING:
    from marketsim.simulation import Simulation


_L1, _new_tuple = Feed.L1, tuple.__new__
_REST = (None,) * (len(Data._fields) - 5)
#: ``(simulation, agent, handle, mail)``: what to do with one kind of message.
Handler = Callable[["Simulation", Agent, Handle, list[int]], None]


def deliver(simulation: "Simulation") -> None:
    """Hand the message that is in the kernel's mail to its agent."""
    mail = simulation._market.mail.tolist()
    agent, handle = simulation._python[mail[1]]
    _HANDLERS[mail[0]](simulation, agent, handle, mail)


def _wake(simulation: "Simulation", agent: Agent, handle: Handle, mail: list[int]) -> None:
    agent.on_wakeup(handle)


def _fill(simulation: "Simulation", agent: Agent, handle: Handle, mail: list[int]) -> None:
    order_id, size = mail[3], mail[6]
    left = handle._changed(order_id, -size)
    symbol = simulation.symbols[mail[2]]
    side = Side.BUY if mail[4] > 0 else Side.SELL
    maker, fee = bool(mail[8]), mail[9] / 1e6
    fill = Fill(mail[11], symbol, order_id, side, mail[5], size, left, maker, fee)
    agent.on_fill(handle, fill)


def _update(status: str, reasons: Any) -> Handler:
    def handler(simulation: "Simulation", agent: Agent, handle: Handle, mail: list[int]) -> None:
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
        symbol = simulation.symbols[mail[2]]
        update = OrderUpdate(mail[11], symbol, order_id, status, side, mail[5], size, left, reason)
        agent.on_order(handle, update)

    return handler


def _l1(simulation: "Simulation", agent: Agent, handle: Handle, mail: list[int]) -> None:
    symbol = simulation.symbols[mail[2]]
    bid = (mail[7], mail[8]) if mail[8] else None
    ask = (mail[9], mail[10]) if mail[10] else None
    # Made as a plain tuple is made: the most frequent of all messages.
    agent.on_data(handle, _new_tuple(Data, (_L1, mail[11], symbol, bid, ask, *_REST)))


def _l2(simulation: "Simulation", agent: Agent, handle: Handle, mail: list[int]) -> None:
    symbol = simulation.symbols[mail[2]]
    bids, asks = handle.depth(mail[8], symbol)
    agent.on_data(handle, Data(Feed.L2, mail[11], symbol, bids=bids, asks=asks))


def _l3(simulation: "Simulation", agent: Agent, handle: Handle, mail: list[int]) -> None:
    data = Data(
        Feed.L3,
        mail[11],
        simulation.symbols[mail[2]],
        kind=OrderKind(mail[7]),
        order_id=mail[3],
        side=Side(mail[4]),
        price_ticks=mail[5],
        size_lots=mail[6],
    )
    agent.on_data(handle, data)


def _trade(simulation: "Simulation", agent: Agent, handle: Handle, mail: list[int]) -> None:
    data = Data(
        Feed.TRADES,
        mail[11],
        simulation.symbols[mail[2]],
        side=Side(mail[4]) if mail[4] else None,
        price_ticks=mail[5],
        size_lots=mail[6],
    )
    agent.on_data(handle, data)


def _imbalance(simulation: "Simulation", agent: Agent, handle: Handle, mail: list[int]) -> None:
    data = Data(
        Feed.IMBALANCE,
        mail[11],
        simulation.symbols[mail[2]],
        side=Side(mail[4]) if mail[4] else None,
        price_ticks=mail[5] if mail[6] else None,
        size_lots=mail[6],
        imbalance_lots=mail[7],
    )
    agent.on_data(handle, data)


def _session(simulation: "Simulation", agent: Agent, handle: Handle, mail: list[int]) -> None:
    data = Data(
        Feed.SESSION,
        mail[11],
        simulation.symbols[mail[2]],
        phase=Phase(mail[7]),
        reason=PhaseReason(mail[8]),
        end_ns=mail[9] or None,
    )
    agent.on_data(handle, data)


_HANDLERS: dict[int, Handler] = {
    int(Message.WAKE): _wake,
    int(Message.FILLED): _fill,
    int(Message.ACCEPTED): _update("accepted", None),
    int(Message.REJECTED): _update("rejected", Reject),
    int(Message.CANCELLED): _update("cancelled", Cancelled),
    int(Message.REPLACED): _update("replaced", None),
    int(Message.CHANGE_REJECTED): _update("change_rejected", Reject),
    int(Message.TRIGGERED): _update("triggered", None),
    int(Message.L1): _l1,
    int(Message.L2): _l2,
    int(Message.L3): _l3,
    int(Message.TRADE): _trade,
    int(Message.IMBALANCE): _imbalance,
    int(Message.SESSION): _session,
}
