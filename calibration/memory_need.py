"""How much memory calibrating a network takes, estimated: weights, values that live at once, histograms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.contract import FrameContract
from ..plugins.onnx_ops import inline_bodies, uses_plugins
from .calibrator import SAMPLED_VALUES, looked_at, seen_shapes
from .graph_view import GraphView
from .histograms import BINS

#: copies of the weights there are at once when the graph is handed to ONNX Runtime: the network, its equalised twin,
#: its bytes, what ONNX Runtime reads, and what it arranges for its kernels
COPIES = 5
#: interpreter and libraries, as measured before a network is read
BASE_BYTES = 230 << 20
FLOAT_BYTES, COUNT_BYTES = 4, 8


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes, resident.

    Attributes:
        weights: Of the network, once.
        values: Largest sum of values that live at the same time, on one piece of a frame; convolutions work within
            blocks of a few mebibytes more.
        histograms: That stay from frame to frame, and the samples of one.
    """

    weights: int
    values: int
    histograms: int

    @property
    def total(self) -> int:
        """The peak: the graph is handed over before anything is computed, copies and values are not there at once."""
        return BASE_BYTES + self.histograms + max(COPIES * self.weights, 3 * self.weights + self.values)

    def describe(self) -> str:
        """Such as ``2.4 GiB: weights 0.1, values 2.0, histograms 0.2``."""
        parts = {"weights": self.weights, "values": self.values, "histograms": self.histograms}
        told = ", ".join(f"{name} {count / 2**30:.2f}" for name, count in parts.items())
        return f"{self.total / 2**30:.2f} GiB: {told}"


def memory_need(model: Any, contract: FrameContract, crop_px: int) -> MemoryNeed:
    """Estimate what calibrating on pieces of frames takes.

    Args:
        model: ``onnx.ModelProto`` in float32 with bodies; run once on a small black frame, for shapes.
        contract: Its own.
        crop_px: Side of the pieces.
    """
    if uses_plugins(model):
        # what lives within the bodies of our operators counts
        model = inline_bodies(model)
    view, shapes = GraphView(model), seen_shapes(model, contract)
    height, width = shapes[model.graph.input[0].name][_axes(contract)]
    sizes = {name: _bytes(shape, (height, width), crop_px) for name, shape in shapes.items()}
    weights = sum(math.prod(tensor.dims) * FLOAT_BYTES for tensor in view.weights.values())
    names = looked_at(view, shapes)
    histograms = len(names) * BINS * COUNT_BYTES + SAMPLED_VALUES * FLOAT_BYTES
    return MemoryNeed(weights, max(_living(view, sizes), default=0), histograms)


def _axes(contract: FrameContract) -> slice:
    return slice(-3, -1) if contract.io == "uint8" else slice(-2, None)


def _bytes(shape: Sequence[int], seen: tuple[int, int], crop_px: int) -> int:
    """Size of a value on a larger piece: maps grow with its area, vectors and weights do not."""
    is_map = len(shape) >= 4 and shape[-1] > 1 and shape[-2] > 1
    growth = crop_px**2 / (seen[0] * seen[1]) if is_map else 1.0
    return round(math.prod(shape) * FLOAT_BYTES * growth)


def _living(view: GraphView, sizes: Mapping[str, int]) -> Iterator[int]:
    """Bytes that are there while each node runs: a value is freed behind its last taker."""
    last = {name: index for index, node in enumerate(view.nodes) for name in node.input if name in sizes}
    living = {name: sizes[name] for name in (value.name for value in view.model.graph.input) if name in sizes}
    for index, node in enumerate(view.nodes):
        living.update({name: sizes[name] for name in node.output if name in sizes})
        yield sum(living.values())
        for name in [name for name in living if last.get(name, -1) <= index and name not in view.results]:
            del living[name]
