"""Paired experiments with an agent and with a rule: zero without trades, impact, forks, replay."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import marketsim as ms
from marketsim import arms
from marketsim.agent import Agent, Handle
from marketsim.configs import load_config
from marketsim.data.synthetic import synthetic_tape
from marketsim.errors import ConfigError, DataError, StateError
from marketsim.impact import ImpactResult

MINUTE = 60_000_000_000
POV = {"quantity": 1_000_000, "start": "09:45", "end": "10:15"}
SHORT: dict[str, Any] = {"until": "10:45", "settle": "10min"}


def mean(result: ImpactResult, measure: str, size: str = "pov") -> Any:
    table = result.table
    return table[(table["measure"] == measure) & (table["size"] == size)].iloc[0]


@pytest.fixture(scope="module")
def swept() -> ImpactResult:
    """A morning of RMSC04 with a buyer at four participations, eight seeds."""
    return ms.ab(
        "rmsc04", "pov", seeds=8, agent_set=POV, sizes={"participation": [0, 0.05, 0.25]}, **SHORT
    )


def test_participation_zero_changes_nothing_at_any_instant(swept: ImpactResult) -> None:
    pairs = swept.pairs[swept.pairs["size"] == "participation 0"]
    assert len(pairs) == 8
    assert (pairs["largest_difference_ticks"] == 0).all()
    assert (pairs["executed_lots"] == 0).all()
    path = swept.path[swept.path["size"] == pairs["size"].iloc[0]]
    assert len(path) > 60
    for column in path.columns.difference(["size", "time_ns"]):
        assert (path[column] == 0).all(), column


def test_participation_zero_leaves_every_row_of_the_tape() -> None:
    config = load_config("rmsc04").to_dict()
    config["agents"]["pov"] = {"type": "pov", "participation": 0}
    alone = ms.run("rmsc04", seed=3, until="10:00").tape
    beside = ms.run(config, seed=3, until="10:00").tape
    for column in alone.orders:
        assert np.array_equal(alone.orders[column], beside.orders[column]), column
    for column in alone.trades:
        assert np.array_equal(alone.trades[column], beside.trades[column]), column


def test_the_check_can_fail_an_agent_before_the_others_changes_their_draws() -> None:
    config = load_config("rmsc04").to_dict()
    config["agents"] = {"pov": {"type": "pov", "participation": 0}, **config["agents"]}
    alone = ms.run("rmsc04", seed=3, until="10:00").tape
    before = ms.run(config, seed=3, until="10:00").tape
    assert not np.array_equal(alone.orders["price_ticks"], before.orders["price_ticks"])


def test_a_buyer_raises_the_price_and_more_so_when_it_buys_more(swept: ImpactResult) -> None:
    little, much = (mean(swept, "while_trading_ticks", f"participation {p}") for p in (0.05, 0.25))
    assert little["mean"] > 0
    assert much["low"] > 0
    assert much["mean"] > little["mean"]
    assert mean(swept, "paired_shortfall_bps", "participation 0.05")["low"] > 0
    assert swept.summary["side"] == "buy"


def test_participation_is_reached(swept: ImpactResult) -> None:
    for p in (0.05, 0.25):
        assert mean(swept, "participation", f"participation {p}")["mean"] == pytest.approx(p, 0.02)


def test_nothing_differs_before_the_agent_starts(swept: ImpactResult) -> None:
    before = swept.path[swept.path["time_ns"] <= 9 * 60 * MINUTE + 45 * MINUTE]
    assert len(before) > 20
    assert (before["difference_ticks"] == 0).all()
    during = swept.path[
        (swept.path["time_ns"] > 10 * 60 * MINUTE) & (swept.path["size"] == "participation 0.25")
    ]
    assert (during["difference_ticks"] != 0).any()


def test_exponents_say_what_they_leave_out(swept: ImpactResult) -> None:
    law = swept.exponents["while_trading_bps"]
    assert law["against"] == "participation"
    assert law["exponent"] > 0
    assert "without participation 0" in law["note"]


def test_costs_equal_what_the_agent_says() -> None:
    entry = {"type": "pov", "participation": 0.1, **POV}
    result = ms.ab("rmsc04", entry, seeds=[5], **SHORT)
    config = load_config("rmsc04").to_dict()
    config["agents"]["pov"] = entry
    said = ms.run(config, seed=5, until="10:45").summary["agents"]["pov"]
    pair = result.pairs.iloc[0]
    assert pair["executed_lots"] == said["executed_lots"]
    assert pair["average_price_ticks"] == pytest.approx(said["average_price_ticks"])
    assert pair["shortfall_bps"] == pytest.approx(said["shortfall_bps"], abs=1e-3)
    # ours ends with its last trade, the agent's own with its schedule
    assert pair["participation"] == pytest.approx(said["participation"], rel=0.05)
    assert "low_ticks" not in result.path  # one seed has no band
    row = mean(result, "shortfall_bps")
    assert "two seeds" in row["note"]


def test_a_seller_lowers_the_price_and_its_impact_is_positive() -> None:
    entry = {"type": "pov", "side": "sell", "participation": 0.25, **POV}
    result = ms.ab("rmsc04", entry, seeds=8, **SHORT)
    assert result.summary["side"] == "sell"
    assert mean(result, "while_trading_ticks")["mean"] > 0
    trading = result.path["time_ns"].between(10 * 60 * MINUTE, 10 * 60 * MINUTE + 15 * MINUTE)
    assert result.path[trading]["difference_ticks"].mean() < 0
    assert mean(result, "paired_shortfall_bps")["mean"] > 0


def test_a_fork_shows_the_same_impact_as_two_whole_runs() -> None:
    given = {"type": "pov", "participation": 0.2, "quantity": 500, "start": "10:00"}
    whole = ms.ab("rmsc04", given, seeds=3, **SHORT)
    forked = ms.ab("rmsc04", given, seeds=3, fork_at="10:00", **SHORT)
    assert forked.path["time_ns"].iloc[0] == 10 * 60 * MINUTE
    after = whole.path[whole.path["time_ns"] >= 10 * 60 * MINUTE].reset_index(drop=True)
    columns = ["time_ns", "difference_ticks"]
    pd.testing.assert_frame_equal(after[columns], forked.path[columns])
    same = ["executed_lots", "average_price_ticks", "shortfall_bps", "at_end_ticks"]
    pd.testing.assert_frame_equal(whole.pairs[same], forked.pairs[same])


def test_an_agent_without_a_start_starts_at_the_fork() -> None:
    result = ms.ab(
        "rmsc04", {"type": "twap", "quantity": 600, "end": "10:20"}, seeds=2, fork_at="10:00",
        **SHORT,
    )  # fmt: skip
    assert (result.pairs["start_ns"] == 10 * 60 * MINUTE).all()
    assert (result.pairs["executed_lots"] == 600).all()


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an hour of synthetic market."""
    folder = tmp_path_factory.mktemp("data") / "day"
    synthetic_tape(open="09:30", close="10:30").save(folder)
    return folder


def test_on_replay_impact_decays_to_nothing_and_the_report_says_what_it_can_show(
    day: Path, tmp_path: Path
) -> None:
    entry = {
        "type": "pov", "participation": 0.2, "quantity": 100_000, "start": "09:35", "end": "09:50",
        "interval": "20s",
    }  # fmt: skip
    result = ms.ab(
        {"name": "replay", "data": str(day), "agents": {"history": {"type": "replay"}}}, entry,
        seeds=2, step="10s", settle="10min", out=tmp_path / "out",
    )  # fmt: skip
    pair = result.pairs.iloc[0]
    assert pair["executed_lots"] > 100
    path = result.path.set_index("time_ns")["difference_ticks"]
    trading = path[(path.index > pair["start_ns"]) & (path.index <= pair["end_ns"])]
    assert trading.abs().max() > 0 and pair["largest_difference_ticks"] > 0
    tail = path[path.index > pair["end_ns"] + 20 * MINUTE]
    assert len(tail) > 50 and (tail == 0).all()
    assert pair["permanent_ticks"] == pytest.approx(0, abs=0.2)
    assert "instantaneous impact only" in (tmp_path / "out/impact.md").read_text()
    assert any("All seeds give the same paths" in note for note in result.summary["notes"])
    assert "low_ticks" not in result.path


def test_a_replay_forks_too(day: Path) -> None:
    entry = {"type": "pov", "participation": 0.2, "quantity": 300, "start": "09:45"}
    config = {"name": "replay", "data": str(day), "agents": {"history": {"type": "replay"}}}
    whole, forked = (
        ms.ab(config, entry, seeds=1, settle="10min", fork_at=at) for at in (None, "09:45")
    )
    same = ["executed_lots", "average_price_ticks", "at_end_ticks", "permanent_ticks"]
    assert whole.pairs["executed_lots"].iloc[0] == 300
    pd.testing.assert_frame_equal(whole.pairs[same], forked.pairs[same])


def test_an_agent_of_the_configuration_is_what_the_control_lacks(day: Path) -> None:
    result = ms.ab(
        "synthetic", "pov", seeds=1, overrides={"data": str(day)},
        agent_set={"start": "09:35", "end": "09:50"},
    )  # fmt: skip
    assert result.summary["entries"][0]["quantity"] == 30_000
    assert any("control is without it" in note for note in result.summary["notes"])


def test_everything_is_written_and_finite(swept: ImpactResult, tmp_path: Path) -> None:
    swept.save(tmp_path)
    names = ["impact.json", "impact.md", "impact.png", "pairs.parquet", "path.parquet", "sizes.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    summary = json.loads((tmp_path / "impact.json").read_text(), parse_constant=pytest.fail)
    assert summary["seeds"] == list(range(8))
    for row in summary["measures"]:
        assert row["note"] or None not in (row["mean"], row["low"], row["high"]), row
    page = (tmp_path / "impact.md").read_text()
    assert "nan" not in page.lower().replace("finance", "") and "participation 0.25" in page
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "path.parquet"), swept.path)


def test_an_interrupted_experiment_goes_on(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    given: dict[str, Any] = {"agent_set": {**POV, "participation": 0.1}, "seeds": 4, **SHORT}
    with pytest.raises(KeyboardInterrupt):
        ms.ab("rmsc04", "pov", out=tmp_path / "out", progress=stop, **given)
    told: list[int] = []
    result = ms.ab(
        "rmsc04", "pov", out=tmp_path / "out", progress=lambda done, _: told.append(done), **given
    )
    assert told == [2, 3, 4]
    fresh = ms.ab("rmsc04", "pov", **given)
    pd.testing.assert_frame_equal(result.path, fresh.path)
    pd.testing.assert_frame_equal(result.pairs, fresh.pairs)


@pytest.mark.slow
def test_the_result_does_not_depend_on_processes() -> None:
    given: dict[str, Any] = {"agent_set": {**POV, "participation": 0.1}, "seeds": 4, **SHORT}
    here = ms.ab("rmsc04", "pov", **given)
    there = ms.ab("rmsc04", "pov", executor="processes", workers=2, **given)
    pd.testing.assert_frame_equal(here.path, there.path, check_exact=True)
    pd.testing.assert_frame_equal(here.pairs, there.pairs, check_exact=True)
    pd.testing.assert_frame_equal(here.table, there.table, check_exact=True)


def test_a_coarser_tick_widens_the_spread(tmp_path: Path) -> None:
    result = ms.ab(
        "rmsc04", treat={"symbols.0.price_increment_ticks": 10}, seeds=5, until="10:30",
        out=tmp_path / "out",
    )  # fmt: skip
    table = result.table.set_index("measure")
    assert table.loc["spread_ticks", "treated"] >= 10
    assert table.loc["spread_ticks", "effect_low"] > 5
    assert table.loc["touch_lots", "effect_low"] > 0
    assert table.loc["spread_ticks", "effect_percent"] > 100
    written = {"experiment.json", "runs", "treatment.json", "treatment.md", "treatment.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == written | {"pairs.parquet"}
    json.loads((tmp_path / "out/treatment.json").read_text(), parse_constant=pytest.fail)


def test_a_treatment_that_never_binds_has_no_effect() -> None:
    result = ms.ab(
        "rmsc04", treat={"exchange.price_limits": {"percent": 50, "reference": 100_000}}, seeds=3,
        until="10:00",
    )  # fmt: skip
    assert (result.table["effect"] == 0).all()
    assert result.table["effect_low"].isna().all()
    assert result.table["note"].str.contains("same value").all()


class Silent(Agent):
    """Never trades."""


class Broken(Agent):
    """A bug."""

    def on_start(self, market: Handle) -> None:
        market.wake_after(MINUTE)

    def on_wakeup(self, market: Handle) -> None:
        raise ZeroDivisionError("a bug in an agent")


def test_an_agent_that_never_trades_has_reasons() -> None:
    result = ms.ab("rmsc04", f"{__name__}:Silent", seeds=2, until="10:00")
    rows = result.table.set_index("measure")
    assert rows.loc["executed_lots", "mean"] == 0
    assert rows.loc["shortfall_bps", "note"].endswith(arms.NEVER_TRADED)
    assert result.summary["side"] is None
    assert "never traded" in " ".join(result.summary["notes"])


def test_a_bug_in_an_agent_is_told_with_its_seed_and_traceback() -> None:
    with pytest.raises(RuntimeError, match="seed 0: ZeroDivisionError") as caught:
        ms.ab("rmsc04", f"{__name__}:Broken", seeds=2, until="10:00")
    assert "in on_wakeup" in str(caught.value)


EMPTY = {"agents": {"quiet": {"type": "pov"}}}


@pytest.mark.parametrize(
    ("config", "agent", "given", "message"),
    [
        ("rmsc04", "pvo", {}, r"unknown agent 'pvo' \(did you mean 'pov'\?\)"),
        ("rmcs04", "pov", {}, "unknown config 'rmcs04'"),
        ("rmsc04", "pov", {"agent_set": {"participaton": 1}}, "unknown key 'participaton'"),
        ("rmsc04", "pov", {"agent_set": {"participation": 2}}, "participation must be >= 0"),
        ("rmsc04", "pov", {"seeds": 0}, "seeds must be >= 1, was 0"),
        ("rmsc04", "pov", {"seeds": [1, 1]}, "each once"),
        ("rmsc04", "pov", {"fork_at": "08:00"}, "fork_at must be within the session"),
        ("rmsc04", "pov", {"fork_at": "16:00"}, "fork_at must be within the session"),
        ("rmsc04", "pov", {"fork_at": "noon"}, "fork_at must be HH:MM"),
        ("rmsc04", "noise", {"fork_at": "10:00"}, "compiled"),
        (
            "rmsc04", "pov", {"fork_at": "11:00", "agent_set": {"start": "10:00"}},
            "start must not be before fork_at 11:00:00.000, was '10:00'",
        ),
        ("rmsc04", "pov", {"until": "09:00"}, "until must be within the session"),
        ("rmsc04", "pov", {"treat": {"tape.levels": 5}}, "was both"),
        ("rmsc04", None, {}, "was neither"),
        ("rmsc04", None, {"treat": {}}, "treat must be at least one key"),
        ("rmsc04", None, {"treat": {"tape.levels": 10}}, "changes nothing"),
        ("rmsc04", None, {"treat": {"exchange.taker": 1}}, "unknown key 'taker'"),
        ("rmsc04", None, {"treat": {"tape.levels": 5}, "fork_at": "10:00"}, "only with an agent"),
        ("rmsc04", "pov", {"sizes": {}}, "sizes must be one parameter"),
        ("rmsc04", "pov", {"sizes": {"participation": []}}, "must be values"),
        ("rmsc04", "pov", {"sizes": {"sise": [1]}}, "unknown key 'sise'"),
        ("rmsc04", "pov", {"step": "0s"}, "step must be > 0"),
        ("rmsc04", "pov", {"workers": 0}, "workers must be >= 1"),
        ("rmsc04", "pov", {"executor": "threads"}, "executor must be one of"),
        ("rmsc04", 3, {}, "agent must be a name"),
        (EMPTY, "quiet", {}, "has no agents"),
    ],
)  # fmt: skip
def test_bad_input_is_named(config: Any, agent: Any, given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ms.ab(config, agent, **given)


def test_a_market_without_two_sides_is_named() -> None:
    config = {"agents": {"twap": {"type": "twap"}}}
    with pytest.raises(StateError, match="seed 0: DataError: .*never has two sides"):
        ms.ab(config, "pov", seeds=1)


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("a letter")
    with pytest.raises(DataError, match="is not empty, and no experiment"):
        ms.ab("rmsc04", "pov", seeds=1, out=tmp_path, **SHORT)
