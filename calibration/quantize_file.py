"""One call from a float file and frames to a file in 8 bits."""

from __future__ import annotations

from pathlib import Path

from ..core.artifacts import OnnxFile, load_whole, write_onnx
from ..runtime.session import contract_of
from .frames import Frames
from .quantization import Quantization
from .quantize_config import QuantizeConfig


def quantize(
    onnx_file: OnnxFile, frames: Frames, config: QuantizeConfig, path: Path | None = None, *, force: bool = False
) -> OnnxFile:
    """Quantise a file.

    Args:
        onnx_file: In float32, written by ``deblurrt export`` or shipped.
        frames: As ``choose_frames`` gives.
        config: How.
        path: Where the quantised file goes; None: beside the other, ``NAME_int8.onnx``.
        force: Whether an existing file is replaced.

    Example:
        >>> file = open_onnx(Path("mprnet.onnx"))
        >>> frames = choose_frames(FrameChoice((Path("REDS"),)), contract_of(file))
        >>> quantize(file, frames, QuantizeConfig("openvino", psnr_budget_db=0.1)).provenance["calibration_sha256"]

    Raises:
        QualityError: The budget cannot be met.
        InputError: The file cannot be run, or its frames are unfit.
        OutputError: The file exists or cannot be written.
    """
    work = Quantization(load_whole(onnx_file), onnx_file.path.name, contract_of(onnx_file), frames, config)
    place = path or onnx_file.path.with_name(f"{onnx_file.path.stem}_{config.format}.onnx")
    return write_onnx(work.run(), place, force, external_data=bool(onnx_file.weight_files))
