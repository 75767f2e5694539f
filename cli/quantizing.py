"""What stands around a quantisation: the float file before it, half precision of the rest and the report behind it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..calibration.frames import FrameChoice, choose_frames
from ..calibration.quantization import Quantization
from ..calibration.quantize_config import QuantizeConfig, Target
from ..calibration.quantize_report import QuantizeReport
from ..core.artifacts import SUMMARY_KEY, OnnxFile, json_entry, load_whole, metadata_of, open_onnx, write_onnx
from ..core.caches import cache_folder
from ..core.errors import QualityError, UsageError
from ..core.optional import require
from ..export.export_config import ExportConfig
from ..runtime.session import contract_of
from ..runtime.shipped_models import ALIASES, SHIPPED, find_model
from .exporting import ExportSource, exported_file

Told = Callable[[str, int, int], None]

#: pictures half precision is audited on where there are no frames
AUDIT_SIZE = (128, 160)


@dataclass(frozen=True, slots=True)
class QuantizeSource:
    """What is quantised, and on what.

    Attributes:
        model: Shipped name, name of a network, ``package.module:factory`` or ``FILE.onnx``.
        checkpoint: Weights of a network.
        tlsc: ``TRAIN:BASE`` turns global pools of a network into local ones.
        choice: Of frames; without roots, complete statistics are needed.
        statistics: File they are kept in.
    """

    model: str
    checkpoint: Path | None
    tlsc: str | None
    choice: FrameChoice
    statistics: Path | None = None


class QuantizeWork:
    """A quantisation and what follows it.

    Args:
        inner: The quantisation itself.
        file: The float file.
        config: How.
        told: Told what is done.
    """

    def __init__(self, inner: Quantization, file: OnnxFile, config: QuantizeConfig, told: Told) -> None:
        self.inner, self._file, self._config, self._told = inner, file, config, told
        self._notes: tuple[str, ...] = ()

    @property
    def has_external_data(self) -> bool:
        """Whether weights lie beside the float file."""
        return bool(self._file.weight_files)

    def run(self) -> Any:
        """Quantise, and give the rest its type.

        Returns:
            ``onnx.ModelProto``.
        """
        model = self.inner.run()
        return self._in_half(model) if self._config.rest == "fp16" else model

    def _in_half(self, model: Any) -> Any:
        """Let the layers that are not quantised compute in half precision, as far as an audit allows."""
        from ..export.onnx_report import operator_counts
        from ..export.parity import sample_windows
        from ..export.typed_rest import type_rest

        self._told("auditing ranges for fp16", 0, 1)
        floats, contract = self.inner.floats, contract_of(self._file)
        windows = self.inner.piece_windows or sample_windows(contract.window, [AUDIT_SIZE])
        typed = type_rest(model, floats, self._file.path.name, contract, windows)
        kept = len(typed.audit.kept)
        agreed = min(parity.psnr_db for parity in typed.parity.results)
        self._notes = (
            f"half precision alone keeps {agreed:.1f} dB between its pictures and the float ones (emulated); "
            f"{kept} nodes stay float32",
        )
        metadata = metadata_of(typed.model)
        summary = json_entry(metadata, SUMMARY_KEY) | {"operators": dict(operator_counts(typed.model))}
        del typed.model.metadata_props[:]
        metadata[SUMMARY_KEY] = json.dumps(summary, sort_keys=True)
        require("onnx", purpose="quantise a network").helper.set_model_props(typed.model, metadata)
        return typed.model

    def report(self) -> QuantizeReport:
        """Say what was found out."""
        found = self.inner.report()
        return replace(found, notes=(*found.notes, *self._notes))

    def refused(self, error: QualityError) -> QuantizeReport:
        """Say what was found out before ``run`` ended with an error."""
        return replace(self.report(), refusal=str(error))


def quantize_work(source: QuantizeSource, config: QuantizeConfig, told: Told) -> QuantizeWork:
    """Make ready what ``run()`` then quantises; networks are exported in float first.

    Raises:
        UsageError: Options do not go with the model, or frames are not to be calibrated on.
        InputError: The model or the frames are missing or unfit.
    """
    require("onnx", purpose=f"quantise {source.model}")
    file = float_file(source, config.target, lambda stage: told(stage, 0, 1))
    contract = contract_of(file)
    frames = None
    if source.choice.roots:
        told("reading frames", 0, 1)
        frames = choose_frames(source.choice, contract)
    elif source.statistics is None:
        raise UsageError("quantize needs frames to calibrate on; give --data: a root of REDS, a folder or a video")
    inner = Quantization(load_whole(file), file.path.name, contract, frames, config, source.statistics, told)
    return QuantizeWork(inner, file, config, told)


def quantized_file(source: QuantizeSource, told: Told) -> tuple[OnnxFile, str]:
    """Quantise for TensorRT into the cache of ONNX files.

    Returns:
        The file, named after its content, and the decibels lost on held-out frames.

    Raises:
        UsageError: Frames are missing, or not to be calibrated on.
        InputError: The model or the frames are missing or unfit.
        OutputError: The cache cannot be written.
    """
    work = quantize_work(source, QuantizeConfig(seed=source.choice.seed, rest="fp16"), told)
    model = work.run()
    digest = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()[:24]
    stem = Path(source.model.partition(":")[0]).stem
    quality = work.report().quality
    path = cache_folder("onnx") / f"{stem}-int8-{digest}.onnx"
    lost = "an unknown number of" if quality is None else f"{quality.lost_db:.3f}"
    if path.is_file():
        return open_onnx(path), lost
    return write_onnx(model, path, force=True, external_data=work.has_external_data), lost


def float_file(source: QuantizeSource, target: Target, on_stage: Callable[[str], None]) -> OnnxFile:
    """The ONNX file a quantisation begins with: as it is, as shipped, or exported in float32 for any size.

    Shipped files are written for CPUs; for TensorRT, which pads no bytes, their networks are exported.
    """
    path = Path(source.model)
    is_file = path.suffix == ".onnx" and path.is_file()
    is_shipped = source.model in SHIPPED | ALIASES.keys()
    if is_file or (is_shipped and (target != "tensorrt" or source.model == "identity")):
        for option, value in (("--checkpoint", source.checkpoint), ("--tlsc", source.tlsc)):
            if value is not None:
                raise UsageError(f"{option} goes with a network, {source.model} has its weights and pools inside")
        return open_onnx(path if is_file else find_model(source.model))
    exported = ExportSource(source.model, source.checkpoint, source.tlsc, source.choice.seed)
    return exported_file(exported, ExportConfig(target=target), on_stage)


def write_report(found: QuantizeReport, work: QuantizeWork, folder: Path, model: str) -> None:
    """Write page, pictures and JSON of a quantisation.

    Raises:
        OutputError: The folder cannot be written.
    """
    from ..calibration.quality_page import write_quality_page

    write_quality_page(found, work.inner, folder, model)
