"""Machines that stand in for real ones: a desktop that lacks nothing, and Jetson boards composed from public records.

The boards are composed, not recorded: every value is taken from a public report, and none was read on the board.

``composed_orin_jetpack_6``, a Jetson AGX Orin with JetPack 6.2.1:
- release, model, Python: https://github.com/rbonghi/jetson_stats/issues/677
- CUDA 12.6, TensorRT 10.3.0: https://github.com/rbonghi/jetson_stats/issues/603
- ``compatible``: https://github.com/rbonghi/jetson_stats/issues/864, with the chip as in its ``SoC``
- ``nvidia-smi``: https://github.com/ultralytics/ultralytics/pull/20680
- processor: https://github.com/KavrakiLab/vamp/issues/20

``composed_thor_jetpack_7``, a Jetson AGX Thor with JetPack 7.0:
- release, model, ``compatible``, Python: https://github.com/rbonghi/jetson_stats/issues/711
- CUDA 13.0, TensorRT 10.13.3.9 (of JetPack 7.1, which has the same): https://github.com/rbonghi/jetson_stats/issues/820
- ``nvidia-smi``: driver and name https://github.com/vllm-project/vllm/issues/34470,
  memory ``[N/A]`` https://github.com/rbonghi/jetson_stats/pull/849
- processor: https://github.com/archspec/archspec-json/pull/160; their number, memory:
  https://github.com/antirez/ds4/pull/788

Of processor features only those that matter are listed. Amounts in ``meminfo`` are those of the modules, less what a
system keeps; the packages beside TensorRT are those of a base install.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from deblurrt.core.gpus import Gpu, GpuFacts, Ran
from deblurrt.core.machine import Machine, Readers
from deblurrt.core.processor import Cpu, RealTime

BASE_PACKAGES = {"deblurrt": "0.1.0", "numpy": "2.2.6", "onnx": "1.20.0", "av": "17.0.0", "onnxruntime": "1.25.0"}

#: a desktop in no trap at all
DESKTOP = Machine(
    python="3.12.3",
    cpu=Cpu("a processor", 16, 16, None, ("avx2",)),
    memory_total_mib=64000,
    memory_free_mib=50000,
    gpu=GpuFacts((Gpu("NVIDIA GeForce RTX 4090", "8.9", 24564, 24000),), "580.65.06", "13.0"),
    has_cuda_driver=True,
    has_nvidia_device=True,
    real_time=RealTime(95),
    cache_folder="/home/user/.cache/deblurrt/engines",
    cache_free_mib=100_000,
    packages={
        **BASE_PACKAGES,
        "openvino": "2025.4.0",
        "torch": "2.9.0+cu130",
        "tensorrt": "10.16.1",
        "tensorrt-cu13": "10.16.1",
        "tensorrt-cu13-libs": "10.16.1",
        "tensorrt-rtx-cu13": "1.7.1",
        "cuda-bindings": "13.0.3",
        "opencv-python-headless": "4.12.0",
    },
)

ORIN_FILES = {
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.4, GCID: 0, BOARD: generic, EABI: aarch64\n",
    "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
    "proc/device-tree/compatible": "nvidia,p3737-0000+p3701-0000\0nvidia,tegra234\0",
    "proc/cpuinfo": "processor\t: {index}\nFeatures\t: fp asimd asimdhp asimddp\nCPU part\t: 0xd42\n\n",
    "proc/meminfo": "MemTotal:       64349576 kB\nMemFree:        50000000 kB\nMemAvailable:   58000000 kB\n",
}
ORIN_PROCESSORS = 12
THOR_FILES = {
    "etc/nv_tegra_release": "# R38 (release), REVISION: 2.0, GCID: 0, BOARD: generic, EABI: aarch64\n",
    "proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0",
    "proc/device-tree/compatible": "nvidia,p4071-0000+p3834-0008\0nvidia,p3834-0008\0nvidia,tegra264\0",
    "proc/cpuinfo": "processor\t: {index}\nFeatures\t: fp asimd asimdhp asimddp sve sve2 i8mm bf16\n"
    "CPU part\t: 0xd83\n\n",
    "proc/meminfo": "MemTotal:       128820764 kB\nMemFree:        120000000 kB\nMemAvailable:   122000000 kB\n",
}
THOR_PROCESSORS = 14


def banner(driver: str, cuda: str, *, words: tuple[str, str] = ("Driver Version", "CUDA Version")) -> str:
    """The second line of what ``nvidia-smi`` prints without arguments."""
    return f"| NVIDIA-SMI {driver}     {words[0]}: {driver}      {words[1]}: {cuda}     |\n"


class RecordedCommands:
    """Answers commands with what was recorded; a command without a record does not exist.

    Args:
        records: Answer by the first words of a command.
        import_errors: Last line of what importing a module says; others import.
        tensorrt: Version the imported TensorRT tells; empty: it is not there.
    """

    def __init__(
        self, records: Mapping[str, Ran], import_errors: Mapping[str, str] | None = None, tensorrt: str = ""
    ) -> None:
        self.records, self.import_errors, self.tensorrt = records, import_errors or {}, tensorrt

    def __call__(self, command: Sequence[str]) -> Ran | None:
        if command[1:2] == ["-c"]:
            return self._python(command[2])
        line = " ".join(command)
        starts = sorted((start for start in self.records if line.startswith(start)), key=len)
        return self.records[starts[-1]] if starts else None

    def _python(self, code: str) -> Ran:
        if code.endswith("print(tensorrt.__version__)"):
            return Ran(0, f"{self.tensorrt}\n") if self.tensorrt else Ran(1, "No module named 'tensorrt'\n")
        error = self.import_errors.get(code.rpartition("import ")[2])
        return Ran(1, f"Traceback (most recent call last):\n{error}\n") if error else Ran(0, "")


def write_root(root: Path, files: Mapping[str, str], processors: int) -> Path:
    """Write the files of a board under a folder that stands for ``/``."""
    status = f"Cpus_allowed_list:\t0-{processors - 1}\nCapEff:\t0000000000000000\n"
    limits = "Limit                     Soft Limit           Hard Limit           Units\n"
    own = {
        "proc/self/status": status,
        "proc/self/limits": f"{limits}Max realtime priority     0                    0\n",
    }
    for name, text in {**files, **own}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        every = "".join(text.replace("{index}", str(index)) for index in range(processors))
        path.write_text(every if "{index}" in text else text)
    return root


def composed_orin_jetpack_6(root: Path, packages: Mapping[str, str] | None = None) -> Readers:
    """Read a Jetson AGX Orin with JetPack 6.2.1, its own Python and TensorRT; ``packages`` come on top."""
    smi = {
        "nvidia-smi": Ran(0, banner("540.4.0", "12.6")),
        "nvidia-smi --query-gpu=": Ran(0, "Orin (nvgpu), [N/A], [N/A], 540.4.0, [N/A]\n"),
    }
    own = {**BASE_PACKAGES, "onnxruntime": "1.23.2", "tensorrt": "10.3.0"}
    return _board(write_root(root, ORIN_FILES, ORIN_PROCESSORS), smi, {**own, **(packages or {})}, "3.10.12")


def composed_thor_jetpack_7(root: Path, packages: Mapping[str, str] | None = None) -> Readers:
    """Read a Jetson AGX Thor with JetPack 7.0, its own Python and TensorRT; ``packages`` come on top."""
    smi = {
        "nvidia-smi": Ran(0, banner("580.00", "13.0")),
        "nvidia-smi --query-gpu=": Ran(0, "NVIDIA Thor, [N/A], [N/A], 580.00, 11.0\n"),
    }
    own = {**BASE_PACKAGES, "tensorrt": "10.13.3.9"}
    return _board(write_root(root, THOR_FILES, THOR_PROCESSORS), smi, {**own, **(packages or {})}, "3.12.3")


def _board(root: Path, records: Mapping[str, Ran], packages: Mapping[str, str], python: str) -> Readers:
    return Readers(
        root=root,
        run=RecordedCommands(records, tensorrt=packages["tensorrt"]),
        cuda=lambda: None,
        versions=lambda: packages,
        loads=lambda name: name == "libcuda.so.1",
        cache=lambda: root,
        free_bytes=lambda folder: 20 * 2**30,
        python=python,
        system="Linux",
        arch="aarch64",
    )
