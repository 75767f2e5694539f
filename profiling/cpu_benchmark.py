"""The CPU benchmark behind docs/benchmarks.md: ratios of things measured in turn, in one run.

    python -m deblurrt.profiling.cpu_benchmark --clip drive.mp4 --output docs/benchmarks.md

Absolute times are of one machine on one day; what is compared runs alternately, round after round,
and each figure is the median over the rounds.
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from ..core.artifacts import open_onnx
from ..core.errors import MachineError
from ..core.optional import require
from ..runtime import RunConfig, SessionConfig, open_session, run
from ..runtime.backend import BackendConfig, open_backend, smooth_noise
from ..runtime.frame import Pixels
from ..runtime.shipped_models import find_model
from ..training.weights import load_weights
from .contestants import FirstFrames, Plan, RepeatedFrame, naive_loop
from .page_sections import write_section

SIZE = (720, 1280)
MODELS = ("default", "fast")
IMPORT_RUNS = 7
MEMORY_FRAMES = 1000
MEMORY_SIZE = (180, 320)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Attributes:
        name: What was measured.
        value: The figure with its unit.
        ratio: Against the reference of the table, empty for the reference itself.
        aim: What it should reach, empty where nothing is asked.
    """

    name: str
    value: str
    ratio: str = ""
    aim: str = ""


def in_turn(contestants: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Let every contestant run once per round; the seconds each one reports, round by round."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            times[name].append(contestant())
    return times


def network_times(plan: Plan, model: str) -> list[Row]:
    """The network alone, on every backend and in PyTorch, milliseconds per 720p frame."""
    frames = smooth_noise((1, *SIZE, 3), "uint8")
    contestants: dict[str, Callable[[], float]] = {"PyTorch eager, fp32": _torch_network(model, plan.threads)}
    notes = []
    for name, precision in (("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")):
        config = BackendConfig("bf16" if precision == "bf16" else "fp32", plan.threads)
        try:
            backend = open_backend(name, open_onnx(find_model(model)), config)
        except MachineError as error:
            notes.append(Row(f"{name}, {precision}", f"not measured: {error}"))
            continue
        backend.prepare({"frames": frames.shape})
        contestants[f"{name}, {precision}"] = _timed(lambda backend=backend: backend.run({"frames": frames}))  # type: ignore[misc]
    times = in_turn(contestants, plan.rounds)
    reference = times["PyTorch eager, fp32"]
    rows = [
        Row(f"{name}", f"{1e3 * statistics.median(seconds):.1f} ms", f"{median_ratio(reference, seconds):.2f}x")
        for name, seconds in times.items()
    ]
    return rows + notes


def median_ratio(numerator: list[float], denominator: list[float]) -> float:
    """Median over the rounds of the ratio within each round."""
    return statistics.median(top / bottom for top, bottom in zip(numerator, denominator, strict=True))


def _timed(action: Callable[[], object]) -> Callable[[], float]:
    def timed() -> float:
        started = time.perf_counter()
        action()
        return time.perf_counter() - started

    timed()
    return timed


def _torch_network(model: str, threads: int) -> Callable[[], float]:
    """The network in PyTorch, with what the graph does around it: bytes in, bytes out."""
    torch = require("torch", purpose="compare with PyTorch")
    from ..models.student import Student

    torch.set_num_threads(threads)
    weights, recipe, _ = load_weights(find_model(model).with_suffix(".safetensors"))
    network = Student(recipe.model).eval()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # not in the stubs
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    frames = torch.from_numpy(smooth_noise((1, *SIZE, 3), "uint8"))

    def restore() -> object:
        with torch.inference_mode():
            restored = network(frames.permute(0, 3, 1, 2).float().div_(255))
            return restored.mul_(255).clamp_(0, 255).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    return _timed(restore)


def pipeline_times(plan: Plan, model: str) -> list[Row]:
    """Whole runs from file to file against the network alone and against the naive loop."""
    named = SessionConfig(model, "onnxruntime", BackendConfig("fp32", plan.threads))
    fastest = SessionConfig(model, "auto", BackendConfig("auto", plan.threads))
    contestants = {
        "network alone, onnxruntime fp32": _network_only(plan, named),
        "deblurrt run, onnxruntime fp32": lambda: _run_clip(plan, named),
        "naive loop, onnxruntime fp32": lambda: naive_loop(plan, model),
        "network alone, auto": _network_only(plan, fastest),
        "deblurrt run, auto": lambda: _run_clip(plan, fastest),
    }
    times = in_turn(contestants, plan.rounds)
    aims = {
        ("deblurrt run, onnxruntime fp32", "network alone, onnxruntime fp32"): "0.9x",
        ("deblurrt run, onnxruntime fp32", "naive loop, onnxruntime fp32"): "1.05x",
        ("deblurrt run, auto", "naive loop, onnxruntime fp32"): "1.3x",
        ("deblurrt run, auto", "network alone, auto"): "",
    }
    rows = [Row(name, f"{plan.frames / statistics.median(seconds):.1f} fps") for name, seconds in times.items()]
    for (ours, other), aim in aims.items():
        rows.append(Row(f"{ours} : {other}", "", f"{median_ratio(times[other], times[ours]):.2f}x", aim))
    return rows


def _run_clip(plan: Plan, session: SessionConfig) -> float:
    """Seconds from the first frame asked for to the file closed; opening the model is left out, as for the others."""
    source = FirstFrames(plan.clip, plan.frames)
    return run(source, [plan.folder / "run.mp4"], RunConfig(session, force=True)).elapsed_s


def _network_only(plan: Plan, config: SessionConfig) -> Callable[[], float]:
    session = open_session(config.model, config)
    picture: Pixels = smooth_noise((*SIZE, 3), "uint8")
    session.warm_up(SIZE)

    def restore_all() -> float:
        started = time.perf_counter()
        for _ in range(plan.frames):
            session.restore(picture)
        return time.perf_counter() - started

    return restore_all


def import_time() -> Row:
    """Milliseconds ``import deblurrt.runtime`` takes in a fresh interpreter, median."""
    code = "import time; t = time.perf_counter(); import deblurrt.runtime; print(time.perf_counter() - t)"
    command = [sys.executable, "-c", code]
    times = [float(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(IMPORT_RUNS)]
    return Row("import deblurrt.runtime", f"{1e3 * statistics.median(times):.0f} ms", aim="150 ms")


def memory_growth(plan: Plan) -> Row:
    """Resident memory after 200 and after 1,000 frames of one run."""
    source = RepeatedFrame(MEMORY_SIZE, MEMORY_FRAMES + 1)
    session = SessionConfig("fast", "onnxruntime", BackendConfig("fp32", plan.threads))
    run(source, [plan.folder / "memory.mp4"], RunConfig(session, force=True))
    early, late = source.memory_mib[2], source.memory_mib[10]
    return Row(
        "memory after 200 and 1,000 frames", f"{early:.1f} and {late:.1f} MiB", f"{late - early:+.1f} MiB", "flat"
    )


def table(title: str, rows: list[Row]) -> str:
    """Write rows as a Markdown table."""
    lines = [f"## {title}", "", "| | measured | ratio | aim |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {row.name} | {row.value} | {row.ratio} | {row.aim} |" for row in rows), ""])


def machine() -> str:
    """Processor and versions, as far as the system tells."""
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    flags = next((line for line in _cpuinfo() if line.startswith("flags")), "")
    vectors = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
    return (
        f"{len(names)} cores of {names[0] if names else platform.processor()} ({vectors}), {platform.python_version()}"
    )


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.is_file() else []


@click.command()
@click.option("--clip", required=True, type=click.Path(exists=True, path_type=Path), help="A 720p video.")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Markdown file to write.")
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True)
@click.option(
    "--frames", type=click.IntRange(min=1), default=40, show_default=True, help="Frames per turn of a pipeline."
)
def main(clip: Path, output: Path, threads: int, rounds: int, frames: int) -> None:
    """Measure the shipped networks on this CPU and write that section of docs/benchmarks.md."""
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(clip, threads, rounds, frames, Path(folder))
        command = f"python -m deblurrt.profiling.cpu_benchmark --clip {clip.name} --output docs/benchmarks.md"
        parts = [
            f"Written by `{command} --threads {threads} --rounds {rounds} --frames {frames}`\non {machine()}.",
            "Contestants run in turn within each round; figures are medians over the rounds, ratios above one",
            "mean faster than the reference. Compare ratios, not times: they are of one machine on one day.\n",
        ]
        for model in MODELS:
            click.echo(f"{model}: network", err=True)
            parts.append(table(f"`{model}`: the network alone at 720p (ratio to PyTorch)", network_times(plan, model)))
            click.echo(f"{model}: pipeline", err=True)
            parts.append(table(f"`{model}`: from file to file at 720p", pipeline_times(plan, model)))
        click.echo("import time and memory", err=True)
        parts.append(table("Start and memory", [import_time(), memory_growth(plan)]))
    write_section(output, "cpu_benchmark", "\n".join(parts))


if __name__ == "__main__":
    main()
