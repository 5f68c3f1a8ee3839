"""Configurations as they are written: plain values, overrides, and bases that they build on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marketsim import checks
from marketsim.configs.files import parse_yaml, read_config
from marketsim.errors import ConfigError

#: Overrides of these are taken as they are: a file may be called ``12`` or ``a: b``.
_TEXT_PATHS = ("name", "description", "data", "base")
_MAX_BASES = 10


def with_base(raw: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """What a configuration says, on top of the one that its key ``base`` names.

    Mappings are merged key by key; an agent that is ``null`` is taken out; anything else replaces
    what the base says.

    Raises
    ------
    ConfigError
        If the base does not exist, or bases lead in a circle.
    """
    raw = dict(raw)
    base = raw.pop("base", None)
    if base is None:
        return raw
    if depth == _MAX_BASES:
        raise ConfigError(f"base: {checks.text('base', base)!r} is more than {_MAX_BASES} deep")
    _, below = read_config(checks.text("base", base))
    below.pop("name", None)
    return _merged(with_base(plain("base", below), depth + 1), raw, "")


def _merged(below: dict[str, Any], above: dict[str, Any], path: str) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        here = f"{path}{key}"
        if path == "agents." and value is None:
            if key not in below:
                raise ConfigError(
                    f"{here}: base has no such agent{checks.did_you_mean(key, below)}"
                )
            del result[key]
        elif (
            isinstance(value, dict)
            and isinstance(below.get(key), dict)
            and not _other(below[key], value)
        ):
            result[key] = _merged(below[key], value, f"{here}.")
        else:
            result[key] = value
    return result


def _other(below: dict[str, Any], above: dict[str, Any]) -> bool:
    """Whether two sections are different kinds of things, whose keys must not be mixed.

    A section with a type may have a model too, as a parameter; a latency has a model only.
    """
    kind = "type" if "type" in below or "type" in above else "model"
    return kind in above and above[kind] != below.get(kind)


def override(raw: dict[str, Any], path: str, value: Any) -> None:
    """Set ``raw`` at a dotted path; keys that nobody knows are refused when ``raw`` is read."""
    if isinstance(value, str) and not (path in _TEXT_PATHS and value != "null"):
        value = parse_yaml(value, f"override {path}={value}")
    value = plain(path, value)
    *parents, last = path.split(".")
    if not all((*parents, last)):
        raise ConfigError(f"override {path!r}: a key is empty")
    removes_agent = parents == ["agents"] and value is None
    if parents[:1] == ["agents"] and (len(parents) > 1 or removes_agent):
        _expect_agent(raw, path, parents[1] if len(parents) > 1 else last)
    where: Any = raw
    for depth, key in enumerate(parents):
        where = _step(where, key, ".".join(parents[: depth + 1]))
    if isinstance(where, list):
        where[_position(where, last, path)] = value
    elif removes_agent:
        del where[last]
    else:
        where[last] = value


def _expect_agent(raw: dict[str, Any], path: str, agent: str) -> None:
    known = checks.mapping("agents", raw.get("agents"))
    if agent not in known:
        hint = checks.did_you_mean(agent, known)
        raise ConfigError(f"override {path}: no agent {agent!r}{hint}")


def _step(where: Any, key: str, here: str) -> Any:
    """Return what a section holds under ``key``; a section that is not written is empty."""
    if isinstance(where, list):
        return where[_position(where, key, here)]
    if where.get(key) is None:
        where[key] = {}
    if not isinstance(where[key], dict | list):
        raise ConfigError(f"override: {here} is a value, it has no keys")
    return where[key]


def _position(items: list[Any], key: str, path: str) -> int:
    if not key.isdecimal() or int(key) >= len(items):
        raise ConfigError(f"override {path}: {key!r} must be a position from 0 to {len(items) - 1}")
    return int(key)


def plain(where: str, value: Any) -> Any:
    """Return a deep copy of plain JSON values; anything else has no place in a configuration."""
    try:
        if isinstance(value, Mapping):
            return {
                key: plain(f"{where}.{key}", item)
                for key, item in checks.mapping(where, value).items()
            }
        if isinstance(value, list | tuple):
            return [plain(f"{where}.{i}", item) for i, item in enumerate(value)]
    except RecursionError as error:
        raise ConfigError("config: contains itself, or is nested too deeply") from error
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and callable(value.item):
        value = value.item()  # a NumPy scalar
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ConfigError(f"{where} must be plain text, a number, a list or a mapping, was {value!r}")
