"""Saved causal models: what comes back, and what is named when it is damaged."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from toy_market import toy_flow
from toy_models import random_model, ready, view_at

from marketsim import generators
from marketsim.errors import ConfigError, ModelError
from marketsim.generators.causal_flow import TokenFlow

FLOW = toy_flow(420)
HERE = 300
ARCHITECTURES = ("tokens", "causal")


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> TokenFlow:
    options = {"steps": 3, "diffusion_steps": 30, "eta": 0.5} if request.param == "causal" else {}
    return random_model(request.param, FLOW, scale=1.0, temperature=0.9, **options)[0]


@pytest.fixture
def folder(model: TokenFlow, tmp_path: Path) -> Path:
    model.save(tmp_path / "model")
    return tmp_path / "model"


def orders(model: TokenFlow) -> list[Any]:
    """Orders of a model while it is shown the recorded flow."""
    state, rng = ready(model, FLOW, HERE), np.random.default_rng(0)
    return [model.next_order(state, view_at(FLOW, i, max(i - 1, HERE)), rng)
            for i in range(HERE, HERE + 20)]  # fmt: skip


def test_a_model_comes_back(model: TokenFlow, folder: Path, tmp_path: Path) -> None:
    again = generators.load(folder)
    assert type(again) is type(model) and again.parameters() == model.parameters()
    assert again.tick_size == 0.01 and orders(again) == orders(model)
    again.save(tmp_path / "twice")
    for name in ("model.json", "model.safetensors"):
        assert (tmp_path / "twice" / name).read_bytes() == (folder / name).read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.safetensors"]
    assert len({order.kind for order in orders(model)}) > 1


def test_a_model_that_has_learned_nothing_is_not_saved(tmp_path: Path) -> None:
    for architecture in ARCHITECTURES:
        with pytest.raises(ModelError, match="has not been trained"):
            generators.create("trades", architecture=architecture).save(tmp_path)


def head_with(**changes: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        head = json.loads((folder / "model.json").read_text())
        for name, value in changes.items():
            if value is None:
                del head[name]
            elif isinstance(value, dict):
                head[name] = {**head[name], **value}
            else:
                head[name] = value
        (folder / "model.json").write_text(json.dumps(head))

    return damage


def arrays_with(name: str, change: Callable[[Any], Any] | None) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        arrays = load_file(folder / "model.safetensors")
        found = next(key for key in arrays if key.endswith(name))
        if change is None:
            del arrays[found]
        else:
            arrays[found] = np.ascontiguousarray(change(arrays[found]))
        save_file(arrays, folder / "model.safetensors")

    return damage


def content(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return damage


def nan_in(array: Any) -> Any:
    array.flat[0] = np.nan
    return array


DAMAGES = [
    (lambda folder: (folder / "model.json").unlink(), "model.json is missing"),
    (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
    (content("model.json", lambda b: b[:-20]), "model.json: cannot be read"),
    (content("model.json", lambda b: b"[]"), "model.json: cannot be read"),
    (content("model.json", lambda b: b"\xff\xfe"), "model.json: cannot be read"),
    (content("model.safetensors", lambda b: b[:-20]), "model.safetensors: cannot be read"),
    (content("model.safetensors", lambda b: b""), "model.safetensors: cannot be read"),
    (content("model.safetensors", lambda b: b[:8] + b"?" + b[9:]), "model.safetensors: cannot be"),
    (content("model.safetensors", lambda b: b.replace(b'"F32"', b'"F99"')), "cannot be read"),
    (content("model.safetensors", lambda b: b.replace(b'"I64"', b'"U64"')), "must be int64"),
    (head_with(format="marketsim-model-9"), "format must be 'marketsim-model-1'"),
    (head_with(format=None), "format must be 'marketsim-model-1', was None"),
    (head_with(model=None), "lacks 'model'"),
    (head_with(model="tardes"), "did you mean 'trades'"),
    (head_with(parameters=None), "lacks 'parameters'"),
    (head_with(parameters=[]), "damaged"),
    (head_with(parameters={"architecture": "cuasal"}), "did you mean 'causal'"),
    (head_with(parameters={"architecture": ["tokens"]}), "damaged"),
    (head_with(parameters={"legs": 4}), "legs"),
    (head_with(parameters={"width": 24, "heads": 3}), "must have shape"),
    (head_with(parameters={"width": 10**12}), "must have shape"),
    (head_with(parameters={"heads": 16}), "multiple of 8 and of 4 \\* heads"),
    (head_with(parameters={"layers": 1}), "blocks.1.* is no weight of a model of this size"),
    (head_with(parameters={"layers": 3}), "lacks 'trunk.blocks.2"),
    (head_with(parameters={"temperature": float("nan")}), "temperature must be"),
    (head_with(tick_size=None), "lacks 'tick_size'"),
    (head_with(tick_size=-1.0), "tick_size must be > 0"),
    (head_with(tick_size="a cent"), "tick_size must be"),
    (head_with(training=None), "lacks 'training'"),
    (arrays_with("class_head.logits.bias", None), "lacks .*class_head.logits.bias"),
    (arrays_with("blocks.1.up.weight", None), "lacks .*blocks.1.up.weight"),
    (arrays_with("blocks.1.up.weight", np.transpose), "blocks.1.up.weight must have shape"),
    (arrays_with("embed_depth.weight", lambda a: a[:-1]), "embed_depth.weight must have shape"),
    (arrays_with("trunk.norm.scale", nan_in), "trunk.norm.scale must be finite"),
    (arrays_with("class_head.hidden.bias", lambda a: a / 0), "hidden.bias must be finite"),
    (arrays_with("bins.mean", nan_in), "mean: must be finite"),
    (arrays_with("bins.size_edges", lambda a: a[::-1]), "size_edges: must rise"),
    (arrays_with("bins.offset_values", None), "lacks 'offset_values'"),
    (arrays_with("bins.unit_ticks", lambda a: 0 * a), "unit_ticks: must be > 0"),
]


@pytest.mark.parametrize(("damage", "told"), DAMAGES, ids=range(len(DAMAGES)))
@pytest.mark.filterwarnings("ignore:divide by zero|invalid value:RuntimeWarning")
def test_damaged_models_are_named(damage: Callable[[Path], None], told: str, folder: Path) -> None:
    damage(folder)
    with pytest.raises(ModelError, match=told) as raised:
        generators.load(folder)
    assert str(folder) in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda a: a[:, :, ::-1], "2 quantiles or more that do not fall"),
        (lambda a: a[:, :, :1], "2 quantiles or more that do not fall"),
        (lambda a: a[:2], "must be int64\\[3, 3, None\\], was int64\\[2, 3, 1025"),
        (lambda a: a.astype(np.float32), "must be int64.*, was float32"),
        (None, "lacks 'bins.table'"),
    ],
)  # fmt: skip
def test_damaged_quantiles_are_named(change: Any, told: str, tmp_path: Path) -> None:
    random_model("causal", FLOW)[0].save(tmp_path)
    arrays_with("bins.table", change)(tmp_path)
    with pytest.raises(ModelError, match=told):
        generators.load(tmp_path)


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model folder"):
        generators.load(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="no such model folder"):
        generators.load(tmp_path / "file")
    with pytest.raises(ModelError, match="cannot be written"):
        random_model("tokens", FLOW)[0].save(tmp_path / "file" / "model")


def test_options_that_no_model_takes() -> None:
    for options in ({"steps": 3}, {"widht": 16}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            generators.create("trades", **options)


WITHOUT = """
import sys
import numpy as np
import marketsim.generators
from marketsim import generators
from marketsim.flow import FLOW, View
for folder in sys.argv[2:]:
    model = generators.load(folder)
    flow = np.load(sys.argv[1]).view(FLOW).reshape(-1)
    state = model.start(flow[:300])
    book = flow["book"][300]
    view = View(flow[:0], book, np.ascontiguousarray(book[:, (1, 3)]), 0)
    print(model.next_order(state, view, np.random.default_rng(0)).size_lots)
print([name for name in ("torch", "pandas", "scipy", "matplotlib") if name in sys.modules])
"""


def test_a_trained_model_runs_without_the_library_that_trains(tmp_path: Path) -> None:
    """Importing torch takes longer than a minute of market."""
    for architecture in ARCHITECTURES:
        random_model(architecture, FLOW)[0].save(tmp_path / architecture)
    np.save(tmp_path / "flow.npy", FLOW.view(np.int64))
    folders = [str(tmp_path / architecture) for architecture in ARCHITECTURES]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path / "flow.npy"), *folders],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *sizes, loaded = done.stdout.splitlines()
    assert all(int(size) > 0 for size in sizes) and len(sizes) == 2
    assert "torch" not in loaded
