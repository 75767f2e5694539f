"""``deblurrt device-report``: export, build, check and measure on this machine, into one folder."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..core.artifacts import OnnxFile
from ..core.contract import FrameContract
from ..core.engine_file import open_engine
from ..core.errors import DeblurrtError, MachineError, QualityError, UsageError
from ..core.machine import probe_machine
from ..core.manifest import manifest_path
from ..core.outputs import check_output, output_error, write_whole
from ..core.pictures import Pixels
from ..engines.build_config import BackendName, BuildConfig
from ..engines.engine_build import Origin, engine_from_onnx
from ..export.export_config import ExportConfig, Precision
from ..export.parity import FP16_GATE, compare_arrays, sample_windows
from ..models.zoo_facts import FACTS
from ..profiling.device_page import device_page
from ..profiling.diagnosis import AREAS, diagnose, facts_of
from ..profiling.trtexec_run import command_of, find_trtexec, measure_engine
from ..profiling.zoo_variants import VARIANTS, Variant
from ..runtime.session import SessionConfig, open_session
from .build import default_backend
from .exporting import ExportSource, exported_file
from .options import SIZE
from .output import terminal

EXAMPLES = """\b
Examples:
  deblurrt device-report report                      everything, which takes hours on a small board
  deblurrt device-report report --only default --only fast
  deblurrt device-report report --only edpn_deblock --size 360x640"""

#: networks whose weights ship
SHIPPED = ("default", "fast")
#: of the zoo; three-frame forms differ from these in their first convolution alone
NETWORKS = tuple(variant for variant in VARIANTS if not variant.options)
TLSC = {"deblur": "256:384", "deblur_jpeg": "256:384", "deblur_sr": "64:96"}
#: frames the check compares and the CPU is measured on
CHECK_SIZE, CPU_FRAMES = (96, 128), 10
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
NO_GPU = "no NVIDIA GPU was found"
NO_TRTEXEC = "trtexec was not found; it comes with TensorRT (JetPack: /usr/src/tensorrt/bin)"
NO_RTX_TIMES = "trtexec does not run engines of tensorrt-rtx; time them: deblurrt run CLIP OUT --model ENGINE --json -"

Row = dict[str, Any]


@click.command("device-report", epilog=EXAMPLES)
@click.argument("folder", metavar="OUT_DIR", type=click.Path(path_type=Path))
@click.option("--size", type=SIZE, default="720x1280", show_default=True, help="Of the restored picture.")
@click.option("--only", multiple=True, metavar="NAME", help="A network; all if not given.")
@click.option("--backend", type=click.Choice(["tensorrt", "tensorrt-rtx"]), help="As for deblurrt build.")
@click.option("--force", is_flag=True, help="Replace an older report and engines in the folder.")
def device_report_command(
    folder: Path, size: tuple[int, int], only: tuple[str, ...], backend: BackendName | None, force: bool
) -> int:
    """Fill the tables of this device: export, build, check and measure the shipped networks and the zoo.

    OUT_DIR/report.md is for people, report.json for programs; both say of every figure that is missing
    why. Networks of the zoo have random weights here: figures of time and memory do not depend on them.
    Written after every network, so that an interrupted report is kept.
    """
    known = (*SHIPPED, *(variant.label for variant in NETWORKS))
    for name in only:
        if name not in known:
            raise UsageError(f"no network {name!r} to report on; expected {', '.join(known)}")
    names = only or known
    for name in names:
        _check_size(name, size)
    _check_places(folder, names, force=force)
    diagnosis = diagnose(probe_machine())
    facts = facts_of(diagnosis.machine)
    rows: list[Row] = []
    report = _Report(size, backend or default_backend(), folder, bool(diagnosis.machine.gpu.gpus))
    command = " ".join(["deblurrt", *sys.argv[1:]])
    for name in names:
        with terminal().status(name) as status:
            rows.append(report.row(name, status.update))
        told = {"machine": diagnosis.to_dict(), "networks": rows}
        write_whole(folder / "report.json", (json.dumps(told, indent=1) + "\n").encode())
        page = device_page([(area, facts[area]) for area in AREAS], rows, command)
        write_whole(folder / "report.md", page.encode())
        terminal().print(f"{name}: {_said(rows[-1])}", highlight=False, soft_wrap=True)
    return 0


def _check_size(name: str, size: tuple[int, int]) -> None:
    """Refuse a size whose frames are smaller than the network takes.

    Raises:
        UsageError: With the smallest size.
    """
    contract = _contract(name)
    if min(_frames(name, size)) < contract.min_size:
        least = contract.min_size * contract.scale
        raise UsageError(f"--size is {size[0]}x{size[1]}, {name} restores no less than {least}x{least}")


def _check_places(folder: Path, names: Sequence[str], *, force: bool) -> None:
    """Make the folder, and refuse it where something in it would be replaced.

    Raises:
        OutputError: It cannot be made, or a report or an engine is there and ``force`` is off.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    engines = [folder / f"{name}.engine" for name in names]
    for path in (folder / "report.md", folder / "report.json", *engines, *map(manifest_path, engines)):
        check_output(path, force=force)


def _frames(name: str, size: tuple[int, int]) -> tuple[int, int]:
    """Size of frames that give a result of the wanted size."""
    scale = _contract(name).scale
    return size[0] // scale, size[1] // scale


def _said(row: Row) -> str:
    missing = row["missing"]
    return f"{len(missing)} steps not measured: {'; '.join(missing.values())}" if missing else "measured"


class _Report:
    """One network after the other; a step that fails leaves its reason in the row."""

    def __init__(self, size: tuple[int, int], backend: BackendName, folder: Path, has_gpu: bool) -> None:
        self._size, self._backend, self._folder, self._has_gpu = size, backend, folder, has_gpu
        self._say: Callable[[str], None] = lambda _what: None

    def row(self, name: str, say: Callable[[str], None]) -> Row:
        """Everything that can be found out about a network on this machine."""
        row: Row = {"network": name, "missing": {}}
        self._say = lambda what: say(f"{name}: {what}")
        size = _frames(name, self._size)
        row["size"] = f"{size[0]}x{size[1]}"
        file = self._step(row, "export", lambda: self._export(name, row))
        self._step(row, "check", lambda: self._check(name, row))
        if file is not None:
            engine = self._step(row, "build", lambda: self._build(name, file, row))
            if engine is not None:
                self._step(row, "measure on the GPU", lambda: self._gpu(engine, row))
        self._step(row, "measure on the CPU", lambda: self._cpu(name, row))
        return row

    def _step(self, row: Row, step: str, work: Callable[[], Any]) -> Any:
        self._say(step)
        try:
            return work()
        except DeblurrtError as error:
            row["missing"][step] = str(error)
        except Exception as error:  # whatever a package raises: the report of hours goes on and says what it was
            row["missing"][step] = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return None

    def _export(self, name: str, row: Row) -> OnnxFile:
        size = _frames(name, self._size)
        started = time.perf_counter()
        file = exported_file(_source(name), ExportConfig(size=size, precision="fp16"), self._say)
        row["export_s"], row["macs"] = time.perf_counter() - started, file.summary.get("macs")
        return file

    def _check(self, name: str, row: Row) -> None:
        """The half-precision file against fp32, both of any size, on the CPU."""
        exact, half = (self._restored(name, ExportConfig(precision=kind)) for kind in PRECISIONS)
        parity = compare_arrays(exact, half)
        row["fp16_psnr_db"] = parity.psnr_db
        failure = FP16_GATE.failure(parity)
        if failure is not None:
            raise QualityError(f"half precision differs from fp32: {failure}")

    def _restored(self, name: str, config: ExportConfig) -> Pixels:
        file = exported_file(_source(name), config, self._say)
        with open_session(file.path, SessionConfig(backend="onnxruntime")) as session:
            window = sample_windows(session.contract.window, [CHECK_SIZE])[0]
            return session.restore(window[len(window) // 2], window[0], window[-1])

    def _build(self, name: str, file: OnnxFile, row: Row) -> Path:
        path = self._folder / f"{name}.engine"
        result = engine_from_onnx(
            file, BuildConfig(self._backend), path, origin=Origin(name), force=True, say=self._say
        )
        row["engine"] = {**result.engine.manifest.to_dict(), "cached": result.is_cached}
        open_engine(path)
        return path

    def _gpu(self, engine: Path, row: Row) -> None:
        if not self._has_gpu:
            raise MachineError(NO_GPU)
        if self._backend == "tensorrt-rtx":
            raise MachineError(NO_RTX_TIMES)
        trtexec = find_trtexec()
        if trtexec is None:
            raise MachineError(NO_TRTEXEC)
        contract = open_engine(engine).manifest.contract
        tall, wide = (int(side) for side in row["size"].split("x"))
        shape = (1, *([contract.window] if contract.window > 1 else []), tall, wide, 3)
        row["gpu"] = measure_engine(command_of(trtexec, engine, shape)).to_dict()

    def _cpu(self, name: str, row: Row) -> None:
        if name not in SHIPPED:
            raise MachineError("networks of the papers are far too large for a processor")
        tall, wide = self._size
        pixels = np.random.default_rng(0).integers(0, 256, (tall, wide, 3), dtype=np.uint8)
        with open_session(name) as session:
            session.warm_up((tall, wide))
            times = [_timed(lambda: session.restore(pixels)) for _ in range(CPU_FRAMES)]
            row["cpu"] = {"median": statistics.median(times), "backend": session.backend.description}


def _timed(work: Callable[[], Any]) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3


def _variant(name: str) -> Variant | None:
    return next((variant for variant in NETWORKS if variant.label == name), None)


def _contract(name: str) -> FrameContract:
    variant = _variant(name)
    model = variant.model if variant else name
    return next((entry.contract for entry in FACTS if entry.name == model), FrameContract())


def _source(name: str) -> ExportSource:
    variant = _variant(name)
    if variant is None:
        return ExportSource(name)
    return ExportSource(variant.model, tlsc=TLSC[_contract(name).task] if variant.tlsc else None)
