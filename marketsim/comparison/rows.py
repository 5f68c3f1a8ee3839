"""Rows of the comparison of order flow: where each one's markets come from."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from marketsim.checks import did_you_mean
from marketsim.errors import ConfigError

REPLAY = "replay"


@dataclass(frozen=True)
class Model:
    """A generator that rows use, and how it is trained where nothing else is said.

    Attributes
    ----------
    generator : its registered name; ``parameters``: with which it is made.
    network : whether it is trained step by step; ``settings``: of that, in place of its own.
    """

    generator: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    network: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A source of markets.

    Attributes
    ----------
    about : what it is, a few words.
    config : a market of agents, with ``overrides``; or
    model : name of a :data:`MODELS` entry, loaded with ``sampling``. Neither: recorded flow.
    """

    about: str
    config: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> dict[str, Any]:
        """JSON values that tell its markets from others."""
        return {
            "config": self.config,
            "overrides": dict(self.overrides),
            "model": self.model,
            "sampling": dict(self.sampling),
        }


#: Folder below ``--models`` -> what is in it.
MODELS = {
    "cgan": Model("cgan"),
    "poisson": Model("poisson", network=False),
    "bootstrap": Model("bootstrap", network=False),
    # the paper's 70,000 steps of 256 windows take weeks on a CPU
    "trades-encoder": Model(
        "trades", {"architecture": "encoder"}, settings={"steps": 1000, "batch": 16}
    ),
    "trades-causal": Model("trades", {"architecture": "causal"}),
    "trades-tokens": Model("trades", {"architecture": "tokens"}),
}
STEPS = (100, 20, 8, 1)
ROWS = {
    REPLAY: Row("other windows of the recorded day"),
    "iabs-rmsc03": Row("agents of the TRADES paper's baseline", config="rmsc_trades"),
    "iabs-rmsc04": Row("agents of RMSC04", config="rmsc04"),
    "cgan": Row("conditional GAN (Coletta et al.)", model="cgan"),
    "poisson": Row("Poisson rates by distance (Cont et al.)", model="poisson"),
    "bootstrap": Row("block bootstrap of recorded flow", model="bootstrap"),
    "trades-encoder": Row("TRADES as published", model="trades-encoder"),
    **{
        f"trades-causal-{steps}": Row(
            f"causal TRADES, {steps} step{'s' if steps > 1 else ''} of DDIM",
            model="trades-causal", sampling={"steps": steps},
        )
        for steps in STEPS
    },
    "trades-tokens": Row("causal TRADES, categorical heads", model="trades-tokens"),
}  # fmt: skip


def check_rows(names: Iterable[str] | None) -> list[str]:
    """Names of rows in the order of :data:`ROWS`, the floor's always among them.

    ``trades-causal`` stands for all its numbers of steps; None for all rows.

    Raises
    ------
    ConfigError
        One is unknown.
    """
    wanted = set(ROWS if names is None else names) | {REPLAY}
    causal = {name for name in ROWS if name.startswith("trades-causal-")}
    if "trades-causal" in wanted:
        wanted = (wanted - {"trades-causal"}) | causal
    for name in wanted:
        if name not in ROWS:
            raise ConfigError(f"rows: unknown row {name!r}{did_you_mean(name, ROWS)}")
    return [name for name in ROWS if name in wanted]


def check_budgets(budgets: Mapping[str, Any]) -> dict[str, int]:
    """Training steps by model.

    Raises
    ------
    ConfigError
        A model is unknown or is not trained in steps, or a number is no whole number above 0.
    """
    return whole_steps(budgets, {name for name, model in MODELS.items() if model.network})


def whole_steps(budgets: Mapping[str, Any], networks: Collection[str]) -> dict[str, int]:
    """Budgets as they are, if they are of ``networks`` and in whole steps; errors as above."""
    for name, steps in budgets.items():
        if name not in networks:
            raise ConfigError(
                f"train-steps: unknown network {name!r}{did_you_mean(name, networks)}"
            )
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ConfigError(f"train-steps {name} must be a whole number > 0, was {steps!r}")
    return dict(budgets)
