"""What 8 bits cost and save: the tables of docs/quantize.md.

    python -m deblurrt.profiling.quantize_benchmark --data DATA --work quantized --output docs/quantize.md

DATA is laid out as the development data: ``pairs/`` and ``images/``. What is measured once is kept in ``--work`` and
not measured again, so an interrupted run goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ..calibration.frames import FrameChoice, FrameList, Frames, choose_frames
from ..calibration.graph_sessions import open_restorer
from ..calibration.quality import Judge
from ..calibration.quantization import Quantization
from ..calibration.quantize_config import QuantizeConfig, Target
from ..calibration.thresholds import Method
from ..core.artifacts import OnnxFile, load_whole, open_onnx, write_onnx
from ..core.errors import DeblurrtError
from ..core.outputs import write_whole
from ..core.pictures import read_picture
from ..engines.build_config import BuildConfig, Shapes
from ..engines.build_process import build_plan
from ..engines.graph_sizes import sizes_at
from ..engines.precision_label import convolutions, label
from ..export.export_config import ExportConfig
from ..export.onnx_export import OnnxExport
from ..plugins.onnx_ops import inline_bodies, uses_plugins
from ..runtime.backend import BackendConfig, open_backend
from ..runtime.session import contract_of, prepare
from ..runtime.shipped_models import find_model
from .page_sections import write_section
from .quantize_page import shipped_text, speed_text, zoo_text
from .ratios import ratio_of, times_in_turn

Row = dict[str, Any]

SHIPPED = ("default", "fast")
TARGETS: tuple[Target, ...] = ("openvino", "onnxruntime", "tensorrt")
METHODS: tuple[Method, ...] = ("minmax", "entropy", "percentile", "mse")
#: what each placement asks for
PLACEMENTS: dict[str, dict[str, Any]] = {
    "everything": {"ends": True},
    "no first/last": {"ends": False},
    "search, 0.1 dB": {"psnr_budget_db": 0.1, "time_limit_s": 90.0},
}
#: frames to calibrate on
SHIPPED_FRAMES, ZOO_FRAMES = 16, 6
#: of speed: rounds, threads, backends
ROUNDS, THREADS, BACKENDS = 5, (1, 2), ("openvino", "onnxruntime")
#: size the engines of reduced networks are built for
ENGINE_SIZE = (192, 320)

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


@dataclass(frozen=True, slots=True)
class Plan:
    """Where things are.

    Attributes:
        data: Development data.
        work: Files and rows.
        tell: Told what begins.
        is_closed: Whether nothing is measured any more.
    """

    data: Path
    work: Path
    tell: Callable[[str], None]
    is_closed: bool = False

    def row(self, name: str, measure: Callable[[], Row]) -> Row:
        """Measure a row, or take the one of an earlier run; what fails on purpose is a row as well.

        Returns:
            The row; empty where there is none and nothing is measured any more.
        """
        place = self.work / f"{name.replace('/', '_').replace(' ', '_')}.json"
        if not place.is_file() and self.is_closed:
            return {}
        if not place.is_file():
            self.tell(name)
            try:
                found = measure()
            except DeblurrtError as error:
                found = {"network": name.split()[1], "error": str(error)}
            write_whole(place, json.dumps(found, indent=2).encode())
        row: Row = json.loads(place.read_text())
        return row


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


def zoo_rows(plan: Plan) -> Iterator[Row]:
    """Quantise a reduced network of every family by each method and placement; build engines of them."""
    for name, options in REDUCED.items():

        def measure(name: str = name, options: dict[str, Any] = options) -> Row:
            file = _exported(name, options, plan.work)
            frames = _small_frames(plan, file)
            row: Row = {"network": name, "methods": {}, "placements": {}}
            statistics = plan.work / f"{name}.npz"
            for method in METHODS:
                work = _quantized(file, frames, QuantizeConfig(method=method), statistics)
                row["methods"][method] = _told(work)
                if method == "mse":
                    row["engine"] = _engine(work[1], file, plan.work)
            for placement, choices in PLACEMENTS.items():
                try:
                    row["placements"][placement] = _told(
                        _quantized(file, frames, QuantizeConfig(**choices), statistics)
                    )
                except DeblurrtError as error:
                    row["placements"][placement] = {"error": str(error)}
            return row

        yield plan.row(f"zoo {name}", measure)


def _exported(name: str, options: dict[str, Any], folder: Path) -> OnnxFile:
    from ..models.zoo import create_model

    path = folder / f"{name}.onnx"
    if path.is_file():
        return open_onnx(path)
    return write_onnx(OnnxExport(create_model(name, seed=0, **options), ExportConfig()).run(), path)


def _small_frames(plan: Plan, file: OnnxFile) -> Frames:
    """Pictures without a sharp twin: random weights restore nothing, so only float and 8 bits are compared."""
    folder = plan.data / "pairs" / "reds_seq000" / "blur_x4"
    return choose_frames(FrameChoice((folder,), count=ZOO_FRAMES), contract_of(file))


def _quantized(file: OnnxFile, frames: Frames, config: QuantizeConfig, statistics: Path) -> tuple[Quantization, Any]:
    work = Quantization(load_whole(file), file.path.name, contract_of(file), frames, config, statistics)
    return work, work.run()


def _told(done: tuple[Quantization, Any]) -> Row:
    report = done[0].report()
    return {"lost_db": report.quality.lost_db if report.quality else None, "share": report.share}


def _engine(model: Any, file: OnnxFile, folder: Path) -> Row:
    """Build with TensorRT-RTX and say what the convolutions compute in."""
    path = folder / f"{file.path.stem}_int8.onnx"
    written = write_onnx(model, path, force=True)
    config = BuildConfig(shapes=Shapes(ENGINE_SIZE, ENGINE_SIZE, ENGINE_SIZE))
    built = build_plan(written, config, path.with_suffix(".engine"), force=True)
    inlined = load_whole(written)
    inlined = inline_bodies(inlined) if uses_plugins(inlined) else inlined
    found = label(built.log.layers, convolutions(inlined, sizes_at(inlined, ENGINE_SIZE).shapes))
    return {"seconds": built.seconds, "shares": dict(found.shares), "dearer": len(found.dearer)}


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Development data.")
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Files and rows are kept here.")
@click.option("--output", type=click.Path(path_type=Path), help="Page whose sections are replaced.")
@click.option("--part", type=click.Choice(["shipped", "speed", "zoo"]), multiple=True, help="Only these.")
@click.option("--measured", is_flag=True, help="Write what was measured before, and measure nothing.")
def main(data: Path, work: Path, output: Path | None, part: tuple[str, ...], measured: bool) -> None:
    """Measure, and write the tables."""
    work.mkdir(parents=True, exist_ok=True)
    plan = Plan(data, work, lambda line: click.echo(line, err=True), measured)
    parts = {"shipped": (shipped_rows, shipped_text), "speed": (speed_rows, speed_text), "zoo": (zoo_rows, zoo_text)}
    for name, (measure, write) in parts.items():
        if part and name not in part:
            continue
        text = write([row for row in measure(plan) if row])
        if output is not None:
            write_section(output, name, text)
        click.echo(text)


if __name__ == "__main__":
    main()
