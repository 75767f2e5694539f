"""What 8 bits cost and save: the tables of docs/quantize.md.

    python -m deblurrt.profiling.quantize_benchmark --data DATA --work quantized --output docs/quantize.md

DATA is laid out as the development data: ``pairs/`` and ``images/``. What is measured once is kept in ``--work`` and
not measured again, so an interrupted run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from ..calibration.frames import FrameChoice, FrameList, choose_frames
from ..calibration.graph_sessions import open_restorer
from ..calibration.quality import Judge
from ..calibration.quantization import Quantization
from ..calibration.quantize_config import QuantizeConfig, Target
from ..core.artifacts import OnnxFile, load_whole, open_onnx, write_onnx
from ..core.pictures import read_picture
from ..runtime.backend import BackendConfig, open_backend
from ..runtime.session import contract_of, prepare
from ..runtime.shipped_models import find_model
from .kept_rows import Plan, Row
from .modelopt_check import modelopt_rows
from .page_sections import write_section
from .quantize_page import modelopt_text, shipped_text, speed_text, zoo_text
from .quantize_zoo import zoo_rows
from .ratios import ratio_of, times_in_turn

SHIPPED = ("default", "fast")
TARGETS: tuple[Target, ...] = ("openvino", "onnxruntime", "tensorrt")
#: frames to calibrate on
SHIPPED_FRAMES = 16
#: of speed: rounds, threads, backends
ROUNDS, THREADS, BACKENDS = 5, (1, 2), ("openvino", "onnxruntime")


def shipped_rows(plan: Plan) -> Iterator[Row]:
    """Calibrate the shipped networks on REDS and driving frames; score them on the other real pairs."""
    roots = (plan.data / "pairs" / "reds_seq000", plan.data / "images" / "carnd_driving")
    others = tuple(plan.data / "pairs" / name for name in ("gopro_street", "gopro_istanbul", "gopro_flower"))
    for name in SHIPPED:
        for target in TARGETS:

            def measure(name: str = name, target: Target = target) -> Row:
                file = open_onnx(find_model(name))
                contract = contract_of(file)
                frames = choose_frames(FrameChoice(roots, count=SHIPPED_FRAMES), contract)
                work = Quantization(load_whole(file), name, contract, frames, QuantizeConfig(target), None)
                model = work.run()
                written = write_onnx(model, plan.work / f"{name}_{target}.onnx", force=True)
                shots = [shot for root in others for shot in _pairs(root, contract)]
                judge = Judge.of(open_restorer(load_whole(file), contract), shots)
                quality = judge.quality(open_restorer(load_whole(written), contract))
                held = work.report().quality
                return {
                    "network": name,
                    "target": target,
                    "share": work.report().share,
                    "held_out_lost_db": held.lost_db if held else None,
                    "others": quality.to_dict(),
                    "bytes": [file.path.stat().st_size, written.path.stat().st_size],
                }

            yield plan.row(f"shipped {name} {target}", measure)


def _pairs(root: Path, contract: Any) -> FrameList:
    from ..calibration.clips import PairClip
    from ..datasets.pairs import open_pairs

    clips = tuple(PairClip(sequence) for sequence in open_pairs(root))
    return FrameList(clips, tuple((index, 0) for index in range(len(clips))), contract.window)


def speed_rows(plan: Plan) -> Iterator[Row]:
    """Time shipped networks in 8 bits against float, 720p, in turn within one run."""
    folder = plan.data / "pairs" / "reds_seq000" / "blur"
    pixels = read_picture(next(iter(sorted(folder.iterdir()))))
    for name in SHIPPED:
        for backend in BACKENDS:
            for threads in THREADS:

                def measure(name: str = name, backend: str = backend, threads: int = threads) -> Row:
                    files = {"float": open_onnx(find_model(name))}
                    files |= {target: open_onnx(plan.work / f"{name}_{target}.onnx") for target in TARGETS}
                    runs = {key: _runner(file, backend, threads, pixels) for key, file in files.items()}
                    times = times_in_turn(runs, ROUNDS)
                    ratios = {key: ratio_of(times["float"], times[key]).to_dict() for key in TARGETS}
                    return {"network": name, "backend": backend, "threads": threads, "ratios": ratios}

                yield plan.row(f"speed {name} {backend} {threads}", measure)


def _runner(file: OnnxFile, backend: str, threads: int, pixels: Any) -> Callable[[], object]:
    opened = open_backend(backend, file, BackendConfig("fp32", threads))
    feed = {file.inputs[0].name: prepare([pixels] * contract_of(file).window, contract_of(file))}
    opened.run(feed)
    return lambda: opened.run(feed)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Development data.")
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Files and rows are kept here.")
@click.option("--output", type=click.Path(path_type=Path), help="Page whose sections are replaced.")
@click.option("--part", type=click.Choice(["shipped", "speed", "zoo", "modelopt"]), multiple=True, help="Only these.")
@click.option("--network", "networks", multiple=True, help="Measure only these; other rows are those of earlier runs.")
@click.option("--modelopt", type=click.Path(path_type=Path, exists=True), help="Python that modelopt is installed for.")
@click.option("--measured", is_flag=True, help="Write what was measured before, and measure nothing.")
def main(
    data: Path,
    work: Path,
    output: Path | None,
    part: tuple[str, ...],
    networks: tuple[str, ...],
    modelopt: Path | None,
    measured: bool,
) -> None:
    """Measure, and write the tables."""
    work.mkdir(parents=True, exist_ok=True)
    plan = Plan(data, work, lambda line: click.echo(line, err=True), measured, networks)
    parts: dict[str, tuple[Callable[[Plan], Iterator[Row]], Callable[[list[Row]], str]]] = {
        "shipped": (shipped_rows, shipped_text),
        "speed": (speed_rows, speed_text),
        "zoo": (zoo_rows, zoo_text),
        "modelopt": (lambda plan: modelopt_rows(plan, modelopt), modelopt_text),
    }
    for name, (measure, write) in parts.items():
        if part and name not in part:
            continue
        rows = [row for row in measure(plan) if row]
        text = write(rows)
        if output is not None and rows:
            write_section(output, name, text)
        click.echo(text)


if __name__ == "__main__":
    main()
