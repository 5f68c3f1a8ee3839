"""Benchmark of world agents: models on a recorded flow, and what the market around them costs."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from marketsim.agents.world import WorldAgent
from marketsim.batch import Batch
from marketsim.bench_timing import Row, Sizes, no_garbage
from marketsim.clock import NS_PER_MINUTE, NS_PER_SECOND
from marketsim.data.source import WARM_UP, open_tape
from marketsim.flow import Flow, View, flow_of
from marketsim.generators import create, load, shipped
from marketsim.simulation import Simulation
from marketsim.tape import Tape

BATCHES = (1, 32)
SHIPPED = "goog"  #: whose flow models are shown where no data are given
#: Label -> architecture and how it samples; the first is what the others are compared with.
MODELS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "encoder, 100 steps": ("encoder", {}),
    "causal, 100 steps": ("causal", {"steps": 100}),
    "causal, 20 steps": ("causal", {"steps": 20}),
    "causal, 8 steps": ("causal", {"steps": 8}),
    "tokens": ("tokens", {}),
}
#: Recorded flow before a model is asked in its market: all that a shipped tape has.
WARM_UP_NS = 15 * NS_PER_MINUTE


def world(sizes: Sizes) -> Iterator[Row]:
    """Draws of each architecture, one market and 32 at a time, on one thread.

    Models have their usual sizes and weights that have learned nothing: they are shown a recorded
    flow, and what they draw is thrown away. CPU time; of the encoder, which takes seconds, few.
    The market around the model is timed with a generator that takes next to no time.
    """
    import torch

    tape = open_tape(sizes.data) if sizes.data else open_tape(f"{SHIPPED}{WARM_UP}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield from _all_models(sizes, tape, str(tape.meta["symbol"]))
    finally:
        torch.set_num_threads(threads)


def _all_models(sizes: Sizes, tape: Tape, symbol: str) -> Iterator[Row]:
    flow = flow_of(tape)
    a_second = len(flow) / (int(flow["time_ns"][-1] - flow["time_ns"][0]) / NS_PER_SECOND)
    yield Row("world", f"{symbol}: order events", a_second, "events/s")
    draws_s: dict[tuple[str, int], float] = {}
    for label, (architecture, sampling) in MODELS.items():
        generator = _untrained(tape, architecture, sampling, sizes.world)
        for batch in BATCHES:
            calls = sizes.world_calls if architecture != "encoder" else 1 if batch > 1 else 5
            draw_s = draws_s[label, batch] = _draw_s(generator, flow, batch, calls)
            yield Row("world", f"{label}, batch {batch}: time an order", 1e3 * draw_s, "ms")
            first = next(iter(MODELS))
            alone = label == first
            ratio = None if alone else draws_s[first, batch] / draw_s
            reference = None if alone else f"{first}, batch {batch}"
            speed = 1 / draw_s / a_second
            yield Row("world", f"{label}, batch {batch}: speed", speed, "s/s", reference,
                      ratio)  # fmt: skip
    for batch in BATCHES:
        around_s = _around_s(create("bootstrap").fit([tape]), tape, batch, sizes.world_s)[0]
        yield Row("world", f"market around a model, batch {batch}",
                  1e6 * around_s, "µs")  # fmt: skip
        for label in ("causal, 8 steps", "tokens"):
            draw_s = draws_s[label, batch]
            share = around_s / (around_s + draw_s)
            yield Row("world", f"{label}, batch {batch}: time around it", 100 * share, "%")
    generator, name = load(sizes.model), Path(sizes.model).name
    if sizes.model in shipped():
        tape = open_tape(f"{sizes.model}{WARM_UP}")
    for batch in BATCHES:
        around_s, model_s, speed = _around_s(generator, tape, batch, sizes.world_s)
        share = 100 * around_s / (around_s + model_s)
        label = f"{name}, market of its own, batch {batch}"
        yield Row("world", f"{label}: time an order", 1e3 * (around_s + model_s), "ms")
        yield Row("world", f"{label}: speed", speed, "s/s")
        yield Row("world", f"{label}: time around it", share, "%")


def _untrained(
    tape: Tape, architecture: str, sampling: Mapping[str, Any], size: Mapping[str, Any]
) -> Any:
    """A model with its bins fitted and one step of training: time does not depend on weights."""
    from marketsim.generators.training import Training

    generator = create("trades", architecture=architecture, **size, **sampling)
    generator.tries = 1  # one draw an order: what weights like these write is often impossible
    return generator.fit([tape], training=Training(steps=1, batch=1, warm_up=0))


def _draw_s(generator: Any, flow: Flow, batch: int, calls: int) -> float:
    """CPU seconds a draw; markets are shown the flow from different places on."""
    context = generator.context
    room = len(flow) - context - calls - 3
    starts = np.linspace(0, room, batch).astype(np.int64)
    states = [generator.start(flow[start : start + context]) for start in starts]
    rngs = [np.random.default_rng(number) for number in range(batch)]
    generator.next_orders(states[:1], _views(flow, starts[:1] + context), rngs[:1])  # compiles
    with no_garbage():
        started = time.process_time()
        for call in range(1, calls + 1):
            generator.next_orders(states, _views(flow, starts + context + call), rngs)
        return (time.process_time() - started) / (batch * calls)


def _views(flow: Flow, at: Sequence[int] | Any) -> list[View]:
    """What a world agent would show after the event before each place; all lots are its own."""
    views = []
    for place in at:
        book = flow["book"][place + 1].copy()
        own = np.ascontiguousarray(book[:, (1, 3)])
        views.append(View(flow[place : place + 1], book, own, int(flow["time_ns"][place])))
    return views


def _around_s(generator: Any, tape: Tape, batch: int, market_s: int) -> tuple[float, float, float]:
    """Seconds an order outside of the model and in it, and market seconds a second."""
    start_ns = int(tape.orders["time_ns"][0])
    begin_ns = start_ns + WARM_UP_NS
    config = {
        "session": {"open": start_ns, "close": begin_ns + (market_s + 2) * NS_PER_SECOND},
        "agents": {}, "tape": {"enabled": False},
    }  # fmt: skip
    markets = [
        Simulation(
            config, seed, data=tape,
            agents={"world": WorldAgent(generator, tape, warm_up=WARM_UP_NS)},
        )
        for seed in range(batch)
    ]  # fmt: skip
    with Batch(markets) as together:
        together.step(begin_ns + NS_PER_SECOND)
        agents: list[Any] = [market.agent("world") for market in markets]
        before = [(sum(agent.orders), agent.model_s) for agent in agents]
        with no_garbage():
            started = time.perf_counter()  # as agents time their models
            together.step(begin_ns + (market_s + 1) * NS_PER_SECOND)
            spent_s = time.perf_counter() - started
    orders = sum(
        sum(agent.orders) - count for agent, (count, _) in zip(agents, before, strict=True)
    )
    model_s = sum(agent.model_s - then for agent, (_, then) in zip(agents, before, strict=True))
    orders = max(orders, 1)
    return (spent_s - model_s) / orders, model_s / orders, batch * market_s / spent_s
