"""Kernels compile for the devices we name, and what the compiler says of them is read right."""

from __future__ import annotations

import pytest

from deblurrt.core.errors import MachineError
from deblurrt.plugins.toolchain import find_compiler, gpu_archs
from deblurrt.profiling.kernel_architectures import KernelUse, describe, kernel_uses, name_of, read_uses

#: Orin, Hopper, Thor
ARCHS = ("sm_87", "sm_90", "sm_110")
#: static shared memory of a block, on every architecture
SHARED_BYTES = 48 << 10
SAID = """
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN8deblurrt3runINS_10DeformConvI6__halfNS_10TensorTileEEEEEvT_l' for 'sm_87'
ptxas info    : Function properties for _ZN8deblurrt3run
    88 bytes stack frame, 112 bytes spill stores, 148 bytes spill loads
ptxas info    : Used 128 registers, used 1 barriers, 88 bytes cumulative stack size, 41472 bytes smem, 480 bytes cmem[0]
ptxas info    : Compiling entry function '_ZN8deblurrt3runINS_12ShortWindowsI6__halffEEEEvT_l' for 'sm_87'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 440 bytes cmem[0]
"""


def test_what_ptxas_says_is_read() -> None:
    assert list(read_uses(SAID)) == [
        KernelUse("convolution, float16, tensor cores", "sm_87", 128, 112, 41472),
        KernelUse("pool, windows below 16, float16 to float32", "sm_87", 40, 0, 0),
    ]


def test_axis_and_reach_of_a_pool_are_in_its_name() -> None:
    assert name_of("_ZN8deblurrt3runINS_11LongWindowsIf6__halfLb1ELi32EEEEEvT_l") == (
        "pool, windows to 512 across, float32 to float16"
    )
    assert name_of("_Z9something") == "_Z9something"


def test_other_words_of_ptxas_are_told() -> None:
    with pytest.raises(MachineError, match="does not tell the registers of one for sm_87"):
        list(read_uses("Compiling entry function 'one' for 'sm_87'\n nothing"))


def test_table_has_a_line_for_each_kernel_and_a_column_for_each_architecture() -> None:
    uses = [KernelUse("a", "sm_75", 40, 0, 2048), KernelUse("a", "sm_110", 64, 8, 1024)]
    assert describe(uses).splitlines() == [
        "| kernel | shared KiB | 75 | 110 |",
        "|---|---:|---:|---:|",
        "| a | 2.0 | 40 | 64 (8) |",
    ]


def test_kernels_compile_for_orin_hopper_and_thor() -> None:
    try:
        known = gpu_archs(find_compiler("nvcc", "test it"))
    except MachineError as error:
        pytest.skip(str(error))
    archs = [arch for arch in ARCHS if arch in known]
    uses = kernel_uses(archs)
    assert {use.arch for use in uses} == set(archs)
    kernels = {use.kernel for use in uses}
    assert len(kernels) * len(archs) == len(uses)
    assert not [kernel for kernel in kernels if kernel.startswith("_Z")]
    assert max(use.shared_bytes for use in uses) <= SHARED_BYTES
