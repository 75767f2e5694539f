"""Reduced networks of every family in 8 bits: by method, by placement, as engines, and with the command's report."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..calibration.frames import FrameChoice, Frames, choose_frames
from ..calibration.quality_page import PAGE, VALUES
from ..calibration.quantization import Quantization
from ..calibration.quantize_config import QuantizeConfig
from ..calibration.thresholds import Method
from ..core.artifacts import OnnxFile, load_whole, open_onnx, write_onnx
from ..core.errors import DeblurrtError, QualityError
from ..core.pictures import read_picture, write_picture
from ..engines.build_config import BuildConfig, Shapes
from ..engines.build_process import build_plan
from ..engines.graph_sizes import sizes_at
from ..engines.precision_label import convolutions, label
from ..export.export_config import ExportConfig
from ..export.onnx_export import OnnxExport
from ..plugins.onnx_ops import inline_bodies, uses_plugins
from ..runtime.session import contract_of
from .kept_rows import Plan, Row
from .measured_process import measured_process

METHODS: tuple[Method, ...] = ("minmax", "entropy", "percentile", "mse")
#: what each placement asks for
PLACEMENTS: dict[str, dict[str, Any]] = {
    "everything": {"ends": True},
    "no first/last": {"ends": False},
    "search, 0.1 dB": {"psnr_budget_db": 0.1, "time_limit_s": 90.0},
}
#: frames to calibrate on
ZOO_FRAMES = 6
#: size of the results that engines of reduced networks give
ENGINE_SIZE = (192, 320)
#: height and width of the pieces networks that enlarge are given, whose inside is as large as their result
PIECE_SIZE = (64, 96)
#: runs the command in this interpreter
COMMAND = (sys.executable, "-c", "from deblurrt.cli.main import main; main()")

MPRNET = {"n_feat": 16, "scale_unetfeats": 8, "scale_orsnetfeats": 8}
#: networks of every family, reduced in width; their weights are random
REDUCED: dict[str, dict[str, Any]] = {
    "wrcan": {"n_feats": 16, "n_resgroups": 2, "n_resblocks": 2},
    "edpn_deblock": {"n_blocks": 2, "channels": 16, "groups": 1},
    "eacd": {"channels": 16},
    "carlo_net": {"channels": 16},
    "kaist_net": {"channels": 8},
    "atrous_net": {"blocks": 2, "channels": 16},
    "mprnet": MPRNET,
    "edpn_sr": {"n_blocks": 1, "n_frames": 3, "channels": 16, "groups": 1},
    "mprnet_sr": {**MPRNET, "groups": 2, "blocks": 2},
}


def zoo_rows(plan: Plan) -> Iterator[Row]:
    """Quantise a reduced network of every family by each method and placement; build engines, write reports."""
    for name in REDUCED:
        row = plan.row(f"zoo {name}", lambda name=name: _measured(plan, name))  # type: ignore[misc]
        if row and "error" not in row:
            row["report"] = plan.row(f"report {name}", lambda name=name: _reported(plan, name))  # type: ignore[misc]
        yield row


def _measured(plan: Plan, name: str) -> Row:
    file = exported(name, plan.work)
    frames = choose_frames(FrameChoice((frames_folder(plan, file),), count=ZOO_FRAMES), contract_of(file))
    row: Row = {"network": name, "methods": {}, "placements": {}}
    statistics = plan.work / f"{name}.npz"
    for method in METHODS:
        work = _quantized(file, frames, QuantizeConfig(method=method), statistics)
        row["methods"][method] = _told(work)
        if method == "mse":
            written = write_onnx(work[1], plan.work / f"{name}_int8.onnx", force=True)
            row["engine"] = engine_row(written)
    for placement, choices in PLACEMENTS.items():
        try:
            row["placements"][placement] = _told(_quantized(file, frames, QuantizeConfig(**choices), statistics))
        except DeblurrtError as error:
            row["placements"][placement] = {"error": str(error)}
    return row


def exported(name: str, folder: Path) -> OnnxFile:
    """The reduced network in float, exported once."""
    from ..models.zoo import create_model

    path = folder / f"{name}.onnx"
    if path.is_file():
        return open_onnx(path)
    return write_onnx(OnnxExport(create_model(name, seed=0, **REDUCED[name]), ExportConfig()).run(), path)


def frames_folder(plan: Plan, file: OnnxFile) -> Path:
    """Pictures without a sharp twin: random weights restore nothing, so only float and 8 bits are compared."""
    whole = plan.data / "pairs" / "reds_seq000" / "blur_x4"
    if contract_of(file).scale == 1:
        return whole
    pieces = plan.work / "pieces"
    pieces.mkdir(exist_ok=True)
    for path in sorted(whole.iterdir()):
        pixels = read_picture(path)
        top, left = ((have - want) // 2 for have, want in zip(pixels.shape, PIECE_SIZE, strict=False))
        write_picture(pieces / path.name, pixels[top : top + PIECE_SIZE[0], left : left + PIECE_SIZE[1]])
    return pieces


def _quantized(file: OnnxFile, frames: Frames, config: QuantizeConfig, statistics: Path) -> tuple[Quantization, Any]:
    work = Quantization(load_whole(file), file.path.name, contract_of(file), frames, config, statistics)
    return work, work.run()


def _told(done: tuple[Quantization, Any]) -> Row:
    report = done[0].report()
    return {"lost_db": report.quality.lost_db if report.quality else None, "share": report.share}


def engine_row(file: OnnxFile) -> Row:
    """Build a file with TensorRT-RTX and say what the convolutions compute in.

    Raises:
        DeblurrtError: It does not build.
    """
    scale = contract_of(file).scale
    size = (ENGINE_SIZE[0] // scale, ENGINE_SIZE[1] // scale)
    built = build_plan(file, BuildConfig(shapes=Shapes(size, size, size)), file.path.with_suffix(".engine"), force=True)
    inlined = load_whole(file)
    inlined = inline_bodies(inlined) if uses_plugins(inlined) else inlined
    found = label(built.log.layers, convolutions(inlined, sizes_at(inlined, size).shapes))
    return {"seconds": built.seconds, "shares": dict(found.shares), "dearer": len(found.dearer)}


def _reported(plan: Plan, name: str) -> Row:
    """Quantise as a user does, with a report, and look at what was written.

    Raises:
        QualityError: The command failed, or its report lacks a page, a picture or a decision.
    """
    file, folder = exported(name, plan.work), plan.work / f"report_{name}"
    options = {
        "--data": frames_folder(plan, file),
        "--frames": ZOO_FRAMES,
        "--output": plan.work / f"{name}_reported.onnx",
        "--report": folder,
    }
    given = [str(part) for pair in options.items() for part in pair]
    ran = measured_process([*COMMAND, "quantize", str(file.path), *given, "--force"], folder.with_suffix(".log"))
    if ran.status != 0:
        raise QualityError(f"deblurrt quantize ended with {ran.status}: {ran.last_line}")
    found = read_report(folder)
    told = {"lost_db": found["lost_db"], "share": found["share_8bit"], "decisions": len(found["decisions"])}
    return {"network": name, **told, "cpu_seconds": ran.cpu_seconds, "peak_mib": ran.peak_mib}


def read_report(folder: Path) -> Row:
    """Values of a quality report whose page and pictures are there.

    Raises:
        QualityError: Something is missing.
    """
    places = [folder / PAGE, folder / VALUES, *(folder / f"frame0_{what}.png" for what in VIEWS)]
    if missing := [place.name for place in places if not place.is_file() or not place.stat().st_size]:
        raise QualityError(f"the report {folder} lacks {', '.join(missing)}; run deblurrt quantize --report again")
    page, found = places[0].read_text(encoding="utf-8"), json.loads(places[1].read_text(encoding="utf-8"))
    if not found["decisions"] or "<h1>" not in page:
        raise QualityError(f"the report {folder} tells no decision; run deblurrt quantize --report again")
    values: Row = found
    return values


#: what is shown of a frame
VIEWS = ("input", "float", "quantized", "difference")
