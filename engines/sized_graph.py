"""A graph whose frames have one size, while their number is free: builders do not work that out by themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.optional import require
from .build_config import Size
from .graph_sizes import GraphSizes, sizes_at


def fix_frame_size(model: Any, size: Size, folder: Path | None = None) -> Any:
    """Fix height and width of the frames, compute what follows from them alone, and drop what then does nothing.

    TensorRT-RTX 1.7 keeps paddings by nothing where the number of frames is free, with a copy of the frames.

    Args:
        model: ``onnx.ModelProto``; changed in place. Its first input takes frames.
        size: Height and width of frames, pixels.
        folder: Where weights beside the file lie; None: they are inside.

    Returns:
        The model.

    Raises:
        ModelFileError: A size cannot be worked out; names the node.
    """
    onnx = require("onnx", purpose="build an engine")
    # what is the same for one frame and for two does not depend on their number
    one, two = sizes_at(model, size, folder), sizes_at(model, size, folder, batch=2)
    taken = model.graph.input[0]
    for dim, length in zip(taken.type.tensor_type.shape.dim[1:], one.shapes[taken.name][1:], strict=True):
        dim.dim_value = length
    shared = one.values.keys() & two.values.keys()
    known = {name: one.values[name] for name in shared if np.array_equal(one.values[name], two.values[name])}
    kept, renamed = [], dict[str, str]()
    given = {value.name for value in model.graph.output}
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
        if all(name in known for name in node.output):
            tensors = [onnx.numpy_helper.from_array(known[name], name) for name in node.output]
            model.graph.initializer.extend(tensors)
        elif node.output[0] not in given and _does_nothing(node, known, one):
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def _does_nothing(node: Any, known: Mapping[str, Any], sizes: GraphSizes) -> bool:
    """Whether a node pads by nothing, or cuts nothing off."""
    values = [known.get(name) for name in node.input[1:]]
    if node.op_type == "Pad":
        return values[0] is not None and not np.any(values[0])
    if node.op_type != "Slice" or any(value is None for value in values):
        return False
    starts, ends, axes, steps = ([int(entry) for entry in np.ravel(value)] for value in _slice_values(values))
    shape: Sequence[int] = sizes.shapes[node.input[0]]
    # axis 0 is the number of frames, of which nothing is known
    return all(
        axis != 0 and start == 0 and end >= shape[axis] and step == 1
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True)
    )


def _slice_values(values: list[Any]) -> list[Any]:
    """Starts, ends, axes and steps of a slice; those that are left out as ONNX has them."""
    count = np.size(values[0])
    defaults = [None, None, np.arange(count), np.ones(count, np.int64)]
    return [values[index] if index < len(values) else defaults[index] for index in range(len(defaults))]
