"""From a network to an ONNX file that proved itself equal, stage by stage."""

from __future__ import annotations

import copy
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.artifacts import CONTRACT_KEY, PROVENANCE_KEY, SUMMARY_KEY, OnnxFile, write_onnx
from ..core.contract import FrameContract
from ..core.errors import QualityError
from ..core.optional import require
from ..core.outputs import check_output
from ..core.tensors import Array
from ..plugins.onnx_ops import add_bodies, inline_bodies, strip_bodies, uses_plugins
from ..runtime.session import prepare
from .bisection import first_divergence
from .deployment import deployed_contract, deployment_graph
from .emulation import emulate
from .export_config import ExportConfig
from .graph_costs import macs_by_precision
from .graph_passes import DYNAMIC_PASSES, STATIC_PASSES, fix_sizes
from .model_passes import MODEL_PASSES
from .parity import (
    FP32_GATE,
    ParityGate,
    Run,
    StageParity,
    Window,
    compare_stage,
    judge,
    parity_report,
    sample_windows,
)
from .precision import type_graph
from .range_audit import GATES, RangeAudit, audit, refine
from .torch_exporter import float_graph

if TYPE_CHECKING:
    from ..models.network import DeblurNetwork

#: sizes every export is compared at, pixels; uneven ones too, which are filled up
CHECK_SIZES = ((48, 64), (72, 41), (25, 96))
#: pictures of more pixels are not compared: other sizes were, and the network is the same
CHECK_MOST_PX = 184 * 320
#: input size at which costs per type are counted
COST_SIZE = (720, 1280)


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export found out.

    Attributes:
        stages: How equal each stage left the result.
        audit: Which nodes stay in ``float32`` and why; None for an export in ``float32``.
        notes: What was not compared, and why.
    """

    stages: tuple[StageParity, ...]
    audit: RangeAudit | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        kept = self.audit.to_dict() if self.audit else None
        return {**parity_report(self.stages), "precision": kept, "notes": list(self.notes)}


class OnnxExport:
    """One export, stage by stage; each is compared with the one before.

    Args:
        network: With its weights and contract; left as it is.
        config: Size, precision, io, target.
        windows: Pictures to compare and audit on, as ``parity.read_windows`` gives; made if None.
        on_stage: Told what begins, for a progress display.
    """

    def __init__(
        self,
        network: DeblurNetwork,
        config: ExportConfig,
        windows: Sequence[Window] | None = None,
        on_stage: Callable[[str], None] = lambda _stage: None,
    ) -> None:
        self.network, self.config, self._on_stage = network.eval(), config, on_stage
        self.contract = network.contract
        self._windows = windows if windows is not None else sample_windows(self.contract.window, CHECK_SIZES)
        self._frames = [prepare(list(window), self.contract) for window in self._windows]
        self._stages: list[StageParity] = []
        self._audit: RangeAudit | None = None
        self._notes: list[str] = []
        self._summary: dict[str, Any] = {}

    def run(self) -> Any:
        """Go through all stages.

        Returns:
            ``onnx.ModelProto``, with contract, provenance and summary.

        Raises:
            UsageError: The network cannot be traced.
            QualityError: A stage changed the result; the message names the first module that differs.
            MissingExtraError: torch, onnxscript or onnxslim is not installed.
        """
        model = self._lower(self._fix(self._type(self._trace())))
        self._describe(model)
        return model

    def report(self) -> ExportReport:
        """Say what was found out so far."""
        return ExportReport(tuple(self._stages), self._audit, tuple(self._notes))

    def _trace(self) -> Any:
        self._on_stage("tracing")
        network = reduce(lambda model, rewrite: rewrite(model), MODEL_PASSES, self.network)
        model = float_graph(network if self.config.fold else self.network, self.contract)
        add_bodies(model)
        try:
            self._compare("pytorch->onnx", _torch_run(self.network), _onnx_run(model), FP32_GATE)
        except QualityError as error:
            divergence = first_divergence(network, model, self._frames[0])
            raise QualityError(f"{error}; {divergence.describe() if divergence else 'no module stands out'}") from error
        return model

    def _type(self, model: Any) -> Any:
        if self.config.precision == "fp32":
            return model
        self._on_stage("auditing ranges")
        feeds = [{"frames": frames} for frames in self._frames]
        precision = self.config.precision
        self._audit = refine(model, feeds, audit(model, feeds, precision))
        keep = self._audit.keep_fp32
        self._compare("fp32->typed", _onnx_run(model), _onnx_run(emulate(model, precision, keep)), GATES[precision])
        return type_graph(model, precision, keep)

    def _fix(self, model: Any) -> Any:
        self._on_stage("cleaning up")
        passes = DYNAMIC_PASSES
        if self.config.size is not None:
            model = fix_sizes(model, 1, *_filled(self.config.size, self.contract))
            passes = STATIC_PASSES
        return reduce(lambda graph, step: step(graph), passes, model)

    def _lower(self, model: Any) -> Any:
        """Choose the bodies for the target, and wrap the graph for bytes."""
        before = copy.deepcopy(model)
        model = add_bodies(model, "onnxruntime" if self.config.target == "onnxruntime" else "portable")
        if self.config.target == "openvino":
            model = inline_bodies(model)
        if self.config.precision == "bf16":
            self._notes.append("ONNX Runtime has no bf16 on the CPU: the typed file was compared by emulation only")
        elif self.config.size is None:
            self._compare("typed->lowered", _onnx_run(before), _onnx_run(model), FP32_GATE)
        if self.config.size is not None:
            self._note_size(self.config.size)
        self._summary = _summary(model, self.contract, self.config.size)
        if self.config.io == "uint8":
            model = deployment_graph(model, self.contract)
            if self.config.size is not None:
                model = fix_sizes(model, 1, *self.config.size)
        return strip_bodies(model) if self.config.strict else model

    def _note_size(self, size: tuple[int, int]) -> None:
        sizes = ", ".join(f"{window[0].shape[0]}x{window[0].shape[1]}" for window in self._windows)
        self._notes.append(f"compared at {sizes} before the size was fixed to {size[0]}x{size[1]}")

    def _compare(self, name: str, before: Run, after: Run, gate: ParityGate) -> None:
        self._on_stage(f"comparing {name}")
        frames = [frames for frames in self._frames if frames.shape[-1] * frames.shape[-2] <= CHECK_MOST_PX]
        if len(frames) < len(self._frames):
            self._notes.append(f"{name}: {len(self._frames) - len(frames)} larger pictures were not compared")
        stage = compare_stage(name, before, after, frames, gate)
        self._stages.append(stage)
        judge(stage)

    def _describe(self, model: Any) -> None:
        onnx = require("onnx", purpose="export a network")
        contract = deployed_contract(self.contract) if self.config.io == "uint8" else self.contract
        metadata = {
            CONTRACT_KEY: contract.to_json(),
            PROVENANCE_KEY: json.dumps(self._provenance(), sort_keys=True),
            SUMMARY_KEY: json.dumps(self._summary, sort_keys=True),
        }
        onnx.helper.set_model_props(model, metadata)

    def _provenance(self) -> dict[str, Any]:
        network = self.network
        is_hash = len(network.weights) == 64
        told: dict[str, Any] = {"weights_sha256" if is_hash else "weights": network.weights or "unknown"}
        told |= {"model": network.architecture or type(network).__name__, "deblurrt": version("deblurrt")}
        if getattr(network, "options", None):
            told["options"] = network.options
        tlsc = getattr(network, "tlsc", None)
        if tlsc is not None:
            told["tlsc"] = {"train_size": tlsc.train_size, "base_size": tlsc.base_size, "fast": tlsc.fast}
        return told


def onnx_from_model(
    network: DeblurNetwork,
    config: ExportConfig,
    path: Path,
    *,
    windows: Sequence[Window] | None = None,
    force: bool = False,
) -> OnnxFile:
    """Export a network, compare every stage with the one before, and write the file when all agree.

    Args:
        network: With its weights and contract; left as it is.
        config: Size, precision, io, target.
        path: Where the file goes.
        windows: Pictures to compare and audit on; made if None.
        force: Whether an existing file is replaced.

    Raises:
        UsageError: The network cannot be traced.
        QualityError: A stage changed the result; the message names the first module that differs.
        OutputError: The file exists or cannot be written.
        MissingExtraError: torch, onnxscript or onnxslim is not installed.
    """
    check_output(path, force=force)
    return write_onnx(OnnxExport(network, config, windows).run(), path, force)


def _torch_run(network: DeblurNetwork) -> Run:
    torch = require("torch", purpose="export a network")

    def run(frames: Array) -> Array:
        with torch.inference_mode():
            restored: Array = network(torch.from_numpy(frames)).numpy()
        return restored

    return run


def _onnx_run(model: Any) -> Run:
    """Run a graph in ONNX Runtime as it is written, without its optimiser's rewritings."""
    runtime = require("onnxruntime", purpose="compare a graph")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(frames: Array) -> Array:
        restored: Array = session.run(None, {"frames": frames})[0]
        return restored

    return run


def _filled(size: tuple[int, int], contract: FrameContract) -> tuple[int, int]:
    """Size of what the network itself sees of frames of ``size``."""
    tall, wide = (-(-side // contract.multiple) * contract.multiple for side in size)
    return max(tall, contract.min_size), max(wide, contract.min_size)


def _summary(model: Any, contract: FrameContract, size: tuple[int, int] | None) -> dict[str, Any]:
    """Count operators, weights and multiply-accumulates per type, of a 720x1280 result where the size is free."""
    operators = Counter(node.op_type for node in model.graph.node)
    taken = size or (COST_SIZE[0] // contract.scale, COST_SIZE[1] // contract.scale)
    weights = (tensor.dims for tensor in model.graph.initializer if tensor.data_type in (1, 10, 16))
    macs = macs_by_precision(model, {"frames": (1, 3 * contract.window, *_filled(taken, contract))})
    parameters = sum(map(math.prod, weights))
    return {"operators": dict(operators), "parameters": parameters, "macs": macs, "plugins": uses_plugins(model)}
