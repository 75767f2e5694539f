from __future__ import annotations

import threading
import time
from contextlib import closing

import numpy as np
import pytest

from deblurrt.core.errors import UsageError
from deblurrt.runtime.frame import Frame
from deblurrt.runtime.live_source import SourceEvent
from deblurrt.runtime.source_uris import open_live_source
from deblurrt.runtime.synthetic_source import SyntheticConfig, SyntheticPicture
from deblurrt.runtime.time_code import read_time_code

SMALL = "synthetic://?size=48x320&fps=200"


def test_first_comes_opened_then_frames_in_order() -> None:
    with closing(open_live_source(SMALL)) as source:
        opened = source.read(1.0)
        items = [source.read(1.0) for _ in range(20)]
    assert isinstance(opened, SourceEvent)
    assert opened.kind == "opened"
    frames = [item for item in items if isinstance(item, Frame)]
    assert [frame.seq for frame in frames] == list(range(len(frames)))
    assert frames[0].size == (48, 320)


def test_painted_time_is_the_time_of_capture() -> None:
    with closing(open_live_source(SMALL)) as source:
        source.read(1.0)
        frame = source.read(1.0)
    assert isinstance(frame, Frame)
    assert read_time_code(frame.pixels) == frame.t_capture_ns // 1000 * 1000


def test_frames_nobody_took_are_a_gap() -> None:
    with closing(open_live_source("synthetic://?size=16x32&fps=1000")) as source:
        source.read(1.0)
        first = source.read(1.0)
        until = time.monotonic() + 0.02
        while time.monotonic() < until:
            pass
        gap, second = source.read(1.0), source.read(1.0)
    assert isinstance(first, Frame)
    assert isinstance(gap, SourceEvent)
    assert isinstance(second, Frame)
    assert gap.kind == "gap"
    assert gap.count >= 15
    assert (first.pts, second.seq) == (0, 1)
    assert second.pts == (gap.count + 1) * 1000


def test_nothing_comes_before_its_time() -> None:
    with closing(open_live_source("synthetic://?size=16x32&fps=0.1")) as source:
        source.read(1.0)
        assert isinstance(source.read(1.0), Frame)
        assert source.read(0.01) is None


def test_close_ends_a_waiting_reader() -> None:
    source = open_live_source("synthetic://?size=16x32&fps=0.01")
    source.read(1.0)
    source.read(1.0)
    threading.Timer(0.05, source.close).start()
    assert source.read(60.0) is None
    assert source.read(60.0) is None


def test_the_same_seed_gives_the_same_pictures() -> None:
    one, same, other = (SyntheticPicture(SyntheticConfig((32, 64), seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(one.frame_pixels(7), same.frame_pixels(7))
    assert not np.array_equal(one.frame_pixels(7), other.frame_pixels(7))


def test_the_picture_moves_and_blur_takes_its_edges() -> None:
    sharp, blurred = (SyntheticPicture(SyntheticConfig((64, 128), blur_px=blur)) for blur in (0, 9))
    assert not np.array_equal(sharp.frame_pixels(0), sharp.frame_pixels(1))
    edges = [np.abs(np.diff(picture.frame_pixels(0).astype(int), axis=1)).mean() for picture in (sharp, blurred)]
    assert edges[1] < 0.7 * edges[0]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("size=0x4", "'0x4' is no size"),
        ("size=big", "'big' is no size"),
        ("fps=fast", "fps is 'fast'"),
        ("fps=0", "fps is '0'"),
        ("blur=-1", "blur is '-1'"),
        ("colour=red", "no parameter 'colour', expected blur, fps, seed, size"),
    ],
)
def test_wrong_parameters_are_refused(query: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_live_source(f"synthetic://?{query}")
