"""Tables of a run with thousands of agents: few rows, and the same sums as a plain loop."""

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from marketsim import console
from marketsim.groups import account_sums, populations
from marketsim.plots import agent_names, report_figure
from marketsim.report_tables import MAX_ACCOUNT_ROWS, Grid, accounts_grid, write_report
from marketsim.simulation import Run, Simulation

COLUMNS = (
    "position_lots", "cash_ticks", "pnl_ticks", "fees_ticks", "bought_lots", "sold_lots", "trades",
)  # fmt: skip
CONFIG = {
    "session": {"open": "09:30", "close": "09:45"},
    "symbols": [{"name": "SIM"}],
    "oracle": {"type": "sparse_mean_reverting", "r_bar": 100_000},
    "agents": {
        "noise": {"type": "noise", "count": 40, "start": "09:30", "end": "09:45"},
        "value": {"type": "value", "count": 12, "arrival_rate": 2e-11},
        "pov": {"type": "pov", "side": "buy", "participation": 0.1, "quantity": 50},
    },
}


def accounts(members: dict[str, range], symbols: list[str]) -> dict[str, Any]:
    """Random accounts, a row for each agent and symbol."""
    rng = random.Random(4)
    rows = [(f"a{agent}", s) for ids in members.values() for agent in ids for s in symbols]
    columns: dict[str, Any] = {"agent": [a for a, _ in rows], "symbol": [s for _, s in rows]}
    for name in COLUMNS:
        columns[name] = np.array([rng.randrange(-(10**6), 10**6) for _ in rows])
    return columns


def test_sums_equal_a_plain_loop() -> None:
    members = {"noise": range(0, 900), "pov": range(900, 901), "value": range(901, 1000)}
    columns = accounts(members, ["X", "Y"])
    sums = account_sums(columns, members)
    row = 0
    for name, ids in members.items():
        for place, symbol in enumerate(["X", "Y"]):
            rows = [2 * agent + place for agent in ids]
            assert (sums["name"][row], sums["symbol"][row]) == (name, symbol)
            assert sums["agents"][row] == len(ids)
            for column in COLUMNS:
                assert sums[column][row] == sum(int(columns[column][i]) for i in rows)
            volume = sums["bought_lots"][row] + sums["sold_lots"][row]
            assert sums["volume_lots"][row] == volume
            assert sums["pnl_mean_ticks"][row] == sums["pnl_ticks"][row] / len(ids)
            row += 1
    assert all(len(column) == row for column in sums.values())


@pytest.fixture(scope="module")
def run() -> Run:
    return Simulation(CONFIG, seed=1).run()


def test_populations_are_one_row_each_and_the_frame_has_all(run: Run) -> None:
    assert populations(run) == {"noise": range(40), "value": range(40, 52), "pov": range(52, 53)}
    grid = accounts_grid(run)
    assert [row[:2] for row in grid.rows] == [("noise", "40"), ("value", "12"), ("pov", "1")]
    assert len(run.accounts) == 53 and run.accounts["agent"][3] == "noise-3"
    assert agent_names(run)[39] == "noise" and agent_names(run)[52] == "pov"
    figure = report_figure(run)
    shares = next(a for a in figure.axes if a.get_title(loc="left").startswith("Share"))
    names = {patch.get_label() for patch in shares.patches}
    assert names >= {"noise", "value", "pov"}


def test_many_kinds_of_agents_leave_a_line_that_counts_them(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    members = {f"kind{i}": range(2 * i, 2 * i + 2) for i in range(45)}
    entries = {
        name: {"agent_id": ids.start, "type": "x", "count": 2, "mood": "calm"}
        for name, ids in members.items()
    }
    columns = accounts(members, ["SIM"])
    columns["bought_lots"] = columns["sold_lots"] = np.arange(90)
    many: Any = SimpleNamespace(
        tape=run.tape,
        tapes=run.tapes,
        config=run.config,
        account_columns=columns,
        summary={**run.summary, "agents": entries},
    )
    grid = accounts_grid(many)
    assert len(grid.rows) == MAX_ACCOUNT_ROWS
    assert [row[0] for row in grid.rows] == [f"kind{i}" for i in range(15, 45)]
    console.print_run(many)
    shown = capsys.readouterr().out
    assert "15 more, which traded less, in accounts.parquet" in shown
    assert "35 more agents in summary.json" in shown
    assert shown.count("\n") < 180


def test_the_report_on_disk_is_json_and_markdown(run: Run, tmp_path: Path) -> None:
    write_report(run, tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["market"]["volume_lots"] == run.summary["volume_lots"]
    assert report["accounts"]["agents"] == [40, 12, 1]
    (half_hour,) = report["half_hours"]
    assert half_hour["trades"] == report["market"]["trades"] > 0
    page = (tmp_path / "report.md").read_text()
    assert page.startswith("# ") and "| noise | 40 |" in page


def test_markdown_of_a_grid() -> None:
    grid = Grid("T", ("a", "b"), (("x", "1"),), "said below")
    expected = "## T\n\n| a | b |\n| --- | ---: |\n| x | 1 |\n\nsaid below\n"
    assert grid.markdown() == expected
    assert "|  |  |" in Grid("T", (), (("x", "1"),)).markdown()
