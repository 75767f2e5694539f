"""What tests of kernels share: the kernels for the CPU, compiled once."""

from __future__ import annotations

import shutil

import pytest

from deblurrt.plugins.conformance import Bench
from deblurrt.plugins.kernel_library import KernelLibrary, build_kernels, load_kernels
from deblurrt.plugins.kernel_memory import HostMemory


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> KernelLibrary:
    if shutil.which("g++") is None:
        pytest.skip("no g++ here to compile the kernels with")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return load_kernels(build_kernels())


@pytest.fixture(scope="session")
def bench(kernels: KernelLibrary) -> Bench:
    return Bench(kernels, HostMemory())
