"""The report of a device: one page and one JSON file, with a reason wherever a figure is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]

MEBIBYTE = 1 << 20
HEAD = (
    "network",
    "size",
    "export s",
    "engine",
    "build s",
    "MiB",
    "convolutions",
    "memory MiB",
    "fp16 dB",
    "GPU ms",
    "CPU ms",
)


INTRODUCTION = """\
Engines compute in the types of their files; `convolutions` is what their layers really compute in, `memory` the
builder's own figure, `fp16 dB` the PSNR of the half-precision file against fp32 on the CPU. `GPU ms` is the
median of computing one frame without copies (trtexec), `CPU ms` the median of a whole frame in the quickest
backend here.

"""


def device_page(machine: Iterable[tuple[str, str]], rows: Sequence[Row], command: str) -> str:
    """Write the page.

    Args:
        machine: Area and what was found there, as ``deblurrt doctor`` tells.
        rows: As ``cli/device_report.py`` gathers them.
        command: What wrote it.
    """
    facts = "\n".join(f"| {area} | {found} |" for area, found in machine)
    return (
        f"# Report of a device\n\nWritten by `{command}`.\n\n"
        f"| | |\n|---|---|\n{facts}\n\n"
        f"{INTRODUCTION}"
        f"{_table([_cells(row) for row in rows])}\n{_reasons(rows)}"
    )


def _cells(row: Row) -> list[str]:
    engine = row.get("engine", {})
    gpu, cpu = row.get("gpu", {}), row.get("cpu", {})
    precision = ", ".join(f"{share:.1%} {dtype}" for dtype, share in engine.get("precision", {}).items())
    return [
        row["network"],
        row["size"],
        _number(row.get("export_s"), ".1f"),
        f"{engine['backend']} {engine['tensorrt']}" if engine else "no",
        _number(engine.get("build_seconds"), ".1f"),
        _number(engine.get("plan_bytes"), ",.1f", MEBIBYTE),
        precision or "",
        _number(engine.get("activation_bytes"), ",.0f", MEBIBYTE),
        _number(row.get("fp16_psnr_db"), ".1f"),
        _number(gpu.get("median"), ".2f"),
        _number(cpu.get("median"), ".0f"),
    ]


def _number(value: float | None, form: str, unit: float = 1.0) -> str:
    return "not measured" if value is None else format(value / unit, form)


def _reasons(rows: Iterable[Row]) -> str:
    lines = [f"- {row['network']}, {step}: {reason}" for row in rows for step, reason in row.get("missing", {}).items()]
    return "\nNot measured, and why:\n\n" + "\n".join(lines) + "\n" if lines else ""


def _table(lines: Iterable[Sequence[str]]) -> str:
    rows = [HEAD, ["---"] * len(HEAD), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
