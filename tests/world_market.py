"""Markets with a world agent for its tests, and another agent in them."""

from pathlib import Path
from typing import Any

from dummy_flow import DummyFlow

from marketsim.agent import Agent, Handle
from marketsim.agents.world import WorldAgent
from marketsim.order_events import Event
from marketsim.simulation import Simulation
from marketsim.tape import Tape

OPEN, MINUTE, SECOND = 34_200_000_000_000, 60_000_000_000, 1_000_000_000
SESSION = {"open": "09:30", "close": "09:36"}
LIMIT, CANCEL, MARKET = (int(event) for event in Event)


class Quotes(Agent):
    """Rests plain orders at the touch and near it, trades, and takes its orders back."""

    def __init__(self, mean_ns: int = 1_000_000_000, start_ns: int = OPEN) -> None:
        self.mean_ns, self.start_ns = mean_ns, start_ns

    def on_start(self, market: Handle) -> None:
        market.wake_at(self.start_ns)

    def on_wakeup(self, market: Handle) -> None:
        rng = market.rng
        market.wake_after(int(rng.integers(1, 2 * self.mean_ns)))
        side = 1 if rng.random() < 0.5 else -1
        best = market.best_bid if side > 0 else market.best_ask
        live = list(market.open_orders)
        draw = rng.random()
        if best is None or draw < 0.1:
            market.order(side, int(rng.integers(1, 30)))
        elif live and draw < 0.4:
            market.cancel(int(rng.choice(live)))
        else:
            market.order(side, int(rng.integers(1, 60)), best - side * int(rng.integers(0, 4)))

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def simulate(
    day: Tape,
    seed: int = 0,
    generator: Any = None,
    agents: dict[str, Agent] | None = None,
    config: dict[str, Any] | None = None,
    warm_up: str | int = "3min",
    **how: Any,
) -> Simulation:
    world = WorldAgent(generator or DummyFlow(), day, warm_up, **how)
    given = {"world": world, **(agents or {})}
    return Simulation({"session": SESSION, **(config or {})}, seed, agents=given)


def own_rows(tape: Tape, world: int = 0) -> Any:
    """Rows of a tape's orders that the model wrote."""
    begin_ns = int(tape.orders["time_ns"][0]) + 3 * MINUTE
    at = (tape.orders["time_ns"] >= begin_ns) & (tape.orders["agent_id"] == world)
    return {name: tape.orders[name][at] for name in tape.orders}


def said(simulation: Simulation, name: str = "world") -> dict[str, Any]:
    summary: dict[str, Any] = simulation.run().summary["agents"][name]
    return summary


def configured(model: Path, **world: Any) -> dict[str, Any]:
    return {
        "data": str(model.parent / "day"),
        "session": {"open": "09:30", "close": "09:33"},
        "agents": {
            "world": {"type": "world", "model": str(model), "warm_up": "2min", **world},
            "buyer": {"type": "pov", "participation": 0.1, "quantity": 100, "interval": "10s"},
        },
    }
