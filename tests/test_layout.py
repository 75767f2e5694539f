from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: folder -> layer, as in the architecture; a folder imports only itself and lower layers
LAYERS = {
    "core": 0,
    "datasets": 1,
    "plugins": 1,
    "runtime": 2,
    "calibration": 3,
    "models": 3,
    "export": 4,
    "engines": 4,
    "training": 4,
    "profiling": 5,
    "cli": 6,
}
FOLDERS = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
MODULES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))

LINES_MAX = 300

#: imported inside functions only, so that a light install can import everything
HEAVY = (
    "aiohttp",
    "av",
    "cuda",
    "cv2",
    "h5py",
    "lpips",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "onnxslim",
    "openvino",
    "PIL",
    "polygraphy",
    "pycuda",
    "safetensors",
    "skimage",
    "tensorrt",
    "tensorrt_rtx",
    "torch",
    "torchvision",
    "zmq",
)
#: modules beside the networks that a light install imports
TORCH_FREE_MODELS = {
    "models",
    "models.checkpoints",
    "models.network_facts",
    "models.student_config",
    "models.tlsc_config",
    "models.weight_files",
    "models.zoo",
    "models.zoo_facts",
}


def dotted(path: Path) -> str:
    """Name of a module without the package: ``core.errors``, ``core``."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


#: networks and training loops: only these may import torch, or a module that does, at the top
TORCH_MODULES = {dotted(path) for path in MODULES if dotted(path).startswith("models.")} - TORCH_FREE_MODELS
TORCH_MODULES |= {f"training.{name}" for name in ("batches", "muon", "quantized_network", "trainer", "validation")}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def relative_imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and target, ``core.errors``, of each import within the package."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            for target in [node.module] if node.module else [alias.name for alias in node.names]:
                yield node.lineno, ".".join([*base, target])


def top_level_imports(path: Path) -> set[str]:
    """Names imported as soon as the module is: not in functions, nor for type checkers only."""
    found: set[str] = set()
    waiting: list[ast.AST] = list(tree_of(path).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not is_for_type_checkers(node):
            waiting += ast.iter_child_nodes(node)
    return found


def is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def declared_packages() -> list[list[str]]:
    """The lists ``packages = [...]`` of pyproject.toml; tomllib is not in Python 3.10."""
    lists = re.findall(r"^packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.M | re.S)
    return [sorted(re.findall(r'"deblurrt\.(\w+)"', names)) for names in lists]


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_point_to_lower_layers_or_the_same_folder(path: Path) -> None:
    folder = path.relative_to(ROOT).parts[0]
    upward = [
        f"line {line}: {target}"
        for line, target in relative_imports(path)
        if (other := target.partition(".")[0]) != folder and LAYERS[other] >= LAYERS[folder]
    ]
    assert upward == []


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_modules_import_the_package_relatively(path: Path) -> None:
    assert "deblurrt" not in top_level_imports(path)


def test_every_folder_has_a_layer() -> None:
    assert set(FOLDERS) <= set(LAYERS)


def test_folders_packages_and_links_are_the_same() -> None:
    assert declared_packages() == [FOLDERS, FOLDERS]
    links = {path.name: path for path in (ROOT / ".typing" / "deblurrt").iterdir()}
    assert sorted(links) == FOLDERS
    assert all(links[folder].readlink() == Path("..", "..", folder) for folder in FOLDERS)


def test_every_package_is_typed() -> None:
    assert [folder for folder in FOLDERS if not (ROOT / folder / "py.typed").exists()] == []


def test_root_is_no_package() -> None:
    assert not (ROOT / "__init__.py").exists()


def test_module_names_are_unique() -> None:
    counted = Counter(path.stem for path in MODULES if path.stem != "__init__")
    assert [name for name, count in counted.items() if count > 1] == []


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_heavy_packages_are_not_imported_at_the_top(path: Path) -> None:
    allowed = {"torch"} if dotted(path) in TORCH_MODULES else set()
    assert top_level_imports(path) & set(HEAVY) <= allowed


def test_only_networks_and_training_loops_may_need_torch() -> None:
    assert {name.partition(".")[0] for name in TORCH_MODULES} <= {"models", "training"}
    assert {dotted(path) for path in MODULES} >= TORCH_MODULES


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_module_fits_on_its_pages(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LINES_MAX


def python(code: str, *arguments: str) -> str:
    """Run code in a new interpreter, away from the repository, and return what it prints."""
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_imports_without_optional_packages() -> None:
    code = """
import importlib, json, sys
heavy, names = map(json.loads, sys.argv[1:])
sys.modules.update(dict.fromkeys(heavy))
for name in names:
    importlib.import_module(f"deblurrt.{name}")
"""
    names = [dotted(path) for path in MODULES if dotted(path) not in TORCH_MODULES]
    python(code, json.dumps(HEAVY), json.dumps(names))


def test_importing_the_runtime_loads_no_heavy_package() -> None:
    loaded = json.loads(python("import json, sys, deblurrt.runtime; print(json.dumps(list(sys.modules)))"))
    assert {name.partition(".")[0] for name in loaded} & set(HEAVY) == set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_public_names_exist_once(folder: str) -> None:
    package = importlib.import_module(f"deblurrt.{folder}")
    public: list[str] = getattr(package, "__all__", [])
    assert [name for name in public if not hasattr(package, name)] == []
    assert len(public) == len(set(public))


def test_runtime_declares_its_public_names() -> None:
    import deblurrt.runtime

    assert {"run", "open_session", "Session", "Frame", "Source", "Sink"} <= set(deblurrt.runtime.__all__)
