"""Which nodes must stay ``float32``: found by running real frames, with the reason for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core.optional import require
from ..core.tensors import Array
from .emulation import emulate
from .parity import BF16_GATE, FP16_GATE, ParityGate, compare_arrays
from .precision import LowPrecision, TypePlan
from .torch_exporter import SCOPES_KEY

#: largest finite values
LARGEST = {"fp16": 65504.0, "bf16": 3.3e38}
#: other frames may reach further than those seen
SAFETY = 4.0
#: means and sums over whole maps: rounding their terms or their running sum costs all their digits
SUMS = frozenset({"CumSum", "GlobalAveragePool", "ReduceMean", "ReduceSum", "ReduceL2"})
#: how close the emulated result must come
GATES: dict[LowPrecision, ParityGate] = {"fp16": FP16_GATE, "bf16": BF16_GATE}
#: groups of nodes that are tried one after the other when the result is still too far away
REFINE_RUNS = 8

Feeds = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class KeptNode:
    """A node that stays ``float32``.

    Attributes:
        node: Its name.
        operator: Its type.
        module: Path of the module it comes from.
        reason: Why.
        largest: Largest magnitude seen in what it takes and gives.
    """

    node: str
    operator: str
    module: str
    reason: str
    largest: float


@dataclass(frozen=True, slots=True)
class RangeAudit:
    """What an audit found.

    Attributes:
        precision: The low type.
        kept: Nodes that stay ``float32``.
        nodes: How many nodes could be low.
    """

    precision: LowPrecision
    kept: tuple[KeptNode, ...]
    nodes: int

    @property
    def keep_fp32(self) -> frozenset[str]:
        """Names of the nodes that stay ``float32``."""
        return frozenset(entry.node for entry in self.kept)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        kept = [
            {
                "node": entry.node,
                "operator": entry.operator,
                "module": entry.module,
                "reason": entry.reason,
                "largest": entry.largest if math.isfinite(entry.largest) else None,
            }
            for entry in self.kept
        ]
        return {"precision": self.precision, "nodes": self.nodes, "kept_fp32": len(kept), "kept": kept}


def audit(model: Any, feeds: Sequence[Feeds], precision: LowPrecision) -> RangeAudit:
    """Run a ``float32`` graph on frames and name the nodes that half precision would harm.

    Args:
        model: ``onnx.ModelProto`` with bodies for our operators.
        feeds: Inputs by name, one frame each.
        precision: The low type.
    """
    plan = TypePlan(model, precision)
    largest = _largest(model, feeds)
    kept = []
    for node in model.graph.node:
        seen = max((largest.get(name, 0.0) for name in (*node.input, *node.output)), default=0.0)
        reason = _reason(node, seen, precision) if node.name in plan.low else plan.reason_for_fp32(node)
        if reason:
            kept.append(KeptNode(node.name, node.op_type, module_of(node), reason, seen))
    return RangeAudit(precision, tuple(kept), len(plan.low))


def refine(model: Any, feeds: Sequence[Feeds], found: RangeAudit) -> RangeAudit:
    """Keep more nodes in ``float32`` until the emulated result is as close as demanded.

    Modules are tried one after the other, and the one that helps most is kept; at most
    ``REFINE_RUNS`` of them.
    """
    run = _session(model)
    expected = [run([model.graph.output[0].name], feed)[0] for feed in feeds]
    for _ in range(REFINE_RUNS):
        if _distance_db(model, feeds, expected, found) >= (GATES[found.precision].psnr_min_db or 0.0):
            break
        wider = list(_wider(model, found))
        if not wider:
            break
        found = max(wider, key=lambda candidate: _distance_db(model, feeds, expected, candidate))
    return found


def module_of(node: Any) -> str:
    """Path of the module a node comes from; empty where the tracer did not say."""
    entry = next((entry.value for entry in node.metadata_props if entry.key == SCOPES_KEY), "")
    scopes = [part.strip(" '\"") for part in entry.strip("[]").split(",")]
    return scopes[-2] if len(scopes) > 1 else ""


def _reason(node: Any, largest: float, precision: LowPrecision) -> str | None:
    if not math.isfinite(largest) or largest * SAFETY > LARGEST[precision]:
        return f"values reach {largest:.3g}, {precision} ends at {LARGEST[precision]:.3g}"
    if node.op_type in SUMS:
        return "sums over a whole map lose their digits"
    if node.op_type == "Softmax":
        return "a softmax over a row shrinks with the row's length"
    return None


def _largest(model: Any, feeds: Iterable[Feeds]) -> dict[str, float]:
    """Largest magnitude of every float value, over all frames."""
    onnx = require("onnx", purpose="audit a graph")
    plan = TypePlan(model, "fp16")
    found = {
        name: float(np.abs(onnx.numpy_helper.to_array(tensor)).max(initial=0.0))
        for name, tensor in plan.weights.items()
        if tensor.data_type == onnx.TensorProto.FLOAT
    }
    names = [name for node in model.graph.node if node.name in plan.low for name in node.output if name]
    run = _session(_with_magnitudes(model, names))
    for feed in feeds:
        found.update({name: max(found.get(name, 0.0), float(np.abs(array).max())) for name, array in feed.items()})
        for name, magnitude in zip(names, run([f"{name}.magnitude" for name in names], feed), strict=True):
            found[name] = max(found.get(name, 0.0), float(magnitude))
    return found


def _with_magnitudes(model: Any, names: Iterable[str]) -> Any:
    """Give the largest magnitude of every value too; the values themselves are not kept."""
    onnx = require("onnx", purpose="audit a graph")
    tapped = type(model)()
    tapped.CopyFrom(model)
    node = onnx.helper.make_node
    for name in names:
        absolute, largest = f"{name}.absolute", f"{name}.magnitude"
        tapped.graph.node.append(node("Abs", [name], [absolute], name=absolute))
        tapped.graph.node.append(node("ReduceMax", [absolute], [largest], name=largest, keepdims=0))
        tapped.graph.output.append(onnx.helper.make_tensor_value_info(largest, onnx.TensorProto.FLOAT, []))
    return tapped


def _session(model: Any) -> Callable[[Sequence[str], Feeds], list[Array]]:
    """Run a graph in ONNX Runtime as it is written."""
    runtime = require("onnxruntime", purpose="audit a graph")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    # by place in the graph, so that a magnitude is taken and its value freed as soon as it is there
    options.execution_order = runtime.ExecutionOrder.PRIORITY_BASED
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(names: Sequence[str], feed: Feeds) -> list[Array]:
        values: list[Array] = session.run(list(names), dict(feed))
        return values

    return run


def _distance_db(model: Any, feeds: Sequence[Feeds], expected: Sequence[Array], found: RangeAudit) -> float:
    run = _session(emulate(model, found.precision, found.keep_fp32))
    name = model.graph.output[0].name
    pairs = ((wanted, run([name], feed)[0]) for wanted, feed in zip(expected, feeds, strict=True))
    results = [compare_arrays(wanted, got) for wanted, got in pairs]
    return min(0.0 if parity.non_finite else parity.psnr_db for parity in results)


def _wider(model: Any, found: RangeAudit) -> Iterator[RangeAudit]:
    """The same audit with all nodes of one more top-level module kept."""
    plan = TypePlan(model, found.precision, found.keep_fp32)
    groups: dict[str, list[KeptNode]] = {}
    for node in model.graph.node:
        if node.name in plan.low:
            module = module_of(node)
            why = "rounding here costs the result most"
            kept = KeptNode(node.name, node.op_type, module, why, math.nan)
            groups.setdefault(module.partition(".")[0], []).append(kept)
    for entries in groups.values():
        yield replace(found, kept=(*found.kept, *entries))
