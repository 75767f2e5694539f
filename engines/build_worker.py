"""A build in a process of its own, for the builder may end its process: ``python -m deblurrt.engines.build_worker``.

Takes a request as JSON on stdin; writes one event as JSON per line to stdout, every message of the builder to the
log file, and the plan to its place. The last event is ``built`` or ``failed``.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..core.errors import MissingExtraError
from ..core.optional import require
from ..core.outputs import part_of
from ..plugins.ops import PLUGINS
from ..plugins.plugin_op import DOMAIN, PLUGIN_VERSION

MEBIBYTE = 1 << 20
#: what the engine inspector said lies beside the log, with this suffix
LAYERS = ".layers"
#: of Linux's prctl
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Request:
    """What is built.

    Attributes:
        module: ``tensorrt`` or ``tensorrt_rtx``.
        onnx: The model.
        plan: Where the plan goes; replaced.
        log: Where the builder's messages go.
        profile: Per input the smallest, typical and largest shape; empty where shapes are fixed.
        targets: Such as ``sm86``.
        workspace_mib: None: the builder's own.
        optimization_level: None: the builder's own.
        timing_cache: Empty: none.
        plugins: Libraries with our operators.
        inspect: Whether the plan is loaded once more, to say what its layers compute in.
    """

    module: str
    onnx: str
    plan: str
    log: str
    profile: dict[str, list[list[int]]]
    targets: list[str]
    workspace_mib: int | None
    optimization_level: int | None
    timing_cache: str
    plugins: list[str]
    inspect: bool


class RefusedError(Exception):
    """The parser or the builder refused; carries the event that says so."""

    def __init__(self, **event: Any) -> None:
        super().__init__(event)
        self.event = event


class Worker:
    """One build.

    Args:
        request: What is built.
        events: Where events go, line by line.
    """

    def __init__(self, request: Request, events: IO[str]) -> None:
        self._request, self._events = request, events
        self._trt: Any = require(request.module, purpose="build an engine")
        self._errors: list[str] = []
        # TensorRT logs and reports progress from several threads and leaves the locking to its callers
        self._lock = threading.Lock()

    def run(self) -> None:
        """Parse, build and write the plan.

        Raises:
            RefusedError: With the reason and, where it is known, the node.
        """
        trt, request = self._trt, self._request
        with Path(request.log).open("w", buffering=1) as log:
            logger = _logger(trt, log, self._errors, self._lock)
            # the parser imports DeformConv and others onto plugins of the vendor, and does not register them itself
            trt.init_libnvinfer_plugins(logger, "")
            builder = trt.Builder(logger)
            self._load_plugins(builder)
            network = builder.create_network(_network_flags(trt))
            parser = trt.OnnxParser(network, logger)
            self.tell(event="parsing")
            if not parser.parse_from_file(request.onnx):
                raise RefusedError(**self._parser_error(parser))
            config = self._config(builder, network)
            self.tell(event="building")
            started = time.perf_counter()
            plan = builder.build_serialized_network(network, config)
            if plan is None:
                raise RefusedError(stage="build", reason=self._last_error())
            seconds = time.perf_counter() - started
            with Path(request.plan).open("wb") as file:
                file.write(plan)
            told = {"remark": self._keep_timings(config), "inspected": self._inspect(logger, plan)}
        self.tell(event="built", seconds=seconds, version=trt.__version__, **told)

    def tell(self, **event: Any) -> None:
        """Send an event."""
        with self._lock:
            self._events.write(json.dumps(event) + "\n")
            self._events.flush()

    def _load_plugins(self, builder: Any) -> None:
        registry = builder.get_plugin_registry()
        for path in self._request.plugins:
            registry.load_library(path)
            # the handle is empty also where it worked
            missing = [name for name in PLUGINS if registry.get_creator(name, PLUGIN_VERSION, DOMAIN) is None]
            if missing:
                said = f" ({self._errors[-1]})" if self._errors else ""
                raise RefusedError(stage="plugins", reason=f"{path} has no {' nor '.join(missing)}{said}")

    def _config(self, builder: Any, network: Any) -> Any:
        trt, request = self._trt, self._request
        config = builder.create_builder_config()
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        config.progress_monitor = _monitor(trt, self)
        if request.workspace_mib is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_mib * MEBIBYTE)
        if request.optimization_level is not None:
            config.builder_optimization_level = request.optimization_level
        if request.targets:
            config.num_compute_capabilities = len(request.targets)
            for index, target in enumerate(request.targets):
                config.set_compute_capability(self._capability(target), index)
        if request.timing_cache:
            self._attach_timings(config, Path(request.timing_cache))
        self._add_profile(builder, network, config)
        return config

    def _capability(self, target: str) -> Any:
        known = self._trt.ComputeCapability.__members__
        if target.upper() not in known:
            names = ", ".join(name.lower() for name in known if name.startswith("SM"))
            raise RefusedError(
                stage="targets", reason=f"{target} is not among what {self._request.module} builds: {names}"
            )
        return known[target.upper()]

    def _add_profile(self, builder: Any, network: Any, config: Any) -> None:
        if not self._request.profile:
            return
        profile = builder.create_optimization_profile()
        for index in range(network.num_inputs):
            name = network.get_input(index).name
            profile.set_shape(name, *map(tuple, self._request.profile[name]))
        config.add_optimization_profile(profile)

    def _attach_timings(self, config: Any, path: Path) -> None:
        timings = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
        if timings is None or not config.set_timing_cache(timings, False):
            raise RefusedError(
                stage="build", reason=f"the timings in {path.name} are of another GPU or TensorRT; name another file"
            )

    def _keep_timings(self, config: Any) -> str:
        """Write the measurements; a plan that is ready is not given up for them, what went wrong is said."""
        if self._request.timing_cache:
            place = Path(self._request.timing_cache)
            try:
                part_of(place).write_bytes(bytes(config.get_timing_cache().serialize()))
                part_of(place).replace(place)
            except OSError as refusal:
                part_of(place).unlink(missing_ok=True)
                return f"the timings are not kept: {place} cannot be written ({refusal.strerror})"
        return ""

    def _inspect(self, logger: Any, plan: Any) -> bool:
        """Write what the engine inspector says of the layers; it needs the GPU, which RTX builds without."""
        if not self._request.inspect:
            return False
        trt = self._trt
        engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
        if engine is None:
            return False
        text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
        Path(self._request.log).with_suffix(LAYERS).write_text(text)
        return True

    def _parser_error(self, parser: Any) -> dict[str, Any]:
        if not parser.num_errors:
            return {"stage": "parse", "reason": self._last_error()}
        error = parser.get_error(0)
        return {
            "stage": "parse",
            "reason": error.desc(),
            # parser errors of TensorRT before 10.0 know neither
            "node": getattr(error, "node_name", str)() or "",
            "operator": getattr(error, "node_operator", str)() or "",
        }

    def _last_error(self) -> str:
        return self._errors[-1] if self._errors else "the builder gave no reason"


def _network_flags(trt: Any) -> int:
    """Strongly typed always; TensorRT 11 and RTX know nothing else and accept the flag.

    Its number is 1 in TensorRT 10 and 0 since 11 and in RTX, where the old number is refused or means something else.
    """
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def _logger(trt: Any, log: IO[str], errors: list[str], lock: threading.Lock) -> Any:
    class Log(trt.ILogger):  # type: ignore[misc]
        """Keeps every message, and remembers errors."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            with lock:
                log.write(f"{message}\n")
                if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                    errors.append(message)

    return Log()


def _monitor(trt: Any, worker: Worker) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Passes on what the builder is at."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            worker.tell(event="phase", phase=phase_name, parent=parent_phase, steps=num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            worker.tell(event="step", phase=phase_name, step=step)
            return True

        def phase_finish(self, phase_name: str) -> None:
            worker.tell(event="finished", phase=phase_name)

    return Monitor()


def _end_with_parent() -> None:
    """Have Linux end this process with the one that waits for it, which may be killed; a build can take long."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> int:
    """Build what stdin asks for; 0 when the plan is written, 1 when it was refused."""
    _end_with_parent()
    # the builder's libraries write to stdout themselves; events must not mix with that
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        Worker(Request(**json.load(sys.stdin)), events).run()
    except RefusedError as refusal:
        failure = refusal.event
    except MissingExtraError as missing:
        failure = {"stage": "missing", "reason": str(missing)}
    except (ImportError, OSError) as trouble:
        # what the system refuses has a number, what the loader of libraries refuses has none
        number = trouble.errno if isinstance(trouble, OSError) else None
        failure = {"stage": "library" if number is None else "disk", "reason": str(trouble), "errno": number}
    else:
        return 0
    events.write(json.dumps({"event": "failed", **failure}) + "\n")
    events.flush()
    return 1


if __name__ == "__main__":
    sys.exit(main())
