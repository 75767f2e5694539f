"""What a file must be to be quantised, and what it says of itself then: its calibration, and types of its layers."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..core.artifacts import PROVENANCE_KEY, SUMMARY_KEY, json_entry, metadata_of
from ..core.errors import ModelFileError, UsageError
from ..core.optional import require
from .quantize_config import QuantizeConfig
from .tensor_statistics import StatisticsKey

#: where provenance names the hash of everything that decided the scales
CALIBRATION_HASH = "calibration_sha256"
#: choices that decide no scale and no layer by themselves
LEFT_OUT = frozenset({"time_limit_s"})


def check_float(model: Any, name: str) -> None:
    """Refuse what cannot be quantised because it is not a float network.

    Raises:
        UsageError: It is quantised or in half precision already.
        ModelFileError: It has no nodes.
    """
    types = require("onnx", purpose="quantise a graph").TensorProto
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node):
        raise UsageError(f"{name} is quantised already; give the float32 file it was made of")
    if any(tensor.data_type in (types.FLOAT16, types.BFLOAT16) for tensor in model.graph.initializer):
        raise UsageError(
            f"{name} is in half precision; give the float32 file, layers that stay float get fp16 after it"
        )
    if not model.graph.node:
        raise ModelFileError(f"{name} has no nodes; export it again")


def describe(model: Any, key: StatisticsKey, config: QuantizeConfig, share: float, lost_db: float | None) -> None:
    """Write calibration and types into the metadata of ``onnx.ModelProto``; the rest of them stays.

    Args:
        model: The quantised graph; changed.
        key: What was calibrated on.
        config: How.
        share: Of the multiply-accumulates in 8 bits.
        lost_db: What was measured on held-out frames; None: nothing was.
    """
    onnx = require("onnx", purpose="quantise a graph")
    metadata = metadata_of(model)
    provenance = json_entry(metadata, PROVENANCE_KEY)
    choices = {name: value for name, value in config.to_dict().items() if name not in LEFT_OUT}
    calibration: dict[str, Any] = {"frames": list(key.names), "frames_sha256": key.frames_sha256, **choices}
    if key.test_split:
        calibration["test_split"] = key.test_split
    if lost_db is not None:
        calibration["lost_db"] = round(lost_db, 4)
    text = json.dumps(calibration, sort_keys=True)
    provenance |= {"calibration": calibration, CALIBRATION_HASH: hashlib.sha256(text.encode()).hexdigest()}
    summary = json_entry(metadata, SUMMARY_KEY)
    summary |= {name: _shared(summary[name], share, config) for name in ("macs", "macs_per_pixel") if name in summary}
    summary["operators"] = dict(sorted(Counter(node.op_type for node in model.graph.node).items()))
    metadata |= {
        PROVENANCE_KEY: json.dumps(provenance, sort_keys=True),
        SUMMARY_KEY: json.dumps(summary, sort_keys=True),
    }
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata)


def _shared(macs: Mapping[str, int], share: float, config: QuantizeConfig) -> dict[str, int]:
    """Split counts of multiply-accumulates into those in 8 bits and the others."""
    total = sum(macs.values())
    low = round(total * share)
    return {config.format: low, config.rest: total - low} if low < total else {config.format: total}
