"""Engines from the exported files of a network, built and looked into: for any size and fixed, fp32 and fp16."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..core.artifacts import OnnxFile, load_whole, open_onnx, write_onnx
from ..core.errors import DeblurrtError
from ..engines.build_config import BuildConfig, Shapes, Size
from ..engines.build_process import build_plan
from ..engines.graph_sizes import sizes_at
from ..engines.memory_estimate import estimate_memory
from ..engines.precision_label import convolutions, label
from ..engines.shape_profile import sizes_of
from ..export.export_config import ExportConfig, Precision
from ..export.onnx_conversion import OnnxConversion
from ..export.parity import sample_windows
from ..plugins.onnx_ops import inline_bodies, uses_plugins

#: of the result; networks that enlarge take a fourth of each side
RESULT_SIZE = (720, 1280)
#: smallest and largest result of an engine of any size
LEAST_SIZE, MOST_SIZE = (128, 128), (1088, 1920)
#: picture on which a file of fixed size is compared when it is made, pixels
FIXED_CHECK = ((32, 48),)

Facts = dict[str, Any]
Say = Callable[[str], None]


def measure_engines(name: str, folder: Path, say: Say) -> dict[str, Facts]:
    """Build four engines with TensorRT-RTX.

    Args:
        name: Of the network; its files ``NAME.onnx`` and ``NAME.fp16.onnx``, of any size, lie in ``folder``.
        folder: Also for the engines while they are looked at.
        say: Told what is built.

    Returns:
        By ``fp32 dynamic``, ``fp32 static``, ``fp16 dynamic``, ``fp16 static``; where one cannot be built, why.
    """
    found = {}
    files: dict[Precision, str] = {"fp32": f"{name}.onnx", "fp16": f"{name}.fp16.onnx"}
    for precision, file_name in files.items():
        file = open_onnx(folder / file_name)
        assert file.contract is not None
        least, best, most = (_frames(size, file.contract.scale) for size in (LEAST_SIZE, RESULT_SIZE, MOST_SIZE))
        say(f"building {file_name} for any size")
        found[f"{precision} dynamic"] = _facts(file, BuildConfig(shapes=Shapes(least, best, most)), folder)
        say(f"fixing {file_name} to {best[0]}x{best[1]}")
        fixed = _fixed(file, precision, best)
        say(f"building {file_name} for {best[0]}x{best[1]}")
        found[f"{precision} static"] = _facts(fixed, BuildConfig(), folder)
        fixed.path.unlink()
    return found


def _frames(size: Size, scale: int) -> Size:
    return size[0] // scale, size[1] // scale


def _fixed(file: OnnxFile, precision: Precision, size: Size) -> OnnxFile:
    assert file.contract is not None
    windows = sample_windows(file.contract.window, FIXED_CHECK)
    work = OnnxConversion(load_whole(file), file.path.name, ExportConfig(precision=precision, size=size), windows)
    return write_onnx(work.run(), file.path.with_suffix(".fixed.onnx"), force=True)


def _facts(file: OnnxFile, config: BuildConfig, folder: Path) -> Facts:
    plan = folder / f"{file.path.stem}.engine"
    model = load_whole(file)
    model = inline_bodies(model) if uses_plugins(model) else model
    _, best, most = sizes_of(file, config)
    try:
        built = build_plan(file, config, plan, force=True)
    except DeblurrtError as error:
        return {"error": str(error)}
    facts = {
        "seconds": built.seconds,
        "bytes": plan.stat().st_size,
        "activation_bytes": built.log.activation_bytes,
        "estimated_bytes": estimate_memory(model, most).activation_bytes,
        "precision": dict(label(built.log.layers, convolutions(model, sizes_at(model, best).shapes)).shares),
        "layers": len(built.log.layers),
        "version": built.version,
    }
    plan.unlink()
    return facts
