"""Memory an engine will need, estimated from the graph before anything is built.

Nodes are joined to kernels as TensorRT-RTX 1.7 joins them, values between kernels get lifetimes, and those are laid
out as it does. Nothing in here is fitted to one network.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.artifacts import OnnxFile
from ..core.optional import require
from ..plugins.plugin_op import DOMAIN
from .build_config import Size
from .graph_sizes import GraphSizes, run_order, sizes_at
from .memory_layout import Buffer, packed_bytes, shared_bytes

#: what TensorRT-RTX 1.7 sets aside for a convolution at work, of whatever size, bytes
WORKSPACE_BYTES = 8_192_000
#: networks of more kernels were seen to take memory as if all ran one by one; long rows of small forks were not
MOST_BRANCHING_KERNELS = 200
#: how many of the largest values are named
NAMED_VALUES = 10

#: the same memory under another shape
VIEWS = frozenset({"Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout"})
CONVOLUTIONS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})
#: kernels that take whole values and give whole values
CLOSED = frozenset(
    {
        "ArgMax", "ArgMin", "AveragePool", "CumSum", "Einsum", "GlobalAveragePool", "GlobalMaxPool",
        "InstanceNormalization", "LayerNormalization", "LogSoftmax", "MaxPool", "ReduceL1", "ReduceL2", "ReduceMax",
        "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "ScatterElements", "ScatterND",
        "Softmax", "TopK",
    }
)  # fmt: skip
#: nodes that read elsewhere than they write; no convolution ends with them
MOVES = frozenset(
    {
        "Concat", "DepthToSpace", "Expand", "Gather", "GatherElements", "GatherND", "Pad", "Reshape", "Resize", "Slice",
        "SpaceToDepth", "Split", "Tile", "Transpose", "Upsample",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LargeValue:
    """A value that takes much memory.

    Attributes:
        name: Of the value.
        node: Name of the node that gives it, or its operator where it has none.
        bytes: Its memory; of a concatenation that of all its parts.
    """

    name: str
    node: str
    bytes: int


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """What an engine will need.

    Attributes:
        activation_bytes: For values between kernels and for their work, bytes; frames and pictures are outside.
        weight_bytes: For constants, bytes.
        largest: Values that take most, the largest first.
    """

    activation_bytes: int
    weight_bytes: int
    largest: tuple[LargeValue, ...]


@dataclass(slots=True)
class _Kernel:
    """Nodes that become one kernel: ``convolution``, ``pointwise``, ``reduction``, or ``closed``."""

    kind: str
    operators: list[str]


@dataclass(slots=True)
class _Step:
    """A node in its kernel; names are those of values that have memory."""

    kernel: int
    inputs: Sequence[str]
    outputs: Sequence[str]
    is_cast: bool = False


def estimate_memory(onnx_file: OnnxFile | Any, size: Size, batch: int = 1) -> MemoryEstimate:
    """Estimate the memory of an engine at one size of frames; for an engine of any size its largest counts.

    A builder of any size reserves more where it can only bound a size, as in windows that are cut to small frames
    (``LocalAvgPool``): there the figure holds when the smallest frames are not smaller than the window.

    Args:
        onnx_file: A file, or ``onnx.ModelProto``; its first input takes frames.
        size: Height and width of frames, pixels; a file of fixed size keeps its own.
        batch: Most frames at once; likewise.

    Raises:
        ModelFileError: A size cannot be worked out; names the node.
        MissingExtraError: onnx is not installed.
    """
    onnx = require("onnx", purpose="estimate memory")
    folder: Path | None = None
    model: Any = onnx_file
    if isinstance(onnx_file, OnnxFile):
        folder = onnx_file.path.parent
        model = onnx.load(str(onnx_file.path), load_external_data=False)
    taken = model.graph.input[0]
    is_free = any(not dim.dim_value for dim in taken.type.tensor_type.shape.dim)
    return _Plan(sizes_at(model, size, folder, batch)).estimate(is_free)


class _Plan:
    """Kernels and lifetimes of a graph; a kernel's number is its time."""

    def __init__(self, sizes: GraphSizes) -> None:
        self._sizes = sizes
        self._kernels: list[_Kernel] = []
        self._steps: list[_Step] = []
        #: value -> what it is a view of
        self._roots: dict[str, str] = {}
        #: value -> kernel that gives it; frames come from none
        self._makers: dict[str, int] = dict.fromkeys(sizes.inputs, -1)
        self._readers: dict[str, set[int]] = {}
        #: value -> concatenation it is written into
        self._wholes: dict[str, str] = {}
        self._taken_whole: set[str] = set()
        self._copies = False

    def estimate(self, is_free: bool) -> MemoryEstimate:
        """Form the kernels, and lay their values into memory."""
        for node in run_order(self._sizes):
            self._visit(node)
        self._sink()
        one_by_one = [(1 << kernel) - 1 for kernel in range(len(self._kernels))]
        buffers = self._buffers(self._needed() if self._may_branch(is_free) else one_by_one)
        activation = shared_bytes(buffers)
        if not is_free and not self._may_branch(is_free):
            activation = min(activation, packed_bytes(buffers))
        weights = sum(self._sizes.weights.values())
        return MemoryEstimate(activation, weights, _largest(buffers, self._sizes.nodes))

    def _visit(self, node: Any) -> None:
        inputs = [self._roots.get(name, name) for name in node.input if name in self._sizes.sizes]
        if node.op_type in VIEWS:
            self._roots[node.output[0]] = inputs[0]
        elif node.op_type == "Concat" and self._is_joint(inputs):
            self._join(node.output[0], inputs)
        else:
            kernel = self._kernel_of(node, inputs)
            self._kernels[kernel].operators.append(node.op_type)
            self._place(_Step(kernel, inputs, [name for name in node.output if name], node.op_type == "Cast"))

    def _place(self, step: _Step) -> None:
        self._steps.append(step)
        self._makers.update(dict.fromkeys(step.outputs, step.kernel))

    def _kernel_of(self, node: Any, inputs: Sequence[str]) -> int:
        """The kernel a node becomes part of: that of its last input, or one of its own."""
        if node.op_type in CONVOLUTIONS:
            return self._begin("convolution")
        if node.op_type in CLOSED or node.domain == DOMAIN:
            return self._begin("reduction" if node.op_type.startswith("Reduce") else "closed")
        if node.op_type == "GridSample":
            # it samples values as they are made, but takes its grid whole
            self._taken_whole.add(inputs[-1])
            return self._begin("pointwise")
        last = max((self._makers[name] for name in inputs), default=-1)
        open_kinds = ("pointwise",) if node.op_type in MOVES else ("pointwise", "convolution")
        return last if last >= 0 and self._kernels[last].kind in open_kinds else self._begin("pointwise")

    def _begin(self, kind: str) -> int:
        self._kernels.append(_Kernel(kind, []))
        return len(self._kernels) - 1

    def _is_joint(self, inputs: Sequence[str]) -> bool:
        """Whether kernels write the parts of a concatenation to their places; a resize is joined with it instead."""
        makers = {self._makers[name] for name in inputs} - {-1}
        return not any("Resize" in self._kernels[maker].operators for maker in makers)

    def _join(self, whole: str, parts: Sequence[str]) -> None:
        self._place(_Step(self._begin("closed"), parts, [whole]))
        for part in parts:
            # a value has one place: what lies in another concatenation is copied
            self._copies |= part in self._wholes
            if part not in self._sizes.inputs:
                self._wholes.setdefault(part, whole)

    def _sink(self) -> None:
        """Move nodes whose results only one later kernel reads into that kernel."""
        for step in reversed(self._steps):
            later = set().union(*(self._readers.get(name, set()) for name in step.outputs))
            is_whole = not self._taken_whole.isdisjoint(step.outputs)
            if not is_whole and len(later) == 1 and self._may_move(step, *later):
                (step.kernel,) = later
            for name in step.inputs:
                self._readers.setdefault(name, set()).add(step.kernel)
        for step in self._steps:
            self._makers.update(dict.fromkeys(step.outputs, step.kernel))

    def _may_move(self, step: _Step, kernel: int) -> bool:
        """Arithmetic moves to arithmetic; casts also from a convolution, and to the start of a reduction."""
        kinds = (self._kernels[step.kernel].kind, self._kernels[kernel].kind)
        return kinds == ("pointwise", "pointwise") or (step.is_cast and kinds[1] in ("pointwise", "reduction"))

    def _may_branch(self, is_free: bool) -> bool:
        """Whether branches are taken to run side by side, which the builder decides by what it does not tell.

        Bare transposed convolutions were seen to prevent it; copies to a concatenation mostly went without it.
        """
        transposed = [kernel for kernel in self._kernels if "ConvTranspose" in kernel.operators]
        is_small = len(self._kernels) <= MOST_BRANCHING_KERNELS
        return is_small and not self._copies and not any(is_free or len(kernel.operators) == 1 for kernel in transposed)

    def _needed(self) -> list[int]:
        """Per kernel those whose results it needs, at first or second hand, a bit for each."""
        count = len(self._kernels)
        needs: list[set[int]] = [set() for _ in range(count)]
        for step in self._steps:
            needs[step.kernel].update({self._makers[name] for name in step.inputs} - {-1, step.kernel})
        found = [0] * count
        for kernel in range(count):
            for needed in needs[kernel]:
                found[kernel] |= found[needed] | 1 << needed
        return found

    def _buffers(self, done: Sequence[int]) -> list[Buffer]:
        """Values that lie between kernels, those of one concatenation as one, and what convolutions work in.

        Args:
            done: Per kernel those that are over when it begins, a bit for each.
        """
        outside = {*self._sizes.inputs, *(self._roots.get(name, name) for name in self._sizes.outputs)}
        makers: dict[str, set[int]] = {}
        users: dict[str, set[int]] = {}
        for name, maker in self._makers.items():
            readers = self._readers.get(name, set()) - {maker}
            if name not in outside and readers:
                whole = self._whole(name)
                makers.setdefault(whole, set()).add(maker)
                users.setdefault(whole, set()).update(readers, {maker})
        work = [
            Buffer("", WORKSPACE_BYTES, time, time, 1 << time, done[time])
            for time, kernel in enumerate(self._kernels)
            if kernel.kind == "convolution"
        ]
        return work + [
            Buffer(name, self._sizes.sizes[name], min(used), max(used), _bits(used), _common(makers[name], done))
            for name, used in users.items()
        ]

    def _whole(self, name: str) -> str:
        while name in self._wholes:
            name = self._wholes[name]
        return name


def _bits(kernels: Iterable[int]) -> int:
    return sum(1 << kernel for kernel in kernels)


def _common(makers: Iterable[int], done: Sequence[int]) -> int:
    """What is over before the first of several kernels, in whichever order they run."""
    common = -1
    for maker in makers:
        common &= done[maker]
    return common


def _largest(buffers: Iterable[Buffer], nodes: Iterable[Any]) -> tuple[LargeValue, ...]:
    givers = {name: node.name or node.op_type for node in nodes for name in node.output}
    values = [buffer for buffer in buffers if buffer.name]
    ordered = sorted(values, key=lambda buffer: -buffer.bytes)[:NAMED_VALUES]
    return tuple(LargeValue(buffer.name, givers[buffer.name], buffer.bytes) for buffer in ordered)
