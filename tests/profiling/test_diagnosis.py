"""The traps: each has one machine that is in it and one, close by, that is not."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deblurrt.core.gpus import Gpu, GpuFacts
from deblurrt.core.jetson import Jetson
from deblurrt.core.machine import Machine, probe_machine
from deblurrt.core.processor import Cpu, RealTime
from deblurrt.profiling.diagnosis import AREAS, TRAPS, diagnose, facts_of, summary_of
from deblurrt.profiling.findings import SEVERITIES, Severity
from tests.machines import BASE_PACKAGES, DESKTOP, composed_orin_jetpack_6, composed_thor_jetpack_7

PAGE = Path(__file__).parents[2] / "docs" / "doctor.md"

#: a board in no trap: its own Python and TensorRT, nothing from pip beside the base install
ORIN = replace(
    DESKTOP,
    python="3.10.12",
    arch="aarch64",
    gpu=GpuFacts((Gpu("Orin (nvgpu)", "8.7", 62841, 56640),), "540.4.0", "12.6"),
    jetson=Jetson("NVIDIA Jetson AGX Orin Developer Kit", "tegra234", "36.4.4"),
    packages={
        **BASE_PACKAGES,
        "tensorrt": "10.3.0",
        "cuda-bindings": "12.6.2",
        "torch": "2.8.0",
    },
)
THOR = replace(
    ORIN,
    python="3.12.3",
    gpu=GpuFacts((Gpu("NVIDIA Thor", "11.0", 125800, 120000),), "580.00", "13.0"),
    jetson=Jetson("NVIDIA Jetson AGX Thor Developer Kit", "tegra264", "38.2.0"),
)
ORIN_JETPACK_7 = replace(ORIN, python="3.12.3", jetson=Jetson("board", "tegra234", "39.2.0"))
LIBGL = "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"
NO_LIBRARY = "ImportError: libnvinfer.so.10: cannot open shared object file: No such file or directory"
NVML = "Failed to initialize NVML: Driver/library version mismatch NVML library version: 570.124"


def with_packages(machine: Machine, **versions: str | None) -> Machine:
    """Add packages, their dashes written as underscores; None removes one."""
    named = {name.replace("_", "-"): version for name, version in versions.items()}
    packages: dict[str, str | None] = {**machine.packages, **named}
    return replace(machine, packages={name: version for name, version in packages.items() if version is not None})


def failing(machine: Machine, errors: Mapping[str, str]) -> Machine:
    """Let importing these modules fail."""
    return replace(machine, import_errors=errors)


WITH_OLD_DRIVER = replace(DESKTOP, gpu=replace(DESKTOP.gpu, driver="535.183.01", cuda="12.2"))
FOR_CUDA_12: Mapping[str, Any] = {
    "tensorrt_cu13": None,
    "tensorrt_cu13_libs": None,
    "tensorrt_rtx_cu13": None,
    "tensorrt_cu12": "10.16.1",
    "cuda_bindings": "12.9.0",
    "torch": "2.9.0+cu128",
}

#: trap -> what it is in this machine; a machine in it; one that is not
CASES: dict[str, tuple[Severity, Machine, Machine]] = {
    "old-python": ("broken", replace(DESKTOP, python="3.9.19"), replace(DESKTOP, python="3.10.0")),
    "missing-base": ("broken", with_packages(DESKTOP, av=None), DESKTOP),
    "missing-onnxruntime": (
        "broken",
        with_packages(DESKTOP, onnxruntime=None),
        with_packages(DESKTOP, onnxruntime=None, onnxruntime_gpu="1.26.0"),
    ),
    "two-onnxruntimes": (
        "warning",
        with_packages(DESKTOP, onnxruntime_gpu="1.26.0"),
        with_packages(DESKTOP, onnxruntime_genai="0.11.0"),
    ),
    "old-onnxruntime": ("note", with_packages(DESKTOP, onnxruntime="1.24.4"), DESKTOP),
    "base-does-not-load": (
        "broken",
        failing(DESKTOP, {"onnxruntime": "ImportError: DLL load failed"}),
        failing(DESKTOP, {"cv2": LIBGL}),
    ),
    "openvino-does-not-load": ("broken", failing(DESKTOP, {"openvino": "ImportError: libtbb.so.12"}), DESKTOP),
    "opencv-without-display": (
        "broken",
        failing(with_packages(DESKTOP, opencv_python_headless=None, opencv_python="4.10.0"), {"cv2": LIBGL}),
        failing(DESKTOP, {"cv2": "ImportError: numpy.core.multiarray failed to import"}),
    ),
    "opencv-does-not-load": (
        "broken",
        failing(DESKTOP, {"cv2": "ImportError: numpy.core.multiarray failed to import"}),
        failing(DESKTOP, {"cv2": LIBGL}),
    ),
    "two-opencvs": ("warning", with_packages(DESKTOP, opencv_contrib_python="4.10.0"), DESKTOP),
    "missing-openvino": ("note", with_packages(DESKTOP, openvino=None), ORIN),
    "missing-torch": ("note", with_packages(DESKTOP, torch=None), DESKTOP),
    "few-processors": (
        "warning",
        replace(DESKTOP, cpu=Cpu("a processor", 64, 64, 2.0)),
        replace(DESKTOP, cpu=Cpu("a processor", 64, 2, 2.0)),
    ),
    "missing-driver": (
        "warning",
        replace(DESKTOP, gpu=GpuFacts(), has_cuda_driver=False),
        with_packages(
            replace(DESKTOP, gpu=GpuFacts(), has_cuda_driver=False),
            **dict.fromkeys(("tensorrt", "tensorrt_cu13", "tensorrt_rtx_cu13", "cuda_bindings")),
        ),
    ),
    "silent-gpu": ("warning", replace(DESKTOP, gpu=GpuFacts(trouble=NVML)), DESKTOP),
    "old-driver": ("broken", WITH_OLD_DRIVER, with_packages(WITH_OLD_DRIVER, **FOR_CUDA_12)),
    "missing-cuda-bindings": (
        "warning",
        with_packages(DESKTOP, cuda_bindings=None),
        replace(with_packages(DESKTOP, cuda_bindings=None), gpu=GpuFacts()),
    ),
    "cuda-bindings-do-not-load": (
        "broken",
        failing(DESKTOP, {"cuda.bindings.runtime": "ImportError: undefined symbol"}),
        DESKTOP,
    ),
    "pycuda-does-not-load": (
        "note",
        failing(
            replace(DESKTOP, has_cuda_driver=False),
            {"pycuda.driver": "ImportError: libcuda.so.1: cannot open shared object file"},
        ),
        DESKTOP,
    ),
    "tensorrt-does-not-load": ("broken", failing(DESKTOP, {"tensorrt": NO_LIBRARY}), failing(DESKTOP, {"cv2": LIBGL})),
    "rtx-on-other-gpu": (
        "warning",
        replace(DESKTOP, gpu=GpuFacts((Gpu("NVIDIA H200", "9.0"),), "580.65.06", "13.0")),
        replace(DESKTOP, gpu=GpuFacts((Gpu("NVIDIA GB10", "12.1"),), "580.65.06", "13.0")),
    ),
    "pip-tensorrt-on-jetson": ("broken", with_packages(ORIN, tensorrt_cu12_libs="10.9.0"), DESKTOP),
    "tensorrt-11-on-jetpack-6": (
        "broken",
        with_packages(ORIN, tensorrt="11.0.1"),
        with_packages(ORIN_JETPACK_7, tensorrt="11.4.1"),
    ),
    "unseen-system-tensorrt": ("warning", with_packages(ORIN, tensorrt=None), with_packages(DESKTOP, tensorrt=None)),
    "other-python-on-jetpack-6": ("warning", replace(ORIN, python="3.12.3"), THOR),
    "unknown-jetpack": ("note", replace(THOR, jetson=Jetson("board", "tegra264", "40.1.0")), THOR),
    "no-realtime": (
        "note",
        replace(DESKTOP, real_time=RealTime(0)),
        replace(DESKTOP, real_time=RealTime(0, is_privileged=True)),
    ),
    "little-disk": ("warning", replace(DESKTOP, cache_free_mib=2047), replace(DESKTOP, cache_free_mib=2048)),
}


def traps_of(machine: Machine) -> dict[str, Severity]:
    return {finding.trap: finding.severity for finding in diagnose(machine).findings}


def test_every_trap_has_a_machine_in_it_and_one_that_is_not() -> None:
    assert list(CASES) == list(TRAPS)


@pytest.mark.parametrize("trap", TRAPS)
def test_trap_is_found_where_it_is_and_only_there(trap: str) -> None:
    severity, machine_in, machine_out = CASES[trap]
    assert traps_of(machine_in).get(trap) == severity
    assert trap not in traps_of(machine_out)


@pytest.mark.parametrize("machine", [DESKTOP, ORIN, THOR], ids=["desktop", "Orin", "Thor"])
def test_machine_that_lacks_nothing_is_in_no_trap(machine: Machine) -> None:
    assert traps_of(machine) == {}


@pytest.mark.parametrize("trap", TRAPS)
def test_finding_says_what_was_found_expected_and_what_to_do(trap: str) -> None:
    finding = next(finding for finding in diagnose(CASES[trap][1]).findings if finding.trap == trap)
    assert finding.area in AREAS
    assert "" not in (finding.found, finding.expected, finding.remedy)
    assert "\n" not in finding.remedy


@pytest.mark.parametrize(
    ("machine", "severity"),
    [
        (with_packages(ORIN, tensorrt_cu12_libs="10.9.0"), "broken"),
        (with_packages(ORIN, tensorrt_cu12_libs="10.16.1"), "broken"),
        (with_packages(ORIN_JETPACK_7, tensorrt_cu13_libs="10.13.3"), "broken"),
        (with_packages(ORIN_JETPACK_7, tensorrt_cu13_libs="10.16.1"), "warning"),
        (with_packages(THOR, tensorrt_cu13_libs="10.13.3"), "warning"),
    ],
    ids=["JetPack 6", "JetPack 6 from 10.16", "Orin before 10.16", "Orin from 10.16", "Thor"],
)
def test_tensorrt_from_pip_is_broken_where_it_does_not_know_the_gpu(machine: Machine, severity: Severity) -> None:
    assert traps_of(machine)["pip-tensorrt-on-jetson"] == severity


def test_remedy_for_tensorrt_from_pip_names_its_wheels_and_the_system_package() -> None:
    machine = with_packages(ORIN, tensorrt_cu12="10.9.0", tensorrt_cu12_libs="10.9.0", tensorrt_cu12_bindings="10.9.0")
    remedy = next(finding.remedy for finding in diagnose(machine).findings)
    assert "tensorrt tensorrt-cu12 tensorrt-cu12-libs tensorrt-cu12-bindings &&" in remedy
    assert "python3-libnvinfer" in remedy


@pytest.mark.parametrize("python", ["3.10.12", "3.11.9"])
def test_old_runtime_is_upgraded_only_where_there_are_wheels(python: str) -> None:
    machine = replace(with_packages(DESKTOP, onnxruntime="1.23.2"), python=python)
    remedy = next(finding.remedy for finding in diagnose(machine).findings if finding.trap == "old-onnxruntime")
    assert remedy.startswith("stay:" if python.startswith("3.10") else "pip install --upgrade onnxruntime")


@pytest.mark.parametrize(
    ("driver", "cuda", "is_old"),
    [
        ("580.65.06", "", False),
        ("575.51.03", "", True),
        ("", "13.0", False),
        ("", "12.9", True),
        ("535.183.01", "13.0", False),  # a compatibility package brings a newer CUDA than the driver's own
        ("", "", False),
    ],
)
def test_driver_is_too_old_by_its_cuda_or_else_by_its_version(driver: str, cuda: str, is_old: bool) -> None:
    machine = replace(DESKTOP, gpu=replace(DESKTOP.gpu, driver=driver, cuda=cuda))
    assert ("old-driver" in traps_of(machine)) is is_old


def test_torch_tells_its_cuda_after_a_plus() -> None:
    for_torch = with_packages(WITH_OLD_DRIVER, **{**FOR_CUDA_12, "torch": "2.9.0+cu130"})
    assert "for CUDA 13: torch" in next(finding.found for finding in diagnose(for_torch).findings)


def test_cuda_bindings_are_offered_for_the_drivers_cuda() -> None:
    machine = with_packages(ORIN, cuda_bindings=None)
    assert [finding.remedy for finding in diagnose(machine).findings] == ["pip install 'cuda-bindings==12.*'"]


def test_missing_driver_without_a_gpu_is_only_a_note() -> None:
    machine = replace(DESKTOP, gpu=GpuFacts(), has_cuda_driver=False, has_nvidia_device=False)
    assert traps_of(machine) == {"missing-driver": "note"}


def test_pycuda_that_fails_although_there_is_a_driver_is_broken() -> None:
    assert traps_of(failing(DESKTOP, {"pycuda.driver": "ImportError: undefined symbol"})) == {
        "pycuda-does-not-load": "broken"
    }


def test_new_python_is_a_note() -> None:
    assert traps_of(replace(DESKTOP, python="3.14.0")) == {"old-python": "note"}


def test_cache_that_cannot_be_made_is_told() -> None:
    assert traps_of(replace(DESKTOP, cache_folder="", cache_free_mib=None)) == {"little-disk": "warning"}


def test_composed_orin_with_tensorrt_from_pip(tmp_path: Path) -> None:
    diagnosis = diagnose(probe_machine(composed_orin_jetpack_6(tmp_path, {"tensorrt-cu12-libs": "10.9.0.34"})))
    found = {finding.trap: finding.severity for finding in diagnosis.findings}
    assert diagnosis.is_broken
    assert found == {
        "pip-tensorrt-on-jetson": "broken",
        "missing-cuda-bindings": "warning",
        "old-onnxruntime": "note",
        "missing-torch": "note",
        "no-realtime": "note",
    }


def test_composed_thor_as_delivered_is_not_broken(tmp_path: Path) -> None:
    diagnosis = diagnose(probe_machine(composed_thor_jetpack_7(tmp_path)))
    assert not diagnosis.is_broken
    assert {finding.trap for finding in diagnosis.findings} == {"missing-cuda-bindings", "missing-torch", "no-realtime"}


def test_composed_thor_with_tensorrt_rtx_cannot_run_its_engines(tmp_path: Path) -> None:
    machine = probe_machine(composed_thor_jetpack_7(tmp_path, {"tensorrt-rtx-cu13": "1.7.1"}))
    assert traps_of(machine)["rtx-on-other-gpu"] == "warning"


def test_gravest_findings_come_first_and_decide_the_verdict() -> None:
    machine = with_packages(replace(DESKTOP, real_time=RealTime(0), cache_free_mib=1), av=None, torch=None)
    diagnosis = diagnose(machine)
    ranks = [SEVERITIES.index(finding.severity) for finding in diagnosis.findings]
    assert ranks == sorted(ranks, reverse=True)
    assert {area: diagnosis.verdict(area) for area in ("packages", "system", "cpu")} == {
        "packages": "broken",
        "system": "warning",
        "cpu": "ok",
    }


def test_diagnosis_is_plain_json(tmp_path: Path) -> None:
    told = json.loads(json.dumps(diagnose(probe_machine(composed_orin_jetpack_6(tmp_path))).to_dict()))
    assert told["machine"]["jetson"]["jetpack"] == "6.2.1"
    assert told["broken"] is False
    assert set(told["findings"][0]) == {"severity", "found", "expected", "remedy", "trap", "area"}


@pytest.mark.parametrize("machine", [DESKTOP, ORIN, Machine("3.12.3")], ids=["desktop", "Orin", "nothing known"])
def test_every_area_has_a_line_of_facts(machine: Machine) -> None:
    facts = facts_of(machine)
    assert tuple(facts) == AREAS
    assert all(facts.values())


def test_page_lists_every_trap_as_its_check_says_it() -> None:
    listed = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.+) \|$", PAGE.read_text(), re.M))
    assert listed == {trap: summary_of(trap) for trap in TRAPS}
