"""A simulation in one file: the block's bytes, the tape so far, the state of Python agents.

The file is NumPy's npz with plain arrays and one JSON text; nothing in it is ever unpickled.
"""

import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from marketsim.agent import GivenAgents
from marketsim.errors import DataError, StateError
from marketsim.market import Market
from marketsim.tape import MemoryTape, Tape

if TYPE_CHECKING:
    from marketsim.simulation import Simulation

_FORMAT = "marketsim-simulation-2"
_TABLES = ("orders", "trades", "deltas")


def save(simulation: "Simulation", path: Path) -> None:
    """See :meth:`marketsim.simulation.Simulation.save`."""
    if not path.name:
        raise DataError(f"path must name a file, was {str(path)!r}")
    arrays = _arrays(simulation)
    beside = path.with_name(path.name + ".tmp")
    try:
        with beside.open("wb") as file:
            np.savez(file, **arrays)
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise DataError(f"{path}: cannot be written: {error.strerror}") from error


def to_bytes(simulation: "Simulation") -> bytes:
    """What :func:`save` writes, for a pickle."""
    file = io.BytesIO()
    np.savez(file, **_arrays(simulation))
    return file.getvalue()


def from_bytes(content: bytes, agents: GivenAgents, data: Tape | None) -> "Simulation":
    """What :func:`to_bytes` returned, as :func:`load` reads it."""
    return _load(Path("pickle"), io.BytesIO(content), agents, data)


def load(path: Path, agents: GivenAgents, data: Tape | None) -> "Simulation":
    """See :meth:`marketsim.simulation.Simulation.load`."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: not a saved simulation, or damaged: {error}") from error
    with file:
        return _load(path, file, agents, data)


def _arrays(simulation: "Simulation") -> dict[str, Any]:
    """All that is saved, by name.

    Raises
    ------
    StateError
        If an agent has state that cannot be saved.
    """
    arrays: dict[str, Any] = {"block": simulation._market.to_bytes()}
    agents = {}
    for number, (agent, handle) in simulation._python.items():
        try:
            state = agent.state_dict()
            plain = _pack(state, f"agent{number}", arrays)
        except StateError as error:
            raise StateError(f"agents.{simulation.agent_names[number]}: {error}") from error
        agents[str(number)] = {
            "state": plain,
            "open_orders": list(handle._open.items()),
            "rng": _pack(handle.rng.bit_generator.state, f"rng{number}", arrays),
        }
    for number, tape in enumerate(simulation.tapes.values()):
        for name in _TABLES:
            table = getattr(tape, name)
            for column in table or ():
                arrays[f"tape{number}.{name}.{column}"] = table[column]
    if simulation.source is not None:
        simulation.source_digest = simulation.source_digest or simulation.source.digest()
    for agent_number, rows in simulation._recorder.rows_of_agents().items():
        arrays[f"rows{agent_number}"] = rows
    head = {
        "format": _FORMAT,
        "config": simulation.config.to_dict(),
        "seed": simulation.seed,
        "names": simulation.agent_names,
        "given": simulation.given_agents,
        "populations": _populations(simulation),
        "agents": agents,
        "source_digest": simulation.source_digest,
        "wall_s": simulation._wall_s,
    }
    arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    return arrays


def _load(path: Path, file: IO[bytes], agents: GivenAgents, data: Tape | None) -> "Simulation":
    from marketsim.simulation import Simulation

    arrays = _read(path, file)
    head = json.loads(arrays["head"].tobytes())
    given = (
        agents if isinstance(agents, Mapping) else dict(zip(head["given"], agents, strict=False))
    )
    if sorted(given) != sorted(head["given"]):
        raise StateError(
            f"{path}: agents {head['given']} were given as objects and must be given again,"
            f" were {sorted(given)}"
        )
    ordered = {name: given[name] for name in head["given"]}
    if head["config"]["data"] == GIVEN and data is None:
        raise StateError(f"{path}: its data was given as a tape and must be given again: data=")
    simulation = object.__new__(Simulation)
    simulation._prepare(head["config"], head["seed"], None, ordered, data)
    simulation._record(None)
    _check_same(path, simulation, head)
    market = Market.from_bytes(arrays["block"])
    market.view("kinds")["address"] = _addresses(simulation, market)
    simulation._market = market
    simulation._wall_s = head["wall_s"]
    simulation.source_digest = head["source_digest"]
    for number, (agent, handle) in simulation._python.items():
        saved = head["agents"][str(number)]
        agent.load_state_dict(_unpack(saved["state"], f"agent{number}", arrays))
        handle._open = {int(key): int(value) for key, value in saved["open_orders"]}
        handle.rng.bit_generator.state = _unpack(saved["rng"], f"rng{number}", arrays)
    writers = []
    for number in range(len(simulation.symbols)):
        tables = []
        for name in _TABLES:
            prefix = f"tape{number}.{name}."
            tables.append(
                {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)}
            )
        writer = MemoryTape()
        if tables[0]:
            writer.append(*tables)
        writers.append(writer)
    rows = {int(key[4:]): arrays[key] for key in arrays if key.startswith("rows")}
    simulation._recorder.restore(writers, rows)
    return simulation


def _read(path: Path, file: IO[bytes]) -> dict[str, Any]:
    try:
        with np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        head = json.loads(arrays["head"].tobytes())
        if head["format"] != _FORMAT:
            raise DataError(f"{path}: format must be {_FORMAT!r}, was {head['format']!r}")
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not a saved simulation, or damaged: {error}") from error
    return arrays


def _check_same(path: Path, simulation: "Simulation", head: dict[str, Any]) -> None:
    if simulation.agent_names != head["names"]:
        raise StateError(
            f"{path}: agents were {head['names']}, are {simulation.agent_names} now: same names and"
            " order are needed"
        )
    now = _populations(simulation)
    for name, then in head["populations"].items():
        if now.get(name) != then:
            raise StateError(
                f"{path}: agents.{name} must be given again as it was, {then}, was {now.get(name)}"
            )
    if simulation.source is not None and simulation.source.digest() != head["source_digest"]:
        raise StateError(f"{path}: the data it replays has changed since it was saved")


def _populations(simulation: "Simulation") -> dict[str, str]:
    """Compiled agents that were given as objects, as text: their parameters lie in the block."""
    return {
        group.name: repr(group.compiled)
        for group in simulation.groups
        if group.name in simulation.given_agents and is_dataclass(group.compiled)
    }


def _addresses(simulation: "Simulation", market: Market) -> Any:
    """Where the code of compiled agents is in this process."""
    addresses = np.zeros(market.capacities["kinds"], np.int64)
    fresh = simulation._market.view("kinds")["address"]
    addresses[: len(fresh)] = fresh
    return addresses


def _pack(value: Any, path: str, arrays: dict[str, Any]) -> Any:
    """Replace the arrays in nested containers by names, and put them aside.

    Raises
    ------
    StateError
        For a value that is neither an array nor JSON.
    """
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise StateError(f"state {path}: arrays of objects cannot be saved")
        arrays[path] = value
        return {"__array__": path}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise StateError(f"state {path}: keys must be text, were {list(value)[:3]}")
        return {key: _pack(item, f"{path}.{key}", arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_pack(item, f"{path}.{i}", arrays) for i, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise StateError(f"state {path}: must be JSON values or arrays, was {value!r}")


def _unpack(value: Any, path: str, arrays: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        if set(value) == {"__array__"}:
            return arrays[value["__array__"]]
        return {key: _unpack(item, f"{path}.{key}", arrays) for key, item in value.items()}
    if isinstance(value, list):
        return [_unpack(item, f"{path}.{i}", arrays) for i, item in enumerate(value)]
    return value


#: ``data`` of a configuration whose tape was given as an object.
GIVEN = "given"
