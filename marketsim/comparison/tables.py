"""Figures of a comparison by row: means over seeds, each beside its floor; and as tables."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from marketsim.comparison import response
from marketsim.comparison.plan import Plan
from marketsim.comparison.rows import REPLAY, ROWS
from marketsim.comparison.run import Comparison
from marketsim.report_tables import DASH, Grid, number

AGGREGATES = {"l1": "mean of unconditional scores, L1",
              "wasserstein": "mean of unconditional scores, W1"}  # fmt: skip
WORST = 3


def content_of(comparison: Comparison) -> dict[str, Any]:
    """All that was found; JSON values."""
    plan = comparison.plan
    rows = {name: _row(comparison, name) for name in comparison.rows}
    return {
        "data": {"path": plan.data, "symbol": str(comparison.real.meta["symbol"]),
                 "orders": len(plan.test.of(comparison.real))},
        "plan": {**plan.identity, "seeds": plan.seeds, "metrics": list(plan.metrics),
                 "max_seconds_a_row": plan.max_row_s},
        "rows": rows,
    }  # fmt: skip


def _row(comparison: Comparison, name: str) -> dict[str, Any]:
    if name in comparison.failures:
        return {"about": ROWS[name].about, "failure": comparison.failures[name]}
    plan, seeds = comparison.plan, comparison.seeds_of(name)
    kept = [comparison.load(name, seed, "simulate") for seed in seeds]
    made_ns = [one["end_ns"] - plan.test.start_ns for one in kept if one is not None]
    length_ns = comparison.lengths.get(name, min(made_ns, default=plan.test.length_ns))
    measures = {}
    if name in comparison.lengths:
        windows = comparison.windows_of(length_ns)
        for m in plan.metrics:
            parts = [comparison.load(name, seed, m) for seed in seeds]
            floors = [comparison.load(windows.name, number, m) for number in windows.numbers]
            known = [[part for part in column if part] for column in (parts, floors)]
            measures[m] = _measures(*known)
    row: dict[str, Any] = {
        "about": ROWS[name].about,
        "minutes": round(length_ns / 60e9, 3),
        "cut_short": length_ns < plan.test.length_ns,
        "seeds": len(seeds),
        "measures": measures,
        "facts": [one["facts"] for one in kept if one is not None],
        "nats": comparison.load(name, "all", "nats"),
        "impact": _impact(comparison, name, plan),
    }  # fmt: skip
    row["worst"] = _worst(row["measures"].get("lob", {}))
    return row


def _measures(parts: Sequence[Any], floors: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """By measure: values of seeds and of recorded windows, and the ratio of mean to median."""
    found = {}
    generated, recorded = (
        [{_label(row["measure"]): row for row in part["rows"]} for part in column]
        for column in (parts, floors)
    )
    for label, first in generated[0].items():
        column = [rows[label] for rows in generated if label in rows]
        theirs = [rows[label] for rows in recorded if label in rows]
        distance = _known(row["distance"] for row in column)
        floor = _known(row["distance"] for row in theirs)
        mean = float(np.mean(distance)) if distance else None
        middle = float(np.median(floor)) if floor else None
        found[label] = {
            "generated": _mean(row["generated"] for row in column),
            "real": _mean(row["real"] for row in column),
            "ratio": _mean(row["ratio"] for row in column),
            "distance": mean,
            "distances": distance,
            "floor": middle,
            "floors": floor,
            "over_floor": mean / middle if mean is not None and middle else None,
            "note": first["note"],
        }
    return found


def _label(measure: str) -> str:
    """A measure's name whatever the number of scores that were defined."""
    return re.sub(r" of \d+ ", " of ", measure)


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: Iterable[float | None]) -> float | None:
    known = _known(values)
    return float(np.mean(known)) if known else None


def _worst(lob: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Scores whose L1 is furthest above its floor."""
    scores = [
        {"score": name.removesuffix(", L1"), **{k: found[k] for k in ("distance", "floor")}}
        for name, found in lob.items()
        if name.endswith(", L1") and " scores, " not in name and found["distance"] is not None
    ]
    return sorted(scores, key=lambda s: (s["floor"] or 0.0) - s["distance"])[:WORST]


def _impact(comparison: Comparison, name: str, plan: Plan) -> dict[str, Any] | None:
    """Path of the normalised price difference, and its size at the end and after; in bps."""
    seeds = range(1) if name == REPLAY else comparison.seeds_of(name)
    outcomes = [kept for seed in seeds if (kept := comparison.load(name, seed, "impact"))]
    if not outcomes:
        return None
    found = response.result(name, plan, outcomes)
    path = found.path
    columns = [c for c in ("difference_bps", "low_bps", "high_bps") if c in path]
    measures = {row["measure"]: row for row in found.summary["measures"]}
    wanted = ("while_trading_bps", "at_end_bps", "permanent_bps", "participation", "executed_lots")
    return {
        "time_ns": path["time_ns"].tolist(),
        **{column: path[column].tolist() for column in columns},
        "measures": {
            name: {key: measures[name].get(key) for key in ("mean", "low", "high", "n", "note")}
            for name in wanted
        },
        "seeds": len(outcomes),
    }


# -- as text ------------------------------------------------------------------------------------


def grids(content: Mapping[str, Any]) -> list[Any]:
    """Tables of a comparison."""
    made = {name: row for name, row in content["rows"].items() if "failure" not in row}
    measured = {name: row for name, row in made.items() if row["measures"]}
    failed = {n: row["failure"] for n, row in content["rows"].items() if "failure" in row}
    found = [
        _grid("LOB-Bench", measured, _LOB, _LOB_NOTE),
        _worst_grid(measured),
        _grid("Forecasts, stylized facts, coverage", measured, _OTHER, _OTHER_NOTE),
        _nats_grid(made),
        _grid("Speed", made, _SPEED, _SPEED_NOTE),
        _grid("Stability", made, _STABILITY, _STABILITY_NOTE),
        _grid("Responsiveness to a buyer of 10 % of the volume", made, _RESPONSE, _RESPONSE_NOTE),
    ]
    if failed:
        found.append(Grid("Rows that could not be made", ("row", "why"), tuple(failed.items())))
    return [grid for grid in found if grid is not None]


#: A heading, and what of a row stands under it.
Columns = Sequence[tuple[str, Callable[[Any], str]]]


def _grid(title: str, rows: Mapping[str, Any], columns: Columns, note: str) -> Any:
    """A table of the rows that have something to show; None if none has."""
    lines = [(name, *(read(row) for _, read in columns)) for name, row in rows.items()]
    lines = [line for line in lines if any(cell != DASH for cell in line[1:])]
    if not lines:
        return None
    return Grid(title, ("row", *(heading for heading, _ in columns)), tuple(lines), note)


def _measure(row: Mapping[str, Any], section: str, start: str) -> Mapping[str, Any]:
    """The first measure of a section whose name begins so; nothing known if there is none."""
    measures = row["measures"].get(section, {})
    empty = dict.fromkeys(("distance", "floor", "over_floor", "generated", "real", "ratio"))
    return next((found for name, found in measures.items() if name.startswith(start)), empty)


def _cell(section: str, start: str, key: str, digits: int = 3) -> Callable[[Any], str]:
    return lambda row: number(_measure(row, section, start)[key], digits)


def median_stylized(row: Mapping[str, Any]) -> float | None:
    """Median over the stylized facts of distance over floor."""
    ratios = _known(found["over_floor"] for found in row["measures"].get("stylized", {}).values())
    return float(np.median(ratios)) if ratios else None


_LOB: Columns = (
    ("min", lambda row: f"{row['minutes']:g}"),
    ("n", lambda row: f"{row['seeds']}"),
    ("L1", _cell("lob", AGGREGATES["l1"], "distance")),
    ("floor (range)", lambda row: _floor(_measure(row, "lob", AGGREGATES["l1"]))),
    ("ratio", _cell("lob", AGGREGATES["l1"], "over_floor", 2)),
    ("W1", _cell("lob", AGGREGATES["wasserstein"], "distance")),
    ("floor (range)", lambda row: _floor(_measure(row, "lob", AGGREGATES["wasserstein"]))),
    ("ratio", _cell("lob", AGGREGATES["wasserstein"], "over_floor", 2)),
    ("AUC", _cell("lob", "discriminator", "distance", 2)),
)
_LOB_NOTE = (
    "min: length of the window; n: markets, or recorded windows; L1, W1: mean over those of 21"
    " scores that are defined, and over markets; floor: median (least to largest) of the same"
    " distance between other recorded windows of this length and the same test window; ratio: over"
    " the floor, 1 is as good as real; AUC: of the discriminator, 1/2 when tapes cannot be told"
    " apart. Features are in ticks and lots: a market of agents has its own, so it is compared as"
    " in the papers, not as this stock."
)


def _floor(found: Mapping[str, Any]) -> str:
    if found["floor"] is None:
        return DASH
    low, high = (number(end(found["floors"]), 2) for end in (min, max))
    return f"{number(found['floor'])} ({low}-{high})"


_OTHER: Columns = (
    ("of real", _cell("predictive", "error of the mid-price change", "ratio", 3)),
    ("of no change", _cell("predictive", "error over that", "generated", 3)),
    ("level", _cell("predictive", "error of the mid-price level", "generated", 3)),
    ("level, real", _cell("predictive", "error of the mid-price level", "real", 3)),
    ("facts", lambda row: number(median_stylized(row), 2)),
    ("hull", _cell("coverage", "hull coverage, all", "generated", 2)),
    ("hull, 99 %", _cell("coverage", "hull coverage, core", "generated", 2)),
)
_OTHER_NOTE = (
    "of real: error of a forecast of the mid-price change that is trained on the row's tape and"
    " tested on the test window, over that of one trained on the test window; of no change: over"
    " the forecast 'no change'; level: the paper's score, which measures the mean price [currency];"
    " facts: median over the stylized facts of distance over that of recorded windows; hull: share"
    " of the real distribution's hull that is covered"
)


def _worst_grid(made: Mapping[str, Any]) -> Any:
    lines = []
    for name, row in made.items():
        for place, found in enumerate(row["worst"]):
            ratio = found["distance"] / found["floor"] if found["floor"] else None
            values = (number(found["distance"]), number(found["floor"]), number(ratio, 2))
            lines.append(("" if place else name, found["score"], *values))
    if not lines:
        return None
    note = "the L1 distances that are furthest above their floors"
    headings = ("row", "score", "L1", "floor", "ratio")
    return Grid("Worst LOB-Bench scores", headings, tuple(lines), note)


def _total(row: Mapping[str, Any], name: str) -> float:
    return float(sum(facts.get(name) or 0.0 for facts in row["facts"]))


def _over(top: str, bottom: str, scale: float = 1.0, digits: int = 2) -> Callable[[Any], str]:
    def read(row: Any) -> str:
        below = _total(row, bottom)
        return number(scale * _total(row, top) / below, digits) if below else DASH

    return read


def _rate(name: str) -> Callable[[Any], str]:
    def read(row: Any) -> str:
        known = _known(facts.get(name) for facts in row["facts"])
        return f"{100 * np.mean(known):.2f} %" if known else DASH

    return read


_SPEED: Columns = (
    ("markets", lambda row: f"{row['facts'][0]['timed_markets']}" if row["facts"] else DASH),
    ("ms an order", _over("timed_wall_s", "timed_orders", 1e3)),
    ("in the model", _over("timed_model_s", "timed_orders", 1e3)),
    ("simulated s a s", _over("timed_simulated_s", "timed_wall_s", 1.0, 1)),
    ("rejects", _rate("reject_rate")),
    ("fallbacks", _rate("fallback_rate")),
)
_SPEED_NOTE = (
    "wall time of this machine while it did whatever else it did, one thread; markets: that ran"
    " together; simulated s a s: of all of them; rejects: of all draws, fallbacks: of all orders"
)


def _facts(name: str, how: Callable[[list[float]], float], digits: int = 2) -> Callable[[Any], str]:
    def read(row: Any) -> str:
        known = _known(facts.get(name) for facts in row["facts"])
        return number(float(how(known)), digits) if known else DASH

    return read


_STABILITY: Columns = (
    ("orders", _facts("orders", lambda v: float(np.mean(v)), 0)),
    ("spread [ticks]", _facts("spread_ticks", lambda v: float(np.mean(v)), 1)),
    ("real", _facts("real_spread_ticks", lambda v: float(np.mean(v)), 1)),
    ("largest", _facts("largest_spread_ticks", max, 0)),
    ("one-sided [%]", _facts("empty_share", lambda v: 100 * max(v), 3)),
    ("low [%]", _facts("mid_low_percent", min)),
    ("high [%]", _facts("mid_high_percent", max)),
)
_STABILITY_NOTE = (
    "orders, spread (of the recorded window: real): mean over seeds; largest spread, share of time"
    " without one side of the book, lowest and highest mid-price against its start: the worst seed"
)


def _impact_cell(name: str) -> Callable[[Any], str]:
    def read(row: Any) -> str:
        found = row["impact"] and row["impact"]["measures"][name]
        if not found or found["mean"] is None:
            return DASH
        if found["low"] is None:
            return number(found["mean"], 1)
        return " ".join(
            (number(found["mean"], 1), f"({number(found['low'], 1)} to {number(found['high'], 1)})")
        )

    return read


def _mean_cell(name: str, digits: int = 2) -> Callable[[Any], str]:
    def read(row: Any) -> str:
        return number(row["impact"]["measures"][name]["mean"], digits) if row["impact"] else DASH

    return read


_RESPONSE: Columns = (
    ("buying [bps]", _impact_cell("while_trading_bps")),
    ("at end [bps]", _impact_cell("at_end_bps")),
    ("lasting [bps]", _impact_cell("permanent_bps")),
    ("share", _mean_cell("participation")),
    ("lots", _mean_cell("executed_lots", 0)),
    ("seeds", lambda row: f"{row['impact']['seeds']}" if row["impact"] else DASH),
)
_RESPONSE_NOTE = (
    "difference of mid-prices with the buyer and without it over the latter, with 95 % intervals"
    " over seeds; it wakes each minute; share: of the volume; lasting: when a third"
    " of the time after its last trade is over. Recorded flow does not react."
)


def _nats_grid(made: Mapping[str, Any]) -> Any:
    lines = []
    for name, row in made.items():
        if row["nats"] is None:
            continue
        for label, found in (("", row["nats"]["model"]), (": marginals", row["nats"]["marginals"])):
            cells = (number(value) for value in (*found.values(), sum(found.values())))
            lines.append((name + label, *cells))
    if not lines:
        return None
    headings = ("row", "class", "depth", "size", "offset", "sum")
    note = (
        "of the test window's orders, which the model has not learned from; marginals: frequencies"
        " in the training window, of the class and of the rest given the class"
    )
    return Grid("Held-out nats an order", headings, tuple(lines), note)
