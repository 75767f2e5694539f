from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from deblurrt.core.errors import UsageError
from deblurrt.runtime import view_server
from deblurrt.runtime.view_sink import ViewConfig, ViewSink

from .view_clients import browser, get, local_view, update

PAGE_FOLDER = Path(view_server.__file__).parent / "view"


@pytest.fixture
def view() -> Iterator[ViewSink]:
    with local_view() as opened:
        yield opened


@pytest.fixture
def guarded() -> Iterator[ViewSink]:
    with ViewSink(ViewConfig(port=0, host="0.0.0.0")) as opened:
        yield opened


@pytest.mark.parametrize("path", view_server.PAGE)
def test_page_is_served_with_security_headers(view: ViewSink, path: str) -> None:
    status, text, headers = get(view.url.rstrip("/") + path)
    assert status == 200
    assert text == (PAGE_FOLDER / view_server.PAGE[path][0]).read_text("utf-8")
    assert headers["Content-Type"] == f"{view_server.PAGE[path][1]}; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_page_asks_for_nothing_from_elsewhere() -> None:
    for name, _ in view_server.PAGE.values():
        text = (PAGE_FOLDER / name).read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert re.findall(r"(?:https?:)?//[\w.-]+\.\w+|@import|url\(", text) == []


def test_all_files_of_the_page_are_served() -> None:
    served = {name for name, _ in view_server.PAGE.values()}
    assert {path.name for path in PAGE_FOLDER.iterdir()} == served


def test_page_has_no_inline_script_or_style() -> None:
    text = (PAGE_FOLDER / "index.html").read_text("utf-8")
    assert re.findall(r"<script>|<style|\sstyle=|\son\w+=", text) == []


def test_health_follows_the_frames(view: ViewSink) -> None:
    url = view.url + "healthz"
    assert get(url)[:2] == (503, "starting\n")
    view.write(update(0))
    assert get(url)[:2] == (200, "ok\n")
    view.write(replace(update(1), t_capture_ns=time.monotonic_ns() - 60 * 10**9))
    assert get(url)[:2] == (503, "stalled\n")


@pytest.mark.parametrize(
    ("source_health", "is_up", "is_frozen"),
    [("streaming", 1, 0), ("frozen", 1, 1), ("lost", 0, 0), ("connecting", 0, 0)],
)
def test_a_frozen_source_is_up_and_said_to_be_frozen(
    view: ViewSink, source_health: str, is_up: int, is_frozen: int
) -> None:
    view.status({"streams": [{"stream": "camera", "health": source_health}]})
    _, text, _ = get(view.url + "metrics")
    lines = text.splitlines()
    assert f'deblurrt_source_up{{stream="camera"}} {is_up}' in lines
    assert f'deblurrt_source_frozen{{stream="camera"}} {is_frozen}' in lines


def test_metrics_count_frames_latency_and_sources(view: ViewSink) -> None:
    for seq, state in enumerate(["deblurred", "deblurred", "pass_deadline"]):
        view.write(update(seq, stream='a"b', state=state))
    view.status({"streams": [{"stream": "camera", "health": "lost", "reconnects": 4}]})
    status, text, headers = get(view.url + "metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    for line in (
        'deblurrt_frames_total{stream="a\\"b",state="deblurred"} 2',
        'deblurrt_frames_total{stream="a\\"b",state="pass_deadline"} 1',
        'deblurrt_deadline_seconds{stream="a\\"b"} 0.033',
        'deblurrt_frame_latency_seconds_bucket{stream="a\\"b",le="0.008"} 0',
        'deblurrt_frame_latency_seconds_bucket{stream="a\\"b",le="0.012"} 3',
        'deblurrt_frame_latency_seconds_bucket{stream="a\\"b",le="+Inf"} 3',
        'deblurrt_frame_latency_seconds_sum{stream="a\\"b"} 0.036000',
        'deblurrt_source_up{stream="camera"} 0',
        'deblurrt_source_reconnects_total{stream="camera"} 4',
        "deblurrt_view_viewers 0",
    ):
        assert line in text.splitlines()


def test_metrics_take_frames_without_pictures_from_the_status(view: ViewSink) -> None:
    view.write(update(0))
    view.status({"streams": [{"stream": "camera", "states": {"deblurred": 1, "dropped_policy": 7}}]})
    assert 'deblurrt_frames_total{stream="camera",state="dropped_policy"} 7' in get(view.url + "metrics")[1]


@pytest.mark.fault("W3", "foreign Origin, Host, fetch site", "403")
@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}],
    ids=lambda headers: next(iter(headers)),
)
@pytest.mark.parametrize("path", ["", "ws", "mjpeg", "metrics", "healthz", "nowhere"])
def test_strangers_are_refused_everywhere(view: ViewSink, path: str, headers: dict[str, str]) -> None:
    assert get(view.url + path, headers)[0] == 403


def test_loopback_needs_no_token_and_other_hosts_do(view: ViewSink, guarded: ViewSink) -> None:
    assert "token" not in view.url
    assert len(urlsplit(guarded.url).query) > len("token=") + 20


@pytest.mark.fault("W3", "no token", "403")
@pytest.mark.parametrize("path", ["", "ws", "mjpeg", "metrics", "view.js"])
def test_without_token_nothing_is_shown(guarded: ViewSink, path: str) -> None:
    status, text, _ = get(guarded.url.split("?")[0] + path)
    assert (status, "token is missing" in text) == (403, True)


def test_address_with_token_becomes_a_cookie_and_a_clean_address(guarded: ViewSink) -> None:
    status, _, headers = get(guarded.url)
    cookie = headers["Set-Cookie"]
    assert (status, headers["Location"]) == (303, "/")
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert f"deblurrt_view_{urlsplit(guarded.url).port}=" in cookie
    assert get(guarded.url.split("?")[0], {"Cookie": cookie.partition(";")[0]})[0] == 200


def test_programs_show_the_token_in_a_header(guarded: ViewSink) -> None:
    url, token = guarded.url.split("?token=")
    assert get(url + "metrics", {"Authorization": f"Bearer {token}"})[0] == 200
    assert get(url + "metrics", {"Authorization": f"Bearer {token}x"})[0] == 403


def test_liveness_can_be_asked_without_token(guarded: ViewSink) -> None:
    assert get(guarded.url.split("?")[0] + "healthz")[:2] == (503, "starting\n")


@pytest.mark.fault("W3", "oversize and senseless messages", "the socket is closed")
@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("x" * 5000, 1009),
        ("no json", 1008),
        ("[1]", 1008),
        ('{"reduction": 3}', 1008),
        ('{"credit": "many"}', 1008),
        (b"\x00", 1008),
    ],
)
def test_messages_no_page_sends_close_the_socket(view: ViewSink, message: str | bytes, code: int) -> None:
    async def send() -> int | None:
        async with browser(view) as client:
            if isinstance(message, str):
                await client.socket.send_str(message)
            else:
                await client.socket.send_bytes(message)
            closing_message = await client.socket.receive(timeout=10)
            assert closing_message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
            return client.socket.close_code

    assert asyncio.run(send()) == code


def test_taken_port_is_said_with_a_remedy(view: ViewSink) -> None:
    port = urlsplit(view.url).port
    assert port is not None
    with pytest.raises(
        UsageError, match=rf"port {port} \(.*in use.*\); choose another: --view PORT, --view-host ADDRESS"
    ):
        ViewSink(ViewConfig(port=port))


def test_foreign_address_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"cannot be served at 192\.0\.2\.1"):
        ViewSink(ViewConfig(port=0, host="192.0.2.1"))


def test_nothing_is_left_after_closing() -> None:
    before = set(threading.enumerate())
    view = local_view()
    view.write(update(0))
    get(view.url)
    with closing(view):
        port = urlsplit(view.url).port
    view.close()
    assert [thread.name for thread in set(threading.enumerate()) - before if thread.is_alive()] == []
    assert port is not None
    with ViewSink(ViewConfig(port=port)):
        pass


def test_writing_to_a_closed_view_is_harmless() -> None:
    view = local_view()
    view.close()
    view.write(update(0))
    view.status({})
    assert view.viewers == 0
