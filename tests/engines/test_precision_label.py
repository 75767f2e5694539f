"""What an engine's convolutions compute in, looked up among its layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from deblurrt.core.errors import QualityError
from deblurrt.engines.build_log import EngineLayer, LayerTensor
from deblurrt.engines.precision_label import Convolution, convolutions, label


def layer(name: str, dtype: str, kernel: tuple[int, ...] = (), kind: str = "correlation") -> EngineLayer:
    constants = (LayerTensor("w", dtype, kernel),) if kernel else ()
    return EngineLayer(name, kind, (LayerTensor("x", dtype, (1, 8, 4, 4)),), constants, ())


def wanted(name: str, macs: int, kernel: tuple[int, ...] = (8, 8, 3, 3), dtype: str = "fp16") -> Convolution:
    return Convolution(name, macs, kernel, dtype)


def test_shares_are_those_of_the_multiply_accumulates() -> None:
    found = label(
        [layer("a", "Half"), layer("b_U12", "Half"), layer("c", "Float"), layer("gate", "Float", kind="kgen")],
        [wanted("a", 60), wanted("b", 30), wanted("c", 10, dtype="fp32")],
    )
    assert found.shares == {"fp16": 0.9, "fp32": 0.1}
    assert found.dearer == ()
    assert found.describe() == "90.0 % fp16, 10.0 % fp32"
    found.check()


def test_fused_kernels_are_told_apart_by_their_weights() -> None:
    """The compiler fills input channels up to a multiple of four, and names such kernels itself."""
    layers = [
        layer("__myl_CorrMulMax", "Half", (64, 4, 3, 3), "runtime_fusion"),
        layer("__myl_CorrAdd", "Float", (3, 64, 3, 3), "runtime_fusion"),
        layer("__myl_DecoMulMaxAdd", "Half", (64, 32, 4, 4), "runtime_fusion"),
    ]
    found = label(
        layers,
        [
            wanted("first", 50, (64, 3, 3, 3)),
            wanted("up", 25, (64, 32, 4, 4)),
            wanted("last", 25, (3, 64, 3, 3), "fp32"),
        ],
    )
    assert found.shares == {"fp16": 0.75, "fp32": 0.25}


def test_convolution_without_a_layer_is_unknown_and_refused() -> None:
    found = label([layer("a", "Half")], [wanted("a", 1), wanted("b", 3)])
    assert found.shares == {"unknown": 0.75, "fp16": 0.25}
    with pytest.raises(QualityError, match=r"what 75\.0% of the convolutions' work computes in cannot be read"):
        found.check()


def test_little_that_is_unknown_is_shown_and_accepted() -> None:
    found = label([layer("a", "Half")], [wanted("a", 98), wanted("b", 2)])
    assert found.shares == {"fp16": 0.98, "unknown": 0.02}
    found.check()


def test_layers_in_more_bits_than_the_file_says_are_refused_by_name() -> None:
    layers = [layer(name, "Float") for name in "abcd"] + [layer("e", "Int8")]
    found = label(layers, [wanted(name, 1) for name in "abcd"] + [wanted("e", 1)])
    assert [entry[0] for entry in found.dearer] == ["a", "b", "c", "d"]
    with pytest.raises(
        QualityError, match=r"4 convolutions in more bits .* a \(fp32 for fp16\), .* and 1 more; as built"
    ):
        found.check()


def test_convolutions_of_a_graph_have_their_cost_and_the_type_of_their_weights() -> None:
    weights: dict[str, NDArray[Any]] = {
        "half": np.zeros((8, 4, 3, 3), np.float16),
        "whole": np.zeros((8, 8, 1, 1), np.int8),
        "up": np.zeros((8, 2, 2, 2), np.float32),
        "scale": np.ones((), np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "half"], ["a"], name="a", pads=[1, 1, 1, 1]),
        helper.make_node("DequantizeLinear", ["whole", "scale"], ["w"], name="scaled"),
        helper.make_node("QuantizeLinear", ["a", "scale"], ["low"], name="quantized"),
        helper.make_node("DequantizeLinear", ["low", "scale"], ["back"], name="dequantized"),
        helper.make_node("Conv", ["back", "w"], ["b"], name="b"),
        helper.make_node("Conv", ["a", "w"], ["d"], name="weights alone"),
        helper.make_node("ConvTranspose", ["b", "up"], ["c"], name="c", strides=[2, 2]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1, 4, 6, 5])],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, [1, 2, 12, 10])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model: onnx.ModelProto = helper.make_model(graph)
    shapes = {name: array.shape for name, array in weights.items()}
    shapes |= {
        "x": (1, 4, 6, 5),
        "a": (1, 8, 6, 5),
        "w": (8, 8, 1, 1),
        "b": (1, 8, 6, 5),
        "c": (1, 2, 12, 10),
        "d": (1, 8, 6, 5),
    }
    found = {entry.name: (entry.macs, entry.dtype) for entry in convolutions(model, shapes)}
    assert found == {
        "a": (8 * 30 * 4 * 9, "fp16"),
        "b": (8 * 30 * 8, "int8"),
        "weights alone": (8 * 30 * 8, "fp32"),
        "c": (8 * 30 * 2 * 4, "fp32"),
    }
