"""``marketsim compare order-flow``: rows, floors, parts that are kept, interruptions, refusals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marketsim import cli
from marketsim.clock import NS_PER_MINUTE
from marketsim.comparison import simulate
from marketsim.comparison.likelihood import marginal_nats, model_nats
from marketsim.comparison.models import load_for
from marketsim.comparison.plan import MOST_FLOORS, Plan, Span, replay_spans
from marketsim.comparison.rows import ROWS, check_budgets, check_rows
from marketsim.comparison.run import Comparison
from marketsim.comparison.tables import content_of, grids
from marketsim.data.synthetic import synthetic_tape
from marketsim.errors import ConfigError, DataError
from marketsim.flow import flow_of
from marketsim.training_run import TrainingJob, train_model

ROWS_USED = ["iabs-rmsc04", "poisson", "trades-tokens"]
OPEN = 9 * 60 + 30


def minutes(start: int, end: int) -> Span:
    return Span((OPEN + start) * NS_PER_MINUTE, (OPEN + end) * NS_PER_MINUTE)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of twenty minutes of synthetic market."""
    folder = tmp_path_factory.mktemp("data") / "day"
    synthetic_tape(open="09:30", close="09:50", orders_per_second=10).save(folder)
    return folder


@pytest.fixture(scope="module")
def models(day: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a tiny trained model; what else is needed is trained when it is missed."""
    from marketsim.data.pieces import Piece

    folder = tmp_path_factory.mktemp("models")
    span = minutes(0, 10)
    tiny = {"architecture": "tokens", "layers": 1, "width": 16, "heads": 2, "window": 32}
    job = TrainingJob(
        "trades", (Piece(str(day), span.start_ns, span.end_ns),), tiny,
        settings={"steps": 30, "batch": 4, "warm_up": 5},
    )  # fmt: skip
    train_model(job, folder / "trades-tokens")
    return folder


def plan_of(day: Path, **changed: Any) -> Plan:
    given: dict[str, Any] = {
        "data": str(day), "train": minutes(0, 10), "valid": minutes(10, 13),
        "test": minutes(15, 19), "warm_up_ns": 2 * NS_PER_MINUTE, "seeds": 2, "metrics": ("lob",),
    }  # fmt: skip
    return Plan(**(given | changed))


@pytest.fixture(scope="module")
def whole(day: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an uninterrupted comparison finds."""
    comparison = Comparison(
        plan_of(day), check_rows(ROWS_USED), tmp_path_factory.mktemp("whole"), models
    )
    comparison.run()
    return content_of(comparison)


def without_times(content: dict[str, Any]) -> Any:
    plain = json.loads(json.dumps(content))
    for row in plain["rows"].values():
        for facts in row.get("facts", []):
            for name in [name for name in facts if name.startswith("timed_")]:
                del facts[name]
    return plain


def test_rows_have_their_figures(whole: dict[str, Any], models: Path) -> None:
    assert list(whole["rows"]) == ["replay", *ROWS_USED]
    assert (models / "poisson" / "model.json").exists()  # was missing
    for name, row in whole["rows"].items():
        assert "failure" not in row
        lob = row["measures"]["lob"]["mean of unconditional scores, L1"]
        assert 0 < lob["floor"] < 1 and lob["over_floor"] == lob["distance"] / lob["floor"]
        assert len(row["worst"]) == 3 and row["impact"]["seeds"] == (1 if name == "replay" else 2)
        assert len(row["facts"]) == (0 if name == "replay" else 2)
    replay = whole["rows"]["replay"]["measures"]["lob"]
    assert all(found["distances"] == found["floors"] for found in replay.values())
    tokens = whole["rows"]["trades-tokens"]
    assert set(tokens["nats"]["model"]) == {"class", "depth", "size", "offset"}
    facts = tokens["facts"][0]
    assert facts["timed_markets"] == 2 and 0 < facts["timed_orders"] <= facts["written"]
    assert facts["timed_simulated_s"] == pytest.approx(239, abs=1)
    assert json.dumps(whole, allow_nan=False)
    for grid in grids(whole):  # each fits a line of the terminal
        lines = [grid.headings, *grid.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        assert sum(widths) + 2 * len(widths) <= 110


def test_the_buyer_moves_what_reacts(whole: dict[str, Any]) -> None:
    for row in whole["rows"].values():
        path = row["impact"]
        assert len(path["time_ns"]) == len(path["difference_bps"]) == 5  # 4 minutes, end
        assert path["difference_bps"][0] == 0  # nobody has traded yet
        assert path["measures"]["executed_lots"]["mean"] > 0


@pytest.mark.slow
def test_interrupted_work_goes_on(
    whole: dict[str, Any], day: Path, models: Path, tmp_path: Path
) -> None:
    told: list[str] = []

    class Enough(Exception):
        pass

    def stop(what: str, share: float) -> None:
        told.append(what)
        if len(told) % 37 == 0:
            raise Enough

    interruptions = 0
    while True:
        comparison = Comparison(plan_of(day), check_rows(ROWS_USED), tmp_path, models, stop)
        try:
            comparison.run()
            break
        except Enough:
            interruptions += 1
            assert interruptions < 60
    assert interruptions > 3
    assert without_times(content_of(comparison)) == without_times(whole)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    Comparison(plan_of(day), check_rows(ROWS_USED), tmp_path, models).run()  # all is there
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}


def stopping_after(seconds: int) -> Any:
    """A row's simulation that runs out of time."""
    advance = simulate._advance

    def stop_early(batch: Any, plan: Plan, until_ns: int, *more: Any) -> int:
        return advance(batch, plan, plan.test.start_ns + seconds * 10**9, *more)

    return stop_early


def test_a_row_out_of_time_is_cut_and_gets_a_floor_of_its_length(
    day: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulate, "_advance", stopping_after(70))
    comparison = Comparison(plan_of(day, seeds=1), check_rows(["poisson"]), tmp_path, models)
    comparison.run()
    row = content_of(comparison)["rows"]["poisson"]
    assert row["minutes"] == 1 and row["cut_short"] and row["impact"] is None
    floors = row["measures"]["lob"]["spread, L1"]["floors"]
    assert len(floors) == MOST_FLOORS
    assert comparison.load("replay-1min", 0, "lob") is not None


def test_a_row_that_is_too_short_still_has_its_speed(
    day: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulate, "_advance", stopping_after(12))
    plan = plan_of(day, seeds=1)
    comparison = Comparison(plan, check_rows(["poisson"]), tmp_path, models)
    comparison.run()
    content = content_of(comparison)
    row = content["rows"]["poisson"]
    assert row["minutes"] == 0.2 and row["cut_short"] and row["measures"] == {}
    titles = {grid.title: [line[0] for line in grid.rows] for grid in grids(content)}
    assert titles["Speed"] == ["poisson"] and "poisson" not in titles["LOB-Bench"]


def test_command(day: Path, models: Path, tmp_path: Path, capsys: Any) -> None:
    line = [
        "compare", "order-flow", "--data", str(day), "--out", str(tmp_path / "out"),
        "--models", str(models), "--rows", "poisson", "trades-encoder", "--metrics", "stylized",
        "--seeds", "1", "--train", "09:30-09:40", "--valid", "09:40-09:43",
        "--test", "09:45-09:49", "--minutes", "2", "--warm-up", "2min",
        "--train-steps", "trades-encoder=0",
    ]  # fmt: skip
    assert cli.main(line) == 2
    assert "train-steps trades-encoder must be a whole number > 0" in capsys.readouterr().err
    line[line.index("trades-encoder")] = "bootstrap"
    del line[-2:]
    assert cli.main(line) == 0
    shown = capsys.readouterr().out
    assert "…" not in shown and "Written to" in shown and "Stability" in shown
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"compare.json", "compare.md", "responsiveness.png", "runs", "tapes"} <= written
    assert "![responsiveness](responsiveness.png)" in (tmp_path / "out/compare.md").read_text()
    line[line.index("09:45-09:49")] = "09:44-09:49"
    assert cli.main(line) == 2
    assert "holds another experiment (test was" in capsys.readouterr().err


def test_a_row_that_fails_is_named_and_the_others_go_on(
    day: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from marketsim.generators import base

    monkeypatch.setitem(base.GENERATORS, "cgan", "marketsim.generators.nowhere:CGAN")
    comparison = Comparison(
        plan_of(day, seeds=1), check_rows(["cgan", "poisson"]), tmp_path, models
    )
    comparison.run()
    content = content_of(comparison)
    assert content["rows"]["cgan"]["failure"].startswith("ModuleNotFoundError")
    assert "failure" not in content["rows"]["poisson"]


def test_nats_of_marginals_equal_a_naive_count(day: Path, models: Path) -> None:
    from marketsim.generators.orders import encode

    generator = load_for(ROWS["trades-tokens"], models)
    plan = plan_of(day)
    real = synthetic_tape(open="09:30", close="09:50", orders_per_second=10)
    found = marginal_nats(generator, real, plan.train, plan.test)
    learned, told = (
        encode(flow_of(real, part.start_ns, part.end_ns), generator.fitted).symbols[1:]
        for part in (plan.train, plan.test)
    )
    total = 0.0
    for symbols in told:
        same = learned[learned[:, 0] == symbols[0]]
        bins = max(learned[:, 2].max(), told[:, 2].max()) + 1
        total -= np.log(((same[:, 2] == symbols[2]).sum() + 0.5) / (len(same) + 0.5 * bins))
    assert found["size"] == pytest.approx(total / len(told))
    assert set(model_nats(generator, real, plan.test)) == set(found)


def test_recorded_windows() -> None:
    hour = 60 * NS_PER_MINUTE
    side_by_side = replay_spans(0, 5 * hour, hour, 2)
    assert [span.start_ns // hour for span in side_by_side] == [4, 3, 2, 1, 0]
    assert len(replay_spans(0, 50 * hour, hour, 2)) == MOST_FLOORS
    overlapping = replay_spans(0, 3 * hour, 2 * hour, 3)
    assert [span.start_ns * 2 // hour for span in overlapping] == [2, 1, 0]
    with pytest.raises(DataError, match="no recorded window of 60 min fits"):
        replay_spans(0, hour - 1, hour, 2)


def test_plans_that_cannot_be(day: Path) -> None:
    with pytest.raises(ConfigError, match="train, valid and test must follow each other"):
        plan_of(day, train=minutes(0, 14))
    with pytest.raises(DataError, match="the data have no orders in it"):
        plan_of(day, test=minutes(30, 40)).check(synthetic_tape(open="09:30", close="09:50"))
    with pytest.raises(ConfigError, match="minutes must be > 0 and <= 4"):
        minutes(15, 19).first(5)
    for none in (float("nan"), float("inf"), 0.0):
        with pytest.raises(ConfigError, match="minutes must be > 0 and <= 4"):
            minutes(15, 19).first(none)
    with pytest.raises(ConfigError, match="seeds must be a whole number > 0, was 0"):
        plan_of(day, seeds=0)
    with pytest.raises(ConfigError, match=r"did you mean 'poisson'\?"):
        check_rows(["poison"])
    with pytest.raises(ConfigError, match="unknown network 'poisson'"):
        check_budgets({"poisson": 4})
    assert check_rows(["trades-causal"])[1:] == [
        f"trades-causal-{steps}" for steps in (100, 20, 8, 1)
    ]
