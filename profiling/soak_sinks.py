"""Outputs of a long run: a recording that never fills the disk, the view, and one that is too slow."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ..runtime.freed_memory import give_back_memory
from ..runtime.recorder import Recorder, RecorderConfig
from ..runtime.terminal import Result
from ..runtime.view_sink import ViewConfig, ViewSink, update_of

#: frames of one recording; the next one takes its place, so that the disk does not fill
RECORDING_FRAMES = 3000
SLOW_SINK_S = 0.2


class RotatingRecording:
    """Records into one file after the other and removes those that are whole, so that the disk does not fill.

    Args:
        folder: Where they lie.
        frame_rate: Of the frames.

    Attributes:
        bytes: Written into whole files so far.
    """

    # a short queue: what waits in it must not look like growth
    name, queue_frames, keeps_newest = "recording", 4, False

    def __init__(self, folder: Path, frame_rate: float) -> None:
        self.bytes = 0
        self._folder, self._config = folder, RecorderConfig(frame_rate=frame_rate)
        self._frames = 0
        self._recorder: Recorder | None = None

    @property
    def path(self) -> Path:
        """Place of the recording that grows."""
        return self._folder / f"soak-{self._frames // RECORDING_FRAMES}.mkv"

    def write(self, result: Result) -> None:
        if self._frames % RECORDING_FRAMES == 0:
            self._end()
            self._recorder = Recorder(self.path, self._config)
        assert self._recorder is not None
        self._recorder.write(result)
        self._frames += 1

    def close(self) -> None:
        self._end()

    def give_up(self) -> None:
        if self._recorder is not None:
            self._recorder.give_up()

    def _end(self) -> None:
        if self._recorder is None:
            return
        self._recorder.close()
        self._recorder = None
        give_back_memory()  # as where a recording goes on in another file
        for path in self._folder.glob("soak-*.mkv"):
            self.bytes += path.stat().st_size
            path.unlink()


class SlowSink:
    """Takes a fifth of a second for a frame."""

    name, queue_frames, keeps_newest = "slow", 4, True

    def write(self, result: Result) -> None:
        del result
        time.sleep(SLOW_SINK_S)

    def close(self) -> None:
        pass

    def give_up(self) -> None:
        pass


class Viewed:
    """The browser view as a sink."""

    name, queue_frames, keeps_newest = "view", 8, True

    def __init__(self) -> None:
        self._view = ViewSink(ViewConfig(port=0))
        self.url = self._view.url

    def write(self, result: Result) -> None:
        self._view.write(update_of(result))

    def status(self, summary: dict[str, Any]) -> None:
        """Show the account of a run."""
        self._view.status({"streams": summary["streams"], "sinks": summary["sinks"]})

    def close(self) -> None:
        self._view.close()

    def give_up(self) -> None:
        self._view.close()
