"""The shape of the package: which way imports point, what is packaged, what an import costs."""

import ast
import importlib
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "marketsim"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

#: Modules of the core that tie the rooms together, and may import all of them.
ON_TOP = {
    "arms",
    "batch",
    "bench",
    "bench_engine",
    "bench_envs",
    "bench_evaluate",
    "bench_markets",
    "bench_process",
    "bench_returns",
    "bench_world",
    "cli",
    "compare_cli",
    "comparison",
    "console",
    "data_cli",
    "evaluation",
    "evaluation_report",
    "experiment",
    "experiment_cli",
    "experiment_plots",
    "experiment_tables",
    "impact",
    "intraday",
    "market_quality",
    "metrics",
    "plot_agents",
    "plot_style",
    "plots",
    "report",
    "report_tables",
    "return_tables",
    "returns_run",
    "sample_cli",
    "sampling",
    "simulation",
    "sweeps",
    "train_cli",
    "training_run",
    "treatment",
}
UPPER = ("marketsim.configs", "marketsim.envs") + tuple(f"marketsim.{name}" for name in ON_TOP)
ROOMS = ("marketsim.agents", "marketsim.generators")

SOURCES = {
    ".".join(
        file.relative_to(ROOT).with_suffix("").parts[: -1 if file.name == "__init__.py" else None]
    ): file
    for folder in (PACKAGE, *(path for path in PACKAGE.iterdir() if path.is_dir()))
    for file in folder.glob("*.py")
}


def module_level_imports(file: Path) -> Iterator[str]:
    """Modules imported when ``file`` is; those for type checkers only, or lazily, are left out."""

    def walk(nodes: list[ast.stmt]) -> Iterator[str]:
        for node in nodes:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield str(node.module)
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                yield from walk(node.orelse)
            elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for part in ("body", "orelse", "finalbody"):
                    yield from walk(getattr(node, part, []))
                for handler in getattr(node, "handlers", []):
                    yield from walk(handler.body)

    yield from walk(ast.parse(file.read_text(encoding="utf-8")).body)


def within(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(room + ".") for room in rooms)


def forbidden(module: str) -> tuple[str, ...]:
    """Rooms that a module must not import when it is imported itself."""
    room = module.split(".")[1] if "." in module else ""
    if room == "agents":
        return (*UPPER, "marketsim.generators")
    if room == "generators":
        return (*UPPER, "marketsim.agents")
    if room == "configs":
        return tuple(f"marketsim.{name}" for name in ON_TOP) + ROOMS
    if room in ON_TOP or room in ("", "envs"):  # the package itself names all of them
        return ()
    return (*UPPER, *ROOMS)


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_imports_point_one_way(module: str) -> None:
    back = [
        name for name in module_level_imports(SOURCES[module]) if within(name, forbidden(module))
    ]
    assert not back, f"{module} must not import {back}"


def test_the_walk_finds_imports(tmp_path: Path) -> None:
    file = tmp_path / "sample.py"
    file.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import typed_only\n"
        "try:\n    import tried\nexcept ImportError:\n    import instead\n"
        "class Holder:\n    import held\n"
        "def later():\n    import lazily\n"
    )
    found = set(module_level_imports(file))
    assert {"tried", "instead", "held"} <= found
    assert not {"typed_only", "lazily"} & found


def test_packages_are_those_of_the_tree() -> None:
    tree = {
        "marketsim",
        *(f"marketsim.{path.parent.name}" for path in PACKAGE.glob("*/__init__.py")),
    }
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == tree
    nested = [path for path in PACKAGE.glob("*/*/__init__.py")]
    assert not nested, "packages are flat: a nested one would be missing from the wheel"


def test_folders_at_the_top_are_linked_and_mapped() -> None:
    mapped = PYPROJECT["tool"]["setuptools"]["package-dir"]
    for name in ("agents", "generators", "configs"):
        link = PACKAGE / name
        assert link.is_symlink()
        assert link.resolve() == ROOT / name
        assert mapped[f"marketsim.{name}"] == name


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_every_module_can_be_imported(module: str) -> None:
    assert importlib.import_module(module).__name__ == module


def test_version_is_that_of_the_project() -> None:
    import marketsim

    assert marketsim.__version__ == PYPROJECT["project"]["version"]


def test_public_names_are_there() -> None:
    import marketsim

    for name in marketsim.__all__:
        assert getattr(marketsim, name) is not None
        assert name in dir(marketsim)
    with pytest.raises(AttributeError, match="no attribute 'simulte'"):
        _ = marketsim.simulte


@pytest.mark.parametrize("module", ["marketsim", "marketsim.cli"])
def test_import_brings_nothing_heavy(module: str) -> None:
    heavy = ["matplotlib", "numba", "pandas", "pyarrow", "torch", "yaml"]
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent
    )
    assert shown.stdout.strip() == "[]"
