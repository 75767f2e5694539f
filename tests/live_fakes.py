"""Stand-ins for live seams: a scripted camera, a scripted network, a sink that keeps results."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from deblurrt.core.contract import FrameContract
from deblurrt.core.tensors import Array
from deblurrt.runtime.frame import Frame, Pixels
from deblurrt.runtime.live_source import SourceEvent
from deblurrt.runtime.session import Session
from deblurrt.runtime.terminal import Result
from tests.fakes import FakeBackend

#: far more than any step takes; a test that waits this long has failed
PATIENCE_S = 20.0


def textured(seq: int, size: tuple[int, int] = (48, 64)) -> Pixels:
    """A picture with something to see, another one for every number."""
    rng = np.random.default_rng(seq)
    coarse = rng.integers(40, 216, (-(-size[0] // 24), -(-size[1] // 24), 3), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, 24, 0), 24, 1)[: size[0], : size[1]].copy()


class ScriptedSource:
    """Gives frames and events as a script says, on the real clock.

    The script yields frames, events, and waits in seconds; ``t_capture_ns`` of a frame is set when it
    is given. At the end the source fails, as a camera does that is gone for good.
    """

    is_live = True

    def __init__(self, script: Iterable[Frame | SourceEvent | float], name: str = "cam", fps: float | None = 30.0):
        self.name, self.fps = name, fps
        self.is_closed = False
        self._script = iter(script)
        self._closed = threading.Event()

    def read(self, timeout_s: float) -> Frame | SourceEvent | None:
        if self._closed.is_set():
            return None
        step = next(self._script, None)
        if step is None:
            self._closed.set()
            return SourceEvent("failed", f"{self.name}: the script is over", 0)
        if isinstance(step, (int, float)):
            self._closed.wait(step)
            return None
        if isinstance(step, SourceEvent):
            return step
        return Frame(step.pixels, step.seq, time.monotonic_ns(), self.name, step.epoch, step.pts, step.time_base)

    def close(self) -> None:
        self.is_closed = True
        self._closed.set()


def camera_script(count: int, size: tuple[int, int] = (48, 64), period_s: float = 0.0) -> Iterator[Frame | float]:
    """``count`` frames, one every period."""
    for seq in range(count):
        yield Frame(textured(seq, size), seq, 0)
        if period_s:
            yield period_s


def scripted_session(compute: Callable[[Array], Array], name: str = "scripted") -> Session:
    """A network that is a Python function."""
    return Session(FakeBackend(compute), FrameContract(), name)


class KeptResults:
    """Keeps results; ``on_write`` may wait or raise."""

    def __init__(
        self,
        name: str = "kept",
        on_write: Callable[[Result], None] = lambda _result: None,
        queue_frames: int = 1000,
        keeps_newest: bool = False,
    ) -> None:
        self.name, self.queue_frames, self.keeps_newest = name, queue_frames, keeps_newest
        self.results: list[Result] = []
        self.end = ""
        self._on_write = on_write

    @property
    def states(self) -> list[str]:
        return [result.state.name for result in self.results]

    def write(self, result: Result) -> None:
        self._on_write(result)
        self.results.append(result)

    def close(self) -> None:
        self.end = self.end or "closed"

    def give_up(self) -> None:
        self.end = self.end or "given up"
