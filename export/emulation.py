"""Half precision as a GPU computes it, seen on a CPU: every low result rounded, sums in ``float32``.

ONNX Runtime's CPU provider computes half-precision nodes in ``float32`` and rounds nothing between them; a
graph that overflows on a GPU looks sound there. Here every result is cast down and up again.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..core.optional import require
from .precision import LowPrecision, TypePlan, low_tensor


def emulate(model: Any, precision: LowPrecision, keep_fp32: Collection[str] = ()) -> Any:
    """Rewrite a ``float32`` graph so that it shows the rounding and the overflow of a typed one.

    Args:
        model: ``onnx.ModelProto``; left as it is.
        precision: ``fp16`` or ``bf16``.
        keep_fp32: Names of nodes that stay ``float32``, as for ``type_graph``.

    Returns:
        A new ``onnx.ModelProto`` of ``float32`` nodes with casts there and back.
    """
    onnx = require("onnx", purpose="emulate half precision")
    plan = TypePlan(model, precision, keep_fp32)
    emulated = type(model)()
    emulated.CopyFrom(model)
    graph, rounded = emulated.graph, dict[str, str]()
    nodes: list[Any] = []
    weights: list[Any] = []

    def there_and_back(source: str, target: str) -> None:
        low = f"{target}.down"
        nodes.append(onnx.helper.make_node("Cast", [source], [low], name=low, to=plan.low_type))
        nodes.append(onnx.helper.make_node("Cast", [low], [target], name=f"{target}.up", to=onnx.TensorProto.FLOAT))

    made_low: set[str] = set()
    for original in graph.node:
        node = type(original)()
        node.CopyFrom(original)
        nodes.append(node)
        if node.name not in plan.low:
            continue
        for place in list(plan.low_inputs(node)):
            name = node.input[place]
            if name in made_low:
                continue
            if name not in rounded:
                rounded[name] = f"{name}.rounded"
                if name in plan.weights:
                    weights.append(_rounded(onnx, plan, name))
                else:
                    nodes.pop()
                    there_and_back(name, rounded[name])
                    nodes.append(node)
            node.input[place] = rounded[name]
        for place, name in enumerate(node.output):
            if name:
                node.output[place] = f"{name}.exact"
                there_and_back(f"{name}.exact", name)
                made_low.add(name)
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(weights)
    del graph.value_info[:]
    return emulated


def _rounded(onnx: Any, plan: TypePlan, name: str) -> Any:
    low = onnx.numpy_helper.to_array(low_tensor(plan.weights[name], plan.low_type, name))
    return onnx.numpy_helper.from_array(low.astype("float32"), f"{name}.rounded")
