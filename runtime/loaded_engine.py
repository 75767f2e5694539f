"""TensorRT's objects behind an engine: loaded, shaped and put on a stream; the same for TensorRT and TensorRT-RTX."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from ..core.contract import FrameContract
from ..core.engine_file import EngineFile
from ..core.errors import BackendError, MachineError, ModelFileError
from ..core.manifest import EngineManifest
from ..core.optional import require
from ..core.tensorrt_packages import MODULES, BackendName
from ..core.tensors import TensorSpec
from ..plugins.ops import PLUGINS
from ..plugins.plugin_op import DOMAIN, PLUGIN_VERSION
from .cuda_layer import CudaLayer
from .gpu_memory import DeviceMemory

#: TensorRT's name of a type -> NumPy's, for tensors that go in and out
DTYPES = {
    "UINT8": "uint8",
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}
#: names of the axes, by the contract's ``io`` and their number
AXES = {
    ("uint8", 4): ("batch", "height", "width", "color"),
    ("uint8", 5): ("batch", "window", "height", "width", "color"),
    ("float", 4): ("batch", "channel", "height", "width"),
}

#: finds the library that holds an engine's operators
PluginLibrary = Callable[[EngineManifest], Path]

logger = logging.getLogger(__name__)


class LoadedEngine:
    """An engine with one execution context; its memory for values is reserved for the shapes in use.

    Args:
        file: Checked against this machine.
        cuda: Reserves memory.
        plugin_library: Where the manifest names plugins: finds their library.

    Attributes:
        inputs: What the engine takes; axes of one length only are numbers.
        outputs: What it gives.
        has_own_graphs: Whether the library makes CUDA graphs by itself, as TensorRT-RTX does.

    Raises:
        MissingExtraError: TensorRT is not installed.
        BackendError: TensorRT refuses the engine.
        MachineError: Its plugins are missing.
    """

    def __init__(self, file: EngineFile, cuda: CudaLayer, plugin_library: PluginLibrary) -> None:
        self._file, self._messages = file, list[str]()
        manifest = file.manifest
        self._trt: Any = require(MODULES[cast(BackendName, manifest.backend)], purpose="run an engine")
        self.has_own_graphs = hasattr(self._trt, "CudaGraphStrategy")
        self._logger = _logger(self._trt, self._messages)
        self._values = DeviceMemory(cuda)
        # vendor's plugins, such as the one standard DeformConv is built onto, are not registered by themselves
        self._trt.init_libnvinfer_plugins(self._logger, "")
        self._runtime: Any = self._trt.Runtime(self._logger)
        if manifest.plugins:
            self._load_plugins(self._found(plugin_library))
        with self._explained("load it"):
            self._engine: Any = self._given(self._runtime.deserialize_cuda_engine(file.path.read_bytes()))
        with self._explained("make an execution context"):
            self._context: Any = self._given(self._new_context())
        self.inputs, self.outputs = self._specs()

    def _found(self, plugin_library: PluginLibrary) -> Path:
        try:
            return plugin_library(self._file.manifest)
        except MachineError as error:
            raise MachineError(f"{error}; build it again: {self._file.rebuild()}") from error

    def _load_plugins(self, library: Path) -> None:
        # None where the library is registered already, by another engine of this process: never deregistered therefore
        registry = self._runtime.get_plugin_registry()
        with self._explained(f"load the plugins in {library.name}"):
            registry.load_library(str(library))
            # what it gives is empty also where it worked
            self._agreed(all(registry.get_creator(name, PLUGIN_VERSION, DOMAIN) is not None for name in PLUGINS))

    def _new_context(self) -> Any:
        engine, trt = self._engine, self._trt
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if not self.has_own_graphs:
            return engine.create_execution_context(strategy)
        config = engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(strategy)
        config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        return engine.create_execution_context(config)

    def _specs(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        engine, taken, given = self._engine, list[TensorSpec](), list[TensorSpec]()
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            is_input = engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT
            (taken if is_input else given).append(self._spec(name, is_input=is_input))
        return tuple(taken), tuple(given)

    def _spec(self, name: str, *, is_input: bool) -> TensorSpec:
        engine = self._engine
        shape, dtype = tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name).name
        if dtype not in DTYPES:
            raise ModelFileError(f"{self._file.path.name}: {name!r} is {dtype}, expected one of {', '.join(DTYPES)}")
        lengths: list[int | str] = list(shape)
        bounds = engine.get_tensor_profile_shape(name, 0) if is_input and -1 in shape else ()
        names = axis_names(self._file.manifest.contract, len(shape))
        for axis in (axis for axis, length in enumerate(shape) if length == -1):
            ends = {tuple(bound)[axis] for bound in bounds}
            lengths[axis] = ends.pop() if len(ends) == 1 else names[axis]
        return TensorSpec(name, DTYPES[dtype], tuple(lengths))

    def resize(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[TensorSpec, ...]:
        """Take inputs of these shapes from now on; nothing on the GPU may be running the engine.

        Returns:
            The outputs, with their shapes.

        Raises:
            BackendError: TensorRT refuses the shapes, or the memory does not suffice.
        """
        context = self._context
        with self._explained(f"take {dict(shapes)}"):
            for name, shape in shapes.items():
                self._agreed(context.set_input_shape(name, shape))
            self._agreed(not context.infer_shapes())
        # 0 after an error: then what suffices for every shape
        size = context.update_device_memory_size_for_shapes() or self._engine.device_memory_size_v2
        block = self._values.reserve(size)
        context.set_device_memory(block.address, block.size)
        return tuple(
            TensorSpec(spec.name, spec.dtype, tuple(context.get_tensor_shape(spec.name))) for spec in self.outputs
        )

    def enqueue(self, addresses: Mapping[str, int], stream: int) -> None:
        """Put one run on a stream.

        Args:
            addresses: Of every tensor, on the GPU.
            stream: Not the one of an earlier run that may still be going on, unless it waits for that.

        Raises:
            BackendError: TensorRT refuses.
        """
        context = self._context
        with self._explained("run it"):
            for name, address in addresses.items():
                self._agreed(context.set_tensor_address(name, address))
            self._agreed(context.execute_async_v3(stream))

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turn what TensorRT raises and says into one error."""
        self._messages.clear()
        try:
            yield
        except RuntimeError as error:
            reason = (self._messages or [str(error) or "TensorRT does not say why"])[-1].strip().splitlines()[0]
            raise BackendError(
                f"TensorRT could not {what}: {self._file.path.name}: {reason}; build it again: {self._file.rebuild()}"
            ) from error

    def _given(self, made: Any) -> Any:
        self._agreed(made is not None)
        return made

    def _agreed(self, agreed: bool) -> None:
        """TensorRT says no with False, None or an exception; from here on with the last."""
        if not agreed:
            raise RuntimeError

    def close(self) -> None:
        """Release everything, in TensorRT's order; closing twice is fine."""
        self._context = None
        self._engine = None
        self._runtime = None
        self._values.release()


def axis_names(contract: FrameContract, count: int) -> tuple[str, ...]:
    """What the axes of a tensor of frames are called."""
    return AXES.get((contract.io, count), tuple(f"axis{axis}" for axis in range(count)))


def _logger(trt: Any, messages: list[str]) -> Any:
    class Log(trt.ILogger):  # type: ignore[misc]
        """Remembers errors; may be called from several threads."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            logger.debug("%s", message)
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                messages.append(message)

    return Log()
