"""The tape in memory, on disk and streamed: same content, same digest, plain errors."""

import json
import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketsim.codes import Cause, OrderKind
from marketsim.errors import ConfigError, DataError
from marketsim.tape import BookTable, MemoryTape, StreamTape, Table, Tape

ORDER = np.dtype(
    [(name, "i8") for name in ("time_ns", "sequence", "symbol", "kind", "order_id", "agent_id")]
    + [(name, "i8") for name in ("side", "price_ticks", "size_lots", "hidden_lots")]
    + [("price_subticks", "i8")]
)
TRADE = np.dtype(
    [(name, "i8") for name in ("time_ns", "sequence", "symbol", "price_ticks", "price_subticks")]
    + [(name, "i8") for name in ("size_lots", "side", "maker_order_id", "taker_order_id")]
    + [(name, "i8") for name in ("maker_agent_id", "taker_agent_id")]
)
DELTA = np.dtype(
    [(name, "i8") for name in ("sequence", "symbol", "side", "price_ticks", "size_lots")]
)
META = {"symbol": "XYZ", "tick_size": 0.01, "levels": 3, "seed": 7}
HOUR = 3_600_000_000_000


def flow(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random rows in the simulation's layout; every seventh one trades, each changes a level."""
    rng = np.random.default_rng(seed)
    orders = np.zeros(rows, ORDER)
    orders["time_ns"] = 10 * HOUR + np.cumsum(rng.exponential(1e6, rows)).astype("i8")
    orders["sequence"] = np.arange(rows)
    orders["kind"] = rng.choice([1, 3, 8], rows)
    orders["order_id"] = np.arange(rows) + 1
    orders["agent_id"] = rng.integers(-1, 50, rows)
    orders["side"] = rng.choice([-1, 1], rows)
    orders["size_lots"] = rng.integers(1, 500, rows)
    orders["price_ticks"] = 1000 - orders["side"] * rng.integers(1, 9, rows)
    trades = np.zeros(len(range(0, rows, 7)), TRADE)
    for name in ("time_ns", "sequence", "price_ticks", "size_lots", "side"):
        trades[name] = orders[name][::7]
    deltas = np.zeros(rows, DELTA)
    for name in ("sequence", "side", "price_ticks"):
        deltas[name] = orders[name]
    deltas["size_lots"] = rng.integers(0, 3, rows) * 100
    return orders, trades, deltas


def in_memory(rows: int = 100, step: int = 30, seed: int = 0) -> Tape:
    writer = MemoryTape()
    feed(writer, rows, step, seed)
    return writer.finish(META)


def feed(writer: MemoryTape | StreamTape, rows: int, step: int, seed: int = 0) -> None:
    orders, trades, deltas = flow(rows, seed)
    for start in range(0, rows, step):
        bounds = (start, start + step)
        writer.append(
            *(t[slice(*np.searchsorted(t["sequence"], bounds))] for t in (orders, trades, deltas))
        )


def snapshots_tape(rows: int = 20, levels: int = 2) -> Tape:
    orders, trades, _ = flow(rows)
    price = 1000 + np.arange(levels)
    size = np.random.default_rng(1).integers(1, 100, (4, rows, levels))
    ones = np.ones((rows, 1), int)
    book = BookTable(
        orders["time_ns"],
        np.arange(rows),
        ones * (999 - price + 1000),
        size[0],
        ones * price,
        size[1],
    )
    return Tape(orders, trades, {**META, "levels": levels}, book=book)


def naive_book(tape: Tape, levels: int) -> list[list[tuple[int, int]]]:
    """Top levels after each row, from a dict of level sizes."""
    state: dict[tuple[int, int], int] = {}
    rows = [*zip(*(tape.deltas[name].tolist() for name in tape.deltas), strict=True)]
    out = []
    for sequence in range(len(tape)):
        for at, side, price, size in rows:
            if at == sequence or (sequence == 0 and at < 0):
                state[side, price] = size
        for side in (1, -1):
            there = sorted((-side * p, s) for (d, p), s in state.items() if d == side and s)
            best = [(-side * key, size) for key, size in there[:levels]]
            out.append(best + [(0, 0)] * (levels - len(best)))
    return out


def test_tables_are_typed_and_read_only() -> None:
    tape = in_memory()
    assert list(tape.orders) == [
        "time_ns", "sequence", "kind", "order_id", "agent_id", "side",
        "price_ticks", "size_lots", "hidden_lots", "price_subticks",
    ]  # fmt: skip
    assert tape.orders["kind"].dtype == np.int8 and tape.orders["agent_id"].dtype == np.int32
    assert len(tape) == tape.orders.size == len(tape.orders.rows) == 100
    with pytest.raises(ValueError, match="read-only"):
        tape.orders["size_lots"][0] = 1
    frame = tape.orders.to_pandas()
    assert frame.shape == (100, 10) and frame["order_id"].tolist() == list(range(1, 101))
    assert tape.book.to_pandas().shape == (100, 2 + 4 * 3)


def test_missing_columns_take_their_defaults() -> None:
    one = {"time_ns": [5], "kind": [1], "order_id": [9], "side": [1], "price_ticks": [2]}
    table = Table("orders", {**one, "size_lots": [3]})
    assert table["agent_id"][0] == -1 and table["hidden_lots"][0] == 0 == table["sequence"][0]
    with pytest.raises(DataError, match="orders: column 'size_lots' is missing"):
        Table("orders", one)
    with pytest.raises(DataError, match="size_lots must be a column of integers"):
        Table("orders", {**one, "size_lots": [0.5]})
    with pytest.raises(DataError, match="size_lots must have 1 rows, had 2"):
        Table("orders", {**one, "size_lots": [1, 2]})
    with pytest.raises(DataError, match="side must fit int8, was 300"):
        Table("orders", {**one, "size_lots": [1], "side": [300]})


def test_rows_out_of_order_are_refused() -> None:
    orders, trades, deltas = flow(10)
    late = orders.copy()
    late["time_ns"][3] = 0
    with pytest.raises(DataError, match="time_ns must not fall, row 3 does"):
        Tape(late, trades, META)
    with pytest.raises(DataError, match="trades: sequence must rise"):
        Tape(orders, trades[::-1], META)
    with pytest.raises(DataError, match="must count the rows from 0"):
        Tape(orders[2:], trades, META)
    with pytest.raises(DataError, match="book and deltas exclude"):
        Tape(orders, trades, META, book=snapshots_tape().book, deltas=deltas)
    with pytest.raises(DataError, match="must have 10 snapshots of 2 levels"):
        Tape(orders, trades, {"levels": 2}, book=snapshots_tape(20).book)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(0, 10**6), st.integers(1, 5))
def test_book_is_rebuilt_as_a_dict_would(rows: int, seed: int, levels: int) -> None:
    orders, trades, deltas = flow(rows, seed)
    tape = Tape(orders, trades, {**META, "levels": levels}, deltas=deltas)
    book = tape.book
    found = []
    for row in range(rows):
        for side in ("bid", "ask"):
            prices = getattr(book, f"{side}_price_ticks")[row].tolist()
            sizes = getattr(book, f"{side}_size_lots")[row].tolist()
            found.append([*zip(prices, sizes, strict=True)])
    assert found == naive_book(tape, levels)
    assert tape.book is book


def test_many_levels_make_the_ladder_grow() -> None:
    rows = 2000
    orders, trades, deltas = flow(rows)
    deltas["side"], deltas["size_lots"] = 1, 5
    deltas["price_ticks"] = np.random.default_rng(0).permutation(rows)
    tape = Tape(orders, trades, META, deltas=deltas)
    assert tape.book.bid_price_ticks[-1].tolist() == [rows - 1, rows - 2, rows - 3]
    assert not tape.book.ask_size_lots.any()


def test_between_cuts_and_opens_with_the_known_levels() -> None:
    tape = in_memory()
    times = tape.orders["time_ns"]
    part = tape.between(int(times[40]), int(times[70]))
    assert len(part) == 30 and part.orders["sequence"].tolist() == list(range(30))
    assert part.orders["order_id"][0] == 41
    assert part.trades["sequence"].tolist() == [s - 40 for s in range(42, 70, 7)]
    for name in ("bid_price_ticks", "bid_size_lots", "ask_price_ticks", "ask_size_lots"):
        assert np.array_equal(getattr(part.book, name), getattr(tape.book, name)[40:70])
    opening = part.reveals["cause"] == Cause.OPEN
    assert opening.any() and (part.reveals["sequence"][opening] == -1).all()
    assert part.meta["between"] == [int(times[40]), int(times[70])]
    assert tape.between(0, "24:00") is tape
    assert len(tape.between("09:00", "09:30")) == 0
    assert tape.between("10:00", "10:00:00.05").digest() == (
        tape.between(10 * HOUR, 10 * HOUR + 50_000_000).digest()
    )
    with pytest.raises(ConfigError, match="start must be HH:MM"):
        tape.between("ten", "11:00")
    with pytest.raises(DataError, match="end must not be before start"):
        tape.between("11:00", "10:00")


def test_between_a_part_of_a_part_is_a_part() -> None:
    tape = in_memory()
    low, middle, high = (int(tape.orders["time_ns"][i]) for i in (10, 30, 80))
    assert tape.between(low, high).between(middle, high).digest() == (
        tape.between(middle, high).digest()
    )


def test_snapshots_are_cut_with_the_orders() -> None:
    tape = snapshots_tape()
    part = tape.between(int(tape.orders["time_ns"][5]), "24:00")
    assert part.book.sequence.tolist() == list(range(15))
    assert np.array_equal(part.book.bid_size_lots, tape.book.bid_size_lots[5:])


def test_digest_is_the_same_in_memory_saved_and_streamed(tmp_path: Path) -> None:
    tape = in_memory(1000, 30)
    tape.save(tmp_path / "saved")
    stream = StreamTape(tmp_path / "streamed", META, part_rows=100)
    feed(stream, 1000, 45)
    streamed = stream.finish(META)
    loaded = Tape.load(tmp_path / "saved")
    assert tape.digest() == loaded.digest() == streamed.digest()
    assert len(list((tmp_path / "streamed").glob("part-*"))) > 5
    assert len(streamed) == 1000 and streamed.meta["complete"] and streamed.meta["seed"] == 7
    assert np.array_equal(streamed.book.ask_size_lots, tape.book.ask_size_lots)
    assert streamed.digest() == tape.digest()  # once more, from memory
    other = in_memory(1000, 30, seed=1)
    assert other.digest() != tape.digest()


def test_digest_knows_units_and_book(tmp_path: Path) -> None:
    orders, trades, deltas = flow(50)
    digests = {
        Tape(orders, trades, {**META, **extra}, deltas=deltas if book else None).digest()
        for book in (True, False)
        for extra in ({}, {"symbol": "B"}, {"tick_size": 0.02}, {"lot_size": 100}, {"levels": 9})
    }
    assert len(digests) == 10
    assert Tape(orders, trades, {**META, "seed": 8}, deltas=deltas).digest() in digests


@pytest.mark.parametrize("rows", [0, 1, 20])
def test_snapshots_survive_the_disk(tmp_path: Path, rows: int) -> None:
    tape = snapshots_tape(rows)
    tape.save(tmp_path)
    loaded = Tape.load(tmp_path)
    assert loaded.digest() == tape.digest() and loaded.deltas is None
    assert np.array_equal(loaded.book.bid_price_ticks, tape.book.bid_price_ticks)
    assert loaded.digest() == tape.digest()
    assert len(loaded) == rows and loaded.book.levels == 2


def test_reveals_are_saved_with_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marketsim.tape_io.PART_ROWS", 7)
    orders, trades, deltas = flow(20)
    times = orders["time_ns"][[0, 0, 6, 7, 19]]
    reveals = {
        "time_ns": times, "sequence": [-1, 0, 6, 7, 19], "side": [1] * 5, "price_ticks": [1] * 5,
        "size_before_lots": [0] * 5, "size_lots": [3] * 5,
        "cause": [Cause.OPEN] + [Cause.ADDED] * 4,
    }  # fmt: skip
    tape = Tape(orders, trades, META, reveals=reveals, deltas=deltas)
    tape.save(tmp_path)
    assert len(list(tmp_path.glob("part-*"))) == 3
    assert Tape.load(tmp_path).digest() == tape.digest()
    stream = StreamTape(tmp_path / "s", part_rows=7)
    feed(stream, 20, 7)
    assert stream.finish(META, reveals=reveals).digest() == tape.digest()


def test_saving_again_replaces_parts_and_keeps_other_files(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("{}")
    in_memory(100).save(tmp_path)
    loaded = Tape.load(tmp_path)
    loaded.save(tmp_path)  # onto itself, not yet read
    small = in_memory(10)
    small.save(tmp_path)
    assert Tape.load(tmp_path).digest() == small.digest()
    assert (tmp_path / "summary.json").exists()


def test_an_unfinished_stream_is_a_readable_prefix(tmp_path: Path) -> None:
    code = """
        import os, sys
        sys.path.insert(0, {tests!r})
        from test_tape import META, StreamTape, feed
        writer = StreamTape({folder!r}, META, part_rows=100)
        feed(writer, 1050, 50)
        writer._wait()
        os._exit(1)  # as a kill would
    """
    script = textwrap.dedent(code).format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    subprocess.run([sys.executable, "-c", script], check=False)
    tape = Tape.load(tmp_path)
    assert tape.meta["complete"] is False and tape.meta["symbol"] == "XYZ"
    assert len(tape) == 1000
    times = in_memory(1050).orders["time_ns"]
    assert np.array_equal(tape.orders["time_ns"], times[:1000])
    assert tape.between(0, int(times[500])).orders.size == 500


def test_an_interrupted_run_may_say_so(tmp_path: Path) -> None:
    writer = StreamTape(tmp_path)
    feed(writer, 10, 5)
    assert writer.finish({**META, "complete": False}).meta["complete"] is False


def test_a_full_disk_is_a_plain_error_and_keeps_what_was_written(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the full disk: the write fails the same way."""
    writer = StreamTape(tmp_path, META, part_rows=100)
    feed(writer, 100, 100)
    writer._wait()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(DataError, match=r"part-00001: cannot be written \("):
            writer.append(*(part[:0] for part in flow(1)))
            feed(writer, 1000, 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.json", "part-00000"]
    with pytest.raises(DataError, match="part-00001"):  # there is room again, but rows are lost
        writer.finish(META)
    tape = Tape.load(tmp_path)
    assert len(tape) == 100 and tape.meta["complete"] is False


def test_unwritable_and_foreign_folders_are_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(DataError, match=r"file.*cannot be written"):
        in_memory(10).save(file / "tape")
    with pytest.raises(DataError, match="cannot be written"):
        StreamTape(file)
    foreign = tmp_path / "foreign"
    (foreign / "part-00000").mkdir(parents=True)
    with pytest.raises(DataError, match="part-00000, which is not a tape's"):
        in_memory(10).save(foreign)


def test_damaged_tapes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        Tape.load(tmp_path / "none")
    with pytest.raises(DataError, match="is not a tape"):
        Tape.load(tmp_path)
    manifest = tmp_path / "manifest.json"
    for text, message in (("{", "cannot be read"), ("{}", "not a tape's"), ("[]", "not a tape's")):
        manifest.write_text(text)
        with pytest.raises(DataError, match=message):
            Tape.load(tmp_path)
    manifest.unlink()
    in_memory(100).save(tmp_path)
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "version": 99}))
    with pytest.raises(DataError, match="version must be 1, was 99"):
        Tape.load(tmp_path)
    manifest.write_text(json.dumps(content))
    orders = tmp_path / "part-00000" / "orders.parquet"
    whole = orders.read_bytes()
    orders.write_bytes(whole[:-100])
    with pytest.raises(DataError, match=r"orders\.parquet: cannot be read"):
        Tape.load(tmp_path)
    orders.write_bytes(whole)
    os.rename(tmp_path / "part-00000", tmp_path / "elsewhere")
    with pytest.raises(DataError, match="must have 1 parts, had 0"):
        Tape.load(tmp_path)


def test_importing_the_tape_loads_no_heavy_library() -> None:
    code = "import sys, marketsim.tape; print([m for m in sys.modules if m in {names!r}])"
    names = ("pandas", "pyarrow", "matplotlib", "numba")
    # The package itself may import more: only what the module adds is looked at.
    code = "import sys, importlib.util; " + code.format(names=names)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_tape_without_book(tmp_path: Path) -> None:
    orders, trades, _ = flow(10)
    tape = Tape(orders, trades, META | {"levels": 0})
    assert tape.book.levels == 0 and tape.book.size == 10 and tape.deltas is None
    tape.save(tmp_path)
    assert Tape.load(tmp_path).digest() == tape.digest()
    assert (tape.orders["kind"] <= OrderKind.STOP).all()
    assert "10 orders" in repr(tape)
