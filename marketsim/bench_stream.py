"""Benchmark of long runs: millions of orders streamed to disk, in processes of their own."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from marketsim.agent import CompiledAgent
from marketsim.bench_timing import Row, Sizes
from marketsim.codes import Flag, Side
from marketsim.compile import callback
from marketsim.events import Message, ask, wake_at
from marketsim.kernel import send_wake
from marketsim.market import WAKE, Market, agents, header
from marketsim.rng import next_block

_ORDER, _CANCEL, _DAY = int(Message.ORDER), int(Message.CANCEL), int(Flag.DAY)
_BUY, _SELL = int(Side.BUY), int(Side.SELL)
_MIDDLE_TICKS, _REACH_TICKS = 100_000, 64
_LIVE_ORDERS = 256
_SESSION_NS = 10**9 * 6 * 3_600

_MEASURE = """
import json, sys, time
import marketsim as ms
from marketsim.bench_timing import peak_mib

what, out, until = json.loads(sys.argv[1]), sys.argv[2] or None, sys.argv[3] or None
simulation = ms.Simulation(**what, out=out)
before = time.process_time(), time.perf_counter()
run = simulation.run(until)
seconds = time.process_time() - before[0], time.perf_counter() - before[1]
print(json.dumps([*seconds, peak_mib(), run.summary["orders"], run.summary["events"]]))
"""


@callback(WAKE)
def _wake(m, agent, slot):  # type: ignore[no-untyped-def]
    """Send an order near the middle, or take back an old one, and sleep for a while."""
    h = header(m)
    me = agents(m, agent)
    bits, pause, _, _ = next_block(m, agent)
    me.cursor += 1
    if me.cursor % 2 == 0 and h.next_order_id > _LIVE_ORDERS:
        ask(m, _CANCEL, agent, me.symbol, h.next_order_id - _LIVE_ORDERS, 0, 0, 0, 0, 0, 0)
    else:
        side = _BUY if bits & 1 else _SELL
        price = _MIDDLE_TICKS - side * (((bits >> 1) & (_REACH_TICKS - 1)) - _REACH_TICKS // 8)
        size = 1 + ((bits >> 8) & 255)
        order_id = h.next_order_id
        h.next_order_id = order_id + 1
        ask(m, _ORDER, agent, me.symbol, order_id, side, price, size, _DAY, 0, 0)
    wake_at(m, agent, h.now_ns + 1 + (pause >> 8) * me.mark // 0x800000)
    return 0


class Crowd(CompiledAgent):
    """Sends limit orders around a fixed price, some of which trade, and cancels what rests.

    Parameters
    ----------
    interval_ns : mean time between two messages.
    """

    wake = _wake
    headroom = 4
    wants_answers = hears_fills = False

    def __init__(self, interval_ns: int) -> None:
        self.interval_ns = interval_ns

    def install(self, market: Market, members: range, symbol: int) -> None:
        """Wake at the open."""
        for agent in members:
            market.view("agents")[agent]["mark"] = self.interval_ns
            send_wake(market.address, agent, int(market.header["open_ns"]))


def crowded_day(orders: int) -> dict[str, Any]:
    """Configuration of a day with about so many rows of orders: nine in ten messages are one."""
    crowd = {
        "type": "marketsim.bench_stream:Crowd",
        "interval_ns": _SESSION_NS * 898 // 1000 // orders,
    }
    return {"session": {"open": "10:00", "close": "16:00"}, "agents": {"crowd": crowd}}


class _Ran(NamedTuple):
    """What a process says of its run, in the order in which it says it."""

    cpu_s: float
    wall_s: float
    peak_mib: float
    orders: int
    events: int


def _run(what: dict[str, Any], out: Path | None = None, until: str = "") -> _Ran:
    command = [sys.executable, "-c", _MEASURE, json.dumps(what), str(out or ""), until]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return _Ran(*json.loads(done.stdout))


def _best(runs: Sequence[_Ran]) -> _Ran:
    """Fastest times of equal runs, and the largest peak."""
    first = runs[0]
    cpu_s, wall_s = min(run.cpu_s for run in runs), min(run.wall_s for run in runs)
    return first._replace(cpu_s=cpu_s, wall_s=wall_s, peak_mib=max(run.peak_mib for run in runs))


def stream(sizes: Sizes) -> Iterator[Row]:
    """A long run, with its tape streamed to disk and without one: time, memory, size on disk."""
    config = sizes.stream_config
    if config is None:
        config = crowded_day(sizes.stream_orders)
    if isinstance(config, str):
        without = {"config": config, "overrides": {"tape.enabled": False}}
    else:
        without = {"config": {**config, "tape": {"enabled": False}}}
    with tempfile.TemporaryDirectory() as folder:
        _run({"config": config}, Path(folder) / "compiled", until="10:01")
        rounds = [
            (_run(without), _run({"config": config}, Path(folder) / str(number)))
            for number in range(min(sizes.repeats, 3))
        ]
        out = Path(folder) / "0"
        disk = {
            name: sum(path.stat().st_size for path in out.rglob(f"{name}.parquet"))
            for name in ("orders", "trades", "deltas")
        }
    alone, streamed = (_best(runs) for runs in zip(*rounds, strict=True))
    yield Row("stream", "rows of orders", streamed.orders, "rows")
    yield Row("stream", "events of the kernel", streamed.events, "events")
    for metric, unit, before, now in (
        ("CPU time", "s", alone.cpu_s, streamed.cpu_s),
        ("wall time", "s", alone.wall_s, streamed.wall_s),
        ("peak memory", "MiB", alone.peak_mib, streamed.peak_mib),
    ):
        yield Row("stream", f"{metric} without a tape", before, unit)
        yield Row("stream", f"{metric}, streamed", now, unit, "without a tape", now / before)
    lean = (disk["orders"] + disk["trades"]) / streamed.orders
    whole = lean + disk["deltas"] / streamed.orders
    yield Row("stream", "disk, orders and trades", lean, "bytes/row")
    yield Row("stream", "disk, orders, trades, book changes", whole, "bytes/row")
