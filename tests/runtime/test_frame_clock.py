from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import pytest

from deblurrt.runtime.frame import Frame
from deblurrt.runtime.frame_clock import FrameClock

from .clips import frames_from, noise_frames

MILLISECOND = Fraction(1, 1000)


def stamped(ticks: Sequence[int], time_base: Fraction = MILLISECOND) -> list[Frame]:
    return frames_from(noise_frames(1) * len(ticks), ticks, time_base)


def ticks_of(frames: Sequence[Frame]) -> list[int]:
    clock = FrameClock(frames[0], Fraction(25))
    return [clock.ticks_of(frame) for frame in frames]


def test_stamps_that_increase_are_kept() -> None:
    assert ticks_of(stamped([7, 8, 500])) == [7, 8, 500]


def test_negative_start_becomes_zero_and_is_told() -> None:
    frames = stamped([-900, -860, 10])
    assert ticks_of(frames) == [0, 40, 910]
    assert FrameClock(frames[0], Fraction(25)).shift_s == Fraction(9, 10)


def test_frames_without_time_follow_at_the_nominal_rate() -> None:
    assert ticks_of(frames_from(noise_frames(3))) == [0, 1, 2]
    first, second, third = stamped([100, 0, 200])
    assert ticks_of([first, replace(second, pts=None), third]) == [100, 140, 200]


def test_another_clock_is_converted_to_the_first_ones() -> None:
    (first,), (second,) = stamped([0]), stamped([9000], Fraction(1, 90_000))
    assert ticks_of([first, second]) == [0, 100]


def test_clock_too_fine_for_mp4_is_cut_to_a_microsecond() -> None:
    assert FrameClock(stamped([1], Fraction(1, 10**9))[0], Fraction(25)).time_base == Fraction(1, 10**6)


def test_stamps_that_do_not_increase_move_on_by_a_tick_and_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    assert ticks_of(stamped([0, 40, 40, 30, 120])) == [0, 40, 41, 42, 120]
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1


def test_clock_of_a_new_epoch_goes_on_where_the_last_one_ended() -> None:
    again = [replace(frame, epoch=1) for frame in stamped([0, 50, 90])]
    assert ticks_of(stamped([1000, 1040, 1080]) + again) == [1000, 1040, 1080, 1120, 1170, 1210]


def test_last_frame_is_known_in_seconds() -> None:
    clock = FrameClock(stamped([0])[0], Fraction(25))
    for frame in stamped([0, 250]):
        clock.ticks_of(frame)
    assert clock.last_s == Fraction(1, 4)
