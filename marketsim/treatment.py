"""What a rule does to a market: paired differences of its quality."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from marketsim.arms import simulation_of
from marketsim.clock import format_time
from marketsim.market_quality import MEASURES, market_quality
from marketsim.metrics.paired import estimate_mean
from marketsim.run_store import write_text

if TYPE_CHECKING:
    import pandas as pd


def run_treatment(job: Mapping[str, Any]) -> dict[str, Any]:
    """Run one seed under both configurations and measure both markets' first symbols."""
    row: dict[str, Any] = {"seed": job["seed"]}
    for arm, key in (("control", "config"), ("treated", "treated")):
        run = simulation_of(job[key], job["seed"]).run(job["until_ns"])
        values, reasons = market_quality(
            run.tape.between(run.tape.meta["open_ns"], job["until_ns"])
        )
        row[arm], row[f"{arm}_reasons"] = values, reasons
    return row


@dataclass(frozen=True)
class TreatmentResult:
    """Paired effects of a treatment.

    Attributes
    ----------
    table : DataFrame
        A row for each measure of :data:`marketsim.market_quality.MEASURES`: ``control`` and
        ``treated`` (means over seeds), ``effect`` (treated less control) with ``effect_low`` and
        ``effect_high``, a 95 % bootstrap interval, ``effect_percent`` of the control, ``n`` seeds,
        ``note`` (why something is missing).
    pairs : DataFrame, a row for each seed and measure: seed, measure, control, treated.
    summary : dict of JSON values.
    """

    table: "pd.DataFrame"
    pairs: "pd.DataFrame"
    summary: dict[str, Any]

    def save(self, folder: str | Path) -> None:
        """Write ``treatment.json``, ``treatment.md``, ``pairs.parquet`` and ``treatment.png``.

        Raises
        ------
        DataError
            If the folder cannot be written.
        """
        from marketsim.experiment_plots import save_figure, treatment_figure
        from marketsim.experiment_tables import save_frame, treatment_markdown

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "treatment.json", json.dumps(self.summary, indent=1) + "\n")
        write_text(folder / "treatment.md", treatment_markdown(self))
        save_frame(self.pairs, folder / "pairs.parquet")
        save_figure(treatment_figure(self), folder / "treatment.png")


def treatment_result(
    shared: Mapping[str, Any],
    treat: Mapping[str, Any],
    seeds: Sequence[int],
    outcomes: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
) -> TreatmentResult:
    """Summarise the pairs of all seeds."""
    import pandas as pd

    pairs = [
        {
            "seed": row["seed"],
            "measure": measure,
            "control": row["control"][measure],
            "treated": row["treated"][measure],
            "note": "; ".join(
                f"{arm}: {row[f'{arm}_reasons'][measure]}"
                for arm in ("control", "treated")
                if measure in row[f"{arm}_reasons"]
            ),
        }
        for row in outcomes
        for measure in MEASURES
    ]
    frame = pd.DataFrame(pairs)
    rows = [
        _effect(measure, [row for row in pairs if row["measure"] == measure])
        for measure in MEASURES
    ]
    summary = {
        "experiment": "treatment",
        "config": shared["config"]["name"],
        "treat": dict(treat),
        "seeds": list(seeds),
        "until": format_time(shared["until_ns"]),
        "effects": rows,
        "notes": list(notes),
    }
    return TreatmentResult(pd.DataFrame(rows), frame, summary)


def _effect(measure: str, pairs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    both = [row for row in pairs if row["control"] is not None and row["treated"] is not None]
    changes = [row["treated"] - row["control"] if row in both else None for row in pairs]
    why = next((row["note"] for row in pairs if row["note"]), "")
    estimate = estimate_mean(changes, why)
    control = float(np.mean([row["control"] for row in both])) if both else None
    treated = float(np.mean([row["treated"] for row in both])) if both else None
    return {
        "measure": measure,
        "unit": MEASURES[measure],
        "control": control,
        "treated": treated,
        "effect": estimate.mean,
        "effect_low": estimate.low,
        "effect_high": estimate.high,
        "effect_percent": 100 * estimate.mean / control
        if estimate.mean is not None and control
        else None,
        "n": estimate.n,
        "note": estimate.note,
    }
