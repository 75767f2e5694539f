"""8-bit forms of numbers: scales of activations and weights, and the weights themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.optional import require
from ..core.tensors import Array
from .histograms import Histogram
from .quantize_config import FP8_PEAK, INT8_PEAK, QuantizeConfig
from .thresholds import range_of

Floats = NDArray[np.float32]

#: smallest scale: of a tensor that is zero everywhere, and the smallest a half-precision scale is exact enough at
LEAST_SCALE = {"fp32": 1e-12, "fp16": 2.0**-20}
#: shares of a channel's largest weight that are tried for the least error
WEIGHT_SHARES = np.linspace(0.7, 1.0, 31)
#: a bias is kept in 32 bits in steps of both scales; it may fill half of them
BIAS_PEAK = 2.0**30


@dataclass(frozen=True, slots=True)
class Scale:
    """How an activation becomes 8 bits: ``round(value / step) + zero_point``.

    Attributes:
        step: Between neighbouring levels.
        zero_point: Level of zero.
        low: Smallest value that is told apart.
        high: Largest.
    """

    step: float
    zero_point: int
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedWeights:
    """Weights in 8 bits.

    Attributes:
        values: ``int8`` or ``float8_e4m3fn``, of the shape of the weights.
        steps: ``float32``, one per result channel.
        axis: That of result channels.
        restored: What the network computes with, ``float32``.
    """

    values: Array
    steps: Floats
    axis: int
    restored: Floats


def activation_scale(histogram: Histogram, config: QuantizeConfig) -> Scale:
    """Decide how a tensor becomes 8 bits."""
    if config.format == "fp8":
        # 8-bit floats tell small values apart well: nothing is cut off
        step = _rounded(histogram.peak / FP8_PEAK, config)
        return Scale(step, 0, -FP8_PEAK * step, FP8_PEAK * step)
    return scale_between(*range_of(histogram, config.method, is_unsigned=config.is_unsigned), config)


def scale_between(low: float, high: float, config: QuantizeConfig) -> Scale:
    """Spread the levels of 8-bit integers between two ends, around zero where they are symmetric."""
    if config.is_unsigned:
        step = _rounded((high - low) / 255, config)
        zero_point = int(np.clip(np.rint(-low / step), 0, 255))
        return Scale(step, zero_point, -zero_point * step, (255 - zero_point) * step)
    step = _rounded(max(-low, high) / INT8_PEAK, config)
    return Scale(step, 0, -INT8_PEAK * step, INT8_PEAK * step)


def quantized_weights(
    weights: Floats, axis: int, config: QuantizeConfig, floor: Floats | None = None
) -> QuantizedWeights:
    """Quantise weights, one scale per result channel, symmetric.

    Args:
        weights: ``float32``.
        axis: Of result channels.
        config: Format, method, and what scales are rounded to.
        floor: Smallest scale of each channel; None: any.
    """
    rows = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1).astype(np.float64)
    peak = config.weight_peak
    steps = np.abs(rows).max(axis=1) / peak
    if config.format != "fp8" and config.method == "mse":
        steps = _least_error(rows, steps, peak)
    if floor is not None:
        steps = np.maximum(steps, floor)
    steps = np.array([_rounded(float(step), config) for step in steps], np.float64)
    shape = [1] * weights.ndim
    shape[axis] = -1
    scaled = np.clip(weights / steps.reshape(shape), -peak, peak)
    values = _as_fp8(scaled) if config.format == "fp8" else np.rint(scaled).astype(np.int8)
    restored = (values.astype(np.float32) * steps.reshape(shape).astype(np.float32)).astype(np.float32)
    return QuantizedWeights(values, steps.astype(np.float32), axis, restored)


def _least_error(rows: NDArray[np.float64], steps: NDArray[np.float64], peak: float) -> NDArray[np.float64]:
    """Shrink the scale of each channel as far as its weights get closer to what they were."""
    best, least = steps.copy(), np.full(steps.shape, np.inf)
    for share in WEIGHT_SHARES[::-1]:
        tried = np.maximum(steps * share, LEAST_SCALE["fp32"])[:, None]
        errors = ((np.clip(np.rint(rows / tried), -peak, peak) * tried - rows) ** 2).sum(axis=1)
        is_better = errors < least
        best, least = np.where(is_better, tried[:, 0], best), np.where(is_better, errors, least)
    return best


def _rounded(step: float, config: QuantizeConfig) -> float:
    """Round a scale to the type it is stored in, never down to nothing; values are quantised with what is stored."""
    step = max(step, LEAST_SCALE[config.rest])
    return float(np.float16(step)) if config.rest == "fp16" else float(np.float32(step))


def _as_fp8(scaled: Array) -> Array:
    onnx = require("onnx", purpose="quantise a graph")
    kind: Any = onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.FLOAT8E4M3FN)
    rounded: Array = scaled.astype(np.float32).astype(kind)
    return rounded
