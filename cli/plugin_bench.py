"""``deblurrt plugins bench``: how quick the kernels are on this machine's GPU."""

from __future__ import annotations

import click
import numpy as np
from rich.table import Table

from ..plugins.conformance import Bench
from ..plugins.conformance_cases import DTYPES
from ..plugins.kernel_bench import Ceiling, Timing, bench_cases, measure_ceiling, time_case
from ..plugins.kernel_library import KernelBuild, build_kernels, load_kernels
from ..plugins.kernel_memory import cuda_memory
from ..plugins.torch_rivals import TorchClock, TorchRivals, torch_with_gpu
from .options import json_option
from .output import check_json_place, print_table, result_console, terminal, write_json
from .plugin_archs import ARCH

MIB = 1 << 20

EXAMPLES = """\b
Examples:
  deblurrt plugins bench
  deblurrt plugins bench --json bench.json

\b
Exit status:
  0  everything was measured that can be on this machine
  5  the GPU, the CUDA toolkit, cuda-bindings or PyTorch for CUDA is missing; the message says which"""


@click.command("bench", epilog=EXAMPLES)
@click.option("--arch", type=ARCH, help="Compute capability of the GPU, such as sm87, if it is not to be asked.")
@json_option
def bench_command(arch: str | None, json_place: str | None) -> int:
    """Time the kernels on this machine's GPU, against its ceilings and against PyTorch.

    The ceilings, a large copy and a large product of matrices, are measured in the same run. Times are medians of
    events on the GPU. Needs a GPU, the CUDA toolkit, the extra gpu and PyTorch for CUDA; torchvision is optional.
    """
    check_json_place(json_place)
    memory, torch = cuda_memory("time kernels on it"), torch_with_gpu()
    terminal().print("compiling the kernels", highlight=False)
    bench = Bench(load_kernels(build_kernels(KernelBuild("cuda", arch or ""))), memory)
    clock, rivals = TorchClock(torch), TorchRivals(torch)
    ceiling = measure_ceiling(clock, rivals, DTYPES)
    timings = []
    for case in bench_cases(np.random.default_rng(0)):
        for dtype in DTYPES:
            timings.append(time_case(bench, clock, rivals, ceiling, case.typed(dtype)))
            terminal().print(f"{case.op} {dtype} {case.name}: {timings[-1].ms:.3f} ms", highlight=False)
    device = torch.cuda.get_device_name()
    products = ceiling.product_tflop_s
    write_json(
        json_place,
        {
            "device": device,
            "copy_gb_s": ceiling.copy_gb_s,
            "product_tflop_s": products,
            "timings": [timing.to_dict() for timing in timings],
        },
    )
    print_report(device, ceiling, timings, json_place)
    return 0


def print_report(device: str, ceiling: Ceiling, timings: list[Timing], json_place: str | None) -> None:
    """Print ceilings and timings."""
    console = result_console(json_place)
    products = ", ".join(f"{rate:.1f} TFLOP/s in {dtype}" for dtype, rate in ceiling.product_tflop_s.items())
    console.print(f"{device}: copy {ceiling.copy_gb_s:.0f} GB/s; product {products}", highlight=False)
    table = Table(
        "operator", "type", "size", "window", "ms", "GB/s", "of copy", "TFLOP/s", "of product", "MiB", "others, ms"
    )
    for timing in timings:
        compute = ("", "") if timing.tflop_s is None else (f"{timing.tflop_s:.2f}", f"{timing.of_product or 0:.0%}")
        others = [f"{name} {ms:.3f}" for name, ms in timing.rivals_ms.items()]
        others += [f"{name}: {reason}" for name, reason in timing.missing.items()]
        table.add_row(
            timing.op,
            timing.dtype,
            f"{timing.size[0]}x{timing.size[1]}",
            str(timing.window or ""),
            f"{timing.ms:.3f}",
            f"{timing.gb_s:.0f}",
            f"{timing.of_copy:.0%}",
            *compute,
            f"{timing.workspace_bytes / MIB:.0f}",
            "\n".join(others),
        )
    print_table(table, json_place)
