"""The examples that train: each runs, writes what it says, and computes what its papers say."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread

EXAMPLES = Path(__file__).parents[1] / "examples"
SHORT = {"start": "09:31", "window": "40s", "interval": "10s", "quantity": 400}


@pytest.fixture(scope="module")
def example() -> Iterator[Any]:
    """Function that imports an example by its name."""
    sys.path.insert(0, str(EXAMPLES))
    yield importlib.import_module
    sys.path.remove(str(EXAMPLES))


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """The examples compute on one core; other tests as they did."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ppo_execution", "ppo_market_making"])
def test_ppo_trains_and_compares(name: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    printed = run(name, "--quick", "--out", str(out))
    report = json.loads((out / "report.json").read_text())
    rewards = {key: np.array(values) for key, values in report["rewards"].items()}
    assert {len(values) for values in rewards.values()} == {6}
    baseline = report["baseline"]
    for key, gain in report["gains"].items():
        assert gain["mean"] == pytest.approx(np.mean(rewards[key] - rewards[baseline]))
        assert f"{gain['mean']:.3f}" in printed
    assert set(report["gains"]) == set(report["means"]) - {baseline}
    assert report["steps"] == 512 and [p["steps"] for p in report["curve"]["points"]][-1] == 512
    assert imread(out / "curve.png").std() > 0.05


def test_what_was_saved_goes_on(example: Any, tmp_path: Path) -> None:
    training, execution = example("ppo_training"), example("ppo_execution")
    problem = training.Problem(
        "test", "marketsim/Execution-v0", SHORT, "bps", {"TWAP": execution.twap}
    )
    quick = training.Settings(out=tmp_path, quick=True).shortened()
    half = training.Settings(**{**vars(quick), "total_steps": 256})
    _, curve = training.train(problem, half)
    more = training.Settings(**{**vars(quick), "resume": True})
    model, longer = training.train(problem, more)
    assert model.num_timesteps == 512
    assert longer.steps[: len(curve.steps)] == curve.steps and longer.steps[-1] == 512
    assert longer.seconds > curve.seconds


def test_an_evaluation_adds_up_the_first_episode_of_each_seed(example: Any) -> None:
    training, execution = example("ppo_training"), example("ppo_execution")
    problem = training.Problem("test", "marketsim/Execution-v0", SHORT, "bps", {})
    found = training.evaluate(problem, execution.passive_first, seed=7, n=3)
    for row, total in enumerate(found):
        env = gymnasium.make_vec("marketsim/Execution-v0", num_envs=1, **SHORT)
        policy = execution.passive_first(env)
        observations, infos = env.reset(seed=7 + row)
        ended, expected = False, 0.0
        while not ended:
            observations, rewards, terminated, truncated, infos = env.step(
                policy(observations, infos)
            )
            expected += rewards[0]
            ended = bool(terminated[0] or truncated[0])
        assert total == pytest.approx(expected, abs=1e-12)
        assert total == pytest.approx(-infos["shortfall_bps"][0], abs=1e-9)


def test_twap_buys_all_of_it_evenly(example: Any) -> None:
    parameters = example("ppo_execution").PROBLEM.parameters
    env = gymnasium.make_vec("marketsim/Execution-v0", num_envs=2, **parameters)
    policy = example("ppo_execution").twap(env)
    observations, infos = env.reset(seed=0)
    left = [infos["remaining_lots"][0]]
    for _ in range(60):
        observations, _, terminated, _, infos = env.step(policy(observations, infos))
        left.append(infos["remaining_lots"][0])
        if terminated[0]:
            break
    even = np.linspace(2_000, 0, 61)[: len(left)]
    assert left[-1] == 0 and len(left) >= 60
    assert np.abs(left - even).max() <= 67


def test_final_seeds_are_not_those_of_training(example: Any) -> None:
    training = example("ppo_training")
    settings = training.Settings(out=Path("x"))
    last = settings.seed + settings.total_steps + settings.num_envs
    assert last < training.TEST_SEED < training.TEST_SEED + settings.test_seeds
    assert training.TEST_SEED + settings.test_seeds < training.CURVE_SEED


@pytest.mark.parametrize("actions", ["discrete", "continuous"])
def test_cleanrl_trains_and_saves(
    actions: str, example: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = example("cleanrl_ppo")
    words = ("window=40s", "interval=10s", "start='09:31'", f"actions={actions}")
    module.main(module.Settings(out=tmp_path, parameters=words, quick=True))
    assert "512 steps" in capsys.readouterr().out
    saved = json.loads((tmp_path / "curve.json").read_text())
    assert saved["curve"][-1][0] == 512
    assert imread(tmp_path / "curve.png").std() > 0.05
    env = gymnasium.make_vec("marketsim/Execution-v0", num_envs=2, **SHORT, actions=actions)
    policy = torch.load(tmp_path / "policy.pt")
    module.ActorCritic(env, 64).load_state_dict(policy["model"])
    assert float(policy["seen"]["count"]) == pytest.approx(129 * 4, abs=1)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 9))
def test_advantages_are_sums_of_errors_to_the_end_of_the_episode(seed: int, steps: int) -> None:
    module = load("cleanrl_ppo")
    rng = np.random.default_rng(seed)
    rewards, values, last = rng.normal(size=(steps, 2)), rng.normal(size=(steps, 2)), rng.normal(2)
    ended = rng.random((steps, 2)) < 0.3
    gamma, lam = 0.9, 0.8
    path = module.Rollout(
        rewards=list(torch.tensor(rewards)),
        values=list(torch.tensor(values)),
        ended=list(torch.tensor(ended).double()),
    )
    found = module.advantages(path, torch.full((2,), last, dtype=torch.float64), gamma, lam)
    following = np.vstack([values[1:], [last, last]])
    errors = rewards + gamma * following * ~ended - values
    for row in range(2):
        for step in range(steps):
            end = next((t for t in range(step, steps) if ended[t, row]), steps - 1)
            expected = sum(
                (gamma * lam) ** (t - step) * errors[t, row] for t in range(step, end + 1)
            )
            assert float(found[step, row]) == pytest.approx(expected)


def load(name: str) -> ModuleType:
    sys.path.insert(0, str(EXAMPLES))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(EXAMPLES))


@settings(deadline=None, max_examples=50)
@given(sizes=st.lists(st.integers(1, 20), min_size=1, max_size=8), seed=st.integers(0, 2**32))
def test_running_moments_are_those_of_all_values(sizes: list[int], seed: int) -> None:
    running = load("cleanrl_ppo").Running((3,))
    parts = [np.random.default_rng([seed, i]).normal(5, 2, (n, 3)) for i, n in enumerate(sizes)]
    for part in parts:
        running.add(part)
    everything = np.vstack(parts)
    count = len(everything) + 1e-4  # it begins with so little of mean 0 and variance 1
    mean = everything.sum(0) / count
    np.testing.assert_allclose(running.mean, mean)
    variance = ((everything**2).sum(0) + 1e-4) / count - mean**2
    np.testing.assert_allclose(running.variance, variance, rtol=1e-6, atol=1e-9)


def test_rllibs_creator_makes_an_environment(example: Any) -> None:
    module = example("rllib_ppo")
    env = module.creator(module.NAME)(SHORT)
    check_env(env.unwrapped, skip_render_check=True)
    assert env.unwrapped.task.quantity == 400


def test_without_ray_the_example_says_what_to_install(
    example: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = example("rllib_ppo")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"pip install 'ray\[rllib\]' gymnasium==1.2.2"):
        module.main(module.Settings())
