from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import aiohttp
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from deblurrt.runtime import view_viewers
from deblurrt.runtime.view_sink import ViewSink
from deblurrt.runtime.view_viewers import CREDITS

from .view_clients import PATIENCE_S, Browser, browser, get, local_view, until, update

#: grey levels JPEG may move a flat picture by
JPEG_TOLERANCE = 2


@pytest.fixture
def view() -> Iterator[ViewSink]:
    with local_view() as opened:
        yield opened


def metric(view: ViewSink, name: str) -> int:
    lines = get(view.url + "metrics")[1].splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"deblurrt_{name} "))


def decoded(jpeg: bytes) -> NDArray[np.uint8]:
    pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return pixels.astype(np.uint8)


def grey_of(jpeg: bytes) -> int:
    return int(decoded(jpeg)[..., 1].mean().round())


async def show_until(alive: Browser, seq: int) -> None:
    while True:
        turn = await alive.turn()
        await alive.give_credit()
        if turn.head is not None and turn.head["seq"] == seq:
            return


def test_turn_holds_both_pictures_and_the_counters(view: ViewSink) -> None:
    async def watch() -> None:
        view.write(update(100))
        async with browser(view) as client:
            turn = await client.turn()
        assert turn.head is not None
        assert (turn.head["seq"], turn.head["state"], turn.head["size"]) == (100, "deblurred", [24, 32])
        assert abs(grey_of(turn.jpegs[0]) - 100) <= JPEG_TOLERANCE
        assert abs(grey_of(turn.jpegs[1]) - 155) <= JPEG_TOLERANCE
        assert turn.counters["states"] == {"deblurred": 1}
        assert turn.counters["outcomes"] == [[1, "deblurred", 12.0, 33.0]]
        assert turn.counters["age_ms"] >= 0

    asyncio.run(watch())


def test_passed_frame_is_sent_once(view: ViewSink) -> None:
    async def watch() -> None:
        view.write(update(7, state="pass_deadline"))
        async with browser(view) as client:
            turn = await client.turn()
        assert turn.head is not None
        assert (turn.head["restored_size"], turn.head["lengths"][1]) == (None, 0)

    asyncio.run(watch())


def test_without_credit_nothing_is_sent_and_then_only_the_newest(view: ViewSink) -> None:
    async def watch() -> None:
        async with browser(view) as client, browser(view) as other:
            for seq in range(CREDITS):
                view.write(update(seq))
                await client.turn()
            for seq in range(CREDITS, 40):
                view.write(update(seq))
            # The other one was served in the same loop: whatever was to be sent to the first has been.
            await show_until(other, 39)
            with pytest.raises(asyncio.TimeoutError):
                await client.socket.receive(timeout=0.05)
            await client.give_credit()
            turn = await client.turn()
        assert turn.head is not None
        assert turn.head["seq"] == 39
        assert len(turn.counters["outcomes"]) == 40 - CREDITS

    asyncio.run(watch())


def test_credit_cannot_be_hoarded(view: ViewSink) -> None:
    async def watch() -> None:
        async with browser(view) as client, browser(view) as other:
            await client.give_credit(1000)
            for seq in range(CREDITS):
                view.write(update(seq))
                await client.turn()
            view.write(update(CREDITS))
            await show_until(other, CREDITS)
            with pytest.raises(asyncio.TimeoutError):
                await client.socket.receive(timeout=0.05)

    asyncio.run(watch())


def test_still_source_shows_its_last_picture_to_who_comes_later(view: ViewSink) -> None:
    async def watch() -> None:
        view.write(update(3))
        for _ in range(2):
            async with browser(view) as client:
                turn = await client.turn()
            assert turn.head is not None
            assert turn.head["seq"] == 3

    asyncio.run(watch())
    assert metric(view, "view_encoded_total") == 1


def test_reduced_pictures_are_smaller(view: ViewSink) -> None:
    async def watch() -> tuple[int, ...]:
        view.write(update(3, size=(48, 64)))
        async with browser(view) as client:
            await client.turn()
            await client.socket.send_json({"reduction": 4})
            turn = await client.turn()
        return decoded(turn.jpegs[0]).shape

    assert asyncio.run(watch()) == (12, 16, 3)


def test_wide_pictures_are_reduced_to_the_limit() -> None:
    async def watch(view: ViewSink) -> tuple[int, ...]:
        view.write(update(3, size=(50, 100)))
        async with browser(view) as client:
            turn = await client.turn()
        return decoded(turn.jpegs[0]).shape

    with local_view(width_max=40) as view:
        assert asyncio.run(watch(view)) == (20, 40, 3)


def test_viewer_chooses_the_camera(view: ViewSink) -> None:
    async def watch() -> list[str]:
        view.write(update(1, stream="front"))
        view.write(update(2, stream="rear"))
        async with browser(view) as client:
            first = await client.turn()
            await client.socket.send_json({"watch": "rear"})
            second = await client.turn()
        assert first.counters["streams"] == ["front", "rear"]
        return [str(turn.head["stream"]) for turn in (first, second) if turn.head is not None]

    assert asyncio.run(watch()) == ["front", "rear"]


def test_status_is_sent_without_a_picture(view: ViewSink) -> None:
    async def watch() -> None:
        async with browser(view) as client:
            await until(lambda: view.viewers == 1)
            view.status({"model": "default"})
            turn = await client.turn()
        assert turn.counters == {"picture": False, "streams": [], "viewers": 1, "status": {"model": "default"}}

    asyncio.run(watch())


def test_fifty_viewers_who_read_nothing_delay_nobody(view: ViewSink) -> None:
    """Counted, not timed: the writer never waits, each frame is encoded once, the dead get two turns."""
    frames, dead = 60, 50

    async def watch() -> int:
        async with AsyncExitStack() as stack:
            for _ in range(dead):
                await stack.enter_async_context(browser(view))
            alive = await stack.enter_async_context(browser(view))
            await until(lambda: view.viewers == dead + 1)
            for seq in range(frames):
                view.write(update(seq))
                await show_until(alive, seq)
            sent = metric_of(await _metrics(view), "view_sent_total")
        await until(lambda: view.viewers == 0)
        return sent

    sent = asyncio.run(watch())
    assert metric(view, "view_encoded_total") <= frames
    assert sent <= dead * CREDITS + frames


async def _metrics(view: ViewSink) -> str:
    async with aiohttp.ClientSession() as session, session.get(view.url + "metrics") as answer:
        return await answer.text()


def metric_of(text: str, name: str) -> int:
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"deblurrt_{name} "))


def test_browser_that_never_answers_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen machine: its connection stays open, it answers no ping."""
    monkeypatch.setattr(view_viewers, "HEARTBEAT_S", 0.2)
    handshake = (
        "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    with local_view() as view:
        port = urlsplit(view.url).port
        assert port is not None
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(handshake.encode())
            assert connection.recv(12) == b"HTTP/1.1 101"
            asyncio.run(until(lambda: view.viewers == 1))
            asyncio.run(until(lambda: view.viewers == 0))


def test_writer_does_not_wait_while_the_view_hangs(view: ViewSink) -> None:
    """The view's own loop stands still: writes and status still return, and nothing piles up."""
    hang, hanging = threading.Event(), threading.Event()

    def stand_still() -> None:
        hanging.set()
        hang.wait(PATIENCE_S)

    loop = view._server._loop  # the one place to stop it
    loop.call_soon_threadsafe(stand_still)
    assert hanging.wait(PATIENCE_S)
    waiting_before = len(loop._ready)  # type: ignore[attr-defined]
    for seq in range(1000):
        view.write(update(seq))
        view.status({"captured": seq})
    waiting_after = len(loop._ready)  # type: ignore[attr-defined]
    hang.set()
    assert waiting_after <= waiting_before + 1


def test_too_many_viewers_are_refused() -> None:
    async def watch(view: ViewSink) -> int:
        async with browser(view):
            await until(lambda: view.viewers == 1)
            try:
                async with browser(view):
                    return 0
            except aiohttp.WSServerHandshakeError as error:
                return error.status

    with local_view(viewers_max=1) as view:
        assert asyncio.run(watch(view)) == 503


def test_mjpeg_repeats_the_last_picture_of_a_still_source(view: ViewSink) -> None:
    async def watch() -> list[int]:
        view.write(update(100))
        greys: list[int] = []
        async with aiohttp.ClientSession() as session, session.get(view.url + "mjpeg") as answer:
            reader = aiohttp.MultipartReader.from_response(answer)
            for _ in range(2):
                part = await asyncio.wait_for(reader.next(), PATIENCE_S)
                assert isinstance(part, aiohttp.BodyPartReader)
                greys.append(grey_of(bytes(await part.read())))
        return greys

    assert asyncio.run(watch()) == pytest.approx([155, 155], abs=JPEG_TOLERANCE)


def test_mjpeg_can_show_the_untouched_picture(view: ViewSink) -> None:
    async def watch() -> int:
        view.write(update(100))
        async with aiohttp.ClientSession() as session, session.get(view.url + "mjpeg?show=untouched") as answer:
            assert answer.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=deblurrt-frame"
            reader = aiohttp.MultipartReader.from_response(answer)
            part = await asyncio.wait_for(reader.next(), PATIENCE_S)
            assert isinstance(part, aiohttp.BodyPartReader)
            return grey_of(bytes(await part.read()))

    assert asyncio.run(watch()) == pytest.approx(100, abs=JPEG_TOLERANCE)


def test_closing_the_view_ends_its_viewers() -> None:
    async def watch() -> int | None:
        view = local_view()
        async with browser(view) as client:
            await until(lambda: view.viewers == 1)
            closing = asyncio.get_running_loop().run_in_executor(None, view.close)
            await client.socket.receive(timeout=PATIENCE_S)
            await closing
            return client.socket.close_code

    assert asyncio.run(watch()) == 1001
