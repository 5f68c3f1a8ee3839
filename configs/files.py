"""Configuration files: where they are found, and YAML without its surprises."""

import difflib
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from marketsim.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """YAML whose plain scalars are null, true, false, numbers or text, and nothing else.

    YAML 1.1 would read ``10:30`` as 630, ``no`` as false, ``1e-4`` and dates not as expected.
    """

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                mark = node.value[index][0].start_mark
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice", mark
                )
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"null|~|", ["n", "~", ""]),
    ("bool", r"true|false", list("tf")),
    ("int", r"[-+]?\d[\d_]*", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\d[\d_]*)?\.\d+([eE][-+]?\d+)?|[-+]?\d[\d_]*(\.\d*)?[eE][-+]?\d+|[-+]?\d[\d_]*\.",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _first
    )


def _construct_int(loader: _Loader, node: Any) -> int:
    return int(node.value.replace("_", ""))  # decimal, also with leading zeros


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


def parse_yaml(content: str, label: str) -> Any:
    """Return the value of a YAML text; ``label`` says in an error where it came from."""
    try:
        return yaml.load(content, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}" if mark is not None and "\n" in content else ""
        raise ConfigError(f"{label}{place}: not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{label}: not valid YAML: {reason}") from error


def config_names() -> list[str]:
    """Names of the configurations that come with the package."""
    folder = resources.files("marketsim.configs")
    return sorted(file.name[:-5] for file in folder.iterdir() if file.name.endswith(".yaml"))


def read_config(name_or_path: str | Path) -> tuple[str, dict[str, Any]]:
    """Read a configuration by name, or by path (with a suffix or a folder in it).

    Returns
    -------
    tuple
        The name (a file's stem) and the mapping as written, unchecked.

    Raises
    ------
    ConfigError
        When there is no such file, or it holds no mapping.
    """
    path = Path(name_or_path)
    looks_like_path = isinstance(name_or_path, Path) or len(path.parts) > 1 or bool(path.suffix)
    if not looks_like_path and str(name_or_path) in config_names():
        packaged = resources.files("marketsim.configs") / f"{name_or_path}.yaml"
        content = packaged.read_text(encoding="utf-8")
    elif looks_like_path or path.is_file():
        content = _read_text(path)
    else:
        raise ConfigError(_unknown_name(str(name_or_path)))
    raw = _parse_json(content, path) if path.suffix == ".json" else parse_yaml(content, str(path))
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: must hold keys and values, was {type(raw).__name__}")
    return path.stem, raw


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file in UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the configuration: {error.strerror}") from error


def _parse_json(content: str, path: Path) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid JSON: {error}") from error


def _unknown_name(name: str) -> str:
    names = config_names()
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return (
        f"unknown config {name!r}{hint}; known: {', '.join(names)}; or give the path of a YAML file"
    )
