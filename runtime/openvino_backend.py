"""OpenVINO: the faster CPU backend, where its wheel installs (extra ``cpu``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.artifacts import OnnxFile
from ..core.errors import BackendError
from ..core.optional import require
from ..core.tensors import Array, check_inputs
from .backend import BackendConfig
from .kept_shapes import KeptShapes

HINT_OF_PRECISION = {"fp32": "f32", "auto": "f32", "bf16": "bf16"}


class OpenVinoBackend:
    """Runs a model with OpenVINO on the CPU, compiled for each input shape; small ones are kept.

    Args:
        onnx_file: The model.
        config: Threads and precision; the precision is always given to the library, whose own
            default may be bf16.

    Raises:
        BackendError: The model does not load, or bf16 is asked of a processor that lacks it.
    """

    name = "openvino"

    def __init__(self, onnx_file: OnnxFile, config: BackendConfig) -> None:
        openvino = require("openvino", purpose="run a model with OpenVINO")
        self._core = openvino.Core()
        if config.precision == "bf16" and not self._has_bf16():
            raise BackendError("this processor does not compute in bf16; use --precision fp32")
        try:
            self._model = self._core.read_model(str(onnx_file.path))
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise BackendError(f"OpenVINO cannot read {onnx_file.path.name} ({reason})") from error
        self.inputs, self.outputs = onnx_file.inputs, onnx_file.outputs
        hint = HINT_OF_PRECISION[config.precision]
        self._options = {
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": config.thread_count,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        }
        version = openvino.__version__.partition("-")[0]
        arithmetic = "bf16" if hint == "bf16" else "fp32"
        self.description = f"OpenVINO {version} cpu {arithmetic}, {config.thread_count} threads"
        self._requests: KeptShapes[Any] = KeptShapes()

    def _has_bf16(self) -> bool:
        return "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")

    def prepare(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Compile for these shapes and run once on zeros."""
        self._request_of(shapes)

    def _request_of(self, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        request = self._requests.get(shapes)
        if request is None:
            try:
                fixed = self._model.clone()
                fixed.reshape({name: list(shape) for name, shape in shapes.items()})
                request = self._core.compile_model(fixed, "CPU", self._options).create_infer_request()
            except RuntimeError as error:
                raise BackendError(f"OpenVINO cannot compile the model for {dict(shapes)} ({error})") from error
            self._infer(request, {spec.name: np.zeros(shapes[spec.name], spec.dtype) for spec in self.inputs})
            self._requests.add(shapes, request)
        return request

    def run(self, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run once; the result is valid until the next call."""
        check_inputs(self.inputs, arrays)
        return self._infer(self._request_of({name: array.shape for name, array in arrays.items()}), arrays)

    def _infer(self, request: Any, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        try:
            contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
            request.infer(contiguous, share_inputs=True)
        except RuntimeError as error:
            raise BackendError(f"OpenVINO failed ({error})") from error
        return {spec.name: request.get_tensor(spec.name).data for spec in self.outputs}

    def close(self) -> None:
        """Release the compiled model; closing twice is fine."""
        self._requests.clear()
