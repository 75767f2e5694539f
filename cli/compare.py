"""``deblurrt compare``: how close two models are on the same frames."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.progress import track
from rich.table import Table

from ..core.errors import SourceError, UsageError
from ..core.outputs import check_output
from ..core.tensors import Array
from ..datasets.evaluation import EXACT_DB
from ..export import polygraphy_files
from ..export.parity import (
    BYTE_PEAK,
    Parity,
    ParityGate,
    StageParity,
    Window,
    compare_arrays,
    judge,
    read_windows,
    sample_windows,
)
from ..runtime.backend import BACKENDS, BackendConfig
from ..runtime.session import Session, SessionConfig, prepare
from .opening import ModelChoice, OpenedModel, is_network, open_model
from .options import SIZE, DecibelType, json_option, model_options
from .output import check_apart, check_json_place, print_table, terminal, write_json

EXAMPLES = """\b
Examples:
  deblurrt compare default fast
  deblurrt compare mprnet mprnet.onnx --checkpoint model_deblurring.pth --size 256x256
  deblurrt compare mprnet.onnx mprnet_fp16.onnx --save-inputs frames.json --save-outputs reference.json
  deblurrt compare mine.onnx mine_fp16.onnx --data drive.mp4 --psnr-min 50 --json -"""

#: equal pictures have the most
DECIBELS = DecibelType(0, EXACT_DB)
#: frames of --data that are compared
DATA_FRAMES = 8
#: height and width of generated pictures; the second is no multiple of anything networks fold by
SAMPLE_SIZES = ((96, 128), (129, 175), (256, 320))


@click.command("compare", epilog=EXAMPLES)
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help=f"Video, picture or folder of pictures; its first {DATA_FRAMES} frames. Pictures are made if not given.",
)
@click.option("--size", type=SIZE, help="Of the pictures that are made; of --data, the middle of each frame.")
@click.option("--psnr-min", "psnr_min_db", type=DECIBELS, metavar="DB", help="Exit with 3 where a frame is below.")
@click.option("--save-inputs", type=click.Path(path_type=Path), help="Write B's inputs for polygraphy --load-inputs.")
@click.option("--save-outputs", type=click.Path(path_type=Path), help="Write A's results for --load-outputs.")
@click.option("--force", is_flag=True, help="Replace existing files.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the pictures that are made.")
@model_options
@click.option(
    "--backend",
    type=click.Choice(["auto", *BACKENDS]),
    default="onnxruntime",
    show_default=True,
    help="What runs files, in fp32; networks of the zoo run in PyTorch.",
)
@json_option
def compare_command(
    first: str,
    second: str,
    data: Path | None,
    size: tuple[int, int] | None,
    psnr_min_db: float | None,
    save_inputs: Path | None,
    save_outputs: Path | None,
    force: bool,
    seed: int,
    checkpoint: Path | None,
    tlsc: str | None,
    backend: str,
    json_place: str | None,
) -> int:
    """Compare what A and B give for the same frames: PSNR between them, SSIM, differences.

    A and B are shipped names, networks of the zoo, package.module:factory or ONNX files; --checkpoint
    and --tlsc are for those that are networks. Pictures are compared in grey levels of 8 bits, two
    models that give floats on the scale 0..1, not clamped and not rounded. --save-inputs and
    --save-outputs let Polygraphy repeat the comparison where an engine runs.
    """
    check_json_place(json_place)
    saved = {"--save-inputs": save_inputs, "--save-outputs": save_outputs}
    check_apart({**saved, "--json": json_place}, {"A": first, "B": second, "--checkpoint": checkpoint, "--data": data})
    for place in filter(None, saved.values()):
        check_output(place, force=force)
    names = (first, second)
    if (checkpoint or tlsc) and not any(map(is_network, names)):
        raise UsageError(f"--checkpoint and --tlsc go with networks; {first} and {second} have their weights inside")
    with ExitStack() as stack:
        opened = []
        for name in names:
            opened.append(_open(name, checkpoint, tlsc, backend))
            stack.enter_context(opened[-1].session)
        pair = (opened[0].session, opened[1].session)
        _check_alike(names, pair)
        windows = _windows(data, pair[0].contract.window, size, seed)
        progress = track(windows, "comparing", console=terminal(), transient=True)
        compared = [_compare(pair, window) for window in progress]
        if save_inputs is not None:
            _save_inputs(windows, pair[1], save_inputs)
        if save_outputs is not None:
            _save_outputs([expected for expected, _ in compared], pair, save_outputs)
        results = [parity for _, parity in compared]
        models = [_facts(model, name) for model, name in zip(opened, names, strict=True)]
    gate = ParityGate(psnr_min_db=psnr_min_db) if psnr_min_db is not None else ParityGate()
    stage = StageParity(f"{second} in place of {first}", gate, tuple(results))
    write_json(json_place, _result(stage, models))
    print_table(_table(stage), json_place)
    if psnr_min_db is not None:
        judge(stage)
    return 0


def _open(name: str, checkpoint: Path | None, tlsc: str | None, backend: str) -> OpenedModel:
    options = BackendConfig("fp32")
    if is_network(name):
        return open_model(ModelChoice(name, checkpoint, tlsc), SessionConfig(name, options=options))
    return open_model(ModelChoice(name), SessionConfig(name, backend, options))


def _check_alike(names: tuple[str, str], pair: tuple[Session, Session]) -> None:
    for what in ("scale", "window"):
        first, second = (getattr(session.contract, what) for session in pair)
        if first != second:
            raise UsageError(
                f"{names[0]} has a {what} of {first}, {names[1]} of {second}; compare models that agree in this"
            )


def _windows(data: Path | None, frames: int, size: tuple[int, int] | None, seed: int) -> list[Window]:
    if data is None:
        return sample_windows(frames, [size] if size else SAMPLE_SIZES, seed)
    windows = list(read_windows(data, frames, DATA_FRAMES))
    return [_middle(window, size) for window in windows] if size else windows


def _middle(window: Window, size: tuple[int, int]) -> Window:
    height, width = window[0].shape[:2]
    if height < size[0] or width < size[1]:
        raise SourceError(f"a frame is {height}x{width}, smaller than --size {size[0]}x{size[1]}; give a smaller one")
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return tuple(pixels[top : top + size[0], left : left + size[1]] for pixels in window)


def _gives_floats(pair: tuple[Session, Session]) -> bool:
    return all(session.contract.io == "float" for session in pair)


def _compare(pair: tuple[Session, Session], window: Window) -> tuple[Array, Parity]:
    """What A gives, and how far B is from it."""
    run = _floats if _gives_floats(pair) else _picture
    expected, got = (run(session, window) for session in pair)
    return expected, compare_arrays(expected, got)


def _save_inputs(windows: list[Window], session: Session, path: Path) -> None:
    name = session.backend.inputs[0].name
    polygraphy_files.save_inputs([{name: prepare(list(window), session.contract)} for window in windows], path)


def _save_outputs(results: list[Array], pair: tuple[Session, Session], path: Path) -> None:
    contract = pair[1].contract
    if contract.io == "float" and (not _gives_floats(pair) or contract.multiple > 1 or contract.range != "0..1"):
        raise UsageError(f"--save-outputs is for files that give bytes; {pair[1].model} gives floats (--io uint8)")
    name = pair[1].backend.outputs[0].name
    given = [{name: result.astype("float32") if contract.io == "float" else result[None]} for result in results]
    polygraphy_files.save_outputs(given, pair[0].model, path)


def _picture(session: Session, window: Window) -> Array:
    previous, pixels, following = window if len(window) == 3 else (None, window[0], None)
    return session.restore(pixels, previous, following)


def _floats(session: Session, window: Window) -> Array:
    """What a bare network gives, new memory, ``float64 [1, 3, height, width]`` on the scale 0..1."""
    contract, backend = session.contract, session.backend
    frames = prepare(list(window), contract)
    restored = backend.run({backend.inputs[0].name: frames})[backend.outputs[0].name]
    height, width = (side * contract.scale for side in window[0].shape[:2])
    white = 1.0 if contract.range == "0..1" else BYTE_PEAK
    scaled: Array = restored[:, :, :height, :width].astype("float64") / white
    return scaled


def _facts(model: OpenedModel, name: str) -> dict[str, Any]:
    session = model.session
    return {
        "model": name,
        "backend": session.backend.description,
        "weights": model.identity["weights"] if model.identity else None,
        "contract": asdict(session.contract),
    }


def _unit(stage: StageParity) -> str:
    return "grey levels" if stage.results[0].is_rounded else "0..1"


def _result(stage: StageParity, models: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "psnr_db": min(parity.psnr_db for parity in stage.results),
        "psnr_min_db": stage.gate.psnr_min_db,
        "passed": stage.is_passed,
        "unit": _unit(stage),
        "models": models,
        "frames": [parity.to_dict() for parity in stage.results],
    }


def _table(stage: StageParity) -> Table:
    table = Table("frame", "size", "PSNR dB", "SSIM", f"largest difference, {_unit(stage)}", "mean", "not finite")
    for number, parity in enumerate(stage.results):
        similarity = "-" if parity.ssim is None else f"{parity.ssim:.6f}"
        psnr = "equal" if parity.max_abs == 0 else f"{parity.psnr_db:.2f}"
        differences = (f"{parity.max_abs:.4g}", f"{parity.mean_abs:.4g}", str(parity.non_finite))
        table.add_row(str(number), "x".join(map(str, parity.size)), psnr, similarity, *differences)
    return table
