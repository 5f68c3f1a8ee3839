"""The result of a paired experiment with an agent: its impact on the price, and what it paid."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from marketsim.clock import format_time
from marketsim.errors import DataError
from marketsim.metrics.impact import Floats, fit_power_law
from marketsim.metrics.paired import Band, band, estimate_mean
from marketsim.run_store import write_text

if TYPE_CHECKING:
    import pandas as pd

#: Prices of a seed and size, each in ticks and in basis points of the arrival mid.
IMPACTS = ("while_trading", "at_end", "temporary", "permanent")
#: What else is measured of a seed and size.
FIGURES = (
    "executed_lots", "filled_share", "participation", "volume_share", "shortfall_bps",
    "paired_shortfall_bps", "largest_difference_ticks", "prefactor",
)  # fmt: skip
ALL_SAME = (
    "All seeds give the same paths: the background has no randomness, and intervals say nothing."
)


@dataclass(frozen=True)
class ImpactResult:
    """Impact of an agent, paired seed by seed.

    Attributes
    ----------
    table : DataFrame
        A row for each size and measure: ``mean`` over seeds, ``low``, ``high`` (95 % bootstrap
        interval), ``n`` seeds, ``note`` (why something is missing). Impacts have the sign of the
        trade: positive for a buyer who raises the price and for a seller who lowers it.
    path : DataFrame
        A row for each size and instant of the grid: ``time_ns``, ``difference_ticks`` (mean
        mid-price with the agent less that without), ``median_ticks``, ``low_ticks``,
        ``high_ticks`` (95 % at this instant), ``all_low_ticks``, ``all_high_ticks`` (95 % at all
        instants at once), and the same in basis points of the control's mid. There are no columns
        of bands where there is one seed, or all are the same.
    pairs : DataFrame, a row for each seed and size.
    exponents : dict of measure -> exponent, low, high, scale, note; empty without ``sizes``.
    summary : dict of JSON values, with all of these but ``path`` and ``pairs``.
    """

    table: "pd.DataFrame"
    path: "pd.DataFrame"
    pairs: "pd.DataFrame"
    exponents: dict[str, dict[str, Any]]
    summary: dict[str, Any]

    def save(self, folder: str | Path) -> None:
        """Write ``impact.json``, ``impact.md``, ``path.parquet``, ``pairs.parquet``, pictures.

        Raises
        ------
        DataError
            If the folder cannot be written.
        """
        from marketsim.experiment_plots import impact_figure, save_figure, size_figure
        from marketsim.experiment_tables import impact_markdown, save_frame

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "impact.json", json.dumps(self.summary, indent=1) + "\n")
        write_text(folder / "impact.md", impact_markdown(self))
        save_frame(self.path, folder / "path.parquet")
        save_frame(self.pairs, folder / "pairs.parquet")
        save_figure(impact_figure(self), folder / "impact.png")
        if self.exponents:
            save_figure(size_figure(self), folder / "sizes.png")


def impact_result(
    shared: Mapping[str, Any],
    seeds: Sequence[int],
    outcomes: Sequence[Mapping[str, Any]],
    labels: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
) -> ImpactResult:
    """Summarise the pairs of all seeds."""
    import pandas as pd

    names = [", ".join(f"{key} {value}" for key, value in label.items()) for label in labels]
    names = [name or shared["agent"] for name in names]
    side, said = _direction(outcomes)
    pairs = [
        _pair(row, number, name, side) for row in outcomes for number, name in enumerate(names)
    ]
    grid, paths, mids = _paths(outcomes, len(names))
    same = len(seeds) > 1 and not np.ptp(paths, axis=1).any() and not np.ptp(mids, axis=0).any()
    path = pd.concat(
        [
            _path_frame(name, grid, *(p[:1] if same else p for p in (paths[number], mids)))
            for number, name in enumerate(names)
        ],
        ignore_index=True,
    )
    rows = [row for name in names for row in _rows(name, [p for p in pairs if p["size"] == name])]
    swept = next(iter(labels[0]), None)
    exponents = _exponents(pairs, names, swept) if swept is not None else {}
    reactive = [*notes, *said, *([ALL_SAME] if same else [])]
    first = int(grid[0])
    if first > outcomes[0]["grid_ns"][0]:
        reactive.append(f"The path begins at {format_time(first)}: no book has two sides before.")
    summary = {
        "experiment": "impact",
        "config": shared["config"]["name"],
        "agent": shared["agent"],
        "entries": [variant["agents"][shared["agent"]] for variant in shared["variants"]],
        "sizes": {swept: [label[swept] for label in labels]} if swept is not None else None,
        "side": {1: "buy", -1: "sell", 0: None}[side],
        "seeds": list(seeds),
        "until": format_time(shared["until_ns"]),
        "fork_at": None if shared["fork_at_ns"] is None else format_time(shared["fork_at_ns"]),
        "settle_s": shared["settle_ns"] / 1e9,
        "step_s": shared["step_ns"] / 1e9,
        "measures": rows,
        "exponents": exponents,
        "notes": reactive,
    }
    return ImpactResult(pd.DataFrame(rows), path, pd.DataFrame(pairs), exponents, summary)


def _direction(outcomes: Sequence[Mapping[str, Any]]) -> tuple[int, list[str]]:
    """+1 for a buyer, -1 for a seller, 0 for neither, and what is to be said of it."""
    nets = {int(np.sign(v["net_lots"])) for row in outcomes for v in row["variants"]} - {0}
    if len(nets) == 1:
        return nets.pop(), []
    if not nets:
        return 0, ["The agent never traded; differences are those of the prices as they are."]
    return 0, ["The agent buys and sells; differences are those of the prices as they are."]


def _pair(row: Mapping[str, Any], number: int, name: str, side: int) -> dict[str, Any]:
    """One seed and size in a flat row of JSON values."""
    variant = row["variants"][number]
    arrival = variant["arrival_mid_ticks"]
    volume, volatility = row["volume_lots"], row["volatility"]
    executed = variant["executed_lots"]
    reasons = dict(variant["reasons"])
    pair: dict[str, Any] = {"seed": row["seed"], "size": name}
    for key in ("net_lots", "start_ns", "end_ns", "arrival_mid_ticks", "average_price_ticks"):
        pair[key] = variant[key]
    pair |= {key: variant[key] for key in FIGURES if key in variant}
    pair["volume_share"] = executed / volume if volume else None
    if not volume:
        reasons["volume_share"] = "nobody trades in the control"
    for impact in IMPACTS:
        ticks = variant[f"{impact}_ticks"]
        signed = None if ticks is None else (side or 1) * ticks
        pair[f"{impact}_ticks"] = signed
        pair[f"{impact}_bps"] = None if signed is None else 1e4 * signed / arrival
        if f"{impact}_ticks" in reasons:
            reasons[f"{impact}_bps"] = reasons[f"{impact}_ticks"]
    at_end = pair["at_end_bps"]
    pair["prefactor"] = None
    if at_end is not None and volatility and pair["volume_share"]:
        pair["prefactor"] = at_end / (1e4 * volatility * float(np.sqrt(pair["volume_share"])))
    else:
        reasons["prefactor"] = reasons.get("at_end_ticks", "the control's price never moves")
    pair["note"] = json.dumps(reasons) if reasons else ""
    return pair


def _rows(name: str, pairs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each measure's mean over seeds with its interval."""
    measures = [f"{impact}_{unit}" for unit in ("ticks", "bps") for impact in IMPACTS]
    measures += [figure for figure in FIGURES if figure in pairs[0]]
    rows = []
    for measure in measures:
        missing: dict[str, str] = {}
        for pair in pairs:
            missing |= json.loads(pair["note"]) if pair["note"] else {}
        estimate = estimate_mean([pair[measure] for pair in pairs], missing.get(measure, ""))
        rows.append({"size": name, "measure": measure, **estimate.to_dict()})
    return rows


def _paths(outcomes: Sequence[Mapping[str, Any]], sizes: int) -> tuple[Any, Floats, Floats]:
    """Grid, differences float64[sizes, seeds, times] and control mids, from where all are known.

    Raises
    ------
    DataError
        If no instant of the grid has a mid-price in every market.
    """
    grid = np.array(outcomes[0]["grid_ns"], np.int64)
    mids = np.array([row["mid_ticks"] for row in outcomes], np.float64)  # None becomes NaN
    with_it = np.array(
        [[row["variants"][number]["mid_ticks"] for row in outcomes] for number in range(sizes)],
        np.float64,
    )
    known = np.isfinite(mids).all(axis=0) & np.isfinite(with_it).all(axis=(0, 1))
    if not known.any():
        raise DataError("no instant of the grid has a mid-price in every market: give a finer step")
    return grid[known], with_it[:, :, known] - mids[:, known], mids[:, known]


def _path_frame(name: str, grid: Any, paths: Floats, mids: Floats) -> "pd.DataFrame":
    import pandas as pd

    columns: dict[str, Any] = {"size": [name] * len(grid), "time_ns": grid}
    scaled = 1e4 * paths / mids
    for unit, values in (("ticks", paths), ("bps", scaled)):
        found: Band = band(values)
        columns[f"difference_{unit}"] = found.mean
        columns[f"median_{unit}"] = np.median(values, axis=0)
        if found.low is None:
            continue  # one seed has no band: no column rather than one of NaN
        columns[f"low_{unit}"], columns[f"high_{unit}"] = found.low, found.high
        columns[f"all_low_{unit}"], columns[f"all_high_{unit}"] = found.all_low, found.all_high
    return pd.DataFrame(columns)


def _exponents(
    pairs: Sequence[Mapping[str, Any]], names: Sequence[str], swept: str
) -> dict[str, dict[str, Any]]:
    """Power laws of impact against size, by measure of impact."""
    by_share = swept == "participation"
    measure = "participation" if by_share else "volume_share"
    exponents = {}
    for impact in ("while_trading_bps", "at_end_bps", "paired_shortfall_bps"):
        tables = [
            np.array([[p[key] for p in pairs if p["size"] == name] for name in names], np.float64).T
            for key in (measure, impact)
        ]
        whole = np.isfinite(tables).all(axis=(0, 1))
        size, cost = (table[:, whole] for table in tables)
        law = fit_power_law(size, cost).to_dict()
        left_out = [names[number] for number in np.flatnonzero(~whole).tolist()]
        if left_out:
            words = f"without {', '.join(left_out)}, where a seed has no impact"
            law["note"] = "; ".join(filter(None, (law["note"], words)))
        exponents[impact] = {"against": measure, **law}
    return exponents
