"""Mid-price response functions: where the price goes after an order of each kind.

Only messages at the touch count, and time is counted in them. Six kinds are told apart: market
orders (``MO``), limit orders (``LO``) and cancellations (``CA``), that change a best price
(``_1``) or do not (``_0``).

References
----------
Eisler, Bouchaud & Kockelkoren (2012), The price impact of order book events: market orders, limit
orders and cancellations, Quantitative Finance 12(9), eq. 15.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketsim.metrics.distances import CONFIDENCE
from marketsim.metrics.flow import EXECUTION, LIMIT, Bools, Floats, Flow, Ints
from marketsim.metrics.pool import MIN_OBSERVATIONS

KINDS = ("MO_0", "MO_1", "LO_0", "LO_1", "CA_0", "CA_1")
#: 10^0.3 to 10^2.3 in steps of 10^0.1, rounded: 2 to 200 events at the touch.
LAGS: Ints = np.unique(np.round(10 ** np.linspace(0.3, 2.3, 21)).astype(np.int64))
#: Blocks of neighbouring events that intervals are resampled from: responses overlap.
BLOCKS = 50


@dataclass(frozen=True)
class TouchEvents:
    """Messages at the touch, with both sides of the book there before and after.

    Attributes
    ----------
    row : int64[m], of the flow.
    kind : int64[m], index into :data:`KINDS`.
    sign : int64[m], +1 for what should raise the price: market and limit orders to buy, cancelled
        orders to sell.
    before_ticks, after_ticks : float64[m], mid-price.
    """

    row: Ints
    kind: Ints
    sign: Ints
    before_ticks: Floats
    after_ticks: Floats


def touch_events(flow: Flow) -> TouchEvents:
    """Find the messages at the best price of their side, before or after them.

    Each execution is an event of its own, even where a market order makes several.
    """
    before, after = slice(None, -1), slice(1, None)
    at_touch: Bools = np.zeros(flow.size - 1, bool)
    moved: Bools = np.zeros(flow.size - 1, bool)
    for side, sign in (("bid", 1), ("ask", -1)):
        best = flow.price(side)
        own, price = flow.side[after] == sign, flow.price_ticks[after]
        at_touch |= own & ((price == best[before]) | (price == best[after]))
        moved |= best[before] != best[after]
    row = np.flatnonzero(at_touch & flow.two_sided[before] & flow.two_sided[after]) + 1
    kinds = flow.kind[row]
    family = np.where(kinds == EXECUTION, 0, np.where(kinds == LIMIT, 1, 2))
    raises = np.where(kinds == LIMIT, 1, -1) * flow.side[row]
    return TouchEvents(
        row, 2 * family + moved[row - 1], raises, flow.mid_ticks[row - 1], flow.mid_ticks[row]
    )


def response(
    events: TouchEvents, rng: np.random.Generator, samples: int
) -> tuple[Floats, NDArray[np.float64], Ints]:
    """Mean signed change of the mid-price from before an event to after the ``lag``-th, itself one.

    Returns
    -------
    mean : float64[kinds, lags]
        Ticks; NaN where there is no event of the kind with so many after it.
    interval : float64[2, kinds, lags]
        Ends of the 99 % interval, from resampled blocks of neighbouring events.
    number : int64[kinds, lags]
        Events in each mean.
    """
    size, kinds = len(events.row), len(KINDS)
    block = np.arange(size) * BLOCKS // max(size, 1)
    total = np.zeros((len(LAGS), BLOCKS, kinds))
    number = np.zeros((len(LAGS), BLOCKS, kinds))
    for i, lag in enumerate(LAGS):
        known = max(size - int(lag) + 1, 0)
        ahead = events.after_ticks[int(lag) - 1 :][:known]
        change = events.sign[:known] * (ahead - events.before_ticks[:known])
        cell = block[:known] * kinds + events.kind[:known]
        total[i].flat = np.bincount(cell, change, BLOCKS * kinds)
        number[i].flat = np.bincount(cell, minlength=BLOCKS * kinds)
    chosen = rng.multinomial(BLOCKS, np.full(BLOCKS, 1 / BLOCKS), samples)
    drawn = _ratio(*(np.einsum("sb,lbk->skl", chosen, x) for x in (total, number)))
    tail = (1 - CONFIDENCE) / 2
    mean = _ratio(total.sum(1).T, number.sum(1).T)
    ends = np.full((2, *mean.shape), np.nan)
    solid = np.isfinite(drawn).all(0)
    ends[:, solid] = np.quantile(drawn[:, solid], (tail, 1 - tail), axis=0)
    return mean, ends, number.sum(1).T.astype(np.int64)


def _ratio(total: Floats, number: Floats) -> Floats:
    ratio: Floats = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
    return ratio


def response_rows(
    generated: Flow, real: Flow, rng: np.random.Generator, samples: int
) -> list[dict[str, Any]]:
    """Rows of the table: one an event kind and a lag, both tapes beside each other."""
    found = {
        name: response(touch_events(flow), rng, samples)
        for name, flow in (("generated", generated), ("real", real))
    }
    rows = []
    for i, kind in enumerate(KINDS):
        for j, lag in enumerate(LAGS):
            row: dict[str, Any] = {"event": kind, "lag": int(lag)}
            notes = []
            for name, (mean, ends, number) in found.items():
                count = int(number[i, j])
                enough = count >= MIN_OBSERVATIONS
                solid = enough and bool(np.isfinite(ends[:, i, j]).all())
                row[f"{name}_ticks"] = float(mean[i, j]) if enough else None
                row[f"{name}_low"] = float(ends[0, i, j]) if solid else None
                row[f"{name}_high"] = float(ends[1, i, j]) if solid else None
                row[f"n_{name}"] = count
                if not enough:
                    notes.append(f"not defined: {name} has {count} such events with so many after")
                elif not solid:
                    notes.append(f"no interval: the {name} events lie in few blocks")
            rows.append(row | {"note": "; ".join(notes)})
    return rows
