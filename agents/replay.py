"""The replay agent: plays recorded order flow back through the exchange, message by message."""

from typing import Any

import numpy as np

from marketsim.agent import CompiledAgent
from marketsim.codes import OrderKind
from marketsim.compile import callback
from marketsim.errors import DataError
from marketsim.events import EXCHANGE, Message, send, wake_at
from marketsim.kernel import send_wake
from marketsim.market import WAKE, Market, agents, feed, header
from marketsim.records import FEED
from marketsim.tape import Table, Tape

_FEED = int(Message.FEED)


@callback(WAKE)
def _wake(m, agent, slot):
    """Send the next recorded row to the exchange and sleep until the one after it."""
    me = agents(m, agent)
    row = me.state + me.cursor
    now_ns = header(m).now_ns
    send(m, now_ns, _FEED, agent, EXCHANGE, me.symbol, 0, 0, 0, 0, row, 0, 0, 0)
    me.cursor += 1 + feed(m, row).reveals
    if me.cursor < me.state_size:
        wake_at(m, agent, feed(m, me.state + me.cursor).time_ns)
    return 0


class ReplayAgent(CompiledAgent):
    """Plays a tape back: every row at its own time, reveals where they belong.

    The tape is a source's (LOBSTER) or a simulation's; of the latter, cancels that found nothing
    and prevented self-trades do not replay as they were: the whole flow is one agent here. What
    a row can no longer do because another agent took the liquidity is counted in the run's summary
    under ``history``.

    Parameters
    ----------
    tape : the recorded flow; a configuration's ``data``.
    """

    wake = _wake
    headroom = 8
    plays_data = True
    wants_answers = hears_fills = False  # recorded flow does not react

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.reveals = tape.reveals

    def install(self, market: Market, members: range, symbol: int) -> None:
        """Copy the tape's rows into the block's feed and wake at the first.

        Raises
        ------
        DataError
            If the tape has no rows, or its times go back.
        """
        play_back(market, members.start, self.tape, len(self.tape), self.reveals)

    def summary(self, market: Market) -> dict[str, Any]:
        """Where the recorded flow came from."""
        meta = self.tape.meta
        return {"source": str(meta.get("source", "")), "source_rows": len(self.tape)}


def play_back(market: Market, agent: int, tape: Tape, rows_count: int, reveals: Table) -> None:
    """Copy the first rows of a tape into the block's feed, and wake an agent to send them.

    Raises
    ------
    DataError
        If there are no rows, or their times go back.
    """
    source = tape.orders if rows_count == len(tape) else tape.orders.take(slice(rows_count))
    rows = _feed_rows(source, reveals, int(market.header["open_ns"]))
    start = int(market.header["feed_count"])
    rows["origin"][rows["origin"] > 0] += start
    if start + len(rows) > market.capacities["feed"]:
        market.resize("feed", start + len(rows))
    market.view("feed")[start : start + len(rows)] = rows
    market.header["feed_count"] = start + len(rows)
    # Ids of recorded orders are theirs; ids that we give out come after them all.
    taken = int(source["order_id"].max(initial=0)) + 1
    market.header["next_order_id"] = max(int(market.header["next_order_id"]), taken)
    record = market.view("agents")[agent]
    record["state"], record["state_size"], record["cursor"] = start, len(rows), 0
    record["mark"] = market.header["next_order_id"]
    send_wake(market.address, agent, int(rows["time_ns"][0]))


def _feed_rows(source: Table, reveals: Table, open_ns: int) -> Any:
    """Rows of a tape's orders with the reveals behind each, as the block's feed has them."""
    n, extra = source.size, reveals.size
    if n == 0:
        raise DataError("data: the tape to replay has no rows of orders")
    times = source["time_ns"]
    if (np.diff(times) < 0).any():
        row = int(np.flatnonzero(np.diff(times) < 0)[0]) + 1
        raise DataError(f"data: times must not decrease, row {row} of orders does")
    after = np.searchsorted(source["sequence"], reveals["sequence"], side="right") - 1
    place = np.argsort(np.concatenate([np.arange(n), after]) + 0.5 * (np.arange(n + extra) >= n),
                       kind="stable")  # fmt: skip
    is_reveal = place >= n
    rows = np.zeros(n + extra, FEED)
    at = {"row": place[~is_reveal], "reveal": place[is_reveal] - n}
    for column in ("order_id", "price_ticks", "size_lots", "hidden_lots", "price_subticks", "side"):
        rows[column][~is_reveal] = source[column][at["row"]]
    rows["time_ns"][~is_reveal] = times
    rows["kind"][~is_reveal] = _kinds(source)
    rows["side"][is_reveal] = reveals["side"][at["reveal"]]
    rows["price_ticks"][is_reveal] = reveals["price_ticks"][at["reveal"]]
    change = reveals["size_lots"] - reveals["size_before_lots"]
    rows["size_lots"][is_reveal] = change[at["reveal"]]
    opening = int(np.searchsorted(reveals["sequence"], 0))
    rows["time_ns"][:opening] = min(open_ns, int(times[0]))
    rows["origin"] = _origins(rows["order_id"], rows["kind"])
    # Each message, and the first opening reveal, leads the reveals behind it.
    leads = np.flatnonzero(~is_reveal)
    if opening:
        leads = np.concatenate([[0], leads])
    rows["reveals"][leads] = np.diff(np.concatenate([leads, [n + extra]])) - 1
    return rows


def _origins(order_ids: Any, kinds: Any) -> Any:
    """Row + 1 in which each row's order last came in by then; 0 where it was out of sight."""
    n = len(order_ids)
    by_id = np.lexsort((np.arange(n), order_ids))
    came_in = np.where(kinds[by_id] == OrderKind.LIMIT, np.arange(1, n + 1), 0)
    first = np.concatenate([[True], np.diff(order_ids[by_id]) != 0])
    latest = np.maximum.accumulate(np.where(first, np.arange(n), 0))  # start of the id's rows
    last_entry = np.maximum.accumulate(came_in)
    inside = last_entry > latest
    origins = np.zeros(n, np.int64)
    origins[by_id] = np.where(inside, by_id[np.maximum(last_entry - 1, 0)] + 1, 0)
    origins[kinds == 0] = 0
    return origins


def _kinds(source: Any) -> Any:
    """Kinds of the rows; negative for a cancel or reduction of a stop that has not entered yet."""
    kinds = source["kind"].astype(np.int32)
    stops = source["order_id"][kinds == OrderKind.STOP]
    if len(stops):
        ids = source["order_id"]
        ours = np.isin(ids, stops)
        entries = np.flatnonzero(ours & np.isin(kinds, [OrderKind.LIMIT, OrderKind.MARKET]))
        entered = dict(zip(ids[entries].tolist(), entries.tolist(), strict=True))
        gone = np.flatnonzero(ours & np.isin(kinds, [OrderKind.CANCEL, OrderKind.REDUCE]))
        for row in gone.tolist():
            if row < entered.get(int(ids[row]), len(ids)):
                kinds[row] = -kinds[row]
    return kinds
