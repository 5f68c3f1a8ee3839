"""The report of a run on drawn paths: what is off, what strategies made, tables and the picture."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import marketsim as ms
from marketsim import cli, console
from marketsim.data.return_windows import Windows
from marketsim.path_report import equity_curves, followed_paths
from marketsim.path_tables import path_grids, path_values
from marketsim.plot_paths import paths_figure
from marketsim.plots import agent_names
from marketsim.report_tables import accounts_grid, write_report
from marketsim.result import Run

HOUR, MINUTE = 3_600_000_000_000, 60_000_000_000
LARGE = {
    "type": "twap", "symbol": "ETH", "side": "buy", "quantity": 800_000,
    "start": "01:00", "end": "02:00",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A saved model of three assets."""
    rng = np.random.default_rng(0)
    moves = rng.normal(0, 0.005, (60, 24, 1)) + rng.normal(0, 0.003, (60, 24, 3))
    first = np.tile([54_000.0, 2_300.0, 500.0], (60, 1))
    past = Windows(moves.astype(np.float32), first, 3600 * np.arange(60), ("BTC", "ETH", "BNB"),
                   3600)  # fmt: skip
    place = tmp_path_factory.mktemp("model") / "gaussian"
    ms.generators.create("gaussian").fit(past).save(place)
    return str(place)


def market(folder: str) -> dict[str, Any]:
    """Six hours; fees, a strategy that sells and one that holds; and a large buyer of ETH."""
    strategy = {"type": "strategy", "interval": "10min", "start": "00:01"}
    return {
        "base": "crypto",
        "session": {"close": "06:00"},
        "exchange": {"taker_fee_bps": 5, "taker_fee_ticks_per_lot": 0.5},
        "agents": {
            "path": {"model": folder, "interval": "60s"},
            **{f"noise_{name}": {"count": 60, "end": "06:00"} for name in ("btc", "eth", "bnb")},
            **{name: None for name in ("ew", "mr", "tf", "vt")},
            "holder": {**strategy, "strategy": "EW", "capital": 50_000, "end": "05:30"},
            "sm": {**strategy, "strategy": "SM", "end": "05:55"},
            "large": LARGE,
        },
    }


@pytest.fixture(scope="module")
def run(folder: str) -> Run:
    return ms.run(market(folder), seed=1)


def mid_at(run: Run, symbol: str, time_ns: int) -> float:
    """Mid-price by a plain loop over the book's rows, the last before the close."""
    book = run.tapes[symbol].book
    time_ns = min(time_ns, 6 * HOUR - 1)
    row = max(i for i in range(len(book)) if book.time_ns[i] <= time_ns)
    return float(book.bid_price_ticks[row, 0] + book.ask_price_ticks[row, 0]) / 2


def test_what_is_off_is_what_a_loop_finds(run: Run) -> None:
    paths = followed_paths(run)
    assert [path.symbol for path in paths] == ["BTC", "ETH", "BNB"]
    for path in paths:
        assert path.points_ns.tolist() == [HOUR * i for i in range(7)]
        times, prices = run.fundamental[path.symbol]
        at = dict(zip(times.tolist(), prices.tolist(), strict=True))
        assert path.path_ticks.tolist() == [at[HOUR * i] for i in range(7)]
        mids = [mid_at(run, path.symbol, HOUR * i) for i in range(7)]
        assert path.mid_ticks.tolist() == mids
        found = path.statistics()
        off = [abs((mids[i] - mids[i - 1]) - (at[HOUR * i] - at[HOUR * i - HOUR]))
               for i in range(1, 7)]  # fmt: skip
        assert found["return_off_largest_ticks"] == pytest.approx(max(off))
        assert found["return_off_median_ticks"] == pytest.approx(float(np.median(off)))
        assert len(path.fine_ns) == 361


def test_a_large_trader_is_seen_in_the_table(run: Run) -> None:
    btc, eth, bnb = followed_paths(run)
    largest = eth.statistics()
    assert largest["off_largest_bps"] > 5
    assert all(path.statistics()["off_largest_bps"] < 1 for path in (btc, bnb))
    assert HOUR < largest["off_largest_at_ns"] <= 2 * HOUR + MINUTE
    assert eth.off_bps[2] > 5 and abs(eth.off_bps[1]) < 0.5 and abs(eth.off_bps[5]) < 0.5
    titles = [grid.title for grid in path_grids(run)]
    assert titles == ["Return path", "Mid-prices at the path's points", "Strategies"]
    facts, points, strategies = path_grids(run)
    assert facts.headings[1:] == ("BTC", "ETH", "BNB")
    assert len(points.rows) == 7 and points.rows[2][0] == "02:00:00"
    assert points.rows[2][6] == f"{eth.off_bps[2]:+,.2f}"
    assert [row[:2] for row in strategies.rows] == [("holder", "EW"), ("sm", "SM")]


def test_a_curve_ends_with_what_the_agent_says(run: Run) -> None:
    curves = equity_curves(run)
    assert [(curve.agent, curve.strategy) for curve in curves] == [("holder", "EW"), ("sm", "SM")]
    for curve in curves:
        said = run.summary["agents"][curve.agent]
        assert said["fees"] > 0 and set(said["held_lots"].values()) == {0}
        assert curve.value[-1] == pytest.approx(said["value"], rel=1e-9)
        assert curve.value[0] == 1.0
        assert len(curve.time_ns) == len(curve.value) and curve.time_ns[-1] == 6 * HOUR


def test_a_curve_is_the_account_at_the_mid(folder: str) -> None:
    """Half way, with positions: cash, fees and lots of the account, at mid-prices."""
    half = ms.run(market(folder), seed=1, until="03:00")
    curve = equity_curves(half)[0]
    accounts = half.accounts.set_index(["agent", "symbol"]).loc["holder"]
    worth = 50_000.0
    for symbol, lot in (("BTC", 1e-4), ("ETH", 1e-3), ("BNB", 1e-2)):
        row = accounts.loc[symbol]
        assert row["position_lots"] > 0
        ticks = row["cash_ticks"] - row["fees_ticks"]
        ticks += row["position_lots"] * mid_at(half, symbol, 3 * HOUR)
        worth += ticks * 0.01 * lot
    assert curve.value[-1] == pytest.approx(worth / 50_000, rel=1e-9)


def test_the_report_on_disk(run: Run, tmp_path: Path) -> None:
    write_report(run, tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert [path["symbol"] for path in report["paths"]] == ["BTC", "ETH", "BNB"]
    assert len(report["paths"][0]["mid_ticks"]) == 7
    assert set(report["equity"]["value"]) == {"holder", "sm"}
    page = (tmp_path / "report.md").read_text()
    assert "## Return path" in page and "## Strategies" in page


def test_the_tables_fit_into_a_pipe(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    console.print_run(run)
    shown = capsys.readouterr().out
    assert "return of the mid-price off the path's [ticks]" in shown and "…" not in shown


def test_the_picture_has_a_panel_for_each_symbol(run: Run) -> None:
    figure = paths_figure(run)
    assert figure is not None
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles == ["BTC", "", "ETH", "", "BNB", "", "Wealth of the strategies"]
    legend = figure.axes[-1].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["holder (EW)", "SM"]
    figure.draw_without_rendering()  # type: ignore[attr-defined]


def test_of_several_symbols_only_those_that_were_traded_are_shown(run: Run) -> None:
    grid = accounts_grid(run)
    pairs = [row[:2] for row in grid.rows]
    assert ("large", "ETH") in pairs and ("large", "BTC") not in pairs
    shown = set(agent_names(run).values())
    assert {"noise_btc", "holder"} <= shown <= {"noise_btc", "holder", "sm"}
    accounts = run.accounts.set_index(["agent", "symbol"])
    profit = grid.headings.index("PnL")
    for symbol, lot in (("BTC", 1e-4), ("ETH", 1e-3), ("BNB", 1e-2)):
        row = grid.rows[pairs.index(("holder", symbol))]
        in_money = accounts.loc[("holder", symbol), "pnl_ticks"] * 0.01 * lot
        assert row[profit] == f"{in_money:,.2f}"


def test_a_run_without_a_path_has_nothing_of_it() -> None:
    quiet = ms.run({"session": {"open": "09:30", "close": "09:31"}, "agents": {}})
    assert followed_paths(quiet) == [] and equity_curves(quiet) == []
    assert path_grids(quiet) == [] and path_values(quiet) == {} and paths_figure(quiet) is None


def test_a_run_that_kept_no_tape_has_a_path_and_no_prices(folder: str) -> None:
    config = {**market(folder), "tape": {"enabled": False}}
    bare = ms.run(config, until="01:00")
    facts, points, _ = path_grids(bare)
    assert facts.rows[0][1] == "54,000.00" and facts.rows[3][1:] == ("–", "–", "–")
    assert points.rows[1][2] == "–"
    assert json.loads(json.dumps(path_values(bare), allow_nan=False))["paths"][0]["mid_ticks"] == [
        None, None,
    ]  # fmt: skip


def test_marketsim_run_crypto(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    model = ["--set", f"agents.path.model={folder}"]
    assert cli.main(["run", "crypto", *model, "--until", "01:30", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "Return path" in shown and "paths.png" in shown
    assert (out / "paths.png").stat().st_size > 20_000
    assert json.loads((out / "report.json").read_text())["paths"][2]["symbol"] == "BNB"
