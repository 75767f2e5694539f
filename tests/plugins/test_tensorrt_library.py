"""The cache of plugin libraries, with a stand-in for the compilers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from deblurrt.cli.plugins_build import build_command
from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import MachineError, UsageError
from deblurrt.core.manifest import EngineManifest
from deblurrt.plugins import plugin_compiler, tensorrt_library, toolchain
from deblurrt.plugins.plugin_compiler import LIBRARY, PluginTools, find_tools
from deblurrt.plugins.tensorrt_headers import TensorrtHeaders
from deblurrt.plugins.tensorrt_library import BUILDING, build_library, libraries, library_for, library_of
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


def test_engine_without_its_library_is_refused_with_the_command_that_builds_it(machine: Machine) -> None:
    manifest = replace(MANIFEST, plugins={LIBRARY: "a" * 64})
    with pytest.raises(MachineError, match=r"none is in .*; .*: deblurrt build wrcan --backend tensorrt$"):
        library_of(manifest)
    build_library(archs=("sm87",))
    with pytest.raises(MachineError, match=r"SHA-256 aaaaaaaaaaaa…, with which it was built; another is in "):
        library_of(manifest)


def test_gpus_the_compiler_does_not_know_are_refused_before_it_runs(machine: Machine) -> None:
    with pytest.raises(MachineError, match=r"nvcc of CUDA 12\.6 compiles plugins for sm87, sm90, not sm121"):
        build_library(archs=("sm87", "sm121"))
    with pytest.raises(UsageError, match="'87' is no compute capability"):
        build_library(archs=("87",))
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
    assert set(plugin_compiler.archs_of(tools)) <= set(plugin_compiler.ARCHS)
