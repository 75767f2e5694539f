"""Every choice of a quantisation, and what each target takes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from ..core.errors import UsageError
from .thresholds import Method

Target = Literal["tensorrt", "openvino", "onnxruntime"]
Format = Literal["int8", "w8a16", "fp8"]
Rest = Literal["fp32", "fp16"]

#: largest magnitude of a symmetric 8-bit integer, of one that uses 7 bits, and of ``float8_e4m3fn``
INT8_PEAK, NARROW_PEAK, FP8_PEAK = 127.0, 63.0, 448.0
#: side of the pieces of frames that are calibrated on, pixels
CROP_PX = 512


@dataclass(frozen=True, slots=True)
class QuantizeConfig:
    """How a network is quantised.

    Attributes:
        target: Who runs it: ``tensorrt`` and ``openvino`` take symmetric activations and convolutions that take the
            sum behind them in, ``onnxruntime`` unsigned ones and results quantised as well.
        format: ``int8`` weights and activations; ``w8a16`` weights alone; ``fp8`` both in 8-bit floats.
        method: How ranges of activations are decided.
        exclude: Pattern of layers that stay float.
        only: Pattern of layers that alone are quantised.
        ends: Whether the first and the last layer are quantised; None: as the target is fast with.
        psnr_budget_db: Most decibels that may be lost; None: no layer is kept float for it.
        time_limit_s: Of the budget search; None: until it is done.
        seed: Of crops.
        crop_px: Side of the pieces of frames that are calibrated on.
        with_bias_correction: Whether biases make up for what rounded weights shift.
        narrow_weights: Whether weights use 7 of their 8 bits; None: on CPUs, of which those without VNNI add products
            of two pairs in 16 bits and cut off what does not fit.
        rest: What the layers that are not quantised compute in; scales are rounded to it.

    Raises:
        UsageError: The choices contradict each other.
    """

    target: Target = "tensorrt"
    format: Format = "int8"
    method: Method = "mse"
    exclude: str | None = None
    only: str | None = None
    ends: bool | None = None
    psnr_budget_db: float | None = None
    time_limit_s: float | None = None
    seed: int = 0
    crop_px: int = CROP_PX
    with_bias_correction: bool = True
    narrow_weights: bool | None = None
    rest: Rest = "fp32"

    def __post_init__(self) -> None:
        for name, allowed in (("target", Target), ("format", Format), ("method", Method), ("rest", Rest)):
            if getattr(self, name) not in get_args(allowed):
                raise UsageError(f"{name} is {getattr(self, name)!r}, expected one of {', '.join(get_args(allowed))}")
        if self.format == "fp8" and self.target != "tensorrt":
            raise UsageError(f"fp8 is for TensorRT on GPUs from sm_89 on, {self.target} has no use for it; take int8")
        if self.format == "w8a16" and self.target == "onnxruntime":
            raise UsageError("w8a16 saves memory of weights only, ONNX Runtime unpacks them at once; take int8")
        if self.rest == "fp16" and self.target != "tensorrt":
            raise UsageError(f"fp16 beside 8 bits is for TensorRT, {self.target} computes it in float32; take fp32")
        if not 64 <= self.crop_px <= 4096:
            raise UsageError(f"crops are of {self.crop_px} pixels, expected 64 to 4096")

    @property
    def with_ends(self) -> bool:
        """Whether the first and the last layer are quantised unless something speaks against it."""
        return self.target != "tensorrt" if self.ends is None else self.ends

    @property
    def weight_peak(self) -> float:
        """Largest magnitude of a weight in 8 bits."""
        if self.format == "fp8":
            return FP8_PEAK
        is_narrow = self.target != "tensorrt" if self.narrow_weights is None else self.narrow_weights
        return NARROW_PEAK if is_narrow and self.format == "int8" else INT8_PEAK

    @property
    def is_unsigned(self) -> bool:
        """Whether activations have 256 levels between two ends, instead of evenly around zero."""
        return self.target == "onnxruntime"

    @property
    def quantizes_results(self) -> bool:
        """Whether results of convolutions are quantised too, as ONNX Runtime needs to compute in 8 bits."""
        return self.target == "onnxruntime"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the choices that decide the file."""
        return asdict(self) | {"ends": self.with_ends, "narrow_weights": self.weight_peak == NARROW_PEAK}
