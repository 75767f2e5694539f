"""Live runs with engines that sleep: what the runtime adds, and what its policies do, in real time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np

from ..core.contract import FrameContract
from ..core.tensors import Array, TensorSpec
from ..runtime.frame import Frame
from ..runtime.isolated_network import isolated
from ..runtime.latency import LatencyRecorder
from ..runtime.ledger import Ledger
from ..runtime.live_runner import LiveConfig, LiveRunner
from ..runtime.paced_source import PacedSource
from ..runtime.session import Session
from ..runtime.sources import SourceInfo
from ..runtime.terminal import Result, Terminal

FRAMES_IN = TensorSpec("frames", "uint8", ("batch", "height", "width", 3))
FRAMES_OUT = TensorSpec("restored", "uint8", ("batch", "height", "width", 3))

#: what ``TimedBackend`` writes: a float64
TIME_BYTES = 8


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


class TimedBackend(SleepingBackend):
    """A sleeping backend that writes what a run took into the first bytes of its picture, for other processes."""

    def run(self, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        restored = super().run(arrays)["restored"].copy()
        restored.reshape(-1)[:TIME_BYTES] = np.frombuffer(np.float64(self.busy_ms).tobytes(), np.uint8)
        return {"restored": restored}


def open_timed(engine_ms: float) -> list[Session]:
    """Open a sleeping engine that always takes ``engine_ms``."""
    return [Session(TimedBackend(itertools.repeat(engine_ms)), FrameContract(), "scripted")]


def written_ms(result: Result) -> float:
    """What the run took that restored a picture, as written by ``TimedBackend``."""
    return float(np.frombuffer(result.restored.reshape(-1)[:TIME_BYTES].tobytes(), np.float64)[0])


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

    Args:
        busy_ms_of: Says what the engine itself took for a result.

    Attributes:
        added: Recorded durations, stage ``added``.
    """

    name, queue_frames, keeps_newest = "meter", 64, False

    def __init__(self, busy_ms_of: Callable[[Result], float]) -> None:
        self.added = LatencyRecorder()
        self._busy_ms_of = busy_ms_of

    def write(self, result: Result) -> None:
        if result.state is Terminal.DEBLURRED:
            total_ms = (time.monotonic_ns() - result.frame.t_capture_ns) / 1e6
            self.added.add("added", (total_ms - self._busy_ms_of(result)) / 1e3)

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
    # the engine's next run is a period away, so that its last one is this frame's
    sink = OverheadSink(lambda _result: backend.busy_ms)
    runner = LiveRunner([PacedSource(MovingPicture(size, fps, count))], [session], [[sink]], config)
    runner.run()
    assert not runner.imbalances, runner.imbalances
    return runner.ledgers[0], sink.added


@dataclass(frozen=True, slots=True, eq=False)
class Overhead:
    """What a run added to the engine's time.

    Attributes:
        ledger: The account.
        added: From capture to the sink without the engine, stage ``added``.
        opened_s: How long opening the engine took.
    """

    ledger: Ledger
    added: LatencyRecorder
    opened_s: float


def measure_overhead(engine_ms: float, config: LiveConfig, picture: MovingPicture, *, isolate: bool) -> Overhead:
    """Run a moving picture through an engine that always takes ``engine_ms``, here or in a process of its own."""
    open_networks = isolated(partial(open_timed, engine_ms)) if isolate else partial(open_timed, engine_ms)
    began_s = time.perf_counter()
    networks = open_networks()
    opened_s = time.perf_counter() - began_s
    sink = OverheadSink(written_ms)
    runner = LiveRunner([PacedSource(picture)], networks, [[sink]], config)
    runner.run()
    assert not runner.imbalances, runner.imbalances
    return Overhead(runner.ledgers[0], sink.added, opened_s)
