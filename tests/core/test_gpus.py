"""Which GPUs there are: as the driver's tool and CUDA tell, in CUDA's order."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from deblurrt.core.gpus import VISIBLE, Gpu, GpuFacts, NamedGpu, Ran, probe_gpus, read_cuda
from tests.machines import RecordedCommands, banner

QUERY = "nvidia-smi --query-gpu="
NO_CUDA = GpuFacts()


@pytest.fixture(autouse=True)
def every_gpu_is_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VISIBLE, raising=False)


TWO_GPUS = (
    "NVIDIA GeForce RTX 4090, 24564, 24000, 580.65.06, 8.9\nNVIDIA GeForce RTX 2080, 8192, 8000, 580.65.06, 7.5\n"
)


@pytest.mark.parametrize(
    "words", [("Driver Version", "CUDA Version"), ("KMD Version", "CUDA UMD Version")], ids=["before 610", "610"]
)
def test_drivers_tool_tells_gpus_driver_and_cuda(words: tuple[str, str]) -> None:
    records = {"nvidia-smi": Ran(0, banner("580.65.06", "13.0", words=words)), QUERY: Ran(0, TWO_GPUS)}
    facts = probe_gpus(RecordedCommands(records), lambda: None)
    assert facts.gpus[0] == Gpu("NVIDIA GeForce RTX 4090", "8.9", 24564, 24000)
    assert [gpu.compute_capability for gpu in facts.gpus] == ["8.9", "7.5"]
    assert (facts.driver, facts.cuda, facts.trouble) == ("580.65.06", "13.0", "")


def test_driver_that_knows_no_compute_capability_is_asked_without() -> None:
    asked = f"{QUERY}name,memory.total,memory.free,driver_version --format"
    refused = Ran(2, 'Field "compute_cap" is not a valid field to query.\n')
    records = {QUERY: refused, asked: Ran(0, "Tesla T4, 15109, 15000, 470.82.01\n")}
    told = GpuFacts((Gpu("Tesla T4", "7.5", 15000),), cuda="11.4")
    facts = probe_gpus(RecordedCommands(records), lambda: told)
    assert facts == GpuFacts((Gpu("Tesla T4", "7.5", 15109, 15000),), "470.82.01", "11.4")


def test_first_gpu_is_that_of_cuda_whose_order_is_another() -> None:
    text = TWO_GPUS.replace("8.9", "[N/A]").replace("7.5", "[N/A]")
    told = GpuFacts((Gpu("NVIDIA GeForce RTX 2080", "7.5"), Gpu("NVIDIA GeForce RTX 4090", "8.9")))
    facts = probe_gpus(RecordedCommands({QUERY: Ran(0, text)}), lambda: told)
    assert facts.gpus == (
        Gpu("NVIDIA GeForce RTX 2080", "7.5", 8192, 8000),
        Gpu("NVIDIA GeForce RTX 4090", "8.9", 24564, 24000),
    )
    assert facts.driver == "580.65.06"


def test_gpu_that_cuda_does_not_see_is_none_to_build_on() -> None:
    told = GpuFacts((Gpu("NVIDIA GeForce RTX 2080", "7.5", 8190),), cuda="13.0")
    facts = probe_gpus(RecordedCommands({QUERY: Ran(0, TWO_GPUS)}), lambda: told)
    assert facts.gpus == (Gpu("NVIDIA GeForce RTX 2080", "7.5", 8192, 8000),)


TWINS = "Tesla T4, 15109, 15000, 580.65.06, 7.5\nTesla T4, 15109, 200, 580.65.06, 7.5\n"
UUIDS = ("GPU-aa0fb2c4-0000-0000-0000-000000000001", "GPU-ab0fb2c4-0000-0000-0000-000000000002")
UUID_RECORDS = {f"{QUERY}uuid": Ran(0, "\n".join(UUIDS))}


@pytest.mark.parametrize(
    ("uuid", "gpu"),
    [
        (UUIDS[0], Gpu("Tesla T4", "7.5", 15109, 15000)),
        (UUIDS[1], Gpu("Tesla T4", "7.5", 15109, 200)),
        # a part of a GPU (MIG) has a UUID of its own, and less memory than the tool says of the whole
        ("GPU-ac0fb2c4-0000-0000-0000-000000000003", Gpu("Tesla T4", "7.5", 4000)),
    ],
)
def test_twins_are_told_apart_by_uuid_which_no_report_repeats(uuid: str, gpu: Gpu) -> None:
    told = GpuFacts((NamedGpu("Tesla T4", "7.5", 4000, uuid=uuid),))
    facts = probe_gpus(RecordedCommands({QUERY: Ran(0, TWINS), **UUID_RECORDS}), lambda: told)
    assert facts.gpus == (gpu,)


def test_twins_without_uuid_have_the_least_memory_that_is_free() -> None:
    told = GpuFacts((Gpu("Tesla T4", "7.5", 15000),))
    facts = probe_gpus(RecordedCommands({QUERY: Ran(0, TWINS)}), lambda: told)
    assert facts.gpus == (Gpu("Tesla T4", "7.5", 15109, 200),)


@pytest.mark.parametrize(
    ("visible", "free"),
    [
        (None, [15000, 200]),
        ("1", [200]),
        ("1,0", [200, 15000]),
        (" 1 , 7, 0", [200]),
        ("GPU-ab", [200]),
        ("GPU-ab,0", [200, 15000]),
        ("GPU-a", []),
        ("-1", []),
        ("", []),
        ("MIG-5", [15000, 200]),
    ],
)
def test_visible_devices_choose_where_the_tool_alone_answers(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, free: list[int]
) -> None:
    if visible is not None:
        monkeypatch.setenv(VISIBLE, visible)
    facts = probe_gpus(RecordedCommands({QUERY: Ran(0, TWINS), **UUID_RECORDS}), lambda: None)
    assert [gpu.memory_free_mib for gpu in facts.gpus] == free
    assert {type(gpu) for gpu in facts.gpus} <= {Gpu}


def test_tool_that_fails_says_why() -> None:
    text = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 570.124\n"
    facts = probe_gpus(RecordedCommands({QUERY: Ran(18, text)}), lambda: None)
    assert facts.trouble == text.strip().replace("\n", " ")
    assert facts.gpus == ()


def test_remark_of_the_tool_is_no_gpu() -> None:
    assert probe_gpus(RecordedCommands({QUERY: Ran(0, "No devices were found\n")}), lambda: None).gpus == ()


def test_no_tool_and_no_package_mean_no_gpu() -> None:
    assert probe_gpus(RecordedCommands({}), lambda: None) == GpuFacts()


class FakeCudaRuntime:
    """Two calls of the CUDA runtime as cuda-bindings gives them, with a driver or without."""

    cudaError_t = SimpleNamespace(cudaSuccess=0)  # noqa: N815 - CUDA's name

    def __init__(self, error: int, last_of_uuid: int = 0) -> None:
        self.error, self.last_of_uuid = error, last_of_uuid

    def cudaGetDeviceCount(self) -> tuple[int, int | None]:  # noqa: N802 - CUDA's name
        return self.error, None if self.error else 1

    def cudaDriverGetVersion(self) -> tuple[int, int]:  # noqa: N802
        return 0, 12060

    def cudaGetDeviceProperties(self, index: int) -> tuple[int, SimpleNamespace]:  # noqa: N802
        assert self.error == 0, "asked for a device where the count failed"
        uuid = SimpleNamespace(bytes=bytes(15) + bytes([self.last_of_uuid]))
        return 0, SimpleNamespace(name=b"Orin", major=8, minor=7, totalGlobalMem=64 * 2**30, uuid=uuid)


def test_cuda_runtime_tells_gpus_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", FakeCudaRuntime(0))
    assert read_cuda() == GpuFacts((Gpu("Orin", "8.7", 65536),), cuda="12.6")


def test_cuda_runtime_tells_uuids_as_the_tool_writes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", FakeCudaRuntime(0, last_of_uuid=0xAB))
    told = read_cuda()
    assert told is not None
    assert told.gpus == (NamedGpu("Orin", "8.7", 65536, uuid="GPU-00000000-0000-0000-0000-0000000000ab"),)
    assert probe_gpus(RecordedCommands({}), lambda: told).gpus == (Gpu("Orin", "8.7", 65536),)


def test_cuda_runtime_without_driver_is_asked_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", FakeCudaRuntime(35))
    assert read_cuda() == NO_CUDA


def test_cuda_runtime_that_is_not_installed_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    assert read_cuda() is None
