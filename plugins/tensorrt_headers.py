"""Where TensorRT's C++ headers lie, and of which version they are; no package for Python brings them."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import MachineError

HEADER = "NvInferRuntime.h"
VERSION_HEADER = "NvInferVersion.h"
#: the plugins' interface (IPluginV3) is older, 10.3 is the oldest it was compiled for
OLDEST = (10, 3)
ROOT_VARIABLE = "TENSORRT_ROOT"
#: where Debian's packages, JetPack's and containers' among them, put headers
SYSTEM = Path("/usr/include")
PLACES = (Path("/usr/local/tensorrt"), Path("/opt/tensorrt"))
REMEDY = (
    "install them: sudo apt install libnvinfer-headers-dev (JetPack, and wherever NVIDIA's packages are set up); or "
    "unpack TensorRT's tar file, or the public repository NVIDIA/TensorRT at the tag of your version, and name that "
    f"folder: --tensorrt-root DIR or {ROOT_VARIABLE}=DIR (packages for pip bring no headers)"
)
DEFINITION = re.compile(r"^\s*#define\s+(\w+)\s+(\w+)", re.M)


@dataclass(frozen=True, slots=True)
class TensorrtHeaders:
    """TensorRT's headers.

    Attributes:
        folder: That holds ``NvInferRuntime.h``.
        version: Major and minor, ``(10, 3)``.
    """

    folder: Path
    version: tuple[int, int]

    def describe(self) -> str:
        """Such as ``TensorRT 10.3 (/usr/include/aarch64-linux-gnu)``."""
        return f"TensorRT {self.version[0]}.{self.version[1]} ({self.folder})"


def find_headers(root: Path | None = None) -> TensorrtHeaders:
    """Find TensorRT's headers: under ``root``, else under ``TENSORRT_ROOT``, else where packages put them.

    Raises:
        MachineError: There are none, or they are of a version without our plugins; with the remedy.
    """
    named = str(root or "") or os.environ.get(ROOT_VARIABLE, "")
    folders = list(_below(Path(named)) if named else _usual())
    found = next((folder for folder in folders if (folder / HEADER).is_file()), None)
    if found is None:
        where = f"under {named}" if named else f"in {', '.join(map(str, (SYSTEM, *PLACES)))}"
        raise MachineError(f"TensorRT's headers ({HEADER}) are not {where}; {REMEDY}")
    version = header_version(found)
    if version < OLDEST:
        told = ".".join(map(str, version))
        raise MachineError(
            f"the headers in {found} are of version {told}, plugins need TensorRT {OLDEST[0]}.{OLDEST[1]} or later "
            "(TensorRT-RTX, whose versions begin with 1, takes none and needs none)"
        )
    return TensorrtHeaders(found, version)


def header_version(folder: Path) -> tuple[int, int]:
    """Read major and minor from ``NvInferVersion.h``.

    Raises:
        MachineError: It is missing or says neither.
    """
    path = folder / VERSION_HEADER
    text = path.read_text(errors="replace") if path.is_file() else ""
    definitions: dict[str, str] = dict(DEFINITION.findall(text))
    numbers = []
    for name in ("NV_TENSORRT_MAJOR", "NV_TENSORRT_MINOR"):
        value = definitions.get(name, "")
        # since 11 these are other names for other definitions
        value = definitions.get(value, value)
        if not value.isdecimal():
            raise MachineError(f"{path} does not say its version ({name}); {REMEDY}")
        numbers.append(int(value))
    return numbers[0], numbers[1]


def _usual() -> Iterator[Path]:
    yield SYSTEM / _triplet()
    yield SYSTEM
    for place in PLACES:
        yield from _below(place)


def _below(root: Path) -> Iterator[Path]:
    """Where headers lie in a tar file, a checkout of the public repository, or a system's folder."""
    yield from (root / "include", root, root / "include" / _triplet(), root / "targets" / _triplet() / "include")


def _triplet() -> str:
    return f"{platform.machine()}-linux-gnu"
