"""A narrow stand-in for TensorRT's builder: records calls and behaves as FAKE_TRT_MODE and FAKE_TRT_VERSION say."""

from __future__ import annotations

import enum
import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

__version__ = os.environ.get("FAKE_TRT_VERSION", "10.3.0")

CALLS: list[list[Any]] = []
#: what init_libnvinfer_plugins was called with
PLUGIN_NAMESPACES: list[str] = []


def record(*call: Any) -> None:
    CALLS.append(list(call))
    Path(os.environ["FAKE_TRT_RECORD"]).write_text(json.dumps(CALLS, default=str))


def mode() -> str:
    return os.environ.get("FAKE_TRT_MODE", "builds")


def init_libnvinfer_plugins(_logger: ILogger, namespace: str) -> bool:
    PLUGIN_NAMESPACES.append(namespace)
    return True


class Severity(enum.IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    VERBOSE = 4


class ILogger:
    Severity = Severity

    def log(self, severity: int, message: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    pass


class NetworkDefinitionCreationFlag(enum.IntEnum):
    #: renumbered in TensorRT 11 and in RTX
    STRONGLY_TYPED = 1 if __version__.startswith("10.") else 0


class ProfilingVerbosity(enum.IntEnum):
    DETAILED = 2


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class ComputeCapability(enum.Enum):
    NONE = 0
    SM86 = 86


class Tensor:
    name = "frames"


class Network:
    num_inputs = 1

    def get_input(self, _index: int) -> Tensor:
        return Tensor()


class Profile:
    def set_shape(self, name: str, least: Any, best: Any, most: Any) -> None:
        record("set_shape", name, least, best, most)


class TimingCache:
    def serialize(self) -> bytes:
        return b"timings"


class Config:
    profiling_verbosity: Any = None
    progress_monitor: Any = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "progress_monitor":
            record("set", name, value)
        object.__setattr__(self, name, value)

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        record("pool", pool.name, size)

    def set_compute_capability(self, capability: Any, index: int) -> None:
        record("capability", capability.name, index)

    def create_timing_cache(self, data: bytes) -> TimingCache:
        record("create_timing_cache", len(data))
        return TimingCache()

    def set_timing_cache(self, _cache: TimingCache, ignore_mismatch: bool) -> bool:
        record("set_timing_cache", ignore_mismatch)
        return mode() != "other-device"

    def get_timing_cache(self) -> TimingCache | None:
        return None if mode() == "other-device" else TimingCache()

    def add_optimization_profile(self, _profile: Profile) -> None:
        record("add_optimization_profile")


class Registry:
    """Finds creators of any library, but for FAKE_TRT_MODE ``no-creators``."""

    def load_library(self, path: str) -> None:
        record("load_library", Path(path).name)

    def get_creator(self, name: str, version: str, namespace: str) -> str | None:
        return None if mode() == "no-creators" else f"{namespace}::{name} {version}"


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def get_plugin_registry(self) -> Registry:
        return Registry()

    def create_network(self, flags: int) -> Network:
        record("create_network", flags)
        return Network()

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, _network: Network, config: Config) -> bytes | None:
        monitor = config.progress_monitor
        monitor.phase_start("Building", None, 2)
        monitor.step_complete("Building", 0)
        monitor.phase_finish("Building")
        if mode() == "waits":
            import time

            time.sleep(600)
        if mode() == "refuses":
            self._logger.log(Severity.ERROR, "no memory for [Conv]\nat all")
            return None
        if mode() == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        if mode() == "broken":
            raise OSError("libnvinfer.so.10: cannot open shared object file")
        self._logger.log(Severity.VERBOSE, "Total Activation Memory: 77 bytes")
        return b"plan"


class LayerInformationFormat(enum.Enum):
    JSON = 1


class Inspector:
    def get_engine_information(self, form: LayerInformationFormat) -> str:
        record("inspect", form.name)
        layer = {"Metadata": "[ONNX Layer: body.2/conv]", "Weights": {"Type": "Half"}}
        return json.dumps({"Layers": [layer]})


class Engine:
    def create_engine_inspector(self) -> Inspector:
        return Inspector()


class Runtime:
    """Loads plans, but for FAKE_TRT_MODE ``unloadable``."""

    def __init__(self, _logger: ILogger) -> None:
        pass

    def deserialize_cuda_engine(self, _plan: bytes) -> Engine | None:
        return None if mode() == "unloadable" else Engine()


class ParserError:
    def desc(self) -> str:
        return "no importer for Strange"

    def node_name(self) -> str:
        return "body.3/strange"

    def node_operator(self) -> str:
        return "Strange"


class OnnxParser:
    def __init__(self, _network: Network, logger: ILogger) -> None:
        self._logger = logger

    num_errors = 1

    def get_error(self, _index: int) -> ParserError:
        return ParserError()

    def parse_from_file(self, path: str) -> bool:
        record("parse", Path(path).name)
        if os.environ.get("FAKE_TRT_KEEP"):
            shutil.copyfile(path, os.environ["FAKE_TRT_KEEP"])
        self._logger.log(Severity.VERBOSE, "Parsing node: body.2/conv [Conv]")
        if mode() == "dies":
            os.abort()
        return mode() != "misparses" and (mode() != "needs-plugins" or bool(PLUGIN_NAMESPACES))
