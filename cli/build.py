"""``deblurrt build``: an engine from an ONNX file or a network, with its manifest."""

from __future__ import annotations

import importlib.util
import logging
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ..calibration.frames import FrameChoice
from ..core.artifacts import OnnxFile, load_whole, open_onnx
from ..core.errors import UsageError
from ..core.manifest import manifest_path
from ..core.outputs import check_output
from ..engines.build_config import BackendName, BuildConfig, Shapes, Size
from ..export.export_config import ExportConfig, Precision
from .build_progress import build_progress
from .exporting import ExportSource, exported_file
from .options import SIZE, json_option, model_options
from .output import check_apart, check_json_place, terminal, write_json
from .quantizing import QuantizeSource, quantized_file
from .trtexec import SHAPE, batch_from, shapes_from, trtexec_options, workspace_from

logger = logging.getLogger(__name__)

EXAMPLES = """\b
Examples:
  deblurrt build default --backend tensorrt-rtx
  deblurrt build edpn_deblock --checkpoint F --size 720x1280 --precision fp16 -o edpn.engine
  deblurrt build mprnet.onnx --shapes 256x256/720x1280/1088x1920 --targets sm86,sm89
  deblurrt build --onnx=m.onnx --saveEngine=m.engine --optShapes=frames:1x720x1280x3"""

#: options that say where results go, or spell MODEL
NOT_REPEATED = frozenset({"output", "force", "json_place", "onnx_place"})
DEFAULT_SIZE: Size = (720, 1280)
SHAPES = re.compile(r"(\d+)x(\d+)/(\d+)x(\d+)/(\d+)x(\d+)")


@click.command("build", epilog=EXAMPLES)
@click.argument("model", required=False)
@click.option("--onnx", "onnx_place", help="trtexec's spelling of MODEL.")
@click.option(
    "-o",
    "--output",
    "--saveEngine",
    type=click.Path(path_type=Path),
    help="The engine; MODEL.engine here if not given.",
)
@model_options
@click.option(
    "--backend",
    type=click.Choice(["tensorrt", "tensorrt-rtx"]),
    help="Whose builder; tensorrt where it is installed, else tensorrt-rtx, which needs no GPU.",
)
@click.option("--size", type=SIZE, help="Of the frames; 720x1280 for a network if neither this nor --shapes is given.")
@click.option("--shapes", help="Smallest, typical and largest frames: 64x64/720x1280/1088x1920; or NAME:1x720x1280x3.")
@click.option(
    "--batch",
    type=int,
    metavar="N",
    help="Most frames at once, for synchronised cameras; one to N then, made fast for N. One if not given.",
)
@click.option("--targets", default="", help="Compute capabilities in one engine, TensorRT-RTX only: sm86,sm89.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "bf16"]),
    help="Types of a network's arithmetic, fp16 if not given; a FILE.onnx keeps its own.",
)
@click.option("--fp16", is_flag=True, help="trtexec's spelling of --precision fp16.")
@click.option("--bf16", is_flag=True, help="trtexec's spelling of --precision bf16.")
@click.option("--int8", is_flag=True, help="Quantise first, as deblurrt quantize does; needs --data.")
@click.option(
    "--data",
    "roots",
    type=click.Path(path_type=Path),
    multiple=True,
    help="With --int8: REDS, folders or videos to calibrate on; frames are held out to say what is lost.",
)
@click.option("--workspace", type=click.IntRange(min=1), metavar="MIB", help="Most memory one layer may work with.")
@click.option("--memory", type=click.IntRange(min=1), metavar="MIB", help="Of the device; this GPU's if not given.")
@click.option(
    "--optimization-level",
    "--builderOptimizationLevel",
    type=click.IntRange(0, 5),
    help="How long the builder looks for fast kernels.",
)
@click.option("--time-limit", type=float, metavar="S", help="Level 0 first, then higher ones as long as time is left.")
@click.option(
    "--timing-cache",
    "--timingCacheFile",
    type=click.Path(path_type=Path),
    help="TensorRT only: measurements of earlier builds, read and written.",
)
@click.option("--allow-mixed", is_flag=True, help="Accept layers that compute in more bits than the file says.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random weights without --checkpoint.")
@click.option("--force", is_flag=True, help="Replace an existing engine.")
@trtexec_options
@json_option
def build_command(**options: Any) -> int:
    """Build an engine from MODEL: a FILE.onnx, or a network, which is exported first.

    The engine lies in FILE.engine, as TensorRT wrote it, with a manifest FILE.engine.json beside it:
    without that it does not load. The same build again is found in the cache.

    Ends with 3 when layers compute in more bits than the file says, with 5 when the builder is missing,
    refuses, or the memory of the device does not suffice.
    """
    json_place = options["json_place"]
    model = _model(options["model"], options["onnx_place"])
    path = options["output"] or _place(model)
    _check_places(path, model, options)
    config = _config(options)
    from ..engines.engine_build import Origin, engine_from_onnx

    console = terminal()
    with build_progress(console) as bar:
        file = _file(model, options, bar.stage)
        config = replace(config, shapes=_shapes(options, file))
        result = engine_from_onnx(
            file,
            config,
            path,
            origin=Origin(model, _command(model)),
            force=options["force"],
            on_event=bar.event,
            say=bar.say,
        )
    manifest = result.engine.manifest
    how = "found in the cache" if result.is_cached else f"built in {manifest.build_seconds or 0:.1f} s"
    label = ", ".join(f"{share:.1%} {dtype}" for dtype, share in manifest.precision.items())
    console.print(f"{path}: {how} ({result.reason})", highlight=False, soft_wrap=True)
    console.print(f"convolutions compute in {label}" if label else "no convolutions inside", highlight=False)
    memory = manifest.activation_bytes
    if memory is not None:
        console.print(f"memory for values: {memory / 2**20:,.0f} MiB, says the builder", highlight=False)
    write_json(
        json_place, {"engine": str(path), "cached": result.is_cached, "reason": result.reason, **manifest.to_dict()}
    )
    return 0


def _model(positional: str | None, spelled: str | None) -> str:
    if (positional is None) == (spelled is None):
        raise UsageError("give one MODEL: a FILE.onnx or a network (deblurrt models)")
    return positional or spelled or ""


def _command(model: str) -> str:
    """The command as it was given, without where its results go."""
    context = click.get_current_context()
    words = ["deblurrt", "build", model]
    for option in context.command.params:
        is_given = context.get_parameter_source(option.name or "") == ParameterSource.COMMANDLINE
        if not isinstance(option, click.Option) or not is_given or option.name in NOT_REPEATED:
            continue
        value = context.params[option.name or ""]
        text = "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
        words += [option.opts[0]] if option.is_flag else [option.opts[0], text]
    return shlex.join(words)


def _place(model: str) -> Path:
    """Where the engine of a model goes when nothing is said: here, under its name."""
    name = model if Path(model).is_file() else model.partition(":")[0]
    return Path(f"{Path(name).stem}.engine")


def _check_places(path: Path, model: str, options: dict[str, Any]) -> None:
    """Refuse places before the work: an export can take minutes."""
    outputs = {"-o": path, "-o's manifest": manifest_path(path), "--json": options["json_place"]}
    inputs = {"MODEL": model, "--checkpoint": options["checkpoint"], "--timing-cache": options["timing_cache"]}
    check_apart(outputs, inputs)
    check_json_place(options["json_place"])
    for place in (path, manifest_path(path)):
        check_output(place, force=options["force"])


def _config(options: dict[str, Any]) -> BuildConfig:
    if options["workspace"] and options["pool"]:
        raise UsageError("--workspace and --memPoolSize say the same; give one")
    options["batch"] = _batch(options)
    return BuildConfig(
        backend=options["backend"] or default_backend(),
        batch_max=options["batch"],
        targets=tuple(sorted({target.strip() for target in options["targets"].split(",")} - {""})),
        workspace_mib=options["workspace"] or workspace_from(options["pool"]),
        optimization_level=options["optimization_level"],
        timing_cache=options["timing_cache"],
        time_limit_s=options["time_limit"],
        memory_mib=options["memory"],
        allow_mixed=options["allow_mixed"],
    )


def _batch(options: dict[str, Any]) -> int:
    """Most frames at once, as it is said or spelled."""
    spelled = batch_from(options["min_shapes"], options["opt_shapes"] or options["shapes"], options["max_shapes"])
    asked: int | None = options["batch"]
    if asked is not None and spelled not in (None, 1, asked):
        raise UsageError(f"--batch is {asked}, the shapes are of {spelled} frames at once; give one of them")
    if asked is not None:
        return asked
    return 1 if spelled is None else spelled


def default_backend() -> BackendName:
    """TensorRT proper where it is installed, which builds for the GPU at hand; else TensorRT-RTX."""
    return "tensorrt" if importlib.util.find_spec("tensorrt") is not None else "tensorrt-rtx"


def _file(model: str, options: dict[str, Any], on_stage: Any) -> OnnxFile:
    """The ONNX file itself, or one that is quantised, or exported from a network or in other types."""
    precision = _precision(options)
    if options["int8"]:
        return _quantized(model, options, on_stage)
    if options["roots"]:
        raise UsageError("--data says what to calibrate on; give --int8 as well")
    path = Path(model)
    if path.suffix == ".onnx" and path.is_file():
        if options["checkpoint"] is not None or options["tlsc"] is not None:
            raise UsageError(f"--checkpoint and --tlsc go with a network, {model} has its weights and pools inside")
        file = open_onnx(path)
        if precision is None:
            return file
        from ..export.onnx_conversion import precision_of

        if precision_of(load_whole(file)) == precision:
            return file
        logger.warning("%s is converted to %s first, as deblurrt export does", model, precision)
    elif path.suffix == ".engine":
        raise UsageError(f"{model} is an engine already; give the ONNX file or the network it came from")
    is_any = options["shapes"] or options["min_shapes"] or options["opt_shapes"] or options["max_shapes"]
    default = None if path.is_file() else DEFAULT_SIZE
    # a file of fixed size takes one frame at a time; the profile fixes the size where there are several
    size = None if is_any or options["batch"] > 1 else options["size"] or default
    source = ExportSource(model, options["checkpoint"], options["tlsc"], options["seed"])
    if size is None and not is_any and not options["size"]:
        options["size"] = default
    return exported_file(source, ExportConfig(size=size, precision=precision or "fp16"), on_stage)


def _quantized(model: str, options: dict[str, Any], on_stage: Any) -> OnnxFile:
    """Quantise MODEL with fp16 for the rest, any size; the profile decides what the engine takes."""
    if _precision(options) not in (None, "fp16"):
        raise UsageError("layers that --int8 leaves in float compute in fp16; leave --precision out")
    if not any(options[name] for name in ("size", "shapes", "min_shapes", "opt_shapes", "max_shapes")):
        options["size"] = DEFAULT_SIZE
    choice = FrameChoice(options["roots"], seed=options["seed"])
    source = QuantizeSource(model, options["checkpoint"], options["tlsc"], choice)
    file, lost_db = quantized_file(source, lambda what, _done, _all: on_stage(what))
    logger.warning("%s is quantised first; %s dB lost on held-out frames (deblurrt quantize --report)", model, lost_db)
    return file


def _precision(options: dict[str, Any]) -> Precision | None:
    asked: set[Precision] = {options["precision"]} - {None}
    asked |= {name for name in ("fp16", "bf16") if options[name]}
    if len(asked) > 1:
        raise UsageError(f"--precision is given as {' and '.join(sorted(asked))}; give one")
    return asked.pop() if asked else None


def _shapes(options: dict[str, Any], file: OnnxFile) -> Shapes | None:
    """The profile that is asked for; a file of fixed size needs none."""
    contract, size = file.contract, options["size"]
    if contract is None:
        return Shapes(size, size, size) if size else None
    spelled = shapes_from(options["min_shapes"], options["opt_shapes"], options["max_shapes"], contract)
    if sum(map(bool, (size, options["shapes"], spelled))) > 1:
        raise UsageError(
            "sizes are given twice; give --size, --shapes or trtexec's --minShapes, --optShapes, --maxShapes"
        )
    if options["shapes"] and SHAPE.fullmatch(options["shapes"]):
        return shapes_from(None, options["shapes"], None, contract)
    if options["shapes"]:
        found = SHAPES.fullmatch(options["shapes"])
        if found is None:
            raise UsageError(f"--shapes is {options['shapes']!r}, expected MIN/OPT/MAX: 64x64/720x1280/1088x1920")
        tall_1, wide_1, tall_2, wide_2, tall_3, wide_3 = map(int, found.groups())
        return Shapes((tall_1, wide_1), (tall_2, wide_2), (tall_3, wide_3))
    return Shapes(size, size, size) if size else spelled
