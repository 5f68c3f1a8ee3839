"""``marketsim train`` and ``sample`` of generators of returns, and an environment on one."""

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pandas as pd
import pytest

import marketsim as ms
from marketsim import cli
from marketsim.data.synthetic import synthetic_tape
from marketsim.envs.portfolio import PortfolioEnv
from marketsim.errors import ConfigError, DataError
from marketsim.generators import create, load
from marketsim.generators.base import RETURNS
from marketsim.returns_run import ReturnsJob, train_returns
from marketsim.training_run import TrainingJob, is_network, train_model, training_of


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of 20 days of hourly bars of three assets, with an hour missing."""
    draw = np.random.default_rng(0)
    parts = []
    for name in ("BTC", "ETH", "BNB"):
        close = 100 * np.exp(np.cumsum(draw.standard_t(5, 480) * 0.01))
        opens = np.concatenate([[100.0], close[:-1]])
        table = {
            "time": pd.date_range("2024-01-01", periods=480, freq="h", tz="UTC"), "symbol": name,
            "open": opens, "high": np.maximum(opens, close), "low": np.minimum(opens, close),
            "close": close, "volume": 1.0,
        }  # fmt: skip
        parts.append(pd.DataFrame(table))
    frame = pd.concat(parts)
    file = tmp_path_factory.mktemp("bars") / "hours.csv.gz"
    frame[~((frame["symbol"] == "ETH") & (frame["time"].dt.day == 5))].to_csv(file, index=False)
    return file


@pytest.fixture(scope="module")
def model(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "past"
    assert cli.main(["train", "bootstrap-returns", "--data", str(bars), "--out", str(out)]) == 0
    return out


def error_of(capsys: pytest.CaptureFixture[str], line: list[str]) -> str:
    assert cli.main(line) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("marketsim: error: ") and len(shown.strip().splitlines()) == 1
    return shown


@pytest.mark.parametrize("name", RETURNS)
def test_train_and_sample(
    name: str, bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, file = tmp_path / "model", tmp_path / "drawn.npz"
    line = ["train", name, "--data", str(bars), "--out", str(out), "--assets", "ETH, BTC"]
    line += ["--window", "24", "--stride", "3", "--price", "mid"]
    training = {}
    if is_network(create(name)):
        settings = {"steps": 12, "batch": 16}
        line += ["--steps", "12", "--batch", "16"]
        training = {"training": training_of(create(name), settings)}
    assert cli.main(line) == 0
    # starts 0 to 453 by 3; the day that is missing lies in 16 of them
    shown = capsys.readouterr().out
    assert "data: ETH, BTC, 2024-01-01 to 2024-01-19, 136 windows of 24 returns, 16" in shown
    assert cli.main(["sample", str(out), "--n", "7", "--seed", "5", "--out", str(file)]) == 0
    assert f"7 windows of 24 returns of ETH, BTC, written to {file}" in capsys.readouterr().out
    drawn = ms.read_windows(file)
    assert (drawn.symbols, drawn.step_s) == (("ETH", "BTC"), 3600)
    np.testing.assert_array_equal(drawn.log_returns, load(out).sample(7, seed=5))
    report = json.loads((out / "training.json").read_text())
    assert report["model"] == name and report["windows"]["left_out"] == 16
    windows = ms.read_bars(bars).windows(24, 3, ["ETH", "BTC"], "mid")
    again = create(name).fit(windows, **training).sample(7, seed=5)
    np.testing.assert_array_equal(drawn.log_returns, again)


def test_a_table_of_samples(model: Path, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "drawn.parquet"
    assert cli.main(["sample", str(model), "--n", "3", "--out", str(file), "--quiet"]) == 0
    assert capsys.readouterr().out.strip() == str(file)
    table = pd.read_parquet(file)
    assert list(table.columns) == ["window", "step", "BTC", "ETH", "BNB"]
    assert table["window"].tolist() == np.repeat([0, 1, 2], 24).tolist()
    assert table["step"].tolist() == list(range(1, 25)) * 3
    drawn = load(model).sample(3)
    np.testing.assert_array_equal(table[["BTC", "ETH", "BNB"]], drawn.reshape(-1, 3))
    assert [path.name for path in tmp_path.iterdir()] == ["drawn.parquet"]


def test_the_same_training_again_is_done_already(bars: Path, model: Path) -> None:
    before = (model / "model.json").stat().st_mtime_ns
    report = train_returns(ReturnsJob("bootstrap-returns", (str(bars),)), model)
    assert report["result"]["windows"] == report["windows"]["windows"]
    assert (model / "model.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["gaussian", "--steps", "4"], "steps: model 'gaussian' is no network, and takes"),
        (["gaussian", "--valid", "x"], "valid: model 'gaussian' learns from returns"),
        (["gaussian", "--from", "10:00"], "from: model 'gaussian' learns from returns"),
        (["poisson", "--window", "4"], "window: model 'poisson' learns from tapes"),
        (["gaussian", "--assets", "BTC,XRP"], "assets: no bars of 'XRP'"),
        (["gaussian", "--price", "open"], "price must be one of close, mid, was 'open'"),
        (["gaussian", "--window", "900"], "too few for one window of 900 steps"),
        (["garch-copula", "--set", "lag=2"], "unknown key 'lag' (did you mean 'lags'?)"),
        (["gausian"], "unknown generator 'gausian' (did you mean 'gaussian'?)"),
    ],
)
def test_training_that_is_refused(
    line: list[str], said: str, bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = error_of(capsys, ["train", *line, "--data", str(bars), "--out", str(tmp_path / "m")])
    assert said in shown
    assert not (tmp_path / "m").exists()


def test_another_model_is_not_replaced(
    bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train", "gaussian", "--data", str(bars), "--out", str(tmp_path), "--quiet"]
    assert cli.main(line) == 0
    other = [*line, "--stride", "2"]
    assert "holds a model already" in error_of(capsys, other)
    assert cli.main([*other, "--force"]) == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["--until", "10:00"], "--until: {model} is a generator of returns, and takes none"),
        (["--with-warm-up"], "--with-warm-up: {model} is a generator of returns"),
        (["--device", "cuda"], "--device: {model} is a generator of returns"),
        (["--regime", "3"], "conditions: no window of regime 3 was learned (known: none)"),
        (["--n", "0"], "n must be >= 1, was 0"),
        (["--n", "1000000000000000"], "not enough memory for this: Unable to allocate"),
        (["--set", "recent=0.5"], "unknown key 'recent'"),
    ],
)
def test_sampling_that_is_refused(
    line: list[str], said: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "drawn.npz"
    shown = error_of(capsys, ["sample", str(model), "--out", str(file), *line])
    assert said.format(model=model) in shown
    assert not file.exists()


def test_files_that_are_not_written(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    csv = ["sample", str(model), "--out", str(tmp_path / "drawn.csv")]
    assert "must end in .npz or .parquet" in error_of(capsys, csv)
    (tmp_path / "there.npz").touch()
    there = ["sample", str(model), "--out", str(tmp_path / "there.npz")]
    assert "exists already; give another place" in error_of(capsys, there)
    for name in ("drawn.npz", "drawn.parquet"):
        nowhere = ["sample", str(model), "--out", str(tmp_path / "none" / name)]
        assert "cannot be written" in error_of(capsys, nowhere)


def test_each_kind_of_generator_in_its_place(bars: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'gaussian' learns from windows of returns, not from"):
        train_model(TrainingJob("gaussian", (None,)), tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'poisson' is no generator of returns: block-boot"):
        train_returns(ReturnsJob("poisson", (str(bars),)), tmp_path)
    with pytest.raises(ConfigError, match="'bootstrap-returns' writes no orders"):
        ms.Simulation("world", overrides={"agents.world.model": str(model)})
    line = ["sample", "goog", "--regime", "1", "--out", str(tmp_path / "flow")]
    assert cli.main(line) == 2


# -- in an environment ----------------------------------------------------------------------------


def test_portfolio_on_a_generator(model: Path) -> None:
    generator = load(model)
    env = gymnasium.make("marketsim:marketsim/Portfolio-v0", returns=generator)
    ours = env.unwrapped
    assert isinstance(ours, PortfolioEnv)
    assert (ours.source.names, ours.steps) == (("BTC", "ETH", "BNB"), 24)
    env.reset(seed=3)
    over, rewards = False, []
    while not over:
        _, reward, terminated, truncated, _ = env.step(np.full(3, 1.0, np.float32))
        rewards.append(reward)
        over = terminated or truncated
    assert len(rewards) == 24
    path = PortfolioEnv(str(model))
    path.reset(seed=3)
    again = [path.step(np.full(3, 1.0, np.float32))[1] for _ in range(24)]
    assert again == rewards


def test_portfolio_on_a_model_of_orders(tmp_path: Path) -> None:
    create("poisson").fit([synthetic_tape(open="09:30", close="09:31")]).save(tmp_path / "flow")
    with pytest.raises(ConfigError, match="flow: 'poisson' is no generator of returns"):
        PortfolioEnv(str(tmp_path / "flow"))


def test_bars_that_cannot_be_trained_on(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        train_returns(ReturnsJob("gaussian", (str(tmp_path / "none.csv"),)), tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_an_archive_takes_no_settings_of_windows(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "some.npz"
    assert cli.main(["sample", str(model), "--n", "20", "--out", str(archive), "--quiet"]) == 0
    capsys.readouterr()
    line = ["train", "gaussian", "--data", str(archive), "--out", str(tmp_path / "mine")]
    for name, value in (("window", "5"), ("stride", "2"), ("price", "mid")):
        shown = error_of(capsys, [*line, f"--{name}", value])
        assert f"{name}: windows of an archive are made already" in shown
        together = ["compare", "returns", "--data", str(archive), "--out", str(tmp_path / "both")]
        shown = error_of(capsys, [*together, f"--{name}", value])
        assert f"{name}: windows of an archive are made already, of" in shown
    assert cli.main([*line, "--assets", "BTC,ETH,BNB", "--quiet"]) == 0
