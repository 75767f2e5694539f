"""A camera that needs no camera: a moving test picture, blurred by its motion, with a painted time code."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UsageError
from .frame import Frame, Pixels
from .latency import LatencyRecorder
from .live_source import SourceEvent
from .picture_pool import PicturePool
from .source_uris import LiveOptions, number_of_text, parameters_of, size_of_text
from .time_code import CODE_SIZE, paint_time_code

_PARAMETERS = frozenset({"size", "fps", "blur", "seed"})

_TIME_BASE = Fraction(1, 1_000_000)


@dataclass(frozen=True, slots=True)
class SyntheticConfig:
    """What the test picture looks like.

    Attributes:
        size: Height and width, pixels.
        fps: Frames per second.
        blur_px: Length of the horizontal motion blur; 0 and 1 are sharp.
        seed: Of the texture.
        speed_px: Motion from frame to frame.
    """

    size: tuple[int, int] = (720, 1280)
    fps: float = 30.0
    blur_px: int = 9
    seed: int = 0
    speed_px: int = 4


class SyntheticPicture:
    """Makes the frames of a test picture; the same configuration gives the same pictures."""

    def __init__(self, config: SyntheticConfig) -> None:
        self._config = config
        self._panorama = _panorama(config)
        self._pool = PicturePool()

    def frame_pixels(self, index: int, time_ns: int | None = None) -> Pixels:
        """Make one picture, in memory nobody else looks at, with a time code where ``time_ns`` is given and it fits."""
        width = self._config.size[1]
        start = index * self._config.speed_px % width
        pixels = self._pool.empty((*self._config.size, 3))
        np.copyto(pixels, self._panorama[:, start : start + width])
        if time_ns is not None and pixels.shape[0] >= CODE_SIZE[0] and width >= CODE_SIZE[1]:
            paint_time_code(pixels, time_ns)
        return pixels


class SyntheticSource:
    """Gives a frame each period, on schedule; frames nobody came for in time are a gap.

    The painted time code is the frame's ``t_capture_ns``.

    Attributes:
        lateness: How much later than planned frames were given, stage ``lateness``.
    """

    def __init__(self, uri: str, config: SyntheticConfig) -> None:
        self.name = uri
        self.lateness = LatencyRecorder()
        self._config = config
        self._picture = SyntheticPicture(config)
        self._closed = threading.Event()
        self._start_ns: int | None = None
        self._next = 0
        self._delivered = 0

    @property
    def is_live(self) -> bool:
        return True

    @property
    def fps(self) -> float | None:
        return self._config.fps

    @property
    def first_size(self) -> tuple[int, int]:
        """Height and width of the frames, which begin with the first ``read``."""
        return self._config.size

    def read(self, timeout_s: float) -> Frame | SourceEvent | None:
        if self._closed.is_set():
            return None
        if self._start_ns is None:
            self._start_ns = time.monotonic_ns()
            return SourceEvent("opened", f"{self.name}: test picture", 0)
        due_ns = self._due_ns(self._next)
        wait_s = (due_ns - time.monotonic_ns()) / 1e9
        if wait_s > timeout_s:
            self._closed.wait(timeout_s)
            return None
        if wait_s > 0 and self._closed.wait(wait_s):
            return None
        missed = int((time.monotonic_ns() - due_ns) / 1e9 * self._config.fps)
        if missed:
            self._next += missed
            return SourceEvent("gap", f"{self.name}: nobody took {missed} frames in time", 0, missed)
        return self._frame(due_ns)

    def close(self) -> None:
        self._closed.set()

    def _due_ns(self, index: int) -> int:
        return (self._start_ns or 0) + round(index * 1e9 / self._config.fps)

    def _frame(self, due_ns: int) -> Frame:
        index, seq = self._next, self._delivered
        self._next, self._delivered = index + 1, seq + 1
        pts = round(index / self._config.fps / _TIME_BASE)
        now_ns = max(due_ns, time.monotonic_ns())
        self.lateness.add("lateness", (now_ns - due_ns) / 1e9)
        pixels = self._picture.frame_pixels(index, now_ns)
        return Frame(pixels, seq, now_ns, self.name, pts=pts, time_base=_TIME_BASE)


def open_synthetic(uri: str, options: LiveOptions) -> SyntheticSource:
    """Open ``synthetic://?size=HxW&fps=F&blur=PX&seed=N``; nothing of ``options`` matters to it."""
    del options
    given = parameters_of(uri, _PARAMETERS)
    default = SyntheticConfig()
    config = SyntheticConfig(
        size=size_of_text(given["size"]) if "size" in given else default.size,
        fps=number_of_text(given["fps"], "fps") if "fps" in given else default.fps,
        blur_px=_whole(given, "blur", default.blur_px),
        seed=_whole(given, "seed", default.seed),
    )
    return SyntheticSource(uri, config)


def _whole(given: dict[str, str], name: str, default: int) -> int:
    text = given.get(name, str(default))
    if not text.isdecimal():
        raise UsageError(f"{name} is {text!r}, expected a whole number such as {default}")
    return int(text)


def _panorama(config: SyntheticConfig) -> NDArray[np.uint8]:
    """Texture of twice the width that repeats, blurred along the motion; parts of it are flat, parts fine."""
    height, width = config.size
    rng = np.random.default_rng(config.seed)
    texture = np.zeros((height, width, 3), np.float32)
    for cell in (4, 16, 64):
        coarse = rng.uniform(0, 255, (-(-height // cell), -(-width // cell), 3)).astype(np.float32)
        texture += np.repeat(np.repeat(coarse, cell, 0), cell, 1)[:height, :width] / 3
    if config.blur_px > 1:
        texture = _blurred(texture, min(config.blur_px, width))
    panorama = np.concatenate([texture, texture], axis=1)
    rounded: NDArray[np.uint8] = np.clip(np.rint(panorama), 0, 255).astype(np.uint8)
    return rounded


def _blurred(texture: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Mean over ``length`` neighbours to the right, around the edge."""
    wrapped = np.concatenate([texture, texture[:, :length]], axis=1, dtype=np.float64)
    sums = np.cumsum(wrapped, axis=1)
    blurred: NDArray[np.float32] = ((sums[:, length:] - sums[:, :-length]) / length).astype(np.float32)
    return blurred
