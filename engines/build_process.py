"""Builds in a subprocess: progress on the way, a clear error where the builder refuses or dies."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from ..core.artifacts import OnnxFile, read_header
from ..core.errors import (
    BackendError,
    DeblurrtError,
    MachineError,
    MissingExtraError,
    ModelFileError,
    StoppedError,
    UsageError,
)
from ..core.module_paths import module_of
from ..core.outputs import check_output, output_error, part_of
from .build_config import MODULES, BuildConfig
from .build_log import BuildLog, read_log
from .build_worker import LAYERS, Request
from .engine_inspector import types_of_nodes
from .plugin_choice import file_for_builder
from .shape_profile import profile_of

logger = logging.getLogger(__name__)

#: lines of stderr that are kept for the message of a process that died
KEPT_LINES = 5
#: stage at which a build failed -> kind of the error and its text
REFUSALS: dict[str, tuple[type[DeblurrtError], str]] = {
    "targets": (UsageError, "{reason}"),
    "missing": (MissingExtraError, "{reason}"),
    "library": (MachineError, "the builder's library does not load ({reason}); deblurrt doctor says what is missing"),
    "plugins": (MachineError, "{name} is built with plugins, and {reason}"),
}


OnEvent = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class BuiltPlan:
    """A plan that was built.

    Attributes:
        path: Where it lies.
        seconds: How long the builder worked.
        version: Of TensorRT.
        log: Layers and memory.
        inspected: Node -> what it computes in, where the builder's library could inspect the plan.
    """

    path: Path
    seconds: float
    version: str
    log: BuildLog
    inspected: Mapping[str, str] = field(default_factory=dict)


def build_plan(
    onnx_file: OnnxFile,
    config: BuildConfig,
    path: Path,
    *,
    force: bool = False,
    on_event: OnEvent = lambda _event: None,
    deadline: float | None = None,
) -> BuiltPlan:
    """Build a plan in a subprocess and rename it when it is whole.

    Args:
        onnx_file: Typed; its precision is the engine's.
        config: Shapes, targets and limits.
        path: Where the plan goes.
        force: Whether an existing file is replaced.
        on_event: Told every event of the builder; see ``build_worker``.
        deadline: On ``time.monotonic``'s clock; the builder is stopped then.

    Raises:
        StoppedError: The deadline came first.
        UsageError: Sizes do not fit the file.
        ModelFileError: The parser does not take the file; names the node.
        MissingExtraError: The builder is not installed.
        BackendError: The builder refuses, or dies; names the last node.
        OutputError: The file exists and ``force`` is off, or the folder is missing.
    """
    check_output(path, force=force)
    part = part_of(path)
    with tempfile.TemporaryDirectory(prefix="deblurrt-build-") as folder:
        log = Path(folder) / "build.log"
        log.touch()
        request = _request(onnx_file, config, part, log)
        try:
            last = _run(request, on_event, log, deadline)
            with log.open(errors="replace") as lines:
                found = read_log(lines)
            inspected = log.with_suffix(LAYERS).read_text(errors="replace") if last.get("inspected") else ""
            if last.get("event") != "built":
                raise _refusal(onnx_file, last, found, path)
            if last.get("remark"):
                logger.warning("%s", last["remark"])
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    return BuiltPlan(path, last["seconds"], last["version"], found, types_of_nodes(inspected))


def _request(onnx_file: OnnxFile, config: BuildConfig, plan: Path, log: Path) -> Request:
    return Request(
        module=MODULES[config.backend],
        onnx=str(file_for_builder(onnx_file, config, log.parent)),
        plan=str(plan),
        log=str(log),
        profile=profile_of(onnx_file, config),
        targets=list(config.targets),
        workspace_mib=config.workspace_mib,
        optimization_level=config.optimization_level,
        timing_cache=str(config.timing_cache or ""),
        plugins=[str(library) for library in config.plugins],
        inspect=config.backend == "tensorrt",
    )


def _run(request: Request, on_event: OnEvent, log: Path, deadline: float | None) -> dict[str, Any]:
    """Start the worker and follow it; gives its last event."""
    last: dict[str, Any] = {}
    with _worker(log) as (process, tell, told), _stopped_at(deadline, process) as is_stopped:
        tell.write(json.dumps(asdict(request)))
        tell.close()
        for line in told:
            last = json.loads(line)
            on_event(last)
        code = process.wait()
        if is_stopped.is_set():
            raise StoppedError("the builder was stopped at its deadline")
    if last.get("event") not in ("built", "failed"):
        return {"event": "died", "code": code, "said": _tail(log.with_suffix(".stderr"))}
    return last


@contextmanager
def _stopped_at(deadline: float | None, process: subprocess.Popen[str]) -> Iterator[threading.Event]:
    """End the worker at a deadline; the event tells whether that happened."""
    is_stopped = threading.Event()
    if deadline is None:
        yield is_stopped
        return

    def stop() -> None:
        is_stopped.set()
        process.kill()

    timer = threading.Timer(max(deadline - time.monotonic(), 0.0), stop)
    timer.start()
    try:
        yield is_stopped
    finally:
        timer.cancel()
        timer.join()


@contextmanager
def _worker(log: Path) -> Iterator[tuple[subprocess.Popen[str], IO[str], IO[str]]]:
    """The worker process with its stdin and stdout; ended with whatever ends this block."""
    command = [sys.executable, "-m", f"{__package__}.build_worker"]
    with log.with_suffix(".stderr").open("wb") as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            # an interrupt is for this process, which then ends the worker
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process, process.stdin, process.stdout
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def _tail(path: Path) -> list[str]:
    with path.open(errors="replace") as file:
        return [line.strip() for line in deque(file, KEPT_LINES) if line.strip()]


def _refusal(onnx_file: OnnxFile, last: dict[str, Any], found: BuildLog, path: Path) -> DeblurrtError:
    name = onnx_file.path.name
    if last["event"] == "died":
        return _death(name, last, found)
    reason = " ".join(str(last.get("reason", "")).split())
    stage = last.get("stage")
    if stage == "disk":
        return output_error(path, OSError(last["errno"], reason))
    if stage == "parse":
        return _misparsed(onnx_file, last, reason)
    kind, text = REFUSALS.get(str(stage), (BackendError, "{name} cannot be built: {reason}"))
    return kind(text.format(name=name, reason=reason))


def _death(name: str, last: dict[str, Any], found: BuildLog) -> BackendError:
    said = last["said"][-1] if last["said"] else f"exit code {last['code']}"
    node, operator = found.last_node or ("", "")
    where = f"after node {node!r} ({operator})" if node else "before the first node"
    return BackendError(f"the builder's process died {where} of {name} ({said}); report the file to its maker")


def _misparsed(onnx_file: OnnxFile, last: dict[str, Any], reason: str) -> ModelFileError:
    where = f" at node {last['node']!r} ({last['operator']})" if last.get("node") else ""
    module = _module(onnx_file, last.get("node", ""))
    where += f" of module {module}" if module else ""
    return ModelFileError(
        f"{onnx_file.path.name} cannot be parsed{where}: {reason}; export the network with operators the builder knows"
    )


def _module(onnx_file: OnnxFile, name: str) -> str:
    """Path of the module that a node comes from; empty where the file does not say."""
    nodes = read_header(onnx_file.path).graph.node if name else ()
    return next((module_of(node) for node in nodes if node.name == name), "")
