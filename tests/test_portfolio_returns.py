"""Where the portfolio environment's paths come from, and the policies it is compared with."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketsim.envs.geometric import GeometricBrownianReturns
from marketsim.envs.portfolio import PortfolioEnv
from marketsim.envs.portfolio_baselines import (
    buy_and_hold,
    equal_weight,
    least_variance,
    minimum_variance,
)
from marketsim.envs.return_sources import return_source
from marketsim.errors import ConfigError, DataError

# -- geometric Brownian motions -------------------------------------------------------------------


@pytest.mark.parametrize("correlation", [-0.4, 0.0, 0.6, 1.0])
def test_geometric_paths_have_the_moments_asked_for(correlation: float) -> None:
    paths = GeometricBrownianReturns(
        drift=(0.0, 0.1, -0.2), volatility=(0.1, 0.2, 0.4), correlation=correlation, bars=250
    )
    drawn = paths.sample(400, seed=0)
    assert (drawn.dtype, drawn.shape) == (np.float32, (400, 250, 3))
    bars = drawn.reshape(-1, 3).astype(np.float64)
    mean = np.array([0.0, 0.1, -0.2]) - np.array([0.1, 0.2, 0.4]) ** 2 / 2
    error = np.array([0.1, 0.2, 0.4]) / np.sqrt(len(bars) / 252)  # of a year's mean
    assert (np.abs(bars.mean(axis=0) * 252 - mean) < 4 * error).all()
    np.testing.assert_allclose(bars.std(axis=0) * np.sqrt(252), [0.1, 0.2, 0.4], rtol=0.01)
    found = np.corrcoef(bars, rowvar=False)[np.triu_indices(3, 1)]
    np.testing.assert_allclose(found, correlation, atol=0.012)


def test_geometric_seeds() -> None:
    paths = GeometricBrownianReturns.of(4)
    np.testing.assert_array_equal(paths.sample(2, seed=0), paths.sample(2, seed=0))
    assert not np.array_equal(paths.sample(2, seed=0), paths.sample(2, seed=1))
    assert not np.array_equal(paths.sample(2), paths.sample(2))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"drift": ()}, "drift must name at least one asset"),
        ({"volatility": (0.1,)}, "volatility must have as many assets as drift, 3, had 1"),
        ({"volatility": (0.1, -0.1, 0.1)}, r"volatility\[1\] must be >= 0, was -0.1"),
        ({"drift": (0.1, 0.1, np.nan)}, r"drift\[2\] must be a finite number"),
        ({"correlation": -0.6}, "correlation must be from -0.5 to 1 between 3 assets, was -0.6"),
        ({"bars": 0}, "bars must be >= 1, was 0"),
        ({"bars_a_year": 0}, "bars_a_year must be > 0, was 0"),
    ],
)
def test_wrong_geometric_parameters_are_refused(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GeometricBrownianReturns(**kwargs)


# -- arrays and generators ------------------------------------------------------------------------


def test_a_data_frame_is_a_history() -> None:
    frame = pd.DataFrame({"gold": [0.1, 0.2, 0.3], "oil": [0.0, -0.1, 0.2]})
    source = return_source(frame, None, 9)
    assert (source.names, source.bars, source.stored) == (("gold", "oil"), 3, 1)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(source.path(rng, None), frame.to_numpy())
    assert rng.random() == np.random.default_rng(0).random()  # one path: nothing was drawn


def test_an_array_is_copied() -> None:
    given = np.zeros((4, 2))
    source = return_source(given, None, 9)
    given[:] = 1
    assert not source.path(np.random.default_rng(0), 0).any()


class Countdown:
    """A generator whose paths get shorter."""

    def __init__(self, *lengths: int) -> None:
        self.lengths = list(lengths)
        self.seeds: list[int] = []

    def sample(self, n: int, *, seed: int) -> Any:
        self.seeds.append(seed)
        return np.full((n, self.lengths.pop(0), 2), 0.01, dtype=np.float32)


def test_a_generator_draws_each_episode_anew() -> None:
    generator = Countdown(5, 5, 5, 4)
    env = PortfolioEnv(generator)
    assert env.steps == 5
    env.reset(seed=1)
    env.reset()
    assert len(set(generator.seeds)) == 3
    with pytest.raises(DataError, match=r"Countdown.sample\(1\) must be of shape \(1, 5, 2\)"):
        env.reset()


@pytest.mark.parametrize(
    ("returns", "error", "message"),
    [
        (np.zeros(3), DataError, r"must be of shape \[bars, assets\].*was of \(3,\)"),
        (np.zeros((0, 2)), DataError, r"must be of shape"),
        (np.array([["a", "b"]]), DataError, "returns must hold numbers"),
        (np.array([[0.1, 0.1], [0.1, np.nan]]), DataError, "path 0 bar 1 asset 1 was nan"),
        (np.array([[101.0, 99.0]]), DataError, "asset 0 was 101 .are these prices"),
        (3, ConfigError, "returns must be an array of log returns, a file of prices.*was 3"),
    ],
)
def test_wrong_returns_are_refused(returns: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        PortfolioEnv(returns)


# -- files ----------------------------------------------------------------------------------------

PRICES = pd.DataFrame(
    {
        "date": ["2024-01-02", "2024-01-03", "2024-01-05"],
        "gold": [100.0, 110.0, 99.0],
        "oil": [50.0, 50.0, 60.0],
    }
)


def write(folder: Path, frame: pd.DataFrame, kind: str = "csv") -> Path:
    file = folder / f"prices.{kind}"
    if kind == "csv":
        frame.to_csv(file, index=False)
    else:
        frame.to_parquet(file)
    return file


@pytest.mark.parametrize("kind", ["csv", "parquet", "indexed"])
def test_files_of_prices(tmp_path: Path, kind: str) -> None:
    frame = PRICES.assign(date=pd.to_datetime(PRICES.date)) if kind != "csv" else PRICES
    if kind == "indexed":  # the usual way to keep prices in pandas
        frame = frame.set_index("date")
    file = write(tmp_path, frame, "csv" if kind == "csv" else "parquet")
    for path in (file, str(file)):
        env = PortfolioEnv(path)
        assert env.source.names == ("gold", "oil")
        env.reset()
        env.step(np.zeros(2))
        env.step(np.zeros(2))
        wanted = np.log([[1.1, 1.0], [0.9, 1.2]])
        np.testing.assert_allclose(env.known_returns(), wanted, atol=1e-15)


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("oil", 1, None, "column 'oil' must hold prices > 0 in each row, row 1 was missing"),
        ("gold", 2, 0.0, "column 'gold' must hold prices > 0 in each row, row 2 was .*0.0"),
        ("gold", 0, -3.0, "row 0 was .*-3.0"),
        ("gold", 1, "n.a.", "column 'gold' must hold prices > 0 in each row, row 1 was 'n.a.'"),
        ("date", 2, "2024-01-03", "times must rise .* row 2 is 2024-01-03 after 2024-01-03"),
        ("date", 1, "noon", "column 'date' must hold times"),
        ("date", 1, None, "column 'date' has no time in row 1"),
    ],
)
def test_wrong_prices_are_refused(
    tmp_path: Path, column: str, row: int, value: Any, message: str
) -> None:
    frame = PRICES.astype(object)
    frame.loc[row, column] = value
    with pytest.raises(DataError, match=message):
        PortfolioEnv(write(tmp_path, frame))


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv: no such file"):
        PortfolioEnv(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="needs a column of times and one for each asset"):
        PortfolioEnv(write(tmp_path, PRICES[["date"]]))
    with pytest.raises(DataError, match="needs at least two rows of prices, has 1"):
        PortfolioEnv(write(tmp_path, PRICES[:1]))
    for name in ("broken.parquet", "broken.csv"):
        (tmp_path / name).write_bytes(b"" if name.endswith("csv") else b"no parquet")
        with pytest.raises(DataError, match="cannot be read as a table"):
            PortfolioEnv(tmp_path / name)


# -- policies to compare with ---------------------------------------------------------------------


def play(env: PortfolioEnv, make: Any) -> list[dict[str, Any]]:
    policy = make(env)
    observation, info = env.reset(seed=0)
    infos = []
    ended = False
    while not ended:
        action = policy(observation, info)
        assert env.action_space.contains(action)
        observation, _, terminated, truncated, info = env.step(action)
        infos.append(info)
        ended = terminated or truncated
    return infos


def test_equal_weight_and_buy_and_hold() -> None:
    growth = np.array([[1.2, 0.9], [1.1, 1.0], [0.8, 1.3]])
    env = PortfolioEnv(np.log(growth), cost_bps=0)
    wealth = play(env, equal_weight)[-1]["wealth"]
    assert wealth == pytest.approx(growth.mean(axis=1).prod(), rel=1e-7)
    wealth = play(env, buy_and_hold)[-1]["wealth"]
    assert wealth == pytest.approx(growth.prod(axis=0).mean(), rel=1e-6)
    env = PortfolioEnv(np.log(growth), cost_bps=100)
    turnover = [info["turnover"] for info in play(env, buy_and_hold)]
    assert turnover[0] == pytest.approx(1.0)
    assert max(turnover[1:]) < 1e-6


def test_minimum_variance_prefers_the_calm() -> None:
    env = PortfolioEnv(
        GeometricBrownianReturns((0.0, 0.0), (0.05, 0.5), correlation=0.0), lookback=60
    )
    play(env, minimum_variance)
    assert env.weights[-1][0] > 0.85
    np.testing.assert_allclose(env.weights[1][:2], 0.5, atol=0.05)  # nothing known: equal
    with pytest.raises(ConfigError, match="shrinkage must be from 0 to 1, was 2"):
        minimum_variance(env, shrinkage=2)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    bars=st.integers(2, 40),
    assets=st.integers(1, 6),
    shrinkage=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_least_variance_is_least(seed: int, bars: int, assets: int, shrinkage: float) -> None:
    draw = np.random.default_rng(seed)
    log_returns = draw.normal(0, 0.01, (bars, assets)) @ draw.normal(0, 1, (assets, assets))
    weights = least_variance(log_returns, shrinkage)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1.0)
    covariance = np.atleast_2d(np.cov(log_returns, rowvar=False))
    scale = np.trace(covariance) / assets
    covariance = (1 - shrinkage) * covariance / scale + shrinkage * np.eye(assets)
    least = weights @ covariance @ weights
    for other in (*np.eye(assets), *draw.dirichlet(np.ones(assets), 50)):
        assert least <= other @ covariance @ other + 1e-6


def test_least_variance_of_too_little() -> None:
    np.testing.assert_array_equal(least_variance(np.zeros((1, 4)), 0.1), 0.25)
    np.testing.assert_array_equal(least_variance(np.zeros((9, 4)), 0.1), 0.25)


def test_policies_want_a_portfolio() -> None:
    import gymnasium

    with pytest.raises(ConfigError, match="env must be a PortfolioEnv, was CartPoleEnv"):
        equal_weight(gymnasium.make("CartPole-v1"))
