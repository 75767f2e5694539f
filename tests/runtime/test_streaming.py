from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any, cast

import numpy as np
import pytest

from deblurrt.core.errors import IncompleteError, SourceError
from deblurrt.runtime.live_runner import LiveConfig
from deblurrt.runtime.streaming import StreamConfig, stream
from deblurrt.runtime.terminal import Terminal
from tests.fakes import FakeBackend, ListSource, fake_session, plain_frames
from tests.live_fakes import PATIENCE_S, ScriptedSource, camera_script, scripted_session

LEISURE = StreamConfig(live=LiveConfig(deadline_ms=60_000))


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_S)
    assert set(threading.enumerate()) <= before


def test_file_gives_every_frame_with_the_untouched_one() -> None:
    source = ListSource(plain_frames(30))
    results = list(stream(source, fake_session(lambda frames: 255 - frames), StreamConfig(has_guard=False)))
    assert [result.frame.seq for result in results] == list(range(30))
    assert {result.state for result in results} == {Terminal.DEBLURRED}
    assert all(np.array_equal(result.restored, 255 - result.frame.pixels) for result in results)
    assert source.is_closed


def test_damaged_file_gives_what_it_has_and_then_says_so() -> None:
    source = ListSource(plain_frames(5), IncompleteError("cut off"))
    results = stream(source, fake_session())
    assert len(list(itertools.islice(results, 5))) == 5
    with pytest.raises(IncompleteError, match="cut off"):
        next(results)


def test_error_of_a_file_reaches_the_caller() -> None:
    with pytest.raises(SourceError):
        list(stream(ListSource([], SourceError("unreadable")), fake_session()))


def test_camera_gives_frames_in_order_and_every_one_has_an_end() -> None:
    lines: list[dict[str, Any]] = []
    config = StreamConfig(live=LEISURE.live, write_line=lines.append)
    source = ScriptedSource(camera_script(30, period_s=0.002))
    numbers = [result.frame.seq for result in stream(source, scripted_session(lambda frames: frames), config)]
    assert numbers == sorted(set(numbers))
    assert [line["seq"] for line in sorted(lines, key=lambda line: cast(int, line["seq"]))] == list(range(30))
    assert sum(line["emit_ms"] != {"caller": None} for line in lines) == len(numbers)


def test_leaving_the_loop_ends_the_run_and_leaves_the_session_open() -> None:
    source = ScriptedSource(camera_script(10**9, period_s=0.002))
    session = scripted_session(lambda frames: frames)
    with closing(cast(Any, stream(source, session, LEISURE))) as results:
        for result in results:
            if result.state is Terminal.DEBLURRED:
                break
    assert source.is_closed
    assert isinstance(session.backend, FakeBackend)
    assert not session.backend.is_closed


def test_leaving_the_loop_over_a_file_ends_the_run() -> None:
    source = ListSource(plain_frames(1000))
    with closing(cast(Any, stream(source, fake_session()))) as results:
        next(results)
    assert source.is_closed


def test_file_with_a_deadline_is_played_like_a_camera() -> None:
    results = list(stream(ListSource(plain_frames(5)), fake_session(), LEISURE))
    assert [result.frame.seq for result in results][-1] == 4
    assert results[-1].deadline_ns is not None
