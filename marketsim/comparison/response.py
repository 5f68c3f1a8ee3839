"""What a POV buyer does to the price of each row: paired markets, with it and without it."""

from collections.abc import Mapping, Sequence
from typing import Any

from marketsim import arms
from marketsim.agents.pov import POVAgent
from marketsim.clock import NS_PER_MINUTE
from marketsim.comparison.plan import Plan
from marketsim.comparison.simulate import Market
from marketsim.impact import ImpactResult, impact_result
from marketsim.report import touch
from marketsim.tape import Tape

NAME = "pov"
STEP_NS = NS_PER_MINUTE


def buyer(plan: Plan) -> dict[str, POVAgent]:
    """The paper's: a tenth of the volume, each minute, for 45 minutes."""
    span = plan.impact
    agent = POVAgent(
        side="buy", participation=0.1, quantity=100_000, start=span.start_ns, end=span.end_ns,
        interval="60s",
    )  # fmt: skip
    return {NAME: agent}


def pair(control: Tape, treated: Market, plan: Plan, seed: int) -> dict[str, Any]:
    """One seed's difference between the market with the buyer and the one without; JSON values."""
    quotes = touch(control)
    first_ns = plan.test.start_ns + STEP_NS // 2  # half a minute after it trades, not as it trades
    grid = arms.time_grid(first_ns, plan.impact_end_ns, STEP_NS)
    mid = quotes.at(quotes.mid_ticks, grid)
    job = {"seed": seed, "agent": NAME, "settle_ns": settle_ns(plan)}
    symbol = treated.simulation.symbols[0]
    variant = arms.compare(treated.run, treated.simulation, quotes, job, symbol, grid)
    return {
        "seed": seed,
        "grid_ns": grid.tolist(),
        "mid_ticks": arms.numbers(mid),
        "volume_lots": int(control.trades["size_lots"].sum()),
        "volatility": arms.volatility(mid),
        "variants": [variant],
    }


def settle_ns(plan: Plan) -> int:
    """How long after the last trade the lasting impact begins: a third of what is left."""
    return (plan.impact_end_ns - plan.impact.end_ns) // 3


def result(name: str, plan: Plan, outcomes: Sequence[Mapping[str, Any]]) -> ImpactResult:
    """All seeds of a row together."""
    shared = {
        "config": {"name": name},
        "agent": NAME,
        "variants": [{"agents": {NAME: {"type": NAME, "participation": 0.1}}}],
        "until_ns": plan.impact_end_ns,
        "fork_at_ns": None,
        "settle_ns": settle_ns(plan),
        "step_ns": STEP_NS,
    }
    seeds = [outcome["seed"] for outcome in outcomes]
    return impact_result(shared, seeds, outcomes, [{}], [])
