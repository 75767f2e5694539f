"""The page about exports: two tables and how they came about."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from typing import Any

from ..core.optional import require

Row = dict[str, Any]

MEBIBYTE = 1 << 20
KINDS = ("fp32 dynamic", "fp32 static", "fp16 dynamic", "fp16 static")

INTRODUCTION = """\
# Every network of the zoo, exported

Measured by `python -m deblurrt.profiling.zoo_exports --work exports`, written by the same with
`--kept --output docs/exports.md`, with torch {torch},
ONNX Runtime {onnxruntime}, OpenVINO {openvino}, TensorRT-RTX {rtx} on {machine}, no GPU.
All networks at full size, with seeded weights whose offsets and corrections are as large as trained
ones. Each is traced once for any size; half precision and fixed sizes are made from that file
(`deblurrt export FILE.onnx`). `tlsc`: with local pools.

## Files

`max abs` is the largest difference between PyTorch and ONNX Runtime in fp32, values in 0..1, at three
sizes of the result; the limit is 1e-4. `OpenVINO` is the same for the file with its operators written
out. `fp16` is the least PSNR of the emulated half-precision graph against fp32, the limit is 60 dB;
`kept` counts the nodes that stay fp32. Seconds are of the whole fp32 export with all its comparisons,
on a machine that was doing other things too.

"""

ENGINES = """
## Engines

Built by TensorRT-RTX from the `uint8` files, for no particular GPU (its portable default): `dynamic`
from 128x128 to 1088x1920, made fast for 720x1280, `static` at 720x1280; sizes are of the result, which
for networks that enlarge is four times the frame. Its builder generates kernels when the engine is
loaded: that an engine is built does not prove that it runs, and none was run here. `activation` is the
builder's own figure, at the largest size, `estimate` what `deblurrt build` says before; `fp16` is the share
of the multiply-accumulates of convolutions that the engine's layers really compute in half precision.

"""


def page(rows: Sequence[Row], shipped: Sequence[str]) -> str:
    """Write the page.

    Args:
        rows: As ``zoo_exports.measure`` gives them; figures that were not measured are missing.
        shipped: Networks that ship as files, of which engines alone are shown.
    """
    versions = {name: require(name, purpose="name its version").__version__ for name in ("torch", "onnxruntime")}
    versions["openvino"] = require("openvino", purpose="name its version").__version__.partition("-")[0]
    built = [engine for row in rows for engine in row["engines"].values() if "version" in engine]
    versions["rtx"] = built[0]["version"] if built else "(none built)"
    failed = [
        f"- {row['network']}, {kind}: {row['engines'][kind]['error']}"
        for row in rows
        for kind in KINDS
        if "error" in row["engines"].get(kind, {})
    ]
    failures = "\n".join(["", "Not built:", "", *failed, ""]) if failed else ""
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    introduction = INTRODUCTION.format(machine=machine, **versions)
    return "".join([introduction, _files(rows), ENGINES, _engines(rows), failures, *_missing(rows, shipped)])


def _missing(rows: Sequence[Row], shipped: Sequence[str]) -> list[str]:
    files = [row["network"] for row in rows if "nodes" not in row and row["network"] not in shipped]
    engines = [row["network"] for row in rows if not row["engines"]]
    lacking = {"Files": files, "Engines": engines}
    return [f"\n{what} not measured: {', '.join(names)}.\n" for what, names in lacking.items() if names]


def _files(rows: Iterable[Row]) -> str:
    head = ("network", "parameters", "nodes", "MiB", "fp16 MiB", "seconds", "max abs", "OpenVINO", "fp16 dB", "kept")
    lines = []
    for row in rows:
        if "nodes" not in row:
            continue
        differences = ", ".join(f"{value:.1e} ({size})" for size, value in row["max_abs"].items())
        lines.append(
            (
                row["network"],
                f"{row['parameters']:,}",
                f"{row['nodes']:,}",
                f"{row['bytes'] / MEBIBYTE:.1f}",
                f"{row['fp16_bytes'] / MEBIBYTE:.1f}",
                f"{row['seconds']:.0f}",
                differences,
                f"{row['openvino_max_abs']:.1e}",
                f"{row['fp16_psnr_db']:.1f}",
                str(row["fp16_kept"]),
            )
        )
    return _table(head, lines)


def _engines(rows: Iterable[Row]) -> str:
    head = ("network", "engine", "build s", "MiB", "activation MiB", "estimate MiB", "fp16")
    lines = [[row["network"], kind, *_cells(row["engines"][kind])] for row in rows for kind in KINDS if row["engines"]]
    return _table(head, lines)


def _cells(engine: Row) -> list[str]:
    if "error" in engine:
        return ["not built", "", "", "", ""]
    sizes = [engine["activation_bytes"], engine["estimated_bytes"]]
    return [
        f"{engine['seconds']:.1f}",
        f"{engine['bytes'] / MEBIBYTE:.1f}",
        *(f"{size / MEBIBYTE:,.0f}" for size in sizes),
        f"{engine['precision'].get('fp16', 0):.1%}",
    ]


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
