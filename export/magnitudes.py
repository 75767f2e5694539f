"""How large and how small the values of a graph become on frames, and how that grows with the frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.optional import require
from ..core.tensors import Array
from .precision import TypePlan

Feeds = Mapping[str, Array]
Size = tuple[int, int]

#: operators whose result is a sum, product or count over as many values as there are pixels
GATHERING = frozenset(
    ["CumSum", "Einsum", "Gemm", "MatMul", "ReduceL1", "ReduceL2", "ReduceProd", "ReduceSum", "ReduceSumSquare"]
)
#: operators that pass such a result on
PASSING = frozenset(
    [
        *("Abs", "Add", "Concat", "Div", "Expand", "Identity", "Max", "Min", "Mul", "Neg", "Reshape", "Slice", "Split"),
        *("Sqrt", "Squeeze", "Sub", "Sum", "Transpose", "Unsqueeze", "Where"),
    ]
)
#: a value that grows slower than this power of the number of pixels differs by the picture, not by its size
LEAST_EXPONENT = 0.5


@dataclass(frozen=True, slots=True)
class Magnitudes:
    """What was seen on frames.

    Attributes:
        largest: Largest magnitude of every float value, by name; infinite where one is not finite.
        smallest: Smallest magnitude of the values something is divided by.
    """

    largest: Mapping[str, float]
    smallest: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Growth:
    """Two sizes of frame at which values are compared, and the size they are judged at.

    Attributes:
        small: Inputs by name.
        large: Likewise, with more pixels.
        target: Height and width of what the network sees, pixels.
    """

    small: Feeds
    large: Feeds
    target: Size


def measure(model: Any, feeds: Iterable[Feeds]) -> Magnitudes:
    """Run a ``float32`` graph on frames.

    Args:
        model: ``onnx.ModelProto`` with bodies for our operators; left as it is.
        feeds: Inputs by name, one frame each.
    """
    onnx = require("onnx", purpose="audit a graph")
    plan = TypePlan(model, "fp16")
    largest = {
        name: float(np.abs(onnx.numpy_helper.to_array(tensor)).max(initial=0.0))
        for name, tensor in plan.weights.items()
        if tensor.data_type == onnx.TensorProto.FLOAT
    }
    names = sorted(plan.floats - set(plan.weights) - {value.name for value in model.graph.input})
    divisors = [name for name in dividing(model) if name in plan.floats and name not in plan.weights]
    run = session(_tapped(onnx, model, names, divisors))
    smallest: dict[str, float] = {}
    for feed in feeds:
        largest.update({name: max(largest.get(name, 0.0), _magnitude(array)) for name, array in feed.items()})
        wanted = [*(f"{name}.largest" for name in names), *(f"{name}.smallest" for name in divisors)]
        found = [float(value) for value in run(wanted, feed)]
        for name, value in zip(names, found, strict=False):
            largest[name] = max(largest.get(name, 0.0), math.inf if math.isnan(value) else value)
        for name, value in zip(divisors, found[len(names) :], strict=True):
            smallest[name] = min(smallest.get(name, math.inf), value)
    return Magnitudes(largest, smallest)


def dividing(model: Any) -> list[str]:
    """Name the values something is divided by."""
    return list(dict.fromkeys(node.input[1] for node in model.graph.node if node.op_type == "Div"))


def grown(model: Any, growth: Growth) -> dict[str, float]:
    """Estimate the largest magnitude of the values that grow with the frame, at the target size.

    Sums over a map and counts of its pixels do; a frame as small as an audit can afford does not show it.

    Returns:
        By name, only values that grow.
    """
    able = _able_to_grow(model)
    if not able:
        return {}
    small, large = (measure(model, [feed]).largest for feed in (growth.small, growth.large))
    pixels = [_pixels(feed) for feed in (growth.small, growth.large)]
    steps = math.log(pixels[1] / pixels[0])
    reach = math.prod(growth.target) / pixels[1]
    estimated = {}
    for name, value in large.items():
        before = small.get(name, 0.0)
        if name in able and 0 < before < value < math.inf:
            exponent = math.log(value / before) / steps
            if exponent >= LEAST_EXPONENT:
                estimated[name] = value * max(reach, 1.0) ** exponent
    return estimated


def _able_to_grow(model: Any) -> set[str]:
    """Name the results of sums and counts over the frame, as far as they are passed on.

    Other values differ between two pictures too, by what is in them.
    """
    integer = {"Shape", "Size"}
    counts: set[str] = set()
    able: set[str] = set()
    for node in model.graph.node:
        is_count = node.op_type in integer or any(name in counts for name in node.input)
        is_passed = node.op_type in PASSING and any(name in able for name in node.input)
        if (node.op_type == "Cast" and is_count) or node.op_type in GATHERING or is_passed:
            able.update(node.output)
        if is_count:
            counts.update(node.output)
    return able


def session(model: Any) -> Callable[[Sequence[str], Feeds], list[Array]]:
    """Run a graph in ONNX Runtime without any of its rewritings."""
    runtime = require("onnxruntime", purpose="audit a graph")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    # by place in the graph, so that a magnitude is taken and its value freed as soon as it is there
    options.execution_order = runtime.ExecutionOrder.PRIORITY_BASED
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    made = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(names: Sequence[str], feed: Feeds) -> list[Array]:
        values: list[Array] = made.run(list(names), dict(feed))
        return values

    return run


def _tapped(onnx: Any, model: Any, names: Iterable[str], divisors: Iterable[str]) -> Any:
    """Give the largest, or smallest, magnitude of values too; the values themselves are not kept."""
    tapped = type(model)()
    tapped.CopyFrom(model)
    for reduction, suffix, chosen in (("ReduceMax", "largest", names), ("ReduceMin", "smallest", divisors)):
        for name in chosen:
            absolute, result = f"{name}.{suffix}.absolute", f"{name}.{suffix}"
            tapped.graph.node.append(onnx.helper.make_node("Abs", [name], [absolute], name=absolute))
            node = onnx.helper.make_node(reduction, [absolute], [result], name=result, keepdims=0)
            tapped.graph.node.append(node)
            tapped.graph.output.append(onnx.helper.make_tensor_value_info(result, onnx.TensorProto.FLOAT, []))
    return tapped


def _magnitude(array: Array) -> float:
    return float(np.abs(array).max(initial=0.0))


def _pixels(feed: Feeds) -> int:
    height, width = next(iter(feed.values())).shape[-2:]
    return int(height * width)
