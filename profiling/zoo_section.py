"""The section of docs/benchmarks.md about the networks of the zoo: tables and how they came about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..core.optional import require
from .cpu_benchmark import machine
from .deployment_race import AROUND, INSIDE, DeploymentResult
from .network_race import EAGER, FOLDED, RUNTIMES, TLSC_SIZES, NetworkResult
from .pool_race import SHAPE, WINDOW, PoolResult
from .races import RacePlan, RaceResult
from .ratios import markdown_table

PROGRAM = "python -m deblurrt.profiling.zoo_benchmark"

INTRODUCTION = """\
Written by `{command}`
on {machine}; {versions}.
What is compared runs in turn, round after round, warmed up, on {threads}; a ratio is the median of the rounds'
own ratios, above one is faster than the reference; the smallest and the largest stand behind it. Only forms that gave
the same values in this very run have one: to 1e-4 of the largest, bytes to the last place of rounding. Compare ratios,
not times: they are of one machine on one day.
"""

NETWORKS = """\
## The zoo: exported networks against PyTorch

Full-size networks with seeded weights, float32, exported with `--io float` and `--target onnxruntime` or `openvino`;
PyTorch runs the network as its authors wrote it. Sizes are of the input, the largest near 16:9 at which PyTorch should
need about {seconds:g} s at most. `tlsc`: with local pools, windows of {window} px at the scale of the input.
"""

POOLS = """\
## Local average pooling

Windows of {tall}x{wide} around every pixel of {channels} channels of {height}x{width}, moved inward at the borders.
`LocalAvgPool` is our operator by its body of standard operators, which takes maps of any size, also smaller
than the window. Errors are from `float64`, values in 0..1.
"""

DEPLOYMENT = """\
## Bytes in and out: inside the file or in NumPy

The deployment graph against the float graph of the same network with padding, layout, range, crop, clamp and
rounding in NumPy, from a decoded frame to a picture.
"""


@dataclass(frozen=True, slots=True)
class Results:
    """What was measured; empty where it was not asked for.

    Attributes:
        networks: Exported networks against PyTorch.
        pools: Forms of local pooling.
        deployments: Deployment graphs against NumPy.
        errors: Why a part gave no figures, by its name.
    """

    networks: list[NetworkResult] = field(default_factory=list)
    pools: list[PoolResult] = field(default_factory=list)
    deployments: list[DeploymentResult] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)

    def races(self) -> list[tuple[str, RaceResult]]:
        """Every race by the name of what ran."""
        pools = [(f"pooling in {result.runtime}", result.race) for result in self.pools]
        deployments = [(f"{result.label} in {result.runtime}", result.race) for result in self.deployments]
        return [*((result.label, result.race) for result in self.networks), *pools, *deployments]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "machine": machine(),
            "networks": [result.to_dict() for result in self.networks],
            "pools": [result.to_dict() for result in self.pools],
            "deployments": [result.to_dict() for result in self.deployments],
            "errors": self.errors,
        }


def section(results: Results, plan: RacePlan, command: str) -> str:
    """Write everything that was measured as Markdown.

    Args:
        results: At least one of its lists is not empty.
        plan: How it was measured.
        command: That did it.
    """
    threads = "one thread" if plan.threads == 1 else f"{plan.threads} threads"
    introduction = INTRODUCTION.format(command=command, machine=machine(), versions=versions(), threads=threads)
    parts = [introduction]
    if results.networks:
        parts += [
            NETWORKS.format(seconds=plan.seconds, window=TLSC_SIZES[1]),
            network_table(results.networks),
            folded_note(results.networks),
        ]
    if results.pools:
        channels, height, width = SHAPE[1:]
        tall, wide = WINDOW
        parts += [POOLS.format(tall=tall, wide=wide, channels=channels, height=height, width=width)]
        parts += [pool_table(results.pools)]
    if results.deployments:
        parts += [DEPLOYMENT, deployment_table(results.deployments)]
    parts += [problems(results)]
    return "\n".join(part for part in parts if part)


def network_table(results: Iterable[NetworkResult]) -> str:
    """One line per network: size, time in PyTorch, ratio of every runtime to it."""
    rows = [
        (
            f"`{result.label}`",
            _pixels(result.size),
            f"{result.race.reference_ms:.0f}",
            *(result.race.cell(runtime) for runtime in RUNTIMES),
        )
        for result in results
    ]
    return markdown_table(["network", "size", f"{EAGER}, ms", *RUNTIMES], rows)


def folded_note(results: Iterable[NetworkResult]) -> str:
    """What PyTorch gains where every export is rewritten, and PyTorch by itself is not; empty where nothing is."""
    gains = [f"`{result.label}` {result.race.cell(FOLDED)}" for result in results if FOLDED in result.race.ratios]
    if not gains:
        return ""
    return (
        "Exports of EDPN look at the frame once instead of several times, which is part of their ratios.\n"
        f"Rewritten in the same way, PyTorch against itself: {'; '.join(gains)}.\n"
    )


def pool_table(results: Iterable[PoolResult]) -> str:
    """One line per runtime and form: its ratio to ONNX's operator, and its error."""
    rows = []
    for result in results:
        for form, error in result.race.differences.items():
            first = f"{result.race.reference_ms:.0f}" if form == result.race.reference else ""
            rows.append((result.runtime, f"`{form}`", first, result.race.cell(form), f"{error:.1e}"))
    return markdown_table(["runtime", "form", "ms", "ratio", "largest error"], rows)


def deployment_table(results: Iterable[DeploymentResult]) -> str:
    """One line per network and runtime: time with NumPy around it, ratio of the deployment graph to that."""
    rows = [
        (
            f"`{result.label}`",
            result.runtime,
            _pixels(result.size),
            f"{result.race.reference_ms:.0f}",
            result.race.cell(INSIDE),
        )
        for result in results
    ]
    return markdown_table(["network", "runtime", "size", f"{AROUND}, ms", INSIDE], rows)


def problems(results: Results) -> str:
    """Why figures are missing, one line each; empty where none is."""
    lines = [
        f"- {name}, {contestant}: {reason}"
        for name, result in results.races()
        for contestant, reason in (result.failures | result.missing).items()
    ]
    lines += [f"- {name}: {reason}" for name, reason in results.errors.items()]
    return "".join(f"{line}\n" for line in lines)


def versions() -> str:
    """Libraries that ran."""
    names = {"PyTorch": "torch", "ONNX Runtime": "onnxruntime", "OpenVINO": "openvino"}
    return ", ".join(f"{name} {_version(module)}" for name, module in names.items())


def _version(module: str) -> str:
    found = str(require(module, purpose="measure with it").__version__)
    return found.partition("+")[0].partition("-")[0]


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
