"""What stands before every ONNX file: a network, weights of a student, or a file that is written anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.artifacts import open_onnx
from ..core.errors import ModelFileError, UsageError
from ..core.optional import require
from ..export.export_config import ExportConfig, Precision
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

    network = with_tlsc(network_of(source.model, source.checkpoint, source.seed), source.tlsc)
    return OnnxExport(network, config, _windows(source, network.contract.window), on_stage)


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
    from ..export.onnx_conversion import load_whole

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
    from ..export.onnx_conversion import load_whole, precision_of

    return precision_of(load_whole(open_onnx(Path(model))))
