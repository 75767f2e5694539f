"""``deblurrt plugins``: operators of our own as plugins and kernels."""

from __future__ import annotations

import click

from .plugin_bench import bench_command
from .plugin_conformance import test_command
from .plugins_build import build_command

EXAMPLES = """\b
Examples:
  deblurrt plugins build                   the library for TensorRT
  deblurrt plugins test                    on the CPU, with any C++ compiler
  deblurrt plugins test --device cuda      on this machine's GPU
  deblurrt plugins bench"""

plugins_command = click.Group(
    "plugins",
    help="Compile, test and time the operators that ONNX and TensorRT lack: deformable convolution, local pooling.",
    epilog=EXAMPLES,
    commands=[
        build_command,
        test_command,
        bench_command,
    ],
)
