"""Kernels are compiled once for each set of sources, compiler and flags, and called by ctypes."""

from __future__ import annotations

import ctypes
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from deblurrt.core.errors import ContractError, MachineError
from deblurrt.plugins import archs, kernel_library
from deblurrt.plugins.kernel_calls import BAD_SHAPE, KERNELS, DeformConvCall, LocalAvgPoolCall, kernel_call
from deblurrt.plugins.kernel_library import (
    SOURCES,
    KernelBuild,
    KernelLibrary,
    build_kernels,
    kernel_sources,
    load_kernels,
)
from deblurrt.plugins.ops import PLUGINS, plugin_op

MOST_WORKSPACE_BYTES = 64 << 20


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler that writes nothing but a line each time it compiles."""
    log, program = tmp_path / "log", tmp_path / "c++"
    said = f'if [ "$1" = --version ]; then echo 1.0; exit; fi; echo run >> {log}'
    program.write_text(f'#!/bin/sh\n{said}\nfor last; do :; done; echo library > "$last"\n')
    program.chmod(0o755)
    monkeypatch.setenv("CXX", str(program))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return log


def test_every_operator_has_a_kernel() -> None:
    assert set(KERNELS) == set(PLUGINS)


def test_kernels_are_compiled_once(counted: Path) -> None:
    assert build_kernels() == build_kernels()
    assert counted.read_text() == "run\n"


def test_changed_sources_are_compiled_anew(counted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    former = build_kernels()
    copy = Path(shutil.copytree(SOURCES, tmp_path / "csrc"))
    (copy / "kernels.h").write_text("// changed\n")
    monkeypatch.setattr(kernel_library, "SOURCES", copy)
    assert build_kernels() != former
    assert counted.read_text() == "run\nrun\n"


@pytest.mark.usefixtures("counted")
def test_builds_of_different_flags_lie_beside_each_other() -> None:
    assert build_kernels() != build_kernels(KernelBuild(is_sanitized=True))


def test_kernels_of_another_gpu_are_compiled_anew(counted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDACXX", str(counted.parent / "c++"))
    build, paths = KernelBuild("cuda"), []
    for gpu in (("sm87",), ("sm90", "sm87")):
        monkeypatch.setattr(archs, "this_gpu", lambda gpu=gpu: gpu)
        paths.append(build_kernels(build))
    assert paths == [build_kernels(KernelBuild("cuda", "sm87")), build_kernels(KernelBuild("cuda", "sm90"))]
    assert counted.read_text() == "run\nrun\n"
    monkeypatch.setattr(archs, "this_gpu", lambda: ())
    with pytest.raises(MachineError, match="no GPU here tells its compute capability"):
        build_kernels(build)


def test_compiler_of_a_variable_compiles_for_gpus_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    assert "-ccbin" not in KernelBuild("cuda", "sm87").flags
    monkeypatch.setenv("CXX", sys.executable)
    assert KernelBuild("cuda", "sm87").flags[-3:] == ("-arch=sm_87", "-ccbin", sys.executable)


@pytest.mark.usefixtures("counted")
def test_nothing_is_left_beside_a_library() -> None:
    path = build_kernels()
    assert list(path.parent.iterdir()) == [path]


def test_file_that_is_no_library_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.so").write_text("text")
    with pytest.raises(MachineError, match="is no library of kernels"):
        load_kernels(tmp_path / "a.so")


def test_every_source_says_what_it_owns() -> None:
    assert [path.name for path in kernel_sources() if not path.read_text().startswith("// ")] == []


@pytest.mark.parametrize("op", PLUGINS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_kernel_agrees_with_the_reference_on_examples(kernels: KernelLibrary, op: str, dtype: str) -> None:
    definition = plugin_op(op)
    rng = np.random.default_rng(0)
    for example in definition.examples:
        inputs = [rng.random(shape).astype(dtype) for shape in example.shapes]
        complete = definition.complete(example.attributes)
        settings = {name: complete[name] for name in definition.attributes}
        expected = definition.reference(*inputs, **settings)
        # relative to the largest value: half precision has 11 bits
        tolerance = np.abs(expected).max() * (2e-3 if dtype == "float16" else 1e-6)
        assert np.abs(kernels.compute(op, inputs, **example.attributes) - expected).max() <= tolerance


def test_typed_calls_are_those_of_the_operators(kernels: KernelLibrary) -> None:
    x = np.random.default_rng(0).random((1, 2, 5, 6), np.float32)
    assert (kernels.local_avg_pool(x, (3, 2)) == kernels.compute("LocalAvgPool", [x], window=(3, 2))).all()
    still, whole = np.zeros((1, 2, 5, 6), np.float32), np.ones((1, 1, 5, 6), np.float32)
    weight = np.eye(2, dtype=np.float32)[:, :, None, None]
    assert (kernels.modulated_deform_conv([x, still, whole, weight]) == x).all()


def test_inputs_of_two_types_are_refused(kernels: KernelLibrary) -> None:
    x, weight = np.zeros((1, 1, 2, 2), np.float32), np.zeros((1, 1, 1, 1), np.float32)
    with pytest.raises(ContractError, match="float32 and float16; expected one type"):
        kernels.compute("ModulatedDeformConv", [x, np.zeros((1, 2, 2, 2), np.float32), x.astype(np.float16), weight])


def test_codes_are_explained_and_raised(kernels: KernelLibrary) -> None:
    said = {kernels.explain(code) for code in (0, -1, -2, -3)}
    assert len(said) == 4
    with pytest.raises(ContractError, match="code -3: the workspace is smaller"):
        kernels.check(-3)
    with pytest.raises(MachineError, match="code 700"):
        kernels.check(700)


@pytest.mark.parametrize("size", [(4, 5), (180, 320), (720, 1280), (2160, 3840)])
def test_workspace_is_bounded(kernels: KernelLibrary, size: tuple[int, int]) -> None:
    shapes = [(8, 64, *size), (8, 144, *size), (8, 72, *size), (64, 64, 3, 3)]
    call = kernel_call("ModulatedDeformConv", np.dtype("float16"), shapes, {"pads": (1, 1), "offset_groups": 8})
    assert kernels.workspace_bytes(call) == 0
    pool = kernel_call("LocalAvgPool", np.dtype("float16"), [(8, 64, *size)], {"window": (384, 384)})
    assert kernels.workspace_bytes(pool) <= MOST_WORKSPACE_BYTES


@pytest.mark.parametrize("axis", ["height", "width"])
def test_maps_whose_pixels_float32_does_not_count_are_refused(kernels: KernelLibrary, axis: str) -> None:
    one = [(1, 1, 1, 1), (1, 2, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1)]
    call = kernel_call("ModulatedDeformConv", np.dtype("float32"), one, {})
    call.structure.batch = 0
    codes = []
    for side in (1 << 24, (1 << 24) + 1):
        setattr(call.structure, axis, side)
        setattr(call.structure, f"out_{axis}", side)
        codes.append(kernels.start(call, [0, 0, 0, 0], 0))
    assert codes == [0, BAD_SHAPE]


def test_masks_that_are_not_finite_count_outside_the_map(kernels: KernelLibrary) -> None:
    x, weight = np.ones((1, 1, 4, 4), np.float32), np.ones((1, 1, 1, 1), np.float32)
    far, still = np.full((1, 2, 4, 4), 50, np.float32), np.zeros((1, 2, 4, 4), np.float32)
    nan, infinite = (np.full((1, 1, 4, 4), value, np.float32) for value in (np.nan, np.inf))
    assert np.isnan(kernels.modulated_deform_conv([x, far, nan, weight])).all()
    assert (kernels.modulated_deform_conv([x, still, infinite, weight]) == np.inf).all()


def test_structures_are_as_large_as_in_c() -> None:
    assert ctypes.sizeof(DeformConvCall) == 18 * ctypes.sizeof(ctypes.c_int32)
    assert ctypes.sizeof(LocalAvgPoolCall) == 6 * ctypes.sizeof(ctypes.c_int32)
