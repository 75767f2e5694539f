"""The supervision of a capture process, with scripted processes in place of real ones."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from deblurrt.runtime import camera_uris
from deblurrt.runtime.camera_uris import open_v4l2
from deblurrt.runtime.capture_channel import Corrupt, Ended, FrameFormat, FrameNote, Note, Pixels
from deblurrt.runtime.capture_process import CaptureProcess
from deblurrt.runtime.capture_request import CaptureRequest
from deblurrt.runtime.capture_source import CaptureConfig, CaptureSource
from deblurrt.runtime.color import ColorSpec
from deblurrt.runtime.source_health import HealthLimits
from deblurrt.runtime.source_inbox import SourceInbox
from deblurrt.runtime.source_uris import LiveOptions
from tests.servers.listening import Listener

LIMITS = HealthLimits(open_s=30.0, stall_s=30.0, first_retry_s=0.01, longest_retry_s=0.02)
SIZE = (4, 6)
GOOD_BYE = Ended("over", "the stream ended")
UNPLUGGED = Ended("over", "reading stopped (No such device)")
BUSY = Ended("over", "it cannot be opened (Device or resource busy)")

Script = list[Note]


class ScriptedProcess(CaptureProcess):
    """Says what it was told to say, each frame when the one before was taken, then nothing."""

    def __init__(self, script: Script, is_taken: Callable[[], bool]) -> None:
        self._script: Iterator[Note] = iter(script)
        self._is_taken = is_taken
        self.requests: list[CaptureRequest] = []
        self.ended_after_s: float | None = None
        self.take, self.release = self._take, lambda note: None

    def begin(self, request: CaptureRequest) -> None:
        self.requests.append(request)

    def receive(self, timeout_s: float) -> Note | None:
        if not self._is_taken():
            time.sleep(0.001)
            return None
        note = next(self._script, None)
        if note is None:
            time.sleep(min(timeout_s, 0.01))
        return note

    def end(self, grace_s: float = 0.0) -> None:
        self.ended_after_s = grace_s

    def _take(self, note: FrameNote) -> Pixels:
        """Frames of different times are different pictures."""
        return np.full((*SIZE, 3), (note.pts or 0) % 256, np.uint8)


def described(size: tuple[int, int] = SIZE, fps: float | None = 30.0) -> FrameFormat:
    return FrameFormat(size, ColorSpec(1, False), Fraction(1, 30), "yuv420p", fps, "a test")


def frames(count: int, start: int = 0, skipped: int = 0) -> Script:
    return [FrameNote(0, 1000 + index, start + index, skipped) for index in range(count)]


def listen(scripts: list[Script], **config: object) -> tuple[Listener, list[ScriptedProcess]]:
    """A source whose attempts follow the scripts; the last one is repeated."""
    made: list[ScriptedProcess] = []
    inboxes: list[SourceInbox] = []

    def next_process() -> CaptureProcess:
        made.append(
            ScriptedProcess(scripts[min(len(made), len(scripts) - 1)], lambda: bool(inboxes) and inboxes[0].is_empty)
        )
        return made[-1]

    complete = CaptureConfig(
        "cam",
        **{"request": CaptureRequest("pyav", "camera"), "limits": LIMITS, **config},  # type: ignore[arg-type]
    )
    source = CaptureSource(complete, next_process)
    inboxes.append(source.inbox)
    return Listener(source), made


@pytest.mark.fault("S13", "camera unplugged, in use, then back", "`lost`, tried again, new epoch")
def test_camera_that_comes_back_begins_an_epoch() -> None:
    scripts: list[Script] = [[described(), *frames(3), UNPLUGGED], [BUSY], [BUSY], [described(), *frames(2)]]
    heard, _ = listen(scripts)
    with heard:
        heard.until_frames(5)
    assert [event.kind for event in heard.events] == ["opened", "lost", *["reconnecting"] * 3, "opened"]
    assert [(frame.epoch, frame.seq) for frame in heard.frames] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    assert "busy" in heard.events[4].reason


def test_frames_carry_what_the_process_says() -> None:
    heard, _ = listen([[described(), *frames(1, start=7)]])
    with heard:
        heard.until_frames(1)
        assert heard.source.fps == 30.0
    (frame,) = heard.frames
    assert (frame.pts, frame.time_base, frame.t_capture_ns, frame.stream) == (7, Fraction(1, 30), 1000, "cam")
    assert frame.color == ColorSpec(1, False)


@pytest.mark.parametrize("declared", [None, 0.0, 90_000.0])
def test_rate_is_observed_where_the_stream_does_not_say(declared: float | None) -> None:
    heard, _ = listen([[described(fps=declared), *frames(12)]])
    with heard:
        heard.until_frames(3)
        assert heard.source.fps is None
        heard.until_frames(9)
        heard.until(lambda: heard.source.fps is not None)


def test_a_stream_that_ends_is_a_fault() -> None:
    heard, made = listen([[described(), *frames(1), GOOD_BYE]])
    with heard:
        heard.until(lambda: len(made) >= 4)
    assert heard.of_kind("lost")
    assert not heard.of_kind("failed")


def test_change_of_format_begins_an_epoch_without_reconnecting() -> None:
    heard, made = listen([[described(), *frames(2), described((8, 8)), *frames(2, 2)]])
    with heard:
        heard.until_frames(4)
    assert [(event.kind, event.epoch) for event in heard.events] == [("opened", 0), ("epoch", 1)]
    assert [(frame.epoch, frame.seq) for frame in heard.frames] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert len(made) == 1


def still(count: int) -> Script:
    """One picture again and again."""
    return [FrameNote(0, 1000 + index, 7, 0) for index in range(count)]


@pytest.mark.fault("S13", "camera gives the same picture for ever", "`frozen` with the tenth, frames marked")
def test_camera_that_repeats_its_picture_is_said_to_be_frozen() -> None:
    heard, made = listen([[described(), *frames(3), *still(12), *frames(2)]])
    with heard:
        heard.until_frames(17)
    assert [(event.kind, event.count) for event in heard.events] == [("opened", 0), ("frozen", 10), ("moving", 0)]
    assert [frame.is_frozen for frame in heard.frames] == [False] * 12 + [True] * 3 + [False] * 2
    assert len(made) == 1


@pytest.mark.fault("S13", "the same, with `--reconnect-frozen`", "`lost`, new epoch")
def test_frozen_camera_is_connected_anew_where_asked_for() -> None:
    heard, made = listen([[described(), *still(10)], [described(), *frames(2)]], reconnects_frozen=True)
    with heard:
        heard.until_frames(12)
    assert [event.kind for event in heard.events] == ["opened", "frozen", "lost", "reconnecting", "opened"]
    assert "10 times the same picture" in heard.of_kind("lost")[0].reason
    assert [(frame.epoch, frame.is_frozen) for frame in heard.frames[-2:]] == [(1, False)] * 2
    assert len(made) == 2


@pytest.mark.fault("S13", "camera renumbered while it was away", "opened again by its stable name")
def test_camera_that_is_opened_by_id_is_opened_so_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[CaptureConfig] = []
    monkeypatch.setattr(camera_uris, "CaptureSource", made.append)
    (tmp_path / "video0").touch()
    (tmp_path / "usb-cam").symlink_to(tmp_path / "video0")
    open_v4l2(f"v4l2://{tmp_path}/usb-cam", LiveOptions())
    heard, processes = listen([[described(), *frames(1), UNPLUGGED]], request=made[0].request)
    with heard:
        heard.until(lambda: len(processes) >= 3)
    assert {process.requests[0].target for process in processes[:3]} == {f"{tmp_path}/usb-cam"}


@pytest.mark.parametrize("cause", ["refused", "missing", "unsupported"])
def test_what_a_retry_cannot_change_is_final(cause: str) -> None:
    heard, made = listen([[Ended(cause, "no")]])  # type: ignore[arg-type]
    with heard:
        assert heard.until_event("failed").reason == "cam: no"
        assert heard.source.read(0.1) is None
    assert len(made) == 1


def test_a_stream_that_was_there_may_be_missing_for_a_while() -> None:
    heard, _ = listen([[described(), *frames(1), GOOD_BYE], [Ended("missing", "404")], [described(), *frames(1)]])
    with heard:
        heard.until_frames(2)
    assert [frame.epoch for frame in heard.frames] == [0, 1]


def test_attempts_are_bounded_where_asked_for() -> None:
    heard, made = listen([[BUSY]], attempts=3)
    with heard:
        heard.until_event("failed")
    assert len(made) == 3


def test_success_makes_attempts_count_anew() -> None:
    once: Script = [described(), *frames(1), GOOD_BYE]
    heard, made = listen([[BUSY], [BUSY], once, [BUSY], [BUSY], [BUSY]], attempts=3)
    with heard:
        heard.until_event("failed")
    assert len(made) == 6


def test_readers_take_turns_until_one_gives_a_frame() -> None:
    other = CaptureRequest("gstreamer", "pipeline")
    heard, made = listen([[BUSY], [BUSY], [BUSY], [described(), *frames(1), GOOD_BYE]], fallback=other)
    with heard:
        heard.until(lambda: len(made) >= 6)
    readers = [process.requests[0].reader for process in made[:6]]
    assert readers == ["pyav", "gstreamer", "pyav", "gstreamer", "gstreamer", "gstreamer"]


def test_one_reader_that_lacks_something_is_no_failure() -> None:
    heard, made = listen([[Ended("unsupported", "no plugin")]], fallback=CaptureRequest("gstreamer", "pipeline"))
    with heard:
        heard.until_event("failed")
    assert [process.requests[0].reader for process in made] == ["pyav", "gstreamer"]


def test_damaged_and_skipped_frames_are_counted_once() -> None:
    steady = frames(20)
    script: Script = [described(), *steady, Corrupt(1), *frames(1, 21), *frames(1, 24, skipped=2), *frames(1, 27)]
    heard, _ = listen([script])
    with heard:
        heard.until_frames(23)
    counts = {event.reason.rpartition(": ")[2]: event.count for event in heard.events if event.count}
    assert counts == {
        "damaged frames were withheld": 1,
        "frames came faster than they were taken": 2,
        "frames were missing in the stream": 2,
    }


def test_silence_ends_an_attempt_and_damage_does_not() -> None:
    limits = HealthLimits(open_s=30.0, stall_s=0.3, stall_periods=1, first_retry_s=60.0)
    heard, made = listen([[described(), *frames(1)]], limits=limits)
    with heard:
        lost = heard.until_event("lost")
    assert lost.reason == "cam: no frame for 0.3 s"
    assert made[0].ended_after_s == 0.0


def test_process_gets_time_to_let_go_of_a_device() -> None:
    heard, made = listen([[described(), *frames(1)]], grace_s=2.0)
    with heard:
        heard.until_frames(1)
    assert made[0].ended_after_s == 2.0


def test_close_ends_a_waiting_reader() -> None:
    heard, _ = listen([[]])
    threading.Timer(0.1, heard.source.close).start()
    assert heard.source.read(60.0) is None
    heard.source.close()


def test_a_defect_of_ours_is_said_and_final() -> None:
    def broken() -> CaptureProcess:
        raise RuntimeError("no more processes")

    source = CaptureSource(CaptureConfig("cam", CaptureRequest("pyav", "camera"), limits=LIMITS), broken)
    with Listener(source) as heard:
        assert "RuntimeError" in heard.until_event("failed").reason


def test_real_process_ends_with_its_parent_or_when_told() -> None:
    process = CaptureProcess()
    process.end(30.0)
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    process.end()


def test_process_that_dies_says_how() -> None:
    process = CaptureProcess()
    os.kill(process.pid, 9)
    assert process.receive(30.0) == Ended("over", "the reading process was ended by SIGKILL")
    process.end()
