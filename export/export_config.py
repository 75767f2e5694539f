"""Every choice of an export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..core.errors import UsageError

Precision = Literal["fp32", "fp16", "bf16"]
Io = Literal["uint8", "float"]
Target = Literal["any", "onnxruntime", "openvino", "tensorrt"]


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """How a network becomes an ONNX file.

    Attributes:
        size: Height and width of the frames the file takes, pixels; None: any.
        precision: Types of the network's arithmetic, decided node by node in the file.
        io: ``uint8``: frames ``[batch, height, width, 3]`` in and out; ``float``: the bare network.
        target: Who runs it: ``any`` keeps our operators with bodies of standard ones; ``onnxruntime``
            has the bodies it is quickest with, ``openvino`` none of our operators, ``tensorrt`` is as ``any``.
        strict: Whether bodies are left out, so that a missing plugin is an error and never slow.
        fold: Whether exact rewritings are made first: EDPN for one copy, batch norm into convolutions,
            unused modules dropped, transposed convolutions of stride 1 turned into plain ones.

    Raises:
        UsageError: The choices contradict each other.
    """

    size: tuple[int, int] | None = None
    precision: Precision = "fp32"
    io: Io = "uint8"
    target: Target = "any"
    strict: bool = False
    fold: bool = True

    def __post_init__(self) -> None:
        if self.strict and self.target in ("onnxruntime", "openvino"):
            raise UsageError(f"--strict leaves out what {self.target} runs; it goes with tensorrt or any")
        if self.precision == "bf16" and self.target == "onnxruntime":
            raise UsageError("ONNX Runtime has no bf16 convolutions on the CPU; take fp32 or fp16, or another target")
        if self.size is not None and min(self.size) < 1:
            raise UsageError(f"the size is {self.size[0]}x{self.size[1]}, expected pixels from 1")
