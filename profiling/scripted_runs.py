"""Live runs with engines that sleep: what the runtime adds, and what its policies do, in real time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from fractions import Fraction

import numpy as np

from ..core.contract import FrameContract
from ..core.tensors import Array, TensorSpec
from ..runtime.frame import Frame
from ..runtime.latency import LatencyRecorder
from ..runtime.ledger import Ledger
from ..runtime.live_runner import LiveConfig, LiveRunner
from ..runtime.paced_source import PacedSource
from ..runtime.session import Session
from ..runtime.sources import SourceInfo
from ..runtime.terminal import Result, Terminal

FRAMES_IN = TensorSpec("frames", "uint8", ("batch", "height", "width", 3))
FRAMES_OUT = TensorSpec("restored", "uint8", ("batch", "height", "width", 3))


class SleepingBackend:
    """Returns frames unchanged after a scripted time, without using the processor.

    Args:
        durations_ms: One per frame; the last goes on for ever.

    Attributes:
        busy_ms: What the runs took, as measured inside.
    """

    name, description = "scripted", "an engine that sleeps"
    inputs, outputs = (FRAMES_IN,), (FRAMES_OUT,)

    def __init__(self, durations_ms: Iterator[float]) -> None:
        self.busy_ms = 0.0
        self._durations_ms = durations_ms

    def prepare(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        pass

    def run(self, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        started_s = time.perf_counter()
        time.sleep(next(self._durations_ms) / 1e3)
        self.busy_ms = (time.perf_counter() - started_s) * 1e3
        return {"restored": arrays["frames"]}

    def close(self) -> None:
        pass


class MovingPicture:
    """Frames of a moving texture from memory, as a file gives them.

    Args:
        size: Height and width.
        fps: Frames per second.
        count: Frames.
    """

    def __init__(self, size: tuple[int, int], fps: int, count: int) -> None:
        self.info = SourceInfo("moving picture", size, Fraction(fps), count)
        self._count = count
        rng = np.random.default_rng(0)
        self._picture = rng.integers(60, 196, (size[0], 2 * size[1], 3), dtype=np.uint8)

    def __iter__(self) -> Iterator[Frame]:
        width, rate = self.info.size[1], self.info.frame_rate
        assert rate is not None
        for seq in range(self._count):
            start = 4 * seq % width
            pixels = np.ascontiguousarray(self._picture[:, start : start + width])
            yield Frame(pixels, seq, 0, self.info.name, pts=seq, time_base=1 / rate)

    def close(self) -> None:
        pass


class OverheadSink:
    """Measures what a run adds to the engine's own time, up to the sink.

    Attributes:
        added: Recorded durations, stage ``added``.
    """

    name, queue_frames, keeps_newest = "meter", 64, False

    def __init__(self, backend: SleepingBackend) -> None:
        self.added = LatencyRecorder()
        self._backend = backend

    def write(self, result: Result) -> None:
        # the engine's next run is a period away, so that its last one is this frame's
        if result.state is Terminal.DEBLURRED:
            total_ms = (time.monotonic_ns() - result.frame.t_capture_ns) / 1e6
            self.added.add("added", (total_ms - self._backend.busy_ms) / 1e3)

    def close(self) -> None:
        pass

    def give_up(self) -> None:
        pass


def run_scripted(
    durations_ms: Iterator[float], config: LiveConfig, size: tuple[int, int], fps: int, count: int
) -> tuple[Ledger, LatencyRecorder]:
    """Run a moving picture through a sleeping engine; the account, and what was added to the engine's time."""
    backend = SleepingBackend(durations_ms)
    session = Session(backend, FrameContract(), "scripted")
    sink = OverheadSink(backend)
    runner = LiveRunner([PacedSource(MovingPicture(size, fps, count))], [session], [[sink]], config)
    runner.run()
    assert not runner.imbalances, runner.imbalances
    return runner.ledgers[0], sink.added
