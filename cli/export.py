"""``deblurrt export``: a network as one ONNX file, proven equal."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from ..core.artifacts import OnnxFile, write_onnx
from ..core.errors import OutputError, UsageError
from ..core.external_data import weights_place
from ..core.outputs import check_no_part, check_output, write_whole
from ..export.export_config import ExportConfig
from .exporting import ExportSource, export_work, precision_in
from .options import SIZE, json_option, model_options
from .output import check_apart, check_json_place, print_table, terminal, write_json

logger = logging.getLogger(__name__)

EXAMPLES = """\b
Examples:
  deblurrt export mprnet --checkpoint model_deblurring.pth --tlsc 256:384 -o mprnet.onnx
  deblurrt export edpn_deblock --checkpoint F --size 720x1280 --precision fp16 -o edpn.onnx
  deblurrt export edpn.onnx --precision fp16 --size 720x1280 -o edpn_720p.onnx
  deblurrt export my_package.my_module:make_network --io float -o mine.onnx
  deblurrt export wrcan --target openvino -o wrcan.onnx --report parity.json"""


@click.command("export", epilog=EXAMPLES)
@click.argument("model")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file; MODEL.onnx here if not given.")
@model_options
@click.option("--size", type=SIZE, help="Of the frames the file takes; any size if not given.")
@click.option("--dynamic", is_flag=True, help="Any size, which is the default; contradicts --size.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "bf16"]),
    help="Types of the arithmetic; nodes that would overflow or lose accuracy stay fp32.  "
    "[default: fp32, or what a FILE.onnx is in]",
)
@click.option(
    "--io",
    type=click.Choice(["uint8", "float"]),
    default="uint8",
    show_default=True,
    help="uint8: frames in, pictures out, everything between inside; float: the bare network.",
)
@click.option(
    "--target",
    type=click.Choice(["any", "onnxruntime", "ort", "openvino", "tensorrt"]),
    default="any",
    show_default=True,
    help="Who runs it: any keeps our operators with standard bodies, the others get what suits them.",
)
@click.option("--strict", is_flag=True, help="Leave the bodies of our operators out: a missing plugin is an error.")
@click.option("--data", type=click.Path(path_type=Path), help="Video, picture or folder to compare and audit on.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random weights without --checkpoint.")
@click.option("--external-data", is_flag=True, help="Weights in FILE.HASH.data beside the file; always above 2 GB.")
@click.option("--force", is_flag=True, help="Replace existing files.")
@click.option("--report", type=click.Path(path_type=Path), help="Write how equal each stage is, as JSON.")
@click.option("--precision-report", type=click.Path(path_type=Path), help="Write which nodes stay fp32, and why.")
@json_option
def export_command(
    model: str,
    output: Path | None,
    checkpoint: Path | None,
    tlsc: str | None,
    size: tuple[int, int] | None,
    dynamic: bool,
    precision: Any,
    io: Any,
    target: Any,
    strict: bool,
    data: Path | None,
    seed: int,
    external_data: bool,
    force: bool,
    report: Path | None,
    precision_report: Path | None,
    json_place: str | None,
) -> int:
    """Export MODEL and prove every stage equal.

    MODEL is a network of the zoo, package.module:factory, default, fast, or a FILE.onnx in fp32 that gets other
    types, another size or target. The file is written only when ONNX Runtime gives what the network gives;
    otherwise the command ends with 3 and names the first module that differs.
    """
    if size and dynamic:
        raise UsageError("--size fixes the size, --dynamic leaves it free; give one of them")
    check_json_place(json_place)
    path = output or Path(f"{_name_of(model)}.onnx")
    check_output(path, force=force)
    if external_data:
        check_no_part(weights_place(path), force=force)
    reports = {"--report": report, "--precision-report": precision_report}
    check_apart(
        {"-o": path, **reports, "--json": json_place}, {"MODEL": model, "--checkpoint": checkpoint, "--data": data}
    )
    for place in filter(None, reports.values()):
        check_output(place, force=force)
    given = precision_in(model)
    precision = precision or given
    if precision_report is not None and (precision == "fp32" or given != "fp32"):
        why = "every node of the file is fp32" if precision == "fp32" else f"{model} is in {given} already"
        raise UsageError(f"--precision-report has nothing to write: {why}; leave it out or give --precision fp16")
    config = ExportConfig(size, precision, io, "onnxruntime" if target == "ort" else target, strict)
    started = time.perf_counter()
    with terminal().status("exporting") as status:
        work = export_work(ExportSource(model, checkpoint, tlsc, seed, data), config, status.update)
        try:
            written = write_onnx(work.run(), path, force, external_data=external_data)
        except BaseException:
            _write_what_is_known(work, report, precision_report)
            raise
    _write_reports(work, report, precision_report)
    seconds = time.perf_counter() - started
    result = {"file": str(path), "seconds": round(seconds, 2), **work.report().to_dict()}
    write_json(json_place, result)
    _print(written, work, seconds, json_place)
    return 0


def _name_of(model: str) -> str:
    """What a file made of MODEL is called: a file's name, a module's last part, or the model's own name."""
    path = Path(model)
    return path.stem if path.suffix in (".onnx", ".safetensors") else model.partition(":")[0].rpartition(".")[2]


def _write_what_is_known(work: Any, report: Path | None, precision_report: Path | None) -> None:
    """Write the reports of an export that failed; that they cannot be written is not what failed."""
    try:
        _write_reports(work, report, precision_report)
    except OutputError as error:
        logger.warning("%s", error)


def _write_reports(work: Any, report: Path | None, precision_report: Path | None) -> None:
    found = work.report()
    if report is not None:
        write_whole(report, (json.dumps(found.to_dict(), indent=2) + "\n").encode())
    if precision_report is not None and found.audit is not None:
        write_whole(precision_report, (json.dumps(found.audit.to_dict(), indent=2) + "\n").encode())


def _print(written: OnnxFile, work: Any, seconds: float, json_place: str | None) -> None:
    table = Table("stage", "size", "PSNR dB", "largest difference", "mean difference")
    for stage in work.report().stages:
        for parity in stage.results:
            size = "x".join(map(str, parity.size))
            table.add_row(stage.name, size, f"{parity.psnr_db:.1f}", f"{parity.max_abs:.2g}", f"{parity.mean_abs:.2g}")
    print_table(table, json_place)
    console: Console = terminal()
    files = (written.path, *(written.path.parent / name for name in written.weight_files))
    mebibytes = sum(file.stat().st_size for file in files) / 2**20
    nodes = sum(written.summary["operators"].values())
    console.print(f"{written.path}: {nodes} nodes, {mebibytes:.1f} MiB, {seconds:.1f} s", highlight=False)
    for note in work.report().notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True, markup=False)
