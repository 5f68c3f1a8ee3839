"""Windows of returns: splits by time that share nothing, the archive, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketsim.data.return_windows import Windows, read_windows, write_windows
from marketsim.errors import ConfigError, DataError


def windows(starts: Any, steps: int = 4, step_s: int = 3600) -> Windows:
    """Windows that start at these steps (-1: unknown); the first return says which one it is."""
    starts = np.asarray(starts, np.int64)
    n = len(starts)
    returns = np.random.default_rng(0).normal(0, 0.01, (n, steps, 2)).astype(np.float32)
    returns[:, 0, 0] = np.arange(n)
    start_s = np.where(starts < 0, -1, starts * step_s)
    return Windows(returns, np.full((n, 2), 10.0), start_s, ("A", "B"), step_s)


@settings(max_examples=200, deadline=None)
@given(
    starts=st.lists(st.integers(0, 60), min_size=3, max_size=60),
    unknown=st.integers(0, 3),
    steps=st.integers(1, 6),
    shares=st.sampled_from([(0.5, 0.5), (0.8, 0.2), (0.6, 0.2, 0.2), (0.25,) * 4]),
    purge=st.integers(0, 5),
    seed=st.integers(0, 99),
)
def test_parts_share_no_price(
    starts: list[int], unknown: int, steps: int, shares: tuple[float, ...], purge: int, seed: int
) -> None:
    order = np.random.default_rng(seed).permutation([*starts, *[-1] * unknown])
    whole = windows(order, steps)
    try:
        parts = whole.split(*shares, purge_s=purge * 3600.0, unknown="first")
    except DataError as error:
        assert "has none" in str(error)
        return
    assert len(parts) == len(shares)
    seen: set[int] = set()
    for number, part in enumerate(parts):
        rows = part.log_returns[:, 0, 0].astype(int).tolist()
        assert not seen & set(rows)
        seen |= set(rows)
        hours = part.start_s // 3600
        assert (np.diff(hours) >= 0).all()  # sorted; -1 first
        np.testing.assert_array_equal(part.start_s, whole.start_s[rows])
        if number == 0:
            assert (hours[: int(unknown)] == -1).all()
            continue
        earlier = parts[number - 1].start_s // 3600
        if earlier.max() < 0:
            continue
        # prices of a window: hours s to s + steps
        assert earlier.max() + steps + purge < hours.min()
    first_of = [part.start_s.min() for part in parts[1:]]
    lost = [row for row in range(len(whole)) if row not in seen]
    for row in lost:  # only what reaches over into the next part is left out
        end = whole.start_s[row] + steps * 3600 + purge * 3600
        assert any(whole.start_s[row] < first <= end for first in first_of)


def test_shares_are_of_the_windows() -> None:
    parts = windows(np.arange(0, 1000, 10)).split(0.7, 0.1, 0.2)
    assert [len(part) for part in parts] == [70, 10, 20]
    overlapping = windows(np.arange(100), steps=24).split(0.5, 0.5)
    assert [len(part) for part in overlapping] == [26, 50]
    wider = windows(np.arange(100), steps=24).split(0.5, 0.5, purge_s=3600)
    assert [len(part) for part in wider] == [25, 50]


def test_unknown_starts() -> None:
    some = windows([5, -1, 90, 40, -1, 70])
    with pytest.raises(DataError, match=r"2 of 6 have no known start \(-1\): say unknown='drop'"):
        some.split(0.5, 0.5)
    dropped, first = some.split(0.5, 0.5, unknown="drop"), some.split(0.5, 0.5, unknown="first")
    assert [part.start_s.tolist() for part in dropped] == [[18_000, 144_000], [252_000, 324_000]]
    assert first[0].start_s.tolist() == [-1, -1, 18_000]
    assert first[1].start_s.tolist() == [144_000, 252_000, 324_000]


def test_splits_that_cannot_be() -> None:
    some = windows([0, 10, 20])
    for shares in ((1.0,), (0.5, 0.6), (), (0.1, 0.1)):
        with pytest.raises(ConfigError, match="shares: must be two or more, 1 in all"):
            some.split(*shares)
    with pytest.raises(ConfigError, match=r"shares\[1\] must be > 0, was -0.2"):
        some.split(1.2, -0.2)
    with pytest.raises(ConfigError, match="unknown must be one of refuse, drop, first"):
        some.split(0.5, 0.5, unknown="last")
    with pytest.raises(ConfigError, match="purge_s must be >= 0, was -1"):
        some.split(0.5, 0.5, purge_s=-1)
    with pytest.raises(DataError, match="too few to split, part 0 of 3 windows has none"):
        some.split(0.01, 0.99)
    with pytest.raises(DataError, match="too few to split, part 0 of 3"):
        windows([0, 1, 2]).split(0.5, 0.5)
    for share in (1e-6, 0.1):  # of three windows, none
        with pytest.raises(DataError, match="too few to split, part 1 of 3 windows has none"):
            some.split(1 - share, share)
    with pytest.raises(DataError, match="too few to split, part 1 of 3 windows has none"):
        some.split(0.55, 0.1, 0.35)
    for wrong in ("x", None):
        with pytest.raises(ConfigError, match=r"shares\[1\] must be a finite number"):
            some.split(0.5, wrong)  # type: ignore[arg-type]


def fields(**changes: Any) -> dict[str, Any]:
    some = windows([0, 10, 20])
    return {**vars(some), **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"log_returns": np.zeros((3, 4))}, r"must be of shape \[n, T, d\], was \[3, 4\]"),
        ({"log_returns": np.zeros((0, 4, 2))}, r"must be of shape \[n, T, d\], was \[0, 4, 2\]"),
        ({"log_returns": np.zeros((3, 4, 2))}, "must be float32, was float64"),
        (
            {"log_returns": np.full((3, 4, 2), np.nan, np.float32)},
            "window 0 step 0 asset 0 was nan",
        ),
        ({"log_returns": np.full((3, 4, 2), np.inf, np.float32)}, "must be finite"),
        ({"initial_prices": np.ones((3, 3))}, r"initial_prices: must be of shape \[3, 2\]"),
        ({"initial_prices": np.zeros((3, 2))}, "must be > 0, window 0 asset 0 was 0.0"),
        ({"start_s": np.zeros(4, np.int64)}, r"start_s: must be of shape \[3\]"),
        ({"symbols": ("A", "A")}, r"symbols: must differ, was \['A', 'A'\]"),
        ({"symbols": ("A",)}, r"symbols: must be of shape \[2\], .* was of \[1\]"),
    ],
)
def test_windows_that_are_none(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Windows(**fields(**changes))


def test_archive_round_trip(tmp_path: Path) -> None:
    some = windows([5, -1, 90], step_s=900)
    write_windows(some, tmp_path / "some.npz")
    again = read_windows(tmp_path / "some.npz")
    for name in ("log_returns", "initial_prices", "start_s"):
        np.testing.assert_array_equal(getattr(again, name), getattr(some, name))
    assert (again.symbols, again.step_s) == (some.symbols, 900)
    assert [path.name for path in tmp_path.iterdir()] == ["some.npz"]
    with pytest.raises(DataError, match="cannot be written: No such file or directory"):
        write_windows(some, tmp_path / "nowhere" / "some.npz")


def test_an_archive_of_returns_alone(tmp_path: Path) -> None:
    returns = np.random.default_rng(0).normal(size=(5, 3, 2)).astype(np.float32)
    np.savez(tmp_path / "some.npz", log_return=returns)
    some = read_windows(tmp_path / "some.npz", step_s=60)
    assert (some.symbols, some.step_s) == (("asset 1", "asset 2"), 60)
    assert (some.start_s == -1).all() and (some.initial_prices == 1).all()


def test_archives_that_are_none(tmp_path: Path) -> None:
    file = tmp_path / "some.npz"
    with pytest.raises(DataError, match="no such file"):
        read_windows(file)
    file.write_bytes(b"PK\x03\x04no")
    with pytest.raises(DataError, match="cannot be read as an archive of arrays"):
        read_windows(file)
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(file)
    with pytest.raises(DataError, match="cannot be read as an archive of arrays"):
        read_windows(file)
    np.savez(file, returns=np.zeros((2, 3, 4)))
    with pytest.raises(DataError, match="has no array log_return, but returns"):
        read_windows(file)
    np.savez(file, log_return=np.full((2, 3, 4), np.nan))
    with pytest.raises(DataError, match="some.npz: windows.log_returns: must be finite"):
        read_windows(file)
    np.savez(file, log_return=np.array([["a"]], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read as an archive of arrays"):
        read_windows(file)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"log_return": np.ones((2, 3, 1)) * 1j}, "array log_return must hold numbers, was compl"),
        (
            {"log_return": np.full((2, 3, 1), 1e300)},
            "must be finite, window 0 step 0 asset 0 was i",
        ),
        ({"start_unix": [0.0, np.nan]}, "array start_unix must hold whole numbers, was float64"),
        ({"start_unix": np.full(2, np.datetime64("2024-01-01"))}, "array start_unix must hold who"),
        ({"init_price": [["a"], ["b"]]}, "array init_price must hold numbers, was <U1"),
        ({"step_s": 1.5}, "array step_s must hold whole numbers, was float64"),
        ({"step_s": [60, 60]}, "some.npz: .* size 1"),
        ({"assets": "AB"}, None),
        ({"assets": ["A", "B"]}, r"symbols: must be of shape \[1\]"),
    ],
)
def test_arrays_that_numpy_would_quietly_cast(
    arrays: dict[str, Any], message: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "some.npz"
    np.savez(file, **{"log_return": np.full((2, 3, 1), 0.01, np.float32), **arrays})
    if message is None:
        assert read_windows(file).symbols == ("AB",)
        return
    with pytest.raises(DataError, match=message):
        read_windows(file)
