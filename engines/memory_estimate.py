"""Memory an engine will need, estimated from the graph before anything is built.

Kernels are formed as the builder fuses nodes, values between kernels get lifetimes, and lifetimes are laid into one
block of memory in order of time, as the builder does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.artifacts import CONTRACT_KEY, OnnxFile
from ..core.contract import FrameContract
from ..core.optional import require
from .build_config import Size
from .graph_sizes import GraphSizes, graph_sizes

#: what TensorRT-RTX 1.7 sets aside for a convolution at work, of whatever size, bytes
WORKSPACE_BYTES = 8_192_000
#: how many of the largest values are named
NAMED_VALUES = 10

#: the same memory under another shape
VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout"})
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
#: nodes that read their input at other places than they write; no convolution ends with them
MOVES = frozenset(
    {
        "Concat", "DepthToSpace", "Expand", "Gather", "GatherElements", "GatherND", "Pad", "Resize", "Slice",
        "SpaceToDepth", "Split", "Tile", "Transpose", "Upsample",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LargeValue:
    """A value that takes much memory.

    Attributes:
        name: Of the value.
        node: Name of the node that gives it, or its operator where it has none.
        bytes: Its memory; of several that are joined, of all.
    """

    name: str
    node: str
    bytes: int


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """What an engine will need.

    Attributes:
        activation_bytes: For values between kernels and for the work of one, bytes; frames and pictures are outside.
        weight_bytes: For constants, bytes.
        largest: Values that take most, the largest first.
    """

    activation_bytes: int
    weight_bytes: int
    largest: tuple[LargeValue, ...]


@dataclass(slots=True)
class _Kernel:
    """Nodes that become one kernel: ``convolution``, ``pointwise`` or ``closed``, which nothing is fused with."""

    kind: str
    is_resize: bool = False


@dataclass(slots=True)
class _Step:
    """A node in its kernel; names are those of values that have memory."""

    kernel: int
    inputs: Sequence[str]
    outputs: Sequence[str]


@dataclass(slots=True)
class _Buffer:
    """Memory of a value from the kernel that gives it to the last that reads it."""

    name: str
    bytes: int
    born: int
    dead: int


def estimate_memory(onnx_file: OnnxFile | Any, size: Size) -> MemoryEstimate:
    """Estimate the memory of an engine at one size of frames; for an engine of any size its largest counts.

    Args:
        onnx_file: A file, or ``onnx.ModelProto``; its first input takes frames.
        size: Height and width of frames, pixels.

    Raises:
        ModelFileError: A size cannot be worked out; names the node.
        MissingExtraError: onnx is not installed.
    """
    onnx = require("onnx", purpose="estimate memory")
    folder: Path | None = None
    model = onnx_file
    if isinstance(onnx_file, OnnxFile):
        folder = onnx_file.path.parent
        model = onnx.load(str(onnx_file.path), load_external_data=False)
    sizes = graph_sizes(model, {model.graph.input[0].name: _input_shape(model, size)}, folder)
    is_dynamic = any(not dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim)
    return _Plan(sizes, is_dynamic).estimate()


def _input_shape(model: Any, size: Size) -> list[int]:
    """Shape of one frame as the input takes it; what the file fixes stays."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    text = next((entry.value for entry in model.metadata_props if entry.key == CONTRACT_KEY), None)
    contract = FrameContract.from_json(text) if text is not None else FrameContract(io="float")
    shape = [dim.dim_value or 1 for dim in dims]
    first = len(shape) - 3 if contract.io == "uint8" else len(shape) - 2
    multiple = 1 if contract.io == "uint8" else contract.multiple
    for axis, side in enumerate(size, first):
        shape[axis] = dims[axis].dim_value or -(-side // multiple) * multiple
    return shape


class _Plan:
    """Kernels and lifetimes of a graph; a kernel's number is its time."""

    def __init__(self, sizes: GraphSizes, is_dynamic: bool) -> None:
        self._sizes, self._is_dynamic = sizes, is_dynamic
        self._kernels: list[_Kernel] = []
        #: value -> what it is a view of
        self._roots: dict[str, str] = {}
        #: value -> kernel that gives it; frames come from none
        self._makers: dict[str, int] = dict.fromkeys(sizes.inputs, -1)
        self._readers: dict[str, set[int]] = {}
        self._steps: list[_Step] = []
        self._taken_whole: set[str] = set()
        #: value -> concatenation it is written into
        self._wholes: dict[str, str] = {}

    def estimate(self) -> MemoryEstimate:
        """Form the kernels, and lay their values into memory."""
        self._form()
        self._sink()
        buffers = self._buffers()
        work = [
            _Buffer("", WORKSPACE_BYTES, time, time)
            for time, kernel in enumerate(self._kernels)
            if kernel.kind == "convolution"
        ]
        entries = [*buffers, *work]
        return MemoryEstimate(
            _shared(entries[::-1]) if self._is_dynamic else min(_shared(entries), _laid_out(entries)),
            sum(self._sizes.weights.values()), _largest(buffers, self._sizes.nodes)
        )

    def _form(self) -> None:
        for node in _in_order(self._sizes):
            inputs = [self._root(name) for name in node.input if name in self._sizes.sizes]
            if node.op_type in VIEWS:
                self._roots[node.output[0]] = inputs[0]
            elif node.op_type == "Concat" and self._is_joint(inputs):
                self._join(node.output[0], inputs)
            else:
                self._run(node, inputs)
    def _root(self, name: str) -> str:
        return self._roots.get(name, name)

    def _run(self, node: Any, inputs: Sequence[str]) -> None:
        kernel = self._kernel_of(node, inputs)
        self._place(_Step(kernel, inputs, [name for name in node.output if name]))

    def _place(self, step: _Step) -> None:
        self._steps.append(step)
        self._makers.update(dict.fromkeys(step.outputs, step.kernel))

    def _kernel_of(self, node: Any, inputs: Sequence[str]) -> int:
        """The kernel a node becomes part of: that of its last input, or one of its own."""
        if node.op_type in CONVOLUTIONS:
            return self._begin("convolution")
        if node.op_type in CLOSED:
            return self._begin("closed")
        if node.op_type == "GridSample":
            # it samples values as they are made, but takes its grid whole
            self._taken_whole.add(inputs[-1])
            return self._begin("pointwise")
        last = max((self._makers[name] for name in inputs), default=-1)
        open_kinds = ("pointwise",) if node.op_type in MOVES else ("pointwise", "convolution")
        if last < 0 or self._kernels[last].kind not in open_kinds:
            last = self._begin("pointwise")
        self._kernels[last].is_resize |= node.op_type == "Resize"
        return last

    def _begin(self, kind: str) -> int:
        self._kernels.append(_Kernel(kind))
        return len(self._kernels) - 1

    def _is_joint(self, inputs: Sequence[str]) -> bool:
        """Whether kernels write the parts of a concatenation to their places; a resize is fused with it instead."""
        return not any(self._makers[name] >= 0 and self._kernels[self._makers[name]].is_resize for name in inputs)

    def _join(self, whole: str, parts: Sequence[str]) -> None:
        kernel = self._begin("closed")
        self._place(_Step(kernel, parts, [whole]))
        for part in parts:
            # a value has one place: frames are outside, and what lies in another concatenation is copied
            if part not in self._sizes.inputs and part not in self._wholes and part != whole:
                self._wholes[part] = whole

    def _sink(self) -> None:
        """Move nodes whose results only one later kernel reads into that kernel."""
        readers: dict[str, set[int]] = {}
        for step in reversed(self._steps):
            later = set().union(*(readers.get(name, set()) for name in step.outputs))
            is_free = self._is_pointwise(step.kernel) and self._taken_whole.isdisjoint(step.outputs)
            if is_free and len(later) == 1 and self._is_pointwise(*later):
                (step.kernel,) = later
            for name in step.inputs:
                readers.setdefault(name, set()).add(step.kernel)
        self._readers = readers
        for step in self._steps:
            self._makers.update(dict.fromkeys(step.outputs, step.kernel))

    def _is_pointwise(self, kernel: int) -> bool:
        return self._kernels[kernel].kind == "pointwise"

    def _buffers(self) -> list[_Buffer]:
        """Values that lie between kernels, those of one concatenation as one."""
        outside = {*self._sizes.inputs, *(self._root(name) for name in self._sizes.outputs)}
        found: dict[str, _Buffer] = {}
        for name, maker in self._makers.items():
            times = self._readers.get(name, set()) - {maker}
            if name in outside or not times:
                continue
            whole = self._whole(name)
            buffer = found.setdefault(whole, _Buffer(whole, self._sizes.sizes[whole], maker, maker))
            buffer.born, buffer.dead = min(buffer.born, maker), max(buffer.dead, *times)
        return list(found.values())

    def _whole(self, name: str) -> str:
        while name in self._wholes:
            name = self._wholes[name]
        return name


def _in_order(sizes: GraphSizes) -> list[Any]:
    """Nodes as the builder runs them: what the last input of a node needs comes first, then the input before it."""
    makers = {name: index for index, node in enumerate(sizes.nodes) for name in node.output if name}
    ordered: list[Any] = []
    seen: set[int] = set()
    waiting = [(makers[name], False) for name in sizes.outputs if name in makers]
    while waiting:
        index, is_ready = waiting.pop()
        if is_ready:
            ordered.append(sizes.nodes[index])
        elif index not in seen:
            seen.add(index)
            waiting.append((index, True))
            waiting += [(makers[name], False) for name in sizes.nodes[index].input if name in makers]
    return ordered


def _largest(buffers: Iterable[_Buffer], nodes: Iterable[Any]) -> tuple[LargeValue, ...]:
    givers = {name: node.name or node.op_type for node in nodes for name in node.output}
    ordered = sorted(buffers, key=lambda buffer: -buffer.bytes)[:NAMED_VALUES]
    return tuple(LargeValue(buffer.name, givers[buffer.name], buffer.bytes) for buffer in ordered)


def _laid_out(buffers: Iterable[_Buffer]) -> int:
    """Lay buffers into one block in order of time, as for a fixed size; gives the size of the block.

    Each takes the smallest gap it fits, and the block grows only where none does.
    """
    living: list[tuple[int, int, _Buffer]] = []
    top = 0
    for buffer in sorted(buffers, key=lambda entry: entry.born):
        living = [entry for entry in living if entry[2].dead >= buffer.born]
        gaps = [gap for gap in _gaps(living, top) if gap[1] - gap[0] >= buffer.bytes]
        last = max((end for _, end, _ in living), default=0)
        start = min(gaps, key=lambda gap: gap[1] - gap[0])[0] if gaps else last
        living.append((start, start + buffer.bytes, buffer))
        top = max(top, start + buffer.bytes)
    return top


def _gaps(living: Iterable[tuple[int, int, _Buffer]], top: int) -> Iterator[tuple[int, int]]:
    start = 0
    for begin, end, _ in sorted(living, key=lambda entry: entry[0]):
        if begin > start:
            yield start, begin
        start = max(start, end)
    if top > start:
        yield start, top


def _shared(buffers: Iterable[_Buffer]) -> int:
    """Share places among buffers that never live at once, as for free sizes, where no place can be split.

    Largest first, of equals the latest, each to the first place that is free; gives the sum of the places.
    """
    places: list[list[_Buffer]] = []
    for buffer in sorted(buffers, key=lambda entry: (-entry.bytes, -entry.born)):
        for place in places:
            if all(other.dead < buffer.born or buffer.dead < other.born for other in place):
                place.append(buffer)
                break
        else:
            places.append([buffer])
    return sum(place[0].bytes for place in places)
