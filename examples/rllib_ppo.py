"""PPO by RLlib: our environments under names that every worker of Ray knows.

RLlib is not among the extras: it pins an older gymnasium, with which our environments work too.
Install it in a virtual environment of its own: ``pip install 'ray[rllib]' gymnasium==1.2.2``, and
then this package. Run with ``python examples/rllib_ppo.py --iterations 20``.
"""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import tyro

NAME = "marketsim/Execution-v0"
PARAMETERS = {"window": "30min", "interval": "30s"}


@dataclass(frozen=True)
class Settings:
    """How long to train, and on what.

    workers : processes that play, beside the one that learns; 0 plays in that one.
    """

    iterations: int = 20
    workers: int = 1
    envs_per_worker: int = 8
    seed: int = 0


def creator(name: str) -> Callable[[Mapping[str, Any]], gymnasium.Env]:
    """What RLlib's ``register_env`` asks for: a function of the ``env_config``.

    Gymnasium's registry is one a process: the name says which module to import in a worker.
    """

    def create(env_config: Mapping[str, Any]) -> gymnasium.Env:
        return gymnasium.make(f"marketsim:{name}", disable_env_checker=True, **env_config)

    return create


def main(settings: Settings) -> None:
    """Train, and print the mean reward of an episode after each iteration."""
    if importlib.util.find_spec("ray") is None:
        raise SystemExit("RLlib is not installed; pip install 'ray[rllib]' gymnasium==1.2.2")
    import ray
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.tune.registry import register_env

    register_env(NAME, creator(NAME))
    ray.init("local", include_dashboard=False, log_to_driver=False, logging_level="error")
    config = (
        PPOConfig()
        .environment(NAME, env_config=PARAMETERS)
        .env_runners(
            num_env_runners=settings.workers, num_envs_per_env_runner=settings.envs_per_worker
        )
        .training(gamma=1.0, lr=3e-4, train_batch_size=4_000, minibatch_size=500, num_epochs=8)
        .debugging(seed=settings.seed)
    )
    algorithm = config.build_algo()
    for iteration in range(settings.iterations):
        found = algorithm.train()["env_runners"]
        print(f"{iteration + 1:>4}  {found.get('episode_return_mean', float('nan')):.3f}")
    algorithm.stop()
    ray.shutdown()


if __name__ == "__main__":
    main(tyro.cli(Settings))
