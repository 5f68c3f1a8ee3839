"""What every generator is, of order flow or of returns: by name, saved and found again."""

import importlib
import inspect
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from marketsim.checks import did_you_mean, refuse_unknown
from marketsim.errors import ConfigError, ModelError
from marketsim.flow import Flow, Order, View
from marketsim.tape import Tape

#: Called with what is done (0 to 1) and a line of what there is to tell, such as losses.
FitProgress = Callable[[float, str], None]


class Generator(ABC):
    """What can be made by its name, saved and loaded.

    Attributes
    ----------
    name : under which it is registered.
    sampling : parameters that only say how it draws, which a trained one can be given anew.
    """

    name: ClassVar[str]
    sampling: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """JSON values: what :func:`create` takes to make one like it, before it has learned."""

    @abstractmethod
    def learned(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """What it has learned: arrays by name, and JSON values."""

    @abstractmethod
    def restore(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """The inverse of :meth:`learned`.

        Raises
        ------
        KeyError, ValueError
            If something is missing or has the wrong shape.
        """

    def save(self, folder: "str | os.PathLike[str]") -> None:
        """Write ``model.safetensors`` and ``model.json``.

        Raises
        ------
        ModelError
            If the folder cannot be written to.
        """
        from safetensors.numpy import save

        folder = Path(folder)
        arrays, values = self.learned()
        head = {"format": FORMAT, "model": self.name, "parameters": self.parameters(), **values}
        contents = {
            "model.safetensors": save({k: np.ascontiguousarray(v) for k, v in arrays.items()}),
            "model.json": (json.dumps(head, indent=1) + "\n").encode(),
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in contents.items():
                beside = folder / f"{name}.tmp"
                beside.write_bytes(content)
                os.replace(beside, folder / name)
        except OSError as error:
            raise ModelError(f"{folder}: cannot be written: {error.strerror}") from error


class OrderFlowGenerator(Generator):
    """A model of order flow: given the past and the book, it writes the next order.

    Attributes
    ----------
    context : how many events :meth:`start` needs.
    """

    context: ClassVar[int] = 1

    @abstractmethod
    def fit(self, tapes: Sequence[Tape], *, valid: Sequence[Tape] = (), seed: int = 0,
            progress: FitProgress | None = None) -> Self:  # fmt: skip
        """Learn from tapes; ``valid`` are held out, for early stopping.

        A network takes ``training`` (:class:`marketsim.generators.training.Training`) and
        ``checkpoint``, a file from which an interrupted training goes on, as well.

        Raises
        ------
        DataError
            If a tape has no book, or too few events.
        """

    @abstractmethod
    def start(self, flow: Flow) -> Any:
        """State of one market after its past ``flow``, of at least ``context`` events.

        A state can be copied (``copy.deepcopy``), and packed by :meth:`pack`.
        """

    @abstractmethod
    def next_orders(
        self, states: Sequence[Any], views: Sequence[View], rngs: Sequence[np.random.Generator]
    ) -> list[Order]:
        """Write the next order of several markets, and move their states on.

        What one market gets depends on its own state, view and stream only. On the CPU it is the
        same, bit for bit, whichever markets are asked for with it.
        """

    def next_order(self, state: Any, view: View, rng: np.random.Generator) -> Order:
        """Write the next order of one market."""
        return self.next_orders([state], [view], [rng])[0]

    @abstractmethod
    def pack(self, state: Any) -> dict[str, Any]:
        """A state as JSON values and NumPy arrays."""

    @abstractmethod
    def unpack(self, packed: dict[str, Any]) -> Any:
        """The inverse of :meth:`pack`."""


FORMAT = "marketsim-model-1"
#: Files of a saved model.
FILES = ("model.json", "model.safetensors")
_SHIPPED = Path(__file__).parent / "models"
#: Registered name -> where its class is; imported when it is first asked for. Of order flow:
GENERATORS = {
    "bootstrap": "marketsim.generators.bootstrap:BlockBootstrap",
    "cgan": "marketsim.generators.cgan:CGAN",
    "poisson": "marketsim.generators.poisson:PoissonFlow",
    "trades": "marketsim.generators.trades:trades",
}
#: The same, of return windows.
RETURNS = {
    "block-bootstrap": "marketsim.generators.return_bootstrap:BlockBootstrapReturns",
    "bootstrap-returns": "marketsim.generators.return_bootstrap:BootstrapReturns",
    "cms-vae": "marketsim.generators.cms_vae:CmsVae",
    "fourier-flow": "marketsim.generators.fourier_flow:FourierFlow",
    "garch-copula": "marketsim.generators.garch_copula:GarchCopula",
    "gaussian": "marketsim.generators.gaussian:GaussianReturns",
    "quant-gan": "marketsim.generators.quant_gan:QuantGAN",
    "timevae": "marketsim.generators.timevae:TimeVAE",
}


def names() -> list[str]:
    """Names of the generators that there are, of order flow and of returns."""
    return sorted({**GENERATORS, **RETURNS})


def create(name: str, **parameters: Any) -> Any:
    """Make a generator that has learned nothing yet.

    Raises
    ------
    ConfigError
        If there is no such generator, or it refuses a parameter.
    """
    known = {**GENERATORS, **RETURNS}
    if name not in known:
        raise ConfigError(f"model: unknown generator {name!r}{did_you_mean(name, known)}")
    module, _, cls = known[name].partition(":")
    return make(f"model {name}", getattr(importlib.import_module(module), cls), parameters)


def make(where: str, cls: Callable[..., Any], parameters: Mapping[str, Any]) -> Any:
    """Call a class, or a function that makes an object, after a look at what it takes.

    Raises
    ------
    ConfigError
        For a parameter that it does not take, or of a type that it refuses.
    """
    taken = _parameters_of(cls)
    if taken is not None:
        refuse_unknown(where, parameters, taken)
    try:
        return cls(**parameters)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from error


def _parameters_of(cls: Callable[..., Any]) -> list[str] | None:
    """Names that a class takes, those that it hands on to its bases too; None if any will do."""
    names: list[str] = []
    inits = (
        [vars(c)["__init__"] for c in cls.__mro__ if "__init__" in vars(c)]
        if inspect.isclass(cls)
        else [cls]
    )
    if inits[0] is object.__init__:
        return []  # it takes none at all
    for init in inits:
        if init is object.__init__:
            break
        taken = inspect.signature(init).parameters.values()
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        names += [p.name for p in taken if p.kind in kinds and p.name != "self"]
        if not any(p.kind is p.VAR_KEYWORD for p in taken):
            return names
    return None


def shipped() -> list[str]:
    """Names of the trained models that come with the package."""
    return sorted(folder.name for folder in _SHIPPED.iterdir() if (folder / FILES[0]).is_file())


def model_folder(model: "str | os.PathLike[str]") -> Path:
    """Folder of a model: that of a shipped one by its name, else the path itself.

    Raises
    ------
    ModelError
        If there is no such folder.
    """
    folder = Path(model)
    if folder.is_dir():
        return folder
    if isinstance(model, str) and model in shipped():
        return _SHIPPED / model
    hint = did_you_mean(str(model), shipped())
    raise ModelError(
        f"{folder}: no such model folder{hint}; shipped models: {', '.join(shipped())}"
    )


def load(model: "str | os.PathLike[str]", **parameters: Any) -> Any:
    """Read a saved generator, by its folder or, of a shipped one, by its name.

    Parameters
    ----------
    **parameters : of how it draws, in place of those that it was saved with.

    Raises
    ------
    ModelError
        If the folder is missing, or a file in it is missing, damaged or of another format.
    ConfigError
        For a parameter that the generator refuses, or that it was trained with.
    """
    folder = model_folder(model)
    head, arrays = _read(folder)
    try:
        generator = create(head["model"], **head["parameters"])
        refuse_unknown(f"model {generator.name!r}, how it draws", parameters, generator.sampling)
        if parameters:
            generator = create(head["model"], **{**head["parameters"], **parameters})
        generator.restore(arrays, head)
    except (KeyError, ValueError, TypeError, RuntimeError, ConfigError) as error:
        if parameters and isinstance(error, ConfigError):
            raise  # it is what was asked for that cannot be
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ModelError(f"{folder}: not a model, or damaged: {what}") from error
    return generator


def name_of(model: "str | os.PathLike[str]") -> str:
    """Name of the generator that a saved model is of.

    Raises
    ------
    ModelError
        As :func:`load`.
    """
    return str(_read_head(model_folder(model)).get("model"))


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as load_arrays

    head = _read_head(folder)
    try:
        arrays = load_arrays((folder / "model.safetensors").read_bytes())
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(f"{folder / 'model.safetensors'}: cannot be read: {error}") from error
    return head, arrays


def _read_head(folder: Path) -> dict[str, Any]:
    """What ``model.json`` says, of a folder that has all files of a model."""
    for name in FILES:
        if not (folder / name).is_file():
            raise ModelError(f"{folder}: {name} is missing")
    try:
        head: dict[str, Any] = json.loads((folder / "model.json").read_text())
        found = head.get("format")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{folder / 'model.json'}: cannot be read: {error}") from error
    if found != FORMAT:
        raise ModelError(f"{folder / 'model.json'}: format must be {FORMAT!r}, was {found!r}")
    return head
