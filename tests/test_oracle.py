"""Fundamental values: their law, interpolation and files, and that nobody disturbs them."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketsim.agent import Agent
from marketsim.cli import main
from marketsim.errors import ConfigError, DataError
from marketsim.market import Market
from marketsim.oracle import (
    FileOracle,
    MeanReverting,
    PricePath,
    SparseMeanReverting,
    fundamental_of,
    path_of,
)
from marketsim.simulation import Simulation

SECOND = 1_000_000_000
OPEN, CLOSE = 34_200 * SECOND, 34_800 * SECOND


@settings(max_examples=200, deadline=None)
@given(st.data(), st.booleans())
def test_between_points_it_is_linear_and_beyond_them_constant(data: Any, regular: bool) -> None:
    """As np.interp, on grids and on any increasing times."""
    n = data.draw(st.integers(1, 12))
    start = data.draw(st.integers(0, CLOSE))
    steps = st.integers(1, 5_000_000_000)
    gaps = [data.draw(steps)] * (n - 1) if regular else [data.draw(steps) for _ in range(n - 1)]
    times = start + np.cumsum([0, *gaps])
    prices = np.array(data.draw(st.lists(st.floats(0, 1e6), min_size=n, max_size=n)))
    market = Market()
    PricePath(times, prices).write(market, 0)
    path = path_of(market, 0)
    assert path is not None
    assert path.time_ns.tolist() == times.tolist() and path.price_ticks.tolist() == prices.tolist()
    asked = data.draw(st.lists(st.integers(start - 10**10, int(times[-1]) + 10**10), max_size=9))
    for now in [*asked, *times.tolist(), *(times + 1).tolist(), *(times - 1).tolist()]:
        market.header["now_ns"] = now
        expected = np.interp(float(now - start), (times - start).astype(float), prices)
        assert fundamental_of(market.address, 0) == pytest.approx(expected, rel=1e-9, abs=1e-6)


SPAN = 600 * SECOND


def ends(oracle: Any, seeds: int = 1500) -> Any:
    """Last values of paths of ten minutes."""
    rng = np.random.default_rng(5)
    return np.array([oracle.draw(rng, OPEN, CLOSE).price_ticks[-1] for _ in range(seeds)])


@pytest.mark.parametrize("kappa", [0.0, 1e-12, 5e-12, 1e-10])
@pytest.mark.parametrize("step", ["1s", "7s", "10min"])
def test_the_ornstein_uhlenbeck_law(kappa: float, step: str) -> None:
    """Mean r̄ and variance σ² (1 - exp(-2 κ d)) / (2 κ), whatever the grid; κ = 0 is σ² d."""
    sigma, seeds = 1e-4, 1500
    oracle = SparseMeanReverting(100_000, kappa, sigma, megashock_rate=0, step=step)
    last = ends(oracle, seeds)
    span = -(-600 // 7) * 7 * SECOND if step == "7s" else SPAN
    variance = sigma**2 * (span if kappa == 0 else -math.expm1(-2 * kappa * span) / (2 * kappa))
    assert abs(last.mean() - 100_000) < 4 * math.sqrt(variance / seeds)
    assert abs(last.var() / variance - 1) < 4 * math.sqrt(2 / seeds)


def test_neighbouring_values_are_correlated_as_the_law_says() -> None:
    """Cov(r(s), r(s + d)) = Var(r(s)) exp(-κ d)."""
    oracle = SparseMeanReverting(100_000, 2e-11, 1e-3, megashock_rate=0, step="10s")
    rng = np.random.default_rng(1)
    paths = np.array([oracle.draw(rng, OPEN, CLOSE).price_ticks for _ in range(3000)]) - 100_000
    slope = (paths[:, 30] * paths[:, 35]).sum() / (paths[:, 30] ** 2).sum()
    assert slope == pytest.approx(math.exp(-2e-11 * 50e9), abs=0.05)


def test_megashocks_are_poisson_of_either_sign_and_fade() -> None:
    rate = 5 / SPAN
    oracle = SparseMeanReverting(1e6, 0, 0, rate, 1000, 100)
    rng = np.random.default_rng(2)
    jumps = [np.diff(oracle.draw(rng, OPEN, CLOSE).price_ticks) for _ in range(400)]
    counts = np.array([(abs(jump) > 500).sum() for jump in jumps])
    assert abs(counts.mean() - 5) < 0.5 and abs(counts.var() - 5) < 1.5
    sizes = np.concatenate(jumps)
    sizes = sizes[abs(sizes) > 500]
    single = sizes[abs(sizes) < 1500]
    assert len(single) > 0.95 * len(sizes) and 0.45 < (sizes > 0).mean() < 0.55
    assert abs(abs(single).mean() - 1000) < 2 and 8.5 < abs(single).std() < 11.5
    fading = SparseMeanReverting(1e6, 1e-9, 0, rate, 1000, 0, step="1s").draw(rng, OPEN, CLOSE)
    after = np.flatnonzero(abs(np.diff(fading.price_ticks)) > 500)[0] + 1
    value = fading.price_ticks[after] - 1e6
    assert fading.price_ticks[after + 1] - 1e6 == pytest.approx(value * math.exp(-1), rel=1e-6)


def test_the_dense_process_is_that_of_its_formula() -> None:
    """r[t+1] = r[t] + κ (r̄ - r[t]) + u; its variance tends to σ_s / (1 - (1 - κ)²)."""
    oracle = MeanReverting(100_000, 0.05, 2.5)
    last = ends(oracle)
    variance = 2.5 / (1 - 0.95**2)
    assert abs(last.mean() - 100_000) < 4 * math.sqrt(variance / len(last))
    assert abs(last.var() / variance - 1) < 4 * math.sqrt(2 / len(last))
    prices = oracle.draw(np.random.default_rng(8), OPEN, CLOSE).price_ticks
    shocks = prices[1:] - prices[:-1] - 0.05 * (100_000 - prices[:-1])
    assert 2.0 < shocks.var() < 3.0 and abs(shocks.mean()) < 0.3
    assert (MeanReverting(kappa=1, shock_variance=0).draw(
        np.random.default_rng(0), OPEN, CLOSE).price_ticks == 100_000).all()  # fmt: skip


@pytest.mark.parametrize(
    "oracle",
    [SparseMeanReverting(10, 0, 1e-3), MeanReverting(10, 0.0, 100),
     SparseMeanReverting(10, 1e-12, 0, 1e-9, 1e4)],
)  # fmt: skip
def test_it_is_never_negative(oracle: Any) -> None:
    prices = oracle.draw(np.random.default_rng(3), OPEN, CLOSE).price_ticks
    assert prices.min() == 0 and prices.max() > 20  # it comes back


def test_a_path_belongs_to_its_symbol_and_seed_alone() -> None:
    """Agents, other symbols, looks, another session's end: nothing changes what the path was."""
    config = {"base": "rmsc04", "session": {"close": "10:00"}}

    def path(seed: int = 3, symbol: int = 0, agents: Any = (), **overrides: Any) -> PricePath:
        simulation = Simulation(config, seed, overrides=overrides, agents=agents)
        before = path_of(simulation._market, symbol)
        simulation.run("09:35")
        after = path_of(simulation._market, symbol)
        assert before is not None and after is not None
        assert (before.price_ticks == after.price_ticks).all()
        return after

    alone = path()
    two = [{"name": "SIM"}, {"name": "OTHER"}]
    busy = {"agents.value.arrival_rate": 1e-9, "agents.value.count": 300}
    for other in (path(agents=[Agent()]), path(symbols=two), path(**busy),
                  path(**{"agents.value": None, "agents.noise.count": 1})):  # fmt: skip
        assert (other.price_ticks == alone.price_ticks).all()
    assert (path(seed=4).price_ticks != alone.price_ticks).any()
    assert (path(symbol=1, symbols=two).price_ticks != alone.price_ticks).any()
    assert (path(symbol=1, symbols=[*two, {"name": "THIRD"}]).price_ticks
            == path(symbol=1, symbols=two).price_ticks).all()  # fmt: skip


def test_a_path_that_is_given_is_the_fundamental_value_and_may_be_one_symbols_only() -> None:
    times = np.array([OPEN - 5, OPEN + 10, CLOSE])
    given = PricePath(times, np.array([50_000.0, 60_000.0, 70_000.0]))
    config = {
        "session": {"open": OPEN, "close": CLOSE},
        "symbols": [{"name": "A"}, {"name": "B"}, {"name": "C"}],
        "oracle": {"type": "mean_reverting", "r_bar": 100},
        "oracles": {"C": None},
        "agents": {"value": {"type": "value", "symbol": "B", "arrival_rate": 1e-9, "count": 5}},
    }
    simulation = Simulation(config, price_paths={"B": given})
    paths = [path_of(simulation._market, symbol) for symbol in range(3)]
    assert paths[0] is not None and paths[0].price_ticks[0] == 100 and paths[2] is None
    assert paths[1] is not None and paths[1].price_ticks.tolist() == given.price_ticks.tolist()
    simulation.run()
    assert simulation.tapes["B"].orders["price_ticks"].min() > 10_000
    twin = Simulation(config, price_paths={"B": given})
    twin.run()
    assert simulation.digest() == twin.digest()
    with pytest.raises(ConfigError, match="symbol must be one of A, B, C, was 'X'"):
        Simulation(config, price_paths={"X": given})
    with pytest.raises(ConfigError, match="price_paths.B must be a PricePath, was 7"):
        Simulation(config, price_paths={"B": 7})  # type: ignore[dict-item]
    with pytest.raises(DataError, match="must cover the session from 09:30:00.000 to 09:40"):
        Simulation(config, price_paths={"B": PricePath(times[:2], given.price_ticks[:2])})


@pytest.mark.parametrize(
    "times, prices, error",
    [
        ([], [], "arrays of one length > 0"),
        ([1, 2], [1.0], "arrays of one length > 0"),
        ([[1]], [[1.0]], "arrays of one length > 0"),
        ([1.0, 2.0], [1.0, 2.0], "time_ns must be integers, was float64"),
        ([1, 2, 2], [1.0] * 3, "times must increase, row 2 does not"),
        ([3, 2], [1.0] * 2, "times must increase, row 1 does not"),
        ([1, 2], [1.0, -0.5], "prices must be >= 0, row 1 is -0.5"),
        ([1, 2], [np.nan, 1.0], "prices must be >= 0, row 0 is nan"),
        ([1, 2], [1.0, np.inf], "prices must be >= 0, row 1 is inf"),
    ],
)
def test_a_path_refuses_what_is_no_path(times: Any, prices: Any, error: str) -> None:
    with pytest.raises(DataError, match=error):
        PricePath(np.array(times), np.array(prices))


GOOD = pd.DataFrame({"time_ns": np.arange(OPEN - SECOND, CLOSE + SECOND, 30 * SECOND),
                     "price_ticks": 100_000.0})  # fmt: skip
GOOD.loc[len(GOOD)] = [CLOSE + SECOND, 100_500.0]
GOOD = GOOD.astype({"time_ns": np.int64})


def clock(time_ns: int) -> str:
    seconds = time_ns // SECOND
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def write(table: Any, file: Path) -> Path:
    table.to_parquet(file, index=False) if file.suffix == ".parquet" else table.to_csv(
        file, index=False
    )
    return file


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("text", [False, True])
def test_a_file_gives_the_path(tmp_path: Path, suffix: str, text: bool) -> None:
    table = GOOD.assign(note="x", time_ns=GOOD["time_ns"].map(clock) if text else GOOD["time_ns"])
    file = write(table, tmp_path / f"path{suffix}")
    config = {"session": {"open": OPEN, "close": CLOSE},
              "oracle": {"type": "file", "path": str(file)},
              "agents": {"value": {"type": "value", "count": 3, "arrival_rate": 1e-9}}}  # fmt: skip
    simulation = Simulation(config)
    path = path_of(simulation._market, 0)
    assert path is not None and path.time_ns.tolist() == GOOD["time_ns"].tolist()
    assert path.price_ticks.tolist() == GOOD["price_ticks"].tolist()
    simulation.run()
    assert simulation.events > 100


def changed(row: int, **values: Any) -> Any:
    table = GOOD.astype(object)
    for column, value in values.items():
        table.loc[row, column] = value
    return table


FILES: dict[str, tuple[Any, str]] = {
    "gap": (GOOD.drop(index=[4, 5]), "gap of 90 s after row 3 .*longer than max_gap 60 s"),
    "late": (GOOD.iloc[1:], "must cover the session from 09:30:00.000"),
    "early": (GOOD.iloc[:-2], "must cover the session from 09:30:00.000"),
    "missing price": (changed(3, price_ticks=None), "price_ticks is missing in row 3"),
    "missing time": (changed(3, time_ns=None), "time_ns is missing in row 3"),
    "no price": (GOOD[["time_ns"]], "column 'price_ticks' is missing, has time_ns"),
    "no time": (GOOD.rename(columns={"time_ns": "t"}), "column 'time_ns' is missing, has t, "),
    "twice": (changed(5, time_ns=int(GOOD["time_ns"][4])), "times must increase, row 5 does not"),
    "back": (changed(5, time_ns=7), "times must increase, row 5 does not"),
    "negative": (changed(2, price_ticks=-1.0), "prices must be >= 0, row 2 is -1.0"),
    "infinite": (changed(2, price_ticks=np.inf), "prices must be >= 0, row 2 is inf"),
    "words": (changed(2, price_ticks="much"), "could not convert string to float"),
    "no time of day": (GOOD.assign(time_ns="noon"), "time_ns must be HH:MM.*was 'noon'"),
    "no rows": (GOOD.iloc[:0], "arrays of one length > 0"),
}


def refused(file: Path, capsys: pytest.CaptureFixture[str], **oracle: Any) -> str:
    """The one line that `marketsim run` says about an oracle's file."""
    section = {"type": "file", "path": str(file), **oracle}
    pairs = [
        f"oracle={section}".replace("'", '"'),
        f"session.open={OPEN}",
        f"session.close={CLOSE}",
    ]
    sets = [word for pair in pairs for word in ("--set", pair)]
    assert main(["run", "rmsc04", "--no-report", *sets]) == 2
    said = capsys.readouterr()
    assert len(said.err.strip().splitlines()) == 1, said.err
    assert str(file) in said.err
    return said.err


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("case", FILES)
def test_bad_files_are_named_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str, suffix: str
) -> None:
    table, error = FILES[case]
    if suffix == ".parquet":
        if case == "words":
            pytest.skip("Parquet has one type a column")
        table = table.infer_objects()
    file = write(table, tmp_path / f"path{suffix}")
    said = refused(file, capsys)
    assert pd.Series([said]).str.contains(error, regex=True).all(), said


def test_what_is_no_table_is_named_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no such file" in refused(tmp_path / "none.csv", capsys)
    assert "no such file" in refused(tmp_path / "none.parquet", capsys)
    contents = {"empty.csv": b"", "binary.csv": bytes(range(256)) * 9,
                "ragged.csv": b"a,b\n1,2\n1,2,3\n",
                "empty.parquet": b"", "text.parquet": b"time_ns,price_ticks\n1,2\n"}  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        assert "not a table" in refused(tmp_path / name, capsys), name
    assert "not a table" in refused(tmp_path, capsys)
    write(GOOD, tmp_path / "good.csv")
    assert "gap of 30 s after row 0" in refused(tmp_path / "good.csv", capsys, max_gap="29s")


def test_a_file_is_read_with_its_own_gap(tmp_path: Path) -> None:
    file = write(GOOD.drop(index=[4, 5]), tmp_path / "path.csv")
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="longer than max_gap"):
        FileOracle(str(file)).draw(rng, OPEN, CLOSE)
    assert len(FileOracle(str(file), "90s").draw(rng, OPEN, CLOSE).time_ns) == len(GOOD) - 2


def test_a_saved_market_keeps_the_path_that_was_given(tmp_path: Path) -> None:
    times = OPEN + np.arange(0, CLOSE - OPEN + SECOND, SECOND)
    path = PricePath(times, 500.0 + np.arange(len(times)))
    config = {"session": {"open": OPEN, "close": CLOSE},
              "agents": {"value": {"type": "value", "count": 5, "arrival_rate": 1e-9}}}  # fmt: skip
    simulation = Simulation(config, price_paths={"SIM": path})
    simulation.run(OPEN + SECOND)
    simulation.save(tmp_path / "market.npz")
    again = Simulation.load(tmp_path / "market.npz")
    one, two = simulation.run(), again.run()
    assert one.summary["digest"] == two.summary["digest"]
    assert one.tape.digest() == two.tape.digest() and len(one.tape)
    assert (two.fundamental["SIM"][1] == path.price_ticks).all()
