"""TensorRT asks once how much memory the kernels work with, at the largest shapes: it must do for all smaller ones."""

from __future__ import annotations

import numpy as np
import pytest

from deblurrt.plugins.kernel_calls import kernel_call
from deblurrt.plugins.kernel_library import SOURCES, KernelLibrary, load_kernels
from tests.plugins.plugin_libraries import compile_cpp

#: maps, height and width: pairs of which the first is the smaller one in every respect
LARGEST = (
    (1, 1, 1),
    (4, 700, 900),
    (64, 180, 320),
    (64, 720, 1280),
    (256, 1088, 1920),
    (3, 2160, 3840),
    (1, 4000, 6000),
)
WINDOWS = ((2, 2), (24, 384), (600, 90))
SMALLER_TRIED = 60


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> KernelLibrary:
    # what it computes does not matter, only what it asks for
    options = ("-std=c++20", "-O0", "-shared", "-fPIC", "-xc++")
    return load_kernels(
        compile_cpp(SOURCES / "kernels.cu", tmp_path_factory.mktemp("kernels") / "kernels.so", *options)
    )


def pool_bytes(kernels: KernelLibrary, shape: tuple[int, int, int], window: tuple[int, int]) -> int:
    call = kernel_call("LocalAvgPool", np.dtype(np.float16), [(1, *shape)], {"window": window})
    return kernels.workspace_bytes(call)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("largest", LARGEST)
def test_workspace_of_the_pool_does_for_all_smaller_shapes(
    kernels: KernelLibrary, largest: tuple[int, int, int], window: tuple[int, int]
) -> None:
    most = pool_bytes(kernels, largest, window)
    random = np.random.default_rng(0)
    shares = 1 - random.random((SMALLER_TRIED, 3)) ** 4
    sides = np.maximum(1, (shares * largest).astype(int)).tolist()
    for maps, height, width in sides:
        smaller = (maps, height, width)
        assert pool_bytes(kernels, smaller, window) <= most, smaller
