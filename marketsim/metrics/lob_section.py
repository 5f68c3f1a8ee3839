"""LOB-Bench as a section of a realism report."""

from functools import partial
from typing import Any

from marketsim.metrics.lob_bench import LobBench, lob_bench
from marketsim.metrics.sample import Sample
from marketsim.metrics.section import Progress, Row, Section, silent

_CAPTION = (
    "distances between the two tapes' distributions, so that neither has a value of its own: half the"
    " L1 distance of the histograms, and the Wasserstein-1 distance in pooled standard deviations;"
    " floor: median of the same distance for real windows of the generated tape's length; intervals"
    " and choices are in report.json and in the documentation of marketsim.metrics.lob_bench"
    " (Nagy et al. 2025, arXiv:2502.09172)"
)
_DISTANCES = {"l1": "L1", "wasserstein": "W1"}


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


def _row(measure: str, distance: float | None, floor: float | None, ratio: float | None,
         *notes: str | None) -> Row:  # fmt: skip
    said = tuple(note for note in notes if note)
    return Row("lob", measure, None, None, distance, floor, ratio, said)


def _records(table: Any) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = table.to_dict("records")
    return records


def _interval(record: dict[str, Any], low: str, high: str) -> str | None:
    if record[low] is None:
        return None
    return f"99 %: {record[low]:.3f} to {record[high]:.3f}"


def _aggregate_rows(bench: LobBench) -> list[Row]:
    return [
        _row(
            f"{record['statistic']} of {record['scores']} {record['kind']} scores,"
            f" {_DISTANCES[record['distance']]}",
            record["value"],
            record["floor_median"],
            record["ratio"],
            _interval(record, "low", "high"),
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
            _interval(record, f"{distance}_low", f"{distance}_high"),
            record["note"],
        )
        for record in _records(bench.scores)
        for distance, label in _DISTANCES.items()
    ]


def _other_rows(bench: LobBench) -> list[Row]:
    rows = [
        _row(
            f"mid-price response to {kind} [ticks]",
            gap,
            None,
            None,
            "mean over the lags" if gap is not None else "not defined: too few such events",
        )
        for kind, gap in bench.response_gaps_ticks.items()
    ]
    judge = bench.discriminator
    note = "1/2 when the tapes cannot be told apart"
    rows.append(_row("discriminator, ROC AUC", judge["auc"], judge.get("floor_auc"), None,
                     note if judge["auc"] is not None else None, judge.get("note")))  # fmt: skip
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
