"""``deblurrt quantize``: a network in 8 bits, calibrated on frames, that loses no more decibels than it may."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..calibration.frames import CALIBRATION_FRAMES, HELD_OUT_FRAMES, FrameChoice
from ..calibration.quantize_config import QuantizeConfig, Target
from ..calibration.quantize_report import QuantizeReport
from ..core.artifacts import OnnxFile, write_onnx
from ..core.errors import QualityError, UsageError
from ..core.outputs import check_output
from ..datasets.recordings import TRACKS
from .options import DecibelType, json_option, model_options
from .output import check_apart, check_json_place, print_table, terminal, write_json
from .quantizing import QuantizeSource, QuantizeWork, quantize_work, write_report

EXAMPLES = """\b
Examples:
  deblurrt quantize default --data REDS --target openvino -o default_int8.onnx
  deblurrt quantize mprnet.onnx --data REDS --frames 64 --psnr-budget 0.1 --report mprnet_int8
  deblurrt quantize fast --data drive.mp4 --target onnxruntime -o fast_int8.onnx
  deblurrt quantize edpn_deblock --checkpoint F --data REDS --track blur_jpeg --format w8a16 -o edpn_w8.onnx"""


@click.command("quantize", epilog=EXAMPLES)
@click.argument("model")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file; MODEL_int8.onnx here if not given.")
@click.option(
    "--data",
    "roots",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Root of REDS or GOPRO, folder of pairs or pictures, or a video; several may be given.",
)
@click.option("--track", type=click.Choice(TRACKS), help="Of a data set; what the network undoes if not given.")
@click.option("--split", default="train", show_default=True, help="Of a data set that has splits.")
@click.option("--frames", type=int, help=f"To calibrate on; up to {CALIBRATION_FRAMES} if not given.")
@click.option(
    "--held-out",
    type=click.IntRange(min=0),
    default=HELD_OUT_FRAMES,
    show_default=True,
    help="Whole frames to judge on, at most a third of all; 0 judges nothing.",
)
@click.option("--allow-test-split", is_flag=True, help="Take frames of a validation or test split; the file is marked.")
@click.option(
    "--method",
    type=click.Choice(["minmax", "entropy", "percentile", "mse"]),
    default="mse",
    show_default=True,
    help="How the ranges of values are decided.",
)
@click.option(
    "--target",
    type=click.Choice(["tensorrt", "openvino", "onnxruntime", "ort"]),
    default="tensorrt",
    show_default=True,
    help="Who runs it; OpenVINO also takes files for tensorrt, whose ends are float.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["int8", "w8a16", "fp8"]),
    default="int8",
    show_default=True,
    help="8-bit weights and activations; weights alone; 8-bit floats.",
)
@click.option(
    "--rest",
    type=click.Choice(["fp32", "fp16"]),
    help="What other layers compute in.  [default: fp16 for tensorrt, fp32 for the others]",
)
@click.option("--psnr-budget", type=DecibelType(0), help="Most that may be lost; layers stay float until it is met.")
@click.option("--ends/--no-ends", default=None, help="First and last layer too.  [default: not for tensorrt]")
@click.option(
    "--narrow-weights/--full-weights",
    default=None,
    help="7 of 8 bits for weights, so that sums stay exact on CPUs without VNNI.  [default: not for tensorrt]",
)
@click.option("--exclude", metavar="REGEX", help="Layers that stay float, by the name of node or module.")
@click.option("--only", metavar="REGEX", help="Layers that alone are quantised.")
@click.option("--statistics", type=click.Path(path_type=Path), help="Keep what was calibrated; taken if it is there.")
@click.option("--time-limit", type=click.FloatRange(min=0), metavar="S", help="Of the search for the budget.")
@click.option("--report", type=click.Path(path_type=Path), help="Folder for a page on quality and every decision.")
@model_options
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the choice of frames, and of random weights.",
)
@click.option("--force", is_flag=True, help="Replace existing files.")
@json_option
def quantize_command(model: str, **options: Any) -> int:
    """Quantise MODEL to 8 bits, calibrated on frames of --data.

    MODEL is a FILE.onnx in fp32, default, fast, or a network, which is exported first. Some frames are held out; the
    decibels lost are measured on them: against sharp pictures where there are some. With --psnr-budget the command
    ends with 3 when the budget cannot be met, and says what was reached.
    """
    json_place = options["json_place"]
    check_json_place(json_place)
    _check_goes_together(options)
    config = _config(options)
    path = options["output"] or Path(f"{_stem(model)}_{config.format}.onnx")
    check_output(path, force=options["force"])
    report = options["report"]
    if report is not None:
        check_output(report, force=options["force"], is_folder=True)
    if options["statistics"] is not None:
        check_output(options["statistics"], force=True)
    places = {"-o": path, "--report": report, "--statistics": options["statistics"], "--json": json_place}
    check_apart(places, {"MODEL": model, "--checkpoint": options["checkpoint"]})
    choice = FrameChoice(
        options["roots"],
        options["track"],
        options["split"],
        options["frames"],
        options["held_out"],
        seed=options["seed"],
        allow_test_split=options["allow_test_split"],
    )
    source = QuantizeSource(model, options["checkpoint"], options["tlsc"], choice, options["statistics"])
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=terminal(), transient=True
    ) as progress:
        task = progress.add_task("starting", total=None)

        def told(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total)

        work = quantize_work(source, config, told)
        try:
            quantized = work.run()
        except QualityError as error:
            _write_refusal(work.refused(error), work, options, model)
            raise
        written = write_onnx(quantized, path, options["force"], external_data=work.has_external_data)
    found = work.report()
    if report is not None:
        write_report(found, work, report, model)
    write_json(json_place, {"file": str(path), **found.to_dict()})
    _print(written, found, json_place)
    return 0


def _check_goes_together(options: dict[str, Any]) -> None:
    """Refuse, before frames are read, what could only be refused after them.

    Raises:
        UsageError: Options contradict each other, or a pattern is none.
    """
    if options["psnr_budget"] is None and options["time_limit"] is not None:
        raise UsageError("--time-limit is that of the search for the budget; give --psnr-budget as well")
    if options["psnr_budget"] is not None and not (options["roots"] and options["held_out"]):
        raise UsageError("--psnr-budget is measured on held-out frames; give --data, and --held-out 1 or more")
    for option in ("exclude", "only"):
        try:
            re.compile(options[option] or "")
        except re.error as error:
            raise UsageError(
                f"--{option} {options[option]!r} is no pattern ({error}); it is a regular expression"
            ) from error


def _config(options: dict[str, Any]) -> QuantizeConfig:
    target: Target = "onnxruntime" if options["target"] == "ort" else options["target"]
    return QuantizeConfig(
        target=target,
        format=options["form"],
        method=options["method"],
        exclude=options["exclude"],
        only=options["only"],
        ends=options["ends"],
        psnr_budget_db=options["psnr_budget"],
        time_limit_s=options["time_limit"],
        seed=options["seed"],
        narrow_weights=options["narrow_weights"],
        rest=options["rest"] or ("fp16" if target == "tensorrt" else "fp32"),
    )


def _stem(model: str) -> str:
    path = Path(model)
    return path.stem if path.suffix == ".onnx" else model.partition(":")[0].rpartition(".")[2]


def _write_refusal(found: QuantizeReport, work: QuantizeWork, options: dict[str, Any], model: str) -> None:
    """Keep what was measured where no file comes of it."""
    if options["report"] is not None:
        write_report(found, work, options["report"], model)
    write_json(options["json_place"], {"file": None, **found.to_dict()})
    _print_trials(found, options["json_place"])


def _print(written: OnnxFile, found: QuantizeReport, json_place: str | None) -> None:
    console = terminal()
    _print_trials(found, json_place)
    products = [site for site in found.sites if site.kind == "product"]
    count = sum(site.name in found.chosen for site in products)
    console.print(
        f"{written.path}: {count} of {len(products)} products in {found.config.format}, {found.share:.1%} of the "
        f"multiply-accumulates, {written.path.stat().st_size / 2**20:.2f} MiB",
        highlight=False,
        soft_wrap=True,
    )
    if found.quality is not None:
        quality = found.quality
        console.print(
            f"{quality.lost_db:.3f} dB lost on {len(quality.frames)} held-out frames, against {quality.against}",
            highlight=False,
        )
    for note in found.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True, markup=False)


def _print_trials(found: QuantizeReport, json_place: str | None) -> None:
    """Print the sets of layers that were measured; nothing where none was."""
    if found.trials:
        table = Table("dB lost", "products in 8 bits", "estimated saving", "layers", "none is better in both", "taken")
        for trial in found.trials:
            marks = ("yes" if trial.is_best else "", "yes" if found.is_taken(trial) else "")
            row = (f"{trial.lost_db:.3f}", f"{trial.share:.1%}", f"{trial.saving:.1%}", str(len(trial.chosen)), *marks)
            table.add_row(*row)
        print_table(table, json_place)
