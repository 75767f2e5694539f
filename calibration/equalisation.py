"""Cross-layer equalisation: channels between two convolutions brought to like ranges, so that one scale fits them all.

After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019. Weights have a
scale per channel here, so what is evened out is what the activations of channels reach on frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core.optional import require
from ..core.pictures import Pixels
from ..core.tensors import Array
from .calibrator import CalibrationRun, Progress, calibrate
from .clips import Window
from .graph_sessions import open_restorer
from .graph_view import GraphView
from .histograms import Histogram
from .placement import place
from .qdq_graph import quantize_graph
from .quantize_config import QuantizeConfig
from .sensitivity import mean_error
from .sites import find_sites
from .tensor_statistics import Statistics

#: activations that multiply their result by what their input is multiplied by
HOMOGENEOUS = frozenset({"Relu", "LeakyRelu", "PRelu"})
#: how much of the difference of activations is evened out, the rest is left to the weights behind them: of 0.25, 0.5
#: and 0.75 the least that lowers the error of ``default`` and ``fast`` on frames of all kinds (docs/quantize.md)
ACTIVATIONS_SHARE = 0.5
#: a channel is multiplied or divided by this much at most
MOST_FACTOR = 16.0
#: what both forms are compared in: symmetric, everything in 8 bits, the same whatever the target, so that statistics
#: serve all targets
JUDGED_IN = QuantizeConfig(ends=True, with_bias_correction=False)

Factors = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Joint:
    """Two convolutions with nothing but an activation between them.

    Attributes:
        first: Node that gives the channels.
        value: What the second one takes; names the joint.
        second: Node that takes them.
    """

    first: Any
    value: str
    second: Any


@dataclass(frozen=True, slots=True)
class Judged:
    """What equalisation is decided on.

    Attributes:
        run: How the float network was calibrated.
        shapes: Of its values.
        pieces: Of frames, and what the float network makes of them.
    """

    run: CalibrationRun
    shapes: dict[str, tuple[int, ...]]
    pieces: Sequence[tuple[Window, Pixels]]


def joints(view: GraphView) -> Iterator[Joint]:
    """Find convolutions whose channels can be multiplied in one and divided in the next."""
    for first in view.nodes:
        if not _is_free(view, first):
            continue
        value = first.output[0]
        taker = view.only_taker(value)
        if taker is not None and taker.op_type in HOMOGENEOUS:
            value = taker.output[0]
            taker = view.only_taker(value)
        if taker is not None and _is_free(view, taker) and taker.input[0] == value:
            yield Joint(first, value, taker)


def _is_free(view: GraphView, node: Any) -> bool:
    """Whether it is a convolution of maps, of all channels, whose weights are constants of its own."""
    if node.op_type != "Conv" or view.attributes(node).get("group", 1) != 1:
        return False
    constants = [name for name in node.input[1:] if name]
    is_own = all(name in view.weights and len(view.takers[name]) == 1 for name in constants)
    return is_own and len(view.weights[constants[0]].dims) == 4


def factors_of(view: GraphView, histograms: Mapping[str, Histogram]) -> dict[str, Array]:
    """Decide what each channel between two convolutions is divided by.

    Args:
        view: Of the float graph.
        histograms: With the peaks of channels; values that are missing stay as they are.
    """
    found: dict[str, Array] = {}
    for joint in joints(view):
        seen = histograms.get(joint.value)
        weights = np.abs(view.array(joint.second.input[1])).max(axis=(0, 2, 3)).astype(np.float64)
        if seen is None or seen.channel_peaks.size != weights.size:
            continue
        is_alive = (seen.channel_peaks > 0) & (weights > 0)
        if not is_alive.any():
            continue
        logs = np.zeros(weights.size)
        peaks = np.log(seen.channel_peaks[is_alive])
        logs[is_alive] = ACTIVATIONS_SHARE * peaks - (1 - ACTIVATIONS_SHARE) * np.log(weights[is_alive])
        logs[is_alive] -= logs[is_alive].mean()
        limit = np.log(MOST_FACTOR)
        found[joint.value] = np.exp(np.clip(logs, -limit, limit)).astype(np.float32)
    return found


def equalise(model: Any, factors: Factors) -> Any:
    """Divide channels in one convolution and multiply them in the next: the result stays, but for rounding.

    Args:
        model: ``onnx.ModelProto``; changed in place.
        factors: By name of the value between both.
    """
    helper = require("onnx", purpose="quantise a graph").numpy_helper
    view = GraphView(model)
    for joint in joints(view):
        if joint.value not in factors:
            continue
        by = factors[joint.value].astype(np.float32)
        divided = [name for name in joint.first.input[1:] if name]
        scaled = {name: view.array(name) / by.reshape(-1, *[1] * (view.array(name).ndim - 1)) for name in divided}
        scaled[joint.second.input[1]] = view.array(joint.second.input[1]) * by.reshape(1, -1, 1, 1)
        for name, values in scaled.items():
            view.weights[name].CopyFrom(helper.from_array(values.astype(np.float32), name))
    return model


def decide(seen: Statistics, judged: Judged, progress: Progress) -> tuple[Statistics, str]:
    """Calibrate once more with channels equalised, and keep what errs less in 8 bits.

    Channels are evened out by what they reach on all frames: that of a few says too little.

    Args:
        seen: Of the float network as it is.
        judged: On what.
        progress: Told frames done and frames in all.

    Returns:
        The statistics to go on with, and a note on what was decided; empty where there was nothing to.
    """
    model = judged.run.model
    view = GraphView(model)
    factors = factors_of(view, seen.histograms) if judged.pieces else {}
    if not factors:
        return replace(seen, factors={}), ""
    changed = type(model)()
    changed.CopyFrom(model)
    equalise(changed, factors)
    moved = [name for joint in joints(view) for name in (joint.first.output[0], joint.value)]
    names = [name for name in dict.fromkeys(moved) if name in seen.histograms]
    # values that no factor reaches stay as they were seen
    anew = calibrate(replace(judged.run, model=changed, place=None), names, seen.key, None, progress)
    after = replace(seen, factors=factors, equalised=anew.histograms)
    both = seen.histograms | anew.histograms
    errors = [_error(changed, both, judged), _error(model, seen.histograms, judged)]
    is_better = errors[0] < errors[1]
    note = (
        f"equalising channels between {len(factors)} pairs of convolutions "
        f"{'helps' if is_better else 'does not help'}: squared error {errors[0]:.3g} with it, {errors[1]:.3g} without"
    )
    return after if is_better else replace(seen, factors={}), note


def _error(model: Any, histograms: Mapping[str, Histogram], judged: Judged) -> float:
    """Squared error of a graph in 8 bits, against the float network."""
    view = GraphView(model)
    sites = find_sites(view, judged.shapes, JUDGED_IN)
    chosen = {site.name for site in sites if site.is_chosen}
    quantized = quantize_graph(view, place(view, sites, chosen, JUDGED_IN), histograms, JUDGED_IN)
    return mean_error(open_restorer(quantized.model, judged.run.contract), judged.pieces)
