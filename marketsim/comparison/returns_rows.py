"""Rows of the comparison of returns: which generator draws each one's windows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from marketsim.checks import did_you_mean
from marketsim.comparison.rows import whole_steps
from marketsim.errors import ConfigError

#: Kinds of rows, in the order in which they are shown.
GROUPS = ("reference", "bootstrap", "classical", "neural", "ablation", "forecast")
#: Those that have tables of their own.
APART = ("ablation", "forecast")
#: The row that others' VaR gaps are divided by, and how far below it the CMS-VAE paper came.
VAR_BASE, PAPER_VAR_CHANGE = "timevae", -77.6
#: The two rows that know the recent past: a network, and a bootstrap.
CONTEST = ("cms-vae", "recent")
#: The same, told before each test window what was known then.
FORECAST = ("cms-vae-day-ahead", "recent-day-ahead")


@dataclass(frozen=True)
class Row:
    """A source of windows.

    Attributes
    ----------
    about : what it is, a few words.
    group : one of ``GROUPS``.
    generator : its registered name, made with ``parameters``; None draws nothing but zeros.
    model : row whose trained model it draws from; its own where None.
    """

    about: str
    group: str
    generator: str | None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None

    @property
    def network(self) -> bool:
        """Whether it is trained step by step."""
        return self.group in ("neural", "ablation")

    @property
    def forecast(self) -> bool:
        """Whether it is told, before each test window, what was known then."""
        return self.group == "forecast"


def _cms_vae(convolution: str, strategies: list[str]) -> Row:
    loss = "ELBO" if not strategies else f"EFPL of {', '.join(strategies)}"
    parameters = {"condition": "past", "convolution": convolution, "strategies": strategies}
    return Row(f"CMS-VAE, {convolution} convolutions, {loss}", "ablation", "cms-vae", parameters)


ROWS = {
    "zeros": Row("no movement; no generator", "reference", None),
    "past": Row("windows of the past", "bootstrap", "bootstrap-returns"),
    "recent": Row(
        "windows of the last fifth of the past", "bootstrap", "bootstrap-returns", {"recent": 0.2}
    ),
    "block-bootstrap": Row("stationary block bootstrap", "bootstrap", "block-bootstrap"),
    "gaussian": Row("normal windows", "classical", "gaussian"),
    "garch-copula": Row("GARCH-t with a t copula", "classical", "garch-copula"),
    "timevae": Row("TimeVAE", "neural", "timevae"),
    "cosci-gan": Row("COSCI-GAN", "neural", "cosci-gan"),
    "quant-gan": Row("Quant-GAN", "neural", "quant-gan"),
    "tail-gan": Row("TailGAN", "neural", "tail-gan"),
    "diffusion-ts": Row("Diffusion-TS", "neural", "diffusion-ts"),
    "fourier-flow": Row("Fourier-Flow", "neural", "fourier-flow"),
    "cms-vae-unconditional": Row("CMS-VAE, told of no past", "neural", "cms-vae"),
    "cms-vae": Row(
        "CMS-VAE, told of the returns before the last fifth of the past's windows",
        "neural",
        "cms-vae",
        {"condition": "past"},
    ),
    "cms-vae-plain-elbo": _cms_vae("plain", []),
    "cms-vae-plain-one": _cms_vae("plain", ["MR"]),
    "cms-vae-plain-all": _cms_vae("plain", ["EW", "MR", "TF", "VT"]),
    "cms-vae-dilated-elbo": _cms_vae("dilated", []),
    "cms-vae-dilated-one": _cms_vae("dilated", ["MR"]),
    "recent-day-ahead": Row("windows of the 30 days before each test window", "forecast", None),
    "cms-vae-day-ahead": Row(
        "CMS-VAE, told of the returns before each test window",
        "forecast",
        "cms-vae",
        {"condition": "past"},
        model="cms-vae",
    ),
}
#: The ablation's rows by convolution and loss; the whole model is one of them.
ABLATION = {
    ("plain", "elbo"): "cms-vae-plain-elbo",
    ("plain", "one"): "cms-vae-plain-one",
    ("plain", "all"): "cms-vae-plain-all",
    ("dilated", "elbo"): "cms-vae-dilated-elbo",
    ("dilated", "one"): "cms-vae-dilated-one",
    ("dilated", "all"): "cms-vae",
}


def check_rows(names: Iterable[str] | None) -> list[str]:
    """Names of rows in the order of :data:`ROWS`; a group stands for all of its rows.

    None, or none, is all of them.

    Raises
    ------
    ConfigError
        One is unknown.
    """
    wanted: set[str] = set()
    for name in names or GROUPS:
        if name not in (*ROWS, *GROUPS):
            raise ConfigError(f"rows: unknown row {name!r}{did_you_mean(name, (*ROWS, *GROUPS))}")
        wanted |= {name} if name in ROWS else {row for row in ROWS if ROWS[row].group == name}
        if name == "ablation":
            wanted |= set(ABLATION.values())
    return [name for name in ROWS if name in wanted]


def check_budgets(budgets: Mapping[str, Any]) -> dict[str, int]:
    """Training steps by row, or by generator for all of its rows.

    Raises
    ------
    ConfigError
        A name is unknown or not trained in steps, or a number is no whole number above 0.
    """
    return whole_steps(budgets, {name for name, row in ROWS.items() if row.network})


def steps_of(name: str, budgets: Mapping[str, int]) -> int | None:
    """Training steps that a row was given, itself or by its generator's name."""
    name = ROWS[name].model or name
    if not ROWS[name].network:
        return None
    return budgets.get(name, budgets.get(str(ROWS[name].generator)))
