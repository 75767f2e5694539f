from __future__ import annotations

import time
from fractions import Fraction

import numpy as np

from deblurrt.core.errors import IncompleteError
from deblurrt.runtime.frame import Frame
from deblurrt.runtime.live_source import SourceEvent
from deblurrt.runtime.paced_source import PacedSource
from tests.fakes import ListSource, plain_frames

PATIENCE_S = 10.0


def frames_with_times(times_ms: list[int]) -> list[Frame]:
    pixels = np.zeros((2, 3, 3), np.uint8)
    return [Frame(pixels, seq, 0, pts=pts, time_base=Fraction(1, 1000)) for seq, pts in enumerate(times_ms)]


def read_all(source: PacedSource) -> tuple[list[Frame], SourceEvent]:
    frames = []
    while not isinstance(item := source.read(PATIENCE_S), SourceEvent):
        assert item is not None
        frames.append(item)
    return frames, item


def test_frames_come_no_earlier_than_their_time() -> None:
    times_ms = [500, 510, 545, 550]
    frames, end = read_all(PacedSource(ListSource(frames_with_times(times_ms))))
    assert [frame.pts for frame in frames] == times_ms
    first_ns = frames[0].t_capture_ns
    for frame, time_ms in zip(frames, times_ms, strict=True):
        assert frame.t_capture_ns - first_ns >= (time_ms - 500) * 1_000_000
    assert (end.kind, end.reason) == ("lost", "list: played to its end")


def test_frames_without_time_come_at_the_nominal_rate() -> None:
    frames, _ = read_all(PacedSource(ListSource(plain_frames(3))))
    assert frames[2].t_capture_ns - frames[0].t_capture_ns >= 2 * 40_000_000


def test_nothing_is_told_while_the_next_frame_is_not_due() -> None:
    source = PacedSource(ListSource(frames_with_times([0, 3_600_000])))
    assert isinstance(source.read(PATIENCE_S), Frame)
    assert source.read(0.001) is None
    source.close()
    assert source.read(PATIENCE_S) is None


def test_damage_is_told_as_a_failure_after_what_is_readable() -> None:
    frames, end = read_all(PacedSource(ListSource(plain_frames(1), IncompleteError("cut off"))))
    assert (len(frames), end.kind, end.reason) == (1, "failed", "cut off")


def test_closing_closes_what_is_played() -> None:
    inner = ListSource(plain_frames(1))
    PacedSource(inner).close()
    assert inner.is_closed


def test_slow_reader_is_not_waited_for_and_what_that_costs_is_counted() -> None:
    """The timetable is open-loop: frames taken late are late, those behind them are due at their own time."""
    source = PacedSource(ListSource(frames_with_times([0, 20, 40])))
    assert isinstance(source.read(PATIENCE_S), Frame)
    time.sleep(0.06)
    frames, _ = read_all(source)
    assert len(frames) == 2
    lateness = source.lateness.report("lateness")
    assert lateness.count == 3
    assert lateness.max is not None
    assert lateness.max >= 40
