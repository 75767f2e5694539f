"""From a float graph to the file that is written: typed, cleaned up, lowered, wrapped, compared at every stage."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from ..core.artifacts import CONTRACT_KEY, PROVENANCE_KEY, SUMMARY_KEY
from ..core.contract import FrameContract
from ..core.optional import require
from ..core.tensors import Array
from ..plugins.onnx_ops import add_bodies, inline_bodies, strip_bodies, uses_plugins
from ..runtime.session import finish, prepare
from .deployment import check_size, deployed_contract, deployment_graph
from .emulation import emulate
from .export_config import ExportConfig
from .graph_costs import macs_by_precision
from .graph_passes import DYNAMIC_PASSES, STATIC_PASSES, Pass, clean_up, fix_sizes
from .graph_runs import onnx_run
from .magnitudes import Growth
from .onnx_report import operator_counts
from .parity import (
    BYTE_PEAK,
    FP32_GATE,
    UNIT_PEAK,
    ParityGate,
    Run,
    StageParity,
    Window,
    compare_stage,
    judge,
    middle_of,
    parity_report,
    sample_frames,
    sample_windows,
)
from .precision import type_graph
from .range_audit import GATES, RangeAudit, audit, refine

#: sizes every export is compared at, pixels; uneven ones too, which are filled up
CHECK_SIZES = ((48, 64), (72, 41), (25, 96))
#: largest height and width of pictures that are compared and audited on; of larger ones, the middle
CHECK_MOST = (184, 320)
#: sizes of pictures that tell which values grow with the frame
GROWTH_SIZES = ((32, 48), (64, 96))
#: largest result a file of any size is typed for
LARGEST_RESULT = (1088, 1920)
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


class GraphExport:
    """What becomes of a float graph, stage by stage; each is compared with the one before.

    Args:
        contract: Of the float graph.
        config: Size, precision, io, target.
        provenance: Where the weights come from; stored in the file.
        windows: Pictures to compare and audit on, as ``parity.read_windows`` gives; made if None.
        on_stage: Told what begins, for a progress display.
        most: Largest height and width of those pictures; of larger ones, the middle.

    Raises:
        UsageError: Frames of the wanted size are too small to be filled up inside the file.
    """

    def __init__(
        self,
        contract: FrameContract,
        config: ExportConfig,
        provenance: Mapping[str, Any],
        windows: Sequence[Window] | None = None,
        on_stage: Callable[[str], None] = lambda _stage: None,
        most: tuple[int, int] = CHECK_MOST,
    ) -> None:
        if config.io == "uint8" and config.size is not None:
            check_size(config.size, contract)
        self.contract, self.config, self._provenance, self._on_stage = contract, config, dict(provenance), on_stage
        self._stages: list[StageParity] = []
        self._audit: RangeAudit | None = None
        self._notes: list[str] = []
        self._summary: dict[str, Any] = {}
        shown = windows if windows is not None else sample_windows(contract.window, CHECK_SIZES)
        self._windows = [middle_of(window, most) for window in shown]
        if any(whole[0].shape != cut[0].shape for whole, cut in zip(shown, self._windows, strict=True)):
            self._notes.append(f"larger pictures were compared in their middle, {most[0]}x{most[1]}")
        self._frames = [prepare(list(window), contract) for window in self._windows]

    def report(self) -> ExportReport:
        """Say what was found out so far."""
        return ExportReport(tuple(self._stages), self._audit, tuple(self._notes))

    def finish(self, model: Any, *, is_typed: bool = False) -> Any:
        """Go through all stages behind the float graph.

        Args:
            model: ``onnx.ModelProto`` with bodies; used up.
            is_typed: Whether the types of its nodes are decided already.

        Returns:
            ``onnx.ModelProto``, with contract, provenance and summary.

        Raises:
            QualityError: A stage changed the result.
            MissingExtraError: onnxslim is not installed.
        """
        typed = model if is_typed else self._typed(model)
        if self._can_run and self.config.size is not None:
            self._prove_small(typed)
        is_compared = self._can_run and self.config.size is None
        before = onnx_run(typed) if is_compared else None
        lowered = self._lowered(self._fixed(typed))
        if before is not None:
            self.compare("typed->lowered", before, onnx_run(lowered), self._gate)
        self._summary = _summary(lowered, self.contract, self.config.size)
        finished = self._wrapped(lowered)
        self._summary["operators"] = dict(operator_counts(finished))
        self._describe(finished)
        return strip_bodies(finished) if self.config.strict else finished

    def _typed(self, model: Any) -> Any:
        """Decide node by node what computes low, after an audit of ranges; judged by emulation."""
        if self.config.precision == "fp32":
            return model
        self._on_stage("auditing ranges")
        feeds = [{"frames": frames} for frames in self._frames]
        precision = self.config.precision
        # a graph of fixed size is audited at that size
        is_free = all(dim.dim_param for dim in model.graph.input[0].type.tensor_type.shape.dim[2:])
        growth = self._growth() if is_free else None
        self._audit = refine(model, feeds, audit(model, feeds, precision, growth), self._peak)
        keep = self._audit.keep_fp32
        self.compare("fp32->typed", onnx_run(model), onnx_run(emulate(model, precision, keep)), GATES[precision])
        return type_graph(model, precision, keep)

    def _growth(self) -> Growth:
        """Two pictures of one scene, and the size of frame they speak for."""
        small, large = ({"frames": frames} for frames in sample_frames(self.contract, GROWTH_SIZES))
        size = self.config.size or tuple(side // self.contract.scale for side in LARGEST_RESULT)
        return Growth(small, large, (size[0], size[1]))

    @property
    def _peak(self) -> float:
        """What white is in what the bare network gives."""
        return BYTE_PEAK if self.contract.range == "0..255" else UNIT_PEAK

    def _prove_small(self, typed: Any) -> None:
        """Go through the stages of a fixed size at a small one, and compare there."""
        index = min(range(len(self._frames)), key=lambda place: self._frames[place].size)
        frames, window = self._frames[index], self._windows[index]
        sides = frames.shape[-2:]
        small = _passed(fix_sizes(copy.deepcopy(typed), 1, *sides), STATIC_PASSES)
        lowered = self._lowered(small)
        bare = onnx_run(lowered)
        self.compare("typed->fixed", onnx_run(typed), bare, self._gate, [frames])
        if self.config.io == "uint8":
            self._compare_deployed(bare, onnx_run(self._deployed(lowered, window[0].shape[:2])), [window])
        if self.config.size is not None and sides != _filled(self.config.size, self.contract):
            self._notes.append(f"fixed sizes were compared at {sides[0]}x{sides[1]}, not at the file's")

    def _fixed(self, model: Any) -> Any:
        """Clean up, with fixed sizes where they are wanted."""
        self._on_stage("cleaning up")
        if not self._can_run:
            self._notes.append("ONNX Runtime has no bf16 on the CPU: the typed file was compared by emulation only")
        size = self.config.size
        if size is None:
            return _passed(model, DYNAMIC_PASSES)
        filled = _filled(size, self.contract)
        if filled != size:
            self._notes.append(
                f"frames of {size[0]}x{size[1]} are filled up to {filled[0]}x{filled[1]}: the network takes "
                f"multiples of {self.contract.multiple} from {self.contract.min_size}"
            )
        return _passed(fix_sizes(model, 1, *filled), STATIC_PASSES)

    def _lowered(self, model: Any) -> Any:
        """Choose the bodies for the target."""
        model = add_bodies(model, "onnxruntime" if self.config.target == "onnxruntime" else "portable")
        return inline_bodies(model) if self.config.target == "openvino" else model

    def _wrapped(self, model: Any) -> Any:
        """Take bytes in and give bytes back where that is wanted."""
        if self.config.io == "float":
            return model
        bare = onnx_run(model) if self._can_run and self.config.size is None else None
        model = self._deployed(model, self.config.size)
        if bare is not None:
            self._compare_deployed(bare, onnx_run(model), self._windows)
        return model

    def _deployed(self, model: Any, size: tuple[int, ...] | None) -> Any:
        model = deployment_graph(model, self.contract)
        return model if size is None else fix_sizes(model, 1, size[0], size[1])

    def _compare_deployed(self, bare: Run, deployed: Run, windows: Sequence[Window]) -> None:
        """Compare what the file does around the network with the same steps in NumPy."""
        contract = deployed_contract(self.contract)

        def around(frames: Array) -> Array:
            window = list(frames[0]) if contract.window > 1 else [frames[0]]
            restored = bare(prepare(window, self.contract))
            return finish(restored, self.contract, window[0].shape[:2])[None]

        frames = [prepare(list(window), contract) for window in windows]
        self.compare("lowered->deployed", around, deployed, self._gate, frames)

    @property
    def _gate(self) -> ParityGate:
        """How close two forms of the typed graph must come when ONNX Runtime runs both.

        It rounds low values where its own rewritings leave casts, which is not the same in both.
        """
        return FP32_GATE if self.config.precision == "fp32" else GATES[self.config.precision]

    @property
    def _can_run(self) -> bool:
        """Whether ONNX Runtime computes the file's types on this machine's CPU."""
        return self.config.precision != "bf16"

    def compare(
        self, name: str, before: Run, after: Run, gate: ParityGate, frames: Sequence[Array] | None = None
    ) -> None:
        """Compare a stage with the one before, on ``frames`` or on all.

        Raises:
            QualityError: They differ by more than ``gate``.
        """
        self._on_stage(f"comparing {name}")
        peak = self._peak if frames is None or frames[0].dtype != "uint8" else None
        stage = compare_stage(name, before, after, self._frames if frames is None else frames, gate, peak)
        self._stages.append(stage)
        judge(stage)

    def _describe(self, model: Any) -> None:
        onnx = require("onnx", purpose="export a network")
        contract = deployed_contract(self.contract) if self.config.io == "uint8" else self.contract
        metadata = {
            CONTRACT_KEY: contract.to_json(),
            PROVENANCE_KEY: json.dumps(self._provenance, sort_keys=True),
            SUMMARY_KEY: json.dumps(self._summary, sort_keys=True),
        }
        onnx.helper.set_model_props(model, metadata)


def _passed(model: Any, passes: tuple[Pass, ...]) -> Any:
    return reduce(lambda graph, step: step(graph), passes, model)


def _filled(size: tuple[int, int], contract: FrameContract) -> tuple[int, int]:
    """Size of what the network itself sees of frames of ``size``."""
    tall, wide = (-(-side // contract.multiple) * contract.multiple for side in size)
    return max(tall, contract.min_size), max(wide, contract.min_size)


def _summary(model: Any, contract: FrameContract, size: tuple[int, int] | None) -> dict[str, Any]:
    """Count weights and multiply-accumulates per type, of a 720x1280 result where the size is free."""
    taken = size or (COST_SIZE[0] // contract.scale, COST_SIZE[1] // contract.scale)
    weights = (tensor.dims for tensor in model.graph.initializer if tensor.data_type in (1, 10, 16))
    frames = (1, 3 * contract.window, *_filled(taken, contract))
    macs = macs_by_precision(model, {"frames": frames})
    if not macs:
        # sizes that are computed inside are known only once they are folded
        sized = clean_up(fix_sizes(copy.deepcopy(model), frames[0], *frames[2:]))
        macs = macs_by_precision(sized, {"frames": frames})
    parameters = sum(map(math.prod, weights))
    return {"parameters": parameters, "macs": macs, "plugins": uses_plugins(model)}
