"""``deblurrt plugins test``: kernels against their references."""

from __future__ import annotations

import click
from rich.markup import escape
from rich.table import Table

from ..plugins.conformance import Bench, Finding, run_kit
from ..plugins.kernel_library import Device, KernelBuild, build_kernels, load_kernels
from ..plugins.kernel_memory import HostMemory, cuda_memory
from ..plugins.sanitizers import has_sanitizers, run_with_sanitizers
from .options import json_option
from .output import check_json_place, print_table, result_console, terminal, write_json
from .plugin_archs import ARCH

QUALITY_GATE = 3
RANDOM_CASES = 500

EXAMPLES = """\b
Examples:
  deblurrt plugins test
  deblurrt plugins test --device cuda --json conformance.json
  deblurrt plugins test --sanitize --cases 40

\b
Exit status:
  0  every case agrees with its reference
  3  one does not, or the GPU fails at it
  5  the compiler or the GPU is missing; the message says what brings it"""


@click.command("test", epilog=EXAMPLES)
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where the kernels run."
)
@click.option(
    "--cases",
    type=click.IntRange(min=1),
    default=RANDOM_CASES,
    show_default=True,
    help="Random configurations for each operator and type.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of all random numbers.")
@click.option("--arch", type=ARCH, help="Compute capability of the GPU, such as sm87, if it is not to be asked.")
@click.option("--sanitize", is_flag=True, help="On the CPU, watch every address and all undefined behaviour.")
@json_option
def test_command(
    device: Device, cases: int, seed: int, arch: str | None, sanitize: bool, json_place: str | None
) -> int:
    """Compare the kernels with references in double precision, on random configurations and on hard ones.

    The same sources run on the CPU and on a GPU. Errors are relative to the largest value of a result, and at least
    to 1; inputs are about 1. A GPU needs the CUDA toolkit and the extra gpu.
    """
    check_json_place(json_place)
    if arch is not None and device == "cpu":
        raise click.UsageError("--arch is for --device cuda")
    if sanitize:
        if device != "cpu":
            raise click.UsageError("--sanitize is for --device cpu; on a GPU run compute-sanitizer around this command")
        if not has_sanitizers():
            return run_with_sanitizers()
    # first the GPU: without one there is no reason to compile
    memory = cuda_memory("test kernels on it") if device == "cuda" else HostMemory()
    terminal().print(f"compiling the kernels for {device}", highlight=False)
    kernels = load_kernels(build_kernels(KernelBuild(device, arch or "", sanitize)))
    findings = list(run_kit(Bench(kernels, memory), cases, seed))
    failed = [finding for finding in findings if finding.failures]
    result = {"device": device, "seed": seed, "sanitized": sanitize, "ok": not failed}
    write_json(json_place, {**result, "findings": [finding.to_dict() for finding in findings]})
    _print(findings, json_place)
    return QUALITY_GATE if failed else 0


def _print(findings: list[Finding], json_place: str | None) -> None:
    table = Table("operator", "type", "group", "cases", "worst error", "allowed", "")
    for finding in findings:
        table.add_row(*_in_words(finding))
    print_table(table, json_place)
    console = result_console(json_place)
    for finding in findings:
        for failure in finding.failures:
            text = f"FAILED {finding.op} {finding.dtype}, {finding.name}: {failure}"
            console.print(text, markup=False, highlight=False, soft_wrap=True)
    failed, cases = sum(bool(finding.failures) for finding in findings), sum(finding.cases for finding in findings)
    said = f"{failed} of {len(findings)} groups failed" if failed else f"all {cases} calls agree"
    console.print(f"\n{said}", highlight=False)


def _in_words(finding: Finding) -> tuple[str, ...]:
    numbers = (finding.error, finding.tolerance)
    state = "FAILED" if finding.failures else f"skipped: {finding.skipped}" if finding.skipped else "ok"
    errors = ("" if number is None else f"{number:.1e}" for number in numbers)
    return finding.op, finding.dtype, escape(finding.name), str(finding.cases), *errors, state
