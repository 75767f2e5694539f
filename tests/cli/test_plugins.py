"""``deblurrt plugins``: its subcommands, exit codes and results."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deblurrt.cli import plugin_conformance
from deblurrt.cli.plugin_bench import print_report
from deblurrt.cli.plugins import plugins_command
from deblurrt.core.errors import MachineError
from deblurrt.plugins.conformance import Bench, Finding
from deblurrt.plugins.kernel_bench import Ceiling, Timing
from deblurrt.plugins.tensorrt_library import CompiledLibrary

Deblurrt = Callable[..., int]


@pytest.fixture
def findings(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What the kit finds; nothing is compiled."""
    found = [
        Finding("LocalAvgPool", "float32", "random", 500, 5.7e-7, 1e-6),
        Finding("LocalAvgPool", "float32", "graph capture", 0, skipped="the CPU has no graphs"),
    ]

    def kit(bench: Bench, count: int, seed: int) -> Iterator[Finding]:
        yield from found

    monkeypatch.setattr(plugin_conformance, "build_kernels", lambda build: Path("kernels.so"))
    monkeypatch.setattr(plugin_conformance, "load_kernels", lambda path: None)
    monkeypatch.setattr(plugin_conformance, "run_kit", kit)
    return found


@pytest.mark.parametrize("name", plugins_command.commands)
def test_help_of_every_subcommand_shows_examples(
    name: str, deblurrt: Deblurrt, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt("plugins", name, "--help") == 0
    assert f"deblurrt plugins {name}" in capsys.readouterr().out.partition("Examples:")[2]


@pytest.mark.usefixtures("findings")
def test_worst_errors_are_shown(deblurrt: Deblurrt, capsys: pytest.CaptureFixture[str]) -> None:
    assert deblurrt("plugins", "test") == 0
    shown = capsys.readouterr().out
    assert [
        word for word in ("5.7e-07", "1.0e-06", "the CPU has no graphs", "all 500 calls agree") if word not in shown
    ] == []


def test_failed_case_ends_with_the_quality_gate(
    deblurrt: Deblurrt, findings: list[Finding], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    findings.append(Finding("LocalAvgPool", "float16", "odd sizes", 1, 0.5, 1e-3, ("odd sizes: error 5.0e-01",)))
    place = tmp_path / "result.json"
    assert deblurrt("plugins", "test", "--json", place) == 3
    result = json.loads(place.read_text())
    assert result["ok"] is False
    assert result["findings"][2]["failures"] == ["odd sizes: error 5.0e-01"]
    assert "FAILED LocalAvgPool float16, odd sizes" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [("test", "--device", "cuda"), ("bench",)])
def test_missing_gpu_ends_with_its_code_and_the_remedy(
    arguments: tuple[str, ...], deblurrt: Deblurrt, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(purpose: str) -> None:
        raise MachineError(f"an NVIDIA GPU is needed to {purpose}")

    monkeypatch.setattr("deblurrt.cli.plugin_conformance.cuda_memory", refuse)
    monkeypatch.setattr("deblurrt.cli.plugin_bench.cuda_memory", refuse)
    assert deblurrt("plugins", *arguments) == 5
    assert "an NVIDIA GPU is needed" in capsys.readouterr().err


def test_sanitizers_are_for_the_cpu(deblurrt: Deblurrt) -> None:
    assert deblurrt("plugins", "test", "--sanitize", "--device", "cuda") == 2


@pytest.mark.parametrize("arguments", [("build",), ("test", "--device", "cuda"), ("bench",)])
@pytest.mark.parametrize("arch", ["native", "8.7", "sm_", ""])
def test_nonsense_for_an_architecture_is_refused(
    arguments: tuple[str, ...], arch: str, deblurrt: Deblurrt, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt("plugins", *arguments, "--arch", arch) == 2
    assert "is no compute capability, expected such as sm87" in capsys.readouterr().err


@pytest.mark.parametrize("arch", ["87", "sm87", "sm_87"])
def test_architectures_are_read_as_they_are_written(
    arch: str, deblurrt: Deblurrt, findings: list[Finding], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[object] = []

    def build_library(root: Path | None, archs: tuple[str, ...], **_: object) -> CompiledLibrary:
        wanted.append(archs)
        return CompiledLibrary(Path("a.so"), "", "", (10, 3), "12.6", archs)

    monkeypatch.setattr("deblurrt.cli.plugins_build.build_library", build_library)
    monkeypatch.setattr(plugin_conformance, "cuda_memory", lambda _purpose: None)
    monkeypatch.setattr(plugin_conformance, "build_kernels", lambda build: wanted.append(build.arch))
    assert deblurrt("plugins", "build", "--arch", f"{arch},110") == 0
    assert deblurrt("plugins", "test", "--device", "cuda", "--arch", arch) == 0
    assert wanted == [("sm87", "sm110"), "sm87"]


def test_architecture_is_of_a_gpu(deblurrt: Deblurrt, capsys: pytest.CaptureFixture[str]) -> None:
    assert deblurrt("plugins", "test", "--arch", "sm87") == 2
    assert "--arch is for --device cuda" in capsys.readouterr().err


def test_missing_compiler_ends_with_its_code(
    deblurrt: Deblurrt, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert deblurrt("plugins", "test") == 5
    assert "no-such-compiler is needed" in capsys.readouterr().err


def test_report_of_a_benchmark_names_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    ceiling = Ceiling(4000, {"float16": 600})
    pool = Timing(
        "LocalAvgPool", "float16", (720, 1280), 96, 0.1, 3000, 0.75, None, None, 48 << 20, {"F.avg_pool2d": 9.5}, {}
    )
    convolution = Timing(
        "ModulatedDeformConv",
        "float16",
        (720, 1280),
        None,
        1,
        500,
        0.1,
        68,
        0.11,
        0,
        {},
        {"theirs": "is not installed"},
    )
    print_report("a GPU", ceiling, [pool, convolution], None)
    shown = capsys.readouterr().out
    words = (
        "a GPU: copy 4000 GB/s",
        "75%",
        "48",
        "MiB",
        "F.avg_pool2d 9.500",
        "68.00",
        "11%",
        "theirs: is not installed",
    )
    assert [word for word in words if word not in shown] == []
