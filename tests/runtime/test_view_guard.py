from __future__ import annotations

import socket

import pytest

from deblurrt.runtime.view_guard import ViewGuard, is_same_origin, security_headers

OWN = ViewGuard(("board.lan",), None)
WITH_TOKEN = ViewGuard((), "secret")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "127.0.0.1:8080",
        "192.168.1.7:8080",
        "[::1]:8080",
        "Board.LAN:80",
        socket.gethostname(),
    ],
)
def test_own_names_and_addresses_are_answered(host: str) -> None:
    assert OWN.refusal("/", {"Host": host}, []) is None


@pytest.mark.parametrize(
    "host", ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8080", "[::1", "a@b"]
)
def test_other_names_are_refused(host: str) -> None:
    refusal = OWN.refusal("/", {"Host": host}, [])
    assert refusal is not None
    assert "open it by its address" in refusal


@pytest.mark.parametrize(
    ("origin", "is_own"),
    [
        (None, True),
        ("http://127.0.0.1:8080", True),
        ("https://127.0.0.1:8080", True),
        ("http://127.0.0.1:8081", False),
        ("http://localhost:8080", False),
        ("http://evil.example", False),
        ("null", False),
        ("", False),
    ],
)
def test_only_the_own_page_is_the_same_origin(origin: str | None, is_own: bool) -> None:
    assert is_same_origin(origin, "127.0.0.1:8080") is is_own


def test_foreign_origin_is_refused() -> None:
    refusal = OWN.refusal("/ws", {"Host": "127.0.0.1", "Origin": "http://evil.example"}, [])
    assert refusal == "another site's page asked for this view"


@pytest.mark.parametrize(("mode", "is_refused"), [("no-cors", True), ("cors", True), ("navigate", False)])
def test_foreign_pages_may_link_here_but_not_embed(mode: str, is_refused: bool) -> None:
    headers = {"Host": "127.0.0.1", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode}
    assert (OWN.refusal("/mjpeg", headers, []) is not None) is is_refused


@pytest.mark.parametrize("tokens", [[], ["other"], ["secre"], ["secret "], ["s\udcffcret"]])
def test_missing_and_wrong_tokens_are_refused(tokens: list[str]) -> None:
    refusal = WITH_TOKEN.refusal("/", {"Host": "127.0.0.1"}, tokens)
    assert refusal is not None
    assert "secret" not in refusal


def test_one_right_token_is_enough() -> None:
    assert WITH_TOKEN.refusal("/", {"Host": "127.0.0.1"}, ["old", "secret"]) is None


def test_liveness_needs_no_token() -> None:
    assert WITH_TOKEN.refusal("/healthz", {"Host": "127.0.0.1"}, []) is None


def test_pages_may_load_nothing_from_elsewhere() -> None:
    policy = security_headers("127.0.0.1:8080")["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "connect-src 'self' ws://127.0.0.1:8080 wss://127.0.0.1:8080" in policy
