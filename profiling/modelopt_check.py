"""Our files in 8 bits against those of NVIDIA's modelopt: same frames, same scorer, same reference execution.

modelopt wants other versions of ONNX Runtime than we do, so it lives in an environment of its own:

    python -m venv modelopt && modelopt/bin/pip install "nvidia-modelopt[onnx]==0.47.0"
    python -m deblurrt.profiling.quantize_benchmark --data DATA --work quantized --modelopt modelopt/bin/python
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..calibration.calibrator import seen_shapes
from ..calibration.frames import FrameChoice, Frames, choose_frames
from ..calibration.graph_sessions import cropped, fixed_size, open_restorer
from ..calibration.graph_view import GraphView
from ..calibration.quality import Judge
from ..calibration.quantize_config import QuantizeConfig
from ..calibration.sites import find_sites
from ..core.artifacts import OnnxFile, load_whole, metadata_of, open_onnx, write_onnx
from ..core.errors import DeblurrtError, InputError, QualityError
from ..core.optional import require
from ..runtime.session import contract_of, prepare
from ..runtime.shipped_models import ALIASES, SHIPPED
from .kept_rows import Plan, Row
from .measured_process import MeasuredProcess, measured_process
from .quantize_zoo import COMMAND, ZOO_FRAMES, engine_row, exported, frames_folder

NETWORKS = ("default", "fast", "eacd", "mprnet", "carlo_net")
#: tool -> methods it is asked for; modelopt quantises the first and the last layer too
TOOLS = {"modelopt": ("entropy", "max"), "deblurrt": ("entropy", "minmax", "mse", "mse --ends")}
#: what modelopt's interpreter runs: graph, frames, method, file to write
SCRIPT = """
import sys
import numpy
from modelopt.onnx.quantization import quantize
graph, frames, method, path = sys.argv[1:]
with numpy.load(frames) as arrays:
    data = {name: arrays[name] for name in arrays}
quantize(graph, quantize_mode="int8", calibration_data=data, calibration_method=method,
         calibration_eps=["cpu"], high_precision_dtype="fp32", output_path=path)
"""


@dataclass(frozen=True, slots=True)
class Contest:
    """One network, and what it is calibrated and judged on.

    Attributes:
        file: In float.
        root: Where its frames are.
        frames: Those that are chosen there.
        judge: Held-out frames, restored in float.
        macs: Multiply-accumulates by name of the node.
    """

    file: OnnxFile
    root: Path
    frames: Frames
    judge: Judge
    macs: Mapping[str, int]

    @classmethod
    def of(cls, file: OnnxFile, root: Path) -> Contest:
        """Choose frames for a network, and restore those that are held out.

        Raises:
            DeblurrtError: The frames are missing or unfit, or the network cannot be run.
        """
        contract, model = contract_of(file), load_whole(file)
        frames = choose_frames(FrameChoice((root,), count=ZOO_FRAMES), contract)
        sites = find_sites(GraphView(model), seen_shapes(model, contract), QuantizeConfig())
        judge = Judge.of(open_restorer(model, contract), frames.held_out)
        return cls(file, root, frames, judge, {site.name: site.macs for site in sites if site.kind == "product"})


def modelopt_rows(plan: Plan, python: Path | None) -> Iterator[Row]:
    """Quantise each network by both tools.

    Args:
        plan: Where things are.
        python: Interpreter modelopt is installed for; None: nothing is measured any more.
    """
    plan = plan if python is not None else replace(plan, is_closed=True)
    contests: dict[str, Contest] = {}
    for name in NETWORKS:
        for tool, methods in TOOLS.items():
            for method in methods:

                def measure(name: str = name, tool: str = tool, method: str = method) -> Row:
                    if name not in contests:
                        contests[name] = _contest(plan, name)
                    return contest_row(contests[name], plan.work, name, (tool, method), str(python))

                yield plan.row(f"modelopt {name} {tool} {method}", measure)


def _contest(plan: Plan, name: str) -> Contest:
    if name in SHIPPED | ALIASES.keys():
        return Contest.of(_exported_for_tensorrt(name, plan.work), plan.data / "pairs" / "reds_seq000")
    file = exported(name, plan.work)
    return Contest.of(file, frames_folder(plan, file))


def _exported_for_tensorrt(name: str, work: Path) -> OnnxFile:
    """A shipped network in float; as it ships it is written for CPUs, with padding of bytes TensorRT has not.

    Raises:
        QualityError: The command that exports it failed.
    """
    path = work / f"{name}_float.onnx"
    if not path.is_file():
        command = [*COMMAND, "export", name, "--target", "tensorrt", "--output", str(path)]
        ran = measured_process(command, path.with_suffix(".log"))
        if ran.status != 0:
            raise QualityError(f"deblurrt export ended with {ran.status}: {ran.last_line}")
    return open_onnx(path)


def contest_row(contest: Contest, work: Path, name: str, by: tuple[str, str], python: str) -> Row:
    """Let one tool quantise a network by one method, and score its file.

    Args:
        contest: The network.
        work: Folder for files.
        name: Of the network.
        by: Tool and method.
        python: Interpreter modelopt is installed for.

    Returns:
        The row; where the tool fails, with what it said last.
    """
    tool, method = by
    row: Row = {"network": name, "tool": tool, "method": method}
    path = work / f"{name}_{tool}_{method.replace(' --', '_')}.onnx"
    try:
        command = _modelopt(contest, path, method, python) if tool == "modelopt" else _ours(contest, path, method)
        ran = measured_process(command, path.with_suffix(".log"))
        row |= {"cpu_seconds": ran.cpu_seconds, "peak_mib": ran.peak_mib}
        return row | _scored(contest, _written(contest, path, ran))
    except DeblurrtError as error:
        return row | {"error": str(error)}


def _modelopt(contest: Contest, path: Path, method: str, python: str) -> list[str]:
    frames = path.with_suffix(".npz")
    np.savez(frames, **{contest.file.inputs[0].name: calibration_pieces(contest)})
    return [python, "-c", SCRIPT, str(contest.file.path), str(frames), method, str(path)]


def calibration_pieces(contest: Contest) -> Any:
    """The pieces of frames our calibrator looks at, one below another, as the network takes them."""
    contract, config = contract_of(contest.file), QuantizeConfig()
    fixed = fixed_size(load_whole(contest.file), contract)
    pieces = [
        cropped(shot.window, config.crop_px, np.random.default_rng([config.seed, index]), fixed)
        for index, shot in enumerate(contest.frames.calibration)
    ]
    return np.concatenate([prepare(list(piece), contract) for piece in pieces])


def _ours(contest: Contest, path: Path, method: str) -> list[str]:
    options = ["--data", contest.root, "--frames", ZOO_FRAMES, "--rest", "fp32", "--output", path]
    given = [*map(str, options), "--method", *method.split(), "--force"]
    return [*COMMAND, "quantize", str(contest.file.path), *given]


def _written(contest: Contest, path: Path, ran: MeasuredProcess) -> OnnxFile:
    """The file a tool wrote, with the contract of the float one, which modelopt drops.

    Raises:
        QualityError: There is none.
    """
    if ran.status != 0 or not path.is_file():
        raise QualityError(f"ended with {ran.status}: {ran.last_line[:200]}")
    onnx = require("onnx", purpose="read a quantised file")
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's errors have no base of their own
        raise InputError(f"wrote a file that cannot be read: {error}") from error
    if not metadata_of(model):
        onnx.helper.set_model_props(model, metadata_of(load_whole(contest.file)))
    return write_onnx(model, path, force=True)


def _scored(contest: Contest, file: OnnxFile) -> Row:
    model = load_whole(file)
    lost_db = contest.judge.lost_db(open_restorer(model, contract_of(contest.file)))
    scored: Row = {"lost_db": lost_db, "share": share_in_int8(model, contest.macs)}
    try:
        return scored | {"engine": engine_row(file)}
    except DeblurrtError as error:
        return scored | {"engine": {"error": str(error)}}


def share_in_int8(model: Any, macs: Mapping[str, int]) -> float:
    """Share of the multiply-accumulates whose input and weights both come from 8 bits.

    Args:
        model: ``onnx.ModelProto`` with quantise and dequantise nodes.
        macs: Of the float graph, by name of the node.

    Raises:
        QualityError: A node of the float graph is gone, so that the share cannot be told.
    """
    nodes = {node.name: node for node in model.graph.node}
    if gone := sorted(set(macs) - set(nodes)):
        raise QualityError(f"{len(gone)} layers lost their names, {gone[0]} first; their share cannot be told")
    low = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    count = sum(value for name, value in macs.items() if low.issuperset(nodes[name].input[:2]))
    return count / max(sum(macs.values()), 1)
