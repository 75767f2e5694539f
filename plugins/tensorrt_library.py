"""The library of our plugins for TensorRT: compiled once per set of sources, version and GPU, found by its hash."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.artifacts import sha256_of
from ..core.caches import cache_folder
from ..core.errors import MachineError, UsageError
from ..core.manifest import EngineManifest
from ..core.outputs import output_error
from .archs import parse_arch, serves, this_gpu
from .kernel_library import SOURCES
from .plugin_compiler import ARCHS, LIBRARY, PluginTools, archs_of, compile_library, find_tools
from .tensorrt_headers import TensorrtHeaders, find_headers

RECORD = "library.json"
#: an entry in the making; never looked into
BUILDING = ".building-"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class CompiledLibrary:
    """A library in the cache.

    Attributes:
        path: Where it lies.
        sha256: Of its bytes.
        sources: Hash of what it was compiled from.
        tensorrt: Major and minor of the headers.
        cuda: Version of the compiler, ``12.6``.
        archs: Compute capabilities, ``sm87``.
    """

    path: Path
    sha256: str
    sources: str
    tensorrt: tuple[int, int]
    cuda: str
    archs: tuple[str, ...]


def build_library(
    root: Path | None = None,
    archs: Sequence[str] = (),
    *,
    force: bool = False,
    say: Say = lambda _line: None,
    kernels: Sequence[Path] = (),
) -> CompiledLibrary:
    """Find the library in the cache, or compile it there.

    Args:
        root: Of TensorRT, with its headers; the usual places if not given.
        archs: Compute capabilities, ``sm87``; this machine's GPUs, or all TensorRT runs on, if not given.
        force: Whether it is compiled although it is there.
        say: Told what happens, line by line.
        kernels: Sources in place of our kernels.

    Raises:
        UsageError: A compute capability is none.
        MachineError: Headers or programs are missing, or the compiler refuses; with the remedy.
        OutputError: The cache cannot be written.
    """
    named = tuple(dict.fromkeys(parse_arch(arch) for arch in archs))
    headers, tools = _found(root)
    known = archs_of(tools)
    wanted = named or this_gpu() or tuple(arch for arch in ARCHS if arch in known)
    if unknown := [arch for arch in wanted if arch not in known]:
        raise MachineError(
            f"nvcc of CUDA {tools.cuda} compiles plugins for {', '.join(known)}, not {', '.join(unknown)}"
        )
    sources = sources_sha256(kernels)
    key = hashlib.sha256(json.dumps([sources, headers.version, tools.cuda, sorted(wanted)]).encode()).hexdigest()
    place = cache_folder("plugins") / key[:40]
    found = None if force else _read(place)
    if found is not None:
        return found
    say(f"compiling plugins for {headers.describe()}, CUDA {tools.cuda}, {', '.join(wanted)}")
    started = time.perf_counter()
    try:
        with _building(place.parent) as folder:
            made = compile_library(folder, headers, tools, wanted, kernels)
            library = CompiledLibrary(made, sha256_of([made]), sources, headers.version, tools.cuda, wanted)
            _write_record(library)
            compiled = _moved(library, place, force=force)
    except OSError as error:
        raise output_error(place, error) from error
    say(f"compiled in {time.perf_counter() - started:.0f} s")
    return compiled


def _found(root: Path | None) -> tuple[TensorrtHeaders, PluginTools]:
    """Find what is needed, or say all that is missing at once."""
    try:
        headers = find_headers(root)
    except MachineError as error:
        try:
            find_tools()
        except MachineError as other:
            raise MachineError(f"{error}; {other}") from other
        raise
    return headers, find_tools()


def library_for(tensorrt: str, arch: str, say: Say = lambda _line: None) -> CompiledLibrary:
    """Find or compile the library for the TensorRT and the GPU of this machine.

    Args:
        tensorrt: Version of the TensorRT that loads it.
        arch: The GPU's, ``sm87``.
        say: Told what happens.

    Raises:
        MachineError: As ``build_library``, or the headers are of another major version.
    """
    major, sources = int(tensorrt.partition(".")[0]), sources_sha256()
    fitting = [
        library
        for library in libraries()
        if library.sources == sources and library.tensorrt[0] == major and serves(library.archs, arch)
    ]
    if fitting:
        return next((library for library in fitting if arch in library.archs), fitting[0])
    headers = find_headers()
    if headers.version[0] != major:
        raise MachineError(
            f"the headers are of {headers.describe()}, TensorRT {tensorrt} is installed; name those of that version: "
            "deblurrt plugins build --tensorrt-root DIR"
        )
    return build_library(headers.folder, (arch,), say=say)


def libraries() -> list[CompiledLibrary]:
    """All libraries of the cache, the newest first; those whose bytes changed are left out."""
    places = [path.parent for path in cache_folder("plugins").glob(f"[!.]*/{RECORD}")]
    places.sort(key=_written_s, reverse=True)
    return [library for place in places if (library := _read(place)) is not None]


def library_of(manifest: EngineManifest) -> Path:
    """Find the library an engine was built with, for the registry of whoever runs it.

    Raises:
        MachineError: It is not here, or another in its place; or the engine has several.
    """
    if not manifest.plugins:
        raise UsageError(f"the engine of {manifest.model} has no plugins")
    if len(manifest.plugins) > 1:
        names = ", ".join(manifest.plugins)
        raise MachineError(
            f"the engine of {manifest.model} runs with several libraries of plugins, expected one: {names}"
        )
    here = {library.sha256: library.path for library in libraries()}
    ((name, digest),) = manifest.plugins.items()
    if digest in here:
        return here[digest]
    there = "another is" if here else "none is"
    raise MachineError(
        f"the engine of {manifest.model} runs with {name} of SHA-256 {digest[:12]}…, with which it was built; "
        f"{there} in {cache_folder('plugins')}"
    )


def sources_sha256(kernels: Sequence[Path] = ()) -> str:
    """Hash everything a library is compiled from."""
    paths = [path for path in sorted(SOURCES.iterdir()) if path.is_file()]
    names = "\n".join(path.name for path in (*paths, *kernels))
    return hashlib.sha256(f"{names}\n{sha256_of([*paths, *kernels])}".encode()).hexdigest()


def _written_s(place: Path) -> float:
    """When an entry was written, seconds; 0 where another process has just taken it away."""
    try:
        return (place / RECORD).stat().st_mtime
    except OSError:
        return 0.0


def _write_record(library: CompiledLibrary) -> None:
    record = {
        "sources": library.sources,
        "tensorrt": library.tensorrt,
        "cuda": library.cuda,
        "archs": library.archs,
        "sha256": library.sha256,
    }
    (library.path.parent / RECORD).write_text(json.dumps(record, indent=2) + "\n")


def _read(place: Path) -> CompiledLibrary | None:
    """Read an entry of the cache; None where it is missing or damaged."""
    path = place / LIBRARY
    try:
        told = json.loads((place / RECORD).read_text())
        if sha256_of([path]) != told["sha256"]:
            return None
        major, minor = told["tensorrt"]
        return CompiledLibrary(
            path, told["sha256"], told["sources"], (major, minor), told["cuda"], tuple(told["archs"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def _building(cache: Path) -> Iterator[Path]:
    """Give a folder for an entry in the making; it is removed, and the entry with it unless it was moved."""
    folder = Path(tempfile.mkdtemp(prefix=BUILDING, dir=cache))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _moved(library: CompiledLibrary, place: Path, *, force: bool) -> CompiledLibrary:
    """Put an entry in its place by one rename; a whole one that is there stays, unless ``force`` replaces it."""
    made = library.path.parent
    here = replace(library, path=place / LIBRARY)
    with suppress(OSError):
        made.rename(place)
        return here
    # another process was here first; its library is as good
    if not force and (there := _read(place)) is not None:
        return there
    with suppress(FileNotFoundError):
        place.rename(made.with_name("former"))
    try:
        made.rename(place)
    except OSError:
        there = _read(place)
        if there is None:
            raise
        return there
    return here
