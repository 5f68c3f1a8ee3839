"""A comparison of returns as files: tables in Markdown, all figures in JSON, pictures."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marketsim.comparison.returns_plots import (
    ablation_figure,
    fans_figure,
    gaps_figure,
    tasks_figure,
    var_figure,
)
from marketsim.comparison.returns_tables import grids
from marketsim.experiment_plots import save_figure
from marketsim.run_store import write_text

#: Name of a picture's file -> what draws it, or nothing.
PICTURES = {
    "gaps": gaps_figure, "var": var_figure, "ablation": ablation_figure, "paths": fans_figure,
    "tasks": tasks_figure,
}  # fmt: skip


def write_returns_comparison(content: Mapping[str, Any], folder: Path) -> None:
    """Write pictures, ``comparison.md`` and last ``comparison.json``.

    Raises
    ------
    DataError
        If the folder cannot be written to.
    """
    drawn = []
    for name, draw in PICTURES.items():
        figure = draw(content)
        if figure is not None:
            save_figure(figure, folder / f"{name}.png")
            drawn.append(name)
    page = [f"# Comparison of generators of returns\n\n{headline(content)}\n"]
    page += ["\n".join(f"- {said}" for said in content["statements"]) + "\n"]
    page += [grid.markdown() for grid in grids(content)]
    page += [f"![{name}]({name}.png)\n" for name in drawn]
    write_text(folder / "comparison.md", "\n".join(page))
    text = json.dumps(content, indent=1, allow_nan=False)
    write_text(folder / "comparison.json", text + "\n")


def headline(content: Mapping[str, Any]) -> str:
    """What was compared on what, in a few lines."""
    data, plan = content["data"], content["plan"]
    parts = [
        f"test {span['test']['from']} to {span['test']['to']} ({span['test']['windows']:,} windows)"
        f" after training on {span['train']['windows']:,}"
        for span in content["splits"]
    ]
    parts += [
        f"bars of {len(fold['symbols'])} assets from {fold['test from']} to {fold['test to']}"
        f" after training from {fold['train from']} on"
        for fold in content["folds"]
    ]
    return (
        f"{', '.join(data['symbols'])}: {data['windows']:,} windows of {data['steps']} returns;"
        f" {'; '.join(parts)}; {plan['seeds']} seed{'s' if plan['seeds'] > 1 else ''} each."
    )
