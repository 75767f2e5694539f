"""The calibrator: frame by frame through the float graph, looking at many tensors and keeping none.

Next to every tensor that is looked at, the graph gets nodes that reduce it to its ends, its channels and a sample; they
run as soon as the tensor is there, so that a pass takes hardly more memory than the network itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.contract import FrameContract
from ..core.errors import ModelFileError
from ..core.optional import require
from ..core.tensors import Array
from ..runtime.session import prepare
from .frames import Frames
from .graph_sessions import cropped, fixed_size, open_graph
from .graph_view import GraphView
from .histograms import Histogram
from .tensor_statistics import Statistics, StatisticsKey, save_statistics

#: values that are counted per frame, of all tensors together, and of one at least and at most; ends are those of all
SAMPLED_VALUES, LEAST_SAMPLE, MOST_SAMPLE = 1 << 24, 1 << 14, 1 << 18
#: side of the frame shapes are seen on where the graph leaves it free, pixels
SEEN_PX = 128
#: how much of a run an interruption may cost, seconds
SAVE_EVERY_S = 10.0
#: what a tap gives, in this order
TAPS = ("least", "most", "sample", "means", "peaks")

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class CalibrationRun:
    """What is looked at, and where it is kept.

    Attributes:
        model: ``onnx.ModelProto`` in float32 with bodies.
        contract: Its own.
        frames: What it is run on.
        seed: Of crops.
        crop_px: Their side.
        place: File the statistics are kept in, so that an interrupted run goes on; None: nowhere.
    """

    model: Any
    contract: FrameContract
    frames: Frames
    seed: int
    crop_px: int
    place: Path | None = None


def seen_shapes(model: Any, contract: FrameContract) -> dict[str, tuple[int, ...]]:
    """Run a black frame and note the shape of every value.

    Raises:
        ModelFileError: The graph cannot be run.
    """
    onnx = require("onnx", purpose="calibrate a network")
    size = fixed_size(model, contract) or (max(SEEN_PX, contract.min_size),) * 2
    feed = {model.graph.input[0].name: prepare([np.zeros((*size, 3), np.uint8)] * contract.window, contract)}
    model = _copied(model)
    names = [name for node in model.graph.node for name in node.output if name]
    for name in names:
        told = f"{name}/shape"
        model.graph.node.append(onnx.helper.make_node("Shape", [name], [told], name=told))
        model.graph.output.append(onnx.helper.make_tensor_value_info(told, onnx.TensorProto.INT64, None))
    found = open_graph(model, is_plain=True)([f"{name}/shape" for name in names], feed)
    shapes = {name: tuple(map(int, shape)) for name, shape in zip(names, found, strict=True)}
    return shapes | {name: array.shape for name, array in feed.items()}


def looked_at(view: GraphView, shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """Name the tensors whose ranges any target may ask for: what convolutions take and give, and sums."""
    wanted: list[str] = []
    for node in view.nodes:
        if node.op_type in ("Conv", "ConvTranspose"):
            taker = view.only_taker(node.output[0])
            wanted += [node.input[0], node.output[0]]
            if taker is not None and taker.op_type in ("Relu", "LeakyRelu", "PRelu", "Clip"):
                wanted.append(taker.output[0])
        elif node.op_type in ("Add", "Concat") and node.output[0] in view.behind_products:
            wanted += [*view.sources(node), *node.output]
    return [name for name in dict.fromkeys(wanted) if len(shapes.get(name, ())) == 4 and name not in view.weights]


def calibrate(
    run: CalibrationRun,
    names: Sequence[str],
    key: StatisticsKey,
    known: Statistics | None = None,
    progress: Progress = lambda _done, _all: None,
) -> Statistics:
    """Gather what is needed to decide ranges.

    Args:
        run: What is run.
        names: Tensors to look at.
        key: What the statistics are of; kept with them.
        known: Those of an interrupted run, which goes on behind its last frame.
        progress: Told frames done and frames in all.

    Raises:
        ModelFileError: The graph cannot be run, or gives values that are not finite.
    """
    statistics = known or Statistics(key, {name: Histogram() for name in names}, 0)
    taps = [f"{name}/{tap}" for name in names for tap in TAPS]
    compute = open_graph(_tapped(run.model, names), is_plain=True)
    total, saved = len(run.frames.calibration), time.perf_counter()
    for index, shot in enumerate(run.frames.calibration):
        if index >= statistics.frames:
            found = compute(taps, _feed(run, shot.window, index))
            _take(statistics, names, found, shot.name)
            is_due = time.perf_counter() - saved >= SAVE_EVERY_S or statistics.is_complete
            if run.place is not None and is_due:
                save_statistics(statistics, run.place)
                saved = time.perf_counter()
        progress(index + 1, total)
    return statistics


def _take(statistics: Statistics, names: Sequence[str], found: Sequence[Array], shot: str) -> None:
    for place, name in enumerate(names):
        least, most, sample, means, peaks = found[place * len(TAPS) : (place + 1) * len(TAPS)]
        # ends pass over what is no number wherever it does not come first, means do not
        if not (np.isfinite(least) and np.isfinite(most) and np.isfinite(means).all()):
            raise ModelFileError(f"{name!r} is not finite on {shot}: the float network itself fails there")
        histogram = statistics.histograms[name]
        histogram.add(sample, float(least), float(most))
        histogram.add_channels(means.astype(np.float64), peaks.astype(np.float64))
    statistics.frames += 1


def _feed(run: CalibrationRun, window: tuple[Any, ...], index: int) -> dict[str, Array]:
    piece = cropped(window, run.crop_px, np.random.default_rng([run.seed, index]), fixed_size(run.model, run.contract))
    return {run.model.graph.input[0].name: prepare(list(piece), run.contract)}


def _tapped(model: Any, names: Sequence[str]) -> Any:
    """Reduce tensors to what is kept of them, inside the graph.

    The reductions stand right behind what makes a tensor: ONNX Runtime runs nodes in the order of the graph where
    their inputs allow, and at its end all tensors would have to wait for them.
    """
    onnx = require("onnx", purpose="calibrate a network")
    tapped = _copied(model)
    sample = min(max(SAMPLED_VALUES // max(len(names), 1), LEAST_SAMPLE), MOST_SAMPLE)
    made = _Taps(onnx, sample)
    waiting, nodes = set(names), []
    for name in (value.name for value in model.graph.input):
        if name in waiting:
            nodes += made.tap(name)
    for node in model.graph.node:
        nodes.append(node)
        for name in node.output:
            if name in waiting:
                nodes += made.tap(name)
    del tapped.graph.node[:]
    tapped.graph.node.extend(nodes)
    tapped.graph.initializer.extend(made.constants)
    tapped.graph.output.extend(made.outputs)
    return tapped


class _Taps:
    """Nodes in the making."""

    def __init__(self, onnx: Any, sample: int) -> None:
        self._onnx = onnx
        self._nodes: list[Any] = []
        self.outputs: list[Any] = []
        self.constants = [
            self._constant("tap/flat", [-1]),
            self._constant("tap/begin", [0]),
            self._constant("tap/end", [np.iinfo(np.int64).max]),
            self._constant("tap/outside", [0, 2, 3]),
            self._constant("tap/wanted", [2 * sample]),
            self._constant("tap/one", [1]),
            self._constant("tap/two", [2]),
        ]

    def tap(self, name: str) -> list[Any]:
        """Nodes for ends, an evenly spaced sample, mean and peak of channels."""
        self._nodes = []
        self._add("ReduceMin", [name], f"{name}/least", is_result=True, keepdims=0)
        self._add("ReduceMax", [name], f"{name}/most", is_result=True, keepdims=0)
        # an odd step meets every place of a pixel shuffle
        count = self._add("Size", [name], f"{name}/count")
        half = self._add("Div", [count, "tap/wanted"], f"{name}/half_step")
        even = self._add("Mul", [half, "tap/two"], f"{name}/even_step")
        step = self._add("Add", [even, "tap/one"], f"{name}/step")
        flat = self._add("Reshape", [name, "tap/flat"], f"{name}/flat")
        self._add("Slice", [flat, "tap/begin", "tap/end", "tap/begin", step], f"{name}/sample", is_result=True)
        self._add("ReduceMean", [name, "tap/outside"], f"{name}/means", is_result=True, keepdims=0)
        highest = self._add("ReduceMax", [name, "tap/outside"], f"{name}/highest", keepdims=0)
        lowest = self._add("ReduceMin", [name, "tap/outside"], f"{name}/lowest", keepdims=0)
        negated = self._add("Neg", [lowest], f"{name}/negated")
        self._add("Max", [highest, negated], f"{name}/peaks", is_result=True)
        return self._nodes

    def _constant(self, name: str, values: list[int]) -> Any:
        return self._onnx.numpy_helper.from_array(np.array(values, np.int64), name)

    def _add(
        self, operator: str, inputs: list[str], output: str, *, is_result: bool = False, **attributes: object
    ) -> str:
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, [output], name=output, **attributes))
        if is_result:
            self.outputs.append(self._onnx.helper.make_tensor_value_info(output, self._onnx.TensorProto.FLOAT, None))
        return output


def _copied(model: Any) -> Any:
    copied = type(model)()
    copied.CopyFrom(model)
    return copied
