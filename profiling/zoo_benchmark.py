"""The benchmark of the zoo behind docs/benchmarks.md: exports, local pooling and deployment graphs as ratios.

    python -m deblurrt.profiling.zoo_benchmark --output docs/benchmarks.md

Everything that is compared runs in turn in this one process; see ``races``.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from ..core.errors import DeblurrtError, QualityError, UsageError
from ..core.optional import require
from ..core.outputs import check_output, write_whole
from .deployment_race import deployment_results
from .network_race import network_result
from .page_sections import write_section
from .pool_race import pool_results
from .races import RacePlan
from .zoo_section import PROGRAM, Results, problems, section
from .zoo_sizes import variants_called

SECTION = "zoo_benchmark"
POOLING, DEPLOYMENT = "pooling", "deployment"
STDOUT = "-"
#: packages without which there is nothing to compare
NEEDED = ("torch", "onnxruntime", "openvino", "onnxscript", "onnxslim", "safetensors")

EXAMPLES = """\b
Examples:
  python -m deblurrt.profiling.zoo_benchmark --output docs/benchmarks.md
  python -m deblurrt.profiling.zoo_benchmark --only kaist_net --seconds 0.5
  python -m deblurrt.profiling.zoo_benchmark --only mprnet-tlsc --only pooling --json -"""


def measured(plan: RacePlan, only: tuple[str, ...] = ()) -> Results:
    """Measure everything, or what is named; what cannot be exported or run is named in the result.

    Args:
        plan: How.
        only: Networks, variants, ``pooling``, ``deployment``; empty: all.

    Raises:
        UsageError: Nothing has one of the names.
        MissingExtraError: A package is not installed; the message names the extra.
    """
    names = [name for name in only if name not in (POOLING, DEPLOYMENT)]
    variants = variants_called(names) if names or not only else []
    for name in NEEDED:
        require(name, purpose="compare the runtimes")
    results = Results()
    for variant in variants:
        with _noted(results, variant.label, plan):
            results.networks.append(network_result(variant, plan))
    if not only or POOLING in only:
        with _noted(results, POOLING, plan):
            results.pools.extend(pool_results(plan))
    if not only or DEPLOYMENT in only:
        with _noted(results, DEPLOYMENT, plan):
            results.deployments.extend(deployment_results(plan))
    return results


@contextmanager
def _noted(results: Results, name: str, plan: RacePlan) -> Iterator[None]:
    """Keep why a part failed, so that one network does not lose the others' figures."""
    try:
        yield
    except DeblurrtError as error:
        plan.tell(f"{name}: {error}")
        results.errors[name] = str(error)


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Page whose section is replaced; stdout if none.")
@click.option("--only", multiple=True, metavar="NAME", help="A network, a variant, pooling or deployment; repeatable.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=3.0,
    show_default=True,
    help="What one run of PyTorch may take, by the number of multiply-accumulates; decides sizes.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--json", "json_place", metavar="FILE", help="Write the results as JSON; - is standard output.")
def command(
    output: Path | None, only: tuple[str, ...], seconds: float, rounds: int, threads: int, json_place: str | None
) -> None:
    """Measure the networks of the zoo in PyTorch, ONNX Runtime and OpenVINO, as ratios.

    Also local average pooling, and deployment graphs against NumPy around the network. Ends with 3 where a
    runtime gives other values than PyTorch, or a network cannot be exported.
    """
    if only and output:
        raise UsageError("--only measures a part and --output writes the whole section; give one of them")
    for place in (output, Path(json_place) if json_place not in (None, STDOUT) else None):
        if place is not None:
            check_output(place, force=True)
    started = time.perf_counter()

    def tell(line: str) -> None:
        click.echo(f"{time.perf_counter() - started:6.0f} s  {line}", err=True)

    with tempfile.TemporaryDirectory() as folder:
        plan = RacePlan(Path(folder), threads, rounds, seconds, tell)
        results = measured(plan, only)
    page = [f"--output {output.name if output.is_absolute() else output}"] if output else []
    words = [PROGRAM, *page, *(f"--only {name}" for name in only)]
    words += [f"--seconds {seconds:g} --rounds {rounds} --threads {threads}"]
    text = section(results, plan, " ".join(words))
    _write(results, text, output, json_place)
    if results.errors or any(race.failures for _, race in results.races()):
        raise QualityError(f"not everything runs and gives the same values:\n{problems(results).rstrip()}")


def _write(results: Results, text: str, output: Path | None, json_place: str | None) -> None:
    if output is not None:
        write_section(output, SECTION, text)
    elif json_place != STDOUT:
        click.echo(text)
    values = json.dumps(results.to_dict(), indent=2)
    if json_place == STDOUT:
        click.echo(values)
    elif json_place is not None:
        write_whole(Path(json_place), f"{values}\n".encode())


def main() -> None:
    """Run the command; an error raised on purpose is one line and its exit code."""
    try:
        command()
    except DeblurrtError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
