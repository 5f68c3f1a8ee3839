"""The world agent: the start of a recorded day, then a model that writes the order flow itself."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from marketsim import checks
from marketsim.agents.replay import ReplayAgent, play_back
from marketsim.agents.warm_up import warm_up_rows
from marketsim.clock import NS_PER_DAY, NS_PER_SECOND, format_time, parse_span
from marketsim.codes import OrderKind
from marketsim.drafts import IMPOSSIBLE, MOVED, NO_ROOM, send_begin
from marketsim.errors import ConfigError, DataError, ModelError, StateError
from marketsim.flow import BOOK_SHAPE, FLOW, Flow, Order, View
from marketsim.flow_ring import BOOK_WORDS, EVENT_WORDS, NOT_DUE, VIEW_WORDS
from marketsim.handle import Handle
from marketsim.order_events import Event
from marketsim.tape import Table, Tape
from marketsim.thinking import Thinker

_EVENTS_A_READ = 16
_LEAST_ROWS = 1024
_KINDS = tuple(int(event) for event in Event)
_LIMIT, _MARKET = int(Event.LIMIT), int(Event.MARKET)
#: As the book takes them: prices in ticks within these, sizes in lots up to that.
_MAX_PRICE, _MAX_SIZE = 1 << 55, 1 << 40
#: More decisions than so many within a millisecond: the model lets no time pass.
_MOST_AT_ONCE, _AT_ONCE_NS = 10_000, 1_000_000
_NUMBERS = (
    "_sent", "_rows_seen", "_after_ns", "_least_ns", "_at_once", "_last_ns",
)  # fmt: skip
_SHOWN = ("rejects", "fallbacks", "cancels_moved", "redrawn", "refused")


class _Draft(NamedTuple):
    """An order on its way to the exchange."""

    kind: int
    side: int
    price_ticks: int
    size_lots: int
    due_ns: int


class WorldAgent(Thinker):
    """Plays the start of a tape back, then lets a generator write the order flow, order by order.

    Each order is conditioned on the book and on all that has happened in it, whoever did it. It is
    due its delay after the event before it; when another agent's event comes first, it is dropped
    and drawn anew. What the tape left in the book belongs to this agent: a cancel takes one of its
    own orders, never somebody else's. It acts without latency.

    Parameters
    ----------
    model : folder of a saved order-flow generator, or a generator.
    tape : recorded flow for the warm-up; a configuration's ``data``.
    warm_up : how much of it is played back, from its first row on.
    device : where a model that is given by its folder computes: "cpu", "cuda". Anywhere but on the
        CPU a market runs again only among the same markets: it is not, bit for bit, what it is on
        the CPU or in a batch of others.
    max_rejects : how often at one decision the model is asked again for an order that is possible.
    sampling : how a model that is given by its folder draws, in place of how it was saved to: the
        ``temperature`` of tokens, the ``steps`` of a diffusion …

    Raises
    ------
    ConfigError, ModelError
        For a bad parameter; if the model cannot be read.
    DataError
        If the warm-up is longer than the tape or has too few events for the model, or the tape's
        tick is not the model's.
    """

    wake = ReplayAgent.wake  # until the warm-up is over
    plays_data = True

    def __init__(
        self,
        model: Any,
        tape: Tape,
        warm_up: str | int = "15min",
        device: str = "cpu",
        max_rejects: int = 10,
        sampling: Mapping[str, Any] | None = None,
    ) -> None:
        self.warm_up_ns = parse_span(warm_up, "warm_up")
        self.max_rejects = checks.integer("max_rejects", max_rejects, 0)
        self.tape = tape
        self.generator, self.model_digest = _generator(
            model, checks.text("device", device), sampling
        )
        self._context = max(self.generator.context, 1)
        played = warm_up_rows(tape, self.warm_up_ns, self.generator)
        self.begin_ns, self._rows, self._ring_rows = played
        sequence = tape.reveals["sequence"]
        self.reveals: Table = tape.reveals.take(slice(np.searchsorted(sequence, self._rows)))
        self._buffers()
        self._forget()

    def _buffers(self) -> None:
        """Where compiled code writes what there is to see."""
        words = np.zeros(_EVENTS_A_READ * EVENT_WORDS + VIEW_WORDS, np.int64)
        end = _EVENTS_A_READ * EVENT_WORDS
        self._words, self._address = words, words.ctypes.data
        self._events: Flow = words[:end].view(FLOW)
        self._book = words[end : end + BOOK_WORDS].reshape(BOOK_SHAPE)
        self._own = words[end + BOOK_WORDS :].reshape(-1, 2)

    def _forget(self) -> None:
        """State of a market that has not begun."""
        self.flow_state: Any = None
        self.model_s = 0.0
        self.orders = [0, 0, 0]
        self.counts = dict.fromkeys(_SHOWN, 0)
        self._draft: _Draft | None = None
        self._sent = self._after_ns = self._least_ns = 0
        self._tries = self._at_once = self._last_ns = 0
        self._rows_seen = 0

    def on_start(self, market: Handle) -> None:
        """Put the warm-up into the feed, and let the flow be kept from now on."""
        self._forget()
        simulation, block = market._simulation, market._simulation._market
        if int(self.tape.orders["time_ns"][0]) < simulation.start_ns:
            raise DataError(
                f"agents.{market.name}: the session must not open after the tape's first row,"
                f" which is at {format_time(int(self.tape.orders['time_ns'][0]))}"
            )
        if self.begin_ns >= simulation.close_ns:
            raise ConfigError(
                f"agents.{market.name}: warm_up must end before the session's close"
                f" {format_time(simulation.close_ns)}, was until {format_time(self.begin_ns)}"
            )
        record = block.view("agents")[market._agent]
        for name in ("latency_ns", "jitter", "delay_ns"):
            record[name] = 0
        wanted = max(self._ring_rows, _LEAST_ROWS) * len(simulation.symbols)
        if block.capacities["flow"] < wanted:
            block.resize("flow", wanted)
        play_back(block, market._agent, self.tape, self._rows, self.reveals)
        block.reserve_messages(1)
        send_begin(block.address, market._symbol, market._agent, self.begin_ns)

    # -- deciding ---------------------------------------------------------------------------

    def look(self, market: Handle) -> View | None:
        """What happened since the last decision, and the book now."""
        flow = self._read(market)
        if flow is None:
            return None
        _, sent, now_ns, rows = market._simulation._market.mail[:4].tolist()
        if self.flow_state is None:
            flow = self._begin(flow)
        elif len(flow):
            self._after_ns, self._least_ns = now_ns, 0
        if sent != self._sent:
            self._settle(sent, rows > self._rows_seen, now_ns)
        self._rows_seen = rows
        if now_ns >= market._simulation.close_ns:
            self._draft = None
            return None
        if self._draft is not None:
            if not len(flow):  # a stop order, a print: nothing that the model is told of
                self._send(market, self._draft)
                return None
            self.counts["redrawn"] += 1
            self._draft = None
        self._tries = 0
        self._at_once += 1
        if now_ns - self._last_ns >= _AT_ONCE_NS:
            self._at_once, self._last_ns = 0, now_ns
        if self._at_once > _MOST_AT_ONCE:
            raise ModelError(
                f"agents.{market.name}: model {self.generator.name!r} wrote {_MOST_AT_ONCE} orders"
                f" within a millisecond, until {format_time(now_ns)}: it lets no time pass"
            )
        return View(flow, self._book.copy(), self._own.copy(), now_ns)

    def _read(self, market: Handle) -> Flow | None:
        """Events since the last call, or None if nothing is to be decided."""
        simulation = market._simulation
        view, block = simulation._calls.view_flow, simulation._market
        where = (block.address, market._symbol, market._agent, self._address, _EVENTS_A_READ)
        count = view(*where)
        if count == NOT_DUE:
            return None
        flow: Flow = self._events[:count].copy()
        if not block.mail[0]:
            return flow
        pieces = [flow]
        while block.mail[0]:
            count = view(*where)
            pieces.append(self._events[:count].copy())
        return np.concatenate(pieces)

    def _begin(self, flow: Flow) -> Flow:
        """The model learns of the warm-up; returns what it has not seen then: nothing."""
        if len(flow) < self._context:
            raise DataError(
                f"warm_up: model {self.generator.name!r} needs {self._context} events,"
                f" there were {len(flow)}"
            )
        self.flow_state = self.generator.start(flow)
        self._after_ns = int(flow["time_ns"][-1])
        return flow[:0]

    def _settle(self, sent: int, taken: bool, now_ns: int) -> None:
        """The draft has reached the exchange, which took it if there are new rows."""
        self._sent = sent
        draft, self._draft = self._draft, None
        self._after_ns, self._least_ns = now_ns, 0
        if draft is None:
            return
        if taken:
            self.orders[draft.kind] += 1
        else:  # refused: the next one waits, or time would stand still
            self.counts["refused"] += 1
            self._least_ns = 1

    def take(self, market: Handle, view: View, order: Order) -> View | None:
        """Send a draft on its way, or ask again."""
        try:
            fields, delay_ns, rejected, fallback = _whole(order)
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"agents.{market.name}: model {self.generator.name!r} must write Orders of numbers,"
                f" wrote {order!r}: {error}"
            ) from error
        self.counts["rejects"] += rejected
        self.counts["fallbacks"] += fallback
        due_ns = max(self._after_ns + max(delay_ns, self._least_ns), view.now_ns)
        if fields is not None and self._send(market, _Draft(*fields, due_ns)):
            return None
        self._tries += 1
        self.counts["rejects"] += 1
        if self._tries <= self.max_rejects:
            return view._replace(flow=view.flow[:0])
        self.counts["fallbacks"] += 1
        self._send(market, self._fallback(market, view, due_ns))
        return None

    def _send(self, market: Handle, draft: _Draft) -> bool:
        """Send a draft on its way; False if there is nothing that it could do."""
        simulation = market._simulation
        block, send = simulation._market, simulation._calls.send_draft
        kind, side, price, size, due_ns = draft
        numbers = (market._symbol, market._agent, kind, side, price, size, due_ns)
        result = send(block.address, *numbers)
        while result == NO_ROOM:
            simulation._grow()
            result = send(block.address, *numbers)
        if result == IMPOSSIBLE:
            return False
        if result == MOVED:
            self.counts["cancels_moved"] += 1
        self._draft = draft
        return True

    def _fallback(self, market: Handle, view: View, due_ns: int) -> _Draft:
        """A limit order of the usual size that joins the side with fewer lots."""
        lots = view.book[:, (1, 3)].sum(axis=0)
        side = 1 if lots[0] <= lots[1] else -1
        own, other = (0, 2) if side > 0 else (2, 0)
        best, opposite = view.book[0, own], view.book[0, other]
        if view.book[0, own + 1] > 0:
            price = int(best)
        elif view.book[0, other + 1] > 0:
            price = int(opposite) - side
        else:
            price = int(market._simulation._market.view("books")[market._symbol]["last_ticks"])
        return _Draft(_LIMIT, side, price, self._usual_lots(market), due_ns)

    def _usual_lots(self, market: Handle) -> int:
        """Median size of the limit orders among the last rows."""
        block, book = market._simulation._market, market._symbol
        width = int(block.header["flow_width"])
        rows = block.view("flow")[book * width : (book + 1) * width]
        rows = rows[: int(block.view("books")[book]["rows"])]
        sizes = rows["size_lots"][rows["kind"] == OrderKind.LIMIT]
        return max(int(np.median(sizes)), 1) if len(sizes) else 1

    # -- what is left of it -----------------------------------------------------------------

    def summary(self, market: Handle) -> dict[str, Any]:
        """What the model wrote, and what became of it.

        ``rejects``: draws that were thrown away, by the model itself or because nothing came of
        them; ``fallbacks``: orders that are not the model's; ``cancels_moved``: cancels that took
        an order at the nearest price; ``redrawn``: orders dropped because something happened before
        they were due; ``refused``: by the exchange.
        """
        drawn = sum(self.orders) + self.counts["redrawn"] + self.counts["refused"]
        rejects = self.counts["rejects"]
        return {
            "model": self.generator.name,
            "model_digest": self.model_digest,
            "source": str(self.tape.meta.get("source", "")),
            "warm_up_rows": self._rows,
            "orders": {event.name.lower(): self.orders[event] for event in Event},
            **self.counts,
            "reject_rate": round(rejects / (rejects + drawn), 6) if drawn else 0.0,
            "model_s": round(self.model_s, 6),
        }

    def __deepcopy__(self, memo: dict[int, Any]) -> "WorldAgent":
        """Its own state of the market; model and tape are shared."""
        twin = object.__new__(WorldAgent)
        twin.__dict__.update(self.__dict__)
        twin.flow_state = copy.deepcopy(self.flow_state, memo)
        twin.orders, twin.counts = list(self.orders), dict(self.counts)
        twin._buffers()
        return twin

    def state_dict(self) -> dict[str, Any]:
        """State of the market; the model is saved by its digest."""
        state = None if self.flow_state is None else self.generator.pack(self.flow_state)
        return {
            "model": [self.generator.name, self.model_digest],
            "state": state,
            "draft": self._draft,
            "orders": self.orders,
            "counts": self.counts,
            "numbers": [getattr(self, name) for name in _NUMBERS],
            "model_s": self.model_s,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state.

        Raises
        ------
        StateError
            If it was saved with another model.
        """
        model = [self.generator.name, self.model_digest]
        if list(state["model"]) != model:
            raise StateError(f"model must be the one it was saved with, {state['model']}: {model}")
        packed = state["state"]
        self.flow_state = None if packed is None else self.generator.unpack(packed)
        self._draft = None if state["draft"] is None else _Draft(*state["draft"])
        self.orders, self.counts = list(state["orders"]), dict(state["counts"])
        vars(self).update(zip(_NUMBERS, state["numbers"], strict=True))
        self.model_s = state["model_s"]


def _whole(order: Order) -> tuple[tuple[int, int, int, int] | None, int, int, int]:
    """Kind, side, price and size of an order, None if it cannot be; delay, rejected, fallback.

    Raises
    ------
    TypeError, ValueError
        If it is no order, or a field that counts is no number.
    """
    kind, side, price, size, delay_ns, rejected, fallback = order
    price = 0 if kind == _MARKET else price
    waits = 0 <= delay_ns <= NS_PER_DAY
    if (
        waits
        and kind in _KINDS
        and side in (1, -1)
        and 0 < size <= _MAX_SIZE
        and -_MAX_PRICE <= price <= _MAX_PRICE
    ):
        fields = (int(kind), int(side), int(price), int(size))
        return fields, int(delay_ns), int(rejected), int(fallback)
    return None, int(delay_ns) if waits else NS_PER_SECOND, int(rejected), int(fallback)


def _generator(model: Any, device: str, sampling: Mapping[str, Any] | None) -> tuple[Any, str]:
    """A generator and its digest; an object that was given has none."""
    if isinstance(model, str | Path):
        from marketsim.generators.shared import shared_model

        if sampling is not None and not isinstance(sampling, Mapping):
            raise ConfigError(f"sampling must be keys and values, was {sampling!r}")
        found, digest = shared_model(model, device, sampling)
        if not hasattr(found, "next_orders"):
            raise ConfigError(f"model {model}: {found.name!r} writes no orders")
        return found, digest
    if sampling:
        raise ConfigError(
            "sampling is of a model that is given by its folder; set it on the object"
        )
    if not hasattr(model, "next_orders"):
        raise ConfigError(f"model must be a folder or an OrderFlowGenerator, was {model!r}")
    return model, ""
