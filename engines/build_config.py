"""Every choice of an engine build."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ..core import tensorrt_packages
from ..core.errors import UsageError

BackendName: TypeAlias = tensorrt_packages.BackendName

#: Python module behind each backend
MODULES = tensorrt_packages.MODULES
#: compute capabilities as users write them: sm86
TARGET = re.compile(r"sm\d{2,3}")
MOST_LEVEL = 5
#: frames at once that networks are exported for
MOST_BATCH = 64
#: a week
LONGEST_S = 7 * 24 * 3600.0
#: more than any device has
MOST_MIB = 1 << 24

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Shapes:
    """The sizes of frames an engine takes, height and width in pixels.

    Attributes:
        least: Smallest.
        best: What it is made fast for.
        most: Largest; decides the memory.

    Raises:
        UsageError: They are not in order.
    """

    least: Size
    best: Size
    most: Size

    def __post_init__(self) -> None:
        for small, middle, large in zip(self.least, self.best, self.most, strict=True):
            if not 1 <= small <= middle <= large:
                raise UsageError(f"the shapes are {self.describe()}, expected MIN/OPT/MAX in rising order from 1x1")

    def describe(self) -> str:
        """As users write it: ``64x64/720x1280/1088x1920``."""
        return "/".join(f"{height}x{width}" for height, width in (self.least, self.best, self.most))


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """How an ONNX file becomes an engine.

    Attributes:
        backend: Whose builder.
        shapes: Sizes of frames the engine takes; None where the file fixes one.
        batch_max: Most frames the engine takes at once, and is made fast for; it takes fewer as well.
        targets: Compute capabilities such as ``sm86``, in one engine; none: this machine's, or what the builder
            takes for portable (TensorRT-RTX).
        workspace_mib: Most memory a single layer may use for its work; None: what the builder takes.
        optimization_level: 0 to 5, how long the builder looks; None: its own.
        timing_cache: Measurements of earlier builds, read and written; TensorRT only.
        time_limit_s: Build at level 0 first and then at higher ones, and keep the last that was ready; None: once.
        memory_mib: Memory of the device; None: what is free on this machine's GPU.
        allow_mixed: Whether layers may compute in more bits than the file says.
        plugins: Libraries with kernels for our operators.

    Raises:
        UsageError: A value is impossible, or the choices contradict each other.
    """

    backend: BackendName = "tensorrt-rtx"
    shapes: Shapes | None = None
    batch_max: int = 1
    targets: tuple[str, ...] = ()
    workspace_mib: int | None = None
    optimization_level: int | None = None
    timing_cache: Path | None = None
    time_limit_s: float | None = None
    memory_mib: int | None = None
    allow_mixed: bool = False
    plugins: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if self.backend not in MODULES:
            raise UsageError(f"backend is {self.backend!r}, expected one of {', '.join(MODULES)}")
        for target in self.targets:
            if TARGET.fullmatch(target) is None:
                raise UsageError(f"target {target!r} is no compute capability, expected such as sm86 or sm120")
        self._check_backend()
        if not 1 <= self.batch_max <= MOST_BATCH:
            raise UsageError(f"the batch is {self.batch_max} frames, expected 1 to {MOST_BATCH}")
        for name, value in (("workspace", self.workspace_mib), ("memory", self.memory_mib)):
            if value is not None and not 1 <= value <= MOST_MIB:
                raise UsageError(f"the {name} is {value} MiB, expected 1 to {MOST_MIB}")
        if self.time_limit_s is not None and not 0 < self.time_limit_s <= LONGEST_S:
            raise UsageError(f"the time limit is {self.time_limit_s:g} s, expected more than 0 and at most a week")
        if self.optimization_level is not None and not 0 <= self.optimization_level <= MOST_LEVEL:
            raise UsageError(f"the optimization level is {self.optimization_level}, expected 0 to {MOST_LEVEL}")

    def _check_backend(self) -> None:
        """Refuse what only the other builder knows."""
        if self.backend == "tensorrt":
            if self.targets:
                raise UsageError("tensorrt builds for the GPU it runs on; --targets goes with tensorrt-rtx")
            return
        if self.timing_cache is not None:
            raise UsageError("TensorRT-RTX measures nothing when it builds; leave --timing-cache out")
        if self.plugins:
            raise UsageError("TensorRT-RTX has no plugins; it takes the bodies of our operators, leave --plugins out")
