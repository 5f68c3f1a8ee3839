"""What an environment looks like: text and pictures of the book and of the episode."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marketsim.clock import format_time

if TYPE_CHECKING:
    from marketsim.envs.seat import Seat
    from marketsim.simulation import Simulation

LEVELS = 8
_WIDTH_PX, _HEIGHT_PX, _DPI = 800, 360, 100


def _depth(simulation: "Simulation", seat: "Seat") -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Best visible levels of the agent's symbol, [levels, 2] – price [ticks], size [lots]."""
    from marketsim.handle import Handle

    symbol = 0 if seat.task.symbol is None else simulation.symbol_id(seat.task.symbol)
    return Handle(simulation, seat.agent, seat.name, symbol).depth(LEVELS)


def as_text(simulation: "Simulation", seats: Sequence["Seat"]) -> str:
    """The best levels, bids on the left, and what the agents were told last."""
    bids, asks = _depth(simulation, seats[0])
    tasks = ", ".join(type(seat.task).__name__ for seat in seats)
    lines = [f"{tasks} at {format_time(simulation.now_ns)}"]
    lines.append(f"{'lots':>10} {'bid':>10} | {'ask':<10} {'lots':<10}")
    for (bid, bid_lots), (ask, ask_lots) in zip(bids.tolist(), asks.tolist(), strict=True):
        left = f"{bid_lots:>10} {bid:>10}" if bid_lots else " " * 21
        right = f"{ask:<10} {ask_lots:<10}" if ask_lots else ""
        lines.append(f"{left} | {right}".rstrip())
    for seat in seats:
        told = [f"{name} {value:g}" for name, value in seat.info().items() if name != "time_ns"]
        lines.append("  ".join(_names(seats, seat) + told))
    return "\n".join(lines)


def _names(seats: Sequence["Seat"], seat: "Seat") -> list[str]:
    """The name of one agent of several."""
    return [f"{seat.name}:"] if len(seats) > 1 else []


def as_picture(
    simulation: "Simulation", seats: Sequence["Seat"], mids: list[tuple[int, float]]
) -> NDArray[np.uint8]:
    """The book's best levels beside the mid-price of the episode, uint8[height, width, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_PX / _DPI, _HEIGHT_PX / _DPI), dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    path, book = figure.subplots(1, 2, width_ratios=(2, 1))
    seconds = [(time_ns - mids[0][0]) / 1e9 for time_ns, _ in mids]
    path.plot(seconds, [mid for _, mid in mids], color="#30507a", linewidth=1.2)
    path.set_xlabel("seconds since the start")
    path.set_ylabel("mid-price [ticks]")
    path.ticklabel_format(useOffset=False)
    path.set_title(_headline(simulation, seats), fontsize=9, loc="left")
    for levels, color in zip(_depth(simulation, seats[0]), ("#2a7f62", "#b0413e"), strict=True):
        shown = levels[levels[:, 1] > 0]
        names: Any = [str(price) for price in shown[:, 0].tolist()]
        offset = 0 if color == "#2a7f62" else LEVELS
        places = offset + np.arange(len(shown)) if offset else LEVELS - 1 - np.arange(len(shown))
        book.barh(places, shown[:, 1], color=color, height=0.8)
        for place, name in zip(places, names, strict=True):
            book.text(0, place, f" {name}", va="center", fontsize=7)
    book.set_yticks([])
    book.set_xlabel("visible lots")
    book.set_title("book", fontsize=9, loc="left")
    canvas.draw()  # type: ignore[no-untyped-call]
    picture: Any = canvas.buffer_rgba()  # type: ignore[no-untyped-call]
    return np.asarray(picture)[..., :3].copy()


def _headline(simulation: "Simulation", seats: Sequence["Seat"]) -> str:
    shown = [format_time(simulation.now_ns)]
    for seat in seats:
        told = list(seat.info().items())[1 : 4 if len(seats) == 1 else 2]
        shown.append(" ".join(_names(seats, seat) + [f"{name} {value:g}" for name, value in told]))
    return "   ".join(shown)
