"""Compilers are found, or named with what brings them."""

from __future__ import annotations

from pathlib import Path

import pytest

from deblurrt.core.errors import MachineError
from deblurrt.plugins.toolchain import Compiler, find_compiler, gpu_archs, run_compiler


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH, and no CUDA elsewhere."""
    for variable in ("CUDA_HOME", "CUDA_PATH", "CXX", "CUDACXX"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("deblurrt.plugins.toolchain.CUDA_HOME", str(tmp_path / "cuda"))
    return tmp_path


def write_program(path: Path, body: str) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(("name", "remedy"), [("g++", "apt install g"), ("nvcc", "CUDA toolkit")])
def test_missing_compiler_is_named_with_its_remedy(name: str, remedy: str) -> None:
    with pytest.raises(MachineError, match=rf"{name.replace('+', '.')} is needed to try it.*{remedy}"):
        find_compiler(name, "try it")  # type: ignore[arg-type]


def test_compiler_of_cuda_is_found_in_its_folder(programs: Path) -> None:
    path = write_program(programs / "cuda" / "bin" / "nvcc", "echo release 13.0")
    assert find_compiler("nvcc", "try it") == Compiler("nvcc", str(path), "release 13.0\n")


def test_variable_names_the_compiler(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_program(programs / "clang", "echo clang 17")
    monkeypatch.setenv("CXX", str(path))
    assert find_compiler("g++", "try it").path == str(path)


def test_architectures_are_listed_once_and_in_order(programs: Path) -> None:
    path = write_program(programs / "nvcc", "printf 'compute_110\\ncompute_87\\ncompute_110\\n'")
    assert gpu_archs(Compiler("nvcc", str(path), "")) == ("sm_87", "sm_110")


def test_first_error_of_a_compiler_is_told(programs: Path) -> None:
    path = write_program(programs / "cc", "echo note: nothing; echo 'a.h:1: error: no such thing' >&2; exit 1")
    with pytest.raises(MachineError, match=r"cc does not compile it: a.h:1: error: no such thing$"):
        run_compiler([str(path)], "compile it")
