"""A stand-in for TensorRT's runtime: an engine that turns every byte into its negative, on streams of ``FakeCuda``."""

from __future__ import annotations

import enum
from types import ModuleType
from typing import Any

import numpy as np

from tests.runtime.fake_cuda import FakeCuda

PLAN = b"a plan"
#: bytes of values per pixel
VALUES = 4

LEAST, BEST, MOST = (1, 2, 2, 3), (1, 4, 6, 3), (1, 16, 16, 3)


class Severity(enum.IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    VERBOSE = 4


class ILogger:
    Severity = Severity

    def log(self, severity: int, message: str) -> None:
        raise NotImplementedError


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class DataType(enum.Enum):
    UINT8 = 5
    FP8 = 6


class ExecutionContextAllocationStrategy(enum.Enum):
    USER_MANAGED = 2


class CudaGraphStrategy(enum.Enum):
    WHOLE_GRAPH_CAPTURE = 1


class FakeTensorRt:
    """What an engine does, and what happened.

    Attributes:
        refuses: Names of methods that say no, with None or False.
        says: What the log says then.
        profile: Smallest, typical and largest shape.
        captures: Whether a run may be captured into a graph.
        knows_sizes: Whether it says how much memory a shape needs.
    """

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda
        self.refuses: set[str] = set()
        self.says = "the reason\nat length"
        self.profile = (LEAST, BEST, MOST)
        self.dtype = DataType.UINT8
        self.captures = True
        self.knows_sizes = True
        self.calls: list[tuple[Any, ...]] = []
        self.logger: Any = None

    def told(self, *call: Any) -> bool:
        """Keep a call; whether it is agreed to."""
        self.calls.append(call)
        if call[0] not in self.refuses:
            return True
        self.logger.log(Severity.ERROR, self.says)
        return False


def fake_tensorrt(  # noqa: C901 - many small methods around one state
    state: FakeTensorRt, *, version: str = "10.3.0", is_rtx: bool = False
) -> ModuleType:
    """Make the module ``tensorrt`` or ``tensorrt_rtx``."""

    class Runtime:
        def __init__(self, logger: ILogger) -> None:
            state.logger = logger

        def deserialize_cuda_engine(self, plan: bytes) -> ICudaEngine | None:
            assert plan == PLAN
            return ICudaEngine() if state.told("deserialize_cuda_engine") else None

        def get_plugin_registry(self) -> IPluginRegistry:
            return IPluginRegistry()

    class IPluginRegistry:
        def load_library(self, path: str) -> object | None:
            state.told("load_library", path)
            return None  # whether it worked or not, as the lean runtime of 11.4 does

        def get_creator(self, name: str, version: str, namespace: str) -> object | None:
            return object() if state.told("get_creator", f"{namespace}::{name} {version}") else None

    class IRuntimeConfig:
        cuda_graph_strategy: Any = None

        def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
            state.told("set_execution_context_allocation_strategy", strategy)

    class ICudaEngine:
        num_io_tensors = 2
        device_memory_size_v2 = int(np.prod(MOST)) * VALUES

        def get_tensor_name(self, index: int) -> str:
            return ("frames", "restored")[index]

        def get_tensor_mode(self, name: str) -> TensorIOMode:
            return TensorIOMode.INPUT if name == "frames" else TensorIOMode.OUTPUT

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return (-1, -1, -1, 3)

        def get_tensor_dtype(self, name: str) -> DataType:
            return state.dtype

        def get_tensor_profile_shape(self, name: str, profile: int) -> tuple[tuple[int, ...], ...]:
            assert (name, profile) == ("frames", 0)
            return state.profile

        def create_runtime_config(self) -> IRuntimeConfig:
            return IRuntimeConfig()

        def create_execution_context(self, how: Any) -> IExecutionContext | None:
            return IExecutionContext() if state.told("create_execution_context", how) else None

    class IExecutionContext:
        def __init__(self) -> None:
            self._shape: tuple[int, ...] = ()
            self._addresses: dict[str, int] = {}
            self._values = 0, 0

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            self._shape = shape
            return state.told("set_input_shape", name, shape)

        def infer_shapes(self) -> list[str]:
            return [] if state.told("infer_shapes") else ["frames"]

        def update_device_memory_size_for_shapes(self) -> int:
            return int(np.prod(self._shape)) * VALUES if state.knows_sizes else 0

        def set_device_memory(self, address: int, size: int) -> None:
            state.told("set_device_memory", size)
            self._values = address, size

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return self._shape

        def set_tensor_address(self, name: str, address: int) -> bool:
            self._addresses[name] = address
            return state.told("set_tensor_address", name)

        def execute_async_v3(self, stream: int) -> bool:
            if not state.told("execute_async_v3", stream) or (state.cuda.capturing and not state.captures):
                state.logger.log(Severity.ERROR, state.says)
                return False
            source, target, size = self._addresses["frames"], self._addresses["restored"], int(np.prod(self._shape))
            values, needed = self._values, size * VALUES

            def negative() -> None:
                assert values[1] >= needed
                state.cuda.array(*values)[0] = 1
                frames = np.frombuffer(memoryview(state.cuda.array(source, size)), np.uint8)
                np.frombuffer(memoryview(state.cuda.array(target, size)), np.uint8)[:] = 255 - frames

            state.cuda.put(stream, "compute", negative)
            return True

    def init_libnvinfer_plugins(logger: ILogger, namespace: str) -> bool:
        return True

    kinds = (ILogger, TensorIOMode, DataType, ExecutionContextAllocationStrategy)
    made = (Runtime, IPluginRegistry, IRuntimeConfig, ICudaEngine, IExecutionContext)
    module: Any = ModuleType("tensorrt_rtx" if is_rtx else "tensorrt")
    for kind in (*kinds, *made, *([CudaGraphStrategy] if is_rtx else [])):
        setattr(module, kind.__name__, kind)
    module.init_libnvinfer_plugins, module.__version__ = init_libnvinfer_plugins, version
    returned: ModuleType = module
    return returned
