"""``marketsim compare returns``: splits, rows, parts that are kept, ranks, sentences, refusals."""

import json
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_bars import bars_of
from tiny_returns import TinyNetwork

from marketsim import cli
from marketsim.comparison import returns, returns_tasks
from marketsim.comparison.returns import ReturnsComparison
from marketsim.comparison.returns_content import content_of, mean_ranks, summary
from marketsim.comparison.returns_measures import MEASURES, RANKED
from marketsim.comparison.returns_models import Fitted, fitted
from marketsim.comparison.returns_plan import ReturnsPlan, split
from marketsim.comparison.returns_plots import gaps_figure, tasks_figure
from marketsim.comparison.returns_report import headline
from marketsim.comparison.returns_rows import ABLATION, ROWS, check_budgets, check_rows, steps_of
from marketsim.comparison.returns_tables import grids
from marketsim.data.return_windows import UNKNOWN_S, Windows, write_windows
from marketsim.errors import ConfigError, DataError
from marketsim.generators import base
from marketsim.metrics import risk
from marketsim.report_tables import Grid

HOUR = 3600
ROWS_USED = ["zeros", "past", "recent", "gaussian", "timevae"]


def made_windows(n: int = 240, steps: int = 24, seed: int = 0) -> Windows:
    """Windows of two assets that start every four hours, with heavy tails, calmer in the end."""
    draw = np.random.default_rng(seed)
    hours = np.arange(4 * n + steps)
    shared = draw.standard_t(4, (len(hours), 1)) + 0.5 * draw.standard_t(4, (len(hours), 2))
    series = (0.006 * np.where(hours < 3 * n, 1.5, 1.0)[:, None] * shared).astype(np.float32)
    starts = 4 * np.arange(n)
    log_returns = np.stack([series[start : start + steps] for start in starts])
    prices = np.tile([20_000.0, 1_500.0], (n, 1)) * np.exp(0.1 * starts / len(hours))[:, None]
    return Windows(log_returns, prices, 1_600_000_000 + starts * HOUR, ("BTC", "ETH"), HOUR)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "windows.npz"
    write_windows(made_windows(), file)
    return file


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    """TimeVAE and TailGAN are networks that are trained in a moment."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("timevae", "tail-gan"):
            patch.setitem(base.RETURNS, name, "tiny_returns:TinyReturns")
        patch.setitem(base.RETURNS, "tiny-returns", "tiny_returns:TinyReturns")
        yield


def plan_of(archive: Path, **changed: Any) -> ReturnsPlan:
    return ReturnsPlan((str(archive),), **{"seeds": 2, "measures": ("risk", "returns"), **changed})


def compared(
    archive: Path, out: Path, rows: list[str] = ROWS_USED, **changed: Any
) -> dict[str, Any]:
    comparison = ReturnsComparison(plan_of(archive, **changed), rows, out, workers=1)
    comparison.run()
    return content_of(comparison)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole") / "out"


@pytest.fixture(scope="module")
def whole(archive: Path, folder: Path) -> dict[str, Any]:
    """What an uninterrupted comparison finds."""
    return compared(archive, folder)


def without_times(content: dict[str, Any]) -> Any:
    plain = json.loads(json.dumps(content))
    for row in plain["rows"].values():
        for name in ("training wall [s]", "training CPU [s]", "windows a second"):
            row["figures"].pop(name, None)
    return plain


def assert_narrow(shown: list[Grid]) -> None:
    """Each table fits a line of the terminal, with the name of the longest row too."""
    for grid in shown:
        lines = [grid.headings, *grid.rows, ("block-bootstrap", *grid.headings[1:])]
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        assert sum(widths) + 3 * len(widths) < 110


def test_splits_are_in_time_and_share_no_hour() -> None:
    windows = made_windows()
    before = None
    for number in range(3):
        train, test = split(windows, number)
        assert 30 <= len(test) <= 36
        end_s = train.start_s.max() + windows.steps * HOUR
        assert end_s + HOUR < test.start_s.min()  # an averaged price of each side has its own bars
        if before is not None:
            assert test.start_s.max() + windows.steps * HOUR < before
        before = test.start_s.min()
    assert split(windows, 0)[1].start_s.max() == windows.start_s.max()


def test_windows_of_unknown_start_are_learned_from() -> None:
    windows = made_windows()
    starts = windows.start_s.copy()
    starts[:7] = UNKNOWN_S
    train, test = split(replace(windows, start_s=starts), 1)
    assert (train.start_s == UNKNOWN_S).sum() == 7 and (test.start_s != UNKNOWN_S).all()


def test_rows_have_their_figures(whole: dict[str, Any], archive: Path, folder: Path) -> None:
    assert list(whole["rows"]) == ROWS_USED and not whole["failures"]
    for name, row in whole["rows"].items():
        for figure in [f"{kind} {gap}" for kind in ("training", "held-out") for gap in RANKED]:
            found = row["figures"][figure]
            assert len(found["values"]) == 4 and found["mean"] > 0
            assert found["mean"] == pytest.approx(np.mean(list(found["values"].values())))
        assert ("training wall [s]" in row["figures"]) == (name != "zeros")
        assert row["parts"] == 4 and row["failed"] == 0
        assert np.shape(row["fans"]["split-1"]) == (5, 25)
    assert (folder / "models/timevae/split-1-seed-1/model.safetensors").exists()
    still = whole["rows"]["zeros"]["fans"]["split-0"]
    assert not np.any(still) and np.all(np.diff(whole["real_fans"][0], axis=0)[:, -1] > 0)
    past = whole["rows"]["past"]["figures"]["training VaR"]
    model = base.load(folder / "models/past/split-1-seed-0")
    test = split(plan_of(archive).open(), 1)[1]
    fake = model.sample_windows(len(test), seed=0)
    alike = Windows(fake.log_returns, test.initial_prices, test.start_s, test.symbols, HOUR)
    expected = risk.gaps(test, alike).loc["mean", "VaR"]
    assert past["values"]["split-1, seed 0"] == pytest.approx(expected)
    assert json.dumps(whole, allow_nan=False)


def test_tables_fit_a_line_of_the_terminal(whole: dict[str, Any]) -> None:
    shown = grids(whole)
    titles = {grid.title: grid for grid in shown}
    assert [line[0] for line in titles["Risk gaps on the held-out strategies"].rows] == ROWS_USED
    change = whole["rows"]["past"]["var_change_percent"]["held-out"]
    assert titles["Ranks"].rows[1][-1] == f"{change:+.0f} %"
    assert_narrow(shown)


def test_ranks_are_means_over_gaps_and_splits() -> None:
    def row(*by_split: float) -> dict[str, Any]:
        values = {f"split-{s}, seed {seed}": value + 0.1 * seed
                  for s, value in enumerate(by_split) for seed in range(2)}  # fmt: skip
        return {f"training {gap}": summary(values) for gap in RANKED}

    rows = {"a": row(1, 9), "b": row(2, 3), "c": row(3, 3)}
    rows["a"]["training ES"] = rows["c"]["training ES"]
    # split 0: a 1, 2.5, 1, 1; b 2, 1, 2, 2; c 3, 2.5, 3, 3; split 1: a 3, 2.5 (tied thrice), 3, 3
    ranks = mean_ranks(rows, "training")
    naive = {"a": (5.5 + 9 + 2) / 8, "b": (7 + 4.5 + 2) / 8, "c": (11.5 + 4.5 + 2) / 8}
    assert ranks == pytest.approx(naive)
    del rows["b"]["training VaR"]  # what was not measured is not ranked
    assert set(mean_ranks(rows, "training")) == {"a", "c"}


def test_an_interrupted_comparison_goes_on(
    whole: dict[str, Any], archive: Path, tmp_path: Path
) -> None:
    class Enough(Exception):
        pass

    interruptions = 0
    while True:
        told: list[str] = []

        def stop(what: str, share: float, told: list[str] = told) -> None:
            told.append(what)
            if len(told) > 7:
                raise Enough

        comparison = ReturnsComparison(plan_of(archive), ROWS_USED, tmp_path, workers=1, tell=stop)
        try:
            comparison.run()
            break
        except Enough:
            interruptions += 1
            assert interruptions < 10
    assert interruptions == 3 and told[0] == "18 of 20 parts are there"
    assert without_times(content_of(comparison)) == without_times(whole)


def test_measures_are_taken_again_without_training(
    whole: dict[str, Any], archive: Path, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder / "models", tmp_path / "models")
    shutil.copy(folder / "experiment.json", tmp_path)
    weights = list((tmp_path / "models").rglob("*.safetensors"))
    before = {path: path.stat().st_mtime_ns for path in weights}
    assert len(before) == 16  # zeros have no model
    again = compared(archive, tmp_path)
    assert without_times(again) == without_times(whole)
    took = "training wall [s]"
    for name in ROWS_USED[1:]:
        ours, theirs = (found["rows"][name]["figures"][took] for found in (again, whole))
        assert ours == theirs
    assert before == {path: path.stat().st_mtime_ns for path in weights}


def test_another_budget_is_another_model(archive: Path, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "out")
    place = tmp_path / "out/models/timevae/split-0-seed-0/model.safetensors"
    before = place.read_bytes()
    compared(archive, tmp_path / "out", ["timevae"], train_steps={"timevae": 3})
    assert place.read_bytes() != before


def test_the_result_does_not_depend_on_processes(archive: Path, tmp_path: Path) -> None:
    found = []
    for workers in (1, 2):
        comparison = ReturnsComparison(
            plan_of(archive), ["past", "gaussian"], tmp_path / str(workers), workers=workers
        )
        comparison.run()
        found.append(without_times(content_of(comparison)))
    assert found[0] == found[1]


def test_rows_that_fail_are_named_and_the_others_go_on(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(base.RETURNS, "timevae", "marketsim.generators.nowhere:TimeVAE")
    monkeypatch.delitem(base.RETURNS, "tail-gan")
    rows = ["past", "timevae", "tail-gan"]
    content = compared(archive, tmp_path, rows, seeds=1, splits=1)
    assert content["failures"] == {
        "tail-gan": "there is no generator 'tail-gan'",
        "timevae": "split-0, seed 0: ModuleNotFoundError: No module named"
        " 'marketsim.generators.nowhere'",
    }
    assert content["rows"]["past"]["figures"] and not content["rows"]["timevae"]["figures"]
    failed = next(grid for grid in grids(content) if grid.title.startswith("Rows that"))
    assert [line[0] for line in failed.rows] == ["tail-gan", "timevae"]


def test_command(archive: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    line = [
        "compare", "returns", "--data", str(archive), "--out", str(out), "--seeds", "1",
        "--rows", "bootstrap", "zeros", "timevae", "--workers", "1", "--train-steps", "timevae=5",
        "--measures", "risk",
    ]  # fmt: skip
    assert cli.main(line) == 0
    shown = capsys.readouterr().out
    assert "Risk gaps on the training strategies" in shown and f"Written to {out}" in shown
    assert "Windows without movement would beat, of 4 generators" in shown
    names = {
        "comparison.json",
        "comparison.md",
        "gaps.png",
        "paths.png",
        "models",
        "runs",
        "var.png",
    }
    assert names <= {path.name for path in out.iterdir()}
    page = (out / "comparison.md").read_text()
    assert "![gaps](gaps.png)" in page and "after training on" in page
    content = json.loads((out / "comparison.json").read_text())
    assert list(content["rows"]) == ["zeros", "past", "recent", "block-bootstrap", "timevae"]
    assert cli.main([*line, "--quiet"]) == 0
    assert capsys.readouterr().out.strip() == str(out)


def test_ctrl_c_keeps_what_is_done(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    work, times = returns.work_on, []

    def press(*given: Any) -> Any:
        times.append(0)
        if len(times) == 3:
            raise KeyboardInterrupt
        return work(*given)

    monkeypatch.setattr(returns, "work_on", press)
    line = ["compare", "returns", "--data", str(archive), "--out", str(tmp_path), "--rows", "past"]
    line += ["--measures", "risk"]
    assert cli.main([*line, "--workers", "1"]) == 130
    assert f"2 parts are in {tmp_path}; the same command goes on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--rows", "timvae"], "rows: unknown row 'timvae' (did you mean 'timevae'?)"),
        (["--seeds", "0"], "seeds must be >= 1, was 0"),
        (["--splits", "0"], "splits must be >= 1, was 0"),
        (["--splits", "6"], "splits must be <= 5, was 6"),
        (["--workers", "0"], "workers must be >= 1, was 0"),
        (["--measures", "risks"], "measures must be one of risk, returns, scores, memory, was"),
        (["--train-steps", "past=3"], "train-steps: unknown network 'past'"),
        (["--train-steps", "timevae=0"], "train-steps timevae must be a whole number > 0, was 0"),
    ],
)
def test_what_is_refused(
    given: list[str], message: str, archive: Path, tmp_path: Path, capsys: Any
) -> None:
    line = ["compare", "returns", "--data", str(archive), "--out", str(tmp_path / "out"), *given]
    assert cli.main(line) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_data_that_are_refused(archive: Path, folder: Path, tmp_path: Path, capsys: Any) -> None:
    few, other = tmp_path / "few.npz", tmp_path / "other.npz"
    write_windows(made_windows(100), few)
    with pytest.raises(DataError, match="too few to compare on split 0: its test part has 15 of"):
        ReturnsComparison(plan_of(few), ["past"], tmp_path / "out")
    write_windows(made_windows(seed=1), other)
    assert cli.main(["compare", "returns", "--data", str(other), "--out", str(folder)]) == 2
    assert "holds another experiment (data was" in capsys.readouterr().err


def test_a_window_of_the_test_part_in_training_is_refused(tmp_path: Path) -> None:
    windows = made_windows()
    planted = windows.log_returns.copy()
    starts = windows.start_s.copy()
    planted[3, :17] = windows.log_returns[-5, 7:]  # seven hours later, and nobody knows when
    starts[3] = UNKNOWN_S
    file = tmp_path / "planted.npz"
    write_windows(replace(windows, log_returns=planted, start_s=starts), file)
    line = ["compare", "returns", "--data", str(file), "--out", str(tmp_path / "out")]
    with pytest.raises(DataError, match="test: must share nothing with training"):
        ReturnsComparison(plan_of(file), ["past"], tmp_path / "out")
    assert cli.main([*line, "--workers", "1"]) == 2
    assert not (tmp_path / "out").exists()


def test_all_measures_are_taken(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from marketsim.metrics import return_network

    monkeypatch.setattr(return_network, "STEPS", 60)
    few = compared(archive, tmp_path / "few", ["past"], seeds=1, splits=1, measures=MEASURES)
    assert few["failures"]["past"].startswith("split-0, seed 0, scores: ")  # the others are there
    assert few["rows"]["past"]["figures"]["copies"]["mean"] == 36
    file, out = tmp_path / "more.npz", tmp_path / "more"
    write_windows(made_windows(1000), file)
    content = compared(file, out, ["zeros", "past"], seeds=1, splits=1, measures=MEASURES)
    past, still = (content["rows"][name]["figures"] for name in ("past", "zeros"))
    assert past["copies"]["mean"] == 150 and past["NN distance"]["mean"] == 0
    assert still["std ratio"]["mean"] == still["copies"]["mean"] == 0
    assert still["discriminative"]["mean"] > past["discriminative"]["mean"]
    shown = {grid.title: grid for grid in grids(content)}
    assert shown["Scores and memory"].headings == (
        "row", "discriminative", "predictive", "TSTR", "NN distance", "nearer [%]", "copies",
        "pieces",
    )  # fmt: skip


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of hourly bars of four assets over one fold and a few days."""
    draw = np.random.default_rng(3)
    shared = draw.standard_t(5, (533 * 24, 1))
    made = bars_of(0.004 * (shared + draw.standard_t(5, (533 * 24, 4))), start_s=1_600_000_000)
    file = tmp_path_factory.mktemp("bars") / "hours.parquet"
    parts = [
        pd.DataFrame({
            "time": made.time_s, "symbol": symbol, "volume": 1.0,
            **dict.fromkeys(("open", "high", "low", "close"), made.close[:, column]),
        })
        for column, symbol in enumerate(made.symbols)
    ]  # fmt: skip
    pd.concat(parts).to_parquet(file)
    return file


def test_a_fold_is_tested_on_what_comes_after_its_training(bars: Path) -> None:
    [fold] = returns_tasks.folds(returns_tasks.open_bars((str(bars),)), 1)
    ends_s = fold.train.start_s.max() + 24 * HOUR
    for test, days, before in ((fold.forecast, 30, 13), (fold.arbitrage, 15, 121)):
        assert len(test) == before + days * 24
        assert ends_s < test.time_s[before] <= ends_s + 3 * HOUR


def test_corrected_test_bars_are_other_bars(bars: Path) -> None:
    [fold] = returns_tasks.folds(returns_tasks.open_bars((str(bars),)), 1)
    close = fold.arbitrage.close.copy()
    close[-1, 0] *= 1.01
    other = replace(fold, arbitrage=replace(fold.arbitrage, close=close))
    assert returns_tasks.fold_digest(other) != returns_tasks.fold_digest(fold)
    assert returns_tasks.fold_digest(replace(fold)) == returns_tasks.fold_digest(fold)


def test_tasks_on_bars(
    bars: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, few in (("TREES", 3), ("MOST_ROWS", 5000)):
        monkeypatch.setattr(f"marketsim.metrics.predictive_utility.{name}", few)
    given = {"seeds": 1, "splits": 1, "measures": ("returns",)}
    rows = ["zeros", "past", "timevae"]
    content = compared(archive, tmp_path, rows, bars=(str(bars),), **given)
    assert not content["failures"] and len(content["folds"]) == 1
    assert content["rows"]["zeros"]["tasks"] == {}
    for name in rows[1:]:
        found = {task: value["mean"] for task, value in content["rows"][name]["tasks"].items()}
        assert {"IC", "IR", "CSM", "LOTQ", "PW", "MSE", "MAE"} <= set(found)
        assert found["arbitrage CAGR, fee"] < found["arbitrage CAGR"]
        assert (tmp_path / f"models/{name}/fold-0-seed-0/model.json").exists()
    assert_narrow(grids(content))
    assert any(said.startswith("The highest IC of forecasts") for said in content["statements"])
    assert tasks_figure(content) is not None and gaps_figure(content) is None
    shown = {grid.title: [line[0] for line in grid.rows] for grid in grids(content)}
    assert shown["Predictive utility on bars"] == shown["Statistical arbitrage on bars"] == rows[1:]
    assert "bars of 4 assets from" in headline(content)


def test_bars_that_are_too_few_are_refused(bars: Path, archive: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be enough for 2 folds of 500 \\+ 30 days"):
        ReturnsComparison(plan_of(archive, bars=(str(bars),), folds=2), ["past"], tmp_path / "out")
    few = pd.read_parquet(bars)
    few[few["symbol"] != "A0"].to_parquet(tmp_path / "three.parquet")
    plan = plan_of(archive, bars=(str(tmp_path / "three.parquet"),))
    with pytest.raises(DataError, match="must be of more than 3 assets"):
        ReturnsComparison(plan, ["past"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_rows_and_budgets() -> None:
    assert check_rows(None) == list(ROWS) == check_rows([])
    assert check_rows(["classical", "zeros"]) == ["zeros", "gaussian", "garch-copula"]
    assert set(check_rows(["ablation"])) == set(ABLATION.values())  # the whole model among them
    budgets = check_budgets({"cms-vae": 7, "cms-vae-unconditional": 9})
    assert (
        steps_of("cms-vae-plain-elbo", budgets) == 7
        and steps_of("cms-vae-unconditional", budgets) == 9
    )
    assert steps_of("past", budgets) is None and steps_of("timevae", budgets) is None
    with pytest.raises(ConfigError, match="train-steps: unknown network 'gaussian'"):
        check_budgets({"gaussian": 4})


def test_an_interrupted_training_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = split(made_windows(), 0)[0]
    token = {"seed": 4}

    def fit(folder: str) -> Fitted:
        return fitted(tmp_path / folder, train, "tiny-returns", {}, 50, 4, token)

    steps, forward = [], TinyNetwork.forward

    def stop(self: TinyNetwork, batch: Any) -> Any:
        steps.append(0)
        if len(steps) == 30:
            signal.raise_signal(signal.SIGINT)
        return forward(self, batch)

    monkeypatch.setattr(TinyNetwork, "forward", stop)
    with pytest.raises(KeyboardInterrupt):
        fit("stopped")
    assert not (tmp_path / "stopped/fit.json").exists()
    model = fit("stopped")
    assert model.resumed and len(steps) == 50
    whole = fit("whole")
    assert not whole.resumed and len(steps) == 100
    drawn = [one.generator.sample(9, seed=1) for one in (model, whole)]
    np.testing.assert_array_equal(*drawn)
    assert fit("whole").wall_s == whole.wall_s and len(steps) == 100  # it is there already
    other = fitted(tmp_path / "stopped", train, "tiny-returns", {}, 3, 4, {"seed": 4, "steps": 3})
    assert not other.resumed and len(steps) == 103
