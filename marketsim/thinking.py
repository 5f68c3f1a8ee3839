"""Agents that write a symbol's order flow with a generator, and how many of them are asked at once.

The kernel stops when such an agent is to decide. In a batch the markets that have stopped wait for
each other, so that a generator writes the next orders of all of them in one call.
"""

import time
from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from marketsim.agent import Agent
from marketsim.errors import ModelError
from marketsim.flow import Order, View
from marketsim.handle import Handle

if TYPE_CHECKING:
    from marketsim.simulation import Simulation

#: An agent that is to decide, its handle, and what it is shown.
Asked = tuple["Thinker", Handle, View]


class Thinker(Agent):
    """An agent that decides by a generator whenever its book has changed.

    Attributes
    ----------
    generator : an order-flow generator; agents of many markets may share one.
    flow_state : the generator's state of this market.
    model_s : seconds spent in the generator.
    """

    wants_answers = hears_fills = False  # it sees its orders in the flow
    generator: Any
    flow_state: Any
    model_s: float

    @abstractmethod
    def look(self, market: Handle) -> View | None:
        """What the generator is to be shown; None if there is nothing to decide."""

    @abstractmethod
    def take(self, market: Handle, view: View, order: Order) -> View | None:
        """Send an order on its way; or what to show the generator when it must be asked again."""


def think(simulations: "Iterable[Simulation]") -> None:
    """Let the agents of these markets decide, those with the same generator together."""
    asked: list[Asked] = []
    for simulation in simulations:
        for agent, handle in simulation._thinkers:
            view = agent.look(handle)
            if view is not None:
                asked.append((agent, handle, view))
    while asked:
        asked = _ask(asked)


def _ask(asked: list[Asked]) -> list[Asked]:
    """Ask once; returns those who must be asked again."""
    groups: dict[int, list[Asked]] = {}
    for member in asked:
        groups.setdefault(id(member[0].generator), []).append(member)
    again = []
    for members in groups.values():
        generator = members[0][0].generator
        started = time.perf_counter()
        orders = generator.next_orders(
            [agent.flow_state for agent, _, _ in members],
            [view for _, _, view in members],
            [handle.rng for _, handle, _ in members],
        )
        each_s = (time.perf_counter() - started) / len(members)
        given = len(orders) if hasattr(orders, "__len__") else repr(orders)
        if given != len(members):
            raise ModelError(
                f"model {generator.name}: next_orders must give {len(members)} orders, gave {given}"
            )
        for (agent, handle, view), order in zip(members, orders, strict=True):
            agent.model_s += each_s
            shown = agent.take(handle, view, order)
            if shown is not None:
                again.append((agent, handle, shown))
    return again
