"""The cache of plugin libraries, with a stand-in for the compilers."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from deblurrt.cli.plugins_build import build_command
from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import MachineError, OutputError, UsageError
from deblurrt.core.manifest import EngineManifest
from deblurrt.plugins import plugin_compiler, tensorrt_library, toolchain
from deblurrt.plugins.plugin_compiler import LIBRARY, PluginTools, find_tools
from deblurrt.plugins.tensorrt_headers import TensorrtHeaders
from deblurrt.plugins.tensorrt_library import (
    BUILDING,
    RECORD,
    CompiledLibrary,
    build_library,
    libraries,
    library_for,
    library_of,
)
from deblurrt.plugins.toolchain import Compiler

TOOLS = PluginTools(Compiler("nvcc", "nvcc", "release 12.6, V12.6.68"), Compiler("g++", "g++", "12"), "cmake", "12.6")
MANIFEST = EngineManifest("wrcan", FrameContract(), "0" * 64, "tensorrt", "10.3.0")


class Machine:
    """Headers and compilers of a machine, and what was compiled."""

    def __init__(self, folder: Path) -> None:
        self.headers = TensorrtHeaders(folder, (10, 3))
        self.compiled: list[tuple[str, ...]] = []

    def compile(
        self,
        folder: Path,
        headers: TensorrtHeaders,
        _tools: PluginTools,
        archs: Sequence[str],
        _kernels: Sequence[Path],
    ) -> Path:
        self.compiled.append(tuple(archs))
        library = folder / "result" / LIBRARY
        library.parent.mkdir()
        library.write_text(f"{headers.version} {archs}")
        return library


def damaged(library: CompiledLibrary) -> CompiledLibrary:
    library.path.write_text("damaged")
    return library


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, value in (
        ("find_headers", lambda _root=None: made.headers),
        ("find_tools", lambda: TOOLS),
        ("archs_of", lambda _tools: ("sm87", "sm90")),
        ("this_gpu", lambda: ()),
        ("compile_library", made.compile),
    ):
        monkeypatch.setattr(tensorrt_library, name, value)
    return made


def test_library_is_compiled_once_for_the_same_headers_and_gpus(machine: Machine) -> None:
    first = build_library(archs=("sm87",))
    assert build_library(archs=("sm87",)) == first
    other = build_library(archs=("sm90",))
    machine.headers = replace(machine.headers, version=(10, 16))
    newer = build_library(archs=("sm87",))
    assert len({first.path, other.path, newer.path}) == 3
    assert machine.compiled == [("sm87",), ("sm90",), ("sm87",)]
    assert (newer.tensorrt, newer.cuda, newer.archs) == ((10, 16), "12.6", ("sm87",))


def test_library_is_for_all_gpus_where_none_is_asked_for_or_here(machine: Machine) -> None:
    assert build_library().archs == ("sm87", "sm90")


def test_library_is_for_the_gpu_at_hand(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_library, "this_gpu", lambda: ("sm90",))
    assert build_library().archs == ("sm90",)


def test_changed_library_is_compiled_again_and_nothing_is_left_beside_it(machine: Machine) -> None:
    library = build_library(archs=("sm87",))
    library.path.write_text("damaged")
    assert libraries() == []
    assert build_library(archs=("sm87",)) == library
    assert len(machine.compiled) == 2
    assert not list(library.path.parents[1].glob(f"{BUILDING}*"))


def test_library_of_another_process_that_was_first_is_taken(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_twice(folder: Path, *rest: Any) -> Path:
        monkeypatch.setattr(tensorrt_library, "compile_library", machine.compile)
        others.append(build_library(archs=("sm87",)))
        kept.append(others[0].path.stat().st_ino)
        return machine.compile(folder, *rest)

    others: list[CompiledLibrary] = []
    kept: list[int] = []
    monkeypatch.setattr(tensorrt_library, "compile_library", compile_twice)
    assert build_library(archs=("sm87",)) == others[0]
    assert others[0].path.stat().st_ino == kept[0]


def test_library_is_known_also_where_another_process_takes_the_entry_away(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tensorrt_library._moved

    def move(library: CompiledLibrary, place: Path, *, force: bool) -> CompiledLibrary:
        made = moved(library, place, force=force)
        place.rename(place.with_name("elsewhere"))
        return made

    monkeypatch.setattr(tensorrt_library, "_moved", move)
    library = build_library(archs=("sm87",))
    assert (library.archs, library.path.exists()) == (("sm87",), False)


def test_entry_that_goes_while_libraries_are_listed_is_left_out(machine: Machine, tmp_path: Path) -> None:
    place = build_library(archs=("sm87",)).path.parent
    (place / RECORD).unlink()
    (place / RECORD).symlink_to(tmp_path / "gone")
    assert libraries() == []


def test_force_compiles_again_and_nothing_is_left_beside_it(machine: Machine) -> None:
    library = build_library(archs=("sm87",))
    (library.path.parent / "mark").touch()
    assert build_library(archs=("sm87",), force=True) == library
    assert sorted(path.name for path in library.path.parent.iterdir()) == sorted([LIBRARY, RECORD])
    assert list(library.path.parents[1].iterdir()) == [library.path.parent]


@pytest.mark.parametrize("where", ["mkdtemp", "write_text"])
def test_cache_that_cannot_be_written_is_named(machine: Machine, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if where == "mkdtemp":
        monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    else:
        monkeypatch.setattr(tensorrt_library, "_write_record", refuse)
    with pytest.raises(OutputError, match=r"disk full while writing .*plugins"):
        build_library(archs=("sm87",))


def test_builder_takes_a_library_of_an_earlier_gpu_of_the_same_major_version(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_library, "archs_of", lambda _tools: ("sm86", "sm89"))
    exact, earlier = build_library(archs=("sm89",)), build_library(archs=("sm86",))
    assert library_for("10.3.0", "sm89") == exact
    damaged(exact)
    assert library_for("10.3.0", "sm89") == earlier


def test_builder_takes_a_library_of_its_major_version_and_gpu(machine: Machine) -> None:
    both = build_library(archs=("sm87", "sm90"))
    assert library_for("10.16.2", "sm87") == both
    assert library_for("10.3.0", "sm90") == both
    assert len(machine.compiled) == 1
    with pytest.raises(MachineError, match=r"headers are of TensorRT 10\.3 .*, TensorRT 11\.4\.1 is installed"):
        library_for("11.4.1", "sm87")


def test_builder_compiles_what_is_not_there(machine: Machine) -> None:
    lines: list[str] = []
    assert library_for("10.3.0", "sm87", lines.append).archs == ("sm87",)
    assert lines[0].startswith("compiling plugins for TensorRT 10.3")


def test_library_of_other_sources_is_not_taken_to_build(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    older = build_library(archs=("sm87",))
    monkeypatch.setattr(tensorrt_library, "sources_sha256", lambda _kernels=(): "f" * 64)
    assert library_for("10.3.0", "sm87").path != older.path


def test_engine_finds_the_library_it_was_built_with(machine: Machine) -> None:
    library = build_library(archs=("sm87",))
    assert library_of(replace(MANIFEST, plugins={LIBRARY: library.sha256})) == library.path


def test_engine_without_its_library_is_refused_and_says_what_is_missing(machine: Machine) -> None:
    manifest = replace(MANIFEST, plugins={LIBRARY: "a" * 64})
    # the command that builds it again is the engine's own: whoever loads it adds it
    with pytest.raises(MachineError, match=r"none is in [^;]*plugins$"):
        library_of(manifest)
    build_library(archs=("sm87",))
    with pytest.raises(MachineError, match=r"SHA-256 aaaaaaaaaaaa…, with which it was built; another is in "):
        library_of(manifest)


def test_engine_of_several_libraries_is_refused(machine: Machine) -> None:
    here = build_library(archs=("sm87",)).sha256
    with pytest.raises(MachineError, match=r"several libraries of plugins, expected one: a\.so, b\.so"):
        library_of(replace(MANIFEST, plugins={"a.so": here, "b.so": "b" * 64}))


def test_gpu_at_hand_the_compiler_does_not_know_is_refused(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_library, "this_gpu", lambda: ("sm130",))
    with pytest.raises(MachineError, match="not sm130"):
        build_library()


@pytest.mark.usefixtures("machine")
def test_gpus_beside_the_usual_ones_are_compiled_for_where_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_library, "archs_of", lambda _tools: ("sm87", "sm88", "sm103"))
    assert build_library().archs == ("sm87",)
    assert build_library(archs=("sm_88", "103")).archs == ("sm88", "sm103")


def test_gpus_the_compiler_does_not_know_are_refused_before_it_runs(machine: Machine) -> None:
    with pytest.raises(MachineError, match=r"nvcc of CUDA 12\.6 compiles plugins for sm87, sm90, not sm121"):
        build_library(archs=("sm87", "sm121"))
    with pytest.raises(UsageError, match=r"'8\.7' is no compute capability"):
        build_library(archs=("8.7",))
    assert machine.compiled == []


def test_missing_programs_are_all_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("CUDA_HOME", "CUDA_PATH", "CXX", "CUDACXX"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(toolchain, "CUDA_HOME", str(tmp_path))
    with pytest.raises(
        MachineError, match=r"nvcc is needed .*; g\+\+ is needed .*; cmake is needed .*pip install cmake"
    ):
        find_tools()


def test_command_tells_path_hash_and_trtexec_and_copies(machine: Machine, tmp_path: Path) -> None:
    place = tmp_path / "plugins.so"
    done = CliRunner().invoke(build_command, ["--arch", "sm87", "-o", str(place)], catch_exceptions=False)
    (library,) = libraries()
    assert place.read_bytes() == library.path.read_bytes()
    assert library.sha256 in done.output
    assert f"--dynamicPlugins={place}" in done.output


def test_tools_are_those_of_this_machine() -> None:
    try:
        tools = find_tools()
    except MachineError as error:
        pytest.skip(str(error))
    assert tools.cuda in tools.nvcc.version
    assert set(plugin_compiler.archs_of(tools)) & set(plugin_compiler.ARCHS)
