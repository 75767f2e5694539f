from __future__ import annotations

import pytest

from deblurrt.runtime.redaction import redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://cam.lan:554/live", "rtsp://cam.lan:554/live"),
        ("rtsp://admin:hunter2@cam.lan/live", "rtsp://***@cam.lan/live"),
        ("rtsp://admin:a@b@c@cam.lan", "rtsp://***@cam.lan"),
        ("http://token@cam.lan/?channel=1", "http://***@cam.lan/?channel=1"),
        ("http://cam.lan/video?user=me&pwd=x&size=2", "http://cam.lan/video?user=***&pwd=***&size=2"),
        ("http://cam.lan/v?ApiKey=abc#top", "http://cam.lan/v?ApiKey=***#top"),
        ("cannot open rtsp://a:b@one/x and rtsp://c:d@two/y", "cannot open rtsp://***@one/x and rtsp://***@two/y"),
        ("drive@home.mp4", "drive@home.mp4"),
        ("http://cam.lan/mail@box", "http://cam.lan/mail@box"),
    ],
)
def test_secrets_are_hidden_and_nothing_else(text: str, shown: str) -> None:
    assert redacted(text) == shown
