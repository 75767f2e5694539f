"""Known traps, and the diagnosis of a machine: the table of traps is here, each is a function beside it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from ..core.machine import Machine
from . import gpu_traps as gpu
from . import host_traps as host
from .findings import SEVERITIES, Check, Finding

#: parts of a machine, in the order they are told
AREAS = ("python", "packages", "cpu", "gpu", "tensorrt", "jetson", "system")

#: trap -> (area, check); the first line of a check's docstring says what it is about
TRAPS: dict[str, tuple[str, Check]] = {
    "old-python": ("python", host.old_python),
    "missing-base": ("packages", host.missing_base),
    "missing-onnxruntime": ("packages", host.missing_onnxruntime),
    "two-onnxruntimes": ("packages", host.two_onnxruntimes),
    "old-onnxruntime": ("packages", host.old_onnxruntime),
    "base-does-not-load": ("packages", host.base_does_not_load),
    "openvino-does-not-load": ("packages", host.openvino_does_not_load),
    "opencv-without-display": ("packages", host.opencv_without_display),
    "opencv-does-not-load": ("packages", host.opencv_does_not_load),
    "two-opencvs": ("packages", host.two_opencvs),
    "missing-openvino": ("packages", host.missing_openvino),
    "missing-torch": ("packages", host.missing_torch),
    "few-processors": ("cpu", host.few_processors),
    "missing-driver": ("gpu", gpu.missing_driver),
    "silent-gpu": ("gpu", gpu.silent_gpu),
    "old-driver": ("gpu", gpu.old_driver),
    "missing-cuda-bindings": ("gpu", gpu.missing_cuda_bindings),
    "cuda-bindings-do-not-load": ("gpu", gpu.cuda_bindings_do_not_load),
    "pycuda-does-not-load": ("gpu", gpu.pycuda_does_not_load),
    "tensorrt-does-not-load": ("tensorrt", gpu.tensorrt_does_not_load),
    "rtx-on-other-gpu": ("tensorrt", gpu.rtx_on_other_gpu),
    "pip-tensorrt-on-jetson": ("tensorrt", gpu.pip_tensorrt_on_jetson),
    "tensorrt-11-on-jetpack-6": ("tensorrt", gpu.tensorrt_11_on_jetpack_6),
    "unseen-system-tensorrt": ("tensorrt", gpu.unseen_system_tensorrt),
    "other-python-on-jetpack-6": ("jetson", gpu.other_python_on_jetpack_6),
    "unknown-jetpack": ("jetson", gpu.unknown_jetpack),
    "no-realtime": ("system", host.no_realtime),
    "little-disk": ("system", host.little_disk),
}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A machine and the traps it is in.

    Attributes:
        machine: What was examined.
        findings: Gravest first, then in the order of the table.
    """

    machine: Machine
    findings: tuple[Finding, ...]

    @property
    def is_broken(self) -> bool:
        """Whether something the package needs, or something installed, cannot work here."""
        return any(finding.severity == "broken" for finding in self.findings)

    def verdict(self, area: str) -> str:
        """Gravest severity found in an area; ``ok`` where nothing was."""
        told = [SEVERITIES.index(finding.severity) for finding in self.findings if finding.area == area]
        return SEVERITIES[max(told)] if told else "ok"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        machine = asdict(self.machine)
        if self.machine.jetson:
            machine["jetson"]["jetpack"] = self.machine.jetson.jetpack
        findings = [asdict(finding) for finding in self.findings]
        return {"broken": self.is_broken, "findings": findings, "machine": machine}


def diagnose(machine: Machine) -> Diagnosis:
    """Check a machine against every trap; reads nothing but ``machine``."""
    found = [
        replace(finding, trap=trap, area=area)
        for trap, (area, check) in TRAPS.items()
        if (finding := check(machine)) is not None
    ]
    found.sort(key=lambda finding: -SEVERITIES.index(finding.severity))
    return Diagnosis(machine, tuple(found))


def summary_of(trap: str) -> str:
    """What a trap is, in one sentence: the first line of its check's docstring.

    Raises:
        KeyError: There is no trap of that name.
    """
    return (TRAPS[trap][1].__doc__ or "").strip().splitlines()[0]


def facts_of(machine: Machine) -> dict[str, str]:
    """What there is, one line per area, for people; JSON has it all."""
    packages = machine.packages
    told = ("numpy", "onnx", "av", *host.runtimes(machine), "openvino", *host.OPENCV, "torch")
    return {
        "python": f"{machine.python}, {machine.system} {machine.arch}",
        "packages": ", ".join(f"{name} {packages[name]}" for name in told if name in packages) or "none",
        "cpu": _cpu_line(machine),
        "gpu": _gpu_line(machine),
        "tensorrt": _tensorrt_line(machine),
        "jetson": _jetson_line(machine),
        "system": _system_line(machine),
    }


def _cpu_line(machine: Machine) -> str:
    cpu = machine.cpu
    share = f", time of {cpu.quota:g}" if cpu.quota is not None else ""
    features = " ".join(cpu.features) or "features unknown"
    return f"{cpu.model or 'processor'}, {cpu.usable} of {cpu.count} processors{share}, {features}"


def _gpu_line(machine: Machine) -> str:
    facts = machine.gpu
    if not facts.gpus:
        return "no NVIDIA GPU"
    gpus = [
        f"{gpu.name} ({gpu.compute_capability or 'capability unknown'}, {_mib(gpu.memory_free_mib)} of "
        f"{_mib(gpu.memory_total_mib)} MiB free)"
        for gpu in facts.gpus
    ]
    return f"{', '.join(gpus)}; driver {facts.driver or 'unknown'}, CUDA {facts.cuda or 'unknown'}"


def _tensorrt_line(machine: Machine) -> str:
    """The packages people install; their parts have the same version."""
    names = [name for name in machine.packages if name.startswith(("tensorrt", "cuda-bindings"))]
    names = [name for name in names if not name.endswith(("-libs", "-bindings")) or name == "cuda-bindings"]
    return ", ".join(f"{name} {machine.packages[name]}" for name in names) or "not installed"


def _jetson_line(machine: Machine) -> str:
    jetson = machine.jetson
    if jetson is None:
        return "no Jetson"
    jetpack = f"JetPack {jetson.jetpack or 'unknown'}"
    return f"{jetson.model or jetson.soc}, {jetpack}, Jetson Linux {jetson.release or 'unknown'}"


def _system_line(machine: Machine) -> str:
    real_time = "any" if machine.real_time.is_privileged else machine.real_time.priority
    memory = f"{_mib(machine.memory_free_mib)} of {_mib(machine.memory_total_mib)} MiB memory free"
    cache = f"{_mib(machine.cache_free_mib)} MiB left in {machine.cache_folder or 'no cache folder'}"
    return f"{memory}, {cache}, real-time priority {'unknown' if real_time is None else real_time}"


def _mib(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"
