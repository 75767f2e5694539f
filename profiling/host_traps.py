"""Traps of the Python environment, the processor and the disk; each function says whether a machine is in one."""

from __future__ import annotations

from ..core.machine import OWNERS, Machine, version_numbers
from .findings import Finding

#: requires-python of the package, and the first version it is not tested with
OLDEST_PYTHON, UNTESTED_PYTHON = (3, 10), (3, 14)
#: what the base install brings beside the command line's own libraries, and ONNX Runtime
BASE = ("numpy", "onnx", "av")
#: first with the operator DeformConv; its wheels are for Python 3.11 and later
DEFORM_CONV_RUNTIME, DEFORM_CONV_PYTHON = (1, 25), (3, 11)
OPENCV = OWNERS["cv2"]
#: libraries a server has not, which wheels with windows link
DISPLAY_LIBRARIES = ("libGL.so", "libgthread-2.0.so", "libSM.so", "libXext.so", "libX11.so", "libxcb.so")
#: an engine, its timing cache and an ONNX file of the largest networks fit into this
CACHE_MIB = 2048
X86 = ("x86_64", "AMD64")


def old_python(machine: Machine) -> Finding | None:
    """Python is older than deblurrt runs on, or newer than it is tested with."""
    version = version_numbers(machine.python)[:2]
    expected = "Python 3.10 to 3.13"
    remedy = "python3.12 -m venv .venv && .venv/bin/pip install deblurrt"
    if version < OLDEST_PYTHON:
        return Finding("broken", f"Python {machine.python}", expected, remedy)
    if version >= UNTESTED_PYTHON:
        return Finding("note", f"Python {machine.python}, not tested", expected, remedy)
    return None


def missing_base(machine: Machine) -> Finding | None:
    """A package of the base install is missing."""
    missing = [name for name in BASE if name not in machine.packages]
    if not missing:
        return None
    remedy = f"pip install {' '.join(missing)}"
    return Finding("broken", f"no {', '.join(missing)}", "all packages of the base install", remedy)


def missing_onnxruntime(machine: Machine) -> Finding | None:
    """ONNX Runtime is missing: no model runs, and nothing to compare other backends with."""
    if runtimes(machine):
        return None
    remedy = "pip install onnxruntime (or onnxruntime-gpu, not both)"
    return Finding("broken", "no onnxruntime", "onnxruntime, part of the base install", remedy)


def two_onnxruntimes(machine: Machine) -> Finding | None:
    """Two ONNX Runtime wheels share one folder; the last installed overwrote the other."""
    names = runtimes(machine)
    if len(names) < 2:
        return None
    remedy = f"pip uninstall --yes {' '.join(names)} && pip install {names[-1]}"
    return Finding("warning", " and ".join(names), "one of them: both unpack into onnxruntime/", remedy)


def old_onnxruntime(machine: Machine) -> Finding | None:
    """ONNX Runtime before 1.25 has no DeformConv: EDPN runs on its slower portable body only."""
    old = [name for name in runtimes(machine) if version_numbers(machine.packages[name]) < DEFORM_CONV_RUNTIME]
    if not old:
        return None
    if version_numbers(machine.python) < DEFORM_CONV_PYTHON:
        remedy = "stay: wheels for Python 3.10 end at 1.23.2; export without --target onnxruntime"
    else:
        remedy = f"pip install --upgrade {old[0]}"
    return Finding("note", f"{old[0]} {machine.packages[old[0]]}", "1.25 or later, with DeformConv", remedy)


def base_does_not_load(machine: Machine) -> Finding | None:
    """A package of the base install is there and cannot be imported."""
    for module in (*BASE, "onnxruntime"):
        if module in machine.import_errors:
            package = next(name for name in OWNERS[module] if name in machine.packages)
            remedy = f"pip install --force-reinstall {package}"
            return Finding("broken", f"import {module}: {machine.import_errors[module]}", "it imports", remedy)
    return None


def openvino_does_not_load(machine: Machine) -> Finding | None:
    """OpenVINO is installed and cannot be imported, so that the slower ONNX Runtime takes its place."""
    error = machine.import_errors.get("openvino")
    if error is None:
        return None
    return Finding("broken", f"import openvino: {error}", "it imports", "pip install --force-reinstall openvino")


def opencv_without_display(machine: Machine) -> Finding | None:
    """OpenCV with windows, on a system without display libraries: containers and servers."""
    error = machine.import_errors.get("cv2", "")
    if not any(name in error for name in DISPLAY_LIBRARIES):
        return None
    names = [name for name in OPENCV if name in machine.packages]
    headless = "opencv-contrib-python-headless" if any("contrib" in name for name in names) else OPENCV[1]
    remedy = f"pip uninstall --yes {' '.join(names)} && pip install {headless}"
    return Finding("broken", f"import cv2: {error}", "the headless package, or the system's libGL", remedy)


def two_opencvs(machine: Machine) -> Finding | None:
    """Two OpenCV wheels share one folder; removing one breaks the other."""
    names = [name for name in OPENCV if name in machine.packages]
    if len(names) < 2:
        return None
    remedy = f"pip uninstall --yes {' '.join(names)} && pip install {names[-1]}"
    return Finding("warning", " and ".join(names), "one of them: all unpack into cv2/", remedy)


def opencv_does_not_load(machine: Machine) -> Finding | None:
    """OpenCV is installed and cannot be imported, for another reason than display libraries."""
    error = machine.import_errors.get("cv2")
    if error is None or opencv_without_display(machine):
        return None
    name = next(name for name in OPENCV if name in machine.packages)
    return Finding("broken", f"import cv2: {error}", "it imports", f"pip install --force-reinstall {name}")


def missing_openvino(machine: Machine) -> Finding | None:
    """OpenVINO, the faster backend on x86 processors, is not installed."""
    if machine.arch not in X86 or "openvino" in machine.packages:
        return None
    return Finding("note", "no openvino", "the faster CPU backend", "pip install 'deblurrt[cpu]'")


def missing_torch(machine: Machine) -> Finding | None:
    """PyTorch is not installed: no training, no export of networks of the zoo."""
    if "torch" in machine.packages:
        return None
    return Finding("note", "no torch", "needed by export and train only", "pip install 'deblurrt[export,train]'")


def few_processors(machine: Machine) -> Finding | None:
    """A container may use less processor time than the processors it sees: threads wait for each other."""
    quota = machine.cpu.quota
    if quota is None or quota >= machine.cpu.usable:
        return None
    threads = max(1, int(quota))
    found = f"time of {quota:g} processors, {machine.cpu.usable} seen"
    return Finding("warning", found, "as many threads as processors one may use", f"--threads {threads}")


def no_realtime(machine: Machine) -> Finding | None:
    """The user may not give threads a real-time priority: frames wait when the machine is busy."""
    if machine.real_time.priority != 0 or machine.real_time.is_privileged:
        return None
    remedy = 'echo "$USER - rtprio 50" | sudo tee /etc/security/limits.d/deblurrt.conf, then log in anew'
    return Finding("note", "real-time priority 0", "a limit above 0 (ulimit -r) for steady latency", remedy)


def little_disk(machine: Machine) -> Finding | None:
    """The folder of engines has little space left, or cannot be made."""
    remedy = "export XDG_CACHE_HOME=/folder/with/space"
    if not machine.cache_folder:
        return Finding("warning", "the cache folder cannot be made", "a folder one may write", remedy)
    free = machine.cache_free_mib
    if free is None or free >= CACHE_MIB:
        return None
    return Finding("warning", f"{free} MiB left in {machine.cache_folder}", f"{CACHE_MIB} MiB", remedy)


def runtimes(machine: Machine) -> list[str]:
    """Names of the installed ONNX Runtime wheels; ``onnxruntime-directml`` and others are of the same kind."""
    others = ("onnxruntime-genai", "onnxruntime-extensions")
    return [name for name in machine.packages if name.startswith("onnxruntime") and not name.startswith(others)]
