"""What TensorRT's engine inspector says of layers: which ONNX nodes each computes, and in what.

The form of its JSON is that of TensorRT 10 and 11 with detailed profiling: each layer has its ONNX nodes in
``Metadata``, the type of its ``Weights``, and the type of its inputs. TensorRT-RTX has no inspector
without a GPU; there the build log says the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

#: how the inspector marks a node among a layer's metadata
NODE = re.compile(r"\[ONNX Layer: (?P<name>[^\]]*)\]")
#: where a tensor's type stands: one field in TensorRT 10, two in 11
TYPE_KEYS = ("DataType", "Format/Datatype", "Format")
#: words of its formats and types, the first that is found counts: FP16 formats may accumulate in FP32
TYPES = {
    "fp8": "fp8",
    "int8": "int8",
    "bf16": "bf16",
    "bfloat16": "bf16",
    "fp16": "fp16",
    "half": "fp16",
    "fp32": "fp32",
    "float": "fp32",
}


def types_of_nodes(text: str) -> dict[str, str]:
    """Say what each ONNX node computes in.

    Args:
        text: ``IEngineInspector.get_engine_information`` in JSON.

    Returns:
        Name of a node -> ``fp32``, ``fp16``, ``bf16``, ``int8`` or ``fp8``; nodes of which it is not known are missing.
    """
    try:
        layers = json.loads(text)["Layers"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    found: dict[str, str] = {}
    for layer in layers if isinstance(layers, list) else ():
        kind = _type(layer) if isinstance(layer, dict) else None  # names alone: no detailed profiling
        if kind is not None:
            found |= dict.fromkeys(NODE.findall(str(layer.get("Metadata", ""))), kind)
    return found


def _type(layer: Mapping[str, Any]) -> str | None:
    weights, inputs = layer.get("Weights"), layer.get("Inputs")
    told = [weights.get("Type")] if isinstance(weights, dict) else []
    told += [entry.get(key) for entry in inputs or () if isinstance(entry, dict) for key in TYPE_KEYS]
    for words in (str(entry).lower() for entry in told if entry):
        for word, kind in TYPES.items():
            if word in words:
                return kind
    return None
