from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import pytest

from deblurrt.runtime.channel import Channel

#: far more than any step takes; a test that waits this long has failed
PATIENCE_S = 10.0

Result = TypeVar("Result")


def in_thread(work: Callable[[], Result]) -> Future[Result]:
    """Start ``work`` in a thread of its own; the future holds its result or error."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def test_items_come_out_in_the_order_they_went_in() -> None:
    channel: Channel[int] = Channel(3)
    assert all(channel.put(item) for item in range(3))
    assert [channel.get() for _ in range(3)] == [0, 1, 2]


def test_many_items_pass_a_small_channel_without_loss() -> None:
    channel: Channel[int] = Channel(2)

    def write() -> None:
        for item in range(1000):
            channel.put(item)
        channel.finish()

    written = in_thread(write)
    assert list(iter(channel.get, None)) == list(range(1000))
    written.result(PATIENCE_S)


def test_finished_channel_hands_out_what_is_inside_and_then_ends() -> None:
    channel: Channel[str] = Channel(4)
    channel.put("last")
    channel.finish()
    assert [channel.get(), channel.get(), channel.get()] == ["last", None, None]


def test_reader_waits_for_an_item() -> None:
    channel: Channel[str] = Channel(1)
    read = in_thread(channel.get)
    assert not read.done()
    channel.put("late")
    assert read.result(PATIENCE_S) == "late"


def test_writer_waits_for_room() -> None:
    channel: Channel[str] = Channel(1)
    channel.put("first")
    written = in_thread(lambda: channel.put("second"))
    assert not written.done()
    assert channel.get() == "first"
    assert written.result(PATIENCE_S) is True
    assert channel.get() == "second"


def test_finishing_releases_a_waiting_reader() -> None:
    channel: Channel[str] = Channel(1)
    read = in_thread(channel.get)
    channel.finish()
    assert read.result(PATIENCE_S) is None


def test_cutting_releases_a_waiting_writer_and_drops_its_item() -> None:
    channel: Channel[str] = Channel(1)
    channel.put("first")
    written = in_thread(lambda: channel.put("second"))
    channel.cut()
    assert written.result(PATIENCE_S) is False
    assert channel.get() is None


@pytest.mark.parametrize("is_finished", [False, True])
def test_cutting_drops_what_is_inside(is_finished: bool) -> None:
    channel: Channel[str] = Channel(2)
    channel.put("inside")
    if is_finished:
        channel.finish()
    channel.cut()
    assert channel.get() is None
    assert channel.put("more") is False
