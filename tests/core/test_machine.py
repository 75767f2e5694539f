"""What a machine tells: this one, one without anything, and Jetson boards composed from public records."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from deblurrt.core.errors import OutputError
from deblurrt.core.gpus import Gpu, GpuFacts, Ran, run_command
from deblurrt.core.jetson import JETPACK_MAJOR, JETPACK_OF_RELEASE, Jetson, read_jetson
from deblurrt.core.machine import (
    Machine,
    Readers,
    installed_packages,
    library_loads,
    probe_machine,
    version_numbers,
)
from deblurrt.core.processor import RealTime, read_cpu, read_real_time
from tests.machines import RecordedCommands, composed_orin_jetpack_6, composed_thor_jetpack_7, write_root


def test_this_machine_tells_its_python_processor_memory_and_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    machine = probe_machine()
    assert (machine.python, machine.system) == (platform.python_version(), platform.system())
    assert machine.cpu.usable >= 1
    assert machine.packages["numpy"]
    assert machine.cache_folder == str(tmp_path / "deblurrt" / "engines")
    assert machine.import_errors.keys().isdisjoint({"numpy", "onnx", "onnxruntime", "av"})


def test_machine_that_tells_nothing_is_a_machine(tmp_path: Path) -> None:
    def no_folder() -> Path:
        raise OutputError("read-only")

    nothing = Readers(
        root=tmp_path,
        run=lambda command: None,
        cuda=lambda: None,
        versions=dict,
        loads=lambda name: False,
        cache=no_folder,
        python="3.12.3",
        system="Plan9",
        arch="unknown",
    )
    machine = probe_machine(nothing)
    assert machine == Machine("3.12.3", "Plan9", "unknown", cpu=machine.cpu)


def test_orin_with_jetpack_6(tmp_path: Path) -> None:
    machine = probe_machine(composed_orin_jetpack_6(tmp_path))
    assert machine.jetson == Jetson("NVIDIA Jetson AGX Orin Developer Kit", "tegra234", "36.4.4")
    assert (machine.jetson.jetpack, machine.jetson.jetpack_major) == ("6.2.1", 6)
    # the tool knows neither capability nor memory: they are the chip's and the system's
    assert machine.gpu == GpuFacts((Gpu("Orin (nvgpu)", "8.7", 62841, 56640),), "540.4.0", "12.6")
    assert (machine.cpu.count, machine.cpu.features) == (12, ("asimd", "asimdhp", "asimddp"))
    assert machine.packages["tensorrt"] == "10.3.0"
    assert machine.real_time == RealTime(0, False)


def test_thor_with_jetpack_7(tmp_path: Path) -> None:
    machine = probe_machine(composed_thor_jetpack_7(tmp_path))
    assert machine.jetson is not None
    assert (machine.jetson.soc, machine.jetson.release, machine.jetson.jetpack) == ("tegra264", "38.2.0", "7.0")
    assert machine.gpu.gpus[0].compute_capability == "11.0"
    assert (machine.gpu.driver, machine.gpu.cuda) == ("580.00", "13.0")
    assert "bf16" in machine.cpu.features


def test_jetson_without_the_drivers_tool_is_known_from_its_chip(tmp_path: Path) -> None:
    readers = replace(composed_orin_jetpack_6(tmp_path), run=RecordedCommands({}))
    assert [(gpu.name, gpu.compute_capability) for gpu in probe_machine(readers).gpu.gpus] == [("Orin", "8.7")]


def test_tensorrt_of_a_jetson_is_asked_when_it_left_no_record(tmp_path: Path) -> None:
    readers = composed_orin_jetpack_6(tmp_path)
    packages = {name: version for name, version in readers.versions().items() if name != "tensorrt"}
    assert probe_machine(replace(readers, versions=lambda: packages)).packages["tensorrt"] == "10.3.0"


@pytest.mark.parametrize(
    ("revision", "release"), [("2.0", "38.2.0"), ("4.7", "36.4.7"), ("2", "36.2.0"), ("2.1", "39.2.1")]
)
def test_release_has_three_numbers(tmp_path: Path, revision: str, release: str) -> None:
    text = f"# R{release[:2]} (release), REVISION: {revision}, GCID: 1, BOARD: generic\n"
    jetson = read_jetson(write_root(tmp_path, {"etc/nv_tegra_release": text}, 1))
    assert jetson is not None
    assert jetson.release == release


def test_unlisted_release_still_has_a_jetpack_major() -> None:
    jetson = Jetson("board", "tegra234", "36.9.9")
    assert (jetson.jetpack, jetson.jetpack_major) == ("", 6)


def test_table_of_releases_agrees_with_their_majors() -> None:
    wrong = {
        release: jetpack
        for release, jetpack in JETPACK_OF_RELEASE.items()
        if version_numbers(jetpack)[0] != JETPACK_MAJOR[release[:2]]
    }
    assert wrong == {}


def test_desktop_is_no_jetson(tmp_path: Path) -> None:
    assert read_jetson(write_root(tmp_path, {}, 1)) is None


QUOTAS: dict[str, tuple[Mapping[str, str], float | None]] = {
    "none": ({}, None),
    "version 2, no limit": ({"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
    "version 2": ({"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
    "version 2, group around": (
        {
            "proc/self/cgroup": "0::/user.slice/job.scope\n",
            "sys/fs/cgroup/user.slice/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/user.slice/job.scope/cpu.max": "max 100000\n",
        },
        2.0,
    ),
    "version 2, the tighter of two": (
        {
            "proc/self/cgroup": "0::/user.slice/job.scope\n",
            "sys/fs/cgroup/user.slice/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/user.slice/job.scope/cpu.max": "50000 100000\n",
        },
        0.5,
    ),
    "version 1, no limit": (
        {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"},
        None,
    ),
    "version 1": (
        {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"},
        4.0,
    ),
}


@pytest.mark.parametrize(("files", "quota"), QUOTAS.values(), ids=QUOTAS)
def test_limit_of_a_container_is_read(tmp_path: Path, files: Mapping[str, str], quota: float | None) -> None:
    assert read_cpu(write_root(tmp_path, files, 8)).quota == quota


def test_processors_a_process_may_use_are_counted(tmp_path: Path) -> None:
    root = write_root(tmp_path, {"proc/cpuinfo": "processor\t: {index}\nflags\t: fpu avx2 amx_bf16\n\n"}, 16)
    (root / "proc/self/status").write_text("Cpus_allowed_list:\t0-3,8\n")
    cpu = read_cpu(root)
    assert (cpu.count, cpu.usable, cpu.features) == (16, 5, ("avx2", "amx_bf16"))


@pytest.mark.parametrize(
    ("limit", "mask", "told"),
    [
        ("0", "0000000000000000", RealTime(0, False)),
        ("95", "0", RealTime(95)),
        ("0", "0000000000800000", RealTime(0, True)),
    ],
)
def test_real_time_limits_are_read(tmp_path: Path, limit: str, mask: str, told: RealTime) -> None:
    root = write_root(tmp_path, {}, 1)
    (root / "proc/self/limits").write_text(f"Max realtime priority     {limit}                    {limit}\n")
    (root / "proc/self/status").write_text(f"CapEff:\t{mask}\n")
    assert read_real_time(root) == told


def test_module_that_fails_is_told_by_its_last_line(tmp_path: Path) -> None:
    error = "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"
    readers = composed_orin_jetpack_6(tmp_path, {"opencv-python": "4.10.0"})
    readers = replace(readers, run=RecordedCommands({}, {"cv2": error}))
    assert probe_machine(readers).import_errors == {"cv2": error}


@pytest.mark.parametrize(
    ("ran", "told"),
    [(Ran(-6, ""), "ended by signal 6"), (Ran(3, ""), "ended with status 3"), (None, "importing it does not end")],
)
def test_module_that_crashes_or_hangs_is_told(tmp_path: Path, ran: Ran | None, told: str) -> None:
    readers = replace(composed_thor_jetpack_7(tmp_path), run=lambda command: ran, versions=lambda: {"numpy": "2.0"})
    assert probe_machine(readers).import_errors == {"numpy": told}


def test_commands_run_and_missing_ones_do_not() -> None:
    assert run_command([sys.executable, "-c", "import sys; print('out'); sys.exit(3)"]) == Ran(3, "out\n")
    assert run_command(["no-such-command-anywhere"]) is None


def test_installed_packages_have_names_with_dashes() -> None:
    assert [name for name in installed_packages() if "_" in name or name != name.lower()] == []


def test_missing_library_does_not_load() -> None:
    assert not library_loads("libno-such-library.so.1")


@pytest.mark.parametrize(
    ("version", "numbers"), [("10.3.0.30", (10, 3, 0, 30)), ("2.9.0+cu130", (2, 9, 0)), ("1.25rc1", (1, 25)), ("x", ())]
)
def test_versions_compare_as_numbers(version: str, numbers: tuple[int, ...]) -> None:
    assert version_numbers(version) == numbers
