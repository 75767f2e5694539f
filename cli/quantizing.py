"""What stands around a quantisation: the float file before it, half precision of the rest and the report behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..calibration.frames import FrameChoice, choose_frames
from ..calibration.quantization import Quantization
from ..calibration.quantize_config import QuantizeConfig
from ..calibration.quantize_report import QuantizeReport
from ..core.artifacts import OnnxFile, load_whole, open_onnx
from ..core.errors import UsageError
from ..core.optional import require
from ..export.export_config import ExportConfig
from ..runtime.session import contract_of
from ..runtime.shipped_models import ALIASES, SHIPPED, find_model
from .exporting import ExportSource, exported_file

Told = Callable[[str, int, int], None]


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
    statistics: Path | None


class QuantizeWork:
    """A quantisation and what follows it.

    Args:
        inner: The quantisation itself.
        file: The float file.
        config: How.
    """

    def __init__(self, inner: Quantization, file: OnnxFile, config: QuantizeConfig) -> None:
        self.inner, self._file, self._config = inner, file, config

    @property
    def has_external_data(self) -> bool:
        """Whether weights lie beside the float file."""
        return bool(self._file.weight_files)

    def run(self) -> Any:
        """Quantise, and give the rest its type.

        Returns:
            ``onnx.ModelProto``.
        """
        return self.inner.run()

    def report(self) -> QuantizeReport:
        """Say what was found out."""
        return self.inner.report()


def quantize_work(source: QuantizeSource, config: QuantizeConfig, told: Told) -> QuantizeWork:
    """Make ready what ``run()`` then quantises; networks are exported in float first.

    Raises:
        UsageError: Options do not go with the model, or frames are not to be calibrated on.
        InputError: The model or the frames are missing or unfit.
    """
    require("onnx", purpose=f"quantise {source.model}")
    file = float_file(source, lambda stage: told(stage, 0, 1))
    contract = contract_of(file)
    frames = None
    if source.choice.roots:
        told("reading frames", 0, 1)
        frames = choose_frames(source.choice, contract)
    elif source.statistics is None:
        raise UsageError("quantize needs frames to calibrate on; give --data: a root of REDS, a folder or a video")
    inner = Quantization(load_whole(file), file.path.name, contract, frames, config, source.statistics, told)
    return QuantizeWork(inner, file, config)


def float_file(source: QuantizeSource, on_stage: Callable[[str], None]) -> OnnxFile:
    """The ONNX file a quantisation begins with: as it is, as shipped, or exported in float32 for any size."""
    path = Path(source.model)
    is_file = path.suffix == ".onnx" and path.is_file()
    if is_file or source.model in SHIPPED | ALIASES.keys():
        for option, value in (("--checkpoint", source.checkpoint), ("--tlsc", source.tlsc)):
            if value is not None:
                raise UsageError(f"{option} goes with a network, {source.model} has its weights and pools inside")
        return open_onnx(path if is_file else find_model(source.model))
    exported = ExportSource(source.model, source.checkpoint, source.tlsc, source.choice.seed)
    return exported_file(exported, ExportConfig(), on_stage)


def write_report(found: QuantizeReport, work: QuantizeWork, folder: Path, model: str) -> None:
    """Write page, pictures and JSON of a quantisation.

    Raises:
        OutputError: The folder cannot be written.
    """
    from ..calibration.quality_page import write_quality_page

    write_quality_page(found, work.inner, folder, model)
