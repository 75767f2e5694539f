"""Export every network of the zoo, prove each file and build engines from it: the tables of docs/exports.md.

    python -m deblurrt.profiling.zoo_exports --work exports --output docs/exports.md

What is measured once per network is kept in ``--work`` and not measured again, so an interrupted run goes on.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..core.artifacts import OnnxFile, load_whole, read_header, write_onnx
from ..core.errors import QualityError
from ..core.optional import require
from ..core.outputs import write_whole
from ..export.deployment import WRAPPING
from ..export.export_config import ExportConfig, Precision
from ..export.onnx_conversion import OnnxConversion
from ..export.onnx_export import OnnxExport
from ..export.parity import FP32_GATE, compare_arrays, sample_frames, sample_windows
from ..export.student_graph import student_model
from ..runtime.shipped_models import find_model
from ..training.weights import load_weights, provenance
from .zoo_engines import measure_engines
from .zoo_exports_page import page
from .zoo_variants import VARIANTS, Variant

#: networks that ship as ONNX files
SHIPPED = ("default", "fast")
#: precision -> name of a file
PLACES: dict[Precision, str] = {"fp32": "{}.onnx", "fp16": "{}.fp16.onnx"}
#: pictures on which every form is compared, pixels: a multiple of all, and two that are filled up
SIZES = ((32, 48), (41, 26), (24, 56))

Row = dict[str, Any]


def measure(variant: Variant, folder: Path) -> Row:
    """Export a network, convert the file to half precision, and compare both.

    Args:
        variant: Which network.
        folder: For the files.

    Returns:
        One row, plain values for JSON.
    """
    network = variant.create()
    contract = network.contract
    path = folder / f"{variant.label}.onnx"
    started = time.perf_counter()
    windows = sample_windows(contract.window, SIZES)
    export = OnnxExport(network, ExportConfig(), windows, lambda stage: _say(variant, stage))
    written = write_onnx(export.run(), path, force=True)
    seconds = time.perf_counter() - started
    sizes = export.report().stages[0].results
    row: Row = {
        "network": variant.label,
        "nodes": sum(not node.name.startswith(WRAPPING) for node in read_header(path).graph.node),
        "parameters": written.summary["parameters"],
        "bytes": path.stat().st_size,
        "seconds": seconds,
        "largest": max(parity.largest for parity in sizes),
        "max_abs": {"x".join(map(str, parity.size)): parity.max_abs for parity in sizes},
        "openvino_max_abs": _openvino(written, network, contract),
    }
    del network, export
    gc.collect()
    half = OnnxConversion(load_whole(written), variant.label, ExportConfig(precision="fp16"), windows)
    halved = write_onnx(half.run(), folder / f"{variant.label}.fp16.onnx", force=True)
    row["fp16_psnr_db"] = min(parity.psnr_db for parity in half.report().stages[0].results)
    row["fp16_kept"] = sum(1 for entry in half.report().to_dict()["precision"]["kept"])
    row["fp16_bytes"] = halved.path.stat().st_size
    return row


def _openvino(file: OnnxFile, network: Any, contract: Any) -> float:
    """Largest difference between OpenVINO with the inlined form and PyTorch, judged by the gate of fp32."""
    torch = require("torch", purpose="compare with OpenVINO")
    openvino = require("openvino", purpose="compare with it")
    conversion = OnnxConversion(
        load_whole(file),
        file.path.name,
        ExportConfig(io="float", target="openvino"),
        sample_windows(contract.window, SIZES[:1]),
    )
    model = openvino.Core().read_model(conversion.run().SerializeToString())
    options = {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY"}
    compiled = openvino.Core().compile_model(model, "CPU", options)
    frames = sample_frames(contract, SIZES[:1])[0]
    with torch.inference_mode():
        expected = network(torch.from_numpy(frames.copy())).numpy()
    parity = compare_arrays(expected, np.array(compiled(frames)[0]))
    failure = FP32_GATE.failure(parity)
    if failure is not None:
        raise QualityError(f"OpenVINO differs from PyTorch: {failure}")
    return parity.max_abs


def _say(variant: Variant, what: str) -> None:
    _tell(variant.label, what)


def _tell(name: str, what: str) -> None:
    click.echo(f"{name}: {what}", err=True)


def _shipped_files(name: str, folder: Path) -> None:
    """Write a shipped network in both precisions, for any size."""
    arrays, recipe, trained = load_weights(find_model(name).with_suffix(".safetensors"))
    model = student_model(recipe.model, arrays, provenance(arrays, recipe, trained), io="float")
    for precision, place in PLACES.items():
        converted = OnnxConversion(model, name, ExportConfig(precision=precision)).run()
        write_onnx(converted, folder / place.format(name), force=True)


def _rows(only: Sequence[str], work: Path) -> Iterator[Row]:
    for name in (name for name in SHIPPED if not only or name in only):
        _shipped_files(name, work)
        engines = partial(measure_engines, name, work, partial(_tell, name))
        yield {"network": name, "engines": _kept(work / f"{name}.engines.json", engines)}
    for variant in (variant for variant in VARIANTS if not only or variant.label in only):
        exported = _kept(work / f"{variant.label}.json", partial(measure, variant, work))
        gc.collect()
        engines = partial(measure_engines, variant.label, work, partial(_say, variant))
        yield {**exported, "engines": _kept(work / f"{variant.label}.engines.json", engines)}


def _kept_rows(work: Path) -> Iterator[Row]:
    """What was measured before; a part that was not is missing."""
    for name in (*SHIPPED, *(variant.label for variant in VARIANTS)):
        exported, engines = (work / f"{name}{suffix}.json" for suffix in ("", ".engines"))
        facts: Row = json.loads(exported.read_text()) if exported.is_file() else {"network": name}
        yield {**facts, "engines": json.loads(engines.read_text()) if engines.is_file() else {}}


def _kept(place: Path, work: Callable[[], Row]) -> Row:
    """What was measured before, or is now."""
    if not place.is_file():
        write_whole(place, (json.dumps(work(), indent=1) + "\n").encode())
    found: Row = json.loads(place.read_text())
    return found


@click.command(epilog="Example: python -m deblurrt.profiling.zoo_exports --work exports --only eacd --only eacd-tlsc")
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder for files and figures.")
@click.option("--output", type=click.Path(path_type=Path), help="Page that is written, replaced if it exists.")
@click.option("--only", multiple=True, help="Name of a network; all if not given.")
@click.option("--kept", is_flag=True, help="Write the page of what was measured before, and measure nothing.")
def main(work: Path, output: Path | None, only: tuple[str, ...], kept: bool) -> None:
    """Export, compare and build every network of the zoo at full size, and build the shipped ones; minutes each."""
    work.mkdir(parents=True, exist_ok=True)
    text = page(list(_kept_rows(work) if kept else _rows(only, work)), SHIPPED)
    if output is None:
        click.echo(text)
    else:
        write_whole(output, text.encode())


if __name__ == "__main__":
    main()
