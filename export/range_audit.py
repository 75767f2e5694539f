"""Which nodes must stay ``float32``: found by running real frames, with the reason for each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..core.module_paths import module_of
from ..core.tensors import Array
from .emulation import emulate
from .magnitudes import Feeds, Growth, Magnitudes, grown, measure, session
from .parity import BF16_GATE, FP16_GATE, UNIT_PEAK, ParityGate, compare_arrays
from .precision import LowPrecision, TypePlan

#: largest finite values
LARGEST = {"fp16": 65504.0, "bf16": 3.3e38}
#: other frames may reach further than those seen
SAFETY = 4.0
#: means and sums over whole maps: rounding their terms or their running sum costs all their digits
SUMS = frozenset({"CumSum", "GlobalAveragePool", "ReduceMean", "ReduceSum", "ReduceL2"})
#: smallest values with all their digits
SMALLEST = {"fp16": 6.1e-5, "bf16": 1.2e-38}
#: operators for which a tiny constant is a guard and no weight among many
ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min", "Clip", "Where"})
#: how close the emulated result must come
GATES: dict[LowPrecision, ParityGate] = {"fp16": FP16_GATE, "bf16": BF16_GATE}
#: groups of nodes that are tried one after the other when the result is still too far away
REFINE_RUNS = 8


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


def audit(model: Any, feeds: Sequence[Feeds], precision: LowPrecision, growth: Growth | None = None) -> RangeAudit:
    """Run a ``float32`` graph on frames and name the nodes that half precision would harm.

    Args:
        model: ``onnx.ModelProto`` with bodies for our operators.
        feeds: Inputs by name, one frame each.
        precision: The low type.
        growth: Two sizes that tell which values grow with the frame; None: only ``feeds`` are judged.
    """
    plan = TypePlan(model, precision)
    seen = measure(model, feeds)
    at_size = grown(model, growth) if growth is not None else {}
    judge = _Judge(plan, precision, seen, at_size)
    kept = [entry for node in model.graph.node if (entry := judge.kept(node)) is not None]
    return RangeAudit(precision, tuple(kept), len(plan.low))


class _Judge:
    """Decides node after node, in the order of the graph; remembers what stays ``float32``."""

    def __init__(self, plan: TypePlan, precision: LowPrecision, seen: Magnitudes, at_size: Mapping[str, float]) -> None:
        self._plan, self._precision, self._seen, self._at_size = plan, precision, seen, at_size

    def kept(self, node: Any) -> KeptNode | None:
        """A node that stays, with the reason; None for one that may be low."""
        names = (*node.input, *node.output)
        largest = max((self._seen.largest.get(name, 0.0) for name in names), default=0.0)
        largest = max(largest, *(self._at_size.get(name, 0.0) for name in names), 0.0)
        is_low = node.name in self._plan.low
        reason = self._reason(node, largest) if is_low else self._plan.reason_for_fp32(node)
        return KeptNode(node.name, node.op_type, module_of(node), reason, largest) if reason else None

    def _reason(self, node: Any, largest: float) -> str | None:
        if not math.isfinite(largest) or largest * SAFETY > LARGEST[self._precision]:
            grows = any(name in self._at_size for name in (*node.input, *node.output))
            what = "values grow with the frame and reach" if grows else "values reach"
            return f"{what} {largest:.3g}, {self._precision} ends at {LARGEST[self._precision]:.3g}"
        if node.op_type in SUMS:
            return "sums over a whole map lose their digits"
        if node.op_type == "Softmax":
            return "a softmax over a row shrinks with the row's length"
        return self._too_small(node)

    def _too_small(self, node: Any) -> str | None:
        """Say which constant or divisor would become zero or lose its digits."""
        least = SMALLEST[self._precision]
        if node.op_type in ELEMENTWISE:
            for name in node.input:
                value = self._plan.smallest_constant(name)
                if value is not None and value < least:
                    return f"the constant {value:.3g} is below {least:.3g}, where {self._precision} loses its digits"
        if node.op_type == "Div":
            smallest = self._seen.smallest.get(node.input[1], math.inf)
            if smallest < least * SAFETY:
                return f"divides by values down to {smallest:.3g}, {self._precision} loses digits below {least:.3g}"
        return None


def refine(model: Any, feeds: Sequence[Feeds], found: RangeAudit, peak: float = UNIT_PEAK) -> RangeAudit:
    """Keep more nodes in ``float32`` until the emulated result is as close as demanded.

    Modules are tried one after the other, and the one that helps most is kept; at most
    ``REFINE_RUNS`` of them.

    Args:
        model: As for ``audit``.
        feeds: Likewise.
        found: What ``audit`` gave.
        peak: What white is in the result.
    """
    run = session(model)
    expected = [run([model.graph.output[0].name], feed)[0] for feed in feeds]
    for _ in range(REFINE_RUNS):
        if _distance_db(model, feeds, expected, found, peak) >= (GATES[found.precision].psnr_min_db or 0.0):
            break
        wider = list(_wider(model, found))
        if not wider:
            break
        found = max(wider, key=lambda candidate: _distance_db(model, feeds, expected, candidate, peak))
    return found


def _distance_db(
    model: Any, feeds: Sequence[Feeds], expected: Sequence[Array], found: RangeAudit, peak: float
) -> float:
    run = session(emulate(model, found.precision, found.keep_fp32))
    name = model.graph.output[0].name
    pairs = ((wanted, run([name], feed)[0]) for wanted, feed in zip(expected, feeds, strict=True))
    results = [compare_arrays(wanted, got, peak) for wanted, got in pairs]
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
