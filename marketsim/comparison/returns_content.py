"""Figures of a comparison of returns by row: means over splits and seeds, ranks, statements."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from marketsim.comparison.returns import Part, ReturnsComparison
from marketsim.comparison.returns_measures import KINDS, RANKED, by_split, fan
from marketsim.comparison.returns_rows import ABLATION, ROWS, VAR_BASE
from marketsim.comparison.returns_statements import statements
from marketsim.executor import Failure

#: Who is ranked beside whom.
RANKINGS: Mapping[str, Callable[[str], bool]] = {
    "neural": lambda name: ROWS[name].group == "neural",
    "all": lambda name: ROWS[name].group in ("bootstrap", "classical", "neural"),
    "ablation": lambda name: name in ABLATION.values(),
}


def content_of(comparison: ReturnsComparison) -> dict[str, Any]:
    """All that was found; JSON values."""
    plan = comparison.plan
    rows = {name: _row(comparison, name) for name in comparison.rows}
    for ranking, among in RANKINGS.items():
        members = [name for name in rows if among(name) and rows[name]["figures"]]
        for kind in KINDS:
            for name, rank in mean_ranks({n: rows[n]["figures"] for n in members}, kind).items():
                rows[name]["ranks"].setdefault(kind, {})[ranking] = rank
    for kind in KINDS:
        _against_base(rows, kind)
    return {
        "data": {
            "paths": list(plan.data),
            "bars": list(plan.bars),
            "symbols": list(comparison.windows.symbols),
            "windows": len(comparison.windows),
            "steps": comparison.windows.steps,
            "step_s": comparison.windows.step_s,
            "digest": comparison.data,
        },
        "plan": {"seeds": plan.seeds, "splits": plan.splits, "train_steps": dict(plan.train_steps)},
        "splits": comparison.spans(),
        "folds": comparison.folds,
        "real_fans": [fan(comparison.real(number)) for number in range(plan.splits)],
        "rows": rows,
        "failures": dict(comparison.failures),
        "statements": statements(rows),
    }


def _row(comparison: ReturnsComparison, name: str) -> dict[str, Any]:
    own = [part for part in comparison.found if part.job["row"] == name]
    whole = [part for part in own if not isinstance(part.outcome, Failure)]
    done = [part for part in whole if part.job["kind"] != "bars"]
    tasks = [part for part in whole if part.job["kind"] == "bars"]
    row = ROWS[name]
    return {
        "about": row.about,
        "group": row.group,
        "generator": row.generator,
        "parameters": dict(row.parameters),
        "parts": len(done),
        "failed": len(own) - len(whole),
        "figures": figures(done),
        "fans": {_place(part): part.outcome["fan"] for part in done if part.job["seed"] == 0},  # type: ignore[index]
        "ranks": {},
        "tasks": figures(tasks),
    }


def _place(part: Part) -> str:
    return str(part.job["part"])


def figures(parts: Sequence[Part]) -> dict[str, dict[str, Any]]:
    """Mean, deviation (of several) and all values of each figure, by split and seed."""
    columns: dict[str, dict[str, float]] = {}
    for job, outcome in sorted(parts, key=lambda part: (part.job["part"], part.job["seed"])):
        assert not isinstance(outcome, Failure)
        known = {**outcome["figures"], **_costs(outcome)}
        for figure, value in known.items():
            if value is not None:
                columns.setdefault(figure, {})[f"{job['part']}, seed {job['seed']}"] = value
    return {name: summary(column) for name, column in columns.items()}


def summary(column: Mapping[str, float]) -> dict[str, Any]:
    """Mean and standard deviation of values by name; None of a single one."""
    values = np.array(list(column.values()))
    deviation = float(values.std(ddof=1)) if len(values) > 1 else None
    return {"mean": float(values.mean()), "sd": deviation, "values": dict(column)}


def _costs(outcome: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of training, if it was not interrupted, and windows that are drawn in a second."""
    found: dict[str, float] = {}
    fit, drawn = outcome["fit"], outcome["sample"]
    if fit is not None and not fit["resumed"]:
        found |= {"training wall [s]": fit["wall_s"], "training CPU [s]": fit["cpu_s"]}
    if drawn["wall_s"] > 0:
        found["windows a second"] = drawn["windows"] / drawn["wall_s"]
    return found


def mean_ranks(rows: Mapping[str, Mapping[str, Any]], kind: str) -> dict[str, float]:
    """Mean rank over the ranked gaps and the splits, 1 is best; of rows that have all of them.

    On each split the means over seeds are ranked; rows that are equal share their ranks.

    Parameters
    ----------
    rows : figures by row
    kind : of strategies: a key of ``KINDS``
    """
    from scipy.stats import rankdata

    columns = [f"{kind} {gap}" for gap in RANKED]
    tables = {
        name: {(column, split): value for column in columns if column in found
               for split, value in by_split(found[column]).items()}
        for name, found in rows.items()
    }  # fmt: skip
    every = {key for table in tables.values() for key in table}
    whole = [name for name, table in tables.items() if set(table) == every]
    if not whole or not every:
        return {}
    ranks = np.mean([rankdata([tables[name][key] for name in whole]) for key in sorted(every)], 0)
    return {name: float(rank) for name, rank in zip(whole, ranks, strict=True)}


def _against_base(rows: Mapping[str, Any], kind: str) -> None:
    """Add how far each row's VaR gap lies from that of the base row [%]; mean over splits."""
    column = f"{kind} VaR"
    base = rows.get(VAR_BASE, {}).get("figures", {}).get(column)
    for row in rows.values():
        found = row["figures"].get(column)
        change = None
        if row["group"] == "forecast":  # it is told what the others are not
            found = None
        if base is not None and found is not None and base["mean"] > 0:
            change = 100 * (found["mean"] / base["mean"] - 1)
        row.setdefault("var_change_percent", {})[kind] = change
