"""What the PPO examples share: training with checkpoints, paired evaluation, a picture, a report.

An example names a problem and its baselines, and calls :func:`main`.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from matplotlib.figure import Figure
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

from marketsim.envs.baselines import Policy
from marketsim.envs.sb3 import make_sb3
from marketsim.metrics.paired import Estimate, estimate_mean
from marketsim.plot_style import AGENT_COLOURS, FAINT, INK, finish

#: Seeds that training never uses: of the final evaluation, and of the curve's points.
TEST_SEED, CURVE_SEED = 1_000_000_000, 2_000_000_000
CHECKPOINT_EVERY_S = 30.0


@dataclass(frozen=True)
class Problem:
    """An environment and what to compare with.

    unit : of an episode's reward.
    baselines : name -> function of a vector environment that makes its policy; PPO is compared with
        the first.
    """

    title: str
    name: str
    parameters: dict[str, Any]
    unit: str
    baselines: dict[str, Callable[[Any], Policy]]


@dataclass(frozen=True)
class Settings:
    """PPO and its evaluation; the names of PPO's are Stable-Baselines3's.

    out : folder of the model, the learning curve, the picture and the report.
    quick : a run of seconds, which shows that it works and learns nothing.
    resume : go on from the last checkpoint.
    test_seeds : episodes of the final evaluation; curve_seeds : of each point of the curve.
    """

    out: Path
    total_steps: int = 2_000_000
    seed: int = 0
    num_envs: int = 64
    n_steps: int = 120
    batch_size: int = 1_920
    n_epochs: int = 8
    learning_rate: float = 1e-3
    gamma: float = 1.0
    gae_lambda: float = 0.95
    ent_coef: float = 0.003
    net: tuple[int, ...] = (64, 64)
    log_std_init: float = 0.0
    test_seeds: int = 200
    curve_seeds: int = 100
    curve_points: int = 10
    quick: bool = False
    resume: bool = False

    def shortened(self) -> "Settings":
        """For a quick run."""
        few = dict(total_steps=512, num_envs=4, n_steps=32, batch_size=64, n_epochs=2)
        return Settings(**{**vars(self), **few, "test_seeds": 6, "curve_seeds": 4,
                           "curve_points": 2})  # fmt: skip


@dataclass
class Curve:
    """What training was like: episodes' rewards by steps, evaluations on the way, time taken."""

    steps: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    points: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0


# -- evaluation ------------------------------------------------------------------------------


def evaluate(problem: Problem, make: Callable[[Any], Policy], seed: int, n: int) -> np.ndarray:
    """Total reward of the first episode of each of n seeds, float64[n]."""
    env = gymnasium.make_vec(problem.name, num_envs=n, **problem.parameters)
    policy = make(env)
    observations, infos = env.reset(seed=seed)
    totals, running = np.zeros(n), np.ones(n, np.bool_)
    while running.any():
        observations, rewards, terminated, truncated, infos = env.step(policy(observations, infos))
        totals[running] += rewards[running]
        running &= ~(terminated | truncated)
    env.close()
    return totals


def learned(model: PPO) -> Callable[[Any], Policy]:
    """What the model does, without its exploration."""
    normalise = model.get_vec_normalize_env()

    def policy(observations: np.ndarray, infos: Mapping[str, np.ndarray]) -> np.ndarray:
        return model.predict(normalise.normalize_obs(observations), deterministic=True)[0]

    return lambda env: policy


# -- training --------------------------------------------------------------------------------


class Watch(BaseCallback):
    """A progress bar, the learning curve, and a checkpoint now and then."""

    def __init__(self, problem: Problem, settings: Settings, curve: Curve) -> None:
        super().__init__()
        self.problem, self.settings, self.curve = problem, settings, curve
        self.rewards: list[float] = []
        self.baseline = evaluate(
            problem, next(iter(problem.baselines.values())), CURVE_SEED, settings.curve_seeds
        )

    def _on_training_start(self) -> None:
        self.started_s = self.saved_s = time.perf_counter()
        self.before_s = self.curve.seconds
        self.cpu_before_s = self.curve.cpu_seconds - time.process_time()
        words = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %")
        self.bar = Progress(*words, TimeRemainingColumn(), TextColumn("{task.fields[reward]}"))
        self.task = self.bar.add_task(
            "training", total=self.settings.total_steps, completed=self.num_timesteps, reward=""
        )
        self.bar.start()

    def _on_step(self) -> bool:
        self.rewards += [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
        return True

    def _on_rollout_end(self) -> None:
        curve, settings = self.curve, self.settings
        curve.seconds = self.before_s + time.perf_counter() - self.started_s
        curve.cpu_seconds = self.cpu_before_s + time.process_time()
        if self.rewards:
            curve.steps.append(self.num_timesteps)
            curve.rewards.append(float(np.mean(self.rewards)))
            self.rewards = []
        if self.num_timesteps >= len(curve.points) * settings.total_steps / settings.curve_points:
            self._add_point()
        reward = f"{curve.rewards[-1]:.3f} {self.problem.unit}" if curve.rewards else ""
        self.bar.update(self.task, completed=self.num_timesteps, reward=reward)
        if time.perf_counter() - self.saved_s > CHECKPOINT_EVERY_S:
            self.saved_s = time.perf_counter()
            save(self.model, curve, settings.out)

    def _add_point(self) -> None:
        totals = evaluate(self.problem, learned(self.model), CURVE_SEED, self.settings.curve_seeds)
        found = estimate_mean((totals - self.baseline).tolist())
        point = {"steps": self.num_timesteps, "reward": totals.mean(), "gain": found.mean}
        self.curve.points.append({**point, "low": found.low, "high": found.high})
        print(json.dumps(self.curve.points[-1]), flush=True)

    def _on_training_end(self) -> None:
        if self.curve.points[-1]["steps"] < self.num_timesteps:
            self._add_point()
        self.bar.stop()


def save(model: PPO, curve: Curve, out: Path) -> None:
    """Write a checkpoint; one that was there stays whole until the new one is."""
    out.mkdir(parents=True, exist_ok=True)
    model.save(out / "model.new.zip")
    model.get_vec_normalize_env().save(str(out / "normalise.new.pkl"))
    (out / "curve.new.json").write_text(json.dumps(asdict(curve)))
    for name in ("model.zip", "normalise.pkl", "curve.json"):
        stem, ending = name.split(".")
        (out / f"{stem}.new.{ending}").replace(out / name)


def train(problem: Problem, settings: Settings) -> tuple[PPO, Curve]:
    """Train, or go on with it; torch computes on one core, the markets need the other."""
    torch.set_num_threads(1)
    out, curve = settings.out, Curve()
    venv = VecMonitor(make_sb3(problem.name, settings.num_envs, **problem.parameters))
    if settings.resume:
        normalised = VecNormalize.load(str(out / "normalise.pkl"), venv)
        model = PPO.load(out / "model.zip", env=normalised, device="cpu")
        curve = Curve(**json.loads((out / "curve.json").read_text()))
        venv.seed(settings.seed + model.num_timesteps)  # other episodes than those it had
    else:
        names = ("n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda", "ent_coef", "seed")
        normalised = VecNormalize(venv, gamma=settings.gamma, clip_reward=10.0)
        rate = settings.learning_rate
        model = PPO(
            "MlpPolicy",
            normalised,
            learning_rate=lambda left: rate * left,
            policy_kwargs={"net_arch": list(settings.net), "log_std_init": settings.log_std_init},
            device="cpu",
            **{name: getattr(settings, name) for name in names},
        )
    left = settings.total_steps - model.num_timesteps
    if left > 0:
        model.learn(left, Watch(problem, settings, curve), reset_num_timesteps=False)
    save(model, curve, out)
    return model, curve


# -- report ----------------------------------------------------------------------------------


def compare(problem: Problem, model: PPO, settings: Settings) -> dict[str, Any]:
    """Evaluate all policies on the same unseen seeds; differences with the first baseline."""
    makers = {"PPO": learned(model), **problem.baselines}
    totals = {
        name: evaluate(problem, make, TEST_SEED, settings.test_seeds)
        for name, make in makers.items()
    }
    first = next(iter(problem.baselines))
    gains: dict[str, Estimate] = {
        name: estimate_mean((values - totals[first]).tolist())
        for name, values in totals.items()
        if name != first
    }
    return {
        "problem": problem.title,
        "environment": problem.name,
        "parameters": problem.parameters,
        "unit": problem.unit,
        "baseline": first,
        "seeds": [TEST_SEED, TEST_SEED + settings.test_seeds - 1],
        "means": {name: float(values.mean()) for name, values in totals.items()},
        "gains": {name: gain.to_dict() for name, gain in gains.items()},
        "rewards": {name: values.tolist() for name, values in totals.items()},
    }


def draw(report: Mapping[str, Any], curve: Curve) -> Figure:
    """The learning curve, and how much better than the baseline each policy is."""
    unit, first = report["unit"], report["baseline"]
    figure = Figure(figsize=(8, 6.4), dpi=150, layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(3, 2))
    points = [point for point in curve.points if point["low"] is not None]
    at = [point["steps"] / 1e6 for point in points]
    ends = [[point[end] for point in points] for end in ("low", "high")]
    above.fill_between(at, *ends, color=AGENT_COLOURS[1], alpha=0.2, linewidth=0, label="95 %")
    gains = [point["gain"] for point in points]
    above.plot(at, gains, color=AGENT_COLOURS[1], marker="o", markersize=4, label="PPO")
    above.axhline(0, color=INK, linewidth=0.8)
    above.set_xlabel("Steps of training [million]", fontsize=8.5, color=INK)
    minutes, cpu = curve.seconds / 60, curve.cpu_seconds / 60
    took = f"{report['steps']:,} steps, {minutes:.0f} min, {cpu:.0f} min of one core"
    finish(above, f"While it learns: {took}", f"Reward above that of {first} [{unit}]", legend=True)
    names = list(report["gains"])[::-1]
    for row, name in enumerate(names):
        gain = report["gains"][name]
        low, high = (gain["mean"] if gain[end] is None else gain[end] for end in ("low", "high"))
        colour = AGENT_COLOURS[1] if name == "PPO" else FAINT
        below.plot([low, high], [row, row], color=colour, linewidth=2)
        below.plot(gain["mean"], row, "o", color=colour)
    below.axvline(0, color=INK, linewidth=0.8)
    finish(below, f"Afterwards, on {len(report['rewards'][first])} unseen seeds", "")
    below.set_yticks(range(len(names)), names)
    below.set_ylim(-0.6, len(names) - 0.4)
    below.set_xlabel(f"Reward above that of {first}, same seeds, 95 % [{unit}]", fontsize=8.5)
    figure.suptitle(report["problem"], x=0.01, ha="left", fontsize=10, weight="bold")
    return figure


def main(problem: Problem, settings: Settings) -> dict[str, Any]:
    """Train, compare, write ``report.json`` and ``curve.png``, print the figures."""
    settings = settings.shortened() if settings.quick else settings
    model, curve = train(problem, settings)
    report = compare(problem, model, settings)
    report |= {"steps": model.num_timesteps, "curve": asdict(curve)}
    report["settings"] = {**asdict(settings), "out": str(settings.out)}
    (settings.out / "report.json").write_text(json.dumps(report, indent=1))
    draw(report, curve).savefig(settings.out / "curve.png")
    print(f"{problem.title}, {settings.test_seeds} unseen seeds [{problem.unit}]")
    print(f"{'':<22}{'mean':>9}   better than {report['baseline']}, 95 %")
    for name, mean in report["means"].items():
        gain = report["gains"].get(name, {})
        words = ""
        if gain.get("low") is not None:
            words = f"{gain['mean']:>9.3f}  ({gain['low']:.3f} to {gain['high']:.3f})"
        print(f"{name:<22}{mean:>9.3f}   {words}")
    return report
