"""Checks of configuration values; every error names the field, the rule and the value."""

import difflib
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from marketsim.errors import ConfigError

MAX_INT64 = 2**63 - 1


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"``, or the list of what is known when nothing is near."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f" (did you mean {near[0]!r}?)"
    return f" (known: {', '.join(names)})" if names else ""


def refuse_unknown(field: str, keys: Iterable[str], known: Collection[str]) -> None:
    """Raise for the first of ``keys`` that is not ``known``; ``field`` is '' at the top."""
    for key in keys:
        if key not in known:
            raise ConfigError(
                f"{field + ': ' if field else ''}unknown key {key!r}{did_you_mean(key, known)}"
            )


def mapping(field: str, value: Any) -> dict[str, Any]:
    """Return a mapping with text keys; nothing stands for an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{field} must be a mapping of keys to values, was {value!r}")
    for key in value:
        if not isinstance(key, str):
            raise ConfigError(f"{field}: keys must be text, was {key!r}")
    return dict(value)


def sequence(field: str, value: Any) -> list[Any]:
    """Return a list's items."""
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{field} must be a list, was {value!r}")
    return list(value)


def text(field: str, value: Any) -> str:
    """Return text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        quote = " (put it in quotes)" if isinstance(value, int | float) else ""
        raise ConfigError(f"{field} must be text and not empty, was {value!r}{quote}")
    return value


def integer(field: str, value: Any, minimum: int, maximum: int = MAX_INT64) -> int:
    """Return a whole number within bounds."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{field} must be a whole number, was {value!r}")
    if not minimum <= value <= maximum:
        limit = f">= {minimum}" if value < minimum else f"<= {maximum}"
        raise ConfigError(f"{field} must be {limit}, was {value}")
    return value


def number(field: str, value: Any) -> float:
    """Return a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{field} must be a finite number, was {value!r}")
    return float(value)


def positive(field: str, value: Any) -> float:
    """Return a finite number > 0."""
    result = number(field, value)
    if result <= 0:
        raise ConfigError(f"{field} must be > 0, was {value!r}")
    return result


def at_least_zero(field: str, value: Any) -> float:
    """Return a finite number >= 0."""
    result = number(field, value)
    if result < 0:
        raise ConfigError(f"{field} must be >= 0, was {value!r}")
    return result


def boolean(field: str, value: Any) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{field} must be true or false, was {value!r}")
    return value


def choice(field: str, value: Any, choices: Collection[str]) -> str:
    """Return one of a few words."""
    if not isinstance(value, str) or value not in choices:
        raise ConfigError(f"{field} must be one of {', '.join(choices)}, was {value!r}")
    return value
