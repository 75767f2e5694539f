"""ONNX Runtime: the backend that is always there, and the numerical reference."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.artifacts import OnnxFile
from ..core.errors import BackendError, ModelFileError
from ..core.optional import require
from ..core.tensors import Array, check_inputs
from ..plugins.plugin_op import DOMAIN
from .backend import BackendConfig
from .kept_shapes import KeptShapes

#: how ONNX Runtime names an operator it has no code for
UNKNOWN_OPERATOR = re.compile(r"(?P<domain>[\w.]*):(?P<name>\w+)\(-?\d+\) is not a registered function/op")

#: provider -> the one that takes what it leaves over, on the same device
BESIDE = {"TensorrtExecutionProvider": "CUDAExecutionProvider"}


class OnnxRuntimeBackend:
    """Runs a model with ONNX Runtime, on the CPU or another provider by name.

    Args:
        onnx_file: The model.
        config: Threads and provider; precision must be fp32 (the graph decides its types).

    Raises:
        BackendError: The provider is not in the installed wheel, or the model does not load.
        ModelFileError: The model has an operator that is neither ONNX's, nor ONNX Runtime's, nor ours.
    """

    name = "onnxruntime"

    def __init__(self, onnx_file: OnnxFile, config: BackendConfig) -> None:
        if config.precision == "bf16":
            raise BackendError("ONNX Runtime has no bf16 arithmetic on the CPU; use --backend openvino")
        self._runtime = require("onnxruntime", purpose="run a model")
        provider, *beside = self._providers(config.provider)
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = config.thread_count
        options.log_severity_level = 3
        # spinning threads burn a third of a core between frames and make a paced stream no faster
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = self._runtime.InferenceSession(str(onnx_file.path), options, providers=[provider, *beside])
        except Exception as error:  # the library's own exceptions have no common base
            reason = str(error).strip().splitlines()[0]
            unknown = UNKNOWN_OPERATOR.search(reason)
            if unknown is not None and unknown["domain"] != DOMAIN:
                raise ModelFileError(
                    f"{onnx_file.path.name} has the operator {unknown['name']} of {unknown['domain'] or 'ONNX'}, which "
                    "ONNX Runtime does not know; export the network with standard operators"
                ) from error
            raise BackendError(f"ONNX Runtime cannot load {onnx_file.path.name} ({reason})") from error
        if self._session.get_providers()[0] != provider:
            raise BackendError(f"ONNX Runtime could not start {provider} and would fall back to the CPU")
        self.inputs, self.outputs = onnx_file.inputs, onnx_file.outputs
        self.description = (
            f"ONNX Runtime {self._runtime.__version__} {config.provider} fp32, {config.thread_count} threads"
        )
        self._buffers: KeptShapes[dict[str, Array]] = KeptShapes()
        self._run_options: Any = None

    def _providers(self, wanted: str) -> list[str]:
        available: list[str] = self._runtime.get_available_providers()
        short = {name.removesuffix("ExecutionProvider").lower(): name for name in available}
        if wanted.lower() not in short:
            raise BackendError(
                f"this onnxruntime has no provider {wanted!r}, it has {', '.join(sorted(short))}; other "
                "providers come with other wheels (onnxruntime-gpu replaces onnxruntime: uninstall both, "
                "then install one)"
            )
        chosen = short[wanted.lower()]
        return [chosen, *(other for other in available if other == BESIDE.get(chosen))]

    def prepare(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Run once on zeros of these shapes and keep the result buffers."""
        self._results_of(shapes)

    def _results_of(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
        """The buffers results of these inputs are written to."""
        buffers = self._buffers.get(shapes)
        if buffers is None:
            zeros = {spec.name: np.zeros(shapes[spec.name], spec.dtype) for spec in self.inputs}
            results = self._call(self._session.run, [spec.name for spec in self.outputs], zeros)
            # run() allocates its outputs anew; bound to these buffers it writes where they lie
            buffers = {spec.name: np.empty_like(result) for spec, result in zip(self.outputs, results, strict=True)}
            self._buffers.add(shapes, buffers)
        return buffers

    def run(self, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run once; the result is valid until the next call."""
        check_inputs(self.inputs, arrays)
        results = self._results_of({name: array.shape for name, array in arrays.items()})
        binding = self._session.io_binding()
        # a binding keeps addresses only: copies made here have to live until the run is over
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        for name, array in contiguous.items():
            _bind(binding.bind_input, name, array)
        for name, result in results.items():
            _bind(binding.bind_output, name, result)
        self._call(self._session.run_with_iobinding, binding)
        return results

    def cancel(self) -> bool:
        """Stop the run another thread waits for; it raises once the operator at work is done."""
        if self._run_options is not None:
            self._run_options.terminate = True
        return True

    def _call(self, run: Any, *arguments: Any) -> Any:
        self._run_options = self._runtime.RunOptions()
        try:
            return run(*arguments, self._run_options)
        except Exception as error:  # the library's own exceptions have no common base
            raise BackendError(f"ONNX Runtime failed: {str(error).strip().splitlines()[0]}") from error

    def close(self) -> None:
        """Release the session; closing twice is fine."""
        self._session = None
        self._buffers.clear()


def _bind(bind: Any, name: str, array: Array) -> None:
    bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
