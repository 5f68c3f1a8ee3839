"""LOB-Bench of whole tapes: equal ones, planted defects, floors, and what is not defined."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import marketsim as ms
from marketsim.codes import OrderKind
from marketsim.data.synthetic import synthetic_tape
from marketsim.errors import ConfigError, DataError
from marketsim.metrics.distances import Bins, Scale
from marketsim.metrics.floor import floor_table, windows_of_messages, windows_of_time
from marketsim.metrics.flow import flow_of
from marketsim.metrics.lob_bench import LobBench, lob_bench
from marketsim.metrics.lob_plots import plot_horizon, plot_responses, plot_scores
from marketsim.metrics.lob_scores import SCORES
from marketsim.tape import Tape
from marketsim.tape_tables import BookTable

GOOG = Path(__file__).parents[1].parent / "shared/data/lobster"
HOUR_NS = 3_600_000_000_000
UP_TO_MINUTE = 60_000_000_000


@pytest.fixture(scope="module")
def day() -> Tape:
    """Two and a half hours of GOOG where its file is at hand, else of a synthetic market."""
    if GOOG.exists():
        tape = ms.read_lobster(GOOG / "LOBSTER_SampleFile_GOOG_2012-06-21_10.zip")
        return tape.between("10:00", "12:30")
    return synthetic_tape(close="12:00", orders_per_second=5)


@pytest.fixture(scope="module")
def stretch(day: Tape) -> Tape:
    start = int(day.orders["time_ns"][0])
    return day.between(start, start + HOUR_NS // 2)


@pytest.fixture(scope="module")
def against_itself(stretch: Tape) -> LobBench:
    return lob_bench(stretch, stretch, bootstraps=20)


@pytest.fixture(scope="module")
def against_day(day: Tape) -> LobBench:
    """The first 20 minutes against all of it."""
    start = int(day.orders["time_ns"][0])
    return lob_bench(day.between(start, start + 20 * UP_TO_MINUTE), day, bootstraps=20)


def changed(tape: Tape, book: dict[str, Any] | None = None, **orders: Any) -> Tape:
    columns = {name: orders.get(name, column) for name, column in tape.orders.items()}
    snapshots = {**tape.book.columns(), **(book or {})}
    if "time_ns" in orders:
        snapshots["time_ns"] = orders["time_ns"]
    return Tape(columns, tape.trades, tape.meta, book=BookTable(**snapshots))


def column(bench: LobBench, name: str = "l1") -> dict[str, Any]:
    return dict(zip(bench.scores["name"], bench.scores[name], strict=True))


def untouched(bench: LobBench) -> set[str]:
    return {name for name, distance in column(bench).items() if distance == 0}


def say_why(frame: pd.DataFrame) -> None:
    """No cell is NaN, and a row with None has words for it."""
    for row in frame.to_dict("records"):
        numbers = [x for x in row.values() if isinstance(x, float)]
        assert all(math.isfinite(x) for x in numbers), row
        if any(x is None for x in row.values()):
            assert row["note"], row


def all_say_why(bench: LobBench) -> None:
    for frame in (bench.scores, bench.aggregates, bench.horizon, bench.responses):
        say_why(frame)
    if None in bench.discriminator.values():
        assert bench.discriminator["note"]
    text = json.dumps(bench.to_dict(), allow_nan=False)
    assert json.loads(text)["about"]["seed"] == 0


def test_a_tape_against_itself(against_itself: LobBench) -> None:
    scores = against_itself.scores
    assert list(scores["name"]) == [score.name for score in SCORES]
    for name in ("l1", "l1_low", "wasserstein", "wasserstein_low"):
        assert (scores[name] == 0).all()
    assert (scores["l1_high"] < 0.35).all()
    assert (against_itself.aggregates["value"] == 0).all()
    assert against_itself.response_gaps_ticks == dict.fromkeys(
        ("MO_0", "MO_1", "LO_0", "LO_1", "CA_0", "CA_1"), 0.0
    )
    assert against_itself.discriminator["auc"] == pytest.approx(0.5, abs=1e-9)
    assert scores["note"].str.contains("no floor: the real tape spans").all()
    all_say_why(against_itself)


def test_the_same_seed_gives_the_same_result(stretch: Tape) -> None:
    times = stretch.orders["time_ns"]
    part, rest = (stretch.between(int(times[i]), int(times[i + 5000])) for i in (0, 5000))
    steps: list[tuple[str, int, int]] = []
    first = lob_bench(part, rest, bootstraps=5, progress=lambda *step: steps.append(step))
    assert first.to_dict() == lob_bench(part, rest, bootstraps=5).to_dict()
    other = lob_bench(part, rest, seed=1, bootstraps=5)
    assert column(first) == column(other)
    assert column(first, "l1_high") != column(other, "l1_high")
    assert [done for _, done, _ in steps][-1] == steps[0][2] == len(SCORES) + 2


def test_doubled_spread(stretch: Tape) -> None:
    book = stretch.book
    both = (book.bid_size_lots[:, :1] > 0) & (book.ask_size_lots[:, :1] > 0)
    spread = np.where(both, book.ask_price_ticks[:, :1] - book.bid_price_ticks[:, :1], 0)
    wide = changed(
        stretch,
        {
            "bid_price_ticks": book.bid_price_ticks - spread // 2,
            "ask_price_ticks": book.ask_price_ticks + (spread + 1) // 2,
        },
    )
    bench = lob_bench(wide, stretch, bootstraps=5)
    distance = column(bench)
    assert distance["spread"] > 0.4
    assert distance["spread | time"] > 0.4
    assert {"orderbook_imbalance", "log_inter_arrival_time", "ask_volume"} <= untouched(bench)
    assert bench.discriminator["auc"] > 0.95
    assert bench.discriminator["features"][0]["feature"].split(":")[0] in ("spread", "distance")


def test_slower_messages(stretch: Tape) -> None:
    start = int(stretch.orders["time_ns"][0])
    slow = changed(stretch, time_ns=start + 3 * (stretch.orders["time_ns"] - start))
    slow.meta.pop("between", None)
    bench = lob_bench(slow, stretch, bootstraps=5)
    distance = column(bench, "wasserstein")
    assert 0.1 < distance["log_inter_arrival_time"] < distance["log_time_to_cancel"] * 2
    assert {"spread", "ofi", "ofi_up", "limit_ask_order_levels"} <= untouched(bench)


def test_permuted_inter_arrival_times(stretch: Tape) -> None:
    """Their distribution stays; what stretches over several of them does not."""
    times = stretch.orders["time_ns"]
    gaps = np.random.default_rng(0).permutation(np.diff(times))
    shuffled = changed(stretch, time_ns=np.concatenate([times[:1], times[0] + np.cumsum(gaps)]))
    bench = lob_bench(shuffled, stretch, bootstraps=5)
    distance = column(bench)
    assert distance["log_inter_arrival_time"] < 0.03  # hidden executions are left out afterwards
    assert distance["log_time_to_cancel"] > 0.05
    assert distance["vol_per_min"] > 0.1
    assert bench.discriminator["auc"] > 0.6


def test_shuffled_order_sides(stretch: Tape) -> None:
    side = np.random.default_rng(0).permutation(stretch.orders["side"])
    bench = lob_bench(changed(stretch, side=side), stretch, bootstraps=5)
    seen, real = column(bench, "n_generated"), column(bench, "n_real")
    assert seen["limit_ask_order_levels"] < 0.7 * real["limit_ask_order_levels"]
    short = bench.responses[bench.responses["lag"] == 2]  # half of them lie at no touch now
    assert (short["n_generated"] < 0.7 * short["n_real"]).all()
    assert {"spread", "ofi", "log_inter_arrival_time"} <= untouched(bench)


def test_sides_of_the_book_swapped_are_seen_by_order_flow_imbalance(stretch: Tape) -> None:
    book = stretch.book
    swapped = changed(
        stretch, {"bid_size_lots": book.ask_size_lots, "ask_size_lots": book.bid_size_lots}
    )
    bench = lob_bench(swapped, stretch, bootstraps=5)
    distance = column(bench, "wasserstein")
    assert distance["ofi_up"] > 0.1
    assert distance["ofi_down"] > 0.1
    assert {"spread", "log_inter_arrival_time", "log_time_to_cancel"} <= untouched(bench)


def test_delayed_cancels(stretch: Tape) -> None:
    """Each cancel takes the order that another one, 300 cancels before, took."""
    ids = np.array(stretch.orders["order_id"])
    rows = np.flatnonzero(np.isin(stretch.orders["kind"], (OrderKind.CANCEL, OrderKind.REDUCE)))
    ids[rows] = np.roll(ids[rows], 300)
    bench = lob_bench(changed(stretch, order_id=ids), stretch, bootstraps=5)
    assert column(bench)["log_time_to_cancel"] > 0.3
    assert column(bench, "wasserstein")["log_time_to_cancel"] > 0.3
    assert untouched(bench) == {score.name for score in SCORES} - {"log_time_to_cancel"}


def test_floors_and_ratios(against_day: LobBench) -> None:
    scores = against_day.scores
    assert against_day.about["floor_windows"] == 7
    plain = scores[scores["kind"] == "unconditional"]
    for measure in ("l1", "wasserstein"):
        least, median, most = (plain[f"floor_{measure}_{x}"] for x in ("min", "median", "max"))
        assert ((least > 0) & (least <= median) & (median <= most)).all()
        ratio = plain[measure] / median
        assert np.allclose(plain[f"ratio_{measure}"].astype(float), ratio.astype(float))
    assert against_day.discriminator["floor_auc"] > 0.5
    sums = against_day.aggregates.set_index(["kind", "distance", "statistic"])
    assert sums.loc[("unconditional", "l1", "mean"), "value"] == pytest.approx(plain["l1"].mean())
    assert (against_day.aggregates["low"] <= against_day.aggregates["value"]).all()
    all_say_why(against_day)


def test_a_floor_is_the_distance_of_a_window_to_the_rest(day: Tape) -> None:
    """Windows are counted from one pass; here each is cut out and compared by itself."""
    flow = flow_of(day)
    found = floor_table(day, "30min").set_index("name")
    expected = []
    values = flow.spread_ticks[flow.two_sided]
    times = flow.time_ns[flow.two_sided]
    for number in range(5):
        start = flow.start_ns + number * HOUR_NS // 2
        inside = (times >= start) & (times < start + HOUR_NS // 2)
        pooled = np.concatenate([values[inside], values[~inside]])
        scale = Scale(pooled, np.zeros(len(pooled), np.int64), Bins.VALUES)
        one, other = (scale.count(x) for x in (slice(0, inside.sum()), slice(inside.sum(), None)))
        expected.append((scale.half_l1(one, other), scale.wasserstein(one, other)))
    for measure, numbers in zip(("l1", "wasserstein"), np.array(expected).T, strict=True):
        for word, value in (("min", numbers.min()), ("max", numbers.max())):
            assert found.loc["spread", f"{measure}_{word}"] == pytest.approx(value, rel=1e-3)
        assert found.loc["spread", f"{measure}_median"] == pytest.approx(
            np.median(numbers), rel=1e-3
        )
    say_why(found.reset_index())


def test_windows(day: Tape) -> None:
    flow = flow_of(day)
    cut = windows_of_messages(flow, 100)
    assert len(cut.rows) == 40
    assert all(last - first == 100 for first, last in cut.rows)
    assert windows_of_messages(flow, flow.size // 2).reason.startswith("the real tape has")
    short = windows_of_time(flow, 2 * HOUR_NS, flow.start_ns)
    assert short.rows == () and "less than 3 windows of 7,200 s" in short.reason
    with pytest.raises(ConfigError, match="window must be shorter, was '2h'"):
        floor_table(day, "2h")


def test_horizon_has_a_row_for_each_block_and_score(against_day: LobBench) -> None:
    horizon = against_day.horizon
    assert len(horizon) == 21 * 10
    spread = horizon[horizon["name"] == "spread"]
    assert (spread["last_event"].diff().dropna() == spread["last_event"].iloc[0] + 1).all()
    assert (spread["end_s"] > spread["start_s"]).all()
    assert spread["floor_l1"].nunique() == 1


def test_divergence_grows_where_the_market_drifts_away(stretch: Tape) -> None:
    """The book's sizes grow threefold over the stretch: its volume scores do so block by block."""
    growth = 1 + 2 * np.linspace(0, 1, len(stretch.orders["kind"]))[:, None]
    book = {
        name: np.round(getattr(stretch.book, name) * growth).astype(np.int64)
        for name in ("bid_size_lots", "ask_size_lots")
    }
    bench = lob_bench(changed(stretch, book), stretch, bootstraps=5)
    volume = bench.horizon[bench.horizon["name"] == "bid_volume"]["wasserstein"].astype(float)
    assert volume.iloc[-3:].mean() > 2 * volume.iloc[:3].mean()


def one_sided(tape: Tape) -> Tape:
    nothing = np.zeros_like(tape.book.bid_size_lots)
    return changed(tape, {"bid_size_lots": nothing, "bid_price_ticks": nothing})


def test_a_book_with_one_side_all_day(stretch: Tape) -> None:
    bench = lob_bench(one_sided(stretch), stretch, bootstraps=5)
    scores = bench.scores.set_index("name")
    for name in ("spread", "orderbook_imbalance", "ofi_up", "spread | time"):
        assert scores.loc[name, "l1"] is None
        assert "not defined: the generated tape has 0 observations" in scores.loc[name, "note"]
    assert scores.loc["bid_volume", "l1"] == 1
    assert scores.loc["log_inter_arrival_time", "l1"] == 0
    assert bench.responses["generated_ticks"].isna().all()
    all_say_why(bench)
    for plot in (plot_scores, plot_responses, plot_horizon):
        plot(bench)
    all_say_why(lob_bench(stretch, one_sided(stretch), bootstraps=5))


def test_few_trades_and_few_messages(stretch: Tape) -> None:
    kinds = np.array(stretch.orders["kind"])
    executions = np.flatnonzero(kinds == OrderKind.EXECUTION)
    kinds[executions[60:]] = OrderKind.HIDDEN_EXECUTION
    notes = column(lob_bench(changed(stretch, kind=kinds), stretch, bootstraps=5), "note")
    assert "few observations: the generated tape has" in notes["vol_per_min"]
    kinds[executions[5:]] = OrderKind.HIDDEN_EXECUTION
    notes = column(lob_bench(changed(stretch, kind=kinds), stretch, bootstraps=5), "note")
    assert "needs executions of visible orders" in notes["vol_per_min"]
    times = stretch.orders["time_ns"]
    short = lob_bench(stretch.between(int(times[0]), int(times[30])), stretch, bootstraps=5)
    assert "needs more than 100 messages" in column(short, "note")["ofi"]
    assert "needs 20" in short.discriminator["note"]
    all_say_why(short)


def test_tapes_without_a_shared_hour(stretch: Tape, day: Tape) -> None:
    later = day.between(int(stretch.orders["time_ns"][-1]) + 3 * HOUR_NS // 4, "24:00")
    rows = lob_bench(stretch, later, bootstraps=5).scores.set_index("name")
    assert rows.loc["spread | time", "l1"] is None
    assert "not defined: the tapes share no group" in rows.loc["spread | time", "note"]
    assert rows.loc["spread", "l1"] > 0


def test_bad_input_is_named(stretch: Tape) -> None:
    nothing = stretch.between("03:00", "04:00")
    with pytest.raises(DataError, match="generated tape: must have at least 2 messages .* had 0"):
        lob_bench(nothing, stretch)
    with pytest.raises(DataError, match="real tape: must have at least 2 messages"):
        lob_bench(stretch, nothing)
    coarse = Tape(
        stretch.orders, stretch.trades, {**stretch.meta, "tick_size": 0.05}, book=stretch.book
    )
    with pytest.raises(DataError, match="tick_size must be the same in both tapes, was 0.05 in"):
        lob_bench(coarse, stretch)
    with pytest.raises(ConfigError, match="bootstraps must be >= 2, was 1"):
        lob_bench(stretch, stretch, bootstraps=1)
    with pytest.raises(ConfigError, match="seed must be >= 0, was -1"):
        lob_bench(stretch, stretch, seed=-1)


def test_pictures_can_be_drawn(against_day: LobBench, tmp_path: Path) -> None:
    for plot in (plot_scores, plot_responses, plot_horizon):
        plot(against_day).savefig(tmp_path / f"{plot.__name__}.png")
        assert (tmp_path / f"{plot.__name__}.png").stat().st_size > 10_000


def test_a_simulated_tape_is_read_in_lobsters_words() -> None:
    """Executions of the flow are the trades of the tape, and the last book is the tape's."""
    tape = synthetic_tape(close="09:40")
    assert flow_of(tape).size == np.isin(tape.orders["kind"], (1, 2, 3, 4)).sum()
    run = ms.run("rmsc04", until="09:32")
    flow = flow_of(run.tape)
    lots = flow.size_lots[flow.kind == OrderKind.EXECUTION]
    assert lots.sum() == run.tape.trades["size_lots"].sum() > 0
    assert len(lots) == len(run.tape.trades["size_lots"])
    assert flow.lots("bid")[-1] == run.tape.book.bid_size_lots[-1, 0]
    assert flow.price("ask")[-1] == run.tape.book.ask_price_ticks[-1, 0]
    all_say_why(lob_bench(run.tape, tape, bootstraps=5))
