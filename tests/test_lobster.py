"""LOBSTER's files: reading, reveals, writing, and what is refused."""

import gzip
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketsim.codes import Cause
from marketsim.data.lobster import MISSING, read_lobster
from marketsim.data.reveals import levels_of_messages
from marketsim.errors import DataError
from marketsim.tape import Tape

LOBSTER = Path(__file__).parents[1].parent / "shared/data/lobster"
NAME = "XYZ_2020-02-03_34200000_57600000_{}_{}.csv"
GOOG = "LOBSTER_SampleFile_GOOG_2012-06-21_10.zip"
AAPL = "LOBSTER_SampleFile_AAPL_2012-06-21_1.zip"
HOUR = "AAPL_2012-06-21_34200000_37800000_message_10.derived.csv.gz"
AAPL_FIXTURE = "fixtures/AAPL_2012-06-21_first999_message_10.csv.gz"
MSFT_FIXTURE = "fixtures/MSFT_2012-06-21_first1950_message_50.csv.gz"
Row = tuple[Any, ...]
Sizes = dict[tuple[int, int], int]


def real(name: str) -> Path:
    if not (LOBSTER / name).exists():
        pytest.skip(f"real data is absent: {LOBSTER / name}")
    return LOBSTER / name


def snapshot(sizes: Sizes, levels: int) -> list[int]:
    """A row of an order-book file."""
    row: list[int] = []
    asks = sorted((p, s) for (side, p), s in sizes.items() if side < 0)
    bids = sorted(((p, s) for (side, p), s in sizes.items() if side > 0), reverse=True)
    for level in range(levels):
        row += asks[level] if level < len(asks) else (MISSING, 0)
        row += bids[level] if level < len(bids) else (-MISSING, 0)
    return row


def random_day(rows: int, levels: int, seed: int) -> tuple[list[Row], list[list[int]]]:
    """Flow around 100.00 as a source of ``levels`` levels reports it: what changes them."""
    rng = np.random.default_rng(seed)
    sizes: Sizes = {}
    orders: dict[int, list[int]] = {}
    messages: list[Row] = []
    books: list[list[int]] = []
    time_ns, next_id = 34_200_000_000_000, 1
    for _ in range(12):  # rests before the first message
        side, away = int(rng.choice([-1, 1])), int(rng.integers(1, 20))
        sizes[side, 1_000_000 - side * 100 * away] = 300
    while len(messages) < rows:
        time_ns += int(rng.exponential(1e7))
        draw = rng.random()
        before = snapshot(sizes, levels)
        if draw < 0.55 or not orders:
            side, away = int(rng.choice([-1, 1])), int(rng.integers(1, 20))
            price, size = 1_000_000 - side * 100 * away, int(rng.integers(1, 500))
            orders[next_id] = [side, price, size]
            sizes[side, price] = sizes.get((side, price), 0) + size
            message = (1, next_id, size, price, side)
            next_id += 1
        elif draw < 0.9:
            order_id = int(rng.choice(list(orders)))
            side, price, left = orders[order_id]
            part = int(rng.integers(1, left + 1))
            kind = int(rng.choice([2, 3, 4]))
            kind = 3 if kind == 2 and part == left else kind
            size = left if kind == 3 else part
            orders[order_id][2] -= size
            if not orders[order_id][2]:
                del orders[order_id]
            sizes[side, price] -= size
            if not sizes[side, price]:
                del sizes[side, price]
            message = (kind, order_id, size, price, side)
        else:
            message = [(5, 0, 7, 1_000_050, 1), (6, -1, 50, 1_000_000, -1), (7, 0, 0, 0, -1)][
                int(rng.integers(3))
            ]
        if message[0] > 4 or snapshot(sizes, levels) != before:
            messages.append((seconds(time_ns), *message))
            books.append(snapshot(sizes, levels))
    return messages, books


def seconds(time_ns: int) -> str:
    return f"{time_ns // 10**9}.{time_ns % 10**9:09d}".rstrip("0").rstrip(".")


def text(rows: Iterable[Iterable[Any]]) -> str:
    return "".join(",".join(map(str, row)) + "\n" for row in rows)


def write(folder: Path, messages: list[Row], books: list[list[int]] | None, levels: int) -> Path:
    path = folder / NAME.format("message", levels)
    path.write_text(text(messages))
    if books is not None:
        (folder / NAME.format("orderbook", levels)).write_text(text(books))
    return path


def naive_reveals(tape: Tape) -> list[tuple[int, ...]]:
    """The compiled pass, as a dict of level sizes a side."""
    orders, book = tape.orders, tape.book
    names = ("kind", "side", "price_ticks", "size_lots")
    messages = [*zip(*(orders[name].tolist() for name in names), strict=True)]
    out: list[tuple[int, ...]] = []
    state: Sizes = {}
    seen = {1: -(10**12), -1: -(10**12)}
    for row in range(-1, len(tape)):
        kind, side, price, size = messages[max(row, 0)]
        if row >= 0 and kind <= 4:
            change = size if kind == 1 else -size
            state[side, price] = max(0, state.get((side, price), 0) + change)
        for d, word in ((1, "bid"), (-1, "ask")):
            prices = getattr(book, f"{word}_price_ticks")[max(row, 0)].tolist()
            sizes = getattr(book, f"{word}_size_lots")[max(row, 0)].tolist()
            shown = {p: s for p, s in zip(prices, sizes, strict=True) if s}
            horizon = d * prices[-1] if sizes[-1] else -(10**12)
            known = {p for (e, p), s in state.items() if e == d and s and d * p >= horizon}
            for p in sorted(known | set(shown), key=lambda p: -d * p):
                old, new = state.get((d, p), 0), shown.get(p, 0)
                if old != new and row >= 0:
                    cause = Cause.ADDED if not old else Cause.GONE if not new else Cause.RESIZED
                    cause = Cause.UNEXPLAINED if d * p >= seen[d] else cause
                    out.append((row, d, p, old, new, cause))
                state[d, p] = new
            seen[d] = horizon
        if row < 0:
            if kind <= 4:
                change = -size if kind == 1 else size
                state[side, price] = max(0, state.get((side, price), 0) + change)
            levels = sorted((-d, -d * p, s) for (d, p), s in state.items() if s)
            out += [(-1, -e, key * -1 if -e > 0 else key, 0, s, Cause.OPEN) for e, key, s in levels]
    return out


def found_reveals(tape: Tape) -> list[tuple[int, ...]]:
    names = ("sequence", "side", "price_ticks", "size_before_lots", "size_lots", "cause")
    return [*zip(*(tape.reveals[name].tolist() for name in names), strict=True)]


def test_a_file_of_every_type(tmp_path: Path) -> None:
    messages = [
        ("34200.000000001", 1, 11, 100, 1_000_000, 1),
        ("34200.5", 4, 11, 40, 1_000_000, 1),
        ("34200.5", 5, 0, 7, 1_000_050, -1),
        ("34201", 6, -1, 500, 1_000_100, -1),
        ("34202", 7, 0, 0, -1, -1),
        ("34203", 2, 11, 10, 1_000_000, 1),
        ("86399.999999999", 3, 11, 50, 1_000_000, 1),
    ]
    sizes = [100, 60, 60, 60, 60, 50, 0]
    books = [[MISSING, 0, *((1_000_000, s) if s else (-MISSING, 0))] for s in sizes]
    tape = read_lobster(write(tmp_path, messages, books, 1), tick_size=0.01)
    assert tape.orders["time_ns"].tolist()[:3] == [34_200_000_000_001, *[34_200_500_000_000] * 2]
    assert tape.orders["time_ns"][-1] == 86_399_999_999_999
    assert tape.orders["kind"].tolist() == [1, 4, 5, 6, 7, 2, 3]
    assert tape.orders["price_ticks"].tolist() == [10000, 10000, 10000, 10001, -1, 10000, 10000]
    assert tape.orders["price_subticks"].tolist() == [0, 0, 50, 0, 0, 0, 0]
    trades = tape.trades
    assert trades["sequence"].tolist() == [1, 2, 3]
    assert trades["side"].tolist() == [-1, 1, 0]
    assert trades["maker_order_id"].tolist() == [11, 0, 0]
    assert trades["size_lots"].tolist() == [40, 7, 500]
    assert tape.book.bid_size_lots[:, 0].tolist() == sizes
    assert not tape.book.ask_size_lots.any() and not tape.book.ask_price_ticks.any()
    assert tape.reveals.size == 0
    meta = tape.meta
    assert (meta["symbol"], meta["date"], meta["levels"]) == ("XYZ", "2020-02-03", 1)
    assert (meta["open_ns"], meta["close_ns"]) == (34_200_000_000_000, 57_600_000_000_000)
    message, book = tape.to_lobster(tmp_path / "again")
    assert message.read_text() == text(messages) and book is not None
    assert book.read_text() == text(books)


@settings(max_examples=50)
@given(st.integers(0, 86_400_000_000_000))
def test_times_are_exact(tmp_path_factory: pytest.TempPathFactory, time_ns: int) -> None:
    folder = tmp_path_factory.mktemp("time")
    tape = read_lobster(write(folder, [(seconds(time_ns), 1, 1, 1, 100, 1)], None, 0))
    assert tape.orders["time_ns"].tolist() == [time_ns]
    assert tape.to_lobster(folder)[0].read_text().startswith(seconds(time_ns) + ",")


def test_decimals_beyond_the_ninth_are_rounded(tmp_path: Path) -> None:
    rows = [("35821.088778456004", 1, 1, 1, 100, 1), ("35821.9999999996", 1, 2, 1, 100, 1)]
    tape = read_lobster(write(tmp_path, rows, None, 0))
    assert tape.orders["time_ns"].tolist() == [35_821_088_778_456, 35_822_000_000_000]


def test_tick_is_the_common_divisor_of_visible_prices(tmp_path: Path) -> None:
    rows = [("1", 1, 1, 1, 1_000_500, 1), ("2", 1, 2, 1, 1_001_000, -1), ("3", 5, 0, 1, 77, 1)]
    path = write(tmp_path, rows, None, 0)
    tape = read_lobster(path)
    assert tape.meta["tick_size"] == 0.05 and tape.meta["units_per_tick"] == 500
    assert tape.orders["price_ticks"].tolist() == [2001, 2002, 0]
    assert tape.orders["price_subticks"].tolist() == [0, 0, 77]
    assert read_lobster(path, tick_size=0.01).orders["price_ticks"].tolist() == [10005, 10010, 0]
    with pytest.raises(DataError, match=r"row 1: price must be a multiple of the tick 0.1, was"):
        read_lobster(path, tick_size=0.1)
    with pytest.raises(DataError, match="tick_size must be a multiple"):
        read_lobster(path, tick_size=0.00003)


def test_every_way_to_give_the_files(tmp_path: Path) -> None:
    messages, books = random_day(50, 3, seed=0)
    path = write(tmp_path, messages, books, 3)
    book = tmp_path / NAME.format("orderbook", 3)
    digest = read_lobster(path).digest()
    packed = tmp_path / "zips"
    packed.mkdir()
    with zipfile.ZipFile(packed / "day.zip", "w") as archive:
        archive.write(path, path.name)
        archive.write(book, book.name)
        archive.writestr("LOBSTER_SampleFiles_ReadMe.txt", "x")
    gz = tmp_path / "gz"
    gz.mkdir()
    names = [gz / (p.stem + ".derived.csv.gz") for p in (path, book)]
    for source, target in zip((path, book), names, strict=True):
        target.write_bytes(gzip.compress(source.read_bytes().replace(b"\n", b"\r\n")))
    other = tmp_path / "other.csv"
    other.write_bytes(book.read_bytes())
    for tape in (
        read_lobster(tmp_path),
        read_lobster(packed / "day.zip"),
        read_lobster(names[0]),
        read_lobster(path, other),
        read_lobster(str(path), str(names[1])),
    ):
        assert tape.digest() == digest
        assert tape.meta["date"] == "2020-02-03" and tape.meta["symbol"] == "XYZ"
    book.unlink()
    alone = read_lobster(path)
    assert alone.meta["orderbook"] is None and alone.meta["levels"] == 0 == alone.reveals.size
    assert "reveals" not in alone.meta and alone.book.levels == 0
    assert alone.trades.size > 0
    again = read_lobster(alone.to_lobster(tmp_path / "w")[0])
    assert again.digest() == alone.digest()


def test_fewer_levels_on_request(tmp_path: Path) -> None:
    path = write(tmp_path, *random_day(200, 5, seed=1), 5)
    tape, part = read_lobster(path), read_lobster(path, levels=2)
    assert part.meta["levels"] == 2
    assert np.array_equal(part.book.bid_price_ticks, tape.book.bid_price_ticks[:, :2])
    assert found_reveals(part) == naive_reveals(part)
    for levels in (0, 6):
        with pytest.raises(DataError, match=f"levels must be 1 to 5, was {levels}"):
            read_lobster(path, levels=levels)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 150), st.integers(1, 8), st.integers(0, 10**6))
def test_random_days(
    tmp_path_factory: pytest.TempPathFactory, rows: int, levels: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("day")
    messages, books = random_day(rows, levels, seed)
    path = write(folder, messages, books, levels)
    tape = read_lobster(path)
    assert found_reveals(tape) == naive_reveals(tape)
    assert tape.meta["reveals"]["unexplained"] == 0
    copied = tape.to_lobster(folder / "copy")
    assert copied[0].read_bytes() == path.read_bytes()
    assert copied[1] is not None
    assert copied[1].read_bytes() == (folder / copied[1].name).read_bytes()
    assert read_lobster(copied[0], tick_size=tape.meta["tick_size"]).digest() == tape.digest()
    assert_explained(tape)


def assert_explained(tape: Tape, step: int = 37) -> None:
    """Messages and reveals together give every snapshot."""
    book = tape.book
    for row in range(0, len(tape), step):
        known = levels_of_messages(tape.orders, tape.reveals, row + 1)
        for side, word in ((1, "bid"), (-1, "ask")):
            ours = known[known[:, 0] == side][: book.levels, 1:]
            prices = getattr(book, f"{word}_price_ticks")[row][: len(ours)]
            sizes = getattr(book, f"{word}_size_lots")[row]
            assert np.array_equal(ours[:, 0], prices)
            assert np.array_equal(ours[:, 1], sizes[: len(ours)])
            assert not sizes[len(ours) :].any()


def test_a_change_in_sight_without_message_is_unexplained(tmp_path: Path) -> None:
    messages = [("1", 1, 1, 10, 10_000, 1), ("2", 1, 2, 10, 9_900, 1), ("3", 7, 0, 0, 1, -1)]
    books = [[MISSING, 0, 10_000, 10, MISSING, 0, -MISSING, 0]]
    books += [[MISSING, 0, 10_000, 10, MISSING, 0, 9_900, 10]]
    books += [[MISSING, 0, 10_000, 4, MISSING, 0, 9_900, 10]]
    tape = read_lobster(write(tmp_path, messages, books, 2))
    assert found_reveals(tape) == naive_reveals(tape) == [(2, 1, 100, 10, 4, Cause.UNEXPLAINED)]
    figures = tape.meta["reveals"]
    assert figures["unexplained"] == 1 and figures["best_equal_before"] == 2 / 3
    assert tape.reveals["time_ns"].tolist() == [3_000_000_000]


def test_opening_levels_are_the_first_snapshot_with_the_message_undone(tmp_path: Path) -> None:
    book = [[10_100, 5, 10_000, 30]]
    for message, sizes in (
        (("1", 1, 1, 10, 10_000, 1), {100: 20, 101: 5}),
        (("1", 1, 1, 30, 10_000, 1), {101: 5}),
        (("1", 3, 1, 10, 10_000, 1), {100: 40, 101: 5}),
        (("1", 4, 1, 7, 10_050, 1), {100.5: 7, 100: 30, 101: 5}),
        (("1", 5, 0, 7, 10_000, 1), {100: 30, 101: 5}),
    ):
        tape = read_lobster(write(tmp_path, [message], book, 1), tick_size=0.005)
        reveals = tape.reveals
        assert dict(
            zip((reveals["price_ticks"] / 2).tolist(), reveals["size_lots"], strict=True)
        ) == (sizes)
        assert set(reveals["cause"]) == {Cause.OPEN} and set(reveals["sequence"]) == {-1}


def test_between_keeps_levels_out_of_sight(tmp_path: Path) -> None:
    tape = read_lobster(write(tmp_path, *random_day(300, 2, seed=5), 2))
    part = tape.between(int(tape.orders["time_ns"][150]), "24:00")
    assert len(part) == 150 and "reveals" not in part.meta
    assert_explained(part, step=7)
    first = part.reveals["sequence"] == -1
    assert first.sum() > 4 and set(part.reveals["cause"][first]) == {Cause.OPEN}
    assert np.array_equal(
        levels_of_messages(part.orders, part.reveals, 0),
        levels_of_messages(tape.orders, tape.reveals, 150),
    )


def test_fifty_columns(tmp_path: Path) -> None:
    messages = [
        ("1", 1, 1, 10, 10_000, 1),
        ("2.5", 1, 2, 30, 10_200, -1),
        ("3", 4, 1, 4, 10_000, 1),
    ]
    books = [[MISSING, 0, 10_000, 10], [10_200, 30, 10_000, 10], [10_200, 30, 10_000, 6]]
    tape = read_lobster(write(tmp_path, messages, books, 1))
    lines = tape.to_trades_lob(tmp_path / "out.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines]
    assert {len(row) for row in rows} == {50}
    assert lines[0].startswith(
        "time,type,order_id,size,price,direction,ask_price_1,ask_size_1,bid_price_1,bid_size_1,"
    )
    assert rows[0][-4:] == ["mid_price", "spread", "order_volume_imbalance", "vwap"]
    assert rows[1][-4:] == ["", "", "1", ""]
    assert rows[2][-4:] == ["10100", "200", "-0.5", ""]
    assert rows[3][:6] == ["3", "4", "1", "4", "10000", "1"] and rows[3][-1] == "10000"
    assert rows[3][10:14] == [str(MISSING), "0", str(-MISSING), "0"]


def with_deltas(tape: Tape) -> Tape:
    """The tape as a replay through the exchange leaves it: changes of levels, no snapshots."""
    state: Sizes = {}
    deltas: list[tuple[int, ...]] = []
    reveals = found_reveals(tape)
    names = ("kind", "side", "price_ticks", "size_lots")
    messages = [*zip(*(tape.orders[name].tolist() for name in names), strict=True)]
    for row, (kind, side, price, size) in enumerate([(7, 0, 0, 0), *messages], -1):
        before = dict(state)
        if kind <= 4:
            change = size if kind == 1 else -size
            state[side, price] = max(0, state.get((side, price), 0) + change)
        state.update({(d, p): after for at, d, p, _, after, _ in reveals if at == row})
        deltas += [(row, *x, state[x]) for x in state if state[x] != before.get(x, 0)]
    columns = np.array(deltas, np.int64).reshape(-1, 4)
    table = {name: columns[:, i] for i, name in enumerate(("sequence", *names[1:]))}
    return Tape(tape.orders, tape.trades, tape.meta, reveals=tape.reveals, deltas=table)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 80), st.integers(1, 4), st.integers(0, 10**6))
def test_a_replayed_day_is_written_as_it_was_read(
    tmp_path_factory: pytest.TempPathFactory, rows: int, levels: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("replayed")
    path = write(folder, *random_day(rows, levels, seed), levels)
    tape = with_deltas(read_lobster(path))
    assert_rewritten(tape, path, folder / "again")


def assert_rewritten(tape: Tape, path: Path, folder: Path) -> None:
    message, book = tape.to_lobster(folder)
    original = read_lobster(path, tick_size=tape.meta["tick_size"])
    copy = read_lobster(message, book, tick_size=tape.meta["tick_size"])
    assert copy.digest() == original.digest()


def test_a_replayed_hour_is_written_as_it_was_read(tmp_path: Path) -> None:
    for name in (AAPL_FIXTURE, MSFT_FIXTURE):
        path = real(name)
        assert_rewritten(with_deltas(read_lobster(path)), path, tmp_path / path.stem)


@pytest.mark.parametrize("name", [HOUR, AAPL_FIXTURE, MSFT_FIXTURE, AAPL])
def test_real_days(name: str, tmp_path: Path) -> None:
    tape = read_lobster(real(name))
    figures = tape.meta["reveals"]
    assert figures["unexplained"] == 0
    if tape.meta["levels"] >= 10:
        assert figures["best_equal_before"] == 1.0 and figures["levels_equal_before"] >= 0.957
    assert_explained(tape, max(1, len(tape) // 50))
    assert read_lobster(tape.to_lobster(tmp_path)[0]).digest() == tape.digest()


@pytest.mark.parametrize("name", [AAPL_FIXTURE, MSFT_FIXTURE])
def test_the_compiled_pass_equals_its_naive_twin_on_real_data(name: str) -> None:
    tape = read_lobster(real(name))
    assert found_reveals(tape) == naive_reveals(tape)


def test_a_message_file_without_book_of_real_data() -> None:
    tape = read_lobster(real("AAPL_2012-06-21_34200000_37800000_message_50.csv.gz"))
    assert len(tape) == 91_997 and tape.meta["orderbook"] is None


@pytest.mark.slow
def test_a_full_day(tmp_path: Path) -> None:
    path = real(GOOG)
    tape = read_lobster(path)
    figures = tape.meta["reveals"]
    assert len(tape) == figures["rows"] == 147_916
    assert figures["best_equal_before"] == 1.0 and figures["levels_equal_before"] >= 0.957
    assert tape.reveals.size <= 8_500 and figures["unexplained"] == 0
    assert_explained(tape, 5_000)
    message, book = tape.to_lobster(tmp_path)
    assert book is not None
    with zipfile.ZipFile(path) as archive:
        assert archive.read(message.name) == message.read_bytes()
        assert archive.read(book.name) == book.read_bytes()
    assert read_lobster(message).digest() == tape.digest()
    tape.save(tmp_path / "tape")
    part = tmp_path / "tape" / "part-00000"
    stored = sum((part / f"{name}.parquet").stat().st_size for name in ("orders", "trades"))
    assert stored <= 8 * len(tape)
    assert Tape.load(tmp_path / "tape").digest() == tape.digest()
