"""Saved models, each read once in a process and shared by all who ask for it."""

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marketsim.errors import ConfigError, ModelError
from marketsim.generators.base import FILES, load, model_folder


def model_digest(model: "str | os.PathLike[str]") -> str:
    """SHA-256 of a saved model's files; of a shipped one's, by its name.

    Raises
    ------
    ModelError
        If the folder or a file in it is missing.
    """
    folder, digest = model_folder(model), hashlib.sha256()
    for name in FILES:
        path = folder / name
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise ModelError(f"model {path}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def shared_model(
    model: "str | os.PathLike[str]", device: str = "cpu", sampling: Mapping[str, Any] | None = None
) -> tuple[Any, str]:
    """A saved generator, by folder or shipped name, and its digest.

    It is the same object as long as its files and ``sampling``, how it draws, stay the same.

    Raises
    ------
    ModelError
        As :func:`marketsim.generators.load`.
    ConfigError
        If the generator, or torch on this machine, does not work on the device; as
        :func:`marketsim.generators.load`.
    """
    folder = model_folder(model)
    digest = model_digest(folder)
    draws = json.dumps(dict(sampling or {}), sort_keys=True)
    return _loaded(str(Path(folder).resolve()), digest, device, draws), digest


@functools.lru_cache(maxsize=8)
def _loaded(folder: str, digest: str, device: str, draws: str) -> Any:
    return on_device(load(folder, **json.loads(draws)), device)


def on_device(generator: Any, device: str) -> Any:
    """A generator that computes on a device.

    Raises
    ------
    ConfigError
        If the generator, or torch on this machine, does not work on it.
    """
    if device != "cpu":
        if not hasattr(generator, "to"):
            raise ConfigError(f"device must be 'cpu' for model {generator.name!r}, was {device!r}")
        generator.to(device)
    return generator
