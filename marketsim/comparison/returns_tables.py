"""The tables of a comparison of returns, as text."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from marketsim.comparison.returns_measures import KINDS, LAGS, RANKED
from marketsim.comparison.returns_rows import ABLATION, APART, CONTEST, FORECAST, VAR_BASE
from marketsim.metrics.risk import GAPS
from marketsim.report_tables import DASH, Grid, number

Columns = Sequence[tuple[str, Callable[[Mapping[str, Any]], str]]]


def grids(content: Mapping[str, Any]) -> list[Grid]:
    """Tables of what was found."""
    rows = content["rows"]
    main = {name: row for name, row in rows.items() if row["group"] not in APART}
    found = [_risk_grid(main, kind) for kind in KINDS]
    found += [_grid(title, main, columns, note) for title, columns, note in _SECTIONS]
    for build in (_contest_grid, _forecast_grid, _ablation_grid):
        found += [build(rows, kind) for kind in KINDS]
    if content["failures"]:
        lines = tuple(content["failures"].items())
        found.append(Grid("Rows that could not be made, or not wholly", ("row", "why"), lines))
    return [grid for grid in found if grid is not None]


def _grid(title: str, rows: Mapping[str, Any], columns: Columns, note: str) -> Grid | None:
    """A table of the columns and rows that have something to show; None if none has."""
    cells = {name: [read(row) for _, read in columns] for name, row in rows.items()}
    shown = [any(line[i] != DASH for line in cells.values()) for i in range(len(columns))]
    lines = [
        (name, *(cell for cell, keep in zip(line, shown, strict=True) if keep))
        for name, line in cells.items()
        if any(cell != DASH for cell in line)
    ]
    if not lines:
        return None
    headings = [heading for (heading, _), keep in zip(columns, shown, strict=True) if keep]
    return Grid(title, ("row", *headings), tuple(lines), note)


def spread(row: Mapping[str, Any], figure: str, scale: float = 1.0, digits: int = 1) -> str:
    """Mean and standard deviation of a figure: ``36.7 ±4.1``."""
    found = row["figures"].get(figure)
    if found is None:
        return DASH
    mean = number(scale * found["mean"], digits)
    return (
        mean
        if found["sd"] is None
        else f"{mean} \N{PLUS-MINUS SIGN}{number(scale * found['sd'], digits)}"
    )


def _cell(figure: str, scale: float = 1.0, digits: int = 1) -> Callable[[Any], str]:
    return lambda row: spread(row, figure, scale, digits)


def _rank(kind: str, ranking: str) -> Callable[[Any], str]:
    return lambda row: number(row["ranks"].get(kind, {}).get(ranking), 2)


def _change(kind: str) -> Callable[[Any], str]:
    def read(row: Mapping[str, Any]) -> str:
        change = row["var_change_percent"][kind]
        return DASH if change is None else f"{change:+.0f} %"

    return read


def _risk_grid(rows: Mapping[str, Any], kind: str) -> Grid | None:
    columns = [(gap, _cell(f"{kind} {gap}", 1e4)) for gap in GAPS]
    note = (
        f"Mean over the strategies {', '.join(KINDS[kind])}, splits and seeds, \N{PLUS-MINUS SIGN}"
        " standard deviation over splits and seeds [bps of capital]; MDD and PnL pair windows by"
        " index, for comparison with the contest only: they prefer windows that vary little"
    )
    return _grid(f"Risk gaps on the {kind} strategies", rows, columns, note)


#: Short words for kinds of strategies in headings.
_SHORT = {"training": "", "held-out": ", h.o."}
_RANKS: Columns = tuple(
    (f"{ranking}{_SHORT[kind]}", _rank(kind, ranking))
    for ranking in ("neural", "all")
    for kind in KINDS
) + tuple((f"VaR{_SHORT[kind]}", _change(kind)) for kind in KINDS)
_RANKS_NOTE = (
    f"mean rank by {', '.join(RANKED)} over the splits, 1 is best, among neural generators and"
    f" among all, on the training and the held-out strategies (h.o.); VaR: gap against {VAR_BASE}'s"
)
_RETURNS: Columns = (
    ("std ratio", _cell("std ratio", digits=2)),
    ("skew", _cell("skew", digits=1)),
    ("kurtosis", _cell("kurtosis", digits=0)),
    ("KL", _cell("KL", digits=2)),
    ("cross-corr", _cell("correlation", digits=2)),
    ("ACF", _cell("ACF", digits=3)),
    ("ACF of |r|", _cell("ACF of absolute", digits=3)),
)
_RETURNS_NOTE = (
    "std ratio: standard deviation of generated returns over that of real ones, 1 is best; all"
    " else: 0 is best; KL: divergence of histograms [nats]; others: mean absolute difference, of"
    " skewness, excess kurtosis, correlation between assets,"
    f" autocorrelation at lags 1 to {LAGS} of returns and of absolute returns"
)
_SCORES: Columns = (
    ("discriminative", _cell("discriminative", digits=3)),
    ("predictive", _cell("predictive", digits=3)),
    ("TSTR", _cell("TSTR", digits=3)),
    ("NN distance", _cell("NN distance", digits=2)),
    ("nearer [%]", _cell("nearer", 100, 1)),
    ("copies", _cell("copies", digits=0)),
    ("pieces", _cell("runs", digits=0)),
)
_SCORES_NOTE = (
    "discriminative: |accuracy - 1/2| of a GRU that tells windows apart, 0 is best; predictive:"
    " error of a GRU's next return, trained on generated windows and tested on real ones, in real"
    " standard deviations; TSTR: accuracy on real windows of a direction forecast that was trained"
    " on generated ones over one trained on real ones; NN distance: median to the nearest training"
    " window over that of the test windows; nearer: share that is nearer than the nearest 1 % of"
    " those; copies: windows of the training part; pieces: windows with six steps of one"
)
_COST: Columns = (
    ("training, wall [s]", _cell("training wall [s]")),
    ("training, CPU [s]", _cell("training CPU [s]")),
    ("windows a second", _cell("windows a second", digits=0)),
)
_COST_NOTE = (
    "one thread of this machine while it did whatever else it did; trainings that were interrupted"
    " are not counted"
)


def _task(figure: str, scale: float = 1.0, digits: int = 1) -> Callable[[Any], str]:
    def read(row: Mapping[str, Any]) -> str:
        found = row["tasks"].get(figure)
        return DASH if found is None else number(scale * found["mean"], digits)

    return read


_FORECAST: Columns = (
    ("MSE [1e-6]", _task("MSE", 1e6)),
    ("MAE [bps]", _task("MAE", 1e4, 2)),
    ("IC [%]", _task("IC", 100, 2)),
    ("IR", _task("IR", digits=3)),
    ("CSM [%]", _task("CSM", 100)),
    ("LOTQ [%]", _task("LOTQ", 100)),
    ("PW [%]", _task("PW", 100)),
)
_FORECAST_NOTE = (
    "next hour's log returns forecast by trees that were taught on generated windows; IC: mean over"
    " hours of Spearman's correlation across assets, IR: that by its standard deviation; profits"
    " without fees of CSM (best less worst 10 %), LOTQ (best 20 %), PW (by forecasts above 0);"
    " means over folds"
)
_ARBITRAGE: Columns = tuple(
    (heading if not fee else "fee", _task(f"arbitrage {heading.split()[0]}{fee}", scale, digits))
    for heading, scale, digits in (
        ("CAGR [%]", 100, 0), ("Sharpe", 1, 1), ("MDD [%]", 100, 1), ("VaR [%]", 100, 2),
        ("ES [%]", 100, 2),
    )
    for fee in ("", ", fee")
)  # fmt: skip
_ARBITRAGE_NOTE = (
    "trades against residuals of a reconstruction by factors of generated windows, without fees and"
    " with 0.03 % (fee); VaR, ES: losses of an hour; means over folds, each of so few days that a"
    " CAGR is no promise"
)
_SECTIONS: tuple[tuple[str, Columns, str], ...] = (
    ("Ranks", _RANKS, _RANKS_NOTE),
    ("Returns", _RETURNS, _RETURNS_NOTE),
    ("Scores and memory", _SCORES, _SCORES_NOTE),
    ("Cost", _COST, _COST_NOTE),
    ("Predictive utility on bars", _FORECAST, _FORECAST_NOTE),
    ("Statistical arbitrage on bars", _ARBITRAGE, _ARBITRAGE_NOTE),
)


def _ablation_grid(rows: Mapping[str, Any], kind: str) -> Grid | None:
    """Plain and dilated convolutions by loss; the whole model is the last line."""
    chosen = {
        f"{convolution}, {loss}": rows[name]
        for (convolution, loss), name in ABLATION.items()
        if name in rows
    }
    columns = [*_ranked(kind), ("rank", _rank(kind, "ablation"))]
    note = (
        "CMS-VAE with plain or dilated convolutions, trained on the ELBO, with the EFPL of MR, or"
        " of all four training strategies (dilated, all: the row cms-vae); gaps [bps of capital];"
        " rank: mean rank among these"
    )
    title = f"Ablation, {kind} strategies"
    return _grid(title, chosen, columns, note) if len(chosen) > 1 else None


def _contest_grid(rows: Mapping[str, Any], kind: str) -> Grid | None:
    chosen = {name: rows[name] for name in CONTEST if name in rows}
    note = "the two that know the recent past: what a network adds to windows drawn from it"
    title = f"The real contest, {kind} strategies"
    return _grid(title, chosen, _ranked(kind), note) if len(chosen) > 1 else None


def _forecast_grid(rows: Mapping[str, Any], kind: str) -> Grid | None:
    chosen = {name: rows[name] for name in FORECAST if name in rows}
    note = (
        "windows drawn for each test window from what was known when it began: not to be held"
        " against rows that know nothing after training. The bootstrap's are nearly all windows of"
        " the test part itself, some days late, so that all of them together are like it; std"
        " ratio: 1 is best"
    )
    columns = [*_ranked(kind), ("std ratio", _cell("std ratio", digits=2))]
    return _grid(f"A day ahead, {kind} strategies", chosen, columns, note)


def _ranked(kind: str) -> Columns:
    return [(gap, _cell(f"{kind} {gap}", 1e4)) for gap in RANKED]
