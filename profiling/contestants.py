"""What the benchmark lets run: the naive loop, and sources made for measuring."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.optional import require
from ..export.student_graph import onnx_from_student
from ..runtime.backend import smooth_noise
from ..runtime.frame import Frame, Pixels
from ..runtime.shipped_models import find_model
from ..runtime.sources import SourceInfo, open_source
from ..training.weights import load_weights


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured with.

    Attributes:
        clip: A 720p video.
        threads: CPU threads of every library.
        rounds: How often each contestant has its turn.
        frames: Frames of ``clip`` per turn of a whole pipeline.
        folder: For files in between.
    """

    clip: Path
    threads: int
    rounds: int
    frames: int
    folder: Path


class FirstFrames:
    """The first frames of a source."""

    def __init__(self, path: Path, count: int) -> None:
        self._source, self._count = open_source(path), count

    @property
    def info(self) -> SourceInfo:
        return self._source.info

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._source:
            if frame.seq == self._count:
                return
            yield frame

    def close(self) -> None:
        self._source.close()


def naive_loop(plan: Plan, model: str) -> float:
    """What one writes first: OpenCV reads, NumPy prepares, ONNX Runtime runs, OpenCV writes, in turn."""
    cv2 = require("cv2", purpose="run the naive loop")
    runtime = require("onnxruntime", purpose="run a model")
    cv2.setNumThreads(plan.threads)
    network = plan.folder / f"{model}_float.onnx"
    if not network.exists():
        weights, recipe, _ = load_weights(find_model(model).with_suffix(".safetensors"))
        onnx_from_student(recipe.model, weights, network, {}, io="float")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = plan.threads
    session = runtime.InferenceSession(str(network), options, providers=["CPUExecutionProvider"])
    capture = cv2.VideoCapture(str(plan.clip))
    height, width = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    codec = cv2.VideoWriter_fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(plan.folder / "naive.mp4"), codec, capture.get(cv2.CAP_PROP_FPS), (width, height))
    fill = ((0, -height % 16), (0, -width % 16), (0, 0))
    started = time.perf_counter()
    for _ in range(plan.frames):
        _, frame = capture.read()
        padded = np.pad(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), fill, mode="reflect")
        network_input = (padded.astype(np.float32) / 255.0).transpose(2, 0, 1)[None]
        restored = session.run(None, {"frames": np.ascontiguousarray(network_input)})[0]
        pixels = (np.clip(restored[0].transpose(1, 2, 0), 0, 1) * 255).round().astype(np.uint8)[:height, :width]
        writer.write(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    writer.release()
    capture.release()
    return time.perf_counter() - started


class RepeatedFrame:
    """A source of one picture many times, that notes the process's memory on the way."""

    def __init__(self, size: tuple[int, int], count: int) -> None:
        self.info = SourceInfo("repeated", size)
        self._count = count
        self.memory_mib: list[float] = []

    def __iter__(self) -> Iterator[Frame]:
        picture: Pixels = smooth_noise((*self.info.size, 3), "uint8")
        for seq in range(self._count):
            if seq % 100 == 0:
                self.memory_mib.append(resident_mib())
            yield Frame(np.roll(picture, seq, axis=1), seq, time.monotonic_ns())

    def close(self) -> None: ...


def resident_mib() -> float:
    """Resident memory of this process, MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20
