"""PPO in one file on a native vector environment, in the manner of CleanRL.

Discrete and continuous actions, clipped surrogate, generalised advantages, a learning curve and the
policy at the end. Run with ``python examples/cleanrl_ppo.py --total-steps 500000``; parameters of
the environment follow as ``--parameters quantity=2000 window=30min``.

References: Schulman et al. (2016), "High-dimensional continuous control using generalized advantage
estimation"; (2017), "Proximal policy optimization algorithms"; Huang et al. (2022), "CleanRL", and
"The 37 implementation details of proximal policy optimization".
"""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import gymnasium
import numpy as np
import torch
import tyro
import yaml
from gymnasium.vector import AutoresetMode
from matplotlib.figure import Figure
from rich.progress import track
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal

import marketsim  # noqa: F401 - registers the environments


@dataclass(frozen=True)
class Settings:
    """What to train on, and how.

    parameters : of the environment, as ``name=value``.
    scale_rewards : divides rewards by the running deviation of their discounted sum.
    quick : a run of seconds, which shows that it works and learns nothing.
    """

    out: Path = Path("runs/cleanrl-ppo")
    name: str = "marketsim/Execution-v0"
    parameters: tuple[str, ...] = ("window=30min", "interval=30s")
    total_steps: int = 1_000_000
    seed: int = 0
    num_envs: int = 64
    rollout_steps: int = 120
    epochs: int = 8
    minibatches: int = 4
    learning_rate: float = 1e-3
    gamma: float = 1.0
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy: float = 0.003
    value_weight: float = 0.5
    max_grad_norm: float = 0.5
    width: int = 64
    scale_rewards: bool = True
    quick: bool = False

    def shortened(self) -> "Settings":
        """For a quick run."""
        return Settings(**{**vars(self), "total_steps": 512, "num_envs": 4, "rollout_steps": 32})


class Running:
    """Mean and variance of all that it was shown (Chan et al. 1979), by the last axis."""

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        self.mean, self.variance, self.count = np.zeros(shape), np.ones(shape), 1e-4

    def add(self, values: np.ndarray) -> None:
        n, mean = len(values), values.mean(0)
        delta, total = mean - self.mean, self.count + n
        spread = self.variance * self.count + values.var(0) * n
        self.variance = (spread + delta**2 * self.count * n / total) / total
        self.mean, self.count = self.mean + delta * n / total, total

    def normalise(self, values: np.ndarray) -> np.ndarray:
        scaled = (values - self.mean) / np.sqrt(self.variance + 1e-8)
        return np.clip(scaled, -10, 10).astype(np.float32)


def layer(inputs: int, outputs: int, gain: float) -> nn.Linear:
    """A linear layer with orthogonal weights."""
    made = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(made.weight, gain)
    nn.init.zeros_(made.bias)
    return made


class ActorCritic(nn.Module):
    """Two networks: what to do, and what it is worth."""

    def __init__(self, env: gymnasium.vector.VectorEnv, width: int) -> None:
        super().__init__()
        seen = int(np.prod(env.single_observation_space.shape))
        space = env.single_action_space
        self.discrete = isinstance(space, gymnasium.spaces.Discrete)
        outputs = int(space.n) if self.discrete else int(np.prod(space.shape))
        self.actor, self.critic = (self._body(seen, width, n, g)
                                   for n, g in ((outputs, 0.01), (1, 1.0)))  # fmt: skip
        self.log_std = nn.Parameter(torch.zeros(outputs))  # of continuous actions

    @staticmethod
    def _body(seen: int, width: int, outputs: int, gain: float) -> nn.Sequential:
        root2 = 2**0.5
        return nn.Sequential(
            layer(seen, width, root2), nn.Tanh(), layer(width, width, root2), nn.Tanh(),
            layer(width, outputs, gain),
        )  # fmt: skip

    def distribution(self, seen: Tensor) -> Distribution:
        h = self.actor(seen)  # (batch, outputs)
        if self.discrete:
            return Categorical(logits=h)
        return Independent(Normal(h, self.log_std.exp().expand_as(h)), 1)

    def value(self, seen: Tensor) -> Tensor:
        return self.critic(seen).squeeze(-1)  # (batch,)


@dataclass
class Rollout:
    """Steps of all environments, each (steps, environments, ...)."""

    seen: list[Tensor] = field(default_factory=list)
    actions: list[Tensor] = field(default_factory=list)
    log_probabilities: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    rewards: list[Tensor] = field(default_factory=list)
    ended: list[Tensor] = field(default_factory=list)


class Player:
    """Plays the environment, and keeps what that needs between rollouts."""

    def __init__(self, env: gymnasium.vector.VectorEnv, model: ActorCritic, settings: Settings):
        self.env, self.model, self.settings = env, model, settings
        self.seen_scale = Running(env.single_observation_space.shape)
        self.reward_scale = Running()
        self.totals, self.returns = np.zeros((2, env.num_envs))
        self.finished: list[float] = []
        self.seen = self._look(env.reset(seed=settings.seed)[0])

    def _look(self, observations: np.ndarray) -> Tensor:
        self.seen_scale.add(observations)
        return torch.from_numpy(self.seen_scale.normalise(observations))

    @torch.no_grad()
    def play(self) -> Rollout:
        """The next rollout; rewards of truncated episodes carry the value of what followed."""
        path, model, settings = Rollout(), self.model, self.settings
        for _ in range(settings.rollout_steps):
            distribution = model.distribution(self.seen)
            action = distribution.sample()
            path.seen.append(self.seen)
            path.actions.append(action)
            path.log_probabilities.append(distribution.log_prob(action))
            path.values.append(model.value(self.seen))
            sent = action.numpy() if model.discrete else action.clamp(-1, 1).numpy()
            observations, rewards, terminated, truncated, infos = self.env.step(sent)
            path.rewards.append(self._reward(rewards, terminated | truncated))
            if truncated.any():
                last = np.stack(list(infos["final_obs"][truncated]))
                worth = model.value(torch.from_numpy(self.seen_scale.normalise(last)))
                path.rewards[-1][torch.from_numpy(truncated)] += settings.gamma * worth
            path.ended.append(torch.from_numpy(terminated | truncated).float())
            self.seen = self._look(observations)
        return path

    def _reward(self, rewards: np.ndarray, ended: np.ndarray) -> Tensor:
        self.totals += rewards
        self.finished += self.totals[ended].tolist()
        self.totals[ended] = 0.0
        self.returns = self.settings.gamma * self.returns + rewards
        self.reward_scale.add(self.returns)
        self.returns[ended] = 0.0
        scale = np.sqrt(self.reward_scale.variance + 1e-8) if self.settings.scale_rewards else 1.0
        return torch.from_numpy(np.clip(rewards / scale, -10, 10).astype(np.float32))


def advantages(path: Rollout, next_value: Tensor, gamma: float, gae_lambda: float) -> Tensor:
    """Generalised advantages (Schulman et al. 2016, eq. 16), float32[steps, environments]."""
    found = [next_value] * len(path.rewards)
    later = torch.zeros_like(next_value)
    for step in reversed(range(len(found))):
        goes_on = 1.0 - path.ended[step]
        delta = path.rewards[step] + gamma * next_value * goes_on - path.values[step]
        later = found[step] = delta + gamma * gae_lambda * goes_on * later
        next_value = path.values[step]
    return torch.stack(found)


def improve(
    model: ActorCritic, optimiser: torch.optim.Optimizer, path: Rollout, gains: Tensor, s: Settings
) -> None:
    """Some epochs of the clipped objective (Schulman et al. 2017, eq. 7 and 9) on one rollout."""
    seen, actions, before, values = (
        torch.cat(parts) for parts in (path.seen, path.actions, path.log_probabilities, path.values)
    )
    gains = gains.flatten()
    targets = gains + values
    for _ in range(s.epochs):
        for rows in torch.randperm(len(gains)).chunk(s.minibatches):
            distribution = model.distribution(seen[rows])
            ratio = (distribution.log_prob(actions[rows]) - before[rows]).exp()
            gain = gains[rows]
            gain = (gain - gain.mean()) / (gain.std() + 1e-8)
            clipped = ratio.clamp(1 - s.clip, 1 + s.clip)
            policy_loss = -torch.minimum(ratio * gain, clipped * gain).mean()
            value_loss = 0.5 * (model.value(seen[rows]) - targets[rows]).square().mean()
            loss = policy_loss + s.value_weight * value_loss
            loss = loss - s.entropy * distribution.entropy().mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), s.max_grad_norm)
            optimiser.step()


def train(settings: Settings) -> tuple[Player, list[tuple[int, float]]]:
    """Train; returns who plays, and the mean reward of the episodes that ended by steps."""
    torch.manual_seed(settings.seed)
    torch.set_num_threads(1)
    env = gymnasium.make_vec(
        settings.name,
        num_envs=settings.num_envs,
        autoreset_mode=AutoresetMode.SAME_STEP,
        **{key: yaml.safe_load(value) for key, _, value in
           (pair.partition("=") for pair in settings.parameters)},
    )  # fmt: skip
    model = ActorCritic(env, settings.width)
    optimiser = torch.optim.Adam(model.parameters(), settings.learning_rate, eps=1e-5)
    player = Player(env, model, settings)
    steps = settings.num_envs * settings.rollout_steps
    rollouts = max(settings.total_steps // steps, 1)
    curve: list[tuple[int, float]] = []
    for i in track(range(rollouts), description="training"):
        optimiser.param_groups[0]["lr"] = settings.learning_rate * (1 - i / rollouts)
        path = player.play()
        with torch.no_grad():
            last = model.value(player.seen)
        improve(model, optimiser, path,
                advantages(path, last, settings.gamma, settings.gae_lambda), settings)  # fmt: skip
        if player.finished:
            curve.append(((i + 1) * steps, float(np.mean(player.finished))))
            player.finished.clear()
    env.close()
    return player, curve


def main(settings: Settings) -> None:
    """Train, and write ``policy.pt``, ``curve.json`` and ``curve.png``."""
    settings = settings.shortened() if settings.quick else settings
    started_s = time.perf_counter()
    player, curve = train(settings)
    settings.out.mkdir(parents=True, exist_ok=True)
    scale = {key: torch.as_tensor(value) for key, value in vars(player.seen_scale).items()}
    torch.save({"model": player.model.state_dict(), "seen": scale}, settings.out / "policy.pt")
    saved = {"settings": {**asdict(settings), "out": str(settings.out)}, "curve": curve}
    (settings.out / "curve.json").write_text(json.dumps(saved, indent=1))
    figure = Figure(figsize=(7, 3.5), dpi=150, layout="constrained")
    axis = figure.subplots()
    axis.plot(*zip(*curve, strict=True))
    axis.set(xlabel="Steps", ylabel="Mean reward of an episode", title=settings.name)
    figure.savefig(settings.out / "curve.png")
    seconds = time.perf_counter() - started_s
    speed = curve[-1][0] / seconds
    print(f"{settings.name}: {curve[0][1]:.3f} at first, {curve[-1][1]:.3f} at last", end="")
    print(f" a mean episode; {curve[-1][0]:,} steps, {speed:,.0f} a second")


if __name__ == "__main__":
    main(tyro.cli(Settings))
