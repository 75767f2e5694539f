"""The inspector's JSON, in the form NVIDIA's documentation and users' reports show."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deblurrt.engines.engine_inspector import types_of_nodes
from deblurrt.engines.precision_label import Convolution, label


def layer(nodes: list[str], weights: str | None, taken: str) -> dict[str, Any]:
    told: dict[str, Any] = {
        "Name": " + ".join(nodes),
        "LayerType": "CaskConvolution",
        "Inputs": [{"Name": "x", "Dimensions": [1, 64, 56, 56], "Format/Datatype": taken}],
        "Metadata": "\x1e".join(f"[ONNX Layer: {node}]" for node in nodes),
    }
    return told | ({"Weights": {"Type": weights, "Count": 36864}} if weights else {})


ROW_MAJOR, CHANNELS = "Row major linear FP32", "Channel major FP16 format where channel % 8 == 0"
BYTES = "Thirty-two wide channel vectorized row major Int8 format"


@pytest.mark.parametrize(
    ("weights", "taken", "kind"),
    [
        ("Half", CHANNELS, "fp16"),
        ("Int8", BYTES, "int8"),
        ("Float", ROW_MAJOR, "fp32"),
        ("BFloat16", "BFloat16", "bf16"),
        ("FP8", "FP8", "fp8"),
        (None, CHANNELS, "fp16"),
        (None, BYTES, "int8"),
        (None, "Half", "fp16"),
    ],
)
def test_type_is_that_of_the_weights_or_else_of_what_comes_in(weights: str | None, taken: str, kind: str) -> None:
    text = json.dumps({"Layers": [layer(["body.0/conv2d", "body.1/relu"], weights, taken)], "Bindings": ["x"]})
    assert types_of_nodes(text) == {"body.0/conv2d": kind, "body.1/relu": kind}


def test_eleven_writes_format_and_type_apart() -> None:
    taken = {"Name": "x", "Format": "Row major linear FP32 format (kLINEAR)", "DataType": "Half"}
    layer = {"Inputs": [taken], "Metadata": "[ONNX Layer: a]"}
    assert types_of_nodes(json.dumps({"Layers": [layer]})) == {"a": "fp16"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none",
        "[]",
        "{}",
        '{"Layers": 3}',
        '{"Layers": ["conv + relu"]}',
        '{"Layers": [{"Name": "a"}]}',
        "[" * 100_000,
    ],
    ids=range(8),
)
def test_other_text_says_nothing(text: str) -> None:
    assert types_of_nodes(text) == {}


def test_label_takes_what_the_inspector_says() -> None:
    wanted = [Convolution("a", 3, (8, 8, 3, 3), "fp16"), Convolution("b", 1, (8, 8, 3, 3), "fp16")]
    found = label([], wanted, {"a": "fp16", "b": "fp32"})
    assert found.shares == {"fp16": 0.75, "fp32": 0.25}
    assert found.dearer == (("b", "fp16", "fp32"),)
