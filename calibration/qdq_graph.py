"""The graph with quantise and dequantise nodes: explicit, as TensorRT, OpenVINO and ONNX Runtime read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.optional import require
from ..core.tensors import Array
from .graph_view import GraphView
from .histograms import Histogram, joined
from .number_forms import BIAS_PEAK, QuantizedWeights, Scale, activation_scale, quantized_weights
from .placement import Placement
from .quantize_config import QuantizeConfig

#: what names of nodes and values begin behind the name of what is quantised
QUANTIZED, DEQUANTIZED, STEP, ZERO = "/quantized", "/dequantized", "/scale", "/zero_point"


@dataclass(frozen=True, slots=True)
class QuantizedGraph:
    """A graph and what was decided for it.

    Attributes:
        model: ``onnx.ModelProto``.
        scales: Of activations, by name of the value.
    """

    model: Any
    scales: Mapping[str, Scale]


@dataclass(slots=True)
class KnownForms:
    """Scales and weights that were decided before; a search for the budget writes many graphs of the same ones.

    Attributes:
        scales: By the values that share one.
        weights: By name and smallest scales.
    """

    scales: dict[tuple[str, ...], Scale] = field(default_factory=dict)
    weights: dict[tuple[str, bytes], QuantizedWeights] = field(default_factory=dict)


def quantize_graph(
    view: GraphView,
    placement: Placement,
    histograms: Mapping[str, Histogram],
    config: QuantizeConfig,
    known: KnownForms | None = None,
) -> QuantizedGraph:
    """Write the graph of a placement.

    Args:
        view: Of the float graph; left as it is.
        placement: What is quantised.
        histograms: Of every value that is.
        config: Format, method, target.
        known: What was decided before, of the same graph, histograms and choices; None: nothing.
    """
    known = known or KnownForms()
    scales = {}
    for group in placement.groups:
        if group not in known.scales:
            known.scales[group] = activation_scale(joined([histograms[name] for name in group]), config)
        scales.update(dict.fromkeys(group, known.scales[group]))
    return QuantizedGraph(_Writing(view, placement, histograms, config, scales, known).run(), scales)


class _Writing:
    """One rewriting; remembers what it has made."""

    def __init__(
        self,
        view: GraphView,
        placement: Placement,
        histograms: Mapping[str, Histogram],
        config: QuantizeConfig,
        scales: Mapping[str, Scale],
        known: KnownForms,
    ) -> None:
        self._onnx = require("onnx", purpose="quantise a graph")
        self._view, self._placement, self._histograms = view, placement, histograms
        self._config, self._scales, self._known = config, scales, known
        types = self._onnx.TensorProto
        self._kind = {"fp8": types.FLOAT8E4M3FN}.get(config.format, types.UINT8 if config.is_unsigned else types.INT8)
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._weights: dict[str, QuantizedWeights] = {}
        self._dequantized: dict[str, str] = {}

    def run(self) -> Any:
        """Write all nodes."""
        edges, products = set(self._placement.edges), set(self._placement.products)
        for original in self._view.nodes:
            node = type(original)()
            node.CopyFrom(original)
            for place, name in enumerate(original.input):
                if (node.name, place) in edges:
                    node.input[place] = self._activation(name)
            if node.name in products:
                self._product(original, node)
            self._nodes.append(node)
        model = type(self._view.model)()
        model.CopyFrom(self._view.model)
        graph = model.graph
        used = {name for node in self._nodes for name in node.input} | self._view.results
        kept = [tensor for tensor in graph.initializer if tensor.name in used]
        kept = [type(tensor).FromString(tensor.SerializeToString()) for tensor in kept]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self._nodes)
        graph.initializer.extend([*kept, *self._constants.values()])
        return model

    def _activation(self, name: str) -> str:
        """Quantise and dequantise a value, once."""
        if name not in self._dequantized:
            scale = self._scales[name]
            step = self._constant(name + STEP, np.float32(scale.step))
            zero = self._zero(name + ZERO, scale.zero_point)
            low, back = name + QUANTIZED, name + DEQUANTIZED
            self._add("QuantizeLinear", [name, step, zero], low)
            self._add("DequantizeLinear", [low, step, zero], back)
            self._dequantized[name] = back
        return self._dequantized[name]

    def _zero(self, name: str, level: int) -> str:
        """Level of zero, whose type decides what is quantised to."""
        kind = self._onnx.helper.tensor_dtype_to_np_dtype(self._kind)
        return self._constant(name, np.array(level, np.float32).astype(kind))

    def _product(self, original: Any, node: Any) -> None:
        """Quantise the weights of a convolution, and mend its bias."""
        name = original.input[1]
        axis = 1 if original.op_type == "ConvTranspose" else 0
        quantized = self._weights.get(name)
        if quantized is None:
            quantized = self._weights[name] = self._quantized_weights(original, axis)
            values = self._constant(name + QUANTIZED, quantized.values)
            steps = self._constant(name + STEP, quantized.steps)
            zeros = self._constant(name + ZERO, np.zeros(quantized.steps.shape, quantized.values.dtype))
            self._add("DequantizeLinear", [values, steps, zeros], name + DEQUANTIZED, axis=axis)
        node.input[1] = name + DEQUANTIZED
        bias = self._bias(original)
        if bias is not None and self._config.with_bias_correction:
            bias = bias + self._shift(original, quantized)
        if bias is not None:
            self._set_bias(node, bias, quantized)

    def _quantized_weights(self, node: Any, axis: int) -> QuantizedWeights:
        name, floor = node.input[1], self._bias_floor(node)
        key = (name, b"" if floor is None else floor.tobytes())
        if key not in self._known.weights:
            weights = self._view.array(name)
            self._known.weights[key] = quantized_weights(weights, axis, self._config, floor)
        return self._known.weights[key]

    def _bias(self, node: Any) -> Array | None:
        """Bias of a convolution, zero where it has none; None where it is computed."""
        if len(node.input) > 2 and node.input[2]:
            return self._view.array(node.input[2]) if node.input[2] in self._view.weights else None
        shape = self._view.weights[node.input[1]].dims
        group = self._view.attributes(node).get("group", 1)
        return np.zeros(shape[1] * group if node.op_type == "ConvTranspose" else shape[0], np.float32)

    def _shift(self, node: Any, quantized: QuantizedWeights) -> Array:
        """What rounded weights shift each channel by, on the mean of what was seen."""
        histogram = self._histograms.get(node.input[0])
        if histogram is None or not histogram.channel_sums.size:
            return np.zeros(1, np.float32)
        lost = self._view.array(node.input[1]) - quantized.restored
        means = histogram.channel_means
        if node.op_type == "ConvTranspose":
            strides = self._view.attributes(node).get("strides", [1, 1])
            # each place of the result gets one in this many of the kernel's weights
            shift = np.einsum("iohw,i->o", lost, means) / np.prod(strides)
        else:
            group = self._view.attributes(node).get("group", 1)
            parts = means.reshape(group, -1)
            sums = lost.sum(axis=(2, 3)).reshape(group, -1, parts.shape[1])
            shift = np.einsum("goi,gi->go", sums, parts).reshape(-1)
        shifted: Array = shift.astype(np.float32)
        return shifted

    def _bias_floor(self, node: Any) -> Any:
        """Smallest scale of weights with which a bias of 32 bits does not overflow."""
        bias = self._bias(node)
        if not self._config.quantizes_results or bias is None:
            return None
        step = self._scales[node.input[0]].step
        return (np.abs(bias) / (step * BIAS_PEAK)).astype(np.float32)

    def _set_bias(self, node: Any, bias: Array, quantized: QuantizedWeights) -> None:
        has_bias = len(node.input) > 2 and bool(node.input[2])
        if not has_bias and not bias.any():
            return
        name = f"{node.name}/bias"
        if self._config.quantizes_results:
            # ONNX Runtime adds a bias in steps of both scales; rounding it there is far below a step of the result
            steps = quantized.steps.astype(np.float64) * self._scales[self._view.by_name[node.name].input[0]].step
            values = self._constant(name + QUANTIZED, np.rint(bias / steps).astype(np.int32))
            step = self._constant(name + STEP, steps.astype(np.float32))
            taken = self._add("DequantizeLinear", [values, step], name + DEQUANTIZED, axis=0)
        else:
            taken = self._constant(name, bias.astype(np.float32))
        del node.input[2:]
        node.input.append(taken)

    def _constant(self, name: str, values: Any) -> str:
        if name not in self._constants:
            self._constants[name] = self._onnx.numpy_helper.from_array(np.asarray(values), name)
        return name

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output
