"""Statistics and pictures of tapes, by hand-made books whose answers are known."""

import io
import json
import math
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from marketsim.clock import NS_PER_MINUTE, parse_time
from marketsim.codes import OrderKind
from marketsim.plots import plot_tape
from marketsim.report import market_statistics, realised_volatility, touch
from marketsim.tape import Tape
from marketsim.tape_tables import BookTable

OPEN, CLOSE = parse_time("09:30"), parse_time("09:40")
PNG = b"\x89PNG\r\n\x1a\n"

Quote = tuple[int, int, int, int, int]  # minute, bid, bid lots, ask, ask lots
Trade = tuple[int, int, int, int, int, int]  # minute, price, lots, side, maker, taker agent


def make_tape(quotes: list[Quote], trades: list[Trade] = [], **meta: Any) -> Tape:  # noqa: B006
    rows = np.array(quotes, np.int64).reshape(-1, 5)
    deals = np.array(trades, np.int64).reshape(-1, 6)
    n, time_ns = len(rows), OPEN + rows[:, 0] * NS_PER_MINUTE
    orders = {
        "time_ns": time_ns,
        "sequence": np.arange(n),
        "kind": np.full(n, OrderKind.LIMIT),
        "order_id": np.arange(n) + 1,
        "side": np.ones(n, np.int64),
        "price_ticks": rows[:, 1],
        "size_lots": np.ones(n, np.int64),
    }
    fills = {
        "time_ns": OPEN + deals[:, 0] * NS_PER_MINUTE,
        "sequence": np.zeros(len(deals), np.int64),
        "price_ticks": deals[:, 1],
        "size_lots": deals[:, 2],
        "side": deals[:, 3],
        "maker_agent_id": deals[:, 4],
        "taker_agent_id": deals[:, 5],
    }
    book = BookTable(time_ns, np.arange(n), *(rows[:, [k]] for k in (1, 2, 3, 4)))
    known = {"open_ns": OPEN, "close_ns": CLOSE, "levels": 1, "symbol": "SIM", "tick_size": 0.01}
    return Tape(orders, fills, {**known, **meta}, book=book)


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer)
    return buffer.getvalue()


def test_statistics_of_a_small_market() -> None:
    tape = make_tape(
        [(0, 100, 5, 102, 7), (4, 100, 5, 110, 1), (5, 104, 2, 106, 3)],
        [(4, 102, 7, 1, 3, 4), (5, 104, 1, -1, 4, 3)],
    )
    found = market_statistics(tape)
    assert found["orders"] == 3
    assert (found["trades"], found["volume_lots"]) == (2, 8)
    assert found["vwap_ticks"] == pytest.approx((102 * 7 + 104) / 8)
    assert found["spread_mean_ticks"] == pytest.approx((4 * 2 + 1 * 10 + 5 * 2) / 10)
    assert found["spread_median_ticks"] == 2
    assert (found["mid_open_ticks"], found["mid_close_ticks"]) == (101, 105)
    assert (found["mid_low_ticks"], found["mid_high_ticks"]) == (101, 105)
    assert found["bid_touch_mean_lots"] == pytest.approx((5 * 5 + 5 * 2) / 10)
    assert found["ask_touch_mean_lots"] == pytest.approx((4 * 7 + 1 + 5 * 3) / 10)
    assert found["two_sided_share"] == 1
    assert found["share_limit"] == 1
    assert found["realised_volatility"] == pytest.approx(math.log(105 / 101))


def test_quotes_before_the_open_hold_at_the_open_and_later_ones_not_at_all() -> None:
    tape = make_tape([(-5, 100, 1, 102, 1), (2, 100, 1, 104, 1), (20, 100, 1, 190, 1)])
    assert market_statistics(tape)["spread_mean_ticks"] == pytest.approx((2 * 2 + 8 * 4) / 10)


def test_orders_that_expire_at_the_close_move_no_price() -> None:
    tape = make_tape([(0, 100, 1, 102, 1), (10, 90, 1, 102, 1), (10, 0, 0, 102, 1)])
    found = market_statistics(tape)
    assert (found["mid_close_ticks"], found["mid_low_ticks"]) == (101, 101)
    assert found["realised_volatility"] == 0


def test_minutes_without_one_side_do_not_count() -> None:
    tape = make_tape([(0, 100, 1, 102, 1), (1, 0, 0, 102, 1), (9, 100, 1, 108, 1)])
    found = market_statistics(tape)
    assert found["spread_mean_ticks"] == pytest.approx((2 + 8) / 2)
    assert found["two_sided_share"] == pytest.approx(0.2)
    assert found["bid_touch_mean_lots"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("quotes", "meta"),
    [
        ([], {}),
        ([], {"open_ns": None, "close_ns": None}),
        ([(0, 100, 5, 0, 0)], {}),
        ([(0, 0, 0, 100, 5), (3, 0, 0, 101, 5)], {}),
        ([(0, 0, 0, 0, 0)], {}),
        ([(3, 100, 5, 102, 5)], {"open_ns": None, "close_ns": None}),
        ([(0, -3, 5, -1, 5), (1, -2, 5, 0, 5), (2, -1, 5, 3, 4)], {}),
        ([(1, 100, 5, 102, 5)], {"complete": False}),
    ],
    ids=["empty", "no session", "bids", "asks", "no level", "one row", "prices <= 0", "unfinished"],
)
def test_poor_tapes_have_statistics_without_nan_and_a_picture(
    quotes: list[Quote], meta: dict[str, Any]
) -> None:
    tape = make_tape(quotes, **meta)
    json.dumps(market_statistics(tape), allow_nan=False)
    assert market_statistics(tape)["vwap_ticks"] is None
    assert png(plot_tape(tape)).startswith(PNG)


def test_nothing_is_said_where_nothing_is_known() -> None:
    found = market_statistics(make_tape([(0, 100, 5, 0, 0)]))
    for key in ("spread_mean_ticks", "spread_median_ticks", "mid_open_ticks", "mid_high_ticks"):
        assert found[key] is None
    assert found["realised_volatility"] is None
    assert found["bid_touch_mean_lots"] == 5
    negative = market_statistics(make_tape([(0, -3, 5, -1, 5), (1, -2, 5, 0, 5)]))
    assert negative["mid_open_ticks"] == -2
    assert negative["realised_volatility"] is None


def test_an_unfinished_tape_ends_with_its_last_order() -> None:
    quotes: list[Quote] = [(0, 100, 1, 102, 1), (1, 100, 1, 104, 1), (2, 100, 1, 190, 1)]
    assert market_statistics(make_tape(quotes, complete=False))["spread_mean_ticks"] == 3
    assert touch(make_tape(quotes, complete=False)).end_ns == OPEN + 2 * NS_PER_MINUTE


def test_a_part_of_a_tape_spans_that_part() -> None:
    tape = make_tape([(0, 100, 1, 102, 1), (4, 100, 1, 104, 1), (6, 100, 1, 106, 1)])
    quotes = touch(tape.between("09:33", "09:35"))
    assert (quotes.start_ns, quotes.end_ns) == (parse_time("09:33"), parse_time("09:35"))


def test_touch_looks_up_values_and_means_of_bins() -> None:
    quotes = touch(make_tape([(1, 100, 1, 102, 1), (3, 0, 0, 0, 0), (4, 100, 1, 106, 1)]))
    minutes = OPEN + np.arange(6) * NS_PER_MINUTE
    looked_up = quotes.at(quotes.spread_ticks, minutes)
    np.testing.assert_array_equal(looked_up, [np.nan, 2, 2, 2, 6, 6])
    edges = OPEN + np.array([0, 1, 3, 4, 5, 10]) * NS_PER_MINUTE
    means = quotes.mean_between(quotes.spread_ticks, edges)
    np.testing.assert_allclose(means, [np.nan, 2, np.nan, 6, 6])


def test_statistics_equal_a_plain_loop_over_a_random_market() -> None:
    rng = np.random.default_rng(5)
    minutes = np.sort(rng.integers(0, 10, 60))
    bids = rng.integers(90, 100, 60)
    quotes: list[Quote] = [
        (int(minute), int(bid), int(rng.integers(0, 3)), int(bid + rng.integers(1, 9)), 1)
        for minute, bid in zip(minutes, bids, strict=True)
    ]
    held = weighted = 0
    for i, (minute, bid, bid_lots, ask, _) in enumerate(quotes):
        until = quotes[i + 1][0] if i + 1 < len(quotes) else 10
        if bid_lots:
            held += until - minute
            weighted += (until - minute) * (ask - bid)
    found = market_statistics(make_tape(quotes))
    assert found["spread_mean_ticks"] == pytest.approx(weighted / held)


def test_volatility_is_the_same_for_any_number_of_rows_a_minute() -> None:
    sparse: list[Quote] = [(k, 100 + k % 3, 1, 102 + k % 3, 1) for k in range(10)]
    dense = [quote for quote in sparse for _ in range(5)]
    assert realised_volatility(touch(make_tape(dense))) == pytest.approx(
        realised_volatility(touch(make_tape(sparse)))
    )


TRADED: list[Quote] = [(k, 100 + k, 5, 102 + k, 5) for k in range(10)]


def panel(figure: Figure, title: str) -> Any:
    return next(axis for axis in figure.axes if axis.get_title(loc="left").startswith(title))


def test_agents_position_and_profit_come_from_their_trades() -> None:
    deals = [(1, 103, 4, 1, -1, 7), (5, 105, 1, 1, 7, -1)]  # buys as taker, sells as maker
    figure = plot_tape(make_tape(TRADED, deals, lot_size=10), agents={7: "pov"})
    position = panel(figure, "Position").lines[0].get_ydata()
    assert (position[0], position.max(), position[-1]) == (0, 4, 3)
    profit = panel(figure, "Profit").lines[0].get_ydata()
    assert profit[-1] == pytest.approx((-4 * 103 + 105 + 3 * 110) * 0.01 * 10)
    labels = [text.get_text() for text in panel(figure, "Price").get_legend().get_texts()]
    assert labels == ["bid to ask", "mid-price", "trades", "pov buys", "pov sells"]


def test_trades_of_an_agent_with_itself_leave_its_position() -> None:
    figure = plot_tape(make_tape(TRADED, [(1, 103, 4, 1, 7, 7)]))
    assert set(panel(figure, "Position").lines[0].get_ydata()) == {0.0}


def test_panels_of_agents_only_where_there_are_agents_and_few_curves_for_many() -> None:
    alone = plot_tape(make_tape(TRADED, [(1, 103, 4, 1, -1, -1)]))
    assert not any("Position" in axis.get_title(loc="left") for axis in alone.axes)
    deals = [(1, 103, 1, 1, k, k + 1) for k in range(9)]
    crowd = plot_tape(make_tape(TRADED, [*deals, (2, 104, 50, 1, 9, 8)]))
    curves = panel(crowd, "Position").lines
    assert [curve.get_label() for curve in curves][-1] == "5 others" and len(curves) == 6
    assert {curve.get_label() for curve in curves[:2]} == {"agent 8", "agent 9"}  # traded most
    assert sum(curve.get_ydata()[-1] for curve in curves) == 0
    assert png(crowd).startswith(PNG)


NAMES = {3: "pov", 7: "noise", 8: "noise", 9: "noise"}
POPULATED: list[Trade] = [(1, 103, 4, 1, 7, 3), (2, 104, 6, 1, 8, 9), (3, 105, 5, -1, 3, -1)]


def test_a_population_is_one_curve_and_has_its_share_of_both_sides() -> None:
    figure = plot_tape(make_tape(TRADED, POPULATED), agents=NAMES)
    curves = {line.get_label(): line.get_ydata()[-1] for line in panel(figure, "Position").lines}
    assert curves == {"pov": 9, "noise": -4}
    shares = {
        patch.get_label(): float((data.values - data.baseline).sum())
        for patch in panel(figure, "Share").patches
        for data in [patch.get_data()]
    }
    assert shares == pytest.approx({"pov": 9 / 30, "noise": 16 / 30, "all others": 5 / 30})
    labels = [text.get_text() for text in panel(figure, "Price").get_legend().get_texts()]
    assert "pov buys" in labels and not any("noise" in label for label in labels)


def test_volume_has_single_agents_only() -> None:
    volume = panel(plot_tape(make_tape(TRADED, POPULATED), agents=NAMES), "Traded volume")
    assert [patch.get_label() for patch in volume.patches] == ["market", "mean of half hour", "pov"]


def test_a_fundamental_value_is_drawn_where_it_is_known() -> None:
    times = np.array([OPEN + 2 * NS_PER_MINUTE, CLOSE])
    figure = plot_tape(make_tape(TRADED), fundamental=(times, np.array([100.0, 108.0])))
    (line,) = (line for line in panel(figure, "Price").lines if line.get_label() == "fundamental")
    values = line.get_ydata()
    assert np.isnan(values[0]) and values[-1] == pytest.approx(1.08)
    assert png(figure).startswith(PNG)


def test_rare_prices_do_not_stretch_the_axis_and_a_note_tells_of_them() -> None:
    deals: list[Trade] = [(k % 10, 101 + k % 10, 1, 1, -1, -1) for k in range(1000)]
    calm = panel(plot_tape(make_tape(TRADED, deals)), "Price")
    wild = panel(plot_tape(make_tape(TRADED, [*deals, (9, 900, 1, 1, -1, -1)])), "Price")
    assert not calm.texts and calm.get_ylim()[1] < 1.2
    assert wild.texts[0].get_text() == "trades beyond this axis: 1, 9 to 9"
    assert wild.get_ylim()[1] < 1.5


def test_volume_adds_up() -> None:
    figure = plot_tape(make_tape(TRADED, [(1, 103, 4, 1, -1, -1), (9, 103, 5, 1, -1, -1)]))
    assert panel(figure, "Traded volume").patches[0].get_data().values.sum() == 9


def test_drawing_leaves_no_global_state() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    plot_tape(make_tape(TRADED))
    assert dict(mpl.rcParams) == before
