"""Results of a live run written into files, which survive whatever happens to the run."""

from __future__ import annotations

import itertools
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..core.errors import OutputError
from ..datasets.resizing import enlarge_bicubic
from .frame import Frame
from .freed_memory import give_back_memory
from .sinks import Sink, open_sink
from .terminal import Result, enlarged
from .video_encoder import CONTAINERS, LIVE_ENCODER, EncoderError
from .video_sink import VideoFileSink

logger = logging.getLogger(__name__)

#: two seconds of a camera; what a disk needs to wake up
QUEUE_FRAMES = 64
#: recording stops while this much is free, so that the machine goes on
FREE_MIN_BYTES = 64 * 2**20
#: frames between two looks at the free space
LOOK_EVERY = 30
#: encoders that may fail in one recording; one that fails again and again would fill a folder with files
ENCODERS_MAX = 4
#: takes over from an encoder that failed
SPARE_ENCODER = replace(LIVE_ENCODER, codec="libx264")
#: clock of frames without time of their own: that of their capture
CAPTURE_TICK = Fraction(1, 1_000_000)

OpenSink = Callable[[Path], Sink]


@dataclass(frozen=True, slots=True)
class RecorderConfig:
    """How results become pictures of a file.

    Attributes:
        scale: How much the network enlarges; untouched frames are enlarged as much.
        side_by_side: Whether the untouched frame is on the left.
        force: Whether existing files are replaced.
        frame_rate: Nominal frames per second; None where unknown.
        copy_from: Video whose sound goes with the pictures, where they come from one.
    """

    scale: int = 1
    side_by_side: bool = False
    force: bool = False
    frame_rate: float | None = None
    copy_from: Path | None = None


class Recorder:
    """Writes results into a video or a folder of pictures.

    Where the size changes, ``out.mp4`` is finished and ``out-2.mp4`` goes on; where the encoder fails,
    with x264. After any other failure what was written stays under its ``.part`` name and plays.

    Args:
        path: Final place; its suffix names the kind.
        config: How pictures are made.
        opens: Opens a file; None stands for ``open_sink`` with the live encoder.

    Raises:
        UsageError: The suffix is not known.
        OutputError: The output exists already, or its folder does not or cannot be written.
    """

    keeps_newest = False
    queue_frames = QUEUE_FRAMES

    def __init__(self, path: Path, config: RecorderConfig | None = None, opens: OpenSink | None = None) -> None:
        self.name = str(path)
        if path.parent.is_dir() and not os.access(path.parent, os.W_OK):
            raise OutputError(f"the folder {path.parent} cannot be written; check its permissions")
        self._path, self._config = path, config or RecorderConfig()
        self._opens = opens or self._open
        self._encoder = LIVE_ENCODER
        self._failures = 0
        self._sink = self._opens(path)
        self._numbers = itertools.count(2)
        self._size: tuple[int, int] | None = None
        self._first_ns: int | None = None
        self._written = 0

    def write(self, result: Result) -> None:
        """Write one picture.

        Raises:
            OutputError: The disk is full, or nearly so, the place cannot be written, or encoders fail
                again and again.
        """
        if self._written % LOOK_EVERY == 0:
            self._check_space()
        self._written += 1
        frame = self._picture(result)
        if self._size not in (None, frame.size) and self._path.suffix.lower() in CONTAINERS:
            logger.warning("the size of %s changed", self._path.name)
            self._sink.close()
            self._begin_segment()
        self._size = frame.size
        self._put(frame)

    def close(self) -> None:
        if self._written:
            self._sink.close()
        else:
            self._sink.abort()

    def give_up(self) -> None:
        if isinstance(self._sink, VideoFileSink):
            self._sink.give_up()
        else:
            self._sink.abort()

    def _picture(self, result: Result) -> Frame:
        frame, pixels = result.frame, enlarged(result, self._config.scale)
        if self._config.side_by_side:
            pixels = np.concatenate([enlarge_bicubic(frame.pixels, self._config.scale), pixels], axis=1)
        if frame.pts is not None:
            return replace(frame, pixels=pixels)
        if self._first_ns is None:
            self._first_ns = frame.t_capture_ns
        ticks = (frame.t_capture_ns - self._first_ns) // 1000
        return replace(frame, pixels=pixels, pts=ticks, time_base=CAPTURE_TICK)

    def _put(self, frame: Frame) -> None:
        try:
            self._sink.write(frame)
        except EncoderError as error:
            self._change_encoder(error)
            self._put(frame)

    def _change_encoder(self, error: EncoderError) -> None:
        self._failures += 1
        if self._failures >= ENCODERS_MAX or not isinstance(self._sink, VideoFileSink):
            raise error
        lost = self._sink.cut()
        logger.warning("%s: %s; x264 takes over, %d frames are lost", self._path.name, error, lost)
        self._encoder = SPARE_ENCODER
        self._begin_segment()

    def _begin_segment(self) -> None:
        place = self._path.with_name(f"{self._path.stem}-{next(self._numbers)}{self._path.suffix}")
        logger.warning("%s goes on in %s", self._path.name, place.name)
        self._sink = self._opens(place)
        # PyAV's container and its streams hold each other (18.1): only a collection ends what the encoder took
        give_back_memory()

    def _open(self, path: Path) -> Sink:
        config = self._config
        rate = None if config.frame_rate is None else Fraction(config.frame_rate).limit_denominator(1001)
        if path.suffix.lower() not in CONTAINERS or path.is_dir():
            return open_sink(path, force=config.force, frame_rate=rate)
        # the sound goes with the first part
        copy_from = config.copy_from if path == self._path else None
        return VideoFileSink(path, force=config.force, copy_from=copy_from, frame_rate=rate, encoder=self._encoder)

    def _check_space(self) -> None:
        free_bytes = shutil.disk_usage(self._path.parent).free
        if free_bytes < FREE_MIN_BYTES:
            raise OutputError(
                f"only {free_bytes / 2**20:.0f} MiB are free for {self._path}; recording stops at "
                f"{FREE_MIN_BYTES / 2**20:.0f} MiB"
            )
