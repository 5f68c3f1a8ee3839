"""Sections whose class is named by one of their keys: ``{type: file, path: ...}``."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any

from marketsim import checks
from marketsim.errors import ConfigError


def read_tagged(where: str, tag: str, classes: Mapping[str, type[Any]], raw: Any) -> Any:
    """Build the dataclass that ``raw[tag]`` names from the section's other keys; None for nothing.

    Raises
    ------
    ConfigError
        For an unknown name or key, a key that is missing, or a value that the class refuses.
    """
    if raw is None:
        return None
    keys = checks.mapping(where, raw)
    if tag not in keys:
        raise ConfigError(f"{where}: key {tag!r} is required: one of {', '.join(classes)}")
    name = checks.text(f"{where}.{tag}", keys.pop(tag))
    if name not in classes:
        hint = checks.did_you_mean(name, classes)
        raise ConfigError(f"{where}.{tag}: unknown {tag} {name!r}{hint}")
    known = fields(classes[name])
    checks.refuse_unknown(where, keys, [field.name for field in known])
    for field in known:
        if field.default is MISSING and field.name not in keys:
            raise ConfigError(f"{where}: key {field.name!r} is required")
    try:
        return classes[name](**keys)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from error


def tagged_to_dict(tag: str, classes: Mapping[str, type[Any]], value: Any) -> Any:
    """The inverse of :func:`read_tagged`."""
    if value is None:
        return None
    name = next(name for name, cls in classes.items() if cls is type(value))
    return {tag: name, **{key: _plain(item) for key, item in asdict(value).items()}}


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
