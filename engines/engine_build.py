"""From an ONNX file to an engine with its manifest: found in the cache, or built, checked and kept there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..core.artifacts import OnnxFile
from ..core.caches import cache_folder
from ..core.engine_file import EngineFile
from ..core.errors import BackendError, MachineError, ModelFileError, StoppedError
from ..core.gpus import GpuFacts, probe_gpus
from ..core.manifest import EngineManifest, manifest_path
from ..core.optional import require
from ..core.outputs import check_output
from ..core.tensorrt_packages import library_version
from ..plugins.onnx_ops import inline_bodies, uses_plugins
from .build_config import BackendName, BuildConfig
from .build_process import BuiltPlan, OnEvent, build_plan
from .engine_cache import MOST_CACHED_BYTES, PLAN, EngineCache, file_sha256, place_beside
from .graph_sizes import sizes_at
from .memory_estimate import MemoryEstimate, estimate_memory
from .plugin_choice import graph_for_plugins, with_plugins
from .precision_label import PrecisionLabel, convolutions, label
from .shape_profile import check_batch, size_to_fix, sizes_of
from .sized_graph import fix_frame_size

#: levels that are tried one after the other within a time limit
LEVELS = (0, 1, 2, 3, 4, 5)
MEBIBYTE = 1 << 20
FREE_POOLS = (
    "local pools may take many times the memory that is estimated where frames may be smaller than their window, for "
    "the builder cannot tell how large their parts are: give larger smallest frames (--shapes) or one size (--size)"
)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a build comes from; kept in the manifest for messages.

    Attributes:
        model: What the user calls it; empty: the file's name.
        command: That builds it, without the place of the engine; empty: there was none.
    """

    model: str = ""
    command: str = ""


UNNAMED = Origin()


@dataclass(frozen=True, slots=True)
class EngineResult:
    """What a build gave.

    Attributes:
        engine: In its place.
        is_cached: Whether it was found.
        reason: Why it was found, or why it was not.
        label: What its convolutions compute in; None where it was found.
    """

    engine: EngineFile
    is_cached: bool
    reason: str
    label: PrecisionLabel | None


def engine_from_onnx(
    onnx_file: OnnxFile,
    config: BuildConfig,
    path: Path,
    *,
    origin: Origin = UNNAMED,
    force: bool = False,
    on_event: OnEvent = lambda _event: None,
    say: Say = lambda _line: None,
) -> EngineResult:
    """Build an engine, or find it in the cache, and put it with its manifest where it is wanted.

    Args:
        onnx_file: Typed; its precision is the engine's.
        config: Every choice.
        path: Of the engine; its manifest goes to ``<path>.json``, last.
        origin: What messages call it, and the command they give to build it again.
        force: Whether what lies there is replaced.
        on_event: Told every event of the builder.
        say: Told what happens, line by line.

    Raises:
        UsageError: Sizes do not fit the file.
        ModelFileError: The parser does not take the file; names the node.
        QualityError: Layers compute in more bits than the file says, and ``allow_mixed`` is off.
        MachineError: The builder is missing, refuses or dies, or the memory does not suffice.
        OutputError: Something is there already, the folder is missing, or the disk is full.
    """
    for place in (path, manifest_path(path)):
        check_output(place, force=force)
    work = _Build(onnx_file, config, origin.model or str(onnx_file.path), on_event, say)
    return work.into(path, origin.command)


class _Build:
    """One build; see ``engine_from_onnx``."""

    def __init__(self, onnx_file: OnnxFile, config: BuildConfig, model: str, on_event: OnEvent, say: Say) -> None:
        self._file, self._on_event, self._say = onnx_file, on_event, say
        self._gpus = probe_gpus() if config.backend == "tensorrt" or config.memory_mib is None else GpuFacts()
        self._config = with_plugins(onnx_file, config, builder_version(config.backend), self._gpus, say)
        self._wanted = identify(onnx_file, self._config, model, self._gpus)
        self._cache = EngineCache(cache_folder("engines"))

    def into(self, path: Path, command: str) -> EngineResult:
        found = self._cache.find(self._wanted)
        built, reason = None, "everything that decides it is the same"
        if found is None:
            with self._cache.lock(self._wanted):
                found = self._cache.find(self._wanted)
                if found is None:
                    reason = self._cache.why_missed(self._wanted)
                    self._say(f"not in the cache: {reason}")
                    built, found = self._built()
        # the same engine may have been built from a file of another name
        found = replace(found, manifest=replace(found.manifest, model=self._wanted.model, command=command))
        place_beside(found, path)
        return EngineResult(EngineFile(path, found.manifest), built is None, reason, built)

    def _built(self) -> tuple[PrecisionLabel, Any]:
        model = self._model()
        check_batch(self._file.path.name, model, self._wanted.shapes[1], self._config.batch_max)
        estimate = self._estimated(model)
        with self._cache.building() as folder:
            built = self._build(folder / PLAN)
            shapes = sizes_at(model, self._wanted.shapes[1]).shapes if estimate else {}
            found = label(built.log.layers, convolutions(model, shapes), built.inspected)
            if not self._config.allow_mixed:
                found.check()
            manifest = replace(
                self._wanted,
                precision=dict(found.shares),
                activation_bytes=built.log.activation_bytes,
                weight_bytes=built.log.weight_bytes,
                estimated_bytes=estimate.activation_bytes if estimate else None,
                build_seconds=built.seconds,
                plan_sha256=file_sha256(built.path),
                plan_bytes=built.path.stat().st_size,
            )
            added = self._cache.add(folder, manifest)
        self._cache.prune(MOST_CACHED_BYTES, keep=added)
        return found, added

    def _model(self) -> Any:
        """The graph as the builder sees it: with bodies in place, but for operators a plugin takes."""
        onnx = require("onnx", purpose="build an engine")
        model = onnx.load(str(self._file.path))
        size = size_to_fix(self._file, self._config)
        if size is not None:
            with suppress(ModelFileError):  # a graph only the builder can read stays as it is
                model = fix_frame_size(model, size)
        if self._config.plugins:
            return graph_for_plugins(model)
        ours = uses_plugins(model)
        if "LocalAvgPool" in ours and self._wanted.shapes[0] != self._wanted.shapes[2]:
            self._say(FREE_POOLS)
        return inline_bodies(model) if ours else model

    def _estimated(self, model: Any) -> MemoryEstimate | None:
        """The memory, checked against what is there; None for a graph only the builder can read."""
        try:
            estimate = estimate_memory(model, self._wanted.shapes[2], self._config.batch_max)
        except ModelFileError as error:
            self._say(f"memory is not estimated: {error}")
            return None
        self._check_memory(estimate)
        return estimate

    def _check_memory(self, estimate: MemoryEstimate) -> None:
        (tall, wide), count = self._wanted.shapes[2], self._config.batch_max
        fewer = ", for fewer at once (--batch)" if count > 1 else ""
        needed = (estimate.activation_bytes + estimate.weight_bytes) / MEBIBYTE
        free = self._config.memory_mib
        if free is None and self._gpus.gpus:
            free = self._gpus.gpus[0].memory_free_mib
        self._say(
            f"memory on the device, estimated: {needed:,.0f} MiB, of which "
            f"{estimate.activation_bytes / MEBIBYTE:,.0f} for values at {tall}x{wide}"
            + (f", {count} frames at once" if count > 1 else "")
        )
        if free is not None and needed > free:
            raise MachineError(
                f"the engine needs about {needed:,.0f} MiB on the device, {free:,} MiB are free; build it for smaller "
                f"frames and cut larger ones (run --tile){fewer}, in fp16, or give --memory MiB if the figure is wrong"
            )

    def _build(self, plan: Path) -> BuiltPlan:
        """Build once, or within a time limit at level after level, the last one that was ready in time."""
        limit = self._config.time_limit_s
        if limit is None:
            return build_plan(self._file, self._config, plan, on_event=self._on_event)
        deadline = time.monotonic() + limit
        best: BuiltPlan | None = None
        for level in self._levels():
            attempt = replace(self._config, optimization_level=level)
            try:
                best = build_plan(self._file, attempt, plan, force=True, on_event=self._on_event, deadline=deadline)
            except StoppedError:
                break
            self._say(f"level {level} took {best.seconds:.1f} s")
        if best is None:
            raise BackendError(f"no build was ready within {limit:g} s; give a longer --time-limit")
        return best

    def _levels(self) -> Iterator[int]:
        last = self._config.optimization_level
        return iter(level for level in LEVELS if last is None or level <= last)


def identify(onnx_file: OnnxFile, config: BuildConfig, model: str, gpus: GpuFacts) -> EngineManifest:
    """Say everything that decides what an engine is, before it is built.

    Engines of TensorRT-RTX are made without looking at this machine's GPU, which is therefore left out.

    Raises:
        UsageError: Sizes do not fit the file.
        ModelFileError: The file does not say what it needs of frames.
        MachineError: The builder is not installed, or TensorRT finds no GPU.
    """
    if onnx_file.contract is None:
        raise ModelFileError(f"{onnx_file.path.name} does not say what it needs of frames; export it with deblurrt")
    manifest = EngineManifest(
        model=model,
        contract=onnx_file.contract,
        onnx_sha256=onnx_file.sha256(),
        backend=config.backend,
        tensorrt=builder_version(config.backend),
        plugins={path.name: file_sha256(path) for path in config.plugins},
        calibration=str(onnx_file.provenance.get("calibration_sha256", "")),
        shapes=sizes_of(onnx_file, config),
        batch_max=config.batch_max,
        targets=config.targets,
        options=_options(config),
        provenance=onnx_file.provenance,
    )
    if config.backend == "tensorrt-rtx":
        return manifest
    if not gpus.gpus:
        raise MachineError(
            "tensorrt builds on the GPU the engine is for, and none was found here; run it there, or take "
            "--backend tensorrt-rtx, which needs none"
        )
    gpu = gpus.gpus[0]
    return replace(
        manifest, cuda=gpus.cuda, driver=gpus.driver, gpu=gpu.name, compute_capability=gpu.compute_capability
    )


def _options(config: BuildConfig) -> dict[str, Any]:
    """Choices that are no field of their own and change the engine."""
    names = ("workspace_mib", "optimization_level", "time_limit_s", "allow_mixed")
    return {name: value for name, value in asdict(config).items() if name in names and value not in (None, False)}


def builder_version(backend: BackendName) -> str:
    """Version of the builder.

    Raises:
        MissingExtraError: It is not installed.
    """
    return library_version(backend, "build an engine")
