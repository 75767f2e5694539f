"""What stands before every ONNX file: a network, weights of a student, or a file that is written anew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.artifacts import OnnxFile, load_whole, open_onnx, write_onnx
from ..core.caches import cache_folder
from ..core.errors import ModelFileError, UsageError
from ..core.optional import require
from ..export.export_config import ExportConfig, Precision
from ..models.zoo import ZOO
from ..runtime.shipped_models import ALIASES, SHIPPED, find_model
from .opening import MODEL_FORMS, is_network, network_of, with_tlsc

if TYPE_CHECKING:
    from ..export.onnx_conversion import OnnxConversion
    from ..export.onnx_export import OnnxExport
    from ..export.parity import Window

#: frames of --data that are compared and audited
DATA_FRAMES = 4


@dataclass(frozen=True, slots=True)
class ExportSource:
    """What is exported.

    Attributes:
        model: Name of a network or of a shipped model, ``package.module:factory``, ``FILE.onnx`` or the
            ``FILE.safetensors`` of a student network.
        checkpoint: Weights of a PyTorch network.
        tlsc: ``TRAIN:BASE`` turns global pools into local ones.
        seed: Of random weights.
        data: Video, picture or folder to compare and audit on.
    """

    model: str
    checkpoint: Path | None = None
    tlsc: str | None = None
    seed: int = 0
    data: Path | None = None


def export_work(
    source: ExportSource, config: ExportConfig, on_stage: Callable[[str], None] = lambda _stage: None
) -> OnnxExport | OnnxConversion:
    """Make ready what ``run()`` then exports.

    Raises:
        UsageError: Options do not go with the model, or it is none.
        ModelFileError: There is no such model, or its file or checkpoint is unfit.
        MissingExtraError: A network is given and torch is not installed.
    """
    if is_network(source.model):
        return _network_work(source, config, on_stage)
    for option, value in (("--checkpoint", source.checkpoint), ("--tlsc", source.tlsc)):
        if value is not None:
            raise UsageError(f"{option} goes with a network, {source.model} has its weights and pools inside")
    require("onnx", purpose=f"export {source.model}")
    from ..export.onnx_conversion import OnnxConversion, contract_in

    model = _model_of(source.model)
    windows = _windows(source, contract_in(model, source.model).window)
    return OnnxConversion(model, source.model, config, windows, on_stage)


def _network_work(source: ExportSource, config: ExportConfig, on_stage: Callable[[str], None]) -> OnnxExport:
    require("torch", purpose=f"export the network {source.model}")
    from ..export.onnx_export import OnnxExport
    from ..models.network_facts import contract_of_network

    network = with_tlsc(network_of(source.model, source.checkpoint, source.seed), source.tlsc)
    return OnnxExport(network, config, _windows(source, contract_of_network(network).window), on_stage)


def _windows(source: ExportSource, frames: int) -> list[Window] | None:
    if source.data is None:
        return None
    from ..export.parity import read_windows

    return list(read_windows(source.data, frames, DATA_FRAMES))


def _model_of(model: str) -> Any:
    """``onnx.ModelProto`` of a shipped name, a student's weights or a file."""
    if model in SHIPPED | ALIASES.keys():
        weights = find_model(model).with_suffix(".safetensors")
        if not weights.is_file():
            raise UsageError(f"{model} has no network inside; export takes a network (deblurrt models lists them)")
        return _student(weights)
    path = Path(model)
    if not path.is_file():
        raise ModelFileError(f"no model {model!r}; expected {MODEL_FORMS} or FILE.safetensors")
    if path.suffix == ".safetensors":
        return _student(path)
    return load_whole(open_onnx(path))


def _student(weights: Path) -> Any:
    from ..export.student_graph import student_model
    from ..training.weights import load_weights, provenance

    arrays, recipe, trained = load_weights(weights)
    return student_model(recipe.model, arrays, provenance(arrays, recipe, trained), io="float")


def precision_in(model: str) -> Precision:
    """The types a MODEL is written in where nothing else is asked for: those of a file, ``fp32`` of others."""
    if is_network(model) or Path(model).suffix != ".onnx" or not Path(model).is_file():
        return "fp32"
    from ..export.onnx_conversion import precision_of

    return precision_of(load_whole(open_onnx(Path(model))))


def exported_file(
    source: ExportSource, config: ExportConfig, on_stage: Callable[[str], None] = lambda _stage: None
) -> OnnxFile:
    """Export into the cache of ONNX files, or find there what the same export gave before.

    Everything that decides the file is in its name: weights, options, versions, and the code that writes it.
    A module of the user's own and frames of ``--data`` may change unseen; such exports are made anew.

    Raises:
        UsageError: Options do not go with the model, or it is none.
        ModelFileError: There is no such model, or its file or checkpoint is unfit.
        QualityError: A stage changed the result.
        OutputError: The cache cannot be written.
    """
    identity = _identity(source)
    kind = {"source": identity, "config": asdict(config), "code": _code_hash(), "versions": _versions()}
    key = hashlib.sha256(json.dumps(kind, sort_keys=True).encode()).hexdigest()[:24]
    path = cache_folder("onnx") / f"{Path(source.model.partition(':')[0]).stem}-{key}.onnx"
    if identity is not None and path.is_file():
        return open_onnx(path)
    return write_onnx(export_work(source, config, on_stage).run(), path, force=True)


def _identity(source: ExportSource) -> dict[str, Any] | None:
    """What decides the weights and options of a network; None where it cannot be told."""
    if source.data is not None or (is_network(source.model) and source.model not in ZOO):
        return None
    told: dict[str, Any] = {"model": source.model, "tlsc": source.tlsc, "seed": source.seed}
    weights = source.checkpoint
    if not is_network(source.model):
        shipped = source.model in SHIPPED | ALIASES.keys()
        weights = find_model(source.model).with_suffix(".safetensors") if shipped else Path(source.model)
    if weights is not None:
        if not weights.is_file():
            raise ModelFileError(f"no file at {weights}; expected {MODEL_FORMS}")
        told["weights"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    return told


def _versions() -> dict[str, str]:
    """Versions of the packages that write a file, as far as they are installed."""
    found = {}
    for package in ("deblurrt", "onnx", "onnxruntime", "onnxscript", "onnxslim", "torch"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _code_hash() -> str:
    """Hash of the modules behind an export, so that no file of an older state is taken for one of this."""
    digest = hashlib.sha256()
    root = Path(__file__).parent.parent
    for folder in ("core", "export", "models", "plugins"):
        for path in sorted((root / folder).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
