"""A plain training loop: losses, early stopping, and checkpoints from which it goes on exactly."""

import contextlib
import copy
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from marketsim import checks
from marketsim.errors import ConfigError, DataError, ModelError
from marketsim.generators.base import FitProgress
from marketsim.interrupts import held_back


@dataclass(frozen=True)
class Training:
    """How long and how a network is trained.

    Attributes
    ----------
    steps : updates at most; the learning rate falls from its peak to 0 along half a cosine.
    batch : windows an update. ``learning_rate``: its peak, after ``warm_up`` steps.
    weight_decay : of matrices (AdamW). ``momentum``: decay of the running mean of gradients; less
        than usual lets networks that play against each other settle.
    average : decay of the running mean of the weights, which is what is kept.
    evaluate_every : steps between two looks at the held-out part.
    patience : looks without a better one after which it stops; 0 never stops early.
    checkpoint_every_s : seconds between two checkpoints: the most that a kill can lose.
    device : "cpu", "cuda" …; ``threads`` : of the CPU.
    bfloat16 : whether matrix products are in bfloat16; None: where the machine is fast at it.
    tensorboard : folder for TensorBoard's event files, which needs the package ``tensorboard``.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    steps: int = 3000
    batch: int = 16
    learning_rate: float = 1.5e-3
    warm_up: int = 100
    weight_decay: float = 0.1
    momentum: float = 0.9
    average: float = 0.999
    evaluate_every: int = 200
    patience: int = 5
    checkpoint_every_s: float = 60.0
    device: str = "cpu"
    threads: int = 1
    bfloat16: bool | None = None
    tensorboard: str | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "evaluate_every", "threads"):
            checks.integer(name, getattr(self, name), 1)
        for name in ("warm_up", "patience"):
            checks.integer(name, getattr(self, name), 0)
        for name in ("learning_rate", "checkpoint_every_s"):
            checks.positive(name, getattr(self, name))
        checks.at_least_zero("weight_decay", self.weight_decay)
        for name in ("momentum", "average"):
            if checks.at_least_zero(name, getattr(self, name)) >= 1:
                raise ConfigError(f"{name} must be from 0 to below 1, was {getattr(self, name)!r}")
        checks.text("device", self.device)
        if self.bfloat16 is not None:
            checks.boolean("bfloat16", self.bfloat16)
        if self.tensorboard is not None:
            checks.text("tensorboard", self.tensorboard)

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        rise = min(1.0, (step + 1) / max(self.warm_up, 1))
        return self.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * step / self.steps))


class Task(Protocol):
    """What is trained: a network, batches for it, and what a held-out part says of it."""

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """Draw a batch of the training data."""

    def losses(self, network: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mean losses by name; their sum is minimised."""

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Mean losses on the held-out part; nothing if there is none."""


def train(
    network: nn.Module,
    task: Task,
    settings: Training,
    *,
    seed: int = 0,
    progress: FitProgress | None = None,
    checkpoint: Path | None = None,
) -> dict[str, Any]:
    """Train a network; it holds the best averaged weights afterwards.

    Parameters
    ----------
    checkpoint : file to keep the state of the training in, and to go on from if it is there.

    Returns
    -------
    dict
        JSON values: steps done, seconds, best held-out losses and their step, settings, and the
        learning curve: step, running loss and held-out loss at each look.

    Raises
    ------
    ModelError
        If the checkpoint is another training's, or damaged.
    ConfigError
        If the device cannot be used.
    DataError
        If a loss is not finite.
    KeyboardInterrupt
        At the end of a step, after a checkpoint was written.
    """
    with cpu_threads(settings.threads), held_back() as interrupted:
        loop = _Loop(network, task, settings, seed, checkpoint)
        writer = _tensorboard(settings.tensorboard)
        try:
            loop.run(progress, writer, interrupted)
        finally:
            if writer is not None:
                writer.close()
    return loop.finish()


class _Loop:
    def __init__(
        self, network: nn.Module, task: Task, settings: Training, seed: int, path: Path | None
    ) -> None:
        torch.manual_seed(seed)
        self.cuda = _usable(settings.device).type == "cuda"
        self.task, self.settings, self.seed, self.path = task, settings, seed, path
        self.given = network
        self.network = copy.deepcopy(network).to(settings.device)
        self.averaged = copy.deepcopy(self.network).eval()
        self.best = copy.deepcopy(self.averaged)
        self.rng = np.random.default_rng(seed)
        matrices = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": settings.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=settings.learning_rate,
            betas=(settings.momentum, 0.95),
        )
        self.step, self.seconds, self.since_best = 0, 0.0, 0
        self.best_losses: dict[str, float] = {}
        self.best_step = 0
        self.running: dict[str, float] = {}
        self.curve: list[tuple[int, float, float | None]] = []
        self.bfloat16 = settings.bfloat16
        if self.bfloat16 is None:
            self.bfloat16 = fast_bfloat16(settings.device)
        if path is not None and path.exists():
            self.load()

    def run(
        self, progress: FitProgress | None, writer: Any, interrupted: Callable[[], bool]
    ) -> None:
        settings = self.settings
        started = saved = told = time.monotonic()
        already, first = self.seconds, self.step
        running = self.running
        while self.step < settings.steps and not self._enough():
            for name, value in self._update().items():
                running[name] = 0.98 * running.get(name, value) + 0.02 * value
            now = time.monotonic()
            self.seconds = already + now - started
            if self.step % settings.evaluate_every == 0 or self.step == settings.steps:
                self._evaluate(writer)
            if now - saved > settings.checkpoint_every_s:
                self.save()
                saved = now
            if progress is not None and (now - told > 0.5 or self.step == settings.steps):
                told = now
                left = (now - started) / (self.step - first) * (settings.steps - self.step)
                self._tell(progress, self._line(running, left))
            if writer is not None:
                writer.add_scalar("train/loss", sum(running.values()), self.step)
            if interrupted():
                self.save()
                raise KeyboardInterrupt
        self.save()

    def _tell(self, progress: FitProgress, line: str) -> None:
        try:
            progress(self.step / self.settings.steps, line)
        except KeyboardInterrupt:
            self.save()
            raise

    def _enough(self) -> bool:
        return 0 < self.settings.patience <= self.since_best

    def _update(self) -> dict[str, float]:
        settings = self.settings
        for group in self.optimiser.param_groups:
            group["lr"] = settings.rate(self.step)
        batch = self.task.batch(self.rng, settings.batch)
        batch = {name: tensor.to(settings.device) for name, tensor in batch.items()}
        self.network.train()
        kind = torch.device(settings.device).type
        with torch.autocast(kind, torch.bfloat16, enabled=bool(self.bfloat16)):
            losses = self.task.losses(self.network, batch)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            raise DataError(f"training: the loss of step {self.step} is {float(total.detach())}")
        self.optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        decay = min(settings.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, new in zip(
                self.averaged.parameters(), self.network.parameters(), strict=True
            ):
                mean.lerp_(new, 1 - decay)
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _evaluate(self, writer: Any) -> None:
        with torch.no_grad():
            losses = self.task.validate(self.averaged)
        total = sum(losses.values()) if losses else -self.step
        if not math.isfinite(total):
            raise DataError(f"training: the held-out loss of step {self.step} is {total}")
        seen = sum(self.running.values())
        self.curve.append((self.step, round(seen, 6), round(total, 6) if losses else None))
        if not self.best_losses and not losses or total < self._best():
            self.best_losses, self.best_step, self.since_best = losses, self.step, 0
            self.best.load_state_dict(self.averaged.state_dict())
        else:
            self.since_best += 1
        if writer is not None and losses:
            writer.add_scalar("valid/loss", total, self.step)

    def _best(self) -> float:
        return sum(self.best_losses.values()) if self.best_losses else math.inf

    def _line(self, running: dict[str, float], left_s: float) -> str:
        parts = " ".join(f"{name} {value:.3f}" for name, value in running.items())
        best = f", held out {self._best():.3f} at {self.best_step}" if self.best_losses else ""
        minutes, seconds = divmod(int(left_s), 60)
        return f"step {self.step}: {parts}{best}, {minutes}:{seconds:02d} left"

    def finish(self) -> dict[str, Any]:
        chosen = self.best if self.best_step else self.averaged
        self.given.load_state_dict({k: v.cpu() for k, v in chosen.state_dict().items()})
        self.given.eval()
        return {
            "steps": self.step, "seconds": round(self.seconds, 1), "best_step": self.best_step,
            "held_out": self.best_losses, "seed": self.seed, "settings": asdict(self.settings),
            "curve": self.curve,
        }  # fmt: skip

    # -- checkpoints -----------------------------------------------------------------------

    def save(self) -> None:
        """Write the whole state of the training, beside its place and then into it."""
        if self.path is None:
            return
        from safetensors.torch import save

        tensors: dict[str, Tensor] = {}
        for name, module in self._modules().items():
            tensors |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
        for number, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{key}": value for key, value in state.items()}
        tensors["torch_rng"] = torch.get_rng_state()
        if self.cuda:
            tensors["cuda_rng"] = torch.cuda.get_rng_state(self.settings.device)
        head = {
            "settings": asdict(self.settings), "seed": self.seed, "step": self.step,
            "seconds": self.seconds, "since_best": self.since_best, "best_step": self.best_step,
            "best_losses": self.best_losses, "rng": self.rng.bit_generator.state,
            "running": self.running, "curve": self.curve,
        }  # fmt: skip
        content = save(
            {name: value.contiguous().cpu() for name, value in tensors.items()},
            {"head": json.dumps(head)},
        )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside = self.path.with_name(self.path.name + ".tmp")
            beside.write_bytes(content)
            os.replace(beside, self.path)
        except OSError as error:
            raise ModelError(f"{self.path}: cannot be written: {error.strerror}") from error

    def _modules(self) -> dict[str, nn.Module]:
        return {"network": self.network, "averaged": self.averaged, "best": self.best}

    def load(self) -> None:
        """Go on from a checkpoint."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(self.path), "pt") as file:
                head = json.loads(file.metadata()["head"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            self._same(head)
            for name, module in self._modules().items():
                prefix = f"{name}."
                module.load_state_dict(
                    {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
                )
            self._load_optimiser(tensors)
            torch.set_rng_state(tensors["torch_rng"])
            if self.cuda:
                torch.cuda.set_rng_state(tensors["cuda_rng"], self.settings.device)
            self.rng.bit_generator.state = head["rng"]
            self.step, self.seconds = int(head["step"]), float(head["seconds"])
            self.since_best, self.best_step = head["since_best"], head["best_step"]
            self.best_losses = dict(head["best_losses"])
            self.running = dict(head["running"])
            self.curve = [tuple(row) for row in head["curve"]]
        except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
            what = " ".join(str(error).split())
            raise ModelError(
                f"{self.path}: not a checkpoint of this training, or damaged: {what}"
            ) from error

    def _same(self, head: dict[str, Any]) -> None:
        """Raise if a checkpoint's settings are others, as far as they change what is learned."""
        same = (
            "batch", "learning_rate", "steps", "weight_decay", "momentum", "average", "warm_up",
        )  # fmt: skip
        now = {name: getattr(self.settings, name) for name in same} | {"seed": self.seed}
        for name, value in now.items():
            then = head["seed"] if name == "seed" else head["settings"][name]
            if then != value:
                raise ModelError(
                    f"{self.path}: {name} was {then} when it began, is {value} now; give the"
                    " same, or another folder"
                )

    def _load_optimiser(self, tensors: dict[str, Tensor]) -> None:
        state = self.optimiser.state_dict()
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, number, key = name.split(".")
                state["state"].setdefault(int(number), {})[key] = value
        self.optimiser.load_state_dict(state)


def _usable(device: str) -> torch.device:
    """A device that tensors can be on here."""
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        what = str(error).splitlines()[0]
        raise ConfigError(f"device: {device!r} cannot be used: {what}") from error


@contextlib.contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch compute in ``count`` threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fast_bfloat16(device: str) -> bool:
    """Whether a device multiplies matrices faster in bfloat16 than in float32."""
    if torch.device(device).type == "cpu":
        return "avx512_bf16" in _cpu_flags() or "amx_bf16" in _cpu_flags()
    return torch.device(device).type == "cuda" and torch.cuda.is_bf16_supported()


def _cpu_flags() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def _tensorboard(folder: str | None) -> Any:
    if folder is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(f"tensorboard: needs the package tensorboard: {error}") from error
    return SummaryWriter(folder)
