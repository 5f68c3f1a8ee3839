"""LOB-Bench as a section of a realism report."""

from functools import partial
from typing import Any

from marketsim.metrics.lob_bench import LobBench, lob_bench
from marketsim.metrics.sample import Sample
from marketsim.metrics.section import Progress, Row, Section, silent

_CAPTION = (
    "distances between the two tapes' distributions: half the L1 distance of the histograms, and"
    " the Wasserstein-1 distance in pooled standard deviations; from, to: 99 % bootstrap interval;"
    " floor: median of the same distance for real windows of the generated tape's length; what was"
    " chosen where the paper is silent is in the documentation of marketsim.metrics.lob_bench"
    " (Nagy et al. 2025, arXiv:2502.09172)"
)
_DISTANCES = {"l1": "L1", "wasserstein": "W1"}
_EVENTS = {
    f"{code}_{moves}": f"{name} that {'move' if moves else 'do not move'} the mid"
    for code, name in (("MO", "market orders"), ("LO", "limit orders"), ("CA", "cancels"))
    for moves in (0, 1)
}


def lob_section(
    generated: Sample, real: Sample, *, seed: int = 0, tell: Progress = silent
) -> Section:
    """All LOB-Bench scores, their aggregates, the responses and the discriminator."""

    def progress(step: str, done: int, total: int) -> None:
        tell(f"LOB-Bench: {step}", done / total)

    bench = lob_bench(generated.tape, real.tape, seed=seed, progress=progress)
    rows = [*_aggregate_rows(bench), *_score_rows(bench), *_other_rows(bench)]
    return Section(
        name="lob",
        title="LOB-Bench",
        rows=tuple(rows),
        summary=_summary(bench),
        data=bench.to_dict(),
        pictures=_pictures(bench),
        caption=_CAPTION,
    )


def _row(
    measure: str,
    distance: float | None,
    floor: float | None,
    ratio: float | None,
    between: tuple[float | None, float | None],
    *notes: str | None,
) -> Row:
    said = tuple(note for note in notes if note)
    return Row("lob", measure, None, None, distance, floor, ratio, said, *between)


def _records(table: Any) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = table.to_dict("records")
    return records


def _aggregate_rows(bench: LobBench) -> list[Row]:
    return [
        _row(
            f"{record['statistic']} of {record['scores']} {record['kind']} scores,"
            f" {_DISTANCES[record['distance']]}",
            record["value"],
            record["floor_median"],
            record["ratio"],
            (record["low"], record["high"]),
            record["note"],
        )
        for record in _records(bench.aggregates)
    ]


def _score_rows(bench: LobBench) -> list[Row]:
    return [
        _row(
            f"{record['name']}, {label}",
            record[distance],
            record[f"floor_{distance}_median"],
            record[f"ratio_{distance}"],
            (record[f"{distance}_low"], record[f"{distance}_high"]),
            record["note"],
        )
        for record in _records(bench.scores)
        for distance, label in _DISTANCES.items()
    ]


def _other_rows(bench: LobBench) -> list[Row]:
    rows = [
        _row(
            f"mid-price response to {_EVENTS[kind]} [ticks]",
            gap,
            None,
            None,
            (None, None),
            "mean over the lags" if gap is not None else "not defined: too few such events",
        )
        for kind, gap in bench.response_gaps_ticks.items()
    ]
    judge = bench.discriminator
    note = "1/2 when the tapes cannot be told apart"
    between = (judge.get("auc_low"), judge.get("auc_high"))
    said = None if judge["auc"] is None else note
    auc, floor = judge["auc"], judge.get("floor_auc")
    rows.append(_row("discriminator, ROC AUC", auc, floor, None, between, said, judge.get("note")))
    return rows


def _summary(bench: LobBench) -> dict[str, Any]:
    figures = {
        f"{record['kind']}_{record['distance']}_{record['statistic']}": {
            "value": record["value"],
            "floor": record["floor_median"],
            "ratio": record["ratio"],
        }
        for record in _records(bench.aggregates)
    }
    return {**figures, "auc": bench.discriminator["auc"]}


def _pictures(bench: LobBench) -> dict[str, Any]:
    from marketsim.metrics import lob_plots

    return {
        "lob_scores": partial(lob_plots.plot_scores, bench),
        "lob_responses": partial(lob_plots.plot_responses, bench),
        "lob_horizon": partial(lob_plots.plot_horizon, bench),
    }
