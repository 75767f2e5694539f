"""Where two forms of a network part: the first module, or the first tensor, whose values differ."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..core.errors import BackendError, ContractError
from ..core.optional import require
from ..core.tensors import Array
from .graph_scopes import ScopedGraph

if TYPE_CHECKING:
    from torch import nn

#: largest difference, over a tensor's largest magnitude, that sums in another order explain
FP32_TOLERANCE = 1e-4
#: tensors of smaller values are judged as if they reached this: where values cancel out, rounding is left
LEAST_MAGNITUDE = 1e-2


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first place where two forms of a network differ.

    Attributes:
        module: Path of the module that gives the tensor; empty for the network itself, or where
            the file does not say.
        call: Which call of the module, from 1.
        calls: How often it is called.
        tensor: Name of the tensor in the ONNX graph.
        node: Name of the node that gives it.
        operator: Type of that node.
        max_abs: Largest difference; infinite where shapes differ, or only one value is finite.
        largest: Largest magnitude in the reference.
    """

    module: str
    call: int
    calls: int
    tensor: str
    node: str
    operator: str
    max_abs: float
    largest: float

    def describe(self) -> str:
        """One line for errors and reports."""
        module = self.module or "the network itself"
        call = f" (call {self.call} of {self.calls})" if self.calls > 1 else ""
        by = f"by {self.max_abs:.3g} with values up to {self.largest:.3g}"
        return f"{module}{call} is the first to differ, {by}, in {self.operator} node {self.node!r}"


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """One call of a module.

    Attributes:
        names: Every path of the module; the first is the one reported.
        number: Which call of it, from 1.
        outputs: Copies of the tensors it gave.
    """

    names: tuple[str, ...]
    number: int
    outputs: tuple[Array, ...]


class _Place(NamedTuple):
    """A tensor of the graph and the call it belongs to."""

    module: str
    call: int
    calls: int
    tensor: str


@dataclass(frozen=True, slots=True)
class _Match:
    """How far a tensor is from its reference."""

    place: _Place
    max_abs: float
    largest: float
    agrees: bool


def first_divergence(
    network: nn.Module, model: Any, frames: Array, tolerance: float = FP32_TOLERANCE
) -> Divergence | None:
    """Name the first module whose output in the ONNX graph is not what PyTorch gives.

    Modules are found by the scopes ``torch.onnx.export(dynamo=True)`` leaves on nodes. All values in
    between are held at once: take small frames. ONNX Runtime runs the graph as it is written. A
    module that is merely computed in another way, such as a convolution with the batch norm folded
    in, is passed over where what follows it agrees.

    Args:
        network: What was exported, in evaluation mode, on the CPU.
        model: ``onnx.ModelProto`` with one input and its weights inside.
        frames: What both take.
        tolerance: Largest difference, over a tensor's largest magnitude, that is no divergence.

    Returns:
        None where the outputs agree.

    Raises:
        ContractError: The graph's output is not of the shape the network gives.
        BackendError: ONNX Runtime cannot run the graph.
    """
    graph = ScopedGraph(model)
    calls = _record(network, frames)
    counts = Counter(call.names for call in calls)
    given = [graph.given_by(call.names, call.number, counts[call.names]) for call in calls]
    values = _run(model, {*graph.outputs, *(tensor for tensors in given for tensor in tensors)}, {graph.input: frames})
    matches = [
        _match(_place(graph, call, counts, tensor), (expected, values[tensor]), tolerance)
        for call, tensors in zip(calls, given, strict=True)
        for expected, tensor in _of_equal_shape(call.outputs, {tensor: values[tensor] for tensor in tensors})
    ]
    _check_outputs(graph.outputs, {match.place.tensor for match in matches}, values)
    return _first(graph, matches)


def first_divergence_between(
    reference: Any, other: Any, feeds: Mapping[str, Array], tolerance: float = FP32_TOLERANCE
) -> Divergence | None:
    """Name the first tensor that two graphs both have and whose values differ.

    Tensors are paired by name, as a pass that only changes types or node kinds leaves them. All
    values are held at once: take small frames.

    Args:
        reference: ``onnx.ModelProto`` with its weights inside.
        other: The one under suspicion; its modules and nodes are named.
        feeds: What both take, by name.
        tolerance: Largest difference, over a tensor's largest magnitude, that is no divergence;
            half precision needs about 1e-2.

    Returns:
        None where the outputs agree.

    Raises:
        ContractError: The graphs have other outputs.
        BackendError: ONNX Runtime cannot run a graph.
    """
    graph, expected_graph = ScopedGraph(other), ScopedGraph(reference)
    shared = [tensor for tensor in graph.producers if tensor in expected_graph.producers]
    _check_outputs(graph.outputs, {*shared} & {*expected_graph.outputs}, {})
    expected, got = (_run(model, shared, feeds) for model in (reference, other))
    numbers = [tensor for tensor in shared if _is_numeric(expected[tensor]) and _is_numeric(got[tensor])]
    matches = [
        _match(_Place(graph.module_of(tensor), 1, 1, tensor), (expected[tensor], got[tensor]), tolerance)
        for tensor in numbers
    ]
    return _first(graph, matches)


def _record(network: nn.Module, frames: Array) -> list[_Call]:
    """Run a network and keep what every call of every module gives, in the order the calls end."""
    torch = require("torch", purpose="find where an export diverges")
    names: dict[Any, list[str]] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    calls: list[_Call] = []
    counts: Counter[Any] = Counter()

    def keep(module: Any, _: Any, output: Any) -> None:
        counts[module] += 1
        # a copy: the next module may work in place
        outputs = tuple(tensor.float().numpy().copy() for tensor in _tensors(torch, output))
        calls.append(_Call(tuple(names[module]), counts[module], outputs))

    hooks = [module.register_forward_hook(keep) for module in names]
    try:
        with torch.inference_mode():
            network(torch.from_numpy(frames.copy()))
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _tensors(torch: Any, output: Any) -> Iterator[Any]:
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, (list, tuple)):
        for part in output:
            yield from _tensors(torch, part)


def _run(model: Any, tensors: Iterable[str], feeds: Mapping[str, Array]) -> dict[str, Any]:
    """Run a graph with ``tensors`` as its outputs."""
    onnx = require("onnx", purpose="find where an export diverges")
    runtime = require("onnxruntime", purpose="find where an export diverges")
    tapped, wanted = onnx.ModelProto(), sorted(tensors)
    tapped.CopyFrom(model)
    del tapped.graph.output[:]
    tapped.graph.output.extend(onnx.ValueInfoProto(name=tensor) for tensor in wanted)
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(tapped.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return dict(zip(wanted, session.run(wanted, dict(feeds)), strict=True))
    except Exception as error:  # the library's own exceptions have no common base
        reason = str(error).strip().splitlines()[0]
        raise BackendError(f"ONNX Runtime cannot run the graph with its inner values as outputs ({reason})") from error


def _of_equal_shape(outputs: Sequence[Array], candidates: Mapping[str, Array]) -> Iterator[tuple[Array, str]]:
    """Pair what a module gave with tensors of the graph; what cannot be told apart is left out."""
    for output in outputs:
        fitting = [tensor for tensor, value in candidates.items() if value.shape == output.shape]
        rivals = sum(other.shape == output.shape for other in outputs)
        # of one output the last candidate is the result, earlier ones are read from outside as well
        if fitting and (len(outputs) == 1 or len(fitting) == rivals == 1):
            yield output, fitting[-1]


def _place(graph: ScopedGraph, call: _Call, counts: Counter[tuple[str, ...]], tensor: str) -> _Place:
    return _Place(graph.name_of(call.names, tensor), call.number, counts[call.names], tensor)


def _match(place: _Place, pair: tuple[Array, Array], tolerance: float) -> _Match:
    """Measure how far the second of a pair is from the first, and judge it."""
    reference, got = pair
    if reference.shape != got.shape:
        return _Match(place, math.inf, 0.0, agrees=False)
    expected, found = reference.astype(np.float64), got.astype(np.float64)
    is_same = (expected == found) | (np.isnan(expected) & np.isnan(found))
    with np.errstate(invalid="ignore"):
        difference = np.where(is_same, 0.0, np.abs(expected - found))
    max_abs = float(np.nan_to_num(difference, nan=np.inf).max(initial=0.0))
    largest = float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
    allowed = tolerance * max(largest, LEAST_MAGNITUDE)
    # rounding turns the last bit of a float into a whole grey level
    allowed = max(allowed, 1.0) if got.dtype == np.uint8 else allowed
    return _Match(place, max_abs, largest, max_abs <= allowed)


def _check_outputs(outputs: Sequence[str], compared: set[str], values: Mapping[str, Array]) -> None:
    for tensor in outputs:
        if tensor not in compared:
            shape = list(values[tensor].shape) if tensor in values else ""
            raise ContractError(f"output {tensor!r} {shape} of the graph has no counterpart; are both of one network?")


def _first(graph: ScopedGraph, matches: Sequence[_Match]) -> Divergence | None:
    """Walk back from the outputs that differ, never past a tensor that agrees; name the first of what is met.

    A tensor belongs to the calls of a module and of those around it; one that agrees is enough.
    """
    agreeing = {match.place.tensor for match in matches if match.agrees}
    met = graph.behind([tensor for tensor in graph.outputs if tensor not in agreeing], agreeing)
    first = next((match for match in matches if match.place.tensor in met), None)
    if first is None:
        return None
    node = graph.producers[first.place.tensor]
    return Divergence(*first.place, node.name, node.op_type, first.max_abs, first.largest)


def _is_numeric(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "buif"
